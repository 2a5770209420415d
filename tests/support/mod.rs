//! What the tests with real nodes and real clients stand on: a cluster, the program in front of it, and
//! clients that can be run straight and through the proxy.
#![allow(dead_code, unused_imports, reason = "every test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

pub mod knock;
pub mod meddler;
pub mod program;
pub mod proxy;
pub mod tls;
pub mod wire;

use std::{fmt::Debug, path::PathBuf, time::Duration};

use understudy::lab::{self, Cluster, ClusterSpec, Login};

pub use program::{Ran, python, run};
pub use proxy::{Proxy, ProxySpec};
pub use wire::{Script, Wire};

/// How long anything may take before a test gives it up; generous, for machines with much else to do.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Real nodes with the proxy in front.
#[derive(Debug)]
pub struct Stage {
    // Dropped first, so that its log does not end in the death of its nodes.
    pub proxy: Proxy,
    pub cluster: Cluster,
}

// === impl Stage ===

impl Stage {
    /// One node, and the proxy, which serves already.
    pub fn new() -> Self {
        Self::with(1, &[])
    }

    /// So many nodes, and the proxy with further settings (`section.key=value`), which serves already.
    pub fn with(nodes: usize, settings: &[&str]) -> Self {
        let cluster = Cluster::create(ClusterSpec::with_nodes(nodes)).unwrap();
        let proxy = Proxy::start(&ProxySpec::of(&cluster).set(settings));
        proxy.await_event("primary_found");
        Self { proxy, cluster }
    }

    /// How to connect to the primary itself, node 0.
    pub fn straight(&self, login: Login) -> String {
        self.cluster.conninfo(0, login)
    }

    /// How to connect through the proxy.
    pub fn proxied(&self, login: Login) -> String {
        self.proxy.conninfo(&self.cluster, login)
    }

    /// Runs the same thing as `app` straight and through the proxy, demands the same outcome, and
    /// returns it.
    pub fn same<T: Debug + PartialEq>(&self, run: impl Fn(&str) -> T) -> T {
        let straight = run(&self.straight(Login::App));
        let proxied = run(&self.proxied(Login::App));
        assert!(proxied == straight, "{}", difference(&straight, &proxied));
        proxied
    }

    /// Runs the same conversation, byte by byte, straight and through the proxy, demands the same
    /// messages, and returns them.
    pub fn same_talk(&self, talk: impl Fn(&mut Wire) -> Vec<String>) -> Vec<String> {
        self.same(|conninfo| talk(&mut Wire::log_in(conninfo, &[])))
    }

    /// Statements as superuser on node 0 in the application's database.
    pub fn admin(&self, sql: &str) -> Vec<lab::Row> {
        self.cluster.node(0).query_in("app", sql).unwrap()
    }

    /// One value as superuser from node 0 in the application's database.
    pub fn admin_value(&self, sql: &str) -> String {
        let rows = self.admin(sql);
        rows.into_iter().next().and_then(|row| row.into_iter().next()?).unwrap_or_default()
    }

    /// Waits until a condition, asked as superuser on node 0, is true.
    pub fn await_true(&self, sql: &str) {
        await_condition(sql, || self.admin_value(sql) == "t");
    }

    /// The client program of PostgreSQL with this name.
    pub fn tool(&self, name: &str) -> PathBuf {
        self.cluster.binaries().path(name)
    }

    /// Runs a script of SQL and backslash commands through psql.
    pub fn psql(&self, conninfo: &str, script: &str) -> Ran {
        let mut psql = program::command(&self.tool("psql"));
        psql.args(["-X", "-d", conninfo]);
        run(psql, script)
    }
}

/// Where two things begin to differ, line by line.
pub fn difference(straight: &impl Debug, proxied: &impl Debug) -> String {
    let lines = |thing: String| -> Vec<String> {
        thing.replace("\\n", "\n").lines().map(str::to_owned).collect()
    };
    let (straight, proxied) = (lines(format!("{straight:#?}")), lines(format!("{proxied:#?}")));
    let first = straight.iter().zip(&proxied).take_while(|(one, other)| one == other).count();
    let around = |lines: &[String]| {
        let from = first.saturating_sub(3).min(lines.len());
        lines[from..lines.len().min(first + 7)].join("\n")
    };
    format!("straight:\n{}\n\nthrough the proxy:\n{}", around(&straight), around(&proxied))
}

/// Waits until a condition holds.
pub fn await_condition(what: &str, condition: impl FnMut() -> bool) {
    lab::wait_until(what, LIMIT, condition).unwrap();
}

/// A tokio-postgres client whose connection is driven in the background of this runtime.
pub async fn connect(conninfo: &str) -> tokio_postgres::Client {
    try_connect(conninfo).await.unwrap()
}

/// The same where it may fail.
pub async fn try_connect(conninfo: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(conninfo, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// One value, as text.
pub async fn value(client: &tokio_postgres::Client, sql: &str) -> String {
    let messages = client.simple_query(sql).await.unwrap();
    messages
        .iter()
        .find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => {
                Some(row.get(0).unwrap_or("NULL").to_owned())
            }
            _ => None,
        })
        .unwrap_or_default()
}

/// What the server said, as `SQLSTATE message`.
pub fn words(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} {}", db.code().code(), db.message()),
        None => format!("{error:?}"),
    }
}

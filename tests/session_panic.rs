//! A defect in one session ends that session only: its neighbours on the same worker, idle, in a
//! transaction and in the middle of a COPY, notice nothing, and its server connection is never used
//! again.
#![cfg(feature = "real-nodes")]
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::{net::TcpListener, sync::Arc, thread, time::Duration};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use slog::{Drain, Level, Logger, OwnedKVList, Record, o};
use tokio_postgres::{Client, NoTls};

use understudy::{
    actors::root,
    conf::{self, Sources},
    lab::{Cluster, ClusterSpec, Login, wait_until},
    log::Event,
};

/// A log that panics when a server connection is opened for the database `boom`: in the session's own
/// future, at the moment when it holds that connection.
struct Trap;

impl Drain for Trap {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), slog::Never> {
        struct Database(Option<String>);
        impl slog::Serializer for Database {
            fn emit_arguments(
                &mut self,
                key: &'static str,
                value: &std::fmt::Arguments<'_>,
            ) -> slog::Result {
                if key == "database" {
                    self.0 = Some(value.to_string());
                }
                Ok(())
            }
        }
        let mut database = Database(None);
        slog::KV::serialize(&record.kv(), record, &mut database).unwrap();
        if record.tag() == Event::ServerOpen.name() && database.0.as_deref() == Some("boom") {
            panic!("a planted defect");
        }
        Ok(())
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn connect(conninfo: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(conninfo, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn value(client: &Client, sql: &str) -> String {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[test]
fn a_panic_in_one_session_leaves_its_neighbours_untouched() {
    let cluster = Cluster::create(ClusterSpec::with_nodes(1)).unwrap();
    cluster.query(0, "CREATE DATABASE boom OWNER app").unwrap();
    let node = cluster.conninfo(0, Login::App);
    let port = free_port();
    let set = |key: &str, value: &str| format!("{key}={value}");
    let password = cluster.password(Login::Understudy).unwrap().reveal().to_owned();
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        &config,
        format!("[[nodes]]\nhost = \"127.0.0.1\"\nport = {}\n", cluster.node(0).port()),
    )
    .unwrap();
    let sources = Sources {
        file: Some(config.path().to_owned()),
        set: vec![
            set("listen.addresses", &format!("127.0.0.1:{port}")),
            set("monitor.password", &password),
            set("auth.query", "SELECT rolname, secret FROM understudy.user_lookup($1)"),
            set("process.workers", "1"),
        ],
        ..Sources::default()
    };
    let settings =
        Arc::new(conf::load(&sources).unwrap_or_else(|mistakes| panic!("{mistakes}")).settings);
    // It ends with the test's process.
    thread::spawn(move || {
        let log = Logger::root(Trap.filter_level(Level::Trace).ignore_res(), o!());
        root::run(settings, log).unwrap();
    });
    let accepts = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    wait_until("the proxy listens", Duration::from_secs(30), accepts).unwrap();

    let through =
        node.replace(&format!("port={}", cluster.node(0).port()), &format!("port={port}"));
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
        let idle = connect(&through).await.unwrap();
        let backend = value(&idle, "SELECT pg_backend_pid()::text").await;
        let busy = connect(&through).await.unwrap();
        busy.batch_execute("CREATE TABLE kept (x int); BEGIN; INSERT INTO kept VALUES (1)")
            .await
            .unwrap();
        let copying = connect(&through).await.unwrap();
        copying.batch_execute("CREATE TABLE copied (x int)").await.unwrap();
        let sink = copying.copy_in::<_, Bytes>("COPY copied FROM STDIN").await.unwrap();
        let mut sink = std::pin::pin!(sink);
        sink.send(Bytes::from_static(b"1\n2\n")).await.unwrap();

        let doomed = connect(&through.replace("dbname=app", "dbname=boom")).await;
        assert!(doomed.is_err_and(|error| error.as_db_error().is_none()), "the socket just closes");
        let gone = || {
            cluster
                .value(0, "SELECT count(*) FROM pg_stat_activity WHERE datname = 'boom'")
                .unwrap()
                == "0"
        };
        wait_until(
            "the server connections of the panicked sessions are closed",
            Duration::from_secs(30),
            gone,
        )
        .unwrap();

        assert_eq!(value(&idle, "SELECT pg_backend_pid()::text").await, backend);
        busy.batch_execute("INSERT INTO kept VALUES (2); COMMIT").await.unwrap();
        assert_eq!(value(&busy, "SELECT sum(x)::text FROM kept").await, "3");
        sink.send(Bytes::from_static(b"3\n")).await.unwrap();
        assert_eq!(sink.finish().await.unwrap(), 3);
        let rows =
            copying.copy_out("COPY copied TO STDOUT").await.unwrap().collect::<Vec<_>>().await;
        assert_eq!(rows.into_iter().map(Result::unwrap).collect::<Vec<_>>().concat(), b"1\n2\n3\n");
        let newcomer = connect(&through).await.unwrap();
        assert_eq!(value(&newcomer, "SELECT 'served'").await, "served");
    });
}

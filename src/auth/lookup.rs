//! `auth_query`: asks a node for the secret of a user.
//!
//! One persistent connection for each worker, as the `[monitor]` role, with `search_path` pinned to
//! `pg_catalog`. Nothing of a client reaches it but the user name, as the value of `$1`.

use std::{cell::RefCell, collections::HashMap, future::Future, rc::Rc, time::Duration};

use futures::{StreamExt, TryStreamExt};
use tokio::{
    sync::Mutex,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_postgres::{Client, Config, Connection, NoTls, Row, tls::NoTlsStream, types::Type};

use crate::{
    auth::stored::{BadSecret, StoredSecret},
    conf::settings::{Monitor, Node},
    net::{Stream, Tls, tls::NodeTlsError},
};

/// Finds secrets on the nodes. Belongs to one thread; share it in an `Rc`.
pub struct UserLookup {
    query: String,
    database: String,
    monitor: Monitor,
    keep: Duration,
    attempt: Duration,
    tls: Tls,
    /// Locked while connecting, so that a crowd of logins opens one connection.
    link: Mutex<Option<Rc<Link>>>,
    kept: RefCell<HashMap<String, Kept>>,
}

/// Why a secret could not be looked up. None of it is for clients.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// No live node to ask.
    #[error("auth.query cannot run: no node is live")]
    NoNode,
    /// The node cannot be reached, or not be trusted.
    #[error("auth.query cannot connect to node {node}: {source}")]
    Reach {
        /// Which node.
        node: String,
        /// Why.
        source: NodeTlsError,
    },
    /// The node does not let us in.
    #[error("auth.query cannot connect to node {node} as user {user}: {}", whole(.source))]
    Connect {
        /// Which node.
        node: String,
        /// As whom.
        user: String,
        /// Why.
        source: tokio_postgres::Error,
    },
    /// The node did not answer in time.
    #[error("auth.query got no answer from node {node} within {limit:?}")]
    Silent {
        /// Which node.
        node: String,
        /// The deadline.
        limit: Duration,
    },
    /// The query failed.
    #[error("auth.query failed on node {node}: {}", whole(.source))]
    Query {
        /// Which node.
        node: String,
        /// Why.
        source: tokio_postgres::Error,
    },
    /// It must be name and secret.
    #[error("auth.query returns {0} columns; it must return two: the user's name and the secret")]
    Columns(usize),
    /// It must be one user.
    #[error("auth.query returns more than one row for one user: it must select by $1 alone")]
    ManyRows,
    /// Another name than the one asked for: nobody inherits another identity.
    #[error(
        "auth.query was asked for user {asked} and answered for another: it must compare names exactly"
    )]
    OtherUser {
        /// The name that was asked for.
        asked: String,
    },
    /// A column is no text.
    #[error("auth.query must return text, but its column {column} is of another type")]
    NotText {
        /// `name` or `secret`.
        column: &'static str,
    },
    /// The secret is none.
    #[error("auth.query returned an unusable secret for user {user}: {source}")]
    Secret {
        /// Whose.
        user: String,
        /// Why.
        source: BadSecret,
    },
}

/// One connection, and the task that moves its bytes.
struct Link {
    client: Client,
    node: Node,
    driver: JoinHandle<()>,
}

struct Kept {
    secret: Option<StoredSecret>,
    since: Instant,
}

// === impl UserLookup ===

impl UserLookup {
    /// A lookup that has not connected yet. Answers serve again for `keep`; each attempt at a node, to
    /// connect or to ask, may take `attempt`.
    #[must_use]
    pub fn new(
        query: &str,
        database: &str,
        monitor: Monitor,
        keep: Duration,
        attempt: Duration,
    ) -> Self {
        Self {
            query: query.to_owned(),
            database: database.to_owned(),
            monitor,
            keep,
            attempt,
            tls: Tls::default(),
            link: Mutex::new(None),
            kept: RefCell::default(),
        }
    }

    /// With TLS to the nodes as `[server_tls]` says; without this there is none.
    #[must_use]
    pub fn with_tls(self, tls: Tls) -> Self {
        Self { tls, ..self }
    }

    /// The secret of a user, from the kept answers or from the first of the nodes that answers. `None`: no
    /// such user, or none that may log in with a password.
    ///
    /// Must run where `tokio::task::spawn_local` works.
    ///
    /// # Errors
    /// No node could answer (then it is the last one's error), or the query is not what it must be.
    pub async fn find(
        &self,
        nodes: &[Node],
        user: &str,
    ) -> Result<Option<StoredSecret>, LookupError> {
        if let Some(kept) = self.kept.borrow().get(user)
            && kept.since.elapsed() < self.keep
        {
            return Ok(kept.secret.clone());
        }
        self.find_fresh(nodes, user).await
    }

    /// Forgets a kept answer: to be called when a login failed with it, since the secret may have been
    /// changed meanwhile.
    pub fn forget(&self, user: &str) {
        self.kept.borrow_mut().remove(user);
    }

    async fn find_fresh(
        &self,
        nodes: &[Node],
        user: &str,
    ) -> Result<Option<StoredSecret>, LookupError> {
        let mut last = LookupError::NoNode;
        for node in nodes {
            match self.ask(node, user).await {
                Ok(secret) => {
                    self.keep_answer(user, secret.as_ref());
                    return Ok(secret);
                }
                // Another node would answer the same.
                Err(error) if !error.is_of_the_node() => return Err(error),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask(&self, node: &Node, user: &str) -> Result<Option<StoredSecret>, LookupError> {
        let (link, fresh) = self.connected(node).await?;
        match self.ask_over(&link, user).await {
            // A kept connection may have died with the node's last restart without our noticing.
            Err(LookupError::Query { source, .. }) if !fresh && source.code().is_none() => {
                let (link, _) = self.connected(node).await?;
                self.ask_over(&link, user).await
            }
            answer => answer,
        }
    }

    async fn ask_over(
        &self,
        link: &Rc<Link>,
        user: &str,
    ) -> Result<Option<StoredSecret>, LookupError> {
        let error = match within(self.attempt, query(&link.client, &self.query, user)).await {
            Some(Ok(rows)) => return read_answer(&rows, user),
            Some(Err(source)) => LookupError::Query { node: name_of(&link.node), source },
            None => LookupError::Silent { node: name_of(&link.node), limit: self.attempt },
        };
        if error.is_of_the_node() {
            self.drop_link(link).await;
        }
        Err(error)
    }

    /// The connection to this node, and whether it is a new one.
    async fn connected(&self, node: &Node) -> Result<(Rc<Link>, bool), LookupError> {
        let mut place = self.link.lock().await;
        if let Some(link) = place.as_ref()
            && link.node == *node
            && !link.client.is_closed()
        {
            return Ok((Rc::clone(link), false));
        }
        let (client, connection) = within(self.attempt, self.connect(node))
            .await
            .ok_or_else(|| LookupError::Silent { node: name_of(node), limit: self.attempt })??;
        // Its error reaches whoever waits for an answer; there is nothing to do with it here.
        let driver = tokio::task::spawn_local(async move { drop(connection.await) });
        let link = Rc::new(Link { client, node: node.clone(), driver });
        // Only now: a connection to another node is kept until there is a better one.
        *place = Some(Rc::clone(&link));
        Ok((link, true))
    }

    async fn connect(
        &self,
        node: &Node,
    ) -> Result<(Client, Connection<Stream, NoTlsStream>), LookupError> {
        let stream = self
            .tls
            .connect(node)
            .await
            .map_err(|source| LookupError::Reach { node: name_of(node), source })?;
        // TLS is there already, where it has to be; of ours, tokio-postgres knows nothing.
        self.config().connect_raw(stream, NoTls).await.map_err(|source| LookupError::Connect {
            node: name_of(node),
            user: self.monitor.user.clone(),
            source,
        })
    }

    /// Gives up a connection that failed, unless it has been replaced already.
    async fn drop_link(&self, failed: &Rc<Link>) {
        let mut place = self.link.lock().await;
        if place.as_ref().is_some_and(|link| Rc::ptr_eq(link, failed)) {
            *place = None;
        }
    }

    fn config(&self) -> Config {
        let mut config = Config::new();
        config
            .user(&self.monitor.user)
            .dbname(&self.database)
            .application_name("understudy auth")
            .options("-c search_path=pg_catalog");
        if let Some(password) = &self.monitor.password {
            config.password(password.reveal());
        }
        config
    }

    fn keep_answer(&self, user: &str, secret: Option<&StoredSecret>) {
        if self.keep.is_zero() {
            return;
        }
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= MAX_KEPT && !kept.contains_key(user) {
            kept.retain(|_, answer| answer.since.elapsed() < self.keep);
        }
        if kept.len() >= MAX_KEPT && !kept.contains_key(user) {
            let oldest =
                kept.iter().min_by_key(|(_, answer)| answer.since).map(|(user, _)| user.clone());
            oldest.map(|user| kept.remove(&user));
        }
        kept.insert(user.to_owned(), Kept { secret: secret.cloned(), since: Instant::now() });
    }
}

// === impl LookupError ===

impl LookupError {
    /// Whether another node, or another moment, may do better: this one is unreachable, silent, shutting down, starting up, or
    /// out of resources (SQLSTATE classes 08, 53, 57, 58 and XX).
    #[must_use]
    pub fn is_of_the_node(&self) -> bool {
        match self {
            Self::NoNode | Self::Reach { .. } | Self::Connect { .. } | Self::Silent { .. } => true,
            Self::Query { source, .. } => source.code().is_none_or(|state| {
                ["08", "53", "57", "58", "XX"].iter().any(|class| state.code().starts_with(class))
            }),
            _ => false,
        }
    }
}

// === impl Link ===

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

// === helpers and constants ===

/// Two rows at most: a query that forgets `$1` must not bring the whole table here.
async fn query(
    client: &Client,
    query: &str,
    user: &str,
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let rows = client.query_typed_raw(query, [(user, Type::TEXT)]).await?;
    rows.take(2).try_collect().await
}

fn read_answer(rows: &[Row], user: &str) -> Result<Option<StoredSecret>, LookupError> {
    let row = match rows {
        [] => return Ok(None),
        [row] => row,
        _ => return Err(LookupError::ManyRows),
    };
    if row.len() != 2 {
        return Err(LookupError::Columns(row.len()));
    }
    let name: Option<&str> = row.try_get(0).map_err(|_| LookupError::NotText { column: "name" })?;
    let secret: Option<&str> =
        row.try_get(1).map_err(|_| LookupError::NotText { column: "secret" })?;
    match (name, secret) {
        // A function that returns one composite value answers with NULLs for an unknown user.
        (_, None | Some("")) => Ok(None),
        (Some(name), Some(secret)) if name == user => StoredSecret::parse(secret)
            .map(Some)
            .map_err(|source| LookupError::Secret { user: user.to_owned(), source }),
        _ => Err(LookupError::OtherUser { asked: user.to_owned() }),
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    timeout(limit, work).await.ok()
}

fn name_of(node: &Node) -> String {
    format!("{}:{}", node.host, node.port)
}

/// The error with its causes: tokio-postgres's own text is only "db error".
fn whole(error: &tokio_postgres::Error) -> String {
    if let Some(told) = error.as_db_error() {
        return format!("{} ({})", told.message(), told.code().code());
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    text
}

/// How many answers are kept at most, so that made-up user names cannot fill the memory.
const MAX_KEPT: usize = 1000;

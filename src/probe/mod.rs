//! Asks one node what it is: recovery state, system identifier, timeline, WAL positions.
//!
//! Over one connection that stays open, with separate limits for connecting, one reply, and the whole
//! check. How a check failed is told apart, because a node that refuses, one that is silent and one that
//! is full are different news.

use std::{io, time::Duration};

use failover::{Lsn, Millis, NodeId, RoleObservation, SystemIdentifier, Timeline, WalPosition};
use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::{Client, NoTls, Row, Statement, error::SqlState, types::PgLsn};

use crate::{
    conf::settings::{HealthCheck, Monitor, Node},
    net::{self, Tls, tls::NodeTlsError},
};

/// Asks one node, again and again.
#[derive(Debug)]
pub struct Probe {
    id: NodeId,
    node: Node,
    monitor: Monitor,
    limits: HealthCheck,
    tls: Tls,
    connection: Option<Connection>,
}

/// Why a check gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum CheckFailure {
    /// Nobody listens there, or the network says so.
    #[error("connection refused: {0}")]
    Refused(io::Error),
    /// The name has no address.
    #[error("cannot resolve \"{host}\": {error}")]
    Unresolved {
        /// The configured name.
        host: String,
        /// Why.
        error: io::Error,
    },
    /// Connecting took longer than `health_check.connect_timeout`.
    #[error("no answer to connecting within health_check.connect_timeout ({} ms)", .0.as_millis())]
    Silent(Duration),
    /// It is not to be trusted, or has no TLS where it must.
    #[error("it answers, but not as [server_tls] demands: {0}")]
    Untrusted(NodeTlsError),
    /// It accepts connections and says nothing.
    #[error("it accepts connections but does not reply within {} ms", .0.as_millis())]
    Mute(Duration),
    /// It does not accept our login.
    #[error("it refuses the [monitor] login: {0}")]
    Authentication(String),
    /// It has no connection left for us.
    #[error("it has no connection left: {0}")]
    TooManyClients(String),
    /// It is starting, stopping, or recovering without hot standby.
    #[error("it accepts no connections yet: {0}")]
    StartingUp(String),
    /// The connection broke while it was asked.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// It answered with an error, or with something that cannot be.
    #[error("it cannot answer: {0}")]
    Failed(String),
}

/// A logged-in connection, with the question prepared.
#[derive(Debug)]
struct Connection {
    client: Client,
    question: Statement,
    /// Ends with the connection.
    driver: JoinHandle<()>,
}

/// Every name is qualified, so no search path of the role can change what is asked. The timeline of a
/// primary is in the name of its WAL file; that of a standby is the newer of what it receives and what
/// its last restart point says.
const QUESTION: &str = "
SELECT
  (SELECT system_identifier FROM pg_catalog.pg_control_system()) AS system_identifier,
  r.recovering,
  CASE WHEN r.recovering
    THEN GREATEST(
      (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()),
      (SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver))
    ELSE ('x' OPERATOR(pg_catalog.||) pg_catalog.substr(
      pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::pg_catalog.bit(32)::pg_catalog.int4
  END AS timeline,
  CASE WHEN r.recovering THEN NULL ELSE pg_catalog.pg_current_wal_lsn() END AS current,
  pg_catalog.pg_last_wal_receive_lsn() AS received,
  pg_catalog.pg_last_wal_replay_lsn() AS replayed,
  (SELECT status OPERATOR(pg_catalog.=) 'streaming' FROM pg_catalog.pg_stat_wal_receiver) AS streaming,
  (SELECT sender_host OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||) sender_port
     FROM pg_catalog.pg_stat_wal_receiver) AS sender
FROM (SELECT pg_catalog.pg_is_in_recovery() AS recovering) AS r";

// === impl Probe ===

impl Probe {
    /// For one node.
    #[must_use]
    pub fn new(id: NodeId, node: Node, monitor: Monitor, limits: HealthCheck, tls: Tls) -> Self {
        Self { id, node, monitor, limits, tls, connection: None }
    }

    /// Checks the node once. `clock` is read when the answer has arrived. After a failure the next check
    /// connects anew.
    ///
    /// # Errors
    /// See [`CheckFailure`].
    pub async fn check(
        &mut self,
        clock: impl Fn() -> Millis,
    ) -> Result<RoleObservation, CheckFailure> {
        let limit = self.limits.check_timeout;
        let outcome = match timeout(limit, self.ask()).await {
            Ok(Ok(row)) => self.read(&row, clock()),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(CheckFailure::Mute(limit)),
        };
        if outcome.is_err() {
            self.connection = None;
        }
        outcome
    }

    async fn ask(&mut self) -> Result<Row, CheckFailure> {
        // A connection that was closed since the last check says nothing about the node now.
        if self.connection.as_ref().is_none_or(|connection| connection.client.is_closed()) {
            self.connection = Some(self.connect().await?);
        }
        let Some(connection) = &self.connection else {
            return Err(CheckFailure::Broken("no connection".into()));
        };
        let limit = self.limits.reply_timeout;
        timeout(limit, connection.client.query_one(&connection.question, &[]))
            .await
            .map_err(|_| CheckFailure::Mute(limit))?
            .map_err(|error| failure(&error))
    }

    async fn connect(&self) -> Result<Connection, CheckFailure> {
        let limit = self.limits.connect_timeout;
        let stream = timeout(limit, self.tls.reach(&self.node))
            .await
            .map_err(|_| CheckFailure::Silent(limit))?
            .map_err(|error| match error.kind() {
                io::ErrorKind::TimedOut => CheckFailure::Silent(limit),
                // The resolver's errors have no kind and no number of their own.
                _ if error.raw_os_error().is_none() => {
                    CheckFailure::Unresolved { host: self.node.host.clone(), error }
                }
                _ => CheckFailure::Refused(error),
            })?;
        let limit = self.limits.reply_timeout;
        timeout(limit, self.log_in(stream)).await.map_err(|_| CheckFailure::Mute(limit))?
    }

    async fn log_in(&self, stream: net::Stream) -> Result<Connection, CheckFailure> {
        let stream = self.tls.secure(stream, &self.node).await.map_err(|error| match error {
            NodeTlsError::Io(error) => CheckFailure::Broken(error.to_string()),
            error => CheckFailure::Untrusted(error),
        })?;
        let mut config = tokio_postgres::Config::new();
        config
            .user(&self.monitor.user)
            .dbname(&self.monitor.database)
            .application_name("understudy monitor");
        if let Some(password) = &self.monitor.password {
            config.password(password.reveal());
        }
        // TLS is there already, where it has to be; of ours, tokio-postgres knows nothing.
        let (client, connection) =
            config.connect_raw(stream, NoTls).await.map_err(|error| failure(&error))?;
        // What ends the connection is seen by the client's next call.
        let driver = tokio::task::spawn_local(async move {
            let _ = connection.await;
        });
        let question = client.prepare(QUESTION).await.map_err(|error| failure(&error));
        match question {
            Ok(question) => Ok(Connection { client, question, driver }),
            Err(error) => {
                driver.abort();
                Err(error)
            }
        }
    }

    fn read(&self, row: &Row, at: Millis) -> Result<RoleObservation, CheckFailure> {
        let lsn = |name| {
            row.try_get::<_, Option<PgLsn>>(name).map(|lsn| lsn.map(|lsn| Lsn(u64::from(lsn))))
        };
        let read = || -> Result<RoleObservation, tokio_postgres::Error> {
            let wal = match lsn("current")? {
                Some(current) => WalPosition::Writing { current },
                None => WalPosition::Recovering {
                    received: lsn("received")?,
                    replayed: lsn("replayed")?,
                    streaming: row.try_get::<_, Option<bool>>("streaming")?.unwrap_or(false),
                    sender: row.try_get("sender")?,
                },
            };
            Ok(RoleObservation {
                node: self.id,
                at,
                system_identifier: SystemIdentifier(
                    row.try_get::<_, i64>("system_identifier")?.cast_unsigned(),
                ),
                timeline: Timeline(row.try_get::<_, i32>("timeline")?.cast_unsigned()),
                wal,
            })
        };
        read().map_err(|error| CheckFailure::Failed(error.to_string()))
    }
}

// === impl Connection ===

impl Drop for Connection {
    fn drop(&mut self) {
        // A mute node would keep it waiting for ever.
        self.driver.abort();
    }
}

// === helpers ===

/// What an error of tokio-postgres says about the node.
fn failure(error: &tokio_postgres::Error) -> CheckFailure {
    let Some(code) = error.code() else {
        // Its own words are short ("db error"); the cause says what happened.
        let cause = std::error::Error::source(error).map(ToString::to_string);
        return CheckFailure::Broken(cause.unwrap_or_else(|| error.to_string()));
    };
    let text = error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
    match code {
        &SqlState::INVALID_PASSWORD | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            CheckFailure::Authentication(text)
        }
        &SqlState::TOO_MANY_CONNECTIONS => CheckFailure::TooManyClients(text),
        &SqlState::CANNOT_CONNECT_NOW => CheckFailure::StartingUp(text),
        &SqlState::ADMIN_SHUTDOWN | &SqlState::CRASH_SHUTDOWN => CheckFailure::Broken(text),
        _ => CheckFailure::Failed(text),
    }
}

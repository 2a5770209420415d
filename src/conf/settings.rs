//! What the program sees: validated settings, with nothing optional left over that has a default.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::conf::secret::Secret;

/// Everything that can be configured, after all layers are merged and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The PostgreSQL nodes, in order of their ids.
    pub nodes: Vec<Node>,
    /// Where clients connect.
    pub listen: Listen,
    /// How clients log in.
    pub auth: Auth,
    /// TLS with clients.
    pub client_tls: ClientTls,
    /// TLS with nodes.
    pub server_tls: ServerTls,
    /// Server connections.
    pub pool: Pool,
    /// What clients may use up.
    pub limits: Limits,
    /// How sockets are kept.
    pub tcp: Tcp,
    /// The role understudy uses on the nodes.
    pub monitor: Monitor,
    /// How nodes are asked.
    pub health_check: HealthCheck,
    /// What happens when a node is lost.
    pub failover: Failover,
    /// The log.
    pub log: Log,
    /// Threads and shutdown.
    pub process: Process,
}

/// One PostgreSQL node. Its role is discovered, never configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Host name, IP address, or the directory of a unix socket (then it starts with `/`).
    pub host: String,
    /// TCP port, or the number in the unix socket's name.
    pub port: u16,
    /// Share of the reads, relative to the other nodes; 0 for none.
    pub weight: f64,
}

/// `[listen]`
#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    /// TCP addresses to listen on; never empty unless `unix_socket_dir` is set.
    pub addresses: Vec<SocketAddr>,
    /// Directory of the unix socket, where one is wanted.
    pub unix_socket_dir: Option<PathBuf>,
    /// Permission bits of that socket.
    pub unix_socket_mode: u32,
    /// The listen queue's length.
    pub backlog: u32,
    /// From connecting to being logged in, waiting for a server excluded.
    pub login_timeout: Duration,
}

/// `[auth]`
#[derive(Clone, Debug, PartialEq)]
pub struct Auth {
    /// How a client proves who it is.
    pub method: AuthMethod,
    /// File of `"name" "secret"` lines.
    pub users_file: Option<PathBuf>,
    /// File of rules in the syntax of pg_hba.conf; they replace `method`.
    pub hba_file: Option<PathBuf>,
    /// Query for users who are not in the file.
    pub query: Option<String>,
    /// Database in which the query runs.
    pub query_database: String,
    /// How long an answer may be used again.
    pub query_cache: Duration,
    /// Failed logins of one user from one address after which more are refused; none: no limit.
    pub max_failures: Option<u32>,
    /// How long failures are counted, from the first of them.
    pub failure_window: Duration,
    /// How long logins are refused then.
    pub lockout: Duration,
}

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// Nobody is asked.
    Trust,
    /// The password itself, which is never asked for without TLS. Only a rule can say so.
    Password,
    /// MD5, or SCRAM where the stored secret is a SCRAM one.
    Md5,
    /// SCRAM-SHA-256 (RFC 7677).
    ScramSha256,
}

/// `[client_tls]`. TCP alone has TLS; unix sockets never do, as with PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// Who has to speak TLS.
    pub mode: ClientTlsMode,
    /// Our certificate; always there unless TLS is off.
    pub identity: Option<KeyPair>,
    /// Authorities of client certificates; always there where those are demanded.
    pub ca_file: Option<PathBuf>,
}

/// Who has to speak TLS with us: PgBouncer's `client_tls_sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientTlsMode {
    /// Nobody can.
    Disable,
    /// Who wants to; PgBouncer's other word for `Prefer`.
    Allow,
    /// Who wants to.
    Prefer,
    /// Everybody.
    Require,
    /// Everybody, and everybody has to show a certificate.
    VerifyCa,
    /// PgBouncer's other word for `VerifyCa`: a client has no host name to verify.
    VerifyFull,
}

/// `[server_tls]`. TCP alone has TLS; unix sockets never do, as with libpq.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// What is asked of nodes.
    pub mode: TlsMode,
    /// The certificate we show to nodes that ask for one.
    pub identity: Option<KeyPair>,
    /// Authorities of the nodes' certificates; always there where those are verified.
    pub ca_file: Option<PathBuf>,
}

/// What is asked of a node: libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// No TLS.
    Disable,
    /// TLS where the node has it.
    Prefer,
    /// TLS; its certificate is verified where there is a `ca_file`.
    Require,
    /// TLS, with a certificate from an authority we know.
    VerifyCa,
    /// Besides, the certificate is for the node's configured host.
    VerifyFull,
}

/// A certificate and its key, by their files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// The certificate, with what leads to its authority behind it.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
}

/// `[pool]`
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// When a server connection is given back.
    pub mode: PoolMode,
    /// Idle server connections kept per worker and key.
    pub max_idle: usize,
    /// Idle time after which a server connection is closed, where there is a limit.
    pub idle_timeout: Option<Duration>,
    /// Age after which a server connection is not pooled again, where there is a limit.
    pub max_lifetime: Option<Duration>,
    /// Server connections to one node, of all workers together, where there is a limit.
    pub max_per_node: Option<usize>,
    /// Opening a server connection, login included.
    pub connect_timeout: Duration,
    /// What cleans a server connection before its next client.
    pub reset_query: String,
}

/// When a server connection is given back to its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolMode {
    /// When the client leaves.
    Session,
}

/// `[limits]`. Where there is no limit there is `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Clients at a time.
    pub max_clients: Option<usize>,
    /// Clients of one role at a time.
    pub max_clients_per_user: Option<usize>,
    /// Clients of one database at a time.
    pub max_clients_per_database: Option<usize>,
    /// Waiting in line for a server connection.
    pub query_wait_timeout: Option<Duration>,
    /// When a waiting client is told so.
    pub query_wait_notify: Option<Duration>,
    /// Silence of a client outside of a transaction.
    pub client_idle_timeout: Option<Duration>,
    /// Silence of a client inside of a transaction.
    pub idle_transaction_timeout: Option<Duration>,
    /// Not reading what was asked for.
    pub client_write_timeout: Option<Duration>,
    /// Bytes of the longest statement.
    pub max_statement_size: usize,
}

/// `[tcp]`
#[derive(Clone, Debug, PartialEq)]
pub struct Tcp {
    /// Silence before the first keepalive probe.
    pub keepalive_idle: Duration,
    /// Time between two probes.
    pub keepalive_interval: Duration,
    /// Probes without an answer before the connection counts as broken.
    pub keepalive_count: u32,
    /// `TCP_USER_TIMEOUT`, where the system's is not wanted.
    pub user_timeout: Option<Duration>,
}

/// `[monitor]`
#[derive(Clone, Debug, PartialEq)]
pub struct Monitor {
    /// Role name.
    pub user: String,
    /// Password, from the key or from the file it names.
    pub password: Option<Secret>,
    /// Database to connect to.
    pub database: String,
}

/// `[health_check]`
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// Time between two checks of one node.
    pub period: Duration,
    /// Opening the connection.
    pub connect_timeout: Duration,
    /// One reply.
    pub reply_timeout: Duration,
    /// The whole check.
    pub check_timeout: Duration,
    /// How old an answer may be and still count.
    pub evidence_max_age: Duration,
}

/// `[failover]`
#[derive(Clone, Debug, PartialEq)]
pub struct Failover {
    /// How long a client waits for a primary.
    pub hold_timeout: Duration,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// The least severe level that is written.
    pub level: slog::Level,
    /// Who the log is written for.
    pub format: LogFormat,
    /// Lines that may wait for a slow reader.
    pub queue: usize,
}

/// Who the log is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// People on a terminal, programs otherwise.
    Auto,
    /// People: slog-term.
    Terminal,
    /// Programs: one JSON object a line.
    Json,
}

/// `[process]`
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// Worker threads; at least one.
    pub workers: usize,
    /// How long transactions may take to finish after SIGTERM.
    pub shutdown_timeout: Duration,
}

//! What may be written: every key, and the kind of its value.
//!
//! No key is optional, and no other is allowed: the built-in defaults have to name exactly these. Users'
//! unknown keys are reported before, with a suggestion.

use serde::Deserialize;
use slog::Level;

use crate::conf::{
    kinds::{
        Addresses, FilePath, Hidden, Host, Limit, Name, Permissions, Text, Threads, Wait,
        WaitOrNone, Weight, Whole,
    },
    settings::{AuthMethod, ClientTlsMode, LogFormat, PoolMode, TlsMode},
    written::{Given, Kind},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) nodes: Vec<Node>,
    pub(super) listen: Listen,
    pub(super) auth: Auth,
    pub(super) client_tls: Tls<ClientTlsMode>,
    pub(super) server_tls: Tls<TlsMode>,
    pub(super) pool: Pool,
    pub(super) limits: Limits,
    pub(super) tcp: Tcp,
    pub(super) monitor: Monitor,
    pub(super) health_check: HealthCheck,
    pub(super) failover: Failover,
    pub(super) log: Log,
    pub(super) process: Process,
}

/// The one table without a line in the defaults: what is not written is completed before.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    pub(super) host: Given<Host>,
    pub(super) port: Given<Whole<1, 65535>>,
    pub(super) weight: Given<Weight>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listen {
    pub(super) addresses: Vec<Given<Addresses>>,
    pub(super) unix_socket_dir: Given<FilePath>,
    pub(super) unix_socket_mode: Given<Permissions>,
    pub(super) backlog: Given<Whole<1, 65535>>,
    pub(super) login_timeout: Given<Wait>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Auth {
    pub(super) method: Given<AuthMethod>,
    pub(super) hba_file: Given<FilePath>,
    pub(super) users_file: Given<FilePath>,
    pub(super) query: Given<Text>,
    pub(super) query_database: Given<Name>,
    pub(super) query_cache: Given<WaitOrNone>,
    pub(super) max_failures: Given<Whole<0, 1_000_000>>,
    pub(super) failure_window: Given<Wait>,
    pub(super) lockout: Given<Wait>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, bound = "")]
pub(super) struct Tls<M: Kind> {
    pub(super) sslmode: Given<M>,
    pub(super) cert_file: Given<FilePath>,
    pub(super) key_file: Given<FilePath>,
    pub(super) ca_file: Given<FilePath>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pool {
    pub(super) mode: Given<PoolMode>,
    pub(super) max_idle: Given<Whole<0, 100_000>>,
    pub(super) idle_timeout: Given<Limit>,
    pub(super) max_lifetime: Given<Limit>,
    pub(super) max_per_node: Given<Whole<0, 100_000>>,
    pub(super) connect_timeout: Given<Wait>,
    pub(super) reset_query: Given<Name>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) max_clients: Given<Whole<0, 10_000_000>>,
    pub(super) max_clients_per_user: Given<Whole<0, 10_000_000>>,
    pub(super) max_clients_per_database: Given<Whole<0, 10_000_000>>,
    pub(super) query_wait_timeout: Given<Limit>,
    pub(super) query_wait_notify: Given<Limit>,
    pub(super) client_idle_timeout: Given<Limit>,
    pub(super) idle_transaction_timeout: Given<Limit>,
    pub(super) client_write_timeout: Given<Limit>,
    pub(super) max_statement_size: Given<Whole<1024, 1_073_741_823>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tcp {
    pub(super) keepalive_idle: Given<Wait>,
    pub(super) keepalive_interval: Given<Wait>,
    pub(super) keepalive_count: Given<Whole<1, 127>>,
    pub(super) user_timeout: Given<Limit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Monitor {
    pub(super) user: Given<Name>,
    pub(super) password: Given<Hidden>,
    pub(super) password_file: Given<FilePath>,
    pub(super) database: Given<Name>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HealthCheck {
    pub(super) period: Given<Wait>,
    pub(super) connect_timeout: Given<Wait>,
    pub(super) reply_timeout: Given<Wait>,
    pub(super) check_timeout: Given<Wait>,
    pub(super) evidence_max_age: Given<Wait>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Failover {
    pub(super) hold_timeout: Given<WaitOrNone>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    pub(super) level: Given<Level>,
    pub(super) format: Given<LogFormat>,
    pub(super) queue: Given<Whole<1, 1_000_000>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Process {
    pub(super) workers: Given<Threads>,
    pub(super) shutdown_timeout: Given<WaitOrNone>,
}

//! Where a setting comes from: defaults, file, environment, flags.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{fs, path::PathBuf, time::Duration};

use slog::Level;
use tempfile::TempDir;

use understudy::conf::{
    self, Flag, Loaded, Sources,
    settings::{
        Auth, AuthMethod, ClientTls, ClientTlsMode, Failover, HealthCheck, Limits, Listen, Log,
        LogFormat, Monitor, Node, Pool, PoolMode, Process, ServerTls, Settings, Tcp, TlsMode,
    },
};

/// The configuration of the README: three nodes.
const THREE_NODES: &str = r#"
[[nodes]]
host = "db0.example.com"

[[nodes]]
host = "db1.example.com"

[[nodes]]
host = "10.0.0.3"
port = 5433
weight = 2

[listen]
addresses = ["*:6432"]

[auth]
query = "SELECT rolname, secret FROM understudy.user_lookup($1)"

[monitor]
password = "monitoring"
"#;

fn load(file: &str, environment: &[(&str, &str)], set: &[&str]) -> Loaded {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("understudy.toml");
    fs::write(&path, file).unwrap();
    conf::load(&Sources {
        file: Some(path),
        environment: environment.iter().map(|(n, v)| (n.into(), v.into())).collect(),
        set: set.iter().map(ToString::to_string).collect(),
        flags: Vec::new(),
    })
    .unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn node(host: &str, port: u16, weight: f64) -> Node {
    Node { host: host.to_owned(), port, weight }
}

#[test]
fn the_sample_alone_gives_the_defaults_it_names() {
    let loaded = load("[[nodes]]\nhost = \"a\"\n", &[], &[]);
    let seconds = Duration::from_secs;
    let mut settings = loaded.settings;
    assert!(settings.process.workers >= 1);
    settings.process.workers = 1;
    assert_eq!(
        settings,
        Settings {
            nodes: vec![node("a", 5432, 1.0)],
            listen: Listen {
                addresses: vec!["127.0.0.1:6432".parse().unwrap()],
                unix_socket_dir: None,
                unix_socket_mode: 0o777,
                backlog: 1024,
                login_timeout: seconds(60),
            },
            auth: Auth {
                method: AuthMethod::ScramSha256,
                hba_file: None,
                users_file: None,
                query: None,
                query_database: "postgres".to_owned(),
                query_cache: seconds(0),
                max_failures: Some(10),
                failure_window: seconds(60),
                lockout: seconds(60),
            },
            client_tls: ClientTls { mode: ClientTlsMode::Disable, identity: None, ca_file: None },
            server_tls: ServerTls { mode: TlsMode::Prefer, identity: None, ca_file: None },
            pool: Pool {
                mode: PoolMode::Session,
                max_idle: 20,
                idle_timeout: Some(seconds(600)),
                max_lifetime: Some(seconds(3600)),
                max_per_node: Some(90),
                connect_timeout: seconds(5),
                reset_query: "DISCARD ALL".to_owned(),
            },
            limits: Limits {
                max_clients: Some(10_000),
                max_clients_per_user: None,
                max_clients_per_database: None,
                query_wait_timeout: Some(seconds(120)),
                query_wait_notify: Some(seconds(5)),
                client_idle_timeout: None,
                idle_transaction_timeout: None,
                client_write_timeout: Some(seconds(900)),
                max_statement_size: 1_073_741_823,
            },
            tcp: Tcp {
                keepalive_idle: seconds(60),
                keepalive_interval: seconds(10),
                keepalive_count: 6,
                user_timeout: None,
            },
            monitor: Monitor {
                user: "understudy".to_owned(),
                password: None,
                database: "postgres".to_owned(),
            },
            health_check: HealthCheck {
                period: seconds(1),
                connect_timeout: seconds(1),
                reply_timeout: seconds(1),
                check_timeout: seconds(3),
                evidence_max_age: seconds(5),
            },
            failover: Failover { hold_timeout: seconds(30) },
            log: Log { level: Level::Info, format: LogFormat::Auto, queue: 4096 },
            process: Process { workers: 1, shutdown_timeout: seconds(30) },
        }
    );
}

#[test]
fn the_sample_has_every_key_and_no_other() {
    // Used as the user's file it has no unknown key; and it cannot lack one, because it is the layer of
    // the defaults, of which none is optional.
    load(conf::SAMPLE, &[("UNDERSTUDY__NODES__0__HOST", "a")], &[]);
}

#[test]
fn the_sample_shows_a_node_with_its_defaults() {
    let commented: String = conf::SAMPLE
        .lines()
        .skip_while(|line| *line != "# [[nodes]]")
        .take_while(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches(['#', ' ']).to_owned() + "\n")
        .collect();
    let keys: Vec<&str> =
        commented.lines().skip(1).map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(keys, ["host", "port", "weight"]);
    let shown = load(&commented, &[], &[]).settings.nodes;
    let bare = load("[[nodes]]\nhost = \"db0.example.com\"\n", &[], &[]).settings.nodes;
    assert_eq!(shown, bare);
}

#[test]
fn twenty_lines_are_enough_for_three_nodes() {
    let lines = THREE_NODES.lines().filter(|line| !line.is_empty()).count();
    assert!(lines <= 20, "{lines}");
    let loaded = load(THREE_NODES, &[], &[]);
    assert_eq!(
        loaded.settings.nodes,
        [
            node("db0.example.com", 5432, 1.0),
            node("db1.example.com", 5432, 1.0),
            node("10.0.0.3", 5433, 2.0)
        ]
    );
    assert_eq!(loaded.settings.monitor.password.unwrap().reveal(), "monitoring");
    assert_eq!(loaded.doubts, [""; 0]);
}

#[test]
fn a_star_listens_on_every_address_of_both_families() {
    let addresses = load(THREE_NODES, &[], &[]).settings.listen.addresses;
    assert_eq!(addresses, ["0.0.0.0:6432".parse().unwrap(), "[::]:6432".parse().unwrap()]);
}

#[test]
fn later_layers_win() {
    let file = format!("{THREE_NODES}\n[log]\nlevel = \"warning\"\nqueue = 7\nformat = \"json\"\n");
    let level = |environment, set| load(&file, environment, set).settings.log.level;
    assert_eq!(level(&[], &[]), Level::Warning);
    assert_eq!(level(&[("UNDERSTUDY__LOG__LEVEL", "error")], &[]), Level::Error);
    let both = load(&file, &[("UNDERSTUDY__LOG__LEVEL", "error")], &["log.level=debug"]);
    assert_eq!(both.settings.log, Log { level: Level::Debug, format: LogFormat::Json, queue: 7 });
    let flag = Flag { name: "--log-level", key: "log.level", value: "trace".to_owned() };
    let set = vec!["log.level=debug".to_owned(), "nodes.0.host=a".to_owned()];
    let sources = Sources { set, flags: vec![flag], ..Sources::default() };
    assert_eq!(conf::load(&sources).unwrap().settings.log.level, Level::Trace);
}

#[test]
fn the_environment_reaches_everything() {
    let settings = load(
        THREE_NODES,
        &[
            ("UNDERSTUDY__NODES__1__HOST", "replaced"),
            ("UNDERSTUDY__NODES__3__HOST", "added"),
            ("UNDERSTUDY__NODES__3__PORT", "6000"),
            ("UNDERSTUDY__NODES__3__WEIGHT", "0"),
            ("UNDERSTUDY__LISTEN__ADDRESSES", "127.0.0.1:1, [::1]:2"),
            ("UNDERSTUDY__LISTEN__ADDRESSES__1", "127.0.0.1:3"),
            // Not a number, although it looks like one.
            ("UNDERSTUDY__MONITOR__PASSWORD", "0123"),
            ("UNDERSTUDY__PROCESS__WORKERS", "3"),
            ("UNDERSTUDY__POOL__MAX_LIFETIME", "0s"),
            ("UNDERSTUDY_HOME", "/not/ours"),
            ("PATH", "/bin"),
        ],
        &[],
    )
    .settings;
    assert_eq!(settings.nodes[1], node("replaced", 5432, 1.0));
    assert_eq!(settings.nodes[3], node("added", 6000, 0.0));
    let addresses = ["127.0.0.1:1".parse().unwrap(), "127.0.0.1:3".parse().unwrap()];
    assert_eq!(settings.listen.addresses, addresses);
    assert_eq!(settings.monitor.password.unwrap().reveal(), "0123");
    assert_eq!(settings.process.workers, 3);
    assert_eq!(settings.pool.max_lifetime, None);
}

#[test]
fn a_socket_alone_is_enough_to_listen_on() {
    let directory = TempDir::new().unwrap();
    let set = format!("listen.unix_socket_dir={}", directory.path().display());
    let listen = load(THREE_NODES, &[], &["listen.addresses=", &set]).settings.listen;
    assert!(listen.addresses.is_empty());
    assert_eq!(listen.unix_socket_dir.as_deref(), Some(directory.path()));
}

#[test]
fn the_first_line_of_the_password_file_is_the_password() {
    let directory = TempDir::new().unwrap();
    let path: PathBuf = directory.path().join("password");
    fs::write(&path, "sécret with spaces \r\nsecond line\n").unwrap();
    let set = format!("monitor.password_file={}", path.display());
    let monitor = load(THREE_NODES, &[], &["monitor.password=", &set]).settings.monitor;
    assert_eq!(monitor.password.unwrap().reveal(), "sécret with spaces ");
}

#[test]
fn what_is_probably_not_meant_is_said() {
    let doubts = load("[[nodes]]\nhost = \"a\"\n", &[], &[]).doubts;
    assert_eq!(doubts, ["nobody can log in: neither auth.users_file nor auth.query says who may"]);
    let doubts = load(THREE_NODES, &[], &["auth.method=trust"]).doubts;
    assert_eq!(
        doubts,
        ["auth.method is \"trust\" and listen.addresses reach beyond this machine: \
          whoever connects is let in"]
    );
    let local = ["auth.method=trust", "listen.addresses=127.0.0.1:1"];
    assert_eq!(load(THREE_NODES, &[], &local).doubts, [""; 0]);
}

#[test]
fn every_value_is_shown_with_its_origin() {
    let environment = [("UNDERSTUDY__LOG__LEVEL", "debug")];
    let shown = load(THREE_NODES, &environment, &["pool.max_idle=3"]).effective.to_string();
    let origin = |start: &str| {
        let line = shown.lines().find(|line| line.starts_with(start)).unwrap();
        let (_, origin) = line.split_once("# ").unwrap();
        origin.rsplit('/').next().unwrap().to_owned()
    };
    assert_eq!(origin("level = \"debug\""), "environment UNDERSTUDY__LOG__LEVEL");
    assert_eq!(origin("max_idle = 3"), "flag --set");
    assert_eq!(origin("host = \"db1.example.com\""), "understudy.toml:6:1");
    assert_eq!(origin("backlog = 1024"), "default");
    // It is a configuration that says the same, but for the secret.
    let again = load(&shown, &[], &["monitor.password=monitoring"]).settings;
    assert_eq!(again, load(THREE_NODES, &environment, &["pool.max_idle=3"]).settings);
}

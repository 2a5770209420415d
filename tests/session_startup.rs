//! The first bytes of a session: requests for encryption, versions, startup parameters, logins.
#![cfg(feature = "real-nodes")]
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod support;

use understudy::lab::{Cluster, ClusterSpec, Login};

use support::{
    Proxy, ProxySpec, Stage, Wire, connect, try_connect, value,
    wire::{CANCEL, GSS, SSL, V3_0, V3_2, startup, untagged},
    words,
};

/// What a server says after a login, without what differs between two logins.
fn greeting(conninfo: &str, parameters: &[(&str, &str)]) -> Vec<String> {
    Wire::try_log_in(conninfo, parameters).1
}

#[test]
fn a_new_session_is_greeted_as_by_postgresql() {
    let stage = Stage::new();
    let first = stage.same(|conninfo| sorted(greeting(conninfo, &[])));
    assert!(first.contains(&"parameter server_encoding=UTF8".to_owned()), "{first:?}");
    // A server connection waits already: the next is greeted from memory, and by name.
    let parameters = [("application_name", "second"), ("DateStyle", "German, DMY")];
    for _ in 0..3 {
        let again = stage.same(|conninfo| sorted(greeting(conninfo, &parameters)));
        assert!(again.contains(&"parameter application_name=second".to_owned()), "{again:?}");
        assert!(again.contains(&"parameter DateStyle=German, DMY".to_owned()), "{again:?}");
    }
}

#[test]
fn a_startup_parameter_that_the_server_corrects_is_noticed() {
    let stage = Stage::new();
    let long = "x".repeat(70);
    // The first is told by a new server connection, the others from memory.
    for _ in 0..3 {
        let heard = stage
            .same(|conninfo| sorted(greeting(conninfo, &[("application_name", long.as_str())])));
        let notice = heard.iter().find(|line| line.contains("will be truncated to"));
        assert!(notice.is_some(), "{heard:?}");
    }
}

#[test]
fn requests_for_encryption_are_declined_and_the_session_goes_on() {
    let stage = Stage::new();
    let config: tokio_postgres::Config = stage.proxied(Login::App).parse().unwrap();
    let port = config.get_ports()[0];
    for requests in [&[SSL][..], &[GSS], &[SSL, GSS], &[GSS, SSL]] {
        let mut wire = Wire::open(port);
        for request in requests {
            wire.send(&untagged(*request, b""));
            assert_eq!(wire.byte(), b'N');
        }
        wire.send(&startup(V3_0, &[("user", "app"), ("database", "app")]));
        assert_eq!(wire.next().unwrap().tag, b'R');
    }
    // For ever is not on offer.
    let mut wire = Wire::open(port);
    for answer in [true, false] {
        wire.send(&untagged(SSL, b""));
        if answer {
            assert_eq!(wire.byte(), b'N');
        }
    }
    assert_eq!(
        wire.until_closed(),
        ["error FATAL 08P01 received more than one request for encryption", "closed"]
    );
}

#[test]
fn newer_minor_versions_and_unknown_protocol_options_are_negotiated() {
    let stage = Stage::new();
    let proxied = stage.proxied(Login::App);
    let told = |version, options: &[(&str, &str)]| {
        let (mut wire, said) = Wire::try_log_in_as(version, &proxied, options);
        assert_eq!(wire.value("SELECT 'served'"), "served");
        let told =
            said.iter().filter(|line| line.starts_with("negotiate") || line.starts_with("key"));
        told.cloned().collect::<Vec<_>>()
    };
    let short = "key of 4 bytes";
    assert_eq!(told(V3_0, &[]), [short]);
    // 3.2 is spoken, and brings longer cancel keys.
    assert_eq!(told(V3_2, &[]), ["key of 32 bytes"]);
    // 3.1 was never released; 3.9999 is what clients send to see what happens.
    let newest = "negotiate [0, 3, 0, 2, 0, 0, 0, 0]";
    let after = told(V3_0 | 9999, &[]);
    assert!(after[0].starts_with(newest) && after[1] == "key of 32 bytes", "{after:?}");
    // PostgreSQL answers to an unknown option in the same way, but for the version it speaks.
    let options = [("_pq_.shiny", "1"), ("_pq_.new", "2")];
    let expected = "negotiate [0, 3, 0, 0, 0, 0, 0, 2] [\"_pq_.shiny\", \"_pq_.new\"]";
    assert_eq!(told(V3_0, &options), [expected, short]);
    // It comes before the client is asked for anything.
    for port in [stage.cluster.node(0).port(), stage.proxy.port()] {
        let mut wire = Wire::open(port);
        wire.send(&startup(V3_0 | 9999, &[("user", "app"), ("database", "app")]));
        assert_eq!(wire.next().unwrap().tag, b'v', "port {port}");
    }
}

#[test]
fn packets_that_are_none_are_refused_as_by_postgresql() {
    let stage = Stage::new();
    let ports = [stage.cluster.node(0).port(), stage.proxy.port()];
    let refused = |packet: &[u8]| {
        let answers = ports.map(|port| {
            let mut wire = Wire::open(port);
            wire.send(packet);
            wire.until_closed()
        });
        assert_eq!(answers[1], answers[0], "through the proxy (left) and straight (right)");
        answers[1].clone()
    };
    let no_user = "error FATAL 28000 no PostgreSQL user name specified in startup packet";
    assert_eq!(refused(&startup(V3_0, &[])), [no_user, "closed"]);
    assert_eq!(refused(&startup(V3_0, &[("database", "app")])), [no_user, "closed"]);
    // Without the end of its list.
    let layout =
        "error FATAL 08P01 invalid startup packet layout: expected terminator as last byte";
    assert_eq!(refused(&untagged(V3_0, b"user\0app\0")), [layout, "closed"]);
    // A cancel request with a key of nobody is answered by silence.
    assert_eq!(refused(&untagged(CANCEL, &[0, 0, 0, 9, 1, 2, 3, 4])), ["closed"]);
}

#[test]
fn a_startup_packet_may_come_in_single_bytes() {
    let stage = Stage::new();
    let mut wire = Wire::open(stage.proxy.port());
    for byte in startup(V3_0, &[("user", "app"), ("database", "app")]) {
        wire.send(&[byte]);
    }
    assert_eq!(wire.next().unwrap().tag, b'R');
}

#[test]
fn who_does_not_log_in_in_time_is_sent_away() {
    let stage = Stage::with(1, &["listen.login_timeout=500ms"]);
    let mut silent = Wire::open(stage.proxy.port());
    let mut half = Wire::open(stage.proxy.port());
    half.send(&startup(V3_0, &[("user", "app")])[..9]);
    let mut coy = Wire::open(stage.proxy.port());
    coy.send(&startup(V3_0, &[("user", "app"), ("database", "app")]));
    coy.next();
    for wire in [&mut silent, &mut half, &mut coy] {
        assert_eq!(wire.until_closed(), ["closed"]);
    }
    // Who is in may take all the time there is.
    let mut wire = Wire::log_in(&stage.proxied(Login::App), &[]);
    assert_eq!(wire.value("SELECT pg_sleep(0.7) IS NULL"), "f");
}

#[test]
fn names_may_hold_anything() {
    let stage = Stage::new();
    let name = "o'dd \"näme\" \\ $1";
    let quoted = name.replace('"', "\"\"");
    stage.admin(&format!("CREATE ROLE \"{quoted}\" LOGIN PASSWORD 'x'"));
    stage.admin(&format!("CREATE DATABASE \"{quoted}\" OWNER \"{quoted}\""));
    let seen = stage.same(|conninfo| {
        let value = name.replace('\\', "\\\\").replace('\'', "\\'");
        let port = conninfo.split_whitespace().find(|part| part.starts_with("port=")).unwrap();
        let conninfo = format!("host=127.0.0.1 {port} user='{value}' dbname='{value}' password=x");
        let mut wire = Wire::log_in(&conninfo, &[("application_name", "it's \"me\"")]);
        [
            wire.value("SELECT current_user"),
            wire.value("SELECT current_database()"),
            wire.value("SHOW application_name"),
        ]
    });
    assert_eq!(seen, [name, name, "it's \"me\""]);
}

#[test]
fn a_users_file_lets_people_in_that_no_node_is_asked_about() {
    let cluster = Cluster::create(ClusterSpec::with_nodes(1)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let password = cluster.password(Login::App).unwrap().reveal();
    let users = format!("\"app\" \"{password}\"\n");
    let users = support::proxy::file(directory.path(), "users", &users);
    let users = format!("auth.users_file={}", users.display());
    for (method, given) in [("scram-sha-256", password), ("md5", password), ("trust", "none")] {
        let method = format!("auth.method={method}");
        let spec = ProxySpec::of(&cluster).set(&["auth.query=", &users, &method]);
        let proxy = Proxy::start(&spec);
        let conninfo =
            format!("host=127.0.0.1 port={} user=app dbname=app password={given}", proxy.port());
        let ran = support::run(psql(&cluster, &conninfo), "SELECT current_user;");
        assert_eq!(ran.clone().ok(), "app\n", "{method}: {ran:?}");
    }
}

fn psql(cluster: &Cluster, conninfo: &str) -> std::process::Command {
    let mut psql = support::program::command(&cluster.binaries().path("psql"));
    psql.args(["-XAt", "-d", conninfo]);
    psql
}

#[test]
fn a_version_that_nobody_speaks_is_refused_with_the_right_code() {
    let stage = Stage::new();
    for major in [1_u32, 2, 4] {
        let mut wire = Wire::open(stage.proxy.port());
        wire.send(&startup(major << 16, &[("user", "app")]));
        let said = wire.until_closed();
        assert!(said[0].starts_with("error FATAL 0A000 unsupported frontend protocol"), "{said:?}");
        assert_eq!(said[1], "closed");
    }
}

#[test]
fn every_startup_parameter_is_in_force_on_the_server() {
    let stage = Stage::new();
    stage.admin("CREATE SCHEMA wing; CREATE TABLE wing.t AS SELECT 1 AS n");
    let parameters = [
        ("search_path", "wing, public"),
        ("options", "-c statement_timeout=12345 -c work_mem=7MB --geqo=off"),
        ("application_name", "ward robe"),
        ("TimeZone", "Asia/Tokyo"),
        ("DateStyle", "German, DMY"),
        ("client_encoding", "LATIN1"),
        ("IntervalStyle", "iso_8601"),
        ("extra_float_digits", "0"),
        ("lock_timeout", "9s"),
        ("my.own", "a setting with ' and \\"),
    ];
    let names = [
        "search_path",
        "statement_timeout",
        "work_mem",
        "geqo",
        "application_name",
        "TimeZone",
        "DateStyle",
        "client_encoding",
        "IntervalStyle",
        "extra_float_digits",
        "lock_timeout",
        "my.own",
    ];
    let shown = stage.same(|conninfo| {
        let mut wire = Wire::log_in(conninfo, &parameters);
        names.map(|name| wire.value(&format!("SHOW {name}")))
    });
    assert_eq!(
        shown,
        [
            "wing, public",
            "12345ms",
            "7MB",
            "off",
            "ward robe",
            "Asia/Tokyo",
            "German, DMY",
            "LATIN1",
            "iso_8601",
            "0",
            "9s",
            "a setting with ' and \\",
        ]
    );
    // A session that resets itself, or is given a used connection, comes back to them.
    for _ in 0..2 {
        let mut wire = Wire::log_in(&stage.proxied(Login::App), &parameters);
        wire.query("SET search_path = nowhere; SET TimeZone = 'UTC'; SET work_mem = '1MB'");
        wire.query("RESET ALL");
        let again = names.map(|name| wire.value(&format!("SHOW {name}")));
        assert_eq!(again, shown);
        wire.query("SET search_path = nowhere; SET TimeZone = 'UTC'; SET work_mem = '1MB'");
    }
    // One with other parameters does not get theirs.
    let plain = stage.same(|conninfo| {
        let mut wire = Wire::log_in(conninfo, &[]);
        names[..11].iter().map(|name| wire.value(&format!("SHOW {name}"))).collect::<Vec<_>>()
    });
    assert_eq!(plain[0], "\"$user\", public");
}

#[test]
fn wrong_parameters_are_refused_in_postgresqls_words() {
    let stage = Stage::new();
    let refused = |parameters: &[(&str, &str)]| {
        stage.same(|conninfo| greeting(conninfo, parameters)).join("; ")
    };
    assert_eq!(
        refused(&[("no_such_setting", "1")]),
        "error FATAL 42704 unrecognized configuration parameter \"no_such_setting\""
    );
    assert_eq!(
        refused(&[("TimeZone", "Nowhere/Land")]),
        "error FATAL 22023 invalid value for parameter \"TimeZone\": \"Nowhere/Land\""
    );
    assert_eq!(
        refused(&[("options", "-c work_mem=lots")]),
        "error FATAL 22023 invalid value for parameter \"work_mem\": \"lots\""
    );
    assert_eq!(
        refused(&[("shared_buffers", "1MB")]),
        "error FATAL 55P02 parameter \"shared_buffers\" cannot be changed without restarting the server"
    );
    assert_eq!(
        refused(&[("log_statement", "all")]),
        "error FATAL 42501 permission denied to set parameter \"log_statement\""
    );
}

#[tokio::test]
async fn whoever_may_not_come_in_hears_what_postgresql_would_say() {
    let stage = Stage::new();
    stage.admin("CREATE DATABASE closed");
    stage.admin("REVOKE CONNECT ON DATABASE closed FROM PUBLIC");
    let pairs = [
        ("dbname=app", "dbname=nowhere"),
        ("dbname=app", "dbname=closed"),
        ("user=app", "user=nobody"),
        ("password=", "password=wrong"),
        // A name as long as names can be, and longer.
        ("dbname=app", &format!("dbname={}", "d".repeat(63))),
        ("user=app", &format!("user={}", "u".repeat(63))),
    ]
    .map(|(from, to)| (from.to_owned(), to.to_owned()));
    let mut heard = Vec::new();
    for (from, to) in pairs {
        let mut answers = Vec::new();
        for conninfo in [stage.straight(Login::App), stage.proxied(Login::App)] {
            let error = try_connect(&conninfo.replace(&from, &to)).await.unwrap_err();
            answers.push(words(&error));
        }
        assert_eq!(answers[1], answers[0], "{to}");
        heard.push(answers.remove(1));
    }
    assert_eq!(
        heard[..4],
        [
            "3D000 database \"nowhere\" does not exist",
            "42501 permission denied for database \"closed\"",
            "28P01 password authentication failed for user \"nobody\"",
            "28P01 password authentication failed for user \"app\"",
        ]
    );
    // Nobody was kept out by somebody else's failure.
    let client = connect(&stage.proxied(Login::App)).await;
    assert_eq!(value(&client, "SELECT 1").await, "1");
}

#[tokio::test]
async fn a_changed_password_counts_from_the_next_attempt_on() {
    // One worker: each keeps answers of its own.
    let stage = Stage::with(1, &["auth.query_cache=1h", "process.workers=1"]);
    let proxied = stage.proxied(Login::App);
    let client = connect(&proxied).await;
    client.batch_execute("ALTER ROLE app PASSWORD 'a new one'").await.unwrap();
    let renewed = format!("{} password='a new one'", proxied.split(" password=").next().unwrap());
    assert!(try_connect(&renewed).await.is_err(), "the old secret was kept");
    assert!(try_connect(&renewed).await.is_ok(), "a secret that did not fit is forgotten");
    for _ in 0..4 {
        let error = try_connect(&proxied).await.unwrap_err();
        assert_eq!(words(&error), "28P01 password authentication failed for user \"app\"");
    }
    // Who is in stays in.
    assert_eq!(value(&client, "SELECT 1").await, "1");
}

#[tokio::test]
async fn clients_come_by_the_unix_socket_too() {
    let stage = Stage::new();
    let directory = stage.proxy.socket_dir().display().to_string();
    let by_socket = stage.proxied(Login::App).replace("127.0.0.1", &directory);
    let client = connect(&by_socket).await;
    assert_eq!(value(&client, "SELECT current_user").await, "app");
    let ran = stage.psql(&by_socket, "SELECT current_database();");
    assert!(ran.clone().ok().contains("\n app\n"), "{ran:?}");
    let file = stage.proxy.socket_dir().join(format!(".s.PGSQL.{}", stage.proxy.port()));
    assert!(file.exists());
    let mut proxy = stage.proxy;
    proxy.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(proxy.await_end().code(), Some(0));
    assert!(!file.exists(), "the socket's file goes with the program");
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

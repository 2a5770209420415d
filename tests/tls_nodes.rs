//! TLS with nodes: which of them are believed, in each mode, and by everybody who connects to them.
#![cfg(feature = "real-nodes")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
#![allow(clippy::disallowed_methods, reason = "a node that does not read is waited with")]

mod support;

use std::{fs, path::PathBuf, process::Stdio};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use support::{
    Proxy, ProxySpec, Stage, await_condition,
    meddler::{Meddler, man_in_the_middle},
    program::{self, run},
    tls::Authority,
    wire::{SSL, tagged, untagged},
};
use understudy::{
    conf::{self, Sources, settings::Settings},
    lab::{Cluster, ClusterSpec, Login},
};

/// Whether the session's own server connection is encrypted.
const MINE: &str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

/// How many of the proxy's own connections are not encrypted, and whether there are any.
const ITS: &str = "SELECT count(*) FILTER (WHERE NOT ssl) || ' of ' || (count(*) > 1) \
                   FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                   WHERE application_name IN ('understudy monitor', 'understudy auth')";

/// An authority, and a node that speaks TLS with a certificate of it for its address.
fn secured() -> (Authority, Cluster) {
    let authority = Authority::new();
    authority.server("node", &["127.0.0.1"]);
    let settings = authority.node_settings("node");
    let cluster = Cluster::create(ClusterSpec { settings, ..ClusterSpec::with_nodes(1) }).unwrap();
    (authority, cluster)
}

/// Sets a node's parameter and has the node read it.
fn set(cluster: &Cluster, parameter: &str, value: &str) {
    cluster.query(0, &format!("ALTER SYSTEM SET {parameter} = '{value}'")).unwrap();
    cluster.query(0, "SELECT pg_reload_conf()").unwrap();
    await_condition("the node to have read its configuration", || {
        cluster.value(0, &format!("SHOW {parameter}")).is_ok_and(|now| now == value)
    });
}

fn start(cluster: &Cluster, settings: &[&str]) -> Proxy {
    Proxy::start(&ProxySpec::of(cluster).set(settings))
}

/// One value by psql through a proxy, or what psql said.
fn ask(cluster: &Cluster, proxy: &Proxy, more: &str, sql: &str) -> Result<String, String> {
    let conninfo = format!("{} {more}", proxy.conninfo(cluster, Login::App));
    let mut psql = program::command(&cluster.binaries().path("psql"));
    psql.args(["-X", "-A", "-t", "-d", &conninfo, "-c", sql]);
    let ran = run(psql, "");
    if ran.code == Some(0) { Ok(ran.out.trim().to_owned()) } else { Err(ran.err) }
}

/// Settings as a file would say them.
fn settings(set: &[String]) -> Settings {
    let set = [&["nodes.0.host=127.0.0.1".to_owned()], set].concat();
    conf::load(&Sources { set, ..Sources::default() }).unwrap().settings
}

#[test]
fn each_mode_takes_the_nodes_it_should() {
    let (authority, cluster) = secured();
    let stranger = Authority::new();
    authority.server("elsewhere", &["192.0.2.1", "node.example.com"]);
    authority.self_signed("own", &["127.0.0.1"]);
    stranger.server("node", &["127.0.0.1"]);
    let (ours, own) = (authority.file("ca.crt"), authority.file("own.crt"));
    let nodes = [
        ("without TLS", None, &ours),
        ("of the authority", Some(authority.file("node")), &ours),
        ("with another name", Some(authority.file("elsewhere")), &ours),
        ("of another authority", Some(stranger.file("node")), &ours),
        ("self-signed and listed", Some(authority.file("own")), &own),
    ];
    for (what, certificate, ca) in nodes {
        match &certificate {
            None => set(&cluster, "ssl", "off"),
            Some(path) => {
                set(&cluster, "ssl_cert_file", &format!("{path}.crt"));
                set(&cluster, "ssl_key_file", &format!("{path}.key"));
                set(&cluster, "ssl", "on");
            }
        }
        for (mode, ca) in [
            ("disable", None),
            ("prefer", None),
            ("require", None),
            ("require", Some(ca)),
            ("verify-ca", Some(ca)),
            ("verify-full", Some(ca)),
        ] {
            let settings = [
                format!("server_tls.sslmode={mode}"),
                format!("server_tls.ca_file={}", ca.map_or("", |ca| ca)),
            ];
            let proxy = start(&cluster, &[&settings[0], &settings[1]]);
            let case = format!("{settings:?} with a node {what}");
            let refusal = match (what, mode, ca.is_some()) {
                (_, "disable", _) | ("without TLS", "prefer", _) => Ok("f"),
                ("without TLS", ..) => Err("it does not speak TLS"),
                (_, "prefer", _) | (_, "require", false) => Ok("t"),
                ("of another authority", ..) => Err("invalid peer certificate: UnknownIssuer"),
                ("with another name", "verify-full", _) => {
                    Err("invalid peer certificate: certificate not valid for name")
                }
                _ => Ok("t"),
            };
            match refusal {
                Ok(encrypted) => {
                    proxy.await_event("primary_found");
                    assert_eq!(ask(&cluster, &proxy, "", MINE).as_deref(), Ok(encrypted), "{case}");
                    let its = cluster.value(0, ITS).unwrap();
                    let clear = if encrypted == "t" { "0 of true" } else { "2 of true" };
                    assert_eq!(its, clear, "{case}");
                }
                Err(why) => {
                    proxy.await_sentence("check_failed", "not as [server_tls] demands");
                    let said = proxy.sentences("check_failed");
                    assert!(said.iter().any(|said| said.contains(why)), "{case}: {said:?}");
                    assert_eq!(proxy.events("primary_found").len(), 0, "{case}");
                }
            }
        }
    }
}

#[test]
fn a_node_that_changes_its_certificate_is_believed_when_the_authorities_are_read_again() {
    let (authority, cluster) = secured();
    let proxy = start(
        &cluster,
        &[
            "server_tls.sslmode=verify-full",
            &format!("server_tls.ca_file={}", authority.file("ca.crt")),
        ],
    );
    proxy.await_event("primary_found");
    assert_eq!(ask(&cluster, &proxy, "", MINE).as_deref(), Ok("t"));
    let stranger = Authority::new();
    stranger.server("node", &["127.0.0.1"]);
    set(&cluster, "ssl_cert_file", &stranger.file("node.crt"));
    set(&cluster, "ssl_key_file", &stranger.file("node.key"));
    // Another application name is another pool: a new connection.
    let refused = ask(&cluster, &proxy, "application_name=second", MINE).unwrap_err();
    assert!(refused.contains("no connection to node 0: TLS handshake failed"), "{refused}");
    assert_eq!(ask(&cluster, &proxy, "", MINE).as_deref(), Ok("t"), "the open one goes on");
    fs::copy(stranger.file("ca.crt"), authority.file("ca.crt")).unwrap();
    proxy.signal(Signal::SIGHUP);
    proxy.await_event("certificates_reloaded");
    assert_eq!(ask(&cluster, &proxy, "application_name=third", MINE).as_deref(), Ok("t"));
}

#[test]
fn we_show_a_certificate_to_nodes_that_want_one() {
    let (authority, cluster) = secured();
    authority.client("understudy", "understudy");
    let node = cluster.node(0);
    let hba: PathBuf = node.dir().join("pg_hba.conf");
    fs::write(
        &hba,
        "local all postgres trust\nhostssl all all all scram-sha-256 clientcert=verify-ca\n",
    )
    .unwrap();
    cluster.query(0, "SELECT pg_reload_conf()").unwrap();
    let bare = start(&cluster, &["server_tls.sslmode=require"]);
    bare.await_sentence("check_failed", "client certificate");
    let shown = start(
        &cluster,
        &[
            "server_tls.sslmode=require",
            &format!("server_tls.cert_file={}", authority.file("understudy.crt")),
            &format!("server_tls.key_file={}", authority.file("understudy.key")),
        ],
    );
    shown.await_event("primary_found");
    let sql = "SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(ask(&cluster, &shown, "", sql).as_deref(), Ok("/CN=understudy"));
}

#[test]
fn what_is_said_before_tls_never_reaches_a_client() {
    let (_authority, cluster) = secured();
    let meddler = Meddler::before(Some(cluster.node(0).port()));
    let proxy = Proxy::start(&ProxySpec::of(&cluster).nodes(&[meddler.port()]).set(&[
        "server_tls.sslmode=prefer",
        "failover.hold_timeout=1s",
        "health_check.period=1h",
        "health_check.evidence_max_age=2h",
    ]));
    proxy.await_event("primary_found");
    assert_eq!(ask(&cluster, &proxy, "", MINE).as_deref(), Ok("t"));
    let error = tagged(b'E', b"SFATAL\0C28000\0MSend your password to evil.example.com\0\0");
    let answers = [
        (error.clone(), "it answered the request for TLS with an error"),
        ([b"S".to_vec(), error.clone()].concat(), "it sent bytes in clear behind its answer"),
        ([b"N".to_vec(), error.clone()].concat(), "it sent bytes in clear behind its answer"),
        (
            [b"R".to_vec(), vec![0, 0, 0, 8, 0, 0, 0, 0]].concat(),
            "with byte 82, which is no answer",
        ),
    ];
    for (number, (answer, words)) in answers.iter().enumerate() {
        meddler.answer(Some(answer));
        let refused =
            ask(&cluster, &proxy, &format!("application_name=app{number}"), MINE).unwrap_err();
        assert!(refused.contains(words), "{refused}");
        assert!(!refused.contains("evil"), "{refused}");
        meddler.answer(None);
    }
    assert!(!proxy.log().contains("evil"), "{}", proxy.log());
    assert_eq!(ask(&cluster, &proxy, "application_name=last", MINE).as_deref(), Ok("t"));
}

#[test]
fn a_cancel_request_goes_by_tls_as_well() {
    let (_authority, cluster) = secured();
    let meddler = Meddler::before(Some(cluster.node(0).port()));
    let spec =
        ProxySpec::of(&cluster).nodes(&[meddler.port()]).set(&["server_tls.sslmode=require"]);
    let stage = Stage { proxy: Proxy::start(&spec), cluster };
    stage.proxy.await_event("primary_found");
    let mut psql = program::command(&stage.tool("psql"));
    psql.args(["-X", "-d", &stage.proxied(Login::App), "-c", "SELECT pg_sleep(60)"]);
    let child = psql.stderr(Stdio::piped()).spawn().unwrap();
    stage.await_true(
        "SELECT count(*) = 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'",
    );
    let before = meddler.begun().len();
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("canceling statement due to user request"), "{said}");
    let begun = meddler.begun();
    assert!(begun.len() > before, "the request came by a connection of its own");
    let request: [u8; 8] = untagged(SSL, &[]).try_into().unwrap();
    assert!(begun.iter().all(|first| *first == request), "{begun:?}");
}

#[test]
fn whoever_stands_between_is_found_out_by_channel_binding() {
    let (authority, cluster) = secured();
    let evil = Authority::new();
    evil.server("middle", &["127.0.0.1"]);
    let middle = [
        "client_tls.sslmode=require".to_owned(),
        format!("client_tls.cert_file={}", evil.file("middle.crt")),
        format!("client_tls.key_file={}", evil.file("middle.key")),
        "server_tls.sslmode=require".to_owned(),
    ];
    // Between the proxy and its node: the checks pass, as they bind to nothing; no session does.
    let port = man_in_the_middle(settings(&middle), cluster.node(0).port());
    let spec = ProxySpec::of(&cluster).nodes(&[port]).set(&["server_tls.sslmode=require"]);
    let proxy = Proxy::start(&spec);
    proxy.await_event("primary_found");
    let refused = ask(&cluster, &proxy, "", MINE).unwrap_err();
    assert!(refused.contains("SCRAM channel binding check failed"), "{refused}");
    drop(proxy);
    // Between a client and the proxy.
    authority.server("proxy", &["127.0.0.1"]);
    let proxy = start(
        &cluster,
        &[
            "client_tls.sslmode=require",
            &format!("client_tls.cert_file={}", authority.file("proxy.crt")),
            &format!("client_tls.key_file={}", authority.file("proxy.key")),
        ],
    );
    proxy.await_event("primary_found");
    let port = man_in_the_middle(settings(&middle), proxy.port());
    let refused = ask(&cluster, &proxy, &format!("port={port} sslmode=require"), MINE).unwrap_err();
    assert!(refused.contains("SCRAM channel binding check failed"), "{refused}");
    let unbound = format!("port={port} sslmode=require channel_binding=disable");
    assert_eq!(ask(&cluster, &proxy, &unbound, MINE).as_deref(), Ok("t"));
}

#[test]
fn much_data_passes_through_tls_on_both_legs_unchanged() {
    let (authority, cluster) = secured();
    authority.server("proxy", &["127.0.0.1"]);
    let proxy = start(
        &cluster,
        &[
            "client_tls.sslmode=require",
            &format!("client_tls.cert_file={}", authority.file("proxy.crt")),
            &format!("client_tls.key_file={}", authority.file("proxy.key")),
            "server_tls.sslmode=require",
        ],
    );
    proxy.await_event("primary_found");
    let stage = Stage { proxy, cluster };
    let rows: String = (0..200_000_u64)
        .map(|n| {
            format!("{n}\t{:x}\n", u128::from(n).wrapping_mul(0x2545_f491_4f6c_dd1d_9e37_79b9))
        })
        .collect();
    let conninfo = format!("{} sslmode=require", stage.proxied(Login::App));
    let copy = |sql: &str, input: &str| {
        let mut psql = program::command(&stage.tool("psql"));
        psql.args(["-X", "-q", "-d", &conninfo, "-c", sql]);
        run(psql, input).ok()
    };
    copy("CREATE TABLE much (n bigint, x text)", "");
    copy("COPY much FROM STDIN", &rows);
    let back = copy("COPY (SELECT * FROM much ORDER BY n) TO STDOUT", "");
    assert!(back == rows, "{} bytes came back of {}", back.len(), rows.len());
    // One row that fills many records, and many tiny answers behind one another.
    let long = copy("COPY (SELECT repeat('x', 30000000)) TO STDOUT", "");
    assert_eq!(long.len(), 30_000_001);
    let many: String = (0..2_000).map(|n| format!("SELECT {n};\n")).collect();
    let mut psql = program::command(&stage.tool("psql"));
    psql.args(["-X", "-A", "-t", "-d", &conninfo]);
    let numbers: String = (0..2_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(run(psql, &many).ok(), numbers);
    // A replication connection is copied, not relayed.
    let walsender = stage.proxied(Login::Replicator) + " sslmode=require replication=true";
    let identified = stage.psql(&walsender, "IDENTIFY_SYSTEM;\n").ok();
    assert!(identified.contains(&stage.cluster.system_identifier(0).unwrap()), "{identified}");
}

#[test]
fn a_node_that_stops_reading_for_a_while_loses_nothing() {
    let (_authority, cluster) = secured();
    let proxy = start(
        &cluster,
        &[
            "server_tls.sslmode=require",
            "health_check.period=1h",
            "health_check.evidence_max_age=2h",
        ],
    );
    proxy.await_event("primary_found");
    let stage = Stage { proxy, cluster };
    stage.psql(&stage.proxied(Login::App), "CREATE TABLE much (n bigint, x text);\n").ok();
    let rows: String = (0..300_000).map(|n| format!("{n}\t{:080}\n", n * 7)).collect();
    let conninfo = stage.proxied(Login::App);
    std::thread::scope(|scope| {
        let copying = scope.spawn(|| {
            let mut psql = program::command(&stage.tool("psql"));
            psql.args(["-X", "-q", "-d", &conninfo, "-c", "COPY much FROM STDIN"]);
            run(psql, &rows)
        });
        stage.await_true("SELECT count(*) = 1 FROM pg_stat_progress_copy");
        let before = stage.proxy.memory("VmRSS");
        stage.cluster.pause(0).unwrap();
        std::thread::sleep(std::time::Duration::from_secs(2));
        let grown = stage.proxy.memory("VmRSS").saturating_sub(before);
        assert!(grown < 8_000, "{grown} kB more while the node does not read");
        stage.cluster.resume(0).unwrap();
        copying.join().unwrap().ok();
    });
    let sums = "SELECT count(*) || ' ' || sum(n) || ' ' || sum(length(x)) || ' ' || sum(x::bigint) FROM much";
    let n = 300_000_u64;
    let sum = n * (n - 1) / 2;
    assert_eq!(stage.admin_value(sums), format!("{n} {sum} {} {}", n * 80, sum * 7));
}

#[test]
fn a_password_goes_in_clear_to_no_node_that_has_not_proved_who_it_is() {
    let (authority, cluster) = secured();
    fs::write(
        cluster.node(0).dir().join("pg_hba.conf"),
        "local all postgres trust\nhostssl all app all password\nhostssl all all all scram-sha-256\n",
    )
    .unwrap();
    cluster.query(0, "SELECT pg_reload_conf()").unwrap();
    let password = cluster.password(Login::App).unwrap().reveal();
    let users = format!("\"app\" \"{password}\"\n");
    let users = support::proxy::file(authority.dir(), "users", &users);
    let users = format!("auth.users_file={}", users.display());
    let unproved = start(&cluster, &["server_tls.sslmode=require", &users]);
    unproved.await_event("primary_found");
    let refused = ask(&cluster, &unproved, "", MINE).unwrap_err();
    assert!(refused.contains("not sent unless server_tls.sslmode verifies"), "{refused}");
    let ca = format!("server_tls.ca_file={}", authority.file("ca.crt"));
    let proved = start(&cluster, &["server_tls.sslmode=verify-full", &ca, &users]);
    proved.await_event("primary_found");
    assert_eq!(ask(&cluster, &proved, "", MINE).as_deref(), Ok("t"));
}

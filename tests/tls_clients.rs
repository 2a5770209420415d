//! TLS with clients, against psql and against clients that no library would be: who gets in, and who is
//! sent away how.
#![cfg(feature = "real-nodes")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
#![allow(clippy::disallowed_methods, reason = "a slow client is one that sleeps")]

mod support;

use std::{
    io::{Read, Write},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use support::{
    Proxy, ProxySpec, Ran, Script, Stage, Wire, await_condition,
    tls::{Authority, TlsWire, message, rest, say, socket, tls_over},
    wire::{CANCEL, GSS, SSL, V3_0, startup, untagged},
};
use understudy::lab::Login;

/// psql's modes, in rising order.
const MODES: [&str; 5] = ["disable", "prefer", "require", "verify-ca", "verify-full"];

/// What `psql` is told when the proxy will not have it without TLS.
const NO_TLS: &str = "FATAL:  connections without TLS are refused";

/// An authority with a certificate for the proxy, and one for a client.
fn authority() -> Authority {
    let authority = Authority::new();
    authority.server("proxy", &["127.0.0.1", "localhost"]);
    authority.client("client", "app");
    authority
}

/// The settings of `[client_tls]` in a mode.
fn settings(authority: &Authority, mode: &str) -> Vec<String> {
    let mut settings = vec![
        format!("client_tls.sslmode={mode}"),
        format!("client_tls.cert_file={}", authority.file("proxy.crt")),
        format!("client_tls.key_file={}", authority.file("proxy.key")),
    ];
    if mode.starts_with("verify") {
        settings.push(format!("client_tls.ca_file={}", authority.file("ca.crt")));
    }
    settings
}

fn proxy(stage: &Stage, settings: &[String]) -> Proxy {
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let proxy = Proxy::start(&ProxySpec::of(&stage.cluster).set(&settings));
    proxy.await_event("primary_found");
    proxy
}

/// Runs psql against a proxy; what it prints is "TLS" or "clear".
fn psql(stage: &Stage, proxy: &Proxy, authority: &Authority, mode: &str, more: &str) -> Ran {
    let conninfo = format!(
        "{} sslmode={mode} sslrootcert={} {more}",
        proxy.conninfo(&stage.cluster, Login::App),
        if mode.starts_with("verify") { authority.file("ca.crt") } else { "/nonexistent".into() }
    );
    let ran = stage.psql(&conninfo, "\\conninfo\n");
    let how = if ran.out.contains("SSL connection") { "TLS" } else { "clear" };
    Ran { out: if ran.code == Some(0) { how.to_owned() } else { String::new() }, ..ran }
}

/// A proxy that demands TLS, and lets `app` in without a password.
fn trusting(stage: &Stage, authority: &Authority) -> Proxy {
    let password = stage.cluster.password(Login::App).unwrap().reveal();
    let users = format!("\"app\" \"{password}\"\n");
    let users = support::proxy::file(authority.dir(), "users", &users);
    let mut all = settings(authority, "require");
    all.extend(["auth.method=trust".into(), format!("auth.users_file={}", users.display())]);
    proxy(stage, &all)
}

/// Logs in there by hand.
fn trusted(proxy: &Proxy, ca_file: &str) -> TlsWire {
    let mut tls = tls_over(socket(proxy.port()), ca_file, &["postgresql"]).unwrap();
    say(&mut tls, &startup(V3_0, &[("user", "app"), ("database", "app")]));
    while message(&mut tls).0 != b'Z' {}
    tls
}

/// Waits until the log says of some session that it began so.
fn await_start(proxy: &Proxy, field: &str, value: &str) {
    await_condition(&format!("a session with {field} {value}"), || {
        proxy.events("session_start").iter().any(|start| start[field] == value)
    });
}

#[track_caller]
fn assert_in(ran: &Ran, how: &str, what: &str) {
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), how), "{what}: {}", ran.err);
}

#[track_caller]
fn assert_out(ran: &Ran, why: &str, what: &str) {
    assert_eq!(ran.code, Some(2), "{what}: {}", ran.err);
    assert!(ran.err.contains(why), "{what}: {}", ran.err);
}

#[test]
fn exactly_the_clients_that_a_mode_allows_come_in() {
    let (stage, authority) = (Stage::new(), authority());
    let client =
        format!("sslcert={} sslkey={}", authority.file("client.crt"), authority.file("client.key"));
    for ours in ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] {
        let proxy = proxy(&stage, &settings(&authority, ours));
        for theirs in MODES {
            let what = format!("client_tls.sslmode={ours}, psql sslmode={theirs}");
            let bare = psql(&stage, &proxy, &authority, theirs, "sslcert=/nonexistent");
            let shown = psql(&stage, &proxy, &authority, theirs, &client);
            match (ours, theirs) {
                ("disable", "disable" | "prefer") => {
                    assert_in(&bare, "clear", &what);
                    assert_in(&shown, "clear", &what);
                }
                ("disable", _) => assert_out(&bare, "server does not support SSL", &what),
                ("allow" | "prefer", "disable") => assert_in(&bare, "clear", &what),
                ("allow" | "prefer" | "require", "prefer") => {
                    assert_in(&bare, "TLS", &what);
                    assert_in(&shown, "TLS", &what);
                }
                (_, "disable") => {
                    assert_out(&bare, NO_TLS, &what);
                    assert_out(&shown, NO_TLS, &what);
                }
                ("verify-ca" | "verify-full", _) => {
                    assert_out(&bare, "alert certificate required", &what);
                    assert_in(&shown, "TLS", &what);
                    await_start(&proxy, "certificate", "app");
                }
                _ => {
                    assert_in(&bare, "TLS", &what);
                    assert_in(&shown, "TLS", &what);
                }
            }
        }
    }
}

#[test]
fn a_client_without_tls_is_told_what_is_wrong_and_a_unix_socket_needs_none() {
    let (stage, authority) = (Stage::new(), authority());
    let proxy = proxy(&stage, &settings(&authority, "require"));
    let said = psql(&stage, &proxy, &authority, "disable", "").err;
    assert!(said.contains("HINT:  Connect with sslmode=require"), "{said}");
    let mut wire = Wire::open(proxy.port());
    wire.send(&startup(V3_0, &[("user", "app"), ("database", "app")]));
    let refused = wire.until_closed();
    assert!(refused[0].starts_with("error FATAL 28000 connections without TLS"), "{refused:?}");
    let local = format!("host={} port={}", proxy.socket_dir().display(), proxy.port());
    let password = stage.cluster.password(Login::App).unwrap().reveal();
    let conninfo = format!("{local} user=app dbname=app password={password} sslmode=prefer");
    assert_eq!(stage.psql(&conninfo, "\\t\nSELECT 1\n\\g\n").code, Some(0));
}

#[test]
fn a_certificate_of_somebody_else_is_refused() {
    let (stage, authority) = (Stage::new(), authority());
    let stranger = self::authority();
    let proxy = proxy(&stage, &settings(&authority, "verify-ca"));
    let theirs =
        format!("sslcert={} sslkey={}", stranger.file("client.crt"), stranger.file("client.key"));
    let ran = psql(&stage, &proxy, &authority, "require", &theirs);
    assert_out(&ran, "alert unknown ca", "a client certificate of another authority");
    proxy.await_sentence("session_refused", "TLS handshake failed");
    // And the other way round: a proxy whose authority the client does not know.
    let ran = psql(&stage, &proxy, &stranger, "verify-ca", &theirs);
    assert_out(&ran, "certificate verify failed", "a proxy of another authority");
}

#[test]
fn scram_is_bound_to_the_channel_on_both_legs() {
    let authority = authority();
    authority.server("node", &["127.0.0.1"]);
    let cluster = understudy::lab::Cluster::create(understudy::lab::ClusterSpec {
        settings: [authority.node_settings("node"), vec![("log_connections".into(), "on".into())]]
            .concat(),
        ..understudy::lab::ClusterSpec::with_nodes(1)
    })
    .unwrap();
    let mut all = settings(&authority, "require");
    all.push("server_tls.sslmode=require".into());
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let proxy = Proxy::start(&ProxySpec::of(&cluster).set(&all));
    proxy.await_event("primary_found");
    let stage = Stage { proxy, cluster };
    let bound = "sslmode=require channel_binding=require sslrootcert=/nonexistent";
    for conninfo in [stage.straight(Login::App), stage.proxied(Login::App)] {
        let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let ran = stage.psql(&format!("{conninfo} {bound}"), &format!("\\t\n{sql};\n"));
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        assert!(ran.out.contains(" t\n"), "{}", ran.out);
    }
    await_start(&stage.proxy, "tls", "TLSv1.3");
    await_start(&stage.proxy, "cipher", "TLS_AES_256_GCM_SHA384");
    // The same with the older version of TLS, on either leg.
    let older = "ssl_max_protocol_version=TLSv1.2";
    let version = "\\t\nSELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid();\n";
    let ran = stage.psql(&format!("{} {bound} {older}", stage.proxied(Login::App)), version);
    assert!(ran.out.contains("TLSv1.3"), "{} {}", ran.out, ran.err);
    await_start(&stage.proxy, "tls", "TLSv1.2");
    stage.admin("ALTER SYSTEM SET ssl_max_protocol_version = 'TLSv1.2'");
    stage.admin("SELECT pg_reload_conf()");
    let fresh = format!("{} {bound} {older} application_name=", stage.proxied(Login::App));
    let mut number = 0;
    await_condition("the node to speak TLS 1.2", || {
        number += 1;
        let ran = stage.psql(&format!("{fresh}app{number}"), version);
        ran.out.contains("TLSv1.2")
    });
}

#[test]
fn tls_may_begin_at_once_where_the_client_says_what_it_speaks() {
    let (stage, authority) = (Stage::new(), authority());
    let proxy = proxy(&stage, &settings(&authority, "require"));
    let ca = authority.file("ca.crt");
    let mut direct = tls_over(socket(proxy.port()), &ca, &["postgresql"]).unwrap();
    say(&mut direct, &startup(V3_0, &[("user", "app"), ("database", "app")]));
    let (tag, body) = message(&mut direct);
    assert_eq!((tag, &body[4..]), (b'R', &b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"[..]));
    // Without the protocol's name, or with another one, it could be anybody's hello.
    for alpn in [&[][..], &["http/1.1"]] {
        let answered = tls_over(socket(proxy.port()), &ca, alpn).map(|mut tls| {
            let _ = tls.write_all(&startup(V3_0, &[("user", "app")]));
            rest(&mut tls)
        });
        assert!(answered.as_ref().map_or(true, Vec::is_empty), "{alpn:?}: {answered:?}");
    }
    // In clear beside it nobody hears of TLS: a proxy without TLS does not know what 0x16 is.
    let plain = self::proxy(&stage, &settings(&authority, "disable"));
    assert!(tls_over(socket(plain.port()), &ca, &["postgresql"]).is_err());
}

#[test]
fn bytes_sent_in_clear_before_tls_are_never_used_after_it() {
    let (stage, authority) = (Stage::new(), authority());
    let proxy = proxy(&stage, &settings(&authority, "prefer"));
    let glued = [
        startup(V3_0, &[("user", "postgres"), ("database", "app")]),
        vec![0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0],
        vec![b'Q', 0, 0, 0, 5, 0],
        vec![0],
    ];
    for junk in glued {
        let mut wire = Wire::open(proxy.port());
        wire.send(&[untagged(SSL, &[]), junk].concat());
        let said = wire.until_closed();
        let expected = "error FATAL 08P01 received unencrypted data after SSL request ";
        assert!(said.len() == 2 && said[0].starts_with(expected), "{said:?}");
    }
    assert_eq!(proxy.events("session_start").len(), 0);
    // The same in a packet of its own, sent before the answer was read: the handshake fails.
    let mut wire = Wire::open(proxy.port());
    wire.send(&untagged(SSL, &[]));
    assert_eq!(wire.byte(), b'S');
    wire.send(&startup(V3_0, &[("user", "postgres"), ("database", "app")]));
    let answer = rest(&mut wire.stream);
    assert!(answer.first().is_none_or(|first| *first == 0x15), "{answer:?}: no TLS alert");
}

#[test]
fn inside_of_tls_there_is_no_other_encryption() {
    let (stage, authority) = (Stage::new(), authority());
    let proxy = proxy(&stage, &settings(&authority, "prefer"));
    for request in [SSL, GSS] {
        let mut socket = socket(proxy.port());
        say(&mut socket, &untagged(SSL, &[]));
        let mut answer = [0];
        socket.read_exact(&mut answer).unwrap();
        let mut tls = tls_over(socket, &authority.file("ca.crt"), &[]).unwrap();
        say(&mut tls, &untagged(request, &[]));
        let said = String::from_utf8_lossy(&rest(&mut tls)).into_owned();
        assert!(said.starts_with('E') && said.contains("C08P01"), "{said:?}");
    }
}

#[test]
fn a_hello_may_come_byte_by_byte() {
    let (stage, authority) = (Stage::new(), authority());
    let proxy = proxy(&stage, &settings(&authority, "prefer"));
    for direct in [false, true] {
        let mut socket = socket(proxy.port());
        if !direct {
            for byte in untagged(SSL, &[]) {
                say(&mut socket, &[byte]);
                thread::sleep(Duration::from_millis(2));
            }
            let mut answer = [0];
            socket.read_exact(&mut answer).unwrap();
            assert_eq!(answer, *b"S");
        }
        // The hello of a real client, written through a socket that takes one byte at a time.
        let mut tls = support::tls::slowly(socket, &authority.file("ca.crt"), &["postgresql"]);
        say(&mut tls, &startup(V3_0, &[("user", "app"), ("database", "app")]));
        assert_eq!(message(&mut tls).0, b'R');
    }
}

#[test]
fn whoever_breaks_the_handshake_harms_nobody() {
    let (stage, authority) = (Stage::new(), authority());
    let mut all = settings(&authority, "prefer");
    all.push("listen.login_timeout=2s".into());
    let mut proxy = proxy(&stage, &all);
    let calm = Wire::log_in(&proxy.conninfo(&stage.cluster, Login::App), &[]);
    let asked = |port| {
        let mut wire = Wire::open(port);
        wire.send(&untagged(SSL, &[]));
        assert_eq!(wire.byte(), b'S');
        wire
    };
    // 100 kB of garbage, both ways to begin.
    let garbage: Vec<u8> =
        (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for start in [&[][..], &[0x16], &[0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc]] {
        let mut wire = asked(proxy.port());
        let _ = wire.stream.write_all(&[start, &garbage].concat());
        rest(&mut wire.stream);
        if !start.is_empty() {
            let mut wire = Wire::open(proxy.port());
            let _ = wire.stream.write_all(&[start, &garbage].concat());
            rest(&mut wire.stream);
        }
    }
    // Closed, half closed and reset in the middle.
    drop(asked(proxy.port()));
    let mut wire = asked(proxy.port());
    wire.send(&[0x16, 3, 1, 2, 0, 1, 0]);
    wire.close_sending();
    rest(&mut wire.stream);
    let mut wire = asked(proxy.port());
    wire.send(&[0x16, 3, 1]);
    wire.reset();
    // Silent in the middle: the time to log in covers the handshake.
    let (mut one, mut other) = (asked(proxy.port()), Wire::open(proxy.port()));
    other.send(&[0x16]);
    let since = Instant::now();
    assert_eq!((rest(&mut one.stream), rest(&mut other.stream)), (Vec::new(), Vec::new()));
    assert!(since.elapsed() < Duration::from_secs(20));
    let mut calm = calm;
    assert_eq!(calm.value("SELECT 42"), "42");
    assert!(proxy.is_running());
    assert_eq!(proxy.events("session_panicked").len() + proxy.events("panic").len(), 0);
    assert_in(&psql(&stage, &proxy, &authority, "verify-full", ""), "TLS", "afterwards");
    await_condition("nothing to be left of them", || proxy.open_files() < 60);
}

#[test]
fn a_cancel_request_may_come_in_clear_even_where_tls_is_required() {
    let (stage, authority) = (Stage::new(), authority());
    let proxy = proxy(&stage, &settings(&authority, "require"));
    let mut wire = Wire::open(proxy.port());
    wire.send(&untagged(CANCEL, &[0, 0, 0, 1, 0, 0, 0, 1]));
    assert_eq!(wire.until_closed(), ["closed"]);
    // psql's Ctrl-C: libpq 15 sends it in clear.
    let conninfo = format!("{} sslmode=require", proxy.conninfo(&stage.cluster, Login::App));
    let mut psql = support::program::command(&stage.tool("psql"));
    psql.args(["-X", "-d", &conninfo, "-c", "SELECT pg_sleep(60)"]);
    let child = psql.stderr(std::process::Stdio::piped()).spawn().unwrap();
    stage.await_true(
        "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active' \
         AND pid <> pg_backend_pid()",
    );
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id().cast_signed()), Signal::SIGINT)
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("canceling statement due to user request"), "{said}");
}

#[test]
fn certificates_change_under_open_sessions() {
    let (stage, authority) = (Stage::new(), authority());
    let proxy = trusting(&stage, &authority);
    let open = |ca: &str| {
        let mut socket = socket(proxy.port());
        say(&mut socket, &untagged(SSL, &[]));
        socket.read_exact(&mut [0]).unwrap();
        tls_over(socket, ca, &[])
    };
    let ca = authority.file("ca.crt");
    let mut before = open(&ca).unwrap();
    let mut session = trusted(&proxy, &ca);
    let mut goes_on = || {
        say(&mut session, &Script::new().query("SELECT 42").0);
        let mut tags = Vec::new();
        while tags.last() != Some(&b'Z') {
            tags.push(message(&mut session).0);
        }
        assert_eq!(tags, b"TDCZ");
    };
    goes_on();
    // A key of another certificate: refused, and the old pair stays.
    let new = self::authority();
    std::fs::copy(new.file("proxy.crt"), authority.file("proxy.crt")).unwrap();
    proxy.signal(Signal::SIGHUP);
    proxy.await_sentence("certificates_refused", "does not belong to the first certificate");
    assert!(open(&ca).is_ok());
    goes_on();
    std::fs::write(authority.file("proxy.crt"), "nonsense").unwrap();
    proxy.signal(Signal::SIGHUP);
    proxy.await_sentence("certificates_refused", "there is no certificate in");
    assert!(open(&ca).is_ok());
    goes_on();
    // Both files: new handshakes show the new one.
    std::fs::copy(new.file("proxy.crt"), authority.file("proxy.crt")).unwrap();
    std::fs::copy(new.file("proxy.key"), authority.file("proxy.key")).unwrap();
    proxy.signal(Signal::SIGHUP);
    proxy.await_event("certificates_reloaded");
    assert!(open(&ca).is_err());
    assert!(open(&new.file("ca.crt")).is_ok());
    assert_in(&psql(&stage, &proxy, &new, "verify-full", ""), "TLS", "with the new certificate");
    // Who was there goes on, before its login and after it.
    goes_on();
    say(&mut before, &startup(V3_0, &[("user", "app"), ("database", "app")]));
    assert_eq!(message(&mut before).0, b'R');
}

#[test]
fn a_slow_reader_gets_everything_and_one_that_never_reads_is_let_go() {
    let (stage, authority) = (Stage::new(), authority());
    let mut all = settings(&authority, "require");
    all.push("limits.client_write_timeout=3s".into());
    let proxy = proxy(&stage, &all);
    let conninfo = format!("{} sslmode=require", proxy.conninfo(&stage.cluster, Login::App));
    let read_after = |sql: &str, pause: Duration| {
        let mut psql = support::program::command(&stage.tool("psql"));
        psql.args(["-X", "-q", "-d", &conninfo, "-c", sql]);
        let mut child = psql
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        thread::sleep(pause);
        let mut out = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
        let errors = child.wait_with_output().unwrap().stderr;
        (out.len(), String::from_utf8_lossy(&errors).into_owned())
    };
    let rows = "COPY (SELECT repeat('x', 999) FROM generate_series(1, 40000)) TO STDOUT";
    let before = proxy.memory("VmRSS");
    assert_eq!(read_after(rows, Duration::from_millis(1500)), (40_000_000, String::new()));
    let grown = proxy.memory("VmRSS").saturating_sub(before);
    assert!(grown < 8_000, "{grown} kB more for a client that reads slowly");
    let (length, errors) = read_after(rows, Duration::from_secs(8));
    assert!(length < 40_000_000 && !errors.is_empty(), "{length} bytes, {errors}");
    proxy.await_sentence("session_refused", "it did not read for limits.client_write_timeout");
}

#[test]
fn an_idle_client_with_tls_costs_little() {
    const CLIENTS: usize = 400;
    let (stage, authority) = (Stage::new(), authority());
    let proxy = trusting(&stage, &authority);
    let ca = authority.file("ca.crt");
    let log_in = || trusted(&proxy, &ca);
    let _warm: Vec<_> = (0..20).map(|_| log_in()).collect();
    let before = proxy.memory("VmRSS");
    let clients: Vec<_> = (0..CLIENTS).map(|_| log_in()).collect();
    let each = (proxy.memory("VmRSS") - before) / clients.len();
    println!("{each} kB for each of {CLIENTS} idle clients with TLS");
    assert!(each <= 24, "{each} kB each");
}

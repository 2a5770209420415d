//! Brute force, strange messages and strange names at the login, against real nodes: nobody gets in by them, and
//! nobody else is disturbed.
#![cfg(feature = "real-nodes")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod support;

use std::{
    os::unix::net::UnixStream,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use support::{
    Proxy, ProxySpec, Stage, await_condition,
    knock::{error_fields, knock, message},
    proxy::file,
    tls::{say, socket},
    wire::{V3_0, startup, tagged, untagged},
};
use understudy::lab::Login;

const WRONG: &str = "wrong horse 4711";

// === brute force ===

#[test]
fn ten_thousand_wrong_passwords_are_throttled_while_others_log_in() {
    const ATTEMPTS: usize = 10_000;
    const GUESSERS: usize = 4;
    let stage = Stage::new();
    let proxy = &stage.proxy;
    let password = stage.cluster.password(Login::App).unwrap().reveal();
    stage.admin("CREATE ROLE mary LOGIN PASSWORD 'marys own'");
    proxy.forget_peak();
    let before = proxy.memory("VmHWM");
    let (judged, throttled, over) =
        (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let begun = Instant::now();
    let others = thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut logins = 0;
            while !over.load(Ordering::Relaxed) {
                assert_eq!(
                    knock(&mut socket(proxy.port()), "app", "app", password),
                    Ok("app".into())
                );
                logins += 1;
            }
            logins
        });
        let guessers: Vec<_> = (0..GUESSERS)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..ATTEMPTS / GUESSERS {
                        match knock(&mut socket(proxy.port()), "mary", "app", WRONG).unwrap_err() {
                            (code, _) if code == "28P01" => judged.fetch_add(1, Ordering::Relaxed),
                            (code, told) => {
                                assert_eq!(
                                    (code.as_str(), told.as_str()),
                                    ("28000", "too many failed login attempts for user \"mary\"")
                                );
                                throttled.fetch_add(1, Ordering::Relaxed)
                            }
                        };
                    }
                })
            })
            .collect();
        guessers.into_iter().for_each(|guesser| guesser.join().unwrap());
        over.store(true, Ordering::Relaxed);
        other.join().unwrap()
    });
    let took = begun.elapsed();
    let (judged, throttled) = (judged.into_inner(), throttled.into_inner());
    assert_eq!(judged + throttled, ATTEMPTS);
    // One lockout lasts 60 s. Workers judge side by side: each may have one more under way.
    let lockouts = 1 + took.as_secs() as usize / 60;
    assert!((10..=12 * lockouts).contains(&judged), "{judged}");
    assert!(others > 0);
    assert!((1..=lockouts).contains(&proxy.events("login_throttled").len()));
    let line = &proxy.events("login_throttled")[0];
    assert_eq!((&line["user"], &line["address"]), (&"mary".into(), &"127.0.0.1".into()));
    assert_eq!(proxy.events("session_refused").len(), judged, "nobody throttled fills the log");
    assert!(
        proxy.memory("VmHWM") < before + 20_000,
        "memory: {before} kB, then {}",
        proxy.memory("VmHWM")
    );

    // The right password does not help now; a user nobody has is told the same; another address does help.
    let (_, told) = knock(&mut socket(proxy.port()), "mary", "app", "marys own").unwrap_err();
    assert_eq!(told, "too many failed login attempts for user \"mary\"");
    let stranger = || knock(&mut socket(proxy.port()), "nobody", "app", WRONG).unwrap_err();
    for _ in 0..10 {
        assert_eq!(stranger().0, "28P01");
    }
    assert_eq!(
        stranger(),
        ("28000".into(), "too many failed login attempts for user \"nobody\"".into())
    );
    let path = proxy.socket_dir().join(format!(".s.PGSQL.{}", proxy.port()));
    let mut unix = UnixStream::connect(path).unwrap();
    assert_eq!(knock(&mut unix, "mary", "app", "marys own"), Ok("mary".into()));
}

#[test]
fn a_crowd_gets_no_more_attempts_than_one() {
    let stage = Stage::new();
    let first = b"SCRAM-SHA-256\0\0\0\0\x0bn,,n=,r=abc";
    // All of them have passed the first check before any of them fails.
    let crowd: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = socket(stage.proxy.port());
            say(&mut stream, &startup(V3_0, &[("user", "app"), ("database", "app")]));
            message(&mut stream).unwrap();
            say(&mut stream, &tagged(b'p', first));
            let (_, challenge) = message(&mut stream).unwrap();
            let challenge = String::from_utf8(challenge[4..].to_vec()).unwrap();
            let nonce = challenge.split(',').next().unwrap().to_owned();
            (stream, format!("c=biws,{nonce},p={}=", "A".repeat(43)))
        })
        .collect();
    let told: Vec<String> = crowd
        .into_iter()
        .map(|(mut stream, proof)| {
            say(&mut stream, &tagged(b'p', proof.as_bytes()));
            error_fields(&message(&mut stream).unwrap().1).0
        })
        .collect();
    assert_eq!(told.iter().filter(|code| *code == "28P01").count(), 10, "{told:?}");
    assert_eq!(told.iter().filter(|code| *code == "28000").count(), 90, "{told:?}");
}

#[test]
fn a_lockout_ends_and_a_success_forgets() {
    let settings = ["auth.max_failures=3", "auth.lockout=1s"];
    let stage = Stage::with(1, &settings);
    let password = stage.cluster.password(Login::App).unwrap().reveal();
    let enter = |password| {
        knock(&mut socket(stage.proxy.port()), "app", "app", password).map_err(|(code, _)| code)
    };
    for _ in 0..3 {
        assert_eq!(enter(WRONG), Err("28P01".into()));
        assert_eq!(enter(WRONG), Err("28P01".into()));
        assert_eq!(enter(password), Ok("app".into()));
    }
    for _ in 0..3 {
        assert_eq!(enter(WRONG), Err("28P01".into()));
    }
    let locked = Instant::now();
    assert_eq!(enter(password), Err("28000".into()));
    await_condition("the lockout to end", || enter(password).is_ok());
    assert!(locked.elapsed() > Duration::from_millis(900));
}

// === strange messages and strange names ===

#[test]
fn every_message_in_every_state_of_a_login_gets_an_error_or_a_close() {
    let stage = Stage::with(1, &["auth.max_failures=0"]);
    stage.admin("SET password_encryption = 'md5'; CREATE ROLE mary LOGIN PASSWORD 'x'");
    let dir = tempfile::tempdir().unwrap();
    let users = file(dir.path(), "users", "\"mary\" \"x\"\n");
    let users = format!("auth.users_file={}", users.display());
    let md5 = Proxy::start(&ProxySpec::of(&stage.cluster).set(&["auth.method=md5", &users]));
    md5.await_event("primary_found");
    let first = b"SCRAM-SHA-256\0\0\0\0\x0bn,,n=,r=abc";
    for (proxy, user, answers) in
        [(&stage.proxy, "app", &[][..]), (&stage.proxy, "app", &[&first[..]]), (&md5, "mary", &[])]
    {
        for tag in b"QPBDECHSFXdcf\0zZRE" {
            for body in [&b""[..], b"SELECT 1\0", &[0; 300]] {
                let mut stream = socket(proxy.port());
                say(&mut stream, &startup(V3_0, &[("user", user), ("database", "app")]));
                assert_eq!(message(&mut stream).unwrap().0, b'R');
                for answer in answers {
                    say(&mut stream, &tagged(b'p', answer));
                    assert_eq!(message(&mut stream).unwrap().0, b'R');
                }
                say(&mut stream, &tagged(*tag, body));
                let (reply, fields) = message(&mut stream).unwrap();
                assert_eq!(reply, b'E', "{tag} {body:?}");
                let (sqlstate, told) = error_fields(&fields);
                assert_eq!(sqlstate, "08P01", "{told}");
                let expected = if user == "mary" { "password" } else { "SASL" };
                assert_eq!(told, format!("expected {expected} response, got message type {tag}"));
                assert_eq!(message(&mut stream), None, "nothing more is said");
            }
        }
    }
    // Lengths no message can have.
    for length in [0_u32, 3, 65_540, u32::MAX] {
        let mut stream = socket(stage.proxy.port());
        say(&mut stream, &startup(V3_0, &[("user", "app"), ("database", "app")]));
        message(&mut stream).unwrap();
        say(&mut stream, &[&b"p"[..], &length.to_be_bytes(), b"xxxxxxxx"].concat());
        assert_eq!(error_fields(&message(&mut stream).unwrap().1).0, "08P01", "{length}");
    }
    let password = stage.cluster.password(Login::App).unwrap().reveal();
    let outcome = knock(&mut socket(stage.proxy.port()), "app", "app", password);
    assert_eq!(outcome, Ok("app".into()), "and others are served");
    for proxy in [&stage.proxy, &md5] {
        assert_eq!(proxy.events("session_panicked"), Vec::<serde_json::Value>::new());
    }
}

#[test]
fn names_are_those_the_node_sees_and_stay_in_their_line() {
    let stage = Stage::with(1, &["auth.max_failures=0"]);
    let enter = |user: &str, database: &str, password: &str| {
        let outcome = knock(&mut socket(stage.proxy.port()), user, database, password);
        outcome.map_err(|(sqlstate, _)| sqlstate)
    };
    let (long, accents) = ("n".repeat(63), "é".repeat(31));
    for name in [long.as_str(), &accents, "we\"ird\nname {\"event\":\"x\"}", " ", "a'b\\c%d"] {
        let quoted = name.replace('"', "\"\"");
        stage.admin(&format!("CREATE ROLE \"{quoted}\" LOGIN PASSWORD 'x'"));
        stage.admin(&format!("CREATE DATABASE \"{quoted}\""));
        assert_eq!(enter(name, name, "x"), Ok(name.to_owned()));
        assert_eq!(enter(name, name, "y"), Err("28P01".to_owned()));
    }
    for (given, seen) in [
        (format!("{long}n"), &long),
        (format!("{long}nn"), &long),
        ("n".repeat(4096), &long),
        // 64 bytes, and the 63rd is in the middle of a character.
        (format!("{accents}é"), &accents),
    ] {
        assert_eq!(enter(&given, &given, "x").as_ref(), Ok(seen), "{} bytes", given.len());
    }
    assert_eq!(enter(&"n".repeat(62), "app", "x"), Err("28P01".to_owned()));
    assert_eq!(enter(&format!("m{long}"), "app", "x"), Err("28P01".to_owned()));

    // Not UTF-8, in either place, and a byte before or behind a NUL.
    for body in [
        &b"user\0jo\xff\0database\0app\0\0"[..],
        b"user\0app\0database\0\xc3\0\0",
        b"user\0app\0\0\0",
        b"user\0\0",
        b"user\0app",
    ] {
        let mut stream = socket(stage.proxy.port());
        say(&mut stream, &untagged(V3_0, body));
        let (tag, fields) = message(&mut stream).unwrap();
        assert_eq!(tag, b'E', "{body:?}");
        assert!(matches!(error_fields(&fields).0.as_str(), "08P01" | "28000"), "{body:?}");
    }

    let log = stage.proxy.log();
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_ne!(line["event"], "x");
    }
    let starts = stage.proxy.events("session_start");
    let users: Vec<&str> = starts.iter().map(|line| line["user"].as_str().unwrap()).collect();
    assert!(users.contains(&"we\"ird\nname {\"event\":\"x\"}"));
    assert!(users.iter().all(|user| user.len() <= 63));

    // For people a line goes on in lines that are indented: none of those can pass for another event.
    let proxy = Proxy::start(&ProxySpec::of(&stage.cluster).set(&["log.format=terminal"]));
    let name = "we\"ird\nname {\"event\":\"x\"}";
    await_condition("its lines in the log", || {
        // In the beginning it may still be looking for the primary.
        let _ = knock(&mut socket(proxy.port()), name, name, "x");
        let _ = knock(&mut socket(proxy.port()), name, name, "y");
        let log = proxy.log();
        log.contains("client logged in") && log.contains("the password is wrong")
    });
    let log = proxy.log();
    let named: Vec<&str> = log.lines().filter(|line| line.contains("event")).collect();
    let is_apart = |line: &&str| line.contains("ird") || line.starts_with("    ");
    assert!(named.iter().all(is_apart), "{named:#?}");
    assert!(named.len() >= 2, "{log}");
}

//! Cancel requests: they reach the statement they are for, and nothing else, ever.
#![cfg(feature = "real-nodes")]
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod support;

use std::thread;

use understudy::lab::Login;

use support::{
    Script, Stage, Wire,
    wire::{CANCEL, V3_2, untagged},
};

const CANCELED: &str = "error ERROR 57014 canceling statement due to user request";

/// Sends a cancel request with this key and waits until it was dealt with.
fn cancel(port: u16, key: &[u8]) {
    let mut wire = Wire::open(port);
    wire.send(&untagged(CANCEL, key));
    assert_eq!(wire.until_closed(), ["closed"]);
}

/// Has a session do something long, and waits until it does.
fn doze(stage: &Stage, wire: &mut Wire) {
    let pid = wire.value("SELECT pg_backend_pid()");
    wire.say(&Script::new().query("SELECT pg_sleep(600)"));
    stage.await_true(&format!(
        "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = {pid}"
    ));
}

#[test]
fn a_statement_is_cancelled_and_the_session_goes_on() {
    let stage = Stage::new();
    let said = stage.same_talk(|wire| {
        let config: u16 = wire.stream.peer_addr().unwrap().port();
        wire.query("BEGIN");
        doze(&stage, wire);
        cancel(config, &wire.key.clone());
        let mut said = wire.until(b'Z');
        said.extend(wire.query("ROLLBACK"));
        said.extend(wire.query("SELECT 'alive'"));
        said
    });
    assert_eq!(
        said,
        [
            "columns pg_sleep:2278",
            CANCELED,
            "ready E",
            "complete ROLLBACK",
            "ready I",
            "columns ?column?:25",
            "row alive",
            "complete SELECT 1",
            "ready I",
        ]
    );
}

#[test]
fn the_longer_keys_of_protocol_3_2_cancel_too() {
    let stage = Stage::new();
    let (mut wire, _) = Wire::try_log_in_as(V3_2, &stage.proxied(Login::App), &[]);
    assert_eq!(wire.key.len(), 4 + 32);
    doze(&stage, &mut wire);
    // The first four bytes of the secret are not enough.
    cancel(stage.proxy.port(), &wire.key[..8]);
    cancel(stage.proxy.port(), &wire.key.clone());
    assert_eq!(wire.until(b'Z'), ["columns pg_sleep:2278", CANCELED, "ready I"]);
}

#[test]
fn a_wrong_key_cancels_nothing() {
    let stage = Stage::new();
    let port = stage.proxy.port();
    let mut wire = Wire::log_in(&stage.proxied(Login::App), &[]);
    let mut neighbour = Wire::log_in(&stage.proxied(Login::App), &[]);
    doze(&stage, &mut wire);
    doze(&stage, &mut neighbour);
    let key = wire.key.clone();
    for byte in 0..key.len() {
        let mut wrong = key.clone();
        wrong[byte] ^= 1;
        cancel(port, &wrong);
    }
    // Nor does the key of the backend itself, which the client has never seen.
    let pid: i32 = stage
        .admin_value("SELECT min(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        .parse()
        .unwrap();
    cancel(port, &[&pid.to_be_bytes()[..], &key[4..]].concat());
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    assert_eq!(stage.admin_value(asleep), "2");
    cancel(port, &key);
    assert_eq!(wire.until(b'Z'), ["columns pg_sleep:2278", CANCELED, "ready I"]);
    assert_eq!(stage.admin_value(asleep), "1", "the neighbour sleeps on");
}

#[test]
fn an_idle_session_is_not_disturbed_by_a_cancel() {
    let stage = Stage::new();
    let said = stage.same_talk(|wire| {
        let port = wire.stream.peer_addr().unwrap().port();
        // Before its first statement, and after.
        cancel(port, &wire.key.clone());
        let mut said = wire.query("SELECT 1");
        for _ in 0..20 {
            cancel(port, &wire.key.clone());
            said.extend(wire.query("BEGIN; SELECT 2; COMMIT"));
        }
        said
    });
    assert!(!said.iter().any(|line| line.starts_with("error")), "{said:?}");
}

#[test]
fn a_client_that_is_gone_cancels_nothing() {
    let stage = Stage::with(1, &["process.workers=1"]);
    let proxied = stage.proxied(Login::App);
    let mut gone = Wire::log_in(&proxied, &[]);
    let pid = gone.value("SELECT pg_backend_pid()");
    let key = gone.key.clone();
    gone.say(&Script::new().terminate());
    stage.await_true(&format!(
        "SELECT query = 'DISCARD ALL' FROM pg_stat_activity WHERE pid = {pid}"
    ));
    let mut heir = Wire::log_in(&proxied, &[]);
    assert_eq!(heir.value("SELECT pg_backend_pid()"), pid);
    heir.say(&Script::new().query("SELECT pg_sleep(0.3), 'undisturbed'"));
    for _ in 0..20 {
        cancel(stage.proxy.port(), &key);
    }
    assert_eq!(heir.until(b'Z')[1], "row |undisturbed");
}

/// Clients that cancel, leave, and hand their backend on within the same moment, hundreds of times: a
/// cancel that comes late must strike nobody.
#[test]
fn a_late_cancel_never_strikes_the_next_owner_of_the_connection() {
    let stage = Stage::with(1, &["process.workers=1", "pool.max_idle=1"]);
    let proxied = stage.proxied(Login::App);
    let port = stage.proxy.port();
    let mut reused = 0;
    let mut before = String::new();
    for round in 0..300_u64 {
        let mut first = Wire::log_in(&proxied, &[]);
        let pid = first.value("SELECT pg_backend_pid()");
        reused += usize::from(pid == before);
        before = pid;
        let key = first.key.clone();
        let canceller = thread::spawn(move || cancel(port, &key));
        // It leaves at once, or with a statement that the cancel may or may not meet.
        let mut script = Script::new();
        if round % 3 > 0 {
            script = script.query("SELECT 1");
        }
        if round % 3 > 1 {
            first.ask(&script, 1);
            script = Script::new();
        }
        first.say(&script.terminate());
        let mut next = Wire::log_in(&proxied, &[]);
        for _ in 0..3 {
            let said = next.query("SELECT count(*) FROM generate_series(1, 1000)");
            assert_eq!(
                said,
                ["columns count:20", "row 1000", "complete SELECT 1", "ready I"],
                "round {round}"
            );
        }
        next.say(&Script::new().terminate());
        canceller.join().unwrap();
    }
    println!("{reused} of 300 rounds began on the connection of the round before");
    assert!(reused > 50, "too few connections were handed on to show anything: {reused}");
}

//! Whatever a client sends, it gets a clear error or a close; nobody else notices, and memory stays flat.
#![cfg(feature = "real-nodes")]
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod support;

use std::io::Write;

use support::{
    Stage,
    wire::{GSS, SSL, Script, V3_0, Wire, startup, untagged},
};
use understudy::lab::Login;

/// A neighbour in a transaction, to be asked at the end.
fn neighbour(stage: &Stage) -> Wire {
    let mut wire = Wire::log_in(&stage.proxied(Login::App), &[]);
    assert_eq!(wire.query("BEGIN").last().unwrap(), "ready T");
    wire
}

fn is_undisturbed(mut neighbour: Wire) {
    assert_eq!(neighbour.value("SELECT 'here'"), "here");
    assert_eq!(neighbour.query("COMMIT").last().unwrap(), "ready I");
}

/// Sends as much as the other side takes before it closes.
fn send_what_is_taken(wire: &mut Wire, bytes: &[u8]) {
    let _ = wire.stream.write_all(bytes);
}

#[test]
fn lengths_no_startup_packet_can_have_are_refused() {
    let stage = Stage::new();
    let neighbour = neighbour(&stage);
    for length in [0_u32, 1, 3, 4, 7, 10_001, 0x7FFF_FFFF, 0xFFFF_FFFF] {
        let mut wire = Wire::open(stage.proxy.port());
        wire.send(&[&length.to_be_bytes()[..], &[0; 64]].concat());
        let said = wire.until_closed();
        let words = "error FATAL 08P01 invalid length of startup packet";
        assert_eq!(said[0], words, "{length}");
    }
    is_undisturbed(neighbour);
}

#[test]
fn startup_packets_that_are_none_are_refused_as_postgresql_does() {
    let stage = Stage::new();
    let neighbour = neighbour(&stage);
    let layout =
        "error FATAL 08P01 invalid startup packet layout: expected terminator as last byte";
    for (packet, words) in [
        (untagged(V3_0, b"user\0app"), layout),
        (untagged(V3_0, b"user\0app\0\0junk"), layout),
        (
            untagged(V3_0, b"\0"),
            "error FATAL 28000 no PostgreSQL user name specified in startup packet",
        ),
        (
            untagged(2 << 16, b"user\0app\0\0"),
            "error FATAL 0A000 unsupported frontend protocol 2.0: server supports 3.0 to 3.2",
        ),
        (
            untagged(4 << 16, b"user\0app\0\0"),
            "error FATAL 0A000 unsupported frontend protocol 4.0: server supports 3.0 to 3.2",
        ),
    ] {
        let mut wire = Wire::open(stage.proxy.port());
        wire.send(&packet);
        assert_eq!(wire.until_closed(), [words, "closed"]);
    }
    is_undisturbed(neighbour);
}

#[test]
fn ten_thousand_requests_for_encryption_are_not_all_answered() {
    let stage = Stage::new();
    let neighbour = neighbour(&stage);
    let mut wire = Wire::open(stage.proxy.port());
    let pair = [untagged(SSL, b""), untagged(GSS, b"")].concat();
    send_what_is_taken(&mut wire, &pair);
    assert_eq!([wire.byte(), wire.byte()], *b"NN");
    send_what_is_taken(&mut wire, &pair.repeat(5_000));
    let said = wire.until_closed();
    assert!(said.len() <= 2, "one error at most, and the end: {said:?}");
    is_undisturbed(neighbour);
}

#[test]
fn lengths_no_message_can_have_end_the_session_in_every_state() {
    let stage = Stage::new();
    let neighbour = neighbour(&stage);
    let states: [(&str, Script); 4] = [
        ("idle", Script::new()),
        ("in a transaction", Script::new().query("BEGIN")),
        ("in a pipeline", Script::new().parse("", "SELECT 1").flush()),
        ("copying in", Script::new().query("COPY victims FROM STDIN")),
    ];
    stage.admin("CREATE TABLE victims (x text); GRANT ALL ON victims TO app");
    for (state, script) in states {
        for tag in *b"QPBDECHSFdcfp" {
            for length in [0_u32, 3, 0x7FFF_FFFF, 0xFFFF_FFFF] {
                let mut wire = Wire::log_in(&stage.proxied(Login::App), &[]);
                wire.say(&script);
                wire.send(&[&[tag][..], &length.to_be_bytes(), b"whatever"].concat());
                let said = wire.until_closed();
                let words = "error FATAL 08P01 invalid message length";
                assert!(said.iter().any(|line| line == words), "{state} {tag} {length}: {said:?}");
            }
        }
    }
    stage.await_true("SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = 'app' AND xact_start IS NOT NULL AND pid <> pg_backend_pid()");
    is_undisturbed(neighbour);
}

#[test]
fn message_types_that_do_not_exist_end_the_session() {
    let stage = Stage::new();
    let neighbour = neighbour(&stage);
    for tag in (0..=u8::MAX).filter(|tag| !b"QPBDECHSFdcfX".contains(tag)) {
        let mut wire = Wire::log_in(&stage.proxied(Login::App), &[]);
        wire.send(&[&[tag][..], &8_u32.to_be_bytes(), b"body"].concat());
        let words = format!("error FATAL 08P01 invalid frontend message type {tag}");
        assert_eq!(wire.until_closed(), [&*words, "closed"]);
    }
    is_undisturbed(neighbour);
}

#[test]
fn a_message_that_never_ends_costs_no_memory() {
    let stage = Stage::new();
    let neighbour = neighbour(&stage);
    let before = stage.proxy.memory("VmRSS");
    stage.proxy.forget_peak();
    // A statement of one gigabyte is announced; it is PostgreSQL that gathers it.
    let mut wire = Wire::log_in(&stage.proxied(Login::App), &[]);
    wire.send(&[&b"Q"[..], &0x3FFF_FF00_u32.to_be_bytes()].concat());
    for _ in 0..64 {
        wire.send(&[b'x'; 1 << 20]);
    }
    let grown = stage.proxy.memory("VmHWM").saturating_sub(before);
    assert!(grown < 10 * 1024, "{grown} kB");
    drop(wire);
    is_undisturbed(neighbour);
}

#[test]
fn a_thousand_connections_that_say_nothing_disturb_nobody() {
    let stage = Stage::new();
    let neighbour = neighbour(&stage);
    let crowd: Vec<Wire> = (0..1000).map(|_| Wire::open(stage.proxy.port())).collect();
    let mut newcomer = Wire::log_in(&stage.proxied(Login::App), &[]);
    assert_eq!(newcomer.value("SELECT 1"), "1");
    drop(crowd);
    is_undisturbed(neighbour);
}

#[test]
fn a_client_that_only_stops_sending_still_gets_its_end() {
    let stage = Stage::new();
    let neighbour = neighbour(&stage);
    let mut wire = Wire::log_in(&stage.proxied(Login::App), &[]);
    wire.query("SELECT 1");
    wire.close_sending();
    assert_eq!(wire.until_closed(), ["closed"]);
    let mut wire = Wire::open(stage.proxy.port());
    wire.send(&startup(V3_0, &[("user", "app")])[..12]);
    wire.close_sending();
    assert_eq!(wire.until_closed(), ["closed"]);
    is_undisturbed(neighbour);
}

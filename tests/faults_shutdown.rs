//! The program is told to stop: transactions finish, sessions part with PostgreSQL's words, nobody new
//! comes in.
#![cfg(feature = "real-nodes")]
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod support;

use std::net::TcpStream;

use nix::sys::signal::Signal;
use understudy::lab::Login;

use support::{Script, Stage, Wire, await_condition};

const GOOD_BYE: [&str; 2] =
    ["error FATAL 57P01 terminating connection due to administrator command", "closed"];

#[test]
fn idle_sessions_part_at_once_and_an_open_transaction_is_finished_first() {
    let mut stage = Stage::new();
    stage.admin("CREATE TABLE t (n int); ALTER TABLE t OWNER TO app");
    let proxied = stage.proxied(Login::App);
    let mut fresh = Wire::log_in(&proxied, &[]);
    let mut idle = Wire::log_in(&proxied, &[]);
    idle.value("SELECT 1");
    let mut open = Wire::log_in(&proxied, &[]);
    open.query("BEGIN; INSERT INTO t VALUES (1)");
    let mut pipeline = Wire::log_in(&proxied, &[]);
    pipeline.say(&Script::new().statement("INSERT INTO t VALUES (2)", &[]).flush());
    pipeline.until(b'C');
    let mut copying = Wire::log_in(&proxied, &[]);
    copying.say(&Script::new().query("COPY t FROM STDIN"));
    copying.until(b'G');
    // Half a login.
    let mut knocking = Wire::open(stage.proxy.port());
    knocking.send(&[0, 0]);

    stage.proxy.signal(Signal::SIGTERM);
    assert_eq!(fresh.until_closed(), GOOD_BYE);
    assert_eq!(idle.until_closed(), GOOD_BYE);
    knocking.until_closed();
    // Nobody new.
    await_condition("new clients to be refused", || {
        TcpStream::connect(("127.0.0.1", stage.proxy.port())).is_err()
    });
    assert!(stage.proxy.is_running());

    // Those who have begun go on, statement by statement, and part at their end.
    assert_eq!(open.query("INSERT INTO t VALUES (3)"), ["complete INSERT 0 1", "ready T"]);
    assert_eq!(open.query("COMMIT"), ["complete COMMIT", "ready I"]);
    assert_eq!(open.until_closed(), GOOD_BYE);
    assert_eq!(pipeline.ask(&Script::new().sync(), 1), ["ready I"]);
    assert_eq!(pipeline.until_closed(), GOOD_BYE);
    assert_eq!(
        copying.ask(&Script::new().copy_data("4\n").copy_done(), 1),
        ["complete COPY 1", "ready I"]
    );
    assert_eq!(copying.until_closed(), GOOD_BYE);
    assert_eq!(stage.proxy.await_end().code(), Some(0));
    assert_eq!(stage.admin_value("SELECT array_agg(n ORDER BY n)::text FROM t"), "{1,2,3,4}");
    stage.await_true("SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'app'");
    assert_eq!(stage.proxy.events("drain_timed_out").len(), 0);
}

#[test]
fn with_nobody_there_it_ends_at_once() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let mut stage = Stage::new();
        stage.proxy.signal(signal);
        assert_eq!(stage.proxy.await_end().code(), Some(0), "{signal}");
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut stage = Stage::new();
    let mut open = Wire::log_in(&stage.proxied(Login::App), &[]);
    open.query("BEGIN; CREATE TABLE never ()");
    stage.proxy.signal(Signal::SIGTERM);
    stage.proxy.await_event("draining");
    assert!(stage.proxy.is_running());
    stage.proxy.signal(Signal::SIGTERM);
    assert_eq!(stage.proxy.await_end().code(), Some(0));
    open.until_closed();
    stage.await_true("SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'app'");
    assert_eq!(stage.admin_value("SELECT to_regclass('never')"), "");
}

#[test]
fn a_transaction_that_never_ends_is_cut_off() {
    let mut stage = Stage::with(1, &["process.shutdown_timeout=1s"]);
    let mut open = Wire::log_in(&stage.proxied(Login::App), &[]);
    open.query("BEGIN; CREATE TABLE never ()");
    let mut busy = Wire::log_in(&stage.proxied(Login::App), &[]);
    busy.say(&Script::new().query("SELECT pg_sleep(600)"));
    stage.await_true("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    stage.proxy.signal(Signal::SIGTERM);
    assert_eq!(stage.proxy.await_end().code(), Some(0));
    assert_eq!(stage.proxy.events("drain_timed_out").len(), 1);
    open.until_closed();
    busy.until_closed();
    stage.await_true("SELECT to_regclass('never') IS NULL");
}

#[test]
fn clients_that_wait_for_a_primary_are_sent_away() {
    let mut stage = Stage::new();
    let mut waiting = Wire::log_in(&stage.proxied(Login::App), &[]);
    stage.cluster.kill(0).unwrap();
    stage.proxy.await_event("primary_lost");
    waiting.say(&Script::new().query("SELECT 1"));
    stage.proxy.signal(Signal::SIGTERM);
    assert_eq!(waiting.until_closed(), GOOD_BYE);
    assert_eq!(stage.proxy.await_end().code(), Some(0));
}

#[test]
fn a_client_that_does_not_read_does_not_keep_it_from_ending() {
    let mut stage = Stage::with(1, &["process.shutdown_timeout=1s"]);
    let mut deaf = Wire::log_in(&stage.proxied(Login::App), &[]);
    let pid = deaf.value("SELECT pg_backend_pid()");
    let lot = "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000)) TO STDOUT";
    deaf.say(&Script::new().query(lot));
    stage.await_true(&format!(
        "SELECT wait_event = 'ClientWrite' FROM pg_stat_activity WHERE pid = {pid}"
    ));
    stage.proxy.signal(Signal::SIGTERM);
    assert_eq!(stage.proxy.await_end().code(), Some(0));
}

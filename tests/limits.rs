//! Every limit has its own clear error, and nobody but the one who is over it is disturbed.
#![cfg(feature = "real-nodes")]
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod support;

use std::io::{Read, Write};

use support::{
    LIMIT, Stage, await_condition, connect, try_connect, value,
    wire::{Script, V3_0, Wire, startup},
    words,
};
use understudy::lab::Login;

/// A neighbour who must not notice anything.
async fn neighbour(stage: &Stage) -> tokio_postgres::Client {
    let client = connect(&stage.proxied(Login::App)).await;
    client.batch_execute("BEGIN").await.unwrap();
    client
}

async fn is_undisturbed(client: &tokio_postgres::Client) {
    assert_eq!(value(client, "SELECT 'here'").await, "here");
    client.batch_execute("COMMIT").await.unwrap();
}

#[tokio::test]
async fn one_client_more_than_max_clients_is_refused_and_cancelling_still_works() {
    let stage = Stage::with(1, &["limits.max_clients=2"]);
    let proxied = stage.proxied(Login::App);
    let first = neighbour(&stage).await;
    let second = connect(&proxied).await;
    let error = try_connect(&proxied).await.unwrap_err();
    assert_eq!(words(&error), "53300 sorry, too many clients already");
    stage.proxy.await_sentence("session_refused", "limits.max_clients (2) is reached");

    // Whoever is in can still be cancelled: a cancel request is not a client.
    let token = second.cancel_token();
    let sleeping =
        tokio::spawn(async move { second.simple_query("SELECT pg_sleep(60)").await.map(drop) });
    while stage.admin_value("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)' AND state = 'active' AND pid <> pg_backend_pid()") == "0" {
        tokio::task::yield_now().await;
    }
    token.cancel_query(tokio_postgres::NoTls).await.unwrap();
    let error = sleeping.await.unwrap().unwrap_err();
    assert_eq!(words(&error), "57014 canceling statement due to user request");
    is_undisturbed(&first).await;
    drop(first);

    // A place that is given up is free.
    let deadline = tokio::time::Instant::now() + LIMIT;
    while try_connect(&proxied).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline);
    }
}

#[tokio::test]
async fn limits_per_user_and_per_database_count_for_themselves() {
    let stage = Stage::with(1, &["limits.max_clients_per_user=1"]);
    stage.admin("CREATE ROLE other LOGIN PASSWORD 'o'");
    let first = neighbour(&stage).await;
    let error = try_connect(&stage.proxied(Login::App)).await.unwrap_err();
    assert_eq!(words(&error), "53300 sorry, too many clients already");
    stage.proxy.await_sentence(
        "session_refused",
        "limits.max_clients_per_user (1) is reached for \"app\"",
    );
    let port = stage.proxy.port();
    let other =
        connect(&format!("host=127.0.0.1 port={port} user=other password=o dbname=app")).await;
    assert_eq!(value(&other, "SELECT current_user").await, "other");
    is_undisturbed(&first).await;

    let stage = Stage::with(1, &["limits.max_clients_per_database=1"]);
    stage.admin("CREATE DATABASE second OWNER app");
    let first = neighbour(&stage).await;
    let error = try_connect(&stage.proxied(Login::App)).await.unwrap_err();
    assert_eq!(words(&error), "53300 sorry, too many clients already");
    let elsewhere = stage.proxied(Login::App).replace("dbname=app", "dbname=second");
    assert_eq!(value(&connect(&elsewhere).await, "SELECT current_database()").await, "second");
    is_undisturbed(&first).await;
}

/// A client who has the only server connection, and is greeted as all others of its pool are.
fn owner(stage: &Stage) -> Wire {
    let mut wire = Wire::log_in(&stage.proxied(Login::App), &[]);
    assert_eq!(wire.query("BEGIN").last().unwrap(), "ready T");
    wire
}

#[test]
fn server_connections_beyond_max_per_node_are_waited_for_in_line() {
    let stage = Stage::with(
        1,
        &[
            "process.workers=1",
            "pool.max_per_node=1",
            "limits.query_wait_timeout=2s",
            "limits.query_wait_notify=100ms",
        ],
    );
    let mut first = owner(&stage);

    // The greeting needs no server; the first statement does, and waits.
    let mut second = Wire::log_in(&stage.proxied(Login::App), &[]);
    second.say(&Script::new().query("SELECT 'mine'"));
    assert_eq!(
        second.until_closed(),
        [
            "notice NOTICE 00000 waiting in line for a server connection",
            "error FATAL 57014 no server connection to node 0 became free within \
             limits.query_wait_timeout (2000 ms) Raise pool.max_per_node, or open fewer connections \
             at a time.",
            "closed",
        ]
    );

    let mut third = Wire::log_in(&stage.proxied(Login::App), &[]);
    third.say(&Script::new().query("SELECT 'mine'"));
    assert_eq!(third.until(b'N').len(), 1);
    first.query("COMMIT");
    first.say(&Script::new().terminate());
    assert_eq!(
        third.until(b'Z'),
        ["columns ?column?:25", "row mine", "complete SELECT 1", "ready I"]
    );
}

#[test]
fn the_line_is_served_in_the_order_of_arrival() {
    let stage = Stage::with(
        1,
        &["process.workers=1", "pool.max_per_node=1", "limits.query_wait_notify=10ms"],
    );
    stage.admin("CREATE TABLE served (place serial, who int)");
    stage.admin("GRANT ALL ON served, served_place_seq TO app");
    let mut first = owner(&stage);
    let mut waiting: Vec<Wire> = Vec::new();
    for who in 0..5 {
        let mut wire = Wire::log_in(&stage.proxied(Login::App), &[]);
        let insert = format!("INSERT INTO served (who) VALUES ({who})");
        wire.say(&Script::new().query(&insert));
        // It is in line when it is told so.
        assert_eq!(wire.until(b'N').len(), 1);
        waiting.push(wire);
    }
    first.query("COMMIT");
    first.say(&Script::new().terminate());
    for wire in &mut waiting {
        assert_eq!(wire.until(b'Z'), ["complete INSERT 0 1", "ready I"]);
        wire.say(&Script::new().terminate());
    }
    let order = stage.admin_value("SELECT string_agg(who::text, '' ORDER BY place) FROM served");
    assert_eq!(order, "01234");
}

#[tokio::test]
async fn an_idle_connection_of_another_pool_makes_room() {
    let stage = Stage::with(1, &["pool.max_per_node=1"]);
    stage.admin("CREATE DATABASE second OWNER app");
    let first = connect(&stage.proxied(Login::App)).await;
    assert_eq!(value(&first, "SELECT 1").await, "1");
    drop(first);
    let elsewhere = stage.proxied(Login::App).replace("dbname=app", "dbname=second");
    assert_eq!(value(&connect(&elsewhere).await, "SELECT current_database()").await, "second");
}

#[test]
fn a_client_that_is_idle_for_too_long_is_sent_away() {
    let stage = Stage::with(1, &["limits.client_idle_timeout=1s"]);
    for statement in [None, Some("SELECT 1")] {
        let mut wire = Wire::log_in(&stage.proxied(Login::App), &[]);
        if let Some(statement) = statement {
            wire.query(statement);
        }
        let words = "error FATAL 57P05 terminating connection due to idle-session timeout";
        assert_eq!(wire.until_closed(), [words, "closed"], "{statement:?}");
    }
    // Who works, and who is in a transaction, is not idle.
    let mut wire = Wire::log_in(&stage.proxied(Login::App), &[]);
    assert_eq!(wire.query("SELECT pg_sleep(3)").last().unwrap(), "ready I");
    wire.query("BEGIN");
    assert_eq!(wire.query("SELECT pg_sleep(3)").last().unwrap(), "ready T");
}

#[test]
fn a_transaction_that_is_idle_for_too_long_is_ended_and_its_locks_go() {
    let stage = Stage::with(1, &["limits.idle_transaction_timeout=1s"]);
    let mut wire = Wire::log_in(&stage.proxied(Login::App), &[]);
    wire.query("CREATE TABLE locked (x int)");
    wire.query("BEGIN");
    wire.query("LOCK TABLE locked");
    let words = "error FATAL 25P03 terminating connection due to idle-in-transaction timeout";
    assert_eq!(wire.until_closed(), [words, "closed"]);
    stage.await_true("SELECT count(*) = 0 FROM pg_locks WHERE relation = 'locked'::regclass");
    // Outside of a transaction there is no such limit.
    let mut wire = Wire::log_in(&stage.proxied(Login::App), &[]);
    let mut other = Wire::log_in(&stage.proxied(Login::App), &[]);
    assert_eq!(other.query("SELECT pg_sleep(3)").last().unwrap(), "ready I");
    assert_eq!(wire.value("SELECT 1"), "1");
}

#[test]
fn a_client_that_never_reads_gives_its_server_connection_back() {
    let stage = Stage::with(1, &["limits.client_write_timeout=2s"]);
    stage.proxy.forget_peak();
    let before = stage.proxy.memory("VmRSS");
    let mut wire = Wire::log_in(&stage.proxied(Login::App), &[]);
    wire.say(&Script::new().query("SELECT repeat('x', 1000) FROM generate_series(1, 1000000)"));
    stage.proxy.await_sentence("session_refused", "limits.client_write_timeout");
    stage.await_true("SELECT count(*) = 0 FROM pg_stat_activity WHERE query LIKE '%generate_series(1, 1000000)%' AND pid <> pg_backend_pid()");
    let grown = stage.proxy.memory("VmHWM").saturating_sub(before);
    assert!(grown < 30 * 1024, "{grown} kB");
    // What was under way may be cut; then the socket ends.
    let mut sink = Vec::new();
    let _ = wire.stream.read_to_end(&mut sink);
    assert!(sink.len() < 100_000_000, "a gigabyte was never gathered");
}

#[test]
fn a_statement_longer_than_the_limit_is_refused_before_it_is_read() {
    let stage = Stage::with(1, &["limits.max_statement_size=2000"]);
    let long = format!("SELECT '{}'", "x".repeat(3000));
    for script in [Script::new().query(&long), Script::new().parse("", &long).sync()] {
        let mut wire = Wire::log_in(&stage.proxied(Login::App), &[]);
        wire.query("SELECT 1");
        wire.say(&script);
        let said = wire.until_closed();
        assert!(said[0].starts_with("error FATAL 54000 statement of 30"), "{said:?}");
        assert!(said[0].ends_with("is longer than limits.max_statement_size (2000)"), "{said:?}");
    }
    // Data is not a statement.
    let mut wire = Wire::log_in(&stage.proxied(Login::App), &[]);
    wire.query("CREATE TEMP TABLE t (x text)");
    let script = Script::new()
        .query("COPY t FROM STDIN")
        .copy_data(&format!("{}\n", "x".repeat(9000)))
        .copy_done();
    assert_eq!(wire.ask(&script, 1).last().unwrap(), "ready I");
    assert_eq!(wire.value("SELECT length(x) FROM t"), "9000");
}

#[test]
fn a_client_that_never_logs_in_is_closed_and_a_slow_one_gets_in() {
    let stage = Stage::with(1, &["listen.login_timeout=3s"]);
    let mut silent = Wire::open(stage.proxy.port());
    let mut half = Wire::open(stage.proxy.port());
    let packet = startup(V3_0, &[("user", "app")]);
    half.send(&packet[..9]);
    let mut unproved = Wire::open(stage.proxy.port());
    unproved.send(&packet);
    assert_eq!(silent.until_closed(), ["closed"]);
    assert_eq!(half.until_closed(), ["closed"]);
    assert_eq!(unproved.until_closed().last().unwrap(), "closed");

    // Byte by byte, but in time.
    let mut slow = Wire::open(stage.proxy.port());
    for byte in packet {
        slow.send(&[byte]);
        slow.stream.flush().unwrap();
    }
    assert_eq!(slow.next().unwrap().tag, b'R');
}

#[test]
fn out_of_descriptors_new_clients_wait_and_present_ones_are_served() {
    let stage = Stage::new();
    let mut present = Wire::log_in(&stage.proxied(Login::App), &[]);
    assert_eq!(present.value("SELECT 1"), "1");
    let open = stage.proxy.open_files() as u64;
    let limit = |most: u64| {
        let ok = std::process::Command::new("prlimit")
            .args(["--pid", &stage.proxy.pid().to_string(), &format!("--nofile={most}:")])
            .status()
            .unwrap();
        assert!(ok.success());
    };
    limit(open + 3);
    let crowd: Vec<Wire> = (0..10).map(|_| Wire::open(stage.proxy.port())).collect();
    stage.proxy.await_event("accept_failed");
    assert_eq!(present.value("SELECT 2"), "2");
    drop(crowd);
    limit(1000);
    await_condition("clients are accepted again", || {
        stage.proxy.events("accept_recovered").len() == 1
    });
    assert_eq!(Wire::log_in(&stage.proxied(Login::App), &[]).value("SELECT 3"), "3");
    assert_eq!(present.value("SELECT 4"), "4");
}

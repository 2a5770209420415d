//! Server connections change hands: what a client leaves behind never reaches the next one, and a
//! connection that is not as it should be is not handed out.
#![cfg(feature = "real-nodes")]
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod support;

use understudy::lab::{Cluster, ClusterSpec, Login};

use support::{Proxy, ProxySpec, Script, Stage, Wire, try_connect, value, words};

/// All sessions on one worker, so that its pool is the only one.
const ONE_WORKER: &str = "process.workers=1";

/// The backend that serves this session.
fn backend(wire: &mut Wire) -> String {
    wire.value("SELECT pg_backend_pid()")
}

/// Waits until the proxy has this many idle connections to this backend's database, all of them at
/// rest after the reset query.
fn await_parked(stage: &Stage, count: usize) {
    stage.await_true(&format!(
        "SELECT count(*) = {count} AND bool_and(state = 'idle' AND query = 'DISCARD ALL') \
         FROM pg_stat_activity WHERE usename = 'app'"
    ));
}

#[test]
fn the_next_client_gets_the_same_backend_and_none_of_its_state() {
    let stage = Stage::with(1, &[ONE_WORKER]);
    stage.admin("CREATE ROLE other; GRANT other TO app");
    let proxied = stage.proxied(Login::App);
    let mut first = Wire::log_in(&proxied, &[]);
    let pid = backend(&mut first);
    let sullied = first.query(
        "SET work_mem = '17MB'; SET application_name = 'first'; SET TimeZone = 'Asia/Tokyo'; \
         CREATE TEMP TABLE mine (n int); CREATE TEMP SEQUENCE counter; SELECT nextval('counter'); \
         PREPARE mine AS SELECT 1; DECLARE held CURSOR WITH HOLD FOR SELECT 1; LISTEN gossip; \
         SELECT pg_advisory_lock(42); SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY; \
         SET my.own = 'x'; SET ROLE other",
    );
    assert_eq!(sullied.last().unwrap(), "ready I", "{sullied:?}");
    first.ask(&Script::new().parse("named", "SELECT 1").sync(), 1);
    first.say(&Script::new().terminate());
    await_parked(&stage, 1);

    let mut next = Wire::log_in(&proxied, &[]);
    assert_eq!(backend(&mut next), pid);
    let asked = [
        ("SHOW work_mem", "4MB"),
        ("SHOW application_name", ""),
        ("SHOW TimeZone", "UTC"),
        ("SHOW role", "none"),
        ("SELECT current_user", "app"),
        ("SHOW default_transaction_read_only", "off"),
        ("SELECT current_setting('my.own', true) IS DISTINCT FROM 'x'", "t"),
        ("SELECT to_regclass('pg_temp.mine')", "NULL"),
        ("SELECT count(*) FROM pg_prepared_statements", "0"),
        ("SELECT count(*) FROM pg_cursors", "0"),
        ("SELECT count(*) FROM pg_listening_channels()", "0"),
        ("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", "0"),
    ];
    for (question, answer) in asked {
        assert_eq!(next.value(question), answer, "{question}");
    }
    assert_eq!(
        next.query("SELECT lastval()"),
        [
            "columns lastval:20",
            "error ERROR 55000 lastval is not yet defined in this session",
            "ready I"
        ]
    );
    // What the second was told of the settings is what is in force.
    assert_eq!(next.parameters["TimeZone"], "UTC");
    assert_eq!(next.parameters["application_name"], "");
}

#[test]
fn sessions_at_the_same_time_have_backends_of_their_own() {
    let stage = Stage::with(1, &[ONE_WORKER]);
    let mut wires: Vec<Wire> =
        (0..10).map(|_| Wire::log_in(&stage.proxied(Login::App), &[])).collect();
    let mut pids: Vec<String> = wires.iter_mut().map(backend).collect();
    let again: Vec<String> = wires.iter_mut().map(backend).collect();
    assert_eq!(again, pids, "a session keeps its backend");
    pids.sort();
    pids.dedup();
    assert_eq!(pids.len(), 10);
    for wire in &mut wires {
        wire.say(&Script::new().terminate());
    }
    await_parked(&stage, 10);
}

#[test]
fn no_more_idle_connections_are_kept_than_allowed_and_none_for_too_long() {
    let stage = Stage::with(1, &[ONE_WORKER, "pool.max_idle=2", "pool.idle_timeout=1s"]);
    let mut wires: Vec<Wire> =
        (0..5).map(|_| Wire::log_in(&stage.proxied(Login::App), &[])).collect();
    wires.iter_mut().for_each(|wire| drop(backend(wire)));
    drop(wires);
    let count = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
    stage.await_true(&format!("SELECT ({count}) <= 2"));
    stage.await_true(&format!("SELECT ({count}) = 0"));
}

#[test]
fn an_old_connection_is_not_pooled_again() {
    let stage = Stage::with(1, &[ONE_WORKER, "pool.max_lifetime=1ms"]);
    let mut first = Wire::log_in(&stage.proxied(Login::App), &[]);
    backend(&mut first);
    first.say(&Script::new().terminate());
    stage.await_true("SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'app'");
}

#[test]
fn connections_are_pooled_by_who_uses_them_and_how() {
    let stage = Stage::with(1, &[ONE_WORKER]);
    stage.admin("CREATE ROLE other LOGIN PASSWORD 'x'");
    let proxied = stage.proxied(Login::App);
    let other =
        proxied.replace("user=app", "user=other").split(" password=").next().unwrap().to_owned()
            + " password=x";
    let somewhere = proxied.replace("dbname=app", "dbname=postgres");
    let seen = |conninfo: &str, parameters: &[(&str, &str)]| {
        let mut wire = Wire::log_in(conninfo, parameters);
        let pid = backend(&mut wire);
        assert_eq!(
            wire.value("SELECT current_user || ' ' || current_database()"),
            if conninfo == other {
                "other app"
            } else if conninfo == somewhere {
                "app postgres"
            } else {
                "app app"
            }
        );
        wire.say(&Script::new().terminate());
        pid
    };
    let ways: [(&str, &[(&str, &str)]); 4] = [
        (&proxied, &[]),
        (&proxied, &[("application_name", "named")]),
        (&other, &[]),
        (&somewhere, &[]),
    ];
    let first = ways.map(|(conninfo, parameters)| seen(conninfo, parameters));
    stage.await_true(
        "SELECT count(*) = 4 AND bool_and(query = 'DISCARD ALL') FROM pg_stat_activity \
         WHERE usename IN ('app', 'other')",
    );
    let second = ways.map(|(conninfo, parameters)| seen(conninfo, parameters));
    assert_eq!(second, first);
}

/// Ends a session in one way or another, and waits until its backend holds nothing any more.
fn leaves_nothing(how: &str, leave: impl Fn(&mut Wire), reset: bool) {
    let stage = Stage::with(1, &[ONE_WORKER]);
    stage.admin("CREATE TABLE t (n int); ALTER TABLE t OWNER TO app");
    let proxied = stage.proxied(Login::App);
    let mut wire = Wire::log_in(&proxied, &[]);
    wire.query("SELECT pg_advisory_lock(42); SET work_mem = '17MB'; LISTEN gossip");
    leave(&mut wire);
    if reset {
        wire.reset();
    } else {
        drop(wire);
    }
    // Locks gone, no transaction open, nobody who waits.
    stage.await_true("SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'advisory'");
    stage.await_true(
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'app' \
         AND (state <> 'idle' OR query <> 'DISCARD ALL')",
    );
    let mut next = Wire::log_in(&proxied, &[]);
    let state = "SELECT current_setting('work_mem') || ' ' || (SELECT count(*) FROM t) || ' ' || \
                 (SELECT count(*) FROM pg_listening_channels())";
    assert_eq!(next.value(state), "4MB 0 0", "after a client that left {how}");
    // Nothing in the proxy was surprised either.
    let log = stage.proxy.log();
    assert!(!log.contains("broke the protocol") && !log.contains("panic"), "{log}");
}

/// Every way of leaving, by closing and by a reset.
macro_rules! leaving {
    ($($name:ident: $how:literal, $leave:expr;)+) => {
        $(
            #[test]
            fn $name() {
                leaves_nothing($how, $leave, false);
                leaves_nothing($how, $leave, true);
            }
        )+
    };
}

leaving! {
    a_client_that_closes_while_idle_leaves_nothing: "idle", |_| ();
    a_client_that_closes_in_a_transaction_leaves_nothing: "in a transaction", |wire: &mut Wire| {
        wire.query("BEGIN; INSERT INTO t VALUES (1)");
    };
    a_client_that_closes_in_a_failed_transaction_leaves_nothing: "in a failed one", |wire: &mut Wire| {
        wire.query("BEGIN; INSERT INTO t VALUES (1)");
        wire.query("SELECT 1/0");
    };
    a_client_that_closes_while_it_copies_in_leaves_nothing: "mid COPY in", |wire: &mut Wire| {
        wire.say(&Script::new().query("COPY t FROM STDIN"));
        wire.until(b'G');
        wire.say(&Script::new().copy_data("1\n"));
    };
    a_client_that_closes_while_it_copies_out_leaves_nothing: "mid COPY out", |wire: &mut Wire| {
        wire.say(&Script::new().query("COPY (SELECT generate_series(1, 3000000)) TO STDOUT"));
        wire.until(b'd');
    };
    a_client_that_closes_in_a_result_leaves_nothing: "mid result", |wire: &mut Wire| {
        wire.say(&Script::new().query("SELECT repeat('x', 1000) FROM generate_series(1, 100000)"));
        wire.until(b'D');
    };
    a_client_that_closes_in_a_pipeline_leaves_nothing: "mid pipeline", |wire: &mut Wire| {
        wire.say(&Script::new().statement("INSERT INTO t VALUES (1)", &[]).flush());
        wire.until(b'C');
    };
    a_client_that_closes_after_a_failed_pipeline_leaves_nothing: "before Sync", |wire: &mut Wire| {
        wire.say(&Script::new().statement("SELECT 1/0", &[]).flush());
        wire.until(b'E');
    };
    a_client_that_closes_within_a_message_leaves_nothing: "mid message", |wire: &mut Wire| {
        let script = Script::new().query("INSERT INTO t VALUES (1)");
        wire.send(&script.0[..script.0.len() - 3]);
    };
    a_client_that_closes_within_a_header_leaves_nothing: "mid header", |wire: &mut Wire| {
        wire.send(&Script::new().query("INSERT INTO t VALUES (1)").0[..3]);
    };
    a_client_that_closes_before_its_answer_leaves_nothing: "before the answer", |wire: &mut Wire| {
        wire.say(&Script::new().query("SELECT pg_sleep(0.2)"));
    };
}

#[test]
fn a_backend_that_is_terminated_says_so_to_its_client() {
    let stage = Stage::new();
    let fatal = "error FATAL 57P01 terminating connection due to administrator command";
    let said = stage.same(|conninfo| {
        // Idle: the words come unasked.
        let mut idle = Wire::log_in(conninfo, &[]);
        let pid = backend(&mut idle);
        stage.admin(&format!("SELECT pg_terminate_backend({pid})"));
        let mut said = idle.until_closed();
        // In a transaction.
        let mut open = Wire::log_in(conninfo, &[]);
        let pid = backend(&mut open);
        open.query("BEGIN");
        stage.admin(&format!("SELECT pg_terminate_backend({pid})"));
        said.extend(open.until_closed());
        // Busy.
        let mut busy = Wire::log_in(conninfo, &[]);
        let pid = backend(&mut busy);
        busy.say(&Script::new().query("SELECT pg_sleep(600)"));
        stage.await_true(&format!(
            "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = {pid}"
        ));
        stage.admin(&format!("SELECT pg_terminate_backend({pid})"));
        said.extend(busy.until_closed());
        said
    });
    assert_eq!(said, [fatal, "closed", fatal, "closed", "columns pg_sleep:2278", fatal, "closed"]);
}

#[test]
fn an_idle_connection_that_the_server_ended_is_never_handed_out() {
    let stage = Stage::with(1, &[ONE_WORKER]);
    let proxied = stage.proxied(Login::App);
    for _ in 0..10 {
        let mut first = Wire::log_in(&proxied, &[]);
        let pid = backend(&mut first);
        first.say(&Script::new().terminate());
        await_parked(&stage, 1);
        // A second client is logged in already and about to ask for the first time.
        let mut second = Wire::log_in(&proxied, &[]);
        stage.admin(&format!("SELECT pg_terminate_backend({pid})"));
        stage.await_true(&format!("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = {pid}"));
        assert_ne!(backend(&mut second), pid);
        stage.admin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
        stage.await_true("SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'app'");
    }
}

/// More than one poll of a session may look at: none of them may pass for alive because of that.
#[test]
fn a_crowd_of_idle_connections_that_the_server_ended_delays_nobody() {
    let settings = vec![("max_connections".to_owned(), "250".to_owned())];
    let cluster = Cluster::create(ClusterSpec { settings, ..ClusterSpec::with_nodes(1) }).unwrap();
    let crowd = ["pool.max_idle=200", "pool.max_per_node=200", ONE_WORKER];
    let proxy = Proxy::start(&ProxySpec::of(&cluster).set(&crowd));
    let stage = Stage { proxy, cluster };
    let proxied = stage.proxied(Login::App);
    let mut wires: Vec<Wire> = (0..160).map(|_| Wire::log_in(&proxied, &[])).collect();
    wires.iter_mut().for_each(|wire| drop(backend(wire)));
    drop(wires);
    await_parked(&stage, 160);
    let mut client = Wire::log_in(&proxied, &[]);
    // All of them within the moment in which the client asks.
    stage.cluster.kill(0).unwrap();
    client.say(&Script::new().query("SELECT 'served'"));
    stage.cluster.start(0).unwrap();
    assert_eq!(client.until(b'Z')[1], "row served");
}

#[test]
fn a_connection_that_timed_out_on_the_server_while_it_was_idle_is_not_handed_out() {
    let stage = Stage::with(1, &[ONE_WORKER]);
    stage.admin("ALTER ROLE app SET idle_session_timeout = '100ms'");
    let proxied = stage.proxied(Login::App);
    for _ in 0..3 {
        let mut wire = Wire::log_in(&proxied, &[]);
        assert_eq!(wire.value("SELECT 'served'"), "served");
        wire.say(&Script::new().terminate());
        stage.await_true("SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'app'");
    }
}

#[test]
fn a_setting_changed_on_the_node_reaches_clients_of_idle_connections() {
    let stage = Stage::with(1, &[ONE_WORKER]);
    let proxied = stage.proxied(Login::App);
    let mut first = Wire::log_in(&proxied, &[]);
    backend(&mut first);
    first.say(&Script::new().terminate());
    await_parked(&stage, 1);
    stage.cluster.query(0, "ALTER SYSTEM SET TimeZone = 'Asia/Tokyo'").unwrap();
    stage.cluster.query(0, "SELECT pg_reload_conf()").unwrap();
    stage.await_true("SELECT current_setting('TimeZone') = 'Asia/Tokyo'");
    let mut next = Wire::log_in(&proxied, &[]);
    // Whether the backend has read its configuration by now is a matter of time; that the client knows
    // what is in force is not.
    for _ in 0..2 {
        let zone = next.value("SHOW TimeZone");
        assert_eq!(next.parameters["TimeZone"], zone);
    }
}

#[test]
fn a_restarted_node_gets_new_connections() {
    let stage = Stage::with(1, &[ONE_WORKER]);
    let proxied = stage.proxied(Login::App);
    let mut first = Wire::log_in(&proxied, &[]);
    backend(&mut first);
    first.say(&Script::new().terminate());
    await_parked(&stage, 1);
    stage.cluster.stop(0, understudy::lab::StopMode::Fast).unwrap();
    stage.cluster.start(0).unwrap();
    let mut next = Wire::log_in(&proxied, &[]);
    assert_eq!(next.value("SELECT 'served'"), "served");
}

#[test]
fn a_reset_query_that_fails_retires_the_connection() {
    let stage = Stage::with(1, &[ONE_WORKER, "pool.reset_query=SELECT 1/0"]);
    let proxied = stage.proxied(Login::App);
    let mut first = Wire::log_in(&proxied, &[]);
    let pid = backend(&mut first);
    first.say(&Script::new().terminate());
    stage.await_true("SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'app'");
    let mut next = Wire::log_in(&proxied, &[]);
    assert_ne!(backend(&mut next), pid);
    let reason = "the reset query failed: division by zero";
    assert!(stage.proxy.log().contains(reason), "{}", stage.proxy.log());
}

#[tokio::test]
async fn a_node_that_is_full_says_so_in_its_own_words() {
    let stage = Stage::new();
    stage.admin("ALTER ROLE app CONNECTION LIMIT 2");
    let proxied = stage.proxied(Login::App);
    let mut held = Vec::new();
    for _ in 0..2 {
        let client = support::connect(&proxied).await;
        value(&client, "SELECT 1").await;
        held.push(client);
    }
    // It may be greeted from memory; its first statement finds no place.
    let error = match try_connect(&proxied).await {
        Ok(client) => client.simple_query("SELECT 1").await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(words(&error), "53300 too many connections for role \"app\"");
}

//! Nodes that are down, foreign, promoted, or back from the dead: which of them gets a session.
#![cfg(feature = "real-nodes")]
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod support;

use std::{thread, time::Duration};

use understudy::lab::{Cluster, ClusterSpec, Login, StopMode};

use support::{
    LIMIT, Proxy, ProxySpec, Script, Stage, Wire, await_condition, connect, try_connect, value,
};

const NO_PRIMARY: &str = "error FATAL 57P03 the proxy has no primary to serve this session";

/// The port of the node that serves a session.
fn port_of(wire: &mut Wire) -> String {
    wire.value("SELECT current_setting('port')")
}

/// How often `app` has come to a node, by the node's own log: log_connections must be on.
fn logins(cluster: &Cluster, node: usize) -> usize {
    let log = std::fs::read_to_string(cluster.node(node).log()).unwrap();
    log.lines().filter(|line| line.contains("connection authorized: user=app")).count()
}

fn cluster(nodes: usize) -> Cluster {
    let settings = vec![("log_connections".to_owned(), "on".to_owned())];
    Cluster::create(ClusterSpec { settings, ..ClusterSpec::with_nodes(nodes) }).unwrap()
}

#[test]
fn with_no_node_up_it_starts_and_clients_wait_for_the_limit() {
    let cluster = cluster(1);
    cluster.stop(0, StopMode::Fast).unwrap();
    let proxy = Proxy::start(&ProxySpec::of(&cluster).set(&["failover.hold_timeout=1s"]));
    let began = std::time::Instant::now();
    let (_, said) = Wire::try_log_in(&proxy.conninfo(&cluster, Login::App), &[]);
    let waited = began.elapsed();
    assert!(said[0].starts_with("error FATAL 57P03 "), "{said:?}");
    assert!(said[0].contains("Try again later"), "the error says what can be done: {said:?}");
    assert!(waited >= Duration::from_millis(950), "it gave up after {waited:?}");
    proxy.await_sentence("check_failed", "node 0 failed its check");
}

#[test]
fn a_client_that_waits_is_served_when_the_node_comes() {
    let cluster = cluster(1);
    cluster.stop(0, StopMode::Fast).unwrap();
    let proxy = Proxy::start(&ProxySpec::of(&cluster));
    let conninfo = proxy.conninfo(&cluster, Login::App);
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            let conninfo = conninfo.clone();
            thread::spawn(move || Wire::log_in(&conninfo, &[]).value("SELECT 'served'"))
        })
        .collect();
    proxy.await_event("check_failed");
    cluster.start(0).unwrap();
    for client in waiting {
        assert_eq!(client.join().unwrap(), "served");
    }
}

#[test]
fn waiting_for_a_node_is_not_counted_as_a_slow_login() {
    let cluster = cluster(1);
    cluster.stop(0, StopMode::Fast).unwrap();
    let proxy = Proxy::start(&ProxySpec::of(&cluster).set(&["listen.login_timeout=500ms"]));
    let conninfo = proxy.conninfo(&cluster, Login::App);
    let began = std::time::Instant::now();
    let waiting = thread::spawn(move || Wire::log_in(&conninfo, &[]).value("SELECT 'served'"));
    await_condition("more than the limit of a login", || began.elapsed().as_millis() > 1_500);
    cluster.start(0).unwrap();
    assert_eq!(waiting.join().unwrap(), "served");
}

#[test]
fn a_client_that_gives_up_before_its_login_could_begin_is_forgotten() {
    let cluster = cluster(1);
    cluster.stop(0, StopMode::Fast).unwrap();
    let proxy = Proxy::start(&ProxySpec::of(&cluster));
    proxy.await_event("check_failed");
    let files = proxy.open_files();
    let mut wires: Vec<Wire> = (0..20).map(|_| Wire::open(proxy.port())).collect();
    for wire in &mut wires {
        let packet = support::wire::startup(support::wire::V3_0, &[("user", "app")]);
        wire.send(&packet);
    }
    await_condition("all to be there", || proxy.open_files() >= files + 20);
    drop(wires);
    // Long before failover.hold_timeout, which is 30 s.
    let began = std::time::Instant::now();
    await_condition("all to be gone", || proxy.open_files() < files + 5);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn a_session_without_a_statement_yet_outlives_the_node() {
    let cluster = cluster(1);
    let proxy = Proxy::start(&ProxySpec::of(&cluster));
    let conninfo = proxy.conninfo(&cluster, Login::App);
    let mut patient = Wire::log_in(&conninfo, &[]);
    cluster.kill(0).unwrap();
    patient.say(&Script::new().query("SELECT 'served'"));
    proxy.await_event("check_failed");
    cluster.start(0).unwrap();
    assert_eq!(patient.until(b'Z')[1], "row served");
}

#[test]
fn a_session_without_a_statement_yet_is_told_when_no_primary_comes() {
    let cluster = cluster(1);
    let proxy = Proxy::start(&ProxySpec::of(&cluster).set(&["failover.hold_timeout=1s"]));
    let mut wire = Wire::log_in(&proxy.conninfo(&cluster, Login::App), &[]);
    cluster.kill(0).unwrap();
    proxy.await_event("primary_lost");
    wire.say(&Script::new().query("SELECT 'never'"));
    let said = wire.until_closed();
    assert!(said[0].starts_with(NO_PRIMARY), "{said:?}");
    assert!(said[0].contains("failover.hold_timeout (1000 ms)"), "{said:?}");
}

#[test]
fn a_client_that_gives_up_waiting_is_forgotten() {
    let cluster = cluster(1);
    let proxy = Proxy::start(&ProxySpec::of(&cluster));
    let conninfo = proxy.conninfo(&cluster, Login::App);
    let mut wire = Wire::log_in(&conninfo, &[]);
    cluster.kill(0).unwrap();
    proxy.await_event("primary_lost");
    let files = proxy.open_files();
    wire.say(&Script::new().query("CREATE TABLE never ()"));
    drop(wire);
    await_condition("its socket to be closed", || proxy.open_files() < files);
    cluster.start(0).unwrap();
    let mut next = Wire::log_in(&conninfo, &[]);
    assert_eq!(next.value("SELECT to_regclass('never')"), "NULL");
}

#[test]
fn a_session_whose_node_dies_is_told() {
    let stage = Stage::new();
    let proxied = stage.proxied(Login::App);
    let mut idle = Wire::log_in(&proxied, &[]);
    idle.value("SELECT 1");
    let mut busy = Wire::log_in(&proxied, &[]);
    busy.say(&Script::new().query("SELECT pg_sleep(600)"));
    stage.await_true("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    stage.cluster.kill(0).unwrap();
    for wire in [&mut idle, &mut busy] {
        let said = wire.until_closed();
        let last = &said[said.len() - 2..];
        assert!(
            last[0].starts_with("error FATAL 08006 the connection to the node was lost"),
            "{said:?}"
        );
        assert_eq!(last[1], "closed");
    }
}

#[test]
fn the_primary_is_found_whatever_its_number_and_gets_every_session() {
    let cluster = cluster(3);
    // In the proxy's list it stands last, and then in the middle.
    let ports: Vec<u16> = [1, 2, 0].map(|node| cluster.node(node).port()).to_vec();
    for (ports, number) in [(ports.clone(), 2), (vec![ports[0], ports[2], ports[1]], 1)] {
        let proxy = Proxy::start(&ProxySpec::of(&cluster).nodes(&ports));
        proxy.await_sentence("primary_found", &format!("node {number} is the primary"));
        for _ in 0..4 {
            let mut wire = Wire::log_in(&proxy.conninfo(&cluster, Login::App), &[]);
            assert_eq!(port_of(&mut wire), cluster.node(0).port().to_string());
            assert_eq!(wire.value("SELECT pg_is_in_recovery()"), "f");
        }
    }
    assert_eq!((logins(&cluster, 1), logins(&cluster, 2)), (0, 0), "standbys got no session");
}

#[test]
fn a_node_of_another_cluster_is_refused_named_and_left_alone() {
    let ours = cluster(1);
    let settings = vec![("log_connections".to_owned(), "on".to_owned())];
    let foreign =
        Cluster::create(ClusterSpec { fresh: true, settings, ..ClusterSpec::with_nodes(1) })
            .unwrap();
    assert_ne!(ours.system_identifier(0).unwrap(), foreign.system_identifier(0).unwrap());
    // Ours is known first.
    foreign.stop(0, StopMode::Fast).unwrap();
    let ports = [ours.node(0).port(), foreign.node(0).port()];
    // The lookup role must be able to log in at both, lest the password alone keeps it out.
    let password = ours.password(Login::Understudy).unwrap().reveal();
    let proxy = Proxy::start(&ProxySpec::of(&ours).nodes(&ports));
    proxy.await_event("primary_found");
    foreign.start(0).unwrap();
    foreign.query(0, &format!("ALTER ROLE understudy PASSWORD '{password}'")).unwrap();
    let reason = format!(
        "node 1 gets no statement: it belongs to another cluster: its system identifier is {}, this \
         cluster's is {}",
        foreign.system_identifier(0).unwrap(),
        ours.system_identifier(0).unwrap()
    );
    proxy.await_sentence("node_refused", &reason);
    for _ in 0..4 {
        let mut wire = Wire::log_in(&proxy.conninfo(&ours, Login::App), &[]);
        assert_eq!(port_of(&mut wire), ports[0].to_string());
    }
    // Not even when ours is gone.
    ours.kill(0).unwrap();
    proxy.await_event("primary_lost");
    let quick =
        Proxy::start(&ProxySpec::of(&ours).nodes(&ports).set(&["failover.hold_timeout=1s"]));
    drop(quick);
    assert_eq!(logins(&foreign, 0), 0);
    assert!(!proxy.sentences("primary_found").iter().any(|found| found.contains("node 1")));
}

#[test]
fn after_a_promotion_sessions_go_to_the_new_primary_and_never_to_the_old() {
    let cluster = cluster(3);
    let proxy = Proxy::start(&ProxySpec::of(&cluster));
    proxy.await_sentence("primary_found", "node 0 is the primary");
    let conninfo = proxy.conninfo(&cluster, Login::App);
    let mut before = Wire::log_in(&conninfo, &[("synchronous_commit", "on")]);
    before.query("CREATE TABLE kept AS SELECT 7 AS n");
    cluster.await_caught_up(1, 0).unwrap();

    cluster.kill(0).unwrap();
    let said = before.until_closed();
    assert!(said[0].starts_with("error FATAL 08006"), "{said:?}");
    // Somebody comes while there is no primary, and waits.
    let waiting = {
        let conninfo = conninfo.clone();
        thread::spawn(move || port_of(&mut Wire::log_in(&conninfo, &[])))
    };
    cluster.promote(1).unwrap();
    cluster.follow(2, 1).unwrap();
    let new = cluster.node(1).port().to_string();
    assert_eq!(waiting.join().unwrap(), new);
    proxy.await_sentence("primary_found", "node 1 is the primary");
    let mut after = Wire::log_in(&conninfo, &[]);
    assert_eq!(port_of(&mut after), new);
    assert_eq!(after.value("SELECT n FROM kept"), "7");

    // The old primary comes back as one, and believes in itself.
    let seen = logins(&cluster, 0);
    cluster.start(0).unwrap();
    proxy.await_sentence(
        "node_refused",
        "node 0 gets no statement: it takes writes on timeline 1, and this cluster is on timeline 2",
    );
    for _ in 0..10 {
        assert_eq!(port_of(&mut Wire::log_in(&conninfo, &[])), new);
    }
    // Even with the new primary gone.
    cluster.kill(1).unwrap();
    proxy.await_event("primary_lost");
    let lost = thread::spawn({
        let conninfo = conninfo.clone();
        move || Wire::try_log_in(&conninfo, &[]).1
    });
    await_condition("the proxy to look at both nodes for a while", || {
        proxy.sentences("check_failed").iter().any(|said| said.starts_with("node 1 failed"))
    });
    assert_eq!(logins(&cluster, 0), seen, "the old primary got a session");
    cluster.start(1).unwrap();
    assert_eq!(lost.join().unwrap().last().unwrap(), "ready I");

    // Rejoined as a standby it is at peace with everybody, and still gets no session.
    cluster.kill(0).unwrap();
    cluster.rejoin(0, 1).unwrap();
    proxy.await_sentence("node_changed", "node 0 is up as standby");
    assert_eq!(port_of(&mut Wire::log_in(&conninfo, &[])), new);
    assert_eq!(logins(&cluster, 0), seen);
}

#[test]
fn two_primaries_on_one_timeline_stop_the_writes() {
    let cluster = cluster(2);
    // A standby that became a primary without a promotion: a copy whose standby.signal was removed.
    cluster.stop(1, StopMode::Fast).unwrap();
    std::fs::remove_file(cluster.node(1).data().join("standby.signal")).unwrap();
    let proxy = Proxy::start(&ProxySpec::of(&cluster).set(&["failover.hold_timeout=1s"]));
    proxy.await_event("primary_found");
    cluster.start(1).unwrap();
    proxy.await_event("primary_lost");
    proxy.await_sentence("node_refused", "take writes on the same timeline: stop one of them");
    let (_, said) = Wire::try_log_in(&proxy.conninfo(&cluster, Login::App), &[]);
    assert!(said[0].starts_with("error FATAL 57P03 "), "{said:?}");
    // One of them is stopped: the other is the primary again.
    cluster.kill(1).unwrap();
    await_condition("a primary again", || proxy.events("primary_found").len() == 2);
    let mut wire = Wire::log_in(&proxy.conninfo(&cluster, Login::App), &[]);
    assert_eq!(port_of(&mut wire), cluster.node(0).port().to_string());
}

#[tokio::test]
async fn a_frozen_node_makes_new_clients_wait_and_not_for_ever() {
    let cluster = cluster(1);
    let spec = ProxySpec::of(&cluster).set(&[
        "failover.hold_timeout=1s",
        "health_check.connect_timeout=300ms",
        "health_check.reply_timeout=300ms",
        "health_check.check_timeout=500ms",
        "pool.connect_timeout=500ms",
    ]);
    let proxy = Proxy::start(&spec);
    proxy.await_event("primary_found");
    let conninfo = proxy.conninfo(&cluster, Login::App);
    cluster.pause(0).unwrap();
    let began = std::time::Instant::now();
    let error = try_connect(&conninfo).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "57P03");
    assert!(began.elapsed() < LIMIT / 4, "{:?}", began.elapsed());
    proxy.await_event("check_failed");
    cluster.resume(0).unwrap();
    proxy.await_event("check_passed");
    let client = connect(&conninfo).await;
    assert_eq!(value(&client, "SELECT 'served'").await, "served");
}

//! The lab's nodes as the tests of the whole project rely on them: made, broken, repaired, gone.
#![cfg(feature = "real-nodes")]
#![allow(clippy::unwrap_used, reason = "these are tests, helpers included")]

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    time::{Duration, Instant},
};

use understudy::lab::{
    Cluster, ClusterSpec, LabError, Login, NodeRole, NodeState, Rejoined, StopMode, wait_until,
};

const LIMIT: Duration = Duration::from_secs(60);

/// The processes that work in a directory, by the process table itself.
fn processes_in(dir: &std::path::Path) -> Vec<i32> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let cwd = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
            cwd.starts_with(dir).then_some(pid)
        })
        .collect()
}

/// Runs statements as a role over TCP with its password.
fn as_login(cluster: &Cluster, id: usize, login: Login, sql: &str) -> Result<Vec<String>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(&cluster.conninfo(id, login), tokio_postgres::NoTls)
                .await
                .map_err(|e| format!("{e:?}"))?;
        tokio::spawn(connection);
        let messages = client.simple_query(sql).await.map_err(|e| format!("{e:?}"))?;
        Ok(messages
            .iter()
            .filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => {
                    Some(row.get(0).unwrap_or_default().to_owned())
                }
                _ => None,
            })
            .collect())
    })
}

#[test]
fn one_node_is_up_in_no_time() {
    let begun = Instant::now();
    let cluster = Cluster::create(ClusterSpec::with_nodes(1)).unwrap();
    println!("one node: {:?}", begun.elapsed());
    assert_eq!(cluster.primary(), Some(0));
    assert_eq!(as_login(&cluster, 0, Login::App, "SELECT 7").unwrap(), ["7"]);
}

#[test]
fn standbys_stream_from_the_primary_through_slots() {
    let begun = Instant::now();
    let cluster = Cluster::create(ClusterSpec::default()).unwrap();
    println!("three nodes: {:?}", begun.elapsed());
    let rows = cluster
        .query(
            0,
            "SELECT r.application_name, r.state, r.sync_state, s.slot_name, r.usename \
             FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid \
             ORDER BY 1",
        )
        .unwrap();
    let text: Vec<String> = rows
        .iter()
        .map(|row| row.iter().flatten().cloned().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        text,
        ["node1 streaming async node1 replicator", "node2 streaming async node2 replicator"]
    );
    assert_eq!(cluster.node(1).role(), Some(NodeRole::Standby));
    assert_eq!(cluster.value(0, "SHOW wal_log_hints").unwrap(), "on");

    as_login(&cluster, 0, Login::App, "CREATE TABLE t AS SELECT 41 + 1 AS n").unwrap();
    for standby in 1..3 {
        cluster.await_caught_up(standby, 0).unwrap();
        assert_eq!(as_login(&cluster, standby, Login::App, "SELECT n FROM t").unwrap(), ["42"]);
        assert_eq!(
            cluster.system_identifier(standby).unwrap(),
            cluster.system_identifier(0).unwrap()
        );
    }
}

#[test]
fn a_synchronous_commit_waits_for_one_standby() {
    let cluster =
        Cluster::create(ClusterSpec { synchronous: true, ..ClusterSpec::default() }).unwrap();
    let states = cluster.query(0, "SELECT DISTINCT sync_state FROM pg_stat_replication").unwrap();
    assert_eq!(states, [[Some("quorum".to_owned())]]);
    as_login(&cluster, 0, Login::App, "CREATE TABLE t ()").unwrap();
    cluster.kill(1).unwrap();
    as_login(&cluster, 0, Login::App, "CREATE TABLE u ()").unwrap();
}

#[test]
fn passwords_are_asked_for_over_tcp() {
    let cluster = Cluster::create(ClusterSpec::with_nodes(1)).unwrap();
    let port = cluster.node(0).port();
    for user in ["app", "understudy", "postgres"] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let wrong =
            format!("host=127.0.0.1 port={port} user={user} dbname=postgres password=wrong");
        let error = runtime
            .block_on(tokio_postgres::connect(&wrong, tokio_postgres::NoTls))
            .err()
            .expect("a wrong password must be refused");
        assert_eq!(error.code().unwrap().code(), "28P01", "{user}");
    }
    let stored = cluster
        .query(
            0,
            "SELECT DISTINCT left(rolpassword, 13) FROM pg_authid WHERE rolpassword IS NOT NULL",
        )
        .unwrap();
    assert_eq!(stored, [[Some("SCRAM-SHA-256".to_owned())]]);
}

#[test]
fn the_understudy_role_has_its_grants_and_no_more() {
    let cluster = Cluster::create(ClusterSpec::with_nodes(2)).unwrap();
    let attributes = cluster
        .query(
            0,
            "SELECT concat_ws(',', rolsuper, rolcreaterole, rolcreatedb, rolreplication, \
             rolbypassrls, rolcanlogin) FROM pg_roles WHERE rolname = 'understudy'",
        )
        .unwrap();
    assert_eq!(attributes, [[Some("f,f,f,t,f,t".to_owned())]]);
    let memberships = cluster
        .query(
            0,
            "SELECT roleid::regrole::text, admin_option FROM pg_auth_members \
             WHERE member = 'understudy'::regrole",
        )
        .unwrap();
    assert_eq!(memberships, [[Some("pg_monitor".to_owned()), Some("f".to_owned())]]);
    // Whatever names the role in an access list, anywhere in the database.
    let granted = cluster
        .query(
            0,
            "SELECT classid::regclass || ' ' || coalesce(CASE classid \
                 WHEN 'pg_proc'::regclass THEN objid::regprocedure::text \
                 WHEN 'pg_namespace'::regclass THEN objid::regnamespace::text \
                 ELSE (SELECT parname FROM pg_parameter_acl WHERE oid = objid) END, '?') \
             FROM pg_shdepend WHERE refobjid = 'understudy'::regrole ORDER BY 1",
        )
        .unwrap();
    let granted: Vec<String> = granted.into_iter().flatten().flatten().collect();
    assert_eq!(
        granted,
        [
            "pg_namespace understudy",
            "pg_parameter_acl primary_conninfo",
            "pg_parameter_acl primary_slot_name",
            "pg_proc pg_promote(boolean,integer)",
            "pg_proc pg_reload_conf()",
            "pg_proc understudy.user_lookup(text)",
        ]
    );

    let understudy = |id, sql: &str| as_login(&cluster, id, Login::Understudy, sql);
    as_login(&cluster, 0, Login::App, "CREATE TABLE t AS SELECT 1 AS n").unwrap();
    let in_app = cluster.conninfo(0, Login::Understudy).replace("dbname=postgres", "dbname=app");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let denied = runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(&in_app, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.simple_query("SELECT * FROM t").await.unwrap_err()
    });
    assert_eq!(denied.code().unwrap().code(), "42501");
    for refused in [
        "SELECT * FROM pg_authid",
        "ALTER SYSTEM SET archive_command = 'true'",
        "ALTER SYSTEM SET synchronous_standby_names = ''",
        "CREATE ROLE other",
        "CREATE SCHEMA other",
        "SELECT pg_read_file('PG_VERSION')",
        "COPY (SELECT 1) TO PROGRAM 'true'",
    ] {
        let error = understudy(0, refused).unwrap_err();
        assert!(error.contains("42501"), "{refused}: {error}");
    }

    // And it can do what it is for.
    understudy(0, "SELECT pg_create_physical_replication_slot('made_by_understudy')").unwrap();
    understudy(0, "SELECT pg_drop_replication_slot('made_by_understudy')").unwrap();
    let seen = understudy(1, "SELECT conninfo FROM pg_stat_wal_receiver").unwrap();
    assert_eq!(seen.len(), 1);
    let conninfo = understudy(1, "SHOW primary_conninfo").unwrap();
    assert!(conninfo[0].contains("user=replicator"), "{conninfo:?}");
    understudy(1, "ALTER SYSTEM SET primary_slot_name = 'node1'").unwrap();
    understudy(1, "SELECT pg_reload_conf()").unwrap();
    assert_eq!(understudy(1, "SELECT pg_promote(true, 30)").unwrap(), ["t"]);
    assert_eq!(cluster.node(1).role(), Some(NodeRole::Primary));
}

#[test]
fn user_lookup_shows_who_may_log_in_and_nobody_else() {
    let cluster = Cluster::create(ClusterSpec::with_nodes(1)).unwrap();
    for sql in [
        "CREATE ROLE expired LOGIN PASSWORD 'x' VALID UNTIL 'yesterday'",
        "CREATE ROLE valid LOGIN PASSWORD 'x' VALID UNTIL 'tomorrow'",
        "CREATE ROLE nologin PASSWORD 'x'",
        "CREATE ROLE boss LOGIN SUPERUSER PASSWORD 'x'",
        "CREATE ROLE \"o'dd näme\" LOGIN PASSWORD 'x'",
    ] {
        cluster.query(0, sql).unwrap();
    }
    let lookup = |name: &str| {
        as_login(
            &cluster,
            0,
            Login::Understudy,
            &format!("SELECT secret FROM understudy.user_lookup('{}')", name.replace('\'', "''")),
        )
        .unwrap()
    };
    for present in ["app", "valid", "o'dd näme"] {
        assert!(lookup(present)[0].starts_with("SCRAM-SHA-256$"), "{present}");
    }
    for absent in ["expired", "nologin", "boss", "postgres", "understudy", "nobody", ""] {
        assert!(lookup(absent).is_empty(), "{absent}");
    }
    // Objects of the same name earlier in somebody's search path change nothing.
    let fooled = as_login(
        &cluster,
        0,
        Login::Understudy,
        "CREATE TEMP TABLE pg_authid (rolname name, rolpassword text, rolcanlogin bool, \
             rolsuper bool, rolvaliduntil timestamptz); \
         INSERT INTO pg_authid VALUES ('mallory', 'known', true, false, NULL); \
         SELECT count(*) FROM understudy.user_lookup('mallory')",
    )
    .unwrap();
    assert_eq!(fooled, ["0"]);
    let in_postgres = cluster.conninfo(0, Login::App).replace("dbname=app", "dbname=postgres");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let denied = runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(&in_postgres, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.simple_query("SELECT * FROM understudy.user_lookup('app')").await.unwrap_err()
    });
    assert_eq!(denied.code().unwrap().code(), "42501");
}

#[test]
fn a_killed_node_leaves_no_process_and_starts_again() {
    let cluster = Cluster::create(ClusterSpec::with_nodes(2)).unwrap();
    let dir = cluster.node(0).dir().to_owned();
    assert!(processes_in(&dir).len() > 3, "a postmaster has company");
    cluster.kill(0).unwrap();
    assert_eq!(processes_in(&dir), Vec::<i32>::new());
    assert_eq!(cluster.node(0).state(), NodeState::Stopped);
    assert_eq!(cluster.node(0).pid(), None);
    assert!(!processes_in(cluster.node(1).dir()).is_empty(), "the neighbour lives");
    cluster.start(0).unwrap();
    cluster.await_streaming(1, 0).unwrap();
}

#[test]
fn a_paused_node_is_silent_and_resumes() {
    let cluster = Cluster::create(ClusterSpec::with_nodes(2)).unwrap();
    cluster.pause(1).unwrap();
    assert_eq!(cluster.node(1).state(), NodeState::Paused);
    // The kernel takes the connection, nobody answers.
    let address = (Ipv4Addr::LOCALHOST, cluster.node(1).port());
    let mut silent = std::net::TcpStream::connect(address).unwrap();
    silent.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    std::io::Write::write_all(&mut silent, &[0, 0, 0, 8, 4, 210, 22, 47]).unwrap();
    let read = std::io::Read::read(&mut silent, &mut [0]);
    assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);

    as_login(&cluster, 0, Login::App, "CREATE TABLE t ()").unwrap();
    cluster.resume(1).unwrap();
    assert_eq!(cluster.node(1).state(), NodeState::Running);
    cluster.await_caught_up(1, 0).unwrap();
    // A paused node can be stopped and killed, too.
    cluster.pause(1).unwrap();
    cluster.stop(1, StopMode::Fast).unwrap();
    cluster.pause(0).unwrap();
    cluster.kill(0).unwrap();
    assert_eq!(processes_in(cluster.dir()), Vec::<i32>::new());
}

#[test]
fn a_killed_primary_rejoins_by_rewinding() {
    let cluster = Cluster::create(ClusterSpec::default()).unwrap();
    cluster.kill(0).unwrap();
    cluster.promote(1).unwrap();
    cluster.follow(2, 1).unwrap();
    as_login(&cluster, 1, Login::App, "CREATE TABLE after AS SELECT 1 AS n").unwrap();
    // The old primary comes back as one and writes what nobody else has.
    cluster.start(0).unwrap();
    assert_eq!(cluster.node(0).role(), Some(NodeRole::Primary));
    as_login(&cluster, 0, Login::App, "CREATE TABLE astray ()").unwrap();
    cluster.kill(0).unwrap();

    assert_eq!(cluster.rejoin(0, 1).unwrap(), Rejoined::Rewound);
    cluster.await_caught_up(0, 1).unwrap();
    assert_eq!(as_login(&cluster, 0, Login::App, "SELECT n FROM after").unwrap(), ["1"]);
    assert!(as_login(&cluster, 0, Login::App, "SELECT FROM astray").is_err());
    assert_eq!(cluster.primary(), Some(1));
    assert_eq!(cluster.value(0, "SELECT count(*) FROM pg_replication_slots").unwrap(), "0");
    assert_eq!(cluster.value(0, "SHOW port").unwrap(), cluster.node(0).port().to_string());

    // And the stage may be given back.
    cluster.kill(1).unwrap();
    cluster.promote(0).unwrap();
    cluster.follow(2, 0).unwrap();
    cluster.rejoin(1, 0).unwrap();
    let timeline = "SELECT timeline_id FROM pg_control_checkpoint()";
    assert_eq!(cluster.value(0, timeline).unwrap(), "3");
}

#[test]
fn a_node_without_a_common_past_rejoins_by_copying() {
    let cluster = Cluster::create(ClusterSpec::with_nodes(2)).unwrap();
    cluster.kill(0).unwrap();
    cluster.promote(1).unwrap();
    fs::remove_dir_all(cluster.node(0).data().join("pg_wal")).unwrap();
    assert_eq!(cluster.rejoin(0, 1).unwrap(), Rejoined::Copied);
    assert_eq!(cluster.node(0).role(), Some(NodeRole::Standby));
    // With nothing left at all, too; and a lost standby is no different.
    cluster.kill(0).unwrap();
    fs::remove_dir_all(cluster.node(0).data()).unwrap();
    assert_eq!(cluster.rejoin(0, 1).unwrap(), Rejoined::Copied);
    cluster.kill(0).unwrap();
    assert_eq!(cluster.rejoin(0, 1).unwrap(), Rejoined::Rewound);
}

#[test]
fn dropping_a_cluster_leaves_no_process_and_no_file() {
    let cluster = Cluster::create(ClusterSpec::default()).unwrap();
    let dir = cluster.dir().to_owned();
    let ports: Vec<u16> = cluster.nodes().iter().map(|n| n.port()).collect();
    let client = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, ports[0])).unwrap();
    cluster.pause(2).unwrap();
    drop(cluster);
    assert!(!dir.exists());
    assert_eq!(processes_in(&dir), Vec::<i32>::new());
    for port in ports {
        let error = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    }
    drop(client);
}

#[test]
fn what_a_killed_test_left_is_swept_up() {
    // As a cluster's directory looks when its process was killed: nobody holds the lock.
    let neighbour = Cluster::create(ClusterSpec::with_nodes(1)).unwrap();
    let left =
        neighbour.dir().with_file_name(format!("understudy-lab-left-{}", std::process::id()));
    fs::create_dir_all(left.join("node0/data")).unwrap();
    fs::write(left.join("held"), "").unwrap();
    let cluster = Cluster::create(ClusterSpec::with_nodes(1)).unwrap();
    assert!(!left.exists());
    assert_eq!(neighbour.value(0, "SELECT 1").unwrap(), "1");
    drop(cluster);
}

#[test]
fn clusters_live_side_by_side() {
    let template = Cluster::create(ClusterSpec::with_nodes(1)).unwrap();
    let fresh = Cluster::create(ClusterSpec { fresh: true, ..ClusterSpec::with_nodes(2) }).unwrap();
    assert_ne!(template.system_identifier(0).unwrap(), fresh.system_identifier(0).unwrap());
    as_login(&template, 0, Login::App, "CREATE TABLE only_here ()").unwrap();
    assert!(as_login(&fresh, 0, Login::App, "SELECT FROM only_here").is_err());
    let name = "SELECT application_name FROM pg_stat_replication";
    assert_eq!(fresh.value(0, name).unwrap(), "node1");
    drop(template);
    assert_eq!(as_login(&fresh, 1, Login::App, "SELECT 1").unwrap(), ["1"]);
}

#[test]
fn further_settings_win_and_blanks_in_the_path_do_no_harm() {
    let dir = std::env::temp_dir().join(format!("under study's {}", std::process::id()));
    let cluster = Cluster::create(ClusterSpec {
        dir: Some(dir.clone()),
        settings: vec![("max_connections".into(), "23".into())],
        ..ClusterSpec::with_nodes(2)
    })
    .unwrap();
    assert_eq!(cluster.value(1, "SHOW max_connections").unwrap(), "23");
    cluster.kill(0).unwrap();
    cluster.promote(1).unwrap();
    assert_eq!(cluster.rejoin(0, 1).unwrap(), Rejoined::Rewound);
    drop(cluster);
    assert!(!dir.exists());
}

#[test]
fn it_works_within_an_asynchronous_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let cluster = Cluster::create(ClusterSpec::with_nodes(1)).unwrap();
        assert_eq!(cluster.value(0, "SELECT 1").unwrap(), "1");
    });
}

#[test]
fn what_is_missing_or_in_the_way_is_named_with_its_remedy() {
    let nowhere =
        ClusterSpec { pg_bin: Some(PathBuf::from("/nonexistent")), ..ClusterSpec::default() };
    let error = Cluster::create(nowhere).unwrap_err();
    assert!(matches!(error, LabError::NotPostgres { .. }), "{error}");

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = ClusterSpec { first_port: port, ..ClusterSpec::with_nodes(1) };
    let error = Cluster::create(taken).unwrap_err().to_string();
    assert!(
        error.contains(&format!("port {port}")) && error.contains("choose other ports"),
        "{error}"
    );

    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("precious");
    fs::write(&kept, "").unwrap();
    let full = ClusterSpec { dir: Some(dir.path().to_owned()), ..ClusterSpec::with_nodes(1) };
    assert!(matches!(Cluster::create(full), Err(LabError::NotALab { .. })));
    assert!(kept.exists());

    let long = std::env::temp_dir().join("x".repeat(100));
    let deep = ClusterSpec { dir: Some(long), ..ClusterSpec::with_nodes(1) };
    assert!(matches!(Cluster::create(deep), Err(LabError::PathTooLong { .. })));

    let alone = ClusterSpec { synchronous: true, ..ClusterSpec::with_nodes(1) };
    let error = Cluster::create(alone).unwrap_err().to_string();
    assert!(error.contains("needs a second node"), "{error}");

    let broken = ClusterSpec {
        settings: vec![("work_mem".into(), "a lot".into())],
        ..ClusterSpec::with_nodes(1)
    };
    let error = Cluster::create(broken).unwrap_err().to_string();
    assert!(error.contains("node0 ended") && error.contains("work_mem"), "{error}");
}

#[test]
fn a_stopped_primary_takes_its_standbys_along_to_the_last_byte() {
    let cluster = Cluster::create(ClusterSpec::default()).unwrap();
    as_login(&cluster, 0, Login::App, "CREATE TABLE t AS SELECT generate_series(1, 10000) n")
        .unwrap();
    cluster.stop_all(StopMode::Fast).unwrap();
    assert_eq!(processes_in(cluster.dir()), Vec::<i32>::new());
    for id in 0..3 {
        cluster.start(id).unwrap();
    }
    wait_until("both standbys to stream", LIMIT, || {
        cluster
            .value(0, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")
            .unwrap()
            == "2"
    })
    .unwrap();
    assert_eq!(as_login(&cluster, 2, Login::App, "SELECT count(*) FROM t").unwrap(), ["10000"]);
}

//! PostgreSQL's own client programs: what they print straight is what they print through the proxy.
#![cfg(feature = "real-nodes")]
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod support;

use std::{fs, path::Path, process::Command};

use understudy::lab::Login;

use support::{Ran, Stage, program::command, run};

impl Stage {
    /// Runs one of PostgreSQL's programs to its end.
    fn run(&self, program: &str, arguments: &[&str]) -> Ran {
        let mut command = command(&self.tool(program));
        command.args(arguments);
        run(command, "")
    }
}

#[test]
fn psql_prints_the_same_whatever_it_is_asked() {
    let stage = Stage::new();
    let ran = stage.same(|conninfo| stage.psql(conninfo, PSQL_SCRIPT));
    assert_eq!(ran.code, Some(0));
    for part in ["division by zero", "NOTICE:  noticed", "WARNING:  there is no transaction"] {
        assert!(ran.err.contains(part), "{part} in {}", ran.err);
    }
    for part in
        ["Table \"public.play\"", "3\tthree", "COPY 3", "Hamlet", "Asynchronous notification"]
    {
        assert!(ran.out.contains(part), "{part} in {}", ran.out);
    }
    // A script that is to stop at the first error stops, with the same exit code.
    let ran = stage.same(|conninfo| {
        let mut psql = command(&stage.tool("psql"));
        psql.args(["-X", "-v", "ON_ERROR_STOP=1", "-d", conninfo]);
        run(psql, "SELECT 1;\nSELECT nonsense;\nSELECT 2;\n")
    });
    assert_eq!(ran.code, Some(3));
    // In one transaction, and by -c.
    let options = ["-X", "-1", "-c", "CREATE TABLE gone ()", "-c", "SELECT 1/0"];
    let ran = stage.same(|conninfo| stage.run("psql", &[&options[..], &["-d", conninfo]].concat()));
    assert_eq!((ran.code, ran.err.as_str()), (Some(1), "ERROR:  division by zero\n"));
    assert_eq!(stage.admin_value("SELECT to_regclass('gone')"), "");
}

/// Every kind of thing people do in psql. Process ids, which differ, are not shown.
const PSQL_SCRIPT: &str = r#"
SET client_min_messages = error;
DROP TABLE IF EXISTS play, line CASCADE;
RESET client_min_messages;
CREATE TABLE play (id int PRIMARY KEY, name text NOT NULL, price numeric(6,2) DEFAULT 9.99, seen timestamptz);
CREATE TABLE line (play int REFERENCES play, n int, words text, PRIMARY KEY (play, n));
CREATE OR REPLACE VIEW cheap AS SELECT * FROM play WHERE price < 10;
CREATE OR REPLACE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2';
COMMENT ON TABLE play IS 'what is on';
INSERT INTO play VALUES (1, 'Hamlet', 12.50, '2024-02-29 20:00+00'), (2, 'Лир', 8, NULL), (3, E'tab\tand \\ back', DEFAULT, 'infinity');
\d
\d play
\d+ line
\df twice
\dv
\l app
\dn
\du app
\sf twice
SELECT * FROM play ORDER BY id;
\x
SELECT * FROM play ORDER BY id;
\x
\pset null '(null)'
\a
TABLE cheap;
\a
\t
SELECT count(*) FROM play;
\t
\set wanted 2
SELECT name FROM play WHERE id = :wanted;
SELECT 6 * 7 AS answer \gset
\echo the answer is :answer
SELECT 'SELECT ' || n FROM generate_series(1, 3) AS n \gexec
SELECT id, name FROM play \crosstabview id name id
SELECT 1 AS a, 'x'::text AS b \gdesc
COPY play (id, name) FROM STDIN WITH (FORMAT csv, HEADER);
id,name
10,"Ten, of diamonds"
11,"Eleven"
\.
\copy (SELECT generate_series(1, 3), 'three') TO STDOUT
\copy line FROM STDIN
1	1	Who's there?
1	2	Nay, answer me
1	3	\N
\.
COPY line TO STDOUT WITH (FORMAT csv, FORCE_QUOTE *);
COPY play (id, name) FROM STDIN;
20	fine
oops	not fine
\.
SELECT count(*) FROM play;
SELECT 1/0;
SELECT * FROM nowhere;
SELECT nam FROM play;
SELECT 'unterminated;
';
INSERT INTO play VALUES (1, 'again');
INSERT INTO line VALUES (99, 1, 'orphan');
\set VERBOSITY verbose
SELECT 'x'::int;
\set VERBOSITY default
\errverbose
DO $$ BEGIN RAISE NOTICE 'noticed' USING DETAIL = 'in detail', HINT = 'a hint'; RAISE WARNING 'warned'; END $$;
DO $$ BEGIN RAISE EXCEPTION 'raised' USING ERRCODE = 'P9999', CONSTRAINT = 'c', TABLE = 't'; END $$;
SET client_min_messages = debug1;
CREATE TEMP TABLE quick (id serial PRIMARY KEY);
RESET client_min_messages;
BEGIN;
SAVEPOINT one;
SELECT 1/0;
SELECT 'not now';
ROLLBACK TO one;
DECLARE c CURSOR FOR SELECT generate_series(1, 5);
FETCH 2 FROM c;
MOVE 1 FROM c;
FETCH ALL FROM c;
COMMIT;
COMMIT;
PREPARE p (int) AS SELECT twice($1);
EXECUTE p(21);
DEALLOCATE p;
SELECT twice(4); SELECT twice(5)\; SELECT twice(6);
\set FETCH_COUNT 2
SELECT generate_series(1, 7);
\unset FETCH_COUNT
\timing off
\encoding LATIN1
SELECT 'caf' || chr(233);
\encoding UTF8
\dt nowhere.*
\if :{?wanted}
\echo branch
\else
\echo never
\endif
EXPLAIN (COSTS off) SELECT * FROM play WHERE id = 1;
SHOW search_path;
SET ROLE nobody;
SELECT pg_notify('nothing', 'heard');
VACUUM play;
ANALYZE play;
TABLE play \g (format=csv)
SELECT current_user, session_user, current_database(), current_setting('application_name');
-- Process ids differ, so of a notification only its beginning is shown.
\o |sed 's/ received from server process.*//'
LISTEN news;
NOTIFY news, 'payload';
\o
"#;

#[test]
fn pgbench_runs_in_every_protocol_and_loses_nothing() {
    let stage = Stage::new();
    let proxied = stage.proxied(Login::App);
    stage.run("pgbench", &["-i", "-q", "-s", "1", &proxied]).chatty_ok();
    let rounds = "100";
    let (clients, threads) = ("4", "2");
    for mode in ["simple", "extended", "prepared"] {
        let options =
            ["-n", "-c", clients, "-j", threads, "-t", rounds, "-M", mode, "--random-seed=7"];
        let said = stage.run("pgbench", &[&options[..], &[&proxied]].concat()).chatty_ok();
        assert!(said.contains("number of transactions actually processed: 400/400"), "{said}");
        assert!(said.contains("number of failed transactions: 0 (0.000%)"), "{said}");
    }
    // A connection for each transaction.
    let options = ["-n", "-C", "-c", clients, "-j", threads, "-t", "25", &proxied];
    let said = stage.run("pgbench", &options).chatty_ok();
    assert!(said.contains("number of transactions actually processed: 100/100"), "{said}");
    // Reads in a pipeline.
    let directory = tempfile::tempdir().unwrap();
    let script = support::proxy::file(directory.path(), "pipeline.sql", PIPELINE);
    let script = script.to_str().unwrap();
    let options = ["-n", "-M", "extended", "-c", clients, "-t", "25", "-f", script, &proxied];
    let said = stage.run("pgbench", &options).chatty_ok();
    assert!(said.contains("number of transactions actually processed: 100/100"), "{said}");

    let ledger = "SELECT (SELECT sum(delta) FROM pgbench_history) = \
                  (SELECT sum(abalance) FROM pgbench_accounts) AND \
                  (SELECT sum(delta) FROM pgbench_history) = \
                  (SELECT sum(bbalance) FROM pgbench_branches) AND \
                  (SELECT count(*) FROM pgbench_history) = 1300";
    assert_eq!(stage.admin_value(ledger), "t");
}

const PIPELINE: &str = "\\set aid random(1, 100000)
\\startpipeline
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
SELECT 1;
SELECT bbalance FROM pgbench_branches WHERE bid = 1;
\\endpipeline
";

#[test]
fn a_dump_through_the_proxy_is_the_dump_and_restores_to_the_same() {
    let stage = Stage::new();
    let proxied = stage.proxied(Login::App);
    stage.psql(&proxied, "CREATE EXTENSION IF NOT EXISTS plpgsql;\n").chatty_ok();
    stage.psql(&proxied, DUMPED).chatty_ok();
    // Plain text: the same bytes, but for a random word against injection.
    let plain =
        stage.same(|conninfo| without_restrict(&stage.run("pg_dump", &["-d", conninfo]).ok()));
    assert!(
        plain.contains("COPY public.scene") && plain.contains("lo_put") == plain.contains("blob")
    );
    // Custom format: the same bytes, but for the time of day in the header.
    let directory = tempfile::tempdir().unwrap();
    let archive = |name: &str, conninfo: &str| {
        let file = directory.path().join(name).display().to_string();
        stage.run("pg_dump", &["-Fc", "-Z0", "-f", &file, "-d", conninfo]).ok();
        file
    };
    let files = [archive("straight", &stage.straight(Login::App)), archive("proxied", &proxied)];
    let [straight, through] = files.clone().map(|file| fs::read(file).unwrap());
    assert_eq!(straight.len(), through.len());
    assert_eq!(&straight[HEADER..], &through[HEADER..]);
    // Restored through the proxy, by two jobs at once, it dumps as the original does.
    stage.admin("CREATE DATABASE again OWNER app");
    let again = proxied.replace("dbname=app", "dbname=again");
    stage.run("pg_restore", &["-j", "2", "-d", &again, &files[1]]).ok();
    let restored = without_restrict(&stage.run("pg_dump", &["-d", &again]).ok());
    assert_eq!(restored, plain);
    // And so does the plain dump, fed to psql.
    stage.admin("CREATE DATABASE third OWNER app");
    let third = proxied.replace("dbname=app", "dbname=third");
    let ran = stage.psql(&third, &plain);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    assert_eq!(without_restrict(&stage.run("pg_dump", &["-d", &third]).ok()), plain);
}

/// Where an archive's header with its time of creation ends at the latest.
const HEADER: usize = 100;

const DUMPED: &str = r#"
CREATE SCHEMA wing;
CREATE TYPE mood AS ENUM ('merry', 'grave');
CREATE TABLE scene (id bigserial PRIMARY KEY, mood mood, words text, bytes bytea, at timestamptz DEFAULT '2024-01-01');
INSERT INTO scene (mood, words, bytes)
    SELECT CASE n % 2 WHEN 0 THEN 'merry' ELSE 'grave' END::mood, repeat(md5(n::text), 10), decode(md5(n::text), 'hex')
    FROM generate_series(1, 5000) AS n;
INSERT INTO scene (words) VALUES (E'tab\t newline\n back\\slash \u00e9'), (''), (NULL);
CREATE INDEX ON scene (mood, at);
CREATE VIEW wing.merry AS SELECT * FROM scene WHERE mood = 'merry';
CREATE FUNCTION wing.f(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN $1; END $$;
CREATE TABLE parted (n int) PARTITION BY RANGE (n);
CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (10);
INSERT INTO parted SELECT generate_series(0, 9);
SELECT lo_from_bytea(4711, '\x00ff10');
"#;

/// pg_dump writes `\restrict` and `\unrestrict` with a random word.
fn without_restrict(dump: &str) -> String {
    let restrict = |line: &&str| line.starts_with("\\restrict") || line.starts_with("\\unrestrict");
    dump.split_inclusive('\n').filter(|line| !restrict(line)).collect()
}

#[test]
fn large_objects_go_in_and_out_by_function_calls() {
    let stage = Stage::new();
    let directory = tempfile::tempdir().unwrap();
    // Three megabytes that compress badly and hold every byte.
    let bytes: Vec<u8> =
        (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let source = directory.path().join("in");
    fs::write(&source, &bytes).unwrap();
    let copies = stage.same(|conninfo| {
        let target = directory.path().join("out");
        let script = format!(
            "\\set ON_ERROR_STOP 1\n\
             \\lo_import {source:?} 'a comment'\n\
             SELECT length(lo_get(:LASTOID)), md5(lo_get(:LASTOID));\n\
             \\lo_export :LASTOID {target:?}\n\
             \\lo_unlink :LASTOID\n\
             \\lo_list\n",
        )
        .replace('"', "'");
        let said = stage.psql(conninfo, &script).ok();
        // Its number differs.
        let said: Vec<String> = said
            .lines()
            .filter(|line| !line.starts_with("lo_import") && !line.starts_with("lo_unlink"))
            .map(str::to_owned)
            .collect();
        (said, fs::read(&target).unwrap())
    });
    assert!(copies.1 == bytes, "what came out is what went in");
}

#[test]
fn replication_connections_pass_through() {
    let stage = Stage::new();
    let identify = |conninfo: &str| {
        let ran = stage.psql(&format!("{conninfo} replication=true"), "IDENTIFY_SYSTEM;\n").ok();
        // The position may have moved.
        ran.split('|').next().unwrap().to_owned() + &ran.lines().count().to_string()
    };
    let proxied = stage.proxied(Login::Replicator);
    assert_eq!(identify(&proxied), identify(&stage.straight(Login::Replicator)));

    let directory = tempfile::tempdir().unwrap();
    let backup = directory.path().join("backup").display().to_string();
    let ran =
        stage.run("pg_basebackup", &["-d", &proxied, "-D", &backup, "-X", "stream", "-c", "fast"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let verified = stage.run("pg_verifybackup", &[&backup]).ok();
    assert_eq!(verified, "backup successfully verified\n");

    // WAL is received while it is written, and the receiver can be told where to stop.
    let end = stage.admin_value("SELECT pg_switch_wal(); SELECT pg_current_wal_lsn()");
    let wal = directory.path().join("wal");
    fs::create_dir(&wal).unwrap();
    let mut receive = command(&stage.tool("pg_receivewal"));
    receive.args(["-d", &proxied, "-n", "--endpos", &end, "-D"]).arg(&wal);
    let receiver = std::thread::spawn(move || run(receive, ""));
    stage.await_true("SELECT count(*) > 0 FROM pg_stat_replication WHERE state = 'streaming'");
    stage.admin("CREATE TABLE written (); SELECT pg_switch_wal()");
    receiver.join().unwrap().chatty_ok();
    assert!(fs::read_dir(&wal).unwrap().count() > 0);
    // Neither kind is pooled.
    stage.await_true("SELECT count(*) = 0 FROM pg_stat_replication");
}

#[test]
fn control_c_in_psql_cancels_the_statement() {
    let stage = Stage::new();
    let ran = stage.same(|conninfo| {
        let mut psql = psql_in(&stage, Path::new("/"));
        psql.args(["-d", conninfo, "-c", "SELECT pg_sleep(600)", "-c", "SELECT 'never'"]);
        let psql = psql.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let child = psql.spawn().unwrap();
        stage.await_true("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        let output = child.wait_with_output().unwrap();
        stage.await_true("SELECT count(*) = 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    });
    assert_eq!(ran.1, "Cancel request sent\nERROR:  canceling statement due to user request\n");
}

fn psql_in(stage: &Stage, directory: &Path) -> Command {
    let mut psql = command(&stage.tool("psql"));
    psql.arg("-X").current_dir(directory).stdin(std::process::Stdio::null());
    psql
}

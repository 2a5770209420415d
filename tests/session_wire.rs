//! Conversations message by message, as no driver or only some driver leads them: what comes through
//! the proxy is what PostgreSQL says.
#![cfg(feature = "real-nodes")]
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod support;

use understudy::lab::Login;

use support::{Script, Stage, Wire};

/// `lo_creat`, `loread` and so on are called like this by libpq; these two show more.
const INT4PL: u32 = 177;
const INT4DIV: u32 = 154;

#[test]
fn several_statements_in_one_query_and_none_at_all() {
    let stage = Stage::new();
    let said = stage.same_talk(|wire| {
        let queries = ["SELECT 1; SELECT 'a', NULL; SET work_mem = '5MB'", "", ";", "-- nothing"];
        queries.iter().flat_map(|sql| wire.query(sql)).collect()
    });
    assert_eq!(
        said,
        [
            "columns ?column?:23",
            "row 1",
            "complete SELECT 1",
            "columns ?column?:25|?column?:25",
            "row a|NULL",
            "complete SELECT 1",
            "complete SET",
            "ready I",
            "empty",
            "ready I",
            "empty",
            "ready I",
            "empty",
            "ready I",
        ]
    );
}

#[test]
fn a_query_that_fails_halfway_undoes_its_first_half() {
    let stage = Stage::new();
    let said = stage.same_talk(|wire| {
        wire.query("DROP TABLE IF EXISTS half");
        let mut said = wire.query("CREATE TABLE half (); SELECT 1/0; SELECT 2");
        said.extend(wire.query("SELECT to_regclass('half')"));
        said
    });
    assert_eq!(
        said,
        [
            "complete CREATE TABLE",
            "error ERROR 22012 division by zero",
            "ready I",
            "columns to_regclass:2205",
            "row NULL",
            "complete SELECT 1",
            "ready I",
        ]
    );
}

#[test]
fn a_failed_transaction_stays_failed_until_it_is_rolled_back() {
    let stage = Stage::new();
    let said = stage.same_talk(|wire| {
        let queries = ["BEGIN", "SELECT nonsense", "SELECT 1", "ROLLBACK", "ROLLBACK"];
        queries.iter().flat_map(|sql| wire.query(sql)).collect()
    });
    assert_eq!(
        said,
        [
            "complete BEGIN",
            "ready T",
            "error ERROR 42703 column \"nonsense\" does not exist 8",
            "ready E",
            "error ERROR 25P02 current transaction is aborted, commands ignored until end of \
             transaction block",
            "ready E",
            "complete ROLLBACK",
            "ready I",
            "notice WARNING 25P01 there is no transaction in progress",
            "complete ROLLBACK",
            "ready I",
        ]
    );
}

#[test]
fn an_error_in_the_middle_of_a_pipeline_skips_to_sync() {
    let stage = Stage::new();
    let said = stage.same_talk(|wire| {
        let script = Script::new()
            .statement("SELECT $1::int", &["1"])
            .statement("SELECT 1/$1::int", &["0"])
            .statement("SELECT 'skipped'", &[])
            .query("SELECT 'skipped, too'")
            .function(INT4PL, &["1", "2"])
            .sync()
            .statement("SELECT $1::int", &["2"])
            .sync()
            .query("SELECT 3");
        wire.ask(&script, 3)
    });
    assert_eq!(
        said,
        [
            "parsed",
            "bound",
            "columns int4:23",
            "row 1",
            "complete SELECT 1",
            "parsed",
            "error ERROR 22012 division by zero",
            "ready I",
            "parsed",
            "bound",
            "columns int4:23",
            "row 2",
            "complete SELECT 1",
            "ready I",
            "columns ?column?:23",
            "row 3",
            "complete SELECT 1",
            "ready I",
        ]
    );
}

#[test]
fn a_pipeline_that_fails_twice_and_its_statements_one_by_one() {
    let stage = Stage::new();
    stage.same_talk(|wire| {
        let errors = ["SELECT nonsense", "SELCT", "SELECT 1/0", "SELECT 'x'::int"];
        let mut script = Script::new().query("BEGIN").query("SAVEPOINT s");
        for sql in errors {
            script = script.statement(sql, &[]).sync().query("ROLLBACK TO s").query("SELECT 1");
        }
        // A Bind to nothing, an Execute of nothing, a Describe of nothing, a Close of nothing.
        script = script
            .bind("", "nowhere", &[])
            .sync()
            .query("ROLLBACK TO s")
            .execute("nowhere", 0)
            .sync()
            .query("ROLLBACK TO s")
            .describe_statement("nowhere")
            .sync()
            .query("ROLLBACK TO s")
            .describe_portal("nowhere")
            .sync()
            .query("ROLLBACK TO s")
            .close_statement("nowhere")
            .close_portal("nowhere")
            .sync()
            .query("COMMIT")
            .query("SELECT 'alive'");
        let replies = 2 + errors.len() * 3 + 4 * 2 + 1 + 2;
        wire.ask(&script, replies)
    });
}

#[test]
fn flush_brings_what_is_ready_before_sync() {
    let stage = Stage::new();
    let said = stage.same_talk(|wire| {
        wire.say(&Script::new().parse("s", "SELECT $1::text").describe_statement("s").flush());
        let mut said = wire.until(b'T');
        wire.say(&Script::new().bind("p", "s", &["a"]).flush());
        said.extend(wire.until(b'2'));
        wire.say(&Script::new().execute("p", 0).flush());
        said.extend(wire.until(b'C'));
        // The transaction of the unfinished pipeline is open: its portal is still there.
        wire.say(&Script::new().describe_portal("p").close_portal("p").flush());
        said.extend(wire.until(b'3'));
        said.extend(wire.ask(&Script::new().sync(), 1));
        said
    });
    assert_eq!(
        said,
        [
            "parsed",
            "parameters [0, 0, 0, 25]",
            "columns text:25",
            "bound",
            "row a",
            "complete SELECT 1",
            "columns text:25",
            "closed it",
            "ready I",
        ]
    );
}

#[test]
fn a_portal_with_a_row_limit_is_suspended_and_goes_on() {
    let stage = Stage::new();
    let said = stage.same_talk(|wire| {
        let script = Script::new()
            .query("BEGIN")
            .parse("s", "SELECT generate_series(1, 5)")
            .bind("p", "s", &[])
            .execute("p", 2)
            .execute("p", 2)
            .sync()
            .execute("p", 2)
            .sync()
            .execute("p", 2)
            .sync()
            .query("COMMIT");
        wire.ask(&script, 5)
    });
    assert_eq!(
        said,
        [
            "complete BEGIN",
            "ready T",
            "parsed",
            "bound",
            "row 1",
            "row 2",
            "suspended",
            "row 3",
            "row 4",
            "suspended",
            "ready T",
            "row 5",
            "complete SELECT 1",
            "ready T",
            "complete SELECT 0",
            "ready T",
            "complete COMMIT",
            "ready I",
        ]
    );
}

#[test]
fn drivers_that_describe_first_get_the_types_and_then_the_rows() {
    let stage = Stage::new();
    let said = stage.same_talk(|wire| {
        let mut said = wire.ask(
            &Script::new()
                .parse("s", "SELECT $1::int8 AS a, $2::timestamptz AS b WHERE $3")
                .describe_statement("s")
                .sync(),
            1,
        );
        let parameters = ["7", "2024-02-29 12:00Z", "t"];
        said.extend(wire.ask(
            &Script::new().bind("", "s", &parameters).execute("", 0).close_statement("s").sync(),
            1,
        ));
        // A statement without rows has none to describe.
        said.extend(wire.ask(
            &Script::new().parse("s", "SET work_mem = '6MB'").describe_statement("s").sync(),
            1,
        ));
        said
    });
    assert_eq!(
        said,
        [
            "parsed",
            "parameters [0, 0, 0, 20, 0, 0, 4, 160, 0, 0, 0, 16]",
            "columns a:20|b:1184",
            "ready I",
            "bound",
            "row 7|2024-02-29 12:00:00+00",
            "complete SELECT 1",
            "closed it",
            "ready I",
            "parsed",
            "parameters []",
            "no data",
            "ready I",
        ]
    );
}

#[test]
fn prepared_statements_of_either_protocol_are_the_same_ones() {
    let stage = Stage::new();
    let said = stage.same_talk(|wire| {
        let mut said =
            wire.ask(&Script::new().parse("s", "SELECT 1").parse("s", "SELECT 2").sync(), 1);
        said.extend(wire.query("EXECUTE s"));
        said.extend(wire.query("PREPARE t AS SELECT 3"));
        said.extend(wire.ask(&Script::new().bind("", "t", &[]).execute("", 0).sync(), 1));
        said.extend(wire.query("DEALLOCATE ALL"));
        let script = Script::new().parse("s", "SELECT 4").bind("", "s", &[]).execute("", 0).sync();
        said.extend(wire.ask(&script, 1));
        said.extend(wire.ask(&Script::new().bind("", "t", &[]).sync(), 1));
        said
    });
    assert_eq!(
        said,
        [
            "parsed",
            "error ERROR 42P05 prepared statement \"s\" already exists",
            "ready I",
            "columns ?column?:23",
            "row 1",
            "complete SELECT 1",
            "ready I",
            "complete PREPARE",
            "ready I",
            "bound",
            "row 3",
            "complete SELECT 1",
            "ready I",
            "complete DEALLOCATE ALL",
            "ready I",
            "parsed",
            "bound",
            "row 4",
            "complete SELECT 1",
            "ready I",
            "error ERROR 26000 prepared statement \"t\" does not exist",
            "ready I",
        ]
    );
}

#[test]
fn copy_goes_both_ways_in_both_protocols() {
    let stage = Stage::new();
    let said = stage.same_talk(|wire| {
        wire.query("DROP TABLE IF EXISTS c; CREATE TABLE c (n int, t text)");
        wire.say(&Script::new().query("COPY c FROM STDIN"));
        let mut said = wire.until(b'G');
        // Rows may be cut anywhere; Sync and Flush mean nothing here.
        let data = Script::new().copy_data("1\ton").sync().copy_data("e\n2\t").flush();
        said.extend(wire.ask(&data.copy_data("two\n").copy_done(), 1));
        let copy = Script::new().parse("", "COPY c FROM STDIN").bind("", "", &[]).execute("", 0);
        // The Sync behind Execute is swallowed by COPY, the one behind CopyDone is answered.
        wire.say(&copy.sync());
        said.extend(wire.until(b'G'));
        said.extend(wire.ask(&Script::new().copy_data("3\tthree\n").copy_done().sync(), 1));
        said.extend(wire.query("COPY c TO STDOUT; SELECT 'then'"));
        let copy = Script::new().parse("", "COPY c TO STDOUT").bind("", "", &[]).execute("", 0);
        said.extend(wire.ask(&copy.sync(), 1));
        // All at once, without waiting for the server to say that it copies.
        let blind = Script::new().query("COPY c FROM STDIN").copy_data("4\tfour\n").copy_done();
        said.extend(wire.ask(&blind.query("SELECT count(*) FROM c"), 2));
        said
    });
    assert_eq!(
        said,
        [
            "copy in",
            "complete COPY 2",
            "ready I",
            "parsed",
            "bound",
            "copy in",
            "complete COPY 1",
            "ready I",
            "copy out",
            "data 1\tone",
            "data 2\ttwo",
            "data 3\tthree",
            "copy done",
            "complete COPY 3",
            "columns ?column?:25",
            "row then",
            "complete SELECT 1",
            "ready I",
            "parsed",
            "bound",
            "copy out",
            "data 1\tone",
            "data 2\ttwo",
            "data 3\tthree",
            "copy done",
            "complete COPY 3",
            "ready I",
            "copy in",
            "complete COPY 1",
            "ready I",
            "columns count:20",
            "row 4",
            "complete SELECT 1",
            "ready I",
        ]
    );
}

#[test]
fn a_copy_that_fails_or_is_given_up_leaves_a_usable_session() {
    let stage = Stage::new();
    let said = stage.same_talk(|wire| {
        wire.query("DROP TABLE IF EXISTS c; CREATE TABLE c (n int)");
        let mut said = Vec::new();
        // Bad data, with more data and the end behind it already.
        wire.say(&Script::new().query("COPY c FROM STDIN"));
        said.extend(wire.until(b'G'));
        let data = Script::new().copy_data("1\nx\n").copy_data("2\n").copy_data("3\n").copy_done();
        said.extend(wire.ask(&data, 1));
        // The same in the extended protocol.
        let copy = Script::new().parse("", "COPY c FROM STDIN").bind("", "", &[]).execute("", 0);
        wire.say(&copy.clone().flush());
        said.extend(wire.until(b'G'));
        said.extend(wire.ask(&data.clone().sync().query("SELECT 1"), 2));
        // Bad data, and the client hears of it before it sends the rest.
        wire.say(&copy.clone().flush());
        said.extend(wire.until(b'G'));
        wire.say(&Script::new().copy_data("x\n").flush());
        said.extend(wire.until(b'E'));
        said.extend(wire.ask(&Script::new().copy_data("4\n").copy_done().sync(), 1));
        // Given up.
        wire.say(&Script::new().query("COPY c FROM STDIN"));
        said.extend(wire.until(b'G'));
        said.extend(wire.ask(&Script::new().copy_data("5\n").copy_fail("no more"), 1));
        wire.say(&copy.flush());
        said.extend(wire.until(b'G'));
        said.extend(wire.ask(&Script::new().copy_data("6\n").copy_fail("nor here").sync(), 1));
        // Stray data outside of COPY is ignored.
        let stray = Script::new().copy_data("7\n").copy_done().copy_fail("what?");
        said.extend(wire.ask(&stray.query("SELECT count(*) FROM c"), 1));
        said
    });
    let bad_data = |line| {
        format!(
            "error ERROR 22P02 invalid input syntax for type integer: \"x\" COPY c, line {line}, \
             column n: \"x\""
        )
    };
    assert_eq!(
        said,
        [
            "copy in",
            &bad_data(2),
            "ready I",
            "parsed",
            "bound",
            "copy in",
            &bad_data(2),
            "ready I",
            "columns ?column?:23",
            "row 1",
            "complete SELECT 1",
            "ready I",
            "parsed",
            "bound",
            "copy in",
            &bad_data(1),
            "ready I",
            "copy in",
            "error ERROR 57014 COPY from stdin failed: no more COPY c, line 2",
            "ready I",
            "parsed",
            "bound",
            "copy in",
            "error ERROR 57014 COPY from stdin failed: nor here COPY c, line 2",
            "ready I",
            "columns count:20",
            "row 0",
            "complete SELECT 1",
            "ready I",
        ]
    );
}

/// PostgreSQL ignores the Syncs that it reads while it copies in, and answers those it reads after the
/// COPY has failed. Drivers send one right behind the statement.
#[test]
fn a_copy_that_fails_before_its_first_row_answers_the_sync_sent_with_it() {
    let stage = Stage::new();
    stage.admin(
        "CREATE TABLE closed (n int);
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'no admittance'; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON closed EXECUTE FUNCTION refuse();
         ALTER TABLE closed OWNER TO app",
    );
    let said = stage.same_talk(|wire| {
        let copy = Script::new().parse("", "COPY closed FROM STDIN").bind("", "", &[]);
        wire.say(&copy.execute("", 0).sync());
        let mut said = wire.until(b'G');
        let data = Script::new().copy_data("1\n").copy_done().sync();
        said.extend(wire.ask(&data.query("SELECT 'alive'"), 3));
        said
    });
    assert_eq!(
        said,
        [
            "parsed",
            "bound",
            "copy in",
            "error ERROR P0001 no admittance PL/pgSQL function refuse() line 1 at RAISE",
            "ready I",
            "ready I",
            "columns ?column?:25",
            "row alive",
            "complete SELECT 1",
            "ready I",
        ]
    );
}

#[test]
fn a_statement_where_copy_data_should_be_ends_the_session_as_with_postgresql() {
    let stage = Stage::new();
    let said = stage.same_talk(|wire| {
        wire.query("DROP TABLE IF EXISTS c; CREATE TABLE c (n int)");
        wire.say(&Script::new().query("COPY c FROM STDIN"));
        wire.until(b'G');
        wire.say(&Script::new().query("SELECT 'data?'"));
        wire.until_closed()
    });
    assert_eq!(
        said,
        [
            "error ERROR 08P01 unexpected message type 0x51 during COPY from stdin COPY c, line 1",
            "error FATAL 08P01 terminating connection because protocol synchronization was lost",
            "closed",
        ]
    );
}

#[test]
fn functions_are_called_by_their_oids() {
    let stage = Stage::new();
    let said = stage.same_talk(|wire| {
        let script = Script::new()
            .function(INT4PL, &["40", "2"])
            .function(INT4DIV, &["1", "0"])
            .function(1, &[])
            .query("SELECT 'alive'");
        wire.ask(&script, 4)
    });
    assert_eq!(
        said,
        [
            "result 42",
            "ready I",
            "error ERROR 22012 division by zero",
            "ready I",
            "error ERROR 42883 function with OID 1 does not exist",
            "ready I",
            "columns ?column?:25",
            "row alive",
            "complete SELECT 1",
            "ready I",
        ]
    );
}

#[test]
fn settings_that_change_are_reported_as_they_change() {
    let stage = Stage::new();
    let said = stage.same_talk(|wire| {
        let queries = [
            "SET application_name = 'one'; SET application_name = 'two'",
            "BEGIN; SET TIME ZONE 'Asia/Tokyo'",
            "ROLLBACK",
            "SET client_encoding = 'LATIN1'",
            "SELECT set_config('IntervalStyle', 'iso_8601', false)",
            "RESET IntervalStyle; RESET client_encoding; RESET application_name",
        ];
        let mut said: Vec<String> = queries.iter().flat_map(|sql| wire.query(sql)).collect();
        let script = Script::new()
            .statement("SET DateStyle = 'German'", &[])
            .statement("SET DateStyle = 'SQL'", &[])
            .sync();
        said.extend(wire.ask(&script, 1));
        said
    });
    assert_eq!(
        said,
        [
            "complete SET",
            "complete SET",
            "parameter application_name=two",
            "ready I",
            "complete BEGIN",
            "complete SET",
            "parameter TimeZone=Asia/Tokyo",
            "ready T",
            "complete ROLLBACK",
            "parameter TimeZone=UTC",
            "ready I",
            "complete SET",
            "parameter client_encoding=LATIN1",
            "ready I",
            "columns set_config:25",
            "row iso_8601",
            "complete SELECT 1",
            "parameter IntervalStyle=iso_8601",
            "ready I",
            "complete RESET",
            "complete RESET",
            "complete RESET",
            "parameter application_name=",
            "parameter client_encoding=UTF8",
            "parameter IntervalStyle=postgres",
            "ready I",
            "parsed",
            "bound",
            "no data",
            "complete SET",
            "parsed",
            "bound",
            "no data",
            "complete SET",
            "parameter DateStyle=SQL, DMY",
            "ready I",
        ]
    );
}

#[test]
fn a_session_that_listens_hears_while_it_is_idle() {
    let stage = Stage::new();
    let said = stage.same(|conninfo| {
        let mut ears = Wire::log_in(conninfo, &[]);
        let mut said = ears.query("LISTEN news; LISTEN other; UNLISTEN other");
        // Nobody asks the listening session for anything.
        let mut mouth = Wire::log_in(conninfo, &[]);
        mouth.query("NOTIFY news, 'first'; NOTIFY other, 'unheard'; NOTIFY news, 'second'");
        said.extend(ears.until(b'A'));
        said.extend(ears.until(b'A'));
        // And one's own, within a transaction, comes with the commit.
        said.extend(ears.query("BEGIN; NOTIFY news, 'own'; SELECT 1; COMMIT"));
        said
    });
    assert_eq!(
        said,
        [
            "complete LISTEN",
            "complete LISTEN",
            "complete UNLISTEN",
            "ready I",
            "notification news first",
            "notification news second",
            "complete BEGIN",
            "complete NOTIFY",
            "columns ?column?:23",
            "row 1",
            "complete SELECT 1",
            "complete COMMIT",
            "notification news own",
            "ready I",
        ]
    );
}

#[test]
fn a_message_may_come_in_single_bytes_and_many_in_one_piece() {
    let stage = Stage::new();
    let said = stage.same_talk(|wire| {
        let script = Script::new().statement("SELECT $1::text", &["slowly"]).sync();
        for byte in &script.0 {
            wire.send(std::slice::from_ref(byte));
        }
        let mut said = wire.until(b'Z');
        let mut script = Script::new();
        for number in 0..2_000 {
            script = script.statement("SELECT $1::text", &[&number.to_string()]);
        }
        said.extend(wire.ask(&script.sync(), 1));
        said
    });
    assert_eq!(said.len(), 6 + 2_000 * 5 + 1);
    assert_eq!(said[10_004], "row 1999");
}

#[test]
fn sixty_five_thousand_parameters_are_bound() {
    let stage = Stage::new();
    let said = stage.same_talk(|wire| {
        let list: Vec<String> = (1..=65_535).map(|number| format!("${number}::int")).collect();
        let values: Vec<String> = (1..=65_535).map(|number: i32| number.to_string()).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let sql = format!("SELECT sum(n) FROM unnest(ARRAY[{}]) AS n", list.join(","));
        wire.ask(&Script::new().statement(&sql, &values).sync(), 1)
    });
    let sum = "row 2147450880";
    assert_eq!(said, ["parsed", "bound", "columns sum:20", sum, "complete SELECT 1", "ready I"]);
}

#[test]
fn a_message_that_is_none_ends_the_session_as_with_postgresql() {
    let stage = Stage::new();
    let unknown = |wire: &mut Wire| {
        wire.say(&Script::new().raw(b'?', b"what"));
        wire.until_closed()
    };
    let said = stage.same_talk(unknown);
    assert_eq!(said, ["error FATAL 08P01 invalid frontend message type 63", "closed"]);

    // A length that cannot be: PostgreSQL closes without a word to the client, the proxy says why.
    let mut wire = Wire::log_in(&stage.proxied(Login::App), &[]);
    wire.send(&[b'Q', 0, 0, 0, 3]);
    assert_eq!(wire.until_closed(), ["error FATAL 08P01 invalid message length", "closed"]);
}

#[test]
fn limits_of_the_server_end_a_statement_or_the_session_in_its_words() {
    let stage = Stage::new();
    let said = stage.same(|conninfo| {
        let mut wire = Wire::log_in(conninfo, &[("statement_timeout", "50ms")]);
        let mut said = wire.query("SELECT pg_sleep(600)");
        said.extend(wire.query("RESET statement_timeout; SET statement_timeout = 0; SELECT 1"));
        let mut wire = Wire::log_in(conninfo, &[("idle_in_transaction_session_timeout", "50ms")]);
        wire.query("BEGIN");
        said.extend(wire.until_closed());
        let mut wire = Wire::log_in(conninfo, &[]);
        wire.query("SET idle_session_timeout = '50ms'");
        said.extend(wire.until_closed());
        said
    });
    assert_eq!(
        said,
        [
            "columns pg_sleep:2278",
            "error ERROR 57014 canceling statement due to statement timeout",
            "ready I",
            "complete RESET",
            "complete SET",
            "columns ?column?:23",
            "row 1",
            "complete SELECT 1",
            "ready I",
            "error FATAL 25P03 terminating connection due to idle-in-transaction timeout",
            "closed",
            "error FATAL 57P05 terminating connection due to idle-session timeout",
            "closed",
        ]
    );
}

#[test]
fn errors_and_notices_may_be_long() {
    let stage = Stage::new();
    let said = stage.same_talk(|wire| {
        let long = "repeat('ü', 1000000)";
        let mut said = wire.query(&format!("DO $$ BEGIN RAISE NOTICE '%', {long}; END $$"));
        said.extend(wire.query(&format!("DO $$ BEGIN RAISE EXCEPTION '%', {long}; END $$")));
        said.extend(wire.query(&format!("SELECT pg_notify('n', left({long}, 3999))")));
        said.extend(wire.query("SELECT 'alive'"));
        said
    });
    assert!(said[0].len() > 2_000_000 && said[3].len() > 2_000_000);
    assert_eq!(said.last().unwrap(), "ready I");
}

#[test]
fn what_was_sent_before_the_good_bye_is_done() {
    let stage = Stage::new();
    stage.admin("CREATE TABLE done (n int); ALTER TABLE done OWNER TO app");
    let mut wire = Wire::log_in(&stage.proxied(Login::App), &[]);
    let script = Script::new()
        .query("INSERT INTO done VALUES (1)")
        .statement("INSERT INTO done VALUES (2)", &[])
        .sync()
        .terminate();
    wire.say(&script);
    stage.await_true("SELECT count(*) = 2 FROM done");
}

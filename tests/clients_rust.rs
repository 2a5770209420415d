//! tokio-postgres through the proxy, straight from a Rust application.
#![cfg(feature = "real-nodes")]
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod support;

use std::{future::poll_fn, pin::pin};

use futures::{SinkExt, StreamExt, TryStreamExt, future::join_all};
use tokio_postgres::{
    AsyncMessage, NoTls,
    binary_copy::BinaryCopyInWriter,
    types::{ToSql, Type},
};
use understudy::lab::Login;

use support::{Stage, connect, value, words};

/// Both ways to the database, by name.
fn ways(stage: &Stage) -> [(&'static str, String); 2] {
    [("straight", stage.straight(Login::App)), ("proxied", stage.proxied(Login::App))]
}

#[tokio::test]
async fn statements_are_prepared_bound_and_typed() {
    let stage = Stage::new();
    for (way, conninfo) in ways(&stage) {
        let client = connect(&conninfo).await;
        client
            .batch_execute(
                "CREATE TYPE pg_temp.mood AS ENUM ('merry', 'grave');
                 CREATE TEMP TABLE t (id int8, mood mood, list text[], raw bytea, at timestamptz)",
            )
            .await
            .unwrap();
        let insert = client
            .prepare("INSERT INTO t VALUES ($1, 'grave', $2, $3, '2024-02-29 12:00Z') RETURNING *")
            .await
            .unwrap();
        assert_eq!(insert.params(), [Type::INT8, Type::TEXT_ARRAY, Type::BYTEA], "{way}");
        let list = vec!["a", "b\0c".trim_end_matches("\0c"), "ü"];
        let raw: &[u8] = &[0, 1, 255];
        let row = client.query_one(&insert, &[&7_i64, &list, &raw]).await.unwrap();
        assert_eq!(row.get::<_, i64>("id"), 7, "{way}");
        assert_eq!(row.get::<_, Vec<String>>("list"), ["a", "b", "ü"], "{way}");
        assert_eq!(row.get::<_, Vec<u8>>("raw"), raw, "{way}");
        let at: std::time::SystemTime = row.get("at");
        let since = at.duration_since(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(since.as_secs(), 1_709_208_000, "{way}");
        // A type of one's own makes the driver ask the catalogue in between.
        let mood = client.prepare("SELECT mood FROM t WHERE mood = $1").await.unwrap();
        assert_eq!(mood.params()[0].name(), "mood", "{way}");
    }
}

#[tokio::test]
async fn an_error_has_every_field_and_a_failed_transaction_is_rolled_back() {
    let stage = Stage::new();
    stage.admin("CREATE TABLE unique_t (n int CONSTRAINT only_one PRIMARY KEY, CHECK (n > 0))");
    stage.admin("ALTER TABLE unique_t OWNER TO app");
    for (way, conninfo) in ways(&stage) {
        let mut client = connect(&conninfo).await;
        let transaction = client.transaction().await.unwrap();
        transaction.execute("INSERT INTO unique_t VALUES (1)", &[]).await.unwrap();
        let error = transaction.execute("INSERT INTO unique_t VALUES (1)", &[]).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "23505", "{way}");
        assert_eq!(error.constraint(), Some("only_one"), "{way}");
        assert_eq!(error.table(), Some("unique_t"), "{way}");
        assert_eq!(error.schema(), Some("public"), "{way}");
        assert_eq!(error.detail(), Some("Key (n)=(1) already exists."), "{way}");
        assert!(error.file().is_some() && error.line().is_some(), "{way}");
        let after = transaction.query("SELECT 1", &[]).await.unwrap_err();
        assert_eq!(after.code().unwrap().code(), "25P02", "{way}");
        transaction.rollback().await.unwrap();
        // Savepoints.
        let mut transaction = client.transaction().await.unwrap();
        let point = transaction.transaction().await.unwrap();
        point.execute("INSERT INTO unique_t VALUES (0)", &[]).await.unwrap_err();
        point.rollback().await.unwrap();
        transaction.execute("INSERT INTO unique_t VALUES (2)", &[]).await.unwrap();
        transaction.rollback().await.unwrap();
        let left = client.query_one("SELECT count(*) FROM unique_t", &[]).await.unwrap();
        assert_eq!(left.get::<_, i64>(0), 0, "{way}");
    }
}

#[tokio::test]
async fn requests_in_a_pipeline_are_answered_each_with_its_own() {
    let stage = Stage::new();
    let client = connect(&stage.proxied(Login::App)).await;
    let statement = client.prepare("SELECT $1::int / ($1::int % 10)").await.unwrap();
    // Every tenth fails; each answer must be that of its own question.
    let numbers: Vec<i32> = (1..=2_000).collect();
    let answers = join_all(numbers.iter().map(|number| {
        let (client, statement) = (&client, &statement);
        async move { client.query_one(statement, &[number]).await }
    }))
    .await;
    for (number, answer) in numbers.iter().zip(answers) {
        match answer {
            Ok(row) => assert_eq!(row.get::<_, i32>(0), number / (number % 10)),
            Err(error) => {
                assert_eq!(number % 10, 0, "{number}: {error}");
                assert_eq!(words(&error), "22012 division by zero");
            }
        }
    }
}

#[tokio::test]
async fn portals_bring_rows_piece_by_piece() {
    let stage = Stage::new();
    for (way, conninfo) in ways(&stage) {
        let mut client = connect(&conninfo).await;
        let transaction = client.transaction().await.unwrap();
        let portal = transaction.bind("SELECT generate_series(1, 10)", &[]).await.unwrap();
        let mut sizes = Vec::new();
        loop {
            let rows = transaction.query_portal(&portal, 4).await.unwrap();
            sizes.push(rows.len());
            if rows.len() < 4 {
                break;
            }
        }
        assert_eq!(sizes, [4, 4, 2], "{way}");
        transaction.commit().await.unwrap();
        // Rows as a stream, dropped in the middle; the session goes on.
        let none: [i32; 0] = [];
        {
            let rows = client.query_raw("SELECT generate_series(1, 100000)", none).await.unwrap();
            let first: Vec<i32> =
                pin!(rows).take(3).map_ok(|row| row.get::<_, i32>(0)).try_collect().await.unwrap();
            assert_eq!(first, [1, 2, 3], "{way}");
        }
        assert_eq!(value(&client, "SELECT 'alive'").await, "alive", "{way}");
    }
}

#[tokio::test]
async fn copy_in_text_and_binary_and_given_up() {
    let stage = Stage::new();
    for (way, conninfo) in ways(&stage) {
        let client = connect(&conninfo).await;
        client.batch_execute("CREATE TEMP TABLE c (n int4, t text)").await.unwrap();
        let sink = client.copy_in("COPY c FROM STDIN BINARY").await.unwrap();
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &[Type::INT4, Type::TEXT]));
        for number in 0..1_000 {
            writer.as_mut().write(&[&number, &format!("row {number}")]).await.unwrap();
        }
        assert_eq!(writer.finish().await.unwrap(), 1_000, "{way}");
        // Dropped before its end: CopyFail.
        let mut sink = Box::pin(client.copy_in("COPY c FROM STDIN").await.unwrap());
        sink.send(bytes::Bytes::from_static(b"1\tnever\n")).await.unwrap();
        drop(sink);
        // Bad data.
        let mut sink = Box::pin(client.copy_in("COPY c FROM STDIN").await.unwrap());
        sink.send(bytes::Bytes::from_static(b"x\tbad\n")).await.unwrap();
        let error = sink.as_mut().finish().await.unwrap_err();
        assert_eq!(words(&error), "22P02 invalid input syntax for type integer: \"x\"", "{way}");
        let out = client.copy_out("COPY (SELECT * FROM c ORDER BY n) TO STDOUT").await.unwrap();
        let pieces: Vec<bytes::Bytes> = out.try_collect().await.unwrap();
        assert_eq!(pieces.len(), 1_000, "{way}");
        assert_eq!(pieces[999], "999\trow 999\n", "{way}");
    }
}

#[tokio::test]
async fn a_statement_is_cancelled_by_its_token() {
    let stage = Stage::new();
    for (way, conninfo) in ways(&stage) {
        let client = connect(&conninfo).await;
        let token = client.cancel_token();
        let sleep = client.batch_execute("SELECT pg_sleep(600)");
        let cancel = async {
            let watch = connect(&conninfo).await;
            let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
            while value(&watch, asleep).await == "0" {}
            token.cancel_query(NoTls).await.unwrap();
        };
        let (slept, ()) = tokio::join!(sleep, cancel);
        let error = slept.unwrap_err();
        assert_eq!(words(&error), "57014 canceling statement due to user request", "{way}");
        assert_eq!(value(&client, "SELECT 'alive'").await, "alive", "{way}");
    }
}

#[tokio::test]
async fn notifications_and_notices_arrive() {
    let stage = Stage::new();
    for (way, conninfo) in ways(&stage) {
        let (client, mut connection) = tokio_postgres::connect(&conninfo, NoTls).await.unwrap();
        let (heard, mut hear) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                let text = match message {
                    AsyncMessage::Notice(notice) => notice.message().to_owned(),
                    AsyncMessage::Notification(news) => {
                        format!("{} {}", news.channel(), news.payload())
                    }
                    _ => continue,
                };
                heard.send(text).unwrap();
            }
        });
        client
            .batch_execute("LISTEN news; DO $$ BEGIN RAISE NOTICE 'noticed'; END $$")
            .await
            .unwrap();
        assert_eq!(hear.recv().await.unwrap(), "noticed", "{way}");
        let other = connect(&conninfo).await;
        for number in 0..100 {
            other.batch_execute(&format!("NOTIFY news, '{number}'")).await.unwrap();
        }
        // The listener is idle all the while.
        for number in 0..100 {
            assert_eq!(hear.recv().await.unwrap(), format!("news {number}"), "{way}");
        }
    }
}

/// Fifty clients whose every row carries the client's own tag, with errors and cancels among them.
#[tokio::test]
async fn every_row_carries_the_tag_of_the_client_that_asked() {
    let stage = Stage::with(1, &["pool.max_idle=5"]);
    let proxied = stage.proxied(Login::App);
    let rounds = join_all((0..50).map(|tag: i32| {
        let proxied = &proxied;
        async move {
            for round in 0..4 {
                let client = connect(proxied).await;
                let statement =
                    client.prepare("SELECT $1::int, generate_series(1, 50)").await.unwrap();
                let parameters: [&(dyn ToSql + Sync); 1] = [&tag];
                let asked = (0..5).map(|_| client.query(&statement, &parameters));
                for rows in join_all(asked).await {
                    let rows = rows.unwrap();
                    assert_eq!(rows.len(), 50);
                    assert!(rows.iter().all(|row| row.get::<_, i32>(0) == tag));
                }
                let name = format!("SELECT * FROM missing_{tag}_{round}");
                let error = client.simple_query(&name).await.unwrap_err();
                assert_eq!(
                    words(&error),
                    format!("42P01 relation \"missing_{tag}_{round}\" does not exist")
                );
                // Some leave in the middle of a result.
                if (tag + round) % 3 == 0 {
                    let token = client.cancel_token();
                    let _ = tokio::join!(
                        client
                            .simple_query("SELECT repeat('x', 1000) FROM generate_series(1, 2000)"),
                        token.cancel_query(NoTls),
                    );
                }
            }
        }
    }));
    rounds.await;
    let log = stage.proxy.log();
    assert!(!log.contains("broke the protocol") && !log.contains("panic"), "{log}");
}

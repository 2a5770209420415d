//! Much of everything: what is large streams through, and the proxy's memory stays flat.
#![cfg(feature = "real-nodes")]
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod support;

use std::pin::pin;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use understudy::lab::Login;

use support::{Script, Stage, Wire, connect, value};

const MEGABYTE: usize = 1024 * 1024;

/// What the proxy's memory may grow by, whatever passes through, in kB.
const FLAT: usize = 4_000;

/// By how much the proxy's memory peaks above what it was.
struct Growth<'s> {
    stage: &'s Stage,
    before: usize,
}

impl<'s> Growth<'s> {
    /// From now on. A session before has warmed everything up.
    async fn measure(stage: &'s Stage) -> Self {
        let client = connect(&stage.proxied(Login::App)).await;
        value(&client, "SELECT count(*) FROM generate_series(1, 100000)").await;
        stage.proxy.forget_peak();
        Self { stage, before: stage.proxy.memory("VmRSS") }
    }

    #[track_caller]
    #[expect(clippy::print_stdout, reason = "a measurement, for whoever wants to see it")]
    fn demand_flat(self, what: &str) {
        let peak = self.stage.proxy.memory("VmHWM");
        let growth = peak.saturating_sub(self.before);
        println!("{what}: {} kB before, peak {peak} kB, growth {growth} kB", self.before);
        assert!(growth < FLAT, "{what}: the proxy grew by {growth} kB");
    }
}

#[tokio::test]
async fn a_hundred_megabytes_are_copied_in_and_out_with_flat_memory() {
    let stage = Stage::new();
    stage.admin("CREATE UNLOGGED TABLE freight (line text); ALTER TABLE freight OWNER TO app");
    let client = connect(&stage.proxied(Login::App)).await;

    let growth = Growth::measure(&stage).await;
    // Lines of 128 bytes, the newline included, in pieces that do not end where lines end.
    let line = "0123456789abcdef".repeat(8)[..127].to_owned() + "\n";
    let block = Bytes::from(line.repeat(5_000));
    let copies = 100 * MEGABYTE / block.len() + 1;
    let whole: usize = copies * block.len();
    let mut sink = pin!(client.copy_in::<_, Bytes>("COPY freight FROM STDIN").await.unwrap());
    for _ in 0..copies {
        let mut rest = block.clone();
        while !rest.is_empty() {
            sink.send(rest.split_to(rest.len().min(70_001))).await.unwrap();
        }
    }
    let rows = sink.finish().await.unwrap();
    growth.demand_flat("COPY in of 100 MB");
    assert_eq!(rows as usize, copies * 5_000);

    let growth = Growth::measure(&stage).await;
    let mut stream = pin!(client.copy_out("COPY freight TO STDOUT").await.unwrap());
    let mut bytes = 0;
    while let Some(piece) = stream.next().await {
        let piece = piece.unwrap();
        assert!(piece == line.as_bytes(), "{piece:?}");
        bytes += piece.len();
    }
    growth.demand_flat("COPY out of 100 MB");
    assert_eq!(bytes, whole);
    assert_eq!(value(&client, "SELECT 'alive'").await, "alive");
}

#[tokio::test]
async fn a_client_that_stops_reading_fills_nobodys_memory() {
    let stage = Stage::new();
    let mut wire = Wire::log_in(&stage.proxied(Login::App), &[]);
    let pid = wire.value("SELECT pg_backend_pid()");
    let growth = Growth::measure(&stage).await;
    let lot = "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000)) TO STDOUT";
    wire.say(&Script::new().query(lot));
    // The node is held up by the client, through the proxy.
    stage.await_true(&format!(
        "SELECT wait_event = 'ClientWrite' FROM pg_stat_activity WHERE pid = {pid}"
    ));
    // Others are not.
    let other = connect(&stage.proxied(Login::App)).await;
    assert_eq!(value(&other, "SELECT 'served'").await, "served");
    growth.demand_flat("100 MB for a client that does not read");
    let said = wire.until(b'Z');
    assert_eq!(said.len(), 100_004);
    assert_eq!(said[100_002..], ["complete COPY 100000", "ready I"]);
}

#[tokio::test]
async fn a_server_that_stops_reading_fills_nobodys_memory() {
    let stage = Stage::new();
    stage.admin("CREATE UNLOGGED TABLE freight (line text); ALTER TABLE freight OWNER TO app");
    let client = connect(&stage.proxied(Login::App)).await;
    let mut wire = Wire::log_in(&stage.proxied(Login::App), &[]);
    let growth = Growth::measure(&stage).await;
    // The COPY waits for a lock before it reads its first row.
    client.batch_execute("BEGIN; LOCK TABLE freight").await.unwrap();
    wire.stream.set_nonblocking(true).unwrap();
    let mut script = Script::new().query("COPY freight FROM STDIN");
    let line = "x".repeat(MEGABYTE - 1) + "\n";
    for _ in 0..60 {
        script = script.copy_data(&line);
    }
    let script = script.copy_done();
    // As much as the sockets between take, until for a while they take no more.
    let mut sent = 0;
    let mut push = |sent: &mut usize| {
        use std::io::Write;
        match wire.stream.write(&script.0[*sent..]) {
            Ok(count) => *sent += count,
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
    };
    let mut quiet = 0;
    support::await_condition("the client to be held up", || {
        let before = sent;
        push(&mut sent);
        quiet = if sent == before { quiet + 1 } else { 0 };
        quiet == 20
    });
    assert!(sent < 30 * MEGABYTE, "{sent} bytes were taken in for a server that reads nothing");
    growth.demand_flat("COPY in that waits for a lock");
    client.batch_execute("COMMIT").await.unwrap();
    support::await_condition("the rest to be taken", || {
        push(&mut sent);
        sent == script.0.len()
    });
    wire.stream.set_nonblocking(false).unwrap();
    assert_eq!(wire.until(b'Z').last().unwrap(), "ready I");
    assert_eq!(wire.value("SELECT count(*) FROM freight"), "60");
}

#[tokio::test]
async fn a_statement_and_a_value_of_fifty_megabytes_pass_with_flat_memory() {
    let stage = Stage::new();
    let client = connect(&stage.proxied(Login::App)).await;
    let fifty = 50 * MEGABYTE;

    let growth = Growth::measure(&stage).await;
    let sql = format!("SELECT length('{}')", "x".repeat(fifty));
    assert_eq!(value(&client, &sql).await, fifty.to_string());
    growth.demand_flat("a simple statement of 50 MB");

    let growth = Growth::measure(&stage).await;
    let text = "y".repeat(fifty);
    let row = client.query_one("SELECT md5($1), length($1)", &[&text]).await.unwrap();
    assert_eq!(row.get::<_, i32>(1) as usize, fifty);
    growth.demand_flat("a parameter of 50 MB");

    let growth = Growth::measure(&stage).await;
    let row = client.query_one("SELECT repeat('z', $1)", &[&(fifty as i32)]).await.unwrap();
    let text: &str = row.get(0);
    assert!(text.len() == fifty && text.bytes().all(|byte| byte == b'z'));
    growth.demand_flat("a value of 50 MB");

    let growth = Growth::measure(&stage).await;
    let error = client.simple_query(&format!("SELECT '{}' not sql", "x".repeat(fifty))).await;
    assert!(error.is_err());
    growth.demand_flat("a statement of 50 MB that fails");
    assert_eq!(value(&client, "SELECT 'alive'").await, "alive");
}

#[tokio::test]
async fn two_hundred_sessions_come_and_go_without_a_trace() {
    let stage = Stage::with(1, &["pool.max_idle=2"]);
    let proxied = stage.proxied(Login::App);
    let round = |count: usize| {
        for _ in 0..count {
            let mut wires: Vec<Wire> = (0..10).map(|_| Wire::log_in(&proxied, &[])).collect();
            for wire in &mut wires {
                wire.query("SELECT repeat('x', 100000)");
            }
        }
    };
    // Two for each worker, and the client that measures.
    let kept = "SELECT count(*) <= 5 FROM pg_stat_activity WHERE usename = 'app'";
    round(5);
    stage.await_true(kept);
    let growth = Growth::measure(&stage).await;
    let files = stage.proxy.open_files();
    round(20);
    growth.demand_flat("200 sessions");
    stage.await_true(kept);
    support::await_condition("the sockets to be closed", || stage.proxy.open_files() <= files);
}

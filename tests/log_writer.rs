//! The log on sinks that stall, fail or vanish: whoever logs goes on.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{
    io::{self, BufRead, BufReader, PipeReader, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use slog::{Level, Logger};

use understudy::{
    event,
    log::{Form, Guard, to_sink},
};

fn json(sink: impl Write + Send + 'static, queue: usize) -> (Logger, Guard) {
    to_sink(sink, Form::Json, Level::Info, queue)
}

fn lines(text: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(text).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// How many lines arrived, and how many were reported as dropped.
fn tally(lines: &[Value]) -> (usize, u64) {
    let (reports, arrived): (Vec<_>, Vec<_>) =
        lines.iter().partition(|line| line["event"] == "log_dropped");
    for report in &reports {
        assert_eq!(report["level"], "warning");
        assert!(report["msg"].as_str().unwrap().contains("dropped"));
    }
    (arrived.len(), reports.iter().map(|report| report["count"].as_u64().unwrap()).sum())
}

fn read_to_end(mut pipe: PipeReader) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut text = Vec::new();
        pipe.read_to_end(&mut text).unwrap();
        text
    })
}

#[test]
fn a_reader_that_stalls_stops_nobody_and_hears_what_it_missed() {
    const LINES: usize = 20_000;
    let (reader, writer) = io::pipe().unwrap();
    let (log, guard) = json(writer, 1000);
    let before = Instant::now();
    for number in 0..LINES {
        event!(log, Info, Start, "line {}", number; "filler" => "x".repeat(100));
    }
    let took = before.elapsed();
    assert!(took < Duration::from_secs(5), "20,000 lines took {took:?}");

    // The pipe is still full. Now it is read, and nothing more is logged meanwhile.
    let mut reader = BufReader::new(reader);
    let mut seen = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        seen.push(line);
        let (arrived, dropped) = tally(&seen);
        if arrived as u64 + dropped == LINES as u64 {
            assert!(arrived >= 1000 && dropped > 0, "{arrived} arrived, {dropped} dropped");
            break;
        }
    }
    event!(log, Info, Stop, "the end");
    let rest = read_to_end(reader.into_inner());
    drop(guard);
    assert_eq!(lines(&rest.join().unwrap())[0]["event"], "stop");
}

#[test]
fn all_that_is_queued_is_written_at_the_end() {
    let (reader, writer) = io::pipe().unwrap();
    let (log, guard) = json(writer, 100_000);
    let read = read_to_end(reader);
    for number in 0..50_000 {
        event!(log, Info, Start, "line {}", number);
    }
    drop(guard);
    let lines = lines(&read.join().unwrap());
    assert_eq!(tally(&lines), (50_000, 0));
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(line["msg"], format!("line {number}"));
    }
    // Somebody still logs: too late, and harmless.
    event!(log, Info, Start, "nobody will see this");
}

#[test]
fn the_end_does_not_wait_for_a_reader_that_stalls() {
    let (_reader, writer) = io::pipe().unwrap();
    let (log, guard) = json(writer, 100);
    for number in 0..10_000 {
        event!(log, Info, Start, "line {}", number);
    }
    let before = Instant::now();
    drop(guard);
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
}

#[test]
fn a_reader_that_is_gone_is_no_reason_to_stop() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let (log, guard) = json(writer, 10);
    for number in 0..1000 {
        event!(log, Info, Start, "line {}", number);
    }
    let before = Instant::now();
    drop(guard);
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
}

#[test]
fn lines_of_many_threads_stay_whole() {
    let (reader, writer) = io::pipe().unwrap();
    let (log, guard) = json(writer, 100_000);
    let read = read_to_end(reader);
    let odd = "a\nb\r\"\\\u{0}\u{2028}{}\u{7f}é🎭";
    thread::scope(|scope| {
        for worker in 0..8 {
            let log = log.new(slog::o!("worker" => worker, "odd" => odd));
            scope.spawn(move || {
                for number in 0..1000 {
                    event!(log, Info, Start, "line {}", number; "worker" => worker + 100);
                }
            });
        }
    });
    drop(guard);
    let text = read.join().unwrap();
    let lines = lines(&text);
    assert_eq!(tally(&lines), (8000, 0));
    assert!(lines.iter().all(|line| line["odd"] == odd && line["worker"].as_u64() >= Some(100)));
    assert_eq!(std::str::from_utf8(&text).unwrap().matches("\"worker\"").count(), 8000);
}

/// Fails once in the middle of a line, like a full disk, and is non-blocking and slow otherwise.
struct Unreliable {
    written: Sender<Vec<u8>>,
    calls: Arc<AtomicUsize>,
}

impl Write for Unreliable {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.calls.fetch_add(1, Ordering::Relaxed) {
            3 => Err(io::ErrorKind::StorageFull.into()),
            call if call % 2 == 0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => {
                let count = bytes.len().min(40);
                self.written.send(bytes[..count].to_vec()).unwrap();
                Ok(count)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_sink_that_failed_in_the_middle_of_a_line_goes_on_with_a_whole_one() {
    let (written, collected) = channel();
    let calls = Arc::new(AtomicUsize::new(0));
    let (log, guard) = json(Unreliable { written, calls: calls.clone() }, 100);
    event!(log, Info, Start, "this one is cut");
    while calls.load(Ordering::Relaxed) < 5 {
        thread::yield_now();
    }
    event!(log, Info, Stop, "this one is whole");
    drop(guard);
    let text: Vec<u8> = collected.iter().flatten().collect();
    let text = String::from_utf8(text).unwrap();
    let (cut, whole) = text.split_once('\n').unwrap();
    assert!(serde_json::from_str::<Value>(cut).is_err(), "{cut}");
    let whole = lines(whole.as_bytes());
    assert_eq!(tally(&whole), (1, 1), "{whole:?}");
}

#[test]
fn levels_below_the_chosen_one_are_not_written() {
    let (reader, writer) = io::pipe().unwrap();
    let (log, guard) = to_sink(writer, Form::Json, Level::Warning, 10);
    event!(log, Info, Start, "no");
    event!(log, Warning, Stop, "yes");
    event!(log, Error, Panic, "yes");
    event!(log, Debug, Start, "no");
    let read = read_to_end(reader);
    drop(guard);
    let levels: Vec<Value> =
        lines(&read.join().unwrap()).into_iter().map(|line| line["level"].clone()).collect();
    assert_eq!(levels, ["warning", "error"]);
}

#[test]
fn drops_are_reported_on_a_terminal_too() {
    let (reader, writer) = io::pipe().unwrap();
    let (log, guard) = to_sink(writer, Form::Terminal { colours: false }, Level::Info, 1);
    for _ in 0..5000 {
        event!(log, Info, Start, "understudy starts"; "nodes" => 3);
    }
    let read = read_to_end(reader);
    drop(guard);
    let text = String::from_utf8(read.join().unwrap()).unwrap();
    assert!(text.contains("INFO start: understudy starts, nodes: 3\n"), "{text}");
    assert!(text.contains("WARN log_dropped: "), "{text}");
}

//! What belongs to a whole process: standard output, panics, lines of libraries. Each story runs in a
//! process of its own, which is this test once more with `STORY` set.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{env, process::Command, thread};

use serde_json::Value;
use slog::Level;

use understudy::{
    conf::settings::{Log, LogFormat},
    event,
};

/// In the child tells the story, in the parent returns the lines of the child's log.
fn story(name: &str, level: Level, tell: fn(&slog::Logger)) -> Option<Vec<Value>> {
    if env::var_os("STORY").is_some() {
        let (log, guard) =
            understudy::log::start(&Log { level, format: LogFormat::Auto, queue: 1000 });
        tell(&log);
        drop(guard);
        return None;
    }
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture", name])
        .env("STORY", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    // The test harness's own words stand around them, at times on the same line.
    let lines = text.lines().filter_map(|line| line.find("{\"ts\"").map(|start| &line[start..]));
    Some(lines.map(|line| serde_json::from_str(line).expect(line)).collect())
}

fn speak() {
    log::error!(target: "a::library", "it \"broke\"");
    log::warn!(target: "a::library", "careful");
    log::info!(target: "a::library", "chatter");
    log::debug!(target: "a::library", "more chatter");
    tracing::warn!(target: "a::tracer", answer = 42, "careful");
    tracing::debug!(target: "a::tracer", "chatter");
}

fn told(lines: &[Value]) -> Vec<String> {
    let field = |line: &Value, key: &str| line[key].as_str().unwrap_or("?").to_owned();
    lines
        .iter()
        .map(|line| ["event", "level", "target", "msg"].map(|key| field(line, key)).join(" | "))
        .collect()
}

#[test]
fn libraries_are_heard_from_warnings_up() {
    let name = "libraries_are_heard_from_warnings_up";
    let Some(lines) = story(name, Level::Info, |_| speak()) else { return };
    assert_eq!(
        told(&lines),
        [
            "foreign | error | a::library | it \"broke\"",
            "foreign | warning | a::library | careful",
            "foreign | warning | a::tracer | careful answer=42",
        ]
    );
}

#[test]
fn libraries_are_heard_in_full_by_those_who_debug() {
    let name = "libraries_are_heard_in_full_by_those_who_debug";
    let Some(lines) = story(name, Level::Debug, |_| speak()) else { return };
    assert_eq!(
        told(&lines),
        [
            "foreign | error | a::library | it \"broke\"",
            "foreign | warning | a::library | careful",
            "foreign | info | a::library | chatter",
            "foreign | debug | a::library | more chatter",
            "foreign | warning | a::tracer | careful answer=42",
            "foreign | debug | a::tracer | chatter",
        ]
    );
}

fn panic_in_a_thread() {
    let panicking = thread::Builder::new().name("worker-3".to_owned());
    let _ = panicking.spawn(|| panic!("two\nlines and {}", 1)).unwrap().join();
}

#[test]
fn a_panic_is_one_line() {
    let Some(lines) = story("a_panic_is_one_line", Level::Info, |log| {
        panic_in_a_thread();
        event!(log, Info, Stop, "and the program goes on");
    }) else {
        return;
    };
    assert_eq!(lines.len(), 2, "{lines:?}");
    let panic = &lines[0];
    assert_eq!(panic["event"], "panic");
    assert_eq!(panic["level"], "error");
    assert_eq!(panic["msg"], "a bug: some code panicked: two\nlines and 1");
    assert_eq!(panic["thread"], "worker-3");
    assert!(panic["location"].as_str().unwrap().starts_with("tests/log_process.rs:"));
    assert_eq!(panic.get("backtrace"), None);
}

#[test]
fn a_panic_has_a_backtrace_for_those_who_debug() {
    let name = "a_panic_has_a_backtrace_for_those_who_debug";
    let Some(lines) = story(name, Level::Debug, |_| panic_in_a_thread()) else { return };
    assert!(lines[0]["backtrace"].as_str().unwrap().contains("panic_in_a_thread"));
}

//! `understudy replay` shows the decisions of a recorded trace, and names the line that is wrong.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::{fs, process::Command};

use failover::{Event, Failure, Millis, NodeId, Settings};
use serde_json::json;
use tempfile::TempDir;

/// Exit code, standard output, standard error.
fn replay(lines: &[String], flags: &[&str]) -> (Option<i32>, String, String) {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("trace"), lines.join("\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
    let out = command.current_dir(&dir).arg("replay").args(flags).arg("trace").output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code(), text(out.stdout), text(out.stderr))
}

fn trace() -> Vec<String> {
    let mut lines = vec![json!({ "settings": Settings::with_nodes(2) }).to_string()];
    let mut event = |at: u64, event: Event| {
        lines.push(json!({ "at": Millis(at), "event": event }).to_string());
    };
    event(0, Event::Started { saved: None });
    for at in 1..5 {
        event(at * 100, Event::HealthFailed { node: NodeId(1), failure: Failure::Refused });
    }
    lines
}

#[test]
fn a_trace_tells_its_story() {
    let (code, out, err) = replay(&trace(), &[]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(
        out.contains("       100 ms  HealthFailed { node: NodeId(1), failure: Refused }"),
        "{out}"
    );
    assert!(
        out.contains("health check failed on node 1 (timeout:0): connections are refused"),
        "{out}"
    );
}

#[test]
fn as_json_every_decision_is_one_object() {
    let (code, out, _) = replay(&trace(), &["--json"]);
    assert_eq!(code, Some(0));
    let decisions: Vec<failover::Decision> =
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(decisions.len(), 5);
    assert_eq!(decisions[0].at, Millis(0));
}

#[test]
fn a_wrong_line_is_named() {
    let mut broken = trace();
    broken[2] = "{\"at\": 1}".to_owned();
    let (code, out, err) = replay(&broken, &[]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(
        err.starts_with("error: trace:3: not {\"at\": …, \"event\": …}: missing field `event`"),
        "{err}"
    );
    let (code, _, err) = replay(&[], &[]);
    assert_eq!(code, Some(2));
    assert_eq!(err, "error: trace: an empty trace; allowed: settings, then events\n");
    let (code, _, err) = replay(&broken[1..], &[]);
    assert_eq!(code, Some(2));
    assert!(err.starts_with("error: trace:1: not {\"settings\": …}"), "{err}");
}

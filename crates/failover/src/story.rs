//! Stories: histories of events as readable text, with what the machine does about them.
//!
//! A story is a list of lines. `#` begins a comment. `nodes 3` and `set key value` describe the
//! configuration; `given steady` stands for a healthy cluster with node 0 as its primary and two
//! workers. `at 1000 fail 0 refused` and `+200 fail 0 refused` are events, at a moment or so many
//! milliseconds after the last one. Below each event, indented and marked `->`, stands what the
//! machine asked for. Timers, questions and what is saved are left out unless `show` names them.
//!
//! [`tell`] runs a story and writes it down again with what happened; a story that comes out
//! unchanged is a story that still holds. [`write`] makes one of a recorded history, so that an
//! incident becomes a test without anybody retelling it.

use std::fmt::Write as _;

mod keys;
mod words;

use crate::{Event, Machine, Millis, Settings};

/// A line that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misread {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

/// What of the machine's effects a story shows beside the decisions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shown {
    pub timers: bool,
    pub questions: bool,
    pub saves: bool,
}

/// Runs a story and writes it down with what happened.
///
/// # Errors
/// The first line that cannot be understood.
pub fn tell(text: &str) -> Result<String, Misread> {
    let mut settings = Settings::with_nodes(3);
    let mut machine = None;
    let mut shown = Shown::default();
    let mut now = Millis(0);
    let mut told = String::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("->") {
            continue;
        }
        told.push_str(line);
        told.push('\n');
        let misread = |what: String| Misread { line: index + 1, what };
        let words: Vec<&str> =
            line.split('#').next().unwrap_or_default().split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            ["nodes", count] => {
                settings = Settings::with_nodes(words::number(count).map_err(misread)?);
            }
            ["set", key, value] => keys::set(&mut settings, key, value).map_err(misread)?,
            ["show", what @ ..] => {
                shown.timers |= what.contains(&"timers");
                shown.questions |= what.contains(&"questions");
                shown.saves |= what.contains(&"saves");
            }
            ["given", "steady"] => {
                let machine = machine.insert(Machine::new(settings.clone()));
                for (at, event) in words::steady(&settings) {
                    now = at;
                    machine.step(at, event, &mut Vec::new());
                }
            }
            [at, event @ ..] => {
                let (at, event) = match (*at, event) {
                    ("at", [at, event @ ..]) => (words::number(at).map_err(misread)?, event),
                    (at, event) if at.starts_with('+') => {
                        (now.0 + words::number::<u64>(&at[1..]).map_err(misread)?, event)
                    }
                    _ => return Err(misread(format!("not a line of a story: {line}"))),
                };
                now = Millis(at);
                let machine = machine.get_or_insert_with(|| Machine::new(settings.clone()));
                let event = words::event(event, now, machine).map_err(misread)?;
                step(machine, now, event, shown, &mut told);
            }
        }
    }
    Ok(told)
}

/// Writes down a recorded history as a story.
#[must_use]
pub fn write(settings: &Settings, events: &[(Millis, Event)]) -> String {
    let mut told = format!("nodes {}\n", settings.nodes.len());
    for (key, value) in keys::differences(settings) {
        // Writing into a String cannot fail.
        let _ = writeln!(told, "set {key} {value}");
    }
    let mut machine = Machine::new(settings.clone());
    for (at, event) in events {
        let _ = writeln!(told, "at {} {}", at.0, words::written(event, &machine));
        step(&mut machine, *at, event.clone(), Shown::default(), &mut told);
    }
    told
}

fn step(machine: &mut Machine, now: Millis, event: Event, shown: Shown, told: &mut String) {
    let mut effects = Vec::new();
    machine.step(now, event, &mut effects);
    for effect in &effects {
        if let Some(text) = words::effect(effect, machine.settings(), shown) {
            let _ = writeln!(told, "    -> {text}");
        }
    }
}

// === impl Misread ===

impl std::fmt::Display for Misread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

//! `understudy replay`: shows what a recorded history of events made the failover machine decide.
//!
//! A trace is JSON lines: first the settings of that time, `{"settings": …}`, then one event a line,
//! `{"at": MILLISECONDS, "event": …}`, the first of them `Started`. The machine is deterministic, so the
//! decisions shown are those that were taken.

use std::{
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use failover::{Decision, Event, Millis, Settings, replay as decide};
use serde::Deserialize;

use crate::cli::{Exit, fail};

/// `understudy replay`
#[derive(Args, Debug)]
pub struct ReplayArguments {
    /// The recorded trace: JSON lines, the settings first
    pub trace: PathBuf,

    /// Print every decision as one JSON object a line, effects included
    #[arg(long)]
    pub json: bool,
}

/// The first line of a trace.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    settings: Settings,
}

/// Any other line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    at: Millis,
    event: Event,
}

/// Prints the decisions, or what is wrong with the trace.
#[must_use]
pub fn replay(arguments: &ReplayArguments) -> Exit {
    let text = match fs::read_to_string(&arguments.trace) {
        Ok(text) => text,
        Err(error) => return fail(&format!("{}: {error}", arguments.trace.display())),
    };
    let (settings, events) = match read(&text, &arguments.trace) {
        Ok(trace) => trace,
        Err(mistake) => {
            let _ = fail(&mistake);
            return Exit::Usage;
        }
    };
    let mut out = BufWriter::new(io::stdout().lock());
    for decision in decide(settings, events) {
        // Whoever closed standard output has seen enough.
        if print(&mut out, &decision, arguments.json).is_err() {
            break;
        }
    }
    let _ = out.flush();
    Exit::Ok
}

fn read(text: &str, path: &Path) -> Result<(Settings, Vec<(Millis, Event)>), String> {
    let place = |number: usize| format!("{}:{}", path.display(), number + 1);
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let Some((number, line)) = lines.next() else {
        return Err(format!("{}: an empty trace; allowed: settings, then events", path.display()));
    };
    let head: Head = serde_json::from_str(line)
        .map_err(|error| format!("{}: not {{\"settings\": …}}: {error}", place(number)))?;
    let events = lines.map(|(number, line)| {
        let entry: Entry = serde_json::from_str(line).map_err(|error| {
            format!("{}: not {{\"at\": …, \"event\": …}}: {error}", place(number))
        })?;
        Ok((entry.at, entry.event))
    });
    Ok((head.settings, events.collect::<Result<_, String>>()?))
}

fn print(out: &mut impl Write, decision: &Decision, json: bool) -> io::Result<()> {
    if json {
        serde_json::to_writer(&mut *out, decision)?;
        return writeln!(out);
    }
    let Decision { at, event, effects, sentences, phase } = decision;
    writeln!(out, "{:>10} ms  {event:?}", at.0)?;
    for sentence in sentences {
        writeln!(out, "               {sentence}")?;
    }
    writeln!(out, "               now {phase:?}, {} effect(s)", effects.len())
}

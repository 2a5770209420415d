//! What is being done at the moment, on stderr: a moving line on a terminal, plain lines otherwise.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::lab::LabError;

/// Shows one step after the other.
pub(crate) struct Progress {
    moving: bool,
    begun: Instant,
}

// === impl Progress ===

impl Progress {
    pub(crate) fn new() -> Self {
        Self { moving: io::stderr().is_terminal(), begun: Instant::now() }
    }

    /// Does the work while its name is shown, then how it went.
    pub(crate) fn step<T>(
        &self,
        name: &str,
        work: impl FnOnce() -> Result<T, LabError>,
    ) -> Result<T, LabError> {
        if !self.moving {
            // Nobody to tell when stderr is closed.
            let _ = writeln!(io::stderr(), "{name}");
            return work();
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner:.cyan} {msg} {elapsed:.dim}") {
            bar.set_style(style);
        }
        bar.set_message(name.to_owned());
        bar.enable_steady_tick(TICK);
        let begun = Instant::now();
        let result = work();
        bar.finish_and_clear();
        let sign = if result.is_ok() { "✔" } else { "✘" };
        let _ = writeln!(io::stderr(), "{sign} {name} ({:.1} s)", begun.elapsed().as_secs_f64());
        result
    }

    /// Since the first step.
    pub(crate) fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }
}

const TICK: Duration = Duration::from_millis(80);

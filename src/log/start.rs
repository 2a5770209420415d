//! Starting the log.

use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
};

use slog::{Drain, Level, LevelFilter, Logger, Never, OwnedKVList, Record};

use crate::{
    conf::settings::{Log, LogFormat},
    log::{
        foreign, json, panics,
        pipe::{Guard, Queue, open},
        terminal,
    },
};

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One JSON object.
    Json,
    /// Text for people, coloured or not.
    Terminal {
        /// Whether the reader understands ANSI colours.
        colours: bool,
    },
}

/// Starts the program's log on standard output: returns the root logger and the guard that writes out
/// what is queued when it is dropped, which has to be the last thing `main` does.
///
/// Lines of libraries (the `log` crate, and `tracing` through it) and panics are logged from here on.
pub fn start(settings: &Log) -> (Logger, Guard) {
    let (sink, queue) = (stdout(), settings.queue);
    let (lines, guard) = Lines::open(Form::of(settings.format), queue, sink);
    foreign::listen(lines.clone(), settings.level);
    let log = lines.logger(settings.level);
    panics::listen(log.clone());
    (log, guard)
}

/// A log on any sink, for tests and tools: nothing of the process is touched.
pub fn to_sink(
    sink: impl Write + Send + 'static,
    form: Form,
    level: Level,
    queue: usize,
) -> (Logger, Guard) {
    let (lines, guard) = Lines::open(form, queue, sink);
    (lines.logger(level), guard)
}

/// The drain below every logger of a log: makes a line, and queues it.
#[derive(Clone)]
pub(super) struct Lines {
    form: Form,
    queue: Queue,
}

// === impl Form ===

impl Form {
    fn of(format: LogFormat) -> Self {
        let is_terminal = io::stdout().is_terminal();
        // The convention of no-color.org: set and not empty means no colours.
        let colours = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        match format {
            LogFormat::Json => Self::Json,
            LogFormat::Auto if !is_terminal => Self::Json,
            LogFormat::Auto | LogFormat::Terminal => Self::Terminal { colours },
        }
    }

    /// The line for a record, with its end.
    pub(super) fn line(self, record: &Record<'_>, context: &OwnedKVList) -> Vec<u8> {
        match self {
            Self::Json => json::line(record, context),
            Self::Terminal { colours } => terminal::line(record, context, colours),
        }
    }
}

// === impl Lines ===

impl Lines {
    fn open(form: Form, queue: usize, sink: impl Write + Send + 'static) -> (Self, Guard) {
        let (queue, guard) = open(form, queue, sink);
        (Self { form, queue }, guard)
    }

    fn logger(self, level: Level) -> Logger {
        Logger::root(LevelFilter::new(self, level).ignore_res(), slog::o!())
    }
}

impl Drain for Lines {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, context: &OwnedKVList) -> Result<(), Never> {
        self.queue.push(self.form.line(record, context));
        Ok(())
    }
}

// === helpers ===

/// Standard output without std's lock and buffer: a reader that stalls must stall nobody but the thread
/// that writes the log, and nothing may be left behind in a buffer.
fn stdout() -> Box<dyn Write + Send> {
    match io::stdout().as_fd().try_clone_to_owned() {
        Ok(descriptor) => Box::new(File::from(descriptor)),
        Err(_) => Box::new(io::stdout()),
    }
}

//! What libraries say: lines of the `log` crate, and those of `tracing`, which it hands on to `log`.

use slog::{Drain, Level, LevelFilter, Logger, Never, OwnedKVList, Record, RecordStatic};

use crate::log::{Event, start::Lines};

/// Hands every line of a library to the log as event "foreign", from now on.
pub(super) fn listen(lines: Lines, level: Level) {
    let level = least(level);
    let log = Logger::root(LevelFilter::new(Foreign(lines), level).ignore_res(), slog::o!());
    slog_scope::set_global_logger(log).cancel_reset();
    // Where this log is not the first of the process, the bridge already stands.
    let _ = slog_stdlog::init();
    log::set_max_level(filter(level));
}

struct Foreign(Lines);

// === impl Foreign ===

impl Drain for Foreign {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, context: &OwnedKVList) -> Result<(), Never> {
        let named = RecordStatic {
            location: record.location(),
            level: record.level(),
            tag: Event::Foreign.name(),
        };
        // slog-stdlog leaves the target in the tag, and no fields.
        let target = slog::b!("target" => record.tag());
        self.0.log(&Record::new(&named, record.msg(), target), context)
    }
}

// === helpers ===

/// The chatter of libraries below a warning is for those who debug.
fn least(level: Level) -> Level {
    match level {
        Level::Info => Level::Warning,
        level => level,
    }
}

fn filter(level: Level) -> log::LevelFilter {
    match level {
        Level::Critical | Level::Error => log::LevelFilter::Error,
        Level::Warning => log::LevelFilter::Warn,
        Level::Info => log::LevelFilter::Info,
        Level::Debug => log::LevelFilter::Debug,
        Level::Trace => log::LevelFilter::Trace,
    }
}

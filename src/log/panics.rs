//! A panic is a bug, and one line of the log.

use std::{
    backtrace::Backtrace,
    panic::{self, PanicHookInfo},
    thread,
};

use slog::Logger;

use crate::event;

/// Logs every panic of the process from now on, instead of printing it.
///
/// The text of the panic is logged as it is: code of ours never panics with a secret in the text.
pub(super) fn listen(log: Logger) {
    panic::set_hook(Box::new(move |panic| report(&log, panic)));
}

fn report(log: &Logger, panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("(not a text)");
    let location = panic.location().map(ToString::to_string);
    let current = thread::current();
    let thread = current.name().unwrap_or("unnamed");
    if slog::Drain::is_debug_enabled(log) {
        let backtrace = Backtrace::force_capture();
        event!(log, Error, Panic, "a bug: some code panicked: {}", message;
            "location" => location, "thread" => thread, "backtrace" => %backtrace);
    } else {
        event!(log, Error, Panic, "a bug: some code panicked: {}", message;
            "location" => location, "thread" => thread);
    }
}

//! How a command ends: the exit code, and the last words on standard error.

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
};

use crate::conf::Mistakes;

/// The exit codes, as every `--help` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Ok = 0,
    /// Something failed.
    Failure = 1,
    /// The command line or the configuration has mistakes. `clap` uses the same number.
    Usage = 2,
}

/// Prints why a command failed.
#[must_use]
pub fn fail(error: &dyn Display) -> Exit {
    let _ = writeln!(io::stderr(), "error: {error}");
    Exit::Failure
}

/// Prints what is wrong with the configuration.
#[must_use]
pub fn refuse(mistakes: &Mistakes) -> Exit {
    let _ = write!(io::stderr(), "error: {mistakes}");
    Exit::Usage
}

// === impl Exit ===

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

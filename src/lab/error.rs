//! What can go wrong in the lab, each with its remedy: the reader is somebody trying the program out.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use thiserror::Error;

/// Why the lab could not do what it was asked.
#[derive(Debug, Error)]
pub enum LabError {
    /// No PostgreSQL server programs on this machine.
    #[error(
        "no PostgreSQL server programs found (looked in {searched}).\n\
         Install them, e.g. `apt-get install postgresql postgresql-contrib`, or name their directory \
         with --pg-bin or UNDERSTUDY_LAB_PG_BIN"
    )]
    NoPostgres {
        /// The places looked at, for people.
        searched: String,
    },

    /// The directory named by the user holds no server programs.
    #[error(
        "{} holds no {missing}: name the directory with PostgreSQL's server programs, \
         e.g. /usr/lib/postgresql/15/bin", .dir.display()
    )]
    NotPostgres {
        /// The directory as given.
        dir: PathBuf,
        /// The program that is not there.
        missing: &'static str,
    },

    /// Somebody listens on a port we need.
    #[error("port {port} on 127.0.0.1 is in use: stop what listens there, or {remedy}")]
    PortTaken {
        /// The port.
        port: u16,
        /// What to do instead of stopping it.
        remedy: String,
    },

    /// The unprivileged user of the nodes cannot get at the directory.
    #[error(
        "the nodes run as user {user}, who cannot reach {}: choose another directory with --dir \
         (for example /var/lib/understudy/lab)", .dir.display()
    )]
    Unreachable {
        /// The user.
        user: String,
        /// The directory.
        dir: PathBuf,
    },

    /// The path of a unix socket does not fit into the operating system's limit.
    #[error(
        "{} is too long for a unix socket ({limit} bytes with the socket's name): choose a shorter \
         directory with --dir", .dir.display()
    )]
    PathTooLong {
        /// The node's directory.
        dir: PathBuf,
        /// The longest possible path.
        limit: usize,
    },

    /// The process runs as root and there is nobody to run the nodes as.
    #[error(
        "PostgreSQL refuses to run as root, and neither user postgres nor nobody exists: create one"
    )]
    NoUser,

    /// One of PostgreSQL's programs failed.
    #[error("{program} failed ({status}):\n{output}")]
    Program {
        /// Its name.
        program: String,
        /// How it ended.
        status: String,
        /// The end of what it said.
        output: String,
    },

    /// A process ended where it should have gone on.
    #[error("{who} ended while starting; the end of {}:\n{tail}", .log.display())]
    Died {
        /// The process.
        who: String,
        /// Its log.
        log: PathBuf,
        /// The end of it.
        tail: String,
    },

    /// A condition did not come true in time.
    #[error("gave up after {limit:?} waiting for {what}{}", .last.as_ref().map(|l| format!(": {l}")).unwrap_or_default())]
    TimedOut {
        /// The condition, in words.
        what: String,
        /// How long it was waited for.
        limit: Duration,
        /// What stood in its way the last time it was looked at.
        last: Option<String>,
    },

    /// A statement on a node failed.
    #[error("{node}: {message}")]
    Sql {
        /// Where.
        node: String,
        /// PostgreSQL's words.
        message: String,
    },

    /// A file could not be read or written.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// The verb.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },

    /// There is no lab in the directory.
    #[error("there is no lab in {}: start one with `understudy lab up`, or name its directory with --dir", .dir.display())]
    NoLab {
        /// The directory.
        dir: PathBuf,
    },

    /// The directory holds something that is not a lab.
    #[error("{} holds files that are not a lab's: choose an empty directory with --dir", .dir.display())]
    NotALab {
        /// The directory.
        dir: PathBuf,
    },

    /// Another command is making or unmaking this lab.
    #[error("another `understudy lab` command is at work in {}", .dir.display())]
    Busy {
        /// The directory.
        dir: PathBuf,
    },

    /// A node's number that no node has.
    #[error("there is no node {node}: this lab has nodes 0 to {last}")]
    NoNode {
        /// As given.
        node: usize,
        /// The highest number.
        last: usize,
    },

    /// The request makes no sense in the present state.
    #[error("{0}")]
    Refused(String),

    /// Ctrl-C or SIGTERM came.
    #[error("interrupted")]
    Interrupted,
}

// === impl LabError ===

impl LabError {
    /// Wraps an I/O error with what was being done to which file.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

//! The words of `understudy lab`.

use std::{env, path::PathBuf};

use clap::{Args as ClapArgs, Subcommand};
use nix::unistd::geteuid;

/// Real PostgreSQL nodes with streaming replication and understudy in front, on this machine, for
/// trying things out: nodes can be killed, frozen, and brought back.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// The lab's directory [default: $UNDERSTUDY_LAB_DIR, or else for root /var/lib/understudy/lab
    /// (which the nodes' unprivileged user can reach), for others $XDG_STATE_HOME/understudy/lab or
    /// ~/.local/state/understudy/lab]
    #[arg(long, global = true, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What can be done with a lab.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Make the nodes, or start those made before, and understudy; then follow its log until Ctrl-C.
    Up(Up),
    /// Show every node and understudy. Exits with 0 when all of them run.
    Status,
    /// End a node's processes at once, as a power cut would. Its data stays.
    Kill(OneNode),
    /// Stop a node in good order.
    Stop(OneNode),
    /// Freeze a node: it is silent, but its connections stay open.
    Pause(OneNode),
    /// Let a frozen node go on.
    Resume(OneNode),
    /// Start a node as it was. An old primary comes back as a primary: `rejoin` is what it needs.
    Start(OneNode),
    /// Bring a node back as a standby of the present primary, by pg_rewind or else by a new copy.
    Rejoin(OneNode),
    /// Run psql through understudy as role app.
    Psql {
        /// Arguments for psql.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Show a log.
    Logs {
        /// Go on showing what is written from now on.
        #[arg(short, long)]
        follow: bool,
        /// Whose: `understudy` or a node's number.
        #[arg(default_value = "understudy", value_parser = parse_log_source)]
        of: LogSource,
    },
    /// Stop understudy and the nodes, and remove the lab's files.
    Down {
        /// Leave the files; `lab up` goes on with them.
        #[arg(long)]
        keep: bool,
    },
}

/// How to bring a lab up.
#[derive(Clone, Debug, ClapArgs)]
pub struct Up {
    /// How many nodes to make [default: 3].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub nodes: Option<u16>,
    /// The port for clients [default: 6432]; the nodes take the next free ones above it.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// The directory of PostgreSQL's server programs [default: $UNDERSTUDY_LAB_PG_BIN, or else the
    /// newest installed].
    #[arg(long, value_name = "DIR")]
    pub pg_bin: Option<PathBuf>,
    /// Synchronous replication: a commit waits until one standby has it, too.
    #[arg(long)]
    pub sync: bool,
    /// Return once the lab is ready instead of following the log.
    #[arg(long)]
    pub detach: bool,
}

/// A node by its number.
#[derive(Clone, Copy, Debug, ClapArgs)]
pub struct OneNode {
    /// The node's number, from 0.
    #[arg(value_name = "N")]
    pub node: usize,
}

/// Whose log to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSource {
    /// The proxy's.
    Understudy,
    /// A node's.
    Node(usize),
}

// === impl Args ===

impl Args {
    /// The directory to work on, absolute, whether it exists or not.
    pub(crate) fn directory(&self) -> PathBuf {
        let dir = self.dir.clone().unwrap_or_else(default_directory);
        std::path::absolute(&dir).unwrap_or(dir)
    }
}

/// The directory when none is named.
pub(crate) fn default_directory() -> PathBuf {
    let variable = |name| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(dir) = variable("UNDERSTUDY_LAB_DIR") {
        return dir;
    }
    if geteuid().is_root() {
        return PathBuf::from("/var/lib/understudy/lab");
    }
    variable("XDG_STATE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".local/state")))
        .unwrap_or_else(env::temp_dir)
        .join("understudy/lab")
}

fn parse_log_source(text: &str) -> Result<LogSource, String> {
    match text {
        "understudy" => Ok(LogSource::Understudy),
        number => number
            .trim_start_matches("node")
            .parse()
            .map(LogSource::Node)
            .map_err(|_| "neither `understudy` nor the number of a node".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Program::try_parse_from(format!("understudy {line}").split(' ')).map(|p| p.args)
    }

    #[test]
    fn verbs_are_understood() {
        assert!(matches!(parse("kill 2").unwrap().verb, Verb::Kill(OneNode { node: 2 })));
        assert!(matches!(
            parse("logs -f node1").unwrap().verb,
            Verb::Logs { follow: true, of: LogSource::Node(1) }
        ));
        assert!(parse("logs nobody").is_err());
        assert!(parse("up --nodes 0").is_err());
        let Verb::Psql { args } = parse("psql -c x --csv").unwrap().verb else { panic!() };
        assert_eq!(args, ["-c", "x", "--csv"]);
        assert_eq!(parse("status --dir /a").unwrap().directory(), PathBuf::from("/a"));
    }
}

//! What may be typed.

use std::{
    env,
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand};

use crate::{
    cli::ReplayArguments,
    conf::{Flag, Sources},
    lab,
};

/// A PostgreSQL proxy that keeps applications connected when a database node dies.
#[derive(Debug, Parser)]
#[command(name = "understudy", version, after_help = AFTER_HELP, after_long_help = AFTER_LONG_HELP)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    configuration: ConfigurationArguments,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve clients until told to stop; this is what happens without a command
    #[command(after_help = EXIT_CODES)]
    Run(ConfigurationArguments),
    /// Read the configuration, report every mistake in it, and do nothing else
    #[command(after_help = EXIT_CODES)]
    Check(CheckArguments),
    /// Three real PostgreSQL nodes with the proxy in front of them, to try and to break
    Lab(lab::Args),
    /// Show what a recorded history of events made the failover machine decide
    #[command(after_help = EXIT_CODES)]
    Replay(ReplayArguments),
}

/// `understudy check`
#[derive(Args, Debug)]
pub struct CheckArguments {
    /// Print the settings in effect as TOML, each with its origin; secrets stay hidden
    #[arg(long)]
    pub show: bool,

    /// Where the configuration comes from.
    #[command(flatten)]
    pub configuration: ConfigurationArguments,
}

/// Where the configuration comes from.
#[derive(Args, Clone, Default)]
#[command(next_help_heading = "Configuration")]
pub struct ConfigurationArguments {
    /// Configuration file [default: ./understudy.toml, else /etc/understudy/understudy.toml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Set one key, over the file and the environment; may be repeated. Other users of this machine can
    /// see it: keep passwords in a file
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,

    /// error, warning, info, debug or trace; the same as --set log.level=LEVEL
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,

    /// auto, terminal or json; the same as --set log.format=FORMAT
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

// === impl Arguments ===

impl Arguments {
    /// What to do, `run` if nothing was said. Flags in front of the command count as well.
    #[must_use]
    pub fn into_command(self) -> Command {
        match self.command {
            None => Command::Run(self.configuration),
            Some(Command::Lab(lab)) => Command::Lab(lab),
            Some(Command::Replay(replay)) => Command::Replay(replay),
            Some(Command::Run(own)) => Command::Run(own.over(self.configuration)),
            Some(Command::Check(CheckArguments { show, configuration })) => {
                let configuration = configuration.over(self.configuration);
                Command::Check(CheckArguments { show, configuration })
            }
        }
    }
}

// === impl ConfigurationArguments ===

impl ConfigurationArguments {
    /// The sources these flags name, with the environment of this process.
    #[must_use]
    pub fn sources(&self) -> Sources {
        let flags = [
            ("--log-level", "log.level", &self.log_level),
            ("--log-format", "log.format", &self.log_format),
        ];
        Sources {
            file: self.config.clone().or_else(usual_file),
            environment: env::vars_os().collect(),
            set: self.set.clone(),
            flags: flags
                .into_iter()
                .filter_map(|(name, key, value)| {
                    value.clone().map(|value| Flag { name, key, value })
                })
                .collect(),
        }
    }

    /// Both, where these win.
    fn over(self, mut below: Self) -> Self {
        below.set.extend(self.set);
        Self {
            config: self.config.or(below.config),
            set: below.set,
            log_level: self.log_level.or(below.log_level),
            log_format: self.log_format.or(below.log_format),
        }
    }
}

/// `--set` may hold a secret.
impl std::fmt::Debug for ConfigurationArguments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigurationArguments")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

// === helpers ===

/// The file that is read when none is named. One that is there but cannot be read is a mistake, not a
/// reason to go on without.
fn usual_file() -> Option<PathBuf> {
    USUAL_FILES.map(Path::new).into_iter().find(|path| path.exists()).map(Path::to_owned)
}

// === constants ===

const USUAL_FILES: [&str; 2] = ["understudy.toml", "/etc/understudy/understudy.toml"];

const EXIT_CODES: &str =
    "Exit codes: 0 ok, 1 failure, 2 mistakes in the usage or the configuration.";

const AFTER_HELP: &str = "\
Exit codes: 0 ok, 1 failure, 2 mistakes in the usage or the configuration.
More: understudy --help";

const AFTER_LONG_HELP: &str = "\
Configuration, later ones win:
  built-in defaults  <  FILE  <  environment  <  flags

  The file understudy.toml that comes with understudy names every key with its default.
  In the environment a key is UNDERSTUDY__SECTION__KEY, an element of a list has its number from 0,
  and a list of texts is written with commas:
    UNDERSTUDY__LOG__LEVEL=debug
    UNDERSTUDY__NODES__0__HOST=db0.example.com
    UNDERSTUDY__LISTEN__ADDRESSES=127.0.0.1:6432,10.0.0.5:6432
  The same with flags:
    --set log.level=debug --set nodes.0.host=db0.example.com

Exit codes: 0 ok, 1 failure, 2 mistakes in the usage or the configuration.";

// === tests ===

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn flags_count_in_front_of_the_command_and_behind_it() {
        let words = ["understudy", "-c", "a.toml", "--set", "x=1", "check", "--set", "x=2"];
        let arguments = Arguments::parse_from(words);
        let Command::Check(check) = arguments.into_command() else { panic!("not a check") };
        let sources = check.configuration.sources();
        assert_eq!(sources.file, Some(PathBuf::from("a.toml")));
        assert_eq!(sources.set, ["x=1", "x=2"]);
    }
}

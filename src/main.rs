//! Arguments, configuration, log, and then the server.

use std::{process::ExitCode, sync::Arc};

use clap::Parser;

use understudy::{
    actors,
    cli::{self, Arguments, Command, ConfigurationArguments, Exit},
    conf, event, lab, log,
};

fn main() -> ExitCode {
    match Arguments::parse().into_command() {
        Command::Run(arguments) => run(&arguments).into(),
        Command::Check(arguments) => cli::check(&arguments).into(),
        Command::Lab(arguments) => lab::run(&arguments),
        Command::Replay(arguments) => cli::replay(&arguments).into(),
    }
}

fn run(arguments: &ConfigurationArguments) -> Exit {
    let loaded = match conf::load(&arguments.sources()) {
        Ok(loaded) => loaded,
        Err(mistakes) => return cli::refuse(&mistakes),
    };
    let settings = Arc::new(loaded.settings);
    // Dropped last, which writes out what is queued.
    let (log, _guard) = log::start(&settings.log);
    event!(log, Info, Start, "understudy {} starts", env!("CARGO_PKG_VERSION");
        "nodes" => settings.nodes.len(),
        "workers" => settings.process.workers,
        "configuration" => loaded.file.map(|file| file.display().to_string()));
    for doubt in &loaded.doubts {
        event!(log, Warning, ConfigurationDoubtful, "{}", doubt);
    }
    match actors::root::run(settings, log.clone()) {
        Ok(()) => {
            event!(log, Info, Stop, "understudy ends");
            Exit::Ok
        }
        Err(error) => {
            event!(log, Error, Stop, "understudy ends: {}", error);
            cli::fail(&error)
        }
    }
}

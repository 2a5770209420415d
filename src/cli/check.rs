//! `understudy check`: reads the configuration and says what it found.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use crate::{
    auth::AuthFiles,
    cli::{CheckArguments, Exit, refuse},
    conf::{self, Loaded, Mistakes, Sources},
};

/// Prints the mistakes, or what the configuration amounts to.
#[must_use]
pub fn check(arguments: &CheckArguments) -> Exit {
    let sources = arguments.configuration.sources();
    let loaded = match conf::load(&sources) {
        Ok(loaded) => loaded,
        Err(mistakes) => return refuse(&mistakes),
    };
    let files = match AuthFiles::load(&loaded.settings.auth) {
        Ok(files) => files,
        Err(mistakes) => return refuse(&Mistakes(mistakes)),
    };
    for doubt in loaded.doubts.iter().chain(&files.doubts(&loaded.settings)) {
        let _ = writeln!(io::stderr(), "warning: {doubt}");
    }
    let mut report = summary(&loaded, &sources);
    if arguments.show {
        // As comments, so that the whole output is a configuration.
        report = report.lines().fold(String::new(), |text, line| text + "# " + line + "\n");
        let _ = write!(report, "\n{}", loaded.effective);
    }
    // Whoever closed standard output wanted the exit code only.
    let _ = io::stdout().write_all(report.as_bytes());
    Exit::Ok
}

// === helpers ===

fn summary(loaded: &Loaded, sources: &Sources) -> String {
    let settings = &loaded.settings;
    let mut places: Vec<String> =
        settings.listen.addresses.iter().map(ToString::to_string).collect();
    places.extend(settings.listen.unix_socket_dir.iter().map(|dir| dir.display().to_string()));
    let mut read = vec!["built-in defaults".to_owned()];
    read.extend(loaded.file.iter().map(|file| file.display().to_string()));
    let variables = sources.environment.iter().filter(|(name, _)| is_ours(name)).count();
    read.extend(counted(variables, "environment variable"));
    read.extend(counted(sources.set.len() + sources.flags.len(), "flag"));
    format!(
        "ok: {}, listening on {}, {}\nread: {}\n",
        counted(settings.nodes.len(), "node").unwrap_or_default(),
        places.join(", "),
        counted(settings.process.workers, "worker").unwrap_or_default(),
        read.join(", ")
    )
}

fn is_ours(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"UNDERSTUDY__")
}

fn counted(count: usize, thing: &str) -> Option<String> {
    match count {
        0 => None,
        1 => Some(format!("1 {thing}")),
        count => Some(format!("{count} {thing}s")),
    }
}

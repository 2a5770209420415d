//! The program itself: what it prints, where, and its exit code.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{
    fs,
    io::Read,
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;

use understudy::{
    conf::{self, Sources},
    event, log,
};

const GOOD: &str = "[[nodes]]\nhost = \"db0\"\n[[nodes]]\nhost = \"db1\"\n[auth]\nmethod = \"md5\"\n\
                    query = \"SELECT 1\"\n[process]\nworkers = 2\n";

/// Runs understudy in a directory, with nothing in the environment but what is named.
fn understudy(directory: &Path, words: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_understudy"))
        .args(words)
        .current_dir(directory)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn directory_with(file: &str) -> TempDir {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("understudy.toml"), file).unwrap();
    directory
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn check_accepts_a_good_configuration() {
    let directory = directory_with(GOOD);
    let output = understudy(directory.path(), &["check"], &[]);
    assert_eq!(
        text(&output.stdout),
        "ok: 2 nodes, listening on 127.0.0.1:6432, 2 workers\nread: built-in defaults, understudy.toml\n"
    );
    assert_eq!((text(&output.stderr).as_str(), output.status.code()), ("", Some(0)));

    let words =
        ["check", "-c", "understudy.toml", "--set", "process.workers=1", "--log-level", "debug"];
    let output = understudy(directory.path(), &words, &[("UNDERSTUDY__NODES__2__HOST", "db2")]);
    assert_eq!(
        text(&output.stdout),
        "ok: 3 nodes, listening on 127.0.0.1:6432, 1 worker\n\
         read: built-in defaults, understudy.toml, 1 environment variable, 2 flags\n"
    );
}

#[test]
fn check_needs_no_file() {
    let directory = TempDir::new().unwrap();
    let output = understudy(directory.path(), &["check", "--set", "nodes.0.host=a"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(
        text(&output.stderr),
        "warning: nobody can log in: neither auth.users_file nor auth.query says who may\n"
    );
}

#[test]
fn what_check_shows_is_a_configuration_that_check_accepts() {
    let directory = directory_with(GOOD);
    let output = understudy(directory.path(), &["check", "--show"], &[]);
    let shown = text(&output.stdout);
    assert!(shown.starts_with("# ok: 2 nodes"), "{shown}");
    assert!(shown.contains("\nhost = \"db1\"  "), "{shown}");
    fs::write(directory.path().join("understudy.toml"), &shown).unwrap();
    let again = understudy(directory.path(), &["check"], &[]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again.stderr));
}

#[test]
fn mistakes_go_to_standard_error_with_exit_code_2() {
    let directory = directory_with("[lgo]\n[log]\nlevel = 3\n");
    for words in [&["check"][..], &["run"], &[]] {
        let output = understudy(directory.path(), words, &[]);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert_eq!(text(&output.stdout), "");
        assert_eq!(
            text(&output.stderr),
            "error: 3 mistakes in the configuration\n  \
             understudy.toml: nodes: there is no node; add a [[nodes]] block with a host for every PostgreSQL node\n  \
             understudy.toml:1:2: lgo: unknown key; did you mean \"log\"?\n  \
             understudy.toml:3:1: log.level: found 3; allowed: \"error\", \"warning\", \"info\", \"debug\" or \"trace\"\n"
        );
    }
}

#[test]
fn usage_mistakes_have_exit_code_2_and_help_0() {
    let directory = TempDir::new().unwrap();
    for words in [&["--bogus"][..], &["check", "--bogus"], &["bogus"], &["-c"]] {
        let output = understudy(directory.path(), words, &[]);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(text(&output.stderr).contains("try '--help'"), "{words:?}");
    }
    for words in [&["--help"][..], &["-h"], &["run", "--help"], &["check", "--help"]] {
        let output = understudy(directory.path(), words, &[]);
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        let codes = "Exit codes: 0 ok, 1 failure, 2 mistakes in the usage or the configuration.";
        assert!(text(&output.stdout).contains(codes), "{words:?}");
    }
}

#[test]
fn the_named_file_has_to_exist() {
    let directory = TempDir::new().unwrap();
    let output = understudy(directory.path(), &["-c", "nope.toml"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        text(&output.stderr),
        "error: 1 mistake in the configuration\n  nope.toml: cannot be read: No such file or \
         directory (os error 2); name the configuration file with --config\n"
    );
}

#[test]
fn a_closed_standard_output_is_no_reason_to_fail() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_understudy"))
        .args(["check", "--show", "--set", "nodes.0.host=a", "--set", "auth.query=SELECT 1"])
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!((text(&output.stderr).as_str(), output.status.code()), ("", Some(0)));
}

#[test]
fn no_output_of_the_program_shows_a_secret() {
    const SECRET: &str = "hunter2-planted";
    let good = format!("{GOOD}[monitor]\npassword = \"{SECRET}\"\n");
    let file = directory_with("");
    let variable = ("UNDERSTUDY__MONITOR__PASSWORD", SECRET);
    let set = format!("monitor.password={SECRET}");
    let set_wrong = format!("monitor.pasword={SECRET}");
    let set_bare = format!("monitor.password:{SECRET}");
    // A good configuration, and every way to get a line with a password wrong.
    let files = [
        good.clone(),
        format!("{GOOD}[monitor]\npasswrd = \"{SECRET}\"\n"),
        format!("{GOOD}[monitor]\npassword = [\"{SECRET}\"]\n"),
        format!("{GOOD}[monitor]\npassword = {{ a = \"{SECRET}\" }}\n"),
        format!("{GOOD}[monitor]\npassword = \"{SECRET}\\u0000\"\n"),
        format!("{GOOD}[monitor]\npassword = \"{SECRET}\n"),
        format!("{GOOD}[monitor]\npassword = {SECRET}\n"),
        format!("{GOOD}[monitor]\npassword = '{SECRET}' {SECRET}\n"),
        format!("{GOOD}[monitor]\npassword = \"\\{SECRET}\"\n"),
        format!("{GOOD}[monitor]\npassword {SECRET}\n"),
        format!("{GOOD}[monitor]\npassword = \"a\"\npassword = \"{SECRET}\"\n"),
        format!("{GOOD}[monitor]\npassword_file = \"\"\"\n{SECRET}\n"),
        format!("[[nodes]]\nhost = \"postgres://understudy:{SECRET}@db0\"\n"),
    ];
    for content in files {
        fs::write(file.path().join("understudy.toml"), &content).unwrap();
        for words in [
            &["check"][..],
            &["check", "--show"],
            &["check", "--set", &set],
            &["check", "--set", &set_wrong],
            &["check", "--set", &set_bare],
        ] {
            for environment in [&[][..], &[variable]] {
                let output = understudy(file.path(), words, environment);
                let all = text(&output.stdout) + &text(&output.stderr);
                assert!(!all.contains("hunter2"), "{words:?}\n{content}\n{all}");
            }
        }
    }
    let sources = Sources {
        set: vec!["nodes.0.host=a".to_owned(), set],
        environment: vec![(variable.0.into(), SECRET.into())],
        ..Default::default()
    };
    let loaded = conf::load(&sources).unwrap();
    assert_eq!(loaded.settings.monitor.password.as_ref().unwrap().reveal(), SECRET);
    assert!(!format!("{sources:?} {loaded:?} {}", loaded.effective).contains("hunter2"));

    let (mut reader, writer) = std::io::pipe().unwrap();
    let (log, guard) = log::to_sink(writer, log::Form::Json, slog::Level::Debug, 10);
    event!(log, Debug, Start, "{:?}", loaded.settings; "monitor" => ?loaded.settings.monitor);
    drop(guard);
    let mut line = String::new();
    reader.read_to_string(&mut line).unwrap();
    assert!(line.contains("<secret>") && !line.contains("hunter2"), "{line}");
}

//! Client programs as child processes: what they are given, and what they said.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

/// How a program ended and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

// === impl Ran ===

impl Ran {
    /// The standard output of a program that must have ended well.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{}", self.out);
        self.out
    }

    /// The standard output of a program that must have ended well and may have talked meanwhile.
    #[track_caller]
    pub fn chatty_ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }
}

/// A command without anything of the surroundings that could change what a client says or does.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    // psql tells who wrote it otherwise; tools look for a home.
    command.envs([("LC_ALL", "C.UTF-8"), ("TZ", "UTC"), ("HOME", "/nonexistent")]);
    command
}

/// Runs a program to its end with this standard input.
#[track_caller]
pub fn run(mut command: Command, input: &str) -> Ran {
    let program = command.get_program().to_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // A program that ends early leaves the rest unread.
        scope.spawn(move || drop(stdin.write_all(input.as_bytes())));
        child.wait_with_output().unwrap()
    });
    Ran {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a script of `tests/python` with these arguments.
#[track_caller]
pub fn python(script: &str, arguments: &[&str]) -> Ran {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let interpreter = root.join(".venv/bin/python");
    assert!(
        interpreter.exists(),
        "{} is missing: `make test` installs it, as does `scripts/setup test`",
        interpreter.display()
    );
    let mut python = command(&interpreter);
    python.args(["-B", "-W", "error"]).arg(root.join("tests/python").join(script)).args(arguments);
    run(python, "")
}

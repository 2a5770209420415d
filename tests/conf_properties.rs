//! Whatever is written, the answer is settings or mistakes, and never the password.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use understudy::conf::{self, Sources};

const SECRET: &str = "hunter2";

/// Pieces of configuration files, whole and broken.
fn file() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("[[nodes]]\nhost = \"a\"\n".to_owned()),
        Just("[monitor]\n".to_owned()),
        Just(format!("password = \"{SECRET}\"\n")),
        Just(format!("password = {SECRET}\n")),
        Just(format!("password = '{SECRET}'\n")),
        Just("nodes = ".to_owned()),
        Just("listen.addresses = ".to_owned()),
        Just("host = ".to_owned()),
        "[\\[\\]{}=,.\"'#\n\\\\-]{1,3}",
        "-?[0-9]{1,25}",
        "\\PC{0,4}",
        Just("[log]\nlevel = \"info\"\n".to_owned()),
        Just("1979-05-27\n".to_owned()),
        Just("[client_tls]\nsslmode = \"prefer\"\ncert_file = ".to_owned()),
        Just("[server_tls]\nca_file = \"/dev/null\"\n".to_owned()),
        Just("nan\n".to_owned()),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Names of keys, right and wrong.
fn path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        Just("nodes".to_owned()),
        Just("listen".to_owned()),
        Just("addresses".to_owned()),
        Just("monitor".to_owned()),
        Just("password".to_owned()),
        Just("host".to_owned()),
        Just("port".to_owned()),
        "[0-9+-]{1,3}",
        "[a-z\\[\\].]{0,3}",
    ];
    prop::collection::vec(segment, 0..4).prop_map(|segments| segments.join("."))
}

proptest! {
    #[test]
    fn nothing_written_breaks_the_reader_or_shows_the_password(
        file in file(),
        keys in prop::collection::vec((path(), "[a-z0-9,:]{0,5}"), 0..4),
    ) {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("u.toml");
        fs::write(&path, &file).unwrap();
        let variable = |key: &str| format!("UNDERSTUDY__{}", key.replace('.', "__").to_uppercase());
        let sources = Sources {
            file: Some(path),
            environment: keys.iter().map(|(key, value)| (variable(key).into(), value.into())).collect(),
            set: keys.iter().map(|(key, value)| format!("{key}={value}")).collect(),
            flags: Vec::new(),
        };
        let said = match conf::load(&sources) {
            Ok(loaded) => format!("{loaded:?}\n{}", loaded.effective),
            Err(mistakes) => format!("{mistakes}\n{mistakes:?}"),
        };
        // Three quotes may make the line of the password part of another value, which may be shown.
        let public = file.contains("\"\"\"") || file.contains("'''");
        prop_assert!(public || !said.contains(SECRET), "{said}");
        prop_assert!(!said.contains("bug in understudy"), "{said}");
    }
}

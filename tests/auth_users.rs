//! The users file: what it accepts, and that all its mistakes come at once without a secret in them.

use std::{fs, path::Path};

use proptest::prelude::*;
use understudy::auth::{StoredSecret, UserFile};

const PLANTED: &str = "swordfish-7731";

#[test]
fn reads_pgbouncers_format() {
    let text = "; a comment\n\
                # another\n\
                \n\
                \"joe\" \"open sesame\"\n\
                \t \"with \"\"quotes\"\"\"   \"a\"\"b\" ; why\r\n\
                \"md5\" \"md50123456789abcdef0123456789abcdef\"\n\
                \"Ünïcode name\"\"\" \"x\"";
    let file = UserFile::parse(text, Path::new("users.txt")).unwrap();
    assert_eq!(file.len(), 4);
    let clear = |name: &str| match file.find(name) {
        Some(StoredSecret::Clear(password)) => password.reveal().to_owned(),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(clear("joe"), "open sesame");
    assert_eq!(clear("with \"quotes\""), "a\"b");
    assert_eq!(clear("Ünïcode name\""), "x");
    assert!(matches!(file.find("md5"), Some(StoredSecret::Md5(_))));
    assert!(file.find("Joe").is_none(), "names are compared exactly");
    assert!(file.find("").is_none());
    let shown = format!("{file:?}");
    assert!(!shown.contains("open sesame") && !shown.contains("0123456789abcdef"), "{shown}");
    assert!(UserFile::parse("", Path::new("users.txt")).unwrap().is_empty());
}

#[test]
fn names_all_mistakes_at_once() {
    let text = format!(
        "joe {PLANTED}\n\
         \"joe\" {PLANTED}\n\
         \"joe\" \"{PLANTED}\n\
         \"joe\" \"{PLANTED}\"x\"\n\
         \"joe\"\n\
         \"joe\" \"\"\n\
         \"\" \"{PLANTED}\"\n\
         \"fine\" \"{PLANTED}\"\n\
         \"fine\" \"{PLANTED}\"\n\
         \"joe\" \"SCRAM-SHA-256$4096:{PLANTED}\"\n\
         \"joe\" \"{PLANTED}\0\"\n\
         \"joe\" \"{}\"\n\
         \"{}\" \"{PLANTED}\"\n\
         \"{}\" \"{PLANTED}\"\n",
        PLANTED.repeat(200),
        "é".repeat(32),
        "x".repeat(63)
    );
    let mistakes = UserFile::parse(&text, Path::new("/etc/users.txt")).unwrap_err();
    let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    let expected = [
        "/etc/users.txt:1: the name must be in double quotes; write \"name\" \"secret\" on each line",
        "/etc/users.txt:2: the secret must be in double quotes",
        "/etc/users.txt:3: the secret has no closing double quote; ",
        "/etc/users.txt:4: there is something after the secret; write \"name\" \"secret\", and double each",
        "/etc/users.txt:5: the secret must be in double quotes",
        "/etc/users.txt:6: the secret is empty",
        "/etc/users.txt:7: the name is empty",
        "/etc/users.txt:9: user \"fine\" is named already in line 8; keep one line for each user",
        "/etc/users.txt:10: the secret begins like a SCRAM secret but is incomplete",
        "/etc/users.txt:11: the secret contains a NUL byte",
        "/etc/users.txt:12: the secret is longer than 2048 bytes",
        "/etc/users.txt:13: the name has more than 63 bytes",
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told}");
        assert!(!told.contains(PLANTED), "{told}");
    }
    assert!(!format!("{mistakes:?}").contains(PLANTED));
}

#[test]
fn loads_from_disk_or_says_why_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users.txt");
    let told = UserFile::load(&path).unwrap_err()[0].to_string();
    assert!(told.contains("cannot be read") && told.contains("auth.users_file"), "{told}");

    fs::write(&path, "\"joe\" \"x\"\n").unwrap();
    assert_eq!(UserFile::load(&path).unwrap().len(), 1);

    fs::write(&path, b"\"joe\" \"x\"\n\"j\xff\" \"x\"\n").unwrap();
    let told = UserFile::load(&path).unwrap_err()[0].to_string();
    assert!(told.contains(":2: this line is not UTF-8"), "{told}");
}

proptest! {
    /// What is quoted by the rule is read back; any text at all is read without a panic.
    #[test]
    fn quoting_is_undone(name in "[^\0\r\n]{1,20}", secret in "[^\0\r\n]{1,20}", noise in ".{0,80}") {
        let quote = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let file = UserFile::parse(&format!("{} {}", quote(&name), quote(&secret)), Path::new("u")).unwrap();
        let Some(StoredSecret::Clear(password)) = file.find(&name) else { panic!("{file:?}") };
        prop_assert_eq!(password.reveal(), secret);
        let _ = UserFile::parse(&noise, Path::new("u"));
    }
}

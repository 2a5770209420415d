//! `understudy check` reads the rules and the users file: all mistakes at once, and doubts about what is allowed.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may panic as the test may")]

use std::{fs, process::Command};

#[test]
fn every_mistake_in_every_file_is_named_at_once() {
    let (code, out, err) = check(
        "host all all db0.example.com trust\nlocal all all trust\nhost all all all ldap ldapserver=x\n",
        "\"joe\" \"planted-4711\"\nplanted-4711\n",
        &[],
    );
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.starts_with("error: 4 mistakes in the configuration\n"), "{err}");
    for part in [
        "hba:1: found \"db0.example.com\" as address: names of hosts are not resolved; allowed: ",
        "hba:3: found \"ldap\" as method; allowed: scram-sha-256, ",
        "hba:3: found \"ldapserver=x\" behind the method: there are no options; leave it out",
        "users:2: the name must be in double quotes; write ",
    ] {
        assert!(err.contains(part), "{part} in {err}");
    }
    assert!(!err.contains("planted-4711"), "{err}");
}

#[test]
fn what_rules_probably_do_not_mean_is_said() {
    let no_secret =
        "nobody can log in: every rule of auth.hba_file that lets somebody in asks for a secret";
    let no_tls = "line 1 of auth.hba_file never matches: it is about encrypted connections";
    let strangers = "line 2 of auth.hba_file trusts addresses beyond this machine";
    for (hba, users, doubts) in [
        ("host all all all md5\n", "", vec![no_secret]),
        ("host all all all md5\n", "\"joe\" \"x\"\n", vec![]),
        ("local all all trust\nhost all all 127.0.0.1/32 trust\n", "", vec![]),
        ("hostssl all all all cert\nhost all all 10.0.0.0/8 trust\n", "", vec![no_tls, strangers]),
    ] {
        let (code, out, err) = check(hba, users, &[]);
        assert_eq!(code, 0, "{err}");
        assert!(out.starts_with("ok: 1 node"), "{out}");
        assert_eq!(err.lines().count(), doubts.len(), "{err}");
        for (line, doubt) in err.lines().zip(doubts) {
            assert!(line.starts_with(&format!("warning: {doubt}")), "{line}");
        }
    }
}

#[test]
fn the_limits_of_failed_logins_are_checked() {
    for (setting, allowed) in [
        ("auth.max_failures=-1", "allowed: a whole number from 0 to 1000000"),
        ("auth.failure_window=0s", "allowed: a duration from \"1ms\""),
        ("auth.lockout=forever", "allowed: a duration from \"1ms\""),
    ] {
        let (code, _, err) = check("local all all trust\n", "", &[setting]);
        assert_eq!(code, 2);
        assert!(err.contains(allowed), "{err}");
    }
    assert_eq!(check("local all all trust\n", "", &["auth.max_failures=0"]).0, 0);
}

/// Exit code, standard output and standard error.
fn check(hba: &str, users: &str, settings: &[&str]) -> (i32, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
    command.env_clear().current_dir(dir.path()).args(["check", "--set", "nodes.0.host=db0"]);
    for (name, key, text) in [("hba", "auth.hba_file", hba), ("users", "auth.users_file", users)] {
        fs::write(dir.path().join(name), text).unwrap();
        command.args(["--set", &format!("{key}={name}")]);
    }
    for setting in settings {
        command.args(["--set", setting]);
    }
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

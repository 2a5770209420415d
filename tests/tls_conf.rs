//! What is said about `[client_tls]` and `[server_tls]` that cannot be.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{fs, path::Path, process::Command};

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use understudy::conf::{
    self, Sources,
    settings::{ClientTlsMode, TlsMode},
};

const CREATE: &str = "create it, or make it readable for the user understudy runs as";
const CERTIFICATE: &str = "it must hold \"-----BEGIN CERTIFICATE-----\" and so on";
const KEY: &str = "it must hold \"-----BEGIN PRIVATE KEY-----\" and so on; a key with a passphrase cannot \
                   be used";

/// A directory with two pairs of a certificate and its key, `a` and `b`.
fn pairs() -> TempDir {
    let directory = TempDir::new().unwrap();
    for name in ["a", "b"] {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        fs::write(directory.path().join(format!("{name}.crt")), certificate.pem()).unwrap();
        fs::write(directory.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
    directory
}

/// What is said about a section, `@` standing for the directory.
fn said(directory: &Path, section: &str) -> Vec<String> {
    let path = directory.join("u.toml");
    let here = directory.display().to_string();
    let text = format!("[[nodes]]\nhost = \"a\"\n{}", section.replace('@', &here));
    fs::write(&path, text).unwrap();
    match conf::load(&Sources { file: Some(path), ..Sources::default() }) {
        Ok(loaded) => loaded.doubts.into_iter().filter(|doubt| doubt.contains("tls")).collect(),
        Err(mistakes) => {
            mistakes.0.iter().map(|mistake| mistake.to_string().replace(&here, "@")).collect()
        }
    }
}

#[test]
fn good_sections_are_read() {
    let directory = pairs();
    let pair = "cert_file = \"@/a.crt\"\nkey_file = \"@/a.key\"\n";
    let ca = "ca_file = \"@/b.crt\"\n";
    for mode in ["allow", "prefer", "require", "verify-ca", "verify-full"] {
        let section = format!("[client_tls]\nsslmode = \"{mode}\"\n{pair}{ca}");
        assert_eq!(said(directory.path(), &section), [""; 0], "{mode}");
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let section = format!("[server_tls]\nsslmode = \"{mode}\"\n{pair}{ca}");
        assert_eq!(said(directory.path(), &section), [""; 0], "{mode}");
    }
    // What is off is not looked at.
    for section in ["client_tls", "server_tls"] {
        let section = format!("[{section}]\nsslmode = \"disable\"\ncert_file = \"@/none\"\n");
        assert_eq!(said(directory.path(), &section), [""; 0], "{section}");
    }
    let defaults = Sources { set: vec!["nodes.0.host=a".into()], ..Sources::default() };
    let settings = conf::load(&defaults).unwrap().settings;
    assert_eq!(settings.client_tls.mode, ClientTlsMode::Disable);
    assert_eq!(settings.server_tls.mode, TlsMode::Prefer);
}

#[test]
fn every_mistake_comes_with_its_remedy() {
    let directory = pairs();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("nonsense", "nonsense\n");
    write("empty", "");
    write("cut", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    write("cut.key", "-----BEGIN PRIVATE KEY-----\nhunter2\n");
    write("false", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    write("false.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    write(
        "locked.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let missing = "cannot be read: No such file or directory (os error 2)";
    let of_another = "the key in @/b.key does not belong to the first certificate in @/a.crt; name the key the \
         certificate was made for; in a chain our own certificate comes first";
    let version = "it must be an X.509 certificate of version 3";
    let usable = "RSA keys from 2048 bits, ECDSA keys (P-256, P-384) and Ed25519 keys can";
    let (cert, key) = ("5:1: client_tls.cert_file", "6:1: client_tls.key_file");
    let table = [
        ("a.crt", "b.key", key, of_another.to_owned()),
        ("none", "a.key", cert, format!("@/none {missing}; {CREATE}")),
        ("a.crt", "none", key, format!("@/none {missing}; {CREATE}")),
        (".", "a.key", cert, format!("@ is not a file; {CREATE}")),
        ("empty", "a.key", cert, format!("there is no certificate in @/empty; {CERTIFICATE}")),
        (
            "nonsense",
            "a.key",
            cert,
            format!("there is no certificate in @/nonsense; {CERTIFICATE}"),
        ),
        ("cut", "a.key", cert, format!("@/cut is not PEM; {CERTIFICATE}")),
        ("a.key", "a.key", cert, format!("there is no certificate in @/a.key; {CERTIFICATE}")),
        (
            "false",
            "a.key",
            cert,
            format!("the first certificate in @/false cannot be used; {version}"),
        ),
        ("a.crt", "a.crt", key, format!("there is no key in @/a.crt; {KEY}")),
        ("a.crt", "cut.key", key, format!("@/cut.key is not PEM; {KEY}")),
        ("a.crt", "locked.key", key, format!("there is no key in @/locked.key; {KEY}")),
        ("a.crt", "false.key", key, format!("the key in @/false.key cannot be used; {usable}")),
    ];
    for (cert_file, key_file, place, expected) in table {
        let section = format!(
            "[client_tls]\nsslmode = \"prefer\"\ncert_file = \"@/{cert_file}\"\nkey_file = \"@/{key_file}\"\n"
        );
        let said = said(directory.path(), &section);
        assert_eq!(said, [format!("@/u.toml:{place}: {expected}")], "{section}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let directory = pairs();
    let keys = |section: &str| -> Vec<String> {
        let said = said(directory.path(), section);
        said.iter().map(|said| said.split(';').next().unwrap().to_owned()).collect()
    };
    for mode in ["allow", "prefer", "require"] {
        assert_eq!(
            keys(&format!("[client_tls]\nsslmode = \"{mode}\"\n")),
            [
                "@/u.toml: client_tls.cert_file: is missing",
                "@/u.toml: client_tls.key_file: is missing"
            ]
        );
    }
    assert_eq!(keys("[client_tls]\nsslmode = \"verify-ca\"\n").len(), 3);
    assert_eq!(
        keys("[server_tls]\nsslmode = \"verify-full\"\n"),
        ["@/u.toml: server_tls.ca_file: is missing"]
    );
    assert_eq!(
        keys("[server_tls]\ncert_file = \"@/a.crt\"\n"),
        ["@/u.toml: server_tls.key_file: is missing"]
    );
    assert_eq!(
        keys("[server_tls]\nkey_file = \"@/a.key\"\n"),
        ["@/u.toml: server_tls.cert_file: is missing"]
    );
    assert_eq!(
        said(directory.path(), "[server_tls]\nsslmode = \"allow\"\n"),
        ["@/u.toml:4:1: server_tls.sslmode: found \"allow\"; allowed: \"disable\", \"prefer\", \
          \"require\", \"verify-ca\" or \"verify-full\""]
    );
    assert_eq!(
        said(directory.path(), "[server_tls]\nca_file = \"@/a.crt\"\n"),
        [
            "server_tls.ca_file is not looked at while server_tls.sslmode is \"prefer\": no node has to \
          prove who it is"
        ]
    );
}

#[test]
fn check_reports_both_sections_at_once_and_nothing_of_a_key() {
    let directory = pairs();
    fs::write(directory.path().join("k"), "-----BEGIN PRIVATE KEY-----\nhunter2 hunter2\n")
        .unwrap();
    fs::write(
        directory.path().join("understudy.toml"),
        "[[nodes]]\nhost = \"a\"\n[client_tls]\nsslmode = \"require\"\ncert_file = \"a.crt\"\nkey_file = \"k\"\n\
         [server_tls]\nsslmode = \"verify-ca\"\nca_file = \"none\"\n",
    )
    .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_understudy"))
        .arg("check")
        .current_dir(directory.path())
        .env_clear()
        .output()
        .unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.starts_with("error: 2 mistakes in the configuration\n"), "{errors}");
    assert!(
        errors.contains("client_tls.key_file") && errors.contains("server_tls.ca_file"),
        "{errors}"
    );
    assert!(!errors.contains("hunter2"), "{errors}");
}

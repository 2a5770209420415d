//! Access rules: what is read, what is a mistake, which rule decides, and what the refused are told.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may panic as the test may")]

use std::{fs, net::IpAddr, path::Path};

use understudy::{
    auth::{
        Reason, Rules,
        rules::{Attempt, Encryption, Method, Origin},
    },
    conf::settings::AuthMethod,
};

const PLAIN: Encryption<'_> = Encryption::None;
const TLS: Encryption<'_> = Encryption::Tls { certificate_name: None };

#[test]
fn the_first_line_that_matches_decides() {
    let rules = read(
        "# TYPE DATABASE USER ADDRESS METHOD\n\
         local all postgres trust\n\
         local sameuser all scram-sha-256   # one's own\n\
         host replication replicator 10.0.0.0/8 scram-sha-256\n\
         hostnossl all all 10.1.0.0/16 reject\n\
         host app,\"other app\" joe,\"jim\" 10.0.0.0 255.0.0.0 md5\n\
         hostssl all all 192.0.2.7/32 cert\n\
         hostssl all all 2001:db8::/32 password\n\
         host \"all\" \"sameuser\" all trust\n\
         host db \\\n  all ::ffff:198.51.100.0/120 scram-sha-256\n\
         host all all ::1/128 trust\n\
         host all last 0.0.0.0/0 trust\n",
    );
    let host = |address: &str| Origin::Address(address.parse::<IpAddr>().unwrap());
    for (origin, encryption, user, database, line) in [
        (Origin::Local, PLAIN, "postgres", "app", Some(2)),
        (Origin::Local, PLAIN, "joe", "joe", Some(3)),
        (Origin::Local, PLAIN, "joe", "app", None),
        (host("10.1.2.3"), PLAIN, "joe", "app", Some(5)),
        (host("10.1.2.3"), TLS, "joe", "app", Some(6)),
        (host("10.2.2.3"), PLAIN, "joe", "app", Some(6)),
        (host("10.2.2.3"), PLAIN, "jim", "other app", Some(6)),
        (host("10.2.2.3"), PLAIN, "Jim", "other app", None),
        (host("10.2.2.3"), PLAIN, "jim", "other", None),
        (host("11.2.2.3"), PLAIN, "joe", "app", None),
        (host("192.0.2.7"), TLS, "joe", "app", Some(7)),
        (host("192.0.2.7"), PLAIN, "joe", "app", None),
        (host("192.0.2.8"), TLS, "joe", "app", None),
        (host("2001:db8:1::1"), TLS, "joe", "app", Some(8)),
        (host("2001:db9::1"), TLS, "joe", "app", None),
        (host("203.0.113.1"), PLAIN, "sameuser", "all", Some(9)),
        (host("203.0.113.1"), PLAIN, "joe", "joe", None),
        (host("198.51.100.9"), PLAIN, "joe", "db", Some(10)),
        (host("::1"), PLAIN, "joe", "app", Some(12)),
        (host("203.0.113.1"), PLAIN, "last", "app", Some(13)),
        (host("2001:db9::1"), PLAIN, "last", "app", None),
    ] {
        let attempt = Attempt { origin, encryption, user, database, physical_replication: false };
        let decided = rules.decide(&attempt).map(|rule| rule.line());
        assert_eq!(decided, line, "{attempt:?}");
    }
}

#[test]
fn only_the_keyword_speaks_of_replication() {
    let rules = read(
        "host all all all trust\n\
         host \"replication\" all all reject\n\
         host replication joe all md5\n",
    );
    let decided = |user, database, physical_replication| {
        let attempt = Attempt { user, database, physical_replication, ..stranger() };
        rules.decide(&attempt).map(|rule| (rule.line(), rule.method()))
    };
    let md5 = Method::Ask(AuthMethod::Md5);
    assert_eq!(decided("joe", "joe", true), Some((3, md5)));
    assert_eq!(decided("jim", "replication", true), None);
    let trust = Method::Ask(AuthMethod::Trust);
    assert_eq!(decided("joe", "replication", false), Some((1, trust)));
}

#[test]
fn the_refused_are_told_what_postgresql_tells_them() {
    let rules = read(
        "local all all reject\n\
         hostssl all all 10.0.0.0/8 reject\n\
         host replication all 10.0.0.0/8 reject\n",
    );
    let ten = Origin::Address("10.0.0.1".parse().unwrap());
    for (attempt, told, reason) in [
        (
            stranger(),
            "no pg_hba.conf entry for host \"192.0.2.1\", user \"joe\", database \"app\", no encryption",
            Reason::NoRule,
        ),
        (
            Attempt { encryption: TLS, physical_replication: true, ..stranger() },
            "no pg_hba.conf entry for replication connection from host \"192.0.2.1\", user \"joe\", SSL encryption",
            Reason::NoRule,
        ),
        (
            Attempt { origin: Origin::Local, ..stranger() },
            "pg_hba.conf rejects connection for host \"[local]\", user \"joe\", database \"app\", no encryption",
            Reason::Rejected { line: 1 },
        ),
        (
            Attempt { origin: ten, encryption: TLS, ..stranger() },
            "pg_hba.conf rejects connection for host \"10.0.0.1\", user \"joe\", database \"app\", SSL encryption",
            Reason::Rejected { line: 2 },
        ),
        (
            Attempt { origin: ten, physical_replication: true, ..stranger() },
            "pg_hba.conf rejects replication connection for host \"10.0.0.1\", user \"joe\", no encryption",
            Reason::Rejected { line: 3 },
        ),
    ] {
        let refusal = rules.admit(&attempt).unwrap_err();
        assert_eq!((refusal.sqlstate.0, &*refusal.message), ("28000", told));
        assert_eq!(refusal.reason, reason);
        assert!(!refusal.is_failed_attempt());
    }
}

#[test]
fn a_certificate_lets_in_its_own_user_alone() {
    let rules = read("hostssl all all all cert\n");
    let with = |certificate_name| {
        let encryption = Encryption::Tls { certificate_name };
        rules.admit(&Attempt { encryption, ..stranger() })
    };
    assert_eq!(with(Some("joe")), Ok(AuthMethod::Trust));
    for (name, message, reason) in [
        (None, "connection requires a valid client certificate", Reason::NoCertificate { line: 1 }),
        (
            Some("Joe"),
            "certificate authentication failed for user \"joe\"",
            Reason::OtherCertificate { line: 1 },
        ),
        (
            Some(""),
            "certificate authentication failed for user \"joe\"",
            Reason::OtherCertificate { line: 1 },
        ),
    ] {
        let refusal = with(name).unwrap_err();
        assert_eq!((refusal.sqlstate.0, &*refusal.message), ("28000", message));
        assert_eq!(refusal.reason, reason);
    }
    assert_eq!(rules.admit(&stranger()).unwrap_err().reason, Reason::NoRule, "no TLS, no rule");
}

#[test]
fn without_a_file_one_method_holds_for_everybody() {
    let rules = Rules::for_everybody(AuthMethod::Md5);
    for origin in [Origin::Local, stranger().origin] {
        for encryption in [PLAIN, TLS] {
            for physical_replication in [false, true] {
                let attempt = Attempt { origin, encryption, physical_replication, ..stranger() };
                assert_eq!(rules.admit(&attempt), Ok(AuthMethod::Md5));
            }
        }
    }
}

#[test]
fn names_all_mistakes_at_once() {
    let types = "allowed: local, host, hostssl or hostnossl";
    let shape =
        "write TYPE DATABASE USER [ADDRESS] METHOD, such as: host all all 10.0.0.0/8 scram-sha-256";
    let methods =
        "allowed: scram-sha-256, md5, trust, reject, and in hostssl rules password and cert";
    let addresses =
        "allowed: all, a network such as 10.0.0.0/8 or 2001:db8::/32, or an address and its mask";
    let names =
        "allowed: names, in double quotes where they are keywords, and lists of them with commas";
    let long = "x".repeat(64);
    let cases = [
        ("hosts all all all trust", vec![format!("found \"hosts\" as connection type; {types}")]),
        (
            "hostgssenc all all all trust",
            vec![format!("found \"hostgssenc\": there is no GSSAPI encryption; {types}")],
        ),
        (
            "include other.conf",
            vec![
                "found \"include\": other files are not read; write its rules or names here".into(),
            ],
        ),
        ("host", vec![
            format!("the line ends before the database; {shape}"),
            format!("the line ends before the user; {shape}"),
            format!("the line ends before the address; {shape}"),
        ]),
        ("local all all", vec![format!("the line ends before the method; {shape}")]),
        ("local all all 10.0.0.0/8 trust", vec![
            format!("found \"10.0.0.0/8\" as method; {methods}"),
            "found \"trust\" behind the method: there are no options; leave it out".into(),
        ]),
        ("host samerole,all +admins all peer", vec![
            format!("found \"samerole\": groups are known to the nodes alone; {names}"),
            format!("found \"+admins\": groups are known to the nodes alone; {names}"),
            format!("found \"peer\" as method; {methods}"),
        ]),
        ("host /^a @users all trust", vec![
            format!("found \"/^a\": regular expressions are not read; {names}"),
            "found \"@users\": other files are not read; write its rules or names here".into(),
        ]),
        ("host \"\" all all trust", vec![format!("found an empty name; {names}")]),
        (&*format!("host {long} all all trust"), vec![format!(
            "found \"{}\"…, which has more than 63 bytes; write the name as PostgreSQL has cut it: none is longer",
            &long[..60]
        )]),
        (
            "host all all db0.example.com trust",
            vec![format!(
                "found \"db0.example.com\" as address: names of hosts are not resolved; {addresses}"
            )],
        ),
        (
            "host all all .example.com trust",
            vec![format!(
                "found \".example.com\" as address: names of hosts are not resolved; {addresses}"
            )],
        ),
        (
            "host all all samenet trust",
            vec![format!(
                "found \"samenet\": addresses of this machine are not looked up, they may move; {addresses}"
            )],
        ),
        (
            "host all all 10.0.0.0/33 trust",
            vec![format!("found \"10.0.0.0/33\" as address; {addresses}")],
        ),
        ("host all all 10.0.0.300 trust", vec![format!(
            "found \"10.0.0.300\" as address; {addresses}"
        )]),
        ("host all all 10.0.0.1 255.0.255.0 trust", vec![
            "found \"255.0.255.0\" as mask of 10.0.0.1; allowed: ones and then zeros, of the same kind as the \
             address, such as 255.255.255.0; or write address/bits"
                .into(),
        ]),
        ("host all all 10.0.0.1", vec![format!("10.0.0.1 has no mask; {addresses}")]),
        (
            "host,local all all all trust",
            vec![
                "found 2 values as connection type; write one, and a line for each of the others"
                    .into(),
            ],
        ),
        (
            "host all all all trust,md5",
            vec!["found 2 values as method; write one, and a line for each of the others".into()],
        ),
        ("host all all all scram-sha-256 clientcert=verify-full map=x", vec![
            "found \"clientcert=verify-full\" behind the method: there are no options; leave it out".into(),
        ]),
        ("host all all all password", vec![
            "found password: without TLS it would cross the network readable; write scram-sha-256, or \
             hostssl as the connection type"
                .into(),
        ]),
        ("local all all password", vec![
            "found password: without TLS it would cross the network readable; write scram-sha-256, or \
             hostssl as the connection type"
                .into(),
        ]),
        (
            "hostnossl all all all cert",
            vec![
                "found cert: only TLS has certificates; write hostssl as the connection type"
                    .into(),
            ],
        ),
        (
            "host \"all all all trust",
            vec!["a double quote is not closed; close it in the same line".into()],
        ),
        ("host a\0b all all trust", vec![format!("there is a NUL byte; {shape}")]),
    ];
    let text: Vec<&str> = cases.iter().map(|(line, _)| *line).collect();
    let mistakes = Rules::parse(&text.join("\n"), Path::new("/etc/hba")).unwrap_err();
    let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    let expected: Vec<String> = (1..)
        .zip(&cases)
        .flat_map(|(line, (_, told))| {
            told.iter().map(move |told| format!("/etc/hba:{line}: {told}"))
        })
        .collect();
    assert_eq!(told, expected);

    let mistakes = Rules::parse("# nothing\n\n", Path::new("/etc/hba")).unwrap_err();
    assert_eq!(
        mistakes[0].to_string(),
        format!("/etc/hba: there is no rule: nobody could log in; {shape}")
    );
}

#[test]
fn loads_from_disk_or_says_why_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hba");
    let told = Rules::load(&path).unwrap_err()[0].to_string();
    assert!(told.contains("auth.hba_file cannot be read: No such file"), "{told}");
    fs::write(&path, b"local all all trust\nlocal \xff all trust\n").unwrap();
    let told = Rules::load(&path).unwrap_err()[0].to_string();
    assert!(told.contains("hba:2: this line is not UTF-8"), "{told}");
    fs::write(&path, "local all all trust\n").unwrap();
    assert_eq!(Rules::load(&path).unwrap(), read("local all all trust"));
}

#[test]
fn what_lets_strangers_in_is_known() {
    for (text, line) in [
        ("local all all trust", None),
        ("host all all 127.0.0.1/32 trust\nhost all all ::1/128 trust", None),
        ("host all all 127.0.0.0/8 trust", None),
        ("host all all all md5\nhost all all 127.0.0.0/7 trust", Some(2)),
        ("host all all all trust", Some(1)),
    ] {
        assert_eq!(read(text).trusts_strangers(), line, "{text}");
    }
    assert!(read("hostssl all all all cert").let_in_without_secret());
    assert!(!read("host all all all md5\nlocal all all reject").let_in_without_secret());
}

// === helpers ===

fn read(text: &str) -> Rules {
    Rules::parse(text, Path::new("hba")).unwrap()
}

fn stranger() -> Attempt<'static> {
    Attempt {
        origin: Origin::Address("192.0.2.1".parse().unwrap()),
        encryption: PLAIN,
        user: "joe",
        database: "app",
        physical_replication: false,
    }
}

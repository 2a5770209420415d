//! Mistakes in a configuration, and what is said about them.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::fs;

use tempfile::TempDir;

use understudy::conf::{self, Flag, Sources};

/// What is said about a file that begins with a good node on its first two lines.
fn said(file: &str) -> Vec<String> {
    said_of_all(&format!("[[nodes]]\nhost = \"a\"\n{file}"), &[], &[])
}

fn said_of_all(file: &str, environment: &[(&str, &str)], set: &[&str]) -> Vec<String> {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("u.toml");
    fs::write(&path, file).unwrap();
    let sources = Sources {
        file: Some(path),
        environment: environment.iter().map(|(n, v)| (n.into(), v.into())).collect(),
        set: set.iter().map(ToString::to_string).collect(),
        flags: Vec::new(),
    };
    let here = format!("{}/", directory.path().display());
    match conf::load(&sources) {
        Ok(_) => Vec::new(),
        Err(mistakes) => {
            mistakes.0.iter().map(|mistake| mistake.to_string().replace(&here, "")).collect()
        }
    }
}

#[track_caller]
fn assert_said(table: &[(&str, &str)]) {
    for (file, expected) in table {
        assert_eq!(said(file), [*expected], "{file}");
    }
}

#[test]
fn unknown_keys_come_with_the_nearest_known_one() {
    assert_said(&[
        ("[lisen]", "u.toml:3:2: lisen: unknown key; did you mean \"listen\"?"),
        ("[log]\nlevl = 3", "u.toml:4:1: log.levl: unknown key; did you mean \"log.level\"?"),
        (
            "[pool]\n max_idel = 3",
            "u.toml:4:2: pool.max_idel: unknown key; did you mean \"pool.max_idle\"?",
        ),
        ("prot = 5432", "u.toml:3:1: nodes.0.prot: unknown key; did you mean \"nodes.0.port\"?"),
        (
            "role = \"primary\"",
            "u.toml:3:1: nodes.0.role: unknown key; known here: host, port, weight",
        ),
        (
            "[health_check]\nhold_timeout = \"1s\"",
            "u.toml:4:1: health_check.hold_timeout: unknown key; did you mean \"failover.hold_timeout\"?",
        ),
        (
            "[failover]\npromote = \"builtin\"",
            "u.toml:4:1: failover.promote: unknown key; known here: hold_timeout",
        ),
    ]);
}

#[test]
fn a_wrong_kind_of_value_is_named() {
    let duration = "allowed: a duration from \"1ms\" to \"365days\", such as \"30s\"";
    assert_said(&[
        (
            "[listen]\nbacklog = \"many\"",
            "u.toml:4:1: listen.backlog: found \"many\"; allowed: a whole number from 1 to 65535",
        ),
        (
            "[listen]\nbacklog = 1.5",
            "u.toml:4:1: listen.backlog: found 1.5; allowed: a whole number from 1 to 65535",
        ),
        (
            "[listen]\nbacklog = 99999999999999999999999",
            "u.toml:4:1: listen.backlog: found 99999999999999999999999; allowed: a whole number from 1 to 65535",
        ),
        (
            "[listen]\nlogin_timeout = 60",
            &format!("u.toml:4:1: listen.login_timeout: found 60; {duration}"),
        ),
        (
            "[listen]\nlogin_timeout = \"soon\"",
            &format!("u.toml:4:1: listen.login_timeout: found \"soon\"; {duration}"),
        ),
        (
            "[listen]\nlogin_timeout = \"0s\"",
            &format!("u.toml:4:1: listen.login_timeout: found \"0s\"; {duration}"),
        ),
        (
            "[listen]\nlogin_timeout = \"9000years\"",
            &format!("u.toml:4:1: listen.login_timeout: found \"9000years\"; {duration}"),
        ),
        (
            "[listen]\nunix_socket_mode = \"0778\"",
            "u.toml:4:1: listen.unix_socket_mode: found \"0778\"; allowed: permission bits in quotes from \"0000\" to \"0777\"",
        ),
        (
            "[log]\nlevel = \"loud\"",
            "u.toml:4:1: log.level: found \"loud\"; allowed: \"error\", \"warning\", \"info\", \"debug\" or \"trace\"",
        ),
        (
            "[log]\nlevel = true",
            "u.toml:4:1: log.level: found a boolean; allowed: \"error\", \"warning\", \"info\", \"debug\" or \"trace\"",
        ),
        (
            "[pool]\nmode = \"transaction\"",
            "u.toml:4:1: pool.mode: found \"transaction\"; allowed: \"session\"",
        ),
        (
            "[pool]\nreset_query = \"\"",
            "u.toml:4:1: pool.reset_query: found \"\"; allowed: a text that is not empty, without NUL",
        ),
        (
            "[monitor]\nuser = {}",
            "u.toml:4:1: monitor.user: found a table; allowed: a single value",
        ),
        (
            "[monitor]\nuser = [\"a\"]",
            "u.toml:4:1: monitor.user: found a list; allowed: a text that is not empty, without NUL",
        ),
        (
            "[monitor]\ndatabase = 1979-05-27",
            "u.toml:4:1: monitor.database: found nothing, or a date; allowed: a text that is not empty, without NUL",
        ),
        (
            "[process]\nworkers = 0",
            "u.toml:4:1: process.workers: found 0; allowed: \"auto\" or a whole number from 1 to 1024",
        ),
        (
            "weight = -1",
            "u.toml:3:1: nodes.0.weight: found -1; allowed: a number from 0 to 1000000",
        ),
        (
            "weight = nan",
            "u.toml:3:1: nodes.0.weight: found NaN; allowed: a number from 0 to 1000000",
        ),
        ("port = 0", "u.toml:3:1: nodes.0.port: found 0; allowed: a whole number from 1 to 65535"),
    ]);
    let section = said_of_all("log = 3\nnodes = [{ host = \"a\" }]", &[], &[]);
    assert_eq!(
        section,
        [
            "u.toml:1:1: log: found a number; allowed: a section, its head [log] on a line of its own"
        ]
    );
}

#[test]
fn addresses_are_checked() {
    let allowed = "allowed: \"address:port\" with an IP address or \"*\", such as \
                   \"127.0.0.1:6432\", \"[::1]:6432\" or \"*:6432\"";
    for address in ["localhost:6432", "127.0.0.1", ":6432", "::1:6432", "*", "*:x", "1.2.3.4:70000"]
    {
        assert_eq!(
            said(&format!("[listen]\naddresses = [{address:?}]")),
            [format!("u.toml:4:14: listen.addresses.0: found {address:?}; {allowed}")]
        );
    }
    assert_said(&[
        (
            "[listen]\naddresses = []",
            "u.toml:4:1: listen.addresses: there is nowhere to listen; add an address such as \"127.0.0.1:6432\", or set listen.unix_socket_dir",
        ),
        (
            "[listen]\naddresses = \"127.0.0.1:6432\"",
            "u.toml:4:1: listen.addresses: found a text; allowed: a list, in square brackets",
        ),
        (
            "[listen]\naddresses = [\"*:1\", \"0.0.0.0:1\"]",
            "u.toml:4:21: listen.addresses.1: 0.0.0.0:1 is in the list already; name every address once",
        ),
    ]);
}

#[test]
fn nodes_are_checked() {
    let host = "allowed: a host name, an IP address, or the directory of a unix socket";
    let table: &[(&str, &str)] = &[
        (
            "nodes = []",
            "u.toml:1:1: nodes: there is no node; add a [[nodes]] block with a host for every PostgreSQL node",
        ),
        (
            "",
            "u.toml: nodes: there is no node; add a [[nodes]] block with a host for every PostgreSQL node",
        ),
        (
            "[nodes]\nhost = \"a\"",
            "u.toml:1:2: nodes: found a table; allowed: one [[nodes]] block (two brackets) for every node",
        ),
        (
            "nodes = [\"a\"]",
            "u.toml:1:10: nodes.0: found a text; allowed: a table such as { host = \"db0.example.com\", port = 5432 }",
        ),
        (
            "[[nodes]]\nport = 1",
            "u.toml:1:1: nodes.0.host: is missing; write host = \"db0.example.com\"",
        ),
        ("[[nodes]]\nhost = \"\"", &format!("u.toml:2:1: nodes.0.host: found \"\"; {host}")),
        ("[[nodes]]\nhost = \"a b\"", &format!("u.toml:2:1: nodes.0.host: found \"a b\"; {host}")),
        (
            "[[nodes]]\nhost = \"db0:5433\"",
            "u.toml:2:1: nodes.0.host: found \"db0:5433\"; allowed: the host alone: host = \"db0\", port = 5433",
        ),
        (
            "[[nodes]]\nhost = \"a\"\n[[nodes]]\nhost = \"A\"\nport = 5432",
            "u.toml:4:1: nodes.1.host: A:5432 is node 0 already; name every node once",
        ),
    ];
    for (file, expected) in table {
        let said = said_of_all(file, &[], &[]);
        assert!(said.contains(&(*expected).to_owned()), "{file}: {said:#?}");
    }
    for good in ["::1", "10.0.0.1", "db_0.example.com", "/run/postgresql", "bücher.example"] {
        assert_eq!(
            said_of_all(&format!("[[nodes]]\nhost = {good:?}"), &[], &[]),
            [""; 0],
            "{good}"
        );
    }
}

#[test]
fn elements_of_lists_are_numbered() {
    let node = "[[nodes]]\nhost = \"a\"";
    for segment in ["first", "+1", "-1", "128", "4000000000", ""] {
        assert_eq!(
            said_of_all(node, &[], &[&format!("nodes.{segment}.host=b")]),
            [format!(
                "flag --set: nodes.{segment}: unknown key; elements of a list are numbered from 0 to 127"
            )]
        );
    }
    let gap = said_of_all(node, &[], &["nodes.2.host=b"]);
    assert_eq!(gap, ["u.toml: nodes.1.host: is missing; write host = \"db0.example.com\""]);
    let many: String =
        (0..129).map(|number| format!("[[nodes]]\nhost = \"n{number}\"\n")).collect();
    let said = said_of_all(&many, &[], &[]);
    assert_eq!(said, ["u.toml:1:3: nodes: found 129 elements; allowed: at most 128"]);
}

#[test]
fn rules_between_keys_are_checked() {
    assert_said(&[
        (
            "[health_check]\nconnect_timeout = \"4s\"",
            "u.toml:4:1: health_check.connect_timeout: 4s is longer than the whole check may take; allowed: at most health_check.check_timeout, 3s",
        ),
        (
            "[health_check]\nevidence_max_age = \"1s\"",
            "u.toml:4:1: health_check.evidence_max_age: 1s is over before the next check; allowed: more than health_check.period, 1s",
        ),
    ]);
}

#[test]
fn files_that_are_named_have_to_be_there() {
    let create = "create it, or make it readable for the user understudy runs as";
    assert_said(&[
        (
            "[auth]\nusers_file = \"/nope/users\"",
            &format!(
                "u.toml:4:1: auth.users_file: /nope/users cannot be read: No such file or directory (os error 2); {create}"
            ),
        ),
        (
            "[auth]\nhba_file = \"/nope/hba\"",
            &format!(
                "u.toml:4:1: auth.hba_file: /nope/hba cannot be read: No such file or directory (os error 2); {create}"
            ),
        ),
        (
            "[auth]\nusers_file = \"/\"",
            &format!("u.toml:4:1: auth.users_file: / is not a file; {create}"),
        ),
        (
            "[monitor]\npassword_file = \"/nope/pw\"",
            &format!(
                "u.toml:4:1: monitor.password_file: /nope/pw cannot be read: No such file or directory (os error 2); {create}"
            ),
        ),
        (
            "[monitor]\npassword_file = \"/dev/null\"",
            &format!("u.toml:4:1: monitor.password_file: /dev/null is not a file; {create}"),
        ),
        (
            "[listen]\nunix_socket_dir = \"/nope\"",
            "u.toml:4:1: listen.unix_socket_dir: /nope is not a directory; create it, or name another one",
        ),
    ]);
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("pw");
    for (content, problem) in [("\nhunter2", "is empty"), ("hun\0ter2", "is not text")] {
        fs::write(&path, content).unwrap();
        let path = path.display();
        assert_eq!(
            said(&format!("[monitor]\npassword_file = \"{path}\"")),
            [format!(
                "u.toml:4:1: monitor.password_file: the first line of {path} {problem}; write the password there"
            )]
        );
    }
    fs::write(&path, "x\n").unwrap();
    assert_eq!(
        said(&format!("[monitor]\npassword = \"x\"\npassword_file = \"{}\"", path.display())),
        ["u.toml:5:1: monitor.password_file: monitor.password is set as well; keep one of the two"]
    );
}

#[test]
fn all_mistakes_of_all_layers_come_at_once_and_in_order() {
    let file = "[log]\nlevl = 1\nqueue = 0\n[[nodes]]\n[pool]\nmax_idle = -1\n";
    let environment = [
        ("UNDERSTUDY__LOG__LEVEL", "loud"),
        ("UNDERSTUDY__LOGG__LEVEL", "info"),
        ("UNDERSTUDY__NODES", "a,b"),
        ("UNDERSTUDY__NODES__4000000000__HOST", "a"),
    ];
    assert_eq!(
        said_of_all(file, &environment, &["nonsense", "auth.method=none", "pool=1"]),
        [
            "u.toml:2:1: log.levl: unknown key; did you mean \"log.level\"?",
            "u.toml:3:1: log.queue: found 0; allowed: a whole number from 1 to 1000000",
            "u.toml:4:1: nodes.0.host: is missing; write host = \"db0.example.com\"",
            "u.toml:6:1: pool.max_idle: found -1; allowed: a whole number from 0 to 100000",
            "environment UNDERSTUDY__LOG__LEVEL: log.level: found \"loud\"; allowed: \"error\", \"warning\", \"info\", \"debug\" or \"trace\"",
            "environment UNDERSTUDY__LOGG__LEVEL: logg: unknown key; did you mean \"log\"?",
            "environment UNDERSTUDY__NODES: nodes: not a single value; name an element and a key, such as nodes.0.host",
            "environment UNDERSTUDY__NODES__4000000000__HOST: nodes.4000000000: unknown key; elements of a list are numbered from 0 to 127",
            "flag --set: found no \"=\"; allowed: section.key=value, such as --set log.level=debug",
            "flag --set: auth.method: found \"none\"; allowed: \"scram-sha-256\", \"md5\" or \"trust\"",
            "flag --set: pool: not a single value; name a key inside it",
        ]
    );
    let flag = Flag { name: "--log-level", key: "log.level", value: "x".to_owned() };
    let set = vec!["nodes.0.host=a".to_owned()];
    let sources = Sources { flags: vec![flag], set, ..Sources::default() };
    assert_eq!(
        conf::load(&sources).unwrap_err().to_string(),
        "1 mistake in the configuration\n  flag --log-level: log.level: found \"x\"; allowed: \
         \"error\", \"warning\", \"info\", \"debug\" or \"trace\"\n"
    );
}

#[test]
fn a_text_that_is_not_toml_is_located() {
    let write = "write key = value, text in quotes: host = \"db0.example.com\"";
    assert_said(&[
        (
            "[log]\nlevel = debug",
            &format!(
                "u.toml:4:9: not TOML: string values must be quoted, expected literal string; {write}"
            ),
        ),
        ("[log", &format!("u.toml:3:5: not TOML: unclosed table, expected `]`; {write}")),
        ("[log]\n[log]", "u.toml:4:2: not TOML: duplicate key; keep one of the two"),
    ]);
    assert_eq!(
        said("[log]\nlevel = debug\nqueue 3\n").len(),
        2,
        "every wrong line is reported, and nothing that only follows from them"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_the_mistake() {
    let sources = Sources { file: Some("/nope/u.toml".into()), ..Sources::default() };
    assert_eq!(
        conf::load(&sources).unwrap_err().to_string(),
        "1 mistake in the configuration\n  /nope/u.toml: cannot be read: No such file or directory \
         (os error 2); name the configuration file with --config\n"
    );
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("u.toml");
    fs::write(&path, b"[log]\n# caf\xe9\n").unwrap();
    let sources = Sources { file: Some(path.clone()), ..Sources::default() };
    assert_eq!(
        conf::load(&sources).unwrap_err().0[0].to_string(),
        format!("{}:2: not UTF-8; save the file as UTF-8", path.display())
    );
}

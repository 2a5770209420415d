//! Logins from end to end, against real nodes: who gets in and who does not, what the refused are told and
//! what the log learns, and that no secret shows anywhere.
#![cfg(feature = "real-nodes")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod support;

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use postgres_protocol::authentication::{
    md5_hash,
    sasl::{ChannelBinding, ScramSha256},
};
use support::{
    Proxy, ProxySpec, Stage, await_condition,
    proxy::file,
    tls::{Authority, say, socket, tls_over},
    wire::{SSL, V3_0, startup, tagged, untagged},
};
use understudy::{
    auth::scram::{ScramKeys, ScramVerifier},
    lab::{Cluster, ClusterSpec, Login},
};

const PASSWORD: &str = "correct horse 4711";
const WRONG: &str = "wrong horse 4711";

/// What a client is told, as SQLSTATE and message, or who it is.
type Outcome = Result<String, (String, String)>;

// === the matrix ===

/// The methods of the node, one role each with every kind of secret at us. The secret in the node is an md5
/// hash for md5 and a SCRAM one otherwise.
const NODE_METHODS: [&str; 5] = ["trust", "md5", "scram", "password", "reject"];

/// Client method, what we store, and for each of `NODE_METHODS`: `+` is let in; `P` is not (28P01), for we find
/// the password wrong; `C` is not (28000), for we have nothing the node would take; `R` is not (28000), for the
/// node says so. `query` has what the node stores; `salt` is a verifier of the same password with a salt that no
/// node has.
const TABLE: [(&str, &str, &str); 30] = [
    ("trust", "none", "+CCCR"),
    ("trust", "clear", "+++CR"),
    ("trust", "md5", "++CCR"),
    ("trust", "scram", "+CCCR"),
    ("trust", "salt", "+CCCR"),
    ("trust", "query", "++CCR"),
    ("md5", "none", "PPPPP"),
    ("md5", "clear", "+++CR"),
    ("md5", "md5", "++CCR"),
    ("md5", "scram", "+C+CR"),
    ("md5", "salt", "+CCCR"),
    ("md5", "query", "+++CR"),
    ("scram-sha-256", "none", "PPPPP"),
    ("scram-sha-256", "clear", "+++CR"),
    ("scram-sha-256", "md5", "PPPPP"),
    ("scram-sha-256", "scram", "+C+CR"),
    ("scram-sha-256", "salt", "+CCCR"),
    ("scram-sha-256", "query", "+P+CR"),
    ("password", "none", "PPPPP"),
    ("password", "clear", "+++CR"),
    ("password", "md5", "+++CR"),
    ("password", "scram", "+++CR"),
    ("password", "salt", "+++CR"),
    ("password", "query", "+++CR"),
    ("cert", "none", "+CCCR"),
    ("cert", "clear", "+++CR"),
    ("cert", "md5", "++CCR"),
    ("cert", "scram", "+CCCR"),
    ("cert", "salt", "+CCCR"),
    ("cert", "query", "++CCR"),
];

#[test]
fn exactly_the_listed_pairs_log_in_and_no_secret_shows() {
    let authority = Authority::new();
    authority.server("proxy", &["127.0.0.1"]);
    let cluster = Cluster::create(ClusterSpec::with_nodes(1)).unwrap();
    let (users, mut planted) = people(&cluster);
    planted.push(cluster.password(Login::Understudy).unwrap().reveal().to_owned());
    let mut said = String::new();
    for method in ["trust", "md5", "scram-sha-256", "password", "cert"] {
        let dir = tempfile::tempdir().unwrap();
        let tls = matches!(method, "password" | "cert");
        let kind = if tls { "hostssl" } else { "host" };
        let hba = file(dir.path(), "hba", &format!("{kind} all all all {method}\n"));
        let users = file(dir.path(), "users", &users);
        let settings = [
            format!("auth.hba_file={}", hba.display()),
            format!("auth.users_file={}", users.display()),
            "auth.max_failures=0".to_owned(),
            format!("auth.query={QUERY}"),
            "client_tls.sslmode=prefer".to_owned(),
            format!("client_tls.cert_file={}", authority.file("proxy.crt")),
            format!("client_tls.key_file={}", authority.file("proxy.key")),
            format!("client_tls.ca_file={}", authority.file("ca.crt")),
        ];
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let proxy = Proxy::start(&ProxySpec::of(&cluster).set(&settings));
        proxy.await_event("primary_found");
        let attempt = |user: &str, password: &str| match method {
            "cert" => by_certificate(&cluster, &proxy, &authority, user),
            "password" => knock_with_tls(&proxy, &authority, user, "app", password),
            _ => knock(&mut socket(proxy.port()), user, "app", password),
        };

        let mut refused = 0;
        for (_, secret, cells) in TABLE.iter().filter(|(client, ..)| *client == method) {
            for (node, cell) in NODE_METHODS.iter().zip(cells.chars()) {
                let user = format!("{node}_{secret}");
                let pair = format!("{method} at us, {secret} stored, {node} at the node");
                let outcome = attempt(&user, PASSWORD);
                said.push_str(&format!("{outcome:?}\n"));
                let told = outcome.as_ref().map_or_else(|(_, told)| told.as_str(), |_| "");
                match cell {
                    '+' => assert_eq!(outcome, Ok(user.clone()), "{pair}"),
                    'P' => assert_eq!(
                        outcome,
                        Err((
                            "28P01".into(),
                            format!("password authentication failed for user \"{user}\"")
                        )),
                        "{pair}"
                    ),
                    'C' => assert!(
                        is_28000(&outcome) && told.contains("the proxy cannot log in to the node"),
                        "{pair}: {outcome:?}"
                    ),
                    'R' => assert!(
                        is_28000(&outcome) && told.contains("pg_hba.conf rejects connection"),
                        "{pair}: {outcome:?}"
                    ),
                    other => panic!("{other}"),
                }
                if cell != '+' {
                    refused += 1;
                    proxy.await_sentence("session_refused", &user);
                }
                if !matches!(method, "trust" | "cert") {
                    let outcome = attempt(&user, WRONG);
                    assert_eq!(outcome.unwrap_err().0, "28P01", "{pair}, wrong password");
                    refused += 1;
                }
            }
        }
        await_condition("a reason in the log for everybody refused", || {
            proxy.events("session_refused").len() == refused
        });
        if tls {
            // Without TLS there is no such rule.
            let outcome = knock(&mut socket(proxy.port()), "trust_clear", "app", PASSWORD);
            assert_eq!(
                outcome.unwrap_err(),
                (
                    "28000".into(),
                    "no pg_hba.conf entry for host \"127.0.0.1\", user \"trust_clear\", database \"app\", \
                     no encryption"
                        .into()
                )
            );
        }
        if method == "cert" {
            let outcome = knock_with_tls(&proxy, &authority, "trust_clear", "app", PASSWORD);
            assert_eq!(outcome.unwrap_err().1, "connection requires a valid client certificate");
            let outcome = another_certificate(&cluster, &proxy, &authority, "trust_none");
            assert!(
                outcome.contains("certificate authentication failed for user \"trust_clear\""),
                "{outcome}"
            );
        }
        said.push_str(&proxy.log());
        said.push_str(&shown(&proxy, &settings));
    }
    assert!(said.contains("\"level\":\"debug\""), "the matrix ran at log level debug");
    for secret in planted {
        for form in [secret.clone(), STANDARD.encode(&secret), format!("{:?}", secret.as_bytes())] {
            assert!(!said.contains(&form), "{form} in what was said");
        }
    }
}

/// The roles and the node's rules, our users file, and every secret there is.
fn people(cluster: &Cluster) -> (String, Vec<String>) {
    let mut planted = vec![PASSWORD.to_owned(), WRONG.to_owned()];
    let (mut users, mut rules) = (String::new(), String::new());
    let mut statements = vec!["SET password_encryption = 'md5'".to_owned()];
    for node in NODE_METHODS {
        let stored = ScramKeys::derive(PASSWORD.as_bytes(), b"the salt of all nodes", 4096);
        let stored = verifier_text(&stored.verifier());
        for secret in ["none", "clear", "md5", "scram", "salt", "query"] {
            let user = format!("{node}_{secret}");
            let hash = md5_text(&user);
            let at_node = if node == "md5" { &hash } else { &stored };
            statements.push(format!("CREATE ROLE {user} LOGIN PASSWORD '{at_node}'"));
            let method = if node == "scram" { "scram-sha-256" } else { node };
            rules.push_str(&format!("host all {user} all {method}\n"));
            let ours = match secret {
                "clear" => PASSWORD.to_owned(),
                "md5" => hash.clone(),
                "scram" => stored.clone(),
                "salt" => verifier_text(
                    &ScramKeys::derive(PASSWORD.as_bytes(), b"another salt", 4096).verifier(),
                ),
                _ => String::new(),
            };
            if !ours.is_empty() {
                users.push_str(&format!("\"{user}\" \"{ours}\"\n"));
            }
            planted.push(hash.trim_start_matches("md5").to_owned());
        }
        planted.push(stored.rsplit('$').next().unwrap().to_owned());
    }
    // Those with nothing stored at us are unknown to the query, too.
    statements.push(
        "CREATE FUNCTION understudy.some(wanted text) RETURNS TABLE (rolname text, secret text) LANGUAGE sql \
         STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT rolname::text, rolpassword \
         FROM pg_catalog.pg_authid WHERE rolname = wanted AND rolname LIKE '%query' $$"
            .to_owned(),
    );
    for statement in statements {
        cluster.query(0, &statement).unwrap();
    }
    let path = cluster.node(0).dir().join("pg_hba.conf");
    let former = fs::read_to_string(&path).unwrap();
    fs::write(&path, rules + &former).unwrap();
    cluster.query(0, "SELECT pg_reload_conf()").unwrap();
    let sql = "SELECT count(*) > 20 FROM pg_hba_file_rules WHERE error IS NULL";
    await_condition("the node's rules", || cluster.value(0, sql).unwrap() == "t");
    (users, planted)
}

const QUERY: &str = "SELECT rolname, secret FROM understudy.some($1)";

/// What PostgreSQL stores with `password_encryption = md5`.
fn md5_text(user: &str) -> String {
    use md5::{Digest, Md5};

    let hash = Md5::digest(format!("{PASSWORD}{user}"));
    hash.iter().fold("md5".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

fn verifier_text(verifier: &ScramVerifier) -> String {
    format!(
        "SCRAM-SHA-256${}:{}${}:{}",
        verifier.iterations,
        STANDARD.encode(&verifier.salt),
        STANDARD.encode(verifier.stored_key.bytes()),
        STANDARD.encode(verifier.server_key.bytes())
    )
}

/// What `check --show` prints for a proxy's configuration.
fn shown(proxy: &Proxy, settings: &[&str]) -> String {
    let mut check = Command::new(env!("CARGO_BIN_EXE_understudy"));
    check.args(["check", "--show", "--config"]).arg(proxy.socket_dir().join("understudy.toml"));
    for setting in settings {
        check.args(["--set", setting]);
    }
    let output = check.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

fn is_28000(outcome: &Outcome) -> bool {
    outcome.as_ref().is_err_and(|(sqlstate, _)| sqlstate == "28000")
}

// === secrets that change, and users that are none ===

#[test]
fn what_the_nodes_say_of_a_role_holds_at_the_next_login() {
    let stage = Stage::with(1, &["auth.max_failures=0"]);
    let knock = |user: &str, password: &str| {
        let outcome = knock(&mut socket(stage.proxy.port()), user, "app", password);
        outcome.map_err(|(sqlstate, _)| sqlstate)
    };
    let refused = Err("28P01".to_owned());
    for (setup, user, password, expected) in [
        ("CREATE ROLE mary LOGIN PASSWORD 'one'", "mary", "one", Ok("mary".to_owned())),
        ("ALTER ROLE mary PASSWORD 'two'", "mary", "one", refused.clone()),
        ("SELECT 1", "mary", "two", Ok("mary".to_owned())),
        ("ALTER ROLE mary VALID UNTIL '2001-01-01'", "mary", "two", refused.clone()),
        ("ALTER ROLE mary VALID UNTIL 'infinity' NOLOGIN", "mary", "two", refused.clone()),
        ("ALTER ROLE mary LOGIN", "mary", "two", Ok("mary".to_owned())),
        ("ALTER ROLE mary PASSWORD NULL", "mary", "two", refused.clone()),
        ("SELECT 1", "mary", "", refused.clone()),
        ("DROP ROLE mary", "mary", "two", refused.clone()),
        // Nobody is anybody else: not the lookup's own role, not the superuser, not a stranger.
        ("SELECT 1", "understudy", "two", refused.clone()),
        ("SELECT 1", "postgres", "", refused.clone()),
        ("SELECT 1", "nobody", "", refused.clone()),
        ("SELECT 1", "App", "two", refused.clone()),
    ] {
        stage.admin(setup);
        assert_eq!(knock(user, password), expected, "{user} {password} after {setup}");
    }
}

#[test]
fn an_answer_for_another_user_lets_nobody_in() {
    let query = "auth.query=SELECT rolname, secret FROM understudy.user_lookup('app')";
    // A parameter has to be there, so that the query can run at all.
    let query = format!("{query} WHERE $1 IS NOT NULL");
    let stage = Stage::with(1, &[&query]);
    let password = stage.cluster.password(Login::App).unwrap().reveal();
    let enter = |user| knock(&mut socket(stage.proxy.port()), user, "app", password);
    assert_eq!(enter("app"), Ok("app".to_owned()));
    for stranger in ["nobody", "postgres", "understudy"] {
        let (sqlstate, told) = enter(stranger).unwrap_err();
        assert_eq!(sqlstate, "57P03", "{told}");
        stage.proxy.await_sentence("session_refused", "answered for another");
    }
}

#[test]
fn nothing_of_a_client_reaches_the_lookup() {
    let stage = Stage::with(
        1,
        &[
            "auth.query=SELECT rolname, secret FROM public.recording($1)",
            "auth.query_database=postgres",
        ],
    );
    for statement in [
        "CREATE TABLE public.seen (path text, who text, role text, name text, timeout text)",
        "CREATE FUNCTION public.recording(wanted text) RETURNS TABLE (rolname text, secret text) LANGUAGE plpgsql \
         SECURITY DEFINER AS $$ BEGIN INSERT INTO public.seen VALUES (current_setting('search_path'), session_user, \
         current_setting('role'), current_setting('application_name'), current_setting('statement_timeout')); \
         RETURN QUERY SELECT * FROM understudy.user_lookup(wanted); END $$",
    ] {
        stage.cluster.query(0, statement).unwrap();
    }
    stage.admin("CREATE SCHEMA evil AUTHORIZATION app");
    let password = stage.cluster.password(Login::App).unwrap().reveal();
    let parameters = [
        ("search_path", "evil"),
        ("options", "-c search_path=evil -c role=app -c statement_timeout=4711"),
        ("application_name", "evil"),
        ("role", "app"),
    ];
    let mut stream = socket(stage.proxy.port());
    assert_eq!(knock_as(&mut stream, "app", "app", password, &parameters), Ok("app".to_owned()));
    let seen = stage.cluster.query(0, "SELECT DISTINCT * FROM public.seen").unwrap();
    let expected = ["pg_catalog", "understudy", "none", "understudy auth", "0"];
    assert_eq!(seen, [expected.map(|text| Some(text.to_owned())).to_vec()]);
}

// === brute force ===

#[test]
fn ten_thousand_wrong_passwords_are_throttled_while_others_log_in() {
    const ATTEMPTS: usize = 10_000;
    const GUESSERS: usize = 4;
    let stage = Stage::new();
    let proxy = &stage.proxy;
    let password = stage.cluster.password(Login::App).unwrap().reveal();
    stage.admin("CREATE ROLE mary LOGIN PASSWORD 'marys own'");
    proxy.forget_peak();
    let before = proxy.memory("VmHWM");
    let (judged, throttled, over) =
        (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let begun = Instant::now();
    let others = thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut logins = 0;
            while !over.load(Ordering::Relaxed) {
                assert_eq!(
                    knock(&mut socket(proxy.port()), "app", "app", password),
                    Ok("app".into())
                );
                logins += 1;
            }
            logins
        });
        let guessers: Vec<_> = (0..GUESSERS)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..ATTEMPTS / GUESSERS {
                        match knock(&mut socket(proxy.port()), "mary", "app", WRONG).unwrap_err() {
                            (code, _) if code == "28P01" => judged.fetch_add(1, Ordering::Relaxed),
                            (code, told) => {
                                assert_eq!(
                                    (code.as_str(), told.as_str()),
                                    ("28000", "too many failed login attempts for user \"mary\"")
                                );
                                throttled.fetch_add(1, Ordering::Relaxed)
                            }
                        };
                    }
                })
            })
            .collect();
        guessers.into_iter().for_each(|guesser| guesser.join().unwrap());
        over.store(true, Ordering::Relaxed);
        other.join().unwrap()
    });
    let took = begun.elapsed();
    let (judged, throttled) = (judged.into_inner(), throttled.into_inner());
    eprintln!(
        "{ATTEMPTS} guesses in {took:?}: {judged} judged; {others} logins of another user meanwhile"
    );
    assert_eq!(judged + throttled, ATTEMPTS);
    // One lockout lasts 60 s. Workers judge side by side: each may have one more under way.
    let lockouts = 1 + took.as_secs() as usize / 60;
    assert!((10..=12 * lockouts).contains(&judged), "{judged}");
    assert!(others > 0);
    assert!((1..=lockouts).contains(&proxy.events("login_throttled").len()));
    let line = &proxy.events("login_throttled")[0];
    assert_eq!((&line["user"], &line["address"]), (&"mary".into(), &"127.0.0.1".into()));
    assert_eq!(proxy.events("session_refused").len(), judged, "nobody throttled fills the log");
    assert!(
        proxy.memory("VmHWM") < before + 20_000,
        "memory: {before} kB, then {}",
        proxy.memory("VmHWM")
    );

    // The right password does not help now; a user nobody has is told the same; another address does help.
    let (_, told) = knock(&mut socket(proxy.port()), "mary", "app", "marys own").unwrap_err();
    assert_eq!(told, "too many failed login attempts for user \"mary\"");
    let stranger = || knock(&mut socket(proxy.port()), "nobody", "app", WRONG).unwrap_err();
    for _ in 0..10 {
        assert_eq!(stranger().0, "28P01");
    }
    assert_eq!(
        stranger(),
        ("28000".into(), "too many failed login attempts for user \"nobody\"".into())
    );
    let path = proxy.socket_dir().join(format!(".s.PGSQL.{}", proxy.port()));
    let mut unix = UnixStream::connect(path).unwrap();
    assert_eq!(knock(&mut unix, "mary", "app", "marys own"), Ok("mary".into()));
}

#[test]
fn a_lockout_ends_and_a_success_forgets() {
    let settings = ["auth.max_failures=3", "auth.lockout=1s"];
    let stage = Stage::with(1, &settings);
    let password = stage.cluster.password(Login::App).unwrap().reveal();
    let enter = |password| {
        knock(&mut socket(stage.proxy.port()), "app", "app", password).map_err(|(code, _)| code)
    };
    for _ in 0..3 {
        assert_eq!(enter(WRONG), Err("28P01".into()));
        assert_eq!(enter(WRONG), Err("28P01".into()));
        assert_eq!(enter(password), Ok("app".into()));
    }
    for _ in 0..3 {
        assert_eq!(enter(WRONG), Err("28P01".into()));
    }
    let locked = Instant::now();
    assert_eq!(enter(password), Err("28000".into()));
    await_condition("the lockout to end", || enter(password).is_ok());
    assert!(locked.elapsed() > Duration::from_millis(900));
}

// === strange messages and strange names ===

#[test]
fn every_message_in_every_state_of_a_login_gets_an_error_or_a_close() {
    let stage = Stage::with(1, &["auth.max_failures=0"]);
    stage.admin("SET password_encryption = 'md5'; CREATE ROLE mary LOGIN PASSWORD 'x'");
    let dir = tempfile::tempdir().unwrap();
    let users = file(dir.path(), "users", "\"mary\" \"x\"\n");
    let users = format!("auth.users_file={}", users.display());
    let md5 = Proxy::start(&ProxySpec::of(&stage.cluster).set(&["auth.method=md5", &users]));
    md5.await_event("primary_found");
    let first = b"SCRAM-SHA-256\0\0\0\0\x0bn,,n=,r=abc";
    for (proxy, user, answers) in
        [(&stage.proxy, "app", &[][..]), (&stage.proxy, "app", &[&first[..]]), (&md5, "mary", &[])]
    {
        for tag in b"QPBDECHSFXdcf\0zZRE" {
            for body in [&b""[..], b"SELECT 1\0", &[0; 300]] {
                let mut stream = socket(proxy.port());
                say(&mut stream, &startup(V3_0, &[("user", user), ("database", "app")]));
                assert_eq!(message(&mut stream).unwrap().0, b'R');
                for answer in answers {
                    say(&mut stream, &tagged(b'p', answer));
                    assert_eq!(message(&mut stream).unwrap().0, b'R');
                }
                say(&mut stream, &tagged(*tag, body));
                let (reply, fields) = message(&mut stream).unwrap();
                assert_eq!(reply, b'E', "{tag} {body:?}");
                let (sqlstate, told) = error_fields(&fields);
                assert_eq!(sqlstate, "08P01", "{told}");
                let expected = if user == "mary" { "password" } else { "SASL" };
                assert_eq!(told, format!("expected {expected} response, got message type {tag}"));
                assert_eq!(message(&mut stream), None, "nothing more is said");
            }
        }
    }
    // Lengths no message can have.
    for length in [0_u32, 3, 65_540, u32::MAX] {
        let mut stream = socket(stage.proxy.port());
        say(&mut stream, &startup(V3_0, &[("user", "app"), ("database", "app")]));
        message(&mut stream).unwrap();
        say(&mut stream, &[&b"p"[..], &length.to_be_bytes(), b"xxxxxxxx"].concat());
        assert_eq!(error_fields(&message(&mut stream).unwrap().1).0, "08P01", "{length}");
    }
    let password = stage.cluster.password(Login::App).unwrap().reveal();
    let outcome = knock(&mut socket(stage.proxy.port()), "app", "app", password);
    assert_eq!(outcome, Ok("app".into()), "and others are served");
    for proxy in [&stage.proxy, &md5] {
        assert_eq!(proxy.events("session_panicked"), Vec::<serde_json::Value>::new());
    }
}

#[test]
fn names_are_those_the_node_sees_and_stay_in_their_line() {
    let stage = Stage::with(1, &["auth.max_failures=0"]);
    let enter = |user: &str, database: &str, password: &str| {
        let outcome = knock(&mut socket(stage.proxy.port()), user, database, password);
        outcome.map_err(|(sqlstate, _)| sqlstate)
    };
    let (long, accents) = ("n".repeat(63), "é".repeat(31));
    for name in [long.as_str(), &accents, "we\"ird\nname {\"event\":\"x\"}", " ", "a'b\\c%d"] {
        let quoted = name.replace('"', "\"\"");
        stage.admin(&format!("CREATE ROLE \"{quoted}\" LOGIN PASSWORD 'x'"));
        stage.admin(&format!("CREATE DATABASE \"{quoted}\""));
        assert_eq!(enter(name, name, "x"), Ok(name.to_owned()));
        assert_eq!(enter(name, name, "y"), Err("28P01".to_owned()));
    }
    for (given, seen) in [
        (format!("{long}n"), &long),
        (format!("{long}nn"), &long),
        ("n".repeat(4096), &long),
        // 64 bytes, and the 63rd is in the middle of a character.
        (format!("{accents}é"), &accents),
    ] {
        assert_eq!(enter(&given, &given, "x").as_ref(), Ok(seen), "{} bytes", given.len());
    }
    assert_eq!(enter(&"n".repeat(62), "app", "x"), Err("28P01".to_owned()));
    assert_eq!(enter(&format!("m{long}"), "app", "x"), Err("28P01".to_owned()));

    // Not UTF-8, in either place, and a byte before or behind a NUL.
    for body in [
        &b"user\0jo\xff\0database\0app\0\0"[..],
        b"user\0app\0database\0\xc3\0\0",
        b"user\0app\0\0\0",
        b"user\0\0",
        b"user\0app",
    ] {
        let mut stream = socket(stage.proxy.port());
        say(&mut stream, &untagged(V3_0, body));
        let (tag, fields) = message(&mut stream).unwrap();
        assert_eq!(tag, b'E', "{body:?}");
        assert!(matches!(error_fields(&fields).0.as_str(), "08P01" | "28000"), "{body:?}");
    }

    let log = stage.proxy.log();
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_ne!(line["event"], "x");
    }
    let starts = stage.proxy.events("session_start");
    let users: Vec<&str> = starts.iter().map(|line| line["user"].as_str().unwrap()).collect();
    assert!(users.contains(&"we\"ird\nname {\"event\":\"x\"}"));
    assert!(users.iter().all(|user| user.len() <= 63));
}

// === a client ===

/// Logs in as the server asks, and says who it is then.
fn knock(stream: &mut (impl Read + Write), user: &str, database: &str, password: &str) -> Outcome {
    knock_as(stream, user, database, password, &[])
}

fn knock_as(
    stream: &mut (impl Read + Write),
    user: &str,
    database: &str,
    password: &str,
    parameters: &[(&str, &str)],
) -> Outcome {
    let parameters = [&[("user", user), ("database", database)], parameters].concat();
    say(stream, &startup(V3_0, &parameters));
    let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
    let mut name = None;
    loop {
        let Some((tag, body)) = message(stream) else {
            return Err((String::new(), "closed without a word".into()));
        };
        match (tag, body.get(3)) {
            (b'R', Some(0)) => {}
            (b'R', Some(3)) => {
                say(stream, &tagged(b'p', &[password.as_bytes(), &[0]].concat()));
            }
            (b'R', Some(5)) => {
                let salt = body[4..].try_into().unwrap();
                let answer = md5_hash(user.as_bytes(), password.as_bytes(), salt);
                say(stream, &tagged(b'p', &[answer.as_bytes(), &[0]].concat()));
            }
            (b'R', Some(10)) => {
                let first = scram.message();
                let length = u32::try_from(first.len()).unwrap().to_be_bytes();
                say(stream, &tagged(b'p', &[b"SCRAM-SHA-256\0", &length[..], first].concat()));
            }
            (b'R', Some(11)) => {
                scram.update(&body[4..]).unwrap();
                say(stream, &tagged(b'p', scram.message()));
            }
            (b'R', Some(12)) => scram.finish(&body[4..]).unwrap(),
            (b'E', _) => return Err(error_fields(&body)),
            (b'D', _) => name = Some(String::from_utf8(body[6..].to_vec()).unwrap()),
            (b'Z', _) => match name {
                None => say(stream, &tagged(b'Q', b"SELECT current_user\0")),
                Some(name) => {
                    say(stream, &tagged(b'X', b""));
                    return Ok(name);
                }
            },
            _ => {}
        }
    }
}

fn knock_with_tls(
    proxy: &Proxy,
    authority: &Authority,
    user: &str,
    database: &str,
    password: &str,
) -> Outcome {
    let mut socket = socket(proxy.port());
    say(&mut socket, &untagged(SSL, b""));
    let mut answer = [0];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"S");
    let mut stream = tls_over(socket, &authority.file("ca.crt"), &[]).unwrap();
    knock(&mut stream, user, database, password)
}

/// With a certificate of the user's own.
fn by_certificate(cluster: &Cluster, proxy: &Proxy, authority: &Authority, user: &str) -> Outcome {
    authority.client(user, user);
    let (out, err) = psql(cluster, proxy, authority, user, user);
    if err.is_empty() { Ok(out) } else { Err(("28000".into(), err)) }
}

/// With a certificate of somebody else; what psql says.
fn another_certificate(
    cluster: &Cluster,
    proxy: &Proxy,
    authority: &Authority,
    other: &str,
) -> String {
    psql(cluster, proxy, authority, "trust_clear", other).1
}

fn psql(
    cluster: &Cluster,
    proxy: &Proxy,
    authority: &Authority,
    user: &str,
    certificate: &str,
) -> (String, String) {
    let conninfo = format!(
        "host=127.0.0.1 port={} dbname=app user={user} sslmode=require sslcert={} sslkey={}",
        proxy.port(),
        authority.file(&format!("{certificate}.crt")),
        authority.file(&format!("{certificate}.key"))
    );
    let mut psql = support::program::command(&cluster.binaries().path("psql"));
    psql.args(["-XwAtc", "SELECT current_user", "-d", &conninfo]);
    let ran = support::run(psql, "");
    (ran.out.trim_end().to_owned(), ran.err)
}

/// The next message; none when the server has closed.
fn message(stream: &mut impl Read) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize - 4;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    Some((head[0], body))
}

/// SQLSTATE and message of an ErrorResponse.
fn error_fields(body: &[u8]) -> (String, String) {
    let field = |kind: u8| {
        let field = body.split(|byte| *byte == 0).find(|field| field.first() == Some(&kind));
        String::from_utf8(field.unwrap_or(b"?")[1..].to_vec()).unwrap()
    };
    (field(b'C'), field(b'M'))
}

//! Logins from end to end, against real nodes: who gets in and who does not, what the refused are told and
//! what the log learns, and that no secret shows anywhere.
#![cfg(feature = "real-nodes")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod support;

use std::{fs, process::Command};

use base64::{Engine, engine::general_purpose::STANDARD};
use support::{
    Proxy, ProxySpec, Stage, await_condition,
    knock::{Outcome, knock, knock_as, knock_with_tls},
    proxy::file,
    tls::{Authority, socket},
};
use understudy::{
    auth::scram::{ScramKeys, ScramVerifier},
    lab::{Cluster, ClusterSpec, Login},
};

const PASSWORD: &str = "correct horse 4711";
const WRONG: &str = "wrong horse 4711";

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

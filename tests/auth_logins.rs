//! Whole logins: a client at understudy, understudy at a node, and strangers' bytes on either side.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may panic as the test may")]

use proptest::prelude::*;
use understudy::{
    auth::{
        ChannelBinding, ClientLogin, Credentials, MockSalts, NodeLogin, NodeLoginError, Reason,
        Refusal, Reply, Step, StoredSecret, as_client, scram::NodeScramError,
    },
    conf::settings::AuthMethod,
};

const PASSWORD: &str = "correct horse";
/// What PostgreSQL 15 stores for `joe` with that password.
const MD5: &str = "md56bfbfbbf66de33a7b3a18f0e46afe6ae";
const SCRAM: &str = "SCRAM-SHA-256$4096:fzQrhZd3jg1nw59DfipkrQ==$\
Y6cXMi+bIhY6VwzAmxqC4yt/g5ivFyMQA3m7h3oQ6SI=:ifk31qXjI2EQPJrCb2co2FQZumCfMhYaE1Zg39Jdu5o=";
const METHODS: [AuthMethod; 4] =
    [AuthMethod::Trust, AuthMethod::Password, AuthMethod::Md5, AuthMethod::ScramSha256];

#[test]
fn exactly_the_listed_pairs_of_method_and_secret_log_in() {
    // What the client knows is the password. The last column: what we can use at nodes afterwards.
    for (method, secret, expected) in [
        (AuthMethod::Trust, None, Ok("nothing")),
        (AuthMethod::Trust, Some(PASSWORD), Ok("the password")),
        (AuthMethod::Trust, Some(MD5), Ok("an md5 hash")),
        (AuthMethod::Trust, Some(SCRAM), Ok("nothing")),
        (AuthMethod::Password, None, Err(Reason::NoSecret)),
        (AuthMethod::Password, Some(PASSWORD), Ok("the password")),
        (AuthMethod::Password, Some(MD5), Ok("the password")),
        (AuthMethod::Password, Some(SCRAM), Ok("the password")),
        (AuthMethod::Md5, None, Err(Reason::NoSecret)),
        (AuthMethod::Md5, Some(PASSWORD), Ok("the password")),
        (AuthMethod::Md5, Some(MD5), Ok("an md5 hash")),
        (AuthMethod::Md5, Some(SCRAM), Ok("SCRAM keys")),
        (AuthMethod::ScramSha256, None, Err(Reason::NoSecret)),
        (AuthMethod::ScramSha256, Some(PASSWORD), Ok("the password")),
        (AuthMethod::ScramSha256, Some(MD5), Err(Reason::Md5HashForScram)),
        (AuthMethod::ScramSha256, Some(SCRAM), Ok("SCRAM keys")),
    ] {
        let outcome = log_in(method, secret, Some(PASSWORD));
        assert_eq!(
            outcome.map(|credentials| kind(credentials.as_ref())).map_err(|refusal| refusal.reason),
            expected
        );

        // And with another password nobody but the trusted gets in.
        let outcome = log_in(method, secret, Some("wrong horse"));
        match method {
            AuthMethod::Trust => assert!(outcome.is_ok()),
            AuthMethod::Password | AuthMethod::Md5 | AuthMethod::ScramSha256 => {
                let refusal = outcome.unwrap_err();
                assert_eq!(refusal.sqlstate.0, "28P01");
                assert_eq!(refusal.message, "password authentication failed for user \"joe\"");
                assert_eq!(refusal.detail, None);
                assert_eq!(refusal.reason, expected.err().unwrap_or(Reason::WrongPassword));
                assert!(refusal.is_failed_attempt());
            }
        }
    }
}

#[test]
fn exactly_the_listed_credentials_open_a_node() {
    let clear = || log_in(AuthMethod::ScramSha256, Some(PASSWORD), Some(PASSWORD)).unwrap();
    let md5 = || log_in(AuthMethod::Md5, Some(MD5), Some(PASSWORD)).unwrap();
    let keys = || log_in(AuthMethod::ScramSha256, Some(SCRAM), Some(PASSWORD)).unwrap();
    for (credentials, opens_md5, opens_scram) in
        [(clear(), true, true), (md5(), true, false), (keys(), false, true), (None, false, false)]
    {
        for (stored, opens) in [(MD5, opens_md5), (SCRAM, opens_scram)] {
            let outcome = duel(AuthMethod::Md5, Some(stored), credentials.as_ref());
            assert_eq!(outcome.is_ok(), opens, "{credentials:?} at {}: {outcome:?}", &stored[..4]);
        }
        assert!(duel(AuthMethod::Trust, None, credentials.as_ref()).is_ok());
    }
}

#[test]
fn the_password_is_asked_for_in_clear_only_with_tls() {
    let stored = StoredSecret::parse(PASSWORD).unwrap();
    let salts = MockSalts::new([1; 32]);
    let refusal =
        ClientLogin::start(AuthMethod::Password, "joe", Some(&stored), &salts).unwrap_err();
    assert_eq!((refusal.sqlstate.0, refusal.reason), ("28000", Reason::CleartextWithoutTls));
    assert!(!refusal.is_failed_attempt());
}

#[test]
fn a_password_in_clear_fits_whatever_is_stored_as_postgresql_reads_it() {
    // SASLprep makes these one password: for a verifier, and for a clear secret as for the verifier it stands for.
    let stored = "I\u{ad}X";
    let outcome = log_in(AuthMethod::Password, Some(stored), Some("IX"));
    assert_eq!(kind(outcome.unwrap().as_ref()), "the password");
    for (body, sqlstate, message) in [
        (&b""[..], "08P01", "invalid password packet size"),
        (b"correct horse", "08P01", "invalid password packet size"),
        (b"correct\0horse\0", "08P01", "invalid password packet size"),
        (b"\0", "28P01", "empty password returned by client"),
        (b"\xff\xfe\0", "28P01", "password authentication failed for user \"joe\""),
        (&[b'x'; 65_532], "28P01", "password authentication failed for user \"joe\""),
    ] {
        for secret in [None, Some(PASSWORD), Some(MD5), Some(SCRAM)] {
            let secret = secret.map(|text| StoredSecret::parse(text).unwrap());
            let (mut login, step) = start(AuthMethod::Password, secret.as_ref()).unwrap();
            assert_eq!(sent(step), b"R\0\0\0\x08\0\0\0\x03");
            let refusal = login.on_message(body).unwrap_err();
            assert_eq!((refusal.sqlstate.0, &*refusal.message), (sqlstate, message), "{body:?}");
        }
    }
}

#[test]
fn what_is_missing_for_a_node_is_said_with_the_remedy() {
    let md5 = log_in(AuthMethod::Md5, Some(MD5), Some(PASSWORD)).unwrap();
    let keys = log_in(AuthMethod::Md5, Some(SCRAM), Some(PASSWORD)).unwrap();
    for (credentials, code, body, expected) in [
        (
            &md5,
            10,
            &b"SCRAM-SHA-256\0\0"[..],
            "node asks for scram-sha-256 but understudy has only an md5 hash for user joe: store a SCRAM secret or \
             the password in auth.users_file",
        ),
        (&keys, 5, b"salt", "node asks for md5 but understudy has only SCRAM keys for user joe: "),
        (&None, 5, b"salt", "node asks for md5 but understudy has nothing for user joe: "),
        (
            &None,
            10,
            b"SCRAM-SHA-256\0\0",
            "node asks for scram-sha-256 but understudy has nothing for user joe: ",
        ),
        (
            &md5,
            3,
            b"",
            "node asks for the password in clear but understudy has only an md5 hash for user joe: ",
        ),
        (
            &md5,
            7,
            b"",
            "node asks for GSSAPI for user joe, which understudy does not speak: use scram-sha-256",
        ),
        (&md5, 9, b"", "node asks for SSPI "),
        (&md5, 2, b"", "node asks for Kerberos V5 "),
        (&md5, 6, b"", "node asks for SCM credentials "),
        (&md5, -1, b"", "node asks for authentication method -1 "),
        (&md5, 10, b"OAUTHBEARER\0\0", "node asks for a SASL mechanism other than SCRAM-SHA-256 "),
    ] {
        let told =
            NodeLogin::new("joe", credentials.as_ref()).on_authentication(code, body).unwrap_err();
        assert!(told.to_string().starts_with(expected), "{told}");
    }
}

#[test]
fn the_password_crosses_in_clear_only_where_allowed() {
    let clear = log_in(AuthMethod::Trust, Some(PASSWORD), None).unwrap();
    let mut login = NodeLogin::new("joe", clear.as_ref());
    assert_eq!(
        login.on_authentication(3, b""),
        Err(NodeLoginError::CleartextRefused("joe".into()))
    );
    let mut login = NodeLogin::new("joe", clear.as_ref()).allow_cleartext();
    assert_eq!(
        login.on_authentication(3, b""),
        Ok(Reply::Send(b"p\0\0\0\x12correct horse\0".to_vec()))
    );
    assert_eq!(login.on_authentication(0, b""), Ok(Reply::Granted));
}

#[test]
fn a_node_cannot_skip_its_proof() {
    let clear = log_in(AuthMethod::Trust, Some(PASSWORD), None).unwrap();
    let too_early = Err(NodeLoginError::GrantedTooEarly("joe".into()));
    let begun = || {
        let mut login = NodeLogin::new("joe", clear.as_ref());
        let Ok(Reply::Send(first)) = login.on_authentication(10, b"SCRAM-SHA-256\0\0") else {
            panic!()
        };
        let nonce = String::from_utf8(first).unwrap().split("r=").nth(1).unwrap().to_owned();
        (login, format!("r={nonce}server,s=c2FsdA==,i=1"))
    };

    let (mut login, _) = begun();
    assert_eq!(login.on_authentication(0, b""), too_early);
    assert_eq!(
        login.on_authentication(0, b""),
        Err(NodeLoginError::OutOfTurn { code: 0 }),
        "and stays refused"
    );

    let (mut login, server_first) = begun();
    assert!(matches!(login.on_authentication(11, server_first.as_bytes()), Ok(Reply::Send(_))));
    assert_eq!(login.on_authentication(0, b""), too_early);

    let (mut login, server_first) = begun();
    login.on_authentication(11, server_first.as_bytes()).unwrap();
    let forged = b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    assert_eq!(
        login.on_authentication(12, forged),
        Err(NodeLoginError::Scram { user: "joe".into(), source: NodeScramError::WrongSignature })
    );

    // Downgrade in the middle: another method after SASL has begun.
    for code in [3, 5, 7, 10, 12] {
        let (mut login, _) = begun();
        assert_eq!(login.on_authentication(code, b"salt"), Err(NodeLoginError::OutOfTurn { code }));
    }
}

#[test]
fn malformed_requests_of_a_node_are_refused() {
    let clear = log_in(AuthMethod::Trust, Some(PASSWORD), None).unwrap();
    for (code, body) in [
        (0, &b"x"[..]),
        (3, b"x"),
        (5, b""),
        (5, b"sal"),
        (5, b"salty"),
        (10, b""),
        (10, b"\0"),
        (10, b"\0\0"),
        (10, b"SCRAM-SHA-256"),
        (10, b"SCRAM-SHA-256\0"),
        (10, b"SCRAM-SHA-256\0\0\0"),
        (10, b"\0SCRAM-SHA-256\0\0"),
        (10, &[b"x\0".repeat(1000), b"\0".to_vec()].concat()),
    ] {
        let mut login = NodeLogin::new("joe", clear.as_ref()).allow_cleartext();
        let outcome = login.on_authentication(code, body);
        assert!(
            matches!(outcome, Err(NodeLoginError::Malformed(_))),
            "{code} {body:?}: {outcome:?}"
        );
    }
}

#[test]
fn an_unknown_user_sees_what_a_known_one_sees() {
    let salts = MockSalts::random().unwrap();
    let shapes = |user: &str, secret: Option<&str>| {
        let secret = secret.map(|text| StoredSecret::parse(text).unwrap());
        let (mut login, step) =
            ClientLogin::start(AuthMethod::ScramSha256, user, secret.as_ref(), &salts).unwrap();
        let list = sent(step);
        let first = sent(login.on_message(&initial("SCRAM-SHA-256", b"n,,n=,r=abc")).unwrap());
        let challenge = String::from_utf8(first[9..].to_vec()).unwrap();
        let parts: Vec<String> = challenge.split(',').map(str::to_owned).collect();
        let answer = format!("c=biws,{},p={}", parts[0], "A".repeat(43) + "=");
        let refusal = login.on_message(answer.as_bytes()).unwrap_err();
        let told = (refusal.sqlstate, refusal.message.replace(user, "x"), refusal.detail);
        (list, parts[0].len(), parts[1].clone(), parts[2].clone(), told)
    };
    let known = shapes("joe", Some(SCRAM));
    let clear = shapes("joan", Some(PASSWORD));
    let unknown = shapes("jim", None);
    let hashed = shapes("jill", Some(MD5));
    for other in [&clear, &unknown, &hashed] {
        assert_eq!(
            (&known.0, known.1, &known.3, &known.4),
            (&other.0, other.1, &other.3, &other.4)
        );
        assert_eq!(known.2.len(), other.2.len(), "salts have one length");
    }
    // Asked again, each shows the same salt again.
    assert_eq!(shapes("jim", None).2, unknown.2);
    assert_eq!(shapes("joan", Some(PASSWORD)).2, clear.2);
}

#[test]
fn a_client_may_wait_for_the_empty_challenge() {
    let stored = StoredSecret::parse(SCRAM).unwrap();
    let salts = MockSalts::new([1; 32]);
    let (mut login, _) =
        ClientLogin::start(AuthMethod::ScramSha256, "joe", Some(&stored), &salts).unwrap();
    let step = login.on_message(b"SCRAM-SHA-256\0\xff\xff\xff\xff").unwrap();
    assert_eq!(sent(step), b"R\0\0\0\x08\0\0\0\x0b");
    let step = login.on_message(b"n,,n=,r=abc").unwrap();
    assert!(sent(step).starts_with(b"R\0\0\0"));
}

#[test]
fn a_client_that_breaks_the_protocol_is_told_as_postgresql_tells_it() {
    let scram = [
        (&b""[..], "invalid string in message"),
        (b"SCRAM-SHA-256", "invalid string in message"),
        (b"\0", "client selected an invalid SASL authentication mechanism"),
        (b"SCRAM-SHA-1\0\0\0\0\0", "client selected an invalid SASL authentication mechanism"),
        (
            b"SCRAM-SHA-256-PLUS\0\0\0\0\0",
            "client selected an invalid SASL authentication mechanism",
        ),
        (b"\xff\0\0\0\0\0", "client selected an invalid SASL authentication mechanism"),
        (b"SCRAM-SHA-256\0", "insufficient data left in message"),
        (b"SCRAM-SHA-256\0\0\0\0", "insufficient data left in message"),
        (b"SCRAM-SHA-256\0\0\0\0\x05abcd", "insufficient data left in message"),
        (b"SCRAM-SHA-256\0\x7f\xff\xff\xffabcd", "insufficient data left in message"),
        (b"SCRAM-SHA-256\0\x80\0\0\0abcd", "insufficient data left in message"),
        (b"SCRAM-SHA-256\0\xff\xff\xff\xffabcd", "invalid message format"),
        (b"SCRAM-SHA-256\0\0\0\0\x03abcd", "invalid message format"),
        (b"SCRAM-SHA-256\0\0\0\0\0", "malformed SCRAM message"),
        (&[b'x'; 1020], "invalid string in message"),
        (&[b'x'; 1021], "password authentication failed for user \"joe\""),
    ];
    let md5 = [
        (&b""[..], "invalid password packet size"),
        (b"md5", "invalid password packet size"),
        (b"md5\0\0", "invalid password packet size"),
        (b"m\0d5\0", "invalid password packet size"),
        (b"\0", "empty password returned by client"),
        (b"md5\0", "password authentication failed for user \"joe\""),
        (b"correct horse\0", "password authentication failed for user \"joe\""),
        (&[b'x'; 65_532], "password authentication failed for user \"joe\""),
    ];
    let salts = MockSalts::new([1; 32]);
    for (secret, cases) in [(SCRAM, &scram[..]), (MD5, &md5[..])] {
        let stored = StoredSecret::parse(secret).unwrap();
        for (body, expected) in cases {
            let (mut login, _) =
                ClientLogin::start(AuthMethod::Md5, "joe", Some(&stored), &salts).unwrap();
            let refusal = login.on_message(body).unwrap_err();
            assert_eq!(refusal.message, *expected, "{body:?}");
            let again = login.on_message(body).unwrap_err();
            assert_eq!(
                (again.sqlstate.0, &*again.message),
                ("08P01", "invalid frontend message type 112")
            );
        }
        let (mut login, _) =
            ClientLogin::start(AuthMethod::Md5, "joe", Some(&stored), &salts).unwrap();
        let kind = if secret == MD5 { "password" } else { "SASL" };
        assert_eq!(
            login.on_other_message(b'Q').message,
            format!("expected {kind} response, got message type 81")
        );
        assert_eq!(login.on_other_message(b'Q').message, "invalid frontend message type 81");
    }
}

#[test]
fn plus_is_offered_with_tls_alone_and_works() {
    let binding = ChannelBinding::TlsServerEndPoint(vec![7; 32]);
    let stored = StoredSecret::parse(SCRAM).unwrap();
    let salts = MockSalts::new([1; 32]);
    let clear = log_in(AuthMethod::Trust, Some(PASSWORD), None).unwrap();
    let (login, step) = ClientLogin::start_bound(
        AuthMethod::ScramSha256,
        "joe",
        Some(&stored),
        &salts,
        binding.clone(),
    )
    .unwrap();
    let node = NodeLogin::new("joe", clear.as_ref()).bound_to(binding);
    let Step::Send(list) = &step else { panic!("{step:?}") };
    assert!(list.ends_with(b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"));
    run(login, step, node).unwrap();
}

#[test]
fn no_debug_shows_a_secret() {
    let mut shown = Vec::new();
    let mut show = |thing: &dyn std::fmt::Debug| shown.push(format!("{thing:?} {thing:#?}"));
    let salts = MockSalts::new(*b"planted-key-of-32-bytes---------");
    show(&salts);
    for text in [PASSWORD, MD5, SCRAM] {
        let stored = StoredSecret::parse(text).unwrap();
        show(&stored);
        for method in METHODS {
            let (mut login, step) = start(method, Some(&stored)).unwrap();
            show(&login);
            show(&step);
            let _ =
                login.on_message(&initial("SCRAM-SHA-256", b"n,,n=,r=abc")).map(|step| show(&step));
            show(&login);
            if let Ok(credentials) = log_in(method, Some(text), Some(PASSWORD)) {
                show(&credentials);
                for (code, body) in [(3, &b""[..]), (5, b"salt"), (10, b"SCRAM-SHA-256\0\0")] {
                    let mut node = NodeLogin::new("joe", credentials.as_ref()).allow_cleartext();
                    show(&node.on_authentication(code, body));
                    show(&node);
                }
            }
        }
        show(&log_in(AuthMethod::ScramSha256, Some(text), Some("correct cow")));
    }
    let bytes_of =
        |text: &str| format!("{:?}", text.as_bytes()).trim_matches(['[', ']']).to_owned();
    for shown in shown {
        for planted in
            [PASSWORD, &MD5[3..], "planted-key", "correct cow", &SCRAM[SCRAM.len() - 44..]]
        {
            assert!(!shown.contains(planted), "{shown}");
            assert!(!shown.contains(&bytes_of(planted)), "{shown}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Any sequence of messages, sane or not, ends without a panic and never lets anybody in.
    #[test]
    fn strangers_bytes_never_log_in(
        method in prop::sample::select(vec![AuthMethod::Md5, AuthMethod::ScramSha256]),
        stored in prop::sample::select(vec![None, Some(MD5), Some(SCRAM)]),
        bodies in prop::collection::vec(client_body(), 1..5),
    ) {
        let stored = stored.map(|text| StoredSecret::parse(text).unwrap());
        let (mut login, _) =
            ClientLogin::start(method, "joe", stored.as_ref(), &MockSalts::new([1; 32])).unwrap();
        for body in bodies {
            let granted = matches!(login.on_message(&body), Ok(Step::Granted { .. }));
            prop_assert!(!granted);
        }
    }

    /// Nor does any sequence of a node's messages panic, or grant once SASL has begun.
    #[test]
    fn strangers_bytes_never_pass_for_a_node(
        secret in prop::sample::select(vec![None, Some(MD5), Some("quick")]),
        requests in prop::collection::vec((-1..14i32, node_body()), 1..6),
    ) {
        let stored = secret.map(|text| StoredSecret::parse(text).unwrap());
        let credentials = log_in_with(AuthMethod::Trust, stored.as_ref(), None).unwrap();
        let mut login = NodeLogin::new("joe", credentials.as_ref()).allow_cleartext();
        let mut sasl = false;
        for (code, body) in requests {
            let outcome = login.on_authentication(code, &body);
            sasl |= code == 10 && outcome.is_ok();
            prop_assert!(!(sasl && outcome == Ok(Reply::Granted)));
        }
    }
}

// === helpers ===

fn client_body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..64),
        "[ny],,n=[a-z]{0,3},r=[!-~]{0,9}"
            .prop_map(|text| initial("SCRAM-SHA-256", text.as_bytes())),
        "[nyp=a,mrx]{0,12}".prop_map(|text| initial("SCRAM-SHA-256", text.as_bytes())),
        "c=biws,r=[!-~]{0,30},p=[A-Za-z0-9+/]{0,44}=?".prop_map(String::into_bytes),
        "md5[0-9a-f]{32}\0".prop_map(String::into_bytes),
        Just(b"SCRAM-SHA-256\0\xff\xff\xff\xff".to_vec()),
    ]
}

fn node_body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        Just(b"SCRAM-SHA-256\0\0".to_vec()),
        prop::collection::vec(any::<u8>(), 0..64),
        prop::collection::vec(any::<u8>(), 4),
        "r=[!-~]{0,40},s=[A-Za-z0-9+/]{0,8}=?=?,i=[0-9]{0,3}".prop_map(String::into_bytes),
        "[vesirm=,]{0,12}".prop_map(String::into_bytes),
    ]
}

fn initial(mechanism: &str, data: &[u8]) -> Vec<u8> {
    let length = i32::try_from(data.len()).unwrap();
    [mechanism.as_bytes(), &[0], &length.to_be_bytes(), data].concat()
}

fn sent(step: Step) -> Vec<u8> {
    match step {
        Step::Send(bytes) => bytes,
        Step::Granted { .. } => panic!("{step:?}"),
    }
}

fn kind(credentials: Option<&Credentials>) -> &'static str {
    credentials.map_or("nothing", Credentials::kind)
}

/// The user joe, who knows `password`, logs in where `secret` is stored.
fn log_in(
    method: AuthMethod,
    secret: Option<&str>,
    password: Option<&str>,
) -> Result<Option<Credentials>, Refusal> {
    let stored = secret.map(|text| StoredSecret::parse(text).unwrap());
    log_in_with(method, stored.as_ref(), password)
}

fn log_in_with(
    method: AuthMethod,
    stored: Option<&StoredSecret>,
    password: Option<&str>,
) -> Result<Option<Credentials>, Refusal> {
    let known = password.map(|text| match StoredSecret::parse(text).unwrap() {
        StoredSecret::Clear(password) => Credentials::Clear(password),
        other => panic!("{other:?}"),
    });
    let (login, step) = start(method, stored)?;
    match run(login, step, NodeLogin::new("joe", known.as_ref()).allow_cleartext()) {
        Ok(credentials) => Ok(credentials),
        Err(Lost::AtServer(refusal)) => Err(refusal),
        Err(Lost::AtClient(error)) => panic!("{error}"),
    }
}

/// As on a connection with TLS, so that every method may be asked for.
fn start(
    method: AuthMethod,
    stored: Option<&StoredSecret>,
) -> Result<(ClientLogin, Step), Refusal> {
    let salts = MockSalts::new([1; 32]);
    ClientLogin::start_bound(method, "joe", stored, &salts, ChannelBinding::Absent)
}

/// Our own client side against our own server side.
fn duel(
    method: AuthMethod,
    secret: Option<&str>,
    credentials: Option<&Credentials>,
) -> Result<(), Lost> {
    let stored = secret.map(|text| StoredSecret::parse(text).unwrap());
    let (login, step) =
        ClientLogin::start(method, "joe", stored.as_ref(), &MockSalts::new([1; 32]))
            .map_err(Lost::AtServer)?;
    run(login, step, NodeLogin::new("joe", credentials)).map(|_| ())
}

#[derive(Debug)]
enum Lost {
    AtServer(Refusal),
    AtClient(as_client::NodeLoginError),
}

fn run(
    mut server: ClientLogin,
    mut step: Step,
    mut client: NodeLogin,
) -> Result<Option<Credentials>, Lost> {
    loop {
        let (message, granted) = match step {
            Step::Send(message) => (message, None),
            Step::Granted { send, credentials } => (send, Some(credentials)),
        };
        let mut reply = Reply::Nothing;
        if !message.is_empty() {
            assert_eq!(message[0], b'R');
            assert_eq!(
                i32::from_be_bytes(message[1..5].try_into().unwrap()) as usize,
                message.len() - 1
            );
            let code = i32::from_be_bytes(message[5..9].try_into().unwrap());
            reply = client.on_authentication(code, &message[9..]).map_err(Lost::AtClient)?;
        }
        if let Some(credentials) = granted {
            assert_eq!(reply, Reply::Nothing);
            assert_eq!(client.on_authentication(0, b""), Ok(Reply::Granted));
            return Ok(credentials);
        }
        let Reply::Send(message) = reply else { panic!("{reply:?}") };
        assert_eq!(message[0], b'p');
        assert_eq!(
            i32::from_be_bytes(message[1..5].try_into().unwrap()) as usize,
            message.len() - 1
        );
        step = server.on_message(&message[5..]).map_err(Lost::AtServer)?;
    }
}

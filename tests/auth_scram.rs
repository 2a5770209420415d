//! SCRAM-SHA-256 against the RFCs, against PostgreSQL's own secrets, and against hostile peers.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may panic as the test may")]

use understudy::{
    auth::{
        password::Password,
        scram::{
            ChannelBinding, ClientExchange, MAX_ITERATIONS, MockSalts, NodeScramError, Nonce,
            ScramFailure, ScramKeys, ScramVerifier, ServerExchange, Violation, client::Means,
        },
    },
    conf::Secret,
};

const RFC_VERIFIER: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
                            WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
const RFC_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                         p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

#[test]
fn the_server_speaks_rfc_7677() {
    let mut server = rfc_server();
    let server_first = server.client_first(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
    assert_eq!(
        text(&server_first),
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let (server_final, keys) = server.client_final(RFC_FINAL.as_bytes()).unwrap();
    assert_eq!(text(&server_final), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    // The proof has revealed what the password would have given.
    let derived = ScramKeys::derive(b"pencil", &keys.salt, keys.iterations);
    assert_eq!(keys.client_key.bytes(), derived.client_key.bytes());
    assert_eq!(keys.server_key.bytes(), derived.server_key.bytes());
}

#[test]
fn passwords_fit_the_secrets_postgresql_makes() {
    // CREATE ROLE … PASSWORD … on PostgreSQL 15: plain, SASLprep changes it, SASLprep refuses it.
    for (password, stored) in [
        (
            "correct horse",
            "SCRAM-SHA-256$4096:fzQrhZd3jg1nw59DfipkrQ==$\
Y6cXMi+bIhY6VwzAmxqC4yt/g5ivFyMQA3m7h3oQ6SI=:ifk31qXjI2EQPJrCb2co2FQZumCfMhYaE1Zg39Jdu5o=",
        ),
        (
            "I\u{ad}X \u{2168} \u{aa}",
            "SCRAM-SHA-256$4096:IbA797vEdXssqozqkjMM0g==$\
+8op5Eo9n02yhUGngGbYdibqNwG+gGn4aJcFwQOELiw=:Xu98LZxUHE6f0yu6U0gtoIPoXA1LXecnaz/qtt1azp4=",
        ),
        (
            "caf\u{e9}\u{7}",
            "SCRAM-SHA-256$4096:Lu4q5L/USnBBhBYw3RYccA==$\
XcwhPPsLlTn+uUE49aVkPBlMCEr3KuOxdjOQAs+IdZE=:X8N2Zl2Uw49K87hS1M/NscA3U0AKrsPSgRTsDQGg7EY=",
        ),
    ] {
        let verifier = ScramVerifier::parse(stored).unwrap();
        let keys = ScramKeys::derive(password.as_bytes(), &verifier.salt, verifier.iterations);
        assert_eq!(keys.stored_key.bytes(), verifier.stored_key.bytes(), "{password}");
        assert_eq!(keys.server_key.bytes(), verifier.server_key.bytes(), "{password}");
        exchange(Means::Password(secret(password)), &verifier, |_, message| message).unwrap();
        exchange(Means::Keys(keys), &verifier, |_, message| message).unwrap();
    }
}

#[test]
fn a_wrong_password_fails_at_the_end_only() {
    let verifier = quick("right");
    for means in
        [Means::Password(secret("wrong")), Means::Keys(ScramKeys::derive(b"wrong", b"salt", 2))]
    {
        assert_eq!(
            exchange(means, &verifier, |_, message| message),
            Err(Failed::Server("proof".into()))
        );
    }
}

#[test]
fn whatever_is_changed_on_the_way_fails_the_login() {
    // The last bit of any byte of any message flipped: never a success on both sides.
    let verifier = quick("right");
    for step in 0..4 {
        for position in 0..200 {
            let mut changed = false;
            let changes = std::cell::Cell::new(false);
            let outcome =
                exchange(Means::Password(secret("right")), &verifier, |at, mut message| {
                    if at == step && position < message.len() {
                        message[position] ^= 1;
                        changes.set(true);
                    }
                    message
                });
            changed |= changes.get();
            assert_eq!(outcome.is_ok(), !changed, "message {step}, byte {position}: {outcome:?}");
        }
    }
}

#[test]
fn the_client_refuses_a_server_that_does_not_know_the_secret() {
    let verifier = quick("right");
    let outcome = exchange(Means::Password(secret("right")), &verifier, |at, message| match at {
        3 => b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_vec(),
        _ => message,
    });
    assert_eq!(outcome, Err(Failed::Client(NodeScramError::WrongSignature)));
}

#[test]
fn keys_serve_only_the_secret_they_come_from() {
    let keys = || Means::Keys(ScramKeys::derive(b"right", b"salt", 2));
    for (salt, iterations, same_salt) in [(&b"tlas"[..], 2, false), (b"salt", 3, true)] {
        let verifier = ScramKeys::derive(b"right", salt, iterations).verifier();
        assert_eq!(
            exchange(keys(), &verifier, |_, message| message),
            Err(Failed::Client(NodeScramError::KeysDoNotFit {
                node_iterations: iterations,
                our_iterations: 2,
                same_salt
            }))
        );
    }
}

#[test]
fn channel_binding_has_its_place() {
    let bound = ChannelBinding::TlsServerEndPoint(vec![1; 32]);
    let other = ChannelBinding::TlsServerEndPoint(vec![2; 32]);
    let login = |client: &ChannelBinding, server: &ChannelBinding, listed: bool, plus: bool| {
        let mut node = ServerExchange::new(quick("right"), server.clone(), plus, nonce("s"));
        let mut us =
            ClientExchange::new(Means::Password(secret("right")), client, listed, nonce("c"));
        let first = node.client_first(&us.client_first()).map_err(told)?;
        let answer = us.server_first(&first).unwrap();
        node.client_final(&answer).map_err(told).map(|_| ())
    };
    let absent = ChannelBinding::Absent;
    assert_eq!(login(&bound, &bound, true, true), Ok(()));
    assert_eq!(login(&bound, &absent, false, false), Ok(()));
    assert_eq!(login(&absent, &bound, true, false), Ok(()));
    // Another certificate in between; a list with PLUS taken out; a flag that contradicts the mechanism.
    assert_eq!(
        login(&other, &bound, true, true).unwrap_err(),
        "28000 SCRAM channel binding check failed"
    );
    let stripped = login(&bound, &bound, false, false).unwrap_err();
    assert!(stripped.starts_with("28000 SCRAM channel binding negotiation error"), "{stripped}");
    let unbound = login(&absent, &bound, true, true).unwrap_err();
    assert!(unbound.contains("does not include channel binding data"), "{unbound}");
    let unchosen = login(&bound, &bound, true, false).unwrap_err();
    assert!(unchosen.contains("without channel binding"), "{unchosen}");
}

#[test]
fn hostile_client_first_messages_are_named() {
    for (message, expected) in [
        (&b""[..], "08P01 malformed SCRAM message: The message is empty."),
        (
            b"n,,n=,r=x\0",
            "08P01 malformed SCRAM message: Message length does not match input length.",
        ),
        (b"\0", "08P01 malformed SCRAM message: Message length does not match input length."),
        (b"x,,n=,r=x", "08P01 malformed SCRAM message: Unexpected channel-binding flag \"'x'\"."),
        (b"\xff", "08P01 malformed SCRAM message: Unexpected channel-binding flag \"0xff\"."),
        (b"n", "08P01 malformed SCRAM message: Comma expected, but found character \"0x00\"."),
        (b"nn,", "08P01 malformed SCRAM message: Comma expected, but found character \"'n'\"."),
        (
            b"n,",
            "08P01 malformed SCRAM message: Unexpected attribute \"0x00\" in client-first-message.",
        ),
        (
            b"n,x,",
            "08P01 malformed SCRAM message: Unexpected attribute \"'x'\" in client-first-message.",
        ),
        (b"n,a=joe,n=,r=x", "0A000 client uses authorization identity, but it is not supported"),
        (b"n,,m=1,n=,r=x", "0A000 client requires an unsupported SCRAM extension"),
        (b"n,,", "08P01 malformed SCRAM message: Expected attribute \"n\" but found \"0x00\"."),
        (b"n,,r=x", "08P01 malformed SCRAM message: Expected attribute \"n\" but found \"'r'\"."),
        (b"n,,n", "08P01 malformed SCRAM message: Expected character \"=\" for attribute \"n\"."),
        (b"n,,n=", "08P01 malformed SCRAM message: Expected attribute \"r\" but found \"0x00\"."),
        (
            b"n,,n=,n=,r=x",
            "08P01 malformed SCRAM message: Expected attribute \"r\" but found \"'n'\".",
        ),
        (b"n,,n=,r=", "08P01 malformed SCRAM message: The nonce is empty."),
        (b"n,,n=,r=\x7f", "08P01 non-printable characters in SCRAM nonce"),
        (
            b"n,,n=,r=x,1=y",
            "08P01 malformed SCRAM message: Attribute expected, but found invalid character \"'1'\".",
        ),
        (
            b"n,,n=,r=x,z",
            "08P01 malformed SCRAM message: Expected character \"=\" for attribute \"z\".",
        ),
        (
            b"p=tls-server-end-point,,n=,r=x",
            "08P01 malformed SCRAM message: The client selected SCRAM-SHA-256 without channel binding, but the \
             SCRAM message includes channel binding data.",
        ),
    ] {
        let told = rfc_server().client_first(message).map_err(told).unwrap_err();
        assert_eq!(told, expected, "{message:?}");
    }
    let mut plus = ServerExchange::new(
        quick("x"),
        ChannelBinding::TlsServerEndPoint(vec![1]),
        true,
        nonce("s"),
    );
    let told = plus.client_first(b"p=tls-unique\x1b,,n=,r=x").map_err(told).unwrap_err();
    assert_eq!(told, "08P01 unsupported SCRAM channel-binding type \"tls-unique?\"");
    for fine in [&b"n,,n=\xff\xfe,r=x"[..], b"y,,n=,r=x", b"n,,n=,r=x,z=1,z=2,r=y"] {
        assert!(rfc_server().client_first(fine).is_ok());
    }
}

#[test]
fn hostile_client_final_messages_are_named() {
    let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    let proof = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    for (message, expected) in [
        (String::new(), "The message is empty."),
        ("\0".into(), "Message length does not match input length."),
        (format!("r={nonce},p={proof}"), "Expected attribute \"c\" but found \"'r'\"."),
        (format!("c=biws,p={proof}"), "Expected attribute \"r\" but found \"'p'\"."),
        (format!("c=biws,r={nonce}"), "Attribute expected, but found end of string."),
        (format!("c=biws,r={nonce},"), "Attribute expected, but found end of string."),
        (
            format!("c=biws,c=biws,r={nonce},p={proof}"),
            "Expected attribute \"r\" but found \"'c'\".",
        ),
        (format!("c=eSws,r={nonce},p={proof}"), "unexpected SCRAM channel-binding attribute"),
        ("c=eSws".into(), "unexpected SCRAM channel-binding attribute"),
        (format!("c=,r={nonce},p={proof}"), "unexpected SCRAM channel-binding attribute"),
        (format!("c=biws,r={nonce}x,p={proof}"), "invalid SCRAM response: Nonce does not match."),
        (format!("c=biws,r=,p={proof}"), "invalid SCRAM response: Nonce does not match."),
        (
            format!("c=biws,r={},p={proof}", &nonce[..20]),
            "invalid SCRAM response: Nonce does not match.",
        ),
        (format!("c=biws,r={nonce},p="), "Malformed proof in client-final-message."),
        (format!("c=biws,r={nonce},p=!!!"), "Malformed proof in client-final-message."),
        (format!("c=biws,r={nonce},p={proof}AAAA"), "Malformed proof in client-final-message."),
        (format!("c=biws,r={nonce},p=AAAA"), "Malformed proof in client-final-message."),
        (format!("c=biws,r={nonce},p={proof},p={proof}"), "Garbage found at the end"),
        (format!("c=biws,r={nonce},p={proof},x=y"), "Garbage found at the end"),
        (format!("c=biws,r={nonce},x=y,p={proof}"), "proof"),
    ] {
        let mut server = rfc_server();
        server.client_first(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        let outcome = server.client_final(message.as_bytes()).map_err(told).unwrap_err();
        assert!(outcome.contains(expected), "{message:?}: {outcome}");
        // What failed cannot be tried again on the same exchange.
        let again = server.client_final(RFC_FINAL.as_bytes()).map_err(told).unwrap_err();
        assert_eq!(again, "08P01 invalid SCRAM exchange state");
    }
    assert!(rfc_server().client_final(RFC_FINAL.as_bytes()).is_err(), "the final message first");
}

#[test]
fn hostile_server_first_messages_are_refused() {
    let huge = format!("r=c{},s=c2FsdA==,i=2", "s".repeat(100_000));
    let greedy = format!("r=cs,s=c2FsdA==,i={}", MAX_ITERATIONS + 1);
    for (message, expected) in [
        (&b""[..], "empty"),
        (b"r=cs,s=c2FsdA==,i=2\0", "length"),
        (b"s=c2FsdA==,i=2", "Expected attribute \"r\""),
        (b"r=cs,i=2", "Expected attribute \"s\""),
        (b"r=cs,s=c2FsdA==", "Expected attribute \"i\""),
        (b"r=cs,r=cs,s=c2FsdA==,i=2", "Expected attribute \"s\""),
        (b"r=cs,s=c2FsdA==,i=2,i=3", "Garbage"),
        (b"r=cs,s=c2FsdA==,i=2,x=y", "Garbage"),
        (b"m=ext,r=cs,s=c2FsdA==,i=2", "extension"),
        (b"r=,s=c2FsdA==,i=2", "another exchange"),
        (b"r=c,s=c2FsdA==,i=2", "another exchange"),
        (b"r=xs,s=c2FsdA==,i=2", "another exchange"),
        (b"r=c\xffs,s=c2FsdA==,i=2", "non-printable"),
        (b"r=c s,s=c2FsdA==,i=2", "non-printable"),
        (b"r=cs,s=,i=2", "salt"),
        (b"r=cs,s=?,i=2", "salt"),
        (b"r=cs,s=c2FsdA==,i=", "positive number"),
        (b"r=cs,s=c2FsdA==,i=0", "positive number"),
        (b"r=cs,s=c2FsdA==,i=-1", "positive number"),
        (b"r=cs,s=c2FsdA==,i=2x", "positive number"),
        (b"r=cs,s=c2FsdA==,i=99999999999999999999", "positive number"),
        (greedy.as_bytes(), "at most 100000 are run"),
        (b"r=cs,s=c2FsdA==,i=2147483647", "at most 100000 are run"),
        (huge.as_bytes(), "at most 1024 are accepted"),
        (b"e=other-error", "Expected attribute \"r\""),
    ] {
        let mut us = client("right");
        let told = us.server_first(message).unwrap_err().to_string();
        assert!(told.contains(expected), "{message:?}: {told}");
        assert!(matches!(
            us.server_first(b"r=cs,s=c2FsdA==,i=2"),
            Err(NodeScramError::OutOfTurn(_))
        ));
    }
}

#[test]
fn hostile_server_final_messages_are_refused() {
    let huge = format!("e={}", "x".repeat(100_000));
    for (message, expected) in [
        (&b""[..], "empty"),
        (b"v=AAAA\0", "length"),
        (b"v=", "base64"),
        (b"v=AAAA", "base64"),
        (b"v=!", "base64"),
        (b"x=AAAA", "Expected attribute \"v\""),
        (b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "impostor"),
        (b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=,v=AAAA", "Garbage"),
        (b"e=invalid-proof", "ended the SCRAM exchange: invalid-proof"),
        (b"e=\x1b[2J\xff", "ended the SCRAM exchange: ?[2J?"),
        (b"e", "Expected character"),
        (huge.as_bytes(), "at most 1024 are accepted"),
    ] {
        let mut us = client("right");
        us.server_first(b"r=cs,s=c2FsdA==,i=2").unwrap();
        let told = us.server_final(message).unwrap_err().to_string();
        assert!(told.contains(expected), "{message:?}: {told}");
    }
    assert!(matches!(client("x").server_final(b"v=AAAA"), Err(NodeScramError::OutOfTurn(_))));
}

#[test]
fn mock_salts_are_steady_for_a_user_and_differ_between_users_and_processes() {
    let (ours, theirs) = (MockSalts::random().unwrap(), MockSalts::random().unwrap());
    assert_eq!(ours.salt("joe"), ours.clone().salt("joe"));
    assert_eq!(ours.salt("joe").len(), 16);
    assert_ne!(ours.salt("joe"), ours.salt("jane"));
    assert_ne!(ours.salt("joe"), theirs.salt("joe"));
}

#[test]
fn a_doomed_exchange_fails_even_with_the_right_proof() {
    let mut node =
        ServerExchange::doomed(quick("right"), ChannelBinding::Absent, false, nonce("s"));
    let mut us = client("right");
    let first = node.client_first(&us.client_first()).unwrap();
    let answer = us.server_first(&first).unwrap();
    assert!(matches!(node.client_final(&answer), Err(ScramFailure::Proof)));
}

// === helpers ===

#[derive(Debug, PartialEq)]
enum Failed {
    Server(String),
    Client(NodeScramError),
}

/// Runs both sides against each other; `meddle` sees the four messages, numbered from 0.
fn exchange(
    means: Means,
    verifier: &ScramVerifier,
    meddle: impl Fn(usize, Vec<u8>) -> Vec<u8>,
) -> Result<(), Failed> {
    let mut node =
        ServerExchange::new(verifier.clone(), ChannelBinding::Absent, false, nonce("server"));
    let mut us =
        ClientExchange::new(means, &ChannelBinding::Absent, false, nonce("client-and-longer-text"));
    let message = meddle(0, us.client_first());
    let message = node.client_first(&message).map_err(|failure| Failed::Server(told(failure)))?;
    let message = us.server_first(&meddle(1, message)).map_err(Failed::Client)?;
    let answer = node.client_final(&meddle(2, message));
    let (message, _) = answer.map_err(|failure| Failed::Server(told(failure)))?;
    us.server_final(&meddle(3, message)).map_err(Failed::Client)
}

fn told(failure: ScramFailure) -> String {
    match failure {
        ScramFailure::Proof => "proof".into(),
        ScramFailure::Violation(Violation { sqlstate, message, detail: None }) => {
            format!("{} {message}", sqlstate.0)
        }
        ScramFailure::Violation(Violation { sqlstate, message, detail: Some(detail) }) => {
            format!("{} {message}: {detail}", sqlstate.0)
        }
    }
}

fn rfc_server() -> ServerExchange {
    ServerExchange::new(
        ScramVerifier::parse(RFC_VERIFIER).unwrap(),
        ChannelBinding::Absent,
        false,
        nonce("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"),
    )
}

fn client(password: &str) -> ClientExchange {
    ClientExchange::new(
        Means::Password(secret(password)),
        &ChannelBinding::Absent,
        false,
        nonce("c"),
    )
}

/// A verifier that costs nothing to make.
fn quick(password: &str) -> ScramVerifier {
    ScramKeys::derive(password.as_bytes(), b"salt", 2).verifier()
}

fn secret(text: &str) -> Password {
    Password::new(Secret::new(text.into()))
}

fn nonce(text: &str) -> Nonce {
    Nonce::fixed(text).unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

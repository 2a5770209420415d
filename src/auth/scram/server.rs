//! Our part of SCRAM towards clients (RFC 5802 section 5), with PostgreSQL's checks and words.
//!
//! ```text
//!   ClientFirst ──client-first──► ClientFinal ──client-final──► Done
//! ```
//! Any error leads to `Done` as well: an exchange that failed cannot be continued.

use std::{borrow::Cow, mem};

use base64::{Engine, engine::general_purpose::STANDARD};
use subtle::Choice;

use crate::{
    auth::scram::{
        ChannelBinding, Key, Nonce, ScramKeys, ScramVerifier,
        attributes::{Attributes, Malformed, printable, sanitized},
        binding::Flag,
        nonce::is_printable,
    },
    protocol::sqlstate::{
        FEATURE_NOT_SUPPORTED, INVALID_AUTHORIZATION, PROTOCOL_VIOLATION, SqlState,
    },
};

/// One exchange.
#[derive(Debug)]
pub struct ServerExchange {
    verifier: ScramVerifier,
    doomed: bool,
    binding: ChannelBinding,
    plus: bool,
    state: State,
}

/// Why an exchange ended without success.
#[derive(Debug)]
pub enum ScramFailure {
    /// The client broke the protocol.
    Violation(Violation),
    /// The proof is wrong, or the exchange was doomed: nobody but us knows which.
    Proof,
}

/// How the client broke the protocol, as PostgreSQL reports it.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation {
    /// SQLSTATE.
    pub sqlstate: SqlState,
    /// Primary message.
    pub message: Cow<'static, str>,
    /// Detail, where PostgreSQL gives one.
    pub detail: Option<String>,
}

#[derive(Debug)]
enum State {
    ClientFirst { server_nonce: Nonce },
    ClientFinal { flag: Flag, first_bare: Vec<u8>, server_first: Vec<u8>, nonce: Vec<u8> },
    Done,
}

/// A client-final-message whose channel binding is right, taken apart.
struct ClientFinal<'a> {
    nonce: &'a [u8],
    proof: Key,
    without_proof: &'a [u8],
}

// === impl ServerExchange ===

impl ServerExchange {
    /// An exchange that succeeds if the client proves to know the verifier's password. `plus` says that the
    /// client has chosen SCRAM-SHA-256-PLUS.
    #[must_use]
    pub fn new(verifier: ScramVerifier, binding: ChannelBinding, plus: bool, nonce: Nonce) -> Self {
        let state = State::ClientFirst { server_nonce: nonce };
        Self { verifier, doomed: false, binding, plus, state }
    }

    /// An exchange that does the same work and fails at its end, whatever the client sends.
    #[must_use]
    pub fn doomed(mock: ScramVerifier, binding: ChannelBinding, plus: bool, nonce: Nonce) -> Self {
        Self { doomed: true, ..Self::new(mock, binding, plus, nonce) }
    }

    /// Takes the client-first-message and gives the server-first-message.
    ///
    /// The user name in it is ignored, as PostgreSQL does: the startup message has named the user.
    ///
    /// # Errors
    /// The message is not one, or asks for something PostgreSQL does not know (authzid, extensions).
    pub fn client_first(&mut self, message: &[u8]) -> Result<Vec<u8>, ScramFailure> {
        let State::ClientFirst { server_nonce } = mem::replace(&mut self.state, State::Done) else {
            return Err(out_of_turn().into());
        };
        let (flag, mut attributes) = self.read_gs2_header(message)?;
        let first_bare = attributes.rest();
        if attributes.peek() == Some(b'm') {
            return Err(unsupported("client requires an unsupported SCRAM extension").into());
        }
        attributes.expect(b'n')?;
        let client_nonce = attributes.expect(b'r')?;
        if !is_printable(client_nonce) {
            return Err(violation("non-printable characters in SCRAM nonce").into());
        }
        if client_nonce.is_empty() {
            // PostgreSQL lets this pass; RFC 5802 wants at least one character, and an empty one would
            // leave the exchange's freshness to us alone.
            return Err(malformed("The nonce is empty.").into());
        }
        while !attributes.rest().is_empty() {
            attributes.any()?;
        }

        let nonce = [client_nonce, server_nonce.as_str().as_bytes()].concat();
        let tail =
            format!(",s={},i={}", STANDARD.encode(&self.verifier.salt), self.verifier.iterations);
        let server_first = [b"r=", nonce.as_slice(), tail.as_bytes()].concat();
        self.state = State::ClientFinal {
            flag,
            first_bare: first_bare.to_vec(),
            server_first: server_first.clone(),
            nonce,
        };
        Ok(server_first)
    }

    /// Takes the client-final-message; on success gives the server-final-message and the keys that the
    /// proof has revealed.
    ///
    /// # Errors
    /// The message is not one, answers another exchange, or its proof is wrong.
    pub fn client_final(&mut self, message: &[u8]) -> Result<(Vec<u8>, ScramKeys), ScramFailure> {
        let State::ClientFinal { flag, first_bare, server_first, nonce } =
            mem::replace(&mut self.state, State::Done)
        else {
            return Err(out_of_turn().into());
        };
        let answer = ClientFinal::read(message, flag, &self.binding)?;
        if answer.nonce != nonce {
            return Err(Violation {
                detail: Some("Nonce does not match.".into()),
                ..violation("invalid SCRAM response")
            }
            .into());
        }

        let auth_message = [first_bare.as_slice(), &server_first, answer.without_proof].join(&b',');
        let client_key = answer.proof.xor(&self.verifier.stored_key.sign(&auth_message));
        // Both are computed before either counts, so that a mock exchange takes the same time.
        let proven = client_key.hashed().is(&self.verifier.stored_key)
            & Choice::from(u8::from(!self.doomed));
        if !bool::from(proven) {
            return Err(ScramFailure::Proof);
        }
        let signature = self.verifier.server_key.sign(&auth_message);
        let keys = ScramKeys {
            client_key,
            stored_key: self.verifier.stored_key.clone(),
            server_key: self.verifier.server_key.clone(),
            salt: self.verifier.salt.clone(),
            iterations: self.verifier.iterations,
        };
        Ok((format!("v={}", STANDARD.encode(signature.bytes())).into_bytes(), keys))
    }

    /// `gs2-cbind-flag "," [ authzid ] ","`
    fn read_gs2_header<'a>(
        &self,
        message: &'a [u8],
    ) -> Result<(Flag, Attributes<'a>), ScramFailure> {
        let mut attributes = Attributes::of(message)?;
        let flag = match attributes.peek() {
            Some(b'n' | b'y') if self.plus => return Err(malformed(PLUS_WITHOUT_BINDING).into()),
            Some(b'y') if self.binding.data().is_some() => {
                // Somebody between us has removed the PLUS mechanism from our list.
                return Err(Violation {
                    sqlstate: INVALID_AUTHORIZATION,
                    message: "SCRAM channel binding negotiation error".into(),
                    detail: Some(BINDING_STRIPPED.into()),
                }
                .into());
            }
            Some(flag @ (b'n' | b'y')) => {
                attributes.skip();
                if attributes.peek() != Some(b',') {
                    let found = printable(attributes.peek());
                    return Err(malformed(format!(
                        "Comma expected, but found character \"{found}\"."
                    ))
                    .into());
                }
                attributes.skip();
                if flag == b'y' { Flag::NotOffered } else { Flag::NotSupported }
            }
            Some(b'p') if !self.plus => return Err(malformed(BINDING_WITHOUT_PLUS).into()),
            Some(b'p') => match attributes.expect(b'p')? {
                b"tls-server-end-point" => Flag::Bound,
                other => {
                    let other = sanitized(other);
                    return Err(violation(format!(
                        "unsupported SCRAM channel-binding type \"{other}\""
                    ))
                    .into());
                }
            },
            other => {
                let found = printable(other);
                return Err(
                    malformed(format!("Unexpected channel-binding flag \"{found}\".")).into()
                );
            }
        };
        match attributes.peek() {
            Some(b',') => attributes.skip(),
            Some(b'a') => {
                return Err(unsupported(
                    "client uses authorization identity, but it is not supported",
                )
                .into());
            }
            other => {
                let found = printable(other);
                return Err(malformed(format!(
                    "Unexpected attribute \"{found}\" in client-first-message."
                ))
                .into());
            }
        }
        Ok((flag, attributes))
    }
}

// === impl ClientFinal ===

impl<'a> ClientFinal<'a> {
    /// `channel-binding "," nonce ["," extensions] "," proof`
    fn read(message: &'a [u8], flag: Flag, binding: &ChannelBinding) -> Result<Self, Violation> {
        let mut attributes = Attributes::of(message)?;
        if attributes.expect(b'c')? != flag.attribute(binding).as_bytes() {
            return Err(binding_mismatch(flag));
        }
        let nonce = attributes.expect(b'r')?;
        let (proof, before) = loop {
            let before = message.len() - attributes.rest().len();
            if let (b'p', value) = attributes.any()? {
                break (value, before);
            }
        };
        let Some(proof) = Key::from_base64(proof) else {
            return Err(malformed("Malformed proof in client-final-message."));
        };
        if !attributes.rest().is_empty() {
            return Err(malformed("Garbage found at the end of client-final-message."));
        }
        // The comma before the proof belongs to the proof.
        Ok(Self { nonce, proof, without_proof: &message[..before - 1] })
    }
}

// === impl Violation ===

impl From<Malformed> for Violation {
    fn from(malformed: Malformed) -> Self {
        self::malformed(malformed.0)
    }
}

// === impl ScramFailure ===

impl From<Violation> for ScramFailure {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl From<Malformed> for ScramFailure {
    fn from(malformed: Malformed) -> Self {
        Self::Violation(malformed.into())
    }
}

// === helpers and constants ===

fn violation(message: impl Into<Cow<'static, str>>) -> Violation {
    Violation { sqlstate: PROTOCOL_VIOLATION, message: message.into(), detail: None }
}

fn malformed(detail: impl Into<String>) -> Violation {
    Violation { detail: Some(detail.into()), ..violation("malformed SCRAM message") }
}

fn unsupported(message: &'static str) -> Violation {
    Violation { sqlstate: FEATURE_NOT_SUPPORTED, ..violation(message) }
}

fn out_of_turn() -> Violation {
    violation("invalid SCRAM exchange state")
}

fn binding_mismatch(flag: Flag) -> Violation {
    match flag {
        Flag::Bound => Violation {
            sqlstate: INVALID_AUTHORIZATION,
            ..violation("SCRAM channel binding check failed")
        },
        Flag::NotSupported | Flag::NotOffered => {
            violation("unexpected SCRAM channel-binding attribute in client-final-message")
        }
    }
}

const PLUS_WITHOUT_BINDING: &str = "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data.";
const BINDING_WITHOUT_PLUS: &str = "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data.";
const BINDING_STRIPPED: &str = "The client supports SCRAM channel binding but thinks the server does not.  However, this server does support channel binding.";

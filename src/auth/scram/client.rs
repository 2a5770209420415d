//! Our part of SCRAM towards nodes (RFC 5802 section 5), with a password or with keys.
//!
//! ```text
//!   ServerFirst ──server-first──► ServerFinal ──server-final──► Done
//! ```
//! The node is not trusted before its signature has been verified: what it sends is bounded, and costs a
//! bounded amount of work. Any error leads to `Done`.

use std::mem;

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::auth::{
    password::Password,
    scram::{
        ChannelBinding, Key, MAX_ITERATIONS, MAX_MESSAGE_BYTES, Nonce, ScramKeys,
        attributes::{Attributes, Malformed, sanitized},
        binding::Flag,
        nonce::is_printable,
        verifier::parse_iterations,
    },
};

/// What we prove ourselves with.
#[derive(Clone, Debug)]
pub enum Means {
    /// The password itself: any salt, up to [`MAX_ITERATIONS`].
    Password(Password),
    /// Keys: only the salt and iterations they were made for.
    Keys(ScramKeys),
}

/// One exchange.
#[derive(Debug)]
pub struct ClientExchange {
    means: Means,
    gs2: String,
    state: State,
}

/// Why a SCRAM login at a node failed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeScramError {
    /// The message breaks RFC 5802.
    #[error("the node's {message} is malformed: {detail}")]
    Malformed {
        /// Which message.
        message: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// A message is longer than [`MAX_MESSAGE_BYTES`].
    #[error("the node's {message} has {length} bytes; at most {MAX_MESSAGE_BYTES} are accepted")]
    TooLong {
        /// Which message.
        message: &'static str,
        /// Its length.
        length: usize,
    },
    /// The nonce is not ours with something added: the answer belongs to another exchange.
    #[error(
        "the node's nonce does not extend ours: its answer belongs to another exchange, or is forged"
    )]
    ForeignNonce,
    /// More than [`MAX_ITERATIONS`].
    #[error(
        "the node asks for {0} SCRAM iterations; at most {MAX_ITERATIONS} are run for a node that has not \
         proved itself yet: lower scram_iterations there and set the password again"
    )]
    TooManyIterations(u32),
    /// Keys from a client's login, but this node's verifier has another salt or other iterations.
    #[error(
        "the node's SCRAM secret was made separately from the one the client logged in with (iterations: \
         {node_iterations} at the node, {our_iterations} here; salt: {}), so the client's proof cannot be \
         used there: take the secret of auth.users_file or auth.query from the node's pg_authid, or store \
         the password", if *.same_salt { "the same" } else { "another" }
    )]
    KeysDoNotFit {
        /// The node's number.
        node_iterations: u32,
        /// That of our keys.
        our_iterations: u32,
        /// Whether at least the salts agree.
        same_salt: bool,
    },
    /// `e=`: the node refuses.
    #[error("the node ended the SCRAM exchange: {0}")]
    Refused(String),
    /// The node could not prove that it knows the user's secret.
    #[error(
        "the node's signature is wrong: it does not know the user's secret, so it may be an impostor"
    )]
    WrongSignature,
    /// A message that has no place at this moment.
    #[error("the node sent a {0} out of turn")]
    OutOfTurn(&'static str),
}

#[derive(Debug)]
enum State {
    ServerFirst { nonce: Nonce, first_bare: String, channel_binding: String },
    ServerFinal { expected_signature: Key },
    Done,
}

// === impl ClientExchange ===

impl ClientExchange {
    /// An exchange. `offers_plus` says whether the node lists SCRAM-SHA-256-PLUS.
    #[must_use]
    pub fn new(means: Means, binding: &ChannelBinding, offers_plus: bool, nonce: Nonce) -> Self {
        let flag = match binding {
            ChannelBinding::Absent => Flag::NotSupported,
            ChannelBinding::TlsServerEndPoint(_) if offers_plus => Flag::Bound,
            ChannelBinding::TlsServerEndPoint(_) => Flag::NotOffered,
        };
        // PostgreSQL ignores the name in here, and libpq leaves it empty: the startup message has it.
        let first_bare = format!("n=,r={}", nonce.as_str());
        let channel_binding = flag.attribute(binding);
        let state = State::ServerFirst { nonce, first_bare, channel_binding };
        Self { means, gs2: flag.header().to_owned(), state }
    }

    /// The client-first-message.
    #[must_use]
    pub fn client_first(&self) -> Vec<u8> {
        match &self.state {
            State::ServerFirst { first_bare, .. } => {
                format!("{}{first_bare}", self.gs2).into_bytes()
            }
            State::ServerFinal { .. } | State::Done => Vec::new(),
        }
    }

    /// Takes the server-first-message and gives the client-final-message.
    ///
    /// # Errors
    /// The message is not one, is hostile, or the keys do not fit it.
    pub fn server_first(&mut self, message: &[u8]) -> Result<Vec<u8>, NodeScramError> {
        let State::ServerFirst { nonce, first_bare, channel_binding } =
            mem::replace(&mut self.state, State::Done)
        else {
            return Err(NodeScramError::OutOfTurn(SERVER_FIRST));
        };
        let theirs = ServerFirst::read(message)?;
        if !theirs.nonce.starts_with(nonce.as_str()) || theirs.nonce.len() == nonce.as_str().len() {
            return Err(NodeScramError::ForeignNonce);
        }
        let keys = self.means.keys(&theirs.salt, theirs.iterations)?;

        let without_proof = format!("c={channel_binding},r={}", theirs.nonce);
        let auth_message = [first_bare.as_bytes(), message, without_proof.as_bytes()].join(&b',');
        let proof = keys.client_key.xor(&keys.stored_key.sign(&auth_message));
        self.state = State::ServerFinal { expected_signature: keys.server_key.sign(&auth_message) };
        Ok(format!("{without_proof},p={}", STANDARD.encode(proof.bytes())).into_bytes())
    }

    /// Takes the server-final-message: only after its `Ok` is the node who it says.
    ///
    /// # Errors
    /// The node refuses, or its signature is wrong.
    pub fn server_final(&mut self, message: &[u8]) -> Result<(), NodeScramError> {
        let State::ServerFinal { expected_signature } = mem::replace(&mut self.state, State::Done)
        else {
            return Err(NodeScramError::OutOfTurn(SERVER_FINAL));
        };
        bounded(SERVER_FINAL, message)?;
        let mut attributes =
            Attributes::of(message).map_err(|error| error.in_message(SERVER_FINAL))?;
        if attributes.peek() == Some(b'e') {
            let error = attributes.expect(b'e').map_err(|error| error.in_message(SERVER_FINAL))?;
            return Err(NodeScramError::Refused(sanitized(error)));
        }
        let signature = attributes.expect(b'v').map_err(|error| error.in_message(SERVER_FINAL))?;
        if !attributes.rest().is_empty() {
            return Err(malformed(SERVER_FINAL, "Garbage found at its end."));
        }
        let signature = Key::from_base64(signature)
            .ok_or_else(|| malformed(SERVER_FINAL, "The signature is not base64 of 32 bytes."))?;
        if bool::from(signature.is(&expected_signature)) {
            Ok(())
        } else {
            Err(NodeScramError::WrongSignature)
        }
    }
}

// === impl Means ===

impl Means {
    fn keys(&self, salt: &[u8], iterations: u32) -> Result<ScramKeys, NodeScramError> {
        match self {
            Self::Keys(keys) if keys.fit(salt, iterations) => Ok(keys.clone()),
            Self::Keys(keys) => Err(NodeScramError::KeysDoNotFit {
                node_iterations: iterations,
                our_iterations: keys.iterations,
                same_salt: keys.salt == salt,
            }),
            Self::Password(_) if iterations > MAX_ITERATIONS => {
                Err(NodeScramError::TooManyIterations(iterations))
            }
            Self::Password(password) => Ok(password.keys_towards_nodes(salt, iterations)),
        }
    }
}

// === helpers and constants ===

/// `nonce "," salt "," iteration-count`, taken apart. Like libpq we accept no extensions: PostgreSQL has none.
struct ServerFirst<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: u32,
}

impl<'a> ServerFirst<'a> {
    fn read(message: &'a [u8]) -> Result<Self, NodeScramError> {
        bounded(SERVER_FIRST, message)?;
        let [nonce, salt, iterations] =
            Self::split(message).map_err(|error| error.in_message(SERVER_FIRST))?;
        let nonce = std::str::from_utf8(nonce)
            .ok()
            .filter(|nonce| is_printable(nonce.as_bytes()))
            .ok_or_else(|| malformed(SERVER_FIRST, "The nonce has non-printable characters."))?;
        let salt = STANDARD
            .decode(salt)
            .ok()
            .filter(|salt| !salt.is_empty())
            .ok_or_else(|| malformed(SERVER_FIRST, "The salt is empty or not base64."))?;
        let iterations = parse_iterations(iterations).ok_or_else(|| {
            malformed(SERVER_FIRST, "The iteration count is not a positive number.")
        })?;
        Ok(Self { nonce, salt, iterations })
    }

    fn split(message: &[u8]) -> Result<[&[u8]; 3], Malformed> {
        let mut attributes = Attributes::of(message)?;
        if attributes.peek() == Some(b'm') {
            return Err(Malformed("It demands an extension that nobody has defined.".into()));
        }
        let found = [attributes.expect(b'r')?, attributes.expect(b's')?, attributes.expect(b'i')?];
        if !attributes.rest().is_empty() {
            return Err(Malformed("Garbage found at its end.".into()));
        }
        Ok(found)
    }
}

impl Malformed {
    fn in_message(self, message: &'static str) -> NodeScramError {
        NodeScramError::Malformed { message, detail: self.0 }
    }
}

fn malformed(message: &'static str, detail: &str) -> NodeScramError {
    NodeScramError::Malformed { message, detail: detail.to_owned() }
}

fn bounded(message: &'static str, bytes: &[u8]) -> Result<(), NodeScramError> {
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(NodeScramError::TooLong { message, length: bytes.len() });
    }
    Ok(())
}

const SERVER_FIRST: &str = "server-first-message";
const SERVER_FINAL: &str = "server-final-message";

// === tests ===

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::Secret;

    /// RFC 7677 section 3. Its client names the user in its message; ours does not, so the test puts it there.
    #[test]
    fn speaks_rfc_7677() {
        let password = Password::new(Secret::new("pencil".into()));
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = password.keys_towards_nodes(&salt, 4096);
        for means in [Means::Password(password), Means::Keys(keys)] {
            let nonce = Nonce::fixed("rOprNGfwEbeRWgbNEkqO").unwrap();
            let mut exchange = ClientExchange::new(means, &ChannelBinding::Absent, false, nonce);
            assert_eq!(exchange.client_first(), b"n,,n=,r=rOprNGfwEbeRWgbNEkqO");
            if let State::ServerFirst { first_bare, .. } = &mut exchange.state {
                *first_bare = "n=user,r=rOprNGfwEbeRWgbNEkqO".into();
            }
            let server_first = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                                 s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
            assert_eq!(
                String::from_utf8(exchange.server_first(server_first).unwrap()).unwrap(),
                "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                 p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
            );
            exchange.server_final(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
        }
    }
}

//! We as the server: a client logs in at understudy.
//!
//! ```text
//!   start ──trust──────────────────────────────────────────────────────► Granted
//!     ├──password──► Password ──PasswordMessage────────────────────────► Granted
//!     ├──md5──► Md5 ──PasswordMessage──────────────────────────────────► Granted
//!     └──scram──► Mechanism ──SASLInitialResponse──► ClientFinal ──SASLResponse──► Granted
//!                     └──without data──► ClientFirst ──SASLResponse──┘
//! ```
//! Every other way ends in a [`Refusal`], after which the login accepts nothing more. AuthenticationOk is
//! written by the caller, who may have more to do before it.

use std::{fmt, mem};

use crate::{
    auth::{
        candidate::{Candidate, Scram},
        credentials::Credentials,
        md5::{Md5Answer, Md5Hash},
        password::Password,
        refusal::{Reason, Refusal},
        scram::{
            ChannelBinding, MAX_MESSAGE_BYTES, MockSalts, SCRAM_SHA_256, SCRAM_SHA_256_PLUS,
            ScramFailure, ScramKeys,
        },
        stored::StoredSecret,
    },
    conf::{Secret, settings::AuthMethod},
    protocol::{
        sqlstate::INVALID_PASSWORD,
        tag::authentication as code,
        write::{self, written},
    },
};

/// One client's login.
#[derive(Debug)]
pub struct ClientLogin {
    user: String,
    state: State,
}

/// What to do next.
pub enum Step {
    /// Send these bytes (whole messages) and wait for the client's next `p` message.
    Send(Vec<u8>),
    /// The client is in: send these bytes, then AuthenticationOk.
    Granted {
        /// What comes before AuthenticationOk; may be empty.
        send: Vec<u8>,
        /// What may be used at the nodes for this client.
        credentials: Option<Credentials>,
    },
}

#[derive(Debug)]
enum State {
    Password { candidate: Candidate, hash: Option<Md5Hash> },
    Md5 { expected: Md5Answer, credentials: Credentials },
    Mechanism(Candidate),
    ClientFirst(Scram),
    ClientFinal(Scram),
    Done,
}

// === impl ClientLogin ===

impl ClientLogin {
    /// Begins a login on a connection without TLS, and gives the first step.
    ///
    /// `md5` means what it does in PostgreSQL: SCRAM where the stored secret is a SCRAM one, MD5 otherwise.
    /// A user without a secret gets a mock SCRAM exchange with either method. `password` is for connections
    /// with TLS alone: it is refused here.
    ///
    /// # Errors
    /// The operating system gives no randomness, or the password would cross the network readable.
    pub fn start(
        method: AuthMethod,
        user: &str,
        secret: Option<&StoredSecret>,
        salts: &MockSalts,
    ) -> Result<(Self, Step), Refusal> {
        if method == AuthMethod::Password {
            return Err(Refusal::unauthorized(
                "password authentication in clear needs an encrypted connection",
                Reason::CleartextWithoutTls,
            ));
        }
        Self::start_bound(method, user, secret, salts, ChannelBinding::Absent)
    }

    /// Begins a login on a connection with TLS, whose channel binding is offered where there is one.
    ///
    /// # Errors
    /// The operating system gives no randomness.
    pub fn start_bound(
        method: AuthMethod,
        user: &str,
        secret: Option<&StoredSecret>,
        salts: &MockSalts,
        binding: ChannelBinding,
    ) -> Result<(Self, Step), Refusal> {
        let (state, step) = match (method, secret) {
            (AuthMethod::Trust, secret) => (
                State::Done,
                Step::Granted { send: Vec::new(), credentials: without_proof(secret) },
            ),
            (AuthMethod::Password, secret) => {
                let hash = match secret {
                    Some(StoredSecret::Md5(hash)) => Some(hash.clone()),
                    _ => None,
                };
                let candidate = Candidate::new(user, secret, salts, binding);
                let step = Step::Send(asking(code::CLEARTEXT_PASSWORD, &[]));
                (State::Password { candidate, hash }, step)
            }
            (AuthMethod::Md5, Some(StoredSecret::Clear(password))) => {
                Self::ask_md5(&Md5Hash::of(password, user), Credentials::Clear(password.clone()))?
            }
            (AuthMethod::Md5, Some(StoredSecret::Md5(hash))) => {
                Self::ask_md5(hash, Credentials::Md5(hash.clone()))?
            }
            (AuthMethod::Md5 | AuthMethod::ScramSha256, secret) => {
                Self::ask_scram(Candidate::new(user, secret, salts, binding))
            }
        };
        Ok((Self { user: user.to_owned(), state }, step))
    }

    /// Takes the body of the client's `p` message.
    ///
    /// # Errors
    /// The client is not let in. The login is over; anything more is refused too.
    pub fn on_message(&mut self, body: &[u8]) -> Result<Step, Refusal> {
        match mem::replace(&mut self.state, State::Done) {
            State::Password { candidate, hash } => self.on_password(body, candidate, hash.as_ref()),
            State::Md5 { expected, credentials } => {
                self.on_md5_answer(body, &expected, credentials)
            }
            State::Mechanism(candidate) => {
                self.bounded(body, MAX_MESSAGE_BYTES)?;
                self.on_initial_response(body, candidate)
            }
            State::ClientFirst(scram) => {
                self.bounded(body, MAX_MESSAGE_BYTES)?;
                self.on_client_first(body, scram)
            }
            State::ClientFinal(scram) => {
                self.bounded(body, MAX_MESSAGE_BYTES)?;
                self.on_client_final(body, scram)
            }
            State::Done => {
                Err(Refusal::protocol(format!("invalid frontend message type {}", b'p')))
            }
        }
    }

    /// What to answer when any message but `p` comes during the login.
    #[must_use]
    pub fn on_other_message(&mut self, tag: u8) -> Refusal {
        Refusal::protocol(match mem::replace(&mut self.state, State::Done) {
            State::Password { .. } | State::Md5 { .. } => {
                format!("expected password response, got message type {tag}")
            }
            State::Mechanism(_) | State::ClientFirst(_) | State::ClientFinal(_) => {
                format!("expected SASL response, got message type {tag}")
            }
            State::Done => format!("invalid frontend message type {tag}"),
        })
    }

    fn ask_md5(hash: &Md5Hash, credentials: Credentials) -> Result<(State, Step), Refusal> {
        let mut salt = [0; 4];
        getrandom::fill(&mut salt)
            .map_err(|_| Refusal::no_randomness("could not generate random MD5 salt"))?;
        let state = State::Md5 { expected: hash.answer(salt), credentials };
        Ok((state, Step::Send(asking(code::MD5_PASSWORD, &salt))))
    }

    fn ask_scram(candidate: Candidate) -> (State, Step) {
        // As PostgreSQL does, the stronger mechanism first.
        let mechanisms: &[&str] = match candidate.binding {
            ChannelBinding::Absent => &[SCRAM_SHA_256],
            ChannelBinding::TlsServerEndPoint(_) => &[SCRAM_SHA_256_PLUS, SCRAM_SHA_256],
        };
        (
            State::Mechanism(candidate),
            Step::Send(written(|out| write::sasl_mechanisms(out, mechanisms))),
        )
    }

    /// Whatever is stored, and if nothing is, the password is hashed by a verifier: every attempt costs the same.
    fn on_password(
        &self,
        body: &[u8],
        candidate: Candidate,
        hash: Option<&Md5Hash>,
    ) -> Result<Step, Refusal> {
        let given = self.read_password(body)?;
        let Candidate { verifier, doomed, password: stored, .. } = candidate;
        let keys = ScramKeys::derive(given, &verifier.salt, verifier.iterations);
        let fits_verifier = bool::from(keys.stored_key.is(&verifier.stored_key));
        // Neither a stored secret nor a role's password is anything but text.
        let text = std::str::from_utf8(given).map(|text| Secret::new(text.to_owned()));
        let Ok(text) = text else {
            return Err(Refusal::password_failed(&self.user, Reason::WrongPassword));
        };
        let given = match (hash, doomed) {
            (Some(hash), _) => {
                let given = Password::new(text);
                let fits = Md5Hash::of(&given, &self.user).is(hash);
                fits.then_some(given).ok_or(Reason::WrongPassword)
            }
            (None, Some(reason)) => Err(reason),
            (None, None) if !fits_verifier => Err(Reason::WrongPassword),
            // What we know already has its keys.
            (None, None) => Ok(stored.unwrap_or_else(|| Password::with_keys(text, keys))),
        };
        match given {
            Ok(password) => Ok(Step::Granted {
                send: Vec::new(),
                credentials: Some(Credentials::Clear(password)),
            }),
            Err(reason) => Err(Refusal::password_failed(&self.user, reason)),
        }
    }

    /// The text of a PasswordMessage, checked as PostgreSQL's `recv_password_packet` checks it.
    fn read_password<'a>(&self, body: &'a [u8]) -> Result<&'a [u8], Refusal> {
        self.bounded(body, MAX_PASSWORD_BYTES)?;
        match body.split_last() {
            Some((0, [])) => Err(Refusal {
                sqlstate: INVALID_PASSWORD,
                reason: Reason::WrongPassword,
                ..Refusal::protocol("empty password returned by client")
            }),
            Some((0, text)) if !text.contains(&0) => Ok(text),
            _ => Err(Refusal::protocol("invalid password packet size")),
        }
    }

    fn on_md5_answer(
        &self,
        body: &[u8],
        expected: &Md5Answer,
        credentials: Credentials,
    ) -> Result<Step, Refusal> {
        let answer = self.read_password(body)?;
        if !expected.is(answer) {
            return Err(Refusal::password_failed(&self.user, Reason::WrongPassword));
        }
        Ok(Step::Granted { send: Vec::new(), credentials: Some(credentials) })
    }

    fn on_initial_response(&mut self, body: &[u8], candidate: Candidate) -> Result<Step, Refusal> {
        let end = memchr::memchr(0, body)
            .ok_or_else(|| Refusal::protocol("invalid string in message"))?;
        // PostgreSQL judges the mechanism before it reads on.
        let plus = match std::str::from_utf8(&body[..end]) {
            Ok(SCRAM_SHA_256) => false,
            Ok(SCRAM_SHA_256_PLUS) if candidate.binding.data().is_some() => true,
            _ => {
                return Err(Refusal::protocol(
                    "client selected an invalid SASL authentication mechanism",
                ));
            }
        };
        let data = read_initial_data(&body[end + 1..])?;
        let scram = candidate.begin(plus)?;
        match data {
            Some(data) => self.on_client_first(data, scram),
            None => {
                // The client wants an empty challenge before it says anything (RFC 4422 section 3).
                self.state = State::ClientFirst(scram);
                Ok(Step::Send(asking(code::SASL_CONTINUE, b"")))
            }
        }
    }

    fn on_client_first(&mut self, data: &[u8], mut scram: Scram) -> Result<Step, Refusal> {
        let server_first = scram
            .exchange
            .client_first(data)
            .map_err(|failure| self.refuse(failure, scram.doomed))?;
        self.state = State::ClientFinal(scram);
        Ok(Step::Send(asking(code::SASL_CONTINUE, &server_first)))
    }

    fn on_client_final(&self, data: &[u8], mut scram: Scram) -> Result<Step, Refusal> {
        let (server_final, keys) = scram
            .exchange
            .client_final(data)
            .map_err(|failure| self.refuse(failure, scram.doomed))?;
        Ok(Step::Granted {
            send: asking(code::SASL_FINAL, &server_final),
            credentials: Some(match scram.password {
                Some(password) => Credentials::Clear(password),
                None => Credentials::Scram(keys),
            }),
        })
    }

    /// PostgreSQL tells the client of an over-long answer no more than that it is not in.
    fn bounded(&self, body: &[u8], limit: usize) -> Result<(), Refusal> {
        // The limits count the message's length field.
        if body.len() + 4 > limit {
            return Err(Refusal::password_failed(&self.user, Reason::Protocol));
        }
        Ok(())
    }

    fn refuse(&self, failure: ScramFailure, doomed: Option<Reason>) -> Refusal {
        match failure {
            ScramFailure::Violation(violation) => violation.into(),
            ScramFailure::Proof => {
                Refusal::password_failed(&self.user, doomed.unwrap_or(Reason::WrongPassword))
            }
        }
    }
}

// === impl Step ===

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(bytes) => write!(f, "Send({} bytes)", bytes.len()),
            Self::Granted { send, credentials } => f
                .debug_struct("Granted")
                .field("send", &format_args!("{} bytes", send.len()))
                .field("credentials", credentials)
                .finish(),
        }
    }
}

// === helpers and constants ===

fn asking(code: i32, body: &[u8]) -> Vec<u8> {
    written(|out| write::authentication(out, code, body))
}

/// What we may use for a user who was not asked: what the operator has stored for this very user, where it
/// is more than a verifier.
fn without_proof(secret: Option<&StoredSecret>) -> Option<Credentials> {
    match secret? {
        StoredSecret::Clear(password) => Some(Credentials::Clear(password.clone())),
        StoredSecret::Md5(hash) => Some(Credentials::Md5(hash.clone())),
        StoredSecret::Scram(_) => None,
    }
}

/// The data of a SASLInitialResponse: its length (-1 for none), then itself and nothing more.
fn read_initial_data(rest: &[u8]) -> Result<Option<&[u8]>, Refusal> {
    let Some((length, data)) = rest.split_first_chunk::<4>() else {
        return Err(Refusal::protocol("insufficient data left in message"));
    };
    match i32::from_be_bytes(*length) {
        -1 if data.is_empty() => Ok(None),
        -1 => Err(Refusal::protocol("invalid message format")),
        length => match usize::try_from(length) {
            Ok(length) if length == data.len() => Ok(Some(data)),
            Ok(length) if length < data.len() => Err(Refusal::protocol("invalid message format")),
            _ => Err(Refusal::protocol("insufficient data left in message")),
        },
    }
}

/// The longest password message: PostgreSQL's `PG_MAX_AUTH_TOKEN_LENGTH`.
const MAX_PASSWORD_BYTES: usize = 65_535;

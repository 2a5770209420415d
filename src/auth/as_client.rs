//! We as the client: understudy logs in at a node for a user.
//!
//! ```text
//!   Asked ──AuthenticationOk (trust)─────────────────────────────────────────► Granted
//!     ├──MD5Password | CleartextPassword──► PasswordSent ──AuthenticationOk──► Granted
//!     └──SASL──► FirstSent ──SASLContinue──► FinalSent ──SASLFinal──► Verified ──AuthenticationOk──► Granted
//! ```
//! AuthenticationOk between SASL and Verified is refused: a node that skips its own proof is not to be
//! trusted. Any error ends the login.

use std::{fmt, mem};

use crate::{
    auth::{
        credentials::Credentials,
        md5::Md5Hash,
        scram::{
            ChannelBinding, ClientExchange, NodeScramError, Nonce, SCRAM_SHA_256,
            SCRAM_SHA_256_PLUS, client::Means,
        },
    },
    protocol::{
        tag::authentication as code,
        write::{self, written},
    },
};

/// One login at one node.
#[derive(Debug)]
pub struct NodeLogin {
    user: String,
    credentials: Option<Credentials>,
    binding: ChannelBinding,
    allow_cleartext: bool,
    state: State,
}

/// What to do next.
#[derive(PartialEq, Eq)]
pub enum Reply {
    /// Wait for the node's next message.
    Nothing,
    /// Send these bytes, a whole message.
    Send(Vec<u8>),
    /// The node has let us in.
    Granted,
}

/// Why a login at a node failed on our side. What the node refuses comes as an ErrorResponse instead.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeLoginError {
    /// We have nothing, or nothing that fits.
    #[error(
        "node asks for {method} but understudy has {} for user {user}: {remedy}",
        have.map_or_else(|| "nothing".to_owned(), |kind| format!("only {kind}"))
    )]
    CredentialsMissing {
        /// What the node wants.
        method: &'static str,
        /// Whose.
        user: String,
        /// What we have.
        have: Option<&'static str>,
        /// What the operator can do.
        remedy: &'static str,
    },
    /// The password would cross the network readable.
    #[error(
        "node asks for the password of user {0} in clear, which is not sent unless server_tls.sslmode verifies \
         the node's certificate: use scram-sha-256 in the node's pg_hba.conf"
    )]
    CleartextRefused(String),
    /// A method we do not speak.
    #[error(
        "node asks for {method} for user {user}, which understudy does not speak: use scram-sha-256, md5 or \
         trust in the node's pg_hba.conf for understudy's address"
    )]
    MethodUnknown {
        /// Its name, or its number.
        method: String,
        /// Whose login.
        user: String,
    },
    /// SCRAM failed.
    #[error("SCRAM login of user {user} at the node failed: {source}")]
    Scram {
        /// Whose login.
        user: String,
        /// Why.
        source: NodeScramError,
    },
    /// The node let us in before it had proved itself.
    #[error(
        "node accepted user {0} before it proved by SCRAM that it knows the user's secret: it may be an impostor"
    )]
    GrantedTooEarly(String),
    /// A request that has no place at this moment.
    #[error("node sent authentication request {code} out of turn")]
    OutOfTurn {
        /// Its number.
        code: i32,
    },
    /// A request that is not built as it must be.
    #[error("node sent a malformed authentication request: {0}")]
    Malformed(&'static str),
    /// No random bytes for the nonce.
    #[error("the operating system gave no random bytes for a login at a node")]
    NoRandomness,
}

#[derive(Debug)]
enum State {
    Asked,
    PasswordSent,
    FirstSent(ClientExchange),
    FinalSent(ClientExchange),
    Verified,
    Done,
}

// === impl NodeLogin ===

impl NodeLogin {
    /// A login on a connection without TLS.
    #[must_use]
    pub fn new(user: &str, credentials: Option<&Credentials>) -> Self {
        Self {
            user: user.to_owned(),
            credentials: credentials.cloned(),
            binding: ChannelBinding::Absent,
            allow_cleartext: false,
            state: State::Asked,
        }
    }

    /// Lets a node have the password in clear: only where nobody can listen.
    #[must_use]
    pub fn allow_cleartext(self) -> Self {
        Self { allow_cleartext: true, ..self }
    }

    /// Binds SCRAM to the TLS connection the login runs on.
    #[must_use]
    pub fn bound_to(self, binding: ChannelBinding) -> Self {
        Self { binding, ..self }
    }

    /// Takes an authentication request: its number and what follows it in the `R` message.
    ///
    /// # Errors
    /// The login cannot go on: close the connection.
    pub fn on_authentication(&mut self, code: i32, body: &[u8]) -> Result<Reply, NodeLoginError> {
        match (mem::replace(&mut self.state, State::Done), code) {
            (State::Asked | State::PasswordSent | State::Verified, code::OK) => {
                empty(body)?;
                Ok(Reply::Granted)
            }
            (State::FirstSent(_) | State::FinalSent(_), code::OK) => {
                Err(NodeLoginError::GrantedTooEarly(self.user.clone()))
            }
            (State::Asked, code::CLEARTEXT_PASSWORD) => {
                empty(body)?;
                self.send_password()
            }
            (State::Asked, code::MD5_PASSWORD) => self.send_md5_answer(body),
            (State::Asked, code::SASL) => self.begin_scram(body),
            (State::FirstSent(mut exchange), code::SASL_CONTINUE) => {
                let answer = exchange.server_first(body).map_err(|source| self.scram(source))?;
                self.state = State::FinalSent(exchange);
                Ok(Reply::Send(written(|out| write::sasl_response(out, &answer))))
            }
            (State::FinalSent(mut exchange), code::SASL_FINAL) => {
                exchange.server_final(body).map_err(|source| self.scram(source))?;
                self.state = State::Verified;
                Ok(Reply::Nothing)
            }
            (State::Asked, code) if !matches!(code, code::SASL_CONTINUE | code::SASL_FINAL) => {
                Err(NodeLoginError::MethodUnknown {
                    method: method_name(code),
                    user: self.user.clone(),
                })
            }
            (_, code) => Err(NodeLoginError::OutOfTurn { code }),
        }
    }

    fn send_password(&mut self) -> Result<Reply, NodeLoginError> {
        let Some(Credentials::Clear(password)) = &self.credentials else {
            return Err(self.missing("the password in clear", PASSWORD_REMEDY));
        };
        if !self.allow_cleartext {
            return Err(NodeLoginError::CleartextRefused(self.user.clone()));
        }
        self.state = State::PasswordSent;
        Ok(Reply::Send(written(|out| write::password(out, password.reveal()))))
    }

    fn send_md5_answer(&mut self, body: &[u8]) -> Result<Reply, NodeLoginError> {
        let salt = body.try_into().map_err(|_| {
            NodeLoginError::Malformed("the salt of an MD5 challenge has four bytes")
        })?;
        let hash = match &self.credentials {
            Some(Credentials::Clear(password)) => Md5Hash::of(password, &self.user),
            Some(Credentials::Md5(hash)) => hash.clone(),
            Some(Credentials::Scram(_)) | None => return Err(self.missing("md5", MD5_REMEDY)),
        };
        self.state = State::PasswordSent;
        Ok(Reply::Send(written(|out| write::password(out, hash.answer(salt).as_str()))))
    }

    fn begin_scram(&mut self, body: &[u8]) -> Result<Reply, NodeLoginError> {
        let offered = read_mechanisms(body)?;
        let plus = offered.contains(&SCRAM_SHA_256_PLUS.as_bytes());
        let binds = plus && self.binding.data().is_some();
        if !binds && !offered.contains(&SCRAM_SHA_256.as_bytes()) {
            return Err(NodeLoginError::MethodUnknown {
                method: "a SASL mechanism other than SCRAM-SHA-256".to_owned(),
                user: self.user.clone(),
            });
        }
        let means = match &self.credentials {
            Some(Credentials::Clear(password)) => Means::Password(password.clone()),
            Some(Credentials::Scram(keys)) => Means::Keys(keys.clone()),
            Some(Credentials::Md5(_)) | None => {
                return Err(self.missing("scram-sha-256", SCRAM_REMEDY));
            }
        };
        let nonce = Nonce::random().map_err(|_| NodeLoginError::NoRandomness)?;
        let exchange = ClientExchange::new(means, &self.binding, plus, nonce);
        let mechanism = if binds { SCRAM_SHA_256_PLUS } else { SCRAM_SHA_256 };
        let message = written(|out| {
            write::sasl_initial_response(out, mechanism, &exchange.client_first());
        });
        self.state = State::FirstSent(exchange);
        Ok(Reply::Send(message))
    }

    fn missing(&self, method: &'static str, remedy: &'static str) -> NodeLoginError {
        let have = self.credentials.as_ref().map(Credentials::kind);
        NodeLoginError::CredentialsMissing { method, user: self.user.clone(), have, remedy }
    }

    fn scram(&self, source: NodeScramError) -> NodeLoginError {
        NodeLoginError::Scram { user: self.user.clone(), source }
    }
}

// === impl Reply ===

impl fmt::Debug for Reply {
    /// Without the bytes: they may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::Send(bytes) => write!(f, "Send({} bytes)", bytes.len()),
            Self::Granted => f.write_str("Granted"),
        }
    }
}

// === helpers and constants ===

/// The list of AuthenticationSASL: names with their NULs, and an empty one at the end.
fn read_mechanisms(body: &[u8]) -> Result<Vec<&[u8]>, NodeLoginError> {
    let names = body
        .strip_suffix(b"\0\0")
        .ok_or(NodeLoginError::Malformed("the list of SASL mechanisms is empty or has no end"))?;
    let names: Vec<&[u8]> = names.split(|byte| *byte == 0).take(MAX_MECHANISMS + 1).collect();
    if names.len() > MAX_MECHANISMS || names.contains(&&b""[..]) {
        return Err(NodeLoginError::Malformed(
            "the list of SASL mechanisms is too long or has gaps",
        ));
    }
    Ok(names)
}

fn empty(body: &[u8]) -> Result<(), NodeLoginError> {
    if body.is_empty() {
        Ok(())
    } else {
        Err(NodeLoginError::Malformed("bytes after a request that has none"))
    }
}

fn method_name(code: i32) -> String {
    match code {
        code::KERBEROS_V5 => "Kerberos V5".to_owned(),
        code::SCM_CREDENTIAL => "SCM credentials".to_owned(),
        code::GSS | code::GSS_CONTINUE => "GSSAPI".to_owned(),
        code::SSPI => "SSPI".to_owned(),
        code => format!("authentication method {code}"),
    }
}

const PASSWORD_REMEDY: &str =
    "store the password in auth.users_file, or use scram-sha-256 in the node's pg_hba.conf";
const MD5_REMEDY: &str = "store the md5 hash or the password in auth.users_file, or let auth.query return it, \
                          or use scram-sha-256 in the node's pg_hba.conf";
const SCRAM_REMEDY: &str = "store a SCRAM secret or the password in auth.users_file, or let auth.query return \
                            the secret; with a SCRAM secret, clients must log in by SCRAM too";

/// PostgreSQL has at most three mechanisms to offer; a node with more is not one.
const MAX_MECHANISMS: usize = 32;

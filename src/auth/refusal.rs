//! Why a client was not let in: what it is told, and what only the log learns.

use std::borrow::Cow;

use crate::{
    auth::scram::Violation,
    protocol::sqlstate::{
        INTERNAL_ERROR, INVALID_AUTHORIZATION, INVALID_PASSWORD, PROTOCOL_VIOLATION, SqlState,
    },
};

/// The end of a login that failed. The first three fields go into the ErrorResponse (severity FATAL); `reason`
/// must never reach the client, since it would tell strangers which users exist; so `Display` leaves it out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// SQLSTATE, PostgreSQL's for the same case.
    pub sqlstate: SqlState,
    /// Primary message, in PostgreSQL's words.
    pub message: Cow<'static, str>,
    /// Detail, where PostgreSQL gives one.
    pub detail: Option<String>,
    /// What really happened, for the log only.
    pub reason: Reason,
}

/// What really happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Nothing is stored for the user.
    #[error(
        "no secret is known for this user: auth.users_file does not name it, and auth.query returned no row \
         or NULL (no such role, no password, or an expired one)"
    )]
    NoSecret,
    /// An MD5 hash cannot check a SCRAM login.
    #[error(
        "only an md5 hash is stored for this user, which scram-sha-256 cannot use: set the password again \
         with password_encryption = 'scram-sha-256', or choose md5 as the method"
    )]
    Md5HashForScram,
    /// The client does not know the password.
    #[error("the password is wrong")]
    WrongPassword,
    /// The client broke the protocol.
    #[error("the client broke the authentication protocol")]
    Protocol,
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    NoRandomness,
    /// A rule says `reject`.
    #[error("line {line} of auth.hba_file rejects it")]
    Rejected {
        /// The rule's line.
        line: usize,
    },
    /// No rule speaks of such a client.
    #[error("no line of auth.hba_file matches")]
    NoRule,
    /// The rule says `cert`.
    #[error("line {line} of auth.hba_file asks for a certificate, and the client has shown none")]
    NoCertificate {
        /// The rule's line.
        line: usize,
    },
    /// The rule says `cert`.
    #[error(
        "line {line} of auth.hba_file asks for the user's certificate, and the client has shown another's"
    )]
    OtherCertificate {
        /// The rule's line.
        line: usize,
    },
    /// The password would have crossed the network readable.
    #[error("the password is not asked for in clear without TLS")]
    CleartextWithoutTls,
    /// Too many logins with this name from this address have failed.
    #[error("auth.max_failures logins of this user from this address have failed lately")]
    Throttled,
}

// === impl Refusal ===

impl Refusal {
    /// `password authentication failed for user "…"`: the one answer to everything that is not a protocol
    /// violation.
    #[must_use]
    pub fn password_failed(user: &str, reason: Reason) -> Self {
        let message = format!("password authentication failed for user \"{user}\"");
        Self { sqlstate: INVALID_PASSWORD, ..Self::unauthorized(message, reason) }
    }

    /// The client may not come in as it asks to, whatever it knows.
    #[must_use]
    pub fn unauthorized(message: impl Into<Cow<'static, str>>, reason: Reason) -> Self {
        Self { sqlstate: INVALID_AUTHORIZATION, message: message.into(), detail: None, reason }
    }

    /// The answer to a user who is throttled: the same whether there is such a user or not. PostgreSQL knows no
    /// such thing; class 28 is what drivers do not try again by themselves.
    #[must_use]
    pub fn throttled(user: &str) -> Self {
        Self::unauthorized(
            format!("too many failed login attempts for user \"{user}\""),
            Reason::Throttled,
        )
    }

    /// A broken protocol, in PostgreSQL's words.
    #[must_use]
    pub fn protocol(message: impl Into<Cow<'static, str>>) -> Self {
        Self { sqlstate: PROTOCOL_VIOLATION, ..Self::unauthorized(message, Reason::Protocol) }
    }

    /// No random bytes for the thing named.
    #[must_use]
    pub fn no_randomness(message: &'static str) -> Self {
        Self { sqlstate: INTERNAL_ERROR, ..Self::unauthorized(message, Reason::NoRandomness) }
    }

    /// Whether a password or a proof was judged and found wrong. Only this counts as a failed attempt: whoever
    /// breaks the protocol has learned nothing.
    #[must_use]
    pub fn is_failed_attempt(&self) -> bool {
        self.sqlstate == INVALID_PASSWORD
    }
}

impl From<Violation> for Refusal {
    fn from(violation: Violation) -> Self {
        Self {
            sqlstate: violation.sqlstate,
            message: violation.message,
            detail: violation.detail,
            reason: Reason::Protocol,
        }
    }
}

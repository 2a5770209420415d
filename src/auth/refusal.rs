//! Why a client was not let in: what it is told, and what only the log learns.

use std::borrow::Cow;

use crate::auth::scram::Violation;

/// The end of a login that failed. The first three fields go into the ErrorResponse (severity FATAL); `reason`
/// must never reach the client, since it would tell strangers which users exist; so `Display` leaves it out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// SQLSTATE, PostgreSQL's for the same case.
    pub sqlstate: &'static str,
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
         with password_encryption = 'scram-sha-256', or choose auth.method = \"md5\""
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
}

// === impl Refusal ===

impl Refusal {
    /// `password authentication failed for user "…"`: the one answer to everything that is not a protocol
    /// violation.
    #[must_use]
    pub fn password_failed(user: &str, reason: Reason) -> Self {
        Self {
            sqlstate: INVALID_PASSWORD,
            message: format!("password authentication failed for user \"{user}\"").into(),
            detail: None,
            reason,
        }
    }

    /// A broken protocol, in PostgreSQL's words.
    #[must_use]
    pub fn protocol(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            sqlstate: PROTOCOL_VIOLATION,
            message: message.into(),
            detail: None,
            reason: Reason::Protocol,
        }
    }

    /// No random bytes for the thing named.
    #[must_use]
    pub fn no_randomness(message: &'static str) -> Self {
        Self {
            sqlstate: INTERNAL_ERROR,
            message: message.into(),
            detail: None,
            reason: Reason::NoRandomness,
        }
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

// === constants ===

/// protocol_violation
pub const PROTOCOL_VIOLATION: &str = "08P01";
/// feature_not_supported
pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
/// invalid_authorization_specification
pub const INVALID_AUTHORIZATION: &str = "28000";
/// invalid_password
pub const INVALID_PASSWORD: &str = "28P01";
/// internal_error
pub const INTERNAL_ERROR: &str = "XX000";

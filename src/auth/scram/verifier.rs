//! What PostgreSQL stores for a SCRAM user.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::auth::scram::Key;

/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, as in `pg_authid.rolpassword`
/// (PostgreSQL's documentation, "pg_authid").
#[derive(Clone)]
pub struct ScramVerifier {
    /// How often the password was hashed; at least 1.
    pub iterations: u32,
    /// The salt; never empty.
    pub salt: Vec<u8>,
    /// Checks the client's proof.
    pub stored_key: Key,
    /// Signs for the server.
    pub server_key: Key,
}

// === impl ScramVerifier ===

impl ScramVerifier {
    /// Reads the stored text; `None` when it is anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (head, keys) = text.strip_prefix(PREFIX)?.split_once('$')?;
        let (iterations, salt) = head.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        Some(Self {
            iterations: parse_iterations(iterations.as_bytes())?,
            salt: STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty())?,
            stored_key: Key::from_base64(stored_key.as_bytes())?,
            server_key: Key::from_base64(server_key.as_bytes())?,
        })
    }
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramVerifier")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

// === helpers and constants ===

/// A positive number of digits alone that fits PostgreSQL's `int`: `posit-number` of RFC 5802 section 7.
pub(super) fn parse_iterations(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse::<u32>().ok().filter(|number| (1..=i32::MAX as u32).contains(number))
}

/// How every SCRAM-SHA-256 verifier begins.
pub const PREFIX: &str = "SCRAM-SHA-256$";

// === tests ===

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_only_what_is_complete() {
        let key = STANDARD.encode([7; 32]);
        let good = format!("SCRAM-SHA-256$4096:c2FsdA==${key}:{key}");
        let verifier = ScramVerifier::parse(&good).unwrap();
        assert_eq!((verifier.iterations, verifier.salt.as_slice()), (4096, &b"salt"[..]));
        for bad in [
            String::new(),
            "SCRAM-SHA-256".into(),
            "SCRAM-SHA-256$".into(),
            format!("scram-sha-256$4096:c2FsdA==${key}:{key}"),
            format!("SCRAM-SHA-1$4096:c2FsdA==${key}:{key}"),
            format!("SCRAM-SHA-256$0:c2FsdA==${key}:{key}"),
            format!("SCRAM-SHA-256$-1:c2FsdA==${key}:{key}"),
            format!("SCRAM-SHA-256$+1:c2FsdA==${key}:{key}"),
            format!("SCRAM-SHA-256$2147483648:c2FsdA==${key}:{key}"),
            format!("SCRAM-SHA-256$:c2FsdA==${key}:{key}"),
            format!("SCRAM-SHA-256$4096:${key}:{key}"),
            format!("SCRAM-SHA-256$4096:?${key}:{key}"),
            format!("SCRAM-SHA-256$4096:c2FsdA==${key}"),
            format!("SCRAM-SHA-256$4096:c2FsdA==${key}:"),
            format!("SCRAM-SHA-256$4096:c2FsdA==$c2hvcnQ=:{key}"),
            format!("SCRAM-SHA-256$4096:c2FsdA==${key}:{key}:"),
            format!("{good} "),
        ] {
            assert!(ScramVerifier::parse(&bad).is_none(), "{bad}");
        }
    }
}

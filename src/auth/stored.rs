//! What we know about a user, to check a login against.

use crate::{
    auth::{
        md5::Md5Hash,
        password::Password,
        scram::{ScramVerifier, verifier},
    },
    conf::Secret,
};

/// A user's secret as a users file or `pg_authid.rolpassword` has it.
#[derive(Clone, Debug)]
pub enum StoredSecret {
    /// The password itself.
    Clear(Password),
    /// `md5…`
    Md5(Md5Hash),
    /// `SCRAM-SHA-256$…`
    Scram(ScramVerifier),
}

/// Why a text cannot be a secret. It never says what the text was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    /// PostgreSQL takes an empty password for none.
    #[error("the secret is empty, which PostgreSQL does not accept as a password")]
    Empty,
    /// Nothing could carry it to a node.
    #[error("the secret contains a NUL byte")]
    Nul,
    /// Longer than anything PostgreSQL would accept.
    #[error("the secret is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// It begins like a verifier, but is none.
    #[error(
        "the secret begins like a SCRAM secret but is incomplete: it must be \
         SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>, copied whole from pg_authid"
    )]
    BrokenScram,
}

// === impl StoredSecret ===

impl StoredSecret {
    /// Tells the kinds apart as PostgreSQL does (`get_password_type`): `md5` and 32 lower-case hexadecimal
    /// digits, a complete SCRAM verifier, or else a clear password.
    ///
    /// # Errors
    /// One exception to PostgreSQL's rule: what begins with `SCRAM-SHA-256$` and is no verifier is refused.
    /// PostgreSQL lets nobody in with such an entry; as a clear password it would let in whoever has seen it.
    pub fn parse(text: &str) -> Result<Self, BadSecret> {
        if text.is_empty() {
            return Err(BadSecret::Empty);
        }
        if text.len() > MAX_BYTES {
            return Err(BadSecret::TooLong);
        }
        if text.contains('\0') {
            return Err(BadSecret::Nul);
        }
        if let Some(hash) = Md5Hash::parse(text) {
            return Ok(Self::Md5(hash));
        }
        if text.starts_with(verifier::PREFIX) {
            return ScramVerifier::parse(text).map(Self::Scram).ok_or(BadSecret::BrokenScram);
        }
        Ok(Self::Clear(Password::new(Secret::new(text.to_owned()))))
    }
}

// === constants ===

/// The longest secret: what PgBouncer and libpq's tools can carry, far above what people use.
const MAX_BYTES: usize = 2048;

// === tests ===

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_kinds_apart() {
        let kind = |text: &str| match StoredSecret::parse(text) {
            Ok(StoredSecret::Clear(_)) => "clear",
            Ok(StoredSecret::Md5(_)) => "md5",
            Ok(StoredSecret::Scram(_)) => "scram",
            Err(_) => "refused",
        };
        let scram = "SCRAM-SHA-256$4096:rk+AkhDkmN9gGBYAZZG2aw==$\
                     WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        for (text, expected) in [
            ("pencil", "clear"),
            ("md5", "clear"),
            ("md5 of something", "clear"),
            ("md50123456789abcdef0123456789abcdef", "md5"),
            ("md50123456789ABCDEF0123456789ABCDEF", "clear"),
            (scram, "scram"),
            (&scram[..60], "refused"),
            ("SCRAM-SHA-256", "clear"),
            ("", "refused"),
            ("a\0b", "refused"),
            (&"x".repeat(2049), "refused"),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
    }
}

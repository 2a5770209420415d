//! PostgreSQL's MD5 passwords (documentation, "Password Authentication" and the message AuthenticationMD5Password).
//!
//! ```text
//!   stored:   "md5" hex(md5(password user))
//!   answer:   "md5" hex(md5(hex(md5(password user)) salt))
//! ```

use std::fmt;

use md5::{Digest, Md5};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::auth::password::Password;

/// The stored form: 32 lower-case hexadecimal digits, kept without the `md5` before them. Who has it can log
/// in, so it is treated like a password.
#[derive(Clone)]
pub struct Md5Hash(Zeroizing<String>);

/// The answer to one challenge, with its `md5` and without the closing NUL.
#[derive(Clone)]
pub struct Md5Answer(Zeroizing<String>);

// === impl Md5Hash ===

impl Md5Hash {
    /// Hashes a password for its user.
    #[must_use]
    pub fn of(password: &Password, user: &str) -> Self {
        Self(hex_digest(&[password.reveal().as_bytes(), user.as_bytes()]))
    }

    /// Reads `md5` and 32 lower-case hexadecimal digits; `None` when it is anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("md5")?;
        let is_hash = digits.len() == 32
            && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_hash.then(|| Self(Zeroizing::new(digits.to_owned())))
    }

    /// Whether both are the same, in constant time.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }

    /// The answer to a challenge with this salt.
    #[must_use]
    pub fn answer(&self, salt: [u8; 4]) -> Md5Answer {
        Md5Answer(Zeroizing::new(format!("md5{}", *hex_digest(&[self.0.as_bytes(), &salt]))))
    }
}

impl fmt::Debug for Md5Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<md5 hash>")
    }
}

// === impl Md5Answer ===

impl Md5Answer {
    /// The text to send.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a peer's answer is this one, in constant time (its length is no secret).
    #[must_use]
    pub fn is(&self, theirs: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(theirs).into()
    }
}

impl fmt::Debug for Md5Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<md5 answer>")
    }
}

// === helpers ===

fn hex_digest(parts: &[&[u8]]) -> Zeroizing<String> {
    let mut hasher = Md5::new();
    for part in parts {
        hasher.update(part);
    }
    let mut hex = Zeroizing::new(String::with_capacity(32));
    for byte in hasher.finalize() {
        for digit in [byte >> 4, byte & 15] {
            hex.push(
                char::from_digit(digit.into(), 16).expect("four bits are a hexadecimal digit"),
            );
        }
    }
    hex
}

// === tests ===

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::Secret;

    #[test]
    fn agrees_with_postgres_protocol() {
        for (user, password, salt) in [
            ("md5_user", "password", [0x2a, 0x3d, 0x8f, 0xe0]),
            ("", "", [0; 4]),
            ("ü", "ß", [255; 4]),
        ] {
            let hash = Md5Hash::of(&Password::new(Secret::new(password.into())), user);
            let theirs = postgres_protocol::authentication::md5_hash(
                user.as_bytes(),
                password.as_bytes(),
                salt,
            );
            assert_eq!(hash.answer(salt).as_str(), theirs);
            assert!(hash.answer(salt).is(theirs.as_bytes()));
            assert!(!hash.answer(salt).is(b""));
            assert!(!hash.answer([1, 2, 3, 4]).is(theirs.as_bytes()));
        }
    }

    #[test]
    fn reads_postgresqls_own_hash() {
        // CREATE ROLE u PASSWORD 'x' with password_encryption = md5.
        let stored = format!("md5{}", *Md5Hash::of(&Password::new(Secret::new("x".into())), "u").0);
        assert!(Md5Hash::parse(&stored).is_some());
        for other in
            ["md5", "md5x", &stored.to_uppercase(), &stored[..34], &format!("{stored}0"), "MD5"]
        {
            assert!(Md5Hash::parse(other).is_none(), "{other}");
        }
        assert!(
            Md5Hash::parse(&format!("md5{}", "AB".repeat(16))).is_none(),
            "upper case is a password"
        );
    }
}

//! The exchange for somebody who cannot log in.
//!
//! An unknown user, or one without a usable secret, sees the same messages as everybody else and fails at
//! the end as with a wrong password; so nobody learns which names exist. For that the salt must be the same
//! at every attempt (PostgreSQL's `mock_scram_secret`).

use std::fmt;

use zeroize::Zeroizing;

use crate::auth::scram::{DEFAULT_ITERATIONS, Key, ScramVerifier, keys::hmac_sha256};

/// Gives each user name its own steady salt. One per process, made at the start and shared by all workers.
///
/// The salt also serves users whose clear password we know, so that these look like the unknown ones.
#[derive(Clone)]
pub struct MockSalts(Zeroizing<[u8; 32]>);

// === impl MockSalts ===

impl MockSalts {
    /// From a fresh random key.
    ///
    /// # Errors
    /// The operating system gives no randomness.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut())?;
        Ok(Self(key))
    }

    /// From a given key.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }

    /// The salt of this user: 16 bytes, PostgreSQL's `SCRAM_DEFAULT_SALT_LEN`.
    #[must_use]
    pub fn salt(&self, user: &str) -> Vec<u8> {
        hmac_sha256(&*self.0, user.as_bytes())[..16].to_vec()
    }

    /// A verifier that looks real and that no exchange may succeed with.
    #[must_use]
    pub fn verifier(&self, user: &str) -> ScramVerifier {
        ScramVerifier {
            iterations: DEFAULT_ITERATIONS,
            salt: self.salt(user),
            stored_key: Key::new([0; 32]),
            server_key: Key::new([0; 32]),
        }
    }
}

impl fmt::Debug for MockSalts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MockSalts(<key>)")
    }
}

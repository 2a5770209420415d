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

// === tests ===

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        auth::{
            ChannelBinding, ClientLogin, Step, UserFile, scram::keys::work, stored::StoredSecret,
        },
        conf::settings::AuthMethod,
    };

    const SCRAM: &str = "SCRAM-SHA-256$4096:fzQrhZd3jg1nw59DfipkrQ==$\
        Y6cXMi+bIhY6VwzAmxqC4yt/g5ivFyMQA3m7h3oQ6SI=:ifk31qXjI2EQPJrCb2co2FQZumCfMhYaE1Zg39Jdu5o=";

    /// The lengths of our messages and the hashes of a login with a wrong proof or password.
    fn cost(
        method: AuthMethod,
        secret: Option<&StoredSecret>,
        salts: &MockSalts,
    ) -> (Vec<usize>, u64) {
        let before = work::done();
        let (mut login, mut step) =
            ClientLogin::start_bound(method, "joe", secret, salts, ChannelBinding::Absent).unwrap();
        let mut lengths = Vec::new();
        let mut nonce = String::new();
        loop {
            let Step::Send(bytes) = step else { panic!("{step:?}") };
            lengths.push(bytes.len());
            let answer = match bytes[8] {
                3 => b"wrong\0".to_vec(),
                10 => b"SCRAM-SHA-256\0\0\0\0\x0bn,,n=,r=abc".to_vec(),
                _ => {
                    let first = String::from_utf8(bytes[9..].to_vec()).unwrap();
                    nonce.push_str(first.split(',').next().unwrap());
                    format!("c=biws,{nonce},p={}=", "A".repeat(43)).into_bytes()
                }
            };
            match login.on_message(&answer) {
                Ok(next) => step = next,
                Err(refusal) => {
                    lengths.push(refusal.message.len());
                    return (lengths, work::done() - before);
                }
            }
        }
    }

    #[test]
    fn an_unknown_user_costs_what_a_known_one_with_a_wrong_password_costs() {
        let salts = MockSalts::new([7; 32]);
        let file = UserFile::parse("\"joe\" \"pencil\"", Path::new("users")).unwrap();
        file.derive_keys(&salts);
        let known = StoredSecret::parse(SCRAM).unwrap();
        let hashed = StoredSecret::parse("md50123456789abcdef0123456789abcdef").unwrap();
        for method in [AuthMethod::Password, AuthMethod::ScramSha256] {
            let (messages, hashes) = cost(method, None, &salts);
            for secret in [&known, file.find("joe").unwrap(), &hashed] {
                let (others, cost) = cost(method, Some(secret), &salts);
                assert_eq!(messages, others, "{method:?} {secret:?}");
                // Beside the proof: one HMAC for the salt of those who have none of their own.
                assert!(cost.abs_diff(hashes) <= 2, "{method:?} {secret:?}: {cost}, not {hashes}");
            }
        }
    }
}

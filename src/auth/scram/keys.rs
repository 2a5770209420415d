//! The keys of SCRAM (RFC 5802 section 3) and how a password becomes them.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::auth::scram::ScramVerifier;

/// 32 bytes that stand for a password: wiped when dropped, compared in constant time, never shown.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; 32]>);

/// Everything SCRAM needs to log in as a user without the password (RFC 5802 section 3): what pass-through
/// carries from a client's proof to a node.
///
/// It fits only a verifier with the same salt and iterations.
#[derive(Clone)]
pub struct ScramKeys {
    /// `HMAC(SaltedPassword, "Client Key")`: with it one can log in.
    pub client_key: Key,
    /// `H(ClientKey)`
    pub stored_key: Key,
    /// `HMAC(SaltedPassword, "Server Key")`: with it one can prove to be the server.
    pub server_key: Key,
    /// The salt all of these come from.
    pub salt: Vec<u8>,
    /// The iterations all of these come from.
    pub iterations: u32,
}

// === impl Key ===

impl Key {
    /// Takes the bytes in.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Reads base64 of exactly 32 bytes.
    #[must_use]
    pub fn from_base64(text: &[u8]) -> Option<Self> {
        let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
        Some(Self::new(bytes.as_slice().try_into().ok()?))
    }

    /// The bytes themselves.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both are the same, in constant time.
    #[must_use]
    pub fn is(&self, other: &Key) -> Choice {
        self.0.ct_eq(&*other.0)
    }

    /// `H(key)`: the StoredKey that belongs to a ClientKey.
    #[must_use]
    pub fn hashed(&self) -> Key {
        #[cfg(test)]
        work::add(1);
        Key::new(Sha256::digest(*self.0).into())
    }

    /// `HMAC(key, message)`
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Key {
        Key::new(hmac_sha256(&*self.0, message))
    }

    /// `key XOR other`: hides a ClientKey in a proof, and finds it again (RFC 5802 section 3).
    #[must_use]
    pub fn xor(&self, other: &Key) -> Key {
        let mut bytes = *self.0;
        for (byte, mask) in bytes.iter_mut().zip(other.0.iter()) {
            *byte ^= mask;
        }
        Key::new(bytes)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<key>")
    }
}

// === impl ScramKeys ===

impl ScramKeys {
    /// Derives the keys of a password, which is prepared first (see [`prepare`]). This is the expensive
    /// step of SCRAM: `iterations` times HMAC-SHA-256.
    #[must_use]
    pub fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        #[cfg(test)]
        work::add(2 * u64::from(iterations));
        let prepared = prepare(password);
        let salted = Key::new(pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(&prepared, salt, iterations));
        let client_key = salted.sign(b"Client Key");
        Self {
            stored_key: client_key.hashed(),
            client_key,
            server_key: salted.sign(b"Server Key"),
            salt: salt.to_vec(),
            iterations,
        }
    }

    /// Whether the keys were made for this salt and these iterations.
    #[must_use]
    pub fn fit(&self, salt: &[u8], iterations: u32) -> bool {
        self.salt == salt && self.iterations == iterations
    }

    /// What a server stores of these keys.
    #[must_use]
    pub fn verifier(&self) -> ScramVerifier {
        ScramVerifier {
            iterations: self.iterations,
            salt: self.salt.clone(),
            stored_key: self.stored_key.clone(),
            server_key: self.server_key.clone(),
        }
    }
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramKeys").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

// === helpers ===

/// SASLprep (RFC 4013) with PostgreSQL's exceptions: a password that is not UTF-8, that contains prohibited
/// characters, or of which nothing is left, is used as it is (PostgreSQL's documentation, "SASL
/// Authentication"; `pg_saslprep`).
#[must_use]
pub fn prepare(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let prepared = std::str::from_utf8(password)
        .ok()
        // PostgreSQL looks no further at plain ASCII, control characters included.
        .filter(|text| !text.is_ascii())
        .and_then(|text| stringprep::saslprep(text).ok())
        .filter(|text| !text.is_empty());
    Zeroizing::new(match prepared {
        Some(text) => text.into_owned().into_bytes(),
        None => password.to_vec(),
    })
}

pub(super) fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    #[cfg(test)]
    work::add(2);
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// Counts how often this thread has hashed, for tests of what an attempt costs.
#[cfg(test)]
pub(crate) mod work {
    use std::cell::Cell;

    thread_local!(static HASHES: Cell<u64> = const { Cell::new(0) });

    pub(crate) fn add(hashes: u64) {
        HASHES.set(HASHES.get() + hashes);
    }

    pub(crate) fn done() -> u64 {
        HASHES.get()
    }
}

// === tests ===

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derives_the_keys_of_rfc_7677() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = ScramKeys::derive(b"pencil", &salt, 4096);
        assert_eq!(
            STANDARD.encode(keys.stored_key.bytes()),
            "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
        );
        assert_eq!(
            STANDARD.encode(keys.server_key.bytes()),
            "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
    }

    #[test]
    fn prepares_as_postgresql_does() {
        for (password, prepared) in [
            (&b"plain"[..], &b"plain"[..]),
            // RFC 4013 section 3: the soft hyphen vanishes, the no-break space becomes a space.
            ("I\u{ad}X".as_bytes(), b"IX"),
            ("a\u{a0}b".as_bytes(), b"a b"),
            // NFKC.
            ("\u{2168}".as_bytes(), b"IX"),
            ("\u{aa}".as_bytes(), b"a"),
            // Prohibited (a control character beside non-ASCII), mixed directions, nothing left, not UTF-8.
            ("\u{e9}\u{7}".as_bytes(), "\u{e9}\u{7}".as_bytes()),
            ("\u{627}1".as_bytes(), "\u{627}1".as_bytes()),
            ("\u{ad}".as_bytes(), "\u{ad}".as_bytes()),
            (b"\xff\xfe", b"\xff\xfe"),
            (b"\x07bell", b"\x07bell"),
            (b"", b""),
        ] {
            assert_eq!(prepare(password).as_slice(), prepared, "{password:?}");
        }
    }
}

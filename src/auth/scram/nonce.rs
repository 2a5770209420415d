//! The random part of an exchange.

use base64::{Engine, engine::general_purpose::STANDARD};

/// Our part of the nonce (RFC 5802 section 5.1, `c-nonce` and `s-nonce`): base64, as PostgreSQL's are.
#[derive(Clone, Debug)]
pub struct Nonce(String);

// === impl Nonce ===

impl Nonce {
    /// 18 random bytes, PostgreSQL's `SCRAM_RAW_NONCE_LEN`.
    ///
    /// # Errors
    /// The operating system gives no randomness.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 18];
        getrandom::fill(&mut bytes)?;
        Ok(Self(STANDARD.encode(bytes)))
    }

    /// A given nonce, so that an exchange can be repeated; `None` unless it has characters, all of them
    /// [printable](is_printable).
    #[must_use]
    pub fn fixed(text: &str) -> Option<Self> {
        (!text.is_empty() && is_printable(text.as_bytes())).then(|| Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// === helpers ===

/// `printable` of RFC 5802 section 7: visible ASCII but the comma.
#[must_use]
pub fn is_printable(text: &[u8]) -> bool {
    text.iter().all(|byte| matches!(byte, 0x21..=0x2b | 0x2d..=0x7e))
}

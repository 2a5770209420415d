//! What a client's login leaves in our hands.

use crate::auth::{md5::Md5Hash, password::Password, scram::ScramKeys};

/// What we may use towards nodes on behalf of one client. A client who was not asked (trust) and of whom we
/// store nothing usable leaves no credentials at all: `Option<Credentials>`.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// The password: fits every method.
    Clear(Password),
    /// The MD5 hash: fits md5 alone.
    Md5(Md5Hash),
    /// SCRAM keys: fit SCRAM alone, at nodes whose verifier has the same salt and iterations.
    Scram(ScramKeys),
}

// === impl Credentials ===

impl Credentials {
    /// What this is, for people.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Clear(_) => "the password",
            Self::Md5(_) => "an md5 hash",
            Self::Scram(_) => "SCRAM keys",
        }
    }
}

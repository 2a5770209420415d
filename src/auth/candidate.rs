//! Who wants to log in by SCRAM or by the password itself, before a proof is judged: the verifier to judge it by,
//! which those have, too, who cannot log in.

use crate::auth::{
    password::Password,
    refusal::{Reason, Refusal},
    scram::{ChannelBinding, DEFAULT_ITERATIONS, MockSalts, Nonce, ScramVerifier, ServerExchange},
    stored::StoredSecret,
};

/// Who wants to prove something by SCRAM, before the mechanism is chosen; or by the password itself, which
/// is checked by the same verifier.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) verifier: ScramVerifier,
    /// Set when the exchange is a mock one.
    pub(super) doomed: Option<Reason>,
    /// The password, where we know it: worth more than the keys a proof reveals.
    pub(super) password: Option<Password>,
    pub(super) binding: ChannelBinding,
}

#[derive(Debug)]
pub(super) struct Scram {
    pub(super) exchange: ServerExchange,
    pub(super) doomed: Option<Reason>,
    pub(super) password: Option<Password>,
}

// === impl Candidate ===

impl Candidate {
    pub(super) fn new(
        user: &str,
        secret: Option<&StoredSecret>,
        salts: &MockSalts,
        binding: ChannelBinding,
    ) -> Self {
        let doomed = |reason| Self {
            verifier: salts.verifier(user),
            doomed: Some(reason),
            password: None,
            binding: binding.clone(),
        };
        match secret {
            None => doomed(Reason::NoSecret),
            Some(StoredSecret::Md5(_)) => doomed(Reason::Md5HashForScram),
            Some(StoredSecret::Clear(password)) => Self {
                verifier: password
                    .keys_towards_clients(&salts.salt(user), DEFAULT_ITERATIONS)
                    .verifier(),
                doomed: None,
                password: Some(password.clone()),
                binding,
            },
            Some(StoredSecret::Scram(verifier)) => {
                Self { verifier: verifier.clone(), doomed: None, password: None, binding }
            }
        }
    }

    /// The exchange, once the client has chosen the mechanism.
    pub(super) fn begin(self, plus: bool) -> Result<Scram, Refusal> {
        let nonce = Nonce::random()
            .map_err(|_| Refusal::no_randomness("could not generate random nonce"))?;
        let exchange = match self.doomed {
            Some(_) => ServerExchange::doomed(self.verifier, self.binding, plus, nonce),
            None => ServerExchange::new(self.verifier, self.binding, plus, nonce),
        };
        Ok(Scram { exchange, doomed: self.doomed, password: self.password })
    }
}

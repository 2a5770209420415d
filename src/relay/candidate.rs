//! Who wants to log in: how often it may try, and what is said when it may not come in.

use std::{fmt::Display, time::Instant};

use super::{login::Shut, serve::Home};
use crate::{
    auth::{Refusal, rules::Origin, throttle::Counted},
    event,
    protocol::write::Error,
};

/// Who wants to log in.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'a> {
    /// As the nodes see the name.
    pub(super) user: &'a str,
    pub(super) origin: Origin,
    pub(super) home: &'a Home,
}

// === impl Candidate ===

impl Candidate<'_> {
    /// Refuses who has failed too often, whether there is such a user or not.
    pub(super) fn check_throttle(&self) -> Result<(), Shut> {
        if self.home.throttle.is_locked_out(self.user, self.origin, Instant::now()) {
            return Err(Shut::Known(
                error(&Refusal::throttled(self.user)).hint("Try again later."),
            ));
        }
        Ok(())
    }

    /// A login by a secret that is over well.
    pub(super) fn succeeded(&self) {
        self.home.throttle.succeeded(self.user, self.origin);
    }

    /// A login that is over; one that failed for a wrong secret is counted.
    pub(super) fn refused(&self, refusal: &Refusal) -> Shut {
        if refusal.is_failed_attempt() {
            if let Some(lookup) = self.home.lookup.as_ref() {
                // The secret may have been changed since its answer was kept: the next login gets a fresh one.
                lookup.forget(self.user);
            }
            let counted = self.home.throttle.failed(self.user, self.origin, Instant::now());
            if counted == Counted::LockedOut {
                let lockout = self.home.settings.auth.lockout;
                event!(self.home.log, Warning, LoginThrottled,
                    "user {:?} failed to log in from {} again and again: more is refused for auth.lockout ({} ms)",
                    self.user, self.origin, lockout.as_millis();
                    "user" => self.user, "address" => self.origin.to_string());
            }
        }
        Shut::With(error(refusal), self.named(&refusal.reason))
    }

    /// A reason for the log, with who it is about. Names are quoted: they may hold anything.
    pub(super) fn named(&self, reason: &dyn Display) -> String {
        format!("user {:?} from {}: {reason}", self.user, self.origin)
    }
}

// === helpers ===

fn error(refusal: &Refusal) -> Error {
    let mut error = Error::fatal(refusal.sqlstate, refusal.message.clone());
    error.detail.clone_from(&refusal.detail);
    error
}

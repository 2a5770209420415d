//! The failed logins of all workers together: a brute force is spread over them.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Instant,
};

use dashmap::DashMap;

use crate::auth::{
    rules::Origin,
    throttle::{Counted, Ledger, Limits, neighbourhood},
};

/// Which users are throttled at which addresses. Copies share it.
#[derive(Clone, Debug)]
pub struct Throttle(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    limits: Limits,
    /// Several, so that workers seldom meet.
    ledgers: DashMap<u64, Ledger>,
    /// Its key is a secret of the process: nobody can choose names that meet.
    hasher: RandomState,
}

/// Ledgers, and records in each: 16 thousand users and addresses at a time, in about a megabyte.
const LEDGERS: u64 = 16;
const CAPACITY: usize = 1024;

// === impl Throttle ===

impl Throttle {
    /// With these limits, or one that never refuses anybody.
    #[must_use]
    pub fn new(limits: Option<Limits>) -> Self {
        Self(limits.map(|limits| {
            Arc::new(Inner { limits, ledgers: DashMap::new(), hasher: RandomState::new() })
        }))
    }

    /// Whether logins of this user from there are refused now.
    #[must_use]
    pub fn is_locked_out(&self, user: &str, origin: Origin, now: Instant) -> bool {
        self.at(user, origin, |ledger, key| ledger.is_locked_out(key, now)).unwrap_or(false)
    }

    /// Counts a failed login.
    pub fn failed(&self, user: &str, origin: Origin, now: Instant) -> Counted {
        self.at(user, origin, |ledger, key| ledger.failed(key, now)).unwrap_or(Counted::Noted)
    }

    /// Forgets the failures before a login that succeeded.
    pub fn succeeded(&self, user: &str, origin: Origin) {
        self.at(user, origin, |ledger, key| ledger.succeeded(key));
    }

    fn at<T>(
        &self,
        user: &str,
        origin: Origin,
        work: impl FnOnce(&mut Ledger, u64) -> T,
    ) -> Option<T> {
        let Inner { limits, ledgers, hasher } = self.0.as_deref()?;
        let key = hasher.hash_one((user, neighbourhood(origin)));
        let mut ledger =
            ledgers.entry(key % LEDGERS).or_insert_with(|| Ledger::new(*limits, CAPACITY));
        Some(work(&mut ledger, key))
    }
}

// === tests ===

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn counts_over_all_its_copies_and_by_user_and_address() {
        let limits = Limits {
            failures: 4,
            window: Duration::from_secs(60),
            lockout: Duration::from_secs(60),
        };
        let throttle = Throttle::new(Some(limits));
        let now = Instant::now();
        let here = Origin::Address("192.0.2.1".parse().unwrap());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let throttle = throttle.clone();
                std::thread::spawn(move || throttle.failed("joe", here, now))
            })
            .collect();
        let lockouts = threads.into_iter().map(|thread| thread.join().unwrap());
        assert_eq!(lockouts.filter(|counted| *counted == Counted::LockedOut).count(), 1);
        assert!(throttle.is_locked_out("joe", here, now));
        assert!(!throttle.is_locked_out("jim", here, now));
        assert!(!throttle.is_locked_out("joe", Origin::Local, now));
        throttle.succeeded("joe", here);
        assert!(!throttle.is_locked_out("joe", here, now));
    }

    #[test]
    fn without_limits_nobody_is_refused() {
        let throttle = Throttle::new(None);
        let now = Instant::now();
        for _ in 0..10_000 {
            assert_eq!(throttle.failed("joe", Origin::Local, now), Counted::Noted);
        }
        assert!(!throttle.is_locked_out("joe", Origin::Local, now));
    }
}

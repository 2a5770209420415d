//! Brute force is slowed down: who fails too often is not asked any more for a while.
//!
//! ```text
//!   (nothing) ──failure──► counting ──max_failures within failure_window──► locked out ──lockout──► (nothing)
//!                             │ success, or the window is over: (nothing)
//! ```
//! Pure: keys and times come from outside, and so does sharing between threads (`shared::throttle`).
//!
//! A ledger never holds more than its capacity, however many names and addresses somebody tries. When it is
//! full, the record that means least makes room: one that is over, else the one with the fewest failures and
//! among those the oldest, and a lockout only when there is nothing but lockouts, the one that ends first.
//! So a flood of names with a failure each only pushes itself out, and whoever wants to be rid of a lockout
//! has to earn as many others as the ledger holds.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use crate::{auth::rules::Origin, conf::settings::Auth};

/// How many failures are too many, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// So many failures lock out; at least 1.
    pub failures: u32,
    /// How long failures are counted, from the first of them.
    pub window: Duration,
    /// How long a lockout lasts.
    pub lockout: Duration,
}

/// What a failure led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// More may follow, or a lockout has begun already.
    Noted,
    /// With this one the lockout begins.
    LockedOut,
}

/// The failures of all users and addresses.
#[derive(Debug)]
pub struct Ledger {
    limits: Limits,
    capacity: usize,
    records: HashMap<u64, Record>,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    failures: u32,
    first: Instant,
    last: Instant,
    /// Set: the lockout has begun.
    until: Option<Instant>,
}

// === impl Limits ===

impl Limits {
    /// The configured ones, where there are any.
    #[must_use]
    pub fn of(auth: &Auth) -> Option<Self> {
        let Auth { max_failures, failure_window, lockout, .. } = auth;
        max_failures.map(|failures| Self { failures, window: *failure_window, lockout: *lockout })
    }
}

// === impl Ledger ===

impl Ledger {
    /// An empty one that holds at most so many records; at least 1.
    #[must_use]
    pub fn new(limits: Limits, capacity: usize) -> Self {
        Self { limits, capacity, records: HashMap::new() }
    }

    /// Whether nobody is asked for a secret under this key.
    #[must_use]
    pub fn is_locked_out(&self, key: u64, now: Instant) -> bool {
        self.records.get(&key).is_some_and(|record| record.until.is_some_and(|until| now < until))
    }

    /// Counts a failure.
    pub fn failed(&mut self, key: u64, now: Instant) -> Counted {
        let Limits { failures: most, window, lockout } = self.limits;
        if !self.records.contains_key(&key) {
            self.make_room(now);
        }
        let fresh = Record { failures: 0, first: now, last: now, until: None };
        let record = self.records.entry(key).or_insert(fresh);
        if record.is_over(now, window) {
            *record = fresh;
        }
        if record.until.is_some() {
            // Its login was under way when the lockout began.
            return Counted::Noted;
        }
        record.failures += 1;
        record.last = now;
        if record.failures < most {
            return Counted::Noted;
        }
        record.until = Some(now + lockout);
        Counted::LockedOut
    }

    /// Forgets the failures before a success.
    pub fn succeeded(&mut self, key: u64) {
        self.records.remove(&key);
    }

    /// How many records it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn make_room(&mut self, now: Instant) {
        let window = self.limits.window;
        if self.records.len() >= self.capacity {
            self.records.retain(|_, record| !record.is_over(now, window));
        }
        if self.records.len() >= self.capacity {
            let least = self.records.iter().min_by_key(|(_, record)| record.weight());
            let least = least.map(|(key, _)| *key);
            least.map(|key| self.records.remove(&key));
        }
    }
}

// === impl Record ===

impl Record {
    fn is_over(&self, now: Instant, window: Duration) -> bool {
        match self.until {
            Some(until) => now >= until,
            None => now.saturating_duration_since(self.first) >= window,
        }
    }

    /// What it means to keep it; the least goes first.
    fn weight(&self) -> (bool, u32, Instant) {
        match self.until {
            Some(until) => (true, 0, until),
            None => (false, self.failures, self.last),
        }
    }
}

// === helpers and constants ===

/// Whose failures count together: those of one IPv4 address, and of one IPv6 network of 64 bits, within which
/// everybody can have as many addresses as he likes.
#[must_use]
pub fn neighbourhood(origin: Origin) -> Origin {
    match origin {
        Origin::Address(IpAddr::V6(address)) => {
            let network = Ipv6Addr::from_bits(address.to_bits() & NETWORK_BITS);
            Origin::Address(network.into())
        }
        other => other,
    }
}

const NETWORK_BITS: u128 = !0 << 64;

// === tests ===

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { failures: 3, window: Duration::from_secs(60), lockout: Duration::from_secs(30) };

    fn ledger(capacity: usize) -> (Ledger, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        (Ledger::new(LIMITS, capacity), move |second| start + Duration::from_secs(second))
    }

    #[test]
    fn locks_out_at_the_limit_once_and_for_its_time() {
        let (mut ledger, at) = ledger(10);
        assert_eq!(ledger.failed(1, at(0)), Counted::Noted);
        assert_eq!(ledger.failed(1, at(1)), Counted::Noted);
        assert!(!ledger.is_locked_out(1, at(1)));
        assert_eq!(ledger.failed(1, at(2)), Counted::LockedOut);
        assert_eq!(ledger.failed(1, at(3)), Counted::Noted, "it is said once");
        for (second, locked) in [(2, true), (31, true), (32, false), (1000, false)] {
            assert_eq!(ledger.is_locked_out(1, at(second)), locked, "{second}");
        }
        assert!(!ledger.is_locked_out(2, at(3)), "others are not concerned");
        // Afterwards it begins anew.
        assert_eq!(ledger.failed(1, at(32)), Counted::Noted);
        assert_eq!(ledger.failed(1, at(33)), Counted::Noted);
        assert_eq!(ledger.failed(1, at(34)), Counted::LockedOut);
    }

    #[test]
    fn failures_are_forgotten_after_the_window_and_by_a_success() {
        let (mut ledger, at) = ledger(10);
        ledger.failed(1, at(0));
        ledger.failed(1, at(59));
        assert_eq!(ledger.failed(1, at(60)), Counted::Noted, "the window was over");
        ledger.failed(1, at(61));
        ledger.succeeded(1);
        assert!(ledger.is_empty());
        ledger.failed(1, at(62));
        assert_eq!(ledger.failed(1, at(62)), Counted::Noted);
        assert_eq!(ledger.failed(1, at(62)), Counted::LockedOut);
    }

    #[test]
    fn one_failure_may_be_one_too_many() {
        let limits = Limits { failures: 1, ..LIMITS };
        assert_eq!(Ledger::new(limits, 1).failed(1, Instant::now()), Counted::LockedOut);
    }

    #[test]
    fn a_flood_of_names_pushes_out_only_itself() {
        let (mut ledger, at) = ledger(100);
        for _ in 0..3 {
            ledger.failed(1, at(0));
        }
        ledger.failed(2, at(0));
        ledger.failed(2, at(0));
        for stranger in 1000..100_000 {
            ledger.failed(stranger, at(1));
            assert!(ledger.len() <= 100);
        }
        assert!(ledger.is_locked_out(1, at(1)));
        assert_eq!(ledger.failed(2, at(1)), Counted::LockedOut, "its two failures were kept");
    }

    #[test]
    fn among_lockouts_the_first_to_end_makes_room() {
        let (mut ledger, at) = ledger(3);
        for (key, second) in [(1, 2), (2, 1), (3, 3)] {
            for _ in 0..3 {
                ledger.failed(key, at(second));
            }
        }
        ledger.failed(4, at(4));
        let locked: Vec<bool> = (1..=4).map(|key| ledger.is_locked_out(key, at(4))).collect();
        assert_eq!(locked, [true, false, true, false]);
        // What is over goes before all others.
        ledger.failed(5, at(32));
        assert!(ledger.is_locked_out(3, at(32)) && ledger.len() <= 3);
    }

    #[test]
    fn an_ipv6_network_is_one_neighbour() {
        let of = |text: &str| neighbourhood(Origin::Address(text.parse().unwrap()));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1:2:3"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(neighbourhood(Origin::Local), Origin::Local);
    }
}

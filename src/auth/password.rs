//! A clear password, and the keys it has become.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use crate::{auth::scram::ScramKeys, conf::Secret};

/// A clear password. Copies share one text and the keys derived from it: hashing costs milliseconds, so it
/// happens once per user, not once per login.
#[derive(Clone)]
pub struct Password(Arc<Shared>);

struct Shared {
    text: Secret,
    towards_clients: OnceLock<ScramKeys>,
    towards_nodes: OnceLock<ScramKeys>,
}

// === impl Password ===

impl Password {
    /// Takes the text in.
    #[must_use]
    pub fn new(text: Secret) -> Self {
        Self(Arc::new(Shared {
            text,
            towards_clients: OnceLock::new(),
            towards_nodes: OnceLock::new(),
        }))
    }

    /// Takes the text in with keys that were derived from it already, since nodes mostly have the very verifier
    /// it was checked by.
    #[must_use]
    pub fn with_keys(text: Secret, towards_nodes: ScramKeys) -> Self {
        Self(Arc::new(Shared {
            text,
            towards_clients: OnceLock::new(),
            towards_nodes: OnceLock::from(towards_nodes),
        }))
    }

    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.0.text.reveal()
    }

    /// The keys for the salt that we show to clients.
    #[must_use]
    pub fn keys_towards_clients(&self, salt: &[u8], iterations: u32) -> ScramKeys {
        self.keys(&self.0.towards_clients, salt, iterations)
    }

    /// The keys for the salt of the nodes; physical standbys have the same as their primary.
    #[must_use]
    pub fn keys_towards_nodes(&self, salt: &[u8], iterations: u32) -> ScramKeys {
        self.keys(&self.0.towards_nodes, salt, iterations)
    }

    /// The kept keys where they fit. What does not fit is derived each time and not kept: a node that
    /// changes its salt at every login must not be able to make us store them all.
    fn keys(&self, kept: &OnceLock<ScramKeys>, salt: &[u8], iterations: u32) -> ScramKeys {
        let derive = || ScramKeys::derive(self.reveal().as_bytes(), salt, iterations);
        let first = kept.get_or_init(derive);
        if first.fit(salt, iterations) { first.clone() } else { derive() }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<password>")
    }
}

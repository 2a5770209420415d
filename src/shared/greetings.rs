//! What servers told lately at login, so that a client can be greeted without one: by pool, over all
//! workers.

use std::{sync::Arc, time::Duration};

use dashmap::DashMap;
use failover::NodeId;
use tokio::time::Instant;

use super::{identity::PoolKey, parameters::Parameters};

/// The greetings, shared by all workers.
#[derive(Clone, Debug, Default)]
pub struct Greetings(Arc<DashMap<PoolKey, Learnt>>);

/// What a client is told at login by a server of its pool.
#[derive(Clone, Debug)]
pub struct Greeting {
    /// The settings.
    pub parameters: Arc<Parameters>,
    /// Notices as whole messages: what is wrong with a startup parameter, say.
    pub notices: Arc<[u8]>,
}

#[derive(Debug)]
struct Learnt {
    greeting: Greeting,
    at: Instant,
}

/// How long a report is told to new clients without asking a server anew.
const LIFE: Duration = Duration::from_secs(30);

// === impl Greetings ===

impl Greetings {
    /// Notes what a server of this pool tells.
    pub fn learn(&self, key: &PoolKey, greeting: Greeting) {
        self.0.insert(key.clone(), Learnt { greeting, at: Instant::now() });
    }

    /// What a server of this pool told, where one did lately.
    #[must_use]
    pub fn of(&self, key: &PoolKey) -> Option<Greeting> {
        self.0.get(key).filter(|learnt| learnt.is_fresh()).map(|learnt| learnt.greeting.clone())
    }

    /// Forgets what a node said.
    pub fn forget(&self, node: NodeId) {
        self.0.retain(|key, _| key.node != node);
    }

    /// Forgets what is too old to be told.
    pub fn sweep(&self) {
        self.0.retain(|_, learnt| learnt.is_fresh());
    }
}

// === impl Learnt ===

impl Learnt {
    fn is_fresh(&self) -> bool {
        self.at.elapsed() < LIFE
    }
}

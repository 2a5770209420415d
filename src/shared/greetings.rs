//! What servers reported lately, so that a client can be greeted without one: settings by pool, over all
//! workers.

use std::{sync::Arc, time::Duration};

use dashmap::DashMap;
use failover::NodeId;
use tokio::time::Instant;

use super::{identity::PoolKey, parameters::Parameters};

/// The reports, shared by all workers.
#[derive(Clone, Debug, Default)]
pub struct Greetings(Arc<DashMap<PoolKey, Learnt>>);

#[derive(Clone, Debug)]
struct Learnt {
    parameters: Arc<Parameters>,
    at: Instant,
}

/// How long a report is told to new clients without asking a server anew.
const LIFE: Duration = Duration::from_secs(30);

// === impl Greetings ===

impl Greetings {
    /// Notes what a server of this pool reports.
    pub fn learn(&self, key: &PoolKey, parameters: &Arc<Parameters>) {
        let learnt = Learnt { parameters: Arc::clone(parameters), at: Instant::now() };
        self.0.insert(key.clone(), learnt);
    }

    /// What a server of this pool reported, where one did lately.
    #[must_use]
    pub fn of(&self, key: &PoolKey) -> Option<Arc<Parameters>> {
        self.0
            .get(key)
            .filter(|learnt| learnt.is_fresh())
            .map(|learnt| Arc::clone(&learnt.parameters))
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

//! This thread's current topology: one borrow to read, no lock, and a bell for those who wait.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use failover::Topology;
use tokio::sync::Notify;

/// The snapshot that every routing decision of this thread goes by.
#[derive(Clone, Debug)]
pub struct LocalTopology(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    current: RefCell<Arc<Topology>>,
    changed: Notify,
}

// === impl LocalTopology ===

impl LocalTopology {
    /// Starts from a snapshot.
    #[must_use]
    pub fn new(topology: Arc<Topology>) -> Self {
        Self(Rc::new(Inner { current: RefCell::new(topology), changed: Notify::new() }))
    }

    /// The snapshot as it is now.
    #[must_use]
    pub fn current(&self) -> Arc<Topology> {
        Arc::clone(&self.0.current.borrow())
    }

    /// Replaces the snapshot and wakes everybody who waits in [`Self::changed`].
    pub fn replace(&self, topology: Arc<Topology>) {
        *self.0.current.borrow_mut() = topology;
        self.0.changed.notify_waiters();
    }

    /// Waits for the next replacement. What happens between creating the future and its first poll is
    /// not missed.
    pub fn changed(&self) -> impl Future<Output = ()> + '_ {
        self.0.changed.notified()
    }
}

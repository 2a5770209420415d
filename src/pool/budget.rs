//! How many server connections a node may have, over all workers: permits, handed out first come, first
//! served.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use failover::NodeId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The permits of all nodes, shared by all workers.
#[derive(Clone, Debug)]
pub struct Budget(Arc<[NodeBudget]>);

#[derive(Debug)]
struct NodeBudget {
    /// None where there is no limit.
    permits: Option<Arc<Semaphore>>,
    /// How many wait in line.
    waiting: AtomicUsize,
}

/// Leave to have one server connection, given back when dropped.
#[derive(Debug)]
pub struct Permit {
    _permit: Option<OwnedSemaphorePermit>,
}

// === impl Budget ===

impl Budget {
    /// So many permits for each of so many nodes.
    #[must_use]
    pub fn new(nodes: usize, limit: Option<usize>) -> Self {
        let node = |_| NodeBudget {
            permits: limit.map(|limit| Arc::new(Semaphore::new(limit))),
            waiting: AtomicUsize::new(0),
        };
        Self((0..nodes).map(node).collect())
    }

    /// A permit, where one is free and nobody waits for it.
    #[must_use]
    pub fn try_take(&self, node: NodeId) -> Option<Permit> {
        let permit = match &self.node(node).permits {
            None => None,
            Some(permits) => Some(Arc::clone(permits).try_acquire_owned().ok()?),
        };
        Some(Permit { _permit: permit })
    }

    /// A permit, when it is this caller's turn.
    pub async fn take(&self, node: NodeId) -> Permit {
        let node = self.node(node);
        let _waiting = Waiting::new(&node.waiting);
        let permit = match &node.permits {
            None => None,
            // The semaphore is never closed.
            Some(permits) => Arc::clone(permits).acquire_owned().await.ok(),
        };
        Permit { _permit: permit }
    }

    /// Whether somebody waits for a permit, so that idle connections should be given up.
    #[must_use]
    pub fn has_waiters(&self, node: NodeId) -> bool {
        self.node(node).waiting.load(Ordering::Relaxed) > 0
    }

    fn node(&self, node: NodeId) -> &NodeBudget {
        &self.0[node.index()]
    }
}

/// Counts somebody as waiting until dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

//! Who a server connection is logged in as, and where: what makes two of them interchangeable.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use failover::NodeId;

/// What a client logs in as. Two clients of the same identity can use the same server connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Role.
    pub user: String,
    /// Database.
    pub database: String,
    /// Every other startup parameter, sorted by name.
    pub parameters: Vec<(String, String)>,
}

/// What connections of one pool have in common.
#[derive(Clone, Debug)]
pub struct PoolKey {
    /// Who they are logged in as.
    pub identity: Arc<Identity>,
    /// Where.
    pub node: NodeId,
}

// === impl PoolKey ===

impl PartialEq for PoolKey {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node
            && (Arc::ptr_eq(&self.identity, &other.identity) || self.identity == other.identity)
    }
}

impl Eq for PoolKey {}

impl Hash for PoolKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity.hash(state);
        self.node.hash(state);
    }
}

//! The immutable snapshot that sessions route by.

use crate::{NodeId, Role, Status};

/// The number of a snapshot. It only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Epoch(pub u64);

/// What is known of the cluster at one moment, as every worker sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Topology {
    /// Which snapshot this is.
    pub epoch: Epoch,
    /// The one node that may be written to, where there is one.
    pub primary: Option<NodeId>,
    /// Every configured node, in order of its id.
    pub nodes: Vec<NodeView>,
}

/// One node in a [`Topology`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct NodeView {
    /// Whether it takes part in service.
    pub status: Status,
    /// What it was last seen to be.
    pub role: Role,
}

// === impl Topology ===

impl Topology {
    /// The snapshot before anything was seen: `count` nodes, all waiting.
    #[must_use]
    pub fn unseen(count: usize) -> Self {
        Self { epoch: Epoch(0), primary: None, nodes: vec![NodeView::default(); count] }
    }

    /// Pgpool-II's main node: the lowest-numbered node in service.
    #[must_use]
    pub fn main_node(&self) -> Option<NodeId> {
        self.nodes
            .iter()
            .position(|node| matches!(node.status, Status::Up | Status::Waiting))
            .and_then(|index| u16::try_from(index).ok())
            .map(NodeId)
    }
}

//! What is known of the cluster: every node's standing, who holds the primary's seat, whose history
//! it is.
//!
//! This is memory only. It draws no conclusion that needs a setting; `roles.rs`, `suspicion.rs` and
//! `candidate.rs` do.

use crate::node::ids;
use crate::suspicion::Suspicion;
use crate::{
    Epoch, Failure, Lsn, Millis, NodeId, NodeView, Role, RoleObservation, Saved, Status, Synchrony,
    SystemIdentifier, Timeline, Topology, WalPosition,
};

/// Which cluster this is and how far its history goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Lineage {
    /// The same on every node of the cluster.
    pub system_identifier: SystemIdentifier,
    /// The newest timeline a primary of this cluster was seen to write.
    pub timeline: Timeline,
}

/// Why a node is not in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Reason {
    /// Its checks failed.
    Failed(Failure),
    /// It announced its shutdown.
    ShutDown,
    /// An operator detached it: it stays out until an operator attaches it.
    Operator,
    /// An operator set it aside.
    SetAside,
    /// It was lost while this proxy had no quorum.
    NoQuorum,
    /// It was the primary before the present one.
    FormerPrimary,
    /// It claims to be a second primary.
    SecondPrimary,
    /// It belongs to another cluster.
    Stranger,
    /// Its history left the primary's.
    Forked,
    /// It could not be made to follow the primary.
    NotFollowing,
}

/// One node, as far as is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Node {
    pub status: Status,
    pub role: Role,
    pub reason: Option<Reason>,
    /// Since when the status is what it is.
    pub since: Millis,
    /// The newest observation.
    pub seen: Option<RoleObservation>,
    /// The last sign of life.
    pub alive: Option<Millis>,
    /// The last sign to the contrary.
    pub failing: Option<Millis>,
    pub suspicion: Suspicion,
    /// How often in a row it was lost soon after its return.
    pub flaps: u32,
    /// When it last came back by itself.
    pub returned: Option<Millis>,
    /// Since when it is seen on an older timeline than the primary's.
    pub astray: Option<Millis>,
    /// Where it stood when the primary fell under suspicion; more than that means the primary lives.
    pub baseline: Option<Lsn>,
}

/// All nodes and what they have in common.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cluster {
    pub epoch: Epoch,
    pub nodes: Vec<Node>,
    /// Who holds the primary's seat: the present primary, or the last one.
    pub primary: Option<NodeId>,
    /// Whether it may be written to now. Only then the snapshot names it.
    pub granted: bool,
    pub lineage: Option<Lineage>,
    /// An operator gave up every timeline up to this one; only the primary's own still counts.
    pub renounced: Option<Timeline>,
    /// The highest position known to have been written on the lineage's timeline.
    pub high_water: Option<Lsn>,
    /// Whether the primary may have written more than that while nobody looked: it was in service when
    /// the last run ended, and has not been seen since.
    pub unwatched: bool,
    pub synchrony: Option<Synchrony>,
    /// Promotions that may yet come true, oldest first.
    pub pending: Vec<Pending>,
}

/// A promotion that was commanded and may yet come true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub node: NodeId,
    /// When nothing more can come of the command itself.
    pub ended: Option<Millis>,
    /// Whether it is certain that the command did nothing.
    pub refused: bool,
}

// === impl Cluster ===

impl Cluster {
    pub fn new(count: usize) -> Self {
        Self {
            epoch: Epoch(0),
            nodes: vec![Node::default(); count],
            primary: None,
            granted: false,
            lineage: None,
            renounced: None,
            high_water: None,
            unwatched: false,
            synchrony: None,
            pending: Vec::new(),
        }
    }

    /// Takes over what the last run knew. What was in service must be seen again first.
    pub fn restore(&mut self, saved: &Saved, now: Millis) {
        self.epoch = saved.epoch;
        self.primary = saved.primary.filter(|id| id.index() < self.nodes.len());
        self.lineage = saved.lineage;
        self.renounced = saved.renounced;
        self.high_water = saved.high_water;
        self.unwatched = saved.granted;
        self.synchrony.clone_from(&saved.synchrony);
        self.pending = saved
            .pending
            .iter()
            .filter(|id| id.index() < self.nodes.len())
            .map(|node| Pending { node: *node, ended: Some(now), refused: false })
            .collect();
        for (node, (status, reason)) in self.nodes.iter_mut().zip(&saved.nodes) {
            let out = matches!(status, Status::Down | Status::Quarantined | Status::Fenced);
            node.status = if out { *status } else { Status::Waiting };
            node.reason = reason.filter(|_| out);
            node.since = now;
        }
    }

    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        ids(self.nodes.len())
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.index()]
    }

    pub fn in_service(&self, id: NodeId) -> bool {
        matches!(self.node(id).status, Status::Up | Status::Waiting)
    }

    /// The nodes other than `but` that are in service.
    pub fn others(&self, but: Option<NodeId>) -> Vec<NodeId> {
        self.ids().filter(|id| Some(*id) != but && self.in_service(*id)).collect()
    }

    /// Pgpool-II's main node.
    pub fn main_node(&self) -> Option<NodeId> {
        self.ids().find(|id| self.in_service(*id))
    }

    /// Whether the promotion of a node may yet come true.
    pub fn is_pending(&self, id: NodeId) -> bool {
        self.pending.iter().any(|pending| pending.node == id)
    }

    /// A node other than this one whose promotion may yet come true.
    pub fn pending_besides(&self, id: Option<NodeId>) -> Option<NodeId> {
        self.pending.iter().map(|pending| pending.node).find(|node| Some(*node) != id)
    }

    /// The node in service whose promotion was commanded last and may yet come true.
    pub fn unsettled(&self) -> Option<NodeId> {
        self.pending.iter().rev().map(|pending| pending.node).find(|node| self.in_service(*node))
    }

    /// The newest observation of a node, unless it is older than `max_age`.
    pub fn fresh(&self, id: NodeId, now: Millis, max_age: u64) -> Option<&RoleObservation> {
        self.node(id).seen.as_ref().filter(|seen| now.since(seen.at) <= max_age)
    }

    pub fn topology(&self) -> Topology {
        Topology {
            epoch: self.epoch,
            primary: self.primary.filter(|_| self.granted),
            nodes: self
                .nodes
                .iter()
                .map(|node| NodeView { status: node.status, role: node.role })
                .collect(),
        }
    }

    /// Changes a node's status; `since` moves only when it really changed.
    pub fn set(&mut self, id: NodeId, status: Status, reason: Option<Reason>, now: Millis) {
        let node = self.node_mut(id);
        if node.status != status {
            node.since = now;
        }
        node.status = status;
        node.reason = reason;
    }

    /// Notes an answer. An answer older than the one held says nothing new.
    pub fn observe(&mut self, observation: RoleObservation, now: Millis, settle: u64) -> bool {
        let id = observation.node;
        let node = self.node_mut(id);
        if node.seen.as_ref().is_some_and(|seen| seen.at > observation.at) {
            return false;
        }
        let mut observation = observation;
        observation.at = observation.at.min(now);
        node.alive = node.alive.max(Some(observation.at));
        node.role = if observation.writes() { Role::Primary } else { Role::Standby };
        let of_lineage = self.lineage.is_some_and(|lineage| {
            lineage.system_identifier == observation.system_identifier
                && lineage.timeline == observation.timeline
        });
        // What a second primary writes is nobody's loss.
        if of_lineage && (!observation.writes() || self.primary == Some(id)) {
            self.high_water = self.high_water.max(observation.position());
            self.unwatched &= !observation.writes();
        }
        let recovers = !observation.writes();
        self.pending.retain(|pending| {
            let settle = if pending.refused { 0 } else { settle };
            let over = pending.ended.is_some_and(|ended| observation.at.0 > ended.0 + settle);
            !(pending.node == id && recovers && over)
        });
        self.node_mut(id).seen = Some(observation);
        true
    }
}

// === impl RoleObservation ===

impl RoleObservation {
    /// How far the node's WAL goes: what it wrote, or the most it received or replayed.
    #[must_use]
    pub fn position(&self) -> Option<Lsn> {
        match &self.wal {
            WalPosition::Writing { current } => Some(*current),
            WalPosition::Recovering { received, replayed, .. } => (*received).max(*replayed),
        }
    }

    /// Whether the node's WAL receiver streams now.
    #[must_use]
    pub fn streams(&self) -> bool {
        matches!(self.wal, WalPosition::Recovering { streaming: true, .. })
    }
}

//! A PostgreSQL node as far as failover sees it: a process, a history of WAL, a role.
//!
//! WAL is not stored. Every promotion opens a new branch, and a node's content is which branches it
//! went through and how far: two nodes have the same record exactly when both reach it on the same
//! branch. That is what tells a standby that follows from one that has forked.

use failover::{Lsn, Millis, NodeId, RoleObservation, SystemIdentifier, Timeline, WalPosition};

/// One node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Whether its processes exist.
    pub running: bool,
    /// Whether they are stopped (SIGSTOP): connections are accepted by the kernel, nothing answers.
    pub frozen: bool,
    /// Until when it says "starting up".
    pub starting_until: u64,
    /// Whether it is out of recovery.
    pub writes: bool,
    /// Its cluster.
    pub system: u64,
    /// Its timeline.
    pub timeline: u32,
    /// Branches and where each began; the last one is the present one.
    pub history: Vec<(u32, u64)>,
    /// How far its WAL goes.
    pub lsn: u64,
    /// Whom it is configured to follow.
    pub upstream: usize,
    /// Whether its receiver streamed at the last tick.
    pub streaming: bool,
    /// Bytes per tick it can receive.
    pub rate: u64,
    /// Whether connection slots are exhausted.
    pub full: bool,
}

// === impl Node ===

impl Node {
    /// A standby of node 0, or node 0 itself, of a fresh cluster.
    #[must_use]
    pub fn fresh(id: usize) -> Self {
        Self {
            running: true,
            frozen: false,
            starting_until: 0,
            writes: id == 0,
            system: 42,
            timeline: 1,
            history: vec![(0, 0)],
            lsn: 1_000,
            upstream: 0,
            streaming: id != 0,
            rate: 1_000_000,
            full: false,
        }
    }

    /// Whether it would answer a query now.
    #[must_use]
    pub fn alive(&self, now: u64) -> bool {
        self.running && !self.frozen && self.starting_until <= now
    }

    /// The branch it is on.
    #[must_use]
    pub fn branch(&self) -> u32 {
        self.history.last().map_or(0, |last| last.0)
    }

    /// How far it has the records of a branch, if it went through that branch at all.
    #[must_use]
    pub fn extent(&self, branch: u32) -> Option<u64> {
        let at = self.history.iter().position(|entry| entry.0 == branch)?;
        Some(self.history.get(at + 1).map_or(self.lsn, |next| next.1))
    }

    /// Whether this node's content is a beginning of `other`'s, so that it could stream from it.
    #[must_use]
    pub fn precedes(&self, other: &Self) -> bool {
        self.system == other.system
            && other.history.starts_with(&self.history)
            && other.extent(self.branch()).is_some_and(|extent| extent >= self.lsn)
    }

    /// Becomes a primary on a new branch and the next timeline.
    pub fn promote(&mut self, branch: u32) {
        self.writes = true;
        self.streaming = false;
        self.timeline += 1;
        self.history.push((branch, self.lsn));
        self.lsn += 100;
    }

    /// Becomes an exact copy of `primary`, in recovery: pg_basebackup or pg_rewind.
    pub fn copy(&mut self, primary: &Self, of: usize) {
        self.history.clone_from(&primary.history);
        self.system = primary.system;
        self.timeline = primary.timeline;
        self.lsn = primary.lsn;
        self.writes = false;
        self.upstream = of;
        self.running = true;
        self.frozen = false;
        self.streaming = true;
    }

    /// What it says about itself.
    #[must_use]
    pub fn observe(&self, id: usize, now: u64) -> RoleObservation {
        let wal = if self.writes {
            WalPosition::Writing { current: Lsn(self.lsn) }
        } else {
            WalPosition::Recovering {
                received: Some(Lsn(self.lsn)),
                replayed: Some(Lsn(self.lsn)),
                streaming: self.streaming,
                sender: None,
            }
        };
        RoleObservation {
            node: NodeId(u16::try_from(id).unwrap_or(u16::MAX)),
            at: Millis(now),
            system_identifier: SystemIdentifier(self.system),
            timeline: Timeline(self.timeline),
            wal,
        }
    }
}

//! What a node said about itself when it was asked.

use crate::{Lsn, Millis, NodeId, SystemIdentifier, Timeline};

/// One node's answer to "are you in recovery, and where are you?".
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RoleObservation {
    /// Who answered.
    pub node: NodeId,
    /// When it was asked: what it says was true then or later. (Not when the answer arrived: positions
    /// count only from the moment at which nothing was written any more.)
    pub at: Millis,
    /// The cluster it belongs to.
    pub system_identifier: SystemIdentifier,
    /// The timeline it writes (primary) or replays (standby).
    pub timeline: Timeline,
    /// `pg_is_in_recovery()` and the positions that go with either answer.
    pub wal: WalPosition,
}

/// Where a node's WAL stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum WalPosition {
    /// Out of recovery: it accepts writes.
    Writing {
        /// `pg_current_wal_lsn()`.
        current: Lsn,
    },
    /// In recovery.
    Recovering {
        /// `pg_last_wal_receive_lsn()`; none before the first streamed byte.
        received: Option<Lsn>,
        /// `pg_last_wal_replay_lsn()`; none before the first replayed record.
        replayed: Option<Lsn>,
        /// Whether the WAL receiver is streaming now.
        streaming: bool,
        /// `host:port` the WAL receiver is connected to, where it is.
        sender: Option<String>,
    },
}

// === impl RoleObservation ===

impl RoleObservation {
    /// Whether the node says that it takes writes.
    #[must_use]
    pub fn writes(&self) -> bool {
        matches!(self.wal, WalPosition::Writing { .. })
    }
}

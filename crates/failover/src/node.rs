//! The words for one PostgreSQL node: who it is, what it does, where its WAL stands.

use std::fmt;

/// A moment on the caller's monotonic clock, in milliseconds. Only differences mean anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Millis(pub u64);

/// The number of a node: its place in the configuration, counted from 0, as in Pgpool-II.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct NodeId(pub u16);

/// What a node was last seen to be. It is discovered, never configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Role {
    /// The node that takes writes.
    Primary,
    /// A node in recovery.
    Standby,
    /// Nothing trustworthy has been seen yet.
    #[default]
    Unknown,
}

/// Whether a node takes part in service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Status {
    /// Not configured.
    Unused,
    /// Configured, never yet seen to work.
    #[default]
    Waiting,
    /// In service.
    Up,
    /// Lost or detached: it gets no statement.
    Down,
    /// Set aside without a failover, until it is seen to work again.
    Quarantined,
    /// A former primary, or a stranger: it gets no statement until it is a standby of the present
    /// primary.
    Fenced,
}

/// PostgreSQL's `system_identifier`: the same on every node of one cluster, and on no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SystemIdentifier(pub u64);

/// A timeline of WAL; each promotion starts a higher one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Timeline(pub u32);

/// A position in the WAL, in bytes (PostgreSQL's `pg_lsn`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Lsn(pub u64);

// === impl Millis ===

impl Millis {
    /// How long ago `earlier` was, in milliseconds; 0 when it lies in the future.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

// === impl NodeId ===

impl NodeId {
    /// The index of this node in a list of all configured nodes.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === helpers ===

/// The ids of `count` nodes.
pub(crate) fn ids(count: usize) -> impl Iterator<Item = NodeId> {
    (0..u16::try_from(count).unwrap_or(u16::MAX)).map(NodeId)
}

// === impl Role ===

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Primary => "primary",
            Self::Standby => "standby",
            Self::Unknown => "unknown",
        })
    }
}

// === impl Status ===

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unused => "unused",
            Self::Waiting => "waiting",
            Self::Up => "up",
            Self::Down => "down",
            Self::Quarantined => "quarantine",
            Self::Fenced => "fenced",
        })
    }
}

// === impl Lsn ===

impl fmt::Display for Lsn {
    /// PostgreSQL's own spelling: two hexadecimal halves.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

//! Why something was not done, for the one who asked and for the one who reads the log.

use std::fmt;

use crate::{NodeId, Status, Timeline};

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Refusal {
    /// No such node is configured.
    NoSuchNode {
        /// The id that was given.
        node: NodeId,
    },
    /// The node is in service, so it cannot be attached.
    NotDown {
        /// Which one.
        node: NodeId,
        /// What it is.
        status: Status,
    },
    /// The node is not in service.
    NotInService {
        /// Which one.
        node: NodeId,
        /// What it is.
        status: Status,
    },
    /// The node is flagged DISALLOW_TO_FAILOVER.
    FailoverDisallowed {
        /// Which one.
        node: NodeId,
    },
    /// A node is flagged ALWAYS_PRIMARY, so no other can be made the primary.
    AlwaysPrimary {
        /// Which one.
        node: NodeId,
    },
    /// It is the primary already.
    AlreadyPrimary {
        /// Which one.
        node: NodeId,
    },
    /// There is a primary; only a switchover can replace it.
    HasPrimary {
        /// Which one.
        node: NodeId,
    },
    /// There is no primary.
    NoPrimary,
    /// There are no standbys in this clustering mode.
    NotStreaming,
    /// Somebody else promotes.
    OnlyObserving,
    /// `promote = "command"` without a `failover_command`.
    NoFailoverCommand,
    /// Too many requests wait already.
    QueueFull,
    /// The node did not say in time what it is.
    NoAnswer {
        /// Which one.
        node: NodeId,
    },
    /// The node belongs to another cluster.
    Stranger {
        /// Which one.
        node: NodeId,
    },
    /// The node takes writes although another is the primary.
    SecondPrimary {
        /// Which one.
        node: NodeId,
        /// The timeline it writes.
        timeline: Timeline,
    },
    /// The node is on another timeline than the cluster.
    WrongTimeline {
        /// Which one.
        node: NodeId,
        /// Its timeline.
        timeline: Timeline,
        /// The cluster's.
        newest: Timeline,
    },
    /// The node is in recovery but does not stream from the primary.
    NotFollowing {
        /// Which one.
        node: NodeId,
    },
    /// The node's priority is 0.
    NeverPromoted {
        /// Which one.
        node: NodeId,
    },
    /// No standby in service has said where it stands.
    NoCandidate,
    /// Nothing is known of this cluster's history, so no standby can be known to be the newest.
    UnknownLineage,
    /// The best candidate lacks too much WAL.
    LossTooGreat {
        /// The best candidate.
        node: NodeId,
        /// What it lacks.
        bytes: u64,
        /// `max_data_loss_bytes`.
        limit: u64,
    },
    /// Too few of the synchronous standbys were heard to be sure that one of them has every commit.
    CommitsUncertain {
        /// How many were heard.
        seen: u16,
        /// How many it takes.
        needed: u16,
    },
    /// `max_automatic_failovers` within the hour has been reached.
    TooManyFailovers {
        /// The limit.
        limit: u32,
    },
    /// This proxy does not have the agreement of its peers.
    NoQuorum,
    /// Several nodes claim to be the primary and nothing decides between them.
    Contested,
    /// It is not known whether the last primary is gone.
    PrimaryUndecided {
        /// The last primary.
        node: NodeId,
    },
    /// A promotion of unknown outcome has to be cleared up first.
    PromotionPending {
        /// Whose.
        node: NodeId,
    },
    /// `failover_command` failed.
    CommandFailed,
    /// The node was not promoted.
    NotPromoted {
        /// Which one.
        node: NodeId,
    },
    /// No new primary was found in time.
    NotFound,
    /// Sessions did not let go of the old primary in time.
    FenceExpired,
    /// The target did not receive everything in time.
    NotCaughtUp {
        /// The target.
        node: NodeId,
    },
    /// The target was lost.
    TargetLost {
        /// The target.
        node: NodeId,
    },
    /// The old primary came back first.
    PrimaryReturned {
        /// Which one.
        node: NodeId,
    },
    /// Another node became the primary.
    OtherBecamePrimary {
        /// Which one.
        node: NodeId,
    },
}

// === impl Refusal ===

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchNode { node } => write!(f, "node {node} is not configured"),
            Self::NotDown { node, status } => {
                write!(f, "node {node} is {status}: only a node out of service can be attached")
            }
            Self::NotInService { node, status } => {
                write!(f, "node {node} is {status}, not in service")
            }
            Self::FailoverDisallowed { node } => {
                write!(f, "node {node} is flagged DISALLOW_TO_FAILOVER")
            }
            Self::AlwaysPrimary { node } => {
                write!(f, "node {node} is flagged ALWAYS_PRIMARY: no other can be the primary")
            }
            Self::AlreadyPrimary { node } => write!(f, "node {node} is the primary already"),
            Self::HasPrimary { node } => {
                write!(f, "node {node} is the primary: ask for a switchover to replace it")
            }
            Self::NoPrimary => f.write_str("there is no primary"),
            Self::NotStreaming => f.write_str("this clustering mode has no standby to promote"),
            Self::OnlyObserving => f.write_str(
                "promote = \"observe\": somebody else promotes, understudy only watches",
            ),
            Self::NoFailoverCommand => {
                f.write_str("promote = \"command\", but no failover_command is set")
            }
            Self::QueueFull => f.write_str("too many requests are waiting already"),
            Self::NoAnswer { node } => write!(f, "node {node} did not answer in time"),
            Self::Stranger { node } => {
                write!(f, "node {node} belongs to another cluster (system identifier)")
            }
            Self::SecondPrimary { node, timeline } => {
                write!(f, "node {node} is a second primary (timeline {})", timeline.0)
            }
            Self::WrongTimeline { node, timeline, newest } => write!(
                f,
                "node {node} is on timeline {}, the cluster on {}: it needs pg_rewind or a new copy",
                timeline.0, newest.0
            ),
            Self::NotFollowing { node } => {
                write!(f, "node {node} is in recovery but does not stream from the primary")
            }
            Self::NeverPromoted { node } => write!(f, "node {node} has priority 0"),
            Self::NoCandidate => f.write_str("no standby in service could take over"),
            Self::UnknownLineage => {
                f.write_str("no primary was ever seen, so no standby is known to be the newest")
            }
            Self::LossTooGreat { node, bytes, limit } => {
                if *bytes == u64::MAX {
                    write!(f, "how much node {node} lacks is unknown (max_data_loss_bytes {limit})")
                } else {
                    write!(f, "node {node} lacks {bytes} bytes (max_data_loss_bytes {limit})")
                }
            }
            Self::CommitsUncertain { seen, needed } => write!(
                f,
                "only {seen} of {needed} synchronous standbys were heard: \
                 a confirmed commit could be missing"
            ),
            Self::TooManyFailovers { limit } => {
                write!(f, "max_automatic_failovers ({limit} within an hour) is reached")
            }
            Self::NoQuorum => f.write_str("the other proxies do not agree (no quorum)"),
            Self::Contested => {
                f.write_str("several nodes claim to be the primary and nothing decides")
            }
            Self::PrimaryUndecided { node } => {
                write!(f, "it is not known whether node {node} is gone")
            }
            Self::PromotionPending { node } => {
                write!(f, "node {node} may have been promoted: it has to be heard first")
            }
            Self::CommandFailed => f.write_str("failover_command failed (on_failure = stop)"),
            Self::NotPromoted { node } => write!(f, "node {node} was not promoted"),
            Self::NotFound => f.write_str("no new primary was found in time"),
            Self::FenceExpired => {
                f.write_str("sessions did not let go of the primary in time (fence_timeout)")
            }
            Self::NotCaughtUp { node } => {
                write!(f, "node {node} did not receive everything in time")
            }
            Self::TargetLost { node } => write!(f, "node {node} was lost meanwhile"),
            Self::PrimaryReturned { node } => {
                write!(f, "node {node} came back as the primary first")
            }
            Self::OtherBecamePrimary { node } => {
                write!(f, "node {node} became the primary instead")
            }
        }
    }
}

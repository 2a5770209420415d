//! The phases of a failover, and the list of transitions their drawing is rendered from.
//!
//! A phase owns exactly what is needed while it lasts; what the whole failover needs (why, whom it
//! replaces, who asked) is in [`Run`]. The loss of a standby needs no phase.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::cluster::Reason;
use crate::{Epoch, Errand, Lsn, Millis, NodeId, Outcome, Refusal, Request, Ticket, WorkerId};

/// Where the machine is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Phase {
    Bereft(Bereft),
    Steady,
    Fencing(Fencing),
    CatchingUp(CatchingUp),
    Promoting(Promoting),
    Seeking(Seeking),
    Following(Following),
}

/// The name of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum PhaseName {
    /// There is no primary and none is being made; every node is listened to.
    Bereft,
    /// A primary is known; losses of standbys and returns are dealt with at once.
    Steady,
    /// Every worker is to let go of the old primary.
    Fencing,
    /// Writes have stopped; the target of a switchover receives the rest.
    CatchingUp,
    /// A promotion has been commanded and runs.
    Promoting,
    /// The promotion has ended; the new primary is looked for.
    Seeking,
    /// The new primary serves; the other standbys are made to follow it, one by one.
    Following,
}

/// No primary.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bereft {
    pub since: Millis,
    /// When a standby may be promoted although the last primary might still return.
    pub decide_at: Millis,
    /// When somebody was first seen to claim the seat.
    pub claimed: Option<Millis>,
    /// Why nobody is being promoted, as operators were told.
    pub told: Option<Refusal>,
}

/// Waiting for the workers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fencing {
    /// The fence's own epoch: an acknowledgement at or after it counts.
    pub since: Epoch,
    pub began: Millis,
    pub awaiting: BTreeSet<WorkerId>,
    /// When the last of them had let go: only then nothing more is written.
    pub released: Option<Millis>,
    /// The fence's own timer.
    pub until: Millis,
    /// Until when standbys may say where they are.
    pub positions_until: Millis,
}

/// Waiting for the target of a switchover.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CatchingUp {
    pub to: NodeId,
    pub began: Millis,
    pub until: Millis,
}

/// A command or a promotion runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Promoting {
    pub candidate: NodeId,
    pub errand: Errand,
    pub stage: Stage,
    pub began: Millis,
    /// The candidate died meanwhile: the outcome is awaited only so that nothing runs twice.
    pub doomed: bool,
}

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// `failover_command` before the promotion by SQL.
    Hook,
    /// What promotes.
    Promotion,
}

/// Looking for the new primary.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seeking {
    pub candidate: Option<NodeId>,
    pub outcome: Outcome,
    pub began: Millis,
    pub until: Option<Millis>,
    /// When a candidate that is still in recovery was not promoted after all.
    pub settled: Millis,
}

/// Making standbys follow.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Following {
    pub primary: NodeId,
    pub old_primary: Option<NodeId>,
    pub left: Vec<Follower>,
    pub current: Option<Pursuit>,
}

/// A standby that is to follow.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Follower {
    pub node: NodeId,
    pub attempts: u16,
    pub not_before: Millis,
}

/// The standby that is being dealt with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pursuit {
    pub follower: Follower,
    pub step: Step,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is being re-pointed by SQL.
    Repointing(Errand),
    /// `follow_primary_command` runs.
    Commanding(Errand),
    /// It is to be seen streaming.
    Verifying { since: Millis, until: Millis },
}

/// What one failover is about, from its first phase to its last.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Run {
    pub cause: Cause,
    pub goal: Goal,
    /// The primary that is replaced.
    pub old_primary: Option<NodeId>,
    /// The main node before, for placeholders.
    pub old_main: Option<NodeId>,
    /// The request behind it and who is to be answered.
    pub request: Option<Request>,
    pub askers: Vec<Ticket>,
    pub began: Millis,
    /// Since when positions count: nothing was written any more.
    pub positions_since: Millis,
    /// Those whose promotion failed for certain.
    pub tried: Vec<NodeId>,
    /// How far the promoted one's WAL went: a standby beyond it has left its history.
    pub position: Option<Lsn>,
}

/// Why a failover happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Cause {
    /// The primary is lost.
    Lost(Reason),
    /// The primary is lost for good reasons, but no primary may replace it now.
    Demoted,
    /// An operator detached the primary.
    Detached,
    /// An operator asked for a switchover.
    Switchover,
    /// An operator asked for a promotion.
    Asked,
    /// Another node was promoted by somebody else.
    Overtaken,
    /// In raw mode, a lower-numbered node came back.
    Resumed,
    /// The last primary did not return in time.
    Patience,
}

/// What comes after the fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Choose and promote.
    Promote { named: Option<NodeId>, force: bool },
    /// Let this one receive everything, then promote it.
    HandOver(NodeId),
    /// This one is the primary already.
    Adopt(NodeId),
    /// Listen.
    Discover,
}

/// One arrow of the drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// From where.
    pub from: PhaseName,
    /// To where.
    pub to: PhaseName,
    /// On what.
    pub on: &'static str,
}

// === impl Phase ===

impl Phase {
    pub fn name(&self) -> PhaseName {
        match self {
            Self::Bereft(_) => PhaseName::Bereft,
            Self::Steady => PhaseName::Steady,
            Self::Fencing(_) => PhaseName::Fencing,
            Self::CatchingUp(_) => PhaseName::CatchingUp,
            Self::Promoting(_) => PhaseName::Promoting,
            Self::Seeking(_) => PhaseName::Seeking,
            Self::Following(_) => PhaseName::Following,
        }
    }
}

// === impl Run ===

impl Run {
    /// Whether the old primary is believed to live, so that giving up means going back to it.
    pub fn planned(&self) -> bool {
        matches!(self.cause, Cause::Switchover | Cause::Detached)
    }

    /// Whether it counts against `max_automatic_failovers`.
    pub fn automatic(&self) -> bool {
        matches!(self.cause, Cause::Lost(_) | Cause::Patience)
    }
}

// === the drawing ===

/// Every transition between phases there is. The machine checks itself against this list.
pub const TRANSITIONS: &[Transition] = &[
    arrow(PhaseName::Bereft, PhaseName::Steady, "a primary is seen"),
    arrow(PhaseName::Bereft, PhaseName::Following, "a new primary is seen, standbys must follow"),
    arrow(PhaseName::Bereft, PhaseName::Fencing, "patience is over | operator: promote"),
    arrow(PhaseName::Steady, PhaseName::Fencing, "primary lost, overtaken or to be replaced"),
    arrow(PhaseName::Fencing, PhaseName::Steady, "the old primary is back | switchover given up"),
    arrow(PhaseName::Fencing, PhaseName::CatchingUp, "switchover: all let go"),
    arrow(PhaseName::Fencing, PhaseName::Promoting, "all let go or the fence's timer; chosen"),
    arrow(PhaseName::Fencing, PhaseName::Seeking, "all let go; somebody else promotes"),
    arrow(PhaseName::Fencing, PhaseName::Following, "all let go; the new primary is there already"),
    arrow(PhaseName::Fencing, PhaseName::Bereft, "no candidate, or refused"),
    arrow(PhaseName::CatchingUp, PhaseName::Promoting, "the target has everything"),
    arrow(PhaseName::CatchingUp, PhaseName::Fencing, "the old primary died meanwhile"),
    arrow(PhaseName::CatchingUp, PhaseName::Steady, "switchover given up"),
    arrow(PhaseName::Promoting, PhaseName::Promoting, "hook done | candidate lost, next one"),
    arrow(PhaseName::Promoting, PhaseName::Seeking, "promotion ended"),
    arrow(
        PhaseName::Promoting,
        PhaseName::Steady,
        "raw, logical: done | hook failed, the old one lives",
    ),
    arrow(PhaseName::Promoting, PhaseName::Following, "another is the primary already"),
    arrow(PhaseName::Promoting, PhaseName::Bereft, "command failed | nobody left"),
    arrow(PhaseName::Seeking, PhaseName::Steady, "found, none to follow | the old one is back"),
    arrow(PhaseName::Seeking, PhaseName::Following, "found"),
    arrow(PhaseName::Seeking, PhaseName::Promoting, "not promoted, or lost: next one"),
    arrow(PhaseName::Seeking, PhaseName::Seeking, "candidate lost; nothing to command"),
    arrow(PhaseName::Seeking, PhaseName::Bereft, "search timeout | nobody left"),
    arrow(PhaseName::Following, PhaseName::Steady, "none left to follow"),
    arrow(PhaseName::Following, PhaseName::Fencing, "the new primary is lost"),
];

/// The drawing of [`TRANSITIONS`], as a mermaid state diagram.
#[must_use]
pub fn diagram() -> String {
    let mut text = String::from("stateDiagram-v2\n    [*] --> Bereft: started\n");
    for transition in TRANSITIONS {
        // Writing into a String cannot fail.
        let _ =
            writeln!(text, "    {:?} --> {:?}: {}", transition.from, transition.to, transition.on);
    }
    text
}

const fn arrow(from: PhaseName, to: PhaseName, on: &'static str) -> Transition {
    Transition { from, to, on }
}

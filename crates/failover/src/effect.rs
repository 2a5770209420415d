//! Everything that can be asked of the outside, in the imperative.
//!
//! Effects are to be carried out in the order they are given. A [`Effect::Save`] must be on disk
//! before the effects after it begin: it is what makes a promotion unrepeatable across a restart.

use crate::{
    Epoch, Errand, Lineage, Lsn, NodeId, Reason, Refusal, Sentence, Status, Ticket, Timer,
};
use crate::{Synchrony, Timeline, Topology, WorkerId};

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Effect {
    /// Give every worker a new snapshot.
    Publish {
        /// The snapshot.
        topology: Topology,
        /// The node every worker must let go of and say so; until it did, it counts as holding on.
        let_go_of: Option<NodeId>,
        /// Whose sessions are concerned. No other session is to be disturbed.
        touched: Sessions,
    },
    /// Give one new worker the present snapshot.
    Introduce {
        /// Which one.
        worker: WorkerId,
        /// The snapshot.
        topology: Topology,
        /// As in [`Effect::Publish`].
        let_go_of: Option<NodeId>,
    },
    /// Write down what must survive a restart.
    Save(Saved),
    /// Run an external command and report with [`crate::Event::CommandFinished`].
    RunCommand {
        /// What to report with.
        errand: Errand,
        /// Which command, with what in its placeholders.
        command: Command,
        /// It is to be killed after this many milliseconds.
        deadline: u64,
    },
    /// Promote a node by SQL and report.
    Promote {
        /// What to report with.
        errand: Errand,
        /// The node.
        node: NodeId,
        /// After this many milliseconds the outcome is unknown.
        deadline: u64,
    },
    /// Point a standby at the primary by SQL and report.
    Follow {
        /// What to report with.
        errand: Errand,
        /// The standby.
        standby: NodeId,
        /// Whom it is to follow.
        primary: NodeId,
        /// After this many milliseconds it has failed.
        deadline: u64,
    },
    /// End an errand early; its outcome is still to be reported.
    Cancel {
        /// Which one.
        errand: Errand,
    },
    /// Ask nodes what they are and where they stand, now.
    ObserveRoles {
        /// Which ones.
        nodes: Vec<NodeId>,
    },
    /// Check a node now instead of at its next turn.
    CheckHealth {
        /// Which one.
        node: NodeId,
    },
    /// Close idle server connections.
    CloseIdle,
    /// Fire a timer after so many milliseconds. It replaces the timer armed before.
    Arm {
        /// What to fire.
        timer: Timer,
        /// When, from now.
        after: u64,
    },
    /// Nothing is waited for any more.
    Disarm {
        /// The timer armed last.
        timer: Timer,
    },
    /// Answer an operator.
    Answer {
        /// Whom.
        ticket: Ticket,
        /// Done, or why not.
        result: Result<(), Refusal>,
    },
    /// Tell operators what was decided, and why.
    Say(Sentence),
}

/// The sessions a change concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Sessions {
    /// None: everybody goes on.
    None,
    /// Those whose load-balancing node is this one, and those that hold a connection to it.
    BoundTo(NodeId),
    /// All: no node is left to serve anybody.
    All,
}

/// One run of an external command: which one, and what its placeholders stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Command {
    /// Which command.
    pub kind: CommandKind,
    /// `%d %h %p %D`: the node that left, returned or is to follow.
    pub node: NodeId,
    /// `%m %H %r %R`: who is to take over or, when a standby left, the main node; none: -1.
    pub new_main: Option<NodeId>,
    /// `%M`: the main node before; for `follow_primary_command` the old primary.
    pub old_main: Option<NodeId>,
    /// `%P %N %S`: the primary before; none: -1.
    pub old_primary: Option<NodeId>,
}

/// The external commands, by the names of their settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum CommandKind {
    /// `failover_command`.
    Failover,
    /// `failback_command`.
    Failback,
    /// `follow_primary_command`.
    FollowPrimary,
}

/// What must survive a restart of the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Saved {
    /// The last snapshot's number.
    pub epoch: Epoch,
    /// The last errand's number.
    pub errand: Errand,
    /// The last primary.
    pub primary: Option<NodeId>,
    /// Whether it was in service: then it may have written more than `high_water` since.
    pub granted: bool,
    /// Which cluster it is, and the newest timeline seen.
    pub lineage: Option<Lineage>,
    /// Up to which timeline an operator gave up what other nodes have.
    pub renounced: Option<Timeline>,
    /// The highest WAL position seen on that timeline.
    pub high_water: Option<Lsn>,
    /// Whose confirmation that primary's commits waited for.
    pub synchrony: Option<Synchrony>,
    /// Who was to be promoted, where what became of it is not known.
    pub pending: Vec<NodeId>,
    /// The lost primary for which `failover_command` has run already.
    pub hooked: Option<NodeId>,
    /// Whether a command failed for that loss and was to be obeyed.
    #[cfg_attr(feature = "serde", serde(default))]
    pub stopped: bool,
    /// How many milliseconds ago each recent automatic failover was.
    pub failovers: Vec<u64>,
    /// Every node's status and what led to it.
    pub nodes: Vec<(Status, Option<Reason>)>,
}

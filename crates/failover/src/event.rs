//! Everything that can happen, in the past tense.
//!
//! An event is a fact, never a verdict: a checker says that a connection was refused, the machine
//! says whether the node is lost. Events are what the journal keeps and what a replay reads.

use crate::{Epoch, Millis, NodeId, RoleObservation, Saved, Settings};

/// One worker of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct WorkerId(pub u16);

/// What an operator's question is answered by. The asker chooses it; each is answered exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Ticket(pub u64);

/// Something the machine has sent the outside to do. The machine chooses it; the outside reports
/// with it at most once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Errand(pub u64);

/// The number of an armed timer. Only the last one armed is obeyed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Timer(pub u64);

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Event {
    /// The proxy started; always the first event.
    Started {
        /// What the last run left behind, where it did.
        saved: Option<Saved>,
    },
    /// A worker began to serve sessions. It must route by the topology it is then introduced to.
    WorkerJoined {
        /// Which one.
        worker: WorkerId,
    },
    /// A worker is gone, with every connection it held.
    WorkerLeft {
        /// Which one.
        worker: WorkerId,
    },
    /// A worker holds no connection to a node any more and will open none.
    WorkerLetGo {
        /// Which one.
        worker: WorkerId,
        /// The node it let go of.
        node: NodeId,
        /// The snapshot it obeyed when it did.
        epoch: Epoch,
    },
    /// A health check of a node succeeded.
    HealthPassed {
        /// Which one.
        node: NodeId,
    },
    /// A health check of a node failed.
    HealthFailed {
        /// Which one.
        node: NodeId,
        /// How.
        failure: Failure,
    },
    /// The checker of a node has said nothing for too long. This is no evidence about the node.
    CheckerSilent {
        /// Which one.
        node: NodeId,
    },
    /// A session's connection to a node broke or could not be opened.
    SessionFailed {
        /// Which one.
        node: NodeId,
        /// How.
        failure: Failure,
    },
    /// A node told a session that it shuts down (57P01, 57P02). Not for `pg_terminate_backend`.
    ShutdownAnnounced {
        /// Which one.
        node: NodeId,
    },
    /// Nodes said what they are and where they stand.
    RolesObserved {
        /// Their answers; a node that did not answer is simply not among them.
        observations: Vec<RoleObservation>,
    },
    /// The primary said which standbys confirm its commits.
    SynchronyObserved {
        /// Who said so.
        synchrony: Synchrony,
    },
    /// An errand ended: a command, a promotion or a follow.
    CommandFinished {
        /// Which one.
        errand: Errand,
        /// How.
        outcome: Outcome,
    },
    /// An armed timer ran out.
    TimerFired {
        /// Which one.
        timer: Timer,
    },
    /// An operator asked for something.
    OperatorAsked {
        /// What the answer is to carry.
        ticket: Ticket,
        /// What was asked.
        request: Request,
    },
    /// The settings were changed.
    SettingsChanged {
        /// The new ones, all of them.
        settings: Box<Settings>,
    },
    /// This proxy gained or lost the agreement of its peers. Without peers this never happens.
    QuorumChanged {
        /// Whether it has it now.
        held: bool,
    },
}

/// The ways a node can fail to serve. Only some of them say that it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Failure {
    /// The connection was refused.
    Refused,
    /// Nothing answered in time.
    Silent,
    /// The connection was accepted, then nothing was said in time.
    Mute,
    /// An open connection broke.
    Broken,
    /// Login failed.
    Authentication,
    /// No connection slot was left (53300).
    TooManyClients,
    /// "the database system is starting up" (57P03).
    StartingUp,
    /// "the database system is in recovery mode" (57P03): it crashed and repairs itself.
    InRecovery,
    /// "the database system is shutting down" (57P03).
    ShuttingDown,
    /// The host name could not be resolved.
    Unresolved,
    /// Anything else.
    Other,
}

/// How an errand ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Outcome {
    /// As it should: exit code 0, or true from SQL.
    Succeeded,
    /// It was refused or failed, and it is certain that nothing more will come of it.
    Failed {
        /// The exit code, where there was one.
        code: Option<i32>,
    },
    /// It was ended by its deadline. What it did is unknown.
    TimedOut,
    /// Its answer did not arrive. What it did is unknown.
    Lost,
}

/// What an operator may ask. Requests of operators are always "confirmed": no quorum is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Request {
    /// Take a node out of service (Pgpool-II's DOWN). A primary hands over first.
    Detach {
        /// Which one.
        node: NodeId,
    },
    /// Put a node back (UP). For a quarantined node this lifts the quarantine (UPDATE).
    Attach {
        /// Which one.
        node: NodeId,
        /// Also when it is not seen to follow the primary. Never for a stranger or a second primary.
        force: bool,
    },
    /// Make a node the primary where there is none, or accept one that already is (PROMOTE).
    Promote {
        /// Which one.
        node: NodeId,
        /// Whatever data it lacks.
        force: bool,
    },
    /// Hand over from a living primary without losing anything (PROMOTE with SWITCHOVER).
    Switchover {
        /// To whom; none: to the best candidate.
        to: Option<NodeId>,
    },
    /// Set a node aside until it is seen to work again (QUARANTINE).
    Quarantine {
        /// Which one.
        node: NodeId,
    },
    /// Close idle server connections (CLOSE_IDLE).
    CloseIdle,
}

/// Whose confirmation the primary's commits wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Synchrony {
    /// The primary that said so.
    pub node: NodeId,
    /// When its answer arrived.
    pub at: Millis,
    /// How many confirmations a commit waits for; 0: none, replication is asynchronous.
    pub needed: u16,
    /// The nodes that may give them.
    pub members: Vec<NodeId>,
    /// Those of them that were connected then.
    pub connected: Vec<NodeId>,
}

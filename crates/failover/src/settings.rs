//! Everything an operator may decide about failover, as plain values.
//!
//! Parsing, units and defaults for people live in the configuration of the program; this is what the
//! machine reads. It does not hold the text of commands: the machine knows only whether there is one.

use crate::NodeId;

/// The settings of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Settings {
    /// How the nodes are kept alike.
    pub mode: Mode,
    /// Who promotes.
    pub promote: Promote,
    /// The configured nodes, in order of their id.
    pub nodes: Vec<NodeSettings>,
    /// How many failures of each kind, one after another, make a node lost.
    pub thresholds: Thresholds,
    /// Every wait of the machine.
    pub timeouts: Timeouts,
    /// How often and how patiently a standby is made to follow.
    pub follow: FollowSettings,
    /// When nodes may come back by themselves.
    pub returns: ReturnSettings,
    /// Which external commands are configured.
    pub commands: Commands,
    /// What a failed command means.
    pub on_failure: OnFailure,
    /// A candidate that would lose more bytes of WAL than this is refused; none: no limit.
    pub max_data_loss_bytes: Option<u64>,
    /// Automatic failovers within one hour; none: no limit.
    pub max_automatic_failovers: Option<u32>,
    /// Run `failover_command` for a node that is fenced as a second primary.
    pub detach_false_primary: bool,
    /// A broken session connection is a loss at once, as in Pgpool-II.
    pub failover_on_backend_error: bool,
    /// An announced shutdown (57P01, 57P02) is a loss at once.
    pub failover_on_backend_shutdown: bool,
    /// The primary is lost without waiting for retries when a failed check, broken session
    /// connections and the standbys' WAL receivers agree.
    pub agreement: bool,
    /// The primary is not lost while a standby is seen to receive new WAL from it.
    pub standby_veto: bool,
    /// Under synchronous replication, count every configured synchronous standby, connected or not.
    pub synchronous_strict: bool,
    /// Operator requests that may wait for a failover to end.
    pub queue: usize,
}

/// How the nodes are kept alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Mode {
    /// Streaming replication: one primary, standbys in recovery.
    #[default]
    Streaming,
    /// Logical replication: every node is out of recovery, one takes the writes.
    Logical,
    /// No replication that we know of: the lowest-numbered live node serves.
    Raw,
}

/// Who promotes a standby.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Promote {
    /// We do, by SQL.
    #[default]
    Builtin,
    /// `failover_command` does.
    Command,
    /// Somebody else does; we only watch.
    Observe,
}

/// What a failed command means for the rest of the failover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum OnFailure {
    /// Go no further: no promotion, no search.
    #[default]
    Stop,
    /// Go on as if it had succeeded, as Pgpool-II does.
    Continue,
}

/// One configured node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct NodeSettings {
    /// Where it is, for sentences only.
    pub host: String,
    /// Its port, for sentences only.
    pub port: u16,
    /// ALLOW_TO_FAILOVER or, when false, DISALLOW_TO_FAILOVER.
    pub allow_failover: bool,
    /// ALWAYS_PRIMARY: no other node is ever taken for the primary.
    pub always_primary: bool,
    /// Among equally advanced standbys the higher one wins; 0: never promoted.
    pub priority: u16,
}

/// How many failures of a kind, one after another, make a node lost. 0: such a failure never counts.
/// Kinds mix: one of three and one of two make five sixths of a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Thresholds {
    /// The connection was refused.
    pub refused: u16,
    /// Nothing answered.
    pub silent: u16,
    /// The connection was accepted, then nothing was said.
    pub mute: u16,
    /// The connection broke.
    pub broken: u16,
    /// Login failed.
    pub authentication: u16,
    /// The node has no connection slot left.
    pub too_many_clients: u16,
    /// The node says that it is starting up.
    pub starting_up: u16,
    /// The node says that it is in crash recovery.
    pub in_recovery: u16,
    /// The node says that it is shutting down.
    pub shutting_down: u16,
    /// The host name could not be resolved.
    pub unresolved: u16,
    /// Any other failure.
    pub other: u16,
}

/// Every wait of the machine, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Timeouts {
    /// How old an observation may be and still count.
    pub evidence_max_age: u64,
    /// How long workers may take to let go of the old primary.
    pub fence: u64,
    /// How long standbys may take to say where they are before one is chosen.
    pub positions: u64,
    /// How long the target of a switchover may take to receive everything.
    pub catch_up: u64,
    /// How often nodes are asked while something depends on their answer.
    pub observe_every: u64,
    /// How long a builtin promotion may run.
    pub promote: u64,
    /// After a promotion of unknown outcome: a node still in recovery after this was not promoted.
    pub settle: u64,
    /// `search_primary_node_timeout`: how long a new primary is looked for; 0: no bound.
    pub search: u64,
    /// How long an external command may run.
    pub command: u64,
    /// How long to wait for news of an errand beyond its own deadline.
    pub grace: u64,
    /// How long making one standby follow may take.
    pub follow: u64,
    /// How long a standby that was made to follow may take to be seen streaming.
    pub verify: u64,
    /// How long a node that is to be attached may take to answer.
    pub attach: u64,
    /// With no primary: how long the last one may take to return before another is promoted.
    pub patience: u64,
    /// With no primary: how long to listen for every node before one claim is believed.
    pub discovery: u64,
    /// How long a standby in service may stay behind on an older timeline.
    pub stray: u64,
}

/// How standbys are made to follow a new primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FollowSettings {
    /// How often one standby is tried.
    pub attempts: u16,
    /// Wait before the second try, in milliseconds; it doubles with each further one.
    pub backoff: u64,
    /// The longest such wait.
    pub backoff_max: u64,
}

/// When nodes come back by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ReturnSettings {
    /// Attach a lost node by itself once it is verified to follow the present primary.
    pub auto_failback: bool,
    /// Shortest time between a loss and the return, in milliseconds; it doubles each time the node
    /// flaps.
    pub auto_failback_interval: u64,
    /// The longest such wait.
    pub flap_max: u64,
    /// A node that stayed in service this long has not flapped.
    pub flap_window: u64,
}

/// Which external commands are configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Commands {
    /// `failover_command`.
    pub failover: bool,
    /// `failback_command`.
    pub failback: bool,
    /// `follow_primary_command`.
    pub follow_primary: bool,
}

// === impl Settings ===

impl Settings {
    /// The defaults, for `count` nodes at `node<id>:5432`.
    #[must_use]
    pub fn with_nodes(count: u16) -> Self {
        Self {
            mode: Mode::default(),
            promote: Promote::default(),
            nodes: (0..count).map(|id| NodeSettings::at(format!("node{id}"), 5432)).collect(),
            thresholds: Thresholds::default(),
            timeouts: Timeouts::default(),
            follow: FollowSettings::default(),
            returns: ReturnSettings::default(),
            commands: Commands::default(),
            on_failure: OnFailure::default(),
            max_data_loss_bytes: Some(16 * 1024 * 1024),
            max_automatic_failovers: Some(10),
            detach_false_primary: true,
            failover_on_backend_error: false,
            failover_on_backend_shutdown: false,
            agreement: true,
            standby_veto: true,
            synchronous_strict: false,
            queue: 32,
        }
    }

    /// What is configured for a node, where there is such a node.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<&NodeSettings> {
        self.nodes.get(node.index())
    }

    /// The node that is flagged ALWAYS_PRIMARY: the lowest-numbered one.
    #[must_use]
    pub fn always_primary(&self) -> Option<NodeId> {
        crate::node::ids(self.nodes.len()).find(|id| self.nodes[id.index()].always_primary)
    }

    pub(crate) fn allows_failover(&self, node: NodeId) -> bool {
        self.node(node).is_none_or(|settings| settings.allow_failover)
    }
}

// === impl NodeSettings ===

impl NodeSettings {
    /// A node with no flags.
    #[must_use]
    pub fn at(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            allow_failover: true,
            always_primary: false,
            priority: DEFAULT_PRIORITY,
        }
    }
}

// === impl Thresholds ===

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            refused: 3,
            silent: 2,
            mute: 2,
            broken: 3,
            authentication: 0,
            too_many_clients: 0,
            starting_up: 0,
            in_recovery: 0,
            shutting_down: 0,
            unresolved: 0,
            other: 0,
        }
    }
}

// === impl Timeouts ===

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            evidence_max_age: 5_000,
            fence: 5_000,
            positions: 1_000,
            catch_up: 10_000,
            observe_every: 100,
            promote: 60_000,
            settle: 10_000,
            search: 300_000,
            command: 300_000,
            grace: 5_000,
            follow: 60_000,
            verify: 10_000,
            attach: 5_000,
            patience: 10_000,
            discovery: 2_000,
            stray: 30_000,
        }
    }
}

// === impl FollowSettings ===

impl Default for FollowSettings {
    fn default() -> Self {
        Self { attempts: 3, backoff: 1_000, backoff_max: 30_000 }
    }
}

// === impl ReturnSettings ===

impl Default for ReturnSettings {
    fn default() -> Self {
        Self {
            auto_failback: true,
            auto_failback_interval: 1_000,
            flap_max: 300_000,
            flap_window: 600_000,
        }
    }
}

const DEFAULT_PRIORITY: u16 = 100;

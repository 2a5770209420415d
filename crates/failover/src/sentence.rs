//! Each decision as one sentence for operators: what was seen, what was decided, by which rule.
//!
//! A sentence is a value; its text is made only when somebody reads it. Where Pgpool-II has a phrase
//! that operators search their logs for, it is that phrase, unchanged, with what we know added behind.

use crate::{
    Cause, Choice, CommandKind, Errand, Failure, NodeId, Outcome, Reason, Refusal, Request, Role,
    Rule, Settings, Timeline, WorkerId,
};

/// One thing an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(missing_docs, reason = "the text of each variant, below, is its documentation")]
pub enum Sentence {
    Remembered { primary: Option<NodeId>, timeline: Option<Timeline>, pending: Vec<NodeId> },
    StillOut { node: NodeId, reason: Reason },
    CheckerSilent { node: NodeId },
    StandbysStillStream { node: NodeId },
    FailoverDisallowed { node: NodeId },
    Lost { node: NodeId, reason: Reason },
    Degenerating { node: NodeId },
    FailoverDone { node: NodeId },
    NoValidNode,
    Quarantining { node: NodeId },
    QuarantineDone { node: NodeId },
    QuarantineLifted { node: NodeId },
    CutOff { node: NodeId, reason: Reason },
    Fencing { old: Option<NodeId>, cause: Cause },
    FenceExpired { old: Option<NodeId>, workers: Vec<WorkerId> },
    Chosen(Choice),
    NothingPromotes,
    Promoting { node: NodeId },
    CandidateLost { node: NodeId },
    ErrandFailed { errand: Errand, kind: Option<CommandKind>, node: NodeId, outcome: Outcome },
    Searching,
    SearchExpired { after: u64 },
    NotPromoted { node: NodeId, outcome: Outcome },
    PrimaryFound { node: NodeId },
    PrimarySet { node: NodeId },
    MainSet { node: NodeId },
    PromotionDone { node: NodeId },
    GoneBack { node: NodeId, refusal: Option<Refusal> },
    Bereft { refusal: Refusal },
    Contested { nodes: Vec<NodeId> },
    Overtaken { by: NodeId, timeline: Option<Timeline> },
    Demoted { node: NodeId },
    WritesWait { node: NodeId },
    WritesResumed { node: NodeId },
    Joined { node: NodeId, role: Role },
    FailingBack { node: NodeId },
    FailbackDone { node: NodeId },
    FollowBegun { nodes: Vec<NodeId>, primary: NodeId },
    FollowDegenerating { node: NodeId },
    Repointing { node: NodeId, primary: NodeId },
    FollowCommand { node: NodeId },
    Follows { node: NodeId },
    FollowFailed { node: NodeId, retry_after: Option<u64> },
    FollowDone { primary: NodeId },
    Requested { request: Request },
    RequestRefused { request: Request, refusal: Refusal },
    QuorumChanged { held: bool },
    SettingsApplied,
    SettingsRefused { node: NodeId },
}

/// How much a sentence matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Weight {
    /// Part of the ordinary course.
    Info,
    /// Something changed that an operator did not ask for.
    Warning,
    /// An operator should look now.
    Alarm,
}

// === impl Sentence ===

impl Sentence {
    /// How much it matters.
    #[must_use]
    pub fn weight(&self) -> Weight {
        match self {
            Self::FenceExpired { .. }
            | Self::Bereft { .. }
            | Self::Contested { .. }
            | Self::SearchExpired { .. }
            | Self::NoValidNode
            | Self::NothingPromotes
            | Self::FollowFailed { retry_after: None, .. }
            | Self::QuorumChanged { held: false } => Weight::Alarm,
            Self::StillOut { .. }
            | Self::CheckerSilent { .. }
            | Self::StandbysStillStream { .. }
            | Self::FailoverDisallowed { .. }
            | Self::Lost { .. }
            | Self::Degenerating { .. }
            | Self::Quarantining { .. }
            | Self::CutOff { .. }
            | Self::Fencing { .. }
            | Self::CandidateLost { .. }
            | Self::ErrandFailed { .. }
            | Self::NotPromoted { .. }
            | Self::GoneBack { .. }
            | Self::Overtaken { .. }
            | Self::Demoted { .. }
            | Self::WritesWait { .. }
            | Self::FollowFailed { .. }
            | Self::RequestRefused { .. }
            | Self::SettingsRefused { .. } => Weight::Warning,
            _ => Weight::Info,
        }
    }

    /// The sentence in words. The settings give nodes their addresses.
    #[must_use]
    pub fn text(&self, settings: &Settings) -> String {
        let host = |node: &NodeId| match settings.node(*node) {
            Some(at) => format!("{}({})", at.host, at.port),
            None => format!("node {node}"),
        };
        match self {
            Self::Remembered { primary, timeline, pending } => {
                let primary = primary.map_or("unknown".into(), |node| node.to_string());
                let timeline = timeline.map_or("unknown".into(), |it| it.0.to_string());
                let pending = match pending.as_slice() {
                    [] => String::new(),
                    nodes => format!("; promoted, perhaps, and to be heard: {}", list(nodes)),
                };
                format!(
                    "remembered from the last run: primary {primary}, timeline {timeline}{pending}"
                )
            }
            Self::StillOut { node, reason } => {
                format!("node {node} is out of service since before the start: {}", reason.text())
            }
            Self::CheckerSilent { node } => format!(
                "the health checker of node {node} is silent: that says nothing about the node"
            ),
            Self::StandbysStillStream { node } => format!(
                "node {node} does not answer us, but a standby receives new WAL from it: no failover \
                 (rule: a primary that feeds a standby lives)"
            ),
            Self::FailoverDisallowed { node } => format!(
                "health check failed on node {node} but failover is disallowed for the node"
            ),
            Self::Lost { node, reason } => {
                let timeout = matches!(reason, Reason::Failed(Failure::Silent | Failure::Mute));
                format!(
                    "health check failed on node {node} (timeout:{}): {}",
                    u8::from(timeout),
                    reason.text()
                )
            }
            Self::Degenerating { node } => {
                format!("=== Starting degeneration. shutdown host {} ===", host(node))
            }
            Self::FailoverDone { node } => {
                format!("=== Failover done. shutdown host {} ===", host(node))
            }
            Self::NoValidNode => "failover: no valid backend node found".into(),
            Self::Quarantining { node } => {
                format!("=== Starting quarantine. shutdown host {} ===", host(node))
            }
            Self::QuarantineDone { node } => {
                format!("=== Quarantine done. shutdown host {} ===", host(node))
            }
            Self::QuarantineLifted { node } => {
                format!("node {node} works again: it is no longer quarantined")
            }
            Self::CutOff { node, reason } => format!(
                "node {node} gets no statement, reads included, until it is a standby of the present \
                 primary: {}",
                reason.text()
            ),
            Self::Fencing { old, cause } => match old {
                Some(old) => format!(
                    "every worker is to let go of node {old}: {} (rule: no promotion before)",
                    cause.text()
                ),
                None => format!("there is no primary to let go of: {}", cause.text()),
            },
            Self::FenceExpired { old, workers } => {
                let old = old.map_or("nobody".into(), |node| format!("node {node}"));
                let names: Vec<String> = workers.iter().map(|it| it.0.to_string()).collect();
                format!(
                    "THE FENCE EXPIRED: worker {} has not let go of {old} in time; \
                     writes of its sessions may be lost (rule: fence_timeout)",
                    names.join(", ")
                )
            }
            Self::Chosen(choice) => format!(
                "node {} is chosen{} ({}){}",
                choice.node,
                choice.position.map_or(String::new(), |lsn| format!(" at {lsn}")),
                choice.rule.text(),
                match choice.loss {
                    Some(0) => "; nothing known is lost".into(),
                    Some(bytes) => format!("; at least {bytes} bytes of WAL are lost"),
                    None => String::new(),
                }
            ),
            Self::NothingPromotes => {
                "promote = \"command\" but no failover_command is set: nothing promotes".into()
            }
            Self::Promoting { node } => {
                format!("starting promotion. promote host {}", host(node))
            }
            Self::CandidateLost { node } => {
                format!("node {node} was lost while it was being promoted: the next one is chosen")
            }
            Self::ErrandFailed { errand, kind, node, outcome } => format!(
                "{} for node {node} {} (errand {})",
                kind.map_or("SQL command", CommandKind::setting),
                outcome.text(),
                errand.0
            ),
            Self::Searching => "waiting for finding a primary node".into(),
            Self::SearchExpired { after } => {
                format!("failed to find primary node: expired after {} seconds", after / 1000)
            }
            Self::NotPromoted { node, outcome } => format!(
                "node {node} is still in recovery, its promotion {}: it was not promoted",
                outcome.text()
            ),
            Self::PrimaryFound { node } => {
                format!("find_primary_node: primary node is {node}")
            }
            Self::PrimarySet { node } => format!("failover: set new primary node: {node}"),
            Self::MainSet { node } => format!("failover: set new main node: {node}"),
            Self::PromotionDone { node } => {
                format!("=== Promotion done. promoted host {} ===", host(node))
            }
            Self::GoneBack { node, refusal } => match refusal {
                Some(refusal) => format!("node {node} stays the primary: {refusal}"),
                None => format!(
                    "node {node} writes again before anything was promoted: it stays the primary"
                ),
            },
            Self::Bereft { refusal: Refusal::NoPrimary } => {
                "there is no primary: no node is known that may be written to".into()
            }
            Self::Bereft { refusal } => format!("there is no primary: {refusal}"),
            Self::Contested { nodes } => format!(
                "nodes {} all claim to be the primary: nobody is written to until an operator \
                 promotes one (rule: when nothing decides, writes stop)",
                list(nodes)
            ),
            Self::Overtaken { by, timeline } => format!(
                "node {by} writes on timeline {}: it takes the place of the primary \
                 (rule: the newest timeline)",
                timeline.map_or(0, |timeline| timeline.0)
            ),
            Self::Demoted { node } => {
                format!("node {node} was the primary and is in recovery now")
            }
            Self::WritesWait { node } => format!(
                "writes wait: there is no fresh evidence that node {node} may be written to \
                 (rule: evidence expires)"
            ),
            Self::WritesResumed { node } => format!("writes go on at node {node}"),
            Self::Joined { node, role } => format!("node {node} is in service as {role}"),
            Self::FailingBack { node } => {
                format!("=== Starting fail back. reconnect host {} ===", host(node))
            }
            Self::FailbackDone { node } => {
                format!("=== Failback done. reconnect host {} ===", host(node))
            }
            Self::FollowBegun { nodes, primary } => {
                format!("nodes {} are to follow node {primary}, one by one", list(nodes))
            }
            Self::FollowDegenerating { node } => {
                format!("starting follow degeneration. shutdown host {}", host(node))
            }
            Self::Repointing { node, primary } => {
                format!("node {node} is pointed at node {primary}")
            }
            Self::FollowCommand { node } => {
                format!("=== Starting follow primary command for node {node} ===")
            }
            Self::Follows { node } => {
                format!("=== Follow primary command for node {node} ended === it streams")
            }
            Self::FollowFailed { node, retry_after } => match retry_after {
                Some(pause) => format!("node {node} does not follow yet; next try in {pause} ms"),
                None => format!(
                    "node {node} could not be made to follow: repair it (pg_rewind or a new copy), \
                     then attach it"
                ),
            },
            Self::FollowDone { primary } => format!("nobody is left to follow node {primary}"),
            Self::Requested { request } => match request {
                Request::Detach { node } => {
                    format!("received degenerate backend request for node_id: {node}")
                }
                Request::Attach { node, .. } => {
                    format!("received failback request for node_id: {node}")
                }
                Request::Promote { node, .. } | Request::Switchover { to: Some(node) } => {
                    format!("received promote backend request for node_id: {node}")
                }
                Request::Switchover { to: None } => "received promote backend request".into(),
                Request::Quarantine { node } => {
                    format!("received quarantine request for node_id: {node}")
                }
                Request::CloseIdle => "received request to close idle connections".into(),
            },
            Self::RequestRefused { request, refusal } => match request.node() {
                Some(node) => format!("request for node_id: {node} is refused: {refusal}"),
                None => format!("request is refused: {refusal}"),
            },
            Self::QuorumChanged { held: true } => "the other proxies agree again".into(),
            Self::QuorumChanged { held: false } => {
                "this proxy lost the agreement of the others: writes stop, nothing is promoted"
                    .into()
            }
            Self::SettingsApplied => "new settings are in force".into(),
            Self::SettingsRefused { node } => {
                format!("new settings are refused: they drop node {node}, the primary")
            }
        }
    }
}

// === impl Reason ===

impl Reason {
    /// The reason in words.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Failed(failure) => failure.text(),
            Self::ShutDown => "it announced its shutdown",
            Self::Operator => "an operator detached it",
            Self::SetAside => "an operator set it aside",
            Self::NoQuorum => "it fails, and the other proxies do not agree",
            Self::FormerPrimary => "it was the primary before the present one",
            Self::SecondPrimary => "it claims to be a second primary",
            Self::Stranger => "it belongs to another cluster",
            Self::Forked => "its history left the primary's; it needs pg_rewind or a new copy",
            Self::NotFollowing => "it does not follow the primary",
        }
    }
}

// === impl Failure ===

impl Failure {
    /// The failure in words.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Refused => "connections are refused",
            Self::Silent => "it does not answer",
            Self::Mute => "it accepts connections and says nothing",
            Self::Broken => "its connections break",
            Self::Authentication => "login fails",
            Self::TooManyClients => "it has no connection slot left",
            Self::StartingUp => "it is starting up",
            Self::InRecovery => "it is in crash recovery",
            Self::ShuttingDown => "it is shutting down",
            Self::Unresolved => "its name cannot be resolved",
            Self::Other => "it fails",
        }
    }
}

// === impl Outcome ===

impl Outcome {
    /// The outcome in words.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Succeeded => "succeeded".into(),
            Self::Failed { code: Some(code) } => format!("failed with exit code {code}"),
            Self::Failed { code: None } => "failed".into(),
            Self::TimedOut => "was ended by its deadline".into(),
            Self::Lost => "ended unreported".into(),
        }
    }
}

// === impl Cause ===

impl Cause {
    /// The cause in words.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Lost(reason) => reason.text(),
            Self::Demoted => "it is the primary no longer",
            Self::Detached => "an operator detached it",
            Self::Switchover => "an operator asked for a switchover",
            Self::Asked => "an operator asked for a promotion",
            Self::Overtaken => "another node writes on a newer timeline",
            Self::Resumed => "a lower-numbered node is back",
            Self::Patience => "it did not return in time",
        }
    }
}

// === impl Rule ===

impl Rule {
    /// The rule in words.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Only => "rule: there is no other",
            Self::Position => "rule: the most WAL",
            Self::Synchronous => "rule: synchronous before asynchronous",
            Self::Priority => "rule: the higher priority",
            Self::Id => "rule: the lower id among equals",
            Self::Named => "rule: an operator named it",
        }
    }
}

// === impl CommandKind ===

impl CommandKind {
    /// The name of the setting that holds it.
    #[must_use]
    pub fn setting(self) -> &'static str {
        match self {
            Self::Failover => "failover_command",
            Self::Failback => "failback_command",
            Self::FollowPrimary => "follow_primary_command",
        }
    }
}

fn list(nodes: &[NodeId]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

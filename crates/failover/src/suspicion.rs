//! When a node counts as lost: failures counted against thresholds, and witnesses that agree.
//!
//! It looks at signs of life and of death only; what a lost node means is `detach.rs`'s matter.
//!
//! Three kinds of witness are independent of each other: our checks, the sessions' connections, and
//! the WAL receivers of the standbys. Where all three say that the primary is gone there is nothing
//! to wait for. Where a standby is seen to receive *new* WAL the primary lives, whatever our own
//! checks say: then it is we who are cut off.

use crate::cluster::{Cluster, Reason};
use crate::{Failure, Millis, NodeId, RoleObservation, Settings, Thresholds, WalPosition};

/// What speaks against a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Suspicion {
    /// Failed checks in a row, each weighed by its kind's threshold.
    pub weight: u32,
    /// The last failure that counted.
    pub failure: Option<Failure>,
    /// When the first of them came.
    pub since: Option<Millis>,
    /// When the last sign came.
    pub last: Millis,
    /// When a session last lost its connection.
    pub session: Option<(Millis, Failure)>,
    /// When the node last announced its shutdown.
    pub announced: Option<Millis>,
    /// When a standby was last seen to receive new WAL from this node although it is suspected.
    pub streaming: Option<Millis>,
    /// Whether operators have been told that this loss does not lead to a failover.
    pub told: bool,
}

/// What the signs against a node amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Trusted,
    Lost(Reason),
    /// The checks say lost, a standby says alive.
    Vetoed,
}

/// The weight at which a node is lost.
const LOST: u32 = 1_000_000;

// === impl Suspicion ===

impl Suspicion {
    fn begin(&mut self, now: Millis) {
        self.since.get_or_insert(now);
        self.last = now;
    }
}

/// Notes a failed check.
pub(crate) fn failed(
    cluster: &mut Cluster,
    id: NodeId,
    failure: Failure,
    thresholds: &Thresholds,
    now: Millis,
) {
    let node = cluster.node_mut(id);
    node.failing = Some(now);
    let threshold = thresholds.of(failure);
    if threshold == 0 {
        if failure.is_an_answer() {
            // Whoever answers, if only with a refusal, is there: the row of failures is broken.
            node.suspicion = Suspicion::default();
        }
        return;
    }
    node.suspicion.begin(now);
    node.suspicion.failure = Some(failure);
    let weight = LOST.div_ceil(u32::from(threshold));
    node.suspicion.weight = node.suspicion.weight.saturating_add(weight).min(LOST);
}

/// Notes that a session lost its connection.
pub(crate) fn session_failed(cluster: &mut Cluster, id: NodeId, failure: Failure, now: Millis) {
    // A full or a slow node is not a lost one: such errors stay between the session and the node.
    if failure.speaks_of_loss() {
        let suspicion = &mut cluster.node_mut(id).suspicion;
        suspicion.begin(now);
        suspicion.session = Some((now, failure));
    }
}

/// Notes that a node announced its shutdown.
pub(crate) fn announced(cluster: &mut Cluster, id: NodeId, now: Millis) {
    let suspicion = &mut cluster.node_mut(id).suspicion;
    suspicion.begin(now);
    suspicion.announced = Some(now);
}

/// Notes a sign of life of `at`. Signs against the node that are younger stay.
pub(crate) fn cleared(cluster: &mut Cluster, id: NodeId, at: Millis) {
    let node = cluster.node_mut(id);
    node.alive = node.alive.max(Some(at));
    if at >= node.suspicion.last && node.suspicion != Suspicion::default() {
        node.suspicion = Suspicion::default();
        if cluster.primary == Some(id) {
            cluster.nodes.iter_mut().for_each(|node| node.baseline = None);
        }
    }
}

/// Notes what a standby's position says about a suspected primary.
pub(crate) fn testified(cluster: &mut Cluster, observation: &RoleObservation) {
    let Some(primary) = cluster.primary.filter(|id| *id != observation.node) else { return };
    let Some(since) = cluster.node(primary).suspicion.since else { return };
    let WalPosition::Recovering { received: Some(received), streaming: true, .. } = observation.wal
    else {
        return;
    };
    if observation.at <= since {
        return;
    }
    match cluster.node(observation.node).baseline {
        None => cluster.node_mut(observation.node).baseline = Some(received),
        Some(before) if received > before => {
            cluster.node_mut(observation.node).baseline = Some(received);
            cluster.node_mut(primary).suspicion.streaming = Some(observation.at);
        }
        Some(_) => {}
    }
}

/// Weighs what is known against a node.
pub(crate) fn verdict(cluster: &Cluster, settings: &Settings, id: NodeId, now: Millis) -> Verdict {
    let suspicion = &cluster.node(id).suspicion;
    let max_age = settings.timeouts.evidence_max_age;
    if now.since(suspicion.last) > max_age {
        // What speaks against a node grows old like everything else.
        return Verdict::Trusted;
    }
    let reason = if suspicion.weight >= LOST {
        Reason::Failed(suspicion.failure.unwrap_or(Failure::Other))
    } else if settings.failover_on_backend_shutdown && suspicion.announced.is_some() {
        Reason::ShutDown
    } else if let Some((at, failure)) = suspicion.session
        && now.since(at) <= max_age
        && (settings.failover_on_backend_error
            || settings.agreement && witnesses_agree(cluster, id, now, max_age))
    {
        Reason::Failed(failure)
    } else {
        return Verdict::Trusted;
    };
    let alive = suspicion.streaming.is_some_and(|at| now.since(at) <= max_age);
    if settings.standby_veto && alive { Verdict::Vetoed } else { Verdict::Lost(reason) }
}

/// Whether a failed check and the standbys' receivers say the same as the sessions. A primary that
/// announced its shutdown may be restarting: then the checks alone decide.
fn witnesses_agree(cluster: &Cluster, id: NodeId, now: Millis, max_age: u64) -> bool {
    let suspicion = &cluster.node(id).suspicion;
    if cluster.primary != Some(id) || suspicion.weight == 0 || suspicion.announced.is_some() {
        return false;
    }
    let mut standbys = cluster
        .others(Some(id))
        .into_iter()
        .filter_map(|other| cluster.fresh(other, now, max_age))
        .filter(|seen| Some(seen.at) > suspicion.since && !seen.writes())
        .peekable();
    standbys.peek().is_some() && standbys.all(|seen| !seen.streams())
}

// === impl Failure ===

impl Failure {
    /// Whether the node itself said so.
    fn is_an_answer(self) -> bool {
        matches!(
            self,
            Self::Authentication
                | Self::TooManyClients
                | Self::StartingUp
                | Self::InRecovery
                | Self::ShuttingDown
        )
    }

    /// Whether a session that failed this way says something about the node's life.
    fn speaks_of_loss(self) -> bool {
        matches!(self, Self::Refused | Self::Silent | Self::Mute | Self::Broken)
    }
}

// === impl Thresholds ===

impl Thresholds {
    /// The threshold for a kind of failure.
    #[must_use]
    pub fn of(&self, failure: Failure) -> u16 {
        match failure {
            Failure::Refused => self.refused,
            Failure::Silent => self.silent,
            Failure::Mute => self.mute,
            Failure::Broken => self.broken,
            Failure::Authentication => self.authentication,
            Failure::TooManyClients => self.too_many_clients,
            Failure::StartingUp => self.starting_up,
            Failure::InRecovery => self.in_recovery,
            Failure::ShuttingDown => self.shutting_down,
            Failure::Unresolved => self.unresolved,
            Failure::Other => self.other,
        }
    }
}

//! The oracle: it sees the whole world, and says when a promise is broken.
//!
//! It knows nothing of how the machine decides. It holds what was promised (product invariants) against
//! what was published, commanded, answered and written, and against what the nodes really contain.

use std::collections::{BTreeMap, BTreeSet};

use failover::{
    Command, CommandKind, Effect, Errand, Event, Mode, NodeId, Promote, RoleObservation, Rule,
    Sentence, Sessions, Settings, Status, Ticket, Topology,
};

use crate::node::Node;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When.
    pub at: u64,
    /// What.
    pub what: String,
}

/// What the oracle remembers.
#[derive(Clone, Debug)]
pub struct Oracle {
    settings: Settings,
    synchronous: bool,
    /// The last published snapshot.
    pub topology: Topology,
    /// The newest delivered observation of each node.
    seen: Vec<Option<RoleObservation>>,
    alive: Vec<Option<u64>>,
    epoch: u64,
    quorum: bool,
    open: BTreeSet<Ticket>,
    closed: BTreeSet<Ticket>,
    errands: BTreeSet<Errand>,
    running: BTreeMap<Errand, (CommandKind, NodeId)>,
    /// Losses of each node for which no failover command has run yet.
    losses: BTreeMap<NodeId, u32>,
    /// The last failover command for each node.
    commanded: BTreeMap<NodeId, Command>,
    /// The primary that is being replaced.
    replaced: Option<NodeId>,
    /// Who was commanded to become primary since there last was one.
    promoted: Vec<NodeId>,
    fencing_since: Option<u64>,
    /// Since when nobody could write to the old primary any more: positions count from then.
    released: Option<u64>,
    /// Workers excused by an expired fence.
    pub expired: BTreeSet<u16>,
    /// The newest timeline anybody was allowed to write.
    pub newest_granted: u32,
    high_water: Option<u64>,
    lineage: Option<u32>,
    /// When each node's published status last changed.
    changed: Vec<u64>,
    forced: bool,
    /// Up to which timeline an operator gave up what others have.
    pub renounced: u32,
    named: bool,
    /// Branches that somebody else opened.
    pub outside: BTreeSet<u32>,
    /// How much of each branch was acknowledged to clients under synchronous replication.
    pub ledger: BTreeMap<u32, u64>,
    /// The first broken promise.
    pub violation: Option<Violation>,
}

/// What the oracle may look at besides what it remembers.
pub struct Truth<'a> {
    /// The moment.
    pub now: u64,
    /// The nodes as they are.
    pub nodes: &'a [Node],
    /// Which node each worker could still write to.
    pub leases: &'a [Option<usize>],
    /// Whether the proxy reaches each node.
    pub reachable: &'a [bool],
    /// When each node was last really gone, or out of reach.
    pub gone: &'a [u64],
}

// === impl Oracle ===

impl Oracle {
    /// An oracle for a world of these settings.
    #[must_use]
    pub fn new(settings: &Settings, synchronous: bool) -> Self {
        let count = settings.nodes.len();
        Self {
            settings: settings.clone(),
            synchronous,
            topology: Topology::unseen(count),
            seen: vec![None; count],
            alive: vec![None; count],
            epoch: 0,
            quorum: true,
            open: BTreeSet::new(),
            closed: BTreeSet::new(),
            errands: BTreeSet::new(),
            running: BTreeMap::new(),
            losses: BTreeMap::new(),
            commanded: BTreeMap::new(),
            replaced: None,
            promoted: Vec::new(),
            fencing_since: None,
            released: None,
            expired: BTreeSet::new(),
            newest_granted: 0,
            high_water: None,
            lineage: None,
            changed: vec![0; count],
            forced: false,
            renounced: 0,
            named: false,
            outside: BTreeSet::new(),
            ledger: BTreeMap::new(),
            violation: None,
        }
    }

    /// Notes a broken promise; the first one counts.
    pub fn accuse(&mut self, at: u64, what: impl Into<String>) {
        if self.violation.is_none() {
            self.violation = Some(Violation { at, what: what.into() });
        }
    }

    /// Whether every operator was answered.
    #[must_use]
    pub fn all_answered(&self) -> bool {
        self.open.is_empty()
    }

    /// The proxy died: who waited for it waits no more, and what it remembers is gone.
    pub fn restarted(&mut self) {
        self.open.clear();
        self.running.clear();
        self.fencing_since = None;
        self.topology.primary = None;
        self.seen.iter_mut().for_each(|seen| *seen = None);
        self.alive.iter_mut().for_each(|alive| *alive = None);
        self.quorum = true;
    }

    /// An event is about to be delivered.
    pub fn hear(&mut self, now: u64, event: &Event) {
        match event {
            Event::RolesObserved { observations } => {
                for observation in observations {
                    let index = observation.node.index();
                    let newer = self.seen[index].as_ref().is_none_or(|it| it.at <= observation.at);
                    if newer {
                        self.alive[index] = self.alive[index].max(Some(observation.at.0));
                        self.seen[index] = Some(observation.clone());
                        self.note_position(observation);
                    }
                }
            }
            Event::HealthPassed { node } => self.alive[node.index()] = Some(now),
            Event::OperatorAsked { ticket, .. } => {
                self.open.insert(*ticket);
            }
            Event::CommandFinished { errand, .. } => {
                self.running.remove(errand);
            }
            Event::WorkerLetGo { .. } | Event::WorkerLeft { .. } => self.released = Some(now),
            Event::QuorumChanged { held } => self.quorum = *held,
            Event::SettingsChanged { settings } => self.settings = (**settings).clone(),
            _ => {}
        }
    }

    fn note_position(&mut self, observation: &RoleObservation) {
        let Some(newest) = self.lineage else { return };
        let theirs = observation.writes() && self.topology.primary != Some(observation.node);
        if observation.timeline.0 == newest && observation.system_identifier.0 == 42 && !theirs {
            self.high_water = self.high_water.max(observation.position().map(|lsn| lsn.0));
        }
    }

    /// A worker wrote to a node for a client.
    pub fn wrote(&mut self, now: u64, worker: u16, node: usize) {
        if let Some(primary) = self.topology.primary
            && primary.index() != node
            && !self.expired.contains(&worker)
        {
            self.accuse(now, format!("worker {worker} wrote to {node}, the primary is {primary}"));
        }
    }

    /// Effects leave the machine.
    pub fn judge(&mut self, truth: &Truth<'_>, effects: &[Effect]) {
        let now = truth.now;
        for effect in effects {
            match effect {
                Effect::Publish { topology, let_go_of, touched } => {
                    self.published(truth, topology, *let_go_of, *touched);
                }
                Effect::Answer { ticket, .. } => self.answered(now, *ticket),
                Effect::RunCommand { errand, command, .. } => {
                    self.sent(now, *errand, command.kind, command.node);
                    if command.kind == CommandKind::Failover {
                        self.failover_command(truth, command);
                    }
                }
                Effect::Promote { errand, node, .. } => {
                    if !self.errands.insert(*errand) {
                        self.accuse(now, format!("errand {} sent twice", errand.0));
                    }
                    self.promotion(truth, *node);
                }
                Effect::Follow { errand, standby, .. } => {
                    self.sent(now, *errand, CommandKind::FollowPrimary, *standby);
                }
                Effect::Say(sentence) => self.said(truth, sentence),
                _ => {}
            }
        }
        self.check_grant(truth);
    }

    fn answered(&mut self, now: u64, ticket: Ticket) {
        if !self.open.remove(&ticket) || !self.closed.insert(ticket) {
            self.accuse(now, format!("ticket {} answered again", ticket.0));
        }
    }

    fn sent(&mut self, now: u64, errand: Errand, kind: CommandKind, node: NodeId) {
        if !self.errands.insert(errand) {
            self.accuse(now, format!("errand {} sent twice", errand.0));
        }
        // The machine may give up on an unreported errand; the world reports all but the lost ones.
        if self.running.values().any(|running| *running == (kind, node)) {
            self.accuse(now, format!("{kind:?} for node {node} while another runs"));
        }
        self.running.insert(errand, (kind, node));
    }

    /// An errand will never be reported.
    pub fn forget(&mut self, errand: Errand) {
        self.running.remove(&errand);
    }

    fn failover_command(&mut self, truth: &Truth<'_>, command: &Command) {
        let promotes = self.settings.promote == Promote::Command
            && command.old_primary == Some(command.node)
            && command.new_main.is_some();
        let losses = self.losses.entry(command.node).or_insert(0);
        if *losses > 0 {
            *losses -= 1;
        } else {
            // Only a promotion that came to nothing may be commanded again.
            let target = command.new_main;
            let earlier = self.commanded.get(&command.node).and_then(|earlier| earlier.new_main);
            let undone = target.is_some_and(|node| !truth.nodes[node.index()].writes);
            if !promotes || earlier == target && !undone {
                self.accuse(
                    truth.now,
                    format!("failover_command again for node {}, for no new loss", command.node),
                );
            }
        }
        self.commanded.insert(command.node, *command);
        if self.topology.nodes[command.node.index()].status == Status::Quarantined {
            self.accuse(truth.now, format!("command for quarantined node {}", command.node));
        }
        if promotes
            && self.settings.mode == Mode::Streaming
            && let Some(node) = command.new_main
        {
            self.promotion(truth, node);
        }
    }

    fn promotion(&mut self, truth: &Truth<'_>, node: NodeId) {
        let now = truth.now;
        for (worker, lease) in truth.leases.iter().enumerate() {
            let worker = u16::try_from(worker).unwrap_or(u16::MAX);
            if lease.is_some_and(|lease| lease != node.index()) && !self.expired.contains(&worker) {
                self.accuse(now, format!("promotion of {node} while worker {worker} holds on"));
            }
        }
        for earlier in self.promoted.clone() {
            let rival = &truth.nodes[earlier.index()];
            let up = self.topology.nodes[earlier.index()].status == Status::Up;
            if earlier != node && rival.writes && up && truth.reachable[earlier.index()] {
                self.accuse(now, format!("promotion of {node} after {earlier} was promoted"));
            }
        }
        self.promoted.push(node);
    }

    fn said(&mut self, truth: &Truth<'_>, sentence: &Sentence) {
        let now = truth.now;
        match sentence {
            Sentence::Fencing { old, .. } => {
                // A primary that hands over is lost, for the command, before it leaves.
                if let Some(old) =
                    old.filter(|old| in_service(self.topology.nodes[old.index()].status))
                {
                    *self.losses.entry(old).or_insert(0) += 1;
                }
                self.replaced = *old;
                self.fencing_since = Some(now);
                self.released = None;
            }
            Sentence::FenceExpired { workers, .. } => {
                let waited = self.fencing_since.map_or(0, |since| now - since);
                if waited < self.settings.timeouts.fence {
                    self.accuse(now, format!("the fence expired after {waited} ms"));
                }
                self.released = Some(now);
                self.expired.extend(workers.iter().map(|worker| worker.0));
            }
            Sentence::Chosen(choice)
                if choice.rule != Rule::Named && self.settings.mode == Mode::Streaming =>
            {
                self.chosen(now, choice.node);
            }
            Sentence::Requested { request: failover::Request::Promote { force, .. } } => {
                self.forced |= force;
                if *force {
                    self.renounced = self.newest_granted;
                }
                self.named = true;
            }
            Sentence::Lost { node, .. } => {
                // What sessions report alone may be wrong: believing them is a setting.
                let believed = self.settings.failover_on_backend_error
                    || self.settings.failover_on_backend_shutdown;
                if !believed && now.saturating_sub(truth.gone[node.index()]) > 3_500 {
                    self.accuse(now, format!("node {node} is lost though it lives"));
                }
            }
            _ => {}
        }
    }

    /// A candidate was chosen by rule: it must be the best by what was delivered.
    fn chosen(&mut self, now: u64, node: NodeId) {
        let max_age = self.settings.timeouts.evidence_max_age;
        let Some(own) = self.seen[node.index()].clone() else {
            self.accuse(now, format!("unseen node {node} chosen"));
            return;
        };
        if now - own.at.0 > max_age {
            self.accuse(now, format!("node {node} chosen on old evidence"));
        }
        if own.system_identifier.0 != 42 {
            self.accuse(now, format!("stranger {node} chosen"));
        }
        if self.lineage.is_some_and(|newest| newest != own.timeline.0) {
            self.accuse(now, format!("node {node} chosen on timeline {}", own.timeline.0));
        }
        let status = self.topology.nodes[node.index()].status;
        if !matches!(status, Status::Up | Status::Waiting) {
            self.accuse(now, format!("node {node} chosen out of service"));
        }
        if let (Some(limit), Some(high)) = (self.settings.max_data_loss_bytes, self.high_water) {
            let lacks = high.saturating_sub(own.position().map_or(0, |lsn| lsn.0));
            if lacks > limit {
                self.accuse(now, format!("node {node} chosen though it lacks {lacks} bytes"));
            }
        }
        for (index, seen) in self.seen.clone().iter().enumerate() {
            let Some(seen) = seen else { continue };
            let id = NodeId(u16::try_from(index).unwrap_or(u16::MAX));
            let rival = self.topology.nodes[index].status == Status::Up
                && !seen.writes()
                && seen.system_identifier == own.system_identifier
                && seen.timeline == own.timeline
                && self.settings.nodes[index].priority > 0
                && self.released.is_some_and(|since| seen.at.0 >= since)
                && !self.promoted.contains(&id);
            if rival && seen.position() > own.position() {
                self.accuse(now, format!("node {node} chosen though {id} has more WAL"));
            }
        }
    }

    fn published(
        &mut self,
        truth: &Truth<'_>,
        topology: &Topology,
        let_go_of: Option<NodeId>,
        touched: Sessions,
    ) {
        let now = truth.now;
        if topology.epoch.0 <= self.epoch {
            self.accuse(now, format!("epoch {} after {}", topology.epoch.0, self.epoch));
        }
        self.epoch = topology.epoch.0;
        let anybody =
            topology.nodes.iter().any(|node| matches!(node.status, Status::Up | Status::Waiting));
        match touched {
            Sessions::All if anybody => self.accuse(now, "all sessions touched with nodes left"),
            Sessions::BoundTo(node) if let_go_of != Some(node) => {
                self.accuse(now, format!("sessions of {node} touched, but nobody lets go of it"));
            }
            _ => {}
        }
        for (index, node) in topology.nodes.iter().enumerate() {
            let id = NodeId(u16::try_from(index).unwrap_or(u16::MAX));
            let max_age = self.settings.timeouts.evidence_max_age;
            let second = self.settings.mode == Mode::Streaming
                && node.status == Status::Up
                && topology.primary.is_some_and(|primary| primary != id)
                && self.seen[index].as_ref().is_some_and(|seen| {
                    seen.writes() && now - seen.at.0 <= max_age && seen.system_identifier.0 == 42
                });
            if second {
                self.accuse(now, format!("node {id} serves although it is a second primary"));
            }
        }
        for (index, node) in topology.nodes.iter().enumerate() {
            let before = self.topology.nodes[index].status;
            if before != node.status {
                self.changed[index] = now;
            }
            if in_service(before) && !in_service(node.status) {
                let id = NodeId(u16::try_from(index).unwrap_or(u16::MAX));
                *self.losses.entry(id).or_insert(0) += 1;
            }
        }
        let changed = topology.primary.is_some() && topology.primary != self.topology.primary;
        self.topology = topology.clone();
        if let Some(primary) = topology.primary.filter(|_| changed) {
            self.granted(truth, primary);
        }
    }

    /// A node may be written to from now on.
    fn granted(&mut self, truth: &Truth<'_>, primary: NodeId) {
        let now = truth.now;
        self.promoted.clear();
        self.fencing_since = None;
        if let Some(replaced) = self.replaced.take() {
            self.losses.insert(replaced, 0);
        }
        if self.settings.mode != Mode::Streaming {
            return;
        }
        let node = &truth.nodes[primary.index()];
        let timeline = self.seen[primary.index()].as_ref().map_or(0, |seen| seen.timeline.0);
        if timeline < self.newest_granted && !self.named {
            self.accuse(now, format!("{primary} granted on timeline {timeline}, an older one"));
        }
        self.newest_granted = timeline;
        if self.lineage != Some(timeline) {
            self.lineage = Some(timeline);
            self.high_water = None;
        }
        // A node replaced a moment ago is found out by its next answer.
        let excused = self.forced
            || node.system != 42
            || node.history.iter().any(|(branch, _)| self.outside.contains(branch));
        if self.synchronous && !excused {
            for (branch, acknowledged) in &self.ledger.clone() {
                let has = node.extent(*branch);
                if has.is_none_or(|has| has < *acknowledged) {
                    self.accuse(
                        now,
                        format!(
                            "{primary} lacks acknowledged writes: branch {branch} up to \
                             {acknowledged}, it has {has:?}"
                        ),
                    );
                }
            }
        } else if self.synchronous {
            self.ledger.clear();
        }
        self.forced = false;
        self.named = false;
    }

    /// Whoever may be written to must deserve it at every moment.
    pub fn check_grant(&mut self, truth: &Truth<'_>) {
        let now = truth.now;
        let Some(primary) = self.topology.primary else { return };
        let index = primary.index();
        let max_age = self.settings.timeouts.evidence_max_age;
        if self.topology.nodes[index].status != Status::Up {
            self.accuse(now, format!("primary {primary} is not in service"));
        }
        if !self.quorum {
            self.accuse(now, "writes without quorum");
        }
        if self.settings.mode != Mode::Streaming {
            if self.alive[index].is_none_or(|alive| now - alive > max_age) {
                self.accuse(now, format!("primary {primary} on old evidence"));
            }
            return;
        }
        let Some(own) = self.seen[index].clone() else {
            self.accuse(now, format!("primary {primary} was never seen"));
            return;
        };
        if now - own.at.0 > max_age {
            self.accuse(now, format!("primary {primary} on old evidence"));
        }
        if !own.writes() {
            self.accuse(now, format!("primary {primary} is in recovery"));
        }
        if own.system_identifier.0 != 42 {
            self.accuse(now, format!("primary {primary} is a stranger"));
        }
        if self.settings.always_primary().is_some() {
            return;
        }
        for (other, seen) in self.seen.clone().iter().enumerate() {
            let Some(seen) = seen else { continue };
            if other != index
                && seen.writes()
                && seen.timeline > own.timeline
                && seen.timeline.0 > self.renounced
                && seen.system_identifier == own.system_identifier
                && now - seen.at.0 <= max_age
                && self.topology.nodes[other].status != Status::Down
                && (in_service(self.topology.nodes[other].status)
                    || seen.at.0 > self.changed[other])
            {
                self.accuse(now, format!("primary {primary}, but {other} is on a newer timeline"));
            }
        }
    }
}

fn in_service(status: Status) -> bool {
    matches!(status, Status::Up | Status::Waiting)
}

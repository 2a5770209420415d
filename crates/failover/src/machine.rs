//! The machine: what is known, where it is, and `step`, the one door.
//!
//! A step does three things in this order. It takes the event in as a fact (`absorb`); it looks at
//! everything that is known and goes as far as that allows (`consider`); it arms one timer for the
//! next moment at which time alone would change the answer (`rearm`). Decisions thus depend on what is
//! known and never on which event happened to bring it: events may be late, doubled, or come in any
//! order, and a timer that fires early or twice means nothing.
//!
//! The machine asks for things and is told about them; it never does anything.

use std::collections::{BTreeSet, VecDeque};

use crate::attach::Attaching;
use crate::cluster::Cluster;
use crate::errand::Errands;
use crate::phase::{Bereft, Phase, Run};
use crate::suspicion;
use crate::{
    Effect, Event, Millis, NodeId, PhaseName, Request, Sentence, Sessions, Settings, Status,
};
use crate::{TRANSITIONS, Ticket, Timer, Topology, WorkerId};

/// Decides about nodes. Clone it to try something; compare it to see whether anything changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    pub(crate) settings: Settings,
    pub(crate) now: Millis,
    pub(crate) cluster: Cluster,
    pub(crate) phase: Phase,
    /// What the failover under way is about.
    pub(crate) run: Option<Run>,
    pub(crate) errands: Errands,
    pub(crate) workers: BTreeSet<WorkerId>,
    /// Requests that wait for the failover to end, with all who asked the same.
    pub(crate) waiting: VecDeque<(Request, Vec<Ticket>)>,
    pub(crate) attaching: Vec<Attaching>,
    /// When automatic failovers happened, within the last hour.
    pub(crate) failovers: Vec<Millis>,
    pub(crate) quorum: bool,
    /// The lost primary for which `failover_command` has run, until there is a primary again.
    pub(crate) hooked: Option<NodeId>,
    /// A command of the failover failed and `on_failure = "stop"`: nobody takes over without an
    /// operator, until there is a primary again.
    pub(crate) stopped: bool,
    /// When nodes were last asked about their roles.
    pub(crate) asked: Option<Millis>,
    /// Settings that wait for the failover to end.
    pub(crate) newcomer: Option<Settings>,
    pub(crate) armed: Option<Millis>,
    pub(crate) timer: Timer,
}

/// One step under way: its moment, and what is asked for so far.
pub(crate) struct Turn<'a> {
    pub now: Millis,
    pub effects: &'a mut Vec<Effect>,
}

// === impl Turn ===

impl Turn<'_> {
    pub fn emit(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub fn say(&mut self, sentence: Sentence) {
        self.emit(Effect::Say(sentence));
    }

    pub fn answer(
        &mut self,
        tickets: impl IntoIterator<Item = Ticket>,
        result: Result<(), crate::Refusal>,
    ) {
        for ticket in tickets {
            self.emit(Effect::Answer { ticket, result });
        }
    }
}

// === impl Machine ===

impl Machine {
    /// A machine that has seen nothing. Its first event is to be [`Event::Started`].
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let cluster = Cluster::new(settings.nodes.len());
        Self {
            settings,
            now: Millis(0),
            cluster,
            phase: Phase::Bereft(Bereft::since(Millis(0), 0)),
            run: None,
            errands: Errands::default(),
            workers: BTreeSet::new(),
            waiting: VecDeque::new(),
            attaching: Vec::new(),
            failovers: Vec::new(),
            quorum: true,
            hooked: None,
            stopped: false,
            asked: None,
            newcomer: None,
            armed: None,
            timer: Timer(0),
        }
    }

    /// Takes in one event and appends what is to be done about it, to be done in that order.
    pub fn step(&mut self, now: Millis, event: Event, effects: &mut Vec<Effect>) {
        // A clock that goes back would make old evidence young.
        self.now = self.now.max(now);
        let turn = &mut Turn { now: self.now, effects };
        self.absorb(turn, event);
        self.consider(turn);
        self.rearm(turn);
        debug_assert_eq!(self.audit(), Ok(()));
    }

    /// The snapshot sessions are to route by.
    #[must_use]
    pub fn topology(&self) -> Topology {
        self.cluster.topology()
    }

    /// Where the machine is.
    #[must_use]
    pub fn phase(&self) -> PhaseName {
        self.phase.name()
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Why a node is not in service.
    #[must_use]
    pub fn reason(&self, node: NodeId) -> Option<crate::Reason> {
        self.cluster.nodes.get(node.index()).and_then(|node| node.reason)
    }

    /// The primary's seat: the present primary, or the last one, whether or not it may be written to.
    #[must_use]
    pub fn seat(&self) -> Option<NodeId> {
        self.cluster.primary
    }

    /// Requests that wait for the failover under way.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.waiting.len()
    }

    fn absorb(&mut self, turn: &mut Turn<'_>, event: Event) {
        let now = turn.now;
        match event {
            Event::Started { saved } => self.start(turn, saved),
            Event::WorkerJoined { worker } => self.worker_joined(turn, worker),
            Event::WorkerLeft { worker } => self.worker_left(worker),
            Event::WorkerLetGo { worker, node, epoch } => self.let_go(worker, node, epoch),
            Event::HealthPassed { node } if self.knows(node) => {
                suspicion::cleared(&mut self.cluster, node, now);
            }
            Event::HealthFailed { node, failure } if self.knows(node) => {
                let thresholds = &self.settings.thresholds;
                suspicion::failed(&mut self.cluster, node, failure, thresholds, now);
                if self.cluster.primary == Some(node) && self.cluster.granted {
                    // What the standbys receive is a witness too.
                    let others = self.cluster.others(Some(node));
                    self.ask(turn, others);
                }
            }
            Event::SessionFailed { node, failure } if self.knows(node) => {
                suspicion::session_failed(&mut self.cluster, node, failure, now);
                turn.emit(Effect::CheckHealth { node });
            }
            Event::ShutdownAnnounced { node } if self.knows(node) => {
                suspicion::announced(&mut self.cluster, node, now);
                turn.emit(Effect::CheckHealth { node });
            }
            Event::CheckerSilent { node } if self.knows(node) => {
                turn.say(Sentence::CheckerSilent { node });
            }
            // About nodes that are not configured (any more) nothing is to be known.
            Event::HealthPassed { .. }
            | Event::HealthFailed { .. }
            | Event::SessionFailed { .. }
            | Event::ShutdownAnnounced { .. }
            | Event::CheckerSilent { .. } => {}
            Event::RolesObserved { observations } => {
                let settle = self.settings.timeouts.settle;
                for observation in observations {
                    if !self.knows(observation.node) {
                        continue;
                    }
                    let (node, at) = (observation.node, observation.at.min(now));
                    suspicion::testified(&mut self.cluster, &observation);
                    if self.cluster.observe(observation, now, settle) {
                        suspicion::cleared(&mut self.cluster, node, at);
                    }
                }
            }
            Event::SynchronyObserved { synchrony } => {
                if self.cluster.primary == Some(synchrony.node) && self.cluster.granted {
                    self.cluster.synchrony = Some(synchrony);
                }
            }
            Event::CommandFinished { errand, outcome } => self.finished(turn, errand, outcome),
            // A timer only wakes: what is due is due by the clock, see `consider`.
            Event::TimerFired { timer } => {
                if timer == self.timer {
                    self.armed = None;
                }
            }
            Event::OperatorAsked { ticket, request } => self.asked_for(turn, ticket, request),
            Event::SettingsChanged { settings } => self.newcomer = Some(*settings),
            Event::QuorumChanged { held } => self.quorum_changed(turn, held),
        }
    }

    /// Goes as far as what is known allows. Each round may change the phase; the bound is far above
    /// the longest way through all phases and is there so that nothing can go round for ever.
    fn consider(&mut self, turn: &mut Turn<'_>) {
        self.overdue(turn);
        for _ in 0..ROUNDS_MAX {
            let before = self.phase.name();
            self.condemn(turn);
            match &self.phase {
                Phase::Bereft(_) => self.listen(turn),
                Phase::Steady => self.watch(turn),
                Phase::Fencing(_) => self.fence(turn),
                Phase::CatchingUp(_) => self.catch_up(turn),
                Phase::Promoting(_) => {}
                Phase::Seeking(_) => self.seek(turn),
                Phase::Following(_) => {
                    self.watch(turn);
                    self.pursue(turn);
                }
            }
            if self.quiet() {
                self.renew(turn);
                self.serve_queue(turn);
            }
            if self.phase.name() == before {
                break;
            }
        }
        self.attach_observed(turn);
        self.keep_asking(turn);
    }

    /// Whether no failover is under way.
    pub(crate) fn quiet(&self) -> bool {
        matches!(self.phase, Phase::Steady | Phase::Bereft(_))
    }

    /// Changes the phase, along the drawing.
    pub(crate) fn enter(&mut self, phase: Phase) {
        debug_assert!(
            TRANSITIONS.iter().any(|t| t.from == self.phase.name() && t.to == phase.name()),
            "no arrow from {:?} to {:?}",
            self.phase.name(),
            phase.name()
        );
        self.phase = phase;
    }

    pub(crate) fn knows(&self, node: NodeId) -> bool {
        self.cluster.nodes.get(node.index()).is_some_and(|node| node.status != Status::Unused)
    }

    /// Gives every worker a new snapshot.
    pub(crate) fn publish(
        &mut self,
        turn: &mut Turn<'_>,
        let_go_of: Option<NodeId>,
        touched: Sessions,
    ) {
        self.cluster.epoch.0 += 1;
        let everybody = self.cluster.main_node().is_none();
        let touched = match touched {
            Sessions::BoundTo(_) if everybody => Sessions::All,
            touched => touched,
        };
        turn.emit(Effect::Publish { topology: self.cluster.topology(), let_go_of, touched });
    }

    /// Asks nodes about their roles, not more often than is useful.
    pub(crate) fn ask(&mut self, turn: &mut Turn<'_>, nodes: Vec<NodeId>) {
        let again = self.settings.timeouts.observe_every;
        if nodes.is_empty() || self.asked.is_some_and(|asked| turn.now.since(asked) < again) {
            return;
        }
        self.asked = Some(turn.now);
        turn.emit(Effect::ObserveRoles { nodes });
    }

    /// Arms the timer for the earliest moment at which time alone changes anything.
    fn rearm(&mut self, turn: &mut Turn<'_>) {
        let due = self.due(turn.now);
        if due == self.armed {
            return;
        }
        self.armed = due;
        match due {
            None => turn.emit(Effect::Disarm { timer: self.timer }),
            Some(due) => {
                self.timer.0 += 1;
                let after = due.since(turn.now);
                turn.emit(Effect::Arm { timer: self.timer, after });
            }
        }
    }
}

const ROUNDS_MAX: usize = 16;

//! Planted faults: what the machine would do with one of its rules missing.
//!
//! The machine itself carries no switch for them, so nothing of this can reach a user. A mutant is
//! the true machine with one of its threads to the world cut or twisted: a setting it does not
//! honour, an event it does not hear as it is, an effect that leaves otherwise than it was decided.
//! The oracle looks at the untouched world and at what arrives there; it must notice each of them.

use failover::{
    Command, CommandKind, Effect, Errand, Event, Failure, Lsn, Millis, NodeId, Settings, Status,
    SystemIdentifier, Timeline, WalPosition, WorkerId,
};

/// One planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Every worker counts as having let go at once.
    FenceSkipped,
    /// One worker is not waited for.
    WorkerForgotten,
    /// Letting go of any node counts as letting go of the old primary.
    AnyLetGoCounts,
    /// Evidence is believed whatever its age.
    EvidenceNeverExpires,
    /// A failover command runs again for the nodes lost before.
    DownSetNotCleared,
    /// Positions are not looked at: the lowest id wins.
    CandidateById,
    /// A timer that fires means that its time has come, whatever the clock says.
    StaleTimerObeyed,
    /// After a promotion another standby is promoted as well.
    SecondPromotion,
    /// A fenced node is served.
    OldPrimaryUnfenced,
    /// A command runs twice.
    CommandTwice,
    /// An operator is answered twice.
    AnsweredTwice,
    /// An operator is not answered.
    NeverAnswered,
    /// `max_data_loss_bytes` is not honoured.
    LossLimitIgnored,
    /// A standby's timeline is taken for the cluster's.
    TimelineIgnored,
    /// Every node is taken for one of the cluster.
    SystemIdentifierIgnored,
    /// Nothing is remembered over a restart.
    JournalForgotten,
    /// Who must confirm commits is not looked at.
    SynchronyIgnored,
    /// The peers' disagreement is not heard.
    QuorumIgnored,
    /// Any failed check says that the node is gone.
    AnyFailureCounts,
    /// A snapshot keeps the number of the one before.
    EpochStuck,
}

/// All of them.
pub const MUTANTS: &[Mutant] = &[
    Mutant::FenceSkipped,
    Mutant::WorkerForgotten,
    Mutant::AnyLetGoCounts,
    Mutant::EvidenceNeverExpires,
    Mutant::DownSetNotCleared,
    Mutant::CandidateById,
    Mutant::StaleTimerObeyed,
    Mutant::SecondPromotion,
    Mutant::OldPrimaryUnfenced,
    Mutant::CommandTwice,
    Mutant::AnsweredTwice,
    Mutant::NeverAnswered,
    Mutant::LossLimitIgnored,
    Mutant::TimelineIgnored,
    Mutant::SystemIdentifierIgnored,
    Mutant::JournalForgotten,
    Mutant::SynchronyIgnored,
    Mutant::QuorumIgnored,
    Mutant::AnyFailureCounts,
    Mutant::EpochStuck,
];

/// What a mutant has to remember.
#[derive(Clone, Debug, Default)]
pub struct Tampering {
    mutant: Option<Mutant>,
    workers: Vec<WorkerId>,
    released: Option<NodeId>,
    newest: u32,
    commands: Vec<Command>,
    count: u64,
    epoch: u64,
}

// === impl Tampering ===

impl Tampering {
    /// Tampers as this mutant does; none: not at all.
    #[must_use]
    pub fn of(mutant: Option<Mutant>) -> Self {
        Self { mutant, ..Self::default() }
    }

    /// The settings as the machine takes them.
    pub fn settings(&self, settings: &mut Settings) {
        match self.mutant {
            Some(Mutant::EvidenceNeverExpires) => settings.timeouts.evidence_max_age = 10_000_000,
            Some(Mutant::LossLimitIgnored) => settings.max_data_loss_bytes = None,
            _ => {}
        }
    }

    /// The event and its moment as the machine takes them; none: it does not hear of it.
    pub fn event(&mut self, now: Millis, mut event: Event) -> Option<(Millis, Event)> {
        let mut at = now;
        if let Event::WorkerJoined { worker } = event {
            self.workers.push(worker);
        }
        match (self.mutant, &mut event) {
            (Some(Mutant::WorkerForgotten), Event::WorkerJoined { worker }) if worker.0 == 0 => {
                return None;
            }
            (Some(Mutant::AnyLetGoCounts), Event::WorkerLetGo { node, .. }) => {
                *node = self.released.unwrap_or(*node);
            }
            (Some(Mutant::CandidateById), Event::RolesObserved { observations }) => {
                for observation in observations {
                    if let WalPosition::Recovering { received, replayed, .. } = &mut observation.wal
                    {
                        *received = Some(Lsn(u64::MAX / 2));
                        *replayed = *received;
                    }
                }
            }
            (Some(Mutant::StaleTimerObeyed), Event::TimerFired { .. }) => at.0 += 700,
            (Some(Mutant::TimelineIgnored), Event::RolesObserved { observations }) => {
                for observation in observations {
                    if observation.writes() {
                        self.newest = self.newest.max(observation.timeline.0);
                    } else if self.newest > 0 {
                        observation.timeline = Timeline(self.newest);
                    }
                }
            }
            (Some(Mutant::SystemIdentifierIgnored), Event::RolesObserved { observations }) => {
                for observation in observations {
                    observation.system_identifier = SystemIdentifier(42);
                }
            }
            (Some(Mutant::JournalForgotten), Event::Started { saved }) => *saved = None,
            (Some(Mutant::SynchronyIgnored), Event::SynchronyObserved { .. })
            | (Some(Mutant::QuorumIgnored), Event::QuorumChanged { .. }) => return None,
            (Some(Mutant::AnyFailureCounts), Event::HealthFailed { failure, .. }) => {
                *failure = Failure::Refused;
            }
            _ => {}
        }
        Some((at, event))
    }

    /// The effects as they leave, and what the machine hears of at once because of them.
    pub fn effects(&mut self, effects: &mut Vec<Effect>) -> Vec<Event> {
        let mut heard = Vec::new();
        let Some(mutant) = self.mutant else { return heard };
        let mut more = Vec::new();
        for effect in effects.iter_mut() {
            match (mutant, effect) {
                (Mutant::FenceSkipped, Effect::Publish { topology, let_go_of: Some(node), .. }) => {
                    let (node, epoch) = (*node, topology.epoch);
                    heard.extend(self.workers.iter().map(|worker| Event::WorkerLetGo {
                        worker: *worker,
                        node,
                        epoch,
                    }));
                }
                (
                    Mutant::AnyLetGoCounts,
                    Effect::Publish { topology, let_go_of: Some(node), .. },
                ) if topology.primary.is_none() && self.released.is_none() => {
                    self.released = Some(*node);
                }
                (Mutant::AnyLetGoCounts, Effect::Publish { topology, .. })
                    if topology.primary.is_some() =>
                {
                    self.released = None;
                }
                (Mutant::OldPrimaryUnfenced, Effect::Publish { topology, .. }) => {
                    for node in &mut topology.nodes {
                        if node.status == Status::Fenced {
                            node.status = Status::Up;
                        }
                    }
                }
                (Mutant::EpochStuck, Effect::Publish { topology, .. }) => {
                    self.count += 1;
                    if self.count.is_multiple_of(5) {
                        topology.epoch.0 = self.epoch;
                    }
                    self.epoch = topology.epoch.0;
                }
                (Mutant::DownSetNotCleared, Effect::RunCommand { errand, command, deadline })
                    if command.kind == CommandKind::Failover =>
                {
                    for earlier in &self.commands {
                        if earlier.node != command.node {
                            let errand = Errand(errand.0 + 1_000_000);
                            let command = *earlier;
                            let deadline = *deadline;
                            more.push(Effect::RunCommand { errand, command, deadline });
                        }
                    }
                    self.commands.push(*command);
                }
                (Mutant::SecondPromotion, Effect::Promote { errand, node, deadline }) => {
                    let node = NodeId(if node.0 == 1 { 2 } else { 1 });
                    let errand = Errand(errand.0 + 1_000_000);
                    let deadline = *deadline;
                    more.push(Effect::Promote { errand, node, deadline });
                }
                (Mutant::CommandTwice, effect @ Effect::RunCommand { .. })
                | (Mutant::AnsweredTwice, effect @ Effect::Answer { .. }) => {
                    more.push(effect.clone());
                }
                _ => {}
            }
        }
        if mutant == Mutant::NeverAnswered {
            effects.retain(|effect| !matches!(effect, Effect::Answer { .. }));
        }
        effects.extend(more);
        heard
    }
}

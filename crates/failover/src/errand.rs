//! Errands: what the outside was sent to do, so that nothing is sent twice and nothing is forgotten.
//!
//! At most one command runs for a node at a time; the next one waits here. An errand whose end is
//! not reported by its own deadline (plus some grace) has ended as [`Outcome::Lost`].

use crate::machine::{Machine, Turn};
use crate::phase::{Phase, Step};
use crate::{Command, CommandKind, Effect, Errand, Millis, NodeId, Outcome, Sentence};

/// All errands under way or waiting for their turn.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Errands {
    pub last: Errand,
    pub running: Vec<Running>,
    pub queued: Vec<(Errand, Job)>,
}

/// An errand under way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Running {
    pub errand: Errand,
    pub job: Job,
    pub until: Millis,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    Run(Command),
    Promote(NodeId),
    Follow { standby: NodeId, primary: NodeId },
}

// === impl Job ===

impl Job {
    /// The node it is about.
    pub fn node(self) -> NodeId {
        match self {
            Self::Run(command) => command.node,
            Self::Promote(node) => node,
            Self::Follow { standby, .. } => standby,
        }
    }
}

// === impl Errands ===

impl Errands {
    /// Whether something runs for this node already.
    pub fn busy(&self, node: NodeId) -> bool {
        self.running.iter().any(|running| running.job.node() == node)
    }
}

// === impl Machine ===

impl Machine {
    /// Has something done, at once or after what still runs for the same node.
    pub(crate) fn send(&mut self, turn: &mut Turn<'_>, job: Job) -> Errand {
        self.errands.last.0 += 1;
        let errand = self.errands.last;
        // A promotion waits for nobody: pg_promote() does not mind what else is under way.
        if self.errands.busy(job.node()) && !matches!(job, Job::Promote(_)) {
            self.errands.queued.push((errand, job));
        } else {
            self.dispatch(turn, errand, job);
        }
        errand
    }

    /// Has an errand ended early. One that has not begun is dropped.
    pub(crate) fn cancel(&mut self, turn: &mut Turn<'_>, errand: Errand) {
        self.errands.queued.retain(|(queued, _)| *queued != errand);
        if self.errands.running.iter().any(|running| running.errand == errand) {
            turn.emit(Effect::Cancel { errand });
        }
    }

    /// Takes note that an errand has ended. News of one that is not under way is old news.
    pub(crate) fn finished(&mut self, turn: &mut Turn<'_>, errand: Errand, outcome: Outcome) {
        let Some(at) = self.errands.running.iter().position(|running| running.errand == errand)
        else {
            return;
        };
        let job = self.errands.running.swap_remove(at).job;
        if outcome != Outcome::Succeeded {
            turn.say(Sentence::ErrandFailed { errand, kind: kind(job), node: job.node(), outcome });
        }
        let next = self.errands.queued.iter().position(|(_, next)| next.node() == job.node());
        if let Some(next) = next
            && !self.errands.busy(job.node())
        {
            let (errand, job) = self.errands.queued.remove(next);
            self.dispatch(turn, errand, job);
        }
        match &self.phase {
            Phase::Promoting(promoting) if promoting.errand == errand => {
                self.commanded(turn, outcome);
            }
            Phase::Following(following) => {
                let step = following.current.as_ref().map(|current| current.step);
                if step == Some(Step::Repointing(errand)) || step == Some(Step::Commanding(errand))
                {
                    self.pursued(turn, outcome);
                }
            }
            _ => {}
        }
    }

    /// Gives up on errands whose end was never reported.
    pub(crate) fn overdue(&mut self, turn: &mut Turn<'_>) {
        while let Some(late) = self.errands.running.iter().find(|it| it.until <= turn.now) {
            let errand = late.errand;
            self.finished(turn, errand, Outcome::Lost);
        }
    }

    fn dispatch(&mut self, turn: &mut Turn<'_>, errand: Errand, job: Job) {
        let timeouts = &self.settings.timeouts;
        let deadline = match job {
            Job::Run(_) => timeouts.command,
            Job::Promote(_) => timeouts.promote,
            Job::Follow { .. } => timeouts.follow,
        };
        let until = Millis(turn.now.0 + deadline + timeouts.grace);
        self.errands.running.push(Running { errand, job, until });
        turn.emit(match job {
            Job::Run(command) => Effect::RunCommand { errand, command, deadline },
            Job::Promote(node) => Effect::Promote { errand, node, deadline },
            Job::Follow { standby, primary } => {
                Effect::Follow { errand, standby, primary, deadline }
            }
        });
    }
}

fn kind(job: Job) -> Option<CommandKind> {
    match job {
        Job::Run(command) => Some(command.kind),
        Job::Promote(_) | Job::Follow { .. } => None,
    }
}

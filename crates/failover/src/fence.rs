//! The fence: nobody is promoted before every worker has let go of the old primary.
//!
//! The fence remembers its own epoch and owns its own timer. An acknowledgement counts when it is for
//! the fenced node and of that epoch or a later one, whatever else was published meanwhile. A worker
//! that never answers costs the fence's timeout, and operators are told.
//!
//! Nothing has been commanded while the fence stands: an old primary that is seen to write again is
//! simply given back.

use std::mem;

use crate::machine::{Machine, Turn};
use crate::phase::{CatchingUp, Fencing, Goal, Phase, Run, Step};
use crate::{Cause, Claim, Effect, Epoch, Millis, NodeId, Promote, Refusal, Sentence, Sessions};
use crate::{Status, WorkerId};

impl Machine {
    /// Begins to replace the primary.
    pub(crate) fn begin(&mut self, turn: &mut Turn<'_>, run: Run) {
        if let Phase::Following(following) = &self.phase
            && let Some(Step::Repointing(errand) | Step::Commanding(errand)) =
                following.current.as_ref().map(|current| current.step)
        {
            self.cancel(turn, errand);
        }
        let old = run.old_primary;
        let timeouts = &self.settings.timeouts;
        let until = Millis(turn.now.0 + timeouts.fence);
        let positions_until = Millis(turn.now.0 + timeouts.positions);
        self.cluster.granted = false;
        turn.say(Sentence::Fencing { old, cause: run.cause });
        self.publish(turn, old, old.map_or(Sessions::None, Sessions::BoundTo));
        let fencing = Fencing {
            since: self.cluster.epoch,
            began: turn.now,
            released: None,
            awaiting: old.map_or_else(Default::default, |_| self.workers.clone()),
            until,
            positions_until,
        };
        self.run = Some(run);
        self.enter(Phase::Fencing(fencing));
        self.save(turn);
        let standbys = self.standbys();
        self.asked = None;
        self.ask(turn, standbys);
    }

    /// A worker holds nothing of a node any more.
    pub(crate) fn let_go(&mut self, worker: WorkerId, node: NodeId, epoch: Epoch) {
        let old = self.run.as_ref().and_then(|run| run.old_primary);
        if let Phase::Fencing(fencing) = &mut self.phase
            && old == Some(node)
            && epoch >= fencing.since
        {
            fencing.awaiting.remove(&worker);
        }
    }

    /// A new worker begins with the present snapshot, and has to let go like all others: it may have
    /// opened a connection by an older one.
    pub(crate) fn worker_joined(&mut self, turn: &mut Turn<'_>, worker: WorkerId) {
        self.workers.insert(worker);
        let mut let_go_of = None;
        if let Phase::Fencing(fencing) = &mut self.phase {
            let_go_of = self.run.as_ref().and_then(|run| run.old_primary);
            if let_go_of.is_some() {
                fencing.awaiting.insert(worker);
            }
        }
        turn.emit(Effect::Introduce { worker, topology: self.cluster.topology(), let_go_of });
    }

    /// A worker that is gone holds nothing.
    pub(crate) fn worker_left(&mut self, worker: WorkerId) {
        self.workers.remove(&worker);
        if let Phase::Fencing(fencing) = &mut self.phase {
            fencing.awaiting.remove(&worker);
        }
    }

    /// Looks whether the fence may be passed, and what lies behind it.
    pub(crate) fn fence(&mut self, turn: &mut Turn<'_>) {
        let (Phase::Fencing(fencing), Some(run)) = (&mut self.phase, &self.run) else { return };
        let (goal, planned, old) = (run.goal, run.planned(), run.old_primary);
        let began = fencing.began;
        // While an earlier promotion may yet come true the old primary cannot have its seat back.
        let lost = matches!(run.cause, Cause::Lost(_) | Cause::Patience)
            && self.cluster.pending_besides(old).is_none();
        if lost && old.is_some_and(|old| self.writes_again(old, began, turn.now)) {
            self.go_back(turn, None);
            return;
        }
        let Phase::Fencing(fencing) = &mut self.phase else { return };
        if !fencing.awaiting.is_empty() {
            if turn.now < fencing.until {
                return;
            }
            let workers: Vec<WorkerId> = mem::take(&mut fencing.awaiting).into_iter().collect();
            if planned {
                // A switchover is a wish, not a need: long transactions win, and lose nothing.
                self.go_back(turn, Some(Refusal::FenceExpired));
                return;
            }
            turn.say(Sentence::FenceExpired { old, workers });
        }
        let first = fencing.released.is_none();
        let released = *fencing.released.get_or_insert(turn.now);
        if first {
            // What was written last may only now arrive at a standby: positions count from here.
            fencing.positions_until = Millis(turn.now.0 + self.settings.timeouts.positions);
            self.asked = None;
        }
        let positions_until = fencing.positions_until;
        if let Some(run) = &mut self.run {
            run.positions_since = released;
        }
        match goal {
            Goal::Adopt(node) => {
                if self.may_adopt(node, turn.now) {
                    self.found(turn, node);
                } else {
                    self.bereave(turn, Refusal::NoAnswer { node });
                }
            }
            Goal::HandOver(to) => {
                let until = Millis(turn.now.0 + self.settings.timeouts.catch_up);
                self.enter(Phase::CatchingUp(CatchingUp { to, began: turn.now, until }));
                self.asked = None;
            }
            Goal::Discover => {
                let fixed = self.settings.always_primary();
                let refusal =
                    fixed.map_or(Refusal::NoPrimary, |node| Refusal::AlwaysPrimary { node });
                self.bereave(turn, refusal);
            }
            Goal::Promote { .. } if self.settings.promote == Promote::Observe => {
                self.look_for_primary(turn, None, crate::Outcome::Succeeded);
            }
            Goal::Promote { .. } => {
                if turn.now >= positions_until || self.all_positions(released) {
                    self.choose(turn);
                }
            }
        }
    }

    /// The target of a switchover is given the time to receive what the old primary wrote last.
    pub(crate) fn catch_up(&mut self, turn: &mut Turn<'_>) {
        let (Phase::CatchingUp(catching), Some(run)) = (&self.phase, &self.run) else { return };
        let (to, began, until, old) =
            (catching.to, catching.began, catching.until, run.old_primary);
        let max_age = self.settings.timeouts.evidence_max_age;
        if self.cluster.node(to).status != Status::Up {
            self.go_back(turn, Some(Refusal::TargetLost { node: to }));
            return;
        }
        let after = |id| self.cluster.fresh(id, turn.now, max_age).filter(|seen| seen.at > began);
        let written = old.and_then(after).filter(|seen| seen.writes()).and_then(|s| s.position());
        let received = after(to).filter(|seen| !seen.writes()).and_then(|seen| seen.position());
        if written.is_some() && received >= written {
            self.command(turn, to, received);
        } else if turn.now >= until {
            self.go_back(turn, Some(Refusal::NotCaughtUp { node: to }));
        }
    }

    /// Whether every standby in service has said where it stands since then.
    fn all_positions(&self, since: Millis) -> bool {
        self.standbys()
            .into_iter()
            .all(|id| self.cluster.node(id).seen.as_ref().is_some_and(|seen| seen.at >= since))
    }

    /// Everybody in service who is not seen to write. The last primary is among them when it came
    /// back as a standby.
    pub(crate) fn standbys(&self) -> Vec<NodeId> {
        let mut standbys = self.cluster.others(None);
        standbys.retain(|id| self.cluster.node(*id).seen.as_ref().is_none_or(|it| !it.writes()));
        standbys
    }

    /// Whether a node believed lost is seen to write after all, and may.
    pub(crate) fn writes_again(&self, node: NodeId, since: Millis, now: Millis) -> bool {
        let seen = self.cluster.fresh(node, now, self.settings.timeouts.evidence_max_age);
        self.quorum
            && seen.is_some_and(|seen| seen.at > since)
            && crate::roles::claim(&self.cluster, &self.settings, now) == Claim::One(node)
    }
}

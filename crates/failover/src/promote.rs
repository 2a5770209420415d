//! From the choice to the new primary: choosing, commanding, finding.
//!
//! A promotion is never commanded twice for one cause. When its outcome is unknown the node is asked,
//! not commanded again: only when it is seen in recovery after everything has settled was it not
//! promoted. A candidate that dies is replaced at once, behind the same fence.
//!
//! Who is *found* is decided by evidence (out of recovery, the right cluster, a newer timeline), never
//! by a return code.

use crate::candidate::{self, Terms};
use crate::cluster::Pending;
use crate::errand::Job;
use crate::machine::{Machine, Turn};
use crate::phase::{Bereft, Goal, Phase, Promoting, Run, Seeking, Stage};
use crate::roles::{self, claim};
use crate::{Cause, Claim, Command, CommandKind, Lineage, Lsn, Millis, Mode, NodeId, OnFailure};
use crate::{Outcome, Promote, Reason, Refusal, Request, Role, Sentence, Sessions, Status};

impl Machine {
    /// Chooses who is promoted, or says why nobody is.
    pub(crate) fn choose(&mut self, turn: &mut Turn<'_>) {
        let Some(run) = &self.run else { return };
        let (named, force) = match run.goal {
            Goal::Promote { named, force } => (named, force),
            _ => (None, false),
        };
        if run.automatic() && !self.quorum {
            self.bereave(turn, Refusal::NoQuorum);
            return;
        }
        if let Some(node) = self.already_promoted(turn.now) {
            self.found(turn, node);
            return;
        }
        // A node whose promotion may yet come true is the only one that may be tried again.
        let unsettled = self.cluster.unsettled();
        let terms = Terms {
            named: unsettled.or(named),
            force,
            anyway: false,
            not: &run.tried,
            seen_after: Some(run.positions_since),
        };
        let mut choice = candidate::best(&self.cluster, &self.settings, turn.now, terms);
        if run.automatic()
            && choice.is_ok()
            && let Err(refusal) = self.automatic_failover_allowed(turn.now)
        {
            choice = Err(refusal);
        }
        match choice {
            Ok(choice) => {
                turn.say(Sentence::Chosen(choice));
                self.command(turn, choice.node, choice.position);
            }
            Err(refusal) => self.give_up(turn, refusal),
        }
    }

    /// Whether another automatic failover is within the limits.
    pub(crate) fn automatic_failover_allowed(&self, now: Millis) -> Result<(), Refusal> {
        let recent = self.failovers.iter().filter(|at| now.since(**at) < HOUR).count();
        match self.settings.max_automatic_failovers {
            Some(limit) if recent >= limit as usize => Err(Refusal::TooManyFailovers { limit }),
            _ => Ok(()),
        }
    }

    /// Commands the promotion of the chosen one.
    pub(crate) fn command(&mut self, turn: &mut Turn<'_>, candidate: NodeId, wal: Option<Lsn>) {
        let Some(run) = &mut self.run else { return };
        run.position = wal;
        let old = run.old_primary;
        // Beside a builtin promotion the command runs once for a loss, however many are tried.
        let hook_first =
            self.settings.promote == Promote::Builtin && (old.is_none() || self.hooked != old);
        let runs_command = self.settings.commands.failover
            && (hook_first
                || self.settings.promote != Promote::Builtin
                || self.settings.mode != Mode::Streaming);
        let stage = if hook_first && runs_command && self.settings.mode == Mode::Streaming {
            Stage::Hook
        } else {
            Stage::Promotion
        };
        if runs_command {
            self.hooked = old;
        }
        if self.settings.mode != Mode::Streaming && !runs_command {
            self.found(turn, candidate);
            return;
        }
        if self.settings.promote == Promote::Command && !runs_command {
            turn.say(Sentence::NothingPromotes);
            self.look_for_primary(turn, Some(candidate), Outcome::Failed { code: None });
            return;
        }
        if stage == Stage::Promotion && self.settings.mode == Mode::Streaming {
            self.commit_to(candidate);
        }
        let job = if runs_command {
            Job::Run(self.failover_command(candidate))
        } else {
            Job::Promote(candidate)
        };
        self.promote_by(turn, candidate, stage, job);
    }

    /// An errand of the promotion has ended.
    pub(crate) fn commanded(&mut self, turn: &mut Turn<'_>, outcome: Outcome) {
        let Phase::Promoting(promoting) = &self.phase else { return };
        let (candidate, stage, doomed) = (promoting.candidate, promoting.stage, promoting.doomed);
        let refused = matches!(outcome, Outcome::Failed { .. });
        if stage == Stage::Promotion
            && let Some(pending) =
                self.cluster.pending.iter_mut().find(|pending| pending.node == candidate)
        {
            pending.ended = Some(turn.now);
            pending.refused = refused && self.settings.promote == Promote::Builtin;
        }
        if doomed {
            self.choose(turn);
            return;
        }
        let stop = outcome != Outcome::Succeeded && self.settings.on_failure == OnFailure::Stop;
        match stage {
            Stage::Hook if self.run.as_ref().is_some_and(Run::automatic) && !self.quorum => {
                self.bereave(turn, Refusal::NoQuorum);
            }
            Stage::Hook if stop => self.stop(turn),
            Stage::Hook => {
                self.commit_to(candidate);
                self.promote_by(turn, candidate, Stage::Promotion, Job::Promote(candidate));
            }
            Stage::Promotion if self.settings.mode != Mode::Streaming => {
                if stop {
                    self.stop(turn);
                } else {
                    self.found(turn, candidate);
                }
            }
            Stage::Promotion => self.look_for_primary(turn, Some(candidate), outcome),
        }
    }

    /// Looks for the new primary from now on.
    pub(crate) fn look_for_primary(
        &mut self,
        turn: &mut Turn<'_>,
        candidate: Option<NodeId>,
        outcome: Outcome,
    ) {
        let timeouts = &self.settings.timeouts;
        let bound = (timeouts.search > 0).then(|| Millis(turn.now.0 + timeouts.search));
        let seeking = Seeking {
            candidate,
            outcome,
            began: turn.now,
            until: bound,
            settled: Millis(turn.now.0 + timeouts.settle),
        };
        turn.say(Sentence::Searching);
        self.enter(Phase::Seeking(seeking));
        self.asked = None;
    }

    /// Looks whether the new primary is there.
    pub(crate) fn seek(&mut self, turn: &mut Turn<'_>) {
        let (Phase::Seeking(seeking), Some(run)) = (&self.phase, &self.run) else { return };
        let (candidate, until) = (seeking.candidate, seeking.until);
        let (outcome, settled) = (seeking.outcome, seeking.settled);
        let old = run.old_primary;
        if let Some(node) = self.already_promoted(turn.now) {
            self.found(turn, node);
            return;
        }
        let undone = candidate.is_none_or(|candidate| !self.cluster.is_pending(candidate));
        let nothing_pending = self.cluster.pending.is_empty();
        let builtin = self.settings.promote == Promote::Builtin;
        // Where nothing can come of the promotion any more, the old primary may have its seat back.
        let old_returns = nothing_pending
            && (!builtin || run.planned() && outcome != Outcome::Succeeded)
            && matches!(run.cause, Cause::Lost(_) | Cause::Patience | Cause::Switchover)
            && old.is_some_and(|old| self.writes_again(old, run.began, turn.now));
        if old_returns {
            let refusal = candidate.map(|node| Refusal::NotPromoted { node });
            self.go_back(turn, refusal);
            return;
        }
        if let Some(candidate) = candidate {
            let failed = outcome != Outcome::Succeeded;
            if !self.cluster.in_service(candidate) {
                self.choose(turn);
                return;
            }
            if undone && builtin {
                if let Some(run) = &mut self.run {
                    run.tried.push(candidate);
                }
                turn.say(Sentence::NotPromoted { node: candidate, outcome });
                self.choose(turn);
                return;
            }
            if failed && !builtin && self.settings.on_failure == OnFailure::Stop {
                self.stop(turn);
                return;
            }
        }
        // With no bound set, a promotion that came to nothing is still noticed: see `settled`.
        let over = until.is_some_and(|until| turn.now >= until);
        // A search without a bound ends when an operator wants something else.
        let unwanted = until.is_none() && !self.waiting.is_empty();
        // Of our own promotion it is known how long it may still come true; a command's search has
        // its bound and no other.
        let settled = turn.now >= settled || candidate.is_none() || over && !builtin;
        if (over || unwanted) && settled {
            turn.say(Sentence::SearchExpired { after: self.settings.timeouts.search });
            self.bereave(turn, Refusal::NotFound);
        }
    }

    /// A node that is the new primary already: it writes on a newer timeline than any before.
    fn already_promoted(&self, now: Millis) -> Option<NodeId> {
        let Claim::One(node) = claim(&self.cluster, &self.settings, now) else { return None };
        let known = self.cluster.lineage.map(|lineage| lineage.timeline);
        let seen = self.cluster.node(node).seen.as_ref()?;
        let newer = known.is_none_or(|known| seen.timeline > known);
        // While a later candidate may still come true an earlier one has to wait.
        let rival = match &self.phase {
            Phase::Seeking(seeking) => seeking.candidate.filter(|rival| {
                *rival != node
                    && self.settings.promote == Promote::Builtin
                    && self.cluster.is_pending(*rival)
                    && self.cluster.in_service(*rival)
            }),
            _ => None,
        };
        (newer && rival.is_none()).then_some(node)
    }

    /// The primary is known: publish, save, say, answer, and let the others follow.
    pub(crate) fn found(&mut self, turn: &mut Turn<'_>, node: NodeId) {
        let run = self.run.take();
        let old = self.cluster.primary;
        let changed = old != Some(node);
        self.take_lineage(node);
        self.cluster.primary = Some(node);
        self.cluster.pending.clear();
        self.hooked = None;
        self.stopped = false;
        self.cluster.set(node, Status::Up, None, turn.now);
        self.cluster.node_mut(node).role = Role::Primary;
        if let Some(old) = old.filter(|_| changed) {
            self.retire(old, run.as_ref(), turn.now);
        }
        let rivals = self.fence_rivals(turn, node);
        self.cluster.granted = self.may_write(node, turn.now);
        self.publish(turn, None, Sessions::None);
        for rival in rivals {
            self.publish(turn, Some(rival), Sessions::BoundTo(rival));
        }
        turn.say(Sentence::PrimaryFound { node });
        turn.say(Sentence::PrimarySet { node });
        if let Some(main) = self.cluster.main_node() {
            turn.say(Sentence::MainSet { node: main });
        }
        let Some(run) = run else {
            self.save(turn);
            self.begin_following(turn, node, old.filter(|_| changed), None);
            return;
        };
        if run.automatic() && changed {
            self.failovers.retain(|at| turn.now.since(*at) < HOUR);
            self.failovers.push(turn.now);
        }
        self.save(turn);
        let result = match run.request {
            Some(
                Request::Promote { node: wanted, .. } | Request::Switchover { to: Some(wanted) },
            ) if wanted != node => Err(Refusal::OtherBecamePrimary { node }),
            _ => Ok(()),
        };
        turn.say(match (run.cause, old.filter(|_| changed)) {
            (Cause::Lost(_) | Cause::Patience | Cause::Detached, Some(old)) => {
                Sentence::FailoverDone { node: old }
            }
            _ => Sentence::PromotionDone { node },
        });
        turn.answer(run.askers, result);
        self.begin_following(turn, node, run.old_primary.filter(|_| changed), run.position);
    }

    /// The history of this node is the cluster's from now on.
    pub(crate) fn take_lineage(&mut self, node: NodeId) {
        let Some(seen) = self.cluster.node(node).seen.as_ref().filter(|_| self.streaming()) else {
            return;
        };
        let (system_identifier, timeline) = (seen.system_identifier, seen.timeline);
        let lineage = Some(Lineage { system_identifier, timeline });
        if self.cluster.lineage != lineage {
            self.cluster.high_water = seen.position();
            self.cluster.synchrony = None;
            self.cluster.unwatched = false;
            self.cluster.lineage = lineage;
            self.cluster.renounced =
                self.cluster.renounced.filter(|renounced| timeline <= *renounced);
        }
    }

    /// Whoever else in service writes is cut off before the new primary is published.
    fn fence_rivals(&mut self, turn: &mut Turn<'_>, node: NodeId) -> Vec<NodeId> {
        if !self.streaming() {
            return Vec::new();
        }
        let max_age = self.settings.timeouts.evidence_max_age;
        let mut rivals = self.cluster.others(Some(node));
        rivals.retain(|id| {
            self.cluster.fresh(*id, turn.now, max_age).is_some_and(|seen| seen.writes())
        });
        for rival in &rivals {
            let reason = Reason::SecondPrimary;
            self.cluster.set(*rival, Status::Fenced, Some(reason), turn.now);
            turn.say(Sentence::CutOff { node: *rival, reason });
        }
        rivals
    }

    /// What becomes of the primary that was replaced.
    fn retire(&mut self, old: NodeId, run: Option<&Run>, now: Millis) {
        let cause = run.map(|run| run.cause);
        if cause == Some(Cause::Detached) {
            self.cluster.set(old, Status::Down, Some(Reason::Operator), now);
        } else if self.settings.mode == Mode::Streaming
            && !matches!(self.cluster.node(old).reason, Some(Reason::Operator | Reason::Stranger))
        {
            let standing = roles::standing(&self.cluster, &self.settings, old, now);
            if standing != roles::Standing::Follower {
                self.cluster.set(old, Status::Fenced, Some(Reason::FormerPrimary), now);
            }
        }
        let node = self.cluster.node_mut(old);
        node.baseline = None;
        if node.role == Role::Primary {
            node.role = Role::Unknown;
        }
    }

    /// Gives the seat back to the old primary.
    pub(crate) fn go_back(&mut self, turn: &mut Turn<'_>, refusal: Option<Refusal>) {
        let Some(run) = self.run.take() else { return };
        let Some(old) = self.cluster.primary else { return };
        self.cluster.set(old, Status::Up, None, turn.now);
        self.cluster.pending.clear();
        self.hooked = None;
        self.stopped = false;
        self.cluster.granted = self.may_write(old, turn.now);
        self.enter(Phase::Steady);
        self.publish(turn, None, Sessions::None);
        turn.say(Sentence::GoneBack { node: old, refusal });
        self.save(turn);
        turn.answer(run.askers, Err(refusal.unwrap_or(Refusal::PrimaryReturned { node: old })));
    }

    /// A command failed and is obeyed: what it was to make safe is not done without it, now or later.
    fn stop(&mut self, turn: &mut Turn<'_>) {
        self.stopped = true;
        self.give_up(turn, Refusal::CommandFailed);
    }

    /// Nobody is promoted. Back to the old primary where it lives, else to listening.
    fn give_up(&mut self, turn: &mut Turn<'_>, refusal: Refusal) {
        let lives = self.run.as_ref().is_some_and(|run| {
            run.planned()
                && run.old_primary.is_some_and(|old| self.writes_again(old, run.began, turn.now))
        });
        if lives && self.cluster.pending.is_empty() {
            self.go_back(turn, Some(refusal));
        } else {
            self.bereave(turn, refusal);
        }
    }

    /// There is no primary and none is made now.
    pub(crate) fn bereave(&mut self, turn: &mut Turn<'_>, refusal: Refusal) {
        let run = self.run.take();
        let mut bereft = Bereft::since(turn.now, self.settings.timeouts.patience);
        bereft.told = Some(refusal);
        turn.say(Sentence::Bereft { refusal });
        self.enter(Phase::Bereft(bereft));
        let Some(run) = run else { return };
        // With nobody left, or nobody who may ever replace it, the command still learns of the loss.
        let last = self.cluster.main_node().is_none() || self.settings.always_primary().is_some();
        let told = self.hooked == run.old_primary;
        if let (Some(old), true, Cause::Lost(_), false) = (run.old_primary, last, run.cause, told) {
            self.hooked = Some(old);
            self.save(turn);
            if self.cluster.main_node().is_none() {
                turn.say(Sentence::NoValidNode);
            }
            self.notify(turn, old, run.old_main, run.old_primary);
        }
        self.save(turn);
        turn.answer(run.askers, Err(refusal));
    }

    /// Notes that this node may become the primary from now on.
    fn commit_to(&mut self, candidate: NodeId) {
        self.cluster.pending.retain(|pending| pending.node != candidate);
        self.cluster.pending.push(Pending { node: candidate, ended: None, refused: false });
    }

    fn promote_by(&mut self, turn: &mut Turn<'_>, candidate: NodeId, stage: Stage, job: Job) {
        turn.say(Sentence::Promoting { node: candidate });
        // What is about to be commanded is written down before it is.
        self.save(turn);
        let errand = self.send(turn, job);
        let began = turn.now;
        let promoting = Promoting { candidate, errand, stage, began, doomed: false };
        self.enter(Phase::Promoting(promoting));
    }

    fn failover_command(&self, candidate: NodeId) -> Command {
        let run = self.run.as_ref();
        let old = run.and_then(|run| run.old_primary);
        Command {
            kind: CommandKind::Failover,
            // Without an old primary the command is about the one that is to become it.
            node: old.unwrap_or(candidate),
            new_main: Some(candidate),
            old_main: run.and_then(|run| run.old_main),
            old_primary: old,
        }
    }
}

// === impl Bereft ===

impl Bereft {
    /// Listening since `since`, for `patience` before a standby may be promoted.
    pub(crate) fn since(since: Millis, patience: u64) -> Self {
        Self { since, decide_at: Millis(since.0 + patience), claimed: None, told: None }
    }
}

const HOUR: u64 = 3_600_000;

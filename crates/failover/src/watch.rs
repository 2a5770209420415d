//! Watching: what is seen while a primary is known, and what is listened for while none is.
//!
//! A primary is written to only while there is evidence, young enough, that it may be: out of
//! recovery, of this cluster, on the newest timeline. When the evidence grows old the snapshot names
//! no primary and writes wait; that is not a failover, and fresh evidence ends it.

use crate::candidate::{self, Terms};
use crate::machine::{Machine, Turn};
use crate::phase::{Goal, Phase};
use crate::roles::{self, Standing, claim, standing};
use crate::suspicion::{self, Verdict};
use crate::{
    Cause, Claim, Millis, Mode, NodeId, OnFailure, Promote, Reason, Refusal, Role, Sentence,
};
use crate::{Sessions, Status};

impl Machine {
    /// Whether this node may be written to, by all that is known now.
    pub(crate) fn may_write(&self, node: NodeId, now: Millis) -> bool {
        self.quorum
            && self.cluster.node(node).status == Status::Up
            && if self.streaming() {
                claim(&self.cluster, &self.settings, now) == Claim::One(node)
            } else {
                roles::serves(&self.cluster, &self.settings, node, now)
            }
    }

    /// Whether this node is, by evidence, the primary already.
    pub(crate) fn may_adopt(&self, node: NodeId, now: Millis) -> bool {
        if self.streaming() {
            claim(&self.cluster, &self.settings, now) == Claim::One(node)
        } else {
            roles::serves(&self.cluster, &self.settings, node, now)
        }
    }

    /// While a primary is known.
    pub(crate) fn watch(&mut self, turn: &mut Turn<'_>) {
        let Some(primary) = self.cluster.primary else { return };
        if self.streaming() && self.unseated(turn, primary) {
            return;
        }
        // Whoever may not serve is cut off before anything else is published.
        let nodes: Vec<(NodeId, Reason)> = self
            .cluster
            .ids()
            .filter(|id| *id != primary)
            .filter_map(|id| self.restraint(id, turn.now))
            .collect();
        self.cut_off_all(turn, &nodes);
        self.lift_quarantine(turn);
        let may = self.may_write(primary, turn.now) && !self.lost_in_place(primary, turn.now);
        if may {
            // It may have been promoted anew, by hand and after a repair.
            self.take_lineage(primary);
        }
        if may != self.cluster.granted {
            self.cluster.granted = may;
            self.publish(turn, None, Sessions::None);
            turn.say(if may {
                Sentence::WritesResumed { node: primary }
            } else {
                Sentence::WritesWait { node: primary }
            });
        }
        for id in self.cluster.ids().filter(|id| *id != primary) {
            self.tend(turn, id);
        }
    }

    /// Whether a node counts as lost and keeps its seat nevertheless, because it may not be failed over.
    fn lost_in_place(&self, node: NodeId, now: Millis) -> bool {
        !self.settings.allows_failover(node)
            && matches!(
                suspicion::verdict(&self.cluster, &self.settings, node, now),
                Verdict::Lost(_)
            )
    }

    /// Whether another node has taken the seat, or its holder has left it.
    fn unseated(&mut self, turn: &mut Turn<'_>, primary: NodeId) -> bool {
        let old_main = self.cluster.main_node();
        match claim(&self.cluster, &self.settings, turn.now) {
            Claim::One(node) if node != primary && self.quorum => {
                let timeline = self.cluster.node(node).seen.as_ref().map(|seen| seen.timeline);
                turn.say(Sentence::Overtaken { by: node, timeline });
                let goal = Goal::Adopt(node);
                let run = self.new_run(Cause::Overtaken, goal, Some(primary), old_main, turn.now);
                self.begin(turn, run);
                return true;
            }
            Claim::Contested(nodes) if self.cluster.granted => {
                turn.say(Sentence::Contested { nodes });
                self.cluster.granted = false;
                self.publish(turn, None, Sessions::None);
            }
            _ => {}
        }
        let max_age = self.settings.timeouts.evidence_max_age;
        let seen = self.cluster.fresh(primary, turn.now, max_age);
        let standing = standing(&self.cluster, &self.settings, primary, turn.now);
        let stranger = standing == Standing::Stranger;
        if (stranger || seen.is_some_and(|seen| !seen.writes())) && self.quorum {
            if stranger {
                self.cluster.set(primary, Status::Fenced, Some(Reason::Stranger), turn.now);
                turn.say(Sentence::CutOff { node: primary, reason: Reason::Stranger });
            } else {
                turn.say(Sentence::Demoted { node: primary });
            }
            let run =
                self.new_run(Cause::Demoted, Goal::Discover, Some(primary), old_main, turn.now);
            self.begin(turn, run);
            return true;
        }
        false
    }

    /// A node set aside comes back as soon as it is seen to work.
    fn lift_quarantine(&mut self, turn: &mut Turn<'_>) {
        for id in self.cluster.ids() {
            let node = self.cluster.node(id);
            if node.status == Status::Quarantined
                && node.alive.is_some_and(|alive| alive > node.since)
                && (self.quorum || node.reason == Some(Reason::SetAside))
            {
                self.release(turn, id);
            }
        }
    }

    /// A node set aside is in service again, unless it has meanwhile become one that may not serve.
    pub(crate) fn release(&mut self, turn: &mut Turn<'_>, id: NodeId) -> Option<Reason> {
        self.cluster.set(id, Status::Up, None, turn.now);
        let restraint = self.restraint(id, turn.now).filter(|_| self.cluster.primary != Some(id));
        if let Some(restraint) = restraint {
            self.cut_off_all(turn, &[restraint]);
        } else {
            self.publish(turn, None, Sessions::None);
            turn.say(Sentence::QuarantineLifted { node: id });
        }
        restraint.map(|restraint| restraint.1)
    }

    /// What becomes of a node that is not the primary, by where it stands.
    fn tend(&mut self, turn: &mut Turn<'_>, id: NodeId) {
        let node = self.cluster.node(id);
        let (status, reason, since) = (node.status, node.reason, node.since);
        if matches!(status, Status::Unused | Status::Quarantined)
            || reason == Some(Reason::Operator)
        {
            return;
        }
        let standing = standing(&self.cluster, &self.settings, id, turn.now);
        if !self.streaming() {
            if status == Status::Waiting
                && roles::serves(&self.cluster, &self.settings, id, turn.now)
            {
                self.join(turn, id);
            }
            return;
        }
        let astray = matches!(standing, Standing::Behind(timeline)
            if self.cluster.lineage.is_some_and(|lineage| timeline < lineage.timeline));
        let node = self.cluster.node_mut(id);
        node.astray = if astray { node.astray.or(Some(turn.now)) } else { None };
        let stray_for = node.astray.map_or(0, |astray| turn.now.since(astray));
        match standing {
            Standing::Unseen | Standing::Stranger | Standing::Writer(_) | Standing::Ahead(_) => {}
            Standing::Behind(_) => {
                if astray && self.cluster.in_service(id) {
                    let following = matches!(self.phase, Phase::Following(_));
                    if !following && stray_for >= self.settings.timeouts.stray {
                        self.cut_off(turn, id, Reason::NotFollowing);
                    }
                } else if status == Status::Waiting {
                    self.join(turn, id);
                }
            }
            Standing::Follower if status == Status::Waiting => self.join(turn, id),
            Standing::Follower if status == Status::Up => {}
            Standing::Follower => {
                if self.settings.returns.auto_failback
                    && turn.now.since(since) >= self.return_wait(id)
                {
                    self.cluster.node_mut(id).returned = Some(turn.now);
                    self.admit(turn, id);
                }
            }
        }
    }

    /// Why a node is to be cut off, if it is: a stranger, a second primary, or a standby that left the
    /// primary's history. Without a primary only who writes a history that is not the last primary's
    /// is a second one: a newer one may be the next.
    fn restraint(&self, id: NodeId, now: Millis) -> Option<(NodeId, Reason)> {
        let node = self.cluster.node(id);
        if !self.streaming()
            || matches!(node.status, Status::Unused | Status::Quarantined)
            || node.reason == Some(Reason::Operator)
        {
            return None;
        }
        let bereft = matches!(self.phase, Phase::Bereft(_));
        let known = self.cluster.lineage.map(|lineage| lineage.timeline);
        let other = self.cluster.primary.is_some_and(|primary| primary != id);
        let reason = match standing(&self.cluster, &self.settings, id, now) {
            Standing::Stranger => Reason::Stranger,
            Standing::Writer(timeline) if !bereft || other && Some(timeline) <= known => {
                Reason::SecondPrimary
            }
            Standing::Ahead(_) if !bereft => Reason::Forked,
            _ => return None,
        };
        // The former primary that still writes is both; the older name says more.
        let fenced = node.status == Status::Fenced;
        let named = node.reason == Some(reason)
            || node.reason == Some(Reason::FormerPrimary) && reason == Reason::SecondPrimary;
        (!(fenced && named)).then_some((id, reason))
    }

    /// A node seen to work for the first time takes part.
    fn join(&mut self, turn: &mut Turn<'_>, id: NodeId) {
        self.cluster.set(id, Status::Up, None, turn.now);
        self.publish(turn, None, Sessions::None);
        turn.say(Sentence::Joined { node: id, role: self.cluster.node(id).role });
        self.save(turn);
    }

    /// How long a node has to stay away after a loss: the longer the more often it flapped.
    fn return_wait(&self, id: NodeId) -> u64 {
        let returns = &self.settings.returns;
        let doubled = returns.auto_failback_interval << self.cluster.node(id).flaps.min(16);
        doubled.min(returns.flap_max.max(returns.auto_failback_interval))
    }

    /// While no primary is known: listen to every node.
    pub(crate) fn listen(&mut self, turn: &mut Turn<'_>) {
        let nodes: Vec<(NodeId, Reason)> =
            self.cluster.ids().filter_map(|id| self.restraint(id, turn.now)).collect();
        self.cut_off_all(turn, &nodes);
        self.lift_quarantine(turn);
        for id in self.cluster.ids() {
            self.tend_bereft(turn, id);
        }
        if !self.quorum {
            self.refuse_once(turn, Refusal::NoQuorum);
            return;
        }
        if !self.streaming() {
            self.listen_for_any(turn);
            return;
        }
        match claim(&self.cluster, &self.settings, turn.now) {
            Claim::One(node) if self.believable(node, turn.now) => {
                let known = self.cluster.lineage.map(|lineage| lineage.timeline);
                let newer = self.cluster.node(node).seen.as_ref().map(|it| it.timeline) > known;
                // An older promotion may yet come true on a newer timeline: its node has to be heard
                // before the last primary gets its seat back.
                match self.cluster.pending_besides(Some(node)) {
                    Some(pending) if !newer => {
                        self.refuse_once(turn, Refusal::PromotionPending { node: pending });
                    }
                    _ => self.found(turn, node),
                }
            }
            Claim::One(_) => {}
            Claim::Contested(nodes) => {
                if self.refuse_once(turn, Refusal::Contested) {
                    turn.say(Sentence::Contested { nodes });
                }
            }
            Claim::None => self.decide(turn),
        }
    }

    /// Whether every node was heard, or long enough listened for, before one claim is believed.
    fn believable(&mut self, node: NodeId, now: Millis) -> bool {
        let discovery = self.settings.timeouts.discovery;
        let remembered = self.cluster.primary == Some(node) && self.cluster.lineage.is_some();
        let heard = roles::all_heard(&self.cluster, &self.settings, now);
        let Phase::Bereft(bereft) = &mut self.phase else { return false };
        let claimed = *bereft.claimed.get_or_insert(now);
        heard || remembered || now.since(claimed) >= discovery
    }

    /// The last primary has had its time to return: is there somebody to promote?
    fn decide(&mut self, turn: &mut Turn<'_>) {
        let Phase::Bereft(bereft) = &mut self.phase else { return };
        bereft.claimed = None;
        if turn.now < bereft.decide_at {
            return;
        }
        bereft.decide_at = Millis(turn.now.0 + self.settings.timeouts.patience);
        let Some(old) = self.cluster.primary else {
            self.refuse_once(turn, Refusal::UnknownLineage);
            return;
        };
        if self.settings.promote == Promote::Observe || self.settings.always_primary().is_some() {
            return;
        }
        if self.obeys_failed_command() {
            self.refuse_once(turn, Refusal::CommandFailed);
            return;
        }
        let max_age = self.settings.timeouts.evidence_max_age;
        let in_recovery =
            self.cluster.fresh(old, turn.now, max_age).is_some_and(|seen| !seen.writes());
        let out = matches!(self.cluster.node(old).status, Status::Down | Status::Fenced);
        let gone = out || in_recovery;
        let seen_after = Some(Millis(turn.now.0.saturating_sub(max_age)));
        let named = self.cluster.unsettled();
        let terms = Terms { named, force: false, anyway: false, not: &[], seen_after };
        let choice = match candidate::best(&self.cluster, &self.settings, turn.now, terms) {
            _ if !gone => Err(Refusal::PrimaryUndecided { node: old }),
            Ok(_) => self.automatic_failover_allowed(turn.now),
            Err(refusal) => Err(refusal),
        };
        match choice {
            Ok(()) => {
                let main = self.cluster.main_node();
                let goal = Goal::Promote { named: None, force: false };
                let run = self.new_run(Cause::Patience, goal, Some(old), main, turn.now);
                self.begin(turn, run);
            }
            Err(refusal) => {
                self.refuse_once(turn, refusal);
            }
        }
    }

    /// Whether a command failed for this loss and is obeyed. Settings that say `continue` end that.
    fn obeys_failed_command(&self) -> bool {
        self.stopped && self.settings.on_failure == OnFailure::Stop
    }

    /// Without a primary, standbys of the last one may serve reads, and may be promoted.
    fn tend_bereft(&mut self, turn: &mut Turn<'_>, id: NodeId) {
        let node = self.cluster.node(id);
        let (status, reason, since) = (node.status, node.reason, node.since);
        if !self.streaming() {
            if status == Status::Waiting
                && roles::serves(&self.cluster, &self.settings, id, turn.now)
            {
                self.join(turn, id);
            }
            return;
        }
        let right = matches!(standing(&self.cluster, &self.settings, id, turn.now),
            Standing::Behind(timeline) if self.cluster.lineage.is_none_or(|it| it.timeline == timeline))
            || standing(&self.cluster, &self.settings, id, turn.now) == Standing::Follower;
        if !right {
            return;
        }
        if status == Status::Waiting {
            self.join(turn, id);
        } else if matches!(status, Status::Down | Status::Fenced)
            && self.settings.returns.auto_failback
            && candidate::may_return(reason)
            && turn.now.since(since) >= self.return_wait(id)
        {
            self.cluster.node_mut(id).returned = Some(turn.now);
            self.admit(turn, id);
        }
    }

    /// Without streaming replication the lowest live node serves; when all were lost, the last one
    /// that served does as soon as it is back.
    fn listen_for_any(&mut self, turn: &mut Turn<'_>) {
        let serving = |id: &NodeId| {
            let node = self.cluster.node(*id);
            roles::serves(&self.cluster, &self.settings, *id, turn.now)
                && (self.cluster.in_service(*id)
                    || node.alive.is_some_and(|alive| alive > node.since))
        };
        let stopped = self.obeys_failed_command();
        let last = self.cluster.primary.filter(|id| {
            serving(id)
                && (candidate::may_return(self.cluster.node(*id).reason)
                    || self.cluster.in_service(*id))
        });
        let lowest = self.cluster.ids().find(|id| {
            self.cluster.node(*id).status == Status::Up
                && serving(id)
                && (self.settings.mode == Mode::Raw || self.cluster.node(*id).role != Role::Standby)
        });
        let next = if self.settings.mode == Mode::Raw { lowest.or(last) } else { last.or(lowest) };
        let Some(next) = next.filter(|next| !stopped || Some(*next) == last) else { return };
        if self.believable(next, turn.now) {
            self.found(turn, next);
        }
    }

    /// Tells operators why there is no primary, once for each reason.
    fn refuse_once(&mut self, turn: &mut Turn<'_>, refusal: Refusal) -> bool {
        let Phase::Bereft(bereft) = &mut self.phase else { return false };
        let same = bereft
            .told
            .is_some_and(|told| std::mem::discriminant(&told) == std::mem::discriminant(&refusal));
        if !same {
            bereft.told = Some(refusal);
            turn.say(Sentence::Bereft { refusal });
        }
        !same
    }
}

//! A node leaves: because it is lost, because an operator says so, or because it may not serve.
//!
//! A standby leaves at once, in whatever phase: only sessions bound to it are touched. A primary
//! leaves through the fence.

use crate::errand::Job;
use crate::machine::{Machine, Turn};
use crate::phase::{Goal, Phase, Run, Step};
use crate::suspicion::{self, Verdict};
use crate::{Cause, Command, CommandKind, Effect, Millis, Mode, NodeId, Promote, Reason, Request};
use crate::{Sentence, Sessions, Status, Ticket};

impl Machine {
    /// Acts on every node that counts as lost by now.
    pub(crate) fn condemn(&mut self, turn: &mut Turn<'_>) {
        for id in self.cluster.ids() {
            let node = self.cluster.node(id);
            let judged = self.cluster.in_service(id)
                || node.reason == Some(Reason::NoQuorum)
                    && self.quorum
                    && node.status == Status::Quarantined;
            if !judged || node.suspicion.since.is_none() {
                continue;
            }
            match suspicion::verdict(&self.cluster, &self.settings, id, turn.now) {
                Verdict::Trusted => {}
                Verdict::Vetoed => {
                    self.tell_once(turn, id, Sentence::StandbysStillStream { node: id })
                }
                Verdict::Lost(_) if !self.settings.allows_failover(id) => {
                    let granted = self.cluster.granted && self.cluster.primary == Some(id);
                    self.tell_once(turn, id, Sentence::FailoverDisallowed { node: id });
                    if granted {
                        // Reads go on elsewhere; writes wait for the node itself.
                        self.cluster.granted = false;
                        self.publish(turn, Some(id), Sessions::BoundTo(id));
                    }
                }
                Verdict::Lost(reason) => self.lose(turn, id, reason),
            }
        }
    }

    fn tell_once(&mut self, turn: &mut Turn<'_>, id: NodeId, sentence: Sentence) {
        let told = &mut self.cluster.node_mut(id).suspicion.told;
        if !*told {
            *told = true;
            turn.say(sentence);
        }
    }

    /// A node is lost.
    fn lose(&mut self, turn: &mut Turn<'_>, id: NodeId, reason: Reason) {
        turn.say(Sentence::Lost { node: id, reason });
        if !self.quorum {
            self.quarantine(turn, id, Reason::NoQuorum);
        } else if self.cluster.primary == Some(id) {
            self.lose_primary(turn, id, reason);
        } else {
            self.drop_standby(turn, id, reason);
        }
    }

    fn lose_primary(&mut self, turn: &mut Turn<'_>, id: NodeId, reason: Reason) {
        let old_main = self.cluster.main_node();
        turn.say(Sentence::Degenerating { node: id });
        self.count_flap(id, turn.now);
        self.cluster.set(id, Status::Down, Some(reason), turn.now);
        match &self.phase {
            Phase::Bereft(_) if self.cluster.lineage.is_none() => {
                // Nothing was ever known of this cluster: there is nothing to fail over from.
                self.publish(turn, Some(id), Sessions::BoundTo(id));
                self.save(turn);
            }
            Phase::Bereft(_) | Phase::Steady | Phase::Following(_) => {
                let goal = if self.settings.always_primary().is_some() {
                    Goal::Discover
                } else {
                    Goal::Promote { named: None, force: false }
                };
                let run = self.new_run(Cause::Lost(reason), goal, Some(id), old_main, turn.now);
                self.begin(turn, run);
            }
            Phase::Fencing(_) | Phase::CatchingUp(_) => {
                // What was planned has become necessary. Who asked is still answered at the end.
                let again = matches!(self.phase, Phase::CatchingUp(_));
                if let Some(mut run) = self.run.take() {
                    run.cause = Cause::Lost(reason);
                    if !matches!(run.goal, Goal::Adopt(_)) {
                        run.goal = Goal::Promote { named: None, force: false };
                    }
                    run.began = turn.now;
                    if again {
                        self.begin(turn, run);
                    } else {
                        self.run = Some(run);
                        self.publish(turn, Some(id), Sessions::BoundTo(id));
                    }
                }
            }
            Phase::Promoting(_) | Phase::Seeking(_) => {
                if let Some(run) = &mut self.run {
                    run.cause = Cause::Lost(reason);
                }
                self.publish(turn, Some(id), Sessions::BoundTo(id));
                self.save(turn);
            }
        }
    }

    /// A standby leaves. No other session is touched.
    pub(crate) fn drop_standby(&mut self, turn: &mut Turn<'_>, id: NodeId, reason: Reason) {
        let old_main = self.cluster.main_node();
        turn.say(Sentence::Degenerating { node: id });
        self.count_flap(id, turn.now);
        self.cluster.set(id, Status::Down, Some(reason), turn.now);
        self.publish(turn, Some(id), Sessions::BoundTo(id));
        self.save(turn);
        self.abandon(turn, id);
        if self.cluster.main_node().is_none() {
            turn.say(Sentence::NoValidNode);
        }
        // The last primary's command runs with its replacement: some commands promote.
        let primary = self.cluster.primary;
        if primary != Some(id) {
            self.notify(turn, id, old_main, primary);
        }
        turn.say(Sentence::FailoverDone { node: id });
    }

    /// Whatever is being done with this node loses its point.
    fn abandon(&mut self, turn: &mut Turn<'_>, id: NodeId) {
        let mut errand = None;
        match &mut self.phase {
            Phase::Promoting(promoting) if promoting.candidate == id => {
                promoting.doomed = true;
                errand = Some(promoting.errand);
                turn.say(Sentence::CandidateLost { node: id });
            }
            Phase::Following(following) => {
                following.left.retain(|follower| follower.node != id);
                if let Some(current) = following.current.take_if(|it| it.follower.node == id)
                    && let Step::Repointing(running) | Step::Commanding(running) = current.step
                {
                    errand = Some(running);
                }
            }
            _ => {}
        }
        if let Some(errand) = errand {
            self.cancel(turn, errand);
            if let Phase::Promoting(promoting) = &self.phase
                && !self.errands.running.iter().any(|it| it.errand == promoting.errand)
            {
                // It had not even begun: nothing to wait for.
                self.commanded(turn, crate::Outcome::Failed { code: None });
            }
        }
    }

    /// A node that may not serve is cut off: a second primary, a stranger, a standby gone astray.
    pub(crate) fn cut_off(&mut self, turn: &mut Turn<'_>, id: NodeId, reason: Reason) {
        self.cut_off_all(turn, &[(id, reason)]);
    }

    /// Several nodes are cut off; none of them serves any more when the first snapshot is published.
    pub(crate) fn cut_off_all(&mut self, turn: &mut Turn<'_>, nodes: &[(NodeId, Reason)]) {
        let old_main = self.cluster.main_node();
        let served: Vec<bool> = nodes.iter().map(|(id, _)| self.cluster.in_service(*id)).collect();
        for (id, reason) in nodes {
            self.cluster.set(*id, Status::Fenced, Some(*reason), turn.now);
        }
        for ((id, reason), served) in nodes.iter().zip(served) {
            let (id, reason) = (*id, *reason);
            if served {
                self.publish(turn, Some(id), Sessions::BoundTo(id));
            } else {
                self.publish(turn, None, Sessions::None);
            }
            self.save(turn);
            self.abandon(turn, id);
            turn.say(Sentence::CutOff { node: id, reason });
            if served && reason == Reason::SecondPrimary && self.settings.detach_false_primary {
                let primary = self.cluster.primary;
                self.notify(turn, id, old_main, primary);
            }
        }
    }

    /// A node is set aside without a failover, until it is seen to work again.
    pub(crate) fn quarantine(&mut self, turn: &mut Turn<'_>, id: NodeId, reason: Reason) {
        turn.say(Sentence::Quarantining { node: id });
        self.cluster.set(id, Status::Quarantined, Some(reason), turn.now);
        if self.cluster.primary == Some(id) {
            self.cluster.granted = false;
        }
        self.publish(turn, Some(id), Sessions::BoundTo(id));
        self.abandon(turn, id);
        turn.say(Sentence::QuarantineDone { node: id });
    }

    /// An operator detaches a standby.
    pub(crate) fn detach(&mut self, turn: &mut Turn<'_>, id: NodeId, tickets: Vec<Ticket>) {
        turn.say(Sentence::Requested { request: Request::Detach { node: id } });
        self.drop_standby(turn, id, Reason::Operator);
        turn.answer(tickets, Ok(()));
    }

    /// Runs `failover_command` for a node whose loss needs no promotion.
    pub(crate) fn notify(
        &mut self,
        turn: &mut Turn<'_>,
        node: NodeId,
        old_main: Option<NodeId>,
        old_primary: Option<NodeId>,
    ) {
        if self.settings.commands.failover && self.settings.promote != Promote::Observe {
            let new_main = self.cluster.main_node();
            let kind = CommandKind::Failover;
            self.send(turn, Job::Run(Command { kind, node, new_main, old_main, old_primary }));
        }
    }

    pub(crate) fn new_run(
        &self,
        cause: Cause,
        goal: Goal,
        old_primary: Option<NodeId>,
        old_main: Option<NodeId>,
        now: Millis,
    ) -> Run {
        Run {
            cause,
            goal,
            old_primary,
            old_main,
            request: None,
            askers: Vec::new(),
            began: now,
            positions_since: now,
            tried: Vec::new(),
            position: None,
        }
    }

    /// A node lost soon after it came back by itself has flapped, and will wait longer.
    fn count_flap(&mut self, id: NodeId, now: Millis) {
        let window = self.settings.returns.flap_window;
        let node = self.cluster.node_mut(id);
        let flapped = node.returned.is_some_and(|returned| now.since(returned) < window);
        node.flaps = if flapped { node.flaps.saturating_add(1) } else { 0 };
    }

    /// The proxy lost or regained the agreement of its peers.
    pub(crate) fn quorum_changed(&mut self, turn: &mut Turn<'_>, held: bool) {
        if self.quorum == held {
            return;
        }
        self.quorum = held;
        turn.say(Sentence::QuorumChanged { held });
        if !held && self.cluster.granted {
            self.cluster.granted = false;
            self.publish(turn, None, Sessions::None);
        }
    }

    /// Closes idle server connections.
    pub(crate) fn close_idle(&self, turn: &mut Turn<'_>, tickets: Vec<Ticket>) {
        turn.emit(Effect::CloseIdle);
        turn.answer(tickets, Ok(()));
    }

    /// Whether the mode has standbys in recovery at all.
    pub(crate) fn streaming(&self) -> bool {
        self.settings.mode == Mode::Streaming
    }
}

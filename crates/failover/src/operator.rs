//! What operators ask for: admission against the configured nodes and the present state, a bounded
//! queue, and an answer for every ticket.
//!
//! An answer of "done" means done, not queued. Requests that arrive in the middle of a failover wait
//! for its end and are judged by the state they then find. Who asks what somebody already waits for
//! waits with them.

use crate::candidate::{self, Terms};
use crate::machine::{Machine, Turn};
use crate::phase::{Goal, Phase, Run};
use crate::roles::{Standing, claim, standing};
use crate::{Cause, Claim, NodeId, Promote, Reason, Refusal, Request, Sentence, Status, Ticket};

impl Machine {
    /// An operator asked for something.
    pub(crate) fn asked_for(&mut self, turn: &mut Turn<'_>, ticket: Ticket, request: Request) {
        if let Some(node) = request.node().filter(|node| !self.knows(*node)) {
            turn.answer([ticket], Err(Refusal::NoSuchNode { node }));
            return;
        }
        if let Some(run) = self.run.as_mut().filter(|run| run.request == Some(request)) {
            run.askers.push(ticket);
            return;
        }
        if let Some(same) = self.waiting.iter_mut().find(|waiting| waiting.0 == request) {
            same.1.push(ticket);
            return;
        }
        let now = self.quiet() || self.concerns_no_failover(request);
        if now && self.waiting.is_empty() {
            self.perform(turn, request, vec![ticket]);
        } else if self.waiting.len() < self.settings.queue {
            self.waiting.push_back((request, vec![ticket]));
        } else {
            turn.answer([ticket], Err(Refusal::QueueFull));
        }
    }

    /// Serves what has waited, as long as nothing it does begins another failover.
    pub(crate) fn serve_queue(&mut self, turn: &mut Turn<'_>) {
        while self.quiet() {
            let Some((request, tickets)) = self.waiting.pop_front() else { return };
            self.perform(turn, request, tickets);
        }
    }

    /// Whether a request can be carried out in the middle of a failover.
    fn concerns_no_failover(&self, request: Request) -> bool {
        match request {
            Request::CloseIdle => true,
            Request::Detach { node } => {
                matches!(self.phase, Phase::Following(_)) && self.cluster.primary != Some(node)
            }
            _ => false,
        }
    }

    fn perform(&mut self, turn: &mut Turn<'_>, request: Request, tickets: Vec<Ticket>) {
        let result = match request {
            Request::CloseIdle => {
                self.close_idle(turn, tickets);
                return;
            }
            Request::Detach { node } => self.may_detach(node),
            Request::Attach { node, force } => {
                if self.cluster.node(node).status == Status::Quarantined {
                    self.lift(turn, node, tickets);
                } else {
                    self.attach(turn, node, force, tickets);
                }
                return;
            }
            Request::Promote { node, force } => self.may_promote(node, force, turn),
            Request::Switchover { to } => self.may_switch(to, turn),
            Request::Quarantine { node } => {
                if self.cluster.in_service(node) {
                    self.quarantine(turn, node, Reason::SetAside);
                    turn.answer(tickets, Ok(()));
                    return;
                }
                let status = self.cluster.node(node).status;
                Err(Refusal::NotInService { node, status })
            }
        };
        match result {
            Err(refusal) => {
                turn.say(Sentence::RequestRefused { request, refusal });
                turn.answer(tickets, Err(refusal));
            }
            Ok(()) => self.carry_out(turn, request, tickets),
        }
    }

    fn carry_out(&mut self, turn: &mut Turn<'_>, request: Request, tickets: Vec<Ticket>) {
        let old = self.cluster.primary;
        let main = self.cluster.main_node();
        let run = match request {
            Request::Detach { node } if old == Some(node) && self.must_replace() => {
                // It cannot hand over: it leaves as if it were lost.
                self.cluster.set(node, Status::Down, Some(Reason::Operator), turn.now);
                let goal = Goal::Promote { named: None, force: false };
                self.new_run(Cause::Lost(Reason::Operator), goal, old, main, turn.now)
            }
            Request::Detach { node } if old != Some(node) || !self.cluster.granted => {
                self.detach(turn, node, tickets);
                return;
            }
            Request::Detach { node } => match self.successor(None, turn) {
                Ok(to) => {
                    self.new_run(Cause::Detached, Goal::HandOver(to), Some(node), main, turn.now)
                }
                Err(refusal) => {
                    turn.say(Sentence::RequestRefused { request, refusal });
                    turn.answer(tickets, Err(refusal));
                    return;
                }
            },
            Request::Switchover { to } => match self.successor(to, turn) {
                Ok(to) => self.new_run(Cause::Switchover, Goal::HandOver(to), old, main, turn.now),
                Err(refusal) => {
                    turn.say(Sentence::RequestRefused { request, refusal });
                    turn.answer(tickets, Err(refusal));
                    return;
                }
            },
            Request::Promote { node, force } => {
                let goal = if self.writes_now(node, turn) {
                    Goal::Adopt(node)
                } else if force && self.writes_at_all(node, turn) {
                    // The newest timeline is given up: what was only there is lost.
                    self.cluster.renounced = self.cluster.lineage.map(|it| it.timeline);
                    self.cluster.lineage = None;
                    self.cluster.pending.clear();
                    Goal::Adopt(node)
                } else {
                    if force {
                        self.settle_for(node, turn.now);
                    }
                    Goal::Promote { named: Some(node), force }
                };
                if goal == Goal::Adopt(node) {
                    // Whoever held the seat holds it no more.
                    self.cluster.primary = Some(node);
                    let known = self.cluster.node_mut(node);
                    known.reason = known.reason.filter(|reason| *reason != Reason::Operator);
                    // Between two claims the operator decides: the others are heard no more.
                    for id in self.cluster.ids().filter(|id| *id != node) {
                        if matches!(
                            standing(&self.cluster, &self.settings, id, turn.now),
                            Standing::Writer(_)
                        ) {
                            self.cluster.set(id, Status::Down, Some(Reason::Operator), turn.now);
                        }
                    }
                }
                self.new_run(Cause::Asked, goal, old, main, turn.now)
            }
            Request::Attach { .. } | Request::Quarantine { .. } | Request::CloseIdle => return,
        };
        turn.say(Sentence::Requested { request });
        self.begin(turn, Run { request: Some(request), askers: tickets, ..run });
    }

    /// An operator takes this standby as it is: what only newer timelines had is given up.
    fn settle_for(&mut self, node: NodeId, now: crate::Millis) {
        self.cluster.set(node, Status::Up, None, now);
        self.cluster.pending.clear();
        let seen = self.cluster.node(node).seen.as_ref().map(|seen| seen.timeline);
        if let (Some(lineage), Some(timeline)) = (&mut self.cluster.lineage, seen)
            && lineage.timeline != timeline
        {
            self.cluster.renounced = Some(lineage.timeline);
            lineage.timeline = timeline;
            self.cluster.high_water = None;
            self.cluster.unwatched = false;
        }
    }

    /// Whether the primary is known but may not be written to.
    fn must_replace(&self) -> bool {
        matches!(self.phase, Phase::Steady) && !self.cluster.granted && self.streaming()
    }

    fn may_detach(&self, node: NodeId) -> Result<(), Refusal> {
        let status = self.cluster.node(node).status;
        if !self.cluster.in_service(node) && status != Status::Quarantined {
            Err(Refusal::NotInService { node, status })
        } else if !self.settings.allows_failover(node) {
            Err(Refusal::FailoverDisallowed { node })
        } else {
            Ok(())
        }
    }

    fn may_promote(&self, node: NodeId, force: bool, turn: &Turn<'_>) -> Result<(), Refusal> {
        if !self.streaming() {
            return Err(Refusal::NotStreaming);
        }
        if let Some(fixed) = self.settings.always_primary().filter(|fixed| *fixed != node) {
            return Err(Refusal::AlwaysPrimary { node: fixed });
        }
        if let (Phase::Steady, Some(primary)) = (&self.phase, self.cluster.primary)
            && !self.rivals(node, turn)
        {
            return Err(if primary == node {
                Refusal::AlreadyPrimary { node }
            } else {
                Refusal::HasPrimary { node: primary }
            });
        }
        if self.writes_now(node, turn) || force && self.writes_at_all(node, turn) {
            return Ok(());
        }
        if self.settings.promote == Promote::Observe {
            return Err(Refusal::OnlyObserving);
        }
        if let Some(node) = self.cluster.pending_besides(Some(node)).filter(|_| !force) {
            return Err(Refusal::PromotionPending { node });
        }
        let terms = Terms { named: Some(node), force, anyway: force, not: &[], seen_after: None };
        if let Some(refusal) =
            candidate::obstacle(&self.cluster, &self.settings, turn.now, terms, node)
        {
            return Err(refusal);
        }
        candidate::best(&self.cluster, &self.settings, turn.now, terms).map(|_| ())
    }

    fn may_switch(&self, to: Option<NodeId>, turn: &Turn<'_>) -> Result<(), Refusal> {
        if !self.streaming() {
            return Err(Refusal::NotStreaming);
        }
        if self.settings.promote == Promote::Observe {
            return Err(Refusal::OnlyObserving);
        }
        let Some(primary) = self.cluster.primary.filter(|_| self.cluster.granted) else {
            return Err(Refusal::NoPrimary);
        };
        if let Some(fixed) = self.settings.always_primary() {
            return Err(Refusal::AlwaysPrimary { node: fixed });
        }
        if to == Some(primary) {
            return Err(Refusal::AlreadyPrimary { node: primary });
        }
        if !self.settings.allows_failover(primary) {
            return Err(Refusal::FailoverDisallowed { node: primary });
        }
        self.successor(to, turn).map(|_| ())
    }

    /// Who a living primary may hand over to. What it lacks it will be given.
    fn successor(&self, to: Option<NodeId>, turn: &Turn<'_>) -> Result<NodeId, Refusal> {
        if !self.streaming() || self.settings.promote == Promote::Observe {
            return Err(Refusal::NotStreaming);
        }
        if self.settings.promote == Promote::Command && !self.settings.commands.failover {
            return Err(Refusal::NoFailoverCommand);
        }
        let primary: Vec<NodeId> = self.cluster.primary.into_iter().collect();
        let terms =
            Terms { named: to, force: true, anyway: false, not: &primary, seen_after: None };
        if let Some(to) = to
            && let Some(refusal) =
                candidate::obstacle(&self.cluster, &self.settings, turn.now, terms, to)
        {
            return Err(refusal);
        }
        candidate::best(&self.cluster, &self.settings, turn.now, terms).map(|choice| choice.node)
    }

    /// Whether a node is out of recovery, of this cluster, and not on an older timeline.
    fn writes_now(&self, node: NodeId, turn: &Turn<'_>) -> bool {
        matches!(standing(&self.cluster, &self.settings, node, turn.now),
            Standing::Writer(timeline)
                if self.cluster.lineage.is_none_or(|lineage| timeline >= lineage.timeline))
    }

    /// Whether a node is one of several that took the primary's place at once: nobody is written to
    /// until an operator decides between them.
    fn rivals(&self, node: NodeId, turn: &Turn<'_>) -> bool {
        matches!(claim(&self.cluster, &self.settings, turn.now),
            Claim::Contested(nodes) if nodes.contains(&node))
    }

    /// Whether a node of this cluster is out of recovery, on whatever timeline.
    fn writes_at_all(&self, node: NodeId, turn: &Turn<'_>) -> bool {
        let standing = standing(&self.cluster, &self.settings, node, turn.now);
        matches!(standing, Standing::Writer(_))
    }
}

// === impl Request ===

impl Request {
    /// The node it names.
    #[must_use]
    pub fn node(self) -> Option<NodeId> {
        match self {
            Self::Detach { node }
            | Self::Attach { node, .. }
            | Self::Promote { node, .. }
            | Self::Quarantine { node } => Some(node),
            Self::Switchover { to } => to,
            Self::CloseIdle => None,
        }
    }
}

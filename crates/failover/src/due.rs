//! When time alone would change something: what the one timer is armed for, and who is to be asked
//! again meanwhile.

use crate::machine::{Machine, Turn};
use crate::phase::{Goal, Phase, Step};
use crate::{Millis, NodeId, Promote, Status};

impl Machine {
    /// The earliest moment, after now, at which there is something to do though nothing happened.
    pub(crate) fn due(&self, now: Millis) -> Option<Millis> {
        let timeouts = &self.settings.timeouts;
        let mut due = Due { now, earliest: None };
        for running in &self.errands.running {
            due.at(running.until);
        }
        for attaching in &self.attaching {
            due.at(attaching.until);
        }
        if let Some(primary) = self.cluster.primary {
            let node = self.cluster.node(primary);
            let seen =
                if self.streaming() { node.seen.as_ref().map(|it| it.at) } else { node.alive };
            due.after(seen.filter(|_| self.cluster.granted), timeouts.evidence_max_age + 1);
            due.after(node.suspicion.streaming, timeouts.evidence_max_age + 1);
        }
        match &self.phase {
            Phase::Steady | Phase::Promoting(_) => {}
            Phase::Bereft(bereft) => {
                due.at(bereft.decide_at);
                due.after(bereft.claimed, timeouts.discovery);
            }
            Phase::Fencing(fencing) => {
                due.at(fencing.until);
                due.at(fencing.positions_until);
            }
            Phase::CatchingUp(catching) => due.at(catching.until),
            Phase::Seeking(seeking) => {
                due.at(seeking.settled);
                if let Some(until) = seeking.until {
                    due.at(until);
                }
            }
            Phase::Following(following) => {
                for follower in following.left.iter().filter(|_| following.current.is_none()) {
                    due.at(follower.not_before);
                }
                if let Some(Step::Verifying { until, .. }) =
                    following.current.as_ref().map(|current| current.step)
                {
                    due.at(until);
                }
            }
        }
        if !self.wanted().is_empty() {
            due.after(self.asked, timeouts.observe_every);
        }
        due.earliest
    }

    /// Asks again those whose answer something waits for.
    pub(crate) fn keep_asking(&mut self, turn: &mut Turn<'_>) {
        let wanted = self.wanted();
        self.ask(turn, wanted);
    }

    fn wanted(&self) -> Vec<NodeId> {
        let mut nodes: Vec<NodeId> =
            match &self.phase {
                Phase::Bereft(_) | Phase::Steady | Phase::Promoting(_) => Vec::new(),
                Phase::Fencing(fencing) => {
                    let run = self.run.as_ref();
                    let seeks = run.is_some_and(|run| matches!(run.goal, Goal::Promote { .. }))
                        && self.settings.promote != Promote::Observe;
                    let mut standbys = self.standbys();
                    standbys.retain(|id| {
                        seeks
                            && self.cluster.node(*id).seen.as_ref().is_none_or(|seen| {
                                seen.at < fencing.released.unwrap_or(fencing.began)
                            })
                    });
                    standbys
                }
                Phase::CatchingUp(catching) => {
                    self.cluster.primary.into_iter().chain([catching.to]).collect()
                }
                Phase::Seeking(_) => self
                    .cluster
                    .ids()
                    .filter(|id| self.cluster.node(*id).status != Status::Unused)
                    .collect(),
                Phase::Following(following) => match &following.current {
                    Some(current) if matches!(current.step, Step::Verifying { .. }) => {
                        vec![current.follower.node]
                    }
                    _ => Vec::new(),
                },
            };
        for attaching in &self.attaching {
            if !nodes.contains(&attaching.node) {
                nodes.push(attaching.node);
            }
        }
        nodes
    }
}

/// The earliest of several moments that are not past.
struct Due {
    now: Millis,
    earliest: Option<Millis>,
}

// === impl Due ===

impl Due {
    fn at(&mut self, moment: Millis) {
        if moment > self.now && self.earliest.is_none_or(|earliest| moment < earliest) {
            self.earliest = Some(moment);
        }
    }

    fn after(&mut self, since: Option<Millis>, wait: u64) {
        if let Some(since) = since {
            self.at(Millis(since.0 + wait));
        }
    }
}

//! What would happen if: the same rules, asked before they are needed.

use crate::candidate::{self, Terms};
use crate::machine::Machine;
use crate::roles::{Standing, standing};
use crate::{
    Choice, CommandKind, Lsn, Millis, Mode, NodeId, Promote, Refusal, Role, Sessions, Status,
};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Question {
    /// If this node were lost now.
    Loss(NodeId),
    /// If an operator asked for a switchover now.
    Switchover(Option<NodeId>),
}

/// What would happen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Plan {
    /// The node that would leave.
    pub node: Option<NodeId>,
    /// Whether it is the primary.
    pub primary: bool,
    /// Who would take over and why, or why nobody; none when nobody has to.
    pub winner: Option<Result<Choice, Refusal>>,
    /// Every other node: where its WAL stands, or why it could not take over.
    pub others: Vec<(NodeId, Result<Option<Lsn>, Refusal>)>,
    /// Whose sessions would be touched.
    pub sessions: Sessions,
    /// Which commands would run, and for which node.
    pub commands: Vec<(CommandKind, NodeId)>,
    /// Which standbys would be made to follow.
    pub follow: Vec<NodeId>,
    /// What stands in the way, or would be missed.
    pub missing: Vec<Refusal>,
}

impl Machine {
    /// What would happen, by what is known at `now`.
    #[must_use]
    pub fn plan(&self, now: Millis, question: Question) -> Plan {
        let node = match question {
            Question::Loss(node) => Some(node),
            Question::Switchover(_) => self.cluster.primary,
        };
        let mut plan = Plan {
            node,
            primary: node.is_some() && node == self.cluster.primary,
            winner: None,
            others: Vec::new(),
            sessions: Sessions::None,
            commands: Vec::new(),
            follow: Vec::new(),
            missing: Vec::new(),
        };
        let Some(node) = node.filter(|node| self.knows(*node)) else {
            plan.missing.push(match question {
                Question::Loss(node) => Refusal::NoSuchNode { node },
                Question::Switchover(_) => Refusal::NoPrimary,
            });
            return plan;
        };
        if !self.cluster.in_service(node) {
            let status = self.cluster.node(node).status;
            plan.missing.push(Refusal::NotInService { node, status });
            return plan;
        }
        // The machine as it would be with the node gone; everything below is asked of that.
        let mut then = self.clone();
        if matches!(question, Question::Loss(_)) {
            then.cluster.set(node, Status::Down, None, now);
        }
        let alone = then.cluster.others(Some(node)).is_empty();
        plan.sessions = if alone { Sessions::All } else { Sessions::BoundTo(node) };
        if !self.settings.allows_failover(node) {
            plan.sessions = Sessions::None;
            plan.missing.push(Refusal::FailoverDisallowed { node });
            return plan;
        }
        let runs_command =
            self.settings.commands.failover && self.settings.promote != Promote::Observe;
        if runs_command {
            plan.commands.push((CommandKind::Failover, node));
        }
        if plan.primary {
            then.plan_promotion(now, question, node, &mut plan);
        }
        if !self.quorum {
            plan.missing.push(Refusal::NoQuorum);
        }
        plan
    }

    fn plan_promotion(&self, now: Millis, question: Question, node: NodeId, plan: &mut Plan) {
        let planned = matches!(question, Question::Switchover(_));
        let named = match question {
            Question::Switchover(to) => to,
            Question::Loss(_) => None,
        };
        let not = [node];
        let terms = Terms { named, force: planned, anyway: false, not: &not, seen_after: None };
        for id in self.cluster.ids().filter(|id| *id != node && self.knows(*id)) {
            let verdict = match candidate::obstacle(&self.cluster, &self.settings, now, terms, id) {
                Some(refusal) if self.settings.mode == Mode::Streaming => Err(refusal),
                _ => Ok(self.cluster.node(id).seen.as_ref().and_then(|seen| seen.position())),
            };
            plan.others.push((id, verdict));
        }
        let mut winner = candidate::best(&self.cluster, &self.settings, now, terms);
        if planned && self.settings.mode != Mode::Streaming {
            winner = Err(Refusal::NotStreaming);
        } else if let Some(fixed) = self.settings.always_primary() {
            winner = Err(Refusal::AlwaysPrimary { node: fixed });
        } else if self.settings.promote == Promote::Observe {
            winner = Err(Refusal::OnlyObserving);
        } else if !planned && let Err(refusal) = self.automatic_failover_allowed(now) {
            winner = Err(refusal);
        }
        if let Err(refusal) = winner {
            plan.missing.push(refusal);
        }
        if let Ok(choice) = winner
            && self.settings.mode == Mode::Streaming
        {
            plan.follow = self
                .cluster
                .ids()
                .filter(|id| *id != choice.node && *id != node && self.cluster.in_service(*id))
                .filter(|id| self.cluster.node(*id).role == Role::Standby)
                .collect();
            if self.settings.commands.follow_primary {
                plan.commands
                    .extend(plan.follow.iter().map(|id| (CommandKind::FollowPrimary, *id)));
            }
            for id in &plan.follow {
                if standing(&self.cluster, &self.settings, *id, now) != Standing::Follower {
                    plan.missing.push(Refusal::NotFollowing { node: *id });
                }
            }
        }
        plan.winner = Some(winner);
    }
}

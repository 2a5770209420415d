//! A node returns, because an operator asked for it or because it was verified.
//!
//! Nothing is attached on somebody's word: the node is asked first. A stranger and a second primary
//! are refused whatever the operator says; a standby that is not seen to follow only without force.

use crate::errand::Job;
use crate::machine::{Machine, Turn};
use crate::phase::{Goal, Phase};
use crate::roles::{self, Standing, standing};
use crate::{Cause, Command, CommandKind, Effect, Millis, Mode, NodeId, Reason, Refusal, Sentence};
use crate::{Sessions, Status, Ticket};

/// A node that was asked to be attached and has not answered yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attaching {
    pub node: NodeId,
    pub force: bool,
    pub tickets: Vec<Ticket>,
    pub since: Millis,
    pub until: Millis,
}

impl Machine {
    /// An operator wants a node back.
    pub(crate) fn attach(
        &mut self,
        turn: &mut Turn<'_>,
        node: NodeId,
        force: bool,
        tickets: Vec<Ticket>,
    ) {
        let status = self.cluster.node(node).status;
        if self.cluster.in_service(node) {
            turn.answer(tickets, Err(Refusal::NotDown { node, status }));
            return;
        }
        if let Some(same) = self.attaching.iter_mut().find(|attaching| attaching.node == node) {
            same.tickets.extend(tickets);
            same.force |= force;
            return;
        }
        turn.say(Sentence::Requested { request: crate::Request::Attach { node, force } });
        let until = Millis(turn.now.0 + self.settings.timeouts.attach);
        self.attaching.push(Attaching { node, force, tickets, since: turn.now, until });
        turn.emit(Effect::ObserveRoles { nodes: vec![node] });
        turn.emit(Effect::CheckHealth { node });
    }

    /// Decides about nodes that have answered, or have not in time.
    pub(crate) fn attach_observed(&mut self, turn: &mut Turn<'_>) {
        let mut rest = Vec::new();
        for attaching in std::mem::take(&mut self.attaching) {
            let due = turn.now >= attaching.until;
            match self.attachable(&attaching, turn.now) {
                Ok(()) => {
                    if !self.cluster.in_service(attaching.node) {
                        self.cluster.node_mut(attaching.node).flaps = 0;
                        self.admit(turn, attaching.node);
                    }
                    turn.answer(attaching.tickets, Ok(()));
                }
                Err(Some(refusal)) => turn.answer(attaching.tickets, Err(refusal)),
                Err(None) if due => {
                    let node = attaching.node;
                    turn.answer(attaching.tickets, Err(Refusal::NoAnswer { node }));
                }
                Err(None) => rest.push(attaching),
            }
        }
        self.attaching = rest;
        self.resume_lower(turn);
    }

    /// Whether a node may be attached: yes, no because, or not known yet.
    fn attachable(&mut self, attaching: &Attaching, now: Millis) -> Result<(), Option<Refusal>> {
        let node = attaching.node;
        let known = self.cluster.node(node);
        if self.cluster.in_service(node) {
            return Ok(());
        }
        if known.status == Status::Unused {
            return Err(Some(Refusal::NoSuchNode { node }));
        }
        if known.alive.is_none_or(|alive| alive <= attaching.since) {
            return Err(None);
        }
        if !self.streaming() {
            return Ok(());
        }
        if known.seen.as_ref().is_none_or(|seen| seen.at <= attaching.since) {
            return Err(None);
        }
        match standing(&self.cluster, &self.settings, node, now) {
            Standing::Unseen => Err(None),
            Standing::Stranger => Err(Some(Refusal::Stranger { node })),
            Standing::Writer(timeline) => match &self.phase {
                // With no primary it may be one: that is seen, not asked.
                Phase::Bereft(_) => {
                    let reason = self.cluster.node_mut(node).reason.take();
                    if self.may_adopt(node, now) {
                        Ok(())
                    } else {
                        self.cluster.node_mut(node).reason = reason;
                        Err(Some(Refusal::SecondPrimary { node, timeline }))
                    }
                }
                _ => Err(Some(Refusal::SecondPrimary { node, timeline })),
            },
            Standing::Follower => Ok(()),
            Standing::Ahead(timeline) | Standing::Behind(timeline) => {
                let newest = self.cluster.lineage.map_or(timeline, |lineage| lineage.timeline);
                if timeline == newest && (attaching.force || !self.cluster.granted) {
                    Ok(())
                } else if timeline != newest {
                    Err(Some(Refusal::WrongTimeline { node, timeline, newest }))
                } else {
                    Err(Some(Refusal::NotFollowing { node }))
                }
            }
        }
    }

    /// A node is in service again.
    pub(crate) fn admit(&mut self, turn: &mut Turn<'_>, node: NodeId) {
        let old_main = self.cluster.main_node();
        turn.say(Sentence::FailingBack { node });
        self.cluster.set(node, Status::Up, None, turn.now);
        self.cluster.node_mut(node).suspicion = crate::suspicion::Suspicion::default();
        self.publish(turn, None, Sessions::None);
        self.save(turn);
        if self.settings.commands.failback {
            let command = Command {
                kind: CommandKind::Failback,
                node,
                new_main: self.cluster.main_node(),
                old_main,
                old_primary: self.cluster.primary,
            };
            self.send(turn, Job::Run(command));
        }
        turn.say(Sentence::FailbackDone { node });
    }

    /// In raw mode a lower node that is back in service is the main node again.
    fn resume_lower(&mut self, turn: &mut Turn<'_>) {
        let (Phase::Steady, Mode::Raw, Some(primary)) =
            (&self.phase, self.settings.mode, self.cluster.primary)
        else {
            return;
        };
        let lower = self.cluster.main_node().filter(|main| {
            *main < primary
                && self.cluster.node(*main).status == Status::Up
                && roles::serves(&self.cluster, &self.settings, *main, turn.now)
        });
        if let Some(lower) = lower {
            let main = Some(primary);
            let run = self.new_run(Cause::Resumed, Goal::Adopt(lower), main, main, turn.now);
            self.begin(turn, run);
        }
    }

    /// Lifts a quarantine by an operator's word: Pgpool-II's UP with UPDATE.
    pub(crate) fn lift(&mut self, turn: &mut Turn<'_>, node: NodeId, tickets: Vec<Ticket>) {
        let reason = self.cluster.node(node).reason;
        debug_assert!(matches!(reason, Some(Reason::SetAside | Reason::NoQuorum)));
        self.cluster.node_mut(node).suspicion = crate::suspicion::Suspicion::default();
        let result = match self.release(turn, node) {
            None => Ok(()),
            Some(_) => Err(Refusal::NotInService { node, status: Status::Fenced }),
        };
        turn.answer(tickets, result);
    }
}

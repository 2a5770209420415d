//! Follow primary: which standbys are made to follow the new primary, in what order, and what if one
//! cannot.
//!
//! One standby at a time, each with a deadline, a few tries and a growing pause between them. A
//! standby that follows already is left alone, and so is one that is lost. Success is seen: the
//! standby streams on the new timeline. With builtin promotion standbys go on serving reads
//! meanwhile; with commands they are degenerated first, as Pgpool-II does, because the command may
//! restart them.

use crate::errand::Job;
use crate::machine::{Machine, Turn};
use crate::phase::{Follower, Following, Phase, Pursuit, Step};
use crate::roles::{Standing, standing};
use crate::{Command, CommandKind, Lsn, Millis, NodeId, Outcome, Promote, Reason, Sentence};
use crate::{Sessions, Status};

impl Machine {
    /// Begins to make the others follow `primary`.
    pub(crate) fn begin_following(
        &mut self,
        turn: &mut Turn<'_>,
        primary: NodeId,
        old_primary: Option<NodeId>,
        position: Option<Lsn>,
    ) {
        let mut left = Vec::new();
        if self.streaming() && self.settings.promote != Promote::Observe {
            for id in self.cluster.ids().filter(|id| *id != primary) {
                if self.must_follow(id, turn.now) {
                    if self.is_beyond(id, position) {
                        self.cut_off(turn, id, Reason::Forked);
                    } else {
                        left.push(Follower { node: id, attempts: 0, not_before: turn.now });
                    }
                }
            }
        }
        if left.is_empty() {
            self.enter(Phase::Steady);
            return;
        }
        if self.settings.promote == Promote::Command {
            self.degenerate(turn, &left);
        }
        turn.say(Sentence::FollowBegun { nodes: left.iter().map(|it| it.node).collect(), primary });
        let following = Following { primary, old_primary, left, current: None };
        self.enter(Phase::Following(following));
    }

    /// Goes on with the follow: the next standby, or the verification of the present one.
    pub(crate) fn pursue(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        let Phase::Following(following) = &mut self.phase else { return };
        match following.current.clone() {
            Some(Pursuit { follower, step: Step::Verifying { since, until } }) => {
                let node = follower.node;
                let after =
                    self.cluster.node(node).seen.as_ref().is_some_and(|seen| seen.at > since);
                if after && self.follows(node, now) {
                    self.followed(turn, node);
                } else if now >= until {
                    self.failed_to_follow(turn, follower);
                }
            }
            Some(_) => {}
            None => self.pursue_next(turn),
        }
        if let Phase::Following(following) = &self.phase
            && following.left.is_empty()
            && following.current.is_none()
        {
            turn.say(Sentence::FollowDone { primary: following.primary });
            self.enter(Phase::Steady);
        }
    }

    /// What was sent out for the present standby has ended.
    pub(crate) fn pursued(&mut self, turn: &mut Turn<'_>, outcome: Outcome) {
        let now = turn.now;
        let Phase::Following(following) = &self.phase else { return };
        let (primary, old) = (following.primary, following.old_primary);
        let Some(Pursuit { follower, step }) = following.current.clone() else { return };
        if outcome != Outcome::Succeeded {
            self.failed_to_follow(turn, follower);
            return;
        }
        let hook = matches!(step, Step::Repointing(_)) && self.settings.commands.follow_primary;
        let step = if hook {
            let job = follow_command(follower.node, primary, old);
            Step::Commanding(self.send(turn, job))
        } else {
            self.asked = None;
            let until = Millis(now.0 + self.settings.timeouts.verify);
            Step::Verifying { since: now, until }
        };
        self.turn_to(Some(Pursuit { follower, step }));
    }

    fn turn_to(&mut self, pursuit: Option<Pursuit>) {
        if let Phase::Following(following) = &mut self.phase {
            following.current = pursuit;
        }
    }

    fn pursue_next(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        loop {
            let Phase::Following(following) = &mut self.phase else { return };
            let (primary, old) = (following.primary, following.old_primary);
            let Some(at) = following.left.iter().position(|next| next.not_before <= now) else {
                return;
            };
            let follower = following.left.remove(at);
            let node = follower.node;
            if self.follows(node, now) {
                // It found its own way.
                self.followed(turn, node);
                continue;
            }
            let builtin =
                self.settings.promote == Promote::Builtin && self.cluster.in_service(node);
            let step = if builtin {
                turn.say(Sentence::Repointing { node, primary });
                Step::Repointing(self.send(turn, Job::Follow { standby: node, primary }))
            } else {
                turn.say(Sentence::FollowCommand { node });
                Step::Commanding(self.send(turn, follow_command(node, primary, old)))
            };
            self.turn_to(Some(Pursuit { follower, step }));
            return;
        }
    }

    fn followed(&mut self, turn: &mut Turn<'_>, node: NodeId) {
        self.turn_to(None);
        turn.say(Sentence::Follows { node });
        if self.cluster.node(node).status != Status::Up {
            self.admit(turn, node);
        }
    }

    fn failed_to_follow(&mut self, turn: &mut Turn<'_>, mut follower: Follower) {
        let node = follower.node;
        let settings = self.settings.follow;
        follower.attempts += 1;
        let again = follower.attempts < settings.attempts;
        let pause = (settings.backoff << (follower.attempts - 1).min(16)).min(settings.backoff_max);
        follower.not_before = Millis(turn.now.0 + pause);
        turn.say(Sentence::FollowFailed { node, retry_after: again.then_some(pause) });
        if let Phase::Following(following) = &mut self.phase {
            following.current = None;
            if again {
                following.left.push(follower);
            }
        }
        if !again && self.cluster.in_service(node) {
            self.cut_off(turn, node, Reason::NotFollowing);
        }
    }

    /// Whether a node has to be made to follow: standbys in service, and with a
    /// `follow_primary_command` those that are down, which it may revive.
    fn must_follow(&self, id: NodeId, now: Millis) -> bool {
        if self.follows(id, now) {
            return false;
        }
        let node = self.cluster.node(id);
        let command = self.settings.commands.follow_primary;
        match node.status {
            Status::Up | Status::Waiting => self.settings.promote == Promote::Builtin || command,
            Status::Down | Status::Fenced => {
                command && !matches!(node.reason, Some(Reason::Operator | Reason::Stranger) | None)
            }
            Status::Unused | Status::Quarantined => false,
        }
    }

    /// Whether a standby has WAL that the promoted one never had. On the new timeline it has the new
    /// primary's, however far that goes.
    fn is_beyond(&self, id: NodeId, position: Option<Lsn>) -> bool {
        let newest = self.cluster.lineage.map(|lineage| lineage.timeline);
        let own = self.cluster.node(id).seen.as_ref();
        let own = own.filter(|seen| !seen.writes() && Some(seen.timeline) != newest);
        let own = own.and_then(|seen| seen.position());
        self.cluster.in_service(id) && position.is_some() && own > position
    }

    fn degenerate(&mut self, turn: &mut Turn<'_>, left: &[Follower]) {
        for follower in left {
            if self.cluster.in_service(follower.node) {
                turn.say(Sentence::FollowDegenerating { node: follower.node });
                let down = Some(Reason::NotFollowing);
                self.cluster.set(follower.node, Status::Down, down, turn.now);
                self.publish(turn, Some(follower.node), Sessions::BoundTo(follower.node));
            }
        }
        self.save(turn);
    }

    fn follows(&self, node: NodeId, now: Millis) -> bool {
        standing(&self.cluster, &self.settings, node, now) == Standing::Follower
    }
}

fn follow_command(node: NodeId, primary: NodeId, old: Option<NodeId>) -> Job {
    Job::Run(Command {
        kind: CommandKind::FollowPrimary,
        node,
        new_main: Some(primary),
        old_main: old,
        old_primary: old,
    })
}

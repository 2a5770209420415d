//! Which node is the primary, from what the nodes say about themselves.

use crate::{
    Millis, NodeId, NodeView, Role, RoleObservation, Status, SystemIdentifier, Timeline, Topology,
};

/// What this cluster is known to be, from all evidence so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The cluster's identity: that of the first primary seen.
    pub system_identifier: Option<SystemIdentifier>,
    /// The newest timeline a primary of this cluster was seen on.
    pub timeline: Option<Timeline>,
}

/// Why a node that answers is not in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objection {
    /// It belongs to another cluster.
    OtherCluster {
        /// What it says.
        found: SystemIdentifier,
        /// What this cluster is.
        expected: SystemIdentifier,
    },
    /// It takes writes on a timeline older than the newest this cluster has seen.
    OldTimeline {
        /// What it says.
        found: Timeline,
        /// The newest.
        newest: Timeline,
    },
    /// Another node claims to be the primary on the same timeline; nothing decides between them.
    SecondPrimary(NodeId),
}

/// A snapshot, and what was found wrong on the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// The snapshot; its epoch is the caller's to set.
    pub topology: Topology,
    /// What is known now.
    pub known: Known,
    /// Nodes that answer and are not in service, and why.
    pub objections: Vec<(NodeId, Objection)>,
}

/// Reads a snapshot out of the latest answer of each node; `None` is a node that did not answer its
/// last check. Answers older than `max_age` milliseconds do not count.
///
/// The primary is the one node out of recovery on the newest timeline of this cluster.
#[must_use]
pub fn discover(
    known: Known,
    answers: &[Option<RoleObservation>],
    now: Millis,
    max_age: u64,
) -> Discovery {
    let fresh: Vec<Option<&RoleObservation>> = answers
        .iter()
        .map(|answer| answer.as_ref().filter(|answer| now.since(answer.at) <= max_age))
        .collect();
    let writers = || fresh.iter().flatten().filter(|answer| answer.writes());

    // The cluster is named by the first primary seen. With several strangers at once, none is.
    let system_identifier = known.system_identifier.or_else(|| {
        let mut seen = fresh.iter().flatten().map(|answer| answer.system_identifier);
        let first = seen.next()?;
        (seen.all(|other| other == first) && writers().next().is_some()).then_some(first)
    });
    let ours = |answer: &RoleObservation| Some(answer.system_identifier) == system_identifier;
    let seen = writers().filter(|answer| ours(answer)).map(|answer| answer.timeline).max();
    let timeline = known.timeline.max(seen);

    let candidates: Vec<NodeId> = writers()
        .filter(|answer| ours(answer) && Some(answer.timeline) == timeline)
        .map(|answer| answer.node)
        .collect();
    let primary = match candidates[..] {
        [only] => Some(only),
        _ => None,
    };

    let mut objections = Vec::new();
    let nodes = fresh
        .iter()
        .map(|answer| {
            let Some(answer) = answer else {
                return NodeView { status: Status::Down, role: Role::Unknown };
            };
            let role = if answer.writes() { Role::Primary } else { Role::Standby };
            let objection = match (system_identifier, timeline) {
                (Some(expected), _) if answer.system_identifier != expected => {
                    Some(Objection::OtherCluster { found: answer.system_identifier, expected })
                }
                (_, Some(newest)) if answer.writes() && answer.timeline < newest => {
                    Some(Objection::OldTimeline { found: answer.timeline, newest })
                }
                _ if answer.writes() && primary.is_none() => candidates
                    .iter()
                    .find(|other| **other != answer.node)
                    .map(|other| Objection::SecondPrimary(*other)),
                _ => None,
            };
            let status = match objection {
                None => Status::Up,
                Some(objection) => {
                    objections.push((answer.node, objection));
                    Status::Fenced
                }
            };
            NodeView { status, role }
        })
        .collect();
    let topology = Topology { primary, nodes, ..Topology::default() };
    Discovery { topology, known: Known { system_identifier, timeline }, objections }
}

// === impl Objection ===

impl std::fmt::Display for Objection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OtherCluster { found, expected } => write!(
                f,
                "it belongs to another cluster: its system identifier is {}, this cluster's is {}",
                found.0, expected.0
            ),
            Self::OldTimeline { found, newest } => write!(
                f,
                "it takes writes on timeline {}, and this cluster is on timeline {}: make it a standby \
                 of the present primary",
                found.0, newest.0
            ),
            Self::SecondPrimary(other) => write!(
                f,
                "it and node {other} both take writes on the same timeline: stop one of them"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Lsn, WalPosition};

    const CLUSTER: SystemIdentifier = SystemIdentifier(7);
    const MAX_AGE: u64 = 5_000;

    fn answer(node: u16, writes: bool, timeline: u32) -> Option<RoleObservation> {
        let wal = if writes {
            WalPosition::Writing { current: Lsn(1) }
        } else {
            WalPosition::Recovering {
                received: None,
                replayed: None,
                streaming: true,
                sender: None,
            }
        };
        Some(RoleObservation {
            node: NodeId(node),
            at: Millis(1_000),
            system_identifier: CLUSTER,
            timeline: Timeline(timeline),
            wal,
        })
    }

    fn known() -> Known {
        Known { system_identifier: Some(CLUSTER), timeline: Some(Timeline(1)) }
    }

    fn at(known: Known, answers: &[Option<RoleObservation>]) -> Discovery {
        discover(known, answers, Millis(1_500), MAX_AGE)
    }

    #[test]
    fn the_node_out_of_recovery_is_the_primary_whatever_its_number() {
        let found = at(Known::default(), &[answer(0, false, 1), answer(1, true, 1), None]);
        assert_eq!(found.topology.primary, Some(NodeId(1)));
        assert_eq!(found.known, known());
        let status: Vec<_> = found.topology.nodes.iter().map(|node| node.status).collect();
        assert_eq!(status, [Status::Up, Status::Up, Status::Down]);
        assert_eq!(found.objections, []);
    }

    #[test]
    fn evidence_expires() {
        let answers = [answer(0, true, 1)];
        let found = discover(known(), &answers, Millis(1_000 + MAX_AGE), MAX_AGE);
        assert_eq!(found.topology.primary, Some(NodeId(0)));
        let found = discover(known(), &answers, Millis(1_001 + MAX_AGE), MAX_AGE);
        assert_eq!(found.topology.primary, None);
        assert_eq!(found.topology.nodes[0].status, Status::Down);
    }

    #[test]
    fn the_old_primary_is_fenced_even_while_the_new_one_does_not_answer() {
        let found = at(known(), &[answer(0, true, 1), answer(1, true, 2)]);
        assert_eq!(found.topology.primary, Some(NodeId(1)));
        assert_eq!(found.topology.nodes[0].status, Status::Fenced);

        let later = at(found.known, &[answer(0, true, 1), None]);
        assert_eq!(later.topology.primary, None);
        let why = Objection::OldTimeline { found: Timeline(1), newest: Timeline(2) };
        assert_eq!(later.objections, [(NodeId(0), why)]);
    }

    #[test]
    fn two_primaries_on_one_timeline_stop_the_writes() {
        let found = at(known(), &[answer(0, true, 1), answer(1, true, 1)]);
        assert_eq!(found.topology.primary, None);
        assert_eq!(found.objections.len(), 2);
        assert_eq!(found.topology.nodes[0].status, Status::Fenced);
    }

    #[test]
    fn a_stranger_is_refused_and_named() {
        let mut stranger = answer(1, true, 9);
        if let Some(answer) = &mut stranger {
            answer.system_identifier = SystemIdentifier(8);
        }
        let found = at(known(), &[answer(0, true, 1), stranger.clone()]);
        assert_eq!(found.topology.primary, Some(NodeId(0)));
        let why = Objection::OtherCluster { found: SystemIdentifier(8), expected: CLUSTER };
        assert_eq!(found.objections, [(NodeId(1), why)]);
        assert_eq!(found.known, known(), "a stranger's timeline means nothing here");

        let found = at(Known::default(), &[answer(0, false, 1), stranger]);
        assert_eq!(found.topology.primary, None, "who is the stranger is not known yet");
    }
}

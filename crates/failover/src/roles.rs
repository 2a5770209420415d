//! What the observations amount to: where each node stands, and who may be written to.
//!
//! Nothing is compared as text: neither host names nor addresses. A node is known by its system
//! identifier, its timeline, whether it is in recovery and whether it streams. Where these cannot
//! tell, the answer is "cannot tell", and nobody is written to.

use crate::cluster::{Cluster, Reason};
use crate::{Millis, Mode, NodeId, Settings, Status, SystemIdentifier, Timeline};

/// Where a node stands, by its newest evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// No evidence that is young enough.
    Unseen,
    /// It belongs to another cluster.
    Stranger,
    /// It takes writes.
    Writer(Timeline),
    /// It streams on the newest timeline.
    Follower,
    /// It is in recovery on the newest timeline or an older one, and does not (yet) follow.
    Behind(Timeline),
    /// It is in recovery on a timeline newer than any primary's.
    Ahead(Timeline),
}

/// Who claims to be the primary, and whether the claim can be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nobody who could be believed.
    None,
    /// Exactly this one.
    One(NodeId),
    /// Several, and nothing decides between them.
    Contested(Vec<NodeId>),
}

/// Where a node stands.
pub(crate) fn standing(
    cluster: &Cluster,
    settings: &Settings,
    id: NodeId,
    now: Millis,
) -> Standing {
    let Some(seen) = cluster.fresh(id, now, settings.timeouts.evidence_max_age) else {
        return Standing::Unseen;
    };
    if !answered_since(cluster, id) {
        return Standing::Unseen;
    }
    if settings.mode != Mode::Streaming {
        return Standing::Writer(seen.timeline);
    }
    let Some(lineage) = cluster.lineage else {
        return if seen.writes() {
            Standing::Writer(seen.timeline)
        } else {
            Standing::Behind(seen.timeline)
        };
    };
    if seen.system_identifier != lineage.system_identifier {
        Standing::Stranger
    } else if seen.writes() {
        Standing::Writer(seen.timeline)
    } else if seen.timeline > lineage.timeline {
        Standing::Ahead(seen.timeline)
    } else if seen.timeline == lineage.timeline && seen.streams() {
        Standing::Follower
    } else {
        Standing::Behind(seen.timeline)
    }
}

/// Whether there is evidence, young enough, that a node serves.
pub(crate) fn serves(cluster: &Cluster, settings: &Settings, id: NodeId, now: Millis) -> bool {
    let max_age = settings.timeouts.evidence_max_age;
    cluster.node(id).alive.is_some_and(|at| now.since(at) <= max_age)
}

/// Who may be believed to be the primary of a streaming cluster.
pub(crate) fn claim(cluster: &Cluster, settings: &Settings, now: Millis) -> Claim {
    let max_age = settings.timeouts.evidence_max_age;
    let fixed = settings.always_primary();
    let mut newest = cluster.lineage.map(|lineage| lineage.timeline);
    let mut writers: Vec<(NodeId, Timeline, SystemIdentifier)> = Vec::new();
    for id in cluster.ids() {
        let Some(seen) = cluster.fresh(id, now, max_age) else { continue };
        if cluster.lineage.is_some_and(|known| known.system_identifier != seen.system_identifier) {
            continue;
        }
        if is_renounced(cluster, id, seen.timeline) {
            continue;
        }
        // A standby that replays a newer timeline has heard of a primary which we have not: nobody
        // on an older one may be believed meanwhile.
        newest = newest.max(Some(seen.timeline));
        let welcome = cluster.node(id).reason != Some(Reason::Operator)
            && fixed.is_none_or(|fixed| fixed == id)
            && answered_since(cluster, id);
        if seen.writes() && welcome {
            writers.push((id, seen.timeline, seen.system_identifier));
        }
    }
    if cluster.lineage.is_none() && writers.iter().any(|writer| writer.2 != writers[0].2) {
        return Claim::Contested(writers.into_iter().map(|writer| writer.0).collect());
    }
    let newest_writer = writers.iter().map(|writer| writer.1).max();
    // The present primary stays while no other writer is newer; mere hearsay does not unseat it.
    let bar = if cluster.granted { newest_writer } else { newest };
    writers.retain(|writer| Some(writer.1) == bar);
    let known = cluster.lineage.map(|lineage| lineage.timeline);
    if bar.is_some() && bar == known && cluster.primary.is_some() {
        // On a timeline that already has its primary, only that one may claim it.
        writers.retain(|writer| Some(writer.0) == cluster.primary);
    }
    match writers.as_slice() {
        [] => Claim::None,
        [only] => Claim::One(only.0),
        several => Claim::Contested(several.iter().map(|writer| writer.0).collect()),
    }
}

/// Whether a node that went out of service has answered since: what it said before that is no sign
/// of its return.
pub(crate) fn answered_since(cluster: &Cluster, id: NodeId) -> bool {
    let node = cluster.node(id);
    matches!(node.status, Status::Up | Status::Waiting)
        || node.seen.as_ref().is_some_and(|seen| seen.at > node.since)
}

/// Whether an operator gave up what this node has on this timeline.
fn is_renounced(cluster: &Cluster, id: NodeId, timeline: Timeline) -> bool {
    cluster.renounced.is_some_and(|renounced| timeline <= renounced)
        && cluster.primary != Some(id)
        && !cluster.is_pending(id)
}

/// Whether every node has been heard of, for better or worse, within the age of evidence.
pub(crate) fn all_heard(cluster: &Cluster, settings: &Settings, now: Millis) -> bool {
    let max_age = settings.timeouts.evidence_max_age;
    cluster.ids().all(|id| {
        let node = cluster.node(id);
        node.status == Status::Unused
            || cluster.fresh(id, now, max_age).is_some()
            || settings.mode != Mode::Streaming && serves(cluster, settings, id, now)
            || node.failing.is_some_and(|at| now.since(at) <= max_age)
    })
}

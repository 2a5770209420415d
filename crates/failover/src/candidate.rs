//! Who is promoted: the candidate order, and the reasons to promote nobody.
//!
//! The order is: the right timeline, the most WAL, synchronous before asynchronous, the higher
//! priority, the lower id. The id comes last because it says nothing about data.

use crate::cluster::{Cluster, Reason};
use crate::{Lsn, Millis, Mode, NodeId, Refusal, Role, Settings, Status};

/// The one who wins, and what that costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Choice {
    /// The winner.
    pub node: NodeId,
    /// How far its WAL goes.
    pub position: Option<Lsn>,
    /// Bytes of WAL known to have been written that it lacks.
    pub loss: Option<u64>,
    /// What decided between it and the next one.
    pub rule: Rule,
}

/// What decided between two candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Rule {
    /// There was no other.
    Only,
    /// It has more WAL.
    Position,
    /// It is a synchronous standby.
    Synchronous,
    /// Its configured priority is higher.
    Priority,
    /// Its id is lower.
    Id,
    /// An operator named it.
    Named,
}

/// What a choice has to respect.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terms<'a> {
    /// Only this one.
    pub named: Option<NodeId>,
    /// Whatever data it lacks.
    pub force: bool,
    /// Even out of service or on an older timeline: an operator gives up what was newer.
    pub anyway: bool,
    /// Never these.
    pub not: &'a [NodeId],
    /// Positions seen before this do not count; none: any within the age of evidence.
    pub seen_after: Option<Millis>,
}

/// A standby that could be promoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub node: NodeId,
    pub position: Option<Lsn>,
    pub synchronous: bool,
    pub priority: u16,
}

/// The best node to take over, or why there is none.
pub(crate) fn best(
    cluster: &Cluster,
    settings: &Settings,
    now: Millis,
    terms: Terms<'_>,
) -> Result<Choice, Refusal> {
    if settings.mode != Mode::Streaming {
        return lowest(cluster, settings);
    }
    if cluster.lineage.is_none() && !terms.force {
        return Err(Refusal::UnknownLineage);
    }
    let ranked = ranking(cluster, settings, now, terms);
    let Some(first) = ranked.first() else { return Err(Refusal::NoCandidate) };
    let rule = match ranked.get(1) {
        _ if terms.named.is_some() => Rule::Named,
        None => Rule::Only,
        Some(next) if next.position != first.position => Rule::Position,
        Some(next) if next.synchronous != first.synchronous => Rule::Synchronous,
        Some(next) if next.priority != first.priority => Rule::Priority,
        Some(_) => Rule::Id,
    };
    let loss = loss(cluster, first.position);
    let choice = Choice { node: first.node, position: first.position, loss, rule };
    if terms.force {
        return Ok(choice);
    }
    if let Some(limit) = settings.max_data_loss_bytes {
        // Where nothing is known of the primary's position nothing can be promised either.
        let bytes = loss.unwrap_or(u64::MAX);
        if bytes > limit {
            return Err(Refusal::LossTooGreat { node: first.node, bytes, limit });
        }
    }
    confirmed_somewhere(cluster, settings, now, terms, &choice)?;
    Ok(choice)
}

/// All who could be promoted, the best first.
pub(crate) fn ranking(
    cluster: &Cluster,
    settings: &Settings,
    now: Millis,
    terms: Terms<'_>,
) -> Vec<Candidate> {
    let synchronous: &[NodeId] =
        cluster.synchrony.as_ref().map_or(&[], |synchrony| &synchrony.members);
    let mut ranked: Vec<Candidate> = cluster
        .ids()
        .filter(|id| terms.named.is_none_or(|named| named == *id))
        .filter(|id| obstacle(cluster, settings, now, terms, *id).is_none())
        .map(|node| Candidate {
            node,
            position: cluster.node(node).seen.as_ref().and_then(|seen| seen.position()),
            synchronous: synchronous.contains(&node),
            priority: settings.node(node).map_or(0, |node| node.priority),
        })
        .collect();
    ranked.sort_by(|a, b| {
        (b.position, b.synchronous, b.priority)
            .cmp(&(a.position, a.synchronous, a.priority))
            .then(a.node.cmp(&b.node))
    });
    ranked
}

/// What keeps a node from being a candidate.
pub(crate) fn obstacle(
    cluster: &Cluster,
    settings: &Settings,
    now: Millis,
    terms: Terms<'_>,
    id: NodeId,
) -> Option<Refusal> {
    let node = cluster.node(id);
    if !cluster.in_service(id) && !terms.anyway || terms.not.contains(&id) {
        return Some(Refusal::NotInService { node: id, status: node.status });
    }
    if settings.node(id).is_none_or(|node| node.priority == 0) && terms.named != Some(id) {
        return Some(Refusal::NeverPromoted { node: id });
    }
    let seen = cluster
        .fresh(id, now, settings.timeouts.evidence_max_age)
        .filter(|seen| terms.seen_after.is_none_or(|after| seen.at >= after));
    let Some(seen) = seen else { return Some(Refusal::NoAnswer { node: id }) };
    if seen.writes() {
        return Some(Refusal::SecondPrimary { node: id, timeline: seen.timeline });
    }
    match cluster.lineage {
        Some(lineage) if lineage.system_identifier != seen.system_identifier => {
            Some(Refusal::Stranger { node: id })
        }
        Some(lineage) if lineage.timeline != seen.timeline && !terms.anyway => {
            Some(Refusal::WrongTimeline {
                node: id,
                timeline: seen.timeline,
                newest: lineage.timeline,
            })
        }
        _ => None,
    }
}

/// Bytes known to have been written that a node at `position` lacks.
pub(crate) fn loss(cluster: &Cluster, position: Option<Lsn>) -> Option<u64> {
    let high = cluster.high_water.filter(|_| !cluster.unwatched)?;
    Some(high.0.saturating_sub(position.unwrap_or_default().0))
}

/// Under synchronous replication a commit may be known to the client and to one standby only. A
/// choice among too few of those who may have confirmed it could lose it.
fn confirmed_somewhere(
    cluster: &Cluster,
    settings: &Settings,
    now: Millis,
    terms: Terms<'_>,
    choice: &Choice,
) -> Result<(), Refusal> {
    let Some(synchrony) = cluster.synchrony.as_ref().filter(|synchrony| synchrony.needed > 0)
    else {
        return Ok(());
    };
    // Who was not connected when the primary was last asked cannot have been the only one to
    // confirm what came later, and what came before is below the high-water mark.
    let complete = choice.loss == Some(0);
    let could_know: Vec<NodeId> = synchrony
        .members
        .iter()
        .copied()
        .filter(|id| settings.synchronous_strict || !complete || synchrony.connected.contains(id))
        .collect();
    let max_age = settings.timeouts.evidence_max_age;
    // Who was rebuilt from another cluster, or went its own way, no longer knows what it confirmed.
    let heard = |id: &&NodeId| {
        cluster.nodes.get(id.index()).is_some()
            && cluster.fresh(**id, now, max_age).is_some_and(|seen| {
                terms.seen_after.is_none_or(|after| seen.at >= after)
                    && !seen.writes()
                    && cluster.lineage.is_some_and(|lineage| {
                        lineage.system_identifier == seen.system_identifier
                            && seen.timeline <= lineage.timeline
                    })
            })
    };
    let seen = could_know.iter().filter(heard).count();
    let needed = (could_know.len() + 1).saturating_sub(usize::from(synchrony.needed));
    if seen >= needed {
        Ok(())
    } else {
        Err(Refusal::CommitsUncertain {
            seen: u16::try_from(seen).unwrap_or(u16::MAX),
            needed: u16::try_from(needed).unwrap_or(u16::MAX),
        })
    }
}

/// Without streaming replication the lowest-numbered live node takes over.
fn lowest(cluster: &Cluster, settings: &Settings) -> Result<Choice, Refusal> {
    let mut live = cluster.ids().filter(|id| {
        cluster.node(*id).status == Status::Up
            && (settings.mode == Mode::Raw || cluster.node(*id).role != Role::Standby)
    });
    let Some(node) = live.next() else { return Err(Refusal::NoCandidate) };
    let rule = live.next().map_or(Rule::Only, |_| Rule::Id);
    Ok(Choice { node, position: None, loss: None, rule })
}

/// Whether a node could become a candidate again once there is nobody better.
pub(crate) fn may_return(reason: Option<Reason>) -> bool {
    matches!(
        reason,
        Some(
            Reason::Failed(_)
                | Reason::ShutDown
                | Reason::NoQuorum
                | Reason::NotFollowing
                | Reason::FormerPrimary
                | Reason::SecondPrimary
                | Reason::Stranger
                | Reason::Forked
        )
    )
}

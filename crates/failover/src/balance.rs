//! Which node a session reads from: chosen by weight among the standbys that are near enough, with a
//! random number that the caller brings.

use crate::{NodeId, Status, Topology};

/// What the choice has to know of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Reader {
    /// Its share of the reads, relative to the others'; 0: none.
    pub weight: u32,
    /// How many bytes of WAL it is behind, where that is known.
    pub behind: Option<u64>,
}

/// The load-balancing node of a session: a node in service with a weight, not more than
/// `max_behind` bytes behind. Where there is none, the primary; where there is none either, nobody.
///
/// `readers` has an entry per node, in order of the id; `random` is any number.
#[must_use]
pub fn load_balancing_node(
    topology: &Topology,
    readers: &[Reader],
    max_behind: Option<u64>,
    random: u64,
) -> Option<NodeId> {
    let share = |(index, reader): (usize, &Reader)| {
        let id = NodeId(u16::try_from(index).ok()?);
        let up = topology.nodes.get(index).is_some_and(|node| node.status == Status::Up);
        let primary = topology.primary == Some(id);
        let near = max_behind.is_none_or(|max| reader.behind.is_some_and(|behind| behind <= max));
        (up && reader.weight > 0 && (primary || near)).then_some((id, u64::from(reader.weight)))
    };
    let shares = || readers.iter().enumerate().filter_map(share);
    let total: u64 = shares().map(|(_, weight)| weight).sum();
    if total == 0 {
        return topology.primary;
    }
    let mut at = random % total;
    for (id, weight) in shares() {
        if at < weight {
            return Some(id);
        }
        at -= weight;
    }
    topology.primary
}

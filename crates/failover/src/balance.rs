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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Epoch, NodeView, Role};

    fn topology(statuses: &[Status], primary: Option<u16>) -> Topology {
        let nodes = statuses
            .iter()
            .map(|status| NodeView { status: *status, role: Role::Unknown })
            .collect();
        Topology { epoch: Epoch(1), primary: primary.map(NodeId), nodes }
    }

    fn reader(weight: u32, behind: u64) -> Reader {
        Reader { weight, behind: Some(behind) }
    }

    #[test]
    fn reads_are_shared_by_weight() {
        let topology = topology(&[Status::Up; 3], Some(0));
        let readers = [reader(0, 0), reader(1, 0), reader(3, 0)];
        let mut counts = [0; 3];
        for random in 0..400 {
            let node = load_balancing_node(&topology, &readers, None, random);
            counts[node.expect("somebody serves").index()] += 1;
        }
        assert_eq!(counts, [0, 100, 300]);
    }

    #[test]
    fn a_standby_too_far_behind_gets_no_reads() {
        let topology = topology(&[Status::Up; 3], Some(0));
        let unknown = Reader { weight: 1, behind: None };
        let readers = [reader(0, 0), reader(1, 5_000), unknown];
        assert_eq!(load_balancing_node(&topology, &readers, Some(100), 7), Some(NodeId(0)));
        assert_eq!(load_balancing_node(&topology, &readers, Some(5_000), 7), Some(NodeId(1)));
    }

    #[test]
    fn the_primary_is_never_behind() {
        let topology = topology(&[Status::Up; 2], Some(0));
        let readers = [Reader { weight: 1, behind: None }, reader(1, 5_000)];
        for random in 0..4 {
            let node = load_balancing_node(&topology, &readers, Some(100), random);
            assert_eq!(node, Some(NodeId(0)));
        }
    }

    #[test]
    fn only_nodes_in_service_serve() {
        let statuses = [Status::Down, Status::Fenced, Status::Quarantined];
        let topology = topology(&statuses, None);
        assert_eq!(load_balancing_node(&topology, &[reader(1, 0); 3], None, 7), None);
    }
}

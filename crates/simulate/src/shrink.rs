//! A failing history made as short as it gets while it still fails in the same way.

use crate::faults::{Plan, Shape};
use crate::mutant::Mutant;
use crate::world::World;

/// Leaves out faults, one after another and again from the beginning, as long as a promise is still
/// broken.
#[must_use]
pub fn shrink(seed: u64, shape: &Shape, plan: &Plan, mutant: Option<Mutant>) -> Plan {
    let fails = |plan: &Plan| World::run(seed, shape, plan, mutant, false).violation.is_some();
    let mut shortest = plan.clone();
    let mut at = 0;
    while at < shortest.len() {
        let mut shorter = shortest.clone();
        shorter.remove(at);
        if fails(&shorter) {
            shortest = shorter;
            at = 0;
        } else {
            at += 1;
        }
    }
    shortest
}

//! A seeded world that lies, lags, hangs and forgets, for the failover machine of understudy.
//!
//! One seed is one world: its settings, its nodes, everything that goes wrong in it and every
//! moment at which it does. After a storm of faults the world is repaired, and the machine has to
//! come to rest. The oracle watches all the time.

mod faults;
mod mutant;
mod node;
mod oracle;
mod random;
mod shrink;
mod world;

pub use faults::{Fault, Plan, Shape, Spoilt, TIMEOUTS, plan, shape};
pub use mutant::{MUTANTS, Mutant};
pub use oracle::{Oracle, Violation};
pub use random::Random;
pub use shrink::shrink;
pub use world::{Report, World};

/// Runs the world of one seed.
#[must_use]
pub fn simulate(seed: u64, mutant: Option<Mutant>) -> Report {
    let shape = shape(seed);
    let plan = plan(seed, &shape);
    World::run(seed, &shape, &plan, mutant, false)
}

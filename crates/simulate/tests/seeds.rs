//! Many worlds, no broken promise; and proof that a broken promise would be seen.

use simulate::{MUTANTS, Mutant, plan, shape, shrink, simulate};

/// Worlds in the ordinary test run.
const SEEDS: u64 = 40_000;
/// Steps they have to make together.
const STEPS: u64 = 10_000_000;

#[test]
fn no_promise_is_broken_in_ten_million_steps() {
    let mut steps = 0;
    let mut promotions = 0;
    for seed in 0..SEEDS {
        let report = simulate(seed, None);
        steps += report.steps;
        promotions += report.promotions;
        if let Some(violation) = report.violation {
            let shape = shape(seed);
            let shortest = shrink(seed, &shape, &plan(seed, &shape), None);
            panic!(
                "seed {seed}, at {}: {}\nfaults: {shortest:#?}\nreplay: make sim SEED={seed}",
                violation.at, violation.what
            );
        }
    }
    assert!(steps >= STEPS, "only {steps} steps");
    assert!(promotions > SEEDS / 4, "only {promotions} promotions: the storms are too mild");
}

#[test]
fn the_same_seed_is_the_same_world() {
    for seed in [3, 77, 1_234] {
        let (one, other) = (simulate(seed, None), simulate(seed, None));
        assert_eq!(one.steps, other.steps);
        assert_eq!(one.promotions, other.promotions);
    }
}

#[test]
fn a_failing_world_is_made_short_and_still_fails() {
    let seed = detected(Mutant::CommandTwice).expect("the mutant is seen");
    let shape = shape(seed);
    let whole = plan(seed, &shape);
    let shortest = shrink(seed, &shape, &whole, Some(Mutant::CommandTwice));
    assert!(shortest.len() <= whole.len());
    let report = simulate::World::run(seed, &shape, &shortest, Some(Mutant::CommandTwice), true);
    assert!(report.violation.is_some());
    let story = failover::story::write(&report.settings, &report.trace);
    let told = failover::story::tell(&story).expect("a recorded history can be read again");
    assert_eq!(story, told, "a recorded history tells the same story again");
}

/// The first seed, within the same budget, in which the oracle sees this planted fault.
fn detected(mutant: Mutant) -> Option<u64> {
    (0..SEEDS).find(|seed| simulate(*seed, Some(mutant)).violation.is_some())
}

#[test]
fn every_planted_fault_is_seen() {
    let unseen: Vec<Mutant> =
        MUTANTS.iter().copied().filter(|mutant| detected(*mutant).is_none()).collect();
    assert!(unseen.is_empty(), "the oracle is blind to {unseen:?}");
}

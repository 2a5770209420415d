//! Many worlds, no broken promise; and proof that a broken promise would be seen.

use simulate::{MUTANTS, Mutant, plan, shape, shrink, simulate};

/// Worlds in the ordinary test run, in two halves that may run side by side.
const SEEDS: u64 = 38_500;
/// Steps each half has to make.
const STEPS: u64 = 5_000_000;

#[test]
fn no_promise_is_broken_in_five_million_steps() {
    keep_every_promise(0..SEEDS / 2);
}

#[test]
fn no_promise_is_broken_in_five_million_more() {
    keep_every_promise(SEEDS / 2..SEEDS);
}

fn keep_every_promise(seeds: std::ops::Range<u64>) {
    let (mut steps, mut promotions) = (0, 0);
    for seed in seeds {
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
    assert!(promotions > SEEDS / 10, "only {promotions} promotions: the storms are too mild");
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

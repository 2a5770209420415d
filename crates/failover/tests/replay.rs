//! A recorded history shows the same decisions again.

use failover::{Event, Machine, Millis, NodeId, PhaseName, Settings, replay};

fn history() -> Vec<(Millis, Event)> {
    let failure = failover::Failure::Refused;
    let mut history = vec![(Millis(0), Event::Started { saved: None })];
    history.extend(
        (0..4).map(|at| (Millis(100 + at * 100), Event::HealthFailed { node: NodeId(1), failure })),
    );
    history
}

#[test]
fn a_replay_decides_what_the_machine_decided() {
    let settings = Settings::with_nodes(2);
    let mut machine = Machine::new(settings.clone());
    for ((at, event), decision) in history().into_iter().zip(replay(settings, history())) {
        let mut effects = Vec::new();
        machine.step(at, event.clone(), &mut effects);
        assert_eq!((decision.at, &decision.event), (at, &event));
        assert_eq!(decision.effects, effects);
        assert_eq!(decision.phase, PhaseName::Bereft);
    }
}

#[test]
fn a_replay_tells_the_sentences() {
    let said: Vec<String> = replay(Settings::with_nodes(2), history())
        .flat_map(|decision| decision.sentences)
        .collect();
    let lost = "health check failed on node 1 (timeout:0): connections are refused";
    assert!(said.iter().any(|sentence| sentence == lost), "{said:#?}");
}

#[test]
fn a_clock_that_goes_back_makes_nothing_young() {
    let mut machine = Machine::new(Settings::with_nodes(1));
    machine.step(Millis(5_000), Event::Started { saved: None }, &mut Vec::new());
    let mut effects = Vec::new();
    machine.step(Millis(10), Event::HealthPassed { node: NodeId(0) }, &mut effects);
    let mut other = Machine::new(Settings::with_nodes(1));
    other.step(Millis(5_000), Event::Started { saved: None }, &mut Vec::new());
    other.step(Millis(5_000), Event::HealthPassed { node: NodeId(0) }, &mut effects);
    assert_eq!(machine, other);
}

//! What would happen if: the answers come from the rules that would decide.

use failover::{
    CommandKind, Event, Lsn, Machine, Millis, Mode, NodeId, Promote, Question, Refusal,
    RoleObservation, Rule, Sessions, Settings, SystemIdentifier, Timeline, WalPosition, WorkerId,
};

fn seen(node: u16, lsn: u64, primary: bool) -> RoleObservation {
    let at = Some(Lsn(lsn));
    let wal = if primary {
        WalPosition::Writing { current: Lsn(lsn) }
    } else {
        WalPosition::Recovering { received: at, replayed: at, streaming: true, sender: None }
    };
    RoleObservation {
        node: NodeId(node),
        at: Millis(10),
        system_identifier: SystemIdentifier(1),
        timeline: Timeline(1),
        wal,
    }
}

fn running(settings: Settings) -> Machine {
    let mut machine = Machine::new(settings);
    let mut effects = Vec::new();
    machine.step(Millis(0), Event::Started { saved: None }, &mut effects);
    machine.step(Millis(0), Event::WorkerJoined { worker: WorkerId(0) }, &mut effects);
    let observations = vec![seen(0, 1000, true), seen(1, 900, false), seen(2, 950, false)];
    machine.step(Millis(10), Event::RolesObserved { observations }, &mut effects);
    machine
}

#[test]
fn the_loss_of_the_primary_names_winner_loss_and_sessions() {
    let mut settings = Settings::with_nodes(3);
    settings.commands.failover = true;
    settings.commands.follow_primary = true;
    let machine = running(settings);
    let plan = machine.plan(Millis(20), Question::Loss(NodeId(0)));
    let choice = plan.winner.expect("somebody has to").expect("and somebody can");
    assert_eq!((choice.node, choice.rule, choice.loss), (NodeId(2), Rule::Position, Some(50)));
    assert!(plan.primary);
    assert_eq!(plan.sessions, Sessions::BoundTo(NodeId(0)));
    assert_eq!(plan.follow, [NodeId(1)]);
    assert_eq!(
        plan.commands,
        [(CommandKind::Failover, NodeId(0)), (CommandKind::FollowPrimary, NodeId(1))]
    );
    assert_eq!(plan.others[0], (NodeId(1), Ok(Some(Lsn(900)))));
    assert!(plan.missing.is_empty(), "{:?}", plan.missing);
}

#[test]
fn what_the_plan_says_is_what_happens() {
    let machine = running(Settings::with_nodes(3));
    let planned = machine.plan(Millis(20), Question::Loss(NodeId(0)));
    let mut machine = machine;
    let mut effects = Vec::new();
    let failure = failover::Failure::Refused;
    for at in [1000, 1200, 1400] {
        let event = Event::HealthFailed { node: NodeId(0), failure };
        machine.step(Millis(at), event, &mut effects);
    }
    let epoch = machine.topology().epoch;
    let let_go = Event::WorkerLetGo { worker: WorkerId(0), node: NodeId(0), epoch };
    machine.step(Millis(1410), let_go, &mut effects);
    let mut observations = vec![seen(1, 900, false), seen(2, 950, false)];
    observations.iter_mut().for_each(|seen| seen.at = Millis(1420));
    effects.clear();
    machine.step(Millis(1420), Event::RolesObserved { observations }, &mut effects);
    let winner = planned.winner.and_then(Result::ok).map(|choice| choice.node);
    let promoted = effects.iter().find_map(|effect| match effect {
        failover::Effect::Promote { node, .. } => Some(*node),
        _ => None,
    });
    assert_eq!(promoted, winner);
    assert!(promoted.is_some());
}

#[test]
fn the_loss_of_a_standby_needs_no_winner() {
    let machine = running(Settings::with_nodes(3));
    let plan = machine.plan(Millis(20), Question::Loss(NodeId(2)));
    assert_eq!((plan.primary, plan.winner), (false, None));
    assert_eq!(plan.sessions, Sessions::BoundTo(NodeId(2)));
}

#[test]
fn a_switchover_asks_for_the_target_only() {
    let machine = running(Settings::with_nodes(3));
    let plan = machine.plan(Millis(20), Question::Switchover(Some(NodeId(1))));
    assert_eq!(plan.winner.and_then(Result::ok).map(|choice| choice.rule), Some(Rule::Named));
    assert_eq!(plan.node, Some(NodeId(0)));
    let plan = machine.plan(Millis(20), Question::Switchover(None));
    assert_eq!(plan.winner.and_then(Result::ok).map(|choice| choice.node), Some(NodeId(2)));
}

#[test]
fn what_is_missing_is_named() {
    let missing = |settings: Settings, now: u64, question: Question| {
        running(settings).plan(Millis(now), question).missing
    };
    let loss = Question::Loss(NodeId(0));
    let three = || Settings::with_nodes(3);
    let with = |change: &dyn Fn(&mut Settings)| {
        let mut settings = three();
        change(&mut settings);
        settings
    };
    let limited = with(&|settings| settings.max_data_loss_bytes = Some(10));
    assert_eq!(
        missing(limited, 20, loss),
        [Refusal::LossTooGreat { node: NodeId(2), bytes: 50, limit: 10 }]
    );
    assert_eq!(missing(three(), 60_000, loss), [Refusal::NoCandidate]);
    let never = with(&|settings| settings.max_automatic_failovers = Some(0));
    assert_eq!(missing(never, 20, loss), [Refusal::TooManyFailovers { limit: 0 }]);
    let observe = with(&|settings| settings.promote = Promote::Observe);
    assert_eq!(missing(observe, 20, loss), [Refusal::OnlyObserving]);
    let fixed = with(&|settings| settings.nodes[0].always_primary = true);
    assert_eq!(missing(fixed, 20, loss), [Refusal::AlwaysPrimary { node: NodeId(0) }]);
    let denied = with(&|settings| settings.nodes[0].allow_failover = false);
    assert_eq!(missing(denied, 20, loss), [Refusal::FailoverDisallowed { node: NodeId(0) }]);
    let nobody = Question::Loss(NodeId(9));
    assert_eq!(missing(three(), 20, nobody), [Refusal::NoSuchNode { node: NodeId(9) }]);

    let mut machine = running(three());
    machine.step(Millis(20), Event::QuorumChanged { held: false }, &mut Vec::new());
    assert_eq!(machine.plan(Millis(20), Question::Loss(NodeId(2))).missing, [Refusal::NoQuorum]);

    let mut machine = Machine::new(three());
    machine.step(Millis(0), Event::Started { saved: None }, &mut Vec::new());
    let plan = machine.plan(Millis(20), Question::Switchover(None));
    assert_eq!(plan.missing, [Refusal::NoPrimary]);
}

#[test]
fn a_detached_node_cannot_be_lost_again() {
    let mut machine = running(Settings::with_nodes(3));
    let request = failover::Request::Detach { node: NodeId(2) };
    let event = Event::OperatorAsked { ticket: failover::Ticket(1), request };
    machine.step(Millis(20), event, &mut Vec::new());
    let plan = machine.plan(Millis(30), Question::Loss(NodeId(2)));
    assert!(matches!(plan.missing.as_slice(), [Refusal::NotInService { .. }]));
}

#[test]
fn the_last_node_takes_all_sessions_with_it() {
    let mut settings = Settings::with_nodes(1);
    settings.mode = Mode::Raw;
    let mut machine = Machine::new(settings);
    machine.step(Millis(0), Event::Started { saved: None }, &mut Vec::new());
    machine.step(Millis(5), Event::HealthPassed { node: NodeId(0) }, &mut Vec::new());
    let plan = machine.plan(Millis(20), Question::Loss(NodeId(0)));
    assert_eq!(plan.sessions, Sessions::All);
    assert_eq!(plan.winner, Some(Err(Refusal::NoCandidate)));
}

#[test]
fn without_streaming_replication_the_next_node_takes_over_and_nobody_is_switched_to() {
    let machine = running(Settings { mode: Mode::Raw, ..Settings::with_nodes(3) });
    let plan = machine.plan(Millis(20), Question::Loss(NodeId(0)));
    let choice = plan.winner.expect("somebody has to").expect("and somebody can");
    assert_eq!((choice.node, choice.rule, choice.loss), (NodeId(1), Rule::Id, None));
    assert!(plan.others.iter().all(|(_, verdict)| verdict.is_ok()), "{:?}", plan.others);
    assert_eq!(plan.follow, []);
    for to in [None, Some(NodeId(2))] {
        let plan = machine.plan(Millis(20), Question::Switchover(to));
        assert_eq!(plan.winner, Some(Err(Refusal::NotStreaming)));
    }
}

#[test]
fn a_standby_that_does_not_stream_is_missed_by_the_follow() {
    let mut machine = running(Settings::with_nodes(3));
    let mut idle = seen(1, 900, false);
    idle.at = Millis(30);
    if let WalPosition::Recovering { streaming, .. } = &mut idle.wal {
        *streaming = false;
    }
    machine.step(Millis(30), Event::RolesObserved { observations: vec![idle] }, &mut Vec::new());
    let plan = machine.plan(Millis(40), Question::Loss(NodeId(0)));
    assert_eq!(plan.follow, [NodeId(1)]);
    assert_eq!(plan.missing, [Refusal::NotFollowing { node: NodeId(1) }]);
}

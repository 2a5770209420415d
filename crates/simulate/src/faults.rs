//! What may go wrong, drawn from a seed before the world begins to turn, so that a failing history
//! can be shortened by leaving faults out.

use failover::{
    Commands, FollowSettings, Mode, OnFailure, Promote, ReturnSettings, Settings, Timeouts,
};

use crate::random::Random;

/// One thing that goes wrong, or right again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A node's processes die at once.
    Crash(usize),
    /// A dead node starts again as what it was.
    Restart(usize),
    /// A former primary or broken standby is rebuilt as a standby of the true primary.
    Rebuild(usize),
    /// A node is stopped, or goes on.
    Freeze(usize, bool),
    /// The proxy can no longer reach a node, or can again.
    CutFromProxy(usize, bool),
    /// Two nodes can no longer reach each other, or can again.
    CutApart(usize, usize, bool),
    /// Connection slots of a node are exhausted, or free again.
    Fill(usize, bool),
    /// The resolver fails for the proxy, or works again.
    Unresolve(bool),
    /// A standby receives slowly, or at full speed again.
    Slow(usize, bool),
    /// Sessions report that their connections to a node broke.
    SessionsBreak(usize),
    /// A node announces its shutdown and stops.
    ShutDown(usize),
    /// Somebody promotes a standby behind our back.
    PromoteOutside(usize),
    /// A node is replaced by one of another cluster.
    Replace(usize),
    /// A worker stops obeying, or obeys again.
    HangWorker(usize, bool),
    /// A worker dies and is started again.
    RestartWorker(usize),
    /// The checker of a node says nothing for a while.
    SilenceChecker(usize),
    /// The proxy is killed and started again from its journal.
    RestartProxy,
    /// The next errands go wrong in this way.
    Spoil(Spoilt),
    /// The peers of this proxy disagree, or agree again.
    Quorum(bool),
    /// An operator types something.
    Type(u64),
    /// The settings file is read again.
    Reload,
}

/// How an errand goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoilt {
    /// It is refused, without effect.
    Fails,
    /// It takes effect, but nobody hears of it.
    ReplyLost,
    /// It hangs until its deadline and has no effect.
    Hangs,
    /// It hangs until its deadline after it took effect.
    HangsAfter,
    /// It says that it succeeded and did nothing.
    Lies,
    /// It takes long.
    Slow,
}

/// When each fault happens.
pub type Plan = Vec<(u64, Fault)>;

/// What one seed's world is like.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The settings of the machine.
    pub settings: Settings,
    /// How many standbys must confirm a commit; 0: none.
    pub synchronous: u16,
    /// How many workers the proxy has.
    pub workers: usize,
    /// How long things go wrong, in milliseconds.
    pub storm: u64,
}

/// Draws the shape of a seed's world.
#[must_use]
pub fn shape(seed: u64) -> Shape {
    let random = &mut Random::new(seed, 1);
    let count = u16::try_from(random.pick(&[2, 3, 3, 3, 4])).unwrap_or(3);
    let mut settings = Settings::with_nodes(count);
    settings.timeouts = TIMEOUTS;
    settings.mode = match random.below(20) {
        0 => Mode::Raw,
        1 => Mode::Logical,
        _ => Mode::Streaming,
    };
    settings.promote = match random.below(10) {
        0 => Promote::Observe,
        1 | 2 => Promote::Command,
        _ => Promote::Builtin,
    };
    let command = settings.promote == Promote::Command;
    settings.commands = Commands {
        failover: command && random.chance(95) || random.chance(50),
        failback: random.chance(30),
        follow_primary: random.chance(if command { 80 } else { 30 }),
    };
    settings.on_failure = if random.chance(50) { OnFailure::Stop } else { OnFailure::Continue };
    settings.max_data_loss_bytes =
        random.pick(&[None, Some(0), Some(0), Some(2_000), Some(100_000)]);
    settings.max_automatic_failovers = random.pick(&[None, None, Some(1), Some(5)]);
    settings.detach_false_primary = random.chance(50);
    settings.failover_on_backend_error = random.chance(20);
    settings.failover_on_backend_shutdown = random.chance(30);
    settings.agreement = random.chance(70);
    settings.standby_veto = random.chance(70);
    settings.synchronous_strict = random.chance(50);
    settings.queue = usize::try_from(random.pick(&[1, 4, 32])).unwrap_or(4);
    settings.follow = FollowSettings { attempts: 3, backoff: 200, backoff_max: 1_000 };
    settings.returns = ReturnSettings {
        auto_failback: random.chance(80),
        auto_failback_interval: 500,
        flap_max: 4_000,
        flap_window: 10_000,
    };
    if random.chance(10) {
        settings.timeouts.search = 0;
    }
    if random.chance(5) {
        settings.nodes[0].always_primary = true;
    }
    for node in &mut settings.nodes {
        node.allow_failover = !random.chance(5);
        node.priority = u16::try_from(random.pick(&[100, 100, 100, 50, 200, 0])).unwrap_or(100);
    }
    // With asynchronous replication the limit is what protects; under synchronous replication only
    // the limit of nothing goes together with the promise of no loss.
    let synchronous = if settings.mode == Mode::Streaming && random.chance(40) {
        u16::try_from(random.between(1, u64::from(count) - 1)).unwrap_or(1)
    } else {
        0
    };
    if synchronous > 0 {
        settings.max_data_loss_bytes = Some(0);
        settings.synchronous_strict = true;
    }
    Shape {
        settings,
        synchronous,
        workers: usize::try_from(random.between(1, 3)).unwrap_or(1),
        storm: random.between(10_000, 40_000),
    }
}

/// Draws what goes wrong in a seed's world.
#[must_use]
pub fn plan(seed: u64, shape: &Shape) -> Plan {
    let random = &mut Random::new(seed, 2);
    let count = shape.settings.nodes.len() as u64;
    let mut plan = Plan::new();
    for _ in 0..random.between(1, 14) {
        let at = random.between(1_500, shape.storm);
        let node = usize::try_from(random.below(count)).unwrap_or(0);
        let other = usize::try_from(random.below(count)).unwrap_or(0);
        let worker = usize::try_from(random.below(shape.workers as u64)).unwrap_or(0);
        let later = at + random.pick(&[150, 400, 1_000, 3_000, 8_000, 15_000]);
        let mut pair = |first, second| {
            plan.push((at, first));
            plan.push((later, second));
        };
        match random.below(42) {
            0..=7 => pair(Fault::Crash(node), Fault::Restart(node)),
            8 | 9 => pair(Fault::Crash(node), Fault::Rebuild(node)),
            10..=12 => pair(Fault::Freeze(node, true), Fault::Freeze(node, false)),
            13..=15 => pair(Fault::CutFromProxy(node, true), Fault::CutFromProxy(node, false)),
            16 | 17 => {
                pair(Fault::CutApart(node, other, true), Fault::CutApart(node, other, false));
            }
            18 => pair(Fault::Fill(node, true), Fault::Fill(node, false)),
            19 => pair(Fault::Unresolve(true), Fault::Unresolve(false)),
            20 | 21 => pair(Fault::Slow(node, true), Fault::Slow(node, false)),
            22 => plan.push((at, Fault::SessionsBreak(node))),
            23 => pair(Fault::ShutDown(node), Fault::Restart(node)),
            24 => plan.push((at, Fault::PromoteOutside(node))),
            25 => pair(Fault::Replace(node), Fault::Rebuild(node)),
            26 | 27 => pair(Fault::HangWorker(worker, true), Fault::HangWorker(worker, false)),
            28 => plan.push((at, Fault::RestartWorker(worker))),
            29 => plan.push((at, Fault::SilenceChecker(node))),
            30 | 31 => plan.push((at, Fault::RestartProxy)),
            32..=34 => {
                let spoilt = random.pick(&[
                    Spoilt::Fails,
                    Spoilt::ReplyLost,
                    Spoilt::ReplyLost,
                    Spoilt::Hangs,
                    Spoilt::HangsAfter,
                    Spoilt::Lies,
                    Spoilt::Slow,
                ]);
                plan.push((at, Fault::Spoil(spoilt)));
            }
            35 => pair(Fault::Quorum(false), Fault::Quorum(true)),
            36..=38 => plan.push((at, Fault::Type(random.number()))),
            39 => plan.push((at, Fault::Reload)),
            _ => {
                // The primary and the standby that has everything die together; another lags.
                let third = (node + 1) % shape.settings.nodes.len();
                plan.push((at.saturating_sub(900), Fault::Slow(third, true)));
                plan.push((at, Fault::Crash(node)));
                plan.push((at + random.below(300), Fault::Crash(other)));
                plan.push((later, Fault::Restart(other)));
                plan.push((later + 3_000, Fault::Restart(node)));
                plan.push((later + 3_000, Fault::Slow(third, false)));
            }
        }
    }
    plan.sort_by_key(|entry| entry.0);
    plan
}

/// The machine's waits, short enough that a whole failover fits into a few simulated seconds.
pub const TIMEOUTS: Timeouts = Timeouts {
    evidence_max_age: 3_000,
    fence: 500,
    positions: 300,
    catch_up: 1_000,
    observe_every: 150,
    promote: 2_000,
    settle: 1_500,
    search: 4_000,
    command: 2_000,
    grace: 500,
    follow: 1_500,
    verify: 1_500,
    attach: 1_500,
    patience: 2_500,
    discovery: 1_000,
    stray: 4_000,
};

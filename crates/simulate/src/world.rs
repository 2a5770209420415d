//! The world: nodes, networks, clients, workers and the errands of one seed, turned event by event.
//!
//! The machine is driven exactly as the coordinator drives it: facts in, effects carried out in
//! order. Everything the machine hears goes through [`World::tell`], everything it wants through
//! [`World::carry_out`]; in between stands nothing but, in the mutants, one planted fault.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use failover::{
    Broken, Command, CommandKind, Effect, Epoch, Errand, Event, Failure, Machine, Millis, Mode,
    NodeId, Outcome, PhaseName, Promote, Refusal, Request, Saved, Sentence, Settings, Status,
    Synchrony, Ticket, Timer, Topology, WorkerId,
};

use crate::faults::{Fault, Plan, Shape, Spoilt};
use crate::mutant::{Mutant, Tampering};
use crate::node::Node;
use crate::oracle::{Oracle, Truth, Violation};
use crate::random::Random;

/// How a seed's world went.
#[derive(Clone, Debug)]
pub struct Report {
    /// Steps of the machine.
    pub steps: u64,
    /// The first broken promise, if any.
    pub violation: Option<Violation>,
    /// Everything the machine heard since its last start, with the settings it then had.
    pub trace: Vec<(Millis, Event)>,
    /// Those settings.
    pub settings: Settings,
    /// Promotions commanded.
    pub promotions: u64,
    /// New primaries published.
    pub primaries: u64,
}

/// One seed's world.
pub struct World {
    now: u64,
    sequence: u64,
    agenda: BinaryHeap<Reverse<(u64, u64)>>,
    items: BTreeMap<u64, Item>,
    random: Random,
    shape: Shape,
    nodes: Vec<Node>,
    cut: Vec<bool>,
    apart: Vec<(usize, usize)>,
    unresolved: bool,
    silenced: Vec<u64>,
    gone: Vec<u64>,
    branches: u32,
    workers: Vec<Worker>,
    machine: Machine,
    life: u32,
    saved: Option<Saved>,
    spoils: VecDeque<Spoilt>,
    errands: BTreeMap<Errand, bool>,
    tickets: u64,
    proxied: BTreeMap<u32, u64>,
    oracle: Oracle,
    tampering: Tampering,
    steps: u64,
    promotions: u64,
    primaries: u64,
    trace: Option<Vec<(Millis, Event)>>,
    told: Option<Refusal>,
    effects: Vec<Effect>,
}

/// One worker of the proxy.
#[derive(Clone, Debug, Default)]
struct Worker {
    incarnation: u32,
    hung: bool,
    /// Messages it has not read yet, because it hangs.
    unread: Vec<Heard>,
    /// Where it sends writes.
    primary: Option<usize>,
    /// The node a transaction of it is open on.
    lease: Option<usize>,
    /// When its newest message arrives: messages keep their order.
    newest: u64,
}

#[derive(Clone, Debug)]
struct Heard {
    epoch: Epoch,
    primary: Option<usize>,
    let_go_of: Option<NodeId>,
}

enum Item {
    Tick,
    Check(usize),
    Probe,
    Client,
    Fault(Fault),
    Visit,
    Deliver(u32, Event),
    Hears(usize, u32, Heard),
    LetsGo(usize, u32, NodeId, Epoch),
    Perform(Option<Errand>, Act),
    Report(u32, Errand, Outcome),
}

#[derive(Clone, Copy)]
enum Act {
    Nothing,
    Promote(usize),
    Follow(usize, usize),
}

const TICK: u64 = 50;
const CHECK: u64 = 700;
const PROBE: u64 = 700;
const CLIENT: u64 = 90;
const VISIT: u64 = 2_500;
/// From the end of the storm, the sum of all waits of the machine, several times over for what has
/// to be tried again.
const CALM: u64 = 60_000;

impl World {
    /// Runs one seed's world to its end.
    #[must_use]
    pub fn run(
        seed: u64,
        shape: &Shape,
        plan: &Plan,
        mutant: Option<Mutant>,
        traced: bool,
    ) -> Report {
        let mut world = Self::new(seed, shape, mutant, traced);
        for (at, fault) in plan {
            world.schedule(*at, Item::Fault(*fault));
        }
        world.begin();
        while world.oracle.violation.is_none() {
            let Some(Reverse((at, key))) = world.agenda.pop() else { break };
            let Some(item) = world.items.remove(&key) else { continue };
            world.now = at;
            if at > world.shape.storm + CALM {
                world.too_late();
                break;
            }
            if matches!(item, Item::Visit) && world.is_well() {
                break;
            }
            world.happen(item);
        }
        Report {
            steps: world.steps,
            violation: world.oracle.violation,
            trace: world.trace.unwrap_or_default(),
            settings: world.shape.settings,
            promotions: world.promotions,
            primaries: world.primaries,
        }
    }

    fn new(seed: u64, shape: &Shape, mutant: Option<Mutant>, traced: bool) -> Self {
        let count = shape.settings.nodes.len();
        let mut nodes: Vec<Node> = (0..count).map(Node::fresh).collect();
        if shape.settings.mode != Mode::Streaming {
            nodes.iter_mut().for_each(|node| node.writes = true);
        }
        let tampering = Tampering::of(mutant);
        let mut settings = shape.settings.clone();
        tampering.settings(&mut settings);
        Self {
            now: 0,
            sequence: 0,
            agenda: BinaryHeap::new(),
            items: BTreeMap::new(),
            random: Random::new(seed, 3),
            shape: shape.clone(),
            nodes,
            cut: vec![false; count],
            apart: Vec::new(),
            unresolved: false,
            silenced: vec![0; count],
            gone: vec![0; count],
            branches: 0,
            workers: vec![Worker::default(); shape.workers],
            machine: Machine::new(settings),
            life: 0,
            saved: None,
            spoils: VecDeque::new(),
            errands: BTreeMap::new(),
            tickets: 0,
            proxied: BTreeMap::new(),
            oracle: Oracle::new(&shape.settings, shape.synchronous > 0),
            tampering,
            steps: 0,
            promotions: 0,
            primaries: 0,
            trace: traced.then(Vec::new),
            told: None,
            effects: Vec::new(),
        }
    }

    fn begin(&mut self) {
        self.schedule(0, Item::Tick);
        self.schedule(60, Item::Client);
        self.schedule(20, Item::Probe);
        for node in 0..self.nodes.len() {
            let at = self.random.below(CHECK);
            self.schedule(at, Item::Check(node));
        }
        self.schedule(self.shape.storm + 100, Item::Visit);
        self.start();
    }

    /// The proxy starts, with what its journal holds.
    fn start(&mut self) {
        if let Some(trace) = &mut self.trace {
            trace.clear();
        }
        let saved = self.saved.clone();
        self.tell(Event::Started { saved });
        for worker in 0..self.workers.len() {
            self.tell(Event::WorkerJoined { worker: WorkerId(small(worker)) });
        }
    }

    fn schedule(&mut self, at: u64, item: Item) {
        self.sequence += 1;
        self.agenda.push(Reverse((at, self.sequence)));
        self.items.insert(self.sequence, item);
    }

    fn soon(&mut self, low: u64, high: u64, item: Item) {
        let at = self.now + self.random.between(low, high);
        self.schedule(at, item);
    }

    fn happen(&mut self, item: Item) {
        match item {
            Item::Tick => self.tick(),
            Item::Check(node) => self.check(node),
            Item::Probe => {
                self.observe((0..self.nodes.len()).collect(), 1, 60);
                self.soon(PROBE, PROBE + 50, Item::Probe);
            }
            Item::Client => self.client(),
            Item::Fault(fault) => self.fault(fault),
            Item::Visit => self.visit(),
            Item::Deliver(life, event) => {
                if life == self.life {
                    self.tell(event);
                }
            }
            Item::Hears(worker, incarnation, heard) => self.hears(worker, incarnation, heard),
            Item::LetsGo(worker, incarnation, node, epoch) => {
                if self.workers[worker].incarnation != incarnation {
                    return;
                }
                if self.workers[worker].hung {
                    self.soon(100, 100, Item::LetsGo(worker, incarnation, node, epoch));
                    return;
                }
                if self.workers[worker].lease == Some(node.index()) {
                    self.workers[worker].lease = None;
                }
                if self.workers[worker].lease.is_none() {
                    self.oracle.expired.remove(&small(worker));
                }
                let worker = WorkerId(small(worker));
                self.tell(Event::WorkerLetGo { worker, node, epoch });
            }
            Item::Perform(errand, act) => self.perform(errand, act),
            Item::Report(life, errand, outcome) => {
                if life == self.life && self.errands.remove(&errand).is_some() {
                    self.tell(Event::CommandFinished { errand, outcome });
                }
            }
        }
    }

    // === the machine ===

    /// The machine hears of something.
    fn tell(&mut self, event: Event) {
        self.oracle.hear(self.now, &event);
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let Some((at, event)) = self.tampering.event(Millis(self.now), event) else { continue };
            if let Some(trace) = &mut self.trace {
                trace.push((at, event.clone()));
            }
            let mut effects = std::mem::take(&mut self.effects);
            effects.clear();
            self.machine.step(at, event, &mut effects);
            self.steps += 1;
            if let Err(broken) = self.machine.audit() {
                let broken: Broken = broken;
                self.oracle.accuse(self.now, format!("{broken:?}"));
            }
            events.extend(self.tampering.effects(&mut effects));
            let leases: Vec<Option<usize>> =
                self.workers.iter().map(|worker| worker.lease.or(worker.primary)).collect();
            let reachable: Vec<bool> = (0..self.nodes.len()).map(|id| self.reaches(id)).collect();
            let truth = Truth {
                now: self.now,
                nodes: &self.nodes,
                leases: &leases,
                reachable: &reachable,
                gone: &self.gone,
            };
            self.oracle.judge(&truth, &effects);
            for effect in effects.drain(..) {
                self.carry_out(effect);
            }
            self.effects = effects;
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Publish { topology, let_go_of, .. } => {
                self.primaries += u64::from(topology.primary.is_some());
                for worker in 0..self.workers.len() {
                    self.send(worker, &topology, let_go_of);
                }
            }
            Effect::Introduce { worker, topology, let_go_of } => {
                self.send(usize::from(worker.0), &topology, let_go_of);
            }
            Effect::Save(saved) => self.saved = Some(saved),
            Effect::RunCommand { errand, command, deadline } => {
                self.errand(errand, self.act_of(&command), deadline);
            }
            Effect::Promote { errand, node, deadline } => {
                self.promotions += 1;
                let act = if node.index() < self.nodes.len() {
                    Act::Promote(node.index())
                } else {
                    Act::Nothing
                };
                self.errand(errand, act, deadline);
            }
            Effect::Follow { errand, standby, primary, deadline } => {
                self.errand(errand, Act::Follow(standby.index(), primary.index()), deadline);
            }
            Effect::Cancel { errand } => {
                let life = self.life;
                self.soon(5, 60, Item::Report(life, errand, Outcome::TimedOut));
            }
            Effect::ObserveRoles { nodes } => {
                self.observe(nodes.into_iter().map(NodeId::index).collect(), 2, 30);
            }
            Effect::CheckHealth { node } => {
                let event = self.health(node.index());
                let life = self.life;
                self.soon(1, 10, Item::Deliver(life, event));
            }
            Effect::Arm { timer, after } => {
                let (life, event) = (self.life, Event::TimerFired { timer });
                self.schedule(self.now + after, Item::Deliver(life, event));
                if self.random.chance(2) {
                    // A timer that was replaced fires all the same.
                    let event = Event::TimerFired { timer: Timer(timer.0.saturating_sub(1)) };
                    self.soon(1, 500, Item::Deliver(life, event));
                }
            }
            Effect::Say(Sentence::Bereft { refusal }) => self.told = Some(refusal),
            Effect::Say(_) | Effect::Disarm { .. } | Effect::Answer { .. } | Effect::CloseIdle => {}
        }
    }

    // === the proxy ===

    fn send(&mut self, worker: usize, topology: &Topology, let_go_of: Option<NodeId>) {
        let heard = Heard {
            epoch: topology.epoch,
            primary: topology.primary.map(NodeId::index),
            let_go_of,
        };
        let at = self.now + self.random.between(0, 15);
        let at = at.max(self.workers[worker].newest);
        self.workers[worker].newest = at;
        let incarnation = self.workers[worker].incarnation;
        self.schedule(at, Item::Hears(worker, incarnation, heard));
    }

    fn hears(&mut self, worker: usize, incarnation: u32, heard: Heard) {
        let me = &mut self.workers[worker];
        if me.incarnation != incarnation {
            return;
        }
        if me.hung {
            me.unread.push(heard);
            return;
        }
        me.primary = heard.primary;
        let Some(node) = heard.let_go_of else { return };
        let busy = me.lease == Some(node.index());
        let item = Item::LetsGo(worker, incarnation, node, heard.epoch);
        if busy {
            self.soon(10, 300, item);
        } else {
            self.soon(0, 5, item);
        }
    }

    /// A client writes something through some worker.
    fn client(&mut self) {
        self.soon(CLIENT / 2, CLIENT, Item::Client);
        let index = usize::try_from(self.random.below(self.workers.len() as u64)).unwrap_or(0);
        let worker = &mut self.workers[index];
        let Some(target) = worker.lease.or(worker.primary) else { return };
        // Some transactions stay open over several statements.
        worker.lease = if worker.lease.is_none() && self.random.chance(30) {
            Some(target)
        } else if self.random.chance(50) {
            None
        } else {
            worker.lease
        };
        if self.reaches(target) && self.nodes[target].alive(self.now) && self.nodes[target].writes {
            self.nodes[target].lsn += self.random.between(20, 400);
            let (branch, lsn) = (self.nodes[target].branch(), self.nodes[target].lsn);
            // What a worker writes behind an expired fence is what operators were warned of.
            if !self.oracle.expired.contains(&small(index)) {
                self.proxied.insert(branch, lsn);
            }
            self.oracle.wrote(self.now, small(index), target);
        }
    }

    fn reaches(&self, node: usize) -> bool {
        !self.cut[node]
    }

    fn health(&self, node: usize) -> Event {
        let id = NodeId(small(node));
        let state = &self.nodes[node];
        let failure = if self.unresolved {
            Failure::Unresolved
        } else if self.cut[node] {
            Failure::Silent
        } else if !state.running {
            Failure::Refused
        } else if state.frozen {
            Failure::Mute
        } else if state.starting_until > self.now {
            Failure::StartingUp
        } else if state.full {
            Failure::TooManyClients
        } else {
            return Event::HealthPassed { node: id };
        };
        Event::HealthFailed { node: id, failure }
    }

    fn check(&mut self, node: usize) {
        let event = self.health(node);
        let failed = matches!(event, Event::HealthFailed { .. });
        let wait = if failed { 200 } else { CHECK };
        self.soon(wait, wait + 60, Item::Check(node));
        if self.silenced[node] > self.now {
            return;
        }
        let life = self.life;
        let slow =
            matches!(event, Event::HealthFailed { failure: Failure::Silent | Failure::Mute, .. });
        if slow {
            self.soon(100, 300, Item::Deliver(life, event));
        } else {
            self.tell(event);
        }
    }

    /// Nodes are asked about their roles; some answers come late, some not at all.
    fn observe(&mut self, nodes: Vec<usize>, low: u64, high: u64) {
        let mut together = Vec::new();
        let at = self.now + self.random.between(low, high);
        for id in nodes {
            let blind = self.unresolved || id >= self.nodes.len() || !self.reaches(id);
            if blind || !self.nodes[id].alive(self.now) || self.nodes[id].full {
                continue;
            }
            let observation = self.nodes[id].observe(id, self.now);
            let life = self.life;
            if self.shape.synchronous > 0 && self.nodes[id].writes {
                let event = Event::SynchronyObserved { synchrony: self.synchrony(id) };
                self.schedule(at, Item::Deliver(life, event));
            }
            if self.random.chance(3) {
                let event = Event::RolesObserved { observations: vec![observation] };
                self.soon(100, 2_500, Item::Deliver(life, event));
            } else if !self.random.chance(2) {
                together.push(observation);
            }
        }
        if !together.is_empty() {
            let life = self.life;
            let event = Event::RolesObserved { observations: together };
            self.schedule(at, Item::Deliver(life, event));
        }
    }

    fn synchrony(&self, primary: usize) -> Synchrony {
        let others = (0..self.nodes.len()).filter(|id| *id != primary);
        let connected = others.clone().filter(|id| self.streams_from(*id, primary));
        Synchrony {
            node: NodeId(small(primary)),
            at: Millis(self.now),
            needed: self.shape.synchronous,
            members: others.map(|id| NodeId(small(id))).collect(),
            connected: connected.map(|id| NodeId(small(id))).collect(),
        }
    }

    // === errands ===

    fn act_of(&self, command: &Command) -> Act {
        match (command.kind, command.new_main) {
            (CommandKind::Failover, Some(target))
                if self.shape.settings.promote == Promote::Command
                    && self.shape.settings.mode == Mode::Streaming
                    && command.old_primary.is_none_or(|old| old == command.node) =>
            {
                Act::Promote(target.index())
            }
            (CommandKind::FollowPrimary, Some(primary)) => {
                Act::Follow(command.node.index(), primary.index())
            }
            _ => Act::Nothing,
        }
    }

    fn errand(&mut self, errand: Errand, act: Act, deadline: u64) {
        self.errands.insert(errand, true);
        let life = self.life;
        match self.spoils.pop_front() {
            None => self.soon(20, 200, Item::Perform(Some(errand), act)),
            Some(Spoilt::Slow) => {
                self.soon(deadline / 2, deadline - 100, Item::Perform(Some(errand), act));
            }
            Some(Spoilt::Fails) => {
                let outcome = Outcome::Failed { code: Some(1) };
                self.soon(10, 100, Item::Report(life, errand, outcome));
            }
            Some(Spoilt::Lies) => {
                self.soon(10, 100, Item::Report(life, errand, Outcome::Succeeded));
            }
            Some(Spoilt::ReplyLost) => {
                self.oracle.forget(errand);
                self.errands.remove(&errand);
                self.soon(20, 200, Item::Perform(None, act));
            }
            Some(Spoilt::Hangs) => {
                self.schedule(self.now + deadline, Item::Report(life, errand, Outcome::TimedOut));
            }
            Some(Spoilt::HangsAfter) => {
                self.soon(20, 200, Item::Perform(None, act));
                self.schedule(self.now + deadline, Item::Report(life, errand, Outcome::TimedOut));
            }
        }
    }

    fn perform(&mut self, errand: Option<Errand>, act: Act) {
        // What was begun on a node goes on there even when nobody waits for it any more.
        let done = match act {
            Act::Nothing => true,
            Act::Promote(node) => {
                let able = self.reaches(node) && self.nodes[node].alive(self.now);
                if able && !self.nodes[node].writes {
                    self.branches += 1;
                    self.nodes[node].promote(self.branches);
                }
                able
            }
            Act::Follow(standby, primary) => {
                let able = self.reaches(standby)
                    && self.nodes[standby].alive(self.now)
                    && !self.nodes[standby].writes;
                if able {
                    self.nodes[standby].upstream = primary;
                }
                able
            }
        };
        if let Some(errand) = errand {
            let outcome = if done { Outcome::Succeeded } else { Outcome::Failed { code: Some(1) } };
            let life = self.life;
            self.soon(1, 30, Item::Report(life, errand, outcome));
        }
    }

    // === the nodes ===

    fn connected(&self, one: usize, other: usize) -> bool {
        !self.apart.iter().any(|pair| *pair == (one, other) || *pair == (other, one))
    }

    fn streams_from(&self, standby: usize, upstream: usize) -> bool {
        let (node, from) = (&self.nodes[standby], &self.nodes[upstream]);
        !node.writes
            && node.upstream == upstream
            && node.alive(self.now)
            && from.alive(self.now)
            && self.connected(standby, upstream)
            && node.precedes(from)
    }

    fn tick(&mut self) {
        self.schedule(self.now + TICK, Item::Tick);
        for id in 0..self.nodes.len() {
            let node = &self.nodes[id];
            if !self.reaches(id) || !node.running || node.frozen {
                self.gone[id] = self.now;
            }
        }
        if self.shape.settings.mode != Mode::Streaming {
            return;
        }
        for id in 0..self.nodes.len() {
            if self.nodes[id].writes || !self.nodes[id].alive(self.now) {
                continue;
            }
            let upstream = self.nodes[id].upstream;
            if upstream != id && self.streams_from(id, upstream) {
                let (extent, next, timeline) = {
                    let (node, from) = (&self.nodes[id], &self.nodes[upstream]);
                    let next = from.history.get(node.history.len()).copied();
                    (from.extent(node.branch()).unwrap_or(0), next, from.timeline)
                };
                let node = &mut self.nodes[id];
                node.streaming = true;
                node.lsn = extent.min(node.lsn + node.rate);
                if let Some(next) = next
                    && node.lsn >= next.1
                {
                    node.history.push(next);
                    node.timeline = timeline;
                }
            } else if !self.nodes[upstream].running || self.random.chance(5) {
                self.nodes[id].streaming = false;
            }
        }
        if self.shape.synchronous > 0 {
            self.acknowledge();
        }
    }

    /// Commits that enough standbys have are acknowledged to clients.
    fn acknowledge(&mut self) {
        for id in 0..self.nodes.len() {
            let node = &self.nodes[id];
            if !node.writes || !node.alive(self.now) || !self.reaches(id) || node.system != 42 {
                continue;
            }
            let branch = node.branch();
            let connected =
                |worker: &Worker| worker.lease == Some(id) || worker.primary == Some(id);
            if !self.workers.iter().any(connected) {
                self.proxied.remove(&branch);
                continue;
            }
            let Some(proxied) = self.proxied.get(&branch).copied() else { continue };
            let mut confirmed: Vec<u64> = (0..self.nodes.len())
                .filter(|other| *other != id && self.streams_from(*other, id))
                .filter_map(|other| self.nodes[other].extent(branch))
                .collect();
            confirmed.sort_unstable_by(|a, b| b.cmp(a));
            let needed = usize::from(self.shape.synchronous);
            if let Some(sure) = confirmed.get(needed - 1) {
                let acknowledged = self.oracle.ledger.entry(branch).or_insert(0);
                *acknowledged = (*acknowledged).max((*sure).min(proxied));
            }
        }
    }

    fn fault(&mut self, fault: Fault) {
        let now = self.now;
        match fault {
            Fault::Crash(node) => {
                // Who waited for a commit lost the connection: it will never be acknowledged.
                self.proxied.remove(&self.nodes[node].branch());
                self.nodes[node].running = false;
            }
            Fault::Restart(node) => {
                if !self.nodes[node].running {
                    self.nodes[node].running = true;
                    self.nodes[node].starting_until = now + self.random.between(50, 800);
                }
            }
            Fault::Rebuild(node) => self.rebuild(node),
            Fault::Freeze(node, frozen) => self.nodes[node].frozen = frozen,
            Fault::CutFromProxy(node, cut) => self.cut[node] = cut,
            Fault::CutApart(one, other, cut) => {
                self.apart.retain(|pair| *pair != (one, other));
                if cut {
                    self.apart.push((one, other));
                }
            }
            Fault::Fill(node, full) => self.nodes[node].full = full,
            Fault::Unresolve(unresolved) => self.unresolved = unresolved,
            Fault::Slow(node, slow) => self.nodes[node].rate = if slow { 60 } else { 1_000_000 },
            Fault::SessionsBreak(node) => {
                let node = NodeId(small(node));
                self.tell(Event::SessionFailed { node, failure: Failure::Broken });
            }
            Fault::ShutDown(node) => {
                let id = NodeId(small(node));
                self.tell(Event::ShutdownAnnounced { node: id });
                self.fault(Fault::Crash(node));
            }
            Fault::PromoteOutside(node) => self.promote_outside(node),
            Fault::Replace(node) => {
                let copy = Node { system: 99, timeline: 7, ..Node::fresh(0) };
                self.nodes[node] = Node { history: vec![(u32::MAX, 0)], lsn: 90_000, ..copy };
                if self.random.chance(50) {
                    self.nodes[node].writes = false;
                }
            }
            Fault::HangWorker(worker, hung) => {
                self.workers[worker].hung = hung;
                let incarnation = self.workers[worker].incarnation;
                for heard in std::mem::take(&mut self.workers[worker].unread) {
                    self.hears(worker, incarnation, heard);
                }
            }
            Fault::RestartWorker(worker) => {
                let incarnation = self.workers[worker].incarnation + 1;
                self.workers[worker] = Worker { incarnation, ..Worker::default() };
                let worker = WorkerId(small(worker));
                self.oracle.expired.remove(&worker.0);
                self.tell(Event::WorkerLeft { worker });
                self.tell(Event::WorkerJoined { worker });
            }
            Fault::SilenceChecker(node) => {
                self.silenced[node] = now + 4_000;
                self.tell(Event::CheckerSilent { node: NodeId(small(node)) });
            }
            Fault::RestartProxy => {
                self.life += 1;
                for worker in &mut self.workers {
                    let incarnation = worker.incarnation + 1;
                    *worker = Worker { incarnation, ..Worker::default() };
                }
                self.errands.clear();
                self.oracle.restarted();
                self.oracle.expired.clear();
                let mut settings = self.shape.settings.clone();
                self.tampering.settings(&mut settings);
                self.machine = Machine::new(settings);
                self.start();
            }
            Fault::Spoil(spoilt) => self.spoils.push_back(spoilt),
            Fault::Quorum(held) => self.tell(Event::QuorumChanged { held }),
            Fault::Type(what) => self.type_something(what),
            Fault::Reload => {
                let mut settings = self.shape.settings.clone();
                settings.returns.auto_failback = !settings.returns.auto_failback;
                self.shape.settings = settings.clone();
                self.tampering.settings(&mut settings);
                self.tell(Event::SettingsChanged { settings: Box::new(settings) });
            }
        }
    }

    fn promote_outside(&mut self, node: usize) {
        let streaming = self.shape.settings.mode == Mode::Streaming;
        if streaming && self.nodes[node].alive(self.now) && !self.nodes[node].writes {
            self.branches += 1;
            self.oracle.outside.insert(self.branches);
            self.nodes[node].promote(self.branches);
        }
    }

    /// A node is made a copy of the true primary, where there is one that can be copied.
    fn rebuild(&mut self, node: usize) {
        if self.shape.settings.mode != Mode::Streaming {
            let system = self.nodes[node].system;
            self.nodes[node] = Node { writes: true, system, ..Node::fresh(0) };
            return;
        }
        let primary = self.oracle.topology.primary.map(NodeId::index);
        match primary.filter(|id| *id != node && self.nodes[*id].alive(self.now)) {
            Some(primary) if self.nodes[primary].writes => {
                let original = self.nodes[primary].clone();
                self.nodes[node].copy(&original, primary);
            }
            _ => self.nodes[node].running = true,
        }
    }

    fn type_something(&mut self, what: u64) {
        let node = NodeId(small(usize::try_from((what >> 8) % 5).unwrap_or(0)));
        let force = (what >> 16).is_multiple_of(4);
        let request = match what % 10 {
            0 | 1 => Request::Detach { node },
            2 | 3 => Request::Attach { node, force },
            4 => Request::Promote { node, force },
            5 => Request::Switchover { to: None },
            6 | 7 => Request::Switchover { to: Some(node) },
            8 => Request::Quarantine { node },
            _ => Request::CloseIdle,
        };
        self.ask(request);
        if (what >> 20).is_multiple_of(3) {
            self.ask(request);
        }
    }

    fn ask(&mut self, request: Request) {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.tell(Event::OperatorAsked { ticket, request });
    }

    // === calm ===

    /// After the storm somebody repairs what is broken; failover itself is left to the machine.
    fn visit(&mut self) {
        self.schedule(self.now + VISIT, Item::Visit);
        let first = self.now < self.shape.storm + VISIT;
        self.cut.iter_mut().for_each(|cut| *cut = false);
        self.apart.clear();
        self.unresolved = false;
        self.spoils.clear();
        for worker in 0..self.workers.len() {
            self.fault(Fault::HangWorker(worker, false));
        }
        self.tell(Event::QuorumChanged { held: true });
        for node in &mut self.nodes {
            node.running = true;
            node.frozen = false;
            node.full = false;
            node.rate = 1_000_000;
        }
        if self.shape.settings.mode == Mode::Streaming {
            if self.nodes.iter().all(|node| node.system != 42) {
                // Nothing is left of the cluster: its backup is restored.
                self.oracle.ledger.clear();
                self.proxied.clear();
                self.nodes[0] = Node { timeline: self.oracle.newest_granted, ..Node::fresh(0) };
            }
            self.repair(first);
        }
        for node in 0..self.nodes.len() {
            let view = &self.machine.topology().nodes[node];
            if !matches!(view.status, Status::Up | Status::Waiting) {
                self.ask(Request::Attach { node: NodeId(small(node)), force: false });
            }
        }
        let justified = matches!(
            self.told,
            Some(
                Refusal::LossTooGreat { .. }
                    | Refusal::CommitsUncertain { .. }
                    | Refusal::TooManyFailovers { .. }
                    | Refusal::Contested
                    | Refusal::UnknownLineage
                    | Refusal::CommandFailed
            )
        );
        let ours = self.nodes.iter().filter(|node| node.system == 42);
        let lost = ours.map(|node| node.timeline).max() < Some(self.oracle.newest_granted);
        let nobody = self.shape.settings.nodes.iter().zip(&self.nodes);
        let nobody = nobody
            .filter(|(_, node)| node.system == 42 && node.timeline >= self.oracle.newest_granted)
            .all(|(settings, _)| settings.priority == 0);
        let renounced = self.oracle.renounced > 0;
        let justified = justified || lost || nobody || renounced;
        let waited = self.now > self.shape.storm + CALM / 3;
        if waited && justified && self.machine.phase() == PhaseName::Bereft {
            let best = (0..self.nodes.len())
                .filter(|node| self.nodes[*node].system == 42)
                .max_by_key(|node| {
                    let node = &self.nodes[*node];
                    (node.timeline, node.writes, node.lsn)
                });
            if let Some(best) = best {
                self.ask(Request::Promote { node: NodeId(small(best)), force: true });
            }
        }
    }

    fn repair(&mut self, first: bool) {
        let fixed = self.shape.settings.always_primary().map(NodeId::index);
        if let Some(fixed) = fixed.filter(|fixed| self.nodes[*fixed].system != 42) {
            let ours = (0..self.nodes.len()).filter(|node| self.nodes[*node].system == 42);
            let best = ours.max_by_key(|node| (self.nodes[*node].timeline, self.nodes[*node].lsn));
            let original = best.map_or_else(|| Node::fresh(0), |best| self.nodes[best].clone());
            self.nodes[fixed].copy(&original, fixed);
        }
        let seat = self.machine.topology().primary.or(self.machine.seat()).map(NodeId::index);
        let writers = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].writes && self.nodes[*node].system == 42);
        let ours = self.nodes.iter().filter(|node| node.system == 42);
        let top = ours.map(|node| node.timeline).max().unwrap_or(0);
        let newest = writers.max_by_key(|node| self.nodes[*node].timeline);
        // A writer that standbys have left behind is no primary, whoever else is missing.
        let newest =
            newest.filter(|node| self.nodes[*node].timeline >= top || self.oracle.renounced > 0);
        let true_primary = fixed.or(match (seat, newest) {
            (Some(seat), Some(newest))
                if self.nodes[seat].writes
                    && self.nodes[seat].system == 42
                    && (self.nodes[seat].timeline >= self.nodes[newest].timeline
                        || self.oracle.renounced > 0) =>
            {
                Some(seat)
            }
            (_, newest) => newest,
        });
        let Some(primary) = true_primary else {
            let nobody_promotes = match self.shape.settings.promote {
                Promote::Observe => true,
                Promote::Command => !self.shape.settings.commands.failover,
                Promote::Builtin => false,
            };
            let ours = (0..self.nodes.len()).filter(|node| self.nodes[*node].system == 42);
            let best = ours.max_by_key(|node| (self.nodes[*node].timeline, self.nodes[*node].lsn));
            let Some(best) = best else { return };
            for node in (0..self.nodes.len()).filter(|node| *node != best) {
                let original = self.nodes[best].clone();
                if !self.nodes[node].precedes(&original) {
                    self.nodes[node].copy(&original, best);
                    self.nodes[node].streaming = false;
                }
            }
            if nobody_promotes {
                self.promote_outside(best);
            }
            return;
        };
        if fixed.is_some() && !self.nodes[primary].writes {
            self.promote_outside(primary);
        }
        for node in (0..self.nodes.len()).filter(|node| *node != primary) {
            let original = self.nodes[primary].clone();
            if self.nodes[node].writes || !self.nodes[node].precedes(&original) {
                self.nodes[node].copy(&original, primary);
            } else if !first || self.shape.settings.promote != Promote::Builtin {
                self.nodes[node].upstream = primary;
            }
        }
    }

    /// Whether the machine has come to rest and serves everything that can be served.
    fn is_well(&self) -> bool {
        let topology = self.machine.topology();
        self.now > self.shape.storm + 500
            && self.machine.phase() == PhaseName::Steady
            && topology.primary.is_some()
            && topology.nodes.iter().all(|node| node.status == Status::Up)
            && self.oracle.all_answered()
    }

    fn too_late(&mut self) {
        let topology = self.machine.topology();
        let what = if self.oracle.all_answered() {
            format!(
                "no rest: {:?}, primary {:?}, nodes {:?}, told {:?}",
                self.machine.phase(),
                topology.primary,
                topology.nodes.iter().map(|node| node.status).collect::<Vec<_>>(),
                self.told,
            )
        } else {
            "somebody was never answered".into()
        };
        self.oracle.accuse(self.now, what);
    }
}

fn small(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

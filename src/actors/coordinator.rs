//! Coordinator: reads the topology out of what the nodes say, and has everybody route by it.
//!
//! It decides nothing itself: [`failover::discover`] does.

use std::{cell::Cell, rc::Rc, sync::Arc};

use actix::{Actor, AsyncContext, Context, Handler, Recipient};
use failover::{
    Epoch, NodeId, NodeView, RoleObservation, Status, Topology,
    discover::{Discovery, Known, Objection, discover},
};
use slog::Logger;
use tokio::time::Instant;

use super::{
    health::{HealthChecker, millis_since},
    message::{Apply, Checked},
    oversee::{Exit, Nursery, Parent, Restart, RestartPolicy, watch_children},
};
use crate::{
    conf::Settings,
    event,
    net::Tls,
    probe::{CheckFailure, Probe},
};

/// The actor.
#[derive(Debug)]
pub struct Coordinator {
    settings: Arc<Settings>,
    log: Logger,
    tls: Tls,
    publishes_to: Recipient<Apply>,
    checkers: Nursery<NodeId>,
    policies: Vec<RestartPolicy>,
    epoch: Instant,
    known: Rc<Cell<Known>>,
    answers: Vec<Option<RoleObservation>>,
    /// What was last logged of each node, so that only news is.
    told: Vec<Told>,
    topology: Topology,
}

/// The news of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    failure: Option<String>,
    objection: Option<Objection>,
}

// === impl Coordinator ===

impl Coordinator {
    /// `known` is kept by the parent, so that a restart forgets no timeline; `last` is the snapshot to
    /// go on from.
    #[must_use]
    pub fn new(
        settings: Arc<Settings>,
        log: Logger,
        tls: Tls,
        publishes_to: Recipient<Apply>,
        known: Rc<Cell<Known>>,
        last: &Topology,
    ) -> Self {
        let count = settings.nodes.len();
        Self {
            settings,
            log,
            tls,
            publishes_to,
            checkers: Nursery::new(),
            policies: vec![RestartPolicy::permanent(); count],
            epoch: Instant::now(),
            known,
            answers: vec![None; count],
            told: vec![Told::default(); count],
            topology: last.clone(),
        }
    }

    fn start_checker(&mut self, node: NodeId, ctx: &Context<Self>) {
        let settings = &self.settings;
        let limits = settings.health_check.clone();
        let period = limits.period;
        let configured = settings.nodes[node.index()].clone();
        let probe =
            Probe::new(node, configured, settings.monitor.clone(), limits, self.tls.clone());
        let (reports_to, epoch) = (ctx.address().recipient(), self.epoch);
        self.checkers.start(node, |_| HealthChecker::new(node, probe, period, reports_to, epoch));
    }

    /// Looks at all evidence anew, and publishes what has changed.
    fn consider(&mut self) {
        let max_age = self.settings.health_check.evidence_max_age;
        let max_age = u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX);
        let now = millis_since(self.epoch);
        let Discovery { mut topology, known, objections } =
            discover(self.known.get(), &self.answers, now, max_age);
        self.known.set(known);
        self.log_objections(&objections);
        // A node that has not been asked yet is waiting, not down.
        for (node, before) in topology.nodes.iter_mut().zip(&self.topology.nodes) {
            if node.status == Status::Down && before.status == Status::Waiting {
                node.clone_from(before);
            }
        }
        topology.epoch = self.topology.epoch;
        if topology == self.topology {
            return;
        }
        topology.epoch = Epoch(self.topology.epoch.0 + 1);
        self.log_changes(&topology);
        self.topology = topology;
        self.publishes_to.do_send(Apply { topology: Arc::new(self.topology.clone()) });
    }

    fn log_failure(&mut self, node: NodeId, failure: &CheckFailure) {
        let told = &mut self.told[node.index()];
        let failure = failure.to_string();
        if told.failure.as_ref() != Some(&failure) {
            let host = &self.settings.nodes[node.index()];
            event!(self.log, Warning, CheckFailed, "node {} failed its check: {}", node, failure;
                "node" => node.0, "host" => &host.host, "port" => host.port);
            told.failure = Some(failure);
        }
    }

    fn log_objections(&mut self, objections: &[(NodeId, Objection)]) {
        for (index, told) in self.told.iter_mut().enumerate() {
            let objection = objections.iter().find(|(node, _)| node.index() == index);
            let objection = objection.map(|(_, objection)| *objection);
            if told.objection != objection {
                if let Some(objection) = &objection {
                    event!(self.log, Error, NodeRefused, "node {} gets no statement: {}",
                        index, objection; "node" => index);
                }
                told.objection = objection;
            }
        }
    }

    fn log_changes(&self, new: &Topology) {
        for (index, (node, before)) in new.nodes.iter().zip(&self.topology.nodes).enumerate() {
            if node == before {
                continue;
            }
            let NodeView { status, role, .. } = node;
            event!(self.log, Info, NodeChanged, "node {} is {} as {}", index, status, role;
                "node" => index, "status" => status.to_string(), "role" => role.to_string());
        }
        if new.primary != self.topology.primary {
            let epoch = new.epoch.0;
            match new.primary {
                Some(node) => event!(self.log, Info, PrimaryFound, "node {} is the primary", node;
                    "node" => node.0, "epoch" => epoch),
                None => event!(self.log, Warning, PrimaryLost,
                    "there is no primary: clients wait for one"; "epoch" => epoch),
            }
        }
    }
}

impl Actor for Coordinator {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        watch_children(ctx);
        for index in 0..self.settings.nodes.len() {
            if let Ok(index) = u16::try_from(index) {
                self.start_checker(NodeId(index), ctx);
            }
        }
        // Evidence expires even while every checker waits for its node.
        ctx.run_interval(self.settings.health_check.period, |coordinator, _| {
            coordinator.consider()
        });
    }
}

impl Handler<Checked> for Coordinator {
    type Result = ();

    fn handle(&mut self, Checked { node, result }: Checked, _: &mut Self::Context) {
        match result {
            Ok(answer) => {
                if self.told[node.index()].failure.take().is_some() {
                    event!(self.log, Info, CheckPassed, "node {} answers its checks again", node;
                        "node" => node.0);
                }
                self.answers[node.index()] = Some(answer);
            }
            // The last answer stays until it is too old: one failed check is not a lost node.
            Err(failure) => self.log_failure(node, &failure),
        }
        self.consider();
    }
}

impl Parent for Coordinator {
    type ChildId = NodeId;

    fn nursery(&mut self) -> &mut Nursery<NodeId> {
        &mut self.checkers
    }

    fn child_exited(&mut self, node: NodeId, exit: Exit, ctx: &mut Context<Self>) {
        match self.policies[node.index()].ended(Instant::now()) {
            Restart::After(pause) => {
                event!(self.log, Error, ActorRestarted,
                    "the health checker of node {} ended ({}) and is started again", node, exit;
                    "node" => node.0);
                ctx.run_later(pause, move |coordinator, ctx| coordinator.start_checker(node, ctx));
            }
            Restart::GiveUp => event!(self.log, Critical, ActorLost,
                "the health checker of node {} ends again and again ({}): the node counts as unseen \
                 until understudy is restarted", node, exit; "node" => node.0),
        }
    }
}

//! HealthChecker: asks one node what it is, on its own timer and its own connection.
//!
//! It reports facts. What they mean is the coordinator's business.

use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Recipient, WrapFuture};
use failover::{Millis, NodeId};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::message::Checked;
use crate::probe::Probe;

/// The actor of one node.
#[derive(Debug)]
pub struct HealthChecker {
    node: NodeId,
    /// Gone once it works.
    probe: Option<Probe>,
    period: Duration,
    reports_to: Recipient<Checked>,
    epoch: Instant,
}

// === impl HealthChecker ===

impl HealthChecker {
    /// Checks a node every `period` and reports each outcome. Times are milliseconds since `epoch`.
    #[must_use]
    pub fn new(
        node: NodeId,
        probe: Probe,
        period: Duration,
        reports_to: Recipient<Checked>,
        epoch: Instant,
    ) -> Self {
        Self { node, probe: Some(probe), period, reports_to, epoch }
    }
}

impl Actor for HealthChecker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(mut probe) = self.probe.take() else { return };
        let (node, epoch, reports_to) = (self.node, self.epoch, self.reports_to.clone());
        let mut timer = interval(self.period);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let checking = async move {
            loop {
                timer.tick().await;
                let result = probe.check(|| millis_since(epoch)).await;
                reports_to.do_send(Checked { node, result });
            }
        };
        ctx.spawn(checking.into_actor(self));
    }
}

/// The monotonic clock as the failover crate counts it.
#[must_use]
pub fn millis_since(epoch: Instant) -> Millis {
    Millis(u64::try_from(epoch.elapsed().as_millis()).unwrap_or(u64::MAX))
}

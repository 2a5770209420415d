//! What must hold after every step, whatever happened.
//!
//! Debug builds assert it in `step`; the simulator checks it in every build.

use crate::machine::Machine;
use crate::phase::Phase;
use crate::{NodeId, Status};

/// An invariant that does not hold: a bug in this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The snapshot names a primary that is not in service.
    PrimaryOutOfService(NodeId),
    /// Writes are allowed although no primary is known, or while one is being replaced.
    WritesWithoutPrimary,
    /// A failover has no reason, or a reason without a failover is left.
    RunWithoutPhase,
    /// Two errands of one kind run for one node.
    TwoErrands(NodeId),
    /// More requests wait than may.
    QueueTooLong,
    /// Nothing will ever wake the machine although something is awaited.
    Asleep,
}

impl Machine {
    /// Whether all invariants hold.
    ///
    /// # Errors
    /// The first that does not.
    pub fn audit(&self) -> Result<(), Broken> {
        let quiet = matches!(self.phase, Phase::Bereft(_) | Phase::Steady | Phase::Following(_));
        if self.cluster.granted {
            match self.cluster.primary {
                Some(node) if self.cluster.node(node).status != Status::Up => {
                    return Err(Broken::PrimaryOutOfService(node));
                }
                Some(_) if matches!(self.phase, Phase::Steady | Phase::Following(_)) => {}
                _ => return Err(Broken::WritesWithoutPrimary),
            }
        }
        if quiet == self.run.is_some() {
            return Err(Broken::RunWithoutPhase);
        }
        let errands = &self.errands.running;
        for (at, one) in errands.iter().enumerate() {
            let twin = |other: &&crate::errand::Running| {
                other.job.node() == one.job.node()
                    && std::mem::discriminant(&other.job) == std::mem::discriminant(&one.job)
            };
            if errands[at + 1..].iter().any(|other| twin(&other)) {
                return Err(Broken::TwoErrands(one.job.node()));
            }
        }
        if self.waiting.len() > self.settings.queue {
            return Err(Broken::QueueTooLong);
        }
        let awaits = !quiet || !self.attaching.is_empty() || !errands.is_empty();
        if awaits && self.armed.is_none() && self.settings.timeouts.search > 0 {
            return Err(Broken::Asleep);
        }
        Ok(())
    }
}

//! The failover decision: what is lost, who is promoted, who follows, who may return.
//!
//! Everything here is data in, data out. There is no I/O, no clock, no randomness and no logging:
//! time is a number the caller passes in ([`Millis`]), so that a history of events can be replayed
//! and simulated by the million.

mod node;
mod observation;
mod topology;

pub mod discover;

pub use node::{Lsn, Millis, NodeId, Role, Status, SystemIdentifier, Timeline};
pub use observation::{RoleObservation, WalPosition};
pub use topology::{Epoch, NodeView, Topology};

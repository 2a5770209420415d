//! The failover decision: what is lost, who is promoted, who follows, who may return.
//!
//! Everything here is data in, data out. There is no I/O, no clock, no randomness and no logging:
//! time is a number the caller passes in ([`Millis`]), so that a history of events can be replayed
//! and simulated by the million.
//!
//! # How to drive it
//!
//! Make a [`Machine`], give it [`Event::Started`], then every event as it happens, each with the
//! moment it happened, to [`Machine::step`]; carry out the [`Effect`]s in the order they are given.
//! That is all: the machine asks for its own timer, for observations and for commands, and takes
//! what becomes of them as further events.
//!
//! # What happens when a primary dies
//!
//! `suspicion` says that it is lost; `detach` takes it out; `fence` waits until every worker has let
//! go of it; `candidate` chooses; `promote` commands the promotion and finds the new primary by
//! evidence; `follow` makes the other standbys follow; `watch` keeps an eye on all of it afterwards.
//! `phase` has the drawing.

mod attach;
mod balance;
mod candidate;
mod cluster;
mod detach;
mod due;
mod effect;
mod errand;
mod event;
mod fence;
mod follow;
mod invariant;
mod machine;
mod memory;
mod node;
mod observation;
mod operator;
mod phase;
mod plan;
mod promote;
mod refusal;
mod replay;
mod roles;
mod sentence;
mod settings;
mod suspicion;
mod topology;
mod watch;

pub mod discover;
pub mod story;

pub use balance::{Reader, load_balancing_node};
pub use candidate::{Choice, Rule};
pub use cluster::{Lineage, Reason};
pub use effect::{Command, CommandKind, Effect, Saved, Sessions};
pub use event::{Errand, Event, Failure, Outcome, Request, Synchrony, Ticket, Timer, WorkerId};
pub use invariant::Broken;
pub use machine::Machine;
pub use node::{Lsn, Millis, NodeId, Role, Status, SystemIdentifier, Timeline};
pub use observation::{RoleObservation, WalPosition};
pub use phase::{Cause, PhaseName, TRANSITIONS, Transition, diagram};
pub use plan::{Plan, Question};
pub use refusal::Refusal;
pub use replay::{Decision, replay};
pub use sentence::{Sentence, Weight};
pub use settings::{
    Commands, FollowSettings, Mode, NodeSettings, OnFailure, Promote, ReturnSettings, Settings,
    Thresholds, Timeouts,
};
pub use topology::{Epoch, NodeView, Topology};

use roles::Claim;

//! The lab: real PostgreSQL nodes and the proxy on one machine, for trying out and for testing.
//!
//! [`Cluster`] is the library that tests stand on; the rest is `understudy lab`.

mod args;
mod binaries;
mod cluster;
mod config;
mod create;
mod directory;
mod error;
mod log;
mod login;
mod node;
mod owner;
mod ports;
mod process;
mod progress;
mod proxy;
mod rejoin;
mod secrets;
mod seed;
mod signals;
mod spec;
mod sql;
mod status;
mod up;
mod verbs;
mod wait;

pub use args::{Args, LogSource, OneNode, Up, Verb};
pub use binaries::Binaries;
pub use cluster::Cluster;
pub use error::LabError;
pub use login::Login;
pub use node::{Node, NodeRole, NodeState, StopMode};
pub use owner::Owner;
pub use rejoin::Rejoined;
pub use secrets::Secrets;
pub use spec::ClusterSpec;
pub use sql::Row;
pub use verbs::run;
pub use wait::wait_until;

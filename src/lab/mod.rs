//! The lab: real PostgreSQL nodes and the proxy on one machine, for trying out and for testing.

mod binaries;
mod cluster;
mod config;
mod error;
mod node;
mod owner;
mod ports;
mod process;
mod rejoin;
mod secrets;
mod seed;
mod sql;
mod wait;

pub use binaries::Binaries;
pub use cluster::{Cluster, ClusterSpec, Login};
pub use error::LabError;
pub use node::{Node, NodeRole, NodeState, StopMode};
pub use owner::Owner;
pub use rejoin::Rejoined;
pub use secrets::Secrets;
pub use sql::Row;
pub use wait::wait_until;

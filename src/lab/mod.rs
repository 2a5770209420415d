//! The lab: real PostgreSQL nodes and the proxy on one machine, for trying out and for testing.
//!
//! [`Cluster`] is the library that tests stand on; the rest is `understudy lab`.
//!
//! ```no_run
//! use understudy::lab::{Cluster, ClusterSpec, Login};
//!
//! # fn main() -> Result<(), understudy::lab::LabError> {
//! let cluster = Cluster::create(ClusterSpec::default())?; // a primary and two standbys
//! let connection_string = cluster.conninfo(0, Login::App);
//! cluster.kill(0)?; // as a power cut would
//! cluster.promote(1)?;
//! cluster.follow(2, 1)?;
//! cluster.rejoin(0, 1)?; // pg_rewind, or a base backup
//! cluster.await_caught_up(0, 1)?;
//! # Ok(())
//! # } // dropped: no process and no file is left
//! ```

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

//! Every message between actors.

use std::{net::TcpStream, os::unix::net::UnixStream, sync::Arc};

use actix::Message;
use failover::{NodeId, RoleObservation, Topology};

use crate::probe::CheckFailure;

/// HealthChecker to Coordinator: a check ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Checked {
    /// Which node.
    pub node: NodeId,
    /// What it said, or why it said nothing.
    pub result: Result<RoleObservation, CheckFailure>,
}

/// Coordinator to Root, Root to Worker: route by this from now on.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Apply {
    /// The snapshot.
    pub topology: Arc<Topology>,
}

/// ClientListener to Worker: serve this client.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Adopt {
    /// Its socket, on its way to another thread.
    pub socket: Socket,
}

/// A connected socket that belongs to no reactor.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

/// Root to Worker: let transactions finish, then end every session and yourself.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Drain;

/// Root to whom it may concern: end now.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Halt;

/// Root to itself: the operator wants the proxy to stop.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct StopAsked {
    /// The signal, for the log.
    pub signal: &'static str,
    /// Without draining.
    pub at_once: bool,
}

//! A logged-in server connection and what it remembers.

use std::{
    hash::{Hash, Hasher},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use failover::NodeId;
use tokio::time::Instant;

use super::{budget::Permit, cancel::CancelTarget, parameters::Parameters};
use crate::{
    net::{Stream, stream::Outbox},
    protocol::scan::Scanner,
};

/// What a client logs in as. Two clients of the same identity can use the same server connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Role.
    pub user: String,
    /// Database.
    pub database: String,
    /// Every other startup parameter, sorted by name.
    pub parameters: Vec<(String, String)>,
}

/// What connections of one pool have in common.
#[derive(Clone, Debug)]
pub struct PoolKey {
    /// Who they are logged in as.
    pub identity: Rc<Identity>,
    /// Where.
    pub node: NodeId,
}

/// What a client is told at login by a server of its pool.
#[derive(Clone, Debug)]
pub struct Greeting {
    /// The settings.
    pub parameters: Rc<Parameters>,
    /// Notices as whole messages: what is wrong with a startup parameter, say.
    pub notices: Rc<[u8]>,
}

/// A logged-in server connection. Dropping it closes it, and the server rolls back.
#[derive(Debug)]
pub struct ServerLink {
    /// The socket.
    pub stream: Stream,
    /// Where the server's messages stand.
    pub scanner: Scanner,
    /// The front of a message whose rest has not come yet.
    pub held: Vec<u8>,
    /// What the server has not taken yet.
    pub outbox: Outbox,
    /// The settings it has reported, as they are now.
    pub parameters: Rc<Parameters>,
    /// The notices it gave at login, as whole messages.
    pub notices: Rc<[u8]>,
    /// Its pool.
    pub key: PoolKey,
    /// Where cancel requests for it go.
    pub cancel: Rc<CancelTarget>,
    /// When it was opened.
    pub opened: Instant,
    /// Leave to have it.
    pub permit: Permit,
    /// Why it must not be used again, where something is unclear.
    pub doubt: Option<&'static str>,
}

// === impl PoolKey ===

impl PartialEq for PoolKey {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node
            && (Rc::ptr_eq(&self.identity, &other.identity) || self.identity == other.identity)
    }
}

impl Eq for PoolKey {}

impl Hash for PoolKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity.hash(state);
        self.node.hash(state);
    }
}

// === impl ServerLink ===

impl ServerLink {
    /// What it tells a client at login: all that it said at its own.
    #[must_use]
    pub fn greeting(&self) -> Greeting {
        Greeting { parameters: Rc::clone(&self.parameters), notices: Rc::clone(&self.notices) }
    }

    /// Whether a parked connection is as quiet as it should be. Whatever a server says while nobody
    /// uses it (a shutdown, a setting changed, an end) retires it. Asks the system only when the
    /// reactor has seen something.
    pub fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut cx = Context::from_waker(Waker::noop());
        matches!(self.stream.poll_read_into(&mut cx, &mut byte), Poll::Pending)
    }

    /// Notes a reported setting.
    pub fn reported(&mut self, name: &str, value: &str) {
        if self.parameters.get(name) != Some(value) {
            Rc::make_mut(&mut self.parameters).set(name, value);
        }
    }
}

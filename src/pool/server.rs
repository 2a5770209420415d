//! A logged-in server connection and what it remembers.

use std::{
    future::poll_fn,
    hash::{Hash, Hasher},
    pin::Pin,
    rc::Rc,
    task::{Context, Waker},
};

use failover::NodeId;
use tokio::{task::unconstrained, time::Instant};

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
    /// Whether a parked connection is as quiet as it should be. Whatever a server says while nobody
    /// uses it (a shutdown, a setting changed, an end) retires it. Asks the system only when the
    /// reactor has seen something.
    pub fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let read = poll_fn(|cx| self.stream.poll_read_into(cx, &mut byte));
        // Outside of the runtime's budget: once that is used up, every socket would seem quiet.
        let mut read = unconstrained(read);
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut read).poll(&mut cx).is_pending()
    }

    /// Notes a reported setting.
    pub fn reported(&mut self, name: &str, value: &str) {
        if self.parameters.get(name) != Some(value) {
            Rc::make_mut(&mut self.parameters).set(name, value);
        }
    }
}

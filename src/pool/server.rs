//! A logged-in server connection and what it remembers.

use std::{
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use tokio::time::Instant;

use super::{budget::Permit, cancel::CancelTarget};
use crate::{
    net::{Stream, stream::Outbox},
    protocol::scan::Scanner,
    shared::{greetings::Greeting, identity::PoolKey, parameters::Parameters},
};

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
    pub parameters: Arc<Parameters>,
    /// The notices it gave at login, as whole messages.
    pub notices: Arc<[u8]>,
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

// === impl ServerLink ===

impl ServerLink {
    /// What a client is told by it at login.
    #[must_use]
    pub fn greeting(&self) -> Greeting {
        Greeting { parameters: Arc::clone(&self.parameters), notices: Arc::clone(&self.notices) }
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
            Arc::make_mut(&mut self.parameters).set(name, value);
        }
    }
}

//! A logged-in server connection and what it remembers.

use std::{
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Waker},
};

use tokio::{task::unconstrained, time::Instant};

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
    /// What it tells a client at login: all that it said at its own.
    #[must_use]
    pub fn greeting(&self) -> Greeting {
        Greeting { parameters: Arc::clone(&self.parameters), notices: Arc::clone(&self.notices) }
    }

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
            Arc::make_mut(&mut self.parameters).set(name, value);
        }
    }
}

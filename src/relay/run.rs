//! The loop that passes bytes between a client and its server connection.
//!
//! It reads into a buffer that all sessions of the thread share, walks the headers there, and writes to
//! the other socket straight from it. Only what the other side does not take, and the split front of a
//! message, becomes bytes of the session's own; and then it stops reading until that is flushed. So a
//! slow reader slows its own writer, and nobody's memory grows.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    client::ClientLink,
    control::{Control, Order, Phase},
    exchange::{Exchange, UnknownMessage, Verdict},
};
use crate::{
    pool::server::ServerLink,
    protocol::{
        backend::{ErrorFields, ParameterStatus},
        scan::{BadLength, Depth, HEADER_LENGTH, Step},
        tag::{client, server},
    },
};

/// The read buffer that the sessions of one thread share.
#[derive(Clone, Debug)]
pub struct Scratch(Rc<RefCell<Box<[u8]>>>);

/// Why a run ended.
#[derive(Debug)]
pub enum Stopped {
    /// The client said good-bye, or closed its socket.
    ClientLeft,
    /// The client sent something that cannot be a message.
    ClientBroke(ClientFault),
    /// The server closed, or its socket failed. `told` when it gave the client a FATAL error first.
    ServerLost {
        /// Whether the client has been given an error that ends its connection.
        told: bool,
        /// What the socket said.
        error: Option<io::Error>,
    },
    /// The server sent something nobody asked for, or no message at all.
    ServerBroke(String),
    /// An order was obeyed.
    Ordered(Order),
}

/// What a client did wrong; the texts are PostgreSQL's.
#[derive(Debug, thiserror::Error)]
pub enum ClientFault {
    /// See [`UnknownMessage`].
    #[error(transparent)]
    Unknown(#[from] UnknownMessage),
    /// A length that no message can have.
    #[error("invalid message length")]
    Length(#[from] BadLength),
    /// A statement longer than `limits.max_statement_size`.
    #[error("statement of {length} bytes is longer than limits.max_statement_size ({limit})")]
    Statement {
        /// Bytes of the message.
        length: usize,
        /// The limit.
        limit: usize,
    },
}

/// One client on one server connection, until either leaves. When it is done, ask
/// [`Relay::is_idle`] whether the server connection owes nothing.
#[derive(Debug)]
pub struct Relay<'s> {
    client: &'s mut ClientLink,
    server: &'s mut ServerLink,
    control: &'s Control,
    scratch: &'s Scratch,
    /// Bytes of the longest statement.
    longest: usize,
    exchange: Exchange,
    /// The client's held bytes have not been looked at yet.
    unseen: bool,
    /// The server takes no more bytes; what it still has to say is heard out.
    deaf: bool,
    /// The server has given the client an error that ends the connection.
    told: bool,
}

/// Bytes of the shared buffer.
const SCRATCH: usize = 64 * 1024;

/// Bytes of a `ParameterStatus` body that we wait for. No setting that servers report is nearly as
/// long.
const LONGEST_REPORT: usize = 16 * 1024;

/// Bytes of an `ErrorResponse` body that we wait for: enough for severity and SQLSTATE, which come
/// first.
const ERROR_FRONT: usize = 64;

// === impl Scratch ===

impl Scratch {
    /// One for a thread.
    #[must_use]
    pub fn new() -> Self {
        Self(Rc::new(RefCell::new(vec![0; SCRATCH].into_boxed_slice())))
    }

    /// Reads what a client sends next into its held bytes, while it has no server connection. 0 means
    /// that it has closed. A client who sends a lot meanwhile has to wait with the rest.
    ///
    /// # Errors
    /// As the socket reports them.
    pub fn poll_hold(
        &self,
        client: &mut ClientLink,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut scratch = self.0.borrow_mut();
        let room = SCRATCH - client.held.len();
        if room == 0 {
            return Poll::Pending;
        }
        let read = std::task::ready!(client.stream.poll_read_into(cx, &mut scratch[..room]))?;
        client.held.extend_from_slice(&scratch[..read]);
        Poll::Ready(Ok(read))
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Relay ===

impl<'s> Relay<'s> {
    /// Joins a client and a server connection that owes nothing.
    #[must_use]
    pub fn new(
        client: &'s mut ClientLink,
        server: &'s mut ServerLink,
        control: &'s Control,
        scratch: &'s Scratch,
        longest: usize,
    ) -> Self {
        let exchange = Exchange::new();
        Self {
            client,
            server,
            control,
            scratch,
            longest,
            exchange,
            unseen: true,
            deaf: false,
            told: false,
        }
    }

    /// Whether the server connection is idle, outside of a transaction, and owes nothing.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.exchange.is_idle() && self.server.scanner.is_between() && self.server.outbox.is_empty()
    }

    /// What the session is doing, as far as its bytes tell.
    fn phase(&self) -> Phase {
        let between = self.client.held.is_empty() && self.client.scanner.is_between();
        if !self.client.outbox.is_empty() {
            Phase::Stalled
        } else if between && self.is_idle() {
            Phase::Idle
        } else if between && self.exchange.is_settled() {
            Phase::InTransaction
        } else {
            Phase::Working
        }
    }

    /// Passes what the server has sent to the client. True when there was something.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Result<bool, Stopped> {
        let Self { client, server, exchange, .. } = self;
        match client.outbox.poll_flush(&mut client.stream, cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Err(Stopped::ClientLeft),
            Poll::Pending => return Ok(false),
        }
        let mut scratch = self.scratch.0.borrow_mut();
        let held = server.held.len();
        let filled = match server.stream.poll_read_into(cx, &mut scratch[held..]) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(0)) => return Err(Stopped::ServerLost { told: self.told, error: None }),
            Poll::Ready(Err(error)) => {
                return Err(Stopped::ServerLost { told: self.told, error: Some(error) });
            }
            Poll::Ready(Ok(read)) => held + read,
        };
        scratch[..held].copy_from_slice(&server.held);
        server.held.clear();

        let mut at = 0;
        let broke = loop {
            match server.scanner.step(&scratch[at..filled], server_depth) {
                Ok(Step::More) => break None,
                Ok(Step::Rest(length)) => at += length,
                Ok(Step::Message { header, bytes }) => {
                    let body = &bytes[HEADER_LENGTH..];
                    match header.tag {
                        server::PARAMETER_STATUS => match ParameterStatus::parse(body) {
                            Ok(report) => {
                                server.reported(report.name, report.value);
                                client.told = Arc::clone(&server.parameters);
                            }
                            Err(error) => break Some(error.to_string()),
                        },
                        server::ERROR if ErrorFields::new(body).is_fatal() => {
                            self.told = true;
                            server.doubt = Some("the server ended it");
                            at += bytes.len();
                            continue;
                        }
                        _ => {}
                    }
                    if exchange.received(header.tag, body) == Verdict::Surprise {
                        break Some(format!("message {} was not owed", header.tag.escape_ascii()));
                    }
                    at += bytes.len();
                }
                Err(error) => break Some(error.to_string()),
            }
        };
        if client.outbox.pass(&mut client.stream, cx, &scratch[..at]).is_err() {
            return Err(Stopped::ClientLeft);
        }
        if let Some(what) = broke {
            return Err(Stopped::ServerBroke(what));
        }
        server.held.extend_from_slice(&scratch[at..filled]);
        Ok(true)
    }

    /// Passes what the client has sent to the server. True when there was something.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Result<bool, Stopped> {
        let Self { client, server, exchange, .. } = self;
        if self.deaf {
            return Ok(false);
        }
        match server.outbox.poll_flush(&mut server.stream, cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => {
                self.deaf = true;
                return Ok(true);
            }
            Poll::Pending => return Ok(false),
        }
        let mut scratch = self.scratch.0.borrow_mut();
        let held = client.held.len();
        let filled = if std::mem::take(&mut self.unseen) && held > 0 {
            held
        } else {
            match client.stream.poll_read_into(cx, &mut scratch[held..]) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(0) | Err(_)) => return Err(Stopped::ClientLeft),
                Poll::Ready(Ok(read)) => held + read,
            }
        };
        scratch[..held].copy_from_slice(&client.held);
        client.held.clear();
        client.held.shrink_to(HEADER_LENGTH);

        let mut at = 0;
        let stop = loop {
            match client.scanner.step(&scratch[at..filled], client_depth) {
                Ok(Step::More) => break None,
                Ok(Step::Rest(length)) => at += length,
                Ok(Step::Message { header, .. }) if header.tag == client::TERMINATE => {
                    break Some(Stopped::ClientLeft);
                }
                Ok(Step::Message { header, .. })
                    if matches!(header.tag, client::QUERY | client::PARSE)
                        && header.length > self.longest =>
                {
                    let (length, limit) = (header.length, self.longest);
                    break Some(Stopped::ClientBroke(ClientFault::Statement { length, limit }));
                }
                Ok(Step::Message { header, bytes }) => {
                    if let Err(unknown) = exchange.sent(header.tag, &bytes[HEADER_LENGTH..]) {
                        break Some(Stopped::ClientBroke(unknown.into()));
                    }
                    at += bytes.len();
                }
                Err(length) => break Some(Stopped::ClientBroke(length.into())),
            }
        };
        if server.outbox.pass(&mut server.stream, cx, &scratch[..at]).is_err() {
            self.deaf = true;
        }
        if let Some(stop) = stop {
            return Err(stop);
        }
        client.held.extend_from_slice(&scratch[at..filled]);
        Ok(true)
    }
}

impl Future for Relay<'_> {
    type Output = Stopped;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Stopped> {
        let mut any = false;
        loop {
            let moved = self.poll_down(cx).and_then(|down| Ok(down | self.poll_up(cx)?));
            match moved {
                Ok(true) => any = true,
                Ok(false) => break,
                Err(stopped) => return Poll::Ready(stopped),
            }
        }
        let phase = self.phase();
        self.control.is_now(phase, any);
        match self.control.poll_order(cx) {
            Some(order) if order.suits(phase) => Poll::Ready(Stopped::Ordered(order)),
            Some(_) => {
                // It does not suit any more, or not yet.
                self.control.withdraw();
                Poll::Pending
            }
            None => Poll::Pending,
        }
    }
}

// === depths ===

/// How much of a server's message [`Exchange::received`] and we need to see.
fn server_depth(tag: u8) -> Depth {
    match tag {
        server::READY_FOR_QUERY => Depth::Prefix(1),
        server::PARAMETER_STATUS => Depth::Prefix(LONGEST_REPORT),
        server::ERROR => Depth::Prefix(ERROR_FRONT),
        _ => Depth::Header,
    }
}

/// How much of a client's message [`Exchange::sent`] needs to see.
fn client_depth(tag: u8) -> Depth {
    match tag {
        client::DESCRIBE => Depth::Prefix(1),
        _ => Depth::Header,
    }
}

//! ClientListener: accepts clients and hands each to the least loaded worker.

use std::{
    cell::RefCell,
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix::{Actor, AsyncContext, Context, Recipient, WrapFuture};
use slog::Logger;
use tokio::net::TcpListener;

use super::message::{Adopt, Socket};
use crate::{event, net::listen::UnixDoor};

/// A bound address, shared with the parent so that it outlives a restart of the actor.
#[derive(Clone, Debug)]
pub enum Door {
    /// TCP.
    Tcp(Rc<TcpListener>),
    /// A unix socket.
    Unix(Rc<UnixDoor>),
}

/// Where clients can be sent: every worker, and how many sessions it has.
pub type Seats = Rc<RefCell<Vec<Seat>>>;

/// One worker as the listener sees it.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The worker.
    pub worker: Recipient<Adopt>,
    /// Sessions it has, or is about to have.
    pub load: Arc<AtomicUsize>,
}

/// The actor.
#[derive(Debug)]
pub struct ClientListener {
    doors: Vec<Door>,
    seats: Seats,
    log: Logger,
}

/// Pause after accepting has failed for want of descriptors or memory: without it the loop would spin.
const BREATHER: Duration = Duration::from_millis(100);

// === impl ClientListener ===

impl ClientListener {
    /// Accepts at these doors, for these seats.
    #[must_use]
    pub fn new(doors: Vec<Door>, seats: Seats, log: Logger) -> Self {
        Self { doors, seats, log }
    }
}

impl Actor for ClientListener {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        for door in std::mem::take(&mut self.doors) {
            let (seats, log) = (Rc::clone(&self.seats), self.log.clone());
            ctx.spawn(accept(door, seats, log).into_actor(&*self));
        }
    }
}

async fn accept(door: Door, seats: Seats, log: Logger) {
    let mut failing = false;
    loop {
        match door.accept().await {
            Ok(socket) => {
                if std::mem::take(&mut failing) {
                    event!(log, Info, AcceptRecovered, "clients can connect again");
                }
                seat(socket, &seats);
            }
            // The client was gone before we could accept it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    event!(
                        log,
                        Error,
                        AcceptFailed,
                        "clients cannot connect: {} (raise the limit of open files, `ulimit -n`, if \
                         that is what it says)",
                        error
                    );
                }
                tokio::time::sleep(BREATHER).await;
            }
        }
    }
}

fn seat(socket: Socket, seats: &Seats) {
    let seats = seats.borrow();
    if let Some(seat) = seats.iter().min_by_key(|seat| seat.load.load(Ordering::Relaxed)) {
        seat.load.fetch_add(1, Ordering::Relaxed);
        seat.worker.do_send(Adopt { socket });
    }
}

// === impl Door ===

impl Door {
    async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => {
                let (socket, _) = listener.accept().await?;
                Ok(Socket::Tcp(socket.into_std()?))
            }
            Self::Unix(door) => Ok(Socket::Unix(door.listener.accept().await?.0.into_std()?)),
        }
    }
}

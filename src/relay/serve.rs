//! A session from its first byte to its last: logs the client in, takes a server connection when the
//! client first needs one, runs the two together, and parts.

use std::{
    io,
    rc::Rc,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};

use slog::Logger;
use tokio::{io::AsyncWriteExt, sync::mpsc, time::timeout};

use super::{
    client::ClientLink,
    control::{Control, Order, Phase},
    ending::{self, Ending},
    login,
    run::{Relay, Scratch, Stopped},
};
use crate::{
    auth::{AuthFiles, MockSalts, UserLookup},
    conf::Settings,
    event,
    net::{Stream, Tls},
    pool::{
        checkout::{self, CheckoutError},
        pools::Pools,
        server::ServerLink,
    },
    protocol::{tag, write},
    shared::{
        census::Census,
        directory::{CancelAsked, Directory, Registration, SessionId},
        identity::PoolKey,
        local::LocalTopology,
        throttle::Throttle,
    },
};

/// What all sessions of one worker thread have in common.
pub struct Home {
    /// The settings in force.
    pub settings: Arc<Settings>,
    /// The worker's log.
    pub log: Logger,
    /// This thread's snapshot.
    pub topology: LocalTopology,
    /// This thread's server connections.
    pub pools: Rc<Pools>,
    /// The process's cancel keys.
    pub directory: Directory,
    /// How cancel requests reach this worker.
    pub cancels: mpsc::UnboundedSender<CancelAsked>,
    /// The users file and the rules.
    pub files: AuthFiles,
    /// Failed logins.
    pub throttle: Throttle,
    /// `auth.query`, where there is one.
    pub lookup: Option<UserLookup>,
    /// Salts for users nobody knows.
    pub salts: MockSalts,
    /// Certificates, and whom we believe.
    pub tls: Tls,
    /// The process's clients.
    pub census: Census,
    /// The shared read buffer.
    pub scratch: Scratch,
}

/// How long a leaving client's last statements may take to reach the server.
const LAST_STATEMENTS: Duration = Duration::from_secs(5);

/// Serves one client until the session ends.
///
/// What a session does once, at its beginning and at its end, is boxed: only the two states in which it
/// spends its life, waiting for a statement and relaying, are in the future itself.
pub async fn serve(
    stream: Stream,
    session: SessionId,
    home: Rc<Home>,
    control: Rc<Control>,
) -> Ending {
    let mut client = match Box::pin(admit(stream, session, &home, &control)).await {
        Ok(client) => client,
        Err(ending) => return ending,
    };
    let mut server = match wait_for_need(&mut client, &home, &control).await {
        Ok(server) => server,
        Err(parting) => return Box::pin(parting.say(client)).await,
    };
    control.working_on(Some(Rc::clone(&server.cancel)));
    client.tell(&server.parameters);
    let longest = home.settings.limits.max_statement_size;
    let mut relay = Relay::new(&mut client, &mut server, &control, &home.scratch, longest);
    let stopped = (&mut relay).await;
    let idle = relay.is_idle();
    control.working_on(None);
    Box::pin(end(client, server, stopped, idle, &home)).await
}

/// Logs a client in and greets it. A replication connection is served whole in here.
async fn admit(
    stream: Stream,
    session: SessionId,
    home: &Home,
    control: &Control,
) -> Result<ClientLink, Ending> {
    let mut client = tokio::select! {
        admitted = login::log_in(stream, session, home) => admitted?,
        order = control.ordered() => return Err(ending::obeyed(order)),
    };
    let tls = client.stream.tls();
    event!(home.log, Info, SessionStart, "client logged in"; "session" => session.0,
        "user" => &client.identity.user, "database" => &client.identity.database,
        "tls" => tls.map(|tls| tls.version()), "cipher" => tls.map(|tls| tls.cipher()),
        "certificate" => client.stream.peer_common_name());
    if client.replication {
        return Err(replicate(client, home, control).await);
    }
    match greet(&mut client, home, control).await {
        Ok(()) => Ok(client),
        Err(parting) => Err(parting.say(client).await),
    }
}

/// Gives the server connection back, and takes leave of the client.
async fn end(
    client: ClientLink,
    server: ServerLink,
    stopped: Stopped,
    idle: bool,
    home: &Home,
) -> Ending {
    let (last_words, ending) = stopped.ending();
    give_back(server, idle, home).await;
    client.part(last_words.as_ref()).await;
    ending
}

/// Why a session ends before it has a server connection, and what its client is told.
struct Parting {
    bytes: Vec<u8>,
    ending: Ending,
}

/// Tells a new client what PostgreSQL tells: notices, settings, cancel key, ready for query. The first two
/// are what a server of its pool said lately; where none did, one is asked, and stays idle for the
/// client's first statement.
async fn greet(client: &mut ClientLink, home: &Home, control: &Control) -> Result<(), Parting> {
    let known = home.topology.current().primary.and_then(|node| {
        home.pools.greeting(&PoolKey { identity: Arc::clone(&client.identity), node })
    });
    let greeting = match known {
        Some(greeting) => greeting,
        None => {
            let server = take(client, home, control).await?;
            let greeting = server.greeting();
            home.pools.park(server);
            greeting
        }
    };
    client.greet(&greeting);
    let flushed = std::future::poll_fn(|cx| client.outbox.poll_flush(&mut client.stream, cx)).await;
    flushed.map_err(|_| Parting::silent(Ending::ClientLeft))
}

/// Waits until the client sends something, and takes a server connection for it.
async fn wait_for_need(
    client: &mut ClientLink,
    home: &Home,
    control: &Control,
) -> Result<ServerLink, Parting> {
    if client.held.is_empty() {
        control.is_now(Phase::Idle, true);
        let hold = std::future::poll_fn(|cx| home.scratch.poll_hold(client, cx));
        tokio::select! {
            biased;
            order = control.ordered() => return Err(Parting::ordered(order)),
            held = hold => if !matches!(held, Ok(1..)) {
                return Err(Parting::silent(Ending::ClientLeft));
            },
        }
    }
    if client.held.first() == Some(&tag::client::TERMINATE) {
        return Err(Parting::silent(Ending::ClientLeft));
    }
    Box::pin(take(client, home, control)).await
}

/// Takes a server connection. A client that closes while it waits gives up its place.
async fn take(
    client: &mut ClientLink,
    home: &Home,
    control: &Control,
) -> Result<ServerLink, Parting> {
    control.is_now(Phase::Waiting, true);
    let identity = Arc::clone(&client.identity);
    let credentials = client.credentials.clone();
    let taken = checkout::take(&home.pools, &home.topology, &identity, credentials.as_ref());
    let mut taken = std::pin::pin!(taken);
    let mut impatient = std::pin::pin!(checkout::over(home.settings.limits.query_wait_notify));
    let mut told = false;
    loop {
        // What waits for the client is sent, and what it sends is kept, until it closes.
        let gone = std::future::poll_fn(|cx| {
            if client.outbox.poll_flush(&mut client.stream, cx)?.is_pending() {
                return Poll::Pending;
            }
            while let Ok(1..) = ready!(home.scratch.poll_hold(client, cx)) {}
            Poll::Ready(Ok::<_, io::Error>(()))
        });
        tokio::select! {
            biased;
            taken = &mut taken => return taken.map_err(|error| Parting::no_server(&error)),
            _ = gone => return Err(Parting::silent(Ending::ClientLeft)),
            order = control.ordered() => return Err(Parting::ordered(order)),
            _ = &mut impatient, if !told => {
                told = true;
                write::notice(client.outbox.append(), "waiting in line for a server connection");
            }
        }
    }
}

/// Gives a server connection back to be cleaned and pooled, or closes it. What the client sent before it
/// left still reaches the server, as it would without us.
async fn give_back(mut server: ServerLink, idle: bool, home: &Home) {
    if idle {
        let pools = Rc::clone(&home.pools);
        // A task of its own: the client need not wait for the cleaning.
        tokio::task::spawn_local(async move { pools.recycle(server).await });
        return;
    }
    let ServerLink { stream, outbox, .. } = &mut server;
    // A server that takes nothing for so long will not get it.
    let _ =
        timeout(LAST_STATEMENTS, std::future::poll_fn(|cx| outbox.poll_flush(stream, cx))).await;
}

/// A replication connection is not a session of statements: bytes pass both ways unread, on a server
/// connection of its own, until either side closes.
async fn replicate(mut client: ClientLink, home: &Home, control: &Control) -> Ending {
    let server = match take(&mut client, home, control).await {
        Ok(server) => server,
        Err(parting) => return parting.say(client).await,
    };
    control.working_on(Some(Rc::clone(&server.cancel)));
    client.greet(&server.greeting());
    let ServerLink { mut stream, .. } = server;
    stream_both(&mut client, &mut stream, control).await
}

async fn stream_both(client: &mut ClientLink, server: &mut Stream, control: &Control) -> Ending {
    let ClientLink { stream, outbox, held, .. } = client;
    if std::future::poll_fn(|cx| outbox.poll_flush(stream, cx)).await.is_err()
        || server.write_all(held).await.is_err()
    {
        return Ending::ClientLeft;
    }
    tokio::select! {
        copied = tokio::io::copy_bidirectional(stream, server) => match copied {
            Ok(_) => Ending::ClientLeft,
            Err(error) => Ending::ServerLost { error: Some(error) },
        },
        order = control.ordered() => ending::obeyed(order),
    }
}

// === impl Home ===

impl Home {
    /// Gives a session of this worker its cancel key.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn register(
        &self,
        session: SessionId,
        secret_length: usize,
    ) -> Result<Registration, getrandom::Error> {
        self.directory.register(session, self.cancels.clone(), secret_length)
    }
}

impl std::fmt::Debug for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Home").finish_non_exhaustive()
    }
}

// === impl Parting ===

impl Parting {
    fn silent(ending: Ending) -> Self {
        Self { bytes: Vec::new(), ending }
    }

    fn ordered(order: Order) -> Self {
        let mut bytes = Vec::new();
        ending::ordered(order).write(&mut bytes);
        Self { bytes, ending: ending::obeyed(order) }
    }

    fn no_server(error: &CheckoutError) -> Self {
        let reason = error.to_string();
        Self { bytes: ending::no_server(error), ending: Ending::Refused { reason } }
    }

    async fn say(self, mut client: ClientLink) -> Ending {
        client.outbox.append().extend_from_slice(&self.bytes);
        client.part(None).await;
        self.ending
    }
}

//! Worker: everything of one thread: its sessions, its server connections, its view of the topology.

use std::{
    collections::HashMap,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, StreamHandler};
use failover::Topology;
use slog::Logger;
use tokio::{
    net::{TcpStream, UnixStream},
    sync::mpsc,
};

use super::{
    message::{Adopt, Apply, Drain, Halt, Socket},
    oversee::{Exit, Nursery, Parent, watch_children},
    session::Session,
};
use crate::{
    auth::{AuthFiles, MockSalts, UserLookup},
    conf::Settings,
    event,
    net::{Stream, Tls, tcp},
    pool::{budget::Budget, pools::Pools},
    relay::{
        control::{Control, Order},
        run::Scratch,
        serve::Home,
    },
    shared::{
        census::Census,
        directory::{CancelAsked, Directory, SessionId},
        greetings::Greetings,
        local::LocalTopology,
        throttle::Throttle,
    },
};

/// What a worker is made of; it travels to the worker's thread.
#[derive(Clone, Debug)]
pub struct WorkerParts {
    /// Which worker, counted from 0.
    pub number: usize,
    /// The settings in force.
    pub settings: Arc<Settings>,
    /// The log.
    pub log: Logger,
    /// The snapshot to start from.
    pub topology: Arc<Topology>,
    /// The process's cancel keys.
    pub directory: Directory,
    /// The users file and the rules.
    pub files: AuthFiles,
    /// Failed logins.
    pub throttle: Throttle,
    /// Salts for users nobody knows.
    pub salts: MockSalts,
    /// Certificates, and whom we believe.
    pub tls: Tls,
    /// Server connections the nodes may have.
    pub budget: Budget,
    /// What servers reported lately.
    pub greetings: Greetings,
    /// The process's clients.
    pub census: Census,
    /// Sessions it has, as the listener counts them.
    pub load: Arc<AtomicUsize>,
}

/// The actor.
#[derive(Debug)]
pub struct Worker {
    home: Rc<Home>,
    load: Arc<AtomicUsize>,
    sessions: Nursery<SessionId>,
    controls: HashMap<SessionId, Rc<Control>>,
    /// Gone once the actor hears it.
    cancels: Option<mpsc::UnboundedReceiver<CancelAsked>>,
    draining: bool,
}

/// How often idle server connections, and silent clients, are looked after.
const SWEEP: Duration = Duration::from_secs(1);

// === impl Worker ===

impl Worker {
    /// On the thread it will live on.
    #[must_use]
    pub fn new(parts: WorkerParts) -> Self {
        let WorkerParts {
            number,
            settings,
            log,
            topology,
            directory,
            files,
            throttle,
            salts,
            tls,
            budget,
            greetings,
            census,
            load,
        } = parts;
        let log = log.new(slog::o!("worker" => number));
        // A worker that is started again has no sessions, whatever its predecessor had.
        load.store(0, Ordering::Relaxed);
        let (cancels, asked) = mpsc::unbounded_channel();
        let auth = &settings.auth;
        let lookup = auth.query.as_ref().map(|query| {
            let (keep, attempt) = (auth.query_cache, settings.pool.connect_timeout);
            UserLookup::new(query, &auth.query_database, settings.monitor.clone(), keep, attempt)
                .with_tls(tls.clone())
        });
        let home = Rc::new(Home {
            pools: Rc::new(Pools::new(
                Arc::clone(&settings),
                log.clone(),
                budget,
                greetings,
                tls.clone(),
            )),
            topology: LocalTopology::new(topology),
            scratch: Scratch::new(),
            settings,
            log,
            directory,
            cancels,
            files,
            throttle,
            lookup,
            salts,
            tls,
            census,
        });
        Self {
            home,
            load,
            sessions: Nursery::new(),
            controls: HashMap::new(),
            cancels: Some(asked),
            draining: false,
        }
    }

    fn adopt(&mut self, stream: Stream) {
        let id = self.home.directory.next_session();
        let control = Rc::new(Control::default());
        if self.draining {
            control.give(Order::Drain);
        }
        self.controls.insert(id, Rc::clone(&control));
        let home = Rc::clone(&self.home);
        self.sessions.start(id, |_| Session::new(id, stream, home, control));
    }

    fn end_if_drained(&self, ctx: &mut Context<Self>) {
        if self.draining && self.sessions.is_empty() {
            ctx.stop();
        }
    }
}

impl Actor for Worker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        watch_children(ctx);
        ctx.run_interval(SWEEP, |worker, _| {
            worker.home.pools.sweep();
            let limits = &worker.home.settings.limits;
            for control in worker.controls.values() {
                control.look(SWEEP, limits);
            }
        });
        if let Some(mut asked) = self.cancels.take() {
            ctx.add_stream(futures::stream::poll_fn(move |cx| asked.poll_recv(cx)));
        }
    }
}

impl Handler<Adopt> for Worker {
    type Result = ();

    fn handle(&mut self, Adopt { socket }: Adopt, _: &mut Self::Context) {
        let stream = match socket {
            Socket::Tcp(socket) => TcpStream::from_std(socket).and_then(|socket| {
                tcp::set_up(&socket, &self.home.settings.tcp)?;
                Ok(Stream::from(socket))
            }),
            Socket::Unix(socket) => UnixStream::from_std(socket).map(Stream::from),
        };
        match stream {
            Ok(stream) => self.adopt(stream),
            Err(error) => {
                self.load.fetch_sub(1, Ordering::Relaxed);
                event!(self.home.log, Error, AcceptFailed, "a client was lost: {}", error);
            }
        }
    }
}

impl Handler<Apply> for Worker {
    type Result = ();

    fn handle(&mut self, Apply { topology }: Apply, _: &mut Self::Context) {
        let before = self.home.topology.current().primary;
        let after = topology.primary;
        self.home.topology.replace(topology);
        if let Some(lost) = before
            && Some(lost) != after
        {
            self.home.pools.close_node(lost);
        }
    }
}

impl Handler<Drain> for Worker {
    type Result = ();

    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) {
        self.draining = true;
        for control in self.controls.values() {
            control.give(Order::Drain);
        }
        self.end_if_drained(ctx);
    }
}

impl Handler<Halt> for Worker {
    type Result = ();

    fn handle(&mut self, _: Halt, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl StreamHandler<CancelAsked> for Worker {
    fn handle(&mut self, CancelAsked { session, done }: CancelAsked, _: &mut Self::Context) {
        let target = self.controls.get(&session).and_then(|control| control.cancel_target());
        let Some(target) = target else { return };
        let limit = self.home.settings.pool.connect_timeout;
        let log = self.home.log.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = target.cancel(limit).await {
                event!(log, Warning, CancelFailed, "a cancel request did not get through: {}", error;
                    "session" => session.0);
            }
            // A canceller that is gone need not be told.
            let _ = done.send(());
        });
    }
}

impl Parent for Worker {
    type ChildId = SessionId;

    fn nursery(&mut self) -> &mut Nursery<SessionId> {
        &mut self.sessions
    }

    fn child_exited(&mut self, id: SessionId, exit: Exit, ctx: &mut Context<Self>) {
        self.controls.remove(&id);
        self.load.fetch_sub(1, Ordering::Relaxed);
        if let Exit::Panicked(text) = exit {
            event!(self.home.log, Critical, SessionPanicked,
                "a session ended by a defect of understudy, and its server connection was closed: {}",
                text; "session" => id.0);
        }
        self.end_if_drained(ctx);
    }
}

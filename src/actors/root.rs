//! Root: starts everything in order, restarts what should not have ended, and shuts down in order.

use std::{
    cell::{Cell, RefCell},
    io,
    net::Ipv6Addr,
    rc::Rc,
    sync::{Arc, atomic::AtomicUsize},
    thread,
};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler};
use actix_rt::{Arbiter, System};
use failover::{Topology, discover::Known};
use slog::Logger;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time::Instant,
};

use super::{
    certificates::CertificateKeeper,
    coordinator::Coordinator,
    listener::{ClientListener, Door, Seat, Seats},
    message::{Apply, Drain, Halt, StopAsked},
    oversee::{Exit, Nursery, Parent, Restart, RestartPolicy, watch_children},
    worker::{Worker, WorkerParts},
};
use crate::{
    auth::{AuthFiles, MockSalts, throttle::Limits},
    conf::{Mistakes, Settings, certificates::Flaw},
    event,
    net::{Tls, listen},
    pool::budget::Budget,
    shared::{census::Census, directory::Directory, greetings::Greetings, throttle::Throttle},
};

/// Why the proxy could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A client address cannot be listened on.
    #[error("cannot listen on {address}: {error}{}", remedy(.error))]
    Listen {
        /// Which.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// The users file or the rules are missing or wrong.
    #[error("{0}")]
    Files(Mistakes),
    /// A certificate file has been spoilt since the configuration was checked.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Certificates(Vec<Flaw>),
    /// The system refuses something basic.
    #[error("cannot start: {0}")]
    System(String),
}

/// What an actor that Root starts is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Child {
    Coordinator,
    ClientListener,
    CertificateKeeper,
    Worker(usize),
}

/// The actor.
#[derive(Debug)]
struct Root {
    settings: Arc<Settings>,
    log: Logger,
    doors: Vec<Door>,
    directory: Directory,
    files: AuthFiles,
    throttle: Throttle,
    salts: MockSalts,
    tls: Tls,
    budget: Budget,
    census: Census,
    greetings: Greetings,
    known: Rc<Cell<Known>>,
    topology: Arc<Topology>,
    children: Nursery<Child>,
    seats: Seats,
    workers: Vec<Seated>,
    coordinator: RestartPolicy,
    listener: RestartPolicy,
    certificates: RestartPolicy,
    stopping: bool,
    /// Told when Root is done.
    done: Option<oneshot::Sender<()>>,
}

/// A worker, its thread, and how it is restarted.
#[derive(Debug)]
struct Seated {
    arbiter: Arbiter,
    /// None while it does not run.
    worker: Option<Addr<Worker>>,
    policy: RestartPolicy,
    load: Arc<AtomicUsize>,
}

/// Runs the proxy until it is told to stop by SIGTERM, SIGINT or SIGQUIT.
///
/// # Errors
/// Whatever keeps it from starting; see [`StartError`].
pub fn run(settings: Arc<Settings>, log: Logger) -> Result<(), StartError> {
    let files = AuthFiles::load(&settings.auth)
        .map_err(|mistakes| StartError::Files(Mistakes(mistakes)))?;
    let salts = MockSalts::random().map_err(|error| StartError::System(error.to_string()))?;
    derive_keys(&files, &salts).map_err(|error| StartError::System(error.to_string()))?;
    let tls = Tls::load(&settings).map_err(StartError::Certificates)?;
    let system = System::new();
    system.block_on(async move {
        let doors = open_doors(&settings)?;
        announce(&settings, &files, &log);
        let (done, finished) = oneshot::channel();
        let root = Root::new(settings, log, doors, files, salts, tls, done);
        let root = root.start();
        hear_signals(&root).map_err(|error| StartError::System(error.to_string()))?;
        // An error means that Root itself ended: nothing is left to wait for.
        let _ = finished.await;
        Ok(())
    })
}

fn open_doors(settings: &Settings) -> Result<Vec<Door>, StartError> {
    let listen = &settings.listen;
    let mut doors = Vec::new();
    for &address in &listen.addresses {
        match listen::tcp(address, listen.backlog) {
            Ok(listener) => doors.push(Door::Tcp(Rc::new(listener))),
            // "*" means every address there is; a machine without IPv6 has none of that kind.
            Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && !listen::has_ipv6(&error) => {}
            Err(error) => return Err(StartError::Listen { address: address.to_string(), error }),
        }
    }
    if let Some(directory) = &listen.unix_socket_dir {
        let port = listen.addresses.first().map_or(DEFAULT_PORT, std::net::SocketAddr::port);
        let door = listen::unix(directory, port, listen.unix_socket_mode).map_err(|error| {
            let address = directory.join(format!(".s.PGSQL.{port}")).display().to_string();
            StartError::Listen { address, error }
        })?;
        doors.push(Door::Unix(Rc::new(door)));
    }
    Ok(doors)
}

/// Derives the keys of clear passwords before they are needed, beside everything else: see `UserFile`.
fn derive_keys(files: &AuthFiles, salts: &MockSalts) -> io::Result<()> {
    let (users, salts) = (Arc::clone(&files.users), salts.clone());
    let work = move || users.derive_keys(&salts);
    thread::Builder::new().name("keys".to_owned()).spawn(work).map(drop)
}

fn announce(settings: &Settings, files: &AuthFiles, log: &Logger) {
    for address in &settings.listen.addresses {
        event!(log, Info, Listening, "clients can connect to {}", address;
            "address" => address.to_string());
    }
    if let Some(directory) = &settings.listen.unix_socket_dir {
        event!(log, Info, Listening, "clients can connect by unix socket in {}", directory.display();
            "address" => directory.display().to_string());
    }
    for doubt in files.doubts(settings) {
        event!(log, Warning, ConfigurationDoubtful, "{}", doubt);
    }
    if AuthFiles::trust_everybody(&settings.auth) {
        event!(
            log,
            Warning,
            ConfigurationDoubtful,
            "auth.method is \"trust\": whoever reaches the client port is let in as anybody"
        );
    }
}

/// Turns signals into messages: the first SIGTERM or SIGINT drains, a second one, and SIGQUIT, end at
/// once.
fn hear_signals(root: &Addr<Root>) -> io::Result<()> {
    for (kind, name, at_once) in [
        (SignalKind::terminate(), "SIGTERM", false),
        (SignalKind::interrupt(), "SIGINT", false),
        (SignalKind::quit(), "SIGQUIT", true),
    ] {
        let mut signals = signal(kind)?;
        let root = root.clone();
        actix_rt::spawn(async move {
            while signals.recv().await.is_some() {
                root.do_send(StopAsked { signal: name, at_once });
            }
        });
    }
    Ok(())
}

/// What can be done about an address that cannot be listened on.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another process listens there: stop it, or choose another port in listen.addresses"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine does not have that address",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 and foreign directories need more rights than this user has"
        }
        io::ErrorKind::NotFound => "; create the directory of listen.unix_socket_dir first",
        _ => "",
    }
}

/// The port in the unix socket's name where no TCP address gives one.
const DEFAULT_PORT: u16 = 6432;

// === impl Root ===

impl Root {
    fn new(
        settings: Arc<Settings>,
        log: Logger,
        doors: Vec<Door>,
        files: AuthFiles,
        salts: MockSalts,
        tls: Tls,
        done: oneshot::Sender<()>,
    ) -> Self {
        let topology = Arc::new(Topology::unseen(settings.nodes.len()));
        let throttle = Throttle::new(Limits::of(&settings.auth));
        let budget = Budget::new(settings.nodes.len(), settings.pool.max_per_node);
        Self {
            settings,
            log,
            doors,
            directory: Directory::default(),
            files,
            throttle,
            salts,
            tls,
            budget,
            census: Census::default(),
            greetings: Greetings::default(),
            known: Rc::default(),
            topology,
            children: Nursery::new(),
            seats: Rc::new(RefCell::default()),
            workers: Vec::new(),
            coordinator: RestartPolicy::permanent(),
            listener: RestartPolicy::permanent(),
            certificates: RestartPolicy::permanent(),
            stopping: false,
            done: Some(done),
        }
    }

    fn start_child(&mut self, child: Child, ctx: &Context<Self>) {
        match child {
            Child::Coordinator => {
                let (settings, log) = (Arc::clone(&self.settings), self.log.clone());
                let coordinator = Coordinator::new(
                    settings,
                    log,
                    self.tls.clone(),
                    ctx.address().recipient(),
                    Rc::clone(&self.known),
                    &self.topology,
                );
                self.children.start(child, |_| coordinator);
            }
            Child::ClientListener => {
                let (doors, seats) = (self.doors.clone(), Rc::clone(&self.seats));
                let listener = ClientListener::new(doors, seats, self.log.clone());
                self.children.start(child, |_| listener);
            }
            Child::CertificateKeeper => {
                let (settings, log) = (Arc::clone(&self.settings), self.log.clone());
                let keeper = CertificateKeeper::new(settings, log, self.tls.clone());
                self.children.start(child, |_| keeper);
            }
            Child::Worker(number) => self.start_worker(number),
        }
    }

    fn start_worker(&mut self, number: usize) {
        let seated = &mut self.workers[number];
        let parts = WorkerParts {
            number,
            settings: Arc::clone(&self.settings),
            log: self.log.clone(),
            topology: Arc::clone(&self.topology),
            directory: self.directory.clone(),
            files: self.files.clone(),
            throttle: self.throttle.clone(),
            salts: self.salts.clone(),
            tls: self.tls.clone(),
            budget: self.budget.clone(),
            census: self.census.clone(),
            greetings: self.greetings.clone(),
            load: Arc::clone(&seated.load),
        };
        let arbiter = seated.arbiter.handle();
        let worker =
            self.children.start_on(&arbiter, Child::Worker(number), |_| Worker::new(parts));
        let seat = Seat { worker: worker.clone().recipient(), load: Arc::clone(&seated.load) };
        seated.worker = Some(worker);
        let mut seats = self.seats.borrow_mut();
        match seats.get_mut(number) {
            Some(former) => *former = seat,
            None => seats.push(seat),
        }
    }

    fn policy(&mut self, child: Child) -> &mut RestartPolicy {
        match child {
            Child::Coordinator => &mut self.coordinator,
            Child::ClientListener => &mut self.listener,
            Child::CertificateKeeper => &mut self.certificates,
            Child::Worker(number) => &mut self.workers[number].policy,
        }
    }

    fn workers(&self) -> impl Iterator<Item = &Addr<Worker>> {
        self.workers.iter().filter_map(|seated| seated.worker.as_ref())
    }

    /// Lets nobody in any more, and has the workers drain.
    fn drain(&mut self, signal: &str, ctx: &mut Context<Self>) {
        self.stopping = true;
        let limit = self.settings.process.shutdown_timeout;
        event!(
            self.log,
            Info,
            Draining,
            "{} received: transactions may finish within process.shutdown_timeout ({} ms); a second \
             signal ends at once",
            signal,
            limit.as_millis()
        );
        // Without listener and doors the kernel refuses new clients.
        self.doors.clear();
        self.end_child(Child::ClientListener);
        for worker in self.workers() {
            worker.do_send(Drain);
        }
        ctx.run_later(limit, |root, ctx| {
            event!(
                root.log,
                Warning,
                DrainTimedOut,
                "process.shutdown_timeout is over: the sessions that are left are closed"
            );
            root.halt(ctx);
        });
    }

    fn end_child(&mut self, child: Child) {
        self.children.abort(|other| *other == child);
    }

    /// Ends everything now.
    fn halt(&mut self, ctx: &mut Context<Self>) {
        for worker in self.workers() {
            worker.do_send(Halt);
        }
        self.stopping = true;
        self.end_if_done(ctx);
    }

    fn end_if_done(&mut self, ctx: &mut Context<Self>) {
        let working = self.workers.iter().any(|seated| seated.worker.is_some());
        if !self.stopping || working {
            return;
        }
        for Seated { arbiter, .. } in self.workers.drain(..) {
            arbiter.stop();
            // A thread that panicked has been reported already.
            let _ = arbiter.join();
        }
        if let Some(done) = self.done.take() {
            // Nobody waits when the process is ending anyway.
            let _ = done.send(());
        }
        ctx.stop();
    }
}

impl Actor for Root {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        watch_children(ctx);
        for number in 0..self.settings.process.workers {
            let (arbiter, load) = (Arbiter::new(), Arc::default());
            self.workers.push(Seated {
                arbiter,
                worker: None,
                policy: RestartPolicy::permanent(),
                load,
            });
            self.start_child(Child::Worker(number), ctx);
        }
        self.start_child(Child::CertificateKeeper, ctx);
        self.start_child(Child::Coordinator, ctx);
        self.start_child(Child::ClientListener, ctx);
    }
}

impl Handler<Apply> for Root {
    type Result = ();

    fn handle(&mut self, apply: Apply, _: &mut Self::Context) {
        self.topology = Arc::clone(&apply.topology);
        for worker in self.workers() {
            worker.do_send(apply.clone());
        }
    }
}

impl Handler<StopAsked> for Root {
    type Result = ();

    fn handle(&mut self, StopAsked { signal, at_once }: StopAsked, ctx: &mut Self::Context) {
        if at_once || self.stopping {
            event!(self.log, Info, Draining, "{} received: every session is closed now", signal);
            self.halt(ctx);
        } else {
            self.drain(signal, ctx);
        }
    }
}

impl Parent for Root {
    type ChildId = Child;

    fn nursery(&mut self) -> &mut Nursery<Child> {
        &mut self.children
    }

    fn child_exited(&mut self, child: Child, exit: Exit, ctx: &mut Context<Self>) {
        if let Child::Worker(number) = child
            && let Some(seated) = self.workers.get_mut(number)
        {
            seated.worker = None;
        }
        if self.stopping {
            return self.end_if_done(ctx);
        }
        match self.policy(child).ended(Instant::now()) {
            Restart::After(pause) => {
                event!(
                    self.log,
                    Error,
                    ActorRestarted,
                    "{} ended ({}) and is started again",
                    child,
                    exit
                );
                ctx.run_later(pause, move |root, ctx| {
                    if !root.stopping {
                        root.start_child(child, ctx);
                    }
                });
            }
            Restart::GiveUp if child == Child::Coordinator => event!(
                self.log,
                Critical,
                ActorLost,
                "{} ends again and again ({}): traffic goes on by the last topology, and no decision \
                 is taken until understudy is restarted",
                child,
                exit
            ),
            Restart::GiveUp => {
                event!(
                    self.log,
                    Critical,
                    ActorLost,
                    "{} ends again and again ({}): understudy ends, so that its supervisor can start \
                     it afresh",
                    child,
                    exit
                );
                self.halt(ctx);
            }
        }
    }
}

// === impl Child ===

impl std::fmt::Display for Child {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Coordinator => f.write_str("the coordinator"),
            Self::ClientListener => f.write_str("the client listener"),
            Self::CertificateKeeper => f.write_str("the keeper of certificates"),
            Self::Worker(number) => write!(f, "worker {number}"),
        }
    }
}

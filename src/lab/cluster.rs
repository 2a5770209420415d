//! A primary and its standbys on this machine: real PostgreSQL nodes to try things on and to test
//! against.
//!
//! It makes, starts, breaks and repairs nodes and answers what they are doing. It knows nothing of the
//! proxy, and decides nothing by itself: who follows whom is the caller's word.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    conf::Secret,
    lab::{
        Binaries, LabError, Node, NodeRole, NodeState, Owner, Secrets, StopMode, config, node,
        owner,
        ports::{self, Reserved},
        seed::{self, Template},
        sql::Row,
        wait::wait_for,
    },
};

/// What kind of cluster to make. `ClusterSpec::default()` is what most tests want: three nodes in a
/// temporary directory on free ports, asynchronous replication, quick rather than durable.
#[derive(Clone, Debug)]
pub struct ClusterSpec {
    /// How many nodes; node 0 begins as the primary.
    pub nodes: usize,
    /// Where; `None` for a new directory that vanishes with the [`Cluster`]. One that is given must be
    /// missing or empty.
    pub dir: Option<PathBuf>,
    /// Node N listens on this port plus N; 0 picks free ports.
    pub first_port: u16,
    /// A commit waits until one of the other nodes has it, too.
    pub synchronous: bool,
    /// A new initdb, hence a system identifier that no other cluster has. Otherwise a template is
    /// copied, which is quicker.
    pub fresh: bool,
    /// Further lines for every node's postgresql.conf; they win.
    pub settings: Vec<(String, String)>,
    /// Directory of PostgreSQL's programs, when not to be searched for.
    pub pg_bin: Option<PathBuf>,
}

/// Nodes of one replication cluster. Dropping it ends every process and removes every file.
///
/// All methods take `&self`: a test may share it between threads.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    pg: Binaries,
    owner: Owner,
    secrets: Secrets,
    nodes: Vec<Node>,
    options: Options,
    cancelled: Cancel,
    ending: Ending,
    _reserved: Vec<Reserved>,
}

/// The role somebody logs in as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// `app`, owner of database `app`.
    App,
    /// `understudy`, with the proxy's own grants, in database `postgres`.
    Understudy,
    /// `replicator`, in database `postgres`.
    Replicator,
    /// `postgres`, over the unix socket.
    Superuser,
}

/// What is remembered of a [`ClusterSpec`] for as long as the nodes exist.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) synchronous: bool,
    pub(crate) durable: bool,
    pub(crate) settings: Vec<(String, String)>,
}

/// Set from outside to make waits end with [`LabError::Interrupted`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Cancel(Arc<AtomicBool>);

/// What dropping a cluster does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Ends the processes and removes the files.
    Remove,
    /// Nothing: the nodes belong to the directory, not to this value.
    Leave,
}

/// Everything that is known before the first file is written.
pub(crate) struct Plan {
    pub(crate) dir: PathBuf,
    pub(crate) ports: Vec<u16>,
    pub(crate) pg: Binaries,
    pub(crate) secrets: Secrets,
    pub(crate) options: Options,
    pub(crate) cancelled: Cancel,
    pub(crate) ending: Ending,
    /// Whether nodes outlive the process that starts them.
    pub(crate) apart: bool,
}

// === impl ClusterSpec ===

impl Default for ClusterSpec {
    fn default() -> Self {
        Self {
            nodes: 3,
            dir: None,
            first_port: 0,
            synchronous: false,
            fresh: false,
            settings: Vec::new(),
            pg_bin: None,
        }
    }
}

impl ClusterSpec {
    /// The default with another number of nodes.
    #[must_use]
    pub fn with_nodes(nodes: usize) -> Self {
        Self { nodes, ..Self::default() }
    }
}

// === impl Cluster ===

impl Cluster {
    /// Makes the nodes, starts them all and waits until every standby streams from node 0.
    ///
    /// # Errors
    /// When PostgreSQL is missing, a port is taken, or a node does not come up; nothing is left then.
    pub fn create(spec: ClusterSpec) -> Result<Self, LabError> {
        let pg = Binaries::find(spec.pg_bin.as_deref())?;
        let owner = Owner::detect()?;
        let reserved = if spec.first_port == 0 { ports::reserve(spec.nodes)? } else { Vec::new() };
        let ports: Vec<u16> = if reserved.is_empty() {
            (spec.first_port..).take(spec.nodes).collect()
        } else {
            reserved.iter().map(|r| r.port).collect()
        };
        if let Some(port) = ports.iter().find(|p| !ports::is_free(**p)) {
            let remedy = "choose other ports for the nodes".to_owned();
            return Err(LabError::PortTaken { port: *port, remedy });
        }
        let cancelled = Cancel::default();
        let template = if spec.fresh {
            None
        } else {
            Some(Template::find(&cache(&owner)?, &pg, &owner, &|| cancelled.is_set())?)
        };
        let secrets = template.as_ref().map_or_else(Secrets::random, Template::secrets)?;
        let dir = spec.dir.map_or_else(temporary_dir, Ok)?;
        // Dropping the cluster removes the directory: it must hold nothing of anybody else's.
        if fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(LabError::NotALab { dir });
        }
        let options =
            Options { synchronous: spec.synchronous, durable: false, settings: spec.settings };
        let ending = Ending::Remove;
        let plan = Plan { dir, ports, pg, secrets, options, cancelled, ending, apart: false };
        let mut cluster = Self::lay_out(plan)?;
        cluster._reserved = reserved;
        match &template {
            Some(template) => template.copy_to(&cluster.nodes[0])?,
            None => cluster.seed()?,
        }
        cluster.copy_standbys()?;
        cluster.start_all()?;
        Ok(cluster)
    }

    /// The directory everything is in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// True for a cluster without nodes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// All nodes, by number.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node.
    ///
    /// # Panics
    /// When there is no such node.
    #[must_use]
    pub fn node(&self, id: usize) -> &Node {
        &self.nodes[id]
    }

    /// PostgreSQL's programs.
    #[must_use]
    pub fn binaries(&self) -> &Binaries {
        &self.pg
    }

    /// The passwords.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The password of a role; the superuser has none.
    #[must_use]
    pub fn password(&self, login: Login) -> Option<&Secret> {
        match login {
            Login::App => Some(&self.secrets.app),
            Login::Understudy => Some(&self.secrets.understudy),
            Login::Replicator => Some(&self.secrets.replicator),
            Login::Superuser => None,
        }
    }

    /// A connection string for a node, for libpq and tokio-postgres alike, password included.
    #[must_use]
    pub fn conninfo(&self, id: usize, login: Login) -> String {
        let node = &self.nodes[id];
        let host = match login {
            Login::Superuser => config::conninfo_value(&node.dir().display().to_string()),
            _ => "127.0.0.1".to_owned(),
        };
        let password =
            self.password(login).map(|p| format!(" password={}", p.reveal())).unwrap_or_default();
        let (user, database) = (login.user(), login.database());
        format!("host={host} port={} user={user} dbname={database}{password}", node.port())
    }

    /// Runs statements on a node as superuser; see [`Node::query`].
    ///
    /// # Errors
    /// [`LabError::Sql`].
    pub fn query(&self, id: usize, sql: &str) -> Result<Vec<Row>, LabError> {
        self.nodes[id].query(sql)
    }

    /// One value from a node as superuser; see [`Node::value`].
    ///
    /// # Errors
    /// [`LabError::Sql`].
    pub fn value(&self, id: usize, sql: &str) -> Result<String, LabError> {
        self.nodes[id].value(sql)
    }

    /// Starts a node as its data directory says and waits until it answers. A node that runs is left
    /// alone. An old primary comes back as a primary, however wrong that is: see [`Cluster::rejoin`].
    ///
    /// # Errors
    /// When it does not come up, with the end of its log.
    pub fn start(&self, id: usize) -> Result<(), LabError> {
        let node = &self.nodes[id];
        if node.pid().is_some() {
            return Ok(());
        }
        if !ports::is_free(node.port()) {
            let remedy = "take the lab down and choose other ports".to_owned();
            return Err(LabError::PortTaken { port: node.port(), remedy });
        }
        let pid = node.spawn(&self.pg, &[])?;
        node.await_ready(pid, &|| self.cancelled.is_set())
    }

    /// Stops a node; see [`Node::stop`].
    ///
    /// # Errors
    /// When it does not stop.
    pub fn stop(&self, id: usize, mode: StopMode) -> Result<(), LabError> {
        self.nodes[id].stop(mode)
    }

    /// Ends a node as a power cut would; see [`Node::kill`].
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&self, id: usize) -> Result<(), LabError> {
        self.nodes[id].kill()
    }

    /// Freezes a node; see [`Node::pause`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self, id: usize) -> Result<(), LabError> {
        self.nodes[id].pause()
    }

    /// Thaws a node; see [`Node::resume`].
    ///
    /// # Errors
    /// When the system refuses.
    pub fn resume(&self, id: usize) -> Result<(), LabError> {
        self.nodes[id].resume()
    }

    /// Makes a standby the primary and waits until it takes writes. The others are not re-pointed:
    /// see [`Cluster::follow`].
    ///
    /// # Errors
    /// When it is not a running standby.
    pub fn promote(&self, id: usize) -> Result<(), LabError> {
        let promoted = self.nodes[id].value("SELECT pg_promote(true, 30)")?;
        if promoted == "t" {
            return Ok(());
        }
        Err(LabError::Refused(format!("{} was not promoted within 30 s", node::name(id))))
    }

    /// The first node that is running, answers, and is out of recovery.
    #[must_use]
    pub fn primary(&self) -> Option<usize> {
        self.nodes
            .iter()
            .filter(|n| n.state() == NodeState::Running)
            .find(|n| n.role() == Some(NodeRole::Primary))
            .map(Node::id)
    }

    /// Waits until `standby` streams from `upstream`, by the word of the upstream.
    ///
    /// # Errors
    /// [`LabError::TimedOut`] with the standby's state.
    pub fn await_streaming(&self, standby: usize, upstream: usize) -> Result<(), LabError> {
        let name = node::name(standby);
        let what = format!("{name} to stream from {}", node::name(upstream));
        self.wait_for(&what, || {
            let state = self.nodes[upstream].value(&format!(
                "SELECT state FROM pg_stat_replication WHERE application_name = '{name}'"
            ))?;
            Ok(if state == "streaming" { Ok(()) } else { Err(Some(format!("state {state:?}"))) })
        })
    }

    /// Waits until `standby` has replayed all that `upstream` has written by now.
    ///
    /// # Errors
    /// [`LabError::TimedOut`].
    pub fn await_caught_up(&self, standby: usize, upstream: usize) -> Result<(), LabError> {
        let goal = self.nodes[upstream].value("SELECT pg_current_wal_lsn()")?;
        let sql = format!("SELECT pg_last_wal_replay_lsn() >= '{goal}'");
        let what = format!("{} to replay up to {goal}", node::name(standby));
        self.wait_for(&what, || {
            Ok(if self.nodes[standby].value(&sql)? == "t" { Ok(()) } else { Err(None) })
        })
    }

    /// A node's system identifier, also of a stopped one.
    ///
    /// # Errors
    /// When its data directory is not readable as such.
    pub fn system_identifier(&self, id: usize) -> Result<String, LabError> {
        self.nodes[id].control_data(&self.pg, "Database system identifier")
    }

    /// Stops every node. Frozen ones thaw first: a primary waits for its standbys when it stops.
    ///
    /// # Errors
    /// The first that does not stop; the rest are stopped all the same.
    pub fn stop_all(&self, mode: StopMode) -> Result<(), LabError> {
        let mut result = Ok(());
        for node in &self.nodes {
            result = result.and(node.resume());
        }
        let (standbys, primaries): (Vec<_>, Vec<_>) =
            self.nodes.iter().partition(|n| n.is_standby_on_disk());
        for node in primaries.into_iter().chain(standbys) {
            result = result.and(node.stop(mode));
        }
        result
    }

    /// Directories and configuration, no data yet.
    pub(crate) fn lay_out(plan: Plan) -> Result<Self, LabError> {
        let cluster = Self::open(plan)?;
        fs::create_dir_all(&cluster.dir).map_err(LabError::io("create", &cluster.dir))?;
        // The nodes' owner passes through to a directory whose name it knows.
        owner::set_mode(&cluster.dir, 0o711)?;
        cluster.owner.check_reach(&cluster.dir)?;
        for node in &cluster.nodes {
            cluster.owner.make_dir(node.dir())?;
        }
        cluster.write_configuration()?;
        Ok(cluster)
    }

    /// The value for nodes that may exist already.
    pub(crate) fn open(plan: Plan) -> Result<Self, LabError> {
        let owner = Owner::detect()?;
        let nodes: Vec<_> = plan
            .ports
            .iter()
            .enumerate()
            .map(|(id, port)| {
                let dir = plan.dir.join(node::name(id));
                Node::new(id, dir, *port, owner.clone(), plan.apart)
            })
            .collect();
        for node in &nodes {
            let socket = node.dir().join(format!(".s.PGSQL.{}", node.port()));
            if socket.as_os_str().len() > SOCKET_PATH_MAX {
                return Err(LabError::PathTooLong {
                    dir: node.dir().to_owned(),
                    limit: SOCKET_PATH_MAX,
                });
            }
        }
        Ok(Self {
            dir: plan.dir,
            pg: plan.pg,
            owner,
            secrets: plan.secrets,
            nodes,
            options: plan.options,
            cancelled: plan.cancelled,
            ending: plan.ending,
            _reserved: Vec::new(),
        })
    }

    /// Writes each node's files beside its data directory.
    pub(crate) fn write_configuration(&self) -> Result<(), LabError> {
        for node in &self.nodes {
            let config = config::NodeConfig {
                id: node.id(),
                dir: node.dir(),
                port: node.port(),
                major: self.pg.major(),
                durable: self.options.durable,
                synchronous: self.options.synchronous.then_some(self.nodes.len()),
                extra: &self.options.settings,
            };
            self.owner.write(&node.dir().join("postgresql.conf"), &config.text())?;
            self.owner.write(&node.dir().join("pg_hba.conf"), config::hba())?;
            let line = format!("*:*:*:replicator:{}\n", self.secrets.replicator.reveal());
            self.owner.write(&config::passfile(node.dir()), &line)?;
        }
        Ok(())
    }

    /// Makes the data directory of node 0.
    pub(crate) fn seed(&self) -> Result<(), LabError> {
        seed::seed(&self.nodes[0], &self.pg, &self.secrets, self.options.durable, &|| {
            self.cancelled.is_set()
        })
    }

    /// From now on dropping this value leaves the nodes alone.
    pub(crate) fn leave(&mut self) {
        self.ending = Ending::Leave;
    }

    /// Writes which node this one follows, and that it is a standby. The node must be stopped.
    pub(crate) fn point(&self, id: usize, upstream: usize) -> Result<(), LabError> {
        let node = &self.nodes[id];
        let auto = node.data().join("postgresql.auto.conf");
        let before = fs::read_to_string(&auto).unwrap_or_default();
        let lines = config::upstream(
            self.nodes[upstream].port(),
            &config::passfile(node.dir()),
            &node::name(id),
        );
        self.owner.write(&auto, &(config::without_upstream(&before) + &lines))?;
        self.owner.write(&node.data().join("standby.signal"), "")
    }

    /// Makes the slot of `standby` on `upstream` unless it is there.
    pub(crate) fn make_slot(&self, upstream: usize, standby: usize) -> Result<(), LabError> {
        let slot = node::name(standby);
        self.nodes[upstream]
            .query(&format!(
                "SELECT pg_create_physical_replication_slot('{slot}') \
                 WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '{slot}')"
            ))
            .map(drop)
    }

    /// Asks until the answer comes; an SQL error counts as "not yet".
    pub(crate) fn wait_for<T>(
        &self,
        what: &str,
        mut attempt: impl FnMut() -> Result<Result<T, Option<String>>, LabError>,
    ) -> Result<T, LabError> {
        wait_for(what, STREAM_LIMIT, || {
            if self.cancelled.is_set() {
                return Err(LabError::Interrupted);
            }
            match attempt() {
                Err(LabError::Sql { node, message }) => Ok(Err(Some(format!("{node}: {message}")))),
                other => other,
            }
        })
    }

    /// The node's owner.
    pub(crate) fn owner(&self) -> &Owner {
        &self.owner
    }

    /// True when the data must survive the machine.
    pub(crate) fn is_durable(&self) -> bool {
        self.options.durable
    }

    /// Removes every file; the nodes must be stopped.
    pub(crate) fn remove_files(&self) -> Result<(), LabError> {
        fs::remove_dir_all(&self.dir).map_err(LabError::io("remove", &self.dir))
    }

    /// Standbys as cold copies of the stopped node 0.
    fn copy_standbys(&self) -> Result<(), LabError> {
        for node in &self.nodes[1..] {
            seed::copy(&self.nodes[0].data(), node)?;
            self.point(node.id(), 0)?;
        }
        Ok(())
    }

    /// The primary, then all standbys at once.
    fn start_all(&self) -> Result<(), LabError> {
        self.start(0)?;
        for standby in 1..self.len() {
            self.make_slot(0, standby)?;
        }
        let pids: Result<Vec<i32>, LabError> =
            self.nodes[1..].iter().map(|n| n.spawn(&self.pg, &[])).collect();
        for (node, pid) in self.nodes[1..].iter().zip(pids?) {
            node.await_ready(pid, &|| self.cancelled.is_set())?;
        }
        (1..self.len()).try_for_each(|standby| self.await_streaming(standby, 0))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.ending == Ending::Leave {
            return;
        }
        // A drop has nobody to complain to; what is left shows in the next test that wants the port.
        for node in &self.nodes {
            let _ = node.kill();
        }
        let _ = self.remove_files();
    }
}

// === impl Login ===

impl Login {
    /// The role's name.
    #[must_use]
    pub fn user(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Understudy => "understudy",
            Self::Replicator => "replicator",
            Self::Superuser => "postgres",
        }
    }

    /// The database it connects to.
    #[must_use]
    pub fn database(self) -> &'static str {
        match self {
            Self::App => "app",
            _ => "postgres",
        }
    }
}

// === impl Cancel ===

impl Cancel {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where templates are kept: in the build directory of the running test when the nodes' owner can
/// reach it, else among the temporary files.
fn cache(owner: &Owner) -> Result<PathBuf, LabError> {
    let executable = env::current_exe().unwrap_or_default();
    let target = executable.ancestors().find(|dir| dir.join("CACHEDIR.TAG").exists());
    let dir = target
        .filter(|dir| dir.as_os_str().len() + TEMPLATE_NAME_MAX <= SOCKET_PATH_MAX)
        .filter(|dir| owner.check_reach(dir).is_ok())
        .map_or_else(
            || env::temp_dir().join(format!("understudy-templates-{}", nix::unistd::geteuid())),
            |dir| dir.join("tmp/lab"),
        );
    fs::create_dir_all(&dir).map_err(LabError::io("create", &dir))?;
    Ok(dir)
}

fn temporary_dir() -> Result<PathBuf, LabError> {
    let number = getrandom::u32()
        .map_err(|e| LabError::Refused(format!("the system gives no random numbers: {e}")))?;
    Ok(env::temp_dir().join(format!("understudy-{}-{number:08x}", std::process::id())))
}

const STREAM_LIMIT: Duration = Duration::from_secs(60);
/// What a unix socket's address holds on Linux, without the final zero.
const SOCKET_PATH_MAX: usize = 107;
/// `/tmp/lab/template-0123456789abcdef/node0/.s.PGSQL.5432.lock`
const TEMPLATE_NAME_MAX: usize = 60;

//! Making the nodes of a cluster: directories, configuration, data, first start.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use nix::sys::statvfs::statvfs;

use crate::lab::{
    Binaries, Cluster, ClusterSpec, LabError, Node, Owner, Secrets, config, node, owner, ports,
    seed::{self, Template},
    spec::{Cancel, Ending, Options, Plan},
};

// === impl Cluster ===

impl Cluster {
    /// Makes the nodes, starts them all and waits until every standby streams from node 0.
    ///
    /// # Errors
    /// When PostgreSQL is missing, a port is taken, or a node does not come up; nothing is left then.
    pub fn create(spec: ClusterSpec) -> Result<Self, LabError> {
        if spec.nodes == 0 {
            return Err(LabError::Refused("a cluster has at least one node".to_owned()));
        }
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
        let temporary = spec.dir.is_none();
        if temporary {
            sweep(&owner);
        }
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
        cluster.reserved = reserved;
        if temporary {
            cluster.lock = Some(hold(&cluster.dir)?);
        }
        match &template {
            Some(template) => template.copy_to(&cluster.nodes[0])?,
            None => cluster.seed()?,
        }
        cluster.copy_standbys()?;
        cluster.start_all()?;
        Ok(cluster)
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
        if plan.options.synchronous && plan.ports.len() < 2 {
            let why =
                "synchronous replication needs a second node: every commit would wait for ever";
            return Err(LabError::Refused(why.to_owned()));
        }
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
            reserved: Vec::new(),
            lock: None,
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
        let standbys = &self.nodes[1..];
        let started: Vec<_> =
            standbys.iter().map(|n| n.spawn(&self.pg, &[])).collect::<Result<_, _>>()?;
        for (node, started) in standbys.iter().zip(&started) {
            node.await_ready(started, &|| self.cancelled.is_set())?;
        }
        (1..self.len()).try_for_each(|standby| self.await_streaming(standby, 0))
    }
}

/// Where templates are kept: in the build directory of the running test when the nodes' owner can
/// reach it and we may write there, else among the temporary files.
fn cache(owner: &Owner) -> Result<PathBuf, LabError> {
    let us = nix::unistd::geteuid();
    let executable = env::current_exe().unwrap_or_default();
    let built = executable
        .ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").exists())
        .map(|target| target.join(format!("tmp/lab-{us}")))
        .filter(|dir| dir.as_os_str().len() + TEMPLATE_NAME_MAX <= SOCKET_PATH_MAX)
        .filter(|dir| fs::create_dir_all(dir).is_ok() && owner.check_reach(dir).is_ok());
    if let Some(dir) = built {
        return Ok(dir);
    }
    let dir = env::temp_dir().join(format!("understudy-templates-{us}"));
    fs::create_dir_all(&dir).map_err(LabError::io("create", &dir))?;
    Ok(dir)
}

fn temporary_dir() -> Result<PathBuf, LabError> {
    let number = getrandom::u32()
        .map_err(|e| LabError::Refused(format!("the system gives no random numbers: {e}")))?;
    Ok(scratch().join(format!("{TEMPORARY}{number:08x}")))
}

/// Where temporary clusters live: where TMPDIR says, or in memory when that is roomy (copying a data
/// directory takes a fifth of the time there), or among the temporary files.
fn scratch() -> PathBuf {
    let roomy = || {
        let memory = statvfs(MEMORY).ok()?;
        let free = memory.blocks_available().saturating_mul(memory.fragment_size());
        (free >= ROOMY_BYTES).then(|| PathBuf::from(MEMORY))
    };
    if env::var_os("TMPDIR").is_some() {
        env::temp_dir()
    } else {
        roomy().unwrap_or_else(env::temp_dir)
    }
}

/// Says that a temporary directory is in use, until the file is closed, be it by our death.
fn hold(dir: &Path) -> Result<fs::File, LabError> {
    let path = dir.join(HELD);
    let file = fs::File::create(&path).map_err(LabError::io("create", &path))?;
    file.lock().map_err(LabError::io("lock", &path))?;
    Ok(file)
}

/// Removes what clusters left whose process was killed before it could drop them.
fn sweep(owner: &Owner) {
    let entries = fs::read_dir(scratch()).into_iter().flatten().flatten();
    let ours = entries.filter(|e| e.file_name().to_string_lossy().starts_with(TEMPORARY));
    for dir in ours.map(|e| e.path()) {
        let orphaned = fs::File::open(dir.join(HELD)).is_ok_and(|file| file.try_lock().is_ok());
        if !orphaned {
            continue;
        }
        let nodes = fs::read_dir(&dir).into_iter().flatten().flatten();
        for node in nodes.map(|e| e.path()).filter(|p| p.join("data").is_dir()) {
            // Others may sweep at the same moment: what fails here succeeds there.
            let _ = Node::new(0, node, 0, owner.clone(), false).kill();
        }
        let _ = fs::remove_dir_all(&dir);
    }
}

const MEMORY: &str = "/dev/shm";
/// Several clusters with some hundred megabytes each must find room.
const ROOMY_BYTES: u64 = 4 << 30;
/// How the names of temporary directories begin.
const TEMPORARY: &str = "understudy-lab-";
/// The file that is locked while a temporary directory is in use.
const HELD: &str = "held";
/// What a unix socket's address holds on Linux, without the final zero.
const SOCKET_PATH_MAX: usize = 107;
/// `/template-0123456789abcdef/node0/.s.PGSQL.5432.lock`
const TEMPLATE_NAME_MAX: usize = 52;

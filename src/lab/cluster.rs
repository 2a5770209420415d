//! A primary and its standbys on this machine: real PostgreSQL nodes to try things on and to test
//! against.
//!
//! It makes, starts, breaks and repairs nodes and answers what they are doing. It knows nothing of the
//! proxy, and decides nothing by itself: who follows whom is the caller's word.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::{
    conf::Secret,
    lab::{
        Binaries, LabError, Login, Node, NodeRole, NodeState, Owner, Secrets, StopMode, config,
        log, node,
        ports::{self, Reserved},
        spec::{Cancel, Ending, Options},
        sql::Row,
        wait::wait_for,
    },
};

/// Nodes of one replication cluster. Dropping it ends every process and removes every file.
///
/// All methods take `&self`: a test may share it between threads.
#[derive(Debug)]
pub struct Cluster {
    pub(super) dir: PathBuf,
    pub(super) pg: Binaries,
    pub(super) owner: Owner,
    pub(super) secrets: Secrets,
    pub(super) nodes: Vec<Node>,
    pub(super) options: Options,
    pub(super) cancelled: Cancel,
    pub(super) ending: Ending,
    /// Kept for as long as the nodes may want their ports.
    pub(super) reserved: Vec<Reserved>,
    /// Kept for as long as a temporary directory is in use.
    pub(super) lock: Option<fs::File>,
}

// === impl Cluster ===

impl Cluster {
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
        let started = node.spawn(&self.pg, &[])?;
        node.await_ready(&started, &|| self.cancelled.is_set())
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
        self.await_streaming_within(STREAM_LIMIT, standby, upstream)
    }

    pub(crate) fn await_streaming_within(
        &self,
        limit: Duration,
        standby: usize,
        upstream: usize,
    ) -> Result<(), LabError> {
        let name = node::name(standby);
        let what = format!("{name} to stream from {}", node::name(upstream));
        self.wait_for(&what, limit, || {
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
        let goal = self.nodes[upstream].value("SELECT pg_current_wal_insert_lsn()")?;
        let sql = format!("SELECT pg_last_wal_replay_lsn() >= '{goal}'");
        let what = format!("{} to replay up to {goal}", node::name(standby));
        self.wait_for(&what, STREAM_LIMIT, || {
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

    /// From now on dropping this value leaves the nodes alone.
    pub(crate) fn leave(&mut self) {
        self.ending = Ending::Leave;
    }

    /// Asks until the answer comes; an SQL error counts as "not yet".
    pub(crate) fn wait_for<T>(
        &self,
        what: &str,
        limit: Duration,
        mut attempt: impl FnMut() -> Result<Result<T, Option<String>>, LabError>,
    ) -> Result<T, LabError> {
        wait_for(what, limit, || {
            if self.cancelled.is_set() {
                return Err(LabError::Interrupted);
            }
            match attempt() {
                Err(LabError::Sql { node, message }) => Ok(Err(Some(format!("{node}: {message}")))),
                other => other,
            }
        })
    }

    /// True when the data must survive the machine.
    pub(crate) fn is_durable(&self) -> bool {
        self.options.durable
    }

    /// Removes every file; the nodes must be stopped.
    pub(crate) fn remove_files(&self) -> Result<(), LabError> {
        fs::remove_dir_all(&self.dir).map_err(LabError::io("remove", &self.dir))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.ending == Ending::Leave {
            return;
        }
        for node in &self.nodes {
            if thread::panicking() {
                // The logs are about to vanish, and somebody will want to know what happened.
                let end = log::tail(&node.log(), 0, 20);
                let _ = writeln!(io::stderr(), "--- the end of {}'s log:\n{end}", node.name());
            }
            // A drop has nobody to complain to; the next cluster sweeps up what is left.
            let _ = node.kill();
        }
        let _ = self.remove_files();
    }
}

const STREAM_LIMIT: Duration = Duration::from_secs(60);

//! One PostgreSQL node: its files and its processes. It knows nothing of other nodes.

use std::{
    fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;
use tokio_postgres::Config;

use crate::lab::{
    Binaries, LabError, Owner, binaries, log, process,
    sql::{self, Row},
    wait::wait_for,
};

/// A node of the lab.
#[derive(Debug)]
pub struct Node {
    id: usize,
    dir: PathBuf,
    port: u16,
    owner: Owner,
    /// Whether the node leaves its starter's process group, so as to outlive it.
    apart: bool,
}

/// What a node's processes do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// There are none.
    Stopped,
    /// They run.
    Running,
    /// They are frozen by SIGSTOP.
    Paused,
}

/// How a node is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Wait for the clients to leave (SIGTERM).
    Smart,
    /// Disconnect the clients, write a checkpoint (SIGINT).
    Fast,
    /// Leave at once; recovery at the next start (SIGQUIT).
    Immediate,
}

/// What a node is in replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeRole {
    /// Takes writes.
    Primary,
    /// In recovery.
    Standby,
}

/// A process just started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    pid: i32,
    /// Where in the log its words begin.
    log_start: u64,
}

// === impl Node ===

impl Node {
    pub(crate) fn new(id: usize, dir: PathBuf, port: u16, owner: Owner, apart: bool) -> Self {
        Self { id, dir, port, owner, apart }
    }

    /// Its number, from 0.
    #[must_use]
    pub fn id(&self) -> usize {
        self.id
    }

    /// `node0`: its name in logs, in `pg_stat_replication` and as a slot.
    #[must_use]
    pub fn name(&self) -> String {
        name(self.id)
    }

    /// Its directory: configuration, log, unix socket and data.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Its server log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of its postmaster, while that lives.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        let pid = text.lines().next()?.trim().parse().ok()?;
        // After a crash the file stays and the number may belong to somebody else by now.
        let ours = process::alive(pid)
            && process::working_directory(pid)
                .is_none_or(|cwd| fs::canonicalize(self.data()).is_ok_and(|data| data == cwd));
        ours.then_some(pid)
    }

    /// What its processes do.
    #[must_use]
    pub fn state(&self) -> NodeState {
        match self.pid() {
            None => NodeState::Stopped,
            Some(pid) if process::frozen(pid) => NodeState::Paused,
            Some(_) => NodeState::Running,
        }
    }

    /// Its role as the node itself says it; `None` when it does not answer.
    #[must_use]
    pub fn role(&self) -> Option<NodeRole> {
        let answer = self.value("SELECT pg_is_in_recovery()").ok()?;
        Some(if answer == "t" { NodeRole::Standby } else { NodeRole::Primary })
    }

    /// True when the data directory says that the node will start as a standby.
    #[must_use]
    pub fn is_standby_on_disk(&self) -> bool {
        self.data().join("standby.signal").exists()
    }

    /// Runs statements as superuser over the unix socket and returns the rows as text.
    ///
    /// # Errors
    /// [`LabError::Sql`] with PostgreSQL's words, also when there is no answer within ten seconds.
    pub fn query(&self, sql: &str) -> Result<Vec<Row>, LabError> {
        self.query_in("postgres", sql)
    }

    /// Like [`Node::query`], in another database than `postgres`.
    ///
    /// # Errors
    /// [`LabError::Sql`].
    pub fn query_in(&self, database: &str, sql: &str) -> Result<Vec<Row>, LabError> {
        let mut config = Config::new();
        config.host_path(&self.dir).port(self.port).user("postgres").dbname(database);
        config.application_name("understudy lab");
        sql::query(&config, sql, ANSWER_LIMIT)
            .map_err(|message| LabError::Sql { node: self.name(), message })
    }

    /// The first column of the first row; empty for NULL and for no row.
    ///
    /// # Errors
    /// [`LabError::Sql`].
    pub fn value(&self, sql: &str) -> Result<String, LabError> {
        let rows = self.query(sql)?;
        Ok(rows.into_iter().next().and_then(|row| row.into_iter().next()?).unwrap_or_default())
    }

    /// A field of `pg_controldata`, e.g. `Database system identifier`; works on a stopped node.
    ///
    /// # Errors
    /// When the program fails or knows no such field.
    pub fn control_data(&self, binaries: &Binaries, field: &str) -> Result<String, LabError> {
        let mut command = self.program(&binaries.path("pg_controldata"));
        let text = binaries::run(command.arg("-D").arg(self.data()))?;
        text.lines()
            .find_map(|line| Some(line.strip_prefix(field)?.strip_prefix(':')?.trim().to_owned()))
            .ok_or_else(|| LabError::Refused(format!("pg_controldata shows no {field:?}")))
    }

    /// The newest timeline of which it has WAL, running or not. The control file may lag behind a
    /// promotion.
    pub(crate) fn newest_timeline(&self) -> Option<u32> {
        let wal = fs::read_dir(self.data().join("pg_wal")).ok()?;
        wal.filter_map(|e| {
            let name = e.ok()?.file_name();
            let name = name.to_str()?;
            // Segments are 24 digits; beside them lie histories and directories.
            let timeline = name.get(..8)?;
            (name.len() == 24 || name.ends_with(".history")).then_some(())?;
            u32::from_str_radix(timeline, 16).ok()
        })
        .max()
    }

    /// Starts the process and does not wait. `extra` are further arguments. The node must not run.
    pub(crate) fn spawn(&self, binaries: &Binaries, extra: &[&str]) -> Result<Started, LabError> {
        self.remove_stale_locks()?;
        let (log_start, file, again) = log::append(&self.log())?;
        let program = binaries.path("postgres");
        let mut command = self.program(&program);
        command.arg("-D").arg(self.data()).args(extra).stdout(file).stderr(again);
        if self.apart {
            command.process_group(0);
        }
        let mut server = command.spawn().map_err(LabError::io("run", &program))?;
        let pid = server.id().cast_signed();
        // Somebody must collect it when it ends; this thread waits for nothing else.
        thread::spawn(move || server.wait());
        Ok(Started { pid, log_start })
    }

    /// Waits until the started process answers queries.
    pub(crate) fn await_ready(
        &self,
        started: &Started,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), LabError> {
        wait_for(&format!("{} to answer", self.name()), START_LIMIT, || {
            if cancelled() {
                return Err(LabError::Interrupted);
            }
            if !process::alive(started.pid) {
                let log = self.log();
                let tail = log::tail(&log, started.log_start, 15);
                return Err(LabError::Died { who: self.name(), log, tail });
            }
            Ok(self.query("SELECT 1").map(|_| ()).map_err(|e| Some(e.to_string())))
        })
    }

    /// Asks it to stop and waits until all its processes are gone. A frozen node thaws first.
    ///
    /// # Errors
    /// [`LabError::TimedOut`] when it does not.
    pub fn stop(&self, mode: StopMode) -> Result<(), LabError> {
        let Some(pid) = self.pid() else { return Ok(()) };
        self.resume()?;
        let members = process::family(pid);
        let signal = match mode {
            StopMode::Smart => Signal::SIGTERM,
            StopMode::Fast => Signal::SIGINT,
            StopMode::Immediate => Signal::SIGQUIT,
        };
        self.send(pid, signal)?;
        self.await_end(&members)
    }

    /// Ends all its processes at once with SIGKILL, as a machine that loses power does. Its data
    /// stays.
    ///
    /// # Errors
    /// When the system refuses the signal.
    pub fn kill(&self) -> Result<(), LabError> {
        let Some(pid) = self.pid() else { return Ok(()) };
        // Frozen first: no process may act, even for a moment, on the death of another.
        let members = process::freeze(pid).map_err(|e| self.no_signal(e))?;
        for member in &members {
            self.send(*member, Signal::SIGKILL)?;
        }
        self.await_end(&members)?;
        self.release_memory();
        Ok(())
    }

    /// Freezes all its processes: the node is silent, its connections stay open.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<(), LabError> {
        let Some(pid) = self.pid() else {
            return Err(LabError::Refused(format!("{} does not run", self.name())));
        };
        let members = process::freeze(pid).map_err(|e| self.no_signal(e))?;
        wait_for(&format!("{} to freeze", self.name()), STOP_LIMIT, || {
            let done = members.iter().all(|m| process::frozen(*m) || !process::alive(*m));
            Ok(if done { Ok(()) } else { Err(None) })
        })
    }

    /// Thaws it; no error when it is not frozen.
    ///
    /// # Errors
    /// When the system refuses the signal.
    pub fn resume(&self) -> Result<(), LabError> {
        let Some(pid) = self.pid() else { return Ok(()) };
        // The head last: it finds its members awake.
        for member in process::family(pid).into_iter().rev() {
            self.send(member, Signal::SIGCONT)?;
        }
        Ok(())
    }

    /// A command run as the node's owner in its directory.
    pub(crate) fn program(&self, program: &Path) -> Command {
        self.owner.command(program, &self.dir)
    }

    /// A killed postmaster leaves its lock files. PostgreSQL looks whether the process id in them is
    /// in use, and it is for as long as nobody collects the dead process: in a container without an
    /// init that may be for ever.
    fn remove_stale_locks(&self) -> Result<(), LabError> {
        if self.pid().is_some() {
            return Err(LabError::Refused(format!("{} runs already", self.name())));
        }
        let socket = format!(".s.PGSQL.{}", self.port);
        let socket_lock = format!("{socket}.lock");
        for file in [
            &self.data().join("postmaster.pid"),
            &self.dir.join(socket),
            &self.dir.join(socket_lock),
        ] {
            match fs::remove_file(file) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(LabError::io("remove", file)(e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn send(&self, pid: i32, signal: Signal) -> Result<(), LabError> {
        process::send(pid, signal).map_err(|e| self.no_signal(e))
    }

    fn no_signal(&self, errno: nix::errno::Errno) -> LabError {
        LabError::Refused(format!("cannot signal the processes of {}: {errno}", self.name()))
    }

    fn await_end(&self, members: &[i32]) -> Result<(), LabError> {
        wait_for(&format!("{} to end", self.name()), STOP_LIMIT, || {
            let left: Vec<_> = members.iter().filter(|m| process::alive(**m)).collect();
            Ok(if left.is_empty() { Ok(()) } else { Err(Some(format!("{left:?} live"))) })
        })
    }

    /// The System V segment by which PostgreSQL notices a second postmaster outlives a kill; a
    /// machine that lost power would not have it, and nobody else collects it.
    fn release_memory(&self) {
        let Ok(text) = fs::read_to_string(self.data().join("postmaster.pid")) else { return };
        let segment = text.lines().nth(6).and_then(|line| line.split_whitespace().nth(1));
        if let Some(segment) = segment {
            // Where the program is missing a few bytes stay until the next start: not worth an error.
            let _ = Command::new("ipcrm")
                .args(["-m", segment])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// The name of a node by its number.
pub(crate) fn name(id: usize) -> String {
    format!("node{id}")
}

const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(70);

//! A lab on disk: what is in its directory, and finding it again from another terminal.
//!
//! ```text
//! lab.toml          what was made: ports, programs, replication
//! lock              held while a command makes or unmakes something
//! secrets/          one password file per role
//! pgpass            the application's login, for PGPASSFILE
//! understudy.toml   the proxy's configuration     understudy.log, understudy.pid
//! node0/ …          postgresql.conf, pg_hba.conf, log, the unix socket, data/
//! ```

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::lab::{
    Binaries, Cluster, LabError, Node, Owner, Secrets, owner,
    spec::{Cancel, Ending, Options, Plan},
};

/// The directory of a lab.
#[derive(Clone, Debug)]
pub(crate) struct Directory(PathBuf);

/// What was made, as `lab.toml` keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) client_port: u16,
    pub(crate) node_ports: Vec<u16>,
    pub(crate) synchronous: bool,
    pub(crate) pg_bin: PathBuf,
}

// === impl Directory ===

impl Directory {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn record_file(&self) -> PathBuf {
        self.0.join("lab.toml")
    }

    pub(crate) fn secrets(&self) -> PathBuf {
        self.0.join("secrets")
    }

    pub(crate) fn passfile(&self) -> PathBuf {
        self.0.join("pgpass")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.0.join("understudy.toml")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("understudy.log")
    }

    pub(crate) fn pid_file(&self) -> PathBuf {
        self.0.join("understudy.pid")
    }

    /// True when a lab was made here.
    pub(crate) fn is_made(&self) -> bool {
        self.record_file().is_file()
    }

    /// Keeps other commands from making and unmaking, until the file is dropped.
    pub(crate) fn lock(&self) -> Result<File, LabError> {
        let path = self.0.join(LOCK);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(LabError::io("create", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(LabError::Busy { dir: self.0.clone() }),
            Err(TryLockError::Error(e)) => Err(LabError::io("lock", &path)(e)),
        }
    }

    /// What was made here.
    pub(crate) fn record(&self) -> Result<Record, LabError> {
        let file = self.record_file();
        let text = fs::read_to_string(&file).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => LabError::NoLab { dir: self.0.clone() },
            _ => LabError::io("read", &file)(e),
        })?;
        toml::from_str(&text)
            .map_err(|e| LabError::Refused(format!("{} is damaged: {e}", file.display())))
    }

    pub(crate) fn save(&self, record: &Record) -> Result<(), LabError> {
        let text = toml::to_string(record)
            .map_err(|e| LabError::Refused(format!("the lab cannot be described: {e}")))?;
        owner::write_private(&self.record_file(), &text)
    }

    /// The nodes that were made here. Dropping the value leaves them as they are.
    pub(crate) fn cluster(&self, record: &Record, cancelled: Cancel) -> Result<Cluster, LabError> {
        Cluster::open(Plan {
            dir: self.0.clone(),
            ports: record.node_ports.clone(),
            pg: Binaries::find(Some(&record.pg_bin))?,
            secrets: Secrets::load(&self.secrets())?,
            options: record.options(),
            cancelled,
            ending: Ending::Leave,
            apart: true,
        })
    }

    /// Removes what an interrupted command left; an error when something here is not a lab's. True
    /// when there was something.
    pub(crate) fn clear_unfinished(&self) -> Result<bool, LabError> {
        if !self.0.exists() {
            return Ok(false);
        }
        let strangers = self.entries().any(|name| !is_ours(&name));
        if strangers || !self.0.is_dir() {
            return Err(LabError::NotALab { dir: self.0.clone() });
        }
        let _unless_busy = self.lock()?;
        self.remove()?;
        Ok(true)
    }

    /// Ends what still runs here and removes all of the lab's files, and the directory (with its
    /// parent `understudy`) when nothing else is in it.
    pub(crate) fn remove(&self) -> Result<(), LabError> {
        let owner = Owner::detect()?;
        for name in self.entries().filter(|name| is_ours(name)) {
            let path = self.0.join(&name);
            let removed = if path.is_dir() {
                if node_number(&name).is_some() {
                    Node::new(0, path.clone(), 0, owner.clone(), true).kill()?;
                }
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.map_err(LabError::io("remove", &path))?;
        }
        // Fails when somebody else's files are in it, which then are none of our business.
        let gone = fs::remove_dir(&self.0).is_ok();
        if let Some(parent) = self.0.parent().filter(|p| gone && p.ends_with("understudy")) {
            let _ = fs::remove_dir(parent);
        }
        Ok(())
    }

    fn entries(&self) -> impl Iterator<Item = String> + use<> {
        let entries = fs::read_dir(&self.0).into_iter().flatten();
        entries.filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned()))
    }
}

// === impl Record ===

impl Record {
    pub(crate) fn options(&self) -> Options {
        Options { synchronous: self.synchronous, durable: true, settings: Vec::new() }
    }
}

fn is_ours(name: &str) -> bool {
    FILES.contains(&name) || node_number(name).is_some()
}

fn node_number(name: &str) -> Option<usize> {
    name.strip_prefix("node")?.parse().ok()
}

const LOCK: &str = "lock";
const FILES: [&str; 7] =
    ["lab.toml", LOCK, "secrets", "pgpass", "understudy.toml", "understudy.log", "understudy.pid"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_files_are_removed() {
        let home = tempfile::tempdir().unwrap();
        let dir = Directory::new(home.path().join("lab"));
        fs::create_dir_all(dir.path().join("node0")).unwrap();
        fs::write(dir.config(), "").unwrap();
        fs::write(dir.path().join("thesis.txt"), "").unwrap();
        assert!(matches!(dir.clear_unfinished(), Err(LabError::NotALab { .. })));
        dir.remove().unwrap();
        let left: Vec<_> = dir.entries().collect();
        assert_eq!(left, ["thesis.txt"]);
        fs::remove_file(dir.path().join("thesis.txt")).unwrap();
        dir.remove().unwrap();
        assert!(!dir.path().exists());
    }

    #[test]
    fn one_command_at_a_time() {
        let home = tempfile::tempdir().unwrap();
        let dir = Directory::new(home.path().to_owned());
        let held = dir.lock().unwrap();
        assert!(matches!(dir.lock(), Err(LabError::Busy { .. })));
        drop(held);
        dir.lock().unwrap();
    }

    #[test]
    fn a_record_comes_back() {
        let home = tempfile::tempdir().unwrap();
        let dir = Directory::new(home.path().to_owned());
        assert!(matches!(dir.record(), Err(LabError::NoLab { .. })));
        let record = Record {
            client_port: 6432,
            node_ports: vec![6433, 6434],
            synchronous: true,
            pg_bin: PathBuf::from("/opt/it's \"here\"/bin"),
        };
        dir.save(&record).unwrap();
        assert_eq!(dir.record().unwrap(), record);
    }
}

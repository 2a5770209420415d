//! The first data directory of a cluster: initdb, the roles, the application's database.
//!
//! Making one takes seconds, copying one a fraction, so tests keep a template: same version, same
//! making, hence the same system identifier and passwords. Who needs another identifier asks for a
//! fresh one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::lab::{Binaries, LabError, Node, Owner, Secrets, StopMode, binaries, config, owner};

/// Makes a data directory in `node` (whose directory exists and has its configuration) and leaves the
/// node stopped.
pub(crate) fn seed(
    node: &Node,
    pg: &Binaries,
    secrets: &Secrets,
    durable: bool,
    cancelled: &dyn Fn() -> bool,
) -> Result<(), LabError> {
    let mut initdb = node.program(&pg.path("initdb"));
    initdb.arg("-D").arg(node.data());
    initdb.args(["-U", "postgres", "--encoding=UTF8", "--no-locale"]);
    // For the pg_hba.conf inside, which ours beside the data directory replaces.
    initdb.args(["--auth-local=trust", "--auth-host=reject"]);
    if !durable {
        initdb.args(["--no-sync", "--wal-segsize=1"]);
    }
    binaries::run(&mut initdb)?;
    let inside = node.data().join("postgresql.conf");
    fs::write(&inside, config::INSIDE).map_err(LabError::io("write", &inside))?;

    let started = node.spawn(pg, &SEEDING)?;
    let made = node.await_ready(&started, cancelled).and_then(|()| {
        statements(pg.major(), secrets).iter().try_for_each(|s| node.query(s).map(drop))
    });
    match made {
        Ok(()) => node.stop(StopMode::Fast),
        Err(error) => {
            // The first error is the one to tell.
            let _ = node.kill();
            Err(error)
        }
    }
}

/// A template's directory for copying: `data`, `secrets` and a lock; made at the first call.
pub(crate) struct Template {
    dir: PathBuf,
}

// === impl Template ===

impl Template {
    /// Finds or makes the template for these programs below `cache`. Other processes wait meanwhile.
    pub(crate) fn find(
        cache: &Path,
        pg: &Binaries,
        owner: &Owner,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Self, LabError> {
        let dir = cache.join(format!("template-{:016x}", fingerprint(pg, owner)));
        let template = Self { dir };
        fs::create_dir_all(&template.dir).map_err(LabError::io("create", &template.dir))?;
        owner::set_mode(&template.dir, 0o711)?;
        let lock = template.dir.join("lock");
        let file = fs::File::create(&lock).map_err(LabError::io("create", &lock))?;
        file.lock().map_err(LabError::io("lock", &lock))?;
        if !template.finished().exists() {
            template.make(pg, owner, cancelled)?;
        }
        Ok(template)
    }

    /// Copies the data directory into a node.
    pub(crate) fn copy_to(&self, node: &Node) -> Result<(), LabError> {
        copy(&self.dir.join("node0").join("data"), node)
    }

    /// The passwords of its roles.
    pub(crate) fn secrets(&self) -> Result<Secrets, LabError> {
        Secrets::load(&self.dir.join("secrets"))
    }

    fn make(
        &self,
        pg: &Binaries,
        owner: &Owner,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), LabError> {
        let node_dir = self.dir.join("node0");
        if node_dir.exists() {
            // Somebody was killed while making it.
            let node = Node::new(0, node_dir.clone(), 0, owner.clone(), false);
            node.kill()?;
            fs::remove_dir_all(&node_dir).map_err(LabError::io("remove", &node_dir))?;
        }
        owner.make_dir(&node_dir)?;
        owner.check_reach(&node_dir)?;
        let port = 5432;
        let node = Node::new(0, node_dir.clone(), port, owner.clone(), false);
        let settings = config::NodeConfig {
            id: 0,
            dir: &node_dir,
            port,
            major: pg.major(),
            durable: false,
            synchronous: None,
            extra: &[],
        };
        owner.write(&node_dir.join("postgresql.conf"), &settings.text())?;
        owner.write(&node_dir.join("pg_hba.conf"), config::hba())?;
        let secrets = Secrets::random()?;
        secrets.save(&self.dir.join("secrets"))?;
        seed(&node, pg, &secrets, false, cancelled)?;
        let finished = self.finished();
        fs::write(&finished, pg.version()).map_err(LabError::io("write", &finished))
    }

    fn finished(&self) -> PathBuf {
        self.dir.join("finished")
    }
}

/// Copies a stopped node's data directory into a node that has none.
pub(crate) fn copy(from: &Path, node: &Node) -> Result<(), LabError> {
    let mut cp = node.program(Path::new("cp"));
    binaries::run(cp.arg("-Rp").arg(from).arg(node.data())).map(drop)
}

fn statements(major: u32, secrets: &Secrets) -> Vec<String> {
    // Before 15 these parameters want a superuser; there is no grant to give.
    let parameters = if major >= 15 {
        "GRANT ALTER SYSTEM ON PARAMETER primary_conninfo, primary_slot_name TO understudy;"
    } else {
        ""
    };
    let setup = SETUP
        .replace("{app}", secrets.app.reveal())
        .replace("{replicator}", secrets.replicator.reveal())
        .replace("{understudy}", secrets.understudy.reveal())
        .replace("{parameters}", parameters);
    // CREATE DATABASE must be alone; nothing else in the file has a semicolon at the end of a line
    // and goes on.
    setup.split_inclusive(";\n").map(str::to_owned).collect()
}

/// Changes whenever a template made now would differ from one made before.
fn fingerprint(pg: &Binaries, owner: &Owner) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};

    let mut hasher = DefaultHasher::new();
    (pg.version(), pg.dir(), SETUP, config::hba(), SEEDING, FORMAT).hash(&mut hasher);
    format!("{owner:?}").hash(&mut hasher);
    hasher.finish()
}

const SETUP: &str = include_str!("setup.sql");
/// Reachable by nobody else, and waiting for no standby, until it is what it should be. The low limits
/// are remembered in the control file: a standby refuses to start with lower ones than that says.
const SEEDING: [&str; 8] = [
    "-c",
    "listen_addresses=",
    "-c",
    "synchronous_standby_names=",
    "-c",
    "max_connections=5",
    "-c",
    "max_wal_senders=1",
];
/// Raise it when the making changes in a way that the other parts of the fingerprint do not show.
const FORMAT: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_statement_is_whole() {
        let secrets = Secrets::random().unwrap();
        let statements = statements(15, &secrets);
        assert!(statements.iter().any(|s| s.trim() == "CREATE DATABASE app OWNER app;"));
        assert!(statements.iter().any(|s| s.contains("pg_temp") && s.trim_end().ends_with("$$;")));
        assert!(!statements.iter().any(|s| s.contains('{')));
    }
}

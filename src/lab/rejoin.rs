//! A node follows another one: a standby is re-pointed, an old primary is brought back.

use std::{fs, time::Duration};

use crate::lab::{Cluster, LabError, Node, NodeRole, NodeState, StopMode, binaries, config, node};

/// How a node came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejoined {
    /// With its own data, unwound to where the histories part where that was needed: quick.
    Rewound,
    /// Everything was copied anew.
    Copied,
}

// === impl Cluster ===

impl Cluster {
    /// Re-points a running standby to another upstream, without a restart.
    ///
    /// # Errors
    /// When one of the two does not answer, or the standby does not stream in the end.
    pub fn follow(&self, id: usize, upstream: usize) -> Result<(), LabError> {
        self.repoint(id, upstream)?;
        self.await_streaming(id, upstream)
    }

    fn repoint(&self, id: usize, upstream: usize) -> Result<(), LabError> {
        self.make_slot(upstream, id)?;
        let follower = self.node(id);
        let conninfo = config::replication_conninfo(
            self.node(upstream).port(),
            &config::passfile(follower.dir()),
        );
        let slot = node::name(id);
        // ALTER SYSTEM must stand alone, hence one by one.
        let quoted = conninfo.replace('\'', "''");
        follower.query(&format!("ALTER SYSTEM SET primary_conninfo = '{quoted}'"))?;
        follower.query(&format!("ALTER SYSTEM SET primary_slot_name = '{slot}'"))?;
        follower.query("SELECT pg_reload_conf()").map(drop)
    }

    /// Brings a node back as a standby of `upstream`, whatever it was and whatever became of it:
    /// stopped if it runs, rewound where its history permits, else copied anew, then started.
    ///
    /// # Errors
    /// When the upstream does not run, or the node does not stream in the end.
    pub fn rejoin(&self, id: usize, upstream: usize) -> Result<Rejoined, LabError> {
        if id == upstream {
            return Err(LabError::Refused(format!("{} cannot follow itself", node::name(id))));
        }
        if self.node(upstream).state() != NodeState::Running {
            return Err(LabError::Refused(format!(
                "{} does not run: nothing to follow",
                node::name(upstream)
            )));
        }
        self.settle(id)?;
        // The reason why a rewind is impossible is of no interest when a copy succeeds.
        let how = match self.rewind(id, upstream) {
            Ok(()) => Rejoined::Rewound,
            Err(LabError::Interrupted) => return Err(LabError::Interrupted),
            Err(_) => {
                self.base_backup(id, upstream)?;
                Rejoined::Copied
            }
        };
        self.make_slot(upstream, id)?;
        self.point(id, upstream)?;
        self.start(id)?;
        self.await_streaming(id, upstream)?;
        Ok(how)
    }

    /// Copies the upstream's data into the node with pg_basebackup, through a slot of its own. The
    /// node must be stopped; what it had is gone.
    ///
    /// # Errors
    /// When pg_basebackup fails.
    pub fn base_backup(&self, id: usize, upstream: usize) -> Result<(), LabError> {
        let target = self.node(id);
        let data = target.data();
        if data.exists() {
            fs::remove_dir_all(&data).map_err(LabError::io("remove", &data))?;
        }
        self.make_slot(upstream, id)?;
        let mut command = target.program(&self.binaries().path("pg_basebackup"));
        let passfile = config::passfile(target.dir());
        let conninfo = config::replication_conninfo(self.node(upstream).port(), &passfile);
        command.arg("-d").arg(conninfo).arg("-D").arg(&data);
        command.args(["--wal-method=stream", "--checkpoint=fast", "--no-password"]);
        command.arg("--slot").arg(node::name(id));
        if !self.is_durable() {
            command.arg("--no-sync");
        }
        binaries::run(&mut command).map(drop)
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

    /// The running primary on the newest timeline, `except` left out. Two can run when an old one came
    /// back.
    pub(crate) fn newest_running_primary(&self, except: Option<usize>) -> Option<usize> {
        self.nodes()
            .iter()
            .filter(|n| Some(n.id()) != except && n.state() == NodeState::Running)
            .filter(|n| n.role() == Some(NodeRole::Primary))
            .max_by_key(|n| n.newest_timeline())
            .map(Node::id)
    }

    /// The node that was the primary last, by what the data directories say.
    pub(crate) fn last_primary(&self) -> Result<usize, LabError> {
        if let Some(running) = self.newest_running_primary(None) {
            return Ok(running);
        }
        self.nodes()
            .iter()
            .filter(|n| n.data().join("PG_VERSION").exists() && !n.is_standby_on_disk())
            .max_by_key(|n| n.newest_timeline())
            .map(Node::id)
            .ok_or_else(|| {
                LabError::Refused("every node is a standby: `lab down` and start anew".to_owned())
            })
    }

    /// Starts a node as a standby of `upstream`; an old primary, and a standby that cannot go on from
    /// where it stopped, is brought back as [`Cluster::rejoin`] does.
    pub(crate) fn follow_or_rejoin(&self, id: usize, upstream: usize) -> Result<(), LabError> {
        let standby = self.node(id);
        if standby.pid().is_none() && standby.is_standby_on_disk() && self.is_before(id, upstream) {
            self.make_slot(upstream, id)?;
            self.point(id, upstream)?;
            self.start(id)?;
        }
        let streams = standby.role() == Some(NodeRole::Standby)
            && self.repoint(id, upstream).is_ok()
            && self.await_streaming_within(PATIENCE, id, upstream).is_ok();
        if streams { Ok(()) } else { self.rejoin(id, upstream).map(drop) }
    }

    /// True when the stopped standby may be an earlier state of the upstream.
    fn is_before(&self, id: usize, upstream: usize) -> bool {
        self.node(id).newest_timeline() <= self.node(upstream).newest_timeline()
    }

    /// Stops the node so that its data directory is consistent, as pg_rewind wants it.
    fn settle(&self, id: usize) -> Result<(), LabError> {
        let target = self.node(id);
        if target.stop(StopMode::Fast).is_err() {
            target.kill()?;
        }
        if !target.data().join("PG_VERSION").exists() || self.is_clean(id) {
            return Ok(());
        }
        let recovered = if target.is_standby_on_disk() {
            // A standby takes no writes; started and stopped it is consistent.
            self.start(id).and_then(|()| target.stop(StopMode::Fast))
        } else {
            // Nobody can connect in single-user mode, so the old primary cannot be written to.
            let mut single = target.program(&self.binaries().path("postgres"));
            single.arg("--single").arg("-D").arg(target.data());
            single.args(["-c", "synchronous_standby_names=", "template1"]);
            binaries::run(&mut single).map(drop)
        };
        match recovered {
            Err(LabError::Interrupted) => Err(LabError::Interrupted),
            Err(_) if target.pid().is_some() => target.kill(),
            // What cannot be recovered cannot be rewound either: it will be copied anew.
            _ => Ok(()),
        }
    }

    fn is_clean(&self, id: usize) -> bool {
        self.node(id)
            .control_data(self.binaries(), "Database cluster state")
            .is_ok_and(|state| state.starts_with("shut down"))
    }

    fn rewind(&self, id: usize, upstream: usize) -> Result<(), LabError> {
        let target = self.node(id);
        let source = self.node(upstream);
        // Until then the source's control file tells of the timeline before its promotion.
        source.query("CHECKPOINT")?;
        let mut command = target.program(&self.binaries().path("pg_rewind"));
        command.arg("-D").arg(target.data());
        let socket = config::conninfo_value(&source.dir().display().to_string());
        command
            .arg("--source-server")
            .arg(format!("host={socket} port={} user=postgres dbname=postgres", source.port()));
        if !self.is_durable() {
            command.arg("--no-sync");
        }
        binaries::run(&mut command)?;
        self.drop_slots(id)
    }

    /// Slots from the node's time as a primary would hold back WAL on it for ever.
    fn drop_slots(&self, id: usize) -> Result<(), LabError> {
        let slots = self.node(id).data().join("pg_replslot");
        for slot in fs::read_dir(&slots).map_err(LabError::io("read", &slots))? {
            let path = slot.map_err(LabError::io("read", &slots))?.path();
            fs::remove_dir_all(&path).map_err(LabError::io("remove", &path))?;
        }
        Ok(())
    }
}

/// How long a standby may take to stream again before it is rewound or copied instead.
const PATIENCE: Duration = Duration::from_secs(15);

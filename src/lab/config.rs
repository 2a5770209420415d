//! The texts of a node's configuration files.
//!
//! They lie beside the data directory, not in it: pg_rewind and pg_basebackup copy what is inside
//! from another node, and a node must not wake up with its neighbour's port.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use crate::lab::node;

/// What a node's `postgresql.conf` is made of.
#[derive(Clone, Debug)]
pub(crate) struct NodeConfig<'a> {
    pub(crate) id: usize,
    pub(crate) dir: &'a Path,
    pub(crate) port: u16,
    pub(crate) major: u32,
    /// `fsync` and so on: only a test's data may be lost with the machine.
    pub(crate) durable: bool,
    /// How many nodes there are, when a commit must have reached one of the others.
    pub(crate) synchronous: Option<usize>,
    /// Further settings; they win.
    pub(crate) extra: &'a [(String, String)],
}

// === impl NodeConfig ===

impl NodeConfig<'_> {
    /// The file's text.
    pub(crate) fn text(&self) -> String {
        let mut text = "# Written by understudy lab; written anew at each `lab up`.\n".to_owned();
        let mut set = |key: &str, value: &str| {
            let _ = writeln!(text, "{key} = {}", quote(value));
        };
        let socket = format!("\"{}\"", self.dir.display().to_string().replace('"', "\"\""));
        set("listen_addresses", "127.0.0.1");
        set("port", &self.port.to_string());
        set("unix_socket_directories", &socket);
        set("hba_file", &self.dir.join("pg_hba.conf").display().to_string());
        // A standby gives this as its application_name.
        set("cluster_name", &node::name(self.id));
        set("max_connections", "100");
        set("shared_buffers", if self.durable { "128MB" } else { "32MB" });
        // Files in the data directory: nothing stays behind in /dev/shm after a kill.
        set("dynamic_shared_memory_type", "mmap");
        set("password_encryption", "scram-sha-256");
        set("timezone", "UTC");
        set("log_timezone", "UTC");
        set("logging_collector", "off");
        set("log_line_prefix", "%m [%p] %q%u@%d ");

        set("wal_level", "replica");
        set("wal_log_hints", "on");
        set("max_wal_senders", "10");
        set("max_replication_slots", "10");
        set("hot_standby", "on");
        set("hot_standby_feedback", "on");
        // A standby that lost its primary looks for it again soon.
        set("wal_retrieve_retry_interval", "200ms");
        // A node that stays away keeps this much WAL on the others; then it needs a new base backup.
        if self.major >= 13 {
            set("wal_keep_size", "64MB");
            set("max_slot_wal_keep_size", "1GB");
        }
        if let Some(nodes) = self.synchronous {
            let names: Vec<_> = (0..nodes).map(node::name).collect();
            set("synchronous_standby_names", &format!("ANY 1 ({})", names.join(", ")));
        }
        if !self.durable {
            set("fsync", "off");
            set("synchronous_commit", if self.synchronous.is_some() { "on" } else { "off" });
            set("max_wal_size", "256MB");
            set("autovacuum_naptime", "10min");
        }
        for (key, value) in self.extra {
            set(key, value);
        }
        text
    }
}

/// The file's text: passwords for everybody but the superuser, who comes by the unix socket in a
/// directory that only the nodes' owner (and root) may enter.
pub(crate) fn hba() -> &'static str {
    "# Written by understudy lab; written anew at each `lab up`.\n\
     local  all          postgres                   trust\n\
     local  all          all                        scram-sha-256\n\
     host   replication  replicator  all            scram-sha-256\n\
     host   all          all         all            scram-sha-256\n"
}

/// The two lines of `postgresql.auto.conf` that make a standby follow a node.
pub(crate) fn upstream(port: u16, passfile: &Path, slot: &str) -> String {
    let conninfo = replication_conninfo(port, passfile);
    format!("primary_conninfo = {}\nprimary_slot_name = {}\n", quote(&conninfo), quote(slot))
}

/// How a standby or a base backup logs in at a node.
pub(crate) fn replication_conninfo(port: u16, passfile: &Path) -> String {
    let passfile = conninfo_value(&passfile.display().to_string());
    format!("host=127.0.0.1 port={port} user=replicator passfile={passfile}")
}

/// A value in a connection string, quoted whatever it holds.
pub(crate) fn conninfo_value(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// `postgresql.auto.conf` without the lines about an upstream.
pub(crate) fn without_upstream(auto: &str) -> String {
    auto.lines()
        .filter(|line| {
            let key = line.trim_start();
            !UPSTREAM_KEYS.iter().any(|k| key.starts_with(k))
        })
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// The configuration file inside the data directory: the same on every node, so that copying it from
/// one to another changes nothing.
pub(crate) const INSIDE: &str =
    "# The node's configuration lies beside the data directory.\ninclude '../postgresql.conf'\n";

/// The file with the replicator's password.
pub(crate) fn passfile(node_dir: &Path) -> PathBuf {
    node_dir.join("pgpass")
}

const UPSTREAM_KEYS: [&str; 2] = ["primary_conninfo", "primary_slot_name"];

/// A value in a configuration file.
fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_blanks_and_quotes_stay_whole() {
        let lines = upstream(5433, Path::new("/a lab/it's/pgpass"), "node1");
        assert_eq!(
            lines,
            "primary_conninfo = 'host=127.0.0.1 port=5433 user=replicator \
             passfile=''/a lab/it\\\\''s/pgpass'''\nprimary_slot_name = 'node1'\n"
        );
    }

    #[test]
    fn only_the_upstream_is_dropped() {
        let auto =
            "# a comment\nprimary_conninfo = 'x'\nwork_mem = '5MB'\nprimary_slot_name = 'y'\n";
        assert_eq!(without_upstream(auto), "# a comment\nwork_mem = '5MB'\n");
    }

    #[test]
    fn further_settings_come_last() {
        let extra = [("fsync".to_owned(), "on".to_owned())];
        let config = NodeConfig {
            id: 1,
            dir: Path::new("/lab/node1"),
            port: 5434,
            major: 15,
            durable: false,
            synchronous: Some(3),
            extra: &extra,
        };
        let text = config.text();
        assert!(text.ends_with("fsync = 'on'\n"));
        assert!(text.contains("synchronous_standby_names = 'ANY 1 (node0, node1, node2)'\n"));
    }
}

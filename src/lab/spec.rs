//! What a cluster is to be like, before there is one.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::lab::{Binaries, Secrets};

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

// === impl Cancel ===

impl Cancel {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

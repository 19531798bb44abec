//! What a cluster was asked to be, and the file that says so to separate invocations.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::layout::{Duty, Layout, NodeSpec};
use crate::pacemaker::Config;

/// Everything that a cluster was asked to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// Name: the directory below the base, and corosync's cluster name.
    pub name: String,
    /// All nodes: the database nodes first, then the lock service's.
    pub nodes: Vec<NodeSpec>,
    /// corosync's token timeout, milliseconds.
    pub token_ms: u32,
    /// Whether each database node goes by a clock of its own, see [`crate::node::Node::set_clock`].
    pub own_clocks: bool,
    /// Size of each node's data disk in MiB; `None` is the host's disk.
    pub data_disk_mib: Option<u32>,
    /// The Pacemaker configuration that `push` without a file gives.
    pub pacemaker: Config,
    /// Whether this project's programs and the lock service's tables are left to `install.sh` and
    /// `cls_setup`.
    #[serde(default)]
    pub bare: bool,
}

impl Spec {
    /// The database nodes, in order.
    pub fn databases(&self) -> impl Iterator<Item = &NodeSpec> {
        self.nodes.iter().filter(|node| node.duty == Duty::Database)
    }

    /// The lock service's node, if the cluster has one.
    #[must_use]
    pub fn lock(&self) -> Option<&NodeSpec> {
        self.nodes.iter().find(|node| node.duty == Duty::Lock)
    }
}

impl Layout {
    /// Writes the spec.
    pub(crate) fn save(&self, spec: &Spec) -> Result<()> {
        let text = serde_json::to_vec_pretty(spec).map_err(|e| Error::Asked(e.to_string()))?;
        fs::write(self.spec(), text).map_err(Error::io("write", self.spec()))
    }

    /// Reads the spec of a cluster that was made before.
    pub(crate) fn load(&self, name: &str) -> Result<Spec> {
        let bytes = fs::read(self.spec()).map_err(|_| Error::NoCluster(name.to_owned()))?;
        serde_json::from_slice(&bytes).map_err(|e| {
            Error::Asked(format!(
                "{} is not a cluster of this build: {e}",
                self.spec().display()
            ))
        })
    }
}

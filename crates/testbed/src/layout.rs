//! Where a cluster keeps its files, who its nodes are, and what separate invocations must know.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::procfs::ProcessId;

/// The first three numbers of every address; they exist only inside a cluster's namespaces.
pub const SUBNET: &str = "192.168.150";
/// Where clients write: follows the primary.
pub const WRITER_VIP: &str = "192.168.150.100";
/// Where clients read: follows a standby.
pub const READER_VIP: &str = "192.168.150.101";
/// The address that the writers connect from.
pub const CLIENT_ADDRESS: &str = "192.168.150.9";
/// The port of the databases' PostgreSQL.
pub(crate) const PGPORT: u16 = 5432;
/// The port of ssh.
pub(crate) const SSH_PORT: u16 = 22;
/// The port at which corosync's knet talks.
pub(crate) const COROSYNC_PORT: u16 = 5405;
/// The port of the lock service's PostgreSQL.
pub const LOCK_PORT: u16 = 5439;

/// The role with which the cluster keeps its row there; it has the least rights.
pub const LOCK_ROLE: &str = "cls1";
/// The name of the client's port on the bridge, for faults between it and a node.
pub const CLIENT: &str = "client";

/// The file in which a role leaves its host pid once it is ready.
pub(crate) const READY: &str = "ready.json";

/// What a node is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Duty {
    /// Corosync, Pacemaker and a PostgreSQL that they manage.
    Database,
    /// The lock service's PostgreSQL, outside of Pacemaker.
    Lock,
}

/// A node as the cluster was asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Host name; `node1` and so on.
    pub name: String,
    /// Position, from 1: corosync's node id and the last digits of the address.
    pub number: u8,
    /// What it is there for.
    pub duty: Duty,
    /// What its file system lies over: the machine's own root, or a tree of another suite.
    #[serde(default = "machine")]
    pub root: PathBuf,
    /// Whether systemd boots it, see [`crate::systemd`].
    #[serde(default)]
    pub(crate) systemd: bool,
}

/// The root directory of this machine.
pub(crate) fn machine() -> PathBuf {
    PathBuf::from("/")
}

impl NodeSpec {
    /// The node's own address.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{SUBNET}.{}", 10 + self.number)
    }

    /// A fixed hardware address, so that neighbours need not learn a new one after a boot.
    pub(crate) fn hardware_address(&self) -> String {
        format!("02:70:68:61:00:{:02x}", 10 + self.number)
    }
}

/// The directory under which all clusters live: `PHA_TESTBED_DIR` or /var/tmp/pha4pgsql-testbed.
#[must_use]
pub fn base() -> PathBuf {
    std::env::var_os("PHA_TESTBED_DIR").map_or_else(
        || PathBuf::from("/var/tmp/pha4pgsql-testbed"),
        PathBuf::from,
    )
}

/// The paths of one cluster.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The cluster's own directory.
    pub dir: PathBuf,
}

impl Layout {
    /// The layout of the cluster `name`.
    ///
    /// # Errors
    /// A name that would not be a plain directory name, or that an option of mount(2) would cut.
    pub fn of(name: &str) -> Result<Layout> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty()
            || name.len() > 60
            || !name.chars().all(plain)
            || name == "cache"
            || name == "wrecks"
            || name == "logs"
        {
            return Err(Error::Asked(format!(
                "a cluster cannot be named {name:?}: use letters, digits, - and _, at most 60, neither cache nor logs nor wrecks"
            )));
        }
        let base = base();
        let text = base.to_string_lossy();
        if !base.is_absolute() || text.contains([',', ':', '\\']) {
            return Err(Error::Asked(format!(
                "PHA_TESTBED_DIR={text:?} cannot hold an overlay: give an absolute path without commas, colons and backslashes"
            )));
        }
        Ok(Layout {
            dir: base.join(name),
        })
    }

    /// What the cluster was asked to be.
    #[must_use]
    pub fn spec(&self) -> PathBuf {
        self.dir.join("cluster.json")
    }

    /// One node's disk: what survives a power cut.
    #[must_use]
    pub fn disk(&self, name: &str) -> PathBuf {
        self.dir.join("disks").join(name)
    }

    /// One node's state as the host sees it: readiness, console log, mount point of its root.
    #[must_use]
    pub fn node(&self, name: &str) -> PathBuf {
        self.dir.join("nodes").join(name)
    }

    /// The directory of the client.
    #[must_use]
    pub fn client(&self) -> PathBuf {
        self.dir.join("client")
    }

    /// The acknowledgements that writers logged.
    #[must_use]
    pub fn acknowledgements(&self) -> PathBuf {
        self.dir.join("acknowledged")
    }

    /// The process that announced itself ready in `dir`, whether it is alive or not.
    pub(crate) fn announced(dir: &Path) -> Option<ProcessId> {
        let bytes = fs::read(dir.join(READY)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// The keeper, if it lives.
    pub(crate) fn keeper(&self) -> Option<ProcessId> {
        Layout::announced(&self.dir).filter(|keeper| keeper.alive())
    }

    /// The names of the clusters that have a directory.
    #[must_use]
    pub fn existing() -> Vec<String> {
        let Ok(entries) = fs::read_dir(base()) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok())
            .filter(|entry| entry.path().join("cluster.json").exists())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }
}

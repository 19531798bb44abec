//! What this node answers from when another one asks for its promise (R7): its own name and its own
//! configuration, as its agent was last given them.
//!
//! A question from outside says who asks and nothing that would be used (S7). The configuration is in
//! the cluster's (CIB), which cannot be asked while Pacemaker hangs, and that is when a promise is
//! needed. So every operation of the agent leaves what it was given in a file beside the memory, in a
//! directory that only root can write. It holds the lock service's connection string, with a password
//! where somebody has put one there: it has mode 0600, as the file in which Pacemaker keeps the same.

use std::path::PathBuf;

use pha_core::names::{NodeName, ResourceName};
use pha_core::params::{LockService, Params};
use pha_core::register::ClusterId;
use serde::{Deserialize, Serialize};

use crate::memory::MemoryFile;
use crate::own;

/// One node's own view of the cluster that it belongs to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// This node.
    pub me: NodeName,
    /// `node_list`.
    pub nodes: Vec<NodeName>,
    /// Which cluster it is.
    pub cluster: ClusterId,
    /// PostgreSQL's data directory.
    pub pgdata: PathBuf,
    /// The account that it belongs to.
    pub pgdba: String,
    /// `distlock_ttl` in milliseconds.
    pub ttl_ms: u64,
    /// Where the lock service is.
    pub conninfo: String,
}

/// The file of one resource.
fn file(resource: &ResourceName) -> PathBuf {
    own::state_directory().join(format!("{resource}.conf"))
}

impl Asked {
    /// What the agent was given; none where there is nothing to promise, because the lock is not the
    /// built-in one.
    #[must_use]
    pub fn of(me: &NodeName, params: &Params, system: Option<String>) -> Option<Self> {
        let LockService::Builtin {
            conninfo,
            table,
            lockname,
        } = &params.lock_service
        else {
            return None;
        };
        Some(Self {
            me: me.clone(),
            nodes: params.node_list.clone(),
            cluster: ClusterId {
                lock: format!("{table}:{lockname}"),
                system,
            },
            pgdata: PathBuf::from(&params.pgdata),
            pgdba: params.pgdba.clone(),
            ttl_ms: u64::try_from(params.distlock_ttl.as_millis()).unwrap_or(u64::MAX),
            conninfo: conninfo.expose().to_owned(),
        })
    }

    /// Keeps it for whoever asks; a file that holds it already is left alone. The system identifier
    /// that was known stays known while the data are being replaced.
    ///
    /// # Errors
    /// The directory or the file cannot be used; then no promise is given here.
    pub fn keep(mut self, resource: &ResourceName, memory: &MemoryFile) -> Result<(), String> {
        if self.cluster.system.is_none()
            && let Ok(before) = Self::load(resource)
        {
            self.cluster.system = before.cluster.system;
        }
        let text = serde_json::to_string(&self).map_err(|error| error.to_string())?;
        memory.prepare().map_err(|error| error.to_string())?;
        own::ensure(&file(resource), format!("{text}\n").as_bytes(), 0o600)
            .map(drop)
            .map_err(|error| error.to_string())
    }

    /// What the agents of this node were last given, by resource; what cannot be read is left out.
    #[must_use]
    pub fn all() -> Vec<(ResourceName, Self)> {
        let entries = std::fs::read_dir(own::state_directory()).into_iter();
        let resource = |entry: std::fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_suffix(".conf")?.parse::<ResourceName>().ok()
        };
        entries
            .flatten()
            .flatten()
            .filter_map(resource)
            .filter_map(|resource| Some((resource.clone(), Self::load(&resource).ok()?)))
            .collect()
    }

    /// What the agent of this node was last given.
    ///
    /// # Errors
    /// It was given nothing yet, or the file does not hold it: a sentence for the node that asks.
    pub fn load(resource: &ResourceName) -> Result<Self, String> {
        Self::kept(resource)?.ok_or_else(|| {
            format!(
                "the agent of {resource} with the built-in lock service has not run here since it was installed; it does within seconds where Pacemaker runs"
            )
        })
    }

    /// The same; none where it was given nothing yet.
    ///
    /// # Errors
    /// The file cannot be read, or does not hold it.
    pub(crate) fn kept(resource: &ResourceName) -> Result<Option<Self>, String> {
        let path = file(resource);
        let Some(text) = own::read(&path).map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        // What it holds is not quoted: a password may be in it.
        serde_json::from_slice(&text).map(Some).map_err(|_| {
            format!(
                "{} is not what this program has written; remove it, the agent's next monitor writes it again",
                path.display()
            )
        })
    }
}

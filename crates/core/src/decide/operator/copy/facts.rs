//! What was asked, what was seen, and what will be done.

use std::fmt;

use crate::begun::Begun;
use crate::lineage::Kinship;
use crate::message::Message;
use crate::names::NodeName;
use crate::register::{Reading, Seen};
use crate::server_program::ServerProgram;

/// Which command was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyKind {
    /// `cls_repair_slave`: rewind to where the primary left the common history.
    Repair,
    /// `cls_rebuild_slave`: a new base backup.
    Rebuild,
}

/// What the operator asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyRequest {
    /// The command.
    pub kind: CopyKind,
    /// `--or-rebuild`: where rewinding cannot work, rebuild.
    pub or_rebuild: bool,
    /// `--keep-old`: move a data directory that is there aside.
    pub keep_old: bool,
}

/// What the database does on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instance {
    /// No server process works in the data directory.
    Stopped,
    /// A standby that Pacemaker manages.
    Standby {
        /// It streams from the primary.
        streaming: bool,
    },
    /// The primary.
    Primary,
    /// A server that Pacemaker did not start.
    Foreign,
    /// Pacemaker is at work on it: what it does.
    Changing(String),
}

/// What lies in the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Nothing, or no directory.
    Nothing,
    /// A directory with something that is no readable cluster of PostgreSQL; why.
    Unreadable(String),
    /// A cluster of PostgreSQL.
    Cluster {
        /// Its major version.
        major: u32,
        /// It was shut down cleanly.
        clean: bool,
        /// It has checksums or `wal_log_hints`, without which `pg_rewind` cannot see hint bits.
        rewindable: bool,
        /// The number that all copies of one cluster share.
        system: u64,
    },
}

/// What was observed before the command begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyFacts {
    /// The node that is to be repaired.
    pub node: NodeName,
    /// The resource replicates.
    pub replicated: bool,
    /// The nodes on which the database is promoted.
    pub promoted: Vec<NodeName>,
    /// The node that `pgsql_REPL_INFO` names.
    pub repl_info: Option<NodeName>,
    /// The register; none without the built-in lock service.
    pub register: Option<Reading>,
    /// How far the cluster was told that the register has come.
    pub seen: Option<Seen>,
    /// The database on the node.
    pub instance: Instance,
    /// Its data directory.
    pub data: Data,
    /// The primary's system identifier and its major version.
    pub primary_system: Option<(u64, u32)>,
    /// Pacemaker manages the database.
    pub managed: bool,
    /// An operator has put the node into standby, so that nothing is started there for now.
    pub in_standby: bool,
    /// What the data of a stopped server are to the register's timelines, where that can be told (R13).
    pub kinship: Option<Kinship>,
    /// An earlier copy was interrupted: what it was.
    pub unfinished: Option<Begun>,
    /// Programs of the server that are not on the node.
    pub lacking: Vec<ServerProgram>,
}

/// How data are brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `pg_rewind`.
    Rewind,
    /// `pg_basebackup`.
    Backup,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Begun::from(*self).fmt(f)
    }
}

/// What will be done.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyPlan {
    /// Where the data come from.
    pub source: NodeName,
    /// The register's term; none without the built-in lock service.
    pub term: Option<u64>,
    /// How.
    pub method: Method,
    /// Why the base backup although a repair was asked for.
    pub because: Option<Message>,
    /// The steps in their order.
    pub steps: Vec<CopyStep>,
}

impl From<Method> for Begun {
    fn from(method: Method) -> Self {
        match method {
            Method::Rewind => Self::Rewind,
            Method::Backup => Self::Backup,
        }
    }
}

/// One step. Each is idempotent, so that the command can be given again after an interruption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyStep {
    /// Stop a standby that does not stream, through Pacemaker.
    TakeDown,
    /// Leave the holders in the register (R6).
    Leave,
    /// Copy the node's own configuration files to a safe place.
    KeepConfiguration,
    /// Move the old data aside.
    SetAside,
    /// Rewind.
    Rewind,
    /// Copy everything.
    Backup,
    /// See that the source is still the primary at the same term.
    CheckSource,
    /// Put the node's own configuration files back.
    RestoreConfiguration,
    /// Let Pacemaker start it: forget failures.
    Cleanup,
    /// Wait until the standby streams, and counts as a holder in synchronous mode.
    Await,
}

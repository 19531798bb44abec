//! What the nodes say of themselves, as the rules look at it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::disk::DiskFacts;
use crate::cluster::WithoutQuorum;
use crate::hindrance::Hindrance;
use crate::layout::Layout;
use crate::message::Message;
use crate::names::NodeName;
use crate::params::Params;
use crate::register::Seen;
use crate::setup::{SiteFacts, SiteFinding};

/// A file: its permission bits and its owner's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// Permission bits.
    pub mode: u32,
    /// Its owner.
    pub owner: String,
}

/// How long corosync takes until it knows that a node is gone: first its token, then consensus on the new
/// membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TotemFacts {
    /// Milliseconds, with what is added for every node after the second.
    pub token: u64,
    /// Milliseconds.
    pub consensus: u64,
    /// Milliseconds that corosync waits for a quorum device's vote on a new membership; none without one.
    #[serde(default)]
    pub device: Option<u64>,
}

impl TotemFacts {
    /// What of `corosync-cmapctl` it is read from.
    pub const KEYS: [&str; 2] = ["runtime.config.totem.", "quorum.device."];

    /// What `corosync-cmapctl` prints of it; none where a number of the totem is missing.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| {
            let key = format!("{key} ");
            // runtime.config.totem.token (u32) = 1000
            let line = text.lines().find(|line| line.starts_with(&key))?;
            Some(line.rsplit_once(" = ")?.1.trim())
        };
        let number = |key: &str| value(key)?.parse().ok();
        let device = value("quorum.device.model").map(|_| {
            // votequorum(5): what it is where it is not set.
            number("quorum.device.sync_timeout").unwrap_or(30_000)
        });
        Some(Self {
            token: number("runtime.config.totem.token")?,
            consensus: number("runtime.config.totem.consensus")?,
            device,
        })
    }

    /// How long that may take in all, in milliseconds.
    #[must_use]
    pub fn settled(self) -> u64 {
        let members = self.token.saturating_add(self.consensus);
        members.saturating_add(self.device.unwrap_or(0))
    }
}

/// PostgreSQL on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerFacts {
    /// Its settings, in the units that `pg_settings` has.
    pub settings: BTreeMap<String, String>,
    /// What `ALTER ROLE` and `ALTER DATABASE` have set: for whom, the setting, and its value.
    #[serde(default)]
    pub own: Vec<OwnSetting>,
    /// The role that standbys connect as; none where the server does not run.
    #[serde(default)]
    pub role: Option<RoleFacts>,
    /// The settings that have another value from its next start on.
    #[serde(default)]
    pub pending: Vec<String>,
    /// The errors of its files because of which it takes up no change, or why they cannot be seen; none where it
    /// does not run.
    #[serde(default)]
    pub file_errors: Option<Result<Vec<String>, String>>,
    /// The lines of `pg_hba.conf` that let somebody replicate, or why they cannot be seen; none where the
    /// server does not run.
    #[serde(default)]
    pub replication: Option<Result<Vec<ReplicationLine>, String>>,
}

/// A line of `pg_hba.conf` for the word `replication` (`pg_hba_file_rules`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicationLine {
    /// Its number in the file.
    pub number: String,
    /// `local`, `host`, `hostssl` …
    pub kind: String,
    /// Whom it lets.
    pub users: Vec<String>,
    /// From where: an address, a name, a word; empty for a socket.
    pub address: String,
    /// The mask of an address.
    pub mask: Option<String>,
    /// How they prove who they are: `trust`, `scram-sha-256`, `cert` …
    pub method: String,
}

/// A setting of a role, a database, or a role in a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnSetting {
    /// For whom: "role app", "database shop", "role app in database shop".
    pub of: String,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// The lock service as one node reaches it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockFacts {
    /// Its settings.
    pub settings: BTreeMap<String, String>,
    /// Whether it is a standby, which cannot be written to.
    pub standby: bool,
    /// The owner and the holders of the lock's row; none where there is no row.
    pub named: Option<Vec<String>>,
    /// How far that row has come; none where there is no row, where its numbers cannot be read, and of an older
    /// agent.
    #[serde(default)]
    pub come: Option<Seen>,
    /// Which change of the row the connection's role may not make, and why.
    #[serde(default)]
    pub refused: Option<String>,
    /// The role is a superuser there.
    #[serde(default)]
    pub superuser: bool,
    /// The owner of the table, where it is another role and no superuser.
    #[serde(default)]
    pub table_owner: Option<String>,
    /// The role sees its own row only.
    #[serde(default)]
    pub own_row_only: bool,
}

/// What one node knows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Programs by name: the version or checksum, none where the program is not there.
    pub programs: BTreeMap<String, Option<String>>,
    /// The addresses of each node's name, or why there are none.
    pub names: BTreeMap<NodeName, Result<Vec<String>, String>>,
    /// Whether root gets onto each other node by ssh.
    pub ssh: BTreeMap<NodeName, Result<(), Hindrance>>,
    /// Whether each other node could be asked for its promise, on the way that an outage would take;
    /// none where that is never needed, or the agent has not run yet.
    #[serde(default)]
    pub promise: BTreeMap<NodeName, Option<Result<(), Hindrance>>>,
    /// Whether each other node's PostgreSQL lets this one replicate; none where it does not run.
    pub replication: BTreeMap<NodeName, Option<Result<(), String>>>,
    /// Which passwords could travel in clear from here, and what keeps each from that.
    #[serde(default)]
    pub in_clear: Vec<(String, String)>,
    /// The lock service; none where none is configured.
    pub lock: Option<Result<LockFacts, String>>,
    /// PostgreSQL's settings, or why they cannot be had.
    pub server: Option<Result<ServerFacts, String>>,
    /// Files by path; none where there is no such file.
    pub files: BTreeMap<String, Option<FileFacts>>,
    /// The passfiles that connection strings name; none where there is no such file.
    #[serde(default)]
    pub passfiles: BTreeMap<String, Option<FileFacts>>,
    /// File systems by what lies on them.
    pub disks: BTreeMap<String, DiskFacts>,
    /// When corosync misses a node; none where it does not run, and of an older agent.
    #[serde(default)]
    pub totem: Option<TotemFacts>,
    /// What `cls_setup` would ask of it; none of an older agent.
    #[serde(default)]
    pub site: Option<SiteFacts>,
}

/// Everything that the rules look at.
#[derive(Debug, Clone)]
pub struct Examination {
    /// How the product is installed here, which decides what there is to type.
    pub layout: Layout,
    /// The agent's parameters.
    pub params: Params,
    /// The nodes of config.ini: what each said, or why it said nothing.
    pub nodes: BTreeMap<NodeName, Result<NodeFacts, Hindrance>>,
    /// By how many seconds each node's clock is ahead of the asking node's, and how far that may
    /// be wrong.
    pub clocks: BTreeMap<NodeName, (f64, f64)>,
    /// What `cls_setup` would change, or why it cannot be told.
    pub setup: Result<Vec<Message>, String>,
    /// What is not as the configuration needs it.
    pub site: Vec<SiteFinding>,
    /// Whether `cls_setup` has made a database here: before that its changes are all there is to make.
    pub set_up: bool,
    /// Seconds between two monitors of the primary.
    pub monitor: Option<u32>,
    /// How far the register has come, as a primary has told the cluster.
    pub register: Option<Seen>,
    /// Whether failed nodes are fenced.
    pub fencing: bool,
    /// What becomes of a primary in a part of the cluster without quorum.
    pub without_quorum: WithoutQuorum,
}

/// The role for replication as one server knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleFacts {
    /// The major version of the server.
    pub major: u32,
    /// The server is a standby: its roles are the primary's of a moment ago.
    pub standby: bool,
    /// The database that was asked and that `pg_rewind` connects to: rights on functions are a database's.
    pub database: String,
    /// What the role may do; none where there is no such role.
    pub rights: Option<RoleRights>,
}

/// What a role may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleRights {
    /// It has `LOGIN`.
    pub login: bool,
    /// It has `REPLICATION`.
    pub replication: bool,
    /// It is a superuser itself.
    pub superuser: bool,
    /// The roles that it is a member of, and through which it can do what a superuser can.
    pub member_of: Vec<String>,
    /// Those of [`super::REWIND_FUNCTIONS`] that it may not execute.
    pub refused: Vec<String>,
    /// It may make temporary tables in the database.
    pub temporary: bool,
}

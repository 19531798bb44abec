//! Everything that the verdict is made of.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cluster::{Cluster, ClusterNode};
use crate::doctor::DiskFacts;
use crate::hindrance::Hindrance;
use crate::link_name::LinkName;
use crate::lsn::Lsn;
use crate::message;
use crate::message::Message;
use crate::names::NodeName;
use crate::names::is_copy_slot;
use crate::params::Mode;
use crate::parse::cpg::Groups;
use crate::parse::standby_names::{StandbyName, StandbyNames};
use crate::postgres::Archiving;
use crate::postgres::PrimaryView;
use crate::register::{Memory, NoRow, NotTheOwner, Reading, Register, believed, names_primary};
use crate::status::Word;
use crate::status::{Role, SyncState, WalSenderState};
use crate::text_enum::text_enum;

/// What is known of the lock service's row.
#[derive(Debug, Clone, Copy)]
pub enum RegisterSeen<'a> {
    /// No built-in lock service is configured.
    NotConfigured,
    /// It answered, or did not.
    Read(&'a Reading),
}

/// One standby as the primary's `pg_stat_replication` shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReplicationRow {
    /// `application_name`.
    pub standby: String,
    /// The node whose standby it is ([`crate::decide::whose`]); none for a stranger.
    pub node: Option<NodeName>,
    /// Where it comes from; none for a socket of the primary's own.
    pub address: Option<String>,
    /// `streaming`, `catchup` …; `None` where the role may not see it.
    pub state: Option<WalSenderState>,
    /// `sync`, `async`, `potential`, `quorum`.
    pub sync_state: Option<SyncState>,
    /// Bytes between the primary's end of WAL and what the standby has on its disk.
    pub flush_lag_bytes: Option<i64>,
    /// Bytes between the primary's end of WAL and what the standby has replayed.
    pub replay_lag_bytes: Option<i64>,
    /// Seconds that the newest WAL took until it was replayed; `None` while nothing is written.
    pub replay_lag_seconds: Option<f64>,
}

/// What there is in `pg_wal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptWal {
    /// Where the oldest segment begins.
    pub(super) from: Lsn,
    /// The size of a segment in bytes.
    pub(super) segment: u64,
}

impl KeptWal {
    /// From the last sixteen digits of the oldest file's name and the size of a segment in bytes.
    #[must_use]
    pub fn of(file: &str, segment: u64) -> Option<Self> {
        let (log, number) = file.split_at_checked(8).filter(|_| file.len() == 16)?;
        let log = u64::from(u32::from_str_radix(log, 16).ok()?) << 32;
        let within = u64::from(u32::from_str_radix(number, 16).ok()?).checked_mul(segment)?;
        let from = Lsn::new(log.checked_add(within)?);
        (segment > 0).then_some(Self { from, segment })
    }

    /// Whether the segment of that position is gone: a standby asks for it from its beginning on.
    pub(super) fn lacks(self, position: Lsn) -> bool {
        position.as_u64() / self.segment * self.segment < self.from.as_u64()
    }
}

/// Everything that the verdict is made of.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The nodes that should run it (`node_list`).
    pub nodes: &'a [NodeName],
    /// The node that looks, where it is known.
    pub here: Option<&'a NodeName>,
    /// The one at which clients write (`master_ip`), where the agent knows it.
    pub writer_ip: Option<&'a str>,
    /// `rep_mode`.
    pub mode: Mode,
    /// The lock service's row.
    pub register: RegisterSeen<'a>,
    /// The primary's standbys; `None` where the primary could not be asked.
    pub replication: Option<&'a [ReplicationRow]>,
    /// For whom the primary's commits wait; `None` where the primary could not be asked.
    pub commits: Option<&'a CommitWaits>,
    /// The primary's connections; `None` where it could not be asked.
    pub connections: Option<Connections>,
    /// What the primary has to archive; `None` where it could not be asked.
    pub archiving: Option<Archiving>,
    /// What the primary keeps of its WAL; `None` where it could not be asked, or where standbys have an
    /// archive to take WAL from (`restore_command`).
    pub kept: Option<KeptWal>,
    /// The slots of interrupted copies on the primary; empty where it could not be asked.
    pub slots: &'a [LeftSlot],
    /// What this node has durably seen of the register, before the row was read.
    pub memory: Option<&'a Memory>,
    /// Why what this node has durably seen cannot be read, where that is so.
    pub memory_unread: Option<&'a str>,
    /// Whether the primary's PostgreSQL gave no answer at all in the time that there was.
    pub primary_hangs: bool,
    /// Why the primary's replication could not be looked at.
    pub unseen: Option<&'a Hindrance>,
    /// The operation of `cls` that is noted in the cluster's configuration.
    pub operation: Option<&'a Operation>,
    /// The settings of each node's PostgreSQL that wait for its restart; a node that could not be asked
    /// is not among them.
    pub waiting: &'a [(NodeName, Vec<String>)],
    /// The errors because of which each node's PostgreSQL takes up no change of its settings, in the same way.
    pub file_errors: &'a [(NodeName, Vec<String>)],
    /// The file systems of PostgreSQL on the node that looks, by a place on each; none where they were not asked.
    pub disks: &'a BTreeMap<String, DiskFacts>,
    /// Where Pacemaker's daemons run; `None` where corosync could not be asked.
    pub daemons: Option<&'a Groups>,
}

impl Observation<'_> {
    /// The node on which the database is promoted, if there is exactly one.
    #[must_use]
    pub fn primary(&self) -> Option<&NodeName> {
        self.cluster.one_promoted()
    }

    pub(super) fn sync(&self) -> bool {
        self.mode == Mode::Sync
    }

    pub(super) fn node(&self, name: &NodeName) -> Option<&ClusterNode> {
        self.cluster.nodes.get(name)
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (&NodeName, Option<&ClusterNode>)> {
        self.nodes.iter().map(|name| (name, self.node(name)))
    }

    /// The running standbys.
    pub(super) fn standbys(&self) -> impl Iterator<Item = (&NodeName, &ClusterNode)> {
        let known = self
            .members()
            .filter_map(|(name, node)| Some((name, node?)));
        known.filter(|(_, node)| node.role() == Role::Unpromoted)
    }

    /// The register, where it is to be believed by what was seen of it; none without the built-in lock
    /// service.
    pub(super) fn believed(&self) -> Option<Result<&Register, NoRow>> {
        match self.register {
            RegisterSeen::NotConfigured => None,
            RegisterSeen::Read(reading) => Some(believed(reading, self.memory, self.cluster.seen)),
        }
    }

    /// The primary that is seen, and whether the register names it as its owner.
    pub(super) fn owned_by_primary(&self) -> Option<(&NodeName, Result<&Register, NotTheOwner>)> {
        let (RegisterSeen::Read(reading), Some(primary)) = (self.register, self.primary()) else {
            return None;
        };
        let owned = names_primary(reading, self.memory, self.cluster.seen, primary);
        Some((primary, owned))
    }

    /// Whether an operator has stopped the database (`cls_stop`).
    pub(super) fn is_stopped_on_purpose(&self) -> bool {
        self.cluster.database.stopped_on_purpose
    }
}

/// What the primary says of its commits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CommitWaits {
    /// `synchronous_standby_names` in force: for whom commits wait.
    #[serde(rename = "standby_names", serialize_with = "as_text")]
    pub names: StandbyNames,
    /// How many backends have been waiting for longer than a few seconds.
    pub waiting: usize,
    /// Since when the first of them waits, as the primary's server writes a time.
    pub since: Option<String>,
    /// Seconds that it has waited.
    pub longest_seconds: Option<f64>,
}

fn as_text<S: serde::Serializer>(names: &StandbyNames, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(names)
}

impl CommitWaits {
    /// The nodes that are waited for, each once: that a name of a link has an incarnation too (R11) is
    /// nothing that an operator could type. None: any standby.
    pub(super) fn nodes(&self) -> Vec<Option<String>> {
        let mut nodes = Vec::new();
        for name in self.names.names() {
            let node = match name {
                StandbyName::Every => None,
                StandbyName::Name(name) => {
                    let node = name.parse::<LinkName>().ok().and_then(|link| link.node());
                    Some(node.map_or_else(|| name.clone(), |node| node.to_string()))
                }
            };
            if !nodes.contains(&node) {
                nodes.push(node);
            }
        }
        nodes
    }

    pub(super) fn whom(&self) -> Message {
        let names = self.nodes().into_iter().map(|node| match node {
            None => message!("any standby"),
            Some(node) => Message::from(node),
        });
        match self.names.waits_for_each() {
            true => Message::all(names),
            false => Message::any(names),
        }
    }

    /// What is seen of it, in the beginning of a sentence.
    pub(super) fn seen(&self) -> Message {
        let whom = self.whom();
        let (Some(since), Some(seconds)) = (&self.since, self.longest_seconds) else {
            return message!("every commit has to wait for {whom}", whom);
        };
        let seconds = format!("{seconds:.0}");
        match self.waiting {
            1 => message!(
                "1 commit waits for {whom}, since {since} ({seconds} s)",
                whom,
                since,
                seconds
            ),
            many => message!(
                "{many} commits wait for {whom}, since {since} ({seconds} s)",
                many,
                whom,
                since,
                seconds
            ),
        }
    }
}

/// The connections of the primary's PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// How many clients have one, and how many may without being superusers.
    InUse {
        /// Those that there are.
        clients: u32,
        /// `max_connections` without the reserved ones.
        limit: u32,
    },
    /// There was none for this question: clients hold the reserved ones too.
    NoneLeft,
}

text_enum! {
    /// A command that notes in the cluster's configuration that it runs.
    NotingCommand, "command" {
        /// A planned switch.
        OnlineSwitch = "cls_online_switch",
        /// A planned restart.
        Restart = "cls_restart",
        /// The configuration, with a restart.
        Setup = "cls_setup",
        /// A repair of a standby.
        RepairSlave = "cls_repair_slave",
        /// A rebuild of a standby.
        RebuildSlave = "cls_rebuild_slave",
        /// An operator's decision.
        RecoveryMaster = "cls_recovery_master",
        /// What mends the rest of the others.
        Cleanup = "cls_cleanup",
    }
}

/// With what the name of a command begins that is a link to `cls`.
const LINK: &str = "cls_";

impl NotingCommand {
    /// The command as `cls` is given it, without the name of a link.
    #[must_use]
    pub fn word(self) -> &'static str {
        word_of_link(self.as_str())
    }
}

/// The command of `cls` that a link of this name stands for.
#[must_use]
pub fn word_of_link(name: &str) -> &str {
    name.strip_prefix(LINK).unwrap_or(name)
}

/// The operation of `cls` that is noted in the cluster's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The command; another one where a later version has noted it.
    pub command: Word<NotingCommand>,
    /// Where it was begun.
    pub node: NodeName,
    /// Whether its process is still there, or it cannot be told.
    pub runs: bool,
}

/// A replication slot that was made for a copy of the primary's data, and that nobody uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftSlot {
    /// Its name.
    pub name: String,
    /// How many bytes of WAL it keeps; `None` where it keeps none any more.
    pub bytes: Option<u64>,
}

impl LeftSlot {
    /// Those of a primary.
    #[must_use]
    pub fn of(primary: &PrimaryView) -> Vec<Self> {
        let end = primary.links.flushed;
        let left = primary.slots.iter();
        let left = left.filter(|slot| !slot.active && is_copy_slot(&slot.name));
        left.map(|slot| Self {
            name: slot.name.clone(),
            bytes: slot
                .restart
                .map(|from| end.as_u64().saturating_sub(from.as_u64())),
        })
        .collect()
    }
}

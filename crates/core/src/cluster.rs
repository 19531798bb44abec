//! The cluster as Pacemaker's information base shows it at one moment: the one view of it that the
//! agent decides on, that health judges, and that the commands ask.

mod failures;
mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use failures::{Count, FailCount, fail_counts};

use crate::link_name::{Flushed, LinkName};
use crate::lsn::Lsn;
use crate::message;
use crate::message::Message;
use crate::names::{NodeName, ResourceName};
use crate::params::Mode;
use crate::parse::cib::{Failure, ResourceState};
use crate::register::{NoRow, Reading, Seen, believed};
use crate::repl_info::ReplInfo;
use crate::status::{DataStatus, GuardStatus, PgsqlStatus, Role, Score, Word};
use crate::timeline::WalPosition;
use crate::unfit::Unfit;

/// The set of cluster properties, and the property in it, by which a command notes that it runs.
pub const NOTE: &str = "pha4pgsql_operation";

/// What a node's own agent has told the cluster of the name under which its PostgreSQL runs (R11).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Announced {
    /// Nothing: an agent that knows no incarnations, or one that has never run here.
    #[default]
    Nothing,
    /// The name in use.
    Name(LinkName),
    /// A text that is no name: nobody's link counts as this node's.
    Malformed,
}

/// One node in Pacemaker's view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterNode {
    /// Its identifier in the cluster, for corosync a number.
    pub id: String,
    /// It is a member of this partition.
    pub online: bool,
    /// An operator has taken everything off it (`cls_standby_node`).
    pub standby: bool,
    /// Nothing on it is started, stopped or monitored.
    pub maintenance: bool,
    /// What the recorded operations say of the database here; see [`ClusterNode::role`].
    pub database: ResourceState,
    /// The same of what is placed with the database.
    pub placed: BTreeMap<ResourceName, ResourceState>,
    /// `pgsql-status`.
    pub status: Option<PgsqlStatus>,
    /// `pgsql-data-status`.
    pub data_status: Option<DataStatus>,
    /// `master-pgsql`.
    pub score: Option<Score>,
    /// `pgsql-timeline` and `pgsql-xlog-loc`: the end of WAL that the node reported.
    pub position: Option<WalPosition>,
    /// `pgsql-master-baseline`.
    pub baseline: Option<Lsn>,
    /// `pgsql-receiver-status`.
    pub receiver: Option<String>,
    /// `pgsql-guard`.
    pub guard: Option<Word<GuardStatus>>,
    /// `pgsql-unfit`: why it could not open for writing, or only as the last of all.
    pub unfit: Option<Unfit>,
    /// The constraint of an administrator that keeps it from being promoted here.
    pub barred: Option<String>,
    /// `pgsql-incarnation`, which only root can write, and which stays when the node leaves.
    pub announced: Announced,
    /// `pgsql-flushed`: what its own agent says that its standby has on its disk.
    pub flushed: Option<Flushed>,
}

impl Cluster {
    /// Under which name this node's replication link is known (R11): the one that its agent has
    /// announced; its plain name where none was; none where the announcement makes no sense.
    #[must_use]
    pub fn link_name(&self, node: &NodeName) -> Option<LinkName> {
        match self.nodes.get(node).map(|known| &known.announced) {
            Some(Announced::Name(name)) => Some(name.clone()),
            Some(Announced::Malformed) => None,
            Some(Announced::Nothing) | None => Some(LinkName::plain(node)),
        }
    }
}

impl ClusterNode {
    /// Whether an agent has told the cluster anything of PostgreSQL on this node.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.status.is_some() || self.data_status.is_some() || self.score.is_some()
    }
}

impl ClusterNode {
    /// What the database does here, by the results of Pacemaker's operations. Nothing runs on a node
    /// that is no member, as far as this partition can tell.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role_in(Some(&self.database))
    }

    /// The same of a resource that is placed with the database.
    #[must_use]
    pub fn role_of(&self, placed: &ResourceName) -> Role {
        self.role_in(self.placed.get(placed))
    }

    fn role_in(&self, state: Option<&ResourceState>) -> Role {
        let role = state.and_then(|state| state.role).filter(|_| self.online);
        role.unwrap_or(Role::Stopped)
    }

    /// Whether Pacemaker is starting the database here.
    #[must_use]
    pub fn is_being_started(&self) -> bool {
        let pending = self.database.pending.as_ref();
        self.online && pending.is_some_and(|pending| pending.operation == "start")
    }

    /// Whether Pacemaker may run the database here.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.online && !self.standby && !self.maintenance
    }

    /// Whether its data status says that it streams from the primary.
    #[must_use]
    pub fn streams(&self) -> bool {
        let status = self.data_status.as_ref();
        status.is_some_and(DataStatus::is_streaming)
    }

    /// Whether its data status says that commits wait for it.
    #[must_use]
    pub fn is_synchronous(&self) -> bool {
        let status = self.data_status.as_ref();
        status.is_some_and(DataStatus::is_streaming_sync)
    }

    /// Whether its promotion score lets Pacemaker promote it.
    #[must_use]
    pub fn is_promotable(&self) -> bool {
        self.score.is_some_and(|score| score.value() > 0)
    }

    /// Whether a standby runs here that Pacemaker may promote now.
    #[must_use]
    pub fn may_take_over(&self) -> bool {
        self.role() == Role::Unpromoted && self.is_promotable()
    }

    /// Whether nothing is known that would keep it from being the next primary but the score, which it has
    /// no sooner than commits wait for it.
    #[must_use]
    pub fn could_take_over(&self) -> bool {
        self.barred.is_none() && self.unfit.is_none() && self.score != Some(Score::LastResort)
    }

    /// Whether its own agent says that it could not open for writing, or only as the last of all (R14). What an
    /// administrator keeps from being promoted is as it was meant.
    #[must_use]
    pub fn is_unfit(&self) -> bool {
        self.unfit.is_some()
    }

    /// Why the database does not run here, where it does not.
    #[must_use]
    pub fn why_stopped(&self) -> WhyStopped<'_> {
        if !self.online {
            return WhyStopped::Away;
        }
        if self.standby {
            return WhyStopped::Standby;
        }
        if let Some(pending) = &self.database.pending {
            return WhyStopped::Busy(&pending.operation);
        }
        match &self.database.last_failure {
            Some(failure) => WhyStopped::Failed(failure),
            None => WhyStopped::Stopped,
        }
    }
}

/// What to type for a node whose resources Pacemaker is to act on again.
pub fn end_of_maintenance(name: &NodeName) -> Message {
    message!("crm_attribute -N {name} -n maintenance -D", name)
}

/// Whether the loss of the primary would be survived with every acknowledged commit.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cover {
    /// A standby that commits wait for may be promoted, or they wait for none in this mode.
    Ready,
    /// Commits wait for one that could not open for writing; its operator has to do something first.
    Unfit,
    /// None yet.
    NotYet,
    /// The register does not say for whom.
    Unknown(NoRow),
}

impl fmt::Display for Cover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("a standby may be promoted"),
            Self::Unfit => {
                f.write_str("the standby that commits wait for could not open for writing")
            }
            Self::NotYet => f.write_str("no standby that commits wait for may be promoted yet"),
            Self::Unknown(no_row) => {
                write!(
                    f,
                    "it is not known for which standby commits wait: {no_row}"
                )
            }
        }
    }
}

/// Why the database does not run on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyStopped<'a> {
    /// The node is no member of this partition.
    Away,
    /// An operator has put the node into standby.
    Standby,
    /// An operation is under way, by this name.
    Busy(&'a str),
    /// An operation has failed.
    Failed(&'a Failure),
    /// It was stopped, or never started.
    Stopped,
}

impl WhyStopped<'_> {
    /// The same in words.
    #[must_use]
    pub fn what(&self) -> Message {
        match self {
            Self::Away => message!("not in the cluster"),
            Self::Standby => message!("out of service"),
            Self::Busy(operation) => message!("{operation} is under way", operation),
            Self::Failed(Failure {
                operation,
                code,
                reason,
            }) => {
                let reason = match reason {
                    Some(reason) => Message::from(reason),
                    None => message!("no reason given"),
                };
                message!(
                    "{operation} failed with {code}: {reason}",
                    operation,
                    code,
                    reason
                )
            }
            Self::Stopped => message!("stopped"),
        }
    }
}

impl fmt::Display for WhyStopped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what().fmt(f)
    }
}

/// The database as a resource of Pacemaker, or one that is placed with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its name.
    pub name: ResourceName,
    /// Whether Pacemaker acts on it (`is-managed`, of it or of its clone).
    pub managed: bool,
    /// Whether an operator has stopped it (`cls_stop`).
    pub stopped_on_purpose: bool,
    /// The address that it carries, where it is one.
    pub address: Option<String>,
    /// It may run beside a standby of the database and nowhere else.
    pub needs_standby: bool,
}

impl Default for Resource {
    fn default() -> Self {
        Self {
            name: ResourceName::undefined(),
            managed: true,
            stopped_on_purpose: false,
            address: None,
            needs_standby: false,
        }
    }
}

/// What becomes of a primary in a part of the cluster that has no quorum, as long as Pacemaker acts on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WithoutQuorum {
    /// It goes on, and nobody ends it: `ignore`, or `freeze` without fencing.
    #[default]
    GoesOn,
    /// Pacemaker stops or demotes it: `stop`, `demote`, `suicide`.
    Ends,
    /// Pacemaker leaves it alone, and the part that has quorum fences its node (`freeze` with fencing). Where
    /// no part has, it runs until a node is back.
    Fenced,
}

/// Why Pacemaker acts on the database nowhere and runs no monitors of it either, which it goes on with where it
/// only does not manage it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maintenance {
    /// The cluster property `maintenance-mode`: it is so for every resource.
    Cluster,
    /// The meta attribute `maintenance` of the database or of its clone.
    Database,
}

/// One database and its cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Whether the partition that answered has quorum.
    pub quorum: bool,
    /// What becomes of a primary in a part without quorum (`no-quorum-policy`).
    pub without_quorum: WithoutQuorum,
    /// The nodes, by name.
    pub nodes: BTreeMap<NodeName, ClusterNode>,
    /// The database.
    pub database: Resource,
    /// What is placed with it, such as the two addresses.
    pub placed: Vec<Resource>,
    /// The clone around the database, or itself where there is none: what commands work on.
    pub outer: String,
    /// The same, and what is placed with it, each as commands name it.
    pub ours: Vec<String>,
    /// Whether Pacemaker acts on the database (`cls_unmanage`, `maintenance-mode`).
    pub managed: bool,
    /// Why it runs no monitors of it either, where that is so.
    pub maintenance: Option<Maintenance>,
    /// Every fail count, of other resources too.
    pub failures: Vec<FailCount>,
    /// The constraints on the database that `crm_resource` has made, for a command or by hand. They
    /// move it where nobody wants it any more, or keep it off a node, and stay when they have no
    /// effect any more.
    pub left: Vec<String>,
    /// What a command has noted that it runs ([`NOTE`]).
    pub note: Option<String>,
    /// `pgsql_REPL_INFO`, or the text that is there instead.
    pub repl_info: Option<Result<ReplInfo, String>>,
    /// `pgsql_REGISTER`: how far the register has come, as a primary has told the cluster.
    pub seen: Option<Seen>,
    /// Attributes with texts that none of our versions writes, quoted, for the log.
    pub malformed: Vec<String>,
}

impl Cluster {
    /// The node, or one that is not there.
    #[must_use]
    pub fn node(&self, name: &NodeName) -> ClusterNode {
        self.nodes.get(name).cloned().unwrap_or_default()
    }

    /// The node that shows itself as the primary and is a member of this partition.
    #[must_use]
    pub fn primary(&self) -> Option<&NodeName> {
        self.nodes
            .iter()
            .find(|(_, node)| node.online && node.status == Some(PgsqlStatus::Pri))
            .map(|(name, _)| name)
    }

    /// The nodes on which Pacemaker's last operation leaves the database promoted.
    pub fn promoted(&self) -> impl Iterator<Item = &NodeName> {
        let promoted = |(_, node): &(&NodeName, &ClusterNode)| node.role() == Role::Promoted;
        self.nodes.iter().filter(promoted).map(|(name, _)| name)
    }

    /// That node, if there is exactly one.
    #[must_use]
    pub fn one_promoted(&self) -> Option<&NodeName> {
        let mut promoted = self.promoted();
        let first = promoted.next();
        promoted.next().is_none().then_some(first).flatten()
    }

    /// Whether a standby may be promoted now in place of the primary.
    #[must_use]
    pub fn can_be_taken_over(&self) -> bool {
        self.nodes.values().any(ClusterNode::may_take_over)
    }

    /// Whether a standby that commits wait for may be promoted now: by the register, where there is one, and
    /// by its data status.
    pub fn cover(&self, mode: Mode, register: Option<&Reading>) -> Cover {
        if mode != Mode::Sync {
            return Cover::Ready;
        }
        let row = register.map(|reading| believed(reading, None, self.seen));
        let row = match row.transpose() {
            Ok(row) => row,
            Err(no_row) => return Cover::Unknown(no_row),
        };
        let holds = |(name, node): &(&NodeName, &ClusterNode)| {
            node.role() == Role::Unpromoted
                && node.is_synchronous()
                && row.is_none_or(|row| row.holders.contains(*name))
        };
        let holders = || self.nodes.iter().filter(holds).map(|(_, node)| node);
        if holders().any(ClusterNode::may_take_over) {
            Cover::Ready
        } else if holders().any(|node| node.unfit.is_some()) {
            Cover::Unfit
        } else {
            Cover::NotYet
        }
    }

    /// `pgsql_REPL_INFO` where it is there and well-formed.
    #[must_use]
    pub fn repl_info(&self) -> Option<&ReplInfo> {
        self.repl_info.as_ref().and_then(|read| read.as_ref().ok())
    }

    /// What Pacemaker does not act on of the database, of what is placed with it and on these nodes, and what
    /// is typed to change that: an order about it would wait until somebody does.
    #[must_use]
    pub fn left_alone<'n>(
        &self,
        nodes: impl IntoIterator<Item = &'n NodeName>,
    ) -> Option<(Message, Message)> {
        if !self.managed {
            let what = message!("Pacemaker does not manage the database");
            return Some((what, message!("cls_manage")));
        }
        if let Some(placed) = self.placed.iter().find(|placed| !placed.managed) {
            let what = message!(
                "Pacemaker does not manage {name}",
                name = placed.name.as_str()
            );
            return Some((what, message!("cls_manage")));
        }
        let mut nodes = nodes.into_iter();
        let node = nodes.find(|name| self.node(name).maintenance)?;
        let what = message!(
            "{name} is in maintenance: Pacemaker does not act there",
            name = node
        );
        Some((what, end_of_maintenance(node)))
    }

    /// The nodes on which something of ours runs.
    pub fn busy_nodes(&self) -> impl Iterator<Item = &NodeName> {
        self.nodes
            .keys()
            .filter(|name| !self.running(name).is_empty())
    }

    /// The names of the database and of what is placed with it.
    pub fn resources(&self) -> impl Iterator<Item = &ResourceName> {
        let all = std::iter::once(&self.database).chain(&self.placed);
        all.map(|resource| &resource.name)
    }

    /// Whether something that is placed with the database runs on any node.
    #[must_use]
    pub fn runs(&self, placed: &ResourceName) -> bool {
        let mut nodes = self.nodes.values();
        nodes.any(|node| node.role_of(placed) != Role::Stopped)
    }

    /// What of ours runs on a node.
    #[must_use]
    pub fn running(&self, name: &NodeName) -> Vec<&ResourceName> {
        let Some(node) = self.nodes.get(name) else {
            return Vec::new();
        };
        let database = (node.role() != Role::Stopped).then_some(&self.database.name);
        let placed = self.placed.iter().map(|resource| &resource.name);
        let placed = placed.filter(|name| node.role_of(name) != Role::Stopped);
        database.into_iter().chain(placed).collect()
    }

    /// The operation of a resource of ours that is under way on a node.
    #[must_use]
    pub fn pending(&self, name: &NodeName) -> Option<String> {
        let node = self.nodes.get(name)?;
        let database = (&self.database.name, &node.database);
        let states = std::iter::once(database).chain(&node.placed);
        let mut pending = states.filter_map(|(name, state)| Some((name, state.pending.as_ref()?)));
        let (resource, pending) = pending.next()?;
        Some(format!("{} of {resource}", pending.operation))
    }

    /// Every operation of a resource of ours that is under way: the node, and which it is.
    pub fn all_pending(&self) -> impl Iterator<Item = (&NodeName, String)> {
        let nodes = self.nodes.keys();
        nodes.filter_map(|name| Some((name, self.pending(name)?)))
    }

    /// The fail counts of the database and of what is placed with it.
    pub fn our_failures(&self) -> impl Iterator<Item = &FailCount> {
        let ours =
            |count: &&FailCount| self.resources().any(|name| count.resource == name.as_str());
        self.failures.iter().filter(ours)
    }

    /// What is placed with the database, runs nowhere, and has failed where it was tried: which, and why.
    /// Once Pacemaker has nothing more to do it is not tried again before a cleanup.
    #[must_use]
    pub fn in_vain(&self) -> Vec<String> {
        let lost = self.placed.iter().filter(|placed| !self.runs(&placed.name));
        let said = |placed: &Resource| {
            let tried = self.nodes.iter().filter(|(_, node)| node.online);
            let why: Vec<String> = tried
                .filter_map(|(name, node)| {
                    let failure = node.placed.get(&placed.name)?.last_failure.as_ref()?;
                    Some(format!("on {name} {}", WhyStopped::Failed(failure)))
                })
                .collect();
            let address = placed.address.as_deref().unwrap_or("a resource");
            let why = (!why.is_empty()).then(|| why.join(", "))?;
            Some(format!("{} ({address}) is on no node: {why}", placed.name))
        };
        lost.filter_map(said).collect()
    }

    /// Whether Pacemaker does not try the database on a node again by itself: the node is away, the
    /// failures have reached the threshold, or one was of the kind that only an operator can mend.
    #[must_use]
    pub fn is_given_up(&self, name: &NodeName) -> bool {
        let Some(node) = self.nodes.get(name).filter(|node| node.online) else {
            return true;
        };
        let counted = self.failures.iter().any(|count| {
            count.node == *name && count.resource == self.database.name.as_str() && count.is_final()
        });
        // OCF: arguments, permissions, installation and configuration are hard errors.
        let failure = node.database.last_failure.as_ref();
        counted || failure.is_some_and(|failure| (2..=6).contains(&failure.code))
    }
}

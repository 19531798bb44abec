//! A change of config.ini that moves the lock service.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pha_core::cluster::Cluster;
use pha_core::message;
use pha_core::message::Message;
use pha_core::names::NodeName;
use pha_core::params::Arbiter;
use pha_core::parse::cib::Cib;
use pha_core::register::Seen;
use pha_core::setup::{
    LockMove, LockPlace, Moved, SetupPlan, gone_after, gone_before, switched_off,
};
use pha_host::clock::Deadline;
use pha_host::config::ClusterConfig;
use pha_host::conninfo::Conninfo;
use pha_host::lock::{self, Shown};

use super::cib::{cib, without_database};
use super::design;
use super::lock_part::{LockPart, come};
use crate::error::ClsError;

/// How long the lock service that is left may take to answer.
const OLD: Duration = Duration::from_secs(5);

/// A move that was judged.
pub(super) struct Moving {
    /// An operator has to write the register in the new place.
    pub(super) to_be_written: bool,
    /// What has to be done before a node that is off is powered on.
    before_power: Option<Message>,
    /// Those that have to be members while it is made.
    there: BTreeSet<NodeName>,
}

impl Moving {
    /// Looks once more, before it is made.
    ///
    /// # Errors
    /// [`ClsError::Refused`]: a node has left since.
    pub(super) fn before(&self, deadline: Deadline) -> Result<(), ClsError> {
        let gone = self.gone(deadline)?;
        match gone.is_empty() {
            true => Ok(()),
            false => Err(gone_before(&gone).into()),
        }
    }

    /// And after it was made.
    ///
    /// # Errors
    /// [`ClsError::Failed`]: a node has left, which may not have heard of it.
    pub(super) fn after(&self, deadline: Deadline) -> Result<(), ClsError> {
        let gone = self.gone(deadline)?;
        match gone.is_empty() {
            true => Ok(()),
            false => {
                let (what, hint) = gone_after(&gone);
                Err(ClsError::failed(what, hint))
            }
        }
    }

    fn gone(&self, deadline: Deadline) -> Result<Vec<NodeName>, ClsError> {
        let cluster = without_database(&Cib::parse(&cib(deadline)?)?);
        let gone = self.there.iter().filter(|node| !cluster.node(node).online);
        Ok(gone.cloned().collect())
    }

    /// What is to be done after it.
    pub(super) fn next(&self) -> Vec<Message> {
        let written = self.to_be_written.then(|| {
            message!(
                "The lock service has moved, and its register is to be written there: now cls_recovery_master"
            )
        });
        written
            .into_iter()
            .chain(self.before_power.clone())
            .collect()
    }
}

/// Those nodes of the database that are switched off, as the operator says, whether or not the lock service moves.
///
/// # Errors
/// [`ClsError::Refused`]: one of them is no such node, or is in the cluster.
pub(super) fn off(
    config: &ClusterConfig,
    plan: &SetupPlan,
    cluster: &Cluster,
    names: &[String],
) -> Result<BTreeSet<NodeName>, ClsError> {
    let before = plan.parameters_before();
    let list = before.get("node_list").map(String::as_str);
    let nodes = nodes(&config.nodes, list.unwrap_or_default());
    let off = switched_off(names, &nodes, |node| cluster.node(node).online);
    Ok(off?)
}

/// Judges the move; none where it stays where it is.
///
/// # Errors
/// [`ClsError::Refused`] where a node would go on with the old one.
pub(super) fn judge(
    config: &ClusterConfig,
    plan: &SetupPlan,
    cluster: &Cluster,
    running: &[NodeName],
    part: Option<&LockPart>,
    off: &BTreeSet<NodeName>,
    deadline: Deadline,
) -> Result<Option<Moving>, ClsError> {
    let before = plan.parameters_before();
    let given = |name: &str| before.get(name).map(String::as_str);
    // It is there, and the agent does not ask it.
    if asks_another(&before) {
        return Ok(None);
    }
    // A place that cannot be read is none that a node could go on with.
    let old = given("distlock_conninfo").and_then(|text| text.parse::<Conninfo>().ok());
    let (Some(old), Some(name)) = (old, given("distlock_lockname")) else {
        return Ok(None);
    };
    let from = place(&old, name);
    let part = part.filter(|_| !asks_another(&plan.parameters()));
    let to = part.map(|part| place(&part.info, &part.name.to_string()));
    let nodes = nodes(&config.nodes, given("node_list").unwrap_or_default());
    let away: Vec<&NodeName> = nodes
        .iter()
        .filter(|node| !cluster.node(node).online)
        .collect();
    let left = match away.is_empty() || to.as_ref() == Some(&from) {
        true => None,
        false => left(&old, name, deadline),
    };
    let moves = LockMove {
        from: &from,
        to: to.as_ref(),
        runs: !running.is_empty(),
        away,
        off,
        seen: cluster.seen,
        there: part.and_then(|part| part.there),
        left,
    };
    let moved = moves.judge()?;
    Ok((moved != Moved::Not).then(|| Moving {
        to_be_written: moved == Moved::ToBeWritten,
        before_power: moves.before_power(),
        there: match moves.is_armed() {
            true => nodes.difference(off).cloned().collect(),
            false => BTreeSet::new(),
        },
    }))
}

/// How far the row has come that would be left; none where that is not known.
fn left(info: &Conninfo, name: &str, deadline: Deadline) -> Option<Seen> {
    let name = name.parse().ok()?;
    match lock::show(info, &name, deadline.sub_budget(OLD)) {
        Ok(Shown::Row(row)) => come(&row),
        Ok(Shown::NoRow) => Some(Seen::default()),
        // A table of another kind may have a row all the same.
        Ok(Shown::NoTable(_)) | Err(_) => None,
    }
}

/// The nodes of the database, as it shall be and as it is: one that config.ini has no more may still be alive.
fn nodes(after: &[NodeName], before: &str) -> BTreeSet<NodeName> {
    let before = before.split_whitespace();
    let before = before.filter_map(|name| name.parse().ok());
    after.iter().cloned().chain(before).collect()
}

/// Whether the agent would take these parameters, and go by another kind of lock or none.
fn asks_another(parameters: &BTreeMap<String, String>) -> bool {
    design::parsed(parameters).is_ok_and(|params| params.lock_service.arbiter() != Arbiter::Builtin)
}

/// Where a register is. A change of the role, of a time limit or of the encryption moves nothing.
fn place(info: &Conninfo, name: &str) -> LockPlace {
    let servers: Vec<String> = info.servers.iter().map(ToString::to_string).collect();
    LockPlace {
        server: format!("{}/{}", servers.join(","), info.database()),
        name: match name.contains(':') {
            true => name.to_owned(),
            false => format!("distlock:{name}"),
        },
    }
}

/// What is said before.
pub(super) fn warning(cluster: &Cluster) -> Message {
    let next = match cluster.one_promoted() {
        Some(primary) => format!("cls_recovery_master --confirm {primary}"),
        None => "cls_recovery_master".to_owned(),
    };
    message!(
        "the lock service moves to where the register does not go on from what this cluster has seen: {next} writes it there afterwards; until then nobody takes over, and a primary that runs goes on",
        next
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_config_ini_has_no_more_is_looked_at_too() {
        let after: Vec<NodeName> = ["node1", "node4"].map(|name| name.parse().unwrap()).into();
        let all = nodes(&after, "node1  node2");
        let all: Vec<&str> = all.iter().map(NodeName::as_str).collect();
        assert_eq!(all, ["node1", "node2", "node4"]);
    }

    #[test]
    fn the_register_is_asked_only_where_it_is_switched_on() {
        let given = |enabled: &str| {
            let pairs = [
                ("rep_mode", "sync"),
                ("node_list", "node1 node2"),
                ("master_ip", "10.0.0.9"),
                ("repuser", "replication"),
                ("enable_distlock", enabled),
                ("distlock_conninfo", "host=l"),
                ("distlock_lockname", "x"),
            ];
            let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
            BTreeMap::from(pairs)
        };
        assert!(!asks_another(&given("true")));
        assert!(asks_another(&given("false")));
        // Nothing is known of parameters that the agent would not take.
        assert!(!asks_another(&given("perhaps")));
    }
}

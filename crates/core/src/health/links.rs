//! Receivers of WAL that are none of the cluster's standbys (R11).

use super::{Level, Observation, Problem, ReplicationRow, problem};
use crate::cluster::Cluster;
use crate::link_name::LinkName;
use crate::names::NodeName;

impl ReplicationRow {
    /// The node whose standby this is. It is nobody's that has another name than the node's agent has
    /// announced, or that stores WAL and replays none.
    #[must_use]
    pub fn whose(&self, cluster: &Cluster, nodes: &[NodeName]) -> Option<NodeName> {
        if self.flush_lag_bytes.is_some() && self.replay_lag_bytes.is_none() {
            return None;
        }
        let named = |node: &&NodeName| {
            let name = cluster.link_name(node);
            name.is_some_and(|name| name.is_called(&self.standby))
        };
        nodes.iter().find(named).cloned()
    }

    /// Where it comes from.
    #[must_use]
    pub fn from(&self) -> String {
        match &self.address {
            Some(address) => address.clone(),
            None => "the primary's own socket".to_owned(),
        }
    }
}

/// The rule: somebody receives WAL under a name that a node has or had.
pub(super) fn strangers(seen: &Observation<'_>) -> Vec<Problem> {
    let (Some(rows), Some(primary)) = (seen.replication, seen.primary()) else {
        return Vec::new();
    };
    let named = |row: &ReplicationRow| {
        let name: LinkName = row.standby.parse().ok()?;
        seen.nodes.iter().find(|node| name.may_be_of(node)).cloned()
    };
    let strangers = rows
        .iter()
        .filter(|row| row.whose(seen.cluster, seen.nodes).is_none());
    let found = strangers.filter_map(|row| {
        let node = named(row)?;
        let text = format!(
            "a receiver at {} calls itself {}, and is not {node}'s standby: nothing that it acknowledges counts",
            row.from(),
            row.standby
        );
        let remedy = format!(
            "end it at {}, or give it another application_name; is it {node}'s own PostgreSQL, started by hand: cls_standby_node {node}, then cls_unstandby_node {node}",
            row.from()
        );
        Some(problem(Level::Warning, text, &remedy).on(primary))
    });
    found.collect()
}

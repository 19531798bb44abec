//! Receivers of WAL that are none of the cluster's standbys (R11).

use super::{Level, Observation, Problem, ReplicationRow, problem};
use crate::cluster::Cluster;
use crate::decide::whose;
use crate::link_name::LinkName;
use crate::lsn::Lsn;
use crate::message;
use crate::message::Message;
use crate::names::NodeName;
use crate::postgres::LinkRow;

impl ReplicationRow {
    /// A link of a primary, which had flushed up to `end` afterwards.
    #[must_use]
    pub fn of(link: &LinkRow, end: Lsn, cluster: &Cluster, nodes: &[NodeName]) -> Self {
        // Negative where it reports more than the primary has.
        let behind = |position: Option<Lsn>| {
            let bytes = i128::from(end.as_u64()) - i128::from(position?.as_u64());
            i64::try_from(bytes).ok()
        };
        Self {
            standby: link.name.clone(),
            node: whose(link, cluster, nodes),
            address: link.address.clone(),
            state: link.state,
            sync_state: link.sync,
            flush_lag_bytes: behind(link.flushed),
            replay_lag_bytes: behind(link.replayed),
            replay_lag_seconds: link.lag.map(|lag| lag.as_secs_f64()),
        }
    }

    /// Where it comes from.
    #[must_use]
    pub fn from(&self) -> Message {
        match &self.address {
            Some(address) => Message::from(address),
            None => message!("the primary's own socket"),
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
    let strangers = rows.iter().filter(|row| row.node.is_none());
    let found = strangers.filter_map(|row| {
        let node = named(row)?;
        let text = message!(
            "a receiver at {from} calls itself {standby}, and is not {node}'s standby: nothing that it acknowledges counts",
            from = row.from(),
            standby = row.standby,
            node
        );
        let remedy = message!(
            "end it at {from}, or give it another application_name; is it {node}'s own PostgreSQL, started by hand: cls_standby_node {node}, then cls_unstandby_node {node}",
            from = row.from(),
            node
        );
        Some(problem(Level::Warning, text, remedy).on(primary))
    });
    found.collect()
}

//! What `cls_status` shows: the document that `--json` prints, and the text is made of.

use std::collections::BTreeMap;
use std::time::Duration;

use pha_core::cluster::FailCount;
use pha_core::health::{CommitWaits, ReplicationRow, Verdict};
use pha_core::message::Message;
use pha_core::names::NodeName;
use pha_core::params::Mode;
use pha_core::postgres::LinkRow;
use pha_core::register::{Reading, went_back};
use pha_core::status::{DataStatus, PgsqlStatus, Role};
use serde::Serialize;

use super::sources::Sources;

/// Everything that is shown.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The verdict.
    #[serde(flatten)]
    pub(super) verdict: Verdict,
    /// The database resource.
    pub(super) resource: String,
    /// The primary, if there is exactly one.
    pub(super) primary: Option<NodeName>,
    /// How it replicates.
    pub(super) rep_mode: String,
    /// In asynchronous mode, how many bytes of WAL a standby may lack and still take over.
    pub(super) async_max_lag: Option<u64>,
    /// `pgsql_REPL_INFO` as it is written.
    pub(super) repl_info: Option<String>,
    /// Every node.
    pub(super) nodes: Vec<Node>,
    /// The primary's standbys.
    pub(super) replication: Option<Vec<ReplicationRow>>,
    /// For whom commits wait, and how many do; `None` where the primary could not be asked.
    pub(super) commits: Option<CommitWaits>,
    /// The lock service's row.
    pub(super) register: Option<RegisterRow>,
    /// Where the lock service is.
    pub(super) lock_service: Option<String>,
    /// What this node remembers and has promised.
    pub(super) memory: Option<MemoryRow>,
    /// Every fail count.
    pub(super) fail_counts: Vec<FailCount>,
    /// Which sources did not answer, and why.
    pub(super) silent: BTreeMap<&'static str, Message>,
    /// How long it took, in milliseconds.
    pub(super) took_ms: u128,
    /// Pacemaker's own view.
    #[serde(skip)]
    pub(super) crm_mon: Option<String>,
}

/// One node.
#[derive(Debug, Serialize)]
pub(super) struct Node {
    pub(super) name: NodeName,
    pub(super) online: bool,
    pub(super) standby: bool,
    pub(super) role: Role,
    pub(super) status: Option<PgsqlStatus>,
    pub(super) data_status: Option<DataStatus>,
    pub(super) score: Option<String>,
}

/// The lock service's row.
#[derive(Debug, Serialize)]
pub(super) struct RegisterRow {
    pub(super) owner: Option<NodeName>,
    pub(super) term: u64,
    pub(super) epoch: u64,
    pub(super) holders: Vec<NodeName>,
    /// Seconds since the lease was renewed; `None` when it has run out or was released.
    pub(super) lease_age: Option<f64>,
    /// Seconds that the lease still runs.
    pub(super) lease_left: f64,
    /// Seconds that it is given for.
    pub(super) lease: f64,
    /// This node has seen a later row; what this one says is not believed.
    #[serde(skip)]
    pub(super) went_back: bool,
}

/// What this node remembers.
#[derive(Debug, Serialize)]
pub(super) struct MemoryRow {
    pub(super) term: u64,
    pub(super) epoch: u64,
    /// The epoch at which it has promised not to promote (R7).
    pub(super) promised_epoch: Option<u64>,
}

impl Report {
    pub(super) fn new(
        seen: &Sources,
        replication: Option<Vec<ReplicationRow>>,
        verdict: Verdict,
        took: Duration,
    ) -> Self {
        let cluster = &seen.cluster;
        let mut silent = BTreeMap::new();
        if let Err(error) = &seen.crm_mon {
            silent.insert("crm_mon", Message::from(error));
        }
        match (&seen.view, &seen.commits) {
            (Some(Err(error)), _) => silent.insert("replication", Message::from(error.to_string())),
            (_, Some(Err(error))) => silent.insert("commits", Message::from(error.to_string())),
            _ => None,
        };
        if !cluster.view.malformed.is_empty() {
            let malformed = cluster.view.malformed.join("; ");
            silent.insert("attributes", Message::from(malformed));
        }
        if let Some(Reading::Unknown(trouble)) = &seen.register {
            silent.insert("register", trouble.what());
        }
        Self {
            resource: cluster.resource.to_string(),
            primary: cluster.primary().ok(),
            rep_mode: cluster.params.rep_mode.to_string(),
            async_max_lag: (cluster.params.rep_mode == Mode::Async)
                .then_some(cluster.params.async_max_lag),
            repl_info: cluster.view.repl_info.as_ref().map(|read| match read {
                Ok(info) => info.to_string(),
                Err(text) => text.clone(),
            }),
            nodes: nodes(seen),
            replication,
            commits: seen
                .commits
                .as_ref()
                .and_then(|answer| answer.as_ref().ok())
                .cloned(),
            register: register(seen),
            lock_service: seen.lock.clone(),
            memory: seen.remembered().map(|memory| MemoryRow {
                term: memory.term,
                epoch: memory.epoch,
                promised_epoch: memory.promised,
            }),
            fail_counts: cluster.view.failures.clone(),
            silent,
            took_ms: took.as_millis(),
            crm_mon: seen.crm_mon.as_ref().ok().cloned(),
            verdict,
        }
    }
}

fn nodes(seen: &Sources) -> Vec<Node> {
    let cluster = &seen.cluster;
    let nodes = cluster
        .names
        .iter()
        .map(|name| (name, cluster.node(name)))
        .map(|(name, node)| Node {
            name: name.clone(),
            online: node.online,
            standby: node.standby,
            role: node.role(),
            status: node.status,
            data_status: node.data_status,
            score: node.score.map(|score| score.to_string()),
        });
    nodes.collect()
}

fn register(seen: &Sources) -> Option<RegisterRow> {
    let Some(Reading::Row(row)) = &seen.register else {
        return None;
    };
    let left = row.lease_left.as_secs_f64();
    let lease = row.ttl.as_secs_f64();
    Some(RegisterRow {
        owner: row.owner.clone(),
        term: row.term,
        epoch: row.epoch,
        holders: row.holders.iter().cloned().collect(),
        lease_age: (left > 0.0).then_some(lease - left),
        lease_left: left,
        lease,
        went_back: went_back(row, seen.remembered(), seen.cluster.view.seen).is_some(),
    })
}

/// The links with the nodes whose they are, by their names.
pub(super) fn replication(seen: &Sources) -> Option<Vec<ReplicationRow>> {
    let links = &seen.view.as_ref()?.as_ref().ok()?.links;
    let (cluster, nodes) = (&seen.cluster.view, &seen.cluster.params.node_list);
    let mut rows: Vec<&LinkRow> = links.rows.iter().collect();
    rows.sort_by(|one, other| one.name.cmp(&other.name));
    let row = |link: &&LinkRow| ReplicationRow::of(link, links.flushed, cluster, nodes);
    Some(rows.iter().map(row).collect())
}

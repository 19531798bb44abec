//! The cluster as Pacemaker's information base shows it, read once: what the agent decides on.

use std::collections::BTreeMap;

use crate::lsn::Lsn;
use crate::names::{NodeName, ResourceName};
use crate::parse::cib::{Cib, CibNode};
use crate::repl_info::ReplInfo;
use crate::status::{DataStatus, PgsqlStatus, Score};
use crate::timeline::{TimelineId, WalPosition};

/// One node in Pacemaker's view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterNode {
    /// It is a member of this partition.
    pub online: bool,
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
    pub guard: Option<String>,
}

/// The part of the CIB that decisions look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// The nodes, by name.
    pub nodes: BTreeMap<NodeName, ClusterNode>,
    /// `pgsql_REPL_INFO`, or the text that is there instead.
    pub repl_info: Option<Result<ReplInfo, String>>,
    /// Attributes with texts that none of our versions writes, quoted, for the log.
    pub malformed: Vec<String>,
}

impl Cluster {
    /// The part of the CIB that decisions look at. A text that no version of the agent writes is
    /// reported and counts as not there, so that it opens no gate.
    #[must_use]
    pub fn of_cib(cib: &Cib, resource: &ResourceName) -> Self {
        let mut cluster = Self {
            repl_info: cib
                .repl_info(resource)
                .map(|text| text.parse().map_err(|error| format!("{error}"))),
            ..Self::default()
        };
        for node in &cib.nodes {
            let (read, malformed) = read_node(node, resource);
            cluster.nodes.insert(node.name.clone(), read);
            cluster.malformed.extend(malformed);
        }
        cluster
    }

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

    /// `pgsql_REPL_INFO` where it is there and well-formed.
    #[must_use]
    pub fn repl_info(&self) -> Option<&ReplInfo> {
        self.repl_info.as_ref().and_then(|read| read.as_ref().ok())
    }
}

fn read_node(node: &CibNode, resource: &ResourceName) -> (ClusterNode, Vec<String>) {
    let mut malformed = Vec::new();
    let mut note =
        |error: String| malformed.push(format!("attribute of node {}: {error}", node.name));
    let transient = |suffix: &str| node.transient.get(&resource.attribute(suffix));
    let timeline = read(transient("timeline"), &mut note, |text| {
        text.parse::<u32>()
            .ok()
            .and_then(TimelineId::new)
            .ok_or_else(|| format!("{text:?} is no timeline"))
    });
    let lsn = read(transient("xlog-loc"), &mut note, |text| {
        Lsn::from_hex16(text).map_err(|e| e.to_string())
    });
    let read = ClusterNode {
        online: node.online,
        status: read(transient("status"), &mut note, |text| {
            text.parse().map_err(|e| format!("{e}"))
        }),
        data_status: read(
            node.permanent.get(&resource.attribute("data-status")),
            &mut note,
            |text| text.parse().map_err(|e| format!("{e}")),
        ),
        score: read(
            node.transient.get(&resource.promotion_attribute()),
            &mut note,
            |text| text.parse().map_err(|e| format!("{e}")),
        ),
        position: timeline
            .zip(lsn)
            .map(|(timeline, lsn)| WalPosition { timeline, lsn }),
        baseline: read(transient("master-baseline"), &mut note, |text| {
            Lsn::from_hex16(text).map_err(|e| e.to_string())
        }),
        receiver: transient("receiver-status").cloned(),
        guard: transient("guard").cloned(),
    };
    (read, malformed)
}

/// Reads an attribute; an empty one is one that was deleted.
fn read<T>(
    text: Option<&String>,
    note: &mut impl FnMut(String),
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let text = text.filter(|text| !text.is_empty())?;
    parse(text).map_err(note).ok()
}

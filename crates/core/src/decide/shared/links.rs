//! Whose a replication link is, and what its reports are worth (R4, R11).
//!
//! The snapshot has the rows of `pg_stat_replication` as they are. Every rule that looks at a standby
//! asks here. A link is a node's when it carries the name that the node's own agent has announced
//! ([`crate::link_name`]), is the only one that does, and reports how far it has replayed, which no
//! receiver does that only stores WAL. Any other link is a stranger's, whatever it calls itself: to
//! every rule it is as if it were not there.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::Cluster;
use crate::link_name::LinkName;
use crate::lsn::Lsn;
use crate::names::NodeName;
use crate::ocf::When;
use crate::snapshot::{LinkId, LinkRow, Links, Operation, Snapshot};
use crate::status::{SyncState, WalSenderState};

/// A node's own link.
#[derive(Debug, Clone, Copy)]
pub(in crate::decide) struct Link {
    /// What the WAL sender does.
    pub(in crate::decide) state: WalSenderState,
    /// What the standby counts for.
    pub(in crate::decide) sync: SyncState,
    /// `flush_lsn`, which may lie inside a record.
    pub(in crate::decide) flushed: Option<Lsn>,
    /// `replay_lsn`, always the end of a record.
    pub(in crate::decide) replayed: Lsn,
}

impl Link {
    /// Whether the standby receives WAL as it is written.
    pub(in crate::decide) fn streams(&self) -> bool {
        self.state == WalSenderState::Streaming
    }
}

/// Under which name each node's link is known. While Pacemaker does not answer, and for the guard, which
/// does not ask it: what the agent has kept. A node that has announced nothing has its plain name, as
/// with an agent that knows no incarnations; one whose announcement makes no sense has none.
pub(in crate::decide) fn names(s: &Snapshot) -> BTreeMap<NodeName, LinkName> {
    let name = |node: &NodeName| match (&s.cluster, &s.names.kept) {
        (Ok(cluster), _) => cluster.link_name(node),
        (Err(_), Some(kept)) => kept.names.get(node).cloned(),
        (Err(_), None) => Some(LinkName::plain(node)),
    };
    let nodes = s.settings.nodes.iter();
    nodes
        .filter_map(|node| Some((node.clone(), name(node)?)))
        .collect()
}

/// The name of one node.
pub(in crate::decide) fn name_of(s: &Snapshot, node: &NodeName) -> Option<LinkName> {
    names(s).remove(node)
}

/// The node whose present name this is.
pub(in crate::decide) fn present(s: &Snapshot, name: &str) -> Option<NodeName> {
    let found = |(node, own): (NodeName, LinkName)| own.is_called(name).then_some(node);
    names(s).into_iter().find_map(found)
}

/// The node that had this name earlier, where it is no node's present name. A name that was cut may be
/// of several: then it is nobody's.
pub(in crate::decide) fn former(s: &Snapshot, name: &str) -> Option<NodeName> {
    if present(s, name).is_some() {
        return None;
    }
    let name: LinkName = name.parse().ok()?;
    let mut nodes = s.settings.nodes.iter().filter(|node| name.may_be_of(node));
    let node = nodes.next()?;
    nodes.next().is_none().then(|| node.clone())
}

/// The node that has this name or had it earlier, where it is no other node's.
pub(in crate::decide) fn named(s: &Snapshot, name: &str) -> Option<NodeName> {
    present(s, name).or_else(|| former(s, name))
}

/// The link that is this node's.
pub(in crate::decide) fn of(s: &Snapshot, node: &NodeName) -> Option<Link> {
    own(&s.primary()?.links, &name_of(s, node)?)
}

/// Whether a node receives WAL as it is written.
pub(in crate::decide) fn streams(s: &Snapshot, node: &NodeName) -> bool {
    of(s, node).is_some_and(|link| link.streams())
}

/// Whether this node's standby can no longer be waited for: it does not stream under its present name,
/// it is no member of this partition, or it is about to be stopped.
pub(in crate::decide) fn lost(s: &Snapshot, node: &NodeName) -> bool {
    let member = s
        .cluster
        .as_ref()
        .map_or(true, |cluster| cluster.node(node).online);
    !streams(s, node) || !member || leaving(s, node)
}

/// Nodes that a notification announces to be stopped or demoted.
pub(super) fn leaving(s: &Snapshot, node: &NodeName) -> bool {
    match &s.operation {
        Operation::Notify(about) if about.when == When::Pre => {
            about.stop.contains(node) || about.demote.contains(node)
        }
        _ => false,
    }
}

/// Of several links of one name none counts. One whose state is hidden from the role that asked says
/// nothing.
fn own(links: &Links, name: &LinkName) -> Option<Link> {
    let mut rows = called(links, name);
    let row = rows.next()?;
    if rows.next().is_some() || !row.is_of(name) || !row.follows(links.flushed) {
        return None;
    }
    Some(Link {
        state: row.state?,
        sync: row.sync?,
        flushed: row.flushed,
        replayed: row.replayed?,
    })
}

fn called<'s>(links: &'s Links, name: &'s LinkName) -> impl Iterator<Item = &'s LinkRow> {
    links.rows.iter().filter(|row| name.is_called(&row.name))
}

/// The node whose standby this is, of a cluster that answers. Of several links of one name it is each one's,
/// although none of them counts until the older are ended.
#[must_use]
pub fn whose(link: &LinkRow, cluster: &Cluster, nodes: &[NodeName]) -> Option<NodeName> {
    let own = |node: &&NodeName| {
        let name = cluster.link_name(node);
        name.is_some_and(|name| link.is_of(&name))
    };
    nodes.iter().find(own).cloned()
}

/// Which of these nodes have acknowledged, as standbys of this primary, WAL up to `written`.
#[must_use]
pub fn acknowledged(
    links: &Links,
    written: Lsn,
    standbys: &BTreeMap<NodeName, LinkName>,
) -> BTreeSet<NodeName> {
    let has = |name: &LinkName| {
        own(links, name).is_some_and(|link| link.streams() && link.flushed >= Some(written))
    };
    let standbys = standbys.iter().filter(|(_, name)| has(name));
    standbys.map(|(node, _)| node.clone()).collect()
}

/// The links that have to end: PostgreSQL lets commits pass on any link of the right name. Where several
/// have a node's present name, that is every one that reports no replay beside one that does, and
/// otherwise all but the newest: of a standby that has connected again the older one is dead. And a
/// receiver without replay under a name for which commits wait. And what is left of a node's earlier name:
/// a sender that waits for a standby to ask for the next timeline (`startup`) has no time limit
/// (`wal_sender_timeout` counts while it streams), and shows a standby that has lost its power meanwhile for
/// as long as TCP keeps the connection.
pub(in crate::decide) fn superfluous(s: &Snapshot) -> Vec<LinkId> {
    let Some(view) = s.primary() else {
        return vec![];
    };
    let mut ends = BTreeSet::new();
    for name in names(s).values() {
        let rows: Vec<&LinkRow> = called(&view.links, name).collect();
        let mut waited = view.waits.names().iter();
        let named = waited.any(|waited| name.is_called(waited));
        let replays = rows.iter().any(|row| row.replayed.is_some());
        let stores = rows.iter().filter(|row| row.only_stores());
        if (replays || named) && stores.clone().next().is_some() {
            ends.extend(stores.map(|row| row.id));
        } else if let Some(newest) = rows.iter().map(|row| row.id.began).max() {
            let older = rows.iter().filter(|row| row.id.began < newest);
            ends.extend(older.map(|row| row.id));
        }
    }
    let left = view.links.rows.iter().filter(|row| {
        let back = former(s, &row.name).and_then(|node| name_of(s, &node));
        row.state == Some(WalSenderState::Startup)
            && back.is_some_and(|name| {
                called(&view.links, &name).any(|own| own.id.began > row.id.began)
            })
    });
    ends.extend(left.map(|row| row.id));
    ends.into_iter().collect()
}

impl LinkRow {
    /// Whether what it reports may be WAL of the primary, which had flushed up to `end` afterwards: no
    /// WAL is sent before it is flushed. One that reports more has WAL of another history. PostgreSQL
    /// streams to it what lies before the fork, again and again, and believes it: as a synchronous
    /// standby it would let commits pass that it does not have, up to the end of its own WAL (R4).
    #[must_use]
    pub fn follows(&self, end: Lsn) -> bool {
        let reported = self.flushed.max(self.replayed);
        // What one that streams has, it was sent; one that has diverged is sent what lies before the
        // fork, and has more. Before it streams it is sent again what it has of the segment.
        let sent = match self.state {
            Some(WalSenderState::Streaming) => self.sent,
            _ => None,
        };
        reported.is_none_or(|reported| reported <= sent.unwrap_or(end).min(end))
    }

    /// Whether it is the standby of the node that is known by this name (R11): not under another name than that
    /// node's agent has announced, nor where it stores WAL and replays none.
    #[must_use]
    pub fn is_of(&self, name: &LinkName) -> bool {
        name.is_called(&self.name) && !self.only_stores()
    }

    /// Whether it stores WAL and replays none, as `pg_receivewal`. A standby's first report has both.
    #[must_use]
    pub fn only_stores(&self) -> bool {
        self.flushed.is_some() && self.replayed.is_none()
    }
}

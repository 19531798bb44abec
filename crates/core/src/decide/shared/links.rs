//! Whose a replication link is, and what its reports are worth (R4).
//!
//! The snapshot has the rows of `pg_stat_replication` as they are. Every rule that looks at a standby
//! asks here: a link that is not believed is to all of them as if it were not there.

use std::collections::BTreeSet;

use crate::lsn::Lsn;
use crate::names::NodeName;
use crate::snapshot::{LinkRow, Links};
use crate::status::{SyncState, WalSenderState};

/// A link whose reports are believed.
#[derive(Debug, Clone, Copy)]
pub(in crate::decide) struct Link<'s> {
    name: &'s str,
    /// What the WAL sender does.
    pub(in crate::decide) state: WalSenderState,
    /// What the standby counts for.
    pub(in crate::decide) sync: SyncState,
    /// `flush_lsn`, which may lie inside a record.
    pub(in crate::decide) flushed: Option<Lsn>,
    /// `replay_lsn`, always the end of a record.
    pub(in crate::decide) replayed: Option<Lsn>,
}

impl Link<'_> {
    /// Whether it is this node's.
    pub(in crate::decide) fn is_of(&self, node: &NodeName) -> bool {
        self.name == node.as_str()
    }

    /// Whether the standby receives WAL as it is written.
    pub(in crate::decide) fn streams(&self) -> bool {
        self.state == WalSenderState::Streaming
    }
}

/// The links that are believed, in the order of the rows. One whose state is hidden from the role that
/// asked says nothing.
pub(in crate::decide) fn believed(links: &Links) -> impl Iterator<Item = Link<'_>> {
    let rows = links.rows.iter();
    rows.filter(|row| row.follows(links.flushed))
        .filter_map(|row| {
            Some(Link {
                name: &row.name,
                state: row.state?,
                sync: row.sync?,
                flushed: row.flushed,
                replayed: row.replayed,
            })
        })
}

/// The first one of a node.
pub(in crate::decide) fn of<'s>(links: &'s Links, node: &NodeName) -> Option<Link<'s>> {
    believed(links).find(|link| link.is_of(node))
}

/// Whether a node is connected, and its reports are believed.
pub(in crate::decide) fn is_linked(links: &Links, node: &NodeName) -> bool {
    of(links, node).is_some()
}

/// Whether a node receives WAL as it is written.
pub(in crate::decide) fn streams(links: &Links, node: &NodeName) -> bool {
    believed(links).any(|link| link.is_of(node) && link.streams())
}

/// Which of these nodes have acknowledged, as standbys of this primary, WAL up to `written`.
#[must_use]
pub fn acknowledged(
    links: &Links,
    written: Lsn,
    standbys: &BTreeSet<NodeName>,
) -> BTreeSet<NodeName> {
    let has = |node: &&NodeName| {
        believed(links)
            .any(|link| link.is_of(node) && link.streams() && link.flushed >= Some(written))
    };
    standbys.iter().filter(has).cloned().collect()
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
}

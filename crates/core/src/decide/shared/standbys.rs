//! What a primary thinks of its standbys: who is lost, who may be named, who holds what.

use std::collections::BTreeMap;

use super::links;
use super::ownership::mine;
use crate::lsn::Lsn;
use crate::names::NodeName;
use crate::ocf::When;
use crate::snapshot::{Mode, Operation, PrimaryView, Snapshot};
use crate::status::PgsqlStatus;

/// How far each node is known to have flushed whole records (R10). A flushed position may lie inside
/// a record, of which a crash leaves nothing that counts: recorded, it would make a healthy node look
/// as if its data had been put back. What is replayed ends with a record, on the primary as well.
pub(in crate::decide) fn positions(s: &Snapshot) -> BTreeMap<NodeName, Lsn> {
    let Some(view) = s.primary() else {
        return BTreeMap::new();
    };
    let standbys = links::believed(&view.links).filter_map(|link| {
        let node = s.settings.nodes.iter().find(|node| link.is_of(node))?;
        Some((node.clone(), link.replayed?))
    });
    let shipped = links::believed(&view.links)
        .filter_map(|link| link.replayed)
        .max();
    let own = shipped.max(view.complete);
    standbys
        .chain(own.map(|own| (s.me().clone(), own)))
        .collect()
}

/// Whether this node's standby can no longer be waited for: it does not stream, its node is no
/// member of this partition, or it is about to be stopped.
pub(in crate::decide) fn lost(s: &Snapshot, name: &str) -> bool {
    let Some(node) = s.settings.nodes.iter().find(|node| node.as_str() == name) else {
        return true; // a name that is not in node_list was written by nobody of ours
    };
    let member = s
        .cluster
        .as_ref()
        .map_or(true, |cluster| cluster.node(node).online);
    let streams = s
        .primary()
        .is_some_and(|view| links::streams(&view.links, node));
    !streams || !member || leaving(s, node)
}

/// Nodes that a notification announces to be stopped or demoted.
pub(in crate::decide) fn leaving(s: &Snapshot, node: &NodeName) -> bool {
    match &s.operation {
        Operation::Notify(about) if about.when == When::Pre => {
            about.stop.contains(node) || about.demote.contains(node)
        }
        _ => false,
    }
}

/// The names without the lost ones, where any is lost; a streaming standby takes their place, so
/// that commits wait for one standby or the other.
pub(in crate::decide) fn names_after_loss(s: &Snapshot) -> Option<Vec<String>> {
    let view = s.primary()?;
    if s.settings.mode != Mode::Sync {
        return (!view.names.is_empty()).then(Vec::new);
    }
    let kept: Vec<String> = view
        .names
        .iter()
        .filter(|name| !lost(s, name))
        .cloned()
        .collect();
    if kept.len() == view.names.len() {
        return None;
    }
    if kept.is_empty()
        && let Some(node) = candidate(s)
    {
        return Some(vec![node.to_string()]);
    }
    Some(kept)
}

/// The standby to name: the first of `node_list` that streams and stays. It has reported how far it
/// is: what one reports that has diverged shows that it has ([`LinkRow::follows`](crate::snapshot::LinkRow::follows)). And it has WAL
/// of this timeline, so that it cannot follow an older primary any more, which does not know that it was
/// replaced, and come back with the WAL of that one while commits wait for it.
pub(in crate::decide) fn candidate(s: &Snapshot) -> Option<&NodeName> {
    let view: &PrimaryView = s.primary()?;
    let began = view.history.last_switch().map(|switch| switch.end);
    s.settings
        .nodes
        .iter()
        .filter(|node| *node != s.me() && !lost(s, node.as_str()))
        .find(|node| links::of(&view.links, node).is_some_and(|link| link.flushed > began))
}

/// A standby that PostgreSQL waits for and that the register does not know as a holder.
pub(in crate::decide) fn named_non_holder(s: &Snapshot) -> Option<String> {
    let row = mine(s)?;
    let view = s.primary().filter(|_| s.settings.mode == Mode::Sync)?;
    view.names
        .iter()
        .find(|name| {
            s.settings
                .nodes
                .iter()
                .any(|node| node.as_str() == name.as_str() && !row.holders.contains(node))
                && !lost(s, name)
        })
        .cloned()
}

/// Whether a standby of this partition runs and commits do not wait for any standby yet.
pub(in crate::decide) fn on_its_way(s: &Snapshot) -> bool {
    let Ok(cluster) = &s.cluster else {
        return false;
    };
    let Some(view) = s.primary().filter(|_| s.settings.mode == Mode::Sync) else {
        return false;
    };
    let secured = match mine(s) {
        Some(row) => row.holders.len() > 1,
        None => s.builtin() || !view.names.is_empty(),
    };
    !secured
        && s.settings.nodes.iter().any(|node| {
            let known = cluster.node(node);
            node != s.me()
                && known.online
                && !leaving(s, node)
                && matches!(
                    known.status,
                    Some(
                        PgsqlStatus::HsAlone
                            | PgsqlStatus::HsConnected
                            | PgsqlStatus::HsAsync
                            | PgsqlStatus::HsPotential
                            | PgsqlStatus::HsSync
                    )
                )
        })
}

//! What a primary thinks of its standbys: who is lost, who may be named, who holds what.

use std::collections::BTreeMap;
use std::time::Duration;

use super::links;
use super::ownership::mine;
use crate::cluster::Announced;
use crate::link_name::LinkName;
use crate::lsn::Lsn;
use crate::names::NodeName;
use crate::ocf::When;
use crate::plan::ActionKind;
use crate::register::Register;
use crate::snapshot::{Mode, Operation, PrimaryView, Snapshot};
use crate::status::PgsqlStatus;

/// How far each node is known to have flushed whole records (R10). A flushed position may lie inside
/// a record, of which a crash leaves nothing that counts: recorded, it would make a healthy node look
/// as if its data had been put back. What is replayed ends with a record, on the primary as well.
pub(in crate::decide) fn positions(s: &Snapshot) -> BTreeMap<NodeName, Lsn> {
    let Some(view) = s.primary() else {
        return BTreeMap::new();
    };
    let others = s.settings.nodes.iter().filter(|node| *node != s.me());
    let standbys: BTreeMap<NodeName, Lsn> = others
        .filter_map(|node| Some((node.clone(), links::of(s, node)?.replayed)))
        .collect();
    let own = standbys.values().max().copied().max(view.complete);
    standbys
        .into_iter()
        .chain(own.map(|own| (s.me().clone(), own)))
        .collect()
}

/// Whether this node's standby can no longer be waited for: it does not stream under its present name,
/// it is no member of this partition, or it is about to be stopped.
pub(in crate::decide) fn lost(s: &Snapshot, node: &NodeName) -> bool {
    let member = s
        .cluster
        .as_ref()
        .map_or(true, |cluster| cluster.node(node).online);
    !links::streams(s, node) || !member || leaving(s, node)
}

/// Whether a name in `synchronous_standby_names` is of nobody who can be waited for.
fn name_lost(s: &Snapshot, name: &str) -> bool {
    links::present(s, name).is_none_or(|node| lost(s, &node))
}

/// Whether commits wait for this node, under its present name.
pub(in crate::decide) fn waited_for(s: &Snapshot, node: &NodeName) -> bool {
    let name = links::name_of(s, node);
    let names = s.primary().map_or(&[][..], |view| &view.names);
    names
        .iter()
        .any(|waited| name.as_ref().is_some_and(|name| name.is_called(waited)))
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
        .filter(|name| !name_lost(s, name))
        .cloned()
        .collect();
    if view.held {
        // Nothing has passed since: whoever of them was a holder is one. Where none is, or the register
        // does not say, it is the one that commits waited for before, which comes first. Never both:
        // PostgreSQL counts connections, so that two of one standby would pass for two standbys.
        let holds = |name: &&String| {
            let node = links::present(s, name).zip(mine(s));
            node.is_some_and(|(node, row)| row.holders.contains(&node))
        };
        if let Some(name) = kept.iter().find(holds).or(kept.first()) {
            return Some(vec![name.clone()]);
        }
    } else if kept.len() == view.names.len() {
        return None;
    }
    if kept.is_empty()
        && let Some((_, name)) = candidate(s)
    {
        return Some(vec![name.to_string()]);
    }
    Some(kept)
}

/// The names, with the present one of each standby in the place of an earlier one, where that changes
/// any. The node has come back, under another incarnation, before commits ceased to wait for it. What it
/// held, it holds (R6, R10), and until the new name is in force nobody acknowledges under the old one.
pub(in crate::decide) fn names_renewed(s: &Snapshot) -> Option<Vec<String>> {
    let view = s.primary().filter(|_| s.settings.mode == Mode::Sync)?;
    let mut names: Vec<String> = Vec::new();
    for name in &view.names {
        let back = links::former(s, name).filter(|node| may_be_named(s, node));
        let present = back.and_then(|node| links::name_of(s, &node));
        let name = present.map_or_else(|| name.clone(), |name| name.to_string());
        if !names.contains(&name) {
            names.push(name);
        }
    }
    (names != view.names).then_some(names)
}

/// The standby to name: the first of `node_list` that may be, with its name; one that can take over
/// comes before one that cannot (R14), which still keeps what is committed on a second disk.
pub(in crate::decide) fn candidate(s: &Snapshot) -> Option<(&NodeName, LinkName)> {
    let could_take_over = |node: &&NodeName| {
        let cluster = s.cluster.as_ref();
        cluster.is_ok_and(|cluster| cluster.node(node).could_take_over())
    };
    let nodes = s.settings.nodes.iter();
    let nodes = nodes.filter(|node| *node != s.me() && may_be_named(s, node));
    let node = nodes.min_by_key(|node| !could_take_over(node))?;
    Some((node, links::name_of(s, node)?))
}

/// Whether a standby streams and stays. It has reported how far it is: what one reports that has diverged
/// shows that it has ([`LinkRow::follows`](crate::snapshot::LinkRow::follows)). And it has WAL of this
/// timeline, so that it cannot follow an older primary any more, which does not know that it was
/// replaced, and come back with the WAL of that one while commits wait for it.
fn may_be_named(s: &Snapshot, node: &NodeName) -> bool {
    let began = s
        .primary()
        .and_then(|view| view.history.last_switch())
        .map(|switch| switch.end);
    !lost(s, node) && links::of(s, node).is_some_and(|link| link.flushed > began)
}

/// A standby that PostgreSQL waits for and that the register does not know as a holder, and its name.
pub(in crate::decide) fn named_non_holder(s: &Snapshot) -> Option<(NodeName, String)> {
    let row = mine(s)?;
    let view = s.primary().filter(|_| s.settings.mode == Mode::Sync)?;
    // Where no commit passes a name may go again as soon as the exchange is given up.
    (!view.held || exchanges(s)).then_some(())?;
    successor(s, &row)
}

fn successor(s: &Snapshot, row: &Register) -> Option<(NodeName, String)> {
    s.primary()?.names.iter().find_map(|name| {
        let node = links::present(s, name)?;
        (!row.holders.contains(&node) && !lost(s, &node)).then(|| (node, name.clone()))
    })
}

/// The standby that is to take the place of every other holder, and its name: all of them are lost, or are
/// about to be stopped, while it streams (R3). It becomes a holder before they cease to be. No commit passes
/// meanwhile, so that what they hold stays everything. The operation that has begun with it gives it a
/// limited time, and nothing of it may fail; otherwise this primary goes on alone, and names it then.
///
/// It needs monitors that come again, here to end it if this one is killed, there to say how far that
/// standby is: while Pacemaker does not act on the database none begins, and one under way is taken back.
pub(in crate::decide) fn exchange(s: &Snapshot) -> Option<(NodeName, String)> {
    let row = mine(s).filter(|_| s.settings.mode == Mode::Sync)?;
    let view = s.primary()?;
    let cluster = s.cluster.as_ref().ok().filter(|cluster| cluster.managed)?;
    let watched = |node: &NodeName| !cluster.node(node).maintenance;
    if !watched(s.me()) {
        return None;
    }
    let failed = [
        ActionKind::HoldCommits,
        ActionKind::TakeBarrier,
        ActionKind::UpdateRegister,
    ];
    if s.elapsed >= time_to_exchange(s)
        || failed
            .iter()
            .any(|kind| s.progress.failure(*kind).is_some())
    {
        return None;
    }
    let mut others = row.holders.iter().filter(|node| *node != s.me()).peekable();
    others.peek()?;
    if !others.all(|node| lost(s, node) && is_named(view, node, s)) {
        return None;
    }
    let named = successor(s, &row).filter(|(node, _)| may_be_named(s, node));
    let other = named.or_else(|| {
        let (node, name) = candidate(s)?;
        Some((node.clone(), name.to_string()))
    });
    other.filter(|(node, _)| watched(node))
}

/// Whether an exchange is under way: commits are held.
pub(in crate::decide) fn exchanges(s: &Snapshot) -> bool {
    s.primary().is_some_and(|view| view.held) && exchange(s).is_some()
}

/// Whether commits wait for this node under any of its names, so that it holds everything.
fn is_named(view: &PrimaryView, node: &NodeName, s: &Snapshot) -> bool {
    let whose = |name: &String| links::present(s, name).or_else(|| links::former(s, name));
    view.names
        .iter()
        .any(|name| whose(name).as_ref() == Some(node))
}

/// How long an operation may hold commits for an exchange: the standby that takes the place says how far it
/// is at its next monitor at the latest.
fn time_to_exchange(s: &Snapshot) -> Duration {
    Duration::from_secs(10).min((s.elapsed + s.left) / 3)
}

/// Whether a standby has flushed WAL up to `barrier`, by its link and by what its own agent says of the
/// server that has this name (R11). An agent that announces nothing says nothing.
pub(in crate::decide) fn has_flushed(s: &Snapshot, node: &NodeName, barrier: Lsn) -> bool {
    let Some(view) = s.primary() else {
        return false;
    };
    let linked = links::of(s, node).is_some_and(|link| link.flushed >= Some(barrier));
    let Ok(known) = s.cluster.as_ref().map(|cluster| cluster.node(node)) else {
        return false;
    };
    let own = match (&known.announced, &known.flushed) {
        (Announced::Nothing, _) => true,
        (Announced::Name(name), Some(said)) => {
            said.name == *name
                && said.position.timeline == view.timeline
                && said.position.lsn >= barrier
        }
        _ => false,
    };
    linked && own
}

/// Whether a standby of this partition runs and commits do not wait for any standby yet.
pub(in crate::decide) fn on_its_way(s: &Snapshot) -> bool {
    let Ok(cluster) = &s.cluster else {
        return false;
    };
    let Some(view) = s.primary().filter(|_| s.settings.mode == Mode::Sync) else {
        return false;
    };
    if exchanges(s) {
        return true;
    }
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

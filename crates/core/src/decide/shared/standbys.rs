//! What a primary thinks of its standbys: who is lost, who may be named, who holds what.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::links::{leaving, lost};
use super::ownership::{mine, ownership};
use super::{links, outage, quorum};
use crate::cluster::Announced;
use crate::link_name::LinkName;
use crate::lsn::Lsn;
use crate::names::NodeName;
use crate::parse::standby_names::Waits;
use crate::plan::{Action, ActionKind};
use crate::register::{Ownership, Register};
use crate::snapshot::{KeptLinks, Mode, PrimaryView, Snapshot};
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

/// Whether a name in `synchronous_standby_names` is of nobody who can be waited for.
fn name_lost(s: &Snapshot, name: &str) -> bool {
    links::present(s, name).is_none_or(|node| lost(s, &node))
}

/// Whether commits wait for this node, under its present name.
pub(in crate::decide) fn waited_for(s: &Snapshot, node: &NodeName) -> bool {
    let name = links::name_of(s, node);
    let names = s.primary().map_or(&[][..], |view| view.waits.names());
    names
        .iter()
        .any(|waited| name.as_ref().is_some_and(|name| name.is_called(waited)))
}

/// For whom commits are to wait instead, where the standby is lost that they wait for: for another one that
/// streams, or for nobody. So also where they are held, and where somebody else has made the setting.
pub(in crate::decide) fn waits_after_loss(s: &Snapshot) -> Option<Waits> {
    let view = s.primary()?;
    if s.settings.mode != Mode::Sync {
        return (view.waits != Waits::ForNobody).then_some(Waits::ForNobody);
    }
    let stays = |name: &&String| !name_lost(s, name);
    let kept = match &view.waits {
        Waits::ForNobody => return None,
        Waits::For(name) if stays(&name) => return None,
        Waits::For(_) | Waits::Foreign(_) => None,
        Waits::Held(names) => {
            // Nothing has passed since: whoever of them was a holder is one. Never both: PostgreSQL counts
            // connections, so that two of one standby would pass for two standbys.
            let holds = |name: &&String| {
                let node = links::present(s, name).zip(mine(s));
                node.is_some_and(|(node, row)| row.holders.contains(&node))
            };
            let left: Vec<&String> = names.iter().filter(stays).collect();
            let holder = left.iter().find(|name| holds(name));
            holder.or(left.first()).map(|name| (*name).clone())
        }
    };
    let name = kept.or_else(|| Some(candidate(s)?.1.to_string()));
    Some(name.map_or(Waits::ForNobody, Waits::For))
}

/// The same setting with the present name of each standby in the place of an earlier one, where that changes
/// any. The node has come back, under another incarnation, before commits ceased to wait for it. What it
/// held, it holds (R6, R10), and until the new name is in force nobody acknowledges under the old one.
pub(in crate::decide) fn waits_renewed(s: &Snapshot) -> Option<Waits> {
    let view = s.primary().filter(|_| s.settings.mode == Mode::Sync)?;
    let renewed = |name: &String| {
        let back = links::former(s, name).filter(|node| may_be_named(s, node));
        let present = back.and_then(|node| links::name_of(s, &node));
        present.map_or_else(|| name.clone(), |name| name.to_string())
    };
    let waits = match &view.waits {
        Waits::For(name) => Waits::For(renewed(name)),
        Waits::Held(names) => {
            let mut names: Vec<String> = names.iter().map(renewed).collect();
            names.dedup();
            Waits::Held(names)
        }
        Waits::ForNobody | Waits::Foreign(_) => return None,
    };
    (waits != view.waits).then_some(waits)
}

/// The standby to name: the first of `node_list` that may be, with its name; one that can take over
/// comes before one that cannot (R14), which still keeps what is committed on a second disk.
pub(in crate::decide) fn candidate(s: &Snapshot) -> Option<(&NodeName, LinkName)> {
    let nodes = s.settings.nodes.iter();
    let nodes = nodes.filter(|node| *node != s.me() && may_be_named(s, node));
    let node = nodes.min_by_key(|node| !could_take_over(s, node))?;
    Some((node, links::name_of(s, node)?))
}

/// Whether nothing is known that would keep this node from opening as the next primary (R14).
fn could_take_over(s: &Snapshot, node: &NodeName) -> bool {
    let cluster = s.cluster.as_ref();
    cluster.is_ok_and(|cluster| cluster.node(node).could_take_over())
}

/// Whether a standby streams and stays. It has reported how far it is: what one reports that has diverged
/// shows that it has ([`LinkRow::follows`](crate::snapshot::LinkRow::follows)). And it has WAL of this
/// timeline, so that it cannot follow an older primary any more, which does not know that it was
/// replaced, and come back with the WAL of that one while commits wait for it.
///
/// Nor is it on a node that an operator has taken out of service: Pacemaker is about to stop it, and each
/// attribute that goes with the naming makes it begin anew, with the notification that takes the name away.
fn may_be_named(s: &Snapshot, node: &NodeName) -> bool {
    let began = s
        .primary()
        .and_then(|view| view.history.last_switch())
        .map(|switch| switch.end);
    let goes = s.cluster.as_ref().is_ok_and(|cluster| {
        let there = cluster.node(node);
        cluster.managed && there.standby && !there.maintenance
    });
    !goes && !lost(s, node) && links::of(s, node).is_some_and(|link| link.flushed > began)
}

/// A standby that PostgreSQL waits for and that the register does not know as a holder, and its name.
pub(in crate::decide) fn named_non_holder(s: &Snapshot) -> Option<(NodeName, String)> {
    let row = mine(s)?;
    let view = s.primary().filter(|_| s.settings.mode == Mode::Sync)?;
    // Where no commit passes a name may go again as soon as the exchange is given up.
    (!view.waits.is_held() || exchanges(s)).then_some(())?;
    successor(s, &row)
}

fn successor(s: &Snapshot, row: &Register) -> Option<(NodeName, String)> {
    s.primary()?.waits.names().iter().find_map(|name| {
        let node = links::present(s, name)?;
        (!row.holders.contains(&node) && !lost(s, &node)).then(|| (node, name.clone()))
    })
}

/// Who takes whose place (R3).
pub(in crate::decide) struct Exchange {
    /// The only other holder, for which commits wait: it is lost, is about to be stopped, or could not open.
    pub(in crate::decide) holder: NodeName,
    /// The name of the standby that becomes a holder in its place.
    pub(in crate::decide) name: String,
    /// The other holder goes on acknowledging, and could not open for writing (R14): nobody waits for an exchange.
    pub(in crate::decide) unfit: bool,
}

/// The exchange that is to be made: the other holder is lost, or is about to be stopped, while another
/// standby streams; or it could not open for writing (R14), and another one could. That one becomes a holder
/// before the first ceases to be. No commit passes meanwhile, so
/// that what the first one holds stays everything. The operation that has begun with it gives it a limited
/// time, and nothing of it may fail; otherwise this primary goes on alone and names it then, or, where the
/// first one still acknowledges, goes on with that.
///
/// It needs monitors that come again, there to say how far that standby is, here to go on with it if this one
/// is killed: while Pacemaker does not act on the database none begins, and one under way is taken back.
pub(in crate::decide) fn exchange(s: &Snapshot) -> Option<Exchange> {
    let row = mine(s).filter(|_| s.settings.mode == Mode::Sync)?;
    // What it holds is not everything then, and there is nothing to hand on.
    if outage::passed(s, row.epoch) {
        return None;
    }
    let view = s.primary()?;
    let cluster = s.cluster.as_ref().ok().filter(|cluster| cluster.managed)?;
    let watched = |node: &NodeName| !cluster.node(node).maintenance;
    if !watched(s.me()) {
        return None;
    }
    let failed = [
        ActionKind::HoldCommits,
        ActionKind::WriteNames,
        ActionKind::TakeBarrier,
        ActionKind::UpdateRegister,
    ];
    if s.elapsed >= s.hold_until()
        || failed
            .iter()
            .any(|kind| s.progress.failure(*kind).is_some())
    {
        return None;
    }
    let mut others = row.holders.iter().filter(|node| *node != s.me());
    let (Some(holder), None) = (others.next(), others.next()) else {
        return None;
    };
    name_in_force(s, view, holder)?;
    let unfit = !lost(s, holder);
    if unfit && (!cluster.node(holder).is_unfit() || quorum::in_doubt(s)) {
        return None;
    }
    let named = successor(s, &row).filter(|(node, _)| may_be_named(s, node));
    let (node, name) = named.or_else(|| {
        let (node, name) = candidate(s)?;
        Some((node.clone(), name.to_string()))
    })?;
    let better = || could_take_over(s, &node) && keeps_up(s, view, &node, &name);
    (watched(&node) && (!unfit || better())).then(|| Exchange {
        holder: holder.clone(),
        name,
        unfit,
    })
}

/// How far behind a standby may be for which commits are to be held although nobody is lost: a segment.
const BEHIND: u64 = 16 << 20;

/// Whether commits will not be held in vain for this standby, as far as that can be told: its link has about as
/// much as there is, and the barrier that it was given last it has flushed, by its own agent's word. Where
/// that did not come in time, no other exchange begins before it has. One under way goes on.
fn keeps_up(s: &Snapshot, view: &PrimaryView, node: &NodeName, name: &str) -> bool {
    let kept = s.names.kept.as_ref().and_then(|kept| kept.barrier.as_ref());
    let last = kept.filter(|barrier| barrier.name == name);
    let flushed = links::of(s, node).and_then(|link| link.flushed);
    let near = flushed.is_some_and(|flushed| {
        view.links.flushed.as_u64() <= flushed.as_u64().saturating_add(BEHIND)
    });
    view.waits.is_held() || (near && last.is_none_or(|barrier| has_flushed(s, node, barrier.lsn)))
}

/// Whether an exchange is under way: commits are held.
pub(in crate::decide) fn exchanges(s: &Snapshot) -> bool {
    s.primary().is_some_and(|view| view.waits.is_held()) && exchange(s).is_some()
}

/// Until when ([`Snapshot::elapsed`]) an action has to be over because commits are held; none where they are
/// not, and for what ends that.
#[must_use]
pub fn exchange_until(s: &Snapshot, action: &Action) -> Option<Duration> {
    let ends = matches!(
        action,
        Action::TakeChangeLock(_)
            | Action::UpdateRegister(_)
            | Action::Confirm(_)
            | Action::SetNames(_)
    );
    (!ends && exchanges(s)).then(|| s.hold_until())
}

/// The holders but for those that are lost, or that commits do not wait for. None stays where commits have
/// passed by promises (R7).
pub(in crate::decide) fn holders_that_stay(s: &Snapshot, row: &Register) -> BTreeSet<NodeName> {
    let passed = outage::passed(s, row.epoch);
    let others = s.settings.mode == Mode::Sync && !passed;
    let stays = |node: &&NodeName| others && waited_for(s, node) && !lost(s, node);
    let me = [s.me().clone()];
    me.into_iter()
        .chain(row.holders.iter().filter(stays).cloned())
        .collect()
}

/// Under which of its names commits wait for this node, so that it holds everything.
fn name_in_force<'v>(s: &Snapshot, view: &'v PrimaryView, node: &NodeName) -> Option<&'v String> {
    let names = match &view.waits {
        Waits::Foreign(_) => &[],
        own => own.names(),
    };
    names
        .iter()
        .find(|name| links::named(s, name).as_ref() == Some(node))
}

/// The name for which commits waited before they were held, as far as this node knows by itself that the
/// register is still as it was then. To wait for it alone again is what was before, and changes nothing.
pub(in crate::decide) fn holder_before(s: &Snapshot) -> Option<&String> {
    let view = s.primary().filter(|view| view.waits.is_held())?;
    let hold = s.names.kept.as_ref()?.hold.as_ref()?;
    let seen = s.seen().ok()?;
    let same = (seen.term, seen.epoch) == (hold.term, hold.epoch);
    let open = seen.reign.is_some_and(|reign| reign.term == hold.term);
    let passed = outage::passed(s, hold.epoch);
    (same && open && !passed && !seen.unsettled_at(hold.epoch)).then_some(())?;
    name_in_force(s, view, &hold.holder)
}

/// For whom commits are to wait where they are held and the register does not say who holds what: for the
/// standby for which they waited before, which streams again.
pub(in crate::decide) fn waits_without_register(s: &Snapshot) -> Option<Waits> {
    let unknown = matches!(
        ownership(s)?,
        Ownership::Unknown(_) | Ownership::Damage { .. }
    );
    let name = holder_before(s).filter(|_| unknown)?;
    let node = links::present(s, name)?;
    may_be_named(s, &node).then(|| Waits::For(name.clone()))
}

/// For whom commits are to wait where the operation is gone that holds them: for the holder from before, whether
/// it streams or not.
pub(in crate::decide) fn waits_left_over(s: &Snapshot) -> Option<Waits> {
    let view = s.primary().filter(|view| view.waits.is_held())?;
    // Who has begun an exchange has kept that.
    let hold = s.names.kept.as_ref()?.hold.as_ref()?;
    let Some(row) = mine(s) else {
        return holder_before(s).map(|name| Waits::For(name.clone()));
    };
    // A row that has moved since is a monitor's, which tells the cluster first: one that is put back to before
    // that would be believed again otherwise.
    if (row.term, row.epoch) != (hold.term, hold.epoch) {
        return None;
    }
    // A change that was asked for and not made may be made at any moment.
    if s.seen().ok()?.unsettled_at(row.epoch) {
        return None;
    }
    // It may have left, which moves no epoch; to wait for nobody, or for another one, a monitor moves it first.
    let mut others = row.holders.iter().filter(|node| *node != s.me());
    let name = name_in_force(s, view, &hold.holder)?;
    others
        .all(|node| *node == hold.holder)
        .then(|| Waits::For(name.clone()))
}

/// To wait for one standby again although the epoch stays: no barrier that was taken before counts any more.
pub(in crate::decide) fn taken_back(s: &Snapshot, waits: Waits) -> Vec<Action> {
    let kept = s.names.kept.clone().unwrap_or_default();
    vec![
        Action::KeepLinks(KeptLinks {
            barrier: None,
            ..kept
        }),
        Action::SetNames(waits),
    ]
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
        None => s.builtin() || view.waits != Waits::ForNobody,
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

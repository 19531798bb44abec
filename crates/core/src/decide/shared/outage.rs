//! Rule R7: the lock service cannot be reached, and the promise of every other node takes its place.
//!
//! Asking is an action that any table may use: [`ask`] gives it where it may be asked at all, and
//! [`promised`] says whether every other node has promised. What is promised holds until the epoch
//! moves, and it is the owner that moves it: as soon as the register is back it takes out of the
//! holders every node for which commits do not wait (`primary-drop-holder`), before it adds any; and where
//! commits have passed by promises every other node, whether they wait for it again or not ([`passed`]).

use std::collections::BTreeSet;

use super::links;
use crate::link_name::LinkName;
use crate::names::NodeName;
use crate::plan::Action;
use crate::register::{Memory, PromiseAsk, Reading, Register, Trouble, Update, Withdrawal};
use crate::snapshot::{Mode, Operation, Process, Snapshot};

/// The question to the other nodes, where it would be of use: once in an operation, while the lock
/// service is out of reach. One that answers errors is there, and nothing is decided on that (D3).
///
/// A holder that promises bars itself: if this primary is then lost, the one node that could take over
/// may not. So holders are asked last, and only when all others have promised and nothing but the
/// holders' word is missing.
pub(in crate::decide) fn ask(s: &Snapshot) -> Option<Action> {
    if !out_of_reach(s) {
        return None;
    }
    let (term, epoch) = reign(s)?;
    let mut left = peers(s)?;
    if let Some(before) = &s.progress.promises {
        if !before.cover(epoch) {
            return None;
        }
        left.retain(|node| !before.asked.contains(node));
    }
    let (holders, others): (Vec<_>, Vec<_>) =
        left.into_iter().partition(|node| may_hold(s, node, epoch));
    let completes = holders.is_empty() || others.is_empty();
    let peers = if others.is_empty() { holders } else { others };
    (!peers.is_empty()).then(|| {
        Action::AskPromises(PromiseAsk {
            node: s.me().clone(),
            peers,
            completes,
            term,
            epoch,
            ttl: s.settings.ttl,
        })
    })
}

/// Whether a node may be a holder as far as this primary can tell without the register. The row that
/// the guard has last seen says who is one, as long as the epoch has not moved. Otherwise commits wait for
/// every other holder; where PostgreSQL does not say for whom, each may be one.
fn may_hold(s: &Snapshot, node: &NodeName, epoch: u64) -> bool {
    if let Operation::Guard(watch) = &s.operation
        && let Some(row) = watch.last.as_ref().filter(|row| row.epoch == epoch)
    {
        return row.holders.contains(node);
    }
    // What is no name of a link, `*` among it, may be anybody's.
    let named = |name: &String| {
        let link = name.parse::<LinkName>();
        link.map_or(true, |link| link.may_be_of(node))
    };
    s.primary()
        .is_none_or(|view| view.waits.names().iter().any(named))
}

/// Every other node, which are those of `node_list` and those that commits wait for: a holder stays one
/// that was taken out of the list while the lock service was away. A name that is no node's can promise
/// nothing, so that nobody needs to be asked.
fn peers(s: &Snapshot) -> Option<Vec<NodeName>> {
    let names = s.primary().map_or(&[][..], |view| view.waits.names());
    let mut peers = s.settings.nodes.clone();
    for name in names {
        let present = links::present(s, name).or_else(|| links::former(s, name));
        let node = present.or_else(|| name.parse::<LinkName>().ok()?.node())?;
        if !peers.contains(&node) {
            peers.push(node);
        }
    }
    peers.retain(|node| node != s.me());
    Some(peers)
}

/// Whether every other node has promised not to be promoted at the epoch at which this node owns
/// the register.
pub(in crate::decide) fn promised(s: &Snapshot) -> bool {
    let promises = s.progress.promises.as_ref().filter(|_| out_of_reach(s));
    let (Some(promises), Some((_, epoch)), Some(peers)) = (promises, reign(s), peers(s)) else {
        return false;
    };
    promises.cover(epoch) && peers.iter().all(|node| promises.asked.contains(node))
}

/// Whether commits have passed at this epoch by promises (R7): no other node holds all of them for sure, also one
/// that commits wait for again. It becomes a holder by a barrier (R4), at an epoch after this one.
pub(in crate::decide) fn passed(s: &Snapshot, epoch: u64) -> bool {
    let used = |memory: &Memory| memory.used == Some(epoch);
    s.memory.as_ref().is_ok_and(used)
}

/// Whether other nodes may have promised at the present epoch, and it is settled that commits wait
/// for every holder (the caller has seen to that): the promises have no use any more, and while they
/// hold nobody could take over.
pub(in crate::decide) fn end(s: &Snapshot, row: &Register) -> Option<Action> {
    let holders = match passed(s, row.epoch) {
        true => BTreeSet::from([s.me().clone()]),
        false => row.holders.clone(),
    };
    (s.memory.as_ref().ok()?.relied == Some(row.epoch)).then(|| {
        let (me, ttl) = (s.me().clone(), s.settings.ttl);
        Action::UpdateRegister(Update::set_holders(row, me, holders, ttl))
    })
}

/// The withdrawal of the question, where PostgreSQL has been stopped here, others may have promised at
/// the present epoch, and nothing was done that needs their promises: whoever has promised holds every
/// acknowledged commit, and would be barred until this node is back. It is sent once in an operation.
/// From then on this node relies on no promise of this epoch, however it may be started.
pub(in crate::decide) fn withdraw(s: &Snapshot) -> Option<Action> {
    let stopped = s.process == Process::Absent && !s.progress.withdrawn;
    if !stopped || !s.builtin() || s.settings.mode != Mode::Sync {
        return None;
    }
    let memory = s.memory.as_ref().ok()?;
    let (term, epoch) = (memory.reign?.term, memory.epoch);
    if memory.relied != Some(epoch) || memory.withdrawing(term, epoch).is_err() {
        return None;
    }
    let others = s.settings.nodes.iter().filter(|node| *node != s.me());
    Some(Action::WithdrawPromises(Withdrawal {
        node: s.me().clone(),
        peers: others.cloned().collect(),
        term,
        epoch,
    }))
}

/// What has to be kept before commits no longer wait for a lost standby by the promises of the others.
pub(in crate::decide) fn used(s: &Snapshot) -> Option<Action> {
    let (term, epoch) = reign(s).filter(|_| promised(s))?;
    Some(Action::UsePromises { term, epoch })
}

/// Why commits go on waiting, for the operator.
pub(in crate::decide) fn complaint(s: &Snapshot) -> Option<String> {
    let promises = s.progress.promises.as_ref()?;
    (!promises.missing.is_empty()).then(|| {
        format!(
            "commits wait for the lost standby until it or the lock service is back: {}",
            promises.missing.join("; ")
        )
    })
}

fn out_of_reach(s: &Snapshot) -> bool {
    let unreachable = matches!(s.register, Some(Reading::Unknown(Trouble::Unreachable(_))));
    s.builtin() && s.settings.mode == Mode::Sync && unreachable
}

/// The term at which this node owns the register, and the epoch that it last saw at it.
///
/// At one term only the owner moves the epoch. So the register is still as it was last seen, unless
/// another node has been promoted since, which each node knows of itself
/// (`Memory::asked`, which is on its disk before it asks), or a change that this node has asked for
/// itself is made behind its back: one that names another holder would end the promises. Then
/// nothing is asked, and commits wait.
fn reign(s: &Snapshot) -> Option<(u64, u64)> {
    let memory = s.memory.as_ref().ok()?;
    let reign = memory.reign?;
    let own = reign.term == memory.term && memory.term > 0;
    let open = !memory.unsettled_at(memory.epoch) && memory.withdrawn != Some(memory.epoch);
    (own && open).then_some((reign.term, memory.epoch))
}

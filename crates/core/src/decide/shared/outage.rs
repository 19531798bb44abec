//! Rule R7: the lock service cannot be reached, and the promise of every other node takes its place.
//!
//! Asking is an action that any table may use: [`ask`] gives it where it may be asked at all, and
//! [`promised`] says whether every other node has promised. What is promised holds until the epoch
//! moves, and it is the owner that moves it: as soon as the register is back it takes out of the
//! holders every node for which commits do not wait (`primary-drop-holder`), before it adds any; and where
//! commits have passed by promises every other node, whether they wait for it again or not ([`passed`]).
//!
//! A primary whose PostgreSQL has crashed meanwhile is restarted in place by the same promises
//! ([`may_restart`]). What it has recovered its holders may lack, as after a degradation, so that it is
//! from then on the only one that counts: commits wait for nobody, and the promises are relied on.

use std::collections::BTreeSet;

use super::{incarnation, links};
use crate::lineage::Record;
use crate::link_name::LinkName;
use crate::lsn::Lsn;
use crate::names::NodeName;
use crate::plan::{Action, ActionKind, Step};
use crate::register::{
    DataEnd, Memory, PromiseAsk, Reading, Register, Restart, Trouble, Update, Withdrawal,
};
use crate::snapshot::{Closed, KeptLinks, Mode, Operation, PrimaryView, Process, Snapshot};
use crate::timeline::WalPosition;

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
    waited_for(s).is_none_or(|names| names.iter().any(named))
}

/// The names that commits wait for, or waited for when PostgreSQL was last seen as a primary.
fn waited_for(s: &Snapshot) -> Option<&[String]> {
    let view = s.primary().or_else(|| served(s))?;
    Some(view.waits.names())
}

/// The primary that PostgreSQL was here, where what was seen of it says what its data are like: at the term of this
/// node's last promotion, and by a look that was the last.
fn served(s: &Snapshot) -> Option<&PrimaryView> {
    let served = s.served.as_ref()?;
    let same = s.reign()?.term == served.term;
    (same && served.look.is_last()).then_some(&served.view)
}

/// Every other node, which are those of `node_list` and those that commits wait for: a holder stays one
/// that was taken out of the list while the lock service was away. A name that is no node's can promise
/// nothing, so that nobody needs to be asked.
fn peers(s: &Snapshot) -> Option<Vec<NodeName>> {
    let mut peers = s.settings.nodes.clone();
    for name in waited_for(s).unwrap_or_default() {
        let node = links::named(s, name).or_else(|| name.parse::<LinkName>().ok()?.node())?;
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
/// hold nobody could take over. So also where this node has given the promises of this epoch up, for an
/// operator's decision that did not come: it could go on by none.
pub(in crate::decide) fn end(s: &Snapshot, row: &Register) -> Option<Action> {
    let holders = match passed(s, row.epoch) {
        true => BTreeSet::from([s.me().clone()]),
        false => row.holders.clone(),
    };
    let memory = s.memory.as_ref().ok()?;
    let moves = [memory.relied, memory.withdrawn].contains(&Some(row.epoch));
    moves.then(|| {
        let (me, ttl) = (s.me().clone(), s.settings.ttl);
        Action::UpdateRegister(Update::set_holders(row, me, holders, ttl))
    })
}

/// The withdrawal of the question, where PostgreSQL has been stopped here, others may have promised at
/// the present epoch, and nothing was done that needs their promises: whoever has promised holds every
/// acknowledged commit, and would be barred until this node is back. It is sent once in an operation.
/// From then on this node relies on no promise of this epoch, however it may be started.
pub(in crate::decide) fn withdraw(s: &Snapshot) -> Option<Action> {
    withdrawal(s, None)
}

/// What comes before that where the promises were kept as used for a restart in place by which nobody has seen
/// PostgreSQL opened ([`Memory::unopened`]): its data are made a standby's. Whoever has promised may be promoted
/// once the question is withdrawn, and as they lie there they would open as a primary that waits for nobody.
/// Looked at again, they show after that whether they were opened.
pub(in crate::decide) fn close_unopened(s: &Snapshot) -> Option<Step> {
    let tried = s
        .progress
        .failure(ActionKind::WriteStandbySettings)
        .is_some();
    let close = || Action::WriteStandbySettings(incarnation::name_to_start(s));
    (s.progress.closed == Closed::No && !tried && may_be_unopened(s))
        .then(|| Step::then_reobserve(vec![close()]))
}

/// The look at them.
pub(in crate::decide) fn read_unopened(s: &Snapshot) -> Option<Step> {
    let tried = s.progress.failure(ActionKind::ReadDisk).is_some();
    (s.progress.closed == Closed::Written && !tried && may_be_unopened(s))
        .then(|| Step::then_reobserve(vec![Action::ReadDisk]))
}

/// The withdrawal, where the data are what they were before the restart.
pub(in crate::decide) fn withdraw_unopened(s: &Snapshot) -> Option<Action> {
    let read = s.progress.closed == Closed::Read && s.standby_signal.is_there();
    withdrawal(s, Some(data(s).filter(|_| read)?))
}

/// Whether a restart in place by promises, after which PostgreSQL does not run, is not known to have opened it.
fn may_be_unopened(s: &Snapshot) -> bool {
    let restart = s.memory.as_ref().ok().and_then(Memory::unopened);
    // Where they were not read yet, they may be.
    let same = |restart: &Restart| data(s).is_none_or(|data| data.is_as(&restart.from));
    s.process == Process::Absent
        && s.builtin()
        && !s.progress.withdrawn
        && restart.is_some_and(same)
}

/// What the data on this node's disk are like, of which the record speaks (R13).
fn data(s: &Snapshot) -> Option<DataEnd> {
    let system = s.system?;
    let of_another = |record: &Record| record.system != system;
    let end = *s.disk.as_ref()?.end.as_ref().ok()?;
    let foreign = s.record.as_ref().ok()?.as_ref().is_some_and(of_another);
    (!foreign && s.reign()?.timeline == end.timeline).then_some(DataEnd { system, end })
}

/// What is kept once PostgreSQL runs as a primary that may have been restarted in place by promises.
pub(in crate::decide) fn opened(s: &Snapshot) -> Option<Action> {
    s.primary().filter(|_| s.builtin())?;
    let memory = s.memory.as_ref().ok()?;
    let tried = s.progress.failure(ActionKind::Remember).is_some();
    (memory.unopened().is_some() && !tried).then(|| Action::Remember(memory.opened()))
}

/// What this primary has kept of its links, without a barrier that is kept: where a name goes and the epoch
/// stays, it has not been in force ever since.
pub(in crate::decide) fn without_barrier(s: &Snapshot) -> Option<Action> {
    let kept = s.names.kept.as_ref()?;
    kept.barrier.as_ref()?;
    Some(Action::KeepLinks(KeptLinks {
        barrier: None,
        ..kept.clone()
    }))
}

fn withdrawal(s: &Snapshot, unopened: Option<DataEnd>) -> Option<Action> {
    let stopped = s.process == Process::Absent && !s.progress.withdrawn;
    if !stopped || !s.builtin() || s.settings.mode != Mode::Sync {
        return None;
    }
    let memory = s.memory.as_ref().ok()?;
    let (term, epoch) = (memory.reign?.term, memory.epoch);
    if memory.relied != Some(epoch) || memory.withdrawing(term, epoch, unopened).is_err() {
        return None;
    }
    let others = s.settings.nodes.iter().filter(|node| *node != s.me());
    Some(Action::WithdrawPromises(Withdrawal {
        node: s.me().clone(),
        peers: others.cloned().collect(),
        term,
        epoch,
        unopened,
    }))
}

/// What has to be kept before commits no longer wait for a lost standby by the promises of the others.
pub(in crate::decide) fn used(s: &Snapshot) -> Option<Action> {
    let (term, epoch) = reign(s).filter(|_| promised(s))?;
    Some(Action::UsePromises {
        term,
        epoch,
        restart: None,
    })
}

/// What has to be kept before PostgreSQL is restarted by the promises of the others: also what its data are
/// like.
pub(in crate::decide) fn used_to_restart(s: &Snapshot) -> Option<Action> {
    let (term, epoch) = reign(s).filter(|_| may_restart(s))?;
    let view = s.standby()?;
    let end = WalPosition {
        timeline: view.timeline?,
        lsn: view.replayed?,
    };
    let system = s.system?;
    Some(Action::UsePromises {
        term,
        epoch,
        restart: Some(DataEnd { system, end }),
    })
}

/// Whether this standby is the primary that served last, at the term and the timeline that the register had
/// and with everything that was seen of it, so that it may be restarted in place once every other node has
/// promised. Without the register nothing else says that its data were not put back (R10): what the guard saw
/// does, as long as the machine runs.
fn restartable(s: &Snapshot) -> bool {
    let checked = || {
        let (term, epoch) = reign(s).filter(|_| out_of_reach(s))?;
        let (seen, cluster) = (s.seen().ok()?, s.cluster.as_ref().ok()?);
        let (view, served, _) = (s.standby()?, served(s)?, s.system?);
        let newest = (seen.term, seen.epoch) == (term, epoch) && !seen.has_promised(epoch);
        let timeline = Some(s.reign()?.timeline);
        let same = view.timeline == timeline && Some(served.timeline) == timeline;
        (newest && same && cluster.primary().is_none() && has_all(view.replayed?, served))
            .then_some(())
    };
    checked().is_some()
}

/// Whether the data go as far as the guard's last look. A server that was writing may have flushed a part of a
/// record that never came to its end; where the look knows the end of the last one, that is enough. Nothing
/// older counts, such as how far a standby had replayed: data that were put back would go as far.
fn has_all(replayed: Lsn, served: &PrimaryView) -> bool {
    let seen = served.complete.unwrap_or(served.links.flushed);
    replayed.before_page_header() >= seen.before_page_header()
}

/// The question by whose answers the primary is restarted in place ([`may_restart`]).
pub(in crate::decide) fn ask_to_restart(s: &Snapshot) -> Option<Action> {
    restartable(s).then(|| ask(s)).flatten()
}

/// Whether PostgreSQL may be restarted in place as the primary by the promises of all others.
pub(in crate::decide) fn may_restart(s: &Snapshot) -> bool {
    restartable(s) && promised(s)
}

/// Whether it is to be tried: every other node is there to promise. Only the promotion asks them, which holds
/// the promotion lock.
pub(in crate::decide) fn may_be_promised(s: &Snapshot) -> bool {
    let online = |node: &NodeName| s.cluster_or_empty().node(node).online;
    restartable(s) && peers(s).is_some_and(|peers| peers.iter().all(online))
}

/// Why PostgreSQL is not restarted in place, for the operator.
pub(in crate::decide) fn not_restarted(s: &Snapshot) -> Option<String> {
    let missing = &s.progress.promises.as_ref()?.missing;
    (!missing.is_empty()).then(|| {
        format!(
            "PostgreSQL is not restarted in place, which needs the promise of every other node not to be promoted: {}",
            missing.join("; ")
        )
    })
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
    let open = !memory.unsettled_at(memory.epoch) && memory.withdrawn < Some(memory.epoch);
    (own && open).then_some((reign.term, memory.epoch))
}

//! Where nodes decide by quorum: Pacemaker ends a primary whose part of the cluster has none, and a holder
//! in the other part is to take over. A primary that has taken that one out before leaves nobody there who
//! may, also where another one of its own part has taken the place.
//!
//! A cluster that falls apart knows it by corosync's token, a primary by `wal_sender_timeout`, and either
//! may come first. So before a holder goes the cluster is asked, in a way that it answers only once its
//! membership has settled ([`Action::AskQuorum`]): at once where the standby's link alone is broken, and after
//! corosync's token and consensus where its node is gone.
//!
//! One answer counts for the standbys that were lost by then. What has cut them off had begun, and the answer
//! is of after that; of one that is lost later it says nothing.

use std::collections::BTreeSet;

use super::ending::show_and_end;
use super::outage;
use super::ownership::mine;
use super::standbys::{
    exchanges, holders_that_stay, lost, taken_back, waits_after_loss, waits_left_over,
};
use crate::cluster::WithoutQuorum;
use crate::names::NodeName;
use crate::plan::{Action, ActionKind, Step};
use crate::snapshot::{KeptLinks, Mode, Snapshot};

/// How many operations in a row leave the holders as they are because the cluster does not answer. By then
/// every membership has long settled, and a Pacemaker that would end this primary would have: from then on
/// the register decides alone. Without a register nothing but an answer lets a standby go.
const UNANSWERED: u32 = 12;

/// What becomes of a primary here once this part of the cluster has no quorum. Where Pacemaker cannot be asked,
/// that is what it was when it was seen last, and of a cluster that was never seen what `cls_setup` writes.
pub(in crate::decide) fn without_quorum(s: &Snapshot) -> WithoutQuorum {
    match &s.cluster {
        Ok(cluster) if cluster.managed && !cluster.node(s.me()).maintenance => {
            cluster.without_quorum
        }
        Ok(_) => WithoutQuorum::GoesOn,
        Err(_) => {
            let kept = s.names.kept.as_ref().and_then(|kept| kept.without_quorum);
            kept.unwrap_or(match s.settings.nodes.len() {
                ..=2 => WithoutQuorum::GoesOn,
                _ => WithoutQuorum::Ends,
            })
        }
    }
}

/// Whether quorum decides here over a synchronous primary.
fn decides(s: &Snapshot) -> bool {
    s.settings.mode == Mode::Sync && without_quorum(s) != WithoutQuorum::GoesOn
}

/// What the cluster has answered, as far as that is about every standby that is lost by now.
fn answer(s: &Snapshot) -> Option<bool> {
    let settled = s.progress.quorum.as_ref()?;
    let known = lost_by_now(s).is_subset(&settled.lost);
    (known || !settled.quorum).then_some(settled.quorum)
}

fn lost_by_now(s: &Snapshot) -> BTreeSet<NodeName> {
    let others = s.settings.nodes.iter().filter(|node| *node != s.me());
    others.filter(|node| lost(s, node)).cloned().collect()
}

/// Why this primary may not act as one that has quorum: it has none.
pub(in crate::decide) fn none(s: &Snapshot) -> Option<String> {
    let seen = || Some(s.cluster.as_ref().ok()?.quorum);
    (decides(s) && answer(s).or_else(seen) == Some(false)).then_some(())?;
    let me = s.me();
    let here = format!("the part of the cluster in which {me} is has no quorum");
    Some(match without_quorum(s) {
        WithoutQuorum::Fenced => format!(
            "{here}: Pacemaker lets PostgreSQL run here (no-quorum-policy=freeze), and commits wait for the \
             lost standby until the other part has fenced {me} and a holder takes over there, or until a node \
             is back. Only if every node of the other part is off: corosync-quorumtool -e <votes>, with the \
             total votes that corosync-quorumtool -s shows here, gives this part the quorum"
        ),
        WithoutQuorum::Ends | WithoutQuorum::GoesOn => format!(
            "{here}, so that Pacemaker stops PostgreSQL here: commits wait for the lost standby, and a holder \
             in the other part takes over (corosync-quorumtool -s says who is in which)"
        ),
    })
}

/// Whether this primary does not know that it has quorum, where that decides, and has asked.
pub(in crate::decide) fn in_doubt(s: &Snapshot) -> bool {
    let asked = s.progress.failure(ActionKind::AskQuorum).is_some();
    none(s).is_some() || (decides(s) && asked && answer(s).is_none())
}

/// The same, and that the cluster does not say.
fn doubt(s: &Snapshot) -> Option<String> {
    if let Some(why) = none(s) {
        return Some(why);
    }
    (decides(s) && answer(s) != Some(true)).then_some(())?;
    let me = s.me();
    let failure = s.progress.failure(ActionKind::AskQuorum)?;
    let further = match (s.builtin(), unanswered(s)) {
        (true, UNANSWERED..) => return None,
        (true, before) => format!(
            "the next monitor asks again, and after {UNANSWERED} questions without an answer, of which this was \
             number {}, the register alone decides",
            before + 1
        ),
        (false, _) => "the next monitor asks again".to_owned(),
    };
    Some(format!(
        "commits wait for the lost standby, because the cluster does not say whether {me} is in the part that \
         has quorum: {}; {further} (crm_mon -1 and systemctl status pacemaker say what Pacemaker lacks)",
        failure.text
    ))
}

fn unanswered(s: &Snapshot) -> u32 {
    s.names.kept.as_ref().map_or(0, |kept| kept.unanswered)
}

/// How many operations have asked in vain, as it is to be kept at the begin of one: none once no standby is
/// lost. An answer does not end the count, since an exchange asks twice.
pub(in crate::decide) fn in_vain(s: &Snapshot) -> u32 {
    waits_after_loss(s).map_or(0, |_| unanswered(s))
}

/// What ends an operation that may let no standby go. Commits that are held wait for the holder from before
/// again; where that cannot be, they stay held until PostgreSQL is stopped, or a monitor has quorum.
pub(in crate::decide) fn keep_standbys(s: &Snapshot) -> Option<Step> {
    waits_after_loss(s)?;
    let why = doubt(s)?;
    let tried = |kind| s.progress.failure(kind).is_some();
    let back = waits_left_over(s)
        .filter(|_| !tried(ActionKind::KeepLinks) && !tried(ActionKind::SetNames));
    if let Some(waits) = back {
        return Some(Step::then_reobserve(taken_back(s, waits)));
    }
    let mut end = show_and_end(s, why);
    if tried(ActionKind::AskQuorum) && answer(s).is_none() {
        let kept = s.names.kept.clone().unwrap_or_default();
        let unanswered = kept.unanswered + 1;
        // Before the attributes: a cluster that does not answer may not let them be written either.
        let count = Action::KeepLinks(KeptLinks { unanswered, ..kept });
        end.actions.insert(0, count);
    }
    Some(end)
}

/// The question before a holder goes, or without a register the standby that commits wait for, also where
/// another one is to take its place. While the lock service is away a holder goes by the promises of all
/// others, or by one that passes the change on.
pub(in crate::decide) fn ask(s: &Snapshot) -> Option<Step> {
    waits_after_loss(s)?;
    let goes = match mine(s).filter(|_| s.builtin()) {
        Some(row) => !exchanges(s) && holders_that_stay(s, &row).len() < row.holders.len(),
        None => !s.builtin() || outage::ask(s).is_some(),
    };
    goes.then(|| question(s)).flatten()
}

/// The question itself, where quorum decides and the cluster was not asked about every standby that is lost.
/// Others may have the change lock meanwhile, since it may take as long as corosync does: what follows is
/// decided from another look.
pub(in crate::decide) fn question(s: &Snapshot) -> Option<Step> {
    let asked = answer(s).is_some() || s.progress.failure(ActionKind::AskQuorum).is_some();
    (decides(s) && !asked).then(|| {
        let left = s.progress.change_lock.is_taken();
        let leave = left.then_some(Action::ReleaseChangeLock);
        let ask = Action::AskQuorum(lost_by_now(s));
        Step::then_reobserve(leave.into_iter().chain([ask]).collect())
    })
}

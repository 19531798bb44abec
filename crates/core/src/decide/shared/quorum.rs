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

use super::links::lost;
use crate::cluster::WithoutQuorum;
use crate::names::NodeName;
use crate::plan::{Action, ActionKind, Step};
use crate::snapshot::{Mode, Snapshot};

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
pub(super) fn decides(s: &Snapshot) -> bool {
    s.settings.mode == Mode::Sync && without_quorum(s) != WithoutQuorum::GoesOn
}

/// What the cluster has answered, as far as that is about every standby that is lost by now.
pub(super) fn answer(s: &Snapshot) -> Option<bool> {
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

/// The question whether this part of the cluster has quorum, where that decides and the cluster was
/// not asked about every standby that is lost.
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

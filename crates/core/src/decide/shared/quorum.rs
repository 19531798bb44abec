//! Where nodes decide by quorum: Pacemaker ends a primary whose part of the cluster has none, and a holder
//! in the other part is to take over. A primary that has made itself the only holder before that leaves
//! nobody who may.
//!
//! A cluster that falls apart knows it by corosync's token, a primary by `wal_sender_timeout`, and either
//! may come first. So before the last other holder goes the cluster is asked, in a way that it answers only
//! once its membership has settled ([`Action::AskQuorum`]): at once where the standby's link alone is
//! broken, and after corosync's token and consensus where its node is gone.

use super::ending::show_and_end;
use super::ownership::mine;
use super::standbys::{
    exchanges, holders_that_stay, taken_back, waits_after_loss, waits_left_over,
};
use crate::parse::standby_names::Waits;
use crate::plan::{Action, ActionKind, Step};
use crate::snapshot::{Mode, Snapshot};

/// Whether Pacemaker ends a primary here once this part of the cluster has no quorum.
fn decides(s: &Snapshot) -> bool {
    s.cluster.as_ref().is_ok_and(|cluster| {
        let acted_on = cluster.managed && !cluster.node(s.me()).maintenance;
        cluster.ends_without_quorum && acted_on && s.settings.mode == Mode::Sync
    })
}

/// Why no standby may be let go, where Pacemaker is about to end this primary, or where that cannot be told.
pub(in crate::decide) fn why_not(s: &Snapshot) -> Option<String> {
    let cluster = s.cluster.as_ref().ok().filter(|_| decides(s))?;
    waits_after_loss(s).is_some().then_some(())?;
    let me = s.me();
    if !s.progress.quorum.unwrap_or(cluster.quorum) {
        return Some(format!(
            "the part of the cluster in which {me} is has no quorum, so that Pacemaker stops PostgreSQL here: \
             commits wait for the lost standby, and a holder in the other part takes over \
             (corosync-quorumtool -s says who is in which)"
        ));
    }
    let failure = s.progress.failure(ActionKind::AskQuorum)?;
    Some(format!(
        "commits wait for the lost standby, because the cluster does not say whether {me} is in the part that \
         has quorum: {}",
        failure.text
    ))
}

/// What ends an operation that may let no standby go. Commits that are held wait for the holder from before
/// again; where that cannot be, they stay held until PostgreSQL is stopped, or a monitor has quorum.
pub(in crate::decide) fn keep_standbys(s: &Snapshot) -> Option<Step> {
    let why = why_not(s)?;
    let tried = |kind| s.progress.failure(kind).is_some();
    let back = waits_left_over(s)
        .filter(|_| !tried(ActionKind::KeepLinks) && !tried(ActionKind::SetNames));
    Some(match back {
        Some(waits) => Step::then_reobserve(taken_back(s, waits)),
        None => show_and_end(s, why),
    })
}

/// The question, where nobody but this primary would be left, and it was not asked since the last look.
pub(in crate::decide) fn ask(s: &Snapshot) -> Option<Action> {
    let asked = s.progress.quorum.is_some() || s.progress.failure(ActionKind::AskQuorum).is_some();
    (!asked && decides(s) && last_goes(s)).then_some(Action::AskQuorum)
}

/// Whether what follows lets the last other holder go; without a register, the last standby that commits
/// wait for.
fn last_goes(s: &Snapshot) -> bool {
    let waits = waits_after_loss(s);
    if waits.is_none() || !s.builtin() {
        return waits == Some(Waits::ForNobody);
    }
    mine(s).is_some_and(|row| {
        let others = row.holders.iter().any(|node| node != s.me());
        others && !exchanges(s) && holders_that_stay(s, &row).len() == 1
    })
}

//! Which standbys stay where nodes decide by quorum ([`quorum`]): none is let go, by the register or by
//! PostgreSQL, before the cluster has said that this part of it has quorum.

use super::ending::show_and_end;
use super::ownership::mine;
use super::standbys::{
    exchanges, holders_that_stay, taken_back, waits_after_loss, waits_left_over,
};
use super::{outage, quorum};
use crate::plan::{Action, ActionKind, Step};
use crate::snapshot::{KeptLinks, Snapshot};

/// How many operations in a row leave the holders as they are because the cluster does not answer. By then
/// every membership has long settled, and a Pacemaker that would end this primary would have: from then on
/// the register decides alone. Without a register nothing but an answer lets a standby go.
const UNANSWERED: u32 = 12;

/// Why no standby may be let go: this part has no quorum, or the cluster does not say whether it has.
fn doubt(s: &Snapshot) -> Option<String> {
    if let Some(why) = quorum::none(s) {
        return Some(why);
    }
    (quorum::decides(s) && quorum::answer(s) != Some(true)).then_some(())?;
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
    if tried(ActionKind::AskQuorum) && quorum::answer(s).is_none() {
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
    goes.then(|| quorum::question(s)).flatten()
}

//! R14: the right to be primary that this node was given, and of which PostgreSQL has made no use.
//!
//! A promotion takes everybody else out of the holders. Where PostgreSQL ends before it opens, whoever held
//! everything before it holds everything still, and could not be promoted any more. Proof is that it is stopped, that
//! `standby.signal` is there, which PostgreSQL removes before it opens, and that no file is of a timeline which was
//! not given before: that is written first of all. A restart in place would begin none, so it is never taken back.

use crate::plan::{Action, ActionKind, Step};
use crate::register::{Reading, Register, Update, out_of_step};
use crate::snapshot::{ChangeLock, Disk, Mode, Process, Snapshot};

/// Gives the right back. Only called where everything else that stops PostgreSQL is done.
pub(in crate::decide) fn give_back(s: &Snapshot) -> Option<Step> {
    if s.process != Process::Absent || !may_be_given(s) {
        return None;
    }
    let row = match &s.register {
        None => return Some(Step::then_continue(vec![Action::ReadRegister])),
        Some(Reading::Row(row)) => row,
        Some(_) => return None,
    };
    let update = given(s, row)?;
    let unopened = match &s.disk {
        None if s.progress.failure(ActionKind::ReadDisk).is_some() => false,
        None => return Some(Step::then_continue(vec![Action::ReadDisk])),
        Some(disk) => has_no_new_timeline(row, disk),
    };
    unopened.then(|| Step::then_continue(vec![Action::UpdateRegister(update)]))
}

/// Whether this node may have been given the register: the data are a standby's, and Pacemaker knows of no primary. Who does not
/// get the change lock gives nothing back: another operation of this node may be about to open them (R12).
fn may_be_given(s: &Snapshot) -> bool {
    let led = s
        .cluster
        .as_ref()
        .map_or(true, |cluster| cluster.primary().is_some());
    let busy = matches!(s.progress.change_lock, ChangeLock::Busy(_));
    s.builtin() && s.settings.mode == Mode::Sync && s.standby_signal.is_there() && !led && !busy
}

/// The change, where the register is this node's by a promotion of which it has no service: somebody else held
/// everything before, and this node did not serve the term before, after which it would have gone on in place.
fn given(s: &Snapshot, row: &Register) -> Option<Update> {
    let served = s.reign().is_some_and(|reign| reign.term + 1 >= row.term);
    let believed = s.seen().is_ok_and(|seen| out_of_step(row, &seen).is_none());
    let others = row.former()?.nodes.keys().any(|node| node != s.me());
    let unnamed = row.named_lineage().is_none();
    (row.is_owned_by(s.me()) && believed && !served && others && unnamed).then(|| {
        Update::GiveBack {
            node: s.me().clone(),
            term: row.term,
            from_epoch: row.epoch,
        }
    })
}

/// Whether nothing on the disk is of a timeline that was begun after the register was read for this promotion.
fn has_no_new_timeline(row: &Register, disk: &Disk) -> bool {
    let given = |number: u32| number <= row.timelines.highest;
    let end = disk.end.as_ref();
    end.is_ok_and(|end| given(end.timeline.get()))
        && disk.newer.iter().all(|history| given(history.own.get()))
}

//! Whose the register is, as the tables ask it of a snapshot.

use crate::plan::{Action, ActionKind, Step};
use crate::register::{Damage, NoRow, Ownership, Register, Seen, judge_owner, out_of_step};
use crate::snapshot::Snapshot;

pub(in crate::decide) fn ownership(s: &Snapshot) -> Option<Ownership> {
    if !s.builtin() {
        return None;
    }
    let memory = match s.seen() {
        Ok(memory) => memory,
        Err(why) => {
            return Some(Ownership::Damage {
                damage: Damage::Forgotten(why.to_owned()),
                row: None,
            });
        }
    };
    let reading = s.register.as_ref()?;
    let term = memory.reign.map_or(0, |reign| reign.term);
    Some(judge_owner(reading, s.me(), term, &memory))
}

/// Why the register is damaged, where it is.
pub(in crate::decide) fn damage(s: &Snapshot) -> Option<NoRow> {
    match ownership(s)? {
        Ownership::Damage { damage, .. } => Some(NoRow::Damage(damage)),
        _ => None,
    }
}

/// The register, where it says that this node owns it.
pub(in crate::decide) fn mine(s: &Snapshot) -> Option<Register> {
    match ownership(s)? {
        Ownership::Mine(row) => Some(row),
        _ => None,
    }
}

/// The register, where it is this node's at a term that its memory does not have.
pub(in crate::decide) fn to_adopt(s: &Snapshot) -> Option<Register> {
    match ownership(s)? {
        Ownership::Adopt(row) => Some(row),
        _ => None,
    }
}

/// The register, where another node owns it or nobody does at a later term (R5).
pub(in crate::decide) fn superseded(s: &Snapshot) -> Option<Register> {
    match ownership(s)? {
        Ownership::Superseded(row) => Some(row),
        _ => None,
    }
}

/// Tells the cluster how far the register of this owner has come, where that is not known there.
///
/// Commits pass without another node from the next effect on: its name is taken away, or PostgreSQL opens
/// for writing. A node that has not seen that itself must be able to tell a row that is put back to before
/// it from the present one, so the cluster is told first. Where Pacemaker does not take it, clients are
/// not let wait for it, and the next monitor tries again.
pub(in crate::decide) fn tell(s: &Snapshot) -> Option<Step> {
    let cluster = s.cluster.as_ref().ok().filter(|_| s.builtin())?;
    let row = s
        .row()
        .filter(|row| row.term > 0 && row.is_owned_by(s.me()))?;
    let seen = Seen::of(row);
    let due = cluster.seen != Some(seen) && s.progress.failure(ActionKind::WriteSeen).is_none();
    (due && out_of_step(row, &s.seen().ok()?).is_none())
        .then(|| Step::then_continue(vec![Action::WriteSeen(seen)]))
}

//! The lock of `distlock_lock_cmd`: a mutex in time, which says nothing of who holds what. It keeps
//! a standby from being promoted while a primary goes on without it, for as long as it is held: whoever
//! goes on under it renews it, and whoever cannot ceases.

use super::gate::{gate, is_shut};
use super::halt::{next_stop, not_stopped};
use super::standbys::waits_after_loss;
use crate::parse::standby_names::{NOBODY, Waits};
use crate::plan::{Action, ActionKind, Step, StopMode};
use crate::snapshot::{Arbiter, ExternalLock, Mode, Operation, Snapshot};
use crate::status::Score;

fn in_sync_mode(s: &Snapshot) -> bool {
    s.settings.arbiter == Arbiter::External && s.settings.mode == Mode::Sync
}

/// A primary whose commits wait for nobody.
fn alone(s: &Snapshot) -> Option<()> {
    let alone = s.primary()?.waits == Waits::ForNobody;
    (alone && in_sync_mode(s) && s.settings.nodes.len() > 1).then_some(())
}

/// It goes on alone under the lock, which has an end: each monitor renews it.
pub(in crate::decide) fn renew(s: &Snapshot) -> Option<Step> {
    alone(s)?;
    let asks = matches!(s.operation, Operation::Monitor { .. }) && s.progress.external.is_none();
    asks.then(|| Step::then_continue(vec![Action::LockExternal]))
}

/// It goes on alone and has not got the lock: commits wait again, for a standby that cannot exist, until
/// one streams or the lock is there. A standby may be promoted as soon as the lock has run out.
pub(in crate::decide) fn hold(s: &Snapshot) -> Option<Step> {
    alone(s)?;
    s.progress.external.as_ref()?.refusal()?;
    let waits = Waits::For(NOBODY.to_owned());
    s.progress
        .failure(ActionKind::SetNames)
        .is_none()
        .then(|| Step::then_reobserve(vec![Action::SetNames(waits)]))
}

/// The lock is another node's, and this primary would have to go on alone, or does: it is stopped, as one
/// that was superseded. Nothing of what the other one acknowledges reaches it, and when the two see each
/// other again Pacemaker might keep either of them.
pub(in crate::decide) fn stop_superseded(s: &Snapshot) -> Option<Step> {
    s.primary().filter(|_| in_sync_mode(s))?;
    let Some(ExternalLock::HeldByOther(why)) = &s.progress.external else {
        return None;
    };
    alone(s).or_else(|| waits_after_loss(s).map(drop))?;
    let reason = format!("{why}: PostgreSQL on {} is stopped at once", s.me());
    Some(match next_stop(s, StopMode::Immediate) {
        Some(mode) => Step::then_reobserve(vec![Action::Warn(reason), Action::StopPostgres(mode)]),
        None => not_stopped(s),
    })
}

/// The monitor of such a standby asks for the lock itself, where nothing else is in the way.
pub(in crate::decide) fn ask(s: &Snapshot) -> Option<Step> {
    s.standby().filter(|_| is_shut(s))?;
    let asks = matches!(s.operation, Operation::Monitor { .. }) && s.progress.external.is_none();
    (asks && gate(s).score != Some(Score::MayNot))
        .then(|| Step::then_continue(vec![Action::LockExternal]))
}

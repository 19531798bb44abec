//! Ending PostgreSQL, shared by stop, demote, promote in place and a superseded primary.

use std::time::Duration;

use crate::names::NodeName;
use crate::plan::{Action, Step, StopMode};
use crate::register::{Reading, Update};
use crate::snapshot::{Arbiter, Process, Snapshot};

/// How much of an operation must be left for another, harsher way of stopping.
const RESERVE: Duration = Duration::from_secs(2);

/// The next way of stopping, or `None` when all were tried. Each is tried once; the edge gives each
/// its part of the time (`stop_escalate` for the fast one).
pub(super) fn next_stop(snapshot: &Snapshot, kindest: StopMode) -> Option<StopMode> {
    // A postmaster that is stopped by a signal hears nothing but SIGKILL, and without a postmaster
    // there is nobody to tell the other processes.
    let deaf = matches!(
        snapshot.process,
        Process::Alive { frozen: true } | Process::Orphans
    );
    let first = if deaf || snapshot.left < RESERVE {
        StopMode::Kill
    } else {
        kindest
    };
    [StopMode::Fast, StopMode::Immediate, StopMode::Kill]
        .into_iter()
        .filter(|mode| *mode >= first)
        .find(|mode| !snapshot.progress.stops.contains(mode))
}

/// Stops what still runs; `None` once PostgreSQL is proven stopped. `exhausted` is the end when
/// even SIGKILL has not helped (a process in uninterruptible sleep): then nothing is released (R8).
/// The guard goes first: it would renew a lease that is about to be given back, and take the end of
/// the postmaster for a failure.
pub(super) fn stop_or(
    snapshot: &Snapshot,
    kindest: StopMode,
    exhausted: fn(&Snapshot) -> Step,
) -> Option<Step> {
    if snapshot.guard.is_there() {
        return Some(Step::then_continue(vec![Action::EndGuard]));
    }
    if snapshot.process == Process::Absent {
        return None;
    }
    Some(match next_stop(snapshot, kindest) {
        Some(mode) => Step::then_reobserve(vec![Action::StopPostgres(mode)]),
        None => exhausted(snapshot),
    })
}

/// Gives the lock back. Only called where PostgreSQL does not serve as a primary: it is proven
/// stopped, or it is a standby (R8). Holders stay.
pub(super) fn release(snapshot: &Snapshot) -> Option<Step> {
    if snapshot.progress.released || !snapshot.settings.mode.replicated() {
        return None;
    }
    match snapshot.settings.arbiter {
        Arbiter::Off => None,
        Arbiter::External => snapshot
            .progress
            .failure("unlock-external")
            .is_none()
            .then(|| Step::then_continue(vec![Action::UnlockExternal])),
        Arbiter::Builtin => release_lease(snapshot),
    }
}

fn release_lease(snapshot: &Snapshot) -> Option<Step> {
    // A node that never was primary has nothing to release, and does not ask.
    snapshot.memory.reign?;
    match &snapshot.register {
        None => Some(Step::then_continue(vec![Action::ReadRegister])),
        Some(Reading::Row(row)) if row.is_owned_by(snapshot.me()) && !row.lease_left.is_zero() => {
            let node: NodeName = snapshot.me().clone();
            Some(Step::then_continue(vec![Action::UpdateRegister(
                Update::Release {
                    node,
                    term: row.term,
                },
            )]))
        }
        // Not the owner, released already, or the service does not answer: the lease runs out by itself.
        Some(_) => None,
    }
}

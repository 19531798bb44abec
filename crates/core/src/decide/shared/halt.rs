//! Ending PostgreSQL, shared by stop, demote, promote in place and a superseded primary.

use std::time::Duration;

use super::attributes::needed;
use crate::names::NodeName;
use crate::ocf::OcfCode;
use crate::plan::{Action, ActionKind, Attribute, Step, StopMode};
use crate::register::{Reading, Register, Update};
use crate::snapshot::{Arbiter, ExternalLock, Mode, Process, Snapshot, StandbySignal};
use crate::status::{PgsqlStatus, Score};

/// How much of an operation must be left for another, harsher way of stopping.
const RESERVE: Duration = Duration::from_secs(2);

/// The next way of stopping, or `None` when all were tried. Each is tried once; the edge gives each
/// its part of the time (`stop_escalate` for the fast one).
pub(in crate::decide) fn next_stop(snapshot: &Snapshot, kindest: StopMode) -> Option<StopMode> {
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

/// How long the kind ways of stopping may take (`stop_escalate`, `stop_escalate_in_slave`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Escalation {
    /// The fast way of a primary.
    pub primary: Duration,
    /// That of a standby.
    pub standby: Duration,
}

/// How long one way of stopping may take of what is `left`: the fast one as long as the parameters say, and always so
/// much less than what is left that the harsher ones still have their time. What is not seen to be a standby has a
/// primary's time: it may have a checkpoint to write.
#[must_use]
pub fn time_to_stop(
    mode: StopMode,
    signal: StandbySignal,
    escalation: Escalation,
    left: Duration,
) -> Duration {
    let kind = match signal {
        StandbySignal::There => escalation.standby,
        StandbySignal::Missing | StandbySignal::Unknown => escalation.primary,
    };
    match mode {
        StopMode::Fast => kind.min(left.mul_f64(0.6)),
        StopMode::Immediate => left / 2,
        StopMode::Kill => left,
    }
}

/// Stops what still runs; `None` once PostgreSQL is proven stopped. Where even SIGKILL has not helped
/// (a process in uninterruptible sleep), the operation fails and nothing is released (R8).
/// The guard goes first: it would renew a lease that is about to be given back, and take the end of
/// the postmaster for a failure. One that has crashed, or that has ended after the attempt to stop it was given up, would
/// serve alone as before if somebody started it: nobody is asked about it once the lease has ended.
pub(in crate::decide) fn stop_first(snapshot: &Snapshot, kindest: StopMode) -> Option<Step> {
    if snapshot.guard.is_there() {
        return Some(Step::then_continue(vec![Action::EndGuard]));
    }
    if snapshot.process == Process::Absent {
        let tried = snapshot.progress.failure(ActionKind::EndNames).is_some();
        return (snapshot.in_memory.may_be_there() && !tried)
            .then(|| Step::then_continue(vec![Action::EndNames]));
    }
    Some(match next_stop(snapshot, kindest) {
        Some(mode) => Step::then_reobserve(vec![Action::StopPostgres(mode)]),
        None => not_stopped(snapshot),
    })
}

/// Gives the lock back. Only called where PostgreSQL does not serve as a primary: it is proven
/// stopped and would not serve if somebody started it, or it is a standby (R8). Holders stay.
pub(in crate::decide) fn release(snapshot: &Snapshot) -> Option<Step> {
    let may_serve_again = snapshot.process == Process::Absent && snapshot.in_memory.may_be_there();
    if snapshot.progress.released || may_serve_again || !snapshot.settings.mode.replicated() {
        return None;
    }
    match snapshot.settings.arbiter {
        Arbiter::Off => None,
        // It may have gone on alone, and a standby that cannot be seen from here would be promoted at once
        // without what was acknowledged since. The lock ends by itself, and this node may take it again.
        Arbiter::External if snapshot.settings.mode == Mode::Sync && sees_nobody(snapshot) => None,
        Arbiter::External => snapshot
            .progress
            .failure(ActionKind::UnlockExternal)
            .is_none()
            .then(|| Step::then_continue(vec![Action::UnlockExternal])),
        Arbiter::Builtin => release_lease(snapshot),
    }
}

/// Whether no other node of the database is seen in the cluster.
fn sees_nobody(snapshot: &Snapshot) -> bool {
    let others = snapshot.settings.nodes.iter();
    let mut others = others.filter(|node| *node != snapshot.me());
    let online = |node: &NodeName| snapshot.cluster_or_empty().node(node).online;
    !others.any(online)
}

fn release_lease(snapshot: &Snapshot) -> Option<Step> {
    // A node that never was primary has nothing to release, and does not ask.
    snapshot.reign()?;
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

/// R5. Immediate mode first: a superseded primary owes nobody a checkpoint, and each second counts.
pub(in crate::decide) fn stop_superseded(s: &Snapshot, row: &Register) -> Step {
    let owner = row
        .owner
        .as_ref()
        .map_or("nobody".to_owned(), ToString::to_string);
    let reason = format!(
        "{owner} owns the register at term {}: PostgreSQL on {} is stopped at once",
        row.term,
        s.me()
    );
    match next_stop(s, StopMode::Immediate) {
        Some(mode) => Step::then_reobserve(vec![Action::Warn(reason), Action::StopPostgres(mode)]),
        None => not_stopped(s),
    }
}

/// The end of a primary that was superseded. It leaves no score of a primary behind: where two parts
/// of a cluster have just met, Pacemaker would demote the new primary for the sake of it.
pub(in crate::decide) fn stopped_as_superseded(s: &Snapshot) -> Step {
    let me = s.me();
    let shown = vec![
        (me.clone(), Attribute::Score(Score::MayNot)),
        (me.clone(), Attribute::Status(PgsqlStatus::Stop)),
    ];
    let why = match &s.progress.external {
        Some(ExternalLock::HeldByOther(why)) => why,
        _ => "another node became the owner in the register (R5)",
    };
    let failed = Step::fail(
        OcfCode::NotRunning,
        format!("{why}, so PostgreSQL was stopped on {}", s.me()),
    );
    failed.after(needed(s, shown))
}

/// The last attempt says why: processes that survive SIGKILL, or what could not be looked at.
pub(in crate::decide) fn not_stopped(s: &Snapshot) -> Step {
    let failure = s.progress.failure(ActionKind::StopPostgres);
    let why = failure.map_or(String::new(), |failure| format!(" ({})", failure.text));
    Step::fail(
        OcfCode::Generic,
        format!(
            "PostgreSQL was not seen to end there, so the lock is kept{why}; look for processes in uninterruptible \
             sleep (ps -eo pid,stat,wchan,cmd | grep postgres), and reboot {} where one is left that nothing ends",
            s.me()
        ),
    )
}

pub(in crate::decide) fn show_stopped(s: &Snapshot) -> Option<Step> {
    if !s.settings.mode.replicated() {
        return None;
    }
    let mut wanted = vec![(s.me().clone(), Attribute::Status(PgsqlStatus::Stop))];
    // A score draws the instance of a running node here (Pacemaker numbers instances by scores, with
    // a stickiness of 1 against it), again and again, and no transition comes to its promotion. The
    // start opens the gate again. A primary that is restarted keeps its own: it is promoted at once. Not one that
    // has given the register back, or has lost it: whoever else may would be promoted after it.
    let score = s.cluster_or_empty().node(s.me()).score;
    let owner = s.row().is_none_or(|row| row.is_owned_by(s.me()));
    if matches!(score, Some(Score::MayPromote | Score::LastResort))
        || (score == Some(Score::Primary) && s.builtin() && !owner)
    {
        wanted.push((s.me().clone(), Attribute::Score(Score::MayNot)));
    }
    let actions = needed(s, wanted);
    (!actions.is_empty()).then(|| Step::then_continue(actions))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_stopping_leaves_time_for_the_harsher_ones() {
        let seconds = Duration::from_secs;
        let escalation = Escalation {
            primary: seconds(90),
            standby: seconds(30),
        };
        let time = |mode, signal, left| time_to_stop(mode, signal, escalation, seconds(left));
        let (fast, there) = (StopMode::Fast, StandbySignal::There);
        assert_eq!(time(fast, there, 1000), seconds(30));
        for signal in [StandbySignal::Missing, StandbySignal::Unknown] {
            assert_eq!(time(fast, signal, 1000), seconds(90));
        }
        assert_eq!(time(fast, there, 10), seconds(6));
        assert_eq!(time(StopMode::Immediate, there, 10), seconds(5));
        assert_eq!(time(StopMode::Kill, there, 10), seconds(10));
    }
}

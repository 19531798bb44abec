//! `monitor`: what runs here, and — for a standby — whether it may be promoted. What a primary does
//! about its standbys and the register is in [`super::primary`].

use crate::decide::shared::attributes::show_standby;
use crate::decide::shared::descent::{Descent, descent};
use crate::decide::shared::incarnation;
use crate::decide::shared::kin::{foreign_standby, record_standby};
use crate::decide::shared::launch::close_standby;
use crate::decide::shared::{external, gate, halt, ownership};
use crate::names::is_copy_slot;
use crate::ocf::OcfCode;
use crate::plan::{Action, ActionKind, Rule, Step, StopMode};
use crate::register::Update;
use crate::remedy::Remedy;
use crate::snapshot::{Answer, Mode, Process, Snapshot};
use crate::timeline::{History, WalPosition};

/// A probe: Pacemaker asks about a resource that it did not start. It touches nothing.
pub(super) const PROBE: &[Rule] = &[
    Rule {
        id: "probe-absent",
        says: "No postmaster of this data directory: not running.",
        decide: |s| {
            (!matches!(s.process, Process::Alive { .. })).then(|| Step::finish(OcfCode::NotRunning))
        },
    },
    Rule {
        id: "probe-role",
        says: "It runs: the role that it answers, or that the data directory shows when it does not answer.",
        decide: |s| Some(Step::finish(role(s))),
    },
];

/// The recurring monitor, up to where a primary's own rules begin.
pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "monitor-superseded-stopped",
        says: "A superseded primary was stopped by this monitor: not running, with the reason.",
        decide: |s| {
            (s.process == Process::Absent && !s.progress.stops.is_empty())
                .then(|| halt::stopped_as_superseded(s))
        },
    },
    Rule {
        id: "monitor-superseded-orphans",
        says: "The postmaster of a superseded primary was stopped and other server processes were not: end them too (R5).",
        decide: |s| {
            (s.process == Process::Orphans && !s.progress.stops.is_empty())
                .then(|| halt::stop_first(s, StopMode::Kill))
                .flatten()
        },
    },
    Rule {
        id: "monitor-absent",
        says: "No postmaster of this data directory: not running, with the guard's reason where it was the guard that stopped it.",
        decide: |s| {
            (!matches!(s.process, Process::Alive { .. })).then(|| {
                let reason = match &s.stopped_by_guard {
                    Some(why) => format!("the guard: {why}"),
                    None => format!(
                        "PostgreSQL is not running on {}; its log says why it ended",
                        s.me()
                    ),
                };
                Step::fail(OcfCode::NotRunning, reason)
            })
        },
    },
    Rule {
        id: "monitor-silent-too-long",
        says: "PostgreSQL has not answered several monitors in a row: failed.",
        decide: |s| {
            (silent(s) && s.silent_before + 1 >= s.settings.patience).then(|| Step::fail(
            OcfCode::Generic,
            format!("PostgreSQL on {} has not answered {} monitors in a row although its postmaster exists", s.me(), s.silent_before + 1)))
        },
    },
    Rule {
        id: "monitor-failing",
        says: "The administrator's own check, monitor_sql, fails on the primary: failed.",
        decide: |s| match &s.answer {
            Answer::Failing(text) => Some(Step::fail(OcfCode::Generic, text.clone())),
            _ => None,
        },
    },
    Rule {
        id: "monitor-busy-renew",
        says: "PostgreSQL is alive and cannot be asked, and was a primary: its lease is renewed all the same.",
        decide: |s| {
            let reign = s
                .reign()
                .filter(|_| s.builtin() && !s.standby_signal.is_there() && unasked(s))?;
            (s.register.is_none()).then(|| {
                Step::then_continue(vec![Action::UpdateRegister(Update::Renew {
                    node: s.me().clone(),
                    term: reign.term,
                    positions: [].into(),
                    ttl: s.settings.ttl,
                })])
            })
        },
    },
    Rule {
        id: "monitor-busy-superseded",
        says: "It cannot be asked, and another node owns the register: stopped at once (R5).",
        decide: |s| {
            s.reign()
                .filter(|_| unasked(s) && !s.standby_signal.is_there())?;
            ownership::superseded(s).map(|row| halt::stop_superseded(s, &row))
        },
    },
    Rule {
        id: "monitor-busy",
        says: "PostgreSQL is alive and too busy, starting up, shutting down or refusing: it is not restarted for that.",
        decide: |s| {
            unasked(s)
                .then(|| Step::finish(role_on_disk(s)).after(vec![Action::Warn(complaint(s))]))
        },
    },
    Rule {
        id: "monitor-standalone",
        says: "Without replication, PostgreSQL answers: running.",
        decide: |s| (s.settings.mode == Mode::Standalone).then(|| Step::finish(OcfCode::Success)),
    },
    Rule {
        id: "monitor-slave-promoted",
        says: "An unmanaged standby has become a primary: an error.",
        decide: |s| {
            (s.settings.mode == Mode::Slave && s.primary().is_some()).then(|| {
                Step::fail(
                    OcfCode::Generic,
                    format!(
                        "PostgreSQL on {} is a primary although rep_mode is slave",
                        s.me()
                    ),
                )
            })
        },
    },
    Rule {
        id: "monitor-slave",
        says: "An unmanaged standby answers: running.",
        decide: |s| (s.settings.mode == Mode::Slave).then(|| Step::finish(OcfCode::Success)),
    },
    Rule {
        id: "monitor-standby-diverged",
        says: "This standby has WAL that the primary does not have: failed, so that the next start refuses it with the repair command.",
        decide: standby_diverged,
    },
    Rule {
        id: "monitor-announce",
        says: "The cluster does not know the name under which PostgreSQL runs here: announce it (R11).",
        decide: incarnation::announce,
    },
    Rule {
        id: "monitor-standby-foreign",
        says: "This standby was started by somebody else than the agent, so that the primary does not know its link: failed, so that Pacemaker starts it again under a name of its own (R11).",
        decide: |s| {
            s.cluster.as_ref().ok()?.primary()?;
            incarnation::is_foreign(s).then(|| {
                Step::fail(
                    OcfCode::Generic,
                    format!(
                        "PostgreSQL on {} was started by somebody else than Pacemaker, so that the primary does not know it: it is started again",
                        s.me()
                    ),
                )
            })
        },
    },
    Rule {
        id: "monitor-standby-read-register",
        says: "Read the register: it knows the timelines, and who may be promoted.",
        decide: |s| {
            (s.standby().is_some() && s.builtin() && s.register.is_none())
                .then(|| Step::then_continue(vec![Action::ReadRegister]))
        },
    },
    Rule {
        id: "monitor-standby-foreign-timeline",
        says: "This standby is not on the register's timelines (R13): failed, so that the next start refuses it with the command that mends it.",
        decide: |s| {
            s.standby().filter(|view| !view.streaming)?;
            foreign_standby(s).map(|why| Step::fail(OcfCode::Generic, why))
        },
    },
    Rule {
        id: "monitor-standby-record",
        says: "This standby has gone on to the register's newest timeline, or may at any moment: keep that beside the data (R13).",
        decide: record_standby,
    },
    Rule {
        id: "monitor-standby-slots",
        says: "A standby still has the slots of a primary that it was, or of a copy that was made from it then: drop them, or they keep WAL until its disk is full.",
        decide: |s| {
            let view = s.standby()?;
            let own = |name: &String| {
                is_copy_slot(name) || s.settings.slots.values().any(|own| own == name)
            };
            let idle = view.slots.iter().filter(|slot| !slot.active);
            let left: Vec<String> = idle.map(|slot| slot.name.clone()).filter(own).collect();
            (!left.is_empty() && s.progress.failure(ActionKind::DropSlots).is_none())
                .then(|| Step::then_reobserve(vec![Action::DropSlots(left)]))
        },
    },
    Rule {
        id: "monitor-standby-close",
        says: "A standby would acknowledge commits if somebody opened it by hand, as after a promotion that failed: let its commits wait for a synchronous standby that cannot exist.",
        decide: close_standby,
    },
    Rule {
        id: "monitor-standby-lock",
        says: "With the external lock, where a promotion was refused and nobody is primary: ask for the lock here, so that the gate is opened under it and Pacemaker tries nothing in vain.",
        decide: external::ask,
    },
    Rule {
        id: "monitor-standby-show",
        says: "Show the standby, and open or close its gate as the register says.",
        decide: |s| s.standby().and_then(|_| show_standby(s)),
    },
    Rule {
        id: "monitor-standby-say",
        says: "The primary may be waiting for it: say how far this standby has flushed (R11).",
        decide: incarnation::say,
    },
    Rule {
        id: "monitor-standby-attend",
        says: "Every other standby that is a holder is out of sight or could not open for writing, and this one streams: it is to take their place (R3), so have said for a while how far it has flushed.",
        decide: |s| {
            incarnation::successor(s)?;
            incarnation::attend(s)
        },
    },
    Rule {
        id: "monitor-standby",
        says: "A standby answers: running. While nobody is primary, say why it is not promoted.",
        decide: |s| {
            let why = gate::why_shut(s).map(|why| format!("{} is not promoted: {why}", s.me()));
            let said = why.map(Action::Warn).into_iter().collect();
            s.standby()
                .map(|_| Step::finish(OcfCode::Success).after(said))
        },
    },
];

/// Whether PostgreSQL is there and gave no answer; it counts as failed after `patience` such monitors.
#[must_use]
pub fn silent(s: &Snapshot) -> bool {
    s.answer == Answer::NoAnswer || matches!(s.process, Process::Alive { frozen: true })
}

/// PostgreSQL is alive and its state cannot be seen.
fn unasked(s: &Snapshot) -> bool {
    s.primary().is_none() && s.standby().is_none()
}

fn complaint(s: &Snapshot) -> String {
    let what = match &s.answer {
        Answer::Busy(text) => format!("is busy: {text}"),
        Answer::StartingUp | Answer::NotListening => "is starting up".to_owned(),
        Answer::ShuttingDown => "is shutting down".to_owned(),
        Answer::Refused(text) => format!("refuses the agent: {text}"),
        _ => format!(
            "did not answer (monitor {} of {} in a row)",
            s.silent_before + 1,
            s.settings.patience
        ),
    };
    format!("PostgreSQL on {} {what}", s.me())
}

fn role(s: &Snapshot) -> OcfCode {
    match &s.answer {
        Answer::Primary(_) => running_primary(s),
        Answer::Standby(_) => OcfCode::Success,
        _ => role_on_disk(s),
    }
}

fn running_primary(s: &Snapshot) -> OcfCode {
    if s.settings.mode.replicated() {
        OcfCode::RunningPromoted
    } else {
        OcfCode::Success
    }
}

/// The role that the data directory shows: `standby.signal` is there as long as the server is a
/// standby, and PostgreSQL removes it when a promotion is complete. Where it cannot be looked for, the server counts
/// as a primary: Pacemaker promotes no other node beside one.
pub(super) fn role_on_disk(s: &Snapshot) -> OcfCode {
    if s.standby_signal.is_there() {
        OcfCode::Success
    } else {
        running_primary(s)
    }
}

fn standby_diverged(s: &Snapshot) -> Option<Step> {
    let view = s.standby().filter(|view| !view.streaming)?;
    let cluster = s.cluster_or_empty();
    let info = cluster
        .repl_info()
        .filter(|info| &info.node != s.me())?
        .clone();
    if let Some(row) = s.row()
        && row.owner.as_ref() != Some(&info.node)
    {
        return None; // pgsql_REPL_INFO is out of date; the owner will write it again
    }
    let end = WalPosition {
        timeline: view.timeline?,
        // A part of a record that the primary never had may be received, and is not replayed.
        lsn: view.replayed?,
    };
    // One that has gone on to the primary's own timeline has passed the switch with the primary.
    if end.timeline.get() > info.timeline || cluster.primary().is_none() {
        return None;
    }
    let own = view.histories.iter().find(|own| own.own == end.timeline);
    let history = own
        .cloned()
        .unwrap_or_else(|| History::without_ancestors(end.timeline));
    match descent(&info, s.me(), end, &history, &view.histories) {
        Descent::Follows => None,
        Descent::Diverged { fork, end } => Some(Step::fail(
            OcfCode::Generic,
            format!(
                "{} on {}: it has WAL up to {end}, but {} left timeline {} at {}",
                Remedy::Repair,
                s.me(),
                info.node,
                fork.timeline,
                fork.lsn
            ),
        )),
    }
}

//! `promote`: the right to be primary first (R0, R1), then PostgreSQL (R2), then the record.

use crate::decide::shared::attributes::{close_gate, repl_info, show};
use crate::decide::shared::gate::{self, refusal};
use crate::decide::shared::kin::{
    name_timelines, number_of_another, number_to_reserve, recorded_opening, strayed,
};
use crate::decide::shared::{halt, incarnation, launch, outage, ownership};
use crate::ocf::OcfCode;
use crate::plan::{Action, ActionKind, Rule, Step, StopMode, with_reign};
use crate::register::{Eligibility, Memory, Register, Reign, Update, out_of_step};
use crate::snapshot::{Acquired, Answer, Arbiter, CatchUp, ExternalLock, Mode, Process, Snapshot};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "promote-opened",
        says: "PostgreSQL is the primary after a restart in place by promises: keep durably that it was opened, so that they are never withdrawn (R7).",
        decide: |s| outage::opened(s).map(|opened| Step::then_continue(vec![opened])),
    },
    Rule {
        id: "promote-superseded",
        says: "PostgreSQL is a primary and another node owns the register: stop it at once (R5).",
        decide: |s| {
            s.primary().filter(|_| s.builtin())?;
            match s.register {
                None => Some(Step::then_continue(vec![Action::ReadRegister])),
                Some(_) => ownership::superseded(s).map(|row| halt::stop_superseded(s, &row)),
            }
        },
    },
    Rule {
        id: "promote-number-of-another",
        says: "PostgreSQL is a primary already, on a timeline whose number was given to another one before, since somebody opened it (R13): an error, so that it is stopped and not started again.",
        decide: |s| number_of_another(s).map(|why| Step::fail(OcfCode::Generic, why)),
    },
    Rule {
        id: "promote-remember",
        says: "PostgreSQL is a primary by right of the register: keep durably at which term and on which timeline.",
        decide: remember_reign,
    },
    Rule {
        id: "promote-name-timelines",
        says: "Keep and register the name of the timeline that this primary writes (R13), before anybody follows it. What the register does not take now, the next monitor names.",
        decide: name_timelines,
    },
    Rule {
        id: "promote-repl-info",
        says: "Write pgsql_REPL_INFO: this node, the timeline before the switch and where it ended.",
        decide: |s| {
            let wanted = repl_info(s)?;
            let written = s.cluster.as_ref().ok()?.repl_info() == Some(&wanted);
            (!written && s.progress.failure(ActionKind::WriteReplInfo).is_none())
                .then(|| Step::then_continue(vec![Action::WriteReplInfo(wanted)]))
        },
    },
    Rule {
        id: "promote-show",
        says: "Show the new primary, and who else may be promoted; what nobody acts upon is left to the first monitor while clients wait.",
        decide: show,
    },
    Rule {
        id: "promote-done",
        says: "PostgreSQL is the primary: success.",
        decide: |s| s.primary().map(|_| Step::finish(OcfCode::Success)),
    },
    Rule {
        id: "promote-superseded-stopped",
        says: "A superseded primary was stopped here: the promotion has failed.",
        decide: |s| {
            (acquired(s).is_none() && !s.progress.stops.is_empty() && s.process == Process::Absent)
                .then(|| halt::stopped_as_superseded(s))
        },
    },
    Rule {
        id: "promote-memory-failed",
        says: "What was seen of the register cannot be kept on this node's disk: not promoted, or a restored register would go unnoticed.",
        decide: |s| {
            s.progress
                .failure(ActionKind::Remember)
                .map(|f| Step::fail(OcfCode::Generic, f.text.clone()))
        },
    },
    Rule {
        id: "promote-unopened-close",
        says: "PostgreSQL did not come back from a restart in place by promises: first make the data a standby's again, since nobody is barred any more once the question is withdrawn (R7).",
        decide: |s| {
            launch::failed_launch(s)?;
            outage::close_unopened(s)
        },
    },
    Rule {
        id: "promote-unopened-read",
        says: "Then read where the WAL ends: from here on nobody opens it by starting it.",
        decide: |s| {
            launch::failed_launch(s)?;
            outage::read_unopened(s)
        },
    },
    Rule {
        id: "promote-unopened-withdraw",
        says: "It was never opened, since its WAL ends exactly where it did before: withdraw the question, so that nobody is barred by a restart that has failed (R7).",
        decide: |s| {
            launch::failed_launch(s)?;
            outage::withdraw_unopened(s).map(|withdraw| Step::then_continue(vec![withdraw]))
        },
    },
    Rule {
        id: "promote-launch-failed",
        says: "PostgreSQL did not come back from the restart in place: an error with what it said.",
        decide: launch::failed_launch,
    },
    Rule {
        id: "promote-pg-failed",
        says: "pg_ctl promote failed, or what has to be done before it: an error with what it said.",
        decide: |s| {
            [
                ActionKind::KeepRecord,
                ActionKind::KeepLinks,
                ActionKind::ReserveTimelines,
                ActionKind::OpenStandby,
                ActionKind::CloseStandby,
                ActionKind::PromotePostgres,
                ActionKind::UsePromises,
            ]
            .into_iter()
            .find_map(|kind| s.progress.failure(kind))
            .map(|f| Step::fail(OcfCode::Generic, f.text.clone()))
        },
    },
    Rule {
        id: "promote-not-running",
        says: "PostgreSQL does not run: there is nothing to promote.",
        decide: |s| {
            (s.process == Process::Absent && s.progress.stops.is_empty()).then(|| {
                Step::fail(
                    OcfCode::NotRunning,
                    format!("PostgreSQL is not running on {}", s.me()),
                )
            })
        },
    },
    Rule {
        id: "promote-tell",
        says: "The right was given: before PostgreSQL opens, the cluster is told the new term and epoch, so that every node notices a register that is put back to before them.",
        decide: |s| {
            acquired(s)?;
            ownership::tell(s)
        },
    },
    Rule {
        id: "promote-in-place-stop",
        says: "The primary has not changed: restart in place. Stop the standby first.",
        decide: |s| {
            in_place(s)
                .filter(|()| !s.progress.restarting_in_place)
                .and_then(|()| halt::stop_first(s, StopMode::Fast))
        },
    },
    Rule {
        id: "promote-in-place-start",
        says: "Then start it as a primary, on the same timeline (R2).",
        decide: |s| {
            in_place(s).filter(|()| !s.progress.started).map(|()| {
                let mut actions: Vec<Action> = recorded_opening(s, None).into_iter().collect();
                actions.extend(outage::without_barrier(s));
                actions.extend([Action::WritePrimarySettings, Action::StartPostgres(None)]);
                Step::then_reobserve(actions)
            })
        },
    },
    Rule {
        id: "promote-strayed",
        says: "The standby is on a timeline that it had not when it was told to open, and that the cluster does not know: somebody else has opened the standby from which it received. An error, since its number may have been given before (R13).",
        decide: |s| {
            to_open(s)?;
            strayed(s).map(|why| Step::fail(OcfCode::Generic, why))
        },
    },
    Rule {
        id: "promote-catch-up",
        says: "Another standby has flushed more of the same timeline: receive that from it before PostgreSQL opens, or it could not follow this node and would have to be repaired.",
        decide: |s| {
            to_open(s)?;
            let in_time = s.progress.catch_up.is_none() && s.elapsed < s.catch_up_until();
            let (from, up_to) = incarnation::furthest(s).filter(|_| in_time)?;
            let mut actions = before_opening(s);
            actions.push(Action::CatchUp {
                name: incarnation::name_in_settings(s),
                from,
                up_to,
            });
            Some(Step::then_reobserve(actions))
        },
    },
    Rule {
        id: "promote-catch-up-wait",
        says: "Wait until it is received, for two seconds at most, or half of the lease if that is less: nothing that was acknowledged depends on it.",
        decide: |s| {
            to_open(s)?;
            let CatchUp { up_to, until, .. } =
                s.progress.catch_up.filter(|at| at.over.is_none())?;
            let received = s.standby()?.position();
            (received < Some(up_to) && s.elapsed < until)
                .then(|| Step::wait("WAL of another standby"))
        },
    },
    Rule {
        id: "promote-catch-up-end",
        says: "Then receive from it no more, before the timeline is looked at for the last time.",
        decide: |s| {
            to_open(s)?;
            s.progress.catch_up.filter(|at| at.over.is_none())?;
            let name = incarnation::name_in_settings(s);
            Some(Step::then_reobserve(vec![Action::CloseStandby(name)]))
        },
    },
    Rule {
        id: "promote-catch-up-leave",
        says: "The WAL receiver is still the one that received from it: wait until PostgreSQL has ended that.",
        decide: |s| {
            to_open(s)?;
            let left = s.progress.catch_up?.over?;
            let still = left.receiver.is_some() && s.standby()?.receiver == left.receiver;
            (still && s.elapsed < left.until)
                .then(|| Step::wait("the WAL receiver to leave another standby"))
        },
    },
    Rule {
        id: "promote-new-timeline",
        says: "The primary has changed: pg_ctl promote, onto a new timeline (R2).",
        decide: |s| to_open(s).map(|()| new_timeline(s)),
    },
    Rule {
        id: "promote-wait",
        says: "Wait until PostgreSQL is the primary.",
        decide: |s| acquired(s).map(|_| Step::wait("PostgreSQL to accept writes")),
    },
    Rule {
        id: "promote-wait-standby",
        says: "The standby does not answer yet, so that its WAL position cannot be compared with the register (R10): wait.",
        decide: |s| match &s.answer {
            Answer::Standby(_) => None,
            _ => Some(Step::wait("the standby to answer")),
        },
    },
    Rule {
        id: "promote-refused-close-gate",
        says: "The right was refused and the gate is still open: close it, so that Pacemaker does not try again until monitor opens it.",
        decide: |s| {
            refusal(s)?;
            close_gate(s)
        },
    },
    Rule {
        id: "promote-refused",
        says: "The right was refused: an error that bans nothing.",
        decide: |s| {
            refusal(s).map(|why| Step::fail(OcfCode::Generic, format!("not promoted: {why}")))
        },
    },
    Rule {
        id: "promote-external-lock",
        says: "With the external lock: obtain it first.",
        decide: |s| {
            (s.settings.arbiter == Arbiter::External
                && s.settings.mode.replicated()
                && s.progress.external.is_none())
            .then(|| Step::then_continue(vec![Action::LockExternal]))
        },
    },
    Rule {
        id: "promote-ask-promises",
        says: "The lock service cannot be reached, and this node is the primary that served last, with all its data: ask every other node to promise not to be promoted at this epoch, or to pass the change of the holders on (R7).",
        decide: |s| outage::ask_to_restart(s).map(|ask| Step::then_continue(vec![ask])),
    },
    Rule {
        id: "promote-by-promise",
        says: "Every other node has promised: keep that their promises are relied on, and restart PostgreSQL in place, where commits wait for nobody until the register is back (R7).",
        decide: |s| outage::used_to_restart(s).map(|used| Step::then_continue(vec![used])),
    },
    Rule {
        id: "promote-ask-register",
        says: "Ask the register for the right to be primary: term + 1, and the only holder (R0, R1).",
        decide: ask_register,
    },
    Rule {
        id: "promote-undecided",
        says: "Nothing of the above: an error.",
        decide: |_| {
            Some(Step::fail(
                OcfCode::Generic,
                "the promotion could not be decided; the log of this operation says what was seen",
            ))
        },
    },
];

/// How the right to promote is to be used, once it was obtained.
fn acquired(s: &Snapshot) -> Option<Acquired> {
    if s.builtin() {
        return s.progress.acquired;
    }
    let held = match s.settings.arbiter {
        Arbiter::External => s.progress.external == Some(ExternalLock::Locked),
        Arbiter::Off | Arbiter::Builtin => true,
    };
    // Without a register, pgsql_REPL_INFO says who was primary last; where it cannot be read, a new
    // timeline is the safe way.
    let unchanged = match &s.cluster {
        Ok(cluster) => match &cluster.repl_info {
            None => true,
            Some(Ok(info)) => &info.node == s.me(),
            Some(Err(_)) => false,
        },
        Err(_) => false,
    };
    held.then_some(if unchanged {
        Acquired::InPlace
    } else {
        Acquired::NewTimeline
    })
}

/// What is kept and reserved before the standby is opened (R13), and before it receives from anybody else than
/// the primary: it may be opened from here on, and from this timeline alone.
fn before_opening(s: &Snapshot) -> Vec<Action> {
    let number = s.standby().and_then(|view| view.timeline);
    // The number first: whoever opens it by hand after that takes none that was given.
    let given = s.standby().and_then(|view| number_to_reserve(s, view));
    let reserve = given.map(Action::ReserveTimelines);
    reserve
        .into_iter()
        .chain(recorded_opening(s, number))
        .collect()
}

/// Opens the standby. A failure of any of it is one of the promotion; demote closes the standby again.
fn new_timeline(s: &Snapshot) -> Step {
    let mut actions = match s.progress.catch_up {
        None => before_opening(s),
        Some(_) => vec![],
    };
    actions.extend([
        Action::OpenStandby(incarnation::name_in_settings(s)),
        Action::PromotePostgres,
    ]);
    Step::then_reobserve(actions)
}

/// The standby has the right to open onto a new timeline, and was not told to yet.
fn to_open(s: &Snapshot) -> Option<()> {
    (acquired(s) == Some(Acquired::NewTimeline) && !s.progress.promoting && s.standby().is_some())
        .then_some(())
}

fn in_place(s: &Snapshot) -> Option<()> {
    (acquired(s) == Some(Acquired::InPlace)).then_some(())
}

fn remember_reign(s: &Snapshot) -> Option<Step> {
    let view = s.primary().filter(|_| s.builtin())?;
    let (Some(row), Ok(memory)) = (s.row(), &s.memory) else {
        return (s.progress.acquired.is_none())
            .then(|| Step::wait("the lock service to say who owns the register"));
    };
    // A register that names nobody, or does not continue what was seen, gives no right to keep.
    let damaged = |seen: Memory| out_of_step(row, &seen).is_some();
    if !row.is_owned_by(s.me()) || s.seen().is_ok_and(damaged) {
        return None;
    }
    let reign = Reign {
        term: row.term,
        timeline: view.timeline,
    };
    // What could not be kept costs a new timeline at the next promotion, and nothing else.
    (memory.reign != Some(reign) && s.progress.failure(ActionKind::Remember).is_none())
        .then(|| Step::then_continue(vec![Action::Remember(with_reign(memory, reign))]))
}

fn ask_register(s: &Snapshot) -> Option<Step> {
    if !s.builtin() {
        return None;
    }
    let Some(reading) = &s.register else {
        return Some(Step::then_continue(vec![Action::ReadRegister]));
    };
    let node = s.me().clone();
    let ttl = s.settings.ttl;
    match gate::eligibility(s, reading) {
        Eligibility::FirstElection(_) => Some(Step::then_continue(vec![Action::UpdateRegister(
            Update::FirstPrimary { node, ttl },
        )])),
        Eligibility::Yes(row) => {
            let update = Update::promote(&row, node, ttl);
            let update = if s.settings.mode == Mode::Async {
                update.with_bounded_loss()
            } else {
                update
            };
            Some(Step::then_continue(vec![Action::UpdateRegister(update)]))
        }
        Eligibility::LeaseRunning { register, .. } => Some(Step::wait(lease_text(&register))),
        Eligibility::Unknown(trouble) => Some(Step::wait(trouble.to_string())),
        behind @ Eligibility::BehindRecorded { .. } => Some(Step::wait(format!(
            "the standby to replay what it has on its disk; {behind}"
        ))),
        _ => None,
    }
}

fn lease_text(row: &Register) -> String {
    let owner = row
        .owner
        .as_ref()
        .map_or("nobody".to_owned(), ToString::to_string);
    format!(
        "the lease of {owner} to run out ({} ms left)",
        row.lease_left.as_millis()
    )
}

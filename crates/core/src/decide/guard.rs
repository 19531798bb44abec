//! The guard: a resident process beside a primary. It renews the lease about every second, stops a
//! superseded primary at once (R5), and stops a primary that cannot prove any more that nobody else
//! can be granted the lease, before somebody is.
//!
//! **When a primary is fenced.** Durability does not need it: no commit is acknowledged without the
//! holders (R1, R3). What it bounds is how long an isolated primary goes on answering queries while
//! another node may already be primary. So the question is not "does the lock service answer?" but
//! "could another node be granted the lease?", and it cannot as long as one of these is proven:
//!
//! * the register confirmed a renewal, and the lease that this gave has not run out;
//! * the register answers in a state in which it promotes nobody (it is missing, damaged or older
//!   than what was seen);
//! * no other node is a holder, nor named as one that may become it: R1 refuses all others;
//! * every other node has promised not to promote at this epoch (R7);
//! * every other node that may promote acknowledges, as a standby of *this* primary, WAL that was
//!   written just now. A standby that is promoted first ends its WAL receiver.
//!
//! Each proof counts from the moment its question was sent; what this node itself brings to an end
//! (it adds a holder, or moves the epoch of promises) from when it was last seen not to have begun.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::decide::shared::{halt, links, outage, ownership, quorum, standbys};
use crate::names::NodeName;
use crate::ocf::OcfCode;
use crate::plan::{Action, ActionKind, Rule, Step, StopMode};
use crate::register::{Reading, Register, Update};
use crate::snapshot::{
    Answer, Death, Guard, HOLD, Look, Mode, Operation, Process, Snapshot, Watch,
};

/// How long a guard waits for a PostgreSQL that is gone to come back (an administrator restarts an
/// unmanaged one) before it ends itself.
const RETURN: Duration = Duration::from_secs(60);

/// How long commits are held before nobody is believed to be at that any more: longer than any operation
/// holds them, and ends that.
const LEFT_OVER: Duration = HOLD.saturating_add(Duration::from_secs(5));

/// The longest time between two renewals.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long one question may take, whatever time there is.
const LONGEST: Duration = Duration::from_secs(3);

/// The least time that a question is given, however little is left.
const LEAST: Duration = Duration::from_millis(50);

/// How long a node that has stopped its PostgreSQL may tell the others that it relies on no promise of
/// theirs. Who has no power answers nothing, and Pacemaker is waiting.
pub const WITHDRAWAL: Duration = Duration::from_secs(3);

/// How long the question to the lock service may take of a guard that has stood still past its limit and
/// looks once more; that to the standbys a quarter of it. A machine that was frozen has a lot to do when
/// it goes on, and a healthy primary is not to be stopped for that.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// What an operation of the agent on a primary does about the guard, before the primary's own rules.
pub(super) const KEEPING: &[Rule] = &[
    Rule {
        id: "guard-keep-end",
        says: "A guard runs and none is wanted, because the built-in lock service is not configured any more: end it.",
        decide: |s| {
            (!s.builtin()
                && s.guard.is_there()
                && s.progress.failure(ActionKind::EndGuard).is_none())
            .then(|| Step::then_continue(vec![Action::EndGuard]))
        },
    },
    Rule {
        id: "guard-keep-replace",
        says: "The guard hangs, or was started by another version of the program or with other parameters: replace it.",
        decide: |s| match &s.guard {
            Guard::Stale(why) if may_start(s) => Some(Step::then_continue(vec![
                Action::Warn(format!("the guard is replaced: {why}")),
                Action::StartGuard,
            ])),
            _ => None,
        },
    },
    Rule {
        id: "guard-keep-start",
        says: "PostgreSQL is the registered primary and no guard runs beside it: start it.",
        decide: |s| {
            (s.guard == Guard::Absent && may_start(s))
                .then(|| Step::then_continue(vec![Action::StartGuard]))
        },
    },
];

fn may_start(s: &Snapshot) -> bool {
    s.builtin()
        && s.primary().is_some()
        && s.reign().is_some()
        && s.progress.failure(ActionKind::StartGuard).is_none()
}

/// One round of the guard.
pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "guard-withdraw",
        says: "The guard has stopped PostgreSQL, other nodes may have promised, and no standby was let go by their promises: withdraw the question, so that none of them is barred while this node is away (R7).",
        decide: |s| {
            (!s.progress.stops.is_empty())
                .then(|| outage::withdraw(s))
                .flatten()
                .map(|withdraw| Step::then_reobserve(vec![withdraw]))
        },
    },
    Rule {
        id: "guard-stopped",
        says: "The guard has stopped PostgreSQL: tell Pacemaker, unless another node is the primary already, and end. The agent starts another guard with the next primary.",
        decide: |s| {
            (s.process == Process::Absent && !s.progress.stops.is_empty()).then(|| {
                let reason = "the guard stopped PostgreSQL; the lines before this one say why";
                let end = Step::fail(OcfCode::NotRunning, reason);
                match watch(s).death {
                    Death::Told => end,
                    // Nobody waits for this node, and Pacemaker is likely to be at work on it.
                    Death::None | Death::Untold if ownership::superseded(s).is_some() => end,
                    Death::None | Death::Untold => end.after(vec![Action::ReportDeath]),
                }
            })
        },
    },
    Rule {
        id: "guard-standby",
        says: "PostgreSQL is a standby: there is nothing to guard.",
        decide: |s| s.standby().map(|_| Step::finish(OcfCode::Success)),
    },
    Rule {
        id: "guard-tell-death",
        says: "The postmaster has died: have Pacemaker's monitor look now instead of at its next time.",
        decide: |s| {
            let dead = matches!(s.process, Process::Absent | Process::Orphans);
            (dead && watch(s).death == Death::Untold)
                .then(|| Step::then_continue(vec![Action::ReportDeath]))
        },
    },
    Rule {
        id: "guard-ended",
        says: "PostgreSQL has been gone for a minute: end.",
        decide: |s| {
            (s.process == Process::Absent && watch(s).absent >= RETURN)
                .then(|| Step::finish(OcfCode::Success))
        },
    },
    Rule {
        id: "guard-absent",
        says: "PostgreSQL is not there, so that there is no lease to keep: wait until it is back or the agent ends this guard.",
        decide: |s| (s.process == Process::Absent).then(|| Step::wait("PostgreSQL to come back")),
    },
    Rule {
        id: "guard-overdue",
        says: "The time for proofs is over: stop PostgreSQL, immediate mode, then SIGKILL to every process. One that has only stood still (a frozen machine) asks the register once more first.",
        decide: |s| (exposed(s)? >= limit(s.settings.ttl) && !watch(s).overslept).then(|| fence(s)),
    },
    Rule {
        id: "guard-renew",
        says: "Renew the lease, with the positions that were last seen (R10); the reply says who owns the register.",
        decide: |s| {
            s.register.is_none().then(|| {
                Step::then_continue(vec![match term(s) {
                    Some(term) => Action::UpdateRegister(Update::Renew {
                        node: s.me().clone(),
                        term,
                        positions: standbys::positions(s),
                        ttl: s.settings.ttl,
                    }),
                    None => Action::ReadRegister,
                }])
            })
        },
    },
    Rule {
        id: "guard-superseded",
        says: "Another node owns the register: stop PostgreSQL at once, immediate mode, then SIGKILL to every process (R5).",
        decide: |s| ownership::superseded(s).map(|row| or_wait(halt::stop_superseded(s, &row))),
    },
    Rule {
        id: "guard-pacemaker-gone",
        says: "Pacemaker has not been running here for longer than guard_pacemaker_timeout: stop PostgreSQL.",
        decide: |s| {
            let watch = watch(s);
            let over = !watch.pacemaker_timeout.is_zero()
                && watch.pacemaker_gone >= watch.pacemaker_timeout;
            over.then(|| {
                stop(
                    s,
                    format!(
                        "Pacemaker has not been running for {} s (guard_pacemaker_timeout)",
                        watch.pacemaker_gone.as_secs()
                    ),
                )
            })
        },
    },
    Rule {
        id: "guard-end-hold",
        says: "Commits are held for longer than any operation holds them, and no operation of this node is at work: they wait for the holder from before alone. Where the register has moved since, a monitor ends it, which tells the cluster first (R3).",
        decide: end_hold,
    },
    Rule {
        id: "guard-renewed",
        says: "The register is this node's: all is well until the next renewal.",
        decide: |s| match &s.register {
            Some(Reading::Row(row)) if row.is_owned_by(s.me()) && s.progress.renewed => {
                Some(Step::wait("the next renewal"))
            }
            _ => None,
        },
    },
    Rule {
        id: "guard-damaged",
        says: "The register is missing, makes no sense, or is older than what this node has seen: it promotes nobody, so PostgreSQL goes on and the operator is told.",
        decide: |s| {
            let damage = ownership::damage(s)?;
            Some(
                Step::wait("the register to be mended")
                    .after(vec![Action::Warn(damage.to_string())]),
            )
        },
    },
    Rule {
        id: "guard-promised",
        says: "Not renewed, and every other node has promised not to promote (R7): PostgreSQL goes on.",
        decide: |s| promised(s).then(|| Step::wait("the lock service; every peer has promised")),
    },
    Rule {
        id: "guard-only-holder",
        says: "Not renewed, and no other node is a holder or on its way to be one: none can be promoted (R1), so PostgreSQL goes on.",
        decide: |s| {
            rivals(s)
                .is_empty()
                .then(|| Step::wait("the lock service; no other node is a holder"))
        },
    },
    Rule {
        id: "guard-ask-standbys",
        says: "Not renewed, and every node that may be promoted is connected: write WAL and see whether each acknowledges it as a standby of this primary.",
        decide: |s| {
            s.primary()?;
            let known = links::names(s);
            let linked = rivals(s).into_iter().map(|node| {
                links::of(s, &node)?;
                let name = known.get(&node)?.clone();
                Some((node, name))
            });
            let linked: BTreeMap<_, _> = linked.collect::<Option<_>>()?;
            (!watch(s).links_tried).then(|| Step::then_reobserve(vec![Action::AskStandbys(linked)]))
        },
    },
    Rule {
        id: "guard-linked",
        says: "Not renewed, and every node that may be promoted has acknowledged WAL a moment ago as a standby of this primary, which one that is promoted does not: PostgreSQL goes on.",
        decide: |s| {
            (linked(s)? < limit(s.settings.ttl) / 3)
                .then(|| Step::wait("the lock service; the standbys still follow"))
        },
    },
    Rule {
        id: "guard-ask-quorum",
        says: "Not renewed, no such standby follows, and quorum decides: one that is asked for its promise may pass the change of the holders on instead, so ask first whether this part of the cluster has quorum once that is settled (R3).",
        decide: |s| {
            outage::ask(s)?;
            quorum::question(s)
        },
    },
    Rule {
        id: "guard-without-quorum",
        says: "It has none: nobody is asked for a promise, so that a holder in the other part may take over; PostgreSQL goes on until the time for proofs is over. A cluster that does not say so soon enough keeps nobody from being asked: it may be stopped, or still look for a node that has no power.",
        decide: |s| {
            outage::ask(s)?;
            let why = quorum::none(s)?;
            let over = exposed(s).is_some_and(|time| time >= limit(s.settings.ttl));
            Some(match over {
                true => fence(s),
                false => Step::wait("a proof that no other node can be promoted")
                    .after(vec![Action::Warn(why)]),
            })
        },
    },
    Rule {
        id: "guard-ask-promises",
        says: "Not renewed, the lock service is out of reach, and no such standby follows: ask every other node to promise not to be promoted, or to pass the change of the holders on (R7).",
        decide: |s| outage::ask(s).map(|ask| Step::then_reobserve(vec![ask])),
    },
    Rule {
        id: "guard-fence",
        says: "Nothing proves any more that no other node can be promoted: stop PostgreSQL before one could be, immediate mode, then SIGKILL to every process.",
        decide: |s| (exposed(s)? >= limit(s.settings.ttl)).then(|| fence(s)),
    },
    Rule {
        id: "guard-in-doubt",
        says: "No proof in this round, and the last one still holds: try again at once.",
        decide: |_| Some(Step::wait("a proof that no other node can be promoted")),
    },
];

/// A monitor that was killed leaves commits held, and none may come after it.
fn end_hold(s: &Snapshot) -> Option<Step> {
    let tried = [
        ActionKind::TakeChangeLock,
        ActionKind::KeepLinks,
        ActionKind::Confirm,
        ActionKind::SetNames,
    ];
    let over = watch(s).held >= LEFT_OVER;
    if !over || tried.iter().any(|kind| s.progress.failure(*kind).is_some()) {
        return None;
    }
    let waits = standbys::waits_left_over(s)?;
    Some(Step::then_reobserve(standbys::taken_back(s, waits)))
}

/// How long after its last proof a primary is stopped. The rest of the lease is for stopping it and
/// for what two clocks may differ by in so short a time.
#[must_use]
pub fn limit(ttl: Duration) -> Duration {
    ttl.saturating_sub(margin(ttl))
}

/// The part of the lease in which a primary that is fenced has to be gone.
fn margin(ttl: Duration) -> Duration {
    (ttl / 4).clamp(Duration::from_millis(300), Duration::from_secs(5))
}

/// Whether what the guard last saw of PostgreSQL, over the connection that it keeps, may stand for what
/// a monitor cannot ask by itself because clients hold every connection. Without it a standby that is
/// lost just then would never be let go, and the clients that hold the connections wait for it.
///
/// `changed` is since this operation last told PostgreSQL to read its configuration: what was seen before that
/// would have it do the same again.
#[must_use]
pub fn stands_in(operation: &Operation, look: Look, changed: Option<Duration>) -> bool {
    let monitor = matches!(operation, Operation::Monitor { probe: false });
    let new = look.is_last() && look.age <= 2 * INTERVAL;
    monitor && new && changed.is_none_or(|changed| look.age < changed)
}

/// How often the lease is renewed: so often that two renewals may fail.
#[must_use]
pub fn interval(ttl: Duration) -> Duration {
    INTERVAL.min(ttl / 4)
}

/// How long this primary may still look for a proof; none when it needs none.
#[must_use]
pub fn time_for_proof(s: &Snapshot) -> Option<Duration> {
    Some(limit(s.settings.ttl).saturating_sub(exposed(s)?))
}

/// How long this action of a round may take; none where it proves nothing, and a parameter says how long.
#[must_use]
pub fn time_for(action: &Action, s: &Snapshot) -> Option<Duration> {
    Some(match action {
        Action::StopPostgres(_) => margin(s.settings.ttl),
        Action::ReportDeath => return None,
        Action::AskPromises(_) => last_patience(s),
        Action::AskStandbys(_) => standbys_patience(s),
        Action::WithdrawPromises(_) => WITHDRAWAL,
        _ => patience(s),
    })
}

/// How long one question for a proof may take: a third of the time that there is for one, so that
/// the others can be asked.
#[must_use]
pub fn patience(s: &Snapshot) -> Duration {
    share(s, Duration::ZERO, 3)
}

/// How long standbys may take to acknowledge WAL: a moment where they follow at all, and the question
/// for promises, for which a connection has to be made, needs the time more.
fn standbys_patience(s: &Snapshot) -> Duration {
    share(s, Duration::ZERO, 6)
}

/// How long the last question of a round may take, which is the one for promises: what is left, but
/// for the time in which the lease is asked for once more. The lock service may be back by then.
fn last_patience(s: &Snapshot) -> Duration {
    share(s, limit(s.settings.ttl) / 10, 1)
}

/// A guard that has stood still past its limit has a last look at everything. One that needs no proof
/// now may need one in the next round, which must not begin too late for it.
fn share(s: &Snapshot, reserved: Duration, parts: u32) -> Duration {
    let left = time_for_proof(s).unwrap_or_else(|| limit(s.settings.ttl));
    let share = left.saturating_sub(reserved) / parts;
    let least = match (watch(s).overslept, parts) {
        (false, _) => LEAST,
        (true, 6..) => LAST_LOOK / 4,
        (true, _) => LAST_LOOK,
    };
    share.clamp(least, LONGEST)
}

/// Whether PostgreSQL has outlived what was last handed over of it ([`Look::outlived`]): it did not answer this look,
/// and is at work. `process` is looked up only where that matters.
#[must_use]
pub fn outlives(answer: &Answer, process: impl FnOnce() -> Process) -> bool {
    matches!(answer, Answer::Refused(_)) && matches!(process(), Process::Alive { .. })
}

/// How long a guard pauses after a round: not at all where it `stood_still` since it last looked, since what it saw
/// then is of the past; otherwise until the next renewal is due, and not longer than a third
/// of the time that it has for another proof; a sixth where the lease was not renewed, so that there is
/// time for every other question once a standby ceases to follow.
#[must_use]
pub fn pause(s: &Snapshot, stood_still: bool) -> Duration {
    if stood_still {
        return Duration::ZERO;
    }
    let interval = interval(s.settings.ttl);
    let parts = if proven(s) { 3 } else { 6 };
    time_for_proof(s).map_or(interval, |left| {
        interval.min((left / parts).max(Duration::from_millis(50)))
    })
}

/// Whether the watchdog is fed at the end of this round: not while PostgreSQL is to be stopped and
/// processes of it survive, so that the machine is rebooted under them.
#[must_use]
pub fn feeds(s: &Snapshot) -> bool {
    s.progress.stops.is_empty() || s.process == Process::Absent
}

/// Whether the register's answer in this round proves that no other node can be granted the lease
/// before the one that this node was given runs out.
#[must_use]
pub fn proven(s: &Snapshot) -> bool {
    s.progress.renewed || ownership::damage(s).is_some()
}

static UNWATCHED: Watch = Watch {
    unrenewed: Duration::ZERO,
    links: std::collections::BTreeMap::new(),
    last: None,
    promised: false,
    safe: None,
    links_tried: false,
    held: Duration::ZERO,
    overslept: false,
    death: Death::None,
    absent: Duration::ZERO,
    pacemaker_gone: Duration::ZERO,
    pacemaker_timeout: Duration::ZERO,
};

fn watch(s: &Snapshot) -> &Watch {
    match &s.operation {
        Operation::Guard(watch) => watch,
        _ => &UNWATCHED,
    }
}

/// The term at which the lease is renewed: the one that this node reigns at, or a later one that the
/// register has given it (the node was interrupted while it promoted, and a monitor will adopt it).
fn term(s: &Snapshot) -> Option<u64> {
    let mine = s.reign().map(|reign| reign.term);
    let given = watch(s).last.as_ref().map(|row| row.term);
    mine.max(given)
}

/// The nodes that could be promoted if the lease ran out: in synchronous mode the other holders, and
/// the standbys that are named, which become holders; every other node where that is not known, and
/// in asynchronous mode, where R1 asks for no holder.
fn rivals(s: &Snapshot) -> BTreeSet<NodeName> {
    let others = || s.settings.nodes.iter().filter(|node| *node != s.me());
    let (Some(row), Answer::Primary(view)) = (known_row(s), &s.answer) else {
        return others().cloned().collect();
    };
    let named = |name: &String| links::named(s, name);
    // A name of which nobody knows whose it is, `*` among them, may be anybody's.
    let named: Option<Vec<NodeName>> = view.waits.names().iter().map(named).collect();
    let (Some(named), Mode::Sync) = (named, s.settings.mode) else {
        return others().cloned().collect();
    };
    let held = row.holders.iter().cloned().chain(named);
    held.filter(|node| node != s.me()).collect()
}

/// The row as last seen, where nothing has been written to it since: a monitor that changed the
/// holders has kept the later epoch in this node's memory.
fn known_row(s: &Snapshot) -> Option<&Register> {
    let row = watch(s).last.as_ref()?;
    let memory = s.memory.as_ref().ok()?;
    (row.epoch >= memory.epoch && row.term >= memory.term).then_some(row)
}

/// The age of the oldest of the links that prove it; none where one was never seen.
fn linked(s: &Snapshot) -> Option<Duration> {
    let ages = rivals(s)
        .into_iter()
        .map(|node| watch(s).links.get(&node).copied());
    ages.collect::<Option<Vec<Duration>>>()?.into_iter().max()
}

/// Whether every other node has promised at an epoch from which this node has asked for no change:
/// one whose reply was lost would end the promises unheard (R7).
fn promised(s: &Snapshot) -> bool {
    watch(s).promised && settled(s)
}

fn settled(s: &Snapshot) -> bool {
    s.memory.as_ref().is_ok_and(|memory| {
        !memory.unsettled_at(memory.epoch) && memory.withdrawn < Some(memory.epoch)
    })
}

/// Whether no other node can be promoted, lease or not, by what this node's memory says. It is the
/// owner that ends that, by a change that is in the memory before it is sent, and that begins a new
/// lease: so the time for another proof counts from when the memory was read.
#[must_use]
pub fn safe(s: &Snapshot) -> bool {
    settled(s) && (watch(s).promised || rivals(s).is_empty())
}

/// How long nothing has proven that no other node can be promoted; none where nothing needs to.
fn exposed(s: &Snapshot) -> Option<Duration> {
    if promised(s) || rivals(s).is_empty() {
        return None;
    }
    let proofs = [Some(watch(s).unrenewed), linked(s), watch(s).safe];
    proofs.into_iter().flatten().min()
}

fn fence(s: &Snapshot) -> Step {
    let rivals: Vec<String> = rivals(s).iter().map(ToString::to_string).collect();
    stop(
        s,
        format!(
            "for {} ms neither its lease nor a standby has proven that {} cannot be promoted: the lock \
             service does not renew the lease, and no such standby acknowledges WAL",
            exposed(s).unwrap_or_default().as_millis(),
            rivals.join(", "),
        ),
    )
}

fn stop(s: &Snapshot, why: String) -> Step {
    let reason = format!("PostgreSQL on {} is stopped: {why}", s.me());
    or_wait(match halt::next_stop(s, StopMode::Immediate) {
        Some(mode) => Step::then_reobserve(vec![Action::Warn(reason), Action::StopPostgres(mode)]),
        None => halt::not_stopped(s),
    })
}

/// A process that survives SIGKILL does not end the guard: it tries again, and no watchdog is fed.
fn or_wait(step: Step) -> Step {
    match step.verdict {
        crate::plan::Verdict::Finish(exit) => {
            let text = exit.reason.unwrap_or_default();
            Step::wait("processes that survive SIGKILL").after(vec![Action::Warn(text)])
        }
        _ => step,
    }
}

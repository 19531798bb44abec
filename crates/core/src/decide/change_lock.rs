//! Rule R12: one operation of a node at a time changes PostgreSQL's synchronous standbys or the
//! register's holders.
//!
//! Pacemaker gives a node one operation at a time, and yet two can be at work: one that hangs is left
//! behind by a Pacemaker that was killed, and goes on beside its successor; the guard and an operator's
//! commands are processes of their own. What one of them has looked at, another one may have changed.
//! So no table has to think of it: a plan of any table that changes something of that kind is given
//! only to an operation that holds the node's change lock since its last look. The others first take
//! it and look again.

use std::time::Duration;

use crate::decide::shared::{ending::show_and_end, outage, ownership, standbys};
use crate::ocf::OcfCode;
use crate::plan::{Action, ActionKind, Plan, Rule, Step};
use crate::register::Decided;
use crate::snapshot::{ChangeLock, Operation, Snapshot};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "change-lock-take",
        says: "Something of the synchronous standbys or the holders is to change, and the node's change lock is not held: take it, within a third of the time that is left (R12).",
        decide: |s| {
            (s.progress.change_lock == ChangeLock::NotTaken)
                .then(|| Step::then_continue(vec![Action::TakeChangeLock(patience(s))]))
        },
    },
    Rule {
        id: "change-lock-look-again",
        says: "Another operation of this node has had the lock since this one looked: look at everything again.",
        decide: |s| {
            (s.progress.change_lock == ChangeLock::Taken).then(|| match s.operation {
                // Its next round looks at everything.
                Operation::Guard(_) => Step::wait("another look"),
                _ => Step::then_reobserve(vec![]),
            })
        },
    },
    Rule {
        id: "change-lock-busy",
        says: "Another operation of this node has the lock: nothing is changed. Monitors and notifications succeed, the guard looks for another proof, other operations fail and are tried again.",
        decide: |s| match &s.progress.change_lock {
            ChangeLock::Busy(why) => Some(unchanged(s, why)),
            _ => None,
        },
    },
    Rule {
        id: "change-lock-moved",
        says: "The register has moved between the decision and its effect: nothing is changed.",
        decide: |s| {
            let moved = s.progress.failure(ActionKind::Confirm)?;
            Some(unchanged(s, &moved.text))
        },
    },
];

/// The plan, if it may be carried out; otherwise what comes before it.
pub(super) fn one_at_a_time(plan: Plan, s: &Snapshot, dropped: &[&str]) -> Plan {
    let changes = plan.actions.iter().any(Action::needs_change_lock);
    if !changes || !s.settings.mode.replicated() {
        return plan;
    }
    let rules = RULES.iter().filter(|rule| !dropped.contains(&rule.id));
    for rule in rules {
        if let Some(step) = (rule.decide)(s) {
            return Plan {
                rule: rule.id,
                actions: step.actions,
                verdict: step.verdict,
            };
        }
    }
    confirmed(plan, s)
}

/// How long an operation waits for the lock: a third of its time, so that there is time to change
/// something after that. The guard does not wait: it has a lease to renew.
fn patience(s: &Snapshot) -> Duration {
    match s.operation {
        Operation::Guard(_) => Duration::ZERO,
        _ => s.left / 3,
    }
}

/// What changes the names, or the file that says them, is no statement of the register's, whose conditions are
/// checked with it: it is looked at right before.
fn confirmed(plan: Plan, s: &Snapshot) -> Plan {
    let Some(decided) = decided(s) else {
        return plan;
    };
    let names = |action: &Action| matches!(action, Action::SetNames(_) | Action::WriteNames(_));
    let Some(place) = plan.actions.iter().position(names) else {
        return plan;
    };
    let mut plan = plan;
    plan.actions.insert(place, Action::Confirm(decided));
    plan
}

/// What the names of this snapshot are decided from; none without the built-in lock service.
fn decided(s: &Snapshot) -> Option<Decided> {
    if !s.builtin() {
        return None;
    }
    match ownership::mine(s) {
        Some(row) => Some(Decided {
            term: row.term,
            epoch: row.epoch,
            by_memory: s.progress.promises.is_some(),
        }),
        None => {
            let known = outage::promised(s) || standbys::holder_before(s).is_some();
            let memory = s.memory.as_ref().ok().filter(|_| known)?;
            Some(Decided {
                term: memory.term,
                epoch: memory.epoch,
                by_memory: true,
            })
        }
    }
}

/// The end of an operation that may change nothing now.
fn unchanged(s: &Snapshot, why: &str) -> Step {
    match &s.operation {
        Operation::Monitor { .. } | Operation::Notify(_) => {
            show_and_end(s, format!("nothing is changed: {why}"))
        }
        Operation::Attend => Step::wait("another operation of this node"),
        Operation::Guard(_) => Step::wait("the end of another operation of this node"),
        Operation::Start | Operation::Stop | Operation::Promote | Operation::Demote { .. } => {
            Step::fail(OcfCode::Generic, why)
        }
    }
}

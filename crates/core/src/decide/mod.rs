//! The decisions: tables of rules, one per operation, first match wins.
//!
//! [`decide`] is the only way in. It is total and pure: the same snapshot always gets the same plan.

mod admission;
mod answer;
mod at_work;
mod attend;
mod change_lock;
mod demote;
mod family;
pub mod guard;
mod monitor;
mod notify;
pub mod operator;
mod primary;
mod promote;
mod running;
mod shared;
mod start;
mod stop;

use crate::ocf::OcfCode;
use crate::plan::{Exit, Plan, Rule, first_match};
use crate::snapshot::{Operation, Process, Snapshot};

pub use admission::{checks_parameters, guards, left_behind, without_account, without_replication};
pub use answer::{own_check_failed, unanswered};
pub use at_work::{at_work, may_be_at_work, stood_still};
pub use family::{all_of, any_of, family, is_home, is_home_by_path, is_named, may_be_named, runs};
pub use monitor::silent;
pub use running::{LockFile, Named, died, is_lock_of, left_over, may_run, named, running};
pub use shared::descent::{Descent, descent};
pub use shared::election::{Election, elect};
pub use shared::gate::{Gate, gate};
pub use shared::halt::{Escalation, time_to_stop};
pub use shared::links::{acknowledged, whose};
pub use shared::standbys::exchange_until;

/// Decides what comes next in the operation of this snapshot.
#[must_use]
pub fn decide(snapshot: &Snapshot) -> Plan {
    decide_without(snapshot, &[])
}

/// [`decide`] with the rules of these ids left out: what a test uses to see that their loss shows.
#[must_use]
pub fn decide_without(snapshot: &Snapshot, dropped: &[&str]) -> Plan {
    let tables: &[&'static [Rule]] = match &snapshot.operation {
        Operation::Start => &[start::RULES],
        Operation::Stop => &[stop::RULES],
        Operation::Monitor { probe: true } => &[monitor::PROBE],
        Operation::Monitor { probe: false } => &[monitor::RULES, guard::KEEPING, primary::RULES],
        Operation::Promote => &[promote::RULES],
        Operation::Demote { .. } => &[demote::RULES],
        Operation::Notify(_) => &[notify::RULES, guard::KEEPING, primary::RULES],
        Operation::Attend => &[attend::RULES],
        Operation::Guard(_) => &[guard::RULES],
    };
    change_lock::one_at_a_time(first_match(tables, snapshot, dropped), snapshot, dropped)
}

/// The answer when the time of an operation has passed: decided here, not by what happened to hang.
#[must_use]
pub fn on_deadline(snapshot: &Snapshot, awaited: &str) -> Exit {
    let overdue = |what: &str| {
        Exit::fail(
            OcfCode::Generic,
            format!(
                "{what} did not end in its time on {}; it was waiting for: {awaited}",
                snapshot.me()
            ),
        )
    };
    match &snapshot.operation {
        // The standby that was asked for is up; what is not shown yet, the next monitor shows.
        Operation::Start | Operation::Demote { .. } if snapshot.standby().is_some() => {
            Exit::of(OcfCode::Success)
        }
        Operation::Start => overdue("start"),
        Operation::Stop if snapshot.process == Process::Absent => Exit::of(OcfCode::Success),
        Operation::Stop => overdue("stop"),
        // A database that is alive is not restarted because a tool or the lock service was slow.
        Operation::Monitor { .. } if matches!(snapshot.process, Process::Alive { .. }) => {
            Exit::of(monitor::role_on_disk(snapshot))
        }
        Operation::Monitor { .. } => Exit::of(OcfCode::NotRunning),
        Operation::Promote => overdue("promote"),
        Operation::Demote { .. } => overdue("demote"),
        // Pacemaker ignores the result of a notification; what is missing, the next monitor does.
        Operation::Notify(_) => Exit::of(OcfCode::Success),
        // What is not said by then, the next monitor says.
        Operation::Attend => Exit::of(OcfCode::Success),
        // The guard has no deadline; each of its rounds is bounded by what it may still wait for.
        Operation::Guard(_) => Exit::of(OcfCode::Success),
    }
}

/// Every table with its name, for the reference that is generated from them.
#[must_use]
pub fn tables() -> Vec<(&'static str, &'static [Rule])> {
    vec![
        (
            "the change lock (before a plan of any table that changes synchronous standbys or holders)",
            change_lock::RULES,
        ),
        ("start", start::RULES),
        ("stop", stop::RULES),
        ("probe", monitor::PROBE),
        ("monitor", monitor::RULES),
        (
            "keeping the guard (monitor and notify, on a primary)",
            guard::KEEPING,
        ),
        ("primary (monitor and notify)", primary::RULES),
        ("promote", promote::RULES),
        ("demote", demote::RULES),
        ("notify", notify::RULES),
        ("attend (beside a standby, after its start)", attend::RULES),
        ("guard", guard::RULES),
    ]
}

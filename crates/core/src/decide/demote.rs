//! `demote`: a primary becomes a standby, or stays down when a stop follows.

use crate::decide::shared::attributes::show_standby;
use crate::decide::shared::kin::foreign;
use crate::decide::shared::launch::close_standby;
use crate::decide::shared::{give_back, halt, launch, outage};
use crate::ocf::OcfCode;
use crate::plan::{Action, ActionKind, Rule, Step, StopMode};
use crate::snapshot::{Answer, Operation, Snapshot};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "demote-standby-close",
        says: "It may have been opened for a promotion that failed: it acknowledges nothing by itself.",
        decide: close_standby,
    },
    Rule {
        id: "demote-standby-release",
        says: "PostgreSQL is a standby, so it acknowledges nothing: give back a lock that a failed promotion has left (R8).",
        decide: |s| s.standby().and_then(|_| halt::release(s)),
    },
    Rule {
        id: "demote-standby-show",
        says: "Show the standby and whether it may be promoted.",
        decide: |s| s.standby().and_then(|_| show_standby(s)),
    },
    Rule {
        id: "demote-done",
        says: "PostgreSQL is a standby: success.",
        decide: |s| s.standby().map(|_| Step::finish(OcfCode::Success)),
    },
    Rule {
        id: "demote-stop-primary",
        says: "PostgreSQL is not a standby: stop it, fast first, then immediate, then SIGKILL to every process.",
        decide: |s| {
            (!s.progress.started)
                .then(|| halt::stop_first(s, StopMode::Fast))
                .flatten()
        },
    },
    Rule {
        id: "demote-release",
        says: "PostgreSQL is proven stopped: release the lock; the holders stay (R8).",
        decide: |s| (!s.progress.started).then(|| halt::release(s)).flatten(),
    },
    Rule {
        id: "demote-withdraw",
        says: "PostgreSQL is proven stopped, other nodes may have promised, and no standby was let go by their promises: withdraw the question, so that one of them may be promoted (R7).",
        decide: |s| {
            (!s.progress.started)
                .then(|| outage::withdraw(s))
                .flatten()
                .map(|withdraw| Step::then_continue(vec![withdraw]))
        },
    },
    Rule {
        id: "demote-give-back",
        says: "PostgreSQL is proven stopped, this node was given the register, and nothing was opened with that: give the right back to those who held everything before (R14).",
        decide: |s| {
            (!s.progress.started)
                .then(|| give_back::give_back(s))
                .flatten()
        },
    },
    Rule {
        id: "demote-then-stop-show",
        says: "Pacemaker stops the instance next: show it as stopped.",
        decide: |s| stops_next(s).then(|| halt::show_stopped(s)).flatten(),
    },
    Rule {
        id: "demote-then-stop",
        says: "Pacemaker stops the instance next, so that no standby is started: success.",
        decide: |s| stops_next(s).then(|| Step::finish(OcfCode::Success)),
    },
    Rule {
        id: "demote-read-disk",
        says: "Which timelines the data are on is kept before they are started as a standby's (R13): read the disk, and the register.",
        decide: |s| {
            let asked = s.disk.is_some() || s.progress.failure(ActionKind::ReadDisk).is_some();
            (s.builtin() && !s.progress.started && !asked).then(|| {
                let mut actions = vec![Action::ReadDisk];
                if s.register.is_none() {
                    actions.push(Action::ReadRegister);
                }
                Step::then_continue(actions)
            })
        },
    },
    Rule {
        id: "demote-foreign-timeline",
        says: "They are not on the register's timelines: not started, with the command that mends it.",
        decide: |s| {
            foreign(s)
                .filter(|_| !s.progress.started)
                .map(|text| Step::fail(OcfCode::Generic, text))
        },
    },
    Rule {
        id: "demote-start-standby",
        says: "Start PostgreSQL again as a standby.",
        decide: launch::launch_standby,
    },
    Rule {
        id: "demote-start-failed",
        says: "PostgreSQL could not be started as a standby: an error.",
        decide: launch::failed_launch,
    },
    Rule {
        id: "demote-wait",
        says: "Wait until the standby answers.",
        decide: |s| match &s.answer {
            Answer::Primary(_) => Some(Step::fail(
                OcfCode::Generic,
                format!("PostgreSQL on {} came up as a primary after demote", s.me()),
            )),
            _ => Some(Step::wait("PostgreSQL to answer as a standby")),
        },
    },
];

fn stops_next(s: &Snapshot) -> bool {
    matches!(s.operation, Operation::Demote { then_stop: true })
}

//! `attend`: what a standby does for itself for a while after its start. Its own agent says how far it
//! has flushed, until the primary has made it a holder (R11). Nothing else is changed here.

use std::time::Duration;

use crate::decide::shared::incarnation;
use crate::ocf::OcfCode;
use crate::plan::{Action, Rule, Step};
use crate::snapshot::Process;

/// How long nothing more is said after a word of that time: as long as half of the time before it, within
/// these bounds.
fn pause(said: Duration) -> Duration {
    (said / 2).clamp(Duration::from_millis(300), Duration::from_secs(1))
}

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "attend-over",
        says: "PostgreSQL is gone or no standby any more: end.",
        decide: |s| {
            let alive = matches!(s.process, Process::Alive { .. });
            (!alive || s.primary().is_some()).then(|| Step::finish(OcfCode::Success))
        },
    },
    Rule {
        id: "attend-read",
        says: "Read the register, which says whether this standby is a holder.",
        decide: |s| {
            s.register
                .is_none()
                .then(|| Step::then_continue(vec![Action::ReadRegister]))
        },
    },
    Rule {
        id: "attend-holder",
        says: "This standby is a holder: end.",
        decide: |s| incarnation::is_holder(s).then(|| Step::finish(OcfCode::Success)),
    },
    Rule {
        id: "attend-say",
        says: "The primary may be waiting for it: say how far this standby has flushed, at first soon and then once in a second. Each word has Pacemaker make a new plan, and one that comes before the plan before has begun keeps everything from being done.",
        decide: |s| {
            let said = s.progress.said.as_ref();
            let due = said.is_none_or(|said| s.elapsed >= said.at + pause(said.at));
            due.then(|| incarnation::say(s)).flatten()
        },
    },
    Rule {
        id: "attend-wait",
        says: "Look again.",
        decide: |_| Some(Step::wait("the primary to make this standby a holder")),
    },
];

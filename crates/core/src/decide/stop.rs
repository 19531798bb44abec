//! `stop`: always ends, whatever is broken.

use crate::decide::{attributes, halt};
use crate::ocf::OcfCode;
use crate::plan::{Attribute, Rule, Step, StopMode};
use crate::snapshot::Snapshot;
use crate::status::PgsqlStatus;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "stop-running",
        says: "PostgreSQL or one of its processes is there: stop it, fast first, then immediate, then SIGKILL to every process. What survives SIGKILL is an error, and the lock stays (R8).",
        decide: |s| halt::stop_or(s, StopMode::Fast, not_stopped),
    },
    Rule {
        id: "stop-release",
        says: "PostgreSQL is proven stopped and this node owns the lock: release it; the holders stay (R8).",
        decide: halt::release,
    },
    Rule {
        id: "stop-show",
        says: "Show the node as stopped, where Pacemaker's tools answer.",
        decide: show_stopped,
    },
    Rule {
        id: "stop-done",
        says: "Nothing of PostgreSQL runs: success.",
        decide: |_| Some(Step::finish(OcfCode::Success)),
    },
];

pub(super) fn show_stopped(s: &Snapshot) -> Option<Step> {
    if !s.settings.mode.replicated() {
        return None;
    }
    let actions = attributes::needed(
        s,
        vec![(s.me().clone(), Attribute::Status(PgsqlStatus::Stop))],
    );
    (!actions.is_empty()).then(|| Step::then_continue(actions))
}

pub(super) fn not_stopped(s: &Snapshot) -> Step {
    Step::fail(
        OcfCode::Generic,
        format!(
            "reboot {}: processes of PostgreSQL survive SIGKILL there, so the lock is kept; look for processes in \
             uninterruptible sleep (ps -eo pid,stat,wchan,cmd | grep postgres)",
            s.me()
        ),
    )
}

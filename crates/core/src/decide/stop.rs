//! `stop`: always ends, whatever is broken.

use crate::decide::{attributes, halt};
use crate::ocf::OcfCode;
use crate::plan::{Attribute, Rule, Step, StopMode};
use crate::snapshot::Snapshot;
use crate::status::{PgsqlStatus, Score};

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
        says: "Show the node as stopped, and a standby as not to be promoted, where Pacemaker's tools answer.",
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
    let mut wanted = vec![(s.me().clone(), Attribute::Status(PgsqlStatus::Stop))];
    // A score draws the instance of a running node here (Pacemaker numbers instances by scores, with
    // a stickiness of 1 against it), again and again, and no transition comes to its promotion. The
    // start opens the gate again. A primary that is restarted keeps its own: it is promoted at once.
    let score = s.cluster_or_empty().node(s.me()).score;
    if matches!(score, Some(Score::MayPromote | Score::LastResort)) {
        wanted.push((s.me().clone(), Attribute::Score(Score::MayNot)));
    }
    let actions = attributes::needed(s, wanted);
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

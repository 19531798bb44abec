//! `stop`: always ends, whatever is broken.

use crate::decide::shared::{give_back, halt, outage};
use crate::ocf::OcfCode;
use crate::plan::{Rule, Step, StopMode};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "stop-running",
        says: "PostgreSQL or one of its processes is there: stop it, fast first, then immediate, then SIGKILL to every process. What survives SIGKILL is an error, and the lock stays (R8).",
        decide: |s| halt::stop_first(s, StopMode::Fast),
    },
    Rule {
        id: "stop-release",
        says: "PostgreSQL is proven stopped and this node owns the lock: release it; the holders stay (R8).",
        decide: halt::release,
    },
    Rule {
        id: "stop-withdraw",
        says: "PostgreSQL is proven stopped, other nodes may have promised, and no standby was let go by their promises: withdraw the question, so that none of them is barred while this node is away (R7).",
        decide: |s| outage::withdraw(s).map(|withdraw| Step::then_continue(vec![withdraw])),
    },
    Rule {
        id: "stop-give-back",
        says: "PostgreSQL is proven stopped, this node was given the register, and nothing was opened with that: give the right back to those who held everything before (R14).",
        decide: give_back::give_back,
    },
    Rule {
        id: "stop-show",
        says: "Show the node as stopped, and a standby as not to be promoted, where Pacemaker's tools answer.",
        decide: halt::show_stopped,
    },
    Rule {
        id: "stop-done",
        says: "Nothing of PostgreSQL runs: success.",
        decide: |_| Some(Step::finish(OcfCode::Success)),
    },
];

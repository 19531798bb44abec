//! What an operator's commands may do, and in which steps: repairing and rebuilding a standby, the
//! planned switch and its hand-over, the planned restart, a node out of service, the emergency election.
//!
//! The decisions are tables as those of the agent are: rows with a stable id, first match wins. A
//! refusal says what is not so and what to type; a plan is shown before it is performed.

mod copy;
mod hand_over;
mod hold;
mod noted;
mod out_of_service;
mod recovery;
mod restart;
mod switch;

use std::fmt;

pub use copy::{
    COPY_RULES, Copied, CopyFacts, CopyKind, CopyPlan, CopyRequest, CopyRule, CopyStep,
    CopyVerdict, Data, Fixed, Instance, Lead, Method, Moves, Need, OldData, OldPlaces, Outside,
    PLACE_RULES, PlaceFacts, ROOM_RULES, Room, Target, has_checkpoint, has_left, has_other_version,
    has_room, is_still_so, mapped, not_rewound, plan_copy, plan_moves, room, source_holds,
    source_is_promoted, started_meanwhile, still_missing,
};
pub use hand_over::{
    HAND_OVER_RULES, HandOverFacts, HandOverRule, HeldData, may_hand_over, plan_hand_over,
    plan_hand_over_by, serves_no_more,
};
pub use hold::{Hold, Promotable, kept_off};
pub use noted::{NotedProcess, may_still_run};
pub use out_of_service::{OUT_RULES, OutFacts, may_be_taken_out};
pub use recovery::{
    NodePosition, NotRegistered, RECOVERY_RULES, RecoveryFacts, RecoveryPlan, gives_way_at,
    may_still_serve, plan_recovery, registered, taken_over, to_give_way,
};
pub use restart::{Course, RESTART_RULES, RestartFacts, RestartInstance, plan_restart};
pub use switch::{SWITCH_RULES, SwitchFacts, SwitchPlan, SwitchRule, SwitchStandby, plan_switch};

/// What to do about a primary whose stop would wait for its archive.
const MEND_ARCHIVE: &str = "mend archive_command (PostgreSQL's log says what is wrong with it), or give --force: writes then stand still until the stop's time is over and PostgreSQL is stopped at once";

/// One precondition of a command. Its texts are messages where they are in every language.
pub struct Precondition<Facts: 'static, Text: 'static = String> {
    /// A stable name.
    pub id: &'static str,
    /// What it asks for, in one sentence.
    pub says: &'static str,
    /// What is not so, and what to type.
    pub check: fn(&Facts) -> Option<(Text, Text)>,
}

/// # Errors
/// The first precondition that does not hold.
fn all_hold<Facts, Text>(
    rules: &[Precondition<Facts, Text>],
    facts: &Facts,
) -> Result<(), Refusal<Text>> {
    let broken = |rule: &Precondition<Facts, Text>| {
        let (what, hint) = (rule.check)(facts)?;
        Some(Refusal::new(rule.id, what, hint))
    };
    rules.iter().find_map(broken).map_or(Ok(()), Err)
}

/// Why a command does not begin. Nothing was changed.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal<Text = String> {
    /// The rule, for logs and tests.
    pub id: &'static str,
    /// What is not as it has to be.
    pub what: Text,
    /// What to type next.
    pub hint: Text,
}

impl<Text> Refusal<Text> {
    fn new(id: &'static str, what: impl Into<Text>, hint: impl Into<Text>) -> Self {
        Self {
            id,
            what: what.into(),
            hint: hint.into(),
        }
    }
}

impl<Text: fmt::Display> fmt::Display for Refusal<Text> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what.fmt(f)
    }
}

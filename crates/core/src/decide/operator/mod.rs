//! What an operator's commands may do, and in which steps: repairing and rebuilding a standby, the
//! planned switch and its hand-over, the planned restart, a node out of service, the emergency election.
//!
//! The decisions are tables as those of the agent are: rows with a stable id, first match wins. A
//! refusal says what is not so and what to type; a plan is shown before it is performed.

mod cleanup;
mod copy;
mod hand_over;
mod hold;
mod noted;
mod out_of_service;
mod recovery;
mod restart;
mod switch;

use std::fmt;

use crate::message;
use crate::message::Message;
use crate::names::NodeName;
use crate::register::NotTheOwner;

pub use cleanup::{Cleaned, FailedProbe, cleaned};
pub use copy::{
    COPY_RULES, Copied, CopyFacts, CopyKind, CopyPlan, CopyRequest, CopyRule, CopyStep,
    CopyVerdict, Data, Fixed, Instance, Lead, Method, Moves, Need, OldData, OldPlaces, Outside,
    PLACE_RULES, PlaceFacts, ROOM_RULES, Room, Target, has_checkpoint, has_left, has_other_version,
    has_room, is_still_so, mapped, may_be_used, not_rewound, plan_copy, plan_moves, room,
    started_meanwhile, still_missing,
};
pub use hand_over::{
    HAND_OVER_RULES, HAND_OVER_STEPS, HandOverFacts, HandOverRule, HandOverStep, HeldData,
    may_hand_over, plan_hand_over, plan_hand_over_by, serves_no_more,
};
pub use hold::{Hold, Promotable, kept_off};
pub use noted::{NotedProcess, began, may_still_run};
pub use out_of_service::{OUT_RULES, OutFacts, may_be_taken_out};
pub use recovery::{
    NodePosition, NotRegistered, RECOVERY_RULES, RecoveryFacts, RecoveryPlan, gives_way_at,
    may_still_serve, plan_recovery, plan_recovery_by, registered, taken_over, to_give_way,
};
pub use restart::{Course, RESTART_RULES, RestartFacts, RestartInstance, plan_restart};
pub use switch::{SWITCH_RULES, SwitchFacts, SwitchPlan, SwitchRule, SwitchStandby, plan_switch};

/// What to do about a primary whose stop would wait for its archive.
fn mend_archive() -> Message {
    message!(
        "mend archive_command (PostgreSQL's log says what is wrong with it), or give --force: writes then stand still until the stop's time is over and PostgreSQL is stopped at once"
    )
}

/// What is not so, and what to type.
pub type Broken = (Message, Message);

/// Why the register does not bear out that `primary` is promoted, and what is done about it; `doubt` says what it
/// means for the command where it names nobody else.
fn not_borne_out(
    why: &NotTheOwner,
    primary: &NodeName,
    doubt: impl FnOnce(Message) -> Message,
) -> Broken {
    let text = match why {
        NotTheOwner::Another { .. } => message!(
            "{primary} is promoted, and {why}",
            primary,
            why = why.what()
        ),
        _ => doubt(why.advised()),
    };
    (text, why.before_again())
}

/// One precondition of a command.
pub struct Precondition<Facts: 'static> {
    /// A stable name.
    pub id: &'static str,
    /// What it asks for, in one sentence.
    pub says: &'static str,
    /// What is not so, and what to type.
    pub check: fn(&Facts) -> Option<Broken>,
}

/// # Errors
/// The first precondition that does not hold.
fn all_hold<Facts>(rules: &[Precondition<Facts>], facts: &Facts) -> Result<(), Box<Refusal>> {
    let broken = |rule: &Precondition<Facts>| {
        let (what, hint) = (rule.check)(facts)?;
        Some(Box::new(Refusal::new(rule.id, what, hint)))
    };
    rules.iter().find_map(broken).map_or(Ok(()), Err)
}

/// Why a command does not begin. Nothing was changed.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The rule, for logs and tests.
    pub id: &'static str,
    /// What is not as it has to be.
    pub what: Message,
    /// What to type next.
    pub hint: Message,
}

impl Refusal {
    fn new(id: &'static str, what: impl Into<Message>, hint: impl Into<Message>) -> Self {
        Self {
            id,
            what: what.into(),
            hint: hint.into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what.fmt(f)
    }
}

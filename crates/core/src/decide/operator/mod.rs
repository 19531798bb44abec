//! What an operator's commands may do, and in which steps: repairing and rebuilding a standby, the
//! planned switch and its hand-over, the planned restart, a node out of service, the emergency election.
//!
//! The decisions are tables as those of the agent are: rows with a stable id, first match wins. A
//! refusal says what is not so and what to type; a plan is shown before it is performed.

mod cleanup;
mod copy;
mod hand_over;
mod hold;
mod manage;
mod noted;
mod out_of_service;
mod recovery;
mod refusal;
mod restart;
mod switch;

pub use cleanup::{Cleaned, FailedAnew, cleaned};
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
pub use manage::{
    DOUBTS, Doubt, KNOWN_RULES, LOOKED_RULES, MANAGE_RULES, ManageFacts, NotYet, is_to_look_again,
    may_be_managed, not_known, not_looked_at, under_way,
};
pub use noted::{NotedProcess, began, may_still_run};
pub use out_of_service::{OUT_RULES, OutFacts, may_be_taken_out};
pub use recovery::{
    NodePosition, NotRegistered, RECOVERY_RULES, RecoveryFacts, RecoveryPlan, gives_way_at,
    may_still_serve, plan_recovery, plan_recovery_by, registered, taken_over, to_give_way,
};
pub use restart::{Course, RESTART_RULES, RestartFacts, RestartInstance, plan_restart};

pub use refusal::{Broken, Precondition, Refusal};
use refusal::{all_hold, mend_archive, not_borne_out, unread};
pub use switch::{SWITCH_RULES, SwitchFacts, SwitchPlan, SwitchRule, SwitchStandby, plan_switch};

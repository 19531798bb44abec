//! The lock service's row, the changes that may be made to it, and what an answer means.
//!
//! One row per cluster, in a PostgreSQL outside of it, says who may be primary (`owner`, `term` and
//! a lease) and who holds every acknowledged commit (`holders`). A mutex alone cannot protect data:
//! it says who holds the lock, not who holds the data. Every change is one conditional `UPDATE`
//! whose row count is the verdict; [`Update::apply`] is its pure meaning, which `pha-host` writes
//! as SQL and a test against a real server proves equal.
//!
//! Nothing is folded together: "no row changed", "the row is gone or makes no sense" and "no answer
//! came" are three outcomes, and so are the verdicts made of them.

mod asked;
mod decided;
mod memory;
mod noted;
mod promise;
mod promotion;
mod reading;
mod remake;
mod row;
mod seen;
mod update;
mod verdict;
mod wire;

pub use asked::{Asked, Reached, answer};
pub use decided::Decided;
pub use memory::{DataEnd, Memory, NotRelied, PromiseRefused, Reign, Restart};
pub use noted::{PromisedAt, asked_at};
pub use promise::{
    GaveWay, GivingWay, PromiseVerdict, Promises, RelayStep, all_promised, give_way, may_promise,
    relay_reply, relay_step, tally,
};
pub use promotion::{
    Eligibility, Own, PROMOTION_RULES, PromotionCase, PromotionRule, may_promote, may_promote_by,
};
pub use remake::{MADE_AGAIN, Remake};
pub use row::{NotBelieved, RawRow, RowError};
pub use seen::{Seen, SeenError};
pub use update::{Condition, Update, UpdateKind};
pub use verdict::{
    Aftermath, NotTheOwner, Ownership, Sent, after_lost_reply, believed, judge_owner,
    names_primary, out_of_step, reply_by, went_back,
};
pub use wire::{
    AnswerError, ClusterId, PromiseAnswer, PromiseAsk, PromiseRequest, Wanted, Withdrawal,
};

pub use reading::{
    Damage, HIGHEST, LEAP, NoRow, Number, Reading, Register, Reply, TOLD, Trouble, leaps,
};

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

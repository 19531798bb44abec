//! What a reading or a reply means for the node that asked.

use std::fmt;
use std::time::Duration;

use super::reading::leaps;
use super::{Damage, Memory, NoRow, Number, Reading, Register, Reply, Seen, Trouble, Update};
use crate::message;
use crate::message::Message;
use crate::names::NodeName;

/// Whether a running primary is still the owner (R5).
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    /// This node is the owner at its own term.
    Mine(Register),
    /// This node is the owner at a term that its memory does not have: it was interrupted while it
    /// promoted, and adopts the term.
    Adopt(Register),
    /// No primary was ever registered (term 0), and this node has never seen another term: a primary
    /// that already runs, taken over from an agent without a register, may claim it (R0).
    NeverElected(Register),
    /// Another node is the owner, or nobody at a later term: PostgreSQL stops at once (R5).
    Superseded(Register),
    /// Nothing is promoted or degraded; a running synchronous primary goes on; the operator is told.
    Damage {
        /// What is wrong.
        damage: Damage,
        /// The row, where there is one.
        row: Option<Register>,
    },
    /// Nothing is known.
    Unknown(Trouble),
}

/// Whether a change took effect whose reply was lost.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aftermath {
    /// The row shows the change.
    TookEffect,
    /// The row does not show the change, and its condition cannot hold any more: a delayed request
    /// that still lies in the server's socket comes to nothing.
    DidNot,
    /// The row does not show it, but the request may still be on its way; send it again (every
    /// change is conditional, so twice is not more than once), or read again.
    Undecided,
}

/// Damage: the term is no continuation of the one that this node has durably seen.
pub(super) fn term_out_of_step(register: &Register, memory: &Memory) -> Option<Damage> {
    out_of_step_by(Number::Term, register.term, memory.term)
}

/// Damage: the epoch is no continuation of the one that this node has durably seen.
pub(super) fn epoch_out_of_step(register: &Register, memory: &Memory) -> Option<Damage> {
    out_of_step_by(Number::Epoch, register.epoch, memory.epoch)
}

fn out_of_step_by(number: Number, says: u64, seen: u64) -> Option<Damage> {
    (says < seen || leaps(says, seen)).then_some(Damage::OutOfStep { number, says, seen })
}

/// How a row shows that it does not continue what this node has durably seen: its term or its epoch
/// is lower (it was put back), or impossibly far beyond it.
#[must_use]
pub fn out_of_step(register: &Register, memory: &Memory) -> Option<Damage> {
    term_out_of_step(register, memory).or_else(|| epoch_out_of_step(register, memory))
}

/// [`out_of_step`] for one who looks on: by what a node remembers, where that is known, and by what the
/// cluster was told ([`Memory::told`]).
#[must_use]
pub fn went_back(
    register: &Register,
    memory: Option<&Memory>,
    told: Option<Seen>,
) -> Option<Damage> {
    // Without a memory there is nothing that the row could be too far ahead of.
    let itself = Memory {
        term: register.term,
        epoch: register.epoch,
        ..Memory::default()
    };
    out_of_step(register, &memory.copied().unwrap_or(itself).told(told))
}

/// The row, where there is one and it continues what was seen of it ([`went_back`]).
///
/// # Errors
/// Why there is none to believe.
pub fn believed<'r>(
    reading: &'r Reading,
    memory: Option<&Memory>,
    told: Option<Seen>,
) -> Result<&'r Register, NoRow> {
    let row = reading.row()?;
    went_back(row, memory, told).map_or(Ok(row), |damage| Err(NoRow::Damage(damage)))
}

/// Why the register does not say that the node which runs as primary is the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotTheOwner {
    /// There is no row to believe.
    NoRow(NoRow),
    /// No primary was ever registered (term 0).
    NeverElected,
    /// Another node is, or nobody.
    Another {
        /// Which one.
        owner: Option<NodeName>,
        /// Since which term.
        term: u64,
    },
}

impl NotTheOwner {
    /// What an operator does about it whose command has not begun.
    #[must_use]
    pub fn before_again(&self) -> Message {
        match self {
            Self::NoRow(no_row) => no_row.before_again(),
            Self::NeverElected => message!("wait for the primary's next monitor, then try again"),
            Self::Another { .. } => {
                message!("look at it with cls_status and distlock show, then try again")
            }
        }
    }

    /// What is so, and what is to be done about it.
    #[must_use]
    pub fn advised(&self) -> Message {
        match self {
            Self::NoRow(no_row) => no_row.advised(),
            Self::NeverElected | Self::Another { .. } => self.what(),
        }
    }
}

impl NotTheOwner {
    /// What is so, without what is to be done about it.
    #[must_use]
    pub fn what(&self) -> Message {
        match self {
            Self::NoRow(no_row) => no_row.what(),
            Self::NeverElected => message!("no primary is registered yet"),
            Self::Another { owner, term } => {
                let owner = owner.as_ref();
                let owner = owner.map_or_else(|| message!("nobody"), Message::from);
                message!(
                    "the register's owner is {owner} at term {term}",
                    owner,
                    term
                )
            }
        }
    }
}

impl fmt::Display for NotTheOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.advised().fmt(f)
    }
}

/// The register, where it can be believed and names the node that runs as primary as its owner: what a
/// command that stops, restarts or copies from that node relies on.
///
/// # Errors
/// [`NotTheOwner`].
pub fn names_primary<'r>(
    reading: &'r Reading,
    memory: Option<&Memory>,
    told: Option<Seen>,
    primary: &NodeName,
) -> Result<&'r Register, NotTheOwner> {
    let row = believed(reading, memory, told).map_err(NotTheOwner::NoRow)?;
    if row.is_owned_by(primary) {
        Ok(row)
    } else if row.term == 0 {
        Err(NotTheOwner::NeverElected)
    } else {
        Err(NotTheOwner::Another {
            owner: row.owner.clone(),
            term: row.term,
        })
    }
}

/// Decides whether `me`, promoted at `my_term`, is still the owner.
pub fn judge_owner(reading: &Reading, me: &NodeName, my_term: u64, memory: &Memory) -> Ownership {
    let row = match reading.row() {
        Ok(row) => row.clone(),
        Err(NoRow::Damage(damage)) => return Ownership::Damage { damage, row: None },
        Err(NoRow::Unknown(trouble)) => return Ownership::Unknown(trouble),
    };
    if let Some(damage) = out_of_step(&row, memory) {
        let row = Some(row);
        return Ownership::Damage { damage, row };
    }
    if row.is_owned_at(me, my_term) {
        Ownership::Mine(row)
    } else if row.term == 0 {
        Ownership::NeverElected(row)
    } else if row.is_owned_by(me) {
        Ownership::Adopt(row)
    } else {
        Ownership::Superseded(row)
    }
}

/// Decides whether `update` took effect, whose reply was lost, from a reading made after it on a
/// new connection.
pub fn after_lost_reply(update: &Update, reading: &Reading) -> Aftermath {
    let Reading::Row(row) = reading else {
        return Aftermath::Undecided;
    };
    if shows(update, row) {
        return Aftermath::TookEffect;
    }
    // Terms and epochs only rise, so a condition that has become false by them stays false. A lease
    // does not: a request that waits for it may still come to its time.
    let cannot_apply_any_more = update
        .apply(&Register {
            lease_left: Duration::ZERO,
            ..row.clone()
        })
        .is_none();
    if cannot_apply_any_more {
        Aftermath::DidNot
    } else {
        Aftermath::Undecided
    }
}

/// What is known of a change of which the server has not said what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Its reply was lost.
    Unanswered,
    /// No row met its condition.
    Refused {
        /// It had been sent before, and that reply was lost: it may be the change itself that its condition does
        /// not hold any more.
        again: bool,
    },
}

/// The reply to such a change, by a reading made after it on a new connection; none where it is to be sent again.
#[must_use]
pub fn reply_by(update: &Update, sent: Sent, reading: Reading) -> Option<Reply> {
    let aftermath = after_lost_reply(update, &reading);
    Some(match reading {
        Reading::Row(row) => match (sent, aftermath) {
            (Sent::Unanswered | Sent::Refused { again: true }, Aftermath::TookEffect) => {
                Reply::Applied(row)
            }
            (Sent::Unanswered, Aftermath::Undecided) => return None,
            (Sent::Unanswered, Aftermath::DidNot) | (Sent::Refused { .. }, _) => {
                Reply::NotApplied(row)
            }
        },
        Reading::Missing => Reply::Missing,
        Reading::Damaged(damage) => Reply::Damaged(damage),
        Reading::Unknown(trouble) => Reply::Unknown(trouble),
    })
}

/// Whether the row can only look like this if the change was made.
fn shows(update: &Update, row: &Register) -> bool {
    match update {
        Update::FirstPrimary { node, .. } => row.is_owned_at(node, 1),
        Update::Promote {
            node,
            from_term,
            from_epoch,
            ..
        } => row.is_owned_at(node, from_term + 1) && row.epoch > *from_epoch,
        // A renewal cannot be told from the one before it; it is sent again instead.
        Update::Renew { .. } => false,
        Update::SetHolders {
            node,
            term,
            from_epoch,
            holders,
            ..
        } => {
            // A node may have left in between, which removes it and leaves the epoch (R6).
            row.is_owned_at(node, *term)
                && row.epoch == from_epoch + 1
                && row.holders.is_subset(holders)
        }
        Update::NameTimelines {
            node,
            term,
            lineage,
        } => {
            row.is_owned_at(node, *term)
                && row.timelines.term == *term
                && row.timelines.lineage == *lineage
        }
        Update::Release { node, term } => row.is_owned_at(node, *term) && row.ttl.is_zero(),
        Update::Leave { node } => !row.holders.contains(node) && !row.may_be_given_back_to(node),
        Update::GiveBack {
            term, from_epoch, ..
        } => row.term == term + 1 && row.epoch == from_epoch + 1 && row.owner.is_none(),
        Update::Override {
            from_term,
            from_epoch,
            above_term,
            above_epoch,
            owner,
            holders,
            ..
        } => {
            row.term == from_term.max(above_term) + 1
                && row.epoch == from_epoch.max(above_epoch) + 1
                && row.owner == *owner
                && row.holders.is_subset(holders)
        }
        Update::HandOver {
            node,
            term,
            from_epoch,
            successor,
            ..
        } => {
            let handed_over = row.is_owned_at(node, *term)
                && row.epoch == from_epoch + 1
                && row.holders.contains(successor)
                && row.ttl.is_zero();
            handed_over || row.is_owned_at(successor, term + 1)
        }
    }
}

//! What a node has durably seen of the register, and what it has promised (R7).

use serde::{Deserialize, Serialize};

use super::{HIGHEST, Register, Seen, TOLD, Update, leaps};
use crate::names::NodeName;
use crate::timeline::TimelineId;

/// What this node keeps on its own disk about the register.
///
/// The highest term and epoch seen tell a restored backup of the lock service (lower than seen:
/// damage) from the real one; the promise keeps this node from promoting while a primary that
/// cannot reach the lock service commits alone.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// The highest term seen.
    pub term: u64,
    /// The highest epoch seen.
    pub epoch: u64,
    /// The epoch at which this node has promised not to promote; void once the epoch has moved.
    pub promised: Option<u64>,
    /// The epoch from which this node last asked for a change that makes another node a holder, or
    /// itself the owner. It is written before the change is sent: a change whose reply was lost may
    /// be made at any later time, as long as the epoch has not moved, and this node need not hear of
    /// it. Until then this node gives no promise at that epoch and relies on none (R7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<u64>,
    /// The epoch at which this node, as the primary, last asked the others to promise. They keep to
    /// it until the epoch moves, also where it was not needed in the end: then this node moves it
    /// (R7). Written before the question is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relied: Option<u64>,
    /// The last promotion that this node completed. It is written after PostgreSQL has become the
    /// primary, so that a promotion interrupted between the register and PostgreSQL is not taken
    /// for the service of a whole term (R2).
    #[serde(default)]
    pub reign: Option<Reign>,
    /// There is no memory on this node's disk: it is a new node, or what it kept was lost, a promise
    /// with it (R7). It never lies on the disk itself.
    #[serde(skip)]
    pub forgotten: bool,
}

/// A promotion that was completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reign {
    /// The register's term.
    pub term: u64,
    /// The timeline that PostgreSQL wrote.
    pub timeline: TimelineId,
}

/// Why a promise was not given (R7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PromiseRefused {
    /// The register has moved on since the primary has seen it.
    #[error(
        "no promise for epoch {asked}: this node has seen epoch {seen}, so the register has moved on; read it again"
    )]
    EpochMoved {
        /// The epoch for which a promise was asked.
        asked: u64,
        /// The highest epoch that this node has seen or promised for.
        seen: u64,
    },
    /// Another primary has been registered since.
    #[error(
        "no promise at term {asked}: this node has seen term {seen}, so the primary that asks has been replaced"
    )]
    TermMoved {
        /// The term of the primary that asks.
        asked: u64,
        /// The highest term that this node has seen.
        seen: u64,
    },
    /// What the primary says is impossibly far beyond what this node has seen.
    #[error(
        "no promise for {what} {asked}: this node has seen {what} {seen}, and more than 1,048,576 (2^20) at once is damage, which is not kept; see the row's past with `distlock <conninfo> history <table:lockname>`"
    )]
    Leap {
        /// "term" or "epoch".
        what: &'static str,
        /// What was asked for.
        asked: u64,
        /// The highest that this node has seen or promised for.
        seen: u64,
    },
    /// What this node had promised or asked for was lost with its memory.
    #[error(
        "no promise: this node has no memory of the register, in which it would keep it; its next start makes one"
    )]
    Forgotten,
    /// This node has itself asked to be the owner, and does not know what came of it.
    #[error(
        "no promise for epoch {epoch}: this node has asked to be promoted at that epoch, and whether it was is only known once the lock service answers"
    )]
    Unsettled {
        /// The epoch for which a promise was asked.
        epoch: u64,
    },
}

impl Memory {
    /// What a node knows that has no memory on its disk.
    #[must_use]
    pub fn none() -> Self {
        Self {
            forgotten: true,
            ..Self::default()
        }
    }

    /// The memory after having seen `register`. It never goes back, whatever the register says, and
    /// takes nothing over from a row that is impossibly far beyond it.
    #[must_use]
    pub fn seeing(&self, register: &Register) -> Self {
        if leaps(register.term, self.term) || leaps(register.epoch, self.epoch) {
            return *self;
        }
        Self {
            term: self.term.max(register.term),
            epoch: self.epoch.max(register.epoch),
            promised: self.promised.filter(|epoch| *epoch >= register.epoch),
            asked: self.asked.filter(|epoch| *epoch >= register.epoch),
            relied: self.relied.filter(|epoch| *epoch >= register.epoch),
            reign: self.reign,
            forgotten: self.forgotten,
        }
    }

    /// What a register is judged by: this memory, and what the whole cluster has seen, which may be
    /// later. A number that is impossibly far ahead is no work of this program and bars nobody; the
    /// primary writes the right one over it.
    #[must_use]
    pub fn told(&self, cluster: Option<Seen>) -> Self {
        let far = |says: u64, seen: u64| leaps(says, seen) || says.saturating_sub(seen) > TOLD;
        match cluster {
            Some(told) if !far(told.term, self.term) && !far(told.epoch, self.epoch) => Self {
                term: self.term.max(told.term),
                epoch: self.epoch.max(told.epoch),
                ..*self
            },
            _ => *self,
        }
    }

    /// [`Memory::seeing`] of the node `me` itself. One that has no memory and finds itself a holder
    /// beside another node's reign may have promised at this very epoch, or have asked for a promotion at
    /// it that may still be made (R7): it takes it that it has, until the epoch moves. One that is really
    /// new is no holder before that.
    #[must_use]
    pub fn seeing_as(&self, me: &NodeName, register: &Register) -> Self {
        let seen = self.seeing(register);
        if !self.forgotten || seen.epoch != register.epoch {
            return seen;
        }
        let bound = self.may_have_promised(me, register);
        Self {
            promised: bound.then_some(register.epoch),
            asked: bound.then_some(register.epoch),
            forgotten: false,
            ..seen
        }
    }

    /// Whether this node has no memory, and may have given a promise that holds in this register.
    #[must_use]
    pub fn may_have_promised(&self, me: &NodeName, register: &Register) -> bool {
        let bound = register.term > 0 && register.holders.contains(me);
        self.forgotten && bound && !register.is_owned_by(me)
    }

    /// The memory after promising not to promote at `epoch`, the one that the primary of `term` last
    /// saw.
    ///
    /// # Errors
    /// [`PromiseRefused`] when this node knows of a later term or epoch, so that the primary's view
    /// is out of date, or may have moved the register itself.
    pub fn promising(&self, term: u64, epoch: u64) -> Result<Self, PromiseRefused> {
        if self.forgotten {
            return Err(PromiseRefused::Forgotten);
        }
        let seen = self.epoch.max(self.promised.unwrap_or(0));
        for (what, asked, seen) in [("term", term, self.term), ("epoch", epoch, seen)] {
            if leaps(asked, seen) {
                return Err(PromiseRefused::Leap { what, asked, seen });
            }
        }
        if term < self.term {
            return Err(PromiseRefused::TermMoved {
                asked: term,
                seen: self.term,
            });
        }
        if epoch < seen {
            return Err(PromiseRefused::EpochMoved { asked: epoch, seen });
        }
        if self.unsettled_at(epoch) {
            return Err(PromiseRefused::Unsettled { epoch });
        }
        Ok(Self {
            term,
            epoch,
            promised: Some(epoch),
            asked: None,
            relied: None,
            reign: self.reign,
            forgotten: false,
        })
    }

    /// The memory that has to be on the disk before `update` is sent.
    #[must_use]
    pub fn asking(&self, update: &Update) -> Self {
        let from = match update {
            Update::Promote { from_epoch, .. } | Update::HandOver { from_epoch, .. } => from_epoch,
            // One that leaves the owner alone makes nobody else's data count.
            Update::SetHolders {
                node,
                from_epoch,
                holders,
                ..
            } if holders.iter().any(|holder| holder != node) => from_epoch,
            _ => return *self,
        };
        Self {
            asked: self.asked.max(Some(*from)),
            ..*self
        }
    }

    /// The memory that has to be kept before the other nodes are asked to promise at `epoch`.
    #[must_use]
    pub fn relying(&self, epoch: u64) -> Self {
        Self {
            relied: self.relied.max(Some(epoch)),
            ..*self
        }
    }

    /// Whether a change that this node asked for from `epoch` may still be made without its knowing.
    #[must_use]
    pub fn unsettled_at(&self, epoch: u64) -> bool {
        self.asked.is_some_and(|asked| asked >= epoch)
    }

    /// What two memories of the same node amount to together: the later of everything. A process
    /// that read the memory, worked and writes it back must not undo a promise given meanwhile.
    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        let epoch = self.epoch.max(other.epoch);
        Self {
            term: self.term.max(other.term),
            epoch,
            promised: self
                .promised
                .max(other.promised)
                .filter(|promised| *promised >= epoch),
            asked: self.asked.max(other.asked).filter(|asked| *asked >= epoch),
            relied: self.relied.max(other.relied).filter(|at| *at >= epoch),
            reign: match (self.reign, other.reign) {
                (Some(mine), Some(theirs)) if theirs.term < mine.term => Some(mine),
                (mine, theirs) => theirs.or(mine),
            },
            forgotten: self.forgotten && other.forgotten,
        }
    }

    /// What is believed of a memory that was read from the disk. An earlier version kept whatever the
    /// row said, also numbers that no register can be raised beyond: they count as never seen, or no
    /// register could satisfy this node again.
    #[must_use]
    pub fn believed(self) -> Self {
        let at = |epoch: Option<u64>| epoch.filter(|epoch| *epoch <= HIGHEST);
        let reign = self.reign.filter(|reign| reign.term <= HIGHEST);
        Self {
            term: match self.term <= HIGHEST {
                true => self.term,
                false => reign.map_or(0, |reign| reign.term),
            },
            epoch: at(Some(self.epoch)).unwrap_or(0),
            promised: at(self.promised),
            asked: at(self.asked),
            relied: at(self.relied),
            reign,
            forgotten: self.forgotten,
        }
    }

    /// Whether this node has promised not to promote at `epoch`.
    #[must_use]
    pub fn has_promised(&self, epoch: u64) -> bool {
        self.promised == Some(epoch)
    }
}

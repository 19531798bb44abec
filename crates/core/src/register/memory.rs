//! What a node has durably seen of the register, and what it has promised (R7).

use serde::{Deserialize, Serialize};

use super::Register;
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
    /// The last promotion that this node completed. It is written after PostgreSQL has become the
    /// primary, so that a promotion interrupted between the register and PostgreSQL is not taken
    /// for the service of a whole term (R2).
    #[serde(default)]
    pub reign: Option<Reign>,
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
#[error(
    "no promise for epoch {asked}: this node has seen epoch {seen}, so the register has moved on; read it again"
)]
pub struct PromiseRefused {
    /// The epoch for which a promise was asked.
    pub asked: u64,
    /// The highest epoch that this node has seen or promised for.
    pub seen: u64,
}

impl Memory {
    /// The memory after having seen `register`. It never goes back, whatever the register says.
    #[must_use]
    pub fn seeing(&self, register: &Register) -> Self {
        Self {
            term: self.term.max(register.term),
            epoch: self.epoch.max(register.epoch),
            promised: self.promised.filter(|epoch| *epoch >= register.epoch),
            reign: self.reign,
        }
    }

    /// The memory after promising not to promote at `epoch`, the one that the primary last saw.
    ///
    /// # Errors
    /// [`PromiseRefused`] when this node knows of a later epoch: the primary's view is out of date.
    pub fn promising(&self, epoch: u64) -> Result<Self, PromiseRefused> {
        let seen = self.epoch.max(self.promised.unwrap_or(0));
        if epoch < seen {
            return Err(PromiseRefused { asked: epoch, seen });
        }
        Ok(Self {
            term: self.term,
            epoch,
            promised: Some(epoch),
            reign: self.reign,
        })
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
            reign: match (self.reign, other.reign) {
                (Some(mine), Some(theirs)) if theirs.term < mine.term => Some(mine),
                (mine, theirs) => theirs.or(mine),
            },
        }
    }

    /// Whether this node has promised not to promote at `epoch`.
    #[must_use]
    pub fn has_promised(&self, epoch: u64) -> bool {
        self.promised == Some(epoch)
    }
}

//! The lock database is put back to what it was before: from a backup, or because it was replaced by a
//! copy of its own that was behind.
//!
//! Terms and epochs are kept as they are here, and not relative to the register's, since a row that is put
//! back is older than what somebody has seen. So their number is bounded.
//!
//! Two things are taken for granted. A database is put back in longer than one operation of the agent
//! takes, so that none is in flight then: what an operation has read before is not what it changes after.
//! And every node sees the cluster's information base as it is: one that was cut off from it and from the
//! lock service since before an epoch moved can know nothing of it.

use pha_core::register::Seen;

use crate::model::{Explored, Move};
use crate::state::{EPOCH, Lease, Row, State, TERM};

/// The register's term and epoch as they are, and what was kept of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Counted {
    /// The register's.
    pub(crate) now: Seen,
    /// What a primary has told the cluster.
    pub(crate) told: Seen,
    /// A copy of the lock database.
    backup: Option<(Row, Seen)>,
    /// It was put back, which happens once.
    restored: bool,
}

impl Counted {
    pub(crate) fn new() -> Self {
        let now = Seen {
            term: TERM,
            epoch: EPOCH,
        };
        Self {
            now,
            told: now,
            backup: None,
            restored: false,
        }
    }

    pub(crate) fn within(&self) -> bool {
        self.now.term <= TERM + 1 && self.now.epoch <= EPOCH + 3
    }
}

impl Explored {
    /// Whether it is explored what nodes remember of the register.
    pub(crate) fn remembers(&self) -> bool {
        self.outages || self.restores
    }

    pub(crate) fn restore_moves(&self, state: &State, moves: &mut Vec<Move>) {
        let Some(counted) = state.counted.as_ref().filter(|counted| !counted.restored) else {
            return;
        };
        match &counted.backup {
            None => moves.push(Move::BacksUp),
            Some((row, seen)) => {
                let idle = state.nodes.iter().all(|node| node.run.is_none());
                if idle && (*row, *seen) != (state.row, counted.now) {
                    moves.push(Move::Restores);
                }
            }
        }
    }

    pub(crate) fn backs_up(&self, state: &mut State) -> Option<()> {
        let row = Row {
            lease: Lease::RunOut,
            ..state.row
        };
        let counted = state.counted.as_mut()?;
        counted.backup = Some((row, counted.now));
        Some(())
    }

    pub(crate) fn restores(&self, state: &mut State) -> Option<()> {
        let counted = state.counted.as_mut()?;
        (state.row, counted.now) = counted.backup.take()?;
        counted.restored = true;
        for node in &mut state.nodes {
            node.kept = None;
        }
        Some(())
    }
}

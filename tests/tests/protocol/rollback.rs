//! R10: the data of a node that is down are put back to an older state.
//!
//! The adversary does what R10 promises to notice: it puts back to before what the primary last
//! recorded of the node. What was never recorded no rule can miss: a copy that is not older than the
//! last renewal, or one of a node that has become a holder since.
//!
//! The register records positions, which are numbers. What is checked is what they stand for.

use pha_core::register::Update;

use crate::model::{Explored, Move};
use crate::state::{Log, Postgres, State, index};

/// R10.
pub(crate) const RECORDED: &str = "a node that may promote has what the register records of it";

impl Explored {
    pub(crate) fn rollback_moves(&self, state: &State, i: usize, moves: &mut Vec<Move>) {
        let node = &state.nodes[i];
        if !self.rollbacks || node.postgres != Postgres::Down || node.run.is_some() {
            return;
        }
        let former = state.row.former.map_or(0, |(_, positions)| positions[i]);
        let recorded = state.row.positions[i].max(former);
        let shorter =
            (0..node.log.len()).filter(|entries| node.log.first(*entries).end() < recorded);
        // What the guard has seen counts where PostgreSQL is restarted in place.
        let looks = if self.restarts {
            &[false, true][..]
        } else {
            &[false]
        };
        for entries in shorter {
            moves.extend(
                looks
                    .iter()
                    .map(|unseen| Move::PutBack(i, entries, *unseen)),
            );
        }
    }

    pub(crate) fn put_back(&self, state: &mut State, i: usize, entries: usize, unseen: bool) {
        let node = &mut state.nodes[i];
        node.unseen |= unseen;
        node.log = node.log.first(entries);
    }

    /// Follows what the register records after a change that this update has made.
    pub(crate) fn record(&self, state: &mut State, update: &Update) {
        if !self.rollbacks {
            return;
        }
        let writer = update.node().and_then(index);
        let known = writer.map_or(Log::default(), |writer| state.nodes[writer].log);
        for (i, node) in state.nodes.iter_mut().enumerate() {
            let recorded = known.first(usize::from(state.row.positions[i].saturating_sub(1)));
            if state.row.positions[i] == 0 {
                node.recorded = Log::default();
            } else if recorded.len() > node.recorded.len() {
                node.recorded = recorded;
            }
        }
    }
}

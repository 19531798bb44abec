//! R3 where nodes decide by quorum: a primary is cut off from two other nodes, and the lock service is in
//! reach of all. Pacemaker ends what runs in the part without quorum and starts nothing there, so one of the
//! others is to take over.

use crate::model::{Explored, Move};
use crate::state::{Kind, Postgres, State};

/// R3.
pub(crate) const STRANDED: &str =
    "while a primary is cut off from all others, one of them may be promoted";

impl Explored {
    pub(crate) fn quorum_moves(&self, state: &State, i: usize, moves: &mut Vec<Move>) {
        if state.cut == Some(i as u8) {
            moves.push(Move::Meets);
        } else if self.quorum && state.cut.is_none() && self.may_be_cut_off(state, i) {
            moves.push(Move::CutOff(i));
        }
    }

    /// Whether a primary's node may be cut off now. One that has been told that it has quorum, and is about
    /// to act on it, had lost its standbys before: that is a second fault.
    fn may_be_cut_off(&self, state: &State, i: usize) -> bool {
        let node = &state.nodes[i];
        let told = |asked: Option<bool>| asked == Some(true);
        let mut operations = node.operations();
        matches!(node.postgres, Postgres::Primary { .. })
            && self.is_served_without(state, i)
            && operations
                .all(|run| run.kind != Kind::Promote && !told(run.snapshot.progress.quorum))
    }

    /// Whether another node than this one may be promoted, once the lease has run out.
    fn is_served_without(&self, state: &State, i: usize) -> bool {
        (0..self.nodes).any(|j| j != i && self.may_promote(state, j))
    }

    pub(crate) fn nobody_is_stranded(&self, state: &State) -> bool {
        let cut = state.cut.map(usize::from);
        cut.is_none_or(|i| self.is_served_without(state, i))
    }
}

impl State {
    /// Whether one of two nodes is cut off from the other.
    pub(crate) fn apart(&self, i: usize, j: usize) -> bool {
        let cut = |node: usize| self.cut == Some(node as u8);
        cut(i) != cut(j)
    }
}

//! R3 where nodes decide by quorum: a primary is cut off from other nodes, alone or with one of its standbys,
//! and the lock service is in reach of all. Pacemaker ends what runs in the part without quorum and starts
//! nothing there, so one of the others is to take over. Without a register that is the standby that commits
//! waited for when the parts fell apart.

use pha_core::cluster::WithoutQuorum;

use crate::model::{Explored, Move};
use crate::mutation::Mutation;
use crate::state::{Kind, Postgres, State, members};
use crate::strangers;

/// R3.
pub(crate) const STRANDED: &str =
    "while a primary is cut off from others, one of them may be promoted";
/// R3.
pub(crate) const INHERITED: &str =
    "without a register, the standby that the other part promotes has every acknowledged commit";

impl Explored {
    pub(crate) fn without_quorum(&self) -> WithoutQuorum {
        match self.quorum {
            true => WithoutQuorum::Ends,
            false => WithoutQuorum::GoesOn,
        }
    }

    pub(crate) fn quorum_moves(&self, state: &State, i: usize, moves: &mut Vec<Move>) {
        if state.cut != 0 {
            moves.extend((members(state.cut).next() == Some(i)).then_some(Move::Meets));
            return;
        }
        if !self.quorum {
            return;
        }
        let with = (0..self.nodes).filter(|j| self.votes && *j != i);
        let parts = with.map(|j| 1 << i | 1 << j).chain([1 << i]);
        moves.extend(
            parts
                .filter(|part| self.may_be_cut_off(state, i, *part))
                .map(Move::CutOff),
        );
    }

    /// Whether a primary's node may be cut off now. One that has been told that it has quorum, and is about
    /// to act on it, had lost its standbys before: that is a second fault.
    fn may_be_cut_off(&self, state: &State, i: usize, part: u8) -> bool {
        let node = &state.nodes[i];
        let mut operations = node.operations();
        matches!(node.postgres, Postgres::Primary { .. })
            && match self.register {
                true => self.is_served_without(state, part),
                false => self.heir(state, part).is_some(),
            }
            && operations.all(|run| {
                let told = run.snapshot.progress.quorum.as_ref();
                run.kind != Kind::Promote && told.is_none_or(|settled| !settled.quorum)
            })
    }

    /// Whether a node outside of this part may be promoted, once the lease has run out.
    fn is_served_without(&self, state: &State, part: u8) -> bool {
        (0..self.nodes).any(|j| part & 1 << j == 0 && self.may_promote(state, j))
    }

    /// The standby outside of this part for which alone commits wait, and which has everything.
    fn heir(&self, state: &State, part: u8) -> Option<u8> {
        let primary = members(part).find_map(|i| match state.nodes[i].postgres {
            Postgres::Primary { in_force } => Some((in_force, &state.nodes[i])),
            _ => None,
        });
        // What it shows of a standby goes by the file as well.
        let forgotten = self.mutation == Mutation::FileForgotten;
        let primary = primary.filter(|(_, node)| forgotten || node.names == node.shown);
        let primary = primary.map(|(in_force, node)| (in_force, node.shown));
        let (in_force, names) = primary.filter(|(in_force, names)| in_force == names)?;
        let mut outside = (0..self.nodes).filter(|j| part & 1 << j == 0);
        let heir = outside.find(|j| names == strangers::called(*j, 0))?;
        let lacks = state.acknowledged & !state.nodes[heir].log.commits();
        (in_force != 0 && lacks == 0).then_some(heir as u8)
    }

    pub(crate) fn cut_off(&self, state: &mut State, part: u8) {
        if !self.register {
            state.heir = self.heir(state, part);
        }
        state.cut = part;
    }

    pub(crate) fn nobody_is_stranded(&self, state: &State) -> bool {
        state.cut == 0 || !self.register || self.is_served_without(state, state.cut)
    }
}

impl State {
    pub(crate) fn is_cut_off(&self, i: usize) -> bool {
        self.cut & 1 << i != 0
    }

    /// Whether both are cut off, together.
    pub(crate) fn are_cut_off(&self, i: usize, j: usize) -> bool {
        self.is_cut_off(i) && self.is_cut_off(j)
    }

    /// Whether one of two nodes is cut off from the other.
    pub(crate) fn apart(&self, i: usize, j: usize) -> bool {
        self.is_cut_off(i) != self.is_cut_off(j)
    }

    pub(crate) fn heir_has_everything(&self) -> bool {
        self.heir.is_none_or(|heir| {
            let log = &self.nodes[usize::from(heir)].log;
            self.acknowledged & !log.commits() == 0
        })
    }
}

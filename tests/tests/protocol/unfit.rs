//! R14: a standby that goes on acknowledging and could not open for writing, because a limit of it is lower than
//! the primary's. Its own agent tells that. If it is given the register all the same, its server ends.

use pha_core::limits::Limits;
use pha_core::postgres::PausedReplay;
use pha_core::register::{Reading, Update};
use pha_core::snapshot::{Operation, Snapshot};

use crate::agent::fresh_progress;
use crate::exchange::streams;
use crate::model::{Explored, Move, upstream};
use crate::state::{Node, Postgres, State, index, name};

/// R14.
pub(crate) const TAKEN: &str = "nobody is given the register who could not open for writing";
/// R3, R14.
pub(crate) const UNCOVERED: &str = "when a monitor of a primary has seen everything, somebody can take over from it who could open, \
     where such a standby streams";

impl Explored {
    /// One standby at most becomes unfit, and is mended. Not in the middle of an operation: what then happens is that
    /// a node takes the register and never opens, and gives the right back.
    pub(crate) fn unfit_moves(&self, state: &State, i: usize, moves: &mut Vec<Move>) {
        let node = &state.nodes[i];
        let nobody = state.nodes.iter().all(|node| !node.unfit);
        let follows = node.run.is_none() && upstream(node).is_some();
        if self.unfits && (node.unfit || (nobody && follows)) {
            moves.push(Move::LimitsChange(i));
        }
    }

    /// Notices a promotion of a node that could not open.
    pub(crate) fn taken(&self, state: &mut State, update: &Update) {
        let Update::Promote { node, .. } = update else {
            return;
        };
        let unfit = |i: usize| state.nodes[i].unfit;
        if index(node).is_some_and(unfit) {
            state.violation = Some(TAKEN);
        }
    }

    /// Whether this monitor ends beside its primary, has seen everything, and leaves nobody who could take over and
    /// open, although a standby streams that could. One that is behind is still on its way, and so is one that
    /// commits wait for where no other is a holder.
    pub(crate) fn leaves_uncovered(&self, state: &State, i: usize, s: &Snapshot) -> bool {
        let (Some(view), Some(Reading::Row(row)), Ok(cluster)) =
            (s.primary(), &s.register, &s.cluster)
        else {
            return false;
        };
        let fresh = fresh_progress(state.counted.is_some()).failures.len();
        let fit = |j: usize| j != i && cluster.node(&name(j)).unfit.is_none();
        let able = |j: usize| {
            let other = name(j);
            let mut links = view.links.rows.iter();
            let link = links.find(|row| row.name == other.to_string());
            let complete = link.is_some_and(|link| link.flushed == Some(view.links.flushed));
            fit(j) && cluster.node(&other).online && streams(s, &other) && complete
        };
        let covered = |j: usize| fit(j) && self.may_promote(state, j);
        self.unfits
            && matches!(s.operation, Operation::Monitor { .. })
            && matches!(state.nodes[i].postgres, Postgres::Primary { .. })
            && row.is_owned_by(s.me())
            && row.holders.len() > 1
            && cluster.quorum
            && s.progress
                .quorum
                .as_ref()
                .is_none_or(|settled| settled.quorum)
            && s.elapsed.is_zero()
            && s.progress.failures.len() == fresh
            && (0..self.nodes).any(able)
            && !(0..self.nodes).any(covered)
    }
}

/// Why the replay of a standby is paused.
pub(crate) fn paused(node: &Node) -> Option<PausedReplay> {
    let connections = |number| Limits::from_values([number, 8, 10, 0, 64]);
    node.unfit.then(|| PausedReplay {
        here: connections(50),
        needed: Some(connections(100)),
    })
}

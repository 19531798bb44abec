//! R14: a node that was given the register and never opens gives the right back.
//!
//! Its server may end at any moment, also between the register and its opening, and so may the operation that
//! promotes it. What follows is up to Pacemaker: it stops what is left, and promotes whoever may be.

use std::collections::{HashSet, VecDeque};

use pha_core::lineage::Former;
use pha_core::register::{Register, Update};
use stateright::Model;

use crate::model::{Explored, Move, Outcome};
use crate::mutation::Mutation;
use crate::state::{Kind, Postgres, State, View, index, members};

/// R6, R14.
pub(crate) const HALF: &str = "the right is given back to nobody whose data are being replaced";

impl Explored {
    /// Follows what the register keeps of the holders before a promotion.
    pub(crate) fn keep_former(
        &self,
        state: &mut State,
        update: &Update,
        before: &Register,
        after: &mut Register,
    ) {
        match update {
            Update::Promote { node, .. }
                if self.mutation == Mutation::OwnerGivesBackItsHolders
                    && before.is_owned_by(node) =>
            {
                let position = |node| before.positions.get(node).copied();
                let holders = before.holders.iter();
                after.timelines.former = Some(Box::new(Former {
                    term: after.term,
                    nodes: holders.map(|node| (node.clone(), position(node))).collect(),
                }));
            }
            Update::Leave { .. } if self.mutation == Mutation::LeaverIsGivenBack => {
                after.timelines.former.clone_from(&before.timelines.former);
            }
            Update::GiveBack { .. } => {
                let holders = after.holders.iter().filter_map(index);
                for holder in holders {
                    if state.nodes[holder].unfinished {
                        state.violation = Some(HALF);
                    }
                }
                if self.mutation == Mutation::PositionsNotGivenBack {
                    after.positions.clear();
                }
            }
            _ => {}
        }
        if let Some(former) = after.timelines.former.as_mut().filter(|_| !self.rollbacks) {
            let positions = former.nodes.values_mut();
            positions.for_each(|position| *position = None);
        }
    }
}

/// Searches for a promotion after which, if the one that was given the register never opens, none of those who held
/// everything before can ever serve; its story. How many promotions were looked at.
pub(crate) fn search(model: &Explored, most: usize) -> Result<usize, String> {
    let alone = Explored {
        timelines: model.timelines + 1,
        commits: 0,
        ..model.clone()
    };
    let mut seen: HashSet<State> = model.init_states().into_iter().collect();
    let mut queue: VecDeque<State> = seen.iter().cloned().collect();
    let mut solved = HashSet::new();
    while let Some(state) = queue.pop_front() {
        for next in model.next_states(&state) {
            if let Some(taker) = taken(&state, &next) {
                let mut start = next.clone();
                (start.acknowledged, start.violation) = (0, None);
                if solved.insert(start.clone()) && !served_by_another(&alone, start, taker) {
                    return Err(format!(
                        "from {next:#?}\nnobody serves when node {taker} never opens"
                    ));
                }
            }
            if seen.len() < most && model.within_boundary(&next) && seen.insert(next.clone()) {
                queue.push_back(next);
            }
        }
    }
    Ok(solved.len())
}

/// Who was given the register by this step in place of another one who held everything, onto a new timeline.
fn taken(before: &State, after: &State) -> Option<usize> {
    let taker = after.row.owner.map(usize::from)?;
    let others = members(before.row.holders).any(|node| node != taker && intact(after, node));
    let given = before.row.owner != after.row.owner && after.row.holders == 1 << taker;
    (given && others && after.nodes[taker].reign.is_none()).then_some(taker)
}

/// Its data are neither an operation's nor a copy's at this moment.
fn intact(state: &State, node: usize) -> bool {
    let node = &state.nodes[node];
    !node.unfinished && node.copy.is_none()
}

fn served_by_another(model: &Explored, start: State, taker: usize) -> bool {
    let mut seen = HashSet::from([start.clone()]);
    let mut queue = VecDeque::from([start]);
    while let Some(state) = queue.pop_front() {
        let serves = |node: usize| {
            node != taker
                && state.row.owner == Some(node as u8)
                && matches!(
                    state.nodes[node].postgres,
                    Postgres::Primary { in_force: 0 }
                )
        };
        if (0..state.nodes.len()).any(serves) {
            return true;
        }
        let mut moves = vec![];
        model.actions(&state, &mut moves);
        for step in moves.into_iter().filter(|step| helps(*step, taker)) {
            let next = model.next_state(&state, step).map(|mut next| {
                (next.acknowledged, next.violation) = (0, None);
                next
            });
            if let Some(next) = next.filter(|next| seen.insert(next.clone())) {
                queue.push_back(next);
            }
        }
    }
    false
}

/// No more faults than that the taker never opens: Pacemaker stops it, and promotes others.
fn helps(step: Move, taker: usize) -> bool {
    match step {
        Move::Dies(i) => i == taker,
        Move::Begins(i, Kind::Stop | Kind::Demote, View::All) => i == taker,
        Move::Begins(i, Kind::Start | Kind::Promote, View::All) => i != taker,
        Move::Acts(_, Outcome::Answered) | Move::Looks(_, View::All) => true,
        Move::Interrupted(_) => true,
        Move::InForce(i) | Move::Promoted(i) => i != taker,
        Move::LeaseRunsOut | Move::Delivered => true,
        _ => false,
    }
}

//! No dead end: whatever has happened, a holder whose peers are gone for good becomes a primary that
//! acknowledges commits, once the lock service is reachable and Pacemaker asks for the right things.

use std::collections::{HashSet, VecDeque};

use stateright::Model;

use crate::model::{Explored, Move, Outcome};
use crate::state::{EPOCH, Kind, Postgres, State, members};

/// Searches all reachable states for one from which a holder cannot come back alone; its story.
pub(crate) fn search(model: &Explored) -> Option<String> {
    // A node that comes back may need a timeline more than were explored.
    let alone = Explored {
        timelines: model.timelines + 1,
        commits: 0,
        ..model.clone()
    };
    let mut solved = HashSet::new();
    let mut seen: HashSet<State> = model.init_states().into_iter().collect();
    let mut queue: VecDeque<State> = seen.iter().cloned().collect();
    while let Some(state) = queue.pop_front() {
        for holder in members(state.row.holders) {
            if state.nodes[holder].seen.has_promised(EPOCH) && !state.withdrawn {
                continue; // it waits for the primary that it has promised (R7)
            }
            let left = left_alone(&state, holder);
            if !solved.contains(&left) && !serves_again(&alone, left, holder, &mut solved) {
                return Some(format!("from {state:#?}\nnode {holder} never serves again"));
            }
        }
        for next in model.next_states(&state) {
            if model.within_boundary(&next) && seen.insert(next.clone()) {
                queue.push_back(next);
            }
        }
    }
    eprintln!(
        "{model:?}: {} states, {} of a node alone",
        seen.len(),
        solved.len()
    );
    None
}

/// The state when every other node has lost its power for good. What was acknowledged decides
/// nothing, and neither does what the others had.
fn left_alone(state: &State, holder: usize) -> State {
    let mut left = state.clone();
    for (i, node) in left.nodes.iter_mut().enumerate() {
        if i != holder {
            let log = node.log;
            *node = state.nodes[i].clone();
            (node.postgres, node.run, node.names, node.reign) = (Postgres::Down, None, 0, None);
            (node.shown, node.unread) = (0, false);
            node.seen = pha_core::register::Memory::default();
            node.log = log;
        }
    }
    (left.acknowledged, left.violation) = (0, None);
    left
}

/// Whether the node can get from here to where it serves, by its own moves.
fn serves_again(model: &Explored, start: State, node: usize, solved: &mut HashSet<State>) -> bool {
    let mut seen = HashSet::from([start.clone()]);
    let mut queue = VecDeque::from([start.clone()]);
    while let Some(state) = queue.pop_front() {
        if serves(&state, node) || solved.contains(&state) {
            solved.insert(start);
            return true;
        }
        let mut moves = vec![];
        model.actions(&state, &mut moves);
        for step in moves.into_iter().filter(|step| helps(*step, node)) {
            let next = model.next_state(&state, step);
            let next = next.map(|next| left_alone(&next, node));
            if let Some(next) = next.filter(|next| seen.insert(next.clone())) {
                queue.push_back(next);
            }
        }
    }
    false
}

fn serves(state: &State, node: usize) -> bool {
    let owner = state.row.owner == Some(node as u8);
    owner
        && state.nodes[node].postgres == Postgres::Primary { in_force: 0 }
        && state.nodes[node].shown == 0
}

/// No more faults; the node's agent and its PostgreSQL go on, and time passes.
fn helps(step: Move, node: usize) -> bool {
    match step {
        // A restart is no cure: what runs has to serve without one.
        Move::Begins(_, Kind::Stop | Kind::Demote, _) => false,
        Move::Begins(i, ..) | Move::Acts(i, Outcome::Answered) | Move::Looks(i, _) => i == node,
        Move::InForce(i) | Move::Promoted(i) => i == node,
        Move::Withdrawn(i, present) => present && i == node,
        // A file that has an error is mended; nobody has it read again but the agent.
        Move::ErrorComes(i) => i == node,
        Move::LeaseRunsOut | Move::Delivered => true,
        // An operation that waits in vain is ended by its deadline.
        Move::Interrupted(i) => i == node,
        _ => false,
    }
}

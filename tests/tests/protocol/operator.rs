//! What an operator asks for beside Pacemaker: a copy of the primary's data (R6), step by step and
//! interrupted between any two, and the hand-over of a primary that is stopped (R9).

use pha_core::decide::operator::{
    CopyFacts, CopyKind, CopyRequest, CopyStep, CopyVerdict, Data, HAND_OVER_RULES,
    HAND_OVER_STEPS, HandOverFacts, HandOverStep, HeldData, Instance, has_left, may_be_used,
    plan_copy, plan_hand_over_by,
};
use pha_core::lineage::Held;
use pha_core::lsn::Lsn;
use pha_core::plan::{Action, Effect};
use pha_core::register::{Reading, Update};
use pha_core::timeline::WalPosition;

use crate::agent::timeline_id;
use crate::model::{Explored, Move, Outcome};
use crate::mutation::Mutation;
use crate::names::{Kept, Names, lineage};
use crate::state::{Lease, Log, Node, Postgres, Row, State, TERM, name};

/// A copy that has been begun.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Copy {
    pub(crate) source: u8,
    /// The term at which it was planned, as the register's is kept.
    pub(crate) term: u64,
    pub(crate) was_holder: bool,
    pub(crate) steps: Vec<Step>,
}

/// The steps of `CopyStep` that others can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Leave,
    /// The data directory is marked, and is neither old nor new from here on.
    Begin,
    End,
    CheckSource,
}

/// R6.
pub(crate) const REPLACED: &str =
    "no data are replaced of a node that its command knows to be a holder";

/// No rule: that it is broken shows that the exploration comes there.
pub(crate) const REMADE: &str =
    "nobody becomes a holder by a change that was on its way when its data were replaced";

/// Whether this change makes a holder of the node.
fn adds(update: &Update, i: usize) -> bool {
    match update {
        Update::SetHolders {
            from_holders,
            holders,
            ..
        } => holders.contains(&name(i)) && !from_holders.contains(&name(i)),
        Update::HandOver { successor, .. } => *successor == name(i),
        _ => false,
    }
}

/// Whether such a change is about to be asked for, or was and may still be made.
fn is_to_be_added(state: &State, i: usize) -> bool {
    let runs = state.nodes.iter().flat_map(Node::operations);
    let queued = runs
        .flat_map(|run| &run.queue)
        .filter_map(|action| match action {
            Action::UpdateRegister(update) => Some(update),
            _ => None,
        });
    queued.chain(&state.delayed).any(|update| adds(update, i))
}

impl Explored {
    /// Notices a holder whose data were replaced between the owner's look at them and its change of the register.
    pub(crate) fn added(&self, state: &mut State, update: &Update) {
        let remade = (0..state.nodes.len()).any(|i| state.nodes[i].remade && adds(update, i));
        if remade && self.mutation == Mutation::AdditionOfTheRemade {
            state.violation = Some(REMADE);
        }
    }

    pub(crate) fn forget_who_was_remade(state: &mut State) {
        for i in 0..state.nodes.len() {
            state.nodes[i].remade &= is_to_be_added(state, i);
        }
    }

    pub(crate) fn operator_moves(&self, state: &State, i: usize, moves: &mut Vec<Move>) {
        if !self.operator || state.nodes[i].run.is_some() {
            return;
        }
        self.hand_over_moves(state, i, moves);
        let node = &state.nodes[i];
        if node.postgres != Postgres::Down {
            return;
        }
        match node.copy.as_ref().and_then(|copy| copy.steps.first()) {
            Some(Step::Leave) => {
                for outcome in [Outcome::Answered, Outcome::ReplyLost, Outcome::Unreachable] {
                    moves.push(Move::CopyGoesOn(i, outcome));
                }
            }
            Some(_) => moves.push(Move::CopyGoesOn(i, Outcome::Answered)),
            None => {}
        }
        if node.copy.is_some() {
            moves.push(Move::CopyEnds(i));
            return;
        }
        for (j, other) in state.nodes.iter().enumerate() {
            if matches!(other.postgres, Postgres::Primary { .. }) {
                moves.push(Move::CopyBegins(i, j));
            }
        }
    }

    /// The owner's node has its change lock (R12): no other operation of it is at work.
    fn hand_over_moves(&self, state: &State, i: usize, moves: &mut Vec<Move>) {
        if state.nodes[i].copy.is_some() || state.nodes[i].unfinished {
            return;
        }
        for (j, other) in state.nodes.iter().enumerate() {
            if j != i && matches!(other.postgres, Postgres::Standby { .. }) {
                moves.push(Move::HandsOver(i, j, Outcome::Answered));
                if self.delays && state.delayed.is_none() {
                    moves.push(Move::HandsOver(i, j, Outcome::Delayed));
                }
            }
        }
    }

    /// The operator takes the node `j` for the primary, because it is one or because its side of a
    /// partition says so.
    pub(crate) fn copy_begins(&self, state: &mut State, i: usize, j: usize) {
        let mut row = state.register();
        if self.mutation == Mutation::CopyFromAnyone {
            row.owner = Some(name(j));
        }
        let was_holder = row.holders.contains(&name(i));
        let facts = CopyFacts {
            node: name(i),
            replicated: true,
            promoted: vec![name(j)],
            repl_info: Some(name(j)),
            register: Some(Reading::Row(row)),
            seen: None,
            instance: Instance::Stopped,
            data: Data::Cluster {
                major: 15,
                clean: false,
                rewindable: true,
                system: 1,
            },
            primary_system: Some((1, 15)),
            managed: true,
            in_standby: false,
            kinship: None,
            unfinished: None,
            lacking: Vec::new(),
        };
        let request = CopyRequest {
            kind: CopyKind::Repair,
            or_rebuild: true,
            keep_old: false,
        };
        let CopyVerdict::Go(plan) = plan_copy(&request, &facts) else {
            return;
        };
        let mut steps = vec![];
        for step in plan.steps {
            match step {
                CopyStep::Leave if self.mutation == Mutation::CopyWhileHolder => {}
                CopyStep::Leave => steps.push(Step::Leave),
                CopyStep::Rewind | CopyStep::Backup => steps.extend([Step::Begin, Step::End]),
                CopyStep::CheckSource => steps.push(Step::CheckSource),
                _ => {}
            }
        }
        state.nodes[i].copy = Some(Copy {
            source: j as u8,
            term: plan.term.unwrap_or(0),
            was_holder,
            steps,
        });
    }

    pub(crate) fn copy_goes_on(&self, state: &mut State, i: usize, outcome: Outcome) -> Option<()> {
        let mut copy = state.nodes[i].copy.take()?;
        let source = state.nodes[usize::from(copy.source)].clone();
        let serves = matches!(source.postgres, Postgres::Primary { .. });
        let goes_on = match copy.steps.remove(0) {
            Step::Leave => {
                let leave = Update::Leave { node: name(i) };
                let Ok(Effect::Reply(reply)) = self.send(state, &leave, outcome)? else {
                    return None;
                };
                has_left(&reply, &name(i)).is_ok() || self.mutation == Mutation::LeaveUnheard
            }
            Step::Begin => {
                if copy.was_holder && state.row.holders & 1 << i != 0 {
                    state.violation = Some(REPLACED);
                }
                let node = &mut state.nodes[i];
                (node.log, node.unfinished, node.remade) = (Log::default(), true, true);
                serves
            }
            Step::End => {
                state.nodes[i].log = source.log;
                serves
            }
            Step::CheckSource => {
                let mut row = state.register();
                let source = name(usize::from(copy.source));
                if self.mutation == Mutation::CopyFromAnyone {
                    (row.owner, row.term) = (Some(source.clone()), copy.term);
                }
                let reading = Reading::Row(row);
                let used = may_be_used::<()>(
                    &source,
                    Some(copy.term),
                    Some(&reading),
                    None,
                    || Ok(None),
                    || Ok(serves),
                );
                if matches!(used, Ok(Ok(_))) {
                    let node = &mut state.nodes[i];
                    (node.unfinished, node.standby_signal) = (false, !self.named);
                    node.record = state.row.is_named.then_some(Kept {
                        names: state.row.names,
                        held: Held::Copied,
                    });
                }
                false
            }
        };
        if goes_on {
            state.nodes[i].copy = Some(copy);
        }
        Some(())
    }

    /// R9: the owner's node looks at both disks, and makes the other node a holder where it may.
    ///
    /// `cls_online_switch` has Pacemaker stop the primary before, and promote the successor after that: moves
    /// of their own, at any moment and in any order, so that the command may die between any two.
    pub(crate) fn hands_over(
        &self,
        state: &mut State,
        i: usize,
        j: usize,
        outcome: Outcome,
    ) -> Option<()> {
        let from = &state.nodes[i];
        let facts = HandOverFacts {
            owner: name(i),
            successor: name(j),
            register: Reading::Row(state.register()),
            memory: from.memory(),
            stopped: !matches!(from.postgres, Postgres::Primary { .. }),
            here: Ok(self.held_data(from)),
            there: Ok(self.held_data(&state.nodes[j])),
        };
        let left_out = self.mutation.hands_over_without();
        let rules = HAND_OVER_RULES
            .iter()
            .filter(|rule| left_out != Some(rule.id));
        let update = plan_hand_over_by(rules, &facts).ok()?;
        for step in HAND_OVER_STEPS {
            match step {
                // One that serves still goes by what it has read.
                HandOverStep::EndNames if !facts.stopped => {}
                HandOverStep::EndNames => self.end_names(&mut state.nodes[i]),
                HandOverStep::Remember => {
                    if self.mutation != Mutation::HandOverNotKept && self.remembers() {
                        let asking = facts.memory.asking(&update);
                        state.nodes[i].remember(&asking);
                    }
                }
                HandOverStep::Change if outcome == Outcome::Delayed => {
                    state.delayed = Some(update.clone());
                }
                HandOverStep::Change => {
                    let before = state.row.holders;
                    let made = self.update(state, &update);
                    if made && self.mutation == Mutation::HandOverKeepsOthers {
                        state.row.holders |= before;
                    }
                }
            }
        }
        Some(())
    }

    /// What a node's own commands tell of its data. Where timelines have no names, who began them stands for
    /// that.
    fn held_data(&self, node: &Node) -> HeldData {
        HeldData {
            end: WalPosition {
                timeline: timeline_id(node.log.timeline()),
                lsn: Lsn::new(u64::from(node.log.end())),
            },
            system: Some(1),
            lineage: match self.named {
                true => lineage(node),
                false => Some(Names::written(&node.log).lineage()),
            },
        }
    }
}

/// Three nodes, where the source of a copy matters. The first one is a primary that has not noticed
/// that it was replaced, at a term when it waited for the third one; that one followed as owner, and
/// then the second one. It takes some twenty steps to come here.
pub(crate) fn superseded_from(fresh: State) -> State {
    let mut state = fresh;
    let third = 1 << 2;
    let mut log = Log::default();
    log.begin_timeline(2, 0);
    state.nodes[2] = Node {
        postgres: Postgres::Down,
        log,
        reign: Some((1, 1)),
        ..state.nodes[2].clone()
    };
    log.begin_timeline(1, 0);
    state.nodes[1] = Node {
        postgres: Postgres::Primary { in_force: 0 },
        log,
        standby_signal: false,
        reign: Some((TERM, 3)),
        ..state.nodes[1].clone()
    };
    state.nodes[0] = Node {
        postgres: Postgres::Primary { in_force: third },
        standby_signal: false,
        names: third,
        shown: third,
        reign: Some((1, 1)),
        ..state.nodes[0].clone()
    };
    state.row = Row {
        owner: Some(1),
        elected: true,
        holders: 1 << 1,
        positions: [0; 3],
        lease: Lease::Running,
        names: Names::default(),
        is_named: false,
        highest: 0,
        former: None,
    };
    state
}

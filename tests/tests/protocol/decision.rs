//! An operator goes on with the data of one node (`cls_recovery_master`) beside the promises of R7: what the
//! command looks at, whom it asks to give way, and what it registers, each at its own time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pha_core::decide::operator::{
    NodePosition, RecoveryFacts, plan_recovery, plan_recovery_by, to_give_way,
};
use pha_core::lsn::Lsn;
use pha_core::names::NodeName;
use pha_core::register::{GaveWay, Reading, Seen, give_way};
use pha_core::snapshot::SeenRole;
use pha_core::timeline::WalPosition;

use crate::agent::timeline_id;
use crate::model::{Explored, Move};
use crate::mutation::Mutation;
use crate::state::{EPOCH, Kind, Lease, NOBODY_BIT, Node, Postgres, State, TTL, name};

/// Where the other nodes are for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Others {
    /// In this part of the cluster; what runs there the cluster may show wrongly.
    Members,
    /// Switched off, as the operator has said.
    Off,
    /// Out of sight.
    Unseen,
}

/// A command that has been confirmed and not registered yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Deciding {
    node: u8,
    others: Others,
    /// The lease had been released when the register was read.
    released: bool,
    /// The operator was told that commits may be lost.
    told: bool,
    answers: BTreeMap<NodeName, Result<GaveWay, String>>,
}

impl Explored {
    pub(crate) fn decision_moves(&self, state: &State, moves: &mut Vec<Move>) {
        if !self.overrides || !self.outages {
            return;
        }
        if let Some(deciding) = &state.deciding {
            let left = self.left_to_ask(state, deciding);
            match left.is_empty() {
                true => moves.push(Move::Registers),
                false => moves.extend(left.into_iter().map(Move::GivesWay)),
            }
            return;
        }
        if state.overrides_left == 0 || !state.row.elected || state.row.lease == Lease::Running {
            return;
        }
        let off = |node: &Node| node.postgres == Postgres::Down && node.operations().count() == 0;
        for i in 0..self.nodes {
            let mut others = state.nodes.iter().enumerate().filter(|(j, _)| *j != i);
            moves.push(Move::Decides(i, Others::Members));
            moves.push(Move::Decides(i, Others::Unseen));
            if others.all(|(_, node)| off(node)) {
                moves.push(Move::Decides(i, Others::Off));
            }
        }
    }

    fn left_to_ask(&self, state: &State, deciding: &Deciding) -> Vec<usize> {
        if self.mutation == Mutation::NobodyGivesWay {
            return vec![];
        }
        let asked = to_give_way(&self.recovery(state, deciding));
        let left =
            |i: &usize| asked.contains(&name(*i)) && !deciding.answers.contains_key(&name(*i));
        (0..self.nodes).filter(left).collect()
    }

    fn recovery(&self, state: &State, deciding: &Deciding) -> RecoveryFacts {
        let chosen = usize::from(deciding.node);
        let mut row = state.register();
        row.lease_left = Duration::ZERO;
        row.ttl = match deciding.released {
            true => row.lease_left,
            false => TTL,
        };
        let others: BTreeSet<_> = (0..self.nodes).filter(|i| *i != chosen).map(name).collect();
        let position = |(i, node): (usize, &Node)| {
            let member = i == chosen || deciding.others == Others::Members;
            NodePosition {
                node: name(i),
                member,
                usable: member,
                runs: matches!(node.postgres, Postgres::Standby { .. }),
                end: match member {
                    true => Ok(WalPosition {
                        timeline: timeline_id(node.log.timeline()),
                        lsn: Lsn::new(u64::from(node.log.end())),
                    }),
                    false => Err("no answer".to_owned()),
                },
                system: Some(1),
                lineage: None,
                unproven: None,
            }
        };
        RecoveryFacts {
            wanted: Some(name(chosen)),
            replicated: true,
            promoted: vec![],
            off: match deciding.others {
                Others::Off => others,
                Others::Members | Others::Unseen => BTreeSet::new(),
            },
            nodes: state.nodes.iter().enumerate().map(position).collect(),
            me: name(chosen),
            here: Some(1),
            known: Seen::of(&row),
            seen: Seen::of(&row),
            register: Some(Reading::Row(row)),
            number: 0,
            gave_way: (!deciding.answers.is_empty()).then(|| deciding.answers.clone()),
        }
    }

    /// The operator has read the register, and confirms.
    pub(crate) fn decides(&self, state: &mut State, i: usize, others: Others) -> Option<()> {
        let mut deciding = Deciding {
            node: i as u8,
            others,
            released: state.row.lease == Lease::Released,
            told: false,
            answers: BTreeMap::new(),
        };
        let plan = plan_recovery(&self.recovery(state, &deciding)).ok()?;
        deciding.told = !plan.losses.is_empty();
        for (j, node) in state.nodes.iter_mut().enumerate() {
            if others == Others::Off && j != i {
                self.loses_power(node);
            }
        }
        state.deciding = Some(deciding);
        Some(())
    }

    /// Under the promotion lock of the node that is asked.
    pub(crate) fn gives_way(&self, state: &mut State, j: usize) -> Option<()> {
        let node = &mut state.nodes[j];
        if node.operations().any(|run| run.kind == Kind::Promote) {
            return None;
        }
        let role = SeenRole {
            runs: node.postgres != Postgres::Down,
            signal: node.standby_signal.into(),
        };
        let giving = give_way(&node.memory(), role, EPOCH);
        let mut answer = giving.answer;
        match self.mutation {
            Mutation::GiveWayNotKept => {}
            _ => node.remember(&giving.kept),
        }
        if giving.ends_names && self.mutation != Mutation::NamesOutliveGivingWay {
            node.names = NOBODY_BIT;
        }
        match self.mutation {
            Mutation::ServingGivesWay => answer.serves = false,
            Mutation::UsedGivesWay => answer.used = false,
            Mutation::PromisedUnheard => answer.promised = false,
            _ => {}
        }
        let mut deciding = state.deciding.take()?;
        deciding.answers.insert(name(j), Ok(answer));
        if plan_recovery(&self.recovery(state, &deciding)).is_ok() {
            state.deciding = Some(deciding);
        }
        Some(())
    }

    /// What the others have acknowledged beyond is given up, if the operator was told.
    pub(crate) fn registers(&self, state: &mut State) -> Option<()> {
        let deciding = state.deciding.take()?;
        let facts = self.recovery(state, &deciding);
        // Made when the operator confirmed, of the register as it is read now: nothing is asked again.
        let plan = plan_recovery_by(&[], &facts).ok()?;
        let update = plan.update(&facts, String::new())?;
        if deciding.told {
            state.acknowledged &= state.nodes[usize::from(deciding.node)].log.commits();
        }
        state.overrides_left -= 1;
        let before = state.violation;
        let gave: Vec<_> = state.nodes.iter().map(|node| node.seen.freed).collect();
        self.update(state, &update).then_some(())?;
        // Nobody looks whether the owner has renewed its lease since the operator has read the register, and no
        // acknowledged commit rests on the lease.
        state.violation = before;
        // It gives none at the epoch that has passed either, which it may not have seen pass.
        for (node, gave) in state.nodes.iter_mut().zip(gave) {
            node.seen.freed = gave.map(|_| 0);
        }
        Some(())
    }
}

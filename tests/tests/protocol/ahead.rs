//! A third node that is ahead of the standby which takes over: it has received more from the primary, and no
//! commit has waited for it. A new timeline that leaves the old one before its end is one that it cannot follow.
//!
//! Before a promotion the agents of the other standbys say how far they have flushed, of which timeline by name
//! (R13), and who is promoted receives that from them first. It loses nothing by that: what it has it keeps.

use pha_core::lsn::Lsn;
use pha_core::names::NodeName;
use pha_core::ocf::{self, NodeLists, Notification, When};
use pha_core::plan::{Action, ActionKind, Effect};
use pha_core::snapshot::{Operation, Snapshot};

use crate::agent::timeline_id;
use crate::model::{Explored, Move, Outcome};
use crate::names::{Kept, Names};
use crate::state::{Lease, Log, Postgres, State, index, name};

/// One fault leaves no more than one node for repair.
pub(crate) const AHEAD: &str =
    "who takes over leaves no standby behind that has said to have more of its timeline";
/// R13.
pub(crate) const MIXED: &str = "what a standby receives goes on from what it has";

impl Explored {
    pub(crate) fn ahead_moves(&self, state: &State, i: usize, moves: &mut Vec<Move>) {
        let runs = matches!(state.nodes[i].postgres, Postgres::Standby { .. });
        moves.extend((self.ahead && runs).then_some(Move::Tells(i)));
    }

    /// The notification that a standby gets before another node is promoted.
    pub(crate) fn before_another(&self, i: usize) -> Operation {
        let other = (i + 1) % self.nodes;
        let lists = NodeLists {
            promote: vec![name(other)],
            ..NodeLists::default()
        };
        Operation::Notify(Notification::new(When::Pre, ocf::Operation::Promote, lists))
    }

    /// A standby receives from another one: all that this one has, a part of it, or nothing.
    pub(crate) fn catches_up(
        &self,
        state: &mut State,
        i: usize,
        from: &NodeName,
        outcome: Outcome,
    ) -> Result<Effect, String> {
        state.nodes[i].names = 0;
        let j = index(from).filter(|j| !state.apart(i, *j));
        let from = j.map(|j| state.nodes[j].clone());
        let from = from.filter(|from| matches!(from.postgres, Postgres::Standby { .. }));
        let (Some(from), Postgres::Standby { promoting, .. }) = (from, state.nodes[i].postgres)
        else {
            return Err(String::new());
        };
        let node = &mut state.nodes[i];
        node.postgres = Postgres::Standby {
            upstream: None,
            promoting,
        };
        if outcome == Outcome::Unreachable || !node.log.may_stream_from(&from.log) {
            return Err(String::new());
        }
        let goes_on = node.log.is_prefix_of(&from.log);
        while node.log.len() < from.log.len() {
            node.log.receive_from(&from.log);
            if outcome == Outcome::ReplyLost {
                break;
            }
        }
        let complete = node.log.len() == from.log.len();
        if !goes_on {
            state.violation = Some(MIXED);
        }
        match complete {
            true => Ok(Effect::Done),
            false => Err(String::new()),
        }
    }

    /// The first node is the primary, and has lost its power. The second one is the standby that commits waited
    /// for, and the third one has received a commit that the second one has not: it was not acknowledged.
    pub(crate) fn ahead_from(&self, fresh: State) -> State {
        let mut state = self.crashed_from(fresh);
        for i in [0, 2] {
            state.nodes[i].log.commit(0);
        }
        state.next_commit = 1;
        state
    }

    /// The primary and the second node are on a timeline, and the third one on another of the same number, which
    /// its monitor has not noticed yet.
    pub(crate) fn foreign_from(&self, fresh: State) -> State {
        let mut state = self.crashed_from(fresh);
        state.row.lease = Lease::RunOut;
        for (i, begun) in [(0, 0), (1, 0), (2, 2)] {
            let node = &mut state.nodes[i];
            node.log = Log::default();
            node.log.begin_timeline(begun, 0);
            let first = node.record.map(|kept| kept.names.lineage());
            let names = first.unwrap_or_default().and(crate::names::begun_by(
                begun,
                timeline_id(2),
                Lsn::new(1),
            ));
            let names = Names::of(&names);
            node.record = node.record.map(|kept| Kept { names, ..kept });
            if i == 0 {
                (state.row.names, state.row.highest) = (names, 2);
            }
        }
        state.nodes[2].log.commit(0);
        state.next_commit = 1;
        state
    }
}

/// Whether the promotion that is decided here leaves a standby behind although its node had said, before this
/// one looked, that it has more of the same timeline, and nothing has failed.
pub(crate) fn leaves_behind(state: &State, i: usize, s: &Snapshot, actions: &[Action]) -> bool {
    let opens = actions.contains(&Action::PromotePostgres);
    let (Ok(cluster), true) = (&s.cluster, opens) else {
        return false;
    };
    let own = &state.nodes[i].log;
    let failed = s.progress.failure(ActionKind::CatchUp).is_some();
    let mut others = state.nodes.iter().enumerate().filter(|(j, _)| *j != i);
    !failed
        && others.any(|(j, node)| {
            let said = cluster.node(&name(j)).flushed.map(|said| said.position.lsn);
            matches!(node.postgres, Postgres::Standby { .. })
                && !state.apart(i, j)
                && said == Some(Lsn::new(u64::from(node.log.end())))
                && node.log.timeline() == own.timeline()
                && node.log.len() > own.len()
                && own.is_prefix_of(&node.log)
        })
}

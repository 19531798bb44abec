//! A third node that is ahead of the standby which takes over: it has received more from the primary, and no
//! commit has waited for it. A new timeline that leaves the old one before its end is one that it cannot follow.
//!
//! Before a promotion the agents of the other standbys say how far they have flushed, of which timeline by name
//! (R13), and who is promoted receives that from them first. It loses nothing by that: what it has it keeps.

use pha_core::lsn::Lsn;
use pha_core::names::NodeName;
use pha_core::ocf::{self, NodeLists, Notification, When};
use pha_core::plan::{Action, Effect};
use pha_core::snapshot::{Operation, Snapshot};

use crate::agent::timeline_id;
use crate::model::{Explored, Move, Outcome};
use crate::mutation::Mutation;
use crate::names::{Kept, Names};
use crate::state::{Kind, Lease, Log, Node, Postgres, Run, State, index, name};

/// One fault leaves no more than one node for repair.
pub(crate) const AHEAD: &str =
    "who takes over leaves no standby behind that has said to have more of its timeline";
/// R13.
pub(crate) const MIXED: &str = "what a standby receives goes on from what it has";
/// R13.
pub(crate) const STRAYED: &str = "nobody is promoted on a timeline that was begun by hand";
/// A standby that is not promoted receives from the primary alone.
pub(crate) const LENT: &str = "no demotion leaves a standby that receives from another one";

impl Explored {
    pub(crate) fn ahead_moves(&self, state: &State, i: usize, moves: &mut Vec<Move>) {
        let runs = matches!(state.nodes[i].postgres, Postgres::Standby { .. });
        moves.extend((self.ahead && runs).then_some(Move::Tells(i)));
        let lender = state.nodes[i].lender.map(usize::from);
        let lender = lender.filter(|j| runs && !state.apart(i, *j));
        if let Some(from) = lender.map(|j| &state.nodes[j])
            && from.postgres != Postgres::Down
            && state.nodes[i].log.len() < from.log.len()
            && state.nodes[i].log.may_stream_from(&from.log)
        {
            moves.push(Move::Borrows(i));
        }
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

    /// The next of what the other standby has: PostgreSQL compares numbers of timelines and positions, and goes on
    /// to the newest timeline that the other one shows.
    pub(crate) fn borrows(&self, state: &mut State, i: usize) -> Option<()> {
        let from = state.nodes[usize::from(state.nodes[i].lender?)].log;
        let log = &mut state.nodes[i].log;
        let goes_on = log.is_prefix_of(&from);
        log.receive_from(&from);
        if !goes_on {
            state.violation = Some(MIXED);
        }
        Some(())
    }

    /// Whether no mark is seen of settings that a promotion has changed.
    pub(crate) fn shows_changed(&self, node: &Node) -> bool {
        node.lender.is_none() || self.mutation == Mutation::ChangeNotMarked
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

/// The settings of a standby name another one to receive from. Where the server could not be told, it may
/// have read them all the same.
pub(crate) fn lends(node: &mut Node, from: &NodeName, outcome: Outcome) -> Result<Effect, String> {
    let Postgres::Standby { promoting, .. } = node.postgres else {
        return Err(String::new());
    };
    node.postgres = Postgres::Standby {
        upstream: None,
        promoting,
    };
    node.lender = index(from).map(|j| j as u8);
    match outcome {
        Outcome::Unreachable => Err(String::new()),
        _ => Ok(Effect::Done),
    }
}

/// Whether an operation waits for what another standby lends.
pub(crate) fn is_lent(run: &Run) -> bool {
    let catch_up = run.snapshot.progress.catch_up;
    catch_up.is_some_and(|catch_up| catch_up.over.is_none())
}

/// Whether this operation ends beside a standby that still receives from another one.
pub(crate) fn leaves_lent(node: &Node, kind: Kind) -> bool {
    kind == Kind::Demote && node.lender.is_some()
}

/// Whether a standby that is promoted is on a timeline that another one, which was opened by hand, has begun.
pub(crate) fn has_strayed(state: &State, i: usize) -> bool {
    let log = &state.nodes[i].log;
    let begun = log.began(log.timeline()).map(usize::from);
    begun.is_some_and(|j| {
        let other = &state.nodes[j];
        j != i && other.by_hand && other.log.timeline() == log.timeline()
    })
}

/// Whether the promotion that is decided here leaves a standby behind although its node had said, before this
/// one looked, that it has more of the same timeline, and nothing has failed.
pub(crate) fn leaves_behind(state: &State, i: usize, s: &Snapshot, actions: &[Action]) -> bool {
    let opens = actions.contains(&Action::PromotePostgres);
    let (Ok(cluster), true) = (&s.cluster, opens) else {
        return false;
    };
    let own = &state.nodes[i].log;
    // It could not be asked, or did not give it in time.
    let given_up = s.progress.catch_up.is_some_and(|at| at.until.is_zero());
    let mut others = state.nodes.iter().enumerate().filter(|(j, _)| *j != i);
    !given_up
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

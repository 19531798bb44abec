//! R4: standbys whose log is not the beginning of the primary's.
//!
//! PostgreSQL compares positions, never contents. A standby that has WAL of its own past the point
//! where the primary's timeline began is sent what lies before it, again and again, and reports its
//! own end meanwhile; a primary that waits for it takes that for WAL of its own.

use pha_core::lsn::Lsn;
use pha_core::timeline::{History, HistoryEntry, TimelineId};

use crate::agent::timeline_id;
use crate::model::{Explored, upstream};
use crate::mutation::Mutation;
use crate::state::{Lease, Log, Node, Postgres, Row, State, TERM};
use crate::strangers;

/// How many messages are written into one log (R4).
pub(crate) const MESSAGES: usize = 2;

/// R4.
pub(crate) const UNWRITTEN: &str = "no primary lets commits pass that are yet to be written";

impl Explored {
    /// The history of a primary's timeline, where somebody looks at it.
    pub(crate) fn history(&self, log: &Log) -> History {
        let mut history = History::without_ancestors(TimelineId::FIRST);
        if self.diverged && self.mutation != Mutation::NamedBeforeTheFork {
            history.own = timeline_id(log.timeline());
            let switch = log.last_switch().map(|(parent, end)| HistoryEntry {
                parent: timeline_id(parent),
                end: Lsn::new(u64::from(end)),
            });
            history.entries.extend(switch);
        }
        history
    }

    /// Up to where the primary has sent WAL to a standby.
    pub(crate) fn sent(primary: &Log, standby: &Log) -> Lsn {
        Lsn::new(u64::from(primary.common(standby)))
    }
}

/// Lets commits pass up to what a standby reports for which they wait (`SyncRepReleaseWaiters`). That
/// position never goes back until PostgreSQL is started again. Acknowledging enables nothing, so that
/// doing it as early as possible is the worst case.
pub(crate) fn release(state: &mut State, i: usize) {
    let Postgres::Primary { in_force } = state.nodes[i].postgres else {
        state.nodes[i].released = 0;
        return;
    };
    let standbys = state.nodes.iter().enumerate();
    let reported = standbys
        .filter(|(j, standby)| strangers::is_called(*j, standby, in_force))
        .filter(|(_, standby)| upstream(standby) == Some(i) && !standby.silent)
        .map(|(_, standby)| standby.log.end());
    let lies = state
        .stranger
        .filter(|stranger| usize::from(stranger.from) == i && stranger.called == in_force)
        .map(|_| state.nodes[i].log.end());
    let reported = reported.chain(lies);
    let reported = reported.max().unwrap_or(0);
    let node = &mut state.nodes[i];
    let released = node.released.max(reported);
    let passed = match in_force {
        0 => node.log,
        _ => node.log.first(usize::from(released.saturating_sub(1))),
    };
    state.acknowledged |= passed.commits();
    // What is in the log has passed: a position past its end lets pass what is yet to be written.
    node.released = if released > node.log.end() {
        released
    } else {
        0
    };
}

/// The second node has followed the first one as owner, on a new timeline, and the first one has not
/// noticed: what it writes waits for the second one. Each has committed what the other has not.
pub(crate) fn forked_from(fresh: State) -> State {
    let mut state = fresh;
    let second = 1 << 1;
    state.nodes[0] = Node {
        postgres: Postgres::Primary { in_force: second },
        standby_signal: false,
        names: second,
        shown: second,
        reign: Some((1, 1)),
        ..state.nodes[0].clone()
    };
    state.nodes[0].log.commit(1);
    state.nodes[0].log.commit(2);
    (state.acknowledged, state.next_commit) = (1, 3);
    let successor = &mut state.nodes[1];
    successor.log.begin_timeline(1, 0);
    successor.log.commit(0);
    successor.postgres = Postgres::Primary { in_force: 0 };
    successor.standby_signal = false;
    successor.reign = Some((TERM, 2));
    state.row = Row {
        owner: Some(1),
        elected: true,
        holders: second,
        lease: Lease::Running,
        ..state.row
    };
    state
}

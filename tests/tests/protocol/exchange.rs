//! R3: the exchange of a synchronous standby. Where another standby streams, it becomes a holder by the same
//! change by which the last one ceases to be.

use pha_core::cluster::{Cluster, WithoutQuorum};
use pha_core::lsn::Lsn;
use pha_core::names::NodeName;
use pha_core::plan::{Action, ActionKind};
use pha_core::register::{Reading, Update};
use pha_core::snapshot::{Operation, Snapshot};
use pha_core::status::WalSenderState;

use crate::agent::fresh_progress;
use crate::model::Explored;
use crate::state::{HELD_BIT, Postgres, State, name};

/// R3.
pub(crate) const ALONE: &str =
    "no primary makes itself the only holder while another standby streams";
/// R3.
pub(crate) const HELD: &str = "no monitor that sees everything leaves commits held";

impl Explored {
    /// Who is about to be stopped, where that is announced to node `i`.
    pub(crate) fn announced_to_stop(&self, i: usize) -> Vec<NodeName> {
        let others = (0..self.nodes).filter(|j| *j != i);
        others
            .take(if self.nodes > 2 { 1 } else { 2 })
            .map(name)
            .collect()
    }
}

/// Whether this change leaves nobody but the primary as a holder although it has seen another standby that
/// it may name, and commits waited for every holder until then. A time that is over, and an effect that has
/// failed, excuse it.
pub(crate) fn lets_go(s: &Snapshot, action: &Action) -> bool {
    let Action::UpdateRegister(Update::SetHolders {
        from_holders,
        holders,
        ..
    }) = action
    else {
        return false;
    };
    let (Some(view), Ok(cluster)) = (s.primary(), &s.cluster) else {
        return false;
    };
    let alone = holders.len() == 1 && from_holders.len() > 1;
    let failed = [
        ActionKind::HoldCommits,
        ActionKind::TakeBarrier,
        ActionKind::UpdateRegister,
    ];
    if !alone
        || !s.elapsed.is_zero()
        || failed
            .iter()
            .any(|kind| s.progress.failure(*kind).is_some())
    {
        return false;
    }
    let called = |node: &NodeName| cluster.link_name(node);
    let waited = |node: &&NodeName| {
        let name = called(node);
        let mut names = view.waits.names().iter();
        names.any(|waited| name.as_ref().is_some_and(|name| name.is_called(waited)))
    };
    let leaves = |node: &NodeName| match &s.operation {
        Operation::Notify(about) => about.stop.contains(node),
        _ => false,
    };
    let mut others = from_holders.iter().filter(|node| *node != s.me());
    let mut nodes = s
        .settings
        .nodes
        .iter()
        .filter(|node| !from_holders.contains(*node));
    others.all(|node| waited(&node))
        && nodes.any(|node| streams(s, node) && cluster.node(node).online && !leaves(node))
}

/// Whether a node is seen to stream with WAL of the primary's timeline.
pub(crate) fn streams(s: &Snapshot, node: &NodeName) -> bool {
    let (Some(view), Ok(cluster)) = (s.primary(), &s.cluster) else {
        return false;
    };
    let fork = view
        .history
        .last_switch()
        .map_or(Lsn::INVALID, |switch| switch.end);
    let name = cluster.link_name(node);
    let mut own = view
        .links
        .rows
        .iter()
        .filter(|row| name.as_ref().is_some_and(|name| name.is_called(&row.name)));
    own.next().is_some_and(|row| {
        row.state == Some(WalSenderState::Streaming)
            && row.flushed.is_some_and(|flushed| flushed > fork)
            && row.follows(view.links.flushed)
    })
}

/// Whether this monitor ends beside its primary and commits are held: it has seen everything, or all but the
/// register, which is as it was, and the holder from before streams again. Where it has seen that it has no
/// quorum, Pacemaker stops PostgreSQL.
pub(crate) fn leaves_held(state: &State, i: usize, s: &Snapshot) -> bool {
    let node = &state.nodes[i];
    let fresh = fresh_progress(state.counted.is_some()).failures.len();
    let known = match &s.register {
        Some(Reading::Row(row)) => row.is_owned_by(s.me()) && s.reign().is_some(),
        Some(Reading::Unknown(_)) => {
            let back = |holder: u8| {
                let holder = name(usize::from(holder));
                let member = |cluster: &Cluster| cluster.node(&holder).online;
                streams(s, &holder) && s.cluster.as_ref().is_ok_and(member)
            };
            untouched(state, i) && node.hold.is_some_and(back)
        }
        _ => false,
    };
    let ends = |cluster: &Cluster| {
        let asked = s.progress.quorum.as_ref();
        let quorum = asked.map_or(cluster.quorum, |settled| settled.quorum);
        cluster.without_quorum != WithoutQuorum::GoesOn && !quorum
    };
    matches!(s.operation, Operation::Monitor { .. })
        && known
        && !s.cluster.as_ref().is_ok_and(ends)
        && s.progress.failures.len() == fresh
        && s.primary().is_some_and(|view| view.waits.is_held())
        && matches!(node.postgres, Postgres::Primary { .. })
        && node.shown & HELD_BIT != 0
}

/// Whether the register is as node `i` had it when it began to hold commits, and it knows that.
fn untouched(state: &State, i: usize) -> bool {
    let node = &state.nodes[i];
    let pair = node.hold.map(|holder| 1 << holder | 1 << i);
    state.row.owner == Some(i as u8)
        && pair == Some(state.row.holders)
        && (node.seen.term, node.seen.epoch) == state.row_at()
        && node.seen.asked.is_none_or(|asked| asked < node.seen.epoch)
        && node.reign.is_some_and(|(term, _)| term == node.seen.term)
}

/// Whether a round of the guard leaves commits held from which no operation will ever release them.
pub(crate) fn leaves_left_over(state: &State, i: usize, s: &Snapshot) -> bool {
    let node = &state.nodes[i];
    untouched(state, i)
        && node.run.is_none()
        && s.primary().is_some_and(|view| view.waits.is_held())
        && matches!(node.postgres, Postgres::Primary { .. })
        && node.shown & HELD_BIT != 0
}

//! The node attributes that show the state of replication.

use super::gate::gate;
use super::links::{self, Link};
use super::ownership::ownership;
use crate::cluster::Cluster;
use crate::names::NodeName;
use crate::ocf::{self, When};
use crate::plan::{Action, ActionKind, Attribute, Step};
use crate::register::Ownership;
use crate::repl_info::ReplInfo;
use crate::snapshot::{Guard, Mode, Operation, Snapshot};
use crate::status::{DataStatus, GuardStatus, PgsqlStatus, Score, SyncState, WalSenderState, Word};
use crate::timeline::WalPosition;
use crate::unfit::Unfit;

/// The writes that are still needed; none once a write has failed in this operation, so that a
/// broken attribute daemon does not keep an operation from its end.
pub(in crate::decide) fn needed(
    snapshot: &Snapshot,
    wanted: Vec<(NodeName, Attribute)>,
) -> Vec<Action> {
    let Ok(cluster) = &snapshot.cluster else {
        return vec![];
    };
    if snapshot
        .progress
        .failure(ActionKind::SetAttribute)
        .is_some()
    {
        return vec![];
    }
    wanted
        .into_iter()
        .filter(|(node, attribute)| changed(cluster, node, attribute))
        .map(|(node, attribute)| Action::SetAttribute(node, attribute))
        .collect()
}

/// Whether clients wait for this very operation: a promotion by the register, or the notification
/// that follows it, after which Pacemaker starts the writer's address. What nobody acts upon is then
/// left to the first monitor, which begins together with that address.
fn clients_wait(snapshot: &Snapshot) -> bool {
    snapshot.builtin()
        && match &snapshot.operation {
            Operation::Promote => true,
            Operation::Notify(about) => {
                about.when == When::Post
                    && about.operation == ocf::Operation::Promote
                    && about.promote.contains(snapshot.me())
            }
            _ => false,
        }
}

/// What a primary shows of itself and of every other node.
pub(in crate::decide) fn of_primary(snapshot: &Snapshot) -> Vec<Action> {
    let (Some(_), Ok(cluster)) = (snapshot.primary(), &snapshot.cluster) else {
        return vec![];
    };
    let me = snapshot.me();
    let mut wanted = vec![
        (me.clone(), Attribute::Status(PgsqlStatus::Pri)),
        (me.clone(), Attribute::Score(Score::Primary)),
    ];
    if !clients_wait(snapshot) {
        wanted.push((me.clone(), Attribute::DataStatus(DataStatus::Latest)));
        if let Some(info) = repl_info(snapshot) {
            wanted.push((me.clone(), Attribute::Baseline(info.end)));
        }
        if let Some(status) = of_guard(snapshot) {
            wanted.push((me.clone(), Attribute::Guard(status)));
        }
        wanted.extend(receiver(snapshot));
    }
    for node in snapshot.settings.nodes.iter().filter(|node| *node != me) {
        let link = links::of(snapshot, node);
        of_other(snapshot, cluster, node, link, &mut wanted);
    }
    needed(snapshot, wanted)
}

/// Whether the guard of a primary runs, where there is to be one and somebody has looked.
fn of_guard(snapshot: &Snapshot) -> Option<GuardStatus> {
    match snapshot.guard {
        _ if !snapshot.builtin() => None,
        Guard::Unknown => None,
        Guard::Running => Some(GuardStatus::Running),
        Guard::Absent | Guard::Stale(_) => Some(GuardStatus::NotRunning),
    }
}

fn of_other(
    snapshot: &Snapshot,
    cluster: &Cluster,
    node: &NodeName,
    link: Option<Link>,
    wanted: &mut Vec<(NodeName, Attribute)>,
) {
    let online = cluster.node(node).online;
    // A member that only seems to stream would be taken for a standby that is back.
    if online || !clients_wait(snapshot) {
        let data_status = link.map_or(DataStatus::Disconnect, |link| {
            DataStatus::replication(link.state, waited_for(snapshot, link))
        });
        wanted.push((node.clone(), Attribute::DataStatus(data_status)));
    }
    // Transient attributes belong to members; another node's are gone with it.
    if !online {
        return;
    }
    if let Some(link) = link {
        wanted.push((node.clone(), Attribute::Status(status_of(link))));
    }
    // What keeps it from opening it knows itself, and who may not be promoted for another reason may not all the same.
    let fit = cluster.node(node).unfit.is_none();
    let score = score_of(snapshot, node, link);
    if let Some(score) = score.filter(|score| fit || *score == Score::MayNot) {
        wanted.push((node.clone(), Attribute::Score(score)));
    }
}

/// What a standby counts for. Without a register it opens by that alone (its data status): one that commits pass by
/// as soon as anybody has the files read again is none that they wait for.
fn waited_for(snapshot: &Snapshot, link: Link) -> SyncState {
    let alone = snapshot.settings.mode == Mode::Sync && !snapshot.builtin();
    match link.sync {
        SyncState::Sync | SyncState::Quorum if alone && !snapshot.names_are_taken_up() => {
            SyncState::Potential
        }
        sync => sync,
    }
}

fn status_of(link: Link) -> PgsqlStatus {
    match (link.state, link.sync) {
        (WalSenderState::Streaming, SyncState::Sync | SyncState::Quorum) => PgsqlStatus::HsSync,
        (WalSenderState::Streaming, SyncState::Potential) => PgsqlStatus::HsPotential,
        (WalSenderState::Streaming, SyncState::Async) => PgsqlStatus::HsAsync,
        _ => PgsqlStatus::HsConnected,
    }
}

/// A standby's score as its primary knows it; the standby's own monitor comes to the same by
/// reading the register ([`super::gate`]).
fn score_of(snapshot: &Snapshot, node: &NodeName, link: Option<Link>) -> Option<Score> {
    let may = |yes: bool| {
        if yes {
            Score::MayPromote
        } else {
            Score::MayNot
        }
    };
    let streaming = link.is_some_and(|link| link.streams());
    match snapshot.settings.mode {
        // Of a register that is damaged the standby says so itself.
        Mode::Sync if snapshot.builtin() => match ownership(snapshot)? {
            Ownership::Mine(row) | Ownership::Adopt(row) => Some(may(row.holders.contains(node))),
            _ => None,
        },
        Mode::Sync => Some(may(streaming
            && link.is_some_and(|link| {
                let counts_for = waited_for(snapshot, link);
                matches!(counts_for, SyncState::Sync | SyncState::Quorum)
            }))),
        Mode::Async => Some(may(streaming)),
        Mode::Standalone | Mode::Slave => None,
    }
}

/// What a standby shows of itself, its promotion score apart.
pub(in crate::decide) fn of_standby(snapshot: &Snapshot) -> Vec<(NodeName, Attribute)> {
    let Ok(cluster) = &snapshot.cluster else {
        return vec![];
    };
    let me = snapshot.me();
    let mut wanted = vec![(me.clone(), Attribute::Status(own_status(snapshot, cluster)))];
    let guard = cluster.node(me).guard;
    if snapshot.guard == Guard::Absent && guard.is_some() {
        // It ended with the primary that this node was.
        wanted.push((me.clone(), Attribute::Guard(GuardStatus::NotRunning)));
    }
    if let Some(view) = snapshot.standby() {
        let full = snapshot.wal_room.is_short().then(Unfit::no_room);
        wanted.push((me.clone(), Attribute::Unfit(view.unfit().or(full))));
    }
    if let Some(position) = position_to_report(snapshot, cluster) {
        wanted.push((me.clone(), Attribute::Position(position)));
    }
    wanted.extend(receiver(snapshot));
    wanted
}

/// Whether the WAL receiver works, where `check_wal_receiver` asks for that. A primary has none.
fn receiver(snapshot: &Snapshot) -> Option<(NodeName, Attribute)> {
    let text = match snapshot.standby() {
        _ if snapshot.primary().is_some() => "normal (master)",
        Some(view) if view.streaming => "normal",
        _ => "ERROR",
    };
    let attribute = Attribute::Receiver(text.to_owned());
    let wanted = snapshot.settings.check_wal_receiver;
    wanted.then(|| (snapshot.me().clone(), attribute))
}

fn own_status(snapshot: &Snapshot, cluster: &Cluster) -> PgsqlStatus {
    let streaming = snapshot.standby().is_some_and(|view| view.streaming);
    let Some(_primary) = cluster.primary().filter(|_| streaming) else {
        return PgsqlStatus::HsAlone;
    };
    let data_status = cluster.node(snapshot.me()).data_status;
    match data_status.as_ref().and_then(DataStatus::streams_as) {
        None => PgsqlStatus::HsConnected,
        Some(Word::Known(SyncState::Sync | SyncState::Quorum)) => PgsqlStatus::HsSync,
        Some(Word::Known(SyncState::Potential)) => PgsqlStatus::HsPotential,
        Some(Word::Known(SyncState::Async) | Word::Other(_)) => PgsqlStatus::HsAsync,
    }
}

/// The end of WAL is reported while it may decide who becomes primary: as long as no primary is to
/// be seen. Then it does not move, so that this costs one write and not one per monitor.
pub(in crate::decide) fn position_to_report(
    snapshot: &Snapshot,
    cluster: &Cluster,
) -> Option<WalPosition> {
    if cluster.primary().is_some() {
        return None;
    }
    let reported = cluster.node(snapshot.me()).position;
    let now = snapshot.standby()?.end()?;
    // A standby that is still replaying shows less than it has; what `start` read from the disk stands.
    reported.is_none_or(|before| now > before).then_some(now)
}

/// Shows a standby's attributes and its gate; reads the register first where it decides.
pub(in crate::decide) fn show_standby(s: &Snapshot) -> Option<Step> {
    if !s.settings.mode.replicated() {
        return None;
    }
    if s.builtin() && s.register.is_none() {
        return Some(Step::then_continue(vec![Action::ReadRegister]));
    }
    let mut wanted = of_standby(s);
    if let Some(score) = gate(s).score {
        wanted.push((s.me().clone(), Attribute::Score(score)));
    }
    let actions = needed(s, wanted);
    (!actions.is_empty()).then(|| Step::then_continue(actions))
}

/// What `pgsql_REPL_INFO` ought to be: this node, and the switch that began its timeline.
pub(in crate::decide) fn repl_info(s: &Snapshot) -> Option<ReplInfo> {
    let view = s.primary().filter(|_| s.settings.mode.replicated())?;
    Some(match view.history.last_switch() {
        Some(switch) => ReplInfo::after_switch(s.me().clone(), switch),
        None => ReplInfo::before_any_switch(s.me().clone()),
    })
}

pub(in crate::decide) fn show(s: &Snapshot) -> Option<Step> {
    let actions = of_primary(s);
    (!actions.is_empty()).then(|| Step::then_continue(actions))
}

/// Sets this node's score to -INFINITY where it is not.
pub(in crate::decide) fn close_gate(s: &Snapshot) -> Option<Step> {
    let actions = needed(s, vec![(s.me().clone(), Attribute::Score(Score::MayNot))]);
    (!actions.is_empty()).then(|| Step::then_continue(actions))
}

/// A cluster attribute that is to be written where it differs from what is there.
#[must_use]
pub(in crate::decide) fn changed(
    cluster: &Cluster,
    node: &NodeName,
    attribute: &Attribute,
) -> bool {
    let known = cluster.node(node);
    match attribute {
        Attribute::Status(value) => known.status.as_ref() != Some(value),
        Attribute::DataStatus(value) => known.data_status.as_ref() != Some(value),
        Attribute::Score(value) => known.score.as_ref() != Some(value),
        Attribute::Position(value) => known.position.as_ref() != Some(value),
        Attribute::Baseline(value) => known.baseline.as_ref() != Some(value),
        Attribute::Receiver(value) => known.receiver.as_ref() != Some(value),
        Attribute::Guard(value) => known.guard != Some(Word::Known(*value)),
        Attribute::Unfit(value) => known.unfit != *value,
        Attribute::Flushed(value) => known.flushed.as_ref() != Some(value),
    }
}

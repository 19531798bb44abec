//! The promotion score, which is the gate: Pacemaker promotes no node whose score is -INFINITY, so
//! what may not be promoted now is not tried, does not fail and is not counted.

use super::election::{Election, elect};
use super::kin::foreign_standby;
use super::outage;
use crate::cluster::{Cluster, ClusterNode};
use crate::names::NodeName;
use crate::register::{Damage, Eligibility, Own, Reading, Register, may_promote};
use crate::snapshot::{Arbiter, ExternalLock, Mode, Snapshot, StandbyView, WalRoom};
use crate::status::Score;
use crate::timeline::WalPosition;
use crate::unfit::UnfitKind;

/// What a standby's score ought to be, and why.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// The score; `None` leaves the present one.
    pub score: Option<Score>,
    /// The reason, for the log.
    pub why: String,
}

impl Gate {
    fn set(score: Score, why: impl Into<String>) -> Self {
        Self {
            score: Some(score),
            why: why.into(),
        }
    }

    fn keep(why: impl Into<String>) -> Self {
        Self {
            score: None,
            why: why.into(),
        }
    }
}

/// The score of this node while it is no primary.
pub fn gate(snapshot: &Snapshot) -> Gate {
    let Ok(cluster) = &snapshot.cluster else {
        return Gate::keep("Pacemaker does not answer");
    };
    // It would take the register, end, and keep every other holder from being promoted (R14).
    if let Some(why) = snapshot.standby().and_then(StandbyView::unfit) {
        return Gate::set(
            Score::MayNot,
            format!("it could not open for writing: {}", why.why),
        );
    }
    let gate = if snapshot.builtin() {
        by_register(snapshot, cluster)
    } else {
        under_the_lock(snapshot, by_attributes(snapshot, cluster))
    };
    match gate.score {
        // A promotion takes the other holders out of the register, and PostgreSQL then ends for want
        // of room for its WAL, or hangs: a holder with room has to come first.
        Some(Score::Primary | Score::MayPromote) if no_room(&snapshot.wal_room).is_some() => {
            let disk = no_room(&snapshot.wal_room).unwrap_or_default();
            Gate::set(Score::LastResort, format!("{}, and {disk}", gate.why))
        }
        Some(Score::MayPromote) => match ahead(snapshot, cluster) {
            Some(node) => Gate::set(
                Score::LastResort,
                format!("{}, and {node} has more WAL", gate.why),
            ),
            None => gate,
        },
        _ => gate,
    }
}

/// Why the disk is not known to take the WAL of a primary. A disk that does not answer is not known to.
fn no_room(room: &WalRoom) -> Option<String> {
    match room {
        WalRoom::NotAsked => None,
        WalRoom::Unknown(why) => Some(format!("its disk cannot be looked at ({why})")),
        WalRoom::Seen { .. } => room.is_short().then(|| "its disk is full".to_owned()),
    }
}

/// Asynchronous mode: another standby that may be promoted and has reported more WAL than this node
/// has, while there is no primary. In synchronous mode every holder has everything.
fn ahead<'c>(snapshot: &Snapshot, cluster: &'c Cluster) -> Option<&'c NodeName> {
    let mine = end_of_wal(snapshot, cluster)?;
    let best = rivals(snapshot, cluster).max_by_key(|(_, node)| node.position)?;
    (best.1.position > Some(mine)).then_some(best.0)
}

/// Asynchronous mode: another standby that may be promoted and has not reported as much WAL as this
/// node has: it is behind, or has not reported yet.
pub(in crate::decide) fn not_reported<'c>(
    snapshot: &Snapshot,
    cluster: &'c Cluster,
) -> Option<&'c NodeName> {
    let mine = end_of_wal(snapshot, cluster)?;
    let mut rivals = rivals(snapshot, cluster);
    let behind = rivals.find(|(_, node)| node.position < Some(mine));
    behind.map(|(name, _)| name)
}

/// What this node has, as far as it is known: a standby that is still replaying shows less than it
/// has, and what `start` read from the disk and reported stands.
fn end_of_wal(snapshot: &Snapshot, cluster: &Cluster) -> Option<WalPosition> {
    let reported = cluster.node(snapshot.me()).position;
    reported.max(snapshot.standby()?.end())
}

fn rivals<'c>(
    snapshot: &Snapshot,
    cluster: &'c Cluster,
) -> impl Iterator<Item = (&'c NodeName, &'c ClusterNode)> {
    let asked = snapshot.settings.mode == Mode::Async && cluster.primary().is_none();
    cluster.nodes.iter().filter(move |(name, node)| {
        asked && *name != snapshot.me() && node.online && node.score == Some(Score::MayPromote)
    })
}

/// Why this standby is not promoted, while there is no primary: that is when somebody wants to know.
pub(in crate::decide) fn why_shut(snapshot: &Snapshot) -> Option<String> {
    let nobody = snapshot.cluster.as_ref().ok()?.primary().is_none();
    let gate = gate(snapshot);
    (nobody && gate.score == Some(Score::MayNot)).then_some(gate.why)
}

fn by_register(snapshot: &Snapshot, cluster: &Cluster) -> Gate {
    let Some(reading) = &snapshot.register else {
        return Gate::keep("the register was not read");
    };
    match eligibility(snapshot, reading) {
        Eligibility::FirstElection(_) => by_election(snapshot, cluster),
        Eligibility::Yes(register) if register.is_owned_by(snapshot.me()) => {
            Gate::set(Score::Primary, "this node was the primary last")
        }
        Eligibility::Yes(_) => Gate::set(Score::MayPromote, "this node may take over"),
        Eligibility::LeaseRunning { register, .. } => under_a_lease(cluster, &register),
        Eligibility::Unknown(_) if outage::may_be_promised(snapshot) => Gate::set(
            Score::Primary,
            "this node was the primary last, and every other node may promise not to be promoted",
        ),
        Eligibility::Unknown(trouble) => Gate::keep(trouble.to_string()),
        refused => Gate::set(Score::MayNot, explained(snapshot, &refused)),
    }
}

/// Whether this node may promote, by the register (R0, R1, R7, R10).
pub(in crate::decide) fn eligibility(snapshot: &Snapshot, reading: &Reading) -> Eligibility {
    let memory = match snapshot.seen() {
        Ok(memory) => memory,
        Err(why) => return Eligibility::Damage(Damage::Forgotten(why.to_owned())),
    };
    let foreign = foreign_standby(snapshot);
    let own = Own {
        flushed: snapshot.standby().and_then(StandbyView::position),
        foreign: foreign.as_deref(),
    };
    let bounded_loss =
        (snapshot.settings.mode == Mode::Async).then_some(snapshot.settings.async_max_lag);
    may_promote(reading, snapshot.me(), &memory, own, bounded_loss)
}

/// The refusal, with a hint where the register is another cluster's.
pub(in crate::decide) fn explained(snapshot: &Snapshot, refused: &Eligibility) -> String {
    let owner = snapshot.row().and_then(|row| row.owner.as_ref());
    match owner.filter(|owner| !snapshot.settings.nodes.contains(owner)) {
        Some(owner) => format!(
            "{refused}; {owner}, which owns the lock, is not in node_list: if another cluster uses the same lock name, give this one another distlock_lockname"
        ),
        None => refused.to_string(),
    }
}

/// Another node's lease runs and this node is a holder. While the owner is a member of this
/// partition, that is the healthy state: this node is the one to take over. When the owner has
/// disappeared, the gate stays as it is: open until a renewal has proven the owner alive (then the
/// pre-promote notification closes it), and closed after that until the lease has run out.
fn under_a_lease(cluster: &Cluster, register: &Register) -> Gate {
    let Some(owner) = &register.owner else {
        return Gate::keep("a lease without an owner");
    };
    if cluster.node(owner).online {
        Gate::set(
            Score::MayPromote,
            format!("this node may take over from {owner}"),
        )
    } else {
        Gate::keep(format!(
            "the lock is held by {owner}, which this node cannot see"
        ))
    }
}

fn by_election(snapshot: &Snapshot, cluster: &Cluster) -> Gate {
    let before = cluster.repl_info().map(|info| &info.node);
    match elect(&snapshot.settings.nodes, cluster, before) {
        Election::Winner(node) if &node == snapshot.me() => {
            Gate::set(Score::Primary, "this node has the newest data of all nodes")
        }
        Election::Winner(node) => {
            Gate::set(Score::MayNot, format!("{node} is to be the first primary"))
        }
        Election::WaitingFor(nodes) => Gate::set(
            Score::MayNot,
            format!(
                "no primary was ever chosen and no report has come from {}; start the missing nodes, \
                 or run cls_recovery_master",
                nodes
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        ),
    }
}

/// Without the register: `pgsql_REPL_INFO` says who was primary, and the data status, which the
/// primary wrote, who may follow it.
fn by_attributes(snapshot: &Snapshot, cluster: &Cluster) -> Gate {
    let info = match &cluster.repl_info {
        None => return by_election(snapshot, cluster),
        Some(Err(text)) => {
            return Gate::set(
                Score::MayNot,
                format!("pgsql_REPL_INFO cannot be read: {text}"),
            );
        }
        Some(Ok(info)) => info,
    };
    if &info.node == snapshot.me() {
        return Gate::set(Score::Primary, "this node was the primary last");
    }
    let mine = cluster.node(snapshot.me()).data_status;
    match (snapshot.settings.mode, &mine) {
        (Mode::Sync, Some(status)) if status.is_streaming_sync() => {
            Gate::set(Score::MayPromote, "this node was the synchronous standby")
        }
        (Mode::Async, Some(status)) if status.is_streaming() => {
            Gate::set(Score::MayPromote, "this node was streaming")
        }
        _ => Gate::set(
            Score::MayNot,
            format!(
                "the data of this node may be old: its data status is {}",
                mine.map_or_else(|| "unknown".to_owned(), |status| status.to_string())
            ),
        ),
    }
}

/// With the external lock: a gate that a refusal has closed is opened again only under the lock.
fn under_the_lock(snapshot: &Snapshot, gate: Gate) -> Gate {
    if gate.score == Some(Score::MayNot) || !is_shut(snapshot) {
        return gate;
    }
    match snapshot
        .progress
        .external
        .as_ref()
        .map(ExternalLock::refusal)
    {
        Some(None) => gate,
        Some(Some(why)) => Gate::set(Score::MayNot, format!("{}, but {why}", gate.why)),
        None => Gate::keep("the lock was not asked for"),
    }
}

/// Why the right to promote is refused for now, if it is. An owner that renews its lease is alive;
/// waiting for it would only keep Pacemaker from everything else.
pub(in crate::decide) fn refusal(s: &Snapshot) -> Option<String> {
    if let Some(why) = s.progress.external.as_ref().and_then(ExternalLock::refusal) {
        return Some(why.to_owned());
    }
    if let Some(why) = s.standby().and_then(StandbyView::unfit) {
        let remedy = match why.kind {
            Some(UnfitKind::Files) => "correct that line there",
            _ => "raise it there in postgresql.conf and restart the standby",
        };
        return Some(format!(
            "PostgreSQL on {} could not open for writing: {}; {remedy}",
            s.me(),
            why.why
        ));
    }
    if !s.builtin() {
        return None;
    }
    let cluster = s.cluster_or_empty();
    let out_of_time = s.left < s.elapsed; // half of the time is gone
    match eligibility(s, s.register.as_ref()?) {
        Eligibility::Yes(_) => None,
        Eligibility::FirstElection(_) => {
            match elect(
                &s.settings.nodes,
                &cluster,
                cluster.repl_info().map(|info| &info.node),
            ) {
                Election::Winner(node) if &node == s.me() => None,
                Election::Winner(node) => {
                    Some(format!("{node} has newer data or comes first in node_list"))
                }
                Election::WaitingFor(nodes) => Some(format!(
                    "no primary was ever chosen, and {} has not reported its end of WAL",
                    nodes
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join(", ")
                )),
            }
        }
        Eligibility::LeaseRunning { register, .. } => {
            let alive = s
                .progress
                .other_owner_seen
                .as_ref()
                .is_some_and(|seen| *seen != register.renewed);
            (alive || out_of_time).then(|| {
                let owner = register.owner.as_ref().map_or("nobody".to_owned(), ToString::to_string);
                format!("{owner} holds the lock and renews it; this node will be promoted once it is free")
            })
        }
        Eligibility::Unknown(trouble) => (out_of_time && !outage::may_restart(s)).then(|| {
            let why = outage::not_restarted(s);
            why.map_or(trouble.to_string(), |why| format!("{trouble}; {why}"))
        }),
        // A standby answers before it has replayed all WAL that it has; its position still rises.
        behind @ Eligibility::BehindRecorded { .. } => out_of_time.then(|| behind.to_string()),
        refused => Some(explained(s, &refused)),
    }
}

/// Whether a promotion of this standby may have been refused, and nobody is primary since: whatever else
/// speaks for it, Pacemaker would try once more, fail, and count that until the node is given up. What it
/// does after each failure (demote, stop, start) opens nothing either.
pub(in crate::decide) fn is_shut(s: &Snapshot) -> bool {
    let Ok(cluster) = &s.cluster else {
        return false;
    };
    s.settings.arbiter == Arbiter::External
        && cluster.primary().is_none()
        && cluster.node(s.me()).score == Some(Score::MayNot)
}

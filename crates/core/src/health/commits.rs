//! Commits that wait for a synchronous standby.
//!
//! PostgreSQL shows such a backend with the wait event `SyncRep`. In a healthy cluster every commit
//! is there for a moment, so only what lasts is said.

use super::{CommitWaits, Level, Observation, Problem, problem};
use crate::cluster::end_of_maintenance;
use crate::message;
use crate::message::Message;
use crate::names::NodeName;
use crate::parse::standby_names::StandbyNames;
use crate::register::{Damage, NoRow};
use crate::status::WalSenderState;

/// The rule: commits wait, or will have to, since the standby and the register are both gone.
pub(super) fn waiting(seen: &Observation<'_>) -> Vec<Problem> {
    let (Some(commits), Some(primary)) = (seen.commits, seen.primary()) else {
        return Vec::new();
    };
    if commits.names == StandbyNames::Off {
        return Vec::new();
    }
    let confirmed = confirms(seen, &commits.names);
    let held = !confirmed && kept_from_going_on(seen);
    if commits.waiting == 0 && !held {
        return Vec::new();
    }
    let (why, remedy) = why(seen, commits, primary, confirmed);
    let text = message!("{seen}: {why}", seen = commits.seen(), why);
    vec![problem(Level::Critical, text, remedy).on(primary)]
}

/// Whether a standby that commits wait for streams.
fn confirms(seen: &Observation<'_>, names: &StandbyNames) -> bool {
    seen.replication.is_some_and(|rows| {
        rows.iter().any(|row| {
            row.state == Some(WalSenderState::Streaming) && names.contains(row.standby.as_str())
        })
    })
}

/// Whether the primary may not leave a lost standby behind by itself (R3).
fn kept_from_going_on(seen: &Observation<'_>) -> bool {
    seen.believed().is_some_and(|row| row.is_err())
}

/// What to type where Pacemaker does not act on the primary.
fn given_back(seen: &Observation<'_>, primary: &NodeName) -> Option<Message> {
    if !seen.cluster.managed {
        return Some(message!("cls_manage"));
    }
    let node = seen.node(primary).filter(|node| node.maintenance);
    node.map(|_| end_of_maintenance(primary))
}

/// The same where it runs no monitors of it either.
fn monitored_again(seen: &Observation<'_>, primary: &NodeName) -> Option<Message> {
    let maintained = seen.cluster.maintenance.is_some()
        || seen.node(primary).is_some_and(|node| node.maintenance);
    given_back(seen, primary).filter(|_| maintained)
}

/// What takes the standbys out that commits wait for, one command each.
fn spared(commits: &CommitWaits) -> Message {
    let commands = commits.nodes().into_iter().map(|node| match node {
        None => message!("cls_standby_node <node>"),
        Some(node) => message!("cls_standby_node {node}", node),
    });
    Message::all(commands)
}

fn why(
    seen: &Observation<'_>,
    commits: &CommitWaits,
    primary: &NodeName,
    confirmed: bool,
) -> (Message, Message) {
    let whom = commits.whom();
    let held = commits.names.holds_commits();
    if held && let Some(command) = given_back(seen, primary) {
        return (
            message!(
                "one of them was to take the place of the other, and Pacemaker does not act on the database"
            ),
            message!("{command}; the primary's next monitor ends that", command),
        );
    }
    if held && !kept_from_going_on(seen) {
        return (
            message!(
                "one of them takes the place of the other, and no commit is acknowledged until it has"
            ),
            message!(
                "wait ten seconds, the primary ends that by itself; if it does not, see in Pacemaker's log on {primary} why",
                primary
            ),
        );
    }
    if confirmed && !held {
        let spared = spared(commits);
        let ends = match given_back(seen, primary) {
            Some(command) => message!("{command}, then {spared}", command, spared),
            None => spared,
        };
        return (
            message!("it streams, and does not confirm them"),
            message!(
                "on {whom}: look at the disk and at PostgreSQL's log; {ends} lets commits go on without it",
                whom,
                ends
            ),
        );
    }
    if !kept_from_going_on(seen)
        && let Some(command) = monitored_again(seen, primary)
    {
        return (
            message!(
                "it does not stream, and Pacemaker runs no monitors of the primary (maintenance), which would go on without it"
            ),
            message!(
                "{command}; the primary's next monitor then goes on without it",
                command
            ),
        );
    }
    if !kept_from_going_on(seen) {
        return (
            message!("it does not stream"),
            message!(
                "wait ten seconds, the primary goes on without it by itself; if it does not, see in Pacemaker's log on {primary} why",
                primary
            ),
        );
    }
    let what = match held {
        true => message!("one of them was to take the place of the other"),
        false => message!("it does not stream"),
    };
    match seen.believed() {
        Some(Err(NoRow::Unknown(_))) if held => (
            message!("{what}, and the lock service cannot be asked", what),
            message!("bring back the lock service; the primary's next monitor ends that"),
        ),
        Some(Err(NoRow::Unknown(_))) => (
            message!("{what}, and the lock service cannot be asked", what),
            message!(
                "bring back one of the two: the lock service, or {whom} (on {whom}: systemctl start corosync pacemaker); Pacemaker's log on {primary} names the node that has not promised, and why",
                whom,
                primary
            ),
        ),
        Some(Err(NoRow::Damage(Damage::Foreign(_)))) => (
            message!("{what}, and the register's row is another database's", what),
            Damage::foreign(),
        ),
        _ => (
            message!("{what}, and the register is damaged", what),
            message!("cls_recovery_master"),
        ),
    }
}

//! No primary, or more than one.

use super::{Level, Observation, Problem, daemons, problem};
use crate::cluster::ClusterNode;
use crate::message;
use crate::message::Message;
use crate::names::NodeName;
use crate::register::{Damage, NoRow, Register};
use crate::status::{PgsqlStatus, Role, Score};

fn nobody() -> Message {
    message!("no node is primary: nobody can write")
}

/// The rule.
pub(super) fn not_one_primary(seen: &Observation<'_>) -> Vec<Problem> {
    let promoted: Vec<&NodeName> = seen.cluster.promoted().collect();
    match promoted[..] {
        [_] => Vec::new(),
        [] if seen.is_stopped_on_purpose() => {
            let text = message!("the database is stopped, as an operator asked");
            vec![problem(Level::Critical, text, message!("cls_start"))]
        }
        [] => vec![none(seen)],
        _ => {
            let text = message!(
                "{nodes} are primary at the same time",
                nodes = Message::all(promoted.iter().map(Message::from))
            );
            vec![problem(Level::Critical, text, one_of(seen, &promoted))]
        }
    }
}

/// Which of several primaries is to stop, and how. cls_standby_node wants to be forced, since nobody is there
/// that could take over from it.
fn one_of(seen: &Observation<'_>, promoted: &[&NodeName]) -> Message {
    let row = seen.believed().and_then(Result::ok);
    let owner = row.and_then(|row| row.owner.as_ref());
    let Some(owner) = owner.filter(|owner| promoted.contains(owner)) else {
        return message!(
            "the register names none of them: compare their data, then cls_standby_node <node> --force for the one that clients do not write to, which stops its database"
        );
    };
    let others = promoted.iter().filter(|node| **node != owner);
    let commands = others.map(|node| message!("cls_standby_node {node} --force", node));
    message!(
        "the register's owner is {owner}: {commands}, which stops the other database",
        owner,
        commands = Message::all(commands)
    )
}

/// Nobody is primary: what the register says of who may be next.
fn none(seen: &Observation<'_>) -> Problem {
    let critical = |remedy: Message| problem(Level::Critical, nobody(), remedy);
    if !seen.cluster.quorum {
        let text = message!("no node of this part of the cluster is primary");
        let remedy = message!("cls_status on the other nodes: one of them may be primary");
        return problem(Level::Critical, text, remedy);
    }
    match seen.believed() {
        Some(Ok(row)) if row.term > 0 => by_register(seen, row),
        Some(Err(NoRow::Damage(Damage::Foreign(_)))) => critical(Damage::foreign()),
        Some(Err(NoRow::Damage(_))) => critical(message!(
            "cls_recovery_master: while the register is damaged nobody is promoted"
        )),
        Some(Err(NoRow::Unknown(_))) => critical(message!(
            "bring the lock service back: without it nobody is promoted, and only a primary that has crashed is restarted, if every other node promises over ssh not to take over"
        )),
        Some(Ok(_)) | None => critical(message!(
            "look at the findings below; cls_cleanup makes Pacemaker try again after a repair, cls_recovery_master is for the case that no node may become primary"
        )),
    }
}

fn by_register(seen: &Observation<'_>, row: &Register) -> Problem {
    if let Some(owner) = row.owner.as_ref().filter(|_| !row.lease_left.is_zero())
        && seen.node(owner).is_none_or(|node| !node.online)
    {
        if seen.here == Some(owner) {
            let text = message!(
                "{owner} has the lease, but Pacemaker does not see what runs on it",
                owner
            );
            return problem(Level::Critical, text, daemons::start_again(owner));
        }
        let text = message!(
            "no node that this one sees is primary; {owner}, which it does not see, has the lease for {seconds} s more",
            owner,
            seconds = format!("{:.1}", row.lease_left.as_secs_f64())
        );
        let remedy = message!(
            "wait ten seconds and look again; if {owner} still renews the lease, it is the primary: mend the network between the nodes, or what cls_status on {owner} names, nothing else",
            owner
        );
        return problem(Level::Critical, text, remedy);
    }
    // Without a lease it serves on as the only holder, or by the others' promises (R15). One that
    // released its lease had stopped PostgreSQL before (R8).
    let unseen = row
        .owner
        .as_ref()
        .filter(|owner| !row.ttl.is_zero() && seen.node(owner).is_none_or(|node| !node.online));
    let text = unseen.map_or_else(nobody, |owner| {
        message!(
            "no node that this one sees is primary; {owner}, which it does not see, may be alive and serving",
            owner
        )
    });
    // No holder is asked for at a promotion then (R1), but a standby's own score.
    let mut nodes = seen.cluster.nodes.iter();
    if !seen.sync()
        && let Some((node, _)) = nodes.find(|(_, node)| node.may_take_over())
    {
        let remedy = message!(
            "wait: {node} may become primary; if it has not within a minute: cls_cleanup",
            node
        );
        return problem(Level::Critical, text, remedy);
    }
    let put_back = |name: &&NodeName| seen.node(name).is_some_and(|n| put_back(row, name, n));
    let (older, complete): (Vec<&NodeName>, Vec<&NodeName>) =
        row.holders.iter().partition(put_back);
    let names = Message::any(complete.iter().map(Message::from));
    let runs = |name: &&&NodeName| seen.node(name).is_some_and(|n| n.role() != Role::Stopped);
    if let Some(node) = complete.iter().find(runs) {
        if let Some(barred) = promised(seen, row, node) {
            return barred;
        }
    }
    let find = |fits: fn(&ClusterNode) -> bool| {
        let mut holders = complete.iter();
        holders.find(|name| seen.node(name).is_some_and(fits))
    };
    let remedy = if let Some(node) =
        find(|node| node.role() != Role::Stopped && node.score == Some(Score::MayNot))
    {
        message!(
            "cls_status on {node}: it has every acknowledged commit, and says there what keeps it from being primary, if that lasts for a minute",
            node
        )
    } else if let Some(node) = find(|node| node.role() != Role::Stopped) {
        message!(
            "wait: {node} has every acknowledged commit and may become primary; if it has not within a minute: cls_cleanup",
            node
        )
    } else if let Some(node) = find(|node| node.online && node.standby) {
        message!(
            "cls_unstandby_node {node}: it has every acknowledged commit",
            node
        )
    } else if let Some(node) = find(|node| node.online) {
        message!(
            "see below why the database does not run on {node}, which has every acknowledged commit; then cls_cleanup --node {node}",
            node
        )
    } else if let ([older, ..], []) = (&older[..], &complete[..]) {
        message!(
            "bring the newer data of {older} back: what it has was put back to an older state, and no other node has every acknowledged commit. Only if they are lost for good: cls_recovery_master, which shows what would be lost and asks",
            older
        )
    } else if let Some(owner) = unseen {
        match complete[..] {
            [one] if one == owner => message!(
                "cls_status on {owner}: if it is primary there, mend the network, nothing else. If it is off, start {owner}: no other node has every acknowledged commit. Only if it is lost for good and switched off: cls_recovery_master, which shows what would be lost and asks",
                owner
            ),
            _ => message!(
                "cls_status on {owner}: if it is primary there, mend the network, nothing else. If it is off, start {names}: no other node has every acknowledged commit. Only if all of these are lost for good and switched off: cls_recovery_master, which shows what would be lost and asks",
                owner,
                names
            ),
        }
    } else if complete.len() > 1 {
        message!(
            "start {names}: no other node has every acknowledged commit. Only if all of them are lost for good: cls_recovery_master, which shows what would be lost and asks",
            names
        )
    } else {
        message!(
            "start {names}: no other node has every acknowledged commit. Only if it is lost for good: cls_recovery_master, which shows what would be lost and asks",
            names
        )
    };
    problem(Level::Critical, text, remedy)
}

/// R7: this node has every acknowledged commit and may not be promoted, because it has promised that to the
/// primary while the lock service was away. The primary ends it by moving the epoch; nobody else can.
fn promised(seen: &Observation<'_>, row: &Register, node: &NodeName) -> Option<Problem> {
    let memory = seen.memory.filter(|_| seen.here == Some(node))?;
    let owner = row.owner.as_ref().filter(|owner| *owner != node)?;
    memory.has_promised(row.epoch).then(|| {
        let text = message!(
            "no node that this one sees is primary; {node} has every acknowledged commit, and has promised {owner} not to be promoted while the lock service was away (epoch {epoch})",
            node,
            owner,
            epoch = row.epoch
        );
        let remedy = message!(
            "start {owner}: it ends the promise by itself as soon as it reaches the lock service. Only if it is lost for good and switched off: cls_recovery_master, which shows what would be lost and asks",
            owner
        );
        problem(Level::Critical, text, remedy).on(node)
    })
}

/// Whether a node that runs has less WAL than the register records for it, and keeps its gate shut for
/// that (R10): it is no holder, whatever the row says.
fn put_back(row: &Register, name: &NodeName, node: &ClusterNode) -> bool {
    let runs = node.status != Some(PgsqlStatus::Stop);
    let shut = node.score == Some(Score::MayNot);
    let known = node.position.zip(row.positions.get(name));
    runs && shut && known.is_some_and(|(own, recorded)| own.lsn < *recorded)
}

//! What a command has left in the cluster's configuration that was killed, or whose node lost its
//! power: the note that it runs, and the constraint by which it moves or stops the database.

use crate::message;
use crate::message::Message;
use crate::names::{NodeName, copy_slot};
use crate::status::Word;

use super::{LeftSlot, Level, NotingCommand, Observation, Operation, Problem, problem};

/// Nothing while an operation runs, which takes away what it has made.
pub(super) fn over(seen: &Observation<'_>) -> Vec<Problem> {
    if seen.operation.is_some_and(|operation| operation.runs) {
        return Vec::new();
    }
    let mut problems = Vec::new();
    if let Some(Operation { command, node, .. }) = seen.operation {
        let text = message!(
            "{command} on {node} was ended before it was done",
            command = command.to_string(),
            node
        );
        problems.push(problem(Level::Warning, text, again(command, node)).on(node));
    }
    for LeftSlot { name, bytes } in seen.slots {
        problems.push(slot(seen, name, bytes.unwrap_or(0)));
    }
    for id in &seen.cluster.left {
        let text = message!(
            "a constraint is left over, of a command that was ended or of crm_resource: {id}",
            id
        );
        problems.push(problem(Level::Warning, text, message!("cls_cleanup")));
    }
    problems
}

/// The copy that is made anew takes its slot away at its end. Where the node streams already, the primary's
/// next monitor does.
fn slot(seen: &Observation<'_>, name: &str, bytes: u64) -> Problem {
    let primary = seen.cluster.promoted().next();
    let on = primary.map_or_else(|| message!("the primary"), Message::from);
    let text = message!(
        "the replication slot {name} of an interrupted copy keeps {bytes} bytes of WAL on {on}, and nobody uses it",
        name,
        bytes,
        on
    );
    let owner = seen.nodes.iter().find(|node| copy_slot(node) == name);
    let drop = format!("psql -c \"select pg_drop_replication_slot('{name}')\"");
    let remedy = match owner {
        Some(node) => message!(
            "on {node}: cls_rebuild_slave --keep-old, which takes it away when {node} streams; or on {on}, as the database account: {drop}",
            node,
            on,
            drop
        ),
        None => message!("on {on}, as the database account: {drop}", on, drop),
    };
    problem(Level::Warning, text, remedy)
}

/// A copy has to be begun anew, and a restart that goes round goes on with the nodes that are left; what
/// else was interrupted, Pacemaker and the agent have carried through or not, and only the note is left.
fn again(command: &Word<NotingCommand>, node: &NodeName) -> Message {
    let Word::Known(command) = command else {
        return message!("cls_cleanup");
    };
    match command {
        NotingCommand::RebuildSlave => {
            message!("on {node}: cls_rebuild_slave --keep-old", node)
        }
        NotingCommand::RepairSlave => {
            message!("on {node}: cls_repair_slave --or-rebuild", node)
        }
        NotingCommand::Setup => {
            message!("cls_cleanup, then cls_setup --restart, which goes on with what is left of it")
        }
        NotingCommand::Restart => {
            message!(
                "cls_restart --pending, which goes on with the nodes that still wait for a restart"
            )
        }
        NotingCommand::OnlineSwitch | NotingCommand::RecoveryMaster | NotingCommand::Cleanup => {
            message!("cls_cleanup")
        }
    }
}

//! What a command has left in the cluster's configuration that was killed, or whose node lost its
//! power: the note that it runs, and the constraint by which it moves or stops the database.

use crate::message;
use crate::message::Message;
use crate::names::{NodeName, copy_slot, is_copy_slot};
use crate::postgres::PrimaryView;
use crate::status::Word;
use crate::text_enum::text_enum;

use super::{Level, Observation, Problem, problem};

text_enum! {
    /// A command that notes in the cluster's configuration that it runs.
    NotingCommand, "command" {
        /// A planned switch.
        OnlineSwitch = "cls_online_switch",
        /// A planned restart.
        Restart = "cls_restart",
        /// The configuration, with a restart.
        Setup = "cls_setup",
        /// A repair of a standby.
        RepairSlave = "cls_repair_slave",
        /// A rebuild of a standby.
        RebuildSlave = "cls_rebuild_slave",
        /// An operator's decision.
        RecoveryMaster = "cls_recovery_master",
        /// What mends the rest of the others.
        Cleanup = "cls_cleanup",
    }
}

/// With what the name of a command begins that is a link to `cls`.
const LINK: &str = "cls_";

impl NotingCommand {
    /// The command as `cls` is given it, without the name of a link.
    #[must_use]
    pub fn word(self) -> &'static str {
        word_of_link(self.as_str())
    }
}

/// The command of `cls` that a link of this name stands for.
#[must_use]
pub fn word_of_link(name: &str) -> &str {
    name.strip_prefix(LINK).unwrap_or(name)
}

/// The operation of `cls` that is noted in the cluster's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The command; another one where a later version has noted it.
    pub command: Word<NotingCommand>,
    /// Where it was begun.
    pub node: NodeName,
    /// Whether its process is still there, or it cannot be told.
    pub runs: bool,
}

/// A replication slot that was made for a copy of the primary's data, and that nobody uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftSlot {
    /// Its name.
    pub name: String,
    /// How many bytes of WAL it keeps; `None` where it keeps none any more.
    pub bytes: Option<u64>,
}

impl LeftSlot {
    /// Those of a primary.
    #[must_use]
    pub fn of(primary: &PrimaryView) -> Vec<Self> {
        let end = primary.links.flushed;
        let left = primary.slots.iter();
        let left = left.filter(|slot| !slot.active && is_copy_slot(&slot.name));
        left.map(|slot| Self {
            name: slot.name.clone(),
            bytes: slot
                .restart
                .map(|from| end.as_u64().saturating_sub(from.as_u64())),
        })
        .collect()
    }
}

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

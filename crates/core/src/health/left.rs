//! What a command has left in the cluster's configuration that was killed, or whose node lost its
//! power: the note that it runs, and the constraint by which it moves or stops the database.

use crate::names::NodeName;

use super::{Level, Observation, Problem, problem};

/// The operation of `cls` that is noted in the cluster's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The command, `cls_online_switch`.
    pub command: String,
    /// Where it was begun.
    pub node: NodeName,
    /// Whether its process is still there, or it cannot be told.
    pub runs: bool,
}

/// Nothing while an operation runs, which takes away what it has made.
pub(super) fn over(seen: &Observation<'_>) -> Vec<Problem> {
    if seen.operation.is_some_and(|operation| operation.runs) {
        return Vec::new();
    }
    let mut problems = Vec::new();
    if let Some(Operation { command, node, .. }) = seen.operation {
        let text = format!("{command} on {node} was ended before it was done");
        problems.push(problem(Level::Warning, text, &again(command, node)).on(node));
    }
    for id in &seen.cluster.left {
        let text = format!(
            "a constraint is left over, of a command that was ended or of crm_resource: {id}"
        );
        problems.push(problem(Level::Warning, text, "cls_cleanup"));
    }
    problems
}

/// A copy has to be begun anew; what else was interrupted, Pacemaker and the agent have carried
/// through or not, and only the note is left.
fn again(command: &str, node: &NodeName) -> String {
    match command {
        "cls_rebuild_slave" => format!("on {node}: cls_rebuild_slave --keep-old"),
        "cls_repair_slave" => format!("on {node}: cls_repair_slave --or-rebuild"),
        _ => "cls_cleanup".to_owned(),
    }
}

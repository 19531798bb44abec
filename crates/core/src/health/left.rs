//! What a command has left in the cluster's configuration that was killed, or whose node lost its
//! power: the note that it runs, and the constraint by which it moves or stops the database.

use crate::names::{NodeName, ResourceName};
use crate::parse::cib::{Cib, Location};

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

/// The constraints on the database that `crm_resource` has made, for a command or by hand. They
/// move it where nobody wants it any more, or keep it off a node, and stay when they have no effect
/// any more.
#[must_use]
pub fn left_constraints<'a>(cib: &'a Cib, resource: &ResourceName) -> Vec<&'a Location> {
    let container = cib
        .resource(resource)
        .and_then(|resource| resource.container.as_ref());
    let ours = |name: &str| {
        name == resource.as_str() || container.is_some_and(|container| container.id == name)
    };
    cib.locations
        .iter()
        .filter(|location| location.id.starts_with("cli-") && ours(&location.resource))
        .collect()
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
    for Location { id, .. } in left_constraints(seen.cib, seen.resource) {
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

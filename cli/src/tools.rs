//! Pacemaker's own tools, in the spellings that every version from 2.0 to 3.0 takes.

use std::time::Duration;

use pha_core::decide::operator::kept_off;
use pha_core::names::NodeName;
use pha_core::setup::Element;
use pha_host::clock::Deadline;
use pha_host::command::{Command, Output};
use pha_host::pacemaker::{
    PacemakerError, answers_memory, answers_quorum, memory_question, quorum_question,
};

use crate::error::ClsError;

/// Exit status of Pacemaker's tools: there is no such thing.
const NOT_FOUND: i32 = 105;
/// Exit status of Pacemaker's tools: it is so already.
const EXISTS: i32 = 108;
/// Exit status of Pacemaker's tools: it did not come about in time.
const NOT_YET: i32 = 124;
/// How long one call may take.
const BUDGET: Duration = Duration::from_secs(20);

/// Runs a tool.
pub(crate) fn run(command: Command, deadline: Deadline) -> Result<Output, ClsError> {
    let output = command.run(deadline.sub_budget(BUDGET));
    Ok(output.map_err(PacemakerError::of)?)
}

/// Runs a tool that changes the cluster's configuration, and sees that the change will last. A part
/// without quorum takes changes, too, and when the parts meet again the configuration of the other
/// one holds. The configuration itself says so only seconds later, when a coordinator has been
/// elected in this part, so Pacemaker's controller is asked, and after the change: quorum may be
/// lost between any two steps, and a change that waited for the new membership is done after that.
///
/// # Errors
/// Those of [`run`], and [`ClsError::NotKept`].
pub(crate) fn change(command: Command, deadline: Deadline) -> Result<Output, ClsError> {
    let output = run(command, deadline)?;
    match run(quorum_question(), deadline) {
        Ok(answer) if answers_quorum(&answer) == Some(true) => Ok(output),
        // Pacemaker answered just now, so it is its controller that has gone.
        Ok(_) | Err(ClsError::NoCluster | ClsError::NoAnswer) => Err(ClsError::NotKept),
        Err(error) => Err(error),
    }
}

/// Whether Pacemaker has nothing more to do: its scheduler is asked what it would do about the cluster as
/// it is now, so that an action is seen that has been decided on and not begun. That no operation runs
/// says less: between two actions of one transition none does, and none after a change until Pacemaker
/// has taken it up.
pub(crate) fn idle(deadline: Deadline) -> Result<bool, ClsError> {
    let command = Command::new("crm_resource")
        .args(["--wait", "--timeout=2"])
        .accept(NOT_YET);
    Ok(run(command, deadline)?.code != NOT_YET)
}

/// Whether an attribute of a node that is in the cluster information base is in the memory of Pacemaker's
/// attribute daemon too. Where it is not, that node's daemon has ended, and its next one removes it from the
/// information base as it starts. A daemon that does not answer yet, here, or not in time, holds nothing.
pub(crate) fn is_held(
    node: &NodeName,
    attribute: &str,
    deadline: Deadline,
) -> Result<bool, ClsError> {
    match run(memory_question(node, attribute), deadline) {
        Ok(answer) => Ok(answers_memory(&answer).is_some_and(|value| !value.is_empty())),
        Err(ClsError::NoCluster | ClsError::NoAnswer) => Ok(false),
        Err(ClsError::Tool(error)) if error.is_timeout() || error.status() == Some(NOT_YET) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn crm_resource(resource: &str) -> Command {
    Command::new("crm_resource").arg(format!("--resource={resource}"))
}

/// Sets a meta attribute of a resource.
pub(crate) fn set_meta(
    resource: &str,
    name: &str,
    value: &str,
    deadline: Deadline,
) -> Result<(), ClsError> {
    let command = crm_resource(resource)
        .arg("--meta")
        .arg(format!("--set-parameter={name}"))
        .arg(format!("--parameter-value={value}"));
    change(command, deadline).map(drop)
}

/// Takes a meta attribute of a resource away; it is no error if there is none.
pub(crate) fn delete_meta(resource: &str, name: &str, deadline: Deadline) -> Result<(), ClsError> {
    let command = crm_resource(resource)
        .arg("--meta")
        .arg(format!("--delete-parameter={name}"))
        .accept(NOT_FOUND);
    change(command, deadline).map(drop)
}

/// Forgets a resource's failures, on one node or on all.
pub(crate) fn cleanup(
    resource: &str,
    node: Option<&str>,
    deadline: Deadline,
) -> Result<(), ClsError> {
    let mut command = crm_resource(resource).arg("--cleanup");
    if let Some(node) = node {
        command = command.arg(format!("--node={node}"));
    }
    change(command, deadline).map(drop)
}

/// Makes Pacemaker forget all that it knows of a resource, and look again on every node.
pub(crate) fn refresh(resource: &str, deadline: Deadline) -> Result<(), ClsError> {
    change(crm_resource(resource).arg("--refresh"), deadline).map(drop)
}

/// Sets an attribute of a node that lasts.
pub(crate) fn set_node(
    node: &str,
    name: &str,
    value: &str,
    deadline: Deadline,
) -> Result<(), ClsError> {
    let command = Command::new("crm_attribute")
        .arg("--lifetime=forever")
        .arg(format!("--node={node}"))
        .arg(format!("--name={name}"))
        .arg(format!("--update={value}"));
    change(command, deadline).map(drop)
}

/// Takes an attribute of a node away; it is no error if there is none.
pub(crate) fn delete_node(node: &str, name: &str, deadline: Deadline) -> Result<(), ClsError> {
    let command = Command::new("crm_attribute")
        .arg("--lifetime=forever")
        .arg(format!("--node={node}"))
        .arg(format!("--name={name}"))
        .arg("--delete")
        .accept(NOT_FOUND);
    change(command, deadline).map(drop)
}

/// Asks Pacemaker to promote a clone's instance on this node, and there it stays if it is promoted
/// there now. The constraint that this makes stops having an effect by itself after `lifetime`, so
/// that it does no harm if nobody lives to clear it.
pub(crate) fn promote_on(
    clone: &str,
    node: &str,
    lifetime: Duration,
    deadline: Deadline,
) -> Result<(), ClsError> {
    // `--promoted` came with Pacemaker 2.1; the old word works in every version up to 3.0.
    let command = crm_resource(clone)
        .arg("--move")
        .arg("--master")
        .arg(format!("--node={node}"))
        .arg(format!("--lifetime=PT{}S", lifetime.as_secs().max(1)));
    if change(command.clone().accept(EXISTS), deadline)?.code != EXISTS {
        return Ok(());
    }
    // It is promoted there, and a wish for another node may be in the way: only with `--force` is
    // that replaced. From anywhere else, `--force` would also ban the node that it comes from.
    change(command.arg("--force"), deadline).map(drop)
}

/// Makes a constraint, which [`take_away`] takes away.
pub(crate) fn constrain(constraint: &Element, deadline: Deadline) -> Result<(), ClsError> {
    let command = Command::new("cibadmin")
        .args(["--create", "--scope=constraints"])
        .arg(format!("--xml-text={}", constraint.to_xml()));
    change(command, deadline).map(drop)
}

/// Puts a constraint in the place of the one with the same identifier, in one step of the cluster. It is an
/// error where that one was taken away. An identifier of XML has no character that ends a string of XPath.
pub(crate) fn constrain_otherwise(
    constraint: &Element,
    deadline: Deadline,
) -> Result<(), ClsError> {
    let command = Command::new("cibadmin")
        .arg("--replace")
        .arg(format!("--xpath=//rsc_location[@id='{}']", constraint.id()))
        .arg(format!("--xml-text={}", constraint.to_xml()));
    change(command, deadline).map(drop)
}

/// The identifier of the constraint that [`promote_on`] makes.
pub(crate) fn wish(clone: &str) -> String {
    format!("cli-prefer-{clone}")
}

/// Takes away one constraint; it is no error if there is none. `crm_resource --clear` would take all of the
/// clone's, those that an administrator has made himself too.
pub(crate) fn take_away(id: &str, deadline: Deadline) -> Result<(), ClsError> {
    let command = Command::new("cibadmin")
        .arg("--delete")
        .arg(format!("--xpath=//rsc_location[@id='{id}']"))
        .accept(NOT_FOUND);
    change(command, deadline).map(drop)
}

/// Keeps a clone's instance off this node until [`allow_on`]; the constraint has no effect any more
/// after `lifetime`, so that it does no harm if nobody lives to clear it.
pub(crate) fn keep_off(
    clone: &str,
    node: &str,
    lifetime: Duration,
    deadline: Deadline,
) -> Result<(), ClsError> {
    let command = crm_resource(clone)
        .arg("--ban")
        .arg(format!("--node={node}"))
        .arg(format!("--lifetime=PT{}S", lifetime.as_secs().max(1)));
    change(command, deadline).map(drop)
}

/// Takes away the constraint that [`keep_off`] has made.
pub(crate) fn allow_on(clone: &str, node: &str, deadline: Deadline) -> Result<(), ClsError> {
    take_away(&kept_off(clone, node), deadline)
}

/// Sets a cluster property in a set of its own.
pub(crate) fn set_property(
    set: &str,
    name: &str,
    value: &str,
    deadline: Deadline,
) -> Result<(), ClsError> {
    let command = Command::new("crm_attribute")
        .arg("--type=crm_config")
        .arg(format!("--set-name={set}"))
        .arg(format!("--name={name}"))
        .arg(format!("--update={value}"));
    change(command, deadline).map(drop)
}

/// Takes a cluster property away, out of this set or out of the one that has it; it is no error if there is
/// none.
pub(crate) fn delete_property(
    set: Option<&str>,
    name: &str,
    deadline: Deadline,
) -> Result<(), ClsError> {
    let mut command = Command::new("crm_attribute").arg("--type=crm_config");
    if let Some(set) = set {
        command = command.arg(format!("--set-name={set}"));
    }
    let command = command
        .arg(format!("--name={name}"))
        .arg("--delete")
        .accept(NOT_FOUND);
    change(command, deadline).map(drop)
}

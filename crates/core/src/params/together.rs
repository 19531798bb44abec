//! What the parameters say together.

use std::collections::BTreeMap;

use super::values::IDENTIFIER;
use super::{Mode, ParamError, Params};
use crate::names::NodeName;
use crate::ocf::OcfCode;

fn error(parameter: &'static str, problem: impl Into<String>) -> ParamError {
    ParamError {
        parameter,
        value: None,
        problem: problem.into(),
        code: OcfCode::Configured,
    }
}

/// Checks what the parameters say together, on this node. What contradicts itself in the choice
/// of the lock service has already been refused by [`Params::parse`].
///
/// # Errors
/// The first contradiction; its code is [`OcfCode::Args`] where only this node has the problem, so
/// that Pacemaker goes on using the others.
pub fn validate_together(params: &Params, me: &NodeName) -> Result<(), ParamError> {
    if params.monitor_password.is_some() && params.monitor_user.is_none() {
        return Err(error(
            "monitor_user",
            "is missing: monitor_password needs it (or remove monitor_password)",
        ));
    }
    if params.pgdata == "/" {
        return Err(error(
            "pgdata",
            "is the root directory, which is no data directory",
        ));
    }
    if params.tmpdir == params.pgdata {
        return Err(error(
            "tmpdir",
            "is pgdata itself: the agent's files must not be copied and replaced with the data, so give it another directory",
        ));
    }
    if params.rep_mode != Mode::Standalone && params.master_ip.is_none() {
        return Err(error(
            "master_ip",
            format!(
                "is missing: rep_mode={} needs the address under which the primary is reached",
                params.rep_mode
            ),
        ));
    }
    if params.rep_mode.replicated() {
        node_list(params, me)?;
        slots(params)?;
    }
    Ok(())
}

fn node_list(params: &Params, me: &NodeName) -> Result<(), ParamError> {
    if params.node_list.is_empty() {
        return Err(error(
            "node_list",
            format!(
                "is missing: rep_mode={} needs the names of all nodes",
                params.rep_mode
            ),
        ));
    }
    if params.node_list.contains(me) {
        return Ok(());
    }
    let similar = params
        .node_list
        .iter()
        .find(|node| node.as_str().eq_ignore_ascii_case(me.as_str()));
    let problem = match similar {
        Some(node) => format!("names {node}: write {me}, as Pacemaker calls this node"),
        None => format!("does not name this node: add {me}"),
    };
    Err(ParamError {
        code: OcfCode::Args,
        ..error("node_list", problem)
    })
}

/// Two nodes must not share a replication slot, and its name has a limit.
fn slots(params: &Params) -> Result<(), ParamError> {
    let mut seen: BTreeMap<String, &NodeName> = BTreeMap::new();
    for node in &params.node_list {
        let Some(slot) = params.slot_for(node) else {
            return Ok(());
        };
        if slot.len() > IDENTIFIER {
            return Err(error(
                "replication_slot_name",
                format!("is too long: slot {slot} would have more than {IDENTIFIER} characters"),
            ));
        }
        if let Some(other) = seen.get(&slot) {
            return Err(error(
                "replication_slot_name",
                format!(
                    "gives {other} and {node} the same slot {slot}: slots cannot be used with these node names"
                ),
            ));
        }
        seen.insert(slot, node);
    }
    Ok(())
}

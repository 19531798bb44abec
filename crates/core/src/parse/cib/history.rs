//! Roles from the history of operations.
//!
//! The information base has no roles: Pacemaker derives them from the last results of each
//! resource's operations on each node, `lrm_rsc_op`. The local executor numbers the operations that
//! it starts, `call-id`, so the results are taken in that order, and each says what it left behind:
//!
//! | operation | result | role |
//! | --- | --- | --- |
//! | start, demote | 0 | unpromoted |
//! | promote | 0 | promoted |
//! | stop | 0 | stopped |
//! | monitor | 0, 190 | unpromoted |
//! | monitor | 8, 9, 191 | promoted |
//! | monitor | 7 | stopped |
//! | probe | 5 | stopped (the agent or PostgreSQL is not installed there) |
//!
//! Any other result says nothing about what is there, and leaves the role that was known before it:
//! a monitor that timed out does not mean that PostgreSQL stopped. Whether it was a failure is told
//! by the result that Pacemaker expected, the third field of `transition-key`. Pacemaker's own
//! displays go further and show the role that a failed operation would have led to, because it is
//! from there that they recover; these roles are what the agent has said.
//!
//! A recurring monitor keeps one entry with the number of its first run; a changed result replaces
//! the old one in it. It is compared like the others: it begins after the operation that led to its
//! role, and is cancelled before the next one.

use std::collections::BTreeMap;

use roxmltree::Node;

use super::element::{required, value_error};
use super::error::CibError;
use crate::names::ResourceName;
use crate::ocf::OcfCode;
use crate::status::Role;

/// What the recorded operations say about one resource on one node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResourceState {
    /// The role after the last operation that says one; `None` if none does.
    pub role: Option<Role>,
    /// The result of the last operation that has one.
    pub last_code: Option<i32>,
    /// The name of that operation.
    pub last_operation: Option<String>,
    /// Set if that operation failed.
    pub failure: Option<Failure>,
    /// The last operation that failed, also if Pacemaker has done others since (it stops what
    /// failed to start); none once it has been cleaned up.
    pub last_failure: Option<Failure>,
    /// The number of that operation: what fails anew after a cleanup has another one.
    pub failed_call: Option<i64>,
    /// The number of the start after which it runs, as long as that is on record: another number is
    /// another start, and a promotion or demotion takes its place.
    pub started: Option<i64>,
    /// An operation that has begun and has no result yet.
    pub pending: Option<Pending>,
}

/// A failed operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its name.
    pub operation: String,
    /// The agent's exit code.
    pub code: i32,
    /// What the agent gave as the reason.
    pub reason: Option<String>,
}

/// An operation that is running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Its name.
    pub operation: String,
}

/// `op-status` of an operation that has no result yet (`PCMK_EXEC_PENDING`).
const PENDING: i32 = -1;

struct Operation<'a> {
    name: &'a str,
    call: i64,
    code: i32,
    status: i32,
    is_probe: bool,
    expected: Option<i32>,
    reason: Option<&'a str>,
}

/// Reads `lrm_resources`. Instances of an anonymous clone have the resource's own name; where there
/// is a number after it, it is taken off.
pub(super) fn read(lrm: Node<'_, '_>) -> Result<BTreeMap<String, ResourceState>, CibError> {
    let mut operations: BTreeMap<String, Vec<Operation<'_>>> = BTreeMap::new();
    for resource in lrm
        .children()
        .filter(|node| node.has_tag_name("lrm_resource"))
    {
        let id = required(resource, "id")?;
        let name = ResourceName::from_instance(id).map_or_else(|_| id.to_owned(), String::from);
        let entry = operations.entry(name).or_default();
        for node in resource
            .children()
            .filter(|node| node.has_tag_name("lrm_rsc_op"))
        {
            entry.push(operation(node)?);
        }
    }
    Ok(operations
        .into_iter()
        .map(|(name, operations)| (name, state(operations)))
        .collect())
}

fn operation<'a>(node: Node<'a, 'a>) -> Result<Operation<'a>, CibError> {
    let number = |attribute: &'static str| -> Result<i64, CibError> {
        required(node, attribute)?
            .parse()
            .map_err(|_| value_error(node, attribute, "a number"))
    };
    let small = |attribute: &'static str| {
        number(attribute).and_then(|value| {
            i32::try_from(value).map_err(|_| value_error(node, attribute, "a small number"))
        })
    };
    let name = required(node, "operation")?;
    let interval = node.attribute("interval").unwrap_or("0");
    Ok(Operation {
        name,
        call: number("call-id")?,
        code: small("rc-code")?,
        status: small("op-status")?,
        expected: expected_code(node)?,
        is_probe: name == "monitor" && matches!(interval, "0" | "0s" | "0ms"),
        reason: node
            .attribute("exit-reason")
            .filter(|text| !text.is_empty()),
    })
}

/// The result that Pacemaker expected: `transition-key` is `action:transition:code:uuid`.
fn expected_code(node: Node<'_, '_>) -> Result<Option<i32>, CibError> {
    node.attribute("transition-key")
        .map(|key| {
            key.split(':')
                .nth(2)
                .and_then(|code| code.parse().ok())
                .ok_or_else(|| value_error(node, "transition-key", "action:transition:code:uuid"))
        })
        .transpose()
}

/// What an operation with this result left behind; `None` for a failure.
fn outcome(operation: &Operation<'_>) -> Option<Role> {
    let code = OcfCode::from_code(operation.code)?;
    match (operation.name, code) {
        ("start" | "demote", OcfCode::Success)
        | ("monitor", OcfCode::Success | OcfCode::Degraded) => Some(Role::Unpromoted),
        ("promote", OcfCode::Success)
        | (
            "monitor",
            OcfCode::RunningPromoted | OcfCode::FailedPromoted | OcfCode::DegradedPromoted,
        ) => Some(Role::Promoted),
        ("stop", OcfCode::Success) | ("monitor", OcfCode::NotRunning) => Some(Role::Stopped),
        ("monitor", OcfCode::Installed) if operation.is_probe => Some(Role::Stopped),
        _ => None,
    }
}

/// Whether the cluster counts the result as a failure: another one than it expected, except that a
/// probe may find whatever there is unless that is broken, and that 190 and 191 are warnings.
fn is_failure(operation: &Operation<'_>) -> bool {
    let code = OcfCode::from_code(operation.code);
    match (outcome(operation), code) {
        (None, _) | (_, Some(OcfCode::FailedPromoted)) => true,
        (Some(_), Some(OcfCode::Degraded | OcfCode::DegradedPromoted)) => false,
        (Some(_), _) if operation.is_probe => false,
        (Some(role), _) => match operation.expected {
            Some(expected) => operation.code != expected,
            None => operation.name == "monitor" && role == Role::Stopped,
        },
    }
}

fn state(mut operations: Vec<Operation<'_>>) -> ResourceState {
    let mut state = ResourceState::default();
    operations.sort_by_key(|operation| operation.call);
    for operation in &operations {
        let known = ["start", "stop", "promote", "demote", "monitor"];
        if !known.contains(&operation.name) {
            // Notifications and reloads change no role.
            continue;
        }
        if operation.name == "start" {
            // Only what does not run is started. The stop before it may have been overwritten, and
            // the entry of a monitor from before that stop stays where it is (Pacemaker 2.1.5).
            state.role = Some(Role::Stopped);
        }
        if operation.status == PENDING {
            // A recurring monitor changes nothing that anybody would have to wait for. And the entry
            // of one that was ordered and then cancelled may stay for good (Pacemaker 2.1.5).
            if operation.name != "monitor" || operation.is_probe {
                state.pending = Some(Pending {
                    operation: operation.name.to_owned(),
                });
            }
            continue;
        }
        state.role = outcome(operation).or(state.role);
        if operation.name == "start" && state.role != Some(Role::Stopped) {
            state.started = Some(operation.call);
        }
        state.last_code = Some(operation.code);
        state.last_operation = Some(operation.name.to_owned());
        state.failure = is_failure(operation).then(|| Failure {
            operation: operation.name.to_owned(),
            code: operation.code,
            reason: operation.reason.map(str::to_owned),
        });
        if state.failure.is_some() {
            state.last_failure.clone_from(&state.failure);
            state.failed_call = Some(operation.call);
        }
    }
    state
}

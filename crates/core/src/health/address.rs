//! The addresses that clients use, and what else is placed with the database.

use crate::parse::cib::CibResource;
use crate::status::Role;

use super::{Level, Observation, Problem, fail_counts, problem};

/// What runs nowhere while there is a primary. Without one it is right that the writers'
/// address is away, and another rule says so.
pub(super) fn nowhere(seen: &Observation<'_>) -> Vec<Problem> {
    if seen.primary().is_none() || seen.is_stopped_on_purpose() {
        return Vec::new();
    }
    let ours = |resource: &&CibResource| {
        seen.addresses
            .iter()
            .any(|name| name.as_str() == resource.id)
    };
    seen.cib
        .resources
        .iter()
        .filter(ours)
        .filter(|resource| !runs(seen, resource))
        .map(|resource| away(seen, resource))
        .collect()
}

fn runs(seen: &Observation<'_>, resource: &CibResource) -> bool {
    let Ok(name) = resource.id.parse() else {
        return false;
    };
    seen.cib.nodes.iter().any(|node| {
        let state = node.resource(&name).filter(|_| node.online);
        state.is_some_and(|state| matches!(state.role, Some(role) if role != Role::Stopped))
    })
}

fn away(seen: &Observation<'_>, resource: &CibResource) -> Problem {
    let id = &resource.id;
    let (level, text) = match resource.parameters.get("ip") {
        Some(ip) if seen.writer_ip == Some(ip) => (
            Level::Critical,
            format!("the address {ip} ({id}) is on no node: clients do not reach the primary"),
        ),
        Some(ip) => (
            Level::Warning,
            format!("the address {ip} ({id}) is on no node: nobody can read by it"),
        ),
        None => (
            Level::Warning,
            format!("{id}, which is placed with the database, is on no node"),
        ),
    };
    let failed = || {
        let counts = fail_counts(seen.cib);
        counts.iter().any(|count| count.resource == resource.id)
    };
    let remedy = if resource.is_stopped_on_purpose() {
        "cls_start"
    } else if failed() {
        "see below why it has failed"
    } else {
        "look again: Pacemaker moves it after the primary; if it stays so, crm_mon -1 -r"
    };
    problem(level, text, remedy)
}

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
    resources(seen)
        .filter(|resource| !runs(seen, resource))
        .map(|resource| away(seen, resource))
        .collect()
}

/// What stays where it is when the primary moves, while Pacemaker manages the database itself: the
/// rest of a `cls_unmanage` or a `cls_manage` that was killed between two resources.
pub(super) fn unmanaged(seen: &Observation<'_>) -> Vec<Problem> {
    resources(seen)
        .filter(|resource| {
            let managed = resource.meta_attribute("is-managed");
            managed.and_then(crate::ocf::parse_boolean) == Some(false)
        })
        .map(|resource| {
            let text = format!(
                "Pacemaker does not manage {}: it would not move with the primary",
                resource.id
            );
            problem(Level::Warning, text, "cls_manage")
        })
        .collect()
}

/// The definitions of what is placed with the database.
fn resources<'a>(seen: &Observation<'a>) -> impl Iterator<Item = &'a CibResource> {
    let addresses = seen.addresses;
    seen.cib
        .resources
        .iter()
        .filter(move |resource| addresses.iter().any(|name| name.as_str() == resource.id))
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

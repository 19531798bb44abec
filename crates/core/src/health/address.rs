//! The addresses that clients use, and what else is placed with the database.

use crate::cluster::Resource;

use super::{Level, Observation, Problem, problem};

/// What runs nowhere while there is a primary. Without one it is right that the writers'
/// address is away, and another rule says so.
pub(super) fn nowhere(seen: &Observation<'_>) -> Vec<Problem> {
    if seen.primary().is_none() || seen.is_stopped_on_purpose() {
        return Vec::new();
    }
    let placed = seen.cluster.placed.iter();
    placed
        .filter(|resource| !seen.cluster.runs(&resource.name))
        .map(|resource| away(seen, resource))
        .collect()
}

/// What stays where it is when the primary moves, while Pacemaker manages the database itself: the
/// rest of a `cls_unmanage` or a `cls_manage` that was killed between two resources.
pub(super) fn unmanaged(seen: &Observation<'_>) -> Vec<Problem> {
    let placed = seen.cluster.placed.iter();
    placed
        .filter(|resource| !resource.managed)
        .map(|resource| {
            let text = format!(
                "Pacemaker does not manage {}: it would not move with the primary",
                resource.name
            );
            problem(Level::Warning, text, "cls_manage")
        })
        .collect()
}

fn away(seen: &Observation<'_>, resource: &Resource) -> Problem {
    let id = &resource.name;
    let failed = || {
        let mut counts = seen.cluster.failures.iter();
        counts.any(|count| count.resource == id.as_str())
    };
    if resource.needs_standby
        && !resource.stopped_on_purpose
        && seen.standbys().next().is_none()
        && !failed()
    {
        return without_standby(seen, resource);
    }
    let (level, text) = match &resource.address {
        Some(ip) if seen.writer_ip == Some(ip.as_str()) => (
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
    let remedy = if resource.stopped_on_purpose {
        "cls_start"
    } else if failed() {
        "see below why it has failed"
    } else {
        "look again: Pacemaker moves it after the primary; if it stays so, crm_mon -1 -r"
    };
    problem(level, text, remedy)
}

/// What belongs beside a standby while none runs: nobody has to move it, and it comes back by itself.
fn without_standby(seen: &Observation<'_>, resource: &Resource) -> Problem {
    let id = &resource.name;
    let Some(ip) = &resource.address else {
        let text = format!("{id} runs beside a standby, and no standby runs");
        let remedy = "bring a standby back: it comes back with it by itself";
        return problem(Level::Warning, text, remedy);
    };
    let text = format!(
        "the address {ip} ({id}) is on no node: it belongs beside a standby, and no standby runs"
    );
    let meanwhile = seen
        .writer_ip
        .map(|writer| format!("; until then {writer} answers, which is the primary"));
    let remedy = format!(
        "bring a standby back: the address comes back with it by itself{}",
        meanwhile.unwrap_or_default()
    );
    problem(Level::Warning, text, &remedy)
}

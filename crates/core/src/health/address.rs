//! The addresses that clients use, and what else is placed with the database.

use crate::cluster::Resource;
use crate::message;

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
            let text = message!(
                "Pacemaker does not manage {name}: it would not move with the primary",
                name = resource.name.as_str()
            );
            problem(Level::Warning, text, message!("cls_manage"))
        })
        .collect()
}

fn away(seen: &Observation<'_>, resource: &Resource) -> Problem {
    let id = resource.name.as_str();
    let failed = || {
        let mut counts = seen.cluster.failures.iter();
        counts.any(|count| count.resource == id)
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
            message!(
                "the address {ip} ({id}) is on no node: clients do not reach the primary",
                ip,
                id
            ),
        ),
        Some(ip) => (
            Level::Warning,
            message!(
                "the address {ip} ({id}) is on no node: nobody can read by it",
                ip,
                id
            ),
        ),
        None => (
            Level::Warning,
            message!("{id}, which is placed with the database, is on no node", id),
        ),
    };
    let remedy = if resource.stopped_on_purpose {
        message!("cls_start")
    } else if failed() {
        message!("see below why it has failed")
    } else {
        message!("look again: Pacemaker moves it after the primary; if it stays so, crm_mon -1 -r")
    };
    problem(level, text, remedy)
}

/// What belongs beside a standby while none runs: nobody has to move it, and it comes back by itself.
fn without_standby(seen: &Observation<'_>, resource: &Resource) -> Problem {
    let id = resource.name.as_str();
    let Some(ip) = &resource.address else {
        let text = message!("{id} runs beside a standby, and no standby runs", id);
        let remedy = message!("bring a standby back: it comes back with it by itself");
        return problem(Level::Warning, text, remedy);
    };
    let text = message!(
        "the address {ip} ({id}) is on no node: it belongs beside a standby, and no standby runs",
        ip,
        id
    );
    let remedy = match seen.writer_ip {
        Some(writer) => message!(
            "bring a standby back: the address comes back with it by itself; until then {writer} answers, which is the primary",
            writer
        ),
        None => message!("bring a standby back: the address comes back with it by itself"),
    };
    problem(Level::Warning, text, remedy)
}

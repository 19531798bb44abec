//! The file systems of the node that looks. Those of the others would have to be asked for over ssh, which a status does
//! not wait for: `cls_doctor` does.

use super::{Level, Observation, Problem, problem};
use crate::doctor::{self, DiskFacts};
use crate::status::Role;

/// What the doctor calls an error; what it warns of is no affair of a monitoring system.
pub(super) fn short(seen: &Observation<'_>) -> Vec<Problem> {
    let Some(here) = seen.here.filter(|here| seen.nodes.contains(*here)) else {
        return Vec::new();
    };
    let primary = seen.cluster.node(here).role() == Role::Promoted;
    // What the agent writes there is not needed until the next failure.
    let level = |disk: &DiskFacts| match primary && !disk.agents {
        true => Level::Critical,
        false => Level::Warning,
    };
    let disks = seen.disks.iter();
    let short = disks.filter_map(|(place, disk)| Some((level(disk), disk.shortage(place)?)));
    let short = short.filter(|(_, short)| short.level == doctor::Level::Error);
    short
        .map(|(level, short)| {
            let text = crate::message!("disk of {node}: {what}", node = here, what = short.text);
            problem(level, text, short.remedy).on(here)
        })
        .collect()
}

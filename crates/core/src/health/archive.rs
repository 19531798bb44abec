//! Whether the primary gets its WAL archived.

use super::{Level, Observation, Problem, problem};
use crate::message;

/// The WAL fills its disk, and a planned stop waits for the archive.
pub(super) fn late(seen: &Observation<'_>) -> Vec<Problem> {
    let (Some(archiving), Some(primary)) = (seen.archiving, seen.primary()) else {
        return Vec::new();
    };
    if !archiving.is_late() {
        return Vec::new();
    }
    let text = message!(
        "{archiving} on {primary}: WAL fills its disk, and a stop of PostgreSQL waits",
        archiving = archiving.what(),
        primary
    );
    let remedy = message!(
        "on {primary}: see why archive_command hangs or fails (pg_stat_archiver, PostgreSQL's log), before any planned switch or restart",
        primary
    );
    vec![problem(Level::Warning, text, remedy).on(primary)]
}

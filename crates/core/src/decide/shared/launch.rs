//! Starting PostgreSQL, shared by start, demote and promote in place.

use crate::ocf::OcfCode;
use crate::plan::{Action, ActionKind, Failure, Step};
use crate::snapshot::{Process, Snapshot};

/// Starts PostgreSQL as a standby, once.
pub(in crate::decide) fn launch_standby(s: &Snapshot) -> Option<Step> {
    (s.process == Process::Absent && !s.progress.started && launch_failure(s).is_none())
        .then(|| Step::then_reobserve(vec![Action::WriteStandbySettings, Action::StartPostgres]))
}

/// What failed of a start: the settings or the server.
pub(in crate::decide) fn launch_failure(s: &Snapshot) -> Option<&Failure> {
    [
        ActionKind::WriteStandbySettings,
        ActionKind::WritePrimarySettings,
        ActionKind::StartPostgres,
    ]
    .into_iter()
    .find_map(|kind| s.progress.failure(kind))
}

/// The end when PostgreSQL was started by this operation and is gone or never came.
pub(in crate::decide) fn failed_launch(s: &Snapshot) -> Option<Step> {
    match launch_failure(s) {
        Some(failure) => Some(Step::fail(OcfCode::Generic, failure.text.clone())),
        None if s.progress.started && s.process == Process::Absent => Some(Step::fail(
            OcfCode::Generic,
            format!(
                "PostgreSQL ended right after its start on {}; its log says why",
                s.me()
            ),
        )),
        None => None,
    }
}

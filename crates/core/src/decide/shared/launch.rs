//! Starting PostgreSQL, shared by start, demote and promote in place.

use super::incarnation;
use super::kin::recorded_launch;
use crate::ocf::OcfCode;
use crate::plan::{Action, ActionKind, Failure, Step};
use crate::snapshot::{Process, Snapshot};

/// Starts PostgreSQL as a standby, once, under a name that was announced before (R11).
pub(in crate::decide) fn launch_standby(s: &Snapshot) -> Option<Step> {
    if s.process != Process::Absent || s.progress.started || launch_failure(s).is_some() {
        return None;
    }
    let name = incarnation::name_to_start(s);
    let start = || Step::then_reobserve(recorded_launch(s, &name));
    Some(incarnation::announce_before(s, &name).unwrap_or_else(start))
}

/// Closes a standby that would acknowledge commits if somebody opened it by hand.
pub(in crate::decide) fn close_standby(s: &Snapshot) -> Option<Step> {
    let open = s.settings.mode.replicated() && s.standby().is_some_and(|view| !view.closed);
    (open && s.progress.failure(ActionKind::CloseStandby).is_none())
        .then(|| Step::then_continue(vec![Action::CloseStandby(incarnation::name_in_settings(s))]))
}

/// What failed of a start: the settings or the server.
pub(in crate::decide) fn launch_failure(s: &Snapshot) -> Option<&Failure> {
    [
        ActionKind::KeepRecord,
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

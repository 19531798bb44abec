//! What is answered before anything of the node was looked at: by the parameters alone, or where the
//! account does not exist that PostgreSQL runs as.

use crate::ocf::{Action, OcfCode};
use crate::params::Params;
use crate::plan::Exit;
use crate::snapshot::{Arbiter, Operation};

/// Whether an action fails where a parameter is wrong. Stop, demote, probes and notifications go on with
/// what can be relied upon: a database that runs must be ended or looked at also when its configuration
/// has been broken since.
#[must_use]
pub fn checks_parameters(action: Action, is_probe: bool) -> bool {
    match action {
        Action::Start | Action::Promote | Action::ValidateAll | Action::ReloadAgent => true,
        Action::Monitor => !is_probe,
        _ => false,
    }
}

/// The end of an action that has no sense without replication. A promotable clone of something that has
/// no primary and no standbys is a mistake in the cluster's configuration; to go on would turn a database
/// of its own into a standby of nothing.
#[must_use]
pub fn without_replication(action: Action, params: &Params) -> Option<Exit> {
    let asked = matches!(action, Action::Promote | Action::Demote);
    (asked && !params.rep_mode.replicated()).then(|| {
        Exit::fail(
            OcfCode::Configured,
            format!(
                "rep_mode={} knows neither promote nor demote; set rep_mode=sync or async, or make the resource no promotable clone",
                params.rep_mode
            ),
        )
    })
}

/// The end of an operation on a node that cannot be made ready for it (`refusal`). A probe or a stop of
/// what cannot be there: without the account that PostgreSQL runs as, nothing of it runs.
#[must_use]
pub fn without_account(operation: &Operation, refusal: Exit) -> Exit {
    match operation {
        Operation::Stop | Operation::Demote { .. } => Exit::of(OcfCode::Success),
        Operation::Monitor { probe: true } => Exit::of(OcfCode::NotRunning),
        _ => refusal,
    }
}

/// Whether a guard has anything to do.
///
/// # Errors
/// The end of one that has not.
pub fn guards(params: &Params) -> Result<(), Exit> {
    if params.lock_service.arbiter() == Arbiter::Builtin && params.rep_mode.replicated() {
        return Ok(());
    }
    Err(Exit::fail(
        OcfCode::Configured,
        "the guard needs rep_mode=sync or async and the built-in lock service",
    ))
}

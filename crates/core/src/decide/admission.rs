//! What is answered before anything of the node was looked at: by the parameters alone, or where the
//! account does not exist that PostgreSQL runs as.

use crate::ocf::{Action, OcfCode};
use crate::params::Params;
use crate::plan::Exit;
use crate::snapshot::{Arbiter, Caller, Operation};

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

/// Whether whoever started an operation is gone, so that nobody waits for it and another one may be at work in
/// its place (R12). The kernel gives the child of a dead process to another one (process 1, or a subreaper) and
/// leaves it in its session. Pacemaker's executor is the first of a session that only its operations are in
/// (`pacemakerd` calls `setsid` for each of its daemons); a shell, a script, `ocf-tester` and `crm_resource` are
/// in one session with what they start. Who leads a session was made to by ssh, sudo or `setsid`, and has its
/// parent in another one from the beginning.
#[must_use]
pub fn left_behind(caller: Caller) -> bool {
    let elsewhere = caller
        .of_parent
        .is_some_and(|of_parent| of_parent != caller.session);
    // What was begun outside of this container was begun by hand.
    elsewhere && caller.session != caller.process && caller.session != 0
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_been_given_to_a_process_of_another_session_is_left_behind() {
        let of = |session, of_parent| {
            left_behind(Caller {
                process: 70,
                session,
                of_parent,
            })
        };
        assert!(!of(60, Some(60)), "by Pacemaker, or from a shell");
        assert!(of(60, Some(1)) && of(60, Some(0)), "the executor is gone");
        assert!(!of(70, Some(61)), "by ssh");
        assert!(!of(60, None), "from outside of the container");
        assert!(!of(0, Some(0)) && !of(0, Some(1)), "so too");
    }
}

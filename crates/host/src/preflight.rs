//! What must be right on this node before PostgreSQL can be started here: `validate-all` and the
//! beginning of `start`.

use pha_core::names::{ResourceName, and};
use pha_core::ocf::OcfCode;
use pha_core::params::Params;
use pha_core::server_program::ServerProgram;
use pha_core::snapshot::Unfinished;

use crate::account::{Kind, Stat};
use crate::clock::Deadline;
use crate::missing;
use crate::node::{Refusal, pg_ctl};
use crate::pgconf;
use crate::pgctl::{PgCtl, PgError};
use crate::unfinished;

/// Checks the programs, the account, the data directory and the configuration.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(resource: &ResourceName, params: &Params, deadline: Deadline) -> Result<(), Refusal> {
    let pg = usable(params)?;
    match unfinished::of(&pg.user, &pg.pgdata) {
        Some(unfinished) => Err(Refusal::installed(unfinished.reason())),
        None => check_data(&pg, resource, params, deadline),
    }
}

/// The same before a start. Data that are the rest of a copy may look like anything: of them says the start's
/// own table of rules what is so (R6). It goes by a look of its own and not by the one here: a copy may have begun
/// in between.
///
/// # Errors
/// The first thing that is wrong.
pub fn before_start(
    resource: &ResourceName,
    params: &Params,
    deadline: Deadline,
) -> Result<(), Refusal> {
    let pg = usable(params)?;
    match unfinished::of(&pg.user, &pg.pgdata) {
        Some(unknown @ Unfinished::Unknown(_)) => Err(Refusal::installed(unknown.reason())),
        Some(Unfinished::Marked { .. } | Unfinished::Beside(_)) => Ok(()),
        None => check_data(&pg, resource, params, deadline),
    }
}

/// The server's programs and its account.
fn usable(params: &Params) -> Result<PgCtl, Refusal> {
    let pg = pg_ctl(params)?;
    if pg.user.is_root() {
        return Err(Refusal {
            code: OcfCode::Configured,
            reason: format!(
                "pgdba={} is root, as which PostgreSQL refuses to run; name the user that owns the data directory",
                params.pgdba
            ),
        });
    }
    Ok(pg)
}

fn check_data(
    pg: &PgCtl,
    resource: &ResourceName,
    params: &Params,
    deadline: Deadline,
) -> Result<(), Refusal> {
    check_owner(pg)?;
    match pg.check_version(deadline) {
        Ok(_) => {}
        Err(error @ PgError::Command(_)) => {
            return Err(Refusal::installed(format!(
                "{error}; correct pgctl={} or install PostgreSQL's server",
                params.pgctl
            )));
        }
        Err(PgError::NoDataDirectory(pgdata)) => {
            return Err(Refusal::installed(missing::reason(resource, &pgdata)));
        }
        Err(error) => return Err(Refusal::installed(error.to_string())),
    }
    let config = pg.user.files().look(&pg.config);
    let config = config.map_err(|error| Refusal::installed(error.to_string()))?;
    if config.is_none_or(|config| config.kind != Kind::File) {
        return Err(Refusal::installed(format!(
            "there is no configuration file {}; correct the parameter config",
            pg.config.display()
        )));
    }
    if params.rep_mode != pha_core::params::Mode::Standalone {
        pgconf::refuse_foreign_names(pg, params)
            .map_err(|error| Refusal::installed(error.to_string()))?;
    }
    Ok(())
}

/// Checks what a node will need that it may never have needed yet: `validate-all` says so, and a start that
/// goes without is not refused for it.
///
/// # Errors
/// Programs that are not there.
pub fn foresee(params: &Params) -> Result<(), Refusal> {
    if !params.rep_mode.replicated() {
        return Ok(());
    }
    let missing = pg_ctl(params)?.missing(ServerProgram::OF_A_STANDBY);
    match missing.first() {
        None => Ok(()),
        Some(first) => Err(Refusal::installed(format!(
            "{}: without {} PostgreSQL cannot be started here as a standby",
            first.remedy(),
            and(&missing)
        ))),
    }
}

fn check_owner(pg: &PgCtl) -> Result<(), Refusal> {
    let (pgdata, name, uid) = (pg.pgdata.display(), pg.user.name(), pg.user.uid());
    let there = pg.user.files().look(&pg.pgdata);
    let there = there.map_err(|error| Refusal::installed(error.to_string()))?;
    // Without a directory, what is said of PG_VERSION says more.
    let foreign = |there: &Stat| there.kind == Kind::Directory && there.uid != uid;
    let Some(there) = there.filter(foreign) else {
        return Ok(());
    };
    Err(Refusal {
        code: OcfCode::Perm,
        reason: format!(
            "the data directory {pgdata} belongs to user id {}, not to {name} ({uid}); if it is the right one, run chown -R {name} {pgdata}",
            there.uid,
        ),
    })
}

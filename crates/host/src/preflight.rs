//! What must be right on this node before PostgreSQL can be started here: `validate-all` and the
//! beginning of `start`.

use std::path::Path;

use pha_core::ocf::OcfCode;
use pha_core::params::Params;
use pha_core::remedy::Remedy;

use crate::clock::Deadline;
use crate::node::pg_ctl;
use crate::pgconf;
use crate::pgctl::PgError;
use crate::unfinished;

/// Why PostgreSQL cannot be started here. The code is a hard one (OCF 2 to 6), since only an
/// operator can mend what is checked here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The exit code.
    pub code: OcfCode,
    /// One sentence for the operator.
    pub reason: String,
}

impl Refusal {
    /// Something that is missing or wrong on this node.
    #[must_use]
    pub fn installed(reason: impl Into<String>) -> Self {
        Self {
            code: OcfCode::Installed,
            reason: reason.into(),
        }
    }
}

/// Checks the programs, the account, the data directory and the configuration.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(params: &Params, deadline: Deadline) -> Result<(), Refusal> {
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
    refuse_unfinished(&pg.pgdata)?;
    match pg.check_version(deadline) {
        Ok(_) => {}
        Err(error @ PgError::Command(_)) => {
            return Err(Refusal::installed(format!(
                "{error}; correct pgctl={} or install PostgreSQL's server",
                params.pgctl
            )));
        }
        Err(error) => return Err(Refusal::installed(error.to_string())),
    }
    check_owner(Path::new(&params.pgdata), &params.pgdba, pg.user.uid())?;
    if !pg.config.is_file() {
        return Err(Refusal::installed(format!(
            "there is no configuration file {}; correct the parameter config",
            pg.config.display()
        )));
    }
    if params.rep_mode != pha_core::params::Mode::Standalone {
        pgconf::refuse_foreign_names(&pg, params)
            .map_err(|error| Refusal::installed(error.to_string()))?;
    }
    Ok(())
}

/// A data directory that was being rewound or copied is neither old nor new: a server started on it
/// would take mixed pages for its own.
fn refuse_unfinished(pgdata: &Path) -> Result<(), Refusal> {
    match unfinished::read(pgdata) {
        Ok(None) => Ok(()),
        Ok(Some(begun)) => Err(Refusal::installed(format!(
            "a {} into {} has not ended; wait for it, or {} --keep-old on this node",
            begun.method,
            pgdata.display(),
            Remedy::Rebuild
        ))),
        Err(error) => Err(Refusal::installed(error.to_string())),
    }
}

fn check_owner(pgdata: &Path, pgdba: &str, uid: u32) -> Result<(), Refusal> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(pgdata)
        .map_err(|error| Refusal::installed(format!("pgdata {}: {error}", pgdata.display())))?;
    if metadata.uid() == uid {
        return Ok(());
    }
    Err(Refusal {
        code: OcfCode::Perm,
        reason: format!(
            "the data directory {} belongs to user id {}, not to {pgdba} ({uid}); run chown -R {pgdba} {}",
            pgdata.display(),
            metadata.uid(),
            pgdata.display()
        ),
    })
}

//! The lock service's part of a set-up.

use std::time::Duration;

use pha_core::message;
use pha_core::register::Seen;
use pha_host::clock::Deadline;
use pha_host::config::ClusterConfig;
use pha_host::conninfo::Conninfo;
use pha_host::lock::{self, Details, LockName, Shown};

use super::design::{self, Intent};
use crate::error::ClsError;

/// The lock service's part.
pub(super) struct LockPart {
    pub(super) info: Conninfo,
    pub(super) name: LockName,
    pub(super) change: Option<String>,
    /// How far the row has come that is there; none without one.
    pub(super) there: Option<Seen>,
}

/// How far a row has come; none where its numbers cannot be read.
pub(crate) fn come(row: &Details) -> Option<Seen> {
    let number = |name| row.columns.get(name)?.as_u64();
    Some(Seen {
        term: number("term")?,
        epoch: number("epoch")?,
    })
}

/// Where the lock service is, and what the lock is called there.
pub(crate) fn lock_name(
    config: &ClusterConfig,
    intent: &Intent,
) -> Result<Option<(Conninfo, LockName)>, ClsError> {
    if config.lock_service.is_none() {
        return Ok(None);
    }
    let info = design::lock_info(config)?;
    let text = intent.design.parameters.get("distlock_lockname");
    let name: LockName =
        text.map_or("", String::as_str)
            .parse()
            .map_err(|error: lock::LockNameError| {
                ClsError::refused(error.to_string(), "correct pgsql_distlock_lockname")
            })?;
    Ok(Some((info, name)))
}

/// What has to be made in the lock service. A row that is there stays as it is, held or not.
pub(super) fn lock_part(
    config: &ClusterConfig,
    intent: &Intent,
    deadline: Deadline,
) -> Result<Option<LockPart>, ClsError> {
    let Some((info, name)) = lock_name(config, intent)? else {
        return Ok(None);
    };
    let mut there = None;
    let change = match lock::show(&info, &name, deadline.sub_budget(Duration::from_secs(10))) {
        Ok(Shown::Row(row)) => {
            there = come(&row);
            (!row.is_migrated())
                .then(|| format!("~ lock {name}: its table gets new columns, the row is kept"))
        }
        Ok(Shown::NoRow) => Some(format!("+ lock {name}: the row")),
        Ok(Shown::NoTable(_)) => Some(format!("+ lock {name}: tables and row")),
        Err(trouble) => return Err(lock_failed(&info, &trouble.to_string())),
    };
    Ok(Some(LockPart {
        info,
        name,
        change,
        there,
    }))
}

pub(super) fn lock_failed(info: &Conninfo, reason: &str) -> ClsError {
    ClsError::refused(
        message!(
            "the lock service {info} cannot be used: {reason}",
            info = info.to_string(),
            reason
        ),
        message!(
            "start it, or correct pgsql_distlock_psql_cmd or pgsql_distlock_conninfo in config.ini"
        ),
    )
}

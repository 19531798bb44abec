//! What is seen of a server's processes, and what a dead one has left.

use pha_core::decide::{is_lock_of, left_over, running};
use pha_core::snapshot::{self, Shown};
use tracing::{info, warn};

use super::{PgCtl, PgError};
use crate::process::{PidFile, Postmaster, ProcessError, server_processes};
use crate::user::User;
use pha_core::postgres::PmStatus;
use std::path::Path;

/// What one look at the processes has shown.
struct Seen {
    process: snapshot::Process,
    status: Option<PmStatus>,
    /// Why `postmaster.pid` says nothing of them.
    unclear: Option<ProcessError>,
}

impl PgCtl {
    /// Whether PostgreSQL runs, as [`running`] judges what can be seen, and what its postmaster has written
    /// about itself. For operations and the guard, which have to go on also where that file says nothing.
    pub fn running(&self) -> (snapshot::Process, Option<PmStatus>) {
        let seen = self.seen();
        if let Some(error) = seen.unclear {
            warn!("{error}");
        }
        (seen.process, seen.status)
    }

    /// Whether PostgreSQL runs, for the commands.
    ///
    /// # Errors
    /// `postmaster.pid` cannot be read, or names another account's process or one that cannot be looked at: that
    /// says neither.
    pub fn surely_running(&self) -> Result<snapshot::Process, ProcessError> {
        surely_running(&self.pgdata, &self.user)
    }

    fn seen(&self) -> Seen {
        seen(&self.pgdata, &self.user)
    }

    /// Removes the lock files that a dead server has left ([`left_over`]).
    pub(crate) fn remove_stale_locks(&self) -> Result<(), PgError> {
        let path = self.pgdata.join("postmaster.pid");
        let (pid, why) = match self.postmaster()? {
            Postmaster::Stale { pid, why } => (pid, why),
            Postmaster::Absent | Postmaster::Alive { .. } => return Ok(()),
        };
        let shown = match self.processes()?.is_empty() {
            true => Shown::Nothing,
            false => Shown::Processes,
        };
        if !left_over(snapshot::PidFile::Gone, shown) {
            return Ok(());
        }
        let own = PidFile::read(&self.pgdata, &self.user)?;
        let socket = own.as_ref().and_then(PidFile::socket_lock);
        let ours = |path: &std::path::PathBuf| {
            let theirs = self.user.files().read_text(path).ok().flatten();
            let theirs = theirs.and_then(|text| PidFile::parse(&text));
            let both = theirs.as_ref().zip(own.as_ref());
            both.is_some_and(|(theirs, own)| is_lock_of(theirs.lock(), own.lock()))
        };
        // The data directory's own lock goes last: until then the next attempt finds all of this.
        for path in socket.into_iter().filter(ours).chain([path]) {
            info!(pid, "removing {}: {why}", path.display());
            let _ = self.user.files().ensure_absent(&path)?;
        }
        Ok(())
    }
}

/// Whether PostgreSQL runs on a data directory of that account: [`PgCtl::surely_running`], without its programs.
///
/// # Errors
/// As there.
pub(crate) fn surely_running(
    pgdata: &Path,
    owner: &User,
) -> Result<snapshot::Process, ProcessError> {
    let seen = seen(pgdata, owner);
    seen.unclear.map_or(Ok(seen.process), Err)
}

fn seen(pgdata: &Path, owner: &User) -> Seen {
    let (file, status, unclear) = match Postmaster::of(pgdata, owner) {
        Ok(Postmaster::Alive { state, file, .. }) => {
            let frozen = state == 'T';
            (snapshot::PidFile::Alive { frozen }, file.status, None)
        }
        Ok(Postmaster::Absent | Postmaster::Stale { .. }) => (snapshot::PidFile::Gone, None, None),
        Err(error) => (file_of(&error), None, Some(error)),
    };
    let shown = match file {
        // The postmaster was seen among them.
        snapshot::PidFile::Alive { .. } | snapshot::PidFile::Foreign => Shown::Processes,
        snapshot::PidFile::Unclear => Shown::Unclear,
        snapshot::PidFile::Gone | snapshot::PidFile::Unreadable => {
            match server_processes(pgdata, owner) {
                Ok(left) if left.is_empty() => Shown::Nothing,
                Ok(_) => Shown::Processes,
                Err(_) if file == snapshot::PidFile::Unreadable => Shown::Unclear,
                Err(error) => {
                    warn!("{error}");
                    Shown::Unclear
                }
            }
        }
    };
    Seen {
        process: running(file, shown),
        status,
        unclear,
    }
}

/// What `postmaster.pid` says where that could not be held against the processes.
fn file_of(error: &ProcessError) -> snapshot::PidFile {
    match error {
        ProcessError::OtherAccount { .. } => snapshot::PidFile::Foreign,
        ProcessError::Unclear { .. } => snapshot::PidFile::Unclear,
        ProcessError::File(_)
        | ProcessError::PidFile { .. }
        | ProcessError::Proc(_)
        | ProcessError::Signal { .. } => snapshot::PidFile::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_postmaster_that_cannot_be_looked_at_runs_whatever_else_is_shown() {
        let unclear = ProcessError::Unclear {
            pid: 7,
            directory: None,
        };
        for shown in [Shown::Nothing, Shown::Processes, Shown::Unclear] {
            let seen = running(file_of(&unclear), shown);
            assert_eq!(seen, snapshot::Process::Alive { frozen: false });
        }
        let unreadable = file_of(&ProcessError::Proc(std::io::Error::other("")));
        assert_eq!(unreadable, snapshot::PidFile::Unreadable);
    }
}

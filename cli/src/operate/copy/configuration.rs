//! The node's own configuration files, which a copy would overwrite with those of the source.

use std::path::PathBuf;

use pha_host::files;
use pha_host::unfinished;

use super::{Work, broken};
use crate::error::ClsError;

/// What belongs to the node and not to the data.
const FILES: [&str; 4] = [
    "postgresql.conf",
    "pg_hba.conf",
    "pg_ident.conf",
    "postgresql.auto.conf",
];

impl Work<'_> {
    fn kept(&self) -> PathBuf {
        let mut name = self.pg.pgdata.as_os_str().to_owned();
        name.push(".configuration");
        PathBuf::from(name)
    }

    /// Copies the files beside the data directory. Those of an interrupted copy are kept: what is
    /// in the directory now may be the source's already.
    pub(super) fn keep_configuration(&mut self) -> Result<(), ClsError> {
        let kept = self.kept();
        let interrupted = unfinished::read(&self.pg.pgdata).map_err(|error| broken(&error))?;
        if interrupted.is_some() && kept.is_dir() {
            return Ok(());
        }
        remove(&kept)?;
        let owner = (self.pg.user.uid(), self.pg.user.gid());
        std::fs::create_dir(&kept)
            .and_then(|()| std::os::unix::fs::chown(&kept, Some(owner.0), Some(owner.1)))
            .map_err(|error| broken(&format!("{}: {error}", kept.display())))?;
        for name in FILES {
            let from = self.pg.pgdata.join(name);
            // A link leads out of the directory, where nothing is overwritten.
            if from.is_symlink() {
                continue;
            }
            if let Some(bytes) = files::read(&from).map_err(|error| broken(&error))? {
                files::replace_owned(&kept.join(name), &bytes, 0o600, owner)
                    .map_err(|error| broken(&error))?;
            }
        }
        Ok(())
    }

    /// Puts them back, and lets the data directory be started again.
    pub(super) fn restore_configuration(&mut self) -> Result<(), ClsError> {
        let kept = self.kept();
        let owner = (self.pg.user.uid(), self.pg.user.gid());
        for name in FILES {
            if let Some(bytes) = files::read(&kept.join(name)).map_err(|error| broken(&error))? {
                files::replace_owned(&self.pg.pgdata.join(name), &bytes, 0o600, owner)
                    .map_err(|error| broken(&error))?;
            }
        }
        unfinished::end(&self.pg.pgdata).map_err(|error| broken(&error))?;
        remove(&kept)
    }
}

impl Work<'_> {
    /// After a copy that was undone: the old data have their configuration files in them.
    pub(super) fn forget_configuration(&self) -> Result<(), ClsError> {
        remove(&self.kept())
    }
}

fn remove(directory: &std::path::Path) -> Result<(), ClsError> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(broken(&format!("{}: {error}", directory.display())))
        }
        _ => Ok(()),
    }
}

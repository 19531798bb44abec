//! The node's own configuration files, which a copy would overwrite with those of the source.

use pha_core::whose::{may_be_kept_anew, of_copied};
use pha_host::node::memory_file;
use pha_host::record::RecordFile;
use pha_host::unfinished;

use super::{Work, broken};
use crate::error::ClsError;

impl Work<'_> {
    /// Keeps the files in root's own state ([`may_be_kept_anew`]).
    pub(super) fn keep_configuration(&mut self) -> Result<(), ClsError> {
        let interrupted = self.copies.mark().map_err(|error| broken(&error))?;
        let kept = self.copies.kept().map_err(|error| broken(&error))?;
        if !may_be_kept_anew(interrupted.is_some(), kept.is_some()) {
            return Ok(());
        }
        let files = unfinished::configuration_in(&self.pg.user, &self.pg.pgdata)
            .map_err(|error| broken(&error))?;
        self.copies.keep(&files).map_err(|error| broken(&error))
    }

    /// Keeps which timelines the copied data are on (R13): while the mark of an unfinished copy is there,
    /// nothing starts them.
    fn record(&self) -> Result<(), ClsError> {
        let file = RecordFile::beside(&memory_file(&self.cluster.resource));
        let kept = match of_copied(self.timelines.clone(), self.system) {
            Some(record) => file.store(&record),
            None => file.forget(),
        };
        kept.map_err(|error| broken(&error))
    }

    /// Puts them back, and lets the data directory be started again.
    pub(super) fn restore_configuration(&mut self) -> Result<(), ClsError> {
        let kept = self.copies.kept().map_err(|error| broken(&error))?;
        let files = self.pg.user.files();
        for (name, bytes) in kept.into_iter().flatten() {
            let _ = files
                .ensure(&self.pg.pgdata.join(name), &bytes, 0o600)
                .map_err(|error| broken(&error))?;
        }
        self.record()?;
        self.copies.end().map_err(|error| broken(&error))?;
        self.forget_configuration()
    }

    /// After a copy that was undone: the old data have their configuration files in them.
    pub(super) fn forget_configuration(&self) -> Result<(), ClsError> {
        self.copies.forget().map_err(|error| broken(&error))
    }
}

//! History files in `pg_wal`, changed as the account that they belong to (R13).

use pha_core::server_program::ServerProgram;
use pha_core::snapshot::{Disk, EndUnknown};
use pha_core::timeline::{History, TimelineId};

use super::{PgCtl, PgError, is_standby};
use crate::clock::Deadline;

/// How many files of one name may have been moved aside.
const MOST: u32 = 1000;

impl PgCtl {
    /// What the data directory of a stopped server says.
    ///
    /// # Errors
    /// It cannot be read, or a history file of it.
    pub fn look(&self, deadline: Deadline) -> Result<Disk, String> {
        let control = self.controldata(deadline).map_err(|e| e.to_string())?;
        let end = self.end_of_wal(&control, deadline).map_err(|error| {
            match self.has(ServerProgram::WalDump) {
                true => EndUnknown::Other(error.to_string()),
                false => EndUnknown::NoProgram(ServerProgram::WalDump),
            }
        });
        let timeline = end
            .as_ref()
            .map_or(control.checkpoint_timeline, |end| end.timeline);
        let history = self.history(timeline).map_err(|error| error.to_string())?;
        Ok(Disk {
            end,
            history: history.ok_or_else(|| {
                format!(
                    "the history file of timeline {timeline} is missing in {}",
                    self.wal_dir().display()
                )
            })?,
            newer: self
                .histories_after(timeline)
                .map_err(|error| error.to_string())?,
            fresh_copy: self.user.files().exists(&self.pgdata.join("backup_label")),
        })
    }

    /// Whether the data directory is a standby's, by the file that makes it one.
    #[must_use]
    pub fn has_standby_signal(&self) -> bool {
        is_standby(&self.user, &self.pgdata)
    }

    /// Renames the history files of these timelines, so that PostgreSQL does not see them any more. Those
    /// that are there already under the new names stay.
    ///
    /// # Errors
    /// [`PgError`]; a file that is gone is none.
    pub fn set_histories_aside(&self, strays: &[TimelineId]) -> Result<(), PgError> {
        let (dir, files) = (self.wal_dir(), self.user.files());
        for stray in strays {
            let from = dir.join(stray.history_file());
            let places = (1..=MOST)
                .map(|number| dir.join(format!("{}.foreign.{number}", stray.history_file())));
            let free = places.into_iter().find(|place| !files.exists(place));
            match free.filter(|_| files.exists(&from)) {
                Some(to) => files.rename(&from, &to)?,
                None => drop(files.ensure_absent(&from)?),
            }
        }
        Ok(())
    }

    /// Makes history files for the numbers up to this one that have none, so that PostgreSQL takes the next
    /// number beyond them (`findNewestTimeLine` goes on as long as it finds files). They stay, since
    /// a standby fetches the file of every number up to the primary's own.
    ///
    /// # Errors
    /// [`PgError`]: `pg_wal` cannot be written.
    pub fn reserve_timelines(&self, highest: TimelineId) -> Result<(), PgError> {
        let (dir, files) = (self.wal_dir(), self.user.files());
        let text = format!(
            "1\t{}\tthe number was given before, reserved by expgsql\n",
            History::RESERVED_AT
        );
        for number in 2..=highest.get() {
            let Some(number) = TimelineId::new(number) else {
                continue;
            };
            let path = dir.join(number.history_file());
            if !files.exists(&path) {
                let _ = files.ensure(&path, text.as_bytes(), 0o600)?;
            }
        }
        Ok(())
    }
}

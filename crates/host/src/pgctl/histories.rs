//! History files in `pg_wal`, changed as the account that they belong to (R13).

use std::path::Path;

use pha_core::server_program::ServerProgram;
use pha_core::snapshot::{Disk, EndUnknown, StandbySignal};
use pha_core::timeline::{History, TimelineId};

use super::{PgCtl, PgError, standby_signal};
use crate::clock::Deadline;
use crate::files::FileError;

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
            fresh_copy: self
                .is_there(&self.pgdata.join("backup_label"))
                .map_err(|error| error.to_string())?,
        })
    }

    /// Whether the data directory is a standby's, by the file that makes it one.
    #[must_use]
    pub fn standby_signal(&self) -> StandbySignal {
        standby_signal(&self.user, &self.pgdata)
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
            if !self.is_there(&from)? {
                continue;
            }
            let mut free = None;
            for number in 1..=MOST {
                let place = dir.join(format!("{}.foreign.{number}", stray.history_file()));
                if !self.is_there(&place)? {
                    free = Some(place);
                    break;
                }
            }
            match free {
                Some(to) => files.rename(&from, &to)?,
                None => drop(files.ensure_absent(&from)?),
            }
        }
        Ok(())
    }

    /// Whether anything has that name, which is not so only where that was seen.
    pub(super) fn is_there(&self, path: &Path) -> Result<bool, FileError> {
        let found = self.user.files().look(path)?;
        Ok(found.is_some())
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
        let has = |number: TimelineId| self.is_there(&dir.join(number.history_file()));
        for number in TimelineId::to_reserve(highest, has)? {
            let path = dir.join(number.history_file());
            let _ = files.ensure(&path, text.as_bytes(), 0o600)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::user::User;

    #[test]
    fn a_history_file_that_is_there_is_kept_and_never_written_over() {
        let pgdata = std::env::temp_dir().join(format!("pha-histories-{}", std::process::id()));
        let wal = pgdata.join("pg_wal");
        std::fs::create_dir_all(&wal).unwrap();
        let pg = PgCtl {
            program: "/usr/bin/pg_ctl".into(),
            config: pgdata.join("postgresql.conf"),
            user: User::current().unwrap(),
            ctl_opt: Vec::new(),
            start_opt: Vec::new(),
            logfile: pgdata.join("log"),
            libraries: None,
            pgdata,
        };
        let read = |name: &str| std::fs::read_to_string(wal.join(name)).ok();
        let own = wal.join("00000002.history");
        std::fs::write(&own, "1\t0/500\tx\n").unwrap();
        let [two, three] = [2, 3].map(|number| TimelineId::new(number).unwrap());
        pg.reserve_timelines(three).unwrap();
        assert_eq!(read("00000002.history").unwrap(), "1\t0/500\tx\n");
        assert!(read("00000003.history").unwrap().contains("reserved"));
        for count in 1..=2 {
            std::fs::write(&own, count.to_string()).unwrap();
            pg.set_histories_aside(&[two]).unwrap();
            pg.set_histories_aside(&[two]).unwrap();
        }
        assert_eq!(read("00000002.history"), None);
        assert_eq!(read("00000002.history.foreign.1").unwrap(), "1");
        assert_eq!(read("00000002.history.foreign.2").unwrap(), "2");
        assert_eq!(read("00000002.history.foreign.3"), None);
        std::fs::remove_dir_all(&pg.pgdata).unwrap();
    }
}

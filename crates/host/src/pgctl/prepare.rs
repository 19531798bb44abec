//! Making a database, and what a node's configuration lacks (`cls_init`).

use std::path::{Path, PathBuf};

use pha_core::begun::{Begun, Mark, has_ended, may_be_filled};
use pha_core::init::block::{self, Place};

use super::{PgCtl, PgError};
use crate::clock::Deadline;
use crate::files::{Change, FileError};
use crate::own;
use crate::unfinished::Copies;

impl PgCtl {
    /// Makes the directory of the data, if it is not there, and the one above it as the account's, so that a
    /// copy can later be put beside it. One that is there stays as it is.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn ensure_data_directory(&self) -> Result<(), PgError> {
        if let Some(above) = self.pgdata.parent() {
            let _ = own::ensure_directory_for(&self.user, above, 0o755)?;
        }
        let _ = own::ensure_directory_for(&self.user, &self.pgdata, 0o700)?;
        Ok(())
    }

    /// Makes a new database with checksums in the data directory, which must be empty. Local connections are
    /// the account's alone, others need a password (PostgreSQL manual, `initdb`).
    ///
    /// Its configuration and its `pg_hba.conf` get the lines. Until it has them the directory is marked, so that
    /// nothing starts on it.
    ///
    /// # Errors
    /// [`PgError`], with the program's words; it removes what it has made, unless it was killed.
    pub fn initdb(
        &self,
        locale: &str,
        settings: &[String],
        hba: &[String],
        deadline: Deadline,
    ) -> Result<(), PgError> {
        self.marked(Begun::Initdb, "", || {
            self.command("initdb")
                .arg(format!("--pgdata={}", self.pgdata.display()))
                .arg(format!("--locale={locale}"))
                .args(["--encoding=UTF8", "--data-checksums"])
                .args(["--auth-local=peer", "--auth-host=scram-sha-256"])
                .run(deadline)?;
            let _ = self.add_lines(&self.config, Place::End, settings)?;
            let file = self.hba_file(deadline)?;
            let _ = self.add_lines(&file, Place::Top, hba)?;
            Ok(())
        })
    }

    /// Fills the data directory, which must be empty, under a mark for as long as it takes.
    ///
    /// # Errors
    /// There is something in it by now, or a mark that leads to data that were moved aside; what `fill` says.
    /// Where nothing is left of it, the mark goes too.
    pub fn marked(
        &self,
        method: Begun,
        source: &str,
        fill: impl FnOnce() -> Result<(), PgError>,
    ) -> Result<(), PgError> {
        self.ensure_data_directory()?;
        let copies = Copies::into(&self.pgdata);
        let holds = || -> Result<bool, FileError> {
            let names = self.user.files().names(&self.pgdata, "")?;
            Ok(names.is_some_and(|names| !names.is_empty()))
        };
        let empty = !holds()?;
        if !may_be_filled(copies.mark()?.as_ref(), empty) {
            let there = std::io::ErrorKind::DirectoryNotEmpty;
            return Err(FileError::new("filling", &self.pgdata, there).into());
        }
        copies.begin(&Mark::new(method, source))?;
        let filled = fill();
        if has_ended(filled.is_ok(), holds().ok()) {
            copies.end()?;
        }
        filled
    }

    /// Adds lines of our own to a file of the account's.
    ///
    /// # Errors
    /// It is not there, or cannot be written.
    pub fn add_lines(
        &self,
        file: &Path,
        place: Place,
        lines: &[String],
    ) -> Result<Change, FileError> {
        let files = self.user.files();
        let missing = || FileError::new("reading", file, std::io::ErrorKind::NotFound);
        let content = files.read(file)?.ok_or_else(missing)?;
        let text = block::with_lines(&content.bytes, place, lines);
        // The configuration may be a link, as distributions make: the file itself is replaced.
        let real = content.real.as_deref().unwrap_or(file);
        files.ensure(real, &text, content.stat.mode & 0o777)
    }

    /// Where `pg_hba.conf` is.
    ///
    /// # Errors
    /// The configuration cannot be read.
    pub fn hba_file(&self, deadline: Deadline) -> Result<PathBuf, PgError> {
        let file = self.setting_of_stopped("hba_file", deadline)?;
        let file = file.filter(|file| !file.is_empty());
        Ok(file.map_or_else(|| self.pgdata.join("pg_hba.conf"), PathBuf::from))
    }
}

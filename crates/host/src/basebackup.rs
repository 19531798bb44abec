//! A new copy of the whole database (`pg_basebackup`).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::clock::Deadline;
use crate::pgctl::{PgCtl, PgError};
use crate::rewind::Source;

/// How the copy is made.
#[derive(Debug, Clone, Default)]
pub struct Backup {
    /// `--max-rate`, as `pg_basebackup` takes it (`32M`).
    pub max_rate: Option<String>,
    /// A directory for the WAL outside of the data directory.
    pub wal_dir: Option<PathBuf>,
    /// Where the tablespaces of the source go (`OLD=NEW`).
    pub tablespaces: Vec<String>,
    /// The slot that keeps the WAL on the source from now on.
    pub slot: Option<String>,
}

impl PgCtl {
    /// Copies the source's database into the data directory, which must be empty or not there.
    ///
    /// The WAL written meanwhile is streamed beside, so that the copy is complete by itself. A run
    /// that fails removes what it has written, unless it was killed.
    ///
    /// # Errors
    /// [`PgError`], with the program's words.
    pub fn basebackup(
        &self,
        source: &Source,
        backup: &Backup,
        ended: &Arc<AtomicBool>,
        deadline: Deadline,
    ) -> Result<(), PgError> {
        let info = source.conninfo(None).map_err(PgError::Source)?;
        let mut command = self
            .command("pg_basebackup")
            .arg(format!("--pgdata={}", self.pgdata.display()))
            .arg(format!("--dbname={info}"))
            .args(["--wal-method=stream", "--checkpoint=fast", "--no-password"])
            .cancel_when(ended);
        if let Some(rate) = &backup.max_rate {
            command = command.arg(format!("--max-rate={rate}"));
        }
        if let Some(directory) = &backup.wal_dir {
            command = command.arg(format!("--waldir={}", directory.display()));
        }
        for mapping in &backup.tablespaces {
            command = command.arg(format!("--tablespace-mapping={mapping}"));
        }
        if let Some(slot) = &backup.slot {
            command = command.arg(format!("--slot={slot}"));
        }
        let (command, passfile) = source.let_in(self, command).map_err(PgError::Source)?;
        command.run(deadline)?;
        drop(passfile);
        Ok(())
    }
}

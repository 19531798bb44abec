//! What this node keeps about its data (R13): one small file per resource beside its memory, outside of
//! the data directory, which is copied and put back as a whole.

use std::path::PathBuf;

use pha_core::lineage::{
    Kinship, Lineage, Origin, OwnData, Record, Seen, Unproven, kinship, origin,
};
use pha_core::quoted::{printable, quoted};
use pha_core::snapshot::Disk;
use pha_core::timeline::TimelineId;

use crate::clock::Deadline;
use crate::memory::{MemoryError, MemoryFile};
use crate::own;
use crate::pgctl::{PgCtl, system_identifier};

/// The file of one resource.
#[derive(Debug, Clone)]
pub struct RecordFile {
    path: PathBuf,
    memory: MemoryFile,
}

impl RecordFile {
    /// The record beside this memory. Touches nothing.
    #[must_use]
    pub fn beside(memory: &MemoryFile) -> Self {
        Self {
            path: memory.path().with_extension("data.json"),
            memory: memory.clone(),
        }
    }

    /// What is recorded; none where nothing ever was.
    ///
    /// # Errors
    /// The file cannot be read, or does not hold what was written.
    pub fn load(&self) -> Result<Option<Record>, MemoryError> {
        let bytes = own::read(&self.path)?;
        bytes.map(|bytes| self.parse(&bytes)).transpose()
    }

    /// Reads what the file holds.
    ///
    /// # Errors
    /// It is not what was written.
    pub fn parse(&self, bytes: &[u8]) -> Result<Record, MemoryError> {
        let text = String::from_utf8_lossy(bytes);
        serde_json::from_str(&text).map_err(|error| MemoryError::RecordDamaged {
            path: self.path.clone(),
            reason: printable(&error.to_string(), 300),
            text: quoted(&text),
        })
    }

    /// Which timelines a stopped server's data are on; `known` are those of the register.
    ///
    /// # Errors
    /// The data directory cannot be read, or it cannot be told where the WAL ends.
    pub fn kinship(
        &self,
        pg: &PgCtl,
        known: &Lineage,
        deadline: Deadline,
    ) -> Result<(Origin, Kinship), String> {
        let record = match self.load() {
            Ok(record) => record,
            // A comparison of numbers would take another timeline for the primary's.
            Err(error) => {
                let why = error.to_string();
                return Ok((Origin::Unknown(why.clone()), Kinship::Unknown(why)));
            }
        };
        let disk = pg.look(deadline)?;
        let seen = seen(pg, &disk, record.as_ref())?;
        let origin = origin(&seen, known);
        let kinship = kinship(&origin, seen.end, known, false);
        Ok((origin, kinship))
    }

    /// Which timelines this node's data are on, whose WAL ends on `number`, and what is not proven of them
    /// ([`OwnData`]); `served` where a server may be at work on them.
    ///
    /// # Errors
    /// As [`RecordFile::kinship`].
    pub fn own_data(
        &self,
        pg: &PgCtl,
        served: bool,
        number: TimelineId,
        deadline: Deadline,
    ) -> Result<(Option<Lineage>, Option<Unproven>), String> {
        let (record, damaged) = match self.load() {
            Ok(record) => (record, None),
            Err(error) => (None, Some(error.to_string())),
        };
        let disk = (!served).then(|| pg.look(deadline)).transpose()?;
        let data = match &disk {
            None => OwnData::Served(record.as_ref(), number),
            Some(disk) => OwnData::Stopped(seen(pg, disk, record.as_ref())?),
        };
        Ok((data.lineage(), data.unproven(damaged)))
    }

    /// Records it: on the disk when this returns.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn store(&self, record: &Record) -> Result<(), MemoryError> {
        self.memory.prepare()?;
        let text = serde_json::to_string(record).map_err(|error| MemoryError::Directory {
            path: self.path.clone(),
            reason: error.to_string(),
        })?;
        own::replace(&self.path, format!("{text}\n").as_bytes(), 0o600)?;
        Ok(())
    }

    /// Forgets what is recorded: the data are replaced by others of which nothing is known by name.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn forget(&self) -> Result<(), MemoryError> {
        own::ensure_absent(&self.path).map(drop)?;
        Ok(())
    }
}

/// A stopped server's data, beside what is recorded of them.
fn seen<'a>(pg: &PgCtl, disk: &'a Disk, record: Option<&'a Record>) -> Result<Seen<'a>, String> {
    Ok(Seen {
        record,
        system: system_identifier(&pg.user, &pg.pgdata),
        end: disk.end.clone().map_err(|why| why.to_string())?,
        history: &disk.history,
        standby_signal: pg.standby_signal(),
        fresh_copy: disk.fresh_copy,
    })
}

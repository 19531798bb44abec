//! Where a copy is written to, and whether there is room for it.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pha_core::decide::operator::{CopyPlan, Moves, Need, Target, has_room, mapped, plan_moves};
use pha_host::rewind::Source;
use pha_host::sql::TextRows;

use super::{Work, broken};
use crate::error::ClsError;
use crate::primary::Primary;

/// How long the primary may take to count its files.
const COUNT: Duration = Duration::from_secs(60);

/// Segments of WAL that a standby needs in any case, in bytes: the size is 16 MiB unless told otherwise.
const WAL: u64 = 32 << 20;

/// Where the tablespaces of the source are; everybody may ask that.
const PLACES: &str = "select pg_catalog.pg_tablespace_location(oid) from pg_catalog.pg_tablespace";

/// The same with their sizes, which not everybody may ask for.
const SIZES: &str = "select pg_catalog.pg_tablespace_location(oid), pg_catalog.pg_tablespace_size(oid) from pg_catalog.pg_tablespace";

impl Work<'_> {
    /// What of the old data is moved aside for a copy, after seeing that it can be and that there is room.
    pub(super) fn moves(&self, plan: &CopyPlan, source: &Source) -> Result<Moves, ClsError> {
        let old = self.pg.old_places().map_err(|error| broken(&error))?;
        let old = old.filter(|_| plan.moves_old_data());
        let wal = old.as_ref().and_then(|old| old.wal());
        let wal = wal.map(|wal| wal.place.clone());
        let targets = self.targets(plan, source, wal)?;
        let moves = match old {
            Some(old) => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH);
                let suffix = format!(".old-{}", since.map_or(0, |since| since.as_secs()));
                plan_moves(&old, self.pg.user.name(), &targets, &suffix)
                    .map_err(|refusal| ClsError::from(*refusal))?
            }
            None => Moves::default(),
        };
        self.see_room(targets, &moves)?;
        Ok(moves)
    }

    /// Where else than into the data directory a copy is written, after seeing that there is room and that
    /// nothing is there: what is there when the copy is marked is removed if it fails.
    pub(super) fn copies_into(
        &self,
        plan: &CopyPlan,
        source: &Source,
    ) -> Result<Vec<PathBuf>, ClsError> {
        let mut targets = self.targets(plan, source, self.old_wal_dir())?;
        self.old
            .data_place(&self.pg.pgdata)
            .clone_into(&mut targets[0].place);
        let beside = targets.iter().skip(1);
        let beside = beside.map(|target| target.place.clone()).collect();
        self.see_room(targets, &Moves::default())?;
        Ok(beside)
    }

    fn see_room(&self, targets: Vec<Target>, moves: &Moves) -> Result<(), ClsError> {
        let mut needs = Vec::new();
        for Target { place, bytes, .. } in targets {
            let bytes = if self.order.ignore_space { 0 } else { bytes };
            let need = self
                .pg
                .need(&place, bytes)
                .map_err(|error| broken(&error))?;
            needs.push(Need {
                taken: need.taken && !moves.frees(&place, &self.pg.pgdata),
                ..need
            });
        }
        has_room(&needs).map_err(|refusal| ClsError::from(*refusal))
    }

    /// Every place that a copy is written to: the data directory first, the tablespaces, that of the WAL.
    fn targets(
        &self,
        plan: &CopyPlan,
        source: &Source,
        wal: Option<PathBuf>,
    ) -> Result<Vec<Target>, ClsError> {
        let mut targets = vec![Target {
            place: self.pg.pgdata.clone(),
            location: None,
            bytes: 0,
        }];
        for row in self.tablespaces(plan, source)? {
            let mut cells = row.into_iter();
            let location = PathBuf::from(cells.next().flatten().unwrap_or_default());
            let bytes = cells.next().flatten().and_then(|size| size.parse().ok());
            let bytes: u64 = bytes.unwrap_or_default();
            // The others are in the data directory.
            match location.is_absolute() {
                true => targets.push(Target {
                    place: self.real(mapped(&location, &self.order.tablespaces))?,
                    location: Some(location),
                    bytes,
                }),
                false => targets[0].bytes += bytes,
            }
        }
        match self.order.wal_dir.clone().or(wal) {
            Some(wal) => targets.push(Target {
                place: self.real(wal)?,
                location: None,
                bytes: WAL,
            }),
            None => targets[0].bytes += WAL,
        }
        Ok(targets)
    }

    fn real(&self, place: PathBuf) -> Result<PathBuf, ClsError> {
        let real = self.pg.user.files().real(&place);
        Ok(real.map_err(|error| broken(&error))?.unwrap_or(place))
    }

    /// The source's tablespaces and their sizes. It is asked once: counting files takes its time, and between the looks
    /// at this node's places and the deed there should be little.
    fn tablespaces(&self, plan: &CopyPlan, source: &Source) -> Result<TextRows, ClsError> {
        if let Some(known) = self.tablespaces.get() {
            return Ok(known.clone());
        }
        let rows = self.ask_for_tablespaces(plan, source)?;
        Ok(self.tablespaces.get_or_init(|| rows).clone())
    }

    fn ask_for_tablespaces(&self, plan: &CopyPlan, source: &Source) -> Result<TextRows, ClsError> {
        let refused = match self.ask(source, SIZES) {
            Ok(rows) => return Ok(rows),
            Err(refused) => refused,
        };
        let deadline = self.deadline.sub_budget(COUNT);
        let primary = Primary::new(&self.cluster, &plan.source, deadline);
        primary.over_ssh(SIZES, deadline).or_else(|ssh| {
            self.session.ui.progress(&format!(
                "how large the database is cannot be asked, so that room for it is not looked at: {}; {ssh}",
                refused.what()
            ));
            self.ask(source, PLACES)
        })
    }
}

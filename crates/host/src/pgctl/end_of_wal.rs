//! The real end of the WAL on this disk.
//!
//! The control file knows the latest checkpoint, which may be minutes behind what was committed; a
//! server that is down cannot be asked; and the receive position of a standby is lost when it
//! stops. So the WAL itself is read, by PostgreSQL's own reader (`pg_waldump`), from the latest
//! checkpoint to the first position that holds no valid record.

use pha_core::lsn::Lsn;
use pha_core::parse::controldata::{ControlData, WalGeometry};
use pha_core::parse::history;
use pha_core::parse::waldump::{self, Waldump, WaldumpError};
use pha_core::postgres::StandbyView;
use pha_core::timeline::{HISTORY, History, TimelineId, WalPosition};

use super::{PgCtl, PgError};
use crate::clock::Deadline;
use crate::command::Output;
use crate::files::FileError;

/// What is kept of `pg_waldump`'s output where the last record is looked for. A line describes
/// one record; those of the largest (commits with thousands of invalidations) stay below this.
const KEPT: usize = 4 << 20;

/// The length of the header with which a segment begins (`XLogLongPageHeaderData`), in bytes.
const LONG_HEADER: u64 = 40;

impl PgCtl {
    /// Where the WAL on this disk ends, on the newest timeline of which there is any.
    ///
    /// Which timelines are looked at, and what counts, is the core's ([`ControlData::successors`]).
    pub fn end_of_wal(
        &self,
        control: &ControlData,
        deadline: Deadline,
    ) -> Result<WalPosition, PgError> {
        let newer = self.histories_after(control.checkpoint_timeline)?;
        for successor in control.successors(newer) {
            if !self.has_segment(&successor.first_file)? {
                continue;
            }
            let end = self.end_from(successor.timeline(), successor.begin, control, deadline)?;
            if let Some(end) = successor.end(end) {
                return Ok(end);
            }
        }
        let (timeline, checkpoint) = (control.checkpoint_timeline, control.checkpoint);
        let end = self.end_from(timeline, checkpoint, control, deadline)?;
        control.end_on_own(end).ok_or(PgError::NoCheckpoint {
            checkpoint,
            timeline,
        })
    }

    /// The timeline of what a running standby has, where no receiver tells it. The control file is as
    /// old as the latest restartpoint, so that the standby of a fresh primary would seem to have left
    /// the old timeline's end behind it: to have diverged. As in [`Self::end_of_wal`] a history file
    /// alone counts for nothing, nor does a file of a timeline on which these data cannot be.
    ///
    /// # Errors
    /// `pg_wal` or the control file cannot be read.
    pub fn timeline_of(
        &self,
        known: WalPosition,
        deadline: Deadline,
    ) -> Result<TimelineId, PgError> {
        let newer = self.histories_after(known.timeline)?;
        if newer.is_empty() {
            return Ok(known.timeline);
        }
        let control = self.controldata(deadline)?;
        for successor in control.successors(newer) {
            if successor.end(known.lsn).is_some() && self.has_segment(&successor.first_file)? {
                return Ok(successor.timeline());
            }
        }
        Ok(known.timeline)
    }

    /// Whether a file of that name is in `pg_wal`. What cannot be looked at is no end of the WAL: the node would
    /// seem to have less than it has.
    fn has_segment(&self, name: &str) -> Result<bool, PgError> {
        Ok(self.is_there(&self.wal_dir().join(name))?)
    }

    /// Where the WAL of a running standby ends; none before it has received or replayed anything. Where
    /// it streams, its receiver says on which timeline, and otherwise its files do
    /// ([`Self::timeline_of`]).
    ///
    /// # Errors
    /// As [`Self::timeline_of`].
    pub fn end_of_standby(
        &self,
        standby: &StandbyView,
        deadline: Deadline,
    ) -> Result<Option<WalPosition>, PgError> {
        let Some(known) = standby.end() else {
            return Ok(None);
        };
        let timeline = match standby.streaming {
            true => known.timeline,
            false => self.timeline_of(known, deadline)?,
        };
        Ok(Some(WalPosition { timeline, ..known }))
    }

    /// The ancestry of a timeline as `pg_wal` has it; `None` when there is no history file. The
    /// first timeline has no ancestors, and no file.
    pub fn history(&self, timeline: TimelineId) -> Result<Option<History>, PgError> {
        if timeline == TimelineId::FIRST {
            return Ok(Some(History::without_ancestors(timeline)));
        }
        let path = self.wal_dir().join(timeline.history_file());
        let Some(content) = self.user.files().read(&path)? else {
            return Ok(None);
        };
        history::parse(timeline, &content.text())
            .map(Some)
            .map_err(|mut reason| {
                if !self.user.files().may_quote(&content, &self.pgdata) {
                    reason.text = "a line that is not shown".to_owned();
                }
                PgError::History { path, reason }
            })
    }

    /// The histories of newer timelines than this one that are in `pg_wal`, newest first.
    ///
    /// # Errors
    /// `pg_wal` cannot be read, or a history file is malformed.
    pub fn histories_after(&self, timeline: TimelineId) -> Result<Vec<History>, PgError> {
        let mut newer = self.history_files()?;
        newer.retain(|found| *found > timeline);
        newer.sort_unstable_by_key(|found| std::cmp::Reverse(*found));
        newer
            .into_iter()
            .filter_map(|found| self.history(found).transpose())
            .collect()
    }

    fn history_files(&self) -> Result<Vec<TimelineId>, PgError> {
        let dir = self.wal_dir();
        let names = self.user.files().names(&dir, HISTORY)?;
        let names = names.ok_or_else(|| FileError {
            action: "reading",
            path: dir,
            reason: std::io::ErrorKind::NotFound.into(),
        })?;
        let timelines = names
            .iter()
            .filter_map(|name| TimelineId::of_history_file(name));
        Ok(timelines.collect())
    }

    /// Reads one timeline's WAL from the beginning of a record. The result is that position
    /// itself when no record is there.
    fn end_from(
        &self,
        timeline: TimelineId,
        start: Lsn,
        control: &ControlData,
        deadline: Deadline,
    ) -> Result<Lsn, PgError> {
        // pg_waldump waits five seconds for a file that is not there, so it is told where the
        // files end.
        let limit = self.end_of_files(timeline, start, control.wal)?;
        if limit <= start || self.is_only_made_ready(timeline, start, control.wal)? {
            return Ok(start);
        }
        let failed = |reason| PgError::EndOfWal { timeline, reason };
        let run = Run {
            timeline,
            start,
            limit,
            geometry: control.wal,
        };
        // Quiet first: printing a gigabyte of WAL takes many times as long as reading it.
        let quiet = self.waldump(run, Print::Nothing, deadline)?;
        if !quiet.stderr.is_empty() {
            match run.end(&quiet, false) {
                // The message says only on which page the WAL ends; the position follows from
                // the last record, which has to be printed for that.
                Err(WaldumpError::NoRecord(_)) => {}
                other => return other.map_err(failed),
            }
        }
        // The message also names the last record. Without a message the files end before the WAL
        // does, and that record is nearly always in the last file; a very long one begins earlier.
        let last_file = Lsn::new(limit.as_u64() - u64::from(control.wal.segment_bytes));
        let last_record = waldump::last_record_named(&quiet.error_text()).unwrap_or(last_file);
        let near = Run {
            start: last_record.max(start),
            ..run
        };
        let output = self.waldump(near, Print::Records, deadline)?;
        match near.end(&output, true) {
            Ok(end) if end > near.start => Ok(end),
            Ok(_) | Err(_) if near.start > start => {
                let output = self.waldump(run, Print::Records, deadline)?;
                run.end(&output, true).map_err(failed)
            }
            other => other.map_err(failed),
        }
    }

    /// Whether the segment with this position has nothing but zeros where every segment has its size: it was made
    /// ready, and what was written to it has not reached the disk. There is no record in it, and pg_waldump would only
    /// say that it is no segment.
    fn is_only_made_ready(
        &self,
        timeline: TimelineId,
        at: Lsn,
        geometry: WalGeometry,
    ) -> Result<bool, PgError> {
        let file = self.wal_dir().join(geometry.segment_file(timeline, at));
        let head = self.user.files().read_part(&file, 0, LONG_HEADER)?;
        Ok(head.is_some_and(|head| head.bytes.iter().all(|byte| *byte == 0)))
    }

    /// The beginning of the first segment, from that of a position on, of which there is no file.
    fn end_of_files(
        &self,
        timeline: TimelineId,
        start: Lsn,
        geometry: WalGeometry,
    ) -> Result<Lsn, PgError> {
        let mut segment = geometry.segment_start(start);
        while self.has_segment(&geometry.segment_file(timeline, segment))? {
            segment = Lsn::new(segment.as_u64() + u64::from(geometry.segment_bytes));
        }
        Ok(segment)
    }

    fn waldump(&self, run: Run, print: Print, deadline: Deadline) -> Result<Output, PgError> {
        // Without a file it takes the size of a segment from the first one that the directory lists. That may be one
        // that was only made ready, which has nothing but zeros.
        let last = Lsn::new(run.limit.as_u64() - u64::from(run.geometry.segment_bytes));
        let file = |at| run.geometry.segment_file(run.timeline, at);
        let files = [run.geometry.segment_start(run.start), last].map(file);
        let command = self
            .command("pg_waldump")
            .arg("--path")
            .arg(self.wal_dir())
            .args(["--timeline", &run.timeline.to_string()])
            .args(["--start", &run.start.to_string()])
            .args(["--end", &run.limit.to_string()]);
        let command = match print {
            Print::Records => command,
            Print::Nothing if self.data_version()?.major() >= 13 => command.arg("--quiet"),
            // Version 12 has no --quiet; statistics are short.
            Print::Nothing => command.arg("--stats"),
        };
        // It ends with status 1 where the WAL ends before the limit.
        Ok(command.args(files).accept(1).keep_end(KEPT).run(deadline)?)
    }
}

/// What one run of `pg_waldump` reads.
#[derive(Clone, Copy)]
struct Run {
    timeline: TimelineId,
    start: Lsn,
    limit: Lsn,
    geometry: WalGeometry,
}

impl Run {
    /// What its output says, with or without the records in it.
    fn end(self, output: &Output, records: bool) -> Result<Lsn, WaldumpError> {
        let (stdout, stderr) = (output.text(), output.error_text());
        waldump::end_of_wal(&Waldump {
            start: self.start,
            timeline: self.timeline,
            geometry: self.geometry,
            last_record: records
                .then(|| waldump::last_record_line(&stdout))
                .flatten(),
            stderr: &stderr,
        })
    }
}

#[derive(Clone, Copy)]
enum Print {
    Records,
    Nothing,
}

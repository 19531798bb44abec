//! The end of the WAL, as `pg_waldump` finds it.
//!
//! `pg_waldump -p pg_wal -t TIMELINE -s START` prints record after record and stops with an error
//! at the first position that holds none: that is the end. Its messages come from PostgreSQL's
//! `xlogreader.c`; the wordings here are those of versions 10 to 18. Some of them name the
//! position at which the next record should begin. The others name a page, and the end is then
//! computed from the last record: its position, its length, and the page headers inside it.

use crate::lsn::Lsn;
use crate::quoted::quoted;
use crate::timeline::TimelineId;

use super::controldata::WalGeometry;

/// What `pg_waldump` left behind.
#[derive(Debug, Clone, Copy)]
pub struct Waldump<'a> {
    /// The position that it was told to start at: the beginning of a record, as the redo position
    /// of a checkpoint is.
    pub start: Lsn,
    /// The timeline that it was told to read.
    pub timeline: TimelineId,
    /// Sizes of segments and pages, from `pg_controldata`.
    pub geometry: WalGeometry,
    /// The last line of its output that begins with `rmgr:`; `None` if there is none, or with `-q`.
    pub last_record: Option<&'a str>,
    /// Its error output.
    pub stderr: &'a str,
}

/// An output from which the end of the WAL cannot be known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WaldumpError {
    /// A line of the output that is no record.
    #[error("pg_waldump printed {}, which is not a record as PostgreSQL 10 to 18 print it", quoted(.0))]
    Record(String),
    /// An error that says something else than "the WAL ends here".
    #[error("pg_waldump failed: {}; look at pg_wal, its owner and the disk", quoted(.0))]
    Failed(String),
    /// An error about a page, without the record before it.
    #[error("pg_waldump says {} and printed no record before it, so the end of the WAL is not known", quoted(.0))]
    NoRecord(String),
    /// The last record and the error disagree.
    #[error("pg_waldump says {}, but its last record ends at {computed}", quoted(.message))]
    Contradiction {
        /// What it says.
        message: String,
        /// Where the last record ends.
        computed: Lsn,
    },
}

/// The last line of `pg_waldump`'s output that is a record.
#[must_use]
pub fn last_record_line(stdout: &str) -> Option<&str> {
    stdout.lines().rev().find(|line| line.starts_with("rmgr:"))
}

/// The beginning of the last record before the error, as `error in WAL record at 0/1500718: …` names it.
#[must_use]
pub fn last_record_named(stderr: &str) -> Option<Lsn> {
    let (_, rest) = stderr.split_once("error in WAL record at ")?;
    let (position, _) = rest.split_once(": ")?;
    position.parse().ok().filter(|lsn: &Lsn| lsn.is_valid())
}

/// Where the WAL ends: the position after the last valid record. At the boundary of a page it is
/// the boundary itself, as PostgreSQL writes it into timeline histories, not the position after
/// the header of the page.
///
/// # Errors
/// [`WaldumpError`] for everything from which the end cannot be known.
pub fn end_of_wal(dump: &Waldump<'_>) -> Result<Lsn, WaldumpError> {
    let computed = dump
        .last_record
        .map(|line| record_end(line, dump.geometry))
        .transpose()?;
    let failed = |message: &str| WaldumpError::Failed(message.to_owned());
    let Some(message) = error_message(dump.stderr)? else {
        // It came to the end that it was given (`-e`) without finding an error before.
        return computed.ok_or_else(|| failed(dump.stderr.trim()));
    };
    let stop = stop(message, dump).ok_or_else(|| failed(message))?;
    match (stop, computed) {
        (Stop::Nothing, None) => Ok(boundary(dump.start, dump.geometry)),
        (Stop::Nothing, Some(_)) => Err(failed(message)),
        (Stop::At(end), None) => Ok(boundary(end, dump.geometry)),
        (Stop::At(end), Some(computed)) => {
            let end = boundary(end, dump.geometry);
            // An aborted record at the end of a page can move the end forward, never back.
            if end < computed {
                return Err(WaldumpError::Contradiction {
                    message: message.to_owned(),
                    computed,
                });
            }
            Ok(end)
        }
        (Stop::AfterLastRecord, Some(computed)) => Ok(computed),
        (Stop::AfterLastRecord, None) => Err(WaldumpError::NoRecord(message.to_owned())),
        (Stop::NoSegment(segment), Some(computed)) if computed <= segment => Ok(computed),
        (Stop::NoSegment(segment), None) if boundary(dump.start, dump.geometry) == segment => {
            Ok(segment)
        }
        (Stop::NoSegment(_), Some(computed)) => Err(WaldumpError::Contradiction {
            message: message.to_owned(),
            computed,
        }),
        (Stop::NoSegment(_), None) => Err(WaldumpError::NoRecord(message.to_owned())),
    }
}

/// Why it stopped.
enum Stop {
    /// There is no record at or after the start.
    Nothing,
    /// There is no valid record at this position, where the next one should begin.
    At(Lsn),
    /// A page that should hold the next record, or the rest of it, is not valid.
    AfterLastRecord,
    /// There is no file for the segment that begins here.
    NoSegment(Lsn),
}

/// The line of the error, without what precedes it: `pg_waldump: error: ` from version 14 on,
/// `pg_waldump: fatal: ` in 12 and 13, `pg_waldump: FATAL:  ` before. A line that is none of them,
/// nor the note about skipped bytes, is an error of its own.
fn error_message(stderr: &str) -> Result<Option<&str>, WaldumpError> {
    let mut message = None;
    for line in stderr.lines().filter(|line| !line.trim().is_empty()) {
        let text = line.strip_prefix("pg_waldump: ").unwrap_or(line);
        let text = ["error: ", "fatal: ", "FATAL: "]
            .iter()
            .find_map(|prefix| text.strip_prefix(prefix))
            .unwrap_or(text)
            .trim_start();
        if text.starts_with("first record is after ") {
            continue;
        }
        if message.is_some() {
            return Err(WaldumpError::Failed(line.to_owned()));
        }
        message = Some(text);
    }
    Ok(message)
}

fn stop(message: &str, dump: &Waldump<'_>) -> Option<Stop> {
    if let Some(after) = message.strip_prefix("could not find a valid record after ") {
        // Version 19 adds the reason after a colon.
        let position = after.split(':').next()?.trim();
        return (position.parse::<Lsn>().ok()? == dump.start).then_some(Stop::Nothing);
    }
    if let Some(file) = message.strip_prefix("could not find file \"") {
        let (name, reason) = file.split_once("\": ")?;
        return (reason == "No such file or directory")
            .then(|| segment_of(name, dump))
            .flatten()
            .map(Stop::NoSegment);
    }
    let record = message.strip_prefix("error in WAL record at ")?;
    let (last, reason) = record.split_once(": ")?;
    last.parse::<Lsn>().ok()?;
    reason_of(reason)
}

/// The beginning of the segment that a file name of the timeline names.
fn segment_of(name: &str, dump: &Waldump<'_>) -> Option<Lsn> {
    if name.len() != 24 || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let part = |range| u64::from_str_radix(name.get(range)?, 16).ok();
    let (timeline, high, low) = (part(0..8)?, part(8..16)?, part(16..24)?);
    let bytes = u64::from(dump.geometry.segment_bytes);
    let per_name = (1u64 << 32) / bytes;
    let ours = timeline == u64::from(dump.timeline.get()) && low < per_name;
    ours.then(|| Lsn::new((high * per_name + low) * bytes))
}

/// Reasons that name the position at which a record should begin.
const AT_RECORD: [&str; 6] = [
    "invalid record length at ",
    "invalid record offset at ",
    "invalid resource manager ID ",
    "record with incorrect prev-link ",
    "incorrect resource manager data checksum in record at ",
    "contrecord is requested by ",
];

/// Reasons that are about a page which should hold a record or the rest of one: leftovers of a
/// recycled file, or zeros.
const AT_PAGE: [&str; 8] = [
    "there is no contrecord flag at ",
    "invalid contrecord length ",
    "missing contrecord at ",
    "invalid magic number ",
    "invalid info bits ",
    "unexpected pageaddr ",
    "out-of-sequence timeline ID ",
    "record length ",
];

fn reason_of(reason: &str) -> Option<Stop> {
    if AT_PAGE.iter().any(|known| reason.starts_with(known)) {
        return Some(Stop::AfterLastRecord);
    }
    AT_RECORD.iter().find_map(|known| {
        // The lengths after the colon are worded differently before and after version 16.
        let rest = reason.strip_prefix(known)?.split(':').next()?;
        // `invalid resource manager ID 7 at 0/1`, `incorrect prev-link 0/1 at 0/2`
        let position = rest
            .rsplit_once(" at ")
            .map_or(rest, |(_, position)| position);
        position.trim().parse().ok().map(Stop::At)
    })
}

/// Bytes of the header of a page, and of the first page of a segment (`SizeOfXLogShortPHD` and
/// `SizeOfXLogLongPHD` on every platform with 64-bit alignment).
const SHORT_HEADER: u64 = 24;
const LONG_HEADER: u64 = 40;

fn header(page: u64, geometry: WalGeometry) -> u64 {
    if page % u64::from(geometry.segment_bytes) == 0 {
        LONG_HEADER
    } else {
        SHORT_HEADER
    }
}

/// Takes a position just after a page's header back to the page's beginning: nothing lies between
/// the two, and PostgreSQL names the end of a record by the latter.
fn boundary(lsn: Lsn, geometry: WalGeometry) -> Lsn {
    let page_bytes = u64::from(geometry.page_bytes);
    let inside = lsn.as_u64() % page_bytes;
    let page = lsn.as_u64() - inside;
    if inside != 0 && inside == header(page, geometry) {
        Lsn::new(page)
    } else {
        lsn
    }
}

/// Where the record of this line ends, as the next record's reader computes it
/// (`XLogDecodeNextRecord`).
fn record_end(line: &str, geometry: WalGeometry) -> Result<Lsn, WaldumpError> {
    let error = || WaldumpError::Record(line.to_owned());
    let (start, length, is_switch) = record(line).ok_or_else(error)?;
    let page_bytes = u64::from(geometry.page_bytes);
    let aligned = |bytes: u64| bytes.next_multiple_of(8);
    let mut position = start;
    let mut left = length;
    loop {
        let room = page_bytes - position % page_bytes;
        if left <= room {
            position = position.checked_add(aligned(left)).ok_or_else(error)?;
            break;
        }
        left -= room;
        let page = position.checked_add(room).ok_or_else(error)?;
        position = page.checked_add(header(page, geometry)).ok_or_else(error)?;
    }
    if is_switch {
        // The rest of the segment is skipped.
        let segment_bytes = u64::from(geometry.segment_bytes);
        position = position
            .checked_next_multiple_of(segment_bytes)
            .ok_or_else(error)?;
    }
    Ok(Lsn::new(position))
}

/// Position, length and whether it is a segment switch:
/// `rmgr: XLOG  len (rec/tot): 24/ 24, tx: 0, lsn: 0/02773D08, prev 0/02773CE0, desc: SWITCH`.
fn record(line: &str) -> Option<(u64, u64, bool)> {
    let (manager, rest) = line.strip_prefix("rmgr:")?.split_once("len (rec/tot):")?;
    let (lengths, rest) = rest.split_once(", tx:")?;
    let (_, rest) = rest.split_once(", lsn: ")?;
    let (lsn, rest) = rest.split_once(", prev ")?;
    let (_, description) = rest.split_once(", desc: ")?;
    let (_, total) = lengths.split_once('/')?;
    let length: u64 = total.trim().parse().ok()?;
    let lsn: Lsn = lsn.parse().ok()?;
    // A record has a header of 24 bytes and at most 1 GiB (`XLogRecordMaxSize`).
    let possible = (24..=1 << 30).contains(&length) && lsn.is_valid();
    let is_switch =
        manager.trim() == "XLOG" && description.split_whitespace().next() == Some("SWITCH");
    possible.then_some((lsn.as_u64(), length, is_switch))
}

#[cfg(test)]
#[path = "waldump_tests.rs"]
mod tests;

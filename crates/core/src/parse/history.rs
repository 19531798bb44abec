//! Timeline history files, `pg_wal/0000000N.history`.
//!
//! The rules are those of PostgreSQL's `readTimeLineHistory`: one line per ancestor with its
//! number, the position at which it was left, and a reason that nobody reads; `#` begins a
//! comment. PostgreSQL refuses numbers that do not grow; positions never shrink either, since a
//! timeline is only ever left at or after the position at which it began.

use crate::lsn::Lsn;
use crate::quoted::quoted;
use crate::timeline::{History, HistoryEntry, TimelineId};

/// A history file that PostgreSQL would not have written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("timeline history of timeline {own}, line {line}: {}: {expected}", quoted(.text))]
pub struct HistoryError {
    /// The timeline whose history it is.
    pub own: TimelineId,
    /// The line, counted from 1.
    pub line: usize,
    /// The line's text.
    pub text: String,
    /// What is expected.
    pub expected: &'static str,
}

/// Reads the history file of timeline `own`.
///
/// # Errors
/// [`HistoryError`] for a line that is no entry, and for entries out of order.
pub fn parse(own: TimelineId, text: &str) -> Result<History, HistoryError> {
    let mut entries: Vec<HistoryEntry> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let content = line.trim_start();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let error = |expected| HistoryError {
            own,
            line: index + 1,
            text: line.to_owned(),
            expected,
        };
        let entry = entry(content).ok_or_else(|| {
            error("an ancestor's number, a tab and a WAL position like 0/3000148 are expected")
        })?;
        if entry.parent >= own {
            return Err(error(
                "an ancestor's number is smaller than the timeline's own",
            ));
        }
        if let Some(last) = entries.last() {
            if entry.parent <= last.parent {
                return Err(error("the ancestors' numbers grow from line to line"));
            }
            if entry.end < last.end {
                return Err(error("the ancestors' positions never shrink"));
            }
        }
        entries.push(entry);
    }
    Ok(History { own, entries })
}

fn entry(line: &str) -> Option<HistoryEntry> {
    let mut fields = line.split_whitespace();
    let parent: TimelineId = fields.next()?.parse().ok()?;
    let end: Lsn = fields.next()?.parse().ok()?;
    Some(HistoryEntry { parent, end })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn timeline(number: u32) -> TimelineId {
        TimelineId::new(number).unwrap()
    }

    #[test]
    fn entries_comments_and_blank_lines_are_read() {
        let text = "# a comment\n\n1\t0/3000148\tno recovery target specified\n  \n2\t0/5000000\tbefore 2026-01-01 00:00:00+00\n";
        let history = parse(timeline(3), text).unwrap();
        assert_eq!(history.entries.len(), 2);
        assert!(history.contains_switch(timeline(1), "0/3000148".parse().unwrap()));
        assert_eq!(history.last_switch().unwrap().parent, timeline(2));
        assert!(parse(timeline(2), "").unwrap().entries.is_empty());
    }

    #[test]
    fn unexpected_lines_are_quoted_with_their_number() {
        for text in [
            "x",
            "1",
            "1\t0-3000148",
            "0\t0/1",
            "3\t0/1\tx",
            "4\t0/1\tx",
            "1\t0/2\tx\n1\t0/3\tx",
            "2\t0/2\tx\n1\t0/3\tx",
            "1\t0/2\tx\n2\t0/1\tx",
        ] {
            let error = parse(timeline(3), text).unwrap_err();
            assert_eq!(error.line, text.lines().count(), "{error}");
            assert!(
                error
                    .to_string()
                    .contains(&quoted(text.lines().last().unwrap()))
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>(), own in 1u32..) {
            let _ = parse(timeline(own), &text);
        }

        #[test]
        fn what_postgresql_writes_is_read(ends in prop::collection::vec(any::<u64>(), 0..10)) {
            let mut ends = ends;
            ends.sort_unstable();
            let text: String = ends
                .iter()
                .enumerate()
                .map(|(index, end)| format!("{}\t{}\tno recovery target specified\n\n", index + 1, Lsn::new(*end)))
                .collect();
            let own = u32::try_from(ends.len()).unwrap() + 1;
            let read = parse(timeline(own), &text).unwrap();
            let read: Vec<u64> = read.entries.iter().map(|entry| entry.end.as_u64()).collect();
            prop_assert_eq!(read, ends);
        }
    }
}

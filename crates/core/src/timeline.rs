//! Timelines and their history.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::lsn::Lsn;
use crate::quoted::quoted;

/// The number of a timeline, never 0 (PostgreSQL's `TimeLineID`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimelineId(NonZeroU32);

/// A text or number that is no timeline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is no timeline: a number from 1 to 4294967295 is expected", quoted(.0))]
pub struct TimelineError(String);

impl TimelineId {
    /// The timeline of a newly made cluster.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// Makes a timeline of a number; `None` for 0.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// The name of this timeline's history file in `pg_wal`, `00000002.history`.
    #[must_use]
    pub fn history_file(self) -> String {
        format!("{:08X}{HISTORY}", self.get())
    }

    /// The timeline whose history file has this name, letter by letter as PostgreSQL gives it.
    #[must_use]
    pub fn of_history_file(name: &str) -> Option<Self> {
        let digits = name.strip_suffix(HISTORY)?;
        let timeline = Self::new(u32::from_str_radix(digits, 16).ok()?)?;
        (timeline.history_file() == name).then_some(timeline)
    }

    /// The numbers up to `highest` of which there is no history file yet: those that are reserved by one. A file
    /// that is there stays, for it may say where a timeline of these data has begun.
    ///
    /// # Errors
    /// Those of `has`: what cannot be looked at may be there.
    pub fn to_reserve<E>(
        highest: Self,
        mut has: impl FnMut(Self) -> Result<bool, E>,
    ) -> Result<Vec<Self>, E> {
        let mut free = Vec::new();
        for number in (2..=highest.get()).filter_map(Self::new) {
            if !has(number)? {
                free.push(number);
            }
        }
        Ok(free)
    }
}

/// How the name of a history file ends.
pub const HISTORY: &str = ".history";

impl fmt::Display for TimelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for TimelineId {
    type Err = TimelineError;

    /// Reads a decimal number of digits only.
    fn from_str(text: &str) -> Result<Self, TimelineError> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits
            .then(|| text.parse().ok().and_then(Self::new))
            .flatten()
            .ok_or_else(|| TimelineError(text.to_owned()))
    }
}

impl TryFrom<u32> for TimelineId {
    type Error = TimelineError;

    fn try_from(number: u32) -> Result<Self, TimelineError> {
        Self::new(number).ok_or_else(|| TimelineError(number.to_string()))
    }
}

/// One switch: where a timeline ended and its successor began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The timeline that was left.
    pub parent: TimelineId,
    /// The position at which it was left: WAL from there on belongs to its successor.
    pub end: Lsn,
}

/// The ancestry of a timeline, oldest switch first. Timeline 1 has none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct History {
    /// The timeline whose ancestry this is.
    pub own: TimelineId,
    /// Its ancestors in the order in which they were left.
    pub entries: Vec<HistoryEntry>,
}

impl History {
    /// The history of a timeline that has no ancestors, such as timeline 1.
    #[must_use]
    pub const fn without_ancestors(own: TimelineId) -> Self {
        Self {
            own,
            entries: Vec::new(),
        }
    }

    /// The switch that began this timeline.
    #[must_use]
    pub fn last_switch(&self) -> Option<HistoryEntry> {
        self.entries.last().copied()
    }

    /// Whether data whose WAL ends at `end`, if it is of this timeline, are on it: at least one record of it is
    /// there (R13). A history file alone, which a standby fetches before the WAL, puts no data on a timeline,
    /// nor does a file that was made for WAL which has not come. The first timeline, which nothing was left
    /// for, has begun with the data.
    #[must_use]
    pub fn is_begun_at(&self, end: Lsn) -> bool {
        self.last_switch().is_none_or(|switch| end > switch.end)
    }

    /// Whether this stands for a number that was given before and must not be given again: it claims
    /// to have left another timeline at a position where nothing ever was.
    #[must_use]
    pub fn is_reservation(&self) -> bool {
        self.entries.len() == 1 && self.entries[0].end == Self::RESERVED_AT
    }

    /// The only position of a [reservation](Self::is_reservation). A running standby, which looks for
    /// newer timelines, passes such a file over as one that lies behind it.
    pub const RESERVED_AT: Lsn = Lsn::new(1);

    /// Whether this timeline descends from `parent` through a switch at exactly `end`.
    #[must_use]
    pub fn contains_switch(&self, parent: TimelineId, end: Lsn) -> bool {
        self.entries.contains(&HistoryEntry { parent, end })
    }

    /// Where an ancestor ended; `None` for a timeline that is no ancestor, also for the own one.
    #[must_use]
    pub fn end_of(&self, timeline: TimelineId) -> Option<Lsn> {
        self.entries
            .iter()
            .find(|entry| entry.parent == timeline)
            .map(|entry| entry.end)
    }

    /// Whether this timeline goes through a position, or begins there.
    #[must_use]
    pub fn passes(&self, position: WalPosition) -> bool {
        self.own == position.timeline
            || self
                .end_of(position.timeline)
                .is_some_and(|end| end >= position.lsn)
    }

    /// Where WAL of this timeline that ends at `end` leaves the common history with another one;
    /// `None` where all of it belongs to the other one too, or where that cannot be told since the
    /// ancestors are not known.
    #[must_use]
    pub fn leaves(&self, end: Lsn, other: &Self) -> Option<WalPosition> {
        let mine = self.entries.iter().map(|entry| (entry.parent, entry.end));
        let mut common = None;
        for (timeline, lsn) in mine.chain([(self.own, end)]) {
            if timeline == other.own {
                return None;
            }
            let Some(theirs) = other.end_of(timeline) else {
                return common;
            };
            let fork = WalPosition {
                timeline,
                lsn: theirs.min(lsn),
            };
            // Only the last timeline may end before the other one has left it.
            if theirs < lsn || (theirs > lsn && timeline != self.own) {
                return Some(fork);
            }
            common = Some(fork);
        }
        None
    }
}

/// A position on a timeline, ordered by timeline and then by position: among nodes of one cluster
/// the greater one has the newer history, and then more of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WalPosition {
    /// The timeline that the position belongs to.
    pub timeline: TimelineId,
    /// The position.
    pub lsn: Lsn,
}

impl fmt::Display for WalPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on timeline {}", self.lsn, self.timeline)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn timeline(number: u32) -> TimelineId {
        TimelineId::new(number).unwrap()
    }

    #[test]
    fn a_timeline_is_a_positive_decimal_number() {
        assert_eq!("12".parse::<TimelineId>().unwrap().get(), 12);
        for text in ["", "0", "-1", "+1", "1 ", "0x1", "4294967296", "A"] {
            assert!(text.parse::<TimelineId>().is_err(), "{text}");
        }
        assert_eq!(timeline(0x1A).history_file(), "0000001A.history");
        assert!(serde_json::from_str::<TimelineId>("0").is_err());
    }

    #[test]
    fn a_history_file_has_the_name_that_postgresql_gives_it() {
        let read = TimelineId::of_history_file;
        assert_eq!(read("0000001A.history"), TimelineId::new(0x1A));
        for name in [
            "0000001a.history",
            "1A.history",
            "+000001A.history",
            "00000000.history",
            "0000000001A.history",
            "0000001A.history.foreign.1",
            "0000001A",
        ] {
            assert_eq!(read(name), None, "{name}");
        }
    }

    #[test]
    fn only_a_number_that_is_seen_to_have_no_file_is_reserved() {
        let has = |number: TimelineId| Ok::<_, ()>(number.get() == 3);
        let free = TimelineId::to_reserve(timeline(4), has);
        assert_eq!(free, Ok(vec![timeline(2), timeline(4)]));
        assert_eq!(TimelineId::to_reserve(TimelineId::FIRST, has), Ok(vec![]));
        let unclear = |number: TimelineId| match number.get() {
            3 => Err("unreadable"),
            _ => Ok(false),
        };
        assert_eq!(
            TimelineId::to_reserve(timeline(4), unclear),
            Err("unreadable")
        );
    }

    #[test]
    fn a_newer_timeline_wins_over_a_greater_position() {
        let old = WalPosition {
            timeline: timeline(1),
            lsn: Lsn::new(1000),
        };
        let new = WalPosition {
            timeline: timeline(2),
            lsn: Lsn::new(10),
        };
        assert!(new > old);
    }

    #[test]
    fn switches_are_looked_up_exactly() {
        let history = History {
            own: timeline(3),
            entries: vec![
                HistoryEntry {
                    parent: timeline(1),
                    end: Lsn::new(100),
                },
                HistoryEntry {
                    parent: timeline(2),
                    end: Lsn::new(200),
                },
            ],
        };
        assert!(history.contains_switch(timeline(1), Lsn::new(100)));
        assert!(!history.contains_switch(timeline(1), Lsn::new(101)));
        assert_eq!(history.end_of(timeline(2)), Some(Lsn::new(200)));
        assert_eq!(history.end_of(timeline(3)), None);
        assert_eq!(history.last_switch().unwrap().parent, timeline(2));
    }

    #[test]
    fn data_are_on_a_timeline_from_its_first_record_on() {
        let second = History {
            own: timeline(2),
            entries: vec![HistoryEntry {
                parent: timeline(1),
                end: Lsn::new(100),
            }],
        };
        assert!(!second.is_begun_at(Lsn::new(99)));
        assert!(!second.is_begun_at(Lsn::new(100)));
        assert!(second.is_begun_at(Lsn::new(101)));
        assert!(History::without_ancestors(TimelineId::FIRST).is_begun_at(Lsn::new(1)));
    }

    #[test]
    fn the_fork_of_two_histories_is_found() {
        let history = |own, entries: &[(u32, u64)]| History {
            own: timeline(own),
            entries: entries
                .iter()
                .map(|(parent, end)| HistoryEntry {
                    parent: timeline(*parent),
                    end: Lsn::new(*end),
                })
                .collect(),
        };
        let theirs = history(5, &[(1, 100), (2, 200), (3, 300)]);
        let cases = [
            (history(2, &[(1, 100)]), 200, None),
            (history(2, &[(1, 100)]), 150, None),
            (history(2, &[(1, 100)]), 201, Some((2, 200))),
            (history(2, &[(1, 90)]), 150, Some((1, 90))),
            (history(2, &[(1, 110)]), 150, Some((1, 100))),
            (history(1, &[]), 101, Some((1, 100))),
            // A branch that the other one never had: the common history ends where it began.
            (history(4, &[(1, 100), (2, 200)]), 250, Some((2, 200))),
            (history(4, &[(1, 100), (2, 180)]), 250, Some((2, 180))),
            (history(5, &[(1, 100), (2, 200), (3, 300)]), 900, None),
            // The ancestors of a branch that is not known.
            (history(4, &[]), 250, None),
        ];
        for (mine, end, expected) in cases {
            let found = mine.leaves(Lsn::new(end), &theirs);
            let found = found.map(|fork| (fork.timeline.get(), fork.lsn.as_u64()));
            assert_eq!(found, expected, "{mine:?} up to {end}");
        }
    }
}

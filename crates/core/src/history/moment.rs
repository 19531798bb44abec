//! A time of the lock service's clock.

use std::fmt;

use serde::{Serialize, Serializer};

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

/// The last moment that is written with four digits of the year.
const LAST: i64 = 253_402_300_799_999;

/// A moment between 1970 and the end of the year 9999, to the millisecond. All moments of one history are
/// of one clock, so that they can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(i64);

impl Moment {
    /// The beginning of 1970.
    pub const BEGIN: Self = Self(0);

    /// So many milliseconds after the beginning of 1970 (UTC); none outside of what can be written.
    #[must_use]
    pub fn of_millis(millis: i64) -> Option<Self> {
        (0..=LAST).contains(&millis).then_some(Self(millis))
    }

    /// The same in seconds, as a server gives a time's `epoch`.
    #[must_use]
    pub fn of_seconds(seconds: f64) -> Option<Self> {
        // A conversion of a float stops at the ends of the integer, which are outside.
        Self::of_millis((seconds * 1_000.0).round() as i64)
    }

    /// Milliseconds since the beginning of 1970.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// How many seconds this is after an earlier moment; 0 where that one is later.
    #[must_use]
    pub fn seconds_since(self, earlier: Self) -> f64 {
        (self.0 - earlier.0).max(0) as f64 / 1_000.0
    }

    /// So many days before, as far as that can be written.
    #[must_use]
    pub fn days_before(self, days: u32) -> Self {
        Self((self.0 - i64::from(days) * DAY).max(0))
    }

    /// Year, month and day, and the milliseconds of that day. Days are counted in years that begin in March,
    /// where the leap day is the last one.
    fn parts(self) -> (i64, i64, i64, i64) {
        let days = self.0 / DAY + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let (month, later) = match month {
            0..=9 => (month + 3, 0),
            _ => (month - 9, 1),
        };
        (year + era * 400 + later, month, day, self.0 % DAY)
    }

    /// The day, `2026-11-29`.
    #[must_use]
    pub fn day(self) -> String {
        let (year, month, day, _) = self.parts();
        format!("{year:04}-{month:02}-{day:02}")
    }

    /// The time of the day to the second, `16:20:33`.
    #[must_use]
    pub fn clock(self) -> String {
        let seconds = self.parts().3 / 1_000;
        let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
        format!("{hours:02}:{minutes:02}:{:02}", seconds % 60)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}Z", self.day(), self.clock())
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let millis = self.0 % 1_000;
        serializer.collect_str(&format_args!(
            "{}T{}.{millis:03}Z",
            self.day(),
            self.clock()
        ))
    }
}

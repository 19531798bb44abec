//! How far the register has come, as one node or the whole cluster has seen it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Register;
use crate::quoted::quoted;

/// The highest term and epoch that were seen. As the cluster's configuration keeps it
/// (`<resource>_REGISTER`): `1012|2044`, the term and the epoch.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Seen {
    /// The term.
    pub term: u64,
    /// The epoch, also one that was promised for.
    pub epoch: u64,
}

impl Seen {
    /// What a row shows.
    #[must_use]
    pub fn of(row: &Register) -> Self {
        Self {
            term: row.term,
            epoch: row.epoch,
        }
    }
}

/// A text that is no `<resource>_REGISTER`. It is never guessed at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("REGISTER {} is malformed: term|epoch is expected", quoted(.0))]
pub struct SeenError(String);

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}", self.term, self.epoch)
    }
}

impl FromStr for Seen {
    type Err = SeenError;

    fn from_str(text: &str) -> Result<Self, SeenError> {
        let read = || {
            let (term, epoch) = text.split_once('|')?;
            let seen = Self {
                term: term.parse().ok()?,
                epoch: epoch.parse().ok()?,
            };
            // Only what this program writes: no sign, no leading zero.
            (seen.to_string() == text).then_some(seen)
        };
        read().ok_or_else(|| SeenError(text.to_owned()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_two_plain_numbers() {
        let seen = Seen {
            term: 1012,
            epoch: 2044,
        };
        assert_eq!("1012|2044".parse(), Ok(seen));
        assert_eq!(seen.to_string().parse(), Ok(seen));
        let too_large = format!("{}0|1", u64::MAX);
        for text in [
            "", "|", "1", "1|", "|1", "1|2|3", "+1|2", "01|2", "1|-2", " 1|2", "1|2\n", "a|b",
            &too_large,
        ] {
            assert!(text.parse::<Seen>().is_err(), "{text:?}");
        }
    }
}

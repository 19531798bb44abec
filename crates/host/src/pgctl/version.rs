//! Versions of PostgreSQL.

use std::fmt;

/// A version of PostgreSQL as its programs and its data directories write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    text: String,
    major: u32,
}

impl Version {
    /// Reads `15.18`, `16beta1`, `15`, or `9.6.24`, with whatever follows a space; `None` for other texts.
    pub fn parse(text: &str) -> Option<Self> {
        let word = text.split_ascii_whitespace().next()?;
        let digits: String = word.chars().take_while(char::is_ascii_digit).collect();
        let major = digits.parse().ok().filter(|major| *major > 0)?;
        Some(Self {
            text: word.to_owned(),
            major,
        })
    }

    /// The major version; 9 for all of 9.x, which is older than anything this program runs.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// Whether a standby is made by `standby.signal` and settings in the configuration (12 and
    /// newer), or by `recovery.conf`.
    pub fn has_standby_signal(&self) -> bool {
        self.major >= 12
    }

    /// Whether `primary_conninfo` and `primary_slot_name` change with a reload (13 and newer).
    pub fn reloads_primary_conninfo(&self) -> bool {
        self.major >= 13
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn versions_are_read() {
        for (text, major) in [
            ("15", 15),
            ("15.18 (Debian 15.18-0+deb12u1)", 15),
            ("16beta1", 16),
            ("9.6.24", 9),
            ("17rc1", 17),
        ] {
            assert_eq!(Version::parse(text).unwrap().major(), major, "{text}");
        }
        for text in ["", "x", "0", "-1", ".5"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
        assert!(!Version::parse("11.22").unwrap().has_standby_signal());
        assert!(Version::parse("12.22").unwrap().has_standby_signal());
    }
}

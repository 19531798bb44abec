//! Positions in the write-ahead log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::quoted::quoted;

/// A byte position in the write-ahead log (PostgreSQL's `XLogRecPtr`, type `pg_lsn`).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Lsn(u64);

/// A text that is no WAL position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is no WAL position: {expected} is expected", quoted(.text))]
pub struct LsnError {
    text: String,
    expected: &'static str,
}

impl Lsn {
    /// PostgreSQL's `InvalidXLogRecPtr`, `0/0`: no position.
    pub const INVALID: Self = Self(0);

    /// Makes a position of a number of bytes.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The position in bytes from the beginning of the log.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Whether this is a position at all; PostgreSQL uses `0/0` for "none".
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 != 0
    }

    /// How many bytes this position lies past `earlier`; 0 when it does not.
    #[must_use]
    pub const fn distance(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The end of the record that a position just behind a page header means. PostgreSQL gives the
    /// position where the next record would begin, behind the header of its page, while `pg_waldump`
    /// and a standby that has not got that page yet end before it. The header takes 24 bytes, and 40 on
    /// the first page of a segment (`xlog_internal.h`). Segments have 1 MiB to 1 GiB (`initdb --wal-segsize`),
    /// and each begins at a multiple of the smallest size, which is what counts here: a healthy node must not
    /// be taken for one whose data were put back. Elsewhere a record that began on the page before may end at
    /// the second position; then nobody's last whole record ends at the first byte of its page.
    #[must_use]
    pub const fn before_page_header(self) -> Self {
        const PAGE: u64 = 8192;
        const SMALLEST_SEGMENT: u64 = 1 << 20;
        match (self.0 % PAGE, self.0 % SMALLEST_SEGMENT) {
            (24, _) => Self(self.0 - 24),
            (_, 40) => Self(self.0 - 40),
            _ => self,
        }
    }

    /// Reads the form that node attributes and `REPL_INFO` use: exactly 16 hexadecimal digits.
    ///
    /// # Errors
    /// [`LsnError`] quotes any other text.
    pub fn from_hex16(text: &str) -> Result<Self, LsnError> {
        let error = || LsnError {
            text: text.to_owned(),
            expected: "16 hexadecimal digits",
        };
        if text.len() != 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(error());
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| error())
    }

    /// Writes the form of node attributes and `REPL_INFO`: 16 upper-case hexadecimal digits, so
    /// that the order of the texts is the order of the positions.
    #[must_use]
    pub fn to_hex16(self) -> String {
        format!("{:016X}", self.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF))
    }
}

impl FromStr for Lsn {
    type Err = LsnError;

    /// Reads PostgreSQL's form `0/70000D0`: one to eight hexadecimal digits on either side.
    fn from_str(text: &str) -> Result<Self, LsnError> {
        let half = |digits: &str| -> Option<u64> {
            let plain = (1..=8).contains(&digits.len())
                && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            plain.then(|| u64::from_str_radix(digits, 16).ok())?
        };
        text.split_once('/')
            .and_then(|(high, low)| Some(Self(half(high)? << 32 | half(low)?)))
            .ok_or_else(|| LsnError {
                text: text.to_owned(),
                expected: "a text like 0/70000D0",
            })
    }
}

impl TryFrom<String> for Lsn {
    type Error = LsnError;

    fn try_from(text: String) -> Result<Self, LsnError> {
        Self::from_hex16(&text)
    }
}

impl From<Lsn> for String {
    fn from(lsn: Lsn) -> String {
        lsn.to_hex16()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_forms_name_the_same_position() {
        let lsn: Lsn = "0/70000D0".parse().unwrap();
        assert_eq!(lsn, Lsn::from_hex16("00000000070000D0").unwrap());
        assert_eq!(lsn, "0/070000d0".parse().unwrap());
        assert_eq!(lsn.to_string(), "0/70000D0");
        assert_eq!(lsn.to_hex16(), "00000000070000D0");
        assert_eq!(serde_json::to_string(&lsn).unwrap(), "\"00000000070000D0\"");
        assert_eq!(lsn.distance(Lsn::new(0x700_0000)), 0xD0);
        assert_eq!(Lsn::INVALID.distance(lsn), 0);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "0",
            "/",
            "0/",
            "/0",
            "0/0/0",
            "+1/0",
            "0/+1",
            "0x1/0",
            " 0/1",
            "0/1\n",
            "123456789/0",
            "0/123456789",
            "G/0",
        ] {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
        for text in [
            "",
            "0/70000D0",
            "70000D0",
            "+0000000070000D0",
            "00000000070000D0 ",
        ] {
            assert!(Lsn::from_hex16(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn codecs_round_trip(bytes: u64) {
            let lsn = Lsn::new(bytes);
            prop_assert_eq!(lsn.to_string().parse::<Lsn>().unwrap(), lsn);
            prop_assert_eq!(Lsn::from_hex16(&lsn.to_hex16()).unwrap(), lsn);
        }

        #[test]
        fn the_order_of_texts_is_the_order_of_positions(a: u64, b: u64) {
            let (a, b) = (Lsn::new(a), Lsn::new(b));
            prop_assert_eq!(a.cmp(&b), a.to_hex16().cmp(&b.to_hex16()));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = text.parse::<Lsn>();
            let _ = Lsn::from_hex16(&text);
        }
    }

    #[test]
    fn a_position_behind_a_page_header_is_the_one_before_it() {
        for (given, expected) in [
            (0x3000018, 0x3000000),
            (0x3000028, 0x3000000),
            (0x3100028, 0x3100000),
            (0x3002018, 0x3002000),
            (0x3002028, 0x3002028),
            (0x3002000, 0x3002000),
            (0x3002020, 0x3002020),
        ] {
            assert_eq!(Lsn::new(given).before_page_header(), Lsn::new(expected));
        }
    }
}

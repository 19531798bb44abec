//! The codec of `<resource>_REPL_INFO`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::lsn::Lsn;
use crate::names::NodeName;
use crate::quoted::quoted;
use crate::timeline::{HistoryEntry, TimelineId};

/// The last switch as the cluster configuration records it: `node1|1|00000000070000D0`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReplInfo {
    /// The primary since that switch.
    pub node: NodeName,
    /// The timeline before the last switch; 0 before any switch.
    pub timeline: u32,
    /// Where that timeline ended; `0/0` before any switch.
    pub end: Lsn,
}

/// A text that is no `REPL_INFO`. It is never guessed at: it decides who may be primary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "REPL_INFO {} is malformed: node|timeline|16 hexadecimal digits is expected",
    quoted(.0)
)]
pub struct ReplInfoError(String);

impl ReplInfo {
    /// The value for a primary that has never been switched to.
    #[must_use]
    pub const fn before_any_switch(node: NodeName) -> Self {
        Self {
            node,
            timeline: 0,
            end: Lsn::INVALID,
        }
    }

    /// The value for a primary whose timeline began with `switch`.
    #[must_use]
    pub const fn after_switch(node: NodeName, switch: HistoryEntry) -> Self {
        Self {
            node,
            timeline: switch.parent.get(),
            end: switch.end,
        }
    }

    /// The recorded switch; `None` before any.
    #[must_use]
    pub fn switch(&self) -> Option<HistoryEntry> {
        TimelineId::new(self.timeline).map(|parent| HistoryEntry {
            parent,
            end: self.end,
        })
    }
}

impl fmt::Display for ReplInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}|{}", self.node, self.timeline, self.end.to_hex16())
    }
}

impl FromStr for ReplInfo {
    type Err = ReplInfoError;

    fn from_str(text: &str) -> Result<Self, ReplInfoError> {
        let parse = || {
            let mut fields = text.split('|');
            let (node, timeline, end) = (fields.next()?, fields.next()?, fields.next()?);
            if fields.next().is_some() {
                return None;
            }
            let timeline = match timeline {
                "0" => 0,
                number => number.parse::<TimelineId>().ok()?.get(),
            };
            let end = Lsn::from_hex16(end).ok()?;
            // Half a switch is no switch: both fields are given, or neither is.
            ((timeline == 0) != end.is_valid()).then_some(Self {
                node: node.parse().ok()?,
                timeline,
                end,
            })
        };
        parse().ok_or_else(|| ReplInfoError(text.to_owned()))
    }
}

impl TryFrom<String> for ReplInfo {
    type Error = ReplInfoError;

    fn try_from(text: String) -> Result<Self, ReplInfoError> {
        text.parse()
    }
}

impl From<ReplInfo> for String {
    fn from(info: ReplInfo) -> String {
        info.to_string()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_documented_values_are_read_and_written() {
        let info: ReplInfo = "node1|1|00000000070000D0".parse().unwrap();
        assert_eq!(info.node.as_str(), "node1");
        assert_eq!(info.switch().unwrap().end, "0/70000D0".parse().unwrap());
        assert_eq!(info.to_string(), "node1|1|00000000070000D0");
        let first = ReplInfo::before_any_switch(NodeName::new("node").unwrap());
        assert_eq!(first.to_string(), "node|0|0000000000000000");
        assert_eq!(first.switch(), None);
        assert_eq!(first.to_string().parse::<ReplInfo>().unwrap(), first);
    }

    #[test]
    fn an_unexpected_text_is_quoted_and_never_guessed() {
        for text in [
            "",
            "node1",
            "node1|1",
            "node1|1|00000000070000D0|",
            "|1|00000000070000D0",
            "node1||00000000070000D0",
            "node1|01x|00000000070000D0",
            "node1|-1|00000000070000D0",
            "node1|1|70000D0",
            "node1|0|00000000070000D0",
            "node1|1|0000000000000000",
            "node1|00|0000000000000000",
            "node 1|1|00000000070000D0",
            "node1|1|00000000070000D0\n",
            "(null)",
        ] {
            let error = text.parse::<ReplInfo>().unwrap_err().to_string();
            assert!(error.contains(&quoted(text)), "{error}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(node in "[A-Za-z0-9._][A-Za-z0-9._-]{0,20}", timeline in 1u32.., end in 1u64..) {
            let info = ReplInfo { node: node.parse().unwrap(), timeline, end: Lsn::new(end) };
            prop_assert_eq!(info.to_string().parse::<ReplInfo>().unwrap(), info);
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            if let Ok(info) = text.parse::<ReplInfo>() {
                // A text with leading zeros in the timeline or lower-case digits is the same value.
                prop_assert_eq!(info.to_string().parse::<ReplInfo>().unwrap(), info);
            }
        }
    }
}

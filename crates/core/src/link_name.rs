//! The name by which a primary knows a standby's replication link (R11).
//!
//! PostgreSQL lets commits pass on what any link reports whose `application_name` is in
//! `synchronous_standby_names`. So the name must not be had by accident: not by a receiver that somebody
//! calls like the node, and not by a copy of the node's files. The agent makes a new one at each start
//! of PostgreSQL, an *incarnation*, and hands it to the server in its environment.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::lsn::Lsn;
use crate::names::NodeName;
use crate::quoted::quoted;
use crate::timeline::{TimelineId, WalPosition};

/// The most bytes of an `application_name` (`NAMEDATALEN` less one).
const LONGEST: usize = 63;
/// Between the node's name and what makes it unique; no node's name has it.
const MARK: char = '@';
/// The hexadecimal digits after that.
const DIGITS: usize = 16;

/// An `application_name` of a standby: the node's plain name, or an incarnation of the node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LinkName(String);

/// A text that is no name of a link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is no name of a replication link: 1 to 63 of the characters A-Z a-z 0-9 . _ - @", quoted(.0))]
pub struct LinkNameError(String);

impl LinkName {
    /// The node's own name, as older versions of the agent use it. PostgreSQL cuts what is too long.
    #[must_use]
    pub fn plain(node: &NodeName) -> Self {
        Self(shortened(node, LONGEST).to_owned())
    }

    /// An incarnation of the node: its name, readable, and a number that nobody else comes upon.
    #[must_use]
    pub fn incarnation(node: &NodeName, number: u64) -> Self {
        let name = shortened(node, LONGEST - DIGITS - MARK.len_utf8());
        Self(format!("{name}{MARK}{number:0DIGITS$x}"))
    }

    /// Whether it is an incarnation and not a plain name.
    #[must_use]
    pub fn is_incarnation(&self) -> bool {
        self.0.contains(MARK)
    }

    /// Whether it may be a name of this node, present or past.
    #[must_use]
    pub fn may_be_of(&self, node: &NodeName) -> bool {
        match self.0.split_once(MARK) {
            None => *self == Self::plain(node),
            Some((name, _)) => name == shortened(node, LONGEST - DIGITS - MARK.len_utf8()),
        }
    }

    /// The node whose name it is; none where it was cut and may be another's.
    #[must_use]
    pub fn node(&self) -> Option<NodeName> {
        let (name, most) = match self.0.split_once(MARK) {
            None => (self.0.as_str(), LONGEST),
            Some((name, _)) => (name, LONGEST - DIGITS - MARK.len_utf8()),
        };
        (name.len() < most).then(|| name.parse().ok()).flatten()
    }

    /// Whether PostgreSQL takes a link with this `application_name` for the one that is meant
    /// (`pg_strcasecmp`).
    #[must_use]
    pub fn is_called(&self, application_name: &str) -> bool {
        self.0.eq_ignore_ascii_case(application_name)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Names of nodes are ASCII, so that any byte ends a character.
fn shortened(node: &NodeName, most: usize) -> &str {
    let name = node.as_str();
    name.get(..most).unwrap_or(name)
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for LinkName {
    type Err = LinkNameError;

    fn from_str(text: &str) -> Result<Self, LinkNameError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
        if text.is_empty() || text.len() > LONGEST || !text.chars().all(allowed) {
            return Err(LinkNameError(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for LinkName {
    type Error = LinkNameError;

    fn try_from(text: String) -> Result<Self, LinkNameError> {
        text.parse()
    }
}

impl From<LinkName> for String {
    fn from(name: LinkName) -> String {
        name.0
    }
}

/// What a node's own agent says that its standby has on its disk: `node2@…|3|0000000003000140`, the
/// name under which that server runs, the timeline and the position; before a promotion also the term at
/// which the timeline was begun, `…|1014`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flushed {
    /// The server that says so.
    pub name: LinkName,
    /// How far.
    pub position: WalPosition,
    /// The term of that timeline's name (R13), by which it is told from another one of the same number. Said
    /// before a promotion only: agents of an older version do not understand it, and what they wait for, to
    /// make a standby a holder, is said without.
    pub begun: Option<u64>,
}

impl fmt::Display for Flushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WalPosition { timeline, lsn } = self.position;
        write!(f, "{}|{timeline}|{}", self.name, lsn.to_hex16())?;
        match self.begun {
            Some(term) => write!(f, "|{term}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Flushed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{} is not NAME|TIMELINE|POSITION[|TERM]", quoted(text));
        let fields: Vec<&str> = text.split('|').collect();
        let (name, timeline, lsn, begun) = match fields.as_slice() {
            [name, timeline, lsn] => (name, timeline, lsn, None),
            [name, timeline, lsn, term] => {
                let term: u64 = term.parse().map_err(|_| wrong())?;
                (name, timeline, lsn, Some(term))
            }
            _ => return Err(wrong()),
        };
        let number: u32 = timeline.parse().map_err(|_| wrong())?;
        Ok(Self {
            name: name.parse().map_err(|error| format!("{error}"))?,
            position: WalPosition {
                timeline: TimelineId::new(number).ok_or_else(wrong)?,
                lsn: Lsn::from_hex16(lsn).map_err(|error| error.to_string())?,
            },
            begun,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeName {
        name.parse().unwrap()
    }

    #[test]
    fn an_incarnation_is_readable_and_short_enough() {
        let name = LinkName::incarnation(&node("node2"), 0xab);
        assert_eq!(name.as_str(), "node2@00000000000000ab");
        assert!(name.is_incarnation() && name.may_be_of(&node("node2")));
        assert_eq!(name.node(), Some(node("node2")));
        assert!(!name.may_be_of(&node("node")) && !name.may_be_of(&node("node21")));
        let long = node(&"x".repeat(255));
        let name = LinkName::incarnation(&long, u64::MAX);
        assert_eq!(name.as_str().len(), 63);
        assert!(name.may_be_of(&long) && name.node().is_none());
        assert_eq!(LinkName::plain(&long).as_str().len(), 63);
    }

    #[test]
    fn a_plain_name_is_the_nodes_own_and_no_other() {
        let plain = LinkName::plain(&node("node2"));
        assert!(!plain.is_incarnation() && plain.may_be_of(&node("node2")));
        assert!(!plain.may_be_of(&node("node1")));
        assert!(plain.is_called("NODE2") && !plain.is_called("node2@00"));
    }

    #[test]
    fn hostile_names_are_refused() {
        for text in [
            "",
            "a b",
            "a\"b",
            "a'b",
            "a\nb",
            "ä",
            "a|b",
            &"x".repeat(64),
        ] {
            assert!(text.parse::<LinkName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_was_flushed_is_read_as_it_was_written() {
        let flushed = Flushed {
            name: LinkName::incarnation(&node("node2"), 7),
            position: WalPosition {
                timeline: TimelineId::new(3).unwrap(),
                lsn: Lsn::new(0x300_0140),
            },
            begun: None,
        };
        assert_eq!(
            flushed.to_string(),
            "node2@0000000000000007|3|0000000003000140"
        );
        assert_eq!(flushed.to_string().parse::<Flushed>().unwrap(), flushed);
        let named = Flushed {
            begun: Some(1014),
            ..flushed
        };
        assert_eq!(
            named.to_string(),
            "node2@0000000000000007|3|0000000003000140|1014"
        );
        assert_eq!(named.to_string().parse::<Flushed>().unwrap(), named);
        for text in ["", "a|b", "a|0|0", "a|1|x", "a|1|0000000003000140|"] {
            assert!(text.parse::<Flushed>().is_err(), "{text:?}");
        }
    }
}

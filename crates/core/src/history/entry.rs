//! One entry of the history table, read as it is: whoever may change the row has put it there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::Moment;
use crate::lineage::TimelineName;
use crate::lsn::Lsn;
use crate::quoted::printable;
use crate::register::{MADE_AGAIN, UpdateKind};

/// How much is kept of a foreign text.
const SHOWN: usize = 200;

/// How many names are kept of a list.
const NAMES: usize = 64;

/// The row as one change has left it, and what that change found.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// When it was changed. Of an entry without [`Before`] it is when the lease was last renewed, which is
    /// the same for most changes.
    pub at: Moment,
    /// The owner; none where there was no name.
    pub owner: Option<String>,
    /// The term; none for the bare lock of the specification.
    pub term: Option<u64>,
    /// The epoch; each change of the holders has its own, so that one that is left out was not kept.
    pub epoch: Option<u64>,
    /// The nodes that hold every acknowledged commit.
    pub holders: BTreeSet<String>,
    /// Which change it was.
    pub reason: Reason,
    /// Whether the lease was given back with it, or before.
    pub given_back: bool,
    /// What the change found; none for an entry that the trigger of an older version has written, and for
    /// the one that made the row.
    pub before: Option<Before>,
    /// The timeline that the owner wrote.
    pub timeline: Option<TimelineName>,
    /// Whether the trigger of this version has written it.
    pub full: bool,
}

/// What a change found.
#[derive(Debug, Clone, PartialEq)]
pub struct Before {
    /// When the lease was last renewed.
    pub renewed: Moment,
    /// Whether it had been given back.
    pub given_back: bool,
    /// How far the owner knew the holders to have WAL.
    pub positions: BTreeMap<String, Lsn>,
}

/// Which change it was, by the word that it carries ([`crate::register::Update::reason`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The row was made.
    Init,
    /// An operator's command made it again.
    MadeAgain,
    /// The first primary was elected.
    FirstPrimary(String),
    /// A node was promoted.
    Promote(String),
    /// The owner renewed its lease.
    Renew(String),
    /// The owner changed the holders.
    SetHolders(String),
    /// The owner, which is open, named its timelines.
    NameTimelines(String),
    /// The owner gave its lease back.
    Release(String),
    /// A node left the holders.
    Leave(String),
    /// An operator decided.
    Override(String),
    /// The owner handed over.
    HandOver(String),
    /// The owner never opened, and gave the right back.
    GiveBack(String),
    /// An operator's command began.
    Operator(Operator),
    /// None of these, as it is.
    Other(String),
}

/// Who operated.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Operator {
    /// The account.
    pub who: String,
    /// The node on which the command was typed.
    pub node: String,
    /// The command with what it was about.
    pub command: String,
}

/// With what the reason of an operator's note begins; the trigger keeps what begins so.
pub const NOTE: &str = "operator ";

impl Operator {
    /// The note as it is written into the row.
    #[must_use]
    pub fn note(&self) -> String {
        let Self { who, node, command } = self;
        // What parts the words must not be among them.
        let who = printable(who, SHOWN / 2).replace(' ', "_");
        format!("{NOTE}{who} on {node}: {}", printable(command, SHOWN))
    }

    fn parse(text: &str) -> Option<Self> {
        let (who, rest) = text.strip_prefix(NOTE)?.split_once(" on ")?;
        let (node, command) = rest.split_once(": ")?;
        Some(Self {
            who: who.to_owned(),
            node: node.to_owned(),
            command: command.to_owned(),
        })
    }
}

impl Reason {
    fn parse(text: &str) -> Self {
        let text = printable(text, SHOWN);
        if let Some(operator) = Operator::parse(&text) {
            return Self::Operator(operator);
        }
        let of = |kind: &UpdateKind| {
            let whose = text.strip_prefix(kind.as_str())?.strip_prefix(' ')?;
            Some(match kind {
                UpdateKind::FirstPrimary => Self::FirstPrimary(whose.to_owned()),
                UpdateKind::Promote => Self::Promote(whose.to_owned()),
                UpdateKind::Renew => Self::Renew(whose.to_owned()),
                UpdateKind::SetHolders => Self::SetHolders(whose.to_owned()),
                UpdateKind::NameTimelines => Self::NameTimelines(whose.to_owned()),
                UpdateKind::Release => Self::Release(whose.to_owned()),
                UpdateKind::Leave => Self::Leave(whose.to_owned()),
                UpdateKind::Override => Self::Override(whose.to_owned()),
                UpdateKind::HandOver => Self::HandOver(whose.split_once(" to ")?.0.to_owned()),
                UpdateKind::GiveBack => Self::GiveBack(whose.to_owned()),
            })
        };
        let by = UpdateKind::ALL.iter().find_map(of);
        by.unwrap_or(match text.as_str() {
            "init" => Self::Init,
            MADE_AGAIN => Self::MadeAgain,
            _ => Self::Other(text),
        })
    }
}

impl Entry {
    /// Reads an entry's columns as JSON. Besides them are the times in seconds since 1970: `at_seconds`,
    /// `renewed_seconds` (what the change found), and the lengths of the lease, `lease_seconds` and
    /// `last_lease_seconds`. None where there is no time; a column that makes no sense is as one that is
    /// not there, since a history is told as far as it can be.
    #[must_use]
    pub fn read(columns: &Map<String, Value>) -> Option<Self> {
        let number = |name: &str| columns.get(name).and_then(Value::as_f64);
        let count = |name: &str| columns.get(name).and_then(Value::as_u64);
        let text = |name: &str| columns.get(name).and_then(Value::as_str);
        let owner = text("owner").map(|owner| printable(owner, SHOWN));
        let holders = columns.get("holders").and_then(Value::as_array);
        let holders = holders.into_iter().flatten().filter_map(Value::as_str);
        let over = |seconds: f64| seconds <= 0.0;
        let positions = columns.get("last_positions").and_then(Value::as_object);
        let positions = positions.into_iter().flatten().take(NAMES);
        let positions = positions.filter_map(|(node, position)| {
            let position = position.as_str()?.parse().ok()?;
            Some((printable(node, SHOWN), position))
        });
        let before = number("renewed_seconds").and_then(Moment::of_seconds);
        let timeline = columns.get("timeline").filter(|value| value.is_object());
        Some(Self {
            at: number("at_seconds").and_then(Moment::of_seconds)?,
            owner: owner.filter(|owner| !owner.is_empty()),
            term: count("term"),
            epoch: count("epoch"),
            holders: holders
                .take(NAMES)
                .map(|name| printable(name, SHOWN))
                .collect(),
            reason: Reason::parse(text("reason").unwrap_or_default()),
            given_back: number("lease_seconds").is_some_and(over),
            before: before.map(|renewed| Before {
                renewed,
                given_back: number("last_lease_seconds").is_some_and(over),
                positions: positions.collect(),
            }),
            timeline: timeline.and_then(|value| serde_json::from_value(value.clone()).ok()),
            full: text("changed_at").is_some(),
        })
    }
}

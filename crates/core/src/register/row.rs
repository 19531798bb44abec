//! The row as the server sends it, and its strict reading.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{HIGHEST, Register};
use crate::lineage::Timelines;
use crate::lsn::Lsn;
use crate::names::NodeName;
use crate::quoted::quoted;

/// No lease is longer: `distlock_ttl` is at most an hour. A longer one would keep every other node
/// from being promoted for as long.
const LONGEST_LEASE: Duration = Duration::from_secs(86_400);

/// The columns of the row, each possibly NULL: anyone may have edited the table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RawRow {
    /// `owner`; empty for none.
    pub owner: Option<String>,
    /// `term`.
    pub term: Option<i64>,
    /// `epoch`.
    pub epoch: Option<i64>,
    /// `holders`.
    pub holders: Option<Vec<Option<String>>>,
    /// `positions`, as JSON text.
    pub positions: Option<String>,
    /// `ts + expired_time - clock_timestamp()` in seconds, negative when the lease has expired.
    pub lease_left: Option<f64>,
    /// `expired_time` in seconds.
    pub ttl: Option<f64>,
    /// `timelines`, as JSON text; NULL where nobody has named any.
    pub timelines: Option<String>,
    /// `ts`, as text.
    pub renewed: Option<String>,
    /// `system_identifier`; NULL where no node has changed the row since it was made.
    pub system: Option<String>,
    /// The row was read where it cannot be changed.
    pub read_only: bool,
}

/// Why a node does not take a row for its cluster's register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotBelieved {
    /// It was read where it cannot be changed: a standby of the real lock service may be behind it.
    ReadOnly,
    /// It is of the database with this other system identifier.
    Foreign(String),
    /// It makes no sense.
    Senseless(RowError),
}

impl RawRow {
    /// The register of the cluster whose data have the system identifier `mine`, as far as they have any. Two
    /// clusters whose nodes have the same names would otherwise share a row, and each would take the other's
    /// holders for its own; and a node that took a standby's row for good would be promoted by it.
    ///
    /// # Errors
    /// [`NotBelieved`].
    pub fn believed(self, mine: Option<&str>) -> Result<Register, NotBelieved> {
        if self.read_only {
            return Err(NotBelieved::ReadOnly);
        }
        match (&self.system, mine) {
            (Some(theirs), Some(mine)) if theirs != mine => {
                Err(NotBelieved::Foreign(theirs.clone()))
            }
            _ => Register::try_from(self).map_err(NotBelieved::Senseless),
        }
    }
}

/// A row that makes no sense: edited by hand, or not of this program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the lock service's row is damaged: {column} is {value}, {expected} is expected; look at it with `distlock <conninfo> show <table:lockname>` and at its past with `distlock <conninfo> history <table:lockname>`, and mend it with cls_recovery_master"
)]
pub struct RowError {
    column: &'static str,
    value: String,
    expected: &'static str,
}

fn wrong(column: &'static str, value: String, expected: &'static str) -> RowError {
    RowError {
        column,
        value,
        expected,
    }
}

fn present<T>(column: &'static str, value: Option<T>) -> Result<T, RowError> {
    value.ok_or_else(|| wrong(column, "NULL".to_owned(), "a value"))
}

impl TryFrom<RawRow> for Register {
    type Error = RowError;

    fn try_from(raw: RawRow) -> Result<Self, RowError> {
        let register = Self {
            owner: owner(present("owner", raw.owner)?)?,
            term: count("term", raw.term)?,
            epoch: count("epoch", raw.epoch)?,
            holders: holders(present("holders", raw.holders)?)?,
            positions: positions(&present("positions", raw.positions)?)?,
            lease_left: seconds("ts + expired_time", present("ts", raw.lease_left)?)?,
            ttl: seconds("expired_time", present("expired_time", raw.ttl)?)?,
            timelines: timelines(raw.timelines.as_deref())?,
            renewed: present("ts", raw.renewed)?,
        };
        if register.term > 0 && register.holders.is_empty() {
            return Err(wrong(
                "holders",
                format!("empty at term {}", register.term),
                "at least one node after the first election",
            ));
        }
        Ok(register)
    }
}

fn owner(text: String) -> Result<Option<NodeName>, RowError> {
    if text.is_empty() {
        return Ok(None);
    }
    match NodeName::new(text.clone()) {
        Ok(name) => Ok(Some(name)),
        Err(_) => Err(wrong("owner", quoted(&text), "a node name")),
    }
}

fn count(column: &'static str, value: Option<i64>) -> Result<u64, RowError> {
    let value = present(column, value)?;
    u64::try_from(value)
        .ok()
        .filter(|count| *count <= HIGHEST)
        .ok_or_else(|| wrong(column, value.to_string(), "0 to 2^62"))
}

fn holders(list: Vec<Option<String>>) -> Result<BTreeSet<NodeName>, RowError> {
    list.into_iter()
        .map(|entry| {
            let expected = "a list of node names";
            let text = entry
                .ok_or_else(|| wrong("holders", "a list with NULL in it".to_owned(), expected))?;
            NodeName::new(text.clone()).map_err(|_| wrong("holders", quoted(&text), expected))
        })
        .collect()
}

fn positions(text: &str) -> Result<BTreeMap<NodeName, Lsn>, RowError> {
    let error = || {
        wrong(
            "positions",
            quoted(text),
            "an object like {\"node1\": \"0/70000D0\"}",
        )
    };
    let parsed: BTreeMap<String, String> = serde_json::from_str(text).map_err(|_| error())?;
    parsed
        .into_iter()
        .map(|(node, lsn)| {
            let node = NodeName::new(node).map_err(|_| error())?;
            Ok((node, lsn.parse::<Lsn>().map_err(|_| error())?))
        })
        .collect()
}

fn timelines(text: Option<&str>) -> Result<Timelines, RowError> {
    let Some(text) = text else {
        return Ok(Timelines::default());
    };
    serde_json::from_str(text)
        .map_err(|_| wrong("timelines", quoted(text), "what a primary has named"))
}

/// A time that is over is none: a lease that has expired, or a negative `expired_time`, by which old
/// rows of the bare lock say that it was given back (`distlock init` writes 0 there).
fn seconds(column: &'static str, value: f64) -> Result<Duration, RowError> {
    let passed = if value < 0.0 { 0.0 } else { value };
    Duration::try_from_secs_f64(passed)
        .ok()
        .filter(|time| *time <= LONGEST_LEASE)
        .ok_or_else(|| wrong(column, format!("{value} s"), "at most a day"))
}

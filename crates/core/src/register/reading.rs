//! The row, and what an answer of the lock service says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lineage::{Lineage, Timelines};
use crate::lsn::Lsn;
use crate::message;
use crate::message::Message;
use crate::names::NodeName;

/// The highest term and the highest epoch that are believed: half of what the lock service's columns
/// (`bigint`) can hold, so that whatever is believed can still be raised.
pub const HIGHEST: u64 = 1 << 62;

/// How far a term or an epoch may be beyond the highest one that a node has seen. Further is damage
/// and not news: whoever can write to the row could otherwise bar every node for good (S7).
pub const LEAP: u64 = 1 << 20;

/// How far beyond a node's own memory it believes what the cluster's configuration says was seen. It is
/// less than [`LEAP`], so that a register which an operator raises above a number that a node believed
/// is one that every node believes.
pub const TOLD: u64 = LEAP / 2;

/// The lock service's row for one cluster, as it was at one moment.
///
/// `lease_left` is computed by the server's clock, so no two nodes' clocks are ever compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Register {
    /// The node that may be primary; none before the first election and after an operator's override.
    pub owner: Option<NodeName>,
    /// Raised by one at every promotion: a fencing token. 0 before the first election (R0).
    pub term: u64,
    /// Raised whenever the owner changes `holders`, and at every promotion; not when a node leaves.
    pub epoch: u64,
    /// The nodes known to hold every acknowledged commit.
    pub holders: BTreeSet<NodeName>,
    /// Per holder, the highest position that the owner has seen flushed there in this term (R10).
    pub positions: BTreeMap<NodeName, Lsn>,
    /// How long the owner's lease still runs; zero when it expired or was released.
    pub lease_left: Duration,
    /// How long the lease was when it was last renewed; zero when it was released.
    pub ttl: Duration,
    /// The owner's timelines by name (R13).
    pub timelines: Timelines,
    /// The server's time of the last renewal as text: it changes at each renewal, so that one who
    /// waits can see that the owner is alive. Never compared with a clock.
    pub renewed: String,
}

impl Register {
    /// The row as `distlock init` makes it: no owner, term 0, no holders.
    #[must_use]
    pub fn fresh() -> Self {
        Self {
            owner: None,
            term: 0,
            epoch: 0,
            holders: BTreeSet::new(),
            positions: BTreeMap::new(),
            lease_left: Duration::ZERO,
            ttl: Duration::ZERO,
            timelines: Timelines::default(),
            renewed: String::new(),
        }
    }

    /// Whether `node` is the owner.
    #[must_use]
    pub fn is_owned_by(&self, node: &NodeName) -> bool {
        self.owner.as_ref() == Some(node)
    }

    /// Whether `node` is the owner at exactly `term`. Term 0 has no owner that counts: what stands
    /// there was written by the specification's bare lock.
    #[must_use]
    pub fn is_owned_at(&self, node: &NodeName, term: u64) -> bool {
        term > 0 && self.term == term && self.is_owned_by(node)
    }

    /// Whether the lease keeps `node` from promoting: it runs and is another's.
    #[must_use]
    pub fn lease_excludes(&self, node: &NodeName) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner != node) && !self.lease_left.is_zero()
    }

    /// The one change that whoever reads the row makes: the row with the lease beginning now, where more is left of it
    /// than it was given for, because the lock service's clock was set back since. The lease of an owner that
    /// has died meanwhile would run for as long as that. It ends no earlier than the owner expects, who renewed it
    /// before now. Owner, term, epoch and holders stay, so that no decision of before is undone by it.
    #[must_use]
    pub fn lease_from_now(&self) -> Option<Self> {
        (self.lease_left > self.ttl).then(|| Self {
            lease_left: self.ttl,
            ..self.clone()
        })
    }

    /// The present owner's timelines; none where it has named none: it has just opened, or its agent knows no
    /// names (R13).
    #[must_use]
    pub fn named_lineage(&self) -> Option<&Lineage> {
        (self.timelines.term == self.term).then_some(&self.timelines.lineage)
    }

    /// Whether the owner renewed its lease between `earlier` and this reading: it is alive.
    #[must_use]
    pub fn renewed_since(&self, earlier: &Self) -> bool {
        self.renewed != earlier.renewed
    }

    /// Whether the two rows say the same, the lease's clock and the moment of renewal aside.
    #[must_use]
    pub fn same_but_for_time(&self, other: &Self) -> bool {
        let timeless = |row: &Self| Self {
            lease_left: Duration::ZERO,
            renewed: String::new(),
            ..row.clone()
        };
        timeless(self) == timeless(other)
    }
}

/// Why no answer of the lock service is at hand.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Trouble {
    /// No answer: refused, unreachable, timed out, or the connection broke.
    Unreachable(String),
    /// The service answered an error: wrong password, missing table, full disk. It is there, so
    /// this never counts as "the lock service is dead" (fault D3).
    Answered(String),
}

impl Trouble {
    /// What went wrong, without secrets.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Unreachable(text) | Self::Answered(text) => text,
        }
    }
}

impl Trouble {
    /// The same in words.
    #[must_use]
    pub fn what(&self) -> Message {
        match self {
            Self::Unreachable(text) => message!("lock service unreachable: {text}", text),
            Self::Answered(text) => message!("lock service answered an error: {text}", text),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what().fmt(f)
    }
}

/// A number of the row that only rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Number {
    /// [`Register::term`].
    Term,
    /// [`Register::epoch`].
    Epoch,
}

/// Why the register is not believed. Nothing is promoted or degraded by it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Damage {
    /// The lock service answers, and has no such row.
    Missing,
    /// The row makes no sense, or cannot be trusted; the text says why.
    Senseless(String),
    /// The row belongs to a database with another system identifier; the text quotes both.
    Foreign(String),
    /// The row does not continue what this node has durably seen ([`out_of_step`]).
    OutOfStep {
        /// In which of its two numbers.
        number: Number,
        /// What the row says.
        says: u64,
        /// What was seen.
        seen: u64,
    },
    /// What this node has durably seen cannot be read, so that no row can be compared with it.
    Forgotten(String),
}

impl Damage {
    /// What to do about a row of another database. To take it over would be right for data that were
    /// made anew, and take the register from a cluster that uses the same name.
    #[must_use]
    pub fn foreign() -> Message {
        message!(
            "if another cluster uses the same lock name, give one of the two another distlock_lockname (in config.ini pgsql_distlock_lockname; then cls_setup); only if the data of this one were made anew (initdb, pg_upgrade), cls_recovery_master takes the row over"
        )
    }

    /// Whether the row was only just made, for a cluster that has run before: the lock service was moved (another
    /// server or another name), or somebody has made the row anew. Nothing in it is wrong, and nothing is known there.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        matches!(
            self,
            Self::OutOfStep {
                number: Number::Term,
                says: 0,
                ..
            }
        )
    }

    /// What is typed next where the register is not believed.
    #[must_use]
    pub fn remedy(&self) -> Message {
        match self {
            Self::Foreign(_) => Self::foreign(),
            _ if self.is_new() => message!(
                "if it was moved on purpose: cls_recovery_master, once, writes there what the nodes have seen, and a running primary goes on; if not: correct pgsql_distlock_conninfo and pgsql_distlock_lockname in config.ini, then cls_setup"
            ),
            _ => message!(
                "cls_recovery_master writes it anew from what the nodes have seen; a running primary goes on (a cluster that never ran: cls_setup)"
            ),
        }
    }

    /// The same in words.
    #[must_use]
    pub fn what(&self) -> Message {
        match *self {
            Self::Missing => message!("the lock service has no row of this name"),
            Self::OutOfStep { seen, .. } if self.is_new() => message!(
                "the lock service's row is new (term 0), but this cluster has seen term {seen}: the lock service was moved to another server or name, or the row was made anew",
                seen
            ),
            Self::Senseless(ref text) | Self::Foreign(ref text) | Self::Forgotten(ref text) => {
                Message::from(text)
            }
            Self::OutOfStep { number, says, seen } => match (number, says < seen) {
                (Number::Term, true) => message!(
                    "the lock service's row has term {says}, but this cluster has seen term {seen}: it was restored from a backup or belongs to another cluster",
                    says,
                    seen
                ),
                (Number::Epoch, true) => message!(
                    "the lock service's row has epoch {says}, but this cluster has seen epoch {seen}: it was restored from a backup or belongs to another cluster",
                    says,
                    seen
                ),
                (Number::Term, false) => message!(
                    "the lock service's row has term {says}, but this cluster has seen term {seen}: more than 1,048,576 (2^20) at once is no work of this program, somebody has changed the row; it is neither believed nor kept",
                    says,
                    seen
                ),
                (Number::Epoch, false) => message!(
                    "the lock service's row has epoch {says}, but this cluster has seen epoch {seen}: more than 1,048,576 (2^20) at once is no work of this program, somebody has changed the row; it is neither believed nor kept",
                    says,
                    seen
                ),
            },
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what().fmt(f)
    }
}

/// Why there is no row that can be believed: what every reader of the register says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRow {
    /// The register is damaged.
    Damage(Damage),
    /// Nothing is known.
    Unknown(Trouble),
}

impl NoRow {
    /// What is so, without what is to be done about it.
    #[must_use]
    pub fn what(&self) -> Message {
        match self {
            Self::Unknown(trouble) => trouble.what(),
            Self::Damage(Damage::Missing) => {
                message!("the register is damaged: the lock service has no row of this name")
            }
            // Nothing in it is damaged.
            Self::Damage(damage) if damage.is_new() => damage.what(),
            Self::Damage(damage) => {
                message!("the register is damaged: {damage}", damage = damage.what())
            }
        }
    }

    /// What an operator does about it whose command has not begun.
    #[must_use]
    pub fn before_again(&self) -> Message {
        match self {
            Self::Unknown(_) => message!("bring the lock service back, then try again"),
            Self::Damage(_) => {
                message!("look at it with cls_status and distlock show, then try again")
            }
        }
    }

    /// What is so, and what is to be done about it.
    #[must_use]
    pub fn advised(&self) -> Message {
        let what = self.what();
        match self {
            Self::Damage(Damage::Foreign(_)) => {
                message!("{what}: {advice}", what, advice = Damage::foreign())
            }
            // It says itself what is to be done about the file.
            Self::Damage(Damage::Forgotten(_)) | Self::Unknown(_) => what,
            Self::Damage(Damage::Missing | Damage::Senseless(_) | Damage::OutOfStep { .. }) => {
                message!("{what}; run cls_recovery_master", what)
            }
        }
    }
}

impl fmt::Display for NoRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.advised().fmt(f)
    }
}

impl From<String> for Damage {
    fn from(text: String) -> Self {
        Self::Senseless(text)
    }
}

/// What came of reading the row.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reading {
    /// The row.
    Row(Register),
    /// The service answered, and there is no such row.
    Missing,
    /// The service answered with a row that is not believed.
    Damaged(Damage),
    /// Nothing is known.
    Unknown(Trouble),
}

impl Reading {
    /// The row, or why there is none to believe.
    ///
    /// # Errors
    /// [`NoRow`].
    pub fn row(&self) -> Result<&Register, NoRow> {
        match self {
            Self::Row(row) => Ok(row),
            Self::Missing => Err(NoRow::Damage(Damage::Missing)),
            Self::Damaged(damage) => Err(NoRow::Damage(damage.clone())),
            Self::Unknown(trouble) => Err(NoRow::Unknown(trouble.clone())),
        }
    }
}

/// What came of a conditional change of the row.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reply {
    /// One row changed; this is the row now.
    Applied(Register),
    /// No row changed, because the condition did not hold; this is the row as read afterwards.
    NotApplied(Register),
    /// No row changed, and there is no such row.
    Missing,
    /// The service answered with a row that is not believed.
    Damaged(Damage),
    /// The change may or may not have taken effect: read before deciding.
    Unknown(Trouble),
}

impl Reply {
    /// The row as it is now, whether the change was made or not, or why there is none to believe.
    ///
    /// # Errors
    /// [`NoRow`].
    pub fn row(&self) -> Result<&Register, NoRow> {
        match self {
            Self::Applied(row) | Self::NotApplied(row) => Ok(row),
            Self::Missing => Err(NoRow::Damage(Damage::Missing)),
            Self::Damaged(damage) => Err(NoRow::Damage(damage.clone())),
            Self::Unknown(trouble) => Err(NoRow::Unknown(trouble.clone())),
        }
    }

    /// The reply as a reading of the row: what it says apart from whether the change was made.
    pub fn reading(&self) -> Reading {
        match self {
            Self::Applied(row) | Self::NotApplied(row) => Reading::Row(row.clone()),
            Self::Missing => Reading::Missing,
            Self::Damaged(text) => Reading::Damaged(text.clone()),
            Self::Unknown(trouble) => Reading::Unknown(trouble.clone()),
        }
    }
}

/// Whether a term or an epoch is further beyond the highest one seen than it can have come: both rise
/// by one at a promotion, the epoch also with each change of the holders (S7).
#[must_use]
pub fn leaps(says: u64, seen: u64) -> bool {
    says > HIGHEST || says.saturating_sub(seen) > LEAP
}

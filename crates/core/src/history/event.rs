//! What has happened, as it is told.

use serde::Serialize;

use super::entry::Operator;
use super::moment::Moment;
use crate::text_enum::text_enum;

text_enum! {
    /// What happened.
    Kind, "event" {
        /// The register's row was made, or made again.
        Made = "made",
        /// The first primary was elected.
        First = "first",
        /// Another node became primary, and nobody had ordered it as far as is known.
        Takeover = "takeover",
        /// Another node became primary as an operator had ordered.
        Switch = "switch",
        /// The same node became primary again.
        Restart = "restart",
        /// A node became primary on an operator's decision.
        Elected = "elected",
        /// The primary was stopped and gave its lease back, and nobody followed soon.
        Stopped = "stopped",
        /// The primary went on without a standby.
        Degraded = "degraded",
        /// A standby holds every acknowledged commit from here on.
        Added = "added",
        /// One standby took the place of another.
        Exchanged = "exchanged",
        /// A standby left before its data were replaced.
        Left = "left",
        /// A node was given the register, never opened, and gave the right back.
        GivenBack = "returned",
        /// An operator decided which node holds the data.
        Recovery = "recovery",
        /// An operator's command began.
        Operator = "operator",
        /// The bare lock of the specification went to another owner, or was given back.
        Lock = "lock",
        /// The row was changed otherwise than this program does it.
        Edited = "edited",
        /// A change that this version does not know.
        Other = "other",
    }
}

/// Why it happened, as far as it was seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Cause {
    /// The primary had said nothing any more, and not given its lease back: its node lost its power or its
    /// network, or stood still.
    Silent {
        /// For how long, in seconds.
        seconds: f64,
    },
    /// The primary had been stopped and given its lease back: on purpose, or after a failure.
    Stopped,
    /// The primary's PostgreSQL or its node had ended without being stopped by the cluster.
    Ended,
    /// An operator's command.
    Command(Operator),
    /// An operator's decision; the words that were kept of it.
    Decision {
        /// Who, and which data were chosen.
        by: String,
    },
    /// The primary saw that a standby was there, or no more.
    Replication,
    /// PostgreSQL ended before it opened.
    NotOpened,
    /// The node itself, before its data are replaced.
    Itself,
    /// The reason that the row bears.
    Words {
        /// As it is.
        text: String,
    },
    /// The entry does not tell: an older version has written it.
    NotRecorded,
}

/// What was lost of acknowledged commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Loss {
    /// Nothing: the new primary held every acknowledged commit.
    Nothing,
    /// Asynchronous replication: at least so much as the old primary had said to have and the new one had
    /// not, and what was written after that.
    Behind {
        /// Bytes of WAL; none where it is not known.
        bytes: Option<u64>,
    },
    /// What only these nodes held, if there was any such commit: the chosen one was not known to have it.
    Possible {
        /// Who held every acknowledged commit.
        holders: Vec<String>,
    },
    /// The entries do not tell.
    NotRecorded,
}

/// For how long there was no primary that was open, in seconds. Clients may have waited longer: for the address, and
/// for commits that waited before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Outage {
    /// At least, where the stop is known: from it to the opening of the next primary.
    pub at_least_seconds: Option<f64>,
    /// At most: from the last word of the old primary to the opening of the next; none where that was not
    /// kept.
    pub at_most_seconds: Option<f64>,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// When, by the lock service's clock.
    pub at: Moment,
    /// What.
    pub kind: Kind,
    /// Who did it or became it.
    pub node: Option<String>,
    /// The primary before.
    pub from: Option<String>,
    /// The term since then.
    pub term: Option<u64>,
    /// The register's owner since then.
    pub owner: Option<String>,
    /// The holders of every acknowledged commit since then.
    pub holders: Vec<String>,
    /// The holders that came.
    pub joined: Vec<String>,
    /// The holders that went.
    pub gone: Vec<String>,
    /// Why.
    pub cause: Option<Cause>,
    /// When the new primary was seen open for writing.
    pub opened: Option<Moment>,
    /// When the old primary renewed its lease for the last time: it can have been written to until later.
    pub heard: Option<Moment>,
    /// When the old primary was known to be stopped.
    pub ended: Option<Moment>,
    /// How long there was no primary.
    pub outage: Option<Outage>,
    /// What was lost; none where nothing could be.
    pub lost: Option<Loss>,
}

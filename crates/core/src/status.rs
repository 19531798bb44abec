//! The values of node attributes, roles, and the words of PostgreSQL's replication views.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text_enum::text_enum;

pub use crate::text_enum::{UnknownText, Word};

text_enum! {
    /// The transient attribute `<resource>-status`: what a node's PostgreSQL is doing now.
    PgsqlStatus, "status" {
        /// The primary.
        Pri = "PRI",
        /// A standby that the primary names synchronous.
        HsSync = "HS:sync",
        /// A standby that streams asynchronously.
        HsAsync = "HS:async",
        /// A standby that would become synchronous if another one left.
        HsPotential = "HS:potential",
        /// A standby that is connected and has not yet caught up.
        HsConnected = "HS:connected",
        /// A standby that is connected to no primary.
        HsAlone = "HS:alone",
        /// PostgreSQL is stopped.
        Stop = "STOP",
        /// It could not be found out.
        Unknown = "UNKNOWN",
    }
}

text_enum! {
    /// `pg_stat_replication.sync_state`.
    SyncState, "sync_state" {
        /// A synchronous standby by priority.
        Sync = "sync",
        /// An asynchronous standby.
        Async = "async",
        /// Asynchronous now; becomes synchronous when one before it leaves.
        Potential = "potential",
        /// A candidate of a quorum (`ANY n (…)`).
        Quorum = "quorum",
    }
}

text_enum! {
    /// `pg_stat_replication.state`.
    WalSenderState, "state of a WAL sender" {
        /// Starting up.
        Startup = "startup",
        /// The standby is catching up with the primary.
        Catchup = "catchup",
        /// The standby has caught up and streams.
        Streaming = "streaming",
        /// The WAL sender sends a base backup.
        Backup = "backup",
        /// Stopping.
        Stopping = "stopping",
    }
}

text_enum! {
    /// The transient attribute `<resource>-guard` of a primary: whether its guard runs.
    GuardStatus, "status of a guard" {
        /// It runs.
        Running = "running",
        /// There is none, or one that does not work.
        NotRunning = "not running",
    }
}

text_enum! {
    /// The role of an instance of the promotable clone.
    Role, "role" {
        /// The primary ("Master" before Pacemaker 2.1).
        Promoted = "Promoted",
        /// A standby ("Slave" before Pacemaker 2.1).
        Unpromoted = "Unpromoted",
        /// Not running.
        Stopped = "Stopped",
    }
}

impl Role {
    /// Reads a role in the spelling of any Pacemaker version: `Master`, `Slave` and `Started`
    /// (an instance without a role is an unpromoted one) beside the current words.
    ///
    /// # Errors
    /// [`UnknownText`] for any other word.
    pub fn from_any_spelling(text: &str) -> Result<Self, UnknownText> {
        match text {
            "Master" => Ok(Self::Promoted),
            "Slave" | "Started" => Ok(Self::Unpromoted),
            other => other.parse(),
        }
    }
}

/// The permanent attribute `<resource>-data-status`: whose data a node has, as its primary last
/// saw it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DataStatus {
    /// The node is, or was last, the primary.
    Latest,
    /// The primary does not see this standby.
    Disconnect,
    /// What the primary's `pg_stat_replication` says of this standby, in upper case:
    /// `STREAMING|SYNC`.
    Replication {
        /// `pg_stat_replication.state`.
        state: Word<WalSenderState>,
        /// `pg_stat_replication.sync_state`.
        sync: Word<SyncState>,
    },
}

impl DataStatus {
    /// The status of a standby that the primary's `pg_stat_replication` shows.
    #[must_use]
    pub fn replication(state: WalSenderState, sync: SyncState) -> Self {
        Self::Replication {
            state: Word::Known(state),
            sync: Word::Known(sync),
        }
    }

    /// As what the standby streamed, where it did.
    #[must_use]
    pub fn streams_as(&self) -> Option<&Word<SyncState>> {
        match self {
            Self::Replication {
                state: Word::Known(WalSenderState::Streaming),
                sync,
            } => Some(sync),
            Self::Replication { .. } | Self::Latest | Self::Disconnect => None,
        }
    }

    /// Whether the standby streamed.
    #[must_use]
    pub fn is_streaming(&self) -> bool {
        self.streams_as().is_some()
    }

    /// Whether the standby streamed as a synchronous one: `STREAMING|SYNC` or `STREAMING|QUORUM`.
    #[must_use]
    pub fn is_streaming_sync(&self) -> bool {
        matches!(
            self.streams_as(),
            Some(Word::Known(SyncState::Sync | SyncState::Quorum))
        )
    }
}

impl fmt::Display for DataStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.pad("LATEST"),
            Self::Disconnect => f.pad("DISCONNECT"),
            Self::Replication { state, sync } => {
                f.pad(&format!("{state}|{sync}").to_ascii_uppercase())
            }
        }
    }
}

impl FromStr for DataStatus {
    type Err = UnknownText;

    /// Reads `LATEST`, `DISCONNECT` or two words of upper-case letters with `|` between them:
    /// PostgreSQL may add states, and a state that is not known is not synchronous.
    fn from_str(text: &str) -> Result<Self, UnknownText> {
        let word = |part: &str| {
            !part.is_empty()
                && part.len() <= 32
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        };
        match (text, text.split_once('|')) {
            ("LATEST", _) => Ok(Self::Latest),
            ("DISCONNECT", _) => Ok(Self::Disconnect),
            (_, Some((state, sync))) if word(state) && word(sync) => Ok(Self::Replication {
                state: Word::of(&state.to_ascii_lowercase()),
                sync: Word::of(&sync.to_ascii_lowercase()),
            }),
            _ => Err(UnknownText::new(
                "data status",
                text,
                &["LATEST", "DISCONNECT", "a text like STREAMING|SYNC"],
            )),
        }
    }
}

impl TryFrom<String> for DataStatus {
    type Error = UnknownText;

    fn try_from(text: String) -> Result<Self, UnknownText> {
        text.parse()
    }
}

impl From<DataStatus> for String {
    fn from(status: DataStatus) -> String {
        status.to_string()
    }
}

/// A promotion score, the value of `master-<resource>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Score {
    /// 1000: the primary.
    Primary,
    /// 100: may be promoted.
    MayPromote,
    /// 10: may be promoted where no other node can, since its disk is full.
    LastResort,
    /// -INFINITY: may not be promoted.
    MayNot,
    /// A score that somebody else has set.
    Other(i32),
}

impl Score {
    /// Pacemaker's INFINITY, at which scores are capped.
    pub const INFINITY: i32 = 1_000_000;

    /// The score as Pacemaker computes with it.
    #[must_use]
    pub const fn value(self) -> i32 {
        match self {
            Self::Primary => 1000,
            Self::MayPromote => 100,
            Self::LastResort => 10,
            Self::MayNot => -Self::INFINITY,
            Self::Other(value) => value,
        }
    }

    const fn of(value: i32) -> Self {
        match value {
            1000 => Self::Primary,
            100 => Self::MayPromote,
            10 => Self::LastResort,
            ..=-1_000_000 => Self::MayNot,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value() {
            ..=-1_000_000 => f.pad("-INFINITY"),
            1_000_000.. => f.pad("INFINITY"),
            value => fmt::Display::fmt(&value, f),
        }
    }
}

impl FromStr for Score {
    type Err = UnknownText;

    /// Reads a score as Pacemaker writes one: an integer, `INFINITY`, `+INFINITY` or `-INFINITY`.
    fn from_str(text: &str) -> Result<Self, UnknownText> {
        match text {
            "-INFINITY" => Ok(Self::MayNot),
            "INFINITY" | "+INFINITY" => Ok(Self::Other(Self::INFINITY)),
            number => number
                .parse()
                .map(Self::of)
                .map_err(|_| UnknownText::new("promotion score", text, &["a number", "-INFINITY"])),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_status_is_read_as_it_is_written() {
        for status in PgsqlStatus::ALL {
            assert_eq!(status.to_string().parse::<PgsqlStatus>().unwrap(), *status);
        }
        let error = "HS:sync2".parse::<PgsqlStatus>().unwrap_err().to_string();
        assert!(
            error.contains("\"HS:sync2\"") && error.contains("HS:alone"),
            "{error}"
        );
        assert_eq!(Role::from_any_spelling("Master").unwrap(), Role::Promoted);
        assert!("Master".parse::<Role>().is_err());
    }

    #[test]
    fn data_status_keeps_states_that_postgresql_may_add() {
        for text in [
            "LATEST",
            "DISCONNECT",
            "STREAMING|SYNC",
            "CATCHUP|ASYNC",
            "NEW_ONE|QUORUM",
        ] {
            assert_eq!(text.parse::<DataStatus>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "latest",
            "STREAMING",
            "STREAMING|",
            "A|B|C",
            "A|b",
            "A|B\n",
        ] {
            assert!(text.parse::<DataStatus>().is_err(), "{text}");
        }
        assert_eq!(
            DataStatus::replication(WalSenderState::Streaming, SyncState::Potential).to_string(),
            "STREAMING|POTENTIAL"
        );
    }

    #[test]
    fn scores_are_pacemakers() {
        assert_eq!("-INFINITY".parse::<Score>().unwrap(), Score::MayNot);
        assert_eq!("-1000000".parse::<Score>().unwrap(), Score::MayNot);
        assert_eq!("1000".parse::<Score>().unwrap(), Score::Primary);
        assert_eq!("7".parse::<Score>().unwrap(), Score::Other(7));
        assert_eq!(Score::MayNot.to_string(), "-INFINITY");
        assert_eq!(Score::MayPromote.to_string(), "100");
        assert!("".parse::<Score>().is_err());
        assert!("1e3".parse::<Score>().is_err());
    }

    proptest! {
        #[test]
        fn scores_round_trip(value: i32) {
            let score = Score::of(value.clamp(-Score::INFINITY, Score::INFINITY));
            prop_assert_eq!(score.to_string().parse::<Score>().unwrap(), score);
        }
    }
}

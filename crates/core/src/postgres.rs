//! What one PostgreSQL says about itself and its peers at one look.
//!
//! There is one such picture. `pha_host` fills it from the answer to one question; the agent and the
//! guard decide from it, and the commands that ask a PostgreSQL on another node are given the same. What
//! is to be made of it is judged in [`crate::decide`] and [`crate::health`].

use std::fmt;
use std::time::Duration;

use crate::limits::Limits;
use crate::lsn::Lsn;
use crate::message;
use crate::message::Message;
use crate::names::NodeName;
use crate::parse::standby_names::{NOBODY, Waits};
use crate::status::{SyncState, WalSenderState};
use crate::timeline::{History, TimelineId, WalPosition};
use crate::unfit::{Unfit, UnfitKind};

/// What the postmaster has written about itself (line 8 of `postmaster.pid`, PostgreSQL 10 and newer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PmStatus {
    /// Starting, or recovering without accepting connections yet.
    Starting,
    /// Accepting connections as a primary.
    Ready,
    /// Accepting read-only connections in recovery.
    Standby,
    /// Shutting down.
    Stopping,
}

/// Why a connection or a statement failed, kept apart by what that means ([`crate::decide::unanswered`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlErrorKind {
    /// Nothing listens at the address.
    Refused,
    /// No socket file in the directory: no server runs there, or it uses another directory.
    NoSocket,
    /// Not reached: no route, no such host, or another error of the network.
    Unreachable,
    /// No answer within the deadline.
    TimedOut,
    /// The connection ended in the middle.
    Broken,
    /// The server answered an error; the SQLSTATE of PostgreSQL's Appendix A.
    Server {
        /// Five characters: `28P01`, `42P01`, `53300`, `57P03` …
        sqlstate: String,
        /// Whether the server ended the session with it (`FATAL` or `PANIC`).
        fatal: bool,
    },
    /// The encryption failed: no TLS on the server, or a certificate that does not verify.
    Tls,
    /// The server asks for a password and none is there, or an authentication not known here.
    Authentication,
    /// The answer is larger than what is read.
    TooMuch,
    /// The connection string, its files, or an answer could not be used.
    Unusable,
}

impl SqlErrorKind {
    /// Whether a server is there and said no: an error of its own, or a failed authentication. A lock service that
    /// is there is not gone, and no promise of another node stands in for it (D3).
    #[must_use]
    pub const fn answered(&self) -> bool {
        match self {
            Self::Server { .. }
            | Self::Tls
            | Self::Authentication
            | Self::TooMuch
            | Self::Unusable => true,
            Self::Refused | Self::NoSocket | Self::Unreachable | Self::TimedOut | Self::Broken => {
                false
            }
        }
    }

    /// Whether a statement that failed so has surely changed nothing: it was not `sent`, or the server rolled
    /// it back and said so. Otherwise it may have been committed.
    #[must_use]
    pub const fn surely_without_effect(&self, sent: bool) -> bool {
        match self {
            _ if !sent => true,
            Self::Server { fatal, .. } => !*fatal,
            _ => false,
        }
    }
}

/// One look at a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerView {
    /// `server_version_num`, for instance 150018.
    pub version: u32,
    /// The system identifier, which all copies of one cluster share.
    pub system: Option<u64>,
    /// The timeline of its latest checkpoint.
    pub checkpoint: Option<TimelineId>,
    /// What depends on the role.
    pub role: RoleView,
}

/// What only a primary, or only a standby, can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleView {
    /// It accepts writes.
    Primary(PrimaryView),
    /// It is in recovery.
    Standby(StandbyView),
}

impl ServerView {
    /// The primary's part, when it is one.
    #[must_use]
    pub fn primary(&self) -> Option<&PrimaryView> {
        match &self.role {
            RoleView::Primary(view) => Some(view),
            RoleView::Standby(_) => None,
        }
    }

    /// The standby's part, when it is one.
    #[must_use]
    pub fn standby(&self) -> Option<&StandbyView> {
        match &self.role {
            RoleView::Primary(_) => None,
            RoleView::Standby(view) => Some(view),
        }
    }
}

/// A primary as it sees itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PrimaryView {
    /// The timeline it writes.
    pub timeline: TimelineId,
    /// The history of that timeline. It lies in `pg_wal`: where nobody has looked there, it is one
    /// without ancestors.
    pub history: History,
    /// The end of a record that it has flushed, where one is known: what was inserted before the other
    /// questions were asked, if it was flushed after them. Up to where it has flushed may lie inside a
    /// record (the WAL writer flushes whole pages), and after a crash the WAL ends before that record.
    pub complete: Option<Lsn>,
    /// `synchronous_standby_names`, as a new session sees it.
    pub waits: Waits,
    /// Those that receive its WAL.
    pub links: Links,
    /// Its replication slots.
    pub slots: Vec<Slot>,
}

impl PrimaryView {
    /// Whether it has a slot of that name.
    #[must_use]
    pub fn has_slot(&self, name: &str) -> bool {
        self.slots.iter().any(|slot| slot.name == name)
    }
}

/// A replication slot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// Whether somebody streams from it now.
    pub active: bool,
    /// The oldest WAL that it keeps.
    pub restart: Option<Lsn>,
}

impl Slot {
    /// One that nobody has used yet.
    #[must_use]
    pub fn idle(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            active: false,
            restart: None,
        }
    }
}

/// WAL that waits for `archive_command` or `archive_library`, on the server that archives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Archiving {
    /// The files that are ready and not archived.
    pub waiting: u32,
    /// For how long the oldest of them has been ready.
    pub oldest: Duration,
}

impl Archiving {
    /// What keeps up has archived a file within this time.
    const LATE: Duration = Duration::from_secs(60);

    /// Whether a stop will have to wait: a fast shutdown ends when everything is archived, or the archiver has
    /// given up (`pgarch.c`: three failures of one file), and of a command that hangs it waits for the end.
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.waiting > 0 && self.oldest >= Self::LATE
    }
}

impl Archiving {
    /// The same in words.
    #[must_use]
    pub fn what(&self) -> Message {
        let seconds = self.oldest.as_secs();
        match self.waiting {
            1 => message!(
                "1 file of WAL waits to be archived, the oldest for {seconds} s",
                seconds
            ),
            files => message!(
                "{files} files of WAL wait to be archived, the oldest for {seconds} s",
                files,
                seconds
            ),
        }
    }
}

impl fmt::Display for Archiving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what().fmt(f)
    }
}

/// Those that receive WAL from a primary, as it sees them. What is to be made of them is judged in
/// [`crate::decide`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Links {
    /// The rows of `pg_stat_replication`, as they are.
    pub rows: Vec<LinkRow>,
    /// Up to where the primary had its WAL on the disk after the rows were read: no standby can have
    /// more of this WAL.
    pub flushed: Lsn,
}

/// One connection of a WAL sender, and no later one with the same process number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId {
    /// `pid`.
    pub pid: i32,
    /// `backend_start`, microseconds since 1970; 0 where the role may not see it.
    pub began: i64,
}

/// One row of `pg_stat_replication`. Fields are none where the role may not see them, or nothing has
/// come from the standby yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LinkRow {
    /// Which one it is.
    pub id: LinkId,
    /// `application_name`.
    pub name: String,
    /// `client_addr`; none for a socket.
    pub address: Option<String>,
    /// `state`.
    pub state: Option<WalSenderState>,
    /// `sync_state`.
    pub sync: Option<SyncState>,
    /// `sent_lsn`: up to where this primary has sent WAL over this connection.
    pub sent: Option<Lsn>,
    /// `flush_lsn`, which may lie inside a record.
    pub flushed: Option<Lsn>,
    /// `replay_lsn`, always the end of a record.
    pub replayed: Option<Lsn>,
    /// `replay_lag`: how long the newest WAL took until it was replayed; none while nothing is written.
    pub lag: Option<Duration>,
}

/// A standby as it sees itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StandbyView {
    /// Up to where streamed WAL is on its disk; none before the first has come since the start. It
    /// begins at the start of a segment, so it may lie before what was replayed.
    pub received: Option<Lsn>,
    /// The end of what it has replayed: whole records only, unlike what was received.
    pub replayed: Option<Lsn>,
    /// The newest timeline that it has WAL of: what it receives, or its control file; and where it
    /// does not stream and its files were looked at, what they say.
    pub timeline: Option<TimelineId>,
    /// What `pg_wal` has of the history of that timeline and of newer ones, which the receiver
    /// fetches from the primary; empty while it streams, and where nobody has looked there.
    pub histories: Vec<History>,
    /// Whether a WAL receiver is streaming.
    pub streaming: bool,
    /// The process id of the WAL receiver.
    pub receiver: Option<u32>,
    /// Its replication slots.
    pub slots: Vec<Slot>,
    /// While its replay is paused: its own limits, and those that its WAL asks for.
    pub paused: Option<PausedReplay>,
    /// Its settings name a synchronous standby that cannot exist ([`NOBODY`]), so that it acknowledges
    /// nothing if somebody opens it by hand; and no promotion has changed them without having put them back, in
    /// the file and in the server that reads it.
    ///
    /// [`NOBODY`]: crate::parse::standby_names::NOBODY
    pub closed: bool,
    /// The error of its files because of which it takes up no change of its settings; none where there is none, or
    /// nobody could look.
    pub unread: Option<String>,
}

/// A standby whose replay is paused. From version 14 on PostgreSQL pauses it by itself where a limit
/// is less than the primary's, and ends when such a server is promoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PausedReplay {
    /// The limits in force here.
    pub here: Limits,
    /// The primary's, as the WAL that was replayed says (`pg_control`); none where nobody has looked
    /// there.
    pub needed: Option<Limits>,
}

/// What is said of a server that takes up no change of its settings because of these errors of its files, and what to
/// type.
#[must_use]
pub fn unread(node: &NodeName, errors: &[String]) -> (Message, Message) {
    (
        message!(
            "PostgreSQL on {node} takes up no change of its settings, also not for whom commits wait: {errors}",
            node,
            errors = errors.join("; ")
        ),
        message!(
            "on {node}: correct that line, then in SQL: select pg_reload_conf()",
            node
        ),
    )
}

impl StandbyView {
    /// Whether these names are those of a standby that acknowledges nothing if somebody opens it ([`Self::closed`]).
    #[must_use]
    pub fn shows_closed(names: &Waits) -> bool {
        *names == Waits::For(NOBODY.to_owned())
    }

    /// Sees whether a promotion is marked to have changed the settings: until those of every standby are known to be
    /// read again, the names alone do not show that it is closed.
    pub fn see_mark(&mut self, changed: bool) {
        self.closed &= !changed;
    }

    /// Why it could not open for writing, if so (R14). A pause that an operator asked for ends by itself
    /// at a promotion.
    #[must_use]
    pub fn unfit(&self) -> Option<Unfit> {
        let limits = || {
            let paused = self.paused?;
            let short = paused.here.short_of(paused.needed?)?;
            let why = format!("replay is paused, since {short}");
            Some(Unfit::new(UnfitKind::Limits, why))
        };
        let files = || {
            let error = self.unread.as_ref()?;
            let why = format!("PostgreSQL takes up no change of its settings: {error}");
            Some(Unfit::new(UnfitKind::Files, why))
        };
        limits().or_else(files)
    }

    /// The end of the WAL that it has: the larger of received and replayed.
    #[must_use]
    pub fn position(&self) -> Option<Lsn> {
        self.received.max(self.replayed)
    }

    /// The end of the WAL that it has, where both parts of it are known.
    #[must_use]
    pub fn end(&self) -> Option<WalPosition> {
        Some(WalPosition {
            timeline: self.timeline?,
            lsn: self.position()?,
        })
    }
}

/// Whether the file lies in the data directory that makes data a standby's: `standby.signal`, or before PostgreSQL
/// 12 recovery.conf. PostgreSQL removes or renames it when a server becomes a primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StandbySignal {
    /// It does.
    There,
    /// It was seen that it does not.
    Missing,
    /// Neither was seen: the directory cannot be looked at, or not in time. It is no proof of anything: not that
    /// the data were opened, and not that they were not.
    Unknown,
}

impl StandbySignal {
    /// What the looks at each of the names amount to, by which the file may go.
    #[must_use]
    pub fn of_looks<E>(looks: &[Result<bool, E>]) -> Self {
        let found = looks.iter().any(|look| matches!(look, Ok(true)));
        let unseen = looks.iter().any(Result::is_err);
        match (found, unseen) {
            (true, _) => Self::There,
            (false, true) => Self::Unknown,
            (false, false) => Self::Missing,
        }
    }

    /// Whether it was seen.
    #[must_use]
    pub fn is_there(self) -> bool {
        self == Self::There
    }
}

impl From<bool> for StandbySignal {
    fn from(there: bool) -> Self {
        match there {
            true => Self::There,
            false => Self::Missing,
        }
    }
}

/// What PostgreSQL is on a node that is asked something, as its processes and files show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenRole {
    /// A process of it is there.
    pub runs: bool,
    /// Whether the data are a standby's.
    pub signal: StandbySignal,
}

impl SeenRole {
    /// Whether it may be a primary: it runs, and was not seen to be a standby.
    #[must_use]
    pub fn may_serve(self) -> bool {
        self.runs && !self.signal.is_there()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_to_have_failed_may_have_been_done() {
        use SqlErrorKind as Kind;
        let server = |fatal| Kind::Server {
            sqlstate: "57014".to_owned(),
            fatal,
        };
        for (kind, answered) in [
            (Kind::Refused, false),
            (Kind::NoSocket, false),
            (Kind::Unreachable, false),
            (Kind::TimedOut, false),
            (Kind::Broken, false),
            (Kind::Tls, true),
            (Kind::Authentication, true),
            (Kind::TooMuch, true),
            (Kind::Unusable, true),
            (server(false), true),
            (server(true), true),
        ] {
            assert_eq!(kind.answered(), answered, "{kind:?}");
            assert!(kind.surely_without_effect(false), "{kind:?}");
            let rolled_back = kind == server(false);
            assert_eq!(kind.surely_without_effect(true), rolled_back, "{kind:?}");
        }
    }
}

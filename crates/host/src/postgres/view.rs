//! What a server says about itself and its peers, read in one round trip.

use std::str::FromStr;

use pha_core::lsn::Lsn;
use pha_core::snapshot::{LinkId, LinkRow, Links};
use pha_core::status::{SyncState, WalSenderState};
use pha_core::timeline::TimelineId;

use super::PostgresError;
use crate::clock::Deadline;
use crate::sql::{Session, TextRows};

/// Those that receive WAL.
macro_rules! links {
    () => {
        "\
select 'standby', application_name, state, sync_state, sync_priority,
       sent_lsn, write_lsn, flush_lsn, replay_lsn, pid, host(client_addr),
       (extract(epoch from backend_start) * 1000000)::bigint
       from pg_stat_replication order by pid;
"
    };
}

/// How far WAL is on the disk, after everything else was looked at.
macro_rules! later {
    () => {
        "select 'later', case when not pg_is_in_recovery() then pg_current_wal_flush_lsn() end"
    };
}

/// Everything, each row with a tag in front. Columns that came or went between versions 12 and 18
/// are taken through `to_jsonb`, which gives null for those that are not there. The functions that
/// fail in the other role stand behind a condition.
const QUERY: &str = concat!(
    "\
select 'server', pg_is_in_recovery(), current_setting('server_version_num'),
       case when not pg_is_in_recovery() then pg_current_wal_insert_lsn() end,
       case when not pg_is_in_recovery() then pg_current_wal_flush_lsn() end,
       case when not pg_is_in_recovery() then pg_walfile_name(pg_current_wal_flush_lsn()) end,
       current_setting('synchronous_standby_names'),
       pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn(),
       case when pg_is_in_recovery() then pg_is_wal_replay_paused() end,
       (select timeline_id from pg_control_checkpoint()),
       (select nullif(min_recovery_end_timeline, 0) from pg_control_recovery()),
       (select system_identifier from pg_control_system());
",
    links!(),
    "\
select 'slot', slot_name, slot_type, active, restart_lsn, to_jsonb(s)->>'wal_status'
       from pg_replication_slots s order by slot_name;
select 'receiver', pid, status, to_jsonb(r)->>'sender_host', to_jsonb(r)->>'sender_port',
       coalesce(to_jsonb(r)->>'flushed_lsn', to_jsonb(r)->>'received_lsn'), received_tli, slot_name
       from pg_stat_wal_receiver r;
",
    later!()
);

/// The links alone, and how far WAL was on the disk after that.
const LINKS: &str = concat!(links!(), later!());

/// A server's view of itself and its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerView {
    /// `server_version_num`, for instance 150018.
    pub version: u32,
    /// The number that all copies of one cluster share.
    pub system_identifier: String,
    /// `synchronous_standby_names` as a new connection sees it.
    pub sync_names: String,
    /// The replication slots.
    pub slots: Vec<SlotRow>,
    /// The servers that receive WAL from this one (a standby may have some, too).
    pub standbys: Vec<StandbyRow>,
    /// What depends on the role.
    pub role: RoleView,
}

/// What only a primary, or only a standby, can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleView {
    /// It accepts writes.
    Primary(PrimaryView),
    /// It is in recovery.
    Standby(StandbyView),
}

/// What a primary says of its WAL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrimaryView {
    /// The timeline that it writes.
    pub timeline: TimelineId,
    /// Where the next record will go.
    pub inserted: Lsn,
    /// Up to where WAL is on its disk.
    pub flushed: Lsn,
    /// The same after the standbys were looked at: none of them can have more of this WAL.
    pub later: Lsn,
    /// The end of a record that is on its disk, where one is known: what was inserted before the
    /// other questions were asked, if it was flushed after them. `flushed` itself may lie inside a
    /// record (the WAL writer flushes whole pages), and after a crash the WAL ends before that record.
    pub complete: Option<Lsn>,
}

/// What a standby says of its WAL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandbyView {
    /// Up to where streamed WAL is on its disk; none before the first has come since the start.
    pub received: Option<Lsn>,
    /// Up to where WAL has been replayed.
    pub replayed: Option<Lsn>,
    /// Whether replay is paused.
    pub paused: bool,
    /// The newest timeline that it knows to have WAL of: received, or recorded in its control file.
    pub timeline: TimelineId,
    /// Its WAL receiver, when one runs.
    pub receiver: Option<ReceiverRow>,
}

impl StandbyView {
    /// Whether its receiver streams.
    #[must_use]
    pub fn streams(&self) -> bool {
        let receiver = self.receiver.as_ref();
        receiver.is_some_and(|receiver| receiver.status.as_deref() == Some("streaming"))
    }
}

/// A row of `pg_stat_replication`. Fields are none when the role may not see them, or nothing has
/// come from the standby yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandbyRow {
    /// The standby's name.
    pub application_name: String,
    /// What the WAL sender does.
    pub state: Option<WalSenderState>,
    /// What the standby counts for.
    pub sync_state: Option<SyncState>,
    /// Its place in `synchronous_standby_names`, 0 when it is not there.
    pub sync_priority: Option<u32>,
    /// Up to where WAL was sent to it.
    pub sent: Option<Lsn>,
    /// Up to where it has handed WAL to its operating system.
    pub written: Option<Lsn>,
    /// Up to where WAL is on its disk.
    pub flushed: Option<Lsn>,
    /// Up to where it has replayed WAL.
    pub replayed: Option<Lsn>,
    /// The WAL sender's process number.
    pub pid: i32,
    /// The standby's address; none for a socket.
    pub client_addr: Option<String>,
    /// When that process began, microseconds since 1970; 0 when the role may not see it.
    pub began: i64,
}

/// A row of `pg_replication_slots`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRow {
    /// Its name.
    pub name: String,
    /// Whether it is a physical one.
    pub physical: bool,
    /// Whether somebody streams from it now.
    pub active: bool,
    /// The oldest WAL that it keeps.
    pub restart: Option<Lsn>,
    /// `wal_status` (13 and newer): reserved, extended, unreserved, lost.
    pub wal_status: Option<String>,
}

/// The row of `pg_stat_wal_receiver`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverRow {
    /// Its process number.
    pub pid: i32,
    /// `streaming`, `waiting`, `starting` …; none when the role may not see it.
    pub status: Option<String>,
    /// The primary's address.
    pub sender_host: Option<String>,
    /// The primary's port.
    pub sender_port: Option<u16>,
    /// Up to where WAL is on its disk.
    pub flushed: Option<Lsn>,
    /// The timeline of that WAL.
    pub timeline: Option<TimelineId>,
    /// The slot it uses.
    pub slot: Option<String>,
}

impl ServerView {
    /// Reads the view over an open connection.
    pub(super) fn read(session: &mut Session, deadline: Deadline) -> Result<Self, PostgresError> {
        Self::from_rows(Self::rows(session, deadline)?)
    }

    /// What the server answers, as it is.
    pub(super) fn rows(
        session: &mut Session,
        deadline: Deadline,
    ) -> Result<TextRows, PostgresError> {
        match session.simple(QUERY, deadline) {
            // object_not_in_prerequisite_state: a promotion ended between two of the functions.
            Err(error) if error.sqlstate() == Some("55000") => Ok(session.simple(QUERY, deadline)?),
            other => Ok(other?),
        }
    }

    /// The primary's part, when it is one.
    pub fn primary(&self) -> Option<&PrimaryView> {
        match &self.role {
            RoleView::Primary(view) => Some(view),
            RoleView::Standby(_) => None,
        }
    }

    /// The standby's part, when it is one.
    pub fn standby(&self) -> Option<&StandbyView> {
        match &self.role {
            RoleView::Primary(_) => None,
            RoleView::Standby(view) => Some(view),
        }
    }

    /// The links of a primary, as decisions look at them.
    #[must_use]
    pub fn links(&self, primary: &PrimaryView) -> Links {
        links(&self.standbys, primary.later)
    }

    /// Reads the view out of what the server has answered.
    pub(crate) fn from_rows(rows: TextRows) -> Result<Self, PostgresError> {
        let (mut server, mut standbys, mut slots, mut receiver) =
            (None, Vec::new(), Vec::new(), None);
        let mut later = None;
        for row in rows {
            let mut cells = Cells(row.into_iter());
            match cells.next().as_deref() {
                Some("server") => server = Some(cells),
                Some("standby") => standbys.push(StandbyRow::read(&mut cells)?),
                Some("slot") => slots.push(SlotRow::read(&mut cells)?),
                Some("receiver") => receiver = Some(ReceiverRow::read(&mut cells)?),
                Some("later") => later = cells.lsn("later flush position")?,
                _ => return Err(unexpected("the tag of a row", "")),
            }
        }
        let mut cells =
            server.ok_or_else(|| unexpected("the answer", "no row about the server"))?;
        let standby = cells.required_bool("pg_is_in_recovery()")?;
        let version = cells.required("server_version_num")?;
        let (inserted, flushed) = (cells.lsn("insert position")?, cells.lsn("flush position")?);
        let wal_file = cells.next();
        let sync_names = cells.next().unwrap_or_default();
        let (received, replayed) = (
            cells.lsn("receive position")?,
            cells.lsn("replay position")?,
        );
        let paused = cells.bool("pg_is_wal_replay_paused()")?.unwrap_or(false);
        let known = [
            cells.parsed("timeline_id")?,
            cells.parsed("min_recovery_end_timeline")?,
        ];
        let system_identifier = cells.next().unwrap_or_default();
        let role = if standby {
            let received_timeline = receiver
                .as_ref()
                .and_then(|receiver: &ReceiverRow| receiver.timeline);
            let newest = known.into_iter().flatten().chain(received_timeline).max();
            let timeline =
                newest.ok_or_else(|| unexpected("pg_control_checkpoint().timeline_id", ""))?;
            RoleView::Standby(StandbyView {
                received,
                replayed,
                paused,
                timeline,
                receiver,
            })
        } else {
            let later = later.ok_or_else(|| unexpected("the later flush position", ""))?;
            RoleView::Primary(PrimaryView {
                timeline: timeline_of_file(wal_file.as_deref().unwrap_or_default())?,
                later,
                inserted: inserted.ok_or_else(|| unexpected("pg_current_wal_insert_lsn()", ""))?,
                flushed: flushed.ok_or_else(|| unexpected("pg_current_wal_flush_lsn()", ""))?,
                complete: inserted.filter(|record| later >= *record),
            })
        };
        Ok(Self {
            version,
            system_identifier,
            sync_names,
            slots,
            standbys,
            role,
        })
    }
}

/// Those that receive WAL, and the end of the WAL on the disk after they were looked at.
pub(super) struct LinksView {
    rows: Vec<StandbyRow>,
    later: Lsn,
}

impl LinksView {
    /// Reads them over an open connection to a primary.
    pub(super) fn read(session: &mut Session, deadline: Deadline) -> Result<Self, PostgresError> {
        let (mut rows, mut later) = (Vec::new(), None);
        for row in session.simple(LINKS, deadline)? {
            let mut cells = Cells(row.into_iter());
            match cells.next().as_deref() {
                Some("standby") => rows.push(StandbyRow::read(&mut cells)?),
                Some("later") => later = cells.lsn("later flush position")?,
                _ => return Err(unexpected("the tag of a row", "")),
            }
        }
        let later = later.ok_or_else(|| unexpected("the later flush position", ""))?;
        Ok(Self { rows, later })
    }

    /// As decisions look at them.
    pub(super) fn links(&self) -> Links {
        links(&self.rows, self.later)
    }
}

/// The rows as they are; what they are worth is decided in the core.
fn links(rows: &[StandbyRow], flushed: Lsn) -> Links {
    let row = |row: &StandbyRow| LinkRow {
        id: LinkId {
            pid: row.pid,
            began: row.began,
        },
        name: row.application_name.clone(),
        address: row.client_addr.clone(),
        state: row.state,
        sync: row.sync_state,
        sent: row.sent,
        flushed: row.flushed,
        replayed: row.replayed,
    };
    Links {
        rows: rows.iter().map(row).collect(),
        flushed,
    }
}

/// The first eight hexadecimal digits of a WAL file's name are its timeline.
fn timeline_of_file(name: &str) -> Result<TimelineId, PostgresError> {
    let number = name
        .get(..8)
        .and_then(|digits| u32::from_str_radix(digits, 16).ok());
    number
        .and_then(TimelineId::new)
        .ok_or_else(|| unexpected("pg_walfile_name()", name))
}

impl StandbyRow {
    fn read(cells: &mut Cells) -> Result<Self, PostgresError> {
        Ok(Self {
            application_name: cells.next().unwrap_or_default(),
            state: cells.parsed("pg_stat_replication.state")?,
            sync_state: cells.parsed("pg_stat_replication.sync_state")?,
            sync_priority: cells.parsed("pg_stat_replication.sync_priority")?,
            sent: cells.lsn("pg_stat_replication.sent_lsn")?,
            written: cells.lsn("pg_stat_replication.write_lsn")?,
            flushed: cells.lsn("pg_stat_replication.flush_lsn")?,
            replayed: cells.lsn("pg_stat_replication.replay_lsn")?,
            pid: cells.required("pg_stat_replication.pid")?,
            client_addr: cells.next(),
            began: cells
                .parsed("pg_stat_replication.backend_start")?
                .unwrap_or_default(),
        })
    }
}

impl SlotRow {
    fn read(cells: &mut Cells) -> Result<Self, PostgresError> {
        Ok(Self {
            name: cells.next().unwrap_or_default(),
            physical: cells.next().as_deref() == Some("physical"),
            active: cells.required_bool("pg_replication_slots.active")?,
            restart: cells.lsn("pg_replication_slots.restart_lsn")?,
            wal_status: cells.next(),
        })
    }
}

impl ReceiverRow {
    fn read(cells: &mut Cells) -> Result<Self, PostgresError> {
        Ok(Self {
            pid: cells.required("pg_stat_wal_receiver.pid")?,
            status: cells.next(),
            sender_host: cells.next(),
            // -1 or 0 before the connection has come about.
            sender_port: cells.next().and_then(|port| port.parse().ok()),
            flushed: cells.lsn("pg_stat_wal_receiver.flushed_lsn")?,
            timeline: cells.timeline("pg_stat_wal_receiver.received_tli")?,
            slot: cells.next().filter(|slot| !slot.is_empty()),
        })
    }
}

/// The cells of a row, taken one after the other.
struct Cells(std::vec::IntoIter<Option<String>>);

impl Cells {
    fn next(&mut self) -> Option<String> {
        self.0.next().flatten()
    }

    fn parsed<T: FromStr>(&mut self, column: &'static str) -> Result<Option<T>, PostgresError> {
        let Some(text) = self.next() else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|_| unexpected(column, &text))
    }

    fn required<T: FromStr>(&mut self, column: &'static str) -> Result<T, PostgresError> {
        self.parsed(column)?.ok_or_else(|| unexpected(column, ""))
    }

    /// A position; `0/0` means none to PostgreSQL.
    fn lsn(&mut self, column: &'static str) -> Result<Option<Lsn>, PostgresError> {
        Ok(self.parsed::<Lsn>(column)?.filter(|lsn| lsn.is_valid()))
    }

    /// A timeline; 0 means none to PostgreSQL.
    fn timeline(&mut self, column: &'static str) -> Result<Option<TimelineId>, PostgresError> {
        Ok(self.parsed::<u32>(column)?.and_then(TimelineId::new))
    }

    fn bool(&mut self, column: &'static str) -> Result<Option<bool>, PostgresError> {
        match self.next().as_deref() {
            None => Ok(None),
            Some("t") => Ok(Some(true)),
            Some("f") => Ok(Some(false)),
            Some(other) => Err(unexpected(column, other)),
        }
    }

    fn required_bool(&mut self, column: &'static str) -> Result<bool, PostgresError> {
        self.bool(column)?.ok_or_else(|| unexpected(column, ""))
    }
}

fn unexpected(column: &'static str, text: &str) -> PostgresError {
    PostgresError::Unexpected {
        column,
        text: text.to_owned(),
    }
}

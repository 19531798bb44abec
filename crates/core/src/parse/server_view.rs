//! What a server is asked about itself and its peers, in one round trip, and what its answer means
//! ([`ServerView`]).

use std::str::FromStr;
use std::time::Duration;

use crate::limits::Limits;
use crate::lsn::Lsn;
use crate::postgres::{
    LinkId, LinkRow, Links, PausedReplay, PrimaryView, RoleView, ServerView, Slot, StandbyView,
};
use crate::timeline::{History, TimelineId};

use super::standby_names::{StandbyNames, Waits};

/// The rows of a simple query, each a list of values as text.
pub type TextRows = Vec<Vec<Option<String>>>;

/// An answer that no known version of PostgreSQL gives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{column} holds {text:?}, which no known version of PostgreSQL writes")]
pub struct Unexpected {
    /// The view's column.
    pub column: &'static str,
    /// Its text.
    pub text: String,
}

/// Those that receive WAL.
const LINKS: &str = "\
select 'standby', application_name, state, sync_state, sent_lsn, flush_lsn, replay_lsn, \
       (extract(epoch from replay_lag) * 1000000)::bigint, pid, host(client_addr), \
       (extract(epoch from backend_start) * 1000000)::bigint \
       from pg_stat_replication order by pid";

/// How far WAL is on the disk, after everything else was looked at.
const LATER: &str =
    "select 'later', case when not pg_is_in_recovery() then pg_current_wal_flush_lsn() end";

/// Everything, one statement after the other, each row with a tag in front. The functions that fail in
/// the other role stand behind a condition.
const STATEMENTS: [&str; 5] = [
    "select 'server', pg_is_in_recovery(), current_setting('server_version_num'), \
       case when not pg_is_in_recovery() then pg_current_wal_insert_lsn() end, \
       case when not pg_is_in_recovery() then pg_walfile_name(pg_current_wal_flush_lsn()) end, \
       current_setting('synchronous_standby_names'), \
       pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn(), \
       case when pg_is_in_recovery() then pg_is_wal_replay_paused() end, \
       (select timeline_id from pg_control_checkpoint()), \
       (select nullif(min_recovery_end_timeline, 0) from pg_control_recovery()), \
       (select system_identifier from pg_control_system()), \
       current_setting('max_connections'), current_setting('max_worker_processes'), \
       current_setting('max_wal_senders'), current_setting('max_prepared_transactions'), \
       current_setting('max_locks_per_transaction')",
    LINKS,
    "select 'slot', slot_name, active, restart_lsn from pg_replication_slots order by slot_name",
    "select 'receiver', pid, status, received_tli from pg_stat_wal_receiver",
    LATER,
];

/// What is asked for the view: statements without data in them, in one text.
#[must_use]
pub fn question() -> String {
    STATEMENTS.join("; ")
}

/// What is asked for the links of a primary alone.
#[must_use]
pub fn question_about_links() -> String {
    [LINKS, LATER].join("; ")
}

/// Reads the links out of what the server has answered to [`question_about_links`].
///
/// # Errors
/// [`Unexpected`].
pub fn links(answer: TextRows) -> Result<Links, Unexpected> {
    let (mut rows, mut later) = (Vec::new(), None);
    for row in answer {
        let mut cells = Cells(row.into_iter());
        match cells.next().as_deref() {
            Some("standby") => rows.push(link(&mut cells)?),
            Some("later") => later = cells.lsn("later flush position")?,
            _ => return Err(unexpected("the tag of a row", "")),
        }
    }
    let flushed = later.ok_or_else(|| unexpected("the later flush position", ""))?;
    Ok(Links { rows, flushed })
}

/// The row about the server itself.
struct Server {
    standby: bool,
    version: u32,
    inserted: Option<Lsn>,
    wal_file: String,
    names: StandbyNames,
    received: Option<Lsn>,
    replayed: Option<Lsn>,
    paused: bool,
    checkpoint: Option<TimelineId>,
    recovered: Option<TimelineId>,
    system: Option<u64>,
    limits: Limits,
}

/// The row of `pg_stat_wal_receiver`.
struct Receiver {
    pid: i32,
    streaming: bool,
    timeline: Option<TimelineId>,
}

/// Reads the view out of what the server has answered to [`question`]. What lies on its disk is not
/// in it ([`PrimaryView::history`], [`StandbyView::histories`], [`PausedReplay::needed`]).
///
/// # Errors
/// [`Unexpected`].
pub fn from_rows(rows: TextRows) -> Result<ServerView, Unexpected> {
    let (mut server, mut receiver, mut later) = (None, None, None);
    let (mut links, mut slots) = (Vec::new(), Vec::new());
    for row in rows {
        let mut cells = Cells(row.into_iter());
        match cells.next().as_deref() {
            Some("server") => server = Some(about(&mut cells)?),
            Some("standby") => links.push(link(&mut cells)?),
            Some("slot") => slots.push(slot(&mut cells)?),
            Some("receiver") => receiver = Some(of_receiver(&mut cells)?),
            Some("later") => later = cells.lsn("later flush position")?,
            _ => return Err(unexpected("the tag of a row", "")),
        }
    }
    let server = server.ok_or_else(|| unexpected("the answer", "no row about the server"))?;
    let (version, system, checkpoint) = (server.version, server.system, server.checkpoint);
    let role = if server.standby {
        RoleView::Standby(as_standby(server, receiver, slots)?)
    } else {
        let flushed = later.ok_or_else(|| unexpected("the later flush position", ""))?;
        let links = Links {
            rows: links,
            flushed,
        };
        RoleView::Primary(as_primary(server, links, slots)?)
    };
    Ok(ServerView {
        version,
        system,
        checkpoint,
        role,
    })
}

fn as_primary(server: Server, links: Links, slots: Vec<Slot>) -> Result<PrimaryView, Unexpected> {
    let timeline = timeline_of_file(&server.wal_file)?;
    let inserted = server.inserted;
    let inserted = inserted.ok_or_else(|| unexpected("pg_current_wal_insert_lsn()", ""))?;
    Ok(PrimaryView {
        timeline,
        history: History::without_ancestors(timeline),
        complete: (links.flushed >= inserted).then_some(inserted),
        waits: Waits::from(&server.names),
        links,
        slots,
    })
}

fn as_standby(
    server: Server,
    receiver: Option<Receiver>,
    slots: Vec<Slot>,
) -> Result<StandbyView, Unexpected> {
    let received = receiver.as_ref().and_then(|receiver| receiver.timeline);
    let known = [server.checkpoint, server.recovered, received];
    let newest = known.into_iter().flatten().max();
    let newest = newest.ok_or_else(|| unexpected("pg_control_checkpoint().timeline_id", ""))?;
    let receiver_pid = receiver.as_ref().map(|receiver| receiver.pid);
    Ok(StandbyView {
        received: server.received,
        replayed: server.replayed,
        timeline: Some(newest),
        histories: Vec::new(),
        streaming: receiver.is_some_and(|receiver| receiver.streaming),
        receiver: receiver_pid.and_then(|pid| u32::try_from(pid).ok()),
        slots,
        unread: None,
        paused: server.paused.then_some(PausedReplay {
            here: server.limits,
            needed: None,
        }),
        closed: StandbyView::shows_closed(&Waits::from(&server.names)),
    })
}

fn about(cells: &mut Cells) -> Result<Server, Unexpected> {
    Ok(Server {
        standby: cells.required_bool("pg_is_in_recovery()")?,
        version: cells.required("server_version_num")?,
        inserted: cells.lsn("insert position")?,
        wal_file: cells.next().unwrap_or_default(),
        names: names_of(&cells.next().unwrap_or_default())?,
        received: cells.lsn("receive position")?,
        replayed: cells.lsn("replay position")?,
        paused: cells.bool("pg_is_wal_replay_paused()")?.unwrap_or(false),
        checkpoint: cells.parsed("timeline_id")?,
        recovered: cells.parsed("min_recovery_end_timeline")?,
        system: cells.parsed("system_identifier")?,
        limits: {
            let mut read = [0; Limits::SETTINGS.len()];
            for (value, column) in read.iter_mut().zip(Limits::SETTINGS) {
                *value = cells.required(column)?;
            }
            Limits::from_values(read)
        },
    })
}

fn link(cells: &mut Cells) -> Result<LinkRow, Unexpected> {
    let name = cells.next().unwrap_or_default();
    let state = cells.parsed("pg_stat_replication.state")?;
    let sync = cells.parsed("pg_stat_replication.sync_state")?;
    let sent = cells.lsn("pg_stat_replication.sent_lsn")?;
    let flushed = cells.lsn("pg_stat_replication.flush_lsn")?;
    let replayed = cells.lsn("pg_stat_replication.replay_lsn")?;
    let lag = cells.parsed::<i64>("pg_stat_replication.replay_lag")?;
    let pid = cells.required("pg_stat_replication.pid")?;
    let address = cells.next();
    let began = cells.parsed("pg_stat_replication.backend_start")?;
    Ok(LinkRow {
        id: LinkId {
            pid,
            began: began.unwrap_or_default(),
        },
        name,
        address,
        state,
        sync,
        sent,
        flushed,
        replayed,
        lag: lag.and_then(|lag| Some(Duration::from_micros(u64::try_from(lag).ok()?))),
    })
}

fn slot(cells: &mut Cells) -> Result<Slot, Unexpected> {
    Ok(Slot {
        name: cells.next().unwrap_or_default(),
        active: cells.required_bool("pg_replication_slots.active")?,
        restart: cells.lsn("pg_replication_slots.restart_lsn")?,
    })
}

fn of_receiver(cells: &mut Cells) -> Result<Receiver, Unexpected> {
    Ok(Receiver {
        pid: cells.required("pg_stat_wal_receiver.pid")?,
        streaming: cells.next().as_deref() == Some("streaming"),
        timeline: cells.timeline("pg_stat_wal_receiver.received_tli")?,
    })
}

/// The names in `synchronous_standby_names`.
fn names_of(text: &str) -> Result<StandbyNames, Unexpected> {
    text.parse()
        .map_err(|_| unexpected("synchronous_standby_names", text))
}

/// The first eight hexadecimal digits of a WAL file's name are its timeline.
fn timeline_of_file(name: &str) -> Result<TimelineId, Unexpected> {
    let number = name
        .get(..8)
        .and_then(|digits| u32::from_str_radix(digits, 16).ok());
    number
        .and_then(TimelineId::new)
        .ok_or_else(|| unexpected("pg_walfile_name()", name))
}

/// The cells of a row, taken one after the other.
struct Cells(std::vec::IntoIter<Option<String>>);

impl Cells {
    fn next(&mut self) -> Option<String> {
        self.0.next().flatten()
    }

    fn parsed<T: FromStr>(&mut self, column: &'static str) -> Result<Option<T>, Unexpected> {
        let Some(text) = self.next() else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|_| unexpected(column, &text))
    }

    fn required<T: FromStr>(&mut self, column: &'static str) -> Result<T, Unexpected> {
        self.parsed(column)?.ok_or_else(|| unexpected(column, ""))
    }

    /// A position; `0/0` means none to PostgreSQL.
    fn lsn(&mut self, column: &'static str) -> Result<Option<Lsn>, Unexpected> {
        Ok(self.parsed::<Lsn>(column)?.filter(|lsn| lsn.is_valid()))
    }

    /// A timeline; 0 means none to PostgreSQL.
    fn timeline(&mut self, column: &'static str) -> Result<Option<TimelineId>, Unexpected> {
        Ok(self.parsed::<u32>(column)?.and_then(TimelineId::new))
    }

    fn bool(&mut self, column: &'static str) -> Result<Option<bool>, Unexpected> {
        match self.next().as_deref() {
            None => Ok(None),
            Some("t") => Ok(Some(true)),
            Some("f") => Ok(Some(false)),
            Some(other) => Err(unexpected(column, other)),
        }
    }

    fn required_bool(&mut self, column: &'static str) -> Result<bool, Unexpected> {
        self.bool(column)?.ok_or_else(|| unexpected(column, ""))
    }
}

fn unexpected(column: &'static str, text: &str) -> Unexpected {
    Unexpected {
        column,
        text: text.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A row as psql gives it; empty is NULL.
    fn row(text: &str) -> Vec<Option<String>> {
        let value = |value: &str| (!value.is_empty()).then(|| value.to_owned());
        text.split('|').map(value).collect()
    }

    fn read(rows: &[&str]) -> Result<ServerView, Unexpected> {
        from_rows(rows.iter().map(|text| row(text)).collect())
    }

    const PRIMARY: &str =
        "server|f|150018|0/3000060|000000020000000000000003|\"node2\"||||2||77|100|8|10|0|64";
    const STANDBY: &str = "server|t|150018||||0/3000000|0/3000060|t|1|2|77|50|8|10|0|64";
    const LINK: &str =
        "standby|node2|streaming|sync|0/3000060|0/3000060|0/2FFFFE0|250000|41|10.0.0.2|7";

    #[test]
    fn rows_of_a_primary_are_read() {
        let hidden = "standby|node3|||||||42||";
        let slot = "slot|odd|f|0/2000000";
        let view = read(&[PRIMARY, LINK, hidden, slot, "later|0/3000060"]).unwrap();
        assert_eq!((view.version, view.system), (150_018, Some(77)));
        let own = view.primary().unwrap();
        assert_eq!(
            (own.timeline.get(), own.waits.names()),
            (2, &["node2".to_owned()][..])
        );
        assert_eq!(own.complete, Some(own.links.flushed));
        assert!(own.has_slot("odd") && !own.slots[0].active);
        let [link, hidden] = &own.links.rows[..] else {
            panic!("{own:?}")
        };
        assert_eq!(link.lag, Some(Duration::from_millis(250)));
        assert_eq!((link.id.pid, link.id.began), (41, 7));
        assert_eq!(
            (hidden.state, hidden.flushed, hidden.lag),
            (None, None, None)
        );
        // Between the two questions the record was not flushed yet.
        let before = read(&[PRIMARY, "later|0/3000020"]).unwrap();
        assert_eq!(before.primary().unwrap().complete, None);
    }

    #[test]
    fn rows_of_a_standby_are_read() {
        let view = read(&[STANDBY, "receiver|99|waiting|3", "later|"]).unwrap();
        let own = view.standby().unwrap();
        assert_eq!(own.position(), own.replayed);
        assert_eq!(own.timeline, TimelineId::new(3));
        assert_eq!(
            (own.streaming, own.receiver, own.closed),
            (false, Some(99), false)
        );
        assert_eq!(own.paused.unwrap().here.connections, 50);
        // Nobody has asked its files what its WAL needs.
        assert_eq!(own.unfit(), None);
    }

    #[test]
    fn what_no_known_version_answers_is_an_error() {
        let link = |from: &str, to: &str| LINK.replacen(from, to, 1);
        let later = "later|0/3000060";
        assert!(read(&[PRIMARY, &link("streaming", "dreaming"), later]).is_err());
        assert!(read(&[PRIMARY, &link("0/2FFFFE0", "many"), later]).is_err());
        assert!(read(&[PRIMARY, "standby|a", later]).is_err());
        assert!(read(&[PRIMARY, "other|a", later]).is_err());
        assert!(read(&[PRIMARY]).is_err() && read(&[later]).is_err());
        // What a program of another version has handed over.
        let old =
            "standby|node2|streaming|sync|1|0/3000060|0/3000060|0/3000060|0/3000060|41|10.0.0.2|7";
        assert!(read(&[PRIMARY, old, later]).is_err());
    }
}

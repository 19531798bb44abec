//! The lock service: a table in a PostgreSQL outside of the cluster, read and changed without a
//! child process.
//!
//! Every change is one conditional `UPDATE … RETURNING` by the server's clock, whose row count is
//! the verdict ([`pha_core::register::Update`] says what each one means). Where the reply is lost,
//! the row is read again on a new connection and decides; a change that may still be on its way is
//! sent once more, which is harmless, because its condition holds at most once.

mod mutex;
mod name;
mod rights;
mod session;
mod statements;
mod table;

use pha_core::register::{
    ClusterId, Damage, NotBelieved, Reading, Remake, Reply, Sent, Trouble, Update, reply_by,
};
use tokio_postgres::types::Type;

use crate::clock::Deadline;
use crate::conninfo::Conninfo;
use crate::sql::{Purpose, Session, SqlError};
use session::{READ_ONLY, trouble};

pub use mutex::{MutexAnswer, lock, trylock, unlock};
pub use name::{LockName, LockNameError};
pub use rights::{RoleName, RoleNameError, Standing, ensure_role, has_role, try_changes};
pub use table::{
    ALWAYS_KEPT, Change, Details, Granted, History, KEPT, KEPT_DAYS, Shown, grant, history, init,
    note, prune, remake, script, show,
};

/// A connection to the lock service for one cluster's row, made when it is first needed and kept.
pub struct LockService {
    info: Conninfo,
    lock: LockName,
    system: Option<String>,
    session: Option<Session>,
}

/// How often a change whose reply was lost is sent in all.
const SENDS: u32 = 2;

impl LockService {
    /// The lock service at `info`, for the row `lock`. Connects to nothing yet.
    #[must_use]
    pub fn new(info: Conninfo, lock: LockName) -> Self {
        Self {
            info: info.or_application_name("pha4pgsql"),
            lock,
            system: None,
            session: None,
        }
    }

    /// The same for a node whose data have this system identifier, as far as it has any: the row of
    /// another database is damage, and is not changed. Two clusters whose nodes have the same names
    /// would otherwise share a row, and each would take the other's holders for its own.
    #[must_use]
    pub fn of_system(self, system: Option<u64>) -> Self {
        Self {
            system: system.map(|number| number.to_string()),
            ..self
        }
    }

    /// Which cluster's row it is, and for which database it is read.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        ClusterId {
            lock: self.lock.to_string(),
            system: self.system.clone(),
        }
    }

    /// See [`Remake`]: for a row that is missing, makes no sense, or is another database's whose
    /// lease has run out.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn remake(&mut self, deadline: Deadline) -> Result<(), Trouble> {
        let change = Remake {
            system: self.system.clone(),
        };
        remake(&self.info, &self.lock, &change, deadline)
    }

    /// Reads the row.
    pub fn read(&mut self, deadline: Deadline) -> Reading {
        let reused = self.has_session();
        match self.try_read(deadline) {
            // A connection kept from an earlier call may have died meanwhile: the server was
            // restarted, or a firewall forgot it.
            Err(error) if reused && !error.answered() && !deadline.expired() => {
                self.session = None;
                match self.try_read(deadline) {
                    Ok(reading) => reading,
                    Err(error) => Reading::Unknown(self.trouble(&error)),
                }
            }
            Err(error) => Reading::Unknown(self.trouble(&error)),
            Ok(reading) => reading,
        }
    }

    /// What a node's agent would not believe of the row; nothing where it would, or where the row
    /// cannot be read. Changes nothing.
    pub fn disbelieved(&mut self, deadline: Deadline) -> Option<Damage> {
        match self.ask(&statements::read(&self.lock.table), deadline) {
            Ok(Reading::Damaged(damage)) => Some(damage),
            _ => None,
        }
    }

    /// Makes one conditional change.
    pub fn update(&mut self, update: &Update, deadline: Deadline) -> Reply {
        let mut lost = None;
        for _ in 0..SENDS {
            let sent = match self.send(update, deadline) {
                Ok(Some(reply)) => return reply,
                Ok(None) => Sent::Refused {
                    again: lost.is_some(),
                },
                Err(error) if error.surely_without_effect() => {
                    let trouble = self.trouble(&error);
                    if lost.is_some() || error.answered() || deadline.expired() {
                        return Reply::Unknown(trouble);
                    }
                    self.session = None;
                    continue;
                }
                Err(error) => {
                    self.session = None;
                    lost = Some(self.trouble(&error));
                    Sent::Unanswered
                }
            };
            let reading = self.read(deadline);
            if let Some(reply) = reply_by(update, sent, reading) {
                return reply;
            }
        }
        Reply::Unknown(lost.unwrap_or_else(|| {
            Trouble::Unreachable(format!("{}: the change was not sent", self.info))
        }))
    }

    fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// The kept connection, or a new one, told not to work longer than this call waits.
    fn session(&mut self, deadline: Deadline) -> Result<&mut Session, SqlError> {
        let kept = self.session.take().filter(Session::is_usable);
        let mut session = match kept {
            Some(session) => session,
            None => Session::connect(&self.info, Purpose::LockService, deadline)?,
        };
        // The server gives up a little earlier than this call, so that its "canceled" still
        // arrives: a definite answer instead of an unknown one.
        session.limit_statements(deadline.reserving(deadline.left() / 10), deadline)?;
        Ok(self.session.insert(session))
    }

    fn try_read(&mut self, deadline: Deadline) -> Result<Reading, SqlError> {
        let sql = statements::read(&self.lock.table);
        let reading = self.ask(&sql, deadline)?;
        match &reading {
            Reading::Row(row) if row.lease_from_now().is_some() => {
                // Where it cannot be put right now, what was read still holds.
                let again = self.ask(&statements::lease_from_now(&self.lock.table), deadline);
                Ok(match again {
                    Ok(Reading::Row(row)) => Reading::Row(row),
                    _ => reading,
                })
            }
            _ => Ok(reading),
        }
    }

    /// Sends a statement that answers with the row.
    fn ask(&mut self, sql: &str, deadline: Deadline) -> Result<Reading, SqlError> {
        let name = self.lock.name.clone();
        let rows = self
            .session(deadline)?
            .query_typed(sql, &[(&name, Type::TEXT)], deadline)?;
        Ok(match rows.first() {
            None => Reading::Missing,
            Some(row) => self.reading(row),
        })
    }

    /// What the row is to this node ([`RawRow::believed`]).
    fn reading(&self, row: &tokio_postgres::Row) -> Reading {
        let mine = self.system.as_deref();
        let raw = match statements::columns(row) {
            Ok(raw) => raw,
            Err(error) => {
                let text = format!("the lock service's row is damaged: {error}");
                return Reading::Damaged(Damage::from(text));
            }
        };
        match raw.believed(mine) {
            Ok(register) => Reading::Row(register),
            Err(NotBelieved::ReadOnly) => Reading::Unknown(Trouble::Answered(format!(
                "database server at {}: it is read-only{READ_ONLY}",
                self.info
            ))),
            Err(NotBelieved::Foreign(theirs)) => Reading::Damaged(Damage::Foreign(format!(
                "the row {} belongs to another database (system identifier {theirs}, here {})",
                self.lock,
                mine.unwrap_or("unknown"),
            ))),
            Err(NotBelieved::Senseless(error)) => Reading::Damaged(Damage::from(error.to_string())),
        }
    }

    /// Sends the change: the row as changed, or none when no row met the condition.
    fn send(&mut self, update: &Update, deadline: Deadline) -> Result<Option<Reply>, SqlError> {
        // Some of the time is kept for looking what came of it.
        let step = deadline.reserving(deadline.left() / 3);
        let statement = statements::update(&self.lock, update, self.system.as_deref());
        let rows = self
            .session(step)?
            .query_typed(&statement.sql, &statement.params(), step)?;
        Ok(rows.first().map(|row| match self.reading(row) {
            Reading::Row(register) => Reply::Applied(register),
            Reading::Missing => Reply::Missing,
            Reading::Damaged(damage) => Reply::Damaged(damage),
            Reading::Unknown(trouble) => Reply::Unknown(trouble),
        }))
    }

    fn trouble(&self, error: &SqlError) -> Trouble {
        trouble(error, &self.lock)
    }
}

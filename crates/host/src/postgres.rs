//! The local PostgreSQL as it answers over SQL.
//!
//! Connections are made as the owner of the server (`pgdba`), because that is who `peer` in
//! `pg_hba.conf` expects on a socket; the role is `monitor_user` where one is configured. Every
//! call has a deadline, and what a failed call means is judged once, in [`pha_core::decide::unanswered`].
//!
//! The agent's own questions go to the database `postgres`, which PostgreSQL has for such programs,
//! and to the configured one only where the role is not let into that: a database that users own, or
//! copy others from, is none to sit in.

use std::time::Duration;

use pha_core::parse::server_view::Unexpected;
use pha_core::postgres::{PmStatus, ServerView};
use pha_core::quoted::printable;
use pha_core::snapshot::Answer;
use pha_core::sync_in_force::{FILE_ERRORS, MAY_SEE_FILE_ERRORS};

use crate::clock::Deadline;
use crate::conninfo::Conninfo;
use crate::sql::{Purpose, Session, SqlError, SqlErrorKind, TextRows};
use crate::user::User;

mod error;
mod follow;
mod in_force;
pub mod prepare;
mod role;
pub(crate) mod view;

pub use error::PostgresError;
pub use role::replication_role;

/// The database that PostgreSQL has for programs that need none of their own (manual, "Creating a
/// Database").
const HOME: &str = "postgres";

/// The databases that `CREATE DATABASE` copies, which it cannot while somebody is connected.
const TEMPLATES: [&str; 2] = ["template1", "template0"];

/// How to reach the local server.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// Where, with which role, and with which password.
    pub info: Conninfo,
    /// The account that opens the connection.
    pub user: User,
}

/// The values of an answer of one column, fit for a screen: the name of a file that another one includes may have
/// anything in it.
#[must_use]
pub fn printable_lines(rows: TextRows) -> Vec<String> {
    /// The most characters of a line.
    const LONGEST: usize = 300;
    let lines = rows.into_iter().flatten().flatten();
    lines.map(|line| printable(&line, LONGEST)).collect()
}

impl Postgres {
    /// Opens a connection for questions and changes of our own.
    ///
    /// # Errors
    /// [`PostgresError`].
    pub fn connect(&self, deadline: Deadline) -> Result<Session, PostgresError> {
        self.connect_for(Purpose::Agent, deadline)
    }

    /// Opens a connection to the database `postgres`, or to the configured one where the role is not
    /// let into that or it is not there.
    ///
    /// # Errors
    /// [`PostgresError`].
    pub fn connect_for(
        &self,
        purpose: Purpose,
        deadline: Deadline,
    ) -> Result<Session, PostgresError> {
        let home = self.info.clone().with_dbname(HOME);
        match self.session(&home, purpose, deadline) {
            Err(PostgresError::Sql(error)) if elsewhere(&error) && self.info.database() != HOME => {
                self.session(&self.info, purpose, deadline)
            }
            other => other,
        }
    }

    /// The errors because of which the server takes up no change of its settings ([`FILE_ERRORS`]), a line each.
    /// They are asked for as the account that it runs as: a role for monitoring may not see them.
    ///
    /// # Errors
    /// The account is not let in as itself, or the server does not answer.
    pub fn file_errors(
        &self,
        purpose: Purpose,
        deadline: Deadline,
    ) -> Result<Vec<String>, PostgresError> {
        let own = Self {
            info: Conninfo {
                password: None,
                ..self.info.clone()
            }
            .with_user(self.user.name()),
            user: self.user.clone(),
        };
        let mut session = own.connect_for(purpose, deadline)?;
        let rows = session.simple(FILE_ERRORS, deadline)?;
        Ok(printable_lines(rows))
    }

    /// The same, asked with the role of every other question: nothing where that may not see them. A role for
    /// monitoring may be let.
    ///
    /// # Errors
    /// [`PostgresError`].
    pub fn own_file_errors(&self, deadline: Deadline) -> Result<Vec<String>, PostgresError> {
        let mut session = self.connect(deadline)?;
        let may = session.simple(MAY_SEE_FILE_ERRORS, deadline)?;
        if may.into_iter().flatten().flatten().next().as_deref() != Some("t") {
            return Ok(Vec::new());
        }
        Ok(printable_lines(session.simple(FILE_ERRORS, deadline)?))
    }

    /// The database that [`Self::connect`] gets into, for a program that is told one.
    ///
    /// # Errors
    /// [`PostgresError`].
    pub fn home(&self, deadline: Deadline) -> Result<String, PostgresError> {
        let mut session = self.connect(deadline)?;
        let rows = session.simple("select pg_catalog.current_database()", deadline)?;
        let name = rows.into_iter().flatten().flatten().next();
        let unexpected = || Unexpected {
            column: "current_database()",
            text: String::new(),
        };
        Ok(name.ok_or_else(unexpected)?)
    }

    fn session(
        &self,
        info: &Conninfo,
        purpose: Purpose,
        deadline: Deadline,
    ) -> Result<Session, PostgresError> {
        if !self.user.is_current() && !rustix::process::geteuid().is_root() {
            return Err(PostgresError::Account {
                user: self.user.name().to_owned(),
                reason: std::io::ErrorKind::PermissionDenied.into(),
            });
        }
        let files = self.user.files().within(deadline);
        Ok(Session::connect_as(files, info, purpose, deadline)?)
    }

    /// Asks the server for its view, in one connection and one round trip.
    #[must_use]
    pub fn ask(&self, status: Option<PmStatus>, deadline: Deadline) -> Answer {
        match self.view(deadline) {
            Ok(view) => view.role.into(),
            Err(error) => error.as_answer(status),
        }
    }

    /// The server's view, or why there is none.
    ///
    /// # Errors
    /// [`PostgresError`].
    pub fn view(&self, deadline: Deadline) -> Result<ServerView, PostgresError> {
        view::read(&mut self.connect(deadline)?, deadline)
    }

    /// Runs the administrator's own statement (`monitor_sql`), as it is, in the configured database.
    /// Its search path is empty too: who owns that database is not who this role is. One that others
    /// are copied from has nothing to look at.
    ///
    /// # Errors
    /// [`PostgresError`].
    pub fn run_monitor_sql(&self, sql: &str, deadline: Deadline) -> Result<(), PostgresError> {
        let mut session = if TEMPLATES.contains(&self.info.database().as_str()) {
            self.connect_for(Purpose::AsSet, deadline)?
        } else {
            self.session(&self.info, Purpose::AsSet, deadline)?
        };
        session.simple(sql, deadline)?;
        Ok(())
    }

    /// Creates a physical replication slot that keeps WAL from now on; `false` when it was there.
    ///
    /// The name is a parameter, never part of the statement.
    pub fn ensure_physical_slot(
        &self,
        name: &str,
        deadline: Deadline,
    ) -> Result<bool, PostgresError> {
        let sql = "select pg_catalog.pg_create_physical_replication_slot($1, true) \
                   where not exists (select from pg_catalog.pg_replication_slots where slot_name = $1)";
        let rows = self.connect(deadline)?.query(sql, &[&name], deadline);
        match rows {
            Ok(rows) => Ok(!rows.is_empty()),
            // duplicate_object: somebody else was faster.
            Err(error) if error.sqlstate() == Some("42710") => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Drops a replication slot that nobody uses; `false` when there is none of that name or it is in use.
    pub fn ensure_no_slot(&self, name: &str, deadline: Deadline) -> Result<bool, PostgresError> {
        let sql = "select pg_catalog.pg_drop_replication_slot(slot_name) \
                   from pg_catalog.pg_replication_slots where slot_name = $1 and not active";
        let rows = self.connect(deadline)?.query(sql, &[&name], deadline);
        match rows {
            Ok(rows) => Ok(!rows.is_empty()),
            // undefined_object, object_in_use: it changed in between.
            Err(error) if matches!(error.sqlstate(), Some("42704" | "55006")) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether another database may let the role in: this one is not there, accepts nobody, or does not
/// let this role in (`pg_hba.conf` and passfiles may name databases).
fn elsewhere(error: &SqlError) -> bool {
    match error.kind() {
        // insufficient_privilege, invalid_catalog_name, object_not_in_prerequisite_state
        SqlErrorKind::Server { sqlstate, .. } => {
            matches!(sqlstate.as_str(), "42501" | "3D000" | "55000") || sqlstate.starts_with("28")
        }
        SqlErrorKind::Authentication => true,
        _ => false,
    }
}

/// Lets a moment pass before the next look at something that announces itself to nobody.
fn pause(deadline: Deadline) {
    std::thread::sleep(Duration::from_millis(5).min(deadline.left()));
}

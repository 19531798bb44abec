//! SQL over one connection, every call bounded by a deadline.
//!
//! `tokio-postgres` on a runtime of this thread's own: nothing runs while no call is made, and a
//! connection that misses its deadline is dropped with its runtime, so that no thread lingers.
//! Values travel as parameters; names that come from a configuration are checked by [`Identifier`].

mod authorities;
mod connect;
mod error;
mod ident;
mod own;
mod tls;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, SimpleQueryMessage};

use crate::clock::Deadline;

pub use error::{SqlError, SqlErrorKind};
pub use ident::{Identifier, IdentifierError};
pub use own::{Purpose, options};
pub use pha_core::parse::server_view::TextRows;

/// A connection to one PostgreSQL server.
pub struct Session {
    live: Option<Live>,
    target: String,
    server_version: Option<String>,
}

/// What a connection consists of while it is usable.
struct Live {
    client: Client,
    /// Moves bytes between the socket and the client whenever the runtime is driven.
    mover: JoinHandle<Result<(), tokio_postgres::Error>>,
    runtime: Option<Runtime>,
    /// Counts what the server sends.
    watch: Arc<watch::Watch>,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.mover.abort();
        // Waiting for a name lookup that hangs in the C library would outlive the deadline.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Session {
    /// Makes the session one that stays, with a limit for each of its statements; and whether it is in
    /// a database that others are copied from. One that stays there keeps everybody from `CREATE
    /// DATABASE`.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub fn stay(&mut self, limit: Duration, deadline: Deadline) -> Result<bool, SqlError> {
        let mut sql = format!("set statement_timeout = {};", limit.as_millis());
        for name in self.ages() {
            sql += &format!("set {name} = 0;");
        }
        sql += "select d.datistemplate from pg_catalog.pg_database d \
                where d.datname = pg_catalog.current_database()";
        let rows = self.simple(&sql, deadline)?;
        let answer = rows.into_iter().flatten().flatten().next();
        Ok(answer.as_deref() == Some("t"))
    }

    /// Runs one statement with parameters; the types of the parameters are the server's guess.
    ///
    /// # Errors
    /// [`SqlError`]; see [`SqlError::surely_without_effect`] for what it means to a change.
    pub fn query(
        &mut self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
        deadline: Deadline,
    ) -> Result<Vec<Row>, SqlError> {
        self.drive(deadline, async |client| client.query(sql, params).await)
    }

    /// Runs one statement with typed parameters, in a single round trip.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub fn query_typed(
        &mut self,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
        deadline: Deadline,
    ) -> Result<Vec<Row>, SqlError> {
        self.drive(deadline, async |client| {
            client.query_typed(sql, params).await
        })
    }

    /// Runs one statement with parameters and returns how many rows it changed.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub fn execute(
        &mut self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
        deadline: Deadline,
    ) -> Result<u64, SqlError> {
        self.drive(deadline, async |client| client.execute(sql, params).await)
    }

    /// Runs statements without parameters (the simple protocol), which may be several, and returns
    /// the rows of all of them as text. Never put data into the text.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub fn simple(&mut self, sql: &str, deadline: Deadline) -> Result<TextRows, SqlError> {
        let messages = self.drive(deadline, async |client| client.simple_query(sql).await)?;
        Ok(messages
            .into_iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(
                    (0..row.len())
                        .map(|index| row.get(index).map(str::to_owned))
                        .collect(),
                ),
                _ => None,
            })
            .collect())
    }

    /// Tells the server to give up a statement, or the wait for a lock, at `limit`: a client that
    /// goes away does not stop a statement that waits for a row lock.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub fn limit_statements(
        &mut self,
        limit: Deadline,
        deadline: Deadline,
    ) -> Result<(), SqlError> {
        let millis = limit.left().as_millis().max(1);
        let text = i32::try_from(millis).unwrap_or(i32::MAX).to_string();
        let mut sql = "select pg_catalog.set_config('statement_timeout', $1, false), \
                       pg_catalog.set_config('lock_timeout', $1, false)"
            .to_owned();
        for name in self.ages() {
            sql += &format!(", pg_catalog.set_config('{name}', '0', false)");
        }
        self.query_typed(&sql, &[(&text, Type::TEXT)], deadline)
            .map(drop)
            .map_err(SqlError::before_the_statement)
    }

    /// The server's version as it announces it, `15.4 (Debian 15.4-1)`.
    #[must_use]
    pub fn server_version(&self) -> Option<&str> {
        self.server_version.as_deref()
    }

    /// The settings by which this version of the server ends a session that is idle or old. A start-up
    /// option that a server does not know would keep the session out.
    fn ages(&self) -> impl Iterator<Item = &'static str> + use<> {
        let version = self.server_version.as_deref().unwrap_or_default();
        let digits = version.split(|c: char| !c.is_ascii_digit()).next();
        let major: u32 = digits.and_then(|digits| digits.parse().ok()).unwrap_or(0);
        let known = [
            (10, "idle_in_transaction_session_timeout"),
            (14, "idle_session_timeout"),
            (17, "transaction_timeout"),
        ];
        known
            .into_iter()
            .filter(move |(since, _)| major >= *since)
            .map(|(_, name)| name)
    }

    /// Whether the connection can still be used.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.live
            .as_ref()
            .is_some_and(|live| !live.client.is_closed() && !live.mover.is_finished())
    }

    /// Lets one request run until the deadline. A connection on which one was given up is in an
    /// unknown state and is dropped.
    fn drive<T>(
        &mut self,
        deadline: Deadline,
        request: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, SqlError> {
        let Some(live) = self.live.as_ref() else {
            return Err(SqlError::gone(&self.target));
        };
        let Some(runtime) = live.runtime.as_ref() else {
            return Err(SqlError::gone(&self.target));
        };
        live.watch.begin();
        let outcome = runtime
            .block_on(async { tokio::time::timeout(deadline.left(), request(&live.client)).await });
        let error = match outcome {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => SqlError::of(&error, &self.target, true),
            Err(_) => SqlError::timed_out(&self.target, true),
        };
        let error = error.or_stopped(live.watch.stopped());
        if !error.connection_survives() {
            let reason = self.live.take().and_then(Live::last_words);
            return Err(error.because(reason.as_ref()));
        }
        Err(error)
    }
}

impl Live {
    /// Why the connection ended, as far as the server said so.
    fn last_words(mut self) -> Option<tokio_postgres::Error> {
        let runtime = self.runtime.as_ref()?;
        if !self.mover.is_finished() {
            return None;
        }
        runtime.block_on(&mut self.mover).ok()?.err()
    }
}

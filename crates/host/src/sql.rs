//! SQL over one connection, every call bounded by a deadline.
//!
//! `tokio-postgres` on a runtime of this thread's own: nothing runs while no call is made, and a
//! connection that misses its deadline is dropped with its runtime, so that no thread lingers.
//! Values travel as parameters; names that come from a configuration are checked by [`Identifier`].

mod connect;
mod error;
mod ident;
mod tls;

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, SimpleQueryMessage};

use crate::clock::Deadline;
use crate::conninfo::Conninfo;

pub use error::{SqlError, SqlErrorKind};
pub use ident::{Identifier, IdentifierError};

/// The rows of a simple query, each a list of values as text.
pub type TextRows = Vec<Vec<Option<String>>>;

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
    /// Connects to the first server of `info` that will have it.
    ///
    /// # Errors
    /// [`SqlError`] of the last server tried; it says which one, and never a password.
    pub fn connect(info: &Conninfo, deadline: Deadline) -> Result<Self, SqlError> {
        connect::any(info, deadline)
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
    /// goes away does not stop a statement that waits for a row lock. Transactions are read
    /// committed from here on, whatever the server's or the role's default is: at a higher level a
    /// change that waited for another's fails (40001) instead of being judged by the new row.
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
        self.query_typed(
            "select pg_catalog.set_config('statement_timeout', $1, false), \
             pg_catalog.set_config('lock_timeout', $1, false), \
             pg_catalog.set_config('default_transaction_isolation', 'read committed', false)",
            &[(&text, Type::TEXT)],
            deadline,
        )
        .map(drop)
        .map_err(SqlError::before_the_statement)
    }

    /// The server's version as it announces it, `15.4 (Debian 15.4-1)`.
    #[must_use]
    pub fn server_version(&self) -> Option<&str> {
        self.server_version.as_deref()
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
        let outcome = runtime
            .block_on(async { tokio::time::timeout(deadline.left(), request(&live.client)).await });
        let error = match outcome {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => SqlError::of(&error, &self.target, true),
            Err(_) => SqlError::timed_out(&self.target, true),
        };
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

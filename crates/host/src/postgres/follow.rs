//! Whether standbys follow this primary now: WAL is written, and they acknowledge it.
//!
//! `reply_time` and `state` of `pg_stat_replication` do not say that. The time is the standby's own
//! clock, an idle standby reports every `wal_receiver_status_interval` only, and a link that was cut
//! looks as if it streamed until `wal_sender_timeout`. WAL that was flushed there after it was
//! written here does.

use std::collections::BTreeSet;

use pha_core::lsn::Lsn;
use pha_core::names::NodeName;
use tokio_postgres::types::Type;

use super::{Postgres, PostgresError, pause};
use crate::clock::Deadline;
use crate::sql::Session;

/// A transaction with a small message in it, which nobody reads. It is committed without waiting for
/// a standby: a session that waits for one that is gone could not be asked anything else.
const MESSAGE: &str = "set synchronous_commit = local; \
    select pg_catalog.pg_logical_emit_message(true, 'pha4pgsql', '')";

/// No more than it was sent: a standby that has diverged reports WAL of its own.
const FLUSHED: &str = "select application_name::text from pg_catalog.pg_stat_replication \
    where state = 'streaming' and flush_lsn between $1::text::pg_lsn and sent_lsn";

impl Postgres {
    /// Writes WAL, and where it ends: what is flushed so far lies before it, on every node.
    ///
    /// # Errors
    /// [`PostgresError`] when the server does not answer, or is a standby.
    pub fn write_barrier(&self, deadline: Deadline) -> Result<Lsn, PostgresError> {
        write_message(&mut self.connect(deadline)?, deadline)
    }

    /// Writes WAL and waits until every one of `standbys` has flushed it; those that have until the
    /// deadline.
    ///
    /// # Errors
    /// [`PostgresError`] when the server does not answer.
    pub fn acknowledged_by(
        &self,
        session: &mut Session,
        standbys: &BTreeSet<NodeName>,
        deadline: Deadline,
    ) -> Result<BTreeSet<NodeName>, PostgresError> {
        let written = write_message(session, deadline)?.to_string();
        loop {
            let rows = session.query_typed(FLUSHED, &[(&written, Type::TEXT)], deadline)?;
            let names: BTreeSet<String> = rows
                .iter()
                .filter_map(|row| row.try_get::<_, String>(0).ok())
                .collect();
            let have: BTreeSet<NodeName> = standbys
                .iter()
                .filter(|node| names.contains(node.as_str()))
                .cloned()
                .collect();
            if have.len() == standbys.len() || deadline.expired() {
                return Ok(have);
            }
            pause(deadline);
        }
    }
}

/// Where the message ends in the WAL; it is on the disk.
fn write_message(session: &mut Session, deadline: Deadline) -> Result<Lsn, PostgresError> {
    let rows = session.simple(MESSAGE, deadline)?;
    let text = rows.into_iter().flatten().flatten().next();
    let text = text.unwrap_or_default();
    text.parse().map_err(|_| PostgresError::Unexpected {
        column: "pg_logical_emit_message()",
        text,
    })
}

//! Whether standbys follow this primary now: WAL is written, and they acknowledge it.
//!
//! `reply_time` and `state` of `pg_stat_replication` do not say that. The time is the standby's own
//! clock, an idle standby reports every `wal_receiver_status_interval` only, and a link that was cut
//! looks as if it streamed until `wal_sender_timeout`. WAL that was flushed there after it was
//! written here does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pha_core::decide::acknowledged;
use pha_core::link_name::LinkName;
use pha_core::lsn::Lsn;
use pha_core::names::NodeName;
use pha_core::parse::server_view::Unexpected;
use pha_core::snapshot::LinkId;

use super::view::read_links;
use super::{Postgres, PostgresError, pause};
use crate::clock::Deadline;
use crate::pgctl::PgCtl;
use crate::sql::Session;

/// A transaction with a small message in it, which nobody reads. The agent's sessions commit without
/// waiting for a standby ([`crate::sql::Purpose::Agent`]): one that waits for one that is gone could
/// not be asked anything else.
const MESSAGE: &str = "select pg_catalog.pg_logical_emit_message(true, 'pha4pgsql', '')";

/// How long links that were told to end may take.
const END: Duration = Duration::from_secs(2);

impl Postgres {
    /// Writes WAL, and where it ends: what is flushed so far lies before it, on every node.
    ///
    /// # Errors
    /// [`PostgresError`] when the server does not answer, or is a standby.
    pub fn write_barrier(&self, deadline: Deadline) -> Result<Lsn, PostgresError> {
        write_message(&mut self.connect(deadline)?, deadline)
    }

    /// Writes WAL and waits until every one of `standbys` has acknowledged it ([`acknowledged`]); those
    /// that have until the deadline.
    ///
    /// # Errors
    /// [`PostgresError`] when the server does not answer.
    pub fn acknowledged_by(
        &self,
        session: &mut Session,
        standbys: &BTreeMap<NodeName, LinkName>,
        deadline: Deadline,
    ) -> Result<BTreeSet<NodeName>, PostgresError> {
        let written = write_message(session, deadline)?;
        loop {
            let seen = read_links(session, deadline)?;
            let have = acknowledged(&seen, written, standbys);
            if have.len() == standbys.len() || deadline.expired() {
                return Ok(have);
            }
            pause(deadline);
        }
    }
}

impl Postgres {
    /// Ends these replication links and waits until they are gone. The same signal as
    /// `pg_terminate_backend` sends, for which the role that asks may have no right.
    ///
    /// # Errors
    /// [`PostgresError`] when the server does not answer, or one is still there at the deadline.
    pub fn end_links(
        &self,
        ctl: &PgCtl,
        links: &[LinkId],
        deadline: Deadline,
    ) -> Result<(), PostgresError> {
        let deadline = deadline.sub_budget(END.min(deadline.left() / 3));
        let mut session = self.connect(deadline)?;
        loop {
            let seen = read_links(&mut session, deadline)?;
            let left = seen.rows.iter().filter(|row| links.contains(&row.id));
            let left: Vec<i32> = left.map(|row| row.id.pid).collect();
            if left.is_empty() {
                return Ok(());
            }
            if deadline.expired() {
                return Err(PostgresError::Deadline {
                    what: "the end of replication links",
                    seen: format!("processes {left:?}"),
                });
            }
            for pid in left {
                ctl.end_backend(pid)?;
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
    let end = text.parse().map_err(|_| Unexpected {
        column: "pg_logical_emit_message()",
        text,
    });
    Ok(end?)
}

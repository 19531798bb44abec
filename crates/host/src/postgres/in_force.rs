//! Waiting until a changed `synchronous_standby_names` is in force (rule R4), as [`Proof`] judges it.

use std::collections::BTreeMap;
use std::time::Duration;

use pha_core::sync_in_force::{Look, ProcessSeen, Proof, QUESTION};

use super::{Postgres, PostgresError, pause};
use crate::clock::Deadline;
use crate::pgctl::PgCtl;
use crate::process::voluntary_switches;
use crate::sql::{Purpose, Session};

/// How long a server may take to read its configuration before what its files say is asked.
const TAKEN_UP: Duration = Duration::from_secs(1);

impl Postgres {
    /// Tells the server to read its configuration and waits until `synchronous_standby_names` has
    /// this value in every process that acts on it. WAL that is written after this is a barrier: no
    /// commit after it is acknowledged by the old setting.
    pub fn await_sync_names_in_force(
        &self,
        ctl: &PgCtl,
        expected: &str,
        deadline: Deadline,
    ) -> Result<(), PostgresError> {
        reload(ctl)?;
        let mut session = self.await_value(expected, deadline)?;
        let mut proof = Proof::default();
        loop {
            let seen = match look(&mut session, &proof, deadline) {
                // The time was over in the middle of a look: what was being waited for says more.
                Err(PostgresError::Sql(error))
                    if error.is_timeout() && proof.pids().next().is_some() =>
                {
                    return Err(not_in_force(&proof));
                }
                other => other?,
            };
            let moved = match proof.look(&seen) {
                Look::InForce => return Ok(()),
                Look::Hidden => {
                    return Err(PostgresError::Hidden {
                        what: "the checkpointer in pg_stat_activity",
                        role: self.info.user_name(),
                    });
                }
                Look::Moved => true,
                Look::Same => false,
            };
            if deadline.expired() {
                return Err(not_in_force(&proof));
            }
            // Each new sleep seen gets a reload, so that the process has a reason to leave it.
            if moved {
                reload(ctl)?;
            }
            pause(deadline);
        }
    }

    /// Tells the server to read its configuration and waits until new connections have this value of
    /// `synchronous_standby_names`. A file with an error in it keeps the server from taking up any change,
    /// also one of another file (PostgreSQL manual, "Parameter Interaction via the Configuration File").
    ///
    /// # Errors
    /// The server could not be told; or it has answered, and has another value when the time is over, with
    /// the errors of its files. A server that does not answer in time is none: it was told.
    pub fn take_up_sync_names(
        &self,
        ctl: &PgCtl,
        expected: &str,
        deadline: Deadline,
    ) -> Result<(), PostgresError> {
        reload(ctl)?;
        let until = deadline.sub_budget(TAKEN_UP.min(deadline.left() / 2));
        let seen = loop {
            match self.value_of_names(deadline) {
                Ok((_, seen)) if seen != expected && until.expired() => break seen,
                Ok((_, seen)) if seen != expected => pause(until),
                Ok(_) | Err(_) => return Ok(()),
            }
        };
        match self.file_errors(Purpose::Agent, deadline) {
            Ok(errors) if !errors.is_empty() => Err(PostgresError::Unread(errors.join("; "))),
            Ok(_) | Err(_) => Err(not_shown(&seen)),
        }
    }

    /// The same for a standby. That it has taken up its settings is seen by the names only where it is opened, which
    /// empties them: otherwise it is asked for the errors of its files.
    ///
    /// # Errors
    /// As of [`Self::take_up_sync_names`].
    pub fn take_up_standby(
        &self,
        ctl: &PgCtl,
        expected: &str,
        deadline: Deadline,
    ) -> Result<(), PostgresError> {
        self.take_up_sync_names(ctl, expected, deadline)?;
        if expected.is_empty() {
            return Ok(());
        }
        match self.own_file_errors(deadline) {
            Ok(errors) if !errors.is_empty() => Err(PostgresError::Unread(errors.join("; "))),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Connects again and again until a new connection shows the value.
    fn await_value(&self, expected: &str, deadline: Deadline) -> Result<Session, PostgresError> {
        loop {
            let (session, value) = self.value_of_names(deadline)?;
            if value == expected {
                return Ok(session);
            }
            if deadline.expired() {
                return Err(not_shown(&value));
            }
            pause(deadline);
        }
    }

    /// A new connection, and the value that it shows.
    fn value_of_names(&self, deadline: Deadline) -> Result<(Session, String), PostgresError> {
        let mut session = self.connect(deadline)?;
        let rows = session.simple("show synchronous_standby_names", deadline)?;
        let value = rows.into_iter().flatten().flatten().next();
        Ok((session, value.unwrap_or_default()))
    }
}

fn not_shown(value: &str) -> PostgresError {
    PostgresError::Deadline {
        what: "the new synchronous_standby_names in a new connection",
        seen: format!("{value:?}"),
    }
}

/// Looks once at the checkpointer and the WAL senders.
fn look(
    session: &mut Session,
    proof: &Proof,
    deadline: Deadline,
) -> Result<Vec<ProcessSeen>, PostgresError> {
    let counts: BTreeMap<i32, u64> = proof
        .pids()
        .filter_map(|pid| Some((pid, voluntary_switches(pid)?)))
        .collect();
    let rows = session.simple(QUESTION, deadline)?;
    let seen = rows.into_iter().filter_map(|row| {
        let [Some(pid), Some(kind), wait_event] = row.as_slice() else {
            return None;
        };
        let pid = pid.parse().ok()?;
        Some(ProcessSeen {
            pid,
            checkpointer: kind == "checkpointer",
            wait_event: wait_event.clone(),
            before: counts.get(&pid).copied(),
            after: voluntary_switches(pid),
        })
    });
    Ok(seen.collect())
}

fn not_in_force(proof: &Proof) -> PostgresError {
    let pids: Vec<String> = proof.waiting().iter().map(i32::to_string).collect();
    PostgresError::Deadline {
        what: "a changed synchronous_standby_names in force",
        seen: format!(
            "the server's processes {} have not been through their main loops",
            pids.join(", ")
        ),
    }
}

fn reload(ctl: &PgCtl) -> Result<(), PostgresError> {
    if ctl.reload()? {
        Ok(())
    } else {
        Err(PostgresError::NotRunning)
    }
}

//! Knowing that a changed `synchronous_standby_names` is in force (rule R4).
//!
//! A reload is asynchronous, in three places that matter:
//!
//! - The **postmaster** reads the files and signals its children, in that order, in one handler.
//!   A connection that shows the new value was forked after that: every child has been signalled.
//! - Whether a commit waits for anybody at all is a flag in shared memory
//!   (`WalSndCtl->sync_standbys_defined`) that the **checkpointer** alone sets, when it comes to
//!   it (`UpdateSharedMemoryConfig`). While it fsyncs it does not come to it.
//! - For whom a commit waits is decided by the **WAL senders**: the one that hears of a flush
//!   releases the waiting commits by its own copy of the setting (`SyncRepReleaseWaiters`). One that
//!   still has the old copy would release by the old rule.
//!
//! None of them says when it has done so. But each looks for a pending reload at the top of its
//! main loop, and sleeps at the bottom. So a process that was seen in that sleep after it had been
//! signalled, and has left it since, has done so. It is seen in it by `wait_event`, and seen to
//! have slept again by the kernel's count of voluntary switches. What remains is a process that
//! was about to fall asleep when it was first seen: its count grows without it having left. So a
//! second growth is asked for. A reload is sent for each, to make it move.
//!
//! The checkpointer in the middle of a spread checkpoint naps in `CheckpointWriteDelay`. It looks
//! for a reload *before* each nap, and the nap of version 14 and newer forgets a wake-up that came
//! during it: the checkpoint may then end in the sleep of the main loop with the reload still
//! pending. So nap to nap is proof, nap to main loop is not, and from there the proof begins anew.
//! Older versions show no wait event in the nap; there the end of the checkpoint is waited for.

use std::collections::BTreeMap;

use super::{Postgres, PostgresError, pause};
use crate::clock::Deadline;
use crate::pgctl::PgCtl;
use crate::process::voluntary_switches;
use crate::sql::Session;

/// Sleeps seen before a process counts as having been through its main loop.
const ROUNDS: u8 = 2;

/// WAL senders that stream. One that sends a base backup, or waits for its first command, reads
/// the configuration before it begins to stream (`StartReplication`).
const QUERY: &str = "\
select a.pid, a.backend_type, a.wait_event
from pg_catalog.pg_stat_activity a
left join pg_catalog.pg_stat_replication r on r.pid = a.pid
where a.backend_type = 'checkpointer'
   or (a.backend_type = 'walsender' and r.state in ('catchup', 'streaming', 'stopping'))";

/// The sleep in which a process was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sleep {
    /// At the bottom of a loop that looks for a reload at its top.
    Loop,
    /// Between two writes of a checkpoint.
    Nap,
}

/// What is known of one process.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// The sleep in which it was seen, and its count of switches read after that.
    seen: Option<(Sleep, u64)>,
    rounds: u8,
}

impl Progress {
    /// Takes a look: `before` and `after` are the counts read before and after the wait event.
    fn look(&mut self, sleep: Option<Sleep>, before: u64, after: u64) {
        let Some(sleep) = sleep else { return };
        match self.seen {
            Some((_, count)) if before <= count => {}
            // Leaving a nap without a later one proves nothing.
            Some((Sleep::Nap, _)) if sleep == Sleep::Loop => {
                *self = Self {
                    seen: Some((sleep, after)),
                    rounds: 0,
                }
            }
            Some(_) => {
                *self = Self {
                    seen: Some((sleep, after)),
                    rounds: self.rounds + 1,
                }
            }
            None => self.seen = Some((sleep, after)),
        }
    }

    fn is_done(self) -> bool {
        self.rounds >= ROUNDS
    }
}

/// The sleeps that tell something. Names have changed their case between versions.
fn sleep_of(wait_event: Option<&str>) -> Option<Sleep> {
    match wait_event?.to_ascii_lowercase().as_str() {
        "checkpointermain" | "walsendermain" | "walsenderwaitforwal" => Some(Sleep::Loop),
        "checkpointwritedelay" => Some(Sleep::Nap),
        _ => None,
    }
}

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
        let mut known: BTreeMap<i32, Progress> = BTreeMap::new();
        loop {
            let moved = match self.look_at_all(&mut session, &mut known, deadline) {
                // The time was over in the middle of a look: what was being waited for says more.
                Err(PostgresError::Sql(error)) if error.is_timeout() && !known.is_empty() => {
                    return Err(not_in_force(&known));
                }
                other => other?,
            };
            if known.values().all(|progress| progress.is_done()) {
                return Ok(());
            }
            if deadline.expired() {
                return Err(not_in_force(&known));
            }
            // Each new sleep seen gets a reload, so that the process has a reason to leave it.
            if moved {
                reload(ctl)?;
            }
            pause(deadline);
        }
    }

    /// Connects again and again until a new connection shows the value.
    fn await_value(&self, expected: &str, deadline: Deadline) -> Result<Session, PostgresError> {
        loop {
            let mut session = self.connect(deadline)?;
            let rows = session.simple("show synchronous_standby_names", deadline)?;
            let value = rows
                .into_iter()
                .flatten()
                .flatten()
                .next()
                .unwrap_or_default();
            if value == expected {
                return Ok(session);
            }
            if deadline.expired() {
                return Err(PostgresError::Deadline {
                    what: "the new synchronous_standby_names in a new connection",
                    seen: format!("{value:?}"),
                });
            }
            pause(deadline);
        }
    }

    /// Looks once at the checkpointer and the WAL senders; true when any was newly seen asleep. A
    /// process that is gone needs no proof; one that came later began with the new setting.
    fn look_at_all(
        &self,
        session: &mut Session,
        known: &mut BTreeMap<i32, Progress>,
        deadline: Deadline,
    ) -> Result<bool, PostgresError> {
        let counts: BTreeMap<i32, u64> = known
            .keys()
            .filter_map(|pid| Some((*pid, voluntary_switches(*pid)?)))
            .collect();
        let rows = session.simple(QUERY, deadline)?;
        let mut present = BTreeMap::new();
        let (mut moved, mut checkpointer) = (false, false);
        for row in rows {
            let [Some(pid), Some(kind), wait_event] = row.as_slice() else {
                continue;
            };
            let Ok(pid) = pid.parse::<i32>() else {
                continue;
            };
            checkpointer |= kind == "checkpointer";
            let Some(after) = voluntary_switches(pid) else {
                continue;
            };
            let mut progress = known.get(&pid).copied().unwrap_or_default();
            let before = counts.get(&pid).copied().unwrap_or(after);
            let earlier = progress.seen;
            // One that is done is left alone, so that it asks for no further reloads.
            if !progress.is_done() {
                progress.look(sleep_of(wait_event.as_deref()), before, after);
                moved |= progress.seen != earlier;
            }
            present.insert(pid, progress);
        }
        if !checkpointer {
            return Err(PostgresError::Hidden {
                what: "the checkpointer in pg_stat_activity",
                role: self.info.user_name(),
            });
        }
        *known = present;
        Ok(moved)
    }
}

fn not_in_force(known: &BTreeMap<i32, Progress>) -> PostgresError {
    let waiting = known.iter().filter(|(_, progress)| !progress.is_done());
    let pids: Vec<String> = waiting.map(|(pid, _)| pid.to_string()).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn after(looks: &[(Option<Sleep>, u64)]) -> Progress {
        let mut progress = Progress::default();
        for (sleep, count) in looks {
            progress.look(*sleep, *count, *count);
        }
        progress
    }

    #[test]
    fn two_more_sleeps_of_the_main_loop_are_proof() {
        let main = Some(Sleep::Loop);
        assert!(!after(&[(main, 5), (main, 5), (main, 5)]).is_done());
        assert!(!after(&[(main, 5), (main, 6)]).is_done());
        assert!(after(&[(main, 5), (main, 6), (main, 7)]).is_done());
        assert!(!after(&[(main, 5), (None, 6), (None, 9)]).is_done());
    }

    #[test]
    fn naps_are_proof_among_themselves_but_not_for_the_main_loop() {
        let (main, nap) = (Some(Sleep::Loop), Some(Sleep::Nap));
        assert!(after(&[(nap, 5), (nap, 6), (nap, 7)]).is_done());
        assert!(after(&[(main, 5), (nap, 6), (nap, 7)]).is_done());
        assert!(!after(&[(nap, 5), (nap, 6), (main, 7)]).is_done());
        assert!(!after(&[(nap, 5), (main, 6), (main, 7)]).is_done());
        assert!(after(&[(nap, 5), (main, 6), (main, 7), (main, 8)]).is_done());
    }

    #[test]
    fn a_count_read_before_the_wait_event_is_what_grew() {
        let mut progress = Progress::default();
        progress.look(Some(Sleep::Loop), 5, 5);
        // It slept between the two readings: the wait event may be that of the old sleep.
        progress.look(Some(Sleep::Loop), 5, 6);
        assert_eq!(progress.rounds, 0);
        progress.look(Some(Sleep::Loop), 6, 6);
        assert_eq!(progress.rounds, 1);
    }
}

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

/// Sleeps seen before a process counts as having been through its main loop.
const ROUNDS: u8 = 2;

/// What is asked at each look: the checkpointer, and the WAL senders that stream. One that sends a base backup,
/// or waits for its first command, reads the configuration before it begins to stream (`StartReplication`).
pub const QUESTION: &str = "\
select a.pid, a.backend_type, a.wait_event
from pg_catalog.pg_stat_activity a
left join pg_catalog.pg_stat_replication r on r.pid = a.pid
where a.backend_type = 'checkpointer'
   or (a.backend_type = 'walsender' and r.state in ('catchup', 'streaming', 'stopping'))";

/// The errors because of which a server takes up no change of any of its files: a word that it does not know,
/// a line that it cannot read, a file that is not there. A value that is wrong, or waits for a restart, has
/// an error there too, and stops no other (`ProcessConfigFileInternal`). Values are not asked for: one could
/// be a secret. The view is a superuser's.
pub const FILE_ERRORS: &str = "\
select sourcefile || ' line ' || sourceline || ': ' || coalesce(name || ': ', '') || error
from pg_catalog.pg_file_settings
where error is not null and error <> 'setting could not be applied'
order by seqno limit 3";

/// Whether the role that asks may see [`FILE_ERRORS`]: the view and the function below it.
pub const MAY_SEE_FILE_ERRORS: &str = "\
select pg_catalog.has_table_privilege('pg_catalog.pg_file_settings', 'select')
   and pg_catalog.has_function_privilege('pg_catalog.pg_show_all_file_settings()', 'execute')";

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

/// A row of the answer to [`QUESTION`], between two looks at the kernel's count of how often the process has gone
/// to sleep by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSeen {
    /// Its number.
    pub pid: i32,
    /// `backend_type` is `checkpointer`.
    pub checkpointer: bool,
    /// `wait_event`.
    pub wait_event: Option<String>,
    /// The count before the question, where it was known by then.
    pub before: Option<u64>,
    /// The count after the answer; none where it was gone.
    pub after: Option<u64>,
}

/// What a look has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Look {
    /// Each process that acts on the setting has been through its main loop: it is in force.
    InForce,
    /// One was newly seen asleep, and needs another reload as a reason to leave that sleep.
    Moved,
    /// Nothing new.
    Same,
    /// The checkpointer, which every server has, is hidden from who asks.
    Hidden,
}

/// What is known of the processes that act on the setting.
#[derive(Debug, Clone, Default)]
pub struct Proof {
    known: BTreeMap<i32, Progress>,
}

impl Proof {
    /// The processes seen so far.
    pub fn pids(&self) -> impl Iterator<Item = i32> {
        self.known.keys().copied()
    }

    /// Those that are not through yet.
    #[must_use]
    pub fn waiting(&self) -> Vec<i32> {
        let waiting = self
            .known
            .iter()
            .filter(|(_, progress)| !progress.is_done());
        waiting.map(|(pid, _)| *pid).collect()
    }

    /// Takes a look. A process that is gone needs no proof; one that came later began with the new setting.
    pub fn look(&mut self, seen: &[ProcessSeen]) -> Look {
        if !seen.iter().any(|process| process.checkpointer) {
            return Look::Hidden;
        }
        let mut moved = false;
        let mut present = BTreeMap::new();
        for process in seen {
            let Some(after) = process.after else {
                continue;
            };
            let mut progress = self.known.get(&process.pid).copied().unwrap_or_default();
            let earlier = progress.seen;
            // One that is done is left alone, so that it asks for no further reloads.
            if !progress.is_done() {
                let before = process.before.unwrap_or(after);
                progress.look(sleep_of(process.wait_event.as_deref()), before, after);
                moved |= progress.seen != earlier;
            }
            present.insert(process.pid, progress);
        }
        self.known = present;
        match (self.waiting().is_empty(), moved) {
            (true, _) => Look::InForce,
            (false, true) => Look::Moved,
            (false, false) => Look::Same,
        }
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

    fn seen(pid: i32, checkpointer: bool, count: Option<u64>) -> ProcessSeen {
        let wait_event = match checkpointer {
            true => "CheckpointerMain",
            false => "WalSenderMain",
        };
        ProcessSeen {
            pid,
            checkpointer,
            wait_event: Some(wait_event.to_owned()),
            before: count,
            after: count,
        }
    }

    #[test]
    fn the_setting_is_in_force_when_every_process_that_is_there_is_through() {
        let mut proof = Proof::default();
        let both = |count| [seen(1, true, Some(count)), seen(2, false, Some(count))];
        assert_eq!(proof.look(&both(5)), Look::Moved);
        assert_eq!(proof.look(&both(5)), Look::Same);
        assert_eq!(proof.look(&both(6)), Look::Moved);
        assert_eq!(proof.waiting(), [1, 2]);
        // A WAL sender that is gone releases nobody any more.
        let alone = [seen(1, true, Some(7)), seen(2, false, None)];
        assert_eq!(proof.look(&alone), Look::InForce);
    }

    #[test]
    fn who_does_not_see_the_checkpointer_has_proven_nothing() {
        let mut proof = Proof::default();
        assert_eq!(proof.look(&[seen(2, false, Some(5))]), Look::Hidden);
        // It is there, and has ended before its count was read: there is another one.
        assert_eq!(proof.look(&[seen(1, true, None)]), Look::InForce);
    }
}

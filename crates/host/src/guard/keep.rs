//! What the agent does about the guard: look for it, start it, end it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use pha_core::decide::at_work;
use pha_core::snapshot::{Guard, GuardProgram, GuardSeen, Operation};
use rustix::process::Signal;
use tracing::warn;

use super::place::parameters;
use crate::clock::{Deadline, since_boot};
use crate::command::Command;
use crate::node::Node;
use crate::process::Process;

/// How long a new guard may take until it holds its lock.
const START: Duration = Duration::from_secs(3);

/// How long a guard that was told to end may take before it is killed.
const END: Duration = Duration::from_secs(1);

/// The signal that ends a guard. SIGTERM does not: Pacemaker sends it to what an agent that took too
/// long has left behind, and systemd to what is left of a service.
pub(crate) const END_SIGNAL: Signal = Signal::USR1;

/// The word on the command line that makes the agent's program the guard.
pub const WORD: &str = "guard";

/// The word for the process that speaks for a standby after its start
/// ([`pha_core::snapshot::Operation::Attend`]).
pub const ATTEND: &str = "attend";

impl Node {
    /// The guard as it is now. A probe touches nothing and is not asked about it.
    pub(crate) fn guard_seen(&self, operation: &Operation) -> Guard {
        if matches!(operation, Operation::Monitor { probe: true }) {
            return Guard::Unknown;
        }
        at_work(match self.place.occupant() {
            Ok(None) => GuardSeen::None,
            Err(why) => GuardSeen::Unknown(why),
            Ok(Some(note)) => GuardSeen::There {
                silent: since_boot().saturating_sub(note.beat),
                same_parameters: note.parameters == parameters(),
                program: program_of(note.pid),
            },
        })
    }

    /// Starts the process that speaks for this standby, unless one does already. Nothing waits for it.
    pub(crate) fn start_attendant(&self) -> Result<(), String> {
        match self.place.attend().map_err(|error| error.to_string())? {
            // Released before the child looks for it.
            Some(free) => drop(free),
            None => return Ok(()),
        }
        let log = self.place.log().map_err(|error| error.to_string())?;
        let child = self_again(ATTEND)
            .detach(log)
            .map_err(|error| error.to_string())?;
        drop(child);
        Ok(())
    }

    /// Starts the guard, after the end of one that is there, and sees that it is at work.
    pub(crate) fn start_guard(&self, deadline: Deadline) -> Result<(), String> {
        self.end_guard(deadline)?;
        let deadline = deadline.sub_budget(START);
        let log = self.place.log().map_err(|error| error.to_string())?;
        let mut child = self_again(WORD)
            .detach(log)
            .map_err(|error| error.to_string())?;
        loop {
            if matches!(self.place.occupant(), Ok(Some(_))) {
                return Ok(());
            }
            let ended = child.try_wait().map_err(|error| error.to_string())?;
            if ended.is_some() || deadline.expired() {
                return Err(format!(
                    "the guard did not come up; it said: {}",
                    self.place.last_words()
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Tells the guard to end and waits until it has; one that does not hear is killed.
    pub(crate) fn end_guard(&self, deadline: Deadline) -> Result<(), String> {
        // One that has only just started has not said who it is yet.
        let named = deadline.sub_budget(END);
        let note = loop {
            match self.place.occupant() {
                Ok(None) => return Ok(()),
                Ok(Some(note)) => break note,
                Err(why) if named.expired() => return Err(format!("the guard: {why}")),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let process = self.place.told(&note);
        let Some(process) = process.map_err(|why| format!("the guard: {why}"))? else {
            return Ok(());
        };
        for signal in [END_SIGNAL, Signal::KILL] {
            // What it waits for runs at its priority, and nobody else would end it.
            let started = process.children().unwrap_or_else(|error| {
                warn!(
                    "what the guard has started is not known, and is left to its own end: {error}"
                );
                Vec::new()
            });
            process.signal(signal).map_err(|error| error.to_string())?;
            if process.wait_gone(deadline.sub_budget(END)) {
                for program in started {
                    let _ = program.signal(Signal::KILL);
                }
                return Ok(());
            }
            warn!("the guard (process {}) does not end", note.pid);
        }
        Err(format!("the guard (process {}) survives SIGKILL", note.pid))
    }
}

/// This program with another word. A file that was replaced under this process has a path that leads
/// nowhere; the kernel's own link still leads to it.
fn self_again(word: &str) -> Command {
    let own = std::env::current_exe().unwrap_or_default();
    let program = if own.exists() {
        own.as_path()
    } else {
        Path::new("/proc/self/exe")
    };
    Command::new(program).arg(word)
}

/// Which files a process and this one run, by device and inode.
fn program_of(pid: i32) -> GuardProgram {
    let file = |path: &str| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.dev(), meta.ino()))
    };
    let (own, its) = (file("/proc/self/exe"), file(&format!("/proc/{pid}/exe")));
    GuardProgram {
        own,
        its,
        // After its file was looked at: what has ended has none.
        ended: matches!(Process::look(pid), Ok(None)),
    }
}

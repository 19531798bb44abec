//! The end of a server.

use super::{PgCtl, PgError, StopMode, Stopped};
use crate::clock::Deadline;
use crate::process::{self, Family, ProcessError, Signal};

impl PgCtl {
    /// Tells the server to stop (PostgreSQL manual, "Shutting Down the Server") and waits for the
    /// end of all its processes, those that have lost their postmaster included.
    ///
    /// # Errors
    /// The processes cannot be looked at or signalled; or all that were seen have ended, and one may be of the server
    /// that cannot be looked at.
    pub fn stop(&self, mode: StopMode, deadline: Deadline) -> Result<Stopped, PgError> {
        let signal = match mode {
            StopMode::Fast => Signal::INT,
            StopMode::Immediate => Signal::QUIT,
            StopMode::Kill => return self.kill_everything(deadline),
        };
        Ok(stop_seen(|| self.family(), signal, deadline)?)
    }

    /// Kills every process of the server; what is left of them at the deadline is returned.
    ///
    /// # Errors
    /// As those of [`Self::stop`].
    pub fn kill_everything(&self, deadline: Deadline) -> Result<Stopped, PgError> {
        if self.family()?.left()?.is_empty() {
            return Ok(Stopped::WasNotRunning);
        }
        let left = process::kill_everything(&self.pgdata, &self.user, deadline)?;
        Ok(if left.is_empty() {
            Stopped::Ended
        } else {
            Stopped::StillRunning(left)
        })
    }

    fn family(&self) -> Result<Family, ProcessError> {
        process::family(&self.pgdata, &self.user)
    }
}

fn stop_seen(
    look: impl Fn() -> Result<Family, ProcessError>,
    signal: Signal,
    deadline: Deadline,
) -> Result<Stopped, ProcessError> {
    let there = look()?.left()?;
    if there.is_empty() {
        return Ok(Stopped::WasNotRunning);
    }
    for process in &there {
        // The one that others descend from is the postmaster, whether or not its file is
        // still there; it tells its children. One without relatives has lost its postmaster:
        // a backend ends on SIGTERM (manual, pg_terminate_backend), not on SIGINT.
        let leads = there
            .iter()
            .any(|other| other.parent() == Some(process.pid()));
        let follows = there
            .iter()
            .any(|other| process.parent() == Some(other.pid()));
        match (leads, follows) {
            (true, _) => process.signal(signal)?,
            (false, true) => continue,
            (false, false) if signal == Signal::QUIT => process.signal(Signal::QUIT)?,
            (false, false) => process.signal(Signal::TERM)?,
        };
    }
    for process in &there {
        process.wait_gone(deadline);
    }
    for process in look()?.sure {
        process.wait_gone(deadline);
    }
    let left = look()?.left()?;
    Ok(if left.is_empty() {
        Stopped::Ended
    } else {
        Stopped::StillRunning(left)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::process::Process;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    /// Another server of the account whose directory does not answer.
    #[test]
    fn what_cannot_be_looked_at_keeps_nobody_from_being_told_to_stop() {
        for signal in [Signal::INT, Signal::QUIT] {
            let mut sleep = Command::new("sleep");
            let mut child = sleep.arg("600").stdin(Stdio::null()).spawn().unwrap();
            let pid = i32::try_from(child.id()).unwrap();
            let process = Process::of(pid).unwrap();
            let look = || {
                Ok(Family {
                    sure: Process::of(pid).into_iter().collect(),
                    unclear: Some(ProcessError::Unclear {
                        pid: 1,
                        directory: Some("/nfs/other".into()),
                    }),
                })
            };
            let deadline = Deadline::after(Duration::from_secs(10));
            let stopped = stop_seen(look, signal, deadline);
            let alive = process.is_alive();
            let _ = child.kill();
            let _ = child.wait();
            assert!(!alive, "{signal:?}");
            let error = stopped.unwrap_err();
            assert!(matches!(error, ProcessError::Unclear { pid: 1, .. }));
            assert!(error.to_string().contains("which works in /nfs/other"));
        }
    }
}

//! How this process ends when nobody waits for it any more.

use std::io;
use std::time::Duration;

use nix::sys::signal::SigSet;
use nix::unistd::{Pid, alarm, getsid};
use pha_core::decide::left_behind;
use pha_core::snapshot::Caller;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Whoever started this process may be gone at any moment (Pacemaker's executor is killed, and its
/// successor starts the same operations anew): then this process is killed too, at once and wherever it
/// is, also while it is stopped by a signal. A process group does not do that, since nobody is left to
/// signal it; a watched descriptor does not, since who hangs watches nothing. To be called first, by the
/// thread that lasts as long as the process.
///
/// # Errors
/// The caller was gone before ([`left_behind`]), or the kernel refuses.
pub fn end_with_caller() -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    match left_behind(caller()) {
        false => Ok(()),
        true => Err(io::Error::other(
            "whoever started this operation is gone, and nobody waits for it",
        )),
    }
}

fn caller() -> Caller {
    let session = |process| getsid(process).ok().map(Pid::as_raw);
    let parent = getppid().map(|parent| Pid::from_raw(parent.as_raw_nonzero().get()));
    Caller {
        process: nix::unistd::getpid().as_raw(),
        session: session(None).unwrap_or(0),
        of_parent: parent.and_then(|parent| session(Some(parent))),
    }
}

/// Ends this process when this time is over, whatever hangs in it, and whether somebody waits for it or
/// not: by a timer of the kernel's and a signal that nothing here handles. One that comes while the
/// process is stopped takes effect before anything else when it goes on.
pub fn end_after(time: Duration) {
    // Whoever started this process may have kept the signal from itself.
    let mut alarm_clock = SigSet::empty();
    alarm_clock.add(nix::sys::signal::Signal::SIGALRM);
    if let Err(errno) = alarm_clock.thread_unblock() {
        tracing::warn!("SIGALRM cannot be had: {errno}");
    }
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    alarm::set(u32::try_from(seconds).unwrap_or(u32::MAX).max(1));
}

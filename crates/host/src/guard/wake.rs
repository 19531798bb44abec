//! What the guard sleeps on: the clock, the end of the postmaster, a signal.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::info;

/// Signals that would end a process and that the guard only notes: it ends when PostgreSQL has been
/// stopped, or when the agent says so.
const RESISTED: [Signal; 5] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGUSR2,
    Signal::SIGALRM,
];

/// The signals, taken as events instead of interruptions.
pub(crate) struct Signals(SignalFd);

/// Why the guard goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// It is time, or something happened that a round will see.
    Round,
    /// The agent has told it to end.
    ToEnd,
}

impl Signals {
    /// Takes the signals over. To be called before there is another thread.
    pub(crate) fn take() -> Result<Self, Errno> {
        let mut set = SigSet::empty();
        for signal in RESISTED {
            set.add(signal);
        }
        set.add(Signal::SIGUSR1);
        set.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self(SignalFd::with_flags(&set, flags)?))
    }

    /// Sleeps for `at_most`, or until the postmaster ends.
    pub(crate) fn sleep(&self, at_most: Duration, postmaster: Option<&OwnedFd>) -> Woken {
        let timeout = Timespec {
            tv_sec: at_most.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: at_most.subsec_nanos().into(),
        };
        let signals = self.0.as_fd();
        let mut fds = vec![PollFd::from_borrowed_fd(signals, PollFlags::IN)];
        fds.extend(postmaster.map(|fd| PollFd::new(fd, PollFlags::IN)));
        // An interrupted sleep is a short one.
        let _ = poll(&mut fds, Some(&timeout));
        self.pending()
    }

    /// Whether the agent has told the guard to end; other signals are noted and that is all.
    pub(crate) fn pending(&self) -> Woken {
        while let Ok(Some(signal)) = self.0.read_signal() {
            let number = i32::try_from(signal.ssi_signo).unwrap_or_default();
            match Signal::try_from(number) {
                Ok(Signal::SIGUSR1) => return Woken::ToEnd,
                other => info!(
                    "{} of process {} is resisted; the guard ends when PostgreSQL is stopped",
                    other.map_or("a signal", Signal::as_str),
                    signal.ssi_pid
                ),
            }
        }
        Woken::Round
    }
}

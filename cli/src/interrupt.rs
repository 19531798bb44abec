//! Ctrl-C, the end of the terminal, and the request to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pha_host::clock::Deadline;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Whether the operator has pressed Ctrl-C, has lost the terminal, or the program was told to end: what was
/// begun is put back into order before it does.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes note of SIGINT, SIGTERM and SIGHUP from now on, of the last one not under nohup(1).
    pub(crate) fn install() -> Self {
        let flag = Arc::new(AtomicBool::new(false));
        let hangup = (!ignores_hangup()).then_some(SIGHUP);
        for signal in [SIGINT, SIGTERM].into_iter().chain(hangup) {
            // The second one ends the program at once. Registration fails for signals that cannot
            // be caught, which these can.
            let _ = signal_hook::flag::register_conditional_shutdown(signal, 130, flag.clone());
            let _ = signal_hook::flag::register(signal, flag.clone());
        }
        Self(flag)
    }

    /// The flag itself, for a program that is to be ended with this one.
    pub(crate) fn flag(&self) -> &Arc<AtomicBool> {
        &self.0
    }

    /// Whether it has come.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Pauses until the deadline, or until it comes.
    pub(crate) fn pause(&self, deadline: Deadline) {
        while !self.is_set() && !deadline.expired() {
            std::thread::sleep(Duration::from_millis(50).min(deadline.left()));
        }
    }
}

/// Whether this program was started with SIGHUP ignored (proc(5), `SigIgn`; the first bit is signal 1).
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}

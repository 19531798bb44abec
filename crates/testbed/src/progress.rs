//! Telling a person what is being done.

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How often a long step says that it still goes on.
const REMINDER: Duration = Duration::from_secs(10);

/// Where the steps of a long operation are announced.
#[derive(Debug, Clone)]
pub struct Progress {
    begin: Instant,
    visible: bool,
}

/// A step that takes long: it says every ten seconds that it goes on, until it is dropped.
#[derive(Debug)]
pub struct Step {
    _over: Sender<()>,
}

impl Progress {
    /// Says nothing.
    #[must_use]
    pub fn quiet() -> Progress {
        Progress {
            begin: Instant::now(),
            visible: false,
        }
    }

    /// One line on stderr per step, with the seconds since now.
    #[must_use]
    pub fn on_stderr() -> Progress {
        Progress {
            begin: Instant::now(),
            visible: true,
        }
    }

    /// Announces a step that begins.
    pub fn say(&self, step: &str) {
        if self.visible {
            // A closed stderr is no reason to stop.
            let _ = writeln!(
                std::io::stderr(),
                "[{:6.1} s] {step}",
                self.begin.elapsed().as_secs_f64()
            );
        }
    }

    /// Announces a step that begins and may take long.
    pub fn step(&self, step: &str) -> Step {
        self.say(step);
        let (over, ended) = channel::<()>();
        let (progress, step) = (self.clone(), step.to_owned());
        std::thread::spawn(move || {
            // The other end is dropped with the step.
            while ended.recv_timeout(REMINDER) == Err(RecvTimeoutError::Timeout) {
                progress.say(&format!("… still: {step}"));
            }
        });
        Step { _over: over }
    }
}

/// Writes a line of a result to standard output; a reader that has gone away is no failure.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

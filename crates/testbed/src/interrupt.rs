//! Ctrl-C: what was begun is undone before the program ends.

use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Error, Result};

/// What a shell reports for a program that SIGINT ended.
const EXIT_CODE: i32 = 130;

type Undoing = Box<dyn FnOnce() + Send>;

/// What is to be undone, in the order in which it was begun. Held while it is being done, so that
/// nothing new begins meanwhile.
static PENDING: Mutex<Vec<(u64, Undoing)>> = Mutex::new(Vec::new());

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether cleaning up has begun: what fails from now on fails because of it.
pub(crate) fn happened() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

fn pending() -> MutexGuard<'static, Vec<(u64, Undoing)>> {
    PENDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Undoes something on Ctrl-C for as long as this value lives.
#[derive(Debug)]
#[must_use]
pub(crate) struct Undo(u64);

impl Undo {
    /// On Ctrl-C (and SIGTERM, SIGHUP) `undo` is called, the newest first.
    pub(crate) fn with(undo: impl FnOnce() + Send + 'static) -> Undo {
        let mut pending = pending();
        let number = pending.last().map_or(1, |(number, _)| number + 1);
        pending.push((number, Box::new(undo)));
        Undo(number)
    }

    /// On Ctrl-C the process group that `leader` leads is killed.
    pub(crate) fn group(leader: u32) -> Undo {
        Undo::with(move || kill_group(leader))
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        pending().retain(|(number, _)| *number != self.0);
    }
}

/// Kills a process group; it is no error if there is none any more.
pub(crate) fn kill_group(leader: u32) {
    let _ = Command::new("/bin/kill")
        .args(["-KILL", "--", &format!("-{leader}")])
        .stderr(std::process::Stdio::null())
        .status();
}

/// From now on a signal that asks this program to end lets it clean up first. A second one, or a
/// minute, ends it at once.
///
/// # Errors
/// The signals cannot be listened to.
pub(crate) fn watch() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("start", "the event loop for signals"))?;
    let listen = |kind| signal(kind).map_err(Error::io("listen to", "signals"));
    let entered = runtime.enter();
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    drop(entered);
    std::thread::spawn(move || {
        runtime.block_on(async {
            let mut any = async || {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
            };
            any().await;
            let done = std::thread::spawn(undo_everything);
            // timeout(1) signals the program and its whole group: that is one request, not two.
            let same = async {
                loop {
                    any().await;
                }
            };
            let _ = tokio::time::timeout(Duration::from_secs(1), same).await;
            let _ = tokio::time::timeout(Duration::from_secs(60), any()).await;
            drop(done);
            std::process::exit(EXIT_CODE);
        });
    });
    Ok(())
}

fn undo_everything() {
    INTERRUPTED.store(true, Ordering::SeqCst);
    let _ = writeln!(
        std::io::stderr(),
        "\ntestbed: interrupted; cleaning up (once more ends it at once)"
    );
    let mut pending = pending();
    while let Some((_, undo)) = pending.pop() {
        undo();
    }
    let _ = writeln!(std::io::stderr(), "testbed: cleaned up");
    std::process::exit(EXIT_CODE);
}

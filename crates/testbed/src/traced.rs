//! A process that is stopped so that it survives the death of its parent.
//!
//! SIGSTOP does not do for that: a process group of which one is stopped gets SIGHUP when its last parent
//! outside of it dies, and ends. What a debugger has stopped (ptrace(2), PTRACE_INTERRUPT) is not stopped in
//! that sense, and hangs as one does whose disk hangs.

use std::fs;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::procfs::ProcessId;

/// Between two looks for those that have died.
const PAUSE: Duration = Duration::from_millis(20);

/// Processes that stand still until they are let go, or this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    let_go: Sender<()>,
    holder: Option<JoinHandle<usize>>,
}

impl Held {
    /// Holds those of the processes that are there and that nobody else holds; none where that is none.
    pub(crate) fn take(processes: &[ProcessId]) -> Option<Held> {
        let wanted = processes.to_vec();
        let (let_go, told) = mpsc::channel();
        let (say, taken) = mpsc::channel();
        // The kernel takes orders about a process from the thread that has begun to trace it.
        let holder = std::thread::spawn(move || {
            let threads: Vec<Pid> = wanted.into_iter().flat_map(hold).collect();
            // Whoever asked waits for this.
            let _ = say.send(threads.len());
            keep(threads, &told)
        });
        let held = Held {
            let_go,
            holder: Some(holder),
        };
        let some = taken.recv().is_ok_and(|threads| threads > 0);
        some.then_some(held)
    }

    /// Lets those go on that are still there; whether there are any.
    pub(crate) fn go_on(&mut self) -> bool {
        // The holder has ended by itself where all of them are dead.
        let _ = self.let_go.send(());
        let holder = self.holder.take().map(JoinHandle::join);
        holder.is_some_and(|gone_on| gone_on.is_ok_and(|threads| threads > 0))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.go_on();
    }
}

/// Stops the threads of a process; those that are stopped now.
fn hold(process: ProcessId) -> Vec<Pid> {
    let tasks = fs::read_dir(process.proc("task"));
    let threads = tasks.into_iter().flatten();
    let threads = threads.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut held: Vec<Pid> = threads.map(Pid::from_raw).collect();
    held.retain(|thread| {
        let seized = ptrace::seize(*thread, ptrace::Options::empty());
        seized.and_then(|()| ptrace::interrupt(*thread)).is_ok()
    });
    held
}

/// Waits until it is told to let go. Those that are killed meanwhile are fetched: until then they are not
/// gone, and nor is the node that they were in. How many threads went on.
fn keep(mut threads: Vec<Pid>, told: &Receiver<()>) -> usize {
    while told.try_recv() == Err(TryRecvError::Empty) && !threads.is_empty() {
        threads.retain(|thread| !dead(*thread));
        std::thread::sleep(PAUSE);
    }
    threads.retain(|thread| {
        let went_on = ptrace::detach(*thread, None).is_ok();
        if !went_on {
            // It is dying; what is not fetched now the kernel gives to its parent when this thread ends.
            dead(*thread);
        }
        went_on
    });
    threads.len()
}

fn dead(thread: Pid) -> bool {
    let how = WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
    match waitpid(thread, Some(how)) {
        Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) => true,
        Ok(_) => false,
        // No such child: somebody else has fetched it.
        Err(errno) => errno == nix::errno::Errno::ECHILD,
    }
}

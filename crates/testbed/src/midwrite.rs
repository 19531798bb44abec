//! A program of the cluster manager's that hangs while it replaces a file.
//!
//! The agent replaces a file by writing another one beside it (`.name.…`), making that durable, and renaming it. The
//! kernel asks a listener whether the other one may be opened (fanotify(7)); the file itself is only read by many. Whoever
//! waits for the answer hangs in the kernel, as one does whose disk hangs; it is not stopped by a
//! signal, which would end it together with its caller (a process group that is orphaned while one of
//! it is stopped gets SIGHUP).

use std::ffi::OsString;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::fanotify::{
    EventFFlags, Fanotify, FanotifyEvent, FanotifyResponse, InitFlags, MarkFlags, MaskFlags,
    Response,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::{Error, Result};
use crate::node::Node;
use crate::procfs::ProcessId;

/// An operation of an agent that hangs, until it is let go or this is dropped. Everybody else opens the
/// file as ever.
#[derive(Debug)]
pub struct Hanging {
    process: ProcessId,
    let_go: Sender<()>,
    listener: Option<JoinHandle<()>>,
}

impl Node {
    /// Waits until an operation of an agent opens the file that is to replace `path`, and lets it hang there.
    ///
    /// # Errors
    /// The node is off, the kernel has no fanotify, or no operation was caught within `patience`.
    pub fn hang_in_replacing(&self, path: &str, patience: Duration) -> Result<Hanging> {
        let init = self
            .init()
            .ok_or_else(|| Error::Down(self.name().to_owned()))?;
        let target = init.proc("root").join(path.trim_start_matches('/'));
        let name = target.file_name().unwrap_or_default().to_owned();
        let directory = target.parent().unwrap_or_else(|| Path::new("/"));
        let failed = |errno| Error::Asked(format!("listening for who opens {path}: {errno}"));
        let flags = InitFlags::FAN_CLASS_CONTENT | InitFlags::FAN_CLOEXEC | InitFlags::FAN_NONBLOCK;
        let files = EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC;
        let listener = Fanotify::init(flags, files).map_err(failed)?;
        let mask = MaskFlags::FAN_OPEN_PERM | MaskFlags::FAN_EVENT_ON_CHILD;
        listener
            .mark(
                MarkFlags::FAN_MARK_ADD,
                mask,
                rustix::fs::CWD,
                Some(directory),
            )
            .map_err(failed)?;
        let (let_go, told) = mpsc::channel();
        let (say, caught) = mpsc::channel();
        let listening = std::thread::spawn(move || listen(&listener, &name, &say, &told));
        let mut hanging = Hanging {
            process: init,
            let_go,
            listener: Some(listening),
        };
        hanging.process = caught
            .recv_timeout(patience)
            .map_err(|_| Error::Asked(format!("{}: nothing has replaced {path}", self.name())))?;
        Ok(hanging)
    }
}

impl Hanging {
    /// The process.
    #[must_use]
    pub fn process(&self) -> ProcessId {
        self.process
    }

    /// Lets it go on, if it is still there.
    pub fn go_on(&mut self) {
        // The other end has gone where the listener has failed, and then nobody hangs.
        let _ = self.let_go.send(());
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.go_on();
    }
}

/// Allows everything but the first opening by an operation, until it is told to end. Then the kernel
/// allows what it has not been answered.
fn listen(listener: &Fanotify, name: &OsString, say: &Sender<ProcessId>, told: &Receiver<()>) {
    let mut held: Option<FanotifyEvent> = None;
    while let Err(mpsc::TryRecvError::Empty) = told.try_recv() {
        await_event(listener);
        // An error says that there was nothing to read after all.
        for event in listener.read_events().unwrap_or_default() {
            let Some(file) = event.fd() else { continue };
            let operation = operation(event.pid()).filter(|_| leads_to(file, name));
            match operation.filter(|_| held.is_none()) {
                Some(process) => {
                    let _ = say.send(process);
                    held = Some(event);
                }
                None => allow(listener, file),
            }
        }
    }
    if let Some(file) = held.as_ref().and_then(FanotifyEvent::fd) {
        allow(listener, file);
    }
}

fn allow(listener: &Fanotify, file: BorrowedFd<'_>) {
    // Whoever asked may have been killed meanwhile.
    let _ = listener.write_response(FanotifyResponse::new(file, Response::FAN_ALLOW));
}

fn await_event(listener: &Fanotify) {
    let mut fds = [PollFd::new(listener, PollFlags::IN)];
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: 50_000_000,
    };
    // An interrupted wait is a short one.
    let _ = poll(&mut fds, Some(&timeout));
}

/// Whether an opened file is to take the place of the one of this name.
fn leads_to(file: BorrowedFd<'_>, name: &OsString) -> bool {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    let beside = format!(".{}.", name.to_string_lossy());
    std::fs::read_link(link).is_ok_and(|path| {
        let opened = path.file_name().unwrap_or_default();
        opened.to_string_lossy().starts_with(&beside)
    })
}

/// The process, if it is an operation of the agent or acts for one.
fn operation(pid: i32) -> Option<ProcessId> {
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    ProcessId::of(pid).filter(|_| program.file_name().is_some_and(|name| name == "expgsql"))
}

//! Reading what a program prints, feeding it, and noticing its end, all at once.

use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::clock::Deadline;

/// What a program that ended in an accepted way has printed.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit status: 0, or one of those named with [`Command::accept`].
    pub code: i32,
    /// Standard output, as far as it was kept.
    pub stdout: Vec<u8>,
    /// Standard error, as far as it was kept.
    pub stderr: Vec<u8>,
    /// Whether more was printed than was kept.
    pub truncated: bool,
}

impl Output {
    /// Standard output as text; bytes that are not UTF-8 become U+FFFD.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }

    /// Standard error as text; bytes that are not UTF-8 become U+FFFD.
    pub fn error_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stderr)
    }
}

/// One stream of a program: what was kept of it, until it is closed.
struct Stream<R> {
    pipe: Option<R>,
    kept: Vec<u8>,
    limit: usize,
    /// Whether what came last is kept, not what came first.
    end: bool,
    dropped: bool,
}

impl<R: Read + AsFd> Stream<R> {
    fn new(pipe: Option<R>, limit: usize, end: bool) -> io::Result<Self> {
        if let Some(pipe) = &pipe {
            ioctl_fionbio(pipe, true)?;
        }
        Ok(Self {
            pipe,
            kept: Vec::new(),
            limit,
            end,
            dropped: false,
        })
    }

    /// Reads what is there, at most `budget` bytes; a closed pipe is forgotten.
    fn read(&mut self, mut budget: usize) -> io::Result<()> {
        let mut buffer = [0_u8; 16 * 1024];
        while let Some(pipe) = self.pipe.as_mut() {
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(count) => {
                    self.take(&buffer[..count]);
                    budget = budget.saturating_sub(count);
                    if budget == 0 {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl<R> Stream<R> {
    fn take(&mut self, bytes: &[u8]) {
        let room = if self.end {
            bytes.len()
        } else {
            self.limit.saturating_sub(self.kept.len()).min(bytes.len())
        };
        self.kept.extend_from_slice(&bytes[..room]);
        self.dropped |= room < bytes.len();
        // In strides, so that a long output is not moved for every piece of it.
        if self.kept.len() > self.limit.saturating_mul(2) {
            self.cut();
        }
    }

    /// Drops what is beyond the limit.
    fn cut(&mut self) {
        let beyond = self.kept.len().saturating_sub(self.limit);
        self.kept.drain(..beyond);
        self.dropped |= beyond > 0;
    }
}

/// The bytes a program still has to be given.
struct Feed {
    pipe: Option<ChildStdin>,
    bytes: Vec<u8>,
    given: usize,
}

impl Feed {
    fn new(pipe: Option<ChildStdin>, bytes: Vec<u8>) -> io::Result<Self> {
        if let Some(pipe) = &pipe {
            ioctl_fionbio(pipe, true)?;
        }
        Ok(Self {
            pipe,
            bytes,
            given: 0,
        })
    }

    /// Gives what the pipe takes; closes it after the last byte.
    fn write(&mut self) {
        while let Some(pipe) = self.pipe.as_mut() {
            match pipe.write(&self.bytes[self.given..]) {
                Ok(count) if count > 0 => self.given += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // All is given, or the program has closed its input. Not reading everything is
                // its right; its exit status says whether that was all right.
                Ok(_) | Err(_) => self.pipe = None,
            }
        }
    }
}

/// The three streams of a program and a descriptor that becomes readable when the program has ended.
pub(super) struct Capture {
    stdout: Stream<ChildStdout>,
    stderr: Stream<ChildStderr>,
    stdin: Feed,
    exit: UnixStream,
}

impl Capture {
    /// Takes the streams of a child that was started with pipes.
    ///
    /// The end of the pipes does not tell the end of the program (a grandchild may hold them), so
    /// a thread waits for the program. It leaves the status to be taken later (WNOWAIT): until it
    /// is, the process number cannot be reused and signals to it are safe. A pidfd would do the
    /// same without a thread, from Linux 5.3 on only.
    pub(super) fn new(
        child: &mut Child,
        input: Option<Vec<u8>>,
        limit: usize,
        end: bool,
    ) -> io::Result<Self> {
        let pid = Pid::from_child(child);
        let (exit, ended) = UnixStream::pair()?;
        std::thread::Builder::new()
            .name("wait".to_owned())
            .spawn(move || {
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
                while matches!(waitid(WaitId::Pid(pid), options), Err(Errno::INTR)) {}
                drop(ended);
            })?;
        Ok(Self {
            stdout: Stream::new(child.stdout.take(), limit, end)?,
            stderr: Stream::new(child.stderr.take(), limit, end)?,
            stdin: Feed::new(child.stdin.take(), input.unwrap_or_default())?,
            exit,
        })
    }

    /// Moves data until the program has ended (true) or the deadline has come (false).
    pub(super) fn until_exit(&mut self, deadline: Deadline) -> io::Result<bool> {
        loop {
            let ready = self.wait(deadline)?;
            // A budget per turn keeps a program that prints without end from hiding its end.
            self.stdout.read(64 * 1024)?;
            self.stderr.read(64 * 1024)?;
            self.stdin.write();
            match ready {
                Ready::Exit => return Ok(true),
                Ready::Nothing if deadline.expired() => return Ok(false),
                Ready::Data if deadline.expired() => return Ok(false),
                Ready::Data | Ready::Nothing => {}
            }
        }
    }

    /// Reads what an ended program has left in its pipes, but waits for nobody who still holds them.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        let pipe_capacity = 2 << 20;
        self.stdout.read(pipe_capacity)?;
        self.stderr.read(pipe_capacity)
    }

    pub(super) fn stdout(&self) -> &[u8] {
        &self.stdout.kept
    }

    pub(super) fn stderr(&self) -> &[u8] {
        &self.stderr.kept
    }

    pub(super) fn into_output(mut self, code: i32) -> Output {
        self.stdout.cut();
        self.stderr.cut();
        let truncated = self.stdout.dropped || self.stderr.dropped;
        Output {
            code,
            stdout: self.stdout.kept,
            stderr: self.stderr.kept,
            truncated,
        }
    }

    fn wait(&self, deadline: Deadline) -> io::Result<Ready> {
        let streams: [(Option<BorrowedFd<'_>>, PollFlags); 4] = [
            (Some(self.exit.as_fd()), PollFlags::IN),
            (self.stdout.pipe.as_ref().map(AsFd::as_fd), PollFlags::IN),
            (self.stderr.pipe.as_ref().map(AsFd::as_fd), PollFlags::IN),
            (self.stdin.pipe.as_ref().map(AsFd::as_fd), PollFlags::OUT),
        ];
        let open = streams
            .iter()
            .filter_map(|(fd, flags)| fd.map(|fd| PollFd::from_borrowed_fd(fd, *flags)));
        let mut fds: Vec<PollFd<'_>> = open.collect();
        let left = deadline.left();
        let timeout = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => Ok(Ready::Nothing),
            Ok(_) if !fds[0].revents().is_empty() => Ok(Ready::Exit),
            Ok(_) => Ok(Ready::Data),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Why a wait came back.
enum Ready {
    /// The program has ended.
    Exit,
    /// A stream can be read or written.
    Data,
    /// The time is over, or a signal came.
    Nothing,
}

//! Root's side: starting the process that is an account, and asking it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::mpsc::{self, Sender};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};

use super::program::{self, Program, WORD};
use super::wire::{self, Answer, Request};
use crate::change_lock;
use crate::clock::Deadline;
use crate::command::Command;
use crate::user::User;

/// How long nothing more is asked after a question that was not answered in time: the next one
/// would not be either, and an operation asks many.
const SILENCE: Duration = Duration::from_secs(3);

/// How long an answer may still take, once, that this process had no chance to wait for: it stood still
/// (stopped by a signal, frozen) until the deadline had passed, and the answer may lie there.
const MOMENT: Duration = Duration::from_millis(250);

/// The process of one account, started when it is first needed and kept. One asks it at a time.
#[derive(Debug, Default)]
pub(super) struct Slot {
    state: Mutex<State>,
    free: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whether somebody is asking; the conversation is in his hands.
    taken: bool,
    /// How often the process was ended ([`Slot::end`]).
    ends: u64,
    conversation: Option<Conversation>,
    hung: Option<Instant>,
}

/// What the process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    /// Files. Whatever it does for who has the change lock, it does under that lock.
    Files,
    /// Connections, which must not wait for a disk.
    Connections,
}

/// Whom to ask: the account, the program that becomes it, and what for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whom<'a> {
    pub(super) user: &'a User,
    pub(super) program: &'a Program,
    pub(super) purpose: Purpose,
}

#[derive(Debug)]
struct Conversation {
    child: Option<Child>,
    socket: UnixStream,
}

impl Drop for Conversation {
    /// It may be stopped, or wait for a disk: it is killed, and nobody waits here for its end.
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let _ = child.kill();
        if !matches!(child.try_wait(), Ok(Some(_))) {
            let _ = std::thread::Builder::new().spawn(move || child.wait());
        }
    }
}

impl Slot {
    /// Ends the process; the next question starts another one. One that is being asked ends with its
    /// answer.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.ends = state.ends.wrapping_add(1);
        state.conversation = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else asks, but not beyond the deadline.
    fn take(&self, whom: Whom<'_>, deadline: Deadline) -> io::Result<Turn<'_>> {
        let wanted = |state: &mut State| state.taken;
        let waited = self
            .free
            .wait_timeout_while(self.lock(), deadline.left(), wanted);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let silent = state.hung.is_some_and(|since| since.elapsed() < SILENCE);
        if state.taken || silent {
            let text = format!(
                "the directories of {} did not answer just now",
                whom.user.name()
            );
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        Ok(self.begin_turn(state))
    }

    /// Takes a process that runs and is asked nothing; nobody waits for it.
    fn take_idle(&self) -> Option<Turn<'_>> {
        let state = self.lock();
        let idle = !state.taken && state.conversation.is_some();
        idle.then(|| self.begin_turn(state))
    }

    fn begin_turn(&self, mut state: MutexGuard<'_, State>) -> Turn<'_> {
        state.taken = true;
        Turn {
            slot: self,
            ends: state.ends,
            conversation: state.conversation.take(),
            hung: None,
        }
    }
}

/// The process in the hands of who asks it.
struct Turn<'a> {
    slot: &'a Slot,
    ends: u64,
    conversation: Option<Conversation>,
    hung: Option<Instant>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.slot.lock();
        if state.ends == self.ends {
            state.conversation = self.conversation.take();
        }
        state.hung = self.hung;
        state.taken = false;
        self.slot.free.notify_one();
    }
}

/// Asks the process of that account, which is started where it does not run.
pub(super) fn ask(
    slot: &Slot,
    whom: Whom<'_>,
    request: &Request,
    bytes: &[u8],
    deadline: Deadline,
) -> io::Result<(Answer, Vec<u8>)> {
    let turn = slot.take(whom, deadline)?;
    let answered = converse(turn, whom, request, bytes, deadline)?;
    Ok((answered.answer, answered.bytes))
}

/// Has a process of that account connect to a socket, and takes the connection over. The one for files does
/// it where it runs and is idle, which saves an operation of the agent a process; one that waits for a disk
/// is not waited for.
pub(super) fn connect(
    slot: &Slot,
    files: &Slot,
    whom: Whom<'_>,
    request: &Request,
    deadline: Deadline,
) -> io::Result<OwnedFd> {
    let (turn, purpose) = match files.take_idle() {
        Some(turn) => (turn, Purpose::Files),
        None => (slot.take(whom, deadline)?, whom.purpose),
    };
    let answered = converse(turn, Whom { purpose, ..whom }, request, b"", deadline)?;
    match (answered.descriptor, answered.answer) {
        (Some(connection), _) => {
            // Whether it blocks is not for the account's process to say: nothing here waits without a limit.
            rustix::io::ioctl_fionbio(&connection, true)?;
            Ok(connection)
        }
        (None, Answer::Failed { errno, text }) => Err(match errno {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::other(text),
        }),
        (None, other) => Err(io::Error::other(format!("an unfit answer ({other:?})"))),
    }
}

/// What came back.
struct Answered {
    answer: Answer,
    bytes: Vec<u8>,
    descriptor: Option<OwnedFd>,
}

fn converse(
    mut turn: Turn<'_>,
    whom: Whom<'_>,
    request: &Request,
    bytes: &[u8],
    deadline: Deadline,
) -> io::Result<Answered> {
    let mut tried = false;
    loop {
        let asked = turn.ask(whom, request, bytes, deadline);
        let Err(error) = asked else {
            return asked;
        };
        turn.conversation = None;
        if is_timeout(&error) {
            // A connection waits for no disk, and the next one need not be as slow.
            turn.hung = (whom.purpose == Purpose::Files).then(Instant::now);
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "no answer in time (does a disk hang?)",
            ));
        }
        // The account may end its own process; a look is tried once more.
        if tried || !request.is_look() || deadline.expired() {
            return Err(error);
        }
        tried = true;
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

impl Turn<'_> {
    fn ask(
        &mut self,
        whom: Whom<'_>,
        request: &Request,
        bytes: &[u8],
        deadline: Deadline,
    ) -> io::Result<Answered> {
        let conversation = match &mut self.conversation {
            Some(conversation) => conversation,
            none => none.insert(begin(whom)?),
        };
        let mut timed = Timed::new(&conversation.socket, deadline);
        wire::send(&mut timed, request, bytes)?;
        let (answer, bytes) = wire::receive(&mut timed)?.ok_or_else(|| {
            let text = format!("the process that acts as {} has ended", whom.user.name());
            io::Error::new(io::ErrorKind::BrokenPipe, text)
        })?;
        let descriptor = match answer {
            Answer::Connected => Some(timed.descriptor()?),
            _ => None,
        };
        Ok(Answered {
            answer,
            bytes,
            descriptor,
        })
    }
}

fn begin(whom: Whom<'_>) -> io::Result<Conversation> {
    let (socket, theirs) = UnixStream::pair()?;
    let command = Command::new(&whom.program.path)
        .arg(WORD)
        .args(program::ids(whom.user));
    let inherited = match whom.purpose {
        Purpose::Files => change_lock::inherited(),
        Purpose::Connections => None,
    };
    let theirs = OwnedFd::from(theirs);
    let child = by_starter(move || command.converse(theirs, inherited))?
        .map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Conversation {
        child: Some(child),
        socket,
    })
}

type Start = Box<dyn FnOnce() + Send>;

/// A thread that lasts as long as this process.
static STARTER: LazyLock<io::Result<Sender<Start>>> = LazyLock::new(|| {
    let (sender, starts) = mpsc::channel::<Start>();
    let run = move || {
        // It can be there before the guard takes its signals over, and a signal to the process that any
        // thread does not block ends all of it. What is started from here begins without a mask. The end
        // of a child goes to the thread that started it: blocked there it would be kept, and interrupt
        // another thread's calls.
        let mut others = SigSet::all();
        others.remove(Signal::SIGCHLD);
        let _ = others.thread_block();
        starts.into_iter().for_each(|start| start());
    };
    let thread = std::thread::Builder::new().name("starter".to_owned());
    thread.spawn(run).map(|_| sender)
});

/// Does something in a thread that lasts as long as this process. Whoever ends with its caller
/// ([`change_lock::end_with_caller`]) ends with the *thread* that started it (prctl(2),
/// `PR_SET_PDEATHSIG`), and the thread that happens to ask first may be a short-lived one.
fn by_starter<T: Send + 'static>(start: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let gone = || io::Error::other("the thread that starts processes has ended");
    let starter = STARTER
        .as_ref()
        .map_err(|error| io::Error::other(format!("the thread that starts processes: {error}")))?;
    let (sender, started) = mpsc::sync_channel(1);
    let start = Box::new(move || drop(sender.send(start())));
    starter.send(start).map_err(|_| gone())?;
    started.recv().map_err(|_| gone())
}

/// A socket of which no read and no write waits beyond the deadline. One that waited in vain fails for
/// that; who finds the time over without having waited for it has stood still, and has [`MOMENT`] more.
struct Timed<'a> {
    socket: &'a UnixStream,
    deadline: Deadline,
    stood_still: bool,
}

impl<'a> Timed<'a> {
    fn new(socket: &'a UnixStream, deadline: Deadline) -> Self {
        Self {
            socket,
            deadline,
            // What begins too late gets no time for that.
            stood_still: deadline.expired(),
        }
    }

    fn left(&mut self) -> io::Result<Option<Duration>> {
        if self.deadline.expired() && !self.stood_still {
            self.stood_still = true;
            self.deadline = Deadline::after(MOMENT);
        }
        match self.deadline.left() {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }

    fn descriptor(&mut self) -> io::Result<OwnedFd> {
        let left = self.left()?;
        self.socket.set_read_timeout(left)?;
        wire::receive_descriptor(self.socket)
    }
}

impl io::Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left()?;
        self.socket.set_read_timeout(left)?;
        self.socket.read(buffer)
    }
}

impl io::Write for Timed<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let left = self.left()?;
        self.socket.set_write_timeout(left)?;
        self.socket.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    fn over(deadline: Deadline) {
        while !deadline.expired() {
            std::thread::sleep(deadline.left());
        }
    }

    #[test]
    fn an_answer_that_came_while_this_process_stood_still_is_taken() {
        let (socket, mut other) = UnixStream::pair().unwrap();
        let deadline = Deadline::after(Duration::from_millis(20));
        let mut timed = Timed::new(&socket, deadline);
        other.write_all(b"ab").unwrap();
        over(deadline);
        let mut byte = [0; 1];
        timed.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"a");
        // Once: nothing keeps a question open by answering it little by little.
        over(timed.deadline);
        assert!(is_timeout(&timed.read_exact(&mut byte).unwrap_err()));
    }

    #[test]
    fn who_waited_in_vain_or_began_too_late_gets_no_more_time() {
        let (socket, mut other) = UnixStream::pair().unwrap();
        let deadline = Deadline::after(Duration::from_millis(20));
        let mut timed = Timed::new(&socket, deadline);
        let mut byte = [0; 1];
        assert!(is_timeout(&timed.read_exact(&mut byte).unwrap_err()));
        other.write_all(b"a").unwrap();
        over(deadline);
        let mut late = Timed::new(&socket, deadline);
        assert!(is_timeout(&late.read_exact(&mut byte).unwrap_err()));
    }
}

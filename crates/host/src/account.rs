//! Files in the territory of an account: what lies in or below a directory that the account can
//! write, so that it can put anything under any name there, and exchange it at any moment.
//!
//! The data directory, its tablespaces, `pg_wal` elsewhere, `tmpdir`, the sockets' directory, the log
//! file and the configuration belong to the database's account. Root opens, renames and removes
//! nothing there: a link to `/etc/shadow` would be read, a link to a directory of root's emptied.
//! Every such deed is done by a process that *is* the account, with no right of root left: a second
//! run of this program, which takes one request after another over a socket, for as long as this
//! process lives. What it hands over is data, bounded in bytes and in time. It is killed when it does
//! not answer in time: an account can stop its own processes, and mount a file system that hangs.
//!
//! It is a process and not a thread: the account may stop and kill a thread that bears its name, and
//! with it the whole of root's process. It is a run of the program and not a fork: nothing of root's
//! memory, open files and environment is in it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Deadline;
use crate::files::{Change, FileError, LIMIT};
use crate::user::User;
use helper::{Purpose, Slot, Whom};
pub(crate) use program::runner;
pub use program::use_program;
use program::{PROGRAM, RUN, WORD, no_program};
use wire::{Answer, Request};
pub use wire::{Kind, Stat};

mod helper;
mod program;
mod serve;
mod wire;

/// How long a look may take; a disk under load answers later than one would think.
const LOOK: Duration = Duration::from_secs(10);

/// How long a change may take, which waits for the disk to have written it.
const CHANGE: Duration = Duration::from_secs(60);

/// The most names of a directory that are told.
const MOST_NAMES: usize = 1_000_000;

static SLOTS: LazyLock<Mutex<Slots>> = LazyLock::new(Mutex::default);
static BOUND: Mutex<Bound> = Mutex::new(Bound {
    end: None,
    each: None,
});

type Slots = BTreeMap<(u32, Purpose), Arc<Slot>>;

/// What no question may go beyond in this process.
struct Bound {
    end: Option<Deadline>,
    each: Option<Duration>,
}

/// The first thing in the `main` of a program that acts as accounts: `true` when it was started to
/// be one, and has been; then it ends.
#[must_use]
pub fn was_asked() -> bool {
    let mut words = std::env::args_os().skip(1);
    let first = words.next();
    if first.as_ref().is_some_and(|word| word == WORD) {
        let words: Vec<String> = words
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        serve::run(&words);
        return true;
    }
    if first.is_some_and(|word| word == RUN) {
        serve::run_program(&words.collect::<Vec<_>>());
        std::process::exit(serve::NOT_STARTED);
    }
    // The kernel's own link, which also leads to a file that an upgrade has replaced meanwhile.
    use_program("/proc/self/exe");
    false
}

/// Nothing is waited for beyond this moment: the end of the operation.
pub fn until(end: Deadline) {
    BOUND.lock().unwrap_or_else(PoisonError::into_inner).end = Some(end);
}

/// No look waits longer than this.
pub fn at_most(each: Duration) {
    BOUND.lock().unwrap_or_else(PoisonError::into_inner).each = Some(each);
}

/// The files of an account, as it can reach them itself.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// `None`: whoever this process is.
    user: Option<&'a User>,
    deadline: Option<Deadline>,
}

/// What a file holds, and which file it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The file.
    pub stat: Stat,
    /// Its path without links, where it can be told.
    pub real: Option<PathBuf>,
}

impl Content {
    /// The bytes as text; what is not UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

impl User {
    /// The files of this account, opened, changed and removed by a process that is the account.
    #[must_use]
    pub fn files(&self) -> Files<'_> {
        Files {
            user: Some(self),
            deadline: None,
        }
    }
}

impl Files<'_> {
    /// The files that this process can reach itself.
    #[must_use]
    pub fn own() -> Self {
        Self {
            user: None,
            deadline: None,
        }
    }

    /// The home of whose files they are.
    #[must_use]
    pub fn home(&self) -> Option<PathBuf> {
        match self.user.filter(|user| !user.is_current()) {
            Some(user) => Some(user.home().to_owned()),
            None => crate::user::home(),
        }
    }

    /// A connection to a socket in a directory, as the account: the server asks the kernel who it was
    /// that connected. It does not block.
    ///
    /// # Errors
    /// As `connect(2)`.
    pub fn connect(&self, path: &Path) -> io::Result<OwnedFd> {
        let Some(user) = self.user.filter(|user| !user.is_current()) else {
            return serve::connect(path);
        };
        let request = Request::Connect { path: path.into() };
        let whom = Whom {
            user,
            program: PROGRAM.get().ok_or_else(no_program)?,
            purpose: Purpose::Connections,
        };
        let files = slot(Whom {
            purpose: Purpose::Files,
            ..whom
        });
        helper::connect(&slot(whom), &files, whom, &request, self.limit(&request))
    }

    /// The same, with another limit of time than a look or a small change has.
    #[must_use]
    pub fn within(self, deadline: Deadline) -> Self {
        Self {
            deadline: Some(deadline),
            ..self
        }
    }

    /// A regular file of at most [`LIMIT`] bytes; `None` when there is none.
    ///
    /// # Errors
    /// It is something else, larger, or may not be read by the account.
    pub fn read(&self, path: &Path) -> Result<Option<Content>, FileError> {
        self.read_part(path, 0, LIMIT)
    }

    /// The same as text; bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_text(&self, path: &Path) -> Result<Option<String>, FileError> {
        Ok(self.read(path)?.map(|content| content.text()))
    }

    /// Up to so many bytes of a regular file from a position on.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_part(
        &self,
        path: &Path,
        from: u64,
        most: u64,
    ) -> Result<Option<Content>, FileError> {
        let request = Request::Read {
            path: path.to_owned(),
            from,
            most,
        };
        match self.ask("reading", path, &request, b"")? {
            (Answer::Content { stat, real }, bytes) => Ok(Some(Content { bytes, stat, real })),
            (Answer::Nothing, _) => Ok(None),
            other => Err(unfit("reading", path, &other.0)),
        }
    }

    /// Whether a line of this file may be quoted in an error, which other people read: it is a file
    /// of the account, or one of root's that everybody may read; it has one name, and lies in or below
    /// that directory, not behind a link that leads out of it. What the account can be shown of another
    /// file need not be shown to all.
    #[must_use]
    pub fn may_quote(&self, content: &Content, directory: &Path) -> bool {
        let stat = content.stat;
        let public = stat.uid == 0 && stat.mode & 0o004 != 0;
        let user = self.user.map(User::uid);
        let user = user.unwrap_or_else(|| rustix::process::geteuid().as_raw());
        let own = (stat.uid == user || public) && stat.links == 1;
        let inside = |real: &Path| {
            let directory = self.real(directory).ok().flatten();
            directory.is_some_and(|directory| real.starts_with(directory))
        };
        own && content.real.as_deref().is_some_and(inside)
    }

    /// What is there, or what the link of that name leads to; `None` when there is nothing.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn look(&self, path: &Path) -> Result<Option<Stat>, FileError> {
        self.stat(path, true)
    }

    /// What has that name itself, be it a link.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn look_at_name(&self, path: &Path) -> Result<Option<Stat>, FileError> {
        self.stat(path, false)
    }

    /// Whether there is anything; `None` where that cannot be told, which is neither yes nor no.
    #[must_use]
    pub fn is_there(&self, path: &Path) -> Option<bool> {
        self.look(path).ok().map(|stat| stat.is_some())
    }

    /// Where a symbolic link leads; `None` for what is none.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn link(&self, path: &Path) -> Result<Option<PathBuf>, FileError> {
        self.path(path, &Request::Link { path: path.into() })
    }

    /// The path without links; `None` when there is nothing.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn real(&self, path: &Path) -> Result<Option<PathBuf>, FileError> {
        self.path(path, &Request::Real { path: path.into() })
    }

    /// The names in a directory that end in this text, in no order; `None` when there is no directory.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn names(&self, path: &Path, ends: &str) -> Result<Option<Vec<String>>, FileError> {
        let request = Request::List {
            path: path.into(),
            ends: ends.to_owned(),
            most: MOST_NAMES,
        };
        match self.ask("reading", path, &request, b"")?.0 {
            Answer::Names(names) => Ok(Some(names)),
            Answer::Nothing => Ok(None),
            other => Err(unfit("reading", path, &other)),
        }
    }

    /// The free bytes of the file system that this is on.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn free_space(&self, path: &Path) -> Result<u64, FileError> {
        let request = Request::Space { path: path.into() };
        match self.ask("looking at", path, &request, b"")?.0 {
            Answer::Bytes(free) => Ok(free),
            other => Err(unfit("looking at", path, &other)),
        }
    }

    /// Makes a file hold exactly these bytes unless it does already; durably, and never half
    /// (`files::replace`).
    ///
    /// # Errors
    /// It cannot be written by the account.
    pub fn ensure(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<Change, FileError> {
        let path_buf = path.to_owned();
        let request = Request::Ensure {
            path: path_buf,
            mode,
        };
        self.change("writing", path, &request, bytes)
    }

    /// Makes sure that there is no file of that name, durably.
    ///
    /// # Errors
    /// It cannot be removed by the account.
    pub fn ensure_absent(&self, path: &Path) -> Result<Change, FileError> {
        self.change(
            "removing",
            path,
            &Request::Absent { path: path.into() },
            b"",
        )
    }

    /// Makes a directory with that mode, and those above it that are missing.
    ///
    /// # Errors
    /// It cannot be made by the account.
    pub fn ensure_directory(&self, path: &Path, mode: u32) -> Result<Change, FileError> {
        let request = Request::MakeDirectory {
            path: path.into(),
            mode,
        };
        self.change("making", path, &request, b"")
    }

    /// Gives a file or directory of the account these permissions.
    ///
    /// # Errors
    /// It is not the account's.
    pub fn set_mode(&self, path: &Path, mode: u32) -> Result<Change, FileError> {
        let request = Request::Mode {
            path: path.into(),
            mode,
        };
        self.change("changing", path, &request, b"")
    }

    /// Gives another name to what is there, a link not followed; nothing may have that name yet.
    ///
    /// # Errors
    /// The account cannot do it.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        let request = Request::Rename {
            from: from.into(),
            to: to.into(),
        };
        self.change("renaming", from, &request, b"").map(drop)
    }

    /// Makes the link of that name lead there; what has the name and is no link stays.
    ///
    /// # Errors
    /// There is no link of that name, or the account cannot change it.
    pub fn lead(&self, link: &Path, target: &Path) -> Result<Change, FileError> {
        let request = Request::Lead {
            path: link.into(),
            target: target.into(),
        };
        self.change("changing", link, &request, b"")
    }

    /// Removes everything in a directory, and follows no link out of it.
    ///
    /// # Errors
    /// The account cannot remove all of it.
    pub fn clear(&self, path: &Path) -> Result<Change, FileError> {
        self.change("emptying", path, &Request::Clear { path: path.into() }, b"")
    }

    /// Removes an empty directory, if it is there.
    ///
    /// # Errors
    /// The account cannot remove it.
    pub fn remove_directory(&self, path: &Path) -> Result<Change, FileError> {
        let request = Request::RemoveDirectory { path: path.into() };
        self.change("removing", path, &request, b"")
    }

    fn stat(&self, path: &Path, follow: bool) -> Result<Option<Stat>, FileError> {
        let request = Request::Look {
            path: path.into(),
            follow,
        };
        match self.ask("looking at", path, &request, b"")?.0 {
            Answer::There(stat) => Ok(Some(stat)),
            Answer::Nothing => Ok(None),
            other => Err(unfit("looking at", path, &other)),
        }
    }

    fn path(&self, path: &Path, request: &Request) -> Result<Option<PathBuf>, FileError> {
        match self.ask("looking at", path, request, b"")?.0 {
            Answer::Path(found) => Ok(Some(found)),
            Answer::Nothing => Ok(None),
            other => Err(unfit("looking at", path, &other)),
        }
    }

    fn change(
        &self,
        action: &'static str,
        path: &Path,
        request: &Request,
        bytes: &[u8],
    ) -> Result<Change, FileError> {
        match self.ask(action, path, request, bytes)?.0 {
            Answer::Done { changed: true } => Ok(Change::Made),
            Answer::Done { changed: false } => Ok(Change::AlreadySo),
            other => Err(unfit(action, path, &other)),
        }
    }

    /// Asks the process that is the account. Whoever is it already, does it.
    fn ask(
        &self,
        action: &'static str,
        path: &Path,
        request: &Request,
        bytes: &[u8],
    ) -> Result<(Answer, Vec<u8>), FileError> {
        let failed = |reason| FileError {
            action,
            path: path.to_owned(),
            reason,
        };
        let answered = match self.user.filter(|user| !user.is_current()) {
            None => serve::perform(request, bytes),
            Some(user) => {
                let whom = Whom {
                    user,
                    program: PROGRAM.get().ok_or_else(|| failed(no_program()))?,
                    purpose: Purpose::Files,
                };
                helper::ask(&slot(whom), whom, request, bytes, self.limit(request))
                    .map_err(failed)?
            }
        };
        match answered {
            (Answer::Failed { errno, text }, _) => Err(failed(match errno {
                Some(errno) => io::Error::from_raw_os_error(errno),
                None => io::Error::other(text),
            })),
            answered => Ok(answered),
        }
    }

    fn limit(&self, request: &Request) -> Deadline {
        let bound = BOUND.lock().unwrap_or_else(PoisonError::into_inner);
        let each = match request.is_look() {
            true => bound.each.unwrap_or(LOOK),
            false => CHANGE,
        };
        let deadline = self.deadline.unwrap_or_else(|| Deadline::after(each));
        bound.end.map_or(deadline, |end| end.min(deadline))
    }
}

/// Ends the processes that act as accounts. The next question starts another one, which inherits what is
/// to be inherited by then ([`crate::change_lock`]).
pub(crate) fn end_helpers() {
    let slots = SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
    for ((_, purpose), slot) in slots.iter() {
        if *purpose == Purpose::Files {
            slot.end();
        }
    }
}

fn slot(whom: Whom<'_>) -> Arc<Slot> {
    let mut slots = SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
    let slot = slots.entry((whom.user.uid(), whom.purpose));
    Arc::clone(slot.or_default())
}

fn unfit(action: &'static str, path: &Path, answer: &Answer) -> FileError {
    FileError {
        action,
        path: path.to_owned(),
        reason: io::Error::other(format!("an unfit answer ({answer:?})")),
    }
}

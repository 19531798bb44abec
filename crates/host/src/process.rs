//! PostgreSQL's processes, as the kernel sees them.
//!
//! `postmaster.pid` is a claim, not a fact: it outlives a power cut, and its number may by then be
//! that of another program. Whether a server runs is decided from `/proc`, by kinship ([`kin`]): a
//! process of the database account that works in the data directory itself, or descends from one.
//! Whatever else has such a name, such a path or such a number is never signalled.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, kill_process, pidfd_open, pidfd_send_signal};

pub use rustix::process::Signal;

use pha_core::decide::{self, LockFile, Named, all_of, named, runs};
use pha_core::postgres::PmStatus;
use pha_core::snapshot::{NamedProcess, ServerProcess};

use crate::clock::Deadline;
use crate::command::find_program;
use crate::files::FileError;
use crate::user::User;
use kin::{Home, Stat};

mod kin;

/// Why the state of processes could not be told.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// `postmaster.pid` could not be read, or the data directory not be looked at.
    #[error(transparent)]
    File(#[from] FileError),
    /// `postmaster.pid` does not begin with a process number.
    #[error("{} begins with {}, not with a process number; if no postgres runs there, remove the file", path.display(), shown(text.as_deref()))]
    PidFile {
        /// The file.
        path: PathBuf,
        /// Its first line; `None` where it is not to be shown.
        text: Option<String>,
    },
    /// A server that is not the account's works in the data directory.
    #[error(
        "process {pid} is a postgres of the user id {uid} and works in {}, which is to be served as the user id {own}; it is left alone: correct pgdba or pgdata, or stop that server",
        pgdata.display()
    )]
    OtherAccount {
        /// The process.
        pid: i32,
        /// Whose it is.
        uid: u32,
        /// The account that the server should have.
        own: u32,
        /// The data directory.
        pgdata: PathBuf,
    },
    /// A process could not be looked at.
    #[error(
        "process {pid}{} cannot be looked at (/proc/{pid}/exe and cwd), and may be of the server; {}",
        directory.as_ref().map(|path| format!(", which works in {},", path.display())).unwrap_or_default(),
        match directory {
            Some(_) => "see why its program or that directory does not answer (dmesg, df), or end it",
            None => "see what holds it, and that the agent has root's rights",
        }
    )]
    Unclear {
        /// The process.
        pid: i32,
        /// Where it works, as far as the kernel says that.
        directory: Option<PathBuf>,
    },
    /// `/proc` could not be read.
    #[error("reading /proc failed: {0}")]
    Proc(io::Error),
    /// A signal could not be sent.
    #[error("signalling process {pid} failed: {reason}")]
    Signal {
        /// The process.
        pid: i32,
        /// What the system said.
        reason: io::Error,
    },
}

impl ProcessError {
    /// A process that may be of the server and cannot be looked at.
    fn unclear(pid: i32) -> Self {
        let directory = kin::directory(pid);
        Self::Unclear { pid, directory }
    }
}

/// The contents of `postmaster.pid` (`miscadmin.h`, `LOCK_FILE_LINE_*`). Lines that a starting
/// server has not written yet are `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PidFile {
    /// The process number; a standalone backend's, which the file shows negated, is positive here.
    pub pid: i32,
    /// The data directory as the server was given it.
    pub data_dir: Option<PathBuf>,
    /// When the server started, in seconds since 1970.
    pub start_time: Option<i64>,
    /// The TCP port, also part of the socket's name.
    pub port: Option<u16>,
    /// The first directory that has a socket.
    pub socket_dir: Option<PathBuf>,
    /// The first address that it listens on, `*` for all; none without TCP.
    pub listen_address: Option<String>,
    /// What the server says of itself.
    pub status: Option<PmStatus>,
}

/// A text that is quoted, or what stands for one that is not shown.
fn shown(text: Option<&str>) -> String {
    text.map_or_else(
        || "a text that is not shown (it is no plain file of the account's there)".to_owned(),
        |text| format!("{text:?}"),
    )
}

impl PidFile {
    /// Reads the text of a `postmaster.pid`; `None` when its first line is no process number.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim_end);
        let pid: i32 = lines.next()?.trim().parse().ok()?;
        if pid == 0 || pid == i32::MIN {
            return None;
        }
        let mut next = || lines.next().filter(|line| !line.is_empty());
        let data_dir = next().map(PathBuf::from);
        let start_time = next().and_then(|line| line.parse().ok());
        let port = next().and_then(|line| line.parse().ok());
        let socket_dir = next().map(PathBuf::from);
        let listen_address = next().map(str::to_owned);
        let _shared_memory = next();
        let status = match next() {
            Some("starting") => Some(PmStatus::Starting),
            Some("ready") => Some(PmStatus::Ready),
            Some("standby") => Some(PmStatus::Standby),
            Some("stopping") => Some(PmStatus::Stopping),
            Some(_) | None => None,
        };
        Some(Self {
            pid: pid.abs(),
            data_dir,
            start_time,
            port,
            socket_dir,
            listen_address,
            status,
        })
    }

    /// Whose it is, as far as it says.
    #[must_use]
    pub fn lock(&self) -> LockFile<'_> {
        LockFile {
            pid: self.pid,
            data_dir: self.data_dir.as_deref(),
        }
    }

    /// The lock file of the server's first socket, which lies beside the socket.
    pub fn socket_lock(&self) -> Option<PathBuf> {
        let name = format!(".s.PGSQL.{}.lock", self.port?);
        Some(self.socket_dir.as_ref()?.join(name))
    }

    /// Reads the `postmaster.pid` of a data directory; `None` when there is none, or an empty one, which names nobody.
    ///
    /// # Errors
    /// It cannot be read, or does not begin with a process number.
    pub fn read(pgdata: &Path, owner: &User) -> Result<Option<Self>, ProcessError> {
        Ok(Self::claimed(pgdata, owner)?.flatten())
    }

    /// As [`Self::read`], and tells an empty file (`Some(None)`) from none at all.
    fn claimed(pgdata: &Path, owner: &User) -> Result<Option<Option<Self>>, ProcessError> {
        let path = pgdata.join("postmaster.pid");
        let Some(content) = owner.files().read(&path)? else {
            return Ok(None);
        };
        let text = content.text();
        let text_of_error = || {
            let line = text.lines().next().unwrap_or_default();
            let shown = owner.files().may_quote(&content, pgdata);
            shown.then(|| line.chars().take(80).collect())
        };
        match Self::parse(&text) {
            Some(file) => Ok(Some(Some(file))),
            // The server creates the file and writes it in two steps; a crash between them
            // leaves it empty, which PostgreSQL itself calls bogus. It names nobody.
            None if text.trim().is_empty() => Ok(Some(None)),
            None => Err(ProcessError::PidFile {
                text: text_of_error(),
                path,
            }),
        }
    }
}

/// Whether a postmaster runs on a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Postmaster {
    /// There is no `postmaster.pid`. Processes that outlived their postmaster may still be there:
    /// see [`server_processes`].
    Absent,
    /// There is one, of a server that is gone.
    Stale {
        /// The number in the file, which may by now be another program's; 0 where the file is empty.
        pid: i32,
        /// How that is known.
        why: String,
    },
    /// It runs.
    Alive {
        /// The process.
        process: Process,
        /// What the kernel says of it: `S` sleeping, `R` running, `D` in an uninterruptible
        /// sleep, `T` stopped by a signal.
        state: char,
        /// What it has written about itself.
        file: PidFile,
    },
}

impl Postmaster {
    /// Looks at the `postmaster.pid` of a data directory that belongs to the account `owner`, and at
    /// the process that it names.
    ///
    /// # Errors
    /// [`ProcessError`]; also where a postgres of another account works in this very directory. It
    /// is no process of ours, so it is not signalled, and to take it for a leftover would allow a
    /// second server beside it.
    pub fn of(pgdata: &Path, owner: &User) -> Result<Self, ProcessError> {
        let uid = owner.uid();
        let file = match PidFile::claimed(pgdata, owner)? {
            None => return Ok(Self::Absent),
            // A power cut soon after its creation leaves such a one, which PostgreSQL refuses at a start.
            Some(None) => {
                return Ok(Self::Stale {
                    pid: 0,
                    why: "it is empty".to_owned(),
                });
            }
            Some(Some(file)) => file,
        };
        let stat = Stat::of(file.pid).map_err(ProcessError::Proc)?;
        let server = match (&stat, kin::is_postgres(file.pid)) {
            (None, _) | (_, Ok(None)) => Some(false),
            (_, is) => is.unwrap_or(None),
        };
        let process = Process {
            pid: file.pid,
            started: stat.as_ref().map_or(0, |stat| stat.started),
        };
        let seen = NamedProcess {
            exists: stat.is_some(),
            dead: stat.as_ref().is_some_and(Stat::is_dead),
            server,
            // Only of a server: the account's own process has to look at the directory.
            here: match server {
                Some(false) => Some(false),
                _ => Home::of(pgdata, owner)?.is_home_of(file.pid),
            },
            account: kin::account_of(file.pid).map_err(ProcessError::Proc)?,
            // Last: everything above is of one process if the number is still of the same one.
            same: process.is_alive(),
        };
        let (state, program) = stat.map_or((' ', String::new()), |stat| (stat.state, stat.name));
        let stale = |why: String| Ok(Self::Stale { pid: file.pid, why });
        match named(&seen, uid) {
            Named::Postmaster => Ok(Self::Alive {
                process,
                state,
                file,
            }),
            Named::Nobody(why) => stale(why.to_owned()),
            Named::Unclear => Err(ProcessError::unclear(file.pid)),
            Named::OtherProgram => stale(format!("that process is {program}")),
            Named::Foreign { uid: of } => Err(ProcessError::OtherAccount {
                pid: file.pid,
                uid: of,
                own: uid,
                pgdata: pgdata.to_owned(),
            }),
        }
    }
}

/// One process, told from a later one of the same number by when it was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    pid: i32,
    /// Clock ticks since boot (`/proc/pid/stat`, field 22).
    started: u64,
}

impl Process {
    /// The process that has that number now; `None` when there is none, it is dead, or that cannot be told.
    pub fn of(pid: i32) -> Option<Self> {
        Self::look(pid).ok().flatten()
    }

    /// The process that has that number now; `None` when there is none or it is dead.
    ///
    /// # Errors
    /// That cannot be told.
    pub(crate) fn look(pid: i32) -> io::Result<Option<Self>> {
        let stat = Stat::of(pid)?.filter(|stat| !stat.is_dead());
        Ok(stat.map(|stat| Self {
            pid,
            started: stat.started,
        }))
    }

    /// The first process of the account `uid` that runs that program of the system, for instance
    /// `pacemakerd` ([`runs`]); `None` where every process was looked at and none does.
    ///
    /// # Errors
    /// None is seen to, and that cannot be told of all of them.
    pub fn running(program: &str, uid: u32) -> io::Result<Option<Self>> {
        let file = find_program(Path::new(program));
        let file = file.and_then(|path| kin::identity(&path));
        let mut untold = None;
        for pid in kin::numbers()? {
            match Self::runs_as(pid, uid, file, program) {
                Ok(Some(process)) => return Ok(Some(process)),
                Ok(None) => {}
                Err(error) => untold = Some(error),
            }
        }
        untold.map_or(Ok(None), Err)
    }

    /// The process of that number, if it runs that program as that account.
    fn runs_as(
        pid: i32,
        uid: u32,
        file: Option<(u64, u64)>,
        program: &str,
    ) -> io::Result<Option<Self>> {
        let Some(process) = Self::look(pid)? else {
            return Ok(None);
        };
        if kin::account_of(pid)? != Some(uid) {
            return Ok(None);
        }
        let is_it = match kin::had(pid, "exe") {
            Some(own) => runs(&own, file, program),
            // A kernel's thread has no file at all, and what is called otherwise is another program.
            None if kin::is_named(pid, &[program])? == Some(true) => {
                return Err(io::Error::other(format!(
                    "the file of process {pid} cannot be looked at"
                )));
            }
            None => false,
        };
        Ok((is_it && process.is_alive()).then_some(process))
    }

    /// Whether it runs as that account and has that very file open (its device and inode).
    pub(crate) fn holds(self, uid: u32, file: (u64, u64)) -> bool {
        account_is(self.pid, uid) && kin::has_open(self.pid, file) && self.is_alive()
    }

    /// The WAL receiver with that number, if it is a child of this postmaster.
    ///
    /// The number comes from SQL and proves nothing: the process must be a child of the postmaster,
    /// run its program as its account, and say itself that it is a WAL receiver.
    pub fn receiver(self, pid: i32, uid: u32) -> Option<Self> {
        let stat = Stat::of(pid).ok()??;
        let ours = !stat.is_dead()
            && stat.parent == self.pid
            && account_is(pid, uid)
            && matches!(kin::is_postgres(pid), Ok(Some(true)))
            && kin::executable(pid) == kin::executable(self.pid)
            && kin::is_wal_receiver(pid);
        let child = Self {
            pid,
            started: stat.started,
        };
        (ours && child.is_alive() && self.is_alive()).then_some(child)
    }

    /// Its number.
    pub fn pid(self) -> i32 {
        self.pid
    }

    /// The number of its parent; `None` when it is gone.
    pub fn parent(self) -> Option<i32> {
        Stat::of(self.pid)
            .ok()?
            .filter(|stat| stat.started == self.started)
            .map(|stat| stat.parent)
    }

    /// The programs that it has started and that are still at work.
    ///
    /// # Errors
    /// The processes cannot be listed.
    pub fn children(self) -> io::Result<Vec<Self>> {
        let numbers = kin::numbers()?;
        let child = |pid| {
            let stat = Stat::of(pid).ok()?;
            let stat = stat.filter(|stat| !stat.is_dead() && stat.parent == self.pid)?;
            Some(Self {
                pid,
                started: stat.started,
            })
        };
        let children = numbers.into_iter().filter_map(child).collect();
        // They are another's where it had ended, and its number was given again.
        Ok(if self.is_alive() {
            children
        } else {
            Vec::new()
        })
    }

    /// Whether it is still there, which it is until it was seen to be gone. A zombie counts as gone: it holds no file
    /// and writes nothing.
    pub fn is_alive(self) -> bool {
        Self::look(self.pid).map_or(true, |now| now == Some(self))
    }

    /// Whether it was seen to be there: nothing is done to a process that may be another by now.
    fn is_seen(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends it a signal, and never anyone else; `false` when it is gone. Number and start time are
    /// what was judged; the descriptor is taken before they are compared once more, so that it is
    /// that process's, and the signal goes through the descriptor.
    pub fn signal(self, signal: Signal) -> Result<bool, ProcessError> {
        let error = |errno: Errno| ProcessError::Signal {
            pid: self.pid,
            reason: errno.into(),
        };
        let sent = match self.pidfd() {
            // The descriptor was opened before the start time was compared: it is this process's.
            Ok(Some(pidfd)) if self.is_seen() => pidfd_send_signal(&pidfd, signal),
            // A kernel without pidfd leaves a moment in which the number could be reused.
            Ok(None) if self.is_seen() => match Pid::from_raw(self.pid) {
                Some(pid) => kill_process(pid, signal),
                None => Err(Errno::SRCH),
            },
            Ok(_) => Err(Errno::SRCH),
            Err(errno) => Err(errno),
        };
        match sent {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(errno) => Err(error(errno)),
        }
    }

    /// Waits until it is gone; `false` when it is still there at the deadline.
    pub fn wait_gone(self, deadline: Deadline) -> bool {
        let pidfd = self.pidfd().ok().flatten();
        while self.is_alive() {
            if deadline.expired() {
                return false;
            }
            match &pidfd {
                Some(pidfd) => wait_readable(pidfd, deadline.left()),
                // No event tells of the end of somebody else's child before Linux 5.3.
                None => std::thread::sleep(Duration::from_millis(20).min(deadline.left())),
            }
        }
        true
    }

    /// A descriptor that can be read once the process has ended; `None` where the kernel has none.
    pub fn end(self) -> Option<OwnedFd> {
        self.pidfd().ok().flatten().filter(|_| self.is_alive())
    }

    /// A descriptor of the process; `None` where the kernel knows none (before Linux 5.3, or under a filter).
    fn pidfd(self) -> Result<Option<OwnedFd>, Errno> {
        let pid = Pid::from_raw(self.pid).ok_or(Errno::SRCH)?;
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Some(pidfd)),
            Err(Errno::NOSYS | Errno::PERM) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

/// Whether a process was seen to be that account's.
fn account_is(pid: i32, uid: u32) -> bool {
    kin::account_of(pid).is_ok_and(|account| account == Some(uid))
}

fn wait_readable(fd: &OwnedFd, timeout: Duration) {
    let timeout = Timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // The caller looks again whatever this returns.
    let _ = poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout));
}

/// What one look at a server's processes has shown.
#[derive(Debug)]
#[must_use]
pub struct Family {
    /// Those that are of it.
    pub sure: Vec<Process>,
    /// Why these may not be all: one may be of it, and cannot be looked at.
    pub unclear: Option<ProcessError>,
}

impl Family {
    /// All of them.
    ///
    /// # Errors
    /// [`ProcessError::Unclear`]: there may be one more.
    pub fn whole(self) -> Result<Vec<Process>, ProcessError> {
        self.unclear.map_or(Ok(self.sure), Err)
    }

    /// Those that are to be ended, as long as there are any; what cannot be looked at is neither signalled nor
    /// keeps the others from it.
    ///
    /// # Errors
    /// [`ProcessError::Unclear`]: none is seen, and there may be one.
    pub fn left(self) -> Result<Vec<Process>, ProcessError> {
        match self.sure.is_empty() {
            true => self.whole(),
            false => Ok(self.sure),
        }
    }
}

/// The processes of the account `owner` that are of a server on that data directory, and whether there may be more.
/// Where nobody can say which directory that is, each of the account's servers may be of it, so that only a list
/// without any is one.
///
/// # Errors
/// `/proc` cannot be read; or the data directory cannot be looked at and the account has servers, of
/// which each may be of it.
pub fn family(pgdata: &Path, owner: &User) -> Result<Family, ProcessError> {
    let home = Home::of(pgdata, owner);
    let (mut processes, mut seen) = (Vec::new(), Vec::new());
    for pid in kin::numbers().map_err(ProcessError::Proc)? {
        // A process that ends while it is looked at is simply not there.
        let server = match kin::is_postgres(pid) {
            Ok(Some(false) | None) => continue,
            Ok(is) => is,
            Err(_) => None,
        };
        if kin::account_of(pid).map_err(ProcessError::Proc)? != Some(owner.uid()) {
            continue;
        }
        let stat = Stat::of(pid).map_err(ProcessError::Proc)?;
        let Some(stat) = stat.filter(|stat| !stat.is_dead()) else {
            continue;
        };
        processes.push(Process {
            pid,
            started: stat.started,
        });
        seen.push(ServerProcess {
            pid,
            parent: stat.parent,
            server,
            executable: kin::executable(pid),
            here: home
                .as_ref()
                .map_or(Some(false), |home| home.is_home_of(pid)),
        });
    }
    if let Err(error) = home
        && !seen.is_empty()
    {
        return Err(error.into());
    }
    // What was read above is of one process only if the number is still of the same one. What ends has no program
    // and no directory any more for a moment before it is dead.
    let is_there = |process: &Process| {
        process.is_alive() && !matches!(kin::is_postgres(process.pid), Ok(None | Some(false)))
    };
    processes.retain(is_there);
    seen.retain(|seen| processes.iter().any(|process| process.pid == seen.pid));
    let (ours, unclear) = decide::family(&seen);
    processes.retain(|process| ours.contains(&process.pid));
    Ok(Family {
        sure: processes,
        unclear: unclear.map(ProcessError::unclear),
    })
}

/// Every process of the account `owner` that is of a server on that data directory: postmaster,
/// backends, and backends that outlived their postmaster. PostgreSQL is stopped when there is none.
///
/// # Errors
/// Those of [`family`]; [`ProcessError::Unclear`] where one may be of it and cannot be looked at.
pub fn server_processes(pgdata: &Path, owner: &User) -> Result<Vec<Process>, ProcessError> {
    family(pgdata, owner)?.whole()
}

/// Every process of a copy of ours into that data directory (`pg_basebackup`, `pg_rewind`), as the
/// account `uid`. They run in a process group of their own, and so go on where the command that began
/// them was killed. The words of a command line are a text, so only those count that mean the same
/// directory by it: what was started on this node itself, not in another container.
///
/// # Errors
/// `/proc` cannot be read, or a process of the account's that may be such a copy not be looked at.
pub fn copies_into(pgdata: &Path, uid: u32) -> Result<Vec<Process>, ProcessError> {
    let ours = ["--pgdata", "--target-pgdata"].map(|option| {
        let mut word = OsString::from(option);
        word.push("=");
        word.push(pgdata);
        word
    });
    let mut found = Vec::new();
    for pid in kin::numbers().map_err(ProcessError::Proc)? {
        // A process that ends while it is looked at is simply not there.
        let Some(process) = Process::look(pid).map_err(ProcessError::Proc)? else {
            continue;
        };
        if kin::account_of(pid).map_err(ProcessError::Proc)? != Some(uid) {
            continue;
        }
        let is_copy = kin::is_named(pid, &["pg_basebackup", "pg_rewind"]);
        let names_it = kin::words(pid).map(|words| {
            let mut words = words.iter();
            words.any(|word| ours.iter().any(|our| our.as_bytes() == word))
        });
        let seen = [
            is_copy.map_or(None, |is| Some(is.unwrap_or(false))),
            names_it.ok(),
            kin::sees_our_files(pid),
        ];
        match all_of(&seen) {
            Some(false) => {}
            _ if !process.is_alive() => {}
            Some(true) => found.push(process),
            None => return Err(ProcessError::unclear(pid)),
        }
    }
    Ok(found)
}

/// Kills every process of the account `owner` that is of a server on that data directory and waits
/// until none is left; those that are still there at the deadline (in an uninterruptible sleep) are
/// returned.
///
/// # Errors
/// Those of [`family`]; a signal cannot be sent; or [`ProcessError::Unclear`]: all that were seen are gone, and one
/// may be of it that cannot be looked at.
pub fn kill_everything(
    pgdata: &Path,
    owner: &User,
    deadline: Deadline,
) -> Result<Vec<Process>, ProcessError> {
    kill_seen(|| family(pgdata, owner), deadline)
}

fn kill_seen(
    look: impl Fn() -> Result<Family, ProcessError>,
    deadline: Deadline,
) -> Result<Vec<Process>, ProcessError> {
    loop {
        let there = look()?.left()?;
        if there.is_empty() {
            return Ok(there);
        }
        for process in &there {
            process.signal(Signal::KILL)?;
        }
        // A postmaster may have started one more just before it died: look again when these are gone.
        for process in &there {
            process.wait_gone(deadline);
        }
        if deadline.expired() {
            return look()?.left();
        }
    }
}

/// The process that has started another one, or has adopted it. `None` where that cannot be told.
pub(crate) fn parent(pid: i32) -> Option<i32> {
    Stat::of(pid).ok().flatten().map(|stat| stat.parent)
}

/// How often a process has given up the processor by itself, which it does each time it goes to
/// sleep (`voluntary_ctxt_switches`). `None` when the process is gone.
pub fn voluntary_switches(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let count = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    count.trim().parse().ok()
}

#[cfg(test)]
mod tests;

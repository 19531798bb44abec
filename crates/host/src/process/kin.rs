//! Which processes are of the account's server, as the kernel knows it.
//!
//! - The **account**: all four user ids. A program with another's rights that the account started has
//!   another effective one.
//! - The **data directory**: device and inode of the working directory, which every process of a
//!   server has from its start (`ChangeToDataDir`). They are the same in every mount namespace, where
//!   a hardened unit or a container has its own; the same path there may be another directory.
//! - **Descent**: what such a process has forked ([`pha_core::decide::family`]).
//!
//! The name of the executable only sorts out what is of the account and no server: a shell that
//! somebody left in the data directory, a running `archive_command`. It proves nothing.

use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pha_core::decide::{self, is_home, is_home_by_path, may_be_named};
use pha_core::parse::title;
use pha_core::snapshot::{DumbDirectory, HadFile};

use rustix::io::Errno;

use crate::files::FileError;
use crate::user::User;

/// What PostgreSQL's server is called, by itself and by those who sell it.
const SERVERS: [&str; 3] = ["postgres", "postmaster", "edb-postgres"];

/// What `/proc/pid/stat` says.
pub(super) struct Stat {
    pub(super) name: String,
    pub(super) state: char,
    pub(super) parent: i32,
    pub(super) started: u64,
}

/// What was looked at of a process; `None` where the process is gone, also while it was looked at.
pub(super) fn unless_gone<T>(looked: io::Result<T>) -> io::Result<Option<T>> {
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

impl Stat {
    /// `None` where there is no such process.
    ///
    /// # Errors
    /// That cannot be told.
    pub(super) fn of(pid: i32) -> io::Result<Option<Self>> {
        let Some(text) = unless_gone(std::fs::read(format!("/proc/{pid}/stat")))? else {
            return Ok(None);
        };
        let stat = Self::parse(&String::from_utf8_lossy(&text));
        stat.map(Some)
            .ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat is not understood")))
    }

    /// The name stands in parentheses and may hold any character, parentheses too: the last one ends it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (before, after) = text.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        let mut fields = after.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        // Field 3 was the state, 4 the parent; the start time is field 22.
        let started = fields.nth(17)?.parse().ok()?;
        Some(Self {
            name: name.to_owned(),
            state,
            parent,
            started,
        })
    }

    pub(super) fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// The numbers of all processes.
pub(super) fn numbers() -> io::Result<Vec<i32>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    Ok(numbers)
}

/// The account that a process runs as, where all its user ids say the same; `None` also of one that is gone.
///
/// # Errors
/// It cannot be told.
pub(super) fn account_of(pid: i32) -> io::Result<Option<u32>> {
    let Some(status) = unless_gone(std::fs::read(format!("/proc/{pid}/status")))? else {
        return Ok(None);
    };
    let ids = user_ids(&String::from_utf8_lossy(&status));
    let ids =
        ids.ok_or_else(|| io::Error::other(format!("/proc/{pid}/status names no user ids")))?;
    let one = ids.windows(2).all(|ids| ids[0] == ids[1]);
    Ok(ids.first().copied().filter(|_| one))
}

/// The user ids in `/proc/pid/status`; `None` where they are not there, or not understood.
pub(super) fn user_ids(status: &str) -> Option<Vec<u32>> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let ids = line.split_ascii_whitespace().map(|id| id.parse().ok());
    let ids: Vec<u32> = ids.collect::<Option<_>>()?;
    (!ids.is_empty()).then_some(ids)
}

/// Device and inode of a file.
pub(super) fn identity(path: &Path) -> Option<(u64, u64)> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

/// The file that a process runs, by device and inode.
pub(super) fn executable(pid: i32) -> Option<(u64, u64)> {
    identity(Path::new(&format!("/proc/{pid}/exe")))
}

/// Whether the executable is called like PostgreSQL's server.
///
/// # Errors
/// As [`is_named`].
pub(super) fn is_postgres(pid: i32) -> io::Result<Option<bool>> {
    is_named(pid, &SERVERS)
}

/// Whether the executable has one of these names; `None` of a process that is gone, or has none.
///
/// # Errors
/// It cannot be told.
pub(super) fn is_named(pid: i32, names: &[&str]) -> io::Result<Option<bool>> {
    let is = |path: PathBuf| {
        let path = path.as_os_str().as_bytes();
        names.iter().any(|name| decide::is_named(path, name))
    };
    match unless_gone(std::fs::read_link(format!("/proc/{pid}/exe"))) {
        Ok(executable) => Ok(executable.map(is)),
        Err(error) => {
            let called = unless_gone(std::fs::read(format!("/proc/{pid}/comm")))?;
            let may_be = |called: &[u8]| names.iter().any(|name| may_be_named(called, name));
            match called {
                Some(called) if may_be(&called) => Err(error),
                called => Ok(called.map(|_| false)),
            }
        }
    }
}

/// What the kernel says of a file that a process has: `exe` or `cwd`.
pub(super) fn had(pid: i32, what: &str) -> Option<HadFile> {
    let link = format!("/proc/{pid}/{what}");
    let meta = std::fs::metadata(&link).ok()?;
    let removed = meta.nlink() == 0;
    let path = removed.then(|| std::fs::read_link(&link).ok()).flatten();
    Some(HadFile {
        identity: (meta.dev(), meta.ino()),
        removed,
        path: path.map_or_else(Vec::new, |path| path.into_os_string().into_vec()),
        same_view: removed && sees_our_files(pid) == Some(true),
    })
}

/// Whether a process has that very file open.
pub(super) fn has_open(pid: i32, file: (u64, u64)) -> bool {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    entries
        .flatten()
        .any(|entry| identity(&entry.path()) == Some(file))
}

/// Whether a path means the same to a process as it does here; `None` where that cannot be told.
pub(super) fn sees_our_files(pid: i32) -> Option<bool> {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    Some(namespace(&pid.to_string())? == namespace("self")?)
}

/// The words of a process's command line; none of one that is gone.
///
/// # Errors
/// They cannot be read.
pub(super) fn words(pid: i32) -> io::Result<Vec<Vec<u8>>> {
    let line = unless_gone(std::fs::read(format!("/proc/{pid}/cmdline")))?;
    let line = line.unwrap_or_default();
    Ok(line.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect())
}

/// Whether a process says that it receives WAL.
pub(super) fn is_wal_receiver(pid: i32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    title::is_wal_receiver(&String::from_utf8_lossy(&line))
}

/// Where a process works, as the kernel names it.
pub(super) fn directory(pid: i32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// The directory that a process works in, where its file system does not answer.
fn dumb_directory(pid: i32) -> Option<DumbDirectory> {
    let path = directory(pid)?;
    let refusal = |path: &Path| std::fs::metadata(path).err()?.raw_os_error();
    let own = refusal(Path::new(&format!("/proc/{pid}/cwd")))?;
    Some(DumbDirectory {
        same_view: sees_our_files(pid) == Some(true),
        same_answer: refusal(&path) == Some(own),
        path: path.into_os_string().into_vec(),
    })
}

/// A data directory, known by what it is and by where it is.
pub(super) struct Home {
    identity: Option<(u64, u64)>,
    path: PathBuf,
    /// Without links; `None` where that cannot be told.
    real: Option<PathBuf>,
}

impl Home {
    /// As its account sees it, which may have made a link of any name in it.
    ///
    /// # Errors
    /// The account cannot look at it, or not in time: that says nothing about who works in it.
    pub(super) fn of(pgdata: &Path, owner: &User) -> Result<Self, FileError> {
        let files = owner.files();
        let there = files.look(pgdata)?;
        Ok(Self {
            identity: there.map(|stat| (stat.device, stat.inode)),
            path: pgdata.to_owned(),
            real: files.real(pgdata).ok().flatten(),
        })
    }

    /// Whether a process works in this directory ([`is_home`], [`is_home_by_path`]); `None` where that cannot be
    /// told.
    pub(super) fn is_home_of(&self, pid: i32) -> Option<bool> {
        let real = self.real.as_ref().map(|path| path.as_os_str().as_bytes());
        let path = real.unwrap_or(self.path.as_os_str().as_bytes());
        match had(pid, "cwd") {
            Some(works_in) => Some(is_home(&works_in, self.identity, path)),
            None => is_home_by_path(&dumb_directory(pid)?, real),
        }
    }
}

//! Which processes are of the account's server, as the kernel knows it.
//!
//! - The **account**: all four user ids. A program with another's rights that the account started has
//!   another effective one.
//! - The **data directory**: device and inode of the working directory, which every process of a
//!   server has from its start (`ChangeToDataDir`). They are the same in every mount namespace, where
//!   a hardened unit or a container has its own; the same path there may be another directory.
//! - **Descent**: what such a process has forked ([`family`]).
//!
//! The name of the executable only sorts out what is of the account and no server: a shell that
//! somebody left in the data directory, a running `archive_command`. It proves nothing.

use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pha_core::decide::{self, family, is_home};
use pha_core::parse::title;
use pha_core::snapshot::{HadFile, ServerProcess};

use super::{Process, ProcessError};
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

impl Stat {
    pub(super) fn of(pid: i32) -> Option<Self> {
        let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(&String::from_utf8_lossy(&text))
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

/// Every process of the account that is of a server on that data directory. Where nobody can say which
/// directory that is, each of the account's servers may be of it, so that only a list without any is one.
pub(super) fn server(pgdata: &Path, owner: &User) -> Result<Vec<Process>, ProcessError> {
    let home = Home::of(pgdata, owner);
    let (mut processes, mut seen) = (Vec::new(), Vec::new());
    for pid in numbers().map_err(ProcessError::Proc)? {
        // A process that ends while it is looked at is simply not there.
        if !is_postgres(pid) || account_of(pid) != Some(owner.uid()) {
            continue;
        }
        let Some(stat) = Stat::of(pid).filter(|stat| !stat.is_dead()) else {
            continue;
        };
        processes.push(Process {
            pid,
            started: stat.started,
        });
        seen.push(ServerProcess {
            pid,
            parent: stat.parent,
            executable: executable(pid),
            here: home.as_ref().is_ok_and(|home| home.is_home_of(pid)),
        });
    }
    if let Err(error) = home
        && !seen.is_empty()
    {
        return Err(error.into());
    }
    let ours = family(&seen);
    // What was read above is of one process only if the number is still of the same one.
    processes.retain(|process| ours.contains(&process.pid) && process.is_alive());
    Ok(processes)
}

/// The account that a process runs as, where all its user ids say the same.
pub(super) fn account_of(pid: i32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let mut uids = line
        .split_ascii_whitespace()
        .map(|uid| uid.parse::<u32>().ok());
    let first = uids.next()??;
    uids.all(|uid| uid == Some(first)).then_some(first)
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
pub(super) fn is_postgres(pid: i32) -> bool {
    SERVERS.iter().any(|name| is_named(pid, name))
}

/// Whether the executable has that name.
pub(super) fn is_named(pid: i32, name: &str) -> bool {
    let executable = std::fs::read_link(format!("/proc/{pid}/exe"));
    executable.is_ok_and(|path| decide::is_named(path.as_os_str().as_bytes(), name))
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
        same_view: removed && sees_our_files(pid),
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

/// Whether a path means the same to a process as it does here.
pub(super) fn sees_our_files(pid: i32) -> bool {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let own = namespace("self");
    own.is_some() && namespace(&pid.to_string()) == own
}

/// Whether a process says that it receives WAL.
pub(super) fn is_wal_receiver(pid: i32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    title::is_wal_receiver(&String::from_utf8_lossy(&line))
}

/// A data directory, known by what it is and by where it is.
pub(super) struct Home {
    identity: Option<(u64, u64)>,
    path: PathBuf,
}

impl Home {
    /// As its account sees it, which may have made a link of any name in it.
    ///
    /// # Errors
    /// The account cannot look at it, or not in time: that says nothing about who works in it.
    pub(super) fn of(pgdata: &Path, owner: &User) -> Result<Self, FileError> {
        let files = owner.files();
        let there = files.look(pgdata)?;
        let real = files.real(pgdata).ok().flatten();
        Ok(Self {
            identity: there.map(|stat| (stat.device, stat.inode)),
            path: real.unwrap_or_else(|| pgdata.to_owned()),
        })
    }

    /// Whether a process works in this directory ([`is_home`]).
    pub(super) fn is_home_of(&self, pid: i32) -> bool {
        let path = self.path.as_os_str().as_bytes();
        had(pid, "cwd").is_some_and(|works_in| is_home(&works_in, self.identity, path))
    }
}

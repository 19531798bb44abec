//! The process that is the account: it gives up every right of root before it reads a word, and
//! then does what it is asked with the rights of the account, until nobody asks any more.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, RenameFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use rustix::process::{Gid, Uid};

use super::wire::{self, Answer, Kind, Request, Stat};
use crate::files::{self, LIMIT};

/// How a program ends that could not be started (as a shell tells it).
pub(super) const NOT_STARTED: i32 = 126;

/// Serves what comes over standard input, a socket, as the account that the words name: its uid,
/// its gid, and its groups with commas between them.
pub(super) fn run(words: &[String]) {
    close_others();
    let Some(mut socket) = socket() else {
        return;
    };
    // After that: whoever changes its ids loses the signal.
    let denied = confine()
        .and_then(|()| become_account(words))
        .and_then(|()| crate::change_lock::end_with_caller())
        .err()
        .map(|error| Answer::Failed {
            errno: None,
            text: format!("becoming the account failed: {error}"),
        });
    while let Ok(Some((request, bytes))) = wire::receive::<Request>(&mut socket) {
        let answered = match (&denied, &request) {
            (Some(denied), _) => wire::send(&mut socket, denied, &[]),
            (None, Request::Connect { path }) => match connect(path) {
                Ok(connection) => wire::send(&mut socket, &Answer::Connected, &[])
                    .and_then(|()| wire::send_descriptor(&socket, connection.as_fd())),
                Err(error) => wire::send(&mut socket, &failed(&error), &[]),
            },
            (None, request) => {
                let (answer, bytes) = perform(request, &bytes);
                wire::send(&mut socket, &answer, &bytes)
            }
        };
        if answered.is_err() {
            return;
        }
    }
}

/// Becomes the account and then the program: the words are uid, gid and groups, the file, the name that
/// it is told as its own, and its arguments. Comes back only where that failed.
pub(super) fn run_program(words: &[OsString]) {
    let text = |word: &OsString| word.to_string_lossy().into_owned();
    let error = match words {
        [uid, gid, groups, file, name, arguments @ ..] => {
            match become_account(&[text(uid), text(gid), text(groups)]) {
                Ok(()) => std::process::Command::new(file)
                    .arg0(name)
                    .args(arguments)
                    .exec(),
                Err(error) => error,
            }
        }
        _ => io::Error::other("an account and a program are expected"),
    };
    // Where nobody reads it there is nobody to tell.
    let _ = writeln!(io::stderr(), "it could not be started: {error}");
}

/// Closes what was open in whoever started root's process and did not close it: pipes of Pacemaker's
/// executor, for instance, are no affair of the account's.
fn close_others() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let numbers: Vec<i32> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // The one of the directory itself is closed already.
        let _ = nix::unistd::close(number);
    }
}

fn socket() -> Option<UnixStream> {
    Some(std::io::stdin().as_fd().try_clone_to_owned().ok()?.into())
}

/// Gets no other rights any more, by no program, and keeps what it makes to the account.
fn confine() -> io::Result<()> {
    // The guard is kept from the kernel's search for memory; this process need not be.
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
    rustix::process::umask(Mode::from_raw_mode(0o077));
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// Takes the account's ids, all of them, and sees that no right of root is left. The process has
/// one thread here, so that what holds for the thread holds for the process.
fn become_account(words: &[String]) -> io::Result<()> {
    use rustix::thread as raw;
    let number = |text: &str| {
        let number = text.parse::<u32>().ok();
        number.ok_or_else(|| io::Error::other("an id is expected"))
    };
    let [uid, gid, groups] = words else {
        return Err(io::Error::other("uid, gid and groups are expected"));
    };
    let uid = number(uid)?;
    if uid == 0 {
        return Err(io::Error::other("root is no database account"));
    }
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(number(gid)?));
    let groups = groups
        .split(',')
        .filter(|group| !group.is_empty())
        .map(|group| number(group).map(Gid::from_raw))
        .collect::<io::Result<Vec<_>>>()?;
    raw::set_thread_groups(&groups)?;
    raw::set_thread_res_gid(gid, gid, gid)?;
    raw::set_thread_res_uid(uid, uid, uid)?;
    let rights = raw::capabilities(None)?;
    if !rights.effective.is_empty() || !rights.permitted.is_empty() {
        return Err(io::Error::other("rights of root are left"));
    }
    Ok(())
}

/// Does one request, with the rights of whoever calls.
pub(super) fn perform(request: &Request, bytes: &[u8]) -> (Answer, Vec<u8>) {
    let done = match request {
        Request::Read { path, from, most } => match read(path, *from, *most) {
            Ok(Some((answer, bytes))) => return (answer, bytes),
            Ok(None) => Ok(Answer::Nothing),
            Err(error) => Err(error),
        },
        other => without_content(other, bytes),
    };
    (done.unwrap_or_else(|error| failed(&error)), Vec::new())
}

fn failed(error: &io::Error) -> Answer {
    Answer::Failed {
        errno: error.raw_os_error(),
        text: error.to_string(),
    }
}

/// Connects to a socket in a directory. It does not wait for a server that has no room for one more.
pub(super) fn connect(path: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

fn without_content(request: &Request, bytes: &[u8]) -> io::Result<Answer> {
    let done = |changed: files::Change| Answer::Done {
        changed: changed.made(),
    };
    match request {
        Request::Read { .. } | Request::Connect { .. } => {
            Err(io::Error::other("more than an answer is expected"))
        }
        Request::Look { path, follow } => look(path, *follow),
        Request::Link { path } => match std::fs::read_link(path) {
            Ok(target) => Ok(Answer::Path(target)),
            // Not a link.
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                Ok(Answer::Nothing)
            }
            Err(error) => nothing_or(error),
        },
        Request::Real { path } => match std::fs::canonicalize(path) {
            Ok(real) => Ok(Answer::Path(real)),
            Err(error) => nothing_or(error),
        },
        Request::List { path, ends, most } => list(path, ends, *most),
        Request::Space { path } => {
            let space = rustix::fs::statvfs(path)?;
            Ok(Answer::Bytes(space.f_bavail.saturating_mul(space.f_frsize)))
        }
        Request::Ensure { path, mode } => files::ensure(path, bytes, *mode)
            .map(done)
            .map_err(|error| error.reason),
        Request::Absent { path } => files::ensure_absent(path)
            .map(done)
            .map_err(|error| error.reason),
        Request::MakeDirectory { path, mode } => make_directory(path, *mode),
        Request::Mode { path, mode } => set_mode(path, *mode),
        Request::Rename { from, to } => rename(from, to),
        Request::Lead { path, target } => lead(path, target),
        Request::Clear { path } => clear(path),
        Request::RemoveDirectory { path } => match std::fs::remove_dir(path) {
            Ok(()) => Ok(Answer::Done { changed: true }),
            Err(error) if is_absence(&error) => Ok(Answer::Done { changed: false }),
            Err(error) => Err(error),
        },
    }
}

/// What is no regular file is not even opened.
fn read(path: &Path, from: u64, most: u64) -> io::Result<Option<(Answer, Vec<u8>)>> {
    use std::io::{Read as _, Seek as _};
    let Some((file, stat)) = files::open_regular(path)? else {
        return Ok(None);
    };
    let stat = of_stat(&stat);
    let real = opened_path(&file);
    let mut file = File::from(file);
    file.seek(io::SeekFrom::Start(from))?;
    let most = most.min(LIMIT);
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        if most == LIMIT {
            return Err(io::Error::other(
                "larger than any file that belongs here (16 MiB); make it smaller, or move it away",
            ));
        }
        bytes.truncate(usize::try_from(most).unwrap_or_default());
    }
    Ok(Some((Answer::Content { stat, real }, bytes)))
}

/// The path of an open file, without links (proc(5)).
fn opened_path(file: &OwnedFd) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

fn look(path: &Path, follow: bool) -> io::Result<Answer> {
    let flags = if follow {
        AtFlags::empty()
    } else {
        AtFlags::SYMLINK_NOFOLLOW
    };
    match rustix::fs::statat(rustix::fs::CWD, path, flags) {
        Ok(stat) => Ok(Answer::There(of_stat(&stat))),
        Err(errno) => nothing_or(errno.into()),
    }
}

/// A stat as it is told.
pub(super) fn of_stat(stat: &rustix::fs::Stat) -> Stat {
    Stat {
        kind: match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Link,
            _ => Kind::Other,
        },
        uid: stat.st_uid,
        mode: stat.st_mode & 0o7777,
        links: stat.st_nlink,
        length: stat.st_size.try_into().unwrap_or_default(),
        device: stat.st_dev,
        inode: stat.st_ino,
    }
}

fn list(path: &Path, ends: &str, most: usize) -> io::Result<Answer> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => return nothing_or(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().into_string();
        // A file that could not be named again would be overlooked.
        let name = name.map_err(|name| io::Error::other(format!("{name:?} is no UTF-8")))?;
        if names.len() < most && name.ends_with(ends) {
            names.push(name);
        }
    }
    Ok(Answer::Names(names))
}

fn make_directory(path: &Path, mode: u32) -> io::Result<Answer> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    if std::fs::metadata(path).is_ok_and(|meta| meta.is_dir()) {
        return Ok(Answer::Done { changed: false });
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(Answer::Done { changed: true })
}

fn set_mode(path: &Path, mode: u32) -> io::Result<Answer> {
    use std::os::unix::fs::PermissionsExt as _;
    let changed = std::fs::metadata(path)?.permissions().mode() & 0o7777 != mode;
    if changed {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(Answer::Done { changed })
}

/// Moves nothing over what is there already.
fn rename(from: &Path, to: &Path) -> io::Result<Answer> {
    use rustix::fs::CWD;
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system that knows no such flag.
        Err(Errno::INVAL) if std::fs::symlink_metadata(to).is_err() => std::fs::rename(from, to)?,
        other => other?,
    }
    flush_directory_of(to)?;
    Ok(Answer::Done { changed: true })
}

/// What has that name and is no link stays, and is an error. Whoever looks meanwhile finds the old link or
/// the new one.
fn lead(path: &Path, target: &Path) -> io::Result<Answer> {
    use rustix::fs::CWD;
    if std::fs::read_link(path)? == target {
        return Ok(Answer::Done { changed: false });
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}.new"));
    match std::fs::remove_file(&new) {
        Err(error) if !is_absence(&error) => return Err(error),
        Ok(()) | Err(_) => {}
    }
    rustix::fs::symlinkat(target, CWD, &new)?;
    std::fs::rename(&new, path)?;
    flush_directory_of(path)?;
    Ok(Answer::Done { changed: true })
}

/// A name that was changed is so after a power cut too.
fn flush_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    File::open(directory)?.sync_all()
}

fn clear(path: &Path) -> io::Result<Answer> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if is_absence(&error) => return Ok(Answer::Done { changed: false }),
        Err(error) => return Err(error),
    };
    let mut changed = false;
    for entry in entries {
        let path = entry?.path();
        let removed = if std::fs::symlink_metadata(&path)?.is_dir() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        removed.map_err(|error| {
            let text = format!("{error} ({})", path.display());
            io::Error::new(error.kind(), text)
        })?;
        changed = true;
    }
    Ok(Answer::Done { changed })
}

fn nothing_or(error: io::Error) -> io::Result<Answer> {
    if is_absence(&error) {
        Ok(Answer::Nothing)
    } else {
        Err(error)
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

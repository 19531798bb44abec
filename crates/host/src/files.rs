//! Reading small files and replacing them so that no crash leaves half of one.
//!
//! Whoever calls acts with his own rights: root uses this in directories that are root's. What lies
//! in those of another account goes through [`crate::account`], and what root believes later through
//! [`crate::own`].

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, renameat, unlinkat};
use rustix::io::Errno;

/// The most bytes that a file read here may have; configuration and state are far smaller.
pub const LIMIT: u64 = 16 << 20;

/// Whether an `ensure` had to do anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Change {
    /// It was not so, and now it is.
    Made,
    /// It was so already; nothing was touched.
    AlreadySo,
}

impl Change {
    /// Whether anything was changed.
    pub fn made(self) -> bool {
        self == Self::Made
    }

    /// A change when either of two was.
    pub fn or(self, other: Self) -> Self {
        if self.made() { self } else { other }
    }
}

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{action} {} failed: {reason}", path.display())]
pub struct FileError {
    /// What was tried: "reading", "writing", "removing".
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub reason: io::Error,
}

impl FileError {
    pub(crate) fn new(action: &'static str, path: &Path, reason: impl Into<io::Error>) -> Self {
        Self {
            action,
            path: path.to_owned(),
            reason: reason.into(),
        }
    }

    /// Whether the system refused for lack of rights.
    pub fn is_permission(&self) -> bool {
        self.reason.kind() == io::ErrorKind::PermissionDenied
    }
}

/// Reads a regular file of at most [`LIMIT`] bytes; `None` when there is none.
///
/// Anything else under that name (a FIFO, which would block the opening; a directory; a device)
/// is an error: the directories of PostgreSQL belong to its user, and what is in them need not be
/// what its name says.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let error = |reason: io::Error| FileError::new("reading", path, reason);
    match open_regular(path).map_err(error)? {
        Some((file, _)) => contents(file).map(Some).map_err(error),
        None => Ok(None),
    }
}

/// Opens a regular file to be read; `None` when there is none.
///
/// What it is is asked before it is opened, of a descriptor that opens nothing, and it is opened by that
/// descriptor: opening alone waits for the other end of a FIFO, takes a terminal, or arms a watchdog.
pub(crate) fn open_regular(path: &Path) -> io::Result<Option<(OwnedFd, Stat)>> {
    let found = match rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(found) => found,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    let stat = fstat(&found)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("not a regular file"));
    }
    let name = format!("/proc/self/fd/{}", found.as_raw_fd());
    // A lease of another process could hold the opening up.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(name, flags, Mode::empty())?;
    Ok(Some((file, stat)))
}

/// As [`read`], in a directory that is open already; a link is not followed.
pub(crate) fn read_at(dir: &OwnedFd, name: &OsStr) -> io::Result<Option<Vec<u8>>> {
    let flags =
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    match openat(dir, name, flags, Mode::empty()) {
        Ok(file) => contents(file).map(Some),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn contents(file: OwnedFd) -> io::Result<Vec<u8>> {
    let stat = fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    File::from(file).take(LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LIMIT {
        return Err(io::Error::other(
            "larger than any file that belongs here (16 MiB); make it smaller, or move it away",
        ));
    }
    Ok(bytes)
}

/// Reads a file as [`read`] does, as text; bytes that are not UTF-8 become U+FFFD.
pub fn read_text(path: &Path) -> Result<Option<String>, FileError> {
    Ok(read(path)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Makes a file hold exactly these bytes, durably: after a crash it holds either the old or the new.
///
/// The new file is written beside the old one, flushed, and renamed over it; then the directory is
/// flushed. A symbolic link of that name is replaced, not followed. Owner and group are those of
/// the acting user.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    replace_inner(path, bytes, mode).map_err(|reason| FileError::new("writing", path, reason))
}

/// Makes a file hold exactly these bytes unless it does already.
pub fn ensure(path: &Path, bytes: &[u8], mode: u32) -> Result<Change, FileError> {
    if read(path)?.is_some_and(|current| current == bytes) {
        return Ok(Change::AlreadySo);
    }
    replace(path, bytes, mode)?;
    Ok(Change::Made)
}

/// Makes sure that there is no file of that name, durably.
pub fn ensure_absent(path: &Path) -> Result<Change, FileError> {
    let error = |reason: io::Error| FileError::new("removing", path, reason);
    let (dir, name) = open_parent(path).map_err(error)?;
    remove_at(&dir, &name).map_err(error)
}

pub(crate) fn remove_at(dir: &OwnedFd, name: &OsStr) -> io::Result<Change> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) => {
            rustix::fs::fsync(dir)?;
            Ok(Change::Made)
        }
        Err(Errno::NOENT) => Ok(Change::AlreadySo),
        Err(errno) => Err(errno.into()),
    }
}

fn replace_inner(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let (dir, name) = open_parent(path)?;
    replace_at(&dir, &name, bytes, mode, None)
}

pub(crate) fn replace_at(
    dir: &OwnedFd,
    name: &OsStr,
    bytes: &[u8],
    mode: u32,
    owner: Option<(u32, u32)>,
) -> io::Result<()> {
    let temporary = temporary_name(name);
    let written = write_new(dir.as_fd(), &temporary, bytes, mode, owner)
        .and_then(|()| renameat(dir, &temporary, dir, name).map_err(io::Error::from));
    if let Err(error) = written {
        // The half-written file is of no use; if it cannot be removed either, the first error
        // is still the one that says what happened.
        let _ = unlinkat(dir, &temporary, AtFlags::empty());
        return Err(error);
    }
    Ok(rustix::fs::fsync(dir)?)
}

/// Everything after this goes through the opened directory, so that renaming its path meanwhile
/// cannot lead a write elsewhere.
fn open_parent(path: &Path) -> io::Result<(OwnedFd, OsString)> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::other("not the name of a file"))?;
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok((
        rustix::fs::open(parent, flags, Mode::empty())?,
        name.to_owned(),
    ))
}

fn write_new(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    bytes: &[u8],
    mode: u32,
    owner: Option<(u32, u32)>,
) -> io::Result<()> {
    // A leftover of a crash, or of a malicious hand: removed, never written through.
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(dir, name, flags, Mode::from_raw_mode(0o600))?);
    if let Some((uid, gid)) = owner {
        std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
    }
    // Explicit, because the umask that Pacemaker gives an agent is not PostgreSQL's.
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn temporary_name(name: &OsStr) -> OsString {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(
        ".{}.{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    ));
    temporary
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("pha-files-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_file_is_written_once_and_left_alone_after() {
        let dir = Dir::new("once");
        let path = dir.0.join("file");
        assert!(ensure(&path, b"one", 0o640).unwrap().made());
        let inode = std::fs::metadata(&path).unwrap().ino();
        assert!(!ensure(&path, b"one", 0o640).unwrap().made());
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
        assert!(ensure(&path, b"two", 0o640).unwrap().made());
        assert_eq!(read_text(&path).unwrap().as_deref(), Some("two"));
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            0o640
        );
        assert_eq!(
            std::fs::read_dir(&dir.0).unwrap().count(),
            1,
            "a temporary file was left"
        );
    }

    #[test]
    fn a_symbolic_link_is_replaced_and_its_target_untouched() {
        let dir = Dir::new("link");
        let (target, link) = (dir.0.join("target"), dir.0.join("link"));
        std::fs::write(&target, "precious").unwrap();
        symlink(&target, &link).unwrap();
        replace(&link, b"new", 0o600).unwrap();
        assert_eq!(read_text(&target).unwrap().as_deref(), Some("precious"));
        assert!(std::fs::symlink_metadata(&link).unwrap().is_file());
    }

    #[test]
    fn absence_is_ensured_and_is_no_error_to_read() {
        let dir = Dir::new("absent");
        let path = dir.0.join("file");
        assert!(read(&path).unwrap().is_none());
        assert!(read(&path.join("below")).unwrap().is_none());
        assert!(!ensure_absent(&path).unwrap().made());
        std::fs::write(&path, "").unwrap();
        assert!(ensure_absent(&path).unwrap().made());
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_regular_file_is_an_error_and_does_not_block() {
        let dir = Dir::new("odd");
        let fifo = dir.0.join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        for path in [fifo.as_path(), dir.0.as_path(), Path::new("/dev/zero")] {
            let error = read(path).unwrap_err().to_string();
            assert!(error.ends_with("not a regular file"), "{error}");
        }
    }

    #[test]
    fn a_missing_directory_is_an_error_that_names_the_file() {
        let error = replace(Path::new("/no/such/dir/file"), b"", 0o600)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("writing /no/such/dir/file failed"),
            "{error}"
        );
    }
}

//! Directories that only root can write, and what root does in them: reached by descriptors, one
//! component of the path after the other, so that no name on the way can be another's work.
//!
//! "Root" is whoever this process is: a test that is somebody else has directories of its own.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, fstat, openat};
use rustix::io::Errno;

use crate::files::{self, Change, FileError};
use crate::user::User;

/// Where what must survive a restart of the node is kept: what is remembered of the register, and
/// copies that have begun.
const STATE_DIR: &str = "/var/lib/pha4pgsql";

/// The directory of what root believes later; another one for a test (`PHA_STATE_DIR`).
#[must_use]
pub fn state_directory() -> PathBuf {
    std::env::var_os("PHA_STATE_DIR").map_or_else(|| STATE_DIR.into(), PathBuf::from)
}

/// Links on the way; the kernel follows as many.
const MOST_LINKS: usize = 40;

/// Who can write in the directory that a path's last component lies in.
#[derive(Debug)]
#[must_use]
pub enum Parent {
    /// Root alone, in this directory and in all above it; and the last component.
    Own(OwnedFd, OsString),
    /// Somebody else as well: what is there is that account's affair.
    Others,
    /// Root alone, as far as it is there; these components are missing, the last one included.
    Missing(OwnedFd, VecDeque<OsString>),
}

/// Finds the directory that the last component of a path lies in. Links on the way are followed where
/// only root can have made them.
///
/// # Errors
/// The path is not absolute, or cannot be walked.
pub fn parent_of(path: &Path) -> io::Result<Parent> {
    let (mut dir, mut left) = begin(path)?;
    let mut links = 0;
    loop {
        let stat = fstat(&dir)?;
        let own = is_own(&stat);
        if !own && !is_sticky(&stat) {
            return Ok(Parent::Others);
        }
        let Some(name) = left.pop_front() else {
            return Err(io::Error::other("the path names no file"));
        };
        if left.is_empty() {
            return Ok(match own {
                true => Parent::Own(dir, name),
                false => Parent::Others,
            });
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let next = match openat(&dir, &name, flags, Mode::empty()) {
            Ok(next) => next,
            Err(Errno::NOENT) => {
                left.push_front(name);
                return Ok(Parent::Missing(dir, left));
            }
            Err(errno) => return Err(errno.into()),
        };
        let stat = fstat(&next)?;
        if !own && !is_mine(&stat) {
            return Ok(Parent::Others);
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            dir = next;
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(Errno::LOOP.into());
        }
        let target = rustix::fs::readlinkat(&next, c"", Vec::new())?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        let mut found = if target.is_absolute() {
            let (root, found) = begin(&target)?;
            dir = root;
            found
        } else {
            names(&target)
        };
        found.append(&mut left);
        left = found;
    }
}

fn begin(path: &Path) -> io::Result<(OwnedFd, VecDeque<OsString>)> {
    if !path.is_absolute() {
        return Err(io::Error::other("a path that begins with / is expected"));
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty())?;
    Ok((root, names(path)))
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            // The kernel knows what is above a directory.
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

fn is_mine(stat: &Stat) -> bool {
    stat.st_uid == 0 || stat.st_uid == rustix::process::geteuid().as_raw()
}

fn is_own(stat: &Stat) -> bool {
    // An access control list shows in the bits of the group.
    let by_group = stat.st_mode & 0o020 != 0 && stat.st_gid != 0;
    is_mine(stat) && !by_group && stat.st_mode & 0o002 == 0
}

/// Everybody may write there, and nobody can take another's name away (`/tmp`): what is root's own
/// there stays what it is.
fn is_sticky(stat: &Stat) -> bool {
    stat.st_uid == 0 && stat.st_mode & 0o1000 != 0
}

/// A directory of root's, opened to be read and flushed; made with that mode where it is missing.
///
/// # Errors
/// Somebody else can write in it, or in one above it.
fn directory(path: &Path, make: Option<u32>) -> Result<Option<OwnedFd>, FileError> {
    let failed = |reason| FileError::new("opening", path, reason);
    // As if it were the parent of something.
    let (dir, missing) = match parent_of(&path.join("x")).map_err(failed)? {
        Parent::Own(dir, _) => (dir, VecDeque::new()),
        Parent::Missing(dir, mut missing) => {
            missing.pop_back();
            (dir, missing)
        }
        Parent::Others => return Err(failed(others())),
    };
    let dir = match (missing.is_empty(), make) {
        (true, _) => dir,
        (false, Some(mode)) => make_below(dir, &missing, mode).map_err(failed)?,
        (false, None) => return Ok(None),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(&dir, ".", flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
    Ok(Some(dir))
}

fn others() -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        "others than root can write in this directory or in one above it; make it root's, with mode 0700 (chown root: …; chmod 0700 …)",
    )
}

/// Makes directories of root's, one in the other.
fn make_below(mut dir: OwnedFd, names: &VecDeque<OsString>, mode: u32) -> io::Result<OwnedFd> {
    for name in names {
        dir = make_one(&dir, name, mode)?;
    }
    Ok(dir)
}

fn make_one(dir: &OwnedFd, name: &OsStr, mode: u32) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = openat(dir, name, flags, Mode::empty())?;
    if !is_own(&fstat(&made)?) {
        return Err(others());
    }
    rustix::fs::fchmod(&made, Mode::from_raw_mode(mode))?;
    Ok(made)
}

/// Reads a file of root's; `None` when there is none, or not even the directory.
///
/// # Errors
/// Somebody else can write in the directory; it is no regular file; it cannot be read.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let (parent, name) = split(path)?;
    match directory(parent, None)? {
        Some(dir) => files::read_at(&dir, name).map_err(|e| FileError::new("reading", path, e)),
        None => Ok(None),
    }
}

/// Makes a file of root's hold exactly these bytes, durably (`files::replace`); the directory is made
/// where it is missing.
///
/// # Errors
/// Somebody else can write in the directory; it cannot be written.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let (parent, name) = split(path)?;
    let failed = |reason| FileError::new("writing", path, reason);
    let dir = directory(parent, Some(0o700))?.ok_or_else(|| failed(Errno::NOENT.into()))?;
    files::replace_at(&dir, name, bytes, mode, None).map_err(failed)
}

/// Makes a file of root's hold exactly these bytes unless it does already.
///
/// # Errors
/// As [`read`] and [`replace`].
pub fn ensure(path: &Path, bytes: &[u8], mode: u32) -> Result<Change, FileError> {
    if read(path)?.is_some_and(|current| current == bytes) {
        return Ok(Change::AlreadySo);
    }
    replace(path, bytes, mode)?;
    Ok(Change::Made)
}

/// Makes a directory of root's where it is missing.
///
/// # Errors
/// Somebody else can write in it, or in one above it.
pub fn ensure_directory(path: &Path) -> Result<(), FileError> {
    directory(path, Some(0o700)).map(drop)
}

/// Makes a file in a directory of root's that only that account can read, anew; the directory, where it
/// is missing, can be passed through by all.
///
/// # Errors
/// Somebody else can write in the directory; it cannot be written.
pub fn lend(user: &User, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let (parent, name) = split(path)?;
    let failed = |reason| FileError::new("writing", path, reason);
    let dir = directory(parent, Some(0o755))?.ok_or_else(|| failed(Errno::NOENT.into()))?;
    let owner = Some((user.uid(), user.gid()));
    files::replace_at(&dir, name, bytes, 0o600, owner).map_err(failed)
}

/// Makes a file in a directory of root's hold exactly these bytes unless it does already: one that everybody can read and
/// nobody but root can write. The directory can be passed through by all afterwards, whoever has made it. No owner is
/// set: a guard has no right to (S11).
///
/// # Errors
/// Somebody else can write in the directory; it cannot be written.
pub fn show(path: &Path, bytes: &[u8]) -> Result<Change, FileError> {
    let (parent, name) = split(path)?;
    let failed = |reason| FileError::new("writing", path, reason);
    let dir = directory(parent, Some(0o755))?.ok_or_else(|| failed(Errno::NOENT.into()))?;
    make_passable(&dir).map_err(|errno| failed(errno.into()))?;
    let current = files::read_at(&dir, name).map_err(|e| FileError::new("reading", path, e))?;
    if current.is_some_and(|current| current == bytes) {
        return Ok(Change::AlreadySo);
    }
    files::replace_at(&dir, name, bytes, 0o644, None).map_err(failed)?;
    Ok(Change::Made)
}

fn make_passable(dir: &OwnedFd) -> rustix::io::Result<()> {
    const PASS: u32 = 0o011;
    let mode = fstat(dir)?.st_mode & 0o7777;
    match mode & PASS {
        PASS => Ok(()),
        _ => rustix::fs::fchmod(dir, Mode::from_raw_mode(mode | PASS)),
    }
}

/// Makes sure that there is no file of root's of that name, durably.
///
/// # Errors
/// Somebody else can write in the directory; it cannot be removed.
pub fn ensure_absent(path: &Path) -> Result<Change, FileError> {
    let (parent, name) = split(path)?;
    match directory(parent, None)? {
        Some(dir) => files::remove_at(&dir, name).map_err(|e| FileError::new("removing", path, e)),
        None => Ok(Change::AlreadySo),
    }
}

/// Opens a file of root's to be locked; it and its directory are made where they are missing.
///
/// # Errors
/// Somebody else can write in the directory; it cannot be opened.
pub fn open_lock(path: &Path) -> Result<File, FileError> {
    let (parent, name) = split(path)?;
    let failed = |errno: Errno| FileError::new("opening", path, errno);
    let dir = directory(parent, Some(0o700))?.ok_or_else(|| failed(Errno::NOENT))?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(&dir, name, flags, Mode::from_raw_mode(0o600)).map_err(failed)?;
    Ok(File::from(file))
}

fn split(path: &Path) -> Result<(&Path, &OsStr), FileError> {
    path.parent()
        .zip(path.file_name())
        .ok_or_else(|| FileError::new("opening", path, io::Error::other("the path names no file")))
}

/// Makes a directory for an account, with mode 0700 or another: by root where only root can write in
/// the one above it, and by the account itself where that can. One that is there stays as it is.
///
/// # Errors
/// It cannot be made.
pub fn ensure_directory_for(user: &User, path: &Path, mode: u32) -> Result<Change, FileError> {
    let failed = |reason| FileError::new("making", path, reason);
    if user.files().look(path)?.is_some() {
        return Ok(Change::AlreadySo);
    }
    let (dir, missing) = match parent_of(path).map_err(failed)? {
        Parent::Own(dir, name) => (dir, VecDeque::from([name])),
        Parent::Missing(dir, missing) => (dir, missing),
        Parent::Others => return user.files().ensure_directory(path, mode),
    };
    let mut above = missing;
    let Some(name) = above.pop_back() else {
        return Err(failed(io::Error::other("the path names no directory")));
    };
    let made = make_below(dir, &above, 0o755)
        .and_then(|dir| given_to(user, &dir, &name, mode))
        .map_err(failed);
    made.map(|()| Change::Made)
}

/// Makes a directory and gives it away; one that somebody else has just made is not given away.
fn given_to(user: &User, dir: &OwnedFd, name: &OsStr, mode: u32) -> io::Result<()> {
    rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o700))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = openat(dir, name, flags, Mode::empty())?;
    std::os::unix::fs::fchown(made.as_fd(), Some(user.uid()), Some(user.gid()))?;
    Ok(rustix::fs::fchmod(&made, Mode::from_raw_mode(mode))?)
}

/// Gives another name, in the same directory, to what is there: by root where only root can write in
/// that directory, and by the account itself where that can.
///
/// # Errors
/// It cannot be done, or the name is taken.
pub fn rename_for(user: &User, from: &Path, to: &Path) -> Result<(), FileError> {
    let failed = |reason| FileError::new("renaming", from, reason);
    let Some(new) = to.file_name().filter(|_| from.parent() == to.parent()) else {
        return Err(failed(io::Error::other(
            "the new name is in another directory",
        )));
    };
    match parent_of(from).map_err(failed)? {
        Parent::Own(dir, old) => {
            rustix::fs::renameat_with(&dir, &old, &dir, new, RenameFlags::NOREPLACE)
                .and_then(|()| {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    rustix::fs::fsync(openat(&dir, ".", flags, Mode::empty())?)
                })
                .map_err(|errno| failed(errno.into()))
        }
        Parent::Others => user.files().rename(from, to),
        Parent::Missing(..) => Err(failed(Errno::NOENT.into())),
    }
}

/// Removes an empty directory in the same way, if it is there.
///
/// # Errors
/// It cannot be removed.
pub fn remove_directory_for(user: &User, path: &Path) -> Result<Change, FileError> {
    let failed = |reason| FileError::new("removing", path, reason);
    match parent_of(path).map_err(failed)? {
        Parent::Own(dir, name) => match rustix::fs::unlinkat(&dir, &name, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(Change::Made),
            Err(Errno::NOENT) => Ok(Change::AlreadySo),
            Err(errno) => Err(failed(errno.into())),
        },
        Parent::Others => user.files().remove_directory(path),
        Parent::Missing(..) => Ok(Change::AlreadySo),
    }
}

/// Whether nobody but root can exchange what a path leads to, or write to it: what root may run.
///
/// # Errors
/// It cannot be looked at.
pub fn is_roots_file(path: &Path) -> io::Result<bool> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Parent::Own(dir, name) = parent_of(&path)? else {
            return Ok(false);
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&dir, &name, flags, Mode::empty())?;
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Ok(is_own(&stat));
        }
        let target = rustix::fs::readlinkat(&file, c"", Vec::new())?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        path = path.parent().unwrap_or(Path::new("/")).join(target);
    }
    Err(Errno::LOOP.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pha-own-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_directory_of_ones_own_is_found_also_through_links_of_ones_own() {
        let dir = Directory::new("found");
        std::fs::create_dir(dir.0.join("real")).unwrap();
        symlink("real", dir.0.join("relative")).unwrap();
        symlink(dir.0.join("real"), dir.0.join("absolute")).unwrap();
        for way in ["real", "relative", "absolute", "real/../real"] {
            let found = parent_of(&dir.0.join(way).join("x")).unwrap();
            assert!(matches!(found, Parent::Own(_, _)), "{way}: {found:?}");
        }
        let found = parent_of(&dir.0.join("real/a/b/x")).unwrap();
        assert!(matches!(found, Parent::Missing(_, left) if left.len() == 3));
        assert!(parent_of(Path::new("relative")).is_err());
    }

    #[test]
    fn where_others_can_write_nothing_is_ones_own() {
        let dir = Directory::new("others");
        let open = dir.0.join("open");
        std::fs::create_dir_all(open.join("below")).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        symlink(&open, dir.0.join("link")).unwrap();
        for way in [
            "open/x",
            "open/below/x",
            "link/x",
            "link/below/x",
            "open/a/b",
        ] {
            let found = parent_of(&dir.0.join(way)).unwrap();
            assert!(matches!(found, Parent::Others), "{way}: {found:?}");
        }
        assert!(matches!(
            parent_of(Path::new("/tmp/x")).unwrap(),
            Parent::Others
        ));
        let error = replace(&open.join("file"), b"", 0o600).unwrap_err();
        assert!(error.is_permission(), "{error}");
        assert!(read(&open.join("below/file")).unwrap_err().is_permission());
    }

    #[test]
    fn files_are_kept_read_and_removed() {
        let dir = Directory::new("files");
        let path = dir.0.join("a/b/file");
        assert_eq!(read(&path).unwrap(), None);
        assert!(!ensure_absent(&path).unwrap().made());
        replace(&path, b"kept", 0o600).unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"kept");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&dir.0.join("a")), mode(&path)), (0o700, 0o600));
        assert!(ensure_absent(&path).unwrap().made());
        symlink("/etc/passwd", &path).unwrap();
        assert!(read(&path).is_err(), "a link was followed");
    }

    #[test]
    fn what_is_shown_is_read_by_all_and_written_by_root_alone() {
        let dir = Directory::new("shown");
        let path = dir.0.join("run/file");
        // Whoever was first may have kept the directory to himself.
        replace(&dir.0.join("run/other"), b"", 0o600).unwrap();
        assert!(show(&path, b"shown").unwrap().made());
        assert!(!show(&path, b"shown").unwrap().made());
        let file = std::fs::metadata(&path).unwrap();
        assert_eq!(file.uid(), rustix::process::geteuid().as_raw());
        assert_eq!(file.mode() & 0o777, 0o644);
        let passed = std::fs::metadata(dir.0.join("run")).unwrap();
        assert_eq!(passed.mode() & 0o777, 0o711);
        std::fs::set_permissions(dir.0.join("run"), std::fs::Permissions::from_mode(0o777))
            .unwrap();
        assert!(show(&path, b"other").unwrap_err().is_permission());
    }

    #[test]
    fn a_program_that_another_can_exchange_is_not_roots() {
        let dir = Directory::new("program");
        let open = dir.0.join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        std::fs::write(dir.0.join("own"), "").unwrap();
        std::fs::write(open.join("other"), "").unwrap();
        symlink(open.join("other"), dir.0.join("link")).unwrap();
        symlink("own", dir.0.join("good")).unwrap();
        let is = |name: &str| is_roots_file(&dir.0.join(name)).unwrap();
        assert!(is("own") && is("good"));
        assert!(!is("open/other") && !is("link"));
        assert!(is_roots_file(Path::new("/bin/sh")).unwrap());
    }
}

//! The node's change lock (R12): who changes PostgreSQL's synchronous standbys or the register's
//! holders has it from its look to its last effect.
//!
//! It is a `flock` of a file in root's own directory in memory, so that no hanging disk holds it up. The
//! kernel drops it when the last process ends that has the descriptor: an operation that hangs in the
//! middle of an effect keeps it, and so does a process that makes the effect for it, which inherits the
//! descriptor ([`inherited`]). That such a process is not there for ever, and does not go on when
//! nobody waits for it any more, [`end_with_caller`] and [`end_after`] see to.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pha_core::names::ResourceName;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use crate::account;
use crate::clock::Deadline;

mod caller;
mod shared;

pub use caller::{end_after, end_with_caller};
pub(crate) use shared::inherited;

/// How often a lock that another process holds is tried again: `flock` waits without a limit or not
/// at all.
const POLL: Duration = Duration::from_millis(10);

/// The most that is read of what a holder has written about itself.
const NOTE: usize = 200;

/// The lock of one resource on this node.
#[derive(Debug, Clone)]
pub struct ChangeLock {
    path: PathBuf,
}

/// The lock, held until this and every inherited descriptor is closed.
#[derive(Debug)]
#[must_use = "the lock ends when this is dropped"]
pub struct Held {
    _file: File,
    /// How often the lock had been taken before; what [`ChangeLock::look`] says of a lock that nobody
    /// has taken since.
    pub before: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        shared::set(None);
        account::end_helpers();
    }
}

/// Why the lock was not obtained.
#[derive(Debug, thiserror::Error)]
pub enum ChangeLockError {
    /// Another process has it.
    #[error(
        "{holder} has this node's change lock ({}) and changes the synchronous standbys or the holders; if it hangs, end it with kill -9", path.display()
    )]
    Busy {
        /// The lock's file.
        path: PathBuf,
        /// What the holder has written about itself.
        holder: String,
    },
    /// The file cannot be used.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// The file or its directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: io::Error,
    },
}

impl ChangeLock {
    /// The lock of `resource`, in the agent's directory that a reboot empties. Touches nothing.
    #[must_use]
    pub fn new(directory: &Path, resource: &ResourceName) -> Self {
        Self {
            path: directory.join(format!("{resource}.change-lock")),
        }
    }

    /// Takes the lock, waiting for its holder until the deadline. `who` is what others are told.
    ///
    /// # Errors
    /// [`ChangeLockError`].
    pub fn take(&self, who: &str, deadline: Deadline) -> Result<Held, ChangeLockError> {
        loop {
            let file = self.open()?;
            if !self.lock(&file, deadline)? {
                return Err(ChangeLockError::Busy {
                    path: self.path.clone(),
                    holder: Note::of(&file).holder,
                });
            }
            // Of a file that was removed meanwhile another one could be locked beside this.
            if self.is_current(&file) {
                let before = Note::of(&file).count;
                let note = Note {
                    count: before.wrapping_add(1),
                    holder: format!("{who} (process {})", std::process::id()),
                };
                note.write_to(&file)
                    .map_err(|reason| self.unusable(reason))?;
                let shared = file.as_fd().try_clone_to_owned();
                let shared = shared.map_err(|reason| self.unusable(reason))?;
                shared::set(Some(shared));
                // One that runs has not inherited it.
                account::end_helpers();
                return Ok(Held {
                    _file: file,
                    before,
                });
            }
            if deadline.expired() {
                return Err(self.unusable(io::Error::other("removed again and again")));
            }
        }
    }

    /// How often it has been taken, while nobody has it: who finds the same number when it takes the
    /// lock knows that nobody has had it in between.
    #[must_use]
    pub fn look(&self) -> Option<u64> {
        let Ok(file) = File::open(&self.path) else {
            return Some(0);
        };
        flock(&file, FlockOperation::NonBlockingLockShared).ok()?;
        Some(Note::of(&file).count)
    }

    fn open(&self) -> Result<File, ChangeLockError> {
        let directory = self.path.parent().unwrap_or_else(|| Path::new("/"));
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory);
        made.map_err(|reason| self.unusable(reason))?;
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0))
            .open(&self.path)
            .map_err(|reason| self.unusable(reason))
    }

    /// Whether the lock was obtained before the deadline.
    fn lock(&self, file: &File, deadline: Deadline) -> Result<bool, ChangeLockError> {
        loop {
            match flock(file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(true),
                Err(Errno::WOULDBLOCK) if deadline.expired() => return Ok(false),
                Err(Errno::WOULDBLOCK) => std::thread::sleep(POLL.min(deadline.left())),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.unusable(errno.into())),
            }
        }
    }

    fn is_current(&self, file: &File) -> bool {
        match (file.metadata(), std::fs::metadata(&self.path)) {
            (Ok(own), Ok(there)) => (own.dev(), own.ino()) == (there.dev(), there.ino()),
            _ => false,
        }
    }

    fn unusable(&self, reason: io::Error) -> ChangeLockError {
        ChangeLockError::Unusable {
            path: self.path.clone(),
            reason,
        }
    }
}

/// What the holder has written into the file.
struct Note {
    /// How often the lock has been taken, this time included.
    count: u64,
    /// Who has taken it.
    holder: String,
}

impl Note {
    /// What is in the file; a text that no holder has written counts as an empty one.
    fn of(file: &File) -> Self {
        let mut bytes = [0_u8; NOTE];
        let read = file.read_at(&mut bytes, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&bytes[..read]);
        let known = text.trim_end().split_once(' ');
        let known = known.and_then(|(count, holder)| Some((count.parse().ok()?, holder)));
        let (count, holder) = known.unwrap_or((0, "another process"));
        Self {
            count,
            holder: holder.to_owned(),
        }
    }

    fn write_to(&self, file: &File) -> io::Result<()> {
        file.set_len(0)?;
        file.write_all_at(format!("{} {}\n", self.count, self.holder).as_bytes(), 0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn lock(name: &str) -> (ChangeLock, PathBuf) {
        let directory =
            std::env::temp_dir().join(format!("pha-change-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let resource = "pgsql".parse().unwrap();
        (ChangeLock::new(&directory, &resource), directory)
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_millis(50))
    }

    /// For a lock that nobody has. The other tests of this program start processes, and one that has been
    /// forked holds every descriptor until it executes its program.
    fn free() -> Deadline {
        Deadline::after(Duration::from_secs(30))
    }

    fn look(lock: &ChangeLock) -> u64 {
        let deadline = free();
        loop {
            if let Some(count) = lock.look() {
                return count;
            }
            assert!(!deadline.expired(), "nobody has the lock");
            std::thread::sleep(POLL);
        }
    }

    #[test]
    fn one_at_a_time_and_the_other_is_told_who() {
        let (lock, directory) = lock("one");
        let held = lock.take("a monitor", free()).unwrap();
        let refused = lock.take("a promotion", soon()).unwrap_err();
        assert!(matches!(refused, ChangeLockError::Busy { .. }));
        assert_eq!(lock.look(), None, "it is held");
        let own = format!("a monitor (process {})", std::process::id());
        assert!(refused.to_string().starts_with(&own), "{refused}");
        drop(held);
        drop(lock.take("a promotion", free()).unwrap());
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn who_has_looked_before_knows_whether_another_one_had_it() {
        let (lock, directory) = lock("looked");
        assert_eq!(look(&lock), 0, "there is no file yet");
        assert_eq!(lock.take("a monitor", free()).unwrap().before, 0);
        let looked = look(&lock);
        assert_eq!(lock.take("a monitor", free()).unwrap().before, looked);
        assert_ne!(lock.take("a monitor", free()).unwrap().before, looked);
        std::fs::write(&lock.path, "nonsense").unwrap();
        assert_eq!(look(&lock), 0, "it is read as an empty one");
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_file_that_was_removed_is_not_the_lock() {
        let (lock, directory) = lock("removed");
        let old = lock.take("a monitor", free()).unwrap();
        std::fs::remove_file(&lock.path).unwrap();
        let new = lock.take("another", free()).unwrap();
        assert!(lock.is_current(&new._file) && !lock.is_current(&old._file));
        assert!(lock.take("a third one", soon()).is_err());
        std::fs::remove_dir_all(directory).unwrap();
    }
}

//! What this node keeps durably about the register: one small file per resource, and two locks.
//!
//! The *promotion lock* makes "I promote" and "I promise not to promote" exclude each other on this
//! node (R7); it is held as long as that takes. A second, short lock keeps two writers of the file
//! from undoing each other. Both are `flock`s, which the kernel drops with the process.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pha_core::quoted::{printable, quoted};
use pha_core::register::{
    DataEnd, GivingWay, Memory, NotRelied, PromiseRefused, Register, give_way,
};
use pha_core::remedy::Remedy;
use pha_core::snapshot::SeenRole;
use rustix::fs::{FlockOperation, flock};

use crate::clock::Deadline;
use crate::files::FileError;
use crate::own;

/// How often a lock that another process holds is tried again: `flock` waits without a limit or
/// not at all.
const POLL: Duration = Duration::from_millis(10);

/// How long one writer waits for another, which holds its lock for one small write.
const WRITE: Duration = Duration::from_secs(5);

/// Why the memory could not be read or written. Nothing may be promoted then.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// Reading or writing a file failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The directory or a lock in it cannot be used.
    #[error("{}: {reason}", path.display())]
    Directory {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file does not hold what was written.
    #[error(
        "{}: not what this program has written ({reason}): {text}; it keeps this node's promises, so look with cls_status that no other node is primary, then remove it", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        reason: String,
        /// What is in it, quoted.
        text: String,
    },
    /// What is kept about the data does not hold what was written. Without it nobody knows which timelines
    /// they are on.
    #[error(
        "{}: not what this program has written ({reason}): {text}; it says which timelines the data of this node are on, so only a new copy is known to be right: {} --keep-old", path.display(), Remedy::Rebuild.command()
    )]
    RecordDamaged {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        reason: String,
        /// What is in it, quoted.
        text: String,
    },
    /// Another process of this node holds the lock.
    #[error(
        "{}: another process of this node is promoting, or giving a promise; try again when it has ended", path.display()
    )]
    Busy {
        /// The lock's file.
        path: PathBuf,
    },
    /// The promise cannot be given.
    #[error(transparent)]
    Refused(#[from] PromiseRefused),
    /// The promises of others may not be relied on, or not be withdrawn.
    #[error(transparent)]
    NotRelied(#[from] NotRelied),
}

/// The file of one resource.
#[derive(Debug, Clone)]
pub struct MemoryFile {
    path: PathBuf,
}

/// The promotion lock of this node: who promotes, or promises not to promote (R7), holds it from
/// reading the memory until the outcome is kept. It ends with the process.
#[derive(Debug)]
#[must_use = "the lock ends when this is dropped"]
pub struct PromotionLock {
    memory: MemoryFile,
    _file: File,
}

impl MemoryFile {
    /// The memory in `path` (on a node `/var/lib/pha4pgsql/<resource>.json`), outside of the data
    /// directory, which a rebuild replaces. Touches nothing.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What this node remembers; [`Memory::none`] where there is no file.
    ///
    /// # Errors
    /// [`MemoryError`]; a damaged file is not taken for an empty memory.
    pub fn load(&self) -> Result<Memory, MemoryError> {
        Ok(self.kept()?.unwrap_or_else(Memory::none))
    }

    /// What this node remembers; none where there is no file.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn kept(&self) -> Result<Option<Memory>, MemoryError> {
        let bytes = own::read(&self.path)?;
        bytes.map(|bytes| self.parse(&bytes)).transpose()
    }

    /// Reads what the file holds.
    ///
    /// # Errors
    /// It is not what was written.
    pub fn parse(&self, bytes: &[u8]) -> Result<Memory, MemoryError> {
        let text = String::from_utf8_lossy(bytes);
        let memory = serde_json::from_str(&text).map_err(|error| MemoryError::Damaged {
            path: self.path.clone(),
            reason: printable(&error.to_string(), 300),
            text: quoted(&text),
        });
        memory.map(Memory::believed)
    }

    /// Adds what was seen or done to what is remembered: on the disk when this returns. A memory
    /// that was read before somebody else added to it takes nothing back.
    ///
    /// # Errors
    /// [`MemoryError`]; then the node must not act on what it has seen.
    pub fn store(&self, seen: &Memory) -> Result<(), MemoryError> {
        self.revise(|memory| Ok(memory.merged(seen))).map(drop)
    }

    /// Keeps durably that by the promises of this term and epoch a standby is let go, or PostgreSQL is
    /// restarted with data like `restart`. Of this and a withdrawal the first one counts, whichever
    /// process it is of.
    ///
    /// # Errors
    /// [`MemoryError::NotRelied`] where they were withdrawn; then nothing may be done by them.
    pub fn use_promises(
        &self,
        term: u64,
        epoch: u64,
        restart: Option<DataEnd>,
    ) -> Result<Memory, MemoryError> {
        self.revise(|memory| Ok(memory.using(term, epoch, restart)?))
    }

    /// Keeps durably that this node relies on no promise of this epoch any more; `unopened` as
    /// [`Memory::withdrawing`] has it.
    ///
    /// # Errors
    /// [`MemoryError::NotRelied`] where they were used; then nothing may be withdrawn.
    pub fn withdraw(
        &self,
        term: u64,
        epoch: u64,
        unopened: Option<DataEnd>,
    ) -> Result<Memory, MemoryError> {
        self.revise(|memory| Ok(memory.withdrawing(term, epoch, unopened)?))
    }

    /// Takes the promotion lock, waiting for another process to end.
    ///
    /// # Errors
    /// [`MemoryError::Busy`] when it does not until the deadline.
    pub fn guard(&self, deadline: Deadline) -> Result<PromotionLock, MemoryError> {
        Ok(PromotionLock {
            _file: self.lock("lock", deadline)?,
            memory: self.clone(),
        })
    }

    /// Reads, changes and writes the file while no other process does.
    fn revise(
        &self,
        change: impl FnOnce(Memory) -> Result<Memory, MemoryError>,
    ) -> Result<Memory, MemoryError> {
        let _lock = self.lock("write-lock", Deadline::after(WRITE))?;
        let before = self.load()?;
        let after = change(before)?;
        // A file that says nothing would be taken for a memory.
        if after != before && !after.forgotten {
            let text = serde_json::to_string(&after).map_err(|error| MemoryError::Directory {
                path: self.path.clone(),
                reason: error.to_string(),
            })?;
            own::replace(&self.path, format!("{text}\n").as_bytes(), 0o600)?;
        }
        Ok(after)
    }

    fn lock(&self, extension: &str, deadline: Deadline) -> Result<File, MemoryError> {
        let path = self.path.with_extension(extension);
        let file = own::open_lock(&path)?;
        let failed = |error: io::Error| MemoryError::Directory {
            path: path.clone(),
            reason: error.to_string(),
        };
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(failed(errno.into())),
            }
            if deadline.expired() {
                return Err(MemoryError::Busy { path });
            }
            std::thread::sleep(POLL.min(deadline.left()));
        }
    }
}

impl MemoryFile {
    /// Makes the directory where it is missing, and refuses one that others can write to: a promise
    /// that anyone can remove is none.
    ///
    /// # Errors
    /// [`MemoryError::File`].
    pub(crate) fn prepare(&self) -> Result<(), MemoryError> {
        Ok(own::ensure_directory(
            self.path.parent().unwrap_or_else(|| Path::new("/")),
        )?)
    }
}

impl PromotionLock {
    /// Promises durably not to promote at `epoch`, the one that the primary of `term` last saw (R7);
    /// `revocable` as [`Memory::promising`] has it. Only after this returned the promise may be told to anyone.
    ///
    /// # Errors
    /// [`MemoryError::Refused`] when this node knows of a later term or epoch, or has itself asked
    /// to be promoted and does not know what came of it.
    pub fn promise(&self, term: u64, epoch: u64, revocable: bool) -> Result<Memory, MemoryError> {
        self.memory
            .revise(|memory| Ok(memory.promising(term, epoch, revocable)?))
    }

    /// Keeps durably that the primary of `term` has withdrawn its question at `epoch`.
    ///
    /// # Errors
    /// [`MemoryError::Refused`] when the withdrawal is of another time, or the promise may have been used.
    pub fn free(&self, term: u64, epoch: u64) -> Result<Memory, MemoryError> {
        self.memory.revise(|memory| Ok(memory.freed(term, epoch)?))
    }

    /// Keeps durably what [`give_way`] says of a node that gives way to an operator's decision (R15), and tells what
    /// is left to do.
    ///
    /// # Errors
    /// [`MemoryError`]; then it has not given way.
    pub fn give_way(&self, role: SeenRole, epoch: u64) -> Result<GivingWay, MemoryError> {
        let keep = |memory: Memory| Ok(give_way(&memory, role, epoch).kept);
        let kept = self.memory.revise(keep)?;
        // What it tells is the same before and after.
        Ok(give_way(&kept, role, epoch))
    }

    /// Keeps durably what was seen of the register.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn saw(&self, row: &Register) -> Result<Memory, MemoryError> {
        self.memory.revise(|memory| Ok(memory.seeing(row)))
    }

    /// What is remembered.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn load(&self) -> Result<Memory, MemoryError> {
        self.memory.load()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt};

    use pha_core::snapshot::StandbySignal;

    use super::*;

    struct Directory(PathBuf);

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn file(name: &str) -> (MemoryFile, Directory) {
        let path = std::env::temp_dir().join(format!("pha-memory-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        (MemoryFile::new(path.join("pgsql.json")), Directory(path))
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(5))
    }

    fn seen(term: u64, epoch: u64) -> Memory {
        Memory {
            term,
            epoch,
            ..Memory::default()
        }
    }

    #[test]
    fn nothing_is_remembered_at_first_and_reading_leaves_nothing_behind() {
        let (file, directory) = file("first");
        assert_eq!(file.load().unwrap(), Memory::none());
        assert!(!directory.0.exists());
    }

    #[test]
    fn what_was_seen_stays_and_never_goes_back() {
        let (file, directory) = file("stays");
        file.store(&seen(3, 7)).unwrap();
        assert_eq!(file.load().unwrap(), seen(3, 7));
        file.store(&seen(2, 8)).unwrap();
        assert_eq!(file.load().unwrap(), seen(3, 8));
        assert_eq!(file.load().unwrap(), seen(3, 8));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&directory.0), mode(file.path())), (0o700, 0o600));
    }

    #[test]
    fn a_promise_survives_a_writer_that_did_not_know_of_it() {
        let (file, _directory) = file("promise");
        let stale = seen(3, 7);
        file.store(&stale).unwrap();
        let lock = file.guard(soon()).unwrap();
        lock.promise(3, 7, true).unwrap();
        let bound = lock.load().unwrap();
        file.store(&stale).unwrap();
        assert!(lock.load().unwrap().has_promised(7));
        assert!(matches!(
            lock.promise(3, 6, true),
            Err(MemoryError::Refused(_))
        ));
        // Nor does one that knows of the promise undo its end.
        lock.free(3, 7).unwrap();
        file.store(&bound).unwrap();
        assert_eq!(lock.load().unwrap().promised, None);
        assert!(lock.promise(3, 7, true).is_err());
        file.store(&seen(3, 8)).unwrap();
        assert_eq!(file.load().unwrap().promised, None);
    }

    /// Two processes of a primary: one lets a standby go by promises, the other one gives them up.
    #[test]
    fn what_is_used_is_not_withdrawn_and_what_is_withdrawn_is_not_used() {
        let timeline = pha_core::timeline::TimelineId::FIRST;
        let reign = Some(pha_core::register::Reign { term: 3, timeline });
        let primary = Memory {
            reign,
            ..seen(3, 7)
        };
        for used_first in [true, false] {
            let (file, _directory) = file(&format!("used-{used_first}"));
            file.store(&primary).unwrap();
            let refused = match used_first {
                true => {
                    file.use_promises(3, 7, None).unwrap();
                    file.withdraw(3, 7, None)
                }
                false => {
                    file.withdraw(3, 7, None).unwrap();
                    file.use_promises(3, 7, None)
                }
            };
            assert!(matches!(refused, Err(MemoryError::NotRelied(_))));
            // A process that has read the memory before takes nothing back.
            file.store(&primary).unwrap();
            let known = file.load().unwrap();
            assert_eq!(
                (known.used.is_some(), known.withdrawn.is_some()),
                (used_first, !used_first)
            );
        }
    }

    #[test]
    fn who_has_given_way_promises_nothing_and_relies_on_nothing() {
        let (file, _directory) = file("way");
        let timeline = pha_core::timeline::TimelineId::FIRST;
        let reign = Some(pha_core::register::Reign { term: 3, timeline });
        let primary = Memory {
            reign,
            ..seen(3, 7)
        };
        file.store(&primary).unwrap();
        let lock = file.guard(soon()).unwrap();
        let serves = |signal| {
            let role = SeenRole { runs: true, signal };
            lock.give_way(role, 0).unwrap().answer.serves
        };
        assert!(serves(StandbySignal::Missing));
        assert_eq!(file.load().unwrap(), primary);
        assert!(!serves(StandbySignal::There));
        assert!(matches!(
            lock.promise(3, 7, true),
            Err(MemoryError::Refused(_))
        ));
        assert!(file.use_promises(3, 7, None).is_err());
    }

    #[test]
    fn promoting_and_promising_exclude_each_other() {
        let (file, _directory) = file("exclude");
        let held = file.guard(soon()).unwrap();
        let brief = Deadline::after(Duration::from_millis(50));
        assert!(matches!(file.guard(brief), Err(MemoryError::Busy { .. })));
        // Seeing the register goes on meanwhile.
        file.store(&seen(1, 1)).unwrap();
        drop(held);
        let _ = file.guard(soon()).unwrap();
    }

    #[test]
    fn writers_at_once_lose_nothing() {
        let (file, _directory) = file("writers");
        std::thread::scope(|scope| {
            for number in 1..=4 {
                let file = &file;
                scope.spawn(move || {
                    for step in 0..10 {
                        let memory = seen(number * 10 + step, step);
                        file.store(&memory).unwrap();
                    }
                });
            }
        });
        assert_eq!(file.load().unwrap(), seen(49, 9));
    }

    #[test]
    fn a_damaged_file_is_an_error_that_quotes_it() {
        let (file, _directory) = file("damaged");
        file.store(&seen(1, 1)).unwrap();
        for text in [
            "",
            "{}",
            "{\"term\":1,\"epoch\":1",
            "{\"term\":-1,\"epoch\":1,\"promised\":null}",
            "{\"later\":1}",
        ] {
            std::fs::write(file.path(), text).unwrap();
            let error = file.load().unwrap_err();
            assert!(
                matches!(error, MemoryError::Damaged { .. }),
                "{text}: {error}"
            );
            assert!(error.to_string().contains("cls_status"), "{error}");
            assert!(file.store(&seen(2, 2)).is_err(), "{text}");
            assert_eq!(std::fs::read_to_string(file.path()).unwrap(), text);
        }
    }

    /// A node that goes back to an earlier version keeps its promises.
    #[test]
    fn a_field_of_a_later_version_is_passed_over() {
        let (file, _directory) = file("later");
        file.store(&seen(1, 1)).unwrap();
        let text = r#"{"term":3,"epoch":7,"promised":7,"reign":{"term":2,"timeline":2,"later":1},"later":{"a":1}}"#;
        std::fs::write(file.path(), text).unwrap();
        let known = file.load().unwrap();
        assert!(known.has_promised(7) && known.reign.is_some(), "{known:?}");
        file.store(&seen(3, 7)).unwrap();
        assert!(file.load().unwrap().has_promised(7));
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        let (file, directory) = file("others");
        std::fs::create_dir(&directory.0).unwrap();
        std::fs::set_permissions(&directory.0, std::fs::Permissions::from_mode(0o777)).unwrap();
        for error in [file.store(&seen(1, 1)), file.load().map(drop)] {
            let error = error.unwrap_err().to_string();
            assert!(error.contains("others than root can write"), "{error}");
        }
    }
}

//! Where guard and agent meet: small files in a directory that a reboot empties.
//!
//! `<resource>.guard` is locked by the guard as long as it runs, so that there are never two, and
//! holds a line about it. It is in memory (`/run`), and so is the log beside it, so that no hanging
//! disk can keep the guard from its work.

use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pha_core::names::ResourceName;
use pha_core::register::{PromisedAt, asked_at};
use pha_core::snapshot::{KeptLinks, Look};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::clock::{Deadline, since_boot};
use crate::files;
use crate::process::Process;
use crate::sql::TextRows;

/// The log is begun anew by the guard that finds it larger.
const LOG_LIMIT: u64 = 1 << 20;

/// The files of one resource.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    directory: PathBuf,
    resource: ResourceName,
}

/// What a guard has seen of PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handed {
    /// The start of the machine that it is of.
    boot: String,
    /// The term of this node's last promotion, as far as the guard knew.
    pub(crate) term: u64,
    /// In milliseconds since then.
    asked: u64,
    /// When PostgreSQL was last found at work after that without having answered again; 0 where it was not.
    #[serde(default)]
    lived: u64,
    /// What PostgreSQL has answered.
    pub(crate) rows: TextRows,
}

impl Handed {
    /// What PostgreSQL has answered to the question that was sent at `asked`; none where it cannot be told which
    /// start of the machine that is after.
    pub(crate) fn new(term: u64, asked: Duration, rows: TextRows) -> Option<Self> {
        Some(Self {
            boot: boot()?,
            term,
            asked: milliseconds(asked),
            lived: 0,
            rows,
        })
    }

    /// How old it is at `now`; none of what comes from the future.
    pub(crate) fn look(&self, now: Duration) -> Option<Look> {
        let [asked, lived] = [self.asked, self.lived].map(Duration::from_millis);
        Look::of(asked, lived, now)
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The kernel's name for the present start of the machine.
fn boot() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    Some(text.ok()?.trim().to_owned())
}

/// What the guard was started with, as a number: who has other parameters has another number.
#[must_use]
pub(crate) fn parameters() -> u64 {
    let mut given: Vec<_> = std::env::vars_os()
        .filter(|(name, _)| {
            let name = name.to_string_lossy();
            name.starts_with("OCF_RESKEY_")
                && !name.starts_with("OCF_RESKEY_CRM_meta_")
                && name != "OCF_RESKEY_crm_feature_set"
        })
        .collect();
    given.sort();
    let mut hasher = DefaultHasher::new();
    given.hash(&mut hasher);
    hasher.finish()
}

/// What a guard has written about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Note {
    /// Its process number.
    pub(crate) pid: i32,
    /// [`parameters`] as it was started with.
    pub(crate) parameters: u64,
    /// When it last began a round, on the clock that counts from the machine's start.
    pub(crate) beat: Duration,
}

/// The lock that makes a process the guard, as long as it is kept.
#[derive(Debug)]
pub(crate) struct Held {
    file: File,
    path: PathBuf,
}

impl Place {
    pub(crate) fn new(directory: &Path, resource: &ResourceName) -> Self {
        Self {
            directory: directory.to_owned(),
            resource: resource.clone(),
        }
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.directory
            .join(format!("{}.{extension}", self.resource))
    }

    fn open(&self, extension: &str) -> io::Result<(File, PathBuf)> {
        std::fs::create_dir_all(&self.directory)?;
        let path = self.path(extension);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| named(&path, error))?;
        Ok((file, path))
    }

    /// Where the guard's words go.
    pub(crate) fn log(&self) -> io::Result<File> {
        std::fs::create_dir_all(&self.directory)?;
        let path = self.path("guard.log");
        if std::fs::metadata(&path).is_ok_and(|meta| meta.len() > LOG_LIMIT) {
            std::fs::rename(&path, self.path("guard.log.old"))?;
        }
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| named(&path, error))
    }

    /// The last line of the log, for the message of a guard that did not come up.
    pub(crate) fn last_words(&self) -> String {
        let text = files::read_text(&self.path("guard.log"));
        let text = text.ok().flatten().unwrap_or_default();
        text.lines().last().unwrap_or("it said nothing").to_owned()
    }

    /// Says that the other nodes are asked to promise at this epoch ([`Memory::relied`]). It is here
    /// and not in the memory, whose disk may hang: what a reboot takes away here it takes from
    /// PostgreSQL too, and the next promotion moves the epoch.
    ///
    /// [`Memory::relied`]: pha_core::register::Memory::relied
    pub(crate) fn rely(&self, epoch: u64) -> Result<(), String> {
        self.note("promises.asked", &epoch.to_string())
    }

    /// The epoch of the last [`Place::rely`].
    pub(crate) fn relied(&self) -> Option<u64> {
        asked_at(&self.noted("promises.asked")?)
    }

    /// Says that every other node has promised not to promote at this term and epoch (R7). What the
    /// agent was promised is the guard's proof, and what the guard was promised the next guard's.
    pub(crate) fn promised(&self, noted: PromisedAt) -> Result<(), String> {
        self.note("promises.given", &noted.to_string())
    }

    /// The last [`Place::promised`].
    pub(crate) fn promises(&self) -> Option<PromisedAt> {
        PromisedAt::parse(&self.noted("promises.given")?)
    }

    /// Says why PostgreSQL is about to be stopped by the guard.
    pub(crate) fn stopping(&self, why: &str) -> Result<(), String> {
        self.note("guard.stopped", why)
    }

    /// What [`Place::stopping`] said since PostgreSQL was last started.
    pub(crate) fn why_stopped(&self) -> Option<String> {
        self.noted("guard.stopped")
    }

    /// Keeps what this primary knows of its links.
    pub(crate) fn keep_links(&self, kept: &KeptLinks) -> Result<(), String> {
        let text = serde_json::to_string(kept).map_err(|error| error.to_string())?;
        self.note("links", &text)
    }

    /// What [`Place::keep_links`] kept; none where nothing was, or it cannot be read.
    pub(crate) fn kept_links(&self) -> Option<KeptLinks> {
        serde_json::from_str(&self.noted("links")?).ok()
    }

    /// Says that the settings of a standby are about to be changed for a promotion. Who does that may be killed
    /// before the server has read them, so that neither the file nor the server tells it alone.
    pub(crate) fn standby_is_changed(&self) -> Result<(), String> {
        self.note("standby.changed", "")
    }

    /// They are those of every standby again, and the server reads them.
    pub(crate) fn standby_is_closed(&self) {
        self.forget("standby.changed");
    }

    /// Whether [`Place::standby_is_changed`] was said last, as far as it can be told.
    pub(crate) fn is_standby_changed(&self) -> bool {
        !matches!(files::read(&self.path("standby.changed")), Ok(None))
    }

    /// Becomes the process beside a standby ([`pha_core::snapshot::Operation::Attend`]); `None` while
    /// another one is.
    pub(crate) fn attend(&self) -> io::Result<Option<File>> {
        let (file, _) = self.open("attendant")?;
        Ok(locked(&file, FlockOperation::NonBlockingLockExclusive)?.then_some(file))
    }

    /// PostgreSQL is about to run again: what stops it next is another story.
    pub(crate) fn forget_stop(&self) {
        self.forget("guard.stopped");
    }

    /// PostgreSQL is at work at `now` and has not shown more than what was handed over ([`Look::outlived`]). Where that
    /// cannot be noted, what was handed over goes.
    pub(crate) fn outlive_view(&self, now: Duration) {
        let Some(seen) = self.handed_over() else {
            return;
        };
        let lived = milliseconds(now).max(seen.asked.saturating_add(1));
        if let Err(error) = self.hand_over(&Handed { lived, ..seen }) {
            warn!("what the guard has seen is old, which cannot be noted: {error}");
            self.forget("guard.view");
        }
    }

    fn forget(&self, extension: &str) {
        let path = self.path(extension);
        if let Err(error) = std::fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            warn!("{}: {error}", path.display());
        }
    }

    /// Leaves what the guard has seen.
    pub(crate) fn hand_over(&self, seen: &Handed) -> Result<(), String> {
        let text = serde_json::to_string(seen).map_err(|error| error.to_string())?;
        self.note("guard.view", &text)
    }

    /// The last [`Place::hand_over`] since the machine was started.
    pub(crate) fn handed_over(&self) -> Option<Handed> {
        let handed: Handed = serde_json::from_str(&self.noted("guard.view")?).ok()?;
        Look::is_of_this_start(&handed.boot, boot().as_deref()).then_some(handed)
    }

    /// The guard's process, while it is there. The number in the file is a claim: the process has to
    /// be of this very account and to have the file open that it locks.
    pub(crate) fn process_of(&self, note: &Note) -> Option<Process> {
        let file = std::fs::metadata(self.path("guard")).ok()?;
        let own = rustix::process::geteuid().as_raw();
        Process::of(note.pid).filter(|process| process.holds(own, (file.dev(), file.ino())))
    }

    /// The process of the guard that has left this note; `None` where it has ended since.
    ///
    /// # Errors
    /// A guard holds its lock, and the process is not seen to be one.
    pub(crate) fn told(&self, note: &Note) -> Result<Option<Process>, String> {
        match self.process_of(note) {
            Some(process) => Ok(Some(process)),
            None if self.occupant()?.is_none() => Ok(None),
            None => Err(format!(
                "it holds its lock, and process {} cannot be looked at or is another one",
                note.pid
            )),
        }
    }

    fn note(&self, extension: &str, text: &str) -> Result<(), String> {
        let text = text.as_bytes();
        std::fs::create_dir_all(&self.directory).map_err(|error| error.to_string())?;
        files::replace(&self.path(extension), text, 0o600).map_err(|error| error.to_string())
    }

    fn noted(&self, extension: &str) -> Option<String> {
        files::read_text(&self.path(extension)).ok().flatten()
    }

    /// Becomes the guard; `None` while another process is. Whoever only looks holds the lock for a
    /// moment, so that this is tried until the deadline.
    pub(crate) fn hold(&self, deadline: Deadline) -> io::Result<Option<Held>> {
        let (file, path) = self.open("guard")?;
        while !locked(&file, FlockOperation::NonBlockingLockExclusive)? {
            if deadline.expired() {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(10).min(deadline.left()));
        }
        Ok(Some(Held { file, path }))
    }

    /// The guard that runs, if one does; `Err` when one does and has not said who it is yet.
    pub(crate) fn occupant(&self) -> Result<Option<Note>, String> {
        let Ok(mut file) = File::open(self.path("guard")) else {
            return Ok(None);
        };
        let text = |error: io::Error| format!("{}: {error}", self.path("guard").display());
        if locked(&file, FlockOperation::NonBlockingLockShared).map_err(text)? {
            return Ok(None);
        }
        let mut line = String::new();
        file.read_to_string(&mut line).map_err(text)?;
        match Note::parse(&line) {
            Some(note) => Ok(Some(note)),
            None => Err("it has not said who it is".to_owned()),
        }
    }
}

impl Held {
    /// Writes the line anew, with the time of now.
    pub(crate) fn beat(&self, parameters: u64) -> io::Result<()> {
        let note = Note {
            pid: i32::try_from(std::process::id()).unwrap_or_default(),
            parameters,
            beat: since_boot(),
        };
        // Always of the same length, so that nothing of an older line is left.
        self.file.write_all_at(note.line().as_bytes(), 0)
    }

    /// Whether the file that is locked is still the one that others look at.
    pub(crate) fn is_current(&self) -> bool {
        match (self.file.metadata(), std::fs::metadata(&self.path)) {
            (Ok(own), Ok(there)) => (own.dev(), own.ino()) == (there.dev(), there.ino()),
            _ => false,
        }
    }
}

impl Note {
    fn line(&self) -> String {
        format!(
            "{:010} {:016x} {:016}\n",
            self.pid,
            self.parameters,
            self.beat.as_millis()
        )
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.lines().next()?.split(' ');
        let pid = words.next()?.parse().ok()?;
        let parameters = u64::from_str_radix(words.next()?, 16).ok()?;
        let beat = Duration::from_millis(words.next()?.parse().ok()?);
        Some(Self {
            pid,
            parameters,
            beat,
        })
    }
}

fn locked(file: &File, how: FlockOperation) -> io::Result<bool> {
    match flock(file, how) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn place(name: &str) -> Place {
        let directory =
            std::env::temp_dir().join(format!("pha-guard-{name}-{}", std::process::id()));
        Place::new(&directory, &"pgsql".parse().unwrap())
    }

    #[test]
    fn a_changed_standby_is_marked_until_it_is_closed() {
        let place = place("changed");
        assert!(!place.is_standby_changed());
        place.standby_is_changed().unwrap();
        assert!(place.is_standby_changed());
        place.standby_is_closed();
        place.standby_is_closed();
        assert!(!place.is_standby_changed());
    }

    #[test]
    fn one_guard_at_a_time_and_it_is_seen() {
        let place = place("hold");
        let soon = || Deadline::after(Duration::from_millis(50));
        assert_eq!(place.occupant(), Ok(None));
        let held = place.hold(soon()).unwrap().unwrap();
        assert!(place.occupant().is_err(), "it has said nothing yet");
        held.beat(7).unwrap();
        let note = place.occupant().unwrap().unwrap();
        assert_eq!(note.parameters, 7);
        assert_eq!(place.process_of(&note), Process::of(note.pid));
        // A number that is not the guard's is nobody who could be told to end.
        let other = Note { pid: 1, ..note };
        assert_eq!(place.process_of(&other), None);
        assert!(place.told(&other).is_err(), "a guard is there");
        assert_eq!(place.told(&note), Ok(Process::of(note.pid)));
        assert!(place.hold(soon()).unwrap().is_none(), "a second guard");
        assert!(held.is_current());
        std::fs::remove_file(place.path("guard")).unwrap();
        assert!(!held.is_current());
        drop(held);
        assert_eq!(place.occupant(), Ok(None));
        std::fs::remove_dir_all(&place.directory).unwrap();
    }

    #[test]
    fn what_is_handed_over_is_what_was_seen() {
        let place = place("view");
        assert_eq!(place.handed_over(), None);
        let rows = vec![vec![Some("server".to_owned()), None], vec![]];
        let seen = Handed::new(3, Duration::from_millis(4711), rows).unwrap();
        place.hand_over(&seen).unwrap();
        assert_eq!(place.handed_over().as_ref(), Some(&seen));
        let look = |ms| place.handed_over()?.look(Duration::from_millis(ms));
        assert_eq!((seen.term, look(4711)), (3, Some(Look::default())));
        assert_eq!(look(4710), None);
        // PostgreSQL was at work for a second more, and showed nothing.
        place.outlive_view(Duration::from_millis(5711));
        let old = Look {
            age: Duration::from_millis(1500),
            outlived: Duration::from_millis(1000),
        };
        assert_eq!(look(6211), Some(old));
        let before = Handed {
            boot: "another".to_owned(),
            ..seen
        };
        place.hand_over(&before).unwrap();
        assert_eq!(place.handed_over(), None);
        std::fs::remove_dir_all(&place.directory).unwrap();
    }

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let note = Note {
            pid: 4711,
            parameters: u64::MAX - 1,
            beat: Duration::from_millis(123_456),
        };
        assert_eq!(Note::parse(&note.line()), Some(note));
        assert_eq!(Note::parse(""), None);
        assert_eq!(Note::parse("1 2\n"), None);
    }
}

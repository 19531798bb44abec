//! What root believes later of a copy that has begun: its mark, and the node's own configuration.
//!
//! A data directory with a mark is never started. The mark lies in root's own state directory
//! ([`own::state_directory`]), and so do the configuration files that were in the data directory: what
//! the account could write, root would have to believe. Versions before this laid both beside the data
//! directory; what is found there is only shown ([`beside`]), until the operator has confirmed it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use pha_core::begun::Mark;
use pha_core::snapshot;
use pha_core::whose::{NODE_FILES, is_kept};

use crate::files::FileError;
use crate::own;
use crate::user::User;

/// Files of the configuration: a name each, and what is in it.
pub type Configuration = Vec<(&'static str, Vec<u8>)>;

/// What root keeps of the copies into one data directory.
#[derive(Debug, Clone)]
pub struct Copies {
    /// The path of every file of it begins so.
    stem: PathBuf,
}

impl Copies {
    /// Of that data directory; touches nothing.
    #[must_use]
    pub fn into(pgdata: &Path) -> Self {
        Self {
            stem: own::state_directory()
                .join("copies")
                .join(file_name(pgdata)),
        }
    }

    fn file(&self, extension: &str) -> PathBuf {
        let mut path = self.stem.clone().into_os_string();
        path.push(extension);
        path.into()
    }

    /// The mark, if there is one; one that is not understood is one too ([`Mark::of_text`]).
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn mark(&self) -> Result<Option<Mark>, FileError> {
        let text = own::read(&self.file(".json"))?;
        Ok(text.map(|text| Mark::of_text(&text)))
    }

    /// Marks the data directory, durably.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn begin(&self, mark: &Mark) -> Result<(), FileError> {
        let text = serde_json::to_string(mark).unwrap_or_default();
        own::replace(&self.file(".json"), text.as_bytes(), 0o600)
    }

    /// Takes the mark away.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn end(&self) -> Result<(), FileError> {
        own::ensure_absent(&self.file(".json")).map(drop)
    }

    /// Keeps these of the configuration files, and no others.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn keep(&self, files: &[(&str, Vec<u8>)]) -> Result<(), FileError> {
        self.forget()?;
        for (name, bytes) in files {
            own::replace(&self.file(&format!(".{name}")), bytes, 0o600)?;
        }
        own::replace(&self.file(".kept"), b"", 0o600)
    }

    /// The files that are kept; `None` where none were.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn kept(&self) -> Result<Option<Configuration>, FileError> {
        if own::read(&self.file(".kept"))?.is_none() {
            return Ok(None);
        }
        let mut files = Vec::new();
        for name in NODE_FILES {
            let bytes = own::read(&self.file(&format!(".{name}")))?;
            files.extend(bytes.map(|bytes| (name, bytes)));
        }
        Ok(Some(files))
    }

    /// Forgets them.
    ///
    /// # Errors
    /// They cannot be removed.
    pub fn forget(&self) -> Result<(), FileError> {
        // The sign that all of them are there goes first.
        let _ = own::ensure_absent(&self.file(".kept"))?;
        for name in NODE_FILES {
            let _ = own::ensure_absent(&self.file(&format!(".{name}")))?;
        }
        Ok(())
    }
}

/// A path as the name of a file: readable, and different for different paths.
fn file_name(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let mut name = String::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                name.push(char::from(*byte));
            }
            other => {
                // Writing to a text does not fail.
                let _ = write!(name, "%{other:02x}");
            }
        }
    }
    // A file's name has at most 255 bytes.
    if name.len() > 200 {
        name = checksum(name.as_bytes());
    }
    name
}

fn checksum(bytes: &[u8]) -> String {
    let sum = openssl::sha::sha256(bytes);
    sum[..8].iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What says that a copy into the data directory has begun and has not ended, if anything does.
#[must_use]
pub(crate) fn of(owner: &User, pgdata: &Path) -> Option<snapshot::Unfinished> {
    let unknown = |error: FileError| Some(snapshot::Unfinished::Unknown(error.to_string()));
    match Copies::into(pgdata).mark() {
        Ok(None) => {}
        Ok(Some(begun)) => {
            return Some(snapshot::Unfinished::Marked {
                method: begun.method,
                pgdata: pgdata.display().to_string(),
            });
        }
        Err(error) => return unknown(error),
    }
    match beside(owner, pgdata) {
        Ok(beside) => {
            let path = beside?.path.display().to_string();
            Some(snapshot::Unfinished::Beside(path))
        }
        Err(error) => unknown(error),
    }
}

/// What an earlier version has left beside a data directory, where the account can write: nothing is
/// done on its word alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    /// The mark's file.
    pub path: PathBuf,
    /// What it says.
    pub mark: Mark,
    /// What an operator repeats who has read it: a checksum of the file.
    pub word: String,
}

impl Beside {
    /// What it says, for an operator who is to judge whether it is so.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut text = format!(
            "{} says that a {} from {:?} has not ended",
            self.path.display(),
            self.mark.method,
            self.mark.source
        );
        for (aside, place) in &self.mark.aside {
            let _ = write!(text, ", that {place:?} was moved to {aside:?}");
        }
        if self.mark.damaged {
            text.push_str(", and that the old data are damaged");
        }
        text
    }
}

/// The mark beside a data directory, read as the account.
///
/// # Errors
/// It cannot be read; what is no plain file is an error too.
pub fn beside(owner: &User, pgdata: &Path) -> Result<Option<Beside>, FileError> {
    let path = suffixed(pgdata, ".unfinished");
    let content = owner.files().read(&path)?;
    Ok(content.map(|content| Beside {
        path,
        mark: Mark::of_text(&content.bytes),
        word: checksum(&content.bytes),
    }))
}

/// Takes over what an earlier version has left, after the operator has confirmed it: from now on it is
/// root's. Everything is read and removed as the account.
///
/// # Errors
/// Something cannot be read, written or removed.
pub fn take_over(owner: &User, pgdata: &Path, beside: &Beside) -> Result<(), FileError> {
    let (files, copies) = (owner.files(), Copies::into(pgdata));
    let directory = suffixed(pgdata, ".configuration");
    if files.look_at_name(&directory)?.is_some() {
        copies.keep(&configuration_in(owner, &directory)?)?;
    }
    copies.begin(&beside.mark)?;
    let _ = files.ensure_absent(&beside.path)?;
    if files.look_at_name(&directory)?.is_some() {
        let _ = files.clear(&directory)?;
        let _ = files.remove_directory(&directory)?;
    }
    Ok(())
}

/// The node's own configuration files in a directory of the account's ([`NODE_FILES`], [`is_kept`]).
///
/// # Errors
/// One cannot be read.
pub fn configuration_in(owner: &User, directory: &Path) -> Result<Configuration, FileError> {
    let files = owner.files();
    let mut found = Vec::new();
    for name in NODE_FILES {
        let path = directory.join(name);
        let is_link = |stat: crate::account::Stat| stat.kind == crate::account::Kind::Link;
        if !is_kept(files.look_at_name(&path)?.is_some_and(is_link)) {
            continue;
        }
        found.extend(files.read(&path)?.map(|content| (name, content.bytes)));
    }
    Ok(found)
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use pha_core::begun::Begun;

    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("pha-copies-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    fn made() -> Mark {
        Mark {
            aside: vec![("/a.old".into(), "/a".into())],
            ..Mark::new(Begun::Backup, "node2")
        }
    }

    #[test]
    fn a_mark_is_read_as_it_was_made_and_a_strange_one_is_a_mark_too() {
        let directory = directory("mark");
        let copies = Copies {
            stem: directory.join("copies/x"),
        };
        assert_eq!(copies.mark().unwrap(), None);
        assert!(!directory.exists(), "a look left something behind");
        copies.begin(&made()).unwrap();
        assert_eq!(copies.mark().unwrap(), Some(made()));
        std::fs::write(copies.file(".json"), "{").unwrap();
        assert_eq!(copies.mark().unwrap().unwrap().method, Begun::Rewind);
        // As versions before have written it, and with a word that none of them had.
        for (word, method) in [("initdb", Begun::Initdb), ("rsync", Begun::Rewind)] {
            let text =
                format!(r#"{{"method":"{word}","source":"node2","aside":[["/a.old","/a"]]}}"#);
            std::fs::write(copies.file(".json"), text).unwrap();
            let expected = Mark { method, ..made() };
            assert_eq!(copies.mark().unwrap(), Some(expected));
        }
        copies.end().unwrap();
        copies.end().unwrap();
        assert_eq!(copies.mark().unwrap(), None);
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn the_configuration_is_kept_whole_or_not_at_all() {
        let directory = directory("kept");
        let copies = Copies {
            stem: directory.join("copies/x"),
        };
        assert_eq!(copies.kept().unwrap(), None);
        let files = vec![("pg_hba.conf", b"a".to_vec())];
        copies.keep(&files).unwrap();
        assert_eq!(copies.kept().unwrap(), Some(files));
        std::fs::remove_file(copies.file(".kept")).unwrap();
        assert_eq!(copies.kept().unwrap(), None);
        copies.forget().unwrap();
        assert_eq!(
            std::fs::read_dir(directory.join("copies")).unwrap().count(),
            0
        );
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn every_path_has_a_name_of_its_own() {
        assert_eq!(file_name(Path::new("/data/pg")), "%2fdata%2fpg");
        let long = |last: char| {
            let name = format!("/{}{last}", "x".repeat(300));
            file_name(Path::new(&name))
        };
        assert_ne!(long('a'), long('b'));
        assert!(long('a').len() < 200);
    }

    #[test]
    fn what_an_earlier_version_left_is_shown_and_taken_over_when_it_is_confirmed() {
        let directory = directory("beside");
        std::fs::create_dir_all(directory.join("data.configuration")).unwrap();
        let (me, pgdata) = (User::current().unwrap(), directory.join("data"));
        assert_eq!(beside(&me, &pgdata).unwrap(), None);
        let mark = directory.join("data.unfinished");
        std::fs::write(&mark, serde_json::to_string(&made()).unwrap()).unwrap();
        let found = beside(&me, &pgdata).unwrap().unwrap();
        assert_eq!(found.mark, made());
        assert!(found.shown().contains("\"/a\" was moved to \"/a.old\""));
        std::fs::write(&mark, "{}").unwrap();
        let other = beside(&me, &pgdata).unwrap().unwrap();
        assert_ne!(found.word, other.word);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

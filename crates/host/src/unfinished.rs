//! The mark of a copy that has begun and not ended: such a data directory is never started.
//!
//! It lies beside the data directory, not in it: `pg_rewind` removes from the directory what the
//! source does not have.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files::{self, FileError};

/// What was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfinished {
    /// `pg_rewind` or `pg_basebackup`.
    pub method: String,
    /// The node that the data come from.
    pub source: String,
    /// What was moved aside: where it is now, and where it belongs.
    #[serde(default)]
    pub aside: Vec<(PathBuf, PathBuf)>,
    /// What was moved aside was itself the rest of an interrupted rewind, not to be started.
    #[serde(default)]
    pub damaged: bool,
}

/// The file that marks `pgdata`.
#[must_use]
pub fn mark(pgdata: &Path) -> PathBuf {
    let mut name = pgdata.as_os_str().to_owned();
    name.push(".unfinished");
    PathBuf::from(name)
}

/// The mark of `pgdata`, if there is one. One that is not understood counts as one of a rewind,
/// after which nothing but a rebuild helps.
///
/// # Errors
/// The file cannot be read.
pub fn read(pgdata: &Path) -> Result<Option<Unfinished>, FileError> {
    let text = files::read_text(&mark(pgdata))?;
    Ok(text.map(|text| {
        serde_json::from_str(&text).unwrap_or_else(|_| Unfinished {
            method: "pg_rewind".to_owned(),
            source: String::new(),
            aside: Vec::new(),
            damaged: true,
        })
    }))
}

/// Marks `pgdata`, durably.
///
/// # Errors
/// The file cannot be written.
pub fn begin(pgdata: &Path, unfinished: &Unfinished) -> Result<(), FileError> {
    let text = serde_json::to_string(unfinished).unwrap_or_default();
    files::replace(&mark(pgdata), text.as_bytes(), 0o600)
}

/// Takes the mark away.
///
/// # Errors
/// The file cannot be removed.
pub fn end(pgdata: &Path) -> Result<(), FileError> {
    files::ensure_absent(&mark(pgdata)).map(drop)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_made_and_a_strange_one_is_a_mark_too() {
        let pgdata = std::env::temp_dir().join(format!("unfinished-{}", std::process::id()));
        let made = Unfinished {
            method: "pg_basebackup".to_owned(),
            source: "node2".to_owned(),
            aside: vec![("/a.old".into(), "/a".into())],
            damaged: false,
        };
        assert_eq!(read(&pgdata).unwrap(), None);
        begin(&pgdata, &made).unwrap();
        assert_eq!(read(&pgdata).unwrap(), Some(made));
        std::fs::write(mark(&pgdata), "{").unwrap();
        assert_eq!(read(&pgdata).unwrap().unwrap().method, "pg_rewind");
        end(&pgdata).unwrap();
        end(&pgdata).unwrap();
        assert_eq!(read(&pgdata).unwrap(), None);
    }
}

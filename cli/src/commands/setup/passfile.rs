//! The password files that keep passwords out of the cluster's configuration and off command lines.
//!
//! The lines travel over standard input; a node merges them into the account's `.pgpass` and keeps
//! every other line of it.

use std::path::PathBuf;

use pha_core::hindrance::Hindrance;
use pha_host::account::Content;
use pha_host::user::User;
use serde::{Deserialize, Serialize};

/// The lines for every node's passfiles. No format shows them.
#[derive(Serialize, Deserialize)]
pub(crate) struct Passfiles(Vec<Passfile>);

/// The lines for one account.
#[derive(Serialize, Deserialize)]
struct Passfile {
    account: String,
    lines: Vec<String>,
}

impl std::fmt::Debug for Passfiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passfiles", self.0.len())
    }
}

/// One line, its fields escaped as libpq reads them (PostgreSQL manual, "The Password File").
pub(crate) fn line(fields: [&str; 4], password: &str) -> String {
    let escaped = |field: &str| field.replace('\\', "\\\\").replace(':', "\\:");
    let mut all = fields.map(escaped).to_vec();
    all.push(escaped(password));
    all.join(":")
}

impl Passfiles {
    /// None yet, for root and for the account that owns the database.
    pub(crate) fn new(pgdba: &str) -> Self {
        let file = |account: &str| Passfile {
            account: account.to_owned(),
            lines: Vec::new(),
        };
        Self(vec![file("root"), file(pgdba)])
    }

    /// A line for root: the agent and these commands.
    pub(crate) fn root(&mut self, line: String) {
        self.0[0].lines.push(line);
    }

    /// A line for the database's account: its WAL receiver, pg_rewind and pg_basebackup.
    pub(crate) fn database(&mut self, line: String) {
        self.0[1].lines.push(line);
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|file| file.lines.is_empty())
    }

    /// Writes what is missing, or with `check` only says what is; the files that were to be
    /// changed.
    pub(crate) fn ensure(&self, check: bool) -> Result<Vec<String>, Hindrance> {
        let mut changed = Vec::new();
        for file in self.0.iter().filter(|file| !file.lines.is_empty()) {
            let path = file.ensure(check)?;
            changed.extend(path.map(|path| path.display().to_string()));
        }
        Ok(changed)
    }
}

impl Passfile {
    fn ensure(&self, check: bool) -> Result<Option<PathBuf>, Hindrance> {
        let user = User::lookup(&self.account).map_err(|error| error.hindrance())?;
        let path = user.home().join(".pgpass");
        // As the account itself: root must not follow what the account put into its own home.
        let files = user.files();
        let there = files.read(&path).map_err(|error| Hindrance::of(&error))?;
        let current = there.as_ref().map(Content::text);
        let merged = merged(current.as_deref().unwrap_or_default(), &self.lines);
        let mode = there.map_or(0, |content| content.stat.mode);
        if current.as_deref() == Some(merged.as_str()) && mode == 0o600 {
            return Ok(None);
        }
        if !check {
            let written = files
                .ensure(&path, merged.as_bytes(), 0o600)
                .and_then(|_| files.set_mode(&path, 0o600));
            let _ = written.map_err(|error| Hindrance::of(&error))?;
        }
        Ok(Some(path))
    }
}

/// Host, port, database and role of a line: all up to the last colon that is not escaped.
fn key(line: &str) -> &str {
    let mut escaped = false;
    let mut end = 0;
    for (at, character) in line.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ':' => end = at,
            _ => {}
        }
    }
    &line[..end]
}

/// The file with our lines in it. libpq takes the first line that fits, so ours come first.
fn merged(current: &str, lines: &[String]) -> String {
    let others = current
        .lines()
        .filter(|old| !lines.iter().any(|new| key(new) == key(old)));
    lines
        .iter()
        .map(String::as_str)
        .chain(others)
        .flat_map(|line| [line, "\n"])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_escaped_and_merged_once() {
        let new = line(["*", "5432", "*", "re:pl"], "a:b\\c");
        assert_eq!(new, "*:5432:*:re\\:pl:a\\:b\\\\c");
        let lines = [new.clone()];
        let old = "# mine\nhost:1:db:me:x\n*:5432:*:re\\:pl:old\n";
        let once = merged(old, &lines);
        assert_eq!(once, format!("{new}\n# mine\nhost:1:db:me:x\n"));
        assert_eq!(merged(&once, &lines), once);
    }

    #[test]
    fn no_format_shows_a_password() {
        let mut files = Passfiles::new("postgres");
        files.root(line(["h", "1", "d", "u"], "geheim"));
        assert!(!format!("{files:?}").contains("geheim"));
        assert!(!files.is_empty());
    }
}

//! The programs that parameters name. One that is not there is found by PostgreSQL or the agent only when
//! it is needed, by every node at the same time: with a `restore_command` that cannot be run no standby
//! starts (PostgreSQL manual, "Archive Recovery Settings": a status above 125 ends the start), and every
//! start begins as a standby's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::SetupPlan;

/// A program that a parameter names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needed {
    /// The parameter.
    pub parameter: String,
    /// The program: a path, or a name that is looked up.
    pub program: String,
    /// Whether PostgreSQL runs it, as the account that owns the data; otherwise the agent does, as root.
    pub by_postgres: bool,
}

/// How a parameter names programs.
#[derive(Clone, Copy)]
enum Names {
    /// It is the path of one.
    Path,
    /// A line for `/bin/sh`, which PostgreSQL hands it to.
    Shell,
    /// Words without a shell.
    Words,
}

const PARAMETERS: [(&str, Names); 7] = [
    ("pgctl", Names::Path),
    ("psql", Names::Path),
    ("restore_command", Names::Shell),
    ("archive_cleanup_command", Names::Shell),
    ("recovery_end_command", Names::Shell),
    ("distlock_lock_cmd", Names::Words),
    ("distlock_unlock_cmd", Names::Words),
];

/// A word that means the same to a shell as it does here.
fn is_plain(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./+-@".contains(c);
    !word.is_empty()
        && !word.starts_with('-')
        && word.chars().all(plain)
        // Relative to a directory that is not known here.
        && (word.starts_with('/') || !word.contains('/'))
}

/// `NAME=value` before a command.
fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// The programs that a shell's line surely begins with: the first, and those behind `&&`, `||`, `|` and `;`.
/// What cannot be told without being a shell is left out.
fn of_line(line: &str) -> Vec<String> {
    let words = shlex::split(line).unwrap_or_default();
    let mut begins = true;
    let mut found = Vec::new();
    for word in words {
        if begins && is_assignment(&word) {
            continue;
        }
        if begins && is_plain(&word) {
            found.push(word.clone());
        }
        begins = ["&&", "||", "|", ";"].contains(&word.as_str()) || word.ends_with(';');
    }
    found
}

impl SetupPlan {
    /// The programs that new or changed parameters of the database name.
    #[must_use]
    pub fn needs(&self) -> Vec<Needed> {
        let (before, mut after) = (self.parameters_of(&self.before), self.parameters());
        after.retain(|name, value| before.get(name) != Some(value));
        Needed::of(&after)
    }
}

impl Needed {
    /// The programs that these parameters name.
    #[must_use]
    pub fn of(parameters: &BTreeMap<String, String>) -> Vec<Self> {
        let mut needed = Vec::new();
        for (name, kind) in PARAMETERS {
            let Some(value) = parameters.get(name) else {
                continue;
            };
            let programs = match kind {
                Names::Path => vec![value.clone()],
                Names::Shell => of_line(value),
                Names::Words => {
                    let first = shlex::split(value).and_then(|words| words.into_iter().next());
                    first.into_iter().collect()
                }
            };
            let programs = programs.into_iter().filter(|program| is_plain(program));
            needed.extend(programs.map(|program| Needed {
                parameter: name.to_owned(),
                program,
                by_postgres: !matches!(kind, Names::Words),
            }));
        }
        needed
    }
}

#[cfg(test)]
mod tests {
    use super::of_line;

    #[test]
    fn what_a_line_runs_is_told_as_far_as_it_can_be() {
        for (line, programs) in [
            ("cp /archive/%f %p", &["cp"][..]),
            (
                "/usr/bin/pgbackrest --stanza=x archive-get %f \"%p\"",
                &["/usr/bin/pgbackrest"],
            ),
            (
                "PGUSER=x LANG=C barman-wal-restore a b %f %p",
                &["barman-wal-restore"],
            ),
            ("test -f /a/%f && gunzip < /a/%f > %p", &["test", "gunzip"]),
            ("test -f /a/%f; /no/such %f", &["test", "/no/such"]),
            ("$HOME/bin/restore %f", &[]),
            ("bin/restore %f", &[]),
            ("(cp a b)", &[]),
            ("cp 'a", &[]),
            ("", &[]),
        ] {
            assert_eq!(of_line(line), programs, "{line}");
        }
    }
}

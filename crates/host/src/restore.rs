//! `restore_command` through the agent (R13): PostgreSQL asks the archive for newer timelines and
//! follows the newest that it finds, also one of a test copy that archives into the same place. So the
//! agent stands in between, and hands out a history file only if it is of a timeline that this node
//! knows by name. PostgreSQL runs it as its own account; nothing here needs any other right.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pha_core::lineage::{Lineage, may_hand_out};
use pha_core::params::Params;
use pha_core::parse::history;
use pha_core::timeline::{HISTORY, TimelineId};
use serde::{Deserialize, Serialize};

use crate::clock::Deadline;
use crate::command::{Command, own_program};
use crate::files;

/// The agent's word for it.
pub const WORD: &str = "restore";

/// How long the administrator's command may take for a history file, which has a few lines.
const FETCH: Duration = Duration::from_secs(120);

/// What the wrapper reads, in a file of the account's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The administrator's `restore_command`.
    pub command: String,
    /// The timelines that this node knows by name; empty: any may be handed out.
    pub known: Lineage,
}

/// The file, in `tmpdir`.
#[must_use]
pub fn plan_file(params: &Params) -> PathBuf {
    Path::new(&params.tmpdir).join("restore.json")
}

impl Plan {
    /// The file's content.
    ///
    /// # Errors
    /// It cannot be written as text.
    pub fn render(&self) -> Result<Vec<u8>, String> {
        let text = serde_json::to_string(self).map_err(|error| error.to_string())?;
        Ok(format!("{text}\n").into_bytes())
    }
}

/// The setting `restore_command`: this program, with the file.
///
/// # Errors
/// The program's own path is not known, or is not text.
pub fn setting(file: &Path) -> Result<String, String> {
    let program = own_program()?;
    let word = |path: &Path| {
        let text = path
            .to_str()
            .ok_or_else(|| format!("{} is not text", path.display()))?;
        // For the shell that PostgreSQL runs it in, and for PostgreSQL, which replaces %f.
        Ok::<_, String>(format!(
            "'{}'",
            text.replace('\'', r"'\''").replace('%', "%%")
        ))
    };
    Ok(format!(
        "{} {WORD} {} \"%f\" \"%p\" \"%r\"",
        word(Path::new(&program))?,
        word(file)?
    ))
}

/// The administrator's command with PostgreSQL's %f, %p, %r and %% replaced, as PostgreSQL does it.
fn substituted(command: &str, file: &str, path: &str, restart: &str) -> String {
    let mut text = String::new();
    let mut characters = command.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        match characters.next() {
            Some('f') => text.push_str(file),
            Some('p') => text.push_str(path),
            Some('r') => text.push_str(restart),
            Some('%') => text.push('%'),
            Some(other) => text.extend(['%', other]),
            None => text.push('%'),
        }
    }
    text
}

/// What PostgreSQL puts in for a file, and for the path to write it to: nothing that a shell would read
/// as anything but a word.
fn is_plain(word: &str) -> bool {
    !word.is_empty()
        && !word.starts_with('-')
        && word
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte))
}

/// Fetches one file for PostgreSQL: the words are the plan's file, %f, %p and %r. The exit code, and why
/// a file is not handed out.
#[must_use]
pub fn run(words: &[String]) -> (u8, Option<String>) {
    match words {
        [plan, file, path, restart] => fetch(Path::new(plan), file, path, restart)
            .map_or_else(|why| (1, Some(why)), |code| (code, None)),
        _ => (
            1,
            Some("expgsql restore is for PostgreSQL's restore_command: FILE %f %p %r".to_owned()),
        ),
    }
}

fn fetch(plan: &Path, file: &str, path: &str, restart: &str) -> Result<u8, String> {
    for word in [file, path] {
        if !is_plain(word) {
            return Err(format!("{word:?} is no name that PostgreSQL asks for"));
        }
    }
    let restart = if is_plain(restart) { restart } else { "" };
    let text = files::read_text(plan)
        .map_err(|error| error.to_string())?
        .ok_or_else(|| {
            format!(
                "{} is missing; it is written at the next start",
                plan.display()
            )
        })?;
    let plan: Plan = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let command = substituted(&plan.command, file, path, restart);
    if !file.ends_with(HISTORY) {
        // In place of this program, so that PostgreSQL's signals and the exit code are the command's.
        let error = std::process::Command::new("/bin/sh")
            .args(["-c", &command])
            .exec();
        return Err(format!("/bin/sh: {error}"));
    }
    let number = TimelineId::of_history_file(file);
    let number = number.ok_or_else(|| format!("{file:?} is no name that PostgreSQL asks for"))?;
    may_hand_out(&plan.known, number, None)?;
    let mut shell = Command::new("/bin/sh").args(["-c", &command]);
    for (name, value) in std::env::vars_os() {
        shell = shell.env(name, value);
    }
    if let Err(error) = shell.run(Deadline::after(FETCH)) {
        // That there is no such file is an everyday answer, which the command has given in its words.
        return match error.status() {
            Some(status) => Ok(u8::try_from(status).unwrap_or(1)),
            None => Err(error.to_string()),
        };
    }
    let path = Path::new(path);
    let fetched = files::read_text(path)
        .map_err(|error| error.to_string())
        .and_then(|text| text.ok_or_else(|| format!("{file} was not written")))
        .and_then(|text| history::parse(number, &text).map_err(|error| error.to_string()));
    let allowed = fetched.and_then(|history| may_hand_out(&plan.known, number, Some(&history)));
    if let Err(why) = allowed {
        let _ = files::ensure_absent(path).map_err(|error| error.to_string())?;
        return Err(format!("{file} is not handed out: {why}"));
    }
    Ok(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_administrators_command_is_filled_in_as_postgresql_does_it() {
        let filled = |command| substituted(command, "00000002.history", "pg_wal/X", "0001");
        assert_eq!(
            filled("cp /a/%f \"%p\""),
            "cp /a/00000002.history \"pg_wal/X\""
        );
        assert_eq!(filled("x %% %r %z %"), "x % 0001 %z %");
    }

    #[test]
    fn what_a_shell_would_read_is_no_name() {
        for word in [
            "", "-x", "a b", "$(x)", "a;b", "a'b", "a\"b", "a`b", "a\nb", "a%b",
        ] {
            assert!(!is_plain(word), "{word:?}");
            let (code, why) = run(&["/none", word, "pg_wal/X", ""].map(str::to_owned));
            assert_eq!(code, 1);
            assert!(why.unwrap().contains("no name"));
        }
        assert!(is_plain("pg_wal/RECOVERYHISTORY") && is_plain("00000002.history"));
    }

    #[test]
    fn a_foreign_history_is_removed_again() {
        let dir = std::env::temp_dir().join(format!("pha-restore-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (archive, target) = (dir.join("archive"), dir.join("target"));
        let plan = dir.join("restore.json");
        let known: Lineage = serde_json::from_str(
            r#"[{"term":1,"number":1,"fork":"0000000000000000"},{"term":4,"number":3,"fork":"0000000000000500"}]"#,
        )
        .unwrap();
        let command = format!("cp {} %p", archive.display());
        std::fs::write(&plan, Plan { command, known }.render().unwrap()).unwrap();
        let ask = |file: &str, text: &str| {
            std::fs::write(&archive, text).unwrap();
            let words = [
                &plan.display().to_string(),
                file,
                target.to_str().unwrap(),
                "",
            ]
            .map(str::to_owned);
            let (code, why) = run(&words);
            let there = target.exists();
            let _ = std::fs::remove_file(&target);
            (code, there, why.unwrap_or_default())
        };
        assert_eq!(
            ask("00000003.history", "1\t0/500\tx\n"),
            (0, true, String::new())
        );
        let (code, there, why) = ask("00000003.history", "1\t0/400\tx\n");
        assert_eq!((code, there), (1, false), "{why}");
        // No history file is handed out unseen.
        for number in ["00000002", "00000004", "3", "0000000000000003", "0000000a"] {
            let (code, there, why) = ask(&format!("{number}.history"), "1\t0/500\tx\n");
            assert_eq!((code, there), (1, false), "{why}");
        }
        std::fs::remove_file(&archive).unwrap();
        let words = [
            &plan.display().to_string(),
            "00000003.history",
            target.to_str().unwrap(),
            "",
        ]
        .map(str::to_owned);
        assert_eq!(run(&words), (1, None), "the command has said it");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}

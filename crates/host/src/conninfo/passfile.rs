//! The password file, as libpq reads it (PostgreSQL manual, "The Password File").

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::{Conninfo, Secret, Server};
use crate::files::LIMIT;
use crate::user;

/// The password of the first line that fits the server, the database and the role.
pub(super) fn password(info: &Conninfo, server: &Server) -> Option<Secret> {
    let path = path(info)?;
    let text = match readable(&path) {
        Ok(text) => text?,
        // libpq ignores such a file and says so; a secret that others can read is none.
        Err(why) => {
            tracing::warn!("password file {} is {why}", path.display());
            return None;
        }
    };
    let host = if server.is_socket() && super::SOCKET_DIRECTORIES.contains(&server.host.as_str()) {
        "localhost"
    } else {
        &server.host
    };
    let wanted = [
        host.to_owned(),
        server.port.to_string(),
        info.database(),
        info.user_name(),
    ];
    text.lines().find_map(|line| matching(line, &wanted))
}

/// The text of the file that was looked at, and not of another one that took its name meanwhile.
fn readable(path: &Path) -> Result<Option<String>, &'static str> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let Ok(file) = rustix::fs::open(path, flags, Mode::empty()) else {
        return Ok(None);
    };
    let file = File::from(file);
    let Ok(metadata) = file.metadata() else {
        return Ok(None);
    };
    if !metadata.is_file() {
        return Err("not a plain file, ignored");
    }
    if metadata.mode() & 0o077 != 0 {
        return Err("accessible to others, ignored; run chmod 0600 on it");
    }
    let mut text = String::new();
    let read = file.take(LIMIT).read_to_string(&mut text);
    Ok(read.is_ok().then_some(text))
}

fn path(info: &Conninfo) -> Option<PathBuf> {
    info.passfile.clone().or_else(|| {
        let home = user::home();
        home.map(|home| home.join(".pgpass"))
    })
}

/// `host:port:database:user:password`, where `*` fits anything and `\` takes the next character's
/// meaning away.
fn matching(line: &str, wanted: &[String; 4]) -> Option<Secret> {
    if line.starts_with('#') {
        return None;
    }
    let mut rest = line.trim_end_matches(['\r', '\n']);
    for expected in wanted {
        let (field, tail) = field(rest)?;
        let any = rest.starts_with("*:");
        if !any && field != *expected {
            return None;
        }
        rest = tail;
    }
    let (password, _) = field(rest).unwrap_or_else(|| (unescaped(rest), ""));
    (!password.is_empty()).then(|| Secret::new(password))
}

/// The text up to the next colon, and what follows it.
fn field(text: &str) -> Option<(String, &str)> {
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ':' => return Some((unescaped(&text[..at]), &text[at + 1..])),
            _ => {}
        }
    }
    None
}

fn unescaped(text: &str) -> String {
    let mut result = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\\' {
            result.extend(characters.next());
        } else {
            result.push(character);
        }
    }
    result
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::user::User;

    /// Needs root, whose `HOME` Pacemaker's environment may have: a thread that acts as the database's
    /// account looked for root's passfile.
    #[test]
    fn pg_the_passfile_is_that_of_the_account_that_acts() {
        let postgres = User::lookup("postgres").expect("install the package postgresql");
        let own = path(&Conninfo::default());
        let theirs = postgres.act(|| Ok(path(&Conninfo::default()))).unwrap();
        assert_eq!(theirs, Some(postgres.home().join(".pgpass")));
        assert_ne!(own, theirs);
        assert_eq!(path(&Conninfo::default()), own);
        let named = Conninfo {
            passfile: Some("/x".into()),
            ..Conninfo::default()
        };
        let theirs = postgres.act(|| Ok(path(&named))).unwrap();
        assert_eq!(theirs, Some("/x".into()));
    }
}

//! The password file, as libpq reads it (PostgreSQL manual, "The Password File").

use std::path::{Path, PathBuf};

use pha_core::secret::Secret;

use super::fields::Conninfo;
use super::server::{SOCKET_DIRECTORIES, Server};
use crate::account::Files;

/// The password of the first line that fits the server, the database and the role.
pub(super) fn password(files: Files<'_>, info: &Conninfo, server: &Server) -> Option<Secret> {
    let path = path(files, info)?;
    let text = match readable(files, &path) {
        Ok(text) => text?,
        // libpq ignores such a file and says so; a secret that others can read is none.
        Err(why) => {
            tracing::warn!("password file {} is ignored: {why}", path.display());
            return None;
        }
    };
    let host = if server.is_socket() && SOCKET_DIRECTORIES.contains(&server.host.as_str()) {
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

fn readable(files: Files<'_>, path: &Path) -> Result<Option<String>, String> {
    let content = match files.read(path) {
        Ok(Some(content)) => content,
        Ok(None) => return Ok(None),
        Err(error) if error.is_permission() => return Ok(None),
        Err(error) => return Err(error.reason.to_string()),
    };
    if content.stat.mode & 0o077 != 0 {
        return Err("accessible to others; run chmod 0600 on it".to_owned());
    }
    Ok(String::from_utf8(content.bytes).ok())
}

fn path(files: Files<'_>, info: &Conninfo) -> Option<PathBuf> {
    let in_home = || files.home().map(|home| home.join(".pgpass"));
    info.passfile.clone().or_else(in_home)
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
#[allow(clippy::expect_used)]
mod tests {
    use super::*;
    use crate::user::User;

    /// Pacemaker's environment may have root's `HOME`.
    #[test]
    fn pg_the_passfile_is_that_of_the_account_that_connects() {
        let postgres = User::lookup("postgres").expect("install the package postgresql");
        let own = path(Files::own(), &Conninfo::default());
        let theirs = path(postgres.files(), &Conninfo::default());
        assert_eq!(theirs, Some(postgres.home().join(".pgpass")));
        assert_ne!(own, theirs);
        let named = Conninfo {
            passfile: Some("/x".into()),
            ..Conninfo::default()
        };
        assert_eq!(path(postgres.files(), &named), Some("/x".into()));
    }
}

//! The program that becomes an account: this one, run once more, and the words that make it so.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::user::User;

/// The word on the command line that makes this program act as an account.
pub(super) const WORD: &str = "act-as-account";

/// The word that makes it become an account and then another program.
pub(super) const RUN: &str = "run-as-account";

/// The program to run.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) path: PathBuf,
}

pub(super) static PROGRAM: OnceLock<Program> = OnceLock::new();

/// Names a program of which [`super::was_asked`] is the beginning, for one that cannot be it itself, as a
/// test. The first name counts.
pub fn use_program(path: impl Into<PathBuf>) {
    let _ = PROGRAM.set(Program { path: path.into() });
}

/// The words by which the process becomes an account: its uid, its gid, and its groups.
pub(super) fn ids(user: &User) -> [OsString; 3] {
    let groups: Vec<String> = user.groups().iter().map(u32::to_string).collect();
    [
        user.uid().to_string(),
        user.gid().to_string(),
        groups.join(","),
    ]
    .map(OsString::from)
}

/// The program, and its first words, that become the account and then what follows: a file and the name
/// that it is told as its own.
///
/// Not even for the moment of its start is there a thread of root's process with the account's name: the
/// account could stop or kill that, and with it all of root's process.
pub(crate) fn runner(user: &User) -> io::Result<(PathBuf, Vec<OsString>)> {
    let program = PROGRAM.get().ok_or_else(no_program)?;
    let words = std::iter::once(OsString::from(RUN)).chain(ids(user));
    Ok((program.path.clone(), words.collect()))
}

pub(super) fn no_program() -> io::Error {
    io::Error::other("this program cannot act as an account")
}

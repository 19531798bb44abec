//! The one place that starts a program.
//!
//! A program gets an argument vector, never a shell line; `LC_ALL=C`, because its output is read by
//! a parser (but for [`Command::character_set_of`]); `/dev/null` as its standard input unless bytes are given; a process group of its own,
//! so that a deadline takes its children along; and a deadline always. What it prints is captured
//! up to a bound; what it says on failure ends up, in one line and without secrets, in the error.
//!
//! Root runs only what nobody but root can write or exchange; the programs of the server, which may be
//! another account's, are run as that account ([`Command::run_as`]).
//!
//! **Search path.** A program with a slash in its name is taken as it is. Any other is looked up in
//! `$PATH` (Pacemaker sets it; tests put their shims there) and then in `/usr/sbin`, `/usr/bin`,
//! `/sbin` and `/bin`, where distributions keep Pacemaker's tools, whatever `$PATH` says.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pha_core::quoted::shortened;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::account;
use crate::clock::Deadline;
use crate::own;
use crate::user::User;
use capture::Capture;
pub use capture::Output;

mod capture;
mod detach;

/// How much of each stream is kept unless [`Command::keep`] says otherwise; the rest is read and dropped.
pub const KEPT_BYTES: usize = 1 << 20;

/// How long a program that was told to end (SIGTERM) gets before it is made to (SIGKILL).
const GRACE: Duration = Duration::from_millis(500);

/// How long to wait for a killed program to be gone. One that sits in an uninterruptible sleep
/// (a dead NFS mount) never is, and the agent must answer all the same.
const GONE: Duration = Duration::from_millis(500);

/// How often a program that can be cancelled is looked after.
const CANCEL_POLL: Duration = Duration::from_millis(200);

/// How many bytes of a failed program's words go into the error.
const TAIL: usize = 600;

/// How many characters of a program's arguments go into the error.
const SHOWN: usize = 1000;

/// Where libpq looks for passwords instead of the account's home.
const PASSFILE: &str = "PGPASSFILE";

const FIXED_PATH: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Where this program lies, which is the same place on every node. After an upgrade the one that runs has
/// been replaced, and the kernel says so behind its name (proc(5)).
///
/// # Errors
/// The path cannot be read, or is no text.
pub fn own_program() -> Result<String, String> {
    let path = std::env::current_exe().map_err(|error| format!("this program's path: {error}"))?;
    let text = path.to_str().ok_or("this program's path is no UTF-8")?;
    Ok(text.strip_suffix(" (deleted)").unwrap_or(text).to_owned())
}

/// A program to run, with everything it is given.
#[derive(Clone, Debug)]
#[must_use = "a command does nothing until it is run"]
pub struct Command {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    character_set: Option<String>,
    user: Option<User>,
    stdin: Option<Vec<u8>>,
    accepted: BTreeSet<i32>,
    kept: usize,
    kept_end: bool,
    secrets: Secrets,
    cancel: Option<Arc<AtomicBool>>,
}

/// Words that never appear in an error. The debug form hides them too.
#[derive(Clone, Default)]
struct Secrets(Vec<String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

impl Secrets {
    fn redact(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| {
            text.replace(secret.as_str(), "***")
        })
    }
}

/// Why a program gave no usable answer. Every variant names the program; arguments and words are
/// free of what [`Command::secret`] named.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no such program.
    #[error("{program} was not found; install it or correct the path")]
    NotFound {
        /// The program as it was asked for.
        program: String,
    },
    /// The program could not be started.
    #[error("{program} could not be started: {reason}")]
    NotStarted {
        /// The program as it was asked for.
        program: String,
        /// What the system said.
        reason: io::Error,
    },
    /// The program did not end before the deadline and was killed.
    #[error("{program} {args} did not end within {} ms and was killed; its last words: {stderr}", after.as_millis())]
    TimedOut {
        /// The program as it was asked for.
        program: String,
        /// Its arguments in one line.
        args: String,
        /// How long it had.
        after: Duration,
        /// The end of what it printed to standard error, in one line.
        stderr: String,
    },
    /// The program ended with a status that was not accepted.
    #[error("{program} {args} ended with status {status}: {stderr}")]
    Failed {
        /// The program as it was asked for.
        program: String,
        /// Its arguments in one line.
        args: String,
        /// The exit status.
        status: i32,
        /// The end of what it printed to standard error (to standard output where it was silent there), in one line.
        stderr: String,
    },
    /// The program was ended by a signal that did not come from here.
    #[error("{program} {args} was ended by signal {signal}: {stderr}")]
    Signalled {
        /// The program as it was asked for.
        program: String,
        /// Its arguments in one line.
        args: String,
        /// The signal's number.
        signal: i32,
        /// The end of what it printed to standard error, in one line.
        stderr: String,
    },
    /// The program is not run as root: another account could have put it there.
    #[error(
        "{program} ({}) is not run as root, since others than root can write it, its directory or one above it; make these root's and writable for root alone", path.display()
    )]
    NotRoots {
        /// The program as it was asked for.
        program: String,
        /// Where it was found.
        path: PathBuf,
    },
    /// Waiting for the program or reading from it failed.
    #[error("waiting for {program} failed: {reason}")]
    Wait {
        /// The program as it was asked for.
        program: String,
        /// What the system said.
        reason: io::Error,
    },
}

impl CommandError {
    /// The exit status of a program that ran and failed.
    pub fn status(&self) -> Option<i32> {
        match self {
            Self::Failed { status, .. } => Some(*status),
            Self::NotFound { .. }
            | Self::NotStarted { .. }
            | Self::NotRoots { .. }
            | Self::TimedOut { .. }
            | Self::Signalled { .. }
            | Self::Wait { .. } => None,
        }
    }

    /// Whether the program was killed because its time was over.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut { .. })
    }
}

/// Whether the environment names a file of passwords that is not the account's: libpq would take no
/// password from it, and none from the account's own file either.
fn passfile_of_another(user: &User, file: Option<OsString>) -> bool {
    file.is_some_and(|file| std::fs::metadata(file).map_or(true, |there| there.uid() != user.uid()))
}

impl Command {
    /// A command without arguments, run as the current user.
    pub fn new(program: impl AsRef<Path>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            character_set: None,
            user: None,
            stdin: None,
            accepted: BTreeSet::from([0]),
            kept: KEPT_BYTES,
            kept_end: false,
            secrets: Secrets::default(),
            cancel: None,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable in the program's environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Lets the program, and what it starts, write the characters of that locale; its words stay English
    /// where it does not choose others itself.
    pub fn character_set_of(mut self, locale: Option<String>) -> Self {
        self.character_set = locale;
        self
    }

    /// Runs the program as that account, with its groups and home, in `/`.
    ///
    /// The current directory changes because the one that Pacemaker gives an agent
    /// (`/var/lib/pacemaker/cores`) cannot be entered by others, which PostgreSQL's programs complain about.
    pub fn run_as(mut self, user: &User) -> Self {
        self.user = Some(user.clone());
        self
    }

    /// Gives the program these bytes to read.
    pub fn stdin_bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Names a word that must not appear in an error, whichever way it got there.
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        let secret = secret.into();
        if !secret.is_empty() {
            self.secrets.0.push(secret);
        }
        self
    }

    /// Accepts another exit status than 0; the caller sees it in [`Output::code`].
    pub fn accept(mut self, code: i32) -> Self {
        self.accepted.insert(code);
        self
    }

    /// Keeps up to so many bytes of each stream.
    pub fn keep(mut self, bytes: usize) -> Self {
        self.kept = bytes;
        self
    }

    /// Keeps the last bytes of each stream and drops what comes before, instead of the other way round.
    pub fn keep_end(mut self, bytes: usize) -> Self {
        self.kept = bytes;
        self.kept_end = true;
        self
    }

    /// Ends the program when this becomes true, as a deadline would: an operator's Ctrl-C reaches
    /// only this process, since the program has a process group of its own.
    pub fn cancel_when(mut self, flag: &Arc<AtomicBool>) -> Self {
        self.cancel = Some(Arc::clone(flag));
        self
    }

    /// Runs the program until it ends or the deadline comes.
    ///
    /// It is over when the program itself has ended, even if something that it started still
    /// holds its output open: `pg_ctl start` leaves a postmaster behind. At the deadline the
    /// program and its process group get SIGTERM, half a second later SIGKILL.
    pub fn run(self, deadline: Deadline) -> Result<Output, CommandError> {
        let began = Instant::now();
        let mut child = self.spawn()?;
        let capture = Capture::new(&mut child, self.stdin.clone(), self.kept, self.kept_end);
        let mut capture = capture.map_err(|reason| self.abandon(&child, reason))?;
        let ended = self
            .until_exit(&mut capture, deadline)
            .map_err(|reason| self.abandon(&child, reason))?;
        if ended {
            return self.verdict(child, capture);
        }
        self.end(&mut child, &mut capture);
        if self.is_cancelled() {
            return Err(CommandError::Signalled {
                program: self.shown_program(),
                args: self.shown_args(),
                signal: Signal::TERM.as_raw(),
                stderr: self.one_line(capture.stderr()),
            });
        }
        Err(CommandError::TimedOut {
            program: self.shown_program(),
            args: self.shown_args(),
            after: began.elapsed(),
            stderr: self.one_line(capture.stderr()),
        })
    }

    /// Waits for the end of the program; `false` when the deadline has come, or it was cancelled.
    fn until_exit(&self, capture: &mut Capture, deadline: Deadline) -> io::Result<bool> {
        if self.cancel.is_none() {
            return capture.until_exit(deadline);
        }
        loop {
            let ended = capture.until_exit(deadline.sub_budget(CANCEL_POLL))?;
            if ended || deadline.expired() || self.is_cancelled() {
                return Ok(ended);
            }
        }
    }

    fn is_cancelled(&self) -> bool {
        self.cancel
            .as_ref()
            .is_some_and(|flag| flag.load(Ordering::Relaxed))
    }

    /// Starts the program. The lookup happens here, so that "not found" is told from a missing interpreter.
    fn spawn(&self) -> Result<Child, CommandError> {
        let path = find(&self.program, std::env::var_os("PATH").as_deref()).ok_or_else(|| {
            CommandError::NotFound {
                program: self.shown_program(),
            }
        })?;
        let user = self.user.as_ref().filter(|user| !user.is_current());
        let as_root = user.is_none() && rustix::process::geteuid().is_root();
        if as_root && !own::is_roots_file(&path).unwrap_or(false) {
            return Err(CommandError::NotRoots {
                program: self.shown_program(),
                path,
            });
        }
        let mut command = self.first_step(user, &path)?;
        command.args(&self.args).process_group(0);
        match &self.character_set {
            None => command.env("LC_ALL", "C"),
            // Each of LC_ALL and LC_CTYPE decides before LANG, and a character set apart needs both of these.
            Some(locale) => command
                .env_remove("LC_ALL")
                .env("LANG", "C")
                .env("LC_MESSAGES", "C")
                .env("LC_CTYPE", locale),
        };
        command.stdin(if self.stdin.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // The agent's own parameters, the monitor's password among them, are nobody else's business.
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_parameter(name)) {
            command.env_remove(name);
        }
        if let Some(user) = user {
            command
                .env("HOME", user.home())
                .env("USER", user.name())
                .env("LOGNAME", user.name());
            if passfile_of_another(user, std::env::var_os(PASSFILE)) {
                command.env_remove(PASSFILE);
            }
        }
        if self.user.is_some() {
            command.current_dir("/");
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.spawn().map_err(|reason| self.not_started(reason))
    }

    fn not_started(&self, reason: io::Error) -> CommandError {
        CommandError::NotStarted {
            program: self.shown_program(),
            reason,
        }
    }

    /// The program itself, or the one that becomes the account first and then the program.
    ///
    /// `CommandExt::uid` would wait without a limit for a child that the account stops before it has
    /// become the program; and it drops the supplementary groups, which an account may need (Debian's
    /// `postgres` reads the TLS key as a member of `ssl-cert`).
    fn first_step(
        &self,
        user: Option<&User>,
        path: &Path,
    ) -> Result<std::process::Command, CommandError> {
        let Some(user) = user else {
            let mut command = std::process::Command::new(path);
            command.arg0(&self.program);
            return Ok(command);
        };
        let (runner, words) = account::runner(user).map_err(|reason| self.not_started(reason))?;
        let mut command = std::process::Command::new(runner);
        command.args(words).arg(path).arg(&self.program);
        Ok(command)
    }

    /// What the end of the program means.
    fn verdict(&self, mut child: Child, mut capture: Capture) -> Result<Output, CommandError> {
        let wait = |reason| CommandError::Wait {
            program: self.shown_program(),
            reason,
        };
        // Capture has seen the end without taking the child's status, so this does not block.
        let status: ExitStatus = child.wait().map_err(wait)?;
        capture.drain().map_err(wait)?;
        let words = if capture.stderr().is_empty() {
            capture.stdout()
        } else {
            capture.stderr()
        };
        match (status.code(), status.signal()) {
            (Some(code), _) if self.accepted.contains(&code) => Ok(capture.into_output(code)),
            (Some(status), _) => Err(CommandError::Failed {
                program: self.shown_program(),
                args: self.shown_args(),
                status,
                stderr: self.one_line(words),
            }),
            (None, signal) => Err(CommandError::Signalled {
                program: self.shown_program(),
                args: self.shown_args(),
                signal: signal.unwrap_or_default(),
                stderr: self.one_line(words),
            }),
        }
    }

    /// Ends a program whose time is over, and everything in its process group.
    ///
    /// The group's leader has not been reaped, so its number cannot have been given to another.
    fn end(&self, child: &mut Child, capture: &mut Capture) {
        let group = Pid::from_child(child);
        for (signal, patience) in [(Signal::TERM, GRACE), (Signal::KILL, GONE)] {
            // The only errors are "no such group" (it has just ended) and "not permitted" (it
            // became somebody else's); neither leaves anything to do here.
            let _ = kill_process_group(group, signal);
            if matches!(capture.until_exit(Deadline::after(patience)), Ok(true)) {
                // Some of the group may have outlived the leader's SIGTERM; the leader's number
                // is still ours, so this reaches nobody else.
                let _ = kill_process_group(group, Signal::KILL);
                let _ = capture.drain();
                let _ = child.wait();
                return;
            }
        }
    }

    /// Kills a program that cannot be waited for, and says why it cannot.
    fn abandon(&self, child: &Child, reason: io::Error) -> CommandError {
        let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
        CommandError::Wait {
            program: self.shown_program(),
            reason,
        }
    }

    fn shown_program(&self) -> String {
        self.secrets.redact(&self.program.to_string_lossy())
    }

    /// The arguments in one line, quoted so that one with spaces is seen to be one.
    fn shown_args(&self) -> String {
        let quoted = self.args.iter().map(|arg| {
            let arg = arg.to_string_lossy();
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
            if !arg.is_empty() && arg.chars().all(plain) {
                arg.into_owned()
            } else {
                format!("{arg:?}")
            }
        });
        let line = self.secrets.redact(&quoted.collect::<Vec<_>>().join(" "));
        shortened(&line, SHOWN)
    }

    /// The end of what a program said, in one line: Pacemaker shows one line of a failure.
    fn one_line(&self, words: &[u8]) -> String {
        let text = self.secrets.redact(&String::from_utf8_lossy(words));
        let line = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .join(" / ");
        let cut = line.char_indices().rev().nth(TAIL).map(|(at, _)| at);
        match cut {
            Some(at) => format!("…{}", &line[at..]),
            None if line.is_empty() => "it printed nothing".to_owned(),
            None => line,
        }
    }
}

/// Whether a variable is a parameter of the agent; those of Pacemaker itself (`CRM_meta`) are not.
fn is_parameter(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("OCF_RESKEY_") && !name.starts_with("OCF_RESKEY_CRM_meta_")
}

/// Finds a program the way [`Command`] does; `None` when there is none that can be executed.
pub fn find_program(program: &Path) -> Option<PathBuf> {
    find(program, std::env::var_os("PATH").as_deref())
}

/// Finds a program as described at the top of this module.
fn find(program: &Path, path: Option<&OsStr>) -> Option<PathBuf> {
    if program.components().count() > 1 || program.is_absolute() {
        return is_executable(program).then(|| program.to_owned());
    }
    let own: Vec<PathBuf> = path
        .map(|path| std::env::split_paths(path).collect())
        .unwrap_or_default();
    own.into_iter()
        .chain(FIXED_PATH.iter().map(PathBuf::from))
        // An empty or relative entry would mean the current directory, which is not to be trusted.
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(program))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests;

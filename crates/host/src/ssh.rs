//! Running a program on another node over ssh, as the site has configured it.
//!
//! The OpenSSH client does it, so that ports, users, keys, jump hosts, host keys and everything else in
//! `/root/.ssh/config` and `/etc/ssh/ssh_config` count here as they do for whoever types `ssh`. What
//! could ask a person, or depends on who has logged in (an ssh agent, a shared connection), is shut
//! out: what works for an operator works the same for the agent in an outage.
//!
//! A login shell may print whatever it likes before the program begins (`.bashrc`): a mark says where
//! the program's own words begin.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use pha_core::hindrance::Hindrance;

use crate::clock::Deadline;
use crate::command::{Command, CommandError, Output};

mod causes;
mod direct;
mod hostkey;
mod settings;

pub use causes::Cause;
pub use direct::{Direct, DirectError};
pub use settings::Settings;

/// The key that asks for promises alone, where `install.sh --restrict-ssh` has made one.
pub const PROMISE_KEY: &str = "/root/.ssh/pha4pgsql_promise";

/// What stands before the output of a program.
const MARK: &str = "pha4pgsql: here begins the answer";

/// The client's exit status for its own failures.
const FAILED: i32 = 255;

/// Settings that a site may have and that do not fit a program which waits for an answer. An older
/// client does not know all of them, which the first entry allows for.
const SETTINGS: [&str; 15] = [
    "IgnoreUnknown=RemoteCommand,SessionType,ForkAfterAuthentication,StdinNull",
    "BatchMode=yes",
    "ControlMaster=no",
    "ControlPath=none",
    "RemoteCommand=none",
    "SessionType=default",
    "ForkAfterAuthentication=no",
    "StdinNull=no",
    "RequestTTY=no",
    "PermitLocalCommand=no",
    "ClearAllForwardings=yes",
    "ForwardX11=no",
    "ForwardAgent=no",
    "ServerAliveInterval=15",
    "LogLevel=ERROR",
];

/// Why a program could not be run on another node. None of these says anything about the program.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// The client did not get there, or was not let in.
    #[error("ssh to {host}: {cause}")]
    Failed {
        /// The host.
        host: String,
        /// What it said, and what to do about it.
        cause: Cause,
    },
    /// The client got there, and the program did not begin.
    #[error("{}", self.hindrance())]
    NotRun {
        /// The host.
        host: String,
        /// What came instead.
        said: String,
    },
    /// The program began, and its end is not known.
    #[error(
        "ssh to {host}: the connection broke while the program ran, or a signal ended it there: {said}"
    )]
    Broken {
        /// The host.
        host: String,
        /// What the client or the program said last.
        said: String,
    },
    /// The deadline came.
    #[error("ssh to {host}: no answer came within {} ms", after.as_millis())]
    TimedOut {
        /// The host.
        host: String,
        /// How long it had.
        after: Duration,
    },
    /// The client could not be run here.
    #[error("ssh to {host}: {reason}")]
    Client {
        /// The host.
        host: String,
        /// Why not.
        reason: CommandError,
    },
    /// A host or an argument that cannot be given to the client.
    #[error("ssh to {host:?}: {what}")]
    Argument {
        /// The host.
        host: String,
        /// What is wrong.
        what: &'static str,
    },
}

impl SshError {
    /// The same, with what to do about it apart from it.
    #[must_use]
    pub fn hindrance(&self) -> Hindrance {
        match self {
            Self::Failed { host, cause } => Hindrance::new(
                format!("ssh to {host}: {}", cause.what),
                cause.remedy.as_str(),
            ),
            Self::NotRun { host, said } => Hindrance::new(
                format!("ssh to {host}: the program was not run there: {said}"),
                format!(
                    "see whether this node's key is bound to another command in authorized_keys there, and whether root's shell there runs commands: ssh {host} true"
                ),
            ),
            other => Hindrance::of(other),
        }
    }
}

/// How to reach other nodes.
#[derive(Clone, Debug, Default)]
pub struct Ssh {
    /// Another configuration than root's and the system's.
    pub config: Option<PathBuf>,
    /// A key that is tried before those of the configuration, where the file exists.
    pub key: Option<PathBuf>,
}

impl Ssh {
    /// For asking other nodes to promise: with the key that is bound to that, where there is one.
    #[must_use]
    pub fn for_promises() -> Self {
        Self {
            key: Some(PathBuf::from(PROMISE_KEY)),
            ..Self::default()
        }
    }

    /// Runs a program on another node, gives it `stdin`, and waits for its end.
    ///
    /// Every argument reaches the program as it is, and what is returned is what the program itself has
    /// printed. Whatever the exit status, the program ran: it is in [`Output::code`]. At the deadline
    /// the connection is dropped; a remote program that ignores the end of its output may go on, so
    /// give it a time limit of its own.
    ///
    /// # Errors
    /// [`SshError`].
    pub fn exec(
        &self,
        host: &str,
        argv: &[&str],
        stdin: &[u8],
        deadline: Deadline,
    ) -> Result<Output, SshError> {
        let mut output = self.run(host, &marked(argv), stdin, deadline)?;
        let said = last_words(&output);
        let code = output.code;
        if !strip(&mut output.stdout) {
            return Err(match code {
                FAILED => self.failed(host, &output),
                _ => SshError::NotRun {
                    host: host.to_owned(),
                    said,
                },
            });
        }
        strip(&mut output.stderr);
        if code == FAILED {
            let host = host.to_owned();
            return Err(SshError::Broken { host, said });
        }
        Ok(output)
    }

    /// Runs a program that marks its answer itself, because a key may be bound to it: what its login
    /// shell has printed is left in the output.
    ///
    /// # Errors
    /// [`SshError`].
    pub fn ask(
        &self,
        host: &str,
        argv: &[&str],
        stdin: &[u8],
        deadline: Deadline,
    ) -> Result<Output, SshError> {
        let output = self.run(host, argv, stdin, deadline)?;
        match output.code {
            FAILED => Err(self.failed(host, &output)),
            _ => Ok(output),
        }
    }

    /// As [`Ssh::exec`], without the client where the site's configuration for that host asks for
    /// nothing that needs it: then "the host was not reached" and "the program ended with 255" are told
    /// apart for sure.
    ///
    /// # Errors
    /// Why the program could not be run there.
    pub fn exec_directly(
        &self,
        host: &str,
        argv: &[&str],
        deadline: Deadline,
    ) -> Result<Output, String> {
        let settings = self.settings(host, deadline.sub_budget(deadline.left() / 4));
        let (target, direct) = match settings {
            Some(settings) if settings.needs_client.is_none() => (settings.host, settings.direct),
            Some(_) => {
                let output = self.exec(host, argv, b"", deadline);
                return output.map_err(|error| error.to_string());
            }
            None => (host.to_owned(), Direct::default()),
        };
        let outcome = direct.exec(&target, &marked(argv), b"", deadline);
        let mut output = outcome.map_err(|error| error.to_string())?;
        if !strip(&mut output.stdout) {
            let (host, said) = (host.to_owned(), last_words(&output));
            return Err(SshError::NotRun { host, said }.to_string());
        }
        strip(&mut output.stderr);
        Ok(output)
    }

    /// What the site's configuration says about a host; none where there is no client or it cannot read it.
    #[must_use]
    pub fn settings(&self, host: &str, deadline: Deadline) -> Option<Settings> {
        checked(host).ok()?;
        let question = self.client(deadline).args(["-G", "--", host]);
        let output = question.run(deadline).ok()?;
        (output.code == 0).then(|| Settings::parse(host, &output.text()))
    }

    fn failed(&self, host: &str, output: &Output) -> SshError {
        SshError::Failed {
            host: host.to_owned(),
            cause: Cause::of(host, &output.error_text()),
        }
    }

    fn run(
        &self,
        host: &str,
        words: &[&str],
        stdin: &[u8],
        deadline: Deadline,
    ) -> Result<Output, SshError> {
        let argument = |what| SshError::Argument {
            host: host.to_owned(),
            what,
        };
        checked(host).map_err(argument)?;
        let line = shlex::try_join(words.iter().copied())
            .map_err(|_| argument("an argument holds a NUL byte"))?;
        let began = Instant::now();
        let outcome = self
            .client(deadline)
            .args(["--", host, &line])
            .stdin_bytes(stdin)
            .run(deadline);
        outcome.map_err(|reason| match reason {
            CommandError::TimedOut { .. } => SshError::TimedOut {
                host: host.to_owned(),
                after: began.elapsed(),
            },
            reason => SshError::Client {
                host: host.to_owned(),
                reason,
            },
        })
    }

    /// The client with everything but the host and the command.
    fn client(&self, deadline: Deadline) -> Command {
        // What an operator's login has brought along is not there in an outage.
        let mut command = Command::new("ssh").env("SSH_AUTH_SOCK", "");
        if let Some(config) = &self.config {
            command = command.arg("-F").arg(config);
        }
        if let Some(key) = self.key.as_ref().filter(|key| key.exists()) {
            command = command.arg("-i").arg(key);
        }
        let seconds = deadline.left().as_secs().max(1);
        command = command
            .arg("-T")
            .arg("-o")
            .arg(format!("ConnectTimeout={seconds}"));
        for setting in SETTINGS {
            command = command.args(["-o", setting]);
        }
        // Every exit status is an answer to be read.
        (1..=255).fold(command, Command::accept)
    }
}

/// The program, with the mark before what it prints. The login shell has nothing to do but to begin it.
fn marked<'a>(argv: &[&'a str]) -> Vec<&'a str> {
    let script = "echo \"$0\"; echo \"$0\" >&2; exec \"$@\"";
    let mut words = vec!["exec", "/bin/sh", "-c", script, MARK];
    words.extend(argv);
    words
}

/// A name that the client takes for a host, and neither for an option nor for two words.
fn checked(host: &str) -> Result<(), &'static str> {
    let odd = |c: char| c.is_whitespace() || c.is_control();
    if host.is_empty() || host.starts_with('-') || host.contains(odd) {
        return Err("this is no host's name");
    }
    Ok(())
}

/// Takes everything up to the mark away; `false` where there is none.
fn strip(text: &mut Vec<u8>) -> bool {
    let mark = format!("{MARK}\n");
    let found = text
        .windows(mark.len())
        .position(|window| window == mark.as_bytes());
    match found {
        Some(at) => {
            text.drain(..at + mark.len());
            true
        }
        None => false,
    }
}

/// The last line that somebody wrote, in any of the two streams.
fn last_words(output: &Output) -> String {
    let (error, text) = (output.error_text(), output.text());
    let of = |text: &str| {
        let line = text.lines().rev().find(|line| {
            let line = line.trim();
            !line.is_empty() && line != MARK
        });
        line.map(pha_core::quoted::quoted)
    };
    of(&error)
        .or_else(|| of(&text))
        .unwrap_or_else(|| "it said nothing".to_owned())
}

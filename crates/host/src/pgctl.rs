//! PostgreSQL's server programs and its data directory.
//!
//! Starting and promoting go through `pg_ctl`. Stopping and reloading are signals to the
//! postmaster, which is all that `pg_ctl` would do (PostgreSQL manual, "Shutting Down the Server"):
//! so they work when the configuration or the programs are broken, and the end is noticed at once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pha_core::limits::Limits;
use pha_core::link_name::LinkName;
use pha_core::lsn::Lsn;
use pha_core::parse::controldata::{self, ControlData, ControlDataError};
use pha_core::parse::history::HistoryError;
use pha_core::parse::waldump::WaldumpError;
pub use pha_core::plan::StopMode;
use pha_core::remedy::Remedy;
use pha_core::server_program::ServerProgram;
use pha_core::snapshot::{RunningName, StandbySignal, WalRoom};
use pha_core::timeline::TimelineId;

use crate::account::{Kind, Stat};
use crate::clock::Deadline;
use crate::command::{Command, CommandError, find_program};
use crate::files::FileError;
use crate::process::{self, Postmaster, Process, ProcessError, Signal};
use crate::user::User;

mod aside;
mod end_of_wal;
mod histories;
mod prepare;
pub(crate) mod running;
mod stop;
mod version;

pub use version::Version;

/// Why something about a server's programs or data directory could not be done.
#[derive(Debug, thiserror::Error)]
pub enum PgError {
    /// A program failed, hung or is not there.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A process could not be looked at or signalled.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A number that is said to be of the WAL receiver, and is not.
    #[error(
        "process {pid} is no WAL receiver of this server, so that it is left alone; look who changes the answers of pg_stat_wal_receiver"
    )]
    NoReceiver {
        /// The number.
        pid: i32,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The server did not start.
    #[error("postgres did not start: {reason}{}", log.as_ref().map(|log| format!("; its log ends: {log}")).unwrap_or_default())]
    NotStarted {
        /// What `pg_ctl` said.
        reason: String,
        /// The end of what the server wrote to the log file meanwhile, in one line.
        log: Option<String>,
    },
    /// A path would be taken apart by the shell that `pg_ctl` uses.
    #[error(
        "{parameter}={path:?} holds a character that pg_ctl would hand to a shell (one of \" $ ` \\ or a line break); choose another path"
    )]
    UnsafePath {
        /// The parameter that holds it.
        parameter: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// The data directory is of another major version than the programs.
    #[error("{} is of PostgreSQL {data}, but {} is of {program}; correct pgctl or pgdata, or run pg_upgrade", pgdata.display(), pgctl.display())]
    OtherVersion {
        /// The data directory.
        pgdata: PathBuf,
        /// Its version.
        data: String,
        /// The programs.
        pgctl: PathBuf,
        /// Their version.
        program: String,
    },
    /// Text that should name a version does not.
    #[error("{what} says {text}, which names no PostgreSQL version")]
    UnknownVersion {
        /// Where the text came from.
        what: String,
        /// The text, quoted, or what stands for one that is not shown.
        text: String,
    },
    /// `pg_controldata` printed something that cannot be used.
    #[error(transparent)]
    ControlData(#[from] ControlDataError),
    /// A timeline history file that PostgreSQL would not have written.
    #[error("{}: {reason}", path.display())]
    History {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: HistoryError,
    },
    /// The end of the WAL cannot be told.
    #[error("the end of the WAL on timeline {timeline} cannot be told: {reason}")]
    EndOfWal {
        /// The timeline that was read.
        timeline: TimelineId,
        /// Why.
        reason: WaldumpError,
    },
    /// Recovery would have nothing to begin with.
    #[error(
        "the latest checkpoint at {checkpoint} on timeline {timeline} is not in pg_wal; restore the WAL or {}",
        Remedy::Rebuild
    )]
    NoCheckpoint {
        /// Where it should be.
        checkpoint: Lsn,
        /// On which timeline.
        timeline: TimelineId,
    },
    /// There is no data directory of PostgreSQL.
    #[error("{} is no data directory of PostgreSQL: it has no PG_VERSION; see that its file system is mounted, or correct pgdata", .0.display())]
    NoDataDirectory(PathBuf),
    /// The server to copy from cannot be addressed.
    #[error("the server to copy from: {0}")]
    Source(String),
}

/// What became of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Started {
    /// The server accepts connections, or has reached the point where it would if it were asked to.
    Ready,
    /// The server runs and is still recovering at the deadline.
    Recovering,
}

/// What became of a stop.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Stopped {
    /// No process of a server was there.
    WasNotRunning,
    /// All of them have ended.
    Ended,
    /// These are still there.
    StillRunning(Vec<Process>),
}

/// A server's programs and where its things are.
#[derive(Clone, Debug)]
pub struct PgCtl {
    /// `pg_ctl`; the other programs of the server are beside it.
    pub program: PathBuf,
    /// The data directory.
    pub pgdata: PathBuf,
    /// The configuration file; the server is told of it when it is not the one in the data directory.
    pub config: PathBuf,
    /// The account that owns the data directory and runs the server.
    pub user: User,
    /// Further options of `pg_ctl`, one per word.
    pub ctl_opt: Vec<String>,
    /// Further options of the server, one per word.
    pub start_opt: Vec<String>,
    /// Where the server writes until its own logging has begun.
    pub logfile: PathBuf,
    /// A directory of shared libraries, for programs outside the system's paths (`pglibs`).
    pub libraries: Option<PathBuf>,
}

/// So many bytes of the end of a log are looked at.
const LOG_KEPT: u64 = 2000;

/// How long a start waits to learn in which language the server writes.
const LANGUAGE: Duration = Duration::from_secs(5);

/// The control file, in the data directory.
const CONTROL: &str = "global/pg_control";

/// Whether the data directory is a standby's, by the file that makes it one.
pub(crate) fn standby_signal(owner: &User, pgdata: &Path) -> StandbySignal {
    let files = owner.files();
    let looks = ["standby.signal", "recovery.conf"].map(|name| {
        let look = files.look(&pgdata.join(name));
        look.inspect_err(|error| tracing::warn!("{error}"))
            .map(|stat| stat.is_some())
    });
    StandbySignal::of_looks(&looks)
}

/// The system identifier of a data directory: the first field of `global/pg_control` in every version,
/// made by initdb and the same on every node of a cluster. `None` without a data directory.
#[must_use]
pub fn system_identifier(owner: &User, pgdata: &Path) -> Option<u64> {
    let file = pgdata.join(CONTROL);
    let most = size_of::<u64>() as u64;
    let first = owner.files().read_part(&file, 0, most).ok()??.bytes;
    Some(u64::from_ne_bytes(first.try_into().ok()?))
}

/// libpq's default for `application_name`, which comes before the name that a WAL receiver falls back to
/// (PostgreSQL manual, "Environment Variables").
const LINK_NAME: &str = "PGAPPNAME";

impl PgCtl {
    /// The name that the running postmaster was started with. PostgreSQL writes titles over the
    /// environment of its children, and not over the postmaster's own.
    #[must_use]
    pub fn link_name(&self) -> RunningName {
        let Ok(Postmaster::Alive { process, .. }) = self.postmaster() else {
            return RunningName::Unknown;
        };
        let Ok(bytes) = std::fs::read(format!("/proc/{}/environ", process.pid())) else {
            return RunningName::Unknown;
        };
        let mut entries = bytes
            .split(|byte| *byte == 0)
            .filter(|e| !e.is_empty())
            .peekable();
        if entries.peek().is_none() {
            return RunningName::Unknown;
        }
        let name = entries.find_map(|entry| {
            let text = std::str::from_utf8(entry).ok()?;
            text.strip_prefix(LINK_NAME)?.strip_prefix('=')
        });
        match name.and_then(|name| name.parse().ok()) {
            Some(name) => RunningName::Name(name),
            None => RunningName::Unnamed,
        }
    }

    /// Starts the server and waits until it answers or the deadline comes.
    ///
    /// A server that runs already is not started again. One that is still recovering at the
    /// deadline is left to go on: crash recovery takes what it takes.
    ///
    /// `name` is what its WAL receiver calls itself (R11). It is in the environment of the postmaster and
    /// of all that it starts, and in no file.
    pub fn start(&self, name: Option<&LinkName>, deadline: Deadline) -> Result<Started, PgError> {
        self.start_with(name, &[], deadline)
    }

    /// The same for a server whose configuration makes it a standby. One that has been given less of what
    /// its WAL asks for ([`Limits`]) than its primary had does not start, and the primary, which begins as
    /// a standby too, could never be given less: so it is started once more with what its WAL asks for.
    /// Opened in place it has its own values, and its standbys have them from their next start on.
    pub fn start_standby(
        &self,
        name: Option<&LinkName>,
        deadline: Deadline,
    ) -> Result<Started, PgError> {
        let failed = match self.start_with(name, &[], deadline) {
            Err(error @ PgError::NotStarted { .. }) => error,
            other => return other,
        };
        let raised = self.raised_limits(deadline);
        if raised.is_empty() {
            return Err(failed);
        }
        tracing::warn!(
            "PostgreSQL does not start as a standby with less than its primary had, and is started with {}",
            raised.join(" ")
        );
        self.start_with(name, &raised, deadline)
    }

    /// What this stopped server must be told to have at least what its WAL asks for. Nothing where it
    /// cannot be told: then the start has failed for a reason of its own.
    fn raised_limits(&self, deadline: Deadline) -> Vec<String> {
        let needed = self.controldata(deadline).map(|control| control.limits);
        match (self.limits_of_stopped(deadline), needed) {
            (Ok(Some(own)), Ok(needed)) => own.raised_to(needed),
            _ => Vec::new(),
        }
    }

    /// The limits that a start would give, as [`Self::setting_of_stopped`] tells them; `None` where they
    /// are no numbers.
    ///
    /// # Errors
    /// As there.
    pub fn limits_of_stopped(&self, deadline: Deadline) -> Result<Option<Limits>, CommandError> {
        let mut values = [0; Limits::SETTINGS.len()];
        for (value, name) in values.iter_mut().zip(Limits::SETTINGS) {
            let text = self.setting_of_stopped(name, deadline)?;
            match text.and_then(|text| text.parse().ok()) {
                Some(number) => *value = number,
                None => return Ok(None),
            }
        }
        Ok(Some(Limits::from_values(values)))
    }

    fn start_with(
        &self,
        name: Option<&LinkName>,
        more: &[String],
        deadline: Deadline,
    ) -> Result<Started, PgError> {
        self.refuse_shell_characters()?;
        self.remove_stale_locks()?;
        let log = self.user.files().look(&self.logfile).ok().flatten();
        let log_before = log.map_or(0, |stat| stat.length);
        let patience = deadline.left().as_secs().max(1).to_string();
        let command = self
            .command("pg_ctl")
            .args(&self.ctl_opt)
            .args(["start", "-w", "-t", &patience, "-l"])
            .arg(&self.logfile)
            .arg("-o")
            .arg(self.server_options(more))
            // pg_ctl puts a directory given with -D into a shell line as it is, but takes one
            // from the environment without (pg_ctl.c, pgdata_opt); the server gets it with -o.
            .env("PGDATA", &self.pgdata)
            .character_set_of(self.language_of_log(deadline));
        let command = match name {
            Some(name) => command.env(LINK_NAME, name.as_str()),
            None => command,
        };
        match command.run(deadline) {
            Ok(_) => Ok(Started::Ready),
            Err(error) => match self.postmaster()? {
                Postmaster::Alive { .. } => Ok(Started::Recovering),
                Postmaster::Absent | Postmaster::Stale { .. } => {
                    Err(self.not_started(error, log_before))
                }
            },
        }
    }

    /// Whether a postmaster of the account runs on the data directory.
    pub fn postmaster(&self) -> Result<Postmaster, ProcessError> {
        Postmaster::of(&self.pgdata, &self.user)
    }

    /// Every process of the account's server on the data directory.
    pub fn processes(&self) -> Result<Vec<Process>, ProcessError> {
        process::server_processes(&self.pgdata, &self.user)
    }

    /// Ends the WAL receiver with that number; the startup process begins another one, which connects
    /// anew. A number comes from SQL, so it has to be a WAL receiver of this very server.
    ///
    /// # Errors
    /// It is no such process, or cannot be signalled.
    pub fn end_receiver(&self, pid: i32) -> Result<(), PgError> {
        let Postmaster::Alive { process, .. } = self.postmaster()? else {
            return Ok(());
        };
        match process.receiver(pid, self.user.uid()) {
            Some(receiver) => receiver.signal(Signal::TERM)?,
            None if Process::look(pid).map_err(ProcessError::Proc)?.is_none() => return Ok(()),
            None => return Err(PgError::NoReceiver { pid }),
        };
        Ok(())
    }

    /// Ends a process that serves a client of this server. A number comes from SQL, so it has to be a
    /// child of this very postmaster; one that is gone is no error.
    ///
    /// # Errors
    /// It cannot be looked at or signalled.
    pub fn end_backend(&self, pid: i32) -> Result<(), PgError> {
        let Postmaster::Alive { process, .. } = self.postmaster()? else {
            return Ok(());
        };
        let children = self.processes()?.into_iter();
        let mut children = children.filter(|child| child.parent() == Some(process.pid()));
        if let Some(child) = children.find(|child| child.pid() == pid) {
            child.signal(Signal::TERM)?;
        }
        Ok(())
    }

    /// Tells a standby to become a primary, without waiting for it: whoever holds a connection
    /// sees the end of recovery sooner than `pg_ctl`, which looks ten times a second.
    pub fn promote(&self, deadline: Deadline) -> Result<(), PgError> {
        let command = self
            .command("pg_ctl")
            .args(["promote", "-W"])
            .env("PGDATA", &self.pgdata);
        command.run(deadline)?;
        Ok(())
    }

    /// What the file system of `pg_wal` has left for more of it.
    #[must_use]
    pub fn wal_room(&self) -> WalRoom {
        let files = self.user.files();
        let wal = self.pgdata.join("pg_wal");
        let look = || -> Result<WalRoom, FileError> {
            let free = files.free_space(&wal)?;
            let names = files.names(&wal, "")?.unwrap_or_default();
            // The segments are as large as initdb was told; any file of such a name says how large.
            let segment = names
                .iter()
                .find(|name| name.len() == 24 && name.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let segment = segment
                .map(|name| files.look(&wal.join(name)))
                .transpose()?;
            let segment = segment.flatten().map(|segment| segment.length);
            Ok(WalRoom::Seen { free, segment })
        };
        look().unwrap_or_else(|error| WalRoom::Unknown(error.to_string()))
    }

    /// Tells the server to read its configuration again; `false` when none runs. Reading happens
    /// some time later: see [`crate::postgres`] for how to know that it has.
    pub fn reload(&self) -> Result<bool, PgError> {
        match self.postmaster()? {
            Postmaster::Alive { process, .. } => Ok(process.signal(Signal::HUP)?),
            Postmaster::Absent | Postmaster::Stale { .. } => Ok(false),
        }
    }

    /// What `pg_controldata` says about the data directory.
    pub fn controldata(&self, deadline: Deadline) -> Result<ControlData, PgError> {
        // The program would wait without end for the other end of a FIFO.
        let control = self.pgdata.join(CONTROL);
        let _ = self.user.files().read_part(&control, 0, 1)?;
        let output = self
            .command("pg_controldata")
            .arg(&self.pgdata)
            .run(deadline)?;
        // pg_controldata reports a damaged file on standard output or error, depending on its version.
        let text = format!("{}{}", output.text(), output.error_text());
        Ok(controldata::parse(&text)?)
    }

    /// Whether there is a data directory, of the major version of the programs; its version.
    pub fn check_version(&self, deadline: Deadline) -> Result<Version, PgError> {
        let data = self.data_version()?;
        let program = self.program_version(deadline)?;
        if data.major() != program.major() {
            return Err(PgError::OtherVersion {
                pgdata: self.pgdata.clone(),
                data: data.to_string(),
                pgctl: self.program.clone(),
                program: program.to_string(),
            });
        }
        Ok(program)
    }

    /// The version of the data directory, from its file `PG_VERSION`.
    pub fn data_version(&self) -> Result<Version, PgError> {
        let path = self.pgdata.join("PG_VERSION");
        let content = self.user.files().read(&path)?;
        let content = content.ok_or_else(|| PgError::NoDataDirectory(self.pgdata.clone()))?;
        let text = content.text();
        Version::parse(text.trim()).ok_or_else(|| PgError::UnknownVersion {
            what: path.display().to_string(),
            text: match self.user.files().may_quote(&content, &self.pgdata) {
                true => format!("{:?}", text.chars().take(40).collect::<String>()),
                false => "something".to_owned(),
            },
        })
    }

    /// What a program says of its version; none where it cannot be run.
    #[must_use]
    pub fn version_line(&self, program: ServerProgram, deadline: Deadline) -> Option<String> {
        let command = self.command(program.as_str()).arg("--version");
        let output = command.run(deadline).ok()?;
        output.text().lines().next().map(str::to_owned)
    }

    /// The version of the programs, from `postgres --version`.
    pub fn program_version(&self, deadline: Deadline) -> Result<Version, PgError> {
        let output = self.command("postgres").arg("--version").run(deadline)?;
        let text = output.text().trim().to_owned();
        let version = text
            .split_once("(PostgreSQL) ")
            .and_then(|(_, version)| Version::parse(version));
        version.ok_or_else(|| PgError::UnknownVersion {
            what: "postgres --version".to_owned(),
            text: format!("{text:?}"),
        })
    }

    /// The directory of the write-ahead log.
    pub fn wal_dir(&self) -> PathBuf {
        self.pgdata.join("pg_wal")
    }

    /// A program of the server, run as its owner. `pg_ctl` may be a link into the directory of the
    /// others (as `update-alternatives` makes), so both places are looked at.
    pub(crate) fn command(&self, name: &str) -> Command {
        let path = if name == "pg_ctl" {
            self.program.clone()
        } else {
            self.beside(name)
        };
        let command = Command::new(path).run_as(&self.user);
        match &self.libraries {
            Some(libraries) => command.env("LD_LIBRARY_PATH", libraries),
            None => command,
        }
    }

    /// Whether a program of the server is there, as its owner sees it.
    #[must_use]
    pub fn has(&self, program: ServerProgram) -> bool {
        let there = self.user.files().look(&self.beside(program.as_str()));
        let runs = |file: Stat| file.kind == Kind::File && file.mode & 0o111 != 0;
        there.ok().flatten().is_some_and(runs)
    }

    /// Which of these programs are not there.
    #[must_use]
    pub fn missing(&self, programs: &[ServerProgram]) -> Vec<ServerProgram> {
        let missing = |program: &&ServerProgram| !self.has(**program);
        programs.iter().filter(missing).copied().collect()
    }

    fn beside(&self, name: &str) -> PathBuf {
        let found = find_program(&self.program).unwrap_or_else(|| self.program.clone());
        let files = self.user.files();
        let real = files.real(&found).ok().flatten();
        let real = real.unwrap_or_else(|| found.clone());
        let candidates = [found.with_file_name(name), real.with_file_name(name)];
        let [first, second] = candidates;
        let seen = |path| files.is_there(path) == Some(true);
        if !seen(&first) && seen(&second) {
            second
        } else {
            first
        }
    }

    /// The locale whose characters the server's log needs: the one that the configuration chooses for
    /// messages. PostgreSQL takes the character set of what it writes before it is in a database from the
    /// environment (`LC_CTYPE`), and would write question marks in the place of all that is not ASCII.
    fn language_of_log(&self, deadline: Deadline) -> Option<String> {
        // A configuration that cannot be read is the start's to say.
        let chosen = self.setting_of_stopped("lc_messages", deadline.sub_budget(LANGUAGE));
        let chosen = chosen.ok().flatten()?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '@');
        (!chosen.is_empty() && chosen.chars().all(is_name)).then_some(chosen)
    }

    /// What a setting of a server that is stopped would be after a start: `postgres -C` with the options
    /// that a start gives it. `None` for a name that this version does not know.
    ///
    /// # Errors
    /// The configuration cannot be read, or `postgres` not be run.
    pub fn setting_of_stopped(
        &self,
        name: &str,
        deadline: Deadline,
    ) -> Result<Option<String>, CommandError> {
        let words = self.server_words();
        let asked = self.command("postgres").arg("-C").arg(name).args(words);
        // Why it cannot be told is read below, whatever the language that the configuration chooses.
        let asked = match name {
            "lc_messages" => asked,
            _ => asked.args(["-c", "lc_messages=C"]),
        };
        match asked.run(deadline) {
            Ok(output) => Ok(Some(output.text().trim().to_owned())),
            // An unknown word in a file is said with the file behind it: no start would come about.
            Err(CommandError::Failed { stderr, .. })
                if stderr.lines().any(|line| {
                    line.ends_with(&format!("unrecognized configuration parameter \"{name}\""))
                }) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The server's options as one text, which `pg_ctl` hands to a shell: every word is quoted, so
    /// that it arrives as it is here.
    fn server_options(&self, more: &[String]) -> String {
        let words = [self.server_words(), more.to_vec()].concat();
        // Joining fails for a NUL byte alone, which no parameter can hold: it came from the
        // environment.
        shlex::try_join(words.iter().map(String::as_str)).unwrap_or_default()
    }

    fn server_words(&self) -> Vec<String> {
        let mut words = vec!["-D".to_owned(), self.pgdata.to_string_lossy().into_owned()];
        if self.config != self.pgdata.join("postgresql.conf") {
            words.extend([
                "-c".to_owned(),
                format!("config_file={}", self.config.display()),
            ]);
        }
        words.extend(self.start_opt.iter().cloned());
        words
    }

    /// `pg_ctl` puts its own path and that of the log file between double quotes into a line for a shell.
    fn refuse_shell_characters(&self) -> Result<(), PgError> {
        for (parameter, path) in [("pgctl", &self.program), ("logfile", &self.logfile)] {
            if path
                .to_string_lossy()
                .contains(['"', '$', '`', '\\', '\n', '\r'])
            {
                return Err(PgError::UnsafePath {
                    parameter,
                    path: path.clone(),
                });
            }
        }
        Ok(())
    }

    /// The end of what was written to the log file since it had that length, in one line. What the
    /// account has put in its place is not quoted.
    fn log_since(&self, length: u64) -> Option<String> {
        let files = self.user.files();
        let end = files.look(&self.logfile).ok()??.length;
        let from = length.max(end.saturating_sub(LOG_KEPT));
        let content = files.read_part(&self.logfile, from, LOG_KEPT).ok()??;
        let directory = self.logfile.parent()?;
        let shown = files.may_quote(&content, directory);
        shown.then(|| last_lines(&content.text())).flatten()
    }

    fn not_started(&self, error: CommandError, log_before: u64) -> PgError {
        let log = self.log_since(log_before);
        match error {
            CommandError::Failed { stderr, .. } => PgError::NotStarted {
                reason: stderr,
                log,
            },
            CommandError::TimedOut { after, .. } => PgError::NotStarted {
                reason: format!("pg_ctl did not end within {} ms", after.as_millis()),
                log,
            },
            other @ (CommandError::NotFound { .. }
            | CommandError::NotStarted { .. }
            | CommandError::NotRoots { .. }
            | CommandError::Signalled { .. }
            | CommandError::Wait { .. }) => PgError::Command(other),
        }
    }
}

/// What a log says of the end of a server, in one line.
fn last_lines(text: &str) -> Option<String> {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    // What ended the server, and the line before it, come before what it says of its end.
    let fatal = |line: &&str| line.contains("FATAL:") || line.contains("PANIC:");
    let from = match lines.iter().position(fatal) {
        Some(fatal) => fatal.saturating_sub(1),
        None => lines.len().saturating_sub(4),
    };
    let last = lines[from..lines.len().min(from + 4)].join(" / ");
    (!last.is_empty()).then_some(last)
}

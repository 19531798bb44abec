//! The command line, and what each action does.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use pha_core::register::Trouble;
use pha_host::clock::Deadline;
use pha_host::conninfo::Conninfo;
use pha_host::lock::{self, LockName, LockService, MutexAnswer, RoleName, Shown};

use crate::exit::Exit;
use crate::render;

pub(crate) const AFTER_HELP: &str = "\
Exit status:
  0  done; for trylock, lock and unlock: yes, 1 was printed
  1  trylock, lock, unlock: no, 0 was printed; show: there is no such row; init: there is a row
     that the agent does not believe
  2  wrong arguments
  3  the lock service could not be reached
  4  the lock service answered an error

Examples:
  distlock 'host=node3 dbname=postgres user=postgres' init distlock:pgsql_cls1
  distlock 'host=node3 dbname=postgres user=postgres' init distlock:pgsql_cls1 --role cls1
  distlock 'host=node3 dbname=postgres user=postgres' show distlock:pgsql_cls1
  distlock '/usr/bin/psql \"host=node3 user=postgres\"' lock distlock:pgsql_cls1 node1 30 10

The password belongs into ~/.pgpass (mode 0600), not onto the command line.";

/// The distributed lock of pha4pgsql: a row in a PostgreSQL outside of the cluster.
#[derive(Debug, Parser)]
#[command(name = "distlock", version, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// How to reach the lock service: a connection string, a URI, or the psql command of an older
    /// configuration (which is not run)
    #[arg(value_name = "CONNINFO")]
    conninfo: String,
    /// Seconds that an answer may take
    #[arg(long, global = true, default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    wait: Duration,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Args)]
struct Mutex {
    /// Table and name of the lock, TABLE:NAME, or a NAME in the table distlock
    lock: LockName,
    /// Who asks, for example pgsql_node1
    owner: String,
    /// Seconds until the lock is free by itself unless it is taken again
    #[arg(default_value = "30", value_parser = seconds)]
    ttl: Duration,
    /// Seconds that all of this may take [default: --wait]
    #[arg(value_parser = seconds)]
    timeout: Option<Duration>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Take or renew the lock if it is free, expired or the owner's; print 1 or 0
    Trylock(Mutex),
    /// As trylock, waiting for the lock to become free
    Lock(Mutex),
    /// Give the lock back if it is the owner's; print 1 or 0
    Unlock(Mutex),
    /// Create or migrate the tables and make the row; one that exists keeps its owner and holders
    Init {
        /// Table and name of the lock
        lock: LockName,
        /// Give this role, which is there already, the least rights that the cluster needs: its own row
        /// and its history. As the owner of the table
        #[arg(long, value_name = "ROLE")]
        role: Option<RoleName>,
        /// Print the SQL instead, for psql; nothing is connected to
        #[arg(long)]
        print: bool,
    },
    /// Show who holds the lock, since when, and which nodes hold every acknowledged commit
    Show {
        /// Table and name of the lock
        lock: LockName,
        /// As JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Show the changes of owner, term and holders, the latest last
    History {
        /// Table and name of the lock
        lock: LockName,
        /// The most lines to show
        #[arg(long, default_value = "50")]
        limit: u32,
    },
    /// Take old entries of the history away: as the owner of the table. Without it those stay that are of
    /// the last two years, 10,000 at most
    Prune {
        /// Table and name of the lock
        lock: LockName,
        /// Those that are older than so many days; the latest 100 stay
        #[arg(long, default_value_t = lock::KEPT_DAYS, value_name = "DAYS")]
        days: u32,
        /// Those beyond so many latest ones; 100 stay in any case
        #[arg(long, default_value_t = lock::KEPT, value_name = "ENTRIES")]
        keep: u32,
    },
}

/// Seconds with a fraction or without; more than a year is taken for a year.
fn seconds(text: &str) -> Result<Duration, String> {
    const YEAR: f64 = 365.0 * 86_400.0;
    let expected = || "a number of seconds above 0 is expected".to_owned();
    let number: f64 = text.parse().map_err(|_| expected())?;
    if !number.is_finite() || number <= 0.0 {
        return Err(expected());
    }
    Duration::try_from_secs_f64(number.min(YEAR)).map_err(|_| expected())
}

/// Runs the command.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            render::usage(&error);
            return if error.use_stderr() {
                Exit::Usage.into()
            } else {
                Exit::Yes.into()
            };
        }
    };
    let info = match arguments.conninfo.parse::<Conninfo>() {
        Ok(info) => info.or_application_name("distlock"),
        Err(error) => {
            render::error(&error.to_string());
            return Exit::Usage.into();
        }
    };
    perform(&arguments.action, &info, arguments.wait).into()
}

fn perform(action: &Action, info: &Conninfo, wait: Duration) -> Exit {
    let deadline = Deadline::after(wait);
    match action {
        Action::Trylock(mutex) => answer(lock::trylock(
            info,
            &mutex.lock,
            &mutex.owner,
            mutex.ttl,
            mutex.deadline(wait),
        )),
        Action::Lock(mutex) => answer(lock::lock(
            info,
            &mutex.lock,
            &mutex.owner,
            mutex.ttl,
            mutex.deadline(wait),
        )),
        Action::Unlock(mutex) => answer(lock::unlock(
            info,
            &mutex.lock,
            &mutex.owner,
            mutex.deadline(wait),
        )),
        Action::Init { lock, role, print } if *print => {
            render::script(&lock::script(lock, role.as_ref()))
        }
        Action::Init { lock, role, .. } => match lock::init(info, lock, deadline) {
            Ok(change) => {
                let made = render::initialised(lock, change);
                let done = role
                    .as_ref()
                    .map_or(made, |role| grant(info, lock, role, deadline));
                match disbelieved(info, lock, deadline) {
                    true => Exit::No,
                    false => done,
                }
            }
            Err(trouble) => failed(&trouble),
        },
        Action::Show { lock, json } => match lock::show(info, lock, deadline) {
            Ok(Shown::Row(details)) if *json => render::json(lock, &details),
            Ok(Shown::Row(details)) => {
                let shown = render::details(lock, &details);
                if details.is_migrated() {
                    disbelieved(info, lock, deadline);
                }
                shown
            }
            Ok(Shown::NoRow) => {
                render::error(&format!(
                    "there is no row {lock}; make it with: distlock <conninfo> init {lock}"
                ));
                Exit::No
            }
            Ok(Shown::NoTable(trouble)) | Err(trouble) => failed(&trouble),
        },
        Action::History { lock, limit } => match lock::history(info, lock, *limit, deadline) {
            Ok(lines) => render::history(&lines),
            Err(trouble) => failed(&trouble),
        },
        Action::Prune { lock, days, keep } => {
            match lock::prune(info, lock, *days, *keep, deadline) {
                Ok(count) => render::pruned(lock, count),
                Err(trouble) => failed(&trouble),
            }
        }
    }
}

fn grant(info: &Conninfo, lock: &LockName, role: &RoleName, deadline: Deadline) -> Exit {
    match lock::grant(info, lock, role, deadline) {
        Ok(granted) => render::granted(lock, role, &granted),
        Err(trouble) => failed(&trouble),
    }
}

/// Says what the agent does not believe of the row, if anything; it is read as the agent reads it.
fn disbelieved(info: &Conninfo, lock: &LockName, deadline: Deadline) -> bool {
    let damage = LockService::new(info.clone(), lock.clone()).disbelieved(deadline);
    if let Some(damage) = &damage {
        render::error(&format!("the agent does not believe this row: {damage}"));
    }
    damage.is_some()
}

impl Mutex {
    fn deadline(&self, wait: Duration) -> Deadline {
        Deadline::after(self.timeout.unwrap_or(wait))
    }
}

fn answer(answer: MutexAnswer) -> Exit {
    match answer {
        MutexAnswer::Yes => render::answer(true),
        MutexAnswer::No => render::answer(false),
        MutexAnswer::Unknown(trouble) => failed(&trouble),
    }
}

fn failed(trouble: &Trouble) -> Exit {
    render::error(&trouble.to_string());
    trouble.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn old_lock_commands_are_understood() {
        let arguments = Arguments::try_parse_from([
            "distlock",
            r#"/usr/bin/psql "host=node3""#,
            "lock",
            "distlock:pgsql_cls1",
            "pgsql_node1",
            "9999",
            "12",
        ])
        .unwrap();
        let Action::Lock(mutex) = arguments.action else {
            panic!("{arguments:?}")
        };
        assert_eq!(mutex.ttl, Duration::from_secs(9999));
        assert_eq!(mutex.timeout, Some(Duration::from_secs(12)));
    }

    #[test]
    fn nonsense_is_refused() {
        for arguments in [
            &["distlock"][..],
            &["distlock", "host=a"],
            &["distlock", "host=a", "steal", "x", "y"],
            &["distlock", "host=a", "lock", "x"],
            &["distlock", "host=a", "lock", "X:y", "o"],
            &["distlock", "host=a", "lock", "x", "o", "-1"],
            &["distlock", "host=a", "lock", "x", "o", "nan"],
            &["distlock", "host=a", "lock", "x", "o", "0"],
            &["distlock", "host=a", "show", "t;drop:x"],
        ] {
            assert!(
                Arguments::try_parse_from(arguments).is_err(),
                "{arguments:?}"
            );
        }
        assert!(seconds("1e300").is_ok());
    }
}

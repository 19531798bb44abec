//! Everything that a status is made of, asked side by side: one that hangs costs the others nothing.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use pha_core::doctor::DiskFacts;
use pha_core::health::{CommitWaits, Connections, KeptWal, Operation};
use pha_core::hindrance::Hindrance;
use pha_core::names::NodeName;
use pha_core::parse::cpg::Groups;
use pha_core::postgres::{Archiving, PrimaryView, RoleView};
use pha_core::register::{Memory, Reading, Trouble};
use pha_core::sync_in_force::FILE_ERRORS;
use pha_host::clock::Deadline;
use pha_host::command::Command;
use pha_host::node::memory_file;
use pha_host::pacemaker::daemons;
use pha_host::sql::TextRows;
use pha_host::user::User;

use crate::app::Session;
use crate::cluster::Cluster;
use crate::commands::restart::settings::{PENDING, SettingsQuestion};
use crate::disks;
use crate::error::ClsError;
use crate::operate::lock;
use crate::primary::Primary;

use super::commits;

/// How long the cluster information base may take; without it there is nothing to ask the others.
const CIB: Duration = Duration::from_millis(2_500);
/// How long a node may take to answer for a mere note.
const NOTE: Duration = Duration::from_millis(1_500);
/// Left of the time when the others are given up, to put together what there is.
const SPARE: Duration = Duration::from_millis(100);

/// What was answered.
pub(super) struct Sources {
    /// The cluster.
    pub(super) cluster: Cluster,
    /// `crm_mon` as it is, or why there is none.
    pub(super) crm_mon: Result<String, String>,
    /// The lock service's row; `None` where no built-in lock service is configured.
    pub(super) register: Option<Reading>,
    /// Where the lock service is, without a password.
    pub(super) lock: Option<String>,
    /// What the primary says of itself and its standbys; `None` where there is no primary.
    pub(super) view: Option<Result<PrimaryView, Hindrance>>,
    /// Whose confirmation the primary's commits wait for; `None` where there is no primary.
    pub(super) commits: Option<Result<CommitWaits, Hindrance>>,
    /// The primary's connections, where it says so, or has none left to say it.
    pub(super) connections: Option<Connections>,
    /// What the primary has to archive, where it says so.
    pub(super) archiving: Option<Archiving>,
    /// What the primary keeps of its WAL, where it says so; not asked where standbys have an archive.
    pub(super) kept: Option<KeptWal>,
    /// Whether the primary did not answer until the time was up; one that refuses does not hang.
    pub(super) primary_hangs: bool,
    /// What this node remembers of the register, or why that cannot be read; `None` where it remembers nothing, or
    /// where it is not for this account to see.
    pub(super) memory: Option<Result<Memory, String>>,
    /// The operation that is noted in the cluster's configuration.
    pub(super) operation: Option<Operation>,
    /// The settings that wait for a restart, by node, where it was asked for and answered.
    pub(super) waiting: Vec<(NodeName, Vec<String>)>,
    /// The errors of PostgreSQL's files, by node, in the same way.
    pub(super) file_errors: Vec<(NodeName, Vec<String>)>,
    /// The file systems of PostgreSQL on this node; none where they did not answer.
    pub(super) disks: BTreeMap<String, DiskFacts>,
    /// Where Pacemaker's daemons run, where corosync says so.
    pub(super) daemons: Option<Groups>,
}

/// Starts a question on a thread of its own. One that hangs beyond its deadline is left behind: the
/// process ends before it.
fn ask<T: Send + 'static>(question: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        // Nobody listens any more after the deadline.
        let _ = sender.send(question());
    });
    receiver
}

fn answer<T>(receiver: &Receiver<T>, deadline: Deadline) -> Option<T> {
    receiver.recv_timeout(deadline.left()).ok()
}

fn of_primary<T>(
    receiver: &Receiver<Result<T, Hindrance>>,
    deadline: Deadline,
) -> Result<T, Hindrance> {
    let silent = || Hindrance::of(&silent("the primary's PostgreSQL"));
    answer(receiver, deadline).unwrap_or_else(|| Err(silent()))
}

fn silent(what: &str) -> String {
    format!("{what} hangs: no answer in time")
}

impl Sources {
    /// Why the primary's replication, or what its commits wait for, could not be looked at.
    pub(super) fn unseen(&self) -> Option<&Hindrance> {
        let view = self.view.as_ref()?.as_ref().err();
        let commits = self.commits.as_ref().and_then(|asked| asked.as_ref().err());
        view.or(commits)
    }

    /// What this node remembers, as far as it could be read.
    pub(super) fn remembered(&self) -> Option<&Memory> {
        self.memory.as_ref()?.as_ref().ok()
    }

    /// Asks everything.
    ///
    /// # Errors
    /// As [`Cluster::look`]; no other source is needed.
    pub(super) fn ask(
        session: &Session,
        notes: bool,
        deadline: Deadline,
    ) -> Result<Self, ClsError> {
        let latest = deadline.reserving(SPARE);
        let crm_mon = ask(move || crm_mon(latest));
        let daemons = ask(move || daemons(latest));
        let cluster = Cluster::look(session, deadline.sub_budget(CIB))?;
        let lock = cluster.lock().map(|lock| match lock {
            Ok((info, name)) => format!("{name} on {info}"),
            Err(error) => error,
        });
        // Before the register is read: what is seen later than the row would make it look old.
        let memory = memory(&cluster);
        let register = cluster.lock_service().map(|service| match service {
            Ok(mut service) => ask(move || service.read(latest)),
            Err(error) => ask(move || Reading::Unknown(Trouble::Answered(error))),
        });
        let operation = match lock::noted(&cluster) {
            Some(holder) => {
                let lives = ask(lock::lives(&cluster, &holder, latest)?);
                Some((holder, lives))
            }
            None => None,
        };
        let question = SettingsQuestion::of(&cluster, latest);
        let pending = notes.then(|| {
            let question = question.clone();
            ask(move || question.ask(PENDING, latest.sub_budget(NOTE)))
        });
        // A check asks no other node for it: each has one of its own.
        let question = match notes {
            true => question,
            false => question.here_alone(),
        };
        let question = question.by_pgdba();
        let errors = ask(move || question.ask(FILE_ERRORS, latest.sub_budget(NOTE)));
        // What belongs to the database's account is looked at as that account: only root can.
        let disks = User::current().is_ok_and(|user| user.is_root()).then(|| {
            let [own, others] = [cluster.params.clone(), cluster.params.clone()];
            (
                ask(move || disks::own(&own, latest)),
                ask(move || disks::tablespaces(&others, latest)),
            )
        });
        let primary = cluster.primary().ok();
        let primary = primary.map(|node| Primary::new(&cluster, &node, latest));
        let commits = primary.clone();
        let commits = commits.map(|primary| ask(move || commits::waits(&primary, latest)));
        let clients = primary.clone();
        let clients = clients.map(|primary| ask(move || connections(&primary, latest)));
        let late = primary.clone();
        let late = late.map(|primary| ask(move || primary.archiving(latest).ok().flatten()));
        let archive = cluster.params.restore_command.is_some();
        let kept = primary.clone().filter(|_| !archive);
        let kept = kept.map(|primary| ask(move || oldest(primary.rows(OLDEST, latest).ok()?)));
        let view = primary.map(|primary| ask(move || view(&primary, latest)));
        let view = view.map(|receiver| of_primary(&receiver, deadline));
        let primary_hangs = matches!(&view, Some(Err(_))) && latest.left() < SPARE;
        Ok(Self {
            crm_mon: answer(&crm_mon, deadline).unwrap_or_else(|| Err(silent("crm_mon"))),
            register: register.map(|receiver| {
                answer(&receiver, deadline).unwrap_or_else(|| {
                    Reading::Unknown(Trouble::Unreachable(silent("the lock service")))
                })
            }),
            view,
            commits: commits.map(|receiver| of_primary(&receiver, deadline)),
            operation: operation.map(|(holder, lives)| Operation {
                runs: answer(&lives, deadline).unwrap_or(true),
                command: holder.command,
                node: holder.node,
            }),
            connections: clients.and_then(|receiver| answer(&receiver, deadline).flatten()),
            archiving: late.and_then(|receiver| answer(&receiver, deadline).flatten()),
            kept: kept.and_then(|receiver| answer(&receiver, deadline).flatten()),
            primary_hangs,
            waiting: pending
                .and_then(|receiver| answer(&receiver, deadline))
                .unwrap_or_default(),
            file_errors: answer(&errors, deadline).unwrap_or_default(),
            disks: disks.map_or_else(BTreeMap::new, |(own, tablespaces)| {
                disks::together(
                    answer(&own, deadline).unwrap_or_default(),
                    answer(&tablespaces, deadline).unwrap_or_default(),
                )
            }),
            daemons: answer(&daemons, deadline).flatten(),
            lock,
            memory,
            cluster,
        })
    }
}

/// Pacemaker's own view, as in the specification.
fn crm_mon(deadline: Deadline) -> Result<String, String> {
    Command::new("crm_mon")
        .arg("-1Arf")
        .run(deadline)
        .map(|output| output.text().into_owned())
        .map_err(|error| error.to_string())
}

/// What this node remembers, where it remembers anything. The file is root's, and is not for others to read.
fn memory(cluster: &Cluster) -> Option<Result<Memory, String>> {
    if !User::current().is_ok_and(|user| user.is_root()) {
        return None;
    }
    let kept = memory_file(&cluster.resource).kept();
    kept.map_err(|error| error.to_string()).transpose()
}

fn view(primary: &Primary, deadline: Deadline) -> Result<PrimaryView, Hindrance> {
    let view = primary
        .view(deadline)
        .map_err(|refusal| refusal.hindrance)?;
    match view.role {
        RoleView::Primary(view) => Ok(view),
        RoleView::Standby(_) => {
            let why = "the promoted node's PostgreSQL is in recovery";
            Err(Hindrance::of(&why))
        }
    }
}

/// The oldest file of WAL: all timelines have their segments removed together.
const OLDEST: &str = "select min(substr(name, 9)), \
    (select setting from pg_settings where name = 'wal_segment_size') \
    from pg_ls_waldir() where name ~ '^[0-9A-F]{24}$'";

/// Clients of PostgreSQL but for this program's own, and how many may have a connection without being
/// superusers (`reserved_connections` is of version 16 and newer).
const CONNECTIONS: &str = "select count(*), current_setting('max_connections')::int \
    - current_setting('superuser_reserved_connections')::int \
    - coalesce(current_setting('reserved_connections', true)::int, 0) \
    from pg_stat_activity where backend_type = 'client backend' and application_name <> 'cls'";

fn connections(primary: &Primary, deadline: Deadline) -> Option<Connections> {
    let rows = match primary.rows(CONNECTIONS, deadline) {
        Ok(rows) => rows,
        Err(refusal) => return refusal.full.then_some(Connections::NoneLeft),
    };
    let row: [Option<String>; 2] = rows.into_iter().next()?.try_into().ok()?;
    let [clients, limit] = row;
    Some(Connections::InUse {
        clients: clients?.parse().ok()?,
        limit: limit?.parse().ok()?,
    })
}

fn oldest(rows: TextRows) -> Option<KeptWal> {
    let row: [Option<String>; 2] = rows.into_iter().next()?.try_into().ok()?;
    let [file, segment] = row;
    KeptWal::of(&file?, segment?.parse().ok()?)
}

#[cfg(test)]
pub(super) mod tests {
    /// A row as psql gives it; empty is NULL.
    pub(in super::super) fn row(columns: &[&str]) -> Vec<Option<String>> {
        columns
            .iter()
            .map(|text| (!text.is_empty()).then(|| (*text).to_owned()))
            .collect()
    }
}

//! One operation at a time: a note in the cluster's configuration says which one runs.
//!
//! Creating the note is one step of the cluster: of two operators, one succeeds (`cibadmin
//! --create`), and so is taking over one whose process is gone (`cibadmin --replace --xpath`).

use std::fmt;
use std::io::ErrorKind;
use std::time::Duration;

use pha_core::cluster::NOTE;
use pha_core::decide::operator::{NotedProcess, began, may_still_run};
use pha_core::health::NotingCommand;
use pha_core::message;
use pha_core::names::NodeName;
use pha_core::status::Word;
use pha_host::clock::Deadline;
use pha_host::command::Command;
use pha_host::ssh::Ssh;

use crate::app::Session;
use crate::cluster::Cluster;
use crate::error::ClsError;
use crate::operate::{ASK, note};
use crate::tools;

/// Exit status of Pacemaker's tools: there is one already.
const EXISTS: i32 = 108;
/// Exit status of Pacemaker's tools: there is no such thing.
const NOT_FOUND: i32 = 105;
/// How long taking the note away may take.
const RELEASE: Duration = Duration::from_secs(20);

/// Who operates: the command, and the process that runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) command: Word<NotingCommand>,
    pub(crate) node: NodeName,
    pid: u32,
    /// When the process began, in clock ticks since the boot: numbers of processes are used again.
    began: u64,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} {}",
            self.command, self.node, self.pid, self.began
        )
    }
}

impl Holder {
    fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let [command, node, pid, began] = words[..] else {
            return None;
        };
        Some(Self {
            command: Word::of(command),
            node: node.parse().ok()?,
            pid: pid.parse().ok()?,
            began: began.parse().ok()?,
        })
    }
}

/// The note, taken away when this is dropped.
#[derive(Debug)]
pub(crate) struct Guard(Holder);

impl Drop for Guard {
    fn drop(&mut self) {
        let xpath = format!(
            "//cluster_property_set[@id='{NOTE}' and nvpair/@value='{}']",
            self.0
        );
        let command = Command::new("cibadmin")
            .arg("--delete")
            .arg(format!("--xpath={xpath}"))
            .accept(NOT_FOUND);
        if let Err(error) = tools::run(command, Deadline::after(RELEASE)) {
            tracing::warn!("the note {NOTE} stays in the configuration: {error}");
        }
    }
}

/// Notes that `command` runs here.
///
/// # Errors
/// [`ClsError::Refused`] while another operation runs.
pub(crate) fn acquire(
    session: &Session,
    cluster: &Cluster,
    command: NotingCommand,
    deadline: Deadline,
) -> Result<Guard, ClsError> {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // By another time others would take this command for one that is gone.
    let began = began(&stat).ok_or_else(|| {
        ClsError::failed(
            "/proc/self/stat does not say when this process began",
            "see that /proc is mounted",
        )
    })?;
    let holder = Holder {
        command: Word::Known(command),
        node: cluster.local_node(deadline)?,
        pid: std::process::id(),
        began,
    };
    let create = Command::new("cibadmin")
        .args(["--create", "--scope=crm_config"])
        .arg(format!("--xml-text={}", xml(&holder)))
        .accept(EXISTS);
    let guard = match written(create, &holder, deadline)? {
        Some(guard) => guard,
        None => take_over(&cluster.again(session)?, holder, deadline)?,
    };
    note(cluster, command.as_str(), deadline);
    Ok(guard)
}

/// Writes the note by that command; `None` where the cluster says that it cannot be. One of which the
/// answer does not come in time may have been written: it is taken away.
fn written(
    command: Command,
    holder: &Holder,
    deadline: Deadline,
) -> Result<Option<Guard>, ClsError> {
    match tools::run(command, deadline) {
        Ok(output) => Ok((output.code == 0).then(|| Guard(holder.clone()))),
        Err(error) => {
            drop(Guard(holder.clone()));
            Err(error)
        }
    }
}

fn xml(holder: &Holder) -> String {
    format!(
        "<cluster_property_set id=\"{NOTE}\"><nvpair id=\"{NOTE}-{NOTE}\" name=\"{NOTE}\" value=\"{holder}\"/></cluster_property_set>"
    )
}

/// What is noted; a note that makes no sense is none.
pub(crate) fn noted(cluster: &Cluster) -> Option<Holder> {
    Holder::parse(cluster.view.note.as_deref()?)
}

/// Takes away the constraints that a command has left which was ended before it was done. Whoever calls has the
/// note: one that runs has made none of them.
pub(crate) fn take_away_left(
    session: &Session,
    cluster: &Cluster,
    deadline: Deadline,
) -> Result<(), ClsError> {
    for id in &cluster.view.left {
        session.ui.progress(&format!(
            "taking away {id}, the constraint of a command that was ended"
        ));
        tools::take_away(id, deadline)?;
    }
    Ok(())
}

fn take_over(cluster: &Cluster, holder: Holder, deadline: Deadline) -> Result<Guard, ClsError> {
    let known = cluster.view.note.as_deref().unwrap_or_default();
    let other = Holder::parse(known);
    if let Some(other) = &other
        && lives(cluster, other, deadline)?()
    {
        return Err(ClsError::refused(
            message!(
                "{command} runs on {node} (process {pid})",
                command = other.command.to_string(),
                node = other.node,
                pid = other.pid
            ),
            message!("wait for its end; one operation at a time"),
        ));
    }
    if known.is_empty() || known.contains(['\'', '"', '<', '&']) {
        return Err(ClsError::refused(
            message!("another operation has begun at this moment"),
            message!("try again when it has ended; cls_status"),
        ));
    }
    let replace = Command::new("cibadmin")
        .arg("--replace")
        .arg(format!(
            "--xpath=//cluster_property_set[@id='{NOTE}' and nvpair/@value='{known}']"
        ))
        .arg(format!("--xml-text={}", xml(&holder)))
        .accept(NOT_FOUND);
    written(replace, &holder, deadline)?.ok_or_else(|| {
        ClsError::refused(
            message!("another operation has begun at this moment"),
            message!("wait for its end; one operation at a time"),
        )
    })
}

/// The question whether the process that made the note may still be there ([`may_still_run`]).
///
/// # Errors
/// The name of this node cannot be told.
pub(crate) fn lives(
    cluster: &Cluster,
    other: &Holder,
    deadline: Deadline,
) -> Result<impl FnOnce() -> bool + Send + use<>, ClsError> {
    let here = other.node == cluster.local_node(deadline)?;
    let online = cluster.node(&other.node).online;
    let other = other.clone();
    Ok(move || {
        let seen = match (here, online) {
            (true, _) => process_here(&stat_file(other.pid)),
            (false, false) => NotedProcess::Away,
            (false, true) => process_there(&other.node, other.pid, deadline.sub_budget(ASK)),
        };
        may_still_run(seen, other.began)
    })
}

/// A process of this node, by its file in /proc.
fn process_here(path: &str) -> NotedProcess {
    match std::fs::read_to_string(path) {
        Ok(stat) => NotedProcess::of_stat(&stat),
        // It may also end while its file is open (ESRCH).
        Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(3) => {
            NotedProcess::Gone
        }
        Err(_) => NotedProcess::Unknown,
    }
}

/// The same of another node.
fn process_there(node: &NodeName, pid: u32, deadline: Deadline) -> NotedProcess {
    let (first, own) = (stat_file(1), stat_file(pid));
    let cat = ["cat", first.as_str(), own.as_str()];
    match Ssh::default().exec(node.as_str(), &cat, b"", deadline) {
        Ok(output) => NotedProcess::of_cat(output.code, &output.text(), pid),
        Err(_) => NotedProcess::Unknown,
    }
}

fn stat_file(pid: u32) -> String {
    format!("/proc/{pid}/stat")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_read_as_it_was_written() {
        let holder = Holder {
            command: Word::Known(NotingCommand::RepairSlave),
            node: "node1".parse().unwrap(),
            pid: 7,
            began: 123,
        };
        assert_eq!(Holder::parse(&holder.to_string()), Some(holder));
        assert_eq!(Holder::parse("nonsense"), None);
    }

    #[test]
    fn only_a_process_whose_file_is_not_there_is_gone() {
        let own = std::process::id();
        assert!(matches!(
            process_here(&stat_file(own)),
            NotedProcess::Began(_)
        ));
        assert_eq!(process_here("/proc/0/stat"), NotedProcess::Gone);
        assert_eq!(process_here("/proc/self"), NotedProcess::Unknown);
    }
}

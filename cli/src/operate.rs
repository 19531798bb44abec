//! What the operations on data have in common: one at a time, on the right node.

use std::time::Duration;

use pha_core::decide::operator::Refusal;
use pha_core::health::NotingCommand;
use pha_core::history::Operator;
use pha_core::message;
use pha_core::names::NodeName;
use pha_core::register::Reading;
use pha_host::change_lock::Held;
use pha_host::clock::Deadline;

use crate::app::{Outcome, Session};
use crate::audit;
use crate::cluster::Cluster;
use crate::error::ClsError;
use crate::site;

pub(crate) mod back;
pub(crate) mod copy;
pub(crate) mod lock;
pub(crate) mod out;

/// How long another operation of this node may take to end with its changes.
const CHANGES: Duration = Duration::from_secs(30);

/// How long the register and PostgreSQL may take to answer one question.
pub(crate) const ASK: Duration = Duration::from_secs(5);

impl From<Refusal> for ClsError {
    fn from(refusal: Refusal) -> Self {
        Self::refused(refusal.what, refusal.hint)
    }
}

impl From<Box<Refusal>> for ClsError {
    fn from(refusal: Box<Refusal>) -> Self {
        (*refusal).into()
    }
}

/// The register; none without the built-in lock service.
///
/// # Errors
/// The agent's parameter cannot be used.
pub(crate) fn register(cluster: &Cluster) -> Result<Option<Reading>, ClsError> {
    let Some(service) = cluster.lock_service() else {
        return Ok(None);
    };
    Ok(Some(usable(service)?.read(Deadline::after(ASK))))
}

/// What the agent's parameter for the lock service says.
///
/// # Errors
/// [`ClsError::Refused`]: it cannot be used.
pub(crate) fn usable<T>(lock: Result<T, String>) -> Result<T, ClsError> {
    lock.map_err(|error| {
        ClsError::refused(error, message!("correct the parameter distlock_conninfo"))
    })
}

/// How long the note of a command in the register's history may take.
const NOTE: Duration = Duration::from_secs(2);

/// Notes in the register's history that a command which may move the primary begins here, for cls_history.
/// Nothing depends on it: where the lock service does not take it the command goes on, and the history does
/// not say who ordered what follows.
pub(crate) fn note(cluster: &Cluster, command: &str, deadline: Deadline) {
    let Some(Ok((info, name))) = cluster.lock() else {
        return;
    };
    let Ok(node) = cluster.local_node(deadline) else {
        return;
    };
    let operator = Operator {
        who: audit::operator(),
        node: node.to_string(),
        command: command.to_owned(),
    };
    if let Err(trouble) = pha_host::lock::note(&info, &name, &operator, deadline.sub_budget(NOTE)) {
        tracing::debug!("the history does not say who gave {command}: {trouble}");
    }
}

/// Takes this node's change lock: nothing else on this node changes the register's holders or the
/// synchronous standbys until it is dropped (R12).
///
/// # Errors
/// [`ClsError::Refused`] when an operation of the agent does not give it back in time.
pub(crate) fn changing(
    cluster: &Cluster,
    command: NotingCommand,
    deadline: Deadline,
) -> Result<Held, ClsError> {
    pha_host::node::change_lock(&cluster.resource)
        .take(command.as_str(), deadline.sub_budget(CHANGES))
        .map_err(|error| {
            ClsError::refused(
                error.to_string(),
                message!("give the command again when it has ended"),
            )
        })
}

/// Gives a command to the node that it is for, over ssh, where that is not this one; the end of it
/// there is the end here. None: it is for this node.
pub(crate) fn elsewhere(
    session: &Session,
    cluster: &Cluster,
    node: Option<&str>,
    command: NotingCommand,
    deadline: Deadline,
) -> Result<(NodeName, Option<Outcome>), ClsError> {
    let here = cluster.local_node(deadline)?;
    let Some(node) = node else {
        return Ok((here, None));
    };
    let node = cluster.named(node)?;
    if node == here {
        return Ok((here, None));
    }
    let word = command.word();
    let mut words = vec![word.to_owned()];
    let given = std::env::args_os()
        .skip(1)
        .filter(|given| given.to_str() != Some(word));
    words.extend(given.map(|word| word.to_string_lossy().into_owned()));
    session.ui.progress(&format!("{command} runs on {node}"));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let output =
        site::given_on(&node, &words, &audit::asked_from(&here), deadline).map_err(|away| {
            ClsError::failed(
                away.to_string(),
                message!("give the command on {node} itself", node),
            )
        })?;
    session.ui.relay(&output.error_text());
    if !output.stdout.is_empty() {
        session.ui.print(&output.text());
    }
    let code = u8::try_from(output.code).unwrap_or(1);
    Ok((node, Some(Outcome::Check(code))))
}

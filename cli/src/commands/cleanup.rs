//! `cls_cleanup`: make Pacemaker forget failures, so that it tries again.

use std::time::Duration;

use clap::Args;
use pha_core::cluster::{Cluster as View, FailCount};
use pha_core::health::NotingCommand;
use pha_core::names::NodeName;
use pha_host::clock::Deadline;
use serde_json::json;

use crate::app::Session;
use crate::cluster::Cluster;
use crate::error::ClsError;
use crate::operate::lock;
use crate::tools;
use crate::wait::{self, Look};

/// Make Pacemaker forget failures, so that it tries again
///
/// After so many failures (migration-threshold) Pacemaker does not use a node any more. When the
/// cause is mended, this clears the failures of the database and its addresses and waits until
/// Pacemaker has tried again. What a command has left in the configuration that was killed is taken
/// away before.
#[derive(Debug, Args)]
pub(crate) struct Cleanup {
    /// On this node only
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
}

impl Cleanup {
    pub(crate) fn run(&self, session: &Session) -> Result<(), ClsError> {
        let timeout = session.common.timeout.unwrap_or(Duration::from_secs(60));
        let deadline = Deadline::after(timeout);
        let cluster = Cluster::look(session, deadline)?;
        cluster.require_whole(deadline)?;
        if let Some(node) = &self.node {
            cluster.named(node)?;
        }
        take_away(session, &cluster, deadline)?;
        clean(session, &cluster, self.node.as_deref(), deadline)?;
        let cluster = cluster.again(session)?;
        let left = self.counts(&cluster);
        let place = self.node.as_deref().unwrap_or("every node");
        session.ui.done(
            &format!("the failures on {place} are forgotten"),
            json!({ "fail_counts": left }),
        );
        Ok(())
    }

    fn counts(&self, cluster: &Cluster) -> Vec<FailCount> {
        counts(cluster, self.node.as_deref())
    }
}

/// Takes away what a command has left that was ended before it was done: its note and the constraint
/// that it has made. One that runs does so itself.
fn take_away(session: &Session, cluster: &Cluster, deadline: Deadline) -> Result<(), ClsError> {
    let noted = lock::noted(cluster);
    let constrained = |cluster: &Cluster| !cluster.view.left.is_empty();
    if noted.is_none() && !constrained(cluster) {
        return Ok(());
    }
    if let Some(other) = &noted
        && lock::lives(cluster, other, deadline)?()
    {
        return Ok(());
    }
    // Takes the note over, and away at the end.
    let _guard = lock::acquire(session, cluster, NotingCommand::Cleanup, deadline)?;
    lock::take_away_left(session, &cluster.again(session)?, deadline)
}

/// The fail counts of our resources, on one node or on all.
fn counts(cluster: &Cluster, node: Option<&str>) -> Vec<FailCount> {
    let ours = cluster.view.our_failures();
    ours.filter(|count| node.is_none_or(|node| count.node.as_str() == node))
        .cloned()
        .collect()
}

/// Clears the failures of our resources and waits until the counts are gone and nothing is under
/// way. What fails anew is an error.
pub(crate) fn clean(
    session: &Session,
    cluster: &Cluster,
    node: Option<&str>,
    deadline: Deadline,
) -> Result<(), ClsError> {
    let before = cluster.view.clone();
    forget(session, cluster, node, deadline)?;
    let mut settled = false;
    wait::until(session, "the new attempts", deadline, || {
        let cluster = cluster.again(session)?;
        let pending = cluster.view.all_pending();
        let busy: Vec<String> = pending
            .filter(|(name, _)| node.is_none_or(|node| name.as_str() == node))
            .map(|(name, what)| format!("{what} on {name}"))
            .collect();
        if !busy.is_empty() {
            settled = false;
            return Ok(Look::Pending(busy.join(", ")));
        }
        if let Some(count) = counts(&cluster, node).first() {
            return Ok(Look::Pending(format!(
                "{} has failed on {}: {} (fail count {})",
                count.resource, count.node, count.operation, count.count
            )));
        }
        // With a failure Pacemaker forgets what else it knew of the resource there, until the probe that follows,
        // seconds later: whoever asks meanwhile would find no primary.
        if let Some(name) = forgotten(&before, &cluster.view, node).next() {
            settled = false;
            return Ok(Look::Pending(format!(
                "Pacemaker has not looked at {name} again"
            )));
        }
        // Before the cleaning has begun nothing is under way either, so it is believed when it is seen twice.
        if std::mem::replace(&mut settled, true) {
            return match failed_probe(&cluster.view, node) {
                Some(error) => Err(error),
                None => Ok(Look::Done(())),
            };
        }
        Ok(Look::Pending("nothing is under way".to_owned()))
    })
}

/// The nodes, or the one, on which the database's role was on record before, and nothing is now.
fn forgotten<'v>(
    before: &'v View,
    now: &'v View,
    node: Option<&str>,
) -> impl Iterator<Item = &'v NodeName> {
    let meant = move |name: &&NodeName| node.is_none_or(|node| name.as_str() == node);
    let known = before
        .nodes
        .iter()
        .filter(|(_, node)| node.database.role.is_some());
    known.map(|(name, _)| name).filter(meant).filter(|name| {
        let node = now.node(name);
        let database = &node.database;
        node.online && database.role.is_none() && database.last_operation.is_none()
    })
}

/// What is to be said of a node on which Pacemaker has looked at the database and could not tell its role: it does
/// not look again by itself.
fn failed_probe(now: &View, node: Option<&str>) -> Option<ClsError> {
    let meant = |name: &NodeName| node.is_none_or(|node| name.as_str() == node);
    now.nodes.iter().find_map(|(name, seen)| {
        let unknown = seen.online && seen.database.role.is_none() && meant(name);
        let failure = seen.database.last_failure.as_ref().filter(|_| unknown)?;
        let why = match &failure.reason {
            Some(reason) => reason.clone(),
            None => format!("status {}", failure.code),
        };
        Some(ClsError::failed(
            format!("the failures are forgotten, and its probe has failed on {name}: {why}"),
            "mend that (cls_doctor), then cls_cleanup again",
        ))
    })
}

/// Clears the failures of our resources without waiting.
pub(crate) fn forget(
    session: &Session,
    cluster: &Cluster,
    node: Option<&str>,
    deadline: Deadline,
) -> Result<(), ClsError> {
    for resource in &cluster.view.ours {
        session.ui.progress(&format!("cleaning up {resource}"));
        tools::cleanup(resource, node, deadline)?;
    }
    Ok(())
}

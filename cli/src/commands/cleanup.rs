//! `cls_cleanup`: make Pacemaker forget failures, so that it tries again.

use std::time::Duration;

use clap::Args;
use pha_core::cluster::FailCount;
use pha_core::decide::operator::{Cleaned, FailedAnew, cleaned};
use pha_core::health::NotingCommand;
use pha_core::message;
use pha_core::names::NodeName;
use pha_host::clock::Deadline;
use serde_json::json;

use crate::app::Session;
use crate::cluster::Cluster;
use crate::error::ClsError;
use crate::operate::back::IDLE;
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
        let node = self.node.as_deref().map(|node| cluster.named(node));
        let node = node.transpose()?;
        take_away(session, &cluster, deadline)?;
        clean(session, &cluster, node.as_ref(), deadline)?;
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
/// way ([`cleaned`]). What fails anew is an error.
pub(crate) fn clean(
    session: &Session,
    cluster: &Cluster,
    node: Option<&NodeName>,
    deadline: Deadline,
) -> Result<(), ClsError> {
    let before = cluster.view.clone();
    forget(session, cluster, node.map(NodeName::as_str), deadline)?;
    let mut quiet = false;
    wait::until(session, "the new attempts", deadline, || {
        let cluster = cluster.again(session)?;
        let seen = cleaned(&before, &cluster.view, node);
        let before = std::mem::replace(&mut quiet, !matches!(seen, Cleaned::Awaits(_)));
        match seen {
            Cleaned::Awaits(what) => Ok(Look::Pending(what)),
            Cleaned::Quiet | Cleaned::Failed(_) if !before => {
                Ok(Look::Pending("nothing is under way".to_owned()))
            }
            Cleaned::Quiet => Ok(Look::Done(())),
            // It may be about to be tried again, as far as Pacemaker's configuration lets it.
            Cleaned::Failed(_) if !tools::idle(Deadline::after(IDLE))? => {
                Ok(Look::Pending("Pacemaker is still at work".to_owned()))
            }
            Cleaned::Failed(FailedAnew { node, what, why }) => Err(ClsError::failed(
                message!(
                    "the failures are forgotten, and {what} on {node} has failed again: {why}",
                    what,
                    node,
                    why
                ),
                message!("do what it says, or look with cls_doctor; then cls_cleanup again"),
            )),
        }
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

//! Changes that restart PostgreSQL: what that means for each node, before it is done.

use std::collections::BTreeMap;

use pha_core::decide::operator::Course;
use pha_core::names::NodeName;
use pha_host::clock::Deadline;

use super::work::Work;
use crate::app::Session;
use crate::cluster::Cluster;
use crate::commands::restart::order::Order;
use crate::commands::restart::settings::{self, Settings};
use crate::error::ClsError;

/// What the nodes that are restarted have now, and will have with the new parameters. One that cannot be
/// asked is not among them: the restart then goes as it goes for a change that lowers nothing.
pub(super) fn known(
    session: &Session,
    work: &Work,
    deadline: Deadline,
) -> BTreeMap<NodeName, Settings> {
    if work.restarts().is_empty() {
        return BTreeMap::new();
    }
    let Ok(cluster) = Cluster::look(session, deadline) else {
        return BTreeMap::new();
    };
    let answers = settings::of_nodes(&cluster, &work.running, &work.plan.parameters(), deadline);
    let known = answers.into_iter().filter_map(|(node, answer)| {
        let why = |why: &_| tracing::debug!("{node}: {why}");
        Some((node.clone(), answer.inspect_err(why).ok()?))
    });
    known.collect()
}

/// How PostgreSQL would be restarted; none where nothing that runs is restarted.
///
/// # Errors
/// What is in the way of a restart.
pub(super) fn course(
    session: &Session,
    work: &Work,
    order: &Order<'_>,
    deadline: Deadline,
) -> Result<Option<Course>, ClsError> {
    if work.restarts().is_empty() {
        return Ok(None);
    }
    match Cluster::look(session, deadline) {
        // It belongs to the agent that ours takes the place of.
        Err(ClsError::NoResource(_)) => Ok(Some(Course::Together {
            why: "the agent is another one".to_owned(),
            nodes: work.running.clone(),
            again: Vec::new(),
        })),
        cluster => order.course(&cluster?).map(Some),
    }
}

//! A restart of PostgreSQL that goes round: how it is done, and waited for. One way, for other parameters
//! in Pacemaker's configuration and for settings of PostgreSQL itself.

use std::time::Duration;

use pha_core::decide::operator::Course;
use pha_core::message;
use pha_core::names::NodeName;
use pha_host::clock::Deadline;

use super::job::Job;
use super::order::{Cause, Order, nothing_failed};
use crate::app::Session;
use crate::cluster::Cluster;
use crate::commands::setup::cib::push;
use crate::commands::start;
use crate::error::ClsError;
use crate::operate::lock::{self, Guard};

/// Notes that this operation runs, and sees that the cluster is then still as it was when the course was
/// decided: of two operators one is refused, and no node is restarted for what it was before.
///
/// # Errors
/// [`ClsError::Refused`]; nothing was changed.
pub(crate) fn begin(
    session: &Session,
    order: &Order<'_>,
    course: &Course,
    command: &str,
    deadline: Deadline,
) -> Result<Option<Guard>, ClsError> {
    let cluster = match Cluster::look(session, deadline) {
        // The note is about a database of our agent.
        Err(ClsError::NoResource(_)) => return Ok(None),
        cluster => cluster?,
    };
    let guard = lock::acquire(session, &cluster, order.cause.noted(), deadline)?;
    let now = order.course(&cluster.again(session)?)?;
    if now != *course {
        return Err(ClsError::refused(
            message!("the cluster has changed since this was planned: nothing was changed"),
            message!("{command} --dry-run shows how it would go now", command),
        ));
    }
    Ok(Some(guard))
}

/// How a restart has ended well.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The primary.
    pub(crate) primary: NodeName,
    /// How long the switch took, where there was one.
    pub(crate) switched: Option<Duration>,
}

impl Ended {
    /// In words, behind what was done.
    pub(crate) fn says(&self) -> String {
        let gap = self.switched.map_or_else(String::new, |took| {
            format!(" (the switch took {:.1} s)", took.as_secs_f64())
        });
        format!("{} is primary{gap}, every standby streams", self.primary)
    }
}

/// Makes the change, restarts PostgreSQL, and waits until all is well.
pub(crate) fn perform(
    session: &Session,
    order: Order<'_>,
    course: &Course,
    deadline: Deadline,
) -> Result<Ended, ClsError> {
    session.ui.progress(&course.to_string());
    let (cluster, adopted) = match (Cluster::look(session, deadline), order.cause) {
        (Err(ClsError::NoResource(_)), Cause::Parameters(plan)) => {
            // Pacemaker stops what runs by the old agent.
            push(&plan.before, &plan.after, deadline)?;
            (Cluster::look(session, deadline)?, true)
        }
        (cluster, _) => (cluster?, false),
    };
    let job = Job {
        session,
        order,
        cluster,
        deadline,
    };
    let switched = match course {
        Course::Rolling { standbys, primary } => job.rolling(course, standbys, primary.as_ref())?,
        Course::Together { .. } if adopted => None,
        Course::Together { again, .. } => {
            job.together(again)?;
            None
        }
    };
    let primary = start::complete(session, &job.cluster, deadline);
    let primary = primary.map_err(|error| match order.cause {
        Cause::Parameters(_) => error.beside(&message!("the configuration is changed everywhere")),
        Cause::Settings { .. } => error.beside(&message!("every node that was due was restarted")),
    })?;
    nothing_failed(session)?;
    Ok(Ended { primary, switched })
}

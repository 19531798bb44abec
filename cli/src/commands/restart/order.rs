//! What an operator asks for who has PostgreSQL restarted, and how that would go.

use std::collections::BTreeMap;

use pha_core::decide::operator::{Course, RestartFacts, RestartInstance, plan_restart};
use pha_core::health::NotingCommand;
use pha_core::message;
use pha_core::message::Message;
use pha_core::names::NodeName;
use pha_core::setup::SetupPlan;
use pha_core::status::Role;
use pha_host::clock::Deadline;

use super::settings::Settings;
use crate::app::Session;
use crate::cluster::Cluster;
use crate::commands::online_switch::{Asked, ask, could_switch_away, failed, file_errors};
use crate::error::ClsError;
use crate::operate::back::IDLE;
use crate::operate::register;
use crate::tools;
use crate::wait::{self, Look};

/// Why PostgreSQL is restarted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cause<'a> {
    /// Other parameters in Pacemaker's configuration, which are written meanwhile.
    Parameters(&'a SetupPlan),
    /// PostgreSQL's own settings, or the operator's wish.
    Settings {
        /// The nodes that are to be restarted.
        due: &'a [NodeName],
        /// The command as it is typed again.
        command: &'a str,
    },
}

impl Cause<'_> {
    pub(super) fn is_due(self, node: &NodeName) -> bool {
        match self {
            Self::Parameters(plan) => plan.restarts_on(node),
            Self::Settings { due, .. } => due.contains(node),
        }
    }

    /// As which command it is noted.
    pub(super) fn noted(self) -> NotingCommand {
        match self {
            Self::Parameters(_) => NotingCommand::Setup,
            Self::Settings { .. } => NotingCommand::Restart,
        }
    }

    /// What half of it is called.
    pub(super) fn mixed(self) -> Message {
        match self {
            Self::Parameters(_) => {
                message!("some nodes have the new parameters and others the old ones")
            }
            Self::Settings { .. } => {
                message!("some nodes may have been restarted already, and others were not")
            }
        }
    }

    /// What to type then.
    pub(super) fn again(self) -> Message {
        match self {
            Self::Parameters(_) => message!("cls_setup --restart goes on with it"),
            Self::Settings { command, .. } => message!("{command} goes on with it", command),
        }
    }
}

/// Whether it may go as it would: what stops PostgreSQL on every node at the same time is asked for by name.
///
/// # Errors
/// It was not, and the command as it is typed then.
pub(crate) fn may_go(course: &Course, together: bool, command: &str) -> Result<(), ClsError> {
    if together || !matches!(course, Course::Together { .. }) {
        return Ok(());
    }
    Err(ClsError::refused(
        message!(
            "one node after the other cannot be, and it would go so: {course}; nothing was done",
            course = course.to_string()
        ),
        message!(
            "{command} --together, when that suits the database's users",
            command
        ),
    ))
}

/// A restart that an operator asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order<'a> {
    /// Why.
    pub(crate) cause: Cause<'a>,
    /// What the nodes' settings are, as far as they have said so.
    pub(crate) settings: &'a BTreeMap<NodeName, Settings>,
    /// `--force`: also where something would be cut off.
    pub(crate) force: bool,
}

impl Order<'_> {
    /// How it would go now.
    ///
    /// # Errors
    /// What is in the way.
    pub(crate) fn course(&self, cluster: &Cluster) -> Result<Course, ClsError> {
        let course = plan_restart(&self.facts(cluster, &[])?)?;
        if let Course::Rolling {
            primary: Some(_), ..
        } = course
        {
            // Before a standby is stopped for it.
            could_switch_away(cluster, self.force)?;
        }
        Ok(course)
    }

    /// What is known; the nodes that are `done` were restarted already.
    ///
    /// # Errors
    /// The agent's parameter for the lock service cannot be used.
    pub(super) fn facts(
        &self,
        cluster: &Cluster,
        done: &[NodeName],
    ) -> Result<RestartFacts, ClsError> {
        let view = &cluster.view;
        let runs = |name: &NodeName| cluster.node(name).role() != Role::Stopped;
        let due = |name: &NodeName| self.cause.is_due(name) && !done.contains(name);
        let primary = view.one_promoted().filter(|primary| due(primary));
        let instances = view.nodes.iter().filter(|(name, _)| runs(name));
        let ours = view.our_failures();
        let settings = |name: &NodeName| self.settings.get(name);
        let standby = |name: &&NodeName| cluster.node(name).role() == Role::Unpromoted;
        let standbys = view.nodes.keys().filter(standby).count();
        let asked = primary.map_or_else(Asked::default, |primary| ask(cluster, primary));
        Ok(RestartFacts {
            instances: instances
                .map(|(name, node)| RestartInstance {
                    promoted: node.role() == Role::Promoted,
                    streams: node.streams(),
                    synchronous: node.is_synchronous(),
                    due: due(name),
                    here: settings(name).map(|settings| settings.here),
                    next: settings(name).and_then(|settings| settings.next),
                    node: name.clone(),
                })
                .collect(),
            managed: view.managed && view.placed.iter().all(|placed| placed.managed),
            failures: failed(ours.filter(|count| runs(&count.node))),
            together: match self.cause {
                Cause::Parameters(plan) => plan.together(standbys),
                Cause::Settings { .. } => None,
            },
            busy: asked.busy,
            archiving: asked.archiving,
            file_errors: file_errors(cluster),
            register: register(cluster)?,
            seen: view.seen,
            force: self.force,
        })
    }
}

/// Waits until Pacemaker has nothing more to do.
pub(crate) fn settled(session: &Session, deadline: Deadline) -> Result<(), ClsError> {
    let what = "Pacemaker to be done";
    wait::until(session, what, deadline, || {
        Ok(match tools::idle(Deadline::after(IDLE))? {
            true => Look::Done(()),
            false => Look::Pending("it is at work".to_owned()),
        })
    })
}

/// Whether everything that Pacemaker did for us went well.
pub(crate) fn nothing_failed(session: &Session) -> Result<(), ClsError> {
    let cluster = Cluster::look(session, Deadline::after(IDLE))?;
    let failed = failed(cluster.view.our_failures());
    if failed.is_empty() {
        return Ok(());
    }
    Err(ClsError::failed(
        message!(
            "it is done, and failures are on record: {failed}",
            failed = failed.join(", ")
        ),
        message!("mend the cause (cls_status names it), then cls_cleanup"),
    ))
}

//! `cls_standby_node` and `cls_unstandby_node`: take a node out of service, and back.

use std::time::Duration;

use clap::Args;
use pha_core::message;
use pha_core::names::{NodeName, ResourceName};
use pha_core::status::Role;
use pha_host::clock::Deadline;
use serde_json::json;

use crate::app::Session;
use crate::cluster::Cluster;
use crate::error::ClsError;
use crate::operate::{self, out::may_be_taken_out};
use crate::tools;
use crate::wait::{self, Look};

/// The node attribute that keeps Pacemaker from using a node.
const STANDBY: &str = "standby";

/// Take all resources off a node, for work on it
///
/// If the node is the primary, another one takes over; refused where none could. It stays so, also over
/// reboots, until cls_unstandby_node.
#[derive(Debug, Args)]
pub(crate) struct StandbyNode {
    /// The node
    node: String,
    /// Also if no other node can take the database over, or if writes would stand still for another reason
    #[arg(long)]
    force: bool,
}

/// Let a node be used again after cls_standby_node
#[derive(Debug, Args)]
pub(crate) struct UnstandbyNode {
    /// The node
    node: String,
}

impl StandbyNode {
    pub(crate) fn run(&self, session: &Session) -> Result<(), ClsError> {
        let timeout = session.common.timeout.unwrap_or(Duration::from_secs(120));
        let deadline = Deadline::after(timeout);
        let cluster = Cluster::look(session, deadline)?;
        cluster.require_whole(deadline)?;
        let name = cluster.named(&self.node)?;
        let was_primary = cluster.node(&name).role() == Role::Promoted;
        may_be_taken_out(&cluster, Some(&name), self.force)?;
        let command = format!("cls_standby_node {name}");
        operate::note(&cluster, &command, deadline);
        tools::set_node(&self.node, STANDBY, "on", deadline)?;
        let what = format!("{} to be free of resources", self.node);
        let primary = wait::until(session, &what, deadline, || {
            let cluster = cluster.again(session)?;
            let running = cluster.view.running(&name);
            let running: Vec<&str> = running.into_iter().map(ResourceName::as_str).collect();
            if !running.is_empty() {
                return Ok(Look::Pending(format!("{} still run", running.join(", "))));
            }
            let primary = cluster.primary().ok();
            if was_primary && primary.is_none() && !self.force {
                return Ok(Look::Pending("no other node is primary yet".to_owned()));
            }
            Ok(Look::Done(primary))
        })?;
        let sentence = match &primary {
            Some(primary) => format!("{} is out of service; {primary} is primary", self.node),
            None => format!("{} is out of service; there is no primary", self.node),
        };
        session
            .ui
            .done(&sentence, json!({ "node": self.node, "primary": primary }));
        Ok(())
    }
}

impl UnstandbyNode {
    pub(crate) fn run(&self, session: &Session) -> Result<(), ClsError> {
        let timeout = session.common.timeout.unwrap_or(Duration::from_secs(120));
        let deadline = Deadline::after(timeout);
        let cluster = Cluster::look(session, deadline)?;
        cluster.require_whole(deadline)?;
        let name = cluster.named(&self.node)?;
        if let Some((what, remedy)) = cluster.view.left_alone([&name]) {
            return Err(ClsError::refused(
                message!("{what}, so it would start nothing", what),
                message!("{remedy}, then try again", remedy),
            ));
        }
        let command = format!("cls_unstandby_node {name}");
        operate::note(&cluster, &command, deadline);
        tools::delete_node(&self.node, STANDBY, deadline)?;
        // A standby that ended with the node's reboot is a transient attribute.
        let sentence = if runs_database(&cluster, &name) {
            let role = self.wait_for_database(session, &cluster, &name, deadline)?;
            format!("{} runs the database again: {role}", self.node)
        } else {
            format!("{} may be used again", self.node)
        };
        session.ui.done(&sentence, json!({ "node": self.node }));
        Ok(())
    }

    fn wait_for_database(
        &self,
        session: &Session,
        cluster: &Cluster,
        name: &NodeName,
        deadline: Deadline,
    ) -> Result<Role, ClsError> {
        let what = format!("the database on {}", self.node);
        wait::until(session, &what, deadline, || {
            let cluster = cluster.again(session)?;
            let node = cluster.node(name);
            if !node.online {
                return Ok(Look::Pending(format!(
                    "{} is not in the cluster",
                    self.node
                )));
            }
            if let Some(pending) = cluster.view.pending(name) {
                return Ok(Look::Pending(format!("{pending} is under way")));
            }
            match node.role() {
                Role::Stopped if cluster.view.is_given_up(name) => Err(ClsError::failed(
                    message!(
                        "{name} may be used again, but the database does not start there: {why}",
                        name,
                        why = node.why_stopped().what()
                    ),
                    message!("mend the cause, then cls_cleanup --node {name}", name),
                )),
                Role::Stopped => Ok(Look::Pending(node.why_stopped().to_string())),
                role => Ok(Look::Done(role)),
            }
        })
    }
}

/// Whether a node is one of those that should run the database now.
fn runs_database(cluster: &Cluster, node: &NodeName) -> bool {
    !cluster.view.database.stopped_on_purpose && cluster.nodes().contains(node)
}

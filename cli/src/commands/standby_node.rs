//! `cls_standby_node` and `cls_unstandby_node`: take a node out of service, and back.

use std::time::Duration;

use clap::Args;
use pha_core::status::Role;
use pha_host::clock::Deadline;
use serde_json::json;

use crate::app::Session;
use crate::cluster::Cluster;
use crate::error::ClsError;
use crate::tools;
use crate::wait::{self, Look};

/// The node attribute that keeps Pacemaker from using a node.
const STANDBY: &str = "standby";

/// Take all resources off a node, for work on it
///
/// If the node is the primary, another one takes over. It stays so, also over reboots, until
/// cls_unstandby_node.
#[derive(Debug, Args)]
pub(crate) struct StandbyNode {
    /// The node
    node: String,
    /// Also if no other node can take the database over
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
        cluster.require_quorum()?;
        let node = cluster.node(&self.node)?;
        let was_primary = cluster.role(node) == Role::Promoted;
        if was_primary && !self.force {
            may_be_spared(&cluster, &self.node)?;
        }
        tools::set_node(&self.node, STANDBY, "on", deadline)?;
        let what = format!("{} to be free of resources", self.node);
        let primary = wait::until(session, &what, deadline, || {
            let cluster = cluster.again(session)?;
            let node = cluster.node(&self.node)?;
            let running: Vec<String> = cluster
                .primitives()
                .filter(|resource| cluster.role_of(node, resource) != Role::Stopped)
                .map(String::from)
                .collect();
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
            Some(primary) => format!("{} is in standby; {primary} is primary", self.node),
            None => format!("{} is in standby; there is no primary", self.node),
        };
        session
            .ui
            .done(&sentence, json!({ "node": self.node, "primary": primary }));
        Ok(())
    }
}

/// Refuses when nobody could take over from the primary.
fn may_be_spared(cluster: &Cluster, primary: &str) -> Result<(), ClsError> {
    let score = cluster.resource.promotion_attribute();
    let successor = cluster.cib.nodes.iter().find(|node| {
        node.name.as_str() != primary
            && cluster.role(node) == Role::Unpromoted
            && node
                .transient
                .get(&score)
                .and_then(|text| text.parse::<pha_core::status::Score>().ok())
                .is_some_and(|score| score.value() > 0)
    });
    if successor.is_some() {
        return Ok(());
    }
    Err(ClsError::refused(
        format!("{primary} is the primary, and no other node may be promoted now"),
        "bring a standby back first (cls_status says how), or stop the database with --force",
    ))
}

impl UnstandbyNode {
    pub(crate) fn run(&self, session: &Session) -> Result<(), ClsError> {
        let timeout = session.common.timeout.unwrap_or(Duration::from_secs(120));
        let deadline = Deadline::after(timeout);
        let cluster = Cluster::look(session, deadline)?;
        cluster.require_quorum()?;
        cluster.node(&self.node)?;
        tools::delete_node(&self.node, STANDBY, deadline)?;
        // A standby that ended with the node's reboot is a transient attribute.
        let sentence = if runs_database(&cluster, &self.node) {
            let role = self.wait_for_database(session, &cluster, deadline)?;
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
        deadline: Deadline,
    ) -> Result<Role, ClsError> {
        let what = format!("the database on {}", self.node);
        wait::until(session, &what, deadline, || {
            let cluster = cluster.again(session)?;
            let node = cluster.node(&self.node)?;
            if !node.online {
                return Ok(Look::Pending(format!(
                    "{} is not in the cluster",
                    self.node
                )));
            }
            if let Some(pending) = cluster.pending(node) {
                return Ok(Look::Pending(format!("{pending} is under way")));
            }
            match cluster.role(node) {
                Role::Stopped if cluster.is_given_up(&node.name) => Err(ClsError::failed(
                    format!(
                        "{} may be used again, but the database does not start there: {}",
                        self.node,
                        cluster.why_stopped(node)
                    ),
                    format!("mend the cause, then cls_cleanup --node {}", self.node),
                )),
                Role::Stopped => Ok(Look::Pending(cluster.why_stopped(node))),
                role => Ok(Look::Done(role)),
            }
        })
    }
}

/// Whether a node is one of those that should run the database now.
fn runs_database(cluster: &Cluster, node: &str) -> bool {
    !cluster.is_stopped_on_purpose() && cluster.nodes().iter().any(|name| name.as_str() == node)
}

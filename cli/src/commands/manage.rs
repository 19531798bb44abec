//! `cls_unmanage` and `cls_manage`: let Pacemaker go while PostgreSQL stays.

use std::time::Duration;

use clap::Args;
use pha_core::status::Role;
use pha_host::clock::Deadline;
use serde_json::json;

use crate::app::Session;
use crate::cluster::Cluster;
use crate::error::ClsError;
use crate::operate;
use crate::tools;
use crate::wait::{self, Look};

/// The meta attribute that says whether Pacemaker acts on a resource.
const MANAGED: &str = "is-managed";

/// Take the resources out of Pacemaker's control; PostgreSQL goes on
///
/// Then Pacemaker and corosync can be restarted or upgraded, and PostgreSQL does not notice.
/// Nothing takes over meanwhile if the primary fails. cls_manage ends it.
#[derive(Debug, Args)]
pub(crate) struct Unmanage {}

/// Give the resources back into Pacemaker's control after cls_unmanage
///
/// Pacemaker first looks again at what runs and forgets what failed meanwhile, so that a database
/// that was stopped by hand and runs again is not restarted.
#[derive(Debug, Args)]
pub(crate) struct Manage {}

impl Unmanage {
    pub(crate) fn run(&self, session: &Session) -> Result<(), ClsError> {
        let timeout = session.common.timeout.unwrap_or(Duration::from_secs(60));
        let deadline = Deadline::after(timeout);
        let cluster = Cluster::look(session, deadline)?;
        cluster.require_quorum()?;
        wait::until(session, "what is under way to end", deadline, || {
            Ok(busy(&cluster.again(session)?))
        })?;
        operate::note(&cluster, "cls_unmanage", deadline);
        for resource in &cluster.view.ours {
            session.ui.progress(&format!("unmanaging {resource}"));
            tools::set_meta(resource, MANAGED, "false", deadline)?;
        }
        session.ui.done(
            "Pacemaker does not manage the database any more; PostgreSQL goes on. cls_manage ends it",
            json!({ "resources": cluster.view.ours }),
        );
        Ok(())
    }
}

/// An operation that is under way would be left in the middle.
fn busy(cluster: &Cluster) -> Look<()> {
    match cluster.view.all_pending().next() {
        Some((_, pending)) => Look::Pending(format!("{pending} is under way")),
        None => Look::Done(()),
    }
}

impl Manage {
    pub(crate) fn run(&self, session: &Session) -> Result<(), ClsError> {
        let timeout = session.common.timeout.unwrap_or(Duration::from_secs(120));
        let deadline = Deadline::after(timeout);
        let cluster = Cluster::look(session, deadline)?;
        cluster.require_quorum()?;
        // One that was given back already has nothing to lose, and may need the rest to go on.
        if !cluster.view.managed {
            // Whom a monitor found stopped meanwhile, Pacemaker would stop and start although it runs again.
            for resource in &cluster.view.ours {
                session.ui.progress(&format!("looking at {resource} again"));
                tools::refresh(resource, deadline)?;
            }
            wait::until(session, "Pacemaker to know what runs", deadline, || {
                Ok(known(&cluster.again(session)?))
            })?;
        }
        operate::note(&cluster, "cls_manage", deadline);
        // The clone last: an address that nobody manages is as good as nailed to its node, and by its
        // colocation the reader's address would lift the standby there above the primary.
        for resource in cluster.view.ours.iter().rev() {
            session.ui.progress(&format!("managing {resource}"));
            tools::delete_meta(resource, MANAGED, deadline)?;
        }
        let primary = wait::until(session, "a primary", deadline, || {
            let cluster = cluster.again(session)?;
            if let Look::Pending(what) = busy(&cluster) {
                return Ok(Look::Pending(what));
            }
            match cluster.primary() {
                Ok(primary) => Ok(Look::Done(Some(primary))),
                Err(_) if cluster.view.database.stopped_on_purpose => Ok(Look::Done(None)),
                Err(error) => Ok(Look::Pending(error.to_string())),
            }
        })?;
        session.ui.done(
            "Pacemaker manages the database again",
            json!({ "resources": cluster.view.ours, "primary": primary }),
        );
        Ok(())
    }
}

/// It first has to find out what runs (a probe on every node), and after a restart of Pacemaker the
/// promotion scores are gone until the first monitor of the primary has written its own again: given
/// back before that, the primary would be demoted.
fn known(cluster: &Cluster) -> Look<()> {
    if let Look::Pending(what) = busy(cluster) {
        return Look::Pending(what);
    }
    let mut away = Vec::new();
    for name in cluster.nodes() {
        let node = cluster.node(&name);
        if !node.online {
            away.push(name.to_string());
            continue;
        }
        match node.database.role {
            None => return Look::Pending(format!("{name} has not been looked at yet")),
            Some(Role::Promoted) if node.score.is_none() => {
                return Look::Pending(format!("no monitor has run on {name} yet"));
            }
            Some(Role::Promoted) => return Look::Done(()),
            Some(Role::Unpromoted | Role::Stopped) => {}
        }
    }
    // The primary may be on a node that has not joined again.
    if away.is_empty() || cluster.view.database.stopped_on_purpose {
        Look::Done(())
    } else {
        Look::Pending(format!(
            "no primary is seen, and {} is not in the cluster",
            away.join(", ")
        ))
    }
}

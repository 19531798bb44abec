//! `cls_unmanage` and `cls_manage`: let Pacemaker go while PostgreSQL stays.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use pha_core::cluster::Maintenance;
use pha_core::decide::operator::{
    ManageFacts, is_to_look_again, may_be_managed, not_known, not_looked_at, under_way,
};
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
/// The meta attribute with which it runs no monitors of it either.
const MAINTENANCE: &str = "maintenance";
/// The cluster property with which it does so for every resource.
const MAINTENANCE_MODE: &str = "maintenance-mode";

/// Take the resources out of Pacemaker's control; PostgreSQL goes on
///
/// Then Pacemaker and corosync can be restarted or upgraded, and PostgreSQL does not notice.
/// Nothing takes over meanwhile if the primary fails. cls_manage ends it.
#[derive(Debug, Args)]
pub(crate) struct Unmanage {}

/// Give the resources back into Pacemaker's control after cls_unmanage
///
/// It also ends a maintenance that was set otherwise: the cluster property maintenance-mode, for every
/// resource of the cluster, and the database's own. Where something has failed or does not run, Pacemaker
/// first looks again at what runs and forgets what failed meanwhile, so that a database that was stopped by
/// hand and runs again is not restarted.
#[derive(Debug, Args)]
pub(crate) struct Manage {
    /// Also if Pacemaker then stops PostgreSQL, since cls_stop was given
    #[arg(long)]
    force: bool,
}

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
    look(under_way(&cluster.view))
}

/// What a judgement awaits, as one look.
fn look(awaited: Option<String>) -> Look<()> {
    awaited.map_or(Look::Done(()), Look::Pending)
}

impl Manage {
    pub(crate) fn run(&self, session: &Session) -> Result<(), ClsError> {
        let timeout = session.common.timeout.unwrap_or(Duration::from_secs(120));
        let deadline = Deadline::after(timeout);
        let cluster = Cluster::look(session, deadline)?;
        cluster.require_quorum()?;
        may_be_managed(&facts(&cluster, self.force, deadline)?)?;
        // One that was given back already has nothing to lose, and may need the rest to go on.
        if !cluster.view.managed {
            end_maintenance(session, &cluster, deadline)?;
            look_again(session, &cluster, deadline)?;
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
            if !cluster.view.managed {
                return Ok(Look::Pending("the database is not managed".to_owned()));
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

/// From a maintenance, in which there are no monitors, into what cls_unmanage makes: the promotion scores may
/// have to be written anew by a monitor before Pacemaker acts on them.
fn end_maintenance(
    session: &Session,
    cluster: &Cluster,
    deadline: Deadline,
) -> Result<(), ClsError> {
    let Some(maintenance) = cluster.view.maintenance else {
        return Ok(());
    };
    for resource in &cluster.view.ours {
        session.ui.progress(&format!("unmanaging {resource}"));
        tools::set_meta(resource, MANAGED, "false", deadline)?;
    }
    if maintenance == Maintenance::Cluster {
        let property = "ending the maintenance of the whole cluster (maintenance-mode)";
        session.ui.progress(property);
        tools::delete_property(None, MAINTENANCE_MODE, deadline)?;
    }
    for resource in &cluster.view.ours {
        tools::delete_meta(resource, MAINTENANCE, deadline)?;
    }
    Ok(())
}

/// Waits until Pacemaker knows what runs, and makes it look again where what it knows may be older than that
/// ([`is_to_look_again`]).
fn look_again(session: &Session, cluster: &Cluster, deadline: Deadline) -> Result<(), ClsError> {
    let what = "Pacemaker to know what runs";
    let seen = |cluster: &Cluster| facts(&cluster.again(session)?, false, deadline);
    let doubt = wait::until(session, what, deadline, || {
        let facts = seen(cluster)?;
        Ok(match not_looked_at(&facts) {
            Some(what) => Look::Pending(what),
            None => Look::Done(is_to_look_again(&facts)),
        })
    })?;
    if let Some(doubt) = doubt {
        tracing::debug!("Pacemaker looks again: {doubt}");
        for resource in &cluster.view.ours {
            session.ui.progress(&format!("looking at {resource} again"));
            tools::refresh(resource, deadline)?;
        }
    }
    wait::until(session, what, deadline, || {
        Ok(look(not_known(&seen(cluster)?)))
    })
}

/// What is seen before the database is given back.
fn facts(cluster: &Cluster, force: bool, deadline: Deadline) -> Result<ManageFacts, ClsError> {
    let attribute = cluster.resource.promotion_attribute();
    let mut held = BTreeSet::new();
    for name in ManageFacts::to_be_asked(&cluster.view) {
        if tools::is_held(&name, &attribute, deadline)? {
            held.insert(name);
        }
    }
    Ok(ManageFacts {
        view: cluster.view.clone(),
        nodes: cluster.nodes(),
        held,
        force,
    })
}

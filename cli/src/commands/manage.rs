//! `cls_unmanage` and `cls_manage`: let Pacemaker go while PostgreSQL stays.

use std::time::Duration;

use clap::Args;
use pha_core::cluster::Maintenance;
use pha_core::message;
use pha_core::message::Message;
use pha_core::names::NodeName;
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
        self.see_who_would_be_stopped(&cluster)?;
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

    /// An order of cls_stop that Pacemaker has not carried out yet is carried out as soon as it manages the
    /// database.
    fn see_who_would_be_stopped(&self, cluster: &Cluster) -> Result<(), ClsError> {
        let view = &cluster.view;
        if self.force || view.managed || !view.database.stopped_on_purpose {
            return Ok(());
        }
        let nodes = view.nodes.iter();
        let running: Vec<Message> = nodes
            .filter(|(_, node)| node.role() != Role::Stopped)
            .map(|(name, _)| Message::from(name))
            .collect();
        if running.is_empty() {
            return Ok(());
        }
        Err(ClsError::refused(
            message!(
                "cls_stop was given, and PostgreSQL runs on {nodes}: Pacemaker would stop it as soon as it manages it",
                nodes = Message::all(running)
            ),
            message!(
                "cls_start, which takes that order back, then cls_manage; or cls_manage --force, which lets it be stopped"
            ),
        ))
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

/// Waits until Pacemaker knows what runs, and makes it look again where what it knows may be older than that:
/// whom a monitor found stopped meanwhile, it would stop and start although it runs again. Only there, and not
/// before each has been looked at: a monitor that is under way when Pacemaker is to look again is cancelled,
/// and counts as a failure.
fn look_again(session: &Session, cluster: &Cluster, deadline: Deadline) -> Result<(), ClsError> {
    let what = "Pacemaker to know what runs";
    let doubtful = wait::until(session, what, deadline, || {
        let cluster = cluster.again(session)?;
        Ok(match looked_at(&cluster, deadline)? {
            Look::Pending(what) => Look::Pending(what),
            Look::Done(()) => Look::Done(is_doubtful(&cluster)),
        })
    })?;
    if doubtful {
        for resource in &cluster.view.ours {
            session.ui.progress(&format!("looking at {resource} again"));
            tools::refresh(resource, deadline)?;
        }
    }
    wait::until(session, what, deadline, || {
        known(&cluster.again(session)?, deadline)
    })
}

/// Whether something of ours has failed, or does not run although it should.
fn is_doubtful(cluster: &Cluster) -> bool {
    let view = &cluster.view;
    let nodes = cluster.nodes().into_iter().map(|name| cluster.node(&name));
    let mut members = nodes.filter(|node| node.online);
    view.our_failures().next().is_some()
        || view.placed.iter().any(|placed| !view.runs(&placed.name))
        || members.any(|node| {
            let placed = node.placed.values();
            let mut states = placed.chain(std::iter::once(&node.database));
            node.role() == Role::Stopped || states.any(|state| state.last_failure.is_some())
        })
}

/// Whether each member was looked at. After a restart of Pacemaker that is a probe on every node, and the
/// promotion scores are gone until the first monitor of the primary has written its own again. Where its
/// monitors fail there is none.
fn looked_at(cluster: &Cluster, deadline: Deadline) -> Result<Look<()>, ClsError> {
    if let Look::Pending(what) = busy(cluster) {
        return Ok(Look::Pending(what));
    }
    for name in cluster.nodes() {
        let node = cluster.node(&name);
        let database = &node.database;
        if node.online && database.role.is_none() {
            return Ok(Look::Pending(format!("{name} has not been looked at yet")));
        }
        if node.role() == Role::Promoted && database.last_failure.is_none() {
            let scored = scored(cluster, &name, deadline)?;
            if let Look::Pending(what) = scored {
                return Ok(Look::Pending(what));
            }
        }
    }
    Ok(Look::Done(()))
}

/// Whether a node has its promotion score, and will keep it: one that Pacemaker's attribute daemon does not hold
/// goes as soon as that node has another daemon.
fn scored(cluster: &Cluster, name: &NodeName, deadline: Deadline) -> Result<Look<()>, ClsError> {
    let attribute = cluster.resource.promotion_attribute();
    if cluster.node(name).score.is_some() && tools::is_held(name, &attribute, deadline)? {
        return Ok(Look::Done(()));
    }
    Ok(Look::Pending(format!("no monitor has run on {name} yet")))
}

/// Whether Pacemaker knows enough to act: given back before a primary has its promotion score, it would be
/// demoted.
fn known(cluster: &Cluster, deadline: Deadline) -> Result<Look<()>, ClsError> {
    if let Look::Pending(what) = looked_at(cluster, deadline)? {
        return Ok(Look::Pending(what));
    }
    if let Some(primary) = cluster.view.promoted().next() {
        return scored(cluster, primary, deadline);
    }
    // The primary may be on a node that has not joined again.
    let nodes = cluster.nodes().into_iter();
    let away: Vec<String> = nodes
        .filter(|name| !cluster.node(name).online)
        .map(|name| name.to_string())
        .collect();
    if away.is_empty() || cluster.view.database.stopped_on_purpose {
        return Ok(Look::Done(()));
    }
    Ok(Look::Pending(format!(
        "no primary is seen, and {} is not in the cluster",
        away.join(", ")
    )))
}

//! `cls_start` and `cls_stop`: the database and its addresses, everywhere.

use std::time::Duration;

use clap::Args;
use pha_core::cluster::WhyStopped;
use pha_core::health::daemons;
use pha_core::message;
use pha_core::message::Message;
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

/// The meta attribute that keeps Pacemaker from starting a resource.
const TARGET: &str = "target-role";

/// What to do where Pacemaker has given something up.
fn mended() -> Message {
    message!("mend the cause (a wrong value: in config.ini, then cls_setup), then cls_cleanup")
}

/// How long the question whether Pacemaker is at work may take.
const IDLE: Duration = Duration::from_secs(10);

/// Start the database and its addresses on every node
///
/// Waits until one node is primary and the others stream from it. Exit code 2 if the primary is up
/// and a standby is not.
#[derive(Debug, Args)]
pub(crate) struct Start {}

/// Stop the database and its addresses on every node
///
/// Waits until everything is stopped. The next cls_start keeps the primary.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// Also if the primary's stop has to wait for its archive
    #[arg(long)]
    force: bool,
}

/// How far a start has come.
enum Progress {
    Complete(NodeName),
    Primary(NodeName, String),
    Nothing(String),
}

impl Start {
    pub(crate) fn run(&self, session: &Session) -> Result<(), ClsError> {
        let timeout = session.common.timeout.unwrap_or(Duration::from_secs(180));
        let deadline = Deadline::after(timeout);
        let cluster = Cluster::look(session, deadline)?;
        cluster.require_whole(deadline)?;
        if let Some(left_alone) = cluster.view.left_alone([]) {
            return Err(not_managed(session, &cluster, left_alone, deadline)?);
        }
        operate::note(&cluster, "cls_start", deadline);
        let primary = start(session, &cluster, deadline)?;
        let sentence = format!("{primary} is primary, every standby streams");
        session.ui.done(&sentence, json!({ "primary": primary }));
        Ok(())
    }
}

/// Pacemaker starts nothing that it does not manage. An order of cls_stop would have it stop what runs once
/// it does again: it is taken back all the same.
fn not_managed(
    session: &Session,
    cluster: &Cluster,
    (what, remedy): (Message, Message),
    deadline: Deadline,
) -> Result<ClsError, ClsError> {
    if !cluster.view.database.stopped_on_purpose {
        return Ok(ClsError::refused(
            message!("{what}, so it would start nothing", what),
            message!("{remedy}, then try again", remedy),
        ));
    }
    operate::note(cluster, "cls_start", deadline);
    release(session, cluster, deadline)?;
    Ok(ClsError::failed(
        message!(
            "{what}, so it starts nothing; the order of cls_stop is taken back",
            what
        ),
        message!("{remedy}, after which it starts what does not run", remedy),
    ))
}

/// Lets Pacemaker start everything, and waits for that; the primary.
pub(crate) fn start(
    session: &Session,
    cluster: &Cluster,
    deadline: Deadline,
) -> Result<NodeName, ClsError> {
    release(session, cluster, deadline)?;
    complete(session, cluster, deadline)
}

/// Lets Pacemaker start everything.
pub(crate) fn release(
    session: &Session,
    cluster: &Cluster,
    deadline: Deadline,
) -> Result<(), ClsError> {
    for resource in &cluster.view.ours {
        session.ui.progress(&format!("starting {resource}"));
        tools::delete_meta(resource, TARGET, deadline)?;
    }
    Ok(())
}

/// Waits until the whole cluster is there, and Pacemaker has nothing more to do; the primary. What runs
/// while Pacemaker has still something to do may be what it is about to stop.
pub(crate) fn complete(
    session: &Session,
    cluster: &Cluster,
    deadline: Deadline,
) -> Result<NodeName, ClsError> {
    let mut last = None;
    let waited = wait::until(session, "the whole cluster", deadline, || {
        let cluster = cluster.again(session)?;
        match progress(&cluster) {
            Progress::Complete(primary) => {
                last = None;
                if tools::idle(Deadline::after(IDLE))? && still(session, &cluster, &primary)? {
                    Ok(Look::Done(primary))
                } else {
                    Ok(Look::Pending("Pacemaker is still at work".to_owned()))
                }
            }
            Progress::Primary(primary, missing) => {
                let vain = cluster.view.in_vain();
                if !vain.is_empty() && at_rest(&cluster)? {
                    return Err(ClsError::failed(
                        message!(
                            "{primary} is primary, and {vain}; {missing}",
                            primary,
                            vain = vain.join("; "),
                            missing
                        ),
                        mended(),
                    ));
                }
                let seen = format!("{primary} is primary, {missing}");
                let hopeless = hopeless(&cluster);
                last = Some((primary, missing));
                if hopeless {
                    return Err(standby_missing(last.take()));
                }
                Ok(Look::Pending(seen))
            }
            Progress::Nothing(seen) => {
                last = None;
                let given_up = |name: &NodeName| cluster.view.is_given_up(name);
                if expected(&cluster).iter().all(given_up) && at_rest(&cluster)? {
                    return Err(ClsError::failed(
                        message!("no node can start the database: {seen}", seen),
                        mended(),
                    ));
                }
                Ok(Look::Pending(seen))
            }
        }
    });
    match waited {
        Err(ClsError::TimedOut { .. }) if last.is_some() => Err(standby_missing(last)),
        waited => waited,
    }
}

/// Whether nothing is under way, and Pacemaker has nothing more to do.
fn at_rest(cluster: &Cluster) -> Result<bool, ClsError> {
    Ok(cluster.view.all_pending().next().is_none() && tools::idle(Deadline::after(IDLE))?)
}

/// Whether it is still so after Pacemaker was seen to be idle: what was seen before may be older than
/// the last thing that it did.
fn still(session: &Session, cluster: &Cluster, primary: &NodeName) -> Result<bool, ClsError> {
    let now = progress(&cluster.again(session)?);
    Ok(matches!(now, Progress::Complete(now) if now == *primary))
}

fn standby_missing(last: Option<(NodeName, String)>) -> ClsError {
    let (primary, missing) = last.map_or_else(
        || (String::new(), String::new()),
        |(primary, missing)| (primary.to_string(), missing),
    );
    ClsError::StandbyMissing {
        primary,
        missing,
        hint: "cls_status says what to do about each standby".to_owned(),
    }
}

/// The nodes that should run the database now: those of `node_list` that no operator has put into
/// standby. One that is switched off is missing.
fn expected(cluster: &Cluster) -> Vec<NodeName> {
    let mut nodes = cluster.nodes();
    nodes.retain(|name| !cluster.node(name).standby);
    nodes
}

fn progress(cluster: &Cluster) -> Progress {
    let primary = match cluster.primary() {
        Ok(primary) => primary,
        Err(error) => return Progress::Nothing(waiting(cluster, &error)),
    };
    let missing: Vec<String> = expected(cluster)
        .iter()
        .filter(|name| **name != primary)
        .filter_map(|name| why_missing(cluster, name))
        .collect();
    if !missing.is_empty() {
        return Progress::Primary(primary, missing.join(", "));
    }
    let placed = cluster.view.placed.iter().map(|placed| &placed.name);
    let resources: Vec<&str> = placed
        .filter(|name| !cluster.view.runs(name))
        .map(ResourceName::as_str)
        .collect();
    // Alone, the primary has no standby that the reader's address could be on.
    if !resources.is_empty() && expected(cluster).len() > 1 {
        return Progress::Primary(primary, format!("{} not started yet", resources.join(", ")));
    }
    Progress::Complete(primary)
}

/// Why there is no primary yet.
fn waiting(cluster: &Cluster, error: &ClsError) -> String {
    let states: Vec<String> = expected(cluster)
        .iter()
        .filter(|name| cluster.view.nodes.contains_key(name))
        .map(|name| cluster.state(name))
        .collect();
    if states.is_empty() {
        error.to_string()
    } else {
        states.join(", ")
    }
}

fn why_missing(cluster: &Cluster, name: &NodeName) -> Option<String> {
    let node = cluster.node(name);
    match (&node.data_status, node.why_stopped()) {
        (_, WhyStopped::Away) => Some(format!("{name} is not in the cluster")),
        (_, why) if node.role() == Role::Stopped => Some(format!("{name}: {why}")),
        _ if node.streams() => None,
        (Some(status), _) => Some(format!("{name} does not stream yet ({status})")),
        (None, _) => Some(format!("{name} does not stream yet (nothing known)")),
    }
}

/// Whether no missing standby will come by itself: Pacemaker has given each of them up, or it is
/// not in the cluster, and nothing is under way.
fn hopeless(cluster: &Cluster) -> bool {
    let missing: Vec<NodeName> = expected(cluster)
        .into_iter()
        .filter(|name| why_missing(cluster, name).is_some())
        .filter(|name| cluster.primary().ok().as_ref() != Some(name))
        .collect();
    let idle = cluster.view.all_pending().next().is_none();
    idle && !missing.is_empty() && missing.iter().all(|name| cluster.view.is_given_up(name))
}

impl Stop {
    pub(crate) fn run(&self, session: &Session) -> Result<(), ClsError> {
        let timeout = session.common.timeout.unwrap_or(Duration::from_secs(180));
        let deadline = Deadline::after(timeout);
        let cluster = Cluster::look(session, deadline)?;
        may_be_ordered(&cluster, deadline)?;
        may_be_taken_out(&cluster, None, self.force)?;
        operate::note(&cluster, "cls_stop", deadline);
        stop(session, &cluster, deadline).map_err(|error| goes_on(&cluster, error))?;
        session.ui.done(
            "the database and its addresses are stopped on every node; cls_start starts them again",
            json!({ "resources": cluster.view.ours }),
        );
        Ok(())
    }
}

/// Sees that Pacemaker can be given the order here, or says how PostgreSQL is stopped all the same.
fn may_be_ordered(cluster: &Cluster, deadline: Deadline) -> Result<(), ClsError> {
    cluster.require_quorum()?;
    let here = cluster.local_node(deadline)?;
    let mut in_part = cluster.in_part(deadline);
    let Some((what, first)) = in_part.remove(&here) else {
        return Ok(());
    };
    let mut others = cluster.view.nodes.iter();
    let whole =
        others.find(|(name, node)| **name != here && node.online && !in_part.contains_key(*name));
    let whole = whole.map(|(name, _)| name);
    let hint = daemons::stops_by(&first, whole, &cluster.stop_by_hand());
    Err(ClsError::refused(what, hint))
}

/// Where the order stands and something goes on because a node's Pacemaker runs in part, that is said.
fn goes_on(cluster: &Cluster, error: ClsError) -> ClsError {
    if !matches!(error, ClsError::TimedOut { .. }) {
        return error;
    }
    let in_part = cluster.in_part(Deadline::after(IDLE));
    match in_part.into_iter().next() {
        None => error,
        Some((node, (missing, _))) => {
            let (what, hint) = daemons::goes_on(&node, &missing, &cluster.stop_by_hand());
            ClsError::failed(what, hint)
        }
    }
}

/// Lets Pacemaker stop everything, and waits for that.
pub(crate) fn stop(
    session: &Session,
    cluster: &Cluster,
    deadline: Deadline,
) -> Result<(), ClsError> {
    for resource in &cluster.view.ours {
        session.ui.progress(&format!("stopping {resource}"));
        tools::set_meta(resource, TARGET, "Stopped", deadline)?;
    }
    wait::until(session, "everything to be stopped", deadline, || {
        let cluster = cluster.again(session)?;
        let view = &cluster.view;
        let nodes = view.nodes.keys();
        let running: Vec<String> = nodes
            .flat_map(|node| view.running(node).into_iter().map(move |name| (node, name)))
            .map(|(node, resource)| format!("{resource} on {node}"))
            .collect();
        if running.is_empty() {
            Ok(Look::Done(()))
        } else {
            Ok(Look::Pending(format!(
                "still there: {}",
                running.join(", ")
            )))
        }
    })
}

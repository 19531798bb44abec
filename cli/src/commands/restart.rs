//! `cls_restart`: restart PostgreSQL, on one node after the other.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use pha_core::health::NotingCommand;
use pha_core::message;
use pha_core::names::NodeName;
use pha_core::status::Role;
use pha_host::clock::Deadline;
use serde_json::json;

use crate::app::Session;
use crate::cluster::Cluster;
use crate::commands::start;
use crate::error::ClsError;
use crate::operate::back::Back;
use crate::operate::lock;

mod job;
pub(crate) mod order;
pub(crate) mod round;
pub(crate) mod settings;

use order::{Cause, Order};
use settings::Settings;

/// How long the node that another command has kept off may take to be a standby again.
const BACK: Duration = Duration::from_secs(60);
/// What may be read again without a restart.
const RELOAD: &str = "a changed file counts when PostgreSQL has read it again: in SQL on each node: select pg_reload_conf()";

/// Restart PostgreSQL on one node after the other
///
/// A standby first, and the next one when that is synchronous again; then a planned switch, and the
/// old primary. Where that cannot be, because a limit is lowered or no standby runs, it says so and
/// needs --together: everything is stopped for seconds. Says what will be done before it does it.
#[derive(Debug, Args)]
pub(crate) struct Restart {
    /// Only this node; the primary gives its place to a standby before
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Only where settings of PostgreSQL wait for a restart
    #[arg(long)]
    pending: bool,
    /// Only say what would be done, after looking whether it could be
    #[arg(long)]
    dry_run: bool,
    /// Also where PostgreSQL has to be stopped on every node at the same time: a limit is lowered, or no
    /// standby runs
    #[arg(long)]
    together: bool,
    /// Also while a backup runs or a transaction has been open for a minute
    #[arg(long)]
    force: bool,
}

impl Restart {
    pub(crate) fn run(&self, session: &Session) -> Result<(), ClsError> {
        let timeout = session.common.timeout.unwrap_or(Duration::from_secs(600));
        let deadline = Deadline::after(timeout);
        let cluster = Cluster::look(session, deadline)?;
        cluster.require_whole(deadline)?;
        if !self.dry_run {
            after_another(session, &cluster, deadline)?;
        }
        let cluster = cluster.again(session)?;
        let running = self.running(&cluster)?;
        cluster.primary()?;
        let known = known(&cluster, &running, deadline)?;
        let due = self.due(&cluster, &running, &known)?;
        let waiting = waiting(&known);
        show(session, &waiting);
        if due.is_empty() {
            let sentence = "no setting of PostgreSQL waits for a restart: nothing was done";
            session.ui.progress(RELOAD);
            session
                .ui
                .done(sentence, json!({ "restarts": due, "waiting": waiting }));
            return Ok(());
        }
        let command = self.typed();
        let order = Order {
            cause: Cause::Settings {
                due: &due,
                command: &command,
            },
            settings: &known,
            force: self.force,
        };
        let course = order.course(&cluster)?;
        if self.dry_run {
            session.ui.done(
                &format!("nothing was done: --dry-run. It would go so: {course}"),
                json!({ "restarts": due, "waiting": waiting, "course": course.to_string(), "dry_run": true }),
            );
            return Ok(());
        }
        order::may_go(&course, self.together, &command)?;
        let guard = round::begin(session, &order, &course, &command, deadline)?;
        let ended = round::perform(session, order, &course, deadline)?;
        let left = seen_restarted(&cluster.again(session)?, &due, &known, &command, deadline)?;
        drop(guard);
        let took = ended.switched.map(|took| took.as_secs_f64());
        let sentence = format!(
            "PostgreSQL was restarted on {}: {}",
            list(&due),
            ended.says()
        );
        session.ui.done(
            &sentence,
            json!({ "restarts": due, "primary": ended.primary, "switch_seconds": took, "waiting": left }),
        );
        Ok(())
    }

    /// Where PostgreSQL runs.
    fn running(&self, cluster: &Cluster) -> Result<Vec<NodeName>, ClsError> {
        let runs = |name: &&NodeName| cluster.node(name).role() != Role::Stopped;
        let running: Vec<NodeName> = cluster.names.iter().filter(runs).cloned().collect();
        if running.is_empty() {
            return Err(ClsError::refused(
                message!("PostgreSQL runs on no node"),
                message!("cls_start starts it, with its settings as they are now"),
            ));
        }
        Ok(running)
    }

    /// The nodes that are to be restarted.
    fn due(
        &self,
        cluster: &Cluster,
        running: &[NodeName],
        known: &BTreeMap<NodeName, Settings>,
    ) -> Result<Vec<NodeName>, ClsError> {
        let named = match &self.node {
            Some(name) => Some(cluster.named(name)?),
            None => None,
        };
        if let Some(node) = named.as_ref().filter(|node| !running.contains(node)) {
            return Err(ClsError::refused(
                message!("PostgreSQL does not run on {node}", node),
                message!("cls_status says why; its next start takes its settings as they are then"),
            ));
        }
        let waits = |name: &NodeName| {
            let settings = known.get(name);
            !self.pending || settings.is_some_and(|settings| !settings.waiting().is_empty())
        };
        let wanted = |name: &&NodeName| named.as_ref().is_none_or(|node| node == *name);
        let due = running.iter().filter(wanted).filter(|name| waits(name));
        Ok(due.cloned().collect())
    }

    /// The command as it was typed, without what another time need not be said.
    fn typed(&self) -> String {
        let node = self.node.as_ref().map(|node| format!(" --node {node}"));
        let pending = if self.pending { " --pending" } else { "" };
        format!("cls_restart{}{pending}", node.unwrap_or_default())
    }
}

/// What a command has left that was ended half way, this one perhaps: a node that is kept off, or a wish for
/// another primary. It has left its note as well: a constraint without one is an operator's own.
fn after_another(session: &Session, cluster: &Cluster, deadline: Deadline) -> Result<(), ClsError> {
    let Some(other) = lock::noted(cluster) else {
        return Ok(());
    };
    if lock::lives(cluster, &other, deadline)?() {
        // It is refused below.
        return Ok(());
    }
    let _guard = lock::acquire(session, cluster, NotingCommand::Restart, deadline)?;
    lock::take_away_left(session, &cluster.again(session)?, deadline)?;
    // What does not come back is judged below.
    let complete = start::complete(session, cluster, deadline.sub_budget(BACK));
    let held = Back {
        node: None,
        before_next: false,
    };
    let ready = complete.and_then(|_| held.wait(session, cluster, deadline.sub_budget(BACK)));
    if let Err(error) = ready {
        session.ui.progress(&error.to_string());
    }
    Ok(())
}

/// What every running node's settings are.
fn known(
    cluster: &Cluster,
    running: &[NodeName],
    deadline: Deadline,
) -> Result<BTreeMap<NodeName, Settings>, ClsError> {
    let answers = settings::of_nodes(cluster, running, &cluster.given.0, deadline);
    let mut known = BTreeMap::new();
    for (node, answer) in answers {
        let settings = answer.map_err(|hindrance| {
            let remedy = hindrance.remedy_or("cls_status").to_owned();
            ClsError::refused(
                message!(
                    "{node} does not say what its settings are: {why}; nothing was done",
                    node,
                    why = hindrance.why
                ),
                remedy,
            )
        })?;
        known.insert(node, settings);
    }
    Ok(known)
}

/// The settings that wait, by node.
fn waiting(known: &BTreeMap<NodeName, Settings>) -> BTreeMap<&NodeName, Vec<String>> {
    let waiting = known
        .iter()
        .map(|(node, settings)| (node, settings.waiting()));
    waiting.filter(|(_, names)| !names.is_empty()).collect()
}

fn show(session: &Session, waiting: &BTreeMap<&NodeName, Vec<String>>) {
    for (node, names) in waiting {
        let names = names.join(", ");
        session
            .ui
            .progress(&format!("{node}: waits for a restart: {names}"));
    }
}

fn list(nodes: &[NodeName]) -> String {
    let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
    names.join(" and ")
}

/// Sees that every node that was due runs after another start than before; which settings still wait.
///
/// # Errors
/// One does not, or cannot be asked.
fn seen_restarted(
    cluster: &Cluster,
    due: &[NodeName],
    before: &BTreeMap<NodeName, Settings>,
    command: &str,
    deadline: Deadline,
) -> Result<BTreeMap<NodeName, Vec<String>>, ClsError> {
    let after = settings::of_nodes(cluster, due, &cluster.given.0, deadline);
    let mut left = BTreeMap::new();
    for (node, answer) in after {
        let settings = answer.map_err(|hindrance| {
            let remedy = hindrance.remedy_or("cls_status").to_owned();
            ClsError::failed(
                message!(
                    "the restart has ended, and {node} does not say so: {why}",
                    node,
                    why = hindrance.why
                ),
                remedy,
            )
        })?;
        if before
            .get(&node)
            .is_some_and(|old| old.started == settings.started)
        {
            return Err(ClsError::failed(
                message!("PostgreSQL on {node} was not restarted", node),
                message!("cls_status; then {command} goes on with it", command),
            ));
        }
        let names = settings.waiting();
        if !names.is_empty() {
            left.insert(node, names);
        }
    }
    Ok(left)
}

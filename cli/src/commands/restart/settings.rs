//! What the settings of a node's PostgreSQL are, and what they will be after its next start.

use std::collections::BTreeMap;
use std::time::Duration;

use pha_core::hindrance::Hindrance;
use pha_core::limits::Limits;
use pha_core::names::NodeName;
use pha_core::params::Params;
use pha_core::status::Role;
use pha_host::clock::Deadline;
use pha_host::local;
use pha_host::node::pg_ctl;
use pha_host::postgres::printable_lines;
use serde::{Deserialize, Serialize};

use crate::app::Session;
use crate::cluster::Cluster;
use crate::commands::rows::Request;
use crate::error::ClsError;
use crate::site;

/// How long a node may take to answer.
const ASK: Duration = Duration::from_secs(15);

/// The settings that have another value from the next start on, as the server has read its files last. Their
/// values are not asked for: one could be a secret.
pub(crate) const PENDING: &str =
    "select name from pg_catalog.pg_settings where pending_restart order by name";

/// When this server was started, and its limits in the order of [`Limits::SETTINGS`].
const RUNNING: &str = "\
    select pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()), \
    pg_catalog.current_setting('max_connections'), \
    pg_catalog.current_setting('max_worker_processes'), \
    pg_catalog.current_setting('max_wal_senders'), \
    pg_catalog.current_setting('max_prepared_transactions'), \
    pg_catalog.current_setting('max_locks_per_transaction')";

/// A node's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// When the server was started, as it says.
    pub(crate) started: String,
    /// The settings that wait for its restart.
    pub(crate) pending: Vec<String>,
    /// The limits that it runs with.
    pub(crate) here: Limits,
    /// Those that it would have after a restart; none where that cannot be told.
    pub(crate) next: Option<Limits>,
}

impl Settings {
    /// Everything that a restart would change: what PostgreSQL says waits, and limits that a standby was
    /// started with because its primary had more.
    pub(crate) fn waiting(&self) -> Vec<String> {
        let mut names = self.pending.clone();
        let next = self.next.unwrap_or(self.here);
        let other = next.less_than(self.here).chain(self.here.less_than(next));
        names.extend(other.map(|(name, _, _)| name.to_owned()));
        names.sort();
        names.dedup();
        names
    }
}

/// What every one of these nodes has, where the agent gets these parameters.
pub(crate) fn of_nodes(
    cluster: &Cluster,
    nodes: &[NodeName],
    parameters: &BTreeMap<String, String>,
    deadline: Deadline,
) -> BTreeMap<NodeName, Result<Settings, Hindrance>> {
    let here = cluster.local_node(deadline).ok();
    let ask = |node: &NodeName| match Some(node) == here.as_ref() {
        true => answer(parameters, deadline.sub_budget(ASK)),
        false => there(node, parameters, deadline.sub_budget(ASK)),
    };
    std::thread::scope(|scope| {
        let ask = &ask;
        let started: Vec<_> = nodes
            .iter()
            .map(|node| (node, scope.spawn(move || ask(node))))
            .collect();
        let answers = started.into_iter().map(|(node, thread)| {
            let answer = thread
                .join()
                .unwrap_or_else(|_| Err(Hindrance::of(&"the thread that asked panicked")));
            (node.clone(), answer)
        });
        answers.collect()
    })
}

/// The same of another node, by this program there.
fn there(
    node: &NodeName,
    parameters: &BTreeMap<String, String>,
    deadline: Deadline,
) -> Result<Settings, Hindrance> {
    let input = serde_json::to_vec(parameters).map_err(|error| Hindrance::of(&error))?;
    site::ask_there(node, &["settings"], &input, deadline)
}

/// The other side of it.
///
/// # Errors
/// PostgreSQL does not run here, or does not answer.
pub(crate) fn run(
    session: &Session,
    parameters: &BTreeMap<String, String>,
) -> Result<(), ClsError> {
    let settings = answer(parameters, Deadline::after(ASK));
    let settings = settings.map_err(|hindrance| {
        let remedy = hindrance.remedy_or("cls_status").to_owned();
        ClsError::failed(hindrance.why, remedy)
    })?;
    session.ui.print_json(&settings);
    Ok(())
}

fn answer(
    parameters: &BTreeMap<String, String>,
    deadline: Deadline,
) -> Result<Settings, Hindrance> {
    let given = parameters.iter();
    let given = given.map(|(name, value)| (name.as_str(), value.as_str()));
    let (params, _, _) = Params::parse_leniently(given);
    let pg = pg_ctl(&params).map_err(|refusal| Hindrance::of(&refusal.reason))?;
    let strange = || Hindrance::of(&"PostgreSQL did not say what its settings are");
    let mut session = local::postgres(&params, &pg.user, "cls")
        .connect(deadline)
        .map_err(|error| Hindrance::of(&error))?;
    let rows = session.simple(RUNNING, deadline);
    let rows = rows.map_err(|error| Hindrance::of(&error))?;
    let row: [Option<String>; 6] = rows
        .into_iter()
        .next()
        .and_then(|row| row.try_into().ok())
        .ok_or_else(strange)?;
    let [started, limits @ ..] = row;
    let mut values = [0; Limits::SETTINGS.len()];
    for (value, text) in values.iter_mut().zip(limits) {
        *value = text
            .and_then(|text| text.parse().ok())
            .ok_or_else(strange)?;
    }
    let rows = session.simple(PENDING, deadline);
    Ok(Settings {
        started: started.ok_or_else(strange)?,
        pending: printable_lines(rows.map_err(|error| Hindrance::of(&error))?),
        here: Limits::from_values(values),
        next: pg.limits_of_stopped(deadline).map_err(|error| {
            Hindrance::new(
                format!("PostgreSQL would not start again with its settings as they are: {error}"),
                "correct postgresql.conf (or postgresql.auto.conf) there, then give the command again",
            )
        })?,
    })
}

/// A question about settings, as [`PENDING`], to every node on which PostgreSQL runs. For a screen: nobody waits for
/// a node that does not answer.
#[derive(Debug, Clone)]
pub(crate) struct SettingsQuestion {
    request: Request,
    /// The node on which this program runs.
    here: Option<NodeName>,
    nodes: Vec<NodeName>,
}

impl SettingsQuestion {
    /// For the nodes of a cluster.
    pub(crate) fn of(cluster: &Cluster, deadline: Deadline) -> Self {
        let runs = |name: &&NodeName| cluster.node(name).role() != Role::Stopped;
        Self {
            request: Request::new(&cluster.params),
            here: cluster.local_node(deadline).ok(),
            nodes: cluster.names.iter().filter(runs).cloned().collect(),
        }
    }

    /// The same to the node on which this program runs, if it is one of them.
    pub(crate) fn here_alone(mut self) -> Self {
        self.nodes.retain(|node| Some(node) == self.here.as_ref());
        self
    }

    /// The same as the account that PostgreSQL runs as, for what a role for monitoring may not see.
    pub(crate) fn by_pgdba(self) -> Self {
        Self {
            request: self.request.by_pgdba(),
            ..self
        }
    }

    /// What this statement gives by node, of those that have answered.
    pub(crate) fn ask(&self, sql: &str, deadline: Deadline) -> Vec<(NodeName, Vec<String>)> {
        let ask = |node: &NodeName| match Some(node) == self.here.as_ref() {
            true => self.request.here(sql, deadline).ok(),
            false => self.request.ask(node, sql, deadline).ok(),
        };
        std::thread::scope(|scope| {
            let ask = &ask;
            let started: Vec<_> = self
                .nodes
                .iter()
                .map(|node| (node, scope.spawn(move || ask(node))))
                .collect();
            started
                .into_iter()
                .filter_map(|(node, thread)| {
                    Some((node.clone(), printable_lines(thread.join().ok()??)))
                })
                .collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_the_agent_has_raised_waits_as_well() {
        let limits = |connections| Limits::from_values([connections, 8, 10, 0, 64]);
        let settings = |next| Settings {
            started: "1".to_owned(),
            pending: vec!["shared_buffers".to_owned()],
            here: limits(100),
            next,
        };
        let with_limit = ["max_connections", "shared_buffers"];
        for (next, waiting) in [
            (None, &with_limit[1..]),
            (Some(limits(100)), &with_limit[1..]),
            (Some(limits(50)), &with_limit[..]),
            (Some(limits(200)), &with_limit[..]),
        ] {
            assert_eq!(settings(next).waiting(), waiting, "{next:?}");
        }
    }
}

//! Asking the primary's PostgreSQL: by its socket where it is this node, by the writer's address
//! otherwise, and where that does not let us in, by this program there over ssh.

use std::time::Duration;

use pha_core::names::NodeName;
use pha_host::clock::Deadline;
use pha_host::postgres::Postgres;
use pha_host::sql::{Session, TextRows};

use crate::cluster::Cluster;
use crate::commands::rows::Request;

/// How long the network may take before ssh is tried.
const NETWORK: Duration = Duration::from_millis(1_200);

/// Whether the role sees the sessions of others. Who does not is shown nothing of them, without an error: no
/// commit that waits, no backup, no long transaction.
const SEES: &str = "select pg_catalog.pg_has_role('pg_read_all_stats', 'usage')";

/// How the primary can be asked.
#[derive(Debug, Clone)]
pub(crate) struct Primary {
    local: Option<Result<Postgres, String>>,
    network: Result<Postgres, String>,
    request: Request,
    node: NodeName,
}

impl Primary {
    /// The primary on `node`.
    pub(crate) fn new(cluster: &Cluster, node: &NodeName, deadline: Deadline) -> Self {
        let here = cluster.local_node(deadline).ok();
        Self {
            local: (here.as_ref() == Some(node)).then(|| cluster.local_postgres()),
            network: cluster.remote_postgres(),
            request: Request::new(&cluster.params),
            node: node.clone(),
        }
    }

    /// The rows of one statement without data in it.
    pub(crate) fn rows(&self, sql: &str, deadline: Deadline) -> Result<TextRows, String> {
        if let Some(local) = &self.local {
            return seen_over_sql(local, sql, deadline);
        }
        let asked = seen_over_sql(&self.network, sql, deadline.sub_budget(NETWORK));
        self.or_over_ssh(asked, sql, deadline)
    }

    /// Asks for a checkpoint and waits for it. Who may do that need not see anything.
    pub(crate) fn checkpoint(&self, deadline: Deadline) -> Result<(), String> {
        const SQL: &str = "checkpoint";
        if let Some(local) = &self.local {
            return over_sql(local, SQL, deadline).map(drop);
        }
        let asked = over_sql(&self.network, SQL, deadline.sub_budget(NETWORK));
        self.or_over_ssh(asked, SQL, deadline).map(drop)
    }

    fn or_over_ssh(
        &self,
        asked: Result<TextRows, String>,
        sql: &str,
        deadline: Deadline,
    ) -> Result<TextRows, String> {
        asked.or_else(|network| {
            let answer = self.over_ssh(sql, deadline);
            // What the way over ssh asks for comes last, and what to do about it behind the semicolon.
            answer.map_err(|ssh| format!("{}, and {ssh}", network.replace("; ", ", ")))
        })
    }

    /// The same by this program on the primary's node, as the account that PostgreSQL belongs to.
    pub(crate) fn over_ssh(&self, sql: &str, deadline: Deadline) -> Result<TextRows, String> {
        self.request.ask(&self.node, sql, deadline)
    }
}

fn describe(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn connected(
    postgres: &Result<Postgres, String>,
    deadline: Deadline,
) -> Result<(&Postgres, Session), String> {
    let postgres = postgres.as_ref().map_err(Clone::clone)?;
    let session = postgres.connect(deadline).map_err(describe)?;
    Ok((postgres, session))
}

fn over_sql(
    postgres: &Result<Postgres, String>,
    sql: &str,
    deadline: Deadline,
) -> Result<TextRows, String> {
    let (_, mut session) = connected(postgres, deadline)?;
    session.simple(sql, deadline).map_err(describe)
}

/// The same where the role has to see what others do.
fn seen_over_sql(
    postgres: &Result<Postgres, String>,
    sql: &str,
    deadline: Deadline,
) -> Result<TextRows, String> {
    let (postgres, mut session) = connected(postgres, deadline)?;
    let sees = session.simple(SEES, deadline).map_err(describe)?;
    if !matches!(sees.first().map(Vec::as_slice), Some([Some(sees)]) if sees == "t") {
        let role = postgres.info.user_name();
        return Err(format!(
            "the role {role} does not see the sessions of others; run in SQL: grant pg_monitor to {role}"
        ));
    }
    session.simple(sql, deadline).map_err(describe)
}

//! Asking the primary's PostgreSQL: by its socket where it is this node, by the writer's address
//! otherwise, and where that does not let us in, by psql over ssh.

use std::time::Duration;

use pha_core::conninfo;
use pha_core::names::NodeName;
use pha_host::clock::Deadline;
use pha_host::postgres::Postgres;
use pha_host::sql::{Purpose, Session, TextRows, options};
use pha_host::ssh::Ssh;

use crate::cluster::Cluster;

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
    /// `psql` and its options, to be followed by the statement.
    psql: Vec<String>,
    host: String,
}

impl Primary {
    /// The primary on `node`.
    pub(crate) fn new(cluster: &Cluster, node: &NodeName, deadline: Deadline) -> Self {
        let here = cluster.local_node(deadline).ok();
        let params = &cluster.params;
        let mut psql: Vec<String> = ["runuser", "-u", &params.pgdba, "--", &params.psql, "-XAtq"]
            .map(str::to_owned)
            .to_vec();
        psql.extend(["-F", "\t", "-p"].map(str::to_owned));
        psql.push(params.pgport.to_string());
        if let Some(place) = params.pghost.as_deref().or(params.socketdir.as_deref()) {
            psql.extend(["-h".to_owned(), place.to_owned()]);
        }
        let options = options(None, Purpose::Agent, deadline.left());
        // No value of these is one that a connection string cannot hold; the check of pgdb sees to it.
        let place = conninfo::render([("dbname", params.pgdb.as_str()), ("options", &options)]);
        psql.extend(["-d".to_owned(), place.unwrap_or_default(), "-c".to_owned()]);
        Self {
            local: (here.as_ref() == Some(node)).then(|| cluster.local_postgres()),
            network: cluster.remote_postgres(),
            psql,
            host: node.to_string(),
        }
    }

    /// The rows of one statement without data in it. Values with a tab or a line break in them do
    /// not survive the way over ssh.
    pub(crate) fn rows(&self, sql: &str, deadline: Deadline) -> Result<TextRows, String> {
        if let Some(local) = &self.local {
            return over_sql(local, sql, deadline);
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
            answer.map_err(|ssh| format!("{network}; {ssh}"))
        })
    }

    /// The same by psql on the primary's node, as the account that PostgreSQL belongs to.
    pub(crate) fn over_ssh(&self, sql: &str, deadline: Deadline) -> Result<TextRows, String> {
        let words: Vec<&str> = self
            .psql
            .iter()
            .map(String::as_str)
            .chain(std::iter::once(sql))
            .collect();
        let output = Ssh::default()
            .exec(&self.host, &words, b"", deadline)
            .map_err(|error| error.to_string())?;
        if output.code != 0 {
            let said = output.error_text();
            return Err(format!(
                "psql on {} ended with status {}: {}",
                self.host,
                output.code,
                said.trim()
            ));
        }
        let column = |value: &str| (!value.is_empty()).then(|| value.to_owned());
        Ok(output
            .text()
            .lines()
            .map(|line| line.split('\t').map(column).collect())
            .collect())
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

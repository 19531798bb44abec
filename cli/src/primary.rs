//! Asking the primary's PostgreSQL: by its socket where it is this node, by the writer's address
//! otherwise, and where that does not let us in, by psql over ssh.

use std::time::Duration;

use pha_core::conninfo;
use pha_core::names::NodeName;
use pha_host::clock::Deadline;
use pha_host::postgres::Postgres;
use pha_host::sql::{Purpose, TextRows, options};
use pha_host::ssh::Ssh;

use crate::cluster::Cluster;

/// How long the network may take before ssh is tried.
const NETWORK: Duration = Duration::from_millis(1_200);

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
        match over_sql(&self.network, sql, deadline.sub_budget(NETWORK)) {
            Ok(rows) => Ok(rows),
            Err(network) => self
                .over_ssh(sql, deadline)
                .map_err(|ssh| format!("{network}; {ssh}")),
        }
    }

    fn over_ssh(&self, sql: &str, deadline: Deadline) -> Result<TextRows, String> {
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

fn over_sql(
    postgres: &Result<Postgres, String>,
    sql: &str,
    deadline: Deadline,
) -> Result<TextRows, String> {
    let describe = |error: &dyn std::fmt::Display| error.to_string();
    let postgres = postgres.as_ref().map_err(Clone::clone)?;
    let mut session = postgres.connect(deadline).map_err(|e| describe(&e))?;
    session.simple(sql, deadline).map_err(|e| describe(&e))
}

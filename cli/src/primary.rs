//! Asking the primary's PostgreSQL: by its socket where it is this node, by the writer's address
//! otherwise, and where that does not let us in, by this program there over ssh.

use std::time::Duration;

use pha_core::hindrance::Hindrance;
use pha_core::names::NodeName;
use pha_core::parse::server_view;
use pha_core::postgres::{Archiving, ServerView};
use pha_host::clock::Deadline;
use pha_host::postgres::{Postgres, PostgresError};
use pha_host::sql::TextRows;

use crate::cluster::Cluster;
use crate::commands::rows::{Refusal, Request};

/// How long the network may take before ssh is tried.
const NETWORK: Duration = Duration::from_millis(1_200);

/// Whether the role sees the sessions of others. Who does not is shown nothing of them, without an error: no
/// commit that waits, no backup, no long transaction.
const SEES: &str = "select pg_catalog.pg_has_role('pg_read_all_stats', 'usage'), pg_catalog.quote_ident(current_user)";

/// The files that are ready to be archived, and since when the oldest; none where nothing is archived.
const ARCHIVING: &str = "\
    select count(*), greatest(0, extract(epoch from clock_timestamp() - min(modification)))::bigint \
    from pg_catalog.pg_ls_archive_statusdir() where name like '%.ready' \
    and pg_catalog.current_setting('archive_mode') <> 'off' having count(*) > 0";

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

    /// The rows of statements without data in them, as a role that sees what others do.
    pub(crate) fn rows(&self, sql: &str, deadline: Deadline) -> Result<TextRows, Refusal> {
        self.each_way(&format!("{SEES}; {sql}"), deadline, seen)
    }

    /// What the server says about itself and its peers.
    pub(crate) fn view(&self, deadline: Deadline) -> Result<ServerView, Refusal> {
        let rows = self.rows(&server_view::question(), deadline)?;
        server_view::from_rows(rows).map_err(|error| PostgresError::from(error).into())
    }

    /// What it has to archive before it stops; none where that is nothing.
    pub(crate) fn archiving(&self, deadline: Deadline) -> Result<Option<Archiving>, Refusal> {
        let mut cells = self.rows(ARCHIVING, deadline)?.into_iter().flatten();
        let mut number = || cells.next().flatten()?.parse::<u64>().ok();
        let (waiting, oldest) = (number(), number());
        Ok(waiting.zip(oldest).map(|(waiting, oldest)| Archiving {
            waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
            oldest: Duration::from_secs(oldest),
        }))
    }

    /// Asks for a checkpoint and waits for it. Who may do that need not see anything.
    pub(crate) fn checkpoint(&self, deadline: Deadline) -> Result<(), Refusal> {
        self.each_way("checkpoint", deadline, Ok).map(drop)
    }

    /// By the first way whose answer can be used.
    fn each_way(
        &self,
        sql: &str,
        deadline: Deadline,
        usable: fn(TextRows) -> Result<TextRows, Refusal>,
    ) -> Result<TextRows, Refusal> {
        if let Some(local) = &self.local {
            return over_sql(local, sql, deadline).and_then(usable);
        }
        let network = over_sql(&self.network, sql, deadline.sub_budget(NETWORK)).and_then(usable);
        network.or_else(|network| {
            let answer = self.over_ssh(sql, deadline).and_then(usable);
            answer.map_err(|ssh| both(network, ssh))
        })
    }

    /// The same by this program on the primary's node, as the account that PostgreSQL belongs to.
    pub(crate) fn over_ssh(&self, sql: &str, deadline: Deadline) -> Result<TextRows, Refusal> {
        self.request.ask(&self.node, sql, deadline)
    }
}

/// Neither way led to an answer; what the way over ssh asks for leads further.
fn both(network: Refusal, ssh: Refusal) -> Refusal {
    let full = network.full || ssh.full;
    let (network, ssh) = (network.hindrance, ssh.hindrance);
    Refusal {
        hindrance: Hindrance {
            why: format!("{}, and {}", network.why, ssh.why),
            remedy: ssh.remedy.or(network.remedy),
        },
        full,
    }
}

fn over_sql(
    postgres: &Result<Postgres, String>,
    sql: &str,
    deadline: Deadline,
) -> Result<TextRows, Refusal> {
    let postgres = postgres.as_ref().map_err(|why| Hindrance::of(why))?;
    Ok(postgres.connect(deadline)?.simple(sql, deadline)?)
}

/// What comes behind the row of [`SEES`], if the role sees what others do.
fn seen(mut rows: TextRows) -> Result<TextRows, Refusal> {
    let first = (!rows.is_empty()).then(|| rows.remove(0));
    match first.as_deref() {
        Some([Some(sees), _]) if sees == "t" => Ok(rows),
        Some([_, Some(role)]) => Err(Hindrance::new(
            format!("the role {role} does not see the sessions of others"),
            format!("run in SQL: grant pg_monitor to {role}"),
        )
        .into()),
        _ => Err(Hindrance::of(&"PostgreSQL did not say what the role sees").into()),
    }
}

//! Where the WAL of a node ends.

use std::time::Duration;

use pha_core::lineage::{Lineage, Unproven};
use pha_core::names::NodeName;
use pha_core::postgres::{RoleView, ServerView};
use pha_core::snapshot::Process;
use pha_core::timeline::WalPosition;
use pha_host::clock::Deadline;
use pha_host::node::{memory_file, pg_ctl};
use pha_host::pgctl::PgCtl;
use pha_host::record::RecordFile;
use serde::{Deserialize, Serialize};

use crate::app::Session;
use crate::cluster::Cluster;
use crate::error::ClsError;
use crate::site;

/// Reading the WAL since the last checkpoint may take a while.
const LIMIT: Duration = Duration::from_secs(60);

/// What other nodes ask for, over ssh: the end of WAL on this node, as JSON.
pub(super) fn run(session: &Session) -> Result<(), ClsError> {
    let deadline = Deadline::after(session.common.timeout.unwrap_or(LIMIT));
    let cluster = Cluster::look(session, deadline)?;
    let answer = of_this_node(&cluster, deadline)
        .map_err(|why| ClsError::failed(why, "look at the data directory"))?;
    session.ui.print_json(&answer);
    Ok(())
}

/// The same, on this node.
pub(super) fn of_this_node(cluster: &Cluster, deadline: Deadline) -> Result<WalEnd, String> {
    let position = here(cluster, deadline)?;
    let (lineage, unproven) = own_data(cluster, position, deadline);
    Ok(WalEnd {
        position,
        system: cluster.local_system(),
        lineage,
        unproven,
    })
}

/// A node's answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct WalEnd {
    /// Where its WAL ends.
    pub(super) position: WalPosition,
    /// The system identifier of its data.
    pub(super) system: Option<u64>,
    /// The timelines that they are on by name.
    #[serde(default)]
    pub(super) lineage: Option<Lineage>,
    /// What is not proven of them.
    #[serde(default)]
    pub(super) unproven: Option<Unproven>,
}

/// The timelines of this node's data by name (R13), where that can be told, and what is not proven of them.
pub(super) fn own_data(
    cluster: &Cluster,
    end: WalPosition,
    deadline: Deadline,
) -> (Option<Lineage>, Option<Unproven>) {
    let file = RecordFile::beside(&memory_file(&cluster.resource));
    let Ok(pg) = pg_ctl(&cluster.params) else {
        return (None, None);
    };
    // Of a server that runs its record is believed without a look at the data.
    let Some(served) = served(pg.surely_running()) else {
        return (None, None);
    };
    let data = file.own_data(&pg, served, end.timeline, deadline.sub_budget(LIMIT));
    data.unwrap_or_default()
}

/// Whether a server is at work on the data; `None` where that cannot be told.
fn served<E>(seen: Result<Process, E>) -> Option<bool> {
    Some(seen.ok()? != Process::Absent)
}

/// The end of WAL on this node: a running server is asked, a stopped one's files are read.
pub(super) fn here(cluster: &Cluster, deadline: Deadline) -> Result<WalPosition, String> {
    let deadline = deadline.sub_budget(LIMIT);
    let pg = pg_ctl(&cluster.params).map_err(|refusal| refusal.reason)?;
    match pg.surely_running().map_err(|error| error.to_string())? {
        Process::Absent => {}
        Process::Alive { .. } => {
            let view = cluster
                .local_postgres()?
                .view(deadline)
                .map_err(|error| error.to_string())?;
            return of_server(&pg, &view, deadline);
        }
        Process::Orphans => {
            return Err(format!(
                "its postmaster is gone, and other server processes still work in {}",
                pg.pgdata.display()
            ));
        }
    }
    let control = pg
        .controldata(deadline)
        .map_err(|error| error.to_string())?;
    pg.end_of_wal(&control, deadline)
        .map_err(|error| error.to_string())
}

/// What a running server has on its disk.
fn of_server(pg: &PgCtl, view: &ServerView, deadline: Deadline) -> Result<WalPosition, String> {
    match &view.role {
        RoleView::Primary(primary) => Ok(WalPosition {
            timeline: primary.timeline,
            lsn: primary.links.flushed,
        }),
        RoleView::Standby(standby) => pg
            .end_of_standby(standby, deadline)
            .map_err(|error| error.to_string())?
            .ok_or_else(|| "the standby has neither received nor replayed anything".to_owned()),
    }
}

/// The end of WAL on another node, by the same program there.
pub(super) fn there(
    node: &NodeName,
    cluster: &Cluster,
    deadline: Deadline,
) -> Result<WalEnd, String> {
    let resource = format!("--resource={}", cluster.resource);
    let words = ["wal-end", &resource];
    site::ask_there(node, &words, b"", deadline.sub_budget(LIMIT))
        .map_err(|hindrance| hindrance.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_are_served_only_where_a_server_was_seen() {
        assert_eq!(served::<()>(Ok(Process::Absent)), Some(false));
        assert_eq!(served::<()>(Ok(Process::Orphans)), Some(true));
        let alive = Process::Alive { frozen: false };
        assert_eq!(served::<()>(Ok(alive)), Some(true));
        assert_eq!(served(Err("postmaster.pid cannot be read")), None);
    }
}

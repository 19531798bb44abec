//! What the nodes have durably seen of the register.

use pha_core::message;
use pha_core::names::{NodeName, ResourceName};
use pha_core::register::Seen;
use pha_host::clock::Deadline;
use pha_host::node::memory_file;
use pha_host::record::RecordFile;

use serde::{Deserialize, Serialize};

use crate::app::Session;
use crate::cluster::Cluster;
use crate::error::ClsError;
use crate::operate::ASK;
use crate::site;

/// What other nodes ask for, over ssh, as JSON.
pub(super) fn run(session: &Session, resource: &str) -> Result<(), ClsError> {
    let resource = resource.parse().map_err(|error| {
        ClsError::refused(format!("{error}"), "give the name of the database resource")
    })?;
    let seen = here(&resource).map_err(|why| ClsError::failed(why, "look at that file"))?;
    session.ui.print_json(&seen);
    Ok(())
}

/// A node's answer.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Kept {
    term: u64,
    /// Also one that was promised for.
    epoch: u64,
    /// The number of the newest timeline that it keeps.
    #[serde(default)]
    number: u32,
}

impl Kept {
    fn seen(self) -> Seen {
        Seen {
            term: self.term,
            epoch: self.epoch,
        }
    }
}

/// What this node has seen.
fn here(resource: &ResourceName) -> Result<Kept, String> {
    let memory = memory_file(resource)
        .load()
        .map_err(|error| error.to_string())?;
    let record = RecordFile::beside(&memory_file(resource))
        .load()
        .map_err(|error| error.to_string())?;
    let Seen { term, epoch } = memory.highest();
    Ok(Kept {
        term,
        epoch,
        number: record
            .and_then(|record| record.lineage.last())
            .map_or(0, |name| name.number.get()),
    })
}

/// What all nodes have seen together.
#[derive(Debug, Default)]
pub(super) struct ByAll {
    /// Those that could be asked.
    pub(super) known: Seen,
    /// The same, with what one that could not be asked may have seen beyond it.
    pub(super) allowed: Seen,
    /// The highest number of a timeline that they keep.
    pub(super) number: u32,
}

/// What all nodes have seen, and the highest number of a timeline that they keep. One that cannot be asked is told and allowed for.
pub(super) fn by_all(
    session: &Session,
    cluster: &Cluster,
    deadline: Deadline,
) -> Result<ByAll, ClsError> {
    let local = cluster.local_node(deadline)?;
    let nodes = cluster.nodes().into_iter().map(|node| {
        let seen = match node == local {
            true => here(&cluster.resource),
            false => there(&node, &cluster.resource, deadline),
        };
        let seen = seen.map_err(|why| {
            session.ui.progress(&format!(
                "what {node} has seen of the register is not known: {why}"
            ));
        });
        (node, seen.ok())
    });
    let nodes: Vec<_> = nodes.collect();
    let known: Vec<_> = nodes
        .iter()
        .filter_map(|(node, seen)| Some((node.clone(), (*seen)?.seen())))
        .collect();
    if let Some((ahead, behind)) = Seen::apart(&known) {
        let file = memory_file(&cluster.resource);
        return Err(ClsError::refused(
            message!(
                "{ahead} remembers a term or an epoch more than 2^20 beyond what {behind} does; no register can satisfy both",
                ahead,
                behind
            ),
            message!(
                "remove what {ahead} remembers, on {ahead} where PostgreSQL is stopped or a standby: rm {file}; then give the command again",
                ahead,
                file = file.path().display().to_string()
            ),
        ));
    }
    let kept = || nodes.iter().map(|(_, kept)| *kept);
    let number = kept().flatten().map(|kept| kept.number).max();
    Ok(ByAll {
        known: Seen::of_all(known.into_iter().map(|(_, seen)| Some(seen))),
        allowed: Seen::of_all(kept().map(|kept| kept.map(Kept::seen))),
        number: number.unwrap_or(0),
    })
}

/// What another node has seen, by the same program there.
fn there(node: &NodeName, resource: &ResourceName, deadline: Deadline) -> Result<Kept, String> {
    let words = ["seen", resource.as_str()];
    site::ask_there(node, &words, b"", deadline.sub_budget(ASK))
        .map_err(|hindrance| hindrance.to_string())
}

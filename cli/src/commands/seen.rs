//! What the nodes have durably seen of the register.

use pha_core::names::{NodeName, ResourceName};
use pha_core::quoted::printable;
use pha_core::register::Seen;
use pha_host::clock::Deadline;
use pha_host::node::memory_file;
use pha_host::ssh::Ssh;

use crate::app::Session;
use crate::cluster::Cluster;
use crate::error::ClsError;
use crate::operate::ASK;

/// What other nodes ask for, over ssh, as JSON.
pub(super) fn run(session: &Session, resource: &str) -> Result<(), ClsError> {
    let resource = resource.parse().map_err(|error| {
        ClsError::refused(format!("{error}"), "give the name of the database resource")
    })?;
    let seen = here(&resource).map_err(|why| ClsError::failed(why, "look at that file"))?;
    session.ui.print_json(&seen);
    Ok(())
}

/// What this node has seen.
fn here(resource: &ResourceName) -> Result<Seen, String> {
    let memory = memory_file(resource)
        .load()
        .map_err(|error| error.to_string())?;
    Ok(Seen {
        term: memory.term,
        epoch: memory.epoch.max(memory.promised.unwrap_or(0)),
    })
}

/// What all nodes have seen. One that cannot be asked is told and allowed for.
pub(super) fn by_all(
    session: &Session,
    cluster: &Cluster,
    deadline: Deadline,
) -> Result<Seen, ClsError> {
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
        .filter_map(|(node, seen)| Some((node.clone(), (*seen)?)))
        .collect();
    if let Some((ahead, behind)) = Seen::apart(&known) {
        let file = memory_file(&cluster.resource);
        return Err(ClsError::refused(
            format!(
                "{ahead} remembers a term or an epoch more than 2^20 beyond what {behind} does; no register can satisfy both"
            ),
            format!(
                "remove what {ahead} remembers, on {ahead} where PostgreSQL is stopped or a standby: rm {}; then give the command again",
                file.path().display()
            ),
        ));
    }
    Ok(Seen::of_all(nodes.into_iter().map(|(_, seen)| seen)))
}

/// What another node has seen, by the same program there.
fn there(node: &NodeName, resource: &ResourceName, deadline: Deadline) -> Result<Seen, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let argv = [
        &program.to_string_lossy(),
        "internal",
        "seen",
        resource.as_str(),
    ];
    let output = Ssh::default()
        .exec(node.as_str(), &argv, b"", deadline.sub_budget(ASK))
        .map_err(|error| error.to_string())?;
    if output.code != 0 {
        let said = output.error_text();
        return Err(said.lines().next().unwrap_or("it said nothing").to_owned());
    }
    serde_json::from_str(&output.text())
        .map_err(|error| format!("{node} answered: {}", printable(&error.to_string(), 300)))
}

//! Before an operator's decision: the nodes that could be primaries by promises give way (R7, R15).

use std::collections::BTreeMap;
use std::time::Duration;

use pha_core::decide::operator::{RecoveryFacts, gives_way_at, plan_recovery, to_give_way};
use pha_core::names::{NodeName, ResourceName};
use pha_core::register::GaveWay;
use pha_host::clock::Deadline;
use pha_host::promise::give_way;

use crate::app::Session;
use crate::cluster::Cluster;
use crate::error::ClsError;
use crate::site;

/// How long a promotion that is under way there may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// What other nodes ask for, over ssh, as JSON.
pub(super) fn run(session: &Session, resource: &str, epoch: u64) -> Result<(), ClsError> {
    let resource: ResourceName = resource.parse().map_err(|error| {
        ClsError::refused(format!("{error}"), "give the name of the database resource")
    })?;
    let answer = give_way(&resource, epoch, Deadline::after(PATIENCE))
        .map_err(|why| ClsError::failed(why, "cls_status on that node"))?;
    session.ui.print_json(&answer);
    Ok(())
}

/// Asks each node that has to give way, and adds to the facts what it has answered; no further one where that
/// is against the decision.
pub(super) fn asked_of(
    session: &Session,
    cluster: &Cluster,
    mut facts: RecoveryFacts,
    deadline: Deadline,
) -> Result<RecoveryFacts, ClsError> {
    let here = cluster.local_node(deadline)?;
    let epoch = gives_way_at(&facts);
    let nodes = to_give_way(&facts);
    let mut answers = BTreeMap::new();
    for node in nodes {
        session.ui.progress(&format!(
            "asking {node} to neither use nor give promises from here on"
        ));
        let deadline = deadline.sub_budget(PATIENCE + Duration::from_secs(5));
        let answer = match node == here {
            true => give_way(&cluster.resource, epoch, deadline.sub_budget(PATIENCE)),
            false => there(&node, &cluster.resource, epoch, deadline),
        };
        answers.insert(node, answer);
        facts.gave_way = Some(answers.clone());
        if plan_recovery(&facts).is_err() {
            break;
        }
    }
    facts.gave_way = Some(answers);
    Ok(facts)
}

fn there(
    node: &NodeName,
    resource: &ResourceName,
    epoch: u64,
    deadline: Deadline,
) -> Result<GaveWay, String> {
    let epoch = epoch.to_string();
    let words = ["give-way", resource.as_str(), &epoch];
    site::ask_there(node, &words, b"", deadline).map_err(|hindrance| hindrance.to_string())
}

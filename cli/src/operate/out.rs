//! What is looked at before PostgreSQL is taken out of service.

use pha_core::decide::operator::{self, OutFacts};
use pha_core::names::NodeName;
use pha_core::status::Role;

use super::register;
use crate::cluster::Cluster;
use crate::commands::online_switch::ask;
use crate::error::ClsError;

/// Sees that an order to stop PostgreSQL, on this node or on every node, would be carried out now, and as it
/// is meant.
///
/// # Errors
/// [`ClsError::Refused`]; nothing was changed.
pub(crate) fn may_be_taken_out(
    cluster: &Cluster,
    node: Option<&NodeName>,
    force: bool,
) -> Result<(), ClsError> {
    let view = &cluster.view;
    let promoted = |name: &&NodeName| cluster.node(name).role() == Role::Promoted;
    let primary = node.filter(promoted).or_else(|| view.one_promoted());
    let stops = primary.filter(|primary| node.is_none_or(|node| node == *primary));
    let left_alone = match node {
        Some(node) => view.left_alone([node]),
        None => view.left_alone(view.busy_nodes()),
    };
    let register = match node.filter(|_| !force) {
        Some(_) => register(cluster)?,
        None => None,
    };
    let archiving = stops.filter(|_| !force && left_alone.is_none());
    let archiving = archiving.and_then(|primary| ask(cluster, primary).archiving);
    operator::may_be_taken_out(&OutFacts {
        node: node.cloned(),
        primary: primary.cloned(),
        successor: view.can_be_taken_over(),
        synchronous: node.is_some_and(|node| cluster.node(node).is_synchronous()),
        seen: view.seen,
        left_alone,
        register,
        archiving,
        force,
    })
    .map_err(|refusal| (*refusal).into())
}

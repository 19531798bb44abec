//! Pacemaker's own daemons.
//!
//! `pacemakerd` does not start a daemon again that ended in a moment when it could not reach corosync, and a signal that
//! arrives while it asks is such a moment: several daemons that end together, as they do when the one for the
//! information base ends. It says "Not respawning … until cluster returns", and never does (2.1.5).

use super::{Level, Observation, Problem, problem};
use crate::cluster::ClusterNode;
use crate::message;
use crate::message::Message;
use crate::names::NodeName;
use crate::parse::cpg::Groups;
use crate::status::Role;

pub(super) fn missing(seen: &Observation<'_>) -> Vec<Problem> {
    let found = seen.members().filter_map(|(name, _)| {
        let (text, remedy) = seen.in_part(name)?;
        Some(problem(Level::Warning, text, remedy).on(name))
    });
    found.collect()
}

/// What is said of a node whose Pacemaker runs without one of its daemons, and what to type; `None` where none is
/// missing, or all are.
#[must_use]
pub fn in_part(name: &NodeName, node: &ClusterNode, groups: &Groups) -> Option<(Message, Message)> {
    let missing = groups.missing(&node.id);
    if missing.is_empty() {
        return None;
    }
    let names = missing.join(", ");
    let text = message!(
        "Pacemaker runs on {name} without {names}: it is starting or stopping, or has lost it and does not start it again",
        name,
        names
    );
    // Its attribute manager takes the node's scores with it when it comes back, and a primary without a score is demoted.
    let remedy = if node.role() == Role::Promoted {
        message!(
            "wait ten seconds and look again; if it stays so: cls_unmanage, on {name}: pkill -KILL -x pacemakerd; systemctl start pacemaker, and then cls_manage",
            name
        )
    } else {
        start_again(name)
    };
    Some((text, remedy))
}

/// What to do on a node whose Pacemaker runs in part. An orderly stop would wait for the missing daemon for 20 minutes;
/// a `pacemakerd` that starts takes over the daemons that run and starts the others, and what they manage goes on.
pub(super) fn start_again(here: &NodeName) -> Message {
    message!(
        "wait ten seconds and look again; if it stays so, on {here}: pkill -KILL -x pacemakerd; systemctl start pacemaker",
        here
    )
}

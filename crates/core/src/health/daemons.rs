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

/// What is typed where PostgreSQL is to be stopped, and not Pacemaker mended, on a node whose Pacemaker runs in part:
/// an order that a whole node gives reaches this one's configuration, so that nothing starts or takes over once it
/// stands, and what goes on here is stopped by hand. `first` is what mends Pacemaker, `whole` a node that has all of its
/// daemons, `by_hand` the command for PostgreSQL.
#[must_use]
pub fn stops_by(first: &Message, whole: Option<&NodeName>, by_hand: &str) -> Message {
    match whole {
        Some(whole) => message!(
            "{first}, then cls_stop; where PostgreSQL has to stop at once: cls_stop on {whole}, and what goes on here then: {by_hand}",
            first,
            whole,
            by_hand
        ),
        None => message!("{first}, then cls_stop", first),
    }
}

/// The same where the order was given, and PostgreSQL goes on there: what has happened, and what to type.
#[must_use]
pub fn goes_on(node: &NodeName, missing: &Message, by_hand: &str) -> (Message, Message) {
    (
        message!(
            "the order to stop stands, so that nothing is started any more, but PostgreSQL goes on: {missing}",
            missing
        ),
        message!(
            "on {node}: {by_hand}; then mend Pacemaker there, as cls_status says",
            node,
            by_hand
        ),
    )
}

impl Observation<'_> {
    /// What is said of a node whose Pacemaker runs in part.
    pub(super) fn in_part(&self, name: &NodeName) -> Option<(Message, Message)> {
        in_part(name, self.node(name)?, self.daemons?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn in_an_emergency_there_is_something_to_type() {
        let (node1, node2): (NodeName, NodeName) =
            ("node1".parse().unwrap(), "node2".parse().unwrap());
        let stop = "runuser -u postgres -- /bin/pg_ctl -D /data -m fast stop";
        let first = start_again(&node1);
        let said = stops_by(&first, Some(&node2), stop).to_string();
        assert!(
            said.ends_with(
                "systemctl start pacemaker, then cls_stop; where PostgreSQL has to stop at once: cls_stop on node2, and what goes on here then: runuser -u postgres -- /bin/pg_ctl -D /data -m fast stop"
            ),
            "{said}"
        );
        // Without such a node nobody can be told not to take over.
        let said = stops_by(&first, None, stop).to_string();
        assert!(
            said.ends_with("systemctl start pacemaker, then cls_stop"),
            "{said}"
        );
        assert!(!said.contains("runuser"), "{said}");
        let (what, next) = goes_on(&node2, &Message::from("it lacks a daemon"), stop);
        assert!(
            what.to_string().contains("nothing is started any more"),
            "{what}"
        );
        assert!(next.to_string().starts_with("on node2: runuser"), "{next}");
    }
}

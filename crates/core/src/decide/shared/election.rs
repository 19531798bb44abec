//! The first primary (R0): who has the newest data.

use crate::cluster::Cluster;
use crate::names::NodeName;

/// The result of comparing what the nodes reported.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Election {
    /// This node has the newest data of all.
    Winner(NodeName),
    /// These nodes have not reported their end of WAL, so nobody can be chosen.
    WaitingFor(Vec<NodeName>),
}

/// Elects by timeline, then end of WAL, once **every** node of `node_list` has reported its own (R0).
/// Among equals the node that was primary before comes first, then the order of `node_list`.
pub fn elect(nodes: &[NodeName], cluster: &Cluster, before: Option<&NodeName>) -> Election {
    let missing: Vec<NodeName> = nodes
        .iter()
        .filter(|name| {
            let node = cluster.node(name);
            !node.online || node.position.is_none()
        })
        .cloned()
        .collect();
    if !missing.is_empty() {
        return Election::WaitingFor(missing);
    }
    let best = nodes.iter().enumerate().max_by_key(|(index, name)| {
        (
            cluster.node(name).position,
            before == Some(name),
            std::cmp::Reverse(*index),
        )
    });
    match best {
        Some((_, name)) => Election::Winner(name.clone()),
        None => Election::WaitingFor(vec![]),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cluster::ClusterNode;
    use crate::lsn::Lsn;
    use crate::timeline::{TimelineId, WalPosition};

    fn cluster(reports: &[(&str, Option<(u32, u64)>)]) -> Cluster {
        let mut cluster = Cluster::default();
        for (name, report) in reports {
            let position = report.map(|(timeline, lsn)| WalPosition {
                timeline: TimelineId::new(timeline).unwrap(),
                lsn: Lsn::new(lsn),
            });
            let node = ClusterNode {
                online: true,
                position,
                ..ClusterNode::default()
            };
            cluster.nodes.insert(name.parse().unwrap(), node);
        }
        cluster
    }

    #[test]
    fn the_newest_data_wins_wherever_it_is() {
        let nodes: Vec<NodeName> = ["node1", "node2"].map(|n| n.parse().unwrap()).to_vec();
        let win = |name: &str| Election::Winner(name.parse().unwrap());
        let both = |a, b| cluster(&[("node1", Some(a)), ("node2", Some(b))]);
        assert_eq!(elect(&nodes, &both((1, 100), (1, 200)), None), win("node2"));
        assert_eq!(elect(&nodes, &both((2, 100), (1, 200)), None), win("node1"));
        assert_eq!(elect(&nodes, &both((1, 200), (1, 200)), None), win("node1"));
        assert_eq!(
            elect(&nodes, &both((1, 200), (1, 200)), Some(&nodes[1])),
            win("node2")
        );
    }

    #[test]
    fn one_silent_node_leaves_the_choice_to_the_operator() {
        let nodes: Vec<NodeName> = ["node1", "node2"].map(|n| n.parse().unwrap()).to_vec();
        let partial = cluster(&[("node1", Some((1, 100))), ("node2", None)]);
        assert_eq!(
            elect(&nodes, &partial, None),
            Election::WaitingFor(vec![nodes[1].clone()])
        );
        assert_eq!(
            elect(&nodes, &Cluster::default(), None),
            Election::WaitingFor(nodes)
        );
    }
}

//! The emergency: no node may be promoted, and an operator decides whose data to go on with.

use super::Refusal;
use crate::names::NodeName;
use crate::register::{Reading, Register};
use crate::timeline::WalPosition;

/// What is known of one node's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePosition {
    /// The node.
    pub node: NodeName,
    /// It is a member of the cluster and in service, so that it could be promoted.
    pub usable: bool,
    /// The end of its WAL, or why it is not known.
    pub end: Result<WalPosition, String>,
}

/// What was observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryFacts {
    /// `--node`.
    pub wanted: Option<NodeName>,
    /// The resource replicates.
    pub replicated: bool,
    /// The nodes on which the database is promoted.
    pub promoted: Vec<NodeName>,
    /// Every node that should run the database.
    pub nodes: Vec<NodePosition>,
    /// The register; none without the built-in lock service.
    pub register: Option<Reading>,
}

/// What will be done, and what it costs.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryPlan {
    /// The node that is to be primary.
    pub node: NodeName,
    /// The register that the decision is made on.
    pub register: Option<Register>,
    /// What would be lost, a sentence each; empty if nothing that is known of.
    pub losses: Vec<String>,
}

/// One precondition.
pub struct RecoveryRule {
    /// A stable name.
    pub id: &'static str,
    /// What it asks for, in one sentence.
    pub says: &'static str,
    /// What is not so, and what to type.
    pub check: fn(&RecoveryFacts) -> Option<(String, String)>,
}

/// The preconditions, in their order.
pub const RECOVERY_RULES: &[RecoveryRule] = &[
    RecoveryRule {
        id: "recovery-replicated",
        says: "The database must be replicated.",
        check: |facts| {
            (!facts.replicated).then(|| {
                (
                    "the database is not replicated, so no primary is elected".to_owned(),
                    "cls_start".to_owned(),
                )
            })
        },
    },
    RecoveryRule {
        id: "recovery-no-primary",
        says: "There is no primary: a running one is never replaced this way.",
        check: |facts| {
            let primary = facts.promoted.first()?;
            Some((
                format!("{primary} is the primary, so there is no emergency"),
                "to change it: cls_online_switch".to_owned(),
            ))
        },
    },
    RecoveryRule {
        id: "recovery-known-node",
        says: "The node asked for is one of the database's.",
        check: |facts| {
            let wanted = facts.wanted.as_ref()?;
            (!facts.nodes.iter().any(|node| node.node == *wanted)).then(|| {
                let nodes: Vec<&str> = facts.nodes.iter().map(|node| node.node.as_str()).collect();
                (
                    format!("{wanted} is not one of the database's nodes"),
                    format!("one of {} is expected", nodes.join(", ")),
                )
            })
        },
    },
    RecoveryRule {
        id: "recovery-usable-node",
        says: "The chosen node is in the cluster, and the end of its WAL is known.",
        check: |facts| match chosen(facts) {
            None => Some((
                "no node is in the cluster whose end of WAL can be told".to_owned(),
                "start a node, or mend its data directory; cls_status".to_owned(),
            )),
            Some(node) if !node.usable => Some((
                format!("{} is not in service", node.node),
                format!(
                    "start Pacemaker on {0}, or cls_unstandby_node {0}",
                    node.node
                ),
            )),
            Some(node) => node.end.as_ref().err().map(|why| {
                (
                    format!("the end of WAL on {} cannot be told: {why}", node.node),
                    "give another node with --node".to_owned(),
                )
            }),
        },
    },
    RecoveryRule {
        id: "recovery-register",
        says: "The register can be read: what is decided is written there first.",
        check: |facts| match facts.register.as_ref()? {
            Reading::Row(_) => None,
            Reading::Missing => Some((
                "the register has no row for this cluster".to_owned(),
                "distlock init makes one".to_owned(),
            )),
            Reading::Damaged(text) => Some((
                format!("the register is damaged: {text}"),
                "look at it with distlock show".to_owned(),
            )),
            Reading::Unknown(trouble) => Some((
                format!("the decision cannot be registered: {trouble}"),
                "bring the lock service back, then try again".to_owned(),
            )),
        },
    },
    RecoveryRule {
        id: "recovery-lease",
        says: "No lease runs: its owner may be alive and serving on the other side of a partition.",
        check: |facts| match facts.register.as_ref()? {
            Reading::Row(row) if !row.lease_left.is_zero() => {
                let owner = row.owner.as_ref()?;
                Some((
                    format!("the lease of {owner} still runs for {} ms", row.lease_left.as_millis()),
                    "wait for its end; if it is renewed, the primary lives where this node cannot see it".to_owned(),
                ))
            }
            _ => None,
        },
    },
    RecoveryRule {
        id: "recovery-newest-without-register",
        says: "Without a register nothing but the newest data of all nodes can be elected.",
        check: |facts| {
            if facts.register.is_some() {
                return None;
            }
            let unknown: Vec<&str> = facts
                .nodes
                .iter()
                .filter(|node| !node.usable || node.end.is_err())
                .map(|node| node.node.as_str())
                .collect();
            if !unknown.is_empty() {
                return Some((
                    format!(
                        "without the built-in lock service every node must report its data, and {} does not",
                        unknown.join(", ")
                    ),
                    "start the missing nodes".to_owned(),
                ));
            }
            let (chosen, newest) = (chosen(facts)?, newest(facts)?);
            (end(chosen) < end(newest)).then(|| {
                (
                    format!("without the built-in lock service the newest data are elected, those of {}", newest.node),
                    format!("cls_recovery_master --node {}", newest.node),
                )
            })
        },
    },
];

fn end(node: &NodePosition) -> Option<WalPosition> {
    node.end.as_ref().ok().copied()
}

/// The usable node with the newest timeline and most WAL. Among equals a holder comes first, then
/// the order of `node_list`.
fn newest(facts: &RecoveryFacts) -> Option<&NodePosition> {
    let holders = match &facts.register {
        Some(Reading::Row(row)) => Some(&row.holders),
        _ => None,
    };
    facts
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| node.usable && node.end.is_ok())
        .max_by_key(|(index, node)| {
            let holder = holders.is_some_and(|holders| holders.contains(&node.node));
            (end(node), holder, std::cmp::Reverse(*index))
        })
        .map(|(_, node)| node)
}

fn chosen(facts: &RecoveryFacts) -> Option<&NodePosition> {
    match &facts.wanted {
        Some(wanted) => facts.nodes.iter().find(|node| node.node == *wanted),
        None => newest(facts),
    }
}

/// Decides which node is to be primary, and says what is lost with it.
///
/// # Errors
/// The first precondition that does not hold.
pub fn plan_recovery(facts: &RecoveryFacts) -> Result<RecoveryPlan, Refusal> {
    for rule in RECOVERY_RULES {
        if let Some((what, hint)) = (rule.check)(facts) {
            return Err(Refusal::new(rule.id, what, hint));
        }
    }
    let Some(chosen) = chosen(facts) else {
        return Err(Refusal::new(
            "recovery-usable-node",
            "no node can be chosen",
            "cls_status",
        ));
    };
    Ok(RecoveryPlan {
        node: chosen.node.clone(),
        register: match &facts.register {
            Some(Reading::Row(row)) => Some(row.clone()),
            _ => None,
        },
        losses: losses(facts, chosen),
    })
}

/// What is known of what the others have and the chosen one has not.
fn losses(facts: &RecoveryFacts, chosen: &NodePosition) -> Vec<String> {
    let mut losses = Vec::new();
    let Some(own) = end(chosen) else {
        return losses;
    };
    if let Some(Reading::Row(row)) = &facts.register
        && row.term > 0
        && !row.holders.contains(&chosen.node)
    {
        let holders: Vec<&str> = row.holders.iter().map(NodeName::as_str).collect();
        losses.push(format!(
            "{} is not known to hold every acknowledged commit; {} is",
            chosen.node,
            holders.join(", ")
        ));
        let recorded = row.positions.values().max();
        if let Some(recorded) = recorded.filter(|recorded| **recorded > own.lsn) {
            losses.push(format!(
                "the last primary was seen at {recorded}, {} bytes past what {} has; it may have written more",
                recorded.distance(own.lsn),
                chosen.node
            ));
        }
    }
    for other in facts.nodes.iter().filter(|node| node.node != chosen.node) {
        match &other.end {
            Err(why) => losses.push(format!("what {} has is not known: {why}", other.node)),
            Ok(theirs) if *theirs > own => losses.push(format!(
                "{} has WAL up to {} on timeline {}, which {} has not",
                other.node, theirs.lsn, theirs.timeline, chosen.node
            )),
            Ok(_) => {}
        }
    }
    losses
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;
    use crate::lsn::Lsn;
    use crate::register::Trouble;
    use crate::timeline::TimelineId;

    fn name(text: &str) -> NodeName {
        text.parse().unwrap()
    }

    fn node(node: &str, timeline: u32, lsn: u64) -> NodePosition {
        NodePosition {
            node: name(node),
            usable: true,
            end: Ok(WalPosition {
                timeline: TimelineId::new(timeline).unwrap(),
                lsn: Lsn::new(lsn),
            }),
        }
    }

    /// D1: the old primary, which committed alone, is lost; the other one is no holder.
    fn d1() -> RecoveryFacts {
        RecoveryFacts {
            wanted: None,
            replicated: true,
            promoted: vec![],
            nodes: vec![
                NodePosition {
                    usable: false,
                    end: Err("no answer".to_owned()),
                    ..node("node1", 1, 0)
                },
                node("node2", 1, 0x3000),
            ],
            register: Some(Reading::Row(Register {
                owner: Some(name("node1")),
                term: 1,
                epoch: 4,
                holders: [name("node1")].into(),
                positions: [(name("node1"), Lsn::new(0x4000))].into(),
                ..Register::fresh()
            })),
        }
    }

    #[test]
    fn the_loss_is_told() {
        let plan = plan_recovery(&d1()).unwrap();
        assert_eq!(plan.node, name("node2"));
        let text = plan.losses.join("\n");
        for expected in ["node1", "4096 bytes", "not known: no answer"] {
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn the_newest_is_chosen_and_a_holder_among_equals() {
        let mut facts = d1();
        facts.nodes = vec![
            node("node1", 1, 9),
            node("node2", 2, 3),
            node("node3", 1, 9),
        ];
        assert_eq!(plan_recovery(&facts).unwrap().node, name("node2"));
        facts.nodes[1] = node("node2", 1, 9);
        assert_eq!(plan_recovery(&facts).unwrap().node, name("node1"));
        if let Some(Reading::Row(row)) = &mut facts.register {
            row.holders = [name("node3")].into();
        }
        let plan = plan_recovery(&facts).unwrap();
        assert_eq!((plan.node, plan.losses), (name("node3"), vec![]));
    }

    #[test]
    fn each_refusal() {
        type Change = fn(&mut RecoveryFacts);
        let cases: Vec<(&str, Change)> = vec![
            ("recovery-replicated", |f| f.replicated = false),
            ("recovery-no-primary", |f| f.promoted = vec![name("node1")]),
            ("recovery-known-node", |f| f.wanted = Some(name("node9"))),
            ("recovery-usable-node", |f| f.wanted = Some(name("node1"))),
            ("recovery-usable-node", |f| f.nodes.truncate(1)),
            ("recovery-usable-node", |f| {
                f.wanted = Some(name("node2"));
                f.nodes[1].end = Err("no control file".to_owned());
            }),
            ("recovery-register", |f| f.register = Some(Reading::Missing)),
            ("recovery-register", |f| {
                f.register = Some(Reading::Damaged("x".into()))
            }),
            ("recovery-register", |f| {
                f.register = Some(Reading::Unknown(Trouble::Unreachable("x".into())));
            }),
            ("recovery-lease", |f| {
                if let Some(Reading::Row(row)) = &mut f.register {
                    row.lease_left = Duration::from_secs(3);
                }
            }),
            ("recovery-newest-without-register", |f| f.register = None),
            ("recovery-newest-without-register", |f| {
                f.register = None;
                f.nodes[0] = node("node1", 2, 5);
                f.wanted = Some(name("node2"));
            }),
        ];
        for (id, change) in &cases {
            let mut facts = d1();
            change(&mut facts);
            assert_eq!(plan_recovery(&facts).unwrap_err().id, *id, "{facts:?}");
        }
        for rule in RECOVERY_RULES {
            assert!(
                cases.iter().any(|(id, _)| *id == rule.id),
                "{} is not tried",
                rule.id
            );
        }
    }
}

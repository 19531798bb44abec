//! What holds of every change, whoever asks for it and in whatever order.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::lsn::Lsn;
use crate::names::NodeName;

const TTL: Duration = Duration::from_secs(30);

fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

fn lsn(bytes: u64) -> Lsn {
    Lsn::new(bytes)
}

fn any_node() -> impl Strategy<Value = NodeName> {
    prop::sample::select(vec![node("a"), node("b"), node("c")])
}

fn any_nodes() -> impl Strategy<Value = BTreeSet<NodeName>> {
    prop::collection::btree_set(any_node(), 0..4)
}

/// A change of the given kind that somebody who has just read `row` might ask for.
fn change(kind: u8, node: NodeName, holders: BTreeSet<NodeName>, row: &Register) -> Update {
    match kind {
        0 => Update::FirstPrimary { node, ttl: TTL },
        1 => Update::promote(row, node, TTL),
        2 => Update::set_holders(row, node, holders, TTL),
        3 => Update::Leave { node },
        4 => Update::Release {
            node,
            term: row.term,
        },
        5 => Update::HandOver {
            successor: holders.first().unwrap_or(&node).clone(),
            node,
            term: row.term,
            from_epoch: row.epoch,
            position: lsn(row.epoch),
        },
        _ => Update::Renew {
            positions: BTreeMap::from([(node.clone(), lsn(row.epoch))]),
            node,
            term: row.term,
            ttl: TTL,
        },
    }
}

proptest! {
    /// From any row that the rules can make: terms and epochs never fall, the owner is a holder,
    /// some node is a holder, and positions belong to holders.
    #[test]
    fn no_sequence_of_changes_breaks_the_row(
        steps in prop::collection::vec((0u8..7, any_node(), any_nodes(), any::<bool>()), 1..60)
    ) {
        let mut row = Register::fresh();
        for (kind, node, holders, expire) in steps {
            if let Some(next) = change(kind, node, holders, &row).apply(&row) {
                prop_assert!(next.term >= row.term && next.epoch >= row.epoch);
                prop_assert!(next.owner.as_ref().is_none_or(|owner| next.holders.contains(owner)));
                prop_assert!(next.term == 0 || !next.holders.is_empty());
                prop_assert!(next.positions.keys().all(|node| next.holders.contains(node)));
                row = next;
            }
            if expire {
                row.lease_left = Duration::ZERO;
            }
        }
    }
}

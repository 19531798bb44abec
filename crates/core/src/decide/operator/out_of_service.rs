//! Taking PostgreSQL out of service: one node (`cls_standby_node`), or all of them (`cls_stop`).
//!
//! Both leave an order in the cluster's configuration that outlives the command. So it is looked at
//! beforehand whether Pacemaker would carry it out now and not some day later, and whether clients can go
//! on writing where the operator means them to.

use super::{Precondition, Refusal, all_hold, mend_archive};
use crate::message;
use crate::message::Message;
use crate::names::NodeName;
use crate::postgres::Archiving;
use crate::register::{NotTheOwner, Reading, Seen, names_primary};

/// What was observed before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutFacts {
    /// The node that is taken out; none: PostgreSQL is stopped on every node.
    pub node: Option<NodeName>,
    /// The node that is primary, if there is one.
    pub primary: Option<NodeName>,
    /// What is concerned and Pacemaker does not act on, and what to type about it.
    pub left_alone: Option<(Message, Message)>,
    /// Whether a standby may be promoted now.
    pub successor: bool,
    /// Whether the node streams from the primary, and commits wait for it.
    pub synchronous: bool,
    /// The register; none without the built-in lock service.
    pub register: Option<Reading>,
    /// How far the cluster was told that the register has come.
    pub seen: Option<Seen>,
    /// What the primary has to archive before it stops, where it stops; none where that is not known.
    pub archiving: Option<Archiving>,
    /// `--force`: also where writes would stand still.
    pub force: bool,
}

impl OutFacts {
    /// Whether the node that is taken out is the primary, for which another one is to take over.
    fn takes_primary(&self) -> bool {
        self.node.is_some() && self.node == self.primary
    }

    /// Why the register would not let anybody take over, or go on without this standby.
    fn not_the_owner(&self) -> Option<NotTheOwner> {
        let reading = self.register.as_ref()?;
        names_primary(reading, None, self.seen, self.primary.as_ref()?).err()
    }
}

/// The preconditions, in their order.
pub const OUT_RULES: &[Precondition<OutFacts>] = &[
    Precondition {
        id: "out-managed",
        says: "Pacemaker acts on what is to be stopped: otherwise the order would wait until somebody gives it back (cls_manage), and stop PostgreSQL then.",
        check: |facts| {
            let (what, remedy) = facts.left_alone.clone()?;
            Some((
                message!(
                    "{what}, so it would stop nothing now, and PostgreSQL as soon as it does again",
                    what
                ),
                message!("{remedy}, then try again", remedy),
            ))
        },
    },
    Precondition {
        id: "out-successor",
        says: "Another node may be promoted in place of a primary that is taken out, unless --force.",
        check: |facts| {
            let primary = facts.node.as_ref().filter(|_| !facts.force)?;
            (facts.takes_primary() && !facts.successor).then(|| (
                message!(
                    "{primary} is the primary, and no other node may be promoted now",
                    primary
                ),
                message!(
                    "bring a standby back first (cls_status says how), or stop the database with --force"
                ),
            ))
        },
    },
    Precondition {
        id: "out-register",
        says: "The register can be read and names the primary as its owner, where a primary is taken out or a standby that commits wait for: without it nobody takes over (R1), and a primary goes on without its standby only if every other node promises (R7). Unless --force.",
        check: |facts| {
            let node = facts.node.as_ref().filter(|_| !facts.force)?;
            let takes = facts.takes_primary();
            let not = facts
                .not_the_owner()
                .filter(|_| takes || facts.synchronous)?;
            let (why, remedy) = (not.what(), not.before_again());
            Some(match takes {
                true => (
                    message!(
                        "{node} is the primary, and nobody could take over: {why}",
                        node,
                        why
                    ),
                    message!(
                        "{remedy}; --force stops the database there all the same",
                        remedy
                    ),
                ),
                false => (
                    message!(
                        "commits wait for {node}, and could stand still without it: {why}",
                        node,
                        why
                    ),
                    message!(
                        "{remedy}; with --force the primary asks every other node for a promise, and is stopped if one does not give it",
                        remedy
                    ),
                ),
            })
        },
    },
    Precondition {
        id: "out-archive",
        says: "The stop of the primary need not wait for its archive, unless --force.",
        check: |facts| {
            let stops = facts.node.is_none() || facts.takes_primary();
            let late = facts
                .archiving
                .filter(|archiving| stops && !facts.force && archiving.is_late())?;
            let late = late.to_string();
            Some((
                message!(
                    "the primary's stop would wait for its archive: {late}",
                    late
                ),
                mend_archive(),
            ))
        },
    },
];

/// Decides whether PostgreSQL may be taken out of service now.
///
/// # Errors
/// The first precondition that does not hold.
pub fn may_be_taken_out(facts: &OutFacts) -> Result<(), Box<Refusal>> {
    all_hold(OUT_RULES, facts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;
    use crate::register::{Register, Trouble};

    fn name(text: &str) -> NodeName {
        text.parse().unwrap()
    }

    /// node1 is primary, and commits wait for node2.
    fn facts(node: Option<&str>) -> OutFacts {
        OutFacts {
            node: node.map(name),
            primary: Some(name("node1")),
            left_alone: None,
            successor: true,
            synchronous: node == Some("node2"),
            register: Some(Reading::Row(Register {
                owner: Some(name("node1")),
                term: 1,
                holders: [name("node1"), name("node2")].into(),
                ..Register::fresh()
            })),
            seen: None,
            archiving: None,
            force: false,
        }
    }

    fn gone() -> Option<Reading> {
        Some(Reading::Unknown(Trouble::Unreachable("refused".into())))
    }

    #[test]
    fn each_refusal_and_who_may_force_it() {
        type Change = fn(&mut OutFacts);
        let nodes = [Some("node1"), Some("node2"), None];
        for node in nodes {
            assert_eq!(may_be_taken_out(&facts(node)), Ok(()), "{node:?}");
        }
        // The change, for which of the nodes it is a refusal, and whether --force is enough.
        let cases: [(&str, Change, [bool; 3], bool); 5] = [
            (
                "out-managed",
                |f| f.left_alone = Some(("x".into(), "cls_manage".into())),
                [true, true, true],
                false,
            ),
            (
                "out-successor",
                |f| f.successor = false,
                [true, false, false],
                true,
            ),
            (
                "out-register",
                |f| f.register = gone(),
                [true, true, false],
                true,
            ),
            (
                "out-register",
                |f| f.seen = Some(Seen { term: 9, epoch: 9 }),
                [true, true, false],
                true,
            ),
            (
                "out-archive",
                |f| {
                    f.archiving = Some(Archiving {
                        waiting: 3,
                        oldest: Duration::from_secs(60),
                    });
                },
                [true, false, true],
                true,
            ),
        ];
        for (id, change, refused, forced) in &cases {
            for (node, refused) in nodes.into_iter().zip(refused) {
                let mut facts = facts(node);
                change(&mut facts);
                let refusal = may_be_taken_out(&facts).err();
                let expected = refused.then_some(*id);
                assert_eq!(refusal.map(|refusal| refusal.id), expected, "{facts:?}");
                facts.force = true;
                assert_eq!(may_be_taken_out(&facts).is_ok(), *forced || !refused);
            }
        }
        for rule in OUT_RULES {
            assert!(cases.iter().any(|(id, ..)| *id == rule.id), "{}", rule.id);
        }
    }

    /// A standby that commits do not wait for, and any node where there is no primary, is nobody's loss.
    #[test]
    fn who_is_not_waited_for_may_go() {
        let mut spare = facts(Some("node3"));
        spare.register = gone();
        assert_eq!(may_be_taken_out(&spare), Ok(()));
        let mut alone = facts(Some("node2"));
        alone.primary = None;
        alone.register = gone();
        assert_eq!(may_be_taken_out(&alone), Ok(()));
    }

    #[test]
    fn a_refusal_says_what_would_become_of_it() {
        let refused = |facts: &OutFacts| may_be_taken_out(facts).unwrap_err();
        let mut standby = facts(Some("node2"));
        standby.register = gone();
        let said = refused(&standby);
        assert!(said.to_string().contains("could stand still"), "{said}");
        assert!(said.hint.to_string().contains("--force"), "{}", said.hint);
        standby.node = Some(name("node1"));
        let said = refused(&standby);
        assert!(
            said.to_string().contains("nobody could take over"),
            "{said}"
        );
    }
}

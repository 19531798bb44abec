//! The hand-over of a planned switch: rule R9.
//!
//! In synchronous mode a switch to a holder needs none: it has every acknowledged commit before the old
//! primary is stopped (R1). Any other standby, and every one in asynchronous mode, may be promoted without loss
//! once the old primary is stopped and the successor is seen to have all of its WAL. Then the two of them
//! become the holders, by one change of the register that holds only at the epoch and the term it was decided
//! from. The owner's node is to make it, under its change lock (R12), so that PostgreSQL is not opened there
//! meanwhile: `cls_online_switch` has it done there, while nobody may be promoted ([`super::Hold`]).

use super::Refusal;
use crate::lineage::Lineage;
use crate::message;
use crate::names::NodeName;
use crate::register::{Memory, Ownership, Reading, Update, judge_owner};
use crate::snapshot::Process;
use crate::timeline::WalPosition;

/// What a node has of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldData {
    /// Where the WAL on its disk ends; of a running standby, what it has flushed.
    pub end: WalPosition,
    /// The system identifier of the data.
    pub system: Option<u64>,
    /// The timelines that they are on by name (R13), where that can be told.
    pub lineage: Option<Lineage>,
}

/// What is seen on the owner's node, under its change lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandOverFacts {
    /// This node.
    pub owner: NodeName,
    /// The node that is to be primary.
    pub successor: NodeName,
    /// The register.
    pub register: Reading,
    /// What this node has durably seen, with what the cluster was told.
    pub memory: Memory,
    /// PostgreSQL does not serve as a primary here: it is proven stopped, or it is a standby.
    pub stopped: bool,
    /// What this node has, or why that cannot be told.
    pub here: Result<HeldData, String>,
    /// What the successor has, or why that cannot be told.
    pub there: Result<HeldData, String>,
}

/// Whether PostgreSQL does not serve as a primary: it was seen to be gone, or it is alive and says that it is in
/// recovery. `in_recovery` asks it; none where it does not answer. What cannot be told may serve, and so may
/// what has outlived its postmaster.
#[must_use]
pub fn serves_no_more<E>(
    process: &Result<Process, E>,
    in_recovery: impl FnOnce() -> Option<bool>,
) -> bool {
    match process {
        Ok(Process::Absent) => true,
        Ok(Process::Orphans) | Err(_) => false,
        Ok(Process::Alive { .. }) => in_recovery() == Some(true),
    }
}

/// One condition of a hand-over.
pub struct HandOverRule {
    /// A stable name.
    pub id: &'static str,
    /// What it asks for, in one sentence.
    pub says: &'static str,
    /// It is asked for also before the primary is stopped, so that a switch which could not be made does not
    /// begin.
    pub before: bool,
    /// What is not so.
    pub check: fn(&HandOverFacts) -> Option<String>,
}

/// The rule of [`owned`].
const OWNER: &str = "hand-over-owner";

/// The rule of [`known`].
const KNOWN: &str = "hand-over-known";

/// The conditions, in their order.
pub const HAND_OVER_RULES: &[HandOverRule] = &[
    HandOverRule {
        id: OWNER,
        says: "The register names this node as owner, at the term at which it was promoted last (R5).",
        before: true,
        check: |facts| owned(facts).err(),
    },
    HandOverRule {
        id: "hand-over-stopped",
        says: "PostgreSQL does not serve as a primary on the owner's node (R8).",
        before: false,
        check: |facts| {
            let owner = &facts.owner;
            (!facts.stopped).then(|| format!("PostgreSQL may still serve as a primary on {owner}"))
        },
    },
    HandOverRule {
        id: KNOWN,
        says: "It is known what both nodes have on their disks.",
        before: true,
        check: |facts| known(facts).err(),
    },
    HandOverRule {
        id: "hand-over-timeline",
        says: "The successor's data are of the same database and on the owner's timeline by name (R13).",
        before: true,
        check: |facts| {
            let (here, there) = known(facts).ok()?;
            let same = here.system.is_some()
                && here.system == there.system
                && here
                    .lineage
                    .as_ref()
                    .zip(there.lineage.as_ref())
                    .is_some_and(|(here, there)| here.leads_to(there) && there.leads_to(here));
            (!same).then(|| {
                format!(
                    "{} is not known to be on the timeline of {}",
                    facts.successor, facts.owner
                )
            })
        },
    },
    HandOverRule {
        id: "hand-over-received",
        says: "The successor has flushed all WAL of the owner, whole records counted (R10).",
        before: false,
        check: |facts| {
            let (here, there) = known(facts).ok()?;
            (there.end.lsn.before_page_header() < here.end.lsn.before_page_header()).then(|| {
                format!(
                    "{} has WAL up to {}, and {} up to {}",
                    facts.successor, there.end, facts.owner, here.end
                )
            })
        },
    },
];

/// What the owner's node has, and the successor's.
fn known(facts: &HandOverFacts) -> Result<(&HeldData, &HeldData), String> {
    let unknown = |node: &NodeName, why: &String| {
        format!("it is not known where the WAL of {node} ends: {why}")
    };
    let here = facts.here.as_ref();
    let here = here.map_err(|why| unknown(&facts.owner, why))?;
    let there = facts.there.as_ref();
    Ok((here, there.map_err(|why| unknown(&facts.successor, why))?))
}

/// The term and the epoch at which this node owns the register.
fn owned(facts: &HandOverFacts) -> Result<(u64, u64), String> {
    let term = facts.memory.reign.map_or(0, |reign| reign.term);
    match judge_owner(&facts.register, &facts.owner, term, &facts.memory) {
        Ownership::Mine(row) => Ok((row.term, row.epoch)),
        Ownership::Damage { damage, .. } => Err(format!("the register is damaged: {damage}")),
        Ownership::Unknown(trouble) => Err(trouble.to_string()),
        Ownership::Adopt(row) | Ownership::NeverElected(row) | Ownership::Superseded(row) => {
            let owner = row.owner.as_ref().map_or("nobody", NodeName::as_str);
            Err(format!(
                "the register's owner is {owner} at term {}, and {} was promoted last at term {term}",
                row.term, facts.owner
            ))
        }
    }
}

/// What the owner's node does once every condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandOverStep {
    /// What [`crate::plan::Action::EndNames`] does. The lease ends with the change, and nobody asks this node any
    /// more: whoever starts PostgreSQL by hand is to find it acknowledging nothing.
    EndNames,
    /// Keep durably that the change is asked for ([`Memory::asking`]): it may be made later than its reply is waited
    /// for, and this node then relies on no promise of the epoch before.
    Remember,
    /// Make the change.
    Change,
}

/// The steps, in the order in which they may be interrupted: what bars this node is there before another one is let
/// in.
pub const HAND_OVER_STEPS: [HandOverStep; 3] = [
    HandOverStep::EndNames,
    HandOverStep::Remember,
    HandOverStep::Change,
];

/// Whether there is nothing against a hand-over that could be known before the primary is stopped.
///
/// # Errors
/// The first condition that does not hold.
pub fn may_hand_over(facts: &HandOverFacts) -> Result<(), Box<Refusal>> {
    let before = HAND_OVER_RULES.iter().filter(|rule| rule.before);
    plan_hand_over_by(before, facts).map(drop)
}

/// The change by which the stopped owner makes the successor a holder.
///
/// # Errors
/// The first condition that does not hold.
pub fn plan_hand_over(facts: &HandOverFacts) -> Result<Update, Box<Refusal>> {
    plan_hand_over_by(HAND_OVER_RULES, facts)
}

/// [`plan_hand_over`] by the rules given: what a test uses to see that a rule's loss shows.
///
/// # Errors
/// The first condition that does not hold.
pub fn plan_hand_over_by<'r>(
    rules: impl IntoIterator<Item = &'r HandOverRule>,
    facts: &HandOverFacts,
) -> Result<Update, Box<Refusal>> {
    let refused = |id, what: String| {
        Box::new(Refusal::new(
            id,
            what,
            message!("cls_status, then try again"),
        ))
    };
    for rule in rules {
        if let Some(what) = (rule.check)(facts) {
            return Err(refused(rule.id, what));
        }
    }
    let (term, from_epoch) = owned(facts).map_err(|what| refused(OWNER, what))?;
    let (here, _) = known(facts).map_err(|what| refused(KNOWN, what))?;
    Ok(Update::HandOver {
        node: facts.owner.clone(),
        term,
        from_epoch,
        successor: facts.successor.clone(),
        position: here.end.lsn,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::lineage::TimelineName;
    use crate::lsn::Lsn;
    use crate::register::{Register, Reign};
    use crate::timeline::TimelineId;

    fn name(text: &str) -> NodeName {
        text.parse().unwrap()
    }

    fn data(lsn: u64) -> HeldData {
        HeldData {
            end: WalPosition {
                timeline: TimelineId::FIRST,
                lsn: Lsn::new(lsn),
            },
            system: Some(7),
            lineage: Some(Lineage::new(vec![begun_at(3)])),
        }
    }

    fn begun_at(term: u64) -> TimelineName {
        TimelineName {
            term,
            number: TimelineId::FIRST,
            fork: Lsn::INVALID,
        }
    }

    fn ready() -> HandOverFacts {
        HandOverFacts {
            owner: name("node1"),
            successor: name("node3"),
            register: Reading::Row(Register {
                owner: Some(name("node1")),
                term: 3,
                epoch: 5,
                holders: [name("node1"), name("node2")].into(),
                ..Register::fresh()
            }),
            memory: Memory {
                term: 3,
                epoch: 5,
                reign: Some(Reign {
                    term: 3,
                    timeline: TimelineId::FIRST,
                }),
                ..Memory::default()
            },
            stopped: true,
            here: Ok(data(0x4000)),
            there: Ok(data(0x4000)),
        }
    }

    #[test]
    fn a_standby_with_everything_is_handed_the_register() {
        let update = plan_hand_over(&ready()).unwrap();
        let Reading::Row(row) = ready().register else {
            return;
        };
        let row = update.apply(&row).unwrap();
        assert_eq!(row.holders, [name("node1"), name("node3")].into());
        assert_eq!((row.term, row.epoch), (3, 6));
        assert_eq!(row.positions[&name("node3")], Lsn::new(0x4000));
        assert!(row.ttl.is_zero());
    }

    #[test]
    fn each_condition() {
        type Change = fn(&mut HandOverFacts);
        let cases: Vec<(&str, bool, Change)> = vec![
            ("hand-over-owner", true, |f| f.register = Reading::Missing),
            ("hand-over-owner", true, |f| f.memory.reign = None),
            ("hand-over-owner", true, |f| f.owner = name("node2")),
            // It was put back to before what this node has seen.
            ("hand-over-owner", true, |f| f.memory.epoch = 6),
            ("hand-over-stopped", false, |f| f.stopped = false),
            ("hand-over-known", true, |f| f.here = Err("x".to_owned())),
            ("hand-over-known", true, |f| f.there = Err("x".to_owned())),
            ("hand-over-timeline", true, |f| {
                f.there.as_mut().unwrap().lineage = None;
            }),
            ("hand-over-timeline", true, |f| {
                // The same number, and another timeline.
                f.there.as_mut().unwrap().lineage = Some(Lineage::new(vec![begun_at(2)]));
            }),
            ("hand-over-timeline", true, |f| {
                f.there.as_mut().unwrap().system = Some(8);
            }),
            ("hand-over-timeline", true, |f| {
                f.here.as_mut().unwrap().system = None;
                f.there.as_mut().unwrap().system = None;
            }),
            ("hand-over-received", false, |f| {
                f.there = Ok(data(0x3FF8));
            }),
        ];
        for (id, before, change) in &cases {
            let mut facts = ready();
            change(&mut facts);
            assert_eq!(plan_hand_over(&facts).unwrap_err().id, *id, "{facts:?}");
            assert_eq!(may_hand_over(&facts).is_err(), *before, "{facts:?}");
        }
        for rule in HAND_OVER_RULES {
            let tried = cases
                .iter()
                .any(|(id, before, _)| (*id, *before) == (rule.id, rule.before));
            assert!(tried, "{} is not tried", rule.id);
        }
    }

    #[test]
    fn this_node_is_barred_before_another_is_let_in() {
        assert_eq!(HAND_OVER_STEPS.last(), Some(&HandOverStep::Change));
        for step in [HandOverStep::EndNames, HandOverStep::Remember] {
            assert!(HAND_OVER_STEPS.contains(&step), "{step:?}");
        }
    }

    #[test]
    fn what_is_not_seen_to_be_stopped_may_serve() {
        let ok = Ok::<_, ()>;
        let alive = ok(Process::Alive { frozen: false });
        assert!(serves_no_more(&ok(Process::Absent), || None));
        assert!(serves_no_more(&alive, || Some(true)));
        assert!(!serves_no_more(&alive, || Some(false)));
        assert!(!serves_no_more(&alive, || None));
        assert!(!serves_no_more(&ok(Process::Orphans), || Some(true)));
        assert!(!serves_no_more(&Err("unreadable"), || Some(true)));
    }

    #[test]
    fn a_position_just_behind_a_page_header_is_the_one_before_it() {
        let mut facts = ready();
        facts.here = Ok(data(0x4018));
        assert!(plan_hand_over(&facts).is_ok());
    }
}

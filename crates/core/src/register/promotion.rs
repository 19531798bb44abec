//! May this node promote? The rules R0, R1, R7 and R10, each a row.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::{Damage, Memory, NoRow, Reading, Register, verdict};
use crate::lsn::Lsn;
use crate::names::NodeName;
use crate::remedy::Remedy;

/// Whether a node may promote, and if not, why not.
///
/// The promotion score follows from it, and `promote` itself asks again.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Eligibility {
    /// R0: no primary was ever elected; the election by timeline and end of WAL decides.
    FirstElection(Register),
    /// R1: yes, by [`super::Update::promote`] from this very register.
    Yes(Register),
    /// Another node's lease runs; wait for it to end, or for its owner to be renewing it.
    LeaseRunning {
        /// Whose lease it is.
        owner: NodeName,
        /// How long it still runs.
        left: Duration,
        /// The register.
        register: Register,
    },
    /// R1: this node is not known to hold every acknowledged commit.
    NotHolder {
        /// The nodes that are.
        holders: BTreeSet<NodeName>,
    },
    /// R7: this node has promised not to promote at this epoch.
    Promised {
        /// The register's epoch.
        epoch: u64,
    },
    /// R10: less WAL is on this node's disk than the owner has seen flushed there.
    BehindRecorded {
        /// What the register records.
        recorded: Lsn,
        /// What this node has.
        own: Lsn,
    },
    /// R13: this node's data are not on the register's timelines, so that no position of them says
    /// anything; why, with the command that mends it.
    ForeignTimeline(String),
    /// Asynchronous mode: more WAL may be missing here than is accepted as a loss.
    TooFarBehind {
        /// What the owner has last recorded of itself.
        recorded: Lsn,
        /// What this node has, where that is known.
        own: Option<Lsn>,
        /// How many bytes may be lost.
        accepted: u64,
    },
    /// The register is missing, makes no sense, or is older than this node has seen.
    Damage(Damage),
    /// Nothing is known.
    Unknown(String),
}

impl fmt::Display for Eligibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstElection(_) => f.write_str("the first primary is to be elected"),
            Self::Yes(_) => f.write_str("this node may promote"),
            Self::LeaseRunning { owner, left, .. } => {
                write!(f, "{owner} holds the lock for {} ms more", left.as_millis())
            }
            Self::NotHolder { holders } => {
                let names: Vec<&str> = holders.iter().map(NodeName::as_str).collect();
                write!(
                    f,
                    "this node does not hold every acknowledged commit; {} does (start it, or run cls_recovery_master to accept the loss)",
                    names.join(", ")
                )
            }
            Self::Promised { epoch } => write!(
                f,
                "this node has promised the primary not to promote at epoch {epoch} (start the primary, which ends that once it reaches the lock service, or run cls_recovery_master if it is lost for good)"
            ),
            Self::BehindRecorded { recorded, own } => write!(
                f,
                "this node has WAL up to {own} only, and the register records {recorded} for it: its data were put back to an older state; {} here",
                Remedy::Rebuild
            ),
            Self::TooFarBehind {
                recorded,
                own,
                accepted,
            } => {
                let own =
                    own.map_or_else(|| "an unknown position".to_owned(), |lsn| lsn.to_string());
                write!(
                    f,
                    "this node has WAL up to {own}, the primary had {recorded}, and at most {accepted} bytes may be lost"
                )
            }
            Self::ForeignTimeline(why) => f.write_str(why),
            Self::Damage(damage) => NoRow::Damage(damage.clone()).fmt(f),
            Self::Unknown(text) => f.write_str(text),
        }
    }
}

/// What the rules look at.
#[derive(Debug, Clone, Copy)]
pub struct PromotionCase<'a> {
    /// The register.
    pub register: &'a Register,
    /// The node that wants to promote.
    pub me: &'a NodeName,
    /// What it remembers.
    pub memory: &'a Memory,
    /// What its own WAL is.
    pub own: Own<'a>,
    /// Asynchronous mode: how many bytes of WAL may be lost; none in synchronous mode.
    pub bounded_loss: Option<u64>,
}

/// What a node's own WAL is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Own<'a> {
    /// Where it ends on the disk; none when that is not known.
    pub flushed: Option<Lsn>,
    /// Why it is not on the register's timelines, if it is not (R13).
    pub foreign: Option<&'a str>,
}

impl From<Option<Lsn>> for Own<'_> {
    fn from(flushed: Option<Lsn>) -> Self {
        Self {
            flushed,
            foreign: None,
        }
    }
}

/// One rule: the first that has something to say decides.
pub struct PromotionRule {
    /// A stable name, for logs and for tests that leave the rule out.
    pub id: &'static str,
    /// What it says, in one sentence.
    pub says: &'static str,
    /// The rule: none when it has nothing against the next rule being asked.
    pub check: fn(&PromotionCase<'_>) -> Option<Eligibility>,
}

/// The rules in their order. What only time mends (a running lease) comes last, so that a node
/// does not wait for a lease and then learns that it could never have promoted.
pub const PROMOTION_RULES: &[PromotionRule] = &[
    PromotionRule {
        id: "term-not-below-memory",
        says: "A term lower than one durably seen, or impossibly far beyond it, is damage: a restored backup, another register, or a row that somebody has changed.",
        check: |case| {
            verdict::term_out_of_step(case.register, case.memory).map(Eligibility::Damage)
        },
    },
    PromotionRule {
        id: "epoch-not-below-memory",
        says: "An epoch lower than one durably seen, or impossibly far beyond it, is damage.",
        check: |case| {
            verdict::epoch_out_of_step(case.register, case.memory).map(Eligibility::Damage)
        },
    },
    PromotionRule {
        id: "R0-first-election",
        says: "At term 0 no node is a holder yet: the election by timeline and end of WAL decides, once no foreign lease runs.",
        check: first_election,
    },
    PromotionRule {
        id: "R1-holder",
        says: "Only a node that is known to hold every acknowledged commit may promote.",
        check: not_holder,
    },
    PromotionRule {
        id: "R7-promise",
        says: "A node that promised not to promote keeps its word until the epoch has moved.",
        check: promised,
    },
    PromotionRule {
        id: "R13-timeline",
        says: "A node whose data are not on the register's timelines is no holder, however much WAL it has.",
        check: |case| {
            case.own
                .foreign
                .map(|why| Eligibility::ForeignTimeline(why.to_owned()))
        },
    },
    PromotionRule {
        id: "R10-rolled-back",
        says: "A node with less WAL on its disk than the register records for it is no holder, whatever the row says.",
        check: behind_recorded,
    },
    PromotionRule {
        id: "async-bound",
        says: "In asynchronous mode a node may lack at most the configured distance of what the owner last recorded of itself.",
        check: too_far_behind,
    },
    PromotionRule {
        id: "R1-lease",
        says: "While another node's lease runs, it is left in peace.",
        check: lease_running,
    },
];

fn first_election(case: &PromotionCase<'_>) -> Option<Eligibility> {
    let first = case.register.term == 0 && !case.register.lease_excludes(case.me);
    first.then(|| Eligibility::FirstElection(case.register.clone()))
}

fn not_holder(case: &PromotionCase<'_>) -> Option<Eligibility> {
    let asked = case.register.term > 0 && case.bounded_loss.is_none();
    (asked && !case.register.holders.contains(case.me)).then(|| Eligibility::NotHolder {
        holders: case.register.holders.clone(),
    })
}

fn promised(case: &PromotionCase<'_>) -> Option<Eligibility> {
    let epoch = case.register.epoch;
    case.memory
        .has_promised(epoch)
        .then_some(Eligibility::Promised { epoch })
}

fn behind_recorded(case: &PromotionCase<'_>) -> Option<Eligibility> {
    let recorded = *case.register.positions.get(case.me)?;
    let Some(own) = case.own.flushed else {
        return Some(Eligibility::Unknown(format!(
            "the end of this node's own WAL is not known, and the register records {recorded} for it"
        )));
    };
    // Both ends count whole records.
    (own.before_page_header() < recorded.before_page_header())
        .then_some(Eligibility::BehindRecorded { recorded, own })
}

fn too_far_behind(case: &PromotionCase<'_>) -> Option<Eligibility> {
    let accepted = case.bounded_loss?;
    let owner = case
        .register
        .owner
        .as_ref()
        .filter(|owner| *owner != case.me)?;
    let recorded = *case.register.positions.get(owner)?;
    let missing = case.own.flushed.map(|own| recorded.distance(own));
    missing
        .is_none_or(|bytes| bytes > accepted)
        .then_some(Eligibility::TooFarBehind {
            recorded,
            own: case.own.flushed,
            accepted,
        })
}

fn lease_running(case: &PromotionCase<'_>) -> Option<Eligibility> {
    let owner = case.register.owner.clone()?;
    case.register
        .lease_excludes(case.me)
        .then(|| Eligibility::LeaseRunning {
            owner,
            left: case.register.lease_left,
            register: case.register.clone(),
        })
}

/// Decides whether `me` may promote, by [`PROMOTION_RULES`].
///
/// `own` is where the valid WAL on this node's disk ends, and what it is. A register that records a
/// position for this node cannot be judged without it.
pub fn may_promote<'a>(
    reading: &Reading,
    me: &NodeName,
    memory: &Memory,
    own: impl Into<Own<'a>>,
    bounded_loss: Option<u64>,
) -> Eligibility {
    may_promote_by(
        PROMOTION_RULES.iter(),
        reading,
        me,
        memory,
        own,
        bounded_loss,
    )
}

/// [`may_promote`] by the rules given: what a test uses to see that a rule's loss shows.
pub fn may_promote_by<'r, 'a>(
    rules: impl IntoIterator<Item = &'r PromotionRule>,
    reading: &Reading,
    me: &NodeName,
    memory: &Memory,
    own: impl Into<Own<'a>>,
    bounded_loss: Option<u64>,
) -> Eligibility {
    let register = match reading.row() {
        Ok(register) => register,
        Err(NoRow::Damage(damage)) => return Eligibility::Damage(damage),
        Err(NoRow::Unknown(trouble)) => return Eligibility::Unknown(trouble.to_string()),
    };
    let case = PromotionCase {
        register,
        me,
        memory,
        own: own.into(),
        bounded_loss,
    };
    rules
        .into_iter()
        .find_map(|rule| (rule.check)(&case))
        .unwrap_or_else(|| Eligibility::Yes(register.clone()))
}

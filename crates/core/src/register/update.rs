//! Every change of the row: its conditions, and its effect.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Register;
use crate::lineage::{Former, Lineage};
use crate::lsn::Lsn;
use crate::names::NodeName;
use crate::text_enum::text_enum;

text_enum! {
    /// Which change it is: with what its reason begins in the history table, before whose change it is.
    UpdateKind, "change of the register" {
        /// [`Update::FirstPrimary`].
        FirstPrimary = "first primary",
        /// [`Update::Promote`].
        Promote = "promote by",
        /// [`Update::Renew`].
        Renew = "renew by",
        /// [`Update::SetHolders`].
        SetHolders = "set holders by",
        /// [`Update::NameTimelines`].
        NameTimelines = "timelines named by",
        /// [`Update::Release`].
        Release = "release by",
        /// [`Update::Leave`].
        Leave = "leave by",
        /// [`Update::Override`].
        Override = "override by",
        /// [`Update::HandOver`].
        HandOver = "hand-over by",
        /// [`Update::GiveBack`].
        GiveBack = "right given back by",
    }
}

/// A conditional change of the row. It holds what was read where that must still be so.
///
/// Applying one twice is harmless: the second finds its condition gone, or writes the same again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Update {
    /// R0: the first primary, elected by timeline and end of WAL. Only at term 0.
    FirstPrimary {
        /// The elected node.
        node: NodeName,
        /// The lease.
        ttl: Duration,
    },
    /// R1: a holder becomes owner at the next term, and is then the only known holder.
    Promote {
        /// The node that promotes.
        node: NodeName,
        /// The owner that was read.
        from_owner: Option<NodeName>,
        /// The term that was read.
        from_term: u64,
        /// The epoch that was read.
        from_epoch: u64,
        /// Asynchronous mode: the node need not be a holder, because a bounded loss is accepted.
        bounded_loss: bool,
        /// The lease.
        ttl: Duration,
    },
    /// The owner renews its lease and records how far the holders have flushed (R10).
    Renew {
        /// The owner.
        node: NodeName,
        /// The term at which it was promoted.
        term: u64,
        /// Positions seen; of nodes that are no holders they are ignored, and none goes back.
        positions: BTreeMap<NodeName, Lsn>,
        /// The lease.
        ttl: Duration,
    },
    /// R3, R4: the owner changes the holders. Also renews the lease.
    ///
    /// Under which incarnation (R11) a standby was seen is no condition. One that was a holder has left before its
    /// data are replaced (R6), and then the holders are not those that were read. One that was none, and whose data
    /// are replaced while this change is on its way, becomes a holder all the same, and rightly: they are copied from
    /// the owner, after the look from which this change was decided, so that they have what was seen to be flushed.
    /// Commits wait for its earlier name meanwhile, under which nobody acknowledges any more, and before that name
    /// goes the epoch moves (R3). A half copy is never started, and the next look takes it out. One that was made a
    /// holder and has left again since the look is not added by it: the epoch has moved, and with that its barrier
    /// counts no more (R4).
    SetHolders {
        /// The owner.
        node: NodeName,
        /// The term at which it was promoted.
        term: u64,
        /// The epoch that was read.
        from_epoch: u64,
        /// The holders that were read. A node that leaves (R6) does not move the epoch, so the
        /// epoch alone would let the owner put back one that has left to be rewound.
        from_holders: BTreeSet<NodeName>,
        /// The holders from now on; the owner is always one.
        holders: BTreeSet<NodeName>,
        /// The lease.
        ttl: Duration,
    },
    /// R13: the owner names its timelines, before anybody follows them.
    NameTimelines {
        /// The owner.
        node: NodeName,
        /// The term at which it was promoted.
        term: u64,
        /// The timeline that it writes, and those it came from.
        lineage: Lineage,
    },
    /// R8: the owner, proven stopped, ends its lease. Owner and holders stay.
    Release {
        /// The owner.
        node: NodeName,
        /// The term at which it was promoted.
        term: u64,
    },
    /// R6: a node leaves the holders before its data is rewound or replaced. Neither the owner nor
    /// the last holder can.
    Leave {
        /// The node that leaves.
        node: NodeName,
    },
    /// An operator's decision (`cls_recovery_master`): these nodes hold the data. The lease ends.
    Override {
        /// Who decided, for the history.
        by: String,
        /// The term that was read.
        from_term: u64,
        /// The epoch that was read.
        from_epoch: u64,
        /// The highest term that any node has seen: the new one is above it. A register that was
        /// put back would otherwise stay damaged for the nodes that remember more.
        above_term: u64,
        /// The highest epoch that any node has seen or promised for.
        above_epoch: u64,
        /// The timelines of the data that are gone on with, where they are known (R13).
        lineage: Option<Lineage>,
        /// The highest number of a timeline that any node knows.
        above_number: u32,
        /// The owner from now on; usually none, so that any holder may promote.
        owner: Option<NodeName>,
        /// The holders from now on; at least one.
        holders: BTreeSet<NodeName>,
    },
    /// R9: a planned switch. The owner, stopped, has seen that the successor has received all of its WAL:
    /// the two of them are the holders from now on, and the lease ends. Nobody else stays one: by promises
    /// (R7) commits may have passed without a holder, and its promise ends with the epoch. The successor's data are not
    /// replaced meanwhile: there is nobody to copy from (R6) before a promotion, which ends the owner's term.
    HandOver {
        /// The owner.
        node: NodeName,
        /// The term at which it was promoted.
        term: u64,
        /// The epoch that was read.
        from_epoch: u64,
        /// The node that is to be primary.
        successor: NodeName,
        /// Where the owner's WAL ends.
        position: Lsn,
    },
    /// R14: the owner was given the register and never opened: those who held everything before are the holders
    /// again, with what was recorded of them, but for whoever has replaced its data since. Nobody is the owner.
    GiveBack {
        /// The owner.
        node: NodeName,
        /// The term that it was given.
        term: u64,
        /// The epoch that was read.
        from_epoch: u64,
    },
}

/// One condition of an [`Update`]. Each can be left out in a test, to see that its loss is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// No primary was ever elected (R0).
    TermZero,
    /// A primary was elected once: before that, not even a bounded loss lets anyone promote (R0).
    Elected,
    /// No other node's lease runs (R1).
    LeaseFree,
    /// The node is a holder (R1).
    IsHolder,
    /// The owner is the one that was read.
    OwnerAsRead,
    /// The term is the one that was read.
    TermAsRead,
    /// The epoch is the one that was read.
    EpochAsRead,
    /// The holders are the ones that were read.
    HoldersAsRead,
    /// The node is the owner, at its own term (R5).
    OwnerAtTerm,
    /// The new holders include the owner, which holds its own commits.
    KeepsOwner,
    /// The new holders are not empty.
    KeepsSome,
    /// The node is not the owner (R6).
    NotOwner,
    /// The node is a holder and another holder remains (R6), or it may become one again by a right that is given
    /// back (R14).
    AnotherHolder,
    /// It is known who held everything before the owner, and nothing was recorded of the owner since (R14, R10).
    FormerKnown,
}

impl Update {
    /// A promotion of `node` that holds only while the register is as read.
    #[must_use]
    pub fn promote(read: &Register, node: NodeName, ttl: Duration) -> Self {
        Self::Promote {
            node,
            from_owner: read.owner.clone(),
            from_term: read.term,
            from_epoch: read.epoch,
            bounded_loss: false,
            ttl,
        }
    }

    /// The same promotion in asynchronous mode, where R1 does not ask for the holders.
    #[must_use]
    pub fn with_bounded_loss(mut self) -> Self {
        if let Self::Promote { bounded_loss, .. } = &mut self {
            *bounded_loss = true;
        }
        self
    }

    /// A change of the holders by the owner `node` that holds only while the register is as read.
    #[must_use]
    pub fn set_holders(
        read: &Register,
        node: NodeName,
        holders: BTreeSet<NodeName>,
        ttl: Duration,
    ) -> Self {
        Self::SetHolders {
            node,
            term: read.term,
            from_epoch: read.epoch,
            from_holders: read.holders.clone(),
            holders,
            ttl,
        }
    }

    /// What the row must be like for this change.
    #[must_use]
    pub fn conditions(&self) -> &'static [Condition] {
        use Condition as C;
        match self {
            Self::FirstPrimary { .. } => &[C::TermZero, C::LeaseFree],
            Self::Promote {
                bounded_loss: true, ..
            } => &[
                C::Elected,
                C::OwnerAsRead,
                C::TermAsRead,
                C::EpochAsRead,
                C::LeaseFree,
            ],
            Self::Promote { .. } => &[
                C::Elected,
                C::OwnerAsRead,
                C::TermAsRead,
                C::EpochAsRead,
                C::IsHolder,
                C::LeaseFree,
            ],
            Self::Renew { .. } | Self::Release { .. } | Self::NameTimelines { .. } => {
                &[C::OwnerAtTerm]
            }
            Self::SetHolders { .. } => &[
                C::OwnerAtTerm,
                C::EpochAsRead,
                C::HoldersAsRead,
                C::KeepsOwner,
            ],
            Self::Leave { .. } => &[C::NotOwner, C::AnotherHolder],
            Self::Override { .. } => &[C::TermAsRead, C::EpochAsRead, C::KeepsSome],
            Self::HandOver { .. } => &[C::OwnerAtTerm, C::EpochAsRead],
            Self::GiveBack { .. } => &[C::OwnerAtTerm, C::EpochAsRead, C::FormerKnown],
        }
    }

    /// The row after this change; none when a condition does not hold. The server's clock is not
    /// known here, so `renewed` is kept.
    #[must_use]
    pub fn apply(&self, row: &Register) -> Option<Register> {
        self.apply_without(row, &[])
    }

    /// [`Self::apply`] with some conditions left out: what a test uses to see that their loss shows.
    #[must_use]
    pub fn apply_without(&self, row: &Register, dropped: &[Condition]) -> Option<Register> {
        self.conditions()
            .iter()
            .filter(|condition| !dropped.contains(condition))
            .all(|condition| condition.holds(self, row))
            .then(|| self.effect(row))
    }

    fn effect(&self, row: &Register) -> Register {
        let mut next = row.clone();
        match self {
            Self::FirstPrimary { node, ttl } | Self::Promote { node, ttl, .. } => {
                let exact = !matches!(
                    self,
                    Self::FirstPrimary { .. }
                        | Self::Promote {
                            bounded_loss: true,
                            ..
                        }
                );
                let former = exact.then(|| row.former_of_the_next(node)).flatten();
                next.timelines.former = former.map(Box::new);
                next.owner = Some(node.clone());
                next.term += 1;
                next.epoch += 1;
                next.holders = BTreeSet::from([node.clone()]);
                next.lease(*ttl);
            }
            Self::Renew { positions, ttl, .. } => {
                for (node, seen) in positions {
                    let recorded = next.positions.entry(node.clone()).or_insert(*seen);
                    *recorded = (*recorded).max(*seen);
                }
                next.lease(*ttl);
            }
            Self::SetHolders { holders, ttl, .. } => {
                next.epoch += 1;
                next.holders.clone_from(holders);
                next.timelines.former = None;
                next.lease(*ttl);
            }
            Self::NameTimelines { term, lineage, .. } => {
                next.timelines = row.timelines.named(*term, lineage);
            }
            Self::Release { .. } => next.lease(Duration::ZERO),
            Self::Leave { node } => {
                next.holders.remove(node);
                if let Some(former) = &mut next.timelines.former {
                    former.nodes.remove(node);
                }
            }
            Self::Override {
                owner,
                holders,
                above_term,
                above_epoch,
                lineage,
                above_number,
                ..
            } => {
                if let Some(lineage) = lineage {
                    next.timelines.lineage.clone_from(lineage);
                }
                next.timelines.highest = row.timelines.highest.max(*above_number);
                next.timelines.former = None;
                next.owner.clone_from(owner);
                next.term = row.term.max(*above_term) + 1;
                next.epoch = row.epoch.max(*above_epoch) + 1;
                next.holders.clone_from(holders);
                next.positions.clear();
                next.lease(Duration::ZERO);
            }
            Self::HandOver {
                node,
                successor,
                position,
                ..
            } => {
                next.epoch += 1;
                next.holders = BTreeSet::from([node.clone(), successor.clone()]);
                next.positions = next
                    .holders
                    .iter()
                    .map(|holder| (holder.clone(), *position))
                    .collect();
                next.timelines.former = None;
                next.lease(Duration::ZERO);
            }
            Self::GiveBack { .. } => {
                // A term has one owner.
                next.term += 1;
                next.epoch += 1;
                let former = next.timelines.former.take();
                let former = former.map(|former| former.nodes).unwrap_or_default();
                next.positions = former
                    .iter()
                    .filter_map(|(node, position)| Some((node.clone(), (*position)?)))
                    .collect();
                next.holders = former.into_keys().collect();
                next.owner = None;
                next.lease(Duration::ZERO);
            }
        }
        next.forget_positions_of_others();
        next
    }

    /// Who asks for this change and which change it is, for the history table.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::FirstPrimary { node, .. }
            | Self::Promote { node, .. }
            | Self::Renew { node, .. }
            | Self::SetHolders { node, .. }
            | Self::NameTimelines { node, .. }
            | Self::Release { node, .. }
            | Self::GiveBack { node, .. }
            | Self::Leave { node } => format!("{} {node}", self.kind()),
            Self::Override { by, .. } => format!("{} {by}", self.kind()),
            Self::HandOver {
                node, successor, ..
            } => format!("{} {node} to {successor}", self.kind()),
        }
    }

    /// Which change it is.
    const fn kind(&self) -> UpdateKind {
        match self {
            Self::FirstPrimary { .. } => UpdateKind::FirstPrimary,
            Self::Promote { .. } => UpdateKind::Promote,
            Self::Renew { .. } => UpdateKind::Renew,
            Self::SetHolders { .. } => UpdateKind::SetHolders,
            Self::NameTimelines { .. } => UpdateKind::NameTimelines,
            Self::Release { .. } => UpdateKind::Release,
            Self::Leave { .. } => UpdateKind::Leave,
            Self::Override { .. } => UpdateKind::Override,
            Self::HandOver { .. } => UpdateKind::HandOver,
            Self::GiveBack { .. } => UpdateKind::GiveBack,
        }
    }
}

impl Register {
    /// Who holds everything as it is, for `node`, which is given the register now; nothing where no timelines are
    /// named, since it could not be proven then that it has opened none. The owner has been given it before: its
    /// holders may have been passed by promises (R7), and what it serves in place begins no timeline, so what it
    /// might give back is what it might have given back before.
    fn former_of_the_next(&self, node: &NodeName) -> Option<Former> {
        if self.timelines.lineage.is_empty() {
            return None;
        }
        let nodes = match self.is_owned_by(node) {
            true => self.former()?.nodes.clone(),
            false => {
                let holders = self.holders.iter();
                holders
                    .map(|node| (node.clone(), self.positions.get(node).copied()))
                    .collect()
            }
        };
        Some(Former {
            term: self.term + 1,
            nodes,
        })
    }

    /// Who held everything before the owner was given the register, where that is known.
    #[must_use]
    pub fn former(&self) -> Option<&Former> {
        let former = self.timelines.former.as_deref();
        former.filter(|former| former.term == self.term)
    }

    /// Whether `node` may become a holder by a right that is given back (R14).
    #[must_use]
    pub fn may_be_given_back_to(&self, node: &NodeName) -> bool {
        self.former()
            .is_some_and(|former| former.nodes.contains_key(node))
    }

    fn lease(&mut self, ttl: Duration) {
        self.ttl = ttl;
        self.lease_left = ttl;
    }

    /// A position counts only while its node is a holder: one that left may rewind its data, and
    /// then has less WAL for a good reason.
    fn forget_positions_of_others(&mut self) {
        let holders = &self.holders;
        self.positions.retain(|node, _| holders.contains(node));
    }
}

impl Condition {
    /// Whether this condition of `update` holds in `row`.
    #[must_use]
    pub fn holds(self, update: &Update, row: &Register) -> bool {
        match self {
            Self::TermZero => row.term == 0,
            Self::Elected => row.term > 0,
            Self::LeaseFree => update.node().is_some_and(|node| !row.lease_excludes(node)),
            Self::IsHolder => update.node().is_some_and(|node| row.holders.contains(node)),
            Self::OwnerAsRead => {
                matches!(update, Update::Promote { from_owner, .. } if row.owner == *from_owner)
            }
            Self::TermAsRead => update.term_read() == Some(row.term),
            Self::EpochAsRead => update.epoch_read() == Some(row.epoch),
            Self::HoldersAsRead => {
                matches!(update, Update::SetHolders { from_holders, .. } if row.holders == *from_holders)
            }
            Self::OwnerAtTerm => update
                .node()
                .zip(update.own_term())
                .is_some_and(|(node, term)| row.is_owned_at(node, term)),
            Self::KeepsOwner => {
                matches!(update, Update::SetHolders { node, holders, .. } if holders.contains(node))
            }
            Self::KeepsSome => {
                matches!(update, Update::Override { holders, .. } if !holders.is_empty())
            }
            Self::NotOwner => update.node().is_some_and(|node| !row.is_owned_by(node)),
            Self::AnotherHolder => {
                update
                    .node()
                    .is_some_and(|node| match row.holders.contains(node) {
                        true => row.holders.len() > 1,
                        false => row.may_be_given_back_to(node),
                    })
            }
            Self::FormerKnown => update.node().is_some_and(|node| {
                let was = row.former().and_then(|former| former.nodes.get(node));
                was == Some(&row.positions.get(node).copied())
            }),
        }
    }
}

impl Update {
    /// The node that asks; none for an operator's override.
    #[must_use]
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Self::FirstPrimary { node, .. }
            | Self::Promote { node, .. }
            | Self::Renew { node, .. }
            | Self::SetHolders { node, .. }
            | Self::NameTimelines { node, .. }
            | Self::Release { node, .. }
            | Self::Leave { node }
            | Self::GiveBack { node, .. }
            | Self::HandOver { node, .. } => Some(node),
            Self::Override { .. } => None,
        }
    }

    /// The term at which the asking node is owner, for changes that only the owner makes.
    #[must_use]
    pub fn own_term(&self) -> Option<u64> {
        match self {
            Self::Renew { term, .. }
            | Self::SetHolders { term, .. }
            | Self::NameTimelines { term, .. }
            | Self::Release { term, .. }
            | Self::GiveBack { term, .. }
            | Self::HandOver { term, .. } => Some(*term),
            Self::FirstPrimary { .. }
            | Self::Promote { .. }
            | Self::Leave { .. }
            | Self::Override { .. } => None,
        }
    }

    fn term_read(&self) -> Option<u64> {
        match self {
            Self::Promote { from_term, .. } | Self::Override { from_term, .. } => Some(*from_term),
            _ => None,
        }
    }

    fn epoch_read(&self) -> Option<u64> {
        match self {
            Self::Promote { from_epoch, .. }
            | Self::SetHolders { from_epoch, .. }
            | Self::Override { from_epoch, .. }
            | Self::GiveBack { from_epoch, .. }
            | Self::HandOver { from_epoch, .. } => Some(*from_epoch),
            _ => None,
        }
    }
}

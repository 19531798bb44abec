//! What a node has durably seen of the register, and what it has promised (R7).

use serde::{Deserialize, Serialize};

use super::{HIGHEST, Register, Seen, TOLD, Update, leaps};
use crate::names::NodeName;
use crate::timeline::{TimelineId, WalPosition};

/// What this node keeps on its own disk about the register.
///
/// The highest term and epoch seen tell a restored backup of the lock service (lower than seen:
/// damage) from the real one; the promise keeps this node from promoting while a primary that
/// cannot reach the lock service commits alone.
///
/// A node that goes back to an earlier version still has to know its promises: a field that this version does
/// not know is passed over.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Memory {
    /// The highest term seen.
    pub term: u64,
    /// The highest epoch seen.
    pub epoch: u64,
    /// The epoch at which this node has promised not to promote; void once the epoch has moved.
    pub promised: Option<u64>,
    /// The epoch from which this node last asked for a change that makes another node a holder, or
    /// itself the owner. It is written before the change is sent: a change whose reply was lost may
    /// be made at any later time, as long as the epoch has not moved, and this node need not hear of
    /// it. Until then this node gives no promise at that epoch and relies on none (R7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<u64>,
    /// The epoch at which this node, as the primary, last asked the others to promise. They keep to
    /// it until the epoch moves, also where it was not needed in the end: then this node moves it
    /// (R7). Written before the question is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relied: Option<u64>,
    /// The epoch at which this node, as the primary, has let a standby go by the promises of the others, or
    /// was restarted in place by them: commits may be acknowledged that no other holder has. Written before
    /// PostgreSQL's names change or it is started; from then on no promise of this epoch is withdrawn, unless it
    /// is proven that the restart has not opened PostgreSQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// A restart in place by the promises of the others, for which they were first used at its epoch. It is
    /// kept with that, before PostgreSQL is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// The epoch at which this node, as the primary, has withdrawn its question for promises, or has given
    /// way to an operator's decision ([`Memory::giving_way`]). Written before the others hear of it; from
    /// then on it relies on no promise of this epoch, whenever it was given. So it does not matter how late,
    /// how often or in which order a withdrawal arrives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<u64>,
    /// The epoch of a promise that the primary may withdraw, because it keeps whether it has used it. One
    /// that an earlier version asked for may have been used without a trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocable: Option<u64>,
    /// The epoch at which the primary has withdrawn its question from this node, or at which this node has
    /// given way to an operator's decision. Nothing is promised at it any more: a question that arrives
    /// after a withdrawal was sent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freed: Option<u64>,
    /// The last promotion that this node completed. It is written after PostgreSQL has become the
    /// primary, so that a promotion interrupted between the register and PostgreSQL is not taken
    /// for the service of a whole term (R2).
    #[serde(default)]
    pub reign: Option<Reign>,
    /// There is no memory on this node's disk: it is a new node, or what it kept was lost, a promise
    /// with it (R7). It never lies on the disk itself.
    #[serde(skip)]
    pub forgotten: bool,
}

/// A restart in place by promises (R7). Of two of one epoch the one that was opened is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Restart {
    /// The epoch of the promises.
    pub epoch: u64,
    /// PostgreSQL was seen as a primary since: it may have acknowledged commits.
    pub opened: bool,
    /// What the data were like before. A server that is opened writes a checkpoint first, so that data which are
    /// still the same have acknowledged nothing since.
    pub from: DataEnd,
}

/// What tells whether a data directory was written since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DataEnd {
    /// The system identifier.
    pub system: u64,
    /// Where the WAL ends.
    pub end: WalPosition,
}

impl DataEnd {
    /// Whether both are the same: neither written on nor put back. A position just behind a page header is
    /// the position before it.
    #[must_use]
    pub fn is_as(&self, other: &Self) -> bool {
        let end = |data: &Self| (data.end.timeline, data.end.lsn.before_page_header());
        self.system == other.system && end(self) == end(other)
    }
}

/// A promotion that was completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Reign {
    /// The register's term.
    pub term: u64,
    /// The timeline that PostgreSQL wrote.
    pub timeline: TimelineId,
}

/// Why a promise was not given (R7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PromiseRefused {
    /// The register has moved on since the primary has seen it.
    #[error(
        "no promise for epoch {asked}: this node has seen epoch {seen}, so the register has moved on; read it again"
    )]
    EpochMoved {
        /// The epoch for which a promise was asked.
        asked: u64,
        /// The highest epoch that this node has seen or promised for.
        seen: u64,
    },
    /// Another primary has been registered since.
    #[error(
        "no promise at term {asked}: this node has seen term {seen}, so the primary that asks has been replaced"
    )]
    TermMoved {
        /// The term of the primary that asks.
        asked: u64,
        /// The highest term that this node has seen.
        seen: u64,
    },
    /// What the primary says is impossibly far beyond what this node has seen.
    #[error(
        "no promise for {what} {asked}: this node has seen {what} {seen}, and more than 1,048,576 (2^20) at once is damage, which is not kept; see the row's past with `distlock <conninfo> history <table:lockname>`"
    )]
    Leap {
        /// "term" or "epoch".
        what: &'static str,
        /// What was asked for.
        asked: u64,
        /// The highest that this node has seen or promised for.
        seen: u64,
    },
    /// What this node had promised or asked for was lost with its memory.
    #[error(
        "no promise: this node has no memory of the register, in which it would keep it; its next start makes one"
    )]
    Forgotten,
    /// This node has itself asked to be the owner, and does not know what came of it.
    #[error(
        "no promise for epoch {epoch}: this node has asked to be promoted at that epoch, and whether it was is only known once the lock service answers"
    )]
    Unsettled {
        /// The epoch for which a promise was asked.
        epoch: u64,
    },
    /// The primary has withdrawn the question, and this one was sent before that.
    #[error(
        "no promise for epoch {epoch}: the primary has withdrawn its question at that epoch, when its PostgreSQL had been stopped, or an operator is about to go on without it (cls_recovery_master)"
    )]
    Withdrawn {
        /// The epoch for which a promise was asked.
        epoch: u64,
    },
    /// The withdrawal is of another reign or another time than this node's promise.
    #[error(
        "nothing to withdraw at term {term}, epoch {epoch}: this node has seen term {seen_term}, epoch {seen_epoch}"
    )]
    NothingToWithdraw {
        /// The term of the primary that withdraws.
        term: u64,
        /// The epoch that it names.
        epoch: u64,
        /// The highest term that this node has seen.
        seen_term: u64,
        /// The highest epoch that this node has seen or promised for.
        seen_epoch: u64,
    },
    /// The promise was asked for by a version that does not keep whether it has used it.
    #[error(
        "the promise for epoch {epoch} stays: an earlier version of the agent has asked for it, and did not keep whether it relied on it"
    )]
    Irrevocable {
        /// The epoch of the promise.
        epoch: u64,
    },
}

/// Why a primary may not let a standby go by promises, or may not withdraw its question for them (R7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRelied {
    /// This node has withdrawn the question.
    #[error(
        "the promises of epoch {epoch} are not relied on: this node has withdrawn its question or given way to an operator, so another node may be promoted; commits wait until the lock service is back"
    )]
    Withdrawn {
        /// The epoch of the promises.
        epoch: u64,
    },
    /// This node has let a standby go by the promises, and commits may have been acknowledged since.
    #[error(
        "the promises of epoch {epoch} are not withdrawn: by them this node has let a standby go or was restarted, so that the others may lack commits"
    )]
    Used {
        /// The epoch of the promises.
        epoch: u64,
    },
    /// This node is not the primary of that term and epoch, as far as it remembers.
    #[error(
        "no promises of term {term}, epoch {epoch} are this node's: it remembers term {seen_term}, epoch {seen_epoch}"
    )]
    Moved {
        /// The term at which promises were asked for.
        term: u64,
        /// The epoch.
        epoch: u64,
        /// The highest term that this node has seen.
        seen_term: u64,
        /// The highest epoch.
        seen_epoch: u64,
    },
}

impl Memory {
    /// What a node knows that has no memory on its disk.
    #[must_use]
    pub fn none() -> Self {
        Self {
            forgotten: true,
            ..Self::default()
        }
    }

    /// The memory after having seen `register`. It never goes back, whatever the register says, and
    /// takes nothing over from a row that is impossibly far beyond it.
    #[must_use]
    pub fn seeing(&self, register: &Register) -> Self {
        if leaps(register.term, self.term) || leaps(register.epoch, self.epoch) {
            return *self;
        }
        Self {
            term: self.term.max(register.term),
            epoch: self.epoch.max(register.epoch),
            promised: self.promised.filter(|epoch| *epoch >= register.epoch),
            asked: self.asked.filter(|epoch| *epoch >= register.epoch),
            relied: self.relied.filter(|epoch| *epoch >= register.epoch),
            used: self.used.filter(|epoch| *epoch >= register.epoch),
            restart: self.restart.filter(|at| at.epoch >= register.epoch),
            withdrawn: self.withdrawn.filter(|epoch| *epoch >= register.epoch),
            revocable: self.revocable.filter(|epoch| *epoch >= register.epoch),
            freed: self.freed.filter(|epoch| *epoch >= register.epoch),
            reign: self.reign,
            forgotten: self.forgotten,
        }
    }

    /// What a register is judged by: this memory, and what the whole cluster has seen, which may be
    /// later. A number that is impossibly far ahead is no work of this program and bars nobody; the
    /// primary writes the right one over it.
    #[must_use]
    pub fn told(&self, cluster: Option<Seen>) -> Self {
        let far = |says: u64, seen: u64| leaps(says, seen) || says.saturating_sub(seen) > TOLD;
        match cluster {
            Some(told) if !far(told.term, self.term) && !far(told.epoch, self.epoch) => Self {
                term: self.term.max(told.term),
                epoch: self.epoch.max(told.epoch),
                ..*self
            },
            _ => *self,
        }
    }

    /// [`Memory::seeing`] of the node `me` itself. One that has no memory and finds itself a holder
    /// beside another node's reign may have promised at this very epoch, or have asked for a promotion at
    /// it that may still be made (R7): it takes it that it has, until the epoch moves. One that is really
    /// new is no holder before that.
    #[must_use]
    pub fn seeing_as(&self, me: &NodeName, register: &Register) -> Self {
        let seen = self.seeing(register);
        if !self.forgotten || seen.epoch != register.epoch {
            return seen;
        }
        let bound = self.may_have_promised(me, register);
        // An owner may have let a standby go by promises.
        let served = register.term > 0 && register.is_owned_by(me);
        Self {
            promised: bound.then_some(register.epoch),
            asked: bound.then_some(register.epoch),
            used: served.then_some(register.epoch),
            forgotten: false,
            ..seen
        }
    }

    /// Whether this node has no memory, and may have given a promise that holds in this register.
    #[must_use]
    pub fn may_have_promised(&self, me: &NodeName, register: &Register) -> bool {
        let bound = register.term > 0 && register.holders.contains(me);
        self.forgotten && bound && !register.is_owned_by(me)
    }

    /// The memory after promising not to promote at `epoch`, the one that the primary of `term` last
    /// saw. `revocable` says that the primary keeps whether it relies on the promise, so that it may
    /// withdraw one that it does not.
    ///
    /// # Errors
    /// [`PromiseRefused`] when this node knows of a later term or epoch, so that the primary's view
    /// is out of date, or may have moved the register itself, or when the question was withdrawn.
    pub fn promising(
        &self,
        term: u64,
        epoch: u64,
        revocable: bool,
    ) -> Result<Self, PromiseRefused> {
        if self.forgotten {
            return Err(PromiseRefused::Forgotten);
        }
        let seen = self.highest().epoch;
        for (what, asked, seen) in [("term", term, self.term), ("epoch", epoch, seen)] {
            if leaps(asked, seen) {
                return Err(PromiseRefused::Leap { what, asked, seen });
            }
        }
        if term < self.term {
            return Err(PromiseRefused::TermMoved {
                asked: term,
                seen: self.term,
            });
        }
        if epoch < seen {
            return Err(PromiseRefused::EpochMoved { asked: epoch, seen });
        }
        if self.unsettled_at(epoch) {
            return Err(PromiseRefused::Unsettled { epoch });
        }
        if self.freed >= Some(epoch) {
            return Err(PromiseRefused::Withdrawn { epoch });
        }
        // A promise that was given to an earlier version stays as it is.
        let revocable = match self.has_promised(epoch) {
            true => self.revocable,
            false => revocable.then_some(epoch),
        };
        Ok(Self {
            term,
            epoch,
            promised: Some(epoch),
            asked: None,
            relied: None,
            used: self.used.filter(|at| *at >= epoch),
            restart: self.restart.filter(|at| at.epoch >= epoch),
            withdrawn: self.withdrawn.filter(|at| *at >= epoch),
            revocable,
            freed: None,
            reign: self.reign,
            forgotten: false,
        })
    }

    /// The memory of a node that has promised, once the primary of `term` has withdrawn its question at
    /// `epoch`: it is bound no more, and promises nothing at that epoch again.
    ///
    /// # Errors
    /// [`PromiseRefused`] when the withdrawal is of another time, or of a primary that may have used the
    /// promise; then everything stays as it was.
    pub fn freed(&self, term: u64, epoch: u64) -> Result<Self, PromiseRefused> {
        if self.forgotten {
            return Err(PromiseRefused::Forgotten);
        }
        if (term, epoch) != (self.term, self.epoch) {
            return Err(PromiseRefused::NothingToWithdraw {
                term,
                epoch,
                seen_term: self.term,
                seen_epoch: self.highest().epoch,
            });
        }
        if self.has_promised(epoch) && self.revocable != Some(epoch) {
            return Err(PromiseRefused::Irrevocable { epoch });
        }
        Ok(Self {
            promised: None,
            revocable: None,
            freed: self.freed.max(Some(epoch)),
            ..*self
        })
    }

    /// The memory that has to be on the disk before this primary lets a standby go by the promises of
    /// `term` and `epoch`, or is restarted in place by them: then `restart` is what its data are like.
    ///
    /// # Errors
    /// [`NotRelied`]: the promises are this node's no more.
    pub fn using(
        &self,
        term: u64,
        epoch: u64,
        restart: Option<DataEnd>,
    ) -> Result<Self, NotRelied> {
        self.is_at(term, epoch)?;
        if self.withdrawn >= Some(epoch) {
            return Err(NotRelied::Withdrawn { epoch });
        }
        let restart = match (self.used == Some(epoch), restart) {
            (false, Some(from)) => Some(Restart {
                epoch,
                opened: false,
                from,
            }),
            // Whoever lets a standby go is a primary, also where nobody has kept that it was opened.
            (true, None) => self.opened().restart,
            _ => self.restart,
        };
        Ok(Self {
            used: Some(epoch),
            restart,
            ..*self
        })
    }

    /// The restart in place by promises of the present epoch that nobody has seen open PostgreSQL.
    #[must_use]
    pub fn unopened(&self) -> Option<&Restart> {
        let restart = self.restart.as_ref()?;
        (restart.epoch == self.epoch && !restart.opened).then_some(restart)
    }

    /// The memory of a primary that may have been restarted in place by promises: it runs.
    #[must_use]
    pub fn opened(&self) -> Self {
        let opened = |restart: Restart| Restart {
            opened: true,
            ..restart
        };
        Self {
            restart: self.restart.map(opened),
            ..*self
        }
    }

    /// The memory that has to be on the disk before this node, whose PostgreSQL has been stopped,
    /// withdraws the question that it asked at `term` and `epoch`. `unopened` is what its data are like, if that
    /// is to prove that a restart in place has not opened PostgreSQL.
    ///
    /// # Errors
    /// [`NotRelied`]: it was not its question, or commits may have been acknowledged by the promises.
    pub fn withdrawing(
        &self,
        term: u64,
        epoch: u64,
        unopened: Option<DataEnd>,
    ) -> Result<Self, NotRelied> {
        self.is_at(term, epoch)?;
        let same = |restart: &Restart| unopened.is_some_and(|data| data.is_as(&restart.from));
        let proven = self.unopened().is_some_and(same);
        match self.used == Some(epoch) && !proven {
            true => Err(NotRelied::Used { epoch }),
            false => Ok(Self {
                withdrawn: self.withdrawn.max(Some(epoch)),
                ..*self
            }),
        }
    }

    /// The memory that has to be on the disk before an operator moves the register past `epoch`, or past
    /// the one that this node has seen (R15): it relies on no promise up to there any more, and gives none. One
    /// that it has given stays until the epoch moves, which may not come to be.
    #[must_use]
    pub fn giving_way(&self, epoch: u64) -> Self {
        let epoch = Some(self.epoch.max(epoch));
        Self {
            withdrawn: self.withdrawn.max(epoch),
            freed: match self.is_bound() {
                true => self.freed,
                false => self.freed.max(epoch),
            },
            ..*self
        }
    }

    /// Whether a promise of this node is in force, at whatever epoch the primary has asked.
    pub(super) fn is_bound(&self) -> bool {
        self.promised.is_some_and(|at| at >= self.epoch)
    }

    /// Whether this node is the primary of `term`, and has seen nothing later than `epoch`.
    fn is_at(&self, term: u64, epoch: u64) -> Result<(), NotRelied> {
        let own = self.reign.is_some_and(|reign| reign.term == term);
        let same = (self.term, self.epoch) == (term, epoch) && !self.forgotten;
        (own && same).then_some(()).ok_or(NotRelied::Moved {
            term,
            epoch,
            seen_term: self.term,
            seen_epoch: self.epoch,
        })
    }

    /// The memory that has to be on the disk before `update` is sent.
    #[must_use]
    pub fn asking(&self, update: &Update) -> Self {
        let from = match update {
            Update::Promote { from_epoch, .. }
            | Update::HandOver { from_epoch, .. }
            | Update::GiveBack { from_epoch, .. } => from_epoch,
            // One that leaves the owner alone makes nobody else's data count.
            Update::SetHolders {
                node,
                from_epoch,
                holders,
                ..
            } if holders.iter().any(|holder| holder != node) => from_epoch,
            _ => return *self,
        };
        Self {
            asked: self.asked.max(Some(*from)),
            ..*self
        }
    }

    /// The memory that has to be kept before the other nodes are asked to promise at `epoch`.
    #[must_use]
    pub fn relying(&self, epoch: u64) -> Self {
        Self {
            relied: self.relied.max(Some(epoch)),
            ..*self
        }
    }

    /// The memory with what the guard has noted beside it, which waits for no disk: the epoch at which it asked
    /// the other nodes to promise. A note of an earlier epoch is of the past.
    #[must_use]
    pub fn with_guard(&self, relied: Option<u64>) -> Self {
        let present = relied.filter(|epoch| *epoch >= self.epoch);
        present.map_or(*self, |epoch| self.relying(epoch))
    }

    /// Whether a change that this node asked for from `epoch` may still be made without its knowing.
    #[must_use]
    pub fn unsettled_at(&self, epoch: u64) -> bool {
        self.asked.is_some_and(|asked| asked >= epoch)
    }

    /// What an operation goes by at a look: `before` since its look before, none at the first one, which reads
    /// what lies on the disk. Where that may have been changed meanwhile, by another operation of this node, it
    /// is read `again`, and what this one knows is not taken back (R12).
    ///
    /// # Errors
    /// Why the memory cannot be told.
    pub fn at_look<E>(
        before: Option<Result<Self, E>>,
        again: bool,
        read: impl FnOnce() -> Result<Self, E>,
    ) -> Result<Self, E> {
        match before {
            Some(before) if !again => before,
            Some(Ok(before)) => Ok(before.merged(&read()?)),
            Some(Err(_)) | None => read(),
        }
    }

    /// What two memories of the same node amount to together: the later of everything. A process
    /// that read the memory, worked and writes it back must not undo a promise given meanwhile.
    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        let epoch = self.epoch.max(other.epoch);
        let later = |one: Option<u64>, two: Option<u64>| one.max(two).filter(|at| *at >= epoch);
        let freed = later(self.freed, other.freed);
        // Who has not heard of a withdrawal does not bind this node again.
        let bound = |at: &u64| freed.is_none_or(|freed| *at > freed);
        Self {
            term: self.term.max(other.term),
            epoch,
            promised: later(self.promised, other.promised).filter(bound),
            used: later(self.used, other.used),
            restart: self
                .restart
                .max(other.restart)
                .filter(|at| at.epoch >= epoch),
            withdrawn: later(self.withdrawn, other.withdrawn),
            revocable: later(self.revocable, other.revocable).filter(bound),
            freed,
            asked: later(self.asked, other.asked),
            relied: later(self.relied, other.relied),
            reign: match (self.reign, other.reign) {
                (Some(mine), Some(theirs)) if theirs.term < mine.term => Some(mine),
                (mine, theirs) => theirs.or(mine),
            },
            forgotten: self.forgotten && other.forgotten,
        }
    }

    /// What is believed of a memory that was read from the disk. An earlier version kept whatever the
    /// row said, also numbers that no register can be raised beyond: they count as never seen, or no
    /// register could satisfy this node again.
    #[must_use]
    pub fn believed(self) -> Self {
        let at = |epoch: Option<u64>| epoch.filter(|epoch| *epoch <= HIGHEST);
        let reign = self.reign.filter(|reign| reign.term <= HIGHEST);
        Self {
            term: match self.term <= HIGHEST {
                true => self.term,
                false => reign.map_or(0, |reign| reign.term),
            },
            epoch: at(Some(self.epoch)).unwrap_or(0),
            promised: at(self.promised),
            asked: at(self.asked),
            relied: at(self.relied),
            used: at(self.used),
            restart: self.restart.filter(|restart| restart.epoch <= HIGHEST),
            withdrawn: at(self.withdrawn),
            revocable: at(self.revocable),
            freed: at(self.freed),
            reign,
            forgotten: self.forgotten,
        }
    }

    /// The highest term and epoch that this node knows of: an epoch also that it has promised for.
    #[must_use]
    pub fn highest(&self) -> Seen {
        Seen {
            term: self.term,
            epoch: self.epoch.max(self.promised.unwrap_or(0)),
        }
    }

    /// Whether this node has promised not to promote at `epoch`.
    #[must_use]
    pub fn has_promised(&self, epoch: u64) -> bool {
        self.promised == Some(epoch)
    }
}

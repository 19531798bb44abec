//! What a guard has proven, and when it asked: what it keeps from one round to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::decide::guard;
use crate::names::NodeName;
use crate::plan::Action;
use crate::register::{Memory, PromisedAt, Reading, Register};
use crate::snapshot::{Answer, Operation, Snapshot, Watch};

/// Proofs that no other node could be granted the lease, each with the moment from which it counts: when
/// its question was sent. Moments are those of one clock that never stands still, as the caller counts
/// them.
#[derive(Debug, Clone)]
pub struct Proofs {
    renewed_at: Duration,
    last: Option<Register>,
    memory: Memory,
    remembered_at: Duration,
    safe_at: Option<Duration>,
    linked_at: BTreeMap<NodeName, Duration>,
    held_at: Option<Duration>,
}

impl Proofs {
    /// Nothing is proven yet; the lease that was given when the primary was promoted, or renewed by the
    /// monitor that starts this guard, has just begun.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self {
            renewed_at: now,
            last: None,
            memory: Memory::default(),
            remembered_at: now,
            safe_at: None,
            linked_at: BTreeMap::new(),
            held_at: None,
        }
    }

    /// Takes in what the agent has kept of the register, as it lay on the disk at `at`. The guard keeps nothing there
    /// itself: it changes nothing that a memory is needed for, and must not wait for a disk.
    pub fn remember(&mut self, memory: &Memory, at: Duration) {
        self.memory = self.memory.merged(memory);
        self.remembered_at = at;
    }

    /// What is known of the register: what the agent has kept, and what the guard's own questions have brought.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Takes in what the register has answered to an action whose question was sent at `asked`. A change that another
    /// node has passed on, which was asked for its promise (R7), moves the epoch before a monitor sees it.
    pub fn learn(&mut self, action: &Action, s: &Snapshot, asked: Duration) {
        let asks = matches!(
            action,
            Action::UpdateRegister(_) | Action::ReadRegister | Action::AskPromises(_)
        );
        if !asks {
            return;
        }
        if let (Action::AskPromises(_), Ok(memory)) = (action, &s.memory) {
            self.memory = *memory;
        }
        if guard::proven(s) {
            self.renewed_at = asked;
        }
        if let Some(Reading::Row(row)) = &s.register
            && row.is_owned_by(s.me())
        {
            self.owned(row.clone());
        }
    }

    /// The row was seen in this node's hands.
    pub fn owned(&mut self, row: Register) {
        self.last = Some(row);
    }

    /// These standbys acknowledged what was written at `asked`.
    pub fn linked(&mut self, standbys: &BTreeSet<NodeName>, asked: Duration) {
        let seen = standbys.iter().map(|node| (node.clone(), asked));
        self.linked_at.extend(seen);
    }

    /// Takes in what PostgreSQL has shown at `now`.
    pub fn looked(&mut self, answer: &Answer, now: Duration) {
        let held = matches!(answer, Answer::Primary(view) if view.waits.is_held());
        self.held_at = held.then(|| self.held_at.unwrap_or(now));
    }

    /// Keeps in mind that no other node could be promoted when the memory was read, where the picture
    /// says so ([`guard::safe`]).
    pub fn judge(&mut self, s: &Snapshot) {
        if guard::safe(s) {
            self.safe(self.remembered_at);
        }
    }

    /// No other node could be promoted at this moment.
    pub fn safe(&mut self, at: Duration) {
        self.safe_at = Some(at);
    }

    /// Brings the picture up to date at `now`: how old the proofs are, beside what the guard has `seen` otherwise and
    /// what the round has come to already. That every other node has promised (R7) was `noted` at a term and an epoch,
    /// and counts as long as nothing later is known. Whether the picture then says that nobody could be promoted counts
    /// from when the memory in it was read.
    pub fn refresh(
        &mut self,
        s: &mut Snapshot,
        seen: Watch,
        noted: Option<PromisedAt>,
        now: Duration,
    ) {
        let (links_tried, overslept) = match &s.operation {
            Operation::Guard(before) => (before.links_tried, before.overslept),
            _ => (false, false),
        };
        let Watch {
            unrenewed,
            links,
            last,
            safe,
            held,
            ..
        } = self.watch(now);
        s.operation = Operation::Guard(Watch {
            unrenewed,
            links,
            last,
            safe,
            held,
            links_tried,
            overslept,
            promised: noted.is_some_and(|noted| noted.binds(&self.memory)),
            ..seen
        });
        self.judge(s);
    }

    /// How old they are.
    #[must_use]
    pub fn watch(&self, now: Duration) -> Watch {
        let age = |at: Duration| now.saturating_sub(at);
        let ages = self.linked_at.iter();
        Watch {
            unrenewed: age(self.renewed_at),
            links: ages.map(|(node, at)| (node.clone(), age(*at))).collect(),
            last: self.last.clone(),
            safe: self.safe_at.map(age),
            held: self.held_at.map_or(Duration::ZERO, age),
            ..Watch::default()
        }
    }
}

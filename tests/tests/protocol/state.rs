//! The state of the explored cluster: nodes with a log each, the register, operations in flight.
//!
//! Terms and epochs are kept relative to the register's: only whether one is the present one, or how
//! far behind it is, decides anything. So a primary may restart and its standbys may come and go
//! without end, and there are finitely many states all the same.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use pha_core::lineage::Former;
use pha_core::lsn::Lsn;
use pha_core::names::NodeName;
use pha_core::plan::{Action, Verdict};
use pha_core::register::{Memory, Reading, Register, Reign, Seen, Update};
use pha_core::snapshot::Snapshot;
use pha_core::timeline::TimelineId;

use crate::decision::Deciding;
use crate::guard::Resident;
use crate::names::{Kept, Names};
use crate::operator::Copy;
use crate::restored::Counted;
use crate::strangers::{Said, Stranger};

/// The most nodes.
pub(crate) const NODES: usize = 3;
/// The register's term, as it is kept; every older one is 1, and 0 is "never elected".
pub(crate) const TERM: u64 = 2;
/// The register's epoch, as it is kept; every older one is 0.
pub(crate) const EPOCH: u64 = 1;
/// `synchronous_standby_names` of a standby that is not to be promoted: nobody can have that name.
pub(crate) const NOBODY_BIT: u8 = 0x80;
/// In names: no commit passes, because one of them takes the place of another (R3).
pub(crate) const HELD_BIT: u8 = 0x40;
/// Any length of a lease.
pub(crate) const TTL: Duration = Duration::from_secs(20);

pub(crate) fn name(node: usize) -> NodeName {
    ["a", "b", "c"][node].parse().expect("a node name")
}

/// A log: commits and marks of timelines, as many as the bounds allow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Log {
    len: u8,
    entries: [u8; 10],
}

/// Set in an entry that begins a timeline; the node that began it is in the low bits, because
/// two nodes may take the same number for different timelines.
const MARK: u8 = 0x80;
/// WAL that the primary writes for R4: a position of its own, and no commit.
const MESSAGE: u8 = 0x40;

impl Log {
    pub(crate) fn len(&self) -> usize {
        usize::from(self.len)
    }

    fn entries(&self) -> &[u8] {
        &self.entries[..self.len()]
    }

    fn push(&mut self, entry: u8) {
        self.entries[self.len()] = entry;
        self.len += 1;
    }

    pub(crate) fn commit(&mut self, id: u8) {
        self.push(id);
    }

    pub(crate) fn write_message(&mut self) {
        self.push(MESSAGE);
    }

    pub(crate) fn messages(&self) -> usize {
        let messages = self.entries().iter().filter(|entry| **entry == MESSAGE);
        messages.count()
    }

    /// `pg_ctl promote`: PostgreSQL takes the next number that it knows to be free.
    pub(crate) fn begin_timeline(&mut self, node: usize, reserved: u8) {
        let next = self.timeline().max(reserved) + 1;
        self.push(MARK | (next << 2) | node as u8);
    }

    pub(crate) fn timeline(&self) -> u8 {
        let mark = self.entries().iter().rev().find(|entry| *entry & MARK != 0);
        mark.map_or(1, |entry| (entry & !MARK) >> 2)
    }

    /// The commits, as bits.
    pub(crate) fn commits(&self) -> u8 {
        let commits = self.entries().iter().filter(|entry| **entry < MESSAGE);
        commits.fold(0, |bits, id| bits | 1 << id)
    }

    pub(crate) fn is_prefix_of(&self, other: &Self) -> bool {
        other.entries().starts_with(self.entries())
    }

    /// Where a timeline ends in this log, if it is in it.
    fn end_of(&self, timeline: u8) -> Option<usize> {
        if timeline > self.timeline() {
            return None;
        }
        let mut present = 1;
        for (index, entry) in self.entries().iter().enumerate() {
            if entry & MARK != 0 {
                if present == timeline {
                    return Some(index);
                }
                present = (entry & !MARK) >> 2;
            }
        }
        (present == timeline).then_some(self.len())
    }

    /// Whether PostgreSQL lets a standby with this log stream from a primary with `other`: it
    /// compares numbers of timelines and positions, never contents.
    pub(crate) fn may_stream_from(&self, other: &Self) -> bool {
        other
            .end_of(self.timeline())
            .is_some_and(|end| self.len() <= end)
    }

    /// Every switch in it, oldest first: the timeline that was left, and where.
    pub(crate) fn switches(&self) -> Vec<(u8, u8)> {
        let marks = self.entries().iter().enumerate();
        marks
            .filter(|(_, entry)| *entry & MARK != 0)
            .map(|(index, _)| (self.first(index).timeline(), index as u8 + 1))
            .collect()
    }

    /// Who began the timeline of this number in it.
    pub(crate) fn began(&self, number: u8) -> Option<u8> {
        let mut marks = self.entries().iter().filter(|entry| *entry & MARK != 0);
        marks
            .find(|entry| (*entry & !MARK) >> 2 == number)
            .map(|entry| entry & 3)
    }

    /// Where its timeline began, and which one it left.
    pub(crate) fn last_switch(&self) -> Option<(u8, u8)> {
        let mark = self
            .entries()
            .iter()
            .rposition(|entry| *entry & MARK != 0)?;
        let before = self.first(mark);
        Some((before.timeline(), before.end()))
    }

    /// Up to where a primary with this log sends a standby with the other one.
    pub(crate) fn common(&self, standby: &Self) -> u8 {
        match self.end_of(standby.timeline()) {
            Some(end) if end < standby.len() => end as u8 + 1,
            _ => standby.end(),
        }
    }

    /// Whether a standby with this log is let stream for moments all the same: it has left the
    /// primary's history, and is sent what lies before that.
    pub(crate) fn has_left(&self, other: &Self) -> bool {
        other
            .end_of(self.timeline())
            .is_some_and(|end| self.len() > end)
    }

    pub(crate) fn receive_from(&mut self, other: &Self) {
        self.push(other.entries[self.len()]);
    }

    /// The log as it was when it had so many entries.
    pub(crate) fn first(&self, entries: usize) -> Self {
        let mut before = Self::default();
        for entry in self.entries().iter().take(entries) {
            before.push(*entry);
        }
        before
    }

    /// The position at its end.
    pub(crate) fn end(&self) -> u8 {
        self.len + 1
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in self.entries() {
            match entry & MARK {
                _ if *entry == MESSAGE => write!(f, "m")?,
                0 => write!(f, "{entry}")?,
                _ => write!(
                    f,
                    "|t{}{}|",
                    (entry & !MARK) >> 2,
                    name(usize::from(entry & 3))
                )?,
            }
        }
        Ok(())
    }
}

/// A PostgreSQL server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Postgres {
    Down,
    Standby {
        /// The primary from which it streams.
        upstream: Option<u8>,
        /// It was told to promote and has not done so yet.
        promoting: bool,
    },
    Primary {
        /// The names that its backends wait for, as bits: what was in force last.
        in_force: u8,
    },
}

/// A node: what survives a crash, what does not, and an operation of the agent in flight.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) postgres: Postgres,
    pub(crate) log: Log,
    pub(crate) standby_signal: bool,
    /// `synchronous_standby_names` in the settings file, as bits.
    pub(crate) names: u8,
    /// What the server has of it, as a new session sees it.
    pub(crate) shown: u8,
    /// A file of its settings has an error, so that it takes up no change, and is not started.
    pub(crate) unread: bool,
    /// Term and timeline of the last promotion that was completed here.
    pub(crate) reign: Option<(u64, u8)>,
    /// What it has durably seen, promised and asked; nothing unless outages are explored, because
    /// nothing else depends on it while the register is never put back.
    pub(crate) seen: Memory,
    /// It has promised at an epoch that has passed since, and keeps to that (a mutation).
    pub(crate) bound_for_ever: bool,
    /// A copy of another node's data that is under way (R6).
    pub(crate) copy: Option<Copy>,
    /// Its data directory is marked as the rest of a copy, and is not started.
    pub(crate) unfinished: bool,
    /// What the register records of it (R10), as the log that it stands for. No node knows this.
    pub(crate) recorded: Log,
    /// As a standby: it streams and has not reported yet how far it is.
    pub(crate) silent: bool,
    /// As a primary: up to which position PostgreSQL lets commits pass, because a synchronous standby
    /// has reported so much; only where that is more than there is in its log.
    pub(crate) released: u8,
    /// What it keeps about its data (R13).
    pub(crate) record: Option<Kept>,
    /// The highest number of which it has a history file that stands for nothing.
    pub(crate) reserved: u8,
    /// As a standby: its settings name this other standby to receive from.
    pub(crate) lender: Option<u8>,
    /// Its server was opened by hand: nobody finds it under the writer's address.
    pub(crate) by_hand: bool,
    /// Its machine was started anew since it served.
    pub(crate) rebooted: bool,
    /// It served on after its guard had seen it for the last time.
    pub(crate) unseen: bool,
    /// The guard beside it.
    pub(crate) guard: Option<Resident>,
    /// It has noted for its guard that every other node has promised at the epoch it last saw (R7).
    pub(crate) noted: bool,
    pub(crate) run: Option<Arc<Run>>,
    /// Of its server, or of the last one: 0 for the plain name (R11).
    pub(crate) incarnation: u8,
    /// What its agent has told the cluster last.
    pub(crate) announced: u8,
    /// How far its own agent says that its standby has flushed.
    pub(crate) said: Option<Said>,
    /// The barrier that its agent has kept, by the name that was in force: of the present epoch.
    pub(crate) kept: Option<(u8, u8)>,
    /// It has kept that commits are held: at the present epoch, with this node as the other holder (R3).
    pub(crate) hold: Option<u8>,
    /// Its data have been replaced while a change of the register was on its way that makes it a holder (R6).
    pub(crate) remade: bool,
    /// As a standby it could not open for writing (R14).
    pub(crate) unfit: bool,
    /// An operation that stands still, beside the one in flight.
    pub(crate) aside: Option<Arc<Run>>,
}

impl Node {
    /// The operations that have begun and not ended.
    pub(crate) fn operations(&self) -> impl Iterator<Item = &Arc<Run>> {
        self.run.iter().chain(&self.aside)
    }

    pub(crate) fn memory(&self) -> Memory {
        let reign = self.reign.map(|(term, timeline)| Reign {
            term,
            timeline: TimelineId::new(u32::from(timeline)).expect("a timeline"),
        });
        Memory {
            reign,
            promised: match self.bound_for_ever {
                true => Some(EPOCH),
                false => self.seen.promised,
            },
            ..self.seen
        }
    }

    /// Keeps what was seen as the agent does: nothing that is there is taken back.
    pub(crate) fn remember(&mut self, memory: &Memory) {
        let before = (self.seen.term, self.seen.epoch);
        self.seen = Memory {
            reign: None,
            ..self.seen.merged(memory)
        };
        self.noted &= before == (self.seen.term, self.seen.epoch);
        if self.bound_for_ever {
            self.seen.promised = None;
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} log {:?} names {:b}",
            self.postgres, self.log, self.names
        )?;
        if let Some((term, _)) = self.reign {
            write!(f, " reigned at {term}")?;
        }
        if self.seen != Memory::default() {
            let Memory {
                term,
                epoch,
                promised,
                asked,
                relied,
                used,
                withdrawn,
                freed,
                ..
            } = self.seen;
            write!(
                f,
                " seen {term}/{epoch} promised {promised:?} asked {asked:?} relied {relied:?} used {used:?} withdrawn {withdrawn:?} freed {freed:?}"
            )?;
        }
        if self.announced > 0 {
            let (is, told, said) = (self.incarnation, self.announced, self.said);
            write!(
                f,
                " incarnation {is} announced {told} {said:?} kept {:?}",
                self.kept
            )?;
        }
        if self.silent || self.released > 0 {
            write!(f, " silent {} released {}", self.silent, self.released)?;
        }
        if self.unfit {
            write!(f, " unfit")?;
        }
        if self.unread || self.shown != self.names {
            write!(f, " shows {:b} unread {}", self.shown, self.unread)?;
        }
        if let Some(lender) = self.lender {
            write!(f, " receives from {}", name(usize::from(lender)))?;
        }
        if self.recorded != Log::default() {
            write!(f, " recorded {:?}", self.recorded)?;
        }
        if let Some(holder) = self.hold {
            write!(f, " holds from {}", name(usize::from(holder)))?;
        }
        if let Some(guard) = &self.guard {
            write!(f, " {guard:?} noted {}", self.noted)?;
        }
        if let Some(kept) = &self.record {
            write!(f, " keeps {:?} {:?}", kept.names.lineage(), kept.held)?;
        }
        if self.unfinished || self.copy.is_some() {
            write!(f, " unfinished {} copy {:?}", self.unfinished, self.copy)?;
        }
        for run in self.operations() {
            let next: Vec<_> = run
                .queue
                .iter()
                .map(|action| action.kind().text())
                .collect();
            write!(f, " {:?}: {next:?}", run.kind)?;
        }
        Ok(())
    }
}

/// Which operation Pacemaker has asked for, or a round of the guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Start,
    Stop,
    Monitor,
    Promote,
    Demote,
    /// Before all other nodes are stopped.
    Notify,
    Guard,
}

/// What an operation can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum View {
    /// Everything.
    All,
    /// It sees no node of another part as a member; what stops a primary does not reach the lock service.
    Alone,
    /// The other nodes, and not the lock service.
    NoLock,
    /// Everything but what Pacemaker knows.
    Blind,
}

/// An operation in flight: what it has seen, what it will do next.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) kind: Kind,
    pub(crate) snapshot: Snapshot,
    pub(crate) queue: Vec<Action>,
    pub(crate) verdict: Verdict,
    /// What it reaches; only kept while a decision may look at it again.
    pub(crate) view: View,
}

impl Run {
    fn key(&self) -> impl Hash + PartialEq + '_ {
        let s = &self.snapshot;
        let kept = s.names.kept.as_ref();
        let kept = kept.map(|kept| (&kept.barrier, &kept.hold));
        let seen = (
            s.process,
            &s.answer,
            s.standby_signal,
            &s.register,
            &s.in_memory,
            &s.memory,
            &s.guard,
            (&s.disk, &s.served, kept),
        );
        (
            self.kind,
            seen,
            &s.progress,
            &self.queue,
            &self.verdict,
            self.view,
        )
    }
}

impl PartialEq for Run {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Run {}

impl Hash for Run {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// The lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Lease {
    Running,
    /// Its time has passed.
    RunOut,
    /// Its owner gave it back.
    Released,
}

/// The register, as far as it is not always the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Row {
    pub(crate) owner: Option<u8>,
    pub(crate) elected: bool,
    pub(crate) holders: u8,
    /// The position of each node; 0 where none is recorded.
    pub(crate) positions: [u8; NODES],
    pub(crate) lease: Lease,
    /// The owner's timelines (R13), whether the present owner has named them, and the highest number.
    pub(crate) names: Names,
    pub(crate) is_named: bool,
    pub(crate) highest: u8,
    /// Who held everything before the owner (R14), as bits, and the position of each.
    pub(crate) former: Option<(u8, [u8; NODES])>,
}

impl Row {
    fn register(&self) -> Register {
        let running = self.lease == Lease::Running;
        let term = if self.elected { TERM } else { 0 };
        let named = if self.is_named { TERM } else { 1 };
        let mut timelines = self.names.timelines(named, self.highest);
        timelines.former = self.former.map(|(nodes, positions)| {
            Box::new(Former {
                term,
                nodes: members(nodes)
                    .map(|node| {
                        let position = Lsn::new(u64::from(positions[node]));
                        (name(node), (positions[node] > 0).then_some(position))
                    })
                    .collect(),
            })
        });
        Register {
            owner: self.owner.map(|node| name(usize::from(node))),
            term,
            epoch: EPOCH,
            holders: members(self.holders).map(name).collect(),
            positions: members(self.holders)
                .filter(|node| self.positions[*node] > 0)
                .map(|node| (name(node), Lsn::new(u64::from(self.positions[node]))))
                .collect(),
            lease_left: if running { TTL } else { Duration::ZERO },
            ttl: if self.lease == Lease::Released {
                Duration::ZERO
            } else {
                TTL
            },
            timelines,
            renewed: String::new(),
        }
    }

    fn of(register: &Register) -> Self {
        let lease = match (register.lease_left.is_zero(), register.ttl.is_zero()) {
            (false, _) => Lease::Running,
            (true, false) => Lease::RunOut,
            (true, true) => Lease::Released,
        };
        let mut positions = [0; NODES];
        for (node, position) in &register.positions {
            if let Some(node) = index(node) {
                positions[node] = position.as_u64() as u8;
            }
        }
        let former = register.former().map(|former| {
            let (mut nodes, mut positions) = (0, [0; NODES]);
            for (node, position) in &former.nodes {
                if let Some(node) = index(node) {
                    nodes |= 1 << node;
                    positions[node] = position.map_or(0, |position| position.as_u64() as u8);
                }
            }
            (nodes, positions)
        });
        Self {
            former,
            names: Names::of(&register.timelines.lineage),
            is_named: register.timelines.term == register.term,
            highest: register.timelines.highest as u8,
            positions,
            owner: register
                .owner
                .as_ref()
                .and_then(index)
                .map(|node| node as u8),
            elected: register.term > 0,
            holders: register
                .holders
                .iter()
                .filter_map(index)
                .fold(0, |bits, node| bits | 1 << node),
            lease,
        }
    }
}

/// The nodes of a bit set.
pub(crate) fn members(bits: u8) -> impl Iterator<Item = usize> {
    (0..NODES).filter(move |node| bits & 1 << node != 0)
}

pub(crate) fn index(wanted: &NodeName) -> Option<usize> {
    (0..NODES).find(|node| wanted == &name(*node))
}

/// The whole cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) nodes: Vec<Node>,
    pub(crate) row: Row,
    /// A change whose sender has given up waiting and which may still take effect.
    pub(crate) delayed: Option<Update>,
    /// The commits that were acknowledged to a client, as bits.
    pub(crate) acknowledged: u8,
    pub(crate) next_commit: u8,
    /// How often an operator may still decide.
    pub(crate) overrides_left: u8,
    /// What an operator is deciding.
    pub(crate) deciding: Option<Deciding>,
    /// What must never happen and is not to be seen in a state alone.
    pub(crate) violation: Option<&'static str>,
    /// The owner has withdrawn its question for promises at the present epoch: that may arrive at any
    /// later time, and more than once.
    pub(crate) withdrawn: bool,
    /// Whether the transition that is being made has moved the term and the epoch.
    pub(crate) moved: (bool, bool),
    /// A barrier counts at a later epoch too (a mutation).
    pub(crate) barriers_last: bool,
    /// What was kept of a hold counts at a later epoch too (a mutation).
    pub(crate) holds_last: bool,
    /// A receiver that is none of the nodes.
    pub(crate) stranger: Option<Stranger>,
    /// The numbers themselves, where the lock database may be put back.
    pub(crate) counted: Option<Counted>,
    /// The nodes that are cut off from all others, as bits; none where none are.
    pub(crate) cut: u8,
    /// Without a register: the standby that Pacemaker promotes in the other part.
    pub(crate) heir: Option<u8>,
}

impl State {
    /// The register as it is read.
    pub(crate) fn register(&self) -> Register {
        let row = self.row.register();
        match &self.counted {
            Some(Counted { now, .. }) => Register {
                term: now.term,
                epoch: now.epoch,
                ..row
            },
            None => row,
        }
    }

    /// The register's term and epoch.
    pub(crate) fn row_at(&self) -> (u64, u64) {
        let row = self.register();
        (row.term, row.epoch)
    }

    /// Takes over the changed register and ages every term and epoch that somebody still has in mind.
    pub(crate) fn set_register(&mut self, before: &Register, after: &Register) {
        self.row = Row::of(after);
        if let Some(counted) = &mut self.counted {
            counted.now = Seen::of(after);
            for node in &mut self.nodes {
                (node.kept, node.hold) = (None, None);
            }
            return;
        }
        let (term, epoch) = (
            after.term > before.term && before.term > 0,
            after.epoch > before.epoch,
        );
        if !term && !epoch {
            return;
        }
        self.moved = (self.moved.0 | term, self.moved.1 | epoch);
        // It applies to what was read.
        self.deciding = None;
        self.withdrawn &= !epoch;
        for node in &mut self.nodes {
            if term && let Some(reign) = &mut node.reign {
                *reign = (older_term(reign.0), 1);
            }
            node.seen = aged(term, epoch, node.seen);
            if !self.barriers_last {
                node.kept = None;
            }
            if !self.holds_last {
                node.hold = None;
            }
            if let Some(guard) = &mut node.guard {
                guard.age(term, epoch);
            }
            if term && let Some(copy) = &mut node.copy {
                copy.term = older_term(copy.term);
            }
            for run in node.run.iter_mut().chain(&mut node.aside) {
                Arc::make_mut(run).age(term, epoch);
            }
        }
        if let Some(update) = &mut self.delayed {
            age_update(term, epoch, update);
        }
    }
}

impl Run {
    /// The register has moved: what this operation has in mind is older by one.
    pub(crate) fn age(&mut self, term: bool, epoch: bool) {
        age_picture(term, epoch, &mut self.snapshot);
        age_queue(term, epoch, &mut self.queue);
    }
}

/// What a node remembers; in this model no memory is lost in the middle of an operation.
pub(crate) fn remembers(snapshot: &Snapshot) -> Memory {
    snapshot.memory.clone().expect("a memory")
}

pub(crate) fn age_picture(term: bool, epoch: bool, snapshot: &mut Snapshot) {
    if let Some(Reading::Row(row)) = &mut snapshot.register {
        age(term, epoch, &mut row.term, Some(&mut row.epoch));
    }
    snapshot.memory = Ok(aged(term, epoch, remembers(snapshot)));
    if term && let Some(served) = &mut snapshot.served {
        served.term = older_term(served.term);
    }
    let kept = snapshot.names.kept.as_mut();
    let (barrier, hold) = kept.map_or((None, None), |kept| {
        (kept.barrier.as_mut(), kept.hold.as_mut())
    });
    for barrier in snapshot.progress.barrier.iter_mut().chain(barrier) {
        age(term, epoch, &mut barrier.term, Some(&mut barrier.epoch));
    }
    if let Some(hold) = hold {
        age(term, epoch, &mut hold.term, Some(&mut hold.epoch));
    }
    if epoch && let Some(promises) = &mut snapshot.progress.promises {
        promises.epoch = 0;
    }
}

pub(crate) fn age_queue(term: bool, epoch: bool, queue: &mut [Action]) {
    for action in queue {
        match action {
            Action::UpdateRegister(update) => age_update(term, epoch, update),
            Action::Confirm(decided) => {
                age(term, epoch, &mut decided.term, Some(&mut decided.epoch));
            }
            Action::Remember(memory) => *memory = aged(term, epoch, *memory),
            Action::AskPromises(ask) => {
                age(term, epoch, &mut ask.term, Some(&mut ask.epoch));
            }
            Action::UsePromises {
                term: at,
                epoch: from,
                ..
            } => age(term, epoch, at, Some(from)),
            Action::WithdrawPromises(withdrawal) => {
                let (at, from) = (&mut withdrawal.term, &mut withdrawal.epoch);
                age(term, epoch, at, Some(from));
            }
            _ => {}
        }
    }
}

/// A promise at an epoch that has passed is void.
pub(crate) fn aged(by_term: bool, by_epoch: bool, memory: Memory) -> Memory {
    let mut memory = memory;
    if by_term {
        memory.term = older_term(memory.term);
        if let Some(reign) = &mut memory.reign {
            (reign.term, reign.timeline) = (older_term(reign.term), TimelineId::FIRST);
        }
    }
    if by_epoch {
        memory.epoch = 0;
        memory.promised = None;
        memory.asked = memory.asked.map(|_| 0);
        memory.relied = None;
        memory.used = None;
        memory.withdrawn = memory.withdrawn.map(|_| 0);
        (memory.revocable, memory.freed, memory.restart) = (None, None, None);
    }
    memory
}

fn older_term(term: u64) -> u64 {
    term.min(1)
}

pub(crate) fn age(by_term: bool, by_epoch: bool, term: &mut u64, epoch: Option<&mut u64>) {
    if by_term {
        *term = older_term(*term);
    }
    if by_epoch && let Some(epoch) = epoch {
        *epoch = 0;
    }
}

fn age_update(by_term: bool, by_epoch: bool, update: &mut Update) {
    match update {
        Update::Promote {
            from_term,
            from_epoch,
            ..
        } => {
            age(by_term, by_epoch, from_term, Some(from_epoch));
        }
        Update::SetHolders {
            term, from_epoch, ..
        } => {
            age(by_term, by_epoch, term, Some(from_epoch));
        }
        Update::HandOver {
            term, from_epoch, ..
        }
        | Update::GiveBack {
            term, from_epoch, ..
        } => {
            age(by_term, by_epoch, term, Some(from_epoch));
        }
        Update::Renew { term, .. }
        | Update::Release { term, .. }
        | Update::NameTimelines { term, .. } => {
            age(by_term, by_epoch, term, None);
        }
        _ => {}
    }
}

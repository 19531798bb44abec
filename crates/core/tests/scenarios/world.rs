//! A node, its cluster and the lock service as values, and the loop that carries an operation
//! through on them: `pha_core::drive`, as the agent runs it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pha_core::cluster::{Announced, Cluster, ClusterNode, WithoutQuorum};
use pha_core::drive::{Clock, Edge, End, Note, Operating, drive};
use pha_core::lineage::{Held, Lineage, Opening, Record, TimelineName, Timelines};
use pha_core::link_name::LinkName;
use pha_core::lsn::Lsn;
use pha_core::names::NodeName;
use pha_core::ocf::{self, NodeLists, Notification, OcfCode, When};
use pha_core::parse::standby_names::{NOBODY, Waits};
use pha_core::plan::{Action, ActionKind, Attribute, Effect, Exit};
use pha_core::register::{
    Memory, PromiseAnswer, Reading, Register, Reign, Reply, Trouble, Update, Withdrawal,
};
use pha_core::snapshot::{
    Answer, Arbiter, ChangeLock, Disk, EndUnknown, ExternalLock, Guard, InMemory, KeptHold,
    KeptLinks, LinkId, LinkNames, LinkRow, Links, Look, Mode, Operation, PrimaryView, Process,
    Progress, RunningName, Served, Settings, Slot, Snapshot, StandbySignal, StandbyView,
    Unfinished, WalRoom,
};
use pha_core::status::{PgsqlStatus, SyncState, WalSenderState, Word};
use pha_core::timeline::{History, HistoryEntry, TimelineId, WalPosition};

/// A disk of WAL with so many bytes left, and segments of the usual length.
pub(crate) fn room(free: u64) -> WalRoom {
    WalRoom::Seen {
        free,
        segment: Some(16 << 20),
    }
}

/// A part of the node that a test breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// Every action of this kind fails.
    Action(ActionKind),
    /// What was seen cannot be kept on the disk.
    Keep,
}

impl From<ActionKind> for Part {
    fn from(kind: ActionKind) -> Self {
        Self::Action(kind)
    }
}

/// Something that a row of a test makes different.
pub(crate) type Change = fn(&mut World);

/// The system identifier of the data.
pub(crate) const SYSTEM: u64 = 7;
/// What one wait takes.
const PAUSE: Duration = Duration::from_millis(500);
/// What Pacemaker allows an operation.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) fn node(number: u8) -> NodeName {
    format!("node{number}").parse().unwrap()
}

pub(crate) fn nodes(numbers: &[u8]) -> BTreeSet<NodeName> {
    numbers.iter().map(|number| node(*number)).collect()
}

pub(crate) fn timeline(number: u32) -> TimelineId {
    TimelineId::new(number).unwrap()
}

pub(crate) fn reign(term: u64, number: u32) -> Option<Reign> {
    Some(Reign {
        term,
        timeline: timeline(number),
    })
}

pub(crate) fn at(number: u32, lsn: u64) -> WalPosition {
    WalPosition {
        timeline: timeline(number),
        lsn: Lsn::new(lsn),
    }
}

/// The only timeline of a cluster that was never switched.
pub(crate) fn first_lineage() -> Lineage {
    Lineage::new(vec![TimelineName {
        term: 1,
        number: timeline(1),
        fork: Lsn::INVALID,
    }])
}

/// What the node keeps about its data.
pub(crate) fn record(held: Held) -> Option<Record> {
    Some(Record {
        system: SYSTEM,
        lineage: first_lineage(),
        held,
    })
}

/// The register at `term`, owned by `owner`, with its lease running.
pub(crate) fn owned(owner: u8, term: u64, holders: &[u8]) -> Register {
    Register {
        owner: Some(node(owner)),
        term,
        epoch: term * 10,
        holders: nodes(holders),
        positions: BTreeMap::new(),
        lease_left: Duration::from_secs(20),
        ttl: Duration::from_secs(20),
        timelines: Timelines::default().named(term, &first_lineage()),
        renewed: "1".to_owned(),
    }
}

/// The same with the lease released or run out.
pub(crate) fn expired(owner: u8, term: u64, holders: &[u8]) -> Register {
    Register {
        lease_left: Duration::ZERO,
        ..owned(owner, term, holders)
    }
}

pub(crate) fn link(number: u8, flushed: u64) -> LinkRow {
    LinkRow {
        id: LinkId {
            pid: 100 + i32::from(number),
            began: i64::from(number),
        },
        name: node(number).to_string(),
        address: None,
        state: Some(WalSenderState::Streaming),
        sync: Some(SyncState::Sync),
        sent: Some(Lsn::new(flushed)),
        flushed: Some(Lsn::new(flushed)),
        replayed: Some(Lsn::new(flushed)),
        lag: None,
    }
}

/// What the node is like, and everything around it.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) settings: Settings,
    pub(crate) process: Process,
    pub(crate) answer: Answer,
    pub(crate) silent_before: u32,
    pub(crate) standby_signal: bool,
    /// Nobody can look whether it is there.
    pub(crate) signal_unseen: bool,
    pub(crate) wal_room: WalRoom,
    pub(crate) stopped_by_guard: Option<String>,
    /// How the guard has last seen the primary that this node was.
    pub(crate) served: Option<Served>,
    pub(crate) unfinished: Option<Unfinished>,
    /// The end of WAL on this node's disk.
    pub(crate) end: WalPosition,
    pub(crate) history: History,
    /// The histories of newer timelines in `pg_wal`.
    pub(crate) newer: Vec<History>,
    /// The highest number that PostgreSQL gives to no timeline.
    pub(crate) reserved: u32,
    /// Up to where another standby lets this one receive from it.
    pub(crate) lent: Option<Lsn>,
    /// The timeline on which it goes on then, because that one was opened by hand.
    pub(crate) strays: Option<u32>,
    /// Somebody was killed who was changing the settings of this standby.
    pub(crate) changed: bool,
    pub(crate) disk_error: Option<EndUnknown>,
    /// The names in the settings file.
    pub(crate) names: Vec<String>,
    /// What the file says that a restart of the machine takes away.
    pub(crate) in_memory: InMemory,
    /// A file has an error, because of which the server takes up no change.
    pub(crate) unread: Option<String>,
    /// No commit passes under them.
    pub(crate) held: bool,
    pub(crate) standbys: Vec<LinkRow>,
    pub(crate) cluster: Result<Cluster, String>,
    /// Whether this part of the cluster has quorum, whatever `cluster` says as yet.
    pub(crate) quorum: bool,
    pub(crate) register: Result<Register, Reading>,
    pub(crate) memory: Memory,
    /// Why the memory cannot be read.
    pub(crate) memory_lost: Option<String>,
    /// The incarnation for a standby that is started; by default the plain name.
    pub(crate) fresh: LinkName,
    pub(crate) running: RunningName,
    /// What the agent has kept; by default what it would keep now.
    pub(crate) kept: Option<KeptLinks>,
    pub(crate) external: ExternalLock,
    /// What the other nodes answer when they are asked for their promise (R7).
    pub(crate) answers: Vec<(NodeName, PromiseAnswer)>,
    /// Kinds of actions that fail whenever they are tried, without any effect.
    pub(crate) broken: BTreeSet<Part>,
    /// PostgreSQL ends although the attempt to stop it was given up.
    pub(crate) ends_all_the_same: bool,
    /// Updates of this kind take effect and their replies are lost (what `Update::reason` begins with).
    pub(crate) lost: Option<&'static str>,
    /// Updates take effect and their replies are lost, this many times.
    pub(crate) replies_lost: u32,
    /// The owner of the register is alive and renews it at each look.
    pub(crate) owner_renews: bool,
    /// A stop of PostgreSQL that reports success and has none (a process in uninterruptible sleep).
    pub(crate) immortal: bool,
    /// Each look at a primary shows its standbys this much further.
    pub(crate) standbys_advance: u64,
    /// What the node keeps about its data (R13).
    pub(crate) record: Option<Record>,
    /// The guard of this node.
    pub(crate) guard: Guard,
    /// Who was asked for a promise, each time.
    pub(crate) asked: Vec<Vec<NodeName>>,
    /// What was withdrawn, each time.
    pub(crate) freed: Vec<Withdrawal>,
    /// How often the change lock was left to others.
    pub(crate) released: u32,
    /// Another operation of this node that has the change lock.
    pub(crate) lock_holder: Option<String>,
    /// What another operation of this node does before this one gets the change lock.
    pub(crate) while_waiting: Option<fn(&mut Self)>,
    /// What happens before the cluster says whether it has quorum.
    pub(crate) while_asked: Option<fn(&mut Self)>,
}

impl World {
    /// node1 of two, PostgreSQL stopped, synchronous with the built-in lock service, never elected.
    pub(crate) fn new() -> Self {
        let online = |number| {
            let known = ClusterNode {
                online: true,
                announced: match number {
                    1 => Announced::Name(LinkName::plain(&node(1))),
                    _ => Announced::Nothing,
                },
                ..ClusterNode::default()
            };
            (node(number), known)
        };
        Self {
            settings: Settings {
                me: node(1),
                resource: "pgsql".parse().unwrap(),
                nodes: vec![node(1), node(2)],
                mode: Mode::Sync,
                arbiter: Arbiter::Builtin,
                ttl: Duration::from_secs(20),
                check_wal_receiver: false,
                patience: 3,
                slots: Default::default(),
                async_max_lag: 1000,
            },
            process: Process::Absent,
            answer: Answer::NotAsked,
            silent_before: 0,
            standby_signal: true,
            signal_unseen: false,
            wal_room: room(1 << 30),
            stopped_by_guard: None,
            served: None,
            unfinished: None,
            end: at(1, 1000),
            history: History::without_ancestors(timeline(1)),
            newer: Vec::new(),
            reserved: 0,
            lent: None,
            strays: None,
            changed: false,
            disk_error: None,
            names: vec![NOBODY.to_owned()],
            in_memory: InMemory::Nothing,
            unread: None,
            held: false,
            standbys: vec![],
            cluster: Ok(Cluster {
                managed: true,
                nodes: [online(1), online(2)].into(),
                ..Cluster::default()
            }),
            quorum: true,
            register: Ok(Register::fresh()),
            memory: Memory::default(),
            memory_lost: None,
            fresh: LinkName::plain(&node(1)),
            running: RunningName::Unknown,
            kept: None,
            external: ExternalLock::Locked,
            answers: vec![],
            broken: BTreeSet::new(),
            ends_all_the_same: false,
            lost: None,
            replies_lost: 0,
            owner_renews: false,
            immortal: false,
            standbys_advance: 0,
            record: record(Held::Following),
            guard: Guard::Unknown,
            asked: vec![],
            freed: vec![],
            released: 0,
            lock_holder: None,
            while_waiting: None,
            while_asked: None,
        }
    }

    /// The receiver has fetched the history of timeline 3: timeline 1 was left at `fork`, and
    /// timeline 2 at 0x1000.
    pub(crate) fn left_at(&mut self, fork: u64) {
        let entry = |parent, end| HistoryEntry {
            parent: timeline(parent),
            end: Lsn::new(end),
        };
        self.newer = vec![History {
            own: timeline(3),
            entries: vec![entry(1, fork), entry(2, 0x1000)],
        }];
        if matches!(self.answer, Answer::Standby(_)) {
            self.run();
        }
    }

    /// A standby that runs.
    pub(crate) fn standby() -> Self {
        let mut world = Self::new();
        world.run();
        world
    }

    /// The primary at term 1 that waits for node2, its holder.
    pub(crate) fn primary() -> Self {
        let mut world = Self::new();
        world.standby_signal = false;
        world.record = record(Held::Opened(Opening::at(1)));
        world.names = vec!["node2".to_owned()];
        world.in_memory = InMemory::of(&Waits::For("node2".to_owned()));
        world.standbys = vec![link(2, 1000)];
        world.register = Ok(owned(1, 1, &[1, 2]));
        world.memory = Memory {
            term: 1,
            epoch: 10,
            reign: reign(1, 1),
            ..Memory::default()
        };
        world.cluster().repl_info = Some(Ok("node1|0|0000000000000000".parse().unwrap()));
        world.run();
        world
    }

    pub(crate) fn cluster(&mut self) -> &mut Cluster {
        self.cluster.as_mut().unwrap()
    }

    /// Nothing is named yet: numbers and positions are compared.
    pub(crate) fn without_names(&mut self) {
        self.record = None;
        if let Ok(row) = &mut self.register {
            row.timelines = Timelines::default();
        }
    }

    pub(crate) fn row(&self) -> &Register {
        self.register.as_ref().unwrap()
    }

    /// Somebody starts PostgreSQL.
    pub(crate) fn row_mut(&mut self) -> &mut Register {
        self.register.as_mut().unwrap()
    }

    pub(crate) fn start(&mut self) {
        self.run();
    }

    fn run(&mut self) {
        self.process = Process::Alive { frozen: false };
        self.answer = if self.standby_signal {
            Answer::Standby(StandbyView {
                slots: vec![],
                closed: self.names == [NOBODY] && !self.changed,
                unread: self.unread.clone(),
                received: Some(self.end.lsn),
                replayed: Some(self.end.lsn),
                timeline: Some(self.end.timeline),
                histories: [&self.newer[..], std::slice::from_ref(&self.history)].concat(),
                streaming: false,
                receiver: None,
                paused: None,
            })
        } else {
            Answer::Primary(self.view())
        };
    }

    fn view(&self) -> PrimaryView {
        PrimaryView {
            slots: vec![],
            timeline: self.end.timeline,
            history: self.history.clone(),
            complete: Some(self.end.lsn),
            waits: self.waits(),
            links: self.links(),
        }
    }

    /// `synchronous_standby_names`, in the configuration and as a new session sees it.
    pub(crate) fn name(&mut self, names: &[impl ToString]) {
        self.names = names.iter().map(ToString::to_string).collect();
        self.held = false;
        self.shows_names();
        self.in_memory = InMemory::of(&self.waits());
    }

    fn shows_names(&mut self) {
        let waits = self.waits();
        if let Answer::Primary(view) = &mut self.answer {
            view.waits = waits;
        }
    }

    /// What the names are as a setting; several ask for each of them.
    fn waits(&self) -> Waits {
        match &self.names[..] {
            names if self.held => Waits::Held(names.to_vec()),
            [] => Waits::ForNobody,
            [name] if name != "*" => Waits::For(name.clone()),
            names => Waits::Foreign(names.join(" and ")),
        }
    }

    /// Commits are held, from the epoch of the register at which node2 is the only other holder.
    pub(crate) fn hold(&mut self, names: &[String]) {
        self.kept = Some(KeptLinks {
            hold: Some(KeptHold {
                holder: node(2),
                term: self.memory.term,
                epoch: self.memory.epoch,
            }),
            ..self.would_keep()
        });
        self.perform(&Action::SetNames(Waits::Held(names.to_vec())))
            .unwrap();
    }

    pub(crate) fn keep(&mut self, memory: &Memory) -> Result<(), String> {
        if self.broken.contains(&Part::Keep) {
            return Err("the disk is full".to_owned());
        }
        self.memory = self.memory.merged(memory);
        Ok(())
    }

    fn links(&self) -> Links {
        Links {
            rows: self.standbys.clone(),
            flushed: self.end.lsn,
        }
    }

    fn reading(&mut self) -> Reading {
        match &mut self.register {
            Ok(row) => {
                if self.owner_renews && row.owner.as_ref() != Some(&self.settings.me) {
                    row.renewed.push('+');
                    row.lease_left = row.ttl;
                }
                Reading::Row(row.clone())
            }
            Err(reading) => reading.clone(),
        }
    }

    fn update(&mut self, update: &Update) -> Reply {
        let row = match &mut self.register {
            Ok(row) => row,
            Err(Reading::Missing) => return Reply::Missing,
            Err(Reading::Damaged(text)) => return Reply::Damaged(text.clone()),
            Err(Reading::Unknown(trouble)) => return Reply::Unknown(trouble.clone()),
            Err(Reading::Row(_)) => unreachable!("a row is Ok"),
        };
        let Some(mut next) = update.apply(row) else {
            return Reply::NotApplied(row.clone());
        };
        next.renewed.push('.');
        *row = next.clone();
        let lost = self
            .lost
            .is_some_and(|kind| update.reason().starts_with(kind));
        if lost || self.replies_lost > 0 {
            self.replies_lost = self.replies_lost.saturating_sub(1);
            return Reply::Unknown(Trouble::Unreachable("the connection broke".to_owned()));
        }
        Reply::Applied(next)
    }

    /// The postmaster of a primary dies, which the guard has looked at just before.
    pub(crate) fn crash(&mut self) {
        self.served = Some(Served {
            view: self.view(),
            term: self.memory.reign.map_or(0, |reign| reign.term),
            look: Look::default(),
        });
        self.standbys.clear();
        self.stop();
    }

    fn stop(&mut self) {
        if self.immortal {
            self.process = Process::Orphans;
        } else {
            self.process = Process::Absent;
        }
        self.answer = Answer::NotAsked;
    }

    fn write_standby(&mut self, action: &Action) {
        let wanted = action.standby_settings(&self.settings).unwrap();
        self.changed = !wanted.is_closed(&self.settings);
        self.in_memory = InMemory::of(&wanted.names);
        self.names = wanted.names.names().to_vec();
    }

    fn promote(&mut self) {
        self.history.entries.push(HistoryEntry {
            parent: self.end.timeline,
            end: self.end.lsn,
        });
        self.end.timeline = timeline(self.end.timeline.get().max(self.reserved) + 1);
        self.history.own = self.end.timeline;
        self.standby_signal = false;
        self.standbys.clear();
        self.run();
    }

    fn set_attribute(&mut self, name: &NodeName, attribute: &Attribute) {
        let Ok(cluster) = &mut self.cluster else {
            return;
        };
        let known = cluster.nodes.entry(name.clone()).or_default();
        match attribute.clone() {
            Attribute::Status(value) => known.status = Some(value),
            Attribute::DataStatus(value) => known.data_status = Some(value),
            Attribute::Score(value) => known.score = Some(value),
            Attribute::Position(value) => known.position = Some(value),
            Attribute::Baseline(value) => known.baseline = Some(value),
            Attribute::Receiver(value) => known.receiver = Some(value),
            Attribute::Guard(value) => known.guard = Some(Word::Known(value)),
            Attribute::Unfit(value) => known.unfit = value,
            Attribute::Flushed(value) => known.flushed = Some(value),
        }
    }

    pub(crate) fn perform(&mut self, action: &Action) -> Result<Effect, String> {
        if self.broken.contains(&action.kind().into()) {
            if self.ends_all_the_same && matches!(action, Action::StopPostgres(_)) {
                self.stop();
            }
            return Err(format!("{} is broken", action.kind()));
        }
        match action {
            Action::Announce(name) => {
                let me = self.settings.me.clone();
                if let Ok(cluster) = &mut self.cluster {
                    let known = cluster.nodes.entry(me).or_default();
                    known.announced = Announced::Name(name.clone());
                }
            }
            Action::KeepLinks(kept) => self.kept = Some(kept.clone()),
            Action::EndLinks(links) => self.standbys.retain(|row| !links.contains(&row.id)),
            Action::WriteStandbySettings(_) => {
                self.write_standby(action);
                self.standby_signal = true;
            }
            Action::WritePrimarySettings => {
                self.in_memory = InMemory::of(&Waits::ForNobody);
                self.names.clear();
                self.standby_signal = false;
            }
            Action::OpenStandby(_) | Action::CloseStandby(_) | Action::CatchUp { .. } => {
                if let Some(error) = &self.unread {
                    return Err(error.clone());
                }
                self.write_standby(action);
                if let Action::CatchUp { .. } = action {
                    self.end.lsn = self.end.lsn.max(self.lent.unwrap_or(Lsn::INVALID));
                    let number = self.strays.take();
                    self.end.timeline = number.map_or(self.end.timeline, timeline);
                }
                self.run();
            }
            Action::KeepRecord { lineage, held } => {
                self.record = Some(Record {
                    system: SYSTEM,
                    lineage: lineage.clone(),
                    held: *held,
                });
            }
            Action::SetHistoriesAside(strays) => {
                self.newer.retain(|history| !strays.contains(&history.own));
            }
            Action::ReserveTimelines(highest) => self.reserved = highest.get(),
            Action::SetNames(waits) => {
                self.in_memory = InMemory::of(waits);
                if let Some(error) = &self.unread {
                    return Err(error.clone());
                }
                self.name(waits.names());
                self.held = waits.is_held();
                self.in_memory = InMemory::of(waits);
                self.shows_names();
            }
            Action::WriteNames(waits) => self.in_memory = InMemory::of(waits),
            Action::TakeBarrier { .. } => return Ok(Effect::Barrier(self.end.lsn)),
            Action::StartPostgres(name) => {
                self.running = match name {
                    Some(name) if name.is_incarnation() => RunningName::Name(name.clone()),
                    _ => RunningName::Unnamed,
                };
                self.run();
            }
            Action::StopPostgres(_) => {
                self.stop();
                self.in_memory = InMemory::Nothing;
            }
            Action::EndNames => self.in_memory = InMemory::Nothing,
            Action::PromotePostgres => self.promote(),
            Action::ReadDisk => {
                return Ok(Effect::Disk(Disk {
                    end: self.disk_error.clone().map_or(Ok(self.end), Err),
                    history: self.history.clone(),
                    newer: self.newer.clone(),
                    fresh_copy: false,
                }));
            }
            Action::ReadRegister => return Ok(Effect::Register(self.reading())),
            Action::UpdateRegister(update) => return Ok(Effect::Reply(self.update(update))),
            Action::AskPromises(ask) => {
                self.asked.push(ask.peers.clone());
                let mut answers = self.answers.clone();
                answers.retain(|(node, _)| ask.peers.contains(node));
                return Ok(Effect::Promises(answers));
            }
            Action::UsePromises {
                term,
                epoch,
                restart,
            } => {
                let used = self.memory.using(*term, *epoch, *restart);
                self.memory = used.map_err(|error| error.to_string())?;
            }
            Action::WithdrawPromises(withdrawal) => {
                let (term, epoch) = (withdrawal.term, withdrawal.epoch);
                let withdrawn = self.memory.withdrawing(term, epoch, withdrawal.unopened);
                self.memory = withdrawn.map_err(|error| error.to_string())?;
                self.freed.push(withdrawal.clone());
            }
            Action::Remember(memory) => self.memory = *memory,
            Action::LockExternal => return Ok(Effect::External(self.external.clone())),
            Action::SetAttribute(name, attribute) => self.set_attribute(name, attribute),
            Action::WriteReplInfo(info) => {
                if let Ok(cluster) = &mut self.cluster {
                    cluster.repl_info = Some(Ok(info.clone()));
                }
            }
            Action::WriteSeen(seen) => {
                if let Ok(cluster) = &mut self.cluster {
                    cluster.seen = Some(*seen);
                }
            }
            Action::EnsureSlots(missing) => {
                if let Answer::Primary(view) = &mut self.answer {
                    view.slots.extend(missing.iter().map(Slot::idle));
                }
            }
            Action::DropSlots(left) => match &mut self.answer {
                Answer::Primary(view) => view.slots.retain(|slot| !left.contains(&slot.name)),
                Answer::Standby(view) => view.slots.retain(|slot| !left.contains(&slot.name)),
                _ => {}
            },
            Action::AskQuorum(_) => {
                // Who has no quorum learns it no later than by the answer.
                let quorum = self.quorum;
                if let Ok(cluster) = &mut self.cluster {
                    cluster.quorum = quorum;
                }
                if let Some(meanwhile) = self.while_asked.take() {
                    meanwhile(self);
                }
                return Ok(Effect::Quorum(quorum));
            }
            Action::StartAttendant => {}
            Action::StartGuard => self.guard = Guard::Running,
            Action::EndGuard => self.guard = Guard::Absent,
            Action::ReportDeath | Action::AskStandbys(_) => {}
            Action::TakeChangeLock(_) => {
                if let Some(who) = &self.lock_holder {
                    return Err(who.clone());
                }
                let other = self.while_waiting.take();
                let lock = ChangeLock::got(Some(0), u64::from(other.is_some()));
                if let Some(other) = other {
                    other(self);
                }
                return Ok(Effect::ChangeLock(lock));
            }
            Action::Confirm(decided) => {
                let reading = self.reading();
                let asked = (!decided.by_memory).then_some(&reading);
                return decided
                    .holds(&self.settings.me, asked, &self.memory)
                    .map(|()| Effect::Done);
            }
            Action::ReleaseChangeLock => {
                self.released += 1;
            }
            Action::RestartReceiver(_) | Action::UnlockExternal | Action::Warn(_) => {}
        }
        Ok(Effect::Done)
    }

    fn observe(&mut self, operation: &Operation, before: Option<Snapshot>) -> Snapshot {
        for standby in &mut self.standbys {
            standby.flushed = standby.flushed.map(|lsn| {
                let further = Lsn::new(lsn.as_u64() + self.standbys_advance);
                further.min(self.end.lsn).max(lsn)
            });
            if self.standbys_advance > 0 {
                standby.sent = Some(self.end.lsn);
            }
        }
        let links = self.links();
        if let Answer::Primary(view) = &mut self.answer {
            view.links = links;
        }
        let (progress, known, disk) = match before {
            Some(before) => (before.progress, Some(before.memory), before.disk),
            None => (Progress::default(), None, None),
        };
        let again = progress.change_lock.reads_memory_again(false);
        let memory = Memory::at_look(known, again, || {
            self.memory_lost.clone().map_or(Ok(self.memory), Err)
        });
        let mut snapshot = Snapshot {
            settings: self.settings.clone(),
            operation: operation.clone(),
            elapsed: Duration::ZERO,
            left: TIMEOUT,
            process: self.process,
            answer: self.answer.clone(),
            silent_before: self.silent_before,
            standby_signal: match self.signal_unseen {
                true => StandbySignal::Unknown,
                false => self.standby_signal.into(),
            },
            in_memory: self.in_memory.clone(),
            unfinished: self.unfinished.clone(),
            disk,
            wal_room: self.wal_room.clone(),
            stopped_by_guard: self.stopped_by_guard.clone(),
            served: self.served.clone(),
            cluster: self.cluster.clone(),
            register: None,
            memory,
            names: LinkNames {
                fresh: self.fresh.clone(),
                running: self.running.clone(),
                kept: Some(self.kept.clone().unwrap_or_else(|| self.would_keep())),
            },
            guard: self.guard.clone(),
            record: Ok(self.record.clone()),
            system: Some(SYSTEM),
            progress,
        };
        snapshot.begin_round();
        snapshot
    }

    /// The first picture of an operation.
    pub(crate) fn look(&mut self, operation: &Operation) -> Snapshot {
        self.observe(operation, None)
    }

    /// What the agent would keep now.
    pub(crate) fn would_keep(&self) -> KeptLinks {
        let name = |node: &NodeName| match self.cluster.as_ref().map(|c| c.node(node).announced) {
            Ok(Announced::Name(name)) => name,
            _ => LinkName::plain(node),
        };
        let nodes = self.settings.nodes.iter();
        KeptLinks {
            names: nodes.map(|node| (node.clone(), name(node))).collect(),
            barrier: None,
            hold: None,
            without_quorum: Some(match &self.cluster {
                Ok(cluster) if cluster.managed && !cluster.node(&node(1)).maintenance => {
                    cluster.without_quorum
                }
                _ => WithoutQuorum::GoesOn,
            }),
            unanswered: 0,
        }
    }

    fn wait(&mut self) {
        if let Ok(row) = &mut self.register {
            row.lease_left = row.lease_left.saturating_sub(PAUSE);
        }
    }

    /// Carries an operation through.
    pub(crate) fn carry(&mut self, operation: &Operation) -> Run {
        self.try_carry(operation)
            .unwrap_or_else(|rules| panic!("{operation:?} does not end: {rules:?} (latest first)"))
    }

    /// Carries an operation through, as `pha_host::drive` does.
    ///
    /// # Errors
    /// The last rules of an operation that does not end.
    pub(crate) fn try_carry(&mut self, operation: &Operation) -> Result<Run, Vec<&'static str>> {
        let mut carried = Carried {
            world: self,
            run: Run::default(),
            elapsed: Duration::ZERO,
        };
        let outcome = drive(&mut carried, operation);
        let run = carried.run;
        match outcome.end {
            End::Finished | End::Overdue => Ok(run.end(outcome.exit, outcome.end == End::Overdue)),
            End::Endless => Err(run.rules.iter().rev().take(6).copied().collect()),
        }
    }
}

/// The world as the edge of the loop that the agent runs.
struct Carried<'w> {
    world: &'w mut World,
    run: Run,
    elapsed: Duration,
}

impl Edge for Carried<'_> {
    fn perform(&mut self, action: &Action, _: &Snapshot) -> Result<Effect, String> {
        self.world.perform(action)
    }

    fn keep(&mut self, memory: &Memory) -> Result<(), String> {
        self.world.keep(memory)
    }

    fn note(&mut self, note: Note<'_>) {
        match note {
            // Every change begins with that.
            Note::Decided(plan, _) if plan.rule == "change-lock-take" => {}
            Note::Decided(plan, _) => self.run.rules.push(plan.rule),
            Note::Performed(_, action, result) => self.run.note(action, result.is_err()),
            Note::NotKept(..) | Note::Overdue(_) => {}
        }
    }
}

impl Operating for Carried<'_> {
    fn observe(
        &mut self,
        operation: &Operation,
        before: Option<Snapshot>,
        _waiting: bool,
    ) -> Snapshot {
        self.world.observe(operation, before)
    }

    fn clock(&mut self) -> Clock {
        Clock {
            elapsed: self.elapsed,
            left: TIMEOUT.saturating_sub(self.elapsed),
        }
    }

    fn pause(&mut self, _at_most: Duration) {
        self.elapsed += PAUSE;
        self.world.wait();
    }
}

/// What an operation did.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// The rules that decided, in order.
    pub(crate) rules: Vec<&'static str>,
    /// What was done, warnings and what is only told to the cluster apart; a failed action has a `!` after its name.
    pub(crate) actions: Vec<String>,
    pub(crate) warnings: Vec<String>,
    /// Every change of the holders that was asked for, in order.
    pub(crate) holders: Vec<Vec<String>>,
    pub(crate) code: Option<OcfCode>,
    pub(crate) reason: String,
    /// It ended because its time had passed.
    pub(crate) overdue: bool,
}

impl Run {
    fn note(&mut self, action: &Action, failed: bool) {
        if let Action::UpdateRegister(Update::SetHolders { holders, .. }) = action {
            let names = holders.iter().map(ToString::to_string);
            self.holders.push(names.collect());
        }
        let text = match action {
            Action::Warn(text) => return self.warnings.push(text.clone()),
            Action::SetAttribute(..) | Action::WriteSeen(_) if !failed => return,
            // Part of every change.
            Action::TakeChangeLock(_) | Action::ReleaseChangeLock | Action::Confirm(_)
                if !failed =>
            {
                return;
            }
            Action::UpdateRegister(update) => update.reason(),
            Action::SetNames(waits) => format!("{} [{}]", action.kind(), waits.names().join(",")),
            Action::StopPostgres(mode) => format!("stop-postgres {mode:?}"),
            Action::WriteReplInfo(info) => format!("write-repl-info {info}"),
            other => other.kind().to_string(),
        };
        self.actions.push(if failed { text + "!" } else { text });
    }

    fn end(mut self, exit: Exit, overdue: bool) -> Self {
        self.code = Some(exit.code);
        self.reason = exit.reason.unwrap_or_default();
        self.overdue = overdue;
        self
    }

    /// The rules without those that only look or show.
    pub(crate) fn expect(&self, code: OcfCode, actions: &[&str]) {
        assert_eq!(
            self.actions, actions,
            "actions; rules {:?}, reason {:?}",
            self.rules, self.reason
        );
        assert_eq!(self.code, Some(code), "{:?}: {}", self.rules, self.reason);
        assert_eq!(
            self.reason.is_empty(),
            matches!(code, OcfCode::Success | OcfCode::RunningPromoted),
            "a failure has a reason, and nothing else has: {:?}",
            self.reason
        );
    }
}

/// A notification about one node.
pub(crate) fn notification(when: When, operation: ocf::Operation, about: u8) -> Operation {
    let mut lists = NodeLists::default();
    let list = match operation {
        ocf::Operation::Start => &mut lists.start,
        ocf::Operation::Stop => &mut lists.stop,
        ocf::Operation::Promote => &mut lists.promote,
        ocf::Operation::Demote => &mut lists.demote,
    };
    list.push(node(about));
    Operation::Notify(Notification::new(when, operation, lists))
}

pub(crate) const MONITOR: Operation = Operation::Monitor { probe: false };

pub(crate) fn shown(world: &World, number: u8) -> Option<PgsqlStatus> {
    world.cluster.as_ref().unwrap().node(&node(number)).status
}

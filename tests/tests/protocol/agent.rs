//! The agent's side of a transition: what an operation observes, decides and performs.

use std::sync::Arc;
use std::time::Duration;

use pha_core::begun::Begun;
use pha_core::cluster::{Cluster, ClusterNode};
use pha_core::decide::decide_without;
use pha_core::drive::{Edge, Note, perform_next};
use pha_core::lsn::Lsn;
use pha_core::names::NodeName;
use pha_core::ocf::{self, NodeLists, Notification, When};
use pha_core::parse::standby_names::{NOBODY, Waits};
use pha_core::plan::{Action, ActionKind, Effect, Failure, Plan, Verdict};
use pha_core::register::{
    self, Asked, ClusterId, Memory, PromiseAnswer, PromiseAsk, PromiseRequest, Reached, Reading,
    Register, Reign, Reply, Trouble, Update, all_promised, out_of_step,
};
use pha_core::snapshot::{
    Answer, Arbiter, Disk, Guard, InMemory, LinkId, LinkRow, Links, Mode, Operation, PrimaryView,
    Process, Progress, SeenRole, Settings, Snapshot, StandbySignal, StandbyView, Unfinished,
    WalRoom, Watch,
};
use pha_core::status::{SyncState, WalSenderState};
use pha_core::timeline::{History, TimelineId, WalPosition};
use pha_core::unfit::Unfit;

use crate::ahead::{self, AHEAD, LENT};
use crate::diverged::MESSAGES;
use crate::exchange::{self, ALONE, HELD};
use crate::files::{self, SHUT};
use crate::guard::{Resident, UNGUARDED};
use crate::model::{Explored, Fate, Outcome, SINGLE_WRITER, SUPERSEDED, upstream};
use crate::mutation::Mutation;
use crate::names;
use crate::restart::REOPENED;
use crate::state::{
    EPOCH, HELD_BIT, Kind, Lease, Log, NOBODY_BIT, Node, Postgres, Run, State, TERM, TTL, View,
    age_picture, age_queue, index, name, remembers,
};
use crate::strangers::{self, FORMER_NAME};
use crate::unfit::{self, TAKEN, UNCOVERED};

/// More decisions than any operation takes between two actions.
pub(crate) const MOST_DECISIONS: usize = 100;

pub(crate) fn timeline_id(number: u8) -> TimelineId {
    TimelineId::new(u32::from(number)).expect("a timeline")
}

/// Attributes and pgsql_REPL_INFO decide nothing where the register does; without them no operation
/// writes what nobody reads.
pub(crate) fn fresh_progress(tells: bool) -> Progress {
    let failure = |action| Failure {
        action,
        text: String::new(),
    };
    let mut failures = vec![
        failure(ActionKind::SetAttribute),
        failure(ActionKind::WriteReplInfo),
    ];
    if !tells {
        failures.push(failure(ActionKind::WriteSeen));
    }
    Progress {
        named: true,
        failures,
        ..Progress::default()
    }
}

/// A node, as the edge of the loop that the agent and the guard run.
pub(crate) struct Step<'a> {
    pub(crate) model: &'a Explored,
    pub(crate) state: &'a mut State,
    pub(crate) i: usize,
    pub(crate) kind: Kind,
    /// What the next action meets with.
    pub(crate) outcome: Outcome,
    /// It cannot end now.
    pub(crate) impossible: bool,
}

impl Edge for Step<'_> {
    fn decide(&mut self, snapshot: &Snapshot) -> Plan {
        let (doctored, dropped) = self.model.mutation.before_decision(snapshot);
        let mut dropped = [dropped, self.model.beside_nobody()].concat();
        if self.kind == Kind::Guard {
            // Its round is one step, in which nobody else changes anything.
            dropped.push("change-lock-take");
        }
        decide_without(doctored.as_ref().unwrap_or(snapshot), &dropped)
    }

    fn perform(&mut self, action: &Action, snapshot: &Snapshot) -> Result<Effect, String> {
        if exchange::lets_go(snapshot, action) {
            self.state.violation = Some(ALONE);
        }
        self.state.moved = (false, false);
        let effect = self.model.effect(self.state, self.i, action, self.outcome);
        effect.unwrap_or_else(|| {
            self.impossible = true;
            Err(String::new())
        })
    }

    fn fold(
        &mut self,
        snapshot: Snapshot,
        action: &Action,
        result: Result<Effect, String>,
    ) -> Snapshot {
        let mut snapshot = self.model.mutation.fold(snapshot, action, result);
        if self.impossible {
            return snapshot;
        }
        snapshot.progress.other_owner_seen = None;
        if let (Ok(memory), false) = (&mut snapshot.memory, self.model.withdraws) {
            memory.used = None;
        }
        if self.model.remembers() {
            self.catch_up(&mut snapshot);
        } else {
            snapshot.memory = Ok(Memory {
                reign: snapshot.reign(),
                ..Memory::default()
            });
            // A barrier that was taken before this very operation has moved the epoch is of before that.
            if self.state.moved.1
                && let Some(barrier) = &mut snapshot.progress.barrier
            {
                barrier.epoch = 0;
            }
        }
        snapshot
    }

    fn keep(&mut self, memory: &Memory) -> Result<(), String> {
        if self.model.remembers() {
            Explored::keep_memory(self.state, self.i, self.kind, *memory);
        }
        Ok(())
    }

    fn note(&mut self, _: Note<'_>) {}
}

impl Step<'_> {
    /// The result was folded with terms and epochs as they were before; now they are as they are.
    fn catch_up(&mut self, snapshot: &mut Snapshot) {
        let (term, epoch) = self.state.moved;
        if let Some(promises) = &mut snapshot.progress.promises
            && !promises.missing.is_empty()
        {
            promises.missing = vec![String::new()];
        }
        if term || epoch {
            let new = |number: u64, present: u64| (number > present).then_some(present);
            let row = match &snapshot.register {
                Some(Reading::Row(row)) => Some((new(row.term, TERM), new(row.epoch, EPOCH))),
                _ => None,
            };
            let memory = remembers(snapshot);
            age_picture(term, epoch, snapshot);
            let mut aged = remembers(snapshot);
            if let (Some(Reading::Row(to)), Some((term, epoch))) = (&mut snapshot.register, row) {
                (to.term, to.epoch) = (term.unwrap_or(to.term), epoch.unwrap_or(to.epoch));
            }
            if let Some(epoch) = new(memory.epoch, EPOCH) {
                (aged.epoch, aged.asked) = (epoch, None);
            }
            if let Some(term) = new(memory.term, TERM) {
                aged.term = term;
            }
            snapshot.memory = Ok(aged);
        }
        Explored::keep_memory(self.state, self.i, self.kind, remembers(snapshot));
    }
}

/// A node that is asked something (R7).
pub(crate) struct Questioned<'a> {
    pub(crate) model: &'a Explored,
    pub(crate) state: &'a mut State,
    pub(crate) j: usize,
    pub(crate) fate: Fate,
}

impl Questioned<'_> {
    pub(crate) fn answer(&mut self, request: &PromiseRequest) -> Result<PromiseAnswer, String> {
        let nodes: Vec<_> = (0..self.model.nodes).map(name).collect();
        let (me, cluster) = (name(self.j), ClusterId::default());
        register::answer(&me, &nodes, &cluster, TTL, request, self)
    }
}

impl Reached for Questioned<'_> {
    type Locked<'a>
        = Questioned<'a>
    where
        Self: 'a;

    fn try_out(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn lock(&mut self, _within: Duration) -> Result<Questioned<'_>, String> {
        let promotes = |run: &Arc<Run>| run.kind == Kind::Promote;
        let promoting = self.state.nodes[self.j].operations().any(promotes);
        if promoting && self.model.mutation != Mutation::PromotionLockIgnored {
            return Err("it is being promoted".to_owned());
        }
        Ok(Questioned {
            model: self.model,
            state: &mut *self.state,
            j: self.j,
            fate: self.fate,
        })
    }
}

impl Asked for Questioned<'_> {
    /// A reign of an earlier time is of before that of whoever asks.
    fn memory(&mut self) -> Result<Memory, String> {
        let memory = self.state.nodes[self.j].memory();
        let hidden = self.model.mutation == Mutation::PrimariesPromise;
        let present = |reign: &Reign| reign.term == TERM && !hidden;
        Ok(Memory {
            reign: memory.reign.filter(present),
            ..memory
        })
    }

    fn role(&mut self) -> Result<SeenRole, String> {
        let node = &self.state.nodes[self.j];
        let hidden = self.model.mutation == Mutation::PrimariesPromise;
        Ok(SeenRole {
            runs: node.postgres != Postgres::Down,
            signal: (node.standby_signal || hidden).into(),
        })
    }

    fn read(&mut self) -> Result<Reading, String> {
        Ok(match self.fate {
            Fate::Relays => Reading::Row(self.state.register()),
            _ => Reading::Unknown(unreachable()),
        })
    }

    fn send(&mut self, update: &Update) -> Result<Reply, String> {
        let made = self.model.update(self.state, update);
        let row = self.state.register();
        Ok(match made {
            true => Reply::Applied(row),
            false => Reply::NotApplied(row),
        })
    }

    fn saw(&mut self, row: &Register) -> Result<(), String> {
        let node = &mut self.state.nodes[self.j];
        node.remember(&node.seen.seeing(row));
        Ok(())
    }

    fn left(&mut self) -> Duration {
        TTL
    }

    fn promise(&mut self, request: &PromiseRequest) -> Result<(), String> {
        let mutation = self.model.mutation;
        let mut memory = self.state.nodes[self.j].seen;
        if mutation == Mutation::PromiseWhileAsked {
            memory.asked = None;
        }
        match memory.promising(request.term, request.epoch, self.model.withdraws) {
            Ok(memory) if mutation != Mutation::PromiseNotKept => {
                let counted = self.state.counted.is_some();
                let seen = &mut self.state.nodes[self.j].seen;
                *seen = memory;
                // One for an epoch that has passed is void, unless the register may come back to it.
                seen.promised = seen.promised.filter(|epoch| counted || *epoch == EPOCH);
            }
            Ok(_) => {}
            Err(_) if mutation == Mutation::PromiseOfAnOldEpoch => {}
            Err(error) => return Err(error.to_string()),
        }
        Ok(())
    }

    fn free(&mut self, term: u64, epoch: u64) -> Result<(), String> {
        let seen = &mut self.state.nodes[self.j].seen;
        *seen = match (seen.freed(term, epoch), self.model.mutation) {
            (_, Mutation::WithdrawalUnheard) => *seen,
            (Err(_), Mutation::WithdrawalOfAnotherEpoch) => Memory {
                promised: None,
                ..*seen
            },
            (freed, _) => freed.map_err(|error| error.to_string())?,
        };
        Ok(())
    }
}

impl Explored {
    pub(crate) fn observe(
        &self,
        state: &State,
        i: usize,
        kind: Kind,
        view: View,
        progress: Progress,
        memory: Memory,
    ) -> Snapshot {
        let node = &state.nodes[i];
        let all: Vec<_> = (0..self.nodes).map(name).collect();
        let mut snapshot = Snapshot {
            settings: Settings {
                me: name(i),
                resource: "pgsql".parse().expect("a name"),
                nodes: all,
                mode: Mode::Sync,
                arbiter: match self.register {
                    true => Arbiter::Builtin,
                    false => Arbiter::Off,
                },
                ttl: TTL,
                check_wal_receiver: false,
                patience: 3,
                async_max_lag: 0,
                slots: [].into(),
            },
            operation: match kind {
                Kind::Start => Operation::Start,
                Kind::Stop => Operation::Stop,
                Kind::Monitor => Operation::Monitor { probe: false },
                Kind::Promote => Operation::Promote,
                Kind::Demote => Operation::Demote { then_stop: false },
                Kind::Notify => Operation::Notify(Notification::new(
                    When::Pre,
                    ocf::Operation::Stop,
                    NodeLists {
                        stop: self.announced_to_stop(i),
                        ..NodeLists::default()
                    },
                )),
                Kind::Guard => Operation::Guard(Watch::default()),
            },
            elapsed: Duration::ZERO,
            left: Duration::from_secs(60),
            process: process(node),
            answer: self.answer(state, i),
            silent_before: 0,
            standby_signal: node.standby_signal.into(),
            in_memory: InMemory::of(&waits(node.names)),
            unfinished: node.unfinished.then(|| Unfinished::Marked {
                method: Begun::Rewind,
                pgdata: String::new(),
            }),
            disk: None,
            wal_room: WalRoom::NotAsked,
            stopped_by_guard: None,
            served: self.served(state, i),
            cluster: match view {
                View::Blind => Err(String::new()),
                View::All | View::Alone | View::NoLock => Ok(self.members(state, i, view)),
            },
            register: None,
            memory: Ok(memory),
            names: self.link_names(state, i),
            guard: match kind {
                Kind::Guard => Guard::Unknown,
                _ if i >= self.guards => Guard::Unknown,
                _ => Resident::seen(node.guard.as_ref()),
            },
            record: Ok(node.record.map(|kept| kept.record())),
            system: Some(1),
            progress,
        };
        snapshot.begin_round();
        snapshot
    }

    fn members(&self, state: &State, i: usize, view: View) -> Cluster {
        let node = |(j, node): (usize, &Node)| {
            let up = !state.row.elected && node.postgres != Postgres::Down;
            let (announced, flushed) = self.told(state, i, j);
            let known = ClusterNode {
                online: view != View::Alone || i == j || state.are_cut_off(i, j),
                position: up.then(|| WalPosition {
                    timeline: timeline_id(node.log.timeline()),
                    lsn: Lsn::new(node.log.len() as u64 + 1),
                }),
                announced,
                flushed,
                unfit: (node.unfit || node.unread).then(Unfit::no_room),
                ..ClusterNode::default()
            };
            (name(j), known)
        };
        Cluster {
            nodes: state.nodes.iter().enumerate().map(node).collect(),
            seen: state.counted.as_ref().map(|counted| counted.told),
            managed: true,
            quorum: view != View::Alone,
            without_quorum: self.without_quorum(),
            ..Cluster::default()
        }
    }

    /// Begins to decide.
    pub(crate) fn decide(
        &self,
        state: &mut State,
        i: usize,
        kind: Kind,
        view: View,
        snapshot: Snapshot,
    ) {
        let run = self.decided(state, i, kind, view, snapshot);
        self.go_on(state, i, run);
    }

    /// What comes next.
    fn decided(
        &self,
        state: &mut State,
        i: usize,
        kind: Kind,
        view: View,
        snapshot: Snapshot,
    ) -> Run {
        let plan = self.step(state, i, kind).decide(&snapshot);
        if matches!(plan.verdict, Verdict::Finish(_)) {
            if leaves_superseded(state, i, &snapshot) {
                state.violation = Some(SUPERSEDED);
            }
            if strangers::leaves_former(state, i, &snapshot) {
                state.violation = Some(FORMER_NAME);
            }
            if exchange::leaves_held(state, i, &snapshot) {
                state.violation = Some(HELD);
            }
            if ahead::leaves_lent(&state.nodes[i], kind) {
                state.violation = Some(LENT);
            }
            if self.leaves_uncovered(state, i, &snapshot) {
                state.violation = Some(UNCOVERED);
            }
            if leaves_unguarded(&snapshot) {
                state.violation = Some(UNGUARDED);
            }
        }
        if files::asks_unread(&snapshot, &plan.actions) {
            state.violation = Some(TAKEN);
        }
        if ahead::leaves_behind(state, i, &snapshot, &plan.actions) {
            state.violation = Some(AHEAD);
        }
        Run {
            kind,
            snapshot,
            queue: plan.actions,
            verdict: plan.verdict,
            view,
        }
    }

    /// Goes on until an action is due that others can see or that can be interrupted.
    ///
    /// It is [`pha_core::drive::drive`] cut into pieces: between two of them any other node may do anything, this one
    /// may lose its power, and what is kept of the operation is what tells one state from another. That is why the
    /// order of deciding, looking and waiting is here once more. How each decision is made, how each action is
    /// performed, kept and folded, and when the rest of a plan is given up is the loop's own (`perform_next`).
    fn go_on(&self, state: &mut State, i: usize, run: Run) {
        let mut run = run;
        for _ in 0..MOST_DECISIONS {
            if !self.perform_unseen(state, i, &mut run) {
                return keep(state, i, run);
            }
            let snapshot = match run.verdict {
                Verdict::Finish(_) => return,
                Verdict::Continue => run.snapshot,
                Verdict::Reobserve if looks_at_once(run.kind) => {
                    let (progress, memory) = self.goes_on(&state.nodes[i], &run);
                    self.observe(state, i, run.kind, run.view, progress, memory)
                }
                Verdict::Reobserve | Verdict::Wait(_) => return keep(state, i, run),
            };
            run = self.decided(state, i, run.kind, run.view, snapshot);
        }
        panic!("no end of decisions: {:?}", run.snapshot);
    }

    /// Performs what no other node can tell from being done a moment earlier or later; `true` when
    /// the plan is through.
    fn perform_unseen(&self, state: &mut State, i: usize, run: &mut Run) -> bool {
        while let Some(action) = run.queue.first() {
            let unseen = match action {
                Action::Warn(_)
                | Action::SetAttribute(..)
                | Action::WriteReplInfo(_)
                | Action::RestartReceiver(_)
                | Action::ReadDisk
                | Action::ReadRegister
                | Action::UpdateRegister(Update::Renew { .. } | Update::Release { .. })
                | Action::Announce(_)
                | Action::KeepLinks(_)
                | Action::WriteStandbySettings(_)
                | Action::CloseStandby(_)
                | Action::SetHistoriesAside(_)
                | Action::EndNames
                | Action::StartGuard
                | Action::EndGuard
                | Action::Confirm(_) => true,
                Action::KeepRecord { .. } | Action::ReserveTimelines(_) => !self.named,
                // Who may open it by hand is told from who may not only where somebody does.
                Action::OpenStandby(_) => !self.by_hand,
                // The operation might as well have begun only now.
                Action::StopPostgres(_) => {
                    run.kind != Kind::Promote && self.mutation.stops_at_once()
                }
                Action::StartPostgres(_) => matches!(run.kind, Kind::Start | Kind::Demote),
                _ => false,
            };
            let outcome = match (run.view, run.kind) {
                (View::Alone, Kind::Stop | Kind::Demote) | (View::NoLock, _) => {
                    Outcome::Unreachable
                }
                _ => Outcome::Answered,
            };
            if !unseen || self.perform(state, i, run, outcome).is_none() {
                return false;
            }
        }
        true
    }

    pub(crate) fn act(&self, state: &mut State, i: usize, outcome: Outcome) -> Option<()> {
        let mut run = Arc::unwrap_or_clone(state.nodes[i].run.take()?);
        self.perform(state, i, &mut run, outcome)?;
        self.go_on(state, i, run);
        Some(())
    }

    /// A node between two effects.
    pub(crate) fn step<'a>(&'a self, state: &'a mut State, i: usize, kind: Kind) -> Step<'a> {
        Step {
            model: self,
            state,
            i,
            kind,
            outcome: Outcome::Answered,
            impossible: false,
        }
    }

    /// Performs the first action of the plan and folds its result; `None` where it cannot end now.
    pub(crate) fn perform(
        &self,
        state: &mut State,
        i: usize,
        run: &mut Run,
        outcome: Outcome,
    ) -> Option<()> {
        let mut step = self.step(state, i, run.kind);
        step.outcome = outcome;
        let snapshot = run.snapshot.clone();
        run.snapshot = perform_next(&mut step, "", snapshot, &mut run.queue, &mut None);
        if step.impossible {
            return None;
        }
        if self.remembers() {
            let (term, epoch) = state.moved;
            age_queue(term, epoch, &mut run.queue);
        }
        Some(())
    }

    /// The guard keeps nothing on the disk but at which epoch it has asked for promises.
    fn keep_memory(state: &mut State, i: usize, kind: Kind, memory: Memory) {
        let node = &mut state.nodes[i];
        match kind {
            Kind::Guard => node.seen = node.seen.with_guard(memory.relied),
            _ => node.remember(&memory),
        }
    }

    /// The row as an answer shows it whose receiver still counts as before it was changed.
    fn shown(state: &State) -> Register {
        let mut row = state.register();
        row.term += u64::from(state.moved.0);
        row.epoch += u64::from(state.moved.1);
        row
    }

    /// What a node answers to a primary that asks for its promise (R7).
    fn asked(
        &self,
        state: &mut State,
        ask: &PromiseAsk,
        peer: &NodeName,
        fate: Fate,
    ) -> PromiseAnswer {
        let refused = || PromiseAnswer::Refused(String::new());
        let promised = PromiseAnswer::Promised { epoch: ask.epoch };
        let Some(j) = index(peer).filter(|_| fate != Fate::Unreachable) else {
            return match self.mutation {
                Mutation::UnreachablePromises => promised,
                _ => refused(),
            };
        };
        // Of what was asked before another node has moved the register, everything is older now.
        let (mut term, mut epoch) = (ask.term, ask.epoch);
        if state.moved.1 {
            epoch = 0;
        }
        if state.moved.0 {
            term = term.min(1);
        }
        let older = PromiseAsk {
            term,
            epoch,
            ..ask.clone()
        };
        let resource = "pgsql".parse().expect("a name");
        let request = PromiseRequest::new(&older, name(j), resource, ClusterId::default(), TTL);
        let mut questioned = Questioned {
            model: self,
            state,
            j,
            fate,
        };
        match questioned.answer(&request) {
            _ if fate == Fate::AnswerLost => refused(),
            Ok(PromiseAnswer::Promised { .. }) => promised,
            Ok(PromiseAnswer::Relayed(Reply::Applied(_))) => {
                PromiseAnswer::Relayed(Reply::Applied(Self::shown(state)))
            }
            Ok(PromiseAnswer::Relayed(Reply::NotApplied(_))) => {
                PromiseAnswer::Relayed(Reply::NotApplied(Self::shown(state)))
            }
            Ok(answer) => answer,
            Err(_) => refused(),
        }
    }

    fn effect(
        &self,
        state: &mut State,
        i: usize,
        action: &Action,
        outcome: Outcome,
    ) -> Option<Result<Effect, String>> {
        let node = &mut state.nodes[i];
        let done = Some(Ok(Effect::Done));
        match action {
            Action::Announce(name) => node.announced = strangers::number(i, name),
            Action::KeepLinks(kept) => {
                let row = state.row_at();
                let last = state.barriers_last;
                let present = |at: (u64, u64)| last || at == row;
                let barrier = kept.barrier.as_ref();
                let barrier = barrier.filter(|barrier| present((barrier.term, barrier.epoch)));
                state.nodes[i].kept = barrier.map(|barrier| {
                    let names = strangers::of_texts(std::slice::from_ref(&barrier.name));
                    (names, barrier.lsn.as_u64() as u8)
                });
                let hold = kept.hold.as_ref();
                let hold = hold.filter(|hold| (hold.term, hold.epoch) == row);
                state.nodes[i].hold = hold.and_then(|hold| Some(index(&hold.holder)? as u8));
            }
            Action::EndLinks(links) if links.iter().any(|link| link.pid == 99) => {
                state.stranger = None;
            }
            Action::WriteStandbySettings(_) => {
                (node.names, node.standby_signal, node.lender) = (NOBODY_BIT, true, None);
                files::unless_running(node);
            }
            Action::KeepRecord { lineage, held } => self.keep_record(node, lineage, *held),
            Action::ReserveTimelines(highest) => {
                node.reserved = node.reserved.max(highest.get() as u8);
            }
            Action::OpenStandby(_) => return Some(self.rewritten(node, 0)),
            Action::CatchUp { from, .. } => {
                return Some(ahead::lends(node, from, outcome));
            }
            Action::CloseStandby(_) => return Some(self.rewritten(node, NOBODY_BIT)),
            Action::WritePrimarySettings => {
                (node.names, node.standby_signal) = (0, false);
                files::unless_running(node);
            }
            Action::SetNames(waits) => {
                node.names = strangers::of_texts(waits.names());
                if waits.is_held() && self.mutation != Mutation::ExchangePasses {
                    node.names |= HELD_BIT;
                }
                if !matches!(node.postgres, Postgres::Primary { .. }) {
                    return Some(Err("the postmaster is gone".to_owned()));
                }
                return Some(files::reload(node).map(|()| Effect::Done));
            }
            Action::WriteNames(waits) => node.names = files::bits(waits),
            Action::TakeBarrier { waits, .. } => {
                let Postgres::Primary { in_force } = node.postgres else {
                    return Some(Err("no answer".to_owned()));
                };
                let _ = files::reload(node);
                if self.files && node.shown != files::bits(waits) {
                    return Some(Err("another value".to_owned()));
                }
                if in_force != node.shown && self.mutation.waits_for_names() {
                    return None;
                }
                if self.diverged && self.mutation != Mutation::BarrierOfTheMoment {
                    if node.log.messages() == MESSAGES {
                        return None;
                    }
                    node.log.write_message();
                }
                return Some(Ok(Effect::Barrier(Lsn::new(u64::from(node.log.end())))));
            }
            Action::StartPostgres(called) => {
                // An operator may have chosen its data meanwhile: nobody else may promote then.
                let chosen = state.row.owner.is_none() && state.row.holders == 1 << i;
                let owner = state.row.owner.map(usize::from) == Some(i) || chosen;
                let complete = node.recorded.is_prefix_of(&node.log);
                if self.restarts && !node.standby_signal && !(owner && complete) {
                    state.violation = Some(REOPENED);
                }
                if files::reload(node).is_err() && node.postgres == Postgres::Down {
                    return Some(Err("its files have an error".to_owned()));
                }
                let called = called.as_ref();
                node.incarnation = called.map_or(0, |called| strangers::number(i, called));
                node.postgres = match (node.postgres, node.standby_signal) {
                    (Postgres::Down, true) => Postgres::Standby {
                        upstream: None,
                        promoting: false,
                    },
                    (Postgres::Down, false) => Postgres::Primary {
                        in_force: node.shown,
                    },
                    (running, _) => running,
                }
            }
            Action::WriteSeen(seen) => {
                if let Some(counted) = &mut state.counted {
                    counted.told = *seen;
                }
            }
            Action::StopPostgres(_) => {
                node.postgres = Postgres::Down;
                self.end_names(node);
            }
            Action::EndNames => self.end_names(node),
            Action::StartGuard => node.guard = Some(Resident::new()),
            Action::EndGuard => node.guard = None,
            Action::PromotePostgres => match &mut node.postgres {
                Postgres::Standby { promoting, .. } => {
                    *promoting = true;
                    if self.files && node.shown == NOBODY_BIT {
                        state.violation = Some(SHUT);
                    }
                }
                _ => return Some(Err("no standby runs".to_owned())),
            },
            Action::ReadDisk => {
                let disk = Disk {
                    end: Ok(WalPosition {
                        timeline: timeline_id(node.log.timeline()),
                        lsn: Lsn::new(u64::from(node.log.end())),
                    }),
                    history: match self.named {
                        true => names::history(&node.log),
                        false => History::without_ancestors(TimelineId::FIRST),
                    },
                    newer: vec![],
                    fresh_copy: false,
                };
                return Some(Ok(Effect::Disk(disk)));
            }
            Action::ReadRegister if outcome == Outcome::Unreachable => {
                return Some(Ok(Effect::Register(Reading::Unknown(unreachable()))));
            }
            Action::ReadRegister => {
                return Some(Ok(Effect::Register(Reading::Row(state.register()))));
            }
            Action::UpdateRegister(update) => return self.send(state, update, outcome),
            Action::AskQuorum(_) if outcome == Outcome::Unreachable => {
                return Some(Err(String::new()));
            }
            Action::AskQuorum(_) => return Some(Ok(Effect::Quorum(!state.is_cut_off(i)))),
            Action::TakeChangeLock(_) => return Some(self.take_change_lock(state, i)),
            Action::Confirm(decided) => return Some(self.confirm(state, i, decided, outcome)),
            Action::AskPromises(ask) => {
                let Outcome::Asked(fates) = outcome else {
                    return Some(Err(String::new()));
                };
                let mut answers = vec![];
                for (peer, fate) in ask.peers.iter().zip(fates) {
                    answers.push((peer.clone(), self.asked(state, ask, peer, fate)));
                }
                if i < self.guards {
                    state.nodes[i].noted |= all_promised(ask, &answers);
                }
                return Some(Ok(Effect::Promises(answers)));
            }
            Action::UsePromises {
                term,
                epoch,
                restart,
            } => {
                return Some(self.use_promises(node, *term, *epoch, *restart));
            }
            Action::WithdrawPromises(withdrawal) => {
                return Some(self.withdraw_promises(state, i, withdrawal));
            }
            Action::Remember(memory) => {
                node.reign = memory
                    .reign
                    .map(|reign| (reign.term, reign.timeline.get() as u8));
            }
            _ => {}
        }
        done
    }

    pub(crate) fn send(
        &self,
        state: &mut State,
        update: &Update,
        outcome: Outcome,
    ) -> Option<Result<Effect, String>> {
        let unknown = Reply::Unknown(unreachable());
        let reply = match outcome {
            Outcome::Answered | Outcome::Asked(_) => {
                let made = self.update(state, update);
                let row = match self.remembers() {
                    true => Self::shown(state),
                    false => state.register(),
                };
                match made {
                    true => Reply::Applied(row),
                    false => Reply::NotApplied(row),
                }
            }
            Outcome::Unreachable => unknown,
            Outcome::ReplyLost => self.update(state, update).then_some(unknown)?,
            Outcome::Delayed => {
                state.delayed = Some(update.clone());
                unknown
            }
        };
        Some(Ok(Effect::Reply(reply)))
    }

    /// Applies a change; whether it was made.
    pub(crate) fn update(&self, state: &mut State, update: &Update) -> bool {
        let before = state.register();
        let update = &self.named_update(state, update);
        let Some(mut after) = update.apply_without(&before, self.mutation.conditions()) else {
            return false;
        };
        if !self.rollbacks {
            after.positions.clear();
        }
        self.keep_former(state, update, &before, &mut after);
        self.taken(state, update);
        self.added(state, update);
        if !self.named {
            after.timelines = Default::default();
        }
        if let Some(owner) = state.row.owner
            && after.owner != before.owner
            && serves(&state.nodes[usize::from(owner)])
            && state.row.lease != Lease::RunOut
        {
            state.violation = Some(SINGLE_WRITER);
        }
        let promised: Vec<_> = state.nodes.iter().map(|node| node.seen.promised).collect();
        state.set_register(&before, &after);
        self.record(state, update);
        if self.mutation == Mutation::VoidPromiseKept {
            for (node, promised) in state.nodes.iter_mut().zip(promised) {
                node.bound_for_ever |= state.moved.1 && promised.is_some();
            }
        }
        true
    }

    /// A delayed change whose conditions cannot hold any more is as good as none.
    pub(crate) fn forget_what_cannot_happen(&self, state: &mut State) {
        if let Some(update) = &state.delayed {
            let mut register = state.register();
            register.lease_left = Duration::ZERO;
            if update
                .apply_without(&register, self.mutation.conditions())
                .is_none()
                && self.mutation.conditions().is_empty()
            {
                state.delayed = None;
            }
        }
    }
}

/// Whether a server acknowledges commits as far as its own settings go: one that was opened by hand waits
/// for nobody, for ever.
fn serves(node: &Node) -> bool {
    match node.postgres {
        Postgres::Primary { in_force } => in_force != NOBODY_BIT,
        _ => false,
    }
}

/// What these operations see again does not depend on the moment: it is their own doing.
fn looks_at_once(kind: Kind) -> bool {
    matches!(kind, Kind::Start | Kind::Stop | Kind::Demote)
}

pub(crate) fn process(node: &Node) -> Process {
    match node.postgres {
        Postgres::Down => Process::Absent,
        _ => Process::Alive { frozen: false },
    }
}

fn unreachable() -> Trouble {
    Trouble::Unreachable(String::new())
}

/// Keeps an operation between two of its steps. One that knows no more than a new one would is
/// dropped: Pacemaker may ask again at any time.
fn keep(state: &mut State, i: usize, mut run: Run) {
    blank(&mut run);
    let again = run.queue.is_empty() && {
        // Whether it tried to name its timelines is no reason to keep it.
        let progress = Progress {
            named: true,
            ..run.snapshot.progress.clone()
        };
        progress == fresh_progress(state.counted.is_some())
    };
    state.nodes[i].run = (!again).then(|| Arc::new(run));
}

/// Forgets what no later decision can look at.
fn blank(run: &mut Run) {
    if matches!(run.queue.first(), Some(Action::UpdateRegister(_))) {
        run.snapshot.register = None; // any reply takes its place
    }
    if run.verdict == Verdict::Continue {
        return;
    }
    run.view = View::All;
    let snapshot = &mut run.snapshot;
    snapshot.in_memory = InMemory::Unknown;
    snapshot.answer = Answer::NotAsked;
    snapshot.process = Process::Absent;
    // A barrier is of the epoch from which it was decided to take it.
    let takes = |action: &Action| matches!(action, Action::TakeBarrier { .. });
    if !run.queue.iter().any(takes) {
        snapshot.register = None;
    }
    (snapshot.disk, snapshot.served) = (None, None);
    snapshot.names.kept = None;
    snapshot.guard = Guard::Unknown;
    snapshot.standby_signal = StandbySignal::Missing;
    snapshot.cluster = Ok(Cluster::default());
    snapshot.progress.renewed = false;
    snapshot.progress.epoch_moved &= !run.queue.is_empty();
    if matches!(run.verdict, Verdict::Finish(_)) {
        snapshot.progress = Progress {
            change_lock: snapshot.progress.change_lock.clone(),
            ..Progress::default()
        };
    }
}

/// Whether this operation ends beside a running primary although it has read that it is superseded.
pub(crate) fn leaves_superseded(state: &State, i: usize, snapshot: &Snapshot) -> bool {
    let superseded = match &snapshot.register {
        // One that was put back supersedes nobody.
        Some(Reading::Row(row)) => {
            let believed = snapshot
                .seen()
                .is_ok_and(|seen| out_of_step(row, &seen).is_none());
            row.term > 0 && !row.is_owned_by(snapshot.me()) && believed
        }
        _ => false,
    };
    superseded
        && matches!(
            snapshot.operation,
            Operation::Monitor { .. }
                | Operation::Promote
                | Operation::Notify(_)
                | Operation::Guard(_)
        )
        && matches!(state.nodes[i].postgres, Postgres::Primary { .. })
        && snapshot.primary().is_some()
}

/// Whether this operation ends beside a primary that is to have a guard and has none at work.
fn leaves_unguarded(snapshot: &Snapshot) -> bool {
    let monitors = matches!(
        snapshot.operation,
        Operation::Monitor { .. } | Operation::Notify(_)
    );
    monitors
        && snapshot.primary().is_some()
        && snapshot.reign().is_some()
        && !matches!(snapshot.guard, Guard::Running | Guard::Unknown)
}

impl Explored {
    /// A position where one is looked at: only R10 does.
    fn position(&self, log: &Log) -> Lsn {
        match self.rollbacks || self.named {
            true => Lsn::new(u64::from(log.end())),
            false => Lsn::new(1),
        }
    }

    /// The rows of `pg_stat_replication`: every standby that streams from this node, whatever its data.
    pub(crate) fn links(&self, state: &State, i: usize) -> Links {
        let node = &state.nodes[i];
        let attached = state.nodes.iter().enumerate();
        let attached = attached.filter(|(_, other)| upstream(other) == Some(i));
        Links {
            rows: attached
                .map(|(j, other)| LinkRow {
                    id: LinkId {
                        pid: j as i32,
                        began: j as i64,
                    },
                    name: strangers::link_name(j, other.incarnation).to_string(),
                    address: None,
                    state: Some(WalSenderState::Streaming),
                    sync: Some(SyncState::Sync),
                    sent: Some(Self::sent(&node.log, &other.log)),
                    flushed: (!other.silent).then(|| Lsn::new(u64::from(other.log.end()))),
                    replayed: (!other.silent).then(|| self.position(&other.log)),
                    lag: None,
                })
                .chain(self.stranger_row(state, i))
                .collect(),
            flushed: Lsn::new(u64::from(node.log.end())),
        }
    }

    fn answer(&self, state: &State, i: usize) -> Answer {
        let node = &state.nodes[i];
        match node.postgres {
            Postgres::Down => Answer::NotAsked,
            Postgres::Standby { .. } => {
                let mut view = StandbyView {
                    received: Some(self.position(&node.log)),
                    replayed: Some(self.position(&node.log)),
                    timeline: Some(match self.named || self.restarts {
                        true => timeline_id(node.log.timeline()),
                        false => TimelineId::FIRST,
                    }),
                    histories: vec![],
                    streaming: false,
                    receiver: None,
                    slots: vec![],
                    paused: unfit::paused(node),
                    closed: StandbyView::shows_closed(&waits(node.shown)),
                    unread: node.unread.then(String::new),
                };
                view.see_mark(!self.shows_changed(node));
                Answer::Standby(view)
            }
            Postgres::Primary { .. } => Answer::Primary(PrimaryView {
                timeline: timeline_id(node.log.timeline()),
                history: match self.named {
                    true => names::history(&node.log),
                    false => self.history(&node.log),
                },
                complete: self.rollbacks.then(|| self.position(&node.log)),
                slots: vec![],
                waits: waits(node.shown),
                links: self.links(state, i),
            }),
        }
    }
}

/// `synchronous_standby_names`.
fn waits(names: u8) -> Waits {
    match (names, &strangers::texts(names)[..]) {
        (NOBODY_BIT, _) => Waits::For(NOBODY.to_owned()),
        (_, []) => Waits::ForNobody,
        (names, [name]) if names & HELD_BIT == 0 => Waits::For(name.clone()),
        (_, names) => Waits::Held(names.to_vec()),
    }
}

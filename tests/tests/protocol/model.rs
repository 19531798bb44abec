//! The transitions: what PostgreSQL, the network and Pacemaker may do at any moment, and the agent's
//! operations, action by action, decided by `pha_core::decide` and changed by `Update::apply`.

use std::time::Duration;

use pha_core::lineage::{Held, Opening};
use pha_core::lsn::Lsn;
use pha_core::plan::Action;
use pha_core::register::{Eligibility, Memory, PROMOTION_RULES, Reading, may_promote_by};
use pha_core::snapshot::{Operation, Progress};
use stateright::{Model, Property};

use crate::agent::fresh_progress;
use crate::ahead::{AHEAD, LENT, MIXED, STRAYED, has_strayed, is_lent};
use crate::decision::Others;
use crate::diverged::{UNWRITTEN, forked_from, release};
use crate::exchange::{ALONE, HELD};
use crate::files::{self, SHUT};
use crate::given_back::HALF;
use crate::guard::{Chance, FENCED, Resident, UNGUARDED, lease_may_run_out};
use crate::mutation::Mutation;
use crate::names::{Kept, Names, first};
use crate::operator::{REMADE, REPLACED, superseded_from};
use crate::quorum::{INHERITED, STRANDED};
use crate::restart::REOPENED;
use crate::restored::Counted;
use crate::rollback::RECORDED;
use crate::state::{
    EPOCH, HELD_BIT, Kind, Lease, Log, NOBODY_BIT, NODES, Node, Postgres, Row, Run, State, TERM,
    View, name,
};
use crate::strangers::{self, FORMER_NAME, Stranger};
use crate::unfit::{TAKEN, UNCOVERED};

/// What is explored, and how far.
#[derive(Debug, Clone)]
pub(crate) struct Explored {
    pub(crate) nodes: usize,
    pub(crate) commits: u8,
    /// The highest number of a timeline.
    pub(crate) timelines: u8,
    /// Whether updates may take effect after their sender has given up.
    pub(crate) delays: bool,
    /// Whether a primary's monitor may find the lock service out of reach, and asks for promises.
    pub(crate) outages: bool,
    /// Whether an operator copies data (R6) and hands over (R9).
    pub(crate) operator: bool,
    /// Whether data are put back to an older state (R10).
    pub(crate) rollbacks: bool,
    /// Whether standbys stream for moments whose log is not the beginning of the primary's (R4).
    pub(crate) diverged: bool,
    /// On how many nodes, the first ones, guards run beside primaries; only with `outages`.
    pub(crate) guards: usize,
    /// Whether an operation that hangs may be left behind by its caller, so that another one of the same
    /// node is at work at the same time (R12).
    pub(crate) several: bool,
    /// Whether a primary that has been stopped withdraws its question for promises, and somebody may
    /// start its server again as it lies on the disk, without the agent (R7).
    pub(crate) withdraws: bool,
    /// Whether a primary that has crashed may be promoted again while the lock service is out of its reach
    /// (R7); only with `outages`.
    pub(crate) restarts: bool,
    /// Whether nodes lose what they keep of the register, their promises with it (R7).
    pub(crate) forgets: bool,
    /// Whether a standby may become one that could not open for writing (R14).
    pub(crate) unfits: bool,
    /// Whether files of PostgreSQL's settings get errors, and somebody has them read again once they are mended (R4, R14).
    pub(crate) files: bool,
    /// Whether it is announced that the other nodes are about to be stopped.
    pub(crate) notify: bool,
    /// Whether an operation may come to the end of the time that it gives a standby.
    pub(crate) hurries: bool,
    /// Whether receivers come that are none of the nodes, and standbys have incarnations (R11).
    pub(crate) strangers: bool,
    /// Whether the lock database is put back to what it was before.
    pub(crate) restores: bool,
    /// Whether timelines have names (R13).
    pub(crate) named: bool,
    /// Whether nodes decide by quorum, and a primary may be cut off from others (R3).
    pub(crate) quorum: bool,
    /// Whether standbys say before a promotion how far they have flushed, and receive from one another then.
    pub(crate) ahead: bool,
    /// Whether more than the database nodes vote, so that the primary may be cut off together with a standby.
    pub(crate) votes: bool,
    /// Whether there is a register; without one only what a primary's monitors do is explored.
    pub(crate) register: bool,
    /// How often an operator goes on with the data of a node while nobody serves.
    pub(crate) overrides: bool,
    /// Whether somebody opens standbys by hand (`pg_promote`), without the agent.
    pub(crate) by_hand: bool,
    pub(crate) start: Start,
    pub(crate) mutation: Mutation,
}

/// Where the stories begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Nobody was ever primary.
    Election,
    /// A primary with a standby that holds everything: shorter stories.
    Replicating,
    /// The same when the primary had let its standby go, and waits for it again: it is no holder yet.
    Naming,
    /// The third node has taken the place of the second one, and the primary, which has seen that, holds
    /// commits still.
    Holding,
    /// The primary's PostgreSQL has crashed, and its lease has run out.
    Crashed,
    /// The same, and commits have passed by the promise of the second node.
    Passed,
    /// The same as `Crashed`, and Pacemaker has stopped what was left, which ended the lease, and made a standby
    /// of it.
    Released,
    /// The same as `Crashed`, and it was the only holder.
    Alone,
    /// The second node was let go by its promise, the first one serves without it, and a third one streams.
    LetGo,
    /// See [`crate::operator::superseded_from`].
    Superseded,
    /// See [`crate::diverged::forked_from`].
    Forked,
    /// See [`Explored::ahead_from`].
    Ahead,
    /// See [`Explored::foreign_from`].
    Foreign,
}

/// One transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    /// Every server process of the node is gone (a crash, a power cut, SIGKILL).
    Dies(usize),
    /// The operation in flight is killed between two of its actions (or with its node).
    Interrupted(usize),
    /// The operation in flight stands still, and one that stood still, if there is one, goes on.
    StandsStill(usize),
    /// Pacemaker asks for an operation; what it reaches.
    Begins(usize, Kind, View),
    /// The next action of the operation in flight.
    Acts(usize, Outcome),
    /// The operation in flight observes again.
    Looks(usize, View),
    /// The same, and its time for others is over.
    LooksLate(usize),
    /// The checkpointer makes the names of the settings file those that backends wait for.
    InForce(usize),
    /// A promotion that PostgreSQL was told of comes to its end.
    Promoted(usize),
    /// A client's commit is written and flushed on the primary.
    Commits(usize),
    /// A standby begins to stream from a primary, also from one that was superseded.
    Attaches(usize, usize),
    Detaches(usize),
    /// The standby reports how far it is for the first time.
    Reports(usize),
    Receives(usize),
    LeaseRunsOut,
    /// An operator begins to copy the data of the second node to the first one (R6).
    CopyBegins(usize, usize),
    CopyGoesOn(usize, Outcome),
    /// The copy is broken off.
    CopyEnds(usize),
    /// The first node, stopped, hands over to the second one (R9).
    HandsOver(usize, usize, Outcome),
    /// The data of the node are replaced by what they were with so many entries in the log (R10); and whether the
    /// guard had seen as little of them, and no more while PostgreSQL went on.
    PutBack(usize, usize, bool),
    /// The node's memory of the register is lost.
    Forgets(usize),
    /// A file of this node's settings has an error from here on, or no more.
    ErrorComes(usize),
    /// Somebody has the settings of this primary read again.
    Reloads(usize),
    /// A limit of this standby is lower than the primary's from here on, or no more (R14).
    LimitsChange(usize),
    /// The withdrawal of the question for promises arrives at this node; that of the present epoch, once
    /// or again, or one of an earlier time, which may come at any moment.
    Withdrawn(usize, bool),
    /// Somebody starts the server of a primary again, without the agent.
    Restarted(usize),
    /// The machine of a server that is down is off for a moment.
    LosesPower(usize),
    /// Somebody opens a standby by hand.
    Opened(usize),
    /// An operator goes on with the data of this node (`cls_recovery_master`).
    Overrides(usize),
    /// The same, step by step, where promises are given (R7): the operator confirms, a node gives way, and
    /// the decision is registered.
    Decides(usize, Others),
    GivesWay(usize),
    Registers,
    GuardDies(usize),
    GuardFreezes(usize),
    /// A round of a guard, which begins late if it was frozen.
    Guards(usize, Chance),
    /// A stranger begins to receive from a primary.
    StrangerComes(Stranger),
    StrangerGoes,
    /// A standby's own agent says how far it has flushed.
    Says(usize),
    /// The same before another node is promoted.
    Tells(usize),
    /// A standby receives from the one that lends it what it has.
    Borrows(usize),
    /// These nodes, a primary's among them, are cut off from all others, but not from the lock service.
    CutOff(u8),
    /// The network is whole again.
    Meets,
    /// The change that lay in the lock service's socket takes effect.
    Delivered,
    /// A copy of the lock database is made.
    BacksUp,
    /// It takes the place of the lock database.
    Restores,
}

/// What became of a change of the register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered,
    Unreachable,
    ReplyLost,
    Delayed,
    /// What becomes of the question to each other node (R7).
    Asked([Fate; 2]),
}

/// What becomes of a request for a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The node is reached, and does not reach the lock service itself.
    Answered,
    /// The same, and its answer is lost.
    AnswerLost,
    /// It is not reached.
    Unreachable,
    /// It reaches the lock service.
    Relays,
}

pub(crate) const FATES: [Fate; 4] = [
    Fate::Answered,
    Fate::AnswerLost,
    Fate::Unreachable,
    Fate::Relays,
];

impl Model for Explored {
    type State = State;
    type Action = Move;

    fn init_states(&self) -> Vec<State> {
        let standby = Node {
            postgres: Postgres::Standby {
                upstream: None,
                promoting: false,
            },
            log: Log::default(),
            standby_signal: true,
            names: NOBODY_BIT,
            shown: NOBODY_BIT,
            unread: false,
            reign: None,
            seen: Memory::default(),
            bound_for_ever: false,
            copy: None,
            unfinished: false,
            recorded: Log::default(),
            silent: false,
            released: 0,
            record: self.named.then(|| Kept {
                names: first(),
                held: Held::Following,
            }),
            reserved: 0,
            lender: None,
            by_hand: false,
            rebooted: false,
            unseen: false,
            guard: None,
            noted: false,
            run: None,
            incarnation: u8::from(self.strangers),
            announced: u8::from(self.strangers),
            said: None,
            kept: None,
            hold: None,
            aside: None,
            unfit: false,
            remade: false,
        };
        let fresh = State {
            nodes: vec![standby; self.nodes],
            row: Row {
                owner: None,
                elected: false,
                holders: 0,
                positions: [0; NODES],
                lease: Lease::Released,
                names: Names::default(),
                is_named: false,
                highest: 0,
                former: None,
            },
            overrides_left: 1,
            deciding: None,
            delayed: None,
            acknowledged: 0,
            next_commit: 0,
            violation: None,
            withdrawn: false,
            moved: (false, false),
            barriers_last: self.mutation == Mutation::BarrierOfAnotherEpoch,
            holds_last: self.mutation == Mutation::HoldOfAnotherEpoch,
            stranger: None,
            counted: self.restores.then(Counted::new),
            cut: 0,
            heir: None,
        };
        match self.start {
            Start::Election => {}
            Start::Replicating => return vec![self.replicating_from(fresh)],
            Start::Naming => return vec![self.naming_from(fresh)],
            Start::Holding => return vec![self.holding_from(fresh)],
            Start::Crashed => return vec![self.crashed_from(fresh)],
            Start::Passed => return vec![self.passed_from(fresh)],
            Start::Released => return vec![self.released_from(fresh)],
            Start::Alone => return vec![self.alone_from(fresh)],
            Start::LetGo => return vec![self.let_go_from(fresh)],
            Start::Superseded => return vec![superseded_from(fresh)],
            Start::Forked => return vec![forked_from(fresh)],
            Start::Ahead => return vec![self.ahead_from(fresh)],
            Start::Foreign => return vec![self.foreign_from(fresh)],
        }
        // The last node of node_list has a commit of the time before the register (R0).
        let mut newer = fresh.clone();
        newer.nodes[self.nodes - 1].log.commit(0);
        (newer.acknowledged, newer.next_commit) = (1, 1);
        vec![fresh, newer]
    }

    fn actions(&self, state: &State, moves: &mut Vec<Move>) {
        for (i, node) in state.nodes.iter().enumerate() {
            if node.postgres != Postgres::Down {
                moves.push(Move::Dies(i));
            }
            if self.forgets && node.run.is_none() && !node.seen.forgotten {
                moves.push(Move::Forgets(i));
            }
            self.withdrawal_moves(state, i, moves);
            self.unfit_moves(state, i, moves);
            self.file_moves(state, i, moves);
            self.agent_moves(state, i, node, moves);
            self.postgres_moves(state, i, node, moves);
            self.operator_moves(state, i, moves);
            self.rollback_moves(state, i, moves);
            self.guard_moves(state, i, moves);
            self.stranger_moves(state, i, moves);
            self.override_moves(state, i, moves);
            self.quorum_moves(state, i, moves);
            self.ahead_moves(state, i, moves);
        }
        if state.row.lease == Lease::Running && lease_may_run_out(state) {
            moves.push(Move::LeaseRunsOut);
        }
        self.restore_moves(state, moves);
        self.decision_moves(state, moves);
        if state.delayed.is_some() {
            moves.push(Move::Delivered);
        }
    }

    fn next_state(&self, before: &State, step: Move) -> Option<State> {
        let mut state = before.clone();
        match step {
            Move::Dies(i) => state.nodes[i].postgres = Postgres::Down,
            Move::Interrupted(i) => state.nodes[i].run = None,
            Move::StandsStill(i) => {
                let node = &mut state.nodes[i];
                std::mem::swap(&mut node.run, &mut node.aside);
            }
            Move::Begins(i, kind, view) => {
                let memory = state.nodes[i].memory();
                let progress = Progress {
                    named: !self.named,
                    ..fresh_progress(self.restores)
                };
                let snapshot = self.observe(&state, i, kind, view, progress, memory);
                self.decide(&mut state, i, kind, view, snapshot);
            }
            Move::Looks(i, view) => {
                let run = state.nodes[i].run.take()?;
                let (progress, memory) = self.goes_on(&state.nodes[i], &run);
                let snapshot = self.observe(&state, i, run.kind, view, progress, memory);
                self.decide(&mut state, i, run.kind, view, snapshot);
            }
            Move::LooksLate(i) => {
                let run = state.nodes[i].run.take()?;
                let (progress, memory) = self.goes_on(&state.nodes[i], &run);
                let view = View::All;
                let mut snapshot = self.observe(&state, i, run.kind, view, progress, memory);
                match &mut snapshot.progress.catch_up {
                    // It stays over at later looks.
                    Some(catch_up) => catch_up.until = Duration::ZERO,
                    None => snapshot.elapsed = LATE,
                }
                self.decide(&mut state, i, run.kind, view, snapshot);
            }
            Move::Acts(i, outcome) => self.act(&mut state, i, outcome)?,
            Move::InForce(i) => {
                let names = state.nodes[i].shown;
                state.nodes[i].postgres = Postgres::Primary { in_force: names };
            }
            Move::Promoted(i) => {
                if has_strayed(&state, i) {
                    state.violation = Some(STRAYED);
                }
                match state.nodes[i].unfit {
                    true => state.nodes[i].postgres = Postgres::Down,
                    false => self.opens(&mut state.nodes[i], i),
                }
            }
            Move::LimitsChange(i) => state.nodes[i].unfit ^= true,
            Move::ErrorComes(i) => state.nodes[i].unread ^= true,
            Move::Reloads(i) => files::reload(&mut state.nodes[i]).ok()?,
            Move::Opened(i) => {
                self.opens(&mut state.nodes[i], i);
                state.nodes[i].by_hand = true;
            }
            Move::Overrides(i) => self.overridden(&mut state, i)?,
            Move::Decides(i, others) => self.decides(&mut state, i, others)?,
            Move::GivesWay(j) => self.gives_way(&mut state, j)?,
            Move::Registers => self.registers(&mut state)?,
            Move::Commits(i) => {
                let id = state.next_commit;
                state.nodes[i].log.commit(id);
                state.next_commit += 1;
            }
            Move::Attaches(i, to) => {
                state.nodes[i].silent = state.nodes[i].log.has_left(&state.nodes[to].log);
                set_upstream(&mut state.nodes[i], Some(to as u8));
            }
            Move::Detaches(i) => set_upstream(&mut state.nodes[i], None),
            Move::Reports(i) => state.nodes[i].silent = false,
            Move::Receives(i) => {
                let from = state.nodes[upstream(&state.nodes[i])?].log;
                state.nodes[i].log.receive_from(&from);
            }
            Move::CopyBegins(i, j) => self.copy_begins(&mut state, i, j),
            Move::CopyGoesOn(i, outcome) => self.copy_goes_on(&mut state, i, outcome)?,
            Move::CopyEnds(i) => state.nodes[i].copy = None,
            Move::HandsOver(i, j, outcome) => self.hands_over(&mut state, i, j, outcome)?,
            Move::PutBack(i, entries, unseen) => self.put_back(&mut state, i, entries, unseen),
            Move::Forgets(i) => {
                let node = &mut state.nodes[i];
                node.seen = match self.mutation {
                    Mutation::ForgottenIsNothing => Memory::default(),
                    _ => Memory::none(),
                };
                (node.reign, node.noted) = (None, false);
            }
            Move::Withdrawn(i, present) => self.freed(&mut state, i, present)?,
            Move::Restarted(i) => {
                let node = &mut state.nodes[i];
                files::reload(node).ok()?;
                node.postgres = Postgres::Primary {
                    in_force: node.shown,
                };
            }
            Move::LosesPower(i) => self.loses_power(&mut state.nodes[i]),
            Move::GuardDies(i) => state.nodes[i].guard = None,
            Move::GuardFreezes(i) => self.guard_freezes(&mut state, i),
            Move::Guards(i, chance) => self.guard_round(&mut state, i, chance)?,
            Move::StrangerComes(stranger) => state.stranger = Some(stranger),
            Move::StrangerGoes => state.stranger = None,
            Move::Says(i) => self.says(&mut state, i, Operation::Attend)?,
            Move::Tells(i) => self.says(&mut state, i, self.before_another(i))?,
            Move::Borrows(i) => self.borrows(&mut state, i)?,
            Move::LeaseRunsOut => state.row.lease = Lease::RunOut,
            Move::BacksUp => self.backs_up(&mut state)?,
            Move::Restores => self.restores(&mut state)?,
            Move::CutOff(part) => self.cut_off(&mut state, part),
            Move::Meets => (state.cut, state.heir) = (0, None),
            Move::Delivered => {
                let update = state.delayed.take()?;
                self.update(&mut state, &update);
            }
        }
        state.moved = (false, false);
        if self.mutation == Mutation::GuardTrustsOldPromises {
            for (node, before) in state.nodes.iter_mut().zip(&before.nodes) {
                node.noted |= before.noted;
            }
        }
        settle(&mut state);
        self.forget_what_cannot_happen(&mut state);
        Self::forget_who_was_remade(&mut state);
        self.forget_what_is_written_again(&mut state);
        (state != *before).then_some(state)
    }

    fn within_boundary(&self, state: &State) -> bool {
        state
            .nodes
            .iter()
            .all(|node| node.log.timeline() <= self.timelines)
            && state.counted.as_ref().is_none_or(Counted::within)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ACKNOWLEDGED, |model: &Self, state: &State| {
                model.acknowledged_is_kept(state)
            }),
            Property::always(SINGLE_WRITER, |_, state: &State| {
                state.violation != Some(SINGLE_WRITER)
            }),
            Property::always(SUPERSEDED, |_, state: &State| {
                state.violation != Some(SUPERSEDED)
            }),
            Property::always(REPLACED, |_, state: &State| {
                state.violation != Some(REPLACED)
            }),
            Property::always(FENCED, |_, state: &State| state.violation != Some(FENCED)),
            Property::always(REOPENED, |_, state: &State| {
                state.violation != Some(REOPENED)
            }),
            Property::always(UNGUARDED, |_, state: &State| {
                state.violation != Some(UNGUARDED)
            }),
            Property::always(RECORDED, |model: &Self, state: &State| {
                let mut nodes = state.nodes.iter().enumerate();
                nodes.all(|(i, node)| {
                    node.recorded.is_prefix_of(&node.log) || !model.may_promote(state, i)
                })
            }),
            Property::always(FORMER_NAME, |_, state: &State| {
                state.violation != Some(FORMER_NAME)
            }),
            Property::always(UNWRITTEN, |_, state: &State| {
                state.nodes.iter().all(|node| node.released == 0)
            }),
            Property::always(SHUT, |_, state: &State| state.violation != Some(SHUT)),
            Property::always(TAKEN, |_, state: &State| state.violation != Some(TAKEN)),
            Property::always(UNCOVERED, |_, state: &State| {
                state.violation != Some(UNCOVERED)
            }),
            Property::always(REMADE, |_, state: &State| state.violation != Some(REMADE)),
            Property::always(ALONE, |_, state: &State| state.violation != Some(ALONE)),
            Property::always(HELD, |_, state: &State| state.violation != Some(HELD)),
            Property::always(AHEAD, |_, state: &State| state.violation != Some(AHEAD)),
            Property::always(MIXED, |_, state: &State| state.violation != Some(MIXED)),
            Property::always(STRAYED, |_, state: &State| state.violation != Some(STRAYED)),
            Property::always(HALF, |_, state: &State| state.violation != Some(HALF)),
            Property::always(LENT, |_, state: &State| state.violation != Some(LENT)),
            Property::always(STRANDED, |model: &Self, state: &State| {
                model.nobody_is_stranded(state)
            }),
            Property::always(INHERITED, |_, state: &State| state.heir_has_everything()),
            Property::always(SAME_TIMELINE, |model: &Self, state: &State| {
                timelines_agree(state, model.named)
            }),
        ]
    }
}

/// Longer than any operation waits for a standby.
const LATE: Duration = Duration::from_secs(60);

/// Invariant (a).
pub(crate) const ACKNOWLEDGED: &str = "every node that may promote has every acknowledged commit";
/// Invariant (b).
pub(crate) const SINGLE_WRITER: &str =
    "no node becomes owner beside a serving primary whose lease has not run out";
/// R5.
pub(crate) const SUPERSEDED: &str = "no operation leaves a superseded primary running that saw it";
/// Invariant (d).
pub(crate) const SAME_TIMELINE: &str =
    "what PostgreSQL lets stream is a prefix: no two histories have one name";

impl Explored {
    /// Whether a node may promote at this moment, or as soon as the lease has run out.
    pub(crate) fn may_promote(&self, state: &State, i: usize) -> bool {
        let mut register = state.register();
        register.lease_left = Duration::ZERO;
        let node = &state.nodes[i];
        // It reads the register before it promotes.
        let seen = match node.seen.forgotten {
            true => node.seen.seeing_as(&name(i), &register),
            false => node.seen,
        };
        let told = state.counted.as_ref().map(|counted| counted.told);
        let seen = seen.told(told.filter(|_| self.mutation != Mutation::ToldIgnored));
        let end = Lsn::new(u64::from(node.log.end()));
        let rules = PROMOTION_RULES
            .iter()
            .filter(|rule| !self.mutation.promotes_without(rule.id));
        let reading = Reading::Row(register);
        state.row.elected
            && matches!(
                may_promote_by(rules, &reading, &name(i), &seen, Some(end), None),
                Eligibility::Yes(_)
            )
    }

    fn acknowledged_is_kept(&self, state: &State) -> bool {
        let mut nodes = state.nodes.iter().enumerate();
        state.acknowledged == 0
            || !self.register
            || nodes.all(|(i, node)| {
                let lacks = state.acknowledged & !node.log.commits();
                let rest = node.unfinished && node.postgres == Postgres::Down;
                lacks == 0 || rest || !self.may_promote(state, i)
            })
    }
}

/// Where timelines have names, what is down may be anything: it is judged before it is started.
fn timelines_agree(state: &State, named: bool) -> bool {
    let primary = |node: &&Node| matches!(node.postgres, Postgres::Primary { .. }) && !node.by_hand;
    state.nodes.iter().filter(primary).all(|primary| {
        state.nodes.iter().all(|node| {
            (named && !matches!(node.postgres, Postgres::Standby { .. }))
                || !node.log.may_stream_from(&primary.log)
                || node.log.is_prefix_of(&primary.log)
        })
    })
}

pub(crate) fn upstream(node: &Node) -> Option<usize> {
    match node.postgres {
        Postgres::Standby { upstream, .. } => upstream.map(usize::from),
        _ => None,
    }
}

fn set_upstream(node: &mut Node, to: Option<u8>) {
    if let Postgres::Standby { upstream, .. } = &mut node.postgres {
        *upstream = to;
    }
}

/// What follows at once: standbys lose a primary that is gone, and whatever may be acknowledged is.
/// Acknowledging enables nothing, so that doing it as early as possible is the worst case.
fn settle(state: &mut State) {
    for i in 0..state.nodes.len() {
        Resident::settle(&mut state.nodes[i]);
        if let Some(from) = upstream(&state.nodes[i])
            && !matches!(state.nodes[from].postgres, Postgres::Primary { .. })
        {
            set_upstream(&mut state.nodes[i], None);
        }
        state.nodes[i].silent &= upstream(&state.nodes[i]).is_some();
        if !matches!(state.nodes[i].postgres, Postgres::Standby { .. }) {
            state.nodes[i].lender = None; // it is written again before the next start
        }
        let serves = matches!(state.nodes[i].postgres, Postgres::Primary { .. });
        state.nodes[i].rebooted &= !serves;
        state.nodes[i].unseen &= !serves;
    }
    strangers::settle(state);
    for i in 0..state.nodes.len() {
        release(state, i);
    }
}

impl Explored {
    /// The first node is the primary, and the second one its standby, which holds everything.
    fn replicating_from(&self, fresh: State) -> State {
        let mut state = fresh;
        let standbys = strangers::called(1, u8::from(self.strangers));
        state.row = Row {
            owner: Some(0),
            elected: true,
            holders: 1 | 1 << 1,
            positions: [0; NODES],
            lease: Lease::Running,
            names: if self.named {
                first()
            } else {
                Names::default()
            },
            is_named: self.named,
            highest: u8::from(self.named),
            former: None,
        };
        let register = state.register();
        for node in &mut state.nodes {
            set_upstream(node, Some(0));
            if self.remembers() {
                node.seen = Memory::default().seeing(&register);
            }
        }
        let primary = &mut state.nodes[0];
        primary.postgres = Postgres::Primary { in_force: standbys };
        primary.standby_signal = false;
        (primary.names, primary.shown) = (standbys, standbys);
        primary.reign = Some((TERM, 1));
        if let Some(kept) = &mut primary.record {
            kept.held = Held::Opened(Opening::at(0));
        }
        primary.guard = (self.guards > 0).then(|| Resident::at_work(register));
        state
    }

    fn naming_from(&self, fresh: State) -> State {
        let mut state = self.replicating_from(fresh);
        state.row.holders = 1;
        let register = state.register();
        let primary = &mut state.nodes[0];
        if self.guards > 0 {
            primary.guard = Some(Resident::at_work(register));
        }
        state
    }

    fn holding_from(&self, fresh: State) -> State {
        let mut state = self.replicating_from(fresh);
        state.row.holders = 1 | 1 << 2;
        let names = [1, 2].map(|node| strangers::called(node, u8::from(self.strangers)));
        let held = names[0] | names[1] | HELD_BIT;
        let primary = &mut state.nodes[0];
        primary.postgres = Postgres::Primary { in_force: held };
        (primary.names, primary.shown) = (held, held);
        primary.hold = state.holds_last.then_some(1);
        state
    }

    pub(crate) fn crashed_from(&self, fresh: State) -> State {
        let mut state = self.replicating_from(fresh);
        state.row.lease = Lease::RunOut;
        for node in &mut state.nodes {
            set_upstream(node, None);
        }
        state.nodes[0].postgres = Postgres::Down;
        state
    }

    fn passed_from(&self, fresh: State) -> State {
        let mut state = self.crashed_from(fresh);
        let [primary, standby, ..] = &mut state.nodes[..] else {
            return state;
        };
        primary.names = 0;
        (primary.seen.relied, primary.seen.used) = (Some(EPOCH), Some(EPOCH));
        (standby.seen.promised, standby.seen.revocable) = (Some(EPOCH), Some(EPOCH));
        state
    }

    fn alone_from(&self, fresh: State) -> State {
        let mut state = self.crashed_from(fresh);
        state.row.holders = 1;
        state.nodes[0].names = 0;
        state
    }

    fn released_from(&self, fresh: State) -> State {
        let mut state = self.crashed_from(fresh);
        state.row.lease = Lease::Released;
        let before = &mut state.nodes[0];
        before.postgres = Postgres::Standby {
            upstream: None,
            promoting: false,
        };
        before.standby_signal = true;
        (before.names, before.shown) = (NOBODY_BIT, NOBODY_BIT);
        state
    }

    fn let_go_from(&self, fresh: State) -> State {
        let mut state = self.passed_from(fresh);
        state.nodes[0].postgres = Postgres::Primary { in_force: 0 };
        state.nodes[0].shown = 0;
        set_upstream(&mut state.nodes[2], Some(0));
        state
    }

    fn agent_moves(&self, state: &State, i: usize, node: &Node, moves: &mut Vec<Move>) {
        if self.several && (node.run.is_some() || node.aside.is_some()) {
            moves.push(Move::StandsStill(i));
        }
        let Some(run) = &node.run else {
            let kinds: &[Kind] = match node.postgres {
                Postgres::Down | Postgres::Standby { .. } if !self.register => &[],
                Postgres::Primary { .. } if !self.register => &[Kind::Monitor],
                Postgres::Down if node.unfinished => &[Kind::Start],
                Postgres::Down if node.copy.is_some() => &[],
                Postgres::Down => &[Kind::Start, Kind::Stop],
                Postgres::Standby { .. } => &[Kind::Promote, Kind::Demote, Kind::Stop],
                Postgres::Primary { .. } => {
                    &[Kind::Monitor, Kind::Promote, Kind::Demote, Kind::Stop]
                }
            };
            for kind in kinds {
                if self.guards > 0 && *kind == Kind::Demote {
                    continue; // a stop and a start, as far as guards go
                }
                if state.is_cut_off(i) && matches!(kind, Kind::Start | Kind::Promote) {
                    continue; // without quorum
                }
                moves.push(Move::Begins(i, *kind, View::All));
                if differs_alone(state, *kind) {
                    moves.push(Move::Begins(i, *kind, View::Alone));
                }
                let without = match kind {
                    Kind::Monitor => self.outages,
                    Kind::Start | Kind::Promote => self.restarts,
                    _ => false,
                };
                if without {
                    moves.push(Move::Begins(i, *kind, View::NoLock));
                }
                if self.quorum && *kind == Kind::Monitor {
                    moves.push(Move::Begins(i, *kind, View::Blind));
                }
            }
            if self.notify && matches!(node.postgres, Postgres::Primary { .. }) {
                moves.push(Move::Begins(i, Kind::Notify, View::All));
            }
            return;
        };
        moves.push(Move::Interrupted(i));
        match run.queue.first() {
            None if waits_in_vain(node) => {}
            None => {
                moves.push(Move::Looks(i, View::All));
                if is_lent(run) {
                    moves.push(Move::LooksLate(i));
                }
                if run.kind == Kind::Monitor {
                    moves.push(Move::Looks(i, View::Alone));
                    if self.hurries {
                        moves.push(Move::LooksLate(i));
                    }
                    if self.outages {
                        moves.push(Move::Looks(i, View::NoLock));
                    }
                    if self.quorum {
                        moves.push(Move::Looks(i, View::Blind));
                    }
                }
            }
            Some(Action::UpdateRegister(_)) => {
                moves.push(Move::Acts(i, Outcome::Answered));
                moves.push(Move::Acts(i, Outcome::Unreachable));
                moves.push(Move::Acts(i, Outcome::ReplyLost));
                if self.delays && state.delayed.is_none() {
                    moves.push(Move::Acts(i, Outcome::Delayed));
                }
            }
            Some(Action::AskPromises(ask)) => {
                for first in FATES {
                    let second: &[Fate] = if ask.peers.len() > 1 {
                        &FATES
                    } else {
                        &FATES[..1]
                    };
                    for second in second {
                        moves.push(Move::Acts(i, Outcome::Asked([first, *second])));
                    }
                }
            }
            Some(Action::AskQuorum(_)) => {
                moves.push(Move::Acts(i, Outcome::Answered));
                moves.push(Move::Acts(i, Outcome::Unreachable));
            }
            Some(Action::CatchUp { .. }) => {
                moves.push(Move::Acts(i, Outcome::Answered));
                moves.push(Move::Acts(i, Outcome::Unreachable));
            }
            Some(_) => moves.push(Move::Acts(i, Outcome::Answered)),
        }
    }

    fn postgres_moves(&self, state: &State, i: usize, node: &Node, moves: &mut Vec<Move>) {
        match node.postgres {
            Postgres::Down => {}
            Postgres::Standby {
                upstream,
                promoting,
            } => {
                // Between the register and the promotion it is open, for the agent to promote it.
                // Where one is ahead, only who lends what it has: the others' stories are told elsewhere.
                let lends = !self.ahead || state.nodes.iter().any(|of| of.lender == Some(i as u8));
                if self.by_hand && node.shown == NOBODY_BIT && lends {
                    moves.push(Move::Opened(i));
                }
                if promoting {
                    moves.push(Move::Promoted(i));
                }
                if let Some(from) = upstream {
                    moves.push(Move::Detaches(i));
                    if state.apart(i, usize::from(from)) {
                        return; // until the sender notices
                    }
                    let primary = &state.nodes[usize::from(from)].log;
                    if node.silent {
                        moves.push(Move::Reports(i));
                    }
                    if node.log.len() < primary.len() && !node.log.has_left(primary) {
                        moves.push(Move::Receives(i));
                    }
                    return;
                }
                if node.lender.is_some() {
                    return;
                }
                for (j, other) in state.nodes.iter().enumerate() {
                    let primary =
                        matches!(other.postgres, Postgres::Primary { .. }) && !other.by_hand;
                    let streams = node.log.may_stream_from(&other.log)
                        || (self.diverged && node.log.has_left(&other.log));
                    if primary && streams && !state.apart(i, j) {
                        moves.push(Move::Attaches(i, j));
                    }
                }
            }
            Postgres::Primary { in_force } => {
                if in_force != node.shown {
                    moves.push(Move::InForce(i));
                }
                if state.next_commit < self.commits {
                    moves.push(Move::Commits(i));
                }
            }
        }
    }
}

/// A promotion under way is looked at again when PostgreSQL has gone on.
fn waits_in_vain(node: &Node) -> bool {
    matches!(
        node.postgres,
        Postgres::Standby {
            promoting: true,
            ..
        }
    )
}

/// Whether it matters to an operation that the node sees nobody: a primary lets its standbys go, an
/// election waits, and what stops a primary does not reach the lock service.
fn differs_alone(state: &State, kind: Kind) -> bool {
    match kind {
        Kind::Monitor | Kind::Stop | Kind::Demote => true,
        Kind::Promote => !state.row.elected,
        Kind::Start | Kind::Notify | Kind::Guard => false,
    }
}

impl Explored {
    /// Every way to start a server that is down writes its settings first. Where timelines have names,
    /// `standby.signal` tells before that whether it was opened.
    fn forget_what_is_written_again(&self, state: &mut State) {
        for node in &mut state.nodes {
            if node.postgres == Postgres::Down && !self.withdraws {
                node.by_hand = false;
                let starting = |run: &Run| {
                    let starts = |action: &Action| matches!(action, Action::StartPostgres(_));
                    run.queue.iter().any(starts)
                };
                if !self.named || !node.run.as_ref().is_some_and(|run| starting(run)) {
                    node.names = 0;
                }
                node.standby_signal |=
                    !self.named && !node.run.as_ref().is_some_and(|run| starting(run));
            }
            files::unless_running(node);
        }
    }
}

//! The guard beside a primary, as a process of its own: its rounds, its sleep, its death.
//!
//! Time is abstract. A proof is either good or older than the limit within which the guard has to
//! find another one, and the adversary lets it grow old before any round. But the lease at the lock
//! service does not run out as long as the guard that renewed it has not had a round with the old
//! proof, unless that guard is dead or frozen: that is what the margin between limit and lease is for.
//! What a proof is and how old it is the guard's own account of them says ([`Proofs`]), by a clock that knows
//! three moments.
//!
//! A round is one step. It reads the memory and looks at PostgreSQL first, and what the agent does in
//! between two rounds the agent's own steps show.

use std::time::Duration;

use pha_core::decide::acknowledged;
use pha_core::drive::{self, Edge, Guarding, Note, Round};
use pha_core::lsn::Lsn;
use pha_core::plan::{Action, Effect, Plan};
use pha_core::proofs::Proofs;
use pha_core::register::{Memory, PromisedAt, Register};
use pha_core::snapshot::{Guard, Progress, Snapshot, Watch};

use crate::agent::{Step, leaves_superseded, process};
use crate::exchange::{HELD, leaves_left_over};
use crate::model::{Explored, FATES, Fate, Move, Outcome, SUPERSEDED, upstream};
use crate::mutation::Mutation;
use crate::state::{Kind, Node, Postgres, State, View, age, aged};

/// The moment from which every proof is too old.
const LONG_AGO: Duration = Duration::ZERO;
/// That of the round before.
const BEFORE: Duration = NOW.saturating_sub(Duration::from_millis(1));
/// That of this round.
const NOW: Duration = Duration::from_secs(3600);

/// The last renewal that the register confirmed to a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Renewal {
    /// A new guard takes it that the lease has just begun.
    Assumed,
    Confirmed,
    /// It is older than the limit.
    Old,
}

/// The process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Resident {
    /// It stands still (a frozen process or machine).
    frozen: bool,
    renewal: Renewal,
    /// Another proof (links, or what the memory said) is not older than the limit.
    otherwise: bool,
    /// What another node has told it of the register while it asked for promises.
    told: Memory,
    /// The row as it was last seen in this node's hands.
    last: Option<Register>,
}

/// What the round of a guard meets with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chance {
    grown_old: GrownOld,
    register: Outcome,
    /// Whether the standbys acknowledge what is written now.
    linked: bool,
    fates: [Fate; 2],
}

/// Which proofs have grown older than the limit since the round before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GrownOld {
    None,
    Renewal,
    All,
}

/// What the guard is for.
pub(crate) const FENCED: &str =
    "a guard at work finds no proof beside a newer primary, and lets none serve on an old one";
/// Who looks after the guard.
pub(crate) const UNGUARDED: &str = "no monitor ends beside a registered primary without a guard";

impl Resident {
    /// One that was started just now.
    pub(crate) fn new() -> Self {
        Self {
            frozen: false,
            renewal: Renewal::Assumed,
            otherwise: false,
            told: Memory::default(),
            last: None,
        }
    }

    /// One that has renewed the lease of this row.
    pub(crate) fn at_work(row: Register) -> Self {
        Self {
            renewal: Renewal::Confirmed,
            last: Some(row),
            ..Self::new()
        }
    }

    /// The register has moved: what it has seen is older by one.
    pub(crate) fn age(&mut self, term: bool, epoch: bool) {
        self.told = aged(term, epoch, self.told);
        if let Some(row) = &mut self.last {
            age(term, epoch, &mut row.term, Some(&mut row.epoch));
        }
    }

    /// What it has proven before this round.
    fn proofs(&self) -> Proofs {
        let mut proofs = Proofs::new(match self.renewal {
            Renewal::Old => LONG_AGO,
            Renewal::Assumed | Renewal::Confirmed => BEFORE,
        });
        if self.otherwise {
            proofs.safe(BEFORE);
        }
        if let Some(row) = &self.last {
            proofs.owned(row.clone());
        }
        proofs.remember(&self.told, NOW);
        proofs
    }

    /// Takes in what the round has proven.
    fn learn(&mut self, proofs: &Proofs) {
        let watch = proofs.watch(NOW);
        if watch.unrenewed.is_zero() {
            self.renewal = Renewal::Confirmed;
        }
        self.otherwise = watch.safe.is_some() || !watch.links.is_empty();
        self.last = watch.last.map(|row| Register {
            lease_left: Duration::ZERO,
            ttl: Duration::ZERO,
            ..row
        });
    }

    /// As an operation of the agent finds it.
    pub(crate) fn seen(guard: Option<&Self>) -> Guard {
        match guard {
            None => Guard::Absent,
            Some(guard) if guard.frozen => Guard::Stale("it has not moved".to_owned()),
            Some(_) => Guard::Running,
        }
    }

    /// Beside no primary it does nothing that anybody sees, and ends before there is one again.
    pub(crate) fn settle(node: &mut Node) {
        if !matches!(node.postgres, Postgres::Primary { .. }) {
            node.guard = None;
        }
    }
}

/// A round, as the edge of the loop that the guard runs.
struct Rounding<'a> {
    step: Step<'a>,
    chance: Chance,
    proofs: Proofs,
}

impl Edge for Rounding<'_> {
    fn decide(&mut self, snapshot: &Snapshot) -> Plan {
        self.step.decide(snapshot)
    }

    fn perform(&mut self, action: &Action, snapshot: &Snapshot) -> Result<Effect, String> {
        self.step.outcome = match action {
            Action::AskPromises(_) => Outcome::Asked(self.chance.fates),
            Action::AskQuorum(_) => Outcome::Answered,
            _ => self.chance.register,
        };
        if let (Action::AskStandbys(_), true) = (action, self.chance.linked) {
            // The standbys that stream from a node acknowledge what it has written just now.
            let (model, state, i) = (self.step.model, &*self.step.state, self.step.i);
            let all = model.known_names(state);
            let have = acknowledged(&model.links(state, i), Lsn::new(0), &all);
            self.proofs.linked(&have, NOW);
        }
        self.step.perform(action, snapshot)
    }

    fn fold(
        &mut self,
        snapshot: Snapshot,
        action: &Action,
        result: Result<Effect, String>,
    ) -> Snapshot {
        self.step.fold(snapshot, action, result)
    }

    fn keep(&mut self, memory: &Memory) -> Result<(), String> {
        self.step.keep(memory)
    }

    fn note(&mut self, _: Note<'_>) {}
}

impl Guarding for Rounding<'_> {
    fn refresh(&mut self, mut snapshot: Snapshot) -> Snapshot {
        let node = &self.step.state.nodes[self.step.i];
        let mutation = self.step.model.mutation;
        let known = match mutation {
            Mutation::GuardTrustsOldPromises => self.proofs.memory(),
            _ => &node.seen,
        };
        let noted = node.noted.then_some(PromisedAt {
            term: known.term,
            epoch: known.epoch,
        });
        snapshot.process = process(node);
        self.proofs
            .refresh(&mut snapshot, Watch::default(), noted, NOW);
        if let (Some(doctored), _) = mutation.before_decision(&snapshot) {
            self.proofs.judge(&doctored);
        }
        snapshot
    }

    fn learn(&mut self, action: &Action, snapshot: &Snapshot) {
        let (term, epoch) = self.step.state.moved;
        if let (true, Some(mut row)) = (term || epoch, self.proofs.watch(NOW).last) {
            age(term, epoch, &mut row.term, Some(&mut row.epoch));
            self.proofs.owned(row);
        }
        self.proofs.learn(action, snapshot, NOW);
    }

    fn is_to_end(&mut self) -> bool {
        self.step.impossible
    }
}

/// Whether the lease may run out now: not as long as the guard of a serving owner has it confirmed.
pub(crate) fn lease_may_run_out(state: &State) -> bool {
    let owner = state
        .row
        .owner
        .map(|owner| &state.nodes[usize::from(owner)]);
    let Some(Node {
        postgres: Postgres::Primary { .. },
        guard: Some(guard),
        ..
    }) = owner
    else {
        return true;
    };
    guard.frozen || guard.renewal != Renewal::Confirmed
}

/// Whether another node serves as the owner.
fn another_serves(state: &State, i: usize) -> bool {
    state.row.owner.map(usize::from).is_some_and(|owner| {
        owner != i && matches!(state.nodes[owner].postgres, Postgres::Primary { .. })
    })
}

impl Explored {
    pub(crate) fn guard_moves(&self, state: &State, i: usize, moves: &mut Vec<Move>) {
        let node = &state.nodes[i];
        let Some(guard) = &node.guard else {
            return;
        };
        moves.push(Move::GuardDies(i));
        let every: &[GrownOld] = match (guard.frozen, guard.renewal, guard.otherwise) {
            (true, ..) => &[GrownOld::All],
            (_, Renewal::Old, false) => &[GrownOld::None],
            (_, Renewal::Old, true) | (.., false) => &[GrownOld::None, GrownOld::All],
            _ => &[GrownOld::None, GrownOld::Renewal, GrownOld::All],
        };
        if !guard.frozen {
            moves.push(Move::GuardFreezes(i));
        }
        let linked =
            state.stranger.is_some() || state.nodes.iter().any(|other| upstream(other) == Some(i));
        for grown_old in every {
            let mut meets = |register, linked, fates| {
                let chance = Chance {
                    grown_old: *grown_old,
                    register,
                    linked,
                    fates,
                };
                moves.push(Move::Guards(i, chance));
            };
            let any = [Fate::Answered; 2];
            meets(Outcome::Answered, false, any);
            // The same as none at all, but for the lease.
            meets(Outcome::ReplyLost, false, any);
            if linked {
                meets(Outcome::Unreachable, true, any);
            }
            for first in FATES {
                let seconds = if self.nodes > 2 {
                    &FATES[..]
                } else {
                    &FATES[..1]
                };
                for second in seconds {
                    meets(Outcome::Unreachable, false, [first, *second]);
                }
            }
        }
    }

    pub(crate) fn guard_freezes(&self, state: &mut State, i: usize) {
        if let Some(guard) = &mut state.nodes[i].guard {
            (guard.frozen, guard.renewal, guard.otherwise) = (true, Renewal::Old, false);
        }
    }

    /// One round: the memory and PostgreSQL are looked at, the register is asked, and so on until the
    /// rules say that there is nothing more to do.
    pub(crate) fn guard_round(&self, state: &mut State, i: usize, chance: Chance) -> Option<()> {
        let guard = state.nodes[i].guard.as_mut()?;
        let overslept = std::mem::take(&mut guard.frozen);
        if chance.grown_old != GrownOld::None {
            guard.renewal = Renewal::Old;
        }
        guard.otherwise &= chance.grown_old != GrownOld::All;
        let proven_before = guard.renewal != Renewal::Old || guard.otherwise;
        let mut proofs = guard.proofs();
        proofs.remember(&state.nodes[i].memory(), NOW);
        let (memory, progress) = (*proofs.memory(), Progress::default());
        let mut snapshot = self.observe(state, i, Kind::Guard, View::All, progress, memory);
        snapshot.cluster = Err("the guard does not ask".to_owned());
        // It stood still before this round; within one is a scenario of the core's.
        if overslept {
            snapshot.woke_late();
        }
        // Who is in the middle of something has the change lock.
        let run = state.nodes[i].run.as_ref();
        if run.is_none_or(|run| run.queue.is_empty()) {
            proofs.looked(&snapshot.answer, LONG_AGO);
        }
        let mut round = Rounding {
            step: self.step(state, i, Kind::Guard),
            chance,
            proofs,
        };
        let snapshot = round.refresh(snapshot);
        let (snapshot, end) = drive::round(&mut round, snapshot);
        if round.step.impossible {
            return None;
        }
        match end {
            Round::Finished(..) => state.nodes[i].guard = None,
            Round::Over(rule) => {
                let snapshot = round.refresh(snapshot);
                let Rounding { proofs, .. } = round;
                self.learned(state, i, &proofs);
                let in_doubt = rule == "guard-in-doubt" && proven_before;
                self.judge_round(state, i, &snapshot, in_doubt);
            }
            Round::ToEnd | Round::Endless => panic!("no end of a round: {snapshot:?}"),
        }
        Some(())
    }

    /// What the guard keeps in mind until the next round.
    fn learned(&self, state: &mut State, i: usize, proofs: &Proofs) {
        let (known, memory) = (state.nodes[i].memory(), proofs.memory());
        let Some(guard) = &mut state.nodes[i].guard else {
            return;
        };
        guard.learn(proofs);
        let news = (memory.term, memory.epoch) != (known.term, known.epoch);
        guard.told = match news {
            true => Memory {
                term: memory.term,
                epoch: memory.epoch,
                ..Memory::default()
            },
            false => Memory::default(),
        };
    }

    /// The end of a round that leaves PostgreSQL as it is.
    fn judge_round(&self, state: &mut State, i: usize, snapshot: &Snapshot, in_doubt: bool) {
        if leaves_superseded(state, i, snapshot) {
            state.violation = Some(SUPERSEDED);
        }
        if leaves_left_over(state, i, snapshot) {
            state.violation = Some(HELD);
        }
        let serves = matches!(state.nodes[i].postgres, Postgres::Primary { .. });
        if serves && !in_doubt && another_serves(state, i) {
            state.violation = Some(FENCED);
        }
    }
}

//! The guard beside a primary, as a process of its own: its rounds, its sleep, its death.
//!
//! Time is abstract. A proof is either good or older than the limit within which the guard has to
//! find another one, and the adversary lets it grow old before any round. But the lease at the lock
//! service does not run out as long as the guard that renewed it has not had a round with the old
//! proof, unless that guard is dead or frozen: that is what the margin between limit and lease is for.
//!
//! A round is one step. It reads the memory and looks at PostgreSQL first, and what the agent does in
//! between two rounds the agent's own steps show.

use std::collections::BTreeMap;
use std::time::Duration;

use pha_core::decide::{acknowledged, decide_without, guard};
use pha_core::lsn::Lsn;
use pha_core::names::NodeName;
use pha_core::plan::{Action, Verdict};
use pha_core::register::{Memory, Reading, Register};
use pha_core::snapshot::{Guard, Operation, Progress, Snapshot, Watch};

use crate::agent::{MOST_DECISIONS, leaves_superseded, process};
use crate::exchange::{HELD, leaves_left_over};
use crate::model::{Explored, FATES, Fate, Move, Outcome, SUPERSEDED, upstream};
use crate::mutation::Mutation;
use crate::state::{Kind, Node, Postgres, Run, State, TTL, View, age, aged};

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
        // What the guard has learned itself it does not keep on the disk.
        let mut memory = state.nodes[i].memory();
        memory = memory.merged(&state.nodes[i].guard.as_ref()?.told);
        let progress = Progress::default();
        let snapshot = self.observe(state, i, Kind::Guard, View::All, progress, memory);
        let mut run = Run {
            kind: Kind::Guard,
            snapshot,
            queue: vec![],
            verdict: Verdict::Continue,
            view: View::All,
        };
        run.snapshot.cluster = Err("the guard does not ask".to_owned());
        // It stood still before this round; within one is a scenario of the core's.
        if overslept {
            run.snapshot.woke_late();
        }
        let Operation::Guard(mut watch) = run.snapshot.operation.clone() else {
            return None;
        };
        for _ in 0..MOST_DECISIONS {
            self.refresh(state, i, &mut run.snapshot, &memory, &mut watch);
            let (doctored, dropped) = self.mutation.before_decision(&run.snapshot);
            let dropped = [dropped, self.beside_nobody(), &["change-lock-take"]].concat();
            let plan = decide_without(doctored.as_ref().unwrap_or(&run.snapshot), &dropped);
            (run.queue, run.verdict) = (plan.actions, plan.verdict);
            while let Some(action) = run.queue.first().cloned() {
                let outcome = match action {
                    Action::AskPromises(_) => Outcome::Asked(chance.fates),
                    Action::AskQuorum(_) => Outcome::Answered,
                    _ => chance.register,
                };
                self.perform(state, i, &mut run, outcome)?;
                match &action {
                    Action::AskStandbys(_) if chance.linked => {
                        watch.links = self.acknowledge(state, i)
                    }
                    Action::AskPromises(_) => memory = run.remembers(),
                    _ => {}
                }
                self.learn(state, i, &run.snapshot, &memory);
            }
            match run.verdict {
                Verdict::Finish(_) => {
                    state.nodes[i].guard = None;
                    return Some(());
                }
                Verdict::Wait(_) => {
                    self.refresh(state, i, &mut run.snapshot, &memory, &mut watch);
                    let in_doubt = plan.rule == "guard-in-doubt" && proven_before;
                    self.judge_round(state, i, &run.snapshot, in_doubt);
                    return Some(());
                }
                Verdict::Continue | Verdict::Reobserve => {}
            }
        }
        panic!("no end of a round: {:?}", run.snapshot);
    }

    /// Brings the picture up to date, and takes in what it proves.
    fn refresh(
        &self,
        state: &mut State,
        i: usize,
        snapshot: &mut Snapshot,
        memory: &Memory,
        watch: &mut Watch,
    ) {
        snapshot.process = process(&state.nodes[i]);
        let node = &mut state.nodes[i];
        let Some(guard) = &mut node.guard else {
            return;
        };
        let links_tried = match &snapshot.operation {
            Operation::Guard(before) => before.links_tried,
            _ => false,
        };
        let noted = (memory.term, memory.epoch) == (node.seen.term, node.seen.epoch)
            || self.mutation == Mutation::GuardTrustsOldPromises;
        *watch = Watch {
            unrenewed: match guard.renewal {
                Renewal::Old => TTL,
                Renewal::Assumed | Renewal::Confirmed => Duration::ZERO,
            },
            last: guard.last.clone(),
            promised: node.noted && noted,
            safe: guard.otherwise.then_some(Duration::ZERO),
            // Who is in the middle of something has the change lock.
            held: match &node.run {
                Some(run) if !run.queue.is_empty() => Duration::ZERO,
                _ => Duration::from_secs(3600),
            },
            links_tried,
            ..watch.clone()
        };
        snapshot.operation = Operation::Guard(watch.clone());
        let (doctored, _) = self.mutation.before_decision(snapshot);
        guard.otherwise |= guard::safe(doctored.as_ref().unwrap_or(snapshot));
        guard.otherwise |= !watch.links.is_empty();
    }

    /// The standbys that stream from a node acknowledge what it has written just now.
    fn acknowledge(&self, state: &State, i: usize) -> BTreeMap<NodeName, Duration> {
        let all = self.known_names(state);
        let have = acknowledged(&self.links(state, i), Lsn::new(0), &all);
        have.into_iter()
            .map(|node| (node, Duration::ZERO))
            .collect()
    }

    /// Takes in what came of an action.
    fn learn(&self, state: &mut State, i: usize, snapshot: &Snapshot, memory: &Memory) {
        let known = state.nodes[i].memory();
        let Some(guard) = &mut state.nodes[i].guard else {
            return;
        };
        if guard::proven(snapshot) {
            guard.renewal = Renewal::Confirmed;
        }
        if let Some(Reading::Row(row)) = &snapshot.register
            && row.is_owned_by(snapshot.me())
        {
            guard.last = Some(Register {
                lease_left: Duration::ZERO,
                ttl: Duration::ZERO,
                ..row.clone()
            });
        }
        let told = Memory {
            term: memory.term,
            epoch: memory.epoch,
            ..Memory::default()
        };
        let news = (told.term, told.epoch) != (known.term, known.epoch);
        guard.told = if news { told } else { Memory::default() };
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

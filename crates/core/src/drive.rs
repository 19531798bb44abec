//! The loop that carries an operation through: observe, decide, perform, until it is finished or its
//! time has passed; and the round of a guard, which is the same without an end. It knows no rule; it
//! only keeps the order, and has no effect and no clock but those of its edge.

use std::time::Duration;

use crate::decide::{decide, on_deadline};
use crate::ocf::OcfCode;
use crate::plan::{Action, Effect, Exit, Plan, Verdict};
use crate::register::Memory;
use crate::snapshot::{Operation, Snapshot};

/// How long a wait sleeps between two looks: an eighth of the time that it has slept already,
/// within these bounds. What comes soon is seen soon, and what takes long is not asked for more
/// often than ten times a second.
const POLL: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(100)];

/// Decisions of one operation before it is given up: far more than any operation needs, so that a
/// rule that would apply for ever becomes an error instead of a busy loop.
const MOST_DECISIONS: usize = 5000;

/// Decisions of one round of a guard, far more than any needs.
const MOST_OF_A_ROUND: usize = 30;

/// Where actions become effects.
pub trait Edge {
    /// Decides what comes next.
    fn decide(&mut self, snapshot: &Snapshot) -> Plan {
        decide(snapshot)
    }

    /// Performs one action.
    ///
    /// # Errors
    /// What happened, for the operator.
    fn perform(&mut self, action: &Action, snapshot: &Snapshot) -> Result<Effect, String>;

    /// Folds the result of an action into the picture.
    fn fold(
        &mut self,
        snapshot: Snapshot,
        action: &Action,
        result: Result<Effect, String>,
    ) -> Snapshot {
        snapshot.fold(action, result)
    }

    /// Keeps the memory durably.
    ///
    /// # Errors
    /// What happened, for the operator.
    fn keep(&mut self, memory: &Memory) -> Result<(), String>;

    /// Is told of what goes on, for a log.
    fn note(&mut self, note: Note<'_>);
}

/// What the loop of an operation needs beyond that.
pub trait Operating: Edge {
    /// Looks at everything that the operation's decisions need. `before` is the snapshot of the
    /// round before, whose progress and memory go on; `waiting` says that the round only looks
    /// whether something awaited has come, so that slow sources may be asked less often.
    fn observe(
        &mut self,
        operation: &Operation,
        before: Option<Snapshot>,
        waiting: bool,
    ) -> Snapshot;

    /// The time since the operation began, and until it must have answered.
    fn clock(&mut self) -> Clock;

    /// Pauses until something may have changed.
    fn pause(&mut self, at_most: Duration);
}

/// What a round of a guard needs beyond an [`Edge`].
pub trait Guarding: Edge {
    /// Brings the clock, the processes and the proofs up to date.
    fn refresh(&mut self, snapshot: Snapshot) -> Snapshot;

    /// Takes in what came of an action that has just been performed and folded.
    fn learn(&mut self, action: &Action, snapshot: &Snapshot);

    /// Whether the guard has been told to end.
    fn is_to_end(&mut self) -> bool;
}

/// Two times of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Since it began.
    pub elapsed: Duration,
    /// Until it must have answered; zero when that is over.
    pub left: Duration,
}

/// Something that a log may want to have.
#[derive(Debug)]
pub enum Note<'a> {
    /// A rule has decided.
    Decided(&'a Plan, &'a Snapshot),
    /// An action was performed, or was not because something could not be kept before it.
    Performed(&'static str, &'a Action, Result<&'a Effect, &'a str>),
    /// The memory could not be kept.
    NotKept(&'static str, &'a str),
    /// The time is up, while this was awaited.
    Overdue(&'a str),
}

/// The end of an operation.
#[derive(Debug)]
pub struct Outcome {
    /// The answer to Pacemaker.
    pub exit: Exit,
    /// What was last seen.
    pub last: Snapshot,
    /// How it came to its end.
    pub end: End,
}

/// How an operation came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A rule has finished it.
    Finished,
    /// Its time was over.
    Overdue,
    /// It would have gone on for ever.
    Endless,
}

/// How the round of a guard came to its end.
#[derive(Debug)]
pub enum Round {
    /// There is nothing more to do now; the next round follows. With the rule that said so.
    Over(&'static str),
    /// The guard has no more to do. With the rule that said so.
    Finished(&'static str, Exit),
    /// It was told to end.
    ToEnd,
    /// It would have gone on for ever.
    Endless,
}

/// Carries one operation through. The answer when its time is over is [`on_deadline`]'s.
pub fn drive(edge: &mut impl Operating, operation: &Operation) -> Outcome {
    let mut kept: Option<Memory> = None;
    let mut snapshot = edge.observe(operation, None, false);
    let mut awaited = "the first look at the node".to_owned();
    let mut slept = Duration::ZERO;
    for _ in 0..MOST_DECISIONS {
        let clock = edge.clock();
        (snapshot.elapsed, snapshot.left) = (clock.elapsed, clock.left);
        if clock.left.is_zero() {
            edge.note(Note::Overdue(&awaited));
            let exit = on_deadline(&snapshot, &awaited);
            return outcome(exit, snapshot, End::Overdue);
        }
        let plan = edge.decide(&snapshot);
        edge.note(Note::Decided(&plan, &snapshot));
        kept = kept.or(snapshot.memory.as_ref().ok().copied());
        let mut queue = plan.actions;
        while !queue.is_empty() {
            snapshot = perform_next(edge, plan.rule, snapshot, &mut queue, &mut kept);
        }
        match plan.verdict {
            Verdict::Finish(exit) => return outcome(exit, snapshot, End::Finished),
            Verdict::Continue => {}
            Verdict::Reobserve => {
                slept = Duration::ZERO;
                snapshot = edge.observe(operation, Some(snapshot), false);
            }
            Verdict::Wait(what) => {
                awaited = what;
                let pause = (slept / 8).clamp(POLL[0], POLL[1]).min(edge.clock().left);
                edge.pause(pause);
                slept += pause;
                snapshot = edge.observe(operation, Some(snapshot), true);
            }
        }
    }
    let reason =
        format!("no end after {MOST_DECISIONS} decisions; please report the log of this operation");
    outcome(Exit::fail(OcfCode::Generic, reason), snapshot, End::Endless)
}

fn outcome(exit: Exit, last: Snapshot, end: End) -> Outcome {
    Outcome { exit, last, end }
}

/// One round of a guard: decides and acts until there is nothing more to do now.
pub fn round(edge: &mut impl Guarding, snapshot: Snapshot) -> (Snapshot, Round) {
    let mut snapshot = snapshot;
    for _ in 0..MOST_OF_A_ROUND {
        let plan = edge.decide(&snapshot);
        edge.note(Note::Decided(&plan, &snapshot));
        let mut kept = snapshot.memory.as_ref().ok().copied();
        let mut queue = plan.actions;
        while let Some(action) = queue.first().cloned() {
            snapshot = perform_next(edge, plan.rule, snapshot, &mut queue, &mut kept);
            edge.learn(&action, &snapshot);
        }
        match plan.verdict {
            Verdict::Finish(exit) => return (snapshot, Round::Finished(plan.rule, exit)),
            Verdict::Wait(_) => return (snapshot, Round::Over(plan.rule)),
            Verdict::Continue | Verdict::Reobserve => snapshot = edge.refresh(snapshot),
        }
        if edge.is_to_end() {
            return (snapshot, Round::ToEnd);
        }
    }
    (snapshot, Round::Endless)
}

/// Performs the first action of the queue; a failure ends the queue. What was seen of the register is
/// kept before the next action, and what is asked of it before it is asked, so that no crash can make
/// this node forget a term or an epoch that it has acted upon, or a change that may be made at any later
/// time. `kept` is what is on the disk as far as it is known.
pub fn perform_next(
    edge: &mut impl Edge,
    rule: &'static str,
    mut snapshot: Snapshot,
    queue: &mut Vec<Action>,
    kept: &mut Option<Memory>,
) -> Snapshot {
    let action = queue.remove(0);
    // What does not go by the register is done whether the memory can be kept or not: a stop ends.
    if action.needs_memory() {
        let before = snapshot.memory_before(&action).and_then(|before| {
            keep(edge, rule, before, kept)?;
            Ok(before)
        });
        match before {
            Ok(before) => snapshot.memory = Ok(before),
            Err(text) => {
                queue.clear();
                edge.note(Note::Performed(rule, &action, Err(&text)));
                return snapshot.fold_unkept(&action, &text);
            }
        }
    }
    let known = snapshot.memory.clone();
    let result = edge.perform(&action, &snapshot);
    edge.note(Note::Performed(
        rule,
        &action,
        result.as_ref().map_err(String::as_str),
    ));
    let failed = result.is_err();
    snapshot = edge.fold(snapshot, &action, result);
    if failed {
        queue.clear();
    }
    if let Ok(memory) = snapshot.memory
        && snapshot.memory != known
        && let Err(text) = keep(edge, rule, memory, kept)
    {
        queue.clear();
        return snapshot.fold(&Action::Remember(memory), Err(text));
    }
    snapshot
}

/// Keeps the memory where it has changed.
fn keep(
    edge: &mut impl Edge,
    rule: &'static str,
    memory: Memory,
    kept: &mut Option<Memory>,
) -> Result<(), String> {
    if *kept != Some(memory) {
        if let Err(text) = edge.keep(&memory) {
            edge.note(Note::NotKept(rule, &text));
            return Err(text);
        }
        *kept = Some(memory);
    }
    Ok(())
}

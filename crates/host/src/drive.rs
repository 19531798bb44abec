//! The loop that carries an operation through: observe, decide, perform, until it is finished or
//! its time has passed. It knows no rule; it only keeps the clock, the log and the order.

use std::time::Duration;

use pha_core::decide::{decide, on_deadline};
use pha_core::plan::{Action, Effect, Exit, Plan, Verdict};
use pha_core::register::Memory;
use pha_core::snapshot::{Operation, Snapshot};
use tracing::{debug, info, warn};

use crate::clock::Deadline;

/// How long a wait sleeps between two looks: an eighth of the time that it has slept already,
/// within these bounds. What comes soon is seen soon, and what takes long is not asked for more
/// often than ten times a second.
const POLL: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(100)];

/// Decisions of one operation before it is given up: far more than any operation needs, so that a
/// rule that would apply for ever becomes an error instead of a busy loop.
const MOST_DECISIONS: usize = 5000;

/// What the loop needs from the world.
pub trait Edge {
    /// Looks at everything that the operation's decisions need. `before` is the snapshot of the
    /// round before, whose progress and memory go on; `waiting` says that the round only looks
    /// whether something awaited has come, so that slow sources may be asked less often.
    fn observe(
        &mut self,
        operation: &Operation,
        before: Option<Snapshot>,
        waiting: bool,
        deadline: Deadline,
    ) -> Snapshot;

    /// Performs one action.
    ///
    /// # Errors
    /// What happened, for the operator.
    fn perform(
        &mut self,
        action: &Action,
        snapshot: &Snapshot,
        deadline: Deadline,
    ) -> Result<Effect, String>;

    /// Keeps the memory durably.
    ///
    /// # Errors
    /// What happened, for the operator.
    fn keep(&mut self, memory: &Memory) -> Result<(), String>;

    /// Pauses until something may have changed.
    fn pause(&mut self, at_most: Duration);
}

/// The end of an operation.
#[derive(Debug)]
pub struct Outcome {
    /// The answer to Pacemaker.
    pub exit: Exit,
    /// What was last seen.
    pub last: Snapshot,
}

/// Carries one operation through. The answer when the deadline passes is
/// [`on_deadline`]'s.
pub fn drive(edge: &mut impl Edge, operation: &Operation, deadline: Deadline) -> Outcome {
    let mut kept: Option<Memory> = None;
    let mut snapshot = edge.observe(operation, None, false, deadline);
    let mut awaited = "the first look at the node".to_owned();
    let mut slept = Duration::ZERO;
    for _ in 0..MOST_DECISIONS {
        if deadline.expired() {
            let exit = on_deadline(&snapshot, &awaited);
            warn!("the time is up; waiting for {awaited}");
            return Outcome {
                exit,
                last: snapshot,
            };
        }
        snapshot.left = deadline.left();
        let plan = decide(&snapshot);
        trace(&plan, &snapshot);
        kept = kept.or(snapshot.memory.as_ref().ok().copied());
        snapshot = perform_all(edge, &plan, snapshot, &mut kept, deadline);
        match plan.verdict {
            Verdict::Finish(exit) => {
                return Outcome {
                    exit,
                    last: snapshot,
                };
            }
            Verdict::Continue => {}
            Verdict::Reobserve => {
                slept = Duration::ZERO;
                snapshot = edge.observe(operation, Some(snapshot), false, deadline);
            }
            Verdict::Wait(what) => {
                awaited = what;
                let pause = (slept / 8).clamp(POLL[0], POLL[1]).min(deadline.left());
                edge.pause(pause);
                slept += pause;
                snapshot = edge.observe(operation, Some(snapshot), true, deadline);
            }
        }
    }
    let reason =
        format!("no end after {MOST_DECISIONS} decisions; please report the log of this operation");
    Outcome {
        exit: Exit {
            code: pha_core::ocf::OcfCode::Generic,
            reason: Some(reason),
        },
        last: snapshot,
    }
}

/// Performs the actions in order. What was seen of the register is kept before the next action, and
/// what is asked of it before it is asked, so that no crash can make this node forget a term or an
/// epoch that it has acted upon, or a change that may be made at any later time.
fn perform_all(
    edge: &mut impl Edge,
    plan: &Plan,
    mut snapshot: Snapshot,
    kept: &mut Option<Memory>,
    deadline: Deadline,
) -> Snapshot {
    for action in &plan.actions {
        match snapshot.memory_before(action) {
            Ok(before) => {
                if let Err(text) = keep(edge, plan, before, kept) {
                    return snapshot.fold_unkept(action, &text);
                }
                snapshot.memory = Ok(before);
            }
            Err(text) if action.needs_memory() => return snapshot.fold_unkept(action, &text),
            Err(_) => {}
        }
        let result = edge.perform(action, &snapshot, deadline);
        match &result {
            Ok(effect) => debug!(
                rule = plan.rule,
                action = action.kind().text(),
                ?effect,
                "done"
            ),
            Err(text) => warn!(rule = plan.rule, action = action.kind().text(), "{text}"),
        }
        let failed = result.is_err();
        snapshot = snapshot.fold(action, result);
        if let Ok(memory) = snapshot.memory
            && let Err(text) = keep(edge, plan, memory, kept)
        {
            return snapshot.fold(&Action::Remember(memory), Err(text));
        }
        if failed {
            break;
        }
    }
    snapshot
}

/// Keeps the memory where it has changed.
fn keep(
    edge: &mut impl Edge,
    plan: &Plan,
    memory: Memory,
    kept: &mut Option<Memory>,
) -> Result<(), String> {
    if *kept != Some(memory) {
        if let Err(text) = edge.keep(&memory) {
            warn!(rule = plan.rule, "{text}");
            return Err(text);
        }
        *kept = Some(memory);
    }
    Ok(())
}

fn trace(plan: &Plan, snapshot: &Snapshot) {
    let actions: Vec<&str> = plan
        .actions
        .iter()
        .map(|action| action.kind().text())
        .collect();
    let actions = actions.join(",");
    match &plan.verdict {
        Verdict::Wait(what) => debug!(rule = plan.rule, "waiting for {what}"),
        Verdict::Finish(exit) => debug!(rule = plan.rule, actions, exit = %exit.code, "end"),
        Verdict::Continue | Verdict::Reobserve => {
            // Attributes and looks are routine; what changes PostgreSQL or the register is news.
            if plan.is_news() {
                info!(
                    rule = plan.rule,
                    actions,
                    elapsed_ms = snapshot.elapsed.as_millis() as u64,
                    "acting"
                );
            } else {
                debug!(rule = plan.rule, actions, "acting");
            }
        }
    }
}

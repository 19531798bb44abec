//! Several operations of one node at once (R12): Pacemaker asks for one after the other, but one that
//! hangs may have been left behind by a Pacemaker that was killed. It stands still between any two of
//! its actions, while others of its node begin, act and end, and goes on at any moment.
//!
//! In the product one that was left behind is killed as well. Here it goes on as if nothing had
//! happened, and the change lock alone has to keep the order.

use pha_core::plan::Effect;
use pha_core::register::{Decided, Memory, Reading, Trouble};
use pha_core::snapshot::{ChangeLock, Progress};

use crate::model::{Explored, Outcome};
use crate::mutation::Mutation;
use crate::state::{Node, Run, State, name};

/// The rules by which a stopped primary withdraws its question for promises.
const WITHDRAWAL: &[&str] = &["guard-withdraw", "stop-withdraw", "demote-withdraw"];

impl Explored {
    /// The rules of the change lock that decide nothing where a node has one operation at a time.
    pub(crate) fn beside_nobody(&self) -> &'static [&'static str] {
        match (self.several, self.withdraws) {
            (true, true) => &[],
            (true, false) => WITHDRAWAL,
            (false, true) => &["change-lock-take"],
            (false, false) => &[
                "change-lock-take",
                "guard-withdraw",
                "stop-withdraw",
                "demote-withdraw",
            ],
        }
    }

    /// What an operation takes along into its next look; who has the lock also reads its node's memory
    /// again, which another operation may have changed.
    pub(crate) fn goes_on(&self, node: &Node, run: &Run) -> (Progress, Memory) {
        let lock = &run.snapshot.progress.change_lock;
        let again = lock.reads_memory_again(false) && self.remembers();
        let known = run.snapshot.memory.clone();
        let memory = Memory::at_look(Some(known), again, || Ok(node.memory()));
        let memory = memory.expect("a memory that nobody loses is told");
        (run.snapshot.progress.clone(), memory)
    }

    /// The lock, unless the operation that stands still has it. That another one has had it since the
    /// last look is always possible.
    pub(crate) fn take_change_lock(&self, state: &State, i: usize) -> Result<Effect, String> {
        let aside = state.nodes[i].aside.as_ref();
        let lock = aside.map(|other| &other.snapshot.progress.change_lock);
        match lock {
            Some(ChangeLock::Held | ChangeLock::Taken) => {
                Err("another operation has it".to_owned())
            }
            _ => Ok(Effect::ChangeLock(ChangeLock::got(None, 0))),
        }
    }

    /// What is asked right before PostgreSQL's names are changed.
    pub(crate) fn confirm(
        &self,
        state: &State,
        i: usize,
        decided: &Decided,
        outcome: Outcome,
    ) -> Result<Effect, String> {
        // What this rule forbids is asked once more here.
        if self.mutation == Mutation::DegradeWhileAsked {
            return Ok(Effect::Done);
        }
        let reading = match outcome {
            Outcome::Unreachable => Reading::Unknown(Trouble::Unreachable(String::new())),
            _ => Reading::Row(state.register()),
        };
        let memory = match self.remembers() {
            true => state.nodes[i].memory(),
            // Nothing is remembered there.
            false => Memory {
                term: decided.term,
                epoch: decided.epoch,
                ..Memory::default()
            },
        };
        let reading = (!decided.by_memory).then_some(&reading);
        let held = decided.holds(&name(i), reading, &memory);
        held.map(|()| Effect::Done).map_err(|_| String::new())
    }
}

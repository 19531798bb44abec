//! The node as the edge of the loop that carries an operation through ([`pha_core::drive`]): its clock,
//! its pauses and its log.

use std::time::Duration;

use pha_core::decide::exchange_until;
use pha_core::drive::{Clock, Edge, Note, Operating, Outcome};
use pha_core::plan::{Action, Effect, Plan, Verdict};
use pha_core::register::Memory;
use pha_core::snapshot::{Operation, Snapshot};
use tracing::{debug, info, warn};

use crate::clock::Deadline;
use crate::node::Node;
use crate::{apply, observe};

/// Carries one operation through.
pub fn drive(node: &mut Node, operation: &Operation, deadline: Deadline) -> Outcome {
    pha_core::drive::drive(&mut NodeEdge { node, deadline }, operation)
}

/// A node at work.
struct NodeEdge<'n> {
    node: &'n mut Node,
    deadline: Deadline,
}

impl Edge for NodeEdge<'_> {
    fn perform(&mut self, action: &Action, snapshot: &Snapshot) -> Result<Effect, String> {
        // Nothing that an exchange does on its way may take longer than commits may be held.
        let deadline = match exchange_until(snapshot, action) {
            Some(until) => {
                let left = until.saturating_sub(self.node.began.elapsed());
                self.deadline.sub_budget(left)
            }
            None => self.deadline,
        };
        apply::perform(self.node, action, snapshot, deadline)
    }

    fn keep(&mut self, memory: &Memory) -> Result<(), String> {
        let kept = self.node.memory.store(memory);
        kept.map_err(|error| error.to_string())
    }

    fn note(&mut self, note: Note<'_>) {
        match note {
            Note::Decided(plan, snapshot) => trace(plan, snapshot),
            Note::Performed(rule, action, Ok(effect)) => {
                debug!(rule, action = action.kind().text(), ?effect, "done");
            }
            Note::Performed(rule, action, Err(text)) => {
                warn!(rule, action = action.kind().text(), "{text}");
            }
            Note::NotKept(rule, text) => warn!(rule, "{text}"),
            Note::Overdue(awaited) => warn!("the time is up; waiting for {awaited}"),
        }
    }
}

impl Operating for NodeEdge<'_> {
    fn observe(
        &mut self,
        operation: &Operation,
        before: Option<Snapshot>,
        waiting: bool,
    ) -> Snapshot {
        observe::snapshot(self.node, operation, before, waiting, self.deadline)
    }

    fn clock(&mut self) -> Clock {
        Clock {
            elapsed: self.node.began.elapsed(),
            left: self.deadline.left(),
        }
    }

    fn pause(&mut self, at_most: Duration) {
        std::thread::sleep(at_most);
    }
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

//! Everything that a set-up is going to change.

use pha_core::message;
use pha_core::message::Message;
use pha_core::names::NodeName;
use pha_core::setup::{Change, Cost, SetupPlan};
use pha_host::config::ClusterConfig;

use super::lock_part::LockPart;
use super::moved;

/// Everything that is going to be changed.
pub(super) struct Work {
    pub(super) plan: SetupPlan,
    /// Where the database runs.
    pub(super) running: Vec<NodeName>,
    pub(super) lock: Option<LockPart>,
    pub(super) passfiles: Vec<String>,
    /// The configuration with the nodes that are on, as far as the operator has said so.
    pub(super) asked: ClusterConfig,
    /// The lock service moves.
    pub(super) moved: Option<moved::Moving>,
    /// What is not changed, and should be.
    pub(super) warnings: Vec<Message>,
}

impl Work {
    /// Every change as a line.
    pub(super) fn lines(&self) -> Vec<Message> {
        let lock = self.lock.iter().filter_map(|part| part.change.clone());
        let lock = lock.map(Message::from);
        let passfiles = self
            .passfiles
            .iter()
            .map(|file| message!("~ passfile {file}", file));
        let plan = self.plan.changes.iter().map(|change| self.line(change));
        lock.chain(passfiles).chain(plan).collect()
    }

    /// A change, with what it costs where that is worth a word.
    fn line(&self, change: &Change) -> Message {
        let line = change.message();
        match change.cost {
            Cost::Nothing => line,
            _ if self.running.is_empty() => line,
            cost => message!("{line}  [{cost}]", line, cost = cost.message()),
        }
    }

    /// The nodes on which PostgreSQL runs and would be restarted.
    pub(super) fn restarts(&self) -> Vec<&NodeName> {
        let running = self.running.iter();
        running.filter(|node| self.plan.restarts_on(node)).collect()
    }
}

//! What a rule found.

use serde::Serialize;

use crate::message::Message;
use crate::names::NodeName;

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Clients are served; something is missing that the next failure will need.
    Warning,
    /// Clients are not served, or data is at risk.
    Critical,
}

/// What a rule found, before it gets the rule's name.
pub(super) struct Problem {
    pub(super) level: Level,
    pub(super) node: Option<NodeName>,
    pub(super) text: Message,
    pub(super) remedy: Option<Message>,
    /// Another rule's finding says it: this one only keeps its condition from being met.
    pub(super) said: bool,
}

pub(super) fn problem(level: Level, text: Message, remedy: impl Into<Option<Message>>) -> Problem {
    Problem {
        level,
        node: None,
        text,
        remedy: remedy.into(),
        said: false,
    }
}

impl Problem {
    pub(super) fn on(mut self, node: &NodeName) -> Self {
        self.node = Some(node.clone());
        self
    }
}

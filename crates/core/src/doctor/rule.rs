//! A rule, and what it found.

use super::facts::Examination;
use super::level::Level;
use crate::message::Message;
use crate::names::NodeName;

/// What a rule found, before it is a line.
pub(super) struct Found {
    pub(super) level: Level,
    pub(super) node: Option<NodeName>,
    pub(super) text: Message,
    pub(super) remedy: Message,
}

impl Found {
    pub(super) fn new(level: Level, text: Message, remedy: Message) -> Self {
        Self {
            level,
            node: None,
            text,
            remedy,
        }
    }

    pub(super) fn warning(text: Message, remedy: Message) -> Self {
        Self::new(Level::Warning, text, remedy)
    }

    pub(super) fn error(text: Message, remedy: Message) -> Self {
        Self::new(Level::Error, text, remedy)
    }

    pub(super) fn on(mut self, node: &NodeName) -> Self {
        self.node = Some(node.clone());
        self
    }
}

/// A rule: its name, what it says when all is well, and what it looks at.
pub(super) struct Rule {
    pub(super) id: &'static str,
    pub(super) well: fn() -> Message,
    pub(super) look: fn(&Examination) -> Vec<Found>,
}

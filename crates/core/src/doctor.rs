//! What would hurt at three in the night: facts from every node, judged by rules.
//!
//! Each rule looks at one thing. It finds nothing, and is one line that says so, or it finds
//! something on one node or on all, each with what to do about it.

use serde::Serialize;

use crate::message::Message;
use crate::names::NodeName;

mod access;
mod cluster;
mod disk;
mod facts;
mod level;
mod postgres;
mod role;
mod rule;
#[cfg(test)]
mod tests;

pub use disk::{DiskFacts, Shortage};
pub use role::{REWIND_FUNCTIONS, replication_role_statements};

pub use level::Level;

pub use facts::{
    Examination, FileFacts, LockFacts, NodeFacts, OwnSetting, ReplicationLine, RoleFacts,
    RoleRights, ServerFacts, TotemFacts,
};

use rule::{Found, Rule};

/// One line of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The rule.
    pub id: &'static str,
    /// How bad it is.
    pub level: Level,
    /// The node that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// What was found.
    pub text: Message,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Message>,
}

const RULES: &[&[Rule]] = &[cluster::RULES, postgres::RULES, access::RULES, role::RULES];

/// Every rule by its name, with what it says when all is well.
pub fn rules() -> impl Iterator<Item = (&'static str, String)> {
    let all = RULES.iter().copied().flatten();
    all.map(|rule| (rule.id, (rule.well)().to_string()))
}

impl Examination {
    /// Judges the facts: for every rule the lines that it found, or the one that all is well.
    #[must_use]
    pub fn judge(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        for rule in RULES.iter().copied().flatten() {
            let found = (rule.look)(self);
            if found.is_empty() {
                checks.push(Check {
                    id: rule.id,
                    level: Level::Ok,
                    node: None,
                    text: (rule.well)(),
                    remedy: None,
                });
            }
            checks.extend(found.into_iter().map(|found| Check {
                id: rule.id,
                level: found.level,
                node: found.node,
                text: found.text,
                remedy: Some(found.remedy),
            }));
        }
        checks
    }

    /// The nodes that answered.
    fn answered(&self) -> impl Iterator<Item = (&NodeName, &NodeFacts)> {
        self.nodes
            .iter()
            .filter_map(|(name, facts)| Some((name, facts.as_ref().ok()?)))
    }

    /// A look at every node that answered.
    fn each<F>(&self, look: impl Fn(&NodeName, &NodeFacts) -> F) -> Vec<Found>
    where
        F: IntoIterator<Item = Found>,
    {
        self.answered()
            .flat_map(|(name, facts)| {
                look(name, facts)
                    .into_iter()
                    .map(|found| found.on(name))
                    .collect::<Vec<Found>>()
            })
            .collect()
    }
}

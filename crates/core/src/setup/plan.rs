//! What the configuration shall be, and what becomes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::cost::{Cost, Owner};
use super::xml::Element;
use crate::dialect::Dialect;
use crate::message;
use crate::message::Message;

/// What the cluster shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Design {
    /// The promotable clone's name.
    pub clone: String,
    /// The name of the address that follows the primary.
    pub writer: String,
    /// The name of the address on a standby.
    pub reader: String,
    /// The address that follows the primary.
    pub writer_ip: String,
    /// The address on a standby, if there is to be one.
    pub reader_ip: Option<String>,
    /// Whether the reader's address goes to the primary's node when there is no standby left.
    pub reader_on_primary: bool,
    /// The interface of both addresses; none to let IPaddr2 find it.
    pub nic: Option<String>,
    /// The length of their network's prefix.
    pub netmask: Option<u32>,
    /// The agent's parameters by name. Passwords do not belong here.
    pub parameters: BTreeMap<String, String>,
    /// Whether a part of the cluster without quorum must stop its resources (three nodes or more).
    pub quorum: bool,
}

/// What becomes of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It is made.
    Add,
    /// It gets another value.
    Set,
    /// It is taken away.
    Remove,
}

/// One line of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What becomes of it.
    pub kind: Kind,
    /// What is changed.
    pub what: Message,
    /// Its value before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// Its value afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Message>,
    /// Why, where that is not plain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<Message>,
    /// What it costs while the database runs.
    pub cost: Cost,
}

impl Change {
    /// As an operator reads it.
    #[must_use]
    pub fn message(&self) -> Message {
        let what = &self.what;
        let sign = match self.kind {
            Kind::Add => "+",
            Kind::Set => "~",
            Kind::Remove => "-",
        };
        let line = match (&self.old, &self.new) {
            (Some(old), Some(new)) => {
                message!("{sign} {what}: {old} -> {new}", sign, what, old, new)
            }
            (None, Some(new)) => message!("{sign} {what}: {new}", sign, what, new),
            (Some(old), None) => message!("{sign} {what} (was {old})", sign, what, old),
            (None, None) => message!("{sign} {what}", sign, what),
        };
        match &self.why {
            Some(why) => message!("{line}  ({why})", line, why),
            None => line,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message().fmt(f)
    }
}

/// What `cls_setup` is going to do to the cluster's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetupPlan {
    /// The changes, in the order of the configuration; none when all is as it shall be.
    pub changes: Vec<Change>,
    /// What is different from the design and stays so, because an operator chose it.
    pub kept: Vec<Message>,
    /// The database resource: the primitive within the clone.
    pub database: String,
    /// Whether Pacemaker tells the agent of a new value without a restart, where that is possible.
    pub reloads: bool,
    /// The configuration as it is, without the status section.
    pub before: Element,
    /// The configuration as it shall be.
    pub after: Element,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// The text is no XML.
    #[error("the cluster information base is not XML: {0}")]
    Xml(String),
    /// It is XML of something else.
    #[error("the cluster information base has no {0}")]
    Missing(&'static str),
    /// A Pacemaker before 2.0, or a configuration that was never upgraded.
    #[error(
        "the cluster's configuration follows the schema {0}, which has no promotable clones; run: cibadmin --upgrade --force"
    )]
    Schema(String),
    /// A name is in use by something else.
    #[error(
        "{id} is {found} in the cluster's configuration, not {expected}; give other names in RESOURCE_LIST"
    )]
    Taken {
        /// The name.
        id: String,
        /// What it is.
        found: String,
        /// What it would have to be.
        expected: &'static str,
    },
    /// The database is there under another name.
    #[error(
        "the cluster has the database {pgdata} as {found} already; name it first in RESOURCE_LIST, or remove it"
    )]
    Elsewhere {
        /// Its data directory.
        pgdata: String,
        /// The clone or primitive that manages it.
        found: String,
    },
}

/// What is collected while the configuration is brought into shape.
pub(super) struct Journal {
    pub(super) dialect: Dialect,
    pub(super) ids: BTreeSet<String>,
    pub(super) changes: Vec<Change>,
    pub(super) kept: Vec<Message>,
}

impl Journal {
    pub(super) fn add(&mut self, what: impl Into<Message>, new: Option<Message>) {
        self.push(Kind::Add, what, None, new, None, Cost::Nothing);
    }

    pub(super) fn cost(&self, owner: Owner, name: &str) -> Cost {
        owner.cost(name, self.dialect.reloads)
    }

    pub(super) fn push(
        &mut self,
        kind: Kind,
        what: impl Into<Message>,
        old: Option<String>,
        new: Option<Message>,
        why: Option<Message>,
        cost: Cost,
    ) {
        self.changes.push(Change {
            kind,
            what: what.into(),
            old,
            new,
            why,
            cost,
        });
    }

    /// An identifier that nothing else in the CIB has: the wished one, if it is free.
    pub(super) fn id(&mut self, wished: &str) -> String {
        let mut id = wished.to_owned();
        let mut number = 1;
        while !self.ids.insert(id.clone()) {
            number += 1;
            id = format!("{wished}-{number}");
        }
        id
    }
}

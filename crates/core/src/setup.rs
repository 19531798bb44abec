//! The Pacemaker configuration that `cls_setup` makes of config.ini, and what has to be changed in
//! a cluster's configuration to get there.
//!
//! What is there already is found by what it means, not by its identifier: a cluster that was
//! configured by hand, by pcs or by the agent's predecessor is adopted. Only what is named here is
//! touched; operations, meta attributes and orders that an operator has chosen stay as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::cluster::{Cluster, ClusterNode};
use crate::dialect::{Dialect, FENCING};
use crate::message;
use crate::message::Message;
use crate::names::{NodeName, ResourceName};
use crate::parse::cib::Cib;
use crate::status::Role;

mod constraints;
mod cost;
mod in_force;
mod lock_move;
mod pairs;
mod programs;
mod resources;
mod rolling;
mod site;
#[cfg(test)]
mod tests;
mod xml;

pub use cost::Cost;
use cost::Owner;
pub use in_force::{ConfigCopy, CopyState, InForce};
pub use lock_move::{LockMove, LockPlace, Moved, gone_after, gone_before, switched_off};
pub use programs::Needed;
pub use site::{
    DataFacts, OwnAddress, SiteFacts, SiteFinding, SiteQuestion, other_copies, own_addresses,
};
pub use xml::Element;

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
struct Journal {
    dialect: Dialect,
    ids: BTreeSet<String>,
    changes: Vec<Change>,
    kept: Vec<Message>,
}

impl Journal {
    fn add(&mut self, what: impl Into<Message>, new: Option<Message>) {
        self.push(Kind::Add, what, None, new, None, Cost::Nothing);
    }

    fn cost(&self, owner: Owner, name: &str) -> Cost {
        owner.cost(name, self.dialect.reloads)
    }

    fn push(
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
    fn id(&mut self, wished: &str) -> String {
        let mut id = wished.to_owned();
        let mut number = 1;
        while !self.ids.insert(id.clone()) {
            number += 1;
            id = format!("{wished}-{number}");
        }
        id
    }
}

impl SetupPlan {
    /// Compares a CIB, as `cibadmin --query` prints it, with a design.
    ///
    /// # Errors
    /// [`SetupError`]; then nothing should be changed.
    pub fn make(cib: &str, design: &Design) -> Result<Self, SetupError> {
        let mut before = Element::parse(cib).map_err(|error| SetupError::Xml(error.to_string()))?;
        if before.tag != "cib" {
            return Err(SetupError::Missing("element cib"));
        }
        before.children.retain(|child| child.tag == "configuration");
        let mut after = before.clone();
        let unfinished = rolling::fold(&mut after);
        let attribute = |name| before.attribute(name).unwrap_or_default();
        let schema = attribute("validate-with");
        let dialect = Dialect::of(attribute("crm_feature_set"), schema);
        let dialect = dialect.ok_or_else(|| SetupError::Schema(schema.to_owned()))?;
        let mut journal = Journal {
            dialect,
            ids: after
                .descendants()
                .map(|element| element.id().to_owned())
                .collect(),
            changes: Vec::new(),
            kept: Vec::new(),
        };
        let configuration = after.child_or_new("configuration");
        properties(configuration, design, &mut journal);
        let database = resources::ensure(configuration, design, &mut journal)?;
        constraints::ensure(configuration, design, &database, &mut journal);
        defaults(configuration, &mut journal);
        if unfinished {
            let what = message!(
                "{database} values of a restart that has not come to its end",
                database
            );
            journal.push(Kind::Remove, what, None, None, None, Cost::Restart);
        }
        Ok(Self {
            reloads: journal.dialect.reloads,
            changes: journal.changes,
            kept: journal.kept,
            database,
            before,
            after,
        })
    }

    /// What has to be taken away so that nothing of a design is left but the cluster's options,
    /// `pgsql_REPL_INFO` among them: who was primary last is worth keeping.
    ///
    /// # Errors
    /// As [`Self::make`].
    pub fn remove(cib: &str, design: &Design) -> Result<Self, SetupError> {
        let mut plan = Self::make(cib, design)?;
        plan.after = plan.before.clone();
        plan.kept.clear();
        plan.changes.clear();
        let names = [
            &design.clone,
            &design.writer,
            &design.reader,
            &plan.database,
        ];
        let configuration = plan.after.child_or_new("configuration");
        for tag in ["constraints", "resources"] {
            let section = configuration.child_or_new(tag);
            let ours = |element: &Element| {
                let about = |name: &str| names.iter().any(|own| own.as_str() == name);
                let named = ["id", "rsc", "with-rsc", "first", "then"];
                let mut values = named.iter().filter_map(|key| element.attribute(key));
                // In a constraint the identifier is the constraint's own.
                values.any(about)
                    || element
                        .descendants()
                        .any(|inner| inner.tag == "resource_ref" && about(inner.id()))
            };
            for gone in section.children.iter().filter(|element| ours(element)) {
                plan.changes.push(Change {
                    kind: Kind::Remove,
                    what: gone.id().into(),
                    old: None,
                    new: None,
                    why: None,
                    cost: Cost::Nothing,
                });
            }
            section.children.retain(|element| !ours(element));
        }
        Ok(plan)
    }

    /// Whether the plan makes the database resource.
    #[must_use]
    pub fn makes_database(&self) -> bool {
        let is_database =
            |element: &Element| element.tag == "primitive" && element.id() == self.database;
        !self.before.descendants().any(is_database)
    }

    /// Whether the cluster's configuration is as it shall be.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.changes.is_empty()
    }

    /// What the dearest of the changes costs while the database runs.
    #[must_use]
    pub fn cost(&self) -> Cost {
        let costs = self.changes.iter().map(|change| change.cost);
        costs.max().unwrap_or(Cost::Nothing)
    }

    /// The nodes on which the database runs, or is just being started, as Pacemaker's status shows it.
    #[must_use]
    pub fn running(&self, cib: &Cib) -> Vec<NodeName> {
        let Ok(name) = ResourceName::new(self.database.as_str()) else {
            return Vec::new();
        };
        let view = Cluster::of_cib(cib, &name);
        let runs = |node: &ClusterNode| node.role() != Role::Stopped || node.is_being_started();
        let nodes = view.nodes.into_iter().filter(|(_, node)| runs(node));
        nodes.map(|(name, _)| name).collect()
    }

    /// The parameters that the database will have, those among them that an operator added.
    #[must_use]
    pub fn parameters(&self) -> BTreeMap<String, String> {
        self.parameters_of(&self.after)
    }

    /// The parameters that the database has; none where it is to be made.
    #[must_use]
    pub fn parameters_before(&self) -> BTreeMap<String, String> {
        self.parameters_of(&self.before)
    }

    fn parameters_of(&self, configuration: &Element) -> BTreeMap<String, String> {
        let database = configuration
            .descendants()
            .find(|element| element.tag == "primitive" && element.id() == self.database);
        database
            .into_iter()
            .flat_map(|primitive| &primitive.children)
            .filter(|child| child.tag == "instance_attributes")
            .flat_map(|set| &set.children)
            .filter_map(|pair| {
                let (name, value) = (pair.attribute("name")?, pair.attribute("value")?);
                Some((name.to_owned(), value.to_owned()))
            })
            .collect()
    }
}

/// The cluster's options. What is there already was chosen by an operator, with one exception:
/// `ignore` lets each part of three nodes or more go on by itself.
fn properties(configuration: &mut Element, design: &Design, journal: &mut Journal) {
    let fencing = configuration
        .descendants()
        .any(|element| element.tag == "primitive" && element.attribute("class") == Some("stonith"));
    let section = configuration.child_or_new("crm_config");
    let set = pairs::Sets {
        tag: "cluster_property_set",
        id: "cib-bootstrap-options",
        prefix: "cib-bootstrap-options",
        subject: message!("cluster option"),
        owner: Owner::Other,
    };
    match (design.quorum, set.find(section, "no-quorum-policy")) {
        (true, Some(policy)) if policy.eq_ignore_ascii_case("ignore") => {
            set.ensure(section, journal, "no-quorum-policy", "stop")
        }
        (_, Some(_)) => {}
        (true, None) => set.ensure(section, journal, "no-quorum-policy", "stop"),
        (false, None) => set.ensure(section, journal, "no-quorum-policy", "ignore"),
    }
    // The default is true, with which nothing starts as long as there is no fencing device.
    let said = FENCING.iter().any(|name| set.find(section, name).is_some());
    if !fencing && !said {
        let option = journal.dialect.fencing;
        set.ensure(section, journal, option, "false");
    }
}

fn defaults(configuration: &mut Element, journal: &mut Journal) {
    let section = configuration.child_or_new("rsc_defaults");
    let set = pairs::Sets {
        tag: "meta_attributes",
        id: "rsc-options",
        prefix: "rsc-options",
        subject: message!("resource default"),
        owner: Owner::Other,
    };
    for (name, value) in [("resource-stickiness", "1"), ("migration-threshold", "10")] {
        if set.find(section, name).is_none() {
            set.ensure(section, journal, name, value);
        }
    }
}

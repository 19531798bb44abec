//! The Pacemaker configuration that `cls_setup` makes of config.ini, and what has to be changed in
//! a cluster's configuration to get there.
//!
//! What is there already is found by what it means, not by its identifier: a cluster that was
//! configured by hand, by pcs or by the agent's predecessor is adopted. Only what is named here is
//! touched; operations, meta attributes and orders that an operator has chosen stay as they are.

use std::collections::BTreeMap;

use crate::cluster::{Cluster, ClusterNode};
use crate::dialect::{Dialect, FENCING};
use crate::message;
use crate::names::{NodeName, ResourceName};
use crate::parse::cib::Cib;
use crate::status::Role;

mod constraints;
mod cost;
mod in_force;
mod lock_move;
mod pairs;
mod plan;
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

use plan::Journal;
pub use plan::{Change, Design, Kind, SetupError, SetupPlan};

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

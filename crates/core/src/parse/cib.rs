//! The cluster information base as `cibadmin -Q` prints it, Pacemaker 2.0 to 3.0.
//!
//! One query replaces any number of `crm_attribute -G`: node attributes of both lifetimes, cluster
//! properties, the resources' configuration and the history of operations are all in it.

mod element;
mod error;
mod history;
mod size;
mod xml;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use history::{Failure, Pending, ResourceState};

use crate::dialect::Dialect;
use crate::names::{NodeName, ResourceName};
use crate::ocf::parse_boolean;
use crate::status::{Role, Score};

pub use error::CibError;

/// The cluster's state and configuration at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cib {
    /// Whether the partition that answered has quorum.
    pub have_quorum: bool,
    /// The node that decides (the "designated controller"); `None` during an election.
    pub dc: Option<NodeName>,
    /// The version of the contents: `admin_epoch`, `epoch`, `num_updates`; it only grows.
    pub version: (u64, u64, u64),
    /// What its Pacemaker understands; none where the configuration follows a schema without promotable clones.
    pub dialect: Option<Dialect>,
    /// Every node that the cluster knows, in the order of the configuration.
    pub nodes: Vec<CibNode>,
    /// Every primitive resource.
    pub resources: Vec<CibResource>,
    /// Every constraint that says where one resource may be.
    pub locations: Vec<Location>,
    /// Every constraint that ties a resource to another one.
    pub colocations: Vec<Colocation>,
    properties: Vec<PropertySet>,
}

/// A named set of cluster properties.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PropertySet {
    id: String,
    values: BTreeMap<String, String>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CibNode {
    /// Its name.
    pub name: NodeName,
    /// Its identifier, for corosync a number.
    pub id: String,
    /// Whether it is a member of the cluster and its Pacemaker takes part.
    pub online: bool,
    /// Whether it may run no resources.
    pub standby: bool,
    /// Whether nothing on it is started, stopped or monitored.
    pub maintenance: bool,
    /// Attributes that survive a restart of the cluster (`crm_attribute -l forever`).
    pub permanent: BTreeMap<String, String>,
    /// Attributes that do not (`-l reboot`); promotion scores and fail counts are among them.
    pub transient: BTreeMap<String, String>,
    operations: BTreeMap<String, ResourceState>,
}

/// One primitive resource of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CibResource {
    /// Its identifier.
    pub id: String,
    /// Standard, provider and agent with colons between them, `ocf:heartbeat:expgsql`.
    pub agent: String,
    /// Its parameters.
    pub parameters: BTreeMap<String, String>,
    /// Its meta attributes (`target-role`, `is-managed`, …).
    pub meta: BTreeMap<String, String>,
    /// The clone or group around it.
    pub container: Option<Arc<Container>>,
}

impl CibResource {
    /// A meta attribute of it, or of the clone or group around it.
    #[must_use]
    pub fn meta_attribute(&self, name: &str) -> Option<&str> {
        self.meta
            .get(name)
            .or_else(|| self.container.as_ref()?.meta.get(name))
            .map(String::as_str)
    }

    /// Whether an operator has stopped it (`cls_stop`).
    #[must_use]
    pub fn is_stopped_on_purpose(&self) -> bool {
        self.meta_attribute("target-role")
            .is_some_and(|role| role.eq_ignore_ascii_case("stopped"))
    }
}

/// A constraint that says where one resource may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Its identifier; those that `crm_resource --move` and `--ban` make begin with `cli-`.
    pub id: String,
    /// The resource.
    pub resource: String,
    /// The nodes on which it forbids the resource to be promoted, or to be at all: named by the constraint
    /// itself, or by a rule that asks for nothing but a node's name (Pacemaker Explained, "Deciding Which
    /// Nodes a Resource Can Run On" and "Rules"). What a rule makes of other attributes or of the time is
    /// Pacemaker's to say.
    pub bars: Vec<String>,
    /// A rule of it asks for the time: it stops having an effect by itself.
    pub ends: bool,
}

/// A constraint that ties a resource to another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Colocation {
    /// The resource that is placed.
    pub resource: String,
    /// The one by which it is placed.
    pub with: String,
    /// The role of an instance of that one which it must be beside, or must keep away from; none where
    /// any instance will do.
    pub role: Option<Role>,
    /// How much that weighs; from [`Score::INFINITY`] on it is a condition.
    pub score: Option<Score>,
}

/// A clone, a group or (before Pacemaker 2.0's syntax) a `master` around a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its identifier.
    pub id: String,
    /// `clone`, `master`, `group` or `bundle`.
    pub kind: String,
    /// Its meta attributes.
    pub meta: BTreeMap<String, String>,
}

impl Container {
    /// Whether its instances can be promoted.
    #[must_use]
    pub fn is_promotable(&self) -> bool {
        self.kind == "master"
            || (self.kind == "clone"
                && self
                    .meta
                    .get("promotable")
                    .is_some_and(|value| parse_boolean(value) == Some(true)))
    }
}

impl Cib {
    /// The node of this name.
    #[must_use]
    pub fn node(&self, name: &NodeName) -> Option<&CibNode> {
        self.nodes.iter().find(|node| node.name == *name)
    }

    /// The primitive resource of this name.
    #[must_use]
    pub fn resource(&self, name: &ResourceName) -> Option<&CibResource> {
        self.resources
            .iter()
            .find(|resource| resource.id == name.as_str())
    }

    /// A cluster property such as `maintenance-mode`. Where several sets have it, Pacemaker's own
    /// set `cib-bootstrap-options` wins, then the first one.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&str> {
        self.property_in("cib-bootstrap-options", name).or_else(|| {
            self.properties
                .iter()
                .find_map(|set| set.values.get(name))
                .map(String::as_str)
        })
    }

    /// A cluster property in one set only.
    #[must_use]
    pub fn property_in(&self, set: &str, name: &str) -> Option<&str> {
        self.properties
            .iter()
            .find(|candidate| candidate.id == set)?
            .values
            .get(name)
            .map(String::as_str)
    }

    /// The raw text of `<resource>_REPL_INFO`, in the set where the agent keeps it; `None` if there
    /// is none, or an empty one.
    #[must_use]
    pub fn repl_info(&self, resource: &ResourceName) -> Option<&str> {
        self.property_in(&resource.property_set(), &resource.repl_info_property())
            .filter(|value| !value.is_empty())
    }

    /// The nodes on which the last known operation leaves the resource promoted.
    pub fn promoted<'a>(
        &'a self,
        resource: &'a ResourceName,
    ) -> impl Iterator<Item = &'a NodeName> + 'a {
        self.nodes
            .iter()
            .filter(|node| {
                node.online
                    && node
                        .resource(resource)
                        .is_some_and(|state| state.role == Some(Role::Promoted))
            })
            .map(|node| &node.name)
    }
}

impl CibNode {
    /// What the recorded operations say about a resource here; `None` if there are none.
    #[must_use]
    pub fn resource(&self, name: &ResourceName) -> Option<&ResourceState> {
        self.operations.get(name.as_str())
    }

    /// An attribute, transient before permanent as Pacemaker's rules see it.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.transient
            .get(name)
            .or_else(|| self.permanent.get(name))
            .map(String::as_str)
    }
}

#[cfg(test)]
mod tests;

//! From XML to [`Cib`].

use std::collections::{BTreeMap, BTreeSet};

use roxmltree::{Document, Node};

use super::history;
use super::{Cib, CibError, CibNode, CibResource, Colocation, Container, Location, PropertySet};
use crate::names::NodeName;
use crate::ocf::parse_boolean;

pub(super) fn read(text: &str) -> Result<Cib, CibError> {
    // Document type declarations stay refused, and with them entities that grow without end.
    let document = Document::parse(text).map_err(|error| CibError::Xml(error.to_string()))?;
    let root = document.root_element();
    if !root.has_tag_name("cib") {
        return Err(CibError::Root(root.tag_name().name().to_owned()));
    }
    let configuration = child(root, "configuration");
    let status = child(root, "status");
    let nodes = nodes(configuration, status)?;
    let dc = match root.attribute("dc-uuid").filter(|id| !id.is_empty()) {
        None => None,
        Some(id) => Some(
            nodes
                .iter()
                .find(|node| node.id == id)
                .map(|node| node.name.clone())
                .ok_or_else(|| CibError::UnknownDc(id.to_owned()))?,
        ),
    };
    Ok(Cib {
        // Absent when the text comes from a file instead of a running cluster.
        have_quorum: optional_flag(root, "have-quorum")?.unwrap_or(false),
        dc,
        version: (
            number(root, "admin_epoch")?,
            number(root, "epoch")?,
            number(root, "num_updates")?,
        ),
        nodes,
        resources: resources(configuration)?,
        locations: locations(configuration)?,
        colocations: colocations(configuration),
        properties: properties(configuration)?,
    })
}

type Element<'a> = Option<Node<'a, 'a>>;

fn child<'a>(node: Node<'a, 'a>, name: &str) -> Element<'a> {
    node.children().find(|child| child.has_tag_name(name))
}

fn children<'a>(node: Element<'a>, name: &'static str) -> impl Iterator<Item = Node<'a, 'a>> {
    node.into_iter()
        .flat_map(|node| node.children())
        .filter(move |child| child.has_tag_name(name))
}

pub(super) fn required<'a>(
    node: Node<'a, 'a>,
    attribute: &'static str,
) -> Result<&'a str, CibError> {
    node.attribute(attribute).ok_or_else(|| CibError::Missing {
        element: node.tag_name().name().to_owned(),
        attribute,
    })
}

pub(super) fn value_error(
    node: Node<'_, '_>,
    attribute: &'static str,
    expected: &'static str,
) -> CibError {
    CibError::Value {
        element: node.tag_name().name().to_owned(),
        attribute,
        value: node.attribute(attribute).unwrap_or_default().to_owned(),
        expected,
    }
}

/// A number that is absent in a configuration that has never been changed.
fn number(node: Node<'_, '_>, attribute: &'static str) -> Result<u64, CibError> {
    node.attribute(attribute).map_or(Ok(0), |text| {
        text.parse()
            .map_err(|_| value_error(node, attribute, "a number"))
    })
}

fn optional_flag(node: Node<'_, '_>, attribute: &'static str) -> Result<Option<bool>, CibError> {
    node.attribute(attribute)
        .map(|text| parse_boolean(text).ok_or_else(|| value_error(node, attribute, "a boolean")))
        .transpose()
}

fn nodes(configuration: Element<'_>, status: Element<'_>) -> Result<Vec<CibNode>, CibError> {
    let configured = configuration.and_then(|node| child(node, "nodes"));
    let mut nodes = Vec::new();
    let mut known = BTreeSet::new();
    for node in children(configured, "node") {
        let mut read = CibNode {
            name: name(node)?,
            id: required(node, "id")?.to_owned(),
            online: false,
            standby: false,
            maintenance: false,
            permanent: sets(node, "instance_attributes")?,
            transient: BTreeMap::new(),
            operations: BTreeMap::new(),
        };
        known.insert(read.id.clone());
        if let Some(state) =
            children(status, "node_state").find(|state| state.attribute("id") == Some(&read.id))
        {
            add_state(&mut read, state)?;
        }
        finish(&mut read);
        nodes.push(read);
    }
    // A node that has just joined is in the status before it is in the configuration.
    for state in children(status, "node_state") {
        let id = required(state, "id")?.to_owned();
        if known.contains(&id) || state.attribute("uname").is_none() {
            continue;
        }
        let mut read = CibNode {
            name: name(state)?,
            id,
            online: false,
            standby: false,
            maintenance: false,
            permanent: BTreeMap::new(),
            transient: BTreeMap::new(),
            operations: BTreeMap::new(),
        };
        add_state(&mut read, state)?;
        finish(&mut read);
        nodes.push(read);
    }
    Ok(nodes)
}

fn name(node: Node<'_, '_>) -> Result<NodeName, CibError> {
    required(node, "uname")?
        .parse()
        .map_err(|_| value_error(node, "uname", "a node's name"))
}

fn add_state(node: &mut CibNode, state: Node<'_, '_>) -> Result<(), CibError> {
    node.online = is_member(state, "in_ccm")?
        && is_member(state, "crmd")?
        && state.attribute("join") == Some("member");
    if let Some(attributes) = child(state, "transient_attributes") {
        node.transient = sets(attributes, "instance_attributes")?;
    }
    if let Some(lrm) = child(state, "lrm").and_then(|lrm| child(lrm, "lrm_resources")) {
        node.operations = history::read(lrm)?;
    }
    Ok(())
}

/// Membership: `true`/`online` before Pacemaker 2.1.7, afterwards the time since when in seconds of
/// the epoch, 0 for not. An absent attribute is no member.
fn is_member(state: Node<'_, '_>, attribute: &'static str) -> Result<bool, CibError> {
    match state.attribute(attribute) {
        None | Some("false" | "offline" | "0") => Ok(false),
        Some("true" | "online" | "1") => Ok(true),
        Some(text) => match text.parse::<u64>() {
            Ok(since) => Ok(since > 0),
            Err(_) => Err(value_error(
                state,
                attribute,
                "true, false, online, offline or a time",
            )),
        },
    }
}

fn finish(node: &mut CibNode) {
    let is_on = |value: &str| parse_boolean(value) == Some(true);
    node.standby = node.attribute("standby").is_some_and(is_on);
    node.maintenance = node.attribute("maintenance").is_some_and(is_on);
}

/// Names and values of every set of this kind below a node; of two of one name the first holds. A
/// set with a rule applies at some times only, which needs Pacemaker to decide, and is left out.
fn sets(node: Node<'_, '_>, kind: &'static str) -> Result<BTreeMap<String, String>, CibError> {
    let mut values = BTreeMap::new();
    for set in node.children().filter(|set| set.has_tag_name(kind)) {
        for (name, value) in pairs(set)? {
            values.entry(name).or_insert(value);
        }
    }
    Ok(values)
}

fn pairs(set: Node<'_, '_>) -> Result<Vec<(String, String)>, CibError> {
    if set.children().any(|child| child.has_tag_name("rule")) {
        return Ok(Vec::new());
    }
    let mut pairs = Vec::new();
    for pair in set.children().filter(|child| child.has_tag_name("nvpair")) {
        let pair = resolve(pair);
        // A pair without a value is one that has been deleted or never set.
        if let Some(value) = pair.attribute("value") {
            pairs.push((required(pair, "name")?.to_owned(), value.to_owned()));
        }
    }
    Ok(pairs)
}

/// `<nvpair id-ref="…"/>` stands for the pair of that identifier.
fn resolve<'a>(pair: Node<'a, 'a>) -> Node<'a, 'a> {
    match pair.attribute("id-ref") {
        Some(id) => pair
            .document()
            .descendants()
            .find(|node| node.attribute("id") == Some(id))
            .unwrap_or(pair),
        None => pair,
    }
}

fn properties(configuration: Element<'_>) -> Result<Vec<PropertySet>, CibError> {
    let section = configuration.and_then(|node| child(node, "crm_config"));
    children(section, "cluster_property_set")
        .map(|set| {
            Ok(PropertySet {
                id: required(set, "id")?.to_owned(),
                values: pairs(set)?.into_iter().collect(),
            })
        })
        .collect()
}

fn resources(configuration: Element<'_>) -> Result<Vec<CibResource>, CibError> {
    let section = configuration.and_then(|node| child(node, "resources"));
    section
        .into_iter()
        .flat_map(|section| section.descendants())
        .filter(|node| node.has_tag_name("primitive"))
        .map(resource)
        .collect()
}

/// Constraints of a pattern or a set of resources name none, and no command of ours makes them.
fn locations(configuration: Element<'_>) -> Result<Vec<Location>, CibError> {
    let section = configuration.and_then(|node| child(node, "constraints"));
    children(section, "rsc_location")
        .filter_map(|node| Some((node, node.attribute("rsc")?)))
        .map(|(node, resource)| {
            Ok(Location {
                id: required(node, "id")?.to_owned(),
                resource: resource.to_owned(),
            })
        })
        .collect()
}

/// Those of a set of resources name none; no command of ours makes them.
fn colocations(configuration: Element<'_>) -> Vec<Colocation> {
    let section = configuration.and_then(|node| child(node, "constraints"));
    let named = |node: Node<'_, '_>| {
        Some(Colocation {
            resource: node.attribute("rsc")?.to_owned(),
            with: node.attribute("with-rsc")?.to_owned(),
        })
    };
    children(section, "rsc_colocation")
        .filter_map(named)
        .collect()
}

fn resource(node: Node<'_, '_>) -> Result<CibResource, CibError> {
    let agent = ["class", "provider", "type"]
        .iter()
        .filter_map(|part| node.attribute(*part))
        .collect::<Vec<_>>()
        .join(":");
    let container = node
        .ancestors()
        .skip(1)
        .take_while(|parent| !parent.has_tag_name("resources"))
        // The outermost one is what commands such as crm_resource --move work on.
        .last()
        .map(|parent| {
            Ok(Container {
                id: required(parent, "id")?.to_owned(),
                kind: parent.tag_name().name().to_owned(),
                meta: sets(parent, "meta_attributes")?,
            })
        })
        .transpose()?;
    Ok(CibResource {
        id: required(node, "id")?.to_owned(),
        agent,
        parameters: sets(node, "instance_attributes")?,
        meta: sets(node, "meta_attributes")?,
        container,
    })
}

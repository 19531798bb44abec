//! From XML to [`Cib`].

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use roxmltree::{Document, Error, Node, NodeId, ParsingOptions};

use super::element::{Element, child, children, number, optional_flag, required, value_error};
use super::{Cib, CibError, CibNode, CibResource, Colocation, Container, Location, PropertySet};
use super::{history, size};
use crate::dialect::Dialect;
use crate::names::NodeName;
use crate::ocf::parse_boolean;
use crate::quoted::printable;
use crate::status::{Role, Score};

/// How many characters of the parser's words are kept: it quotes what it found.
const PROBLEM: usize = 300;

impl Cib {
    /// Reads the output of `cibadmin -Q`.
    ///
    /// # Errors
    /// [`CibError`] quotes what was not understood.
    pub fn parse(text: &str) -> Result<Self, CibError> {
        size::check(text)?;
        // Document type declarations stay refused, and with them entities that grow without end.
        let options = ParsingOptions {
            nodes_limit: size::NODES,
            ..ParsingOptions::default()
        };
        let document =
            Document::parse_with_options(text, options).map_err(|error| match error {
                Error::NodesLimitReached => CibError::TooMany("more than 1000000 elements"),
                error => CibError::Xml(printable(&error.to_string(), PROBLEM)),
            })?;
        let root = document.root_element();
        let pairs = Pairs::of(&document);
        if !root.has_tag_name("cib") {
            return Err(CibError::Root(root.tag_name().name().to_owned()));
        }
        let configuration = child(root, "configuration");
        let status = child(root, "status");
        let nodes = pairs.nodes(configuration, status)?;
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
            dialect: Dialect::of(
                root.attribute("crm_feature_set").unwrap_or_default(),
                root.attribute("validate-with").unwrap_or_default(),
            ),
            nodes,
            resources: pairs.resources(configuration)?,
            locations: locations(configuration)?,
            colocations: colocations(configuration),
            properties: pairs.properties(configuration)?,
        })
    }
}

fn name(node: Node<'_, '_>) -> Result<NodeName, CibError> {
    required(node, "uname")?
        .parse()
        .map_err(|_| value_error(node, "uname", "a node's name"))
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

/// Constraints of a pattern or a set of resources name none, and no command of ours makes them.
fn locations(configuration: Element<'_>) -> Result<Vec<Location>, CibError> {
    let section = configuration.and_then(|node| child(node, "constraints"));
    children(section, "rsc_location")
        .filter_map(|node| Some((node, node.attribute("rsc")?)))
        .map(|(node, resource)| {
            Ok(Location {
                id: required(node, "id")?.to_owned(),
                resource: resource.to_owned(),
                bars: bars(node),
                ends: node
                    .descendants()
                    .any(|part| part.has_tag_name("date_expression")),
            })
        })
        .collect()
}

fn bars(constraint: Node<'_, '_>) -> Vec<String> {
    let forbids = |node: Node<'_, '_>| {
        let score = node.attribute("score").and_then(|score| score.parse().ok());
        let condition = score.is_some_and(|score: Score| score.value() <= -Score::INFINITY);
        let role = node.attribute("role").or(constraint.attribute("role"));
        let role = role
            .filter(|word| *word != "Started")
            .map(Role::from_any_spelling);
        condition && matches!(role, None | Some(Ok(Role::Promoted)))
    };
    let named = constraint.attribute("node").filter(|_| forbids(constraint));
    let rules = children(Some(constraint), "rule").filter(|rule| forbids(*rule));
    let by_rule = rules.flat_map(|rule| {
        let asked: Vec<Node<'_, '_>> = rule.children().filter(Node::is_element).collect();
        let any = rule.attribute("boolean-op") == Some("or");
        let names: Option<Vec<String>> = asked.iter().copied().map(node_asked_for).collect();
        names
            .filter(|_| any || asked.len() == 1)
            .unwrap_or_default()
    });
    let named = named.map(str::to_owned).into_iter();
    named.chain(by_rule).collect()
}

/// The node that an expression of a rule asks for by its name.
fn node_asked_for(expression: Node<'_, '_>) -> Option<String> {
    let is = |name, value| expression.attribute(name) == Some(value);
    let asks =
        expression.has_tag_name("expression") && is("attribute", "#uname") && is("operation", "eq");
    expression
        .attribute("value")
        .filter(|_| asks)
        .map(str::to_owned)
}

/// Those of a set of resources name none; no command of ours makes them.
fn colocations(configuration: Element<'_>) -> Vec<Colocation> {
    let section = configuration.and_then(|node| child(node, "constraints"));
    let named = |node: Node<'_, '_>| {
        Some(Colocation {
            resource: node.attribute("rsc")?.to_owned(),
            with: node.attribute("with-rsc")?.to_owned(),
            role: node
                .attribute("with-rsc-role")
                .filter(|word| *word != "Started")
                .and_then(|word| Role::from_any_spelling(word).ok()),
            score: node.attribute("score").and_then(|score| score.parse().ok()),
        })
    };
    children(section, "rsc_colocation")
        .filter_map(named)
        .collect()
}

/// The document, with what its references name: each is looked up once, not searched for.
struct Pairs<'a> {
    by_id: HashMap<&'a str, Node<'a, 'a>>,
    /// The clones and groups around resources, each of which is read once, however many it holds.
    containers: RefCell<HashMap<NodeId, Arc<Container>>>,
    /// How many bytes of names and values may still be read: one that is long and referred to often
    /// would fill the memory.
    left: Cell<usize>,
}

impl<'a> Pairs<'a> {
    fn of(document: &'a Document<'a>) -> Self {
        let mut by_id = HashMap::new();
        let referred = |node: &Node<'_, '_>| node.attribute("id-ref").is_some();
        // Few configurations have any.
        if document.descendants().any(|node| referred(&node)) {
            for node in document.descendants() {
                if let Some(id) = node.attribute("id") {
                    by_id.entry(id).or_insert(node);
                }
            }
        }
        Self {
            by_id,
            containers: RefCell::default(),
            left: Cell::new(size::BYTES),
        }
    }

    fn nodes(
        &self,
        configuration: Element<'a>,
        status: Element<'a>,
    ) -> Result<Vec<CibNode>, CibError> {
        let configured = configuration.and_then(|node| child(node, "nodes"));
        let mut nodes = Vec::new();
        let mut known = BTreeSet::new();
        let mut states: HashMap<&str, Node<'_, '_>> = HashMap::new();
        for state in children(status, "node_state") {
            states.entry(required(state, "id")?).or_insert(state);
        }
        for node in children(configured, "node") {
            let mut read = CibNode {
                name: name(node)?,
                id: required(node, "id")?.to_owned(),
                online: false,
                standby: false,
                maintenance: false,
                permanent: self.sets(node, "instance_attributes")?,
                transient: BTreeMap::new(),
                operations: BTreeMap::new(),
            };
            known.insert(read.id.clone());
            // No two nodes have the same: it is read once, for the first.
            let state = states.remove(read.id.as_str());
            if let Some(state) = state {
                self.add_state(&mut read, state)?;
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
            self.add_state(&mut read, state)?;
            finish(&mut read);
            nodes.push(read);
        }
        if nodes.len() > size::MEMBERS {
            return Err(CibError::TooMany("more than 1000 nodes"));
        }
        Ok(nodes)
    }

    fn add_state(&self, node: &mut CibNode, state: Node<'a, 'a>) -> Result<(), CibError> {
        node.online = is_member(state, "in_ccm")?
            && is_member(state, "crmd")?
            && state.attribute("join") == Some("member");
        if let Some(attributes) = child(state, "transient_attributes") {
            node.transient = self.sets(attributes, "instance_attributes")?;
        }
        if let Some(lrm) = child(state, "lrm").and_then(|lrm| child(lrm, "lrm_resources")) {
            node.operations = history::read(lrm)?;
        }
        Ok(())
    }

    /// Names and values of every set of this kind below a node; of two of one name the first holds. A
    /// set with a rule applies at some times only, which needs Pacemaker to decide, and is left out.
    fn sets(
        &self,
        node: Node<'a, 'a>,
        kind: &'static str,
    ) -> Result<BTreeMap<String, String>, CibError> {
        let mut values = BTreeMap::new();
        for set in node.children().filter(|set| set.has_tag_name(kind)) {
            for (name, value) in self.pairs(set)? {
                values.entry(name).or_insert(value);
            }
        }
        Ok(values)
    }

    fn pairs(&self, set: Node<'a, 'a>) -> Result<Vec<(String, String)>, CibError> {
        if set.children().any(|child| child.has_tag_name("rule")) {
            return Ok(Vec::new());
        }
        let mut pairs = Vec::new();
        for pair in set.children().filter(|child| child.has_tag_name("nvpair")) {
            let pair = self.resolve(pair);
            // A pair without a value is one that has been deleted or never set.
            if let Some(value) = pair.attribute("value") {
                let name = required(pair, "name")?;
                let left = self.left.get().checked_sub(name.len() + value.len());
                self.left.set(left.ok_or(CibError::TooMany(
                    "more than 64 MiB of values, with those that are referred to",
                ))?);
                pairs.push((name.to_owned(), value.to_owned()));
            }
        }
        Ok(pairs)
    }

    /// `<nvpair id-ref="…"/>` stands for the pair of that identifier.
    fn resolve(&self, pair: Node<'a, 'a>) -> Node<'a, 'a> {
        let named = pair.attribute("id-ref");
        let named = named.and_then(|id| self.by_id.get(id));
        named.copied().unwrap_or(pair)
    }

    fn properties(&self, configuration: Element<'a>) -> Result<Vec<PropertySet>, CibError> {
        let section = configuration.and_then(|node| child(node, "crm_config"));
        children(section, "cluster_property_set")
            .map(|set| {
                Ok(PropertySet {
                    id: required(set, "id")?.to_owned(),
                    values: self.pairs(set)?.into_iter().collect(),
                })
            })
            .collect()
    }

    fn resources(&self, configuration: Element<'a>) -> Result<Vec<CibResource>, CibError> {
        let section = configuration.and_then(|node| child(node, "resources"));
        let resources: Result<Vec<CibResource>, CibError> = section
            .into_iter()
            .flat_map(|section| section.descendants())
            .filter(|node| node.has_tag_name("primitive"))
            .take(size::RESOURCES + 1)
            .map(|node| self.resource(node))
            .collect();
        resources.and_then(|resources| match resources.len() > size::RESOURCES {
            true => Err(CibError::TooMany("more than 10000 resources")),
            false => Ok(resources),
        })
    }

    fn resource(&self, node: Node<'a, 'a>) -> Result<CibResource, CibError> {
        let agent = ["class", "provider", "type"]
            .iter()
            .filter_map(|part| node.attribute(*part))
            .collect::<Vec<_>>()
            .join(":");
        let container = node
            .ancestors()
            .skip(1)
            .take(size::DEPTH)
            .take_while(|parent| !parent.has_tag_name("resources"))
            // The outermost one is what commands such as crm_resource --move work on.
            .last()
            .map(|parent| self.container(parent))
            .transpose()?;
        Ok(CibResource {
            id: required(node, "id")?.to_owned(),
            agent,
            parameters: self.sets(node, "instance_attributes")?,
            meta: self.sets(node, "meta_attributes")?,
            container,
        })
    }

    fn container(&self, parent: Node<'a, 'a>) -> Result<Arc<Container>, CibError> {
        if let Some(known) = self.containers.borrow().get(&parent.id()) {
            return Ok(Arc::clone(known));
        }
        let read = Arc::new(Container {
            id: required(parent, "id")?.to_owned(),
            kind: parent.tag_name().name().to_owned(),
            meta: self.sets(parent, "meta_attributes")?,
        });
        let mut known = self.containers.borrow_mut();
        known.insert(parent.id(), Arc::clone(&read));
        Ok(read)
    }
}

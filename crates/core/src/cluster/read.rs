//! From the information base to the view.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Announced, Cluster, ClusterNode, Maintenance, NOTE, Resource, WithoutQuorum, fail_counts,
};
use crate::dialect::FENCING;
use crate::lsn::Lsn;
use crate::names::{NodeAttribute, ResourceName};
use crate::ocf::parse_boolean;
use crate::parse::cib::{Cib, CibNode, CibResource, Colocation, ResourceState};
use crate::quoted::{printable, quoted};
use crate::status::{Role, Score, Word};
use crate::timeline::{TimelineId, WalPosition};

impl Cluster {
    /// The view of one database. An attribute with a text that no version of the agent writes is
    /// reported and counts as not there, so that it opens no gate.
    #[must_use]
    pub fn of_cib(cib: &Cib, resource: &ResourceName) -> Self {
        let database = cib.resource(resource);
        let outer = outer(database, resource);
        let ours = ours(cib, &outer);
        let maintenance = maintenance(cib, database);
        let mut cluster = Self {
            quorum: cib.have_quorum,
            without_quorum: WithoutQuorum::of(|name| cib.property(name).map(str::to_owned)),
            managed: maintenance.is_none() && !is(meta(database, "is-managed"), false),
            maintenance,
            database: database.map_or_else(
                || Resource::named(resource.clone()),
                |found| Resource::read(found, resource.clone()),
            ),
            placed: placed(cib, resource, &outer, &ours),
            left: left(cib, resource, &outer),
            ours,
            outer,
            failures: fail_counts(cib),
            note: cib.property_in(NOTE, NOTE).map(str::to_owned),
            repl_info: cib
                .repl_info(resource)
                .map(|text| text.parse().map_err(|error| format!("{error}"))),
            ..Self::default()
        };
        let set = resource.register_set();
        cluster.seen = read(
            cib.property_in(&set, &resource.register_property())
                .map(str::to_owned)
                .as_ref(),
            &mut |error| cluster.malformed.push(format!("cluster property: {error}")),
            |text| text.parse().map_err(|error| format!("{error}")),
        );
        for node in &cib.nodes {
            let barred = barred(cib, &cluster, node);
            let (read, malformed) = read_node(node, &cluster, barred);
            cluster.nodes.insert(node.name.clone(), read);
            cluster.malformed.extend(malformed);
        }
        cluster
    }
}

impl Resource {
    fn named(name: ResourceName) -> Self {
        Self {
            name,
            managed: true,
            ..Self::default()
        }
    }

    fn read(found: &CibResource, name: ResourceName) -> Self {
        Self {
            managed: !is(found.meta_attribute("is-managed"), false),
            stopped_on_purpose: found.is_stopped_on_purpose(),
            address: found.parameters.get("ip").cloned(),
            name,
            needs_standby: false,
        }
    }
}

/// Whether a text is this boolean in one of Pacemaker's spellings.
fn is(value: Option<&str>, wanted: bool) -> bool {
    value.and_then(parse_boolean) == Some(wanted)
}

fn outer(database: Option<&CibResource>, resource: &ResourceName) -> String {
    let container = database.and_then(|found| found.container.as_ref());
    container.map_or_else(|| resource.to_string(), |container| container.id.clone())
}

/// The clone and every resource that a colocation ties to it.
fn ours(cib: &Cib, outer: &str) -> Vec<String> {
    let mut ours = vec![outer.to_owned()];
    let mut known = BTreeSet::from([outer]);
    for tied in cib.colocations.iter().filter(|tied| tied.with == outer) {
        if known.insert(&tied.resource) {
            ours.push(tied.resource.clone());
        }
    }
    ours
}

/// The primitives among them but the database.
fn placed(cib: &Cib, database: &ResourceName, outer: &str, ours: &[String]) -> Vec<Resource> {
    let tied = beside_standbys(cib, outer);
    let ours: BTreeSet<&str> = ours.iter().map(String::as_str).collect();
    let is_ours = |found: &&CibResource| {
        let outer = found.container.as_ref();
        ours.contains(found.id.as_str())
            || outer.is_some_and(|outer| ours.contains(outer.id.as_str()))
    };
    let read = |found: &CibResource| {
        let container = found.container.as_ref().map(|outer| outer.id.as_str());
        let needs_standby = [Some(found.id.as_str()), container]
            .into_iter()
            .flatten()
            .any(|id| tied.contains(id));
        Some(Resource {
            needs_standby,
            ..Resource::read(found, found.id.parse().ok()?)
        })
    };
    cib.resources
        .iter()
        .filter(is_ours)
        .filter_map(read)
        .filter(|found| found.name != *database)
        .collect()
}

/// What a condition ties to the standbys: it must be beside one, or must not be beside the primary.
fn beside_standbys<'a>(cib: &'a Cib, outer: &str) -> BTreeSet<&'a str> {
    let ties = |tied: &&Colocation| {
        let score = tied.score.map(Score::value);
        tied.with == outer
            && match tied.role {
                Some(Role::Unpromoted) => score.is_some_and(|score| score >= Score::INFINITY),
                Some(Role::Promoted) => score.is_some_and(|score| score <= -Score::INFINITY),
                _ => false,
            }
    };
    let tied = cib.colocations.iter().filter(ties);
    tied.map(|tied| tied.resource.as_str()).collect()
}

fn meta<'a>(database: Option<&'a CibResource>, name: &str) -> Option<&'a str> {
    database.and_then(|found| found.meta_attribute(name))
}

fn maintenance(cib: &Cib, database: Option<&CibResource>) -> Option<Maintenance> {
    if is(cib.property("maintenance-mode"), true) {
        return Some(Maintenance::Cluster);
    }
    is(meta(database, "maintenance"), true).then_some(Maintenance::Database)
}

impl WithoutQuorum {
    /// What these cluster options say, of which each may not be set. Two nodes have `ignore`: there the lock
    /// service decides. What Pacemaker does not know it takes for `stop`, which is also its default; and it
    /// fences unless that is switched off.
    #[must_use]
    pub fn of(option: impl Fn(&str) -> Option<String>) -> Self {
        let policy = option("no-quorum-policy").map(|policy| policy.to_ascii_lowercase());
        let fencing = FENCING.iter().find_map(|name| option(name));
        match policy.as_deref() {
            Some("ignore") => Self::GoesOn,
            Some("freeze") if is(fencing.as_deref(), false) => Self::GoesOn,
            Some("freeze") => Self::Fenced,
            _ => Self::Ends,
        }
    }
}

/// What `crm_resource --move` and `--ban` make begins with `cli-`. A command of ours gives each an end; what has
/// none is an administrator's own, and stays.
fn left(cib: &Cib, resource: &ResourceName, outer: &str) -> Vec<String> {
    let ours = |name: &str| name == resource.as_str() || name == outer;
    cib.locations
        .iter()
        .filter(|location| {
            location.id.starts_with("cli-") && location.ends && ours(&location.resource)
        })
        .map(|location| location.id.clone())
        .collect()
}

fn barred(cib: &Cib, cluster: &Cluster, node: &CibNode) -> Option<String> {
    let database = cluster.database.name.as_str();
    let mut constraints = cib.locations.iter();
    let found = constraints.find(|location| {
        let of_it = location.resource == database || location.resource == cluster.outer;
        of_it && location.bars.iter().any(|name| name == node.name.as_str())
    });
    found.map(|location| printable(&location.id, WORDS))
}

/// What the recorded operations say of what is placed with the database.
fn placed_here(node: &CibNode, cluster: &Cluster) -> BTreeMap<ResourceName, ResourceState> {
    let names = cluster.placed.iter().map(|resource| &resource.name);
    names
        .filter_map(|name| Some((name.clone(), node.resource(name)?.clone())))
        .collect()
}

fn read_node(
    node: &CibNode,
    cluster: &Cluster,
    barred: Option<String>,
) -> (ClusterNode, Vec<String>) {
    let resource = &cluster.database.name;
    let mut malformed = Vec::new();
    let mut note =
        |error: String| malformed.push(format!("attribute of node {}: {error}", node.name));
    let transient = |of| node.transient.get(&resource.attribute(of));
    let timeline = read(transient(NodeAttribute::Timeline), &mut note, |text| {
        text.parse::<u32>()
            .ok()
            .and_then(TimelineId::new)
            .ok_or_else(|| format!("{} is no timeline", quoted(text)))
    });
    let lsn = read(transient(NodeAttribute::XlogLoc), &mut note, |text| {
        Lsn::from_hex16(text).map_err(|e| e.to_string())
    });
    let read = ClusterNode {
        id: node.id.clone(),
        online: node.online,
        standby: node.standby,
        maintenance: node.maintenance,
        database: node.resource(resource).cloned().unwrap_or_default(),
        placed: placed_here(node, cluster),
        status: read(transient(NodeAttribute::Status), &mut note, |text| {
            text.parse().map_err(|e| format!("{e}"))
        }),
        data_status: read(
            node.permanent
                .get(&resource.attribute(NodeAttribute::DataStatus)),
            &mut note,
            |text| text.parse().map_err(|e| format!("{e}")),
        ),
        score: read(
            node.transient.get(&resource.promotion_attribute()),
            &mut note,
            |text| text.parse().map_err(|e| format!("{e}")),
        ),
        position: timeline
            .zip(lsn)
            .map(|(timeline, lsn)| WalPosition { timeline, lsn }),
        baseline: read(
            transient(NodeAttribute::MasterBaseline),
            &mut note,
            |text| Lsn::from_hex16(text).map_err(|e| e.to_string()),
        ),
        receiver: transient(NodeAttribute::ReceiverStatus).map(|text| printable(text, WORDS)),
        guard: transient(NodeAttribute::Guard).map(|text| Word::of(&printable(text, WORDS))),
        unfit: transient(NodeAttribute::Unfit)
            .filter(|text| !text.is_empty())
            .and_then(|text| printable(text, WORDS).parse().ok()),
        barred,
        flushed: read(transient(NodeAttribute::Flushed), &mut note, str::parse),
        announced: match node
            .permanent
            .get(&resource.attribute(NodeAttribute::Incarnation))
            .filter(|text| !text.is_empty())
        {
            None => Announced::Nothing,
            text => read(text, &mut note, |text| {
                text.parse().map_err(|error| format!("{error}"))
            })
            .map_or(Announced::Malformed, Announced::Name),
        },
    };
    (read, malformed)
}

/// How many characters of an attribute's words are kept: an agent's own have fewer, and they are shown
/// in one line.
const WORDS: usize = 500;

/// Reads an attribute; an empty one is one that was deleted.
fn read<T>(
    text: Option<&String>,
    note: &mut impl FnMut(String),
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let text = text.filter(|text| !text.is_empty())?;
    parse(text).map_err(note).ok()
}

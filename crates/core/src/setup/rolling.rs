//! New parameters for one node after the other, so that PostgreSQL does not restart everywhere at once.
//!
//! Pacemaker restarts an instance that runs with other parameters than the configuration has for it,
//! and of a clone every one in the same transition. But a set of parameters may have a rule with the
//! node's name in it (Pacemaker Explained, "Using Rules to Control Resource Options"): while the restart
//! goes round, one set has the new values for the nodes that are done, and another one the old values
//! for all others. When the last node is done the new values are in their usual place, and both sets are
//! gone. For no node is anything different then, so that nothing restarts because of it.

use std::collections::{BTreeMap, BTreeSet};

use super::cost::{Cost, Owner};
use super::{Element, SetupPlan};
use crate::names::NodeName;

/// What the identifier of the set with the old values ends with.
const OLD: &str = "-rolling-old";
/// The same of the new ones.
const NEW: &str = "-rolling-new";
/// What the identifiers of old values end with: the new ones have the usual identifiers.
const PAIR: &str = "-rolling";

/// What primary and standby must agree about: one that has a new value cannot work with one that has
/// the old one.
const TOGETHER: [(&str, &str); 8] = [
    ("rep_mode", "every node must replicate in the same way"),
    (
        "pgport",
        "a standby looks for its primary at its own port number",
    ),
    (
        "replication_slot_name",
        "a standby needs a slot that its primary makes under that name",
    ),
    // Only before Pacemaker 2.1 do these restart anything. Nodes that ask different registers, or of
    // which one asks none, could be primary at the same time.
    ("enable_distlock", ONE_REGISTER),
    ("distlock_conninfo", ONE_REGISTER),
    ("distlock_lockname", ONE_REGISTER),
    ("distlock_lock_cmd", ONE_REGISTER),
    ("distlock_unlock_cmd", ONE_REGISTER),
];
/// With more than one standby: the address moves with the first step, and the others look for their primary
/// at the old one, which nobody has any more, until it is their turn.
const WRITER: (&str, &str) = (
    "master_ip",
    "the standbys that are not restarted yet would look for their primary at the old address",
);
const ONE_REGISTER: &str = "every node must ask the same lock service for the same lock";

/// The parameters of one resource on one node.
pub(super) type Values<'e> = BTreeMap<&'e str, &'e str>;

fn is_set(element: &Element) -> bool {
    element.tag == "instance_attributes"
}

/// The nodes that have the new values, while a restart goes round.
pub(super) fn done(primitive: &Element) -> BTreeSet<&str> {
    let sets = primitive.children.iter();
    sets.filter(|set| is_set(set) && set.id().ends_with(NEW))
        .flat_map(Element::descendants)
        .filter(|element| element.tag == "expression")
        .filter_map(|expression| expression.attribute("value"))
        .collect()
}

/// What a resource has on a node; on one that is not done where none is named.
pub(super) fn effective<'e>(primitive: &'e Element, node: Option<&NodeName>) -> Values<'e> {
    let is_done = node.is_some_and(|node| done(primitive).contains(node.as_str()));
    let applies = |set: &&Element| {
        is_set(set)
            && match set.id() {
                id if id.ends_with(OLD) => !is_done,
                id if id.ends_with(NEW) => is_done,
                _ => true,
            }
    };
    let pairs = primitive.children.iter().filter(applies);
    let mut values = Values::new();
    for pair in pairs.flat_map(|set| &set.children) {
        if let (Some(name), Some(value)) = (pair.attribute("name"), pair.attribute("value")) {
            values.entry(name).or_insert(value);
        }
    }
    values
}

/// Puts the old values back to where they were before a restart began that has not come to its end;
/// whether there was one.
pub(super) fn fold(configuration: &mut Element) -> bool {
    // Nobody else's set is taken for ours: ours are named after the resource that they are in.
    let parent = configuration.id().to_owned();
    let rolling = |child: &Element| {
        let own = |end| child.id().strip_suffix(end) == Some(parent.as_str());
        is_set(child) && (own(OLD) || own(NEW))
    };
    let mut found = configuration.children.iter().any(rolling);
    if found {
        let (sets, rest) = std::mem::take(&mut configuration.children)
            .into_iter()
            .partition(rolling);
        configuration.children = rest;
        let sets: Vec<Element> = sets;
        let old = sets.into_iter().filter(|set| set.id().ends_with(OLD));
        let mut pairs: Vec<Element> = old
            .flat_map(|set| set.children)
            .filter(|child| child.tag == "nvpair")
            .collect();
        for pair in &mut pairs {
            let id = pair.id().strip_suffix(PAIR).map(str::to_owned);
            if let Some(id) = id {
                pair.set("id", &id);
            }
        }
        plain_set(configuration).children.extend(pairs);
    }
    for child in &mut configuration.children {
        found |= fold(child);
    }
    found
}

/// The set of a resource that always applies.
fn plain_set(primitive: &mut Element) -> &mut Element {
    let plain = |set: &Element| {
        is_set(set) && set.attribute("id-ref").is_none() && set.child("rule").is_none()
    };
    let at = primitive
        .children
        .iter()
        .position(plain)
        .unwrap_or_else(|| {
            let id = format!("{}-parameters", primitive.id());
            let set = Element::new("instance_attributes").with("id", &id);
            primitive.children.insert(0, set);
            0
        });
    &mut primitive.children[at]
}

/// A set of parameters for some nodes only.
fn ruled(id: &str, boolean: &str, operation: &str, nodes: &[&NodeName]) -> Element {
    let rule = format!("{id}-rule");
    let mut element = Element::new("rule")
        .with("id", &rule)
        .with("score", "INFINITY")
        .with("boolean-op", boolean);
    for (number, node) in (1..).zip(nodes) {
        element = element.and(
            Element::new("expression")
                .with("id", &format!("{rule}-{number}"))
                .with("attribute", "#uname")
                .with("operation", operation)
                .with("value", node.as_str()),
        );
    }
    Element::new("instance_attributes")
        .with("id", id)
        .and(element)
}

/// Takes the pairs of these names out of every set that always applies.
fn take(primitive: &mut Element, names: &BTreeSet<String>) -> Vec<Element> {
    let named = |pair: &Element| {
        pair.attribute("name")
            .is_some_and(|name| names.contains(name))
    };
    let mut taken = Vec::new();
    let plain = |set: &&mut Element| is_set(set) && set.child("rule").is_none();
    for set in primitive.children.iter_mut().filter(plain) {
        let (ours, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut set.children)
            .into_iter()
            .partition(named);
        set.children = rest;
        taken.extend(ours);
    }
    taken
}

impl SetupPlan {
    pub(super) fn primitive<'e>(&self, configuration: &'e Element) -> Option<&'e Element> {
        configuration
            .descendants()
            .find(|element| element.tag == "primitive" && element.id() == self.database)
    }

    /// The parameters whose change restarts PostgreSQL, on whatever node it is one.
    fn restarting(&self) -> BTreeSet<String> {
        let (Some(before), Some(after)) =
            (self.primitive(&self.before), self.primitive(&self.after))
        else {
            return BTreeSet::new();
        };
        let new = effective(after, None);
        let done = done(before).into_iter().map(|node| node.parse().ok());
        let mut names = BTreeSet::new();
        for node in std::iter::once(None).chain(done) {
            let old = effective(before, node.as_ref());
            let all = old.keys().chain(new.keys());
            let differs = all.filter(|name| old.get(*name) != new.get(*name));
            names.extend(differs.map(|name| (*name).to_owned()));
        }
        names.retain(|name| Owner::Database.cost(name, self.reloads) == Cost::Restart);
        names
    }

    fn agent_changes(&self) -> bool {
        let agent = |configuration| {
            let found = self.primitive(configuration);
            found.map(|primitive| (primitive.attribute("provider"), primitive.attribute("type")))
        };
        agent(&self.before) != agent(&self.after)
    }

    /// Whether the change restarts PostgreSQL on this node, should it run there.
    #[must_use]
    pub fn restarts_on(&self, node: &NodeName) -> bool {
        let (Some(before), Some(after)) =
            (self.primitive(&self.before), self.primitive(&self.after))
        else {
            return false;
        };
        let (old, new) = (effective(before, Some(node)), effective(after, Some(node)));
        self.agent_changes()
            || self
                .restarting()
                .iter()
                .any(|name| old.get(name.as_str()) != new.get(name.as_str()))
    }

    /// Why the new parameters cannot be given to one node after the other; none where they can. `standbys`:
    /// how many run.
    #[must_use]
    pub fn together(&self, standbys: usize) -> Option<String> {
        let changed = self.restarting();
        let (before, after) = (self.primitive(&self.before)?, self.primitive(&self.after)?);
        if self.agent_changes() {
            return Some("the agent is another one".to_owned());
        }
        let writer = (standbys > 1).then_some(&WRITER);
        let mut shared = TOGETHER.iter().chain(writer);
        let shared = shared.find(|(name, _)| changed.contains(*name));
        if let Some((name, why)) = shared {
            return Some(format!("{name} changes, and {why}"));
        }
        let new = effective(after, None);
        let differs = |node: Option<&NodeName>| {
            let has = effective(before, node);
            let mut names = changed.iter().map(String::as_str);
            names.any(|name| has.get(name) != new.get(name))
        };
        // They have neither the old values nor those that are wanted now, and would get the old ones
        // until it is their turn.
        let nodes = done(before)
            .into_iter()
            .filter_map(|node| node.parse().ok());
        let third: Vec<NodeName> = nodes.filter(|node| differs(Some(node))).collect();
        let hurts = third.len() > 1 || differs(None);
        third.first().filter(|_| hurts).map(|node| {
            format!(
                "a restart that went round before has not come to its end, and {node} has other new values than config.ini now"
            )
        })
    }

    /// The configuration as it shall be, except that of the parameters that restart PostgreSQL only these
    /// nodes have the new values; at least one is named.
    #[must_use]
    pub fn with_new_on(&self, nodes: &[&NodeName]) -> Element {
        let names = self.restarting();
        let mut folded = self.before.clone();
        fold(&mut folded);
        let mut old = match folded.by_id_mut(&self.database) {
            Some(primitive) => take(primitive, &names),
            None => Vec::new(),
        };
        for pair in &mut old {
            let id = format!("{}{PAIR}", pair.id());
            pair.set("id", &id);
        }
        let mut configuration = self.after.clone();
        let Some(primitive) = configuration.by_id_mut(&self.database) else {
            return configuration;
        };
        let new = take(primitive, &names);
        for (end, boolean, operation, pairs) in [(OLD, "and", "ne", old), (NEW, "or", "eq", new)] {
            let id = format!("{}{end}", self.database);
            let mut set = ruled(&id, boolean, operation, nodes);
            set.children.extend(pairs);
            let after_sets = primitive.children.iter().rposition(is_set);
            primitive
                .children
                .insert(after_sets.map_or(0, |at| at + 1), set);
        }
        configuration
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;
    use crate::setup::Design;

    pub(in crate::setup) fn design(parameters: &[(&str, &str)]) -> Design {
        Design {
            clone: "msPostgresql".to_owned(),
            writer: "vip-master".to_owned(),
            reader: "vip-slave".to_owned(),
            writer_ip: "192.0.2.1".to_owned(),
            reader_ip: None,
            reader_on_primary: false,
            nic: None,
            netmask: None,
            parameters: parameters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            quorum: false,
        }
    }

    pub(in crate::setup) const EMPTY: &str = r#"<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9"><configuration><crm_config/><nodes/><resources/><constraints/></configuration></cib>"#;
    const FIRST: &[(&str, &str)] = &[
        ("archive_cleanup_command", "/bin/clean"),
        ("monitor_sql", "select 1"),
        ("rep_mode", "sync"),
        ("start_opt", "-c a=1"),
    ];
    /// One changed, one taken away, one added, and one that is only reloaded.
    const SECOND: &[(&str, &str)] = &[
        ("monitor_sql", "select 2"),
        ("rep_mode", "sync"),
        ("restore_command", "/bin/restore"),
        ("start_opt", "-c a=2"),
    ];

    fn nodes() -> [NodeName; 2] {
        ["node1", "node2"].map(|name| name.parse().unwrap())
    }

    fn cib(configuration: &Element) -> String {
        let mut root = Element::parse(EMPTY).unwrap();
        root.children = configuration.children.clone();
        root.to_xml()
    }

    fn first() -> String {
        cib(&SetupPlan::make(EMPTY, &design(FIRST)).unwrap().after)
    }

    fn plan(cib: &str, parameters: &[(&str, &str)]) -> SetupPlan {
        SetupPlan::make(cib, &design(parameters)).unwrap()
    }

    #[test]
    fn a_restart_goes_round() {
        let [node1, node2] = nodes();
        let start = first();
        let whole = plan(&start, SECOND);
        assert_eq!(whole.cost(), Cost::Restart);
        assert!(whole.restarts_on(&node1) && whole.restarts_on(&node2));
        assert_eq!(whole.together(1), None);

        let half = whole.with_new_on(&[&node2]);
        insta::assert_snapshot!(half.to_xml());
        let [before, half_database, after] = [&whole.before, &half, &whole.after]
            .map(|configuration| whole.primitive(configuration).unwrap());
        let with_reload = |node: &NodeName| {
            let mut values = effective(before, Some(node));
            values.insert("monitor_sql", "select 2");
            values
        };
        assert_eq!(effective(half_database, Some(&node1)), with_reload(&node1));
        assert_eq!(
            effective(half_database, Some(&node2)),
            effective(after, None)
        );

        // From there on, as after an interruption, only the other node is left.
        let rest = plan(&cib(&half), SECOND);
        assert!(rest.restarts_on(&node1) && !rest.restarts_on(&node2));
        assert_eq!((rest.cost(), rest.together(1)), (Cost::Restart, None));
        let lines: Vec<String> = rest.changes.iter().map(ToString::to_string).collect();
        assert!(
            lines.contains(&"~ pgsql start_opt: \"-c a=1\" -> \"-c a=2\"".to_owned()),
            "{lines:?}"
        );
        // And nothing of it stays.
        assert!(plan(&cib(&rest.after), SECOND).is_done());
        assert!(!rest.after.to_xml().contains("rolling"));
        // Somebody else's set that is called alike stays.
        let foreign = r#"<primitive id="x" class="ocf" provider="heartbeat" type="Dummy"><instance_attributes id="y-rolling-old"/></primitive></resources>"#;
        let beside = plan(&start.replace("</resources>", foreign), FIRST);
        assert!(beside.is_done() && beside.after.to_xml().contains("y-rolling-old"));
        assert_eq!(rest.after, whole.after);
    }

    #[test]
    fn what_was_interrupted_can_be_taken_back() {
        let [node1, node2] = nodes();
        let half = cib(&plan(&first(), SECOND).with_new_on(&[&node2]));
        let back = plan(&half, FIRST);
        assert!(!back.is_done());
        assert_eq!(back.cost(), Cost::Restart);
        assert!(!back.restarts_on(&node1) && back.restarts_on(&node2));
        assert_eq!(back.together(1), None);
        assert_eq!(
            effective(back.primitive(&back.after).unwrap(), None),
            effective(back.primitive(&plan(&first(), FIRST).after).unwrap(), None)
        );
        // Or changed into a third thing, which node by node would give node2 the old one first.
        let third = plan(&half, &[("rep_mode", "sync"), ("start_opt", "-c a=3")]);
        assert!(third.together(1).unwrap().contains("node2"));
    }

    #[test]
    fn what_all_must_agree_about_changes_on_all_together() {
        for (name, value) in [
            ("rep_mode", "async"),
            ("pgport", "5433"),
            ("replication_slot_name", "s"),
        ] {
            let mut other = FIRST.to_vec();
            other.retain(|(known, _)| *known != name);
            other.push((name, value));
            let why = plan(&first(), &other).together(1).unwrap();
            assert!(why.starts_with(name), "{why}");
        }
        // One standby moves with the address. Of two, the second one would lose its primary.
        let mut moved = FIRST.to_vec();
        moved.push(("master_ip", "192.0.2.9"));
        let moved = plan(&first(), &moved);
        assert_eq!(moved.together(1), None);
        assert!(moved.together(2).unwrap().starts_with("master_ip"));
        let packaged = first().replace("type=\"expgsql\"", "type=\"pgsql\"");
        let adopted = plan(&packaged, FIRST);
        assert!(adopted.restarts_on(&nodes()[0]));
        assert!(adopted.together(1).is_some());
        // A reload is none of a node's business, except where Pacemaker cannot do it.
        let mut reload = FIRST.to_vec();
        reload[1].1 = "select 2";
        let reloaded = plan(&first(), &reload);
        assert!(!reloaded.restarts_on(&nodes()[0]));
        assert_eq!(reloaded.cost(), Cost::Reload);
        let old = first().replace("3.16.1", "3.6.1");
        let old = old.replace("pacemaker-3.9", "pacemaker-3.5");
        assert!(plan(&old, &reload).restarts_on(&nodes()[0]));
        // Then two nodes with two locks could both be primary, if it went round.
        for name in ["enable_distlock", "distlock_conninfo", "distlock_lockname"] {
            let mut lock = FIRST.to_vec();
            lock.push((name, "other"));
            assert!(plan(&old, &lock).together(1).unwrap().starts_with(name));
            assert_eq!(plan(&first(), &lock).together(1), None);
        }
    }
}

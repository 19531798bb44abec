//! Where the addresses may be, and in which order things happen.
//!
//! A rule that prefers the node in state `HS:sync` for the reader's address counts, through the
//! colocation, for the clone's instance there too and lifts a fresh standby above the primary
//! (Pacemaker 2.1.5 then demotes the one and promotes the other). Only a colocation with
//! `influence="false"`, which Pacemaker 2.1 has, keeps the two apart (Pacemaker Explained, "Colocation
//! Influence"). So there is such a rule where there is a choice, among three nodes or more, and where
//! that attribute is known; any other one, as old configurations have it, is removed.

use super::{Cost, Design, Element, Journal, Kind};
use crate::dialect;
use crate::message;
use crate::message::Message;
use crate::status::Role;

/// By how much the reader's address prefers a synchronous standby: more than any stickiness that is
/// usual, less than a rule that an administrator means seriously.
const PREFERENCE: &str = "100";

pub(super) fn ensure(
    configuration: &mut Element,
    design: &Design,
    database: &str,
    journal: &mut Journal,
) {
    let section = configuration.child_or_new("constraints");
    let (clone, writer, reader) = (&design.clone, &design.writer, &design.reader);
    let roles = journal.dialect.roles;
    let (promoted, unpromoted) = (roles.promoted(), roles.unpromoted());
    let choice = design.quorum && journal.dialect.influence;
    let influence = choice.then_some("false");
    colocation(
        section,
        journal,
        [writer, clone, promoted, "INFINITY"],
        None,
    );
    order(
        section,
        journal,
        [clone, "promote", writer, "start", "Mandatory"],
    );
    order(
        section,
        journal,
        [clone, "demote", writer, "stop", "Optional"],
    );
    let rule = (choice && design.reader_ip.is_some()).then(|| preference(reader, database));
    location_rules(section, design, rule, journal);
    if design.reader_ip.is_none() {
        let why = message!("config.ini has no reader_vip");
        remove(section, journal, &why, |element| names(element, reader));
        return;
    }
    if design.reader_on_primary {
        // Anywhere that the database runs, rather not beside the primary.
        colocation(section, journal, [reader, clone, "", "INFINITY"], influence);
        colocation(
            section,
            journal,
            [reader, clone, promoted, "-100"],
            influence,
        );
        let why = message!("the reader's address may move to the primary");
        remove(section, journal, &why, |element| {
            is_colocation(element, [reader, clone]) && role(element) == Some(Role::Unpromoted)
        });
    } else {
        colocation(
            section,
            journal,
            [reader, clone, unpromoted, "INFINITY"],
            influence,
        );
        let why = message!("the reader's address stays with a standby");
        remove(section, journal, &why, |element| {
            is_colocation(element, [reader, clone]) && role(element) != Some(Role::Unpromoted)
        });
    }
    order(
        section,
        journal,
        [clone, "promote", reader, "start", "Mandatory"],
    );
    order(
        section,
        journal,
        [clone, "stop", reader, "stop", "Optional"],
    );
}

/// The role in either spelling.
fn role(element: &Element) -> Option<Role> {
    dialect::role(element.attribute("with-rsc-role"))
}

fn is_colocation(element: &Element, [resource, with]: [&str; 2]) -> bool {
    element.tag == "rsc_colocation"
        && element.attribute("rsc") == Some(resource)
        && element.attribute("with-rsc") == Some(with)
}

/// Whether a constraint is about a resource.
fn names(element: &Element, resource: &str) -> bool {
    ["rsc", "with-rsc", "first", "then"]
        .iter()
        .any(|attribute| element.attribute(attribute) == Some(resource))
}

fn describe(element: &Element) -> String {
    let attributes: Vec<String> = element
        .attributes
        .iter()
        .filter(|(name, _)| name != "id")
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!("{} {}", element.tag, attributes.join(" "))
}

fn colocation(
    section: &mut Element,
    journal: &mut Journal,
    words: [&str; 4],
    influence: Option<&str>,
) {
    let [resource, with, with_role, score] = words;
    let id = format!("{resource}-with-{with}");
    let mut wanted = Element::new("rsc_colocation")
        .with("id", &id)
        .with("rsc", resource)
        .with("with-rsc", with);
    if !with_role.is_empty() {
        wanted.set("with-rsc-role", with_role);
    }
    let values: Vec<(&str, &str)> = std::iter::once(("score", score))
        .chain(influence.map(|value| ("influence", value)))
        .collect();
    for (name, value) in &values {
        wanted.set(name, value);
    }
    let found = section
        .children
        .iter_mut()
        .find(|element| is_colocation(element, [resource, with]) && role(element) == role(&wanted));
    let Some(found) = found else {
        let id = journal.id(&id);
        wanted.set("id", &id);
        journal.add(describe(&wanted), None);
        section.children.push(wanted);
        return;
    };
    for (name, value) in values {
        let old = found.attribute(name).unwrap_or("none").to_owned();
        if old != value {
            found.set(name, value);
            let what = message!("{name} of {id}", name, id = found.id());
            journal.push(
                Kind::Set,
                what,
                Some(old),
                Some(value.into()),
                None,
                Cost::Nothing,
            );
        }
    }
}

/// `kind`, because a `score` of an order fails `crm_verify` with warnings in every version.
fn order(section: &mut Element, journal: &mut Journal, words: [&str; 5]) {
    let [first, first_action, then, then_action, kind] = words;
    let there = section.children.iter().any(|element| {
        element.tag == "rsc_order"
            && element.attribute("first") == Some(first)
            && element.attribute("first-action") == Some(first_action)
            && element.attribute("then") == Some(then)
            && element.attribute("then-action").unwrap_or("start") == then_action
    });
    if there {
        return;
    }
    let id = journal.id(&format!("{then}-{then_action}-after-{first_action}"));
    let wanted = Element::new("rsc_order")
        .with("id", &id)
        .with("first", first)
        .with("first-action", first_action)
        .with("then", then)
        .with("then-action", then_action)
        .with("symmetrical", "false")
        .with("kind", kind);
    journal.add(describe(&wanted), None);
    section.children.push(wanted);
}

/// The rule that prefers a synchronous standby, but for its ids.
fn preference(reader: &str, database: &str) -> Element {
    let expression = Element::new("expression")
        .with("attribute", &format!("{database}-status"))
        .with("operation", "eq")
        .with("value", "HS:sync");
    let rule = Element::new("rule")
        .with("score", PREFERENCE)
        .and(expression);
    Element::new("rsc_location").with("rsc", reader).and(rule)
}

/// Keeps or makes the one rule about the state of replication that is wanted, and removes any other.
fn location_rules(
    section: &mut Element,
    design: &Design,
    wanted: Option<Element>,
    journal: &mut Journal,
) {
    let is_wanted = |element: &Element| Some(without_ids(element)) == wanted;
    let why = message!("it can demote a healthy primary");
    remove(section, journal, &why, |element| {
        element.tag == "rsc_location"
            && element.attribute("rsc") == Some(&design.reader)
            && !is_wanted(element)
            && element.descendants().any(|expression| {
                expression.tag == "expression"
                    && expression
                        .attribute("attribute")
                        .is_some_and(|name| name.ends_with("-status"))
                    && expression
                        .attribute("value")
                        .is_some_and(|value| value.starts_with("HS:"))
            })
    });
    if section.children.iter().any(is_wanted) {
        return;
    }
    if let Some(wanted) = wanted {
        let id = journal.id(&format!("{}-prefers-sync", design.reader));
        let what = message!(
            "{id} ({reader} rather on a synchronous standby)",
            id,
            reader = design.reader
        );
        journal.add(what, None);
        section.children.push(with_ids(wanted, &id));
    }
}

fn without_ids(element: &Element) -> Element {
    let mut plain = Element::new(&element.tag);
    let named = element.attributes.iter().filter(|(name, _)| name != "id");
    plain.attributes = named.cloned().collect();
    plain.children = element.children.iter().map(without_ids).collect();
    plain
}

fn with_ids(element: Element, id: &str) -> Element {
    let mut named = Element::new(&element.tag).with("id", id);
    named.attributes.extend(element.attributes);
    named.children = element
        .children
        .into_iter()
        .map(|child| {
            let id = format!("{id}-{}", child.tag);
            with_ids(child, &id)
        })
        .collect();
    named
}

fn remove(
    section: &mut Element,
    journal: &mut Journal,
    why: &Message,
    select: impl Fn(&Element) -> bool,
) {
    let (gone, stay) = std::mem::take(&mut section.children)
        .into_iter()
        .partition(|element| select(element));
    section.children = stay;
    let gone: Vec<Element> = gone;
    for element in gone {
        journal.push(
            Kind::Remove,
            format!("{} ({})", element.id(), describe(&element)),
            None,
            None,
            Some(why.clone()),
            Cost::Nothing,
        );
    }
}

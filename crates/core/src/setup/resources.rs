//! The clone with the database, and the two addresses.

use super::cost::{Cost, Owner};
use super::pairs::{Sets, shown};
use super::{Design, Element, Journal, Kind, SetupError};
use crate::dialect;
use crate::message;
use crate::message::Message;
use crate::status::Role;

/// Makes the resources what the design says; the database's name.
pub(super) fn ensure(
    configuration: &mut Element,
    design: &Design,
    journal: &mut Journal,
) -> Result<String, SetupError> {
    elsewhere(configuration, design)?;
    let section = configuration.child_or_new("resources");
    address(section, &design.writer, &design.writer_ip, design, journal)?;
    match &design.reader_ip {
        Some(ip) => address(section, &design.reader, ip, design, journal)?,
        None => remove_address(section, &design.reader, journal),
    }
    database(section, design, journal)
}

/// Two resources for one data directory would fight for it.
fn elsewhere(configuration: &Element, design: &Design) -> Result<(), SetupError> {
    let Some(pgdata) = design.parameters.get("pgdata") else {
        return Ok(());
    };
    let Some(resources) = configuration.child("resources") else {
        return Ok(());
    };
    let found = resources.children.iter().find(|top| {
        top.id() != design.clone
            && top
                .descendants()
                .filter(|element| element.tag == "primitive")
                .any(|primitive| {
                    is_agent(primitive)
                        && parameters(primitive.id(), Owner::Database).find(primitive, "pgdata")
                            == Some(pgdata)
                })
    });
    match found {
        Some(found) => Err(SetupError::Elsewhere {
            pgdata: pgdata.clone(),
            found: found.id().to_owned(),
        }),
        None => Ok(()),
    }
}

fn agent_of(primitive: &Element) -> String {
    let part = |name| primitive.attribute(name).unwrap_or("?");
    match primitive.attribute("provider") {
        Some(provider) => format!("{}:{provider}:{}", part("class"), part("type")),
        None => format!("{}:{}", part("class"), part("type")),
    }
}

/// Ours, or the agent that it descends from and whose parameters it takes.
fn is_agent(primitive: &Element) -> bool {
    matches!(
        agent_of(primitive).as_str(),
        "ocf:heartbeat:expgsql" | "ocf:heartbeat:pgsql"
    )
}

pub(super) fn parameters(resource: &str, owner: Owner) -> Sets<'_> {
    Sets {
        tag: "instance_attributes",
        id: resource,
        prefix: resource,
        subject: resource.into(),
        owner,
    }
}

/// The place of a resource among all, also within a group.
fn find<'e>(section: &'e mut Element, id: &str) -> Option<&'e mut Element> {
    const RESOURCES: [&str; 5] = ["primitive", "clone", "master", "group", "bundle"];
    section
        .by_id_mut(id)
        .filter(|element| RESOURCES.contains(&element.tag.as_str()))
}

fn operation(journal: &mut Journal, resource: &str, words: [&str; 4], role: &str) -> Element {
    let [name, interval, timeout, on_fail] = words;
    let suffix = if role.is_empty() { "" } else { "-promoted" };
    let id = journal.id(&format!("{resource}-{name}{suffix}"));
    let mut op = Element::new("op")
        .with("id", &id)
        .with("name", name)
        .with("interval", interval)
        .with("timeout", timeout);
    for (attribute, value) in [("on-fail", on_fail), ("role", role)] {
        if !value.is_empty() {
            op.set(attribute, value);
        }
    }
    op
}

/// Operations by name and role; what an operator has chosen for one stays.
fn operations(
    primitive: &mut Element,
    journal: &mut Journal,
    wanted: &[([&'static str; 4], &'static str)],
) {
    let resource = primitive.id().to_owned();
    let list = primitive.child_or_new("operations");
    let promoted = |text: Option<&str>| dialect::role(text) == Some(Role::Promoted);
    for (words, role) in wanted {
        let mut words = *words;
        let there = list.children.iter().any(|op| {
            op.attribute("name") == Some(words[0])
                && promoted(op.attribute("role")) == promoted(Some(role))
        });
        if there {
            continue;
        }
        // Pacemaker tells the monitors of one resource apart by their intervals.
        let taken = |interval: &str| {
            words[0] == "monitor"
                && list.children.iter().any(|op| {
                    op.attribute("name") == Some("monitor")
                        && op.attribute("interval").is_some_and(|other| {
                            other.trim_end_matches('s') == interval.trim_end_matches('s')
                        })
                })
        };
        let spare = ["5s", "6s", "7s"];
        if taken(words[1]) {
            words[1] = spare
                .into_iter()
                .find(|interval| !taken(interval))
                .unwrap_or(words[1]);
        }
        let [name, interval, timeout, _] = words;
        let what = match role.is_empty() {
            true => message!("{resource} operation {name}", resource, name),
            false => message!("{resource} operation {name} of the primary", resource, name),
        };
        let new = message!("every {interval}, timeout {timeout}", interval, timeout);
        journal.add(what, Some(new));
        let op = operation(journal, &resource, words, role);
        list.children.push(op);
    }
}

fn address(
    section: &mut Element,
    id: &str,
    ip: &str,
    design: &Design,
    journal: &mut Journal,
) -> Result<(), SetupError> {
    const AGENT: &str = "ocf:heartbeat:IPaddr2";
    let owner = match find(section, id) {
        Some(_) => Owner::Address,
        None => Owner::Other,
    };
    let primitive = match find(section, id) {
        Some(found) if found.tag == "primitive" && agent_of(found) == AGENT => found,
        Some(found) => {
            return Err(SetupError::Taken {
                id: id.to_owned(),
                found: format!("a {} {}", found.tag, agent_of(found)),
                expected: AGENT,
            });
        }
        None => {
            journal.add(format!("{id} ({AGENT})"), None);
            new_primitive(section, journal, id, "IPaddr2")
        }
    };
    let netmask = design.netmask.map(|bits| bits.to_string());
    let set = Sets {
        id: &format!("{id}-parameters"),
        ..parameters(id, owner)
    };
    for (name, value) in [
        ("ip", Some(ip)),
        ("nic", design.nic.as_deref()),
        ("cidr_netmask", netmask.as_deref()),
    ] {
        if let Some(value) = value {
            set.ensure(primitive, journal, name, value);
        }
    }
    operations(
        primitive,
        journal,
        &[
            (["start", "0s", "60s", "restart"], ""),
            (["monitor", "10s", "60s", "restart"], ""),
            (["stop", "0s", "60s", "block"], ""),
        ],
    );
    Ok(())
}

fn remove_address(section: &mut Element, id: &str, journal: &mut Journal) {
    let before = section.children.len();
    section
        .children
        .retain(|child| child.tag != "primitive" || child.id() != id);
    if section.children.len() != before {
        let why = Some(message!("config.ini has no reader_vip"));
        journal.push(Kind::Remove, id, None, None, why, Cost::Address);
    }
}

fn new_primitive<'e>(
    parent: &'e mut Element,
    journal: &mut Journal,
    id: &str,
    agent: &str,
) -> &'e mut Element {
    journal.ids.insert(id.to_owned());
    parent.children.push(
        Element::new("primitive")
            .with("id", id)
            .with("class", "ocf")
            .with("provider", "heartbeat")
            .with("type", agent),
    );
    let last = parent.children.len() - 1;
    &mut parent.children[last]
}

/// The meta attributes of the clone that the agent cannot work without. A `<master>` of an old
/// configuration has other words for some, and is promotable by what it is.
fn clone_meta(clone: &mut Element, journal: &mut Journal, made: bool) {
    let id = clone.id().to_owned();
    let legacy = clone.tag == "master";
    let set = Sets {
        tag: "meta_attributes",
        id: &format!("{id}-meta"),
        prefix: &format!("{id}-meta"),
        subject: Message::from(&id),
        owner: Owner::Other,
    };
    for (name, old_name, value) in [
        ("promotable", None, "true"),
        ("promoted-max", Some("master-max"), "1"),
        ("promoted-node-max", Some("master-node-max"), "1"),
        ("clone-node-max", None, "1"),
        ("notify", None, "true"),
    ] {
        let old_name = old_name.filter(|old| set.find(clone, old).is_some());
        match old_name {
            _ if legacy && name == "promotable" => {}
            Some(old) => set.ensure(clone, journal, old, value),
            None if legacy && name.starts_with("promoted") => {
                let old = name.replacen("promoted", "master", 1);
                set.ensure(clone, journal, &old, value);
            }
            None => set.ensure(clone, journal, name, value),
        }
    }
    if set.find(clone, "migration-threshold").is_none() {
        set.ensure(clone, journal, "migration-threshold", "3");
    }
    // What is new is started by `cls_start`, when the operator says so.
    if made && set.find(clone, "target-role").is_none() {
        set.ensure(clone, journal, "target-role", "Stopped");
    }
}

fn database(
    section: &mut Element,
    design: &Design,
    journal: &mut Journal,
) -> Result<String, SetupError> {
    let taken = |found: &Element| SetupError::Taken {
        id: design.clone.clone(),
        found: format!("a {}", found.tag),
        expected: "a clone of ocf:heartbeat:expgsql",
    };
    let made = find(section, &design.clone).is_none();
    if made {
        let what = message!("{name} (promotable clone)", name = design.clone);
        journal.add(what, None);
        journal.ids.insert(design.clone.clone());
        section
            .children
            .push(Element::new("clone").with("id", &design.clone));
    }
    let Some(clone) = find(section, &design.clone) else {
        return Err(SetupError::Missing("element resources"));
    };
    if !matches!(clone.tag.as_str(), "clone" | "master") {
        return Err(taken(clone));
    }
    clone_meta(clone, journal, made);
    if clone.child("primitive").is_none() {
        if !made {
            return Err(taken(clone));
        }
        let id = journal.id("pgsql");
        journal.add(format!("{id} (ocf:heartbeat:expgsql)"), None);
        new_primitive(clone, journal, &id, "expgsql");
    }
    let primitive = clone.child_or_new("primitive");
    if !is_agent(primitive) {
        return Err(taken(primitive));
    }
    if primitive.attribute("type") != Some("expgsql") {
        primitive.set("type", "expgsql");
        journal.push(
            Kind::Set,
            message!("{id} agent", id = primitive.id()),
            Some("ocf:heartbeat:pgsql".to_owned()),
            Some("ocf:heartbeat:expgsql".into()),
            None,
            Cost::Restart,
        );
    }
    let owner = match made {
        true => Owner::Other,
        false => Owner::Database,
    };
    database_parameters(primitive, design, owner, journal);
    let promoted = journal.dialect.roles.promoted();
    operations(
        primitive,
        journal,
        &[
            (["start", "0s", "60s", "restart"], ""),
            (["stop", "0s", "60s", "block"], ""),
            (["monitor", "4s", "60s", "restart"], ""),
            (["monitor", "3s", "60s", "restart"], promoted),
            (["promote", "0s", "60s", "restart"], ""),
            (["demote", "0s", "60s", "restart"], ""),
            (["notify", "0s", "60s", ""], ""),
        ],
    );
    Ok(primitive.id().to_owned())
}

fn database_parameters(
    primitive: &mut Element,
    design: &Design,
    owner: Owner,
    journal: &mut Journal,
) {
    let id = primitive.id().to_owned();
    let set = Sets {
        id: &format!("{id}-parameters"),
        ..parameters(&id, owner)
    };
    for (name, value) in &design.parameters {
        set.ensure(primitive, journal, name, value);
    }
    let builtin = design.parameters.contains_key("distlock_conninfo");
    for (name, value, pair) in set.all(primitive) {
        if design.parameters.contains_key(&name) {
            continue;
        }
        if builtin && name.starts_with("distlock_") && name != "distlock_ttl" {
            let why = message!("the built-in lock service takes its place");
            set.remove(primitive, journal, &name, &why);
        } else if pair == format!("{id}-{name}") {
            let why = message!("not in config.ini any more");
            set.remove(primitive, journal, &name, &why);
        } else {
            journal.kept.push(message!(
                "{id} {name}={value}: set in the cluster, not in config.ini (pgsql_{name})",
                id,
                name,
                value = shown(&name, &value)
            ));
        }
    }
}

//! Sets of names and values: options, parameters, meta attributes.

use super::cost::Owner;
use super::{Element, Journal, Kind};
use crate::message;
use crate::message::Message;
use crate::params;

/// The sets of one kind within an element.
pub(super) struct Sets<'a> {
    /// The sets' element.
    pub(super) tag: &'static str,
    /// The identifier of a set that has to be made.
    pub(super) id: &'a str,
    /// What the identifiers of new pairs begin with.
    pub(super) prefix: &'a str,
    /// What a pair is called in the plan.
    pub(super) subject: Message,
    /// Whose pairs they are, which says what a change of one costs.
    pub(super) owner: Owner,
}

impl Sets<'_> {
    fn own<'e>(&self, parent: &'e Element) -> impl Iterator<Item = &'e Element> {
        let tag = self.tag;
        parent.children.iter().filter(move |child| child.tag == tag)
    }

    /// The value of a name; the first set that has it counts.
    pub(super) fn find<'e>(&self, parent: &'e Element, name: &str) -> Option<&'e str> {
        self.own(parent)
            .flat_map(|set| &set.children)
            .find(|pair| pair.attribute("name") == Some(name))
            .and_then(|pair| pair.attribute("value"))
    }

    /// Makes a name have that value.
    pub(super) fn ensure(
        &self,
        parent: &mut Element,
        journal: &mut Journal,
        name: &str,
        value: &str,
    ) {
        let what = message!("{subject} {name}", subject = self.subject, name);
        let pair = parent
            .children
            .iter_mut()
            .filter(|child| child.tag == self.tag)
            .flat_map(|set| &mut set.children)
            .find(|pair| pair.attribute("name") == Some(name));
        if let Some(pair) = pair {
            let old = pair.attribute("value").unwrap_or_default().to_owned();
            if old != value {
                pair.set("value", value);
                let (old, new) = (shown(name, &old), shown(name, value));
                let cost = journal.cost(self.owner, name);
                journal.push(Kind::Set, what, Some(old), Some(new.into()), None, cost);
            }
            return;
        }
        let id = journal.id(&format!("{}-{name}", self.prefix));
        let pair = Element::new("nvpair")
            .with("id", &id)
            .with("name", name)
            .with("value", value);
        self.set_for_new(parent, journal).children.push(pair);
        let cost = journal.cost(self.owner, name);
        let new = shown(name, value).into();
        journal.push(Kind::Add, what, None, Some(new), None, cost);
    }

    /// The set that a new pair goes into: one that always applies and is not shared.
    fn set_for_new<'e>(&self, parent: &'e mut Element, journal: &mut Journal) -> &'e mut Element {
        let usable = |set: &Element| {
            set.tag == self.tag && set.attribute("id-ref").is_none() && set.child("rule").is_none()
        };
        // A set of another tool, such as the one of pgsql_REPL_INFO, is not for our options.
        let at = parent
            .children
            .iter()
            .position(|set| usable(set) && set.id() == self.id)
            .or_else(|| {
                let single = self.tag != "cluster_property_set";
                parent.children.iter().position(|set| single && usable(set))
            });
        let at = at.unwrap_or_else(|| {
            let id = journal.id(self.id);
            // The schema wants a clone's sets before what it clones.
            parent
                .children
                .insert(0, Element::new(self.tag).with("id", &id));
            0
        });
        &mut parent.children[at]
    }

    /// Takes a name away.
    pub(super) fn remove(
        &self,
        parent: &mut Element,
        journal: &mut Journal,
        name: &str,
        why: &Message,
    ) {
        for set in parent.children.iter_mut().filter(|set| set.tag == self.tag) {
            let found = set
                .children
                .iter()
                .position(|pair| pair.attribute("name") == Some(name));
            if let Some(at) = found {
                let pair = set.children.remove(at);
                let old = shown(name, pair.attribute("value").unwrap_or_default());
                let what = message!("{subject} {name}", subject = self.subject, name);
                let cost = journal.cost(self.owner, name);
                journal.push(Kind::Remove, what, Some(old), None, Some(why.clone()), cost);
            }
        }
    }

    /// Name, value and identifier of every pair.
    pub(super) fn all(&self, parent: &Element) -> Vec<(String, String, String)> {
        self.own(parent)
            .flat_map(|set| &set.children)
            .filter_map(|pair| {
                Some((
                    pair.attribute("name")?.to_owned(),
                    pair.attribute("value")?.to_owned(),
                    pair.id().to_owned(),
                ))
            })
            .collect()
    }
}

/// A value as the plan shows it. A connection string in the cluster may still have a password that
/// an operator put there.
pub(super) fn shown(name: &str, value: &str) -> String {
    let secret = params::spec(name).is_some_and(|spec| spec.secret);
    let plain = name == "distlock_conninfo" && !value.contains("password");
    if secret && !plain {
        "***".to_owned()
    } else {
        crate::quoted::quoted(value)
    }
}

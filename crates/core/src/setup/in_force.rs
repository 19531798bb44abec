//! What the configuration file says beside what is in force.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::pairs::shown;
use super::{Element, SetupPlan, rolling};
use crate::names::NodeName;

/// The configuration file that commands on a node read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigCopy {
    /// Its path.
    pub file: String,
    /// A checksum of it; none where there is no such file.
    pub checksum: Option<String>,
}

/// How a node's configuration file compares with the one here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CopyState {
    /// It has the same contents.
    Same,
    /// It has others.
    Other,
    /// There is none.
    Missing,
}

impl ConfigCopy {
    /// Against the checksum of the file here.
    #[must_use]
    pub fn state(&self, own: Option<&str>) -> CopyState {
        match self.checksum.as_deref() {
            None => CopyState::Missing,
            there if there == own => CopyState::Same,
            Some(_) => CopyState::Other,
        }
    }
}

/// A parameter of the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InForce {
    /// Its name.
    pub name: String,
    /// What Pacemaker gives the agent now, quoted; none where it gives nothing. What may have a password in
    /// it is not shown.
    pub value: Option<String>,
    /// What `cls_setup` would make of it, the same.
    pub wanted: Option<String>,
    /// Whether the two are the same.
    pub same: bool,
    /// The nodes that have another value than `value`, while a restart goes round.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_on: Vec<NodeName>,
}

impl SetupPlan {
    /// Every parameter of the database, by name: what is in force and what `cls_setup` would make of it.
    #[must_use]
    pub fn in_force(&self) -> Vec<InForce> {
        let empty = Element::new("primitive");
        let find = |configuration| self.primitive(configuration).unwrap_or(&empty);
        let (before, after) = (find(&self.before), find(&self.after));
        let (now, wanted) = (
            rolling::effective(before, None),
            rolling::effective(after, None),
        );
        let ahead: Vec<(NodeName, rolling::Values<'_>)> = rolling::done(before)
            .into_iter()
            .filter_map(|node| node.parse::<NodeName>().ok())
            .map(|node| {
                let values = rolling::effective(before, Some(&node));
                (node, values)
            })
            .collect();
        let names: BTreeSet<&str> = now.keys().chain(wanted.keys()).copied().collect();
        let line = |name: &str| {
            let text = |value: Option<&&str>| value.map(|value| shown(name, value));
            let other = ahead
                .iter()
                .filter(|(_, values)| values.get(name) != now.get(name));
            InForce {
                name: name.to_owned(),
                value: text(now.get(name)),
                wanted: text(wanted.get(name)),
                same: now.get(name) == wanted.get(name),
                other_on: other.map(|(node, _)| node.clone()).collect(),
            }
        };
        names.into_iter().map(line).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::setup::rolling::tests::{EMPTY, design};

    #[test]
    fn a_copy_is_compared_by_its_contents() {
        let copy = |checksum: Option<&str>| ConfigCopy {
            file: "/etc/pha4pgsql/config.ini".to_owned(),
            checksum: checksum.map(str::to_owned),
        };
        for (there, state) in [
            (Some("1"), CopyState::Same),
            (Some("2"), CopyState::Other),
            (None, CopyState::Missing),
        ] {
            assert_eq!(copy(there).state(Some("1")), state);
        }
        assert_eq!(copy(None).state(None), CopyState::Missing);
    }

    #[test]
    fn what_differs_is_seen_and_no_secret_is() {
        let first = [
            ("monitor_password", "geheim"),
            ("rep_mode", "sync"),
            ("start_opt", "-c a=1"),
        ];
        let cib = |configuration: &Element| {
            let mut root = Element::parse(EMPTY).unwrap();
            root.children = configuration.children.clone();
            root.to_xml()
        };
        let made = SetupPlan::make(EMPTY, &design(&first)).unwrap();
        let start = cib(&made.after);
        let same = SetupPlan::make(&start, &design(&first)).unwrap().in_force();
        assert!(same.iter().all(|one| one.same), "{same:?}");
        assert!(!format!("{same:?}").contains("geheim"), "{same:?}");

        let second = [
            ("monitor_password", "anders"),
            ("rep_mode", "sync"),
            ("start_opt", "-c a=2"),
        ];
        let plan = SetupPlan::make(&start, &design(&second)).unwrap();
        let differs = |plan: &SetupPlan| {
            let mut lines = plan.in_force();
            lines.retain(|one| !one.same);
            lines
        };
        let lines = differs(&plan);
        let names: Vec<&str> = lines.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["monitor_password", "start_opt"]);
        assert!(!format!("{lines:?}").contains("anders"), "{lines:?}");
        assert_eq!(lines[1].value.as_deref(), Some("\"-c a=1\""));
        assert_eq!(lines[1].wanted.as_deref(), Some("\"-c a=2\""));
        // Half way round one node has the new value already.
        let node2: NodeName = "node2".parse().unwrap();
        let half = plan.with_new_on(&[&node2]);
        let rest = SetupPlan::make(&cib(&half), &design(&second)).unwrap();
        let line = differs(&rest);
        let line = line.iter().find(|one| one.name == "start_opt").unwrap();
        assert_eq!(line.other_on, [node2]);
    }
}

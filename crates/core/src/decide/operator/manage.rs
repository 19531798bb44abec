//! `cls_unmanage` and `cls_manage`: whether Pacemaker knows enough to act on the database again.

use std::collections::BTreeSet;

use super::{Precondition, Refusal, all_hold};
use crate::cluster::{Cluster, ClusterNode};
use crate::message;
use crate::message::Message;
use crate::names::NodeName;
use crate::status::Role;

/// What was seen before the database is given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManageFacts {
    /// The cluster as Pacemaker shows it.
    pub view: Cluster,
    /// The nodes that should run the database.
    pub nodes: Vec<NodeName>,
    /// Those whose promotion score Pacemaker's attribute daemon holds. One that it does not hold goes as soon as the
    /// node has another daemon.
    pub held: BTreeSet<NodeName>,
    /// `--force`: also where Pacemaker then stops PostgreSQL.
    pub force: bool,
}

impl ManageFacts {
    /// Whose promotion score the attribute daemon is to be asked for: nobody's while something is under way, and
    /// nobody's that has none.
    #[must_use]
    pub fn to_be_asked(view: &Cluster) -> Vec<NodeName> {
        if view.all_pending().next().is_some() {
            return Vec::new();
        }
        let scored = |name: &&NodeName| view.node(name).score.is_some();
        view.promoted().filter(scored).cloned().collect()
    }

    fn members(&self) -> impl Iterator<Item = (&NodeName, ClusterNode)> {
        let nodes = self.nodes.iter().map(|name| (name, self.view.node(name)));
        nodes.filter(|(_, node)| node.online)
    }

    fn unscored(&self, name: &NodeName) -> Option<String> {
        let scored = self.view.node(name).score.is_some() && self.held.contains(name);
        (!scored).then(|| format!("no monitor has run on {name} yet"))
    }
}

/// What must be so before anything is changed.
pub const MANAGE_RULES: &[Precondition<ManageFacts>] = &[Precondition {
    id: "manage-stops-nothing",
    says: "No order of cls_stop waits that Pacemaker would carry out as soon as it manages the database, unless --force.",
    check: |facts| {
        let view = &facts.view;
        if facts.force || view.managed || !view.database.stopped_on_purpose {
            return None;
        }
        let runs = |(_, node): &(&NodeName, &ClusterNode)| node.role() != Role::Stopped;
        let running = view.nodes.iter().filter(runs);
        let running: Vec<_> = running.map(|(name, _)| Message::from(name)).collect();
        (!running.is_empty()).then(|| {
            (
                message!(
                    "cls_stop was given, and PostgreSQL runs on {nodes}: Pacemaker would stop it as soon as it manages it",
                    nodes = Message::all(running)
                ),
                message!(
                    "cls_start, which takes that order back, then cls_manage; or cls_manage --force, which lets it be stopped"
                ),
            )
        })
    },
}];

/// What is awaited while the database is not managed.
pub struct NotYet {
    /// A stable name.
    pub id: &'static str,
    /// What it waits for, in one sentence.
    pub says: &'static str,
    /// How it is instead.
    pub check: fn(&ManageFacts) -> Option<String>,
}

/// What is awaited before Pacemaker is made to look again: a monitor that is under way then is cancelled, and counts
/// as a failure.
pub const LOOKED_RULES: &[NotYet] = &[
    NOTHING_CHANGING,
    NotYet {
        id: "manage-looked-at",
        says: "Pacemaker has looked at the database on every member: after a restart of it, or once it has forgotten a failure, that is a probe on each.",
        check: |facts| {
            let (name, _) = facts
                .members()
                .find(|(_, node)| node.database.role.is_none())?;
            Some(format!("{name} has not been looked at yet"))
        },
    },
    NotYet {
        id: "manage-scored",
        says: "A primary whose monitors do not fail has its promotion score, and Pacemaker's attribute daemon holds it: without it the primary would be demoted.",
        check: |facts| {
            let monitored = |node: &ClusterNode| {
                node.role() == Role::Promoted && node.database.last_failure.is_none()
            };
            let mut primaries = facts.members().filter(|(_, node)| monitored(node));
            primaries.find_map(|(name, _)| facts.unscored(name))
        },
    },
];

/// What is awaited besides before the database is given back.
pub const KNOWN_RULES: &[NotYet] = &[
    NotYet {
        id: "manage-primary-scored",
        says: "The primary has its promotion score, also where its monitors had failed.",
        check: |facts| facts.unscored(facts.view.promoted().next()?),
    },
    NotYet {
        id: "manage-primary-known",
        says: "A primary is seen, or every node has joined, on which one could be that is not seen; not where cls_stop was given.",
        check: |facts| {
            let view = &facts.view;
            if view.promoted().next().is_some() || view.database.stopped_on_purpose {
                return None;
            }
            let away = facts.nodes.iter().filter(|name| !view.node(name).online);
            let away: Vec<&str> = away.map(NodeName::as_str).collect();
            (!away.is_empty()).then(|| {
                format!(
                    "no primary is seen, and {} is not in the cluster",
                    away.join(", ")
                )
            })
        },
    },
];

const NOTHING_CHANGING: NotYet = NotYet {
    id: "manage-nothing-changing",
    says: "Nothing is under way, which would be left in the middle.",
    check: |facts| under_way(&facts.view),
};

/// What is under way and would be left in the middle.
#[must_use]
pub fn under_way(view: &Cluster) -> Option<String> {
    let (_, pending) = view.all_pending().next()?;
    Some(format!("{pending} is under way"))
}

/// What may be otherwise than Pacemaker knows.
pub struct Doubt {
    /// A stable name.
    pub id: &'static str,
    /// What is doubtful, in one sentence.
    pub says: &'static str,
    /// Whether it is so.
    pub holds: fn(&ManageFacts) -> bool,
}

/// Where Pacemaker is made to look again: whom a monitor found stopped meanwhile, it would stop and start although it
/// runs again.
pub const DOUBTS: &[Doubt] = &[
    Doubt {
        id: "manage-again-counted",
        says: "A failure of the database or of what is placed with it is counted.",
        holds: |facts| facts.view.our_failures().next().is_some(),
    },
    Doubt {
        id: "manage-again-failed",
        says: "An operation on a member has failed last.",
        holds: |facts| {
            facts.members().any(|(_, node)| {
                let mut states = node.placed.values().chain([&node.database]);
                states.any(|state| state.last_failure.is_some())
            })
        },
    },
    Doubt {
        id: "manage-again-stopped",
        says: "The database is taken for stopped on a member.",
        holds: |facts| {
            let mut members = facts.members();
            members.any(|(_, node)| node.role() == Role::Stopped)
        },
    },
    Doubt {
        id: "manage-again-placed",
        says: "What is placed with the database is taken for stopped on every node.",
        holds: |facts| {
            let mut placed = facts.view.placed.iter();
            placed.any(|placed| !facts.view.runs(&placed.name))
        },
    },
];

/// Whether Pacemaker is to look again before the database is given back; which doubt says so.
#[must_use]
pub fn is_to_look_again(facts: &ManageFacts) -> Option<&'static str> {
    let doubt = DOUBTS.iter().find(|doubt| (doubt.holds)(facts));
    doubt.map(|doubt| doubt.id)
}

/// What is awaited before Pacemaker may be made to look again.
#[must_use]
pub fn not_looked_at(facts: &ManageFacts) -> Option<String> {
    LOOKED_RULES.iter().find_map(|rule| (rule.check)(facts))
}

/// What is awaited before the database may be given back: before a primary has its promotion score, it would be
/// demoted.
#[must_use]
pub fn not_known(facts: &ManageFacts) -> Option<String> {
    let known = || KNOWN_RULES.iter().find_map(|rule| (rule.check)(facts));
    not_looked_at(facts).or_else(known)
}

/// Decides whether the database may be given back into Pacemaker's control.
///
/// # Errors
/// The first precondition that does not hold.
pub fn may_be_managed(facts: &ManageFacts) -> Result<(), Box<Refusal>> {
    all_hold(MANAGE_RULES, facts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cluster::{Count, FailCount, Resource};
    use crate::parse::cib::{Failure, Pending};
    use crate::status::Score;

    fn name(text: &str) -> NodeName {
        text.parse().unwrap()
    }

    fn node<'f>(facts: &'f mut ManageFacts, name: &str) -> &'f mut ClusterNode {
        facts.view.nodes.entry(name.parse().unwrap()).or_default()
    }

    fn failure() -> Failure {
        Failure {
            operation: "monitor".to_owned(),
            code: 7,
            reason: None,
        }
    }

    /// node1 is the primary, node2 a standby, and an address runs beside the primary.
    fn facts() -> ManageFacts {
        let mut facts = ManageFacts {
            view: Cluster::default(),
            nodes: vec![name("node1"), name("node2")],
            held: [name("node1")].into(),
            force: false,
        };
        for (name, role) in [("node1", Role::Promoted), ("node2", Role::Unpromoted)] {
            let node = node(&mut facts, name);
            node.online = true;
            node.database.role = Some(role);
        }
        let primary = node(&mut facts, "node1");
        primary.score = Some(Score::Primary);
        let address = primary.placed.entry("vip".parse().unwrap()).or_default();
        address.role = Some(Role::Unpromoted);
        facts.view.placed.push(Resource {
            name: "vip".parse().unwrap(),
            ..Resource::default()
        });
        facts
    }

    type Change = fn(&mut ManageFacts);

    fn awaits(rules: &[NotYet], facts: &ManageFacts) -> Option<&'static str> {
        let rule = rules.iter().find(|rule| (rule.check)(facts).is_some());
        rule.map(|rule| rule.id)
    }

    #[test]
    fn what_is_not_known_is_awaited() {
        assert_eq!(not_known(&facts()), None);
        let cases: [(&str, bool, Change); 6] = [
            ("manage-nothing-changing", true, |f| {
                node(f, "node2").database.pending = Some(Pending {
                    operation: "start".to_owned(),
                });
            }),
            ("manage-looked-at", true, |f| {
                node(f, "node2").database.role = None;
            }),
            ("manage-scored", true, |f| node(f, "node1").score = None),
            ("manage-scored", true, |f| f.held.clear()),
            ("manage-primary-scored", false, |f| {
                let primary = node(f, "node1");
                primary.database.last_failure = Some(failure());
                primary.score = None;
            }),
            ("manage-primary-known", false, |f| {
                node(f, "node1").online = false;
            }),
        ];
        for (id, before_a_look, change) in &cases {
            let mut facts = facts();
            change(&mut facts);
            let looked = awaits(LOOKED_RULES, &facts);
            assert_eq!(looked, before_a_look.then_some(*id), "{facts:?}");
            assert_eq!(not_looked_at(&facts).is_some(), *before_a_look, "{id}");
            assert!(not_known(&facts).is_some(), "{id}");
            let all = looked.or_else(|| awaits(KNOWN_RULES, &facts));
            assert_eq!(all, Some(*id));
        }
        for rule in LOOKED_RULES.iter().chain(KNOWN_RULES) {
            assert!(cases.iter().any(|(id, ..)| *id == rule.id), "{}", rule.id);
        }
    }

    #[test]
    fn a_node_that_is_away_matters_only_where_a_primary_could_be_on_it() {
        let mut away = facts();
        node(&mut away, "node2").online = false;
        node(&mut away, "node2").database.role = None;
        assert_eq!(not_known(&away), None, "the primary is seen");
        let mut stopped = facts();
        node(&mut stopped, "node1").online = false;
        stopped.view.database.stopped_on_purpose = true;
        assert_eq!(not_known(&stopped), None, "there is to be none");
    }

    #[test]
    fn the_daemon_is_asked_for_a_score_that_there_is() {
        let mut facts = facts();
        assert_eq!(ManageFacts::to_be_asked(&facts.view), [name("node1")]);
        node(&mut facts, "node1").score = None;
        assert_eq!(ManageFacts::to_be_asked(&facts.view), []);
        node(&mut facts, "node1").score = Some(Score::Primary);
        node(&mut facts, "node2").database.pending = Some(Pending {
            operation: "start".to_owned(),
        });
        assert_eq!(ManageFacts::to_be_asked(&facts.view), []);
    }

    #[test]
    fn what_may_be_otherwise_is_looked_at_again() {
        assert_eq!(is_to_look_again(&facts()), None);
        let cases: [(&str, Change); 5] = [
            ("manage-again-counted", |f| {
                f.view.failures.push(FailCount {
                    resource: "vip".to_owned(),
                    node: name("node1"),
                    operation: "start".to_owned(),
                    count: Count::Infinity,
                    threshold: None,
                });
            }),
            ("manage-again-failed", |f| {
                node(f, "node1").database.last_failure = Some(failure());
            }),
            ("manage-again-failed", |f| {
                let placed = &mut node(f, "node1").placed;
                placed.values_mut().next().unwrap().last_failure = Some(failure());
            }),
            ("manage-again-stopped", |f| {
                node(f, "node2").database.role = Some(Role::Stopped);
            }),
            ("manage-again-placed", |f| node(f, "node1").placed.clear()),
        ];
        for (id, change) in &cases {
            let mut facts = facts();
            change(&mut facts);
            assert_eq!(is_to_look_again(&facts), Some(*id), "{facts:?}");
        }
        for doubt in DOUBTS {
            assert!(cases.iter().any(|(id, _)| *id == doubt.id), "{}", doubt.id);
        }
        // What is recorded of a node that is away is no news of it.
        let mut away = facts();
        node(&mut away, "node2").online = false;
        node(&mut away, "node2").database.last_failure = Some(failure());
        assert_eq!(is_to_look_again(&away), None);
    }

    #[test]
    fn an_order_that_would_stop_postgresql_is_refused_unless_it_is_meant() {
        let mut facts = facts();
        facts.view.managed = false;
        assert_eq!(may_be_managed(&facts), Ok(()));
        facts.view.database.stopped_on_purpose = true;
        let refusal = may_be_managed(&facts).unwrap_err();
        assert_eq!(refusal.id, "manage-stops-nothing");
        assert!(refusal.to_string().contains("node1"), "{refusal}");
        let forced = ManageFacts {
            force: true,
            ..facts.clone()
        };
        assert_eq!(may_be_managed(&forced), Ok(()));
        facts.view.managed = true;
        assert_eq!(may_be_managed(&facts), Ok(()), "it was given back already");
        facts.view.managed = false;
        for node in facts.view.nodes.values_mut() {
            node.database.role = Some(Role::Stopped);
        }
        assert_eq!(may_be_managed(&facts), Ok(()), "nothing runs");
    }
}

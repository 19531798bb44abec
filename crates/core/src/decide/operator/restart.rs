//! The planned restart of PostgreSQL: on one node after the other, the standbys first, and the primary
//! last, when a standby has taken its part (R9).
//!
//! A standby that is restarted is one that commits do not wait for meanwhile, as after any other loss of
//! a standby. So the next one is taken only when the first streams again. The primary is not restarted in
//! place: writes would stand still until it has stopped, started and been promoted again, while a switch
//! to a standby that has the new settings already costs no more than any other switch does.
//!
//! A standby needs at least as much of some settings as its primary has ([`Limits`]). Where one of them is
//! raised the standbys are first, as always. Where one is lowered the primary has to be first, and in
//! place: of several nodes the one that is opened next gives all others what they need, and a standby that
//! takes over is opened with what its old primary had. So everything is stopped and started; the standbys
//! begin with the old values, and are restarted once more when the primary has the new ones.

use std::collections::BTreeMap;
use std::fmt;

use super::{Broken, Precondition, Refusal, all_hold, mend_archive, unread};
use crate::limits::Limits;
use crate::message;
use crate::message::Message;
use crate::names::NodeName;
use crate::postgres::Archiving;
use crate::register::{Reading, Seen, names_primary};

/// PostgreSQL on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartInstance {
    /// The node.
    pub node: NodeName,
    /// It is the primary; otherwise a standby.
    pub promoted: bool,
    /// A standby streams from the primary.
    pub streams: bool,
    /// Commits wait for it.
    pub synchronous: bool,
    /// It has to be restarted.
    pub due: bool,
    /// The limits that it runs with; none where they are not known.
    pub here: Option<Limits>,
    /// Those that its settings would give it from a start on, the same.
    pub next: Option<Limits>,
}

/// What was observed before the restart begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartFacts {
    /// PostgreSQL where it runs.
    pub instances: Vec<RestartInstance>,
    /// Whether Pacemaker acts on the database and what is placed with it.
    pub managed: bool,
    /// Failed operations that were not cleaned up, on the nodes where PostgreSQL runs.
    pub failures: Vec<String>,
    /// The register; none without the built-in lock service.
    pub register: Option<Reading>,
    /// How far the cluster was told that the register has come.
    pub seen: Option<Seen>,
    /// Why all must be restarted together, where they must.
    pub together: Option<String>,
    /// What runs on the primary and would be cut off: base backups, long transactions.
    pub busy: Vec<String>,
    /// What the primary has to archive before it stops; none where that is not known.
    pub archiving: Option<Archiving>,
    /// The errors of PostgreSQL's files because of which it takes up no change of its settings, by node, of those that
    /// have answered.
    pub file_errors: BTreeMap<NodeName, Vec<String>>,
    /// `--force`: also then.
    pub force: bool,
}

/// How PostgreSQL is restarted.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Course {
    /// One node after the other.
    Rolling {
        /// The standbys, in their order.
        standbys: Vec<NodeName>,
        /// The primary, which becomes a standby before it is restarted.
        primary: Option<NodeName>,
    },
    /// Everything is stopped, and then started.
    Together {
        /// Why it has to be so.
        why: String,
        /// The nodes.
        nodes: Vec<NodeName>,
        /// The standbys that are restarted once more, one after the other, when the primary has the new
        /// settings.
        again: Vec<NodeName>,
    },
}

impl Course {
    /// Whether this, which is decided now, is what is left of `begun` when that goes on with `node`.
    #[must_use]
    pub fn goes_on(&self, begun: &Self, node: &NodeName) -> bool {
        match (self, begun) {
            (Self::Rolling { standbys, primary }, Self::Rolling { primary: begun, .. }) => {
                standbys.contains(node) && primary == begun
            }
            _ => false,
        }
    }
}

fn list(nodes: &[NodeName]) -> String {
    let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
    names.join(", then ")
}

impl fmt::Display for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rolling { standbys, primary } => {
                let mut steps = Vec::new();
                if !standbys.is_empty() {
                    steps.push(format!("PostgreSQL restarts on {}", list(standbys)));
                }
                if let Some(primary) = primary {
                    steps.push(format!(
                        "another node becomes primary in place of {primary} (a planned switch: connections are cut, writes stand still for seconds)"
                    ));
                    steps.push(format!("PostgreSQL restarts on {primary}"));
                }
                f.write_str(&steps.join("; then "))
            }
            Self::Together { why, nodes, again } => {
                let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
                write!(
                    f,
                    "PostgreSQL is stopped on {} and started again, nothing can be read or written meanwhile: {why}",
                    names.join(" and ")
                )?;
                match again.is_empty() {
                    true => Ok(()),
                    false => write!(f, "; then PostgreSQL restarts once more on {}", list(again)),
                }
            }
        }
    }
}

/// The preconditions, in their order. A restart that begins in disorder would not end well.
pub const RESTART_RULES: &[Precondition<RestartFacts>] = &[
    Precondition {
        id: "restart-managed",
        says: "Pacemaker manages the database and what is placed with it.",
        check: |facts| {
            (!facts.managed).then(|| (
                message!(
                    "Pacemaker does not manage the database, so it would restart nothing now, and everything as soon as it does"
                ),
                message!("cls_manage, then try again"),
            ))
        },
    },
    Precondition {
        id: "restart-no-failures",
        says: "No failed operation is on record that would keep Pacemaker from starting what it has stopped.",
        check: |facts| {
            (!facts.failures.is_empty()).then(|| (
                message!(
                    "failures are on record, which would keep Pacemaker from starting what it has stopped: {failures}",
                    failures = facts.failures.join(", ")
                ),
                message!("mend the cause, then cls_cleanup"),
            ))
        },
    },
    Precondition {
        id: "restart-files",
        says: "PostgreSQL can read the files of its settings on every node: it could not be started again otherwise, and a primary could not let a standby go that is restarted.",
        check: |facts| {
            let mut nodes = facts.instances.iter().map(|one| &one.node);
            nodes.find_map(|node| unread(&facts.file_errors, node))
        },
    },
    Precondition {
        id: "restart-archive",
        says: "The stop of a primary that is restarted need not wait for its archive, unless --force.",
        check: |facts| {
            let asked = facts.cuts_off() && !facts.force;
            let late = facts
                .archiving
                .filter(|archiving| asked && archiving.is_late())?;
            let late = late.to_string();
            Some((
                message!(
                    "the primary's stop would wait for its archive: {late}",
                    late
                ),
                mend_archive(),
            ))
        },
    },
    Precondition {
        id: "restart-busy",
        says: "No base backup and no long transaction on a primary that is restarted would be cut off, unless --force.",
        check: |facts| {
            (facts.cuts_off() && !facts.force && !facts.busy.is_empty()).then(|| {
                (
                    message!(
                        "the restart would cut off: {busy}",
                        busy = facts.busy.join(", ")
                    ),
                    message!("wait for its end, or add --force"),
                )
            })
        },
    },
    Precondition {
        id: "restart-streaming",
        says: "Every standby streams from the primary, unless all are restarted together.",
        check: |facts| {
            let primary = facts.rolls()?;
            let behind = facts.standbys().find(|one| !one.streams)?;
            Some((
                message!(
                    "{node} does not stream from {primary}: it may not come back from a restart, and could not take over",
                    node = behind.node,
                    primary = primary.node
                ),
                message!("cls_status says what it needs"),
            ))
        },
    },
    Precondition {
        id: "restart-register",
        says: "Where a standby is restarted, the register can be read and names the primary as its owner: without it the primary could not go on without its synchronous standby (R3).",
        check: |facts| {
            let primary = &facts.rolls()?.node;
            facts.due_standbys().first()?;
            let reading = facts.register.as_ref()?;
            let why = names_primary(reading, None, facts.seen, primary).err()?;
            Some((
                message!(
                    "commits could stand still while a standby restarts: {why}",
                    why = why.advised()
                ),
                why.before_again(),
            ))
        },
    },
    Precondition {
        id: "restart-limits",
        says: "No standby is restarted with lower limits (max_connections …) than its primary has.",
        check: not_enough_for_standbys,
    },
];

impl RestartFacts {
    /// Whether the primary's sessions end.
    fn cuts_off(&self) -> bool {
        self.instances.iter().any(|one| one.promoted && one.due)
    }

    fn standbys(&self) -> impl Iterator<Item = &RestartInstance> {
        self.instances.iter().filter(|one| !one.promoted)
    }

    /// Those that are restarted: when the one that commits wait for is, another one that is done can take its
    /// part.
    fn due_standbys(&self) -> Vec<&RestartInstance> {
        let mut due: Vec<_> = self.standbys().filter(|one| one.due).collect();
        due.sort_by_key(|one| one.synchronous);
        due
    }

    /// The only primary.
    fn primary(&self) -> Option<&RestartInstance> {
        let mut promoted = self.instances.iter().filter(|one| one.promoted);
        promoted.next().filter(|_| promoted.next().is_none())
    }

    /// Why everything is stopped and started, whatever the limits are.
    fn at_once(&self) -> Option<&str> {
        match (&self.together, self.primary()) {
            (Some(why), _) => Some(why),
            (None, None) => Some("there is no primary"),
            (None, Some(primary)) => (primary.due && self.standbys().next().is_none())
                .then_some("no standby runs that could take over meanwhile"),
        }
    }

    /// The primary, where the restart goes from node to node.
    fn rolls(&self) -> Option<&RestartInstance> {
        self.primary().filter(|_| self.at_once().is_none())
    }
}

/// Decides how PostgreSQL is restarted.
///
/// # Errors
/// The first precondition that does not hold.
pub fn plan_restart(facts: &RestartFacts) -> Result<Course, Box<Refusal>> {
    all_hold(RESTART_RULES, facts)?;
    let together = |why: String, again| Course::Together {
        why,
        nodes: facts.instances.iter().map(|one| one.node.clone()).collect(),
        again,
    };
    let Some(primary) = facts.rolls() else {
        let why = facts.at_once().unwrap_or_default();
        return Ok(together(why.to_owned(), Vec::new()));
    };
    let due = facts.due_standbys().into_iter();
    let standbys = due.map(|one| one.node.clone()).collect();
    Ok(match lowered(primary) {
        Some(why) => together(why, standbys),
        None => Course::Rolling {
            standbys,
            primary: primary.due.then(|| primary.node.clone()),
        },
    })
}

/// Which limits the primary will have less of, where it is restarted.
fn lowered(primary: &RestartInstance) -> Option<String> {
    let (here, next) = (primary.here?, primary.next.filter(|_| primary.due)?);
    let lowered: Vec<String> = next
        .less_than(here)
        .map(|(name, next, here)| format!("{name} goes down from {here} to {next}"))
        .collect();
    (!lowered.is_empty()).then(|| {
        format!(
            "{}, which the primary has to do first, and in place",
            lowered.join(", ")
        )
    })
}

/// A standby that is restarted with less than its primary has would go on with the primary's values.
fn not_enough_for_standbys(facts: &RestartFacts) -> Option<Broken> {
    let primary = facts.rolls()?;
    let needed = if primary.due {
        primary.next?
    } else {
        primary.here?
    };
    facts.due_standbys().into_iter().find_map(|standby| {
        let less: Vec<Message> = standby
            .next?
            .less_than(needed)
            .map(|(name, next, needed)| {
                message!(
                    "{name} = {next} on {node} and {needed} on the primary {primary}",
                    name,
                    next,
                    node = standby.node,
                    needed,
                    primary = primary.node
                )
            })
            .collect();
        (!less.is_empty()).then(|| (
            message!(
                "a standby needs at least as much as its primary has, and there would be {less}",
                less = Message::several(less)
            ),
            message!(
                "give both nodes the same value (in SQL on each: alter system set …; select pg_reload_conf()), then give the command again for all nodes"
            ),
        ))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::register::{Register, Trouble};

    fn instance(node: &str, promoted: bool) -> RestartInstance {
        RestartInstance {
            node: node.parse().unwrap(),
            promoted,
            streams: !promoted,
            synchronous: node == "node2",
            due: true,
            here: None,
            next: None,
        }
    }

    fn connections(number: u32) -> Option<Limits> {
        Some(Limits::from_values([number, 8, 10, 0, 64]))
    }

    /// With these numbers of connections now and after a restart, by node.
    fn limited(values: [(u32, u32); 3]) -> RestartFacts {
        let mut facts = three();
        for (instance, (here, next)) in facts.instances.iter_mut().zip(values) {
            (instance.here, instance.next) = (connections(here), connections(next));
        }
        facts
    }

    #[test]
    fn a_raised_limit_is_first_on_the_standbys_and_a_lowered_one_on_the_primary() {
        let raised = plan_restart(&limited([(100, 200); 3])).unwrap();
        assert_eq!(raised, plan_restart(&three()).unwrap());
        let lowered = plan_restart(&limited([(100, 50); 3])).unwrap();
        assert_eq!(
            lowered.to_string(),
            "PostgreSQL is stopped on node1 and node2 and node3 and started again, nothing can be read or written meanwhile: max_connections goes down from 100 to 50, which the primary has to do first, and in place; then PostgreSQL restarts once more on node3, then node2"
        );
        // The primary has it already: the standbys are left, one after the other.
        let mut rest = limited([(50, 50), (100, 50), (100, 50)]);
        rest.instances[0].due = false;
        let course = plan_restart(&rest).unwrap();
        assert!(
            matches!(&course, Course::Rolling { standbys, primary: None } if standbys.len() == 2),
            "{course}"
        );
    }

    #[test]
    fn a_standby_does_not_get_less_than_its_primary_has() {
        // Lowered on the standbys alone, and raised on the primary alone.
        for values in [
            [(100, 100), (100, 50), (100, 50)],
            [(100, 200), (100, 100), (100, 100)],
        ] {
            let refusal = plan_restart(&limited(values)).unwrap_err();
            assert_eq!(refusal.id, "restart-limits");
            assert!(
                refusal.what.to_string().contains("on node3 and"),
                "{}",
                refusal.what
            );
        }
        // Asked for the standby alone, before the primary has come down.
        let mut alone = limited([(100, 50); 3]);
        alone.instances[0].due = false;
        assert_eq!(plan_restart(&alone).unwrap_err().id, "restart-limits");
        // What is not restarted keeps what it has.
        alone.instances[0].due = true;
        alone.instances[1].due = false;
        alone.instances[2].due = false;
        let course = plan_restart(&alone).unwrap();
        assert!(matches!(course, Course::Together { again, .. } if again.is_empty()));
    }

    fn three() -> RestartFacts {
        RestartFacts {
            instances: vec![
                instance("node1", true),
                instance("node2", false),
                instance("node3", false),
            ],
            managed: true,
            failures: Vec::new(),
            register: Some(Reading::Row(Register {
                owner: Some("node1".parse().unwrap()),
                term: 1,
                ..Register::fresh()
            })),
            seen: None,
            together: None,
            busy: Vec::new(),
            archiving: None,
            file_errors: BTreeMap::new(),
            force: false,
        }
    }

    #[test]
    fn the_primary_is_last_and_the_synchronous_standby_before_it() {
        let course = plan_restart(&three()).unwrap();
        assert_eq!(
            course.to_string(),
            "PostgreSQL restarts on node3, then node2; then another node becomes primary in place of node1 (a planned switch: connections are cut, writes stand still for seconds); then PostgreSQL restarts on node1"
        );
        // Interrupted after the switch: only the old primary is left.
        let mut facts = three();
        facts.instances[0].due = false;
        facts.instances[1].due = false;
        let Course::Rolling { standbys, primary } = plan_restart(&facts).unwrap() else {
            panic!("not rolling")
        };
        assert_eq!((standbys.len(), primary), (1, None));
    }

    #[test]
    fn what_cannot_go_round_is_said() {
        let mut alone = three();
        alone.instances.truncate(1);
        let course = plan_restart(&alone).unwrap().to_string();
        assert!(
            course.contains("stopped on node1 and started again"),
            "{course}"
        );
        let mut none = three();
        none.instances.remove(0);
        let course = plan_restart(&none).unwrap().to_string();
        assert!(course.contains("node2 and node3"), "{course}");
        let mut port = three();
        port.together = Some("pgport changes".to_owned());
        let course = plan_restart(&port).unwrap();
        assert!(matches!(course, Course::Together { nodes, .. } if nodes.len() == 3));
    }

    #[test]
    fn a_restart_does_not_begin_in_disorder() {
        type Spoil = fn(&mut RestartFacts);
        let broken: [(&str, Spoil); 10] = [
            ("restart-files", |facts| {
                let error = vec!["postgresql.conf line 1: a_word".to_owned()];
                facts.file_errors.insert("node2".parse().unwrap(), error);
            }),
            ("restart-archive", |facts| {
                facts.archiving = Some(Archiving {
                    waiting: 1,
                    oldest: Duration::from_secs(60),
                });
            }),
            ("restart-busy", |facts| {
                facts.busy.push("a backup runs".to_owned());
            }),
            ("restart-managed", |facts| facts.managed = false),
            ("restart-no-failures", |facts| {
                facts.failures.push("start of pgsql on node2".to_owned());
            }),
            ("restart-streaming", |facts| {
                facts.instances[2].streams = false
            }),
            ("restart-register", |facts| {
                facts.register = Some(Reading::Missing);
            }),
            ("restart-register", |facts| {
                let away = Trouble::Unreachable("no route".to_owned());
                facts.register = Some(Reading::Unknown(away));
            }),
            ("restart-register", |facts| {
                facts.register = Some(Reading::Row(Register::fresh()));
            }),
            // It was put back to before what the cluster has seen.
            ("restart-register", |facts| {
                facts.seen = Some(Seen { term: 9, epoch: 9 });
            }),
        ];
        for (id, spoil) in broken {
            let mut facts = three();
            spoil(&mut facts);
            assert_eq!(plan_restart(&facts).unwrap_err().id, id);
        }
        for rule in RESTART_RULES {
            let limits = rule.id == "restart-limits"; // has a test of its own
            let tried = limits || broken.iter().any(|(id, _)| *id == rule.id);
            assert!(tried, "{} is not tried", rule.id);
        }
        // What runs on the primary is none of the standbys' business, or cut off knowingly.
        let mut busy = three();
        busy.busy.push("a backup runs".to_owned());
        busy.force = true;
        assert!(plan_restart(&busy).is_ok());
        busy.force = false;
        busy.instances[0].due = false;
        assert!(plan_restart(&busy).is_ok());
    }

    #[test]
    fn it_goes_on_only_as_it_was_begun() {
        let begun = plan_restart(&three()).unwrap();
        let node2: NodeName = "node2".parse().unwrap();
        let mut next = three();
        next.instances[2].due = false;
        assert!(plan_restart(&next).unwrap().goes_on(&begun, &node2));
        // A takeover meanwhile: node2 is the primary now, and not to be restarted as a standby.
        next.register = None;
        next.instances[0].promoted = false;
        next.instances[0].streams = true;
        next.instances[1].promoted = true;
        assert!(!plan_restart(&next).unwrap().goes_on(&begun, &node2));
        let mut port = three();
        port.together = Some("pgport changes".to_owned());
        assert!(!plan_restart(&port).unwrap().goes_on(&begun, &node2));
    }
}

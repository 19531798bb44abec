//! The planned switch: rule R9.
//!
//! In synchronous mode a holder has every acknowledged commit before the old primary is stopped, and R1 lets
//! it promote. Any other standby, and every one in asynchronous mode, is promoted only after the stopped
//! primary has seen that it has received everything, and has handed the register over to it
//! ([`super::plan_hand_over`]). A fast shutdown sends everything up to the shutdown checkpoint to connected
//! standbys and waits until they have flushed it (PostgreSQL manual, "Shutting Down the Server"), so that
//! there is nothing that keeps it from that.
//!
//! Without the built-in lock service nothing can be handed over: that the old primary can follow is then the
//! proof, afterwards.

use std::collections::BTreeMap;

use super::{Broken, Refusal, mend_archive, not_borne_out, unread};
use crate::message;
use crate::message::Message;
use crate::names::NodeName;
use crate::params::Mode;
use crate::postgres::Archiving;
use crate::register::{Reading, Seen, names_primary};

/// A standby as a possible successor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchStandby {
    /// Its node.
    pub node: NodeName,
    /// The database runs there as a standby.
    pub running: bool,
    /// Its data status says that it streams.
    pub streaming: bool,
    /// Its data status says that commits wait for it.
    pub synchronous: bool,
    /// Its promotion score lets Pacemaker promote it.
    pub promotable: bool,
    /// Why it could not open for writing, where it says so (R14).
    pub unfit: Option<String>,
    /// The constraint that keeps it from being promoted.
    pub barred: Option<String>,
    /// Bytes of WAL that it has not flushed; none where that is not known.
    pub lag: Option<u64>,
}

/// What was observed before the switch begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchFacts {
    /// `--to`.
    pub to: Option<NodeName>,
    /// `--force`: also with long transactions or a base backup.
    pub force: bool,
    /// How the resource replicates.
    pub mode: Mode,
    /// The nodes that should run the database.
    pub nodes: Vec<NodeName>,
    /// Those of them that are not members of the cluster, or in standby or maintenance.
    pub absent: Vec<NodeName>,
    /// The nodes on which the database is promoted.
    pub promoted: Vec<NodeName>,
    /// The other nodes.
    pub standbys: Vec<SwitchStandby>,
    /// The register; none without the built-in lock service.
    pub register: Option<Reading>,
    /// How far the cluster was told that the register has come.
    pub seen: Option<Seen>,
    /// Operations that Pacemaker is at, and why nothing would happen now (not managed).
    pub pending: Vec<String>,
    /// Failed operations that were not cleaned up.
    pub failures: Vec<String>,
    /// What runs on the primary and would be cut off: base backups, long transactions.
    pub busy: Vec<String>,
    /// What the primary has to archive before it stops; none where that is not known.
    pub archiving: Option<Archiving>,
    /// The errors of PostgreSQL's files because of which it takes up no change of its settings, by node, of those that
    /// have answered.
    pub file_errors: BTreeMap<NodeName, Vec<String>>,
}

/// The switch that will be made.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchPlan {
    /// The present primary.
    pub from: NodeName,
    /// The next one.
    pub to: NodeName,
    /// It is promoted only after the stopped primary has handed the register over to it.
    pub hand_over: bool,
}

/// How many bytes a successor that commits do not wait for may be behind when the switch begins: what the fast
/// shutdown then sends in an instant.
const CAUGHT_UP: u64 = 16 << 20;

/// One precondition of a switch.
pub struct SwitchRule {
    /// A stable name.
    pub id: &'static str,
    /// What it asks for, in one sentence.
    pub says: &'static str,
    /// It is asked for also where the node is the primary already, and nothing will be done.
    pub always: bool,
    /// What is not so, and what to type.
    pub check: fn(&SwitchFacts) -> Option<Broken>,
}

/// The rule by which the successor is chosen.
const SUCCESSOR: &str = "switch-successor";

/// The preconditions, in their order.
pub const SWITCH_RULES: &[SwitchRule] = &[
    SwitchRule {
        id: "switch-replicated",
        says: "The database must be replicated.",
        always: true,
        check: |facts| {
            (!facts.mode.replicated()).then(|| {
                (
                    message!(
                        "the database is not replicated, so there is no other node to switch to"
                    ),
                    message!("set rep_mode to sync or async in config.ini, then cls_setup"),
                )
            })
        },
    },
    SwitchRule {
        id: "switch-one-primary",
        says: "Exactly one node is promoted.",
        always: false,
        check: |facts| match facts.promoted.len() {
            1 => None,
            0 => Some((
                message!("there is no primary to switch from"),
                message!("cls_status says what it needs"),
            )),
            _ => Some((
                message!("several nodes are promoted at the same time"),
                message!("cls_status on every node"),
            )),
        },
    },
    SwitchRule {
        id: "switch-known-node",
        says: "The successor is a node of the cluster.",
        always: false,
        check: |facts| {
            let to = facts.to.as_ref()?;
            (!facts.nodes.contains(to)).then(|| {
                let nodes: Vec<&str> = facts.nodes.iter().map(NodeName::as_str).collect();
                let nodes = nodes.join(", ");
                (
                    message!("{node} is not one of the database's nodes", node = to),
                    message!("one of {nodes} is expected", nodes),
                )
            })
        },
    },
    SwitchRule {
        id: "switch-nodes-alive",
        says: "The primary and a successor are there and in service; another node may be away, and follows when it is back.",
        always: false,
        check: |facts| {
            let away = |node: &&NodeName| facts.absent.contains(*node);
            let others = facts
                .nodes
                .iter()
                .filter(|node| !facts.promoted.contains(*node));
            let needed = facts.to.as_ref().filter(|to| facts.nodes.contains(*to));
            let missing: Vec<&NodeName> = match needed {
                Some(to) => facts.promoted.iter().chain([to]).filter(away).collect(),
                // One of them is enough.
                None if others.clone().all(|node| away(&node)) => others.collect(),
                None => facts.promoted.iter().filter(away).collect(),
            };
            let missing: Vec<&str> = missing.into_iter().map(NodeName::as_str).collect();
            (!missing.is_empty()).then(|| {
                (
                    message!("{node} is not in service", node = missing.join(", ")),
                    message!("bring it back first; cls_status says how"),
                )
            })
        },
    },
    SwitchRule {
        id: "switch-settled",
        says: "Pacemaker manages the database and is not at work on it.",
        always: false,
        check: |facts| {
            (!facts.pending.is_empty()).then(|| {
                (
                    Message::from(facts.pending.join(", ")),
                    message!("wait until it is done (or cls_manage), then try again"),
                )
            })
        },
    },
    SwitchRule {
        id: "switch-no-failures",
        says: "No failed operation is on record that would keep Pacemaker from using a node.",
        always: false,
        check: |facts| {
            (!facts.failures.is_empty()).then(|| {
                (
                    message!(
                        "failures are on record: {failures}",
                        failures = facts.failures.join(", ")
                    ),
                    message!("mend the cause, then cls_cleanup"),
                )
            })
        },
    },
    SwitchRule {
        id: "switch-register",
        says: "The register can be read and names the primary as its owner.",
        always: false,
        check: |facts| {
            let primary = facts.promoted.first()?;
            let reading = facts.register.as_ref()?;
            let why = names_primary(reading, None, facts.seen, primary).err()?;
            Some(not_borne_out(&why, primary, |why| {
                message!("the successor could not be promoted now: {why}", why)
            }))
        },
    },
    SwitchRule {
        id: SUCCESSOR,
        says: "The successor runs, streams and may be promoted. It holds every acknowledged commit, or it has caught up: in asynchronous mode, and with the built-in lock service where it was asked for.",
        always: false,
        check: no_successor,
    },
    SwitchRule {
        id: "switch-files",
        says: "PostgreSQL on the primary can read the files of its settings: as a standby it could not be started otherwise.",
        always: false,
        check: |facts| unread(&facts.file_errors, facts.promoted.first()?),
    },
    SwitchRule {
        id: "switch-archive",
        says: "The primary's stop need not wait for its archive, unless --force.",
        always: false,
        check: |facts| {
            let late = facts
                .archiving
                .filter(|archiving| !facts.force && archiving.is_late())?;
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
    SwitchRule {
        id: "switch-busy",
        says: "No base backup and no long transaction would be cut off, unless --force.",
        always: false,
        check: |facts| {
            (!facts.force && !facts.busy.is_empty()).then(|| {
                (
                    message!(
                        "the switch would cut off: {busy}",
                        busy = facts.busy.join(", ")
                    ),
                    message!("wait for its end, or give --force"),
                )
            })
        },
    },
];

/// Why a standby cannot be the successor now.
fn unfit(facts: &SwitchFacts, standby: &SwitchStandby) -> Option<Message> {
    let node = &standby.node;
    if facts.absent.contains(node) {
        return Some(message!("{node} is not in service", node));
    }
    if !standby.running {
        return Some(message!("the database does not run on {node}", node));
    }
    if !standby.streaming {
        return Some(message!("{node} does not stream from the primary", node));
    }
    let handed_over = hands_over(facts, standby);
    if facts.mode == Mode::Sync && !holds(facts, standby) {
        match facts.register {
            None => return Some(message!("{node} is no synchronous standby", node)),
            Some(_) if facts.to.as_ref() != Some(node) => {
                return Some(message!(
                    "{node} does not hold every acknowledged commit (it is no holder)",
                    node
                ));
            }
            Some(_) => {}
        }
    }
    if let Some(why) = &standby.unfit {
        return Some(message!(
            "{node} could not open for writing: {why}",
            node,
            why
        ));
    }
    // Its own monitor sees it later than this.
    if let Some((why, _)) = unread(&facts.file_errors, node) {
        return Some(why);
    }
    if let Some(constraint) = &standby.barred {
        return Some(message!(
            "the constraint {constraint} keeps {node} from being promoted",
            constraint,
            node
        ));
    }
    // One that is no holder may be promoted once the register was handed over.
    let opens_then = facts.mode == Mode::Sync && handed_over;
    if !standby.promotable && !opens_then {
        return Some(message!(
            "{node} may not be promoted now (its promotion score)",
            node
        ));
    }
    let has_everything = facts.mode == Mode::Sync && !handed_over;
    match standby.lag {
        _ if has_everything => None,
        None => Some(message!("it is not known how far {node} is behind", node)),
        Some(lag) if lag > CAUGHT_UP => Some(message!("{node} is {lag} bytes behind", node, lag)),
        Some(_) => None,
    }
}

/// Whether the stopped primary hands the register over to it before it is promoted.
fn hands_over(facts: &SwitchFacts, standby: &SwitchStandby) -> bool {
    facts.register.is_some() && (facts.mode == Mode::Async || !holds(facts, standby))
}

/// Whether commits wait for it: by the register, and without one by its data status.
fn holds(facts: &SwitchFacts, standby: &SwitchStandby) -> bool {
    match &facts.register {
        Some(Reading::Row(row)) => row.holders.contains(&standby.node),
        _ => standby.synchronous,
    }
}

/// How the node that was asked for becomes the one that commits wait for, where it is well and nothing else is
/// missing. Without a register nothing can be handed over to it.
fn way_to_hold(facts: &SwitchFacts, why: &Message) -> Option<Broken> {
    let (to, primary) = (facts.to.as_ref()?, facts.promoted.first()?);
    let well = |standby: &&SwitchStandby| standby.running && standby.streaming;
    let mut asked = facts.standbys.iter().filter(well);
    let asked = asked.find(|standby| standby.node == *to)?;
    if facts.mode != Mode::Sync || facts.register.is_some() || holds(facts, asked) {
        return None;
    }
    let mut others = facts.standbys.iter().filter(well);
    Some(match others.find(|standby| holds(facts, standby)) {
        None => (
            why.clone(),
            message!(
                "wait until cls_status shows HS:sync for {to}, then try again",
                to
            ),
        ),
        Some(SwitchStandby { node: other, .. }) => (
            message!(
                "{to} is not known to have every acknowledged commit: {primary} and {other} have, since commits wait for {other}",
                to,
                primary,
                other
            ),
            message!(
                "cls_online_switch --to {other}; or make {to} the one that commits wait for: cls_standby_node {other}, cls_status until it shows HS:sync for {to}, cls_unstandby_node {other}, then try again",
                other,
                to
            ),
        ),
    })
}

fn no_successor(facts: &SwitchFacts) -> Option<Broken> {
    let hint = || message!("cls_status says what each standby needs");
    if facts.promoted.first() == facts.to.as_ref() {
        return None; // nothing will be done
    }
    let candidates: Vec<&SwitchStandby> = facts
        .standbys
        .iter()
        .filter(|standby| facts.to.as_ref().is_none_or(|to| *to == standby.node))
        .collect();
    if candidates.is_empty() {
        return Some((message!("there is no standby to switch to"), hint()));
    }
    let reasons: Option<Vec<Message>> = candidates
        .iter()
        .map(|standby| unfit(facts, standby))
        .collect();
    let why = Message::several(reasons?);
    Some(way_to_hold(facts, &why).unwrap_or_else(|| (why, hint())))
}

/// Decides to which node the switch goes. `Ok(None)`: the node asked for is the primary already.
///
/// # Errors
/// The first precondition that does not hold.
pub fn plan_switch(facts: &SwitchFacts) -> Result<Option<SwitchPlan>, Box<Refusal>> {
    let already = facts.promoted.len() == 1 && facts.promoted.first() == facts.to.as_ref();
    for rule in SWITCH_RULES {
        if already && !rule.always {
            continue;
        }
        if let Some((what, hint)) = (rule.check)(facts) {
            return Err(Box::new(Refusal::new(rule.id, what, hint)));
        }
    }
    if already {
        return Ok(None);
    }
    let best = facts
        .standbys
        .iter()
        .filter(|standby| facts.to.as_ref().is_none_or(|to| *to == standby.node))
        .filter(|standby| unfit(facts, standby).is_none())
        .min_by_key(|standby| standby.lag.unwrap_or(u64::MAX));
    match (facts.promoted.first(), best) {
        (Some(from), Some(best)) => Ok(Some(SwitchPlan {
            from: from.clone(),
            to: best.node.clone(),
            hand_over: hands_over(facts, best),
        })),
        _ => Err(Box::new(Refusal::new(
            SUCCESSOR,
            message!("there is no standby to switch to"),
            message!("cls_status"),
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;
    use crate::register::{Register, Trouble};

    fn name(text: &str) -> NodeName {
        text.parse().unwrap()
    }

    fn standby(node: &str) -> SwitchStandby {
        SwitchStandby {
            node: name(node),
            running: true,
            streaming: true,
            synchronous: true,
            promotable: true,
            unfit: None,
            barred: None,
            lag: Some(0),
        }
    }

    fn archiving(seconds: u64) -> Archiving {
        Archiving {
            waiting: 3,
            oldest: Duration::from_secs(seconds),
        }
    }

    fn unread_on(facts: &mut SwitchFacts, node: &str) {
        let errors = vec!["postgresql.conf line 1: a_word".to_owned()];
        facts.file_errors.insert(name(node), errors);
    }

    fn healthy() -> SwitchFacts {
        SwitchFacts {
            to: None,
            force: false,
            mode: Mode::Sync,
            nodes: vec![name("node1"), name("node2")],
            absent: vec![],
            promoted: vec![name("node1")],
            standbys: vec![standby("node2")],
            register: Some(Reading::Row(Register {
                owner: Some(name("node1")),
                term: 1,
                holders: [name("node1"), name("node2")].into(),
                ..Register::fresh()
            })),
            seen: None,
            pending: vec![],
            failures: vec![],
            busy: vec![],
            archiving: None,
            file_errors: BTreeMap::new(),
        }
    }

    #[test]
    fn the_synchronous_standby_is_the_successor() {
        let plan = plan_switch(&healthy()).unwrap().unwrap();
        assert_eq!((plan.from, plan.to), (name("node1"), name("node2")));
        assert!(!plan.hand_over, "it has everything already");
    }

    #[test]
    fn who_need_not_have_everything_is_handed_the_register() {
        let mut facts = healthy();
        facts.mode = Mode::Async;
        let plan = plan_switch(&facts).unwrap().unwrap();
        assert!(plan.hand_over && plan.to == name("node2"));
        // There is none.
        facts.register = None;
        assert!(!plan_switch(&facts).unwrap().unwrap().hand_over);
        // In synchronous mode also one that commits do not wait for, where it was asked for.
        let plan = plan_switch(&three()).unwrap().unwrap();
        assert!(plan.hand_over && plan.to == name("node3"));
        let mut facts = three();
        facts.standbys[1].lag = Some(CAUGHT_UP + 1);
        assert_eq!(plan_switch(&facts).unwrap_err().id, "switch-successor");
        facts.standbys[1].lag = None;
        assert_eq!(plan_switch(&facts).unwrap_err().id, "switch-successor");
        let mut facts = three();
        facts.to = None;
        let plan = plan_switch(&facts).unwrap().unwrap();
        assert!(!plan.hand_over && plan.to == name("node2"));
        facts.standbys[0].streaming = false;
        assert_eq!(plan_switch(&facts).unwrap_err().id, "switch-successor");
    }

    #[test]
    fn the_primary_itself_needs_no_switch() {
        let facts = SwitchFacts {
            to: Some(name("node1")),
            absent: vec![name("node2")],
            ..healthy()
        };
        assert_eq!(plan_switch(&facts).unwrap(), None);
    }

    #[test]
    fn each_refusal() {
        type Change = fn(&mut SwitchFacts);
        let cases: Vec<(&str, Change)> = vec![
            ("switch-replicated", |f| f.mode = Mode::Standalone),
            ("switch-one-primary", |f| f.promoted.clear()),
            ("switch-one-primary", |f| f.promoted.push(name("node2"))),
            ("switch-known-node", |f| f.to = Some(name("node9"))),
            ("switch-nodes-alive", |f| f.absent = vec![name("node2")]),
            ("switch-settled", |f| {
                f.pending = vec!["start on node2".to_owned()]
            }),
            ("switch-no-failures", |f| f.failures = vec!["x".to_owned()]),
            ("switch-register", |f| f.register = Some(Reading::Missing)),
            ("switch-register", |f| {
                f.register = Some(Reading::Damaged("x".to_owned().into()))
            }),
            ("switch-register", |f| {
                f.register = Some(Reading::Row(Register::fresh()))
            }),
            ("switch-register", |f| {
                f.register = Some(Reading::Unknown(Trouble::Unreachable("x".into())));
            }),
            // It was put back to before what the cluster has seen.
            ("switch-register", |f| {
                f.seen = Some(Seen { term: 9, epoch: 9 });
            }),
            ("switch-successor", |f| f.standbys.clear()),
            ("switch-successor", |f| f.standbys[0].running = false),
            ("switch-successor", |f| f.standbys[0].streaming = false),
            ("switch-successor", |f| f.standbys[0].promotable = false),
            ("switch-successor", |f| {
                f.standbys[0].unfit = Some("replay is paused".to_owned());
            }),
            ("switch-successor", |f| {
                f.standbys[0].barred = Some("never-node2".to_owned());
            }),
            ("switch-successor", |f| {
                f.register = None;
                f.standbys[0].synchronous = false;
            }),
            ("switch-successor", |f| {
                if let Some(Reading::Row(row)) = &mut f.register {
                    row.holders = [name("node1")].into();
                }
            }),
            ("switch-successor", |f| {
                f.mode = Mode::Async;
                f.standbys[0].lag = None;
            }),
            ("switch-successor", |f| {
                f.mode = Mode::Async;
                f.standbys[0].lag = Some(CAUGHT_UP + 1);
            }),
            ("switch-busy", |f| f.busy = vec!["a base backup".to_owned()]),
            ("switch-archive", |f| f.archiving = Some(archiving(61))),
            ("switch-files", |f| unread_on(f, "node1")),
            ("switch-successor", |f| unread_on(f, "node2")),
        ];
        for (id, change) in &cases {
            let mut facts = healthy();
            change(&mut facts);
            assert_eq!(plan_switch(&facts).unwrap_err().id, *id, "{facts:?}");
        }
        for rule in SWITCH_RULES {
            assert!(
                cases.iter().any(|(id, _)| *id == rule.id),
                "{} is not tried",
                rule.id
            );
        }
    }

    /// Three nodes: commits wait for node2, and node3, which is asked for, only follows.
    fn three() -> SwitchFacts {
        let mut facts = healthy();
        facts.to = Some(name("node3"));
        facts.nodes.push(name("node3"));
        facts.standbys.push(SwitchStandby {
            synchronous: false,
            promotable: false,
            unfit: None,
            barred: None,
            ..standby("node3")
        });
        facts
    }

    #[test]
    fn a_third_node_may_be_away() {
        let mut facts = three();
        facts.absent = vec![name("node3")];
        assert_eq!(plan_switch(&facts).unwrap_err().id, "switch-nodes-alive");
        facts.to = None;
        // Also one in maintenance, on which the database runs.
        facts.standbys[1].lag = None;
        let plan = plan_switch(&facts).unwrap().unwrap();
        assert_eq!((plan.from, plan.to), (name("node1"), name("node2")));
        facts.absent = vec![name("node2")];
        assert_eq!(plan_switch(&facts).unwrap_err().id, "switch-successor");
        facts.absent.push(name("node3"));
        assert_eq!(plan_switch(&facts).unwrap_err().id, "switch-nodes-alive");
        facts.absent = vec![name("node1")];
        assert_eq!(plan_switch(&facts).unwrap_err().id, "switch-nodes-alive");
    }

    #[test]
    fn without_a_register_commits_must_wait_for_the_successor() {
        let refused = |facts: &SwitchFacts| plan_switch(facts).unwrap_err();
        let external = || SwitchFacts {
            register: None,
            ..three()
        };
        let refusal = refused(&external());
        assert!(
            refusal.what.to_string().contains("commits wait for node2"),
            "{refusal}"
        );
        assert!(
            refusal
                .hint
                .to_string()
                .contains("cls_online_switch --to node2; or")
                && refusal.hint.to_string().contains("cls_standby_node node2")
                && refusal
                    .hint
                    .to_string()
                    .contains("cls_unstandby_node node2"),
            "{}",
            refusal.hint
        );
        // Two nodes: it is on its way.
        let mut alone = external();
        alone.standbys.remove(0);
        assert!(
            refused(&alone)
                .hint
                .to_string()
                .contains("HS:sync for node3")
        );
        // What else is missing is said as it is.
        let mut facts = external();
        facts.standbys[1].streaming = false;
        assert!(
            refused(&facts)
                .hint
                .to_string()
                .contains("what each standby needs")
        );
        let mut facts = external();
        facts.to = Some(name("node2"));
        facts.standbys[0].promotable = false;
        assert!(
            refused(&facts)
                .hint
                .to_string()
                .contains("what each standby needs")
        );
        let mut facts = three();
        facts.failures = vec!["start of pgsql on node2".to_owned()];
        assert_eq!(refused(&facts).id, "switch-no-failures");
    }

    #[test]
    fn force_is_for_what_would_be_cut_off_or_waited_for_alone() {
        let mut facts = healthy();
        facts.archiving = Some(archiving(59));
        assert!(plan_switch(&facts).unwrap().is_some());
        facts.archiving = Some(archiving(60));
        assert_eq!(
            plan_switch(&facts).unwrap_err().what.to_string(),
            "the primary's stop would wait for its archive: 3 files of WAL wait to be archived, the oldest for 60 s"
        );
        facts.force = true;
        facts.busy = vec!["a long transaction".to_owned()];
        assert!(plan_switch(&facts).unwrap().is_some());
        facts.standbys[0].streaming = false;
        assert!(plan_switch(&facts).is_err());
    }

    #[test]
    fn of_several_the_one_with_the_most_data_and_of_holders_only() {
        let mut facts = healthy();
        facts.nodes.push(name("node3"));
        facts.standbys[0].lag = Some(100);
        facts.standbys.push(standby("node3"));
        assert_eq!(plan_switch(&facts).unwrap().unwrap().to, name("node2"));
        facts.mode = Mode::Async;
        assert_eq!(plan_switch(&facts).unwrap().unwrap().to, name("node3"));
    }
}

//! Whether a cluster is healthy, and what to type where it is not.
//!
//! The specification names three conditions: the clone is started on every node, exactly one
//! instance is promoted, and every standby's data status is `STREAMING|SYNC`, `|POTENTIAL` or
//! `|ASYNC`. Each rule below looks at one thing and returns what it found; a condition is met when
//! none of its rules found anything.

use serde::Serialize;

use crate::cluster::{
    ClusterNode, FailCount, Maintenance, WhyStopped, WithoutQuorum, end_of_maintenance,
};
use crate::message;
use crate::message::Message;
use crate::names::NodeName;
use crate::postgres;
use crate::register::{Damage, NoRow, NotTheOwner};
use crate::remedy::Remedy;
use crate::status::{DataStatus, GuardStatus, Role, Word};
use crate::unfit::UnfitKind;

mod address;
mod archive;
mod commits;
mod connections;
pub mod daemons;
mod disk;
mod finding;
mod left;
mod links;
mod observation;
mod primary;
#[cfg(test)]
mod tests;

pub use observation::{
    CommitWaits, Connections, KeptWal, LeftSlot, NotingCommand, Observation, Operation,
    RegisterSeen, ReplicationRow, word_of_link,
};

pub use finding::Level;
use finding::{Problem, problem};

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule that found it.
    pub id: &'static str,
    /// How bad it is.
    pub level: Level,
    /// The node that it is about.
    pub node: Option<NodeName>,
    /// What is seen.
    pub text: Message,
    /// What to type next.
    pub remedy: Option<Message>,
}

/// One of the specification's conditions of a healthy cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HealthCondition {
    /// Its number in the specification.
    pub number: u8,
    /// What it asks for.
    pub text: Message,
    /// Whether it holds.
    pub met: bool,
}

/// The verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[must_use]
pub struct Verdict {
    /// The worst level among the findings.
    pub level: Level,
    /// The specification's three conditions.
    pub conditions: Vec<HealthCondition>,
    /// What is not as it should be, the worst first.
    pub findings: Vec<Finding>,
}

/// One rule.
pub struct HealthRule {
    /// Its stable name.
    pub id: &'static str,
    /// The specification's condition that it belongs to; `None` for what this product adds.
    pub condition: Option<u8>,
    /// What it looks for, in one sentence.
    pub says: &'static str,
    look: fn(&Observation<'_>) -> Vec<Problem>,
}

fn conditions(seen: &Observation<'_>) -> [Message; 3] {
    [
        message!("the database is started on every node"),
        message!("one node is primary, the others are standbys"),
        match seen.standbys().next() {
            Some(_) => message!("every standby streams from the primary"),
            // Met, and no good news.
            None => message!("every standby streams from the primary (no standby runs)"),
        },
    ]
}

/// Every rule, in the order in which equally bad findings are shown.
pub const HEALTH_RULES: &[HealthRule] = &[
    HealthRule {
        id: "quorum",
        condition: None,
        says: "the partition that answered has no quorum",
        look: no_quorum,
    },
    HealthRule {
        id: "daemons",
        condition: None,
        says: "Pacemaker runs on a node without one of its daemons",
        look: daemons::missing,
    },
    HealthRule {
        id: "primary",
        condition: Some(2),
        says: "no node, or more than one, is promoted",
        look: primary::not_one_primary,
    },
    HealthRule {
        id: "started",
        condition: Some(1),
        says: "a node of node_list does not run the database",
        look: not_started,
    },
    HealthRule {
        id: "answer",
        condition: None,
        says: "the primary's PostgreSQL gives no answer, or cannot be asked",
        look: hangs,
    },
    HealthRule {
        id: "address",
        condition: None,
        says: "an address that clients use is on no node",
        look: address::nowhere,
    },
    HealthRule {
        id: "commits",
        condition: None,
        says: "commits wait for a standby, or will have to",
        look: commits::waiting,
    },
    HealthRule {
        id: "connections",
        condition: None,
        says: "PostgreSQL on the primary has no connection left for clients, or hardly one",
        look: connections::exhausted,
    },
    HealthRule {
        id: "disk",
        condition: None,
        says: "a file system of PostgreSQL on the node that looks is full, or nearly, or cannot be written",
        look: disk::short,
    },
    HealthRule {
        id: "archive",
        condition: None,
        says: "the primary does not get its WAL archived",
        look: archive::late,
    },
    HealthRule {
        id: "strangers",
        condition: None,
        says: "somebody receives WAL under a node's name and is not that node",
        look: links::strangers,
    },
    HealthRule {
        id: "streaming",
        condition: Some(3),
        says: "a standby's data status is not one of a streaming standby",
        look: not_streaming,
    },
    HealthRule {
        id: "synchronous",
        condition: None,
        says: "rep_mode is sync and no standby is synchronous",
        look: not_synchronous,
    },
    HealthRule {
        id: "register",
        condition: None,
        says: "the lock service does not answer, or its row is missing or damaged",
        look: register_unreadable,
    },
    HealthRule {
        id: "memory",
        condition: None,
        says: "what the node that looks remembers of the register cannot be read",
        look: memory_unreadable,
    },
    HealthRule {
        id: "owner",
        condition: None,
        says: "the register's owner is not the primary",
        look: owner_is_another,
    },
    HealthRule {
        id: "lease",
        condition: None,
        says: "the primary does not renew its lease",
        look: lease_expired,
    },
    HealthRule {
        id: "guard",
        condition: None,
        says: "no guard runs beside the primary and none could be started",
        look: unguarded,
    },
    HealthRule {
        id: "unfit",
        condition: None,
        says: "a standby could not open for writing, and is not promoted therefore",
        look: unfit,
    },
    HealthRule {
        id: "barred",
        condition: None,
        says: "a constraint keeps every standby from being promoted",
        look: barred,
    },
    HealthRule {
        id: "repl-info",
        condition: None,
        says: "REPL_INFO is malformed or names another node than the primary",
        look: repl_info_differs,
    },
    HealthRule {
        id: "failures",
        condition: None,
        says: "a resource has failed on a node",
        look: failed,
    },
    HealthRule {
        id: "left-over",
        condition: None,
        says: "a command was killed and has left something in the cluster's configuration or on the primary",
        look: left::over,
    },
    HealthRule {
        id: "file-errors",
        condition: None,
        says: "a file of PostgreSQL's settings has an error because of which no change of any is taken up",
        look: file_errors,
    },
    HealthRule {
        id: "pending-restart",
        condition: None,
        says: "settings of PostgreSQL have another value from its next start on",
        look: waits_for_restart,
    },
    HealthRule {
        id: "unmanaged",
        condition: None,
        says: "Pacemaker does not manage the database",
        look: unmanaged,
    },
];

/// Judges a cluster.
pub fn judge(seen: &Observation<'_>) -> Verdict {
    let mut unmet = Vec::new();
    let mut findings = Vec::new();
    for rule in HEALTH_RULES {
        for problem in (rule.look)(seen) {
            unmet.extend(rule.condition);
            if problem.said {
                continue;
            }
            findings.push(Finding {
                id: rule.id,
                level: problem.level,
                node: problem.node,
                text: problem.text,
                remedy: problem.remedy,
            });
        }
    }
    // The sort is stable, so equally bad ones stay in the order of the rules.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    let conditions = (1..)
        .zip(conditions(seen))
        .map(|(number, text)| HealthCondition {
            number,
            text,
            met: !unmet.contains(&number),
        });
    Verdict {
        level: findings.first().map_or(Level::Ok, |worst| worst.level),
        conditions: conditions.collect(),
        findings,
    }
}

/// Commits go on to wait for a standby that is lost, and nobody becomes primary: for whom commits wait is a
/// setting.
fn file_errors(seen: &Observation<'_>) -> Vec<Problem> {
    let with_errors = seen.file_errors.iter();
    let with_errors = with_errors.filter(|(_, errors)| !errors.is_empty());
    let said = with_errors.map(|(node, errors)| {
        let (text, remedy) = postgres::unread(node, errors);
        problem(Level::Critical, text, remedy).on(node)
    });
    said.collect()
}

/// No trouble, and easily forgotten: the next start, which a failure may cause, makes it count.
fn waits_for_restart(seen: &Observation<'_>) -> Vec<Problem> {
    let waiting = seen.waiting.iter().filter(|(_, names)| !names.is_empty());
    let said = waiting.map(|(node, settings)| {
        let names = settings.join(", ");
        let text = match settings.len() {
            1 => message!(
                "{node}: a setting waits for a restart of PostgreSQL: {names}",
                node,
                names
            ),
            _ => message!(
                "{node}: settings wait for a restart of PostgreSQL: {names}",
                node,
                names
            ),
        };
        let remedy = message!(
            "cls_restart --pending --dry-run says how it goes; without --dry-run it restarts node by node"
        );
        problem(Level::Ok, text, remedy).on(node)
    });
    said.collect()
}

fn no_quorum(seen: &Observation<'_>) -> Vec<Problem> {
    if seen.cluster.quorum {
        return Vec::new();
    }
    let text =
        message!("this part of the cluster has no quorum, so Pacemaker starts nothing in it");
    let mut remedy = message!(
        "start the missing nodes, or look at the network between them (corosync-cfgtool -s)"
    );
    // A primary runs on then, and its commits wait for the standby that is lost.
    if seen.cluster.without_quorum == WithoutQuorum::Fenced
        && seen.cluster.promoted().next().is_some()
    {
        remedy = message!(
            "{first}; only if every node of the other part is off: corosync-quorumtool -e <votes>, with the total votes that corosync-quorumtool -s shows here",
            first = remedy
        );
    }
    vec![problem(Level::Critical, text, remedy)]
}

fn not_started(seen: &Observation<'_>) -> Vec<Problem> {
    if seen.is_stopped_on_purpose() {
        let text = message!("the database is to be stopped, as an operator asked");
        let found = problem(Level::Critical, text, message!("cls_start"));
        // Where nothing is promoted any more, the rule for the primary says it.
        let said = seen.cluster.promoted().next().is_none();
        return vec![Problem { said, ..found }];
    }
    seen.members()
        .filter(|(_, node)| node.is_none_or(|node| node.role() == Role::Stopped))
        .map(|(name, node)| why_stopped(seen, name, node).on(name))
        .collect()
}

/// A node that is no member. Pacemaker may answer on it all the same ([`daemons`]).
fn absent(seen: &Observation<'_>, name: &NodeName) -> Problem {
    let (text, remedy) = if seen.here == Some(name) {
        (
            message!(
                "{name} is not in the cluster although Pacemaker answers on it: its controller is joining, or has ended",
                name
            ),
            daemons::start_again(name),
        )
    } else {
        (
            message!(
                "{name} is not in the cluster: switched off, or cut off",
                name
            ),
            message!(
                "on {name}: systemctl start corosync pacemaker, then cls_status",
                name
            ),
        )
    };
    Problem {
        said: seen.in_part(name).is_some(),
        ..problem(Level::Warning, text, remedy)
    }
}

fn why_stopped(seen: &Observation<'_>, name: &NodeName, node: Option<&ClusterNode>) -> Problem {
    let Some(node) = node else {
        let text = message!("{name} is in node_list, but no node of the cluster", name);
        let remedy = message!("correct node_list, or add the node to the cluster");
        return problem(Level::Warning, text, remedy);
    };
    // cls_cleanup changes nothing there, and is refused.
    let quorum = (!seen.cluster.quorum).then(|| message!("bring the quorum back first"));
    let stopped = node.why_stopped();
    let why = stopped.what();
    let (text, remedy) = match stopped {
        WhyStopped::Away => return absent(seen, name),
        WhyStopped::Standby => (
            message!(
                "{name} is out of service, as an operator asked (standby in Pacemaker)",
                name
            ),
            Some(message!("cls_unstandby_node {name}", name)),
        ),
        WhyStopped::Busy(_) => (message!("{name} is busy: {why}", name, why), None),
        WhyStopped::Failed(failure) => (
            message!("the database does not run on {name}: {why}", name, why),
            quorum
                .or_else(|| named_command(seen, failure.reason.as_deref()?, name))
                .or_else(|| {
                    Some(message!(
                        "mend the cause, then cls_cleanup --node {name}",
                        name
                    ))
                }),
        ),
        WhyStopped::Stopped => (
            message!("the database does not run on {name}", name),
            quorum.or_else(|| Some(message!("cls_cleanup --node {name}", name))),
        ),
    };
    problem(Level::Warning, text, remedy)
}

/// What to type for the command that the agent's reason orders; it cleans the failure up itself.
/// A rebuild copies from a primary: where there never was one, the data are to be made otherwise.
fn named_command(seen: &Observation<'_>, reason: &str, node: &NodeName) -> Option<Message> {
    let never = seen.primary().is_none() && seen.cluster.repl_info.is_none();
    Some(match Remedy::ordered_by(reason)? {
        Remedy::Rebuild if never => return None,
        Remedy::Repair => message!(
            "on {node}: cls_repair_slave; if it says that pg_rewind cannot: cls_rebuild_slave --keep-old",
            node
        ),
        Remedy::Rebuild => message!("on {node}: cls_rebuild_slave --keep-old", node),
    })
}

fn hangs(seen: &Observation<'_>) -> Vec<Problem> {
    let Some(primary) = seen.primary() else {
        return Vec::new();
    };
    if !seen.primary_hangs {
        return unseen(seen, primary);
    }
    let text = message!(
        "PostgreSQL on {primary} does not answer: it hangs, or the way to it does",
        primary
    );
    let remedy = message!(
        "on {primary}: look at PostgreSQL's log, its processes and the disk; Pacemaker acts when its monitor has failed",
        primary
    );
    vec![problem(Level::Critical, text, remedy).on(primary)]
}

/// Who could not look does not know that all is well: the attributes of the standbys are what the agent
/// has seen, and the positions, the commits that wait and the strangers are nobody's.
fn unseen(seen: &Observation<'_>, primary: &NodeName) -> Vec<Problem> {
    // That no connection is left for the question is said where connections are.
    let full = seen.connections == Some(Connections::NoneLeft);
    let Some(why) = seen.unseen.filter(|_| !full) else {
        return Vec::new();
    };
    let remedy = match &why.remedy {
        Some(remedy) => Message::from(remedy),
        None => message!("cls_doctor says what is in the way"),
    };
    let text = message!(
        "PostgreSQL on {primary} cannot be asked about its standbys: {why}",
        primary,
        why = why.why
    );
    vec![problem(Level::Warning, text, remedy).on(primary)]
}

/// Whether a standby has reported a position from which the primary cannot go on.
fn lacks_wal(seen: &Observation<'_>, node: &ClusterNode) -> bool {
    let known = seen.kept.zip(node.position);
    known.is_some_and(|(kept, position)| kept.lacks(position.lsn))
}

fn not_streaming(seen: &Observation<'_>) -> Vec<Problem> {
    let standbys = seen.standbys().filter(|(_, node)| !node.streams());
    standbys
        .map(|(name, node)| {
            let (text, remedy) = match &node.data_status {
                Some(DataStatus::Disconnect) | None if lacks_wal(seen, node) => (
                    message!(
                        "{name} does not stream: the primary does not have the WAL any more that it needs",
                        name
                    ),
                    Some(message!(
                        "on {node}: cls_rebuild_slave --keep-old",
                        node = name
                    )),
                ),
                Some(DataStatus::Disconnect) | None => (
                    message!("{name} runs and does not stream from the primary", name),
                    Some(message!(
                        "look at PostgreSQL's log on {name}; if its data has diverged, on {name}: cls_repair_slave or cls_rebuild_slave",
                        name
                    )),
                ),
                Some(DataStatus::Latest) if seen.primary().is_none() => (
                    message!(
                        "{name} was the primary last, and is a standby until it may be promoted",
                        name
                    ),
                    None,
                ),
                Some(DataStatus::Latest) => (
                    message!(
                        "{name} was primary last, and the primary has not seen it as a standby",
                        name
                    ),
                    None,
                ),
                Some(other @ DataStatus::Replication { .. }) => (
                    message!(
                        "{name} does not stream yet: {status}",
                        name,
                        status = other.to_string()
                    ),
                    Some(message!("wait until it has caught up")),
                ),
            };
            problem(Level::Warning, text, remedy).on(name)
        })
        .collect()
}

fn not_synchronous(seen: &Observation<'_>) -> Vec<Problem> {
    let mut standbys = seen.standbys();
    if !seen.sync() || seen.primary().is_none() || standbys.any(|(_, node)| node.is_synchronous()) {
        return Vec::new();
    }
    let text = message!("no standby is synchronous: commits are on the primary alone");
    let remedy = message!("bring a standby back; it becomes synchronous by itself");
    vec![problem(Level::Warning, text, remedy)]
}

fn register_unreadable(seen: &Observation<'_>) -> Vec<Problem> {
    let Some(Err(no_row)) = seen.believed() else {
        return Vec::new();
    };
    vec![match &no_row {
        NoRow::Damage(damage @ Damage::Foreign(foreign)) => problem(
            Level::Critical,
            message!("{foreign}", foreign),
            damage.remedy(),
        ),
        // A running primary goes on meanwhile; nothing is promoted and no standby is let go.
        NoRow::Damage(damage) => problem(Level::Critical, no_row.what(), damage.remedy()),
        NoRow::Unknown(_) => problem(
            Level::Warning,
            no_row.what(),
            message!(
                "bring the lock service back: without it nobody takes over, and the primary goes on without a lost standby only if its node promises over ssh not to take over"
            ),
        ),
    }]
}

/// The agent promotes nothing by what it cannot read (R1), and says so when Pacemaker asks for it; here it is seen
/// before. The row is judged by what the cluster was told alone.
fn memory_unreadable(seen: &Observation<'_>) -> Vec<Problem> {
    let found = seen.memory_unread.map(|why| {
        let text = message!(
            "what this node remembers of the lock service's row cannot be read, so that it is not promoted: {why}",
            why
        );
        let found = problem(
            Level::Warning,
            text,
            message!("mend that file, then look again: cls_status"),
        );
        match seen.here {
            Some(here) => found.on(here),
            None => found,
        }
    });
    found.into_iter().collect()
}

fn owner_is_another(seen: &Observation<'_>) -> Vec<Problem> {
    let Some((primary, Err(not_the_owner @ NotTheOwner::Another { .. }))) = seen.owned_by_primary()
    else {
        return Vec::new();
    };
    let text = message!(
        "{primary} runs as primary, but {another}",
        primary,
        another = not_the_owner.what()
    );
    let remedy = message!(
        "{primary} stops by itself at its next monitor; wait and look again",
        primary
    );
    vec![problem(Level::Critical, text, remedy).on(primary)]
}

fn unguarded(seen: &Observation<'_>) -> Vec<Problem> {
    let Some(primary) = seen.primary() else {
        return Vec::new();
    };
    let shown = seen.node(primary).and_then(|node| node.guard.as_ref());
    if shown.is_none_or(|status| *status == Word::Known(GuardStatus::Running)) {
        return Vec::new();
    }
    let text = message!(
        "no guard runs beside the primary on {primary}: only the monitors renew its lease",
        primary
    );
    let remedy = message!(
        "on {primary} look at /run/pha4pgsql/{resource}.guard.log and at the log of Pacemaker",
        primary,
        resource = seen.cluster.database.name.as_str()
    );
    vec![problem(Level::Warning, text, remedy).on(primary)]
}

/// R14: the next takeover would have one node less than it seems.
fn unfit(seen: &Observation<'_>) -> Vec<Problem> {
    let standbys = seen.nodes.iter().filter_map(|name| {
        let node = seen
            .node(name)
            .filter(|node| node.role() == Role::Unpromoted)?;
        Some((name, node.streams(), node.unfit.as_ref()?))
    });
    standbys
        .map(|(name, streams, unfit)| {
            let why = &unfit.why;
            if unfit.kind == Some(UnfitKind::Room) {
                let text = message!("{name} takes over only where no other standby can: {why}", name, why);
                let remedy = message!("on {name}: make room there (df shows it)", name);
                return problem(Level::Warning, text, remedy).on(name);
            }
            // PostgreSQL starts a receiver of WAL only where it replays.
            let text = match streams || unfit.kind != Some(UnfitKind::Limits) {
                true => message!("{name} cannot take over: {why}", name, why),
                false => message!(
                    "{name} cannot take over: {why}; before it replays again it does not connect to the primary either",
                    name,
                    why
                ),
            };
            let remedy = match unfit.kind {
                Some(UnfitKind::Limits) => message!(
                    "on {name}: raise it in postgresql.conf, then cls_standby_node {name} and cls_unstandby_node {name}, which restart the standby",
                    name
                ),
                Some(UnfitKind::Files) => message!("on {name}: correct that line; its next monitor sees it", name),
                Some(UnfitKind::Room) | None => message!("on {name}: mend that there", name),
            };
            problem(Level::Warning, text, remedy).on(name)
        })
        .collect()
}

/// One node of several that an administrator keeps for other work is as it was meant. Where no standby is
/// left, nothing would take over. What a command of ours has left is said as that.
fn barred(seen: &Observation<'_>) -> Vec<Problem> {
    let standbys = seen.nodes.iter().filter_map(|name| {
        let node = seen.node(name)?;
        (node.role() == Role::Unpromoted).then_some((name, node.barred.as_ref()))
    });
    let barred: Option<Vec<_>> = standbys.map(|(name, why)| Some((name, why?))).collect();
    let theirs = |(_, id): &(&NodeName, &String)| !seen.cluster.left.contains(*id);
    let barred = barred.unwrap_or_default().into_iter().filter(theirs);
    barred
        .map(|(name, id)| {
            let text = message!(
                "nothing would take over: the constraint {id} keeps {name} from being promoted",
                id,
                name
            );
            let remedy = message!(
                "cibadmin --delete --xml-text='<rsc_location id=\"{id}\"/>'",
                id
            );
            problem(Level::Warning, text, remedy).on(name)
        })
        .collect()
}

fn lease_expired(seen: &Observation<'_>) -> Vec<Problem> {
    let Some((primary, Ok(register))) = seen.owned_by_primary() else {
        return Vec::new();
    };
    if !register.lease_left.is_zero() {
        return Vec::new();
    }
    let text = message!("{primary} has not renewed its lease in time", primary);
    let remedy = message!(
        "see on {primary} whether Pacemaker runs its monitor and whether it reaches the lock service: distlock <conninfo> show <table:lockname>",
        primary
    );
    vec![problem(Level::Warning, text, remedy).on(primary)]
}

fn repl_info_differs(seen: &Observation<'_>) -> Vec<Problem> {
    match (&seen.cluster.repl_info, seen.primary()) {
        (Some(Err(error)), _) => vec![problem(
            Level::Critical,
            Message::from(error),
            message!("cls_recovery_master decides anew which node is primary"),
        )],
        (Some(Ok(info)), Some(primary)) if *primary != info.node => vec![problem(
            Level::Warning,
            message!(
                "{property} names {node} as primary, but {primary} is",
                property = seen.cluster.database.name.repl_info_property(),
                node = info.node,
                primary
            ),
            message!(
                "wait for the next monitor of the primary; if it stays so, look at the agent's log"
            ),
        )],
        _ => Vec::new(),
    }
}

fn failed(seen: &Observation<'_>) -> Vec<Problem> {
    let failures = seen.cluster.failures.iter();
    let said = failures.map(|failure| {
        let FailCount {
            node,
            resource,
            operation,
            ..
        } = failure;
        let count = Message::from(failure.count.to_string());
        let count = match failure.threshold {
            Some(threshold) => message!("{count} of {threshold}", count, threshold),
            None => count,
        };
        let text = match failure.is_final() {
            true => message!(
                "{resource} has failed on {node}: {operation} (fail count {count}); Pacemaker does not use it there any more",
                resource,
                node,
                operation,
                count
            ),
            false => message!(
                "{resource} has failed on {node}: {operation} (fail count {count})",
                resource,
                node,
                operation,
                count
            ),
        };
        let remedy = match is_repaired(seen, failure) {
            true => message!("nothing else: the command above clears it"),
            false => message!("after mending the cause: cls_cleanup --node {node}", node),
        };
        problem(Level::Warning, text, remedy).on(node)
    });
    said.collect()
}

/// Whether this count is of the failure of the database whose finding names a command.
fn is_repaired(seen: &Observation<'_>, count: &FailCount) -> bool {
    let ours = count.resource == seen.cluster.database.name.as_str();
    let node = seen.node(&count.node).filter(|_| ours);
    let stopped = node.filter(|node| node.role() == Role::Stopped);
    let reason = stopped.and_then(|node| node.database.last_failure.as_ref()?.reason.as_deref());
    reason.is_some_and(|reason| named_command(seen, reason, &count.node).is_some())
}

fn unmanaged(seen: &Observation<'_>) -> Vec<Problem> {
    if !seen.cluster.managed {
        let (text, remedy) = match seen.cluster.maintenance {
            None => (
                message!("Pacemaker does not manage the database: it would not act on a failure"),
                message!("cls_manage"),
            ),
            Some(Maintenance::Cluster) => (
                message!(
                    "the whole cluster is in maintenance (maintenance-mode): Pacemaker runs no monitors, and would not act on a failure"
                ),
                message!("cls_manage, which ends it for every resource of the cluster"),
            ),
            Some(Maintenance::Database) => (
                message!(
                    "the database is in maintenance: Pacemaker runs no monitors of it, and would not act on a failure"
                ),
                message!("cls_manage"),
            ),
        };
        return vec![problem(Level::Warning, text, remedy)];
    }
    let mut problems = address::unmanaged(seen);
    let nodes = seen.cluster.nodes.iter();
    problems.extend(nodes.filter(|(_, node)| node.maintenance).map(|(name, _)| {
        let text = message!(
            "{name} is in maintenance: Pacemaker does not act there",
            name
        );
        problem(Level::Warning, text, end_of_maintenance(name)).on(name)
    }));
    problems
}

//! The emergency: no node may be promoted, and an operator decides whose data to go on with.

use std::collections::{BTreeMap, BTreeSet};

use super::{Broken, Precondition, Refusal, all_hold};
use crate::lineage::{Lineage, Unproven};
use crate::message;
use crate::message::Message;
use crate::names::NodeName;
use crate::register::{
    Damage, GaveWay, Memory, NoRow, Reading, Register, Reply, Seen, Update, leaps, names_primary,
    out_of_step,
};
use crate::timeline::WalPosition;

/// What is known of one node's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePosition {
    /// The node.
    pub node: NodeName,
    /// It is a member of this part of the cluster, so that what runs on it is known.
    pub member: bool,
    /// It is a member and in service, so that it could be promoted.
    pub usable: bool,
    /// The database runs there as a standby, as far as this part of the cluster knows.
    pub runs: bool,
    /// The end of its WAL, or why it is not known.
    pub end: Result<WalPosition, String>,
    /// The system identifier of its data, where it is known.
    pub system: Option<u64>,
    /// The timelines that they are on by name (R13), where that is known.
    pub lineage: Option<Lineage>,
    /// What is not proven of the timelines that they are on, so that they are not started.
    pub unproven: Option<Unproven>,
}

/// How much a node that cannot be asked may have seen beyond the others: numbers are only compared,
/// so leaving some out costs nothing.
const UNASKED: u64 = 1000;

impl Seen {
    /// Of nodes that remember impossibly different numbers, the one that is far ahead and one that is
    /// not: no register can satisfy both. A node that has seen nothing yet is none of them.
    #[must_use]
    pub fn apart(nodes: &[(NodeName, Self)]) -> Option<(&NodeName, &NodeName)> {
        let far = |a: &Self, b: &Self| leaps(a.term, b.term) || leaps(a.epoch, b.epoch);
        nodes.iter().find_map(|(ahead, most)| {
            let (behind, _) = nodes
                .iter()
                .find(|(_, least)| *least != Self::default() && far(most, least))?;
            Some((ahead, behind))
        })
    }

    /// The same with what the cluster was told, as far as that is believed ([`Memory::told`]).
    #[must_use]
    pub fn told(self, cluster: Option<Self>) -> Self {
        let all = self.memory().told(cluster);
        Self {
            term: all.term,
            epoch: all.epoch,
        }
    }

    /// As the memory of one node that has seen all of it.
    fn memory(self) -> Memory {
        Memory {
            term: self.term,
            epoch: self.epoch,
            ..Memory::default()
        }
    }

    /// What all nodes have seen together; none for one that could not be asked.
    #[must_use]
    pub fn of_all(nodes: impl IntoIterator<Item = Option<Self>>) -> Self {
        let (mut all, mut margin) = (Self::default(), 0);
        for node in nodes {
            match node {
                Some(node) => {
                    all.term = all.term.max(node.term);
                    all.epoch = all.epoch.max(node.epoch);
                }
                None => margin = UNASKED,
            }
        }
        Self {
            term: all.term.saturating_add(margin),
            epoch: all.epoch.saturating_add(margin),
        }
    }
}

/// What was observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryFacts {
    /// `--node`.
    pub wanted: Option<NodeName>,
    /// The resource replicates.
    pub replicated: bool,
    /// The nodes on which the database is promoted.
    pub promoted: Vec<NodeName>,
    /// The nodes of which the operator has said that they are switched off.
    pub off: BTreeSet<NodeName>,
    /// Every node that should run the database.
    pub nodes: Vec<NodePosition>,
    /// The node that asks.
    pub me: NodeName,
    /// The system identifier of its data, for which it reads the register.
    pub here: Option<u64>,
    /// The register; none without the built-in lock service.
    pub register: Option<Reading>,
    /// What the nodes that could be asked have seen of the register, and the cluster was told.
    pub known: Seen,
    /// The same, with what one that could not be asked may have seen beyond it: what is decided is to be above.
    pub seen: Seen,
    /// The highest number of a timeline that any of them keeps. Each number that is left out costs a file,
    /// so none is for a node that cannot be asked.
    pub number: u32,
    /// What the nodes of [`to_give_way`] have answered, or why one has not; none before they were asked,
    /// which is once the operator has confirmed.
    pub gave_way: Option<BTreeMap<NodeName, Result<GaveWay, String>>>,
}

/// What will be done, and what it costs.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryPlan {
    /// The node that is to be primary.
    pub node: NodeName,
    /// The register that the decision is made on.
    pub register: Option<Register>,
    /// The row is missing or makes no sense, and has to be made again first.
    pub remake: bool,
    /// The node is the primary and goes on: only the register is mended.
    pub goes_on: bool,
    /// The timelines of the data that are gone on with, where they are known (R13).
    pub lineage: Option<Lineage>,
    /// What is not proven of them: once the decision is registered, at the term that it was given, the node has to
    /// keep them as [`Unproven::chosen_at`] has it.
    pub unproven: Option<Unproven>,
    /// What would be lost, a sentence each; empty if nothing that is known of.
    pub losses: Vec<Message>,
}

impl RecoveryPlan {
    /// The decision as a change of the register, which holds only while that is as it was read; none without
    /// a register. `by` is for the history.
    #[must_use]
    pub fn update(&self, facts: &RecoveryFacts, by: String) -> Option<Update> {
        let read = self.register.as_ref()?;
        Some(Update::Override {
            by,
            from_term: read.term,
            from_epoch: read.epoch,
            above_term: facts.seen.term,
            above_epoch: facts.seen.epoch,
            lineage: self.lineage.clone(),
            above_number: self
                .unproven
                .as_ref()
                .map_or(facts.number, |data| facts.number.max(data.number.get())),
            // A primary that runs adopts the term; otherwise whoever holds the data may be promoted.
            owner: self.goes_on.then(|| self.node.clone()),
            holders: [self.node.clone()].into(),
        })
    }
}

/// Why an operator's decision is not known to be in the register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotRegistered {
    /// It was not made, and nothing has changed.
    Not(String),
    /// The reply was lost, and nobody can tell whether it was made: read the register before deciding again. The
    /// same decision once more holds only if it was not.
    Unknown(String),
}

/// How far the register has come with an operator's decision ([`RecoveryPlan::update`]), by the reply to it.
///
/// # Errors
/// [`NotRegistered`].
pub fn registered(reply: &Reply) -> Result<Seen, NotRegistered> {
    match (reply, reply.row()) {
        (Reply::Applied(row), _) => Ok(Seen::of(row)),
        (_, Ok(row)) => Err(NotRegistered::Not(format!(
            "the register has changed meanwhile (term {}, epoch {})",
            row.term, row.epoch
        ))),
        (_, Err(NoRow::Unknown(trouble))) => Err(NotRegistered::Unknown(trouble.to_string())),
        (_, Err(no_row)) => Err(NotRegistered::Not(no_row.what().to_string())),
    }
}

/// Whether the primary that goes on has taken over the register that was mended for it: it is the owner and has
/// renewed its lease. What the cluster was told of the register is of before the decision, so that it says nothing here.
///
/// # Errors
/// What is still awaited.
pub fn taken_over(reading: &Reading, primary: &NodeName) -> Result<(), String> {
    match names_primary(reading, None, None, primary) {
        Ok(row) if !row.lease_left.is_zero() => Ok(()),
        Ok(_) => Err("its next monitor has not come yet".to_owned()),
        Err(why) => Err(why.to_string()),
    }
}

/// The rule of [`usable`].
const USABLE_NODE: &str = "recovery-usable-node";

/// The preconditions, in their order.
pub const RECOVERY_RULES: &[Precondition<RecoveryFacts>] = &[
    Precondition {
        id: "recovery-replicated",
        says: "The database must be replicated.",
        check: |facts| {
            (!facts.replicated).then(|| {
                (
                    message!("the database is not replicated, so no primary is elected"),
                    message!("cls_start"),
                )
            })
        },
    },
    Precondition {
        id: "recovery-no-primary",
        says: "There is no primary, or the register is damaged and the primary is to go on: a running one is never replaced this way.",
        check: |facts| {
            let primary = facts.promoted.first()?;
            if goes_on(facts)
                .is_some_and(|primary| facts.wanted.as_ref().is_none_or(|w| w == primary))
            {
                return None;
            }
            Some((
                message!(
                    "{primary} is the primary, so there is no emergency",
                    primary
                ),
                message!("to change it: cls_online_switch"),
            ))
        },
    },
    Precondition {
        id: "recovery-known-node",
        says: "The node asked for is one of the database's.",
        check: |facts| {
            let wanted = facts.wanted.as_ref()?;
            (!facts.nodes.iter().any(|node| node.node == *wanted)).then(|| {
                let nodes: Vec<&str> = facts.nodes.iter().map(|node| node.node.as_str()).collect();
                let nodes = nodes.join(", ");
                (
                    message!("{node} is not one of the database's nodes", node = wanted),
                    message!("one of {nodes} is expected", nodes),
                )
            })
        },
    },
    Precondition {
        id: USABLE_NODE,
        says: "The chosen node is in the cluster, and the end of its WAL is known.",
        check: |facts| usable(facts).err(),
    },
    Precondition {
        id: "recovery-same-database",
        says: "The register is written for the database of the node that asks, so the chosen one's data must be of the same.",
        check: |facts| {
            facts.register.as_ref()?;
            let node = chosen(facts)?;
            let same =
                facts.here.is_some() && node.system.is_none_or(|system| facts.here == Some(system));
            (!same).then(|| {
                (
                    message!(
                        "this node has no data, or those of another database than {node}",
                        node = node.node
                    ),
                    message!(
                        "on {node}: cls_recovery_master --node {node}",
                        node = node.node
                    ),
                )
            })
        },
    },
    Precondition {
        id: "recovery-unproven-here",
        says: "Where it is not proven which timelines the chosen node's data are on, the command runs there: it keeps what the decision makes of them (R13).",
        check: |facts| {
            facts.register.as_ref()?;
            let node = chosen(facts)?;
            let why = &unproven(facts, node)?.why;
            (node.node != facts.me).then(|| {
                (
                    message!("on {node}: {why}", node = node.node, why),
                    message!(
                        "on {node}: cls_recovery_master --node {node}",
                        node = node.node
                    ),
                )
            })
        },
    },
    Precondition {
        id: "recovery-register",
        says: "The register can be read: what is decided is written there first.",
        check: |facts| match facts.register.as_ref()? {
            Reading::Row(_) | Reading::Missing | Reading::Damaged(_) => None,
            Reading::Unknown(trouble) => Some((
                message!(
                    "the decision cannot be registered: {trouble}",
                    trouble = trouble.what()
                ),
                message!("bring the lock service back, then try again"),
            )),
        },
    },
    Precondition {
        id: "recovery-lease",
        says: "No lease runs: its owner may be alive and serving on the other side of a partition.",
        check: |facts| match facts.register.as_ref()? {
            Reading::Row(row) if !row.lease_left.is_zero() => {
                let owner = row.owner.as_ref()?;
                if goes_on(facts) == Some(owner) {
                    return None;
                }
                let left = row.lease_left.as_millis().to_string();
                Some((
                    message!("the lease of {owner} still runs for {left} ms", owner, left),
                    message!(
                        "wait for its end; if it is renewed, the primary lives where this node cannot see it"
                    ),
                ))
            }
            _ => None,
        },
    },
    Precondition {
        id: "recovery-old-primary-off",
        says: "No node that cannot be seen may still be serving without a lease, as the only holder or by promises: this decision would make a second primary beside it (R15).",
        check: |facts| {
            let node = may_still_serve(facts).into_iter().next()?;
            let chosen = chosen(facts)?;
            Some((
                message!(
                    "{node} cannot be seen from here and may be alive and serving clients, which needs no lease where no other node could be given it",
                    node
                ),
                switch_off(&node, &chosen.node),
            ))
        },
    },
    Precondition {
        id: "recovery-gives-way",
        says: "Once it is confirmed: each node of the cluster that could be a primary by the promises of others has durably given that up, or is said to be off (R7, R15).",
        check: |facts| {
            let chosen = chosen(facts)?;
            let (node, why) = facts.gave_way.as_ref()?.iter().find_map(|(node, answer)| {
                Some((node, not_given(answer, *node == chosen.node)?))
            })?;
            Some((
                message!(
                    "{node} could be a primary beside {chosen}: {why}",
                    node,
                    chosen = chosen.node,
                    why
                ),
                message!(
                    "mend that and give the command again; or switch {node} off (its power, not the network), see that it is off, and cls_recovery_master --node {chosen} --off {node}",
                    node,
                    chosen = chosen.node
                ),
            ))
        },
    },
    Precondition {
        id: "recovery-promised",
        says: "Where a promise of the chosen node is in force, the owner may be serving by that: one that cannot be seen must be said to be off, also if it had stopped before (R7, R15).",
        check: |facts| {
            let chosen = chosen(facts)?;
            let Some(Reading::Row(row)) = &facts.register else {
                return None;
            };
            let Ok(answer) = facts.gave_way.as_ref()?.get(&chosen.node)? else {
                return None;
            };
            let owner = row.owner.as_ref().filter(|_| answer.promised)?;
            let known = facts
                .nodes
                .iter()
                .any(|node| node.node == *owner && node.member);
            (!known && !facts.off.contains(owner)).then(|| {
                (
                    message!(
                        "{chosen} has promised {owner} not to be promoted, so {owner} may be serving where it cannot be seen",
                        chosen = chosen.node,
                        owner
                    ),
                    switch_off(owner, &chosen.node),
                )
            })
        },
    },
    Precondition {
        id: "recovery-other-timeline",
        says: "No standby runs whose timeline has the number of one of the chosen node's and is another: PostgreSQL would let it receive the chosen node's WAL on top of its own (R13). A stopped one is compared when it starts.",
        check: |facts| {
            let chosen = chosen(facts)?;
            let lineage = &lineage(facts, chosen)?;
            let (node, number) = facts.nodes.iter().find_map(|node| {
                let number = node.lineage.as_ref()?.clash(lineage)?;
                (node.runs && node.node != chosen.node).then_some((&node.node, number))
            })?;
            Some((
                message!(
                    "timeline {number} of {node} is another one than timeline {number} of {chosen}, and PostgreSQL on {node} would not notice",
                    number = number.to_string(),
                    node,
                    chosen = chosen.node
                ),
                message!(
                    "cls_standby_node {node}, then cls_recovery_master --node {chosen} once more; {node} is to be rebuilt afterwards",
                    node,
                    chosen = chosen.node
                ),
            ))
        },
    },
    Precondition {
        id: "recovery-newest-without-register",
        says: "Without a register nothing but the newest data of all nodes can be elected.",
        check: |facts| {
            if facts.register.is_some() {
                return None;
            }
            let unknown: Vec<&str> = facts
                .nodes
                .iter()
                .filter(|node| !node.usable || node.end.is_err())
                .map(|node| node.node.as_str())
                .collect();
            if !unknown.is_empty() {
                return Some((
                    message!(
                        "without the built-in lock service every node must report its data, and {nodes} does not",
                        nodes = unknown.join(", ")
                    ),
                    message!("start the missing nodes"),
                ));
            }
            let (chosen, newest) = (chosen(facts)?, newest(facts)?);
            (end(chosen) < end(newest)).then(|| {
                (
                    message!(
                        "without the built-in lock service the newest data are elected, those of {node}",
                        node = newest.node
                    ),
                    message!("cls_recovery_master --node {node}", node = newest.node),
                )
            })
        },
    },
];

fn switch_off(node: &NodeName, chosen: &NodeName) -> Message {
    message!(
        "switch {node} off (its power, not the network) and see that it is off; then cls_recovery_master --node {chosen} --off {node}",
        node,
        chosen
    )
}

fn end(node: &NodePosition) -> Option<WalPosition> {
    node.end.as_ref().ok().copied()
}

/// What is not proven of a node's data, also by the register.
fn unproven<'f>(facts: &RecoveryFacts, node: &'f NodePosition) -> Option<&'f Unproven> {
    let known = match &facts.register {
        Some(Reading::Row(row)) => Some(&row.timelines.lineage),
        _ => None,
    };
    let proven = |data: &&Unproven| known.is_some_and(|known| data.is_proven_by(known));
    node.unproven.as_ref().filter(|data| !proven(data))
}

/// The same without what a node has written since somebody opened its data by hand: beside what others have
/// received from a primary that counts for nothing.
fn proven_end(facts: &RecoveryFacts, node: &NodePosition) -> Option<WalPosition> {
    let proven = unproven(facts, node).and_then(Unproven::proven);
    end(node).map(|end| proven.unwrap_or(end))
}

/// The usable node with the newest timeline and most WAL. Among equals a holder comes first, then
/// the order of `node_list`.
fn newest(facts: &RecoveryFacts) -> Option<&NodePosition> {
    let holders = match &facts.register {
        Some(Reading::Row(row)) => Some(&row.holders),
        _ => None,
    };
    facts
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| node.usable && node.end.is_ok())
        .max_by_key(|(index, node)| {
            let holder = holders.is_some_and(|holders| holders.contains(&node.node));
            (proven_end(facts, node), holder, std::cmp::Reverse(*index))
        })
        .map(|(_, node)| node)
}

/// Whether the register was put back, replaced, or makes no sense.
fn damaged(facts: &RecoveryFacts) -> bool {
    match &facts.register {
        Some(Reading::Missing | Reading::Damaged(_)) => true,
        Some(Reading::Row(row)) => out_of_step(row, &facts.seen.memory()).is_some(),
        Some(Reading::Unknown(_)) | None => false,
    }
}

/// Whether the row is impossibly far beyond what the nodes have seen. To decide on top of it would
/// carry that further, and no node would believe it: it has to be made again.
fn leapt(row: &Register, seen: Seen) -> bool {
    leaps(row.term, seen.term) || leaps(row.epoch, seen.epoch)
}

/// The only primary, where it runs beside a damaged register. What a node that cannot be asked may have seen
/// is no damage here: its power cut is none of the register's, and the primary that has taken over needs no
/// operator.
fn goes_on(facts: &RecoveryFacts) -> Option<&NodeName> {
    let known = match &facts.register {
        Some(Reading::Row(row)) => {
            let older = row.term < facts.known.term || row.epoch < facts.known.epoch;
            older || leapt(row, facts.seen)
        }
        _ => damaged(facts),
    };
    match &facts.promoted[..] {
        [primary] if known => Some(primary),
        _ => None,
    }
}

fn chosen(facts: &RecoveryFacts) -> Option<&NodePosition> {
    match facts.wanted.as_ref().or(goes_on(facts)) {
        Some(wanted) => facts.nodes.iter().find(|node| node.node == *wanted),
        None => newest(facts),
    }
}

/// The node that is to be primary; or what is not so of it, and what to type.
fn usable(facts: &RecoveryFacts) -> Result<&NodePosition, Broken> {
    let Some(node) = chosen(facts) else {
        return Err((
            message!("no node is in the cluster whose end of WAL can be told"),
            message!("start a node, or mend its data directory; cls_status"),
        ));
    };
    if !node.usable {
        return Err((
            message!("{node} is not in service", node = node.node),
            message!(
                "start Pacemaker on {node}, or cls_unstandby_node {node}",
                node = node.node
            ),
        ));
    }
    match &node.end {
        Ok(_) => Ok(node),
        Err(why) => Err((
            message!(
                "the end of WAL on {node} cannot be told: {why}",
                node = node.node,
                why
            ),
            message!("give another node with --node"),
        )),
    }
}

/// The nodes that may be serving as primaries where this part of the cluster cannot see them, and of
/// which nobody has said that they are switched off (R15). A primary that is cut off from the lock
/// service goes on for as long as it is the only holder, or every other node has promised: the very
/// register that this decision changes was its proof. One that released its lease had stopped
/// PostgreSQL before (R8). A register that is damaged does not say who was primary last.
#[must_use]
pub fn may_still_serve(facts: &RecoveryFacts) -> Vec<NodeName> {
    // Nothing is decided beside a primary, and nobody has to be switched off for it.
    if !facts.promoted.is_empty() {
        return Vec::new();
    }
    let suspect = |node: &NodeName| match &facts.register {
        Some(Reading::Row(row)) if !damaged(facts) => {
            row.is_owned_by(node) && row.term > 0 && !row.ttl.is_zero()
        }
        Some(Reading::Unknown(_)) | None => false,
        Some(Reading::Row(_) | Reading::Missing | Reading::Damaged(_)) => goes_on(facts).is_none(),
    };
    facts
        .nodes
        .iter()
        .filter(|node| !node.member && suspect(&node.node) && !facts.off.contains(&node.node))
        .map(|node| node.node.clone())
        .collect()
}

/// The nodes that have to give way before the register is changed (R7, R15): members that may use the promises
/// of others at its epoch, and the chosen one, which must give none at it. Only the owner can use any; a
/// register that is damaged does not say who that was. Where a primary goes on, nobody else is to be kept from
/// anything. The chosen one is the last: what it gives up it lacks until the epoch moves, which it does not where
/// another one has refused.
#[must_use]
pub fn to_give_way(facts: &RecoveryFacts) -> Vec<NodeName> {
    let Some(chosen) = chosen(facts).filter(|_| goes_on(facts).is_none()) else {
        return Vec::new();
    };
    let owner = match &facts.register {
        Some(Reading::Row(row)) if !damaged(facts) => row.owner.as_ref(),
        _ => None,
    };
    if facts.register.is_none() {
        return Vec::new();
    }
    let asked = |node: &&NodePosition| {
        let may_use = damaged(facts) || owner == Some(&node.node);
        let other = node.node != chosen.node;
        other && may_use && node.member && !facts.off.contains(&node.node)
    };
    let nodes = facts.nodes.iter().filter(asked).chain([chosen]);
    nodes.map(|node| node.node.clone()).collect()
}

/// The epoch at which they give way, besides the one that each has seen: the register's, where it says one.
#[must_use]
pub fn gives_way_at(facts: &RecoveryFacts) -> u64 {
    match &facts.register {
        Some(Reading::Row(row)) => row.epoch,
        _ => 0,
    }
}

/// Why a node that was asked to give way could still be a primary. What the chosen one has served by is its
/// own.
fn not_given(answer: &Result<GaveWay, String>, chosen: bool) -> Option<Message> {
    match answer {
        Err(why) => Some(message!("it could not be asked to give way: {why}", why)),
        Ok(answer) if answer.serves => Some(message!(
            "PostgreSQL runs there as a primary, although the cluster does not show it"
        )),
        Ok(answer) if answer.used && !chosen => Some(message!(
            "it has let a standby go by the promises of the others, and has commits that they lack"
        )),
        Ok(_) => None,
    }
}

/// Decides which node is to be primary, and says what is lost with it. Before the decision is registered, it is
/// made again with what the nodes of [`to_give_way`] have answered.
///
/// # Errors
/// The first precondition that does not hold.
pub fn plan_recovery(facts: &RecoveryFacts) -> Result<RecoveryPlan, Box<Refusal>> {
    plan_recovery_by(RECOVERY_RULES, facts)
}

/// [`plan_recovery`] by the rules given: what was confirmed is registered later, when they are not asked again.
///
/// # Errors
/// The first precondition that does not hold, or no node that is chosen can be.
pub fn plan_recovery_by(
    rules: &[Precondition<RecoveryFacts>],
    facts: &RecoveryFacts,
) -> Result<RecoveryPlan, Box<Refusal>> {
    all_hold(rules, facts)?;
    let chosen =
        usable(facts).map_err(|(what, hint)| Box::new(Refusal::new(USABLE_NODE, what, hint)))?;
    Ok(RecoveryPlan {
        node: chosen.node.clone(),
        register: match &facts.register {
            Some(Reading::Row(row)) if !leapt(row, facts.seen) => Some(row.clone()),
            Some(Reading::Row(_) | Reading::Missing | Reading::Damaged(_)) => {
                Some(Register::fresh())
            }
            Some(Reading::Unknown(_)) | None => None,
        },
        remake: match &facts.register {
            Some(Reading::Row(row)) => leapt(row, facts.seen),
            Some(Reading::Missing | Reading::Damaged(_)) => true,
            Some(Reading::Unknown(_)) | None => false,
        },
        goes_on: goes_on(facts) == Some(&chosen.node),
        lineage: lineage(facts, chosen).or_else(|| left(facts, chosen)),
        unproven: unproven(facts, chosen).cloned(),
        losses: losses(facts, chosen),
    })
}

/// The timelines of the chosen node's data: those that are kept, or where they are not proven, those that they have
/// from the term of the decision on, which is the one that [`Update::Override`] makes.
fn lineage(facts: &RecoveryFacts, chosen: &NodePosition) -> Option<Lineage> {
    let read = match &facts.register {
        Some(Reading::Row(row)) if !leapt(row, facts.seen) => row.term,
        _ => 0,
    };
    let term = read.max(facts.seen.term) + 1;
    let unproven = unproven(facts, chosen);
    unproven.map_or_else(|| chosen.lineage.clone(), |data| Some(data.chosen_at(term)))
}

/// Where nothing is kept about the chosen node's data: those of the register's timelines that they can be
/// on, by number.
fn left(facts: &RecoveryFacts, chosen: &NodePosition) -> Option<Lineage> {
    match &facts.register {
        Some(Reading::Row(row)) => row.timelines.lineage.up_to(end(chosen)?.timeline),
        _ => None,
    }
}

/// The register names nodes that are none of this cluster's, or another database: another cluster may
/// use the same name, and loses the register by this decision.
fn foreign(facts: &RecoveryFacts) -> Option<Message> {
    let row = match &facts.register {
        Some(Reading::Row(row)) => row,
        Some(Reading::Damaged(damage @ Damage::Foreign(_))) => {
            return Some(message!(
                "{what}: {advice}",
                what = damage.what(),
                advice = Damage::foreign()
            ));
        }
        _ => return None,
    };
    let known = |node: &NodeName| facts.nodes.iter().any(|own| own.node == *node);
    let named: Vec<&str> = row
        .owner
        .iter()
        .chain(&row.holders)
        .filter(|node| !known(node))
        .map(NodeName::as_str)
        .collect();
    (!named.is_empty()).then(|| {
        message!(
            "the register names {nodes}, which is none of this cluster's nodes: if another cluster uses the same lock name, give this one another distlock_lockname instead",
            nodes = named.join(", ")
        )
    })
}

/// What is known of what the others have and the chosen one has not.
fn losses(facts: &RecoveryFacts, chosen: &NodePosition) -> Vec<Message> {
    let mut losses = Vec::new();
    let Some(own) = proven_end(facts, chosen) else {
        return losses;
    };
    if let Some(Unproven { why, number, .. }) = unproven(facts, chosen)
        && facts.register.is_some()
    {
        losses.push(message!(
            "{node}: {why}. Its data would be gone on with as they are, also with what nobody was told to be committed; the other nodes' data on timeline {number} are none of its own",
            node = chosen.node,
            why,
            number = number.to_string()
        ));
    }
    if let Some(foreign) = foreign(facts) {
        losses.push(foreign);
    }
    if let Some(Reading::Row(row)) = &facts.register
        && row.term > 0
        && goes_on(facts).is_none()
        && row.holders.contains(&chosen.node)
        && let Some(recorded) = row.positions.get(&chosen.node)
        && *recorded > own.lsn
    {
        losses.push(message!(
            "{node} was seen at {recorded}, {bytes} bytes past what it has now (R10)",
            node = chosen.node,
            recorded = recorded.to_string(),
            bytes = recorded.distance(own.lsn).to_string()
        ));
    }
    if let Some(Reading::Row(row)) = &facts.register
        && row.term > 0
        && goes_on(facts).is_none()
        && !row.holders.contains(&chosen.node)
    {
        let holders: Vec<&str> = row.holders.iter().map(NodeName::as_str).collect();
        losses.push(message!(
            "{node} is not known to hold every acknowledged commit; {holders} is",
            node = chosen.node,
            holders = holders.join(", ")
        ));
        let recorded = row.positions.values().max();
        if let Some(recorded) = recorded.filter(|recorded| **recorded > own.lsn) {
            losses.push(message!(
                "the last primary was seen at {recorded}, {bytes} bytes past what {node} has; it may have written more",
                recorded = recorded.to_string(),
                bytes = recorded.distance(own.lsn).to_string(),
                node = chosen.node
            ));
        }
    }
    for other in facts.nodes.iter().filter(|node| node.node != chosen.node) {
        match &other.end {
            Err(why) => losses.push(message!(
                "what {node} has is not known: {why}",
                node = other.node,
                why
            )),
            Ok(theirs) if *theirs > own => losses.push(message!(
                "{other} has WAL up to {end} on timeline {timeline}, which {node} has not",
                other = other.node,
                end = theirs.lsn.to_string(),
                timeline = theirs.timeline.to_string(),
                node = chosen.node
            )),
            Ok(_) => {}
        }
    }
    losses
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;
    use crate::lineage::{self, Held, Record, TimelineName};
    use crate::lsn::Lsn;
    use crate::register::{HIGHEST, LEAP, Trouble};
    use crate::snapshot::StandbySignal;
    use crate::timeline::{History, HistoryEntry, TimelineId};

    fn name(text: &str) -> NodeName {
        text.parse().unwrap()
    }

    fn said(losses: &[Message]) -> String {
        let lines: Vec<String> = losses.iter().map(ToString::to_string).collect();
        lines.join("\n")
    }

    fn node(node: &str, timeline: u32, lsn: u64) -> NodePosition {
        NodePosition {
            node: name(node),
            member: true,
            usable: true,
            runs: true,
            end: Ok(WalPosition {
                timeline: TimelineId::new(timeline).unwrap(),
                lsn: Lsn::new(lsn),
            }),
            system: Some(7),
            lineage: None,
            unproven: None,
        }
    }

    #[test]
    fn a_decision_is_registered_only_where_the_reply_says_so() {
        let row = Register {
            term: 4,
            epoch: 9,
            ..Register::fresh()
        };
        let made = registered(&Reply::Applied(row.clone()));
        assert_eq!(made, Ok(Seen::of(&row)));
        for reply in [Reply::NotApplied(row), Reply::Missing] {
            let not = registered(&reply);
            assert!(matches!(not, Err(NotRegistered::Not(_))), "{reply:?}");
        }
        let lost = Reply::Unknown(Trouble::Unreachable("no answer".to_owned()));
        assert!(matches!(registered(&lost), Err(NotRegistered::Unknown(_))));
    }

    #[test]
    fn a_mended_register_is_taken_over_by_a_renewal_of_its_owner() {
        let row = |owner: &str, left| {
            Reading::Row(Register {
                owner: Some(name(owner)),
                term: 4,
                lease_left: Duration::from_secs(left),
                ..Register::fresh()
            })
        };
        assert_eq!(taken_over(&row("a", 7), &name("a")), Ok(()));
        for reading in [row("a", 0), row("b", 7), Reading::Missing] {
            let not_yet = taken_over(&reading, &name("a"));
            assert!(not_yet.is_err(), "{reading:?}");
        }
    }

    /// D1: the old primary, which committed alone, is lost; the other one is no holder.
    fn d1() -> RecoveryFacts {
        RecoveryFacts {
            wanted: None,
            replicated: true,
            promoted: vec![],
            off: [name("node1")].into(),
            nodes: vec![
                NodePosition {
                    member: false,
                    usable: false,
                    runs: false,
                    end: Err("no answer".to_owned()),
                    ..node("node1", 1, 0)
                },
                node("node2", 1, 0x3000),
            ],
            me: name("node2"),
            here: Some(7),
            register: Some(Reading::Row(Register {
                owner: Some(name("node1")),
                term: 1,
                epoch: 4,
                holders: [name("node1")].into(),
                positions: [(name("node1"), Lsn::new(0x4000))].into(),
                ttl: Duration::from_secs(3),
                ..Register::fresh()
            })),
            known: Seen { term: 1, epoch: 4 },
            seen: Seen { term: 1, epoch: 4 },
            number: 0,
            gave_way: None,
        }
    }

    #[test]
    fn the_register_is_written_for_the_data_of_the_chosen_node() {
        for (here, theirs, allowed) in [
            (Some(7), Some(7), true),
            (Some(7), None, true),
            (Some(8), Some(7), false),
            (None, Some(7), false),
        ] {
            let mut facts = d1();
            facts.here = here;
            facts.nodes[1].system = theirs;
            let refused = plan_recovery(&facts).err().map(|refusal| refusal.id);
            let expected = (!allowed).then_some("recovery-same-database");
            assert_eq!(refused, expected, "{here:?} {theirs:?}");
        }
    }

    /// A standby of timeline 1, the record of which is as of then, that was opened at 0x2000.
    fn by_hand() -> Unproven {
        let timeline = |number| TimelineId::new(number).unwrap();
        let record = opened_by_hand_record();
        let history = History {
            own: timeline(2),
            entries: vec![HistoryEntry {
                parent: timeline(1),
                end: Lsn::new(0x2000),
            }],
        };
        let seen = lineage::Seen {
            record: Some(&record),
            system: Some(7),
            end: node("node2", 2, 0x3000).end.unwrap(),
            history: &history,
            standby_signal: StandbySignal::Missing,
            fresh_copy: false,
        };
        lineage::unproven(&seen, None).unwrap()
    }

    fn first() -> TimelineName {
        TimelineName {
            term: 1,
            number: TimelineId::FIRST,
            fork: Lsn::INVALID,
        }
    }

    fn opened_by_hand_record() -> Record {
        Record {
            system: 7,
            lineage: Lineage::new(vec![first()]),
            held: Held::Following,
        }
    }

    /// Nobody else is left who could be a primary, so that the chosen data must be started after it.
    #[test]
    fn data_that_were_opened_by_hand_are_gone_on_with_under_the_term_of_the_decision() {
        let mut facts = d1();
        facts.nodes[1] = NodePosition {
            unproven: Some(by_hand()),
            ..node("node2", 2, 0x3000)
        };
        let Some(Reading::Row(row)) = &mut facts.register else {
            panic!()
        };
        row.timelines = row.timelines.named(1, &Lineage::new(vec![first()]));
        let plan = plan_recovery(&facts).unwrap();
        assert!(
            plan.losses[0]
                .to_string()
                .contains("somebody else than the cluster")
        );
        let update = plan.update(&facts, String::new()).unwrap();
        let Some(Reading::Row(row)) = &facts.register else {
            panic!()
        };
        let after = update.apply(row).unwrap();
        assert_eq!(after.timelines.highest, 2);
        // Kept by the node, at the term that the register has now.
        let kept = plan.unproven.unwrap().chosen_at(after.term);
        assert_eq!(kept, after.timelines.lineage);
        let own = kept.last().unwrap();
        assert_eq!((own.term, own.fork), (after.term, Lsn::new(0x2000)));
    }

    /// Its own timeline is the newest, and what it wrote there is nobody's.
    #[test]
    fn data_that_were_opened_by_hand_hide_no_node_that_has_more() {
        let mut facts = d1();
        facts.nodes = vec![
            node("node1", 1, 0x5000),
            NodePosition {
                unproven: Some(by_hand()),
                ..node("node2", 2, 0x3000)
            },
        ];
        let Some(Reading::Row(row)) = &mut facts.register else {
            panic!()
        };
        row.holders = [name("node1"), name("node2")].into();
        row.positions = [(name("node2"), Lsn::new(0x2800))].into();
        let plan = plan_recovery(&facts).unwrap();
        assert_eq!(plan.node, name("node1"));
        facts.wanted = Some(name("node2"));
        let plan = plan_recovery(&facts).unwrap();
        let said = said(&plan.losses);
        assert!(said.contains("node1 has WAL up to 0/5000"), "{said}");
        assert!(said.contains("node2 was seen at 0/2800"), "{said}");
        // One that has less than what was proven before is not taken instead.
        facts.wanted = None;
        facts.nodes[0] = node("node1", 1, 0x1000);
        assert_eq!(plan_recovery(&facts).unwrap().node, name("node2"));
    }

    /// A running primary is not replaced, and goes on when the register is mended.
    #[test]
    fn a_damaged_register_is_mended_beside_its_primary() {
        let older = |term, epoch| {
            let mut facts = d1();
            if let Some(Reading::Row(row)) = &mut facts.register {
                (row.term, row.epoch) = (term, epoch);
            }
            facts.register
        };
        for (register, remake) in [
            (Some(Reading::Missing), true),
            (
                Some(Reading::Damaged("holders is NULL".to_owned().into())),
                true,
            ),
            (older(0, 0), false),
            (older(1, 3), false),
        ] {
            let mut facts = d1();
            facts.nodes[0] = node("node1", 1, 0x4000);
            facts.register = register;
            facts.promoted = vec![name("node1")];
            let plan = plan_recovery(&facts).unwrap();
            assert_eq!(
                (plan.node, plan.goes_on, plan.remake),
                (name("node1"), true, remake)
            );
            assert_eq!(plan.losses, Vec::<Message>::new());
            facts.wanted = Some(name("node2"));
            assert_eq!(plan_recovery(&facts).unwrap_err().id, "recovery-no-primary");
            // The same without a primary: a decision as any other.
            (facts.promoted, facts.wanted) = (vec![], None);
            let plan = plan_recovery(&facts).unwrap();
            assert_eq!((plan.node, plan.goes_on), (name("node1"), false));
        }
    }

    /// Its register is not damaged because another node has lost its power and cannot be asked.
    #[test]
    fn a_primary_that_took_over_is_no_emergency_while_another_node_is_off() {
        let mut facts = d1();
        facts.promoted = vec![name("node2")];
        facts.seen = Seen::of_all([Some(facts.known), None]);
        if let Some(Reading::Row(row)) = &mut facts.register {
            row.owner = Some(name("node2"));
            row.holders = [name("node2")].into();
        }
        let refused = |facts: &RecoveryFacts| plan_recovery(facts).err().map(|refusal| refusal.id);
        assert_eq!(refused(&facts), Some("recovery-no-primary"));
        // Nobody is asked to cut anybody's power before that is said.
        assert_eq!(may_still_serve(&facts), []);
        // What the ones that were asked know better is damage, and the primary goes on.
        facts.known.epoch += 1;
        assert_eq!(refused(&facts), None);
        assert!(plan_recovery(&facts).unwrap().goes_on);
    }

    /// S7: numbers that no register can be raised beyond, and impossibly large steps, end with the
    /// decision: the row is made again, with the next number after what the nodes have seen.
    #[test]
    fn a_row_that_leapt_is_made_again() {
        let seen = Seen { term: 1, epoch: 4 };
        for (term, epoch, remake) in [
            (1, 4, false),
            (1 + LEAP, 4 + LEAP, false),
            (2 + LEAP, 5, true),
            (2, 5 + LEAP, true),
            (HIGHEST, HIGHEST, true),
        ] {
            let mut facts = d1();
            facts.seen = seen;
            if let Some(Reading::Row(row)) = &mut facts.register {
                (row.term, row.epoch) = (term, epoch);
            }
            let plan = plan_recovery(&facts).unwrap();
            assert_eq!(plan.remake, remake, "{term} {epoch}");
            let read = plan.register.unwrap();
            assert_eq!(read == Register::fresh(), remake, "{read:?}");
            // The primary that runs beside it goes on.
            facts.nodes[0] = node("node1", 1, 0x4000);
            facts.promoted = vec![name("node1")];
            assert_eq!(plan_recovery(&facts).is_ok(), remake, "{term} {epoch}");
        }
    }

    #[test]
    fn another_cluster_of_the_same_name_is_told() {
        let mut facts = d1();
        if let Some(Reading::Row(row)) = &mut facts.register {
            row.owner = Some(name("other1"));
            row.holders = [name("other1")].into();
        }
        let text = said(&plan_recovery(&facts).unwrap().losses);
        assert!(
            text.contains("other1") && text.contains("distlock_lockname"),
            "{text}"
        );
        let text = "the row belongs to another database".to_owned();
        facts.register = Some(Reading::Damaged(Damage::Foreign(text.clone())));
        let losses = plan_recovery(&facts).unwrap().losses;
        let told = losses
            .iter()
            .find(|loss| loss.to_string().starts_with(&text));
        assert!(
            told.unwrap().to_string().contains("distlock_lockname"),
            "{losses:?}"
        );
    }

    #[test]
    fn what_a_node_that_cannot_be_asked_has_seen_is_allowed_for() {
        let seen = |term, epoch| Some(Seen { term, epoch });
        let all = Seen::of_all([seen(3, 8), seen(4, 7)]);
        assert_eq!(all, Seen { term: 4, epoch: 8 });
        let all = Seen::of_all([seen(3, 8), None]);
        assert!(all.term > 100 && all.epoch > 100, "{all:?}");
    }

    #[test]
    fn memories_that_no_register_can_satisfy_are_told_apart() {
        let seen = |node: &str, term, epoch| (name(node), Seen { term, epoch });
        for (far, expected) in [
            (seen("node2", 3 + LEAP, 8), None),
            (seen("node2", 4 + LEAP, 8), Some("node2")),
            (seen("node2", 3, 9 + LEAP), Some("node2")),
            (seen("node2", 0, 0), None),
        ] {
            let nodes = [seen("node1", 3, 8), far];
            let found = Seen::apart(&nodes).map(|(ahead, _)| ahead.as_str());
            assert_eq!(found, expected, "{nodes:?}");
        }
    }

    #[test]
    fn the_loss_is_told() {
        let plan = plan_recovery(&d1()).unwrap();
        assert_eq!(plan.node, name("node2"));
        let text = said(&plan.losses);
        for expected in ["node1", "4096 bytes", "not known: no answer"] {
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn the_newest_is_chosen_and_a_holder_among_equals() {
        let mut facts = d1();
        facts.nodes = vec![
            node("node1", 1, 9),
            node("node2", 2, 3),
            node("node3", 1, 9),
        ];
        assert_eq!(plan_recovery(&facts).unwrap().node, name("node2"));
        facts.nodes[1] = node("node2", 1, 9);
        assert_eq!(plan_recovery(&facts).unwrap().node, name("node1"));
        if let Some(Reading::Row(row)) = &mut facts.register {
            row.holders = [name("node3")].into();
        }
        let plan = plan_recovery(&facts).unwrap();
        assert_eq!((plan.node, plan.losses), (name("node3"), vec![]));
    }

    /// R15: who may be serving where this node cannot see it.
    #[test]
    fn an_unseen_primary_must_be_said_to_be_off() {
        type Change = fn(&mut RecoveryFacts);
        let row = |facts: &mut RecoveryFacts, change: fn(&mut Register)| {
            if let Some(Reading::Row(row)) = &mut facts.register {
                change(row);
            }
        };
        let suspects = |change: &dyn Fn(&mut RecoveryFacts)| {
            let mut facts = d1();
            facts.off.clear();
            change(&mut facts);
            may_still_serve(&facts)
        };
        let one = vec![name("node1")];
        let none: Vec<NodeName> = vec![];
        assert_eq!(suspects(&|_| {}), one);
        // Said to be off; seen, as a member of this part; it stopped PostgreSQL and released.
        let cleared: [Change; 2] = [
            |f| f.off = [name("node1")].into(),
            |f| f.nodes[0].member = true,
        ];
        for change in cleared {
            assert_eq!(suspects(&change), none);
        }
        assert_eq!(suspects(&|f| row(f, |r| r.ttl = Duration::ZERO)), none);
        // Whom another node has replaced: its lease ran out under the guard's limit.
        let replaced = |r: &mut Register| r.owner = Some(name("node2"));
        assert_eq!(suspects(&|f| row(f, replaced)), none);
        // A register that was put back or deleted does not say who was primary last.
        let older = |f: &mut RecoveryFacts| {
            row(f, replaced);
            f.seen.term = 9;
        };
        assert_eq!(suspects(&older), one);
        assert_eq!(suspects(&|f| f.register = Some(Reading::Missing)), one);
    }

    /// The timelines of data that were opened at a term, with the number 2 and from the same position.
    fn opened(term: u64) -> Lineage {
        let name = |term, number, fork| TimelineName {
            term,
            number: TimelineId::new(number).unwrap(),
            fork: Lsn::new(fork),
        };
        Lineage::new(vec![name(0, 1, 0), name(term, 2, 0x3000)])
    }

    /// A standby that is stopped, or on the chosen node's own timelines, is in nobody's way.
    #[test]
    fn another_timeline_matters_where_it_runs() {
        for (runs, term, allowed) in [(true, 1, false), (false, 1, true), (true, 2, true)] {
            let mut facts = d1();
            facts.wanted = Some(name("node2"));
            facts.nodes[0] = node("node1", 2, 0x3000);
            facts.nodes[0].runs = runs;
            facts.nodes[0].lineage = Some(opened(term));
            facts.nodes[1].lineage = Some(opened(2));
            let refused = plan_recovery(&facts).err().map(|refusal| refusal.id);
            let expected = (!allowed).then_some("recovery-other-timeline");
            assert_eq!(refused, expected, "runs: {runs}, opened at {term}");
        }
    }

    const GAVE_WAY: GaveWay = GaveWay {
        serves: false,
        used: false,
        promised: false,
    };

    fn answers(facts: &mut RecoveryFacts, node: &str, answer: Result<GaveWay, String>) {
        let all = facts.gave_way.get_or_insert_default();
        all.insert(name(node), answer);
    }

    /// R7, R15: who is asked to give way before the register changes.
    #[test]
    fn who_may_use_promises_gives_way_first() {
        let asked = |change: fn(&mut RecoveryFacts)| {
            let mut facts = d1();
            facts.nodes.push(node("node3", 1, 0x2000));
            change(&mut facts);
            let nodes = to_give_way(&facts).into_iter();
            nodes.map(|node| node.to_string()).collect::<Vec<_>>()
        };
        // The chosen node, and the owner where it is there and not said to be off.
        assert_eq!(asked(|_| {}), ["node2"]);
        let there = |f: &mut RecoveryFacts| f.nodes[0] = node("node1", 1, 0x2000);
        assert_eq!(asked(there), ["node2"]);
        assert_eq!(
            asked(|f| {
                f.off.clear();
                f.nodes[0] = node("node1", 1, 0x2000);
            }),
            ["node1", "node2"]
        );
        // A damaged register does not say who was primary last.
        assert_eq!(
            asked(|f| f.register = Some(Reading::Missing)),
            ["node3", "node2"]
        );
        assert_eq!(
            asked(|f| {
                f.nodes[0] = node("node1", 1, 0x4000);
                f.wanted = Some(name("node1"));
            }),
            ["node1"]
        );
        // A running primary goes on, and without a register nobody promises.
        let none: [&str; 0] = [];
        assert_eq!(
            asked(|f| {
                f.register = Some(Reading::Missing);
                f.promoted = vec![name("node2")];
            }),
            none
        );
        assert_eq!(asked(|f| f.register = None), none);
    }

    #[test]
    fn who_does_not_give_way_may_be_a_primary() {
        let decided = |node: &str, answer: GaveWay| {
            let mut facts = d1();
            answers(&mut facts, node, Ok(answer));
            plan_recovery(&facts).err().map(|refusal| refusal.id)
        };
        let refused = Some("recovery-gives-way");
        let used = GaveWay {
            used: true,
            ..GAVE_WAY
        };
        let serves = GaveWay {
            serves: true,
            ..GAVE_WAY
        };
        assert_eq!(decided("node1", GAVE_WAY), None);
        assert_eq!(decided("node1", used.clone()), refused);
        assert_eq!(decided("node1", serves.clone()), refused);
        // What the chosen one has kept of a time as the primary is of no harm; that it serves is.
        assert_eq!(decided("node2", used), None);
        assert_eq!(decided("node2", serves), refused);
        // Its promise is a reason to ask about the owner, which is said to be off here.
        let promised = GaveWay {
            promised: true,
            ..GAVE_WAY
        };
        assert_eq!(decided("node2", promised.clone()), None);
        // Also one that is no node of the cluster any more.
        let removed = |off: bool| {
            let mut facts = d1();
            facts.nodes.remove(0);
            answers(&mut facts, "node2", Ok(promised.clone()));
            if !off {
                facts.off.clear();
            }
            plan_recovery(&facts).err().map(|refusal| refusal.id)
        };
        assert_eq!(removed(false), Some("recovery-promised"));
        assert_eq!(removed(true), None);
    }

    #[test]
    fn each_refusal() {
        type Change = fn(&mut RecoveryFacts);
        let cases: Vec<(&str, Change)> = vec![
            ("recovery-replicated", |f| f.replicated = false),
            ("recovery-no-primary", |f| f.promoted = vec![name("node1")]),
            ("recovery-known-node", |f| f.wanted = Some(name("node9"))),
            ("recovery-usable-node", |f| f.wanted = Some(name("node1"))),
            ("recovery-usable-node", |f| f.nodes.truncate(1)),
            ("recovery-usable-node", |f| {
                f.wanted = Some(name("node2"));
                f.nodes[1].end = Err("no control file".to_owned());
            }),
            ("recovery-same-database", |f| f.here = None),
            ("recovery-unproven-here", |f| {
                f.me = name("node1");
                f.nodes[1].unproven = Some(by_hand());
            }),
            ("recovery-register", |f| {
                f.register = Some(Reading::Unknown(Trouble::Unreachable("x".into())));
            }),
            ("recovery-lease", |f| {
                if let Some(Reading::Row(row)) = &mut f.register {
                    row.lease_left = Duration::from_secs(3);
                }
            }),
            ("recovery-old-primary-off", |f| f.off.clear()),
            ("recovery-gives-way", |f| {
                answers(f, "node2", Err("no answer".to_owned()))
            }),
            ("recovery-promised", |f| {
                f.off.clear();
                if let Some(Reading::Row(row)) = &mut f.register {
                    row.ttl = Duration::ZERO;
                }
                answers(
                    f,
                    "node2",
                    Ok(GaveWay {
                        promised: true,
                        ..GAVE_WAY
                    }),
                );
            }),
            ("recovery-other-timeline", |f| {
                f.nodes[0] = node("node1", 2, 0x3000);
                f.nodes[0].lineage = Some(opened(1));
                f.nodes[1].lineage = Some(opened(2));
            }),
            ("recovery-newest-without-register", |f| f.register = None),
            ("recovery-newest-without-register", |f| {
                f.register = None;
                f.nodes[0] = node("node1", 2, 5);
                f.wanted = Some(name("node2"));
            }),
        ];
        for (id, change) in &cases {
            let mut facts = d1();
            change(&mut facts);
            assert_eq!(plan_recovery(&facts).unwrap_err().id, *id, "{facts:?}");
        }
        for rule in RECOVERY_RULES {
            assert!(
                cases.iter().any(|(id, _)| *id == rule.id),
                "{} is not tried",
                rule.id
            );
        }
    }
}

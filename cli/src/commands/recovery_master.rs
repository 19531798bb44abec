//! `cls_recovery_master`: no node may be promoted, and an operator decides whose data to go on with.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use pha_core::decide::operator::{
    NodePosition, NotRegistered, RecoveryFacts, RecoveryPlan, may_still_serve, plan_recovery,
    registered, taken_over,
};
use pha_core::health::NotingCommand;
use pha_core::lineage::{Held, Record};
use pha_core::message;
use pha_core::message::Message;
use pha_core::names::{NodeAttribute, NodeName};
use pha_core::register::{Reading, Seen};
use pha_core::status::Role;
use pha_host::clock::Deadline;
use pha_host::node::memory_file;
use pha_host::record::RecordFile;
use serde_json::json;

use super::{cleanup, seen, wal_end, way};
use crate::app::Session;
use crate::audit::operator;
use crate::cluster::Cluster;
use crate::error::ClsError;
use crate::operate::{ASK, changing, lock, usable};
use crate::tools;
use crate::wait::{self, Look};

/// What to type where the decision was not registered, or may not have been: it holds only once.
fn again() -> Message {
    message!("cls_status, then give the command again")
}

/// Emergency: decide which node's data to go on with
///
/// For the case that no node may be promoted. Shows the end of WAL of every node and what would be
/// lost, asks for the name of the node as confirmation, writes the decision into the register and its
/// history, and lets Pacemaker elect. What the other nodes have beyond it is lost.
#[derive(Debug, Args)]
pub(crate) struct RecoveryMaster {
    /// The node [default: the one with the newest data that can be reached]
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Confirm without being asked, by the name of the node that is chosen
    #[arg(long, value_name = "NODE", alias = "yes-i-accept-the-loss")]
    confirm: Option<String>,
    /// This node is switched off: confirms it for a node that cannot be seen and may be serving
    #[arg(long, value_name = "NODE")]
    off: Vec<String>,
}

impl RecoveryMaster {
    pub(crate) fn run(&self, session: &Session) -> Result<(), ClsError> {
        let timeout = session.common.timeout.unwrap_or(Duration::from_secs(180));
        let deadline = Deadline::after(timeout);
        let cluster = Cluster::look(session, deadline)?;
        cluster.require_whole(deadline)?;
        let guard = lock::acquire(session, &cluster, NotingCommand::RecoveryMaster, deadline)?;
        let mut facts = self.facts(session, &cluster, deadline)?;
        ask_for_power(session, &mut facts);
        let plan = plan_recovery(&facts)?;
        show(session, &facts, &plan);
        self.confirm(session, &plan.node)?;
        if plan.register.is_some() {
            facts = way::asked_of(session, &cluster, facts, deadline)?;
            let _ = plan_recovery(&facts)?;
            let seen = decide(&cluster, &plan, &facts, deadline)?;
            keep_chosen(&cluster, &plan, seen)?;
            tell(session, &cluster, seen, deadline);
        }
        if plan.goes_on {
            await_takeover(session, &cluster, &plan.node, deadline)?;
            drop(guard);
            session.ui.done(
                &format!("the register is mended; {} is primary as before", plan.node),
                json!({ "primary": plan.node, "lost": plan.losses }),
            );
            return Ok(());
        }
        forget(&cluster, deadline)?;
        let primary = elected(session, &cluster, deadline)?;
        drop(guard);
        if primary != plan.node && plan.register.is_some() {
            return Err(ClsError::Disagree(format!(
                "{} was chosen, and {primary} is primary",
                plan.node
            )));
        }
        session.ui.done(
            &format!("{primary} is primary; the other nodes may need cls_repair_slave or cls_rebuild_slave"),
            json!({ "primary": primary, "lost": plan.losses }),
        );
        Ok(())
    }

    fn facts(
        &self,
        session: &Session,
        cluster: &Cluster,
        deadline: Deadline,
    ) -> Result<RecoveryFacts, ClsError> {
        let wanted = match &self.node {
            Some(name) => Some(cluster.named(name)?),
            None => None,
        };
        let register = match cluster.lock_service() {
            None => None,
            Some(service) => {
                let mut service = usable(service)?;
                Some(service.read(deadline.sub_budget(ASK)))
            }
        };
        // An owner that was removed from the cluster may be serving too.
        let owner = match &register {
            Some(Reading::Row(row)) => row.owner.as_ref(),
            _ => None,
        };
        let off = self.off.iter().map(|name| match owner {
            Some(owner) if owner.as_str() == name => Ok(owner.clone()),
            _ => cluster.named(name),
        });
        let off = off.collect::<Result<BTreeSet<_>, ClsError>>()?;
        let here = cluster.local_node(deadline)?;
        let nodes = cluster.nodes().into_iter().map(|name| {
            session
                .ui
                .progress(&format!("looking for the end of WAL on {name}"));
            let node = cluster.node(&name);
            let answer = match name == here {
                true => wal_end::of_this_node(cluster, deadline),
                false => wal_end::there(&name, cluster, deadline),
            };
            let told = answer.as_ref().ok();
            NodePosition {
                member: node.online,
                usable: node.serves(),
                runs: node.role() == Role::Unpromoted,
                system: match name == here {
                    true => cluster.local_system(),
                    false => told.and_then(|told| told.system),
                },
                lineage: told.and_then(|told| told.lineage.clone()),
                unproven: told.and_then(|told| told.unproven.clone()),
                end: answer.map(|answer| answer.position),
                node: name,
            }
        });
        // The row is made so that it is believed by all: also by what the cluster was told.
        let seen = match &register {
            Some(_) => seen::by_all(session, cluster, deadline)?,
            None => seen::ByAll::default(),
        };
        Ok(RecoveryFacts {
            wanted,
            replicated: cluster.params.rep_mode.replicated(),
            promoted: cluster.view.promoted().cloned().collect(),
            off,
            nodes: nodes.collect(),
            me: here.clone(),
            here: cluster.local_system(),
            known: seen.known.told(cluster.view.seen),
            seen: seen.allowed.told(cluster.view.seen),
            number: seen.number,
            register,
            gave_way: None,
        })
    }

    /// The exact word, typed or given.
    fn confirm(&self, session: &Session, node: &NodeName) -> Result<(), ClsError> {
        let word = match &self.confirm {
            Some(word) => word.clone(),
            None if std::io::stdin().is_terminal() => session.ui.ask(&session.ui.say(&message!(
                "Type {node} to go on with the data of {node}: ",
                node
            ))),
            None => {
                return Err(ClsError::refused(
                    message!("nobody is there to confirm"),
                    message!(
                        "--confirm {node}, after having read what would be lost",
                        node
                    ),
                ));
            }
        };
        if word == node.as_str() {
            return Ok(());
        }
        Err(ClsError::refused(
            message!(
                "{word} is not {node}; nothing was done",
                word = format!("{word:?}"),
                node
            ),
            message!("give the command again"),
        ))
    }
}

/// At a terminal, asks of each node that cannot be seen and may be serving whether it is switched off
/// (R15). Anything but the exact words leaves the refusal to the decision.
fn ask_for_power(session: &Session, facts: &mut RecoveryFacts) {
    if !std::io::stdin().is_terminal() {
        return;
    }
    for node in may_still_serve(facts) {
        let words = format!("{node} is off");
        let danger = message!(
            "{node} cannot be seen from here and may be alive and serving clients; going on beside it loses commits.",
            node
        );
        let question = message!(
            "Switch it off (its power, not the network). Type \"{words}\" when you have seen that it is: ",
            words
        );
        let [danger, question] = [danger, question].map(|text| session.ui.say(&text));
        let said = session.ui.ask(&format!("{danger}\n{question}"));
        if said == words {
            facts.off.insert(node);
        }
    }
}

/// What each node has, and what would be lost.
fn show(session: &Session, facts: &RecoveryFacts, plan: &RecoveryPlan) {
    for node in &facts.nodes {
        let end = match &node.end {
            Ok(end) => message!("WAL up to {end}", end = end.to_string()),
            Err(why) => message!("not known: {why}", why),
        };
        let node = match node.usable {
            true => Message::from(&node.node),
            false => message!("{node} (not in service)", node = node.node),
        };
        let line = session.ui.say(&message!("{node}: {end}", node, end));
        session.ui.progress(&format!("  {line}"));
    }
    let node = &plan.node;
    let mut said = vec![match plan.goes_on {
        true => message!(
            "{node} is primary and goes on; the register is damaged and would be mended from what the nodes know",
            node
        ),
        false => message!("{node} would be the primary", node),
    }];
    if plan.losses.is_empty() {
        said.push(message!("as far as is known, nothing would be lost"));
    }
    let lost = plan.losses.iter();
    said.extend(lost.map(|loss| message!("to be lost: {loss}", loss)));
    for line in said {
        session.ui.progress(&session.ui.say(&line));
    }
}

/// Writes the decision into the register, which keeps it in its history. It holds only if nothing
/// has changed there since it was read.
fn decide(
    cluster: &Cluster,
    plan: &RecoveryPlan,
    facts: &RecoveryFacts,
    deadline: Deadline,
) -> Result<Option<Seen>, ClsError> {
    let failed = |what: String| {
        ClsError::failed(
            message!(
                "the decision could not be registered, and nothing was done: {what}",
                what
            ),
            again(),
        )
    };
    let Some(service) = cluster.lock_service() else {
        return Ok(None);
    };
    let mut service = service.map_err(failed)?;
    // What was read may be older than the lock: the change applies to nothing else.
    let _changing = changing(cluster, NotingCommand::RecoveryMaster, deadline)?;
    if plan.remake {
        service
            .remake(deadline.sub_budget(ASK))
            .map_err(|trouble| failed(trouble.to_string()))?;
    }
    let off: Vec<&str> = facts.off.iter().map(NodeName::as_str).collect();
    let off = match off[..] {
        [] => String::new(),
        _ => format!(", {} said to be off", off.join(" and ")),
    };
    let by = format!(
        "operator {}: the data of {} were chosen{off}",
        operator(),
        plan.node
    );
    let Some(update) = plan.update(facts, by) else {
        return Ok(None);
    };
    let reply = service.update(&update, deadline.sub_budget(ASK));
    registered(&reply).map(Some).map_err(|why| match why {
        NotRegistered::Not(what) => failed(what),
        NotRegistered::Unknown(why) => ClsError::failed(
            message!(
                "nobody can tell whether the decision was registered: {why}",
                why
            ),
            again(),
        ),
    })
}

/// Keeps which timelines the chosen data are on from the decision on, where that was not proven (R13): its term is
/// nobody else's, so only now. Until then they are not started, and the command once more begins anew.
fn keep_chosen(cluster: &Cluster, plan: &RecoveryPlan, seen: Option<Seen>) -> Result<(), ClsError> {
    let Some((unproven, seen)) = plan.unproven.as_ref().zip(seen) else {
        return Ok(());
    };
    let failed = |why: String| {
        ClsError::failed(
            format!(
                "the decision is registered, and {} cannot keep it: {why}",
                plan.node
            ),
            "mend that, then give the command again",
        )
    };
    let system = cluster.local_system();
    let system = system.ok_or_else(|| failed("the control file cannot be read".to_owned()))?;
    let record = Record {
        system,
        lineage: unproven.chosen_at(seen.term),
        held: Held::Copied,
    };
    RecordFile::beside(&memory_file(&cluster.resource))
        .store(&record)
        .map_err(|error| failed(error.to_string()))
}

/// Tells the cluster how far the register has come now, over whatever was said of it before. The primary's
/// next monitor does the same, so that it is no error where it cannot be done here.
fn tell(session: &Session, cluster: &Cluster, seen: Option<Seen>, deadline: Deadline) {
    let Some(seen) = seen else { return };
    let resource = &cluster.resource;
    let (set, name) = (resource.register_set(), resource.register_property());
    if let Err(error) =
        tools::set_property(&set, &name, &seen.to_string(), deadline.sub_budget(ASK))
    {
        session.ui.progress(&format!(
            "the cluster could not be told the new term and epoch, which the primary does: {error}"
        ));
    }
}

/// Waits until the running primary has found the register to be its own and renewed its lease.
fn await_takeover(
    session: &Session,
    cluster: &Cluster,
    primary: &NodeName,
    deadline: Deadline,
) -> Result<(), ClsError> {
    let what = format!("{primary} to take the register over");
    wait::until(session, &what, deadline, || {
        let Some(Ok(mut service)) = cluster.lock_service() else {
            return Ok(Look::Pending("no lock service is configured".to_owned()));
        };
        let reading = service.read(deadline.sub_budget(ASK));
        Ok(taken_over(&reading, primary).map_or_else(Look::Pending, Look::Done))
    })
}

/// As the specification has it: the recorded switch and every node's data status are cleared.
fn forget(cluster: &Cluster, deadline: Deadline) -> Result<(), ClsError> {
    let resource = &cluster.resource;
    tools::delete_property(
        Some(&resource.property_set()),
        &resource.repl_info_property(),
        deadline,
    )?;
    for node in cluster.view.nodes.keys() {
        let attribute = resource.attribute(NodeAttribute::DataStatus);
        tools::delete_node(node.as_str(), &attribute, deadline)?;
    }
    Ok(())
}

/// Lets Pacemaker start and elect, and waits for a primary.
fn elected(session: &Session, cluster: &Cluster, deadline: Deadline) -> Result<NodeName, ClsError> {
    cleanup::forget(session, cluster, None, deadline)?;
    wait::until(session, "a primary", deadline, || {
        let cluster = cluster.again(session)?;
        if let Ok(primary) = cluster.primary() {
            return Ok(Look::Done(primary));
        }
        let nodes = cluster.view.nodes.keys();
        let states: Vec<String> = nodes.map(|name| cluster.state(name)).collect();
        Ok(Look::Pending(states.join(", ")))
    })
}

//! The hand-over of a planned switch, on the old primary's node (R9).

use std::time::Duration;

use pha_core::decide::operator::{
    HAND_OVER_STEPS, HandOverFacts, HandOverStep, HeldData, may_hand_over, plan_hand_over,
    serves_no_more,
};
use pha_core::health::NotingCommand;
use pha_core::names::NodeName;
use pha_core::postgres::RoleView;
use pha_core::register::{Reading, Register, Reply, Update};
use pha_core::status::Score;
use pha_core::timeline::WalPosition;
use pha_host::clock::Deadline;
use pha_host::lock::LockService;
use pha_host::node::{end_names, memory_file, pg_ctl};
use pha_host::pacemaker::Pacemaker;
use serde::{Deserialize, Serialize};

use super::wal_end;
use crate::app::Session;
use crate::cluster::Cluster;
use crate::error::ClsError;
use crate::operate::{ASK, changing, usable};
use crate::site;

/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What is wanted of the old primary's node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Whether there is anything against it, before the primary is stopped.
    Whether,
    /// To do it.
    For,
}

/// The answer: the register's epoch before it, or after it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Answer {
    epoch: u64,
}

/// What other nodes ask for, over ssh, as JSON.
pub(super) fn run(session: &Session, successor: &str, wanted: Wanted) -> Result<(), ClsError> {
    let deadline = Deadline::after(session.common.timeout.unwrap_or(LIMIT));
    let cluster = Cluster::look(session, deadline)?;
    let successor = cluster.named(successor)?;
    let answer = here(&cluster, &successor, wanted, deadline)?;
    session.ui.print_json(&answer);
    Ok(())
}

/// Asks the node of the old primary, which may be this one.
///
/// # Errors
/// Why it was not done, or is not known to have been done.
pub(super) fn ask(
    cluster: &Cluster,
    old: &NodeName,
    new: &NodeName,
    wanted: Wanted,
    deadline: Deadline,
) -> Result<(), ClsError> {
    let deadline = deadline.sub_budget(LIMIT);
    if *old == cluster.local_node(deadline)? {
        return here(cluster, new, wanted, deadline).map(drop);
    }
    let resource = format!("--resource={}", cluster.resource);
    let mut words = vec!["hand-over", &resource, new.as_str()];
    if wanted == Wanted::Whether {
        words.push("--check");
    }
    let answer = site::ask_there::<Answer>(old, &words, b"", deadline);
    answer.map(drop).map_err(|hindrance| {
        let otherwise = "cls_status, then try again";
        ClsError::failed(hindrance.why.as_str(), hindrance.remedy_or(otherwise))
    })
}

fn here(
    cluster: &Cluster,
    successor: &NodeName,
    wanted: Wanted,
    deadline: Deadline,
) -> Result<Answer, ClsError> {
    let Some(service) = cluster.lock_service() else {
        return Err(ClsError::refused(
            "without the built-in lock service nothing can be handed over",
            "cls_doctor says what is configured",
        ));
    };
    let mut service = usable(service)?;
    if wanted == Wanted::Whether {
        let facts = facts(cluster, &mut service, successor, wanted, deadline)?;
        may_hand_over(&facts)?;
        return Ok(Answer {
            epoch: facts.memory.epoch,
        });
    }
    // Nobody opens PostgreSQL here or changes the holders until this has ended (R12). What may be made by it
    // later than that holds at the present epoch only, at which this node then relies on no promise.
    let _changing = changing(cluster, NotingCommand::OnlineSwitch, deadline)?;
    let facts = facts(cluster, &mut service, successor, wanted, deadline)?;
    let update = plan_hand_over(&facts)?;
    let unknown = |what: String| {
        ClsError::failed(
            format!("it is not known to be handed over to {successor}: {what}"),
            "cls_status",
        )
    };
    let file = memory_file(&cluster.resource);
    let mut epoch = facts.memory.epoch;
    for step in HAND_OVER_STEPS {
        match step {
            HandOverStep::EndNames => end_names(&cluster.resource).map_err(|error| {
                ClsError::failed(error.to_string(), "mend that, then try again")
            })?,
            HandOverStep::Remember => file
                .load()
                .and_then(|memory| file.store(&memory.asking(&update)))
                .map_err(|error| unknown(error.to_string()))?,
            HandOverStep::Change => {
                let row = change(&mut service, &update, deadline).map_err(unknown)?;
                // The next operation of the agent sees it too.
                let kept = file.load().and_then(|seen| file.store(&seen.seeing(&row)));
                if let Err(error) = kept {
                    tracing::debug!("{error}");
                }
                epoch = row.epoch;
            }
        }
    }
    if !cluster.node(successor).is_promotable() {
        open_gate(cluster, successor, deadline);
    }
    Ok(Answer { epoch })
}

/// Makes the change of the register; the row after it.
fn change(
    service: &mut LockService,
    update: &Update,
    deadline: Deadline,
) -> Result<Register, String> {
    match service.update(update, deadline.sub_budget(ASK)) {
        Reply::Applied(row) => Ok(row),
        reply => Err(match reply.row() {
            Ok(row) => format!(
                "the register has changed meanwhile (term {}, epoch {})",
                row.term, row.epoch
            ),
            Err(no_row) => no_row.what().to_string(),
        }),
    }
}

fn facts(
    cluster: &Cluster,
    service: &mut LockService,
    successor: &NodeName,
    wanted: Wanted,
    deadline: Deadline,
) -> Result<HandOverFacts, ClsError> {
    let register: Reading = service.read(deadline.sub_budget(ASK));
    let memory = memory_file(&cluster.resource)
        .load()
        .map_err(|error| ClsError::failed(error.to_string(), "look at that file"))?;
    // What is stopped stays so under the change lock: its WAL has come to its end when that is read, and the
    // successor is asked after that.
    let stopped = is_stopped(cluster, deadline);
    let end = match wanted {
        Wanted::Whether => wal_end::here(cluster, deadline),
        Wanted::For => on_disk(cluster, deadline),
    };
    let here = end.map(|end| HeldData {
        end,
        system: cluster.local_system(),
        lineage: wal_end::own_data(cluster, end, deadline).0,
    });
    let there = wal_end::there(successor, cluster, deadline).map(|answer| HeldData {
        end: answer.position,
        system: answer.system,
        lineage: answer.lineage,
    });
    Ok(HandOverFacts {
        owner: cluster.local_node(deadline)?,
        successor: successor.clone(),
        register,
        memory: memory.told(cluster.view.seen),
        stopped,
        here,
        there,
    })
}

/// The successor's own monitor would find the same some seconds later, and opens the gate where this fails.
/// What the score does not know its promotion looks at (R1, R10, R14).
fn open_gate(cluster: &Cluster, successor: &NodeName, deadline: Deadline) {
    let (name, value) = (
        cluster.resource.promotion_attribute(),
        Score::MayPromote.to_string(),
    );
    let pacemaker = Pacemaker::new(cluster.resource.clone(), ASK);
    if let Err(error) = pacemaker.set_transient(successor, &name, &value, deadline) {
        tracing::debug!("{error}");
    }
}

/// Whether PostgreSQL does not serve as a primary here ([`serves_no_more`]).
fn is_stopped(cluster: &Cluster, deadline: Deadline) -> bool {
    let Ok(pg) = pg_ctl(&cluster.params) else {
        return false;
    };
    serves_no_more(&pg.surely_running(), || {
        let postgres = cluster.local_postgres().ok()?;
        let view = postgres.view(deadline.sub_budget(ASK)).ok()?;
        Some(matches!(view.role, RoleView::Standby(_)))
    })
}

/// Where the WAL on this disk ends. The standby that the old primary has become is not asked: it says what it
/// has replayed, which after an unclean stop comes later than what it has.
///
/// Nothing can come to it that counts. All WAL of this timeline was written here, and a standby is sent only what
/// has been flushed here before; and another primary would have another term, at which the change of the register
/// is not made.
fn on_disk(cluster: &Cluster, deadline: Deadline) -> Result<WalPosition, String> {
    let pg = pg_ctl(&cluster.params).map_err(|refusal| refusal.reason)?;
    let control = pg
        .controldata(deadline)
        .map_err(|error| error.to_string())?;
    pg.end_of_wal(&control, deadline)
        .map_err(|error| error.to_string())
}

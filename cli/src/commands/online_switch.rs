//! `cls_online_switch`: make another node the primary, while everything is well.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use pha_core::cluster::{ClusterNode, FailCount};
use pha_core::decide::operator::{
    Hold, Promotable, SwitchFacts, SwitchPlan, SwitchStandby, kept_off, plan_switch,
};
use pha_core::decide::whose;
use pha_core::health::NotingCommand;
use pha_core::hindrance::Hindrance;
use pha_core::history::Moment;
use pha_core::names::NodeName;
use pha_core::postgres::{Archiving, LinkRow, RoleView};
use pha_core::status::{Role, Score, WalSenderState};
use pha_core::sync_in_force::FILE_ERRORS;
use pha_host::clock::Deadline;
use serde_json::json;

use super::hand_over::{self, Wanted};
use super::restart::settings::SettingsQuestion;
use crate::app::Session;
use crate::cluster::Cluster;
use crate::error::ClsError;
use crate::operate::back::{Back, Start};
use crate::operate::{lock, register};
use crate::primary::Primary;
use crate::tools;
use crate::wait::{self, Look};

/// How long the register and PostgreSQL may take to answer before a switch.
const ASK: Duration = Duration::from_secs(5);
/// How long a checkpoint may take before the switch begins.
const CHECKPOINT: Duration = Duration::from_secs(60);
/// How long a switch that failed may take until there is a primary again.
const SETTLE: Duration = Duration::from_secs(60);
/// The least time after which the constraint of a hand-over has no effect any more, whatever becomes of this
/// command.
const HELD: Duration = Duration::from_secs(60);
/// So long before that nothing is begun any more that relies on it.
const MARGIN: Duration = Duration::from_secs(10);
/// How long the stopped primary may take to see that the successor has everything. What it has not received by
/// then nobody sends it any more.
const HANDING_OVER: Duration = Duration::from_secs(15);
/// Between two looks meanwhile.
const PAUSE: Duration = Duration::from_millis(250);
/// How long putting things back into order may take, whatever became of the switch.
const RESTORE: Duration = Duration::from_secs(20);
/// Transactions that have been open for a minute, which a switch would break off.
const OPEN: &str = "\
    select 'a transaction has been open for ' || date_trunc('second', clock_timestamp() - xact_start) \
    from pg_stat_activity where backend_type = 'client backend' \
    and xact_start < clock_timestamp() - interval '60 seconds'";

/// Make another node the primary, while everything is well
///
/// The old primary is stopped cleanly, the successor is promoted, and the old primary comes back as
/// a standby. Nothing is left in the configuration, whatever becomes of it.
#[derive(Debug, Args)]
pub(crate) struct OnlineSwitch {
    /// The successor [default: the synchronous standby, or the one that is closest]; with the built-in
    /// lock service also a standby that commits do not wait for
    #[arg(long, value_name = "NODE")]
    to: Option<String>,
    /// Only say what would be done, after looking whether it could be
    #[arg(long)]
    dry_run: bool,
    /// Also while a backup runs or a transaction has been open for a minute
    #[arg(long)]
    force: bool,
}

impl OnlineSwitch {
    pub(crate) fn run(&self, session: &Session) -> Result<(), ClsError> {
        let timeout = session.common.timeout.unwrap_or(Duration::from_secs(120));
        let deadline = Deadline::after(timeout);
        let cluster = Cluster::look(session, deadline)?;
        cluster.require_whole(deadline)?;
        // First, so that what is decided is still so when it is done.
        let guard = match self.dry_run {
            true => None,
            false => Some(lock::acquire(
                session,
                &cluster,
                NotingCommand::OnlineSwitch,
                deadline,
            )?),
        };
        let cluster = cluster.again(session)?;
        let facts = self.facts(&cluster)?;
        let Some(plan) = plan_switch(&facts)? else {
            let primary = cluster.primary()?;
            let sentence = format!("{primary} is the primary already");
            session.ui.done(&sentence, json!({ "primary": primary }));
            return Ok(());
        };
        let (old, new) = (&plan.from, &plan.to);
        may_be_performed(&cluster, &plan, deadline)?;
        if self.dry_run {
            let sentence =
                format!("{new} would become primary in place of {old}; nothing was done");
            session.ui.done(
                &sentence,
                json!({ "from": old, "to": new, "dry_run": true }),
            );
            return Ok(());
        }
        let took = perform(session, &cluster, &plan, timeout, deadline)?;
        // That the old primary can follow proves once more that the new one had received all of its WAL, the
        // shutdown checkpoint included (R9): it could not have joined with more than that.
        let rejoined = Back {
            node: Some((old, Start::Any)),
            before_next: false,
        };
        rejoined.wait(session, &cluster, deadline)?;
        drop(guard);
        session.ui.done(
            &format!(
                "{new} is primary after {:.1} s; {old} streams from it",
                took.as_secs_f64()
            ),
            json!({ "from": old, "to": new, "switch_seconds": took.as_secs_f64() }),
        );
        Ok(())
    }

    fn facts(&self, cluster: &Cluster) -> Result<SwitchFacts, ClsError> {
        let to = match &self.to {
            Some(name) => Some(cluster.named(name)?),
            None => None,
        };
        let promoted: Vec<NodeName> = cluster.view.promoted().cloned().collect();
        let asked = match &promoted[..] {
            [primary] => ask(cluster, primary),
            _ => Asked::default(),
        };
        let nodes = cluster.nodes();
        let serves = |name: &NodeName| cluster.node(name).serves();
        Ok(SwitchFacts {
            force: self.force,
            mode: cluster.params.rep_mode,
            absent: nodes.iter().filter(|name| !serves(name)).cloned().collect(),
            standbys: nodes
                .iter()
                .filter(|name| !promoted.contains(name))
                .filter_map(|name| Some((name, cluster.view.nodes.get(name)?)))
                .map(|(name, node)| standby(name, node, &asked))
                .collect(),
            register: register(cluster)?,
            seen: cluster.view.seen,
            pending: pending(cluster),
            failures: failed(cluster.view.our_failures()),
            busy: asked.busy,
            archiving: asked.archiving,
            file_errors: file_errors(cluster),
            nodes,
            promoted,
            to,
        })
    }
}

/// The same for a command that restarts PostgreSQL, and goes on as soon as the new primary is there. It has
/// the note that says which operation runs. Which node is primary now, and how long it took.
pub(crate) fn switch_away(
    session: &Session,
    cluster: &Cluster,
    force: bool,
    timeout: Duration,
    deadline: Deadline,
) -> Result<(NodeName, Duration), ClsError> {
    let wish = OnlineSwitch {
        to: None,
        dry_run: false,
        force,
    };
    let Some(plan) = plan_switch(&wish.facts(cluster)?)? else {
        return Err(ClsError::NoPrimary);
    };
    may_be_performed(cluster, &plan, deadline)?;
    let took = perform(session, cluster, &plan, timeout, deadline)?;
    Ok((plan.to, took))
}

/// Whether that could be done now.
///
/// # Errors
/// Why it is refused.
pub(crate) fn could_switch_away(cluster: &Cluster, force: bool) -> Result<(), ClsError> {
    let wish = OnlineSwitch {
        to: None,
        dry_run: true,
        force,
    };
    match plan_switch(&wish.facts(cluster)?)? {
        Some(plan) => may_be_performed(cluster, &plan, Deadline::after(HANDING_OVER)),
        None => Ok(()),
    }
}

/// What the plan needs of the old primary's node: where the register is to be handed over, that nothing is
/// against it as far as it can be seen while the primary runs.
fn may_be_performed(
    cluster: &Cluster,
    plan: &SwitchPlan,
    deadline: Deadline,
) -> Result<(), ClsError> {
    match plan.hand_over {
        true => hand_over::ask(cluster, &plan.from, &plan.to, Wanted::Whether, deadline),
        false => Ok(()),
    }
}

/// What keeps PostgreSQL from taking up changes of its settings, on each node that answers.
pub(crate) fn file_errors(cluster: &Cluster) -> BTreeMap<NodeName, Vec<String>> {
    let deadline = Deadline::after(ASK);
    let question = SettingsQuestion::of(cluster, deadline).by_pgdba();
    question.ask(FILE_ERRORS, deadline).into_iter().collect()
}

/// What the primary has said.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    lag: BTreeMap<NodeName, u64>,
    /// What its end would break off.
    pub(crate) busy: Vec<String>,
    /// What its end would wait for.
    pub(crate) archiving: Option<Archiving>,
}

/// How far each standby is behind, and what the end of this primary would break off: backups, and
/// transactions that have been open for a minute.
pub(crate) fn ask(cluster: &Cluster, primary: &NodeName) -> Asked {
    let deadline = Deadline::after(ASK);
    let sql = Primary::new(cluster, primary, deadline);
    let seen = sql.view(deadline).and_then(|view| match view.role {
        RoleView::Primary(view) => Ok((view.links, sql.rows(OPEN, deadline)?)),
        RoleView::Standby(_) => Err(Hindrance::of(&"it is in recovery").into()),
    });
    let (links, open) = match seen {
        Ok(seen) => seen,
        Err(error) => {
            return Asked {
                busy: vec![format!(
                    "{primary} cannot be asked whether a backup or a long transaction runs: {error}"
                )],
                ..Asked::default()
            };
        }
    };
    let nodes = cluster.nodes();
    let lag = |row: &LinkRow| {
        let node = whose(row, &cluster.view, &nodes)?;
        let behind = links.flushed.as_u64().checked_sub(row.flushed?.as_u64())?;
        Some((node, behind))
    };
    let backup = |row: &&LinkRow| row.state == Some(WalSenderState::Backup);
    let backups = links.rows.iter().filter(backup);
    let backups = backups.map(|_| "a backup runs".to_owned());
    Asked {
        lag: links.rows.iter().filter_map(lag).collect(),
        busy: backups
            .chain(open.into_iter().flatten().flatten())
            .collect(),
        // Who may not know it is not kept from switching.
        archiving: sql.archiving(deadline).ok().flatten(),
    }
}

fn standby(name: &NodeName, node: &ClusterNode, asked: &Asked) -> SwitchStandby {
    SwitchStandby {
        running: node.role() == Role::Unpromoted,
        streaming: node.streams(),
        synchronous: node.is_synchronous(),
        promotable: node.is_promotable(),
        unfit: node.unfit.as_ref().map(|unfit| unfit.why.clone()),
        barred: node.barred.clone(),
        lag: asked.lag.get(name).copied(),
        node: name.clone(),
    }
}

/// Why Pacemaker would not switch now.
fn pending(cluster: &Cluster) -> Vec<String> {
    let view = &cluster.view;
    let busy = view.all_pending();
    let mut pending: Vec<String> = busy
        .map(|(node, what)| format!("{what} is under way on {node}"))
        .collect();
    if !view.managed {
        pending.push("Pacemaker does not manage the database".to_owned());
    }
    let unmanaged = view.placed.iter().filter(|resource| !resource.managed);
    pending.extend(unmanaged.map(|left| format!("Pacemaker does not manage {}", left.name)));
    pending
}

/// Failures that are on record, in words.
pub(crate) fn failed<'c>(counts: impl Iterator<Item = &'c FailCount>) -> Vec<String> {
    let words = |count: &FailCount| {
        let FailCount {
            operation,
            resource,
            node,
            ..
        } = count;
        format!("{operation} of {resource} on {node}")
    };
    counts.map(words).collect()
}

/// The switch itself; how long it took until the new primary was there. Whatever becomes of it,
/// Ctrl-C included, nothing of it stays in the configuration.
fn perform(
    session: &Session,
    cluster: &Cluster,
    plan: &SwitchPlan,
    timeout: Duration,
    deadline: Deadline,
) -> Result<Duration, ClsError> {
    let (old, new) = (&plan.from, &plan.to);
    // The shutdown then has little to write, and writes stand still for less long. Who may not ask
    // for a checkpoint only waits longer.
    session.ui.progress(&format!("a checkpoint on {old}"));
    let checkpoint = deadline.sub_budget(CHECKPOINT);
    if let Err(error) = Primary::new(cluster, old, checkpoint).checkpoint(checkpoint) {
        tracing::debug!("{error}");
    }
    let began = Instant::now();
    session
        .ui
        .progress(&format!("moving the primary from {old} to {new}"));
    let switched = match plan.hand_over {
        true => stopped_and_handed_over(session, cluster, plan, timeout, deadline),
        false => tools::promote_on(&cluster.view.outer, new.as_str(), timeout, deadline),
    };
    let switched = switched.and_then(|()| promoted(session, cluster, plan, deadline));
    let took = began.elapsed();
    let restored = switched.map_err(|error| undone(session, cluster, error, plan));
    let end = Deadline::after(RESTORE);
    let cleared = tools::take_away(&tools::wish(&cluster.view.outer), end);
    let released = match plan.hand_over {
        true => tools::take_away(&kept_off(&cluster.view.outer, old.as_str()), end),
        false => Ok(()),
    };
    restored?;
    cleared?;
    released?;
    Ok(took)
}

/// R9: nobody is promoted while the old primary is stopped and hands the register over, and then nobody but the
/// successor. If this command dies on the way, the constraint ends by itself, and the ordinary rules decide:
/// before the hand-over the old primary may be promoted again, or another holder; after it the old primary or the
/// successor.
fn stopped_and_handed_over(
    session: &Session,
    cluster: &Cluster,
    plan: &SwitchPlan,
    timeout: Duration,
    deadline: Deadline,
) -> Result<(), ClsError> {
    let (old, new) = (&plan.from, &plan.to);
    let lifetime = HELD.max(timeout / 2);
    let held = deadline.sub_budget(lifetime - MARGIN);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let until = now.ok().map(|now| now + lifetime);
    let until = until.and_then(|until| Moment::of_seconds(until.as_secs_f64()));
    let until = until.ok_or_else(|| ClsError::refused("this node's clock is wrong", "set it"))?;
    let hold = Hold {
        clone: &cluster.view.outer,
        old,
        roles: cluster.roles,
        until,
    };
    // One of a command that was ended may be left, under the same name.
    tools::take_away(&hold.id(), held)?;
    tools::constrain(&hold.constraint(Promotable::Nobody), held)?;
    wait::until(session, &format!("{old} to be a standby"), held, || {
        let cluster = cluster.again(session)?;
        let pending = cluster.view.pending(old);
        Ok(match (cluster.node(old).role(), pending) {
            (Role::Unpromoted | Role::Stopped, None) => Look::Done(()),
            _ => Look::Pending(cluster.state(old)),
        })
    })?;
    let what = format!("{old} to hand the register over to {new}");
    let proving = held.sub_budget(HANDING_OVER);
    wait::until(session, &what, proving, || {
        Ok(
            match hand_over::ask(cluster, old, new, Wanted::For, proving) {
                Ok(()) => Look::Done(()),
                Err(error) => Look::Pending(error.to_string()),
            },
        )
    })?;
    tools::constrain_otherwise(&hold.constraint(Promotable::Only(new)), held)
}

/// Waits until the successor is the primary.
fn promoted(
    session: &Session,
    cluster: &Cluster,
    plan: &SwitchPlan,
    deadline: Deadline,
) -> Result<(), ClsError> {
    let (old, new) = (&plan.from, &plan.to);
    let what = format!("{new} to be primary");
    wait::until(session, &what, deadline, || {
        let cluster = cluster.again(session)?;
        // After a hand-over nobody else may be promoted until the constraint goes, which is not waited for.
        let failures = cluster.view.our_failures();
        let failures = failed(failures.filter(|count| plan.hand_over && count.node == *new));
        if !failures.is_empty() {
            return Err(ClsError::failed(
                format!("{new} could not be promoted: {}", failures.join(", ")),
                format!("Pacemaker's log on {new} says why; then cls_cleanup"),
            ));
        }
        // The new primary's score must be its own before the constraint goes, or Pacemaker would
        // prefer the old one again.
        if settled_on(&cluster, new) {
            return Ok(Look::Done(()));
        }
        let state = |name: &NodeName| match cluster.view.pending(name) {
            Some(pending) => format!("{name}: {pending}"),
            None => format!("{name}: {}", cluster.node(name).role()),
        };
        Ok(Look::Pending(format!("{}, {}", state(old), state(new))))
    })
}

/// After a switch that failed: the wish is turned round, so that the old primary stays what it is or
/// becomes it again, unless the new one is there already; waits for that and says who it is now.
fn undone(session: &Session, cluster: &Cluster, error: ClsError, plan: &SwitchPlan) -> ClsError {
    let (old, new) = (&plan.from, &plan.to);
    let deadline = Deadline::after(SETTLE);
    session
        .ui
        .progress(&format!("{error}; going back to {old} as primary"));
    if plan.hand_over
        && let Err(error) = tools::take_away(&kept_off(&cluster.view.outer, old.as_str()), deadline)
    {
        session.ui.progress(&error.to_string());
    }
    if let Err(error) = tools::promote_on(&cluster.view.outer, old.as_str(), SETTLE, deadline) {
        session.ui.progress(&error.to_string());
    }
    // Between two actions nothing is under way either, so it is believed when it is seen twice.
    let mut before = None;
    let settled = loop {
        let now = cluster.again(session).ok().and_then(|now| settled(&now));
        if now.is_some() && now == before {
            break now;
        }
        if deadline.expired() {
            break None;
        }
        before = now;
        std::thread::sleep(PAUSE.min(deadline.left()));
    };
    let now = settled.map_or_else(
        || "there is no primary now".to_owned(),
        |primary| format!("{primary} is the primary"),
    );
    session.ui.progress(&format!(
        "the switch from {old} to {new} did not come about; {now}"
    ));
    error
}

/// Whether a node is the primary, with a primary's promotion score.
fn settled_on(cluster: &Cluster, node: &NodeName) -> bool {
    cluster.view.one_promoted() == Some(node) && cluster.node(node).score == Some(Score::Primary)
}

/// The primary of a cluster in which nothing is under way.
fn settled(cluster: &Cluster) -> Option<NodeName> {
    let idle = cluster.view.all_pending().next().is_none();
    let primary = cluster.primary().ok().filter(|_| idle)?;
    settled_on(cluster, &primary).then_some(primary)
}

//! Changes that restart PostgreSQL: how they are made, and waited for.

use std::time::Duration;

use pha_core::decide::operator::{Course, RestartFacts, RestartInstance, plan_restart};
use pha_core::names::NodeName;
use pha_core::params::Mode;
use pha_core::setup::{Element, SetupPlan};
use pha_core::status::Role;
use pha_host::clock::Deadline;

use super::{Work, push};
use crate::app::Session;
use crate::cluster::Cluster;
use crate::commands::online_switch::{busy, failed, switch_away};
use crate::commands::start;
use crate::error::ClsError;
use crate::operate::lock::{self, Guard};
use crate::tools;
use crate::wait::{self, Look};

/// How long the question whether Pacemaker is at work may take.
const IDLE: Duration = Duration::from_secs(10);
/// How long taking a change back may take.
const BACK: Duration = Duration::from_secs(120);
/// For how long a node is kept from running the database at most, should nobody live to allow it again.
const KEPT_OFF: Duration = Duration::from_secs(120);
/// For how long the wish for another primary has an effect at most, the same.
const SWITCH: Duration = Duration::from_secs(120);
/// How long letting everything start again may take, once it was stopped.
const START: Duration = Duration::from_secs(30);
/// What half a change is called.
const MIXED: &str = "some nodes have the new parameters and others the old ones";
/// And what to type then.
const GOES_ON: &str = "cls_setup --restart goes on with it";

/// How PostgreSQL would be restarted; none where nothing that runs is restarted.
///
/// # Errors
/// What is in the way of a restart.
pub(super) fn course(
    session: &Session,
    work: &Work,
    force: bool,
    deadline: Deadline,
) -> Result<Option<Course>, ClsError> {
    if work.restarts().is_empty() {
        return Ok(None);
    }
    let cluster = match Cluster::look(session, deadline) {
        // It belongs to the agent that ours takes the place of.
        Err(ClsError::NoResource(_)) => {
            return Ok(Some(Course::Together {
                why: "the agent is another one".to_owned(),
                nodes: work.running.clone(),
            }));
        }
        cluster => cluster?,
    };
    Ok(Some(plan_restart(&facts(
        &cluster,
        &work.plan,
        force,
        &[],
    ))?))
}

/// Notes that this operation runs, and sees that the cluster is then still as it was when the course was
/// decided: of two operators one is refused, and no node is restarted for what it was before.
///
/// # Errors
/// [`ClsError::Refused`]; nothing was changed.
pub(super) fn begin(
    session: &Session,
    plan: &SetupPlan,
    course: &Course,
    force: bool,
    deadline: Deadline,
) -> Result<Option<Guard>, ClsError> {
    let cluster = match Cluster::look(session, deadline) {
        // The note is about a database of our agent.
        Err(ClsError::NoResource(_)) => return Ok(None),
        cluster => cluster?,
    };
    let guard = lock::acquire(session, &cluster, "cls_setup", deadline)?;
    let now = plan_restart(&facts(&cluster.again(session)?, plan, force, &[]))?;
    if now != *course {
        return Err(ClsError::refused(
            "the cluster has changed since this was planned: nothing was changed",
            "cls_setup --restart --dry-run shows how it would go now",
        ));
    }
    Ok(Some(guard))
}

/// What is known; the nodes that are `done` have the new parameters already.
fn facts(cluster: &Cluster, plan: &SetupPlan, force: bool, done: &[NodeName]) -> RestartFacts {
    let view = &cluster.view;
    let runs = |name: &NodeName| cluster.node(name).role() != Role::Stopped;
    let due = |name: &NodeName| plan.restarts_on(name) && !done.contains(name);
    let primary = view.one_promoted().filter(|primary| due(primary));
    let instances = view.nodes.iter().filter(|(name, _)| runs(name));
    let ours = view.our_failures();
    RestartFacts {
        instances: instances
            .map(|(name, node)| RestartInstance {
                promoted: node.role() == Role::Promoted,
                streams: node.streams(),
                synchronous: node.is_synchronous(),
                due: due(name),
                node: name.clone(),
            })
            .collect(),
        managed: view.managed && view.placed.iter().all(|placed| placed.managed),
        failures: failed(ours.filter(|count| runs(&count.node))),
        together: plan.together(),
        busy: primary.map_or_else(Vec::new, |primary| busy(cluster, primary)),
        force,
    }
}

/// Waits until Pacemaker has nothing more to do.
pub(super) fn settled(session: &Session, deadline: Deadline) -> Result<(), ClsError> {
    let what = "Pacemaker to be done";
    wait::until(session, what, deadline, || {
        Ok(match tools::idle(Deadline::after(IDLE))? {
            true => Look::Done(()),
            false => Look::Pending("it is at work".to_owned()),
        })
    })
}

/// Whether everything that Pacemaker did for us went well.
pub(super) fn nothing_failed(session: &Session) -> Result<(), ClsError> {
    let cluster = Cluster::look(session, Deadline::after(IDLE))?;
    let failed = failed(cluster.view.our_failures());
    if failed.is_empty() {
        return Ok(());
    }
    Err(ClsError::failed(
        format!(
            "the configuration is changed, and failures are on record: {}",
            failed.join(", ")
        ),
        "mend the cause (cls_status names it), then cls_cleanup",
    ))
}

/// Makes the change, restarts PostgreSQL, and waits until all is well; how it ended.
pub(super) fn perform(
    session: &Session,
    plan: &SetupPlan,
    course: &Course,
    force: bool,
    deadline: Deadline,
) -> Result<String, ClsError> {
    session.ui.progress(&course.to_string());
    let (cluster, adopted) = match Cluster::look(session, deadline) {
        Err(ClsError::NoResource(_)) => {
            // Pacemaker stops what runs by the old agent.
            push(&plan.before, &plan.after, deadline)?;
            (Cluster::look(session, deadline)?, true)
        }
        cluster => (cluster?, false),
    };
    let job = Job {
        session,
        plan,
        cluster,
        force,
        deadline,
    };
    let switched = match course {
        Course::Rolling { standbys, primary } => job.rolling(course, standbys, primary.as_ref())?,
        Course::Together { .. } if adopted => None,
        Course::Together { .. } => {
            job.together()?;
            None
        }
    };
    let changed = "the configuration is changed everywhere";
    let primary = start::complete(session, &job.cluster, deadline);
    let primary = primary.map_err(|error| error.beside(changed))?;
    nothing_failed(session)?;
    let gap = switched.map_or_else(String::new, |took| {
        format!(" (the switch took {:.1} s)", took.as_secs_f64())
    });
    Ok(format!(
        "the cluster is set up, and PostgreSQL was restarted: {primary} is primary{gap}, every standby streams"
    ))
}

struct Job<'a> {
    session: &'a Session,
    plan: &'a SetupPlan,
    cluster: Cluster,
    force: bool,
    deadline: Deadline,
}

/// How far a restart that goes round has come.
struct Round {
    /// What Pacemaker's configuration is now.
    now: Element,
    /// The nodes that have the new parameters.
    done: Vec<NodeName>,
    /// How many of them, the first ones, had them when this command began.
    earlier: usize,
}

impl Job<'_> {
    /// One node after the other; how long the switch took, where there was one.
    fn rolling(
        &self,
        begun: &Course,
        standbys: &[NodeName],
        primary: Option<&NodeName>,
    ) -> Result<Option<Duration>, ClsError> {
        let has_new = |name: &&NodeName| {
            self.cluster.node(name).role() != Role::Stopped && !self.plan.restarts_on(name)
        };
        let done: Vec<NodeName> = self.cluster.names.iter().filter(has_new).cloned().collect();
        let mut round = Round {
            now: self.plan.before.clone(),
            earlier: done.len(),
            done,
        };
        for node in standbys {
            self.still(&round, begun, node)?;
            self.next(&mut round, node)?;
        }
        let Some(primary) = primary else {
            push(&round.now, &self.plan.after, self.deadline)?;
            return Ok(None);
        };
        let cluster = self.cluster.again(self.session)?;
        let timeout = SWITCH.min(self.deadline.left());
        let switched = switch_away(self.session, &cluster, self.force, timeout, self.deadline);
        let (new, took) = switched.map_err(|error| {
            ClsError::failed(
                format!(
                    "the standbys have the new parameters, {primary} still has the old ones: {error}"
                ),
                format!("{}; then {GOES_ON}", error.hint()),
            )
        })?;
        self.session
            .ui
            .progress(&format!("restarting PostgreSQL on {primary}"));
        let before = self.started(primary)?;
        push(&round.now, &self.plan.after, self.deadline)?;
        self.restarted(primary, before).map_err(|error| {
            error.beside(&format!(
                "{new} is primary, and every node has the new parameters"
            ))
        })?;
        Ok(Some(took))
    }

    /// Whether the cluster is still as it has to be for the next standby: after a takeover it may be the
    /// primary.
    fn still(&self, round: &Round, begun: &Course, node: &NodeName) -> Result<(), ClsError> {
        let cluster = self.cluster.again(self.session)?;
        let now = plan_restart(&facts(&cluster, self.plan, self.force, &round.done));
        let (why, hint) = match now {
            Ok(now) if now.goes_on(begun, node) => return Ok(()),
            Ok(_) => (
                "the cluster has changed meanwhile".to_owned(),
                "cls_status".to_owned(),
            ),
            Err(refusal) => (refusal.what, refusal.hint),
        };
        Err(ClsError::failed(
            format!("{node} was not restarted: {why}; {MIXED}"),
            format!("{hint}; then {GOES_ON}"),
        ))
    }

    /// Gives one standby the new parameters. If it does not come back it gets the old ones again, and so do
    /// those that were done before it.
    fn next(&self, round: &mut Round, node: &NodeName) -> Result<(), ClsError> {
        self.session
            .ui
            .progress(&format!("restarting PostgreSQL on {node}"));
        let before = self.started(node)?;
        round.done.push(node.clone());
        self.write(round, self.deadline)?;
        self.restarted(node, before)
            .map_err(|error| self.taken_back(round, node, error))
    }

    /// Writes which nodes have the new parameters.
    fn write(&self, round: &mut Round, deadline: Deadline) -> Result<(), ClsError> {
        let done: Vec<&NodeName> = round.done.iter().collect();
        let next = match done.is_empty() {
            true => self.plan.before.clone(),
            false => self.plan.with_new_on(&done),
        };
        push(&round.now, &next, deadline)?;
        round.now = next;
        Ok(())
    }

    /// Which start the database runs after on a node.
    fn started(&self, node: &NodeName) -> Result<Option<i64>, ClsError> {
        let cluster = self.cluster.again(self.session)?;
        Ok(cluster.node(node).database.started)
    }

    /// Sees to it that a standby is restarted after new parameters were written, and waits for it. Pacemaker
    /// restarts an instance whose last operation was a start or a promotion. After a demotion it only
    /// begins the monitor anew (seen on 2.1.5), and PostgreSQL would go on with the old parameters.
    fn restarted(&self, node: &NodeName, before: Option<i64>) -> Result<(), ClsError> {
        settled(self.session, self.deadline)?;
        let cluster = self.cluster.again(self.session)?;
        let there = cluster.node(node);
        if there.role() == Role::Unpromoted && there.database.started == before {
            let clone = &self.cluster.view.outer;
            let stopped = tools::keep_off(clone, node.as_str(), KEPT_OFF, self.deadline)
                .and_then(|()| self.is_stopped(node, before));
            tools::allow_on(clone, node.as_str(), Deadline::after(START))?;
            stopped?;
        }
        let anew = |now: Option<i64>| now.is_some() && now != before;
        self.standby_is_back(node, &anew, self.deadline)
    }

    /// Or has been started again already, which Pacemaker does when the stop took longer than it is kept off.
    fn is_stopped(&self, node: &NodeName, before: Option<i64>) -> Result<(), ClsError> {
        let what = format!("PostgreSQL to stop on {node}");
        wait::until(self.session, &what, self.deadline, || {
            let cluster = self.cluster.again(self.session)?;
            let there = cluster.node(node);
            Ok(
                match there.role() == Role::Stopped || there.database.started != before {
                    true => Look::Done(()),
                    false => Look::Pending(cluster.state(node)),
                },
            )
        })
    }

    /// Waits until a standby runs after a start that is the right one, streams and, where commits wait for
    /// standbys, until they wait for one again that may be promoted.
    fn standby_is_back(
        &self,
        node: &NodeName,
        right: &dyn Fn(Option<i64>) -> bool,
        deadline: Deadline,
    ) -> Result<(), ClsError> {
        let synchronous = self.cluster.params.rep_mode == Mode::Sync;
        let what = format!("{node} to stream again");
        wait::until(self.session, &what, deadline, || {
            if !tools::idle(Deadline::after(IDLE))? {
                return Ok(Look::Pending("Pacemaker is at work".to_owned()));
            }
            let cluster = self.cluster.again(self.session)?;
            let there = cluster.node(node);
            let mut nodes = cluster.view.nodes.values();
            let safe = nodes.any(|node| node.is_synchronous() && node.is_promotable());
            let gone = |why: String| Err(ClsError::failed(format!("{node}: {why}"), ""));
            Ok(match there.role() {
                // Pacemaker has nothing more to do about it.
                Role::Stopped => return gone(there.why_stopped().to_string()),
                Role::Promoted => return gone("it has become the primary meanwhile".to_owned()),
                _ if !right(there.database.started) => {
                    Look::Pending(format!("{node} was not restarted yet"))
                }
                _ if !there.streams() => Look::Pending(cluster.state(node)),
                _ if synchronous && !safe => {
                    Look::Pending("no standby that commits wait for may be promoted yet".to_owned())
                }
                _ => Look::Done(()),
            })
        })
    }

    /// After a standby that did not come back: the primary still runs as it did, and so shall the rest.
    fn taken_back(&self, round: &mut Round, node: &NodeName, error: ClsError) -> ClsError {
        if matches!(error, ClsError::Interrupted(_) | ClsError::NoQuorum) {
            return ClsError::failed(format!("{error}: {MIXED}"), GOES_ON);
        }
        self.session
            .ui
            .progress(&format!("{error}; taking the change back"));
        let next = format!(
            "look into PostgreSQL's log on {node} and correct config.ini; then cls_setup --restart again"
        );
        match self.back(round) {
            Ok(()) => ClsError::failed(
                format!(
                    "{node} did not come back with the new parameters, so that they were taken back, and it streams again; the primary went on: {error}"
                ),
                next,
            ),
            Err(also) => ClsError::failed(
                format!(
                    "{node} did not come back with the new parameters ({error}), nor did all go well with the old ones ({also}); the primary was not restarted"
                ),
                next,
            ),
        }
    }

    /// The old parameters for every node that got the new ones, the last one first, one at a time.
    fn back(&self, round: &mut Round) -> Result<(), ClsError> {
        let clone = &self.cluster.view.outer;
        let mut failures = true;
        while round.done.len() > round.earlier {
            let Some(node) = round.done.pop() else { break };
            let deadline = Deadline::after(BACK);
            self.write(round, deadline)?;
            if std::mem::take(&mut failures) {
                tools::cleanup(clone, None, deadline)?;
            }
            settled(self.session, deadline)?;
            self.standby_is_back(&node, &|_| true, deadline)?;
        }
        push(&round.now, &self.plan.before, Deadline::after(BACK))
    }

    /// Everything is stopped with the old values and started with the new ones.
    fn together(&self) -> Result<(), ClsError> {
        let changed = start::stop(self.session, &self.cluster, self.deadline)
            .and_then(|()| push(&self.plan.before, &self.plan.after, self.deadline));
        let started = start::release(self.session, &self.cluster, Deadline::after(START));
        changed.map_err(|error| error.beside("everything starts again with the old parameters"))?;
        started
    }
}

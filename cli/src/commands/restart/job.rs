//! The steps of a restart that goes round, one node at a time.

use std::time::Duration;

use pha_core::decide::operator::{Course, plan_restart};
use pha_core::message;
use pha_core::message::Message;
use pha_core::names::NodeName;
use pha_core::setup::{Element, SetupPlan};
use pha_core::status::Role;
use pha_host::clock::Deadline;

use super::order::{Cause, Order, settled};
use crate::app::Session;
use crate::cluster::Cluster;
use crate::commands::online_switch::switch_away;
use crate::commands::setup::cib::push;
use crate::commands::start;
use crate::error::ClsError;
use crate::operate::back::{Back, Start};
use crate::tools;
use crate::wait::{self, Look};

/// How long taking a change back may take.
const BACK: Duration = Duration::from_secs(120);
/// For how long a node is kept from running the database at most, should nobody live to allow it again.
const KEPT_OFF: Duration = Duration::from_secs(120);
/// For how long the wish for another primary has an effect at most, the same.
const SWITCH: Duration = Duration::from_secs(120);
/// How long letting everything start again may take, once it was stopped.
const START: Duration = Duration::from_secs(30);

/// A restart under way.
pub(super) struct Job<'a> {
    pub(super) session: &'a Session,
    pub(super) order: Order<'a>,
    pub(super) cluster: Cluster,
    pub(super) deadline: Deadline,
}

/// How far a restart that goes round has come.
struct Round {
    /// What Pacemaker's configuration is now, where that changes.
    now: Option<Element>,
    /// The nodes that are done.
    done: Vec<NodeName>,
    /// How many of them, the first ones, were done when this command began.
    earlier: usize,
}

impl Job<'_> {
    /// One node after the other; how long the switch took, where there was one.
    pub(super) fn rolling(
        &self,
        begun: &Course,
        standbys: &[NodeName],
        primary: Option<&NodeName>,
    ) -> Result<Option<Duration>, ClsError> {
        let mut round = self.round();
        for node in standbys {
            self.still(&round, begun, node)?;
            self.next(&mut round, node)?;
        }
        let Some(primary) = primary else {
            self.finish(&round)?;
            return Ok(None);
        };
        let cluster = self.cluster.again(self.session)?;
        let timeout = SWITCH.min(self.deadline.left());
        let force = self.order.force;
        let switched = switch_away(self.session, &cluster, force, timeout, self.deadline);
        let (new, took) = switched.map_err(|error| {
            let state = match self.order.cause {
                Cause::Parameters(_) => message!(
                    "the standbys have the new parameters, {primary} still has the old ones",
                    primary
                ),
                Cause::Settings { .. } => message!("{primary} was not restarted", primary),
            };
            ClsError::failed(
                message!("{state}: {error}", state, error = error.what()),
                self.then_again(&error.hint()),
            )
        })?;
        self.session
            .ui
            .progress(&format!("restarting PostgreSQL on {primary}"));
        let ended = match self.order.cause {
            Cause::Parameters(_) => self.started(primary).and_then(|before| {
                self.finish(&round)?;
                self.restarted(primary, before)
            }),
            // It was stopped as a primary and started as a standby.
            Cause::Settings { .. } => self.standby_is_back(primary, Start::Any, self.deadline),
        };
        ended.map_err(|error| error.beside(&message!("{new} is primary", new)))?;
        Ok(Some(took))
    }

    /// Where it begins.
    fn round(&self) -> Round {
        match self.order.cause {
            Cause::Parameters(plan) => {
                let has_new = |name: &&NodeName| {
                    self.cluster.node(name).role() != Role::Stopped && !plan.restarts_on(name)
                };
                let names = self.cluster.names.iter();
                let done: Vec<NodeName> = names.filter(has_new).cloned().collect();
                Round {
                    now: Some(plan.before.clone()),
                    earlier: done.len(),
                    done,
                }
            }
            Cause::Settings { .. } => Round {
                now: None,
                done: Vec::new(),
                earlier: 0,
            },
        }
    }

    /// Writes the configuration as it shall stay.
    fn finish(&self, round: &Round) -> Result<(), ClsError> {
        match (self.order.cause, &round.now) {
            (Cause::Parameters(plan), Some(now)) => push(now, &plan.after, self.deadline),
            _ => Ok(()),
        }
    }

    /// Whether the cluster is still as it has to be for the next standby: after a takeover it may be the
    /// primary.
    fn still(&self, round: &Round, begun: &Course, node: &NodeName) -> Result<(), ClsError> {
        let cluster = self.cluster.again(self.session)?;
        let now = plan_restart(&self.order.facts(&cluster, &round.done)?);
        let (why, hint) = match now {
            Ok(now) if now.goes_on(begun, node) => return Ok(()),
            Ok(_) => (
                message!("the cluster has changed meanwhile"),
                message!("cls_status"),
            ),
            Err(refusal) => (refusal.what, refusal.hint),
        };
        Err(ClsError::failed(
            message!(
                "{node} was not restarted: {why}; {mixed}",
                node,
                why,
                mixed = self.order.cause.mixed()
            ),
            self.then_again(&hint),
        ))
    }

    /// What to type first, and then the command again.
    fn then_again(&self, first: &Message) -> Message {
        message!(
            "{first}; then {again}",
            first,
            again = self.order.cause.again()
        )
    }

    /// Restarts one standby, with the new parameters where there are any. If it does not come back it gets the
    /// old ones again, and so do those that were done before it.
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
        let (Cause::Parameters(plan), Some(now)) = (self.order.cause, &round.now) else {
            return Ok(());
        };
        let done: Vec<&NodeName> = round.done.iter().collect();
        let next = match done.is_empty() {
            true => plan.before.clone(),
            false => plan.with_new_on(&done),
        };
        push(now, &next, deadline)?;
        round.now = Some(next);
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
        self.standby_is_back(node, Start::OtherThan(before), self.deadline)
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
        start: Start,
        deadline: Deadline,
    ) -> Result<(), ClsError> {
        let back = Back {
            node: Some((node, start)),
            before_next: true,
        };
        back.wait(self.session, &self.cluster, deadline)
    }

    /// After a standby that did not come back: the primary still runs as it did, and so shall the rest.
    fn taken_back(&self, round: &mut Round, node: &NodeName, error: ClsError) -> ClsError {
        if matches!(error, ClsError::Interrupted(_) | ClsError::NoQuorum) {
            return ClsError::failed(
                message!(
                    "{error}: {mixed}",
                    error = error.what(),
                    mixed = self.order.cause.mixed()
                ),
                self.order.cause.again(),
            );
        }
        let Cause::Parameters(plan) = self.order.cause else {
            return ClsError::failed(
                message!(
                    "{node} did not come back from its restart; the primary was not restarted: {error}",
                    node,
                    error = error.what()
                ),
                self.then_again(&message!(
                    "look into PostgreSQL's log on {node} and correct its settings (postgresql.conf, postgresql.auto.conf), then cls_cleanup",
                    node
                )),
            );
        };
        self.session
            .ui
            .progress(&format!("{error}; taking the change back"));
        let next = message!(
            "look into PostgreSQL's log on {node} and correct config.ini; then cls_setup --restart again",
            node
        );
        match self.back(plan, round) {
            Ok(()) => ClsError::failed(
                message!(
                    "{node} did not come back with the new parameters, so that they were taken back, and it streams again; the primary went on: {error}",
                    node,
                    error = error.what()
                ),
                next,
            ),
            Err(also) => ClsError::failed(
                message!(
                    "{node} did not come back with the new parameters ({error}), nor did all go well with the old ones ({also}); the primary was not restarted",
                    node,
                    error = error.what(),
                    also = also.what()
                ),
                next,
            ),
        }
    }

    /// The old parameters for every node that got the new ones, the last one first, one at a time.
    fn back(&self, plan: &SetupPlan, round: &mut Round) -> Result<(), ClsError> {
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
            self.standby_is_back(&node, Start::Any, deadline)?;
        }
        match &round.now {
            Some(now) => push(now, &plan.before, Deadline::after(BACK)),
            None => Ok(()),
        }
    }

    /// Everything is stopped with the old values and started with the new ones; then these standbys are
    /// restarted once more, one after the other.
    pub(super) fn together(&self, again: &[NodeName]) -> Result<(), ClsError> {
        let stopped = start::stop(self.session, &self.cluster, self.deadline);
        let changed = stopped.and_then(|()| match self.order.cause {
            Cause::Parameters(plan) => push(&plan.before, &plan.after, self.deadline),
            Cause::Settings { .. } => Ok(()),
        });
        let started = start::release(self.session, &self.cluster, Deadline::after(START));
        changed.map_err(|error| match (&started, self.order.cause) {
            (Err(_), _) => error.beside(&message!("the database is stopped; cls_start starts it")),
            (Ok(()), Cause::Parameters(_)) => {
                error.beside(&message!("everything starts again with the old parameters"))
            }
            (Ok(()), Cause::Settings { .. }) => error.beside(&message!("everything starts again")),
        })?;
        started?;
        if again.is_empty() {
            return Ok(());
        }
        // What the primary is given less of comes to the standbys in its WAL.
        start::complete(self.session, &self.cluster, self.deadline)?;
        for node in again {
            self.session
                .ui
                .progress(&format!("restarting PostgreSQL on {node} once more"));
            if self.cluster.again(self.session)?.node(node).role() != Role::Unpromoted {
                return Err(ClsError::failed(
                    message!(
                        "{node} was not restarted once more: it is no standby any more",
                        node
                    ),
                    message!("cls_restart --pending restarts what still waits"),
                ));
            }
            let ended = self
                .started(node)
                .and_then(|before| self.restarted(node, before));
            ended.map_err(|error| {
                error.beside(&message!(
                    "the primary has its new settings, {node} may not have them yet",
                    node
                ))
            })?;
        }
        Ok(())
    }
}

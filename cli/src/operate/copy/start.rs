//! Stopping the standby before a copy, and letting Pacemaker start it after.

use std::time::Duration;

use pha_core::decide::operator::{Copied, CopyPlan, kept_off, still_missing};
use pha_core::params::Mode;
use pha_core::status::Role;
use pha_host::clock::Deadline;

use super::{Work, broken};
use crate::cluster::Cluster;
use crate::error::ClsError;
use crate::tools;
use crate::wait::{self, Look};

/// How long stopping a standby may take.
const STOP: Duration = Duration::from_secs(120);
/// How long the standby may take until it streams: recovery of the copied WAL, catching up.
const STREAM: Duration = Duration::from_secs(600);
/// How long putting things back into order may take, whatever became of the copy.
const RESTORE: Duration = Duration::from_secs(20);
/// How many looks in a row must show that Pacemaker has given the node up.
const SURE: u32 = 6;

impl Work<'_> {
    /// Stops a standby that does not stream, by a constraint that is lifted again.
    pub(super) fn take_down(&mut self) -> Result<(), ClsError> {
        let (clone, node) = (self.cluster.view.outer.clone(), self.node.clone());
        self.banned = true;
        tools::keep_off(&clone, node.as_str(), self.deadline.left(), self.deadline)?;
        let deadline = self.deadline.sub_budget(STOP);
        wait::until(
            self.session,
            &format!("the standby on {node} to be stopped"),
            deadline,
            || {
                let cluster = self.cluster.again(self.session)?;
                if let Some(pending) = cluster.view.pending(&node) {
                    return Ok(Look::Pending(pending));
                }
                if cluster.node(&node).role() != Role::Stopped || self.is_running() {
                    return Ok(Look::Pending("it still runs".to_owned()));
                }
                Ok(Look::Done(()))
            },
        )
    }

    pub(super) fn lift_ban(&mut self) -> Result<(), ClsError> {
        if !std::mem::take(&mut self.banned) {
            return Ok(());
        }
        tools::allow_on(
            &self.cluster.view.outer,
            self.node.as_str(),
            Deadline::after(RESTORE),
        )
    }

    pub(super) fn let_start(&mut self) -> Result<(), ClsError> {
        // Also the constraint of an earlier command that was killed, and none of an administrator's.
        let banned = kept_off(&self.cluster.view.outer, self.node.as_str());
        let again = self.cluster.again(self.session)?;
        self.banned |= again.view.left.contains(&banned);
        self.lift_ban()?;
        for resource in &self.cluster.view.ours {
            self.session
                .ui
                .progress(&format!("cleaning up {resource} on {}", self.node));
            tools::cleanup(resource, Some(self.node.as_str()), self.deadline)?;
        }
        Ok(())
    }

    /// Waits until the node is a streaming standby, and in synchronous mode one whose data count.
    pub(super) fn await_standby(&mut self, plan: &CopyPlan) -> Result<(), ClsError> {
        let deadline = self.deadline.sub_budget(STREAM);
        let what = format!("{} to stream from {}", self.node, plan.source);
        let mut given_up = 0;
        wait::until(self.session, &what, deadline, || {
            let cluster = self.cluster.again(self.session)?;
            let node = cluster.node(&self.node);
            let idle = cluster.view.pending(&self.node).is_none();
            let stopped = node.role() == Role::Stopped;
            // What failed before the cleaning is still on record for a moment.
            given_up = match stopped && idle && cluster.view.is_given_up(&self.node) {
                true => given_up + 1,
                false => 0,
            };
            if given_up >= SURE {
                return Err(broken(&node.why_stopped()));
            }
            match self.missing(&cluster)? {
                None => Ok(Look::Done(())),
                Some(missing) => Ok(Look::Pending(missing)),
            }
        })
    }

    /// What is still missing for the node to be a good standby.
    fn missing(&self, cluster: &Cluster) -> Result<Option<String>, ClsError> {
        let node = cluster.node(&self.node);
        if let Some(pending) = cluster.view.pending(&self.node) {
            return Ok(Some(pending));
        }
        if node.role() == Role::Stopped {
            return Ok(Some(node.why_stopped().to_string()));
        }
        let mut others = cluster.nodes().into_iter();
        let copied = Copied {
            node: &self.node,
            streams: node.streams(),
            synchronous: node.is_synchronous(),
            other_synchronous: others
                .any(|other| other != self.node && cluster.node(&other).is_synchronous()),
            waits: cluster.params.rep_mode == Mode::Sync,
            told: cluster.view.seen,
        };
        still_missing(&copied, || self.register())
    }
}

//! Stopping the standby before a copy, and letting Pacemaker start it after.

use std::time::Duration;

use pha_core::decide::operator::CopyPlan;
use pha_core::params::Mode;
use pha_core::register::Reading;
use pha_core::status::Role;
use pha_host::clock::Deadline;

use super::facts::{data_status, streams};
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
        let (clone, node) = (self.cluster.clone.clone(), self.node.to_string());
        self.banned = true;
        tools::keep_off(&clone, &node, self.deadline.left(), self.deadline)?;
        let deadline = self.deadline.sub_budget(STOP);
        wait::until(
            self.session,
            &format!("the standby on {node} to be stopped"),
            deadline,
            || {
                let cluster = self.cluster.again(self.session)?;
                let state = cluster.node(&node)?;
                if let Some(pending) = cluster.pending(state) {
                    return Ok(Look::Pending(pending));
                }
                if cluster.role(state) != Role::Stopped || self.is_running()? {
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
            &self.cluster.clone,
            self.node.as_str(),
            Deadline::after(RESTORE),
        )
    }

    pub(super) fn let_start(&mut self) -> Result<(), ClsError> {
        // Also the constraint of an earlier command that was killed.
        self.banned = true;
        self.lift_ban()?;
        for resource in &self.cluster.ours {
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
            let node = cluster.node(self.node.as_str())?;
            let idle = cluster.pending(node).is_none();
            let stopped = cluster.role(node) == Role::Stopped;
            // What failed before the cleaning is still on record for a moment.
            given_up = match stopped && idle && cluster.is_given_up(&self.node) {
                true => given_up + 1,
                false => 0,
            };
            if given_up >= SURE {
                return Err(broken(&cluster.why_stopped(node)));
            }
            match self.missing(&cluster)? {
                None => Ok(Look::Done(())),
                Some(missing) => Ok(Look::Pending(missing)),
            }
        })
    }

    /// What is still missing for the node to be a good standby.
    fn missing(&self, cluster: &Cluster) -> Result<Option<String>, ClsError> {
        let node = cluster.node(self.node.as_str())?;
        if let Some(pending) = cluster.pending(node) {
            return Ok(Some(pending));
        }
        if cluster.role(node) == Role::Stopped {
            return Ok(Some(cluster.why_stopped(node)));
        }
        if !streams(cluster, &self.node) {
            return Ok(Some("it does not stream yet".to_owned()));
        }
        let counts =
            data_status(cluster, &self.node).is_some_and(|status| status.is_streaming_sync());
        if cluster.params.rep_mode != Mode::Sync || !counts {
            // Another standby is the synchronous one, or none has to be; the primary names one
            // where it has none.
            let other = cluster.nodes().iter().any(|other| {
                *other != self.node
                    && data_status(cluster, other).is_some_and(|status| status.is_streaming_sync())
            });
            let enough = cluster.params.rep_mode != Mode::Sync || other;
            return Ok((!enough).then(|| "it streams, and is not synchronous yet".to_owned()));
        }
        match self.register()? {
            Some(Reading::Row(row)) if !row.holders.contains(&self.node) => Ok(Some(
                "it streams, and is no holder in the register yet".to_owned(),
            )),
            _ => Ok(None),
        }
    }
}

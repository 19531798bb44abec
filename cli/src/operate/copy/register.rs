//! The register's part in a copy: leaving it, and seeing that the source still owns it (R6).

use pha_core::decide::operator::{CopyPlan, has_left, may_be_used};
use pha_core::message;
use pha_core::message::Message;
use pha_core::register::{Register, Update};
use pha_host::rewind::Source;

use super::{Work, broken};
use crate::error::ClsError;
use crate::operate::ASK;

impl Work<'_> {
    /// R6: before its data are touched, the node no longer counts as one that holds all of them.
    pub(super) fn leave(&mut self) -> Result<(), ClsError> {
        let Some(service) = self.cluster.lock_service_of(self.system) else {
            return Ok(());
        };
        let mut service = service.map_err(|error| broken(&error))?;
        let update = Update::Leave {
            node: self.node.clone(),
        };
        let reply = service.update(&update, self.deadline.sub_budget(ASK));
        Ok(has_left(&reply, &self.node)?)
    }

    /// R6: the source is still the primary, at the term at which the copy began.
    pub(super) fn check_source(
        &mut self,
        plan: &CopyPlan,
        source: &Source,
    ) -> Result<(), ClsError> {
        let moved = |what: Message| {
            ClsError::failed(
                message!(
                    "{what}, so the copy from {source} cannot be used",
                    what,
                    source = plan.source
                ),
                message!(
                    "cls_rebuild_slave --keep-old --node {node}",
                    node = self.node
                ),
            )
        };
        let reading = self.register()?;
        let row = may_be_used(
            &plan.source,
            plan.term,
            reading.as_ref(),
            self.cluster.view.seen,
            || Ok(self.cluster.again(self.session)?.primary().ok()),
            || match self.source_view(source) {
                Ok(_) => Ok(true),
                Err(ClsError::Disagree(_)) => Ok(false),
                Err(error) => Err(error),
            },
        )?;
        let row = row.map_err(moved)?;
        self.timelines = row.and_then(Register::named_lineage).cloned();
        Ok(())
    }
}

//! The register's part in a copy: leaving it, and seeing that the source still owns it (R6).

use pha_core::decide::operator::{CopyPlan, has_left, source_holds, source_is_promoted};
use pha_core::message;
use pha_core::message::Message;
use pha_core::register::Update;
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
        match self.register()? {
            Some(reading) => {
                let told = self.cluster.view.seen;
                let row = source_holds(&plan.source, plan.term, &reading, told)
                    .map_err(|why| moved(Message::from(why)))?;
                self.timelines = row.named_lineage().cloned();
            }
            None => {
                let cluster = self.cluster.again(self.session)?;
                source_is_promoted(&plan.source, cluster.primary().ok().as_ref())
                    .map_err(|why| moved(Message::from(why)))?;
            }
        }
        match self.source_view(source) {
            Ok(_) => Ok(()),
            Err(ClsError::Disagree(_)) => {
                Err(moved(message!("{node} is in recovery", node = plan.source)))
            }
            Err(error) => Err(error),
        }
    }
}

//! The register's part in a copy: leaving it, and seeing that the source still owns it (R6).

use pha_core::decide::operator::CopyPlan;
use pha_core::register::{Reply, Update, believed};
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
        match (&reply, reply.row()) {
            (Reply::Applied(_), _) => Ok(()),
            (_, Ok(row)) if !row.holders.contains(&self.node) => Ok(()),
            (_, Ok(_)) => Err(ClsError::refused(
                format!(
                    "the register does not let {} leave: it is the owner, or the only holder",
                    self.node
                ),
                "look at it with cls_status, then give the command again",
            )),
            (_, Err(no_row)) => Err(ClsError::refused(no_row.to_string(), no_row.before_again())),
        }
    }

    /// R6: the source is still the primary, at the term at which the copy began. A primary that was
    /// replaced meanwhile may have given WAL that nobody else has.
    pub(super) fn check_source(
        &mut self,
        plan: &CopyPlan,
        source: &Source,
    ) -> Result<(), ClsError> {
        let hint = format!("cls_rebuild_slave --keep-old --node {}", self.node);
        let moved = |what: String| {
            ClsError::failed(
                format!("{what}, so the copy from {} cannot be used", plan.source),
                hint.clone(),
            )
        };
        let reading = self.register()?;
        let told = self.cluster.view.seen;
        match reading
            .as_ref()
            .map(|reading| believed(reading, None, told))
        {
            Some(Ok(row)) => {
                let owned = plan
                    .term
                    .is_some_and(|term| row.is_owned_at(&plan.source, term));
                if !owned {
                    return Err(moved(format!(
                        "the register's owner or term has changed (term {})",
                        row.term
                    )));
                }
                self.timelines =
                    (row.timelines.term == row.term).then(|| row.timelines.lineage.clone());
            }
            Some(Err(no_row)) => return Err(moved(no_row.what())),
            None => {
                let cluster = self.cluster.again(self.session)?;
                if cluster.primary().ok().as_ref() != Some(&plan.source) {
                    return Err(moved("another node became primary".to_owned()));
                }
            }
        }
        match self.source_view(source) {
            Ok(_) => Ok(()),
            Err(ClsError::Disagree(_)) => Err(moved(format!("{} is in recovery", plan.source))),
            Err(error) => Err(error),
        }
    }
}

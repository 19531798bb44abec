//! `cls_master`: which node is primary.

use std::time::Duration;

use clap::Args;
use pha_host::clock::Deadline;
use serde_json::json;

use crate::app::Session;
use crate::cluster::Cluster;
use crate::error::ClsError;

/// Print the name of the primary's node
///
/// Exit code 0 and the name, or 1 where no node is primary.
#[derive(Debug, Args)]
pub(crate) struct Master {}

impl Master {
    pub(crate) fn run(&self, session: &Session) -> Result<(), ClsError> {
        let timeout = session.common.timeout.unwrap_or(Duration::from_secs(5));
        let primary = Cluster::look(session, Deadline::after(timeout))?.primary()?;
        if session.ui.is_json() {
            session.ui.print_json(&json!({ "primary": primary }));
        } else {
            session.ui.print(primary.as_str());
        }
        Ok(())
    }
}

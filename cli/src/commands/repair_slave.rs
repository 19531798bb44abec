//! `cls_repair_slave`: bring an old primary back as a standby, by rewinding it.

use clap::Args;
use pha_core::decide::operator::{CopyKind, CopyRequest};

use crate::app::Session;
use crate::commands::Outcome;
use crate::error::ClsError;
use crate::operate::copy::{self, Order};

/// Repair a standby with pg_rewind: mostly an old primary that has WAL of its own
///
/// What the node has past the point where the new primary left the common history is taken back.
/// The node keeps its configuration files. Waits until it streams.
#[derive(Debug, Args)]
pub(crate) struct RepairSlave {
    /// The node to repair [default: this one]
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Where pg_rewind cannot do it, rebuild (the old data are moved aside)
    #[arg(long)]
    or_rebuild: bool,
    /// Only say what would be done, after looking whether it could be
    #[arg(long)]
    dry_run: bool,
}

impl RepairSlave {
    pub(crate) fn run(&self, session: &Session) -> Result<Outcome, ClsError> {
        let request = CopyRequest {
            kind: CopyKind::Repair,
            or_rebuild: self.or_rebuild,
            keep_old: self.or_rebuild,
        };
        let order = Order {
            node: self.node.clone(),
            dry_run: self.dry_run,
            ..Order::default()
        };
        copy::run(session, request, &order)
    }
}

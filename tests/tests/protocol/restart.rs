//! The primary's PostgreSQL crashes while the lock service is out of reach, and is restarted in place by the
//! promises of all others (R7).

use std::time::Duration;

use pha_core::lsn::Lsn;
use pha_core::parse::standby_names::Waits;
use pha_core::snapshot::{Links, Look, PrimaryView, Served};
use pha_core::timeline::History;

use crate::agent::timeline_id;
use crate::model::Explored;
use crate::state::{Postgres, State};

/// R2, R7, R10.
pub(crate) const REOPENED: &str =
    "only the owner of the register is opened in place, with all that is recorded of it";

impl Explored {
    /// What the guard has last seen of the primary that the node was: no less than the register records of
    /// it, since both come from the same look; but for a server that went on and showed it nothing.
    pub(crate) fn served(&self, state: &State, i: usize) -> Option<Served> {
        let node = &state.nodes[i];
        let (term, timeline) = node.reign.filter(|_| self.restarts && !node.rebooted)?;
        let seen = match state.row.positions[i] {
            recorded if self.rollbacks && !node.unseen => Lsn::new(u64::from(recorded)),
            _ => Lsn::new(1),
        };
        let timeline = timeline_id(timeline);
        let view = PrimaryView {
            timeline,
            history: History::without_ancestors(timeline),
            complete: Some(seen),
            waits: Waits::ForNobody,
            links: Links {
                rows: vec![],
                flushed: seen,
            },
            slots: vec![],
        };
        let served = Served {
            view,
            term,
            look: Look {
                outlived: Duration::from_millis(node.unseen.into()),
                ..Look::default()
            },
        };
        (!matches!(node.postgres, Postgres::Primary { .. })).then_some(served)
    }
}

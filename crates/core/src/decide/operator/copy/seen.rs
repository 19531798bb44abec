//! What was seen of a node and its data, as the rules of a copy take it.

use super::{CopyFacts, Instance};
use crate::lineage::Kinship;
use crate::snapshot::Process;
use crate::status::Role;
use crate::timeline::TimelineId;

impl Instance {
    /// What the database does on the node. `pending`: what Pacemaker is at there; `role`: what its operations
    /// leave there; `streams`: the primary sees it so.
    #[must_use]
    pub fn of(pending: Option<String>, role: Role, process: Process, streams: bool) -> Self {
        // What cannot be told may run.
        let runs = process != Process::Absent;
        match (pending, role) {
            (Some(pending), _) => Self::Changing(pending),
            (None, Role::Promoted) => Self::Primary,
            (None, Role::Unpromoted) => Self::Standby {
                streaming: runs && streams,
            },
            (None, Role::Stopped) if runs => Self::Foreign,
            (None, Role::Stopped) => Self::Stopped,
        }
    }
}

impl CopyFacts {
    /// Why `pg_rewind` would take these data for the primary's although they are not (R13).
    pub(super) fn alike(&self) -> Option<String> {
        match self.kinship.as_ref()? {
            Kinship::Diverged {
                fork,
                rewindable: false,
            } => Some(format!(
                "it compares numbers of timelines, and the one that {} has from {fork} on has the number of another",
                self.node
            )),
            // Replaced or opened by hand: nobody knows what a comparison of numbers is worth.
            Kinship::Unknown(why) => Some(why.clone()),
            Kinship::Diverged { .. } | Kinship::Unnamed | Kinship::Follows => None,
        }
    }
}

/// Why `pg_rewind`, which has ended well, has not made the data the primary's, or is not known to: what they were
/// before, and whether it has left a backup label, which it does where it has done anything; none where that cannot be
/// told. Before PostgreSQL 16 it takes
/// a server for one that is on the old timeline still that was opened after its latest checkpoint.
#[must_use]
pub fn not_rewound(before: Option<&Kinship>, label: Option<bool>) -> Option<String> {
    let Some(Kinship::Diverged { fork, .. }) = before else {
        return None;
    };
    let why = match label {
        Some(true) => return None,
        Some(false) => "it found nothing to do",
        None => "whether it has done anything cannot be told (backup_label cannot be looked at)",
    };
    Some(format!(
        "{why}, and the data are not the primary's from {fork} on"
    ))
}

/// Whether the source's latest checkpoint is of the timeline that it writes. `pg_rewind` before 17 takes the
/// source's timeline from there: with that of the time before its promotion it finds nothing that differs.
#[must_use]
pub fn has_checkpoint(checkpoint: Option<TimelineId>, writes: TimelineId) -> bool {
    checkpoint == Some(writes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::lsn::Lsn;
    use crate::timeline::WalPosition;

    #[test]
    fn what_pacemaker_knows_and_what_runs_are_one_answer() {
        let alive = Process::Alive { frozen: false };
        let standby = |streaming| Instance::Standby { streaming };
        for (role, process, streams, expected) in [
            (Role::Promoted, alive, false, Instance::Primary),
            (Role::Unpromoted, alive, true, standby(true)),
            (Role::Unpromoted, Process::Absent, true, standby(false)),
            (Role::Stopped, alive, false, Instance::Foreign),
            (Role::Stopped, Process::Orphans, false, Instance::Foreign),
            (Role::Stopped, Process::Absent, true, Instance::Stopped),
        ] {
            assert_eq!(Instance::of(None, role, process, streams), expected);
            let busy = Instance::of(Some("stop".to_owned()), role, process, streams);
            assert_eq!(busy, Instance::Changing("stop".to_owned()));
        }
    }

    #[test]
    fn a_rewind_that_did_nothing_leaves_diverged_data_as_they_were() {
        let fork = WalPosition {
            timeline: TimelineId::new(2).unwrap(),
            lsn: Lsn::new(16),
        };
        let diverged = Kinship::Diverged {
            fork,
            rewindable: true,
        };
        assert!(not_rewound(Some(&diverged), Some(false)).is_some());
        assert_eq!(not_rewound(Some(&diverged), Some(true)), None);
        // What cannot be looked at proves nothing.
        assert!(not_rewound(Some(&diverged), None).is_some());
        assert_eq!(not_rewound(Some(&Kinship::Follows), None), None);
        assert_eq!(not_rewound(None, None), None);
    }

    #[test]
    fn a_source_is_rewound_to_once_its_checkpoint_is_of_its_timeline() {
        let [one, two] = [1, 2].map(|number| TimelineId::new(number).unwrap());
        assert!(has_checkpoint(Some(two), two));
        assert!(!has_checkpoint(Some(one), two));
        assert!(!has_checkpoint(None, two));
    }
}

//! On which timeline the WAL on a disk ends: what is looked at for that, in which order, and what counts.

use std::cmp::Reverse;

use crate::lsn::Lsn;
use crate::parse::controldata::ControlData;
use crate::timeline::{History, TimelineId, WalPosition};

/// A timeline that data may have gone on to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Successor {
    history: History,
    /// Where it begins.
    pub begin: Lsn,
    /// The file of its first WAL. Without it there is none of it.
    pub first_file: String,
}

impl Successor {
    /// Its number.
    #[must_use]
    pub fn timeline(&self) -> TimelineId {
        self.history.own
    }

    /// Where the WAL ends, if `end` is where that of this timeline does; none where the data have not begun it
    /// ([`History::is_begun_at`]).
    #[must_use]
    pub fn end(&self, end: Lsn) -> Option<WalPosition> {
        self.history.is_begun_at(end).then_some(WalPosition {
            timeline: self.history.own,
            lsn: end,
        })
    }
}

impl ControlData {
    /// The timelines that the data may have gone on to, newest first, of those whose history files are there. A
    /// standby may have gone on to a newer one than the control file knows: its latest restartpoint may lie before
    /// the switch. One that does not come from the control file's position is none of these data
    /// ([`ControlData::may_be_on`]), and neither is one that left no other.
    #[must_use]
    pub fn successors(&self, newer: Vec<History>) -> Vec<Successor> {
        let mut newer = newer;
        newer.retain(|history| self.may_be_on(history));
        newer.sort_by_key(|history| Reverse(history.own));
        let successor = |history: History| {
            let begin = history.last_switch()?.end;
            Some(Successor {
                begin,
                first_file: self.wal.segment_file(history.own, begin),
                history,
            })
        };
        newer.into_iter().filter_map(successor).collect()
    }

    /// Where the WAL ends that goes up to `end` on the checkpoint's own timeline, where it has begun no other; none
    /// where not even the checkpoint is there, with which recovery would begin.
    #[must_use]
    pub fn end_on_own(&self, end: Lsn) -> Option<WalPosition> {
        (end > self.checkpoint).then_some(WalPosition {
            timeline: self.checkpoint_timeline,
            lsn: end,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::parse::controldata::{State, WalGeometry};
    use crate::timeline::HistoryEntry;

    fn number(number: u32) -> TimelineId {
        TimelineId::new(number).unwrap()
    }

    fn history(own: u32, left: &[(u32, u64)]) -> History {
        let entry = |(parent, end): &(u32, u64)| HistoryEntry {
            parent: number(*parent),
            end: Lsn::new(*end),
        };
        History {
            own: number(own),
            entries: left.iter().map(entry).collect(),
        }
    }

    /// The latest checkpoint is at 1000 on timeline 1.
    fn control() -> ControlData {
        ControlData {
            state: State::InArchiveRecovery,
            system_identifier: 7,
            checkpoint: Lsn::new(1000),
            redo: Lsn::new(1000),
            checkpoint_timeline: number(1),
            min_recovery_end: None,
            backup_in_progress: false,
            pg_control_version: 1300,
            catalog_version: 1,
            wal: WalGeometry::DEFAULT,
            checksums: true,
            wal_log_hints: false,
            limits: Limits::from_values([0; Limits::SETTINGS.len()]),
        }
    }

    #[test]
    fn the_newest_timeline_that_comes_from_here_is_looked_at_first() {
        let newer = vec![
            history(2, &[(1, 2000)]),
            history(4, &[(1, 2000), (2, 3000)]),
            // It left before the checkpoint, so that these data cannot be on it.
            history(3, &[(1, 500)]),
            History::without_ancestors(number(5)),
        ];
        let found = control().successors(newer);
        let order: Vec<u32> = found.iter().map(|one| one.timeline().get()).collect();
        assert_eq!(order, [4, 2]);
        assert_eq!(found[0].begin, Lsn::new(3000));
        assert_eq!(found[0].first_file, "000000040000000000000000");
        // The file was made for WAL that has not come.
        assert_eq!(found[0].end(Lsn::new(3000)), None);
        let end = found[0].end(Lsn::new(3001)).unwrap();
        assert_eq!((end.timeline, end.lsn), (number(4), Lsn::new(3001)));
    }

    #[test]
    fn the_checkpoint_is_part_of_the_wal() {
        assert_eq!(control().end_on_own(Lsn::new(1000)), None);
        let end = control().end_on_own(Lsn::new(1001)).unwrap();
        assert_eq!((end.timeline, end.lsn), (number(1), Lsn::new(1001)));
    }
}

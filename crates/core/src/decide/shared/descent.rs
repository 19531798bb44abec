//! Whether a data directory may follow the primary that `pgsql_REPL_INFO` names.

use crate::names::NodeName;
use crate::repl_info::ReplInfo;
use crate::timeline::{History, TimelineId, WalPosition};

/// The relation of a data directory to the last switch of the primary.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Descent {
    /// It is the primary's own, or a prefix or descendant of what the primary continued from.
    Follows,
    /// It has WAL that the primary does not have: from `fork` on, its history is its own.
    Diverged {
        /// Where the primary left the common history.
        fork: WalPosition,
        /// Where this data directory's WAL ends.
        end: WalPosition,
    },
}

/// Compares the real end of WAL (not the last checkpoint, which may lie before the fork although the
/// WAL reaches past it) and the timeline history with the switch that `pgsql_REPL_INFO` records.
///
/// An older timeline was left in an earlier switch, of which only the newer timelines' histories
/// tell. PostgreSQL compares with them too, but a standby that has diverged only asks again and again.
pub fn descent(
    info: &ReplInfo,
    me: &NodeName,
    end: WalPosition,
    history: &History,
    newer: &[History],
) -> Descent {
    let Some(before) = TimelineId::new(info.timeline) else {
        return Descent::Follows; // no switch has happened yet
    };
    if &info.node == me {
        return Descent::Follows;
    }
    if end.timeline < before {
        // A file of that number may be of another branch; this one has the very switch.
        let theirs = newer
            .iter()
            .find(|newer| newer.contains_switch(before, info.end));
        return match theirs.and_then(|theirs| history.leaves(end.lsn, theirs)) {
            Some(fork) => Descent::Diverged { fork, end },
            None => Descent::Follows,
        };
    }
    let mine_on_that_timeline = if end.timeline == before {
        Some(end.lsn)
    } else {
        history.end_of(before)
    };
    match mine_on_that_timeline {
        // Still on the old timeline: any prefix of it will do.
        Some(lsn) if end.timeline == before && lsn <= info.end => Descent::Follows,
        // Already past a switch: it must be this very switch.
        Some(lsn) if end.timeline != before && lsn == info.end => Descent::Follows,
        _ => Descent::Diverged {
            fork: WalPosition {
                timeline: before,
                lsn: info.end,
            },
            end,
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::lsn::Lsn;
    use crate::timeline::HistoryEntry;

    fn at(timeline: u32, lsn: u64) -> WalPosition {
        WalPosition {
            timeline: TimelineId::new(timeline).unwrap(),
            lsn: Lsn::new(lsn),
        }
    }

    fn history(own: u32, entries: &[(u32, u64)]) -> History {
        History {
            own: TimelineId::new(own).unwrap(),
            entries: entries
                .iter()
                .map(|(parent, end)| HistoryEntry {
                    parent: TimelineId::new(*parent).unwrap(),
                    end: Lsn::new(*end),
                })
                .collect(),
        }
    }

    #[test]
    fn the_end_of_wal_decides_and_not_the_checkpoint() {
        let me: NodeName = "node1".parse().unwrap();
        let info: ReplInfo = "node2|2|0000000007000410".parse().unwrap();
        let cases = [
            (
                "a prefix of the old timeline",
                at(2, 0x7000400),
                history(2, &[(1, 0x5000000)]),
                true,
            ),
            (
                "exactly the fork",
                at(2, 0x7000410),
                history(2, &[(1, 0x5000000)]),
                true,
            ),
            (
                "one record past the fork",
                at(2, 0x7000448),
                history(2, &[(1, 0x5000000)]),
                false,
            ),
            ("an older timeline", at(1, 0x7000448), history(1, &[]), true),
            (
                "past the same switch",
                at(3, 0x9000000),
                history(3, &[(1, 0x5000000), (2, 0x7000410)]),
                true,
            ),
            (
                "past another switch",
                at(3, 0x9000000),
                history(3, &[(1, 0x5000000), (2, 0x7000500)]),
                false,
            ),
            (
                "a history without that timeline",
                at(4, 0x9000000),
                history(4, &[(1, 0x5000000)]),
                false,
            ),
        ];
        for (name, end, history, follows) in cases {
            let found = descent(&info, &me, end, &history, &[]);
            assert_eq!(
                matches!(found, Descent::Follows),
                follows,
                "{name}: {found:?}"
            );
        }
    }

    #[test]
    fn a_timeline_that_was_left_earlier_is_judged_by_the_history_files() {
        let me: NodeName = "node1".parse().unwrap();
        let info: ReplInfo = "node3|3|0000000009000000".parse().unwrap();
        let mine = history(2, &[(1, 0x5000000)]);
        let theirs = [
            history(3, &[(1, 0x5000000), (2, 0x7000410)]),
            history(4, &[(1, 0x5000000), (2, 0x7000410), (3, 0x9000000)]),
        ];
        let found = |lsn, newer: &[History]| descent(&info, &me, at(2, lsn), &mine, newer);
        assert_eq!(found(0x7000410, &theirs), Descent::Follows);
        assert_eq!(
            found(0x7000448, &theirs),
            Descent::Diverged {
                fork: at(2, 0x7000410),
                end: at(2, 0x7000448),
            }
        );
        // Without the history file nothing can be told, and one of another branch says nothing.
        assert_eq!(found(0x7000448, &[]), Descent::Follows);
        let stray = [
            history(3, &[(1, 0x5000000), (2, 0x6000000)]),
            history(4, &[(1, 0x5000000), (2, 0x6000000), (3, 0x8000000)]),
        ];
        assert_eq!(found(0x7000448, &stray), Descent::Follows);
    }

    #[test]
    fn the_named_node_and_a_cluster_before_any_switch_follow() {
        let me: NodeName = "node1".parse().unwrap();
        let own: ReplInfo = "node1|2|0000000007000410".parse().unwrap();
        assert_eq!(
            descent(&own, &me, at(2, 0x8000000), &history(2, &[]), &[]),
            Descent::Follows
        );
        let fresh = ReplInfo::before_any_switch("node2".parse().unwrap());
        assert_eq!(
            descent(&fresh, &me, at(1, 0x8000000), &history(1, &[]), &[]),
            Descent::Follows
        );
    }
}

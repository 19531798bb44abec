//! Whether a guard does its work: as the agent finds it, and as it finds itself.

use std::time::Duration;

use crate::snapshot::{Guard, GuardSeen};

/// Rounds of a guard are shorter than this; one that has begun none for so long hangs.
const HANGS: Duration = Duration::from_secs(10);

/// What a step of a guard may be late by before it takes it that it, or the machine, stood still.
const SLACK: Duration = Duration::from_millis(500);

/// Judges the guard that was found.
#[must_use]
pub fn at_work(seen: GuardSeen) -> Guard {
    match seen {
        GuardSeen::None => Guard::Absent,
        // It holds its lock and cannot be told who it is.
        GuardSeen::Unknown(why) => Guard::Stale(why),
        GuardSeen::There { silent, .. } if silent > HANGS => {
            Guard::Stale(format!("it has not moved for {} s", silent.as_secs()))
        }
        GuardSeen::There {
            same_parameters: false,
            ..
        } => Guard::Stale("it was started with other parameters".to_owned()),
        GuardSeen::There {
            same_program: false,
            ..
        } => Guard::Stale("it is of another version of the program".to_owned()),
        GuardSeen::There { .. } => Guard::Running,
    }
}

/// Whether a step that was to be over when it was `due` is later than anything but a stop of the process
/// or of the machine explains; both on the clock that counts from the machine's start. What the guard has
/// seen before it stood still is of the past, and proves nothing (R15).
#[must_use]
pub fn stood_still(now: Duration, due: Duration) -> bool {
    now > due + SLACK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_guard_that_moves_and_is_the_same_is_at_work() {
        let there = |silent, same_parameters, same_program| GuardSeen::There {
            silent: Duration::from_secs(silent),
            same_parameters,
            same_program,
        };
        assert_eq!(at_work(GuardSeen::None), Guard::Absent);
        assert_eq!(at_work(there(10, true, true)), Guard::Running);
        for stale in [
            there(11, true, true),
            there(0, false, true),
            there(0, true, false),
            GuardSeen::Unknown("why".to_owned()),
        ] {
            assert!(
                matches!(at_work(stale.clone()), Guard::Stale(_)),
                "{stale:?}"
            );
        }
    }

    #[test]
    fn a_step_is_late_after_its_slack() {
        let due = Duration::from_secs(7);
        assert!(!stood_still(due + SLACK, due));
        assert!(stood_still(due + SLACK + Duration::from_millis(1), due));
    }
}

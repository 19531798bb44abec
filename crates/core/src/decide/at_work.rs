//! Whether a guard does its work: as the agent finds it, and as it finds itself.

use std::time::Duration;

use crate::snapshot::{Guard, GuardProgram, GuardSeen};

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
        GuardSeen::There { program, .. } if is_another(program) => {
            Guard::Stale("it is of another version of the program".to_owned())
        }
        GuardSeen::There { .. } => Guard::Running,
    }
}

/// Whether a guard runs another file than the program that looks: an upgrade puts another one in its place. One that
/// has ended meanwhile is no other version, and the next look finds it gone; a file that cannot be looked at is not
/// known to be this one, and a guard that is replaced without need costs a moment.
fn is_another(program: GuardProgram) -> bool {
    let same = program.own.is_some() && program.own == program.its;
    !same && !program.ended
}

/// Whether Pacemaker may be at work, by whether its `pacemakerd` was seen to run; none where that could not be told.
/// Nothing is stopped or begun on a guess: only what was seen not to be there is gone.
#[must_use]
pub fn may_be_at_work(seen: Option<bool>) -> bool {
    seen != Some(false)
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
            program: GuardProgram {
                own: Some((1, 10)),
                its: Some((1, if same_program { 10 } else { 11 })),
                ended: false,
            },
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
    fn a_program_that_cannot_be_looked_at_is_not_known_to_be_the_same() {
        let file = Some((1, 10));
        for (own, its, ended, another) in [
            (file, file, false, false),
            (file, None, false, true),
            (None, None, false, true),
            (file, None, true, false),
        ] {
            let program = GuardProgram { own, its, ended };
            assert_eq!(is_another(program), another, "{program:?}");
        }
    }

    #[test]
    fn a_pacemaker_that_cannot_be_looked_for_may_be_at_work() {
        assert!(may_be_at_work(Some(true)));
        assert!(may_be_at_work(None));
        assert!(!may_be_at_work(Some(false)));
    }

    #[test]
    fn a_step_is_late_after_its_slack() {
        let due = Duration::from_secs(7);
        assert!(!stood_still(due + SLACK, due));
        assert!(stood_still(due + SLACK + Duration::from_millis(1), due));
    }
}

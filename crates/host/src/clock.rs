//! Time as the program needs it: how much of an operation's budget is left.
//!
//! Pacemaker gives every operation a timeout and kills the agent when it is over, which leaves
//! nothing decided. So every wait of this program ends before that, at a [`Deadline`] that is made
//! once per operation and handed down; parts of it are given to single steps.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The moment at which a wait has to be over, on the monotonic clock.
///
/// Comparing orders deadlines by time: the earlier one is the smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

/// What stands for "as good as never": `Instant` cannot add every `Duration`.
const FAR: Duration = Duration::from_secs(86_400 * 365);

impl Deadline {
    /// A deadline that lies `budget` from now (at most a year).
    #[must_use]
    pub fn after(budget: Duration) -> Self {
        Self(Instant::now() + budget.min(FAR))
    }

    /// How much time is left; zero when the deadline has passed.
    #[must_use]
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether no time is left.
    #[must_use]
    pub fn expired(self) -> bool {
        self.left().is_zero()
    }

    /// The earlier of two deadlines.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Ord::min(self, other)
    }

    /// A deadline for one step: `budget` from now, but never later than this one.
    #[must_use]
    pub fn sub_budget(self, budget: Duration) -> Self {
        self.min(Self::after(budget))
    }

    /// This deadline less `reserve`, for a step that must leave time to act on its outcome.
    #[must_use]
    pub fn reserving(self, reserve: Duration) -> Self {
        Self::after(self.left().saturating_sub(reserve))
    }
}

/// Time since the machine started, the time that it was suspended included. Unlike [`Instant`], two
/// processes can compare it, and it knows of a night in which nothing ran.
#[must_use]
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    // Neither part is ever negative on this clock.
    Duration::new(
        now.tv_sec.try_into().unwrap_or_default(),
        now.tv_nsec.try_into().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_never_outlives_the_whole() {
        let whole = Deadline::after(Duration::from_secs(5));
        assert!(whole.sub_budget(Duration::from_secs(60)) == whole);
        assert!(whole.sub_budget(Duration::from_secs(1)) < whole);
        assert!(whole.reserving(Duration::from_secs(2)).left() <= Duration::from_secs(3));
        assert!(whole.reserving(Duration::from_secs(60)).expired());
        assert!(whole.left() <= Duration::from_secs(5));
    }

    #[test]
    fn the_extremes_are_deadlines_too() {
        assert!(Deadline::after(Duration::ZERO).expired());
        assert!(!Deadline::after(Duration::MAX).expired());
    }
}

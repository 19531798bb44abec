//! Everything that is known of a campaign once it has been played.

use std::collections::BTreeMap;
use std::time::Duration;

use super::figures::Figures;
use super::mend::Recovery;
use super::plan::Plan;
use super::stage::Event;
use super::watch::Change;
use crate::checker::Verdict;

/// A round that was played.
#[derive(Debug, Clone)]
pub(super) struct Played {
    /// Microseconds, monotonic: its first fault may come from here on.
    pub(super) begin: u64,
    /// When everything was healed.
    pub(super) healed: u64,
    /// When the cluster had come to rest, or was given up.
    pub(super) end: u64,
    /// How it came to rest, if it did.
    pub(super) recovery: Option<Recovery>,
}

/// Everything that is known of a campaign.
#[derive(Debug)]
pub struct Story {
    pub(super) plan: Plan,
    pub(super) begin: u64,
    pub(super) end: u64,
    pub(super) rounds: Vec<Played>,
    pub(super) events: Vec<Event>,
    pub(super) changes: BTreeMap<String, Vec<Change>>,
    pub(super) verdict: Verdict,
    pub(super) figures: Figures,
    /// Why it ended before its time.
    pub(super) trouble: Option<String>,
}

impl Story {
    /// Nothing was lost, nothing acknowledged wrongly, and the cluster always came to rest.
    #[must_use]
    pub fn good(&self) -> bool {
        self.trouble.is_none() && self.verdict.clean()
    }

    /// What went wrong, if anything did.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        match &self.trouble {
            None if !self.verdict.clean() => {
                Some("acknowledged commits are not as they should be".to_owned())
            }
            other => other.clone(),
        }
    }

    /// The checker's verdict.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// How many faults of the plan were really made.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.planned().filter(|event| event.done).count()
    }

    pub(super) fn planned(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(|event| event.step > 0)
    }
}

/// The time of an event in a campaign that began at `begin`.
pub(super) fn offset(begin: u64, at: u64) -> f64 {
    Duration::from_micros(at.saturating_sub(begin)).as_secs_f64()
}

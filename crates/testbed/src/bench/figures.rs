//! What is measured of one agent.

use serde::Serialize;

use super::monitor::Monitor;
use super::samples::Samples;
use super::steady::Steady;
use crate::scene::Course;

/// What was counted over several runs of one fault.
#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct Losses {
    pub(super) runs: u32,
    pub(super) acknowledged: usize,
    pub(super) lost: usize,
    /// Acknowledged twice, or by a primary that had been replaced.
    pub(super) wrong: usize,
}

impl Losses {
    pub(super) fn add(&mut self, course: &Course) {
        let verdict = &course.verdict;
        self.runs += 1;
        self.acknowledged += verdict.ledger.acknowledgements.len();
        self.lost += verdict.missing.values().map(Vec::len).max().unwrap_or(0);
        self.wrong += verdict.duplicates.len() + verdict.superseded.len();
    }
}

/// What one kind of fault did to the clients.
#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct Outages {
    /// Seconds without an acknowledged commit.
    pub(super) gap_s: Samples,
    pub(super) losses: Losses,
}

/// The figures of one agent.
#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct Figures {
    pub(super) agent: String,
    pub(super) monitor: Option<Monitor>,
    pub(super) steady: Option<Steady>,
    /// Seconds from the configuration to a synchronous standby.
    pub(super) start_s: Samples,
    pub(super) power_cut: Outages,
    pub(super) kill: Outages,
    pub(super) switch: Outages,
    pub(super) d1: Losses,
    /// What did not work.
    pub(super) failures: Vec<String>,
}

impl Figures {
    pub(super) fn of(agent: &str) -> Figures {
        Figures {
            agent: agent.to_owned(),
            ..Figures::default()
        }
    }
}

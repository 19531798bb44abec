//! What a campaign leaves: a text, a picture, the plan to repeat it with, and what happened.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::figures::{Figures, percentile, seconds};
use super::mend::Recovery;
use super::plan::Plan;
use super::stage::Event;
use super::timeline;
use super::watch::Change;
use crate::checker::Verdict;
use crate::error::{Error, Result};

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

    fn planned(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(|event| event.step > 0)
    }

    /// Writes `report.txt`, `timeline.svg`, `plan.json` and `events.json` into a directory.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let json = |error: serde_json::Error| Error::Asked(error.to_string());
        let files = [
            ("report.txt", format!("{self}\n")),
            ("timeline.svg", timeline::draw(self)),
            (
                "plan.json",
                serde_json::to_string_pretty(&self.plan).map_err(json)?,
            ),
            (
                "events.json",
                serde_json::to_string_pretty(&self.events).map_err(json)?,
            ),
        ];
        fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        for (name, text) in files {
            let path = dir.join(name);
            fs::write(&path, text).map_err(Error::io("write", &path))?;
        }
        Ok(())
    }

    fn recoveries(&self) -> Vec<f64> {
        let rounds = self.rounds.iter();
        let mut took: Vec<f64> = rounds
            .filter_map(|round| Some(round.recovery.as_ref()?.took.as_secs_f64()))
            .collect();
        took.sort_by(f64::total_cmp);
        took
    }
}

fn in_seconds(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1} s"))
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.plan;
        writeln!(
            f,
            "campaign               seed {}, {} nodes, {} writers and one at every node's own address",
            plan.seed, plan.nodes, plan.writers
        )?;
        if !plan.favoured.is_empty() {
            writeln!(f, "favoured               {}", plan.favoured.join(", "))?;
        }
        writeln!(
            f,
            "time                   {:.0} s, {} of {} rounds",
            seconds(self.begin, self.end),
            self.rounds.len(),
            plan.rounds.len()
        )?;
        let mut kinds: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for event in self.planned() {
            let (done, not) = kinds.entry(&event.kind).or_default();
            *(if event.done { done } else { not }) += 1;
        }
        writeln!(
            f,
            "faults                 {} made, {} had no object at their time",
            self.faults(),
            self.planned().count() - self.faults()
        )?;
        for (kind, (done, not)) in &kinds {
            let without = match not {
                0 => String::new(),
                not => format!("  {not} without an object"),
            };
            writeln!(f, "  {kind:<34}{done:>4}{without}")?;
        }
        let took = self.recoveries();
        let alone = self
            .rounds
            .iter()
            .filter_map(|round| round.recovery.as_ref());
        let alone = alone.filter(|recovery| recovery.commands == 0).count();
        writeln!(
            f,
            "healed until at rest   median {}, longest {}; {alone} of {} without an operator",
            in_seconds(percentile(&took, 50)),
            in_seconds(took.last().copied()),
            took.len(),
        )?;
        let mut commands: BTreeMap<&str, usize> = BTreeMap::new();
        for event in self.events.iter().filter(|event| event.step == 0) {
            let word = event.kind.split(' ').next().unwrap_or_default();
            *commands.entry(word).or_default() += 1;
        }
        let commands: Vec<String> = commands
            .iter()
            .map(|(word, n)| format!("{n} {word}"))
            .collect();
        writeln!(f, "operator after healing {}", commands.join(", "))?;
        self.availability(f)?;
        writeln!(f, "{}", self.verdict)?;
        match self.trouble() {
            Some(trouble) => write!(f, "FAILED                 {trouble}"),
            None => write!(f, "passed"),
        }
    }
}

impl Story {
    fn availability(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lengths = self.figures.lengths();
        writeln!(
            f,
            "through the writer VIP {} commits; acknowledged in {:.1} % of the time, all faults included",
            self.figures.acknowledged,
            self.figures.available() * 100.0
        )?;
        writeln!(
            f,
            "outages (over 1 s)     {}: median {}, 95 % within {}, longest {}",
            lengths.len(),
            in_seconds(percentile(&lengths, 50)),
            in_seconds(percentile(&lengths, 95)),
            in_seconds(lengths.last().copied())
        )
    }
}

/// The time of an event in a campaign that began at `begin`.
pub(super) fn offset(begin: u64, at: u64) -> f64 {
    Duration::from_micros(at.saturating_sub(begin)).as_secs_f64()
}

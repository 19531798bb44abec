//! What a campaign leaves: a text, a picture, the plan to repeat it with, and what happened.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use super::figures::{percentile, seconds};
use super::story::Story;
use super::timeline;
use crate::error::{Error, Result};

impl Story {
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

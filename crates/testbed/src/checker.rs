//! The verdict on a cluster: from the log of acknowledged commits, and from nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::wait::wait;
use crate::writer::TABLE;

/// One acknowledged commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The writer.
    pub writer: u32,
    /// Its number.
    pub id: u64,
    /// When the statement was sent (microseconds, monotonic).
    pub sent: u64,
    /// When the acknowledgement had arrived.
    pub at: u64,
    /// The host that acknowledged.
    pub host: String,
    /// The timeline that host was writing.
    pub timeline: u32,
}

/// What the logs of all writers of a cluster say.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Acknowledged commits in the order of their arrival.
    pub acknowledgements: Vec<Acknowledgement>,
    /// Numbers with unknown outcome.
    pub unknown: u64,
    /// Successes with the warning that the wait for a standby was given up, which acknowledge nothing.
    pub given_up: u64,
    /// When the last writer ended (0 where none has).
    pub end: u64,
}

impl Ledger {
    /// Reads every log in a directory.
    ///
    /// # Errors
    /// A log cannot be read, or holds a line that no writer writes.
    pub fn read(dir: &Path) -> Result<Ledger> {
        let mut ledger = Ledger::default();
        for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
            let path = entry.map_err(Error::io("read", dir))?.path();
            let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
            let writer = path
                .file_name()
                .and_then(|name| name.to_str()?.split('-').next()?.parse().ok());
            let writer = writer
                .ok_or_else(|| Error::Asked(format!("{} is no writer's log", path.display())))?;
            ledger
                .add(writer, &text)
                .map_err(|line| Error::Asked(format!("{}: {line:?}", path.display())))?;
        }
        ledger
            .acknowledgements
            .sort_by_key(|acknowledgement| acknowledgement.at);
        Ok(ledger)
    }

    fn add(&mut self, writer: u32, text: &str) -> std::result::Result<(), String> {
        for line in text.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            match fields.as_slice() {
                ["S" | "N", ..] => {}
                ["U", ..] => self.unknown += 1,
                ["W", ..] => self.given_up += 1,
                ["E", at] => self.end = self.end.max(at.parse().map_err(|_| line)?),
                ["A", id, sent, at, host, timeline] => {
                    self.acknowledgements.push(Acknowledgement {
                        writer,
                        id: id.parse().map_err(|_| line)?,
                        sent: sent.parse().map_err(|_| line)?,
                        at: at.parse().map_err(|_| line)?,
                        host: (*host).to_owned(),
                        timeline: timeline.parse().map_err(|_| line)?,
                    })
                }
                _ => return Err(line.to_owned()),
            }
        }
        Ok(())
    }

    /// The longest time between two acknowledgements, or from the last one to the writers' end.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        let mut times: Vec<u64> = self.acknowledgements.iter().map(|a| a.at).collect();
        times.push(self.end.max(times.last().copied().unwrap_or(0)));
        let gap = times
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .max()
            .unwrap_or(0);
        Duration::from_micros(gap)
    }

    /// The longest time without acknowledgement that touches `from..` (microseconds, monotonic):
    /// the outage that a fault at that moment caused.
    #[must_use]
    pub fn gap_after(&self, from: u64) -> Duration {
        let later = self
            .acknowledgements
            .iter()
            .rposition(|a| a.at <= from)
            .unwrap_or(0);
        let rest = Ledger {
            acknowledgements: self.acknowledgements[later.min(self.acknowledgements.len())..]
                .to_vec(),
            ..*self
        };
        rest.longest_gap()
    }

    /// Numbers that two servers (or one server twice) acknowledged.
    #[must_use]
    pub fn duplicates(&self) -> Vec<(Acknowledgement, Acknowledgement)> {
        let mut seen: HashMap<(u32, u64), &Acknowledgement> = HashMap::new();
        let mut twice = Vec::new();
        for acknowledgement in &self.acknowledgements {
            if let Some(first) = seen.insert(
                (acknowledgement.writer, acknowledgement.id),
                acknowledgement,
            ) {
                twice.push((first.clone(), acknowledgement.clone()));
            }
        }
        twice
    }

    /// Acknowledgements of a primary that was already replaced: sent after another host on a
    /// newer timeline had acknowledged something.
    #[must_use]
    pub fn superseded(&self) -> Vec<Acknowledgement> {
        let mut newest: Vec<(u64, u32, &str)> = Vec::new();
        let mut found = Vec::new();
        for acknowledgement in &self.acknowledgements {
            let replaced = newest.iter().any(|(at, timeline, host)| {
                *at < acknowledgement.sent
                    && *timeline > acknowledgement.timeline
                    && *host != acknowledgement.host
            });
            if replaced {
                found.push(acknowledgement.clone());
            }
            if newest
                .last()
                .is_none_or(|(_, timeline, _)| *timeline < acknowledgement.timeline)
            {
                newest.push((
                    acknowledgement.at,
                    acknowledgement.timeline,
                    &acknowledgement.host,
                ));
            }
        }
        found
    }

    /// How many commits each server acknowledged, in the order of its first one.
    #[must_use]
    pub fn servers(&self) -> Vec<(String, u32, u64)> {
        let mut servers: Vec<(String, u32, u64)> = Vec::new();
        for a in &self.acknowledgements {
            match servers
                .iter_mut()
                .find(|(host, timeline, _)| *host == a.host && *timeline == a.timeline)
            {
                Some((_, _, count)) => *count += 1,
                None => servers.push((a.host.clone(), a.timeline, 1)),
            }
        }
        servers
    }
}

/// What the checker found.
#[derive(Debug, Clone)]
#[must_use]
pub struct Verdict {
    /// The log.
    pub ledger: Ledger,
    /// Acknowledged commits that are not on a node, per node that answered.
    pub missing: BTreeMap<String, Vec<(u32, u64)>>,
    /// Nodes that did not answer, and what was heard instead: what they have is not known.
    pub silent: BTreeMap<String, String>,
    /// See [`Ledger::duplicates`].
    pub duplicates: Vec<(Acknowledgement, Acknowledgement)>,
    /// See [`Ledger::superseded`].
    pub superseded: Vec<Acknowledgement>,
}

impl Verdict {
    /// Every node answered, nothing lost, nothing acknowledged twice, and something acknowledged at all.
    #[must_use]
    pub fn clean(&self) -> bool {
        self.silent.is_empty() && !self.ledger.acknowledgements.is_empty() && !self.broken()
    }

    /// The promise is broken, as far as the nodes that answered know.
    fn broken(&self) -> bool {
        self.missing.values().any(|lost| !lost.is_empty())
            || !self.duplicates.is_empty()
            || !self.superseded.is_empty()
    }

    /// The last word.
    fn word(&self) -> &'static str {
        if self.broken() {
            "BROKEN"
        } else if !self.silent.is_empty() {
            "UNKNOWN: a node did not answer, which loses nothing and proves nothing"
        } else if self.ledger.acknowledgements.is_empty() {
            "UNKNOWN: nothing was acknowledged"
        } else {
            "every acknowledged commit is there"
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ledger = &self.ledger;
        writeln!(
            f,
            "acknowledged commits   {}",
            ledger.acknowledgements.len()
        )?;
        for (host, timeline, count) in ledger.servers() {
            writeln!(f, "  by {host} on timeline {timeline}   {count}")?;
        }
        writeln!(f, "outcome unknown        {}", ledger.unknown)?;
        if ledger.given_up > 0 {
            writeln!(
                f,
                "waits given up         {} successes with a warning, which acknowledge nothing",
                ledger.given_up
            )?;
        }
        for (node, missing) in &self.missing {
            write!(f, "missing on {node:<12}{}", missing.len())?;
            for (writer, id) in missing.iter().take(5) {
                write!(f, "  {writer}/{id}")?;
            }
            writeln!(f)?;
        }
        for (node, heard) in &self.silent {
            writeln!(f, "no answer of {node:<10}{heard}")?;
        }
        writeln!(f, "acknowledged twice     {}", self.duplicates.len())?;
        writeln!(f, "by a replaced primary  {}", self.superseded.len())?;
        writeln!(
            f,
            "longest gap            {:.2} s",
            ledger.longest_gap().as_secs_f64()
        )?;
        write!(f, "verdict                {}", self.word())
    }
}

impl Cluster {
    /// The log of acknowledged commits as it stands now.
    ///
    /// # Errors
    /// As [`Ledger::read`].
    pub fn ledger(&self) -> Result<Ledger> {
        Ledger::read(&self.layout.acknowledgements())
    }

    /// Compares the log with the rows of these nodes. A standby may still be replaying: rows are
    /// waited for as long as `patience`, and what was not there when the node last answered is missing. Of
    /// a node that never answered nothing is said to be missing ([`Verdict::silent`]).
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn check(&self, nodes: &[&str], patience: Duration) -> Result<Verdict> {
        let ledger = self.ledger()?;
        let promised: BTreeSet<(u32, u64)> = ledger
            .acknowledgements
            .iter()
            .map(|a| (a.writer, a.id))
            .collect();
        let (mut missing, mut silent) = (BTreeMap::new(), BTreeMap::new());
        for node in nodes {
            match compared(node, &promised, patience, || self.rows(node)) {
                Ok(lost) => drop(missing.insert((*node).to_owned(), lost)),
                Err(heard) => drop(silent.insert((*node).to_owned(), heard)),
            }
        }
        let (duplicates, superseded) = (ledger.duplicates(), ledger.superseded());
        Ok(Verdict {
            ledger,
            missing,
            silent,
            duplicates,
            superseded,
        })
    }

    fn rows(&self, node: &str) -> Result<BTreeSet<(u32, u64)>> {
        let text = self.sql(node, &format!("SELECT writer, id FROM {TABLE}"))?;
        let row = |line: &str| {
            let (writer, id) = line.split_once('|')?;
            Some((writer.parse().ok()?, id.parse().ok()?))
        };
        text.lines()
            .map(|line| {
                row(line).ok_or_else(|| Error::Asked(format!("{node}: {TABLE} holds {line:?}")))
            })
            .collect()
    }
}

/// What of the promised is not among a node's rows, once everything is or the time is up.
///
/// # Errors
/// What the node said at last instead of rows, where it never gave any.
fn compared(
    node: &str,
    promised: &BTreeSet<(u32, u64)>,
    patience: Duration,
    rows: impl Fn() -> Result<BTreeSet<(u32, u64)>>,
) -> std::result::Result<Vec<(u32, u64)>, String> {
    let mut answer = Err(String::new());
    // That the time was up is told by what is still missing, or by the error that is still there.
    let _ = wait(
        &format!("every acknowledged row on {node}"),
        patience,
        || match rows() {
            Ok(rows) => {
                let lost: Vec<_> = promised.difference(&rows).copied().collect();
                let count = lost.len();
                answer = Ok(lost);
                match count {
                    0 => Ok(()),
                    _ => Err(format!("{count} missing")),
                }
            }
            Err(error) => {
                let heard = error.to_string();
                if answer.is_err() {
                    answer = Err(heard.clone());
                }
                Err(heard)
            }
        },
    );
    answer
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::{Ledger, Verdict, compared};
    use crate::error::Error;
    use std::cell::Cell;
    use std::collections::BTreeSet;
    use std::time::Duration;

    fn ledger(logs: &[(u32, &str)]) -> Ledger {
        let mut ledger = Ledger::default();
        for (writer, text) in logs {
            ledger
                .add(*writer, &text.replace(' ', "\t"))
                .expect("a well-formed log");
        }
        ledger.acknowledgements.sort_by_key(|a| a.at);
        ledger
    }

    #[test]
    fn the_longest_gap_includes_the_silence_at_the_end() {
        let quiet = ledger(&[(1, "S 0\nA 1 10 20 a 1\nA 2 30 50 a 1\nE 90")]);
        assert_eq!(quiet.longest_gap(), Duration::from_micros(40));
        let busy = ledger(&[(1, "S 0\nA 1 10 20 a 1\nA 2 30 50 a 1\nE 55")]);
        assert_eq!(busy.longest_gap(), Duration::from_micros(30));
        assert_eq!(busy.gap_after(50), Duration::from_micros(5));
    }

    #[test]
    fn a_number_acknowledged_by_two_primaries_is_found() {
        let split = ledger(&[(1, "A 1 10 20 a 1\nA 2 30 40 a 1"), (1, "A 2 35 45 b 2")]);
        assert_eq!(split.duplicates().len(), 1);
    }

    #[test]
    fn an_acknowledgement_by_a_replaced_primary_is_found() {
        let stale = ledger(&[(1, "A 1 10 20 a 1\nA 2 60 70 a 1"), (2, "A 1 40 50 b 2")]);
        assert_eq!(stale.superseded().len(), 1);
        // Sent before the new primary's first answer arrived: the order is not known.
        let race = ledger(&[(1, "A 1 10 20 a 1\nA 2 45 70 a 1"), (2, "A 1 40 50 b 2")]);
        assert!(race.superseded().is_empty());
    }

    #[test]
    fn a_success_with_the_warning_of_a_given_up_wait_is_no_acknowledgement() {
        let timed_out = ledger(&[(1, "S 0\nA 1 10 20 a 1\nW 2 30 40\nE 50")]);
        assert_eq!(
            (timed_out.acknowledgements.len(), timed_out.given_up),
            (1, 1)
        );
        assert_eq!((timed_out.unknown, timed_out.duplicates().len()), (0, 0));
    }

    #[test]
    fn a_torn_or_strange_line_is_an_error() {
        let mut ledger = Ledger::default();
        assert!(ledger.add(1, "A\t1\t2").is_err());
        assert!(ledger.add(1, "A\tx\t1\t2\ta\t1").is_err());
    }

    fn verdict(missing: &[(&str, u64)], silent: &[&str]) -> Verdict {
        Verdict {
            ledger: ledger(&[(1, "S 0\nA 1 10 20 a 1\nE 50")]),
            missing: missing
                .iter()
                .map(|(node, id)| ((*node).to_owned(), vec![(1, *id)]))
                .collect(),
            silent: silent
                .iter()
                .map(|node| ((*node).to_owned(), "connection refused".to_owned()))
                .collect(),
            duplicates: Vec::new(),
            superseded: Vec::new(),
        }
    }

    #[test]
    fn a_node_that_does_not_answer_has_lost_nothing_and_proves_nothing() {
        let silent = verdict(&[], &["node2"]);
        let text = silent.to_string();
        assert!(!silent.clean());
        assert!(text.contains("no answer of node2") && text.contains("UNKNOWN"));
        assert!(!text.contains("BROKEN") && !text.contains("missing on"));
        // What another node has lost is lost all the same.
        let both = verdict(&[("node1", 7)], &["node2"]);
        assert!(!both.clean() && both.to_string().contains("BROKEN"));
        assert!(verdict(&[], &[]).clean());
    }

    #[test]
    fn the_last_answer_counts_and_silence_is_told_as_silence() {
        let promised: BTreeSet<(u32, u64)> = [(1, 1), (1, 2)].into();
        let short = Duration::from_millis(1);
        let refused = || Err(Error::Asked("connection refused".to_owned()));
        assert_eq!(
            compared("node1", &promised, short, refused),
            Err("connection refused".to_owned())
        );
        let some = || Ok([(1, 1)].into());
        assert_eq!(compared("node1", &promised, short, some), Ok(vec![(1, 2)]));
        // It answered once, and was silent afterwards.
        let asked = Cell::new(false);
        let then_silent = || match asked.replace(true) {
            false => some(),
            true => refused(),
        };
        let long = Duration::from_millis(300);
        assert_eq!(
            compared("node1", &promised, long, then_silent),
            Ok(vec![(1, 2)])
        );
    }
}

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
    /// Acknowledged commits that are not on a node, per node.
    pub missing: BTreeMap<String, Vec<(u32, u64)>>,
    /// See [`Ledger::duplicates`].
    pub duplicates: Vec<(Acknowledgement, Acknowledgement)>,
    /// See [`Ledger::superseded`].
    pub superseded: Vec<Acknowledgement>,
}

impl Verdict {
    /// Nothing lost, nothing acknowledged twice, and something acknowledged at all.
    #[must_use]
    pub fn clean(&self) -> bool {
        !self.ledger.acknowledgements.is_empty()
            && self.missing.values().all(Vec::is_empty)
            && self.duplicates.is_empty()
            && self.superseded.is_empty()
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
        writeln!(f, "acknowledged twice     {}", self.duplicates.len())?;
        writeln!(f, "by a replaced primary  {}", self.superseded.len())?;
        writeln!(
            f,
            "longest gap            {:.2} s",
            ledger.longest_gap().as_secs_f64()
        )?;
        write!(
            f,
            "verdict                {}",
            if self.clean() {
                "every acknowledged commit is there"
            } else {
                "BROKEN"
            }
        )
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
    /// waited for as long as `patience`, and what is not there then is missing.
    ///
    /// # Errors
    /// A log cannot be read. A node that does not answer misses everything.
    pub fn check(&self, nodes: &[&str], patience: Duration) -> Result<Verdict> {
        let ledger = self.ledger()?;
        let promised: BTreeSet<(u32, u64)> = ledger
            .acknowledgements
            .iter()
            .map(|a| (a.writer, a.id))
            .collect();
        let mut missing = BTreeMap::new();
        for node in nodes {
            let mut lost: Vec<(u32, u64)> = promised.iter().copied().collect();
            // That the time was up is told by what is still missing.
            let _ = wait(
                &format!("every acknowledged row on {node}"),
                patience,
                || {
                    let rows = self.rows(node).map_err(|error| error.to_string())?;
                    lost = promised.difference(&rows).copied().collect();
                    if lost.is_empty() {
                        Ok(())
                    } else {
                        Err(format!("{} missing", lost.len()))
                    }
                },
            );
            missing.insert((*node).to_owned(), lost);
        }
        let (duplicates, superseded) = (ledger.duplicates(), ledger.superseded());
        Ok(Verdict {
            ledger,
            missing,
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::Ledger;
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
}

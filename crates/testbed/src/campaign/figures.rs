//! What clients saw, in numbers.

use serde::Serialize;

use crate::checker::Acknowledgement;

/// A longer silence is an outage; a shorter one is a slow commit.
const OUTAGE_US: u64 = 1_000_000;

/// What the clients that write through the writer VIP saw.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Figures {
    /// From the first acknowledgement to the end, seconds.
    pub(super) seconds: f64,
    pub(super) acknowledged: usize,
    /// Begin and end of each silence of more than a second, microseconds, monotonic.
    pub(super) outages: Vec<(u64, u64)>,
}

impl Figures {
    /// Of these acknowledgements in the order of their arrival, up to `end`.
    pub(super) fn of<'a>(
        acknowledgements: impl Iterator<Item = &'a Acknowledgement>,
        end: u64,
    ) -> Figures {
        let mut times: Vec<u64> = acknowledgements.map(|a| a.at).collect();
        let acknowledged = times.len();
        let (Some(first), Some(last)) = (times.first().copied(), times.last().copied()) else {
            return Figures::default();
        };
        times.push(end.max(last));
        let pairs = times.windows(2).map(|pair| (pair[0], pair[1]));
        Figures {
            seconds: seconds(first, end.max(last)),
            acknowledged,
            outages: pairs.filter(|(from, to)| to - from > OUTAGE_US).collect(),
        }
    }

    /// The share of time in which commits were acknowledged, from 0 to 1.
    pub(super) fn available(&self) -> f64 {
        let silent: f64 = self.lengths().iter().sum();
        if self.seconds > 0.0 {
            (1.0 - silent / self.seconds).max(0.0)
        } else {
            0.0
        }
    }

    /// Lengths of the outages in seconds, the shortest first.
    pub(super) fn lengths(&self) -> Vec<f64> {
        let outages = self.outages.iter();
        let mut lengths: Vec<f64> = outages.map(|(begin, end)| seconds(*begin, *end)).collect();
        lengths.sort_by(f64::total_cmp);
        lengths
    }
}

pub(super) fn seconds(begin: u64, end: u64) -> f64 {
    std::time::Duration::from_micros(end.saturating_sub(begin)).as_secs_f64()
}

/// The value that this share (in percent) of a sorted list does not exceed.
pub(super) fn percentile(sorted: &[f64], share: usize) -> Option<f64> {
    let rank = (sorted.len() * share).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::{Figures, percentile};
    use crate::checker::Acknowledgement;

    fn at(second: u64) -> Acknowledgement {
        Acknowledgement {
            writer: 1,
            id: second,
            sent: 0,
            at: second * 1_000_000,
            host: "a".to_owned(),
            timeline: 1,
        }
    }

    #[test]
    fn silences_are_outages_and_the_one_at_the_end_counts() {
        let log: Vec<_> = [10, 11, 12, 16, 17, 18].map(at).into();
        let figures = Figures::of(log.iter(), 20_000_000);
        assert_eq!(figures.acknowledged, 6);
        assert_eq!(figures.lengths(), [2.0, 4.0]);
        assert!((figures.available() - 0.4).abs() < 1e-9, "{figures:?}");
        assert_eq!(Figures::of([].into_iter(), 5).available(), 0.0);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(percentile(&values, 50), Some(10.0));
        assert_eq!(percentile(&values, 95), Some(19.0));
        assert_eq!(percentile(&values[..1], 95), Some(1.0));
        assert_eq!(percentile(&[], 50), None);
    }
}

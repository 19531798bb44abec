//! The figures as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::{Figures, Losses, Samples};
use crate::error::{Error, Result};

/// Everything that was measured, and where.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    cpus: usize,
    /// Runnable processes on average over a minute, before and after. What else the machine does
    /// is in every time.
    load: (f64, f64),
    ours: Figures,
    peer: Option<Figures>,
    /// Bytes of the programs, symbols stripped.
    sizes: BTreeMap<String, u64>,
}

/// The load average of the last minute.
pub(super) fn load() -> f64 {
    std::fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or(f64::NAN)
}

impl Report {
    pub(super) fn new(
        ours: Figures,
        peer: Option<Figures>,
        sizes: BTreeMap<String, u64>,
        load_before: f64,
    ) -> Report {
        Report {
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            load: (load_before, load()),
            ours,
            peer,
            sizes,
        }
    }

    /// Nothing of the product failed and nothing was lost.
    pub(super) fn good(&self) -> bool {
        let fine = |losses: &Losses| losses.lost == 0 && losses.wrong == 0;
        fine(&self.ours.power_cut) && fine(&self.ours.d1) && self.ours.failures.is_empty()
    }

    pub(super) fn json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).map_err(|error| Error::Asked(error.to_string()))
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{} CPUs; load {:.1} at the beginning, {:.1} at the end; corosync token 1000 ms; medians [min, max]\n",
            self.cpus, self.load.0, self.load.1
        );
        let peer = self.peer.as_ref();
        let _ = writeln!(
            text,
            "{:<48}{:<28}{:<28}ratio",
            "",
            "expgsql",
            peer.map_or("", |_| "ocf:heartbeat:pgsql")
        );
        let monitor = |of: fn(&super::Monitor) -> Samples| {
            let get = |figures: &Figures| figures.monitor.as_ref().map(of).unwrap_or_default();
            (get(&self.ours), peer.map(get))
        };
        let single = |value: f64| Samples {
            values: vec![value],
        };
        for (name, unit, (ours, theirs)) in [
            (
                "monitor of a sync primary: CPU, children too",
                "ms",
                monitor(|m| m.cpu_ms.clone()),
            ),
            ("  wall time", "ms", monitor(|m| m.wall_ms.clone())),
            (
                "  processes made",
                "",
                (
                    single(
                        self.ours
                            .monitor
                            .as_ref()
                            .map_or(f64::NAN, |m| count(m.processes)),
                    ),
                    peer.and_then(|p| p.monitor.as_ref())
                        .map(|m| single(count(m.processes))),
                ),
            ),
            (
                "  peak memory of the largest process",
                "MiB",
                (
                    single(
                        self.ours
                            .monitor
                            .as_ref()
                            .map_or(f64::NAN, |m| mib(m.peak_kib * 1024)),
                    ),
                    peer.and_then(|p| p.monitor.as_ref())
                        .map(|m| single(mib(m.peak_kib * 1024))),
                ),
            ),
            (
                "configuration pushed until sync standby",
                "s",
                (self.ours.start_s.clone(), peer.map(|p| p.start_s.clone())),
            ),
            (
                "power cut: writes stand still",
                "s",
                (self.ours.gap_s.clone(), peer.map(|p| p.gap_s.clone())),
            ),
        ] {
            let _ = writeln!(text, "{}", row(name, unit, &ours, theirs.as_ref()));
        }
        for (name, losses) in [("power cut", &self.ours.power_cut), ("D1", &self.ours.d1)] {
            let _ = writeln!(
                text,
                "{:<48}{}",
                format!("{name}: commits lost"),
                lost(losses)
            );
        }
        if let Some(peer) = peer {
            let title = "power cut: commits lost, packaged agent";
            let _ = writeln!(text, "{title:<48}{}", lost(&peer.power_cut));
        }
        for (name, bytes) in &self.sizes {
            let title = format!("size of {name}, stripped");
            let _ = writeln!(text, "{title:<48}{:.1} MiB", mib(*bytes));
        }
        for figures in std::iter::once(&self.ours).chain(peer) {
            for failure in &figures.failures {
                let _ = writeln!(text, "a run of {} failed: {failure}", figures.agent);
            }
        }
        text
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers of processes are small")]
fn count(value: usize) -> f64 {
    value as f64
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

fn lost(losses: &Losses) -> String {
    let mut text = format!(
        "{} of {} acknowledged, in {} runs",
        losses.lost, losses.acknowledged, losses.runs
    );
    if losses.wrong > 0 {
        let _ = write!(text, "; {} acknowledged wrongly", losses.wrong);
    }
    text
}

fn row(name: &str, unit: &str, ours: &Samples, theirs: Option<&Samples>) -> String {
    let ratio = theirs
        .and_then(|theirs| Some(ours.median()? / theirs.median()?))
        .filter(|ratio| ratio.is_finite())
        .map_or(String::new(), |ratio| format!("{ratio:.2}"));
    format!(
        "{name:<48}{:<28}{:<28}{ratio}",
        shown(ours, unit),
        theirs.map_or(String::new(), |theirs| shown(theirs, unit))
    )
}

fn shown(samples: &Samples, unit: &str) -> String {
    let values = samples.sorted();
    let (Some(median), Some(least), Some(most)) = (samples.median(), values.first(), values.last())
    else {
        return "not measured".to_owned();
    };
    let decimals = usize::from(!unit.is_empty()) + usize::from(unit == "s");
    if values.len() == 1 {
        return format!("{median:.decimals$} {unit}");
    }
    format!("{median:.decimals$} [{least:.decimals$}, {most:.decimals$}] {unit}")
}

#[cfg(test)]
mod tests {
    use super::{Samples, shown};

    #[test]
    fn the_median_stands_between_min_and_max() {
        let samples = Samples {
            values: vec![3.0, 1.0, 2.0],
        };
        assert_eq!(shown(&samples, "s"), "2.00 [1.00, 3.00] s");
        assert_eq!(shown(&Samples::default(), "s"), "not measured");
    }
}

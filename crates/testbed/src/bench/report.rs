//! The figures as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::figures::{Figures, Losses};
use super::monitor::Monitor;
use super::samples::Samples;
use super::steady::Steady;
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
        let ours = &self.ours;
        let all = [&ours.power_cut, &ours.kill, &ours.switch].map(|outages| &outages.losses);
        let mut all = all.into_iter().chain([&ours.d1]);
        all.all(|losses| losses.lost == 0 && losses.wrong == 0) && ours.failures.is_empty()
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
        for (name, unit, of) in ROWS {
            let (ours, theirs) = (of(&self.ours), peer.map(of));
            let both = std::iter::once(&ours).chain(&theirs);
            if both.into_iter().all(|samples| samples.values.is_empty()) {
                continue;
            }
            let _ = writeln!(text, "{}", row(name, unit, &ours, theirs.as_ref()));
        }
        for figures in std::iter::once(&self.ours).chain(peer) {
            for (name, losses) in [
                ("power cut", &figures.power_cut.losses),
                ("kill -9", &figures.kill.losses),
                ("planned switch", &figures.switch.losses),
                ("D1", &figures.d1),
            ] {
                if losses.runs > 0 {
                    let title = format!("{name}: commits lost, {}", figures.agent);
                    let _ = writeln!(text, "{title:<48}{}", lost(losses));
                }
            }
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

/// One line of the table: its name, the unit, and where the values are.
type Row = (&'static str, &'static str, fn(&Figures) -> Samples);

const ROWS: [Row; 11] = [
    ("monitor of a sync primary: CPU, children too", "ms", |f| {
        monitor(f, |m| m.cpu_ms.clone())
    }),
    ("  wall time", "ms", |f| monitor(f, |m| m.wall_ms.clone())),
    ("  processes made", "", |f| {
        monitor(f, |m| single(count(m.processes)))
    }),
    ("  peak memory of the largest process", "MiB", |f| {
        monitor(f, |m| single(mib(m.peak_kib * 1024)))
    }),
    ("a quiet minute, both nodes: CPU", "ms", |f| {
        steady(f, |s| Some(s.total_ms()))
    }),
    ("  of it the guard's", "ms", |f| steady(f, |s| s.guard_ms)),
    ("  memory of the guard", "MiB", |f| {
        steady(f, |s| s.guard_kib.map(|kib| mib(kib * 1024)))
    }),
    ("configuration pushed until sync standby", "s", |f| {
        f.start_s.clone()
    }),
    ("power cut: writes stand still", "s", |f| {
        f.power_cut.gap_s.clone()
    }),
    ("kill -9 of the postmaster", "s", |f| f.kill.gap_s.clone()),
    ("planned switch", "s", |f| f.switch.gap_s.clone()),
];

fn monitor(figures: &Figures, of: fn(&Monitor) -> Samples) -> Samples {
    figures.monitor.as_ref().map(of).unwrap_or_default()
}

fn steady(figures: &Figures, of: fn(&Steady) -> Option<f64>) -> Samples {
    let value = figures.steady.as_ref().and_then(of);
    value.map(single).unwrap_or_default()
}

fn single(value: f64) -> Samples {
    Samples {
        values: vec![value],
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

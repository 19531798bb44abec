//! `cargo testbed bench`: the figures of the product, with the packaged agent as the peer in the
//! same run. Times are reported, never judged; a lost commit fails the run.

mod monitor;
mod report;

use std::io::Write;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use crate::builder::ClusterBuilder;
use crate::cargo::build_product;
use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::interrupt::{self, Undo};
use crate::pacemaker::RESOURCE;
use crate::progress::Progress;
use crate::scene::{Course, Pair, cut_power, judge, wait_for_pair};
use crate::writer::{WriterPlan, now_us};
use crate::{binaries, packages, peer};

use monitor::Monitor;

/// How long a step of a cluster may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(150);

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Power cuts of the primary, each on a fresh cluster
    #[arg(long, default_value_t = 5)]
    runs: u32,
    /// Runs of the double fault D1: link cut, then the power of the primary that went on alone
    #[arg(long, default_value_t = 3)]
    d1: u32,
    /// Without the packaged agent
    #[arg(long)]
    no_peer: bool,
    /// Print one JSON document instead of the table
    #[arg(long)]
    json: bool,
}

/// Several measurements of one thing.
#[derive(Debug, Default, Clone, Serialize)]
struct Samples {
    values: Vec<f64>,
}

impl Samples {
    fn push(&mut self, value: f64) {
        self.values.push(value);
    }

    fn sorted(&self) -> Vec<f64> {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        values
    }

    /// The median; of an even number the lower of the two in the middle.
    fn median(&self) -> Option<f64> {
        let values = self.sorted();
        values.get(values.len().saturating_sub(1) / 2).copied()
    }
}

/// What was counted over several runs of one fault.
#[derive(Debug, Default, Clone, Serialize)]
struct Losses {
    runs: u32,
    acknowledged: usize,
    lost: usize,
    /// Acknowledged twice, or by a primary that had been replaced.
    wrong: usize,
}

impl Losses {
    fn add(&mut self, course: &Course) {
        let verdict = &course.verdict;
        self.runs += 1;
        self.acknowledged += verdict.ledger.acknowledgements.len();
        self.lost += verdict.missing.values().map(Vec::len).max().unwrap_or(0);
        self.wrong += verdict.duplicates.len() + verdict.superseded.len();
    }
}

/// The figures of one agent.
#[derive(Debug, Default, Clone, Serialize)]
struct Figures {
    agent: String,
    monitor: Option<Monitor>,
    /// Seconds without an acknowledged commit after a power cut.
    gap_s: Samples,
    /// Seconds from the configuration to a synchronous standby.
    start_s: Samples,
    power_cut: Losses,
    d1: Losses,
    /// What did not work.
    failures: Vec<String>,
}

impl Figures {
    fn of(agent: &str) -> Figures {
        Figures {
            agent: agent.to_owned(),
            ..Figures::default()
        }
    }
}

/// Measures and prints; the exit code.
///
/// # Errors
/// Something that keeps the product's own figures from being measured.
pub(crate) fn run(options: &Options) -> Result<u8> {
    interrupt::watch()?;
    let progress = Progress::on_stderr();
    packages::ensure(&progress)?;
    packages::ensure_to_measure(&progress)?;
    build_product(&progress)?;
    let load_before = report::load();
    let mut ours = Figures::of("expgsql");
    let mut theirs = (!options.no_peer).then(|| Figures::of(peer::AGENT));
    for number in 1..=options.runs.max(1) {
        for figures in std::iter::once(&mut ours).chain(theirs.as_mut()) {
            progress.say(&format!(
                "power cut {number} of {}: {}",
                options.runs, figures.agent
            ));
            attempt(figures, &progress, power_cut)?;
        }
    }
    for number in 1..=options.d1 {
        progress.say(&format!("D1 {number} of {}", options.d1));
        attempt(&mut ours, &progress, double_fault)?;
    }
    let sizes = binaries::INSTALLED
        .iter()
        .filter_map(|(name, _)| {
            let size = binaries::find(name)?.metadata().ok()?.len();
            Some(((*name).to_owned(), size))
        })
        .collect();
    let report = report::Report::new(ours, theirs, sizes, load_before);
    let text = if options.json {
        report.json()?
    } else {
        report.text()
    };
    let _ = writeln!(std::io::stdout(), "{text}");
    Ok(u8::from(!report.good()))
}

/// One run on a cluster of its own. A failure of the run is a figure too; the wreck is kept.
fn attempt(
    figures: &mut Figures,
    progress: &Progress,
    run: fn(&Cluster, &mut Figures, &Progress) -> Result<()>,
) -> Result<()> {
    let ours = figures.agent != peer::AGENT;
    let cluster = ClusterBuilder::new("bench")
        .agent(&figures.agent)
        .lock_service(ours)
        .up()?;
    let _undo = Undo::cluster(cluster.name());
    if let Err(error) = run(&cluster, figures, progress) {
        progress.say(&format!("this run failed: {error}"));
        figures.failures.push(error.to_string());
        if !interrupt::happened() {
            cluster.wreck(&format!("a run of the benchmark failed: {error}"));
        }
    }
    Ok(())
}

/// Configures, and waits for a synchronous standby; how long that took.
fn start(cluster: &Cluster, progress: &Progress) -> Result<(Pair, Duration)> {
    let begin = Instant::now();
    cluster.configure()?;
    let pair = wait_for_pair(cluster, progress, PATIENCE)?;
    Ok((pair, begin.elapsed()))
}

fn power_cut(cluster: &Cluster, figures: &mut Figures, progress: &Progress) -> Result<()> {
    let (pair, elapsed) = start(cluster, progress)?;
    figures.start_s.push(elapsed.as_secs_f64());
    if figures.monitor.is_none() {
        let _step = progress.step("monitors, one by one");
        figures.monitor = Some(monitor::measure(cluster, &cluster.find(&pair.primary)?)?);
    }
    let writer = cluster.start_writer(&WriterPlan::new(1))?;
    writer.wait_for(300, PATIENCE)?;
    let after = Duration::from_secs(2);
    let course = cut_power(cluster, &pair, writer, progress, PATIENCE, after)?;
    progress.say(&format!(
        "stood still for {:.2} s",
        course.gap.as_secs_f64()
    ));
    figures.gap_s.push(course.gap.as_secs_f64());
    figures.power_cut.add(&course);
    keep_if_wrong(cluster, &course, progress);
    Ok(())
}

fn keep_if_wrong(cluster: &Cluster, course: &Course, progress: &Progress) {
    if !course.verdict.clean() {
        progress.say(&course.verdict.to_string());
        cluster.wreck("acknowledged commits are not as they should be");
    }
}

/// The nodes are cut apart, both reach the lock service; the primary goes on alone and then loses
/// power. The other one must not take over with what it has, however this goes on: an operator
/// cleans up, the cut is healed, or nothing happens until every lease has run out.
fn double_fault(cluster: &Cluster, figures: &mut Figures, progress: &Progress) -> Result<()> {
    let (pair, _) = start(cluster, progress)?;
    let writer = cluster.start_writer(&WriterPlan::new(1))?;
    writer.wait_for(200, PATIENCE)?;
    cluster.cut(&pair.primary, &pair.standby)?;
    progress.say("the nodes are cut apart");
    // What was under way may still be acknowledged; a hundred more only by a primary alone.
    writer.wait_for(300, PATIENCE)?;
    progress.say(&format!("{} goes on alone", pair.primary));
    let fault = now_us();
    cluster.power_cut(&pair.primary)?;
    match figures.d1.runs % 3 {
        0 => {
            progress.say("an operator cleans up");
            let words = ["crm_resource", "--cleanup", "--resource", RESOURCE];
            cluster.find(&pair.standby)?.run(&words, PATIENCE)?;
        }
        1 => {
            progress.say("the cut is healed");
            cluster.heal()?;
        }
        _ => progress.say("nothing is done"),
    }
    let before = writer.acknowledged();
    writer.wait_time(Duration::from_secs(45));
    let taken_over = writer.acknowledged() > before + 1;
    cluster.heal()?;
    cluster.boot(&pair.primary)?;
    progress.say(&format!("{} has power again", pair.primary));
    wait_for_pair(cluster, progress, PATIENCE)?;
    writer.wait_for(50, PATIENCE)?;
    writer.stop()?;
    let course = judge(cluster, fault)?;
    figures.d1.add(&course);
    keep_if_wrong(cluster, &course, progress);
    if taken_over {
        return Err(Error::Asked(format!(
            "{} took over without the other's commits",
            pair.standby
        )));
    }
    Ok(())
}

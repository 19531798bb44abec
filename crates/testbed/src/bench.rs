//! `cargo testbed bench`: the figures of the product, with the packaged agent as the peer in the
//! same run. Times are reported, never judged; a lost commit fails the run.

mod figures;
mod monitor;
mod report;
mod samples;
mod steady;

use std::io::Write;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::process::Signal;

use crate::builder::ClusterBuilder;
use crate::cargo::build_product;
use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::interrupt::{self, Undo};
use crate::pacemaker::{CLONE, RESOURCE};
use crate::progress::Progress;
use crate::scene::{Course, Pair, judge, strike, wait_for_pair};
use crate::writer::{WriterPlan, now_us};
use crate::{binaries, packages, peer};

use figures::{Figures, Outages};

/// How long a step of a cluster may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(150);

/// How long the client that measures an outage waits for a connection before it tries again. A
/// longer one would measure the client.
const GRAIN: Duration = Duration::from_millis(50);

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Power cuts of the primary, each on a fresh cluster
    #[arg(long, default_value_t = 5)]
    runs: u32,
    /// SIGKILLs of the primary's postmaster, each on a fresh cluster
    #[arg(long, default_value_t = 5)]
    kills: u32,
    /// Planned switches, each on a fresh cluster
    #[arg(long, default_value_t = 5)]
    switches: u32,
    /// Runs of the double fault D1: link cut, then the power of the primary that went on alone
    #[arg(long, default_value_t = 3)]
    d1: u32,
    /// Without the packaged agent
    #[arg(long)]
    no_peer: bool,
    /// Another value for a parameter of the product's agent
    #[arg(long, value_name = "NAME=VALUE", value_parser = crate::builder::assignment)]
    parameter: Vec<(String, String)>,
    /// Print one JSON document instead of the table
    #[arg(long)]
    json: bool,
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
    let courses: [(&str, u32, Measure); 3] = [
        ("power cut", options.runs, power_cut),
        ("kill -9 of the postmaster", options.kills, kill),
        ("planned switch", options.switches, switch),
    ];
    for (what, times, measure) in courses {
        for number in 1..=times {
            for figures in std::iter::once(&mut ours).chain(theirs.as_mut()) {
                progress.say(&format!("{what} {number} of {times}: {}", figures.agent));
                attempt(figures, options, &progress, measure)?;
            }
        }
    }
    for number in 1..=options.d1 {
        progress.say(&format!("D1 {number} of {}", options.d1));
        attempt(&mut ours, options, &progress, double_fault)?;
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

/// One run on a fresh cluster.
type Measure = fn(&Cluster, &mut Figures, &Progress) -> Result<()>;

/// One run on a cluster of its own. A failure of the run is a figure too; the wreck is kept.
fn attempt(
    figures: &mut Figures,
    options: &Options,
    progress: &Progress,
    run: Measure,
) -> Result<()> {
    let ours = figures.agent != peer::AGENT;
    let builder = ClusterBuilder::new("bench").agent(&figures.agent);
    let mut builder = builder.lock_service(ours);
    for (name, value) in options.parameter.iter().filter(|_| ours) {
        builder = builder.parameter(name, value);
    }
    let cluster = builder.up()?;
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

/// Configures, and waits for a synchronous standby.
fn start(cluster: &Cluster, figures: &mut Figures, progress: &Progress) -> Result<Pair> {
    let begin = Instant::now();
    cluster.configure()?;
    let pair = wait_for_pair(cluster, progress, PATIENCE)?;
    figures.start_s.push(begin.elapsed().as_secs_f64());
    Ok(pair)
}

fn power_cut(cluster: &Cluster, figures: &mut Figures, progress: &Progress) -> Result<()> {
    let pair = start(cluster, figures, progress)?;
    if figures.monitor.is_none() {
        let _step = progress.step("monitors, one by one");
        figures.monitor = Some(monitor::measure(cluster, &cluster.find(&pair.primary)?)?);
    }
    if figures.steady.is_none() {
        let _step = progress.step("a minute in which nothing happens");
        figures.steady = Some(steady::measure(cluster, &pair)?);
    }
    let what = format!("the power of {} is cut", pair.primary);
    let blow = || cluster.power_cut(&pair.primary);
    let course = outage(cluster, progress, (&what, blow))?;
    add(&mut figures.power_cut, cluster, &course, progress);
    Ok(())
}

fn kill(cluster: &Cluster, figures: &mut Figures, progress: &Progress) -> Result<()> {
    let pair = start(cluster, figures, progress)?;
    let node = cluster.find(&pair.primary)?;
    let what = format!("the postmaster of {} is killed", pair.primary);
    let blow = || {
        node.kill_postmaster(Signal::KILL);
        Ok(())
    };
    let course = outage(cluster, progress, (&what, blow))?;
    add(&mut figures.kill, cluster, &course, progress);
    Ok(())
}

/// The product's own command; with the packaged agent what its documentation tells an operator.
fn switch(cluster: &Cluster, figures: &mut Figures, progress: &Progress) -> Result<()> {
    let pair = start(cluster, figures, progress)?;
    let standby = pair.standby.as_str();
    let ours = ["/opt/pha4pgsql/bin/cls_online_switch", "--quiet"];
    let theirs = [
        "crm_resource",
        "--resource",
        CLONE,
        "--move",
        "--promoted",
        "--node",
        standby,
    ];
    let settled = ["crm_resource", "--wait"];
    let words: &[&[&str]] = if figures.agent == peer::AGENT {
        &[&theirs, &settled]
    } else {
        &[&ours]
    };
    let node = cluster.find(&pair.primary)?;
    let what = format!("{standby} is to be the primary");
    let blow = || {
        let mut words = words.iter();
        words.try_for_each(|words| node.run(words, PATIENCE).map(drop))
    };
    let course = outage(cluster, progress, (&what, blow))?;
    add(&mut figures.switch, cluster, &course, progress);
    Ok(())
}

/// One fault below one writer.
fn outage(
    cluster: &Cluster,
    progress: &Progress,
    blow: (&str, impl FnOnce() -> Result<()>),
) -> Result<Course> {
    let plan = WriterPlan::new(1).connect_deadline(GRAIN);
    let writer = cluster.start_writer(&plan)?;
    writer.wait_for(300, PATIENCE)?;
    let after = Duration::from_secs(2);
    let course = strike(cluster, writer, progress, PATIENCE, after, blow)?;
    progress.say(&format!(
        "writes stood still for {:.2} s",
        course.gap.as_secs_f64()
    ));
    Ok(course)
}

fn add(outages: &mut Outages, cluster: &Cluster, course: &Course, progress: &Progress) {
    outages.gap_s.push(course.gap.as_secs_f64());
    outages.losses.add(course);
    keep_if_wrong(cluster, course, progress);
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
    let pair = start(cluster, figures, progress)?;
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

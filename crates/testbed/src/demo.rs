//! `cargo testbed demo`: the product at its main job, on one screen: a takeover, the repair, and the
//! planned way back.

use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;

use crate::builder::ClusterBuilder;
use crate::cargo::build_product;
use crate::cluster::Cluster;
use crate::error::Result;
use crate::interrupt::{self, Undo};
use crate::layout::{Layout, base};
use crate::packages;
use crate::progress::{Progress, say};
use crate::run::remove_directory;
use crate::scene::{Course, Pair, Return, bring_back, cut_power, switch_back, wait_for_pair};
use crate::writer::WriterPlan;

/// How long a step of the cluster may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// How to show it.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Leave the cluster running, to look around in
    #[arg(long)]
    keep: bool,
}

/// What the last screen tells.
struct Story {
    pair: Pair,
    /// The power cut.
    cut: Course,
    back: Return,
    /// The planned switch; its verdict is about everything.
    switch: Course,
}

/// Runs the demo; the exit code says whether every acknowledged commit was there.
///
/// # Errors
/// Something that kept it from coming to an end; logs are kept then.
pub(crate) fn run(name: &str, options: &Options) -> Result<u8> {
    // Not a cluster that somebody works with by hand.
    let name = if name == "default" { "demo" } else { name };
    interrupt::watch()?;
    let progress = Progress::on_stderr();
    let installed = packages::ensure(&progress)?;
    if !installed.is_empty() {
        progress.say(&format!("installed: {}", installed.join(" ")));
    }
    build_product(&progress)?;
    if Layout::existing().iter().any(|there| there == name) {
        progress.say(&format!("ending cluster {name} of an earlier run"));
        Cluster::down(name)?;
    }
    let _undo = Undo::cluster(name);
    let cluster = ClusterBuilder::detached(name)
        .kept(options.keep)
        .progress(progress.clone())
        .up()?;
    let logs = base().join("logs").join(name);
    let story = match play(&cluster, &progress) {
        Ok(story) => story,
        Err(error) => {
            if !interrupt::happened() {
                cluster.wreck(&format!("the demo did not come to its end: {error}"));
            }
            return Err(error);
        }
    };
    progress.say("collecting the logs");
    remove_directory(&logs)?;
    cluster.gather(&logs, "the demo's end");
    show(&story, &logs);
    if options.keep {
        farewell(name, &story.pair);
    } else {
        progress.say("ending the cluster; --keep would leave it running");
        drop(cluster);
        progress.say("done");
    }
    Ok(u8::from(
        !(story.cut.verdict.clean() && story.switch.verdict.clean()),
    ))
}

fn play(cluster: &Cluster, progress: &Progress) -> Result<Story> {
    let begin = Instant::now();
    cluster.configure()?;
    let pair = wait_for_pair(cluster, progress, PATIENCE)?;
    progress.say(&format!(
        "{} replicates to {}, {:.1} s after the configuration was pushed",
        pair.primary,
        pair.standby,
        begin.elapsed().as_secs_f64()
    ));
    show_status(cluster, &pair.primary)?;
    progress.say("a client writes through the writer address, one row per commit");
    let writer = cluster.start_writer(&WriterPlan::new(1))?;
    writer.wait_for(200, PATIENCE)?;
    for _ in 0..4 {
        writer.wait_time(Duration::from_secs(1));
        progress.say(&format!("{} commits acknowledged", writer.acknowledged()));
    }
    let after = Duration::from_secs(3);
    let cut = cut_power(cluster, &pair, writer, progress, PATIENCE, after)?;
    show_status(cluster, &pair.standby)?;
    let back = bring_back(cluster, &pair, progress, PATIENCE)?;
    wait_for_pair(cluster, progress, PATIENCE)?;
    progress.say("the client writes again, while the primary is moved back on purpose");
    let writer = cluster.start_writer(&WriterPlan::new(2))?;
    writer.wait_for(200, PATIENCE)?;
    let switch = switch_back(cluster, &pair, writer, progress, PATIENCE, after)?;
    show_status(cluster, &pair.primary)?;
    Ok(Story {
        pair,
        cut,
        back,
        switch,
    })
}

/// What an operator sees. The status has findings while a node is down, and an exit code for them.
fn show_status(cluster: &Cluster, node: &str) -> Result<()> {
    let words = ["/opt/pha4pgsql/bin/cls_status"];
    let output = cluster.find(node)?.exec(&words, PATIENCE)?;
    say(&format!("\n{node}# cls_status"));
    for line in output.stdout.lines().chain(output.stderr.lines()) {
        say(&format!("  {line}"));
    }
    say("");
    Ok(())
}

fn show(story: &Story, logs: &Path) {
    let (pair, verdict) = (&story.pair, &story.switch.verdict);
    let Pair { primary, standby } = pair;
    let ledger = &verdict.ledger;
    let servers: Vec<String> = ledger
        .servers()
        .iter()
        .map(|(host, timeline, count)| format!("{count} by {host} on timeline {timeline}"))
        .collect();
    let missing: usize = verdict.missing.values().map(Vec::len).sum();
    let wrong = verdict.duplicates.len() + verdict.superseded.len();
    let line = "-".repeat(76);
    say(&line);
    let row = |name: &str, text: &str| say(&format!("  {name:<20} {text}"));
    row("power cut", &format!("{primary}, the primary"));
    row("writes stood still", &stood_still(&story.cut, standby));
    row(
        "back again",
        &match &story.back {
            Return::ByItself => {
                format!("{primary} followed by itself: it had nothing that {standby} lacked")
            }
            Return::Repaired { took } => format!(
                "{primary} had WAL of its own: cls_repair_slave, {:.1} s",
                took.as_secs_f64()
            ),
        },
    );
    row(
        "planned switch",
        &format!("cls_online_switch from {standby} to {primary}"),
    );
    row("writes stood still", &stood_still(&story.switch, primary));
    row(
        "acknowledged",
        &format!(
            "{} commits: {}",
            ledger.acknowledgements.len(),
            servers.join(", ")
        ),
    );
    for (node, heard) in &verdict.silent {
        row("NO ANSWER", &format!("of {node}: {heard}"));
    }
    match missing {
        0 if !verdict.silent.is_empty() => row("lost", "not known"),
        0 => row(
            "lost",
            &format!("0: every one of them is on {primary} and on {standby}"),
        ),
        _ => row("LOST", &format!("{missing} acknowledged commits")),
    }
    row(
        "outcome unknown",
        &format!(
            "{} under way when a primary went; nobody promised them",
            ledger.unknown
        ),
    );
    if wrong > 0 {
        row(
            "WRONG",
            &format!("{wrong} acknowledged twice or by a replaced primary"),
        );
    }
    row("logs", &logs.display().to_string());
    say(&line);
}

fn stood_still(course: &Course, successor: &str) -> String {
    format!(
        "{:.1} s, until {successor} had taken over",
        course.gap.as_secs_f64()
    )
}

fn farewell(name: &str, pair: &Pair) {
    let Pair { primary, standby } = pair;
    say(&format!(
        "the cluster runs on:\n  \
         cargo testbed --name {name} shell {primary}            a shell on the primary: crm_mon, psql, cls_status …\n  \
         cargo testbed --name {name} fault power-cut {primary}  once more; {standby} takes over\n  \
         cargo testbed --name {name} fault --help           power cuts, partitions, hangs\n  \
         cargo testbed --name {name} down                   end it"
    ));
}

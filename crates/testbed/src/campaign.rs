//! `cargo testbed campaign`: clients that write all the time, and faults that overlap, drawn from a
//! seed. Judged by what was acknowledged, and by whether the cluster always comes to rest again.

mod begun;
mod dialogue;
mod dice;
mod fault;
mod figures;
mod health;
mod inflict;
mod intrude;
mod mend;
mod menu;
mod plan;
mod report;
mod restore;
mod settings;
mod stage;
mod story;
mod timeline;
mod watch;

use std::fs;
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use crate::builder::ClusterBuilder;
use crate::cargo::build_product;
use crate::checker::{Acknowledgement, Verdict};
use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::interrupt::{self, Undo};
use crate::layout::{Layout, base};
use crate::packages;
use crate::progress::Progress;
use crate::run::remove_directory;
use crate::writer::{Writer, WriterPlan, now_us};

use dice::Dice;
pub use fault::{Command, Fault, Operation, Party, Process, Refusal, Setting, Step, Who};
use figures::Figures;
use inflict::perform;
use mend::Recovery;
use menu::Menu;
pub use plan::{Plan, Round};
use stage::Stage;
use story::Played;
pub use story::Story;

/// Writers with this number and above write at a node's own address, where a primary that was
/// replaced would acknowledge.
const PROBES: u32 = 100;
/// How long clients may take to be served once the cluster is at rest.
const SERVED: Duration = Duration::from_secs(60);
/// How long a standby may take to replay what was acknowledged.
const REPLAYED: Duration = Duration::from_secs(30);
/// A round with its recovery takes at least so long.
const ROUND: Duration = Duration::from_millis(fault::ROUND_MS);

/// What to do.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// What the faults are drawn from: the same seed, the same faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long; the round that is being played is finished
    #[arg(long, default_value_t = 10)]
    minutes: u32,
    /// Database nodes
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=3))]
    nodes: u8,
    /// Clients that write through the writer VIP
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..100))]
    writers: u32,
    /// Data disks in memory of this many MiB, so that full disks are among the faults
    #[arg(long, value_name = "MIB")]
    data_disk: Option<u32>,
    /// More than half of the faults are of the kinds whose names, as the report has them, begin so
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    favour: Vec<String>,
    /// Repeat the plan in this file (the plan.json of an earlier campaign)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "minutes", "nodes", "writers", "data_disk", "favour"])]
    replay: Option<PathBuf>,
    /// Only the steps of these numbers, as 3..7 or 5; rounds without any are left out
    #[arg(long, value_name = "A..B", value_parser = range, value_delimiter = ',')]
    only_steps: Vec<RangeInclusive<u32>>,
    /// Print the plan and do nothing
    #[arg(long)]
    dry_run: bool,
}

fn range(text: &str) -> std::result::Result<RangeInclusive<u32>, String> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok(first..=last),
        _ => Err(format!("{text:?}: write two numbers as 3..7, or one")),
    }
}

impl Options {
    fn plan(&self) -> Result<Plan> {
        let plan = match &self.replay {
            Some(path) => {
                let bytes = fs::read(path).map_err(Error::io("read", path))?;
                serde_json::from_slice(&bytes).map_err(|error| {
                    Error::Asked(format!("{} is no plan: {error}", path.display()))
                })?
            }
            None => {
                let time = u64::from(self.minutes) * 60;
                let rounds = time.div_ceil(ROUND.as_secs()).max(1);
                let rounds = usize::try_from(rounds).unwrap_or(usize::MAX);
                self.known_kinds()?;
                let (favour, disk) = (&self.favour, self.data_disk);
                Plan::favouring(favour, self.seed, self.nodes, self.writers, disk, rounds)
            }
        };
        match self.only_steps.as_slice() {
            [] => Ok(plan),
            steps => Ok(plan.only(steps)),
        }
    }
}

impl Options {
    /// Every word of `--favour` is the beginning of a kind that can be drawn.
    fn known_kinds(&self) -> Result<()> {
        let menu = Menu {
            nodes: self.nodes,
            disk: self.data_disk.is_some(),
            favoured: &[],
        };
        let known = |word: &&String| menu.one_of(&mut Dice::new(self.seed), word).is_some();
        match self.favour.iter().find(|word| !known(word)) {
            None => Ok(()),
            Some(word) => Err(Error::Asked(format!(
                "no fault of the menu is called {word:?}; a report lists the kinds, as does --dry-run for a long time"
            ))),
        }
    }
}

/// Makes a cluster, attacks it and reports; the exit code says whether everything held.
///
/// # Errors
/// Something of the testbed that kept the campaign from being played.
pub(crate) fn run(name: &str, options: &Options) -> Result<u8> {
    let plan = options.plan()?;
    if options.dry_run {
        let text = serde_json::to_string_pretty(&plan).map_err(|e| Error::Asked(e.to_string()))?;
        let _ = writeln!(std::io::stdout(), "{text}");
        return Ok(0);
    }
    // Not a cluster that somebody works with by hand.
    let name = if name == "default" { "campaign" } else { name };
    interrupt::watch()?;
    let progress = Progress::on_stderr();
    packages::ensure(&progress)?;
    build_product(&progress)?;
    if Layout::existing().iter().any(|there| there == name) {
        progress.say(&format!("ending cluster {name} of an earlier run"));
        Cluster::down(name)?;
    }
    let _undo = Undo::cluster(name);
    let mut builder = ClusterBuilder::detached(name)
        .kept(false)
        .databases(plan.nodes)
        .own_clocks()
        .archive()
        .configured(true)
        .progress(progress.clone());
    if let Some(size) = plan.data_disk_mib {
        builder = builder.data_disk_mib(size);
    }
    let cluster = builder.up()?;
    let time = match options.replay {
        None => Some(Duration::from_secs(u64::from(options.minutes) * 60)),
        Some(_) => None,
    };
    let story = match play(&cluster, &plan, &progress, time) {
        Ok(story) => story,
        Err(error) => {
            if !interrupt::happened() {
                cluster.wreck(&format!("the campaign did not come to its end: {error}"));
            }
            return Err(error);
        }
    };
    let logs = match story.trouble() {
        Some(trouble) => cluster.wreck(&trouble),
        None => {
            let logs = base().join("logs").join(name);
            remove_directory(&logs)?;
            cluster.gather(&logs, "the campaign's end");
            logs
        }
    };
    story.write(&logs)?;
    let _ = writeln!(
        std::io::stdout(),
        "{story}\nreport                 {}",
        logs.display()
    );
    Ok(u8::from(!story.good()))
}

/// Plays a plan on a cluster that is configured. Ends with the plan, after the first round that
/// ends past `time`, or with the first thing that is wrong, which is then part of the story.
///
/// # Errors
/// Something of the testbed failed.
pub fn play(
    cluster: &Cluster,
    plan: &Plan,
    progress: &Progress,
    time: Option<Duration>,
) -> Result<Story> {
    let stage = Stage::new(cluster, progress.clone());
    let mut rounds = Vec::new();
    let at_rest = {
        let _step = progress.step("waiting until the fresh cluster is at rest");
        mend::recover(&stage)
    };
    let (begin, started) = (now_us(), Instant::now());
    let writers = start_writers(cluster, plan)?;
    let mut trouble = at_rest.err();
    for (index, round) in plan.rounds.iter().enumerate() {
        if trouble.is_some() || time.is_some_and(|time| started.elapsed() >= time) {
            break;
        }
        progress.say(&format!("round {} of {}", index + 1, plan.rounds.len()));
        let (played, outcome) = play_round(&stage, round, &writers);
        rounds.push(played);
        trouble = outcome.err();
    }
    for writer in writers {
        writer.stop()?;
    }
    let end = now_us();
    let verdict = match &trouble {
        None => check(cluster)?,
        Some(_) => check_what_answers(cluster)?,
    };
    let vip = verdict.ledger.acknowledgements.iter();
    let figures = Figures::of(vip.filter(|a| a.writer < PROBES), end);
    Ok(Story {
        plan: plan.clone(),
        begin,
        end,
        rounds,
        events: stage.events(),
        changes: stage.watch.changes(),
        verdict,
        figures,
        trouble,
    })
}

impl Story {
    fn through_vip(&self) -> impl Iterator<Item = &Acknowledgement> {
        let all = self.verdict.ledger.acknowledgements.iter();
        all.filter(|acknowledgement| acknowledgement.writer < PROBES)
    }
}

fn start_writers(cluster: &Cluster, plan: &Plan) -> Result<Vec<Writer>> {
    let for_ever = |number| {
        WriterPlan::new(number)
            .count(u64::MAX)
            .time(Duration::from_secs(86_400))
    };
    let clients = (1..=plan.writers).map(|number| for_ever(number).pace(Duration::from_millis(20)));
    let nodes = cluster.databases();
    let probes = nodes.iter().zip(PROBES..).map(|(node, number)| {
        for_ever(number)
            .to(&node.address())
            .pace(Duration::from_millis(100))
    });
    clients
        .chain(probes)
        .map(|plan| cluster.start_writer(&plan))
        .collect()
}

/// Faults, healing, rest, and the checker.
fn play_round(
    stage: &Stage<'_>,
    round: &Round,
    writers: &[Writer],
) -> (Played, std::result::Result<(), String>) {
    let mut played = Played {
        begin: now_us(),
        healed: 0,
        end: 0,
        recovery: None,
    };
    let start = Instant::now();
    let (last, steps): (Vec<&Step>, Vec<&Step>) = round
        .steps
        .iter()
        .partition(|step| step.fault == Fault::LockRestore);
    let saved = restore::save(stage).map_err(|error| error.to_string());
    std::thread::scope(|scope| {
        for step in steps {
            scope.spawn(move || perform(stage, step, start));
        }
    });
    played.healed = now_us();
    let outcome = saved.and_then(|()| {
        let mut recovery = come_to_rest(stage, writers)?;
        for step in last {
            restore::play(stage, step.number, &recovery.primary)
                .map_err(|error| error.to_string())?;
            recovery = come_to_rest(stage, writers)?;
        }
        Ok(recovery)
    });
    played.end = now_us();
    let outcome = outcome.map(|recovery| played.recovery = Some(recovery));
    (played, outcome)
}

/// Everything is healed, and the cluster has to come to rest, serve, and have every commit.
fn come_to_rest(stage: &Stage<'_>, writers: &[Writer]) -> std::result::Result<Recovery, String> {
    mend::heal(stage).map_err(|error| format!("healing: {error}"))?;
    let recovery = mend::recover(stage)?;
    stage.progress.say(&format!(
        "  at rest after {:.1} s, {} is primary; {} commands typed",
        recovery.took.as_secs_f64(),
        recovery.primary,
        recovery.commands
    ));
    served(writers)?;
    let verdict = check(stage.cluster).map_err(|error| error.to_string())?;
    if verdict.clean() {
        Ok(recovery)
    } else {
        Err(verdict.to_string())
    }
}

/// Every client that writes through the writer VIP is served.
fn served(writers: &[Writer]) -> std::result::Result<(), String> {
    let clients = writers.iter().filter(|writer| writer.number() < PROBES);
    for client in clients {
        client.wait_for(2, SERVED).map_err(|error| {
            format!("the cluster is at rest, and a client is not served: {error}")
        })?;
    }
    Ok(())
}

fn check(cluster: &Cluster) -> Result<Verdict> {
    let nodes = cluster.databases();
    let names: Vec<&str> = nodes.iter().map(crate::node::Node::name).collect();
    cluster.check(&names, REPLAYED)
}

/// The same on the nodes that answer: a cluster that did not come to rest is judged by those.
fn check_what_answers(cluster: &Cluster) -> Result<Verdict> {
    let nodes = cluster.databases();
    let names: Vec<&str> = nodes
        .iter()
        .map(crate::node::Node::name)
        .filter(|name| cluster.sql(name, "SELECT 1").is_ok())
        .collect();
    cluster.check(&names, REPLAYED)
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn steps_are_picked_by_number() {
        assert_eq!(range("3..7"), Ok(3..=7));
        assert_eq!(range("5"), Ok(5..=5));
        for bad in ["", "7..3", "a..b", "3.."] {
            assert!(range(bad).is_err(), "{bad:?}");
        }
    }
}

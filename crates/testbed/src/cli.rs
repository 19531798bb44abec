//! The command line of `cargo testbed`.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use rustix::process::Signal;

use crate::builder::{ClusterBuilder, assignment};
use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::lock::Breakage;
use crate::packages;
use crate::progress::{Progress, say};
use crate::writer::{Writer, WriterPlan};

/// A real cluster on one machine: corosync, Pacemaker, PostgreSQL and the agent in namespaces.
#[derive(Debug, Parser)]
#[command(name = "cargo testbed", version, about)]
pub struct Arguments {
    /// The cluster's name; several run side by side
    #[arg(long, global = true, default_value = "default")]
    name: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the product, run it on three nodes, cut the primary's power and show what is left
    Demo(crate::demo::Options),
    /// Build the product and run every test: plain, pg_ (PostgreSQL), cluster_ (Pacemaker)
    Test(crate::suite::Options),
    /// Measure the product, and the packaged agent beside it
    Bench(crate::bench::Options),
    /// Attack a cluster with overlapping faults drawn from a seed, and judge what was acknowledged
    Campaign(crate::campaign::Options),
    /// Build programs for old and new systems, and make a tarball, a .deb and an .rpm of them
    Package(crate::package::Options),
    /// Try the package on other Debian suites: a cluster of each, its programs from a tree of the suite
    Matrix(crate::matrix::Options),
    /// Try the package where systemd boots the nodes: poweroff, reboot, want of memory, packages installed again
    Boot(crate::matrix::boot::Options),
    /// Make a cluster that stays until `down`
    Up {
        /// Database nodes (1 to 5); the lock service's node comes after them
        #[arg(long, default_value_t = 2)]
        nodes: u8,
        /// The agent's rep_mode
        #[arg(long, default_value = "sync")]
        rep_mode: String,
        /// The agent below ocf:heartbeat:
        #[arg(long, default_value = "expgsql")]
        agent: String,
        /// No lock service
        #[arg(long)]
        no_lock: bool,
        /// corosync's token timeout in milliseconds
        #[arg(long, default_value_t = 1000)]
        token: u32,
        /// A clock of its own for each database node, so that it can be set
        #[arg(long)]
        own_clocks: bool,
        /// Data disks in memory of this many MiB, so that they can be filled
        #[arg(long)]
        data_disk: Option<u32>,
        /// Another value for a parameter of the agent (name=value)
        #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = assignment)]
        parameters: Vec<(String, String)>,
        /// Push Pacemaker's configuration too
        #[arg(long)]
        configure: bool,
    },
    /// End a cluster and remove everything of it
    Down {
        /// Every cluster
        #[arg(long)]
        all: bool,
    },
    /// List clusters and the state of their nodes
    List,
    /// A shell on a node
    Shell {
        /// The node
        node: String,
    },
    /// Run a command on a node; its exit code becomes this one's
    Exec {
        /// The node
        node: String,
        /// The command
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Push Pacemaker's configuration
    Configure,
    /// Print Pacemaker's configuration without pushing it
    Configuration,
    /// Install this project's programs again on every node, after a new build
    Install,
    /// Do something bad, or undo it
    #[command(subcommand)]
    Fault(Fault),
    /// Write through the writer VIP until Ctrl-C, and show what is acknowledged
    Write {
        /// Writers side by side
        #[arg(long, default_value_t = 1)]
        writers: u32,
        /// End after this many seconds
        #[arg(long, default_value_t = 3600)]
        seconds: u64,
        /// Pause after each commit, in milliseconds
        #[arg(long, default_value_t = 2)]
        pace: u64,
    },
    /// Compare what was acknowledged with the rows of every powered database node
    Check {
        /// Only these nodes
        nodes: Vec<String>,
    },
    /// Keep logs, CIB, register and the like in one directory
    Wreck,
}

#[derive(Debug, Subcommand)]
enum Fault {
    /// Cut the power of nodes, at once
    PowerCut {
        /// The nodes
        #[arg(required = true)]
        nodes: Vec<String>,
    },
    /// Power a node on and start what starts at boot
    Boot {
        /// The node
        node: String,
    },
    /// Cut two nodes (or a node and `client`) apart
    Cut {
        /// One end
        a: String,
        /// The other end
        b: String,
        /// Only what A sends to B
        #[arg(long)]
        one_way: bool,
        /// Only this port
        #[arg(long, conflicts_with = "one_way")]
        port: Option<u16>,
        /// Only this share of the packets, in percent
        #[arg(long, conflicts_with_all = ["one_way", "port"])]
        lose: Option<u8>,
    },
    /// Cut a node off from everybody
    Isolate {
        /// The node
        node: String,
    },
    /// Undo every cut
    Heal,
    /// Show the cuts and what they dropped
    Show,
    /// Take a node's interface down
    LinkDown {
        /// The node
        node: String,
    },
    /// Take a node's interface up
    LinkUp {
        /// The node
        node: String,
    },
    /// Delay or lose what goes to a node, in words of tc-netem(8); no words undo it
    Netem {
        /// The node
        node: String,
        /// For example: delay 50ms 10ms
        words: Vec<String>,
    },
    /// Stop every process of a node where it stands
    Freeze {
        /// The node
        node: String,
    },
    /// Let a frozen node go on
    Thaw {
        /// The node
        node: String,
    },
    /// Send a signal to processes by their short name; `postmaster` means just that one
    Kill {
        /// The node
        node: String,
        /// The name
        process: String,
        /// kill, stop, cont, term, int, quit or hup
        #[arg(long, default_value = "kill")]
        signal: String,
    },
    /// Fill a node's data disk (needs `up --data-disk`)
    FillDisk {
        /// The node
        node: String,
    },
    /// Free what `fill-disk` took
    FreeDisk {
        /// The node
        node: String,
    },
    /// Stop the lock service
    LockStop,
    /// Start the lock service
    LockStart,
    /// Stop the lock service's processes where they stand
    LockFreeze,
    /// Let a frozen lock service go on
    LockThaw,
    /// Set a node's clock so many seconds ahead of the right time, or behind it (the lock service's
    /// node, or any of `up --own-clocks`)
    Clock {
        /// The node
        node: String,
        /// 0 sets it right
        #[arg(allow_negative_numbers = true)]
        seconds: i32,
    },
    /// Make the lock service answer errors: login, table or read-only
    LockBreak {
        /// Which error
        how: String,
    },
    /// Undo `lock-break`
    LockRepair {
        /// Which error
        how: String,
    },
}

/// Reads the command line and does what it asks for.
#[must_use]
pub fn run() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if let Some(outcome) = crate::roles::take_role(&words) {
        return report(outcome.map(|()| 0));
    }
    let arguments = Arguments::parse();
    report(perform(&arguments))
}

fn report(outcome: Result<u8>) -> ExitCode {
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "testbed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn perform(arguments: &Arguments) -> Result<u8> {
    let name = arguments.name.as_str();
    let attach = || Cluster::attach(name);
    match &arguments.command {
        Command::Demo(options) => return crate::demo::run(name, options),
        Command::Test(options) => return crate::suite::run(options),
        Command::Bench(options) => return crate::bench::run(options),
        Command::Campaign(options) => return crate::campaign::run(name, options),
        Command::Package(options) => return crate::package::run(options),
        Command::Matrix(options) => return crate::matrix::run(options),
        Command::Boot(options) => return crate::matrix::boot::run(options),
        Command::Up { .. } => up(name, &arguments.command)?,
        Command::Down { all: true } => Layout::existing()
            .iter()
            .try_for_each(|name| Cluster::down(name))?,
        Command::Down { all: false } => Cluster::down(name)?,
        Command::List => list(),
        Command::Shell { node } => {
            return enter(&attach()?, node, &["/bin/bash".to_owned(), "-l".to_owned()]);
        }
        Command::Exec { node, command } => return enter(&attach()?, node, command),
        Command::Configure => attach()?.configure()?,
        Command::Configuration => say(&attach()?.spec().pacemaker.to_xml()),
        Command::Install => attach()?.install_programs()?,
        Command::Fault(fault) => inflict(&attach()?, fault)?,
        Command::Write {
            writers,
            seconds,
            pace,
        } => {
            let plan = WriterPlan::new(0)
                .count(u64::MAX)
                .time(Duration::from_secs(*seconds))
                .pace(Duration::from_millis(*pace));
            write(&attach()?, *writers, &plan)?;
        }
        Command::Check { nodes } => return check(&attach()?, nodes),
        Command::Wreck => {
            attach()?.wreck("asked for by hand");
        }
    }
    Ok(0)
}

fn up(name: &str, command: &Command) -> Result<()> {
    let Command::Up {
        nodes,
        rep_mode,
        agent,
        no_lock,
        token,
        own_clocks,
        data_disk,
        parameters,
        configure,
    } = command
    else {
        return Ok(());
    };
    let progress = Progress::on_stderr();
    packages::ensure(&progress)?;
    let mut builder = ClusterBuilder::detached(name)
        .databases(*nodes)
        .rep_mode(rep_mode)
        .agent(agent)
        .lock_service(!no_lock)
        .token_ms(*token)
        .configured(*configure)
        .progress(progress.clone());
    if *own_clocks {
        builder = builder.own_clocks();
    }
    if let Some(size) = data_disk {
        builder = builder.data_disk_mib(*size);
    }
    for (name, value) in parameters {
        builder = builder.parameter(name, value);
    }
    let cluster = builder.up()?;
    progress.say("up");
    let option = if name == "default" {
        String::new()
    } else {
        format!(" --name {name}")
    };
    let first = cluster
        .nodes()
        .first()
        .map(|node| node.name().to_owned())
        .unwrap_or_default();
    say(&format!(
        "cluster {name} is up: {}\n  cargo testbed{option} shell {first}          a shell on a node\n  \
         cargo testbed{option} configure           push Pacemaker's configuration\n  \
         cargo testbed{option} fault --help        power cuts, partitions, hangs\n  \
         cargo testbed{option} down                end it",
        cluster
            .nodes()
            .iter()
            .map(|node| format!("{} {}", node.name(), node.address()))
            .collect::<Vec<_>>()
            .join(", ")
    ));
    Ok(())
}

fn list() {
    for name in Layout::existing() {
        match Cluster::attach(&name) {
            Err(_) => say(&format!(
                "{name}: left over; `cargo testbed down --name {name}` removes it"
            )),
            Ok(cluster) => {
                let nodes: Vec<String> = cluster
                    .nodes()
                    .iter()
                    .map(|node| {
                        format!(
                            "{} {}",
                            node.name(),
                            if node.is_on() { "on" } else { "off" }
                        )
                    })
                    .collect();
                say(&format!(
                    "{name}: {} ({})",
                    nodes.join(", "),
                    cluster.directory().display()
                ));
            }
        }
    }
}

fn enter(cluster: &Cluster, node: &str, argv: &[String]) -> Result<u8> {
    let node = cluster.find(node)?;
    let mut command = node.interactive(argv)?;
    let status = command.status().map_err(|source| Error::Start {
        place: node.name().to_owned(),
        program: "nsenter".to_owned(),
        source,
    })?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1))
}

/// Shows one line per second, so that a fault made in another terminal is seen at once.
fn write(cluster: &Cluster, count: u32, plan: &WriterPlan) -> Result<()> {
    let end = Instant::now() + plan.time;
    let writers = (1..=count)
        .map(|number| {
            cluster.start_writer(&WriterPlan {
                number,
                ..plan.clone()
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let mut before = 0;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_secs(1).min(end - Instant::now().min(end)));
        let now: u64 = writers.iter().map(Writer::acknowledged).sum();
        say(&format!(
            "{now} acknowledged, {} in the last second",
            now - before
        ));
        before = now;
    }
    writers
        .into_iter()
        .try_for_each(|writer| writer.stop().map(drop))
}

fn check(cluster: &Cluster, nodes: &[String]) -> Result<u8> {
    let on = cluster
        .databases()
        .into_iter()
        .filter(crate::Node::is_on)
        .map(|node| node.name().to_owned());
    let nodes: Vec<String> = if nodes.is_empty() {
        on.collect()
    } else {
        nodes.to_vec()
    };
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let verdict = cluster.check(&nodes, Duration::from_secs(10))?;
    say(&verdict.to_string());
    Ok(u8::from(!verdict.clean()))
}

fn inflict(cluster: &Cluster, fault: &Fault) -> Result<()> {
    match fault {
        Fault::PowerCut { nodes } => {
            cluster.power_cut_all(&nodes.iter().map(String::as_str).collect::<Vec<_>>())
        }
        Fault::Boot { node } => cluster.boot(node),
        Fault::Cut {
            a,
            b,
            port: Some(port),
            ..
        } => cluster.cut_port(a, b, *port),
        Fault::Cut {
            a,
            b,
            lose: Some(percent),
            ..
        } => cluster.lose(a, b, *percent),
        Fault::Cut {
            a,
            b,
            one_way: true,
            ..
        } => cluster.cut_one_way(a, b),
        Fault::Cut { a, b, .. } => cluster.cut(a, b),
        Fault::Isolate { node } => cluster.isolate(node),
        Fault::Heal => cluster.heal(),
        Fault::Show => cluster.faults().map(|rules| say(&rules)),
        Fault::LinkDown { node } => cluster.link(node, false),
        Fault::LinkUp { node } => cluster.link(node, true),
        Fault::Netem { node, words } => {
            cluster.netem(node, &words.iter().map(String::as_str).collect::<Vec<_>>())
        }
        Fault::Freeze { node } => cluster.find(node)?.freeze(),
        Fault::Thaw { node } => cluster.find(node)?.thaw(),
        Fault::Kill {
            node,
            process,
            signal,
        } => kill(cluster, node, process, signal),
        Fault::FillDisk { node } => cluster.find(node)?.fill_data_disk(),
        Fault::FreeDisk { node } => cluster.find(node)?.free_data_disk(),
        Fault::LockStop => cluster.lock_service()?.stop(),
        Fault::LockStart => cluster.lock_service()?.start(),
        Fault::Clock { node, seconds } => cluster.find(node)?.set_clock(*seconds),
        Fault::LockFreeze => cluster.lock_service()?.freeze(),
        Fault::LockThaw => cluster.lock_service()?.thaw(),
        Fault::LockBreak { how } => cluster.lock_service()?.break_with_errors(breakage(how)?),
        Fault::LockRepair { how } => cluster.lock_service()?.repair(breakage(how)?),
    }
}

fn kill(cluster: &Cluster, node: &str, process: &str, signal: &str) -> Result<()> {
    let signal = match signal.to_ascii_lowercase().trim_start_matches("sig") {
        "kill" | "9" => Signal::KILL,
        "stop" => Signal::STOP,
        "cont" => Signal::CONT,
        "term" => Signal::TERM,
        "int" => Signal::INT,
        "quit" => Signal::QUIT,
        "hup" => Signal::HUP,
        other => {
            return Err(Error::Asked(format!(
                "signal {other}: use kill, stop, cont, term, int, quit or hup"
            )));
        }
    };
    let node = cluster.find(node)?;
    let count = if process == "postmaster" {
        usize::from(node.kill_postmaster(signal))
    } else {
        node.kill_named(process, signal)
    };
    if count == 0 {
        return Err(Error::Asked(format!(
            "{}: no process is named {process}",
            node.name()
        )));
    }
    say(&format!("{count} processes signalled"));
    Ok(())
}

fn breakage(how: &str) -> Result<Breakage> {
    match how {
        "login" => Ok(Breakage::Login),
        "table" => Ok(Breakage::TableGone),
        "read-only" => Ok(Breakage::ReadOnly),
        other => Err(Error::Asked(format!(
            "lock-break {other}: use login, table or read-only"
        ))),
    }
}

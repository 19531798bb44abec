//! What the steps of a campaign share: who holds which machine, which packets are lost, and what has
//! happened so far.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::fault::{Party, Who};
use super::settings;
use super::watch::{Seen, Watch};
use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::fabric::Loss;
use crate::layout::CLIENT;
use crate::node::{Node, PGDATA};
use crate::progress::Progress;
use crate::run::Output;

/// The key under which the lock service is claimed.
pub(super) const LOCK: &str = "lock service";
/// The key under which the operator is claimed: there is one, who does one thing at a time.
pub(super) const OPERATOR: &str = "operator";

/// How long a command may take to put things back into order when its time is up; then it is
/// killed.
const GRACE: Duration = Duration::from_secs(25);

/// Something that happened.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Event {
    /// The step's number; 0 for what the plan does not name.
    pub(super) step: u32,
    /// The kind of fault, or the operator's command.
    pub(super) kind: String,
    /// To whom, and what came of it.
    pub(super) what: String,
    /// Microseconds, monotonic.
    pub(super) begin: u64,
    /// The same.
    pub(super) end: u64,
    /// Whether it really was done.
    pub(super) done: bool,
}

/// The commands on a node.
pub(super) const CLS: &str = "/opt/pha4pgsql/bin/cls";
/// How a standby is built anew.
pub(super) const REBUILD: &[&str] = &["rebuild_slave", "--keep-old"];

/// See the module.
pub(super) struct Stage<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) watch: Watch,
    pub(super) progress: Progress,
    claims: Mutex<BTreeSet<String>>,
    losses: Mutex<BTreeMap<u32, Vec<Loss>>>,
    power: BTreeMap<String, Mutex<()>>,
    /// The highest `max_connections` that a step has set on a node.
    limit: AtomicU32,
    events: Mutex<Vec<Event>>,
}

/// Something that one step has for itself until it is dropped.
pub(super) struct Claim<'s> {
    claims: &'s Mutex<BTreeSet<String>>,
    key: String,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        lock(self.claims).remove(&self.key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Stage<'a> {
    pub(super) fn new(cluster: &'a Cluster, progress: Progress) -> Stage<'a> {
        let names = cluster
            .nodes()
            .into_iter()
            .map(|node| node.name().to_owned());
        Stage {
            cluster,
            watch: Watch::over(cluster.databases()),
            progress,
            claims: Mutex::default(),
            losses: Mutex::default(),
            power: names.map(|name| (name, Mutex::new(()))).collect(),
            limit: AtomicU32::new(settings::LIMIT),
            events: Mutex::default(),
        }
    }

    // ---- who is meant ------------------------------------------------------------------------

    /// The name of the database node that is this now.
    pub(super) fn name(&self, who: Who) -> Result<String> {
        let names: Vec<String> = self
            .cluster
            .databases()
            .iter()
            .map(|node| node.name().to_owned())
            .collect();
        let primary = self.watch.primary().or_else(|| names.first().cloned());
        let primary = primary.ok_or_else(|| Error::Asked("no database node".to_owned()))?;
        let Who::Standby(which) = who else {
            return Ok(primary);
        };
        let others: Vec<String> = names.into_iter().filter(|name| *name != primary).collect();
        usize::from(which)
            .checked_rem(others.len())
            .and_then(|index| others.get(index).cloned())
            .ok_or_else(|| Error::Asked("there is no standby".to_owned()))
    }

    /// The same, if it has power.
    pub(super) fn node(&self, who: Who) -> Result<Node> {
        let node = self.cluster.find(&self.name(who)?)?;
        if node.is_on() {
            Ok(node)
        } else {
            Err(Error::Asked(format!("{} has no power", node.name())))
        }
    }

    /// A node on which an operator can type.
    pub(super) fn terminal(&self, who: Who) -> Result<Node> {
        let node = self.node(who)?;
        match self.watch.seen(node.name()) {
            Some(Seen::Frozen) => Err(Error::Asked(format!("{} stands still", node.name()))),
            _ => Ok(node),
        }
    }

    /// The port of the network at which a party is.
    pub(super) fn port(&self, party: Party) -> Result<String> {
        match party {
            Party::Node(who) => self.name(who),
            Party::Lock => Ok(self.cluster.lock_service()?.node().name().to_owned()),
            Party::Client => Ok(CLIENT.to_owned()),
        }
    }

    // ---- what must not be done by two at once ------------------------------------------------

    /// Takes something for a step, unless another one has it.
    pub(super) fn claim(&self, key: &str) -> Result<Claim<'_>> {
        if lock(&self.claims).insert(key.to_owned()) {
            Ok(Claim {
                claims: &self.claims,
                key: key.to_owned(),
            })
        } else {
            Err(Error::Asked(format!("another step has the {key} already")))
        }
    }

    /// Does something to a machine's power or services while nobody else does.
    pub(super) fn alone<T>(&self, node: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let _turn = self.power.get(node).map(lock);
        work()
    }

    /// Powers a node on and starts what starts at boot.
    pub(super) fn boot(&self, node: &str) -> Result<()> {
        self.alone(node, || self.cluster.boot(node))
    }

    /// Starts again what a service manager would: corosync with Pacemaker, or Pacemaker alone.
    /// What is left of a Pacemaker without corosync is ended first, as its unit would be.
    pub(super) fn start_daemons(&self, node: &Node) -> Result<()> {
        self.alone(node.name(), || {
            if !node.is_on() {
                return Ok(());
            }
            let processes = node.processes();
            let runs = |name: &str| processes.iter().any(|process| process.comm == name);
            if !runs("corosync") {
                node.kill(
                    |process| process.comm.starts_with("pacemaker"),
                    rustix::process::Signal::KILL,
                );
            }
            self.cluster.start_pacemaker(node.name())
        })
    }

    /// A `max_connections` that no node has yet.
    pub(super) fn raised_limit(&self) -> u32 {
        self.limit.fetch_add(10, Ordering::Relaxed) + 10
    }

    /// The one that every node gets after the round.
    pub(super) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    // ---- the network -------------------------------------------------------------------------

    /// Adds a step's losses to those in force.
    pub(super) fn lose(&self, step: u32, losses: Vec<Loss>) -> Result<()> {
        self.change_losses(|all| {
            all.insert(step, losses);
        })
    }

    /// Takes a step's losses away, and leaves those of others.
    pub(super) fn find_again(&self, step: u32) -> Result<()> {
        self.change_losses(|all| {
            all.remove(&step);
        })
    }

    /// Takes every loss away.
    pub(super) fn lose_nothing(&self) -> Result<()> {
        self.change_losses(BTreeMap::clear)
    }

    fn change_losses(&self, change: impl FnOnce(&mut BTreeMap<u32, Vec<Loss>>)) -> Result<()> {
        let mut all = lock(&self.losses);
        change(&mut all);
        let losses: Vec<Loss> = all.values().flatten().cloned().collect();
        self.cluster.fabric().only(&losses)
    }

    // ---- the operator ------------------------------------------------------------------------

    /// A command of cls that gives up by itself after `limit`: its exit code, and in a line where
    /// it was typed and how it ended.
    pub(super) fn cls(
        &self,
        node: &Node,
        words: &[&str],
        limit: Duration,
    ) -> Result<(i32, String)> {
        let seconds = limit.as_secs().to_string();
        let argv = [&[CLS], words, &["--timeout", &seconds]].concat();
        let output = node.exec(&argv, limit + GRACE)?;
        if words.starts_with(REBUILD) && output.ok() {
            // As the command says: they are of no more use.
            let old = format!("rm -rf {PGDATA}.old-*");
            node.run(&["sh", "-c", &old], limit)?;
        }
        let line = format!(
            "{}, exit code {}{}",
            node.name(),
            output.code,
            last(&output)
        );
        Ok((output.code, line))
    }

    // ---- the record --------------------------------------------------------------------------

    pub(super) fn record(&self, event: Event) {
        let number = match event.step {
            0 => String::new(),
            number => format!("{number:>4} "),
        };
        let not = if event.done { "" } else { "NOT DONE, " };
        self.progress
            .say(&format!("  {number}{}: {not}{}", event.kind, event.what));
        lock(&self.events).push(event);
    }

    pub(super) fn events(&self) -> Vec<Event> {
        let mut events = lock(&self.events).clone();
        events.sort_by_key(|event| event.begin);
        events
    }
}

/// What a program that failed has said of it: what has happened, and what to type next.
fn last(output: &Output) -> String {
    let lines = output.stderr.lines().map(str::trim);
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let said = &lines[lines.len().saturating_sub(2)..];
    match (said, output.code) {
        ([], _) | (_, 0) => String::new(),
        (said, _) => format!(": {}", said.join("; ")),
    }
}

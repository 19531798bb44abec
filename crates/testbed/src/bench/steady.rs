//! What an agent costs while nothing happens.

use std::time::Duration;

use serde::Serialize;

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::node::Node;
use crate::peer;
use crate::procfs::{self, Process};
use crate::scene::Pair;

/// How long it is watched.
const TIME: Duration = Duration::from_secs(60);

/// One minute of a primary and a synchronous standby without a client.
#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct Steady {
    /// User and system time of every operation of every agent that Pacemaker ran on both nodes,
    /// with all their children, milliseconds. What PostgreSQL and Pacemaker's daemons spend on their
    /// behalf is not in it.
    pub(super) operations_ms: f64,
    /// User and system time of the guard, milliseconds.
    pub(super) guard_ms: Option<f64>,
    /// Resident memory of the guard, KiB.
    pub(super) guard_kib: Option<u64>,
}

impl Steady {
    /// Operations and guard together, milliseconds of CPU in the minute.
    pub(super) fn total_ms(&self) -> f64 {
        self.operations_ms + self.guard_ms.unwrap_or(0.0)
    }
}

/// Watches the cluster for a minute.
///
/// # Errors
/// A process that ought to be there is not, or went.
pub(super) fn measure(cluster: &Cluster, pair: &Pair) -> Result<Steady> {
    let primary = cluster.find(&pair.primary)?;
    let executors = [&pair.primary, &pair.standby]
        .map(|name| cluster.find(name).and_then(|node| executor(&node)))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let guard = (cluster.spec().pacemaker.agent != peer::AGENT)
        .then(|| {
            let guard = primary.operations("guard").pop();
            guard.ok_or_else(|| Error::Asked(format!("{}: no guard runs", primary.name())))
        })
        .transpose()?;
    let operations = || -> Result<u64> {
        let of = |process: &Process| procfs::cpu_ms(process.pid).map(|cpu| cpu.children);
        executors.iter().map(|e| of(e).ok_or_else(|| gone(e))).sum()
    };
    let own = |process: &Process| {
        let cpu = procfs::cpu_ms(process.pid).map(|cpu| cpu.own);
        cpu.ok_or_else(|| gone(process))
    };
    let before = (operations()?, guard.as_ref().map(own).transpose()?);
    std::thread::sleep(TIME);
    let after = (operations()?, guard.as_ref().map(own).transpose()?);
    let kib = |process: &Process| process.resident_kib().ok_or_else(|| gone(process));
    Ok(Steady {
        operations_ms: difference(before.0, after.0),
        guard_ms: before.1.zip(after.1).map(|(a, b)| difference(a, b)),
        guard_kib: guard.as_ref().map(kib).transpose()?,
    })
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a minute")]
fn difference(before: u64, after: u64) -> f64 {
    after.saturating_sub(before) as f64
}

/// Pacemaker's daemon that starts the agents and waits for them.
fn executor(node: &Node) -> Result<Process> {
    // The short name is cut to 15 characters by the kernel.
    find(node, "pacemaker-execd", |process| {
        process.comm.starts_with("pacemaker-execd")
    })
}

fn find(node: &Node, what: &str, select: impl Fn(&Process) -> bool) -> Result<Process> {
    let found = node.processes().into_iter().find(select);
    found.ok_or_else(|| Error::Asked(format!("{}: {what} does not run", node.name())))
}

fn gone(process: &Process) -> Error {
    Error::Asked(format!("{} ended while it was watched", process.cmdline))
}

//! What one monitor of the primary costs.

use std::time::Duration;

use serde::Serialize;

use super::samples::Samples;
use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::node::Node;
use crate::pacemaker::RESOURCE;

/// How often a monitor is run.
const TIMES: u32 = 9;
/// OCF_RUNNING_MASTER.
const PRIMARY: i32 = 8;
const PATIENCE: Duration = Duration::from_secs(60);

/// One monitor on a synchronous primary.
#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct Monitor {
    /// User and system time with that of all children, milliseconds.
    pub(super) cpu_ms: Samples,
    /// Wall time, milliseconds.
    pub(super) wall_ms: Samples,
    /// Processes that it made, children of children included.
    pub(super) processes: usize,
    /// Peak resident memory of the largest of its processes, itself included, KiB.
    pub(super) peak_kib: u64,
}

/// Runs the agent's monitor on the primary as Pacemaker does, [`TIMES`] times for its time, once
/// under GNU time for its memory and once under strace for its processes.
///
/// # Errors
/// A monitor did not say that this is a primary.
pub(super) fn measure(cluster: &Cluster, node: &Node) -> Result<Monitor> {
    let mut monitor = Monitor::default();
    for _ in 0..TIMES {
        // The shell's own word for the times of its children; its own are on the first line.
        let script = "\"$0\" monitor >/dev/null 2>&1; code=$?; times; exit $code";
        let output = run(cluster, node, &["bash", "-c", script])?;
        let cpu = output.stdout.lines().nth(1).and_then(seconds_of_times);
        let cpu = cpu.ok_or_else(|| unexpected(node, "times", &output.stdout))?;
        monitor.cpu_ms.push(cpu * 1000.0);
    }
    for _ in 0..TIMES {
        let script = "a=$EPOCHREALTIME; \"$0\" monitor >/dev/null 2>&1; code=$?; echo $a $EPOCHREALTIME; exit $code";
        let output = run(cluster, node, &["bash", "-c", script])?;
        let wall = wall(&output.stdout).ok_or_else(|| unexpected(node, "bash", &output.stdout))?;
        monitor.wall_ms.push(wall * 1000.0);
    }
    let script =
        "exec /usr/bin/time --quiet -f %M -o /run/bench-memory \"$0\" monitor >/dev/null 2>&1";
    run(cluster, node, &["bash", "-c", script])?;
    let text = String::from_utf8_lossy(&node.read("/run/bench-memory")?).into_owned();
    monitor.peak_kib = text
        .trim()
        .parse()
        .map_err(|_| unexpected(node, "time", &text))?;
    let script = "exec strace -f -qq -e trace=clone,clone3,fork,vfork -e signal=none -o /run/bench-trace \"$0\" monitor >/dev/null 2>&1";
    run(cluster, node, &["bash", "-c", script])?;
    let trace = String::from_utf8_lossy(&node.read("/run/bench-trace")?).into_owned();
    monitor.processes = processes(&trace);
    Ok(monitor)
}

fn unexpected(node: &Node, program: &str, text: &str) -> Error {
    Error::Asked(format!("{}: {program} said {text:?}", node.name()))
}

/// Runs `words` with the agent's path as the next one and the environment of its operation.
fn run(cluster: &Cluster, node: &Node, words: &[&str]) -> Result<crate::run::Output> {
    let config = &cluster.spec().pacemaker;
    let mut argv: Vec<String> = vec!["env".to_owned()];
    argv.extend(
        config
            .parameters
            .iter()
            .map(|(name, value)| format!("OCF_RESKEY_{name}={value}")),
    );
    let count = cluster.databases().len();
    argv.extend(
        [
            ("OCF_ROOT", "/usr/lib/ocf"),
            ("OCF_RA_VERSION_MAJOR", "1"),
            ("OCF_RA_VERSION_MINOR", "1"),
            ("OCF_RESOURCE_INSTANCE", RESOURCE),
            ("OCF_RESOURCE_PROVIDER", "heartbeat"),
            ("OCF_RESOURCE_TYPE", &config.agent),
            ("OCF_RESKEY_crm_feature_set", "3.16.2"),
            ("OCF_RESKEY_CRM_meta_clone", "0"),
            ("OCF_RESKEY_CRM_meta_clone_max", &count.to_string()),
            ("OCF_RESKEY_CRM_meta_clone_node_max", "1"),
            ("OCF_RESKEY_CRM_meta_globally_unique", "false"),
            ("OCF_RESKEY_CRM_meta_interval", "3000"),
            ("OCF_RESKEY_CRM_meta_master_max", "1"),
            ("OCF_RESKEY_CRM_meta_master_node_max", "1"),
            ("OCF_RESKEY_CRM_meta_promoted_max", "1"),
            ("OCF_RESKEY_CRM_meta_promoted_node_max", "1"),
            ("OCF_RESKEY_CRM_meta_name", "monitor"),
            ("OCF_RESKEY_CRM_meta_notify", "true"),
            ("OCF_RESKEY_CRM_meta_on_node", node.name()),
            ("OCF_RESKEY_CRM_meta_role", "Master"),
            ("OCF_RESKEY_CRM_meta_timeout", "60000"),
        ]
        .map(|(name, value)| format!("{name}={value}")),
    );
    argv.extend(words.iter().map(|word| (*word).to_owned()));
    argv.push(format!(
        "/usr/lib/ocf/resource.d/heartbeat/{}",
        config.agent
    ));
    let output = node.exec(&argv, PATIENCE)?;
    if output.code == PRIMARY {
        return Ok(output);
    }
    Err(Error::Asked(format!(
        "{}: a monitor of {} ended with {} instead of {PRIMARY}: {}",
        node.name(),
        config.agent,
        output.code,
        output.stderr.trim()
    )))
}

/// `0m0.012s 0m0.004s`, the sum in seconds.
fn seconds_of_times(line: &str) -> Option<f64> {
    let mut sum = 0.0;
    for word in line.split_whitespace() {
        let (minutes, seconds) = word.strip_suffix('s')?.split_once('m')?;
        sum += minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?;
    }
    Some(sum)
}

fn wall(text: &str) -> Option<f64> {
    let (begin, end) = text.trim().split_once(' ')?;
    Some(end.parse::<f64>().ok()? - begin.parse::<f64>().ok()?)
}

/// The processes (threads are none) that a trace of strace's shows being made. A call that was
/// interrupted by another line appears twice; the second time it is "resumed".
fn processes(trace: &str) -> usize {
    trace
        .lines()
        .filter(|line| {
            !line.contains("CLONE_THREAD") && !line.contains("resumed>") && !line.contains("= -1 ")
        })
        .filter(|line| line.contains("clone") || line.contains("fork("))
        .count()
}

#[cfg(test)]
mod tests {
    use super::{processes, seconds_of_times, wall};

    #[test]
    fn what_the_tools_say_is_read() {
        assert_eq!(seconds_of_times("0m0.500s 1m0.250s"), Some(60.75));
        assert_eq!(seconds_of_times("0.5 0.2"), None);
        assert!(wall("100.25 100.75\n").is_some_and(|w| (w - 0.5).abs() < 1e-6));
    }

    #[test]
    fn threads_and_second_halves_are_no_processes() {
        let trace = "10 clone3({flags=CLONE_VM|CLONE_VFORK, exit_signal=SIGCHLD} <unfinished ...>\n\
             11 vfork( <unfinished ...>\n\
             10 <... clone3 resumed>) = 12\n\
             11 <... vfork resumed>) = 13\n\
             10 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0}) = 14\n\
             12 clone(child_stack=NULL, flags=SIGCHLD) = 15\n\
             12 clone(child_stack=NULL, flags=SIGCHLD) = -1 EAGAIN\n";
        assert_eq!(processes(trace), 3);
    }
}

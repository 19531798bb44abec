//! The guard on real clusters: it keeps the lease without Pacemaker, stops an isolated primary,
//! tells of a dead postmaster, and is kept by the monitor.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::time::{Duration, Instant};

use pha_testbed::{Process, Signal, now_us};
use pha_tests::cluster::{Bed, PATIENCE, must, register, say, scenario};

/// What is configured, and the default.
const LEASE: Duration = Duration::from_secs(3);

/// The daemons of Pacemaker, and corosync below them.
const DAEMONS: [&str; 8] = [
    "pacemakerd",
    "pacemaker-based",
    "pacemaker-fence",
    "pacemaker-execd",
    "pacemaker-attrd",
    "pacemaker-sched",
    "pacemaker-contr",
    "corosync",
];

fn guard_on(bed: &Bed, node: &str) -> Option<Process> {
    let processes = bed.node(node).processes();
    let mut guards = processes
        .into_iter()
        .filter(|process| process.cmdline.ends_with("expgsql guard"));
    let guard = guards.next();
    assert!(guards.next().is_none(), "two guards on {node}");
    guard
}

#[track_caller]
fn guard(bed: &Bed, node: &str) -> Process {
    bed.until(&format!("a guard on {node}"), || {
        guard_on(bed, node).ok_or_else(|| "none".to_owned())
    })
}

/// Kills every daemon of Pacemaker on a node, the one that would start the others again first.
fn kill_pacemaker(bed: &Bed, node: &str) {
    let node = bed.node(node);
    for daemon in DAEMONS {
        node.kill_named(daemon, Signal::KILL);
    }
    bed.until("Pacemaker's daemons gone", || {
        let left = node.processes();
        let left = left.iter().filter(|p| DAEMONS.contains(&p.comm.as_str()));
        match left.count() {
            0 => Ok(()),
            left => Err(format!("{left} left")),
        }
    });
}

/// The processor time that a process has used, in nanoseconds.
fn cpu(process: &Process) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/schedstat", process.pid)).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn cluster_guard_keeps_tells_and_is_kept() {
    let bed = Bed::replicating("guard");

    scenario("a guard runs beside the primary alone, small and idle");
    let before = bed.settle("node1", &["node2"]);
    let first = guard(&bed, "node1");
    assert!(guard_on(&bed, "node2").is_none());
    let (began, used) = (Instant::now(), cpu(&first));
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(writer.stop());
    // A rate needs time to pass; nothing is waited for here.
    std::thread::sleep(Duration::from_secs(10));
    let share = (cpu(&first) - used) as f64 / began.elapsed().as_nanos() as f64;
    let kilobytes = first.resident_kib().unwrap();
    say(&format!(
        "the guard: {kilobytes} kB resident, {:.3} % of a processor",
        share * 100.0
    ));
    assert!(kilobytes <= 10 * 1024, "{kilobytes} kB");
    assert!(share <= 0.005, "{share}");
    let shown = must(bed.cib_of("node2")).transient("node1", "pgsql-guard");
    assert_eq!(shown.as_deref(), Some("running"));

    scenario("kill -9 of the guard: the monitor starts another one");
    bed.node("node1")
        .kill(|process| process.pid == first.pid, Signal::KILL);
    let second = bed.until("another guard", || match guard_on(&bed, "node1") {
        Some(other) if other.pid != first.pid => Ok(other),
        other => Err(format!("{other:?}")),
    });

    scenario("kill -9 of the postmaster: told at once, counted once, restarted in place");
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    let fault = now_us();
    assert!(bed.node("node1").kill_postmaster(Signal::KILL));
    must(writer.wait_for(50, PATIENCE));
    let gap = must(bed.ledger()).gap_after(fault);
    say(&format!("writes stood still for {} ms", gap.as_millis()));
    let after = bed.conclude(writer, "node1", &["node2"]);
    assert_eq!(
        (after.timeline, &after.repl_info),
        (before.timeline, &before.repl_info)
    );
    assert_eq!(bed.fail_count("node2", "node1"), "1");
    let third = guard(&bed, "node1");
    assert_ne!(
        second.pid, third.pid,
        "the agent ends the guard with the primary"
    );
    bed.cleanup("node2");

    scenario(
        "Pacemaker is gone from the primary's node: the guard keeps the lease and writes go on",
    );
    let writer = bed.writer_to("node1");
    must(writer.wait_for(50, PATIENCE));
    kill_pacemaker(&bed, "node1");
    // Longer than the lease, and than it takes the other node to find itself alone.
    let end = Instant::now() + 4 * LEASE;
    while Instant::now() < end {
        must(writer.wait_for(20, PATIENCE));
        let row = must(register(&bed));
        assert!(row.leased && row.owner == "node1", "{row:?}");
    }
    must(bed.start_pacemaker("node1"));
    // The attributes went with the daemons, the promotion score too, so that Pacemaker may demote
    // what it finds promoted and promote it again, in place.
    let back = bed.conclude(writer, "node1", &["node2"]);
    assert_eq!(
        (back.timeline, &back.repl_info),
        (after.timeline, &after.repl_info)
    );
    let _ = guard(&bed, "node1");

    scenario("no Pacemaker and cut off from everybody: PostgreSQL is stopped within the lease");
    kill_pacemaker(&bed, "node1");
    let cut = Instant::now();
    must(bed.isolate("node1"));
    bed.until("no process of PostgreSQL on node1", || {
        match bed.server_processes("node1") {
            0 => Ok(()),
            left => Err(format!("{left} processes")),
        }
    });
    let took = cut.elapsed();
    say(&format!("stopped after {} ms", took.as_millis()));
    assert!(took < LEASE, "{took:?}");
    let over = bed.until("node2 the primary", || {
        let row = register(&bed)?;
        match bed.sql("node2", "SELECT pg_is_in_recovery()") {
            Ok(recovery) if recovery == "f" && row.owner == "node2" => Ok(row),
            other => Err(format!("{other:?}, {row:?}")),
        }
    });
    assert_eq!(over.term, back.register.term + 1);
    must(bed.heal());
    must(bed.start_pacemaker("node1"));
    bed.rejoin("node1", "node2");
    let _ = bed.verdict();
}

//! The guard on real clusters: it keeps the lease without Pacemaker, stops an isolated primary,
//! tells of a dead postmaster, and is kept by the monitor; and the guard itself dead or frozen.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use pha_testbed::{Output, Process, Signal, now_us};
use pha_tests::cluster::{Bed, PATIENCE, Register, State, must, register, say, scenario};

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
    let mut guards = bed.node(node).operations("guard");
    let guard = guards.pop();
    assert!(guards.is_empty(), "two guards on {node}");
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
    // With the rights that it has kept it could have Pacemaker look at once.
    let log = must(bed.node("node1").read("/run/pha4pgsql/pgsql.guard.log"));
    let log = String::from_utf8_lossy(&log);
    assert!(!log.contains("could not be told"), "{log}");
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

    scenario(
        "no Pacemaker and cut off from everybody: PostgreSQL is stopped before another node is given the lease, and with it an open session of the node's own",
    );
    must(bed.sql("node1", "CREATE TABLE own (number serial)"));
    kill_pacemaker(&bed, "node1");
    let session = thread::scope(|scope| {
        let session = scope.spawn(|| commits_here(&bed));
        bed.until("commits of the session", || {
            let count = bed.sql("node1", "SELECT count(*) > 5 FROM own");
            match count.as_deref() {
                Ok("t") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        let cut = Instant::now();
        must(bed.isolate("node1"));
        bed.until("no process of PostgreSQL on node1", || {
            // The owner first: what is counted afterwards ran when that one had the lease.
            let owner = must(register(&bed)).owner;
            let left = bed.server_processes("node1");
            assert!(
                owner == "node1" || left == 0,
                "{owner} was given the lease beside {left} processes"
            );
            match left {
                0 => Ok(()),
                left => Err(format!("{left} processes")),
            }
        });
        let took = cut.elapsed().as_millis();
        say(&format!("stopped after {took} ms"));
        session.join().expect("the end of a session")
    });
    assert_ne!(session.code, 0, "the session ended by itself");
    let over = taken_over(&bed);
    assert_eq!(over.term, back.register.term + 1);
    let kept = must(bed.sql("node2", "SELECT number FROM own"));
    let kept: Vec<&str> = kept.lines().collect();
    let acknowledged = session.stdout.lines().map(str::trim);
    let numbers = acknowledged.filter(|line| line.parse::<u32>().is_ok());
    for number in numbers {
        assert!(kept.contains(&number), "{number} is lost: {kept:?}");
    }
    must(bed.heal());
    must(bed.start_pacemaker("node1"));
    bed.rejoin("node1", "node2");
    let _ = bed.verdict();
}

/// A session on node1's own socket that goes on committing until it is ended, and shows each number
/// once its commit was acknowledged (cloudnative-pg#11280).
fn commits_here(bed: &Bed) -> Output {
    let argv = [
        "psql",
        "-qAtX",
        "-U",
        "postgres",
        "-d",
        "postgres",
        "-v",
        "ON_ERROR_STOP=1",
    ];
    let commits = "INSERT INTO own DEFAULT VALUES RETURNING number \\watch 0.05\n";
    must(bed.node("node1").exec_with(&argv, commits, PATIENCE))
}

/// Waits until node2 is the primary, by the register and by its own word.
#[track_caller]
fn taken_over(bed: &Bed) -> Register {
    bed.until("node2 the primary", || {
        let row = register(bed)?;
        match bed.sql("node2", "SELECT pg_is_in_recovery()") {
            Ok(recovery) if recovery == "f" && row.owner == "node2" => Ok(row),
            other => Err(format!("{other:?}, {row:?}")),
        }
    })
}

/// The watchdog of node1, as a file that grows with every feeding.
const WATCHDOG: &str = "/run/watchdog";
const GUARD_LOG: &str = "/run/pha4pgsql/pgsql.guard.log";

fn guard_log(bed: &Bed) -> String {
    let log = must(bed.node("node1").read(GUARD_LOG));
    String::from_utf8_lossy(&log).into_owned()
}

fn fed(bed: &Bed) -> Vec<u8> {
    must(bed.node("node1").read(WATCHDOG))
}

fn status(bed: &Bed, node: &str) -> String {
    bed.run(node, &["/opt/pha4pgsql/bin/cls", "status"])
}

fn reign(state: &State) -> (&str, u32, u64) {
    (&state.primary, state.timeline, state.register.term)
}

#[test]
fn cluster_guard_dead_frozen_and_without_pacemaker() {
    let bed = Bed::replicating("unguarded");
    no_other_guard(&bed);
    frozen(&bed);
    frozen_and_cut_off(&bed);
    without_pacemaker(&bed);
    let _ = bed.verdict();
}

fn no_other_guard(bed: &Bed) {
    scenario("the guard is dead and no other can be started: cls_status says so, writes go on");
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    let first = guard(bed, "node1");
    // A log that cannot be opened.
    bed.run("node1", &["mv", GUARD_LOG, "/run/guard.log"]);
    bed.run("node1", &["mkdir", GUARD_LOG]);
    bed.node("node1").kill(|p| p.pid == first.pid, Signal::KILL);
    bed.until("a status that says so", || {
        let said = status(bed, "node2");
        match said.contains("no guard runs beside the primary on node1") {
            true => Ok(()),
            false => Err(said),
        }
    });
    must(writer.wait_for(100, PATIENCE));
    bed.run("node1", &["rmdir", GUARD_LOG]);
    let _ = guard(bed, "node1");
    bed.until("a status without it", || {
        let said = status(bed, "node2");
        match said.contains("Health: healthy") {
            true => Ok(()),
            false => Err(said),
        }
    });
    let after = bed.conclude(writer, "node1", &["node2"]);
    assert_eq!(reign(&after), reign(&before));
}

/// The guard that is there instead of this one.
#[track_caller]
fn next_guard(bed: &Bed, before: &Process) -> Process {
    bed.until("another guard", || match guard_on(bed, "node1") {
        Some(other) if other.pid != before.pid => Ok(other),
        other => Err(format!("{other:?}")),
    })
}

fn frozen(bed: &Bed) {
    scenario("the guard is frozen: the monitors renew the lease, and one of them replaces it");
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    let first = guard(bed, "node1");
    bed.node("node1").kill(|p| p.pid == first.pid, Signal::STOP);
    next_guard(bed, &first);
    // Pacemaker logs what an operation said when it has ended.
    bed.until("the reason in the log", || {
        match bed.logged("node1", "the guard is replaced: it has not moved for") {
            0 => Err("none"),
            _ => Ok(()),
        }
        .map_err(str::to_owned)
    });
    must(writer.wait_for(50, PATIENCE));
    let after = bed.conclude(writer, "node1", &["node2"]);
    assert_eq!(reign(&after), reign(&before));
    for node in ["node1", "node2"] {
        assert_eq!(bed.fail_count("node1", node), "0", "{node}");
    }
}

/// Nothing stops the old primary in time then. It acknowledges nothing, since its commits wait for
/// the standby and the register is out of its reach (R3), and is stopped by the next guard.
fn frozen_and_cut_off(bed: &Bed) {
    scenario(
        "the guard is frozen and its node cut off: the other node takes over, nothing is lost",
    );
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    let own = bed.writer_to("node1");
    must(writer.wait_for(50, PATIENCE));
    let first = guard(bed, "node1");
    bed.node("node1").kill(|p| p.pid == first.pid, Signal::STOP);
    must(bed.isolate("node1"));
    let over = taken_over(bed);
    assert_eq!(over.term, before.register.term + 1);
    bed.until("the old primary stopped", || {
        match bed.sql("node1", "SELECT pg_is_in_recovery()").as_deref() {
            Ok("f") => Err("it is a primary still".to_owned()),
            _ => Ok(()),
        }
    });
    must(writer.wait_for(50, PATIENCE));
    must(bed.heal());
    bed.rejoin("node1", "node2");
    must(own.stop());
    must(writer.stop());
    let _ = bed.verdict();
}

fn without_pacemaker(bed: &Bed) {
    bed.run(
        "node2",
        &["/opt/pha4pgsql/bin/cls", "online_switch", "--to", "node1"],
    );
    scenario("guard_watchdog: the guard feeds it");
    bed.settle("node1", &["node2"]);
    let first = guard(bed, "node1");
    must(bed.node("node1").write(WATCHDOG, "", 0o600));
    must(bed.node("node2").write(WATCHDOG, "", 0o600));
    let config = bed.spec().pacemaker.clone();
    let config = config
        .with("guard_pacemaker_timeout", "5")
        .with("guard_watchdog", WATCHDOG);
    must(bed.push_configuration(&config));
    let second = next_guard(bed, &first);
    bed.until("food for the watchdog", || match fed(bed).len() {
        0 | 1 => Err("none".to_owned()),
        _ => Ok(()),
    });

    scenario(
        "guard_pacemaker_timeout: without Pacemaker the guard stops PostgreSQL, the other node takes over",
    );
    let before = bed.settle("node1", &["node2"]);
    assert_eq!(
        guard(bed, "node1").pid,
        second.pid,
        "a reload is no restart"
    );
    let (writer, own) = (bed.writer_to("node2"), bed.writer_to("node1"));
    must(own.wait_for(50, PATIENCE));
    kill_pacemaker(bed, "node1");
    // What anybody has given that name is no Pacemaker.
    let forged = "cp /bin/sleep /tmp/pacemakerd && chmod 755 /tmp/pacemakerd && setsid --fork \
                  setpriv --reuid=nobody --regid=nogroup --clear-groups \
                  /tmp/pacemakerd 3000 </dev/null >/dev/null 2>&1";
    bed.run("node1", &["sh", "-c", forged]);
    let over = taken_over(bed);
    assert_eq!(bed.node("node1").kill_named("pacemakerd", Signal::KILL), 1);
    assert_eq!(over.term, before.register.term + 1);
    assert_eq!(bed.node("node1").postmaster_pid(), None);
    let log = guard_log(bed);
    assert!(log.contains("(guard_pacemaker_timeout)"), "{log}");
    must(writer.wait_for(50, PATIENCE));

    bed.until("the end of the guard", || match guard_on(bed, "node1") {
        None => Ok(()),
        Some(guard) => Err(format!("{guard:?}")),
    });
    // PostgreSQL is stopped, so that there is no reason to reboot the machine.
    let food = fed(bed);
    let (last, before) = food.split_last().expect("food for the watchdog");
    assert!(
        *last == b'V' && before.iter().all(|byte| *byte == 0),
        "{food:?}"
    );
    must(bed.start_pacemaker("node1"));
    bed.rejoin("node1", "node2");
    must(own.stop());
    must(writer.stop());
    let _ = bed.verdict();
}

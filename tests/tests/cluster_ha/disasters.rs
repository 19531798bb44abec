//! Everything at once, one after the other in the wrong order, and a standby that cannot replay.

use pha_testbed::{Cluster, ClusterBuilder, Signal};
use pha_tests::cluster::{Bed, PATIENCE, must, register, scenario};

use crate::partition::lease_long_over;

/// Sessions on a node's own socket.
const PSQL: [&str; 8] = [
    "runuser", "-u", "postgres", "--", "psql", "-XAtq", "-d", "postgres",
];

#[test]
fn cluster_disasters() {
    let bed = Bed::replicating("disaster");
    stale_standby_first(&bed);
    everything_at_once(&bed);
    frozen_startup(&bed);
}

/// The order in which machines come back decides nothing: the one that is behind waits.
fn stale_standby_first(bed: &Bed) {
    scenario("standby lost, then the primary, and the standby that is behind comes back first");
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(bed.power_cut("node2"));
    bed.until("a register that names the primary alone", || {
        let row = register(bed)?;
        let alone = row.holders.len() == 1 && row.holders.contains("node1");
        alone.then_some(()).ok_or_else(|| format!("{row:?}"))
    });
    must(writer.wait_for(100, PATIENCE));
    must(bed.power_cut("node1"));
    must(bed.boot("node2"));
    bed.until("PostgreSQL on the standby", || {
        let processes = bed.server_processes("node2");
        (processes > 0).then_some(()).ok_or_else(String::new)
    });
    bed.cleanup("node2");
    lease_long_over(bed, "node1");
    must(bed.boot("node1"));
    must(writer.wait_for(50, PATIENCE));
    let after = bed.conclude(writer, "node1", &["node2"]);
    assert_eq!(
        (after.timeline, &after.repl_info),
        (before.timeline, &before.repl_info),
        "only the one that has everything was promoted, in place"
    );
}

/// Primary, standby and arbiter lose their power in one moment; nothing has to be done by hand.
fn everything_at_once(bed: &Bed) {
    scenario("both databases and the lock service lose their power at once and are rebooted");
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(bed.power_cut_all(&["node1", "node2", "node3"]));
    for node in ["node2", "node1", "node3"] {
        must(bed.boot(node));
    }
    must(writer.wait_for(50, PATIENCE));
    let after = bed.conclude(writer, "node1", &["node2"]);
    assert_eq!(after.timeline, before.timeline, "in place");
}

/// The standby's startup process stands still while it is to be promoted. It owns the register by
/// then, so nobody else can be; it has everything, and serves as soon as it goes on.
fn frozen_startup(bed: &Bed) {
    scenario("the standby's startup process is stopped while the standby takes over");
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    assert_eq!(startup(bed, "node2", Signal::STOP), 1);
    must(bed.power_cut("node1"));
    bed.until("the standby as the register's owner", || {
        let row = register(bed)?;
        let owner = row.owner == "node2";
        owner.then_some(()).ok_or_else(|| format!("{row:?}"))
    });
    assert_eq!(startup(bed, "node2", Signal::CONT), 1);
    must(writer.wait_for(50, PATIENCE));
    let after = bed.conclude(writer, "node2", &[]);
    assert_eq!(after.timeline, before.timeline + 1);
    assert_eq!(after.register.term, before.register.term + 1);
    must(bed.boot("node1"));
    bed.rejoin("node1", "node2");
    let _ = bed.verdict();
}

/// Signals the process that replays WAL on a node; how many there were.
pub(crate) fn startup(bed: &Cluster, node: &str, signal: Signal) -> usize {
    bed.node(node).kill_server_process("startup", signal)
}

#[test]
fn cluster_link_disk_and_clock() {
    let bed = Bed::up(
        ClusterBuilder::new("linkdisk")
            .configured(true)
            .own_clocks()
            .data_disk_mib(300),
    );
    bed.settle("node1", &["node2"]);
    interface_down(&bed);
    full_disk(&bed);
    clocks(&bed);
    written_alone(&bed);
}

/// Nobody fences the node whose interface is down, and its PostgreSQL is the primary. Sessions inside
/// of it need no network.
fn interface_down(bed: &Bed) {
    scenario(
        "the primary's network interface goes down while sessions on its own socket write: its guard ends them with the primary, the other takes over, and what it has written alone is refused until it is repaired",
    );
    let before = bed.settle("node1", &["node2"]);
    for table in ["confirmed", "unconfirmed"] {
        must(bed.sql("node1", &format!("CREATE TABLE {table} (id bigint)")));
    }
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    let (confirmed, unconfirmed) = std::thread::scope(|scope| {
        let confirmed = scope.spawn(|| writes_inside(bed, "confirmed", "on"));
        let unconfirmed = scope.spawn(|| writes_inside(bed, "unconfirmed", "local"));
        bed.until("sessions that write inside of node1", || {
            let counts = (
                highest(bed, "node1", "confirmed")?,
                highest(bed, "node1", "unconfirmed")?,
            );
            (counts.0 > 5 && counts.1 > 5)
                .then_some(())
                .ok_or_else(|| format!("{counts:?}"))
        });
        must(bed.link("node1", false));
        must(writer.wait_for(50, PATIENCE));
        let joined =
            |session: std::thread::ScopedJoinHandle<'_, u64>| session.join().expect("a session");
        (joined(confirmed), joined(unconfirmed))
    });
    bed.until("no PostgreSQL as primary on node1", || {
        let in_recovery = bed.sql("node1", "SELECT pg_is_in_recovery()");
        match in_recovery.as_deref() {
            Ok("f") => Err("it serves".to_owned()),
            _ => Ok(()),
        }
    });
    let there = must(highest(bed, "node2", "confirmed"));
    assert!(
        there >= confirmed,
        "{confirmed} acknowledged, {there} are there"
    );
    let there = must(highest(bed, "node2", "unconfirmed"));
    assert!(there < unconfirmed, "nothing was written on node1 alone");

    must(bed.link("node1", true));
    let reason = bed.until("the refusal of node1", || {
        bed.refusal("node2", "node1")
            .ok_or_else(|| bed.monitor_text("node2"))
    });
    assert!(reason.contains("run cls_repair_slave on node1"), "{reason}");
    bed.settle("node2", &[]);
    assert_eq!(bed.server_processes("node1"), 0);
    let follows = format!("on timeline {}", before.timeline + 1);
    assert_eq!(streams(bed, "node1", &follows), 0, "it has followed");
    let repair = must(bed.node("node1").exec(&["cls_repair_slave"], PATIENCE));
    assert_eq!(repair.code, 0, "{}{}", repair.stdout, repair.stderr);
    let after = bed.conclude(writer, "node2", &["node1"]);
    assert_eq!(after.timeline, before.timeline + 1);
    assert_eq!(highest(bed, "node1", "unconfirmed"), Ok(there));
}

/// A session on node1's own socket that commits one number after the other until it is ended; the
/// highest that was acknowledged to it.
fn writes_inside(bed: &Bed, table: &str, synchronous: &str) -> u64 {
    let statements = format!(
        "SET synchronous_commit = {synchronous};\n\
         INSERT INTO {table} SELECT count(*) + 1 FROM {table} RETURNING id \\watch 0.05\n"
    );
    let ended = must(bed.node("node1").exec_with(&PSQL, &statements, PATIENCE));
    let terminated = ended.stderr.contains("terminating connection due to");
    assert!(terminated, "{}", ended.stderr);
    let numbers = ended.stdout.lines().filter_map(|line| line.parse().ok());
    numbers.max().expect("an acknowledged number")
}

fn highest(bed: &Bed, node: &str, table: &str) -> Result<u64, String> {
    let found = bed.sql(node, &format!("SELECT coalesce(max(id), 0) FROM {table}"));
    let found = found.map_err(|error| error.to_string())?;
    found.parse().map_err(|_| found)
}

/// How often PostgreSQL of a node has begun to stream what is described so. A standby asks for the
/// whole segment again, so that one with WAL of its own gets what came before it, too, and no more.
fn streams(bed: &Bed, node: &str, what: &str) -> usize {
    let log = must(bed.node(node).read("/var/log/postgresql/pgsql.log"));
    let log = String::from_utf8_lossy(&log).into_owned();
    let begun = log.lines().filter(|l| l.contains("started streaming WAL"));
    begun.filter(|line| line.contains(what)).count()
}

/// PostgreSQL ends when it cannot write WAL, and cannot start again. Another node has room.
fn full_disk(bed: &Bed) {
    scenario("the primary's disk is full: the other node takes over, and it comes back with room");
    let before = bed.settle("node2", &["node1"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(bed.node("node2").fill_data_disk());
    bed.until("the other node as the register's owner", || {
        // Uses up the segments that PostgreSQL has in stock; what it answers is no matter.
        let _ = bed.sql("node2", "SELECT pg_switch_wal()");
        let row = register(bed)?;
        let owner = row.owner == "node1";
        owner.then_some(()).ok_or_else(|| format!("{row:?}"))
    });
    must(writer.wait_for(50, PATIENCE));
    must(bed.node("node2").free_data_disk());
    bed.cleanup("node1");
    bed.rejoin("node2", "node1");
    let after = bed.conclude(writer, "node1", &["node2"]);
    assert_eq!(after.timeline, before.timeline + 1);
}

/// No decision goes by a clock that can be set.
fn clocks(bed: &Bed) {
    scenario(
        "clocks of both nodes are set forward and back: nobody is replaced, and a takeover works",
    );
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    for (node, ahead) in [
        ("node1", 3600),
        ("node2", 3600),
        ("node1", -3600),
        ("node2", -3600),
    ] {
        must(bed.node(node).set_clock(ahead));
        bed.until("PostgreSQL with the other time", || {
            let right = bed.lock_sql("SELECT clock_timestamp()");
            let right = right.map_err(|error| error.to_string())?;
            let off = format!("SELECT extract(epoch FROM clock_timestamp() - '{right}')::int");
            let off = bed.sql(node, &off).map_err(|error| error.to_string())?;
            let near = off.parse().is_ok_and(|off: i32| (off - ahead).abs() < 60);
            near.then_some(()).ok_or(off)
        });
        must(writer.wait_for(50, PATIENCE));
    }
    let meanwhile = bed.settle("node1", &["node2"]);
    assert_eq!(meanwhile.timeline, before.timeline);
    must(bed.power_cut("node1"));
    must(writer.wait_for(50, PATIENCE));
    must(bed.boot("node1"));
    bed.rejoin("node1", "node2");
    let after = bed.conclude(writer, "node2", &["node1"]);
    assert_eq!(after.timeline, before.timeline + 1);
}

/// PostgreSQL serves an old primary with what lies before the fork, and its report says that it has all
/// that the new one will write for a while.
fn written_alone(bed: &Bed) {
    scenario(
        "an old primary has written more alone than the new one has: what it reports is not believed, and commits wait for it only when it has them",
    );
    bed.settle("node2", &["node1"]);
    // The fork, and all that is written alone, lie in one segment.
    must(bed.sql("node2", "SELECT pg_switch_wal()"));
    must(bed.sql("node2", "CREATE TABLE together ()"));
    must(bed.link("node2", false));
    let statements = "SET synchronous_commit = local;\n\
        CREATE TABLE alone AS SELECT generate_series(1, 60000);\n\
        SELECT pg_current_wal_flush_lsn();\n";
    let written = must(bed.node("node2").exec_with(&PSQL, statements, PATIENCE));
    let alone = written.stdout.trim();
    bed.until("node1 as primary", || {
        let row = register(bed)?;
        match bed.sql("node1", "SELECT pg_is_in_recovery()").as_deref() {
            Ok("f") if row.owner == "node1" => Ok(()),
            other => Err(format!("{row:?}, {other:?}")),
        }
    });
    let behind = format!("SELECT pg_current_wal_flush_lsn() < '{alone}'");
    assert_eq!(must(bed.sql("node1", &behind)), "t", "{alone}");

    // Without the register it does not know the other's timeline, or it would not start. Without corosync
    // between them nobody ends it, and its receiver is stopped while its report counts.
    must(bed.cut("node2", "node3"));
    must(bed.cut_port("node1", "node2", 5405));
    must(bed.link("node2", true));
    let receiver = |signal| bed.node("node2").kill_server_process("walreceiver", signal);
    bed.until("a report of node2", || {
        receiver(Signal::STOP);
        let report = "SELECT coalesce(max(flush_lsn), '0/0') > pg_current_wal_flush_lsn() \
            FROM pg_stat_replication";
        let report = bed.sql("node1", report).map_err(|e| e.to_string())?;
        if report != "t" {
            receiver(Signal::CONT);
        }
        (report == "t").then_some(()).ok_or(report)
    });
    for _ in 0..3 {
        let renewed = must(bed.lock_sql("SELECT ts FROM distlock"));
        bed.until("a renewal", || {
            let now = bed.lock_sql("SELECT ts FROM distlock");
            let now = now.map_err(|e| e.to_string())?;
            (now != renewed).then_some(()).ok_or(now)
        });
    }
    let own = must(bed.sql("node1", "SELECT pg_current_wal_flush_lsn()"));
    let question = format!(
        "SELECT (positions->>'node1')::pg_lsn <= '{own}', positions, holders FROM distlock"
    );
    let recorded = must(bed.lock_sql(&question));
    assert!(recorded.starts_with("t|"), "{recorded}, node1 has {own}");
    assert!(recorded.ends_with("|{node1}"), "{recorded}");

    receiver(Signal::CONT);
    must(bed.heal());
    bed.until("the refusal of node2", || {
        bed.refusal("node1", "node2")
            .ok_or_else(|| bed.monitor_text("node1"))
    });
    let repair = must(bed.node("node2").exec(&["cls_repair_slave"], PATIENCE));
    assert_eq!(repair.code, 0, "{}{}", repair.stdout, repair.stderr);
    bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(5, PATIENCE));
    assert_eq!(receiver(Signal::STOP), 1);
    bed.until("a commit that waits for node2", || {
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        let waits = bed.sql("node1", waits).map_err(|e| e.to_string())?;
        (waits == "1").then_some(()).ok_or(waits)
    });
    // It waits although node2 once reported more than this.
    assert_eq!(must(bed.sql("node1", &behind)), "t", "{alone}");
    assert_eq!(receiver(Signal::CONT), 1);
    must(writer.wait_for(50, PATIENCE));
    bed.conclude(writer, "node1", &["node2"]);
}

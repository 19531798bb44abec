//! `replication_slot_name` and `check_wal_receiver` through everything that changes the primary, and
//! `cls_status --watch` beside it.

use pha_testbed::{ClusterBuilder, PGDATA, Signal};
use pha_tests::cluster::{Bed, PATIENCE, agree, must, scenario};

use crate::commands::{CLS, ends};
use crate::lock::{in_service, node2_stopped};

/// Where the endless status of node2 goes.
const WATCH: &str = "/tmp/watch.log";

/// Waits until each node has the slots that it is to have, in use: the primary that of the standby, and a
/// standby none, since an idle one keeps WAL until the disk is full.
#[track_caller]
fn slots_of(bed: &Bed, primary: &str, standby: &str) {
    let found = |node: &str| {
        let ask = "SELECT coalesce(string_agg(slot_name || ' ' || active || ' ' || coalesce(wal_status, ''), ', '), '') \
                   FROM pg_replication_slots";
        bed.sql(node, ask).map_err(|error| error.to_string())
    };
    bed.until(&format!("the slot of {standby} on {primary} alone"), || {
        let found = (found(primary)?, found(standby)?);
        let wanted = (format!("sample_{standby} true reserved"), String::new());
        (found == wanted)
            .then_some(())
            .ok_or_else(|| format!("{found:?}"))
    });
}

/// Waits until the attribute says this of the node's WAL receiver.
#[track_caller]
fn receiver(bed: &Bed, node: &str, wanted: &str) {
    bed.until(&format!("the receiver of {node}: {wanted}"), || {
        let cib = bed.cib_of(node).map_err(|error| error.to_string())?;
        match cib.transient(node, "pgsql-receiver-status") {
            Some(said) if said == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

/// Waits until the last screen of the endless status has this line, and none begins before it.
#[track_caller]
fn watched(bed: &Bed, wanted: &str) {
    bed.until(&format!("{wanted:?} in the endless status"), || {
        let log = bed
            .node("node2")
            .read(WATCH)
            .map_err(|error| error.to_string())?;
        let log = String::from_utf8_lossy(&log).into_owned();
        let mut screens = log.rsplit("\u{1b}[H\u{1b}[2J");
        let last = [screens.next(), screens.next()].map(Option::unwrap_or_default);
        let found = last.iter().any(|screen| screen.contains(wanted));
        found.then_some(()).ok_or_else(|| last[1].to_owned())
    });
}

#[test]
fn cluster_replication_slots() {
    let builder = ClusterBuilder::new("slots")
        .parameter("replication_slot_name", "sample")
        .parameter("check_wal_receiver", "true");
    let bed = Bed::up(builder.configured(true));
    scenario("a standby streams from its slot");
    bed.settle("node1", &["node2"]);
    slots_of(&bed, "node1", "node2");
    receiver(&bed, "node1", "normal (master)");
    receiver(&bed, "node2", "normal");

    scenario("cls_status --watch on a narrow terminal, and with a reader that goes away");
    let looks = format!("stty cols 50 rows 20; exec {CLS} status --watch 1");
    let line =
        format!("exec setsid --fork script -qefc '{looks}' {WATCH} </dev/null >/dev/null 2>&1");
    must(bed.node("node2").run(&["sh", "-c", &line], PATIENCE));
    watched(&bed, "healthy");
    let line = format!("{CLS} status --watch 1 | head -n 1");
    let output = must(bed.node("node2").exec(&["sh", "-c", &line], PATIENCE));
    assert_eq!(output.code, 0, "{output:?}");

    scenario(
        "the standby does not stream: its receiver is missing, and its slot keeps what it needs",
    );
    let conninfo = must(bed.sql("node2", "SHOW primary_conninfo"));
    must(bed.sql(
        "node2",
        "ALTER SYSTEM SET primary_conninfo = 'host=nowhere'",
    ));
    must(bed.sql("node2", "SELECT pg_reload_conf()"));
    receiver(&bed, "node2", "ERROR");
    must(bed.sql(
        "node1",
        "CREATE TABLE filler AS SELECT generate_series(1, 100000)",
    ));
    must(bed.sql("node1", "SELECT pg_switch_wal()"));
    must(bed.sql("node1", "CHECKPOINT"));
    must(bed.sql("node2", "ALTER SYSTEM RESET primary_conninfo"));
    must(bed.sql("node2", "SELECT pg_reload_conf()"));
    assert_eq!(must(bed.sql("node2", "SHOW primary_conninfo")), conninfo);
    receiver(&bed, "node2", "normal");
    bed.settle("node1", &["node2"]);

    scenario("the primary loses its power: the new one makes the slot, the old one drops its own");
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(bed.power_cut("node1"));
    must(writer.wait_for(50, PATIENCE));
    bed.conclude(writer, "node2", &[]);
    watched(&bed, "node1 is not in the cluster");
    must(bed.boot("node1"));
    let repaired = bed.until("node1 following, or refused", || {
        match (bed.refusal("node2", "node1"), agree(&bed)) {
            (Some(_), _) => Ok(true),
            (None, Ok(state)) if state.standbys == ["node1"] => Ok(false),
            (None, other) => Err(format!("{other:?}")),
        }
    });
    if repaired {
        ends(&bed, "node1", &["repair_slave", "--or-rebuild"], 0);
    }
    bed.settle("node2", &["node1"]);
    slots_of(&bed, "node2", "node1");
    receiver(&bed, "node2", "normal (master)");
    receiver(&bed, "node1", "normal");

    scenario("a planned switch: the same the other way");
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    ends(&bed, "node2", &["online_switch"], 0);
    must(writer.wait_for(50, PATIENCE));
    slots_of(&bed, "node1", "node2");
    bed.conclude(writer, "node1", &["node2"]);
    watched(&bed, "healthy");

    scenario(
        "the standby's data cannot be rewound: cls_repair_slave --or-rebuild copies them, over its slot",
    );
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    in_service(&bed, "node1", false);
    node2_stopped(&bed);
    let control = format!("{PGDATA}/global/pg_control");
    bed.run("node2", &["rm", &control]);
    in_service(&bed, "node1", true);
    bed.until("node2 refused", || {
        match bed.fail_count("node1", "node2").as_str() {
            "0" => Err("not yet".to_owned()),
            _ => Ok(()),
        }
    });
    ends(&bed, "node1", &["repair_slave", "--node", "node2"], 10);
    let words = ["repair_slave", "--or-rebuild", "--node", "node2"];
    let said = ends(&bed, "node1", &words, 0);
    assert!(said.contains("slave recovery of node2 successed"), "{said}");
    bed.conclude(writer, "node1", &["node2"]);
    slots_of(&bed, "node1", "node2");

    scenario("Ctrl-C ends the endless status, whose lines were as wide as its terminal");
    let watches = |signal| bed.node("node2").kill_program("cls", signal);
    assert_eq!(watches(Signal::INT), 1);
    bed.until("its end", || {
        let processes = bed.node("node2").processes();
        let left = processes.iter().filter(|process| process.comm == "script");
        match left.count() {
            0 => Ok(()),
            left => Err(format!("{left} terminals")),
        }
    });
    let log = must(bed.node("node2").read(WATCH));
    let log = String::from_utf8_lossy(&log);
    let ours = log
        .lines()
        .map(str::trim_end)
        .skip_while(|line| !line.contains("Health:"));
    for line in ours.filter(|line| line.trim_start().starts_with("next: ")) {
        assert!(line.chars().count() <= 50, "{line:?}");
    }
}

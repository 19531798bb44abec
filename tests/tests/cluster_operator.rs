//! The operator's commands that change who has which data, on a real cluster: the planned switch,
//! the rebuild, the emergency election, the repair. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use pha_testbed::Output;
use pha_tests::cluster::{Bed, PATIENCE, must, register, scenario};

const CLS: &str = "/opt/pha4pgsql/bin/cls";
const DATA: &str = "/data/postgresql/data";

fn cls(bed: &Bed, node: &str, words: &[&str]) -> Output {
    let argv = [&[CLS], words].concat();
    must(bed.node(node).exec(&argv, Duration::from_secs(180)))
}

/// Runs a command that has to end with this code, and returns everything that it said.
fn ends(bed: &Bed, node: &str, words: &[&str], code: i32) -> String {
    let output = cls(bed, node, words);
    let said = format!("{}\n{}", output.text(), output.stderr);
    assert_eq!(output.code, code, "cls {words:?} on {node}: {said}");
    said
}

/// Nothing of an operation stays in the cluster's configuration.
fn nothing_left(bed: &Bed) {
    let xml = bed.run("node1", &["cibadmin", "--query", "--scope=configuration"]);
    for trace in ["cli-prefer", "cli-ban", "pha4pgsql_operation"] {
        assert!(!xml.contains(trace), "{trace} is left in the configuration");
    }
}

fn files_beside_the_data(bed: &Bed, node: &str) -> String {
    bed.run(node, &["ls", "/data/postgresql"])
}

#[test]
fn cluster_operator_switches_rebuilds_recovers_and_repairs() {
    let bed = Bed::replicating("operator");
    let before = bed.settle("node1", &["node2"]);

    scenario("a planned switch there and back, from either node, under a writer");
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    let said = ends(&bed, "node2", &["online_switch", "--dry-run"], 0);
    assert!(said.contains("nothing was done"), "{said}");
    ends(&bed, "node2", &["online_switch"], 0);
    let there = bed.settle("node2", &["node1"]);
    assert_eq!(there.timeline, before.timeline + 1);
    nothing_left(&bed);
    must(writer.wait_for(50, PATIENCE));
    ends(&bed, "node2", &["online_switch", "--to", "node1"], 0);
    let back = bed.conclude(writer, "node1", &["node2"]);
    assert_eq!(back.timeline, before.timeline + 2);
    nothing_left(&bed);
    ends(&bed, "node1", &["online_switch", "--to", "node1"], 0);

    scenario("what a rebuild refuses, and a failed one that leaves the old data");
    ends(&bed, "node2", &["rebuild_slave"], 10);
    ends(&bed, "node1", &["rebuild_slave"], 10);
    ends(&bed, "node1", &["standby_node", "node2"], 0);
    let said = ends(&bed, "node2", &["rebuild_slave"], 10);
    assert!(said.contains("not empty"), "{said}");
    let words = ["rebuild_slave", "--keep-old", "--waldir", "/proc/nowhere"];
    let said = ends(&bed, "node2", &words, 1);
    assert!(said.contains("where they were"), "{said}");
    assert_eq!(files_beside_the_data(&bed, "node2").trim(), "data");
    let row = must(register(&bed));
    assert!(!row.holders.contains("node2"), "it has left: {row:?}");

    scenario("a rebuild keeps the old data and the node's configuration");
    bed.run(
        "node2",
        &[
            "sh",
            "-c",
            "echo '# of node2' >>/data/postgresql/data/postgresql.conf",
        ],
    );
    let said = ends(
        &bed,
        "node1",
        &["rebuild_slave", "--keep-old", "--node", "node2"],
        0,
    );
    assert!(said.contains("cls_unstandby_node node2"), "{said}");
    let conf = bed.run("node2", &["tail", "-1", &format!("{DATA}/postgresql.conf")]);
    assert_eq!(conf.trim(), "# of node2");
    assert!(files_beside_the_data(&bed, "node2").contains("data.old-"));
    ends(&bed, "node1", &["unstandby_node", "node2"], 0);
    bed.settle("node1", &["node2"]);
    let slots = must(bed.sql("node1", "SELECT count(*) FROM pg_replication_slots"));
    assert_eq!(slots, "0", "the slot of the copy stays");
    let _ = bed.verdict();

    scenario("the only holder is lost: an operator goes on with the other node");
    must(bed.cut("node1", "node2"));
    bed.until("the primary alone in the register", || {
        let row = register(&bed)?;
        if row.holders.iter().eq(["node1"]) {
            Ok(())
        } else {
            Err(format!("{row:?}"))
        }
    });
    // A commit that the operator gives up.
    must(bed.sql("node1", "CREATE TABLE only_there ()"));
    must(bed.power_cut("node1"));
    must(bed.heal());
    bed.until("the end of the lease, and of the wait for it", || {
        let output = cls(&bed, "node2", &["recovery_master", "--confirm", "nobody"]);
        let said = output.stderr;
        if said.contains("is not node2") {
            Ok(())
        } else {
            Err(said)
        }
    });
    let said = ends(&bed, "node2", &["recovery_master", "--confirm", "node2"], 0);
    assert!(said.contains("node2 is primary"), "{said}");
    assert!(said.contains("not known to hold"), "{said}");
    nothing_left_on(&bed, "node2");

    scenario("the old primary, which has WAL of its own, is repaired");
    must(bed.boot("node1"));
    bed.until("the old primary to be refused", || {
        match bed.refusal("node2", "node1") {
            Some(reason) if reason.contains("cls_repair_slave") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let said = ends(&bed, "node2", &["repair_slave", "--node", "node1"], 0);
    assert!(said.contains("slave recovery of node1 successed"), "{said}");
    bed.settle("node2", &["node1"]);
    assert_eq!(files_beside_the_data(&bed, "node1").trim(), "data");
    let said = ends(&bed, "node1", &["repair_slave"], 0);
    assert!(said.contains("streams from node2 already"), "{said}");
    nothing_left(&bed);
    let _ = bed.verdict();
}

fn nothing_left_on(bed: &Bed, node: &str) {
    let xml = bed.run(node, &["cibadmin", "--query", "--scope=configuration"]);
    assert!(!xml.contains("pha4pgsql_operation"));
}

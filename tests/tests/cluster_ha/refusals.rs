//! What must not go on as if nothing were wrong: diverged data, and processes that do not end.

use pha_testbed::Signal;
use pha_tests::cluster::{Bed, PATIENCE, must, register, scenario};

use crate::commands::ends;

#[test]
fn cluster_diverged_old_primary_refused() {
    let bed = Bed::replicating("diverged");

    scenario("D5: an old primary with WAL that the new one never had is refused at its start");
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(writer.stop());
    // What follows is never acknowledged by a synchronous commit, and never leaves the node: the
    // walsender has not noticed yet that nobody answers when the power goes.
    must(bed.cut_port("node1", "node2", 5432));
    must(bed.sql(
        "node1",
        "SET synchronous_commit = local; CREATE TABLE never_sent AS SELECT generate_series(1, 10000)",
    ));
    must(bed.power_cut("node1"));
    must(bed.heal());
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    bed.conclude(writer, "node2", &[]);
    must(bed.boot("node1"));
    let reason = bed.until("the refusal of node1", || {
        bed.refusal("node2", "node1")
            .ok_or_else(|| bed.monitor_text("node2"))
    });
    assert!(reason.contains("run cls_repair_slave on node1"), "{reason}");
    bed.settle("node2", &[]);
    assert_eq!(bed.server_processes("node1"), 0);
    lacking_programs(&bed);
    // What the reason says to type is what mends it.
    let repair = must(bed.node("node1").exec(&["cls_repair_slave"], PATIENCE));
    assert_eq!(repair.code, 0, "{}{}", repair.stdout, repair.stderr);
    bed.settle("node2", &["node1"]);
    let there = must(bed.sql("node1", "SELECT to_regclass('never_sent') IS NOT NULL"));
    assert_eq!(
        there, "f",
        "the repaired node still has what was never acknowledged"
    );
    let _ = bed.verdict();
}

/// Red Hat's packages and their kin have some of the server's programs elsewhere.
fn lacking_programs(bed: &Bed) {
    let bin = must(pha_testbed::packages::bin_dir());
    let hidden = |program: &str, meanwhile: &dyn Fn()| {
        let file = format!("{bin}/{program}");
        bed.run("node1", &["mount", "--bind", "/dev/null", &file]);
        meanwhile();
        bed.run("node1", &["umount", &file]);
    };

    scenario("node1 has no pg_waldump: the refusal says so, and that a copy would end there too");
    hidden("pg_waldump", &|| {
        bed.cleanup("node2");
        let reason = "install pg_waldump: ";
        bed.until("another refusal of node1", || {
            let text = bed.monitor_text("node2");
            text.contains(reason).then_some(()).ok_or(text)
        });
        for command in [&["repair_slave"][..], &["rebuild_slave", "--keep-old"]] {
            let said = ends(bed, "node1", command, 10);
            assert!(said.contains("node1 has no pg_waldump"), "{said}");
            assert!(said.contains(reason) && !said.contains("1. "), "{said}");
        }
    });

    scenario("node1 has no pg_rewind: nothing is begun");
    hidden("pg_rewind", &|| {
        let said = ends(bed, "node1", &["repair_slave"], 10);
        assert!(said.contains("node1 has no pg_rewind"), "{said}");
        assert!(!said.contains("1. "), "{said}");
    });
    bed.cleanup("node2");
    bed.until("the refusal that a repair mends", || {
        let reason = bed.refusal("node2", "node1");
        reason.ok_or_else(|| bed.monitor_text("node2"))
    });
}

#[test]
fn cluster_d2_stop_of_a_frozen_postmaster() {
    let bed = Bed::replicating("d2");

    scenario("D2: the postmaster is stopped by SIGSTOP when the node shall give up its role");
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    assert!(bed.node("node1").kill_postmaster(Signal::STOP));
    // Sessions that are open go on committing: they need no postmaster.
    must(writer.wait_for(20, PATIENCE));
    standby_mode(&bed, &["-v", "on"]);
    bed.until("the release of the lock or another owner", || {
        let row = register(&bed)?;
        // The register first, the processes second: what is released must be stopped by then.
        let left = bed.server_processes("node1");
        if row.owner == "node1" && !row.released {
            return Err(format!("{row:?}, {left} processes"));
        }
        assert_eq!(
            left, 0,
            "released with processes of PostgreSQL left: {row:?}"
        );
        Ok(())
    });
    must(writer.wait_for(50, PATIENCE));
    let over = bed.conclude(writer, "node2", &[]);
    assert_eq!(over.timeline, before.timeline + 1);
    assert_eq!(bed.server_processes("node1"), 0);
    standby_mode(&bed, &["-D"]);
    bed.rejoin("node1", "node2");
    let _ = bed.verdict();
}

fn standby_mode(bed: &Bed, words: &[&str]) {
    let argv = [
        "crm_attribute",
        "-N",
        "node1",
        "-n",
        "standby",
        "-l",
        "forever",
    ];
    bed.run("node2", &[&argv[..], words].concat());
}

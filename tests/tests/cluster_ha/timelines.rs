//! Timelines are known by name (R13): equal numbers of different terms, a standby that opens by
//! itself, and a history file that is none of this cluster's.

use std::time::Duration;

use pha_testbed::{ClusterBuilder, PGDATA};
use pha_tests::cluster::{Bed, PATIENCE, must, scenario};

use crate::commands::{cls, ends};

/// Gives the operator's decision as soon as it is taken.
#[track_caller]
fn recover(bed: &Bed, node: &str, off: &str) {
    let words = ["recovery_master", "--off", off, "--confirm", node];
    bed.until("the end of the lease, and the decision", || {
        let output = cls(bed, node, &words);
        let said = format!("{}\n{}", output.text(), output.stderr);
        (output.code == 0).then_some(()).ok_or(said)
    });
}

/// Waits until `node` was refused, and returns why.
#[track_caller]
fn refused(bed: &Bed, ask: &str, node: &str) -> String {
    bed.until(&format!("{node} to be refused"), || {
        let text = bed.monitor_text(ask);
        let reason = text
            .lines()
            .find(|line| line.contains(&format!("on {node} ")) && line.contains("cls_re"));
        reason.map(str::to_owned).ok_or(text)
    })
}

/// Types node2's repair and waits until it follows.
#[track_caller]
fn node2_repaired(bed: &Bed) {
    let said = ends(
        bed,
        "node1",
        &["repair_slave", "--or-rebuild", "--node", "node2"],
        0,
    );
    assert!(said.contains("slave recovery of node2 successed"), "{said}");
    bed.settle("node1", &["node2"]);
}

fn tables(bed: &Bed, node: &str) -> String {
    must(bed.sql(
        node,
        "SELECT coalesce(string_agg(relname, ' ' ORDER BY relname), '') FROM pg_class \
         WHERE relname LIKE 'made_%'",
    ))
}

#[test]
fn cluster_two_timelines_with_one_number() {
    let bed = Bed::replicating("numbers");
    must(bed.sql("node1", "CREATE TABLE made_first ()"));
    scenario("node2 takes over, commits alone, and loses its power");
    must(bed.power_cut("node1"));
    bed.until("node2 to accept commits", || {
        bed.sql("node2", "CREATE TABLE IF NOT EXISTS made_alone (id int)")
            .map_err(|error| error.to_string())
    });
    let more = "INSERT INTO made_alone SELECT generate_series(1, 20000)";
    must(bed.sql("node2", more));
    must(bed.power_cut("node2"));

    scenario("an operator goes on with node1, which never saw that timeline");
    must(bed.boot("node1"));
    recover(&bed, "node1", "node2");
    must(bed.sql("node1", "CREATE TABLE made_afterwards ()"));
    assert_eq!(tables(&bed, "node1"), "made_afterwards made_first");

    scenario(
        "node2 comes back with a timeline of its own: it is not started, and its repair is said",
    );
    must(bed.boot("node2"));
    let why = refused(&bed, "node1", "node2");
    assert!(why.contains("cls_repair_slave"), "{why}");
    assert_eq!(
        must(bed.sql("node1", "SELECT count(*) FROM pg_stat_replication")),
        "0"
    );

    scenario(
        "what node2 keeps about its data is damaged: numbers are not compared instead of names",
    );
    let damage = "for file in /var/lib/pha4pgsql/*.data.json; do echo '{' > $file || exit 1; done";
    bed.run("node2", &["sh", "-c", damage]);
    let words = ["repair_slave", "--node", "node2"];
    let said = ends(&bed, "node1", &words, 10);
    assert!(said.contains("cls_rebuild_slave --keep-old"), "{said}");
    node2_repaired(&bed);
    assert_eq!(tables(&bed, "node2"), "made_afterwards made_first");
}

#[test]
fn cluster_a_standby_that_is_opened_by_hand() {
    let bed = Bed::replicating("by-hand");
    scenario("pg_promote by hand on the standby: it acknowledges nothing");
    open_by_hand(&bed, "made_by_hand");

    scenario("it is stopped, not started again, and its repair does repair it");
    refused(&bed, "node1", "node2");
    node2_repaired(&bed);
    assert_eq!(tables(&bed, "node2"), "");

    scenario("a planned switch opens it: commits are acknowledged again");
    ends(&bed, "node1", &["online_switch"], 0);
    must(bed.sql("node2", "CREATE TABLE made_by_the_cluster ()"));
    bed.settle("node2", &["node1"]);
}

/// Opens node2 by hand, and creates a table there, which is not acknowledged.
#[track_caller]
fn open_by_hand(bed: &Bed, table: &str) {
    let by_hand = format!(
        "psql -XAtqc 'SELECT pg_promote(true, 20)' postgres && \
         PGOPTIONS='-c statement_timeout=20s' psql -XAtqc 'CREATE TABLE {table} ()' postgres"
    );
    let argv = ["runuser", "-u", "postgres", "--", "sh", "-c", &by_hand];
    let output = must(bed.node("node2").exec(&argv, PATIENCE));
    // A cancelled wait is a success with a warning, and no acknowledgement.
    let waited = output.code != 0 || output.stderr.contains("canceling");
    assert!(
        waited,
        "acknowledged by a standby: {} {}",
        output.stdout, output.stderr
    );
}

#[test]
fn cluster_the_last_copy_is_opened_by_hand() {
    let bed = Bed::replicating("last-copy");
    must(bed.sql("node1", "CREATE TABLE made_first ()"));
    scenario("the lock service and the primary are lost, and somebody opens the standby");
    let lock = must(bed.lock_service());
    // Without the lock service its guard writes WAL to see whether the standby follows, which must not get lost here.
    must(bed.node("node1").freeze());
    must(lock.stop());
    must(bed.power_cut("node1"));
    open_by_hand(&bed, "made_by_hand");

    scenario("it is refused, since nobody can tell what it has: an operator goes on with it");
    must(lock.start());
    refused(&bed, "node2", "node2");
    recover(&bed, "node2", "node1");
    bed.until("node2 to accept commits", || {
        bed.sql("node2", "CREATE TABLE IF NOT EXISTS made_afterwards ()")
            .map_err(|error| error.to_string())
    });
    assert!(tables(&bed, "node2").contains("made_first"));

    scenario(
        "the old primary comes back: it has nothing that node2 was opened without, and follows",
    );
    must(bed.boot("node1"));
    bed.settle("node2", &["node1"]);
    assert_eq!(tables(&bed, "node1"), tables(&bed, "node2"));
}

#[test]
fn cluster_a_foreign_history_in_the_archive() {
    let builder = ClusterBuilder::new("archive").archive();
    let bed = Bed::up(builder.configured(true));
    let before = bed.settle("node1", &["node2"]);

    scenario("a promoted test copy has archived its history; one lies in pg_wal already");
    let foreign = "1\t0/1800000\tno recovery target specified\n";
    for node in ["node1", "node2"] {
        must(bed.node(node).archive_history("00000002.history", foreign));
    }
    let stray = format!("{PGDATA}/pg_wal/00000002.history");
    must(bed.node("node2").write(&stray, foreign, 0o600));
    bed.run("node2", &["chown", "postgres:postgres", &stray]);

    scenario("stop and start: both nodes come up on their own timeline");
    ends(&bed, "node1", &["stop"], 0);
    ends(&bed, "node1", &["start"], 0);
    let after = bed.settle("node1", &["node2"]);
    assert_eq!(after.timeline, before.timeline);
    assert!(bed.logged("node2", "00000002.history") > 0, "it is named");

    scenario("a planned switch takes a number that was never given");
    let writer = bed.writer();
    must(writer.wait_for(20, Duration::from_secs(60)));
    ends(&bed, "node1", &["online_switch"], 0);
    bed.conclude(writer, "node2", &["node1"]);
}

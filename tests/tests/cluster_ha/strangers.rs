//! Receivers that call themselves what a node is called, and are not that node: `pg_receivewal`, and a
//! copy of a standby that was started somewhere else. What they acknowledge proves nothing.

use std::time::{Duration, Instant};

use pha_tests::cluster::{Bed, PATIENCE, State, must, register, say, scenario};

use crate::partition::lease_long_over;

/// The lease that is configured.
const LEASE: Duration = Duration::from_secs(3);

/// Starts `pg_receivewal --synchronous` on a node, under the name of another one.
#[track_caller]
fn receive(bed: &Bed, on: &str, called: &str) {
    must(bed.node(on).start_receiver("node1", called));
    links(
        bed,
        &format!("application_name = '{called}' AND replay_lsn IS NULL"),
        1,
    );
}

/// Waits until the primary, node1, has so many streaming links of that kind.
#[track_caller]
fn links(bed: &Bed, which: &str, wanted: u32) {
    let ask =
        format!("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND {which}");
    bed.until(&format!("{wanted} links with {which}"), || {
        let found = bed.sql("node1", &ask).map_err(|error| error.to_string())?;
        match found.parse::<u32>() {
            Ok(found) if wanted == found => Ok(()),
            _ => Err(found),
        }
    });
}

/// Starts a copy of node2 on the lock service's node and waits until it follows node1.
#[track_caller]
fn copy_started_elsewhere(bed: &Bed) {
    must(bed.start_copy("node2", "node3"));
    links(bed, &from_the_copy(bed), 1);
}

fn from_the_copy(bed: &Bed) -> String {
    format!("host(client_addr) = '{}'", bed.node("node3").address())
}

/// The standby cannot reach the primary any more, the primary goes on without it and loses its power:
/// the standby is no holder, whoever has acknowledged in its name, and nothing is lost.
fn nothing_is_lost(bed: &Bed, before: &State) {
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(bed.cut_port("node1", "node2", 5432));
    must(writer.wait_for(500, PATIENCE));
    must(bed.power_cut("node1"));
    say(&format!("acknowledged: {}", must(writer.stop())));
    must(bed.heal());
    lease_long_over(bed, "node1");
    must(bed.boot("node1"));
    let after = bed.settle("node1", &["node2"]);
    let _ = bed.verdict();
    assert_eq!(
        (after.timeline, &after.repl_info),
        (before.timeline, &before.repl_info)
    );
}

/// Runs a command of the operator's that has to end with 0.
#[track_caller]
fn cls(bed: &Bed, node: &str, words: &[&str]) {
    let argv = [&["/opt/pha4pgsql/bin/cls"], words].concat();
    let output = must(bed.node(node).exec(&argv, PATIENCE));
    assert_eq!(
        output.code,
        0,
        "cls {words:?}: {}\n{}",
        output.text(),
        output.stderr
    );
}

/// What `cls_status` says on a node.
fn status(bed: &Bed, node: &str) -> String {
    let argv = ["/opt/pha4pgsql/bin/cls", "status"];
    let output = must(bed.node(node).exec(&argv, PATIENCE));
    format!("{}\n{}", output.text(), output.stderr)
}

/// For as long as several monitors take, node2 is no holder.
#[track_caller]
fn stays_no_holder(bed: &Bed) {
    let end = Instant::now() + Duration::from_secs(12);
    while Instant::now() < end {
        let row = must(register(bed));
        assert!(
            !row.holders.contains("node2"),
            "a stranger made node2 a holder: {row:?}"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn cluster_a_receiver_in_the_name_of_a_standby() {
    let bed = Bed::replicating("receiver");
    scenario(
        "a receiver calls itself node2, the standby is cut off, and the primary loses its power",
    );
    let before = bed.settle("node1", &["node2"]);
    receive(&bed, "node1", "node2");
    nothing_is_lost(&bed, &before);

    scenario("the receiver is shown, with what to do");
    receive(&bed, "node1", "node2");
    let said = status(&bed, "node1");
    let address = bed.node("node1").address();
    assert!(
        said.contains("is no standby of this cluster") && said.contains(&address),
        "{said}"
    );
    bed.node("node1").end_receivers();
    let _ = bed.verdict();
}

#[test]
fn cluster_a_copy_of_a_standby() {
    let bed = Bed::replicating("copied");
    scenario(
        "a copy of node2 runs elsewhere, the standby is cut off, and the primary loses its power",
    );
    // The copy comes first: PostgreSQL believes the first link of a name.
    must(bed.cut_port("node1", "node2", 5432));
    links(
        &bed,
        &format!("host(client_addr) = '{}'", bed.node("node2").address()),
        0,
    );
    copy_started_elsewhere(&bed);
    must(bed.heal());
    links(&bed, "true", 2);
    // It left the register if the copy took long; who is not in it is not promoted.
    bed.until("node2 to be a holder again", || {
        let row = register(&bed).map_err(|error| error.to_string())?;
        let there = row.holders.contains("node2");
        there.then_some(()).ok_or_else(|| format!("{row:?}"))
    });
    let writer = bed.writer();
    must(writer.wait_for(200, PATIENCE));
    must(bed.cut_port("node1", "node2", 5432));
    // Less than PostgreSQL takes to miss a standby: that is when the copy speaks for it.
    std::thread::sleep(Duration::from_secs(3));
    must(bed.power_cut("node1"));
    must(bed.heal());
    must(writer.wait_for(50, PATIENCE));
    bed.conclude(writer, "node2", &[]);
    must(bed.boot("node1"));
    bed.rejoin("node1", "node2");
    cls(&bed, "node1", &["online_switch", "--to", "node1"]);
    bed.settle("node1", &["node2"]);

    scenario("a copy of node2 runs elsewhere, and node2 itself does not");
    // The other one has followed the old primary to its end.
    must(bed.node("node3").end_copy());
    copy_started_elsewhere(&bed);
    let said = status(&bed, "node1");
    let address = bed.node("node3").address();
    assert!(
        said.contains("is no standby of this cluster") && said.contains(&address),
        "{said}"
    );
    cls(&bed, "node1", &["standby_node", "node2"]);
    stays_no_holder(&bed);
    cls(&bed, "node1", &["unstandby_node", "node2"]);
    bed.settle("node1", &["node2"]);
    must(bed.node("node3").end_copy());
    let _ = bed.verdict();
}

#[test]
fn cluster_a_receiver_is_no_proof_for_the_guard() {
    let bed = Bed::replicating("noproof");
    scenario("a receiver calls itself node2, and the primary is isolated: its guard stops it");
    receive(&bed, "node1", "node2");
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(bed.isolate("node1"));
    let cut = Instant::now();
    bed.until("no process of PostgreSQL on node1", || {
        match bed.server_processes("node1") {
            0 => Ok(()),
            left => Err(format!("{left} processes")),
        }
    });
    say(&format!("stopped after {} ms", cut.elapsed().as_millis()));
    assert!(cut.elapsed() < LEASE * 2, "{:?}", cut.elapsed());
    must(writer.wait_for(50, PATIENCE));
    must(writer.stop());
    bed.node("node1").end_receivers();
    must(bed.heal());
    bed.rejoin("node1", "node2");
    let _ = bed.verdict();
}

//! R12: one operation of a node at a time changes the synchronous standbys or the holders, and what
//! was left behind by a caller that is gone changes nothing any more.

use pha_testbed::Signal;
use pha_tests::cluster::{Bed, PATIENCE, must, scenario};

/// The part of PostgreSQL's configuration where the names are.
const NAMES: &str = "/run/pha4pgsql/pgsql.names.conf";

/// PostgreSQL's port, which replication uses.
const PORT: u16 = 5432;

#[test]
fn cluster_operation_left_behind_changes_nothing() {
    let bed = Bed::replicating("left-behind");
    scenario(
        "R12: a monitor that takes the standby's name away hangs before its rename, Pacemaker's executor dies, the standby is added again, is cut off, and the monitor goes on: nothing is acknowledged without the standby",
    );
    let node1 = bed.node("node1");
    must(bed.cut_port("node1", "node2", PORT));
    let mut left_behind = must(node1.hang_in_replacing(NAMES, PATIENCE));
    must(bed.heal());
    assert_eq!(node1.kill_named("pacemaker-execd", Signal::KILL), 1);
    // Pacemaker restarts PostgreSQL in place after that, and the standby is a holder again.
    let before = bed.settle("node1", &["node2"]);

    // To the node itself, so that it does not matter where Pacemaker has the address.
    let writer = bed.writer_to("node1");
    must(writer.wait_for(50, PATIENCE));
    // No monitor lets the standby go before node1 has lost its power.
    assert_eq!(node1.kill_named("pacemaker-execd", Signal::STOP), 1);
    must(bed.cut_port("node1", "node2", PORT));
    left_behind.go_on();
    bed.until("the end of what was left behind", || {
        match left_behind.process().alive() {
            true => Err("it is at work".to_owned()),
            false => Ok(()),
        }
    });
    let acknowledged = writer.acknowledged();
    let waiting = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep' \
         AND clock_timestamp() - query_start > '1 s')";
    bed.until("a commit that waits, or some that do not", || {
        let more = writer.acknowledged() - acknowledged;
        match bed.sql("node1", waiting).as_deref() {
            Ok("t") => Ok(()),
            _ if more >= 5 => Ok(()),
            other => Err(format!("{more} acknowledged, waiting: {other:?}")),
        }
    });
    must(bed.power_cut("node1"));
    must(bed.heal());
    must(writer.stop());
    let after = bed.settle("node2", &[]);
    assert_eq!(after.register.term, before.register.term + 1);
    let _ = bed.verdict();
    must(bed.boot("node1"));
    bed.rejoin("node1", "node2");
    let _ = bed.verdict();
}

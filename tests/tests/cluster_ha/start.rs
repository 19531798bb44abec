//! The first start, where nothing is known but what lies on the disks.

use std::time::Duration;

use pha_testbed::{Cluster, ClusterBuilder, PGDATA};
use pha_tests::cluster::{Bed, PATIENCE, must, scenario};

/// `pg_ctl` by hand, before Pacemaker manages anything.
pub(crate) fn pg_ctl(cluster: &Cluster, node: &str, words: &[&str]) {
    let program = format!("{}/pg_ctl", must(pha_testbed::packages::bin_dir()));
    let log = "/var/log/postgresql/pgsql.log";
    let argv = [&[program.as_str(), "-D", PGDATA, "-w", "-l", log], words].concat();
    must(
        cluster
            .node(node)
            .as_postgres(&argv, Duration::from_secs(60)),
    );
}

/// Starts the database of `node` by hand as a standby of the server at `address`.
pub(crate) fn follow(cluster: &Cluster, node: &str, address: &str) {
    let signal = format!("{PGDATA}/standby.signal");
    must(
        cluster
            .node(node)
            .as_postgres(&["touch", &signal], PATIENCE),
    );
    let options =
        format!("-c primary_conninfo='host={address} user=replication application_name={node}'");
    pg_ctl(cluster, node, &["-o", &options, "start"]);
}

#[test]
fn cluster_first_start_elects_the_newest() {
    let bed = Bed::up(ClusterBuilder::new("first"));

    scenario("first start with empty pgsql_REPL_INFO: node2 has the newest data");
    pg_ctl(&bed, "node1", &["start"]);
    follow(&bed, "node2", &bed.node("node1").address());
    must(bed.sql("node1", "CREATE TABLE common AS SELECT 1 AS number"));
    // A clean end of the primary reaches its standby to the last record.
    pg_ctl(&bed, "node1", &["-m", "fast", "stop"]);
    pg_ctl(&bed, "node2", &["promote"]);
    must(bed.sql("node2", "CREATE TABLE newest AS SELECT 2 AS number"));
    pg_ctl(&bed, "node2", &["-m", "fast", "stop"]);
    assert_eq!(must(bed.cib()).repl_info(), "");
    must(bed.configure());
    let state = bed.settle("node2", &["node1"]);
    assert_eq!(
        state.timeline, 2,
        "elected in place, without another switch"
    );
    assert_eq!(state.register.term, 1);
    assert_eq!(must(bed.sql("node1", "SELECT number FROM newest")), "2");
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    bed.conclude(writer, "node2", &["node1"]);
}

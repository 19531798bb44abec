//! The lock service moves while the database runs, as the manual has it: config.ini, `cls_setup`,
//! `cls_recovery_master`; on the cluster that `install` has set up.

use std::time::Duration;

use pha_testbed::{Cluster, WriterPlan};

use super::changes::configure_text;
use super::install::{healthy_again, must, on_node1, postmasters, specification, status_shows};

const LONG: Duration = Duration::from_secs(60);

/// Another database of the same server: to the cluster it is another place.
fn elsewhere() -> String {
    specification().replace("port=5439 dbname=postgres", "port=5439 dbname=elsewhere")
}

/// Who owns the row of the other place.
fn owner_elsewhere(cluster: &Cluster) -> String {
    let words = [
        "psql",
        "-XAtq",
        "-h",
        "node3",
        "-p",
        "5439",
        "-U",
        "postgres",
        "-d",
        "elsewhere",
        "-c",
        "select owner from distlock where lockname = 'pgsql_cls1'",
    ];
    must(cluster, &words).text().to_owned()
}

/// One move, from the change of config.ini to a cluster that is well; `says` is what the status says of the row
/// that it finds.
fn moves(cluster: &Cluster, text: &str, says: &str) {
    let before = postmasters(cluster);
    configure_text(cluster, text);
    let dry = must(cluster, &["cls_setup", "--dry-run"]).stdout;
    assert!(
        dry.contains("the lock service moves to where the register does not go on")
            && dry.contains("cls_recovery_master --confirm node1"),
        "{dry}"
    );
    let done = must(cluster, &["cls_setup"]).stdout;
    assert!(done.contains("now cls_recovery_master"), "{done}");
    status_shows(cluster, "node2", &["[register]", says]);
    let doctor = on_node1(cluster, &["cls_doctor", "--timeout", "120"]);
    assert_eq!(doctor.code, 1, "{}{}", doctor.stdout, doctor.stderr);
    let named = doctor.stdout.lines().any(|line| {
        line.starts_with("error") && line.contains("lock-name: ") && line.contains(says)
    });
    assert!(named, "{}", doctor.stdout);
    let mended = must(cluster, &["cls_recovery_master", "--confirm", "node1"]).stdout;
    assert!(
        mended.contains("the register is mended; node1 is primary as before"),
        "{mended}"
    );
    healthy_again(cluster, "node1", "node2");
    assert_eq!(postmasters(cluster), before, "a move restarts nothing");
}

pub(crate) fn the_lock_service_moves(cluster: &Cluster) {
    cluster.lock_sql("create database elsewhere").unwrap();
    let writer = cluster.start_writer(&WriterPlan::new(1)).unwrap();
    writer.wait_for(50, LONG).unwrap();

    a_node_that_does_not_hear_of_it_is_in_the_way(cluster);
    moves(cluster, &elsewhere(), "the lock service was moved");
    writer.wait_for(50, LONG).unwrap();
    assert_eq!(owner_elsewhere(cluster), "node1");
    // The new one is what a takeover goes by.
    must(cluster, &["cls_online_switch"]);
    assert_eq!(owner_elsewhere(cluster), "node2");
    must(cluster, &["cls_online_switch"]);
    healthy_again(cluster, "node1", "node2");

    // And back to the old row, which is behind by now.
    moves(cluster, &specification(), "restored from a backup");
    writer.wait_for(50, LONG).unwrap();
    writer.stop().unwrap();
    let verdict = cluster
        .check(&["node1", "node2"], Duration::from_secs(15))
        .unwrap();
    assert!(verdict.clean(), "{verdict}");
}

/// Alive or not, it would go on with the old lock service.
fn a_node_that_does_not_hear_of_it_is_in_the_way(cluster: &Cluster) {
    cluster.stop_pacemaker("node2", LONG).unwrap();
    configure_text(cluster, &elsewhere());
    let refused = on_node1(cluster, &["cls_setup"]);
    assert_eq!(refused.code, 10, "{}{}", refused.stdout, refused.stderr);
    assert!(
        refused.stderr.contains("node2 is not in the cluster"),
        "{}",
        refused.stderr
    );
    let off = must(cluster, &["cls_setup", "--dry-run", "--off", "node2"]).stdout;
    assert!(off.contains("the lock service moves"), "{off}");
    configure_text(cluster, &specification());
    cluster.start_pacemaker("node2").unwrap();
    healthy_again(cluster, "node1", "node2");
}

//! The lock service moves while the database runs, as the manual has it: config.ini, `cls_setup`,
//! `cls_recovery_master`; on the cluster that `install` has set up.

use std::thread;
use std::time::Duration;

use pha_testbed::{Cluster, WriterPlan};

use super::changes::configure_text;
use super::install::{healthy_again, must, on_node1, postmasters, specification, status_shows};

const LONG: Duration = Duration::from_secs(60);

/// Another database of the same server: to the cluster it is another place.
fn elsewhere() -> String {
    specification().replace("port=5439 dbname=postgres", "port=5439 dbname=elsewhere")
}

/// A statement in the other place, as it is typed on node1.
fn elsewhere_sql(sql: &str) -> [&str; 12] {
    [
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
        sql,
    ]
}

/// Who owns the row of the other place.
fn owner_elsewhere(cluster: &Cluster) -> String {
    let words = elsewhere_sql("select owner from distlock where lockname = 'pgsql_cls1'");
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

    a_node_that_leaves_meanwhile_is_seen(cluster);
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
    moves_without_a_node_that_is_switched_off(cluster);
    writer.wait_for(50, LONG).unwrap();
    writer.stop().unwrap();
    let verdict = cluster
        .check(&["node1", "node2"], Duration::from_secs(15))
        .unwrap();
    assert!(verdict.clean(), "{verdict}");
}

/// Between the first look and the change the new table is made, which somebody else keeps waiting here: a node that
/// leaves in that time would not hear of the move. Leaves it without Pacemaker.
fn a_node_that_leaves_meanwhile_is_seen(cluster: &Cluster) {
    let locks = |granted: &str| {
        let sql = format!(
            "select count(*) from pg_locks l join pg_database d on d.oid = l.database where d.datname = 'elsewhere' and l.locktype = 'advisory' and {granted}"
        );
        cluster.lock_sql(&sql).map_err(|error| error.to_string())
    };
    let one = |what: &str, granted: &str| {
        let seen = cluster.wait(what, LONG, || match locks(granted)?.trim() {
            "1" => Ok(()),
            other => Err(other.to_owned()),
        });
        seen.unwrap();
    };
    configure_text(cluster, &elsewhere());
    let output = thread::scope(|scope| {
        let hold =
            "select pg_advisory_lock(hashtext('pha4pgsql'), hashtext('distlock')), pg_sleep(200)";
        let holder = scope.spawn(move || on_node1(cluster, &elsewhere_sql(hold)));
        one("somebody who keeps the table", "l.granted");
        let command = scope.spawn(|| on_node1(cluster, &["cls_setup", "--timeout", "180"]));
        one("a set-up that waits for the table", "not l.granted");
        cluster.stop_pacemaker("node2", LONG).unwrap();
        let left = cluster.wait("node2 to be gone", LONG, || {
            let cib = cluster.cib_of("node1").map_err(|error| error.to_string())?;
            match cib.members() {
                members if members == ["node1"] => Ok(()),
                members => Err(members.join(" ")),
            }
        });
        left.unwrap();
        let end = "select pg_terminate_backend(l.pid) from pg_locks l join pg_database d on d.oid = l.database where d.datname = 'elsewhere' and l.locktype = 'advisory' and l.granted";
        cluster.lock_sql(end).unwrap();
        let output = command.join().unwrap();
        assert!(!holder.join().unwrap().ok());
        output
    });
    assert_eq!(output.code, 10, "{}{}", output.stdout, output.stderr);
    let says = "node2 has left the cluster meanwhile: Pacemaker's configuration was not changed";
    assert!(output.stderr.contains(says), "{}", output.stderr);
    let xml = cluster.cib().unwrap().xml;
    assert!(!xml.contains("dbname=elsewhere"), "{xml}");
}

/// One that is off cannot be asked, and its disk still has the old configuration: it comes when the old row is gone.
fn moves_without_a_node_that_is_switched_off(cluster: &Cluster) {
    let before = cluster.node("node1").postmaster_pid();
    let node2 = cluster.node("node2");
    node2.power_cut().unwrap();
    status_shows(cluster, "node1", &["node2 is not in the cluster"]);
    let node1 = cluster.node("node1");
    let file = "/opt/pha4pgsql/config.ini";
    node1.write(file, specification(), 0o600).unwrap();
    let done = must(cluster, &["cls_setup", "--off", "node2"]).stdout;
    for part in [
        "the passfiles of node2 stay as they are",
        "now cls_recovery_master",
        "Before node2 is powered on: delete the old row, distlock:pgsql_cls1 on ",
    ] {
        assert!(done.contains(part), "no {part} in {done}");
    }
    status_shows(cluster, "node1", &["[register]", "restored from a backup"]);
    let words = [
        "cls_recovery_master",
        "--confirm",
        "node1",
        "--off",
        "node2",
    ];
    let mended = must(cluster, &words).stdout;
    assert!(
        mended.contains("the register is mended; node1 is primary as before"),
        "{mended}"
    );
    must(
        cluster,
        &elsewhere_sql("delete from distlock where lockname = 'pgsql_cls1'"),
    );
    cluster.boot("node2").unwrap();
    healthy_again(cluster, "node1", "node2");
    node2.write(file, specification(), 0o600).unwrap();
    // The passfiles that it lacks, and no more.
    let late = must(cluster, &["cls_setup"]).stdout;
    let again = must(cluster, &["cls_setup"]).stdout;
    assert!(again.contains("nothing to change"), "{late}{again}");
    assert_eq!(node1.postmaster_pid(), before, "a move restarts nothing");
    let sql = "select owner || ' ' || array_to_string(holders, ',') from distlock where lockname = 'pgsql_cls1'";
    let owner = cluster.lock_sql(sql).unwrap();
    assert_eq!(owner.trim(), "node1 node1,node2");
}

/// Alive or not, it would go on with the old lock service. It is without Pacemaker when this begins.
fn a_node_that_does_not_hear_of_it_is_in_the_way(cluster: &Cluster) {
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

//! Parameters changed while the database runs, on the cluster that `install` has set up: what it costs is
//! said, a restart is refused until it is asked for, and then goes round below a writer.

use std::thread;
use std::time::Duration;

use pha_testbed::{Cluster, Signal, WriterPlan, now_us};

use super::install::{
    attributes_become, healthy_again, must, on_node1, postmasters, specification, status_shows,
};

const LONG: Duration = Duration::from_secs(60);

fn configure(cluster: &Cluster, more: &str) {
    configure_text(cluster, &(specification() + more));
}

/// The same file for every node.
pub(crate) fn configure_text(cluster: &Cluster, text: &str) {
    for name in ["node1", "node2"] {
        let node = cluster.node(name);
        node.write("/opt/pha4pgsql/config.ini", text, 0o600)
            .unwrap();
    }
}

#[allow(clippy::print_stderr)]
fn say(text: &str) {
    eprintln!("{text}");
}

/// What a setting of every PostgreSQL is.
fn setting(cluster: &Cluster, name: &str) -> [String; 2] {
    let show = format!("show {name}");
    ["node1", "node2"].map(|node| {
        let words = ["psql", "-XAtc", &show, "postgres"];
        let output = cluster.node(node).as_postgres(&words, LONG).unwrap();
        output.text().to_owned()
    })
}

/// A refusal that changed nothing; what it said.
fn refused(cluster: &Cluster, words: &[&str], code: i32) -> String {
    let before = (
        cluster.cib().unwrap().xml.contains("rolling"),
        postmasters(cluster),
    );
    let output = on_node1(cluster, &[&["cls_setup"], words].concat());
    assert_eq!(output.code, code, "{}{}", output.stdout, output.stderr);
    let after = (
        cluster.cib().unwrap().xml.contains("rolling"),
        postmasters(cluster),
    );
    assert_eq!(before, after);
    output.stdout + &output.stderr
}

pub(crate) fn a_change_of_parameters_restarts_only_when_it_is_asked_to(cluster: &Cluster) {
    let before = postmasters(cluster);
    // A program that is not there would be total outage.
    configure(cluster, "pgsql_restore_command='/no/such/restore %f %p'\n");
    let said = refused(cluster, &["--restart"], 10);
    assert!(
        said.contains("/no/such/restore of restore_command"),
        "{said}"
    );
    assert!(said.contains("on node1 and node2"), "{said}");

    // What needs no restart gets none.
    configure(cluster, "pgsql_monitor_sql='select 1'\n");
    let done = must(cluster, &["cls_setup"]).stdout;
    assert!(done.contains("[the agent takes it up"), "{done}");
    assert_eq!(postmasters(cluster), before);

    let changed = "pgsql_monitor_sql='select 1'\npgsql_start_opt='-c work_mem=5MB'\n";
    configure(cluster, changed);
    what_is_in_force(cluster, changed);
    let dry = must(cluster, &["cls_setup", "--dry-run"]).stdout;
    assert!(dry.contains("[PostgreSQL restarts on every node]"), "{dry}");
    assert!(dry.contains("in place of node1 (a planned switch"), "{dry}");
    let said = refused(cluster, &[], 10);
    assert!(said.contains("next: cls_setup --restart"), "{said}");

    let writer = cluster.start_writer(&WriterPlan::new(2)).unwrap();
    writer.wait_for(50, LONG).unwrap();
    goes_round(cluster, "node1", "node2");
    assert_eq!(setting(cluster, "work_mem"), ["5MB", "5MB"]);
    does_not_come_back(cluster, changed);
    all_together(cluster, changed);
    lowered(cluster, changed);
    writer.wait_for(50, LONG).unwrap();
    killed_half_way(cluster);
    writer.wait_for(50, LONG).unwrap();
    // And back, to where it was.
    configure(cluster, "");
    goes_round(cluster, "node1", "node2");
    must(cluster, &["cls_online_switch"]);
    writer.wait_for(50, LONG).unwrap();
    writer.stop().unwrap();
    let verdict = cluster
        .check(&["node1", "node2"], Duration::from_secs(15))
        .unwrap();
    assert!(verdict.clean(), "{verdict}");
    assert!(
        must(cluster, &["cls_setup"])
            .stdout
            .contains("nothing to change")
    );
}

/// Before the change is made: what differs is shown, on every node, and no password.
fn what_is_in_force(cluster: &Cluster, changed: &str) {
    let differs = on_node1(cluster, &["cls_config"]);
    assert_eq!(differs.code, 1, "{}{}", differs.stdout, differs.stderr);
    let said = &differs.stdout;
    assert!(
        said.contains("start_opt = not given  (config.ini: \"-c work_mem=5MB\")"),
        "{said}"
    );
    assert!(said.contains("rep_mode = \"sync\""), "{said}");
    assert!(said.contains("next: cls_setup --dry-run"), "{said}");
    assert!(
        said.contains("node2: reads /opt/pha4pgsql/config.ini, the same"),
        "{said}"
    );
    assert!(!said.contains("geheim"), "{said}");
    // As it is in force, every node's commands say that nothing differs.
    configure(cluster, "pgsql_monitor_sql='select 1'\n");
    for node in ["node1", "node2"] {
        let same = cluster.node(node).exec(&["cls_config"], LONG).unwrap();
        assert_eq!(same.code, 0, "{}{}", same.stdout, same.stderr);
    }
    // One node has another copy.
    let node2 = cluster.node("node2");
    let other = specification() + changed;
    node2
        .write("/opt/pha4pgsql/config.ini", &other, 0o600)
        .unwrap();
    let differs = on_node1(cluster, &["cls_config", "--json"]);
    assert_eq!(differs.code, 1, "{}{}", differs.stdout, differs.stderr);
    let said = &differs.stdout;
    let document = serde_json::from_str(said).unwrap();
    pha_tests::schema::follows_the_schema(&document, "cls_config");
    assert!(said.contains("\"state\": \"other\""), "{said}");
    assert!(
        said.contains("\"same\": false") && !said.contains("geheim"),
        "{said}"
    );
    configure(cluster, changed);
}

fn goes_round(cluster: &Cluster, from: &str, to: &str) {
    let (before, began) = (postmasters(cluster), now_us());
    let done = must(cluster, &["cls_setup", "--restart"]).stdout;
    assert!(done.contains(&format!("{to} is primary")), "{done}");
    // Without waiting for anything: it is so already.
    assert_eq!(must(cluster, &["cls_master"]).text(), to);
    let xml = cluster.cib().unwrap().xml;
    assert!(
        !xml.contains("rolling") && !xml.contains("fail-count"),
        "{xml}"
    );
    let after = postmasters(cluster);
    assert!(
        before
            .iter()
            .zip(&after)
            .all(|(before, after)| before != after)
    );
    healthy_again(cluster, to, from);
    let gap = cluster.ledger().unwrap().gap_after(began);
    say(&format!("{done}longest gap {gap:?}"));
}

/// A value that PostgreSQL does not take: the standby fails, and everything is as before.
fn does_not_come_back(cluster: &Cluster, good: &str) {
    let primary = cluster.node("node2").postmaster_pid();
    let bad = good.replace("work_mem", "no_such_setting");
    configure(cluster, &bad);
    let output = on_node1(cluster, &["cls_setup", "--restart"]);
    say(&output.stderr);
    assert_eq!(output.code, 1, "{}{}", output.stdout, output.stderr);
    assert!(
        output.stderr.contains("they were taken back"),
        "{}",
        output.stderr
    );
    assert_eq!(cluster.node("node2").postmaster_pid(), primary);
    let xml = cluster.cib().unwrap().xml;
    assert!(
        !xml.contains("rolling") && !xml.contains("no_such_setting"),
        "{xml}"
    );
    healthy_again(cluster, "node2", "node1");
}

/// A limit that a standby needs as much of as its primary has: the primary has less of it first, in place.
fn lowered(cluster: &Cluster, good: &str) {
    let less = good.replace("work_mem=5MB", "work_mem=5MB -c max_connections=60");
    configure(cluster, &less);
    let dry = must(cluster, &["cls_setup", "--dry-run"]).stdout;
    assert!(
        dry.contains("max_connections goes down from 100 to 60"),
        "{dry}"
    );
    assert!(dry.contains("With --restart --together"), "{dry}");
    let began = now_us();
    let done = must(cluster, &["cls_setup", "--restart", "--together"]).stdout;
    assert!(done.contains("node2 is primary"), "{done}");
    assert_eq!(setting(cluster, "max_connections"), ["60", "60"]);
    let xml = cluster.cib().unwrap().xml;
    assert!(
        !xml.contains("rolling") && !xml.contains("fail-count"),
        "{xml}"
    );
    healthy_again(cluster, "node2", "node1");
    let gap = cluster.ledger().unwrap().gap_after(began);
    say(&format!("{done}longest gap {gap:?}"));
}

/// Killed while the standby restarts: both nodes work, it is said, and what is said helps.
fn killed_half_way(cluster: &Cluster) {
    configure(cluster, "pgsql_start_opt='-c work_mem=6MB'\n");
    let primary = cluster.node("node2").postmaster_pid();
    let rolling = || cluster.cib().unwrap().xml.contains("pgsql-rolling-new");
    thread::scope(|scope| {
        let words = ["/opt/pha4pgsql/bin/cls", "setup", "--restart"];
        let command = scope.spawn(move || on_node1(cluster, &words));
        while !rolling() {
            assert!(!command.is_finished(), "{:?}", command.join());
        }
        let killed = cluster.node("node1").kill_program("cls", Signal::KILL);
        assert_eq!(killed, 1);
        assert_ne!(command.join().unwrap().code, 0);
    });
    status_shows(cluster, "node1", &["cls_setup on node1 was ended"]);
    let next = "cls_cleanup, then cls_setup --restart";
    status_shows(cluster, "node2", &[next]);
    attributes_become(cluster, "node1", ["100", "STREAMING|SYNC", "HS:sync"]);
    assert_eq!(setting(cluster, "work_mem"), ["6MB", "5MB"]);
    assert_eq!(cluster.node("node2").postmaster_pid(), primary);
    let said = refused(cluster, &[], 10);
    assert!(
        said.contains("a restart that has not come to its end"),
        "{said}"
    );
    must(cluster, &["cls_cleanup"]);
    let before = cluster.node("node1").postmaster_pid();
    let done = must(cluster, &["cls_setup", "--restart"]).stdout;
    assert!(done.contains("node1 is primary"), "{done}");
    assert_eq!(cluster.node("node1").postmaster_pid(), before);
    assert!(!rolling());
    assert_eq!(setting(cluster, "work_mem"), ["6MB", "6MB"]);
    healthy_again(cluster, "node1", "node2");
}

/// What all nodes must agree about: stopped, changed, started, with the primary that it had.
fn all_together(cluster: &Cluster, good: &str) {
    configure(
        cluster,
        &format!("{good}pgsql_replication_slot_name=round\n"),
    );
    let said = refused(cluster, &["--restart"], 10);
    assert!(
        said.contains("next: cls_setup --restart --together"),
        "{said}"
    );
    let together = ["cls_setup", "--restart", "--together"];
    let began = now_us();
    let done = must(cluster, &together).stdout;
    assert!(done.contains("node2 is primary"), "{done}");
    assert!(!cluster.cib().unwrap().xml.contains("fail-count"));
    healthy_again(cluster, "node2", "node1");
    let gap = cluster.ledger().unwrap().gap_after(began);
    say(&format!("{done}longest gap {gap:?}"));
    configure(cluster, good);
    must(cluster, &together);
}

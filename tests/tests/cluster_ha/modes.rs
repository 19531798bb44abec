//! The modes in which Pacemaker promotes nothing: there is no register and nothing to agree, so
//! these scenarios end with the checker's verdict and with what Pacemaker and PostgreSQL say.

use std::time::Duration;

use pha_testbed::{ClusterBuilder, Signal};
use pha_tests::cluster::{Bed, CLONE, PATIENCE, must, scenario};

use crate::start::pg_ctl;

/// Waits until Pacemaker runs the database on exactly this node and PostgreSQL says `role`.
fn runs_as(bed: &Bed, node: &str, role: &str) {
    bed.until(&format!("{node} running as {role}"), || {
        let placements = bed.placements_of(node).map_err(|error| error.to_string())?;
        let mine: Vec<_> = placements
            .iter()
            .filter(|p| p.resource == "pgsql")
            .collect();
        let running: Vec<_> = mine
            .iter()
            .filter(|p| p.role == "Started" && !p.failed)
            .map(|p| p.node.as_str())
            .collect();
        if running != [node] {
            return Err(format!("{placements:?}"));
        }
        let question = "SELECT CASE WHEN NOT pg_is_in_recovery() THEN 'primary' WHEN EXISTS \
                        (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming') \
                        THEN 'standby' ELSE 'alone' END";
        match bed.sql(node, question) {
            Ok(said) if said == role => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

fn killed_and_back(bed: &Bed, node: &str, role: &str) {
    let old = bed
        .node(node)
        .postmaster_pid()
        .expect("a postmaster to kill");
    assert!(bed.node(node).kill_postmaster(Signal::KILL));
    bed.until("another postmaster", || {
        match bed.node(node).postmaster_pid() {
            Some(pid) if pid != old => Ok(()),
            other => Err(format!("postmaster {other:?}")),
        }
    });
    runs_as(bed, node, role);
    assert_eq!(bed.fail_count(node, node), "1");
}

fn stopped(bed: &Bed, node: &str) {
    let set = [
        "crm_resource",
        "--resource",
        CLONE,
        "--meta",
        "--set-parameter",
    ];
    let words = [&set[..], &["target-role", "--parameter-value", "Stopped"]].concat();
    bed.run(node, &words);
    bed.until("the database stopped", || {
        match bed.server_processes(node) {
            0 => Ok(()),
            left => Err(format!("{left} processes")),
        }
    });
    assert_eq!(bed.fail_count(node, node), "1", "the stop failed");
}

#[test]
fn cluster_standalone() {
    let builder = ClusterBuilder::new("alone")
        .databases(1)
        .lock_service(false);
    let bed = Bed::up(builder.rep_mode("none").configured(true));
    scenario("rep_mode none: started, killed and started again, stopped");
    runs_as(&bed, "node1", "primary");
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    killed_and_back(&bed, "node1", "primary");
    must(writer.wait_for(50, PATIENCE));
    must(writer.stop());
    let verdict = must(bed.check(&["node1"], Duration::from_secs(1)));
    assert!(verdict.clean(), "{verdict}");
    stopped(&bed, "node1");
}

#[test]
fn cluster_slave() {
    let builder = ClusterBuilder::new("slave")
        .lock_service(false)
        .rep_mode("slave");
    let bed = Bed::up(builder.parameter("master_ip", "192.168.150.11"));
    scenario("rep_mode slave: a standby of a primary that Pacemaker does not know");
    must(bed.stop_pacemaker("node1", PATIENCE));
    pg_ctl(&bed, "node1", &["start"]);
    let mut config = bed.spec().pacemaker.clone();
    config.addresses = false;
    bed.until("Pacemaker's configuration", || {
        let path = "/run/slave.xml";
        let push = ["cibadmin", "--modify", "--allow-create", "--xml-file", path];
        let node = bed.node("node2");
        node.write(path, config.to_xml(), 0o600)
            .and_then(|()| node.run(&push, PATIENCE))
            .map_err(|error| error.to_string())
    });
    runs_as(&bed, "node2", "standby");
    let writer = bed.writer_to("node1");
    must(writer.wait_for(50, PATIENCE));
    killed_and_back(&bed, "node2", "standby");
    must(writer.wait_for(50, PATIENCE));
    must(writer.stop());
    let verdict = must(bed.check(&["node1", "node2"], Duration::from_secs(20)));
    assert!(verdict.clean(), "{verdict}");
    stopped(&bed, "node2");
    assert_eq!(must(bed.sql("node1", "SELECT pg_is_in_recovery()")), "f");
}

//! The testbed's own proof, without the agent: nodes, network, faults, writers and checker
//! against a PostgreSQL that the test itself drives.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use pha_testbed::layout::WRITER_VIP;
use pha_testbed::{Cluster, ClusterBuilder, PGDATA, Signal, WriterPlan};

const SHORT: Duration = Duration::from_secs(20);

fn pg_ctl(cluster: &Cluster, node: &str, words: &[&str]) {
    let ctl = format!("{}/pg_ctl", pha_testbed::packages::bin_dir().unwrap());
    let mut argv = vec![
        ctl.as_str(),
        "-D",
        PGDATA,
        "-w",
        "-l",
        "/var/log/postgresql/pgsql.log",
    ];
    argv.extend(words);
    cluster
        .node(node)
        .as_postgres(&argv, Duration::from_secs(60))
        .unwrap();
}

fn address(cluster: &Cluster, node: &str, verb: &str) {
    let vip = format!("{WRITER_VIP}/24");
    cluster
        .node(node)
        .run(&["ip", "addr", verb, &vip, "dev", "eth0"], SHORT)
        .unwrap();
}

/// A primary on node1 and a synchronous standby on node2, the writer VIP on node1.
fn replicate(cluster: &Cluster) {
    let standby = format!(
        "primary_conninfo = 'host={} user=replication application_name=node2'\n",
        cluster.node("node1").address()
    );
    let node2 = cluster.node("node2");
    node2
        .write(&format!("{PGDATA}/postgresql.auto.conf"), standby, 0o600)
        .unwrap();
    node2
        .write(&format!("{PGDATA}/standby.signal"), "", 0o600)
        .unwrap();
    node2
        .run(&["chown", "-R", "postgres:postgres", PGDATA], SHORT)
        .unwrap();
    pg_ctl(cluster, "node1", &["start"]);
    pg_ctl(cluster, "node2", &["start"]);
    cluster
        .sql(
            "node1",
            "ALTER SYSTEM SET synchronous_standby_names = 'node2'",
        )
        .unwrap();
    cluster.sql("node1", "SELECT pg_reload_conf()").unwrap();
    cluster
        .wait("a synchronous standby", SHORT, || {
            let state = cluster
                .sql("node1", "SELECT sync_state FROM pg_stat_replication")
                .unwrap();
            if state == "sync" { Ok(()) } else { Err(state) }
        })
        .unwrap();
    address(cluster, "node1", "add");
}

#[test]
fn cluster_writers_and_checker_tell_loss_from_safety() {
    let cluster = ClusterBuilder::new("selftest").up().unwrap();
    replicate(&cluster);

    // All is well: two writers, every row on both nodes.
    let writers: Vec<_> = (1..=2)
        .map(|number| cluster.start_writer(&WriterPlan::new(number)).unwrap())
        .collect();
    for writer in &writers {
        writer.wait_for(100, SHORT).unwrap();
    }

    // The link between the nodes is cut: no acknowledgement any more, but no loss either.
    cluster.cut("node1", "node2").unwrap();
    let stuck = writers[0].wait_for(20, Duration::from_secs(4));
    assert!(
        stuck.is_err(),
        "a synchronous primary acknowledged without its standby"
    );
    cluster.heal().unwrap();
    writers[0].wait_for(20, SHORT).unwrap();

    // The primary loses power and the standby takes over with its address.
    let fault = pha_testbed::now_us();
    cluster.power_cut("node1").unwrap();
    pg_ctl(&cluster, "node2", &["promote"]);
    cluster
        .sql("node2", "ALTER SYSTEM SET synchronous_standby_names = ''")
        .unwrap();
    cluster.sql("node2", "SELECT pg_reload_conf()").unwrap();
    address(&cluster, "node2", "add");
    cluster
        .node("node2")
        .run(
            &[
                "/usr/libexec/heartbeat/send_arp",
                "-i",
                "200",
                "-r",
                "2",
                "eth0",
                WRITER_VIP,
                "auto",
                "not_used",
                "not_used",
            ],
            SHORT,
        )
        .unwrap();
    writers[0].wait_for(50, SHORT).unwrap();
    for writer in writers {
        writer.stop().unwrap();
    }
    let verdict = cluster.check(&["node2"], SHORT).unwrap();
    assert!(verdict.clean(), "{verdict}");
    assert_eq!(
        verdict
            .ledger
            .servers()
            .iter()
            .map(|s| s.1)
            .collect::<Vec<_>>(),
        [1, 2],
        "{verdict}"
    );
    assert!(
        verdict.ledger.gap_after(fault) > Duration::from_millis(100),
        "{verdict}"
    );

    // The old primary comes back as a primary of its own: the checker must see all of it.
    cluster.boot("node1").unwrap();
    cluster.sql("node1", "SELECT 1").unwrap_err();
    pg_ctl(
        &cluster,
        "node1",
        &["-o", "-c synchronous_standby_names=", "start"],
    );
    let both: Vec<_> = ["node1", "node2"]
        .iter()
        .map(|name| {
            WriterPlan::new(7)
                .to(&cluster.node(name).address())
                .count(30)
        })
        .map(|plan| cluster.start_writer(&plan).unwrap())
        .collect();
    for writer in both {
        assert_eq!(writer.finish(SHORT).unwrap(), 30);
    }
    let verdict = cluster.check(&["node1"], Duration::from_secs(1)).unwrap();
    assert!(
        !verdict.clean() && verdict.duplicates.len() == 30,
        "{verdict}"
    );
    assert!(!verdict.missing["node1"].is_empty(), "{verdict}");
}

#[test]
fn cluster_pacemaker_survives_power_cut_freeze_and_partition() {
    let cluster = ClusterBuilder::new("machines")
        .postgres(false)
        .lock_service(false)
        .up()
        .unwrap();
    let members = |node: &str, expected: &[&str]| {
        cluster
            .wait(
                &format!("membership of {expected:?} on {node}"),
                Duration::from_secs(30),
                || {
                    let members = cluster.cib_of(node).map_err(|e| e.to_string())?.members();
                    if members == expected {
                        Ok(())
                    } else {
                        Err(format!("{members:?}"))
                    }
                },
            )
            .unwrap();
    };
    let ssh = cluster
        .node("node1")
        .run(&["ssh", "node2", "hostname"], SHORT)
        .unwrap();
    assert_eq!(ssh.text(), "node2");
    assert_eq!(
        cluster
            .node("node2")
            .exec(&["sh", "-c", "exit 7"], SHORT)
            .unwrap()
            .code,
        7
    );
    let killed = cluster
        .node("node2")
        .exec(&["sleep", "60"], Duration::from_millis(200))
        .unwrap();
    assert_eq!(killed.code, 137);

    cluster
        .node("node2")
        .write("/root/kept", "on the disk", 0o600)
        .unwrap();
    cluster.power_cut("node2").unwrap();
    assert!(!cluster.node("node2").is_on());
    members("node1", &["node1"]);
    cluster.boot("node2").unwrap();
    assert_eq!(
        cluster.node("node2").read("/root/kept").unwrap(),
        b"on the disk"
    );
    members("node1", &["node1", "node2"]);

    cluster.cut("node1", "node2").unwrap();
    members("node1", &["node1"]);
    members("node2", &["node2"]);
    cluster.heal().unwrap();
    members("node1", &["node1", "node2"]);

    // A program that is run from outside meanwhile stands still too, and goes on too.
    let node = cluster.node("node2");
    std::thread::scope(|scope| {
        let program = scope.spawn(|| node.run(&["sleep", "3"], SHORT));
        let asleep = || node.processes().iter().any(|p| p.cmdline == "sleep 3");
        cluster
            .wait("the program", SHORT, || {
                asleep().then_some(()).ok_or_else(String::new)
            })
            .unwrap();
        node.freeze().unwrap();
        members("node1", &["node1"]);
        node.thaw().unwrap();
        members("node1", &["node1", "node2"]);
        program.join().unwrap().unwrap();
    });

    assert_eq!(
        cluster.node("node2").kill_named("corosync", Signal::KILL),
        1
    );
    members("node1", &["node1"]);
}

#[test]
fn cluster_ends_with_its_value_and_leaves_nothing() {
    let cluster = ClusterBuilder::new("brief")
        .databases(1)
        .postgres(false)
        .lock_service(false)
        .up()
        .unwrap();
    let init = cluster.node("node1").init().unwrap();
    let directory = cluster.directory().to_path_buf();
    assert!(init.alive() && directory.exists());
    drop(cluster);
    assert!(!init.alive(), "a process outlived its cluster");
    assert!(
        !directory.exists(),
        "{} is still there",
        directory.display()
    );
}

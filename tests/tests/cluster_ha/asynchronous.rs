//! Three nodes in asynchronous replication with the lock service: a takeover loses a bounded amount,
//! and nothing that a standby which is still there has.

use std::collections::BTreeSet;
use std::time::Duration;

use pha_testbed::ClusterBuilder;
use pha_tests::cluster::{Bed, PATIENCE, must, register, say, scenario};

const CLS: &str = "/opt/pha4pgsql/bin/cls";
const NODES: [&str; 3] = ["node1", "node2", "node3"];

/// Waits until everything that has power agrees on this primary, and all others stream from it.
#[track_caller]
fn settle(bed: &Bed, primary: &str) {
    bed.until(
        &format!("{primary} primary, everybody else streaming"),
        || {
            let row = register(bed)?;
            let on = NODES.iter().filter(|node| bed.node(node).is_on());
            let standbys: BTreeSet<&str> = on.copied().filter(|node| *node != primary).collect();
            let question = "SELECT split_part(application_name, '@', 1) FROM pg_stat_replication \
                        WHERE state = 'streaming' AND sync_state = 'async'";
            let links = bed.sql(primary, question).map_err(|e| e.to_string())?;
            let cib = bed.cib_of(primary).map_err(|e| e.to_string())?;
            let shown = |node: &str| cib.transient(node, "pgsql-status").unwrap_or_default();
            let score = |node: &str| cib.transient(node, "master-pgsql").unwrap_or_default();
            let said: Vec<_> = NODES.iter().map(|n| (shown(n), score(n))).collect();
            let agreed = row.owner == primary
                && links.lines().collect::<BTreeSet<_>>() == standbys
                && (shown(primary), score(primary)) == ("PRI".to_owned(), "1000".to_owned())
                && standbys.iter().all(|node| {
                    (shown(node), score(node)) == ("HS:async".to_owned(), "100".to_owned())
                });
            agreed
                .then_some(())
                .ok_or_else(|| format!("{row:?}, links {links:?}, shown {said:?}"))
        },
    );
}

/// Waits until `standby` has on its disk what `primary` has, which writes no more until it loses its power:
/// no client does, and what writes by itself (snapshots of running transactions, checkpoints, vacuum) is
/// stopped.
#[track_caller]
fn caught_up(bed: &Bed, primary: &str, standby: &str) {
    let writers = "SELECT string_agg(pid::text, ' ') FROM pg_stat_activity WHERE backend_type IN \
        ('autovacuum launcher', 'autovacuum worker', 'background writer', 'checkpointer')";
    let pids = must(bed.sql(primary, writers));
    let stop: Vec<_> = ["kill", "-STOP"]
        .into_iter()
        .chain(pids.split(' '))
        .collect();
    bed.run(primary, &stop);
    let question = format!(
        "SELECT flush_lsn >= pg_current_wal_lsn() FROM pg_stat_replication \
         WHERE split_part(application_name, '@', 1) = '{standby}'"
    );
    bed.until(&format!("{standby} having everything"), || {
        match bed
            .sql(primary, &question)
            .map_err(|e| e.to_string())?
            .as_str()
        {
            "t" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
}

#[track_caller]
fn judged(bed: &Bed) {
    let verdict = must(bed.check(&NODES, Duration::from_secs(20)));
    say(&verdict.to_string());
    assert!(verdict.clean(), "{verdict}");
}

#[test]
fn cluster_async_three_nodes() {
    let builder = ClusterBuilder::new("async").databases(3).rep_mode("async");
    let bed = Bed::up(builder.parameter("async_max_lag", "1").configured(true));

    scenario("asynchronous replication with three nodes: one is promoted, and is healthy");
    settle(&bed, "node1");
    let status = must(
        bed.node("node2")
            .exec(&[CLS, "status", "--check"], PATIENCE),
    );
    assert_eq!(status.code, 0, "{}", status.stdout);
    let shown = must(bed.node("node2").exec(&[CLS, "status"], PATIENCE)).stdout;
    assert!(
        shown.contains("a standby that lacks at most 1 MiB may take over")
            && !shown.contains("every acknowledged commit"),
        "{shown}"
    );

    scenario("a planned switch, and back, loses nothing");
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    bed.run("node1", &[CLS, "online_switch", "--to", "node3"]);
    settle(&bed, "node3");
    must(writer.wait_for(50, PATIENCE));
    bed.run("node1", &[CLS, "online_switch", "--to", "node1"]);
    settle(&bed, "node1");
    must(writer.wait_for(50, PATIENCE));
    must(writer.stop());
    judged(&bed);

    behind_by_a_little(&bed);
    behind_by_too_much(&bed);
}

/// Pacemaker would take either of them, and the first in its order is the one that is behind.
fn behind_by_a_little(bed: &Bed) {
    scenario("the primary is lost: not the standby that is a little behind is promoted");
    for (behind, up_to_date) in [("node2", "node3"), ("node3", "node2")] {
        let term = must(register(bed)).term;
        must(bed.cut_port("node1", behind, 5432));
        let writer = bed.writer();
        must(writer.wait_for(50, PATIENCE));
        must(writer.stop());
        caught_up(bed, "node1", up_to_date);
        must(bed.power_cut("node1"));
        bed.until(&format!("{up_to_date} the primary"), || {
            let row = register(bed)?;
            let taken = row.term > term;
            taken
                .then_some(row.clone())
                .ok_or_else(|| format!("{row:?}"))
        });
        settle(bed, up_to_date);
        must(bed.heal());
        must(bed.boot("node1"));
        // Everybody had a part of what the new primary has, so that all of them follow by themselves.
        settle(bed, up_to_date);
        judged(bed);
        assert_eq!(must(register(bed)).term, term + 1, "one promotion");
        for node in NODES {
            assert_eq!(bed.fail_count("node2", node), "0", "{node}");
        }
        bed.run("node2", &[CLS, "online_switch", "--to", "node1"]);
        settle(bed, "node1");
    }
}

/// More would be lost than is configured, so that nobody takes over.
fn behind_by_too_much(bed: &Bed) {
    scenario("the primary is lost, and every standby is behind by more than may be lost");
    let before = must(register(bed));
    for standby in ["node2", "node3"] {
        must(bed.cut_port("node1", standby, 5432));
    }
    must(bed.sql(
        "node1",
        "CREATE TABLE big AS SELECT generate_series(1, 100000)",
    ));
    let written = must(bed.sql("node1", "SELECT pg_current_wal_flush_lsn()"));
    bed.until("the register to know how far the primary is", || {
        let question = format!("SELECT (positions->>'node1')::pg_lsn >= '{written}' FROM distlock");
        match bed.lock_sql(&question).map_err(|e| e.to_string())?.as_str() {
            "t" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    must(bed.power_cut("node1"));
    bed.until("both gates closed, and a lease that ended long ago", || {
        let cib = bed.cib_of("node2").map_err(|e| e.to_string())?;
        let score = |node| cib.transient(node, "master-pgsql").unwrap_or_default();
        let row = register(bed)?;
        assert_eq!(row.term, before.term, "somebody took over");
        let scores = [score("node2"), score("node3")];
        let closed = scores.iter().all(|score| score == "-INFINITY") && row.expired_for >= 5;
        closed
            .then_some(())
            .ok_or_else(|| format!("{scores:?}, {row:?}"))
    });
    let said = must(bed.node("node2").exec(&[CLS, "status"], PATIENCE)).stdout;
    assert!(said.contains("If it is off, start node1"), "{said}");
    for standby in ["node2", "node3"] {
        let why = bed.logged(standby, "at most 1048576 bytes may be lost");
        assert!(why > 0, "{standby} does not say why it is not promoted");
    }
    must(bed.heal());
    must(bed.boot("node1"));
    settle(bed, "node1");
    let there = must(bed.sql("node1", "SELECT count(*) FROM big"));
    assert_eq!(there, "100000", "nothing was lost");
    judged(bed);
}

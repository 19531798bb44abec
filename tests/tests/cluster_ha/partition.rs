//! The link between the nodes is cut, and both still reach the lock service and the clients.

use pha_testbed::{PGDATA, Signal};
use pha_tests::cluster::{Bed, PATIENCE, SHORT, State, must, register, scenario};

/// Cuts the nodes apart and waits until the primary has said in the register that it is alone and
/// acknowledges again.
fn cut_and_degraded(bed: &Bed) {
    must(bed.cut("node1", "node2"));
    holders_are(bed, &["node1"]);
}

fn holders_are(bed: &Bed, wanted: &[&str]) {
    bed.until(&format!("holders {wanted:?}"), || {
        let row = register(bed)?;
        let holders: Vec<&str> = row.holders.iter().map(String::as_str).collect();
        if holders == wanted {
            Ok(())
        } else {
            Err(format!("{row:?}"))
        }
    });
}

/// A node sees itself as the only member, its gate is closed, and its Pacemaker has nothing to do.
pub(crate) fn gate_closed_and_idle(bed: &Bed, node: &str) {
    bed.until("the standby alone with its gate closed", || {
        let cib = bed.cib_of(node).map_err(|error| error.to_string())?;
        let seen = (cib.members(), cib.transient(node, "master-pgsql"));
        if seen == (vec![node.to_owned()], Some("-INFINITY".to_owned())) {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    });
    bed.run(node, &["crm_resource", "--wait", "--timeout", "60"]);
    assert_eq!(must(bed.sql(node, "SELECT pg_is_in_recovery()")), "t");
}

#[test]
fn cluster_link_between_the_nodes_cut() {
    let bed = Bed::replicating("cut");

    scenario("link between the nodes cut, lock service reachable from both");
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    // A writer at each node: two primaries would both acknowledge.
    let to_standby = bed.writer_to("node2");
    must(writer.wait_for(50, PATIENCE));
    cut_and_degraded(&bed);
    must(writer.wait_for(50, PATIENCE));
    gate_closed_and_idle(&bed, "node2");
    must(writer.wait_for(50, PATIENCE));
    assert_eq!(to_standby.acknowledged(), 0, "the standby accepted writes");
    must(bed.heal());
    must(writer.wait_for(50, PATIENCE));
    assert_eq!(must(to_standby.stop()), 0, "the standby accepted writes");
    let after = bed.conclude(writer, "node1", &["node2"]);
    unchanged(&before, &after);
    assert_eq!(bed.fail_count("node1", "node2"), "0");

    scenario(
        "D4: the wrong side's cluster state wins when the cut is healed, and the register overrules it",
    );
    let writer = bed.writer();
    cut_and_degraded(&bed);
    gate_closed_and_idle(&bed, "node2");
    // The more often a side has changed its CIB, the sooner it wins: Pacemaker takes the highest
    // version number, whatever it says.
    for wrong in 0..200 {
        let value = format!("node2|1|{wrong:016X}");
        let set = [
            "crm_attribute",
            "-t",
            "crm_config",
            "-s",
            "pgsql_replication",
        ];
        bed.run(
            "node2",
            &[&set[..], &["-n", "pgsql_REPL_INFO", "-v", &value]].concat(),
        );
        if wrong >= 20 && versions_ahead(&bed) {
            break;
        }
    }
    for (node, status) in [("node1", "DISCONNECT"), ("node2", "LATEST")] {
        let set = [
            "crm_attribute",
            "-l",
            "forever",
            "-N",
            node,
            "-n",
            "pgsql-data-status",
        ];
        bed.run("node2", &[&set[..], &["-v", status]].concat());
    }
    must(bed.heal());
    must(writer.wait_for(50, PATIENCE));
    let after = bed.conclude(writer, "node1", &["node2"]);
    unchanged(&before, &after);
    settings_that_cannot_be_read(&bed, &before);
}

/// One word in any of its files keeps PostgreSQL from taking up any change of its settings.
fn settings_that_cannot_be_read(bed: &Bed, before: &State) {
    scenario(
        "PostgreSQL does not know a word in the primary's postgresql.conf, and the standby is cut off: the line is named, the epoch does not run away, and what the file of the names says when the standby is back is what is in force",
    );
    let config = format!("{PGDATA}/postgresql.conf");
    let names = "/run/pha4pgsql/pgsql.names.conf";
    bed.run("node1", &["sed", "-i", "$ashared_bufers = 1GB", &config]);
    let shown = must(bed.node("node1").exec(&["cls_status"], SHORT)).stdout;
    assert!(shown.contains("shared_bufers"), "{shown}");
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    let epoch = must(register(bed)).epoch;
    cut_and_degraded(bed);
    bed.until(
        "three monitors that could not let the standby go",
        || match bed.logged("node1", "takes up no change of its settings") {
            0..3 => Err("not yet".to_owned()),
            _ => Ok(()),
        },
    );
    let now = must(register(bed)).epoch;
    assert!(now < epoch + 20, "the epoch went from {epoch} to {now}");
    must(bed.heal());
    holders_are(bed, &["node1", "node2"]);
    let text = bed.run("node1", &["cat", names]);
    assert!(text.contains("node2"), "{text}");
    must(writer.wait_for(50, PATIENCE));
    bed.run("node1", &["sed", "-i", "/shared_bufers/d", &config]);
    must(bed.sql("node1", "SELECT pg_reload_conf()"));
    let after = bed.conclude(writer, "node1", &["node2"]);
    unchanged(before, &after);
    assert_eq!(bed.fail_count("node1", "node1"), "0");
}

/// Whether node2's CIB has a higher version than node1's.
fn versions_ahead(bed: &Bed) -> bool {
    let version = |node: &str| {
        let xml = must(bed.cib_of(node)).xml;
        let number = |name: &str| -> u64 {
            let rest = xml.split_once(&format!(" {name}=\"")).map(|(_, rest)| rest);
            rest.and_then(|rest| rest.split('"').next()?.parse().ok())
                .unwrap()
        };
        (number("admin_epoch"), number("epoch"))
    };
    version("node2") > version("node1")
}

fn unchanged(before: &State, after: &State) {
    assert_eq!(
        (after.timeline, &after.repl_info, after.register.term),
        (before.timeline, &before.repl_info, before.register.term)
    );
}

/// D1 up to the power cut: the primary has acknowledged alone and is gone.
fn degraded_and_gone(bed: &Bed) -> State {
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    cut_and_degraded(bed);
    must(writer.wait_for(100, PATIENCE));
    must(bed.power_cut("node1"));
    must(writer.stop());
    before
}

/// The lease of the dead primary has run out, and the other node has had time for several monitors.
pub(crate) fn lease_long_over(bed: &Bed, owner: &str) {
    bed.until("a lease that ended ten seconds ago", || {
        let row = register(bed)?;
        assert_eq!(row.owner, owner, "the other took the register: {row:?}");
        if row.expired_for >= 10 {
            Ok(())
        } else {
            Err(format!("{row:?}"))
        }
    });
}

/// The primary boots, becomes primary again in place, and nothing is lost.
fn primary_returns(bed: &Bed, before: &State) {
    gate_closed_and_idle(bed, "node2");
    must(bed.heal());
    must(bed.boot("node1"));
    let after = bed.settle("node1", &["node2"]);
    let _ = bed.verdict();
    assert_eq!(
        (after.timeline, &after.repl_info),
        (before.timeline, &before.repl_info)
    );
    assert_eq!(
        after.register.term,
        before.register.term + 1,
        "only node1 was promoted"
    );
    assert_eq!(bed.fail_count("node1", "node2"), "0");
}

#[test]
fn cluster_d1_degraded_primary_lost() {
    let bed = Bed::replicating("d1");

    scenario("D1 a: the primary degraded and lost power, then a cleanup on the standby");
    let before = degraded_and_gone(&bed);
    bed.cleanup("node2");
    lease_long_over(&bed, "node1");
    bed.cleanup("node2");
    primary_returns(&bed, &before);

    scenario("D1 b: the primary degraded and lost power, then the cut is healed");
    let before = degraded_and_gone(&bed);
    must(bed.heal());
    lease_long_over(&bed, "node1");
    primary_returns(&bed, &before);

    scenario("D1 c: the primary degraded and lost power, then the lease runs out");
    let before = degraded_and_gone(&bed);
    lease_long_over(&bed, "node1");
    primary_returns(&bed, &before);

    scenario("a commit in doubt is seen only when no other node can become primary without it");
    let before = in_doubt_and_gone(&bed);
    lease_long_over(&bed, "node1");
    primary_returns(&bed, &before);
    assert_eq!(seen_in_doubt(&bed, "node1").as_deref(), Ok("t"));
}

/// A commit waits for a standby that never gets it when the primary's PostgreSQL dies. After the
/// recovery everybody sees it, so the register must name nobody else by then.
fn in_doubt_and_gone(bed: &Bed) -> State {
    let before = bed.settle("node1", &["node2"]);
    // The commit is to wait: a standby that has been missed is left behind.
    must(bed.sql("node1", "ALTER SYSTEM SET wal_sender_timeout = '60s'"));
    must(bed.sql("node1", "SELECT pg_reload_conf()"));
    must(bed.cut_port("node1", "node2", 5432));
    std::thread::scope(|scope| {
        let commit = scope.spawn(|| bed.sql("node1", "CREATE TABLE in_doubt ()"));
        a_commit_waits(bed, "node1", "CREATE TABLE in_doubt ()");
        assert!(bed.node("node1").kill_postmaster(Signal::KILL));
        let answer = commit.join().expect("the session of the commit");
        assert!(answer.is_err(), "acknowledged without the standby");
    });
    bed.until(
        "a primary again that shows the commit",
        || match seen_in_doubt(bed, "node1")?.as_str() {
            "t" => Ok(()),
            other => Err(format!("seen: {other}")),
        },
    );
    let row = must(register(bed));
    assert!(row.holders.iter().eq(["node1"]), "{row:?}");
    // What shows the primary comes after what it keeps of its reign, without which a new timeline
    // would begin (R2).
    bed.until("a promotion that is complete", || {
        let cib = bed.cib_of("node1").map_err(|error| error.to_string())?;
        match cib.transient("node1", "pgsql-status").as_deref() {
            Some("PRI") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    must(bed.power_cut("node1"));
    State {
        register: row,
        ..before
    }
}

/// The session of this statement waits for the standby: what it has committed is on the disk here.
pub(crate) fn a_commit_waits(bed: &Bed, node: &str, statement: &str) {
    let waiting = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query = '{statement}'"
    );
    bed.until("a commit that waits for the standby", || {
        let found = bed.sql(node, &waiting).map_err(|e| e.to_string())?;
        match found.as_str() {
            "1" => Ok(()),
            other => Err(format!("{other} sessions wait")),
        }
    });
}

fn seen_in_doubt(bed: &Bed, node: &str) -> Result<String, String> {
    bed.sql(
        node,
        "SELECT to_regclass('in_doubt') IS NOT NULL AND NOT pg_is_in_recovery()",
    )
    .map_err(|error| error.to_string())
}

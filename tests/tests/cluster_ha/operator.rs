//! The operator's commands that change who has which data, on a real cluster: the planned switch,
//! the rebuild, the emergency election, the repair.

use pha_core::register::Memory;
use pha_testbed::Writer;
use pha_tests::cluster::{Bed, PATIENCE, agree, must, register, scenario};

use crate::commands::{cls, ends, history};
use crate::start::pg_ctl;

const DATA: &str = "/data/postgresql/data";

/// Nothing of an operation stays in the cluster's configuration.
fn nothing_left(bed: &Bed) {
    let xml = bed.run("node1", &["cibadmin", "--query", "--scope=configuration"]);
    for trace in ["cli-prefer", "cli-ban", "pha4pgsql_operation"] {
        assert!(!xml.contains(trace), "{trace} is left in the configuration");
    }
}

fn files_beside_the_data(bed: &Bed, node: &str) -> String {
    bed.run(node, &["ls", "/data/postgresql"])
}

/// Tablespaces and a WAL directory outside of the data directory are kept with it, and apart from the new copy.
fn what_is_kept_is_whole(bed: &Bed) {
    scenario(
        "old data with a tablespace and a WAL directory elsewhere are kept whole beside the copy",
    );
    let rebuild = |words: &[&str]| {
        ends(bed, "node1", &["standby_node", "node2"], 0);
        let said = ends(bed, "node2", words, 0);
        ends(bed, "node1", &["unstandby_node", "node2"], 0);
        bed.settle("node1", &["node2"]);
        said
    };
    bed.run("node2", &["sh", "-ec", "rm -r /data/postgresql/data.old-*"]);
    for node in ["node1", "node2"] {
        let words = ["-d", "-o", "postgres", "-m", "700", "/data/postgresql/ts"];
        bed.run(node, &[&["install"], &words[..]].concat());
    }
    must(bed.sql(
        "node1",
        "CREATE TABLESPACE ts LOCATION '/data/postgresql/ts'",
    ));
    must(bed.sql("node1", "CREATE TABLE t TABLESPACE ts AS SELECT 'old' AS v"));
    bed.settle("node1", &["node2"]);
    // The tablespace is taken by what the data that are there have in it.
    rebuild(&[
        "rebuild_slave",
        "--keep-old",
        "--waldir",
        "/data/postgresql/wal",
    ]);
    bed.run("node2", &["sh", "-ec", "rm -r /data/postgresql/*.old-*"]);
    let said = rebuild(&["rebuild_slave", "--keep-old"]);
    must(bed.sql("node1", "INSERT INTO t VALUES ('new')"));
    let beside = files_beside_the_data(bed, "node2");
    let kept: Vec<&str> = beside
        .lines()
        .filter(|name| name.contains(".old-"))
        .collect();
    assert_eq!(kept.len(), 3, "{beside}");
    for name in &kept {
        assert!(said.contains(&format!("/data/postgresql/{name}")), "{said}");
    }
    let by_hand = "cd /data/postgresql/data.old-*; rm -f standby.signal; \
        own() { runuser -u postgres -- \"$@\"; }; bin=$(echo /usr/lib/postgresql/*/bin); \
        own $bin/pg_ctl -D \"$PWD\" -w -l /tmp/kept.log -o \"-p 6000 -c listen_addresses='' \
        -c unix_socket_directories=/tmp -c archive_mode=off -c synchronous_standby_names='' \
        -c primary_conninfo='' -c default_transaction_read_only=on\" start >/dev/null; \
        own psql -h /tmp -p 6000 -d postgres -XAtc 'SELECT v FROM t'; \
        own $bin/pg_ctl -D \"$PWD\" stop >/dev/null; rm -r /data/postgresql/*.old-*";
    assert_eq!(bed.run("node2", &["sh", "-ec", by_hand]).trim(), "old");
    bed.settle("node1", &["node2"]);
    let words = "SELECT string_agg(v, ',') FROM t";
    bed.until(
        "the new copy to have what was written since",
        || match bed.sql("node2", words) {
            Ok(found) if found == "old,new" => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
    must(bed.sql("node1", "DROP TABLE t"));
    must(bed.sql("node1", "DROP TABLESPACE ts"));
    for node in ["node1", "node2"] {
        bed.until("the tablespace to be gone", || {
            let gone = bed
                .node(node)
                .run(&["rmdir", "/data/postgresql/ts"], PATIENCE);
            gone.map(drop).map_err(|error| error.to_string())
        });
    }
}

#[test]
fn cluster_operator_switches_rebuilds_recovers_and_repairs() {
    let bed = Bed::replicating("operator");
    let before = bed.settle("node1", &["node2"]);

    scenario("a planned switch there and back, from either node, under a writer");
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    let said = ends(&bed, "node2", &["online_switch", "--dry-run"], 0);
    assert!(said.contains("nothing was done"), "{said}");
    ends(&bed, "node2", &["online_switch"], 0);
    let there = bed.settle("node2", &["node1"]);
    assert_eq!(there.timeline, before.timeline + 1);
    nothing_left(&bed);
    must(writer.wait_for(50, PATIENCE));
    ends(&bed, "node2", &["online_switch", "--to", "node1"], 0);
    let back = bed.conclude(writer, "node1", &["node2"]);
    assert_eq!(back.timeline, before.timeline + 2);
    nothing_left(&bed);
    ends(&bed, "node1", &["online_switch", "--to", "node1"], 0);

    scenario("what a rebuild refuses, and a failed one that leaves the old data");
    ends(&bed, "node2", &["rebuild_slave"], 10);
    ends(&bed, "node1", &["rebuild_slave"], 10);
    ends(&bed, "node1", &["standby_node", "node2"], 0);
    let said = ends(&bed, "node2", &["rebuild_slave"], 10);
    assert!(said.contains("not empty"), "{said}");
    let words = ["rebuild_slave", "--keep-old", "--waldir", "/proc/nowhere"];
    let said = ends(&bed, "node2", &words, 10);
    assert!(
        said.contains("on the file system of /proc/nowhere"),
        "{said}"
    );
    let words = [
        "rebuild_slave",
        "--keep-old",
        "--tablespace-mapping",
        "nonsense",
    ];
    let said = ends(&bed, "node2", &words, 1);
    assert!(said.contains("where they were"), "{said}");
    assert_eq!(files_beside_the_data(&bed, "node2").trim(), "data");
    // What the database's account may not write, root does not move for it.
    let link = format!("{DATA}/pg_tblspc/99999");
    bed.run("node2", &["ln", "-s", "/usr/local/bin", &link]);
    let said = ends(&bed, "node2", &["rebuild_slave", "--keep-old"], 10);
    assert!(said.contains("leads to /usr/local/bin"), "{said}");
    bed.run("node2", &["rm", &link]);
    assert_eq!(files_beside_the_data(&bed, "node2").trim(), "data");
    let row = must(register(&bed));
    assert!(!row.holders.contains("node2"), "it has left: {row:?}");

    scenario("a rebuild keeps the old data, of another database at that, and the configuration");
    bed.run(
        "node2",
        &[
            "sh",
            "-ec",
            "cd /data/postgresql; mv data mine; \
             runuser -u postgres -- /usr/lib/postgresql/*/bin/initdb -A trust -D data; \
             cp -p mine/*.conf data; rm -r mine; echo '# of node2' >>data/postgresql.conf",
        ],
    );
    let said = ends(
        &bed,
        "node1",
        &["rebuild_slave", "--keep-old", "--node", "node2"],
        0,
    );
    assert!(said.contains("cls_unstandby_node node2"), "{said}");
    let conf = bed.run("node2", &["tail", "-1", &format!("{DATA}/postgresql.conf")]);
    assert_eq!(conf.trim(), "# of node2");
    assert!(files_beside_the_data(&bed, "node2").contains("data.old-"));
    ends(&bed, "node1", &["unstandby_node", "node2"], 0);
    bed.settle("node1", &["node2"]);
    let slots = must(bed.sql("node1", "SELECT count(*) FROM pg_replication_slots"));
    assert_eq!(slots, "0", "the slot of the copy stays");
    slots_of_copies(&bed);
    let _ = bed.verdict();

    what_is_kept_is_whole(&bed);

    an_override_beside_a_living_primary(&bed);

    scenario("the only holder is lost: an operator goes on with the other node");
    must(bed.cut("node1", "node2"));
    alone_in_the_register(&bed);
    // A commit that the operator gives up.
    must(bed.sql("node1", "CREATE TABLE only_there ()"));
    must(bed.power_cut("node1"));
    must(bed.heal());
    bed.until("the end of the lease, and of the wait for it", || {
        let words = ["recovery_master", "--off", "node1", "--confirm", "nobody"];
        let output = cls(&bed, "node2", &words);
        let said = output.stderr;
        if said.contains("is not node2") {
            Ok(())
        } else {
            Err(said)
        }
    });
    let words = ["recovery_master", "--off", "node1", "--confirm", "node2"];
    let said = ends(&bed, "node2", &words, 0);
    assert!(said.contains("node2 is primary"), "{said}");
    assert!(said.contains("not known to hold"), "{said}");
    nothing_left_on(&bed, "node2");

    let here = started_by_hand(&bed);

    scenario("the old primary, which has WAL of its own, is repaired");
    must(bed.start_pacemaker("node1"));
    bed.until("the old primary to be refused", || {
        match bed.refusal("node2", "node1") {
            Some(reason) if reason.contains("cls_repair_slave") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    assert_eq!(must(here.stop()), 0, "both nodes acknowledged");
    let said = ends(&bed, "node2", &["repair_slave", "--node", "node1"], 0);
    assert!(said.contains("slave recovery of node1 successed"), "{said}");
    bed.settle("node2", &["node1"]);
    assert_eq!(files_beside_the_data(&bed, "node1").trim(), "data");
    let said = ends(&bed, "node1", &["repair_slave"], 0);
    assert!(said.contains("streams from node2 already"), "{said}");
    nothing_left(&bed);
    let _ = bed.verdict();

    told_by_the_history(&bed);
}

/// R15: that commits wait for nobody on the only holder is over when its machine has been off.
fn started_by_hand(bed: &Bed) -> Writer {
    scenario(
        "the machine of the old primary is on again, and somebody starts PostgreSQL before Pacemaker: it acknowledges nothing beside its successor",
    );
    must(bed.power_on("node1"));
    pg_ctl(bed, "node1", &["start"]);
    let (here, there) = (bed.writer_to("node1"), bed.writer_to("node2"));
    must(there.wait_for(50, PATIENCE));
    bed.until("a commit on the old primary that waits", || {
        let waiting = bed.sql(
            "node1",
            "SELECT string_agg(wait_event, ' ') FROM pg_stat_activity",
        );
        match waiting {
            Ok(events) if events.contains("SyncRep") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    must(there.wait_for(200, PATIENCE));
    assert_eq!(here.acknowledged(), 0, "both nodes acknowledge");
    must(there.stop());
    here
}

fn told_by_the_history(bed: &Bed) {
    scenario(
        "cls_history tells the switches, who ordered them, and what the decision may have lost",
    );
    let events = history(bed, "node1", &["switch", "recovery", "elected"]);
    let kinds: Vec<&str> = events.iter().filter_map(|e| e["kind"].as_str()).collect();
    assert_eq!(
        kinds,
        ["switch", "switch", "recovery", "elected"],
        "{events:?}"
    );
    for (switch, from, to) in [
        (&events[0], "node1", "node2"),
        (&events[1], "node2", "node1"),
    ] {
        assert_eq!(
            (&switch["from"], &switch["node"]),
            (&from.into(), &to.into())
        );
        let cause = &switch["cause"];
        assert_eq!(
            (&cause["what"], &cause["who"]),
            (&"command".into(), &"root".into())
        );
        assert_eq!(
            (&cause["command"], &cause["node"]),
            (&"cls_online_switch".into(), &"node2".into())
        );
        assert_eq!(switch["lost"]["what"], "nothing");
        let outage = &switch["outage"];
        let (least, most) = (&outage["at_least_seconds"], &outage["at_most_seconds"]);
        assert!(
            least.as_f64() > Some(0.0) && most.as_f64() >= least.as_f64(),
            "{outage}"
        );
    }
    let lost = &events[2]["lost"];
    assert_eq!(
        (&lost["what"], &lost["holders"][0]),
        (&"possible".into(), &"node1".into())
    );
    let page = cls(bed, "node2", &["history", "--html"]).text().to_string();
    assert!(
        page.contains("<svg") && page.trim_end().ends_with("</html>"),
        "{page}"
    );
    ends(bed, "node2", &["history", "--html", "--json"], 100);
}

fn alone_in_the_register(bed: &Bed) {
    bed.until("the primary alone in the register", || {
        let row = register(bed)?;
        if row.holders.iter().eq(["node1"]) {
            Ok(())
        } else {
            Err(format!("{row:?}"))
        }
    });
}

/// R15: the only holder needs no lease and serves on, cut off from everything but its clients. What
/// takes the register from it then is an operator alone, who must have switched it off.
fn an_override_beside_a_living_primary(bed: &Bed) {
    scenario("the only holder serves on without a lease: no operator goes on beside it");
    let (here, there) = (bed.writer_to("node1"), bed.writer_to("node2"));
    must(bed.cut("node1", "node2"));
    alone_in_the_register(bed);
    // The guard renews more often than any monitor does: of three renewals one is its own, by which it
    // has seen the row. Before that it has to fear the other holder.
    let mut renewals = std::collections::BTreeSet::new();
    bed.until("renewals of the row as it is", || {
        let ts = bed.lock_sql("SELECT ts FROM distlock");
        renewals.insert(ts.map_err(|error| error.to_string())?);
        (renewals.len() > 3)
            .then_some(())
            .ok_or_else(|| format!("{renewals:?}"))
    });
    must(bed.cut("node1", "node3"));
    bed.until("the lease over", || {
        let row = register(bed)?;
        (row.expired_for > 1)
            .then_some(())
            .ok_or_else(|| format!("{row:?}"))
    });
    must(here.wait_for(50, PATIENCE));
    let shown = cls(bed, "node2", &["status"]).stdout;
    assert!(
        shown.contains("node1, which it does not see, may be alive and"),
        "{shown}"
    );
    let said = ends(bed, "node2", &["recovery_master", "--confirm", "node2"], 10);
    assert!(said.contains("may be alive and serving"), "{said}");
    assert!(said.contains("--off node1"), "{said}");
    must(here.wait_for(50, PATIENCE));
    must(bed.heal());
    must(here.wait_for(50, PATIENCE));
    assert_eq!(must(there.stop()), 0, "both nodes acknowledged");
    let _ = bed.conclude(here, "node1", &["node2"]);
}

fn nothing_left_on(bed: &Bed, node: &str) {
    let xml = bed.run(node, &["cibadmin", "--query", "--scope=configuration"]);
    assert!(!xml.contains("pha4pgsql_operation"));
}

/// What somebody has done to the register, and what the primary then says.
const DAMAGES: [(&str, &str, &str); 7] = [
    ("row deleted", "DELETE FROM distlock", "no row of this name"),
    (
        "an older row restored",
        "UPDATE distlock SET term = term - 1, epoch = epoch - 1",
        "was restored",
    ),
    (
        "the same term at an older epoch restored",
        "UPDATE distlock SET epoch = epoch - 1",
        "was restored",
    ),
    (
        "row edited by hand",
        "UPDATE distlock SET holders = '{\"no node\"}'",
        "row is damaged",
    ),
    (
        "the row of another cluster whose nodes have the same names",
        "UPDATE distlock SET system_identifier = '7000000000000000001', expired_time = '0'",
        "belongs to another database",
    ),
    (
        "a term and an epoch far ahead",
        "UPDATE distlock SET term = term + 2000000, epoch = epoch + 2000000",
        "more than 1,048,576 (2^20) at once",
    ),
    (
        "numbers that cannot be raised any more",
        "UPDATE distlock SET term = 9223372036854775807, epoch = 9223372036854775807",
        "row is damaged: term is 9223372036854775807",
    ),
];

#[test]
fn cluster_register_damaged_and_mended_by_one_command() {
    let bed = Bed::replicating("damaged");
    for (what, sql, says) in DAMAGES {
        scenario(&format!("bad input: {what}, beside a running primary"));
        let before = bed.settle("node1", &["node2"]);
        let writer = bed.writer();
        must(writer.wait_for(50, PATIENCE));
        everybody_has_seen_it(&bed);
        let said = bed.logged("node1", says);
        let foreign = sql.contains("system_identifier");
        must(bed.lock_sql(sql));
        bed.until(
            "the primary to say so, and the standby's gate closed",
            || {
                let cib = bed.cib_of("node2").map_err(|error| error.to_string())?;
                let score = cib.transient("node2", "master-pgsql");
                let more = bed.logged("node1", says) - said;
                if more > 0 && score.as_deref() == Some("-INFINITY") {
                    Ok(())
                } else {
                    Err(format!("said {more} times, score of node2 {score:?}"))
                }
            },
        );
        assert!(bed.logged("node1", "cls_recovery_master") > 0);
        must(writer.wait_for(50, PATIENCE));
        assert_eq!(must(bed.sql("node2", "SELECT pg_is_in_recovery()")), "t");

        // What such a row says is not shown as if it were so.
        let shown = cls(&bed, "node1", &["status"]).stdout;
        assert!(
            !shown.contains("\n  every acknowledged commit is on"),
            "{shown}"
        );
        // To take it from another cluster is not the first thing to be typed.
        assert!(
            !foreign || shown.contains("next: if another cluster uses the same lock name"),
            "{shown}"
        );

        // Not in place of the primary, and then by the one command.
        let output = cls(&bed, "node2", &["recovery_master", "--node", "node2"]);
        assert_ne!(output.code, 0, "{}", output.stderr);
        assert!(
            output.stderr.contains("node1 is the primary"),
            "{}",
            output.stderr
        );
        let said = ends(&bed, "node2", &["recovery_master", "--confirm", "node1"], 0);
        assert!(said.contains("the register is mended"), "{said}");
        // The history shows the damage, which an agreement on later states would take for a fault.
        must(bed.lock_sql("DELETE FROM distlock_history"));
        must(writer.wait_for(50, PATIENCE));
        let after = bed.conclude(writer, "node1", &["node2"]);
        assert_eq!(after.timeline, before.timeline, "nothing was promoted");
        assert!(after.register.term > before.register.term);
        assert!(after.register.epoch > before.register.epoch);
        for node in ["node1", "node2"] {
            assert_eq!(bed.fail_count("node1", node), "0", "{node}");
        }
    }

    for (what, sql, _) in &DAMAGES[..4] {
        damaged_and_the_primary_lost(&bed, what, sql);
    }
}

/// Waits until every node has durably seen the register as it is: that is what tells that it was put back.
#[track_caller]
fn everybody_has_seen_it(bed: &Bed) {
    bed.until("every node to remember the register", || {
        let row = register(bed)?;
        let row = (row.term, row.epoch);
        let memories = ["node1", "node2"].map(|node| remembered(bed, node));
        let same = memories.iter().all(|memory| memory.as_ref() == Ok(&row));
        same.then_some(())
            .ok_or_else(|| format!("{memories:?} beside {row:?}"))
    });
}

/// The term and the epoch in a node's memory.
fn remembered(bed: &Bed, node: &str) -> Result<(u64, u64), String> {
    let read = bed.node(node).read("/var/lib/pha4pgsql/pgsql.json");
    let bytes = read.map_err(|error| error.to_string())?;
    let memory: Memory = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    Ok((memory.term, memory.epoch))
}

fn damaged_and_the_primary_lost(bed: &Bed, what: &str, sql: &str) {
    scenario(&format!(
        "bad input: {what}, and the primary loses its power: nobody is promoted"
    ));
    let before = bed.until("a primary and its standby", || {
        let state = agree(bed)?;
        match state.standbys.len() {
            1 => Ok(state),
            _ => Err(format!("{state:?}")),
        }
    });
    everybody_has_seen_it(bed);
    let (primary, standby) = (before.primary.as_str(), before.standbys[0].as_str());
    must(bed.lock_sql(sql));
    must(bed.power_cut(primary));
    bed.until(
        "the standby alone, its gate closed, and the lease long over",
        || {
            let cib = bed.cib_of(standby).map_err(|error| error.to_string())?;
            let left = "SELECT count(*) FROM distlock \
             WHERE clock_timestamp() < ts + expired_time + interval '5 seconds'";
            let left = bed.lock_sql(left).map_err(|error| error.to_string())?;
            let seen = (cib.members(), cib.transient(standby, "master-pgsql"), left);
            let wanted = (
                vec![standby.to_owned()],
                Some("-INFINITY".to_owned()),
                "0".to_owned(),
            );
            (seen == wanted)
                .then_some(())
                .ok_or_else(|| format!("{seen:?}"))
        },
    );
    bed.run(standby, &["crm_resource", "--wait", "--timeout", "60"]);
    assert_eq!(must(bed.sql(standby, "SELECT pg_is_in_recovery()")), "t");
    assert_eq!(bed.fail_count(standby, standby), "0");
    let words = ["recovery_master", "--off", primary, "--confirm", standby];
    let said = ends(bed, standby, &words, 0);
    assert!(said.contains(&format!("{standby} is primary")), "{said}");
    let after = must(register(bed));
    // The history shows the damage, which an agreement on later states would take for a fault.
    must(bed.lock_sql("DELETE FROM distlock_history"));
    assert_eq!(after.owner, standby);
    assert!(after.term > before.register.term && after.epoch > before.register.epoch);
    must(bed.boot(primary));
    bed.rejoin(primary, standby);
    nothing_left(bed);
}

/// What a copy leaves on its primary that is cut off from it in the middle.
fn slots_of_copies(bed: &Bed) {
    scenario(
        "the slot of a copy that was cut off: dropped where its node streams and on a standby, named where neither is known",
    );
    for (node, slot) in [
        ("node1", "pha4pgsql_copy_node2"),
        ("node2", "pha4pgsql_copy_node1"),
        ("node1", "pha4pgsql_copy_gone"),
    ] {
        let made = format!("SELECT pg_create_physical_replication_slot('{slot}', true)");
        must(bed.sql(node, &made));
    }
    let left = |node: &str| {
        let names = "SELECT coalesce(string_agg(slot_name, ' '), '') FROM pg_replication_slots";
        bed.sql(node, names).map_err(|error| error.to_string())
    };
    bed.until("the slots that are of no use dropped", || {
        let left = (left("node1")?, left("node2")?);
        let known = (left.0 == "pha4pgsql_copy_gone" && left.1.is_empty()).then_some(());
        known.ok_or_else(|| format!("{left:?}"))
    });
    let said = cls(bed, "node1", &["status"]).stdout;
    assert!(
        said.contains("the replication slot pha4pgsql_copy_gone of an interrupted copy keeps"),
        "{said}"
    );
    let advice = "psql -c \"select pg_drop_replication_slot('pha4pgsql_copy_gone')\"";
    assert!(said.contains(advice), "{said}");
    bed.run(
        "node1",
        &["runuser", "-u", "postgres", "--", "sh", "-c", advice],
    );
    assert_eq!(must(left("node1")), "");
}

//! Commits in doubt and data that are older than what the register knows: what was shown or
//! acknowledged once is not taken back by the order in which machines lose their power and come back.

use pha_testbed::{PGDATA, Signal};
use pha_tests::cluster::{Bed, PATIENCE, Register, SHORT, State, agree, must, register, scenario};

use crate::disasters::startup;
use crate::lock::{in_service, node2_stopped, row_with};
use crate::partition::{a_commit_waits, gate_closed_and_idle, lease_long_over};

#[test]
fn cluster_in_doubt_and_put_back() {
    let bed = Bed::replicating("doubt");
    older_data_put_back(&bed);
    only_the_primary_boots(&bed);
    postmaster_and_standby_at_once(&bed);
    in_doubt_after_a_promotion(&bed);
    rejoins_by_itself(&bed);
}

/// A node that came back alone has not become primary: not although the lease is long over, and not
/// by an operator's cleanup. The register is as it was.
fn is_not_promoted(bed: &Bed, node: &str, row: &Register) {
    gate_closed_and_idle(bed, node);
    bed.cleanup(node);
    lease_long_over(bed, &row.owner);
    bed.cleanup(node);
    gate_closed_and_idle(bed, node);
    let now = must(register(bed));
    assert_eq!(
        (&now.owner, now.term, now.epoch, &now.holders),
        (&row.owner, row.term, row.epoch, &row.holders)
    );
    assert_eq!(bed.fail_count(node, node), "0");
}

/// The same primary serves again, by one promotion, in place.
fn back_in_place(before: &State, after: &State) {
    assert_eq!(
        (after.timeline, &after.repl_info, after.register.term),
        (before.timeline, &before.repl_info, before.register.term + 1)
    );
}

/// R10: the row says that node2 holds everything, and its disk has less than the row records.
fn older_data_put_back(bed: &Bed) {
    scenario(
        "both nodes lose their power at once, and the standby's data directory is replaced by an older copy of its own: it is not promoted although the register names it as a holder",
    );
    bed.settle("node1", &["node2"]);
    in_service(bed, "node1", false);
    node2_stopped(bed);
    let older = "/data/postgresql/older";
    bed.run("node2", &["cp", "-a", PGDATA, older]);
    let copied = must(bed.sql("node1", "SELECT pg_current_wal_lsn()"));
    in_service(bed, "node1", true);
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    bed.until("more recorded for node2 than the copy has", || {
        let ahead = format!("SELECT (positions->>'node2')::pg_lsn > '{copied}' FROM distlock");
        match bed.lock_sql(&ahead).map_err(|e| e.to_string())?.as_str() {
            "t" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    must(bed.power_cut_all(&["node1", "node2"]));
    must(writer.stop());
    let row = must(register(bed));
    assert!(row.holders.contains("node2"), "{row:?}");
    let node2 = bed.node("node2");
    must(node2.on_its_disk(&["rm", "-r", "data/postgresql/data"]));
    must(node2.on_its_disk(&["mv", "data/postgresql/older", "data/postgresql/data"]));
    must(bed.boot("node2"));
    // It leaves the holders before it starts: what it receives may come as far as was recorded and
    // not be what was recorded.
    let left = row_with(bed, row.epoch, &["node1"]);
    is_not_promoted(bed, "node2", &left);
    assert_eq!(left.term, row.term);
    let why = "its data were put back to an older state";
    assert!(bed.logged("node2", why) > 0, "node2 does not say why");
    let status = must(bed.node("node2").exec(&["cls_status"], SHORT)).stdout;
    assert!(
        status.contains("start node1: no other node has"),
        "{status}"
    );
    must(bed.boot("node1"));
    back_in_place(&before, &bed.settle("node1", &["node2"]));
    let _ = bed.verdict();
}

/// The names on the primary's disk are those of a standby that is not there any more.
fn only_the_primary_boots(bed: &Bed) {
    scenario(
        "both nodes lose their power at once and only the primary boots: it serves, and its commits do not wait for the standby that was named",
    );
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(bed.power_cut_all(&["node1", "node2"]));
    must(bed.boot("node1"));
    must(writer.wait_for(50, PATIENCE));
    back_in_place(&before, &bed.settle("node1", &[]));
    must(bed.boot("node2"));
    let _ = bed.conclude(writer, "node1", &["node2"]);
}

fn postmaster_and_standby_at_once(bed: &Bed) {
    scenario(
        "kill -9 of the primary's postmaster in the moment in which the standby loses its power: it serves again, and its commits do not wait for the standby",
    );
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    assert!(bed.node("node1").kill_postmaster(Signal::KILL));
    must(bed.power_cut("node2"));
    must(writer.wait_for(50, PATIENCE));
    back_in_place(&before, &bed.settle("node1", &[]));
    assert_eq!(bed.fail_count("node1", "node1"), "1");
    must(bed.boot("node2"));
    let _ = bed.conclude(writer, "node1", &["node2"]);
}

/// The row that a new primary shows although nobody was told of it stays, since nobody else may
/// become primary.
fn in_doubt_after_a_promotion(bed: &Bed) {
    scenario(
        "a commit has reached the standby, and the primary loses its power before the client has an answer: the promoted standby shows it, goes on alone and loses its power; the old primary comes back alone and is not promoted",
    );
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(bed.sql("node1", "CREATE TABLE in_doubt (number integer)"));
    must(writer.stop());
    nothing_else_writes(bed, "node1");
    // The standby has the commit on its disk and confirms that; what this one waits for is its replay.
    let statement = "SET synchronous_commit = remote_apply; INSERT INTO in_doubt VALUES (1)";
    assert_eq!(startup(bed, "node2", Signal::STOP), 1);
    std::thread::scope(|scope| {
        let commit = scope.spawn(|| bed.sql("node1", statement));
        a_commit_waits(bed, "node1", statement);
        let flushed = must(bed.sql("node1", "SELECT pg_current_wal_flush_lsn()"));
        bed.until("the commit on the standby's disk", || {
            let there = format!("SELECT flush_lsn >= '{flushed}' FROM pg_stat_replication");
            match bed
                .sql("node1", &there)
                .map_err(|e| e.to_string())?
                .as_str()
            {
                "t" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        must(bed.power_cut("node1"));
        let answer = commit.join().expect("the session of the commit");
        assert!(answer.is_err(), "acknowledged without the standby's answer");
    });
    assert_eq!(startup(bed, "node2", Signal::CONT), 1);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    let over = bed.settle("node2", &[]);
    assert_eq!(over.timeline, before.timeline + 1);
    assert_eq!(over.register.term, before.register.term + 1);
    in_doubt_is_shown(bed, "node2");
    must(bed.power_cut("node2"));
    must(writer.stop());
    must(bed.boot("node1"));
    is_not_promoted(bed, "node1", &over.register);
    must(bed.boot("node2"));
    let there = bed.until("node2 as the primary", || {
        let state = agree(bed)?;
        (state.primary == "node2")
            .then_some(state)
            .ok_or_else(String::new)
    });
    back_in_place(&over, &there);
    in_doubt_is_shown(bed, "node2");
    bed.rejoin("node1", "node2");
    let _ = bed.verdict();
}

/// Stops the processes of a primary that write WAL by themselves. With a single record that its
/// standby lacks, it would be refused when it comes back.
fn nothing_else_writes(bed: &Bed, primary: &str) {
    for kind in ["background", "checkpointer", "autovacuum"] {
        let stopped = bed.node(primary).kill_server_process(kind, Signal::STOP);
        assert_ne!(stopped, 0, "{kind}");
    }
}

fn in_doubt_is_shown(bed: &Bed, primary: &str) {
    let question = "SELECT number FROM in_doubt WHERE NOT pg_is_in_recovery()";
    assert_eq!(must(bed.sql(primary, question)), "1");
}

/// Nothing on the old primary's disk is unknown to the new one, so nothing has to be repaired.
fn rejoins_by_itself(bed: &Bed) {
    scenario(
        "a primary without anything that its standby lacks loses its power: it comes back as a standby by itself",
    );
    let before = bed.settle("node2", &["node1"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(writer.stop());
    nothing_else_writes(bed, "node2");
    bed.until("everything flushed and replayed by the standby", || {
        let question = "SELECT count(*) FROM pg_stat_replication \
             WHERE least(flush_lsn, replay_lsn) >= pg_current_wal_insert_lsn()";
        match bed
            .sql("node2", question)
            .map_err(|e| e.to_string())?
            .as_str()
        {
            "1" => Ok(()),
            other => Err(format!("{other} standbys")),
        }
    });
    let refusals = [
        bed.logged("node1", "cls_repair"),
        bed.logged("node2", "cls_repair"),
    ];
    must(bed.power_cut("node2"));
    let over = bed.settle("node1", &[]);
    assert_eq!(over.timeline, before.timeline + 1);
    must(bed.boot("node2"));
    let after = bed.settle("node1", &["node2"]);
    assert_eq!(
        (after.timeline, after.register.term),
        (over.timeline, over.register.term)
    );
    let now = [
        bed.logged("node1", "cls_repair"),
        bed.logged("node2", "cls_repair"),
    ];
    assert_eq!(now, refusals, "it was refused on the way");
    assert_eq!(bed.fail_count("node1", "node2"), "0");
    let _ = bed.verdict();
}

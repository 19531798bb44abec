//! What stands still for a while and goes on: a database without a free connection or with a stopped
//! postmaster is not restarted for that, and Pacemaker's attributes that are old promote nobody that
//! must not be.

use std::thread;

use pha_testbed::{Process, Signal};
use pha_tests::cluster::{
    Bed, CLONE, PATIENCE, Register, State, agree, must, register, say, scenario,
};

use crate::commands::cls;

/// Who reigns, since when, on which timeline.
fn reign(state: &State) -> (&str, u32, u64) {
    (&state.primary, state.timeline, state.register.term)
}

/// Lets something stand on a node for several monitors that complain of it in these words, under a
/// writer, and sees that the database is the same one afterwards, and nothing was counted.
fn endured(bed: &Bed, node: &str, words: &str, times: usize, begin: impl Fn(), end: impl Fn()) {
    let before = bed.settle("node1", &["node2"]);
    let postmaster = bed.node(node).postmaster_pid();
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    let said = bed.logged(node, words);
    begin();
    bed.until(&format!("{times} monitors that say {words:?}"), || {
        match bed.logged(node, words) - said {
            more if more >= times => Ok(()),
            more => Err(format!("{more}")),
        }
    });
    must(writer.wait_for(50, PATIENCE));
    end();
    let after = bed.conclude(writer, "node1", &["node2"]);
    assert_eq!(reign(&after), reign(&before));
    assert_eq!(bed.node(node).postmaster_pid(), postmaster);
    for node in ["node1", "node2"] {
        assert_eq!(bed.fail_count("node1", node), "0", "{node}");
    }
}

#[test]
fn cluster_stalled_databases_are_not_restarted() {
    let bed = Bed::replicating("stalled");
    sleepers(&bed);
    bed.until("the database on node2", || {
        let there = "SELECT count(*) FROM pg_database WHERE datname = 'sleepers'";
        match bed.sql("node2", there).map_err(|e| e.to_string())?.as_str() {
            "1" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    for node in ["node1", "node2"] {
        scenario(&format!("clients have taken every connection of {node}"));
        thread::scope(|scope| {
            let taken = || {
                scope.spawn(|| sleep_in_all(&bed, node));
                none_free(&bed, node);
            };
            endured(&bed, node, "is busy: ", 3, taken, || wake_all(&bed, node));
        });

        scenario(&format!(
            "the postmaster of {node} stands still until a monitor has found it silent"
        ));
        let postmaster = |signal| assert!(bed.node(node).kill_postmaster(signal));
        let (stop, go_on) = (|| postmaster(Signal::STOP), || postmaster(Signal::CONT));
        endured(&bed, node, "did not answer (monitor", 1, stop, go_on);
    }
    let _ = bed.verdict();
}

/// A database in which the sessions of clients are told from all others.
fn sleepers(bed: &Bed) {
    must(bed.sql("node1", "CREATE DATABASE sleepers TEMPLATE template0"));
}

/// Takes every connection of a node, as superusers do who need no reserved one; ends with them.
fn sleep_in_all(bed: &Bed, node: &str) {
    let sessions = "for i in $(seq 110); do psql -qX -U postgres -d sleepers -c 'SELECT pg_sleep(600)' & done; wait";
    must(bed.node(node).exec(&["bash", "-c", sessions], PATIENCE));
}

#[track_caller]
fn none_free(bed: &Bed, node: &str) {
    bed.until("no connection free", || match bed.sql(node, "SELECT 1") {
        Err(error) if error.to_string().contains("too many clients") => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

fn wake_all(bed: &Bed, node: &str) {
    // A server notices only of the next row that its client is gone.
    let asleep = |p: &Process| p.cmdline.starts_with("postgres: postgres sleepers ");
    bed.node(node).kill(asleep, Signal::TERM);
}

#[test]
fn cluster_stalled_clients_do_not_keep_a_lost_standby() {
    let bed = Bed::replicating("clients");
    sleepers(&bed);
    scenario("clients have taken every connection of the primary, and the standby loses power");
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    thread::scope(|scope| {
        scope.spawn(|| sleep_in_all(&bed, "node1"));
        none_free(&bed, "node1");
        must(bed.power_cut("node2"));
        let began = std::time::Instant::now();
        bed.until("a register that names the primary alone", || {
            let row = register(&bed)?;
            let alone = row.holders.iter().map(String::as_str).eq(["node1"]);
            alone.then_some(()).ok_or_else(|| format!("{row:?}"))
        });
        must(writer.wait_for(50, PATIENCE));
        say(&format!("commits went on after {:.1?}", began.elapsed()));
        let status = cls(&bed, "node1", &["status"]);
        let said = "clients hold every connection of PostgreSQL";
        assert!(status.stdout.contains(said), "{}", status.stdout);
        say(&status.stdout);
        wake_all(&bed, "node1");
    });
    must(bed.boot("node2"));
    let after = bed.conclude(writer, "node1", &["node2"]);
    assert_eq!(reign(&after), reign(&before));
    assert_eq!(bed.fail_count("node1", "node1"), "0");
}

/// Stops the daemon that keeps Pacemaker's attributes on a node, or lets it go on.
fn attributes(bed: &Bed, node: &str, signal: Signal) {
    assert_eq!(
        bed.node(node).kill_program("pacemaker-attrd", signal),
        1,
        "{node}"
    );
}

#[test]
fn cluster_stalled_attributes_promote_nobody_wrongly() {
    let bed = Bed::replicating("attributes");
    for node in ["node2", "node1"] {
        planned_switch(&bed, node);
    }
    takeover(&bed);
    wrong_promotion(&bed);
    let _ = bed.verdict();
}

/// A primary with its standby, whichever of the two it is.
fn at_rest(bed: &Bed) -> State {
    bed.until("a primary with its standby", || match agree(bed) {
        Ok(state) if state.standbys.len() == 1 => Ok(state),
        other => Err(format!("{other:?}")),
    })
}

/// Node1 the primary again, without failures, by what an operator types.
fn as_before(bed: &Bed, ask: &str) {
    bed.cleanup(ask);
    if at_rest(bed).primary != "node1" {
        let output = cls(bed, ask, &["online_switch", "--to", "node1"]);
        assert_eq!(output.code, 0, "{}", output.stderr);
    }
    bed.settle("node1", &["node2"]);
}

fn planned_switch(bed: &Bed, node: &str) {
    scenario(&format!(
        "a planned switch while the attributes of {node} are stopped"
    ));
    bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    attributes(bed, node, Signal::STOP);
    let output = cls(bed, "node1", &["online_switch", "--timeout", "10"]);
    say(&format!("it ended with {}: {}", output.code, output.stderr));
    attributes(bed, node, Signal::CONT);
    must(writer.wait_for(50, PATIENCE));
    must(writer.stop());
    at_rest(bed);
    let _ = bed.verdict();
    as_before(bed, "node1");
}

/// Takes node1's power and waits until node2 has taken over, or could but for its attributes: the
/// other daemons of Pacemaker know that node1 is gone, and its lease is over. Where attributes stand
/// still for half a minute Pacemaker ends itself.
fn lost(bed: &Bed, before: &Register) {
    let gone = "Node node1 state is now lost";
    let said = bed.logged("node2", gone);
    must(bed.power_cut("node1"));
    bed.until("node1 gone, and its lease", || {
        let row = register(bed)?;
        let left = bed.logged("node2", gone) - said;
        if row.term > before.term || (left > 0 && !row.leased) {
            Ok(())
        } else {
            Err(format!("lost {left} times, {row:?}"))
        }
    });
}

fn takeover(bed: &Bed) {
    scenario("the primary loses its power while the attributes of the standby are stopped");
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    attributes(bed, "node2", Signal::STOP);
    lost(bed, &before.register);
    attributes(bed, "node2", Signal::CONT);
    must(writer.wait_for(50, PATIENCE));
    let after = bed.conclude(writer, "node2", &[]);
    assert_eq!(after.timeline, before.timeline + 1);
    must(bed.boot("node1"));
    bed.rejoin("node1", "node2");
    let _ = bed.verdict();
    as_before(bed, "node2");
}

/// t-matsuo/resource-agents#24: the attributes say of a standby that it is in sync when commits have
/// long been acknowledged without it.
fn wrong_promotion(bed: &Bed) {
    scenario("the standby is left behind, the primary is lost, and the attributes know of neither");
    bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    for node in ["node1", "node2"] {
        attributes(bed, node, Signal::STOP);
    }
    must(bed.cut_port("node1", "node2", 5432));
    let row = bed.until("the primary alone in the register", || {
        let row = register(bed)?;
        match row.holders.iter().eq(["node1"]) {
            true => Ok(row),
            false => Err(format!("{row:?}")),
        }
    });
    must(writer.wait_for(100, PATIENCE));
    let shown = must(bed.cib_of("node2")).transient("node2", "master-pgsql");
    assert_eq!(shown.as_deref(), Some("100"), "the attributes are not old");
    lost(bed, &row);
    attributes(bed, "node2", Signal::CONT);
    bed.until("the gate of node2 closed", || {
        let cib = bed.cib_of("node2").map_err(|error| error.to_string())?;
        match cib.transient("node2", "master-pgsql").as_deref() {
            Some("-INFINITY") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    bed.run("node2", &["crm_resource", "--wait", "--timeout", "120"]);
    assert_eq!(must(bed.sql("node2", "SELECT pg_is_in_recovery()")), "t");
    let now = must(register(bed));
    assert_eq!(
        (&now.owner, now.term, &now.holders),
        (&row.owner, row.term, &row.holders)
    );
    must(bed.heal());
    must(bed.boot("node1"));
    must(writer.wait_for(50, PATIENCE));
    must(writer.stop());
    bed.run("node2", &["crm_resource", "--cleanup", "--resource", CLONE]);
    bed.settle("node1", &["node2"]);
    let _ = bed.verdict();
}

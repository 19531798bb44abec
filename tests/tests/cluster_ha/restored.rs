//! The lock database is put back to what it was before a standby went away, which has not seen what came
//! after: the cluster's configuration has, and every node goes by it.

use std::time::Duration;

use pha_core::register::{Memory, Seen};
use pha_testbed::Signal;
use pha_tests::cluster::{Bed, PATIENCE, agree, must, register, scenario};

use crate::commands::cls;
use crate::lock::{in_service, node2_stopped};
use crate::partition::lease_long_over;

/// What a primary has told the cluster, as this node sees it.
fn told(bed: &Bed, node: &str) -> Result<Seen, String> {
    let argv = [
        "crm_attribute",
        "--type=crm_config",
        "--set-name=pgsql_register",
        "--name=pgsql_REGISTER",
        "--query",
        "--quiet",
    ];
    let answer = bed.node(node).run(&argv, Duration::from_secs(30));
    let text = answer.map_err(|error| error.to_string())?.stdout;
    text.trim().parse().map_err(|error| format!("{error}"))
}

fn remembered(bed: &Bed, node: &str) -> Memory {
    let bytes = must(bed.node(node).read("/var/lib/pha4pgsql/pgsql.json"));
    must(serde_json::from_slice(&bytes))
}

#[track_caller]
fn told_everything(bed: &Bed) -> Seen {
    bed.until(
        "the cluster to be told how far the register has come",
        || {
            let row = register(bed)?;
            let row = Seen {
                term: row.term,
                epoch: row.epoch,
            };
            let told = told(bed, "node1")?;
            (told == row)
                .then_some(told)
                .ok_or_else(|| format!("told {told}, the row is at {row}"))
        },
    )
}

#[test]
fn cluster_lock_database_put_back_while_a_standby_was_away() {
    let bed = Bed::replicating("restored");
    scenario(
        "a standby is away while the primary goes on alone, the lock database is put back to before that, and the primary is lost: the standby is not promoted",
    );
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    let before = must(agree(&bed));
    let backup = told_everything(&bed);
    in_service(&bed, "node1", false);
    node2_stopped(&bed);
    must(writer.wait_for(50, PATIENCE));
    // The term moves as well, by a restart in place, and node2 has no part in it.
    assert!(bed.node("node1").kill_postmaster(Signal::KILL));
    bed.until("another term", || {
        let row = register(&bed)?;
        let serves = bed.sql("node1", "SELECT pg_is_in_recovery()");
        let serves = serves.map_err(|error| error.to_string())?;
        (row.term > backup.term && serves == "f")
            .then_some(())
            .ok_or_else(|| format!("{row:?}, in recovery: {serves}"))
    });
    must(writer.wait_for(50, PATIENCE));
    let now = told_everything(&bed);
    assert!(now.term > backup.term && now.epoch > backup.epoch);
    let memory = remembered(&bed, "node2");
    assert!(memory.term <= backup.term, "node2 was away: {memory:?}");

    let (term, epoch) = (backup.term, memory.epoch.max(backup.epoch));
    must(bed.lock_sql(&format!(
        "UPDATE distlock SET term = {term}, epoch = {epoch}, holders = '{{node1,node2}}', positions = '{{}}'"
    )));
    must(bed.power_cut("node1"));
    bed.until("node2 alone", || {
        let cib = bed.cib_of("node2").map_err(|error| error.to_string())?;
        let members = cib.members();
        (members == ["node2"])
            .then_some(())
            .ok_or_else(|| format!("{members:?}"))
    });
    in_service(&bed, "node2", true);
    bed.until("the gate of node2 closed, and its database up", || {
        let cib = bed.cib_of("node2").map_err(|error| error.to_string())?;
        let score = cib.transient("node2", "master-pgsql");
        let up = bed.sql("node2", "SELECT pg_is_in_recovery()");
        let up = up.map_err(|error| error.to_string())?;
        assert_eq!(
            up, "t",
            "node2 was promoted from a register that was put back"
        );
        (score.as_deref() == Some("-INFINITY"))
            .then_some(())
            .ok_or_else(|| format!("score {score:?}"))
    });
    lease_long_over(&bed, "node1");
    bed.run("node2", &["crm_resource", "--wait", "--timeout", "60"]);
    assert_eq!(must(bed.sql("node2", "SELECT pg_is_in_recovery()")), "t");
    assert_eq!(must(register(&bed)).term, term, "nobody took it");

    let shown = cls(&bed, "node2", &["status"]).stdout;
    let damage = format!(
        "has term {term}, but this cluster has seen term {}",
        now.term
    );
    for part in ["the register is damaged", &damage, "cls_recovery_master"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }

    scenario("the old primary is back, and one command mends the register above what was seen");
    must(bed.boot("node1"));
    bed.until("both databases up, nobody promoted", || {
        let ups = ["node1", "node2"].map(|node| {
            let up = bed.sql(node, "SELECT pg_is_in_recovery()");
            up.unwrap_or_else(|error| error.to_string())
        });
        (ups == ["t", "t"])
            .then_some(())
            .ok_or_else(|| format!("{ups:?}"))
    });
    let output = cls(
        &bed,
        "node2",
        &["recovery_master", "--node", "node1", "--confirm", "node1"],
    );
    let said = format!("{}\n{}", output.text(), output.stderr);
    assert_eq!(output.code, 0, "{said}");
    assert!(said.contains("node1 is primary"), "{said}");
    // The history shows the damage, which an agreement on later states would take for a fault.
    must(bed.lock_sql("DELETE FROM distlock_history"));
    let after = bed.conclude(writer, "node1", &["node2"]);
    assert!(after.register.term > now.term && after.register.epoch > now.epoch);
    assert!(after.timeline >= before.timeline);
    told_everything(&bed);

    scenario(
        "an impossible number in the configuration bars nobody, and the primary writes over it",
    );
    for forged in ["9223372036854775807|9223372036854775807", "never|mind"] {
        write_property(&bed, forged);
        told_everything(&bed);
        bed.settle("node1", &["node2"]);
    }

    scenario(
        "a number a little ahead is damage until the one command raises the register above it",
    );
    let row = told_everything(&bed);
    let ahead = Seen {
        term: row.term + 5,
        epoch: row.epoch + 7,
    };
    write_property(&bed, &ahead.to_string());
    bed.until("the primary to say so", || {
        let said = bed.logged(
            "node1",
            &format!("this cluster has seen term {}", ahead.term),
        );
        (said > 0).then_some(()).ok_or_else(|| "not yet".to_owned())
    });
    let output = cls(&bed, "node1", &["recovery_master", "--confirm", "node1"]);
    let said = format!("{}\n{}", output.text(), output.stderr);
    assert_eq!(output.code, 0, "{said}");
    must(bed.lock_sql("DELETE FROM distlock_history"));
    let mended = bed.settle("node1", &["node2"]);
    assert!(mended.register.term > ahead.term && mended.register.epoch > ahead.epoch);
    told_everything(&bed);
}

/// What somebody with the right to change the configuration writes in the agent's place.
fn write_property(bed: &Bed, value: &str) {
    bed.run(
        "node2",
        &[
            "crm_attribute",
            "--type=crm_config",
            "--set-name=pgsql_register",
            "--name=pgsql_REGISTER",
            &format!("--update={value}"),
        ],
    );
}

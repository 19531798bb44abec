//! The lock service of the specification: `distlock` as `distlock_lock_cmd` and `distlock_unlock_cmd`, on
//! the table that the specification has, and the dead-check over ssh. There is no register, so these
//! scenarios end with an agreement on all the rest, and with who has held the lock.

use std::time::Duration;

use pha_testbed::{ClusterBuilder, Writer};
use pha_tests::cluster::{Bed, PATIENCE, Rest, agree_without_register, must, say, scenario};

use crate::commands::ends;
use crate::lock::{in_service, node2_stopped};

/// As the specification's configuration has it: for nine seconds, waiting for twelve.
const LOCK: &str = "lock distlock:pgsql_cls1 @owner 9 12";
const UNLOCK: &str = "unlock distlock:pgsql_cls1 @owner";

/// The specification's table, its history and its trigger.
const TABLES: &str = "\
    create table distlock(lockname text primary key, owner text not null, ts timestamptz not null, \
        expired_time interval not null); \
    create table distlock_history(id serial primary key, lockname text not null, owner text not null, \
        ts timestamptz not null, expired_time interval not null); \
    CREATE FUNCTION distlock_log_update() RETURNS trigger AS $$ BEGIN \
        IF TG_OP = 'INSERT' or NEW.owner <> OLD.owner THEN \
            INSERT INTO distlock_history(lockname, owner, ts, expired_time) \
                values(NEW.lockname, NEW.owner, NEW.ts, NEW.expired_time); \
        END IF; RETURN NEW; END; $$ LANGUAGE plpgsql; \
    CREATE TRIGGER distlock_log_update AFTER INSERT OR UPDATE ON distlock \
        FOR EACH ROW EXECUTE PROCEDURE distlock_log_update(); \
    CREATE ROLE locker LOGIN; \
    GRANT SELECT, INSERT, UPDATE ON distlock TO locker; \
    GRANT INSERT ON distlock_history TO locker; \
    GRANT USAGE ON SEQUENCE distlock_history_id_seq TO locker";

/// Two nodes that replicate, node1 the primary, with the lock commands in the place of the register.
fn replicating(name: &str) -> Bed {
    let command = |what: &str| {
        format!(
            "/opt/pha4pgsql/bin/distlock '/usr/bin/psql \"host=node3 port=5439 dbname=postgres user=locker connect_timeout=2\"' {what}"
        )
    };
    let builder = ClusterBuilder::new(name)
        .parameter("distlock_conninfo", "")
        .parameter("distlock_lockname", "")
        .parameter("distlock_lock_cmd", &command(LOCK))
        .parameter("distlock_unlock_cmd", &command(UNLOCK))
        .parameter("distlock_lockservice_deadcheck_nodelist", "node1 node2");
    let bed = Bed::up(builder);
    must(bed.lock_sql(TABLES));
    must(bed.configure());
    settle(&bed, "node1", &["node2"]);
    bed
}

#[track_caller]
fn settle(bed: &Bed, primary: &str, standbys: &[&str]) -> Rest {
    let what = format!("agreement on primary {primary}, standbys {standbys:?}");
    bed.until(&what, || {
        let rest = agree_without_register(bed)?;
        match rest.primary == primary && rest.standbys == standbys {
            true => Ok(rest),
            false => Err(format!("agreement on {rest:?}")),
        }
    })
}

/// Ends the writer, waits for what is expected, and judges: every acknowledged commit is on every node.
#[track_caller]
fn conclude(bed: &Bed, writer: Writer, primary: &str, standbys: &[&str]) -> Rest {
    must(writer.stop());
    let rest = settle(bed, primary, standbys);
    judged(bed, &[&[primary], standbys].concat());
    rest
}

#[track_caller]
fn judged(bed: &Bed, nodes: &[&str]) {
    let verdict = must(bed.check(nodes, Duration::from_secs(20)));
    say(&verdict.to_string());
    assert!(verdict.clean(), "{verdict}");
}

/// Who has the lock, or had it last; whether it still runs, and when it was taken or renewed.
fn lock(bed: &Bed) -> Result<(String, bool, String), String> {
    let row = bed
        .lock_sql("SELECT owner, ts + expired_time > clock_timestamp(), ts FROM distlock")
        .map_err(|error| error.to_string())?;
    let fields: Vec<&str> = row.split('|').collect();
    match fields[..] {
        [owner, runs, at] => Ok((owner.to_owned(), runs == "t", at.to_owned())),
        _ => Err(format!("the lock's row is {row:?}")),
    }
}

/// Who has had the lock, one after the other.
#[track_caller]
fn owners(bed: &Bed) -> String {
    must(bed.lock_sql("SELECT string_agg(owner, ' ' ORDER BY id) FROM distlock_history"))
}

/// Waits until this node has renewed the lock so many times, each before its end, with no owner between.
#[track_caller]
fn renewed(bed: &Bed, node: &str, times: usize) {
    let owner = format!("pgsql_{node}");
    let had = owners(bed);
    let mut seen = Vec::new();
    bed.until(&format!("{node} renewing the lock {times} times"), || {
        let (by, runs, at) = lock(bed)?;
        assert_eq!((&by, runs), (&owner, true), "the lock of a primary alone");
        if seen.last() != Some(&at) {
            seen.push(at);
        }
        (seen.len() > times)
            .then_some(())
            .ok_or_else(|| format!("{seen:?}"))
    });
    assert_eq!(owners(bed), had);
}

/// The old primary follows the new one by itself, or is repaired as its refusal says.
#[track_caller]
fn rejoin(bed: &Bed, node: &str, primary: &str) {
    let refused = bed.until(
        &format!("{node} following {primary}, or refused"),
        || match bed.refusal(primary, node) {
            Some(_) => Ok(true),
            None => match agree_without_register(bed)? {
                rest if rest.standbys == [node] => Ok(false),
                rest => Err(format!("{rest:?}")),
            },
        },
    );
    if refused {
        let said = ends(bed, node, &["repair_slave", "--or-rebuild"], 0);
        let done = format!("slave recovery of {node} successed");
        assert!(said.contains(&done), "{said}");
    }
    settle(bed, primary, &[node]);
}

#[test]
fn cluster_external_lock() {
    let bed = replicating("external");
    assert_eq!(owners(&bed), "pgsql_node1");

    scenario(
        "the primary loses its power: the standby takes the lock, and renews it while it is alone",
    );
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(bed.power_cut("node1"));
    must(writer.wait_for(50, PATIENCE));
    assert_eq!(owners(&bed), "pgsql_node1 pgsql_node2");
    renewed(&bed, "node2", 3);
    let rest = conclude(&bed, writer, "node2", &[]);
    assert!(rest.timeline == 2, "{rest:?}");
    must(bed.boot("node1"));
    rejoin(&bed, "node1", "node2");

    scenario("a planned switch: the lock is given back and taken");
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    ends(&bed, "node2", &["online_switch"], 0);
    must(writer.wait_for(50, PATIENCE));
    conclude(&bed, writer, "node1", &["node2"]);
    assert_eq!(owners(&bed), "pgsql_node1 pgsql_node2 pgsql_node1");

    scenario(
        "partition, the lock is the primary's: it goes on alone for longer than one lease, the standby does not take over and is not given up",
    );
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(bed.lock_sql("UPDATE distlock SET ts = clock_timestamp(), expired_time = '12 s'"));
    let refused = || bed.logged("node2", "not promoted: another owner holds the lock");
    let before = refused();
    must(bed.cut("node1", "node2"));
    bed.until("a promotion that is refused", || {
        let more = refused() - before;
        (more > 0)
            .then_some(())
            .ok_or_else(|| format!("{more} refusals"))
    });
    must(writer.wait_for(50, PATIENCE));
    renewed(&bed, "node1", 4);
    assert_eq!(must(bed.sql("node2", "SELECT pg_is_in_recovery()")), "t");
    assert_eq!(bed.fail_count("node2", "node2"), "1");
    must(bed.heal());
    must(writer.wait_for(50, PATIENCE));
    conclude(&bed, writer, "node1", &["node2"]);
    bed.cleanup("node1");
    settle(&bed, "node1", &["node2"]);

    scenario("partition, the lock is the standby's: it takes over, and the primary is stopped");
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    let taken =
        "UPDATE distlock SET owner = 'pgsql_node2', ts = clock_timestamp(), expired_time = '9 s'";
    must(bed.lock_sql(taken));
    must(bed.cut("node1", "node2"));
    bed.until("node2 the primary", || {
        match bed.sql("node2", "SELECT pg_is_in_recovery()").as_deref() {
            Ok("f") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    bed.until("node1 no primary any more", || {
        match bed.sql("node1", "SELECT pg_is_in_recovery()").as_deref() {
            Ok("f") => Err("it is one".to_owned()),
            _ => Ok(()),
        }
    });
    let direct = bed.writer_to("node2");
    must(direct.wait_for(100, PATIENCE));
    renewed(&bed, "node2", 4);
    must(direct.stop());
    must(bed.heal());
    rejoin(&bed, "node1", "node2");
    must(writer.wait_for(50, PATIENCE));
    conclude(&bed, writer, "node2", &["node1"]);
}

/// Lets node2 go while `gone` is in force, and sees the primary go on. What the primary says of the lock.
fn goes_on(bed: &Bed, gone: &str, says: &str, begin: impl Fn(), end: impl Fn()) {
    scenario(&format!("the lock service is gone for {gone}: {says}"));
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    let said = bed.logged("node1", says);
    begin();
    in_service(bed, "node1", false);
    node2_stopped(bed);
    must(writer.wait_for(50, PATIENCE));
    bed.until("word of the dead-check", || {
        let more = bed.logged("node1", says) - said;
        (more > 1)
            .then_some(())
            .ok_or_else(|| format!("{more} times"))
    });
    must(writer.wait_for(50, PATIENCE));
    end();
    in_service(bed, "node1", true);
    conclude(bed, writer, "node1", &["node2"]);
    for node in ["node1", "node2"] {
        assert_eq!(bed.fail_count("node1", node), "0", "{node}");
    }
}

#[test]
fn cluster_external_dead_check() {
    let bed = replicating("dead-check");
    let service = must(bed.lock_service());
    let dead = "it counts as dead";
    goes_on(
        &bed,
        "all",
        dead,
        || must(service.stop()),
        || must(service.start()),
    );
    let cut = || must(bed.cut_port("node1", "node3", 5439));
    let through = "the lock service answered node2";
    goes_on(&bed, "the primary alone", through, cut, || {
        must(bed.heal());
    });
    assert_eq!(owners(&bed), "pgsql_node1");

    scenario(
        "the lock service is gone for all, and the listed node is without power: commits wait for the lock",
    );
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    let waits = "node node2 of the dead-check cannot be reached";
    let said = bed.logged("node1", waits);
    must(service.stop());
    must(bed.power_cut("node2"));
    let complaints = |least: usize| {
        bed.until("commits waiting for the lock", || {
            let more = bed.logged("node1", waits) - said;
            (more >= least)
                .then_some(())
                .ok_or_else(|| format!("{more} complaints"))
        });
    };
    complaints(1);
    let acknowledged = writer.acknowledged();
    complaints(2);
    assert_eq!(writer.acknowledged(), acknowledged);
    assert_eq!(must(bed.sql("node1", "SELECT pg_is_in_recovery()")), "f");
    let said = ends(&bed, "node1", &["status"], 0);
    assert!(said.contains("commits wait for node2"), "{said}");

    scenario("the lock service is back: the primary goes on under the lock");
    must(service.start());
    must(writer.wait_for(50, PATIENCE));
    renewed(&bed, "node1", 2);
    scenario(
        "and gone again while it is alone: nothing is acknowledged, until it is back once more",
    );
    let log = bed.logged("node1", waits);
    must(service.stop());
    bed.until("commits waiting again", || {
        let names = bed.sql("node1", "SHOW synchronous_standby_names");
        let names = names.map_err(|error| error.to_string())?;
        match names.is_empty() || bed.logged("node1", waits) == log {
            true => Err(names),
            false => Ok(()),
        }
    });
    let acknowledged = writer.acknowledged();
    let log = bed.logged("node1", waits);
    bed.until("another monitor", || {
        let more = bed.logged("node1", waits) - log;
        (more > 0)
            .then_some(())
            .ok_or_else(|| format!("{more} complaints"))
    });
    assert!(writer.acknowledged() <= acknowledged + 1);
    must(service.start());
    must(writer.wait_for(50, PATIENCE));
    must(bed.boot("node2"));
    conclude(&bed, writer, "node1", &["node2"]);
    assert_eq!(owners(&bed), "pgsql_node1");
}

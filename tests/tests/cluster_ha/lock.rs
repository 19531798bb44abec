//! The lock service fails, or somebody else holds the lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pha_testbed::Breakage;
use pha_tests::cluster::{Bed, PATIENCE, State, must, register, scenario};

/// Lets the lock service fail for several monitors of the primary and the standby, and sees that
/// nothing happens but warnings.
fn outage(bed: &Bed, what: &str, begin: impl Fn(), end: impl Fn()) {
    scenario(&format!(
        "the lock service {what} while all is well: writes go on"
    ));
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    let said = bed.logged("node1", "lock service ");
    begin();
    bed.until("the primary complaining about the lock service", || {
        let more = bed.logged("node1", "lock service ") - said;
        if more >= 3 {
            Ok(())
        } else {
            Err(format!("{more} complaints"))
        }
    });
    must(writer.wait_for(100, PATIENCE));
    end();
    let after = bed.conclude(writer, "node1", &["node2"]);
    same_reign(&before, &after);
    for node in ["node1", "node2"] {
        assert_eq!(bed.fail_count("node1", node), "0", "{node}");
    }
}

fn same_reign(before: &State, after: &State) {
    assert_eq!(
        (
            after.timeline,
            &after.repl_info,
            after.register.term,
            after.register.epoch
        ),
        (
            before.timeline,
            &before.repl_info,
            before.register.term,
            before.register.epoch
        )
    );
}

#[test]
fn cluster_lock_service_fails_while_all_is_well() {
    let bed = Bed::replicating("lock");
    let lock = must(bed.lock_service());
    outage(&bed, "stopped", || must(lock.stop()), || must(lock.start()));
    outage(&bed, "frozen", || must(lock.freeze()), || must(lock.thaw()));
    for (what, how) in [
        ("refusing every login", Breakage::Login),
        ("without its table", Breakage::TableGone),
        ("read-only", Breakage::ReadOnly),
    ] {
        outage(
            &bed,
            what,
            || must(lock.break_with_errors(how)),
            || must(lock.repair(how)),
        );
    }
}

#[test]
fn cluster_lock_held_by_another() {
    let bed = Bed::replicating("held");

    scenario("D6: distlock init while the lock is held changes nothing");
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    let conninfo = &bed.spec().pacemaker.parameters["distlock_conninfo"];
    let lockname = &bed.spec().pacemaker.parameters["distlock_lockname"];
    bed.run("node2", &["distlock", conninfo, "init", lockname]);
    let row = must(register(&bed));
    assert!(row.leased, "{row:?}");
    must(writer.wait_for(50, PATIENCE));
    same_reign(&before, &bed.conclude(writer, "node1", &["node2"]));

    scenario(
        "D7: promotion refused while another holds the lock, and done by itself once it is free",
    );
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Whoever it is: somebody goes on renewing the lease of node1, which loses its power.
        let renewer = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                must(bed.lock_sql("UPDATE distlock SET ts = clock_timestamp()"));
                // How often an owner renews; nothing is waited for here.
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        must(bed.power_cut("node1"));
        bed.until("the gate of the standby closed", || {
            let cib = bed.cib_of("node2").map_err(|error| error.to_string())?;
            let seen = (cib.members(), cib.transient("node2", "master-pgsql"));
            if seen == (vec!["node2".to_owned()], Some("-INFINITY".to_owned())) {
                Ok(())
            } else {
                Err(format!("{seen:?}"))
            }
        });
        bed.run("node2", &["crm_resource", "--wait", "--timeout", "60"]);
        assert_eq!(must(bed.sql("node2", "SELECT pg_is_in_recovery()")), "t");
        assert_eq!(
            bed.fail_count("node2", "node2"),
            "0",
            "the refusal was counted"
        );
        assert_eq!(must(register(&bed)).term, before.register.term);
        over.store(true, Ordering::Relaxed);
        renewer.join().expect("a renewer that ended by itself");
    });
    must(writer.wait_for(50, PATIENCE));
    let after = bed.conclude(writer, "node2", &[]);
    assert_eq!(bed.fail_count("node2", "node2"), "0");
    let text = bed.monitor_text("node2");
    assert!(!text.contains("Failed Resource Actions"), "{text}");
    assert_eq!(after.timeline, before.timeline + 1);
    must(bed.boot("node1"));
    bed.rejoin("node1", "node2");
    let _ = bed.verdict();
}

#[test]
fn cluster_lock_service_gone_with_the_primary() {
    let bed = Bed::replicating("both-gone");
    let lock = must(bed.lock_service());

    scenario(
        "D3: the lock service answers errors to everyone when the primary loses power: nobody takes over before it is mended",
    );
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(lock.break_with_errors(Breakage::TableGone));
    must(bed.power_cut("node1"));
    bed.until("the standby alone", || {
        let cib = bed.cib_of("node2").map_err(|error| error.to_string())?;
        let members = cib.members();
        if members == ["node2"] {
            Ok(())
        } else {
            Err(format!("{members:?}"))
        }
    });
    let said = bed.logged("node2", "lock service answered an error");
    bed.until("the standby asking in vain", || {
        let more = bed.logged("node2", "lock service answered an error") - said;
        let recovery = bed.sql("node2", "SELECT pg_is_in_recovery()");
        assert_eq!(
            recovery.as_deref().unwrap_or("t"),
            "t",
            "promoted without the lock"
        );
        if more >= 1 {
            Ok(())
        } else {
            Err(format!("{more} complaints"))
        }
    });
    must(lock.repair(Breakage::TableGone));
    must(writer.wait_for(50, PATIENCE));
    let after = bed.conclude(writer, "node2", &[]);
    assert_eq!(after.register.term, before.register.term + 1);
    assert_eq!(bed.fail_count("node2", "node2"), "0");
    must(bed.boot("node1"));
    bed.rejoin("node1", "node2");
    let _ = bed.verdict();
}

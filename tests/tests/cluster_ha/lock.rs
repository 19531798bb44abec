//! The lock service fails, or somebody else holds the lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pha_testbed::{Breakage, ClusterBuilder, Signal};
use pha_tests::cluster::{Bed, PATIENCE, SHORT, State, must, register, scenario};

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

/// Takes node2 out of service, or puts it back; its Pacemaker and its sshd go on.
pub(crate) fn in_service(bed: &Bed, ask: &str, yes: bool) {
    let value = if yes { "off" } else { "on" };
    bed.run(ask, &["crm_standby", "--node", "node2", "--update", value]);
}

pub(crate) fn node2_stopped(bed: &Bed) {
    bed.until("node2 stopped", || match bed.server_processes("node2") {
        0 => Ok(()),
        left => Err(format!("{left} processes")),
    });
}

/// Stops node2's database while the lock service is away, and sees the primary go on by promise.
fn goes_on_by_promise(bed: &Bed, writer: &pha_testbed::Writer) {
    let said = bed.logged("node1", "node2 has promised");
    in_service(bed, "node1", false);
    bed.until("the promise of node2", || {
        match bed.logged("node1", "node2 has promised") - said {
            0 => Err("none in the log".to_owned()),
            _ => Ok(()),
        }
    });
    node2_stopped(bed);
    // At 5 ms each that is longer than the lease: the guard goes on by the promise, too.
    must(writer.wait_for(1000, PATIENCE));
}

/// What the guard on node1 goes by, while the lock service is away.
pub(crate) fn guard_goes_by(bed: &Bed, rule: &str) {
    bed.until(&format!("{rule} in the guard's log"), || {
        let log = bed.node("node1").read("/run/pha4pgsql/pgsql.guard.log");
        let log = String::from_utf8_lossy(&log.map_err(|error| error.to_string())?).into_owned();
        // What it does in between, such as asking, changes nothing of it.
        let mut rules = log.lines().filter(|line| line.contains("waiting for"));
        match rules.next_back() {
            Some(last) if last.contains(rule) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

/// node2, alone with the lock service, does not become primary: its gate is closed, and its
/// Pacemaker has nothing to do.
fn node2_stays_a_standby(bed: &Bed, row: &pha_tests::cluster::Register) {
    bed.until("node2 up, alone, its gate closed", || {
        let cib = bed.cib_of("node2").map_err(|error| error.to_string())?;
        let seen = (
            cib.members(),
            cib.transient("node2", "master-pgsql"),
            bed.sql("node2", "SELECT pg_is_in_recovery()").ok(),
        );
        if seen
            == (
                vec!["node2".to_owned()],
                Some("-INFINITY".to_owned()),
                Some("t".to_owned()),
            )
        {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    });
    bed.run("node2", &["crm_resource", "--wait", "--timeout", "60"]);
    assert_eq!(must(bed.sql("node2", "SELECT pg_is_in_recovery()")), "t");
    let now = must(register(bed));
    assert_eq!(
        (&now.owner, now.term, now.epoch, &now.holders),
        (&row.owner, row.term, row.epoch, &row.holders)
    );
    assert_eq!(bed.fail_count("node2", "node2"), "0");
}

pub(crate) fn row_with(bed: &Bed, epoch: u64, holders: &[&str]) -> pha_tests::cluster::Register {
    bed.until(
        &format!("epoch {epoch} or later, holders {holders:?}"),
        || {
            let row = register(bed)?;
            if row.epoch >= epoch && row.holders.iter().eq(holders) {
                Ok(row)
            } else {
                Err(format!("{row:?}"))
            }
        },
    )
}

/// A cluster whose lease leaves the question for promises, a login over ssh, the time that it takes on a
/// machine with a lot else to do.
pub(crate) fn with_time_for_promises(name: &str) -> Bed {
    let bed = Bed::up(
        ClusterBuilder::new(name)
            .parameter("distlock_ttl", "8")
            .configured(true),
    );
    bed.settle("node1", &["node2"]);
    bed
}

#[test]
fn cluster_lock_service_gone_with_the_standby() {
    let bed = with_time_for_promises("promise");
    let lock = must(bed.lock_service());

    scenario(
        "R7: lock service stopped, standby stopped: writes go on by its promise, which keeps it from promotion when the primary has lost its power and the lock service is back",
    );
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(lock.stop());
    goes_on_by_promise(&bed, &writer);
    must(bed.power_cut("node1"));
    must(lock.start());
    in_service(&bed, "node2", true);
    // The row is as it was: node2 is a holder, and the lease runs out. Only its word keeps it.
    node2_stays_a_standby(&bed, &before.register);
    bed.until(
        "the status of node2 to name its promise and the end of it",
        || {
            let argv = ["/opt/pha4pgsql/bin/cls", "status"];
            let output = bed.node("node2").exec(&argv, SHORT);
            let shown = output.map_err(|error| error.to_string())?.stdout;
            let named = shown.contains("has promised node1 not to be promoted")
                && shown.contains("next: start node1: it ends the promise by itself");
            named.then_some(()).ok_or(shown)
        },
    );
    must(bed.boot("node1"));
    must(writer.wait_for(50, PATIENCE));
    let after = bed.conclude(writer, "node1", &["node2"]);
    assert_eq!(after.timeline, before.timeline);
    assert_eq!(after.register.term, before.register.term + 1);

    scenario(
        "R7: the same, and the lock service is back first: the register loses the standby, which is not promoted either",
    );
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(lock.stop());
    // Its standby follows for longer than the lease, and only then is stopped.
    guard_goes_by(&bed, "guard-linked");
    must(writer.wait_for(2000, PATIENCE));
    goes_on_by_promise(&bed, &writer);
    must(lock.start());
    let alone = row_with(&bed, after.register.epoch + 1, &["node1"]);
    must(writer.wait_for(50, PATIENCE));
    must(bed.power_cut("node1"));
    in_service(&bed, "node2", true);
    node2_stays_a_standby(&bed, &alone);
    must(bed.boot("node1"));
    must(writer.wait_for(50, PATIENCE));
    let _ = bed.conclude(writer, "node1", &["node2"]);

    scenario(
        "R7: the standby hangs while the lock service is away, and goes on: its promise ends with the outage, and it takes over",
    );
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(lock.stop());
    guard_goes_by(&bed, "guard-linked");
    assert_eq!(walreceiver(&bed, Signal::STOP), 1);
    guard_goes_by(&bed, "guard-promised");
    assert_eq!(walreceiver(&bed, Signal::CONT), 1);
    must(writer.wait_for(50, PATIENCE));
    must(lock.start());
    row_with(&bed, before.register.epoch + 1, &["node1", "node2"]);
    bed.settle("node1", &["node2"]);
    must(bed.power_cut("node1"));
    must(writer.wait_for(50, PATIENCE));
    let after = bed.conclude(writer, "node2", &[]);
    assert_eq!(after.register.term, before.register.term + 1);
    must(bed.boot("node1"));
    bed.rejoin("node1", "node2");
    let _ = bed.verdict();
}

/// Signals the process of node2 that receives WAL; how many there were.
fn walreceiver(bed: &Bed, signal: Signal) -> usize {
    bed.node("node2").kill_server_process("walreceiver", signal)
}

#[test]
fn cluster_lock_service_gone_and_the_standby_out_of_reach() {
    let bed = Bed::replicating("no-promise");
    let lock = must(bed.lock_service());

    scenario(
        "R7: lock service stopped, standby without power: it has not promised, so the primary is stopped, and is back with the lock service",
    );
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(lock.stop());
    must(bed.power_cut("node2"));
    bed.until(
        "the guard to stop the primary, and Pacemaker to start a standby",
        || {
            let log = bed.node("node1").read("/run/pha4pgsql/pgsql.guard.log");
            let log = log.map_err(|error| error.to_string())?;
            let stopped =
                String::from_utf8_lossy(&log).contains("has proven that node2 cannot be promoted");
            let recovery = bed.sql("node1", "SELECT pg_is_in_recovery()");
            match recovery.as_deref() {
                Ok("t") if stopped => Ok(()),
                other => Err(format!("stopped: {stopped}, in recovery: {other:?}")),
            }
        },
    );
    must(lock.start());
    must(writer.wait_for(50, PATIENCE));
    row_with(&bed, before.register.epoch + 1, &["node1"]);
    must(bed.boot("node2"));
    let after = bed.conclude(writer, "node1", &["node2"]);
    assert!(after.register.term > before.register.term, "{after:?}");
    assert_eq!(after.timeline, before.timeline, "in place");

    scenario(
        "R7: the lock service out of the primary's reach only: the standby that is stopped passes the change on",
    );
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(bed.cut("node1", "node3"));
    in_service(&bed, "node1", false);
    let row = row_with(&bed, after.register.epoch + 1, &["node1"]);
    assert_eq!(row.term, after.register.term);
    must(writer.wait_for(100, PATIENCE));
    must(bed.heal());
    in_service(&bed, "node1", true);
    let _ = bed.conclude(writer, "node1", &["node2"]);
}

//! The lock service answers errors, or a node that is asked for its promise answers what is none,
//! while the standby is away: nothing of that lets the primary go on alone.

use pha_core::register::Memory;
use pha_testbed::{Breakage, Signal, Writer};
use pha_tests::cluster::{Bed, PATIENCE, State, must, scenario};

use crate::lock::{guard_goes_by, in_service, node2_stopped, row_with, with_time_for_promises};

#[test]
fn cluster_errors_and_rubbish_are_no_promise() {
    let bed = Bed::replicating("outage");
    for (what, how) in [
        ("refuses every login", Breakage::Login),
        ("has lost its table", Breakage::TableGone),
        ("is read-only", Breakage::ReadOnly),
    ] {
        errors_without_the_standby(&bed, what, how);
    }
    rubbish_for_a_promise(&bed);
}

/// What has to be as it was for the primary not to have gone on alone.
struct Before {
    state: State,
    /// How often its guard had stopped the primary.
    stopped: usize,
    /// How often the primary had gone on by promise.
    by_promise: usize,
}

const GUARD_STOPS: &str = "has proven that node2 cannot be promoted";
const BY_PROMISE: &str = "primary-degrade-by-promise";

/// How often a text is in the log of the guard on node1.
fn guard_said(bed: &Bed, text: &str) -> usize {
    let log = bed.node("node1").read("/run/pha4pgsql/pgsql.guard.log");
    log.map_or(0, |log| String::from_utf8_lossy(&log).matches(text).count())
}

impl Before {
    fn now(bed: &Bed) -> Before {
        Before {
            state: bed.settle("node1", &["node2"]),
            stopped: guard_said(bed, GUARD_STOPS),
            by_promise: bed.logged("node1", BY_PROMISE),
        }
    }

    /// The standby is away: the primary acknowledges nothing until its guard has stopped it, and the
    /// agent does not get it promoted again. How much was acknowledged.
    fn stays_stopped(&self, bed: &Bed, writer: &Writer) -> u64 {
        bed.until("commits that wait, or no primary", || {
            let waiting = "SELECT pg_is_in_recovery() OR EXISTS \
                 (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')";
            match bed.sql("node1", waiting).as_deref() {
                Ok("f") => Err("it acknowledges".to_owned()),
                _ => Ok(()),
            }
        });
        let acknowledged = writer.acknowledged();
        bed.until(
            "the guard to stop the primary, and Pacemaker to start a standby",
            || {
                let stops = guard_said(bed, GUARD_STOPS) - self.stopped;
                let recovery = bed.sql("node1", "SELECT pg_is_in_recovery()");
                match recovery.as_deref() {
                    Ok("t") if stops == 1 => Ok(()),
                    other => Err(format!("stopped {stops} times, in recovery: {other:?}")),
                }
            },
        );
        acknowledged
    }

    /// The primary serves again, by itself. What the register has seen since then is one promotion:
    /// no change of the holders at the old term.
    fn serves_again(&self, bed: &Bed, writer: &Writer) {
        must(writer.wait_for(50, PATIENCE));
        let (term, epoch) = (self.state.register.term, self.state.register.epoch);
        row_with(bed, epoch + 1, &["node1"]);
        let alone = format!(
            "SELECT count(*) FROM distlock_history WHERE term = {term} AND epoch > {epoch}"
        );
        assert_eq!(must(bed.lock_sql(&alone)), "0", "it went on alone");
        assert_eq!(bed.logged("node1", BY_PROMISE), self.by_promise);
        assert_eq!(guard_said(bed, "guard-promised"), 0);
    }

    /// All is as before. That the guard stopped PostgreSQL was a failure to Pacemaker, which leaves a
    /// node for good at the third one (`migration-threshold`).
    fn concluded(&self, bed: &Bed, writer: Writer) {
        let after = bed.conclude(writer, "node1", &["node2"]);
        assert_eq!(bed.fail_count("node1", "node1"), "1");
        bed.cleanup("node1");
        assert_eq!(
            (after.timeline, &after.repl_info),
            (self.state.timeline, &self.state.repl_info)
        );
    }
}

/// It is looked at before the lock service is mended: from then on the primary may serve at any moment.
fn none_since(writer: &Writer, acknowledged: u64) {
    let meanwhile = writer.acknowledged();
    assert_eq!(meanwhile, acknowledged, "acknowledged without the standby");
}

fn errors_without_the_standby(bed: &Bed, what: &str, how: Breakage) {
    scenario(&format!(
        "D3: the lock service {what} and the standby loses its power: the primary does not go on alone, and serves again once the lock service is mended"
    ));
    let lock = must(bed.lock_service());
    let before = Before::now(bed);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    must(lock.break_with_errors(how));
    guard_goes_by(bed, "guard-linked");
    emptied_by_hand(bed);
    must(bed.power_cut("node2"));
    let acknowledged = before.stays_stopped(bed, &writer);
    // The row can be read, and a promotion that begins would fail at the update and be counted.
    if how == Breakage::ReadOnly {
        let refused = "not to be promoted: lock service answered an error";
        let said = bed.logged("node1", refused);
        bed.until("a promotion that is not tried", || {
            match bed.logged("node1", refused) - said {
                0 => Err("not yet".to_owned()),
                _ => Ok(()),
            }
        });
    }
    none_since(&writer, acknowledged);
    must(lock.repair(how));
    before.serves_again(bed, &writer);
    must(bed.boot("node2"));
    before.concluded(bed, writer);
}

/// An administrator empties the synchronous standbys, and no register says that node2 may be let go.
fn emptied_by_hand(bed: &Bed) {
    let names = || bed.sql("node1", "SHOW synchronous_standby_names");
    let before = must(names());
    let again = bed.logged("node1", "primary-name-again");
    for statement in [
        "ALTER SYSTEM SET synchronous_standby_names = ''",
        "SELECT pg_reload_conf()",
    ] {
        must(bed.sql("node1", statement));
    }
    bed.until("node2 to be waited for again", || {
        let rules = bed.logged("node1", "primary-name-again") - again;
        match names().map_err(|error| error.to_string())? {
            now if now == before && rules > 0 => Ok(()),
            now => Err(format!("{now:?}, named again {rules} times")),
        }
    });
}

/// The owner's own restart (R7): by the promise of the other node, or not at all.
#[test]
fn cluster_a_primary_that_crashes_without_the_lock_service_restarts_in_place() {
    let bed = with_time_for_promises("crashed");
    let lock = must(bed.lock_service());
    let without_the_lock_service = |writer: &Writer| {
        must(writer.wait_for(50, PATIENCE));
        must(lock.stop());
        guard_goes_by(&bed, "guard-linked");
    };
    let killed = || assert!(bed.node("node1").kill_postmaster(Signal::KILL));
    // How much was acknowledged until then.
    let a_standby = |writer: &Writer| {
        bed.until("a standby", || {
            match bed.sql("node1", "SELECT pg_is_in_recovery()").as_deref() {
                Ok("t") => Ok(writer.acknowledged()),
                other => Err(format!("{other:?}")),
            }
        })
    };

    for round in ["", ", once more: node2 promises again"] {
        scenario(&format!(
            "R7: lock service stopped, kill -9 of the primary's postmaster under a writer: it restarts in place by the promise of node2, and serves on for longer than its lease; the standby is added again with the lock service{round}"
        ));
        let before = bed.settle("node1", &["node2"]);
        let writer = bed.writer();
        without_the_lock_service(&writer);
        let by_promise = bed.logged("node1", "promote-by-promise");
        killed();
        bed.until("the restart by promise", || {
            match bed.logged("node1", "promote-by-promise") - by_promise {
                0 => Err("none in the log".to_owned()),
                _ => Ok(()),
            }
        });
        guard_goes_by(&bed, "guard-promised");
        must(writer.wait_for(2000, PATIENCE));
        must(lock.start());
        restarted(&bed, writer, &before);
    }

    scenario(
        "the same, and node2 loses its power: no primary until the lock service is back, and then without node2",
    );
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    without_the_lock_service(&writer);
    let by_promise = bed.logged("node1", "promote-by-promise");
    must(bed.power_cut("node2"));
    // Its guard may have been faster.
    let _ = bed.node("node1").kill_postmaster(Signal::KILL);
    let acknowledged = a_standby(&writer);
    let refused = "not to be promoted: lock service unreachable";
    let said = bed.logged("node1", refused);
    bed.until("a promotion that is not tried", || {
        match bed.logged("node1", refused) - said {
            0 => Err("not yet".to_owned()),
            _ => Ok(()),
        }
    });
    assert_eq!(bed.logged("node1", "promote-by-promise"), by_promise);
    none_since(&writer, acknowledged);
    must(lock.start());
    must(writer.wait_for(50, PATIENCE));
    must(bed.boot("node2"));
    let after = bed.conclude(writer, "node1", &["node2"]);
    assert_eq!(after.timeline, before.timeline, "in place");
}

/// The primary goes on at its term and on its timeline, with its standby a holder at a later epoch.
fn restarted(bed: &Bed, writer: Writer, before: &State) {
    row_with(bed, before.register.epoch + 2, &["node1", "node2"]);
    let after = bed.conclude(writer, "node1", &["node2"]);
    assert_eq!(
        (after.timeline, after.register.term, &after.repl_info),
        (before.timeline, before.register.term, &before.repl_info)
    );
    assert_eq!(bed.fail_count("node1", "node1"), "1");
    bed.cleanup("node1");
}

/// A holder that promises bars itself. Nobody relies on the promise whose answer is lost, and who had
/// asked for it says so once its PostgreSQL has been stopped.
#[test]
fn cluster_a_promise_in_vain_does_not_bar_the_standby() {
    let bed = with_time_for_promises("vain");
    scenario(
        "R7: lock service and standby stopped, node2 promises and its answer is lost; the primary is stopped, withdraws its question and loses its power: node2 takes over once the lock service is back",
    );
    let lock = must(bed.lock_service());
    let before = bed.settle("node1", &["node2"]);
    let epoch = before.register.epoch;
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    bed.run("node2", &["cp", "-p", PROGRAM, ASIDE]);
    let deaf = format!(
        "#!/bin/sh\n[ \"$1\" = promise ] || exec {ASIDE} \"$@\"\n\
         echo asked >>{GIVEN}; exec {ASIDE} promise >/dev/null\n"
    );
    let fresh = format!("{PROGRAM}.new");
    must(bed.node("node2").write(&fresh, deaf, 0o755));
    bed.run("node2", &["mv", "-f", &fresh, PROGRAM]);
    must(lock.stop());
    in_service(&bed, "node1", false);
    node2_stopped(&bed);
    let memory = || -> Result<Memory, String> {
        let bytes = bed.node("node2").read("/var/lib/pha4pgsql/pgsql.json");
        let bytes = bytes.map_err(|error| error.to_string())?;
        serde_json::from_slice(&bytes).map_err(|error| error.to_string())
    };
    bed.until("node2 to have promised", || {
        let known = memory()?;
        let promised = known.has_promised(epoch) || known.freed == Some(epoch);
        promised.then_some(()).ok_or_else(|| format!("{known:?}"))
    });
    bed.until("the withdrawal", || {
        let known = memory()?;
        let freed = (known.promised, known.freed) == (None, Some(epoch));
        freed.then_some(()).ok_or_else(|| format!("{known:?}"))
    });
    assert!(given(&bed) > 1, "a question and its withdrawal");
    must(bed.power_cut("node1"));
    bed.run("node2", &["mv", "-f", ASIDE, PROGRAM]);
    must(lock.start());
    in_service(&bed, "node2", true);
    must(writer.wait_for(50, PATIENCE));
    let after = bed.conclude(writer, "node2", &[]);
    assert_eq!(after.register.term, before.register.term + 1);
    must(bed.boot("node1"));
    bed.rejoin("node1", "node2");
    let _ = bed.verdict();
}

/// The agent on every node, where the primary runs `expgsql promise` over ssh.
const PROGRAM: &str = "/usr/lib/ocf/resource.d/heartbeat/expgsql";
const ASIDE: &str = "/usr/lib/ocf/resource.d/heartbeat/.expgsql";

/// What the other program has answered, a byte for each answer.
const GIVEN: &str = "/run/given";

/// What node2 answers in turn to one question after the other, in words of a shell: `$promise` is the
/// right promise, and `$other` one for another epoch.
const RUBBISH: [(&str, &[&str]); 2] = [
    (
        "bytes that are no text, nothing, a promise for another epoch, a promise with a failure, two promises, one of the version before",
        &[
            "head -c 3000 /dev/urandom",
            "",
            "echo \"$other\"",
            "echo \"$promise\"; exit 1",
            "echo \"$promise\"; echo \"$promise\"",
            "echo \"$old\"",
        ],
    ),
    ("never", &["exec sleep 600"]),
];

/// Puts a program into the place of node2's that gives `answers` in turn where it is asked to promise,
/// and leaves everything else to the right one. How many it has given is the length of `GIVEN`.
fn answers_with(bed: &Bed, epoch: u64, answers: &[&str]) {
    let asked = must(bed.node("node2").read("/var/lib/pha4pgsql/pgsql.conf"));
    let asked: serde_json::Value = serde_json::from_slice(&asked).unwrap();
    let (lock, system) = (&asked["cluster"]["lock"], &asked["cluster"]["system"]);
    let given = |epoch: u64| format!("\"answer\":{{\"promised\":{{\"epoch\":{epoch}}}}}}}");
    let promise = |epoch: u64| {
        let own = format!("\"node\":\"node2\",\"lock\":{lock},\"system\":{system}");
        format!("pha4pgsql promise: {{\"version\":2,{own},{}", given(epoch))
    };
    let old = format!("{{\"version\":1,\"node\":\"node2\",{}", given(epoch));
    let mut script = format!(
        "#!/bin/sh\n[ \"$1\" = promise ] || exec {ASIDE} \"$@\"\n\
         exec 9>{GIVEN}.lock; flock 9; printf x >>{GIVEN}; turn=$(wc -c <{GIVEN}); exec 9>&-\n\
         cat >/dev/null\npromise='{}' other='{}' old='{old}'\ncase $((turn % {})) in\n",
        promise(epoch),
        promise(epoch + 1),
        answers.len()
    );
    for (turn, answer) in (1..).zip(answers) {
        script.push_str(&format!("{}) {answer} ;;\n", turn % answers.len()));
    }
    script.push_str("esac\n");
    let fresh = format!("{PROGRAM}.new");
    must(bed.node("node2").write(&fresh, script, 0o755));
    bed.run("node2", &["mv", "-f", &fresh, PROGRAM]);
}

fn given(bed: &Bed) -> usize {
    bed.node("node2").read(GIVEN).map_or(0, |text| text.len())
}

fn rubbish_for_a_promise(bed: &Bed) {
    bed.run("node2", &["cp", "-p", PROGRAM, ASIDE]);
    for (what, answers) in RUBBISH {
        bed.run("node2", &["rm", "-f", GIVEN]);
        // One outage may be over before all of them have been given.
        while given(bed) < answers.len() {
            no_promise(bed, what, answers);
        }
    }
    bed.run("node2", &["mv", "-f", ASIDE, PROGRAM]);
    bed.node("node2").kill_named("sleep", Signal::KILL);
}

fn no_promise(bed: &Bed, what: &str, answers: &[&str]) {
    scenario(&format!(
        "R7: lock service stopped, standby stopped, and where it is asked to promise its node answers {what}: the primary is stopped, and is back with the lock service"
    ));
    let lock = must(bed.lock_service());
    let before = Before::now(bed);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    answers_with(bed, before.state.register.epoch, answers);
    must(lock.stop());
    in_service(bed, "node1", false);
    node2_stopped(bed);
    let acknowledged = before.stays_stopped(bed, &writer);
    none_since(&writer, acknowledged);
    must(lock.start());
    before.serves_again(bed, &writer);
    in_service(bed, "node1", true);
    before.concluded(bed, writer);
}

//! The primary's PostgreSQL dies, and the whole cluster is stopped and started.

use pha_testbed::{Signal, Writer};
use pha_tests::cluster::{Bed, CLONE, State, agree, must, scenario};

/// Kills the primary's postmaster and waits until another one serves there under the same state.
fn killed_and_back(bed: &Bed, before: &State, writer: &Writer) -> State {
    let node = bed.node(&before.primary);
    let old = node.postmaster_pid().expect("a postmaster to kill");
    assert!(node.kill_postmaster(Signal::KILL));
    bed.until("another postmaster", || match node.postmaster_pid() {
        Some(pid) if pid != old => Ok(()),
        other => Err(format!("postmaster {other:?}")),
    });
    must(writer.wait_for(20, pha_tests::cluster::PATIENCE));
    let standbys: Vec<&str> = before.standbys.iter().map(String::as_str).collect();
    bed.settle(&before.primary, &standbys)
}

#[test]
fn cluster_stop_start_and_killed_postmasters() {
    let bed = Bed::replicating("crashes");

    scenario("stop and start keep the primary");
    let writer = bed.writer();
    must(writer.wait_for(50, pha_tests::cluster::PATIENCE));
    let before = must(agree(&bed));
    let target = |word: &[&str]| {
        let all = ["crm_resource", "--resource", CLONE, "--meta"];
        bed.run("node1", &[&all[..], word].concat());
    };
    target(&[
        "--set-parameter",
        "target-role",
        "--parameter-value",
        "Stopped",
    ]);
    // As cls_stop does: the databases are down, and Pacemaker knows it. A start that comes between
    // the demotion and the stop would promote what is already down.
    bed.until("both databases stopped", || {
        let left = [bed.server_processes("node1"), bed.server_processes("node2")];
        let known = bed.placements().map_err(|error| error.to_string())?;
        let known = known.iter().filter(|at| at.resource == "pgsql").count();
        if left == [0, 0] && known == 0 {
            Ok(())
        } else {
            Err(format!("{left:?} processes, {known} instances"))
        }
    });
    target(&[
        "--set-parameter",
        "target-role",
        "--parameter-value",
        "Promoted",
    ]);
    let after = bed.settle("node1", &["node2"]);
    assert_eq!(
        (after.timeline, &after.repl_info),
        (before.timeline, &before.repl_info)
    );
    assert_eq!(
        after.register.term,
        before.register.term + 1,
        "one promotion"
    );

    scenario("kill -9 of the postmaster: restart in place");
    must(writer.wait_for(20, pha_tests::cluster::PATIENCE));
    let back = killed_and_back(&bed, &after, &writer);
    assert_eq!(
        (back.timeline, &back.repl_info),
        (after.timeline, &after.repl_info)
    );
    assert_eq!(bed.fail_count("node2", "node1"), "1");
    let _ = bed.verdict();

    scenario("the third failure: takeover");
    let back = killed_and_back(&bed, &back, &writer);
    assert_eq!(
        (back.timeline, &back.repl_info),
        (before.timeline, &before.repl_info)
    );
    assert_eq!(bed.fail_count("node2", "node1"), "2");
    assert!(bed.node("node1").kill_postmaster(Signal::KILL));
    let over = bed.conclude(writer, "node2", &[]);
    assert_eq!(over.timeline, before.timeline + 1);
    assert!(
        over.repl_info
            .starts_with(&format!("node2|{}|", before.timeline)),
        "{over:?}"
    );
    assert_eq!(bed.fail_count("node2", "node1"), "3");
    assert_eq!(bed.server_processes("node1"), 0);

    scenario("the node that failed comes back once it is cleaned up");
    bed.cleanup("node2");
    bed.rejoin("node1", "node2");
    let _ = bed.verdict();
}

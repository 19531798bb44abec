//! Operations of the agent that are ended in the middle: by SIGKILL, and by Pacemaker when their
//! time is over. Pacemaker recovers from them, and the register keeps what it decides from doing
//! harm. One cluster for all of it.

use std::time::Instant;

use pha_testbed::{Output, Process, Signal};
use pha_tests::cluster::{Bed, CLONE, PATIENCE, State, agree, must, register, scenario};

/// Runs a command of the operator's that has to end with 0, and returns what it said.
#[track_caller]
fn cls(bed: &Bed, node: &str, words: &[&str]) -> String {
    let argv = [&["/opt/pha4pgsql/bin/cls"], words].concat();
    let output: Output = must(bed.node(node).exec(&argv, PATIENCE));
    let said = format!("{}\n{}", output.text(), output.stderr);
    assert_eq!(output.code, 0, "cls {words:?} on {node}: {said}");
    said
}

/// Looks for the agent's process that carries an operation out until it is there. It lives for a few
/// hundredths of a second, less than a test pauses otherwise.
#[track_caller]
fn operation(bed: &Bed, node: &str, name: &str) -> Process {
    let began = Instant::now();
    loop {
        if let Some(found) = bed.node(node).operations(name).pop() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "no {name} on {node}");
    }
}

/// Kills the operation as soon as it has begun.
#[track_caller]
fn kill_operation(bed: &Bed, node: &str, name: &str) {
    loop {
        let found = operation(bed, node, name);
        if bed.node(node).kill(|p| p.pid == found.pid, Signal::KILL) == 1 {
            return;
        }
    }
}

/// Waits until Pacemaker has counted what happened to an operation, and for a primary after that.
#[track_caller]
fn counted(bed: &Bed, ask: &str, node: &str) {
    bed.until(&format!("a failure on {node}"), || {
        match bed.fail_count(ask, node).as_str() {
            "0" => Err("none".to_owned()),
            _ => Ok(()),
        }
    });
    bed.run(ask, &["crm_resource", "--wait", "--timeout", "120"]);
}

/// What `cls_status` says is enough: it names `next`, and that brings the node back.
#[track_caller]
fn mended_by(bed: &Bed, on: &str, node: &str, next: &str) -> State {
    let said = cls(bed, on, &["status"]);
    assert!(said.contains(next), "{next:?} is not in {said}");
    cls(bed, on, &["cleanup", "--node", node]);
    bed.until("a primary with its standby", || match agree(bed) {
        Ok(state) if state.standbys.len() == 1 => Ok(state),
        other => Err(format!("{other:?}")),
    })
}

/// Moves the primary as `crm_resource` does it; the constraint stays until `cls_cleanup`.
fn move_to(bed: &Bed, node: &str) {
    let argv = [
        "crm_resource",
        "--resource",
        CLONE,
        "--move",
        "--master",
        "--node",
        node,
        "--lifetime=PT60S",
    ];
    bed.run(node, &argv);
}

#[test]
fn cluster_killed_operations() {
    let bed = Bed::replicating("killed");
    promote_after_the_register(&bed);
    promote_at_its_beginning(&bed);
    demote(&bed);
    start(&bed);
    monitor(&bed);
    timed_out(&bed);
    let _ = bed.verdict();
}

fn promote_after_the_register(bed: &Bed) {
    scenario("kill -9 of promote when the register is this node's and PostgreSQL no primary yet");
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    let startup = |signal| bed.node("node2").kill_server_process("startup", signal);
    assert_eq!(startup(Signal::STOP), 1);
    must(bed.power_cut("node1"));
    let promoting = operation(bed, "node2", "promote");
    bed.until("the register node2's", || {
        match register(bed)?.owner.as_str() {
            "node2" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    let node2 = bed.node("node2");
    assert_eq!(node2.kill(|p| p.pid == promoting.pid, Signal::KILL), 1);
    assert_eq!(startup(Signal::CONT), 1);
    must(writer.wait_for(50, PATIENCE));
    let after = bed.conclude(writer, "node2", &[]);
    assert!(after.register.term > before.register.term, "{after:?}");
    assert_eq!(bed.fail_count("node2", "node2"), "1");
    let said = cls(bed, "node2", &["status"]);
    assert!(said.contains("cls_cleanup --node node2"), "{said}");
    cls(bed, "node2", &["cleanup"]);
    must(bed.boot("node1"));
    bed.rejoin("node1", "node2");
    let _ = bed.verdict();
}

fn promote_at_its_beginning(bed: &Bed) {
    scenario("kill -9 of promote as soon as it has begun, in a planned switch");
    let before = bed.settle("node2", &["node1"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    move_to(bed, "node1");
    kill_operation(bed, "node1", "promote");
    counted(bed, "node2", "node1");
    must(writer.wait_for(50, PATIENCE));
    must(writer.stop());
    let state = mended_by(bed, "node2", "node1", "cls_cleanup --node node1");
    assert!(state.register.term > before.register.term, "{state:?}");
    let _ = bed.verdict();
    if state.primary != "node1" {
        cls(bed, "node1", &["online_switch", "--to", "node1"]);
    }
}

fn demote(bed: &Bed) {
    scenario("kill -9 of demote: Pacemaker stops PostgreSQL there, and the other node takes over");
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    move_to(bed, "node2");
    kill_operation(bed, "node1", "demote");
    counted(bed, "node2", "node1");
    must(writer.wait_for(50, PATIENCE));
    must(writer.stop());
    // The writer's address was moved before PostgreSQL was stopped, and the standby, which streams
    // through it, may have missed the end of the WAL.
    bed.rejoin("node1", "node2");
    cls(bed, "node2", &["cleanup"]);
    let after = bed.settle("node2", &["node1"]);
    assert_eq!(after.timeline, before.timeline + 1);
    let _ = bed.verdict();
}

fn start(bed: &Bed) {
    scenario("kill -9 of a standby's start: the node stays stopped, and says so");
    let before = bed.settle("node2", &["node1"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    assert!(bed.node("node1").kill_postmaster(Signal::KILL));
    kill_operation(bed, "node1", "start");
    bed.until("the start on record as failed", || {
        match bed.fail_count("node2", "node1").as_str() {
            "INFINITY" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    bed.run("node2", &["crm_resource", "--wait", "--timeout", "120"]);
    assert_eq!(bed.server_processes("node1"), 0);
    must(writer.wait_for(50, PATIENCE));
    mended_by(bed, "node2", "node1", "cls_cleanup --node node1");
    let after = bed.conclude(writer, "node2", &["node1"]);
    assert_eq!(after.register.term, before.register.term);
}

fn monitor(bed: &Bed) {
    scenario("kill -9 of a monitor, on the standby and on the primary: restarted in place");
    let before = bed.settle("node2", &["node1"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    for node in ["node1", "node2"] {
        kill_operation(bed, node, "monitor");
        counted(bed, "node1", node);
        assert_eq!(bed.fail_count("node1", node), "1", "{node}");
        must(writer.wait_for(50, PATIENCE));
        bed.settle("node2", &["node1"]);
        mended_by(bed, "node1", node, &format!("cls_cleanup --node {node}"));
    }
    let after = bed.conclude(writer, "node2", &["node1"]);
    assert_eq!(after.timeline, before.timeline, "in place");
}

/// How often a guard has begun on a node and not ended in an orderly way.
fn guards(bed: &Bed, node: &str) -> usize {
    let log = must(bed.node(node).read("/run/pha4pgsql/pgsql.guard.log"));
    let log = String::from_utf8_lossy(&log).into_owned();
    log.matches("the guard is at work").count() - log.matches("the guard ends").count()
}

fn timed_out(bed: &Bed) {
    scenario(
        "a monitor that hangs is ended by Pacemaker at its timeout, and the guard that it has started is not",
    );
    // The shortest that the packaged agents recommend.
    let mut config = bed.spec().pacemaker.clone();
    config.operation_timeout = 20;
    must(bed.push_configuration(&config));
    let before = bed.settle("node2", &["node1"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    let at_work = guards(bed, "node2");
    let lock = must(bed.lock_service());
    let node = bed.node("node2");
    let guard = operation(bed, "node2", "guard");
    // The monitor waits for the lock service, so that it is there when it has started a guard.
    must(lock.freeze());
    assert_eq!(node.kill(|p| p.pid == guard.pid, Signal::KILL), 1);
    let next = bed.until("another guard", || match operation(bed, "node2", "guard") {
        next if next.pid == guard.pid => Err("the old one".to_owned()),
        next => Ok(next),
    });
    let hanging = operation(bed, "node2", "monitor");
    assert_eq!(node.kill(|p| p.pid == hanging.pid, Signal::STOP), 1);
    must(lock.thaw());
    // The guard alone keeps the lease, and writes go on.
    let mut kept = false;
    while bed.fail_count("node1", "node2") == "0" {
        kept = node.processes().iter().any(|p| p.pid == next.pid);
        must(writer.wait_for(20, PATIENCE));
    }
    assert!(kept, "the guard went before its monitor");
    bed.until("the end of the monitor", || {
        match node.processes().iter().any(|p| p.pid == hanging.pid) {
            true => Err("it is there".to_owned()),
            false => Ok(()),
        }
    });
    let after = bed.conclude(writer, "node2", &["node1"]);
    assert_eq!(after.timeline, before.timeline, "in place");
    assert!(bed.logged("node2", "timed out") > 0);
    assert_eq!(
        guards(bed, "node2"),
        at_work + 1,
        "the test has killed one guard"
    );
    mended_by(bed, "node1", "node2", "cls_cleanup --node node2");
    must(bed.configure());
    bed.settle("node2", &["node1"]);
}

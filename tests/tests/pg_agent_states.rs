//! A database that does not run although it seems to, and one that runs although it does not
//! answer: what is dead is not taken for alive, and what is only busy is not restarted.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pha_tests::agent::{World, give, send};
use pha_tests::pg::eventually;
use rustix::process::Signal;

/// A process that has nothing to do with PostgreSQL.
struct Bystander(Child);

impl Bystander {
    fn new() -> Self {
        let child = Command::new("sleep")
            .arg("600")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn pid(&self) -> i32 {
        self.0.id().try_into().unwrap()
    }

    fn is_untouched(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pid_file(world: &World, text: &str) {
    let path = world.data().join("postmaster.pid");
    fs::write(&path, text).unwrap();
    give(&path).unwrap();
}

fn pid_file_of(world: &World, pid: i32) -> String {
    format!(
        "{pid}\n{}\n1700000000\n5432\n{}\n\n  5432001    131072\nready   \n",
        world.data().display(),
        world.dir.join("pg").display()
    )
}

#[test]
fn a_process_number_that_is_somebody_elses_is_left_alone_by_every_action() {
    let world = World::new().unwrap();
    let mut bystander = Bystander::new();
    pid_file(&world, &pid_file_of(&world, bystander.pid()));
    world.call("monitor").run().is(7);
    world.monitor().run().is(7);
    world.call("stop").run().is(0);
    assert!(bystander.is_untouched());
    world.call("start").run().is(0);
    assert_ne!(world.postmaster(), Some(bystander.pid()));
    world.monitor().run().is(0);
    world.call("stop").run().is(0);
    assert!(bystander.is_untouched());
}

#[test]
fn a_process_number_that_is_another_postgres_is_left_alone() {
    let other = World::new().unwrap();
    other.call("start").run().is(0);
    let pid = other.postmaster().unwrap();
    let world = World::new().unwrap();
    pid_file(&world, &pid_file_of(&world, pid));
    world.call("monitor").run().is(7);
    world.call("stop").run().is(0);
    other.monitor().run().is(0);
    assert_eq!(other.postmaster(), Some(pid));
    world.call("start").run().is(0);
    world.call("stop").run().is(0);
    assert_eq!(other.postmaster(), Some(pid));
    other.call("stop").run().is(0);
}

#[test]
fn a_stale_or_damaged_pid_file_means_not_running() {
    let world = World::new().unwrap();
    for text in [
        "",
        "\n",
        "999999999\n",
        "-17\n",
        "0\n",
        "not a number\n",
        "\u{fffd}\0\n",
    ] {
        pid_file(&world, text);
        for (action, code) in [("monitor", 7), ("stop", 0)] {
            let outcome = world.call(action).run();
            assert_eq!(outcome.code, Some(code), "{text:?}: {action}: {outcome:#?}");
        }
    }
    // What cannot be read is quoted, and left to the operator.
    world
        .call("start")
        .run()
        .is(1)
        .because("not with a process number");
    // A power cut soon after the file was made leaves it empty, and PostgreSQL would not start.
    pid_file(&world, "");
    world.call("start").run().is(0);
    world.call("stop").run().is(0);
    // A power cut leaves the file of a server that was, and the socket's lock.
    world.call("start").run().is(0);
    assert!(world.crash());
    assert!(eventually(Duration::from_secs(10), || world
        .processes()
        .is_empty()));
    assert!(world.data().join("postmaster.pid").exists());
    world.call("monitor").run().is(7);
    world.call("start").run().is(0);
    world.call("stop").run().is(0);
}

#[test]
fn a_frozen_database_is_busy_at_first_and_failed_when_it_stays_so_and_stop_ends_it() {
    let world = World::new().unwrap();
    world.call("start").run().is(0);
    world.signal(Signal::STOP);
    let short = Duration::from_secs(10);
    world.monitor().timeout(short).run().is(0);
    world.call("monitor").timeout(short).run().is(0);
    world.monitor().timeout(short).run().is(0);
    world
        .monitor()
        .timeout(short)
        .run()
        .is(1)
        .because("has not answered 3 monitors");
    // One answer in between makes it healthy again.
    world.signal(Signal::CONT);
    world.monitor().run().is(0);
    world.signal(Signal::STOP);
    world.monitor().timeout(short).run().is(0);
    world.call("stop").timeout(short).run().is(0);
    assert!(world.processes().is_empty());
}

#[test]
fn a_frozen_backend_does_not_keep_the_database_from_answering_nor_from_stopping() {
    let world = World::new().unwrap();
    world.call("start").run().is(0);
    let mut session = session(&world, "select pg_sleep(600)");
    assert!(eventually(Duration::from_secs(20), || sleepers(&world) == 1));
    let backend: i32 = world
        .sql("select pid from pg_stat_activity where wait_event = 'PgSleep'")
        .unwrap()
        .parse()
        .unwrap();
    send(backend, Signal::STOP);
    world.monitor().run().is(0);
    world.call("stop").run().is(0);
    assert!(world.processes().is_empty());
    let _ = session.kill();
    let _ = session.wait();
}

fn session(world: &World, sql: &str) -> Child {
    Command::new(pha_tests::pg::bin_directory().unwrap().join("psql"))
        .args([
            "-X", "-q", "-U", "postgres", "-d", "postgres", "-c", sql, "-h",
        ])
        .arg(world.dir.join("pg"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn sleepers(world: &World) -> usize {
    world
        .sql("select count(*) from pg_stat_activity where wait_event = 'PgSleep'")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

#[test]
fn exhausted_connections_are_no_reason_for_a_restart() {
    let mut world = World::new().unwrap();
    // No slot is kept for superusers, so that the agent gets none either.
    world
        .configure(&[
            "max_connections = 3",
            "superuser_reserved_connections = 0",
            "max_wal_senders = 0",
        ])
        .unwrap();
    world.call("start").run().is(0);
    let mut sessions: Vec<Child> = vec![];
    let full = eventually(Duration::from_secs(30), || {
        let refused = |error: String| error.contains("too many clients");
        let is_full = world.sql("select 1").is_err_and(refused);
        if !is_full {
            sessions.push(session(&world, "select pg_sleep(600)"));
        }
        is_full
    });
    assert!(full);
    let outcome = world.monitor().run().is(0);
    assert!(outcome.stderr.contains("too many clients"), "{outcome:#?}");
    for _ in 0..4 {
        world.monitor().run().is(0);
    }
    world.call("monitor").run().is(0);
    // A primary stays one.
    world.replicated("async");
    world.monitor().run().is(8);
    world.params.remove("rep_mode");
    world.call("stop").run().is(0);
    for session in &mut sessions {
        let _ = session.kill();
        let _ = session.wait();
    }
}

#[test]
fn a_long_recovery_is_running_and_is_not_restarted() {
    let world = World::new().unwrap();
    // Recovery waits for a file that a restore command fetches for ever: the postmaster answers
    // "the database system is starting up" all the time.
    world
        .configure(&["restore_command = 'sleep 600'", "hot_standby = on"])
        .unwrap();
    world.append("recovery.signal", &[]).unwrap();
    let outcome = world
        .call("start")
        .timeout(Duration::from_secs(8))
        .run()
        .is(1);
    assert!(
        outcome.reason().contains("did not end in its time"),
        "{outcome:#?}"
    );
    for _ in 0..4 {
        let outcome = world.monitor().run().is(0);
        assert!(outcome.stderr.contains("starting up"), "{outcome:#?}");
    }
    world.call("monitor").run().is(0);
    world.call("stop").run().is(0);
    assert!(world.processes().is_empty());
}

#[test]
fn a_long_shutdown_is_not_taken_for_a_failure() {
    let world = World::new().unwrap();
    world.call("start").run().is(0);
    let mut session = session(&world, "select pg_sleep(600)");
    assert!(eventually(Duration::from_secs(20), || sleepers(&world) == 1));
    // Smart shutdown waits for the session.
    send(world.postmaster().unwrap(), Signal::TERM);
    let refuses = || {
        world
            .sql("select 1")
            .is_err_and(|error| error.contains("shutting down"))
    };
    assert!(eventually(Duration::from_secs(20), refuses));
    for _ in 0..4 {
        let outcome = world.monitor().run().is(0);
        assert!(outcome.stderr.contains("shutting down"), "{outcome:#?}");
    }
    world.call("stop").run().is(0);
    assert!(world.processes().is_empty());
    let _ = session.kill();
    let _ = session.wait();
}

#[test]
fn a_full_disk_under_the_agents_own_files_stops_no_database() {
    let mut world = World::new().unwrap();
    world.call("start").run().is(0);
    // Every write of the agent fails, as it does on a full disk.
    let full = world.dir.join("full");
    fs::write(&full, "").unwrap();
    for name in ["PHA_STATE_DIR", "PHA_RUN_DIR"] {
        world
            .env
            .insert(name.to_owned(), full.display().to_string());
    }
    world.monitor().run().is(0);
    world.signal(Signal::STOP);
    world.monitor().timeout(Duration::from_secs(10)).run().is(0);
    world.signal(Signal::CONT);
    world.call("stop").run().is(0);
}

#[test]
fn authentication_that_fails_is_not_a_dead_database() {
    let mut world = World::new().unwrap();
    world.call("start").run().is(0);
    world.set("monitor_user", "nobody_there");
    let short = Duration::from_secs(8);
    world
        .call("start")
        .timeout(short)
        .run()
        .is(1)
        .because("nobody_there");
    for _ in 0..4 {
        let outcome = world.monitor().run().is(0);
        assert!(outcome.stderr.contains("nobody_there"), "{outcome:#?}");
    }
    world.call("stop").run().is(0);
}

#[test]
fn a_failing_monitor_sql_is_a_failure_and_says_what_failed() {
    let mut world = World::new().unwrap();
    world.call("start").run().is(0);
    world.set("monitor_sql", "select 1 from no_such_table");
    world.monitor().run().is(1).because("no_such_table");
    world.set("monitor_sql", "select 'a''b'; select 2");
    world.monitor().run().is(0);
    world.call("stop").run().is(0);
}

#[test]
fn a_server_that_dies_at_its_start_is_reported_with_what_its_log_says() {
    let world = World::new().unwrap();
    world.configure(&["shared_buffers = nonsense"]).unwrap();
    world.call("start").run().is(1).because("shared_buffers");
    world.call("monitor").run().is(7);
    world.call("stop").run().is(0);
}

#[test]
fn promote_and_demote_need_replication() {
    let mut world = World::new().unwrap();
    world.call("start").run().is(0);
    for mode in ["none", "slave"] {
        world.set("rep_mode", mode).set("master_ip", "127.0.0.1");
        for action in ["promote", "demote"] {
            world.call(action).run().is(6).because("rep_mode");
        }
    }
    assert!(!world.data().join("standby.signal").exists());
    world.set("rep_mode", "none");
    world.monitor().run().is(0);
    world.call("stop").run().is(0);
}

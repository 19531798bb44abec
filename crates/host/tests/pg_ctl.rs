//! Starting, stopping and looking at a real server.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::{Duration, Instant};

use common::{Cluster, soon};
use pha_core::parse::controldata::State;
use pha_core::postgres::PmStatus;
use pha_host::clock::Deadline;
use pha_host::pgctl::{PgError, Started, StopMode, Stopped};
use pha_host::process::{Postmaster, Process, Signal};

#[test]
fn pg_a_server_starts_is_seen_and_stops() {
    let cluster = Cluster::new("life");
    let ctl = &cluster.ctl;
    assert_eq!(ctl.postmaster().unwrap(), Postmaster::Absent);
    assert_eq!(
        ctl.stop(StopMode::Fast, soon()).unwrap(),
        Stopped::WasNotRunning
    );
    cluster.start();
    let Postmaster::Alive {
        process,
        state,
        file,
    } = ctl.postmaster().unwrap()
    else {
        panic!()
    };
    assert_eq!(
        (state, file.status, file.port),
        ('S', Some(PmStatus::Ready), Some(cluster.port))
    );
    assert_eq!(file.socket_dir.as_ref(), Some(&cluster.dir));
    assert_eq!(file.pid, process.pid());
    assert!(ctl.processes().unwrap().len() > 4);
    // The directory's name would have run a program in a shell.
    assert!(!ctl.pgdata.join("oops").exists() && !std::path::Path::new("/oops").exists());
    assert_eq!(
        cluster.sql("show data_directory"),
        ctl.pgdata.display().to_string()
    );
    assert!(ctl.reload().unwrap());
    assert_eq!(ctl.stop(StopMode::Fast, soon()).unwrap(), Stopped::Ended);
    assert_eq!(ctl.postmaster().unwrap(), Postmaster::Absent);
    assert_eq!(ctl.processes().unwrap(), []);
    assert!(!ctl.reload().unwrap());
    assert_eq!(ctl.controldata(soon()).unwrap().state, State::ShutDown);
}

/// `C.UTF-8` is the one locale besides C that every system has. What PostgreSQL writes before it is in a
/// database goes through the character set of the environment, and comes out as question marks without.
#[test]
fn pg_a_server_writes_its_log_in_the_characters_of_its_language() {
    let cluster = Cluster::new("language");
    let environment = |pid: i32| {
        let text = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        let of = |name: &str| {
            let mut words = text.split('\0');
            words.find_map(|word| {
                word.strip_prefix(name)?
                    .strip_prefix('=')
                    .map(str::to_owned)
            })
        };
        (of("LC_ALL"), of("LC_CTYPE"))
    };
    let started = |line: &str| {
        let path = cluster.ctl.pgdata.join("postgresql.auto.conf");
        std::fs::write(path, line).unwrap();
        cluster.start();
        let Postmaster::Alive { process, .. } = cluster.ctl.postmaster().unwrap() else {
            panic!()
        };
        let seen = environment(process.pid());
        let stopped = cluster.ctl.stop(StopMode::Fast, soon());
        assert_eq!(stopped.unwrap(), Stopped::Ended);
        seen
    };
    let (all, ctype) = started("lc_messages = 'C.UTF-8'\n");
    assert_eq!((all, ctype.as_deref()), (None, Some("C.UTF-8")));
    let (all, ctype) = started("lc_messages = 'C'\n");
    assert_eq!((all, ctype.as_deref()), (None, Some("C")));
    // A locale that this system does not have is no reason to wait, or to start in another way.
    let path = cluster.ctl.pgdata.join("postgresql.auto.conf");
    std::fs::write(path, "lc_messages = 'xx_YY.UTF-8'\n").unwrap();
    assert!(matches!(
        cluster.ctl.start(None, soon()),
        Err(PgError::NotStarted { .. })
    ));
}

#[test]
fn pg_starting_a_running_server_leaves_it_alone() {
    let cluster = Cluster::new("twice");
    cluster.start();
    let before = cluster.sql("select pg_postmaster_start_time()");
    assert!(matches!(
        cluster.ctl.start(None, soon()),
        Ok(Started::Recovering | Started::Ready)
    ));
    assert_eq!(cluster.sql("select pg_postmaster_start_time()"), before);
}

#[test]
fn pg_options_reach_the_server_and_no_shell() {
    let mut cluster = Cluster::new("options");
    let nasty = "a b $(touch /tmp/pha-oops) `id` \"q\" ; '";
    cluster.ctl.start_opt = vec!["-c".to_owned(), format!("cluster_name={nasty}")];
    let elsewhere = cluster.dir.join("else where.conf");
    std::fs::copy(&cluster.ctl.config, &elsewhere).unwrap();
    std::os::unix::fs::chown(&elsewhere, Some(cluster.ctl.user.uid()), None).unwrap();
    cluster.ctl.config = elsewhere.clone();
    cluster.start();
    assert_eq!(cluster.sql("show cluster_name"), nasty);
    assert_eq!(
        cluster.sql("show config_file"),
        elsewhere.display().to_string()
    );
    assert!(!std::path::Path::new("/tmp/pha-oops").exists());

    cluster.ctl.logfile = cluster.dir.join("log$(id)");
    assert!(matches!(
        cluster.ctl.start(None, soon()),
        Err(PgError::UnsafePath {
            parameter: "logfile",
            ..
        })
    ));
}

#[test]
fn pg_a_failed_start_says_what_the_server_said() {
    let cluster = Cluster::new("broken");
    cluster.settings("no_such_setting = 1");
    let error = cluster.ctl.start(None, soon()).unwrap_err().to_string();
    assert!(error.starts_with("postgres did not start: "), "{error}");
    assert!(
        error.contains("unrecognized configuration parameter \"no_such_setting\""),
        "{error}"
    );
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn pg_a_killed_postmaster_leaves_a_stale_file_and_orphans_that_stop_ends() {
    let cluster = Cluster::new("kill9");
    cluster.start();
    let Postmaster::Alive { process, .. } = cluster.ctl.postmaster().unwrap() else {
        panic!()
    };
    // A stopped backend does not notice the death of its postmaster.
    let orphan: i32 = cluster
        .sql("select pid from pg_stat_activity where backend_type = 'walwriter'")
        .parse()
        .unwrap();
    assert!(Process::of(orphan).unwrap().signal(Signal::STOP).unwrap());
    process.signal(Signal::KILL).unwrap();
    assert!(process.wait_gone(soon()));
    let Postmaster::Stale { pid, why } = cluster.ctl.postmaster().unwrap() else {
        panic!()
    };
    assert_eq!(pid, process.pid());
    // Who reaps it, and when, depends on where this runs.
    let gone = [
        "there is no such process",
        "that process has ended and waits to be reaped",
    ];
    assert!(gone.contains(&why.as_str()), "{why}");
    let left = cluster
        .ctl
        .stop(
            StopMode::Immediate,
            Deadline::after(Duration::from_millis(300)),
        )
        .unwrap();
    assert!(
        matches!(&left, Stopped::StillRunning(left) if left.iter().any(|p| p.pid() == orphan)),
        "{left:?}"
    );
    assert_eq!(cluster.ctl.kill_everything(soon()).unwrap(), Stopped::Ended);
    assert_eq!(
        cluster.ctl.kill_everything(soon()).unwrap(),
        Stopped::WasNotRunning
    );
}

#[test]
fn pg_a_stopped_postmaster_outlives_stop_and_is_killed_with_its_children() {
    let cluster = Cluster::new("sigstop");
    cluster.start();
    let Postmaster::Alive { process, .. } = cluster.ctl.postmaster().unwrap() else {
        panic!()
    };
    process.signal(Signal::STOP).unwrap();
    let began = Instant::now();
    let outcome = cluster
        .ctl
        .stop(
            StopMode::Immediate,
            Deadline::after(Duration::from_millis(300)),
        )
        .unwrap();
    assert!(matches!(outcome, Stopped::StillRunning(_)), "{outcome:?}");
    assert!(began.elapsed() < Duration::from_secs(20));
    assert!(matches!(
        cluster.ctl.postmaster().unwrap(),
        Postmaster::Alive { state: 'T', .. }
    ));
    assert_eq!(cluster.ctl.kill_everything(soon()).unwrap(), Stopped::Ended);
}

#[test]
fn pg_a_postmaster_without_its_file_is_stopped_too() {
    let cluster = Cluster::new("nofile");
    cluster.start();
    std::fs::remove_file(cluster.ctl.pgdata.join("postmaster.pid")).unwrap();
    assert_eq!(cluster.ctl.postmaster().unwrap(), Postmaster::Absent);
    assert_eq!(
        cluster.ctl.stop(StopMode::Fast, soon()).unwrap(),
        Stopped::Ended
    );
    assert_eq!(
        cluster.ctl.controldata(soon()).unwrap().state,
        State::ShutDown
    );
}

#[test]
fn pg_a_reused_number_in_the_file_is_seen_as_not_running() {
    use std::os::unix::process::CommandExt;
    let cluster = Cluster::new("reused");
    // Of the server's own account: PostgreSQL itself would refuse to start because of it.
    let mut other = std::process::Command::new("sleep")
        .arg("600")
        .uid(cluster.ctl.user.uid())
        .spawn()
        .unwrap();
    let text = format!(
        "{}\n{}\n1700000000\n5432\n",
        other.id(),
        cluster.ctl.pgdata.display()
    );
    std::fs::write(cluster.ctl.pgdata.join("postmaster.pid"), text).unwrap();
    let seen = cluster.ctl.postmaster().unwrap();
    assert_eq!(
        cluster.ctl.stop(StopMode::Immediate, soon()).unwrap(),
        Stopped::WasNotRunning
    );
    let started = cluster.ctl.start(None, soon());
    let alive = other.try_wait().unwrap().is_none();
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(matches!(seen, Postmaster::Stale { .. }), "{seen:?}");
    assert_eq!(started.unwrap(), Started::Ready);
    assert!(alive, "the other process was touched");
}

/// A power cut between the file's creation and its first line leaves it so, and PostgreSQL refuses to start beside it.
#[test]
fn pg_an_empty_postmaster_pid_is_removed_before_a_start() {
    let cluster = Cluster::new("emptypid");
    let file = cluster.ctl.pgdata.join("postmaster.pid");
    std::fs::write(&file, "").unwrap();
    let seen = cluster.ctl.postmaster().unwrap();
    assert!(matches!(seen, Postmaster::Stale { pid: 0, .. }), "{seen:?}");
    assert_eq!(cluster.ctl.start(None, soon()).unwrap(), Started::Ready);
    // What cannot be read is neither no file nor an empty one: nothing is removed, nothing is started.
    assert_eq!(
        cluster.ctl.stop(StopMode::Fast, soon()).unwrap(),
        Stopped::Ended
    );
    std::fs::create_dir(&file).unwrap();
    assert!(cluster.ctl.start(None, soon()).is_err());
    assert!(file.is_dir());
}

#[test]
fn pg_versions_are_compared() {
    let cluster = Cluster::new("version");
    assert!(cluster.ctl.check_version(soon()).unwrap().major() >= 12);
    std::fs::write(cluster.ctl.pgdata.join("PG_VERSION"), "9.6\n").unwrap();
    let error = cluster.ctl.check_version(soon()).unwrap_err();
    assert!(matches!(error, PgError::OtherVersion { .. }), "{error}");
    std::fs::write(cluster.ctl.pgdata.join("PG_VERSION"), "nonsense\n").unwrap();
    let error = cluster.ctl.check_version(soon()).unwrap_err().to_string();
    assert!(error.contains("nonsense"), "{error}");
    std::fs::remove_file(cluster.ctl.pgdata.join("PG_VERSION")).unwrap();
    assert!(matches!(
        cluster.ctl.check_version(soon()),
        Err(PgError::NoDataDirectory(_))
    ));
}

#[test]
fn pg_a_standby_with_less_than_its_primary_had_is_started_with_what_it_needs() {
    let primary = Cluster::new("limits-primary");
    let standby = Cluster::copy_of("limits-standby", &primary);
    primary.start();
    standby.follow(&primary);
    let lower = "max_connections = 50\nmax_locks_per_transaction = 32";
    standby.settings(lower);
    // By itself PostgreSQL refuses.
    let error = standby.ctl.start(None, soon()).unwrap_err();
    assert!(matches!(error, PgError::NotStarted { .. }), "{error}");
    let started = standby.ctl.start_standby(None, soon()).unwrap();
    assert_eq!(started, Started::Ready);
    let all = "select current_setting('max_connections') || ' ' || current_setting('max_locks_per_transaction') || ' ' || current_setting('max_wal_senders')";
    assert_eq!(standby.sql(all), "100 64 10");
    let streams = "select count(*) from pg_stat_replication where state = 'streaming'";
    primary.until(streams, "1");
    // It would have its own after a start that its WAL allows.
    let next = standby.ctl.limits_of_stopped(soon()).unwrap().unwrap();
    let less: Vec<_> = next
        .less_than(pha_core::limits::Limits::from_values([100, 8, 10, 0, 64]))
        .collect();
    assert_eq!(
        less,
        [
            ("max_connections", 50, 100),
            ("max_locks_per_transaction", 32, 64)
        ]
    );
    // The primary comes down first; then nothing has to be raised any more.
    primary.settings(lower);
    assert_eq!(
        primary.ctl.stop(StopMode::Fast, soon()).unwrap(),
        Stopped::Ended
    );
    primary.start();
    primary.until(streams, "1");
    let replayed = "select pg_current_wal_lsn() <= replay_lsn from pg_stat_replication";
    primary.until(replayed, "t");
    assert_eq!(
        standby.ctl.stop(StopMode::Fast, soon()).unwrap(),
        Stopped::Ended
    );
    let _ = standby.ctl.start_standby(None, soon()).unwrap();
    assert_eq!(standby.sql(all), "50 32 10");
    // What is no standby asks for nothing, and another reason stays one.
    standby.settings("no_such_setting = 1");
    assert_eq!(
        standby.ctl.stop(StopMode::Fast, soon()).unwrap(),
        Stopped::Ended
    );
    let error = standby.ctl.start_standby(None, soon()).unwrap_err();
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}

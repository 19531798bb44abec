//! The local server over SQL, for real: views, what failures mean, and a setting in force.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::{Cluster, postgres, soon};
use pha_core::link_name::LinkName;
use pha_core::lsn::Lsn;
use pha_core::names::NodeName;
use pha_core::postgres::PmStatus;
use pha_core::snapshot::Answer;
use pha_core::status::{SyncState, WalSenderState};
use pha_host::clock::Deadline;
use pha_host::conninfo::Conninfo;
use pha_host::pgctl::{StopMode, Stopped};
use pha_host::postgres::{Postgres, PostgresError};
use pha_host::process::{Postmaster, Process, Signal};
use pha_host::sql::Purpose;

fn access(cluster: &Cluster) -> Postgres {
    let info = Conninfo::local(cluster.dir.to_str().unwrap(), cluster.port)
        .with_dbname("postgres")
        .with_user("postgres");
    Postgres {
        info,
        user: postgres(),
    }
}

/// Whether the server is there and refuses the role (SQLSTATE class 28).
fn not_let_in(postgres: &Postgres) -> bool {
    let answer = postgres.ask(None, soon());
    matches!(answer, Answer::Refused(text) if text.contains("(SQLSTATE 28"))
}

fn short() -> Deadline {
    Deadline::after(Duration::from_millis(700))
}

/// Long enough for a commit that waits for nobody.
fn moment() -> Deadline {
    Deadline::after(Duration::from_millis(150))
}

fn pid_of(cluster: &Cluster, kind: &str) -> Process {
    let pid = cluster.sql(&format!(
        "select pid from pg_stat_activity where backend_type = '{kind}'"
    ));
    Process::of(pid.parse().unwrap()).unwrap()
}

/// A primary with a streaming standby.
fn pair(name: &str) -> (Cluster, Cluster) {
    let primary = Cluster::new(name);
    let standby = Cluster::copy_of(&format!("{name}-standby"), &primary);
    standby.follow(&primary);
    primary.start();
    standby.start();
    primary.until(
        "select count(*) from pg_stat_replication where state = 'streaming'",
        "1",
    );
    (primary, standby)
}

#[test]
fn pg_primary_and_standby_describe_themselves() {
    let (primary, standby) = pair("views");
    assert!(
        access(&primary)
            .ensure_physical_slot("odd_slot", soon())
            .unwrap()
    );
    assert!(
        !access(&primary)
            .ensure_physical_slot("odd_slot", soon())
            .unwrap()
    );
    primary.sql("create table t (id int); insert into t values (1)");
    primary.until(
        "select flush_lsn = pg_current_wal_lsn() from pg_stat_replication",
        "t",
    );

    let inserted: Lsn = primary
        .sql("select pg_current_wal_insert_lsn()")
        .parse()
        .unwrap();
    let view = access(&primary).view(soon()).unwrap();
    let own = view.primary().unwrap();
    assert_eq!(own.timeline.get(), 1);
    let now: Lsn = primary
        .sql("select pg_current_wal_flush_lsn()")
        .parse()
        .unwrap();
    assert!(own.links.flushed <= now && own.links.flushed.is_valid());
    let complete = own.complete.expect("nothing is being written");
    assert!(complete >= inserted && complete <= own.links.flushed);
    assert!(view.version >= 120_000 && own.waits.names().is_empty());
    assert_eq!(view.checkpoint.map(|timeline| timeline.get()), Some(1));
    assert_eq!(
        view.system,
        pha_host::pgctl::system_identifier(&primary.ctl.user, &primary.ctl.pgdata)
    );
    let [row] = own.links.rows.as_slice() else {
        panic!("{view:?}")
    };
    assert_eq!(row.name, "standby");
    assert_eq!(
        (row.state, row.sync),
        (Some(WalSenderState::Streaming), Some(SyncState::Async))
    );
    assert_eq!(row.address.as_deref(), Some("127.0.0.1"));
    assert!(row.flushed.is_some_and(|lsn| lsn <= own.links.flushed));
    let [slot] = own.slots.as_slice() else {
        panic!("{view:?}")
    };
    assert_eq!((slot.name.as_str(), slot.active), ("odd_slot", false));
    assert!(slot.restart.is_some());
    assert!(access(&primary).ensure_no_slot("odd_slot", soon()).unwrap());
    assert!(!access(&primary).ensure_no_slot("odd_slot", soon()).unwrap());

    let view = access(&standby).view(soon()).unwrap();
    let own = view.standby().unwrap();
    let receiver = standby.sql("select pid from pg_stat_wal_receiver");
    assert!(own.streaming && own.receiver == receiver.parse().ok());
    assert_eq!(own.timeline.map(|timeline| timeline.get()), Some(1));
    assert!(own.received.is_some() && own.replayed.is_some() && own.paused.is_none());

    standby.ctl.promote(soon()).unwrap();
    standby.until("select pg_is_in_recovery()", "f");
    assert_eq!(
        access(&standby)
            .view(soon())
            .unwrap()
            .primary()
            .unwrap()
            .timeline
            .get(),
        2
    );
}

#[test]
fn pg_failures_are_told_apart() {
    let cluster = Cluster::new("answers");
    let postgres = access(&cluster);
    assert_eq!(postgres.ask(None, soon()), Answer::NotListening);
    cluster
        .settings("max_connections = 4\nsuperuser_reserved_connections = 1\nmax_wal_senders = 0");
    cluster.start();
    assert!(matches!(postgres.ask(None, soon()), Answer::Primary(_)));

    let held: Vec<_> = (0..4).map(|_| postgres.connect(soon()).unwrap()).collect();
    assert!(
        matches!(postgres.ask(None, soon()), Answer::Busy(_)),
        "connections are exhausted"
    );
    drop(held);
    // A backend ends some time after its connection.
    let others = "select count(*) from pg_stat_activity \
                  where backend_type = 'client backend' and pid <> pg_backend_pid()";
    let deadline = soon();
    while !deadline.expired() {
        let mut session = match postgres.connect(deadline) {
            Err(PostgresError::Sql(error)) if error.sqlstate() == Some("53300") => continue,
            connected => connected.unwrap(),
        };
        if session.simple(others, deadline).unwrap() == [[Some("0".to_owned())]] {
            break;
        }
    }

    let nobody = Postgres {
        info: postgres.info.clone().with_user("nobody_there"),
        ..postgres.clone()
    };
    assert!(not_let_in(&nobody));
    let elsewhere = Postgres {
        info: postgres.info.clone().with_dbname("nowhere"),
        ..postgres.clone()
    };
    // The agent's own questions do not go to that database; the administrator's statement does.
    assert!(matches!(elsewhere.ask(None, soon()), Answer::Primary(_)));
    let error = elsewhere.run_monitor_sql("select 1", soon()).unwrap_err();
    let PostgresError::Sql(error) = error else {
        panic!("{error}")
    };
    assert_eq!((error.sqlstate(), error.was_sent()), (Some("3D000"), false));

    let error = postgres.run_monitor_sql("select 1/0", soon()).unwrap_err();
    assert!(error.to_string().contains("division by zero"), "{error}");
    postgres
        .run_monitor_sql("select now(); select 2", soon())
        .unwrap();

    let Postmaster::Alive { process, .. } = cluster.ctl.postmaster().unwrap() else {
        panic!()
    };
    process.signal(Signal::STOP).unwrap();
    // The answer comes although the postmaster never gives one.
    assert_eq!(
        postgres.ask(None, short()),
        Answer::NoAnswer,
        "the postmaster is frozen"
    );
    process.signal(Signal::CONT).unwrap();

    // A smart shutdown waits for this session, and lets nobody in meanwhile.
    let mut until = postgres.connect(soon()).unwrap();
    process.signal(Signal::TERM).unwrap();
    // The signal was sent; the postmaster takes it when it runs.
    let deadline = soon();
    loop {
        let Postmaster::Alive { file, .. } = cluster.ctl.postmaster().unwrap() else {
            panic!()
        };
        match postgres.ask(file.status, soon()) {
            Answer::ShuttingDown => break,
            Answer::Primary(_) if !deadline.expired() => {}
            // It had not written yet what it does.
            Answer::StartingUp if file.status == Some(PmStatus::Ready) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(until.simple("select 1", soon()).is_ok());
}

#[test]
fn pg_peer_authentication_is_that_of_the_owner() {
    let cluster = Cluster::new("peer");
    std::fs::write(
        cluster.ctl.pgdata.join("pg_hba.conf"),
        "local all all peer\n",
    )
    .unwrap();
    cluster.start();
    assert!(matches!(
        access(&cluster).ask(None, soon()),
        Answer::Primary(_)
    ));
    let root = Postgres {
        user: pha_host::user::User::current().unwrap(),
        ..access(&cluster)
    };
    assert!(not_let_in(&root));
}

/// What R4 and R10 rely on. PostgreSQL serves a standby that has WAL past the fork with what lies before
/// it, and believes its report; that the report lies past the primary's own end is what shows it.
#[test]
fn pg_a_diverged_standby_reports_more_than_its_primary_has() {
    let (old, new) = pair("fork");
    old.until(
        "select flush_lsn = pg_current_wal_lsn() from pg_stat_replication",
        "t",
    );
    assert_eq!(
        new.ctl.stop(StopMode::Fast, soon()).unwrap(),
        Stopped::Ended
    );
    old.sql("create table alone as select generate_series(1, 10000)");
    assert_eq!(
        old.ctl.stop(StopMode::Fast, soon()).unwrap(),
        Stopped::Ended
    );
    new.start();
    new.ctl.promote(soon()).unwrap();
    new.until("select pg_is_in_recovery()", "f");
    old.follow(&new);
    old.start();

    let before = access(&new).view(soon()).unwrap();
    let before = before.primary().unwrap().links.flushed;
    let deadline = soon();
    let mut reported = 0;
    while reported < 3 {
        assert!(!deadline.expired(), "it was seen {reported} times");
        let view = access(&new).view(soon()).unwrap();
        let links = view.primary().unwrap().links.clone();
        let end = links.flushed;
        for row in links.rows {
            if row.flushed.is_some() {
                assert!(!row.follows(end), "{row:?}, the primary has {end}");
                reported += 1;
            }
        }
    }
    let mut session = access(&new).connect(soon()).unwrap();
    let node: NodeName = "standby".parse().unwrap();
    let standby = [(node.clone(), LinkName::plain(&node))].into();
    let have = access(&new).acknowledged_by(&mut session, &standby, short());
    // The time may also be over in the middle of a look.
    assert_eq!(have.unwrap_or_default(), [].into());
    // A barrier lies past whatever was there before it.
    let barrier = access(&new).write_barrier(soon()).unwrap();
    assert!(barrier > before, "{barrier} and {before}");
}

/// Sets `synchronous_standby_names` in the configuration; nobody is told.
fn set_names(cluster: &Cluster, value: &str) {
    cluster.settings(&format!("synchronous_standby_names = '{value}'"));
}

/// Whether a commit is acknowledged until the deadline: [`soon`] where it must be, [`moment`] where
/// it must not.
fn commits(cluster: &Cluster, deadline: Deadline) -> bool {
    let client = access(cluster).connect_for(Purpose::AsSet, soon());
    let mut session = client.unwrap();
    let made = "create table if not exists public.c (id int)";
    session.simple(made, deadline).is_ok()
        && session
            .simple("insert into public.c values (1)", deadline)
            .is_ok()
}

#[test]
fn pg_once_a_name_is_in_force_no_commit_goes_past_it() {
    let cluster = Cluster::new("force");
    cluster.start();
    cluster.sql("create table c (id int)");
    for round in 0..10 {
        set_names(&cluster, "nobody");
        access(&cluster)
            .await_sync_names_in_force(&cluster.ctl, "nobody", soon())
            .unwrap();
        assert!(
            !commits(&cluster, moment()),
            "round {round}: a commit did not wait"
        );
        set_names(&cluster, "");
        access(&cluster)
            .await_sync_names_in_force(&cluster.ctl, "", soon())
            .unwrap();
        assert!(
            commits(&cluster, soon()),
            "round {round}: a commit still waits"
        );
    }
}

#[test]
fn pg_names_that_a_file_with_an_error_keeps_from_being_read_are_not_taken_up() {
    let cluster = Cluster::new("unread");
    cluster.start();
    let take_up = |value| access(&cluster).take_up_sync_names(&cluster.ctl, value, soon());
    set_names(&cluster, "nobody");
    take_up("nobody").unwrap();

    let before = std::fs::read_to_string(&cluster.ctl.config).unwrap();
    cluster.settings("synchronous_standby_names = ''\nshared_bufers = 1GB");
    let error = take_up("").unwrap_err();
    assert!(matches!(error, PostgresError::Unread(_)), "{error}");
    let text = error.to_string();
    for said in [".conf line ", "shared_bufers: unrecognized"] {
        assert!(text.contains(said), "{text}");
    }
    // The next start would not come about, and nobody takes the word for one that was asked for.
    let error = cluster.ctl.limits_of_stopped(soon()).unwrap_err();
    assert!(error.to_string().contains("shared_bufers"), "{error}");
    let other = cluster.ctl.setting_of_stopped("no_such_setting", soon());
    assert!(other.is_err());

    std::fs::write(&cluster.ctl.config, before).unwrap();
    // A value that waits for a restart keeps no other from being read.
    cluster.settings("synchronous_standby_names = ''\nmax_connections = 30");
    take_up("").unwrap();
    let other = cluster.ctl.setting_of_stopped("no_such_setting", soon());
    assert_eq!(other.unwrap(), None);
    assert!(commits(&cluster, soon()));
}

#[test]
fn pg_a_checkpointer_that_does_not_listen_is_waited_for() {
    let cluster = Cluster::new("deaf");
    cluster.start();
    let checkpointer = pid_of(&cluster, "checkpointer");
    checkpointer.signal(Signal::STOP).unwrap();
    set_names(&cluster, "nobody");
    let error = access(&cluster)
        .await_sync_names_in_force(&cluster.ctl, "nobody", short())
        .unwrap_err();
    assert!(matches!(error, PostgresError::Deadline { .. }), "{error}");
    assert!(
        error.to_string().contains(&checkpointer.pid().to_string()),
        "{error}"
    );
    // New connections show the value, and it is not in force: this is what the wait is for.
    assert_eq!(cluster.sql("show synchronous_standby_names"), "nobody");
    assert!(commits(&cluster, soon()));
    checkpointer.signal(Signal::CONT).unwrap();
    access(&cluster)
        .await_sync_names_in_force(&cluster.ctl, "nobody", soon())
        .unwrap();
    assert!(!commits(&cluster, moment()));
}

#[test]
fn pg_a_wal_sender_with_the_old_setting_is_waited_for() {
    let (primary, standby) = pair("sender");
    let sender = pid_of(&primary, "walsender");
    sender.signal(Signal::STOP).unwrap();
    set_names(&primary, "standby");
    let error = access(&primary)
        .await_sync_names_in_force(&primary.ctl, "standby", short())
        .unwrap_err();
    assert!(
        error.to_string().contains(&sender.pid().to_string()),
        "{error}"
    );
    sender.signal(Signal::CONT).unwrap();
    access(&primary)
        .await_sync_names_in_force(&primary.ctl, "standby", soon())
        .unwrap();
    assert!(commits(&primary, soon()));
    drop(standby);
}

#[test]
fn pg_a_spread_checkpoint_does_not_hold_the_proof_up() {
    let cluster = Cluster::new("busy");
    cluster.settings(
        "checkpoint_timeout = 300\ncheckpoint_completion_target = 0.9\nshared_buffers = 64MB",
    );
    cluster.start();
    cluster.sql("create table c (id int); create table big as select g, repeat('x', 500) from generate_series(1, 60000) g");
    if access(&cluster).view(soon()).unwrap().version < 140_000 {
        // Its nap shows no wait event: there the proof comes with the end of the checkpoint.
        return;
    }
    let mut backup = access(&cluster).connect(soon()).unwrap();
    // A backup that is not in a hurry asks for a spread checkpoint, which takes minutes here.
    let function = if access(&cluster).view(soon()).unwrap().version >= 150_000 {
        "pg_backup_start"
    } else {
        "pg_start_backup"
    };
    assert!(
        backup
            .simple(
                &format!("select {function}('x', false)"),
                Deadline::after(Duration::from_millis(300))
            )
            .is_err()
    );
    cluster.until(
        "select wait_event from pg_stat_activity where backend_type = 'checkpointer'",
        "CheckpointWriteDelay",
    );
    for value in ["nobody", "", "nobody"] {
        set_names(&cluster, value);
        access(&cluster)
            .await_sync_names_in_force(&cluster.ctl, value, soon())
            .unwrap();
        let deadline = if value.is_empty() { soon() } else { moment() };
        assert_eq!(commits(&cluster, deadline), value.is_empty());
    }
    assert_eq!(
        cluster.sql("select wait_event from pg_stat_activity where backend_type = 'checkpointer'"),
        "CheckpointWriteDelay",
        "the checkpoint ended too early for this test"
    );
}

#[test]
fn pg_a_role_that_may_not_see_the_checkpointer_is_told_what_to_grant() {
    let cluster = Cluster::new("grant");
    cluster.start();
    cluster.sql("create role watcher login");
    set_names(&cluster, "nobody");
    cluster.ctl.reload().unwrap();
    let watcher = Postgres {
        info: access(&cluster).info.with_user("watcher"),
        user: postgres(),
    };
    let error = watcher
        .await_sync_names_in_force(&cluster.ctl, "nobody", soon())
        .unwrap_err()
        .to_string();
    assert!(error.contains("grant pg_monitor to watcher"), "{error}");
    assert!(watcher.view(soon()).is_ok());
}

/// A standby is opened by a reload, and closed by one: what it has not taken up is no success.
#[test]
fn pg_a_reload_that_takes_up_nothing_is_an_error_with_its_line() {
    let cluster = Cluster::new("unread");
    cluster.start();
    let own = access(&cluster);
    let take_up = |value: &str| own.take_up_standby(&cluster.ctl, value, soon());
    set_names(&cluster, "nobody");
    take_up("nobody").unwrap();
    let config = cluster.ctl.pgdata.join("postgresql.conf");
    let whole = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{whole}\na_word = 1\n")).unwrap();
    // Whether the names are to change or not.
    set_names(&cluster, "");
    for value in ["", "nobody"] {
        let error = take_up(value).unwrap_err().to_string();
        assert!(error.contains("a_word"), "{value:?}: {error}");
    }
    assert_eq!(own.own_file_errors(soon()).unwrap().len(), 1);
    std::fs::write(&config, whole).unwrap();
    set_names(&cluster, "");
    take_up("").unwrap();
    assert!(own.own_file_errors(soon()).unwrap().is_empty());

    // Who may not see them is told nothing, and is kept from nothing.
    cluster.sql("create role watcher login");
    let watcher = Postgres {
        info: access(&cluster).info.with_user("watcher"),
        user: postgres(),
    };
    assert!(watcher.own_file_errors(soon()).unwrap().is_empty());
}

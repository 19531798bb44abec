//! Bad parameters and bad data directories: one sentence and the fitting code where PostgreSQL is
//! to be started, and never an obstacle where it is to be looked for or to be ended.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::os::unix::fs::lchown;

use pha_tests::agent::{World, give};

/// The code of validate-all and start, and a part of the sentence.
struct Case {
    name: &'static str,
    break_it: fn(&mut World),
    code: i32,
    says: &'static str,
}

const fn case(name: &'static str, code: i32, says: &'static str, break_it: fn(&mut World)) -> Case {
    Case {
        name,
        break_it,
        code,
        says,
    }
}

/// Cases that damage the data directory.
///
/// OCF: 2 wrong on this node, 4 rights, 5 missing on this node, 6 wrong on every node.
const DATA: &[Case] = &[
    case("no data directory", 5, "pgdata", |world| {
        fs::remove_dir_all(world.data()).unwrap();
    }),
    // The word by which cls_status knows the repair; initdb is for who makes a cluster.
    case(
        "an empty data directory",
        5,
        "run cls_rebuild_slave",
        |world| {
            fs::remove_dir_all(world.data()).unwrap();
            fs::create_dir(world.data()).unwrap();
            give(&world.data()).unwrap();
        },
    ),
    case("a file instead of the data directory", 5, "data", |world| {
        fs::remove_dir_all(world.data()).unwrap();
        fs::write(world.data(), "").unwrap();
    }),
    case("somebody else's data directory", 4, "chown", |world| {
        lchown(world.data(), Some(0), Some(0)).unwrap();
    }),
    case(
        "another major version",
        5,
        "is of PostgreSQL 9.6",
        |world| {
            fs::write(world.data().join("PG_VERSION"), "9.6\n").unwrap();
        },
    ),
    case("no version", 5, "\"what?", |world| {
        fs::write(world.data().join("PG_VERSION"), "what?\n").unwrap();
    }),
    case("no configuration file", 5, "postgresql.conf", |world| {
        fs::remove_file(world.data().join("postgresql.conf")).unwrap();
    }),
];

/// Cases that only change parameters, so that they can share a data directory.
const PARAMETERS: &[Case] = &[
    case(
        "a configuration elsewhere that is missing",
        5,
        "/nowhere/pg.conf",
        |world| {
            world.set("config", "/nowhere/pg.conf");
        },
    ),
    case("no pg_ctl", 5, "pg_ctl", |world| {
        world.set("pgctl", "/nowhere/pg_ctl");
    }),
    case("no such account", 5, "nobody-of-that-name", |world| {
        world.set("pgdba", "nobody-of-that-name");
    }),
    case("root as the account", 6, "refuses to run", |world| {
        world.set("pgdba", "root");
    }),
    case("an unknown mode", 6, "\"synchronous\"", |world| {
        world.set("rep_mode", "synchronous");
    }),
    case("a bad number", 6, "\"54 32\"", |world| {
        world.set("pgport", "54 32");
    }),
    case("a number too large", 6, "\"65536\"", |world| {
        world.set("pgport", "65536");
    }),
    case("a bad time", 6, "\"soon\"", |world| {
        world.set("stop_escalate", "soon");
    }),
    case("a bad boolean", 6, "\"maybe\"", |world| {
        world.set("check_wal_receiver", "maybe");
    }),
    case("a relative path", 6, "\"pg/data\"", |world| {
        world.set("pgdata", "pg/data");
    }),
    case("a list without this node", 2, "node1", |world| {
        world.replicated("sync").set("node_list", "node3 node2");
    }),
    case("this node in another spelling", 2, "NODE1", |world| {
        world.replicated("async").set("node_list", "NODE1 node2");
    }),
    case("a node twice", 6, "twice", |world| {
        world
            .replicated("sync")
            .set("node_list", "node1 node2 node1");
    }),
    case("no list", 6, "node_list", |world| {
        world.replicated("sync").params.remove("node_list");
    }),
    case("no address of the primary", 6, "master_ip", |world| {
        world.set("rep_mode", "slave");
    }),
    case("a password without a user", 6, "monitor_user", |world| {
        world.set("monitor_password", "hunter2");
    }),
    case("a lock service that is not named", 6, "distlock", |world| {
        world.replicated("sync").set("enable_distlock", "true");
    }),
    case("two lock services", 6, "distlock", |world| {
        world
            .replicated("sync")
            .set("enable_distlock", "true")
            .set("distlock_conninfo", "host=127.0.0.1")
            .set("distlock_lockname", "distlock:x")
            .set("distlock_lock_cmd", "/bin/true")
            .set("distlock_unlock_cmd", "/bin/true");
    }),
    case(
        "a lock table that is no name",
        6,
        "distlock_lockname",
        |world| {
            world
                .replicated("sync")
                .set("enable_distlock", "true")
                .set("distlock_conninfo", "host=127.0.0.1")
                .set("distlock_lockname", "x; drop table x:y");
        },
    ),
    case(
        "a connection string that is none",
        6,
        "distlock_conninfo",
        |world| {
            world
                .replicated("sync")
                .set("enable_distlock", "true")
                .set("distlock_conninfo", "host='unclosed")
                .set("distlock_lockname", "distlock:x");
        },
    ),
    case("the agent's files inside the data", 6, "tmpdir", |world| {
        let data = world.data().to_string_lossy().into_owned();
        world.set("tmpdir", data);
    }),
    case("an unclosed quote", 6, "start_opt", |world| {
        world.set("start_opt", "-c 'x=1");
    }),
];

fn check(world: &World, case: &Case) {
    for action in ["validate-all", "start"] {
        let outcome = world.call(action).run();
        let right = outcome.code == Some(case.code) && outcome.reason().contains(case.says);
        assert!(right, "{}: {action}: {outcome:#?}", case.name);
        assert!(!outcome.stderr.contains("hunter2"), "{outcome:#?}");
    }
    for (action, code) in [("monitor", 7), ("stop", 0)] {
        let outcome = world.call(action).run();
        assert_eq!(
            outcome.code,
            Some(code),
            "{}: {action}: {outcome:#?}",
            case.name
        );
    }
    assert!(world.processes().is_empty(), "{}", case.name);
}

#[test]
fn a_bad_data_directory_is_refused_and_keeps_nobody_from_looking_and_stopping() {
    for case in DATA {
        let mut world = World::new().unwrap();
        (case.break_it)(&mut world);
        check(&world, case);
    }
}

#[test]
fn bad_parameters_are_refused_and_keep_nobody_from_looking_and_stopping() {
    let mut world = World::new().unwrap();
    let sound = world.params.clone();
    for case in PARAMETERS {
        world.params = sound.clone();
        (case.break_it)(&mut world);
        check(&world, case);
    }
}

#[test]
fn defaults_and_an_old_agents_parameters_are_fine() {
    let mut world = World::new().unwrap();
    world.call("validate-all").run().is(0);
    world
        .replicated("sync")
        .set("restart_on_promote", "true")
        .set("replication_slot_name", "")
        .set("stop_escalate", "90")
        .set("xlog_check_count", "3")
        .set("crm_attr_timeout", "5");
    let outcome = world.call("validate-all").run().is(0);
    assert!(
        outcome
            .stderr
            .lines()
            .any(|line| line.starts_with("WARNING:") && line.contains("restart_on_promote")),
        "{outcome:#?}"
    );
}

/// Distributions have it in another package than the server: noticed at the first start of a standby
/// whose primary has changed.
#[test]
fn a_program_that_will_be_needed_is_missed_beforehand_and_starts_nobody_without_need() {
    let mut world = World::new().unwrap();
    fs::remove_file(world.dir.join("pgbin/pg_waldump")).unwrap();
    world.call("validate-all").run().is(0);
    world.call("start").run().is(0);
    world.call("stop").run().is(0);
    world.replicated("sync");
    let outcome = world.call("validate-all").run().is(5);
    let reason = outcome.reason();
    assert!(reason.starts_with("install pg_waldump: "), "{outcome:#?}");
    assert!(reason.contains("without pg_waldump"), "{outcome:#?}");
}

#[test]
fn a_running_database_is_stopped_although_its_configuration_is_broken_since() {
    let mut world = World::new().unwrap();
    world.call("start").run().is(0);
    assert!(!world.processes().is_empty());
    world
        .set("rep_mode", "synchronous")
        .set("pgport", "x")
        .set("pgctl", "/nowhere/pg_ctl");
    world.call("monitor").run().is(0);
    world.call("stop").run().is(0);
    assert!(world.processes().is_empty());
}

#[test]
fn foreign_synchronous_standby_names_are_refused_with_file_and_line() {
    let foreign = "synchronous_standby_names = 'other'";
    type Place = fn(&World) -> (String, usize);
    let places: [(&str, Place); 5] = [
        ("postgresql.conf", |world| {
            let path = world.data().join("postgresql.conf");
            world
                .configure(&["synchronous_standby_names = 'other'"])
                .unwrap();
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            (path.display().to_string(), lines)
        }),
        ("postgresql.auto.conf", |world| {
            let path = world.data().join("postgresql.auto.conf");
            world
                .append(
                    "postgresql.auto.conf",
                    &["synchronous_standby_names = 'other'"],
                )
                .unwrap();
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            (path.display().to_string(), lines)
        }),
        ("an include", |world| {
            world.configure(&["include 'more.conf'"]).unwrap();
            world
                .append(
                    "more.conf",
                    &["# nothing", "Synchronous_Standby_Names 'other'"],
                )
                .unwrap();
            (world.data().join("more.conf").display().to_string(), 2)
        }),
        ("an include of an include", |world| {
            world.configure(&["include_if_exists 'a.conf'"]).unwrap();
            world.append("a.conf", &["include = 'b.conf'"]).unwrap();
            world
                .append("b.conf", &["", "", "synchronous_standby_names='other'"])
                .unwrap();
            (world.data().join("b.conf").display().to_string(), 3)
        }),
        ("an include_dir", |world| {
            world.configure(&["include_dir = 'conf.d'"]).unwrap();
            fs::create_dir(world.data().join("conf.d")).unwrap();
            give(&world.data().join("conf.d")).unwrap();
            world
                .append("conf.d/10.conf", &["synchronous_standby_names = 'other'"])
                .unwrap();
            (world.data().join("conf.d/10.conf").display().to_string(), 1)
        }),
    ];
    assert!(foreign.contains("other"));
    for (name, place) in places {
        let mut world = World::new().unwrap();
        world.replicated("sync");
        world.call("validate-all").run().is(0);
        let (file, line) = place(&world);
        for action in ["validate-all", "start"] {
            let outcome = world.call(action).run();
            assert!(matches!(outcome.code, Some(5 | 6)), "{name}: {outcome:#?}");
            assert!(
                outcome.reason().contains(&format!("{file}, line {line}")),
                "{name}: {file}, line {line}: {outcome:#?}"
            );
        }
        assert!(world.processes().is_empty());
        world.call("monitor").run().is(7);
        world.call("stop").run().is(0);
        // Without replication the setting is the administrator's own.
        world.params.remove("rep_mode");
        world.call("validate-all").run().is(0);
    }
}

//! Values made to break out of a shell, of SQL, of a configuration file and of a connection
//! string, in every parameter; and secrets, which must not be seen where others can look.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pha_core::params::{Kind, Spec, TABLE};
use pha_host::clock::Deadline;
use pha_host::lock;
use pha_tests::agent::{World, give, together};
use pha_tests::pg;

/// What runs the command `canary` where a shell sees it, or makes the table of that name where a
/// server does.
const VALUES: [&str; 5] = [
    "x$(canary)`canary`",
    "x'; canary; create table canary(); --",
    "x\"; canary; \"'$(canary)'",
    "x | canary & canary && canary > y",
    "x\ncanary\n$(canary)\nport = 1",
];

/// Shell commands by definition: PostgreSQL hands them to a shell.
const COMMANDS: [&str; 3] = [
    "restore_command",
    "archive_cleanup_command",
    "recovery_end_command",
];

/// The canary is a program on PATH; whoever starts it is recorded.
fn cage(world: &World) {
    symlink(world.dir.join("shim"), world.dir.join("bin/canary")).unwrap();
}

#[track_caller]
fn no_canary(world: &World, what: &str) {
    for call in world.calls().unwrap() {
        assert!(!call.starts_with("tool canary"), "{what}: {call}");
    }
}

/// The parameters with which this one has an effect.
fn setting(world: &mut World, parameter: &str) {
    world.set("pgdb", "postgres");
    let replication = [
        "rep_mode",
        "node_list",
        "master_ip",
        "repuser",
        "primary_conninfo_opt",
        "tmpdir",
        "replication_slot_name",
    ];
    if parameter.starts_with("distlock") || parameter == "enable_distlock" {
        world.replicated("sync").set("enable_distlock", "true");
        if parameter.contains("cmd") || parameter.contains("deadcheck") {
            world
                .set("distlock_lock_cmd", "/bin/false")
                .set("distlock_unlock_cmd", "/bin/false");
        } else {
            world
                .set("distlock_conninfo", "host=127.0.0.1 port=1")
                .set("distlock_lockname", "distlock:x");
        }
    } else if replication.contains(&parameter) {
        world.set("rep_mode", "slave").set("master_ip", "127.0.0.1");
    }
}

fn every_parameter(value: &str) {
    let specs: Vec<&Spec> = TABLE
        .iter()
        .filter(|spec| !COMMANDS.contains(&spec.name))
        .collect();
    let case = |part: &[&'static Spec]| -> (_, Box<dyn FnOnce() + Send>) {
        let part = part.to_vec();
        let value = value.to_owned();
        (part[0].name, Box::new(move || parameters(&part, &value)))
    };
    together(specs.chunks(8).map(case).collect());
}

fn parameters(specs: &[&Spec], value: &str) {
    let mut world = World::new().unwrap();
    cage(&world);
    let sound = world.params.clone();
    for spec in specs {
        world.params = sound.clone();
        setting(&mut world, spec.name);
        let value = match spec.kind {
            Kind::Path => format!("{}/{value}", world.dir.join("pg").display()),
            _ => value.to_owned(),
        };
        world.set(spec.name, value);
        let valid = world.call("validate-all").run();
        if valid.code == Some(6) {
            // Nothing else than this check comes first in a start: see pg_agent_input.
            world.call("stop").run().is(0);
            no_canary(&world, spec.name);
            continue;
        }
        let short = Duration::from_secs(10);
        let started = world.call("start").timeout(short).run();
        let _ = world.monitor().timeout(short).run();
        if started.code == Some(0) && !world.params.contains_key("master_ip") {
            let table = world.sql("select to_regclass('canary') is null").unwrap();
            assert_eq!(table, "t", "{}", spec.name);
        }
        let replicated = world.params.contains_key("node_list");
        if replicated {
            let _ = world.call("promote").timeout(short).run();
            let _ = world.notify("post", "promote", "node2").run();
        }
        world.call("stop").run().is(0);
        // A pgdata or pgdba that is refused leaves nothing of ours running either.
        assert!(world.processes().is_empty(), "{}", spec.name);
        no_canary(&world, spec.name);
    }
}

#[test]
fn no_shell_runs_what_stands_in_dollars_or_backticks() {
    every_parameter(VALUES[0]);
}

#[test]
fn no_sql_and_no_shell_ends_at_a_single_quote() {
    every_parameter(VALUES[1]);
}

#[test]
fn no_shell_ends_at_a_double_quote() {
    every_parameter(VALUES[2]);
}

#[test]
fn no_shell_splits_commands() {
    every_parameter(VALUES[3]);
}

#[test]
fn no_line_break_becomes_a_line_of_a_configuration() {
    every_parameter(VALUES[4]);
}

#[test]
fn the_canary_sings_where_a_shell_sees_it() {
    // Otherwise the tests above could not fail.
    let mut world = World::new().unwrap();
    cage(&world);
    world
        .set("rep_mode", "slave")
        .set("master_ip", "127.0.0.1")
        .set("restore_command", "canary; false");
    world.call("start").run().is(0);
    let calls = world.calls().unwrap();
    assert!(calls.iter().any(|call| call.starts_with("tool canary")));
    world.call("stop").run().is(0);
}

#[test]
fn postgresql_gets_a_command_letter_by_letter() {
    let mut world = World::new().unwrap();
    let command = "test -f '/no where/%f' && echo \"it's\" $HOME \\ `true` $(true) #'\"";
    world
        .set("rep_mode", "slave")
        .set("master_ip", "127.0.0.1")
        .set("repuser", "o'neill \\ \"x\"")
        .set(
            "primary_conninfo_opt",
            "options='-c geqo=off' password='a\\'b\\\\c'",
        );
    for parameter in COMMANDS {
        world.set(parameter, command);
    }
    world.call("start").run().is(0);
    for parameter in COMMANDS {
        assert_eq!(world.sql(&format!("show {parameter}")).unwrap(), command);
    }
    let conninfo = world.sql("show primary_conninfo").unwrap();
    assert!(
        conninfo.contains("user='o\\'neill \\\\ \"x\"'"),
        "{conninfo}"
    );
    assert!(
        conninfo.contains("password='a\\'b\\\\c'") || conninfo.contains("password=a\\'b\\\\c"),
        "{conninfo}"
    );
    world.call("stop").run().is(0);
}

#[test]
fn places_with_hostile_names_work() {
    let mut world = World::new().unwrap();
    cage(&world);
    let pg = world.dir.join("pg");
    let name = "it's $(canary) `canary` ; \"x\" & y";
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let make = |path: PathBuf| {
        fs::create_dir(&path).unwrap();
        give(&path).unwrap();
        path
    };
    let data = pg.join(format!("data {name}"));
    fs::rename(world.data(), &data).unwrap();
    // The helpers of the tests go on finding it.
    symlink(&data, world.data()).unwrap();
    let config_directory = make(pg.join(format!("etc {name}")));
    let config = config_directory.join("my 'own' $(canary).conf");
    fs::rename(data.join("postgresql.conf"), &config).unwrap();
    let tmp = make(pg.join(format!("tmp {name}")));
    world
        .set("pgdata", text(&data))
        .set("config", text(&config))
        .set("tmpdir", text(&tmp))
        .set("rep_mode", "slave")
        .set("master_ip", "127.0.0.1");
    world.call("validate-all").run().is(0);
    world.call("start").run().is(0);
    world.monitor().run().is(0);
    assert_eq!(world.sql("show config_file").unwrap(), text(&config));
    assert_eq!(
        world.sql("show recovery_target_timeline").unwrap(),
        "latest"
    );
    assert!(tmp.join("rep_mode.conf").exists());
    world.call("stop").run().is(0);
    assert!(world.processes().is_empty());
    no_canary(&world, "places");
}

#[test]
fn options_are_split_as_a_shell_would_and_nothing_is_expanded() {
    let mut world = World::new().unwrap();
    cage(&world);
    world.set(
        "start_opt",
        "-c cluster_name='a b' -c application_name='$(canary)`canary`\"x\"'",
    );
    world.call("start").run().is(0);
    assert_eq!(world.sql("show cluster_name").unwrap(), "a b");
    let sql = "select reset_val from pg_settings where name = 'application_name'";
    let _ = world.sql(sql).unwrap();
    world.call("stop").run().is(0);
    no_canary(&world, "start_opt");
}

/// Passwords that must be seen nowhere.
const MONITOR: &str = "m0n1tor-s3cr3t";
const REPLICATION: &str = "r3pl1cation-s3cr3t";
const LOCK: &str = "l0ck-s3cr3t";

#[track_caller]
fn is_clean(text: &str) {
    for secret in [MONITOR, REPLICATION, LOCK] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
}

#[test]
fn secrets_are_seen_in_no_log_no_argument_and_no_environment() {
    let server = pg::shared().unwrap();
    let mut world = World::new().unwrap();
    let lock = world.replicated("sync").with_lock_of(&server).unwrap();
    let name = format!("distlock:{lock}").parse().unwrap();
    let soon = Deadline::after(Duration::from_secs(30));
    lock::init(&server.conninfo().parse().unwrap(), &name, soon).unwrap();
    let sound = format!("{} password={LOCK}", server.conninfo());
    world
        .set("distlock_conninfo", sound.clone())
        .set("monitor_user", "postgres")
        .set("monitor_password", MONITOR)
        .set("primary_conninfo_opt", format!("password={REPLICATION}"));
    world.put("transient/node2/pgsql-timeline", "1").unwrap();
    world
        .put("transient/node2/pgsql-xlog-loc", "0000000000000100")
        .unwrap();
    let steps: [(&str, &str); 12] = [
        ("validate-all", ""),
        ("start", ""),
        ("notify", ""),
        ("promote", ""),
        ("monitor", ""),
        ("monitor", "host=127.0.0.1 port=1"),
        ("monitor", "host=127.0.0.1 port=1 nonsense='"),
        ("validate-all", "host=127.0.0.1 sslmode=sometimes"),
        ("start", "postgres://u:l0ck-s3cr3t@[::1/x"),
        ("demote", ""),
        ("promote", "host=127.0.0.1 port=1"),
        ("stop", ""),
    ];
    for (action, conninfo) in steps {
        let conninfo = match conninfo {
            "" => sound.clone(),
            other if other.contains("://") => other.to_owned(),
            other => format!("password={LOCK} {other}"),
        };
        world.set("distlock_conninfo", conninfo);
        let call = match action {
            "notify" => world.notify("post", "start", "node1"),
            "monitor" => world.monitor(),
            other => world.call(other),
        };
        // Everything that can be logged is.
        let outcome = call
            .env("PHA_LOG", "trace")
            .timeout(Duration::from_secs(12))
            .run();
        is_clean(&outcome.stderr);
        is_clean(&outcome.stdout);
        for pid in world.processes() {
            for file in ["cmdline", "environ"] {
                let text = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                is_clean(&String::from_utf8_lossy(&text));
            }
        }
    }
    let calls = world.calls().unwrap();
    assert!(calls.len() > 10);
    calls.iter().for_each(|call| is_clean(call));
    is_clean(&fs::read_to_string(world.dir.join("pg/log")).unwrap());
    for entry in fs::read_dir(world.dir.join("state")).unwrap().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap();
        // What the agent answers a promise by, while Pacemaker hangs, is how it reaches the lock service:
        // root's alone, as a passfile is.
        if entry.path().extension().is_some_and(|end| end == "conf") {
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert!(!text.contains(REPLICATION) && !text.contains(MONITOR));
            continue;
        }
        is_clean(&text);
    }
    // The one place that needs one is for PostgreSQL's account alone.
    let own = world.dir.join("tmp/rep_mode.conf");
    assert_eq!(
        fs::metadata(&own).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let text = fs::read_to_string(&own).unwrap();
    assert!(text.contains(REPLICATION) && !text.contains(MONITOR) && !text.contains(LOCK));
}

#[test]
fn a_refused_parameter_does_not_show_a_secret() {
    let mut world = World::new().unwrap();
    world.replicated("sync");
    let hidden = format!("{LOCK}\nx");
    for parameter in [
        "monitor_password",
        "primary_conninfo_opt",
        "distlock_conninfo",
    ] {
        let mut params = world.params.clone();
        params.insert("enable_distlock".to_owned(), "true".to_owned());
        params.insert("distlock_lockname".to_owned(), "distlock:x".to_owned());
        params.insert("distlock_conninfo".to_owned(), "host=h".to_owned());
        params.insert("monitor_user".to_owned(), "u".to_owned());
        params.insert(parameter.to_owned(), hidden.clone());
        let before = std::mem::replace(&mut world.params, params);
        for action in ["validate-all", "start", "monitor", "stop"] {
            let outcome = world.call(action).env("PHA_LOG", "trace").run();
            is_clean(&outcome.stderr);
        }
        world.call("validate-all").run().is(6).because(parameter);
        world.params = before;
    }
}

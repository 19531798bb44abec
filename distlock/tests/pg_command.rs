//! The `distlock` program against a real PostgreSQL: what it prints and how it exits.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;
use std::time::Duration;

use pha_core::register::{Reading, Register};
use pha_host::clock::Deadline;
use pha_host::lock::{LockName, LockService};
use pha_tests::pg;

/// The exit status, standard output and standard error.
fn distlock(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_distlock"))
        .args(arguments)
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn pg_the_lock_as_old_scripts_use_it() {
    let server = pg::shared().unwrap();
    let psql = format!("/usr/bin/psql \\\"{}\\\"", server.conninfo());
    let run = |action: &str, owner: &str| {
        let (status, output, _) = distlock(&[&psql, action, "distlock:old", owner, "30", "2"]);
        (status, output)
    };
    let (status, _, error) = distlock(&[&psql, "trylock", "distlock:old", "a"]);
    assert_eq!(status, 4, "the table is missing: {error}");
    assert!(error.contains("init distlock:old"), "{error}");
    assert_eq!(distlock(&[&psql, "init", "distlock:old"]).0, 0);
    assert_eq!(run("trylock", "a"), (0, "1\n".to_owned()));
    assert_eq!(run("trylock", "b"), (1, "0\n".to_owned()));
    assert_eq!(run("lock", "b"), (1, "0\n".to_owned()));
    assert_eq!(run("lock", "a"), (0, "1\n".to_owned()));
    assert_eq!(run("unlock", "b"), (1, "0\n".to_owned()));
    assert_eq!(run("unlock", "a"), (0, "1\n".to_owned()));
    assert_eq!(run("lock", "b"), (0, "1\n".to_owned()));
}

#[test]
fn pg_init_show_and_history() {
    let server = pg::shared().unwrap();
    let conninfo = server.socket_conninfo();
    let run = |arguments: &[&str]| {
        let mut all = vec![conninfo.as_str()];
        all.extend(arguments);
        distlock(&all)
    };
    // Made before `show`, so that what is missing is the row and not the table.
    assert_eq!(run(&["init", "locks:other"]).0, 0);
    let (status, output, error) = run(&["show", "locks:c1"]);
    assert_eq!((status, output.as_str()), (1, ""));
    assert!(error.contains("init locks:c1"), "{error}");
    assert_eq!(run(&["init", "locks:c1"]).1, "locks:c1: made\n");
    assert!(run(&["init", "locks:c1"]).1.contains("left as it is"));
    let (_, output, _) = run(&["show", "locks:c1", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&output).unwrap();
    assert_eq!(
        (&value["term"], &value["lease"]["state"]),
        (&0.into(), &"none".into())
    );
    assert!(value["owner"].is_null());
    assert_eq!(run(&["trylock", "locks:c1", "node1"]).0, 0);
    let (_, output, _) = run(&["show", "locks:c1"]);
    assert!(output.contains("owner       node1\n"), "{output}");
    assert!(output.contains("left of 30.0 s, renewed 0."), "{output}");
    let (_, output, _) = run(&["history", "locks:c1"]);
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.len(), 3, "{output}");
    assert!(
        lines[1].ends_with("init") && lines[2].contains("node1"),
        "{output}"
    );
    let (_, output, _) = run(&["history", "locks:c1", "--limit", "1"]);
    assert_eq!(output.lines().count(), 2, "{output}");
    let (status, output, error) = run(&["prune", "locks:c1", "--days", "0"]);
    let expected = "locks:c1: 0 entries of its history were taken away\n";
    assert_eq!((status, output.as_str()), (0, expected), "{error}");
}

#[test]
fn pg_failures_have_statuses_of_their_own() {
    let server = pg::shared().unwrap();
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!(
        "host=127.0.0.1 port={} user=u",
        unused.local_addr().unwrap().port()
    );
    let (status, output, error) = distlock(&[&silent, "--wait", "1", "trylock", "x", "a"]);
    assert_eq!((status, output.as_str()), (3, ""), "{error}");
    assert!(
        error.contains("unreachable") && error.contains("no answer in time"),
        "{error}"
    );
    drop(unused);
    assert_eq!(distlock(&[&silent, "show", "x"]).0, 3);
    let (status, _, error) = distlock(&[&server.conninfo(), "show", "nosuch:x"]);
    assert_eq!(status, 4, "{error}");
    let cases: [&[&str]; 4] = [
        &["host=a pasword=topsecret", "show", "x"],
        &["host=a", "show", "no table:x"],
        &["host=a", "frobnicate"],
        &[],
    ];
    for arguments in cases {
        let (status, output, error) = distlock(arguments);
        assert_eq!((status, output.as_str()), (2, ""), "{arguments:?} {error}");
        assert!(!error.is_empty() && !error.contains("topsecret"), "{error}");
    }
    let (status, output, _) = distlock(&["--help"]);
    assert_eq!(status, 0);
    assert!(output.contains("Exit status:"), "{output}");
}

/// Old rows of the bare lock may say by a negative time that it was given back. `init` writes 0 there;
/// agent, `show` and `init` take both for the same, and say the same of what is none of the three.
#[test]
fn pg_init_show_and_the_agent_agree_about_old_rows() {
    let server = pg::shared().unwrap();
    let conninfo = server.conninfo();
    let lock: LockName = "negative:c1".parse().unwrap();
    let run = |action: &str| distlock(&[&conninfo, action, &lock.to_string()]);
    assert_eq!(run("init").0, 0);
    let mut service = LockService::new(conninfo.parse().unwrap(), lock.clone());
    let set = |values: &str| {
        let sql = format!("update negative set {values}");
        server.sql(&sql).unwrap();
    };
    set("owner = 'node1', expired_time = interval '-1000 days'");
    let seen = row(&mut service);
    assert_eq!(
        (seen.lease_left, seen.ttl),
        (Duration::ZERO, Duration::ZERO)
    );
    let (code, shown, words) = run("show");
    assert_eq!((code, words.as_str()), (0, ""), "{shown}");
    assert!(shown.contains("released"), "{shown}");
    assert!(run("init").1.contains("its expired_time was negative"));
    assert!(run("init").1.contains("left as it is"));
    assert_eq!(row(&mut service).ttl, Duration::ZERO);

    for (values, why) in [
        (
            "term = 9223372036854775807, epoch = term, holders = '{node1}'",
            "term is 9223372036854775807",
        ),
        (
            "term = 0, epoch = 0, holders = '{}', expired_time = interval '1000 days'",
            "at most a day",
        ),
        (
            "ts = now(), expired_time = interval '0', owner = 'no node'",
            "owner is",
        ),
    ] {
        set(values);
        assert!(
            matches!(service.read(soon()), Reading::Damaged(_)),
            "{values}"
        );
        for (action, expected) in [("show", 0), ("init", 1)] {
            let (code, _, words) = run(action);
            assert_eq!(code, expected, "{action} {values}: {words}");
            assert!(
                words.contains(why) && words.contains("cls_recovery_master"),
                "{words}"
            );
        }
    }
}

fn row(service: &mut LockService) -> Register {
    match service.read(soon()) {
        Reading::Row(row) => row,
        other => panic!("{other:?}"),
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

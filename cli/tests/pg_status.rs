//! What `cls_status` asks the primary, against a real PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::thread;
use std::time::Duration;

use common::{PRIMARY, STANDBY, Shims, TWO, cib};
use pha_tests::pg::{Server, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn pg_commits_that_wait_for_a_standby_are_counted() {
    let server = Server::start(&[
        "wal_level=replica",
        "max_wal_senders=2",
        "synchronous_standby_names=node2",
    ])
    .unwrap();
    let port = server.port.to_string();
    let place = server.socket_dir().display().to_string();
    let own = [
        ("rep_mode", "sync"),
        ("pgport", port.as_str()),
        ("socketdir", place.as_str()),
    ];
    let shims = Shims::cluster(&cib(&[PRIMARY, STANDBY], &[TWO, &own].concat(), &[]));
    let commits = || {
        let json = shims.cls(&["status", "--json"]).json();
        assert!(json["commits"].is_object(), "{json}");
        json["commits"].clone()
    };
    assert_eq!(commits()["standby_names"], "\"node2\"");
    assert_eq!(commits()["waiting"], 0);

    thread::scope(|scope| {
        // No standby is there to confirm it.
        let commit = scope.spawn(|| server.sql("create table waits ()"));
        assert!(eventually(PATIENCE, || commits()["waiting"] == 1));
        let seen = commits();
        assert!(seen["longest_seconds"].as_f64().unwrap() >= 3.0, "{seen}");
        assert!(seen["since"].is_string(), "{seen}");
        let check = shims.cls(&["status", "--check"]);
        assert_eq!(check.code, 2, "{check:?}");
        assert!(
            check
                .out
                .starts_with("CRITICAL - 1 commit waits for node2, since "),
            "{check:?}"
        );
        let end =
            "select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'";
        assert_eq!(server.sql(end).unwrap(), "t");
        assert!(commit.join().unwrap().is_err(), "it was ended");
    });
    assert_eq!(commits()["waiting"], 0);
}

//! What `cls_status` asks the primary, against a real PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::thread;
use std::time::Duration;

use common::{PRIMARY, STANDBY, Shims, TWO, cib};
use pha_tests::pg::{Server, eventually};

/// The last word is the command line, as sshd would give it to a shell there.
const SSHD: &str = "PATH=$PATH:/usr/sbin:/sbin; for word; do :; done; exec sh -c \"$word\"";

const HEALTHY_IN_CHINESE: &str = "
健康状况： 正常
  是 1. 每个节点上的数据库都已启动
  是 2. 有且只有一个主库，其余为备库
  是 3. 每个备库都与主库保持流复制

node1 的流复制：
  没有备库连接
";

const PATIENCE: Duration = Duration::from_secs(60);

/// A server whose socket is where neither a package nor a parameter has it, on a port that no parameter
/// names: it says itself where it listens. Asked on its own node, and over ssh from another one.
#[test]
fn pg_the_socket_is_found_wherever_it_is() {
    let server = Server::start(&["wal_level=replica", "max_wal_senders=2"]).unwrap();
    let data = server.data().display().to_string();
    let own = [
        ("node_list", "node1 node2"),
        ("rep_mode", "sync"),
        ("pgdata", data.as_str()),
    ];
    let shims = Shims::cluster(&cib(&[PRIMARY, STANDBY], &own, &[]));
    let look = |on: &str| {
        let run = shims.cls(&["status"]);
        assert!(run.out.contains("Replication from node1:"), "{on}: {run:?}");
        assert!(run.out.contains("Health: healthy"), "{on}: {run:?}");
        let chinese = shims.cls_in("zh_CN.UTF-8", &["status"]);
        assert!(
            chinese.out.ends_with(HEALTHY_IN_CHINESE),
            "{on}: {chinese:?}"
        );
        let check = shims.cls(&["status", "--check"]);
        let well = "OK - primary node1, 1 standby streaming\n";
        assert_eq!((check.code, check.out.as_str()), (0, well), "{on}");
        // And where the WAL ends, which other nodes ask for.
        let end = shims.cls(&["internal", "wal-end"]).json();
        assert_eq!(end["position"]["timeline"], 1, "{on}: {end}");
    };
    look("node1");
    // A file with an error keeps every setting from being taken up; what it includes may be called anything.
    let config = server.data().join("postgresql.conf");
    let before = std::fs::read_to_string(&config).unwrap();
    let text = format!("{before}\ninclude 'no\\n  next: such'\n");
    std::fs::write(&config, text).unwrap();
    let check = shims.cls(&["status", "--check"]);
    assert_eq!((check.code, check.out.lines().count()), (2, 1), "{check:?}");
    assert!(check.out.contains("could not open"), "{check:?}");
    std::fs::write(&config, before).unwrap();
    look("node1");
    shims.tool(
        "crm_node",
        "case $1 in --quorum) echo 1 ;; *) echo node2 ;; esac",
    );
    shims.tool("ssh", SSHD);
    look("node2");
    // Nor is it asked in vain where a parameter says another port than the server's.
    shims.write(
        "cib.xml",
        &cib(
            &[PRIMARY, STANDBY],
            &[&own[..], &[("pgport", "5999")]].concat(),
            &[],
        ),
    );
    look("node2 with another port");
}

/// A role that is not let see what others do would find no standby with a state, and no commit that waits.
#[test]
fn pg_what_is_hidden_from_the_role_is_not_healthy() {
    let server = Server::start(&["wal_level=replica", "max_wal_senders=2"]).unwrap();
    server.sql("create role watch login").unwrap();
    let data = server.data().display().to_string();
    let own = [
        ("node_list", "node1 node2"),
        ("rep_mode", "sync"),
        ("pgdata", data.as_str()),
        ("monitor_user", "watch"),
    ];
    let shims = Shims::cluster(&cib(&[PRIMARY, STANDBY], &own, &[]));
    let advised = |on: &str| {
        let run = shims.cls(&["status"]);
        assert!(run.out.contains("Health: warning"), "{on}: {run:?}");
        let next = "next: run in SQL: grant pg_monitor to watch";
        assert!(run.out.contains(next), "{on}: {run:?}");
    };
    advised("node1");
    shims.tool(
        "crm_node",
        "case $1 in --quorum) echo 1 ;; *) echo node2 ;; esac",
    );
    shims.tool("ssh", SSHD);
    advised("node2");
    server.sql("grant pg_monitor to watch").unwrap();
    assert_eq!(shims.cls(&["status", "--check"]).code, 0);
}

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
        pha_tests::schema::follows_the_schema(&json, "cls_status");
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

/// The commands ask a primary on another node as the role for replication. One that may not see the
/// sessions of others would be shown no commit that waits; then it is asked over ssh.
#[test]
fn pg_a_role_that_sees_no_sessions_is_not_believed_that_nothing_waits() {
    let server = Server::start(&[
        "wal_level=replica",
        "max_wal_senders=2",
        "synchronous_standby_names=node2",
    ])
    .unwrap();
    let local = "set synchronous_commit = local; ";
    let role = "create role replication login replication";
    server.sql(&format!("{local}{role}")).unwrap();
    let port = server.port.to_string();
    let place = server.socket_dir().display().to_string();
    let own = [
        ("rep_mode", "sync"),
        ("pgport", port.as_str()),
        ("socketdir", place.as_str()),
        ("master_ip", "127.0.0.1"),
        ("repuser", "replication"),
    ];
    let shims = Shims::cluster(&cib(&[PRIMARY, STANDBY], &[TWO, &own].concat(), &[]));
    shims.tool(
        "crm_node",
        "case $1 in --quorum) echo 1 ;; *) echo node2 ;; esac",
    );
    shims.tool("ssh", SSHD);
    let waiting = || {
        // Only for its notes does a status ask the other nodes anyway, which a check does without.
        let json = shims.cls(&["status", "--check", "--json"]).json();
        // Both ways show the same view.
        assert!(json["replication"].is_array(), "{json}");
        json["commits"]["waiting"].clone()
    };
    let asked_over_ssh = || shims.calls().iter().any(|call| call.starts_with("ssh "));

    let seen = thread::scope(|scope| {
        let commit = scope.spawn(|| server.sql("create table waits ()"));
        let hidden = eventually(PATIENCE, || waiting() == 1);
        let over_ssh = asked_over_ssh();
        let granted = server.sql(&format!("{local}grant pg_monitor to replication"));
        shims.write("calls", "");
        let seen = (hidden, over_ssh, granted, waiting(), asked_over_ssh());
        // Whatever was seen: nobody else ends the commit.
        let end =
            "select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'";
        assert_eq!(server.sql(end).unwrap(), "t");
        assert!(commit.join().unwrap().is_err(), "it was ended");
        seen
    });
    let (hidden, over_ssh, granted, plain, over_ssh_again) = seen;
    assert!(hidden && over_ssh, "{hidden} {over_ssh}");
    granted.unwrap();
    assert_eq!((plain, over_ssh_again), (1.into(), false));
}

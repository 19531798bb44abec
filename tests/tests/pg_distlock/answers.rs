//! Errors, silence and nonsense are told apart.

use std::time::Duration;

use crate::*;
use pha_core::register::{Reading, Reply, Trouble, Update};
use pha_host::clock::Deadline;
use pha_host::lock::{self, LockName, LockService};
use pha_tests::pg::{self, Server};

#[test]
fn pg_errors_of_the_service_are_answers_and_not_silence() {
    let server = Server::start_with(&["password_encryption=scram-sha-256"], |data| {
        let hba = "local all postgres trust\nhost all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(data.join("pg_hba.conf"), hba).map_err(|error| error.to_string())
    })
    .unwrap();
    server
        .sql("create role pha login password 'right'; create role limited login connection limit 0 password 'right'")
        .unwrap();
    let answered = |conninfo: &str, lock: &str, expected: &str| {
        let mut service = LockService::new(info(conninfo), lock.parse().unwrap());
        let reading = service.read(soon());
        assert!(
            matches!(&reading, Reading::Unknown(Trouble::Answered(text)) if text.contains(expected)),
            "{expected}: {reading:?}"
        );
        let shown = format!("{reading:?}");
        assert!(!shown.contains("topsecret"), "{shown}");
        let update = Update::Release {
            node: node("a"),
            term: 1,
        };
        let reply = service.update(&update, soon());
        assert!(
            matches!(&reply, Reply::Unknown(Trouble::Answered(_))),
            "{reply:?}"
        );
    };
    let base = format!(
        "host=127.0.0.1 port={} dbname=postgres sslmode=disable",
        server.port
    );
    answered(&format!("{base} user=pha password=topsecret"), "x", "28P01");
    answered(
        &format!("{base} user=pha passfile=/nonexistent"),
        "x",
        "password file",
    );
    answered(&format!("{base} user=limited password=right"), "x", "53300");
    answered(&format!("{base} user=postgres dbname=nosuch"), "x", "3D000");
    answered(
        &server.conninfo(),
        "nosuch:x",
        "distlock <conninfo> init nosuch:x",
    );
    let (mut service, _) = fresh(&server, "grants");
    first(&mut service, "a");
    answered(
        &format!("{base} user=pha password=right"),
        "grants",
        "42501",
    );
    server
        .sql("alter database postgres set default_transaction_read_only = on")
        .unwrap();
    let mut service = LockService::new(info(&server.conninfo()), "grants".parse().unwrap());
    let reply = service.update(
        &Update::Release {
            node: node("a"),
            term: 1,
        },
        soon(),
    );
    assert!(
        matches!(&reply, Reply::Unknown(Trouble::Answered(text)) if text.contains("25006")),
        "{reply:?}"
    );
    // What is read there may be old, and whoever relies on it fails at the change.
    let reading = service.read(soon());
    assert!(
        matches!(&reading, Reading::Unknown(Trouble::Answered(text)) if text.contains("it is read-only")),
        "{reading:?}"
    );
}

#[test]
fn pg_nobody_there_is_silence() {
    let silent = |conninfo: &str| {
        let mut service = LockService::new(info(conninfo), "x".parse().unwrap());
        let reading = service.read(Deadline::after(Duration::from_secs(3)));
        assert!(
            matches!(&reading, Reading::Unknown(Trouble::Unreachable(_))),
            "{reading:?}"
        );
    };
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = unused.local_addr().unwrap().port();
    // Listens, but nobody accepts or answers.
    silent(&format!("host=127.0.0.1 port={port} user=u"));
    drop(unused);
    silent(&format!("host=127.0.0.1 port={port} user=u"));
    silent("host=/nonexistent user=u");
    silent("host=no-such-host.invalid user=u");
}

#[test]
fn pg_the_second_server_is_tried() {
    let server = pg::shared().unwrap();
    let (_, lock) = fresh(&server, "second");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ports = format!("{},{}", silent.local_addr().unwrap().port(), server.port);
    let text = format!(
        "host=127.0.0.1,127.0.0.1 port={ports} user=postgres dbname=postgres sslmode=disable connect_timeout=1 target_session_attrs=read-write"
    );
    let mut service = LockService::new(info(&text), lock);
    row(service.read(soon()));
}

#[test]
fn pg_a_row_that_makes_no_sense_is_quoted() {
    let server = pg::shared().unwrap();
    let lock: LockName = "nonsense:x".parse().unwrap();
    let info = info(&server.conninfo());
    lock::init(&info, &lock, soon()).unwrap();
    let mut service = LockService::new(info, lock);
    server
        .sql("alter table nonsense alter owner drop not null, alter term drop not null, disable trigger user")
        .unwrap();
    let reset = "update nonsense set owner = 'a', term = 1, epoch = 1, holders = '{a}', positions = '{}', expired_time = '30 s'";
    let cases = [
        ("owner = null", "owner is NULL"),
        ("owner = 'no name'", "owner is \"no name\""),
        ("term = null", "term is NULL"),
        ("term = -5", "term is -5"),
        ("epoch = -1", "epoch is -1"),
        ("holders = '{}'", "holders is empty at term 1"),
        ("holders = '{a,\"$(reboot)\"}'", "holders is \"$(reboot)\""),
        (
            "holders = array[null]::text[]",
            "holders is a list with NULL",
        ),
        ("positions = '[1, 2]'", "positions is \"[1, 2]\""),
        (
            "positions = '{\"a\": \"zero\"}'",
            "positions is \"{\\\"a\\\": \\\"zero\\\"}\"",
        ),
        ("expired_time = '2 days'", "at most a day is expected"),
        ("term = 9223372036854775807", "term is 9223372036854775807"),
    ];
    for (change, expected) in cases {
        server.sql(reset).unwrap();
        server
            .sql(&format!("update nonsense set {change}"))
            .unwrap();
        let reading = service.read(soon());
        assert!(
            matches!(&reading, Reading::Damaged(damage) if damage.to_string().contains(expected)),
            "{change}: {reading:?}"
        );
        // A change that meets no condition reports the damage too.
        let update = Update::Release {
            node: node("z"),
            term: 9,
        };
        let reply = service.update(&update, soon());
        assert!(matches!(&reply, Reply::Damaged(_)), "{change}: {reply:?}");
    }
    server.sql("delete from nonsense").unwrap();
    assert_eq!(service.read(soon()), Reading::Missing);
    let update = Update::Release {
        node: node("z"),
        term: 9,
    };
    assert_eq!(service.update(&update, soon()), Reply::Missing);
}

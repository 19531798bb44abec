//! What ends the wait of a commit for a standby that is away, as PostgreSQL does it: the table in
//! `docs/promise.md`. A success that comes with the warning of a wait that was given up is no
//! acknowledgement.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use pha_tests::pg::{self, Server};
use postgres::error::SqlState;
use postgres::{Client, Config, NoTls};

/// How long a session that is to go on waiting is watched.
const WATCHED: Duration = Duration::from_secs(3);

/// A primary whose commits wait for a standby that never comes.
fn waiting_server() -> Server {
    let server = Server::start(&[
        "wal_level=replica",
        "max_wal_senders=4",
        "max_prepared_transactions=4",
    ])
    .unwrap();
    server.sql("create table t (i int)").unwrap();
    server
        .sql("create procedure put(i int) language plpgsql as 'begin insert into t values (i); commit; end'")
        .unwrap();
    server
        .sql("alter system set synchronous_standby_names = 'nobody'")
        .unwrap();
    server.sql("select pg_reload_conf()").unwrap();
    assert!(pg::eventually(Duration::from_secs(20), || {
        server.sql("show synchronous_standby_names").as_deref() == Ok("nobody")
    }));
    server
}

/// A session, and the warnings that it is sent.
fn session(server: &Server, settings: &str) -> (Client, Receiver<String>) {
    let (say, said) = channel();
    let mut config: Config = server.conninfo().parse().unwrap();
    config.notice_callback(move |notice| {
        let _ = say.send(notice.message().to_owned());
    });
    let mut client = config.connect(NoTls).unwrap();
    client.batch_execute(settings).unwrap();
    (client, said)
}

fn given_up(said: &Receiver<String>) -> bool {
    said.try_iter()
        .any(|text| text.contains("canceling wait for synchronous replication"))
}

/// Runs the statement in a session with these settings, and `then` while it waits; what became of it, and
/// whether the warning came.
fn outcome(
    server: &Server,
    settings: &str,
    statement: &'static str,
    then: &str,
) -> (Result<(), Option<SqlState>>, bool) {
    let (mut client, said) = session(server, settings);
    let waits = || {
        server
            .sql("select count(*) from pg_stat_activity where wait_event = 'SyncRep'")
            .as_deref()
            == Ok("1")
    };
    std::thread::scope(|scope| {
        let work = scope.spawn(move || {
            let result = client.batch_execute(statement);
            result.map_err(|error| error.code().cloned())
        });
        if !then.is_empty() {
            assert!(
                pg::eventually(Duration::from_secs(20), waits),
                "{statement} does not wait"
            );
            server.sql(then).unwrap();
        }
        let result = work.join().unwrap();
        (result, given_up(&said))
    })
}

/// Whether the statement still waits after a time far beyond every limit that the settings give.
fn goes_on_waiting(server: &Server, settings: &str, statement: &'static str) -> bool {
    let (mut client, said) = session(server, settings);
    let cancel = client.cancel_token();
    std::thread::scope(|scope| {
        let work = scope.spawn(move || client.batch_execute(statement).is_ok());
        let ended = pg::eventually(WATCHED, || work.is_finished());
        let early = given_up(&said);
        cancel.cancel_query(NoTls).unwrap();
        work.join().unwrap();
        !ended && !early
    })
}

const WAITING: &str = "from pg_stat_activity where wait_event = 'SyncRep'";

#[test]
fn pg_what_ends_the_wait_of_a_commit() {
    let server = waiting_server();
    let limit = "set statement_timeout = '200ms'";
    // A time limit does not reach the end of a plain statement or of COMMIT, but it does inside a procedure.
    assert!(goes_on_waiting(&server, limit, "insert into t values (1)"));
    for statement in [
        "call put(2)",
        "do 'begin insert into t values (3); commit; end'",
    ] {
        let (result, warned) = outcome(&server, limit, statement, "");
        assert_eq!((result, warned), (Ok(()), true), "{statement}");
    }
    // Cancelled: success, with the warning. Terminated: the connection ends, and the row is there.
    let cancel = format!("select pg_cancel_backend(pid) {WAITING}");
    let (result, warned) = outcome(&server, "", "insert into t values (4)", &cancel);
    assert_eq!((result, warned), (Ok(()), true));
    let terminate = format!("select pg_terminate_backend(pid) {WAITING}");
    let (result, _) = outcome(&server, "", "insert into t values (5)", &terminate);
    assert!(result.is_err(), "{result:?}");
    // Two phases: each of both commands waits.
    let prepare = "begin; insert into t values (6); prepare transaction 'two'";
    assert!(goes_on_waiting(&server, "", prepare));
    assert!(goes_on_waiting(&server, "", "commit prepared 'two'"));
    // Whoever asks for less waits for nobody.
    for value in ["off", "local"] {
        let settings = format!("set synchronous_commit = {value}");
        let (result, warned) = outcome(&server, &settings, "insert into t values (7)", "");
        assert_eq!((result, warned), (Ok(()), false), "{value}");
    }
    assert!(goes_on_waiting(
        &server,
        "set synchronous_commit = remote_write",
        "insert into t values (8)"
    ));
    // All of them are visible, although no standby has any.
    assert_eq!(server.sql("select count(distinct i) from t").unwrap(), "8");
}

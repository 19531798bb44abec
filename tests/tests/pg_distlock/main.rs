//! The lock service against a real PostgreSQL: the statements mean what the core says they mean,
//! and every way in which a network or a server can fail ends in the right kind of answer.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod answers;
mod history;
mod register;
mod replies;
mod rights;
mod session;
mod tables;

use std::collections::BTreeSet;
use std::time::Duration;

use pha_core::names::NodeName;
use pha_core::register::{Reading, Register, Reply, Update};
use pha_host::clock::Deadline;
use pha_host::conninfo::Conninfo;
use pha_host::lock::{self, LockName, LockService};
use pha_tests::pg::Server;

const TTL: Duration = Duration::from_secs(30);

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

fn nodes(names: &[&str]) -> BTreeSet<NodeName> {
    names.iter().map(|name| node(name)).collect()
}

fn info(text: &str) -> Conninfo {
    text.parse().unwrap()
}

/// A lock of its own for each test, in a table that `init` made.
fn fresh(server: &Server, name: &str) -> (LockService, LockName) {
    let lock: LockName = format!("distlock:{name}").parse().unwrap();
    let info = info(&server.conninfo());
    lock::init(&info, &lock, soon()).unwrap();
    (LockService::new(info, lock.clone()), lock)
}

fn row(reading: Reading) -> Register {
    match reading {
        Reading::Row(row) => row,
        other => panic!("{other:?}"),
    }
}

fn applied(reply: Reply) -> Register {
    match reply {
        Reply::Applied(row) => row,
        other => panic!("{other:?}"),
    }
}

fn first(service: &mut LockService, name: &str) -> Register {
    let update = Update::FirstPrimary {
        node: node(name),
        ttl: TTL,
    };
    applied(service.update(&update, soon()))
}

fn expire(server: &Server, lock: &LockName) {
    server
        .sql(&format!(
            "update distlock set ts = ts - interval '1 hour' where lockname = '{}'",
            lock.name
        ))
        .unwrap();
}

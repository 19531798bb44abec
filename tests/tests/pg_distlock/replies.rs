//! Lost replies, frozen servers, locked rows: how a change ends that gets no straight answer.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use crate::*;
use pha_core::register::{Reading, Reply, Trouble, Update};
use pha_host::clock::Deadline;
use pha_host::conninfo::Conninfo;
use pha_host::lock::LockService;
use pha_tests::flaky::{Mishap, Relay};
use pha_tests::pg::{self, Server, eventually};

/// The relay's port in place of the server's.
fn through(relay: &Relay) -> Conninfo {
    info(&format!(
        "host=127.0.0.1 port={} user=postgres dbname=postgres sslmode=disable",
        relay.port
    ))
}

#[test]
fn pg_a_lost_reply_is_decided_by_the_row() {
    let server = pg::shared().unwrap();
    let relay = Relay::start(server.port, "set reason").unwrap();
    let lost = [
        &[Mishap::LoseReply][..],
        &[Mishap::LoseRequest],
        &[Mishap::DelayRequest(700)],
        &[Mishap::LoseReply, Mishap::LoseReply],
    ];
    for (index, mishaps) in lost.into_iter().enumerate() {
        let (mut direct, lock) = fresh(&server, &format!("lost{index}"));
        let mut service = LockService::new(through(&relay), lock.clone());
        first(&mut direct, "a");
        let read = row(service.read(soon()));
        let happened = relay.happened();
        relay.plan(mishaps);
        let reply = service.update(&Update::promote(&read, node("a"), TTL), soon());
        relay.plan(&[]);
        assert!(relay.happened() > happened, "{mishaps:?}: nothing was lost");
        let row = applied(reply);
        assert!(row.is_owned_at(&node("a"), 2), "{mishaps:?}: {row:?}");
        // The delayed request arrives in the end, and comes to nothing.
        thread::sleep(Duration::from_millis(1000));
        let after = self::row(direct.read(soon()));
        assert_eq!(
            (after.term, after.epoch),
            (2, 2),
            "{mishaps:?}: applied twice"
        );
        for update in [
            Update::Renew {
                node: node("a"),
                term: 2,
                positions: BTreeMap::new(),
                ttl: TTL,
            },
            Update::set_holders(&after, node("a"), nodes(&["a", "b"]), TTL),
            Update::Leave { node: node("b") },
            Update::Release {
                node: node("a"),
                term: 2,
            },
        ] {
            relay.plan(mishaps);
            let reply = service.update(&update, soon());
            relay.plan(&[]);
            // One renewal looks like the other, so that two lost ones leave it open.
            let open = mishaps.len() == 2 && matches!(update, Update::Renew { .. });
            let fitting = match &reply {
                Reply::Applied(_) => !open,
                Reply::Unknown(Trouble::Unreachable(_)) => open,
                _ => false,
            };
            assert!(fitting, "{mishaps:?} {update:?}: {reply:?}");
        }
    }
}

#[test]
fn pg_a_reply_that_never_comes_ends_within_the_deadline() {
    let server = pg::shared().unwrap();
    let relay = Relay::start(server.port, "set reason").unwrap();
    let (mut direct, lock) = fresh(&server, "swallowed");
    first(&mut direct, "a");
    let mut service = LockService::new(through(&relay), lock);
    let read = row(service.read(soon()));
    relay.plan(&[Mishap::SwallowReply]);
    let began = Instant::now();
    let update = Update::promote(&read, node("a"), TTL);
    let reply = service.update(&update, Deadline::after(Duration::from_secs(3)));
    // Two thirds of the time are waited for the reply, the rest is enough to look.
    assert!(applied(reply).is_owned_at(&node("a"), 2));
    assert!(
        began.elapsed() < Duration::from_millis(3500),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn pg_a_superseding_change_between_loss_and_look_is_not_taken_for_ours() {
    let server = pg::shared().unwrap();
    let relay = Relay::start(server.port, "set reason").unwrap();
    let (mut direct, lock) = fresh(&server, "between");
    first(&mut direct, "a");
    server
        .sql("update distlock set holders = '{a,b}', ts = ts - interval '1 hour' where lockname = 'between'")
        .unwrap();
    let mut service = LockService::new(through(&relay), lock);
    let read = row(service.read(soon()));
    // b promotes while a's request is lost.
    applied(direct.update(&Update::promote(&read, node("b"), TTL), soon()));
    relay.plan(&[Mishap::LoseRequest]);
    let reply = service.update(&Update::promote(&read, node("a"), TTL), soon());
    let Reply::NotApplied(row) = reply else {
        panic!("{reply:?}")
    };
    assert!(row.is_owned_at(&node("b"), 2));
}

#[test]
fn pg_a_frozen_server_is_unknown_within_the_deadline() {
    let server = Server::start(&[]).unwrap();
    let (mut service, lock) = fresh(&server, "frozen");
    let read = first(&mut service, "a");
    server.signal(rustix::process::Signal::STOP);
    let limit = Duration::from_millis(1500);
    for fresh_connection in [false, true] {
        let mut other = LockService::new(info(&server.conninfo()), lock.clone());
        let service = if fresh_connection {
            &mut other
        } else {
            &mut service
        };
        let began = Instant::now();
        let reading = service.read(Deadline::after(limit));
        assert!(
            matches!(&reading, Reading::Unknown(Trouble::Unreachable(text)) if text.contains("no answer in time")),
            "{reading:?}"
        );
        let update = Update::promote(&read, node("a"), TTL);
        let reply = service.update(&update, Deadline::after(limit));
        assert!(
            matches!(&reply, Reply::Unknown(Trouble::Unreachable(_))),
            "{reply:?}"
        );
        assert!(
            began.elapsed() < 2 * limit + Duration::from_millis(500),
            "{:?}",
            began.elapsed()
        );
    }
    server.signal(rustix::process::Signal::CONT);
    // What lay in the sockets is carried out now, at most once.
    let mut after = row(service.read(soon()));
    assert!(
        eventually(Duration::from_secs(5), || {
            after = row(service.read(soon()));
            after.term <= 2
        }),
        "{after:?}"
    );
    assert!(after.is_owned_by(&node("a")));
}

#[test]
fn pg_a_locked_row_is_given_up_and_changes_nothing_later() {
    let server = pg::shared().unwrap();
    let (mut service, _) = fresh(&server, "rowlock");
    let read = first(&mut service, "a");
    let mut other = postgres::Client::connect(&server.conninfo(), postgres::NoTls).unwrap();
    let mut transaction = other.transaction().unwrap();
    transaction
        .execute(
            "select 1 from distlock where lockname = 'rowlock' for update",
            &[],
        )
        .unwrap();
    let update = Update::promote(&read, node("a"), TTL);
    let reply = service.update(&update, Deadline::after(Duration::from_secs(2)));
    assert!(
        matches!(&reply, Reply::Unknown(Trouble::Answered(text)) if text.contains("keeps the row locked")),
        "{reply:?}"
    );
    transaction.commit().unwrap();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(row(service.read(soon())).term, 1);
}

#[test]
fn pg_a_server_that_went_and_came_back_is_found_again() {
    let server = Server::start(&[]).unwrap();
    let (mut service, _) = fresh(&server, "again");
    first(&mut service, "a");
    server.stop().unwrap();
    let reading = service.read(Deadline::after(Duration::from_secs(5)));
    assert!(
        matches!(&reading, Reading::Unknown(Trouble::Unreachable(text)) if text.contains("is PostgreSQL running there")),
        "{reading:?}"
    );
    server.restart(&[]).unwrap();
    let renew = Update::Renew {
        node: node("a"),
        term: 1,
        positions: BTreeMap::new(),
        ttl: TTL,
    };
    applied(service.update(&renew, soon()));
    server.stop().unwrap();
    server.restart(&[]).unwrap();
    // The kept connection is dead: one call finds that out and connects anew.
    applied(service.update(&renew, soon()));
    server.stop().unwrap();
    server.restart(&[]).unwrap();
    assert!(row(service.read(soon())).is_owned_at(&node("a"), 1));
}

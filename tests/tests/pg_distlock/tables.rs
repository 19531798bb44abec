//! Making and migrating the tables, and the plain mutex on both forms.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use crate::*;
use pha_core::register::{Reading, Reply, Trouble, Update};
use pha_host::clock::Deadline;
use pha_host::lock::{self, Change, LockName, LockService, MutexAnswer};
use pha_tests::pg::{self, Server};

/// The tables as the specification creates them.
const SPECIFICATION: &str = "
create table old_lock(lockname text primary key,owner text not null,ts timestamptz not null,expired_time interval not null);
create table old_lock_history(id serial primary key,lockname text not null,owner text not null,ts timestamptz not null,expired_time interval not null);
create or replace function old_lock_log_update() returns trigger as $$
  begin
    if tg_op = 'INSERT' or new.owner <> old.owner then
      insert into old_lock_history(lockname, owner, ts, expired_time) values (new.lockname, new.owner, new.ts, new.expired_time);
    end if;
    return new;
  end;
$$ language plpgsql;
create trigger old_lock_log_update after insert or update on old_lock for each row execute procedure old_lock_log_update();
";

#[test]
fn pg_the_specifications_table_works_bare_and_migrated() {
    let server = pg::shared().unwrap();
    server.sql(SPECIFICATION).unwrap();
    let info = info(&server.conninfo());
    let lock: LockName = "old_lock:c1".parse().unwrap();
    let ten = Duration::from_secs(10);
    assert_eq!(
        lock::trylock(&info, &lock, "pgsql_node1", ten, soon()),
        MutexAnswer::Yes
    );
    assert_eq!(
        lock::trylock(&info, &lock, "pgsql_node2", ten, soon()),
        MutexAnswer::No
    );
    let bare = LockService::new(info.clone(), lock.clone()).read(soon());
    assert!(
        matches!(&bare, Reading::Unknown(Trouble::Answered(text)) if text.contains("init old_lock:c1")),
        "{bare:?}"
    );
    let before = server.sql("select * from old_lock").unwrap();
    assert_eq!(lock::init(&info, &lock, soon()), Ok(Change::RowKept));
    assert_eq!(lock::init(&info, &lock, soon()), Ok(Change::RowKept));
    let columns = "select lockname, owner, ts, expired_time from old_lock";
    assert_eq!(server.sql(columns).unwrap(), before, "the row was touched");
    let mut service = LockService::new(info.clone(), lock.clone());
    let migrated = row(service.read(soon()));
    assert_eq!((migrated.term, migrated.holders), (0, nodes(&[])));
    // The built-in client waits for the old tool's lease.
    let first_primary = Update::FirstPrimary {
        node: node("node1"),
        ttl: TTL,
    };
    let reply = service.update(&first_primary, soon());
    assert!(matches!(&reply, Reply::NotApplied(_)), "{reply:?}");
    assert_eq!(
        lock::unlock(&info, &lock, "pgsql_node2", soon()),
        MutexAnswer::No
    );
    assert_eq!(
        lock::unlock(&info, &lock, "pgsql_node1", soon()),
        MutexAnswer::Yes
    );
    let registered = applied(service.update(&first_primary, soon()));
    // The old tool goes on working on the migrated table, and leaves the register's own columns.
    assert_eq!(
        lock::trylock(&info, &lock, "pgsql_node2", ten, soon()),
        MutexAnswer::No
    );
    let release = Update::Release {
        node: node("node1"),
        term: 1,
    };
    applied(service.update(&release, soon()));
    assert_eq!(
        lock::trylock(&info, &lock, "pgsql_node2", ten, soon()),
        MutexAnswer::Yes
    );
    let after = row(service.read(soon()));
    assert_eq!(
        (after.term, after.epoch, after.holders),
        (1, 1, registered.holders)
    );
    assert_eq!(after.owner, Some(node("pgsql_node2")));
    let history = lock::history(&info, &lock, 100, soon()).unwrap();
    let owners: Vec<&str> = history
        .iter()
        .map(|line| line["owner"].as_str().unwrap())
        .collect();
    // The second and the fourth are the lease that was given back.
    assert_eq!(
        owners,
        [
            "pgsql_node1",
            "pgsql_node1",
            "node1",
            "node1",
            "pgsql_node2"
        ]
    );
    assert!(
        history[0]["term"].is_null(),
        "a line from before the migration"
    );
}

#[test]
fn pg_the_mutex_waits_for_its_turn() {
    let server = pg::shared().unwrap();
    let (_, lock) = fresh(&server, "mutex");
    let info = info(&server.conninfo());
    let one = Duration::from_secs(1);
    assert_eq!(lock::lock(&info, &lock, "x", one, soon()), MutexAnswer::Yes);
    assert_eq!(
        lock::lock(
            &info,
            &lock,
            "y",
            one,
            Deadline::after(Duration::from_millis(300))
        ),
        MutexAnswer::No
    );
    let began = Instant::now();
    assert_eq!(lock::lock(&info, &lock, "y", one, soon()), MutexAnswer::Yes);
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(
        lock::trylock(&info, &lock, "y", one, soon()),
        MutexAnswer::Yes,
        "again by the same"
    );
}

#[test]
fn pg_initialisations_at_once_make_one_row() {
    let server = Server::start(&[]).unwrap();
    let barrier = Arc::new(Barrier::new(4));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (barrier, info) = (Arc::clone(&barrier), info(&server.conninfo()));
            thread::spawn(move || {
                barrier.wait();
                lock::init(&info, &"public.locks:c1".parse().unwrap(), soon())
            })
        })
        .collect();
    let changes: Vec<Change> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap().unwrap())
        .collect();
    let made = changes
        .iter()
        .filter(|change| **change == Change::RowMade)
        .count();
    assert_eq!(made, 1, "{changes:?}");
    assert_eq!(
        server
            .sql("select count(*) from public.locks_history")
            .unwrap(),
        "1"
    );
}

/// D6: running the set-up again while the lock is held does not free it.
#[test]
fn pg_initialising_again_keeps_the_lock() {
    let server = pg::shared().unwrap();
    let (mut service, lock) = fresh(&server, "held");
    let held = first(&mut service, "a");
    let change = lock::init(&info(&server.conninfo()), &lock, soon());
    assert_eq!(change, Ok(Change::RowKept));
    let after = row(service.read(soon()));
    assert!(after.same_but_for_time(&held) && !after.renewed_since(&held));
}

/// The mark of an up-to-date table lies on the function, which dropped tables leave behind.
#[test]
fn pg_dropped_tables_are_made_again() {
    let server = pg::shared().unwrap();
    let owner = info(&server.conninfo());
    let lock: LockName = "dropped_lock:c1".parse().unwrap();
    assert_eq!(lock::init(&owner, &lock, soon()), Ok(Change::RowMade));
    for dropped in ["dropped_lock, dropped_lock_history", "dropped_lock_history"] {
        server.sql(&format!("drop table {dropped}")).unwrap();
        lock::init(&owner, &lock, soon()).unwrap();
        let shown = lock::show(&owner, &lock, soon());
        assert!(matches!(shown, Ok(lock::Shown::Row(_))), "{shown:?}");
        let history = server.sql("select count(*) from dropped_lock_history");
        assert!(history.is_ok(), "{history:?}");
    }
}

/// The advice for both begins with the same words; `cls_setup` makes what is missing, and not a table
/// that is only closed to its role.
#[test]
fn pg_a_missing_table_is_told_from_one_that_may_not_be_read() {
    let server = pg::shared().unwrap();
    let owner = info(&server.conninfo());
    let lock: LockName = "closed_lock:c1".parse().unwrap();
    let shown = lock::show(&owner, &lock, soon());
    assert!(matches!(shown, Ok(lock::Shown::NoTable(_))), "{shown:?}");
    lock::init(&owner, &lock, soon()).unwrap();
    let shown = lock::show(&owner, &lock, soon());
    assert!(matches!(shown, Ok(lock::Shown::Row(_))), "{shown:?}");
    server.sql("create role closed_out login").unwrap();
    let other = owner.with_user("closed_out");
    let shown = lock::show(&other, &lock, soon());
    assert!(
        matches!(&shown, Err(Trouble::Answered(text)) if text.contains("permission denied")),
        "{shown:?}"
    );
}

/// One `UPDATE` to numbers that cannot be raised is damage, and the operator's decision on it goes
/// through: it is made on a row made again, above what the nodes have seen.
#[test]
fn pg_a_row_that_leapt_is_mended_by_the_decision() {
    let server = pg::shared().unwrap();
    let (mut service, lock) = fresh(&server, "leapt");
    first(&mut service, "node1");
    server
        .sql("update distlock set term = 9223372036854775807, epoch = 9223372036854775807 where lockname = 'leapt'")
        .unwrap();
    assert!(matches!(service.read(soon()), Reading::Damaged(_)));
    let renew = Update::Renew {
        node: node("node1"),
        term: 1,
        positions: Default::default(),
        ttl: TTL,
    };
    assert!(matches!(service.update(&renew, soon()), Reply::Damaged(_)));
    service.remake(soon()).unwrap();
    let decision = Update::Override {
        by: "operator".to_owned(),
        from_term: 0,
        from_epoch: 0,
        above_term: 3,
        above_epoch: 8,
        lineage: None,
        above_number: 0,
        owner: None,
        holders: nodes(&["node1"]),
    };
    let mended = applied(service.update(&decision, soon()));
    assert_eq!((mended.term, mended.epoch), (4, 9));
    assert_eq!(
        LockService::new(info(&server.conninfo()), lock).disbelieved(soon()),
        None
    );
}

//! The least rights of a cluster's role (S11): they are enough for every change of the protocol, and
//! for nothing of another cluster.

use crate::*;
use pha_core::history::Operator;
use pha_core::register::Trouble;
use pha_host::lock::{Granted, RoleName};

/// A server of its own: roles and row security are for the whole of it.
fn server_with(roles: &[&str]) -> Server {
    let server = Server::start(&[]).unwrap();
    for role in roles {
        server.sql(&format!("create role {role} login")).unwrap();
    }
    server
}

fn as_role(server: &Server, role: &str) -> Conninfo {
    info(
        &server
            .conninfo()
            .replace("user=postgres", &format!("user={role}")),
    )
}

fn lock_named(text: &str) -> LockName {
    text.parse().unwrap()
}

fn role(name: &str) -> RoleName {
    name.parse().unwrap()
}

#[test]
fn pg_the_least_role_makes_every_change_of_its_own_row() {
    let server = server_with(&["cls1"]);
    let (owner, lock) = (info(&server.conninfo()), lock_named("distlock:cls1"));
    lock::init(&owner, &lock, soon()).unwrap();
    let cls1 = as_role(&server, "cls1");
    // Without rights the trial says what fails and what to type.
    let refused = lock::try_changes(&cls1, &lock, soon()).unwrap_err();
    assert!(
        matches!(&refused, Trouble::Answered(text) if text.contains("init --role <role> distlock:cls1")),
        "{refused:?}"
    );
    assert_eq!(
        lock::grant(&owner, &lock, &role("cls1"), soon()),
        Ok(Granted { missing: vec![] })
    );
    let standing = lock::try_changes(&cls1, &lock, soon()).unwrap();
    assert!(standing.own_row_only && !standing.superuser, "{standing:?}");
    // The trial has left nothing behind.
    assert_eq!(server.sql("select lockname from distlock").unwrap(), "cls1");
    assert_eq!(
        server.sql("select count(*) from distlock_history").unwrap(),
        "1"
    );

    // A takeover and its history, as that role.
    let mut service = LockService::new(cls1.clone(), lock.clone());
    let row = first(&mut service, "node1");
    let both = Update::set_holders(&row, node("node1"), nodes(&["node1", "node2"]), TTL);
    let row = applied(service.update(&both, soon()));
    expire(&server, &lock);
    let promote = Update::promote(&row, node("node2"), TTL);
    assert_eq!(applied(service.update(&promote, soon())).term, 2);
    let history = lock::history(&cls1, &lock, 50, soon()).unwrap();
    assert_eq!(history.len(), 4, "{history:?}");
    assert_eq!(history[3]["reason"], "promote by node2");
    // It notes what its operators type, and takes nothing away.
    let operator = Operator {
        who: "root".to_owned(),
        node: "node1".to_owned(),
        command: "cls_restart".to_owned(),
    };
    lock::note(&cls1, &lock, &operator, soon()).unwrap();
    let history = lock::history(&cls1, &lock, 1, soon()).unwrap();
    assert_eq!(history[0]["reason"], "operator root on node1: cls_restart");
    let refused = lock::prune(&cls1, &lock, 0, 0, soon());
    assert!(
        matches!(&refused, Err(Trouble::Answered(text)) if text.contains("permission denied")),
        "{refused:?}"
    );

    // It can make its row again (cls_recovery_master), without being able to change the tables.
    server.sql("delete from distlock").unwrap();
    assert_eq!(lock::init(&cls1, &lock, soon()), Ok(lock::Change::RowMade));
    server
        .sql("update distlock set holders = '{\"no node\"}'")
        .unwrap();
    service.remake(soon()).unwrap();
    assert_eq!(crate::row(service.read(soon())).term, 0);
}

#[test]
fn pg_a_role_can_touch_nothing_of_another_cluster() {
    let server = server_with(&["cls1", "cls2"]);
    let owner = info(&server.conninfo());
    let (one, two) = (lock_named("distlock:cls1"), lock_named("distlock:cls2"));
    for lock in [&one, &two] {
        lock::init(&owner, lock, soon()).unwrap();
    }
    // A role of an older installation, without a policy: it goes on finding its row until it has one.
    server
        .sql("grant select, update on distlock to cls2")
        .unwrap();
    let granted = lock::grant(&owner, &one, &role("cls1"), soon()).unwrap();
    assert_eq!(granted.missing, ["cls2"]);
    let cls2 = as_role(&server, "cls2");
    let renewed = first(&mut LockService::new(cls2.clone(), two.clone()), "node1");
    assert_eq!(renewed.term, 1);
    // With both, each has its own row alone.
    let granted = lock::grant(&owner, &two, &role("cls2"), soon()).unwrap();
    assert_eq!(granted.missing, Vec::<String>::new());
    for (mine, name, other) in [(&one, "cls1", &two), (&two, "cls2", &one)] {
        let info = as_role(&server, name);
        lock::try_changes(&info, mine, soon()).unwrap();
        let mut theirs = LockService::new(info.clone(), other.clone());
        assert_eq!(theirs.read(soon()), Reading::Missing);
        assert!(theirs.remake(soon()).is_err());
        assert_eq!(
            lock::history(&info, other, 9, soon()).unwrap(),
            Vec::<lock::History>::new()
        );
    }
    let rows = server
        .sql("select lockname, term from distlock order by 1")
        .unwrap();
    assert_eq!(rows, "cls1|0\ncls2|1");
    // Nor can it reach the tables themselves, or move its row onto another's name.
    let asked = |sql: &str| {
        let mut client = postgres::Client::connect(
            &server.conninfo().replace("user=postgres", "user=cls1"),
            postgres::NoTls,
        )
        .unwrap();
        client.batch_execute(sql)
    };
    for sql in [
        "delete from distlock",
        "truncate distlock",
        "update distlock set lockname = 'cls2'",
        "insert into distlock_history (lockname, owner, ts, expired_time) values ('cls1', '', now(), '0')",
        "drop trigger distlock_log_update on distlock",
        "alter table distlock disable row level security",
    ] {
        assert!(asked(sql).is_err(), "{sql}");
    }
}

#[test]
fn pg_the_printed_script_does_the_same() {
    let server = server_with(&["cls1"]);
    let lock = lock_named("distlock:it's");
    let script = lock::script(&lock, Some(&role("cls1")));
    server.sql(&script).unwrap();
    lock::try_changes(&as_role(&server, "cls1"), &lock, soon()).unwrap();
    let info = info(&server.conninfo());
    assert_eq!(lock::init(&info, &lock, soon()), Ok(lock::Change::RowKept));
}

#[test]
fn pg_a_superuser_does_not_run_what_a_tables_owner_wrote() {
    let server = server_with(&["mallory"]);
    server
        .sql("create schema mallory authorization mallory")
        .unwrap();
    let mallory = as_role(&server, "mallory");
    let lock = lock_named("mallory.distlock:c1");
    lock::init(&mallory, &lock, soon()).unwrap();
    let mut client = postgres::Client::connect(
        &server.conninfo().replace("user=postgres", "user=mallory"),
        postgres::NoTls,
    )
    .unwrap();
    client
        .batch_execute(
            "create function mallory.take() returns trigger language plpgsql as \
             'begin alter role mallory superuser; return new; end'; \
             create trigger take before insert or update on mallory.distlock \
             for each row execute procedure mallory.take()",
        )
        .unwrap();
    let superuser = info(&server.conninfo());
    let refused = lock::init(&superuser, &lock_named("mallory.distlock:c2"), soon()).unwrap_err();
    assert!(
        matches!(&refused, Trouble::Answered(text) if text.contains("belongs to mallory")),
        "{refused:?}"
    );
    let is_super = "select rolsuper from pg_roles where rolname = 'mallory'";
    assert_eq!(server.sql(is_super).unwrap(), "f");
    // The doctor does not run it either, and says why.
    let standing = lock::try_changes(&superuser, &lock, soon()).unwrap();
    assert_eq!(
        (standing.superuser, standing.owner.as_deref()),
        (true, Some("mallory"))
    );
    assert_eq!(server.sql(is_super).unwrap(), "f");
}

//! The lock service's sessions take nothing from what its roles, databases and configuration set for
//! every session, and nothing from who may make objects beside the table.

use crate::*;
use pha_core::register::{Trouble, Update};
use pha_host::lock::MutexAnswer;
use pha_tests::pg::Server;

/// Functions and operators that fit the values of the statements better than PostgreSQL's own would,
/// if they were looked at. Whoever calls one as a superuser makes the role `guest` one.
const TRAPS: &str = "
create function TRAP.gain() returns void language plpgsql as
    'begin if pg_catalog.current_setting(''is_superuser'') operator(pg_catalog.=) ''on'' then
        alter role guest superuser; end if; end';
create function TRAP.clock_timestamp() returns timestamptz language sql as
    'select TRAP.gain(); select pg_catalog.clock_timestamp()';
create function TRAP.to_char(timestamp, text) returns text language sql as
    'select TRAP.gain(); select pg_catalog.to_char($1, $2)';
create function TRAP.times(bigint, interval) returns interval language sql as
    'select TRAP.gain(); select pg_catalog.make_interval(secs => 1)';
create operator TRAP.* (function = TRAP.times, leftarg = bigint, rightarg = interval);
create function TRAP.same(text, text) returns boolean language sql as 'select TRAP.gain(); select true';
create operator TRAP.= (function = TRAP.same, leftarg = text, rightarg = text);
create function TRAP.array_remove(text[], text) returns text[] language sql as
    'select TRAP.gain(); select pg_catalog.array_remove($1, $2)';
";

#[test]
fn pg_what_is_set_for_every_session_does_not_reach_the_lock_service() {
    let server = Server::start(&[]).unwrap();
    let (mut service, lock) = fresh(&server, "own");
    let name = "postgres";
    server
        .sql(
            "create table public.seen (name text, value text);
             create function public.look() returns trigger language plpgsql as $$
             begin
               insert into public.seen select s.name, s.setting from pg_catalog.pg_settings s
                 where s.name in ('synchronous_commit', 'search_path', 'default_transaction_isolation',
                                  'TimeZone', 'DateStyle', 'row_security', 'idle_session_timeout');
               return new;
             end $$;
             create trigger look after update on public.distlock for each row execute function public.look()",
        )
        .unwrap();
    first(&mut service, "a");
    for change in [
        "synchronous_commit = off",
        "default_transaction_isolation = serializable",
        "search_path = nowhere",
        "timezone = 'Asia/Shanghai'",
        "datestyle = 'German'",
        "intervalstyle = 'sql_standard'",
        "row_security = off",
        "transform_null_equals = on",
        "statement_timeout = 3600000",
    ] {
        server
            .sql(&format!("alter role {name} set {change}"))
            .unwrap();
    }
    server.sql("delete from public.seen").unwrap();
    let mut service = LockService::new(info(&server.conninfo()), lock.clone());
    let before = row(service.read(soon()));
    let renewed = applied(service.update(
        &Update::Renew {
            node: node("a"),
            term: 1,
            positions: std::collections::BTreeMap::new(),
            ttl: TTL,
        },
        soon(),
    ));
    assert_eq!((before.term, renewed.term), (1, 1));
    let seen = server
        .sql("select string_agg(name || '=' || value, ' ' order by name) from public.seen")
        .unwrap();
    assert_eq!(
        seen,
        "DateStyle=ISO, YMD TimeZone=UTC default_transaction_isolation=read committed \
         idle_session_timeout=0 row_security=on search_path= synchronous_commit=on"
    );
    let history = lock::history(&info(&server.conninfo()), &lock, 10, soon()).unwrap();
    assert!(!history.is_empty());
    let lock::Shown::Row(row) = lock::show(&info(&server.conninfo()), &lock, soon()).unwrap()
    else {
        panic!("no row")
    };
    assert!(row.is_migrated());
}

#[test]
fn pg_who_may_make_objects_beside_the_table_gains_nothing() {
    let server = Server::start(&[]).unwrap();
    let (mut service, lock) = fresh(&server, "traps");
    server
        .sql("create role guest login; grant create on schema public to guest")
        .unwrap();
    server
        .sql("create schema evil authorization guest")
        .unwrap();
    for schema in ["evil", "public"] {
        let traps = TRAPS.replace("TRAP", schema);
        server.sql(&format!("set role guest; {traps}")).unwrap();
    }
    // A copy of the table that the path of the role would find first.
    server
        .sql("set role guest; create table evil.distlock (lockname text, owner text)")
        .unwrap();
    server
        .sql("alter role postgres set search_path = evil, public, pg_catalog")
        .unwrap();
    let info = info(&server.conninfo());
    first(&mut service, "a");
    let mut service = LockService::new(info.clone(), lock.clone());
    assert_eq!(row(service.read(soon())).owner, Some(node("a")));
    let add = Update::SetHolders {
        node: node("a"),
        term: 1,
        from_epoch: 1,
        from_holders: nodes(&["a"]),
        holders: nodes(&["a", "b"]),
        ttl: TTL,
    };
    applied(service.update(&add, soon()));
    applied(service.update(&Update::Leave { node: node("b") }, soon()));
    lock::init(&info, &lock, soon()).unwrap();
    let other: LockName = "distlock:old-tool".parse().unwrap();
    let one = Duration::from_secs(1);
    assert_eq!(
        lock::trylock(&info, &other, "x", one, soon()),
        MutexAnswer::Yes
    );
    assert_eq!(lock::unlock(&info, &other, "x", soon()), MutexAnswer::Yes);
    let gained = || {
        let sql = "set search_path = ''; select rolsuper from pg_roles where rolname = 'guest'";
        server.sql(sql).unwrap().ends_with('t')
    };
    assert!(!gained());
    // The traps are real.
    server
        .sql("set search_path = evil, pg_catalog; select clock_timestamp()")
        .unwrap();
    assert!(gained());
}

#[test]
fn pg_a_table_elsewhere_is_named_with_its_schema() {
    let server = Server::start(&[]).unwrap();
    server.sql("create schema ha").unwrap();
    let info = info(&server.conninfo());
    let there: LockName = "ha.distlock:c1".parse().unwrap();
    lock::init(&info, &there, soon()).unwrap();
    server
        .sql("alter role postgres set search_path = ha")
        .unwrap();
    let here: LockName = "distlock:c1".parse().unwrap();
    let reading = LockService::new(info.clone(), here).read(soon());
    assert!(
        matches!(&reading, Reading::Unknown(Trouble::Answered(text)) if text.contains("named with its schema")),
        "{reading:?}"
    );
    let mut service = LockService::new(info.clone(), there.clone());
    first(&mut service, "a");
    assert_eq!(lock::history(&info, &there, 10, soon()).unwrap().len(), 2);
}

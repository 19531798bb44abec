//! What the trigger keeps is enough to tell what happened, and does not grow for ever.

use pha_core::history::{Cause, Entry, Event, Kind, Loss, Operator, events};
use pha_core::lineage::{Lineage, TimelineName};
use pha_core::lsn::Lsn;
use pha_core::timeline::TimelineId;
use pha_tests::pg;

use crate::*;

fn at(server: &Server, text: &str) -> (Conninfo, LockName, LockService) {
    let (info, lock): (Conninfo, LockName) = (info(&server.conninfo()), text.parse().unwrap());
    lock::init(&info, &lock, soon()).unwrap();
    let service = LockService::new(info.clone(), lock.clone());
    (info, lock, service)
}

fn entries(info: &Conninfo, lock: &LockName) -> Vec<Entry> {
    let lines = lock::history(info, lock, 1_000, soon()).unwrap();
    lines
        .iter()
        .map(|line| Entry::read(line).unwrap())
        .collect()
}

fn kinds(events: &[Event]) -> Vec<Kind> {
    events.iter().map(|event| event.kind).collect()
}

/// The owner is open: it names its timeline.
fn opened(service: &mut LockService, name: &str, term: u64) {
    let timeline = TimelineName {
        term,
        number: TimelineId::new(u32::try_from(term).unwrap()).unwrap(),
        fork: Lsn::new(0x10),
    };
    let update = Update::NameTimelines {
        node: node(name),
        term,
        lineage: Lineage::new(vec![timeline]),
    };
    applied(service.update(&update, soon()));
}

/// What an older version's trigger wrote.
const OLDER: &str = "
create or replace function public.tale_log_update() returns trigger language plpgsql as $log$
begin
  if tg_op = 'INSERT' or new.owner is distinct from old.owner
     or new.term is distinct from old.term or new.holders is distinct from old.holders then
    insert into public.tale_history (lockname, owner, ts, expired_time, term, epoch, holders, reason)
      values (new.lockname, new.owner, new.ts, new.expired_time, new.term, new.epoch, new.holders, new.reason);
  end if;
  return new;
end $log$;
comment on function public.tale_log_update() is 'pha4pgsql of an older version'";

#[test]
fn pg_the_history_tells_what_happened() {
    let server = pg::shared().unwrap();
    let (info, lock, mut service) = at(&server, "tale:c1");
    first(&mut service, "node1");
    opened(&mut service, "node1", 1);
    let both = nodes(&["node1", "node2"]);
    let add = |service: &mut LockService, name: &str| {
        let row = row(service.read(soon()));
        let update = Update::set_holders(&row, node(name), both.clone(), TTL);
        applied(service.update(&update, soon()))
    };
    let promote = |service: &mut LockService, name: &str| {
        let row = row(service.read(soon()));
        let update = Update::promote(&row, node(name), TTL);
        applied(service.update(&update, soon())).term
    };
    add(&mut service, "node1");

    // An operator's switch.
    let operator = Operator {
        who: "root".to_owned(),
        node: "node2".to_owned(),
        command: "cls_online_switch".to_owned(),
    };
    lock::note(&info, &lock, &operator, soon()).unwrap();
    let release = Update::Release {
        node: node("node1"),
        term: 1,
    };
    applied(service.update(&release, soon()));
    assert_eq!(promote(&mut service, "node2"), 2);
    opened(&mut service, "node2", 2);
    add(&mut service, "node2");

    // node2 is heard of no more.
    let gone = "update tale set ts = ts - interval '1 hour' where lockname = 'c1'";
    server.sql(gone).unwrap();
    assert_eq!(promote(&mut service, "node1"), 3);
    opened(&mut service, "node1", 3);

    // An older version's trigger, as before the tables were brought up to date, and after.
    server.sql(OLDER).unwrap();
    add(&mut service, "node1");
    assert!(!entries(&info, &lock).last().unwrap().full);
    lock::init(&info, &lock, soon()).unwrap();
    let leave = Update::Leave {
        node: node("node2"),
    };
    applied(service.update(&leave, soon()));

    let entries = entries(&info, &lock);
    assert!(entries.last().unwrap().full);
    let events = events(&entries);
    assert_eq!(
        kinds(&events),
        [
            Kind::Made,
            Kind::First,
            Kind::Added,
            Kind::Operator,
            Kind::Switch,
            Kind::Added,
            Kind::Takeover,
            Kind::Added,
            Kind::Left
        ]
    );
    let switch = &events[4];
    assert_eq!(switch.cause, Some(Cause::Command(operator)));
    assert!(
        switch.opened.is_some() && switch.ended.is_some(),
        "{switch:?}"
    );
    let takeover = &events[6];
    let Some(Cause::Silent { seconds }) = takeover.cause else {
        panic!("{takeover:?}")
    };
    assert!((3_600.0..3_660.0).contains(&seconds), "{seconds}");
    assert!(takeover.outage.unwrap().at_most_seconds.unwrap() >= 3_600.0);
    assert_eq!(takeover.lost, Some(Loss::Nothing));
    // A change that renews no lease has the time of the change.
    assert!(events[8].at >= events[7].at, "{events:?}");
}

#[test]
fn pg_the_history_does_not_grow_for_ever() {
    let server = pg::shared().unwrap();
    let (info, lock, mut service) = at(&server, "kept:c1");
    let (_, other, _) = at(&server, "kept:c2");
    let many = |name: &str, count: u32, days: u32| {
        let sql = format!(
            "insert into kept_history (lockname, owner, ts, expired_time) \
             select '{name}', '', now() - interval '{days} days', '0' from generate_series(1, {count})"
        );
        server.sql(&sql).unwrap();
    };
    let count = |name: &str| -> u32 {
        let sql = format!("select count(*) from kept_history where lockname = '{name}'");
        server.sql(&sql).unwrap().parse().unwrap()
    };
    many("c1", 150, 731);
    many("c2", 150, 731);
    // What somebody else has locked is left for the next time, and nobody waits for it.
    let mut locker = postgres::Client::connect(&server.conninfo(), postgres::NoTls).unwrap();
    let mut locked = locker.transaction().unwrap();
    let oldest = "select id from kept_history where lockname = 'c1' order by id limit 3 for update";
    locked.execute(oldest, &[]).unwrap();
    first(&mut service, "node1");
    assert_eq!(count("c1"), 103);
    locked.commit().unwrap();
    opened(&mut service, "node1", 1);
    // The entry that made the row is the oldest by its number, and not by its time.
    assert_eq!((count("c1"), count("c2")), (101, 151));

    // Within two years nothing goes, but for what an operator asks to.
    many("c1", 150, 729);
    applied(service.update(
        &Update::Release {
            node: node("node1"),
            term: 1,
        },
        soon(),
    ));
    assert_eq!(count("c1"), 154);
    assert_eq!(lock::prune(&info, &lock, 730, 120, soon()), Ok(34));
    assert_eq!(lock::prune(&info, &lock, 0, 0, soon()), Ok(20));
    assert_eq!(lock::prune(&info, &lock, 0, 0, soon()), Ok(0));
    assert_eq!((count("c1"), count("c2")), (100, 151));
    assert_eq!(lock::prune(&info, &other, 730, 10_000, soon()), Ok(50));

    // A history that cannot be shortened hinders no change of the row.
    server
        .sql("alter table kept_history rename id to number")
        .unwrap();
    let update = Update::promote(&row(service.read(soon())), node("node1"), TTL);
    assert_eq!(applied(service.update(&update, soon())).term, 2);
}

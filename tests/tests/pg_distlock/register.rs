//! The statements mean what the core says they mean.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use crate::*;
use pha_core::lineage::{Former, Lineage, TimelineName, Timelines};
use pha_core::lsn::Lsn;
use pha_core::names::NodeName;
use pha_core::register::{Damage, MADE_AGAIN, RawRow, Reading, Register, Remake, Reply, Update};
use pha_core::timeline::TimelineId;
use pha_host::lock::{self, LockService};
use pha_tests::pg::{self};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

#[test]
fn pg_a_whole_life_of_a_register() {
    let server = pg::shared().unwrap();
    let (mut service, lock) = fresh(&server, "life");
    let start = row(service.read(soon()));
    assert!(start.same_but_for_time(&Register::fresh()), "{start:?}");
    let row1 = first(&mut service, "a");
    assert!(row1.is_owned_at(&node("a"), 1));
    assert!(row1.lease_left <= TTL && row1.lease_left > TTL - Duration::from_secs(5));
    let renew = Update::Renew {
        node: node("a"),
        term: 1,
        positions: BTreeMap::from([(node("a"), Lsn::new(0x1_0000_00D0))]),
        ttl: TTL,
    };
    let row2 = applied(service.update(&renew, soon()));
    assert!(row2.renewed_since(&row1), "{row1:?} {row2:?}");
    assert_eq!(
        server
            .sql("select positions from distlock where lockname = 'life'")
            .unwrap(),
        r#"{"a": "1/D0"}"#
    );
    let add = Update::set_holders(&row2, node("a"), nodes(&["a", "b"]), TTL);
    let row3 = applied(service.update(&add, soon()));
    assert_eq!(row3.holders, nodes(&["a", "b"]));
    let Reply::NotApplied(seen) = service.update(&Update::promote(&row3, node("b"), TTL), soon())
    else {
        panic!("promoted under a running lease")
    };
    assert!(seen.is_owned_at(&node("a"), 1));
    expire(&server, &lock);
    let row4 = applied(service.update(&Update::promote(&row3, node("b"), TTL), soon()));
    assert!(row4.is_owned_at(&node("b"), 2));
    let history = lock::history(&info(&server.conninfo()), &lock, 100, soon()).unwrap();
    let reasons: Vec<&str> = history
        .iter()
        .map(|line| line["reason"].as_str().unwrap())
        .collect();
    assert_eq!(
        reasons,
        [
            "init",
            "first primary a",
            "set holders by a",
            "promote by b"
        ],
        "renewals are not in the history"
    );
    let terms: Vec<u64> = history
        .iter()
        .map(|line| line["term"].as_u64().unwrap())
        .collect();
    assert_eq!(terms, [0, 1, 1, 2]);
}

#[test]
fn pg_a_lease_from_the_future_runs_no_longer_than_any_other() {
    let server = pg::shared().unwrap();
    let (mut service, _) = fresh(&server, "future");
    let before = first(&mut service, "a");
    // What an owner has written whose server's clock was an hour ahead.
    server
        .sql("update distlock set ts = ts + interval '1 hour' where lockname = 'future'")
        .unwrap();
    let after = row(service.read(soon()));
    assert!(after.lease_left <= TTL, "{after:?}");
    assert!(after.lease_left > TTL - Duration::from_secs(5), "{after:?}");
    assert!(after.same_but_for_time(&before), "{after:?}");
    let again = row(service.read(soon()));
    assert!(again.lease_left <= after.lease_left, "it runs");
}

fn any_node() -> impl Strategy<Value = NodeName> {
    prop::sample::select(vec![node("a"), node("b"), node("c")])
}

fn any_nodes() -> impl Strategy<Value = BTreeSet<NodeName>> {
    prop::collection::btree_set(any_node(), 0..4)
}

fn any_positions() -> impl Strategy<Value = BTreeMap<NodeName, Lsn>> {
    let position = prop_oneof![0u64..4, any::<u64>()].prop_map(Lsn::new);
    prop::collection::btree_map(any_node(), position, 0..4)
}

fn any_lineage() -> impl Strategy<Value = Lineage> {
    let name = (0u64..3, 1u32..4, 0u64..3).prop_map(|(term, number, fork)| TimelineName {
        term,
        number: TimelineId::new(number).unwrap(),
        fork: Lsn::new(fork),
    });
    prop::collection::vec(name, 0..3).prop_map(Lineage::new)
}

fn any_timelines() -> impl Strategy<Value = Timelines> {
    let nodes = prop::collection::btree_map(
        any_node(),
        prop::option::of((0u64..4).prop_map(Lsn::new)),
        0..4,
    );
    let former = (0u64..3, nodes).prop_map(|(term, nodes)| Former { term, nodes });
    let former = prop::option::of(former.prop_map(Box::new));
    (0u64..3, 0u32..6, any_lineage(), former).prop_map(|(term, highest, lineage, former)| {
        Timelines {
            term,
            highest,
            lineage,
            former,
        }
    })
}

fn any_register() -> impl Strategy<Value = Register> {
    (
        prop::option::weighted(0.8, any_node()),
        0u64..3,
        0u64..3,
        any_nodes(),
        any_positions(),
        any::<bool>(),
        (any_timelines(), any::<bool>()),
    )
        .prop_map(
            |(owner, term, epoch, holders, positions, running, (mut timelines, taken))| {
                // As the owner's own promotion has left it.
                if let (true, Some(owner), Some(former)) = (taken, &owner, &mut timelines.former) {
                    former.term = term;
                    let position = positions.get(owner).copied();
                    former.nodes.insert(owner.clone(), position);
                }
                Register {
                    owner,
                    term,
                    epoch,
                    // A row past term 0 without holders is damage, which no change is judged on.
                    holders: if term > 0 && holders.is_empty() {
                        nodes(&["a"])
                    } else {
                        holders
                    },
                    positions,
                    lease_left: if running { TTL } else { Duration::ZERO },
                    ttl: TTL,
                    timelines,
                    renewed: String::new(),
                }
            },
        )
}

/// A change as somebody asks for it who has read `row`, or has read it with one thing different,
/// so that each condition is met often, and is often the only one that is not. In half of the
/// cases it is the owner who asks.
fn any_update(row: Register) -> impl Strategy<Value = Update> {
    let asker = match row.owner.clone() {
        Some(owner) => prop_oneof![Just(owner), any_node()].boxed(),
        None => any_node().boxed(),
    };
    let twist = (
        0u8..6,
        0u64..3,
        any_nodes(),
        prop::option::weighted(0.8, any_node()),
    );
    (
        (0u8..11, any_lineage()),
        asker,
        any_node(),
        any_nodes(),
        any_positions(),
        twist,
    )
        .prop_map(
            move |((kind, lineage), node, other, mut holders, positions, twist)| {
                let mut read = row.clone();
                match twist.0 {
                    0 => read.term = twist.1,
                    1 => read.epoch = twist.1,
                    2 => read.holders = twist.2,
                    3 => read.owner = twist.3.clone(),
                    _ => {}
                }
                let (term, from_epoch) = (read.term, read.epoch);
                match kind {
                    0 => Update::FirstPrimary { node, ttl: TTL },
                    1 => Update::promote(&read, node, TTL),
                    2 => Update::promote(&read, node, TTL).with_bounded_loss(),
                    3 => Update::Renew {
                        node,
                        term,
                        positions,
                        ttl: TTL,
                    },
                    4 => {
                        // The owner is seldom forgotten.
                        holders.extend((twist.1 > 0).then(|| node.clone()));
                        Update::set_holders(&read, node, holders, TTL)
                    }
                    5 => Update::Release { node, term },
                    6 => Update::Leave { node },
                    7 => Update::Override {
                        by: "root@a".to_owned(),
                        from_term: term,
                        from_epoch,
                        above_term: 0,
                        above_epoch: 0,
                        lineage: Some(lineage).filter(|lineage| !lineage.is_empty()),
                        above_number: twist.1 as u32,
                        owner: twist.3.filter(|_| twist.1 == 0),
                        holders,
                    },
                    8 => Update::NameTimelines {
                        node,
                        term,
                        lineage,
                    },
                    9 => Update::GiveBack {
                        node,
                        term,
                        from_epoch,
                    },
                    _ => Update::HandOver {
                        node,
                        term,
                        from_epoch,
                        successor: other,
                        position: Lsn::new(0x70000D0),
                    },
                }
            },
        )
}

fn write(server: &mut postgres::Client, row: &Register) {
    let holders: Vec<&str> = row.holders.iter().map(NodeName::as_str).collect();
    let positions: BTreeMap<&str, String> = row
        .positions
        .iter()
        .map(|(node, lsn)| (node.as_str(), lsn.to_string()))
        .collect();
    server
        .execute(
            "update distlock set owner = $1, term = $2, epoch = $3, holders = $4, \
             positions = $5::text::jsonb, timelines = $8::text::jsonb, expired_time = $6 * interval '1 second', \
             ts = clock_timestamp() - case when $7 then interval '0' else interval '1 hour' end \
             where lockname = 'equal'",
            &[
                &row.owner.as_ref().map_or("", NodeName::as_str),
                &i64::try_from(row.term).unwrap(),
                &i64::try_from(row.epoch).unwrap(),
                &holders,
                &serde_json::to_string(&positions).unwrap(),
                &row.ttl.as_secs_f64(),
                &!row.lease_left.is_zero(),
                &(row.timelines != Timelines::default()).then(|| {
                    let mut named = serde_json::to_value(&row.timelines).unwrap();
                    named["later"] = 7.into();
                    named.to_string()
                }),
            ],
        )
        .unwrap();
}

/// Two clusters with one lock name, whose nodes have the same names.
#[test]
fn pg_a_row_belongs_to_one_database() {
    let server = pg::shared().unwrap();
    let (service, lock) = fresh(&server, "two_clusters");
    let info = info(&server.conninfo());
    let mut ours = service.of_system(Some(7_711_122_782_245_847_118));
    let mut theirs = LockService::new(info, lock).of_system(Some(u64::MAX));
    let row_of = first(&mut ours, "node1");
    let foreign = |reading| matches!(reading, Reading::Damaged(Damage::Foreign(_)));

    assert!(foreign(theirs.read(soon())));
    let changes = [
        Update::Renew {
            node: node("node1"),
            term: row_of.term,
            positions: BTreeMap::new(),
            ttl: TTL,
        },
        Update::Release {
            node: node("node1"),
            term: row_of.term,
        },
    ];
    for change in &changes {
        let reply = theirs.update(change, soon());
        assert!(
            matches!(&reply, Reply::Damaged(Damage::Foreign(_))),
            "{reply:?}"
        );
    }
    let trouble = theirs.remake(soon()).unwrap_err();
    assert!(
        trouble.text().contains("another distlock_lockname"),
        "{trouble}"
    );
    let row_now = row(ours.read(soon()));
    assert!(row_now.same_but_for_time(&row_of), "{row_now:?}");

    // Nobody holds it: an operator may take it over, and then it is not the first one's any more.
    applied(ours.update(&changes[1], soon()));
    theirs.remake(soon()).unwrap();
    first(&mut theirs, "node1");
    assert!(foreign(ours.read(soon())));
}

/// The SQL of every change is equal to its pure meaning: the row count and the row afterwards. What a later
/// version has put beside the names of timelines stays.
#[test]
fn pg_sql_equals_apply() {
    let server = pg::shared().unwrap();
    let service = RefCell::new(fresh(&server, "equal").0);
    let client = postgres::Client::connect(&server.conninfo(), postgres::NoTls).unwrap();
    let client = RefCell::new(client);
    let took_effect: RefCell<BTreeMap<String, (u32, u32)>> = RefCell::default();
    let cases = any_register().prop_flat_map(|row| (Just(row.clone()), any_update(row)));
    let config = proptest::test_runner::Config {
        cases: 3000,
        failure_persistence: None,
        ..Default::default()
    };
    TestRunner::new(config)
        .run(&cases, |(before, update)| {
            write(&mut client.borrow_mut(), &before);
            let expected = update.apply(&before);
            let reply = service.borrow_mut().update(&update, soon());
            let query = "select timelines ->> 'later' from distlock where lockname = 'equal'";
            let later = client.borrow_mut().query_one(query, &[]).unwrap();
            let written = before.timelines != Timelines::default();
            prop_assert_eq!(later.get::<_, Option<&str>>(0), written.then_some("7"));
            let kind = update.reason().split(' ').next().unwrap().to_owned();
            let mut took_effect = took_effect.borrow_mut();
            let count = took_effect.entry(kind).or_default();
            match (&expected, &reply) {
                (Some(after), Reply::Applied(row)) => {
                    count.0 += 1;
                    prop_assert!(after.same_but_for_time(row), "{after:?} {row:?}");
                    prop_assert_eq!(after.lease_left.is_zero(), row.lease_left.is_zero());
                }
                (None, Reply::NotApplied(row)) => {
                    count.1 += 1;
                    prop_assert!(before.same_but_for_time(row), "{before:?} {row:?}");
                }
                _ => prop_assert!(false, "{expected:?} but {reply:?}"),
            }
            Ok(())
        })
        .unwrap();
    let took_effect = took_effect.into_inner();
    for (kind, (yes, no)) in &took_effect {
        assert!(
            *yes > 5 && *no > 5,
            "{kind} was hardly tried: {took_effect:?}"
        );
    }
    assert_eq!(took_effect.len(), 10, "{took_effect:?}");
}

/// The SQL of making the row again is equal to its pure meaning, whatever the columns hold.
#[test]
fn pg_sql_of_a_row_made_again_equals_apply() {
    let server = pg::shared().unwrap();
    let lock = fresh(&server, "again").1;
    let mut client = postgres::Client::connect(&server.conninfo(), postgres::NoTls).unwrap();
    let mut took_effect = BTreeMap::new();
    for own in [None, Some(7)] {
        for system in [None, Some("7"), Some("8")] {
            for left in [3600.0, 0.0, -3600.0] {
                let before = RawRow {
                    owner: Some("no node's name".to_owned()),
                    term: Some(-3),
                    epoch: Some(5),
                    system: system.map(str::to_owned),
                    lease_left: Some(left),
                    ..RawRow::default()
                };
                let write = "update distlock set owner = $1, term = -3, epoch = 5, holders = '{a,b}', \
                     positions = '{\"a\": \"0/1\"}', timelines = '{}', system_identifier = $2, \
                     ts = clock_timestamp(), expired_time = $3 * interval '1 second', reason = '' \
                     where lockname = 'again'";
                client
                    .execute(write, &[&before.owner, &system, &left])
                    .unwrap();
                let remake = Remake {
                    system: own.map(|own: u64| own.to_string()),
                };
                let expected = remake.apply(&before);
                let mut service = LockService::new(info(&server.conninfo()), lock.clone());
                service = service.of_system(own);
                let made = service.remake(soon());
                let told = format!("{own:?} {system:?} {left}: {made:?}");
                assert_eq!(made.is_ok(), expected.is_some(), "{told}");
                let query = "select owner::text, term::bigint, epoch::bigint, positions::text, timelines::text, \
                     system_identifier, extract(epoch from expired_time)::float8, cardinality(holders), reason = $1 \
                     from distlock where lockname = 'again'";
                let row = client.query_one(query, &[&MADE_AGAIN]).unwrap();
                assert_eq!(row.get::<_, bool>(8), expected.is_some(), "{told}");
                *took_effect.entry(expected.is_some()).or_insert(0) += 1;
                let Some(after) = expected else {
                    assert_eq!(row.get::<_, i64>(1), -3, "{told}");
                    continue;
                };
                assert_eq!(row.get::<_, Option<String>>(0), after.owner, "{told}");
                assert_eq!(row.get::<_, Option<i64>>(1), after.term, "{told}");
                assert_eq!(row.get::<_, Option<i64>>(2), after.epoch, "{told}");
                assert_eq!(row.get::<_, Option<String>>(3), after.positions, "{told}");
                assert_eq!(row.get::<_, Option<String>>(4), after.timelines, "{told}");
                assert_eq!(row.get::<_, Option<String>>(5), after.system, "{told}");
                assert_eq!(row.get::<_, Option<f64>>(6), after.ttl, "{told}");
                assert_eq!(row.get::<_, i32>(7), 0, "{told}");
            }
        }
    }
    assert!(took_effect.len() == 2, "{took_effect:?}");
}

/// The SQL of the one change that a reader makes is equal to its pure meaning.
#[test]
fn pg_sql_of_a_lease_from_now_equals_apply() {
    let server = pg::shared().unwrap();
    let (mut service, lock) = fresh(&server, "back");
    let first = first(&mut service, "node1");
    for (ahead, leapt) in [(-20, false), (0, false), (3600, true)] {
        server
            .sql(&format!("update distlock set ts = clock_timestamp() + interval '{ahead} s' where lockname = 'back'"))
            .unwrap();
        let shown = server
            .sql("select extract(epoch from ts + expired_time - clock_timestamp()) > 3600 from distlock where lockname = 'back'")
            .unwrap();
        assert_eq!(shown.trim() == "t", leapt, "{ahead} {shown}");
        let added = u64::try_from(ahead).unwrap_or(0);
        let before = Register {
            lease_left: first.ttl + Duration::from_secs(added),
            ..first.clone()
        };
        let after = before.lease_from_now();
        assert_eq!(after.is_some(), leapt, "{ahead}");
        let mut reader = LockService::new(info(&server.conninfo()), lock.clone());
        let now = row(reader.read(soon()));
        assert!(now.same_but_for_time(&after.unwrap_or(before)), "{now:?}");
        assert!(now.lease_left <= first.ttl, "{now:?}");
    }
}

#[test]
fn pg_of_two_promoters_exactly_one_wins() {
    let server = pg::shared().unwrap();
    let (mut service, lock) = fresh(&server, "race");
    first(&mut service, "z");
    let barrier = Arc::new(Barrier::new(2));
    for round in 0..60 {
        server
            .sql("update distlock set holders = '{a,b}', ts = ts - interval '1 hour' where lockname = 'race'")
            .unwrap();
        let read = row(service.read(soon()));
        let racers: Vec<_> = ["a", "b"]
            .into_iter()
            .map(|name| {
                let (barrier, read, lock) = (Arc::clone(&barrier), read.clone(), lock.clone());
                let info = info(&server.conninfo());
                thread::spawn(move || {
                    let mut service = LockService::new(info, lock);
                    let _ = service.read(soon());
                    barrier.wait();
                    service.update(&Update::promote(&read, node(name), TTL), soon())
                })
            })
            .collect();
        let replies: Vec<Reply> = racers
            .into_iter()
            .map(|racer| racer.join().unwrap())
            .collect();
        let winners = replies
            .iter()
            .filter(|reply| matches!(reply, Reply::Applied(_)))
            .count();
        assert_eq!(winners, 1, "round {round}: {replies:?}");
        let losers = replies
            .iter()
            .filter(|reply| matches!(reply, Reply::NotApplied(row) if row.term == read.term + 1))
            .count();
        assert_eq!(losers, 1, "round {round}: {replies:?}");
    }
    assert_eq!(row(service.read(soon())).term, 61);
}

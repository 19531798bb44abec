//! R7: the lock service is away and the primary's PostgreSQL crashes.

use pha_core::lsn::Lsn;
use pha_core::ocf::{self, OcfCode, When};
use pha_core::register::{PromiseAnswer, Reading, Reply, Trouble, Update};
use pha_core::snapshot::{Mode, Operation};
use pha_core::status::{PgsqlStatus, Score};

use crate::world::{MONITOR, World, node, nodes, notification, owned, reign, timeline};

const ASK: &str = "ask-promises";
const USE: &str = "use-promises";

fn unreachable() -> Reading {
    Reading::Unknown(Trouble::Unreachable("no route to host".to_owned()))
}

/// The standby that Pacemaker has made of a primary at term 1, epoch 10, whose postmaster was killed
/// while the lock service was away.
fn crashed() -> World {
    let mut world = World::primary();
    world.register = Err(unreachable());
    world.cluster().nodes.get_mut(&node(1)).unwrap().score = Some(Score::Primary);
    world.crash();
    for operation in [Operation::Stop, Operation::Start] {
        let run = world.carry(&operation);
        assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
    }
    assert_eq!(score(&world), Some(Score::Primary), "it is promoted next");
    world
}

fn score(world: &World) -> Option<Score> {
    world.cluster.as_ref().unwrap().node(&node(1)).score
}

fn pre_promote() -> Operation {
    notification(When::Pre, ocf::Operation::Promote, 1)
}

fn promise() -> (pha_core::names::NodeName, PromiseAnswer) {
    (node(2), PromiseAnswer::Promised { epoch: 10 })
}

#[test]
fn a_crashed_primary_restarts_in_place_by_the_promises_of_all_others() {
    let mut world = crashed();
    world.answers = vec![promise()];
    let run = world.carry(&pre_promote());
    run.expect(OcfCode::Success, &["read-register", ASK]);
    assert_eq!(run.rules.last(), Some(&"notify-pre-promote-promised"));
    assert_eq!(score(&world), Some(Score::Primary));

    let run = world.carry(&Operation::Promote);
    run.expect(
        OcfCode::Success,
        &[
            "read-register",
            ASK,
            USE,
            "stop-postgres Fast",
            "keep-record",
            "write-primary-settings",
            "start-postgres",
            "read-register",
        ],
    );
    // What was recovered the holder may lack: nobody else counts from here on.
    assert_eq!(world.memory.used, Some(10));
    assert!(world.names.is_empty() && !world.standby_signal);
    assert_eq!(world.memory.reign, reign(1, 1));

    // The standby follows again, and is named when the register is back and has lost it as a holder.
    world.standbys = World::primary().standbys;
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &["renew by node1"]);
    world.register = Ok(owned(1, 1, &[1, 2]));
    let run = world.carry(&MONITOR);
    assert_eq!(
        run.actions[..2],
        ["renew by node1", "set holders by node1"],
        "{:?}",
        run.actions
    );
    assert!(world.row().epoch > 10);
    assert_eq!(world.row().term, 1);
}

/// The standby may be there and not to be asked: its node's sshd is stopped.
#[test]
fn without_every_promise_nothing_is_restarted_and_it_is_tried_again() {
    let mut world = crashed();
    let run = world.carry(&pre_promote());
    assert_eq!(run.code, Some(OcfCode::Success));
    assert_eq!(score(&world), Some(Score::MayNot));
    let why = run.warnings.last().unwrap();
    assert!(why.contains("node2 has not answered"), "{why}");
    assert_eq!((world.memory.used, world.standby_signal), (None, true));

    // A monitor lets it be tried again where every other node is there.
    world.cluster().nodes.get_mut(&node(2)).unwrap().online = false;
    world.carry(&MONITOR);
    assert_eq!(score(&world), Some(Score::MayNot));
    world.cluster().nodes.get_mut(&node(2)).unwrap().online = true;
    world.carry(&MONITOR);
    assert_eq!(score(&world), Some(Score::Primary));
    world.answers = vec![promise()];
    world.carry(&pre_promote());
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
    assert!(world.names.is_empty());

    // A promotion that Pacemaker begins all the same fails, and bans nothing.
    let mut world = crashed();
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Generic));
    assert!(
        run.reason.contains("not restarted in place"),
        "{}",
        run.reason
    );
    assert!(world.standby_signal);

    // It is not needed where the register is back.
    world.register = Ok(owned(1, 1, &[1, 2]));
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
    assert_eq!(world.row().holders, nodes(&[1]));
}

type Change = fn(&mut World);

#[test]
fn who_is_not_known_to_have_everything_is_not_restarted() {
    let cases: [(&str, Change); 10] = [
        ("nothing was seen", |world| world.served = None),
        ("data that were put back", |world| {
            let served = world.served.as_mut().unwrap();
            served.complete = Some(Lsn::new(2000));
            served.links.flushed = Lsn::new(2000);
        }),
        ("another timeline was seen", |world| {
            world.served.as_mut().unwrap().timeline = timeline(2);
        }),
        ("another timeline was served", |world| {
            world.memory.reign = reign(1, 2);
        }),
        ("a later term was seen", |world| world.memory.term = 2),
        ("the cluster was told of a later epoch", |world| {
            world.cluster().seen = Some("1|11".parse().unwrap());
        }),
        ("an own change is unsettled", |world| {
            world.memory.asked = Some(10);
        }),
        ("the question was withdrawn", |world| {
            world.memory = world.memory.relying(10).withdrawing(1, 10).unwrap();
        }),
        ("another node is the primary", |world| {
            let known = world.cluster().nodes.get_mut(&node(2)).unwrap();
            known.status = Some(PgsqlStatus::Pri);
        }),
        ("the lock service answers an error", |world| {
            let error = Trouble::Answered("full".to_owned());
            world.register = Err(Reading::Unknown(error));
        }),
    ];
    for (why, change) in cases {
        let mut world = crashed();
        world.answers = vec![promise()];
        change(&mut world);
        for operation in [pre_promote(), Operation::Promote, MONITOR] {
            world.carry(&operation);
        }
        assert_eq!(world.asked, Vec::<Vec<_>>::new(), "{why}");
        assert!(world.standby_signal, "{why}");
        assert_eq!(score(&world), Some(Score::MayNot), "{why}");
    }
    // Asynchronous mode promises nothing, and asks for nothing.
    let mut world = crashed();
    world.settings.mode = Mode::Async;
    world.carry(&Operation::Promote);
    assert_eq!(world.asked, Vec::<Vec<_>>::new());
}

/// Where no end of a record is known, the data have to go as far as was flushed.
#[test]
fn what_was_flushed_is_enough_and_a_record_that_was_cut_off_is_not_missed() {
    for (complete, flushed, restarts) in [
        (None, 1000, true),
        (None, 1001, false),
        (Some(1000), 1001, true),
        (Some(1001), 1002, false),
    ] {
        let mut world = crashed();
        world.answers = vec![promise()];
        let served = world.served.as_mut().unwrap();
        served.links.rows.clear();
        served.links.flushed = Lsn::new(flushed);
        served.complete = complete.map(Lsn::new);
        let run = world.carry(&Operation::Promote);
        let restarted = run.code == Some(OcfCode::Success);
        assert_eq!(restarted, restarts, "{complete:?} {flushed}");
    }
}

/// Whom commits waited for was taken out of `node_list` meanwhile.
#[test]
fn whom_commits_waited_for_has_to_promise_too() {
    let mut world = crashed();
    world.settings.nodes = vec![node(1), node(3)];
    world.answers = vec![(node(3), PromiseAnswer::Promised { epoch: 10 })];
    let run = world.carry(&Operation::Promote);
    assert_eq!(world.asked, [vec![node(3)], vec![node(2)]]);
    assert!(
        run.reason.contains("node2 has not answered"),
        "{}",
        run.reason
    );
}

#[test]
fn a_node_that_reaches_the_register_makes_the_restart_the_only_holders() {
    let mut world = crashed();
    let before = owned(1, 1, &[1, 2]);
    let alone = Update::set_holders(&before, node(1), nodes(&[1]), world.settings.ttl);
    let row = alone.apply(&before).unwrap();
    world.answers = vec![(node(2), PromiseAnswer::Relayed(Reply::Applied(row)))];
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
    assert!(!run.actions.iter().any(|done| done == USE));
    assert_eq!((world.memory.epoch, world.memory.used), (11, None));
    assert!(world.names.is_empty() && !world.standby_signal);

    // One that finds another owner there restarts nothing.
    let mut world = crashed();
    let row = owned(2, 2, &[2]);
    world.answers = vec![(node(2), PromiseAnswer::Relayed(Reply::NotApplied(row)))];
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Generic));
    assert!(world.standby_signal);
}

//! R7: the lock service is away and the primary's PostgreSQL crashes.

use std::time::Duration;

use pha_core::lineage::{Held, Opening};
use pha_core::lsn::Lsn;
use pha_core::ocf::{self, OcfCode, When};
use pha_core::plan::ActionKind;
use pha_core::register::{
    DataEnd, Memory, PromiseAnswer, Reading, Reply, Restart, Trouble, Update, give_way,
};
use pha_core::snapshot::{
    EndUnknown, KeptBarrier, KeptLinks, Mode, Operation, SeenRole, StandbySignal,
};
use pha_core::status::{PgsqlStatus, Score};

use crate::world::{
    MONITOR, SYSTEM, World, node, nodes, notification, owned, record, reign, timeline,
};

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
    run.expect(OcfCode::Success, &["read-register"]);
    assert_eq!(run.rules.last(), Some(&"notify-pre-promote-in-place"));
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
            "remember",
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
fn without_every_promise_nothing_is_restarted() {
    let mut world = crashed();
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Generic));
    let why = "not restarted in place";
    assert!(run.reason.contains(why), "{}", run.reason);
    assert!(run.reason.contains("node2 has not answered"));
    assert_eq!((world.memory.used, world.standby_signal), (None, true));
    assert_eq!(score(&world), Some(Score::MayNot));
    // Pacemaker stops it: who has promised after all is bound no more, and it is not tried again.
    let run = world.carry(&Operation::Stop);
    assert_eq!(run.code, Some(OcfCode::Success));
    assert_eq!((world.freed.len(), world.memory.withdrawn), (1, Some(10)));
    world.answers = vec![promise()];
    for operation in [Operation::Start, MONITOR, Operation::Promote] {
        world.carry(&operation);
    }
    assert!(world.standby_signal);
    assert_eq!(score(&world), Some(Score::MayNot));

    // It is not needed where the register is back.
    world.register = Ok(owned(1, 1, &[1, 2]));
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
    assert_eq!(world.row().holders, nodes(&[1]));

    // Nor is it tried where another node is away.
    let mut world = crashed();
    world.cluster().nodes.get_mut(&node(2)).unwrap().online = false;
    let run = world.carry(&pre_promote());
    assert_eq!(run.code, Some(OcfCode::Success));
    assert_eq!(score(&world), Some(Score::MayNot));
}

const CLOSE: &str = "write-standby-settings";
const WITHDRAW: &str = "withdraw-promises";

fn data(world: &World) -> DataEnd {
    DataEnd {
        system: SYSTEM,
        end: world.end,
    }
}

/// The settings are wrong, or the disk is full. Who is not barred any more is promoted, so that the data open as
/// no primary from then on.
#[test]
fn a_restart_that_never_opens_bars_nobody() {
    let mut world = crashed();
    world.answers = vec![promise()];
    world.broken.insert(ActionKind::StartPostgres.into());
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Generic));
    let last = run.actions.len() - 3;
    assert_eq!(run.actions[last..], [CLOSE, "read-disk", WITHDRAW]);
    assert_eq!((world.freed.len(), world.memory.withdrawn), (1, Some(10)));
    assert_eq!((world.standby_signal, world.names.len()), (true, 1));

    // They cannot be made a standby's.
    let mut world = crashed();
    world.answers = vec![promise()];
    for kind in [ActionKind::StartPostgres, ActionKind::WriteStandbySettings] {
        world.broken.insert(kind.into());
    }
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Generic));
    assert_eq!((world.freed.len(), world.memory.withdrawn), (0, None));
}

/// The node or its agent was killed after the promises were kept as used, and the data lie there as a primary's.
fn interrupted(change: Change) -> World {
    let mut world = crashed();
    let from = data(&world);
    world.memory = world.memory.relying(10).using(1, 10, Some(from)).unwrap();
    world.record = record(Held::Opened(Opening::at(1)));
    world.standby_signal = false;
    world.names.clear();
    change(&mut world);
    for operation in [Operation::Stop, Operation::Start] {
        world.carry(&operation);
    }
    world
}

#[test]
fn the_next_start_sees_whether_it_was_opened() {
    let world = interrupted(|_| {});
    assert_eq!((world.freed.len(), world.memory.withdrawn), (1, Some(10)));
    assert!(world.standby_signal);
    // A position behind the header of its page is the one before it.
    let header = |at: u64| move |world: &mut World| world.end.lsn = Lsn::new(at);
    let mut world = crashed();
    header(0x0100_0000)(&mut world);
    let from = data(&world);
    let used = world.memory.relying(10).using(1, 10, Some(from)).unwrap();
    header(0x0100_0028)(&mut world);
    assert!(used.withdrawing(1, 10, Some(data(&world))).is_ok());

    // Otherwise it may have acknowledged commits that nobody else has.
    let opened: [(&str, Change); 7] = [
        ("its WAL goes on", |world| world.end.lsn = Lsn::new(1100)),
        ("it was put back", |world| world.end.lsn = Lsn::new(900)),
        ("it is on another timeline", |world| {
            world.end.timeline = timeline(2);
        }),
        ("a primary was seen", |world| {
            world.memory = world.memory.opened();
        }),
        ("another one was let go by promises", |world| {
            world.memory = world.memory.using(1, 10, None).unwrap();
        }),
        ("its end is not known", |world| {
            world.disk_error = Some(EndUnknown::Other("no segment".to_owned()));
        }),
        ("its settings cannot be written", |world| {
            let kind = ActionKind::WriteStandbySettings;
            world.broken.insert(kind.into());
        }),
    ];
    for (why, change) in opened {
        let world = interrupted(change);
        assert_eq!(
            (world.freed.len(), world.memory.withdrawn),
            (0, None),
            "{why}"
        );
    }
}

/// A second process that has not heard of it does not make it unseen.
#[test]
fn what_was_seen_opened_stays_so() {
    let mut world = crashed();
    world.answers = vec![promise()];
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
    let restart = world.memory.restart.unwrap();
    assert!(restart.opened && world.memory.unopened().is_none());
    let before = Restart {
        opened: false,
        ..restart
    };
    let other = Memory {
        restart: Some(before),
        ..world.memory
    };
    for merged in [world.memory.merged(&other), other.merged(&world.memory)] {
        assert_eq!(merged.restart, Some(restart));
    }
    // The promotion was killed before it had seen it: a monitor does.
    world.memory.restart = Some(before);
    world.carry(&MONITOR);
    assert_eq!(world.memory.restart, Some(restart));
}

/// Where a name goes and the epoch stays, a barrier that was taken for it counts no more (R4).
#[test]
fn a_barrier_of_before_is_dropped() {
    let mut world = crashed();
    world.answers = vec![promise()];
    world.kept = Some(KeptLinks {
        barrier: Some(KeptBarrier {
            name: "node3".to_owned(),
            lsn: Lsn::new(900),
            term: 1,
            epoch: 10,
        }),
        ..KeptLinks::default()
    });
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
    assert_eq!(world.kept.unwrap().barrier, None);
}

/// Commits have passed by promises before the crash.
#[test]
fn promises_that_were_used_before_are_never_withdrawn() {
    let mut world = crashed();
    world.memory = world.memory.relying(10).using(1, 10, None).unwrap();
    world.answers = vec![promise()];
    world.broken.insert(ActionKind::StartPostgres.into());
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Generic));
    world.carry(&Operation::Stop);
    assert_eq!((world.freed.len(), world.memory.withdrawn), (0, None));
}

/// R15: an operator is about to go on with another node's data.
#[test]
fn who_gave_way_to_an_operator_is_not_restarted() {
    let mut world = crashed();
    world.answers = vec![promise()];
    let standby = SeenRole {
        runs: true,
        signal: StandbySignal::There,
    };
    let giving = give_way(&world.memory, standby, 10);
    let answer = &giving.answer;
    assert!(!answer.used && !answer.serves, "{answer:?}");
    world.memory = giving.kept;
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Generic));
    assert_eq!(world.asked, Vec::<Vec<_>>::new());
    assert!(world.standby_signal);
    assert!(world.memory.using(1, 10, Some(data(&world))).is_err());
}

type Change = fn(&mut World);

#[test]
fn who_is_not_known_to_have_everything_is_not_restarted() {
    let cases: [(&str, Change); 13] = [
        ("nothing was seen", |world| world.served = None),
        ("the server went on after it was seen last", |world| {
            world.served.as_mut().unwrap().look.outlived = Duration::from_millis(1);
        }),
        ("it was seen at another term", |world| {
            world.served.as_mut().unwrap().term = 2;
        }),
        ("data that were put back", |world| {
            let served = &mut world.served.as_mut().unwrap().view;
            served.complete = Some(Lsn::new(2000));
            served.links.flushed = Lsn::new(2000);
        }),
        ("another timeline was seen", |world| {
            world.served.as_mut().unwrap().view.timeline = timeline(2);
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
        (
            "an operator has moved the register past what it has seen",
            |world| {
                world.memory = world.memory.giving_way(12);
            },
        ),
        ("the question was withdrawn", |world| {
            world.memory = world.memory.relying(10).withdrawing(1, 10, None).unwrap();
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

/// Where no end of a record is known, the data have to go as far as was flushed; how far a standby had
/// replayed is no proof.
#[test]
fn the_data_have_to_go_as_far_as_the_guard_saw() {
    for (complete, flushed, restarts) in [
        (None, 1000, true),
        (None, 1001, false),
        (Some(1000), 1001, true),
        (Some(1001), 1002, false),
    ] {
        let mut world = crashed();
        world.answers = vec![promise()];
        let served = &mut world.served.as_mut().unwrap().view;
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

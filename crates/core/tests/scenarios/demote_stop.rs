//! `demote` and `stop`: they end, and the lock is given back only when PostgreSQL is proven stopped.

use pha_core::ocf::OcfCode;
use pha_core::plan::ActionKind;
use pha_core::register::{Reading, Trouble};
use pha_core::snapshot::{Answer, Operation, Process};
use pha_core::status::{PgsqlStatus, Score};

use crate::world::{World, node, nodes, owned, shown};

const DEMOTE: Operation = Operation::Demote { then_stop: false };
const RELEASE: &str = "release by node1";

#[test]
fn demote_stops_releases_and_starts_a_standby() {
    let mut world = World::primary();
    let run = world.carry(&DEMOTE);
    run.expect(
        OcfCode::Success,
        &[
            "stop-postgres Fast",
            "read-register",
            RELEASE,
            "read-disk",
            "keep-record",
            "write-standby-settings",
            "keep-record",
            "start-postgres",
            "read-register",
        ],
    );
    assert!(world.row().lease_left.is_zero());
    assert_eq!(world.row().owner, Some(node(1)), "the owner stays");
    assert_eq!(world.row().holders, nodes(&[1, 2]), "the holders stay");
    assert!(world.standby_signal && world.names == world.settings.names_of_a_standby().names());
    assert_eq!(shown(&world, 1), Some(PgsqlStatus::HsAlone));
}

#[test]
fn demote_before_a_stop_starts_nothing() {
    let mut world = World::primary();
    let run = world.carry(&Operation::Demote { then_stop: true });
    run.expect(
        OcfCode::Success,
        &["stop-postgres Fast", "read-register", RELEASE],
    );
    assert_eq!(shown(&world, 1), Some(PgsqlStatus::Stop));
    // The stop that follows has nothing to do, and the lock is free already.
    world
        .carry(&Operation::Stop)
        .expect(OcfCode::Success, &["read-register"]);
}

#[test]
fn what_cannot_be_stopped_keeps_the_lock() {
    for operation in [
        Operation::Stop,
        DEMOTE,
        Operation::Demote { then_stop: true },
    ] {
        let mut world = World::primary();
        world.immortal = true;
        let run = world.carry(&operation);
        run.expect(
            OcfCode::Generic,
            &["stop-postgres Fast", "stop-postgres Kill"],
        );
        assert!(run.reason.contains("the lock is kept"), "{}", run.reason);
        assert_eq!(world.row(), &owned(1, 1, &[1, 2]), "untouched");
    }
}

#[test]
fn each_way_of_stopping_is_tried_once_from_the_kindest_that_can_work() {
    let stops = |world: &mut World| {
        world.broken.insert(ActionKind::StopPostgres.into());
        world.carry(&Operation::Stop).actions
    };
    assert_eq!(
        stops(&mut World::primary()),
        [
            "stop-postgres Fast!",
            "stop-postgres Immediate!",
            "stop-postgres Kill!"
        ]
    );
    let mut frozen = World::primary();
    frozen.process = Process::Alive { frozen: true };
    frozen.answer = Answer::NoAnswer;
    assert_eq!(stops(&mut frozen), ["stop-postgres Kill!"]);
    let mut orphans = World::primary();
    orphans.process = Process::Orphans;
    orphans.answer = Answer::NotAsked;
    assert_eq!(stops(&mut orphans), ["stop-postgres Kill!"]);
}

#[test]
fn stop_ends_well_without_pacemaker_and_without_the_lock_service() {
    let mut world = World::primary();
    world.cluster = Err("cibadmin timed out".to_owned());
    let trouble = Trouble::Unreachable("no route to host".to_owned());
    world.register = Err(Reading::Unknown(trouble));
    world
        .carry(&Operation::Stop)
        .expect(OcfCode::Success, &["stop-postgres Fast", "read-register"]);

    // A standby that never was primary does not ask the lock service at all, beside a primary.
    let mut standby = World::standby();
    let primary = standby.cluster().nodes.entry(node(2)).or_default();
    primary.status = Some(PgsqlStatus::Pri);
    standby
        .carry(&Operation::Stop)
        .expect(OcfCode::Success, &["stop-postgres Fast"]);
}

/// An operator need not ask a node whose lock has ended, by a release or by itself.
#[test]
fn a_primary_that_has_crashed_would_serve_nobody_before_its_lock_is_released() {
    let crashed = || {
        let mut world = World::primary();
        (world.process, world.answer) = (Process::Absent, Answer::NotAsked);
        world
    };
    let mut world = crashed();
    let run = world.carry(&Operation::Stop);
    run.expect(OcfCode::Success, &["end-names", "read-register", RELEASE]);
    assert!(!world.in_memory.may_be_there() && world.row().lease_left.is_zero());

    let mut world = crashed();
    world.broken.insert(ActionKind::EndNames.into());
    let run = world.carry(&Operation::Stop);
    run.expect(OcfCode::Success, &["end-names!"]);
    assert!(!world.row().lease_left.is_zero(), "it runs out by itself");

    let mut world = crashed();
    world.register = Err(Reading::Unknown(Trouble::Unreachable("down".to_owned())));
    let run = world.carry(&Operation::Stop);
    run.expect(OcfCode::Success, &["end-names", "read-register"]);
    assert!(!world.in_memory.may_be_there());
}

/// The attempt was given up before it had ended: what it would have done then is done when it is seen to be gone.
#[test]
fn a_primary_that_ended_after_an_attempt_to_stop_it_had_failed_would_serve_nobody() {
    let mut world = World::primary();
    world.broken.insert(ActionKind::StopPostgres.into());
    world.ends_all_the_same = true;
    let run = world.carry(&Operation::Stop);
    run.expect(
        OcfCode::Success,
        &["stop-postgres Fast!", "end-names", "read-register", RELEASE],
    );
    assert!(!world.in_memory.may_be_there());
}

#[test]
fn another_nodes_lock_is_not_released() {
    let mut world = World::primary();
    world.register = Ok(owned(2, 2, &[2]));
    world
        .carry(&Operation::Stop)
        .expect(OcfCode::Success, &["stop-postgres Fast", "read-register"]);
    assert_eq!(world.row(), &owned(2, 2, &[2]));
}

#[test]
fn a_demoted_primary_that_cannot_start_as_a_standby_is_an_error() {
    for broken in [ActionKind::WriteStandbySettings, ActionKind::StartPostgres] {
        let mut world = World::primary();
        world.broken.insert(broken.into());
        let run = world.carry(&DEMOTE);
        assert_eq!(run.code, Some(OcfCode::Generic));
        assert_eq!(run.reason, format!("{broken} is broken"));
        assert!(
            world.row().lease_left.is_zero(),
            "it was proven stopped before"
        );
    }
}

#[test]
fn a_standby_left_by_a_failed_promotion_gives_the_lock_back() {
    let mut world = World::standby();
    world.memory = World::primary().memory;
    world.register = Ok(owned(1, 2, &[1]));
    world
        .carry(&DEMOTE)
        .expect(OcfCode::Success, &["read-register", RELEASE]);
}

/// Pacemaker would go on moving the instance of a running node here.
#[test]
fn a_stopped_standby_is_not_to_be_promoted() {
    for (owner, before, after) in [
        (2, Score::MayPromote, Score::MayNot),
        (2, Score::LastResort, Score::MayNot),
        // It is the primary no more.
        (2, Score::Primary, Score::MayNot),
        (1, Score::Primary, Score::Primary),
    ] {
        let mut world = World::standby();
        world.register = Ok(owned(owner, 1, &[1, 2]));
        world.cluster().nodes.entry(node(1)).or_default().score = Some(before);
        let run = world.carry(&Operation::Stop);
        assert_eq!(run.code, Some(OcfCode::Success));
        assert_eq!(world.cluster().node(&node(1)).score, Some(after));
    }
}

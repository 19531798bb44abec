//! R12: another operation of the same node is at work on the synchronous standbys or the holders.

use pha_core::ocf::{self, OcfCode, When};
use pha_core::plan::ActionKind;
use pha_core::snapshot::{InMemory, Operation, Process};

use crate::world::{MONITOR, World, expired, link, nodes, notification, owned};

const RENEW: &str = "renew by node1";
const READ: &str = "read-register";
const TAKE: &str = "take-change-lock!";
const OTHER: &str = "expgsql monitor (process 4711) has this node's change lock";

fn busy(world: World) -> World {
    World {
        lock_holder: Some(OTHER.to_owned()),
        ..world
    }
}

/// The primary has lost its standby.
fn alone() -> World {
    let mut world = World::primary();
    world.standbys.clear();
    world
}

#[test]
fn a_monitor_and_a_notification_keep_the_lease_change_nothing_and_succeed() {
    let away = notification(When::Post, ocf::Operation::Stop, 2);
    for (operation, code) in [
        (MONITOR, OcfCode::RunningPromoted),
        (away, OcfCode::Success),
    ] {
        let mut world = busy(alone());
        let before = world.row().clone();
        let run = world.carry(&operation);
        run.expect(code, &[RENEW, TAKE]);
        assert_eq!(*run.rules.last().unwrap(), "change-lock-busy");
        assert!(run.warnings[0].contains(OTHER), "{:?}", run.warnings);
        assert_eq!(world.names, ["node2"]);
        assert_eq!(world.row().holders, before.holders);
        assert_eq!(world.row().epoch, before.epoch);
    }
}

#[test]
fn without_something_to_change_nobody_asks_for_the_lock() {
    let run = busy(World::primary()).carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW]);
}

#[test]
fn what_starts_or_promotes_fails_and_says_who_is_at_work() {
    let mut world = busy(World::standby());
    world.register = Ok(expired(2, 1, &[1, 2]));
    let run = world.carry(&Operation::Promote);
    run.expect(OcfCode::Generic, &[READ, TAKE]);
    assert!(run.reason.contains(OTHER), "{}", run.reason);
    assert_eq!(world.row().term, 1);

    let mut world = busy(World::new());
    world.register = Ok(owned(2, 1, &[1, 2]));
    let run = world.carry(&Operation::Start);
    assert_eq!(run.code.unwrap(), OcfCode::Generic);
    assert!(run.reason.contains(OTHER), "{}", run.reason);
    assert_eq!(world.process, Process::Absent);
}

#[test]
fn what_stops_postgresql_does_not_ask() {
    let mut world = busy(World::primary());
    let run = world.carry(&Operation::Stop);
    run.expect(
        OcfCode::Success,
        &["stop-postgres Fast", READ, "release by node1"],
    );

    let mut world = busy(World::primary());
    let run = world.carry(&Operation::Demote { then_stop: false });
    run.expect(
        OcfCode::Generic,
        &[
            "stop-postgres Fast",
            READ,
            "release by node1",
            "read-disk",
            TAKE,
        ],
    );
    assert_eq!(world.process, Process::Absent);

    // A primary that was replaced.
    let mut world = busy(World::primary());
    world.register = Ok(owned(2, 2, &[2]));
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::NotRunning, &[RENEW, "stop-postgres Immediate"]);
}

#[test]
fn what_another_operation_has_done_meanwhile_is_looked_at() {
    let mut world = alone();
    world.while_waiting = Some(|world| world.standbys = vec![link(2, 1000)]);
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, RENEW]);
    assert_eq!(world.names, ["node2"]);
    assert_eq!(world.row().holders, nodes(&[1, 2]));
}

#[test]
fn names_stay_when_the_register_has_moved_since_they_were_decided() {
    let mut world = alone();
    world.broken.insert(ActionKind::Confirm.into());
    let run = world.carry(&MONITOR);
    assert_eq!(*run.rules.last().unwrap(), "change-lock-moved");
    assert_eq!(run.code.unwrap(), OcfCode::RunningPromoted);
    assert_eq!(world.names, ["node2"]);
    assert_eq!(world.row().holders, nodes(&[1]), "the register came first");
}

#[test]
fn the_file_of_the_names_stays_when_the_register_has_moved_since_it_was_decided() {
    let mut world = World::primary();
    world.in_memory = InMemory::Nothing;
    world.broken.insert(ActionKind::Confirm.into());
    let run = world.carry(&MONITOR);
    assert_eq!(*run.rules.last().unwrap(), "change-lock-moved");
    assert_eq!(world.in_memory, InMemory::Nothing);
}

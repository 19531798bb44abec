//! The external lock, and replication without any.

use pha_core::ocf::{self, OcfCode, When};
use pha_core::parse::standby_names::NOBODY;
use pha_core::plan::ActionKind;
use pha_core::snapshot::{Arbiter, ExternalLock, Mode, Operation};
use pha_core::status::{DataStatus, Score};

use crate::world::{MONITOR, World, at, link, node, notification, timeline};

fn with(mut world: World, arbiter: Arbiter) -> World {
    world.settings.arbiter = arbiter;
    world
}

/// A standby; `info` is `pgsql_REPL_INFO`.
fn standby(arbiter: Arbiter, info: Option<&str>) -> World {
    let mut world = with(World::standby(), arbiter);
    world.cluster().repl_info = info.map(|text| Ok(text.parse().unwrap()));
    world
}

fn refused() -> ExternalLock {
    ExternalLock::NotLocked("the lock service cannot be reached".to_owned())
}

fn of_another() -> ExternalLock {
    ExternalLock::HeldByOther("another owner holds the lock".to_owned())
}

/// A primary whose standby is lost, and for which commits do not wait any more.
fn alone() -> World {
    let mut world = with(World::primary(), Arbiter::External);
    world.standbys.clear();
    world.name(&[""; 0]);
    world
}

/// What commits wait for where they are not to be acknowledged.
fn held() -> String {
    format!("set-names [{NOBODY}]")
}

#[test]
fn promote_needs_the_lock_and_a_changed_primary_a_new_timeline() {
    let mut world = standby(Arbiter::External, Some("node2|0|0000000000000000"));
    world.carry(&Operation::Promote).expect(
        OcfCode::Success,
        &[
            "lock-external",
            "open-standby",
            "promote-postgres",
            "write-repl-info node1|1|00000000000003E8",
        ],
    );
    assert_eq!(world.end.timeline, timeline(2));
}

#[test]
fn promote_restarts_in_place_where_the_primary_has_not_changed() {
    for info in [None, Some("node1|0|0000000000000000")] {
        let mut world = standby(Arbiter::External, info);
        let run = world.carry(&Operation::Promote);
        let in_place = [
            "stop-postgres Fast",
            "write-primary-settings",
            "start-postgres",
        ];
        assert_eq!(run.actions[1..4], in_place);
        assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
        assert_eq!(world.end.timeline, timeline(1));
    }
}

#[test]
fn without_the_lock_nothing_is_promoted_and_the_gate_is_closed() {
    for lock in [refused(), of_another()] {
        let mut world = standby(Arbiter::External, Some("node2|0|0000000000000000"));
        world.external = lock.clone();
        let run = world.carry(&Operation::Promote);
        run.expect(OcfCode::Generic, &["lock-external"]);
        let why = lock.refusal().unwrap();
        assert!(run.reason.contains(why), "{}", run.reason);
        assert_eq!(world.cluster().node(&node(1)).score, Some(Score::MayNot));
    }

    let mut world = standby(Arbiter::External, Some("node2|0|0000000000000000"));
    world.broken.insert(ActionKind::LockExternal.into());
    world
        .carry(&Operation::Promote)
        .expect(OcfCode::Generic, &["lock-external!"]);
}

#[test]
fn degrading_needs_the_lock_too() {
    let mut world = with(World::primary(), Arbiter::External);
    world.standbys.clear();
    let lost = world.clone();
    world
        .carry(&MONITOR)
        .expect(OcfCode::RunningPromoted, &["lock-external", "set-names []"]);

    let mut world = lost;
    world.external = refused();
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &["lock-external"]);
    assert_eq!(world.names, ["node2"]);
    assert!(
        run.warnings[0].contains("commits wait"),
        "{:?}",
        run.warnings
    );
}

/// Its lease would run out, and a standby be promoted beside it.
#[test]
fn who_goes_on_alone_renews_the_lock() {
    let mut world = alone();
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &["lock-external"]);
    // Commits wait for a standby: there is no need for it.
    let mut world = with(World::primary(), Arbiter::External);
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[]);
    // One streams again.
    let mut world = alone();
    world.standbys = vec![link(2, 1000)];
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &["set-names [node2]"]);
}

#[test]
fn who_goes_on_alone_and_loses_the_lock_acknowledges_nothing() {
    let mut world = alone();
    world.external = refused();
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &["lock-external", &held()]);
    assert!(
        run.warnings[0].contains("commits wait"),
        "{:?}",
        run.warnings
    );
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &["lock-external"]);
    assert_eq!(world.names, [NOBODY]);
    let mut streams = world.clone();
    // The lock is there again.
    world.external = ExternalLock::Locked;
    world
        .carry(&MONITOR)
        .expect(OcfCode::RunningPromoted, &["lock-external", "set-names []"]);
    // A standby is.
    streams.standbys = vec![link(2, 1000)];
    streams
        .carry(&MONITOR)
        .expect(OcfCode::RunningPromoted, &["set-names [node2]"]);
}

/// The standby was promoted, or will be: after the partition Pacemaker would see two primaries and keep one
/// of them, whichever.
#[test]
fn a_primary_without_a_standby_is_stopped_where_another_node_holds_the_lock() {
    let mut waits = with(World::primary(), Arbiter::External);
    waits.standbys.clear();
    for mut world in [alone(), waits] {
        world.external = of_another();
        let run = world.carry(&MONITOR);
        run.expect(
            OcfCode::NotRunning,
            &["lock-external", "stop-postgres Immediate"],
        );
        assert!(run.reason.contains("another owner"), "{}", run.reason);
    }
}

/// Each attempt of Pacemaker would fail and be counted, until the standby is given up for good.
#[test]
fn a_gate_that_a_refusal_has_closed_is_opened_under_the_lock() {
    let mut world = standby(Arbiter::External, Some("node2|0|0000000000000000"));
    let me = world.cluster().nodes.get_mut(&node(1)).unwrap();
    me.data_status = Some("STREAMING|SYNC".parse().unwrap());
    me.position = Some(at(1, 1000));
    world.external = of_another();
    // The primary has just disappeared: nothing is in the way of a promotion.
    world.carry(&MONITOR).expect(OcfCode::Success, &[]);
    let score = |world: &mut World| world.cluster().node(&node(1)).score;
    assert_eq!(score(&mut world), Some(Score::MayPromote));
    world
        .carry(&Operation::Promote)
        .expect(OcfCode::Generic, &["lock-external"]);
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::Success, &["lock-external"]);
    assert_eq!(score(&mut world), Some(Score::MayNot));
    assert!(run.warnings[0].contains("another owner"), "{run:?}");
    let notify = notification(When::Post, ocf::Operation::Stop, 2);
    world.carry(&notify).expect(OcfCode::Success, &[]);
    assert_eq!(score(&mut world), Some(Score::MayNot));
    // What Pacemaker does with an instance that has failed.
    for operation in [
        Operation::Demote { then_stop: false },
        Operation::Stop,
        Operation::Start,
    ] {
        let run = world.carry(&operation);
        assert_eq!(run.code, Some(OcfCode::Success), "{run:?}");
        assert_eq!(score(&mut world), Some(Score::MayNot), "{operation:?}");
    }
    world.external = ExternalLock::Locked;
    world
        .carry(&MONITOR)
        .expect(OcfCode::Success, &["lock-external"]);
    assert_eq!(score(&mut world), Some(Score::MayPromote));
}

#[test]
fn without_an_arbiter_pacemaker_decides_alone() {
    let mut world = with(World::primary(), Arbiter::Off);
    world.standbys.clear();
    world
        .carry(&MONITOR)
        .expect(OcfCode::RunningPromoted, &["set-names []"]);
    let mut world = standby(Arbiter::Off, Some("node2|0|0000000000000000"));
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.actions[..2], ["open-standby", "promote-postgres"]);
}

#[test]
fn a_standby_comes_back_to_sync_in_one_notification() {
    let mut world = with(World::primary(), Arbiter::External);
    world.name(&[""; 0]);
    let run = world.carry(&notification(When::Post, ocf::Operation::Start, 2));
    run.expect(OcfCode::Success, &["set-names [node2]"]);
}

#[test]
fn stop_and_demote_give_the_lock_back_only_when_postgresql_is_stopped() {
    let mut world = with(World::primary(), Arbiter::External);
    world
        .carry(&Operation::Stop)
        .expect(OcfCode::Success, &["stop-postgres Fast", "unlock-external"]);
    let mut world = with(World::primary(), Arbiter::External);
    world.immortal = true;
    let run = world.carry(&Operation::Stop);
    run.expect(
        OcfCode::Generic,
        &["stop-postgres Fast", "stop-postgres Kill"],
    );
    let mut world = with(World::primary(), Arbiter::External);
    world.broken.insert(ActionKind::UnlockExternal.into());
    world.carry(&Operation::Stop).expect(
        OcfCode::Success,
        &["stop-postgres Fast", "unlock-external!"],
    );
}

/// What it has acknowledged alone a standby lacks that nobody here sees, and that asks for the lock meanwhile.
#[test]
fn who_sees_nobody_keeps_the_lock_until_it_ends() {
    let mut world = with(World::primary(), Arbiter::External);
    world.cluster().nodes.get_mut(&node(2)).unwrap().online = false;
    let run = world.carry(&Operation::Stop);
    run.expect(OcfCode::Success, &["stop-postgres Fast"]);
}

#[test]
fn the_gate_follows_the_data_status() {
    let status = |text: &str| Some(text.parse::<DataStatus>().unwrap());
    for (mode, data, wanted) in [
        (Mode::Sync, status("STREAMING|SYNC"), Score::MayPromote),
        (Mode::Sync, status("STREAMING|ASYNC"), Score::MayNot),
        (Mode::Sync, status("DISCONNECT"), Score::MayNot),
        (Mode::Sync, None, Score::MayNot),
        (Mode::Async, status("STREAMING|ASYNC"), Score::MayPromote),
        (Mode::Async, status("CATCHUP|ASYNC"), Score::MayNot),
    ] {
        let mut world = standby(Arbiter::External, Some("node2|0|0000000000000000"));
        world.settings.mode = mode;
        let me = world.cluster().nodes.get_mut(&node(1)).unwrap();
        (me.data_status, me.position) = (data.clone(), Some(at(1, 1000)));
        world.carry(&MONITOR).expect(OcfCode::Success, &[]);
        let score = world.cluster().node(&node(1)).score;
        assert_eq!(score, Some(wanted), "{mode:?} {data:?}");
    }
}

//! R3 where nodes decide by quorum: Pacemaker ends a primary whose part of the cluster has none, and who is
//! to take over has to be a holder still.

use pha_core::ocf::{self, OcfCode, When};
use pha_core::plan::ActionKind;
use pha_core::register::{Reading, Trouble};
use pha_core::snapshot::{Arbiter, Mode};

use crate::world::{MONITOR, World, link, node, nodes, notification};

const RENEW: &str = "renew by node1";
const SET: &str = "set holders by node1";
const ALONE: &str = "set-names []";
const ASK: &str = "ask-quorum";
const KEEP: &str = "keep-links";
const DEGRADES: &[&str] = &[RENEW, ASK, SET, ALONE, RENEW];

/// node1 waits for node2, node3 is the third one, and `no-quorum-policy` ends a primary without quorum.
fn three() -> World {
    let mut world = World::primary();
    world.settings.nodes.push(node(3));
    let third = world.cluster().node(&node(2));
    world.cluster().nodes.insert(node(3), third);
    world.cluster().quorum = true;
    world.cluster().ends_without_quorum = true;
    world
}

/// No standby streams any more, and the cluster does not know why as yet.
fn cut_off() -> World {
    let mut world = three();
    world.standbys.clear();
    world.quorum = false;
    world
}

/// The cluster has settled: node1 is alone.
fn settle(world: &mut World) {
    world.cluster().quorum = world.quorum;
    for number in [2, 3] {
        world.cluster().nodes.get_mut(&node(number)).unwrap().online = false;
    }
}

fn unchanged(world: &World) {
    assert_eq!(world.row().holders, nodes(&[1, 2]));
    assert_eq!(
        (&world.names[..], world.held),
        (&["node2".to_owned()][..], false)
    );
}

#[test]
fn a_primary_that_is_losing_quorum_lets_nobody_go() {
    let mut world = cut_off();
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, ASK]);
    assert!(run.warnings[0].contains("has no quorum"), "{run:?}");
    unchanged(&world);
    settle(&mut world);
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW]);
    assert!(run.warnings[0].contains("has no quorum"), "{run:?}");
    unchanged(&world);
}

#[test]
fn with_quorum_it_degrades() {
    // The link alone is broken, or the node has gone and the third one is there.
    for gone in [false, true] {
        let mut world = three();
        world.standbys.clear();
        world.cluster().nodes.get_mut(&node(2)).unwrap().online = !gone;
        let run = world.carry(&MONITOR);
        run.expect(OcfCode::RunningPromoted, DEGRADES);
        assert_eq!(world.row().holders, nodes(&[1]));
    }
    let mut world = three();
    let stop = notification(When::Pre, ocf::Operation::Stop, 2);
    let run = world.carry(&stop);
    assert!(run.rules.contains(&"primary-ask-quorum"), "{run:?}");
    assert_eq!(world.row().holders, nodes(&[1]));
}

#[test]
fn a_cluster_that_does_not_answer_yet_is_asked_again_by_the_next_monitor() {
    let mut world = three();
    world.standbys.clear();
    world.broken.insert(ActionKind::AskQuorum.into());
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, "ask-quorum!"]);
    assert!(run.warnings[0].contains("does not say"), "{run:?}");
    unchanged(&world);
    world.broken.clear();
    world
        .carry(&MONITOR)
        .expect(OcfCode::RunningPromoted, DEGRADES);
}

#[test]
fn nothing_is_asked_where_pacemaker_lets_a_primary_be() {
    let policy = |world: &mut World| world.cluster().ends_without_quorum = false;
    let unmanaged = |world: &mut World| world.cluster().managed = false;
    for change in [policy, unmanaged] {
        let mut world = cut_off();
        change(&mut world);
        settle(&mut world);
        let run = world.carry(&MONITOR);
        run.expect(OcfCode::RunningPromoted, &[RENEW, SET, ALONE, RENEW]);
        assert_eq!(world.row().holders, nodes(&[1]));
    }
}

#[test]
fn no_exchange_begins_without_quorum_and_with_it_nothing_is_asked() {
    let mut world = three();
    world.standbys = vec![link(3, 1000)];
    world.quorum = false;
    settle(&mut world);
    world
        .carry(&MONITOR)
        .expect(OcfCode::RunningPromoted, &[RENEW]);
    unchanged(&world);

    let mut world = three();
    world.standbys = vec![link(3, 1000)];
    let run = world.carry(&MONITOR);
    assert!(!run.actions.contains(&ASK.to_owned()), "{run:?}");
    assert_eq!(world.row().holders, nodes(&[1, 3]));
}

#[test]
fn commits_that_are_held_wait_for_the_holder_again_once_quorum_is_lost() {
    let mut world = cut_off();
    world.hold(&[2, 3].map(|number| node(number).to_string()));
    world.start();
    let run = world.carry(&MONITOR);
    let back = [RENEW, ASK, KEEP, "set-names [node2]", RENEW, KEEP];
    run.expect(OcfCode::RunningPromoted, &back);
    unchanged(&world);
}

#[test]
fn no_promise_is_asked_for_without_quorum() {
    let mut world = cut_off();
    settle(&mut world);
    let away = Trouble::Unreachable("the network is away".to_owned());
    world.register = Err(Reading::Unknown(away));
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW]);
    assert!(world.asked.is_empty(), "{:?}", world.asked);
}

#[test]
fn without_a_lock_service_quorum_alone_lets_the_last_standby_go() {
    for arbiter in [Arbiter::Off, Arbiter::External] {
        let mut world = cut_off();
        world.settings.arbiter = arbiter;
        let run = world.carry(&MONITOR);
        run.expect(OcfCode::RunningPromoted, &[ASK]);
        assert_eq!(world.names, ["node2"]);
        world.quorum = true;
        world.cluster().quorum = true;
        let run = world.carry(&MONITOR);
        assert!(run.actions.contains(&ALONE.to_owned()), "{run:?}");
    }
}

#[test]
fn what_was_opened_without_the_holder_is_not_kept_from_the_register() {
    // Commits wait for nobody: the holder does not have everything, with quorum or without.
    let mut world = cut_off();
    settle(&mut world);
    world.name(&[] as &[&str]);
    world.carry(&MONITOR);
    assert_eq!(world.row().holders, nodes(&[1]));
}

#[test]
fn an_asynchronous_primary_asks_nothing() {
    let mut world = cut_off();
    world.settings.mode = Mode::Async;
    let run = world.carry(&MONITOR);
    assert!(!run.actions.contains(&ASK.to_owned()), "{run:?}");
}

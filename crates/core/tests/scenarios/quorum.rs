//! R3 where nodes decide by quorum: Pacemaker ends a primary whose part of the cluster has none, and who is
//! to take over has to be a holder still.

use pha_core::cluster::WithoutQuorum;
use pha_core::ocf::{self, OcfCode, When};
use pha_core::plan::ActionKind;
use pha_core::register::{PromiseAnswer, Reading, Trouble};
use pha_core::snapshot::{Arbiter, KeptLinks, Mode};

use crate::world::{MONITOR, World, link, node, nodes, notification};

const RENEW: &str = "renew by node1";
const SET: &str = "set holders by node1";
const ALONE: &str = "set-names []";
const ASK: &str = "ask-quorum";
const KEEP: &str = "keep-links";
const UNANSWERED: &[&str] = &[RENEW, "ask-quorum!", RENEW, KEEP];
const DEGRADES: &[&str] = &[RENEW, ASK, RENEW, SET, ALONE, RENEW];
const HOLD: &str = "hold-commits [node2,node3]";
const BARRIER: &str = "take-barrier";
const EXCHANGES: &[&str] = &[
    RENEW,
    ASK,
    RENEW,
    KEEP,
    HOLD,
    RENEW,
    BARRIER,
    RENEW,
    KEEP,
    ASK,
    RENEW,
    SET,
    "set-names [node3]",
    RENEW,
    KEEP,
];

/// node1 waits for node2, node3 is the third one, and `no-quorum-policy` ends a primary without quorum.
fn three() -> World {
    let mut world = World::primary();
    world.settings.nodes.push(node(3));
    let third = world.cluster().node(&node(2));
    world.cluster().nodes.insert(node(3), third);
    world.cluster().quorum = true;
    world.cluster().without_quorum = WithoutQuorum::Ends;
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
    run.expect(OcfCode::RunningPromoted, &[RENEW, ASK, RENEW]);
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
    run.expect(OcfCode::RunningPromoted, UNANSWERED);
    let said = &run.warnings[0];
    assert!(said.contains("does not say"), "{said}");
    assert!(said.contains("ask-quorum is broken"), "{said}");
    unchanged(&world);
    world.broken.clear();
    // That it was asked in vain is forgotten in the end.
    let degrades = [RENEW, ASK, RENEW, SET, ALONE, RENEW, KEEP];
    world
        .carry(&MONITOR)
        .expect(OcfCode::RunningPromoted, &degrades);
    assert_eq!(world.kept.unwrap().unanswered, 0);
}

/// A Pacemaker that answers nothing for minutes ends no primary either.
#[test]
fn a_cluster_that_never_answers_leaves_it_to_the_register() {
    let mut world = cut_off();
    world.broken.insert(ActionKind::AskQuorum.into());
    for number in 1..=12 {
        let run = world.carry(&MONITOR);
        run.expect(OcfCode::RunningPromoted, UNANSWERED);
        let said = format!("of which this was number {number}, the register alone decides");
        assert!(run.warnings[0].contains(&said), "{run:?}");
        unchanged(&world);
    }
    let run = world.carry(&MONITOR);
    let alone = [RENEW, "ask-quorum!", RENEW, SET, ALONE, RENEW, KEEP];
    run.expect(OcfCode::RunningPromoted, &alone);
    assert_eq!(world.row().holders, nodes(&[1]));
    assert_eq!(world.kept.unwrap().unanswered, 0);

    // Where it lets nothing be written either, that is counted all the same.
    let mut world = cut_off();
    world.broken.insert(ActionKind::AskQuorum.into());
    world.broken.insert(ActionKind::SetAttribute.into());
    for number in 1..=12 {
        world.carry(&MONITOR);
        unchanged(&world);
        assert_eq!(world.kept.as_ref().unwrap().unanswered, number);
    }
    world.carry(&MONITOR);
    assert_eq!(world.row().holders, nodes(&[1]));

    // Without a register nothing else says that nobody takes over.
    let mut world = cut_off();
    world.settings.arbiter = Arbiter::Off;
    world.broken.insert(ActionKind::AskQuorum.into());
    for _ in 0..20 {
        world.carry(&MONITOR);
        assert_eq!(world.names, ["node2"]);
    }
}

#[test]
fn where_pacemaker_cannot_be_asked_what_it_was_when_it_was_seen_last_decides() {
    let known = |without_quorum| {
        let mut world = cut_off();
        world.cluster().without_quorum = without_quorum;
        world.kept = Some(world.would_keep());
        world.cluster = Err("no answer".to_owned());
        world
    };
    let mut world = known(WithoutQuorum::Ends);
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, ASK, RENEW]);
    unchanged(&world);
    world.quorum = true;
    world
        .carry(&MONITOR)
        .expect(OcfCode::RunningPromoted, DEGRADES);

    let mut world = known(WithoutQuorum::GoesOn);
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, SET, ALONE, RENEW]);

    // It was kept by an agent that knew nothing of that: three nodes have a quorum, and two have none.
    for (number, asked) in [(3, true), (2, false)] {
        let mut world = known(WithoutQuorum::Ends);
        world.settings.nodes.truncate(number);
        let kept = world.would_keep();
        world.kept = Some(KeptLinks {
            without_quorum: None,
            ..kept
        });
        let run = world.carry(&MONITOR);
        assert_eq!(run.actions.contains(&ASK.to_owned()), asked, "{run:?}");
    }
}

#[test]
fn where_nobody_ends_a_primary_without_quorum_it_says_how_to_go_on() {
    let mut world = cut_off();
    world.cluster().without_quorum = WithoutQuorum::Fenced;
    settle(&mut world);
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW]);
    let said = &run.warnings[0];
    assert!(!said.contains("stops PostgreSQL"), "{said}");
    assert!(said.contains("corosync-quorumtool -e"), "{said}");
    unchanged(&world);
    // That was typed.
    world.quorum = true;
    world.cluster().quorum = true;
    world
        .carry(&MONITOR)
        .expect(OcfCode::RunningPromoted, DEGRADES);
}

/// The answer is of the moment when it was asked; what has happened since is looked at.
#[test]
fn what_happens_while_the_cluster_is_asked_counts() {
    // The standby is back.
    let mut world = three();
    world.standbys.clear();
    world.while_asked = Some(|world| world.standbys = vec![link(2, 1000)]);
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, ASK, RENEW]);
    unchanged(&world);

    // The other one is lost as well, and this part of the cluster may have no quorum any more.
    let mut world = three();
    world.standbys = vec![link(3, 1000)];
    world.while_asked = Some(|world| {
        world.standbys.clear();
        world.quorum = false;
    });
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, ASK, RENEW, ASK, RENEW]);
    unchanged(&world);
}

#[test]
fn nothing_is_asked_where_pacemaker_lets_a_primary_be() {
    let policy = |world: &mut World| world.cluster().without_quorum = WithoutQuorum::GoesOn;
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
fn no_exchange_begins_without_quorum_and_with_it_the_cluster_is_asked() {
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
    run.expect(OcfCode::RunningPromoted, EXCHANGES);
    assert_eq!(world.row().holders, nodes(&[1, 3]));
    // Nobody of this node waits for the answer.
    assert!(world.released > 0);
}

/// More than the database nodes vote: node1 is cut off together with node3, and node2 is in the other part.
#[test]
fn no_holder_of_the_other_part_is_exchanged_for_one_of_this_part() {
    let mut world = three();
    world.standbys = vec![link(3, 1000)];
    world.quorum = false;
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, ASK, RENEW]);
    unchanged(&world);

    // Commits are held by an operation that was killed; it had asked before the cluster fell apart.
    let mut world = three();
    world.standbys = vec![link(3, 1000)];
    world.hold(&[2, 3].map(|number| node(number).to_string()));
    world.quorum = false;
    let run = world.carry(&MONITOR);
    let back = [
        RENEW,
        BARRIER,
        RENEW,
        KEEP,
        ASK,
        RENEW,
        KEEP,
        "set-names [node2]",
        RENEW,
        KEEP,
    ];
    run.expect(OcfCode::RunningPromoted, &back);
    unchanged(&world);
}

#[test]
fn commits_that_are_held_wait_for_the_holder_again_once_quorum_is_lost() {
    let mut world = cut_off();
    world.hold(&[2, 3].map(|number| node(number).to_string()));
    world.start();
    let run = world.carry(&MONITOR);
    let back = [RENEW, ASK, RENEW, KEEP, "set-names [node2]", RENEW, KEEP];
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

    // The cluster has not settled yet, and one of the others would pass the change on.
    for quorum in [false, true] {
        let mut world = cut_off();
        world.quorum = quorum;
        let away = Trouble::Unreachable("the network is away".to_owned());
        world.register = Err(Reading::Unknown(away));
        world.answers = vec![(node(3), PromiseAnswer::Promised { epoch: 10 })];
        let run = world.carry(&MONITOR);
        assert_eq!(run.actions[..3], [RENEW, ASK, RENEW], "{run:?}");
        assert_eq!(world.asked.is_empty(), !quorum, "{:?}", world.asked);
    }
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

    // Another standby of this part, which the other part does not promote.
    for (quorum, named) in [(false, "node2"), (true, "node3")] {
        let mut world = three();
        world.settings.arbiter = Arbiter::Off;
        world.standbys = vec![link(3, 1000)];
        world.quorum = quorum;
        let run = world.carry(&MONITOR);
        assert!(run.actions.contains(&ASK.to_owned()), "{run:?}");
        assert_eq!(world.names, [named]);
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

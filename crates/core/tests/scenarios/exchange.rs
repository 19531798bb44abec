//! R3 with three nodes: a synchronous standby is exchanged. Another one that streams becomes a holder by the
//! same change of the register that takes the lost one out, and no commit passes between the naming of it
//! and that change.

use std::time::Duration;

use pha_core::cluster::Announced;
use pha_core::decide::decide_without;
use pha_core::link_name::{Flushed, LinkName};
use pha_core::lsn::Lsn;
use pha_core::ocf::{self, OcfCode, When};
use pha_core::plan::{Action, ActionKind, Verdict};
use pha_core::register::{PromiseAnswer, Reading, Reply, Trouble, Update};
use pha_core::snapshot::{LinkRow, Operation};

use crate::world::{MONITOR, Run, World, at, link, node, nodes, notification, owned};

const RENEW: &str = "renew by node1";
const SET: &str = "set holders by node1";
const HOLD: &str = "hold-commits [node2,node3]";
const NAME: &str = "set-names [node3]";
const BARRIER: &str = "take-barrier";

/// node1 waits for node2, and node3 streams as well.
fn three() -> World {
    let mut world = World::primary();
    world.settings.nodes.push(node(3));
    let third = world.cluster().node(&node(2));
    world.cluster().nodes.insert(node(3), third);
    world.standbys.push(link(3, 1000));
    world
}

fn lose(world: &mut World, number: u8) {
    let name = node(number).to_string();
    world.standbys.retain(|row| row.name != name);
}

/// Every change of the holders that this operation makes, in order, with what was named then.
fn holders(world: &mut World, operation: &Operation) -> Vec<Vec<String>> {
    let mut snapshot = world.look(operation);
    let mut seen = vec![];
    for _ in 0..100 {
        let plan = decide_without(&snapshot, &[]);
        for action in plan.actions {
            let effect = world.perform(&action);
            if let Action::UpdateRegister(Update::SetHolders { holders, .. }) = &action {
                seen.push(holders.iter().map(ToString::to_string).collect());
            }
            snapshot = snapshot.fold(&action, effect);
        }
        match plan.verdict {
            Verdict::Finish(_) => return seen,
            Verdict::Continue => {}
            Verdict::Reobserve | Verdict::Wait(_) => {
                let progress = snapshot.progress.clone();
                snapshot = world.look(operation);
                snapshot.progress = progress;
                snapshot.begin_round();
            }
        }
    }
    panic!("no end: {seen:?}");
}

#[test]
fn another_standby_takes_the_place_of_the_lost_one_by_one_change() {
    let mut world = three();
    lose(&mut world, 2);
    let mut observed = world.clone();
    let run = world.carry(&MONITOR);
    run.expect(
        OcfCode::RunningPromoted,
        &[RENEW, HOLD, RENEW, BARRIER, RENEW, SET, NAME, RENEW],
    );
    assert_eq!(world.row().holders, nodes(&[1, 3]));
    assert_eq!(
        (&world.names[..], world.held),
        (&["node3".to_owned()][..], false)
    );
    // This primary never was the only holder.
    assert_eq!(holders(&mut observed, &MONITOR), [["node1", "node3"]]);
}

#[test]
fn a_standby_that_is_about_to_stop_is_exchanged_before() {
    let mut world = three();
    let stop = notification(When::Pre, ocf::Operation::Stop, 2);
    let run = world.carry(&stop);
    run.expect(
        OcfCode::Success,
        &[RENEW, HOLD, RENEW, BARRIER, RENEW, SET, NAME, RENEW],
    );
    assert_eq!(world.row().holders, nodes(&[1, 3]));
}

/// The standby's own agent says what it has flushed (R11).
fn announced() -> World {
    let mut world = three();
    for number in [2, 3] {
        let name = LinkName::incarnation(&node(number), 1);
        let known = world.cluster().nodes.get_mut(&node(number)).unwrap();
        known.announced = Announced::Name(name.clone());
        let row = world
            .standbys
            .iter_mut()
            .find(|row| row.name == node(number).to_string());
        row.unwrap().name = name.to_string();
    }
    world.names = vec![LinkName::incarnation(&node(2), 1).to_string()];
    world.start();
    world
}

#[test]
fn until_its_agent_says_so_nothing_passes_and_after_that_time_the_primary_goes_on_alone() {
    let mut world = announced();
    world.standbys.remove(0);
    let patient = world.clone();
    let run = world.carry(&MONITOR);
    let done: Vec<&String> = run
        .actions
        .iter()
        .filter(|action| *action != RENEW)
        .collect();
    let third = LinkName::incarnation(&node(3), 1);
    let hold = format!(
        "hold-commits [{},{third}]",
        LinkName::incarnation(&node(2), 1)
    );
    let alone = [
        &hold,
        BARRIER,
        "keep-links",
        SET,
        &format!("set-names [{third}]"),
        BARRIER,
        "keep-links",
    ];
    assert_eq!(done, alone);
    assert_eq!(world.row().holders, nodes(&[1]));
    assert_eq!(
        (&world.names[..], world.held),
        (&[third.to_string()][..], false)
    );

    // It has said it meanwhile: the barrier of the monitor before counts as long as the epoch stays.
    let mut world = patient;
    let mut snapshot = world.look(&MONITOR);
    snapshot.elapsed = Duration::ZERO;
    let known = world.cluster().nodes.get_mut(&node(3)).unwrap();
    known.flushed = Some(Flushed {
        name: third,
        position: at(1, 1000),
    });
    world.carry(&MONITOR);
    assert_eq!(world.row().holders, nodes(&[1, 3]));
}

/// What is there of it after the operation has been killed, at any of its steps: the next monitor goes on
/// with it, or takes it back under a new epoch.
#[test]
fn an_exchange_that_was_broken_off_holds_no_commit_after_the_next_monitor() {
    for (lost, row, names, after) in [
        // The lost one is lost still.
        (Some(2), owned(1, 1, &[1, 2]), "node3", [1, 3]),
        // It is back, or was never gone (its stop was taken back).
        (None, owned(1, 1, &[1, 2]), "node2", [1, 2]),
        // The one that was to take its place is lost in its turn.
        (Some(3), owned(1, 1, &[1, 2]), "node2", [1, 2]),
        // The change was made, and its reply lost.
        (Some(2), owned(1, 1, &[1, 3]), "node3", [1, 3]),
        (None, owned(1, 1, &[1, 3]), "node3", [1, 3]),
    ] {
        let mut world = three();
        world
            .perform(&Action::HoldCommits(vec![
                "node2".to_owned(),
                "node3".to_owned(),
            ]))
            .unwrap();
        world.register = Ok(row);
        let delayed = Update::set_holders(world.row(), node(1), nodes(&[1, 3]), world.settings.ttl);
        if let Some(lost) = lost {
            lose(&mut world, lost);
        }
        let run = world.carry(&MONITOR);
        let case = (lost, names, &run.rules);
        assert!(!world.held, "{case:?}");
        assert_eq!(world.names, [names], "{case:?}");
        assert_eq!(world.row().holders, nodes(&after), "{case:?}");
        assert_eq!(delayed.apply(world.row()), None, "{case:?}");
    }
}

/// Nobody named is a holder any more, or the register does not say, and both stream again: one of them is
/// waited for. With both named two connections of one would pass for two standbys.
#[test]
fn a_hold_whose_holders_are_gone_ends_with_one_name() {
    let held = |world: &mut World| {
        let names = vec!["node2".to_owned(), "node3".to_owned()];
        world.perform(&Action::HoldCommits(names)).unwrap();
    };
    // The exchange was given up, and the operation ended before it named anybody.
    let mut alone = owned(1, 1, &[1]);
    alone.epoch = 11;
    let mut world = three();
    held(&mut world);
    world.register = Ok(alone.clone());
    world.carry(&MONITOR);
    assert!(!world.held);
    assert_eq!(world.names, ["node2"]);
    assert_eq!(world.row().holders, nodes(&[1, 2]));

    // The lock service is out of reach of this primary, and another node passes its change on, or all promise.
    let promised = || PromiseAnswer::Promised { epoch: 10 };
    for answers in [
        vec![(node(2), PromiseAnswer::Relayed(Reply::Applied(alone)))],
        vec![(node(2), promised()), (node(3), promised())],
    ] {
        let mut world = three();
        held(&mut world);
        world.register = Err(Reading::Unknown(Trouble::Unreachable(
            "no route".to_owned(),
        )));
        world.answers = answers;
        let run = world.carry(&MONITOR);
        assert!(!world.held, "{:?}", run.rules);
        assert_eq!(world.names, ["node2"], "{:?}", run.rules);
    }
}

/// Nobody would end a hold: Pacemaker cancels the monitor, and begins none.
#[test]
fn while_pacemaker_does_not_act_no_exchange_begins_and_one_under_way_is_taken_back() {
    type Hinder = fn(&mut World);
    let hindered: [Hinder; 3] = [
        |world| world.cluster().managed = false,
        |world| {
            world
                .cluster()
                .nodes
                .entry(node(1))
                .or_default()
                .maintenance = true
        },
        |world| {
            world
                .cluster()
                .nodes
                .entry(node(3))
                .or_default()
                .maintenance = true
        },
    ];
    for hinder in hindered {
        for held in [false, true] {
            let mut world = three();
            lose(&mut world, 2);
            hinder(&mut world);
            if held {
                let names = vec!["node2".to_owned(), "node3".to_owned()];
                world.perform(&Action::HoldCommits(names)).unwrap();
            }
            let run = world.carry(&MONITOR);
            assert_eq!(run.actions[..2], [RENEW, SET], "{held}");
            assert!(!world.held, "{:?}", run.actions);
            assert!(
                !run.actions
                    .iter()
                    .any(|action| action.starts_with("hold-commits"))
            );
        }
    }
}

#[test]
fn where_both_are_lost_the_primary_goes_on_alone_at_once() {
    for held in [false, true] {
        let mut world = three();
        if held {
            world
                .perform(&Action::HoldCommits(vec![
                    "node2".to_owned(),
                    "node3".to_owned(),
                ]))
                .unwrap();
        }
        world.standbys.clear();
        let run = world.carry(&MONITOR);
        run.expect(
            OcfCode::RunningPromoted,
            &[RENEW, SET, "set-names []", RENEW],
        );
        assert_eq!(world.row().holders, nodes(&[1]));
    }
}

#[test]
fn what_fails_in_an_exchange_ends_it() {
    for (kind, after) in [
        (ActionKind::HoldCommits, &[1, 3][..]),
        (ActionKind::TakeBarrier, &[1]),
    ] {
        let mut world = three();
        lose(&mut world, 2);
        world.broken.insert(kind.into());
        let changes = holders(&mut world.clone(), &MONITOR);
        assert_eq!(changes[0], ["node1"], "{kind}");
        world.carry(&MONITOR);
        assert_eq!(world.row().holders, nodes(after), "{kind}");
        assert_eq!(
            (&world.names[..], world.held),
            (&["node3".to_owned()][..], false)
        );
    }
}

#[test]
fn nobody_is_exchanged_for_a_standby_that_may_not_be_named() {
    type Hinder = fn(&mut LinkRow);
    let hindered: [Hinder; 3] = [
        |row| row.flushed = None,
        |row| row.sent = Some(Lsn::new(900)),
        |row| row.name = "a_copy".to_owned(),
    ];
    for hinder in hindered {
        let mut world = three();
        lose(&mut world, 2);
        hinder(&mut world.standbys[0]);
        let run = world.carry(&MONITOR);
        assert_eq!(run.actions[..3], [RENEW, SET, "set-names []"]);
    }
}

/// While one holder stays that commits wait for, there is nothing to hold.
#[test]
fn of_several_holders_the_lost_one_leaves_as_ever() {
    let mut world = three();
    world.name(&["node2", "node3"]);
    world.register = Ok(owned(1, 1, &[1, 2, 3]));
    lose(&mut world, 2);
    world
        .carry(&MONITOR)
        .expect(OcfCode::RunningPromoted, &[RENEW, SET, NAME, RENEW]);
    assert_eq!(world.row().holders, nodes(&[1, 3]));
}

/// A holder for which commits do not wait may lack some: it leaves at once.
#[test]
fn who_is_not_waited_for_is_not_exchanged() {
    let mut world = three();
    world.name(&[""; 0]);
    lose(&mut world, 2);
    let run = world.carry(&MONITOR);
    assert_eq!(run.actions[..2], [RENEW, SET]);
    assert_eq!(world.row().holders, nodes(&[1, 3]), "{:?}", run.actions);
}

#[test]
fn without_the_register_no_exchange_begins_and_one_that_has_begun_waits_for_promises() {
    let unreachable = || Reading::Unknown(Trouble::Unreachable("no route to host".to_owned()));
    let mut world = three();
    lose(&mut world, 2);
    world.register = Err(unreachable());
    let run: Run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, "ask-promises"]);
    assert_eq!(
        (&world.names[..], world.held),
        (&["node2".to_owned()][..], false)
    );
    world
        .perform(&Action::HoldCommits(vec![
            "node2".to_owned(),
            "node3".to_owned(),
        ]))
        .unwrap();
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, "ask-promises"]);
    assert!(world.held, "nobody has promised");
}

/// A standby that came back under another name in the middle of it.
#[test]
fn a_holder_that_is_back_under_another_name_stays_one() {
    let mut world = announced();
    let [second, third] = [2, 3].map(|number| LinkName::incarnation(&node(number), 1).to_string());
    world
        .perform(&Action::HoldCommits(vec![second, third]))
        .unwrap();
    let back = LinkName::incarnation(&node(2), 2);
    world.cluster().nodes.get_mut(&node(2)).unwrap().announced = Announced::Name(back.clone());
    world.standbys[0].name = back.to_string();
    let run = world.carry(&MONITOR);
    assert_eq!(
        (&world.names[..], world.held),
        (&[back.to_string()][..], false),
        "{:?}",
        run.rules
    );
    assert_eq!(world.row().holders, nodes(&[1, 2]));
}

//! R3 with three nodes: a synchronous standby is exchanged. Another one that streams becomes a holder by the
//! same change of the register that takes the lost one out, and no commit passes between the naming of it
//! and that change.

use std::time::Duration;

use pha_core::cluster::Announced;
use pha_core::decide::{decide_without, exchange_until};
use pha_core::link_name::{Flushed, LinkName};
use pha_core::lsn::Lsn;
use pha_core::ocf::{self, OcfCode, When};
use pha_core::parse::standby_names::Waits;
use pha_core::plan::{Action, ActionKind};
use pha_core::register::{PromiseAnswer, Reading, Reply, Trouble, Update};
use pha_core::snapshot::{
    Answer, InMemory, KeptBarrier, KeptLinks, LinkRow, Operation, RunningName,
};
use pha_core::status::Score;
use pha_core::unfit::Unfit;

use crate::world::{MONITOR, Run, World, at, link, node, nodes, notification, owned};

const RENEW: &str = "renew by node1";
const SET: &str = "set holders by node1";
const KEEP: &str = "keep-links";
const HOLD: &str = "hold-commits [node2,node3]";
const NAME: &str = "set-names [node3]";
const BARRIER: &str = "take-barrier";

const EXCHANGED: &[&str] = &[
    RENEW, KEEP, HOLD, RENEW, BARRIER, RENEW, SET, NAME, RENEW, KEEP,
];

/// node1 waits for node2, and node3 streams as well.
fn three() -> World {
    let mut world = World::primary();
    world.settings.nodes.push(node(3));
    let third = world.cluster().node(&node(2));
    world.cluster().nodes.insert(node(3), third);
    world.standbys.push(link(3, 1000));
    world
}

fn both() -> [String; 2] {
    [2, 3].map(|number| node(number).to_string())
}

fn lose(world: &mut World, number: u8) {
    let name = node(number).to_string();
    world.standbys.retain(|row| row.name != name);
}

/// Every change of the holders that this operation makes, in order.
fn holders(world: &mut World, operation: &Operation) -> Vec<Vec<String>> {
    world.carry(operation).holders
}

#[test]
fn another_standby_takes_the_place_of_the_lost_one_by_one_change() {
    let mut world = three();
    lose(&mut world, 2);
    let mut observed = world.clone();
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, EXCHANGED);
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
    run.expect(OcfCode::Success, EXCHANGED);
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
        KEEP,
        &hold,
        BARRIER,
        KEEP,
        SET,
        &format!("set-names [{third}]"),
        KEEP,
        BARRIER,
        KEEP,
    ];
    assert_eq!(done, alone);
    assert!(world.released > 0, "it waits with the change lock");
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
        begun: None,
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
        world.hold(&both());
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
    // The exchange was given up, and the operation ended before it named anybody.
    let mut alone = owned(1, 1, &[1]);
    alone.epoch = 11;
    let mut world = three();
    world.hold(&both());
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
        world.hold(&both());
        lose(&mut world, 2);
        world.register = Err(Reading::Unknown(Trouble::Unreachable(
            "no route".to_owned(),
        )));
        world.answers = answers;
        let run = world.carry(&MONITOR);
        assert!(!world.held, "{:?}", run.rules);
        assert_eq!(world.names, ["node3"], "{:?}", run.rules);
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
                world.hold(&both());
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
            world.hold(&both());
        }
        world.standbys.clear();
        let run = world.carry(&MONITOR);
        let after: &[&str] = if held { &[KEEP] } else { &[] };
        let alone = [&[RENEW, SET, "set-names []", RENEW], after].concat();
        run.expect(OcfCode::RunningPromoted, &alone);
        assert_eq!(world.row().holders, nodes(&[1]));
    }
}

#[test]
fn what_fails_in_an_exchange_ends_it() {
    for (kind, after) in [
        (ActionKind::KeepLinks, &[1, 3][..]),
        (ActionKind::HoldCommits, &[1, 3]),
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

/// Who asks PostgreSQL for two standbys by hand waits for two connections, which one of them may have.
#[test]
fn of_a_setting_that_somebody_else_has_made_no_standby_is_a_holder() {
    for lost in [false, true] {
        let mut world = three();
        world.name(&["node2", "node3"]);
        world.register = Ok(owned(1, 1, &[1, 2, 3]));
        if lost {
            lose(&mut world, 2);
        }
        let (name, after) = match lost {
            true => (NAME, [1, 3]),
            false => ("set-names [node2]", [1, 2]),
        };
        let changes = holders(&mut world.clone(), &MONITOR);
        assert_eq!(changes[0], ["node1"]);
        world.carry(&MONITOR).expect(
            OcfCode::RunningPromoted,
            &[RENEW, SET, name, RENEW, BARRIER, RENEW, SET],
        );
        assert_eq!(world.row().holders, nodes(&after));
    }
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
    world.hold(&both());
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, "ask-promises"]);
    assert!(world.held, "nobody has promised");
}

/// A standby that came back under another name in the middle of it.
#[test]
fn a_holder_that_is_back_under_another_name_stays_one() {
    let mut world = announced();
    let [second, third] = [2, 3].map(|number| LinkName::incarnation(&node(number), 1).to_string());
    world.hold(&[second, third]);
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

fn unreachable() -> Reading {
    Reading::Unknown(Trouble::Unreachable("no route to host".to_owned()))
}

/// Commits are held for node3, and the register cannot be asked who holds what.
fn held_without(register: Reading) -> World {
    let mut world = three();
    world.hold(&both());
    world.register = Err(register);
    world
}

/// The standby for which commits waited is back, and the register is not.
#[test]
fn a_hold_ends_without_the_register_as_soon_as_the_holder_streams() {
    for register in [unreachable(), Reading::Missing] {
        let mut world = held_without(register);
        let barrier = KeptBarrier {
            name: "node3".to_owned(),
            lsn: Lsn::new(900),
            term: 1,
            epoch: 10,
        };
        world.kept.as_mut().unwrap().barrier = Some(barrier);
        // It is not there yet: nobody could acknowledge anything.
        let second = world.standbys.remove(0);
        world.carry(&MONITOR);
        assert!(world.held);
        world.standbys.push(second);
        let without = |world: &mut World| {
            let s = world.look(&MONITOR);
            let s = s.fold(
                &Action::ReadRegister,
                Ok(pha_core::plan::Effect::Register(unreachable())),
            );
            decide_without(&s, &["primary-end-hold"]).actions
        };
        let other = without(&mut world);
        let ends = |action: &Action| matches!(action, Action::SetNames(_));
        assert!(
            !other.iter().any(ends),
            "another rule does it too: {other:?}"
        );

        let run = world.carry(&MONITOR);
        assert_eq!(
            (&world.names[..], world.held),
            (&["node2".to_owned()][..], false),
            "{:?}",
            run.rules
        );
        let kept = world.kept.as_ref().unwrap();
        assert_eq!((&kept.barrier, &kept.hold), (&None, &None));
        assert_eq!(world.memory.epoch, 10);
    }
}

/// Whoever does not know that the register still is what it was then does not end the hold.
#[test]
fn without_the_register_a_hold_stays_where_something_may_have_changed() {
    type Change = fn(&mut World);
    let changes: [(&str, Change); 5] = [
        ("node3 may be the holder by now", |world| {
            world.memory.asked = Some(10);
        }),
        ("the epoch has moved since", |world| world.memory.epoch = 11),
        ("another node was promoted", |world| world.memory.term = 2),
        ("nothing was kept of it", |world| world.kept = None),
        ("the cluster has heard of a later epoch", |world| {
            world.cluster().seen = Some(pha_core::register::Seen { term: 1, epoch: 11 });
        }),
    ];
    for (what, change) in changes {
        let mut world = held_without(unreachable());
        change(&mut world);
        let run = world.carry(&MONITOR);
        assert!(world.held, "{what}: {:?}", run.rules);
    }
}

/// The time of a hold begins with it, and whatever is done on the way is over by then. What ends it is not
/// broken off.
#[test]
fn every_step_of_an_exchange_ends_with_the_time_of_the_hold() {
    let seconds = Duration::from_secs;
    let barrier = Action::TakeBarrier {
        name: "node3".to_owned(),
        waits: Waits::Held(both().to_vec()),
    };
    let mut world = three();
    lose(&mut world, 2);
    let mut s = world.look(&MONITOR);
    let read = Action::ReadRegister;
    s = s.fold(&read, world.perform(&read));
    assert_eq!(exchange_until(&s, &barrier), None, "nothing is held yet");
    // It has waited long for the change lock.
    (s.elapsed, s.left) = (seconds(25), seconds(35));
    let hold = decide_without(&s, &["change-lock-take"]).actions;
    for action in hold {
        let effect = world.perform(&action);
        s = s.fold(&action, effect);
    }
    assert!(world.held);
    assert_eq!(exchange_until(&s, &barrier), Some(seconds(35)));
    (s.elapsed, s.left) = (seconds(34), seconds(26));
    assert_eq!(exchange_until(&s, &barrier), Some(seconds(35)));
    let last = Update::set_holders(world.row(), node(1), nodes(&[1, 3]), world.settings.ttl);
    assert_eq!(exchange_until(&s, &Action::UpdateRegister(last)), None);
    s.elapsed = seconds(35);
    assert_eq!(exchange_until(&s, &barrier), None, "it is given up");
    assert_eq!(
        decide_without(&s, &["change-lock-take"]).rule,
        "primary-drop-holder"
    );

    // One that was found has a third of the operation.
    let mut s = world.look(&MONITOR);
    s = s.fold(&read, world.perform(&read));
    (s.elapsed, s.left) = (seconds(2), seconds(13));
    assert_eq!(exchange_until(&s, &barrier), Some(seconds(5)));
}

/// The guard has ended the hold while this operation waited, and another one has begun another: commits
/// have passed that node3 need not have, and the barrier of before is worth nothing.
#[test]
fn a_barrier_is_taken_anew_after_another_operation_has_had_the_lock() {
    let mut world = announced();
    world.standbys.remove(0);
    let third = LinkName::incarnation(&node(3), 1);
    world.hold(&[
        LinkName::incarnation(&node(2), 1).to_string(),
        third.to_string(),
    ]);
    let barrier = KeptBarrier {
        name: third.to_string(),
        lsn: Lsn::new(900),
        term: 1,
        epoch: 10,
    };
    world.kept.as_mut().unwrap().barrier = Some(barrier);
    world.standbys[0].flushed = Some(Lsn::new(950));
    let known = world.cluster().nodes.get_mut(&node(3)).unwrap();
    known.flushed = Some(Flushed {
        name: third,
        position: at(1, 950),
        begun: None,
    });
    let mut patient = world.clone();
    patient.carry(&MONITOR);
    assert_eq!(patient.row().holders, nodes(&[1, 3]), "it has that one");

    world.while_waiting = Some(|world| world.kept.as_mut().unwrap().barrier = None);
    world.carry(&MONITOR);
    assert_eq!(world.row().holders, nodes(&[1]), "it lacks the new one");
}

/// Commits passed by promises without node2, which was named again and is lost: it holds nothing that could be handed
/// on, and is no holder at any later epoch.
#[test]
fn without_whom_commits_have_passed_is_not_exchanged() {
    let mut world = three();
    lose(&mut world, 2);
    world.memory.used = Some(10);
    world.memory.relied = Some(10);
    let seen = holders(&mut world.clone(), &MONITOR);
    assert_eq!(seen, [vec!["node1"], vec!["node1", "node3"]]);
    // The same where an operation that was killed has left commits held.
    world.hold(&both());
    let seen = holders(&mut world, &MONITOR);
    assert_eq!(seen[0], ["node1"]);
    assert!(
        seen.iter().flatten().all(|node| node != "node2"),
        "{seen:?}"
    );
}

const UNFIT: &str = "replay is paused, since max_connections is 50 and the primary had 100";

/// node2, for which commits wait, could not open for writing.
fn unfit() -> World {
    let mut world = three();
    world.cluster().nodes.get_mut(&node(2)).unwrap().unfit = UNFIT.parse().ok();
    world
}

/// R14: nothing is lost, and the next power cut of the primary would be an outage.
#[test]
fn a_holder_that_could_not_open_is_exchanged_for_one_that_could() {
    let mut world = unfit();
    let changes = holders(&mut world.clone(), &MONITOR);
    assert_eq!(changes, [["node1", "node3"]]);
    world
        .carry(&MONITOR)
        .expect(OcfCode::RunningPromoted, EXCHANGED);
    assert_eq!(
        (&world.names[..], world.held),
        (&["node3".to_owned()][..], false)
    );
    // It stays so, whatever becomes of the first one.
    let after = world.row().clone();
    for unfit in [UNFIT.parse::<Unfit>().ok(), None] {
        world.cluster().nodes.get_mut(&node(2)).unwrap().unfit = unfit;
        world.carry(&MONITOR);
        assert_eq!((world.row().epoch, world.held), (after.epoch, false));
    }
}

/// One that could not open has the score of a last resort where it may be promoted at all. Once commits do not wait
/// for it any more, its primary says so at once, and not its next monitor.
#[test]
fn the_score_of_one_that_could_not_open_is_lowered_and_never_raised() {
    for (holders, before, after) in [
        (&[1][..], Score::LastResort, Score::MayNot),
        (&[1, 2][..], Score::LastResort, Score::LastResort),
        (&[1, 2][..], Score::MayNot, Score::MayNot),
    ] {
        let mut world = World::primary();
        world.register = Ok(owned(1, 1, holders));
        if holders.len() == 1 {
            world.standbys.clear();
            world.name(&[""; 0]);
        }
        let other = world.cluster().nodes.get_mut(&node(2)).unwrap();
        (other.unfit, other.score) = (UNFIT.parse().ok(), Some(before));
        world.carry(&MONITOR);
        assert_eq!(
            world.cluster().node(&node(2)).score,
            Some(after),
            "{holders:?}"
        );
    }
}

#[test]
fn commits_are_not_held_where_nobody_better_is_there_at_once() {
    type Hinder = fn(&mut World);
    let hindered: [(&str, Hinder); 6] = [
        ("nor could the other one", |world| {
            let other = world.cluster().nodes.get_mut(&node(3)).unwrap();
            other.unfit = UNFIT.parse().ok();
        }),
        ("an administrator keeps it from being promoted", |world| {
            let other = world.cluster().nodes.get_mut(&node(3)).unwrap();
            other.barred = Some("never-node3".to_owned());
        }),
        ("it is to be stopped", |world| {
            world.cluster().nodes.get_mut(&node(3)).unwrap().standby = true;
        }),
        ("it is far behind", |world| {
            world.end = at(1, 1000 + (17 << 20));
        }),
        ("it has not answered the last time", |world| {
            let barrier = Some(KeptBarrier {
                name: "node3".to_owned(),
                lsn: Lsn::new(1001),
                term: 1,
                epoch: 9,
            });
            let kept = world.kept.clone().unwrap_or_default();
            world.kept = Some(KeptLinks { barrier, ..kept });
        }),
        ("it does not stream", |world| lose(world, 3)),
    ];
    for (why, hinder) in hindered {
        let mut world = unfit();
        hinder(&mut world);
        let run = world.carry(&MONITOR);
        let holds = |action: &String| action.starts_with("hold-commits");
        assert!(!run.actions.iter().any(holds), "{why}: {:?}", run.actions);
        assert_eq!(world.row().holders, nodes(&[1, 2]), "{why}");
        assert_eq!(world.names, ["node2"], "{why}");
    }
}

/// The other one does not say in time what it has flushed: commits pass on what the first one acknowledges, as
/// before, and are not held again until the other has said something.
#[test]
fn an_exchange_of_one_that_acknowledges_ends_with_what_was_before() {
    let mut world = announced();
    world.cluster().nodes.get_mut(&node(2)).unwrap().unfit = UNFIT.parse().ok();
    let [second, third] = [2, 3].map(|number| LinkName::incarnation(&node(number), 1));
    let held = |run: &Run| {
        let mut actions = run.actions.iter();
        actions.any(|action| action.starts_with("hold-commits"))
    };
    let epoch = world.row().epoch;
    let run = world.carry(&MONITOR);
    assert!(held(&run), "{:?}", run.actions);
    for again in 0..3 {
        assert_eq!(world.row().holders, nodes(&[1, 2]), "{again}");
        assert_eq!(
            (&world.names[..], world.held),
            (&[second.to_string()][..], false)
        );
        assert!(world.row().epoch > epoch, "what was asked for is void");
        let run = world.carry(&MONITOR);
        assert!(!held(&run), "{:?}", run.actions);
    }
    let known = world.cluster().nodes.get_mut(&node(3)).unwrap();
    known.flushed = Some(Flushed {
        name: third,
        position: at(1, 2000),
        begun: None,
    });
    world.carry(&MONITOR);
    assert_eq!(world.row().holders, nodes(&[1, 3]));
}

/// A hold that PostgreSQL does not take up does not stay in its file: with a reload later commits would be held, and
/// nobody would be at it.
#[test]
fn a_hold_that_is_not_taken_up_does_not_stay_in_the_file() {
    let mut world = unfit();
    world.unread = Some("postgresql.conf line 1: unknown_word".to_owned());
    let run = world.carry(&MONITOR);
    let failed = format!("{HOLD}!");
    assert!(run.actions.contains(&failed), "{:?}", run.actions);
    let second = InMemory::of(&Waits::For("node2".to_owned()));
    assert_eq!(
        (&world.names[..], &world.in_memory),
        (&["node2".to_owned()][..], &second)
    );
}

/// One that was slow once says by its own agent when it has caught up, as the one that is to take the place.
#[test]
fn a_standby_that_was_waited_for_in_vain_says_when_it_has_caught_up() {
    let third = LinkName::incarnation(&node(1), 1);
    let mut world = World::standby();
    world.settings.nodes.push(node(3));
    world.register = Ok(owned(2, 1, &[2, 3]));
    let cluster = world.cluster();
    let mut holder = cluster.node(&node(2));
    holder.unfit = UNFIT.parse().ok();
    cluster.nodes.insert(node(3), holder);
    let own = cluster.nodes.get_mut(&node(1)).unwrap();
    own.announced = Announced::Name(third.clone());
    own.data_status = "STREAMING|ASYNC".parse().ok();
    world.running = RunningName::Name(third.clone());
    let says = |mut world: World| {
        world.carry(&MONITOR);
        world.cluster().node(&node(1)).flushed.map(|said| said.name)
    };
    let mut streaming = world.clone();
    if let Answer::Standby(view) = &mut streaming.answer {
        view.streaming = true;
    }
    assert_eq!(says(streaming.clone()), Some(third));
    assert_eq!(says(world), None, "it does not stream");
    streaming.cluster().nodes.get_mut(&node(3)).unwrap().unfit = None;
    assert_eq!(says(streaming), None, "nobody takes anybody's place");
}

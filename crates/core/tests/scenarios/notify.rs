//! Notifications, and the gate that they and monitors of a standby open and close.

use std::time::Duration;

use pha_core::cluster::ClusterNode;
use pha_core::decide::decide;
use pha_core::link_name::{Flushed, LinkName};
use pha_core::ocf::{self, OcfCode, When};
use pha_core::plan::{Action, Attribute, Effect, Verdict};
use pha_core::register::{Reading, Trouble};
use pha_core::snapshot::{Answer, Arbiter, Mode, Operation, Process, RunningName, WalRoom};
use pha_core::status::{PgsqlStatus, Score};
use pha_core::unfit::UnfitKind;

use crate::world::{Change, MONITOR, World, at, expired, node, notification, owned, room};

fn pre_promote(number: u8) -> Operation {
    notification(When::Pre, ocf::Operation::Promote, number)
}

fn holder(lease: bool) -> World {
    let mut world = World::standby();
    world.register = Ok(if lease {
        owned(2, 1, &[1, 2])
    } else {
        expired(2, 1, &[1, 2])
    });
    world.cluster().nodes.get_mut(&node(1)).unwrap().score = Some(Score::MayPromote);
    world
}

fn score(world: &World) -> Option<Score> {
    world.cluster.as_ref().unwrap().node(&node(1)).score
}

#[test]
fn before_a_promotion_a_renewing_owner_closes_the_gate() {
    let mut world = holder(true);
    world.owner_renews = true;
    let run = world.carry(&pre_promote(1));
    // The last round looks whether the closed gate has arrived in the cluster.
    run.expect(
        OcfCode::Success,
        &["read-register", "read-register", "read-register"],
    );
    assert_eq!(score(&world), Some(Score::MayNot));
    assert!(
        run.warnings[0].contains("node2 holds the lock and renews it"),
        "{:?}",
        run.warnings
    );
}

#[test]
fn before_a_promotion_a_dead_owners_lease_is_waited_for() {
    let mut world = holder(true);
    let run = world.carry(&pre_promote(1));
    assert_eq!(run.code, Some(OcfCode::Success));
    assert_eq!(score(&world), Some(Score::MayPromote));
    assert!(world.row().lease_left.is_zero());
}

#[test]
fn before_a_promotion_a_node_that_may_not_closes_its_gate() {
    for (number, wanted) in [(1, Score::MayNot), (2, Score::MayPromote)] {
        let mut world = holder(false);
        world.register = Ok(expired(2, 1, &[2]));
        let run = world.carry(&pre_promote(number));
        assert_eq!(run.code, Some(OcfCode::Success));
        assert_eq!(score(&world), Some(wanted), "of node{number}");
    }
}

#[test]
fn the_gate_says_what_the_register_says() {
    let unknown = Err(Reading::Unknown(Trouble::Unreachable(
        "timed out".to_owned(),
    )));
    for (register, wanted) in [
        (Ok(expired(2, 1, &[1, 2])), Some(Score::MayPromote)),
        (Ok(owned(2, 1, &[1, 2])), Some(Score::MayPromote)),
        (Ok(expired(2, 1, &[2])), Some(Score::MayNot)),
        (Ok(expired(1, 1, &[1, 2])), Some(Score::Primary)),
        (Err(Reading::Missing), Some(Score::MayNot)),
        (unknown, None),
    ] {
        let mut world = World::standby();
        world.register = register.clone();
        world
            .carry(&MONITOR)
            .expect(OcfCode::Success, &["read-register"]);
        assert_eq!(score(&world), wanted, "{register:?}");
    }
}

#[test]
fn a_node_without_room_for_wal_comes_after_every_other_holder() {
    for (register, wanted) in [
        (expired(2, 1, &[1, 2]), Score::LastResort),
        (expired(1, 1, &[1, 2]), Score::LastResort),
        (expired(2, 1, &[2]), Score::MayNot),
    ] {
        let mut world = World::standby();
        world.wal_room = room((32 << 20) - 1);
        world.register = Ok(register.clone());
        world
            .carry(&MONITOR)
            .expect(OcfCode::Success, &["read-register"]);
        assert_eq!(score(&world), Some(wanted), "{register:?}");
        // It says so whether it is a holder or not, so that its primary waits for another one, and leaves the score.
        let unfit = world.cluster().node(&node(1)).unfit;
        let kind = unfit.and_then(|unfit| unfit.kind);
        assert_eq!(kind, Some(UnfitKind::Room), "{register:?}");
    }
}

#[test]
fn a_disk_that_does_not_say_what_is_left_is_not_known_to_take_wal() {
    let no_wal = |free| WalRoom::Seen {
        free,
        segment: None,
    };
    for (wal_room, wanted) in [
        (room(32 << 20), Score::MayPromote),
        (no_wal(2 << 20), Score::MayPromote),
        (no_wal(0), Score::LastResort),
        (WalRoom::Unknown("no answer".to_owned()), Score::LastResort),
    ] {
        let mut world = World::standby();
        world.wal_room = wal_room.clone();
        world.register = Ok(expired(2, 1, &[1, 2]));
        world
            .carry(&MONITOR)
            .expect(OcfCode::Success, &["read-register"]);
        assert_eq!(score(&world), Some(wanted), "{wal_room:?}");
    }
}

/// node1 has WAL up to 1000, and beside it is node3, which has reported up to `lsn`.
fn two_asynchronous(lsn: u64, score: Score) -> World {
    let mut world = holder(false);
    world.settings.mode = Mode::Async;
    world.settings.nodes.push(node(3));
    let other = ClusterNode {
        online: true,
        score: Some(score),
        position: Some(at(1, lsn)),
        ..ClusterNode::default()
    };
    world.cluster().nodes.insert(node(3), other);
    world
}

#[test]
fn an_asynchronous_standby_yields_to_one_with_more_wal() {
    for (lsn, others, wanted) in [
        (1001, Score::MayPromote, Score::LastResort),
        (1000, Score::MayPromote, Score::MayPromote),
        (999, Score::MayPromote, Score::MayPromote),
        (1001, Score::MayNot, Score::MayPromote),
        (1001, Score::LastResort, Score::MayPromote),
    ] {
        for operation in [pre_promote(1), MONITOR] {
            let mut world = two_asynchronous(lsn, others);
            let run = world.carry(&operation);
            assert_eq!(run.code, Some(OcfCode::Success));
            assert_eq!(
                score(&world),
                Some(wanted),
                "{lsn} {others:?} {operation:?}"
            );
        }
        // Where no other can be, it is promoted with the score that it has.
        let mut world = two_asynchronous(lsn, others);
        world.carry(&MONITOR);
        world.carry(&Operation::Promote);
        assert_eq!(world.row().owner, Some(node(1)));
    }
    let mut world = two_asynchronous(1001, Score::MayPromote);
    world.settings.mode = Mode::Sync;
    world.carry(&pre_promote(1));
    assert_eq!(
        score(&world),
        Some(Score::MayPromote),
        "a holder has it all"
    );
}

#[test]
fn before_an_asynchronous_promotion_every_standby_reports_its_wal() {
    for number in [1, 3] {
        let mut world = two_asynchronous(1000, Score::MayPromote);
        let run = world.carry(&pre_promote(number));
        assert_eq!(run.code, Some(OcfCode::Success));
        let reported = world.cluster().node(&node(1)).position;
        assert_eq!(reported, Some(at(1, 1000)), "node{number} is promoted");
    }
}

#[test]
fn a_gate_that_was_closed_stays_closed_while_an_owner_out_of_sight_renews() {
    let mut world = holder(true);
    world.owner_renews = true;
    let known = &mut world.cluster().nodes;
    known.get_mut(&node(2)).unwrap().online = false;
    known.get_mut(&node(1)).unwrap().score = Some(Score::MayNot);
    world
        .carry(&MONITOR)
        .expect(OcfCode::Success, &["read-register"]);
    assert_eq!(score(&world), Some(Score::MayNot));
    // Its lease runs out: this node is opened by its next monitor.
    world.owner_renews = false;
    world.register = Ok(expired(2, 1, &[1, 2]));
    world
        .carry(&MONITOR)
        .expect(OcfCode::Success, &["read-register"]);
    assert_eq!(score(&world), Some(Score::MayPromote));
}

#[test]
fn after_a_promotion_elsewhere_the_receiver_reconnects_once() {
    let mut world = holder(true);
    let Answer::Standby(view) = &mut world.answer else {
        unreachable!("a standby")
    };
    view.receiver = Some(4711);
    view.streaming = true;
    let run = world.carry(&notification(When::Post, ocf::Operation::Promote, 2));
    run.expect(OcfCode::Success, &["restart-receiver", "read-register"]);
}

#[test]
fn a_probe_touches_nothing_and_tells_the_role() {
    let probe = Operation::Monitor { probe: true };
    let frozen = |mut world: World| {
        world.process = Process::Alive { frozen: true };
        world.answer = Answer::NoAnswer;
        world
    };
    for (world, code) in [
        (World::new(), OcfCode::NotRunning),
        (World::standby(), OcfCode::Success),
        (World::primary(), OcfCode::RunningPromoted),
        (frozen(World::standby()), OcfCode::Success),
        (frozen(World::primary()), OcfCode::RunningPromoted),
    ] {
        let mut world = world;
        let before = world.cluster.clone();
        let run = world.carry(&probe);
        assert_eq!(run.code, Some(code));
        assert!(run.actions.is_empty(), "{:?}", run.actions);
        assert_eq!(world.cluster, before);
    }
}

#[test]
fn a_silent_server_is_given_patience_and_a_busy_one_is_not_restarted() {
    for (silent_before, code) in [(0, OcfCode::RunningPromoted), (2, OcfCode::Generic)] {
        let mut world = World::primary();
        world.answer = Answer::NoAnswer;
        world.silent_before = silent_before;
        assert_eq!(world.carry(&MONITOR).code, Some(code));
    }
    for answer in [
        Answer::Busy("too many clients".to_owned()),
        Answer::StartingUp,
        Answer::ShuttingDown,
        Answer::Refused("password".to_owned()),
    ] {
        let mut world = World::primary();
        world.answer = answer;
        world.silent_before = 9;
        let run = world.carry(&MONITOR);
        run.expect(OcfCode::RunningPromoted, &["renew by node1"]);
    }
}

#[test]
fn a_standby_with_wal_of_its_own_fails_so_that_the_next_start_refuses_it() {
    let mut world = World::standby();
    let cluster = world.cluster();
    cluster.repl_info = Some(Ok("node2|1|00000000000003E7".parse().unwrap()));
    cluster.nodes.get_mut(&node(2)).unwrap().status = Some(PgsqlStatus::Pri);
    world.register = Ok(owned(2, 2, &[2]));
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::Generic, &[]);
    assert!(run.reason.contains("cls_repair_slave"), "{}", run.reason);
}

#[test]
fn a_standby_that_left_two_switches_ago_fails_when_the_receiver_has_the_history() {
    let mut world = World::standby();
    let cluster = world.cluster();
    cluster.repl_info = Some(Ok("node2|2|0000000000001000".parse().unwrap()));
    cluster.nodes.get_mut(&node(2)).unwrap().status = Some(PgsqlStatus::Pri);
    world.register = Ok(owned(2, 2, &[2]));
    // Nothing tells yet where the primary has left timeline 1.
    let run = world.carry(&MONITOR);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);

    for (fork, code) in [(1000, OcfCode::Success), (999, OcfCode::Generic)] {
        world.left_at(fork);
        let run = world.carry(&MONITOR);
        assert_eq!(run.code, Some(code), "{fork}: {}", run.reason);
    }
    let run = world.carry(&MONITOR);
    assert!(run.reason.contains("cls_repair_slave"), "{}", run.reason);
}

fn said(world: &World) -> Option<String> {
    let known = world.cluster.as_ref().unwrap().node(&node(1));
    known.flushed.map(|said| said.to_string())
}

/// node1 is one of three, and its server runs under its plain name.
fn one_of_three() -> World {
    let mut world = holder(false);
    world.settings.nodes.push(node(3));
    world.running = RunningName::Unnamed;
    world
}

#[test]
fn before_a_promotion_a_standby_of_three_says_how_far_it_has_flushed() {
    let mut world = one_of_three();
    let run = world.carry(&pre_promote(3));
    assert_eq!(run.code, Some(OcfCode::Success));
    assert_eq!(said(&world).unwrap(), "node1|1|00000000000003E8|1");
    // Once: what is there is not said again.
    let run = world.carry(&pre_promote(3));
    assert_eq!(run.rules, ["notify-pre-nothing"]);

    let silent: [(&str, Change); 5] = [
        ("two nodes", |w| w.settings.nodes.truncate(2)),
        ("asynchronous", |w| w.settings.mode = Mode::Async),
        ("no register", |w| w.settings.arbiter = Arbiter::Off),
        ("started by somebody else", |w| {
            w.running = RunningName::Name(LinkName::incarnation(&node(1), 7));
        }),
        ("nothing is kept of its timelines", |w| w.record = None),
    ];
    for (why, change) in silent {
        let mut world = one_of_three();
        change(&mut world);
        let run = world.carry(&pre_promote(3));
        assert_eq!(
            (run.code, said(&world)),
            (Some(OcfCode::Success), None),
            "{why}"
        );
    }
    let mut world = one_of_three();
    world.carry(&pre_promote(1));
    assert_eq!(said(&world), None, "the one that is to be promoted");
}

/// The attribute daemon has taken what is said, and the cluster still shows what was said before an earlier
/// promotion, which has failed: that is of the same server and the same timeline.
#[test]
fn a_word_of_an_earlier_promotion_is_not_taken_for_the_present_one() {
    for (shown, waits) in [(Some(900), true), (Some(1000), false), (None, true)] {
        let mut world = one_of_three();
        let operation = pre_promote(3);
        let mut snapshot = world.look(&operation);
        let plan = decide(&snapshot);
        let action = plan.actions.first().unwrap().clone();
        let Action::SetAttribute(_, Attribute::Flushed(said)) = &action else {
            panic!("{plan:?}")
        };
        let said = said.clone();
        snapshot = snapshot.fold(&action, Ok(Effect::Done));
        let known = Flushed {
            position: at(1, shown.unwrap_or(0)),
            ..said
        };
        let known = shown.map(|_| known);
        let cluster = snapshot.cluster.as_mut().unwrap();
        cluster.nodes.get_mut(&node(1)).unwrap().flushed = known;
        snapshot.begin_round();
        let verdict = decide(&snapshot).verdict;
        assert_eq!(matches!(verdict, Verdict::Wait(_)), waits, "{shown:?}");
        // A cluster that shows nothing keeps no promotion from being made.
        snapshot.elapsed = Duration::from_secs(1);
        assert!(matches!(decide(&snapshot).verdict, Verdict::Finish(_)));
    }
}

//! Who is at the other end of a replication link (R11).

use std::time::Duration;

use pha_core::cluster::Announced;
use pha_core::decide::decide;
use pha_core::link_name::{Flushed, LinkName};
use pha_core::lsn::Lsn;
use pha_core::ocf::{self, OcfCode, When};
use pha_core::plan::{ActionKind, Effect};
use pha_core::register::Reading;
use pha_core::snapshot::{Answer, LinkId, LinkRow, Operation, RunningName};
use pha_core::status::{PgsqlStatus, Score, WalSenderState};

use crate::world::{MONITOR, World, at, link, node, nodes, notification, owned, shown};

const RENEW: &str = "renew by node1";
const SET: &str = "set holders by node1";

fn called(number: u8, incarnation: u64) -> LinkName {
    LinkName::incarnation(&node(number), incarnation)
}

fn link_called(name: &LinkName, flushed: u64) -> LinkRow {
    LinkRow {
        name: name.to_string(),
        ..link(2, flushed)
    }
}

/// A receiver that stores WAL and replays none, later than any standby.
fn receiver(name: &str) -> LinkRow {
    LinkRow {
        id: LinkId {
            pid: 666,
            began: 666,
        },
        name: name.to_owned(),
        replayed: None,
        ..link(2, 1000)
    }
}

/// node1 is the primary at term 1 and waits for node2, its holder, by its incarnation 7.
fn known() -> World {
    let mut world = World::primary();
    world.cluster().nodes.get_mut(&node(2)).unwrap().announced = Announced::Name(called(2, 7));
    world.standbys = vec![link_called(&called(2, 7), 1000)];
    world.name(&[called(2, 7)]);
    world
}

/// The same, and node2 is neither named nor a holder.
fn unnamed() -> World {
    let mut world = known();
    world.register = Ok(owned(1, 1, &[1]));
    world.name(&[""; 0]);
    world
}

fn set_names(name: &LinkName) -> String {
    format!("set-names [{name}]")
}

/// Without the renewals, of which there are some while it waits.
fn done(actions: &[String]) -> Vec<&str> {
    let actions = actions.iter().map(String::as_str);
    actions.filter(|action| *action != RENEW).collect()
}

#[test]
fn a_stranger_in_a_nodes_name_is_nobody() {
    let plain = link(2, 1000);
    let former = link_called(&called(2, 6), 1000);
    for stranger in [plain, former, receiver("node2")] {
        let mut world = unnamed();
        world.standbys = vec![stranger.clone()];
        let run = world.carry(&MONITOR);
        run.expect(OcfCode::RunningPromoted, &[RENEW]);
        assert!(
            !world.row().positions.contains_key(&node(2)),
            "{stranger:?}"
        );
        // Beside a holder that is gone it changes nothing either.
        let mut world = known();
        world.standbys = vec![stranger];
        let run = world.carry(&MONITOR);
        run.expect(
            OcfCode::RunningPromoted,
            &[RENEW, SET, "set-names []", RENEW],
        );
        assert_eq!(world.row().holders, nodes(&[1]));
    }
}

#[test]
fn a_standby_is_a_holder_once_its_own_agent_says_so() {
    let mut world = unnamed();
    let named = set_names(&called(2, 7));
    let run = world.carry(&MONITOR);
    assert_eq!(done(&run.actions), [&named, "take-barrier", "keep-links"]);
    assert_eq!(world.row().holders, nodes(&[1]), "only its link says so");
    let say = |world: &mut World, name: LinkName, position| {
        let known = world.cluster().nodes.get_mut(&node(2)).unwrap();
        known.flushed = Some(Flushed {
            name,
            position,
            begun: None,
        });
    };
    // Of another start, on another timeline, or not as far: that says nothing.
    for (name, position) in [
        (called(2, 6), at(1, 1000)),
        (called(2, 7), at(2, 1000)),
        (called(2, 7), at(1, 999)),
    ] {
        say(&mut world, name, position);
        let run = world.carry(&MONITOR);
        assert_eq!(done(&run.actions), [""; 0]);
    }
    // The barrier is the one that was kept.
    say(&mut world, called(2, 7), at(1, 1000));
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, SET]);
    assert_eq!(world.row().holders, nodes(&[1, 2]));
}

#[test]
fn a_kept_barrier_is_of_its_epoch() {
    let mut world = unnamed();
    world.carry(&MONITOR);
    let kept = world.kept.clone().unwrap().barrier.unwrap();
    assert_eq!(kept.name, called(2, 7).to_string());
    let row = world.register.as_mut().unwrap();
    row.epoch += 1;
    let known = world.cluster().nodes.get_mut(&node(2)).unwrap();
    known.flushed = Some(Flushed {
        name: called(2, 7),
        position: at(1, 1000),
        begun: None,
    });
    let run = world.carry(&MONITOR);
    run.expect(
        OcfCode::RunningPromoted,
        &[RENEW, "take-barrier", RENEW, SET],
    );
}

#[test]
fn a_holder_that_is_back_costs_a_reload_and_no_change_of_the_register() {
    let mut world = known();
    let epoch = world.row().epoch;
    let back = called(2, 8);
    world.cluster().nodes.get_mut(&node(2)).unwrap().announced = Announced::Name(back.clone());
    world.standbys = vec![link_called(&back, 1000)];
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, &set_names(&back), RENEW]);
    assert_eq!(world.row().holders, nodes(&[1, 2]));
    assert_eq!(world.row().epoch, epoch);
    assert_eq!(shown(&world, 2), Some(PgsqlStatus::HsSync));
    // So also from the plain name, after an upgrade.
    let mut world = World::primary();
    world.cluster().nodes.get_mut(&node(2)).unwrap().announced = Announced::Name(back.clone());
    world.standbys = vec![link_called(&back, 1000)];
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, &set_names(&back), RENEW]);
}

#[test]
fn of_two_links_of_one_name_the_older_is_ended_first() {
    let mut world = known();
    let mut newer = link_called(&called(2, 7), 1000);
    newer.id = LinkId {
        pid: 200,
        began: 200,
    };
    world.standbys.push(newer.clone());
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, "end-links", RENEW]);
    assert_eq!(world.standbys, [newer]);
    assert_eq!(world.row().holders, nodes(&[1, 2]));
    // Where that fails neither counts.
    let mut world = known();
    world.standbys.push(receiver(called(2, 7).as_str()));
    world.broken.insert(ActionKind::EndLinks.into());
    let run = world.carry(&MONITOR);
    assert_eq!(run.actions[..2], [RENEW, "end-links!"], "{:?}", run.actions);
    assert_eq!(world.row().holders, nodes(&[1]));
    // A receiver that replays nothing is ended, however new it is.
    let mut world = known();
    world.standbys.push(receiver(called(2, 7).as_str()));
    world.carry(&MONITOR);
    assert_eq!(world.standbys.len(), 1);
    assert_eq!(world.standbys[0].replayed, Some(Lsn::new(1000)));
}

#[test]
fn what_is_left_of_an_earlier_name_is_ended_once_the_node_is_back_and_a_copy_is_shown() {
    let earlier = |state| LinkRow {
        id: LinkId { pid: 50, began: 1 },
        state: Some(state),
        ..link_called(&called(2, 6), 900)
    };
    // Between two timelines, when the standby lost its power.
    let mut world = known();
    let own = world.standbys[0].clone();
    world.standbys.push(earlier(WalSenderState::Startup));
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, "end-links", RENEW]);
    assert_eq!(world.standbys, [own]);
    // A copy of its data streams; it would be back at once, and an operator has to look for it.
    let mut world = known();
    world.standbys.push(earlier(WalSenderState::Streaming));
    world.carry(&MONITOR);
    assert_eq!(world.standbys.len(), 2);
    // While the node is away, nothing has come in its place.
    let mut world = known();
    world.standbys = vec![earlier(WalSenderState::Startup)];
    world.carry(&MONITOR);
    assert_eq!(world.standbys.len(), 1);
}

#[test]
fn without_pacemaker_the_names_are_those_that_were_kept() {
    let mut world = known();
    world.carry(&MONITOR);
    let kept = world.look(&MONITOR).names.kept;
    world.kept = kept;
    world.cluster = Err("no answer".to_owned());
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW]);
    assert_eq!(world.row().holders, nodes(&[1, 2]));
}

#[test]
fn a_standby_is_started_under_an_incarnation_that_was_announced_before() {
    let mut world = World::new();
    world.fresh = called(1, 9);
    let run = world.carry(&Operation::Start);
    let announced = run.actions.iter().position(|a| a == "announce");
    let started = run.actions.iter().position(|a| a == "start-postgres");
    assert!(
        announced < started && announced.is_some(),
        "{:?}",
        run.actions
    );
    let told = world.cluster().node(&node(1)).announced;
    assert_eq!(told, Announced::Name(called(1, 9)));
    assert_eq!(world.running, RunningName::Name(called(1, 9)));
}

#[test]
fn beside_an_agent_that_announces_nothing_the_name_is_the_plain_one() {
    let mut world = World::new();
    world.fresh = called(1, 9);
    let other = world.cluster().nodes.get_mut(&node(2)).unwrap();
    other.score = Some(Score::MayNot);
    world.carry(&Operation::Start);
    assert_eq!(world.running, RunningName::Unnamed);
    let told = world.cluster().node(&node(1)).announced;
    assert_eq!(told, Announced::Name(LinkName::plain(&node(1))));
}

#[test]
fn a_name_that_cannot_be_announced_keeps_nobody_from_starting() {
    let mut world = World::new();
    world.fresh = called(1, 9);
    world.broken.insert(ActionKind::Announce.into());
    let run = world.carry(&Operation::Start);
    assert_eq!(run.code, Some(OcfCode::Success), "{:?}", run.actions);
    world.broken.clear();
    world.carry(&MONITOR);
    let told = world.cluster().node(&node(1)).announced;
    assert_eq!(told, Announced::Name(called(1, 9)));
}

/// node1 is a standby of node2, which is the only holder.
fn following() -> World {
    let mut world = World::standby();
    world.running = RunningName::Name(called(1, 9));
    let cluster = world.cluster();
    cluster.nodes.get_mut(&node(1)).unwrap().announced = Announced::Name(called(1, 9));
    cluster.nodes.get_mut(&node(2)).unwrap().status = Some(PgsqlStatus::Pri);
    world.register = Ok(owned(2, 1, &[2]));
    if let Answer::Standby(view) = &mut world.answer {
        view.streaming = true;
    }
    world
}

#[test]
fn a_standby_says_how_far_it_has_flushed_until_it_is_a_holder() {
    let mut world = following();
    let said = |world: &mut World| world.cluster().node(&node(1)).flushed;
    world.carry(&MONITOR);
    let flushed = said(&mut world).unwrap();
    assert_eq!((flushed.name, flushed.position), (called(1, 9), world.end));
    // Whoever runs under another name says nothing in this one.
    let mut world = following();
    world.running = RunningName::Name(called(1, 8));
    world.broken.insert(ActionKind::Announce.into());
    world.carry(&MONITOR);
    assert_eq!(said(&mut world), None);
    // A holder says nothing any more.
    let mut world = following();
    world.register = Ok(owned(2, 1, &[1, 2]));
    world.carry(&MONITOR);
    assert_eq!(said(&mut world), None);
}

#[test]
fn after_a_start_it_is_said_for_a_while() {
    let about = notification(When::Post, ocf::Operation::Start, 1);
    let mut world = following();
    let run = world.carry(&about);
    assert!(
        run.actions.contains(&"start-attendant".to_owned()),
        "{:?}",
        run.actions
    );
}

/// Each word makes Pacemaker begin its plan anew: with seven of them in a second, as fast as WAL comes, it
/// did nothing but announce the stop of another node for ten seconds.
#[test]
fn how_far_a_standby_has_flushed_is_not_said_as_often_as_that_changes() {
    let mut world = following();
    let mut snapshot = world.look(&Operation::Attend);
    let mut said = Vec::new();
    for tenth in 0..100_u32 {
        snapshot.elapsed = Duration::from_millis(100) * tenth;
        snapshot.register = Some(Reading::Row(owned(2, 1, &[2])));
        if let Answer::Standby(view) = &mut snapshot.answer {
            view.received = Some(Lsn::new(5000 + u64::from(tenth)));
        }
        for action in decide(&snapshot).actions {
            said.push(tenth);
            snapshot = snapshot.fold(&action, Ok(Effect::Done));
        }
    }
    assert_eq!(said[..4], [0, 3, 6, 9]);
    assert!(said.len() < 16, "{said:?}");
    let gaps = said.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(gaps.max() <= Some(10), "{said:?}");
}

#[test]
fn a_standby_that_somebody_else_has_started_is_started_again() {
    let mut world = following();
    world.running = RunningName::Unnamed;
    let run = world.carry(&MONITOR);
    assert_eq!(run.code, Some(OcfCode::Generic), "{:?}", run.rules);
    assert!(run.reason.contains("started again"), "{}", run.reason);
    // Not while it may be needed, and not where nothing can be told of it.
    let mut world = following();
    world.running = RunningName::Unnamed;
    world.cluster().nodes.get_mut(&node(2)).unwrap().status = None;
    assert_eq!(world.carry(&MONITOR).code, Some(OcfCode::Success));
    let mut world = following();
    world.running = RunningName::Unknown;
    assert_eq!(world.carry(&MONITOR).code, Some(OcfCode::Success));
}

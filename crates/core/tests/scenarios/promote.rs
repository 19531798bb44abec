//! `promote`: the right first, then PostgreSQL, then the record.

use std::time::Duration;

use pha_core::cluster::{Announced, ClusterNode};
use pha_core::decide::operator::{NodePosition, RecoveryFacts, plan_recovery};
use pha_core::limits::Limits;
use pha_core::lineage::{Held, Opening, Record, Seen, TimelineName, unproven};
use pha_core::link_name::{Flushed, LinkName};
use pha_core::lsn::Lsn;
use pha_core::ocf::{self, OcfCode, When};
use pha_core::parse::standby_names::Waits;
use pha_core::plan::{Action, ActionKind};
use pha_core::register::{self, Reading, Register, Trouble, Update};
use pha_core::snapshot::{
    Answer, EndUnknown, Mode, Operation, PausedReplay, Process, RunningName, StandbySignal,
};
use pha_core::status::{DataStatus, PgsqlStatus, Score};
use pha_core::timeline::{History, HistoryEntry};
use pha_core::unfit::UnfitKind;

use crate::world::{
    Change, MONITOR, Part, SYSTEM, World, at, expired, first_lineage, node, nodes, notification,
    owned, record, reign, shown, timeline,
};

/// A standby that was primary at term 1 and whose reign is remembered.
fn returning() -> World {
    let mut world = World::standby();
    world.memory.term = 1;
    world.memory.epoch = 10;
    world.memory.reign = reign(1, 1);
    world.register = Ok(expired(1, 1, &[1, 2]));
    world.cluster().repl_info = Some(Ok("node1|0|0000000000000000".parse().unwrap()));
    world
}

/// A standby and holder of a primary on node2.
fn successor() -> World {
    let mut world = World::standby();
    world.register = Ok(expired(2, 1, &[1, 2]));
    world.cluster().repl_info = Some(Ok("node2|0|0000000000000000".parse().unwrap()));
    world
}

fn report(world: &mut World, number: u8, lsn: u64) {
    let known = world.cluster().nodes.entry(node(number)).or_default();
    known.position = Some(at(1, lsn));
}

#[test]
fn the_first_primary_is_elected_and_restarts_in_place() {
    let mut world = World::standby();
    report(&mut world, 1, 1000);
    report(&mut world, 2, 900);
    let run = world.carry(&Operation::Promote);
    run.expect(
        OcfCode::Success,
        &[
            "read-register",
            "first primary node1",
            "stop-postgres Fast",
            "keep-record",
            "write-primary-settings",
            "start-postgres",
            "read-register",
            "remember",
            "timelines named by node1",
            "write-repl-info node1|0|0000000000000000",
        ],
    );
    assert_eq!(world.row().holders, nodes(&[1]));
    assert_eq!(world.memory.reign, reign(1, 1));
    assert_eq!(shown(&world, 1), Some(PgsqlStatus::Pri));
    assert!(!world.standby_signal);
}

#[test]
fn the_first_primary_is_not_elected_while_a_node_is_silent_or_newer() {
    for (other, part) in [
        (None, "node2 has not reported"),
        (Some(2000), "node2 has newer data"),
    ] {
        let mut world = World::standby();
        report(&mut world, 1, 1000);
        if let Some(lsn) = other {
            report(&mut world, 2, lsn);
        }
        let run = world.carry(&Operation::Promote);
        run.expect(OcfCode::Generic, &["read-register"]);
        assert!(run.reason.contains(part), "{}", run.reason);
        assert_eq!(world.cluster().node(&node(1)).score, Some(Score::MayNot));
        assert_eq!(world.row(), &Register::fresh());
    }
}

#[test]
fn the_primary_of_the_last_term_restarts_in_place_on_its_timeline() {
    let mut world = returning();
    let run = world.carry(&Operation::Promote);
    run.expect(
        OcfCode::Success,
        &[
            "read-register",
            "promote by node1",
            "stop-postgres Fast",
            "keep-record",
            "write-primary-settings",
            "start-postgres",
            "read-register",
            "remember",
            "timelines named by node1",
        ],
    );
    assert_eq!(world.end.timeline, timeline(1));
    assert_eq!(world.row().term, 2);
    assert_eq!(world.row().holders, nodes(&[1]));
    assert_eq!(world.memory.reign, reign(2, 1));
    assert!(world.names.is_empty());
}

#[test]
fn a_promotion_that_was_interrupted_gets_a_new_timeline() {
    // The register went to term 2 and PostgreSQL never became the primary of that term.
    let mut world = returning();
    world.register = Ok(expired(1, 2, &[1]));
    let run = world.carry(&Operation::Promote);
    assert!(
        run.actions.contains(&"promote-postgres".to_owned()),
        "{:?}",
        run.actions
    );
    assert_eq!(run.code, Some(OcfCode::Success));
    assert_eq!(world.memory.reign, reign(3, 2));
}

#[test]
fn a_lost_reply_to_a_promotion_is_read_and_promoted_from_there() {
    let mut world = returning();
    world.replies_lost = 1;
    let run = world.carry(&Operation::Promote);
    run.expect(
        OcfCode::Success,
        &[
            "read-register",
            "promote by node1",
            "read-register",
            "promote by node1",
            "keep-record",
            "open-standby",
            "promote-postgres",
            "read-register",
            "remember",
            "keep-record",
            "timelines named by node1",
            "write-repl-info node1|1|00000000000003E8",
        ],
    );
    assert_eq!(world.row().term, 3);
}

#[test]
fn a_holder_takes_over_onto_a_new_timeline() {
    let mut world = successor();
    let run = world.carry(&Operation::Promote);
    run.expect(
        OcfCode::Success,
        &[
            "read-register",
            "promote by node1",
            "keep-record",
            "open-standby",
            "promote-postgres",
            "read-register",
            "remember",
            "keep-record",
            "timelines named by node1",
            "write-repl-info node1|1|00000000000003E8",
        ],
    );
    assert_eq!(world.row().owner, Some(node(1)));
    assert_eq!(world.row().holders, nodes(&[1]));
    assert_eq!(world.memory.reign, reign(2, 2));
}

#[test]
fn while_clients_wait_only_what_others_act_upon_is_shown() {
    let mut world = successor();
    let after = notification(When::Post, ocf::Operation::Promote, 1);
    for operation in [&Operation::Promote, &after] {
        world.carry(operation);
        let own = world.cluster().node(&node(1));
        assert_eq!(own.status, Some(PgsqlStatus::Pri), "{operation:?}");
        assert_eq!(own.score, Some(Score::Primary), "{operation:?}");
        assert_ne!(own.data_status, Some(DataStatus::Latest), "{operation:?}");
    }
    world.carry(&MONITOR);
    let (own, other) = (
        world.cluster().node(&node(1)),
        world.cluster().node(&node(2)),
    );
    assert_eq!(own.data_status, Some(DataStatus::Latest));
    assert_eq!(other.data_status, Some(DataStatus::Disconnect));
}

#[test]
fn a_running_lease_is_waited_for() {
    let mut world = successor();
    world.register = Ok(owned(2, 1, &[1, 2]));
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
    assert_eq!(world.row().term, 2);
}

#[test]
fn a_living_owner_keeps_the_lock_and_the_gate_is_closed_before_the_failure() {
    let mut world = successor();
    world.register = Ok(owned(2, 1, &[1, 2]));
    world.owner_renews = true;
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Generic));
    assert!(
        run.reason.contains("node2 holds the lock and renews it"),
        "{}",
        run.reason
    );
    assert!(!run.overdue);
    assert_eq!(run.actions, ["read-register", "read-register"]);
    assert_eq!(world.cluster().node(&node(1)).score, Some(Score::MayNot));
    assert_eq!(world.row().term, 1);
}

#[test]
fn what_may_not_be_promoted_fails_at_once_and_changes_nothing() {
    let mut promised = successor();
    promised.memory.promised = Some(10);
    promised.memory.epoch = 10;
    let mut no_holder = successor();
    no_holder.register = Ok(expired(2, 1, &[2]));
    let mut rolled_back = successor();
    rolled_back.memory.term = 7;
    let mut missing = successor();
    missing.register = Err(Reading::Missing);
    let mut forgetful = successor();
    forgetful.memory_lost = Some("the memory cannot be read".to_owned());
    for (world, part) in [
        (forgetful, "the memory cannot be read"),
        (promised, "has promised"),
        (
            no_holder,
            "does not hold every acknowledged commit; node2 does",
        ),
        (rolled_back, "the register is damaged"),
        (missing, "no row of this name"),
    ] {
        let mut world = world;
        let before = world.register.clone();
        let run = world.carry(&Operation::Promote);
        run.expect(OcfCode::Generic, &["read-register"]);
        assert!(run.reason.contains(part), "{}", run.reason);
        assert_eq!(world.register, before);
        assert_eq!(world.cluster().node(&node(1)).score, Some(Score::MayNot));
        assert!(matches!(world.process, Process::Alive { .. }));
    }
}

#[test]
fn a_lock_service_that_does_not_answer_is_waited_for_half_of_the_time() {
    let mut world = successor();
    let trouble = Trouble::Unreachable("timed out".to_owned());
    world.register = Err(Reading::Unknown(trouble));
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Generic));
    assert!(
        !run.overdue && run.reason.contains("timed out"),
        "{}",
        run.reason
    );
}

#[test]
fn a_standby_with_less_wal_than_recorded_may_still_be_replaying() {
    let mut world = successor();
    let mut row = expired(2, 1, &[1, 2]);
    row.positions = [(node(1), Lsn::new(1001))].into();
    world.register = Ok(row);
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Generic));
    assert!(
        run.reason.contains("put back to an older state"),
        "{}",
        run.reason
    );
    assert!(
        run.rules
            .iter()
            .filter(|rule| **rule == "promote-ask-register")
            .count()
            > 10
    );
    assert_eq!(world.row().term, 1);
    // Its monitor goes on saying so as long as somebody may look for a primary.
    let said = world.carry(&MONITOR).warnings.join("\n");
    assert!(said.contains("run cls_rebuild_slave here"), "{said}");
    world.cluster().nodes.entry(node(2)).or_default().status = Some(PgsqlStatus::Pri);
    world.cluster().nodes.entry(node(2)).or_default().online = true;
    let said = world.carry(&MONITOR).warnings.join("\n");
    assert!(said.is_empty(), "{said}");
}

#[test]
fn asynchronous_mode_promotes_within_the_bound_and_not_beyond() {
    for (recorded, code) in [(2000, OcfCode::Success), (2001, OcfCode::Generic)] {
        let mut world = successor();
        world.settings.mode = Mode::Async;
        let mut row = expired(2, 1, &[2]);
        row.positions = [(node(2), Lsn::new(recorded))].into();
        world.register = Ok(row);
        let run = world.carry(&Operation::Promote);
        assert_eq!(run.code, Some(code), "{recorded}: {}", run.reason);
    }
}

#[test]
fn a_running_primary_that_was_superseded_is_stopped_and_one_before_a_damaged_register_is_not() {
    let mut world = World::primary();
    world.register = Ok(owned(2, 2, &[2]));
    let run = world.carry(&Operation::Promote);
    run.expect(
        OcfCode::NotRunning,
        &["read-register", "stop-postgres Immediate"],
    );

    for register in [
        Ok(Register::fresh()),
        Ok(owned(2, 1, &[2])),
        Err(Reading::Missing),
    ] {
        let mut world = World::primary();
        world.memory.term = 2;
        world.memory.reign = reign(2, 1);
        world.register = register;
        let run = world.carry(&Operation::Promote);
        assert!(
            matches!(world.process, Process::Alive { .. }),
            "{:?}",
            run.actions
        );
        assert_eq!(world.memory.reign, reign(2, 1));
    }
}

#[test]
fn a_memory_that_cannot_be_kept_does_not_fail_a_promotion() {
    let mut world = successor();
    world.broken.insert(ActionKind::Remember.into());
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
    assert_eq!(world.memory.reign, None);
}

#[test]
fn a_register_of_another_cluster_is_recognised() {
    let mut world = successor();
    world.register = Ok(expired(7, 1, &[7]));
    let run = world.carry(&Operation::Promote);
    run.expect(OcfCode::Generic, &["read-register"]);
    for part in ["node7", "is not in node_list", "distlock_lockname"] {
        assert!(run.reason.contains(part), "{}", run.reason);
    }
}

/// What is asked of the register is on the disk before it is asked: a promise could be given
/// otherwise by a node that has been promoted without its knowing (R7).
#[test]
fn without_having_kept_that_it_asks_a_node_does_not_ask() {
    let mut world = successor();
    let before = world.row().clone();
    world.broken.insert(Part::Keep);
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Generic));
    assert_eq!(run.reason, "the disk is full");
    assert_eq!(world.row(), &before);
}

#[test]
fn a_failed_restart_in_place_says_what_postgresql_said() {
    let mut world = returning();
    world.broken.insert(ActionKind::StartPostgres.into());
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Generic));
    assert_eq!(run.reason, "start-postgres is broken");
}

/// R14: the names of a standby stay in force, since nothing is taken up, and every commit would wait for nobody who could
/// come.
#[test]
fn a_standby_that_takes_up_no_change_leaves_the_register_alone() {
    let mut world = successor();
    world.unread = Some("postgresql.conf line 7: a word".to_owned());
    world.start();
    let before = world.row().clone();
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Generic));
    assert!(
        run.reason
            .contains("line 7: a word; correct that line there"),
        "{}",
        run.reason
    );
    assert_eq!(*world.row(), before, "the register is left alone");
    world.carry(&MONITOR);
    let shown = world.cluster().node(&node(1));
    assert_eq!(shown.score, Some(Score::MayNot));
    assert_eq!(shown.unfit.unwrap().kind, Some(UnfitKind::Files));

    world.unread = None;
    world.start();
    world.carry(&MONITOR);
    let shown = world.cluster().node(&node(1));
    assert_eq!((shown.score, shown.unfit), (Some(Score::MayPromote), None));
    assert_eq!(
        world.carry(&Operation::Promote).code,
        Some(OcfCode::Success)
    );
}

/// Where the error comes after the look, the promotion ends: PostgreSQL is not told to open.
#[test]
fn a_standby_that_is_not_opened_is_not_promoted() {
    let mut world = successor();
    world.broken.insert(ActionKind::OpenStandby.into());
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Generic));
    let promoted = |action: &String| action.starts_with("promote-postgres");
    assert!(!run.actions.iter().any(promoted), "{:?}", run.actions);
}

/// R14: PostgreSQL pauses its replay where a limit is less than the primary's, and ends when such a
/// server is promoted.
#[test]
fn a_standby_that_could_not_open_leaves_the_register_alone() {
    let paused = |here: u32| {
        Some(PausedReplay {
            here: Limits::from_values([here, 8, 10, 0, 64]),
            needed: Some(Limits::from_values([100, 8, 10, 0, 64])),
        })
    };
    let standby = |here| {
        let mut world = successor();
        if let Answer::Standby(view) = &mut world.answer {
            view.paused = paused(here);
        }
        world
    };
    let mut world = standby(50);
    let before = world.row().clone();
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Generic));
    let expected = "max_connections is 50 and the primary had 100";
    assert!(run.reason.contains(expected), "{}", run.reason);
    assert_eq!(*world.row(), before, "the register is left alone");

    // Its monitor shuts the gate and says why; the primary's does not open it again.
    let mut world = standby(50);
    world.carry(&MONITOR);
    let shown = world.cluster().node(&node(1));
    assert_eq!(shown.score, Some(Score::MayNot));
    assert!(shown.unfit.unwrap().why.contains("max_connections"));

    // A pause that an operator asked for ends by itself at a promotion.
    let mut world = standby(100);
    assert_eq!(
        world.carry(&Operation::Promote).code,
        Some(OcfCode::Success)
    );
}

/// A standby that was given the register, and whose PostgreSQL did not open.
fn unopened() -> World {
    let mut world = successor();
    world.row_mut().positions = [(node(2), Lsn::new(900))].into();
    world.broken.insert(ActionKind::PromotePostgres.into());
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Generic));
    let row = world.row();
    assert_eq!((row.owner.clone(), row.term), (Some(node(1)), 2));
    assert_eq!(row.holders, nodes(&[1]));
    world
}

/// R14: whoever held everything before holds it still.
#[test]
fn a_right_of_which_no_use_was_made_is_given_back() {
    for operation in [Operation::Stop, Operation::Demote { then_stop: true }] {
        let mut world = unopened();
        (world.process, world.answer) = (Process::Absent, Answer::NotAsked);
        world.cluster().nodes.entry(node(1)).or_default().score = Some(Score::Primary);
        let epoch = world.row().epoch;
        assert_eq!(world.carry(&operation).code, Some(OcfCode::Success));
        // It is not the one to be promoted before all others any more, before its next start.
        let score = world.cluster().node(&node(1)).score;
        assert_eq!(score, Some(Score::MayNot), "{operation:?}");
        let row = world.row();
        assert_eq!((row.owner.clone(), row.term), (None, 3), "{operation:?}");
        assert_eq!((&row.holders, row.epoch), (&nodes(&[1, 2]), epoch + 1));
        assert_eq!(row.positions, [(node(2), Lsn::new(900))].into());
        assert!(row.lease_left.is_zero() && row.former().is_none());
    }
    // That it is asked for is kept before: the change may be made at any time after its reply was lost.
    let mut world = unopened();
    (world.process, world.answer) = (Process::Absent, Answer::NotAsked);
    let epoch = world.row().epoch;
    world.lost = Some("right given back");
    world.carry(&Operation::Stop);
    assert!(world.row().owner.is_none() && world.memory.unsettled_at(epoch));
}

#[test]
fn a_right_that_may_have_been_used_is_kept() {
    let kept: [fn(&mut World); 6] = [
        // PostgreSQL removes it before it opens.
        |world| world.standby_signal = false,
        // It writes this before.
        |world| {
            world.newer = vec![History {
                own: timeline(2),
                entries: vec![],
            }];
        },
        |world| world.end = at(2, 1000),
        |world| world.disk_error = Some(EndUnknown::Other("broken".to_owned())),
        // It served the term before, and would go on in place: that begins no timeline.
        |world| world.memory.reign = reign(1, 1),
        // Another operation of this node may be about to open it.
        |world| world.lock_holder = Some("another operation".to_owned()),
    ];
    for (number, change) in kept.into_iter().enumerate() {
        let mut world = unopened();
        (world.process, world.answer) = (Process::Absent, Answer::NotAsked);
        change(&mut world);
        let code = world.carry(&Operation::Stop).code;
        assert_eq!(code, Some(OcfCode::Success), "{number}");
        let row = world.row();
        assert_eq!(row.owner, Some(node(1)), "{number}");
        assert_eq!(row.holders, nodes(&[1]), "{number}");
    }
}

/// R6: what is given back is not given back to whoever has replaced its data.
#[test]
fn who_replaces_its_data_is_not_given_the_right_back() {
    let mut world = unopened();
    (world.process, world.answer) = (Process::Absent, Answer::NotAsked);
    let leave = Update::Leave { node: node(2) };
    let left = leave.apply(world.row()).unwrap();
    assert!(!left.may_be_given_back_to(&node(2)));
    world.register = Ok(left);
    world.carry(&Operation::Stop);
    assert_eq!(world.row().holders, nodes(&[1]));
}

/// Neither by its term nor by its epoch.
#[test]
fn no_reign_is_kept_by_a_register_that_was_put_back() {
    for (term, epoch) in [(1, 0), (0, 5)] {
        let mut world = World::primary();
        world.memory.reign = None;
        world.memory.term += term;
        world.memory.epoch += epoch;
        let _ = world.carry(&Operation::Promote);
        assert_eq!(world.memory.reign, None, "{term}/{epoch} later was seen");
    }
}

/// node1 is to take over from node2, and node3 beside it has said that it has WAL up to 1200.
fn behind_another() -> World {
    let mut world = successor();
    world.settings.nodes.push(node(3));
    world.running = RunningName::Unnamed;
    let name = LinkName::plain(&node(3));
    let other = ClusterNode {
        online: true,
        announced: Announced::Name(name.clone()),
        flushed: Some(Flushed {
            name,
            position: at(1, 1200),
            begun: Some(1),
        }),
        ..ClusterNode::default()
    };
    world.cluster().nodes.insert(node(3), other);
    world.lent = Some(Lsn::new(1200));
    world
}

fn third(world: &mut World) -> &mut ClusterNode {
    world.cluster().nodes.get_mut(&node(3)).unwrap()
}

fn said_by_third(world: &mut World) -> &mut Flushed {
    third(world).flushed.as_mut().unwrap()
}

#[test]
fn what_another_standby_has_more_is_received_before_postgres_opens() {
    let mut world = behind_another();
    let run = world.carry(&Operation::Promote);
    run.expect(
        OcfCode::Success,
        &[
            "read-register",
            "promote by node1",
            "keep-record",
            "catch-up",
            "close-standby",
            "open-standby",
            "promote-postgres",
            "read-register",
            "remember",
            "keep-record",
            "timelines named by node1",
            "write-repl-info node1|1|00000000000004B0",
        ],
    );
    assert!(!run.rules.contains(&"promote-catch-up-wait"), "{run:?}");
    // Of two the one with the most is asked.
    let mut world = behind_another();
    world.settings.nodes.push(node(4));
    let mut fourth = third(&mut world).clone();
    let name = LinkName::plain(&node(4));
    fourth.announced = Announced::Name(name.clone());
    fourth.flushed = Some(Flushed {
        name,
        position: at(1, 1300),
        begun: Some(1),
    });
    world.cluster().nodes.insert(node(4), fourth);
    world.lent = Some(Lsn::new(1300));
    let run = world.carry(&Operation::Promote);
    assert!(!run.rules.contains(&"promote-catch-up-wait"), "{run:?}");
    assert_eq!(run.code, Some(OcfCode::Success));
}

/// After the wait the register was not read again, and what it knows of numbers is needed before.
#[test]
fn the_numbers_that_were_given_are_reserved_before_another_standby_lends() {
    let mut world = behind_another();
    if let Ok(row) = &mut world.register {
        row.timelines.highest = 4;
    }
    let term = world.row().term + 1;
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
    let begun = ["reserve-timelines", "keep-record", "catch-up"].map(str::to_owned);
    assert!(
        run.actions.windows(3).any(|three| three == begun),
        "{:?}",
        run.actions
    );
    let held = world.record.unwrap().held;
    assert_eq!(held, Held::Opened(Opening { term, above: 4 }));
}

#[test]
fn a_standby_that_does_not_give_what_it_has_costs_two_seconds() {
    let mut world = behind_another();
    world.lent = None;
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
    let waits = |rule: &&&str| **rule == "promote-catch-up-wait";
    assert_eq!(run.rules.iter().filter(waits).count(), 4, "{:?}", run.rules);
    assert_eq!(world.row().owner, Some(node(1)));

    // Half of the lease at most, which begins when the register is asked for the right.
    for (ttl, before) in [(3, 0), (3, 2), (1, 0), (20, 2)] {
        let mut world = behind_another();
        (world.lent, world.settings.ttl) = (None, Duration::from_secs(ttl));
        if let Ok(row) = &mut world.register {
            row.lease_left = Duration::from_secs(before);
        }
        let run = world.carry(&Operation::Promote);
        assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
        let most = usize::try_from(ttl.min(4)).unwrap();
        assert_eq!(run.rules.iter().filter(waits).count(), most, "{ttl}");
    }

    let mut world = behind_another();
    world.broken.insert(ActionKind::CatchUp.into());
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
    assert!(!run.rules.contains(&"promote-catch-up-wait"), "{run:?}");
    // Before it opens it receives from nobody but the primary, or it does not open.
    let mut world = behind_another();
    world.broken.insert(ActionKind::CloseStandby.into());
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Generic), "{:?}", run.actions);
}

#[test]
fn a_standby_that_receives_from_another_one_acknowledges_nothing_by_itself() {
    let settings = behind_another().settings;
    let name = LinkName::plain(&node(1));
    let lends = Action::CatchUp {
        name: name.clone(),
        from: node(3),
        up_to: Lsn::new(1200),
    };
    let waits = |action: &Action| action.standby_settings(&settings).unwrap().names;
    let nobody = settings.names_of_a_standby();
    assert_eq!(waits(&lends), nobody);
    assert_eq!(waits(&Action::CloseStandby(name.clone())), nobody);
    assert_eq!(waits(&Action::OpenStandby(name)), Waits::ForNobody);
    assert!(
        !lends
            .standby_settings(&settings)
            .unwrap()
            .is_closed(&settings)
    );
}

/// The other standby was opened by hand while this one received from it, and this one has followed it.
#[test]
fn a_standby_that_has_strayed_is_not_opened() {
    let mut world = behind_another();
    world.strays = Some(2);
    let run = world.carry(&Operation::Promote);
    let strayed = "promote-strayed";
    assert_eq!(run.rules.last(), Some(&strayed), "{:?}", run.rules);
    assert_eq!(run.code, Some(OcfCode::Generic));
    assert!(
        run.reason.starts_with("cls_recovery_master"),
        "{}",
        run.reason
    );
    assert!(!run.actions.contains(&"promote-postgres".to_owned()));
    // Nor at the next attempt, which knows nothing of the first one but what is on the disk.
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.rules.last(), Some(&strayed), "{:?}", run.rules);
    gone_on_with(world.clone());
    // One that has failed before and followed another primary since is on a timeline that has a name.
    if let Ok(row) = &mut world.register {
        let fork = Lsn::new(1000);
        row.timelines.lineage = row.timelines.lineage.and(TimelineName {
            term: 1,
            number: timeline(2),
            fork,
        });
    }
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
}

/// Pacemaker stops what has strayed and starts nothing, nobody else may be promoted, and the right is not given back.
/// What the message says to type ends that: the data are on a timeline of the decision then.
fn gone_on_with(mut world: World) {
    world.carry(&Operation::Stop);
    (world.process, world.answer) = (Process::Absent, Answer::NotAsked);
    let fork = Lsn::new(1200);
    world.end = at(2, 1300);
    world.history = History {
        own: timeline(2),
        entries: vec![HistoryEntry {
            parent: timeline(1),
            end: fork,
        }],
    };
    assert_eq!(world.row().owner, Some(node(1)));
    let refused = world.carry(&Operation::Start);
    let remedy = "cls_recovery_master on node1, since no other node can be primary";
    assert!(refused.reason.starts_with(remedy), "{}", refused.reason);

    let unproven = unproven(
        &Seen {
            record: world.record.as_ref(),
            system: Some(SYSTEM),
            end: world.end,
            history: &world.history,
            standby_signal: StandbySignal::There,
            fresh_copy: false,
        },
        None,
    );
    assert!(unproven.is_some());
    world.row_mut().lease_left = Duration::ZERO;
    let seen = register::Seen::of(world.row());
    let facts = RecoveryFacts {
        wanted: None,
        replicated: true,
        promoted: vec![],
        off: [node(2), node(3)].into(),
        nodes: vec![NodePosition {
            node: node(1),
            member: true,
            usable: true,
            runs: false,
            end: Ok(world.end),
            system: Some(SYSTEM),
            lineage: None,
            unproven: unproven.clone(),
        }],
        me: node(1),
        here: Some(SYSTEM),
        register: Some(Reading::Row(world.row().clone())),
        known: seen,
        seen,
        number: 1,
        gave_way: None,
    };
    let plan = plan_recovery(&facts).unwrap();
    let update = plan.update(&facts, "an operator".to_owned()).unwrap();
    let after = update.apply(world.row()).unwrap();
    // What the command keeps on the node then (`keep_chosen`).
    let lineage = plan.unproven.unwrap().chosen_at(after.term);
    assert_eq!(lineage, after.timelines.lineage);
    world.record = Some(Record {
        lineage,
        ..record(Held::Copied).unwrap()
    });
    world.register = Ok(after);
    for operation in [Operation::Start, Operation::Promote] {
        let run = world.carry(&operation);
        assert_eq!(
            run.code,
            Some(OcfCode::Success),
            "{:?}: {}",
            run.rules,
            run.reason
        );
    }
    // A register that knows the timeline by its name proves that it is the primary's.
    let known = first_lineage().and(TimelineName {
        term: 2,
        number: timeline(2),
        fork,
    });
    assert!(
        unproven
            .as_ref()
            .is_some_and(|data| data.is_proven_by(&known))
    );
    assert!(!unproven.is_some_and(|data| data.is_proven_by(&first_lineage())));
}

#[test]
fn nothing_is_received_from_who_is_not_known_to_have_more_of_the_same_timeline() {
    let none: [(&str, Change); 8] = [
        ("as much", |w| said_by_third(w).position = at(1, 1000)),
        ("another number", |w| {
            said_by_third(w).position = at(2, 1200)
        }),
        ("another term", |w| said_by_third(w).begun = Some(2)),
        ("no name", |w| said_by_third(w).begun = None),
        ("of an earlier start", |w| {
            said_by_third(w).name = LinkName::incarnation(&node(3), 7);
        }),
        ("away", |w| third(w).online = false),
        ("silent", |w| third(w).flushed = None),
        ("nothing is kept of the own timelines", |w| w.record = None),
    ];
    for (why, change) in none {
        let mut world = behind_another();
        change(&mut world);
        let run = world.carry(&Operation::Promote);
        assert_eq!(run.code, Some(OcfCode::Success), "{why}: {}", run.reason);
        let asked = run.actions.contains(&"catch-up".to_owned());
        assert!(!asked, "{why}: {:?}", run.actions);
    }
}

/// What is left of a promotion that was killed receives from the primary again, wherever it was killed: before
/// or after the server has read the settings, and whether it shows them or not.
#[test]
fn a_promotion_that_was_killed_leaves_no_standby_behind_another_one() {
    for operation in [MONITOR, Operation::Demote { then_stop: false }] {
        let mut world = behind_another();
        world.changed = true;
        world.start();
        world.record = record(Held::Following);
        let closes = "close-standby".to_owned();
        let run = world.carry(&operation);
        assert!(run.actions.contains(&closes), "{:?}", run.actions);
        let run = world.carry(&operation);
        assert!(!run.actions.contains(&closes), "{:?}", run.actions);
    }
}

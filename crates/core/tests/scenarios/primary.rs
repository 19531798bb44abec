//! What monitors and notifications of a primary do about its lease, its standbys and its names.

use pha_core::cluster::ClusterNode;
use pha_core::decide::decide_without;
use pha_core::lsn::Lsn;
use pha_core::ocf::{self, OcfCode, When};
use pha_core::parse::standby_names::{NOBODY, Waits};
use pha_core::plan::{Action, ActionKind, Effect, Plan, Verdict};
use pha_core::register::{Reading, Register, Reply, Trouble, Update};
use pha_core::snapshot::{
    Answer, Arbiter, InMemory, KeptBarrier, KeptLinks, LinkRow, Mode, PrimaryView, Process, Slot,
    Snapshot, StandbyView,
};
use pha_core::status::{DataStatus, PgsqlStatus, Score, SyncState, WalSenderState};
use pha_core::timeline::{HistoryEntry, TimelineId};

use crate::world::{MONITOR, World, link, node, nodes, notification, owned, reign, shown};

const RENEW: &str = "renew by node1";
const SET: &str = "set holders by node1";
const ALONE: &str = "set-names []";
const NAME: &str = "set-names [node2]";
const FILE: &str = "write-names";

#[test]
fn a_healthy_primary_renews_and_shows() {
    let mut world = World::primary();
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW]);
    assert_eq!(shown(&world, 1), Some(PgsqlStatus::Pri));
    assert_eq!(shown(&world, 2), Some(PgsqlStatus::HsSync));
    assert_eq!(
        world.cluster().node(&node(2)).score,
        Some(Score::MayPromote)
    );
    assert_eq!(world.row().positions.len(), 2, "R10");
    // The second one has nothing to write any more.
    world
        .carry(&MONITOR)
        .expect(OcfCode::RunningPromoted, &[RENEW]);
}

#[test]
fn names_that_a_restart_of_the_machine_would_leave_are_written_where_it_does_not() {
    let mut world = World::primary();
    world.in_memory = InMemory::Nothing;
    world
        .carry(&MONITOR)
        .expect(OcfCode::RunningPromoted, &[RENEW, FILE, RENEW]);
    assert_eq!(world.in_memory, second());
    world
        .carry(&MONITOR)
        .expect(OcfCode::RunningPromoted, &[RENEW]);

    // Where it cannot be written, the primary goes on as it is.
    world.in_memory = InMemory::Nothing;
    world.broken.insert(ActionKind::WriteNames.into());
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, "write-names!", RENEW]);
}

/// The names for which commits wait.
fn second() -> InMemory {
    InMemory::of(&Waits::For("node2".to_owned()))
}

/// R4: a change that PostgreSQL has not taken up stays in the file where its operation was killed, and comes with
/// anybody's reload. Nobody becomes a holder by names that the file does not have.
#[test]
fn nobody_becomes_a_holder_by_names_that_the_file_does_not_say() {
    let mut world = World::primary();
    world.register = Ok(owned(1, 1, &[1]));
    world.in_memory = InMemory::of(&Waits::ForNobody);
    let mut broken = world.clone();
    let run = world.carry(&MONITOR);
    run.expect(
        OcfCode::RunningPromoted,
        &[RENEW, FILE, RENEW, "take-barrier", RENEW, SET],
    );
    assert_eq!(world.in_memory, second());

    broken.broken.insert(ActionKind::WriteNames.into());
    let run = broken.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, "write-names!", RENEW]);
    assert_eq!(broken.row().holders, nodes(&[1]));
}

/// A barrier for node2, of the register's term and epoch.
fn barrier_of(row: &Register) -> KeptBarrier {
    KeptBarrier {
        name: "node2".to_owned(),
        lsn: Lsn::new(1),
        term: row.term,
        epoch: row.epoch,
    }
}

/// A barrier of this epoch is kept, and the file says something else since.
#[test]
fn a_barrier_counts_only_with_names_that_the_file_says() {
    let mut world = World::primary();
    world.register = Ok(owned(1, 1, &[1]));
    world.in_memory = InMemory::Unknown;
    world.broken.insert(ActionKind::WriteNames.into());
    let barrier = barrier_of(world.row());
    world.kept = Some(KeptLinks {
        barrier: Some(barrier),
        ..world.would_keep()
    });
    world.carry(&MONITOR);
    assert_eq!(world.row().holders, nodes(&[1]));
    world.broken.clear();
    world.carry(&MONITOR);
    assert_eq!(world.row().holders, nodes(&[1, 2]));
}

/// Without a register its score says whether a standby holds everything.
#[test]
fn a_standby_is_no_successor_by_names_that_the_file_does_not_say() {
    for arbiter in [Arbiter::Off, Arbiter::External] {
        let mut world = World::primary();
        world.settings.arbiter = arbiter;
        world.in_memory = InMemory::of(&Waits::ForNobody);
        let mut broken = world.clone();
        broken.broken.insert(ActionKind::WriteNames.into());
        broken.carry(&MONITOR);
        let shows = |world: &mut World| {
            let second = world.cluster().node(&node(2));
            let status = second.data_status;
            (
                second.score,
                status.is_some_and(|status| status.is_streaming_sync()),
            )
        };
        // The standby's own monitor goes by the data status.
        assert_eq!(shows(&mut broken), (Some(Score::MayNot), false));
        world.carry(&MONITOR);
        assert_eq!(shows(&mut world), (Some(Score::MayPromote), true));
        assert_eq!(world.in_memory, second());
    }
}

/// Somebody has started it outside Pacemaker after its machine was off, and no other node took over.
#[test]
fn a_primary_that_waits_for_nobody_who_could_come_serves_again_with_its_next_monitor() {
    let mut world = World::primary();
    world.standbys.clear();
    world.register = Ok(owned(1, 1, &[1]));
    world.name(&[NOBODY]);
    world
        .carry(&MONITOR)
        .expect(OcfCode::RunningPromoted, &[RENEW, SET, ALONE, RENEW]);
    assert!(world.names.is_empty());
    assert_eq!(world.in_memory, InMemory::of(&Waits::ForNobody));
}

/// R10: what lies inside a record is not recorded. After a crash the WAL ends before that record,
/// and a healthy node would look as if its data had been put back to an older state.
#[test]
fn only_whole_records_are_recorded() {
    let mut world = World::primary();
    let (whole, inside) = (Lsn::new(900), Lsn::new(1000));
    world.standbys[0].replayed = Some(whole);
    world.standbys[0].flushed = Some(inside);
    world.carry(&MONITOR);
    let recorded = world.row().positions.clone();
    assert_eq!(recorded.get(&node(2)), Some(&whole), "{recorded:?}");
    assert_eq!(recorded.get(&node(1)), Some(&world.end.lsn), "{recorded:?}");
}

#[test]
fn a_lost_standby_leaves_the_register_before_the_names() {
    let mut world = World::primary();
    world.standbys.clear();
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, SET, ALONE, RENEW]);
    assert_eq!(world.row().holders, nodes(&[1]));
    assert!(world.names.is_empty());
    let other = world.cluster().node(&node(2));
    assert_eq!(other.data_status, Some(DataStatus::Disconnect));
    assert_eq!(other.score, Some(Score::MayNot));
}

#[test]
fn a_standby_whose_node_has_left_the_partition_is_lost_although_it_still_streams() {
    let mut world = World::primary();
    world.cluster().nodes.get_mut(&node(2)).unwrap().online = false;
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, SET, ALONE, RENEW]);
}

#[test]
fn without_the_register_the_names_stay_and_commits_wait() {
    let unknown = || Reading::Unknown(Trouble::Unreachable("no route to host".to_owned()));
    let mut older = owned(1, 1, &[1, 2]);
    older.epoch = 3;
    for (register, part) in [
        (Err(unknown()), "no route to host"),
        (Err(Reading::Missing), "no row of this name"),
        (
            Err(Reading::Damaged("holders is NULL".to_owned().into())),
            "holders is NULL",
        ),
        (Ok(older), "restored from a backup"),
    ] {
        let mut world = World::primary();
        world.standbys.clear();
        world.register = register;
        let run = world.carry(&MONITOR);
        let unreachable = part == "no route to host";
        let asked = [RENEW, "ask-promises"];
        run.expect(
            OcfCode::RunningPromoted,
            if unreachable { &asked } else { &asked[..1] },
        );
        assert_eq!(world.names, ["node2"]);
        assert!(run.warnings[0].contains(part), "{:?}", run.warnings);
        assert_eq!(shown(&world, 1), Some(PgsqlStatus::Pri));
    }
}

/// `ALTER SYSTEM SET synchronous_standby_names = ''` and a reload, by an administrator.
#[test]
fn who_empties_the_names_while_the_register_cannot_be_read_finds_them_again() {
    let mut older = owned(1, 1, &[1, 2]);
    older.term = 0;
    for register in [
        Err(Reading::Unknown(Trouble::Unreachable(
            "no route to host".to_owned(),
        ))),
        Ok(older),
    ] {
        let mut world = World::primary();
        let file = world.in_memory.clone();
        world.register = register;
        world.name(&[""; 0]);
        // He has given their names up by the agent's file, too: nobody was promised anything by it.
        let mut given_up = world.clone();
        world.in_memory = file;
        let run = world.carry(&MONITOR);
        assert!(
            run.actions.iter().any(|name| name == NAME),
            "{:?}",
            run.actions
        );
        assert_eq!(world.names, ["node2"]);
        given_up.carry(&MONITOR);
        assert!(given_up.names.is_empty());
    }
}

/// With a register that can be read the holder goes there first, since commits have passed it by.
#[test]
fn who_empties_the_names_beside_a_register_takes_the_holder_out_first() {
    let mut world = World::primary();
    let file = world.in_memory.clone();
    world.name(&[""; 0]);
    world.in_memory = file;
    let run = world.carry(&MONITOR);
    assert_eq!(run.actions[..2], [RENEW, SET], "{:?}", run.rules);
}

#[test]
fn a_lost_reply_while_degrading_leaves_the_names_and_the_next_monitor_goes_on() {
    let mut world = World::primary();
    world.standbys.clear();
    world.replies_lost = 2; // of the renewal, which ends the first monitor, and of the change
    world
        .carry(&MONITOR)
        .expect(OcfCode::RunningPromoted, &[RENEW, "ask-promises"]);
    world.replies_lost = 0;
    let before = world.clone();
    world
        .carry(&MONITOR)
        .expect(OcfCode::RunningPromoted, &[RENEW, SET, ALONE, RENEW]);

    // The change took effect and its reply was lost: the epoch moves once more before the name goes.
    let mut world = before;
    let mut row = world.row().clone();
    row.holders = nodes(&[1]);
    row.epoch += 1;
    world.register = Ok(row);
    world
        .carry(&MONITOR)
        .expect(OcfCode::RunningPromoted, &[RENEW, SET, ALONE, RENEW]);
}

#[test]
fn an_addition_that_is_still_on_its_way_can_not_outlive_the_name() {
    // node2 is named and no holder; an earlier monitor may have asked for it in vain.
    let mut world = World::primary();
    world.register = Ok(owned(1, 1, &[1]));
    let delayed = pha_core::register::Update::set_holders(
        world.row(),
        node(1),
        nodes(&[1, 2]),
        world.settings.ttl,
    );
    world.standbys.clear();
    world
        .carry(&MONITOR)
        .expect(OcfCode::RunningPromoted, &[RENEW, SET, ALONE, RENEW]);
    assert_eq!(delayed.apply(world.row()), None, "it finds its epoch gone");
}

#[test]
fn a_standby_is_named_then_flushes_past_the_barrier_then_is_a_holder() {
    let mut world = World::primary();
    world.register = Ok(owned(1, 1, &[1]));
    world.name(&[""; 0]);
    let ready = world.clone();
    let run = world.carry(&MONITOR);
    run.expect(
        OcfCode::RunningPromoted,
        &[RENEW, NAME, RENEW, "take-barrier", RENEW, SET],
    );
    assert_eq!(world.row().holders, nodes(&[1, 2]));

    // A standby that has not flushed so far is not added, and is waited for only for a moment.
    let mut world = ready;
    world.standbys = vec![link(2, 999)];
    let run = world.carry(&MONITOR);
    assert_eq!(run.code, Some(OcfCode::RunningPromoted));
    assert!(!run.actions.contains(&SET.to_owned()), "{:?}", run.actions);
    assert_eq!(world.row().holders, nodes(&[1]));
    assert_eq!(world.names, ["node2"]);
    // The barrier is kept, and the next monitor adds it.
    world.standbys_advance = 1;
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, SET]);
}

/// R4: somebody has emptied the setting, at the same epoch, and commits have passed that the standby need not have.
#[test]
fn a_barrier_of_a_naming_that_has_ended_since_counts_for_nothing() {
    let mut world = World::primary();
    world.register = Ok(owned(1, 1, &[1]));
    world.name(&[""; 0]);
    let barrier = barrier_of(world.row());
    world.kept = Some(KeptLinks {
        barrier: Some(barrier),
        ..world.kept.clone().unwrap_or_default()
    });
    let run = world.carry(&MONITOR);
    let at = |wanted: &str| run.actions.iter().position(|action| action == wanted);
    let (named, taken, added) = (at(NAME), at("take-barrier"), at(SET));
    assert!(
        named.is_some() && named < taken && taken < added,
        "{:?}",
        run.actions
    );
}

/// After a takeover the primary is the only holder until then, and the next monitor comes seconds later.
#[test]
fn a_standby_that_is_named_is_waited_for_longer_than_one_that_may_come() {
    let mut world = World::primary();
    world.register = Ok(owned(1, 1, &[1]));
    world.name(&[""; 0]);
    world.standbys = vec![link(2, 990)];
    world.standbys_advance = 1; // at each look, which is every half second
    let run = world.carry(&MONITOR);
    assert_eq!(run.code, Some(OcfCode::RunningPromoted));
    assert_eq!(world.row().holders, nodes(&[1, 2]), "{:?}", run.rules);
}

#[test]
fn a_standby_that_only_catches_up_is_not_named() {
    let mut world = World::primary();
    world.register = Ok(owned(1, 1, &[1]));
    world.name(&[""; 0]);
    world.standbys[0].state = Some(WalSenderState::Catchup);
    world.standbys[0].sync = Some(SyncState::Async);
    let run = world.carry(&MONITOR);
    assert!(
        !run.actions.iter().any(|a| a.starts_with("set-names")),
        "{:?}",
        run.actions
    );
    assert_eq!(shown(&world, 2), Some(PgsqlStatus::HsConnected));
}

/// It has diverged: named, it would let commits pass up to the end of its own WAL (R4), and the register
/// would record for the primary what the primary has not got (R10).
#[test]
fn a_standby_that_reports_more_than_the_primary_has_counts_for_nothing() {
    for (flushed, replayed) in [(1001, 1000), (1000, 1001)] {
        let mut world = World::primary();
        world.standbys[0] = LinkRow {
            replayed: Some(Lsn::new(replayed)),
            ..link(2, flushed)
        };
        let run = world.carry(&MONITOR);
        run.expect(OcfCode::RunningPromoted, &[RENEW, SET, ALONE, RENEW]);
        assert_eq!(world.row().holders, nodes(&[1]), "it is lost");
        assert_eq!(world.row().positions, [(node(1), Lsn::new(1000))].into());
        // Nor is it named.
        let run = world.carry(&MONITOR);
        run.expect(OcfCode::RunningPromoted, &[RENEW]);
    }
}

/// The primary has written as much since, but it has sent only what lies before the fork.
#[test]
fn a_standby_that_has_more_than_it_was_sent_counts_for_nothing() {
    let mut world = World::primary();
    world.standbys[0].sent = Some(Lsn::new(900));
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, SET, ALONE, RENEW]);
    assert_eq!(world.row().holders, nodes(&[1]));
    // What is sent again at the beginning is no sign of it.
    world.standbys[0].state = Some(WalSenderState::Catchup);
    world.carry(&MONITOR);
    assert_eq!(shown(&world, 2), Some(PgsqlStatus::HsConnected));
}

/// It could still follow an older primary, and come back with the WAL of that one.
#[test]
fn a_standby_without_wal_of_this_timeline_is_not_named() {
    let mut world = World::primary();
    world.register = Ok(owned(1, 1, &[1]));
    world.name(&[""; 0]);
    if let Answer::Primary(view) = &mut world.answer {
        view.history.entries.push(HistoryEntry {
            parent: TimelineId::FIRST,
            end: Lsn::new(1000),
        });
    }
    let run = world.carry(&MONITOR);
    assert!(!run.actions.contains(&NAME.to_owned()), "{:?}", run.actions);
}

#[test]
fn a_standby_that_has_not_reported_yet_is_not_named() {
    let mut world = World::primary();
    world.register = Ok(owned(1, 1, &[1]));
    world.name(&[""; 0]);
    world.standbys[0].flushed = None;
    let run = world.carry(&MONITOR);
    assert!(!run.actions.contains(&NAME.to_owned()), "{:?}", run.actions);
    world.standbys = World::primary().standbys;
    let run = world.carry(&MONITOR);
    assert!(run.actions.contains(&NAME.to_owned()), "{:?}", run.actions);
}

#[test]
fn a_standby_that_can_take_over_is_named_before_one_that_cannot() {
    type Hinder = fn(&mut ClusterNode);
    let hindered: [Hinder; 3] = [
        |node| node.barred = Some("never-here".to_owned()),
        |node| node.unfit = "replay is paused".parse().ok(),
        |node| node.score = Some(Score::LastResort),
    ];
    for hinder in hindered {
        let named = |links: Vec<LinkRow>| {
            let mut world = World::primary();
            world.register = Ok(owned(1, 1, &[1]));
            world.name(&[""; 0]);
            world.settings.nodes.push(node(3));
            let third = world.cluster().node(&node(2));
            world.cluster().nodes.insert(node(3), third);
            hinder(world.cluster().nodes.get_mut(&node(2)).unwrap());
            world.standbys = links;
            let actions = world.carry(&MONITOR).actions;
            let mut names = actions
                .into_iter()
                .filter(|action| action.starts_with("set-names"));
            names.next()
        };
        let both = named(vec![link(2, 1000), link(3, 1000)]);
        assert_eq!(both.as_deref(), Some("set-names [node3]"));
        // Where nobody else streams, what is committed is on two disks all the same.
        assert_eq!(named(vec![link(2, 1000)]).as_deref(), Some(NAME));
    }
}

#[test]
fn a_standby_that_is_about_to_stop_is_let_go_before() {
    let mut world = World::primary();
    let run = world.carry(&notification(When::Pre, ocf::Operation::Stop, 2));
    run.expect(OcfCode::Success, &[RENEW, SET, ALONE, RENEW]);
    // It is not taken back in the same breath, also where the settings cannot be written.
    let mut world = World::primary();
    world.broken.insert(ActionKind::SetNames.into());
    let run = world.carry(&notification(When::Pre, ocf::Operation::Stop, 2));
    run.expect(OcfCode::Success, &[RENEW, SET, "set-names []!", RENEW]);
    assert_eq!(world.row().holders, nodes(&[1]));
}

#[test]
fn a_superseded_primary_is_stopped_at_once_and_its_names_stay() {
    for (answer, process) in [
        (None, Process::Alive { frozen: false }),
        (
            Some(Answer::Busy("too many clients".to_owned())),
            Process::Alive { frozen: false },
        ),
        (Some(Answer::NoAnswer), Process::Alive { frozen: true }),
    ] {
        let mut world = World::primary();
        world.standbys.clear();
        world.register = Ok(owned(2, 2, &[2]));
        let frozen = process == Process::Alive { frozen: true };
        world.process = process;
        if let Some(answer) = answer {
            world.answer = answer;
        }
        let run = world.carry(&MONITOR);
        let stop = if frozen {
            "stop-postgres Kill"
        } else {
            "stop-postgres Immediate"
        };
        run.expect(OcfCode::NotRunning, &[RENEW, stop]);
        assert!(
            run.reason.contains("another node became the owner"),
            "{}",
            run.reason
        );
        assert_eq!(world.names, ["node2"]);
        let score = world.cluster().node(&node(1)).score;
        assert_eq!(score, Some(Score::MayNot), "its gate is closed");
    }
}

#[test]
fn a_busy_primary_is_not_stopped_because_the_register_is_damaged() {
    for register in [
        Ok(Register::fresh()),
        Ok(owned(2, 1, &[2])),
        Err(Reading::Missing),
        Err(Reading::Unknown(Trouble::Answered("password".to_owned()))),
    ] {
        let mut world = World::primary();
        world.memory.term = 2;
        world.memory.reign = reign(2, 1);
        world.answer = Answer::Busy("too many clients".to_owned());
        world.register = register;
        world
            .carry(&MONITOR)
            .expect(OcfCode::RunningPromoted, &["renew by node1"]);
    }
}

#[test]
fn an_interrupted_promotion_is_adopted_and_where_it_cannot_be_kept_nothing_is_stopped() {
    let mut world = World::primary();
    world.memory.reign = None;
    world.register = Ok(owned(1, 2, &[1, 2]));
    let interrupted = world.clone();
    world.carry(&MONITOR).expect(
        OcfCode::RunningPromoted,
        &["read-register", "remember", RENEW],
    );
    assert_eq!(world.memory.reign, reign(2, 1));

    let mut world = interrupted;
    world.broken.insert(ActionKind::Remember.into());
    let run = world.carry(&MONITOR);
    run.expect(
        OcfCode::RunningPromoted,
        &["read-register", "remember!", "read-register"],
    );
    assert_eq!(world.names, ["node2"]);
}

#[test]
fn a_primary_of_an_older_agent_claims_a_fresh_register() {
    let mut world = World::primary();
    world.register = Ok(Register::fresh());
    world.memory = pha_core::register::Memory::default();
    let run = world.carry(&MONITOR);
    assert_eq!(run.code, Some(OcfCode::RunningPromoted));
    assert_eq!(world.row().owner, Some(node(1)));
    assert_eq!(world.memory.reign, reign(1, 1));
    assert_eq!(
        world.row().holders,
        nodes(&[1, 2]),
        "and then adds its standby: {:?}",
        run.actions
    );
}

#[test]
fn asynchronous_mode_waits_for_nobody() {
    let mut world = World::primary();
    world.settings.mode = Mode::Async;
    let run = world.carry(&MONITOR);
    run.expect(OcfCode::RunningPromoted, &[RENEW, SET, ALONE, RENEW]);
    assert_eq!(world.row().holders, nodes(&[1]));
}

#[test]
fn pgsql_repl_info_that_came_from_the_wrong_side_is_written_again() {
    let mut world = World::primary();
    world.cluster().repl_info = Some(Ok("node2|1|0000000000000300".parse().unwrap()));
    let run = world.carry(&MONITOR);
    run.expect(
        OcfCode::RunningPromoted,
        &[RENEW, "write-repl-info node1|0|0000000000000000"],
    );
}

/// What the register says could be older than what this node has acted upon.
#[test]
fn without_its_memory_a_primary_asks_nothing_of_the_register_and_goes_on() {
    for register in [owned(1, 1, &[1, 2]), owned(2, 9, &[2])] {
        let mut world = World::primary();
        world.memory_lost = Some("the memory cannot be read".to_owned());
        world.register = Ok(register.clone());
        world.standbys.clear();
        let run = world.carry(&MONITOR);
        run.expect(OcfCode::RunningPromoted, &[]);
        assert!(
            run.warnings[0].contains("the memory cannot be read"),
            "{:?}",
            run.warnings
        );
        assert_eq!(world.names, ["node2"]);
        assert_eq!(world.row(), &register);
    }
}

/// A term that nobody can have been promoted to is damage, and is not kept for good: the row that an
/// operator mends afterwards is lower, and no memory goes back.
#[test]
fn a_term_far_ahead_in_this_nodes_own_name_is_not_adopted() {
    let mut world = World::primary();
    let before = world.memory;
    let row = world.register.as_mut().unwrap();
    (row.term, row.epoch) = (row.term + 2_000_000, row.epoch + 2_000_000);
    let run = world.carry(&MONITOR);
    assert!(!run.rules.contains(&"primary-adopt"), "{:?}", run.rules);
    assert_eq!(world.memory, before);
}

/// The command that copied the data lost its power, or its way to this node.
#[test]
fn the_slot_of_a_copy_that_is_over_is_dropped() {
    let slots = |world: &World| match &world.answer {
        Answer::Primary(PrimaryView { slots, .. }) | Answer::Standby(StandbyView { slots, .. }) => {
            slots
                .iter()
                .map(|slot| slot.name.clone())
                .collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let left = ["mine", "pha4pgsql_copy_node2", "pha4pgsql_copy_node3"].map(Slot::idle);
    let mut world = World::primary();
    if let Answer::Primary(view) = &mut world.answer {
        view.slots = left.to_vec();
    }
    let run = world.carry(&MONITOR);
    assert_eq!(run.code, Some(OcfCode::RunningPromoted));
    // node2 streams; the copy to node3 may be under way.
    assert_eq!(slots(&world), ["mine", "pha4pgsql_copy_node3"]);

    // Nobody copies a standby.
    let mut world = World::standby();
    if let Answer::Standby(view) = &mut world.answer {
        view.slots = left.to_vec();
    }
    let run = world.carry(&MONITOR);
    assert_eq!(run.code, Some(OcfCode::Success));
    assert_eq!(slots(&world), ["mine"]);
}

/// Pacemaker would begin anew with each attribute that changes, and never come to the stop.
#[test]
fn a_standby_that_was_taken_out_of_service_is_not_named_again() {
    let mut world = World::primary();
    world.cluster().nodes.get_mut(&node(2)).unwrap().standby = true;
    world.carry(&MONITOR);
    assert_eq!(world.names, ["node2"], "it is still waited for");
    let about = notification(When::Pre, ocf::Operation::Stop, 2);
    let run = world.carry(&about);
    assert_eq!((run.code, world.names.len()), (Some(OcfCode::Success), 0));
    world.carry(&MONITOR);
    assert!(world.names.is_empty(), "{:?}", world.names);
    // Where Pacemaker stops nothing, it stays.
    world.cluster().managed = false;
    world.carry(&MONITOR);
    assert_eq!(world.names, ["node2"]);
}

/// It had none as a standby without a primary.
#[test]
fn a_primary_is_shown_to_need_no_receiver() {
    let mut world = World::primary();
    world.settings.check_wal_receiver = true;
    let me = world.cluster().nodes.get_mut(&node(1)).unwrap();
    me.receiver = Some("ERROR".to_owned());
    world.carry(&MONITOR);
    let shown = world.cluster().node(&node(1)).receiver;
    assert_eq!(shown.as_deref(), Some("normal (master)"));
}

/// Its standby shows -INFINITY: the primary does not open that gate, and the two do not write in turn.
#[test]
fn a_primary_opens_no_gate_by_a_register_that_was_put_back() {
    let mut world = World::primary();
    world.memory.epoch += 5;
    world.cluster().nodes.entry(node(2)).or_default().score = Some(Score::MayNot);
    let _ = world.carry(&MONITOR);
    assert_eq!(world.cluster().node(&node(2)).score, Some(Score::MayNot));
}

/// R4, R6: the register has moved since the standbys were looked at. One may have become a holder, and have left to
/// have its data replaced.
#[test]
fn an_owner_that_was_refused_looks_again_before_it_adds_a_holder() {
    let mut world = World::primary();
    world.register = Ok(owned(1, 1, &[1]));
    let mut s = world.look(&MONITOR);
    s.register = Some(Reading::Row(world.row().clone()));
    let decided = |s: &Snapshot| decide_without(s, &["change-lock-take", "primary-tell"]);
    let barrier = || Ok(Effect::Barrier(Lsn::new(900)));
    let adds = |plan: &Plan| {
        let change =
            |action: &&Action| matches!(action, Action::UpdateRegister(Update::SetHolders { .. }));
        plan.actions.iter().find(change).cloned()
    };
    let take = decided(&s).actions.remove(0);
    assert_eq!(take.kind(), ActionKind::TakeBarrier);
    let s = s.fold(&take, barrier());
    let add = adds(&decided(&s)).expect("an addition");
    let later = Register {
        epoch: world.row().epoch + 1,
        ..world.row().clone()
    };
    let refused = s.fold(&add, Ok(Effect::Reply(Reply::NotApplied(later))));
    let plan = decided(&refused);
    assert_eq!((plan.rule, adds(&plan)), ("primary-take-barrier", None));
    assert_eq!(plan.verdict, Verdict::Reobserve);
    // A barrier of the present epoch counts.
    assert!(adds(&decided(&refused.fold(&take, barrier()))).is_some());
}

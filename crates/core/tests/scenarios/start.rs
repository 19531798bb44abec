//! `start` in every mode, and what it refuses.

use pha_core::begun::Begun;
use pha_core::lsn::Lsn;
use pha_core::ocf::OcfCode;
use pha_core::plan::ActionKind;
use pha_core::register::{Memory, Reading, Trouble};
use pha_core::server_program::ServerProgram;
use pha_core::snapshot::{Answer, Arbiter, EndUnknown, Mode, Operation, Process, Unfinished};
use pha_core::status::{PgsqlStatus, Score};
use pha_core::timeline::{History, HistoryEntry};

use crate::world::{World, at, expired, node, nodes, owned, shown, timeline};

const LOOK: [&str; 2] = ["read-disk", "read-register"];

fn started(extra: &[&'static str]) -> Vec<&'static str> {
    let start = ["write-standby-settings", "start-postgres"];
    [&LOOK[..], &start[..], extra].concat()
}

/// node2 is the primary and left timeline 1 at `fork`.
fn after_a_switch(fork: u64) -> World {
    let mut world = World::new();
    world.register = Ok(owned(2, 2, &[2]));
    world.cluster().repl_info = Some(Ok(format!("node2|1|{fork:016X}").parse().unwrap()));
    world.without_names();
    world
}

#[test]
fn a_first_start_reports_the_end_of_wal_and_shows_the_winner_its_open_gate() {
    let mut world = World::new();
    let other = world.cluster().nodes.get_mut(&node(2)).unwrap();
    other.position = Some(at(1, 500));
    let run = world.carry(&Operation::Start);
    run.expect(OcfCode::Success, &started(&["read-register"]));
    let me = world.cluster().node(&node(1));
    assert_eq!(me.position, Some(at(1, 1000)));
    assert_eq!(me.score, Some(Score::Primary));
    assert_eq!(me.status, Some(PgsqlStatus::HsAlone));
}

#[test]
fn an_old_primary_with_wal_past_the_fork_is_refused_before_it_starts() {
    let mut world = after_a_switch(999);
    let run = world.carry(&Operation::Start);
    run.expect(OcfCode::Installed, &LOOK);
    assert!(
        run.reason.contains("cls_repair_slave on node1"),
        "{}",
        run.reason
    );
    assert_eq!(world.process, Process::Absent);

    // Exactly at the fork, or before it, it follows.
    let run = after_a_switch(1000).carry(&Operation::Start);
    run.expect(OcfCode::Success, &started(&["read-register"]));

    // On a later timeline the history decides and not the number.
    let mut other_history = after_a_switch(999);
    other_history.end = at(2, 5000);
    other_history.history = History {
        own: timeline(2),
        entries: vec![HistoryEntry {
            parent: timeline(1),
            end: pha_core::lsn::Lsn::new(998),
        }],
    };
    let run = other_history.carry(&Operation::Start);
    run.expect(OcfCode::Installed, &LOOK);
}

#[test]
fn an_old_primary_of_two_switches_ago_is_refused_once_it_has_the_history() {
    let mut world = World::new();
    world.register = Ok(owned(2, 2, &[2]));
    world.cluster().repl_info = Some(Ok("node2|2|0000000000001000".parse().unwrap()));
    world.without_names();
    world.left_at(1000);
    let run = world.clone().carry(&Operation::Start);
    run.expect(OcfCode::Success, &started(&["read-register"]));

    world.left_at(999);
    let run = world.carry(&Operation::Start);
    run.expect(OcfCode::Installed, &LOOK);
    let told = "cls_repair_slave on node1: it has WAL up to 0/3E8 on timeline 1, and node2 left timeline 1 at 0/3E7";
    assert!(run.reason.contains(told), "{}", run.reason);
}

#[test]
fn pgsql_repl_info_of_the_wrong_side_does_not_refuse_the_owner() {
    // A partition healed, and the CIB of the other side won; the register names this node.
    let mut world = after_a_switch(999);
    world.register = Ok(expired(1, 3, &[1]));
    world.without_names();
    let run = world.carry(&Operation::Start);
    run.expect(OcfCode::Success, &started(&["read-register"]));
}

#[test]
fn what_cannot_be_told_is_not_guessed() {
    let mut malformed = World::new();
    malformed.cluster().repl_info = Some(Err("\"node2\" is no pgsql_REPL_INFO".to_owned()));
    let run = malformed.carry(&Operation::Start);
    run.expect(OcfCode::Installed, &LOOK);
    assert!(
        run.reason.contains("\"node2\" is no pgsql_REPL_INFO"),
        "{}",
        run.reason
    );

    let mut unreadable = after_a_switch(5000);
    unreadable.disk_error = Some(EndUnknown::Other("pg_waldump: invalid record".to_owned()));
    let run = unreadable.carry(&Operation::Start);
    run.expect(OcfCode::Installed, &LOOK);
    assert!(run.reason.contains("cls_rebuild_slave"), "{}", run.reason);

    // Where the program is missing that reads the WAL, a copy would not be started either.
    unreadable.disk_error = Some(EndUnknown::NoProgram(ServerProgram::WalDump));
    let run = unreadable.carry(&Operation::Start);
    run.expect(OcfCode::Installed, &LOOK);
    let reason = &run.reason;
    assert!(reason.starts_with("install pg_waldump: "), "{reason}");
    assert!(!reason.contains("cls_rebuild_slave"), "{reason}");

    // Without a switch to compare with, the end of WAL does not matter.
    let mut fresh = World::new();
    fresh.disk_error = Some(EndUnknown::Other("pg_waldump: invalid record".to_owned()));
    fresh
        .carry(&Operation::Start)
        .expect(OcfCode::Success, &started(&["read-register"]));

    let mut gone = World::new();
    gone.broken.insert(ActionKind::ReadDisk.into());
    gone.carry(&Operation::Start)
        .expect(OcfCode::Installed, &["read-disk!"]);

    let mut silent = World::new();
    silent.cluster = Err("cibadmin timed out".to_owned());
    let run = silent.carry(&Operation::Start);
    run.expect(OcfCode::Generic, &[]);
    assert!(
        run.overdue && run.reason.contains("cibadmin timed out"),
        "{}",
        run.reason
    );
}

/// A stopped holder beside the owner node2, with so much WAL recorded of it.
fn recorded(position: u64) -> World {
    let mut world = World::new();
    let mut row = owned(2, 2, &[1, 2]);
    row.positions = [(node(1), Lsn::new(position))].into();
    world.register = Ok(row);
    world
}

const LEFT: [&str; 4] = [
    "read-disk",
    "read-register",
    "leave by node1",
    "read-register",
];

#[test]
fn a_holder_whose_data_were_put_back_leaves_before_it_receives_anything() {
    let mut world = recorded(1001);
    let run = world.carry(&Operation::Start);
    let start = ["write-standby-settings", "start-postgres", "read-register"];
    run.expect(OcfCode::Success, &[&LEFT[..], &start[..]].concat());
    assert_eq!(world.row().holders, nodes(&[2]));

    // It is asked again where the reply was lost.
    let mut lost = recorded(1001);
    lost.lost = Some("leave");
    let run = lost.carry(&Operation::Start);
    run.expect(OcfCode::Success, &[&LEFT[..], &start[..]].concat());

    // It does not start as long as it may still be a holder.
    let mut refused = recorded(1001);
    refused.broken.insert(ActionKind::UpdateRegister.into());
    let run = refused.carry(&Operation::Start);
    assert!(run.overdue, "{}", run.reason);
    assert_eq!(refused.process, Process::Absent);
}

#[test]
fn one_that_has_all_that_is_recorded_starts_as_a_holder() {
    let mut world = recorded(1000);
    let run = world.carry(&Operation::Start);
    run.expect(OcfCode::Success, &started(&["read-register"]));
    assert_eq!(world.row().holders, nodes(&[1, 2]));

    // PostgreSQL names the begin of the next record, behind the header of its page; the disk ends before it.
    let mut world = recorded(0x0400_2018);
    world.end.lsn = Lsn::new(0x0400_2000);
    let run = world.carry(&Operation::Start);
    run.expect(OcfCode::Success, &started(&["read-register"]));
    assert_eq!(world.row().holders, nodes(&[1, 2]));

    // A register that was itself put back is not believed.
    let mut world = recorded(1001);
    world.memory.term = 3;
    let run = world.carry(&Operation::Start);
    run.expect(OcfCode::Success, &started(&["read-register"]));
}

/// It cannot leave. Started, it could receive from a primary that it has replaced and that does not
/// know it yet, until its WAL came as far as what is recorded.
#[test]
fn the_owner_whose_data_were_put_back_does_not_start() {
    for holders in [&[1][..], &[1, 2][..]] {
        let mut world = recorded(1001);
        let mut row = expired(1, 2, holders);
        row.positions = [(node(1), Lsn::new(1001))].into();
        world.register = Ok(row);
        let run = world.carry(&Operation::Start);
        run.expect(OcfCode::Installed, &LOOK);
        for told in [
            "cls_rebuild_slave on node1 once",
            "0/3E8",
            "0/3E9",
            "cls_recovery_master",
        ] {
            assert!(run.reason.contains(told), "{}", run.reason);
        }
    }
}

/// A disk that hangs says neither that the data were opened nor that they were not.
#[test]
fn data_of_which_nobody_can_see_whether_they_are_a_standbys_are_not_started() {
    let mut world = World::new();
    world.signal_unseen = true;
    let run = world.clone().carry(&Operation::Start);
    assert_ne!(run.code, Some(OcfCode::Success));
    assert!(run.reason.contains("standby.signal"), "{}", run.reason);
    let began = |action: &&String| action.starts_with("start-postgres");
    assert_eq!(run.actions.iter().find(began), None, "{:?}", run.actions);
    world.signal_unseen = false;
    let run = world.carry(&Operation::Start);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
}

#[test]
fn a_lock_service_that_does_not_answer_does_not_keep_a_standby_down() {
    let mut world = World::new();
    let trouble = Trouble::Unreachable("connection refused".to_owned());
    world.register = Err(Reading::Unknown(trouble));
    let run = world.carry(&Operation::Start);
    run.expect(OcfCode::Success, &started(&["read-register"]));
    assert_eq!(
        world.cluster().node(&node(1)).score,
        None,
        "the gate stays as it was"
    );
}

#[test]
fn standalone_and_slave_start_what_is_there() {
    let mut world = World::new();
    (world.settings.mode, world.settings.arbiter) = (Mode::Standalone, Arbiter::Off);
    world.standby_signal = false;
    world
        .carry(&Operation::Start)
        .expect(OcfCode::Success, &["start-postgres"]);
    // Started again: nothing to do.
    world.carry(&Operation::Start).expect(OcfCode::Success, &[]);

    world.standby_signal = true;
    world.carry(&Operation::Stop);
    let run = world.carry(&Operation::Start);
    assert_eq!(run.code, Some(OcfCode::Generic));
    assert!(
        run.reason.contains("remove standby.signal"),
        "{}",
        run.reason
    );

    let mut world = World::new();
    (world.settings.mode, world.settings.arbiter) = (Mode::Slave, Arbiter::Off);
    world.carry(&Operation::Start).expect(
        OcfCode::Success,
        &["write-standby-settings", "start-postgres"],
    );
    assert_eq!(shown(&world, 1), None, "nothing of a cluster is shown");
}

#[test]
fn a_start_that_fails_says_what_postgresql_said_and_orphans_are_ended_first() {
    let mut world = World::new();
    world.broken.insert(ActionKind::StartPostgres.into());
    let run = world.carry(&Operation::Start);
    run.expect(
        OcfCode::Generic,
        &[
            "read-disk",
            "read-register",
            "write-standby-settings",
            "start-postgres!",
        ],
    );

    let mut world = World::new();
    world.process = Process::Orphans;
    let run = world.carry(&Operation::Start);
    let mut wanted = vec!["stop-postgres Kill"];
    wanted.extend(started(&["read-register"]));
    run.expect(OcfCode::Success, &wanted);

    let mut world = World::new();
    world.process = Process::Orphans;
    world.immortal = true;
    let run = world.carry(&Operation::Start);
    run.expect(OcfCode::Generic, &["stop-postgres Kill"]);
}

#[test]
fn a_primary_that_somebody_else_started_is_left_alone_and_reported() {
    let mut world = World::primary();
    let run = world.carry(&Operation::Start);
    run.expect(OcfCode::Generic, &[]);
    assert!(matches!(world.answer, Answer::Primary(_)));
}

/// A promise that was lost with the memory is kept all the same (R7).
#[test]
fn a_holder_without_a_memory_leaves_and_is_bound_until_it_is_added_again() {
    let mut world = World::new();
    world.memory = Memory::none();
    world.register = Ok(owned(2, 1, &[1, 2]));
    let run = world.carry(&Operation::Start);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
    assert!(run.rules.contains(&"start-forgotten-leave"));
    assert_eq!(world.row().holders, nodes(&[2]));
    assert!(world.memory.has_promised(10) && !world.memory.forgotten);

    // The reply of the leave is lost: it is seen to be gone before PostgreSQL starts.
    let mut world = World::new();
    world.memory = Memory::none();
    world.register = Ok(owned(2, 1, &[1, 2]));
    world.replies_lost = 1;
    let run = world.carry(&Operation::Start);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
    assert_eq!(world.row().holders, nodes(&[2]));

    // One that is really new is no holder, and starts as ever.
    let mut world = World::new();
    world.memory = Memory::none();
    world.register = Ok(owned(2, 1, &[2]));
    let run = world.carry(&Operation::Start);
    assert!(!run.rules.contains(&"start-forgotten-leave"));
    assert!(!world.memory.has_promised(10));
}

/// Whatever else is so, also where nothing can be read of the data (R6).
#[test]
fn the_rest_of_a_copy_is_never_started() {
    let marked = Unfinished::Marked {
        method: Begun::Rewind,
        pgdata: "/data".to_owned(),
    };
    for (unfinished, says) in [
        (
            marked,
            "a pg_rewind into /data has not ended; wait for it, or run cls_rebuild_slave --keep-old",
        ),
        (
            Unfinished::Beside("/data.unfinished".to_owned()),
            "what the mark /data.unfinished says",
        ),
        (
            Unfinished::Unknown("it is a directory".to_owned()),
            "it is a directory",
        ),
    ] {
        let mut world = World::new();
        world.unfinished = Some(unfinished);
        world.cluster = Err("no answer".to_owned());
        let run = world.carry(&Operation::Start);
        run.expect(OcfCode::Installed, &[]);
        assert!(run.reason.contains(says), "{}", run.reason);
    }
}

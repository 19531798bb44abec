//! Timelines by name (R13).

use pha_core::lineage::{Held, Lineage, Opening, Record, Seen, TimelineName, Timelines, unproven};
use pha_core::lsn::Lsn;
use pha_core::ocf::OcfCode;
use pha_core::plan::ActionKind;
use pha_core::register::{Reading, Register, Trouble, Update};
use pha_core::snapshot::{Operation, Process, StandbySignal};
use pha_core::timeline::{History, HistoryEntry};

use crate::world::{
    SYSTEM, World, at, expired, first_lineage, node, nodes, owned, record, timeline,
};

const MONITOR: Operation = Operation::Monitor { probe: false };

/// Timeline 1, then one of this number that `term` began at 1000.
fn switched(term: u64, number: u32) -> Lineage {
    first_lineage().and(TimelineName {
        term,
        number: timeline(number),
        fork: Lsn::new(1000),
    })
}

fn named(row: Register, lineage: &Lineage) -> Register {
    Register {
        timelines: Timelines::default().named(row.term, lineage),
        ..row
    }
}

fn history(own: u32) -> History {
    History {
        own: timeline(own),
        entries: vec![HistoryEntry {
            parent: timeline(1),
            end: Lsn::new(1000),
        }],
    }
}

fn kept(lineage: Lineage, held: Held) -> Option<Record> {
    Some(Record {
        system: SYSTEM,
        lineage,
        held,
    })
}

/// node1 has WAL of a timeline 2 that it began at term 2; node2 has taken the same number at term 3.
fn passed_over() -> World {
    let mut world = World::new();
    world.standby_signal = false;
    world.end = at(2, 5000);
    world.history = history(2);
    world.record = kept(first_lineage(), Held::Opened(Opening::at(2)));
    world.register = Ok(named(owned(2, 3, &[2]), &switched(3, 2)));
    world.cluster().repl_info = Some(Ok("node2|1|00000000000003E8".parse().unwrap()));
    world
}

#[test]
fn equal_numbers_of_different_terms_are_different_timelines() {
    let mut world = passed_over();
    let run = world.clone().carry(&Operation::Start);
    run.expect(OcfCode::Installed, &["read-disk", "read-register"]);
    assert!(
        run.reason
            .starts_with("run cls_repair_slave --or-rebuild on node1"),
        "{}",
        run.reason
    );
    // Without names nobody could tell.
    world.without_names();
    let run = world.carry(&Operation::Start);
    assert_eq!(run.code, Some(OcfCode::Success));
}

#[test]
fn with_another_number_pg_rewind_sees_it_too() {
    let mut world = passed_over();
    world.register = Ok(named(owned(2, 3, &[2]), &switched(3, 3)));
    let run = world.carry(&Operation::Start);
    assert_eq!(run.code, Some(OcfCode::Installed));
    assert!(
        run.reason.starts_with("run cls_repair_slave on node1"),
        "{}",
        run.reason
    );
}

#[test]
fn a_demote_does_not_start_them_either() {
    let mut world = passed_over();
    world.start();
    let run = world.carry(&Operation::Demote { then_stop: false });
    assert_eq!(run.code, Some(OcfCode::Generic));
    assert!(run.reason.contains("--or-rebuild"), "{}", run.reason);
    assert_eq!(world.process, Process::Absent);
}

#[test]
fn an_interrupted_owner_goes_on_with_its_own_timeline() {
    let mut world = passed_over();
    world.register = Ok(named(expired(1, 2, &[1]), &first_lineage()));
    if let Ok(row) = &mut world.register {
        row.timelines.term = 1; // it had no time to name it
    }
    let run = world.carry(&Operation::Start);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
    assert_eq!(world.record, kept(switched(2, 2), Held::Following));
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
    let lineage = &world.row().timelines.lineage;
    assert_eq!(lineage.up_to(timeline(2)), Some(switched(2, 2)));
    assert_eq!(world.row().timelines.term, 3);
}

#[test]
fn a_standby_that_is_promoted_before_it_kept_where_it_is_names_all_timelines() {
    let mut world = World::new();
    // It has gone on to timeline 2 with node2, and none of its monitors has come since.
    world.end = at(2, 5000);
    world.history = history(2);
    world.record = record(Held::Following);
    world.register = Ok(named(expired(2, 2, &[1, 2]), &switched(2, 2)));
    world.start();
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
    let row = world.row().clone();
    assert_eq!(row.timelines.term, 3);
    assert_eq!(
        row.timelines.lineage.up_to(timeline(2)),
        Some(switched(2, 2)),
        "{:?}",
        row.timelines
    );
}

#[test]
fn a_standby_that_was_opened_by_hand_is_not_started() {
    let mut world = passed_over();
    world.record = record(Held::Following);
    world.register = Ok(named(owned(2, 1, &[2]), &first_lineage()));
    world.cluster().repl_info = Some(Ok("node2|0|0000000000000000".parse().unwrap()));
    let run = world.clone().carry(&Operation::Start);
    assert_eq!(run.code, Some(OcfCode::Installed));
    assert!(
        run.reason.starts_with("run cls_repair_slave on node1"),
        "{}",
        run.reason
    );
    // Its standby.signal alone is gone: whether it was opened on the same timeline cannot be told.
    world.end = at(1, 900);
    world.history = History::without_ancestors(timeline(1));
    let run = world.carry(&Operation::Start);
    assert_eq!(run.code, Some(OcfCode::Installed));
    assert!(
        run.reason.starts_with("run cls_rebuild_slave"),
        "{}",
        run.reason
    );
}

/// Nobody is left from whom it could be repaired.
#[test]
fn a_standby_that_was_opened_by_hand_is_started_once_an_operator_has_chosen_it() {
    let mut world = passed_over();
    world.cluster().repl_info = None;
    world.record = kept(first_lineage(), Held::Following);
    world.register = Ok(named(expired(2, 1, &[1, 2]), &first_lineage()));
    let refused = |world: &World| {
        let run = world.clone().carry(&Operation::Start);
        assert_eq!(run.code, Some(OcfCode::Installed));
        assert!(run.reason.contains("cls_recovery_master"), "{}", run.reason);
    };
    refused(&world);
    let seen = Seen {
        record: world.record.as_ref(),
        system: Some(SYSTEM),
        end: world.end,
        history: &world.history,
        standby_signal: StandbySignal::Missing,
        fresh_copy: false,
    };
    let data = unproven(&seen, None).unwrap();
    let read = world.row().clone();
    let chosen = data.chosen_at(read.term + 1);
    let decision = Update::Override {
        by: "operator".to_owned(),
        from_term: read.term,
        from_epoch: read.epoch,
        above_term: 0,
        above_epoch: 0,
        lineage: Some(chosen.clone()),
        above_number: 2,
        owner: None,
        holders: nodes(&[1]),
    };
    world.register = Ok(decision.apply(&read).unwrap());
    // The command was killed before this node kept it.
    refused(&world);
    world.record = kept(chosen.clone(), Held::Copied);
    let run = world.carry(&Operation::Start);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
    let lineage = &world.row().timelines.lineage;
    assert_eq!(lineage.up_to(timeline(2)), Some(chosen));
    assert_eq!(lineage.last().unwrap().number, timeline(3));
}

/// The owner's server was started as a standby again, and somebody has opened it.
fn opened_by_hand() -> World {
    let mut world = World::primary();
    world.end = at(2, 5000);
    world.history = history(2);
    world.record = record(Held::Following);
    world.start();
    world
}

#[test]
fn what_somebody_has_opened_is_registered_before_it_is_kept() {
    let mut world = opened_by_hand();
    let term = world.row().term;
    let run = world.carry(&MONITOR);
    assert_eq!(run.code, Some(OcfCode::RunningPromoted), "{}", run.reason);
    let place = |word: &str| {
        run.actions
            .iter()
            .position(|action| action.starts_with(word))
    };
    assert!(
        place("timelines named") < place("keep-record") && place("keep-record").is_some(),
        "{:?}",
        run.actions
    );
    assert_eq!(world.row().timelines.lineage, switched(term, 2));
    assert_eq!(
        world.record,
        kept(switched(term, 2), Held::Opened(Opening::at(term)))
    );

    // Another holder may be given the same number as long as the register does not know it.
    let mut world = opened_by_hand();
    world.register = Err(Reading::Unknown(Trouble::Unreachable("cut".to_owned())));
    world.carry(&MONITOR);
    assert_eq!(world.record, record(Held::Following));
}

/// The register knows the number as that of another owner's timeline, which a standby may be on.
#[test]
fn what_somebody_has_opened_with_the_number_of_another_timeline_does_not_go_on() {
    let mut world = opened_by_hand();
    let row = world.row().clone();
    world.register = Ok(Register {
        timelines: Timelines::default().named(row.term - 1, &switched(row.term - 1, 2)),
        ..row
    });
    does_not_go_on(&world, "is not timeline 2 of term");
    is_not_started_again(world);
}

/// The primary is refused for this reason, with the command that mends it in front.
fn does_not_go_on(world: &World, why: &str) {
    for (operation, code) in [
        (MONITOR, OcfCode::FailedPromoted),
        (Operation::Promote, OcfCode::Generic),
    ] {
        let run = world.clone().carry(&operation);
        assert_eq!(run.code, Some(code), "{}", run.reason);
        let advice = "run cls_repair_slave --or-rebuild on node1";
        assert!(run.reason.starts_with(advice), "{}", run.reason);
        assert!(run.reason.contains(why), "{}", run.reason);
    }
}

/// Pacemaker demotes it, and nothing starts these data as a standby.
fn is_not_started_again(mut world: World) {
    let run = world.carry(&Operation::Demote { then_stop: false });
    assert_eq!(world.process, Process::Absent, "{}", run.reason);
    let run = world.carry(&Operation::Start);
    assert_eq!(run.code, Some(OcfCode::Installed), "{}", run.reason);
}

/// After an operator's choice the register no more knows the timeline that had the number. Somebody opens
/// the standby while the agent is about to, which may go on and keep that it opens the data.
#[test]
fn what_somebody_has_opened_with_a_number_that_was_given_is_not_ours() {
    let mut world = opened_by_hand();
    let row = world.row().clone();
    let timelines = Timelines {
        highest: 2,
        ..row.timelines.clone()
    };
    let opening = Opening {
        term: row.term,
        above: 2,
    };
    world.register = Ok(Register { timelines, ..row });
    for held in [Held::Following, Held::Opened(opening)] {
        world.record = kept(first_lineage(), held);
        does_not_go_on(&world, "a number that was given before (up to 2)");
    }
    is_not_started_again(world);
}

#[test]
fn what_was_opened_here_waits_for_the_register() {
    let mut world = passed_over();
    world.register = Err(Reading::Unknown(Trouble::Unreachable("cut".to_owned())));
    let run = world.clone().carry(&Operation::Start);
    assert!(
        run.overdue && run.code == Some(OcfCode::Generic),
        "{}",
        run.reason
    );
    assert_eq!(world.process, Process::Absent);
}

#[test]
fn the_record_is_on_the_disk_before_the_first_byte_is_received() {
    let mut world = World::new();
    world.register = Ok(named(owned(2, 2, &[2]), &switched(2, 2)));
    let mut broken = world.clone();
    let run = world.carry(&Operation::Start);
    let keep = run
        .actions
        .iter()
        .position(|action| action == "keep-record");
    let start = run
        .actions
        .iter()
        .position(|action| action == "start-postgres");
    assert!(keep < start && keep.is_some(), "{:?}", run.actions);
    assert_eq!(world.record, kept(switched(2, 2), Held::Following));
    broken.broken.insert(ActionKind::KeepRecord.into());
    let run = broken.carry(&Operation::Start);
    assert_eq!(run.code, Some(OcfCode::Generic));
    assert_eq!(broken.process, Process::Absent);
}

#[test]
fn names_are_adopted_once() {
    let mut world = World::new();
    world.register = Ok(named(owned(2, 2, &[2]), &switched(2, 2)));
    world.record = None;
    let run = world.carry(&Operation::Start);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
    assert_eq!(world.record, kept(switched(2, 2), Held::Following));
    // One that runs since before the register knew a name.
    let mut world = World::standby();
    world.register = Ok(owned(2, 1, &[1, 2]));
    world.record = None;
    let run = world.carry(&MONITOR);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
    assert_eq!(world.record, record(Held::Following));
    // A primary of an older agent names its timeline with its first monitor.
    let mut world = World::primary();
    world.without_names();
    let run = world.carry(&MONITOR);
    assert_eq!(run.code, Some(OcfCode::RunningPromoted));
    assert_eq!(world.record, record(Held::Opened(Opening::at(1))));
    assert_eq!(world.row().timelines.lineage, first_lineage());
}

/// The lock service was put back to before the last promotion: who is on the timeline of that one has the data that are
/// to be gone on with, and is neither failed nor told to repair them.
#[test]
fn a_register_that_was_put_back_says_nothing_of_a_running_standby() {
    let standby = |seen: u64| {
        let mut world = World::standby();
        world.register = Ok(named(expired(2, 1, &[1, 2]), &first_lineage()));
        world.end = at(2, 5000);
        world.history = history(2);
        world.memory.term = seen;
        world.start();
        world
    };
    let mut behind = standby(2);
    let before = behind.record.clone();
    let run = behind.carry(&MONITOR);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
    assert_eq!(behind.record, before);
    // The register is right, and these data are not.
    let run = standby(1).carry(&MONITOR);
    assert_eq!(run.code, Some(OcfCode::Generic), "{}", run.reason);
    assert!(run.reason.contains("cls_repair_slave"), "{}", run.reason);
}

#[test]
fn a_running_standby_follows_the_names_and_nothing_else() {
    let mut world = World::standby();
    world.register = Ok(named(owned(2, 2, &[2]), &switched(2, 2)));
    let run = world.carry(&MONITOR);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
    assert_eq!(world.record, kept(switched(2, 2), Held::Following));

    // From the archive, with as much WAL as the register records.
    let mut world = World::standby();
    world.register = Ok(named(expired(2, 1, &[1, 2]), &first_lineage()));
    if let Ok(row) = &mut world.register {
        row.positions = [(node(1), Lsn::new(5000))].into();
    }
    world.end = at(2, 5000);
    world.history = history(2);
    world.start();
    let run = world.clone().carry(&MONITOR);
    assert_eq!(run.code, Some(OcfCode::Generic));
    assert!(run.reason.contains("cls_repair_slave"), "{}", run.reason);
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Generic));
    assert!(run.reason.contains("does not know"), "{}", run.reason);
}

#[test]
fn a_number_that_was_given_is_reserved_first() {
    let mut world = World::standby();
    world.register = Ok(named(expired(2, 4, &[1]), &first_lineage()));
    if let Ok(row) = &mut world.register {
        row.timelines.highest = 3;
    }
    let run = world.carry(&Operation::Promote);
    let reserve = run
        .actions
        .iter()
        .position(|action| action == "reserve-timelines");
    let promote = run
        .actions
        .iter()
        .position(|action| action == "promote-postgres");
    assert!(reserve < promote && reserve.is_some(), "{:?}", run.actions);
}

#[test]
fn strays_in_pg_wal_are_moved_aside_and_named() {
    let mut world = World::new();
    world.register = Ok(owned(2, 1, &[1, 2]));
    world.newer = vec![history(2)];
    let run = world.carry(&Operation::Start);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
    assert!(
        run.warnings
            .iter()
            .any(|text| text.contains("00000002.history"))
    );
    assert!(world.newer.is_empty());
    // The register's own is none, and one that stands for a number is not worth a word.
    let mut world = World::new();
    world.register = Ok(named(owned(2, 2, &[2]), &switched(2, 3)));
    let mut reservation = history(2);
    reservation.entries[0].end = History::RESERVED_AT;
    world.newer = vec![history(3), reservation];
    let run = world.carry(&Operation::Start);
    assert_eq!(world.newer.len(), 2, "{:?}", run.actions);
    assert!(run.warnings.is_empty(), "{:?}", run.warnings);
}

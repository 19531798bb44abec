//! How far the register has come is known to the whole cluster, so that one that was put back to an earlier
//! state is noticed by a node that was away, too.

use pha_core::ocf::OcfCode;
use pha_core::plan::ActionKind;
use pha_core::register::{LEAP, Seen, TOLD};
use pha_core::snapshot::Operation;
use pha_core::status::Score;

use crate::world::{MONITOR, Run, World, expired, node, owned};

fn seen(term: u64, epoch: u64) -> Option<Seen> {
    Some(Seen { term, epoch })
}

fn place(run: &Run, rule: &str) -> usize {
    let mut rules = run.rules.iter();
    rules.position(|id| *id == rule).unwrap()
}

/// A standby that was away while the epoch moved from 10 to 11 and the primary let it go. The register
/// was put back to the row of before, and the primary is lost.
fn away() -> World {
    let mut world = World::standby();
    world.memory.term = 1;
    world.memory.epoch = 10;
    world.register = Ok(expired(2, 1, &[1, 2]));
    world.cluster().seen = seen(1, 11);
    world.cluster().nodes.get_mut(&node(2)).unwrap().online = false;
    world.cluster().repl_info = Some(Ok("node2|0|0000000000000000".parse().unwrap()));
    world
}

#[test]
fn a_register_that_was_put_back_is_noticed_by_a_standby_that_was_away() {
    let mut world = away();
    world.carry(&MONITOR);
    let shown = world.cluster().node(&node(1)).score;
    assert_eq!(shown, Some(Score::MayNot));
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Generic));
    for part in [
        "epoch 10",
        "seen epoch 11",
        "restored",
        "cls_recovery_master",
    ] {
        assert!(run.reason.contains(part), "{}", run.reason);
    }
    assert!(!run.actions.contains(&"promote-postgres".to_owned()));

    // By its own memory alone it would be promoted, without what node2 has committed alone.
    let mut world = away();
    world.cluster().seen = None;
    let run = world.carry(&Operation::Promote);
    assert_eq!(run.code, Some(OcfCode::Success), "{}", run.reason);
}

#[test]
fn the_cluster_is_told_before_commits_pass_without_a_standby() {
    let mut world = World::primary();
    world.standbys.clear();
    let run = world.carry(&MONITOR);
    let tell = place(&run, "primary-tell");
    assert!(place(&run, "primary-drop-holder") < tell);
    assert!(tell < place(&run, "primary-drop-name"));
    assert_eq!(world.cluster().seen, seen(1, 11));
    assert!(world.names.is_empty());

    let run = world.carry(&MONITOR);
    assert!(!run.rules.contains(&"primary-tell"), "only what is new");
}

#[test]
fn the_cluster_is_told_before_a_new_primary_opens() {
    let mut world = World::standby();
    world.register = Ok(expired(2, 1, &[1, 2]));
    let run = world.carry(&Operation::Promote);
    assert!(place(&run, "promote-ask-register") < place(&run, "promote-tell"));
    assert!(place(&run, "promote-tell") < place(&run, "promote-new-timeline"));
    assert_eq!(world.cluster().seen, seen(2, 11));
}

#[test]
fn clients_do_not_wait_for_a_pacemaker_that_does_not_take_it() {
    let mut world = World::primary();
    world.standbys.clear();
    world.broken = [ActionKind::WriteSeen.into()].into();
    let run = world.carry(&MONITOR);
    assert_eq!(run.code, Some(OcfCode::RunningPromoted));
    assert!(world.names.is_empty());
    world.broken.clear();
    world.carry(&MONITOR);
    assert_eq!(world.cluster().seen, seen(1, 11));
}

#[test]
fn a_number_that_is_impossibly_far_ahead_bars_nobody_and_is_written_over() {
    for far in [
        seen(1, 10 + 2 * TOLD),
        seen(1 + 2 * TOLD, 10),
        seen(u64::MAX, u64::MAX),
    ] {
        let mut world = away();
        world.cluster().seen = far;
        let run = world.carry(&Operation::Promote);
        assert_eq!(run.code, Some(OcfCode::Success), "{far:?}: {}", run.reason);
        assert_eq!(world.cluster().seen, seen(2, 11));

        let mut world = World::primary();
        world.cluster().seen = far;
        world.carry(&MONITOR);
        assert_eq!(world.cluster().seen, seen(1, 10));
    }
}

/// What a node believes of the cluster an operator can raise a register above that every node believes.
#[test]
fn what_is_believed_can_be_mended() {
    let told = Seen {
        term: 1,
        epoch: 10 + TOLD,
    };
    let mut world = World::primary();
    world.standbys.clear();
    world.cluster().seen = Some(told);
    let run = world.carry(&MONITOR);
    let warned = run.warnings.concat();
    assert!(warned.contains("cls_recovery_master"), "{warned}");
    assert_eq!(world.names, ["node2"], "nothing is degraded");
    assert_eq!(world.cluster().seen, Some(told));

    // The row that the operator makes, seen by a node that has seen nothing of all that.
    let mut row = owned(1, 2, &[1]);
    row.epoch = told.epoch + 1;
    assert!(row.epoch < 10 + LEAP);
    world.name(&[""; 0]);
    world.register = Ok(row);
    let run = world.carry(&MONITOR);
    assert!(run.warnings.is_empty(), "{:?}", run.warnings);
    assert_eq!(world.cluster().seen.unwrap().term, 2);
}

//! The end of the WAL on disk, compared with what the server said while it ran.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Cluster, soon};
use pha_core::lsn::Lsn;
use pha_core::timeline::{TimelineId, WalPosition};
use pha_host::pgctl::{PgError, StopMode, Stopped};

fn end(cluster: &Cluster) -> WalPosition {
    let control = cluster.ctl.controldata(soon()).unwrap();
    cluster
        .ctl
        .end_of_wal(&control, soon())
        .unwrap_or_else(|error| panic!("{error}"))
}

fn kill(cluster: &Cluster) {
    assert_eq!(cluster.ctl.kill_everything(soon()).unwrap(), Stopped::Ended);
}

fn at(timeline: u32, lsn: Lsn) -> WalPosition {
    WalPosition {
        timeline: TimelineId::new(timeline).unwrap(),
        lsn,
    }
}

fn flushed(cluster: &Cluster) -> Lsn {
    cluster
        .sql("select pg_current_wal_flush_lsn()")
        .parse()
        .unwrap()
}

/// Nothing but the test writes.
fn quiet(cluster: &Cluster) {
    cluster
        .settings("autovacuum = off\nbgwriter_lru_maxpages = 0\nlog_autovacuum_min_duration = -1");
}

#[test]
fn pg_after_kill_the_end_is_what_was_flushed() {
    let cluster = Cluster::new("crash");
    quiet(&cluster);
    cluster.start();
    cluster.sql("create table t (id int)");
    cluster.sql("checkpoint");
    let mut last = Lsn::INVALID;
    for rows in [1, 50, 3000, 20000] {
        cluster.sql(&format!("insert into t select generate_series(1, {rows})"));
        let said = flushed(&cluster);
        kill(&cluster);
        let found = end(&cluster);
        // A standby snapshot may have been written after the question.
        assert!(
            found.lsn >= said && found.lsn.distance(said) < 1000,
            "{found} is not {said}"
        );
        assert!(found.lsn > last);
        last = found.lsn;
        let control = cluster.ctl.controldata(soon()).unwrap();
        assert!(found.lsn > control.checkpoint);
        cluster.start();
    }
}

#[test]
fn pg_after_a_clean_stop_the_end_follows_the_shutdown_checkpoint() {
    let cluster = Cluster::new("clean");
    cluster.start();
    cluster.sql("create table t (id int)");
    assert_eq!(
        cluster.ctl.stop(StopMode::Fast, soon()).unwrap(),
        Stopped::Ended
    );
    let control = cluster.ctl.controldata(soon()).unwrap();
    let found = end(&cluster);
    assert!(
        found.lsn > control.checkpoint && found.lsn.distance(control.checkpoint) <= 160,
        "{found}"
    );
}

/// Less than the node has would let another one be promoted that lacks it.
#[test]
fn pg_what_cannot_be_looked_at_is_no_end() {
    use std::os::unix::fs::PermissionsExt as _;
    let cluster = Cluster::new("hidden");
    cluster.start();
    assert_eq!(
        cluster.ctl.stop(StopMode::Fast, soon()).unwrap(),
        Stopped::Ended
    );
    let control = cluster.ctl.controldata(soon()).unwrap();
    let mode = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(cluster.ctl.wal_dir(), permissions).unwrap();
    };
    // Its names can be read, and nothing behind them.
    mode(0o600);
    let found = cluster.ctl.end_of_wal(&control, soon());
    mode(0o700);
    assert!(matches!(found, Err(PgError::File(_))), "{found:?}");
    assert_eq!(end(&cluster).timeline, TimelineId::FIRST);
}

#[test]
fn pg_the_end_at_a_segment_without_a_successor_is_found() {
    let cluster = Cluster::new("switch");
    quiet(&cluster);
    cluster.start();
    cluster.sql("create table t (id int)");
    cluster.sql("select pg_switch_wal()");
    kill(&cluster);
    let control = cluster.ctl.controldata(soon()).unwrap();
    let found = end(&cluster);
    let next = control.wal.segment_start(found.lsn);
    // Remove what the server may have put there ahead of time: the switch record ends the segment.
    let mut names: Vec<String> = std::fs::read_dir(cluster.ctl.wal_dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names
        .retain(|name| name.len() == 24 && *name >= control.wal.segment_file(found.timeline, next));
    for name in names {
        std::fs::remove_file(cluster.ctl.wal_dir().join(name)).unwrap();
    }
    assert_eq!(end(&cluster), at(1, next));
}

#[test]
fn pg_a_standby_that_went_on_to_a_new_timeline_is_on_that_one() {
    let primary = Cluster::new("line");
    quiet(&primary);
    let standby = Cluster::copy_of("line-new", &primary);
    let third = Cluster::copy_of("line-third", &primary);
    standby.follow(&primary);
    third.follow(&primary);
    for cluster in [&primary, &standby, &third] {
        cluster.start();
    }
    primary.sql("create table t as select generate_series(1, 1000)");
    primary.until(
        "select count(*) from pg_stat_replication where replay_lsn = pg_current_wal_lsn()",
        "2",
    );
    kill(&primary);
    standby.ctl.promote(soon()).unwrap();
    standby.until("select pg_is_in_recovery()", "f");
    standby.sql("insert into t values (1)");

    // The third one follows, and dies before its next restartpoint.
    third.settings(&format!(
        "primary_conninfo = 'host=127.0.0.1 port={} user=postgres application_name=standby'",
        standby.port
    ));
    assert!(third.ctl.reload().unwrap());
    standby.until(
        "select count(*) from pg_stat_replication where replay_lsn = pg_current_wal_lsn()",
        "1",
    );
    let said = flushed(&standby);
    // While it runs and its receiver is gone, its control file still is on the old timeline.
    let timeline_of = |cluster: &Cluster, known| cluster.ctl.timeline_of(known, soon()).unwrap();
    assert_eq!(timeline_of(&third, at(1, said)).get(), 2);
    assert_eq!(timeline_of(&third, at(2, said)).get(), 2);
    assert_eq!(timeline_of(&primary, at(1, said)).get(), 1);
    kill(&third);
    let control = third.ctl.controldata(soon()).unwrap();
    assert_eq!(
        control.checkpoint_timeline.get(),
        1,
        "a restartpoint came too early for this test"
    );
    let found = end(&third);
    assert!(
        found >= at(2, said) && found.lsn.distance(said) < 1000,
        "{found} is not {said} on 2"
    );

    // The new primary's history says where the old timeline ended; the old primary is still on it.
    let history = third
        .ctl
        .history(TimelineId::new(2).unwrap())
        .unwrap()
        .unwrap();
    let switch = history.last_switch().unwrap();
    assert_eq!(end(&primary).timeline.get(), 1);
    assert_eq!(
        end(&primary).lsn,
        switch.end,
        "nothing was written after the copy was complete"
    );
    assert_eq!(
        third.ctl.history(TimelineId::new(9).unwrap()).unwrap(),
        None
    );

    // A history file alone, without WAL of its timeline, moves nobody.
    let text = std::fs::read(third.ctl.wal_dir().join("00000002.history")).unwrap();
    std::fs::write(primary.ctl.wal_dir().join("00000002.history"), text).unwrap();
    assert_eq!(end(&primary), at(1, switch.end));
    assert_eq!(timeline_of(&primary, at(1, said)).get(), 1);

    // WAL past the switch on the old timeline is divergence, and is seen as such.
    primary.start();
    primary.sql("insert into t values (2)");
    let said = flushed(&primary);
    kill(&primary);
    let found = end(&primary);
    assert!(
        found.timeline.get() == 1 && found.lsn >= said && said > switch.end,
        "{found}"
    );
}

#[test]
fn pg_a_file_of_the_new_timeline_does_not_move_a_standby_that_went_past_the_switch() {
    let primary = Cluster::new("stray");
    quiet(&primary);
    let new = Cluster::copy_of("stray-new", &primary);
    let past = Cluster::copy_of("stray-past", &primary);
    new.follow(&primary);
    past.follow(&primary);
    for cluster in [&primary, &new, &past] {
        cluster.start();
    }
    let caught_up = |standbys| {
        primary.until(
            "select count(*) from pg_stat_replication where replay_lsn = pg_current_wal_lsn()",
            standbys,
        );
    };
    primary.sql("create table t as select generate_series(1, 1000)");
    caught_up("2");
    new.ctl.promote(soon()).unwrap();
    new.until("select pg_is_in_recovery()", "f");
    new.sql("insert into t values (1)");
    primary.sql("insert into t values (2)");
    primary.sql("checkpoint");
    let said = flushed(&primary);
    caught_up("1");
    past.sql("checkpoint");

    let switch = new
        .ctl
        .history(TimelineId::new(2).unwrap())
        .unwrap()
        .unwrap();
    let switch = switch.last_switch().unwrap().end;
    let geometry = past.ctl.controldata(soon()).unwrap().wal;
    let file = geometry.segment_file(TimelineId::new(2).unwrap(), switch);
    for name in ["00000002.history", &file] {
        let content = std::fs::read(new.ctl.wal_dir().join(name)).unwrap();
        std::fs::write(past.ctl.wal_dir().join(name), content).unwrap();
    }
    assert!(said > switch);
    assert_eq!(past.ctl.timeline_of(at(1, said), soon()).unwrap().get(), 1);
}

#[test]
fn pg_the_end_before_leftovers_of_a_recycled_file_is_found() {
    let cluster = Cluster::new("recycled");
    quiet(&cluster);
    cluster.start();
    cluster.sql("create table t (id int)");
    kill(&cluster);
    let control = cluster.ctl.controldata(soon()).unwrap();
    let before = end(&cluster);
    // What follows the last page in a recycled file is an old page, with an old address.
    let name = control.wal.segment_file(before.timeline, before.lsn);
    let file = cluster.ctl.wal_dir().join(name);
    let mut bytes = std::fs::read(&file).unwrap();
    let page = control.wal.page_bytes as usize;
    let offset =
        usize::try_from(before.lsn.distance(control.wal.segment_start(before.lsn))).unwrap();
    let next = offset.next_multiple_of(page);
    bytes.copy_within(page..2 * page, next);
    // A record that does not fit into the rest of its page, as a crash in the middle leaves it.
    let length = u32::try_from(next - offset + 100).unwrap();
    bytes[offset..offset + 4].copy_from_slice(&length.to_le_bytes());
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(end(&cluster), before);
}

#[test]
fn pg_damage_is_an_error_and_no_guess() {
    let cluster = Cluster::new("damage");
    cluster.start();
    kill(&cluster);
    let control = cluster.ctl.controldata(soon()).unwrap();
    let history = cluster.ctl.wal_dir().join("00000002.history");
    std::fs::write(&history, "nonsense\n").unwrap();
    let error = cluster.ctl.end_of_wal(&control, soon()).unwrap_err();
    assert!(
        matches!(error, PgError::History { .. }) && error.to_string().contains("nonsense"),
        "{error}"
    );
    std::fs::remove_file(&history).unwrap();

    let file = cluster.ctl.wal_dir().join(
        control
            .wal
            .segment_file(control.checkpoint_timeline, control.checkpoint),
    );
    let whole = std::fs::read(&file).unwrap();
    let mut zeros = whole.clone();
    let at = usize::try_from(control.checkpoint.as_u64() % u64::from(control.wal.segment_bytes))
        .unwrap();
    zeros[at..].fill(0);
    std::fs::write(&file, zeros).unwrap();
    let error = cluster.ctl.end_of_wal(&control, soon()).unwrap_err();
    assert!(matches!(error, PgError::NoCheckpoint { .. }), "{error}");
    std::fs::remove_file(&file).unwrap();
    let error = cluster.ctl.end_of_wal(&control, soon()).unwrap_err();
    assert!(
        matches!(
            error,
            PgError::EndOfWal { .. } | PgError::NoCheckpoint { .. }
        ),
        "{error}"
    );
}

/// After a power cut a segment may be there that was only made ready. `pg_waldump` takes the size of a segment from the
/// first file that the directory lists, in no order; whichever that is, the end is told.
#[test]
fn pg_segments_of_zeros_keep_no_end_from_being_told() {
    let cluster = Cluster::new("zeros");
    quiet(&cluster);
    cluster.start();
    cluster.sql("create table t (id int)");
    kill(&cluster);
    let before = end(&cluster);
    let control = cluster.ctl.controldata(soon()).unwrap();
    let next =
        control.wal.segment_start(before.lsn).as_u64() + u64::from(control.wal.segment_bytes);
    let ready = control.wal.segment_file(before.timeline, Lsn::new(next));
    // Others, so that one of them is the first, wherever the file system puts it.
    let others = (0..200).map(|number| format!("000000FF00000000{number:08X}"));
    let segment = vec![0; usize::try_from(control.wal.segment_bytes).unwrap()];
    std::fs::write(cluster.ctl.wal_dir().join(ready), segment).unwrap();
    for name in others {
        std::fs::write(cluster.ctl.wal_dir().join(name), [0; 8192]).unwrap();
    }
    assert_eq!(end(&cluster), before);
    // The power was cut when the standby had gone over to another timeline, and had received nothing of it yet.
    let second = TimelineId::new(2).unwrap();
    let first_file = control.wal.segment_file(second, before.lsn);
    let history = format!("1\t{}\tno recovery target specified\n", before.lsn);
    std::fs::write(cluster.ctl.wal_dir().join("00000002.history"), history).unwrap();
    std::fs::write(cluster.ctl.wal_dir().join(first_file), [0; 8192]).unwrap();
    assert_eq!(end(&cluster), before);
}

//! Old data with tablespaces and a WAL directory of their own, kept beside a new copy.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Cluster, postgres, run, soon};
use pha_core::decide::operator::{
    Fixed, OldData, OldPlaces, Outside, Target, has_room, plan_moves,
};
use pha_host::pgctl::StopMode;

const SUFFIX: &str = ".old-1";

/// A stopped cluster with its WAL and two tablespaces elsewhere, each with a row.
fn cluster(name: &str) -> Cluster {
    let cluster = Cluster::new(name);
    let (wal, pg_wal) = (cluster.dir.join("wal"), cluster.ctl.pgdata.join("pg_wal"));
    std::fs::rename(&pg_wal, &wal).unwrap();
    symlink(&wal, &pg_wal).unwrap();
    cluster.start();
    for name in ["a", "b"] {
        let place = cluster.dir.join(format!("ts_{name}"));
        std::fs::create_dir(&place).unwrap();
        chown(&place, Some(postgres().uid()), Some(postgres().gid())).unwrap();
        let place = place.display();
        cluster.sql(&format!("create tablespace {name} location '{place}'"));
        cluster.sql(&format!(
            "create table {name} tablespace {name} as select 'old' as v"
        ));
    }
    stop(&cluster);
    cluster
}

fn stop(cluster: &Cluster) {
    let _ = cluster.ctl.stop(StopMode::Fast, soon()).unwrap();
}

fn rows(cluster: &Cluster) -> String {
    cluster.sql(
        "select (select string_agg(v, ',') from a) || ';' || (select string_agg(v, ',') from b)",
    )
}

fn old_data(cluster: &Cluster) -> OldData {
    let old = cluster.ctl.old_places().unwrap().unwrap();
    let used: Vec<Target> = old.outside.iter().map(target).collect();
    assert_eq!(used.len(), 3, "{used:?}");
    let moves = plan_moves(&old, "postgres", &used, SUFFIX).unwrap();
    OldData {
        aside: moves.places,
        links: moves.links,
        under_way: true,
        ..OldData::default()
    }
}

/// A copy to the same place.
fn target(one: &Outside) -> Target {
    Target {
        place: one.place.clone(),
        location: Some(one.target.clone()),
        bytes: 0,
    }
}

/// Does as root what the refusal of a copy to the same places says.
fn do_as_told(old: &OldPlaces, id: &str) {
    let used: Vec<Target> = old.outside.iter().map(target).collect();
    let refusal = plan_moves(old, "postgres", &used, SUFFIX).unwrap_err();
    assert_eq!(refusal.id, id);
    let hint = refusal.hint.to_string();
    let told = hint.split_once(": ").unwrap().1;
    let told = told.split_once("; then ").unwrap().0;
    let done = Command::new("sh")
        .args(["-c", told])
        .stdin(Stdio::null())
        .status();
    assert!(done.unwrap().success(), "{told}");
}

/// The same cluster where it is kept, with a port of its own.
fn kept(cluster: &Cluster, old: &OldData) -> Cluster {
    let mut ctl = cluster.ctl.clone();
    ctl.pgdata.clone_from(&old.aside[0].0);
    ctl.config = ctl.pgdata.join("postgresql.conf");
    let port = cluster.port + 1;
    ctl.start_opt = vec!["-p".to_owned(), port.to_string()];
    Cluster {
        dir: cluster.dir.clone(),
        ctl,
        port,
    }
}

fn leads(data: &Path, old: &OldData) -> Vec<PathBuf> {
    let link = |link: &PathBuf| std::fs::read_link(data.join(link)).unwrap();
    old.links.iter().map(|lead| link(&lead.link)).collect()
}

#[test]
fn pg_kept_data_are_whole_and_apart_from_the_new_copy() {
    let cluster = cluster("aside");
    let mut old = old_data(&cluster);
    cluster.ctl.move_aside(&old).unwrap();
    old.under_way = false;
    let wal = old.wal_was().unwrap();
    assert_eq!(wal, cluster.dir.join("wal"));
    let kept = kept(&cluster, &old);
    kept.start();
    assert_eq!(rows(&kept), "old;old");

    // A copy in the places that were freed; this source has its tablespaces where they are kept.
    let map = |name: &str| {
        let place = cluster.dir.join(format!("ts_{name}")).display().to_string();
        format!("--tablespace-mapping={place}{SUFFIX}={place}")
    };
    let pgdata = format!("--pgdata={}", cluster.ctl.pgdata.display());
    let waldir = format!("--waldir={}", wal.display());
    let info = format!(
        "--dbname=host={} port={} user=postgres",
        kept.dir.display(),
        kept.port
    );
    let (a, b) = (map("a"), map("b"));
    run(
        "pg_basebackup",
        &[&pgdata, &waldir, &info, "--checkpoint=fast", &a, &b],
    );
    cluster.start();
    cluster.sql("insert into a values ('new')");
    cluster.sql("checkpoint");
    kept.sql("insert into b values ('by hand')");
    kept.sql("checkpoint");
    assert_eq!(rows(&cluster), "old,new;old");
    assert_eq!(rows(&kept), "old;old,by hand");

    // What the operator removes one day is all that is kept, and nothing of what lives.
    stop(&kept);
    for (place, _) in &old.aside {
        std::fs::remove_dir_all(place).unwrap();
    }
    std::mem::forget(kept);
    stop(&cluster);
    cluster.start();
    assert_eq!(rows(&cluster), "old,new;old");
    stop(&cluster);
}

#[test]
fn pg_an_interruption_at_any_point_is_gone_on_with_or_undone() {
    let cluster = cluster("asideagain");
    let mut old = old_data(&cluster);
    let (data, aside) = (&cluster.ctl.pgdata, &old.aside[0].0.clone());
    let before = leads(data, &old);
    let now: Vec<_> = old.links.iter().map(|lead| lead.now.clone()).collect();
    let deeds = old.aside.len() + old.links.len();
    assert_eq!(deeds, 7);
    for done in 0..=deeds {
        for (aside, place) in old.aside.iter().take(done) {
            std::fs::rename(place, aside).unwrap();
        }
        for lead in old.links.iter().take(done.saturating_sub(old.aside.len())) {
            let link = aside.join(&lead.link);
            std::fs::remove_file(&link).unwrap();
            symlink(&lead.now, &link).unwrap();
        }
        // On even points it is gone on with first.
        if done % 2 == 0 {
            cluster.ctl.move_aside(&old).unwrap();
            assert_eq!(leads(aside, &old), now, "{done}");
            assert!(!data.exists());
            // What the copy makes there goes before the old data come back.
            for (_, place) in &old.aside {
                std::fs::create_dir(place).unwrap();
                chown(place, Some(postgres().uid()), Some(postgres().gid())).unwrap();
                std::fs::create_dir(place.join("half")).unwrap();
                chown(place.join("half"), Some(postgres().uid()), None).unwrap();
            }
            old.under_way = false;
            cluster.ctl.clear_copy(&old, soon()).unwrap();
            old.under_way = true;
        }
        cluster.ctl.move_back(&old).unwrap();
        assert_eq!(leads(data, &old), before, "{done}");
        assert!(!aside.exists(), "{done}");
    }
    cluster.start();
    assert_eq!(rows(&cluster), "old;old");
    stop(&cluster);
}

#[test]
fn pg_what_a_link_leads_to_is_looked_at_before_it_is_moved() {
    let cluster = cluster("asidelinks");
    let ctl = &cluster.ctl;
    let find = |link: &str| {
        let old = ctl.old_places().unwrap().unwrap();
        let found = old
            .outside
            .into_iter()
            .find(|one| one.link == Path::new(link));
        found.unwrap()
    };
    // Of root's, in a directory of root's; a mount point; and not there at all.
    let tablespaces = ctl.pgdata.join("pg_tblspc");
    symlink("/usr/local/bin", tablespaces.join("1")).unwrap();
    symlink("/proc", tablespaces.join("2")).unwrap();
    symlink(cluster.dir.join("gone"), tablespaces.join("3")).unwrap();
    let root = find("pg_tblspc/1");
    assert_eq!((root.own, root.held), (false, Fixed::ByRoot));
    assert_eq!(find("pg_tblspc/2").held, Fixed::ByMount);
    let gone = find("pg_tblspc/3");
    assert_eq!((gone.own, gone.empty, gone.held), (true, true, Fixed::No));
    // What is no tablespace's number has no meaning to the server.
    symlink("/usr/local/bin", tablespaces.join("1;x")).unwrap();
    let old = ctl.old_places().unwrap().unwrap();
    assert!(!old.outside.iter().any(|one| one.link.ends_with("1;x")));
    // Another version's part stays, and so does all of the directory.
    let place = cluster.dir.join("ts_a");
    let held = |old: OldPlaces| {
        let one = old.outside.iter().find(|one| one.place == place);
        one.unwrap().held
    };
    assert_eq!(held(old), Fixed::No);
    std::fs::create_dir(place.join("PG_9.6_201608131")).unwrap();
    assert_eq!(held(ctl.old_places().unwrap().unwrap()), Fixed::Shared);
    std::fs::remove_dir(place.join("PG_9.6_201608131")).unwrap();
    for name in ["1", "2", "3", "1;x"] {
        std::fs::remove_file(tablespaces.join(name)).unwrap();
    }

    // A data directory behind a link: the directory is moved, and the link stays.
    let (named, real) = (cluster.dir.join("named"), cluster.dir.join("real"));
    std::fs::rename(&ctl.pgdata, &real).unwrap();
    symlink(&real, &named).unwrap();
    let mut ctl = ctl.clone();
    ctl.pgdata.clone_from(&named);
    let old = ctl.old_places().unwrap().unwrap();
    assert_eq!((&old.data, old.held), (&real, Fixed::No));
    let linked = Cluster {
        dir: cluster.dir.clone(),
        ctl: ctl.clone(),
        port: cluster.port,
    };
    let old = old_data(&linked);
    std::mem::forget(linked);
    ctl.move_aside(&old).unwrap();
    // The link's own file system is not asked once it leads to nothing.
    assert_eq!(old.data_place(&ctl.pgdata), real);
    ctl.move_back(&old).unwrap();
    std::fs::rename(&real, &cluster.ctl.pgdata).unwrap();

    // All that a copy needs at a place that is not there yet is asked of what is above it.
    let need = |bytes| vec![ctl.need(&cluster.dir.join("a/b/c"), bytes).unwrap()];
    assert!(has_room(&need(1)).is_ok());
    assert_eq!(has_room(&need(u64::MAX)).unwrap_err().id, "copy-room");
}

#[test]
fn pg_what_was_taken_away_meanwhile_is_not_asked_for_again() {
    let cluster = cluster("asidetaken");
    let mut old = old_data(&cluster);
    let ctl = &cluster.ctl;
    ctl.move_aside(&old).unwrap();
    for (aside, _) in &old.aside {
        std::fs::remove_dir_all(aside).unwrap();
    }
    // The copy was killed before its links were made.
    let half = ctl.pgdata.join("pg_tblspc");
    std::fs::create_dir_all(&half).unwrap();
    for made in [&ctl.pgdata, &half] {
        chown(made, Some(postgres().uid()), Some(postgres().gid())).unwrap();
    }
    old.under_way = false;
    ctl.clear_copy(&old, soon()).unwrap();
    old.under_way = true;
    ctl.move_back(&old).unwrap();
    assert!(half.exists());
    // Half a copy is what is moved aside then, and tablespaces are nowhere.
    ctl.move_aside(&old).unwrap();
    assert!(old.aside[0].0.join("pg_tblspc").exists());
    assert!(!half.exists());
}

#[test]
fn pg_what_root_is_told_to_do_is_done_by_a_shell() {
    let cluster = cluster("asideroot");
    let ctl = &cluster.ctl;
    // A directory of root's with what a shell would take apart, as anybody may name one.
    let of_root = std::env::temp_dir().join(format!("pha 'root' $(x) {}", std::process::id()));
    std::fs::create_dir(&of_root).unwrap();
    let tablespace = of_root.join("a=b");
    std::fs::rename(cluster.dir.join("ts_a"), &tablespace).unwrap();
    let find = |old: &OldPlaces, place: &Path| {
        let found = old.outside.iter().find(|one| one.place == place);
        found.cloned().unwrap()
    };
    let old = ctl.old_places().unwrap().unwrap();
    let one = find(&old, &cluster.dir.join("ts_a"));
    let link = ctl.pgdata.join(&one.link);
    std::fs::remove_file(&link).unwrap();
    symlink(&tablespace, &link).unwrap();
    let old = ctl.old_places().unwrap().unwrap();
    assert_eq!(find(&old, &tablespace).held, Fixed::ByRoot);
    do_as_told(&old, "aside-root");
    // The old data are kept there, and what the copy needs is free.
    let kept = of_root.join(format!("a=b{SUFFIX}"));
    let places = ctl.old_places().unwrap().unwrap();
    assert_eq!(find(&places, &kept).held, Fixed::ByRoot);
    assert!(std::fs::read_dir(&tablespace).unwrap().next().is_none());
    let used = [target(&one), target(&find(&old, &tablespace))];
    assert!(plan_moves(&places, "postgres", &used, SUFFIX).is_ok());

    // The data directory behind a link.
    let (real, named) = (of_root.join("data"), ctl.pgdata.clone());
    std::fs::rename(&named, &real).unwrap();
    symlink(&real, &named).unwrap();
    let old = ctl.old_places().unwrap().unwrap();
    assert_eq!((&old.data, old.held), (&real, Fixed::ByRoot));
    do_as_told(&old, "aside-data-root");
    let old = ctl.old_places().unwrap().unwrap();
    assert_eq!(old.data, of_root.join("data.d/data"));
    assert_eq!(old.held, Fixed::No);
    let moves = plan_moves(&old, "postgres", &[], SUFFIX).unwrap();
    let old = OldData {
        aside: moves.places,
        links: moves.links,
        ..OldData::default()
    };
    ctl.move_aside(&old).unwrap();
    ctl.move_back(&old).unwrap();
    cluster.start();
    assert_eq!(rows(&cluster), "old;old");
    stop(&cluster);
    std::fs::remove_dir_all(&of_root).unwrap();
}

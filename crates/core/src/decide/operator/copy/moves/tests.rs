#![allow(clippy::unwrap_used)]

use super::*;

const SUFFIX: &str = ".old-7";

fn outside(link: &str, place: &str) -> Outside {
    Outside {
        link: link.into(),
        target: place.into(),
        place: place.into(),
        empty: false,
        own: true,
        held: Fixed::No,
    }
}

fn old(outside: Vec<Outside>) -> OldPlaces {
    OldPlaces {
        data: "/data/pg".into(),
        held: Fixed::No,
        outside,
    }
}

fn plan(old: &OldPlaces, used: &[&str]) -> Result<Moves, Box<Refusal<Message>>> {
    let used: Vec<PathBuf> = used.iter().map(PathBuf::from).collect();
    plan_moves(old, "postgres", &used, SUFFIX)
}

fn refused(old: &OldPlaces, used: &[&str]) -> (&'static str, String) {
    let refusal = plan(old, used).unwrap_err();
    (refusal.id, refusal.hint.to_string())
}

fn pair(place: &str) -> (PathBuf, PathBuf) {
    (format!("{place}{SUFFIX}").into(), place.into())
}

#[test]
fn the_links_of_what_is_kept_lead_to_what_is_kept() {
    let old = old(vec![
        outside("pg_wal", "/wal/pg"),
        outside("pg_tblspc/1", "/ts/a"),
        // One in another, one in the data directory, and two links to one place.
        outside("pg_tblspc/2", "/ts/a/inner"),
        outside("pg_tblspc/3", "/data/pg/ts"),
        outside("pg_tblspc/4", "/ts/a"),
    ]);
    let moves = plan(&old, &["/wal/pg", "/ts/a"]).unwrap();
    let places: Vec<_> = ["/data/pg", "/wal/pg", "/ts/a"].map(pair).into();
    assert_eq!(moves.places, places);
    let now = |link: &str| {
        let lead = moves.links.iter().find(|lead| lead.link == Path::new(link));
        lead.unwrap().now.display().to_string()
    };
    assert_eq!(now("pg_wal"), "/wal/pg.old-7");
    assert_eq!(now("pg_tblspc/1"), "/ts/a.old-7");
    assert_eq!(now("pg_tblspc/2"), "/ts/a.old-7/inner");
    assert_eq!(now("pg_tblspc/3"), "/data/pg.old-7/ts");
    assert_eq!(now("pg_tblspc/4"), "/ts/a.old-7");
    // None leads into what the new copy is written to.
    for lead in &moves.links {
        assert!(
            !moves
                .places
                .iter()
                .any(|(_, place)| lead.now.starts_with(place))
        );
    }
}

#[test]
fn an_empty_place_is_the_copys_and_no_link_of_the_kept_leads_there() {
    let empty = Outside {
        empty: true,
        ..outside("pg_tblspc/1", "/ts/a")
    };
    let moves = plan(&old(vec![empty]), &["/ts/a"]).unwrap();
    assert_eq!(moves.places, [pair("/data/pg")]);
    assert_eq!(moves.links[0].now, Path::new("/ts/a.old-7"));
}

#[test]
fn what_cannot_be_moved_stays_where_the_copy_goes_elsewhere() {
    for (held, id) in [
        (Fixed::ByMount, "aside-mount"),
        (Fixed::ByRoot, "aside-root"),
    ] {
        let held = |place: &str, link: &str| Outside {
            held,
            ..outside(link, place)
        };
        let data = old(vec![held("/ts", "pg_tblspc/1"), held("/wal", "pg_wal")]);
        assert_eq!(refused(&data, &["/ts", "/wal/new"]).0, id);
        assert_eq!(refused(&data, &["/ts/new", "/wal"]).0, id);
        let moves = plan(&data, &["/ts/new", "/wal/new"]).unwrap();
        assert_eq!(moves.places, [pair("/data/pg")]);
        assert!(moves.links.iter().all(|lead| lead.was == lead.now));
    }
    let mount = Outside {
        held: Fixed::ByMount,
        ..outside("pg_tblspc/1", "/ts")
    };
    let (_, hint) = refused(&old(vec![mount]), &["/ts"]);
    assert!(
        hint.contains("--tablespace-mapping /ts=/ts/new.old-7"),
        "{hint}"
    );
}

#[test]
fn a_data_directory_that_is_a_mount_point_is_named_with_its_wal() {
    let data = OldPlaces {
        held: Fixed::ByMount,
        ..old(vec![outside("pg_wal", "/wal/pg")])
    };
    let (id, hint) = refused(&data, &[]);
    assert_eq!(id, "aside-data-mount");
    assert!(
        hint.ends_with("cls_rebuild_slave --waldir /wal/pg"),
        "{hint}"
    );
}

#[test]
fn a_link_to_what_is_not_the_databases_is_not_followed() {
    let foreign = Outside {
        own: false,
        ..outside("pg_tblspc/1", "/etc")
    };
    assert_eq!(refused(&old(vec![foreign]), &[]).0, "aside-own");
    let above = outside("pg_tblspc/1", "/data");
    assert_eq!(refused(&old(vec![above]), &[]).0, "aside-own");
}

#[test]
fn a_tablespace_goes_where_it_is_mapped() {
    let mappings = ["/ts/a=/new/a".to_owned(), "/ts\\=b=/new/b".to_owned()];
    for (location, expected) in [("/ts/a", "/new/a"), ("/ts=b", "/new/b"), ("/ts/c", "/ts/c")] {
        assert_eq!(mapped(Path::new(location), &mappings), Path::new(expected));
    }
}

#[test]
fn what_goes_to_one_file_system_is_added_up() {
    let need = |place: &str, device, bytes: u64| Need {
        place: place.into(),
        device,
        free: 100 << 20,
        bytes: bytes << 20,
        taken: false,
    };
    assert!(has_room(&vec![need("/data/pg", 1, 60), need("/ts/a", 2, 60)]).is_ok());
    let short = vec![
        need("/data/pg", 1, 60),
        need("/ts/a", 1, 60),
        need("/wal", 2, 60),
    ];
    let refusal = has_room(&short).unwrap_err();
    assert_eq!(
        refusal.what.to_string(),
        "the copy needs 120 MiB on the file system of /data/pg and /ts/a, where 100 MiB are free"
    );
    let taken = Need {
        taken: true,
        ..need("/ts/a", 2, 1)
    };
    assert_eq!(has_room(&vec![taken]).unwrap_err().id, "copy-place");
}

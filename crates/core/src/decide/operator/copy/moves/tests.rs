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

fn plan(old: &OldPlaces, used: &[&str]) -> Result<Moves, Box<Refusal>> {
    let target = |place: &&str| Target {
        place: place.into(),
        location: (!place.starts_with("/wal")).then(|| place.into()),
        bytes: 0,
    };
    let used: Vec<Target> = used.iter().map(target).collect();
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
        (Fixed::Shared, "aside-shared"),
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
fn what_cannot_be_renamed_below_or_around_the_data_directory_is_said() {
    let held = |held| OldPlaces {
        held,
        ..old(vec![])
    };
    assert_eq!(refused(&held(Fixed::Shared), &[]).0, "aside-data-shared");
    let (id, hint) = refused(&held(Fixed::ByRoot), &[]);
    assert_eq!(id, "aside-data-root");
    // In root's directory it is root's link that leads on.
    assert!(
        hint.contains(
            "install -d -o postgres -m 700 /data/pg.d && mv -T /data/pg /data/pg.d/data && ln -s /data/pg.d/data /data/pg;"
        ),
        "{hint}"
    );
}

#[test]
fn what_root_is_told_to_move_mixes_with_nothing_and_is_asked_for_once() {
    let held = |place: &str, link: &str| Outside {
        held: Fixed::ByRoot,
        ..outside(link, place)
    };
    // The new name is that of this command: an earlier one's may be kept still.
    let (_, hint) = refused(&old(vec![held("/ts", "pg_tblspc/1")]), &["/ts"]);
    assert!(
        hint.contains("mv -T /ts /ts.old-7 && runuser -u postgres -- ln -sfn /ts.old-7 /data/pg/pg_tblspc/1 && install -d -o postgres -m 700 /ts; then give the command again"),
        "{hint}"
    );
    // The WAL of a copy goes where the link leads, unless it is told otherwise.
    let (_, hint) = refused(&old(vec![held("/wal", "pg_wal")]), &["/wal"]);
    assert!(
        hint.ends_with("; then cls_rebuild_slave --keep-old --waldir /wal"),
        "{hint}"
    );
}

#[test]
fn what_the_account_has_named_is_a_word_where_root_pastes_it() {
    let held = |held, place: &str| Outside {
        held,
        ..outside("pg_tblspc/1", place)
    };
    let name = "/t s;$(id)";
    for fixed in [Fixed::ByRoot, Fixed::ByMount] {
        let (_, hint) = refused(&old(vec![held(fixed, name)]), &[name]);
        let bare = hint.replace("'/t s;$(id)", "");
        assert!(bare != hint && !bare.contains("$(id)"), "{hint}");
    }
    let (_, hint) = refused(&old(vec![held(Fixed::ByMount, "/a=b")]), &["/a=b"]);
    let mapping = shlex::split(&hint).unwrap()[3].clone();
    assert_eq!(mapping, "/a\\=b=/a\\=b/new.old-7");
    assert_eq!(
        mapped(Path::new("/a=b"), &[mapping]),
        Path::new("/a=b/new.old-7")
    );
    for link in [held(Fixed::No, "/t\nrm"), held(Fixed::No, "/t\u{1b}[2J")] {
        let refusal = plan(&old(vec![link]), &[]).unwrap_err();
        assert_eq!(refusal.id, "aside-name");
        assert!(!refusal.what.to_string().contains(char::is_control));
    }
    let by_the_way = Outside {
        target: "/t\n/../t".into(),
        ..held(Fixed::No, "/t")
    };
    assert_eq!(refused(&old(vec![by_the_way]), &[]).0, "aside-name");
    let data = OldPlaces {
        data: "/data/\r".into(),
        ..old(vec![])
    };
    assert_eq!(refused(&data, &[]).0, "aside-name");
}

#[test]
fn a_copy_that_was_told_to_go_below_is_told_so_again() {
    let target = |place: &str| Target {
        place: place.into(),
        location: Some("/primary".into()),
        bytes: 0,
    };
    let refused = |one: Outside, place: &str| {
        let refusal = plan_moves(&old(vec![one]), "postgres", &[target(place)], SUFFIX);
        let refusal = refusal.unwrap_err();
        (refusal.id, refusal.hint.to_string())
    };
    // What an earlier refusal has named is moved aside, and is never what somebody is told to empty.
    let earlier = outside("pg_tblspc/1", "/ts/new.old-3");
    let (id, hint) = refused(earlier.clone(), "/ts");
    assert_eq!(id, "aside-within");
    assert!(
        hint.contains("--tablespace-mapping /primary=/ts/new.old-3 "),
        "{hint}"
    );
    let moves = plan(&old(vec![earlier]), &["/ts/new.old-3"]).unwrap();
    assert_eq!(moves.places[1], pair("/ts/new.old-3"));
    // The copy is told by the source's place, and not by what the standby's link says.
    let mount = Outside {
        held: Fixed::ByMount,
        ..outside("pg_tblspc/1", "/ts")
    };
    let (id, hint) = refused(mount, "/ts");
    assert_eq!(id, "aside-mount");
    assert!(
        hint.contains("--tablespace-mapping /primary=/ts/new.old-7 "),
        "{hint}"
    );
}

#[test]
fn another_versions_part_of_a_tablespace_is_told() {
    let has = |names: &[&str], major| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        has_other_version(&names, major)
    };
    let (own, other) = ("PG_16_202307071", "PG_1_1");
    assert!(!has(&[], Some(16)));
    assert!(!has(&[own, "lost+found"], Some(16)));
    assert!(has(&[own, other], Some(16)));
    assert!(has(&[other], Some(16)));
    // Where the data do not tell their version.
    assert!(!has(&[own], None));
    assert!(has(&[own, other], None));
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
        unmounted: None,
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
    // Of the data directory that was asked where it was empty.
    let unmounted = |place| Need {
        unmounted: Some("/mnt".into()),
        ..need(place, 1, 1)
    };
    let beside = vec![unmounted("/mnt/pg"), unmounted("/mnt/ts")];
    assert_eq!(has_room(&beside).unwrap_err().id, "copy-mount");
    assert!(has_room(&vec![unmounted("/mnt/pg"), need("/ts", 2, 1)]).is_ok());
}

#[test]
fn only_what_is_moved_aside_frees_its_place() {
    let link = Path::new("/data/link");
    let moves = plan(&old(vec![outside("pg_wal", "/wal/pg")]), &["/wal/pg"]).unwrap();
    for place in ["/data/pg", "/wal/pg", "/wal/pg/below", "/data/link"] {
        assert!(moves.frees(Path::new(place), link), "{place}");
    }
    for place in ["/wal", "/data/pg2", "/ts"] {
        assert!(!moves.frees(Path::new(place), link), "{place}");
    }
    assert!(!Moves::default().frees(link, link));
}

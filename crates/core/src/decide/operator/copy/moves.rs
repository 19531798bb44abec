//! What of old data gets which name, so that they stay whole beside the new copy: the links in them go on
//! leading to old data, and never into the new ones.

use std::path::{Path, PathBuf};

use super::super::{Precondition, Refusal, all_hold};
use crate::begun::Lead;
use crate::message;
use crate::message::Message;
use crate::quoted::{quoted, shell_word as word};
use crate::remedy::Remedy;

/// Whether a directory can be given another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fixed {
    /// It can.
    No,
    /// Only root can write in the directory above it. What a link leads to is the account's word, so
    /// that root renames nothing there.
    ByRoot,
    /// A file system is mounted on it.
    ByMount,
    /// Not only these data are in it: a file system is mounted below it, or another version's part of the
    /// tablespace lies there.
    Shared,
}

/// A place outside of the old data directory that a link in it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    /// The link, from the data directory on: `pg_wal`, `pg_tblspc/16384`.
    pub link: PathBuf,
    /// Where it leads, as it says.
    pub target: PathBuf,
    /// The same without links on the way.
    pub place: PathBuf,
    /// Nothing is there, or nothing in it: so a copy needs it.
    pub empty: bool,
    /// It is a directory of the account's, or nothing.
    pub own: bool,
    /// Whether it can be moved.
    pub held: Fixed,
}

/// The old data as they lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldPlaces {
    /// The data directory, without links on the way where its own name is one.
    pub data: PathBuf,
    /// Whether it can be moved.
    pub held: Fixed,
    /// What lies outside of it.
    pub outside: Vec<Outside>,
}

impl OldPlaces {
    /// Their WAL, where it lies outside of the data directory.
    #[must_use]
    pub fn wal(&self) -> Option<&Outside> {
        self.outside.iter().find(|outside| is_wal(&outside.link))
    }
}

/// What is renamed, and which links lead elsewhere then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moves {
    /// The new name and the old one; the data directory first.
    pub places: Vec<(PathBuf, PathBuf)>,
    /// The links to what lies outside.
    pub links: Vec<Lead>,
}

impl Moves {
    /// Whether what is in a place of `pgdata`'s copy is moved aside, so that nothing is there when the copy is made. The
    /// data directory is looked at by its own name, also where that is a link.
    #[must_use]
    pub fn frees(&self, place: &Path, pgdata: &Path) -> bool {
        let moved = self
            .places
            .iter()
            .any(|(_, moved)| place.starts_with(moved));
        moved || place == pgdata && !self.places.is_empty()
    }
}

/// A place that a copy is written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The place, without links on the way where it is there.
    pub place: PathBuf,
    /// Where the source has the tablespace that goes there; none for the data directory and the WAL.
    pub location: Option<PathBuf>,
    /// Bytes that are written there at least.
    pub bytes: u64,
}

/// One place as its rules take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceFacts {
    /// The link that leads there; none for the data directory.
    pub link: Option<String>,
    /// The place.
    pub place: String,
    /// Where the link leads, as it says.
    pub target: String,
    /// It is a directory of the account's, or nothing.
    pub own: bool,
    /// The data directory lies in it.
    pub above: bool,
    /// Whether it can be moved.
    pub held: Fixed,
    /// The WAL is there.
    pub is_wal: bool,
    /// The new copy would be written there, or to a directory above.
    pub used: bool,
    /// That directory above.
    pub used_above: Option<String>,
    /// What to give for the copy to go elsewhere, as a shell takes it.
    pub elsewhere: String,
    /// Its new name beside it.
    pub kept: String,
    /// The account.
    pub account: String,
}

/// What must be so of each place before anything is moved.
pub const PLACE_RULES: &[Precondition<PlaceFacts>] = &[
    ASIDE_NAME,
    ASIDE_OWN,
    ASIDE_DATA_MOUNT,
    ASIDE_DATA_SHARED,
    ASIDE_DATA_ROOT,
    ASIDE_MOUNT,
    ASIDE_SHARED,
    ASIDE_WITHIN,
    ASIDE_ROOT,
];

const ASIDE_NAME: Precondition<PlaceFacts> = Precondition {
    id: "aside-name",
    says: "No place of old data has control characters in its name: it is shown, and pasted by root.",
    check: |facts| {
        let names = [&facts.place, &facts.target];
        let name = names
            .into_iter()
            .find(|name| name.contains(char::is_control))?;
        Some((
            message!(
                "old data are in {place}, a name with control characters",
                place = quoted(name)
            ),
            message!(
                "look who has made that; give the directory another name, and let the link lead there; then give the command again"
            ),
        ))
    },
};

const ASIDE_OWN: Precondition<PlaceFacts> = Precondition {
    id: "aside-own",
    says: "What a link in the old data leads to is a directory of the database's account, beside the data directory and not above it.",
    check: |facts| {
        let link = facts.link.as_deref()?;
        (!facts.own || facts.above).then(|| {
            let target = facts.place.as_str();
            (
                message!(
                    "{link} leads to {target}, which is no directory of the database's account",
                    link,
                    target
                ),
                message!(
                    "look who has made that link; remove it, or chown the directory, then give the command again"
                ),
            )
        })
    },
};

const ASIDE_DATA_MOUNT: Precondition<PlaceFacts> = Precondition {
    id: "aside-data-mount",
    says: "The data directory is no mount point, which has no other name beside it.",
    check: |facts| {
        (facts.link.is_none() && facts.held == Fixed::ByMount).then(|| {
            let (place, name) = (facts.place.as_str(), facts.account.as_str());
            let elsewhere = facts.elsewhere.as_str();
            (
                message!(
                    "{place} is a mount point, so that the old data cannot be kept beside it",
                    place
                ),
                message!(
                    "copy elsewhere what of them is to be kept (with their postgresql.conf and pg_hba.conf), then: runuser -u {name} -- find {place} -mindepth 1 -delete; then {rebuild}{elsewhere}",
                    rebuild = Remedy::Rebuild.command(),
                    name,
                    place = word(place),
                    elsewhere
                ),
            )
        })
    },
};

const ASIDE_DATA_SHARED: Precondition<PlaceFacts> = Precondition {
    id: "aside-data-shared",
    says: "No file system is mounted below the data directory: after the next boot it would lie over the new copy's.",
    check: |facts| {
        (facts.link.is_none() && facts.held == Fixed::Shared).then(|| {
            let place = facts.place.as_str();
            (
                message!(
                    "a file system is mounted below {place}, so that the old data cannot get another name",
                    place
                ),
                message!(
                    "findmnt shows it; while no server runs on these data, mount it outside of {place} (/etc/fstab too), and let a link in its place lead there; then give the command again",
                    place
                ),
            )
        })
    },
};

const ASIDE_DATA_ROOT: Precondition<PlaceFacts> = Precondition {
    id: "aside-data-root",
    says: "A data directory behind a link does not lie where only root could move it.",
    check: |facts| {
        (facts.link.is_none() && facts.held == Fixed::ByRoot).then(|| {
            let (place, name) = (facts.place.as_str(), facts.account.as_str());
            (
                message!(
                    "the data directory is a link to {place}, in a directory of root's, where the database's account cannot rename it",
                    place
                ),
                // A link of root's in root's directory: the account's own goes on leading there.
                message!(
                    "if it belongs to this database, and while no server runs on it: install -d -o {name} -m 700 {above} && mv -T {place} {above}/data && ln -s {above}/data {place}; then give the command again",
                    name,
                    above = word(&format!("{place}.d")),
                    place = word(place)
                ),
            )
        })
    },
};

/// Where the new copy may go instead of a place that stays as it is.
fn below(facts: &PlaceFacts) -> Message {
    message!(
        "{rebuild} --keep-old{elsewhere} writes the new copy to a directory below it",
        rebuild = Remedy::Rebuild.command(),
        elsewhere = facts.elsewhere.as_str()
    )
}

const ASIDE_MOUNT: Precondition<PlaceFacts> = Precondition {
    id: "aside-mount",
    says: "The new copy is not written to a mount point in which old data are.",
    check: |facts| {
        let link = facts.link.as_deref()?;
        (facts.held == Fixed::ByMount && facts.used).then(|| {
            let to = facts.place.as_str();
            (
                message!(
                    "{link} leads to {to}, a mount point, so that the old data cannot be kept beside it",
                    link,
                    to
                ),
                below(facts),
            )
        })
    },
};

const ASIDE_SHARED: Precondition<PlaceFacts> = Precondition {
    id: "aside-shared",
    says: "The new copy is not written to a directory in which more than the old data is: another version's tablespace, which pg_upgrade has left, or a mount point.",
    check: |facts| {
        let link = facts.link.as_deref()?;
        (facts.held == Fixed::Shared && facts.used).then(|| {
            let to = facts.place.as_str();
            (
                message!(
                    "{link} leads to {to}, in which another version's tablespace or a mount point is as well, so that it is not moved",
                    link,
                    to
                ),
                below(facts),
            )
        })
    },
};

const ASIDE_WITHIN: Precondition<PlaceFacts> = Precondition {
    id: "aside-within",
    says: "The new copy is not written to a directory above old data.",
    check: |facts| {
        let (link, above) = (facts.link.as_deref()?, facts.used_above.as_deref()?);
        let (to, elsewhere) = (facts.place.as_str(), facts.elsewhere.as_str());
        Some((
            message!(
                "{link} leads to {to}, below {above}, where the copy would be written",
                link,
                to,
                above
            ),
            message!(
                "{rebuild} --keep-old{elsewhere} writes the new copy elsewhere",
                rebuild = Remedy::Rebuild.command(),
                elsewhere
            ),
        ))
    },
};

const ASIDE_ROOT: Precondition<PlaceFacts> = Precondition {
    id: "aside-root",
    says: "The new copy is not written to a place of old data that only root could move.",
    check: |facts| {
        let link = facts.link.as_deref()?;
        (facts.held == Fixed::ByRoot && facts.used).then(|| {
            let (place, name) = (facts.place.as_str(), facts.account.as_str());
            let what = message!(
                "{link} leads to {to}, in a directory of root's, where the database's account cannot rename it",
                link,
                to = place
            );
            let (to, kept, link) = (word(place), word(&facts.kept), word(link));
            let hint = match facts.is_wal {
                // Without it the copy's would be where the link leads by then.
                true => message!(
                    "if it belongs to this database, and no server runs on it: mv -T {to} {kept} && runuser -u {name} -- ln -sfn {kept} {link} && install -d -o {name} -m 700 {to}; then {rebuild} --keep-old --waldir {to}",
                    rebuild = Remedy::Rebuild.command(),
                    to,
                    kept,
                    name,
                    link
                ),
                false => message!(
                    "if it belongs to this database, and no server runs on it: mv -T {to} {kept} && runuser -u {name} -- ln -sfn {kept} {link} && install -d -o {name} -m 700 {to}; then give the command again",
                    to,
                    kept,
                    name,
                    link
                ),
            };
            (what, hint)
        })
    },
};

/// What is renamed, for a copy that is written to `used` as well as to the data directory. The new names
/// end in `suffix`. What cannot be renamed stays where it is if the copy goes elsewhere.
///
/// # Errors
/// The old data cannot be kept whole.
pub fn plan_moves(
    old: &OldPlaces,
    account: &str,
    used: &[Target],
    suffix: &str,
) -> Result<Moves, Box<Refusal>> {
    let wal = old.wal();
    all_hold(
        PLACE_RULES,
        &PlaceFacts {
            link: None,
            place: shown(&old.data),
            target: shown(&old.data),
            own: true,
            above: false,
            held: old.held,
            is_wal: false,
            used: true,
            used_above: None,
            elsewhere: wal.map_or_else(String::new, |wal| to_wal_dir(&wal.place)),
            kept: shown(&suffixed(&old.data, suffix)),
            account: account.to_owned(),
        },
    )?;
    let mut outside: Vec<&Outside> = old.outside.iter().collect();
    // One that lies in another is moved with it.
    outside.sort_by_key(|outside| outside.place.components().count());
    let mut places = vec![(suffixed(&old.data, suffix), old.data.clone())];
    let mut links = Vec::new();
    for one in outside {
        let with = within(&places, &one.place);
        let moves = with.is_none() && !one.empty && one.held == Fixed::No;
        if with.is_none() {
            all_hold(PLACE_RULES, &facts(old, one, account, used, suffix))?;
        }
        if moves {
            places.push((suffixed(&one.place, suffix), one.place.clone()));
        }
        let now = match (with, one.empty || moves) {
            (Some(with), _) => with,
            // An empty one is the copy's: the link leads to nothing rather than there.
            (None, true) => suffixed(&one.place, suffix),
            (None, false) => one.target.clone(),
        };
        links.push(Lead {
            link: one.link.clone(),
            was: one.target.clone(),
            now,
        });
    }
    Ok(Moves { places, links })
}

fn facts(
    old: &OldPlaces,
    one: &Outside,
    account: &str,
    used: &[Target],
    suffix: &str,
) -> PlaceFacts {
    // A directory that old data are in cannot be the copy's, and one below can.
    let into = used
        .iter()
        .find(|used| !one.empty && one.place.starts_with(&used.place));
    let above = into.filter(|into| into.place != one.place);
    let new = match (above, one.held) {
        // Where an earlier copy was told to go: that is moved aside.
        (Some(_), Fixed::No) => one.place.clone(),
        _ => one.place.join(format!("new{suffix}")),
    };
    PlaceFacts {
        link: Some(shown(&old.data.join(&one.link))),
        place: shown(&one.place),
        target: shown(&one.target),
        own: one.own,
        above: old.data.starts_with(&one.place),
        held: one.held,
        is_wal: is_wal(&one.link),
        used: into.is_some(),
        used_above: above.map(|above| shown(&above.place)),
        elsewhere: into.map_or_else(String::new, |into| match &into.location {
            Some(location) => to_mapping(location, &new),
            None => to_wal_dir(&new),
        }),
        kept: shown(&suffixed(&one.place, suffix)),
        account: account.to_owned(),
    }
}

fn to_wal_dir(new: &Path) -> String {
    format!(" --waldir {}", word(&shown(new)))
}

/// As [`mapped`] takes it.
fn to_mapping(location: &Path, new: &Path) -> String {
    let [location, new] = [location, new].map(|path| shown(path).replace('=', "\\="));
    format!(" --tablespace-mapping {}={}", word(&location), word(&new))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Whether another version's part of a tablespace lies beside that of these data (`PG_14_202107181`): where
/// `pg_upgrade` has left it, it is the old cluster's. Without the major version of these data, whether there
/// is more than one.
#[must_use]
pub fn has_other_version(names: &[String], major: Option<u32>) -> bool {
    let mut parts = names.iter().filter(|name| name.starts_with("PG_"));
    match major {
        Some(major) => {
            let own = format!("PG_{major}_");
            parts.any(|name| !name.starts_with(&own))
        }
        None => parts.count() > 1,
    }
}

pub(super) fn is_wal(link: &Path) -> bool {
    link == Path::new("pg_wal")
}

/// The new name of what lies in one of the places that are renamed.
fn within(places: &[(PathBuf, PathBuf)], place: &Path) -> Option<PathBuf> {
    places.iter().find_map(|(aside, of)| {
        let rest = place.strip_prefix(of).ok()?;
        Some(match rest.as_os_str().is_empty() {
            true => aside.clone(),
            false => aside.join(rest),
        })
    })
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Where a tablespace of the source goes, by what `--tablespace-mapping` was given (`OLD=NEW`, in which a
/// sign of equality that belongs to a path is written `\=`, as `pg_basebackup` takes it).
#[must_use]
pub fn mapped(location: &Path, mappings: &[String]) -> PathBuf {
    let plain = |text: &str| PathBuf::from(text.replace("\\=", "="));
    let pair = |mapping: &String| {
        let at = mapping
            .match_indices('=')
            .map(|(at, _)| at)
            .find(|at| !mapping[..*at].ends_with('\\'))?;
        Some((plain(&mapping[..at]), plain(&mapping[at + 1..])))
    };
    mappings
        .iter()
        .filter_map(pair)
        .find(|(old, _)| old == location)
        .map_or_else(|| location.to_owned(), |(_, new)| new)
}

/// What of a copy goes to one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The place.
    pub place: PathBuf,
    /// The device of its file system.
    pub device: u64,
    /// Bytes that are free there.
    pub free: u64,
    /// Bytes that are written there at least.
    pub bytes: u64,
    /// There is something in it, which is not moved aside.
    pub taken: bool,
    /// The mount point that it lies in, on which nothing is mounted although `/etc/fstab` names it.
    pub unmounted: Option<PathBuf>,
}

/// What must be so of the file systems that a copy is written to; the data directory's need is the first.
pub const ROOM_RULES: &[Precondition<Vec<Need>>] = &[COPY_MOUNT, COPY_PLACE, COPY_ROOM];

const COPY_MOUNT: Precondition<Vec<Need>> = Precondition {
    id: "copy-mount",
    says: "What /etc/fstab names is mounted where tablespaces and WAL are copied to. (Of the data directory that is asked where it is empty.)",
    check: |needs| {
        let beside = needs.iter().skip(1);
        let (place, point) = beside
            .filter_map(|need| Some((&need.place, need.unmounted.as_ref()?)))
            .next()?;
        let (place, point) = (shown(place), shown(point));
        Some((
            message!(
                "the copy is written to {place} too, and nothing is mounted on {point}, which /etc/fstab names",
                place,
                point = point.as_str()
            ),
            message!(
                "mount {point}; where that file system is not to be used any more, take its line out of /etc/fstab; then give the command again",
                point = word(&point)
            ),
        ))
    },
};

const COPY_PLACE: Precondition<Vec<Need>> = Precondition {
    id: "copy-place",
    says: "Nothing is in the places that a copy is written to, once the old data are aside.",
    check: |needs| {
        let taken = needs.iter().find(|need| need.taken)?;
        let place = taken.place.display().to_string();
        Some((
            message!(
                "the copy is written to {place} too, which is not empty",
                place
            ),
            message!(
                "see what it is, and empty it; or give another place with --waldir or --tablespace-mapping"
            ),
        ))
    },
};

const COPY_ROOM: Precondition<Vec<Need>> = Precondition {
    id: "copy-room",
    says: "Each file system that a copy is written to has room for it beside what is kept.",
    check: |needs| {
        let short = needs.iter().find(|one| all_of(needs, one) > one.free)?;
        let there = needs.iter().filter(|need| need.device == short.device);
        let places =
            Message::all(there.map(|need| Message::from(need.place.display().to_string())));
        Some((
            message!(
                "the copy needs {needed} MiB on the file system of {places}, where {free} MiB are free",
                needed = all_of(needs, short).div_ceil(1 << 20),
                places,
                free = short.free >> 20
            ),
            message!(
                "make room there (old data that an earlier command has kept: ls -d {place}.old-*), or give other places with --waldir and --tablespace-mapping; where the file system holds more than it says (compression), --ignore-space",
                place = word(&shown(&short.place))
            ),
        ))
    },
};

/// All that goes to the file system of one place.
fn all_of(needs: &[Need], one: &Need) -> u64 {
    let there = needs.iter().filter(|need| need.device == one.device);
    there.fold(0, |sum, need| sum.saturating_add(need.bytes))
}

/// # Errors
/// A place is taken, or a file system has no room for what of the copy goes there.
pub fn has_room(needs: &Vec<Need>) -> Result<(), Box<Refusal>> {
    all_hold(ROOM_RULES, needs)
}

#[cfg(test)]
mod tests;

//! What of old data gets which name, so that they stay whole beside the new copy: the links in them go on
//! leading to old data, and never into the new ones.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::{Precondition, Refusal, all_hold};
use crate::message;
use crate::message::Message;

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

/// A link in the old data, and where it leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lead {
    /// The link, from the data directory on.
    pub link: PathBuf,
    /// Where it led.
    pub was: PathBuf,
    /// Where it leads once the old data are aside; the same for what is not moved.
    pub now: PathBuf,
}

/// What is renamed, and which links lead elsewhere then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moves {
    /// The new name and the old one; the data directory first.
    pub places: Vec<(PathBuf, PathBuf)>,
    /// The links to what lies outside.
    pub links: Vec<Lead>,
}

/// One place as its rules take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceFacts {
    /// The link that leads there; none for the data directory.
    pub link: Option<String>,
    /// The place.
    pub place: String,
    /// It is a directory of the account's, or nothing.
    pub own: bool,
    /// The data directory lies in it.
    pub above: bool,
    /// Whether it can be moved.
    pub held: Fixed,
    /// The new copy would be written there.
    pub used: bool,
    /// What to give for the copy to go elsewhere.
    pub elsewhere: String,
    /// The account.
    pub account: String,
}

/// What must be so of each place before anything is moved.
pub const PLACE_RULES: &[Precondition<PlaceFacts, Message>] = &[
    Precondition {
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
    },
    Precondition {
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
                        "copy elsewhere what of them is to be kept (with their postgresql.conf and pg_hba.conf), then: runuser -u {name} -- find {place} -mindepth 1 -delete; then cls_rebuild_slave{elsewhere}",
                        name,
                        place,
                        elsewhere
                    ),
                )
            })
        },
    },
    Precondition {
        id: "aside-mount",
        says: "The new copy is not written to a mount point in which old data are.",
        check: |facts| {
            let link = facts.link.as_deref()?;
            (facts.held == Fixed::ByMount && facts.used).then(|| {
                let (to, elsewhere) = (facts.place.as_str(), facts.elsewhere.as_str());
                (
                    message!(
                        "{link} leads to {to}, a mount point, so that the old data cannot be kept beside it",
                        link,
                        to
                    ),
                    message!(
                        "cls_rebuild_slave --keep-old{elsewhere} writes the new copy to a directory below it",
                        elsewhere
                    ),
                )
            })
        },
    },
    Precondition {
        id: "aside-root",
        says: "The new copy is not written to a place of old data that only root could move.",
        check: |facts| {
            (facts.held == Fixed::ByRoot && facts.used).then(|| {
                let (to, name) = (facts.place.as_str(), facts.account.as_str());
                let link = facts.link.as_deref().unwrap_or(to);
                (
                    message!(
                        "{link} leads to {to}, in a directory of root's, where the database's account cannot rename it",
                        link,
                        to
                    ),
                    message!(
                        "if it belongs to this database, and no server runs on it: mv {to} {to}.old && runuser -u {name} -- ln -sfn {to}.old {link} && install -d -o {name} -m 700 {to}; then give the command again",
                        to,
                        name,
                        link
                    ),
                )
            })
        },
    },
];

/// What is renamed, for a copy that is written to `used` as well as to the data directory. The new names
/// end in `suffix`. What cannot be renamed stays where it is if the copy goes elsewhere.
///
/// # Errors
/// The old data cannot be kept whole.
pub fn plan_moves(
    old: &OldPlaces,
    account: &str,
    used: &[PathBuf],
    suffix: &str,
) -> Result<Moves, Box<Refusal<Message>>> {
    let wal = old.outside.iter().find(|outside| is_wal(&outside.link));
    all_hold(
        PLACE_RULES,
        &PlaceFacts {
            link: None,
            place: old.data.display().to_string(),
            own: true,
            above: false,
            held: old.held,
            used: true,
            elsewhere: wal.map_or_else(String::new, |wal| {
                format!(" --waldir {}", wal.target.display())
            }),
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
    used: &[PathBuf],
    suffix: &str,
) -> PlaceFacts {
    let below = one.place.join(format!("new{suffix}"));
    PlaceFacts {
        link: Some(old.data.join(&one.link).display().to_string()),
        place: one.place.display().to_string(),
        own: one.own,
        above: old.data.starts_with(&one.place),
        held: one.held,
        // A directory that old data are in cannot be the copy's, and one below can.
        used: !one.empty && used.iter().any(|used| one.place.starts_with(used)),
        elsewhere: match is_wal(&one.link) {
            true => format!(" --waldir {}", below.display()),
            false => format!(
                " --tablespace-mapping {}={}",
                one.target.display(),
                below.display()
            ),
        },
        account: account.to_owned(),
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
}

/// What must be so of the file systems that a copy is written to.
pub const ROOM_RULES: &[Precondition<Vec<Need>, Message>] = &[COPY_PLACE, COPY_ROOM];

const COPY_PLACE: Precondition<Vec<Need>, Message> = Precondition {
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

const COPY_ROOM: Precondition<Vec<Need>, Message> = Precondition {
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
                place = short.place.display().to_string()
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
pub fn has_room(needs: &Vec<Need>) -> Result<(), Box<Refusal<Message>>> {
    all_hold(ROOM_RULES, needs).map_err(Box::new)
}

#[cfg(test)]
mod tests;

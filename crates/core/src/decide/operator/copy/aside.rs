//! The old data while a copy is made in their place: what is moved, what is removed, and when they may be
//! started again.

use std::path::{Path, PathBuf};

use super::CopyFacts;
use super::moves::is_wal;
use crate::begun::{Begun, Lead, Mark};

/// The old data of a node whose directories are made anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OldData {
    /// What was moved aside: where it is now, and where it belongs.
    pub aside: Vec<(PathBuf, PathBuf)>,
    /// They are a rest, or it cannot be told whether they are whole, and must not be started.
    pub damaged: bool,
    /// The links of what was moved aside that lead out of the data directory.
    pub links: Vec<Lead>,
    /// They are being moved: what is in a place that is not aside yet is old data, and no copy's.
    pub under_way: bool,
    /// Where else a copy is written to; nothing was there before.
    pub into: Vec<PathBuf>,
}

/// How room is made for a copy.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Room {
    /// An earlier copy was interrupted: what it has left is removed, and what it had moved aside stays there.
    /// Where it was still moving (`under_way`), that is gone on with.
    Resumed(OldData),
    /// What is there is moved aside.
    Moved {
        /// It has the mark of something that was interrupted, and must not be started.
        damaged: bool,
    },
}

/// How room is made where the data directory has this mark; `there` says whether anything has that name.
///
/// # Errors
/// Those of `there`: what cannot be told is no reason to remove anything.
pub fn room<E>(mark: Option<Mark>, there: impl FnMut(&Path) -> Result<bool, E>) -> Result<Room, E> {
    match mark {
        Some(mark) if mark.method == Begun::Backup => {
            let mut old = OldData {
                aside: mark.aside,
                damaged: mark.damaged,
                links: mark.links,
                under_way: mark.under_way,
                into: mark.into,
            };
            // It was interrupted before it moved that, or while it was put back; or somebody has taken it away
            // since. In the first case the old data are in their place, in the last one half a copy is.
            if !old.under_way && old.still_aside(there)?.len() < old.aside.len() {
                old.damaged = true;
            }
            Ok(Room::Resumed(old))
        }
        marked => Ok(Room::Moved {
            damaged: marked.is_some(),
        }),
    }
}

impl OldData {
    /// Those directories that are aside: where each is, and where it belongs. The others were not moved, or are
    /// back: what is in their place is not a copy's.
    ///
    /// # Errors
    /// Those of `there`.
    pub fn still_aside<E>(
        &self,
        mut there: impl FnMut(&Path) -> Result<bool, E>,
    ) -> Result<Vec<(PathBuf, PathBuf)>, E> {
        let mut found = Vec::new();
        for (aside, place) in &self.aside {
            if there(aside)? {
                found.push((aside.clone(), place.clone()));
            }
        }
        Ok(found)
    }

    /// The directories that hold nothing but what an unsuccessful copy has left, which is removed. Where
    /// nothing was moved aside that is the data directory, which was empty ([`OldData::may_be_copied_over`]).
    ///
    /// # Errors
    /// Those of `there`.
    pub fn copied_into<E>(
        &self,
        pgdata: &Path,
        there: impl FnMut(&Path) -> Result<bool, E>,
    ) -> Result<Vec<PathBuf>, E> {
        if self.under_way {
            return Ok(Vec::new());
        }
        let mut places = match self.aside.is_empty() {
            true => vec![pgdata.to_owned()],
            false => {
                let aside = self.still_aside(there)?;
                aside.into_iter().map(|(_, place)| place).collect()
            }
        };
        places.extend(self.into.iter().cloned());
        Ok(places)
    }

    /// The places that a copy needs beside those that were freed for it: they are removed if it fails.
    pub fn copies_into(&mut self, places: impl IntoIterator<Item = PathBuf>) {
        let freed: Vec<_> = self.aside.iter().map(|(_, place)| place).collect();
        self.into = places
            .into_iter()
            .filter(|place| !freed.contains(&place))
            .collect();
    }

    /// The mark while a copy is made in their place.
    #[must_use]
    pub fn begun(&self, method: Begun, source: &str) -> Mark {
        Mark {
            aside: self.aside.clone(),
            damaged: self.damaged,
            links: self.links.clone(),
            under_way: self.under_way,
            into: self.into.clone(),
            ..Mark::new(method, source)
        }
    }

    /// What of them was not moved, since the copy is written elsewhere.
    #[must_use]
    pub fn stays(&self) -> Vec<&Path> {
        let stays = self.links.iter().filter(|lead| lead.was == lead.now);
        stays.map(|lead| lead.now.as_path()).collect()
    }

    /// Where their WAL was, if not in the data directory. A relative link begins there.
    #[must_use]
    pub fn wal_was(&self) -> Option<PathBuf> {
        let lead = self.links.iter().find(|lead| is_wal(&lead.link))?;
        let (_, data) = self.aside.first()?;
        Some(data.join(&lead.was))
    }

    /// Where a copy's data directory is made: what was moved lay behind a link perhaps, which leads to nothing
    /// by then.
    #[must_use]
    pub fn data_place<'a>(&'a self, pgdata: &'a Path) -> &'a Path {
        self.aside.first().map_or(pgdata, |(_, place)| place)
    }

    /// Whether a copy may begin. What is in the data directory when it is marked is taken for what the copy
    /// has left ([`OldData::copied_into`]): a file system that was mounted after the first look, or what somebody
    /// has laid there. `empty`: there is nothing in it now. Where it was moved aside, only what that has freed is
    /// removed.
    #[must_use]
    pub fn may_be_copied_over(&self, empty: bool) -> bool {
        empty || !self.aside.is_empty()
    }

    /// The mark of the old data when they are where they were: none where they may be started again.
    #[must_use]
    pub fn mark(&self) -> Option<Mark> {
        self.damaged.then(Mark::of_rest)
    }
}

/// Whether room has to be made: something lies in the data directory, or an interrupted copy knows where the
/// old data are. It has perhaps left nothing; what it knows must not be lost.
pub(super) fn needs_room(facts: &CopyFacts) -> bool {
    facts.data != super::Data::Nothing || facts.unfinished == Some(Begun::Backup)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const PGDATA: &str = "/d/data";

    fn pairs(names: &[&str]) -> Vec<(PathBuf, PathBuf)> {
        let pair = |name: &&str| (format!("{name}.old").into(), (*name).into());
        names.iter().map(pair).collect()
    }

    fn old(names: &[&str]) -> OldData {
        OldData {
            aside: pairs(names),
            ..OldData::default()
        }
    }

    fn backup(names: &[&str]) -> Mark {
        Mark {
            aside: pairs(names),
            ..Mark::new(Begun::Backup, "b")
        }
    }

    fn only(there: &'static [&'static str]) -> impl FnMut(&Path) -> Result<bool, ()> {
        move |path| Ok(there.iter().any(|name| Path::new(name) == path))
    }

    fn unclear(_: &Path) -> Result<bool, ()> {
        Err(())
    }

    #[test]
    fn nothing_is_removed_but_what_a_copy_has_made() {
        let moved = old(&[PGDATA, "/t"]);
        // The tablespace was not moved yet: the old data are in it.
        let left = moved.copied_into(Path::new(PGDATA), only(&["/d/data.old", PGDATA, "/t"]));
        assert_eq!(left, Ok(vec![PGDATA.into()]));
        assert_eq!(
            moved.copied_into(Path::new(PGDATA), only(&[PGDATA, "/t"])),
            Ok(vec![])
        );
        let all = moved.copied_into(Path::new(PGDATA), only(&["/d/data.old", "/t.old"]));
        assert_eq!(all, Ok(vec![PGDATA.into(), "/t".into()]));
        assert_eq!(moved.copied_into(Path::new(PGDATA), unclear), Err(()));
        // Where nothing was moved the data directory was empty when the copy began.
        let fresh = OldData::default();
        let left = fresh.copied_into(Path::new(PGDATA), only(&[PGDATA]));
        assert_eq!(left, Ok(vec![PGDATA.into()]));
        assert!(!fresh.may_be_copied_over(false));
        assert!(fresh.may_be_copied_over(true));
        assert!(moved.may_be_copied_over(false));
    }

    #[test]
    fn an_interrupted_copy_goes_on_and_what_it_had_moved_stays() {
        let there = || only(&["/d/data.old", "/t.old", PGDATA]);
        let names = [PGDATA, "/t"];
        let resumed = room(Some(backup(&names)), there());
        assert_eq!(resumed, Ok(Room::Resumed(old(&names))));
        // The copy of an empty directory leaves what may be removed.
        let empty = room(Some(backup(&[])), there());
        assert_eq!(empty, Ok(Room::Resumed(OldData::default())));
        let damaged = Mark {
            damaged: true,
            ..backup(&names)
        };
        let OldData { aside, .. } = old(&names);
        let damaged = room(Some(damaged), there());
        let rest = OldData {
            aside,
            damaged: true,
            ..OldData::default()
        };
        assert_eq!(damaged, Ok(Room::Resumed(rest.clone())));
        // Whether that was moved, is back, or was taken away by somebody cannot be told.
        let part = room(Some(backup(&names)), only(&["/d/data.old", "/t"]));
        assert_eq!(part, Ok(Room::Resumed(rest)));
        assert_eq!(room(Some(backup(&names)), unclear), Err(()));
    }

    #[test]
    fn what_has_another_mark_or_none_is_moved_and_only_the_latter_is_started_again() {
        let moved = |damaged| Ok(Room::Moved { damaged });
        assert_eq!(room(None, unclear), moved(false));
        for method in [Begun::Rewind, Begun::Initdb] {
            let mark = Mark {
                method,
                ..backup(&[])
            };
            assert_eq!(room(Some(mark), unclear), moved(true));
        }
        assert_eq!(old(&[PGDATA]).mark(), None);
        let damaged = OldData {
            damaged: true,
            ..old(&[PGDATA])
        };
        assert_eq!(damaged.mark(), Some(Mark::of_rest()));
    }

    #[test]
    fn a_copy_is_made_where_what_was_moved_lay() {
        let link = Path::new("/d/link");
        assert_eq!(old(&[PGDATA, "/t"]).data_place(link), Path::new(PGDATA));
        assert_eq!(OldData::default().data_place(link), link);
    }

    #[test]
    fn only_what_is_aside_is_moved_back() {
        let moved = old(&[PGDATA, "/t"]);
        let back = moved.still_aside(only(&["/t.old", PGDATA]));
        assert_eq!(back, Ok(pairs(&["/t"])));
        assert_eq!(moved.still_aside(unclear), Err(()));
    }

    #[test]
    fn what_is_being_moved_is_no_copys() {
        let lead = |link: &str, was: &str, now: &str| Lead {
            link: link.into(),
            was: was.into(),
            now: now.into(),
        };
        let mut moving = OldData {
            links: vec![
                lead("pg_tblspc/1", "/t", "/t.old"),
                lead("pg_tblspc/2", "/mount", "/mount"),
                lead("pg_wal", "/w", "/w.old"),
            ],
            under_way: true,
            ..old(&[PGDATA, "/t", "/w"])
        };
        let mark = moving.begun(Begun::Backup, "b");
        let mark = Mark::of_text(&serde_json::to_vec(&mark).unwrap());
        // Whatever is aside by then: it is gone on with, and nothing is removed.
        for there in [&[PGDATA, "/t", "/w"][..], &["/d/data.old", "/t", "/w"]] {
            let there = |path: &Path| Ok::<_, ()>(there.iter().any(|name| Path::new(name) == path));
            let resumed = room(Some(mark.clone()), there);
            assert_eq!(resumed, Ok(Room::Resumed(moving.clone())));
            assert_eq!(moving.copied_into(Path::new(PGDATA), there), Ok(vec![]));
        }
        assert_eq!(moving.wal_was(), Some("/w".into()));
        let relative = OldData {
            links: vec![lead("pg_wal", "../w", "/d/w.old")],
            ..moving.clone()
        };
        assert_eq!(relative.wal_was(), Some("/d/data/../w".into()));
        assert_eq!(moving.stays(), [Path::new("/mount")]);
        // What the copy makes elsewhere goes with what it makes in the places that were freed.
        moving.under_way = false;
        moving.copies_into([PGDATA, "/t", "/new"].map(PathBuf::from));
        let left = moving.copied_into(Path::new(PGDATA), |_| Ok::<_, ()>(true));
        assert_eq!(
            left,
            Ok([PGDATA, "/t", "/w", "/new"].map(PathBuf::from).to_vec())
        );
    }
}

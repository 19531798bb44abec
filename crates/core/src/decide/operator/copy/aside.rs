//! The old data while a copy is made in their place: what is moved, what is removed, and when they may be
//! started again.

use std::path::{Path, PathBuf};

use super::CopyFacts;
use crate::begun::{Begun, Mark};

/// The old data of a node whose directories are made anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OldData {
    /// What was moved aside: where it is now, and where it belongs.
    pub aside: Vec<(PathBuf, PathBuf)>,
    /// They are a rest, or it cannot be told whether they are whole, and must not be started.
    pub damaged: bool,
}

/// How room is made for a copy.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Room {
    /// An earlier copy was interrupted: what it has left is removed, and what it had moved aside stays there.
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
            };
            // It was interrupted before it moved that, or while it was put back; or somebody has taken it away
            // since. In the first case the old data are in their place, in the last one half a copy is.
            if old.still_aside(there)?.len() < old.aside.len() {
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
        if self.aside.is_empty() {
            return Ok(vec![pgdata.to_owned()]);
        }
        let aside = self.still_aside(there)?;
        Ok(aside.into_iter().map(|(_, place)| place).collect())
    }

    /// Those directories that a move which failed halfway takes back: they are aside, and nothing is in their
    /// place.
    ///
    /// # Errors
    /// Those of `there`.
    pub fn to_take_back<E>(
        &self,
        mut there: impl FnMut(&Path) -> Result<bool, E>,
    ) -> Result<Vec<(PathBuf, PathBuf)>, E> {
        let mut found = Vec::new();
        for (aside, place) in self.still_aside(&mut there)? {
            if !there(&place)? {
                found.push((aside, place));
            }
        }
        Ok(found)
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
            damaged: false,
        }
    }

    fn backup(names: &[&str]) -> Mark {
        Mark {
            method: Begun::Backup,
            source: "b".to_owned(),
            aside: pairs(names),
            damaged: false,
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
    fn only_what_is_aside_is_moved_back() {
        let moved = old(&[PGDATA, "/t"]);
        let back = moved.still_aside(only(&["/t.old", PGDATA]));
        assert_eq!(back, Ok(pairs(&["/t"])));
        assert_eq!(moved.still_aside(unclear), Err(()));
        let back = moved.to_take_back(only(&["/d/data.old", "/t.old", "/t"]));
        assert_eq!(back, Ok(pairs(&[PGDATA])));
        assert_eq!(moved.to_take_back(unclear), Err(()));
    }
}

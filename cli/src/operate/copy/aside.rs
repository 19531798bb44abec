//! Moving the old data aside, and back where the copy fails.
//!
//! The links in the data directory are the account's word: what they lead to is moved, emptied and
//! made by the account alone. The data directory itself is named by the cluster's configuration; its
//! own name is changed by root where only root can write in the directory above.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use pha_core::begun::Mark;
use pha_core::decide::operator::{CopyPlan, Method, OldData, Room, room};
use pha_core::message;
use pha_host::account::Kind;
use pha_host::files::FileError;
use pha_host::own::{self, Parent};
use pha_host::unfinished;

use super::{Work, broken};
use crate::error::ClsError;

impl Work<'_> {
    /// The mark of a copy that has not ended, if there is one. What an earlier version has left beside
    /// the data directory counts only after the operator has confirmed it.
    pub(super) fn unfinished(&self) -> Result<Option<Mark>, ClsError> {
        if let Some(mark) = self.copies.mark().map_err(|error| broken(&error))? {
            return Ok(Some(mark));
        }
        let (owner, pgdata) = (&self.pg.user, &self.pg.pgdata);
        let beside = unfinished::beside(owner, pgdata).map_err(|error| {
            ClsError::refused(
                error.to_string(),
                message!(
                    "look what is there; if no earlier version of these programs has left it, remove it"
                ),
            )
        })?;
        let Some(beside) = beside else {
            return Ok(None);
        };
        if self.order.accepted_mark.as_deref() != Some(beside.word.as_str()) {
            return Err(ClsError::refused(
                message!(
                    "{shown}; an earlier version of these programs left such marks, where the database's account can write",
                    shown = beside.shown()
                ),
                message!(
                    "if it is so: cls_rebuild_slave --keep-old --accept-mark {word} on {node}; if not: move what belongs elsewhere by hand, then rm '{path}'",
                    word = beside.word,
                    node = self.node,
                    path = beside.path.display().to_string()
                ),
            ));
        }
        if !self.order.dry_run {
            unfinished::take_over(owner, pgdata, &beside).map_err(|error| broken(&error))?;
        }
        Ok(Some(beside.mark))
    }

    /// Makes room for a copy. Where an earlier one was interrupted, what it has left is removed,
    /// and what it had moved aside stays there.
    pub(super) fn set_aside(&mut self, plan: &CopyPlan) -> Result<(), ClsError> {
        let mark = self.copies.mark().map_err(|error| broken(&error))?;
        let room = room(mark, |path| self.there(path)).map_err(|error| broken(&error))?;
        let damaged = match room {
            Room::Resumed(old) => {
                self.old = old;
                return self.clear_partial();
            }
            Room::Moved { damaged } => damaged,
        };
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let places = self.places()?;
        let aside = places
            .into_iter()
            .map(|place| (suffixed(&place, &format!(".old-{seconds}")), place))
            .collect();
        self.old = OldData { aside, damaged };
        // Written down before it is done, so that an interruption in between can be undone.
        self.mark(plan, Method::Backup)?;
        for (aside, place) in &self.old.aside {
            self.rename(place, aside)
                .map_err(|error| {
                    ClsError::failed(
                        message!(
                            "moving {place} to {aside}: {error}",
                            place = place.display().to_string(),
                            aside = aside.display().to_string(),
                            error = error.to_string()
                        ),
                        message!(
                            "a mount point cannot be moved: empty it by hand, then cls_rebuild_slave"
                        ),
                    )
                })
                .inspect_err(|_| self.put_back_quietly())?;
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        if self.is_pgdata(from) || self.is_pgdata(to) {
            own::rename_for(&self.pg.user, from, to)
        } else {
            self.pg.user.files().rename(from, to)
        }
    }

    fn is_pgdata(&self, path: &Path) -> bool {
        path == self.pg.pgdata
    }

    /// The directories that belong to the old data: its own, that of the WAL, the tablespaces.
    pub(super) fn places(&self) -> Result<Vec<PathBuf>, ClsError> {
        let (pgdata, files) = (&self.pg.pgdata, self.pg.user.files());
        let failed = |error: FileError| broken(&error);
        let mut places = Vec::new();
        if files.look_at_name(pgdata).map_err(failed)?.is_some() {
            places.push(pgdata.clone());
        }
        let tablespaces = pgdata.join("pg_tblspc");
        let mut links = vec![pgdata.join("pg_wal")];
        let names = files.names(&tablespaces, "").map_err(failed)?;
        links.extend(
            names
                .into_iter()
                .flatten()
                .map(|name| tablespaces.join(name)),
        );
        for link in links {
            let target = files.link(&link).map_err(failed)?;
            let Some(target) = target.filter(|target| target.is_absolute()) else {
                continue;
            };
            let Some(stat) = files.look(&target).map_err(failed)? else {
                continue;
            };
            if stat.kind != Kind::Directory || stat.uid != self.pg.user.uid() {
                return Err(foreign(&link, &target));
            }
            let names = files.names(&target, "").map_err(failed)?;
            // An empty one is as a copy needs it.
            if names.is_some_and(|names| !names.is_empty()) {
                self.can_be_moved(&link, &target)?;
                places.push(target);
            }
        }
        Ok(places)
    }

    /// Whoever owns the data can make such a link to anything, so that only what he can rename himself
    /// is renamed.
    fn can_be_moved(&self, link: &Path, target: &Path) -> Result<(), ClsError> {
        match own::parent_of(target) {
            Ok(Parent::Others) => Ok(()),
            Ok(Parent::Own(..) | Parent::Missing(..)) => {
                let (to, name) = (target.display().to_string(), self.pg.user.name());
                Err(ClsError::refused(
                    message!(
                        "{link} leads to {to}, in a directory of root's, where the database's account cannot rename it",
                        link = link.display().to_string(),
                        to
                    ),
                    message!(
                        "if it belongs to this database: mv {to} {to}.old && install -d -o {name} -m 700 {to}; then give the command again",
                        to,
                        name
                    ),
                ))
            }
            Err(error) => Err(broken(&format!("{}: {error}", target.display()))),
        }
    }

    /// The directory for the WAL, where the old data had one of their own.
    pub(super) fn old_wal_dir(&self) -> Option<PathBuf> {
        let (aside, _) = self.old.aside.first()?;
        let target = self.pg.user.files().link(&aside.join("pg_wal")).ok()??;
        target.is_absolute().then_some(target)
    }

    /// Whether anything has that name.
    fn there(&self, path: &Path) -> Result<bool, FileError> {
        let found = self.pg.user.files().look(path)?;
        Ok(found.is_some())
    }

    /// Removes what an unsuccessful copy has left in the places that were freed for it.
    pub(super) fn clear_partial(&self) -> Result<(), ClsError> {
        let files = self.pg.user.files().within(self.deadline);
        let places = self
            .old
            .copied_into(&self.pg.pgdata, |path| self.there(path))
            .map_err(|error| broken(&error))?;
        for place in places {
            let _ = files.clear(&place).map_err(|error| broken(&error))?;
        }
        Ok(())
    }

    /// After a copy that failed: the old data are where they were, and the node as before.
    pub(super) fn put_back(&mut self) -> Result<(), ClsError> {
        self.clear_partial()?;
        let aside = self.old.still_aside(|path| self.there(path));
        for (aside, place) in aside.map_err(|error| broken(&error))? {
            // Empty by now, if it is there at all.
            self.remove_empty(&place).map_err(|error| broken(&error))?;
            self.rename(&aside, &place)
                .map_err(|error| broken(&format!("moving {} back: {error}", aside.display())))?;
        }
        self.mark_old().map_err(|error| broken(&error))?;
        self.old.aside.clear();
        if self.old.damaged {
            return Ok(());
        }
        self.forget_configuration()
    }

    fn remove_empty(&self, place: &Path) -> Result<(), FileError> {
        let removed = if self.is_pgdata(place) {
            own::remove_directory_for(&self.pg.user, place)
        } else {
            self.pg.user.files().remove_directory(place)
        };
        removed.map(drop)
    }

    /// Lets the old data be started again, unless they must not be.
    fn mark_old(&self) -> Result<(), FileError> {
        match self.old.mark() {
            Some(mark) => self.copies.begin(&mark),
            None => self.copies.end(),
        }
    }

    fn put_back_quietly(&self) {
        if let Err(error) = self.try_put_back() {
            tracing::warn!("{error}");
        }
    }

    fn try_put_back(&self) -> Result<(), FileError> {
        for (aside, place) in self.old.to_take_back(|path| self.there(path))? {
            self.rename(&aside, &place)?;
        }
        self.mark_old()
    }
}

fn foreign(link: &Path, target: &Path) -> ClsError {
    ClsError::refused(
        message!(
            "{link} leads to {target}, which is no directory of the database's account",
            link = link.display().to_string(),
            target = target.display().to_string()
        ),
        message!(
            "look who has made that link; remove it, or chown the directory, then give the command again"
        ),
    )
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

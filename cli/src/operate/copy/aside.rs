//! Moving the old data aside, and back where the copy fails.

use std::path::PathBuf;

use pha_core::begun::Mark;
use pha_core::decide::operator::{CopyPlan, Method, OldData, Room, room, started_meanwhile};
use pha_core::message;
use pha_host::files::FileError;
use pha_host::rewind::Source;
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
    pub(super) fn set_aside(&mut self, plan: &CopyPlan, source: &Source) -> Result<(), ClsError> {
        let mark = self.copies.mark().map_err(|error| broken(&error))?;
        let room = room(mark, |path| self.pg.has_name(path)).map_err(|error| broken(&error))?;
        match room {
            Room::Resumed(old) => {
                self.old = old;
                if !self.old.under_way {
                    return self.clear_partial();
                }
            }
            Room::Moved { damaged } => {
                let moves = self.moves(plan, source)?;
                self.old = OldData {
                    aside: moves.places,
                    links: moves.links,
                    damaged,
                    under_way: true,
                    into: Vec::new(),
                };
                for (aside, _) in &self.old.aside {
                    if self.pg.has_name(aside).map_err(|error| broken(&error))? {
                        let aside = aside.display().to_string();
                        return Err(ClsError::refused(
                            message!("there is something called {aside} already", aside),
                            message!("give the command again"),
                        ));
                    }
                }
                // Written down before it is done, so that an interruption in between can be gone on with.
                self.mark(plan, Method::Backup)?;
                if self.is_running() {
                    self.mark_old().map_err(|error| broken(&error))?;
                    return Err(ClsError::from(*started_meanwhile(&self.node)));
                }
            }
        }
        self.pg
            .move_aside(&self.old)
            .map_err(|error| broken(&error))
            .inspect_err(|_| self.put_back_quietly())?;
        self.old.under_way = false;
        Ok(())
    }

    /// The directory for the WAL, where the old data had one of their own.
    pub(super) fn old_wal_dir(&self) -> Option<PathBuf> {
        if let Some(was) = self.old.wal_was() {
            return Some(was);
        }
        // Versions that wrote no links into their mark left those as they were.
        let (aside, _) = self.old.aside.first()?;
        let target = self.pg.user.files().link(&aside.join("pg_wal")).ok()??;
        target.is_absolute().then_some(target)
    }

    /// Removes what an unsuccessful copy has left in the places that were freed for it.
    fn clear_partial(&self) -> Result<(), ClsError> {
        let cleared = self.pg.clear_copy(&self.old, self.deadline);
        cleared.map_err(|error| broken(&error))
    }

    /// After a copy that failed, or was not even begun: the old data are where they were, and the node as before.
    pub(super) fn put_back(&mut self, plan: &CopyPlan, begun: bool) -> Result<(), ClsError> {
        if begun {
            self.clear_partial()?;
        }
        // What is back in its place is no copy's, should this be interrupted.
        self.old.under_way = true;
        self.old.into.clear();
        self.mark(plan, Method::Backup)?;
        self.try_put_back().map_err(|error| broken(&error))?;
        let damaged = self.old.damaged;
        self.old = OldData::default();
        if damaged {
            return Ok(());
        }
        self.forget_configuration()
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
        self.pg.move_back(&self.old)?;
        self.mark_old()
    }
}

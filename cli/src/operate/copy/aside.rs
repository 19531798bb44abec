//! Moving the old data aside, and back where the copy fails.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use pha_core::decide::operator::{CopyPlan, Method};
use pha_host::unfinished;

use super::{Work, broken};
use crate::error::ClsError;

impl Work<'_> {
    /// Makes room for a copy. Where an earlier one was interrupted, what it has left is removed,
    /// and what it had moved aside stays there.
    pub(super) fn set_aside(&mut self, plan: &CopyPlan) -> Result<(), ClsError> {
        let mark = unfinished::read(&self.pg.pgdata).map_err(|error| broken(&error))?;
        let is_marked = mark.is_some();
        if let Some(mark) = mark.filter(|mark| mark.method == Method::Backup.to_string()) {
            self.aside = mark.aside;
            self.damaged = mark.damaged;
            self.clear_partial()?;
            return Ok(());
        }
        self.damaged = is_marked;
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let places = self.places()?;
        self.aside = places
            .into_iter()
            .map(|place| (suffixed(&place, &format!(".old-{seconds}")), place))
            .collect();
        // Written down before it is done, so that an interruption in between can be undone.
        self.mark(plan, Method::Backup)?;
        for (aside, place) in &self.aside {
            std::fs::rename(place, aside)
                .map_err(|error| {
                    ClsError::failed(
                        format!("moving {} to {}: {error}", place.display(), aside.display()),
                        "a mount point cannot be moved: empty it by hand, then cls_rebuild_slave",
                    )
                })
                .inspect_err(|_| self.put_back_quietly())?;
        }
        Ok(())
    }

    /// The directories that belong to the old data: its own, that of the WAL, the tablespaces.
    pub(super) fn places(&self) -> Result<Vec<PathBuf>, ClsError> {
        let pgdata = &self.pg.pgdata;
        let mut places = Vec::new();
        if pgdata.exists() {
            places.push(pgdata.clone());
        }
        let mut links = vec![pgdata.join("pg_wal")];
        if let Ok(entries) = std::fs::read_dir(pgdata.join("pg_tblspc")) {
            links.extend(entries.flatten().map(|entry| entry.path()));
        }
        for link in links {
            let target = std::fs::read_link(&link).ok();
            let Some(target) = target.filter(|target| target.is_absolute() && target.exists())
            else {
                continue;
            };
            self.belongs_to_owner(&link, &target)?;
            places.push(target);
        }
        Ok(places)
    }

    /// Whoever owns the data can make such a link to anything, and root moves what it leads to.
    fn belongs_to_owner(&self, link: &Path, target: &Path) -> Result<(), ClsError> {
        let owner = std::fs::metadata(target)
            .map_err(|error| broken(&format!("{}: {error}", target.display())))?
            .uid();
        if owner == self.pg.user.uid() {
            return Ok(());
        }
        Err(ClsError::refused(
            format!(
                "{} leads to {}, which does not belong to the database's account",
                link.display(),
                target.display()
            ),
            "look who has made that link; remove it, or chown the directory, then give the command again",
        ))
    }

    /// The directory for the WAL, where the old data had one of their own.
    pub(super) fn old_wal_dir(&self) -> Option<PathBuf> {
        let (aside, _) = self.aside.first()?;
        let target = std::fs::read_link(aside.join("pg_wal")).ok()?;
        target.is_absolute().then_some(target)
    }

    /// Removes what an unsuccessful copy has left in the places that were freed for it.
    pub(super) fn clear_partial(&self) -> Result<(), ClsError> {
        let mut places: Vec<&Path> = self
            .aside
            .iter()
            .filter(|(aside, _)| aside.exists())
            .map(|(_, place)| place.as_path())
            .collect();
        if self.aside.is_empty() {
            places.push(&self.pg.pgdata);
        }
        for place in places {
            let entries = match std::fs::read_dir(place) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(broken(&format!("{}: {error}", place.display()))),
            };
            for entry in entries.flatten() {
                let path = entry.path();
                let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
                let removed = if is_dir {
                    std::fs::remove_dir_all(&path)
                } else {
                    std::fs::remove_file(&path)
                };
                removed.map_err(|error| broken(&format!("{}: {error}", path.display())))?;
            }
        }
        Ok(())
    }

    /// After a copy that failed: the old data are where they were, and the node as before.
    pub(super) fn put_back(&mut self) -> Result<(), ClsError> {
        self.clear_partial()?;
        for (aside, place) in &self.aside {
            if !aside.exists() {
                continue;
            }
            // Empty by now, if it is there at all.
            let _ = std::fs::remove_dir(place);
            std::fs::rename(aside, place)
                .map_err(|error| broken(&format!("moving {} back: {error}", aside.display())))?;
        }
        self.unmark_old()?;
        self.aside.clear();
        if self.damaged {
            return Ok(());
        }
        self.forget_configuration()
    }

    /// Lets the old data be started again, unless they must not be.
    fn unmark_old(&self) -> Result<(), ClsError> {
        let marked = if self.damaged {
            let rest = unfinished::Unfinished {
                method: Method::Rewind.to_string(),
                source: String::new(),
                aside: Vec::new(),
                damaged: true,
            };
            unfinished::begin(&self.pg.pgdata, &rest)
        } else {
            unfinished::end(&self.pg.pgdata)
        };
        marked.map_err(|error| broken(&error))
    }

    fn put_back_quietly(&self) {
        for (aside, place) in &self.aside {
            if aside.exists() && !place.exists() && std::fs::rename(aside, place).is_err() {
                return;
            }
        }
        if let Err(error) = self.unmark_old() {
            tracing::warn!("{error}");
        }
    }
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

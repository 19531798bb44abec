//! Moving old data aside, and back, so that they stay whole.
//!
//! The links in the data directory are the account's word: what they lead to is moved, emptied and made by
//! the account alone. The data directory itself is named by the cluster's configuration; its own name is
//! changed by root where only root can write in the directory above.
//!
//! Each deed looks what is there already, so that it can be done again after an interruption at any point:
//! the mark is written before the first, and says when what is in the places is no old data any more
//! ([`OldData`]).

use std::path::{Path, PathBuf};

use pha_core::decide::operator::{
    Fixed, Lead, Need, OldData, OldPlaces, Outside, has_other_version,
};

use super::PgCtl;
use crate::account::Kind;
use crate::clock::Deadline;
use crate::files::FileError;
use crate::missing;
use crate::own::{self, Parent};

impl PgCtl {
    /// Where the old data lie: the data directory, that of the WAL, the tablespaces; `None` where there is no
    /// data directory.
    ///
    /// # Errors
    /// Something cannot be looked at.
    pub fn old_places(&self) -> Result<Option<OldPlaces>, FileError> {
        let (pgdata, files) = (&self.pgdata, self.user.files());
        let Some(name) = files.look_at_name(pgdata)? else {
            return Ok(None);
        };
        let Some(real) = files.real(pgdata)? else {
            return Ok(None);
        };
        // Behind a link, the directory itself is what is moved: its file system has the room.
        let is_link = name.kind == Kind::Link;
        let held = held(&real)?;
        let (data, held) = match is_link {
            true => (real, held),
            false if held == Fixed::ByRoot => (pgdata.clone(), Fixed::No),
            false => (pgdata.clone(), held),
        };
        let tablespaces = Path::new("pg_tblspc");
        let mut links = vec![PathBuf::from("pg_wal")];
        let names = files.names(&data.join(tablespaces), "")?;
        // The server and pg_basebackup know no others; what else is there is not looked at.
        let numbers = |name: &String| name.bytes().all(|byte| byte.is_ascii_digit());
        let names = names.into_iter().flatten().filter(numbers);
        links.extend(names.map(|name| tablespaces.join(name)));
        let major = self.data_version().ok().map(|version| version.major());
        let mut outside = Vec::new();
        for link in links {
            outside.extend(self.outside(&data, link, major)?);
        }
        Ok(Some(OldPlaces {
            data,
            held,
            outside,
        }))
    }

    fn outside(
        &self,
        data: &Path,
        link: PathBuf,
        major: Option<u32>,
    ) -> Result<Option<Outside>, FileError> {
        let files = self.user.files();
        let Some(target) = files.link(&data.join(&link))? else {
            return Ok(None);
        };
        let place = match files.real(&data.join(&link))? {
            Some(real) => real,
            None if target.is_absolute() => target.clone(),
            None => return Ok(None),
        };
        let stat = files.look(&place)?;
        let names = match stat.is_some_and(|stat| stat.kind == Kind::Directory) {
            true => files.names(&place, "")?,
            false => None,
        };
        let shared = link.starts_with("pg_tblspc")
            && names
                .as_deref()
                .is_some_and(|names| has_other_version(names, major));
        Ok(Some(Outside {
            empty: stat.is_none() || names.is_some_and(|names| names.is_empty()),
            own: stat
                .is_none_or(|stat| stat.kind == Kind::Directory && stat.uid == self.user.uid()),
            held: match held(&place)? {
                Fixed::No | Fixed::ByRoot if shared => Fixed::Shared,
                held => held,
            },
            link,
            target,
            place,
        }))
    }

    /// Whether anything has that name.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn has_name(&self, path: &Path) -> Result<bool, FileError> {
        let found = self.user.files().look_at_name(path)?;
        Ok(found.is_some())
    }

    /// Moves aside what is not there yet, and then lets the links of it lead to what was moved. What has
    /// neither name any more, an operator has removed.
    ///
    /// # Errors
    /// Something cannot be renamed, or a link not changed.
    pub fn move_aside(&self, old: &OldData) -> Result<(), FileError> {
        for (aside, place) in &old.aside {
            if !self.has_name(aside)? && self.has_name(place)? {
                self.rename(place, aside)?;
            }
        }
        let kept = old.aside.first().map(|(aside, _)| aside);
        self.lead(kept, old, |lead| &lead.now)
    }

    /// Removes what a copy has left in the places that were freed for it.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn clear_copy(&self, old: &OldData, deadline: Deadline) -> Result<(), FileError> {
        let files = self.user.files().within(deadline);
        for place in old.copied_into(&self.pgdata, |path| self.has_name(path))? {
            let _ = files.clear(&place)?;
        }
        Ok(())
    }

    /// Gives the places to what is aside; they are empty by now, if they are there at all. The links lead
    /// where they led.
    ///
    /// # Errors
    /// Something cannot be renamed, or a link not changed.
    pub fn move_back(&self, old: &OldData) -> Result<(), FileError> {
        for (aside, place) in old.still_aside(|path| self.has_name(path))? {
            let _ = match self.is_data_directory(&place) {
                true => own::remove_directory_for(&self.user, &place)?,
                false => self.user.files().remove_directory(&place)?,
            };
            self.rename(&aside, &place)?;
        }
        let data = old.aside.first().map(|(_, place)| place);
        self.lead(data, old, |lead| &lead.was)
    }

    fn lead(
        &self,
        data: Option<&PathBuf>,
        old: &OldData,
        to: fn(&Lead) -> &Path,
    ) -> Result<(), FileError> {
        let Some(data) = data else {
            return Ok(());
        };
        for lead in old.links.iter().filter(|lead| lead.was != lead.now) {
            let link = data.join(&lead.link);
            // Half a copy has not all of them, where the old data were taken away.
            if self.user.files().link(&link)?.is_none() {
                continue;
            }
            let _ = self.user.files().lead(&link, to(lead))?;
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        match self.is_data_directory(from) || self.is_data_directory(to) {
            true => own::rename_for(&self.user, from, to),
            false => self.user.files().rename(from, to),
        }
    }

    fn is_data_directory(&self, path: &Path) -> bool {
        path == self.pgdata
    }

    /// What a copy of so many bytes finds at a place, which need not be there yet.
    ///
    /// # Errors
    /// Its file system cannot be asked.
    pub fn need(&self, place: &Path, bytes: u64) -> Result<Need, FileError> {
        let files = self.user.files();
        let mut there = place;
        let stat = loop {
            if let Some(stat) = files.look(there)? {
                break stat;
            }
            there = there.parent().unwrap_or(Path::new("/"));
        };
        let names = files.names(place, "")?;
        // As its mount point is known to the kernel, whether the place is there yet or not.
        let real = files.real(there)?.unwrap_or_else(|| there.to_owned());
        let real = real.join(place.strip_prefix(there).unwrap_or(place));
        Ok(Need {
            device: stat.device,
            free: files.free_space(there)?,
            bytes,
            taken: names.is_some_and(|names| !names.is_empty()),
            unmounted: missing::unmounted(&real),
            place: place.to_owned(),
        })
    }
}

/// Whether a directory, named without links on the way, can be given another name by its account.
fn held(place: &Path) -> Result<Fixed, FileError> {
    if let Some(held) = missing::held_by_mount(place) {
        return Ok(held);
    }
    match own::parent_of(place) {
        Ok(Parent::Others) => Ok(Fixed::No),
        Ok(Parent::Own(..) | Parent::Missing(..)) => Ok(Fixed::ByRoot),
        Err(error) => Err(FileError::new("looking at", place, error)),
    }
}

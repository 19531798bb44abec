//! Why there are no data where they should be. A file system that was not mounted at boot leaves an empty
//! directory: who makes a database there fills the mount point, and hides it when the right one is back.

use std::path::{Path, PathBuf};

use pha_core::begun::HadData;
use pha_core::decide::operator::Fixed;
use pha_core::names::ResourceName;
use pha_core::parse::mounts;
use pha_core::remedy::Remedy;

use crate::asked::Asked;
use crate::files;
use crate::node::memory_file;
use crate::record::RecordFile;

/// The mount point that a path lies in, or is, and on which nothing is mounted although `/etc/fstab`
/// names it; the deepest one.
#[must_use]
pub fn unmounted(path: &Path) -> Option<PathBuf> {
    let text = |file: &str| files::read_text(Path::new(file)).ok().flatten();
    let fstab = text("/etc/fstab")?;
    let mounted = text("/proc/self/mountinfo")?;
    mounts::not_mounted(&fstab, &mounted, path)
}

/// Why a directory, named without links on the way, has to stay where it is: a file system is mounted on it,
/// or below it.
#[must_use]
pub(crate) fn held_by_mount(path: &Path) -> Option<Fixed> {
    let mounted = files::read_text(Path::new("/proc/self/mountinfo")).ok()??;
    if mounts::is_mounted_on(&mounted, path) {
        return Some(Fixed::ByMount);
    }
    mounts::is_mounted_below(&mounted, path).then_some(Fixed::Shared)
}

/// Whether this node had data in that directory, by what only root can write.
fn recorded(resource: &ResourceName, pgdata: &Path) -> HadData {
    let record = RecordFile::beside(&memory_file(resource)).load();
    let record = record.map(|record| record.map(|record| record.system.to_string()));
    let asked = Asked::kept(resource).map(|asked| {
        let here = asked.filter(|asked| asked.pgdata == pgdata)?;
        here.cluster.system
    });
    HadData::of([record.map_err(|error| error.to_string()), asked])
}

/// What to say of a data directory without `PG_VERSION`.
pub(crate) fn reason(resource: &ResourceName, pgdata: &Path) -> String {
    if let Some(point) = unmounted(pgdata) {
        let point = point.display();
        return format!(
            "nothing is mounted on {point}, which /etc/fstab names; mount {point}: no PG_VERSION in {}",
            pgdata.display()
        );
    }
    text(recorded(resource, pgdata), pgdata)
}

/// The same where nothing is known to be missing. What to do comes first, within what Pacemaker shows, however
/// long the path is. Only a node that never had data is told to make them.
fn text(had: HadData, pgdata: &Path) -> String {
    let place = pgdata.display();
    match had {
        HadData::Yes(system) => format!(
            "its file system seems not to be mounted (findmnt); only if the data are lost, {} --keep-old: no PG_VERSION in {place}, where data with system identifier {system} were",
            Remedy::Rebuild.command()
        ),
        HadData::Unknown(why) => format!(
            "see that its file system is mounted (findmnt) before anything is made there: no PG_VERSION in {place}, and whether data were there cannot be told: {why}"
        ),
        HadData::Never => format!(
            "{} where another node has the database, initdb on a new cluster's first node, or correct pgdata: no PG_VERSION in {place}",
            Remedy::Rebuild
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pha_core::reason::SHOWN;

    #[test]
    fn what_to_do_is_within_what_pacemaker_shows() {
        let pgdata = Path::new("/").join("directory/".repeat(30));
        for (had, advice) in [
            (
                HadData::Yes("7000000000000000000".to_owned()),
                "cls_rebuild_slave --keep-old",
            ),
            (
                HadData::Yes("7000000000000000000".to_owned()),
                "seems not to be mounted (findmnt)",
            ),
            (
                HadData::Unknown("permission denied".to_owned()),
                "is mounted (findmnt)",
            ),
            (HadData::Never, "run cls_rebuild_slave where another node"),
            (
                HadData::Never,
                "initdb on a new cluster's first node, or correct pgdata",
            ),
        ] {
            let text = text(had, &pgdata);
            assert!(text[..SHOWN].contains(advice), "{text}");
        }
    }
}

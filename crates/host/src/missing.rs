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

/// What to say of a data directory without `PG_VERSION`; of a long reason Pacemaker cuts the end. Only a
/// node that never had data is told to make them.
pub(crate) fn reason(resource: &ResourceName, pgdata: &Path) -> String {
    let place = pgdata.display();
    if let Some(point) = unmounted(pgdata) {
        let point = point.display();
        return format!(
            "no PG_VERSION in {place}: nothing is mounted on {point}, which /etc/fstab names; mount {point}"
        );
    }
    match recorded(resource, pgdata) {
        HadData::Yes(system) => format!(
            "no PG_VERSION in {place}: its file system seems not to be mounted (findmnt); data with system identifier {system} were there; only if they are lost, {} --keep-old",
            Remedy::Rebuild.command()
        ),
        HadData::Unknown(why) => format!(
            "no PG_VERSION in {place}, and whether data were there cannot be told; see that its file system is mounted (findmnt) before anything is made there: {why}"
        ),
        HadData::Never => format!(
            "{place} is no data directory of PostgreSQL: it has no PG_VERSION; {} where another node has the database, initdb for the first node of a new cluster, or correct pgdata",
            Remedy::Rebuild
        ),
    }
}

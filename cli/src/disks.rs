//! The file systems of this node that PostgreSQL writes to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pha_core::doctor::DiskFacts;
use pha_core::params::Params;
use pha_core::parse::mounts;
use pha_host::clock::Deadline;
use pha_host::command::Command;
use pha_host::node;
use pha_host::user::User;

/// What each has left, by one of the places on it: the data directory, the WAL and the tablespaces where they lie
/// elsewhere, the directory of the agent's files. One that cannot be asked is not there.
pub(crate) fn of(params: &Params, deadline: Deadline) -> BTreeMap<String, DiskFacts> {
    let Ok(owner) = User::lookup(&params.pgdba) else {
        return BTreeMap::new();
    };
    let mut places = vec![PathBuf::from(&params.pgdata)];
    let pg = node::pg_ctl(params).ok();
    let old = pg.and_then(|pg| pg.old_places().ok().flatten());
    places.extend(
        old.into_iter()
            .flat_map(|old| old.outside)
            .map(|outside| outside.place),
    );
    let agents = PathBuf::from(&params.tmpdir);
    places.push(agents.clone());
    let mounted = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut seen = Vec::new();
    let mut disks = BTreeMap::new();
    for place in places {
        let Some((point, mut disk)) = left(&place, &owner, &mounted, deadline) else {
            continue;
        };
        // Each file system once, by the first that lies on it.
        if !seen.contains(&point) {
            seen.push(point);
            // It is the last, so that a file system on which PostgreSQL lies too is named by that.
            disk.agents = place == agents;
            disks.insert(place.to_string_lossy().into_owned(), disk);
        }
    }
    disks
}

/// Where the file system of a place is mounted, and what it has left.
fn left(
    place: &Path,
    owner: &User,
    mounted: &str,
    deadline: Deadline,
) -> Option<(PathBuf, DiskFacts)> {
    let output = Command::new("df")
        .args([
            "--block-size=1",
            "--output=avail,size,iavail,itotal,target",
            "--",
        ])
        .arg(place)
        .run_as(owner)
        .run(deadline)
        .ok()?;
    parsed(&output.text(), mounted)
}

fn parsed(text: &str, mounted: &str) -> Option<(PathBuf, DiskFacts)> {
    let line = text.lines().nth(1)?;
    let mut fields = line.split_whitespace();
    let [free, size, files, all] = std::array::from_fn(|_| fields.next());
    // A dash where the file system has no such number.
    let files = files
        .zip(all)
        .and_then(|(files, all)| files.parse().ok().zip(all.parse().ok()));
    let point = PathBuf::from(fields.collect::<Vec<_>>().join(" "));
    let disk = DiskFacts {
        free: free?.parse().ok()?,
        size: size?.parse().ok()?,
        files,
        read_only: mounts::is_read_only(mounted, &point),
        agents: false,
        point: point.to_str().map(str::to_owned),
    };
    Some((point, disk))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_df_says_is_understood() {
        let heading = "     Avail       1B-blocks   IFree  Inodes Mounted on\n";
        let info =
            "36 1 8:1 / /my wal rw - ext4 /dev/sda1 rw\n37 1 8:2 / /data ro - ext4 /dev/sdb rw\n";
        let said = |line: &str| parsed(&format!("{heading}{line}\n"), info);
        let (point, disk) = said(" 79054196736 270553174016 100 6400 /my wal").unwrap();
        assert_eq!(point, Path::new("/my wal"));
        assert_eq!((disk.free, disk.size), (79_054_196_736, 270_553_174_016));
        assert_eq!(disk.point.as_deref(), Some("/my wal"));
        assert_eq!((disk.files, disk.read_only), (Some((100, 6400)), false));
        let (_, disk) = said("0 7 - - /data").unwrap();
        assert_eq!((disk.free, disk.files, disk.read_only), (0, None, true));
        assert_eq!(said("nothing of the kind"), None);
        assert_eq!(parsed(heading, info), None);
    }
}

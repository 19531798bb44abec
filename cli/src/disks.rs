//! The file systems of this node that PostgreSQL writes to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pha_core::doctor::DiskFacts;
use pha_core::params::Params;
use pha_core::parse::mounts;
use pha_host::clock::Deadline;
use pha_host::command::Command;
use pha_host::user::User;

/// By one of the places on it.
pub(crate) type Disks = BTreeMap<String, DiskFacts>;

/// Where the links to the tablespaces are, each named by its number.
const TABLESPACES: &str = "pg_tblspc";

/// What is left where PostgreSQL cannot do without: the data directory, the WAL (behind a link, or mounted there), and the
/// directory of the agent's files. One that cannot be asked is not there.
pub(crate) fn own(params: &Params, deadline: Deadline) -> Disks {
    let Ok(owner) = User::lookup(&params.pgdba) else {
        return Disks::new();
    };
    let data = PathBuf::from(&params.pgdata);
    let wal = data.join("pg_wal");
    let places = [
        (data, false),
        (wal, false),
        (PathBuf::from(&params.tmpdir), true),
    ];
    looked_at(places, &owner, deadline)
}

/// And of the tablespaces. Asked apart: one that does not answer (a server of NFS that is gone) takes all the time there
/// is.
pub(crate) fn tablespaces(params: &Params, deadline: Deadline) -> Disks {
    let Ok(owner) = User::lookup(&params.pgdba) else {
        return Disks::new();
    };
    let directory = Path::new(&params.pgdata).join(TABLESPACES);
    let names = owner.files().names(&directory, "").ok().flatten();
    let names = names.into_iter().flatten();
    let numbers = names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let places = numbers.map(|name| (directory.join(name), false));
    looked_at(places, &owner, deadline)
}

/// Both. Each file system is there once.
pub(crate) fn together(own: Disks, tablespaces: Disks) -> Disks {
    let all = own.into_iter().chain(tablespaces);
    all.fold(Disks::new(), |mut disks, (place, disk)| {
        add(&mut disks, place, disk);
        disks
    })
}

/// Adds one, if it is not there by another place on it. Where PostgreSQL lies too, it is not the agent's alone.
fn add(disks: &mut Disks, place: String, disk: DiskFacts) {
    let known = disks
        .iter()
        .find(|(_, known)| known.point.is_some() && known.point == disk.point)
        .map(|(place, known)| (place.clone(), known.agents));
    match known {
        Some((known, true)) if !disk.agents => {
            disks.remove(&known);
        }
        Some(_) => return,
        None => {}
    }
    disks.insert(place, disk);
}

fn looked_at(
    places: impl IntoIterator<Item = (PathBuf, bool)>,
    owner: &User,
    deadline: Deadline,
) -> Disks {
    let mounted = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut disks = Disks::new();
    for (place, agents) in places {
        // One that hangs leaves time for the others.
        let step = deadline.sub_budget(deadline.left() / 2);
        let Some(disk) = left(&place, owner, &mounted, step) else {
            continue;
        };
        // Said as where it lies, not as the link to it.
        let target = owner.files().within(step).link(&place).ok().flatten();
        let shown = target.filter(|target| target.is_absolute());
        let shown = shown.unwrap_or(place).to_string_lossy().into_owned();
        add(&mut disks, shown, DiskFacts { agents, ..disk });
    }
    disks
}

/// What the file system of a place has left.
fn left(place: &Path, owner: &User, mounted: &str, deadline: Deadline) -> Option<DiskFacts> {
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

fn parsed(text: &str, mounted: &str) -> Option<DiskFacts> {
    let line = text.lines().nth(1)?;
    let mut fields = line.split_whitespace();
    let [free, size, files, all] = std::array::from_fn(|_| fields.next());
    // A dash where the file system has no such number.
    let files = files
        .zip(all)
        .and_then(|(files, all)| files.parse().ok().zip(all.parse().ok()));
    let point = PathBuf::from(fields.collect::<Vec<_>>().join(" "));
    Some(DiskFacts {
        free: free?.parse().ok()?,
        size: size?.parse().ok()?,
        files,
        read_only: mounts::is_read_only(mounted, &point),
        agents: false,
        point: point.to_str().map(str::to_owned),
    })
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
        let disk = said(" 79054196736 270553174016 100 6400 /my wal").unwrap();
        assert_eq!((disk.free, disk.size), (79_054_196_736, 270_553_174_016));
        assert_eq!(disk.point.as_deref(), Some("/my wal"));
        assert_eq!((disk.files, disk.read_only), (Some((100, 6400)), false));
        let disk = said("0 7 - - /data").unwrap();
        assert_eq!((disk.free, disk.files, disk.read_only), (0, None, true));
        assert_eq!(said("nothing of the kind"), None);
        assert_eq!(parsed(heading, info), None);
    }

    #[test]
    fn each_file_system_is_there_once_and_postgresqls_place_names_it() {
        let disk = |point: &str, agents| DiskFacts {
            point: Some(point.to_owned()),
            agents,
            ..DiskFacts::default()
        };
        let named = |own: &[(&str, DiskFacts)], spaces: &[(&str, DiskFacts)]| {
            let all = |of: &[(&str, DiskFacts)]| {
                let of = of.iter().cloned();
                of.map(|(place, disk)| (place.to_owned(), disk)).collect()
            };
            let places = together(all(own), all(spaces)).into_keys();
            places.collect::<Vec<String>>()
        };
        let own = [
            ("/data", disk("/", false)),
            ("/data/pg_wal", disk("/data/pg_wal", false)),
            ("/tmpdir", disk("/tmpdir", true)),
        ];
        assert_eq!(named(&own, &[]), ["/data", "/data/pg_wal", "/tmpdir"]);
        let spaces = [
            ("/opt/space", disk("/", false)),
            ("/tmpdir/space", disk("/tmpdir", false)),
        ];
        assert_eq!(
            named(&own, &spaces),
            ["/data", "/data/pg_wal", "/tmpdir/space"]
        );
    }

    /// A tablespace that cannot be looked at, as its link leads nowhere, keeps none of the others from being seen; and
    /// the WAL is looked at as a directory too, on which something may be mounted.
    #[test]
    fn one_that_cannot_be_looked_at_keeps_no_other() {
        let scratch = std::env::temp_dir().join(format!("cls-disks-{}", std::process::id()));
        let data = scratch.join("data");
        std::fs::create_dir_all(data.join("pg_wal")).unwrap();
        std::fs::create_dir_all(data.join(TABLESPACES)).unwrap();
        let link = |name: &str, target: &Path| {
            let link = data.join(TABLESPACES).join(name);
            std::os::unix::fs::symlink(target, link).unwrap();
        };
        link("16384", Path::new("/nowhere/at/all"));
        link("16385", &scratch);
        let owner = User::current().unwrap();
        let deadline = Deadline::after(std::time::Duration::from_secs(60));
        let places = ["16384", "16385"].map(|name| (data.join(TABLESPACES).join(name), false));
        let disks = looked_at(places, &owner, deadline);
        let seen: Vec<&str> = disks.keys().map(String::as_str).collect();
        assert_eq!(seen, [scratch.to_str().unwrap()]);
        assert!(left(&data.join("pg_wal"), &owner, "", deadline).is_some());
        std::fs::remove_dir_all(&scratch).unwrap();
    }
}

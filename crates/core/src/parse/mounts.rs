//! File systems that ought to be mounted (fstab(5)) and those that are (`/proc/self/mountinfo`, proc(5)).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The mount points of `fstab` that a path lies in, or is, and on which nothing is mounted: the deepest
/// one. Lines that are neither a comment nor an entry are passed over, since others write these files.
#[must_use]
pub fn not_mounted(fstab: &str, mountinfo: &str, path: &Path) -> Option<PathBuf> {
    let mounted: BTreeSet<PathBuf> = mountinfo
        .lines()
        .filter_map(|line| field(line, 4))
        .collect();
    fstab
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| field(line, 1))
        .filter(|point| point.is_absolute() && path.starts_with(point))
        .filter(|point| !mounted.contains(point))
        .max_by_key(|point| point.components().count())
}

/// Whether a file system is mounted on a directory; its path has no links in it.
#[must_use]
pub fn is_mounted_on(mountinfo: &str, path: &Path) -> bool {
    mountinfo
        .lines()
        .any(|line| field(line, 4).is_some_and(|point| point == path))
}

/// The same of a directory below it.
#[must_use]
pub fn is_mounted_below(mountinfo: &str, path: &Path) -> bool {
    mountinfo
        .lines()
        .filter_map(|line| field(line, 4))
        .any(|point| point != path && point.starts_with(path))
}

/// Whether the file system that is mounted on a directory can be read alone: the mount says so (the sixth field), or the
/// file system does, as after an error (the last). Of several mounts the last one counts.
#[must_use]
pub fn is_read_only(mountinfo: &str, point: &Path) -> bool {
    let mounts = mountinfo.lines();
    let mount = mounts
        .rev()
        .find(|line| field(line, 4).is_some_and(|mounted| mounted == point));
    let read_only = |options: &str| options.split(',').any(|option| option == "ro");
    mount.is_some_and(|line| {
        let mut fields = line.split_whitespace();
        let own = fields.nth(5).is_some_and(read_only);
        own || fields.next_back().is_some_and(read_only)
    })
}

/// A field between blanks, in which a blank and the like are written as `\040`.
fn field(line: &str, number: usize) -> Option<PathBuf> {
    let mut rest = line.split_whitespace().nth(number)?;
    let mut text = String::new();
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        let escaped = after
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match escaped.filter(u8::is_ascii) {
            Some(byte) => {
                text.push(char::from(byte));
                rest = &after[3..];
            }
            None => {
                text.push('\\');
                rest = after;
            }
        }
    }
    text.push_str(rest);
    Some(PathBuf::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FSTAB: &str = "# /data of the array\n\
        UUID=1 / ext4 errors=remount-ro 0 1\n\
        UUID=2 /data xfs defaults 0 2\n\
        UUID=3 /data/my\\040db xfs noauto\n\
        UUID=4 none swap sw 0 0\n\
        damaged\n\
        UUID=5 /srv xfs defaults 0 2\n";

    fn mounted(points: &[&str]) -> String {
        let line = |point: &&str| format!("36 35 98:0 / {point} rw - ext4 /dev/root rw\n");
        points.iter().map(line).collect()
    }

    #[test]
    fn the_deepest_mount_point_without_a_file_system_is_found() {
        for (points, path, expected) in [
            (
                &["/", "/data", "/data/my\\040db"][..],
                "/data/my db/pg",
                None,
            ),
            (&["/", "/data"], "/data/my db/pg", Some("/data/my db")),
            (&["/", "/data/my\\040db"], "/data/my db/pg", Some("/data")),
            (&["/"], "/data/pg", Some("/data")),
            (&["/"], "/data", Some("/data")),
            (&["/", "/srv/x", "/srv"], "/srv", None),
            (&["/", "/srvx", "/srv"], "/srv", None),
            (&["/", "/srv/pg/pg_wal", "/srv"], "/srv/pg", None),
            (&["/"], "/database/pg", None),
            (&["/"], "/var/lib/pg", None),
            (&[], "/var/lib/pg", Some("/")),
        ] {
            assert_eq!(
                is_mounted_on(&mounted(points), Path::new(path)),
                points.contains(&path),
                "{path}"
            );
            let below = points.iter().any(|point| {
                point.starts_with(path) && point.as_bytes().get(path.len()) == Some(&b'/')
            });
            assert_eq!(
                is_mounted_below(&mounted(points), Path::new(path)),
                below,
                "{path}"
            );
            let found = not_mounted(FSTAB, &mounted(points), Path::new(path));
            assert_eq!(found, expected.map(PathBuf::from), "{points:?} {path}");
        }
        assert_eq!(not_mounted("", "", Path::new("/data")), None);
        assert_eq!(field("a b\\0x \\777", 1), Some("b\\0x".into()));
        assert_eq!(field("a b\\0x \\777", 2), Some("\\777".into()));
    }

    #[test]
    fn what_can_be_read_alone_says_so_in_one_of_two_places() {
        let info = "36 1 8:1 / /data rw,noatime shared:1 - ext4 /dev/sda1 ro,errors=remount-ro\n\
            37 1 8:2 / /my\\040wal ro,noatime - xfs /dev/sdb rw\n\
            38 1 8:3 / /well rw - xfs /dev/sdc rw,noquota\n\
            39 1 8:4 / /over ro - xfs /dev/sdd rw\n\
            40 1 8:5 / /over rw - xfs /dev/sde rw\n";
        for (point, read_only) in [
            ("/data", true),
            ("/my wal", true),
            ("/well", false),
            ("/over", false),
            ("/elsewhere", false),
        ] {
            assert_eq!(is_read_only(info, Path::new(point)), read_only, "{point}");
        }
    }
}

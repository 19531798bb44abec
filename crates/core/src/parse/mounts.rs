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
}

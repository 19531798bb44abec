//! A file system that PostgreSQL writes to.

use serde::{Deserialize, Serialize};

use super::Level;
use crate::message;
use crate::message::Message;
use crate::quoted::shell_word;

/// What a file system has left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskFacts {
    /// Bytes that an ordinary account can still write.
    pub free: u64,
    /// Its size in bytes.
    pub size: u64,
    /// How many files can still be made, and how many it has room for; none where it has no such limit, and of an
    /// older agent.
    #[serde(default)]
    pub files: Option<(u64, u64)>,
    /// It can be read alone: so it was mounted, or the kernel has made it so after an error.
    #[serde(default)]
    pub read_only: bool,
    /// It is that of `tmpdir`, and nothing of PostgreSQL's own is known to be on it.
    #[serde(default)]
    pub agents: bool,
    /// Where it is mounted; none of an older agent.
    #[serde(default)]
    pub point: Option<String>,
}

/// What it lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// How bad that is.
    pub level: Level,
    /// What is so.
    pub text: Message,
    /// What to do.
    pub remedy: Message,
}

/// Not a matter of minutes, however small a part of a large file system it is.
const PLENTY: u64 = 20 << 30;

impl DiskFacts {
    /// What is wrong with the file system of this place, if anything is.
    #[must_use]
    pub fn shortage(&self, place: &str) -> Option<Shortage> {
        if self.read_only {
            return Some(Shortage {
                level: Level::Error,
                text: match self.agents {
                    false => message!(
                        "{place}: mounted read-only, PostgreSQL cannot write there",
                        place
                    ),
                    true => message!(
                        "{place}: mounted read-only, the agent cannot write there",
                        place
                    ),
                },
                // After an error the kernel has made it so: what is written then may make the damage worse.
                remedy: message!(
                    "see in the kernel's log (dmesg) whether the disk has failed. Only where it was mounted read-only on purpose: mount -o remount,rw {point}, and correct /etc/fstab; after an error: take the node out of service (cls_standby_node), and check the file system (fsck) before anything writes there",
                    point = shell_word(self.point(place)).as_str()
                ),
            });
        }
        let percent = |free: u64, all: u64| free.saturating_mul(100) / all.max(1);
        let bytes = percent(self.free, self.size);
        let level = match bytes {
            _ if self.free < 256 << 20 => Some(Level::Error),
            0..3 if self.free < PLENTY => Some(Level::Error),
            0..10 => Some(Level::Warning),
            _ => None,
        };
        if let Some(level) = level {
            return Some(Shortage {
                level,
                text: message!(
                    "{place}: {percent}% free, {mib} MiB",
                    place,
                    percent = bytes,
                    mib = self.free >> 20
                ),
                remedy: self.room(place),
            });
        }
        let (free, all) = self.files.filter(|(_, all)| *all > 0)?;
        let level = match percent(free, all) {
            0 => Level::Error,
            1..5 => Level::Warning,
            _ => return None,
        };
        Some(Shortage {
            level,
            text: message!(
                "{place}: {free} files (inodes) of {all} are left",
                place,
                free,
                all
            ),
            remedy: message!(
                "find what has so many files on the file system of {place} (du --inodes -x {point}), and remove what nobody needs, never in pg_wal, the data directory, a tablespace or tmpdir",
                place,
                point = shell_word(self.point(place)).as_str()
            ),
        })
    }

    /// What a tool is given that works on the file system.
    fn point<'a>(&'a self, place: &'a str) -> &'a str {
        self.point.as_deref().unwrap_or(place)
    }

    /// How to make room. The place itself is where nobody may: what lies there is PostgreSQL's or the agent's.
    fn room(&self, place: &str) -> Message {
        match self.agents {
            false => message!(
                "make room on the file system of {place}, never by deleting in pg_wal, the data directory, a tablespace or tmpdir",
                place
            ),
            true => message!(
                "make room on the file system of {place}, never by deleting in it: where it is full, the agent cannot write its part of PostgreSQL's configuration (rep_mode.conf), and a start or a promotion may fail",
                place
            ),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::message::Language;

    #[test]
    fn a_file_system_has_room_for_bytes_and_files_and_can_be_written() {
        let well = DiskFacts {
            free: 50 << 30,
            size: 100 << 30,
            files: Some((500, 1000)),
            read_only: false,
            agents: false,
            point: Some("/mnt/my wal".to_owned()),
        };
        let found = |disk: DiskFacts| {
            let found = disk.shortage("/wal")?;
            Some((found.level, found.text.to_string()))
        };
        assert_eq!(found(well.clone()), None);
        // btrfs has no such number.
        assert_eq!(
            found(DiskFacts {
                files: Some((0, 0)),
                ..well.clone()
            }),
            None
        );
        assert_eq!(
            found(DiskFacts {
                files: None,
                ..well.clone()
            }),
            None
        );
        for (free, level, text) in [
            (9 << 30, Level::Warning, "/wal: 9% free, 9216 MiB"),
            (2 << 30, Level::Error, "/wal: 2% free, 2048 MiB"),
        ] {
            let found = found(DiskFacts {
                free,
                ..well.clone()
            });
            assert_eq!(found, Some((level, text.to_owned())));
        }
        // Two per cent of very much are no emergency.
        for (free, level) in [(20 << 30, Level::Warning), ((20 << 30) - 1, Level::Error)] {
            let large = DiskFacts {
                free,
                size: 1 << 40,
                ..well.clone()
            };
            assert_eq!(found(large).unwrap().0, level);
        }
        // Ten per cent of little is little.
        let small = DiskFacts {
            free: 200 << 20,
            size: 1 << 30,
            ..well.clone()
        };
        assert_eq!(found(small).unwrap().0, Level::Error);
        for (left, level) in [(49, Level::Warning), (9, Level::Error)] {
            let files = Some((left, 1000));
            let (found, text) = found(DiskFacts {
                files,
                ..well.clone()
            })
            .unwrap();
            assert_eq!(found, level);
            assert_eq!(
                text,
                format!("/wal: {left} files (inodes) of 1000 are left")
            );
        }
        let read_only = DiskFacts {
            read_only: true,
            ..well
        };
        let found = read_only.shortage("/wal").unwrap();
        assert_eq!(found.level, Level::Error);
        let text = found.text.to_string();
        assert!(text.contains("read-only"), "{text}");
        // The directory may lie deep below; mount(8) takes the mount point alone.
        let remedy = found.remedy.to_string();
        let words =
            "Only where it was mounted read-only on purpose: mount -o remount,rw '/mnt/my wal',";
        assert!(remedy.contains(words), "{remedy}");
        assert!(
            remedy.contains("after an error: take the node out of service"),
            "{remedy}"
        );
    }

    /// Whoever makes room in a hurry follows the words to the letter.
    #[test]
    fn nobody_is_sent_to_delete_what_is_postgresqls() {
        let full = DiskFacts {
            size: 100 << 30,
            ..DiskFacts::default()
        };
        let many = DiskFacts {
            free: 50 << 30,
            files: Some((0, 1000)),
            ..full.clone()
        };
        for disk in [full.clone(), many] {
            let remedy = disk.shortage("/wal").unwrap().remedy;
            let english = remedy.to_string();
            assert!(
                english.contains("on the file system of /wal") && !english.contains("below /wal"),
                "{english}"
            );
            for word in ["never", "pg_wal", "the data directory", "a tablespace"] {
                assert!(english.contains(word), "{word}: {english}");
            }
            let chinese = remedy.in_language(Language::Chinese);
            for word in ["绝不要", "pg_wal", "数据目录", "表空间"] {
                assert!(chinese.contains(word), "{word}: {chinese}");
            }
        }
        // A full tmpdir stops no PostgreSQL that runs.
        for read_only in [false, true] {
            let found = DiskFacts {
                agents: true,
                read_only,
                ..full.clone()
            };
            let found = found.shortage("/var/lib/pgsql/tmp").unwrap();
            let said = format!("{}; {}", found.text, found.remedy);
            assert!(said.contains("the agent cannot write"), "{said}");
            assert!(!said.contains("PostgreSQL cannot write"), "{said}");
        }
    }
}

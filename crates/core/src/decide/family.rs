//! Which processes are of a server, by what the kernel knows of them. The lease is given back only after
//! PostgreSQL is proven stopped (R8), and nothing else is signalled.

use crate::snapshot::{DumbDirectory, HadFile, ServerProcess};

/// Generations of processes below a postmaster. PostgreSQL has one; the others are a bound.
const GENERATIONS: usize = 16;

/// The processes that are of the data directory's server, among those of its account that run a server's program.
/// One is where it works in the directory itself, and so is what such a one has forked and what runs the same
/// file, wherever it works by now (a function in an untrusted language can change the directory of its session).
/// What runs another file was started by the server and is none of its own processes.
///
/// With them the first one that may be of the server and cannot be looked at: the others are to be ended all the
/// same, and that none of them is left does not prove that the server is gone.
#[must_use]
pub fn family(seen: &[ServerProcess]) -> (Vec<i32>, Option<i32>) {
    let sure =
        |process: &&ServerProcess| (process.server, process.here) == (Some(true), Some(true));
    let mut ours: Vec<&ServerProcess> = seen.iter().filter(sure).collect();
    for _ in 0..GENERATIONS {
        let child = |process: &&ServerProcess| {
            let has_forked = |parent: &&ServerProcess| {
                parent.pid == process.parent && parent.executable == process.executable
            };
            let known = process.executable.is_some();
            known && !ours.contains(process) && ours.iter().any(has_forked)
        };
        let more: Vec<&ServerProcess> = seen.iter().filter(child).collect();
        if more.is_empty() {
            break;
        }
        ours.extend(more);
    }
    let may_be = |process: &&ServerProcess| {
        let child = || ours.iter().any(|parent| parent.pid == process.parent);
        let unread = process.executable.is_none() && child();
        !ours.contains(process)
            && process.server != Some(false)
            && (process.here != Some(false) || unread)
    };
    let unclear = seen.iter().find(may_be).map(|process| process.pid);
    (ours.iter().map(|process| process.pid).collect(), unclear)
}

/// Whether all of these are so: no where one is not, and `None` where none is seen not to be and one cannot be told.
#[must_use]
pub fn all_of(seen: &[Option<bool>]) -> Option<bool> {
    let no = seen.contains(&Some(false));
    (no || !seen.contains(&None)).then_some(!no)
}

/// Whether any of these is so: yes where one is, and `None` where none is seen to be and one cannot be told.
#[must_use]
pub fn any_of(seen: &[Option<bool>]) -> Option<bool> {
    let yes = seen.contains(&Some(true));
    (yes || !seen.contains(&None)).then_some(yes)
}

/// Whether a process that works in `works_in` works in the data directory: that is `home`, by device and inode, and
/// lies at `path`.
///
/// One that was removed under its running server has no path any more by which it could be compared. The
/// kernel then remembers where it was: it counts if it is really gone, and was at this path as it is seen here.
#[must_use]
pub fn is_home(works_in: &HadFile, home: Option<(u64, u64)>, path: &[u8]) -> bool {
    let was = works_in.path.strip_suffix(DELETED);
    let removed = works_in.removed && works_in.same_view && was == Some(path);
    home == Some(works_in.identity) || removed
}

/// Whether a process works in the data directory whose own file system does not answer: never where it works
/// elsewhere, which the kernel knows by the path. `None` where it may be the data directory after all: `path`, its
/// place without links, is not known, or that place or one below it; or the process's path leads to something
/// that answers otherwise than the process's directory does, as where its file system was taken out of the tree.
#[must_use]
pub fn is_home_by_path(works_in: &DumbDirectory, path: Option<&[u8]>) -> Option<bool> {
    let of = works_in.path.strip_suffix(DELETED);
    let of = of.unwrap_or(&works_in.path);
    let below = |home: &[u8]| {
        let rest = of.strip_prefix(home);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/") || home == b"/")
    };
    let elsewhere = works_in.same_view && works_in.same_answer && !below(path?);
    elsewhere.then_some(false)
}

/// Whether a process runs the system's program of this name: the very file, or one of that name that an
/// upgrade has replaced since. What only has the name, or has it in another container, is something else.
#[must_use]
pub fn runs(file: &HadFile, program: Option<(u64, u64)>, name: &str) -> bool {
    let replaced = file.removed && file.same_view && is_named(&file.path, name);
    program == Some(file.identity) || replaced
}

/// Whether a program's file has this name, or had it before the file was replaced under the running program.
#[must_use]
pub fn is_named(path: &[u8], name: &str) -> bool {
    let path = path.strip_suffix(DELETED).unwrap_or(path);
    path.rsplit(|byte| *byte == b'/').next() == Some(name.as_bytes())
}

/// Whether a process may run a program of this name, of which the kernel does not show the file: it calls a process
/// by the first 15 bytes of that name (proc(5), `comm`). Not every process shows its file to root, as the first one
/// of a container, and those that are called otherwise are no server for that.
#[must_use]
pub fn may_be_named(called: &[u8], name: &str) -> bool {
    let name = name.as_bytes();
    called.trim_ascii_end() == &name[..name.len().min(15)]
}

/// What the kernel adds to the path of a file that has none any more.
const DELETED: &[u8] = b" (deleted)";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_cannot_be_told_is_neither() {
        let (yes, no) = (Some(true), Some(false));
        for (seen, any) in [
            (&[][..], no),
            (&[no, no], no),
            (&[no, None], None),
            (&[None, yes, no], yes),
        ] {
            assert_eq!(any_of(seen), any, "{seen:?}");
        }
    }

    #[test]
    fn a_directory_that_is_gone_is_known_by_where_it_was() {
        let there = HadFile {
            identity: (1, 10),
            removed: false,
            path: vec![],
            same_view: false,
        };
        assert!(is_home(&there, Some((1, 10)), b"/data"));
        assert!(!is_home(&there, Some((1, 11)), b"/data"));
        assert!(!is_home(&there, None, b"/data"));
        let gone = HadFile {
            removed: true,
            path: b"/data (deleted)".to_vec(),
            same_view: true,
            ..there
        };
        assert!(is_home(&gone, None, b"/data"));
        assert!(!is_home(&gone, None, b"/other"));
        // A directory of that very name is there still.
        assert!(!is_home(
            &HadFile {
                removed: false,
                ..gone.clone()
            },
            None,
            b"/data"
        ));
        assert!(!is_home(&gone, None, b"/data (deleted)"));
        assert!(!is_home(
            &HadFile {
                same_view: false,
                ..gone
            },
            None,
            b"/data"
        ));
    }

    #[test]
    fn a_program_that_was_replaced_is_known_by_its_name() {
        let file = HadFile {
            identity: (1, 10),
            removed: false,
            path: vec![],
            same_view: false,
        };
        assert!(runs(&file, Some((1, 10)), "pacemakerd"));
        assert!(!runs(&file, Some((1, 11)), "pacemakerd"));
        let old = HadFile {
            removed: true,
            path: b"/usr/sbin/pacemakerd (deleted)".to_vec(),
            same_view: true,
            ..file
        };
        assert!(runs(&old, Some((1, 11)), "pacemakerd"));
        assert!(!runs(&old, Some((1, 11)), "corosync"));
        assert!(!runs(
            &HadFile {
                same_view: false,
                ..old.clone()
            },
            None,
            "pacemakerd"
        ));
        assert!(!runs(
            &HadFile {
                removed: false,
                ..old
            },
            None,
            "pacemakerd"
        ));
    }

    const FILE: Option<(u64, u64)> = Some((1, 10));

    fn process(pid: i32, parent: i32, executable: Option<(u64, u64)>, here: bool) -> ServerProcess {
        ServerProcess {
            pid,
            parent,
            server: Some(true),
            executable,
            here: Some(here),
        }
    }

    #[test]
    fn what_works_in_the_directory_is_of_the_server_also_without_a_postmaster() {
        let seen = [process(7, 1, FILE, true), process(8, 1, FILE, false)];
        assert_eq!(family(&seen), (vec![7], None));
        assert_eq!(family(&[]), (vec![], None));
    }

    #[test]
    fn what_it_has_forked_is_of_it_wherever_that_works() {
        let seen = [
            process(9, 8, FILE, false),
            process(8, 7, FILE, false),
            process(7, 1, FILE, true),
            // A program of the same name, of another file, which a session has started.
            process(10, 8, Some((1, 11)), false),
            // A server of another directory, and its child.
            process(20, 1, FILE, false),
            process(21, 20, FILE, false),
        ];
        let (mut ours, unclear) = family(&seen);
        ours.sort_unstable();
        assert_eq!((ours, unclear), (vec![7, 8, 9], None));
    }

    #[test]
    fn what_cannot_be_looked_at_is_not_none() {
        let postmaster = process(7, 1, FILE, true);
        let child = process(8, 7, FILE, false);
        let of = |server, here| ServerProcess {
            server,
            here,
            ..child
        };
        for (server, here, unclear) in [
            (None, None, Some(8)),
            (Some(true), None, Some(8)),
            (None, Some(true), Some(8)),
            (Some(false), None, None),
            (Some(false), Some(true), None),
            (None, Some(false), None),
            (Some(true), Some(false), None),
        ] {
            let seen = family(&[of(server, here)]);
            assert_eq!(seen, (vec![], unclear), "{server:?} {here:?}");
        }
        // What the postmaster has forked counts by the file that it runs, and so is not known without it.
        let elsewhere = of(Some(true), None);
        assert_eq!(family(&[postmaster, elsewhere]), (vec![7, 8], None));
        let bare = ServerProcess {
            executable: None,
            ..child
        };
        assert_eq!(family(&[postmaster, bare]), (vec![7], Some(8)));
        assert_eq!(family(&[bare]), (vec![], None));
        // Another server's directory that does not answer keeps nobody from ending this one.
        let other = ServerProcess {
            pid: 20,
            parent: 1,
            ..elsewhere
        };
        assert_eq!(family(&[other, child, postmaster]), (vec![7, 8], Some(20)));
    }

    #[test]
    fn whose_directory_does_not_answer_works_elsewhere_where_its_path_says_so() {
        let dumb = |path: &[u8]| DumbDirectory {
            path: path.to_vec(),
            same_view: true,
            same_answer: true,
        };
        let home = Some(&b"/data/pg"[..]);
        for path in [
            "/data",
            "/data/pg2",
            "/nfs/data/pg",
            "/",
            "/data/pg2 (deleted)",
        ] {
            let seen = is_home_by_path(&dumb(path.as_bytes()), home);
            assert_eq!(seen, Some(false), "{path}");
        }
        for path in ["/data/pg", "/data/pg/base", "/data/pg (deleted)"] {
            assert_eq!(
                is_home_by_path(&dumb(path.as_bytes()), home),
                None,
                "{path}"
            );
        }
        assert_eq!(is_home_by_path(&dumb(b"/nfs"), Some(b"/")), None);
        assert_eq!(is_home_by_path(&dumb(b"/nfs"), None), None);
        let others: [fn(&mut DumbDirectory); 2] = [
            |works_in| works_in.same_view = false,
            |works_in| works_in.same_answer = false,
        ];
        for change in others {
            let mut works_in = dumb(b"/nfs");
            change(&mut works_in);
            assert_eq!(is_home_by_path(&works_in, home), None, "{works_in:?}");
        }
    }

    #[test]
    fn whose_file_is_not_shown_is_told_by_what_the_kernel_calls_it() {
        assert!(may_be_named(b"postgres\n", "postgres"));
        assert!(may_be_named(b"a_name_of_20_by\n", "a_name_of_20_bytes_."));
        for other in [&b"systemd\n"[..], b"postgre\n", b""] {
            assert!(!may_be_named(other, "postgres"));
        }
    }

    #[test]
    fn one_that_is_not_so_decides_and_one_that_cannot_be_told_leaves_it_open() {
        assert_eq!(all_of(&[Some(true), Some(true)]), Some(true));
        assert_eq!(all_of(&[None, Some(false)]), Some(false));
        assert_eq!(all_of(&[None, Some(true)]), None);
        assert_eq!(all_of(&[]), Some(true));
    }
}

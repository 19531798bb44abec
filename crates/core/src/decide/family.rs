//! Which processes are of a server, by what the kernel knows of them. The lease is given back only after
//! PostgreSQL is proven stopped (R8), and nothing else is signalled.

use crate::snapshot::{HadFile, ServerProcess};

/// Generations of processes below a postmaster. PostgreSQL has one; the others are a bound.
const GENERATIONS: usize = 16;

/// The processes that are of the data directory's server, among those of its account that run a server's program.
/// One is where it works in the directory itself, and so is what such a one has forked and what runs the same
/// file, wherever it works by now (a function in an untrusted language can change the directory of its session).
/// What runs another file was started by the server and is none of its own processes.
#[must_use]
pub fn family(seen: &[ServerProcess]) -> Vec<i32> {
    let mut ours: Vec<&ServerProcess> = seen.iter().filter(|process| process.here).collect();
    for _ in 0..GENERATIONS {
        let child = |process: &&ServerProcess| {
            let of = |parent: &&ServerProcess| {
                (parent.pid, parent.executable) == (process.parent, process.executable)
            };
            !ours.contains(process) && ours.iter().any(of)
        };
        let more: Vec<&ServerProcess> = seen.iter().filter(child).collect();
        if more.is_empty() {
            break;
        }
        ours.extend(more);
    }
    ours.iter().map(|process| process.pid).collect()
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

/// What the kernel adds to the path of a file that has none any more.
const DELETED: &[u8] = b" (deleted)";

#[cfg(test)]
mod tests {
    use super::*;

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
            executable,
            here,
        }
    }

    #[test]
    fn what_works_in_the_directory_is_of_the_server_also_without_a_postmaster() {
        let seen = [process(7, 1, FILE, true), process(8, 1, FILE, false)];
        assert_eq!(family(&seen), [7]);
        assert!(family(&[]).is_empty());
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
        let mut ours = family(&seen);
        ours.sort_unstable();
        assert_eq!(ours, [7, 8, 9]);
    }
}

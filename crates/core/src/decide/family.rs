//! Which processes are of a server, by what the kernel knows of them.

use crate::snapshot::ServerProcess;

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

#[cfg(test)]
mod tests {
    use super::*;

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

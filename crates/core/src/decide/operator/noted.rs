//! Whether the command that has noted itself as the one that operates is still at work. Of two operations at a
//! time, one would change what the other has decided from.

/// What was seen of the process that made the note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotedProcess {
    /// A process of its number is there, which began then, in clock ticks since its machine's start.
    Began(u64),
    /// No process of that number is there.
    Gone,
    /// Its node is not in the cluster, where it could do nothing.
    Away,
    /// It cannot be told.
    Unknown,
}

/// Exit status of `cat` for a file that it could not read.
const NOT_READ: i32 = 1;

impl NotedProcess {
    /// By the text of its file `/proc/PID/stat`.
    #[must_use]
    pub fn of_stat(stat: &str) -> Self {
        began(stat).map_or(Self::Unknown, Self::Began)
    }

    /// By how `cat` has ended on its node, and what it has printed of the files of process 1 and of this one. Its status
    /// says the same of a file that is not there and of one that could not be read: that the first process could
    /// be shows that /proc can.
    #[must_use]
    pub fn of_cat(status: i32, text: &str, pid: u32) -> Self {
        let of = |pid: u32| {
            let begin = format!("{pid} (");
            text.lines().find(|line| line.starts_with(&begin))
        };
        match (of(pid), of(1)) {
            (Some(stat), _) if status == 0 => Self::of_stat(stat),
            (None, Some(_)) if status == NOT_READ => Self::Gone,
            _ => Self::Unknown,
        }
    }
}

/// When a process began, by the 22nd field of its `/proc/PID/stat`; the second one is in parentheses and may hold
/// anything.
#[must_use]
pub fn began(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

/// Whether a command that noted its begin as `began` may be at work. Numbers of processes are used again, and
/// what cannot be told counts as at work.
#[must_use]
pub fn may_still_run(seen: NotedProcess, began: u64) -> bool {
    match seen {
        NotedProcess::Began(now) => now == began,
        NotedProcess::Gone | NotedProcess::Away => false,
        NotedProcess::Unknown => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_command_that_is_seen_to_be_gone_gives_way() {
        assert!(may_still_run(NotedProcess::Began(7), 7));
        assert!(may_still_run(NotedProcess::Unknown, 7));
        // The number is another process's by now.
        assert!(!may_still_run(NotedProcess::Began(8), 7));
        assert!(!may_still_run(NotedProcess::Gone, 7));
        assert!(!may_still_run(NotedProcess::Away, 7));
    }

    #[test]
    fn the_beginning_of_a_process_is_found_behind_any_name() {
        assert_eq!(began(STAT), Some(4711));
        assert_eq!(began(""), None);
        assert_eq!(NotedProcess::of_stat(STAT), NotedProcess::Began(4711));
        assert_eq!(NotedProcess::of_stat(""), NotedProcess::Unknown);
    }

    const STAT: &str = "12 (a b) c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";

    #[test]
    fn a_file_that_could_not_be_read_is_missing_only_beside_one_that_could() {
        let first = "1 (init) S 0 1 1 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 5 0";
        let both = format!("{first}\n{STAT}\n");
        for (status, text, expected) in [
            (0, both.as_str(), NotedProcess::Began(4711)),
            (1, first, NotedProcess::Gone),
            // Nothing of /proc could be read, or cat itself failed.
            (1, "", NotedProcess::Unknown),
            (1, STAT, NotedProcess::Unknown),
            (127, first, NotedProcess::Unknown),
            (0, first, NotedProcess::Unknown),
            (0, "12 (cls", NotedProcess::Unknown),
        ] {
            assert_eq!(
                NotedProcess::of_cat(status, text, 12),
                expected,
                "{status} {text}"
            );
        }
    }
}

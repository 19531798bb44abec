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
}

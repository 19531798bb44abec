//! Whether PostgreSQL runs: what every operation and the guard go by.

use crate::snapshot::{Death, PidFile, Process, Shown};

/// Judges what was seen of PostgreSQL's processes. A server counts as gone (a stop has succeeded, the
/// lease may be given back, the guard has nothing to guard) only where that was seen; what could not be
/// looked at proves nothing. Then an operation goes on as with a server that runs, asks it, and fails
/// where it cannot be stopped; and a guard goes on renewing and fences when its time is over.
#[must_use]
pub fn running(file: PidFile, shown: Shown) -> Process {
    match (file, shown) {
        (PidFile::Alive { frozen }, _) => Process::Alive { frozen },
        // /proc has them all, those whose postmaster has left no file among them.
        (PidFile::Gone | PidFile::Unreadable, Shown::Nothing) => Process::Absent,
        // Without a postmaster there is nobody to ask, and SIGKILL looks again who is left.
        (PidFile::Gone, Shown::Processes | Shown::Unclear) => Process::Orphans,
        (PidFile::Unreadable, Shown::Processes | Shown::Unclear) => {
            Process::Alive { frozen: false }
        }
    }
}

/// Whether the guard's postmaster has died: it was `seen` alive, is gone, and has `left` its file. One that
/// ends in an orderly way takes its file along. An administrator who restarts PostgreSQL is not reported
/// as a failure; a monitor that finds it stopped decides about it.
#[must_use]
pub fn died(process: Process, seen: bool, left: bool, told: bool) -> Death {
    let gone = matches!(process, Process::Absent | Process::Orphans);
    match (gone && seen && left, told) {
        (true, true) => Death::Told,
        (true, false) => Death::Untold,
        (false, _) => Death::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_postmaster_that_left_its_file_has_died() {
        let alive = Process::Alive { frozen: false };
        for process in [Process::Absent, Process::Orphans] {
            assert_eq!(died(process, true, true, false), Death::Untold);
            assert_eq!(died(process, true, true, true), Death::Told);
            assert_eq!(died(process, true, false, false), Death::None);
            assert_eq!(died(process, false, true, false), Death::None);
        }
        assert_eq!(died(alive, true, true, false), Death::None);
    }

    #[test]
    fn only_what_was_seen_to_be_gone_is_gone() {
        let files = [
            PidFile::Gone,
            PidFile::Alive { frozen: true },
            PidFile::Unreadable,
        ];
        for file in files {
            for shown in [Shown::Nothing, Shown::Processes, Shown::Unclear] {
                let alive = matches!(file, PidFile::Alive { .. });
                let gone = running(file, shown) == Process::Absent;
                assert_eq!(
                    gone,
                    !alive && shown == Shown::Nothing,
                    "{file:?} {shown:?}"
                );
            }
        }
        let frozen = running(PidFile::Alive { frozen: true }, Shown::Unclear);
        assert_eq!(frozen, Process::Alive { frozen: true });
    }
}

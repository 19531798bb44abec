//! Whether PostgreSQL runs: what every operation and the guard go by.

use std::path::Path;

use crate::snapshot::{Death, NamedProcess, PidFile, Process, Shown};

/// Whose process it is that `postmaster.pid` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// The postmaster of this data directory.
    Postmaster,
    /// The file is left over from a server that is gone: how that is known.
    Nobody(&'static str),
    /// So it is, and the number is by now that of another program.
    OtherProgram,
    /// A server that works in this very directory as another account. It is none of ours, so that it is
    /// not signalled, and nothing that could serve beside it is begun.
    Foreign {
        /// Its account.
        uid: u32,
    },
    /// The process cannot be looked at: it may be the postmaster, so that its file is not left over.
    Unclear,
}

/// Judges the process that `postmaster.pid` names; `uid` is the account that the server should have. The
/// file outlives a power cut, and its number may by then be that of another program.
#[must_use]
pub fn named(process: &NamedProcess, uid: u32) -> Named {
    match process {
        NamedProcess { exists: false, .. } => Named::Nobody("there is no such process"),
        NamedProcess { dead: true, .. } => {
            Named::Nobody("that process has ended and waits to be reaped")
        }
        NamedProcess {
            server: Some(false),
            ..
        } => Named::OtherProgram,
        NamedProcess {
            here: Some(false), ..
        } => Named::Nobody("that process is a postgres of another data directory"),
        NamedProcess { account: None, .. } => {
            Named::Nobody("that process has changed its user, or ended")
        }
        // Everything that was read is of one process if the number is still of the same one.
        NamedProcess { same: false, .. } => Named::Nobody("that process has just ended"),
        NamedProcess { server: None, .. } | NamedProcess { here: None, .. } => Named::Unclear,
        NamedProcess {
            account: Some(of), ..
        } if *of != uid => Named::Foreign { uid: *of },
        NamedProcess { .. } => Named::Postmaster,
    }
}

/// Whether the lock files that lie in the data directory are left over, so that they may be removed before
/// a start. PostgreSQL itself refuses to start when the number in such a file is that of any process of
/// the same account, a zombie among them (`CreateLockFile`), which after a power cut or a SIGKILL is a
/// matter of luck.
#[must_use]
pub fn left_over(file: PidFile, shown: Shown) -> bool {
    file == PidFile::Gone && shown == Shown::Nothing
}

/// What a lock file of PostgreSQL says of its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockFile<'a> {
    /// The process number.
    pub pid: i32,
    /// The data directory as the server was given it; none where it has not written that yet.
    pub data_dir: Option<&'a Path>,
}

/// Whether the lock file of a socket is of the server whose own lock file is [`left_over`], so that it may be
/// removed with it. Directories of sockets are shared, and without its lock another server's socket would be
/// taken away: it says the same, and whose it is.
#[must_use]
pub fn is_lock_of(socket: LockFile<'_>, own: LockFile<'_>) -> bool {
    socket == own && own.data_dir.is_some()
}

/// Judges what was seen of PostgreSQL's processes. A server counts as gone (a stop has succeeded, the
/// lease may be given back, the guard has nothing to guard) only where that was seen; what could not be
/// looked at proves nothing. Then an operation goes on as with a server that runs, asks it, and fails
/// where it cannot be stopped; and a guard goes on renewing and fences when its time is over.
///
/// A server of another account counts only where the file names it: by a link at the data directory's place
/// an account could otherwise lend itself somebody else's server, and keep its own stop from succeeding.
#[must_use]
pub fn running(file: PidFile, shown: Shown) -> Process {
    match (file, shown) {
        (PidFile::Alive { frozen }, _) => Process::Alive { frozen },
        // What cannot be looked at is not among the account's processes that are, and may be one all the same.
        (PidFile::Foreign | PidFile::Unclear, _) => Process::Alive { frozen: false },
        // /proc has them all, those whose postmaster has left no file among them.
        (PidFile::Gone | PidFile::Unreadable, Shown::Nothing) => Process::Absent,
        // Without a postmaster there is nobody to ask, and SIGKILL looks again who is left.
        (PidFile::Gone, Shown::Processes | Shown::Unclear) => Process::Orphans,
        (PidFile::Unreadable, Shown::Processes | Shown::Unclear) => {
            Process::Alive { frozen: false }
        }
    }
}

/// Whether PostgreSQL may run, for a command, which can be given again: where `postmaster.pid` cannot be read,
/// or names another account's process, nothing is done that needs a server that is gone.
#[must_use]
pub fn may_run<E>(seen: &Result<Process, E>) -> bool {
    !matches!(seen, Ok(Process::Absent))
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
            PidFile::Foreign,
            PidFile::Unclear,
            PidFile::Unreadable,
        ];
        for file in files {
            for shown in [Shown::Nothing, Shown::Processes, Shown::Unclear] {
                let alive = !matches!(file, PidFile::Gone | PidFile::Unreadable);
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

    #[test]
    fn a_command_takes_for_gone_only_what_was_seen_to_be() {
        assert!(!may_run::<()>(&Ok(Process::Absent)));
        assert!(may_run::<()>(&Ok(Process::Orphans)));
        assert!(may_run::<()>(&Ok(Process::Alive { frozen: true })));
        assert!(may_run(&Err("postmaster.pid cannot be read")));
    }

    #[test]
    fn only_a_server_of_this_directory_and_account_is_the_postmaster() {
        let all = NamedProcess {
            exists: true,
            dead: false,
            server: Some(true),
            here: Some(true),
            account: Some(26),
            same: true,
        };
        assert_eq!(named(&all, 26), Named::Postmaster);
        assert_eq!(named(&all, 27), Named::Foreign { uid: 26 });
        let others: [fn(&mut NamedProcess); 6] = [
            |process| process.exists = false,
            |process| process.dead = true,
            |process| process.server = Some(false),
            |process| process.here = Some(false),
            |process| process.account = None,
            |process| process.same = false,
        ];
        for change in others {
            let mut process = all;
            change(&mut process);
            for uid in [26, 27] {
                let left = matches!(named(&process, uid), Named::Nobody(_) | Named::OtherProgram);
                assert!(left, "{process:?}");
            }
        }
    }

    #[test]
    fn a_process_that_cannot_be_looked_at_may_be_the_postmaster() {
        let all = NamedProcess {
            exists: true,
            dead: false,
            server: None,
            here: None,
            account: Some(26),
            same: true,
        };
        let runs = |server, here| {
            named(
                &NamedProcess {
                    server,
                    here,
                    ..all
                },
                26,
            )
        };
        assert_eq!(runs(None, None), Named::Unclear);
        assert_eq!(runs(Some(true), None), Named::Unclear);
        assert_eq!(runs(None, Some(true)), Named::Unclear);
        assert_eq!(runs(Some(false), None), Named::OtherProgram);
        assert!(matches!(runs(None, Some(false)), Named::Nobody(_)));
    }

    #[test]
    fn the_lock_of_a_socket_goes_only_where_it_says_the_same() {
        let file = |pid, directory: Option<&'static str>| LockFile {
            pid,
            data_dir: directory.map(Path::new),
        };
        let own = file(7, Some("/data"));
        assert!(is_lock_of(own, own));
        for other in [
            file(8, Some("/data")),
            file(7, Some("/other")),
            file(7, None),
        ] {
            assert!(!is_lock_of(other, own), "{other:?}");
        }
        // Nobody knows whose it is.
        assert!(!is_lock_of(file(7, None), file(7, None)));
    }

    #[test]
    fn lock_files_go_only_where_nobody_works() {
        assert!(left_over(PidFile::Gone, Shown::Nothing));
        for file in [
            PidFile::Alive { frozen: false },
            PidFile::Foreign,
            PidFile::Unclear,
            PidFile::Unreadable,
        ] {
            assert!(!left_over(file, Shown::Nothing));
        }
        assert!(!left_over(PidFile::Gone, Shown::Processes));
        assert!(!left_over(PidFile::Gone, Shown::Unclear));
    }
}

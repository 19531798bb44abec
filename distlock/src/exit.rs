//! The exit statuses, which lock commands of other makes may use as well.

use std::process::ExitCode;

use pha_core::deadcheck::STATUS_UNREACHABLE;
use pha_core::register::Trouble;

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done; for the lock: yes, it printed 1.
    Yes,
    /// For the lock: no, it printed 0. For `show`: there is no such row. For `init`: the agent would
    /// not believe the row.
    No,
    /// Wrong arguments.
    Usage,
    /// The lock service could not be reached.
    Unreachable,
    /// The lock service answered an error.
    Answered,
}

impl Exit {
    pub(crate) fn status(self) -> u8 {
        match self {
            Self::Yes => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::Unreachable => STATUS_UNREACHABLE.unsigned_abs() as u8,
            Self::Answered => 4,
        }
    }
}

impl From<&Trouble> for Exit {
    fn from(trouble: &Trouble) -> Self {
        match trouble {
            Trouble::Unreachable(_) => Self::Unreachable,
            Trouble::Answered(_) => Self::Answered,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.status().into()
    }
}

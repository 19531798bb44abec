//! What can go wrong, with one table of exit codes.

use std::process::ExitCode;
use std::time::Duration;

use pha_core::parse::cib::CibError;
use pha_host::command::CommandError;
use pha_host::config::ConfigError;
use pha_host::pacemaker::PacemakerError;

/// The exit codes that scripts hold on to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It is done.
    Done,
    /// It failed.
    Failed,
    /// The primary is up, a standby is not.
    StandbyMissing,
    /// Something that the command needs is not so; nothing was changed.
    Precondition,
    /// It was begun, and the end state did not come about in time.
    Timeout,
    /// Wrong arguments.
    Usage,
    /// Pacemaker does not run here.
    NoCluster,
    /// No quorum, or the nodes disagree.
    NoQuorum,
}

impl Exit {
    const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::StandbyMissing => 2,
            Self::Precondition => 10,
            Self::Timeout => 11,
            Self::Usage => 100,
            Self::NoCluster => 101,
            Self::NoQuorum => 102,
        }
    }
}

/// What each exit code means, for the manual pages.
pub(crate) const MEANINGS: &[(u8, &str)] = &[
    (Exit::Done.code(), "done"),
    (Exit::Failed.code(), "failed"),
    (
        Exit::StandbyMissing.code(),
        "the primary is up, a standby is not (cls_start)",
    ),
    (
        Exit::Precondition.code(),
        "a precondition is not met; nothing was changed",
    ),
    (Exit::Timeout.code(), "it did not come about in time"),
    (Exit::Usage.code(), "wrong arguments"),
    (
        Exit::NoCluster.code(),
        "no cluster information: Pacemaker does not run on this node",
    ),
    (Exit::NoQuorum.code(), "no quorum, or the nodes disagree"),
];

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command ends without having done what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClsError {
    /// Pacemaker's daemons do not answer here.
    #[error("no cluster information: Pacemaker is not running on this node")]
    NoCluster,
    /// They do not answer this account.
    #[error(
        "the account {0} may not ask Pacemaker (neither root nor in the group haclient): nothing is known of the cluster"
    )]
    NotAllowed(String),
    /// One of Pacemaker's tools failed.
    #[error(transparent)]
    Tool(CommandError),
    /// What it printed was not understood.
    #[error(transparent)]
    Cib(#[from] CibError),
    /// The partition has no quorum.
    #[error("this node's part of the cluster has no quorum")]
    NoQuorum,
    /// It has lost it before a change was seen to last.
    #[error(
        "the change was made, but this node's part of the cluster has no quorum any more, and the other part may undo it"
    )]
    NotKept,
    /// The nodes disagree about something.
    #[error("the nodes disagree: {0}")]
    Disagree(String),
    /// The cluster has no primary.
    #[error("there is no primary: no node has the database promoted")]
    NoPrimary,
    /// The cluster configuration has no resource of the agent.
    #[error("the cluster configuration has no clone of ocf:heartbeat:expgsql{0}")]
    NoResource(String),
    /// It has several.
    #[error("the cluster configuration has several databases: {0}")]
    SeveralResources(String),
    /// An argument that the command line's syntax allows and the cluster does not.
    #[error("{0}")]
    Argument(String),
    /// Something that the command needs is not so; nothing was changed.
    #[error("{what}")]
    Refused {
        /// What is not so.
        what: String,
        /// What to type next.
        hint: String,
    },
    /// config.ini cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A step failed.
    #[error("{what}")]
    Failed {
        /// What failed, and where.
        what: String,
        /// What to type next.
        hint: String,
    },
    /// A standby is missing at the end of a start.
    #[error("the primary {primary} is up, but not every standby: {missing}")]
    StandbyMissing {
        /// The primary.
        primary: String,
        /// Which standby, and why.
        missing: String,
        /// What to type next.
        hint: String,
    },
    /// The end state did not come about.
    #[error("{what} did not come about within {} s; last seen: {seen}", after.as_secs())]
    TimedOut {
        /// What was waited for.
        what: String,
        /// What was there instead.
        seen: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// Ctrl-C.
    #[error("interrupted while waiting for {0}")]
    Interrupted(String),
}

impl ClsError {
    /// A refusal.
    pub(crate) fn refused(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused {
            what: what.into(),
            hint: hint.into(),
        }
    }

    /// A failed step.
    pub(crate) fn failed(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Failed {
            what: what.into(),
            hint: hint.into(),
        }
    }

    /// The same error with what became of the rest.
    pub(crate) fn beside(self, state: &str) -> Self {
        match self {
            Self::TimedOut { what, seen, after } => Self::TimedOut {
                what,
                seen: format!("{seen}; {state}"),
                after,
            },
            Self::Interrupted(what) => Self::Interrupted(format!("{what}; {state}")),
            Self::StandbyMissing {
                primary,
                missing,
                hint,
            } => Self::StandbyMissing {
                primary,
                missing: format!("{missing}; {state}"),
                hint,
            },
            other => {
                let hint = match other.hint() {
                    "" => "cls_status",
                    hint => hint,
                };
                Self::failed(format!("{other}; {state}"), hint)
            }
        }
    }

    /// The exit code of every error.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NoCluster => Exit::NoCluster,
            Self::NoQuorum | Self::NotKept | Self::Disagree(_) => Exit::NoQuorum,
            // However short its time was: nobody can say whether it had an effect.
            Self::Tool(CommandError::TimedOut { .. }) => Exit::Timeout,
            Self::Tool(_)
            | Self::Cib(_)
            | Self::NoPrimary
            | Self::Failed { .. }
            | Self::Interrupted(_) => Exit::Failed,
            Self::NotAllowed(_) | Self::NoResource(_) | Self::Refused { .. } | Self::Config(_) => {
                Exit::Precondition
            }
            Self::SeveralResources(_) | Self::Argument(_) => Exit::Usage,
            Self::StandbyMissing { .. } => Exit::StandbyMissing,
            Self::TimedOut { .. } => Exit::Timeout,
        }
    }

    /// What to type next.
    pub(crate) fn hint(&self) -> &str {
        match self {
            Self::NotAllowed(_) => {
                "run it as root (sudo); for a monitoring system, as root: usermod -aG haclient <account>, which counts from its next login or the restart of its service"
            }
            Self::NoCluster => "systemctl start corosync pacemaker",
            Self::Tool(_) | Self::Cib(_) => "see whether `crm_mon -1` answers, and Pacemaker's log",
            Self::NoQuorum => {
                "start the missing nodes, or look at the network between them: corosync-quorumtool -s"
            }
            Self::NotKept => {
                "bring the quorum back (corosync-quorumtool -s), and type the command again if cls_status does not show the change then"
            }
            Self::Disagree(_) => "cls_status on every node",
            Self::NoPrimary => "cls_status says why",
            Self::NoResource(_) => "cls_setup makes the configuration from config.ini",
            Self::SeveralResources(_) => "name one with --resource",
            Self::Argument(_) => "--help shows what is expected",
            Self::Refused { hint, .. }
            | Self::Failed { hint, .. }
            | Self::StandbyMissing { hint, .. } => hint,
            Self::Config(ConfigError::Forbidden { .. }) => "run it as root (sudo)",
            Self::Config(_) => "correct the file, or name another one with --config",
            Self::TimedOut { .. } => "cls_status shows how it goes on; --timeout gives it longer",
            Self::Interrupted(_) => "cls_status shows what came of it",
        }
    }
}

impl From<PacemakerError> for ClsError {
    fn from(error: PacemakerError) -> Self {
        match error {
            PacemakerError::NotRunning => Self::NoCluster,
            PacemakerError::NotAllowed { account } => Self::NotAllowed(account),
            PacemakerError::Tool(error) => Self::Tool(error),
            PacemakerError::Cib(error) => Self::Cib(error),
            PacemakerError::Unclear(_) => {
                Self::failed(error.to_string(), "systemctl status pacemaker, and its log")
            }
            PacemakerError::TooLarge => Self::failed(
                PacemakerError::TooLarge.to_string(),
                "see what has filled the cluster configuration: cibadmin --query | wc -c",
            ),
        }
    }
}

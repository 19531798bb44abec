//! What can go wrong, with one table of exit codes.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use pha_core::message;
use pha_core::message::Message;
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
#[derive(Debug)]
pub(crate) enum ClsError {
    /// Pacemaker does not run here.
    NoCluster,
    /// It runs, and does not answer.
    NoAnswer,
    /// They do not answer this account.
    NotAllowed(String),
    /// One of Pacemaker's tools failed.
    Tool(CommandError),
    /// What it printed was not understood.
    Cib(CibError),
    /// The partition has no quorum.
    NoQuorum,
    /// It has lost it before a change was seen to last.
    NotKept,
    /// The nodes disagree about something.
    Disagree(String),
    /// The cluster has no primary.
    NoPrimary,
    /// The cluster configuration has no resource of the agent.
    NoResource(String),
    /// It has several.
    SeveralResources(String),
    /// An argument that the command line's syntax allows and the cluster does not.
    Argument(Message),
    /// Something that the command needs is not so; nothing was changed.
    Refused {
        /// What is not so.
        what: Message,
        /// What to type next.
        hint: Message,
    },
    /// config.ini cannot be used.
    Config(ConfigError),
    /// A step failed.
    Failed {
        /// What failed, and where.
        what: Message,
        /// What to type next.
        hint: Message,
    },
    /// A standby is missing at the end of a start.
    StandbyMissing {
        /// The primary.
        primary: String,
        /// Which standby, and why.
        missing: String,
        /// What to type next.
        hint: String,
    },
    /// The end state did not come about.
    TimedOut {
        /// What was waited for.
        what: String,
        /// What was there instead.
        seen: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// Ctrl-C.
    Interrupted(String),
}

impl ClsError {
    /// A refusal.
    pub(crate) fn refused(what: impl Into<Message>, hint: impl Into<Message>) -> Self {
        Self::Refused {
            what: what.into(),
            hint: hint.into(),
        }
    }

    /// A failed step.
    pub(crate) fn failed(what: impl Into<Message>, hint: impl Into<Message>) -> Self {
        Self::Failed {
            what: what.into(),
            hint: hint.into(),
        }
    }

    /// The same error with what became of the rest.
    pub(crate) fn beside(self, state: &Message) -> Self {
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
                    none if none.to_string().is_empty() => message!("cls_status"),
                    hint => hint,
                };
                let what = other.what();
                Self::failed(message!("{what}; {state}", what, state), hint)
            }
        }
    }

    /// The exit code of every error.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NoCluster | Self::NoAnswer => Exit::NoCluster,
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

    /// What has happened.
    pub(crate) fn what(&self) -> Message {
        match self {
            Self::NoCluster => {
                message!("no cluster information: Pacemaker is not running on this node")
            }
            Self::NoAnswer => message!(
                "no cluster information: Pacemaker runs on this node, but does not answer: it is starting or stopping, or has lost a daemon and does not start it again"
            ),
            Self::NotAllowed(account) => message!(
                "the account {account} may not ask Pacemaker (neither root nor in the group haclient): nothing is known of the cluster",
                account
            ),
            Self::Tool(error) => Message::from(error.to_string()),
            Self::Cib(error) => Message::from(error.to_string()),
            Self::NoQuorum => message!("this node's part of the cluster has no quorum"),
            Self::NotKept => message!(
                "the change was made, but this node's part of the cluster has no quorum any more, and the other part may undo it"
            ),
            Self::Disagree(what) => message!("the nodes disagree: {what}", what),
            Self::NoPrimary => message!("there is no primary: no node has the database promoted"),
            Self::NoResource(named) => message!(
                "the cluster configuration has no clone of ocf:heartbeat:expgsql{named}",
                named
            ),
            Self::SeveralResources(names) => message!(
                "the cluster configuration has several databases: {names}",
                names
            ),
            Self::Config(error) => Message::from(error.to_string()),
            Self::Argument(what) | Self::Refused { what, .. } | Self::Failed { what, .. } => {
                what.clone()
            }
            Self::StandbyMissing {
                primary, missing, ..
            } => message!(
                "the primary {primary} is up, but not every standby: {missing}",
                primary,
                missing
            ),
            Self::TimedOut { what, seen, after } => message!(
                "{what} did not come about within {seconds} s; last seen: {seen}",
                what,
                seconds = after.as_secs(),
                seen
            ),
            Self::Interrupted(what) => message!("interrupted while waiting for {what}", what),
        }
    }

    /// What to type next.
    pub(crate) fn hint(&self) -> Message {
        match self {
            Self::NotAllowed(_) => message!(
                "run it as root (sudo); for a monitoring system, as root: usermod -aG haclient <account>, which counts from its next login or the restart of its service"
            ),
            Self::NoCluster => message!("systemctl start corosync pacemaker"),
            Self::NoAnswer => message!(
                "wait ten seconds and look again; if it stays so: pkill -KILL -x pacemakerd; systemctl start pacemaker"
            ),
            Self::Tool(_) | Self::Cib(_) => {
                message!("see whether `crm_mon -1` answers, and Pacemaker's log")
            }
            Self::NoQuorum => message!(
                "start the missing nodes, or look at the network between them: corosync-quorumtool -s"
            ),
            Self::NotKept => message!(
                "bring the quorum back (corosync-quorumtool -s), and type the command again if cls_status does not show the change then"
            ),
            Self::Disagree(_) => message!("cls_status on every node"),
            Self::NoPrimary => message!("cls_status says why"),
            Self::NoResource(_) => message!("cls_setup makes the configuration from config.ini"),
            Self::SeveralResources(_) => message!("name one with --resource"),
            Self::Argument(_) => message!("--help shows what is expected"),
            Self::Refused { hint, .. } | Self::Failed { hint, .. } => hint.clone(),
            Self::StandbyMissing { hint, .. } => Message::from(hint),
            Self::Config(ConfigError::Forbidden { .. }) => message!("run it as root (sudo)"),
            Self::Config(_) => message!("correct the file, or name another one with --config"),
            Self::TimedOut { .. } => {
                message!("cls_status shows how it goes on; --timeout gives it longer")
            }
            Self::Interrupted(_) => message!("cls_status shows what came of it"),
        }
    }
}

impl fmt::Display for ClsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what().fmt(f)
    }
}

impl std::error::Error for ClsError {}

impl From<CibError> for ClsError {
    fn from(error: CibError) -> Self {
        Self::Cib(error)
    }
}

impl From<ConfigError> for ClsError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<PacemakerError> for ClsError {
    fn from(error: PacemakerError) -> Self {
        match error {
            PacemakerError::NotRunning => Self::NoCluster,
            PacemakerError::NoAnswer => Self::NoAnswer,
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

//! Actions, exit codes, notifications and the environment of an OCF resource agent.
//!
//! Sources: the OCF Resource Agent API 1.1, and what Pacemaker 2.0.5 to 3.0.3 really pass.

mod environment;

use std::fmt;
use std::time::Duration;

use environment::Environment;
pub use environment::{NodeLists, OcfError};

use crate::names::{NodeName, ResourceName};
use crate::text_enum::text_enum;

/// The exit codes of a resource agent.
///
/// Pacemaker calls 2 to 5 hard errors (the node is not tried again until an operator cleans up) and
/// 6 fatal (no node is), so these are for what only an operator can mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum OcfCode {
    /// Done; for `monitor`: running, and not promoted.
    Success = 0,
    /// Failed; trying again may help.
    Generic = 1,
    /// A parameter is not usable on this node.
    Args = 2,
    /// The action is not known.
    Unimplemented = 3,
    /// The agent may not do what it must.
    Perm = 4,
    /// A program or a directory that is needed is missing on this node.
    Installed = 5,
    /// The configuration is wrong on every node.
    Configured = 6,
    /// Cleanly stopped.
    NotRunning = 7,
    /// Running as the primary.
    RunningPromoted = 8,
    /// Running as the primary, and broken.
    FailedPromoted = 9,
    /// Running as a standby, and worth an operator's look (Pacemaker 2.0.5 and newer).
    Degraded = 190,
    /// Running as the primary, and worth an operator's look (Pacemaker 2.0.5 and newer).
    DegradedPromoted = 191,
}

impl OcfCode {
    /// Whether it is an answer and not a failure.
    #[must_use]
    pub fn is_answer(self) -> bool {
        matches!(self, Self::Success | Self::RunningPromoted)
    }

    /// Every code.
    pub const ALL: &'static [Self] = &[
        Self::Success,
        Self::Generic,
        Self::Args,
        Self::Unimplemented,
        Self::Perm,
        Self::Installed,
        Self::Configured,
        Self::NotRunning,
        Self::RunningPromoted,
        Self::FailedPromoted,
        Self::Degraded,
        Self::DegradedPromoted,
    ];

    /// The number with which the agent exits.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The code with this number; `None` for a number that the standard does not know.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|known| i32::from(known.code()) == code)
    }

    /// The standard's name of the code.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "OCF_SUCCESS",
            Self::Generic => "OCF_ERR_GENERIC",
            Self::Args => "OCF_ERR_ARGS",
            Self::Unimplemented => "OCF_ERR_UNIMPLEMENTED",
            Self::Perm => "OCF_ERR_PERM",
            Self::Installed => "OCF_ERR_INSTALLED",
            Self::Configured => "OCF_ERR_CONFIGURED",
            Self::NotRunning => "OCF_NOT_RUNNING",
            Self::RunningPromoted => "OCF_RUNNING_PROMOTED",
            Self::FailedPromoted => "OCF_FAILED_PROMOTED",
            Self::Degraded => "OCF_DEGRADED",
            Self::DegradedPromoted => "OCF_DEGRADED_PROMOTED",
        }
    }
}

impl fmt::Display for OcfCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.code())
    }
}

text_enum! {
    /// What Pacemaker asks the agent to do.
    Action, "action" {
        /// Start PostgreSQL (as a standby where it is replicated).
        Start = "start",
        /// Stop PostgreSQL.
        Stop = "stop",
        /// Whether PostgreSQL runs, for people; not part of the standard.
        Status = "status",
        /// Health, role and replication.
        Monitor = "monitor",
        /// Make a running standby the primary.
        Promote = "promote",
        /// Stop being the primary.
        Demote = "demote",
        /// Something happens or has happened to instances of the clone.
        Notify = "notify",
        /// Print the meta-data.
        MetaData = "meta-data",
        /// Check the parameters.
        ValidateAll = "validate-all",
        /// Print the names of the actions; not part of the standard.
        Methods = "methods",
        /// Take over changed parameters without a restart (OCF 1.1).
        ReloadAgent = "reload-agent",
    }
}

impl Action {
    /// Whether the action needs no resource: it only describes the agent.
    #[must_use]
    pub const fn describes_agent(self) -> bool {
        matches!(self, Self::MetaData | Self::Methods)
    }
}

text_enum! {
    /// Whether a notification comes before or after what it announces.
    When, "notification type" {
        /// Before.
        Pre = "pre",
        /// After.
        Post = "post",
    }
}

text_enum! {
    /// What a notification announces.
    Operation, "notification operation" {
        /// Instances are started.
        Start = "start",
        /// Instances are stopped.
        Stop = "stop",
        /// Instances are promoted.
        Promote = "promote",
        /// Instances are demoted.
        Demote = "demote",
    }
}

/// One notification, with the nodes as they were before the transition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Before or after.
    pub when: When,
    /// What is announced.
    pub operation: Operation,
    /// See [`NodeLists::start`].
    pub start: Vec<NodeName>,
    /// See [`NodeLists::stop`].
    pub stop: Vec<NodeName>,
    /// See [`NodeLists::promote`].
    pub promote: Vec<NodeName>,
    /// See [`NodeLists::demote`].
    pub demote: Vec<NodeName>,
    /// See [`NodeLists::active`].
    pub active: Vec<NodeName>,
    /// See [`NodeLists::inactive`].
    pub inactive: Vec<NodeName>,
    /// See [`NodeLists::promoted`]; still the old primary in `post-promote`.
    pub promoted: Vec<NodeName>,
    /// See [`NodeLists::unpromoted`].
    pub unpromoted: Vec<NodeName>,
}

impl Notification {
    /// A notification about these nodes.
    #[must_use]
    pub fn new(when: When, operation: Operation, lists: NodeLists) -> Self {
        let NodeLists {
            start,
            stop,
            promote,
            demote,
            active,
            inactive,
            promoted,
            unpromoted,
        } = lists;
        Self {
            when,
            operation,
            start,
            stop,
            promote,
            demote,
            active,
            inactive,
            promoted,
            unpromoted,
        }
    }
}

/// What Pacemaker says about one call of the agent, apart from the agent's own parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OcfContext {
    /// The action, the agent's first argument.
    pub action: Action,
    /// The resource; `undef` for the actions that only describe the agent.
    pub resource: ResourceName,
    /// How long the action may take.
    pub timeout: Duration,
    /// The interval of a recurring monitor.
    pub interval: Option<Duration>,
    /// A monitor that is not recurring: a probe, or an operator's `crm_resource --force-check`.
    /// It may find anything and must change nothing.
    pub is_probe: bool,
    /// The node that the action runs on, where Pacemaker says so.
    pub on_node: Option<NodeName>,
    /// What `notify` is about; `None` for every other action.
    pub notification: Option<Notification>,
    /// The nodes of the clone; filled for `notify`, and for start, stop, promote and demote of a
    /// clone with `notify=true`; empty otherwise.
    pub lists: NodeLists,
    /// Whether the resource is an instance of a clone.
    pub is_clone: bool,
    /// Whether the clone has `notify=true`.
    pub notify: bool,
    /// How many instances of the clone there may be (`clone-max`).
    pub clone_max: Option<u32>,
    /// How many instances may be promoted (`promoted-max`, before Pacemaker 2.1 `master-max`).
    pub promoted_max: Option<u32>,
    /// `OCF_RA_VERSION_MAJOR` and `OCF_RA_VERSION_MINOR`: 1.0 before Pacemaker 2.1, 1.1 since.
    pub feature: (u32, u32),
}

impl OcfError {
    /// The code to exit with.
    #[must_use]
    pub const fn code(&self) -> OcfCode {
        match self {
            Self::Action(_) => OcfCode::Unimplemented,
            Self::NoResource | Self::Name { .. } | Self::Value { .. } => OcfCode::Args,
        }
    }
}

/// The timeout where Pacemaker gives none, as for an agent started by hand: Pacemaker's own
/// default for an operation.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);

impl OcfContext {
    /// Reads the action and the environment.
    ///
    /// # Errors
    /// [`OcfError`], whose [`OcfError::code`] says how to exit.
    pub fn parse<K, V>(
        action: &str,
        environment: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, OcfError>
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        let action: Action = action.parse().map_err(OcfError::Action)?;
        let environment = Environment::collect(environment);
        let resource = match environment.get("OCF_RESOURCE_INSTANCE") {
            Some(instance) => {
                ResourceName::from_instance(instance).map_err(|source| OcfError::Name {
                    variable: "OCF_RESOURCE_INSTANCE".to_owned(),
                    source,
                })?
            }
            // crm_resource and pcs ask for the meta-data without naming a resource.
            None if action.describes_agent() => ResourceName::undefined(),
            None => return Err(OcfError::NoResource),
        };
        let interval = environment
            .milliseconds("interval")?
            .filter(|interval| !interval.is_zero());
        let lists = environment.lists()?;
        let notification = match action {
            Action::Notify => Some(Notification::new(
                environment.word("notify_type", "pre or post")?,
                environment.word("notify_operation", "start, stop, promote or demote")?,
                lists.clone(),
            )),
            _ => None,
        };
        let version = |name| environment.number(name);
        Ok(Self {
            action,
            resource,
            timeout: environment
                .milliseconds("timeout")?
                .filter(|timeout| !timeout.is_zero())
                .unwrap_or(DEFAULT_TIMEOUT),
            interval,
            is_probe: action == Action::Monitor && interval.is_none(),
            on_node: environment.node("on_node")?,
            notification,
            lists,
            is_clone: environment.meta("clone").is_some()
                || environment.meta("clone_max").is_some(),
            notify: environment
                .meta("notify")
                .is_some_and(|text| parse_boolean(text) == Some(true)),
            clone_max: environment.meta_number("clone_max")?,
            promoted_max: match environment.meta_number("promoted_max")? {
                Some(number) => Some(number),
                None => environment.meta_number("master_max")?,
            },
            feature: (
                version("OCF_RA_VERSION_MAJOR")?.unwrap_or(1),
                version("OCF_RA_VERSION_MINOR")?.unwrap_or(1),
            ),
        })
    }
}

/// Reads a boolean as Pacemaker and `ocf_is_true` do: true, yes, on, y, 1, ja and false, no, off, n, 0
/// in any case; `None` for anything else.
#[must_use]
pub fn parse_boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" | "1" | "ja" => Some(true),
        "false" | "no" | "off" | "n" | "0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

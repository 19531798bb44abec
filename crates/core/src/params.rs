//! The agent's parameters: declared once in [`TABLE`], from which come parsing, defaults, the
//! meta-data of the agent and the manual's table.

mod lock;
mod markdown;
mod parse;
mod table;
#[cfg(test)]
mod tests;
pub mod together;
mod values;

use std::fmt;
use std::time::Duration;

pub use lock::{Arbiter, LockService};
pub use markdown::markdown;
pub use table::{Kind, Spec, TABLE, spec};

use crate::names::{NodeName, in_slot};
use crate::ocf::OcfCode;
use crate::quoted::quoted;
use crate::secret::Secret;
use crate::text_enum::text_enum;

text_enum! {
    /// How PostgreSQL instances replicate (`rep_mode`).
    Mode, "rep_mode" {
        /// A single instance without replication.
        Standalone = "none",
        /// A standby of a primary that Pacemaker does not manage.
        Slave = "slave",
        /// Asynchronous replication: bounded loss at a takeover.
        Async = "async",
        /// Synchronous replication: no acknowledged commit is lost at a takeover.
        Sync = "sync",
    }
}

impl Mode {
    /// Whether instances are promoted and demoted in this mode (`async` or `sync`).
    #[must_use]
    pub const fn replicated(self) -> bool {
        matches!(self, Self::Async | Self::Sync)
    }
}

/// The parameters of one resource, checked one by one; [`together::validate_together`] checks what they say
/// together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params {
    /// Path of `pg_ctl`.
    pub pgctl: String,
    /// Path of `psql`; its directory is where the other client programs are looked for.
    pub psql: String,
    /// The data directory.
    pub pgdata: String,
    /// The user that PostgreSQL runs as.
    pub pgdba: String,
    /// The host, or the directory of the socket, that the agent connects to.
    pub pghost: Option<String>,
    /// PostgreSQL's port.
    pub pgport: u16,
    /// A directory added to `LD_LIBRARY_PATH`.
    pub pglibs: Option<String>,
    /// Further options of `postgres`, already split into words. `pg_ctl -o` hands its argument to
    /// a shell: see [`Params::start_options`].
    pub start_opt: Vec<String>,
    /// Further options of `pg_ctl`, already split into words.
    pub ctl_opt: Vec<String>,
    /// The database that the agent connects to.
    pub pgdb: String,
    /// The file that the server's start-up output is appended to.
    pub logfile: String,
    /// The directory of PostgreSQL's Unix socket.
    pub socketdir: Option<String>,
    /// How long a fast shutdown of a primary may take before it becomes an immediate one.
    pub stop_escalate: Duration,
    /// The same for a standby.
    pub stop_escalate_in_slave: Duration,
    /// The role for monitoring; without it, `pgdba` connects by itself.
    pub monitor_user: Option<String>,
    /// Its password.
    pub monitor_password: Option<Secret>,
    /// The statement that shows that the primary works.
    pub monitor_sql: String,
    /// PostgreSQL's configuration file.
    pub config: String,
    /// Whether monitor reports the state of the WAL receiver as an attribute.
    pub check_wal_receiver: bool,
    /// How the agent replicates.
    pub rep_mode: Mode,
    /// Every node that may run an instance.
    pub node_list: Vec<NodeName>,
    /// PostgreSQL's `restore_command`.
    pub restore_command: Option<String>,
    /// PostgreSQL's `archive_cleanup_command`.
    pub archive_cleanup_command: Option<String>,
    /// PostgreSQL's `recovery_end_command`.
    pub recovery_end_command: Option<String>,
    /// The address under which standbys reach the primary.
    pub master_ip: Option<String>,
    /// The role that standbys connect as.
    pub repuser: String,
    /// Further keywords of `primary_conninfo`, in their order.
    pub primary_conninfo_opt: Vec<(String, Secret)>,
    /// The directory of the agent's own files.
    pub tmpdir: String,
    /// How many monitors must agree on the newest data before the first primary is elected.
    pub xlog_check_count: u32,
    /// How long an update of a permanent attribute may take.
    pub crm_attr_timeout: Duration,
    /// What the names of the replication slots begin with; see [`Params::slot_for`].
    pub replication_slot_name: Option<String>,
    /// The lock service.
    pub lock_service: LockService,
    /// How long the lock is held without being renewed.
    pub distlock_ttl: Duration,
    /// How much WAL, in bytes, an asynchronous standby may lack and still take over.
    pub async_max_lag: u64,
    /// How long the guard lets a primary run without Pacemaker; zero for ever.
    pub guard_pacemaker_timeout: Duration,
    /// The watchdog device that the guard feeds.
    pub guard_watchdog: Option<String>,
    /// The hosts that are asked over ssh whether the lock service is dead.
    pub deadcheck_nodes: Vec<String>,
}

impl Params {
    /// The argument for `pg_ctl -o`, which `pg_ctl` hands to `/bin/sh`: every word is quoted, so
    /// that the shell sees each as it was configured and expands nothing. `None` without options.
    #[must_use]
    pub fn start_options(&self) -> Option<String> {
        // The words contain no NUL: parsing has refused it. That is the only error of joining.
        (!self.start_opt.is_empty())
            .then(|| shlex::try_join(self.start_opt.iter().map(String::as_str)).ok())
            .flatten()
    }

    /// The replication slot of a standby: `replication_slot_name`, `_`, and the node's name in
    /// lower case with everything but letters and digits made `_` (a slot's name allows no more).
    #[must_use]
    pub fn slot_for(&self, node: &NodeName) -> Option<String> {
        let base = self.replication_slot_name.as_ref()?;
        Some(format!("{base}_{}", in_slot(node)))
    }
}

/// Something about the parameters that is worth saying and stops nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The parameter.
    pub parameter: String,
    /// What about it.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "parameter {}: {}", self.parameter, self.message)
    }
}

/// A parameter that is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("parameter {parameter}{} {problem}", .value.as_ref().map(|value| format!("={value}")).unwrap_or_default())]
pub struct ParamError {
    /// Its name.
    pub parameter: &'static str,
    /// Its value, quoted; `***` for a secret; `None` where it is missing.
    pub value: Option<String>,
    /// What is wrong, and what is allowed: the rest of the sentence.
    pub problem: String,
    /// The code to exit with: [`OcfCode::Configured`] where the value is wrong on every node,
    /// [`OcfCode::Args`] where it is wrong on this one.
    pub code: OcfCode,
}

impl ParamError {
    fn new(spec: &Spec, value: Option<&str>, problem: impl Into<String>) -> Self {
        Self {
            parameter: spec.name,
            value: value.map(|value| {
                if spec.secret {
                    "***".to_owned()
                } else {
                    quoted(value)
                }
            }),
            problem: problem.into(),
            code: OcfCode::Configured,
        }
    }
}

//! Pacemaker through its own tools, in the spellings that every version from 2.0 to 3.0 takes.
//!
//! A tool's cost is its start, so that one `cibadmin --query` serves for everything that is read,
//! and attributes are only written where they change. `attrd_updater` and `crm_attribute` take
//! `--option=value`, never two words: Pacemaker 2.1.5 would take a value such as `-INFINITY` for an
//! option of its own.

use std::io;
use std::time::Duration;

use pha_core::decide::may_be_at_work;
use pha_core::names::{NodeName, ResourceName};
use pha_core::parse::cib::{Cib, CibError};
use pha_core::parse::cpg::Groups;
use pha_core::quoted::printable;
use pha_core::register::Seen;
use pha_core::repl_info::ReplInfo;

use crate::clock::Deadline;
use crate::command::{Command, CommandError, Output};
use crate::process::Process;
use crate::user::User;

/// Exit status of Pacemaker's tools: no cluster is running here.
const NO_CLUSTER: i32 = 102;
/// … the account lacks the right.
const NO_RIGHT: i32 = 4;
/// … what was to be changed is not there.
const NOT_FOUND: i32 = 105;
/// … `attrd_updater --query` from 2.1.5 on: nobody has ever set that attribute.
const NEVER_SET: i32 = 78;
/// … this part of the cluster has no quorum.
const NO_QUORUM: i32 = 106;
/// The account of `pacemakerd`.
const ROOT: u32 = 0;
/// A monitor's answer about a primary (`OCF_RUNNING_PROMOTED`).
const PROMOTED: u8 = 8;

/// Why Pacemaker did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum PacemakerError {
    /// Its daemons do not run on this node.
    #[error("Pacemaker is not running on this node; start it (systemctl start pacemaker)")]
    NotRunning,
    /// They run in part: what was asked for does not answer, and `pacemakerd` is there.
    #[error(
        "Pacemaker runs on this node, but does not answer: it is starting or stopping, or has lost a daemon and does not start it again; if it stays so: pkill -KILL -x pacemakerd; systemctl start pacemaker"
    )]
    NoAnswer,
    /// The account of this process may not ask them; whether they run is not known.
    #[error(
        "the account {account} may not ask Pacemaker: run this as root, or as a member of the group haclient"
    )]
    NotAllowed {
        /// The account.
        account: String,
    },
    /// A tool failed.
    #[error(transparent)]
    Tool(#[from] CommandError),
    /// The cluster information base could not be understood.
    #[error(transparent)]
    Cib(#[from] CibError),
    /// Its controller says neither that there is quorum nor that there is none.
    #[error("crm_node --quorum says neither 1 nor 0: {0}")]
    Unclear(String),
    /// The cluster information base is larger than what is read.
    #[error("the cluster information base is larger than {} MiB; clean up its history (crm_resource --cleanup)", CIB_LIMIT >> 20)]
    TooLarge,
}

impl PacemakerError {
    /// What the end of one of Pacemaker's tools means. To an account that its daemons do not talk to the
    /// tools say what they say where no daemon runs: that no connection could be made.
    #[must_use]
    pub fn of(error: CommandError) -> Self {
        match error.status() {
            Some(NO_CLUSTER | NO_RIGHT) => match User::barred_from_pacemaker() {
                Some(account) => Self::NotAllowed { account },
                None if error.status() != Some(NO_CLUSTER) => Self::Tool(error),
                // What cannot be told may run: then to start it is no remedy.
                None if may_be_at_work(launcher().ok().map(|found| found.is_some())) => {
                    Self::NoAnswer
                }
                None => Self::NotRunning,
            },
            _ => Self::Tool(error),
        }
    }

    /// Whether a tool was killed because its time was over; the change that it was to make may
    /// have been made.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Tool(error) if error.is_timeout())
    }
}

/// Pacemaker on this node, seen from one resource.
#[derive(Debug, Clone)]
pub struct Pacemaker {
    resource: ResourceName,
    budget: Duration,
    env: Vec<(String, String)>,
}

impl Pacemaker {
    /// `budget` is how long one call of a tool may take (`crm_attr_timeout`).
    #[must_use]
    pub fn new(resource: ResourceName, budget: Duration) -> Self {
        Self {
            resource,
            budget,
            env: Vec::new(),
        }
    }

    /// The same with a variable in the environment of the tools, such as `CIB_file`, with which
    /// they work on a file instead of a running cluster.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The cluster's state and configuration, in one call.
    ///
    /// # Errors
    /// As [`Self::cib_xml`], and [`PacemakerError::Cib`].
    pub fn cib(&self, deadline: Deadline) -> Result<Cib, PacemakerError> {
        Ok(Cib::parse(&self.cib_xml(deadline)?)?)
    }

    /// The whole CIB with its status section, as XML.
    ///
    /// # Errors
    /// [`PacemakerError`] when the tool fails, hangs, or no cluster runs here.
    pub fn cib_xml(&self, deadline: Deadline) -> Result<String, PacemakerError> {
        let command = Command::new("cibadmin").arg("--query").keep(CIB_LIMIT);
        let output = self.run(command, deadline)?;
        if output.truncated {
            return Err(PacemakerError::TooLarge);
        }
        Ok(output.text().into_owned())
    }

    /// Sets an attribute that lasts until the node leaves the cluster.
    ///
    /// # Errors
    /// As [`Self::cib_xml`].
    pub fn set_transient(
        &self,
        node: &NodeName,
        name: &str,
        value: &str,
        deadline: Deadline,
    ) -> Result<(), PacemakerError> {
        let command = Command::new("attrd_updater")
            .arg(format!("--node={node}"))
            .arg(format!("--name={name}"))
            .arg(format!("--update={value}"));
        self.run(command, deadline).map(drop)
    }

    /// The same for a value that the CIB ought to have had already. Where the attribute daemon has
    /// it in memory, setting it again would change nothing: when two parts of a cluster meet, the
    /// one coordinator removes from the CIB what the other's daemons still hold, and nobody writes
    /// it again (seen with 2.1.5: a node without its score, and so a cluster without a primary).
    /// The daemon is told to write everything that it has.
    ///
    /// # Errors
    /// As [`Self::cib_xml`].
    pub fn restore_transient(
        &self,
        node: &NodeName,
        name: &str,
        value: &str,
        deadline: Deadline,
    ) -> Result<(), PacemakerError> {
        if self.in_memory(node, name, deadline)?.as_deref() != Some(value) {
            return self.set_transient(node, name, value, deadline);
        }
        let command = Command::new("attrd_updater").arg("--refresh");
        self.run(command, deadline).map(drop)
    }

    /// What the attribute daemon has in memory.
    fn in_memory(
        &self,
        node: &NodeName,
        name: &str,
        deadline: Deadline,
    ) -> Result<Option<String>, PacemakerError> {
        let output = self.run(memory_question(node, name), deadline)?;
        Ok(answers_memory(&output))
    }

    /// Sets an attribute that lasts for ever.
    ///
    /// # Errors
    /// As [`Self::cib_xml`].
    pub fn set_permanent(
        &self,
        node: &NodeName,
        name: &str,
        value: &str,
        deadline: Deadline,
    ) -> Result<(), PacemakerError> {
        let command = Command::new("crm_attribute")
            .arg("--lifetime=forever")
            .arg(format!("--node={node}"))
            .arg(format!("--name={name}"))
            .arg(format!("--update={value}"));
        self.run(command, deadline).map(drop)
    }

    /// Whether this part of the cluster has quorum, once its membership has settled. It is told by writing
    /// a permanent attribute of this node, which has that value already: a write is sent to every member,
    /// and corosync delivers nothing while it looks for a new membership. So the tool may take all the time
    /// that there is.
    ///
    /// # Errors
    /// As [`Self::cib_xml`], also where the cluster takes longer to settle.
    pub fn settled_quorum(
        &self,
        node: &NodeName,
        name: &str,
        value: &str,
        deadline: Deadline,
    ) -> Result<bool, PacemakerError> {
        let patient = Self {
            budget: deadline.left(),
            ..self.clone()
        };
        patient.set_permanent(node, name, value, deadline)?;
        let answer = self.run(quorum_question(), deadline)?;
        answers_quorum(&answer)
            .ok_or_else(|| PacemakerError::Unclear(printable(&answer.text(), 80)))
    }

    /// Writes `pgsql_REPL_INFO`, a cluster property in a set of its own.
    ///
    /// # Errors
    /// As [`Self::cib_xml`].
    pub fn set_repl_info(&self, info: &ReplInfo, deadline: Deadline) -> Result<(), PacemakerError> {
        let (set, name) = (
            self.resource.property_set(),
            self.resource.repl_info_property(),
        );
        self.set_property(&set, &name, &info.to_string(), deadline)
    }

    /// Writes `pgsql_REGISTER`, a cluster property in a set of its own.
    ///
    /// # Errors
    /// As [`Self::cib_xml`].
    pub fn set_seen(&self, seen: Seen, deadline: Deadline) -> Result<(), PacemakerError> {
        let (set, name) = (
            self.resource.register_set(),
            self.resource.register_property(),
        );
        self.set_property(&set, &name, &seen.to_string(), deadline)
    }

    fn set_property(
        &self,
        set: &str,
        name: &str,
        value: &str,
        deadline: Deadline,
    ) -> Result<(), PacemakerError> {
        let command = Command::new("crm_attribute")
            .arg("--type=crm_config")
            .arg(format!("--set-name={set}"))
            .arg(format!("--name={name}"))
            .arg(format!("--update={value}"));
        self.run(command, deadline).map(drop)
    }

    /// Has the monitor of a primary on that node run now instead of at its next time.
    ///
    /// The record of the recurring monitor is taken out of the status section: the scheduler finds
    /// it missing and orders it, and the executor, which has it already, runs it at once
    /// (`merge_recurring_duplicate`). So a failure is found, explained and counted by the monitor
    /// itself. `crm_resource --fail` writes two records of one failure, and the controller counts
    /// each of them (2.1.5).
    ///
    /// Without such a record the monitor runs at this moment or has failed already: as good.
    ///
    /// While the coordinator carries a transition out, nothing is done, and the monitor comes at its
    /// time. A transition that is to cancel this very monitor, since it demotes the primary, takes
    /// the missing record for the end of the cancellation, then begins it all the same, and waits for
    /// an end that does not come any more (`confirm_cancel_action`, 2.1.5): nothing would be started,
    /// stopped or moved in the cluster until that controller is restarted.
    ///
    /// # Errors
    /// As [`Self::cib_xml`].
    pub fn look_now(&self, node: &NodeName, deadline: Deadline) -> Result<(), PacemakerError> {
        if !self.is_idle(deadline)? {
            return Ok(());
        }
        let resource = &self.resource;
        let xpath = format!(
            "//node_state[@uname='{node}']/lrm/lrm_resources\
             /lrm_resource[@id='{resource}' or starts-with(@id,'{resource}:')]\
             /lrm_rsc_op[@operation='monitor' and @interval!='0' and @rc-code='{PROMOTED}']"
        );
        let command = Command::new("cibadmin")
            .arg("--delete")
            .arg(format!("--xpath={xpath}"))
            .accept(NOT_FOUND);
        self.run(command, deadline).map(drop)
    }

    /// Whether the coordinator has nothing to carry out; no, while there is none.
    fn is_idle(&self, deadline: Deadline) -> Result<bool, PacemakerError> {
        let asked = self.run(Command::new("crmadmin").arg("--dc_lookup"), deadline)?;
        let text = asked.text();
        // Designated Controller is: node1
        let name = text.split_once("is:").map(|(_, name)| name);
        let Some(name) = name.and_then(|name| name.split_whitespace().next()) else {
            return Ok(false);
        };
        let status = Command::new("crmadmin").arg(format!("--status={name}"));
        Ok(self.run(status, deadline)?.text().contains("S_IDLE"))
    }

    fn run(&self, mut command: Command, deadline: Deadline) -> Result<Output, PacemakerError> {
        for (name, value) in &self.env {
            command = command.env(name, value);
        }
        match command.run(deadline.sub_budget(self.budget)) {
            Ok(output) => Ok(output),
            Err(error) => Err(PacemakerError::of(error)),
        }
    }
}

/// The question to Pacemaker's controller whether this part of the cluster has quorum. The information base
/// says so only seconds later, when a coordinator has been elected in this part.
pub fn quorum_question() -> Command {
    Command::new("crm_node").arg("--quorum").accept(NO_QUORUM)
}

/// Whether the answer to [`quorum_question`] is yes; `None` where it is neither yes nor no.
#[must_use]
pub fn answers_quorum(answer: &Output) -> Option<bool> {
    match (answer.text().trim(), answer.code) {
        ("1", 0) => Some(true),
        ("0", _) | (_, NO_QUORUM) => Some(false),
        _ => None,
    }
}

/// The question to the attribute daemon what it has in memory. It may be other than what the information base
/// has: a daemon that starts removes what its node had there, and until then the rest of the cluster goes by
/// what nobody holds any more.
pub fn memory_question(node: &NodeName, attribute: &str) -> Command {
    Command::new("attrd_updater")
        .arg(format!("--node={node}"))
        .arg(format!("--name={attribute}"))
        .arg("--query")
        .accept(NOT_FOUND)
        .accept(NEVER_SET)
}

/// The value in the answer to [`memory_question`], such as
/// `name="master-pgsql" host="node1" value="1000"`; that of a node whose daemon has ended is empty.
#[must_use]
pub fn answers_memory(answer: &Output) -> Option<String> {
    let text = answer.text();
    let value = text
        .trim()
        .strip_suffix('"')
        .and_then(|text| text.rsplit_once(" value=\""));
    value.map(|(_, value)| value.to_owned())
}

/// `pacemakerd`, which starts Pacemaker's other daemons; `None` where it does not run on this node.
///
/// # Errors
/// That cannot be told.
pub(crate) fn launcher() -> io::Result<Option<Process>> {
    Process::running("pacemakerd", ROOT)
}

/// Where Pacemaker's daemons run, as corosync knows; `None` where it does not say so.
#[must_use]
pub fn daemons(deadline: Deadline) -> Option<Groups> {
    let output = Command::new("corosync-cpgtool").run(deadline).ok()?;
    Some(Groups::parse(&output.text()))
}

/// A CIB larger than this is refused rather than read in part.
const CIB_LIMIT: usize = 32 << 20;

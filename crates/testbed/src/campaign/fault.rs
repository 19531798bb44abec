//! What goes wrong in a campaign, and when: the words of its plan.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// How long faults go on in a round, milliseconds; every fault ends within it.
pub(super) const ROUND_MS: u64 = 60_000;

/// One fault with its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Counts through the whole plan, from 1.
    pub number: u32,
    /// When it begins, milliseconds after the beginning of the round.
    pub at_ms: u64,
    /// How long it lasts.
    pub for_ms: u64,
    /// What it is.
    pub fault: Fault,
}

/// A database node by what it is when the fault happens, so that a fault finds its victim whatever
/// has happened before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// The primary, or the last one where there is none now.
    Primary,
    /// One of the others; which one, counts from 0.
    Standby(u8),
}

/// An end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Party {
    /// A database node.
    Node(Who),
    /// The lock service's node.
    Lock,
    /// The clients.
    Client,
}

/// How a lock service that is reachable refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// Nobody may log in.
    Login,
    /// The table is gone.
    Table,
    /// Every transaction is read-only.
    ReadOnly,
}

/// An operation of the agent, by the word that Pacemaker gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// `monitor`.
    Monitor,
    /// `start`.
    Start,
    /// `stop`.
    Stop,
    /// `promote`.
    Promote,
    /// `demote`.
    Demote,
    /// `notify`.
    Notify,
}

/// A command that changes something, of an operator whose terminal dies in the middle of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// `cls_online_switch`.
    Switch,
    /// `cls_repair_slave`.
    Repair,
    /// `cls_rebuild_slave --keep-old`, after `cls_standby_node`.
    Rebuild,
    /// `cls_standby_node`.
    Standby,
    /// `cls_stop`.
    Stop,
    /// `cls_start`, after `cls_stop`.
    Start,
    /// `cls_unmanage`.
    Unmanage,
    /// `cls_manage`, after `cls_unmanage`.
    Manage,
}

/// What goes wrong, or what an operator does meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Power gone, and back at the end.
    PowerCut(Who),
    /// The power of every database node, at once.
    PowerCutAll,
    /// The power of a database node and of the lock service, at once.
    PowerCutWithLock(Who),
    /// An orderly stop of Pacemaker, power off, and on again at the end.
    Reboot(Who),
    /// Every process of the node stands still.
    Freeze(Who),
    /// SIGKILL; what does not come back by itself is started at the end, as a service manager would.
    Kill(Who, Process),
    /// SIGSTOP, and SIGCONT at the end.
    Stop(Who, Process),
    /// SIGKILL to an operation of the agent, the first one that begins within the step's time.
    KillAgent(Who, Operation),
    /// SIGSTOP to one, and SIGCONT at the end: it goes on with what it has seen before.
    StopAgent(Who, Operation),
    /// Nothing passes.
    Cut {
        /// One end.
        a: Party,
        /// The other.
        b: Party,
        /// Whether what `b` sends still reaches `a`.
        one_way: bool,
    },
    /// Nothing passes of connections to this TCP or UDP port, whichever end offers it.
    CutPort {
        /// One end.
        a: Party,
        /// The other.
        b: Party,
        /// PostgreSQL's, ssh's or corosync's.
        port: u16,
    },
    /// Nothing passes between a node and anybody.
    Isolate(Who),
    /// This share of packets is lost, both ways.
    Lose {
        /// One end.
        a: Party,
        /// The other.
        b: Party,
        /// In percent.
        percent: u8,
    },
    /// Milliseconds on the way to a node, where the kernel can do that.
    Delay(Who, u32),
    /// A node's clock is set so many seconds forward or back, and right again at the end.
    Clock(Who, i32),
    /// The interface of a node has no carrier.
    LinkDown(Who),
    /// The data disk is full to the last block.
    FillDisk(Who),
    /// The lock service is stopped.
    LockStop,
    /// The lock service's processes stand still.
    LockFreeze,
    /// The lock service's machine has no power.
    LockPowerCut,
    /// The lock service answers errors.
    LockBreak(Refusal),
    /// The lock service's disk is full to the last block.
    LockFillDisk,
    /// The lock service's clock is set so many seconds forward or back, and right again at the end.
    LockClock(i32),
    /// The lock service's row is put back to what it was at the beginning of the round, after its
    /// end, and the primary loses its power before `cls_recovery_master` mends it.
    LockRestore,
    /// `cls_online_switch`, typed on this node.
    Switch(Who),
    /// `cls_cleanup`.
    Cleanup(Who),
    /// `cls_stop`, and `cls_start` at the end.
    StopAll(Who),
    /// `cls_standby_node`, and `cls_unstandby_node` at the end.
    Standby(Who),
    /// `cls_repair_slave` on a node that may not need it.
    Repair(Who),
    /// `cls_standby_node`, `cls_rebuild_slave --keep-old`, and `cls_unstandby_node` at the end.
    Rebuild(Who),
    /// `cls_unmanage`, a restart of the node's Pacemaker and corosync, and `cls_manage` at the end.
    Unmanage(Who),
    /// A command that is killed (SIGKILL) before it has ended.
    KillCommand {
        /// Where it is typed, and the node that it is about.
        who: Who,
        /// Which.
        command: Command,
        /// So many milliseconds after its beginning.
        after_ms: u64,
    },
    /// `pg_receivewal --synchronous` on a machine, which calls itself what a standby is called and follows the
    /// writer VIP.
    Receiver {
        /// Where it runs: a database node, or the lock service's.
        on: Party,
        /// Whose plain name it has.
        called: Who,
    },
    /// A copy of a standby with its configuration, started on the lock service's machine.
    Copy(Who),
    /// An operation of the agent stands still, Pacemaker's executor is killed, and at the end the operation
    /// goes on with what it has seen before, beside those of the new executor.
    HangAgent(Who, Operation),
    /// `pg_promote()`, by hand.
    Promote(Who),
    /// `cls_recovery_master` at a terminal, by an operator who answers what is so.
    Recovery {
        /// Where it is typed.
        who: Who,
        /// A node whose power is cut before, and given back once the command has ended.
        off: Option<Who>,
    },
    /// A setting of PostgreSQL on one node alone.
    Setting(Who, Setting),
    /// Sessions with this `statement_timeout`, milliseconds, that call a procedure with COMMIT inside, while
    /// nothing passes between PostgreSQL on the primary and its standbys.
    Session(u32),
    /// The history of a promoted copy lies in the archive that every node restores from.
    ForeignHistory,
}

/// A setting that an administrator changes on one node alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Setting {
    /// `max_connections` is raised, and PostgreSQL restarted between `cls_unmanage` and `cls_manage`. After
    /// the round every node gets the same value.
    MaxConnections,
    /// `default_transaction_isolation` is `serializable`, which a hot standby cannot serve.
    Isolation,
}

/// A process that a fault picks out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Process {
    /// PostgreSQL's first process.
    Postmaster,
    /// PostgreSQL's process of this title.
    Walreceiver,
    /// See [`Process::Walreceiver`].
    Walsender,
    /// See [`Process::Walreceiver`].
    Checkpointer,
    /// See [`Process::Walreceiver`]: the one that replays.
    Startup,
    /// The daemon `corosync`.
    Corosync,
    /// The daemon of this name.
    Pacemakerd,
    /// `pacemaker-based`.
    Based,
    /// `pacemaker-controld`.
    Controld,
    /// `pacemaker-attrd`.
    Attrd,
    /// `pacemaker-execd`.
    Execd,
    /// `pacemaker-schedulerd`.
    Schedulerd,
    /// `pacemaker-fenced`.
    Fenced,
    /// `expgsql guard`, which is beside a primary.
    Guard,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Primary => write!(f, "primary"),
            Who::Standby(which) => write!(f, "standby {}", which + 1),
        }
    }
}

impl Process {
    /// Its name, as faults are reported by.
    pub(super) fn name(self) -> &'static str {
        match self {
            Process::Postmaster => "postmaster",
            Process::Walreceiver => "walreceiver",
            Process::Walsender => "walsender",
            Process::Checkpointer => "checkpointer",
            Process::Startup => "startup",
            Process::Corosync => "corosync",
            Process::Pacemakerd => "pacemakerd",
            Process::Based => "pacemaker-based",
            Process::Controld => "pacemaker-controld",
            Process::Attrd => "pacemaker-attrd",
            Process::Execd => "pacemaker-execd",
            Process::Schedulerd => "pacemaker-schedulerd",
            Process::Fenced => "pacemaker-fenced",
            Process::Guard => "guard",
        }
    }

    /// Whether it is a process of PostgreSQL.
    pub(super) fn of_database(self) -> bool {
        matches!(
            self,
            Process::Postmaster
                | Process::Walreceiver
                | Process::Walsender
                | Process::Checkpointer
                | Process::Startup
        )
    }
}

impl Operation {
    /// The agent's first argument.
    pub(super) fn name(self) -> &'static str {
        match self {
            Operation::Monitor => "monitor",
            Operation::Start => "start",
            Operation::Stop => "stop",
            Operation::Promote => "promote",
            Operation::Demote => "demote",
            Operation::Notify => "notify",
        }
    }
}

impl Command {
    /// Its name without `cls_`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Command::Switch => "online_switch",
            Command::Repair => "repair_slave",
            Command::Rebuild => "rebuild_slave",
            Command::Standby => "standby_node",
            Command::Stop => "stop",
            Command::Start => "start",
            Command::Unmanage => "unmanage",
            Command::Manage => "manage",
        }
    }
}

impl Fault {
    /// The kind in one or two words, for counting.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Fault::PowerCut(_) => "power cut".to_owned(),
            Fault::PowerCutAll => "power cut of all".to_owned(),
            Fault::PowerCutWithLock(_) => "power cut with lock service".to_owned(),
            Fault::Reboot(_) => "reboot".to_owned(),
            Fault::Freeze(_) => "freeze".to_owned(),
            Fault::Kill(_, process) => format!("kill {}", process.name()),
            Fault::Stop(_, process) => format!("stop {}", process.name()),
            Fault::KillAgent(_, operation) => format!("kill agent's {}", operation.name()),
            Fault::StopAgent(_, operation) => format!("stop agent's {}", operation.name()),
            Fault::CutPort { port, .. } => format!("cut port {port}"),
            Fault::Cut { one_way: false, .. } => "cut".to_owned(),
            Fault::Cut { one_way: true, .. } => "cut one way".to_owned(),
            Fault::Isolate(_) => "isolate".to_owned(),
            Fault::Lose { .. } => "lose packets".to_owned(),
            Fault::Delay(..) => "delay".to_owned(),
            Fault::Clock(_, ahead) if *ahead < 0 => "clock back".to_owned(),
            Fault::Clock(..) => "clock forward".to_owned(),
            Fault::LinkDown(_) => "link down".to_owned(),
            Fault::FillDisk(_) => "full disk".to_owned(),
            Fault::LockStop => "lock service stopped".to_owned(),
            Fault::LockFreeze => "lock service frozen".to_owned(),
            Fault::LockPowerCut => "lock service without power".to_owned(),
            Fault::LockBreak(refusal) => {
                format!("lock service refusing {refusal:?}").to_lowercase()
            }
            Fault::LockFillDisk => "full disk of the lock service".to_owned(),
            Fault::LockClock(ahead) if *ahead < 0 => "clock of the lock service back".to_owned(),
            Fault::LockClock(_) => "clock of the lock service forward".to_owned(),
            Fault::LockRestore => "lock service restored".to_owned(),
            Fault::Switch(_) => "cls_online_switch".to_owned(),
            Fault::Cleanup(_) => "cls_cleanup".to_owned(),
            Fault::StopAll(_) => "cls_stop".to_owned(),
            Fault::Standby(_) => "cls_standby_node".to_owned(),
            Fault::Repair(_) => "cls_repair_slave".to_owned(),
            Fault::Rebuild(_) => "cls_rebuild_slave".to_owned(),
            Fault::Unmanage(_) => "cls_unmanage".to_owned(),
            Fault::KillCommand { command, .. } => format!("kill cls_{}", command.name()),
            Fault::Receiver { .. } => "receiver in a standby's name".to_owned(),
            Fault::Copy(_) => "copied standby".to_owned(),
            Fault::HangAgent(_, operation) => format!("hang agent's {}", operation.name()),
            Fault::Promote(_) => "pg_promote by hand".to_owned(),
            Fault::Recovery { off: None, .. } => "cls_recovery_master".to_owned(),
            Fault::Recovery { off: Some(_), .. } => "cls_recovery_master, a node off".to_owned(),
            Fault::Setting(_, Setting::MaxConnections) => "setting max_connections".to_owned(),
            Fault::Setting(_, Setting::Isolation) => "setting isolation".to_owned(),
            Fault::Session(_) => "session with timeout".to_owned(),
            Fault::ForeignHistory => "foreign history".to_owned(),
        }
    }
}

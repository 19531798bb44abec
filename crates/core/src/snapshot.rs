//! What a decision may look at: one immutable picture of the node, the cluster and the register.
//!
//! A [`Snapshot`] is filled by `pha_host::observe`; the functions of [`crate::decide`] read it and
//! answer with a [`crate::plan::Plan`]. Nothing here does I/O, so that a test or a model checker can
//! write any snapshot that a real cluster could show.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::action::{ActionKind, Failure, StopMode};
use crate::begun::Begun;
use crate::cluster::{Cluster, WithoutQuorum};
use crate::lineage::Record;
use crate::link_name::{Flushed, LinkName};
use crate::lsn::Lsn;
use crate::names::{NodeName, ResourceName};
use crate::ocf::Notification;
pub use crate::params::{Arbiter, Mode};
use crate::parse::standby_names::{NOBODY, Waits};
use crate::postgres::RoleView;
pub use crate::postgres::{LinkId, LinkRow, Links, PausedReplay, PrimaryView, Slot, StandbyView};
pub use crate::postgres::{SeenRole, StandbySignal};
use crate::register::{Memory, Promises, Reading, Register, Reign};
use crate::remedy::Remedy;
use crate::server_program::ServerProgram;
use crate::timeline::{History, WalPosition};

/// How long commits may be held for an exchange (R3): the standby that takes the place says how far it is
/// at its next monitor at the latest. An operation that has less than three times as much holds them for a
/// third of its time, so that it can end that itself.
pub const HOLD: Duration = Duration::from_secs(10);

/// The parameters that decisions depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The node on which the operation runs.
    pub me: NodeName,
    /// The resource, without an instance number.
    pub resource: ResourceName,
    /// `node_list`, in the administrator's order.
    pub nodes: Vec<NodeName>,
    /// `rep_mode`.
    pub mode: Mode,
    /// Which arbiter is configured.
    pub arbiter: Arbiter,
    /// Length of the lease in the register.
    pub ttl: Duration,
    /// `check_wal_receiver`.
    pub check_wal_receiver: bool,
    /// How many monitors in a row may find PostgreSQL silent before it counts as failed.
    pub patience: u32,
    /// The physical replication slot of each node (`replication_slot_name`); none without slots.
    pub slots: BTreeMap<NodeName, String>,
    /// How much WAL, in bytes, an asynchronous candidate may lack of what the owner last recorded.
    pub async_max_lag: u64,
}

impl Settings {
    /// The synchronous standbys in the settings of a standby that is not to be promoted: one that cannot
    /// exist where servers are promoted by the cluster.
    #[must_use]
    pub fn names_of_a_standby(&self) -> Waits {
        match self.mode {
            Mode::Async | Mode::Sync => Waits::For(NOBODY.to_owned()),
            Mode::Standalone | Mode::Slave => Waits::ForNobody,
        }
    }
}

/// The operation that Pacemaker asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Bring PostgreSQL up (as a standby in replicated modes).
    Start,
    /// Shut PostgreSQL down, whatever it is.
    Stop,
    /// Report the state; `probe` is Pacemaker's question about a resource it did not start.
    Monitor {
        /// A probe touches nothing.
        probe: bool,
    },
    /// Make a standby the primary.
    Promote,
    /// Make a primary a standby.
    Demote {
        /// Pacemaker stops the instance in the same transition, so there is no need to start a standby.
        then_stop: bool,
    },
    /// A notification before or after an action somewhere in the cluster.
    Notify(Notification),
    /// What a standby does for itself after its start, beside Pacemaker's operations: it says what it has
    /// flushed until it is a holder. Pacemaker does not ask for it.
    Attend,
    /// One round of the guard, the resident process beside a primary; Pacemaker does not ask for it.
    Guard(Watch),
}

impl Operation {
    /// What an operator calls it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Monitor { .. } => "monitor",
            Self::Promote => "promote",
            Self::Demote { .. } => "demote",
            Self::Notify(_) => "notify",
            Self::Attend => "attend",
            Self::Guard(_) => "guard",
        }
    }
}

/// The end of the postmaster, as the guard knows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Death {
    /// Nothing to tell: it lives, or it was stopped in an orderly way.
    #[default]
    None,
    /// It has died, and Pacemaker does not know it yet.
    Untold,
    /// It has died, and Pacemaker has been told.
    Told,
}

/// A primary as the guard last saw it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Served {
    /// What it showed.
    pub view: PrimaryView,
    /// The term of this node's last promotion, as far as the guard knew.
    pub term: u64,
    /// How old the look is.
    pub look: Look,
}

/// How old a look of the guard's at PostgreSQL is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Look {
    /// Since the question was sent.
    pub age: Duration,
    /// How long after the question the server was still found at work without having answered another one.
    pub outlived: Duration,
}

impl Look {
    /// How old a look is at `now`: the question was sent at `asked`, and the server was last found at work after
    /// that at `lived`, where it was. None of what comes from the future.
    #[must_use]
    pub fn of(asked: Duration, lived: Duration, now: Duration) -> Option<Self> {
        Some(Self {
            age: now.checked_sub(asked)?,
            outlived: lived.saturating_sub(asked),
        })
    }

    /// Whether what was noted at the machine's start `noted` counts at the present one. The clock begins anew with
    /// each, and PostgreSQL may have written since.
    #[must_use]
    pub fn is_of_this_start(noted: &str, now: Option<&str>) -> bool {
        now == Some(noted)
    }

    /// Whether nothing is known of the server after it but its end. One that goes on and shows nothing has more than was
    /// seen of it (R10); of one that has died what was seen last is what there is.
    #[must_use]
    pub fn is_last(self) -> bool {
        self.outlived.is_zero()
    }
}

/// What the guard knows beyond the rest of the snapshot: how old its proofs are. All times are of a
/// clock that goes on while the machine is suspended, and begin when the question was *sent*.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watch {
    /// Since the last renewal that the register confirmed, or since the register was last found in
    /// a state in which it gives the lease to nobody. Without any: since the guard began.
    pub unrenewed: Duration,
    /// Per node, since WAL was written that this node then acknowledged as a standby of this primary.
    pub links: BTreeMap<NodeName, Duration>,
    /// The row as it was last seen in this node's hands.
    pub last: Option<Register>,
    /// Every other node has promised not to promote at the epoch that this primary last saw (R7).
    pub promised: bool,
    /// Since the memory was read with which no other node could last be promoted, whatever became of
    /// the lease ([`crate::decide::guard::safe`]); none where there never was such a moment.
    pub safe: Option<Duration>,
    /// The standbys were asked in this round.
    pub links_tried: bool,
    /// How long PostgreSQL has shown, at each look, that commits are held (R3).
    pub held: Duration,
    /// This round began much later than it was to: the process or the machine stood still.
    pub overslept: bool,
    /// The postmaster's end.
    pub death: Death,
    /// How long there has been no process of PostgreSQL.
    pub absent: Duration,
    /// How long Pacemaker has not been running here.
    pub pacemaker_gone: Duration,
    /// How long that may be (`guard_pacemaker_timeout`); zero for ever.
    pub pacemaker_timeout: Duration,
}

/// What an operation of the agent sees of the guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuardSeen {
    /// Nobody holds its lock.
    None,
    /// Somebody does, and what it has written about itself cannot be read: why.
    Unknown(String),
    /// One that has written about itself.
    There {
        /// How long ago it began its last round.
        silent: Duration,
        /// It was started with the parameters that are in force.
        same_parameters: bool,
        /// What program it is.
        program: GuardProgram,
    },
}

/// What is seen of the program that a guard is a process of: files by device and inode, none where one cannot be
/// looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardProgram {
    /// The file of the program that looks.
    pub own: Option<(u64, u64)>,
    /// That of the guard.
    pub its: Option<(u64, u64)>,
    /// The guard was seen to have ended.
    pub ended: bool,
}

/// The guard as an operation of the agent finds it, as [`crate::decide::at_work`] judges it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Guard {
    /// It was not looked for; nothing is done about it.
    #[default]
    Unknown,
    /// None runs.
    Absent,
    /// One runs, of this very program and with these very parameters.
    Running,
    /// One runs that has to be replaced, and why.
    Stale(String),
}

impl Guard {
    /// Whether a process is there that has to end before PostgreSQL may be stopped in an orderly way.
    #[must_use]
    pub fn is_there(&self) -> bool {
        matches!(self, Self::Running | Self::Stale(_))
    }
}

/// What the kernel shows of who has started this process, looked at when the end of the parent is this process's
/// end too: whoever is the parent now stays it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Caller {
    /// This process.
    pub process: i32,
    /// The session that it is in, by the number of the process that began it; 0 where that one is outside of
    /// this container.
    pub session: i32,
    /// The session that its parent is in (0 also of a process 1 that never began one); none where the parent is
    /// outside of this container.
    pub of_parent: Option<i32>,
}

/// What /proc shows of the process that `postmaster.pid` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NamedProcess {
    /// A process has that number.
    pub exists: bool,
    /// It has ended and waits to be reaped: it holds no file and writes nothing.
    pub dead: bool,
    /// Its program is PostgreSQL's server; `None` where that cannot be read.
    pub server: Option<bool>,
    /// It works in this data directory; `None` where that cannot be read.
    pub here: Option<bool>,
    /// Its account; `None` where that changed, or was gone, while it was looked at.
    pub account: Option<u32>,
    /// After all of this the number was still of the same process.
    pub same: bool,
}

/// What /proc shows of a process of the account's that runs a server's program, or may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServerProcess {
    /// Its number.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// It runs a server's program; `None` where that cannot be read.
    pub server: Option<bool>,
    /// The file that it runs, by device and inode; `None` where that cannot be read.
    pub executable: Option<(u64, u64)>,
    /// It works in the data directory itself; `None` where that cannot be read.
    pub here: Option<bool>,
}

/// A directory that a process works in, or the file of the program that it runs, as /proc shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HadFile {
    /// Device and inode. They are the same in every mount namespace.
    pub identity: (u64, u64),
    /// Nothing links to it any more: it was removed under the process.
    pub removed: bool,
    /// Where the kernel says that it was, looked up of a removed one only.
    pub path: Vec<u8>,
    /// A path means the same to the process as it does here; of a removed one only.
    pub same_view: bool,
}

/// A directory that a process works in and whose file system does not answer (EIO, ESTALE), as the kernel names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumbDirectory {
    /// Where it is, without links; no file system is asked for that.
    pub path: Vec<u8>,
    /// A path means the same to the process as it does here.
    pub same_view: bool,
    /// Looking at that path fails just as looking at the process's directory does.
    pub same_answer: bool,
}

/// What `postmaster.pid` says, held against /proc.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PidFile {
    /// There is none, or it is left over from a postmaster that is gone.
    Gone,
    /// It names a postmaster that is alive.
    Alive {
        /// It is stopped by a signal (state T), so that it cannot react.
        frozen: bool,
    },
    /// It names a server that works in this very directory as another account.
    Foreign,
    /// It names a process that cannot be looked at, and may be the postmaster.
    Unclear,
    /// It could not be read: it says nothing.
    Unreadable,
}

/// Whether /proc shows processes of the data directory, whatever its `postmaster.pid` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shown {
    /// None.
    Nothing,
    /// Some.
    Processes,
    /// It cannot be told: /proc could not be read, or nobody can say which of the account's servers is
    /// of this directory.
    Unclear,
}

/// The server processes of PGDATA, as [`crate::decide::running`] judges what was seen of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Process {
    /// No process of this data directory exists.
    Absent,
    /// The postmaster is alive.
    Alive {
        /// It is stopped by a signal (state T), so that it cannot react.
        frozen: bool,
    },
    /// The postmaster is gone and other processes of the data directory are still there. They may
    /// still acknowledge a commit, so PostgreSQL does not count as stopped.
    Orphans,
}

/// What PostgreSQL answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Not asked: no process, or the operation does not need it.
    NotAsked,
    /// A server that accepts writes.
    Primary(PrimaryView),
    /// A server in recovery.
    Standby(StandbyView),
    /// Alive, and out of connection slots.
    Busy(String),
    /// Alive, in crash recovery or not yet consistent (SQLSTATE 57P03).
    StartingUp,
    /// Alive, and nothing listens where it should: its socket comes last and goes first.
    NotListening,
    /// Alive, on its way down.
    ShuttingDown,
    /// A process is there and no answer came in time.
    NoAnswer,
    /// It refused: authentication, or an error while asked.
    Refused(String),
    /// A primary on which the administrator's own check (`monitor_sql`) fails.
    Failing(String),
}

impl From<RoleView> for Answer {
    fn from(role: RoleView) -> Self {
        match role {
            RoleView::Primary(view) => Self::Primary(view),
            RoleView::Standby(view) => Self::Standby(view),
        }
    }
}

/// What says that a copy into the data directory has begun and has not ended (R6): they are neither old nor
/// new, and a server started on them would take mixed pages for its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Unfinished {
    /// Root's own mark.
    Marked {
        /// What makes the data.
        method: Begun,
        /// The data directory.
        pgdata: String,
    },
    /// The mark of an earlier version, beside the data directory, in this file. The account could have written
    /// it.
    Beside(String),
    /// Whether there is a mark cannot be told; why.
    Unknown(String),
}

impl Unfinished {
    /// Why nothing is started, and what mends it, for the operator.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Marked { method, pgdata } => format!(
                "a {method} into {pgdata} has not ended; wait for it, or {} --keep-old on this node",
                Remedy::Rebuild
            ),
            // Pacemaker cuts a long reason.
            Self::Beside(path) => format!(
                "{} --keep-old on this node: it shows what the mark {path} says",
                Remedy::Rebuild
            ),
            Self::Unknown(why) => why.clone(),
        }
    }
}

/// What the data directory says, read when the server is down or before it changes its role.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Disk {
    /// The real end of WAL on the newest timeline, or why it cannot be told.
    pub end: Result<WalPosition, EndUnknown>,
    /// The history of that timeline.
    pub history: History,
    /// The histories of newer timelines that are in `pg_wal`.
    pub newer: Vec<History>,
    /// It is a base backup that was never started (`backup_label` is there).
    pub fresh_copy: bool,
}

/// Why it cannot be told where the WAL of a stopped server ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum EndUnknown {
    /// The program that reads it is not there.
    #[error("there is no {0}")]
    NoProgram(ServerProgram),
    /// Something else.
    #[error("{0}")]
    Other(String),
}

/// The answer of the external lock command.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ExternalLock {
    /// This node holds the lock (also when the dead-check found the service dead everywhere).
    Locked,
    /// Another node holds it, so that one is the primary or may become it at any moment.
    HeldByOther(String),
    /// It cannot be told who holds it.
    NotLocked(String),
}

impl ExternalLock {
    /// Why this node does not hold it.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        match self {
            Self::Locked => None,
            Self::HeldByOther(why) | Self::NotLocked(why) => Some(why),
        }
    }
}

/// The node's change lock (R12) as an operation has it. Whoever changes PostgreSQL's synchronous
/// standbys or the register's holders has it from its look to its last effect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum ChangeLock {
    /// It was not taken yet.
    #[default]
    NotTaken,
    /// This operation has it, and another one may have had it since this one looked.
    Taken,
    /// This operation has it, and nobody else has had it since this one looked.
    Held,
    /// Another process of this node has kept it for longer than this operation could wait, or it
    /// cannot be taken; how to find out more.
    Busy(String),
}

impl ChangeLock {
    /// What it is to an operation that has got it: `looked` is how often it had been taken when the operation
    /// looked, as far as it could tell, and `found` when it got it.
    #[must_use]
    pub fn got(looked: Option<u64>, found: u64) -> Self {
        match looked == Some(found) {
            true => Self::Held,
            false => Self::Taken,
        }
    }

    /// Whether this operation has it.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Taken | Self::Held)
    }

    /// Whether an operation reads the node's memory again at a look ([`Memory::at_look`]): where it has the lock, or
    /// finds that another one has had it since its look before (`touched`), which may have changed the memory (R12).
    #[must_use]
    pub fn reads_memory_again(&self, touched: bool) -> bool {
        touched || self.is_taken()
    }
}

/// What this operation has done and learned so far. It is folded from the results of actions by
/// [`crate::plan::Plan::fold`], never by the edge.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Progress {
    /// This operation has renewed the lease since the last full observation.
    pub renewed: bool,
    /// `Register::renewed` of another owner when it was first seen: a later value proves it alive.
    pub other_owner_seen: Option<String>,
    /// The holders were changed since the last full observation, so that the epoch has moved and no
    /// earlier change of them can take effect any more.
    pub epoch_moved: bool,
    /// What asking the other nodes for their promise has brought (R7); none before they were asked.
    pub promises: Option<Promises>,
    /// The question for promises was withdrawn, or it was tried.
    pub withdrawn: bool,
    /// This node had no memory, and found itself a holder beside another node's reign.
    pub forgot: bool,
    /// What the cluster has answered to [`Action::AskQuorum`] last; none before it has, and since commits are
    /// held.
    ///
    /// [`Action::AskQuorum`]: crate::plan::Action::AskQuorum
    pub quorum: Option<Settled>,
    /// The node's change lock.
    pub change_lock: ChangeLock,
    /// The right to promote was obtained, and how it is to be used.
    pub acquired: Option<Acquired>,
    /// When ([`Snapshot::elapsed`]) the register was asked for it: the lease began no earlier.
    pub right_asked: Duration,
    /// Until when ([`Snapshot::elapsed`]) this operation may hold commits; none before it has held any.
    pub hold_until: Option<Duration>,
    /// The standby whose naming is in force, and the primary's position read after that (R4), at the epoch of that
    /// moment.
    pub barrier: Option<KeptBarrier>,
    /// What this operation has last said of how far the standby here has flushed.
    pub said: Option<Said>,
    /// The ways of stopping that were tried.
    pub stops: Vec<StopMode>,
    /// PostgreSQL was started by this operation.
    pub started: bool,
    /// WAL is received from another standby before PostgreSQL is promoted; none before that was begun.
    pub catch_up: Option<CatchUp>,
    /// `pg_ctl promote` was asked for.
    pub promoting: bool,
    /// PostgreSQL was made ready to run as a primary in place.
    pub restarting_in_place: bool,
    /// PostgreSQL was made ready to run as a standby.
    pub closed: Closed,
    /// The lock was given back.
    pub released: bool,
    /// The answer of the external lock command.
    pub external: Option<ExternalLock>,
    /// The process beside the standby was started ([`Operation::Attend`]).
    pub attended: bool,
    /// The WAL receiver was told to reconnect.
    pub receiver_restarted: bool,
    /// The timelines were to be named in the register.
    pub named: bool,
    /// Actions that failed, in order.
    pub failures: Vec<Failure>,
}

impl Progress {
    /// Whether an action of this kind failed.
    #[must_use]
    pub fn failure(&self, kind: ActionKind) -> Option<&Failure> {
        self.failures
            .iter()
            .rev()
            .find(|failure| failure.action == kind)
    }
}

/// Whether this part of the cluster has quorum, told once its membership had settled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Settled {
    /// It has.
    pub quorum: bool,
    /// The standbys that were lost when it was asked. What has cut one of them off had begun by then, so that
    /// the answer is of after that.
    pub lost: BTreeSet<NodeName>,
}

/// Whether this operation has written the settings of a standby. A server that is started from then on opens
/// nothing, so that data which are read after that, while none runs, show whether one had been opened before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Closed {
    /// It has not.
    #[default]
    No,
    /// It has.
    Written,
    /// And has read the data directory after that.
    Read,
}

/// WAL of the same timeline that another standby has flushed and this one has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CatchUp {
    /// Up to where it has.
    pub up_to: Lsn,
    /// Until when ([`Snapshot::elapsed`]) it is waited for.
    pub until: Duration,
    /// It is over, and the settings of this standby name the primary's address again.
    pub over: Option<Leaving>,
}

/// A WAL receiver that is to end because its settings have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Leaving {
    /// Its process id; none where none was seen.
    pub receiver: Option<u32>,
    /// Until when ([`Snapshot::elapsed`]) that is waited for.
    pub until: Duration,
}

/// What was said of how far a standby has flushed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Said {
    /// When ([`Snapshot::elapsed`]).
    pub at: Duration,
    /// What.
    pub what: Flushed,
}

/// How an acquired right to promote is used (R2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Acquired {
    /// The primary has not changed: restart in place, on the same timeline.
    InPlace,
    /// It has: promote onto a new timeline.
    NewTimeline,
}

/// The names of replication links (R11), as far as this node knows them from elsewhere than the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkNames {
    /// An incarnation of this node that no server has had: for a standby that this operation starts.
    pub fresh: LinkName,
    /// The name of the running server.
    pub running: RunningName,
    /// What this primary's agent has kept.
    pub kept: Option<KeptLinks>,
}

/// The name that a running postmaster was given in its environment (`PGAPPNAME`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum RunningName {
    /// None runs, or it cannot be told.
    #[default]
    Unknown,
    /// It was given none.
    Unnamed,
    /// This one.
    Name(LinkName),
}

/// What the agent of a primary keeps of the links until the node restarts: for the guard, for when
/// Pacemaker does not answer, and from one operation to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeptLinks {
    /// Under which name each node was known when the agent last saw the cluster.
    pub names: BTreeMap<NodeName, LinkName>,
    /// The barrier (R4) that was taken last.
    pub barrier: Option<KeptBarrier>,
    /// Commits are held, or are about to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<KeptHold>,
    /// What becomes of this primary without quorum, when the agent last saw the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_quorum: Option<WithoutQuorum>,
    /// How many operations in a row have let no standby go because the cluster did not say whether this part
    /// of it has quorum.
    #[serde(default)]
    pub unanswered: u32,
}

/// What an exchange has begun from (R3), kept before commits are held. As long as the register is at this
/// epoch and nothing was asked of it from there, it is as if the exchange had not begun.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeptHold {
    /// The only holder beside this primary, which is to lose its place.
    pub holder: NodeName,
    /// The register's term.
    pub term: u64,
    /// The register's epoch.
    pub epoch: u64,
}

/// A barrier that may be waited for in a later operation than the one that took it. The epoch moves
/// before any name is taken away, so that at the same one this name has been in force ever since; who takes
/// one away without moving it drops this first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeptBarrier {
    /// The name that was in force.
    pub name: String,
    /// Where the message ends.
    pub lsn: Lsn,
    /// The register's term.
    pub term: u64,
    /// The register's epoch.
    pub epoch: u64,
}

/// What the file system of `pg_wal` has left, of a standby that may be promoted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum WalRoom {
    /// Nothing is decided on it.
    NotAsked,
    /// It does not answer, and why.
    Unknown(String),
    /// It does.
    Seen {
        /// The free bytes.
        free: u64,
        /// The length of a segment; none where no WAL lies there.
        segment: Option<u64>,
    },
}

impl WalRoom {
    /// Whether it is known not to take the WAL of a primary: two segments, one that PostgreSQL begins when it becomes
    /// one, and one to go on with.
    #[must_use]
    pub fn is_short(&self) -> bool {
        /// The smallest that initdb makes (`--wal-segsize`), for a disk on which none lies yet.
        const LEAST_SEGMENT: u64 = 1 << 20;
        let Self::Seen { free, segment } = self else {
            return false;
        };
        *free < segment.unwrap_or(LEAST_SEGMENT).saturating_mul(2)
    }
}

/// What the file says by which the server learns for whom commits wait: one in memory, which a restart of the machine
/// takes away, so that a server that is started outside Pacemaker then acknowledges nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum InMemory {
    /// There is none: commits wait for [`NOBODY`].
    Nothing,
    /// This.
    Says(Waits),
    /// It may be there, and what it says could not be read.
    Unknown,
}

impl InMemory {
    /// What it is once this is written.
    #[must_use]
    pub fn of(waits: &Waits) -> Self {
        match *waits == Waits::For(NOBODY.to_owned()) {
            true => Self::Nothing,
            false => Self::Says(waits.clone()),
        }
    }

    /// Whether a server that is started by it may acknowledge commits.
    #[must_use]
    pub fn may_be_there(&self) -> bool {
        *self != Self::Nothing
    }
}

/// Everything that one decision may look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Parameters.
    pub settings: Settings,
    /// The operation asked for.
    pub operation: Operation,
    /// Time since the operation began.
    pub elapsed: Duration,
    /// Time until the operation must have answered.
    pub left: Duration,
    /// Server processes of PGDATA.
    pub process: Process,
    /// PostgreSQL's answer.
    pub answer: Answer,
    /// How many monitors in a row, before this one, got no answer.
    pub silent_before: u32,
    /// Whether the data are a standby's, by their files.
    pub standby_signal: StandbySignal,
    /// What the file says by which the server learns for whom commits wait. What it has is in [`PrimaryView::waits`],
    /// and may be something else: whoever has it read its files again makes it the same.
    pub in_memory: InMemory,
    /// The data are the rest of a copy; only looked for by what starts PostgreSQL.
    pub unfinished: Option<Unfinished>,
    /// The data directory, where the decision needs it.
    pub disk: Option<Disk>,
    /// What a standby's disk has left for WAL.
    pub wal_room: WalRoom,
    /// Why the guard stopped PostgreSQL, where nothing has started it since.
    pub stopped_by_guard: Option<String>,
    /// How the guard last saw the primary that PostgreSQL was here; none where it is one, or no guard has seen one
    /// since the machine was started.
    pub served: Option<Served>,
    /// The cluster, or why it cannot be told.
    pub cluster: Result<Cluster, String>,
    /// The register, once it was read in this operation.
    pub register: Option<Reading>,
    /// What this node has durably seen of the register, or why that cannot be told. Without it nothing
    /// is decided on the register: what it says could be older than what this node has acted upon.
    pub memory: Result<Memory, String>,
    /// The names of replication links.
    pub names: LinkNames,
    /// The guard of this node.
    pub guard: Guard,
    /// What this node keeps about its data (R13); none before anything was kept.
    pub record: Result<Option<Record>, String>,
    /// The system identifier of the data, where they can be read.
    pub system: Option<u64>,
    /// What this operation has done so far.
    pub progress: Progress,
}

impl Snapshot {
    /// This node's name.
    #[must_use]
    pub fn me(&self) -> &NodeName {
        &self.settings.me
    }

    /// The cluster, or an empty one where Pacemaker did not answer.
    #[must_use]
    pub fn cluster_or_empty(&self) -> Cluster {
        self.cluster.clone().unwrap_or_default()
    }

    /// The primary's view of itself, where PostgreSQL is one.
    #[must_use]
    pub fn primary(&self) -> Option<&PrimaryView> {
        match &self.answer {
            Answer::Primary(view) => Some(view),
            _ => None,
        }
    }

    /// The standby's view of itself, where PostgreSQL is one.
    #[must_use]
    pub fn standby(&self) -> Option<&StandbyView> {
        match &self.answer {
            Answer::Standby(view) => Some(view),
            _ => None,
        }
    }

    /// Whether the server has, of for whom commits wait, what its file says (of a primary). A change that it has not
    /// taken up, since a file has an error in it, or whose operation was killed before, comes with anybody's reload.
    #[must_use]
    pub fn names_are_taken_up(&self) -> bool {
        let says = |view: &PrimaryView| self.in_memory == InMemory::of(&view.waits);
        self.primary().is_some_and(says)
    }

    /// What the register is judged by: what this node has durably seen, and what the cluster was told
    /// ([`Memory::told`]).
    ///
    /// # Errors
    /// Why what this node has seen cannot be told.
    pub fn seen(&self) -> Result<Memory, &str> {
        let told = self.cluster.as_ref().ok().and_then(|known| known.seen);
        let memory = self.memory.as_ref().map_err(String::as_str)?;
        Ok(memory.told(told))
    }

    /// The promotion that this node has completed last, as far as it remembers.
    #[must_use]
    pub fn reign(&self) -> Option<Reign> {
        self.memory.as_ref().ok()?.reign
    }

    /// The row of the register, where it was read and this node can tell whether it is older than what
    /// it has seen.
    #[must_use]
    pub fn row(&self) -> Option<&Register> {
        match (&self.register, &self.memory) {
            (Some(Reading::Row(row)), Ok(_)) => Some(row),
            _ => None,
        }
    }

    /// Until when ([`Snapshot::elapsed`]) this operation may hold commits for an exchange (R3): from when it
    /// began to, or from its own begin where it has found them held.
    #[must_use]
    pub fn hold_until(&self) -> Duration {
        let found = self.primary().is_some_and(|view| view.waits.is_held());
        let begin = if found { Duration::ZERO } else { self.elapsed };
        let time = (self.elapsed + self.left).saturating_sub(begin) / 3;
        let own = begin + HOLD.min(time);
        self.progress.hold_until.unwrap_or(own)
    }

    /// Whether the register of the built-in lock service decides.
    #[must_use]
    pub fn builtin(&self) -> bool {
        self.settings.arbiter == Arbiter::Builtin && self.settings.mode.replicated()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_could_not_be_looked_for_is_neither_there_nor_missing() {
        use StandbySignal::{Missing, There, Unknown};
        let (found, none, failed) = (Ok(true), Ok(false), Err("it hangs"));
        for (looks, signal) in [
            ([none, none], Missing),
            ([found, none], There),
            ([none, found], There),
            ([failed, found], There),
            ([none, failed], Unknown),
            ([failed, none], Unknown),
        ] {
            assert_eq!(StandbySignal::of_looks(&looks), signal, "{looks:?}");
            let runs = |runs| SeenRole { runs, signal };
            assert_eq!(runs(true).may_serve(), signal != There);
            assert!(!runs(false).may_serve());
        }
    }

    #[test]
    fn a_look_counts_from_its_question_and_until_the_machine_starts_again() {
        let at = Duration::from_millis;
        let look = |age, outlived| {
            Some(Look {
                age: at(age),
                outlived: at(outlived),
            })
        };
        assert_eq!(Look::of(at(100), Duration::ZERO, at(130)), look(30, 0));
        assert_eq!(Look::of(at(100), at(120), at(130)), look(30, 20));
        assert_eq!(Look::of(at(100), Duration::ZERO, at(99)), None);
        assert!(Look::is_of_this_start("a", Some("a")));
        assert!(!Look::is_of_this_start("a", Some("b")));
        assert!(!Look::is_of_this_start("a", None));
    }
}

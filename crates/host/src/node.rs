//! This node, as the decisions' edge: what it observes and performs is in `observe` and `apply`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pha_core::decide::silent;
use pha_core::link_name::LinkName;
use pha_core::names::{NodeName, ResourceName};
use pha_core::ocf::{OcfCode, OcfContext};
use pha_core::params::{self, Params};
use pha_core::register::ClusterId;
use pha_core::snapshot::{Operation, Settings, Snapshot};
use tracing::warn;

use crate::asked::Asked;
use crate::change_lock::{self, ChangeLock};
use crate::conninfo::Conninfo;
use crate::files::{self, FileError};
use crate::guard::Place;
use crate::lock::LockService;
use crate::memory::{MemoryFile, PromotionLock};
use crate::pacemaker::Pacemaker;
use crate::pgctl::{self, PgCtl};
use crate::postgres::Postgres;
use crate::record::RecordFile;
use crate::user::User;
use crate::{local, own};

/// Where what only matters until the node restarts is kept: the count of silent monitors.
const RUN_DIR: &str = "/run/pha4pgsql";

/// How many monitors in a row may find PostgreSQL silent before it counts as failed.
const PATIENCE: u32 = 3;

/// Why PostgreSQL cannot be started here. The code is a hard one (OCF 2 to 6), since only an
/// operator can mend what is checked here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The exit code.
    pub code: OcfCode,
    /// One sentence for the operator.
    pub reason: String,
}

impl Refusal {
    /// Something that is missing or wrong on this node.
    #[must_use]
    pub fn installed(reason: impl Into<String>) -> Self {
        Self {
            code: OcfCode::Installed,
            reason: reason.into(),
        }
    }
}

/// The node with everything that an operation reaches from it.
pub struct Node {
    pub(crate) settings: Settings,
    pub(crate) params: Params,
    pub(crate) pg: PgCtl,
    pub(crate) postgres: Postgres,
    pub(crate) pacemaker: Pacemaker,
    pub(crate) lock: Option<LockService>,
    pub(crate) memory: MemoryFile,
    pub(crate) record: RecordFile,
    pub(crate) promotion: Option<PromotionLock>,
    pub(crate) change_lock: ChangeLock,
    /// How the change lock was found before this operation looked at anything.
    pub(crate) change_seen: Option<u64>,
    /// The change lock, once this operation has it.
    pub(crate) changing: Option<change_lock::Held>,
    pub(crate) place: Place,
    /// The file that says for whom commits wait ([`names_file`]).
    pub(crate) names: PathBuf,
    /// How long one exchange with the lock service may take, where it is not half of what is left.
    pub(crate) lock_budget: Option<Duration>,
    /// An incarnation for a standby that is started by this process (R11).
    pub(crate) fresh: LinkName,
    pub(crate) began: Instant,
    pub(crate) cluster_seen: Option<Instant>,
    /// When this operation last told PostgreSQL to read its configuration ([`crate::clock::since_boot`]).
    pub(crate) told: Option<Duration>,
    silent_file: PathBuf,
}

impl Node {
    /// The node `me` for the resource, as the parameters describe it. Touches nothing yet.
    ///
    /// # Errors
    /// [`Refusal`] when the account that PostgreSQL runs as does not exist, or the lock service's
    /// connection string cannot be used.
    pub fn new(resource: ResourceName, me: NodeName, params: Params) -> Result<Self, Refusal> {
        let pg = pg_ctl(&params)?;
        let run_dir = directory("PHA_RUN_DIR", RUN_DIR);
        Ok(Self {
            postgres: local::postgres(&params, &pg.user, "expgsql"),
            pacemaker: Pacemaker::new(resource.clone(), params.crm_attr_timeout),
            lock: lock_service(&params, &pg.user)?,
            memory: memory_file(&resource),
            record: RecordFile::beside(&memory_file(&resource)),
            promotion: None,
            fresh: LinkName::incarnation(&me, random()?),
            change_lock: change_lock(&resource),
            names: names_file(&resource),
            change_seen: None,
            changing: None,
            began: Instant::now(),
            cluster_seen: None,
            told: None,
            place: Place::new(&run_dir, &resource),
            lock_budget: None,
            silent_file: run_dir.join(format!("{resource}.silent")),
            settings: settings(resource, me, &params),
            pg,
            params,
        })
    }

    /// How many monitors in a row, before this one, got no answer from PostgreSQL.
    pub(crate) fn silent_before(&self) -> u32 {
        // A file that cannot be read counts as none: the next silent monitor writes it anew.
        files::read_text(&self.silent_file)
            .ok()
            .flatten()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0)
    }

    /// Keeps, at the end of a recurring monitor, whether PostgreSQL was silent.
    pub fn conclude(&self, operation: &Operation, last: &Snapshot) {
        let silent = match operation {
            Operation::Monitor { probe: false } => silent(last),
            Operation::Start | Operation::Stop => false,
            _ => return,
        };
        let result = if silent {
            self.silent_file
                .parent()
                .map_or(Ok(()), |parent| {
                    std::fs::create_dir_all(parent).map_err(|e| e.to_string())
                })
                .and_then(|()| {
                    let text = format!("{}\n", last.silent_before + 1);
                    files::replace(&self.silent_file, text.as_bytes(), 0o600)
                        .map_err(|e| e.to_string())
                })
        } else if !self.silent_file.exists() {
            Ok(())
        } else {
            files::ensure_absent(&self.silent_file)
                .map(drop)
                .map_err(|e| e.to_string())
        };
        if let Err(error) = result {
            warn!("{error}");
        }
    }
}

/// A number that nobody else comes upon.
fn random() -> Result<u64, Refusal> {
    let mut bytes = [0; 8];
    let failed = |error: String| Refusal::installed(format!("random numbers: {error}"));
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(8) => Ok(u64::from_ne_bytes(bytes)),
        Ok(_) => Err(failed("too few".to_owned())),
        Err(errno) => Err(failed(errno.to_string())),
    }
}

/// The programs and places of PostgreSQL that the parameters name.
///
/// # Errors
/// [`Refusal`] when the account does not exist.
pub fn pg_ctl(params: &Params) -> Result<PgCtl, Refusal> {
    let user =
        User::lookup(&params.pgdba).map_err(|error| Refusal::installed(error.to_string()))?;
    Ok(PgCtl {
        program: PathBuf::from(&params.pgctl),
        pgdata: PathBuf::from(&params.pgdata),
        config: PathBuf::from(&params.config),
        user,
        ctl_opt: params.ctl_opt.clone(),
        start_opt: params.start_opt.clone(),
        logfile: PathBuf::from(&params.logfile),
        libraries: params.pglibs.as_ref().map(PathBuf::from),
    })
}

/// Where this node keeps what it remembers of the register, and promises.
#[must_use]
pub fn memory_file(resource: &ResourceName) -> MemoryFile {
    MemoryFile::new(own::state_directory().join(format!("{resource}.json")))
}

/// The lock under which this node's synchronous standbys and the holders are changed.
#[must_use]
pub fn change_lock(resource: &ResourceName) -> ChangeLock {
    ChangeLock::new(&directory("PHA_RUN_DIR", RUN_DIR), resource)
}

/// Where PostgreSQL is told for whom commits wait ([`crate::pgconf`]): in memory, so that nothing is left
/// of it once the machine was off.
#[must_use]
pub fn names_file(resource: &ResourceName) -> PathBuf {
    directory("PHA_RUN_DIR", RUN_DIR).join(format!("{resource}.names.conf"))
}

/// Sees to it that PostgreSQL, which is down here, acknowledges nothing if somebody but the agent starts it.
///
/// # Errors
/// Somebody else can write in the directory of [`names_file`]; it cannot be removed.
pub fn end_names(resource: &ResourceName) -> Result<(), FileError> {
    own::ensure_absent(&names_file(resource)).map(drop)
}

/// The name that the operating system gives this host.
///
/// # Errors
/// The name, when it cannot be a node's.
pub fn host_name() -> Result<NodeName, String> {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy().into_owned();
    NodeName::new(name).map_err(|error| format!("{error}; set the host's name"))
}

/// Pacemaker's name for this node; outside of Pacemaker, the host's name.
///
/// # Errors
/// As [`host_name`].
pub fn this_node(context: &OcfContext) -> Result<NodeName, String> {
    match &context.on_node {
        Some(node) => Ok(node.clone()),
        None => host_name(),
    }
}

fn directory(variable: &str, default: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| Path::new(default).to_owned(), PathBuf::from)
}

fn lock_service(params: &Params, owner: &User) -> Result<Option<LockService>, Refusal> {
    let params::LockService::Builtin {
        conninfo,
        table,
        lockname,
    } = &params.lock_service
    else {
        return Ok(None);
    };
    let wrong = |error: String| Refusal {
        code: OcfCode::Configured,
        reason: format!("distlock_conninfo or distlock_lockname: {error}"),
    };
    let info: Conninfo = conninfo
        .expose()
        .parse()
        .map_err(|error| wrong(format!("{error}")))?;
    let name = format!("{table}:{lockname}")
        .parse()
        .map_err(|error| wrong(format!("{error}")))?;
    let system = pgctl::system_identifier(owner, Path::new(&params.pgdata));
    Ok(Some(LockService::new(info, name).of_system(system)))
}

impl Node {
    /// Which cluster this node belongs to.
    pub(crate) fn cluster_id(&self) -> ClusterId {
        self.lock
            .as_ref()
            .map(LockService::cluster)
            .unwrap_or_default()
    }

    /// Leaves what this node needs in order to answer when another one asks for its promise, where it
    /// is found also while Pacemaker hangs. A disk that cannot be written costs the promise alone.
    pub fn keep_what_is_asked(&self) {
        let cluster = self.cluster_id();
        let Some(asked) = Asked::of(&self.settings.me, &self.params, cluster.system) else {
            return;
        };
        if let Err(error) = asked.keep(&self.settings.resource, &self.memory) {
            warn!("no promise can be given on this node: {error}");
        }
    }
}

fn settings(resource: ResourceName, me: NodeName, params: &Params) -> Settings {
    Settings {
        me,
        resource,
        nodes: params.node_list.clone(),
        mode: params.rep_mode,
        arbiter: params.lock_service.arbiter(),
        ttl: params.distlock_ttl,
        check_wal_receiver: params.check_wal_receiver,
        patience: PATIENCE,
        slots: params
            .node_list
            .iter()
            .filter_map(|node| Some((node.clone(), params.slot_for(node)?)))
            .collect(),
        async_max_lag: params.async_max_lag,
    }
}

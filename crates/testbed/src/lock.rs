//! The lock service's PostgreSQL, and the ways in which it can fail.

use std::time::Duration;

use rustix::process::Signal;

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::layout::{LOCK_PORT, LOCK_ROLE, PGPORT, SUBNET};
use crate::node::Node;
use crate::postgres::{self, LOCK_DATA};
use crate::spec::Spec;
use crate::{binaries, clock, procfs};

const LONG: Duration = Duration::from_secs(60);

/// How a lock service that is reachable can refuse to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breakage {
    /// Nobody may log in any more.
    Login,
    /// The table is not there under its name.
    TableGone,
    /// Every transaction is read-only, as on a standby or after a disk ran full.
    ReadOnly,
}

/// The lock service of a cluster.
#[derive(Debug, Clone)]
pub struct LockService {
    node: Node,
    table: String,
}

impl Cluster {
    /// The lock service.
    ///
    /// # Errors
    /// The cluster was made without one.
    pub fn lock_service(&self) -> Result<LockService> {
        let spec = self.spec().lock();
        let spec = spec
            .ok_or_else(|| Error::Asked(format!("cluster {} has no lock service", self.name())))?;
        let name = self.spec().pacemaker.parameters.get("distlock_lockname");
        let table = name
            .and_then(|name| name.split_once(':'))
            .map_or("distlock", |(table, _)| table);
        Ok(LockService {
            node: self.find(&spec.name)?,
            table: table.to_owned(),
        })
    }

    /// SQL on the lock service, as its superuser, on its own node.
    ///
    /// # Errors
    /// There is no lock service, or psql failed.
    pub fn lock_sql(&self, sql: &str) -> Result<String> {
        postgres::sql(&self.lock_service()?.node, LOCK_PORT, sql)
    }

    /// SQL on a database node, as the superuser, over the local socket.
    ///
    /// # Errors
    /// There is no such node, it is off, or psql failed.
    pub fn sql(&self, node: &str, sql: &str) -> Result<String> {
        postgres::sql(&self.find(node)?, PGPORT, sql)
    }
}

impl LockService {
    /// The node it runs on.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Starts PostgreSQL and waits until it accepts connections.
    ///
    /// # Errors
    /// It did not start.
    pub fn start(&self) -> Result<()> {
        if self.node.postmaster_of(LOCK_DATA).is_some() {
            return Ok(());
        }
        self.node.wind_clock()?;
        let ctl = format!("{}/pg_ctl", self.node.server_programs()?);
        let mut argv = vec!["env".to_owned()];
        argv.extend(clock::environment());
        argv.push(ctl);
        let log = "/var/log/postgresql/lock.log";
        let start = ["-D", LOCK_DATA, "-l", log, "-w", "-t", "50", "start"];
        argv.extend(start.map(str::to_owned));
        self.node.as_postgres(&argv, LONG).map(drop)
    }

    /// Stops PostgreSQL, sessions included.
    ///
    /// # Errors
    /// It did not stop.
    pub fn stop(&self) -> Result<()> {
        let ctl = format!("{}/pg_ctl", self.node.server_programs()?);
        self.node
            .as_postgres(
                &[
                    &ctl, "-D", LOCK_DATA, "-m", "fast", "-w", "-t", "50", "stop",
                ],
                LONG,
            )
            .map(drop)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let postmaster = self.node.postmaster_of(LOCK_DATA);
        let postmaster =
            postmaster.ok_or_else(|| Error::Asked("the lock service does not run".to_owned()))?;
        procfs::signal_pid(postmaster.pid, signal);
        self.node.kill(|process| process.comm == "postgres", signal);
        Ok(())
    }

    /// Stops every process of it where it stands: connections are accepted by the kernel, and
    /// nothing ever answers.
    ///
    /// # Errors
    /// It does not run.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// It does not run.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Fills its disk to the last block, and has it want more: what it writes goes into files that
    /// are there already until it begins a new one for its WAL.
    ///
    /// # Errors
    /// The disk is the host's, or it does not run.
    pub fn fill_disk(&self) -> Result<()> {
        self.node.fill_data_disk()?;
        // The first statement ends in the last file that is there; how the next ones end is the point.
        let full = "SELECT pg_switch_wal(); CREATE TABLE full_disk (); DROP TABLE full_disk; \
                    SELECT pg_switch_wal()";
        match self.sql(full) {
            Err(Error::Failed { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Frees what [`LockService::fill_disk`] took, and starts PostgreSQL where it has ended.
    ///
    /// # Errors
    /// It does not start.
    pub fn free_disk(&self) -> Result<()> {
        self.node.free_data_disk()?;
        self.start()
    }

    /// Makes it answer every request with an error.
    ///
    /// # Errors
    /// It does not run.
    pub fn break_with_errors(&self, how: Breakage) -> Result<()> {
        match how {
            Breakage::Login => self.set_hba("reject"),
            Breakage::TableGone => {
                self.sql(&format!("ALTER TABLE {0} RENAME TO {0}_gone", self.table))
            }
            Breakage::ReadOnly => self.read_only("on"),
        }
    }

    /// Undoes [`LockService::break_with_errors`].
    ///
    /// # Errors
    /// It does not run.
    pub fn repair(&self, how: Breakage) -> Result<()> {
        match how {
            Breakage::Login => self.set_hba("trust"),
            Breakage::TableGone => {
                self.sql(&format!("ALTER TABLE {0}_gone RENAME TO {0}", self.table))
            }
            Breakage::ReadOnly => self.read_only("off"),
        }
    }

    fn sql(&self, sql: &str) -> Result<()> {
        postgres::sql(&self.node, LOCK_PORT, sql).map(drop)
    }

    /// New sessions start read-only and open ones of clients are ended, so that they notice.
    fn read_only(&self, value: &str) -> Result<()> {
        // Two statements: ALTER SYSTEM refuses to run in a transaction with another.
        self.sql(&format!(
            "ALTER SYSTEM SET default_transaction_read_only = {value}"
        ))?;
        self.sql("SELECT pg_reload_conf()")?;
        self.end_sessions()
    }

    fn set_hba(&self, method: &str) -> Result<()> {
        let text = format!("local all all trust\nhost all all {SUBNET}.0/24 {method}\n");
        self.node
            .write(&format!("{LOCK_DATA}/pg_hba.conf"), text, 0o600)?;
        self.node.run(
            &[
                "chown",
                "postgres:postgres",
                &format!("{LOCK_DATA}/pg_hba.conf"),
            ],
            LONG,
        )?;
        self.sql("SELECT pg_reload_conf()")?;
        self.end_sessions()
    }

    fn end_sessions(&self) -> Result<()> {
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
    }

    /// Makes the tables and the row with this project's own tool, as an administrator would.
    /// Where the tool is not built the lock service stays an empty database.
    pub(crate) fn initialise(&self, spec: &Spec) -> Result<()> {
        let parameters = &spec.pacemaker.parameters;
        let (Some(conninfo), Some(name)) = (
            parameters.get("distlock_conninfo"),
            parameters.get("distlock_lockname"),
        ) else {
            return Ok(());
        };
        if binaries::find("distlock").is_none() {
            return Ok(());
        }
        self.sql(&format!("CREATE ROLE {LOCK_ROLE} LOGIN"))?;
        let owner = conninfo.replace(&format!("user={LOCK_ROLE}"), "user=postgres");
        self.node
            .run(
                &["distlock", &owner, "init", name, "--role", LOCK_ROLE],
                Duration::from_secs(20),
            )
            .map(drop)
    }
}

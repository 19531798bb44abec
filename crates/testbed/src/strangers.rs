//! What is none of a cluster's and comes into its way: receivers that call themselves what a standby is
//! called, a copy of a standby that is started somewhere else, and a history of a timeline that is not the
//! cluster's own.

use std::time::Duration;

use rustix::process::Signal;

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::node::Node;

/// Where WAL is restored from on each database node that has an archive.
pub(crate) const ARCHIVE: &str = "/data/archive";

/// The agent's part of PostgreSQL's configuration.
const OWN_FILE: &str = "/var/lib/pgsql/tmp/rep_mode.conf";
/// The data directory of a copy, and the port of its server.
const COPY: &str = "/data/copy";
const COPY_PORT: u16 = 5440;
/// How long a copy may take.
const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_secs(10);

impl Node {
    /// Starts `pg_receivewal --synchronous`, which confirms what it has on its disk as a standby does. It
    /// receives from `host` under this `application_name`, and tries again for as long as it runs.
    ///
    /// # Errors
    /// The node is off, or there is no such program.
    pub fn start_receiver(&self, host: &str, called: &str) -> Result<()> {
        const LINE: &str = "rm -rf /tmp/stranger && mkdir /tmp/stranger && \
            exec setsid --fork \"$1\" --synchronous -D /tmp/stranger -d \"$2\" </dev/null >/tmp/stranger.log 2>&1";
        let program = format!("{}/pg_receivewal", self.server_programs()?);
        let from = format!("host={host} user=replication application_name={called}");
        let argv = ["sh", "-c", LINE, "sh", &program, &from];
        self.as_postgres(&argv, SHORT).map(drop)
    }

    /// Ends every receiver of [`Node::start_receiver`].
    pub fn end_receivers(&self) {
        self.kill_named("pg_receivewal", Signal::KILL);
    }

    /// Ends the copy of [`Cluster::start_copy`] and removes it, if there is one.
    ///
    /// # Errors
    /// The node is off.
    pub fn end_copy(&self) -> Result<()> {
        if let Some(postmaster) = self.postmaster_of(COPY) {
            // All at once: what it has received is of no use to anybody.
            let first = postmaster.pid;
            self.kill(
                |process| process.pid == first || process.parent == first,
                Signal::KILL,
            );
        }
        self.run(&["rm", "-rf", COPY], LONG).map(drop)
    }

    /// Lays a history into the node's archive.
    ///
    /// # Errors
    /// The node is off, or its disk is full.
    pub fn archive_history(&self, name: &str, text: &str) -> Result<()> {
        self.mkdir(ARCHIVE, "0755", "postgres")?;
        self.write(&format!("{ARCHIVE}/{name}"), text, 0o644)
    }

    /// Removes a history from the node's archive.
    ///
    /// # Errors
    /// The node is off.
    pub(crate) fn forget_history(&self, name: &str) -> Result<()> {
        self.run(&["rm", "-f", &format!("{ARCHIVE}/{name}")], SHORT)
            .map(drop)
    }

    /// Removes every history from the node's archive.
    ///
    /// # Errors
    /// The node is off.
    pub(crate) fn empty_archive(&self) -> Result<()> {
        self.run(&["rm", "-rf", ARCHIVE], SHORT).map(drop)
    }
}

impl Cluster {
    /// Copies the data directory of a standby with the agent's file to the node `on` and starts PostgreSQL on
    /// them, at a port of its own, as somebody does who tries something out. It follows whom the standby
    /// follows; that it does so is not waited for.
    ///
    /// # Errors
    /// A node is off, or the standby could not be copied within half a minute.
    pub fn start_copy(&self, of: &str, on: &str) -> Result<()> {
        let (of, on) = (self.find(of)?, self.find(on)?);
        if on.postmaster_of(COPY).is_some() {
            return Err(Error::Asked(format!("{} has a copy already", on.name())));
        }
        on.run(&["rm", "-rf", COPY], SHORT)?;
        for (path, mode) in [("/var/lib/pgsql/tmp", "0755"), (COPY, "0700")] {
            on.mkdir(path, mode, "postgres")?;
        }
        on.write(OWN_FILE, of.read(OWN_FILE)?, 0o644)?;
        let (bin, address) = (on.server_programs()?, of.address());
        let program = format!("{bin}/pg_basebackup");
        let copy = [
            &program,
            "-h",
            &address,
            "-U",
            "replication",
            "-D",
            COPY,
            "--checkpoint=fast",
        ];
        on.as_postgres(&copy, LONG)?;
        on.as_postgres(&["touch", &format!("{COPY}/standby.signal")], SHORT)?;
        let (ctl, options) = (format!("{bin}/pg_ctl"), format!("-p {COPY_PORT} -k /tmp"));
        let start = [
            &ctl,
            "-D",
            COPY,
            "-l",
            "/tmp/copy.log",
            "-o",
            &options,
            "-W",
            "start",
        ];
        on.as_postgres(&start, SHORT).map(drop)
    }
}

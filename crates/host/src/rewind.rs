//! Where a standby's data come from, and rewinding to it (`pg_rewind`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use pha_core::conninfo;
use pha_core::names::NodeName;
use pha_core::params::Params;

use crate::clock::Deadline;
use crate::command::Command;
use crate::conninfo::{Conninfo, Secret};
use crate::own;
use crate::pgctl::{PgCtl, PgError};
use crate::postgres::Postgres;

/// How long the source may take to say which database lets the role in.
const ASK: Duration = Duration::from_secs(30);

/// Keywords of `primary_conninfo_opt` that are given otherwise here, or do not belong here.
const OWN: [&str; 8] = [
    "host",
    "hostaddr",
    "port",
    "user",
    "dbname",
    "application_name",
    "password",
    "replication",
];

/// The node that data are copied from, addressed by its own name: the writer's address could move
/// to another node in the middle of a copy.
#[derive(Debug, Clone)]
pub struct Source {
    host: String,
    port: u16,
    user: String,
    database: String,
    options: Vec<(String, Secret)>,
    password: Option<Secret>,
}

/// A password file for one run of a program, gone when this is dropped.
#[derive(Debug)]
pub struct Passfile(Option<PathBuf>);

impl Drop for Passfile {
    fn drop(&mut self) {
        if let Some(path) = &self.0
            && let Err(error) = own::ensure_absent(path)
        {
            tracing::warn!("{error}");
        }
    }
}

impl Source {
    /// The server on `node`, as the role for replication and with the further options of
    /// `primary_conninfo`.
    #[must_use]
    pub fn new(params: &Params, node: &NodeName) -> Self {
        let mut options = Vec::new();
        let mut password = None;
        for (keyword, value) in &params.primary_conninfo_opt {
            if keyword == "password" {
                password = Some(value.clone());
            } else if !OWN.contains(&keyword.as_str()) {
                options.push((keyword.clone(), value.clone()));
            }
        }
        Self {
            host: node.to_string(),
            port: params.pgport,
            user: params.repuser.clone(),
            database: params.pgdb.clone(),
            options,
            password,
        }
    }

    /// The connection string, without a password, and with a database where one is to be named.
    ///
    /// # Errors
    /// A value that no connection string can hold.
    pub fn conninfo(&self, database: Option<&str>) -> Result<String, String> {
        let port = self.port.to_string();
        let mut pairs = vec![
            ("host", self.host.as_str()),
            ("port", port.as_str()),
            ("user", self.user.as_str()),
            ("application_name", "pha4pgsql copy"),
        ];
        pairs.extend(database.map(|name| ("dbname", name)));
        let further = self.options.iter();
        pairs.extend(further.map(|(keyword, value)| (keyword.as_str(), value.expose())));
        conninfo::render(pairs).map_err(|error| error.to_string())
    }

    /// The server over SQL.
    ///
    /// # Errors
    /// Options that cannot be used.
    pub fn postgres(&self, pg: &PgCtl) -> Result<Postgres, String> {
        let mut info: Conninfo = self
            .conninfo(Some(&self.database))?
            .parse()
            .map_err(|error: crate::conninfo::ConninfoError| error.to_string())?;
        info.password.clone_from(&self.password);
        let home = pg.user.home().join(".pgpass");
        info.passfile.get_or_insert(home);
        Ok(Postgres {
            info,
            user: pg.user.clone(),
        })
    }

    /// The connection string for `pg_rewind`. It goes to the database that the agent's own questions go to:
    /// rights on functions are a database's, and `pgdb` may be one that others are copied from, in which
    /// nobody may make the temporary table that it needs before version 14.
    fn for_rewind(&self, pg: &PgCtl, deadline: Deadline) -> Result<String, String> {
        let database = self
            .postgres(pg)?
            .home(deadline.sub_budget(ASK))
            .map_err(|error| error.to_string())?;
        self.conninfo(Some(&database))
    }

    /// Adds the password to a program's surroundings, in a file that only the account can read.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn let_in(
        &self,
        pg: &PgCtl,
        command: Command,
    ) -> Result<(Command, Passfile), String> {
        let Some(password) = &self.password else {
            return Ok((command, Passfile(None)));
        };
        let name = format!("copy-{}.pgpass", std::process::id());
        let path = Path::new("/run/pha4pgsql").join(name);
        let escaped = password.expose().replace('\\', "\\\\").replace(':', "\\:");
        let line = format!("*:*:*:*:{escaped}\n");
        own::lend(&pg.user, &path, line.as_bytes()).map_err(|error| error.to_string())?;
        let command = command.env("PGPASSFILE", &path).secret(password.expose());
        Ok((command, Passfile(Some(path))))
    }
}

impl PgCtl {
    /// Rewinds the data directory to where it and the source have parted; what `pg_rewind` said.
    ///
    /// With `dry_run` nothing is changed: it shows whether the WAL that is needed is still there.
    /// A run that fails without it leaves a directory that is neither old nor new (PostgreSQL
    /// manual, `pg_rewind`), and so does one that `ended` has broken off.
    ///
    /// # Errors
    /// [`PgError`], with the program's words.
    pub fn rewind(
        &self,
        source: &Source,
        dry_run: bool,
        ended: &Arc<AtomicBool>,
        deadline: Deadline,
    ) -> Result<Vec<String>, PgError> {
        let info = source.for_rewind(self, deadline).map_err(PgError::Source)?;
        let mut command = self
            .command("pg_rewind")
            .arg(format!("--target-pgdata={}", self.pgdata.display()))
            .arg(format!("--source-server={info}"))
            .cancel_when(ended);
        if dry_run {
            command = command.arg("--dry-run");
        } else {
            // A server that crashed is recovered first, and its lock file would be in the way of that.
            self.remove_stale_locks()?;
        }
        // With the configuration elsewhere, the recovery of a crashed server has to be told.
        if self.config != self.pgdata.join("postgresql.conf") && self.data_version()?.major() >= 15
        {
            command = command.arg(format!("--config-file={}", self.config.display()));
        }
        let (command, passfile) = source.let_in(self, command).map_err(PgError::Source)?;
        let output = command.run(deadline)?;
        drop(passfile);
        // The recovery of a crashed server speaks in between, with the server's words.
        let text = format!("{}{}", output.text(), output.error_text());
        let own = text
            .lines()
            .filter_map(|line| line.strip_prefix("pg_rewind: "));
        Ok(own.map(str::to_owned).collect())
    }
}

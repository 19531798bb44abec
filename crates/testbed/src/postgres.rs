//! Databases as an administrator would prepare them, made once and copied into every cluster.
//!
//! The steps are those of the manual: initdb on one node, settings, a replication user,
//! `pg_basebackup` for the others, everything stopped. Their result depends on nothing but the
//! version of PostgreSQL and the settings below, so it is kept and copied.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;

use crate::error::{Error, Result};
use crate::layout::{Duty, LOCK_PORT, SUBNET, base};
use crate::node::Node;
use crate::packages::bin_dir_in;
use crate::run::{Output, Run};
use crate::tree::within;

/// The settings of the databases that Pacemaker manages.
const DATABASE_CONF: &str = "
listen_addresses = '*'
port = 5432
synchronous_commit = on
max_wal_senders = 10
wal_keep_size = 512MB
wal_log_hints = on
hot_standby = on
hot_standby_feedback = on
restart_after_crash = off
wal_sender_timeout = 5s
wal_receiver_timeout = 5s
wal_receiver_status_interval = 2s
max_standby_streaming_delay = -1
max_standby_archive_delay = -1
log_line_prefix = '%m [%p] %q%u@%d %h '
log_connections = on
";

const LOCK_CONF: &str = "
listen_addresses = '*'
log_line_prefix = '%m [%p] %q%u@%d %h '
log_connections = on
tcp_keepalives_idle = 5
";

/// The role for replication as the manual makes it: it may replicate, run what `pg_rewind` needs, and see
/// sessions, and nothing more. So every test shows that this is enough.
const ROLE: &str = "CREATE ROLE replication LOGIN REPLICATION; \
    GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text, boolean, boolean), \
    pg_catalog.pg_stat_file(text, boolean), pg_catalog.pg_read_binary_file(text), \
    pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) TO replication; \
    GRANT pg_monitor TO replication";

/// The data directory of the lock service's PostgreSQL, on its node.
pub const LOCK_DATA: &str = "/data/lock/data";

const LONG: Duration = Duration::from_secs(120);

/// Who replicates is a node, and named by its address or one of the cluster's, as on a site.
fn hba() -> String {
    let mut text = format!(
        "local all all trust\nhost all all 127.0.0.1/32 trust\nhost all all {SUBNET}.0/24 trust\n\
         local replication all trust\n"
    );
    for last in (11..=19).chain(100..=103) {
        text.push_str(&format!("host replication all {SUBNET}.{last}/32 trust\n"));
    }
    text
}

/// The version of another tree's PostgreSQL, as its server program says it.
///
/// # Errors
/// There is none, or it does not run there.
pub(crate) fn version_in(root: &Path) -> Result<String> {
    let server = format!("{}/postgres", bin_dir_in(root)?);
    let said = within(root, &[&server, "--version"])?.ok()?;
    let version = said.text().split_whitespace().nth(2);
    Ok(version.unwrap_or_default().to_owned())
}

/// Data directories ready to be copied.
#[derive(Debug, Clone)]
pub(crate) struct Templates {
    dir: PathBuf,
    /// The tree whose PostgreSQL has made them.
    root: PathBuf,
}

impl Templates {
    /// Finds the templates for the version in that tree, or makes them.
    pub(crate) fn ready(root: &Path) -> Result<Templates> {
        let bin = bin_dir_in(root)?;
        let version = within(root, &[&format!("{bin}/postgres"), "--version"])?.ok()?;
        let mut hasher = DefaultHasher::new();
        // Trees of one version may number the user postgres differently.
        (root, version.text(), DATABASE_CONF, LOCK_CONF, ROLE, hba()).hash(&mut hasher);
        let cache = base().join("cache");
        fs::create_dir_all(&cache).map_err(Error::io("create", &cache))?;
        // Several clusters may start at once; one makes the templates and the others wait.
        let guard_path = cache.join("lock");
        let guard = fs::File::create(&guard_path).map_err(Error::io("create", &guard_path))?;
        rustix::fs::flock(&guard, FlockOperation::LockExclusive)
            .map_err(Error::sys("lock", &guard_path))?;
        let dir = cache.join(format!("postgresql-{:016x}", hasher.finish()));
        if !dir.exists() {
            Templates::make(root, &bin, &dir)?;
        }
        Ok(Templates {
            dir,
            root: root.to_owned(),
        })
    }

    fn make(root: &Path, bin: &str, dir: &Path) -> Result<()> {
        let fresh = dir.with_extension("new");
        let place = fresh.to_string_lossy().into_owned();
        // Short, because the name of a socket may have no more than 107 characters.
        let socket = format!("/tmp/pha-testbed-{}", std::process::id());
        within(root, &["rm", "-rf", &place, &socket])?.ok()?;
        let install = [
            "install", "-d", "-o", "postgres", "-g", "postgres", "-m", "0755", &place, &socket,
        ];
        within(root, &install)?.ok()?;
        let outcome = fill(root, bin, &place, &socket);
        if outcome.is_err() {
            let data = format!("{place}/primary");
            let ctl = format!("{bin}/pg_ctl");
            let stop = [&ctl, "-D", &data, "-m", "immediate", "stop"];
            let _ = postgres_user(root, &stop);
        }
        let _ = within(root, &["rm", "-rf", &socket]).map(|run| run.output());
        outcome?;
        fs::rename(&fresh, dir).map_err(Error::io("rename", &fresh))
    }

    /// Copies what this node needs onto its disk.
    pub(crate) fn furnish(&self, node: &Node) -> Result<()> {
        let (template, directory) = match (node.spec().duty, node.spec().number) {
            (Duty::Lock, _) => ("lock", "lock"),
            (Duty::Database, 1) => ("primary", "postgresql"),
            (Duty::Database, _) => ("standby", "postgresql"),
        };
        node.mkdir(&format!("/data/{directory}"), "0755", "postgres")?;
        let parent = node.layout.disk(node.name()).join("data").join(directory);
        let source = self.dir.join(template).to_string_lossy().into_owned();
        let target = parent.join("data").to_string_lossy().into_owned();
        let keeper = node.keeper.pid.to_string();
        let inside = ["nsenter", "--target", &keeper, "--mount", "--"];
        Run::host(
            &[
                &inside[..],
                &["cp", "-a", "--reflink=auto", &source, &target],
            ]
            .concat(),
        )
        .timeout(LONG)
        .ok()?;
        if node.spec().root != self.root {
            // Trees may number the user postgres differently.
            let place = format!("/data/{directory}");
            node.run(&["chown", "-R", "postgres:postgres", &place], LONG)?;
        }
        Ok(())
    }
}

fn postgres_user(root: &Path, argv: &[&str]) -> Result<Output> {
    within(root, &[&["runuser", "-u", "postgres", "--"], argv].concat())?
        .timeout(LONG)
        .ok()
}

fn fill(root: &Path, bin: &str, place: &str, socket: &str) -> Result<()> {
    let postgres_user = |argv: &[&str]| postgres_user(root, argv);
    let (primary, standby, lock) = (
        format!("{place}/primary"),
        format!("{place}/standby"),
        format!("{place}/lock"),
    );
    postgres_user(&[
        &format!("{bin}/initdb"),
        "-D",
        &primary,
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--no-sync",
    ])?;
    write(&format!("{primary}/pg_hba.conf"), &hba(), false)?;
    postgres_user(&["cp", "-a", &primary, &lock])?;
    write(
        &format!("{lock}/postgresql.conf"),
        &format!("{LOCK_CONF}port = {LOCK_PORT}\n"),
        true,
    )?;
    write(&format!("{primary}/postgresql.conf"), DATABASE_CONF, true)?;
    let options = format!("-c listen_addresses= -c unix_socket_directories={socket}");
    let (ctl, log) = (format!("{bin}/pg_ctl"), format!("{place}/log"));
    postgres_user(&[
        &ctl, "-D", &primary, "-l", &log, "-o", &options, "-w", "start",
    ])?;
    postgres_user(&[
        "psql",
        "-X",
        "-h",
        socket,
        "-d",
        "postgres",
        "-v",
        "ON_ERROR_STOP=1",
        "-c",
        ROLE,
    ])?;
    postgres_user(&[
        &format!("{bin}/pg_basebackup"),
        "-h",
        socket,
        "-U",
        "replication",
        "-D",
        &standby,
        "-X",
        "stream",
        "--checkpoint=fast",
        "--no-sync",
    ])?;
    postgres_user(&[&ctl, "-D", &primary, "-m", "fast", "-w", "stop"])?;
    Run::host(&["sync", "-f", place]).timeout(LONG).ok()?;
    Ok(())
}

/// Writes or extends a file that is there already, so that its owner and mode stay.
fn write(path: &str, text: &str, append: bool) -> Result<()> {
    use std::io::Write;
    let mut options = fs::OpenOptions::new();
    options.write(true).append(append).truncate(!append);
    options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(Error::io("write", path))
}

/// Runs SQL with psql on a node as the user postgres over the local socket: unaligned, tuples
/// only, stopping at the first error. What it prints is the result, without surrounding space.
///
/// # Errors
/// The node is off, or psql failed; the error holds its message.
pub(crate) fn sql(node: &Node, port: u16, sql: &str) -> Result<String> {
    let port = port.to_string();
    let words = [
        "psql",
        "-XAtq",
        "-v",
        "ON_ERROR_STOP=1",
        "-p",
        &port,
        "-d",
        "postgres",
        "-c",
        sql,
    ];
    Ok(node
        .as_postgres(&words, Duration::from_secs(15))?
        .text()
        .to_owned())
}

//! A private PostgreSQL server for a test: made in a temporary directory, stopped and removed when
//! it is dropped. As root it runs as the user `postgres`, because PostgreSQL refuses root.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// What went wrong, as one text: these are tests.
pub type Result<T> = std::result::Result<T, String>;

/// A server, reachable by its socket directory and on 127.0.0.1.
pub struct Server {
    bin: PathBuf,
    dir: PathBuf,
    /// Its port.
    pub port: u16,
}

static COUNT: AtomicU32 = AtomicU32::new(0);
static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// The server that the tests of one binary share while any of them runs.
///
/// # Errors
/// As [`Server::start`].
pub fn shared() -> Result<Arc<Server>> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = shared.upgrade() {
        return Ok(server);
    }
    let server = Arc::new(Server::start(&[])?);
    *shared = Arc::downgrade(&server);
    Ok(server)
}

/// Where the newest installed server's programs are; `PHA_PG_BIN` names another directory.
///
/// # Errors
/// When there is none.
pub fn bin_directory() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("PHA_PG_BIN") {
        return Ok(dir.into());
    }
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .map_err(|error| {
            format!("no PostgreSQL in /usr/lib/postgresql: {error}; run apt-get install postgresql")
        })?
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, bin)| bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().map(|(_, bin)| bin).ok_or_else(|| {
        "no initdb in /usr/lib/postgresql/*/bin; run apt-get install postgresql".to_owned()
    })
}

/// Runs a program as the user that PostgreSQL may run as, and takes its output.
///
/// # Errors
/// What it printed.
pub fn run(bin: &Path, args: &[&str]) -> Result<String> {
    let root = rustix::process::geteuid().is_root();
    let mut command = if root {
        let mut command = Command::new("setpriv");
        command
            .args([
                "--reuid=postgres",
                "--regid=postgres",
                "--init-groups",
                "--",
            ])
            .arg(bin);
        command
    } else {
        Command::new(bin)
    };
    let output: io::Result<Output> = command
        .args(args)
        .current_dir("/tmp")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| format!("{}: {error}", bin.display()))?;
    if !output.status.success() {
        return Err(format!(
            "{} {args:?}: {}{}",
            bin.display(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn free_port() -> Result<u16> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| error.to_string())
}

impl Server {
    /// Makes a cluster with role `postgres` (trusted by socket and on 127.0.0.1) and starts it with
    /// further settings, each `name=value`.
    ///
    /// # Errors
    /// The output of the program that failed.
    pub fn start(settings: &[&str]) -> Result<Self> {
        Self::start_with(settings, |_| Ok(()))
    }

    /// As [`Self::start`], after `prepare` has had its way with the data directory.
    ///
    /// # Errors
    /// The output of the program that failed.
    pub fn start_with(
        settings: &[&str],
        prepare: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Self> {
        let bin = bin_directory()?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // Short, because a socket's path has at most 107 bytes.
        let dir = std::env::temp_dir().join(format!("pha-pg-{}-{number}", std::process::id()));
        run(Path::new("/bin/mkdir"), &["-m", "0700", path(&dir)?])?;
        let server = Self {
            port: free_port()?,
            bin,
            dir,
        };
        run(
            &server.bin.join("initdb"),
            &[
                "-D",
                path(&server.data())?,
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-locale",
                "--no-sync",
            ],
        )?;
        prepare(&server.data())?;
        server.up(settings)?;
        Ok(server)
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The directory of the socket.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        &self.dir
    }

    /// A connection string over TCP.
    #[must_use]
    pub fn conninfo(&self) -> String {
        format!(
            "host=127.0.0.1 port={} user=postgres dbname=postgres sslmode=disable",
            self.port
        )
    }

    /// A connection string by the socket.
    #[must_use]
    pub fn socket_conninfo(&self) -> String {
        format!(
            "host={} port={} user=postgres dbname=postgres",
            self.dir.display(),
            self.port
        )
    }

    fn up(&self, settings: &[&str]) -> Result<()> {
        let mut options = format!(
            "-p {} -k {} -c listen_addresses=127.0.0.1 -c fsync=off -c shared_buffers=16MB -c max_wal_senders=0 -c wal_level=minimal",
            self.port,
            self.dir.display()
        );
        for setting in settings {
            options.push_str(&format!(" -c {setting}"));
        }
        let log = self.dir.join("log");
        run(
            &self.bin.join("pg_ctl"),
            &[
                "-D",
                path(&self.data())?,
                "-l",
                path(&log)?,
                "-o",
                &options,
                "-w",
                "-t",
                "60",
                "start",
            ],
        )
        .map(drop)
        .map_err(|error| format!("{error}\n{}", fs::read_to_string(&log).unwrap_or_default()))
    }

    /// Stops the server without ceremony; the directory stays.
    ///
    /// # Errors
    /// The output of pg_ctl.
    pub fn stop(&self) -> Result<()> {
        self.signal(rustix::process::Signal::CONT);
        run(
            &self.bin.join("pg_ctl"),
            &[
                "-D",
                path(&self.data())?,
                "-m",
                "immediate",
                "-w",
                "-t",
                "30",
                "stop",
            ],
        )
        .map(drop)
    }

    /// Starts the server again after [`Self::stop`].
    ///
    /// # Errors
    /// The output of pg_ctl.
    pub fn restart(&self, settings: &[&str]) -> Result<()> {
        self.up(settings)
    }

    /// Runs SQL with psql and returns its bare output: columns separated by `|`.
    ///
    /// # Errors
    /// What psql printed.
    pub fn sql(&self, sql: &str) -> Result<String> {
        let socket = path(&self.dir)?;
        let port = self.port.to_string();
        // Some builds of the server come without psql; any one will do.
        let own = self.bin.join("psql");
        let psql = if own.exists() {
            own
        } else {
            "/usr/bin/psql".into()
        };
        run(
            &psql,
            &[
                "-X",
                "-At",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                socket,
                "-p",
                &port,
                "-U",
                "postgres",
                "-d",
                "postgres",
                "-c",
                sql,
            ],
        )
        .map(|text| text.trim_end().to_owned())
    }

    /// Sends a signal to the postmaster and to all its children: SIGSTOP freezes the server.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let Some(postmaster) = self.postmaster() else {
            return;
        };
        for pid in children(postmaster).into_iter().chain([postmaster]) {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                // A child that has just ended is as good as signalled.
                let _ = rustix::process::kill_process(pid, signal);
            }
        }
    }

    fn postmaster(&self) -> Option<i32> {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok()
    }
}

fn children(parent: i32) -> Vec<i32> {
    fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

fn path(path: &Path) -> Result<&str> {
    path.to_str()
        .ok_or_else(|| "a path is not UTF-8".to_owned())
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Waits until `condition` holds; false when it does not within `limit`.
pub fn eventually(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

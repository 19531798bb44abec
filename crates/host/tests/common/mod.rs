//! A private PostgreSQL for one test: its own data directory, port and socket directory. Needs
//! root (which becomes `postgres`, as the agent does) and the package postgresql.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use pha_host::clock::Deadline;
use pha_host::pgctl::{PgCtl, Started};
use pha_host::process::kill_everything;
use pha_host::user::User;

pub fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

pub fn postgres() -> User {
    pha_host::account::use_program(env!("CARGO_BIN_EXE_pha-account"));
    User::lookup("postgres").expect("install the package postgresql")
}

/// The programs of the server to test: those that `PHA_PG_BIN` names, else the newest installed.
pub fn bin() -> PathBuf {
    std::env::var_os("PHA_PG_BIN").map_or_else(installed, PathBuf::from)
}

fn installed() -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .expect("install the package postgresql")
        .map(|entry| entry.unwrap().path().join("bin"))
        .filter(|dir| dir.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().expect("install the package postgresql")
}

/// A program, of the server to test if it has it: clients work with any version.
fn program(name: &str) -> PathBuf {
    Some(bin().join(name))
        .filter(|path| path.exists())
        .unwrap_or_else(|| installed().join(name))
}

/// Runs a program of the server as its owner and gives back what it printed.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = pha_host::command::Command::new(self::program(program))
        .args(args)
        .run_as(&postgres())
        .run(soon())
        .unwrap_or_else(|error| panic!("{error}"));
    output.text().into_owned()
}

pub struct Cluster {
    pub dir: PathBuf,
    pub ctl: PgCtl,
    pub port: u16,
}

fn directory(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("pha-pg-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    chown(&dir, Some(postgres().uid()), Some(postgres().gid())).unwrap();
    dir
}

/// initdb takes seconds, so one is made, kept for later runs, and copied.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let version = run("initdb", &["--version"]).replace([' ', '\n'], "-");
        let kept = std::env::temp_dir().join(format!("pha-pg-template-{version}"));
        if !kept.exists() {
            let made = directory("initdb");
            let data = made.join("data");
            run(
                "initdb",
                &["-N", "-A", "trust", "-D", data.to_str().unwrap()],
            );
            std::fs::rename(&data, &kept).unwrap();
            std::fs::remove_dir_all(&made).unwrap();
        }
        kept
    })
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .arg("-a")
        .args([from, to])
        .stdin(Stdio::null())
        .status();
    assert!(status.unwrap().success());
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

impl Cluster {
    /// A new cluster, not started. The directory's name holds a space and what a shell would expand.
    pub fn new(name: &str) -> Self {
        let dir = directory(name);
        let data = dir.join("pg data $(touch oops) 'x'");
        copy(template(), &data);
        Self::over(dir, data)
    }

    /// A standby's data directory: a copy of a stopped primary's, made with cp.
    pub fn copy_of(name: &str, other: &Self) -> Self {
        let dir = directory(name);
        let data = dir.join("data");
        copy(&other.ctl.pgdata, &data);
        Self::over(dir, data)
    }

    fn over(dir: PathBuf, pgdata: PathBuf) -> Self {
        let port = free_port();
        let ctl = PgCtl {
            program: bin().join("pg_ctl"),
            config: pgdata.join("postgresql.conf"),
            logfile: dir.join("log"),
            pgdata,
            user: postgres(),
            ctl_opt: Vec::new(),
            start_opt: Vec::new(),
            libraries: None,
        };
        let cluster = Self { dir, ctl, port };
        cluster.settings(&format!(
            "port = {port}\nunix_socket_directories = '{}'\nlisten_addresses = '127.0.0.1'\n\
             fsync = off\nlog_checkpoints = on\nhot_standby = on\n",
            cluster.dir.display()
        ));
        cluster
    }

    /// Adds to the configuration.
    pub fn settings(&self, text: &str) {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(&self.ctl.config)
            .unwrap();
        writeln!(file, "\n{text}").unwrap();
    }

    pub fn start(&self) {
        assert_eq!(
            self.ctl
                .start(None, soon())
                .unwrap_or_else(|error| panic!("{error}")),
            Started::Ready
        );
    }

    /// Runs a statement with psql and gives back its one value.
    pub fn sql(&self, statement: &str) -> String {
        let port = self.port.to_string();
        let dir = self.dir.to_str().unwrap();
        let args = [
            "-XAtq",
            "-h",
            dir,
            "-p",
            &port,
            "-d",
            "postgres",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            statement,
        ];
        run("psql", &args).trim().to_owned()
    }

    /// Makes this a standby of another one on this machine.
    pub fn follow(&self, primary: &Self) {
        let conninfo = format!(
            "host=127.0.0.1 port={} user=postgres application_name=standby",
            primary.port
        );
        self.settings(&format!(
            "primary_conninfo = '{conninfo}'\nwal_retrieve_retry_interval = '200ms'\n"
        ));
        std::fs::write(self.ctl.pgdata.join("standby.signal"), "").unwrap();
    }

    /// Waits until a statement gives that value.
    pub fn until(&self, statement: &str, value: &str) {
        let deadline = soon();
        loop {
            let found = self.sql(statement);
            if found == value {
                return;
            }
            assert!(
                !deadline.expired(),
                "{statement} stays {found}, {value} was expected"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let left = kill_everything(&self.ctl.pgdata, &postgres(), soon());
        if !std::thread::panicking() {
            assert_eq!(left.unwrap(), []);
            std::fs::remove_dir_all(&self.dir).unwrap();
        }
    }
}

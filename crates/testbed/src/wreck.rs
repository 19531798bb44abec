//! Keeping what a failed test left behind.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::cluster::Cluster;
use crate::layout::{Duty, base};
use crate::node::{Node, PGDATA};
use crate::run::Run;

/// Questions to a database node; file name and command.
const QUESTIONS: [(&str, &[&str]); 8] = [
    ("cib.xml", &["cibadmin", "--query", "--local"]),
    ("crm_mon.txt", &["crm_mon", "-1", "-A", "-f", "-r", "-n"]),
    ("processes.txt", &["ps", "-ef", "--forest"]),
    ("addresses.txt", &["ip", "-br", "addr"]),
    (
        "controldata.txt",
        &[
            "sh",
            "-c",
            "/usr/lib/postgresql/*/bin/pg_controldata /data/postgresql/data",
        ],
    ),
    (
        "data-directory.txt",
        &[
            "sh",
            "-c",
            "cd /data/postgresql/data && ls -la . pg_wal && tail -n +1 *.signal postgresql.auto.conf pg_wal/*.history",
        ],
    ),
    (
        "replication.txt",
        &[
            "runuser",
            "-u",
            "postgres",
            "--",
            "psql",
            "-Xx",
            "-d",
            "postgres",
            "-c",
            "select now(), pg_is_in_recovery(), current_setting('synchronous_standby_names'), current_setting('primary_conninfo')",
            "-c",
            "select * from pg_stat_replication",
            "-c",
            "select * from pg_stat_wal_receiver",
        ],
    ),
    (
        "messages.txt",
        &[
            "sh",
            "-c",
            "cat /var/log/messages /var/log/syslog 2>/dev/null",
        ],
    ),
];

/// Log files of a node.
const LOGS: [&str; 8] = [
    "/var/log/corosync/corosync.log",
    "/var/log/pacemaker/pacemaker.log",
    "/var/log/pacemakerd.out",
    "/var/log/postgresql/pgsql.log",
    "/var/log/postgresql/lock.log",
    "/var/log/sshd.log",
    "/var/log/pha4pgsql.log",
    "/run/pha4pgsql/pgsql.guard.log",
];

const PATIENCE: Duration = Duration::from_secs(10);

impl Cluster {
    /// Copies logs, CIB, attributes, control data, register and acknowledgements into one
    /// directory, says on stderr where, and returns it. Never fails: what cannot be had is
    /// replaced by the reason.
    pub fn wreck(&self, reason: &str) -> PathBuf {
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let dir = base()
            .join("wrecks")
            .join(format!("{}-{seconds}", self.name()));
        self.gather(&dir, reason);
        let line = format!(
            "testbed: {reason}\ntestbed: the wreck of {} is in {}\n",
            self.name(),
            dir.display()
        );
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
        dir
    }

    /// Copies the same into `dir`, without a word.
    pub(crate) fn gather(&self, dir: &Path, reason: &str) {
        let _ = fs::create_dir_all(dir);
        let faults = self.faults().unwrap_or_else(|error| error.to_string());
        let _ = fs::write(
            dir.join("reason.txt"),
            format!("{reason}\n\nfaults in force:\n{faults}\n"),
        );
        let _ = fs::copy(self.layout.spec(), dir.join("cluster.json"));
        for node in self.nodes() {
            collect(&node, &dir.join(node.name()));
        }
        if let Ok(lock) = self.lock_service() {
            let _ = fs::write(dir.join("register.txt"), lock.dump());
        }
        copy_flat(&self.layout.acknowledgements(), &dir.join("acknowledged"));
    }
}

impl crate::lock::LockService {
    /// The register and its history as text, or why they cannot be had.
    #[must_use]
    pub fn dump(&self) -> String {
        let questions = [
            "SELECT * FROM distlock",
            "SELECT * FROM distlock_history ORDER BY 1",
        ];
        let mut text = String::new();
        for question in questions {
            let words = [
                "runuser", "-u", "postgres", "--", "psql", "-Xx", "-p", "5439", "-d", "postgres",
                "-c", question,
            ];
            let said = self
                .node()
                .exec(&words, PATIENCE)
                .map_or_else(|e| e.to_string(), |o| o.stdout + &o.stderr);
            let _ = writeln!(text, "{question}\n{said}");
        }
        text
    }
}

fn collect(node: &Node, dir: &Path) {
    let _ = fs::create_dir_all(dir);
    let _ = fs::copy(
        node.layout.node(node.name()).join("console.log"),
        dir.join("console.log"),
    );
    if !node.is_on() {
        let _ = fs::write(
            dir.join("powered-off"),
            "its disk could not be looked at through the node\n",
        );
        // As the keeper sees it: the disk may be in memory, mounted there alone (proc(5), root).
        let disk = node.layout.disk(node.name());
        let disk = format!("/proc/{}/root{}", node.keeper.pid, disk.display());
        for log in LOGS {
            let upper = Path::new(&disk)
                .join("upper")
                .join(log.trim_start_matches('/'));
            let _ = fs::copy(upper, dir.join(log.rsplit('/').next().unwrap_or(log)));
        }
        // journalctl --directory reads them.
        let journal = Path::new(&disk).join("upper/var/log/journal");
        if journal.exists() {
            let (from, to) = (journal.display().to_string(), dir.display().to_string());
            let _ = Run::host(&["cp", "-r", "--", &from, &to]).output();
        }
        return;
    }
    for log in LOGS {
        if let Ok(bytes) = node.read(log) {
            let _ = fs::write(dir.join(log.rsplit('/').next().unwrap_or(log)), bytes);
        }
    }
    let _ = fs::write(
        dir.join("postmaster.txt"),
        format!("{PGDATA}: {:?}\n", node.postmaster_of(PGDATA)),
    );
    if node.spec().systemd {
        let journal = ["journalctl", "--no-pager", "--output=short-precise"];
        let said = node
            .exec(&journal, PATIENCE)
            .map_or_else(|e| e.to_string(), |o| o.stdout + &o.stderr);
        let _ = fs::write(dir.join("journal.txt"), said);
    }
    for (file, command) in QUESTIONS {
        if node.spec().duty == Duty::Lock && file != "processes.txt" && file != "addresses.txt" {
            continue;
        }
        let said = node
            .exec(command, PATIENCE)
            .map_or_else(|e| e.to_string(), |o| o.stdout + &o.stderr);
        let _ = fs::write(dir.join(file), said);
    }
}

fn copy_flat(from: &Path, to: &Path) {
    let _ = fs::create_dir_all(to);
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let _ = fs::copy(entry.path(), to.join(entry.file_name()));
    }
}

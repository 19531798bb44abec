//! What the readers and writers of texts make of a real PostgreSQL, the newest that is installed.
//!
//! Needs the package postgresql. As root the programs run as `postgres`.
#![allow(clippy::unwrap_used, clippy::expect_used)]
// The core itself has no effects; this test of it runs PostgreSQL.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pha_core::lsn::Lsn;
use pha_core::parse::conffile::{self, Ensured};
use pha_core::parse::controldata::{self, ControlData, State};
use pha_core::parse::history;
use pha_core::parse::standby_names::StandbyNames;
use pha_core::parse::waldump::{self, Waldump};
use pha_core::timeline::TimelineId;

fn bin() -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .expect("install the package postgresql")
        .map(|entry| entry.unwrap().path().join("bin"))
        .filter(|dir| dir.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().expect("install the package postgresql")
}

fn id(option: &str, user: &str) -> u32 {
    let output = Command::new("id").args([option, user]).output().unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout == b"0\n"
}

/// A data directory of a test's own, with segments of 1 MiB, so that boundaries are met often.
struct Cluster {
    dir: PathBuf,
}

impl Cluster {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("pha-texts-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        chown(&dir, Some(id("-u", "postgres")), Some(id("-g", "postgres"))).unwrap();
        let cluster = Self { dir };
        let data = cluster.data();
        cluster.ok(
            "initdb",
            &[
                "-N",
                "-A",
                "trust",
                "-U",
                "postgres",
                "--wal-segsize=1",
                "-D",
                &data,
            ],
        );
        let socket = cluster.dir.to_str().unwrap().to_owned();
        cluster.append("listen_addresses", "");
        cluster.append("unix_socket_directories", &socket);
        cluster.append("restart_after_crash", "off");
        cluster
    }

    fn data(&self) -> String {
        self.dir.join("data").to_str().unwrap().to_owned()
    }

    fn conf(&self) -> PathBuf {
        self.dir.join("data/postgresql.conf")
    }

    fn append(&self, name: &str, value: &str) {
        let mut text = std::fs::read(self.conf()).unwrap();
        text.extend_from_slice(conffile::setting(name, value).unwrap().as_bytes());
        std::fs::write(self.conf(), text).unwrap();
    }

    fn run(&self, program: &str, args: &[&str]) -> Output {
        let path = bin().join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(&path);
            command
        } else {
            Command::new(&path)
        };
        command
            .args(args)
            .env("LC_ALL", "C")
            .current_dir(&self.dir)
            .output()
            .unwrap()
    }

    fn ok(&self, program: &str, args: &[&str]) -> String {
        let output = self.run(program, args);
        assert!(
            output.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn start(&self) {
        let log = self.dir.join("log");
        self.ok(
            "pg_ctl",
            &[
                "start",
                "-w",
                "-s",
                "-D",
                &self.data(),
                "-l",
                log.to_str().unwrap(),
            ],
        );
    }

    fn crash(&self) {
        self.ok(
            "pg_ctl",
            &["stop", "-m", "immediate", "-w", "-s", "-D", &self.data()],
        );
    }

    fn sql(&self, sql: &str) -> String {
        let socket = self.dir.to_str().unwrap();
        self.ok(
            "psql",
            &[
                "-X", "-At", "-U", "postgres", "-h", socket, "-d", "postgres", "-c", sql,
            ],
        )
    }

    fn control(&self) -> ControlData {
        controldata::parse(&self.ok("pg_controldata", &[&self.data()])).unwrap()
    }

    fn end_of_wal(&self, control: &ControlData) -> Lsn {
        let wal = format!("{}/pg_wal", self.data());
        let timeline = control.checkpoint_timeline;
        let arguments = [timeline.to_string(), control.redo.to_string()];
        let output = self.run(
            "pg_waldump",
            &["-p", &wal, "-t", &arguments[0], "-s", &arguments[1]],
        );
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let dump = Waldump {
            start: control.redo,
            timeline,
            geometry: control.wal,
            last_record: waldump::last_record_line(&stdout),
            stderr: &stderr,
        };
        waldump::end_of_wal(&dump).unwrap_or_else(|error| panic!("{error}\n{stderr}"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if Path::new(&self.data()).join("postmaster.pid").exists() {
            self.run("pg_ctl", &["stop", "-m", "immediate", "-D", &self.data()]);
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The end that is computed from pg_waldump's output is where PostgreSQL's own recovery ends: its
/// first record afterwards, the end-of-recovery checkpoint, begins there.
#[test]
fn pg_the_end_of_wal_is_where_recovery_ends() {
    let cluster = Cluster::new("end");
    cluster.start();
    cluster.sql("create table t (a text)");
    for round in 0..12 {
        // Different amounts end in different places of a page and of a segment.
        let rows = 1 + (round * 7919) % 2500;
        cluster.sql(&format!(
            "insert into t select repeat('x', {}) from generate_series(1, {rows})",
            round * 37
        ));
        if round % 4 == 3 {
            cluster.sql("select pg_switch_wal()");
        }
        cluster.crash();
        let before = cluster.control();
        assert_eq!(before.state, State::InProduction);
        let end = cluster.end_of_wal(&before);
        cluster.start();
        let after = cluster.control();
        let page = u64::from(after.wal.page_bytes);
        let header = after.checkpoint.as_u64() % page;
        assert!(
            after.checkpoint == end
                || (end.as_u64() % page == 0
                    && after.checkpoint.distance(end) == header
                    && header <= 40),
            "round {round}: {end} was computed, the next record is at {}",
            after.checkpoint
        );
    }
    cluster.crash();
}

#[test]
fn pg_a_promoted_standbys_history_is_read() {
    let cluster = Cluster::new("history");
    cluster.start();
    cluster.sql("create table t (a text)");
    cluster.ok(
        "pg_ctl",
        &["stop", "-m", "fast", "-w", "-s", "-D", &cluster.data()],
    );
    let stopped = cluster.control();
    assert_eq!(stopped.state, State::ShutDown);
    let end = cluster.end_of_wal(&stopped);
    std::fs::write(cluster.dir.join("data/standby.signal"), "").unwrap();
    let owner = (id("-u", "postgres"), id("-g", "postgres"));
    chown(
        cluster.dir.join("data/standby.signal"),
        Some(owner.0),
        Some(owner.1),
    )
    .unwrap();
    cluster.start();
    cluster.ok("pg_ctl", &["promote", "-w", "-s", "-D", &cluster.data()]);
    let second = TimelineId::new(2).unwrap();
    let file = cluster.dir.join("data/pg_wal").join(second.history_file());
    let read = history::parse(second, &std::fs::read_to_string(file).unwrap()).unwrap();
    let switch = read.last_switch().unwrap();
    assert_eq!(switch.parent, TimelineId::FIRST);
    // The standby's timeline ends where the WAL of its data ended.
    assert_eq!(switch.end, end);
    cluster.crash();
}

#[test]
fn pg_written_values_are_what_postgresql_reads() {
    let cluster = Cluster::new("values");
    let names = ["node-1", "any", "a\"b", "it's", "first", "x.example.com"];
    let setting = StandbyNames::first(2, names).to_string();
    cluster.append("synchronous_standby_names", &setting);
    let command = "cp '/a b/%f' \"%p\" \\ || echo it''s # no comment";
    cluster.append("restore_command", command);
    let text = std::fs::read(cluster.conf()).unwrap();
    let include = cluster.dir.join("it's ours.conf");
    std::fs::write(
        &include,
        conffile::setting("cluster_name", "from-ours").unwrap(),
    )
    .unwrap();
    let path = include.to_str().unwrap();
    let Ensured::Changed(changed) = conffile::ensure_include(&text, path, &[]).unwrap() else {
        panic!("the line is not there yet");
    };
    std::fs::write(cluster.conf(), changed).unwrap();
    let shown = |name: &str| {
        let text = cluster.ok("postgres", &["-D", &cluster.data(), "-C", name]);
        text.trim_end_matches('\n').to_owned()
    };
    assert_eq!(shown("cluster_name"), "from-ours");
    assert_eq!(shown("restore_command"), command);
    assert_eq!(shown("synchronous_standby_names"), setting);
    // The server starts only if its own parser accepts the list.
    cluster.start();
    assert_eq!(
        cluster.sql("show synchronous_standby_names").trim_end(),
        setting
    );
    // What initdb has written, and every form that pg_settings shows, is read the same way.
    let read = conffile::scan(&std::fs::read(cluster.conf()).unwrap()).unwrap();
    let ours: Vec<String> = read
        .iter()
        .filter_map(|item| match &item.directive {
            conffile::Directive::Set { name, value } => {
                Some(format!("{}|{name}|{value}", item.line))
            }
            _ => None,
        })
        .collect();
    let theirs = cluster.sql(&format!(
        "select sourceline || '|' || lower(name) || '|' || setting from pg_file_settings where sourcefile = '{}' order by seqno",
        cluster.conf().to_str().unwrap()
    ));
    assert_eq!(ours, theirs.lines().collect::<Vec<_>>());
    cluster.crash();
}

#[test]
fn pg_lists_that_postgresql_refuses_are_refused() {
    let cluster = Cluster::new("lists");
    cluster.start();
    for list in [
        "node-2",
        "a b",
        "a,",
        ",a",
        "0 (a)",
        "FIRST (a)",
        "ANY 1 a",
        "2 (a",
        "\"a",
        "any",
        "a;b",
        "a, \"b c\"",
        "*",
        "2 (a, *)",
        "first 1 (x)",
        "Any 2 (x,y)",
        "1",
        "",
        "  ",
        "\"*\"",
        "a$b, _c",
        "1a",
        "ä",
        "FIRST 2147483648 (a)",
        "()",
    ] {
        let accepted = cluster
            .run(
                "psql",
                &[
                    "-X",
                    "-U",
                    "postgres",
                    "-h",
                    cluster.dir.to_str().unwrap(),
                    "-d",
                    "postgres",
                    "-c",
                    &format!("alter system set synchronous_standby_names = $${list}$$"),
                ],
            )
            .status
            .success();
        assert_eq!(list.parse::<StandbyNames>().is_ok(), accepted, "{list}");
    }
    cluster.crash();
}

//! `cls_doctor` runs the server's programs as the account that may own them.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use pha_core::doctor::{Check, Examination, Level, NodeFacts};
use pha_core::params::Params;
use pha_host::user::User;
use pha_tests::pg::{Server, bin_directory};

struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Needs root, which must not run what postgres has put beside pg_ctl.
#[test]
fn pg_the_servers_programs_are_never_run_as_root() {
    let postgres = User::lookup("postgres").expect("install the package postgresql");
    let name = format!("cls-doctor-programs-{}", std::process::id());
    let directory = Directory(std::env::temp_dir().join(name));
    let bin = directory.0.join("server");
    std::fs::create_dir_all(&bin).unwrap();
    let given = |path: &Path| chown(path, Some(postgres.uid()), Some(postgres.gid())).unwrap();
    given(&bin);
    for name in [
        "pg_ctl",
        "postgres",
        "pg_rewind",
        "pg_basebackup",
        "pg_controldata",
        "df",
    ] {
        let program = bin.join(name);
        let text = format!(
            "#!/bin/sh\nid -u >>'{}/ran.'$(id -u)\necho '{name} (PostgreSQL) 15.1'\n",
            bin.display()
        );
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        given(&program);
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let (host, place) = (host.trim(), directory.0.display());
    let config = directory.0.join("config.ini");
    let text = format!(
        "cluster_type=dual\nOCF_ROOT={place}\npha4pgsql_dir={place}\nwriter_vip=192.0.2.1\nnode1={host}\nnode2=nowhere.invalid\npgsql_pgctl={bin}/pg_ctl\npgsql_pgdata={bin}/data\npgsql_tmpdir={bin}/tmp\npgsql_rep_mode=async\n",
        bin = bin.display()
    );
    std::fs::write(&config, text).unwrap();
    let facts = Command::new(env!("CARGO_BIN_EXE_cls"))
        .args(["internal", "facts", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&facts.stdout).into_owned();
    assert_eq!(facts.status.code(), Some(0), "{facts:?}");
    assert!(said.contains("pg_rewind (PostgreSQL) 15.1"), "{said}");
    assert!(bin.join(format!("ran.{}", postgres.uid())).exists());
    assert!(
        !bin.join("ran.0").exists(),
        "root has run a program of the account's"
    );
}

/// A server, and what the doctor says of the role that is configured for replication there.
struct Examined {
    server: Server,
    directory: Directory,
    role: &'static str,
}

impl Examined {
    fn new(role: &'static str) -> Self {
        let name = format!("cls-doctor-{role}-{}", std::process::id());
        let directory = Directory(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&directory.0).unwrap();
        Self {
            server: Server::start(&[]).unwrap(),
            directory,
            role,
        }
    }

    fn facts(&self) -> NodeFacts {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let (host, place) = (host.trim(), self.directory.0.display());
        let config = self.directory.0.join("config.ini");
        let text = format!(
            "cluster_type=dual\nOCF_ROOT={place}\npha4pgsql_dir={place}\nwriter_vip=192.0.2.1\n\
             node1={host}\nnode2=nowhere.invalid\npgsql_pgctl={}/pg_ctl\npgsql_pgdata={}\n\
             pgsql_tmpdir={place}/tmp\npgsql_pgport={}\npgsql_socketdir={}\npgsql_rep_mode=async\n\
             pgsql_repuser={}\n",
            bin_directory().unwrap().display(),
            self.server.data().display(),
            self.server.port,
            self.server.socket_dir().display(),
            self.role,
        );
        std::fs::write(&config, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_cls"))
            .args(["internal", "facts", "--config"])
            .arg(&config)
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    fn check(&self, id: &str) -> Check {
        let given = [
            ("rep_mode", "async"),
            ("node_list", "node1 node2"),
            ("master_ip", "192.0.2.1"),
            ("repuser", self.role),
        ];
        let examination = Examination {
            layout: pha_core::layout::Layout::Directory,
            params: Params::parse(given).unwrap().0,
            nodes: [("node1".parse().unwrap(), Ok(self.facts()))].into(),
            clocks: [].into(),
            setup: Ok(Vec::new()),
            site: Vec::new(),
            set_up: true,
            monitor: None,
            register: None,
            fencing: false,
            without_quorum: Default::default(),
        };
        let mut checks = examination.judge();
        checks.retain(|check| check.id == id);
        assert_eq!(checks.len(), 1, "{checks:?}");
        checks.remove(0)
    }

    /// Spoils the role, sees what is said, types it, and sees that nothing is left to say and that the
    /// role can do what it has to.
    fn mended(&self, spoil: &str, level: Level, says: &str) {
        self.server.sql(spoil).unwrap();
        let check = self.check("replication-role");
        assert_eq!(check.level, level, "{spoil}: {check:?}");
        assert!(check.text.to_string().contains(says), "{spoil}: {check:?}");
        let advice = check.remedy.unwrap().to_string();
        let place = "in psql on the primary, in the database postgres: ";
        let (_, sql) = advice
            .split_once(place)
            .unwrap_or_else(|| panic!("{advice}"));
        self.server.sql(sql).unwrap();
        let check = self.check("replication-role");
        assert_eq!(check.level, Level::Ok, "{spoil}: {check:?}");
        let role = self.role.replace('"', "\"\"");
        let rewinds = format!(
            "set role \"{role}\"; select current_setting('is_superuser'), \
             (pg_stat_file('PG_VERSION', true)).size > 0, length(pg_read_binary_file('PG_VERSION')) > 0, \
             length(pg_read_binary_file('PG_VERSION', 0, 1, true)), \
             'base' = any(array(select pg_ls_dir('.', true, false)))"
        );
        let answer = self.server.sql(&rewinds).unwrap();
        assert_eq!(answer.lines().last(), Some("off|t|t|1|t"), "{spoil}");
    }
}

#[test]
fn pg_the_role_for_replication_has_what_it_needs_and_no_more() {
    let examined = Examined::new("Repl-1");
    let mended = |spoil: &str, level, says: &str| examined.mended(spoil, level, says);
    mended("select 1", Level::Error, "there is no role Repl-1");
    mended(
        "drop owned by \"Repl-1\"; alter role \"Repl-1\" superuser noreplication",
        Level::Warning,
        "is a superuser",
    );
    mended(
        "alter role \"Repl-1\" nologin noreplication",
        Level::Error,
        "no standby can connect",
    );
    let revoked = "pg_catalog.pg_stat_file(text, boolean)";
    mended(
        &format!("revoke execute on function {revoked} from \"Repl-1\""),
        Level::Warning,
        &format!("may not execute {revoked}, which"),
    );
    mended(
        "drop owned by \"Repl-1\"; create role \"my \"\"dba\"\"\" superuser; create role through; \
         grant \"my \"\"dba\"\"\" to through; grant through to \"Repl-1\"",
        Level::Warning,
        "as a member of through",
    );
    mended(
        "grant pg_write_server_files to \"Repl-1\"",
        Level::Warning,
        "as a member of pg_write_server_files",
    );
}

/// Two lines of PostgreSQL's own let this machine replicate. The advice is typed as it stands, but for the
/// address.
#[test]
fn pg_a_line_that_lets_anybody_replicate_is_named() {
    let examined = Examined::new("strangers");
    let rule = "replication-strangers";
    assert_eq!(examined.check(rule).level, Level::Ok);
    let path = examined.server.data().join("pg_hba.conf");
    let before = std::fs::read_to_string(&path).unwrap();
    let number = before.lines().count() + 1;
    let with = |line: &str| std::fs::write(&path, format!("{before}{line}\n")).unwrap();
    with("host replication strangers 0.0.0.0/0 scram-sha-256");
    let check = examined.check(rule);
    assert_eq!(check.level, Level::Warning, "{check:?}");
    let says = format!("line {number} of pg_hba.conf lets strangers replicate from everywhere:");
    assert!(check.text.to_string().contains(&says), "{check:?}");
    let advice = check.remedy.unwrap().to_string();
    let (_, line) = advice.split_once('(').unwrap();
    let (line, then) = line.split_once("),").unwrap();
    with(&line.replace("ADDRESS", "192.0.2.7"));
    let (_, sql) = then.split_once("then: ").unwrap();
    assert_eq!(examined.server.sql(sql).unwrap().trim(), "t");
    assert_eq!(examined.check(rule).level, Level::Ok);
}

/// As Debian lays it out: the configuration is not in the data directory. While PostgreSQL is stopped the
/// settings are those that a start would have, and checksums are what the data say.
#[test]
fn pg_a_stopped_server_is_read_with_its_configuration_elsewhere() {
    use std::os::unix::process::CommandExt;
    let postgres = User::lookup("postgres").expect("install the package postgresql");
    let name = format!("cls-doctor-stopped-{}", std::process::id());
    let directory = Directory(std::env::temp_dir().join(name));
    std::fs::create_dir_all(&directory.0).unwrap();
    let given = |path: &Path| chown(path, Some(postgres.uid()), Some(postgres.gid())).unwrap();
    given(&directory.0);
    let versions = std::fs::read_dir("/usr/lib/postgresql").unwrap().flatten();
    let bin = versions.map(|version| version.path().join("bin"));
    let bin = bin.filter(|bin| bin.join("initdb").exists()).max().unwrap();
    let data = directory.0.join("data");
    let made = Command::new(bin.join("initdb"))
        .args(["--data-checksums", "--auth=trust", "--pgdata"])
        .arg(&data)
        .env("LC_ALL", "C")
        .uid(postgres.uid())
        .gid(postgres.gid())
        .current_dir("/")
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let elsewhere = directory.0.join("main.conf");
    std::fs::rename(data.join("postgresql.conf"), &elsewhere).unwrap();
    let lines = "listen_addresses = '*'\nwal_log_hints = off\nmax_wal_senders = 7\n";
    let before = std::fs::read_to_string(&elsewhere).unwrap();
    std::fs::write(&elsewhere, before + lines).unwrap();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let (host, place) = (host.trim(), directory.0.display());
    let config = directory.0.join("config.ini");
    let text = format!(
        "cluster_type=dual\nOCF_ROOT={place}\npha4pgsql_dir={place}\nwriter_vip=192.0.2.1\nnode1={host}\nnode2=nowhere.invalid\npgsql_pgctl={bin}/pg_ctl\npgsql_pgdata={data}\npgsql_config={place}/main.conf\npgsql_start_opt='-c max_connections=57'\npgsql_tmpdir={place}/tmp\npgsql_rep_mode=async\n",
        bin = bin.display(),
        data = data.display()
    );
    std::fs::write(&config, text).unwrap();
    let facts = || {
        let output = Command::new(env!("CARGO_BIN_EXE_cls"))
            .args(["internal", "facts", "--config"])
            .arg(&config)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let server = facts()["server"].clone();
    let settings = &server["Ok"]["settings"];
    for (name, value) in [
        ("listen_addresses", "*"),
        ("max_wal_senders", "7"),
        ("max_connections", "57"),
        ("wal_log_hints", "off"),
        ("data_checksums", "on"),
    ] {
        assert_eq!(settings[name], value, "{name}: {server}");
    }
    // What a start would stumble over is one error, and no list of settings that are missing.
    let broken = "listen_addresses = *\n";
    std::fs::write(&elsewhere, broken).unwrap();
    let server = facts()["server"].clone();
    let why = server["Err"].as_str().unwrap_or_default();
    assert!(why.contains("main.conf"), "{server}");
}

/// The limit that the doctor's own session has for its statements was shown as the server's.
#[test]
fn pg_a_running_server_is_read_as_it_is_set() {
    let examined = Examined::new("settings");
    let timeout = || {
        let server = examined.facts().server.unwrap().unwrap();
        server.settings["statement_timeout"].clone()
    };
    assert_eq!(timeout(), "0");
    examined
        .server
        .sql("alter system set statement_timeout = '7s'")
        .unwrap();
    examined.server.sql("select pg_reload_conf()").unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while timeout() != "7000" {
        assert!(std::time::Instant::now() < deadline, "{}", timeout());
    }
}

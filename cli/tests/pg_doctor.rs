//! `cls_doctor` runs the server's programs as the account that may own them.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use pha_host::user::User;

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

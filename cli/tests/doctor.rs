//! `cls_doctor` where hardly anything is as it should be: each thing is a line, and none of them
//! keeps the others from being looked at.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use pha_tests::schema::follows_the_schema;

struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn everything_that_is_wrong_is_a_line_with_a_remedy() {
    let name = format!("cls-doctor-test-{}", std::process::id());
    let directory = Directory(std::env::temp_dir().join(name));
    std::fs::create_dir_all(&directory.0).unwrap();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let host = host.trim();
    let place = directory.0.display();
    let config = directory.0.join("config.ini");
    // The second node's name has no address (RFC 6761), and nothing listens at the lock service's.
    let text = format!(
        "cluster_type=dual\nOCF_ROOT={place}\npha4pgsql_dir={place}\nwriter_vip=192.0.2.1\nnode1={host}\nnode2=nowhere.invalid\npgsql_pgctl={place}/pg_ctl\npgsql_pgdata={place}/data\npgsql_rep_mode=sync\npgsql_reppassord=geheim\npgsql_enable_distlock=true\npgsql_distlock_lockname=x\npgsql_distlock_conninfo='host=127.0.0.1 port=1 password=geheim'\n"
    );
    std::fs::write(&config, text).unwrap();
    let began = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_cls"))
        .args(["doctor", "--json", "--config"])
        .arg(&config)
        .env("CIB_file", directory.0.join("none.xml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(began.elapsed() < Duration::from_secs(40));
    assert!(!said.contains("geheim"), "{said}");
    let answer: serde_json::Value = serde_json::from_str(&said).unwrap();
    follows_the_schema(&answer, "cls_doctor");
    assert_eq!(answer["verdict"], "error");
    let checks = answer["checks"].as_array().unwrap();
    let level = |id: &str, node: &str| {
        let found = checks
            .iter()
            .find(|check| check["id"] == id && (node.is_empty() || check["node"] == node));
        found.unwrap_or_else(|| panic!("no {id} on {node:?}: {said}"))["level"].clone()
    };
    for (id, node) in [
        ("nodes", "nowhere.invalid"),
        ("names", host),
        ("ssh", host),
        ("programs", host),
        ("lock-service", host),
        ("server", host),
        ("pacemaker", ""),
    ] {
        assert_eq!(level(id, node), "error", "{id}");
    }
    // The file was written with the umask's permissions.
    assert_eq!(level("files", host), "error");
    assert_eq!(level("arbiter", ""), "ok");
    for check in checks {
        let remedy = check["remedy"].is_string();
        assert_eq!(remedy, check["level"] != "ok", "{check}");
    }
}

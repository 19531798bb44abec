//! The process that acts as the account: what it may, and what the account can do to it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::{Cluster, postgres};
use pha_host::account::Kind;
use pha_host::clock::Deadline;
use rustix::process::{Pid, Signal, kill_process};

/// The processes that act as an account for this one.
fn helpers() -> Vec<i32> {
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let is_child = status
            .lines()
            .any(|line| line.strip_prefix("PPid:\t") == Some(own.as_str()));
        if is_child && line.windows(14).any(|word| word == b"act-as-account") {
            found.push(pid);
        }
    }
    found
}

/// There is one such process for all tests of this file.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn pg_the_process_that_acts_as_the_account_has_no_right_of_root_and_nothing_of_roots() {
    let _alone = alone();
    let user = postgres();
    let home = user.files().look(user.home()).unwrap().unwrap();
    assert_eq!(home.kind, Kind::Directory);
    let pid = *helpers().first().expect("a process of the account");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    let four = |id: u32| {
        [
            id.to_string(),
            id.to_string(),
            id.to_string(),
            id.to_string(),
        ]
        .join(" ")
    };
    assert_eq!(field("Uid:"), four(user.uid()));
    assert_eq!(field("Gid:"), four(user.gid()));
    let mut groups: Vec<String> = user.groups().iter().map(u32::to_string).collect();
    groups.sort_by_key(|group| group.parse::<u32>().unwrap());
    assert_eq!(field("Groups:"), groups.join(" "));
    for rights in ["CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(rights), "0000000000000000", "{rights}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(fs::read(format!("/proc/{pid}/environ")).unwrap(), b"");
    // Its memory is not the account's to look into.
    assert_eq!(fs::metadata(format!("/proc/{pid}/mem")).unwrap().uid(), 0);
    // Standard streams, and no file of root's.
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let target = target.display().to_string();
        let expected = target == "/dev/null" || target.starts_with("socket:");
        assert!(expected, "{target} is open");
    }
}

#[test]
fn pg_a_process_that_the_account_stops_or_kills_keeps_nobody_waiting() {
    let _alone = alone();
    let cluster = Cluster::new("stopped");
    let (user, path) = (postgres(), cluster.ctl.pgdata.join("PG_VERSION"));
    let read = |within: u64| {
        let deadline = Deadline::after(Duration::from_millis(within));
        user.files().within(deadline).read_text(&path)
    };
    assert!(read(5000).unwrap().is_some());
    let signal_all = |signal| {
        for pid in helpers() {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
        }
    };
    signal_all(Signal::KILL);
    assert!(read(5000).unwrap().is_some(), "a killed one is replaced");
    signal_all(Signal::STOP);
    let began = Instant::now();
    let error = read(300).unwrap_err().to_string();
    assert!(began.elapsed() < Duration::from_secs(2), "{error}");
    // No second wait for what did not answer a moment ago, and no end to that.
    let began = Instant::now();
    assert!(read(5000).is_err());
    assert!(began.elapsed() < Duration::from_millis(500));
    let deadline = Deadline::after(Duration::from_secs(20));
    while read(5000).is_err() {
        assert!(!deadline.expired(), "the account is never asked again");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn pg_a_process_that_acts_as_the_account_outlives_the_thread_that_needed_it_first() {
    let _alone = alone();
    for pid in helpers() {
        let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
    }
    let cluster = Cluster::new("threads");
    let (user, directory) = (postgres(), cluster.dir.clone());
    let first = std::thread::scope(|scope| {
        let look = || user.files().exists(&directory).then(helpers);
        scope.spawn(look).join()
    });
    let first = first.unwrap().unwrap();
    assert_eq!(first.len(), 1);
    // A change is not tried a second time, as a look is.
    let path = directory.join("written");
    let _ = user.files().ensure(&path, b"x", 0o600).unwrap();
    assert_eq!(helpers(), first);
}

//! Only the account's own server is stopped, killed or told anything: not what has its name, works
//! at the same path in another mount namespace, or bears a number that somebody wrote into a file.
//! Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{Cluster, postgres, soon};
use pha_core::plan::StopMode;
use pha_host::pgctl::{Started, Stopped};
use pha_host::process::{Postmaster, Process, server_processes};
use pha_host::user::User;

/// A stranger, ended with the test.
struct Stranger(Child);

impl Stranger {
    /// A sleep that is named postgres, of that account, in the directory that this script goes to.
    fn new(dir: &Path, script: &str, user: &User) -> Self {
        let program = dir.join("postgres");
        if !program.exists() {
            // By a process of its own: what another test forks meanwhile would keep a file open for writing
            // that was written here, and such a file is not executed (ETXTBSY).
            let copy = Command::new("cp").arg("/bin/sleep").arg(&program).status();
            assert!(copy.unwrap().success());
        }
        let ids = format!(
            "--reuid={} --regid={} --clear-groups",
            user.uid(),
            user.gid()
        );
        let script = format!("{script} && exec setpriv {ids} \"$0\" 600");
        let child = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .arg(&program)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let stranger = Self(child);
        let until = soon();
        let exe = format!("/proc/{}/exe", stranger.pid());
        while std::fs::read_link(&exe).ok().as_deref() != Some(&program) {
            assert!(!until.expired(), "it did not start: {script}");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        stranger
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    fn lives(&self) -> bool {
        Process::of(self.pid()).is_some()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn nobody() -> User {
    User::lookup("nobody").unwrap()
}

/// The path as one word of a shell.
fn word(path: &Path) -> String {
    shlex::try_quote(path.to_str().unwrap())
        .unwrap()
        .into_owned()
}

#[test]
fn pg_a_postgres_at_the_same_path_in_another_mount_namespace_is_somebody_elses() {
    let cluster = Cluster::new("namespace");
    cluster.start();
    let ctl = &cluster.ctl;
    let own = ctl.processes().unwrap();
    let data = word(&ctl.pgdata);
    let elsewhere = format!("mount -t tmpfs none {data} && chmod 755 {data} && cd {data}");
    let strangers = [
        Stranger::new(&cluster.dir, &elsewhere, &nobody()),
        // The account of the same number in another container.
        Stranger::new(&cluster.dir, &elsewhere, &postgres()),
        // Of another account, in the very directory.
        Stranger::new(&cluster.dir, &format!("cd {data}"), &nobody()),
    ];
    assert_eq!(ctl.processes().unwrap(), own);
    assert_eq!(ctl.stop(StopMode::Fast, soon()).unwrap(), Stopped::Ended);
    cluster.start();
    assert_eq!(ctl.kill_everything(soon()).unwrap(), Stopped::Ended);
    assert_eq!(ctl.start(None, soon()).unwrap(), Started::Ready);
    assert!(strangers.iter().all(Stranger::lives));
}

#[test]
fn pg_a_server_in_a_mount_namespace_of_its_own_is_the_accounts() {
    let cluster = Cluster::new("hardened");
    // As a unit with PrivateTmp and the like has it: the same directory, another namespace.
    let data = word(&cluster.ctl.pgdata);
    let server = Stranger::new(&cluster.dir, &format!("cd {data}"), &postgres());
    let found = cluster.ctl.processes().unwrap();
    assert_eq!(
        found,
        Process::of(server.pid()).into_iter().collect::<Vec<_>>()
    );
    assert_eq!(cluster.ctl.kill_everything(soon()).unwrap(), Stopped::Ended);
    assert!(!server.lives());
}

#[test]
fn pg_a_number_in_the_file_that_is_of_another_account_is_named_and_left_alone() {
    let cluster = Cluster::new("foreign");
    let ctl = &cluster.ctl;
    let data = word(&ctl.pgdata);
    let stranger = Stranger::new(&cluster.dir, &format!("cd {data}"), &nobody());
    let file = ctl.pgdata.join("postmaster.pid");
    std::fs::write(
        &file,
        format!("{}\n{}\n", stranger.pid(), ctl.pgdata.display()),
    )
    .unwrap();
    let error = ctl.postmaster().unwrap_err().to_string();
    let said = format!("process {} is a postgres of the user id", stranger.pid());
    assert!(error.contains(&said) && error.contains("pgdba"), "{error}");
    assert_eq!(
        ctl.stop(StopMode::Fast, soon()).unwrap(),
        Stopped::WasNotRunning
    );
    assert_eq!(ctl.kill_everything(soon()).unwrap(), Stopped::WasNotRunning);
    let refused = ctl.start(None, soon()).unwrap_err().to_string();
    assert!(refused.contains(&said), "{refused}");
    assert!(ctl.reload().is_err());
    assert!(stranger.lives());
    assert_eq!(server_processes(&ctl.pgdata, &postgres()).unwrap(), []);
}

/// That the account cannot look at its directory says nothing about the server that works in it.
#[test]
fn pg_a_server_in_a_directory_that_cannot_be_looked_at_is_not_gone() {
    let cluster = Cluster::new("shut");
    cluster.start();
    let ctl = &cluster.ctl;
    let open = std::fs::metadata(&cluster.dir).unwrap().permissions();
    std::fs::set_permissions(&cluster.dir, std::fs::Permissions::from_mode(0o000)).unwrap();
    let seen = (ctl.postmaster(), ctl.processes());
    let stops = [StopMode::Fast, StopMode::Immediate, StopMode::Kill];
    let stopped = stops.map(|mode| ctl.stop(mode, soon()).is_ok());
    std::fs::set_permissions(&cluster.dir, open).unwrap();
    assert!(seen.0.is_err() && seen.1.is_err(), "{seen:?}");
    assert_eq!(stopped, [false; 3]);
    assert!(matches!(
        ctl.postmaster().unwrap(),
        Postmaster::Alive { .. }
    ));
}

#[test]
fn pg_a_receiver_is_ended_by_its_kinship_and_not_by_a_number() {
    let primary = Cluster::new("receiver-primary");
    let standby = Cluster::copy_of("receiver-standby", &primary);
    primary.start();
    standby.follow(&primary);
    standby.start();
    let receiver = "select pid from pg_stat_wal_receiver where status = 'streaming'";
    standby.until(&format!("select count(*) from ({receiver}) r"), "1");
    let first = standby.sql(receiver);
    let stranger = Stranger::new(&standby.dir, "cd /", &nobody());
    let other = |kind: &str| {
        let sql = format!("select pid from pg_stat_activity where backend_type = '{kind}'");
        standby.sql(&sql).parse().unwrap()
    };
    let Postmaster::Alive { process, .. } = standby.ctl.postmaster().unwrap() else {
        panic!("the standby does not run");
    };
    // What a view that somebody has put before PostgreSQL's own could name.
    let there = std::process::id().cast_signed();
    for pid in [
        stranger.pid(),
        there,
        process.pid(),
        other("checkpointer"),
        other("startup"),
        1,
    ] {
        let error = standby.ctl.end_receiver(pid).unwrap_err().to_string();
        assert!(error.contains("no WAL receiver of this server"), "{error}");
        assert!(Process::of(pid).is_some(), "{pid}");
    }
    let sender = primary.sql("select pid from pg_stat_replication");
    assert!(standby.ctl.end_receiver(sender.parse().unwrap()).is_err());
    standby.ctl.end_receiver(first.parse().unwrap()).unwrap();
    standby.until(
        &format!("select count(*) from ({receiver} and pid <> {first}) r"),
        "1",
    );
    // One that is gone already needs no end.
    standby.ctl.end_receiver(first.parse().unwrap()).unwrap();
}

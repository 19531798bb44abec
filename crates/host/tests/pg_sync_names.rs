//! How PostgreSQL counts synchronous standbys: by connections, not by names. So no number of two names holds
//! a commit back until both have it, and the form that holds all of them asks for more than can be there.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use common::{Cluster, bin, postgres};
use pha_core::parse::standby_names::StandbyNames;

/// A receiver that acknowledges what it is sent.
struct Receiver(Child);

impl Receiver {
    fn start(of: &Cluster, name: &str, number: u8) -> Self {
        let dir = of.dir.join(format!("wal{number}"));
        std::fs::create_dir(&dir).unwrap();
        let user = postgres();
        chown(&dir, Some(user.uid()), Some(user.gid())).unwrap();
        let conninfo = format!(
            "host=127.0.0.1 port={} user=postgres application_name={name}",
            of.port
        );
        let child = Command::new(bin().join("pg_receivewal"))
            .args(["--synchronous", "--no-loop", "-d", &conninfo, "-D"])
            .arg(&dir)
            .current_dir("/")
            .uid(user.uid())
            .gid(user.gid())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("install the package postgresql-client"))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn name(cluster: &Cluster, names: &StandbyNames) {
    let value = names.to_string();
    cluster.sql(&format!(
        "ALTER SYSTEM SET synchronous_standby_names = '{value}'"
    ));
    cluster.sql("SELECT pg_reload_conf()");
    cluster.until("SHOW synchronous_standby_names", &value);
}

#[test]
fn pg_two_links_of_one_name_count_for_two_and_a_held_commit_passes_on_none() {
    let cluster = Cluster::new("syncnames");
    cluster.start();
    let _links = [1, 2].map(|number| Receiver::start(&cluster, "a", number));
    let streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
    cluster.until(streaming, "2");

    // Nobody is called s, and the commit passes all the same.
    name(&cluster, &StandbyNames::first(2, ["s", "a"]));
    cluster.sql("CREATE TABLE without_s ()");

    name(&cluster, &StandbyNames::held(["s", "a"]));
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    std::thread::scope(|scope| {
        let commit = scope.spawn(|| cluster.sql("CREATE TABLE held ()"));
        cluster.until(waiting, "1");
        let have = "SELECT bool_and(flush_lsn >= pg_current_wal_lsn()) FROM pg_stat_replication";
        cluster.until(have, "t");
        assert_eq!(cluster.sql(waiting), "1", "it passed");
        assert!(!commit.is_finished());
        // It passes as soon as one of them is to have it, and that one has.
        name(&cluster, &StandbyNames::first(1, ["a"]));
        commit.join().unwrap();
    });
}

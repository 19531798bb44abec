//! Whole lives of one node: standalone, as an unmanaged standby, and as a synchronous primary with
//! the built-in lock service, in a cluster whose second node only reports.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use pha_host::clock::Deadline;
use pha_host::lock;
use pha_tests::agent::{World, send};
use pha_tests::pg::{self, Server, eventually};
use rustix::process::Signal;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

/// A node with the built-in lock; the second node has reported less WAL.
struct Locked {
    world: World,
    server: Arc<Server>,
    lock: String,
}

impl Locked {
    fn new(mode: &str) -> Self {
        let server = pg::shared().unwrap();
        let mut world = World::new().unwrap();
        let lock = world.replicated(mode).with_lock_of(&server).unwrap();
        let name = format!("distlock:{lock}").parse().unwrap();
        lock::init(&server.conninfo().parse().unwrap(), &name, soon()).unwrap();
        world.put("transient/node2/pgsql-timeline", "1").unwrap();
        world
            .put("transient/node2/pgsql-xlog-loc", "0000000000000100")
            .unwrap();
        Self {
            world,
            server,
            lock,
        }
    }

    fn row(&self, columns: &str) -> String {
        let sql = format!(
            "select {columns} from distlock where lockname = '{}'",
            self.lock
        );
        self.server.sql(&sql).unwrap()
    }

    fn attribute(&self, name: &str) -> String {
        self.world.get(name).unwrap_or_default()
    }

    fn start(&self) {
        self.world.call("start").run().is(0);
        self.world.notify("post", "start", "node1").run().is(0);
    }

    fn timeline(&self) -> String {
        self.world
            .sql("select timeline_id from pg_control_checkpoint()")
            .unwrap()
    }
}

#[test]
fn standalone_from_probe_to_stop() {
    let world = World::new().unwrap();
    world.call("monitor").run().is(7);
    world.monitor().run().is(7).because("not running");
    world.call("start").run().is(0);
    assert_eq!(world.sql("select pg_is_in_recovery()").unwrap(), "f");
    world.call("start").run().is(0);
    world.call("monitor").run().is(0);
    world.call("status").run().is(0);
    world.monitor().run().is(0);
    world.notify("post", "start", "node1").run().is(0);
    world.call("validate-all").run().is(0);
    world.call("stop").run().is(0);
    world.call("stop").run().is(0);
    world.call("monitor").run().is(7);
    assert!(!world.data().join("standby.signal").exists());
    assert!(!world.dir.join("tmp/rep_mode.conf").exists());
    // Neither Pacemaker's tools nor files of the agent's own are needed.
    for call in world.calls().unwrap() {
        assert!(call.starts_with("tool p"), "{call}");
    }
}

#[test]
fn an_unmanaged_standby_streams_from_its_primary() {
    let primary = World::new().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let port_line = format!("port = {port}");
    primary
        .configure(&["listen_addresses = '127.0.0.1'", &port_line])
        .unwrap();
    let mut primary = primary;
    primary.set("pgport", port.to_string());
    primary.call("start").run().is(0);
    let mut standby = World::empty().unwrap();
    pg::run(
        &pg::bin_directory().unwrap().join("pg_basebackup"),
        &[
            "-D",
            &standby.data().to_string_lossy(),
            "-h",
            &primary.dir.join("pg").to_string_lossy(),
            "-p",
            &port.to_string(),
            "-U",
            "postgres",
            "--no-sync",
            "-c",
            "fast",
        ],
    )
    .unwrap();
    let socket = format!(
        "unix_socket_directories = '{}'",
        standby.dir.join("pg").display()
    );
    standby
        .configure(&["listen_addresses = ''", &socket])
        .unwrap();
    standby
        .set("rep_mode", "slave")
        .set("master_ip", "127.0.0.1")
        .set("pgport", port.to_string())
        .set(
            "primary_conninfo_opt",
            "password=s3cr3t-conninfo keepalives_idle=60",
        );
    standby.call("monitor").run().is(7);
    standby.call("start").run().is(0);
    standby.monitor().run().is(0);
    standby.call("monitor").run().is(0);
    primary
        .sql("create table t as select 42 as answer")
        .unwrap();
    let arrived = || {
        standby
            .sql("select answer from t")
            .is_ok_and(|answer| answer == "42")
    };
    assert!(eventually(Duration::from_secs(30), arrived));
    let name = "select application_name from pg_stat_replication";
    assert_eq!(primary.sql(name).unwrap(), "node1");
    let own = standby.dir.join("tmp/rep_mode.conf");
    let mode = fs::metadata(&own).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(
        fs::read_to_string(&own)
            .unwrap()
            .contains("s3cr3t-conninfo")
    );
    // Promoted behind the cluster's back, it is no standby any more.
    standby.sql("select pg_promote()").unwrap();
    standby.monitor().run().is(1).because("rep_mode is slave");
    standby.call("stop").run().is(0);
    primary.call("stop").run().is(0);
}

#[test]
fn a_synchronous_primary_from_election_to_stop() {
    let node = Locked::new("sync");
    let world = &node.world;
    world.call("monitor").run().is(7);
    node.start();
    assert_eq!(node.attribute("transient/node1/master-pgsql"), "1000");
    assert_eq!(node.attribute("transient/node1/pgsql-status"), "HS:alone");
    assert_eq!(node.attribute("transient/node1/pgsql-timeline"), "1");
    world.monitor().run().is(0);
    world.notify("pre", "promote", "node1").run().is(0);
    world.call("promote").run().is(0);
    assert_eq!(node.row("owner, term, holders"), "node1|1|{node1}");
    assert_eq!(node.attribute("transient/node1/pgsql-status"), "PRI");
    assert_eq!(
        node.attribute("property/pgsql_replication/pgsql_REPL_INFO"),
        "node1|0|0000000000000000"
    );
    assert_eq!(node.timeline(), "1");
    world.notify("post", "promote", "node1").run().is(0);

    // Every monitor renews the lease.
    let before = node.row("extract(epoch from ts)::numeric");
    world.monitor().run().is(8);
    assert_eq!(
        node.attribute("permanent/node1/pgsql-data-status"),
        "LATEST"
    );
    let renewed = node.row(&format!("extract(epoch from ts)::numeric > {before}"));
    assert_eq!(renewed, "t");
    world.call("monitor").run().is(8);
    world.sql("create table t as select 1 as a").unwrap();

    // Demoted, it is a standby, the lock is free and the holders stay.
    world.notify("pre", "demote", "node1").run().is(0);
    world.call("demote").run().is(0);
    assert_eq!(world.sql("select pg_is_in_recovery()").unwrap(), "t");
    assert_eq!(
        node.row("term, holders, expired_time"),
        "1|{node1}|00:00:00"
    );
    world.monitor().run().is(0);
    assert_eq!(node.attribute("transient/node1/master-pgsql"), "1000");

    // Promoted again, nothing has changed but the term.
    world.call("promote").run().is(0);
    assert_eq!(node.row("owner, term, holders"), "node1|2|{node1}");
    assert_eq!(node.timeline(), "1");
    assert_eq!(
        node.attribute("property/pgsql_replication/pgsql_REPL_INFO"),
        "node1|0|0000000000000000"
    );
    world.monitor().run().is(8);

    world.call("stop").run().is(0);
    assert_eq!(node.attribute("transient/node1/pgsql-status"), "STOP");
    assert_eq!(node.row("expired_time"), "00:00:00");
    world.call("monitor").run().is(7);
}

#[test]
fn a_crashed_primary_restarts_in_place() {
    let node = Locked::new("sync");
    let world = &node.world;
    node.start();
    world.call("promote").run().is(0);
    world.sql("create table t as select 7 as a").unwrap();
    assert!(world.crash());
    world.monitor().run().is(7);
    world.call("demote").run().is(0);
    world.call("stop").run().is(0);
    node.start();
    assert_eq!(node.attribute("transient/node1/master-pgsql"), "1000");
    world.call("promote").run().is(0);
    assert_eq!(node.timeline(), "1");
    assert_eq!(node.row("owner, term, holders"), "node1|2|{node1}");
    assert_eq!(world.sql("select a from t").unwrap(), "7");
    assert_eq!(
        node.attribute("property/pgsql_replication/pgsql_REPL_INFO"),
        "node1|0|0000000000000000"
    );
    world.call("stop").run().is(0);
}

#[test]
fn a_promotion_interrupted_after_the_register_is_followed_by_a_new_timeline() {
    let node = Locked::new("sync");
    let world = &node.world;
    node.start();
    world.call("promote").run().is(0);
    world.call("demote").run().is(0);
    let before = world.calls().unwrap().len();
    // The next start of the server hangs, so the agent dies between the register and PostgreSQL.
    world.fault(&["pg_ctl"], Some("hang")).unwrap();
    let mut agent = world.call("promote").spawn();
    let hangs = || {
        let term = node.row("term") == "2";
        term && world.calls().unwrap().len() > before && pg_ctl_pids(world).len() == 1
    };
    assert!(eventually(Duration::from_secs(20), hangs));
    agent.kill().unwrap();
    agent.wait().unwrap();
    for pid in pg_ctl_pids(world) {
        send(pid, Signal::KILL);
    }
    world.fault(&["pg_ctl"], None).unwrap();
    // What Pacemaker does after a failed promotion.
    world.call("demote").run().is(0);
    world.call("stop").run().is(0);
    node.start();
    // Where it cannot be marked what is changed, a node is opened all the same.
    fs::create_dir(world.dir.join("run/pgsql.standby.changed")).unwrap();
    world.call("promote").run().is(0);
    assert_eq!(node.row("owner, term"), "node1|3");
    assert_eq!(node.timeline(), "2");
    let info = node.attribute("property/pgsql_replication/pgsql_REPL_INFO");
    assert!(info.starts_with("node1|1|"), "{info}");
    world.monitor().run().is(8);
    world.call("stop").run().is(0);
}

/// Shims that play pg_ctl for this world and hang.
fn pg_ctl_pids(world: &World) -> Vec<i32> {
    let own = world.dir.join("pgbin/pg_ctl");
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.starts_with(own.as_os_str().as_encoded_bytes())
        })
        .collect()
}

#[test]
fn the_node_with_less_wal_is_not_elected() {
    let node = Locked::new("sync");
    let world = &node.world;
    world
        .put("transient/node2/pgsql-xlog-loc", "00000000FF000000")
        .unwrap();
    node.start();
    assert_eq!(node.attribute("transient/node1/master-pgsql"), "-INFINITY");
    world
        .call("promote")
        .run()
        .is(1)
        .because("node2 has newer data");
    world.monitor().run().is(0);
    // A node that has not reported leaves the choice open.
    fs::remove_file(world.dir.join("cluster/transient/node2/pgsql-xlog-loc")).unwrap();
    let outcome = world.call("promote").run().is(1);
    assert!(
        outcome.reason().contains("node2 has not reported"),
        "{outcome:#?}"
    );
    assert_eq!(node.row("owner, term"), "|0");
    world.call("stop").run().is(0);
}

#[test]
fn a_primary_that_another_node_has_replaced_is_stopped_by_its_monitor() {
    let node = Locked::new("sync");
    let world = &node.world;
    node.start();
    world.call("promote").run().is(0);
    let sql = format!(
        "update distlock set owner = 'node2', term = term + 1, epoch = epoch + 1, holders = '{{node2}}' \
         where lockname = '{}'",
        node.lock
    );
    node.server.sql(&sql).unwrap();
    world
        .monitor()
        .run()
        .is(7)
        .because("another node became the owner");
    assert!(world.processes().is_empty());
    assert_eq!(node.row("owner"), "node2");
    world.call("stop").run().is(0);
    assert_eq!(node.row("owner, term"), "node2|2");
}

/// What it had promised is not known any more (R7).
#[test]
fn a_holder_that_has_lost_its_memory_leaves_the_holders_at_its_start() {
    let node = Locked::new("sync");
    let world = &node.world;
    node.start();
    world.call("promote").run().is(0);
    world.call("stop").run().is(0);
    let sql = format!(
        "update distlock set owner = 'node2', term = term + 1, epoch = epoch + 1, holders = '{{node1,node2}}' \
         where lockname = '{}'",
        node.lock
    );
    node.server.sql(&sql).unwrap();
    fs::remove_file(world.dir.join("state/pgsql.json")).unwrap();
    let outcome = world.call("start").run();
    assert_eq!(node.row("holders"), "{node2}", "{outcome:#?}");
    world.call("stop").run().is(0);
}

#[test]
fn unexpected_texts_are_quoted_and_never_guessed() {
    let node = Locked::new("sync");
    let world = &node.world;
    for text in [
        "node1|one|00",
        "node2",
        "node1|1|00000000070000D0|x",
        "$(id)|1|0",
    ] {
        world
            .put("property/pgsql_replication/pgsql_REPL_INFO", text)
            .unwrap();
        let outcome = world.call("start").run();
        assert!(
            matches!(outcome.code, Some(1 | 5 | 6)),
            "{text}: {outcome:#?}"
        );
        assert!(outcome.reason().contains(text), "{text}: {outcome:#?}");
        assert!(world.processes().is_empty());
    }
    fs::remove_file(
        world
            .dir
            .join("cluster/property/pgsql_replication/pgsql_REPL_INFO"),
    )
    .unwrap();

    // The control file.
    for text in [
        "nonsense no control file at all",
        "nonsense Database cluster state: asleep",
    ] {
        world.fault(&["pg_controldata"], Some(text)).unwrap();
        let outcome = world.call("start").run().is(5);
        assert!(outcome.reason().contains("pg_controldata"), "{outcome:#?}");
        assert!(world.processes().is_empty());
    }
    world
        .fault(
            &["pg_controldata"],
            Some("fail 1 pg_controldata: error: CRC is wrong"),
        )
        .unwrap();
    world.call("start").run().is(5).because("CRC is wrong");
    world.fault(&["pg_controldata"], None).unwrap();

    // An attribute: said, and as good as not there.
    world
        .put("transient/node2/pgsql-xlog-loc", "far away")
        .unwrap();
    let outcome = world.call("start").run().is(0);
    assert!(outcome.stderr.contains("far away"), "{outcome:#?}");
    let outcome = world.notify("post", "start", "node1").run().is(0);
    assert!(outcome.stderr.contains("far away"), "{outcome:#?}");
    assert_eq!(node.attribute("transient/node1/master-pgsql"), "-INFINITY");
    world
        .put("transient/node2/pgsql-xlog-loc", "0000000000000100")
        .unwrap();
    world
        .put("permanent/node1/pgsql-data-status", "LATE\nST")
        .unwrap();
    world.call("promote").run().is(0);
    world.monitor().run().is(8);
    world.call("stop").run().is(0);
}

#[test]
fn a_damaged_history_file_is_quoted() {
    let node = Locked::new("sync");
    let world = &node.world;
    node.start();
    world.call("promote").run().is(0);
    world.call("stop").run().is(0);
    // Another reign was begun elsewhere, so that this node promotes onto timeline 2.
    fs::remove_file(world.dir.join("state/pgsql.json")).unwrap();
    node.start();
    world.call("promote").run().is(0);
    assert_eq!(node.timeline(), "2");
    world.call("stop").run().is(0);
    let history = world.data().join("pg_wal/00000002.history");
    fs::write(&history, "what is this\n").unwrap();
    let outcome = world.call("start").run().is(5);
    assert!(
        outcome.reason().contains("00000002.history"),
        "{outcome:#?}"
    );
    assert!(outcome.reason().contains("what is this"), "{outcome:#?}");
    fs::remove_file(&history).unwrap();
    world
        .call("start")
        .run()
        .is(5)
        .because("history file of timeline 2 is missing");
}

#[test]
fn a_standalone_database_keeps_the_administrators_synchronous_standby_names() {
    let world = World::new().unwrap();
    world
        .configure(&["synchronous_standby_names = 'mine'"])
        .unwrap();
    world.call("start").run().is(0);
    for when in ["pre", "post"] {
        for operation in ["start", "stop", "promote", "demote"] {
            world.notify(when, operation, "node1").run().is(0);
        }
    }
    world.monitor().run().is(0);
    assert_eq!(world.sql("show synchronous_standby_names").unwrap(), "mine");
    assert!(!world.dir.join("tmp/rep_mode.conf").exists());
    world.call("stop").run().is(0);
}

/// The file system of the data was not mounted at boot: what is made in the empty directory would fill the
/// mount point, and lie below the right data when they are back.
#[test]
fn data_that_were_here_are_missed_and_not_made_anew() {
    let locked = Locked::new("sync");
    let world = &locked.world;
    world.call("monitor").run().is(7);
    let (data, aside) = (world.data(), world.data().with_extension("aside"));
    std::fs::rename(&data, &aside).unwrap();
    std::fs::create_dir(&data).unwrap();
    pha_tests::agent::give(&data).unwrap();
    for action in ["validate-all", "start"] {
        let outcome = world.call(action).run().is(5);
        let reason = outcome.reason();
        assert!(reason.contains("seems not to be mounted"), "{reason}");
        assert!(reason.contains("system identifier"), "{reason}");
        // cls_status would have it typed.
        assert!(!reason.contains("run cls_rebuild_slave"), "{reason}");
        assert!(!reason.contains("initdb"), "{reason}");
    }
    std::fs::remove_dir(&data).unwrap();
    std::fs::rename(&aside, &data).unwrap();
    world.call("validate-all").run().is(0);
}

/// Whatever it looks like: what has begun is told before anything else is looked at (R6).
#[test]
fn the_rest_of_a_copy_is_never_started() {
    let world = World::new().unwrap();
    let data = world.data();
    fs::rename(data.join("PG_VERSION"), data.join("VERSION")).unwrap();
    let copies = world.dir.join("state/copies");
    fs::create_dir_all(&copies).unwrap();
    let name = data.to_str().unwrap().replace('/', "%2f");
    let roots = copies.join(format!("{name}.json"));
    let beside = data.with_extension("unfinished");
    let mark = r#"{"method":"pg_rewind","source":"node2"}"#;
    for (path, says) in [
        (&roots, "a pg_rewind into"),
        (&beside, "it shows what the mark"),
    ] {
        fs::write(path, mark).unwrap();
        for action in ["validate-all", "start"] {
            let outcome = world.call(action).run().is(5);
            let reason = outcome.reason();
            assert!(reason.contains(says), "{action}: {reason}");
            assert!(
                reason.contains("run cls_rebuild_slave --keep-old"),
                "{reason}"
            );
        }
        assert!(world.processes().is_empty());
        fs::remove_file(path).unwrap();
    }
    fs::rename(data.join("VERSION"), data.join("PG_VERSION")).unwrap();
    world.call("start").run().is(0);
    world.call("stop").run().is(0);
}

/// A primary that an earlier version has left, whose file on the disk says for whom commits wait, and what a
/// restart of the machine takes away.
#[test]
fn for_whom_commits_wait_is_written_where_a_restart_of_the_machine_takes_it_away() {
    let node = Locked::new("sync");
    let world = &node.world;
    node.start();
    let in_memory = world.dir.join("run/pgsql.names.conf");
    assert!(!in_memory.exists(), "a standby waits for nobody who exists");
    world.call("promote").run().is(0);
    let own = world.dir.join("tmp/rep_mode.conf");
    let written = fs::read_to_string(&own).unwrap();
    let names = || world.sql("show synchronous_standby_names").unwrap();
    assert_eq!(names(), "");
    assert!(in_memory.exists());

    // The file of an earlier version goes on to hold until the first monitor, and nothing is restarted.
    let (kept, earlier): (Vec<_>, Vec<_>) = written.lines().partition(|line| {
        !line.starts_with("synchronous_standby_names") && !line.starts_with("include_if_exists")
    });
    assert_eq!(earlier.len(), 2, "{written}");
    let text = format!("synchronous_standby_names = ''\n{}\n", kept.join("\n"));
    fs::write(&own, text).unwrap();
    fs::remove_file(&in_memory).unwrap();
    world.sql("select pg_reload_conf()").unwrap();
    let began = "select pg_postmaster_start_time()";
    let before = world.sql(began).unwrap();
    world.monitor().run().is(8);
    assert_eq!(fs::read_to_string(&own).unwrap(), written);
    assert!(in_memory.exists());
    assert_eq!((names().as_str(), world.sql(began).unwrap()), ("", before));

    // Without it nothing is acknowledged, until a monitor finds that no other node took over.
    fs::remove_file(&in_memory).unwrap();
    world.sql("select pg_reload_conf()").unwrap();
    let closed = || names().contains("acknowledges no commit");
    assert!(eventually(Duration::from_secs(20), closed));
    world.monitor().run().is(8);
    assert!(eventually(Duration::from_secs(20), || names().is_empty()));
    world.sql("create table t as select 1 as a").unwrap();

    // What is stopped is left to nobody.
    world.call("stop").run().is(0);
    assert!(!in_memory.exists());
}

/// One word in any of its files keeps PostgreSQL from taking up any change: a standby would be opened and its commits
/// go on to wait for one that cannot exist, and what a primary's file says would come with somebody else's reload.
#[test]
fn what_postgresql_does_not_take_up_is_seen_before_anything_is_built_on_it() {
    let node = Locked::new("sync");
    let world = &node.world;
    let config = world.data().join("postgresql.conf");
    let whole = fs::read_to_string(&config).unwrap();
    let in_memory = world.dir.join("run/pgsql.names.conf");
    node.start();
    fs::write(&config, format!("{whole}\nshared_bufers = 1GB\n")).unwrap();
    world.monitor().run().is(0);
    let unfit = node.attribute("transient/node1/pgsql-unfit");
    let kind = "files: PostgreSQL takes up no change of its settings: ";
    assert!(
        unfit.starts_with(kind) && unfit.contains("shared_bufers"),
        "{unfit}"
    );
    assert_eq!(node.attribute("transient/node1/master-pgsql"), "-INFINITY");
    let refused = world.call("promote").run();
    refused.is(1).because("could not open for writing");
    assert_eq!(node.row("term, holders"), "0|{}");

    // It is mended, and nobody has the files read again: the next monitor sees that.
    fs::write(&config, &whole).unwrap();
    world.monitor().run().is(0);
    assert_eq!(node.attribute("transient/node1/pgsql-unfit"), "");
    assert_eq!(node.attribute("transient/node1/master-pgsql"), "1000");
    world.call("promote").run().is(0);
    assert_eq!(node.row("term, holders"), "1|{node1}");

    // An operation was killed after it had written the file, and the server has not read it.
    let names = || world.sql("show synchronous_standby_names").unwrap();
    let written = fs::read_to_string(&in_memory).unwrap();
    fs::write(&in_memory, "synchronous_standby_names = 'ghost'\n").unwrap();
    world.monitor().run().is(8);
    assert_eq!(fs::read_to_string(&in_memory).unwrap(), written);
    world.sql("select pg_reload_conf()").unwrap();
    assert_eq!(names(), "");
    world.call("stop").run().is(0);
}

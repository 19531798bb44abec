//! The guard beside a real PostgreSQL, with a real lock service and, where it matters, a real
//! standby. Pacemaker's part is played by calls of the agent.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pha_host::clock::Deadline;
use pha_host::conninfo::Conninfo;
use pha_host::lock;
use pha_host::process::Process;
use pha_host::sql::{Purpose, Session};
use pha_tests::agent::{World, give, send};
use pha_tests::pg::{self, Server, eventually};
use rustix::process::{Pid, Signal, getsid};

/// Long enough for anything on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The default of `distlock_ttl`.
const LEASE: Duration = Duration::from_secs(3);

/// A primary with its guard, and a lock service of its own.
struct Guarded {
    standby: Option<Standby>,
    world: World,
    server: Server,
    lock: String,
}

impl Guarded {
    fn new(mode: &str, parameters: &[(&str, &str)]) -> Self {
        Self::configured(mode, parameters, &[])
    }

    /// With further lines of postgresql.conf.
    fn configured(mode: &str, parameters: &[(&str, &str)], lines: &[&str]) -> Self {
        let server = Server::start(&[]).unwrap();
        let mut world = World::new().unwrap();
        world.configure(lines).unwrap();
        let lock = world.replicated(mode).with_lock_of(&server).unwrap();
        for (name, value) in parameters {
            world.set(name, *value);
        }
        let name = format!("distlock:{lock}").parse().unwrap();
        let deadline = Deadline::after(PATIENCE);
        lock::init(&server.conninfo().parse().unwrap(), &name, deadline).unwrap();
        world.put("transient/node2/pgsql-timeline", "1").unwrap();
        world
            .put("transient/node2/pgsql-xlog-loc", "0000000000000100")
            .unwrap();
        let guarded = Self {
            standby: None,
            world,
            server,
            lock,
        };
        guarded.promote();
        guarded
    }

    /// As Pacemaker brings up a primary.
    fn promote(&self) {
        let world = &self.world;
        world.call("start").run().is(0);
        world.notify("post", "start", "node1").run().is(0);
        world.call("promote").run().is(0);
        world.notify("post", "promote", "node1").run().is(0);
        assert!(world.guard().is_some(), "no guard after the promotion");
    }

    /// node2 is a holder in the register, as if it had been a standby until now.
    fn with_another_holder(self) -> Self {
        self.set("holders = '{node1,node2}'");
        // The guard sees it with its next renewal.
        self.renewed();
        self
    }

    /// node2 follows this primary, commits wait for it, and it is a holder.
    fn with_standby(mut self) -> Self {
        self.standby = Some(Standby::of(&self.world));
        self.world
            .put("transient/node2/pgsql-status", "HS:async")
            .unwrap();
        assert!(eventually(PATIENCE, || {
            self.world.monitor().run().is(8);
            self.row("holders") == "{node1,node2}"
        }));
        self.renewed();
        self
    }

    fn row(&self, columns: &str) -> String {
        let sql = format!(
            "select {columns} from distlock where lockname = '{}'",
            self.lock
        );
        self.server.sql(&sql).unwrap()
    }

    fn set(&self, what: &str) {
        let sql = format!(
            "update distlock set {what} where lockname = '{}'",
            self.lock
        );
        self.server.sql(&sql).unwrap();
    }

    /// Waits for two renewals that no monitor has made.
    fn renewed(&self) {
        for _ in 0..2 {
            let before = self.row("ts");
            let renewed = eventually(PATIENCE, || self.row("ts") != before);
            assert!(renewed, "no renewal: {}", self.log());
        }
    }

    fn runs(&self) -> bool {
        !self.world.processes().is_empty()
    }

    /// How long it takes until no process of PostgreSQL is left.
    fn gone(&self) -> Duration {
        let began = Instant::now();
        assert!(eventually(PATIENCE, || !self.runs()), "it runs on");
        began.elapsed()
    }

    /// Nothing stops it for several leases.
    fn stays(&self) {
        let stopped = eventually(3 * LEASE, || !self.runs());
        assert!(!stopped, "it was stopped: {}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.world.dir.join("run/pgsql.guard.log")).unwrap_or_default()
    }

    fn reports(&self) -> usize {
        let calls = self.world.calls().unwrap();
        let reports = calls
            .iter()
            .filter(|call| call.starts_with("tool cibadmin") && call.contains("--delete"));
        reports.count()
    }

    fn guard(&self) -> i32 {
        self.world.guard().expect("a guard")
    }

    fn guard_is_gone(&self) {
        assert!(eventually(PATIENCE, || self.world.guard().is_none()));
    }

    fn is_told_once(&self) {
        assert!(
            eventually(PATIENCE, || self.reports() == 1),
            "{}",
            self.log()
        );
        self.guard_is_gone();
        assert_eq!(self.reports(), 1);
    }
}

/// A second PostgreSQL that streams from the first one under the name node2.
struct Standby {
    bin: PathBuf,
    data: String,
}

impl Standby {
    fn of(world: &World) -> Self {
        let bin = pg::bin_directory().unwrap();
        let socket = world.dir.join("pg").to_string_lossy().into_owned();
        let home = world.dir.join("standby");
        fs::create_dir(&home).unwrap();
        give(&home).unwrap();
        let data = home.join("data").to_string_lossy().into_owned();
        pg::run(
            &bin.join("pg_basebackup"),
            &[
                "-h", &socket, "-U", "postgres", "-D", &data, "-X", "stream", "-c", "fast", "-R",
            ],
        )
        .unwrap();
        let log = home.join("log").to_string_lossy().into_owned();
        let options = format!(
            "-c port=6543 -c unix_socket_directories={} -c cluster_name=node2 \
             -c primary_conninfo='host={socket} user=postgres application_name=node2'",
            home.display()
        );
        // Without the settings that the agent gave the primary.
        fs::write(home.join("data/postgresql.auto.conf"), "").unwrap();
        give(&home.join("data/postgresql.auto.conf")).unwrap();
        pg::run(
            &bin.join("pg_ctl"),
            &["-D", &data, "-l", &log, "-o", &options, "-w", "start"],
        )
        .unwrap_or_else(|error| {
            panic!("{error}\n{}", fs::read_to_string(&log).unwrap_or_default())
        });
        Self { bin, data }
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        let arguments = ["-D", &self.data, "-m", "immediate", "-w", "stop"];
        let _ = pg::run(&self.bin.join("pg_ctl"), &arguments);
    }
}

#[test]
fn it_renews_in_a_session_of_its_own_and_ends_with_the_stop() {
    let primary = Guarded::new("sync", &[]);
    let guard = primary.guard();
    let session = getsid(Pid::from_raw(guard)).unwrap();
    assert_eq!(session.as_raw_nonzero().get(), guard);
    primary.renewed();
    // The session that it keeps to PostgreSQL is in no database that others are copied from.
    let place = "select datname from pg_stat_activity where application_name = 'expgsql'";
    assert!(eventually(PATIENCE, || primary.world.sql(place).unwrap() == "postgres"));
    primary.world.sql("create database made").unwrap();
    // Without any monitor the lease never runs out.
    let lapsed = eventually(2 * LEASE, || {
        primary.row("ts + expired_time > now()") != "t"
    });
    assert!(!lapsed);

    // Of root's rights it has those that it uses, and no program that it starts gets others.
    let status = fs::read_to_string(format!("/proc/{guard}/status")).unwrap();
    let value = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().to_owned()
    };
    // KILL, SETGID, SETUID, DAC_OVERRIDE, SYS_PTRACE (capabilities(7)).
    for (set, rights) in [
        ("CapEff:", "00000000000800e2"),
        ("CapPrm:", "00000000000800e2"),
        ("CapInh:", "0000000000000000"),
    ] {
        assert_eq!(value(set), rights, "{set}");
    }
    assert_eq!(value("NoNewPrivs:"), "1");

    // What Pacemaker sends to a process group and systemd to a service does not end it.
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        send(guard, signal);
    }
    primary.renewed();
    assert_eq!(primary.world.guard(), Some(guard));
    assert!(primary.log().contains("SIGTERM"), "{}", primary.log());

    // Never two.
    let second = primary.world.call("guard").run().is(1);
    assert!(second.stderr.contains("another guard"), "{second:?}");
    assert_eq!(primary.world.guard(), Some(guard));

    primary.world.monitor().run().is(8);
    let shown = primary.world.get("transient/node1/pgsql-guard");
    assert_eq!(shown.as_deref(), Some("running"));
    primary.world.call("demote").run().is(0);
    assert_eq!(primary.world.guard(), None);
    assert_eq!(primary.row("expired_time"), "00:00:00", "R8");
    primary.world.call("promote").run().is(0);
    primary.world.monitor().run().is(8);
    assert!(primary.world.guard().is_some());
    primary.world.call("stop").run().is(0);
    assert_eq!(primary.world.guard(), None);
    assert_eq!(primary.reports(), 0, "an orderly stop was reported");
}

#[test]
fn monitor_puts_another_one_in_the_place_of_one_that_is_dead_hangs_or_is_outdated() {
    let mut primary = Guarded::new("sync", &[]);
    let first = primary.guard();
    send(first, Signal::KILL);
    primary.guard_is_gone();
    primary.world.monitor().run().is(8);
    let second = primary.guard();
    primary.renewed();

    // Another parameter, and the same guard does not do any more.
    primary.world.set("distlock_ttl", "4");
    primary.world.monitor().run().is(8);
    let third = primary.guard();
    assert_ne!(second, third);
    primary.renewed();
    assert_eq!(primary.row("expired_time"), "00:00:04");

    send(third, Signal::STOP);
    assert!(eventually(PATIENCE, || {
        primary.world.monitor().run().is(8);
        primary.world.guard() != Some(third)
    }));
    primary.renewed();

    // No lock service, no guard.
    primary.world.set("enable_distlock", "false");
    primary.world.monitor().run().is(8);
    assert_eq!(primary.world.guard(), None);
}

#[test]
fn a_superseded_primary_is_stopped_at_once() {
    let primary = Guarded::new("sync", &[]);
    primary.set("owner = 'node2', term = term + 1, epoch = epoch + 1, holders = '{node2}'");
    primary.gone();
    primary.guard_is_gone();
    let log = primary.log();
    assert!(log.contains("guard-superseded"), "{log}");
    assert_eq!(primary.reports(), 0, "{log}");
    assert_eq!(primary.row("owner"), "node2");
    let found = primary.world.monitor().run().is(7);
    found.because("the guard: node2 owns the register");

    // The next death is not the guard's.
    primary.world.call("demote").run().is(0);
    primary.world.call("start").run().is(0);
    send(primary.world.postmaster().unwrap(), Signal::KILL);
    let ended = || primary.world.processes().is_empty();
    assert!(eventually(PATIENCE, ended));
    let found = primary.world.monitor().run().is(7);
    found.because("its log says why");
}

#[test]
fn a_primary_without_lock_service_and_standby_is_stopped_within_its_lease() {
    for frozen in [false, true] {
        let primary = Guarded::new("sync", &[]).with_another_holder();
        let began = Instant::now();
        if frozen {
            primary.server.signal(Signal::STOP);
        } else {
            primary.server.stop().unwrap();
        }
        primary.gone();
        let took = began.elapsed();
        assert!(took < LEASE, "frozen {frozen}: {took:?}");
        primary.is_told_once();
        let log = primary.log();
        assert!(log.contains("has proven"), "{log}");
    }
}

#[test]
fn an_asynchronous_primary_alone_is_stopped_within_its_lease() {
    let primary = Guarded::new("async", &[]);
    let began = Instant::now();
    primary.server.stop().unwrap();
    primary.gone();
    assert!(began.elapsed() < LEASE, "{:?}", began.elapsed());
}

#[test]
fn a_primary_that_is_the_only_holder_goes_on_without_the_lock_service() {
    let primary = Guarded::new("sync", &[]);
    // The guard sees who is a holder with its first renewal.
    primary.renewed();
    primary.server.stop().unwrap();
    primary.stays();
    primary.server.restart(&[]).unwrap();
    primary.renewed();
}

#[test]
fn a_lost_standby_is_let_go_although_superusers_hold_every_connection() {
    let lines = ["wal_sender_timeout = 2s"];
    let mut primary = Guarded::configured("sync", &[], &lines).with_standby();
    primary.world.sql("create table t ()").unwrap();
    let socket = primary.world.dir.join("pg");
    let place: Conninfo = format!("host={} user=postgres dbname=postgres", socket.display())
        .parse()
        .unwrap();
    let client = || Session::connect(&place, Purpose::AsSet, Deadline::after(PATIENCE));
    let mut clients: Vec<Session> = Vec::new();
    let full = eventually(PATIENCE, || match client() {
        Ok(session) => {
            clients.push(session);
            false
        }
        Err(error) => error.is_too_many_connections(),
    });
    assert!(full, "{} connections", clients.len());
    let busy = primary.world.monitor().run().is(8);
    assert!(busy.stderr.contains("what the guard sees"), "{busy:?}");

    primary.standby = None;
    let mut writer = clients.pop().unwrap();
    let commit = std::thread::spawn(move || {
        writer.simple("create table public.kept ()", Deadline::after(PATIENCE))
    });
    let let_go = eventually(PATIENCE, || {
        primary.world.monitor().run().is(8);
        primary.row("holders") == "{node1}"
    });
    assert!(let_go, "{}", primary.row("holders"));
    // The monitors that follow go on to the names, and to what is shown.
    assert!(eventually(PATIENCE, || {
        primary.world.monitor().run().is(8);
        commit.is_finished()
    }));
    commit.join().unwrap().unwrap();
    assert_eq!(primary.row("owner"), "node1");
    drop(clients);
    primary.world.call("stop").run().is(0);
}

#[test]
fn a_primary_with_a_standby_that_follows_goes_on_without_the_lock_service() {
    for mode in ["sync", "async"] {
        let primary = match mode {
            "sync" => Guarded::new(mode, &[]).with_standby(),
            _ => {
                let mut primary = Guarded::new(mode, &[]);
                primary.standby = Some(Standby::of(&primary.world));
                primary.renewed();
                primary
            }
        };
        primary.server.signal(Signal::STOP);
        primary.stays();
        primary.server.signal(Signal::CONT);
        primary.renewed();
        primary.server.stop().unwrap();
        primary.stays();
        // The standby is gone as well: now nothing proves anything.
        let mut primary = primary;
        primary.standby = None;
        let took = primary.gone();
        assert!(took < LEASE, "{mode}: {took:?}");
    }
}

#[test]
fn a_dead_postmaster_is_told_at_once_and_once() {
    let primary = Guarded::new("sync", &[]);
    send(primary.world.postmaster().unwrap(), Signal::KILL);
    let told = eventually(Duration::from_secs(2), || primary.reports() == 1);
    assert!(told, "{}", primary.log());
    primary.world.monitor().run().is(7);
    primary.world.call("demote").run().is(0);
    assert_eq!(primary.world.guard(), None);
    primary.world.call("stop").run().is(0);
    primary.promote();
    assert_eq!(primary.reports(), 1);

    // Pacemaker does not answer, and the guard goes on.
    let guard = primary.guard();
    let fault = Some("fail 102 Not connected");
    primary.world.fault(&["cibadmin"], fault).unwrap();
    send(primary.world.postmaster().unwrap(), Signal::KILL);
    assert!(eventually(PATIENCE, || primary
        .log()
        .contains("could not be told")));
    assert_eq!(primary.world.guard(), Some(guard));
}

/// Nobody but the guard would end the program that it waits for.
#[test]
fn a_guard_that_is_ended_leaves_no_program_behind() {
    let primary = Guarded::new("sync", &[]);
    let guard = primary.guard();
    primary.world.fault(&["crmadmin"], Some("hang")).unwrap();
    send(primary.world.postmaster().unwrap(), Signal::KILL);
    let process = Process::of(guard).unwrap();
    let mut asked = Vec::new();
    let hangs = eventually(PATIENCE, || {
        asked = process.children().unwrap();
        let line = |child: &Process| fs::read_to_string(format!("/proc/{}/cmdline", child.pid()));
        asked
            .iter()
            .any(|child| line(child).is_ok_and(|line| line.contains("crmadmin")))
    });
    assert!(hangs, "{}", primary.log());
    primary.world.call("demote").run().is(0);
    assert_eq!(primary.world.guard(), None);
    assert!(eventually(PATIENCE, || asked
        .iter()
        .all(|one| !one.is_alive())));
}

#[test]
fn an_administrators_restart_is_no_failure_and_leaves_the_guard_at_work() {
    let primary = Guarded::new("sync", &[]);
    let guard = primary.guard();
    let pg_ctl = pg::bin_directory().unwrap().join("pg_ctl");
    let data = primary.world.data().to_string_lossy().into_owned();
    let log = primary.world.dir.join("pg/log");
    let log = log.to_string_lossy();
    pg::run(&pg_ctl, &["-D", &data, "-m", "fast", "-w", "stop"]).unwrap();
    pg::run(&pg_ctl, &["-D", &data, "-l", &log, "-w", "start"]).unwrap();
    primary.renewed();
    assert_eq!(primary.world.guard(), Some(guard));
    assert_eq!(primary.reports(), 0);
    primary.world.monitor().run().is(8);
}

/// Somebody shuts a directory above the data directory, and the account sees its files no more. The server,
/// which works inside, goes on, and so does its guard; no stop succeeds before the server is gone.
#[test]
fn a_server_whose_files_cannot_be_looked_at_is_not_gone() {
    let primary = Guarded::new("sync", &[]);
    let guard = primary.guard();
    let above = primary.world.dir.join("pg");
    let shut = |mode| fs::set_permissions(&above, fs::Permissions::from_mode(mode)).unwrap();
    shut(0o000);
    primary.renewed();
    assert_eq!(primary.world.guard(), Some(guard));
    let stop = primary.world.call("stop").timeout(LEASE * 3).run();
    assert!(stop.code != Some(0) && primary.runs(), "{stop:#?}");
    shut(0o755);
    primary.world.call("stop").run().is(0);
    assert!(!primary.runs());
}

#[test]
fn a_guard_that_stood_still_asks_the_register_first() {
    let primary = Guarded::new("sync", &[]).with_another_holder();
    let guard = primary.guard();
    send(guard, Signal::STOP);
    let lapsed = || primary.row("ts + expired_time < now()") == "t";
    assert!(eventually(PATIENCE, lapsed));
    send(guard, Signal::CONT);
    primary.renewed();
    assert!(primary.runs(), "{}", primary.log());
    assert!(primary.log().contains("stood still"), "{}", primary.log());

    send(guard, Signal::STOP);
    assert!(eventually(PATIENCE, lapsed));
    primary.set("owner = 'node2', term = term + 1, epoch = epoch + 1, holders = '{node2}'");
    send(guard, Signal::CONT);
    primary.gone();
    assert!(
        primary.log().contains("guard-superseded"),
        "{}",
        primary.log()
    );
}

#[test]
fn a_watchdog_is_fed_and_stopped_at_an_orderly_end() {
    let device = std::env::temp_dir().join(format!("pha-watchdog-{}", std::process::id()));
    fs::write(&device, "").unwrap();
    let primary = Guarded::new("sync", &[("guard_watchdog", device.to_str().unwrap())]);
    let fed = || fs::read(&device).unwrap();
    let before = fed().len();
    assert!(eventually(PATIENCE, || fed().len() > before + 1));
    assert!(fed().iter().all(|byte| *byte == 0));
    primary.world.call("stop").run().is(0);
    assert_eq!(fed().last(), Some(&b'V'));
    fs::remove_file(&device).unwrap();
}

/// Nobody but the guard is there to end a hold, and it has not root's rights to do so.
#[test]
fn a_hold_that_is_left_over_is_ended_by_the_guard() {
    let primary = Guarded::new("sync", &[]).with_standby();
    let run = primary.world.dir.join("run");
    let (links, names) = (run.join("pgsql.links"), run.join("pgsql.names.conf"));
    let mut kept: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&links).unwrap()).unwrap();
    let number = |column: &str| primary.row(column).parse::<u64>().unwrap();
    kept["hold"] = serde_json::json!({
        "term": number("term"), "epoch": number("epoch"), "holder": "node2",
    });
    fs::write(&links, kept.to_string()).unwrap();
    let shown = || {
        let names = primary.world.sql("show synchronous_standby_names");
        names.unwrap()
    };
    let before = shown();
    let held = format!("FIRST 1000000 ({before})");
    fs::write(&names, format!("synchronous_standby_names = '{held}'\n")).unwrap();
    primary.world.sql("select pg_reload_conf()").unwrap();
    assert!(eventually(PATIENCE, || shown() == held));
    let ended = eventually(2 * PATIENCE, || shown() == before);
    assert!(ended, "{}: {}", shown(), primary.log());
}

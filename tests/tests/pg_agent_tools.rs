//! Faults of Pacemaker's tools and of the lock service, operation by operation: what the agent
//! answers is decided by the tables here, and not by what happened to hang.
//!
//! What the expectations rest on: stop ends whatever is broken; a healthy database is not
//! restarted because of somebody else's fault; without the register nobody promotes (R1) and no
//! standby is given up (R3); with the register a promotion does not need Pacemaker's tools, but a
//! start does, since `pgsql_REPL_INFO` is the only thing to check the data against.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use pha_host::clock::Deadline;
use pha_host::lock;
use pha_tests::agent::{NO_CLUSTER, TOOLS, World, give, together};
use pha_tests::pg::{Server, eventually};

/// Pacemaker's timeout for every operation here.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The code of each operation while the fault lasts.
struct Expected {
    monitor_primary: i32,
    notify_primary: i32,
    demote: i32,
    monitor_standby: i32,
    notify_standby: i32,
    promote: i32,
    stop: i32,
    start: i32,
}

const LOCK_FAULT: Expected = Expected {
    monitor_primary: 8,
    notify_primary: 0,
    demote: 0,
    monitor_standby: 0,
    notify_standby: 0,
    promote: 1,
    stop: 0,
    start: 0,
};

const TOOLS_FAULT: Expected = Expected {
    promote: 0,
    start: 1,
    ..LOCK_FAULT
};

const HARMLESS: Expected = Expected {
    promote: 0,
    ..LOCK_FAULT
};

/// The lock service, in which the role `locker` needs a password.
fn service() -> Arc<Server> {
    static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let prepare = |data: &std::path::Path| {
        let path = data.join("pg_hba.conf");
        let text = "host all locker 127.0.0.1/32 md5\n\
                    host all all 127.0.0.1/32 trust\nlocal all all trust\n";
        std::fs::write(&path, text).map_err(|error| error.to_string())?;
        give(&path)
    };
    let server = Arc::new(Server::start_with(&[], prepare).unwrap());
    server
        .sql("set password_encryption = md5; create role locker login superuser password 'right'")
        .unwrap();
    *shared = Arc::downgrade(&server);
    server
}

struct Node {
    world: World,
    server: Arc<Server>,
    lock: String,
}

impl Node {
    fn new() -> Self {
        let server = service();
        let mut world = World::new().unwrap();
        let lock = world.replicated("sync").with_lock_of(&server).unwrap();
        let name = format!("distlock:{lock}").parse().unwrap();
        let soon = Deadline::after(Duration::from_secs(30));
        lock::init(&server.conninfo().parse().unwrap(), &name, soon).unwrap();
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

    /// Starts and promotes; then PostgreSQL waits for a standby that is not there.
    fn primary(&self) {
        self.world.call("start").run().is(0);
        self.world.notify("post", "start", "node1").run().is(0);
        self.world.call("promote").run().is(0);
    }

    fn name_lost_standby(&self) {
        let own = self.world.dir.join("run/pgsql.names.conf");
        let text = std::fs::read_to_string(&own).unwrap();
        let named = text.replace(
            "synchronous_standby_names = ''",
            "synchronous_standby_names = 'node2'",
        );
        assert_ne!(text, named);
        std::fs::write(&own, named).unwrap();
        self.world.sql("select pg_reload_conf()").unwrap();
        let set = || self.names() == "node2";
        assert!(eventually(Duration::from_secs(20), set));
    }

    fn names(&self) -> String {
        self.world.sql("show synchronous_standby_names").unwrap()
    }

    fn is_standby(&self) -> bool {
        self.world.sql("select pg_is_in_recovery()").unwrap() == "t"
    }

    /// Every operation of a primary's and a standby's life under a fault that has begun.
    fn live_through(&self, expected: &Expected) {
        let world = &self.world;
        let answer = |call: pha_tests::agent::Call<'_>, code: i32| {
            let outcome = call.timeout(TIMEOUT).run();
            assert_eq!(outcome.code, Some(code), "{outcome:#?}");
            outcome
        };
        answer(world.monitor(), expected.monitor_primary);
        answer(world.call("monitor"), expected.monitor_primary);
        answer(
            world.notify("post", "start", "node2"),
            expected.notify_primary,
        );
        answer(
            world.notify("pre", "stop", "node2"),
            expected.notify_primary,
        );
        answer(world.call("demote"), expected.demote);
        assert!(self.is_standby());
        answer(world.monitor(), expected.monitor_standby);
        answer(
            world.notify("post", "start", "node2"),
            expected.notify_standby,
        );
        answer(
            world.notify("pre", "promote", "node1"),
            expected.notify_standby,
        );
        let promoted = answer(world.call("promote"), expected.promote);
        assert_eq!(self.is_standby(), expected.promote != 0, "{promoted:#?}");
        answer(world.call("stop"), expected.stop);
        assert!(world.processes().is_empty());
        answer(world.call("start"), expected.start);
        assert_eq!(world.processes().is_empty(), expected.start != 0);
        answer(world.call("stop"), expected.stop);
        assert!(world.processes().is_empty());
    }
}

fn tools(fault: &str, expected: &Expected) {
    let mut node = Node::new();
    node.primary();
    node.world.fault(&TOOLS, Some(fault)).unwrap();
    // Several calls of a tool that hangs have to fit into one operation.
    node.world.set("crm_attr_timeout", "1");
    node.live_through(expected);
    // Once they work again, nothing has been left behind that an operator would have to mend.
    node.world.params.remove("crm_attr_timeout");
    node.world.fault(&TOOLS, None).unwrap();
    node.primary();
    node.world.monitor().run().is(8);
    node.world.call("stop").run().is(0);
}

fn pacemaker_does_not_run() {
    tools(NO_CLUSTER, &TOOLS_FAULT);
}

fn pacemakers_tools_fail() {
    tools(
        "fail 1 crm_attribute: Error: something is wrong",
        &TOOLS_FAULT,
    );
}

fn pacemakers_tools_hang() {
    tools("hang", &TOOLS_FAULT);
}

fn pacemakers_tools_are_slow() {
    tools("slow 50", &HARMLESS);
}

fn pacemakers_tools_print_nonsense() {
    tools("nonsense <cib>what is</this>", &TOOLS_FAULT);
}

fn pacemakers_tools_print_nothing() {
    tools("nonsense", &TOOLS_FAULT);
}

fn only_the_writing_tools_fail() {
    let mut node = Node::new();
    node.primary();
    node.world.set("crm_attr_timeout", "1");
    let writers = ["crm_attribute", "attrd_updater"];
    node.world.fault(&writers, Some("deaf")).unwrap();
    node.live_through(&HARMLESS);
}

fn the_first_promotion_needs_the_reports_of_all_nodes_and_so_the_cluster() {
    let node = Node::new();
    node.world.call("start").run().is(0);
    node.world.fault(&TOOLS, Some(NO_CLUSTER)).unwrap();
    node.world.call("promote").timeout(TIMEOUT).run().is(1);
    assert!(node.is_standby());
    assert_eq!(node.row("owner, term"), "|0");
    node.world.call("stop").run().is(0);
}

/// A service that takes connections and answers them in its own way.
struct Impostor {
    port: u16,
}

impl Impostor {
    fn new(answer: impl Fn(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // It ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                answer(client);
            }
        });
        Self { port }
    }

    fn conninfo(&self) -> String {
        format!(
            "host=127.0.0.1 port={} user=postgres dbname=postgres sslmode=disable",
            self.port
        )
    }
}

fn lock_fault(begin: impl FnOnce(&mut Node), hint: &str) {
    let mut node = Node::new();
    // A lease that outlasts the test: what the guard does when one ends is `pg_guard`'s subject.
    node.world.set("distlock_ttl", "600");
    node.primary();
    node.name_lost_standby();
    let sound = node.world.params.clone();
    begin(&mut node);
    // R3: no register, no change; commits wait.
    let outcome = node.world.monitor().timeout(TIMEOUT).run().is(8);
    assert!(
        outcome.stderr.contains(hint),
        "{hint:?} is not in {outcome:#?}"
    );
    assert_eq!(node.names(), "node2");
    node.live_through(&LOCK_FAULT);
    // With the service back, all goes on without an operator.
    node.world.params = sound;
    assert_eq!(node.row("owner, holders"), "node1|{node1}");
    node.primary();
    assert_eq!(node.world.monitor().run().code, Some(8));
    node.world.call("stop").run().is(0);
}

fn the_lock_service_is_unreachable() {
    let begin = |node: &mut Node| {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = closed.local_addr().unwrap().port();
        let conninfo = format!("host=127.0.0.1 port={port} user=postgres dbname=postgres");
        node.world.set("distlock_conninfo", conninfo);
    };
    lock_fault(begin, "127.0.0.1");
}

fn the_lock_service_is_frozen() {
    let held = Mutex::new(Vec::new());
    let silent = Impostor::new(move |client| held.lock().unwrap().push(client));
    let begin = |node: &mut Node| {
        node.world.set("distlock_conninfo", silent.conninfo());
    };
    lock_fault(begin, "127.0.0.1");
}

fn the_lock_service_answers_nonsense() {
    let garbage = Impostor::new(|mut client| {
        let mut buffer = [0; 64];
        let _ = client.read(&mut buffer);
        let _ = client.write_all(b"HTTP/1.1 200 OK\r\n\r\nnot a database");
    });
    let begin = |node: &mut Node| {
        node.world.set("distlock_conninfo", garbage.conninfo());
    };
    lock_fault(begin, "127.0.0.1");
}

fn the_lock_service_refuses_the_password() {
    let begin = |node: &mut Node| {
        let conninfo = format!(
            "host=127.0.0.1 port={} user=locker password=wrong-s3cr3t dbname=postgres",
            node.server.port
        );
        node.world.set("distlock_conninfo", conninfo);
    };
    lock_fault(begin, "password authentication failed");
}

fn the_lock_services_table_is_missing() {
    let begin = |node: &mut Node| {
        node.world.set("distlock_lockname", "no_such_table:x");
    };
    lock_fault(begin, "init no_such_table:x");
}

fn the_lock_services_row_is_missing() {
    let begin = |node: &mut Node| {
        node.world.set("distlock_lockname", "distlock:no-such-row");
    };
    lock_fault(begin, "damaged");
}

fn the_lock_services_row_is_older_than_what_was_seen() {
    let node = Node::new();
    node.primary();
    node.name_lost_standby();
    let back = format!(
        "update distlock set term = 0, epoch = 0, owner = '', holders = '{{}}' where lockname = '{}'",
        node.lock
    );
    node.server.sql(&back).unwrap();
    let outcome = node.world.monitor().run().is(8);
    let said = "the lock service's row is new (term 0), but this cluster has seen term";
    assert!(outcome.stderr.contains(said), "{outcome:#?}");
    assert_eq!(node.names(), "node2");
    node.live_through(&LOCK_FAULT);
}

#[test]
fn the_register_loses_the_standby_before_postgresql_does() {
    let node = Node::new();
    node.primary();
    node.name_lost_standby();
    let sql = format!(
        "update distlock set holders = '{{node1,node2}}' where lockname = '{}'",
        node.lock
    );
    node.server.sql(&sql).unwrap();
    let epoch: u64 = node.row("epoch").parse().unwrap();
    node.world.monitor().run().is(8);
    assert!(eventually(Duration::from_secs(20), || node
        .names()
        .is_empty()));
    assert_eq!(node.row("holders"), "{node1}");
    assert!(node.row("epoch").parse::<u64>().unwrap() > epoch);
    node.world.call("stop").run().is(0);
}

#[test]
fn a_memory_that_cannot_be_read_promotes_nothing_and_stops_nothing() {
    let node = Node::new();
    node.primary();
    let memory = node.world.dir.join("state/pgsql.json");
    std::fs::write(&memory, "{\"term\": \"many\"}").unwrap();
    let outcome = node.world.monitor().run().is(8);
    assert!(outcome.stderr.contains("many"), "{outcome:#?}");
    node.world.call("demote").run().is(0);
    node.world.monitor().run().is(0);
    node.world.call("promote").run().is(1).because("pgsql.json");
    node.world.call("stop").run().is(0);
}

/// What the register shows is news that cannot be kept, as on a full disk.
#[test]
fn a_memory_that_cannot_be_written_keeps_no_stop_from_its_end() {
    for operation in ["stop", "demote"] {
        let node = Node::new();
        node.primary();
        let news = format!(
            "update distlock set epoch = epoch + 5 where lockname = '{}'",
            node.lock
        );
        node.server.sql(&news).unwrap();
        let lock = node.world.dir.join("state/pgsql.write-lock");
        std::fs::remove_file(&lock).unwrap();
        std::fs::create_dir(&lock).unwrap();
        let outcome = node.world.call(operation).run().is(0);
        assert!(outcome.stderr.contains("write-lock"), "{outcome:#?}");
    }
}

fn external(answer: &str, promote: i32, monitor: i32) {
    let mut world = World::new().unwrap();
    let locker = world.dir.join("pgbin/locker");
    std::os::unix::fs::symlink(world.dir.join("shim"), &locker).unwrap();
    let command = format!("{} @owner", locker.display());
    world
        .replicated("sync")
        .set("enable_distlock", "true")
        .set("distlock_lock_cmd", command.clone())
        .set("distlock_unlock_cmd", command);
    world.put("transient/node2/pgsql-timeline", "1").unwrap();
    world
        .put("transient/node2/pgsql-xlog-loc", "0000000000000100")
        .unwrap();
    world.call("start").run().is(0);
    world.notify("post", "start", "node1").run().is(0);
    world.fault(&["locker"], Some(answer)).unwrap();
    world.call("promote").timeout(TIMEOUT).run().is(promote);
    world.monitor().timeout(TIMEOUT).run().is(monitor);
    world.call("demote").timeout(TIMEOUT).run().is(0);
    world.monitor().timeout(TIMEOUT).run().is(0);
    world.call("stop").timeout(TIMEOUT).run().is(0);
    assert!(world.processes().is_empty());
    assert!(
        world
            .calls()
            .unwrap()
            .iter()
            .any(|call| call.starts_with("tool locker\narg \"pgsql_node1\"\n"))
    );
}

#[test]
fn an_external_lock_that_is_obtained() {
    external("nonsense 1", 0, 8);
    // A command that prints nothing answers by its status.
    external("nonsense", 0, 8);
}

#[test]
fn an_external_lock_that_is_not() {
    let answers = [
        "nonsense 0",
        "nonsense maybe",
        "nonsense 1 1",
        "fail 2 could not connect",
        "hang",
    ];
    let case = |answer| -> (_, Box<dyn FnOnce() + Send>) {
        (answer, Box::new(move || external(answer, 1, 0)))
    };
    together(answers.into_iter().map(case).collect());
}

macro_rules! side_by_side {
    ($name:ident: $($case:ident)*) => {
        #[test]
        fn $name() {
            together(vec![$((stringify!($case), Box::new($case))),*]);
        }
    };
}

side_by_side!(faults_of_pacemakers_tools:
    pacemaker_does_not_run
    pacemakers_tools_fail
    pacemakers_tools_hang
    pacemakers_tools_are_slow
    pacemakers_tools_print_nonsense
    only_the_writing_tools_fail
    the_first_promotion_needs_the_reports_of_all_nodes_and_so_the_cluster
    pacemakers_tools_print_nothing
);

side_by_side!(faults_of_the_lock_service:
    the_lock_service_is_unreachable
    the_lock_service_is_frozen
    the_lock_service_answers_nonsense
    the_lock_service_refuses_the_password
    the_lock_services_table_is_missing
    the_lock_services_row_is_missing
    the_lock_services_row_is_older_than_what_was_seen
);

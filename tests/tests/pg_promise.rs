//! `expgsql promise`: what a node answers when a primary that cannot reach the lock service asks it
//! not to be promoted (R7).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pha_core::names::NodeName;
use pha_core::register::{
    Memory, PromiseAnswer, PromiseAsk, PromiseRequest, Reading, Register, Reign, Reply, Update,
};
use pha_core::timeline::TimelineId;
use pha_host::clock::Deadline;
use pha_host::lock::{self, LockName, LockService};
use pha_host::memory::MemoryFile;
use pha_tests::agent::{World, expgsql};
use pha_tests::pg::{self, Server};

const TTL: Duration = Duration::from_secs(30);

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

/// node2, which is asked, and the register in which node1 is the owner and both are holders.
struct Asked {
    world: World,
    server: Arc<Server>,
    name: LockName,
    row: Register,
}

impl Asked {
    fn new() -> Self {
        let server = pg::shared().unwrap();
        let mut world = World::new().unwrap();
        let lock = world.with_lock_of(&server).unwrap();
        let name: LockName = format!("distlock:{lock}").parse().unwrap();
        lock::init(&server.conninfo().parse().unwrap(), &name, soon()).unwrap();
        let mut asked = Self {
            row: Register::fresh(),
            world,
            server,
            name,
        };
        let first = Update::FirstPrimary {
            node: node("node1"),
            ttl: TTL,
        };
        let row = asked.change(&first);
        let both = [node("node1"), node("node2")].into();
        asked.row = asked.change(&Update::set_holders(&row, node("node1"), both, TTL));
        asked
    }

    fn service(&self) -> LockService {
        LockService::new(self.server.conninfo().parse().unwrap(), self.name.clone())
    }

    fn change(&self, update: &Update) -> Register {
        match self.service().update(update, soon()) {
            Reply::Applied(row) => row,
            other => panic!("{other:?}"),
        }
    }

    fn read(&self) -> Register {
        match self.service().read(soon()) {
            Reading::Row(row) => row,
            other => panic!("{other:?}"),
        }
    }

    fn memory(&self) -> MemoryFile {
        MemoryFile::new(self.world.dir.join("state/pgsql.json"))
    }

    /// What node1 asks; the lock service is where nobody listens.
    fn request(&self) -> PromiseRequest {
        let ask = PromiseAsk {
            node: node("node1"),
            peers: vec![node("node2")],
            term: self.row.term,
            epoch: self.row.epoch,
            ttl: TTL,
        };
        let within = Duration::from_secs(6);
        let mut request =
            PromiseRequest::new(&ask, node("node2"), "pgsql".parse().unwrap(), within);
        request.conninfo = "host=127.0.0.1 port=1 user=postgres dbname=postgres".to_owned();
        request.lock = self.name.to_string();
        request.pgdata = self.world.data().to_string_lossy().into_owned();
        request
    }

    /// The same, with the lock service where it is.
    fn reaching(&self) -> PromiseRequest {
        let mut request = self.request();
        request.conninfo = self.server.conninfo();
        request
    }

    fn spawn(&self) -> Child {
        Command::new(expgsql().unwrap())
            .arg("promise")
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("PHA_STATE_DIR", self.world.dir.join("state"))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn say(&self, text: &[u8]) -> Output {
        let mut child = self.spawn();
        let mut stdin = child.stdin.take().unwrap();
        // It may have had enough before the end.
        let _ = stdin.write_all(text);
        drop(stdin);
        child.wait_with_output().unwrap()
    }

    fn answer(&self, request: &PromiseRequest) -> PromiseAnswer {
        let output = self.say(request.to_json().as_bytes());
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words}");
        PromiseAnswer::of_line(&output.stdout, &node("node2")).unwrap()
    }

    #[track_caller]
    fn refuses(&self, request: &PromiseRequest, why: &str) {
        let before = self.memory().load().unwrap();
        match self.answer(request) {
            PromiseAnswer::Refused(text) => assert!(text.contains(why), "{text}"),
            other => panic!("{other:?} instead of a refusal: {why}"),
        }
        assert_eq!(self.memory().load().unwrap().promised, before.promised);
    }
}

#[test]
fn pg_a_node_promises_while_the_lock_service_is_out_of_reach() {
    let asked = Asked::new();
    let promised = PromiseAnswer::Promised {
        epoch: asked.row.epoch,
    };
    assert_eq!(asked.answer(&asked.request()), promised);
    let memory = asked.memory().load().unwrap();
    assert!(memory.has_promised(asked.row.epoch), "{memory:?}");
    assert_eq!(
        (memory.term, memory.epoch),
        (asked.row.term, asked.row.epoch)
    );
    // The question may come again, because the answer was lost.
    assert_eq!(asked.answer(&asked.request()), promised);

    // Then one that the primary asks with an older view is refused.
    let mut older = asked.request();
    older.epoch -= 1;
    asked.refuses(&older, "the register has moved on");
    let mut replaced = asked.request();
    replaced.term += 1;
    replaced.epoch += 1;
    assert!(matches!(
        asked.answer(&replaced),
        PromiseAnswer::Promised { .. }
    ));
    asked.refuses(&asked.request(), "has been replaced");
}

#[test]
fn pg_a_node_that_reaches_the_lock_service_passes_the_change_on() {
    let asked = Asked::new();
    let PromiseAnswer::Relayed(Reply::Applied(made)) = asked.answer(&asked.reaching()) else {
        panic!("not passed on")
    };
    assert_eq!(made.holders, [node("node1")].into());
    assert_eq!(made.epoch, asked.row.epoch + 1);
    assert!(made.same_but_for_time(&asked.read()));
    let memory = asked.memory().load().unwrap();
    assert_eq!((memory.epoch, memory.promised), (made.epoch, None));

    // The primary's view is out of date now; it gets the row.
    match asked.answer(&asked.reaching()) {
        PromiseAnswer::Relayed(Reply::NotApplied(row)) => assert_eq!(row.epoch, made.epoch),
        other => panic!("{other:?}"),
    }
    // Another node's promotion is told as well.
    asked
        .server
        .sql(&format!(
            "update distlock set owner = 'node3', term = term + 1, epoch = epoch + 1, holders = '{{node3}}' where lockname = '{}'",
            asked.name.name
        ))
        .unwrap();
    match asked.answer(&asked.reaching()) {
        PromiseAnswer::Relayed(Reply::NotApplied(row)) => {
            assert_eq!(row.owner, Some(node("node3")));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn pg_a_lock_service_that_is_there_and_wrong_is_neither_relayed_nor_promised() {
    let asked = Asked::new();
    let mut other_row = asked.reaching();
    other_row.lock = "distlock:nobody".to_owned();
    asked.refuses(&other_row, "no row of this name");
    let mut other_table = asked.reaching();
    other_table.lock = "nothing:x".to_owned();
    asked.refuses(&other_table, "answered an error");
    // The row is older than what this node has seen: it was restored.
    let seen = Memory {
        term: asked.row.term,
        epoch: asked.row.epoch + 5,
        ..Memory::default()
    };
    asked.memory().store(&seen).unwrap();
    let mut later = asked.reaching();
    later.epoch += 5;
    asked.refuses(&later, "restored from a backup");
}

#[test]
fn pg_who_may_be_or_become_primary_gives_no_promise() {
    let asked = Asked::new();
    // Another process promotes this node, and does not end.
    let held = asked.memory().guard(soon()).unwrap();
    let began = Instant::now();
    asked.refuses(&asked.request(), "is promoting");
    assert!(began.elapsed() < asked.request().within, "in time");
    drop(held);

    // It has asked to be promoted, and never heard what came of it.
    let promote = Update::promote(&asked.row, node("node2"), TTL);
    let memory = Memory {
        term: asked.row.term,
        epoch: asked.row.epoch,
        ..Memory::default()
    };
    asked.memory().store(&memory.asking(&promote)).unwrap();
    asked.refuses(&asked.request(), "has asked to be promoted");

    // It was itself promoted at that term: the name leads to the wrong node.
    let asked = Asked::new();
    let reign = Memory {
        reign: Some(Reign {
            term: asked.row.term,
            timeline: TimelineId::FIRST,
        }),
        ..memory
    };
    asked.memory().store(&reign).unwrap();
    asked.refuses(&asked.request(), "lead to the right node");

    // PostgreSQL runs there as a primary, whatever the memory says.
    let asked = Asked::new();
    asked.world.call("start").run().is(0);
    asked.refuses(&asked.request(), "as a primary");
    asked.world.call("stop").run().is(0);
    assert!(matches!(
        asked.answer(&asked.request()),
        PromiseAnswer::Promised { .. }
    ));
}

#[test]
fn pg_what_is_no_request_is_an_error_and_promises_nothing() {
    let asked = Asked::new();
    let good = asked.request().to_json();
    let long = vec![b'['; 1 << 20];
    let cases: Vec<Vec<u8>> = vec![
        vec![],
        b"yes".to_vec(),
        b"{}".to_vec(),
        vec![0xff; 64],
        vec![0; 4096],
        long,
        good.replace("\"epoch\":2", "\"epoch\":-2").into_bytes(),
        good.replace("\"pgsql\"", "\"../pgsql\"").into_bytes(),
        good.replace("\"version\":1", "\"version\":0").into_bytes(),
        good.as_bytes()[..good.len() / 2].to_vec(),
        format!("{good}{good}").into_bytes(),
    ];
    for case in cases {
        let output = asked.say(&case);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{words}");
        assert!(output.stdout.is_empty());
        assert_eq!(words.matches("ocf-exit-reason:").count(), 1, "{words}");
        assert!(!words.contains("panicked"), "{words}");
    }
    // What cannot be used of a well-formed request is refused.
    let mut request = asked.request();
    request.conninfo = "host=h service=x".to_owned();
    asked.refuses(&request, "conninfo");
    let mut request = asked.request();
    request.lock = "t;drop:x".to_owned();
    asked.refuses(&request, "lock");

    // Nothing comes, and the pipe stays open: it ends by itself.
    let mut child = asked.spawn();
    let open = child.stdin.take();
    let began = Instant::now();
    let ended = pg::eventually(Duration::from_secs(30), || {
        child.try_wait().unwrap().is_some()
    });
    assert!(ended, "still waiting after {:?}", began.elapsed());
    drop(open);
    assert!(!child.wait().unwrap().success());
    assert_eq!(asked.memory().load().unwrap(), Memory::default());
}

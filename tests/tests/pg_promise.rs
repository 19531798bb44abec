//! `expgsql promise`: what a node answers when a primary that cannot reach the lock service asks it
//! not to be promoted (R7).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pha_core::names::NodeName;
use pha_core::register::{
    ClusterId, Memory, PromiseAnswer, PromiseAsk, PromiseRequest, Reading, Register, Reign, Reply,
    Update, Withdrawal,
};
use pha_core::timeline::TimelineId;
use pha_host::clock::Deadline;
use pha_host::lock::{self, LockName, LockService};
use pha_host::memory::MemoryFile;
use pha_tests::agent::{World, expgsql};
use pha_tests::pg::{self, Server};

const TTL: Duration = Duration::from_secs(30);

/// A place where nobody listens.
const NOWHERE: &str = "host=127.0.0.1 port=1 user=postgres dbname=postgres";

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
    /// The lock service is where nobody listens, as node2 is configured.
    fn new() -> Self {
        let server = pg::shared().unwrap();
        let mut world = World::new().unwrap();
        world.node = "node2".to_owned();
        world.set("node_list", "node1 node2");
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
        asked.configured("distlock_conninfo", NOWHERE);
        // It has been started before.
        asked.memory().store(&Memory::default()).unwrap();
        asked
    }

    /// The agent of node2 is given another parameter, and looks once.
    fn configured(&mut self, name: &str, value: &str) {
        self.world.set(name, value);
        let _ = self.world.call("monitor").run();
    }

    /// The lock service is where it is.
    fn reaching(&mut self) {
        let conninfo = self.server.conninfo();
        self.configured("distlock_conninfo", &conninfo);
    }

    fn cluster(&self) -> ClusterId {
        ClusterId {
            lock: self.name.to_string(),
            system: None,
        }
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

    /// What node1 asks.
    fn request(&self) -> PromiseRequest {
        let ask = PromiseAsk {
            completes: true,
            node: node("node1"),
            peers: vec![node("node2")],
            term: self.row.term,
            epoch: self.row.epoch,
            ttl: TTL,
        };
        let within = Duration::from_secs(6);
        let resource = "pgsql".parse().unwrap();
        PromiseRequest::new(&ask, node("node2"), resource, self.cluster(), within)
    }

    /// What node1 tells once it has stopped.
    fn withdrawal(&self) -> PromiseRequest {
        let withdrawal = Withdrawal {
            node: node("node1"),
            peers: vec![node("node2")],
            term: self.row.term,
            epoch: self.row.epoch,
            unopened: None,
        };
        let within = Duration::from_secs(6);
        let resource = "pgsql".parse().unwrap();
        PromiseRequest::withdrawal(&withdrawal, node("node2"), resource, self.cluster(), within)
    }

    /// The memory of a node that has seen the row.
    fn seen(&self) -> Memory {
        Memory::default().seeing(&self.row)
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
        PromiseAnswer::of_output(&output.stdout, &node("node2"), &self.cluster()).unwrap()
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

/// Whoever has asked and stopped without relying on the promise ends it, at whatever time that arrives and
/// however often; and nobody ends another promise.
#[test]
fn pg_a_withdrawal_ends_the_promise_that_it_is_of_and_no_other() {
    let asked = Asked::new();
    let withdrawal = asked.withdrawal();
    let withdrawn = PromiseAnswer::Withdrawn {
        epoch: asked.row.epoch,
    };
    asked.memory().store(&asked.seen()).unwrap();
    let asks = |epoch: u64| {
        let mut question = asked.request();
        question.epoch = epoch;
        question
    };
    let promised = |epoch: u64| PromiseAnswer::Promised { epoch };
    let epoch = asked.row.epoch;
    assert_eq!(asked.answer(&asks(epoch)), promised(epoch));
    let term = asked.row.term;
    for (term, epoch) in [(term, epoch - 1), (term, epoch + 1), (term + 1, epoch)] {
        let mut wrong = withdrawal.clone();
        (wrong.term, wrong.epoch) = (term, epoch);
        asked.refuses(&wrong, "nothing to withdraw");
    }
    let mut wrong = withdrawal.clone();
    wrong.node = node("node9");
    asked.refuses(&wrong, "node_list");
    assert!(asked.memory().load().unwrap().has_promised(epoch));
    for _ in 0..2 {
        assert_eq!(asked.answer(&withdrawal), withdrawn);
        assert_eq!(asked.memory().load().unwrap().promised, None);
    }
    asked.refuses(&asks(epoch), "has withdrawn its question");

    // The next question is another one, and the withdrawal comes once more.
    assert_eq!(asked.answer(&asks(epoch + 1)), promised(epoch + 1));
    asked.refuses(&withdrawal, "nothing to withdraw");
    assert!(asked.memory().load().unwrap().has_promised(epoch + 1));

    // The agent of before did not keep whether it relied on a promise.
    let asked = Asked::new();
    let old = asked.request().to_json();
    let before = old.replace(",\"revocable\":true", "");
    assert_ne!(before, old);
    assert!(asked.say(before.as_bytes()).status.success());
    assert_eq!(asked.answer(&asked.request()), promised(epoch));
    asked.refuses(&asked.withdrawal(), "an earlier version");
}

/// A stopped primary that has asked at this epoch tells the others; what it has used it never withdraws,
/// and what it has withdrawn it never uses.
#[test]
fn pg_a_stopped_primary_withdraws_what_it_has_not_used() {
    let mut asked = Asked::new();
    asked.world.node = "node1".to_owned();
    asked.world.replicated("sync");
    let primary = Memory {
        relied: Some(asked.row.epoch),
        reign: Some(Reign {
            term: asked.row.term,
            timeline: TimelineId::FIRST,
        }),
        ..asked.seen()
    };
    let used = primary
        .using(asked.row.term, asked.row.epoch, None)
        .unwrap();
    asked.memory().store(&used).unwrap();
    asked.world.call("stop").run().is(0);
    let known = asked.memory().load().unwrap();
    assert_eq!((known.used, known.withdrawn), (used.used, None));

    std::fs::remove_file(asked.memory().path()).unwrap();
    asked.memory().store(&primary).unwrap();
    // There is no node2 to be told; what counts is on the disk before anybody is.
    asked.world.call("stop").run().is(0);
    let known = asked.memory().load().unwrap();
    assert_eq!(known.withdrawn, Some(asked.row.epoch));
    let used = (asked.memory()).use_promises(asked.row.term, asked.row.epoch, None);
    assert!(used.is_err(), "{used:?}");
}

#[test]
fn pg_a_node_that_reaches_the_lock_service_passes_the_change_on() {
    let mut asked = Asked::new();
    asked.reaching();
    let PromiseAnswer::Relayed(Reply::Applied(made)) = asked.answer(&asked.request()) else {
        panic!("not passed on")
    };
    assert_eq!(made.holders, [node("node1")].into());
    assert_eq!(made.epoch, asked.row.epoch + 1);
    assert!(made.same_but_for_time(&asked.read()));
    let memory = asked.memory().load().unwrap();
    assert_eq!((memory.epoch, memory.promised), (made.epoch, None));

    // The primary's view is out of date now; it gets the row.
    match asked.answer(&asked.request()) {
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
    match asked.answer(&asked.request()) {
        PromiseAnswer::Relayed(Reply::NotApplied(row)) => {
            assert_eq!(row.owner, Some(node("node3")));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn pg_a_lock_service_that_is_there_and_wrong_is_neither_relayed_nor_promised() {
    let mut asked = Asked::new();
    asked.reaching();
    let lock = asked.name.to_string();
    let name = asked.name.clone();
    for (other, why) in [
        ("distlock:nobody", "no row of this name"),
        ("nothing:x", "answered an error"),
    ] {
        asked.configured("distlock_lockname", other);
        asked.name = other.parse().unwrap();
        asked.refuses(&asked.request(), why);
    }
    asked.configured("distlock_lockname", &lock);
    asked.name = name;
    // The row is older than what this node has seen: it was restored.
    let seen = Memory {
        term: asked.row.term,
        epoch: asked.row.epoch + 5,
        ..Memory::default()
    };
    asked.memory().store(&seen).unwrap();
    let mut later = asked.request();
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
    asked.refuses(&asked.request(), "itself promoted");

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

/// S7: an asker chooses neither where this node connects to, nor what it remembers for good, nor how
/// long its promotion lock is held, nor which files there are.
#[test]
fn pg_an_asker_chooses_nothing_of_the_node_that_is_asked() {
    let mut asked = Asked::new();
    asked.reaching();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // As an agent that was not upgraded asks, with a place of its own choice.
    let old = format!(
        r#"{{"version":1,"resource":"pgsql","to":"node2","node":"node1","term":{},"epoch":{},"ttl":{{"secs":86400,"nanos":0}},"within":{{"secs":3600,"nanos":0}},"conninfo":"host=127.0.0.1 port={port} user=postgres","lock":"{}","pgdata":"/nowhere"}}"#,
        asked.row.term, asked.row.epoch, asked.name
    );
    let output = asked.say(old.as_bytes());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.starts_with(r#"{"version":1,"node":"node2","answer":{"relayed""#),
        "{text}"
    );
    let row = asked.read();
    assert_eq!(
        (row.holders, row.ttl),
        ([node("node1")].into(), Duration::from_secs(3))
    );
    listener.set_nonblocking(true).unwrap();
    assert!(
        listener.accept().is_err(),
        "it has connected where it was told to"
    );

    // Numbers that it could not come back from.
    let mut asked = Asked::new();
    for (term, epoch) in [(1, i64::MAX as u64 - 2), (i64::MAX as u64 - 2, 1)] {
        let json = asked.request().to_json();
        let json = json.replace("\"term\":1", &format!("\"term\":{term}"));
        let json = json.replace("\"epoch\":2", &format!("\"epoch\":{epoch}"));
        let output = asked.say(json.as_bytes());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
    let mut far = asked.request();
    far.epoch = (1 << 21) + 1;
    asked.refuses(&far, "2^20");
    assert!(asked.memory().load().unwrap().epoch < 3);

    // Another name, another node, another cluster.
    let mut wrong = asked.request();
    wrong.to = node("node3");
    asked.refuses(&wrong, "this is node2 and not node3");
    let mut wrong = asked.request();
    wrong.node = node("node9");
    asked.refuses(&wrong, "node_list");
    let mut wrong = asked.request();
    wrong.cluster.lock = "distlock:another".to_owned();
    asked.refuses(&wrong, "another cluster");
    let mut wrong = asked.request();
    wrong.cluster.system = Some("7".to_owned());
    asked.refuses(&wrong, "system identifier");

    // A resource that the agent does not know leaves nothing behind.
    let before = files(&asked);
    for name in ["other", "pgsql2", "a.b"] {
        let mut unknown = asked.request();
        unknown.resource = name.parse().unwrap();
        let output = asked.say(unknown.to_json().as_bytes());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }
    assert_eq!(files(&asked), before);
    // A trial neither.
    let (me, to) = (node("node1"), node("node2"));
    let resource = "pgsql".parse().unwrap();
    let trial = PromiseRequest::trial(me, to, resource, asked.cluster(), TTL);
    assert_eq!(asked.answer(&trial), PromiseAnswer::Ready);
    assert_eq!(files(&asked), before);
    asked.configured("distlock_conninfo", "host=x password='it is secret'");
    let path = asked.world.dir.join("state/pgsql.conf");
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

/// The state directory's files with what is in them.
fn files(asked: &Asked) -> Vec<(String, String)> {
    let directory = asked.world.dir.join("state");
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path.to_string_lossy().into_owned(), text)
        })
        .collect();
    files.sort();
    files
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
        good.replace("\"version\":2", "\"version\":0").into_bytes(),
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

/// What it had promised, or asked for itself, is not known any more.
#[test]
fn pg_a_node_without_a_memory_promises_nothing() {
    let asked = Asked::new();
    std::fs::remove_file(asked.memory().path()).unwrap();
    match asked.answer(&asked.request()) {
        PromiseAnswer::Refused(why) => assert!(why.contains("has no memory"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert!(
        !asked.memory().path().exists(),
        "nor does it look as if it had one"
    );
}

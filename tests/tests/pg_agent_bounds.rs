//! Inputs of megabytes where there should be a few bytes: every operation answers in its time, and what
//! runs goes on running.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::time::{Duration, Instant};

use pha_tests::agent::{World, give};

/// Pacemaker's timeout for every operation here.
const TIMEOUT: Duration = Duration::from_secs(30);

struct Node(World);

impl Node {
    fn new() -> Self {
        let mut world = World::new().unwrap();
        world.replicated("async");
        world.put("transient/node2/pgsql-timeline", "1").unwrap();
        world
            .put("transient/node2/pgsql-xlog-loc", "0000000000000100")
            .unwrap();
        Self(world)
    }

    /// Runs an operation, which has to answer long before its time is over.
    #[track_caller]
    fn answers(&self, operation: &str, code: i32) -> String {
        let began = Instant::now();
        let call = match operation {
            "monitor" => self.0.monitor(),
            other => self.0.call(other),
        };
        let outcome = call.timeout(TIMEOUT).run();
        let spent = began.elapsed();
        assert_eq!(
            outcome.code,
            Some(code),
            "{operation}: {}",
            outcome.reason()
        );
        assert!(spent < TIMEOUT / 2, "{operation}: {spent:?}");
        for reason in outcome.reasons() {
            assert!(reason.len() < 1200, "{operation}: {} bytes", reason.len());
        }
        outcome.reason().to_owned()
    }

    fn primary(&self) {
        self.answers("start", 0);
        self.0.notify("post", "start", "node1").run().is(0);
        self.answers("promote", 0);
        self.answers("monitor", 8);
    }
}

#[test]
fn millions_of_lines_of_settings_keep_nobody_waiting() {
    let node = Node::new();
    let auto = node.0.data().join("postgresql.auto.conf");
    let lines = "primary_conninfo = 'host=192.0.2.1 port=1'\n".repeat(14_700_000 / 43);
    fs::write(&auto, &lines).unwrap();
    give(&auto).unwrap();
    node.primary();
    fs::write(&auto, &lines).unwrap();
    node.answers("monitor", 8);
    node.answers("demote", 0);
    node.answers("stop", 0);
    node.answers("start", 0);
    assert_eq!(fs::read_to_string(&auto).unwrap(), "");
    node.answers("monitor", 0);
    node.answers("stop", 0);
}

#[test]
fn attributes_of_megabytes_keep_nobody_waiting() {
    let node = Node::new();
    node.primary();
    let value = "9".repeat(2 << 20);
    for name in [
        "status",
        "timeline",
        "xlog-loc",
        "master-baseline",
        "receiver-status",
        "guard",
        "unfit",
        "flushed",
    ] {
        let place = format!("transient/node2/pgsql-{name}");
        node.0.put(&place, &value).unwrap();
    }
    for name in ["data-status", "incarnation"] {
        let place = format!("permanent/node2/pgsql-{name}");
        node.0.put(&place, &value).unwrap();
    }
    node.answers("monitor", 8);
    node.answers("demote", 0);
    node.answers("monitor", 0);
    node.answers("stop", 0);
    node.answers("monitor", 7);
}

#[test]
fn an_information_base_of_any_shape_keeps_nobody_waiting() {
    let node = Node::new();
    node.primary();
    let attributes: String = (0..800_000)
        .map(|number| format!(" a{number}=\"\""))
        .collect();
    let namespaces: String = (0..400_000)
        .map(|number| format!(" xmlns:a{number}=\"b\""))
        .collect();
    for text in [
        format!("<cib{attributes}/>"),
        format!("<cib{namespaces}/>"),
        format!("<cib>{}", "<a>".repeat(3_000_000)),
        "<a/>".repeat(9 << 20),
    ] {
        let fault = format!("nonsense {text}");
        node.0.fault(&["cibadmin"], Some(&fault)).unwrap();
        node.answers("monitor", 8);
    }
    node.answers("demote", 0);
    node.answers("monitor", 0);
    node.answers("stop", 0);
    // A start needs to know what the data are to be checked against: it waits for that as long as it
    // may, and says why it could not.
    let short = node.0.call("start").timeout(Duration::from_secs(10)).run();
    short.is(1).because("32 MiB");
    node.0.fault(&["cibadmin"], None).unwrap();
    node.answers("start", 0);
    node.answers("stop", 0);
}

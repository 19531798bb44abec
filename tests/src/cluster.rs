//! Clusters for the tests: made, written to, waited for, and judged.
//!
//! At most two clusters are up at a time, whatever number of threads the test runner uses: each is
//! a dozen daemons, and what they would do to each other's timing is no part of any test.

use std::fmt::Display;
use std::io::Write as _;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use pha_testbed::{Cluster, ClusterBuilder, Node, PGDATA, Verdict, Writer, WriterPlan};

pub use crate::cluster_agree::{Register, Rest, State, agree, agree_without_register, register};

/// How long anything that must come about may take on a busy machine. Longer than the two minutes
/// after which Pacemaker gives an action up whose answer got lost while two coordinators met.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// How long one command on a node may take.
pub const SHORT: Duration = Duration::from_secs(30);

/// The promotable clone.
pub const CLONE: &str = pha_testbed::pacemaker::CLONE;

const AT_ONCE: u32 = 2;

static UP: Mutex<u32> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

struct Slot;

impl Slot {
    fn take() -> Slot {
        let mut up = UP.lock().unwrap_or_else(PoisonError::into_inner);
        while *up >= AT_ONCE {
            up = FREED.wait(up).unwrap_or_else(PoisonError::into_inner);
        }
        *up += 1;
        Slot
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *UP.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        FREED.notify_one();
    }
}

/// Does something that makes a cluster of its own, once there is room for it.
pub fn where_there_is_room<T>(work: impl FnOnce() -> T) -> T {
    let _slot = Slot::take();
    work()
}

/// A cluster of a test. A failing test leaves its wreck (see `docs/testbed.md`).
pub struct Bed {
    cluster: Cluster,
    writers: AtomicU32,
    _slot: Slot,
}

impl Deref for Bed {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

/// The value, or the end of the test with what went wrong.
#[track_caller]
pub fn must<T, E: Display>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

/// Says on standard error what the test does next, so that a failure can be placed.
pub fn scenario(what: &str) {
    say(&format!("\n=== {what}"));
}

/// One line on standard error.
pub fn say(text: &str) {
    // Nobody is there to read it: then it need not be written either.
    let _ = writeln!(std::io::stderr(), "{text}");
}

impl Bed {
    /// Makes the cluster once there is room for it.
    #[must_use]
    pub fn up(builder: ClusterBuilder) -> Bed {
        let slot = Slot::take();
        let cluster = must(builder.up());
        Bed {
            cluster,
            writers: AtomicU32::new(0),
            _slot: slot,
        }
    }

    /// Two nodes in synchronous replication, settled, node1 the primary.
    #[must_use]
    pub fn replicating(name: &str) -> Bed {
        let bed = Bed::up(ClusterBuilder::new(name).configured(true));
        bed.settle("node1", &["node2"]);
        bed
    }

    /// Waits for a condition that must come about.
    #[track_caller]
    pub fn until<T>(&self, what: &str, probe: impl FnMut() -> Result<T, String>) -> T {
        must(self.cluster.wait(what, PATIENCE, probe))
    }

    /// Waits until everything agrees on this primary and these standbys; nothing else runs.
    #[track_caller]
    pub fn settle(&self, primary: &str, standbys: &[&str]) -> State {
        self.until(
            &format!("agreement on primary {primary}, standbys {standbys:?}"),
            || {
                let state = agree(&self.cluster)?;
                if state.primary == primary && state.standbys == standbys {
                    Ok(state)
                } else {
                    Err(format!("agreement on {state:?}"))
                }
            },
        )
    }

    /// Starts another writer through the writer VIP.
    #[must_use]
    #[track_caller]
    pub fn writer(&self) -> Writer {
        let number = self.writers.fetch_add(1, Ordering::Relaxed) + 1;
        let plan = WriterPlan::new(number).pace(Duration::from_millis(5));
        must(self.cluster.start_writer(&plan))
    }

    /// Starts another writer to this node's own address.
    #[must_use]
    #[track_caller]
    pub fn writer_to(&self, node: &str) -> Writer {
        let number = self.writers.fetch_add(1, Ordering::Relaxed) + 1;
        let plan = WriterPlan::new(number)
            .to(&self.node(node).address())
            .pace(Duration::from_millis(5));
        must(self.cluster.start_writer(&plan))
    }

    /// The checker's verdict, which must be clean on all nodes that serve.
    #[track_caller]
    pub fn verdict(&self) -> Verdict {
        let state = self.until("agreement for the verdict", || agree(&self.cluster));
        let mut nodes = vec![state.primary.as_str()];
        nodes.extend(state.standbys.iter().map(String::as_str));
        let verdict = must(self.check(&nodes, Duration::from_secs(10)));
        say(&verdict.to_string());
        assert!(verdict.clean(), "{verdict}");
        verdict
    }

    /// Ends the writer, waits for the agreement that is expected, and takes the verdict.
    #[track_caller]
    pub fn conclude(&self, writer: Writer, primary: &str, standbys: &[&str]) -> State {
        must(writer.stop());
        let state = self.settle(primary, standbys);
        let _ = self.verdict();
        state
    }

    /// Runs a program on a node; a failure ends the test.
    #[track_caller]
    pub fn run(&self, node: &str, argv: &[&str]) -> String {
        must(self.node(node).run(argv, SHORT)).stdout
    }

    /// `crm_resource --cleanup` for the clone.
    #[track_caller]
    pub fn cleanup(&self, on: &str) {
        self.run(on, &["crm_resource", "--cleanup", "--resource", CLONE]);
    }

    /// Failures of PostgreSQL that Pacemaker has counted on `node`; `INFINITY` is a ban.
    #[track_caller]
    pub fn fail_count(&self, ask: &str, node: &str) -> String {
        let argv = [
            "crm_failcount",
            "--query",
            "--resource",
            "pgsql",
            "--node",
            node,
        ];
        let text = self.run(ask, &argv);
        match text.trim().rsplit_once("value=") {
            Some((_, value)) => value.to_owned(),
            None => panic!("crm_failcount answered {text:?}"),
        }
    }

    /// What an administrator sees of failures: `crm_mon` with the exit reasons.
    #[track_caller]
    pub fn monitor_text(&self, ask: &str) -> String {
        self.run(ask, &["crm_mon", "-1", "-A", "-r", "-f"])
    }

    /// How often the agent's log on a node holds this text.
    #[track_caller]
    pub fn logged(&self, node: &str, text: &str) -> usize {
        let log = must(self.node(node).read("/var/log/pacemaker/pacemaker.log"));
        String::from_utf8_lossy(&log).matches(text).count()
    }

    /// The number of processes of the database on a node.
    #[must_use]
    pub fn server_processes(&self, node: &str) -> usize {
        let mine = |process: &pha_testbed::Process| process.comm == "postgres";
        self.node(node)
            .processes()
            .iter()
            .filter(|p| mine(p))
            .count()
    }

    /// Copies the database of `source` to `node` again, as an administrator would whose node was
    /// refused, and lets Pacemaker forget the refusal.
    #[track_caller]
    pub fn rebuild(&self, node: &str, source: &str) {
        assert_eq!(self.server_processes(node), 0, "PostgreSQL runs on {node}");
        let address = self.node(source).address();
        self.run(node, &["rm", "-rf", PGDATA]);
        let program = format!("{}/pg_basebackup", must(pha_testbed::packages::bin_dir()));
        let argv = [
            program.as_str(),
            "-h",
            &address,
            "-U",
            "replication",
            "-D",
            PGDATA,
            "-X",
            "stream",
            "--checkpoint=fast",
        ];
        must(self.node(node).as_postgres(&argv, PATIENCE));
        self.cleanup(source);
    }

    /// After a node that was primary has come back under another primary: it follows by itself,
    /// or it has WAL that nobody acknowledged, is refused with the command that repairs it, and is
    /// rebuilt. Which of the two depends on what was in flight. Whether it was refused.
    #[track_caller]
    pub fn rejoin(&self, node: &str, primary: &str) -> bool {
        let refused = self.until(&format!("{node} following {primary} or refused"), || {
            let state = agree(&self.cluster)?;
            let text = self.refusal(primary, node);
            match text {
                Some(_) => Ok(true),
                None if state.standbys == [node] => Ok(false),
                None => Err(format!("{state:?}")),
            }
        });
        if refused {
            say(&format!(
                "{node} was refused, and is rebuilt from {primary}"
            ));
            self.rebuild(node, primary);
        }
        self.settle(primary, &[node]);
        refused
    }

    /// The exit reason with which `node` was refused, if it was and still is.
    #[must_use]
    pub fn refusal(&self, ask: &str, node: &str) -> Option<String> {
        let text = self.monitor_text(ask);
        text.lines()
            .find(|line| line.contains(&format!("on {node} ")) && line.contains("cls_repair_slave"))
            .map(str::to_owned)
    }
}

/// A node's answer as an error to wait on.
pub fn asked(node: &Node, argv: &[&str]) -> Result<String, String> {
    node.run(argv, SHORT)
        .map(|output| output.text().to_owned())
        .map_err(|error| error.to_string())
}

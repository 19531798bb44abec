//! After the faults: everything is healed, and an operator does what the manual says and nothing
//! else, until the cluster has come to rest.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::health;
use super::inflict::go_on_database;
use super::settings;
use super::stage::{CLS, Event, REBUILD, Stage};
use crate::node::Node;
use crate::writer::now_us;

/// Within this time a cluster must have come to rest. Longer than the two minutes after which
/// Pacemaker gives an action up whose answer was lost while two coordinators met, and than the
/// repair of a node after that.
const LIMIT: Duration = Duration::from_secs(300);
/// How long an operator looks on before clearing failures that Pacemaker has counted.
const CLEANUP_AFTER: Duration = Duration::from_secs(20);
/// And before doing so again.
const CLEANUP_AGAIN: Duration = Duration::from_secs(45);
/// How long one command may take.
const COMMAND: Duration = Duration::from_secs(150);
/// How long an operator waits for the whole cluster to start before `cls_status` is looked at again:
/// it may name more now.
const START: Duration = Duration::from_secs(45);

/// How a cluster came to rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recovery {
    pub(super) primary: String,
    pub(super) took: Duration,
    /// Commands that the operator had to type before that.
    pub(super) commands: u32,
}

/// Ends what faults have left: every step undoes itself, but may have failed to.
pub(super) fn heal(stage: &Stage<'_>) -> crate::Result<()> {
    stage.lose_nothing()?;
    for node in stage.cluster.nodes() {
        if !node.is_on() {
            stage.boot(node.name())?;
        }
        node.thaw()?;
        node.set_clock(0)?;
        node.free_data_disk()?;
        stage.cluster.link(node.name(), true)?;
        node.end_receivers();
        node.end_copy()?;
    }
    for node in stage.cluster.databases() {
        go_on_database(&node);
        settings::settle(stage.limit(), &node)?;
        node.empty_archive()?;
        stage.start_daemons(&node)?;
    }
    stage.cluster.lock_service()?.start()
}

/// Waits until the cluster has come to rest, with an operator at hand.
///
/// # Errors
/// It does not within the time that it has: what is not right then.
pub(super) fn recover(stage: &Stage<'_>) -> Result<Recovery, String> {
    let begin = Instant::now();
    let mut operator = Operator {
        stage,
        begin,
        commands: 0,
        cleaned: None,
        hopeless: BTreeSet::new(),
        carried_out: BTreeSet::new(),
    };
    loop {
        let wrong = match health::primary(stage.cluster) {
            Ok(primary) => match health::status(stage.cluster, &primary) {
                Ok(()) => {
                    return Ok(Recovery {
                        primary,
                        took: begin.elapsed(),
                        commands: operator.commands,
                    });
                }
                // Everything runs; what it complains about is history that an operator clears.
                Err(wrong) => {
                    operator.cleanup_if_failed();
                    wrong
                }
            },
            Err(wrong) => wrong,
        };
        if begin.elapsed() > LIMIT {
            return Err(format!(
                "the cluster has not come to rest within {} s after everything was healed: {wrong}",
                LIMIT.as_secs()
            ));
        }
        operator.act();
        std::thread::sleep(Duration::from_millis(500));
    }
}

struct Operator<'s, 'a> {
    stage: &'s Stage<'a>,
    begin: Instant,
    commands: u32,
    cleaned: Option<Instant>,
    /// Nodes that `cls_repair_slave` could not mend.
    hopeless: BTreeSet<String>,
    /// What was carried out, of what is carried out once.
    carried_out: BTreeSet<String>,
}

impl Operator<'_, '_> {
    /// What a person does who sees the cluster as it is now.
    fn act(&mut self) {
        let Some(desk) = self.desk() else {
            return;
        };
        let orders = orders(&desk);
        let ordered = |command: &str| orders.iter().any(|order| order == command);
        let stage = self.stage;
        if ordered("cls_start") {
            self.typed("cls_start", || stage.cls(&desk, &["start"], START));
            return;
        }
        if ordered("cls_manage") {
            self.typed("cls_manage", || stage.cls(&desk, &["manage"], START));
        }
        for node in self.stage.cluster.databases() {
            if ordered(&format!("cls_unstandby_node {}", node.name())) {
                self.command(&desk, &["unstandby_node", node.name()]);
            }
        }
        for node in self.stage.cluster.databases() {
            self.start_pacemaker(&node, &orders);
            self.replace_pacemakerd(&desk, &node);
        }
        let text = picture(&desk);
        for node in self.stage.cluster.databases() {
            self.repair(&node, &text);
            self.rebuild(&node, &orders);
            self.restart_standby(&desk, &node, &orders);
        }
        let since = self.cleaned.unwrap_or(self.begin).elapsed();
        let patience = self.cleaned.map_or(CLEANUP_AFTER, |_| CLEANUP_AGAIN);
        let named = orders.iter().any(|order| order.contains("cls_cleanup"));
        if since > patience && (named || failed(&text)) {
            self.cleaned = Some(Instant::now());
            self.command(&desk, &["cleanup"]);
        }
    }

    /// A node on which Pacemaker has ended for good, which is out of the cluster by then.
    fn start_pacemaker(&mut self, node: &Node, orders: &[String]) {
        let order = format!("on {}: systemctl start corosync pacemaker", node.name());
        if self.due(&order) && orders.iter().any(|said| said.starts_with(&order)) {
            self.carried_out.insert(order);
            self.typed("start of corosync and Pacemaker", || {
                self.stage.start_daemons(node)?;
                Ok((0, node.name().to_owned()))
            });
        }
    }

    /// Whether an order that needs no hurry may be carried out now: not before there was time for it
    /// to become needless, and not twice.
    fn due(&self, order: &str) -> bool {
        self.begin.elapsed() > CLEANUP_AFTER && !self.carried_out.contains(order)
    }

    /// A node on which Pacemaker has lost a daemon for good says so itself, and to be left unmanaged meanwhile where it
    /// has the primary.
    fn replace_pacemakerd(&mut self, desk: &Node, node: &Node) {
        const ORDER: &str = "pkill -KILL -x pacemakerd; systemctl start pacemaker";
        let done = format!("{ORDER} on {}", node.name());
        let there = format!("on {}: {ORDER}", node.name());
        let meant =
            |said: &String| said.contains(&there) || said.ends_with(&format!("so: {ORDER}"));
        let Some(order) = orders(node)
            .into_iter()
            .find(|said| meant(said) && self.due(&done))
        else {
            return;
        };
        self.carried_out.insert(done);
        let by_hand = order.contains("cls_unmanage");
        if by_hand {
            self.command(desk, &["unmanage"]);
        }
        self.typed("another pacemakerd", || {
            self.stage.cluster.replace_pacemakerd(node.name())?;
            Ok((0, node.name().to_owned()))
        });
        if by_hand {
            self.command(desk, &["manage"]);
        }
    }

    /// Where the operator types: where the primary is, or else on any node, but on one where Pacemaker answers
    /// while there is any.
    fn desk(&self) -> Option<Node> {
        let primary = self.stage.watch.primary();
        let nodes = self.stage.cluster.databases().into_iter();
        let mut on: Vec<Node> = nodes.filter(Node::is_on).collect();
        on.sort_by_cached_key(|node| {
            let others = Some(node.name().to_owned()) != primary;
            (picture(node).is_empty(), others)
        });
        on.into_iter().next()
    }

    /// A node that was refused says which command mends it, and to type it there. If that one
    /// cannot, the other can.
    fn repair(&mut self, node: &Node, text: &str) {
        let there = format!("on {} ", node.name());
        let mut lines = text.lines().filter(|line| line.contains(&there));
        let orders = ["run cls_repair_slave", "run cls_rebuild_slave"];
        let Some(line) = lines.find(|line| orders.iter().any(|order| line.contains(order))) else {
            return;
        };
        if runs_postgres(node) {
            return;
        }
        let name = node.name().to_owned();
        let words: &[&str] = if self.hopeless.contains(&name) || line.contains(orders[1]) {
            REBUILD
        } else if line.contains("run cls_repair_slave --or-rebuild") {
            &["repair_slave", "--or-rebuild"]
        } else {
            &["repair_slave"]
        };
        // 10: a precondition is not met yet, which says nothing of what pg_rewind can do.
        if !matches!(self.command(node, words), Some(0 | 10)) {
            self.hopeless.insert(name);
        }
    }

    /// A standby that runs, and whose WAL the primary does not have any more.
    fn rebuild(&mut self, node: &Node, orders: &[String]) {
        let order = format!("on {}: cls_rebuild_slave --keep-old", node.name());
        if self.due(&order) && orders.contains(&order) && runs_postgres(node) {
            self.carried_out.insert(order);
            self.command(node, REBUILD);
        }
    }

    /// A standby that was started by hand, or whose limit was raised since.
    fn restart_standby(&mut self, desk: &Node, node: &Node, orders: &[String]) {
        let name = node.name();
        let both = [
            format!("cls_standby_node {name}"),
            format!("cls_unstandby_node {name}"),
        ];
        let named = |order: &&String| both.iter().all(|command| order.contains(command));
        let order = format!("standby and back: {name}");
        if self.due(&order) && orders.iter().any(|said| named(&said)) {
            self.carried_out.insert(order);
            if self.command(desk, &["standby_node", name]) == Some(0) {
                self.command(desk, &["unstandby_node", name]);
            }
        }
    }

    fn cleanup_if_failed(&mut self) {
        if let Some(desk) = self.desk()
            && failed(&picture(&desk))
        {
            self.command(&desk, &["cleanup"]);
        }
    }

    fn command(&mut self, node: &Node, words: &[&str]) -> Option<i32> {
        let kind = format!("cls_{}", words.join(" "));
        self.typed(&kind, || self.stage.cls(node, words, COMMAND))
    }

    fn typed(
        &mut self,
        kind: &str,
        command: impl FnOnce() -> crate::Result<(i32, String)>,
    ) -> Option<i32> {
        let begin = now_us();
        let (code, what) = match command() {
            Ok((code, said)) => (Some(code), said),
            // A node that cannot be typed on is one on which the command failed.
            Err(error) => (None, error.to_string()),
        };
        self.stage.record(Event {
            step: 0,
            kind: kind.to_owned(),
            what,
            begin,
            end: now_us(),
            done: true,
        });
        self.commands += 1;
        code
    }
}

fn runs_postgres(node: &Node) -> bool {
    let processes = node.processes();
    processes.iter().any(|process| process.comm == "postgres")
}

/// What `cls_status` says is to be typed next, also where it can say nothing else.
fn orders(node: &Node) -> Vec<String> {
    let output = node.exec(&[CLS, "status"], Duration::from_secs(15));
    let text = output.map_or_else(
        |_| String::new(),
        |output| format!("{}\n{}", output.stdout, output.stderr),
    );
    let next = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("next: "));
    next.map(str::to_owned).collect()
}

/// Resources, fail counts and exit reasons, as an operator sees them; nothing where Pacemaker does
/// not answer.
fn picture(node: &Node) -> String {
    let argv = ["crm_mon", "-1", "-A", "-r", "-f"];
    node.exec(&argv, Duration::from_secs(15))
        .map_or_else(|_| String::new(), |output| output.stdout)
}

fn failed(picture: &str) -> bool {
    picture.contains("fail-count=") || picture.contains("Failed Resource Actions")
}

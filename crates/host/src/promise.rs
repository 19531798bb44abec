//! Rule R7 between nodes: a primary that cannot reach the lock service asks every other node, over
//! ssh, not to be promoted; and the answer of a node that is asked.
//!
//! What is asked and answered, and what answers amount to, is `pha_core::register`'s. Here are the
//! ways: the question goes as one JSON document to the standard input of `expgsql promise` on the
//! other node; the answer comes back as one marked line. The node that is asked answers in its own
//! name and from its own configuration ([`crate::asked`]). Whatever goes wrong on the way is no
//! promise.

use std::io::Read;
use std::sync::mpsc;
use std::time::Duration;

use pha_core::hindrance::Hindrance;
use pha_core::names::{NodeName, ResourceName};
use pha_core::ocf::OcfCode;
use pha_core::quoted::quoted;
use pha_core::register::{
    self, GaveWay, Memory, PromiseAnswer, PromiseAsk, PromiseRequest, Reading, Register, Reply,
    Update, Withdrawal,
};
use pha_core::snapshot::{Process, SeenRole};
use tracing::{info, warn};

use crate::asked::Asked;
use crate::clock::Deadline;
use crate::command::own_program;
use crate::conninfo::Conninfo;
use crate::lock::{LockName, LockService};
use crate::memory::{MemoryFile, PromotionLock};
use crate::node::{self, Node};
use crate::pgctl;
use crate::ssh::Ssh;
use crate::user::User;

/// How long a request may take to come in, once the program runs.
const READ: Duration = Duration::from_secs(5);

/// The most that is read of a request: more than the longest that is accepted.
const LIMIT: u64 = 128 * 1024;

/// The exit status of `expgsql promise` for a question that it does not understand.
const NOT_UNDERSTOOD: i32 = OcfCode::Args as i32;

impl Node {
    /// Asks every node at the same time; each has an answer, if only why there is none.
    pub(crate) fn ask_promises(
        &self,
        ask: &PromiseAsk,
        deadline: Deadline,
    ) -> Result<Vec<(NodeName, PromiseAnswer)>, String> {
        let program = own_program()?;
        let cluster = self.cluster_id();
        // The other node stops trying a little earlier than this one stops waiting.
        let within = deadline.left().mul_f64(0.7);
        let answers = std::thread::scope(|scope| {
            let asked: Vec<_> = ask
                .peers
                .iter()
                .map(|peer| {
                    let resource = self.settings.resource.clone();
                    let request =
                        PromiseRequest::new(ask, peer.clone(), resource, cluster.clone(), within);
                    let program = &program;
                    (
                        peer,
                        scope.spawn(move || exchange(program, &request, deadline)),
                    )
                })
                .collect();
            let answered = asked.into_iter().map(|(peer, thread)| {
                let answer = thread
                    .join()
                    .unwrap_or_else(|_| Err(Hindrance::of(&"could not be asked")));
                let answer = answer.unwrap_or_else(|why| PromiseAnswer::Refused(why.to_string()));
                (peer.clone(), answer)
            });
            answered.collect::<Vec<_>>()
        });
        for (peer, answer) in &answers {
            match answer {
                PromiseAnswer::Promised { epoch } => {
                    info!("{peer} has promised not to be promoted at epoch {epoch}");
                }
                PromiseAnswer::Relayed(_) => info!("{peer} reaches the lock service"),
                PromiseAnswer::Refused(why) => warn!("{peer} has not promised: {why}"),
                PromiseAnswer::Ready | PromiseAnswer::Withdrawn { .. } => {
                    warn!("{peer} has not promised, but answered to something else");
                }
            }
        }
        Ok(answers)
    }

    /// Keeps that no promise of this epoch is relied on here any more, and then tells the others so. Who
    /// does not hear of it stays bound until the epoch moves.
    pub(crate) fn withdraw_promises(
        &self,
        withdrawal: &Withdrawal,
        deadline: Deadline,
    ) -> Result<(), String> {
        let program = own_program()?;
        (self.memory)
            .withdraw(withdrawal.term, withdrawal.epoch, withdrawal.unopened)
            .map_err(|error| error.to_string())?;
        let cluster = self.cluster_id();
        let within = deadline.left().mul_f64(0.7);
        std::thread::scope(|scope| {
            for peer in &withdrawal.peers {
                let resource = self.settings.resource.clone();
                let (to, cluster) = (peer.clone(), cluster.clone());
                let request = PromiseRequest::withdrawal(withdrawal, to, resource, cluster, within);
                let program = &program;
                scope.spawn(move || match exchange(program, &request, deadline) {
                    Ok(PromiseAnswer::Withdrawn { epoch }) => {
                        info!("{peer} is bound by no promise at epoch {epoch} any more");
                    }
                    Ok(PromiseAnswer::Refused(why)) => not_taken(peer, &why),
                    Err(why) => not_taken(peer, &why),
                    Ok(
                        PromiseAnswer::Promised { .. }
                        | PromiseAnswer::Relayed(_)
                        | PromiseAnswer::Ready,
                    ) => warn!("{peer} takes a withdrawal for a question"),
                });
            }
        });
        Ok(())
    }
}

fn not_taken(peer: &NodeName, why: &dyn std::fmt::Display) {
    warn!("{peer} has not taken the withdrawal, and keeps what it may have promised: {why}");
}

/// Asks `to`, over the very connection that an outage would use, whether it could promise. `program`
/// is the agent; nothing is kept there.
///
/// # Errors
/// Why it could not, for the operator.
pub fn trial(
    program: &str,
    resource: &ResourceName,
    asks: &Asked,
    to: &NodeName,
    deadline: Deadline,
) -> Result<(), Hindrance> {
    let request = PromiseRequest::trial(
        asks.me.clone(),
        to.clone(),
        resource.clone(),
        asks.cluster.clone(),
        deadline.left().mul_f64(0.7),
    );
    let answer = exchange(program, &request, deadline)?;
    answer.ready(to).map_err(|why| Hindrance::of(&why))
}

/// One question and its answer.
fn exchange(
    program: &str,
    request: &PromiseRequest,
    deadline: Deadline,
) -> Result<PromiseAnswer, Hindrance> {
    let peer = &request.to;
    let json = request.to_json();
    let output = Ssh::for_promises().ask(
        peer.as_str(),
        &[program, "promise"],
        json.as_bytes(),
        deadline,
    );
    match output {
        Err(error) => Err(error.hindrance()),
        Ok(output) if output.code == NOT_UNDERSTOOD => Err(Hindrance::new(
            format!(
                "{peer} does not understand the question ({})",
                last_line(&output.stderr)
            ),
            "install the same version on every node: its package, or sh install.sh",
        )),
        Ok(output) if output.code != 0 => Err(Hindrance::of(&format!(
            "{program} promise on {peer} ended with status {}: {}",
            output.code,
            last_line(&output.stderr)
        ))),
        Ok(output) => PromiseAnswer::of_output(&output.stdout, peer, &request.cluster)
            .map_err(|error| Hindrance::of(&error)),
    }
}

/// The last words of a program; what a login shell prints stands before them.
fn last_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    let line = line.unwrap_or("it said nothing").trim();
    quoted(line.strip_prefix("ocf-exit-reason:").unwrap_or(line))
}

/// Answers a request that is read from `input`; the answer as a line.
///
/// # Errors
/// What is wrong with the request or with this node, and the exit status that tells the one from the
/// other. Then nothing was promised.
pub fn answer(input: impl Read + Send + 'static) -> Result<String, (OcfCode, String)> {
    let text = read(input).map_err(|error| (OcfCode::Generic, error))?;
    let request =
        PromiseRequest::of_json(&text).map_err(|error| (OcfCode::Args, error.to_string()))?;
    let asked = Asked::load(&request.resource).map_err(|error| (OcfCode::Generic, error))?;
    let answer = asked
        .consider(&request)
        .unwrap_or_else(PromiseAnswer::Refused);
    match &answer {
        PromiseAnswer::Refused(why) => warn!("no promise to {}: {why}", request.node),
        given => info!(?given, "answered {}", request.node),
    }
    Ok(answer.to_line(&request, &asked.me, &asked.cluster))
}

/// Gives way to an operator's decision (R15): from here on this node relies on no promise of the register's
/// `epoch` or of the one that it has seen, and gives none. Under the promotion lock, so that no promotion is under way meanwhile.
///
/// # Errors
/// Why it has not given way, for the operator.
pub fn give_way(
    resource: &ResourceName,
    epoch: u64,
    deadline: Deadline,
) -> Result<GaveWay, String> {
    let asked = Asked::load(resource)?;
    let guard = node::memory_file(resource).guard(deadline);
    let guard = guard.map_err(|error| error.to_string())?;
    let role = asked.role()?;
    let giving = guard
        .give_way(role, epoch)
        .map_err(|error| error.to_string())?;
    if giving.ends_names {
        node::end_names(resource).map_err(|error| error.to_string())?;
    }
    Ok(giving.answer)
}

/// Reads all of the input, but no more than a request can be, and no longer than it may take.
fn read(input: impl Read + Send + 'static) -> Result<Vec<u8>, String> {
    let (sender, receiver) = mpsc::channel();
    let reader = std::thread::Builder::new().spawn(move || {
        let mut text = Vec::new();
        let result = input.take(LIMIT).read_to_end(&mut text);
        // Nobody listens any more after the time is over; that is all that can go wrong here.
        let _ = sender.send(result.map(|_| text));
    });
    reader.map_err(|error| format!("standard input: {error}"))?;
    match receiver.recv_timeout(READ) {
        Ok(result) => result.map_err(|error| format!("standard input: {error}")),
        Err(_) => Err(format!(
            "standard input: no whole request came in {} s",
            READ.as_secs()
        )),
    }
}

impl Asked {
    fn consider(&self, request: &PromiseRequest) -> Result<PromiseAnswer, String> {
        let mut here = Here {
            asked: self,
            memory: node::memory_file(&request.resource),
            deadline: Deadline::after(request.within),
        };
        let ttl = Duration::from_millis(self.ttl_ms);
        register::answer(
            &self.me,
            &self.nodes,
            &self.cluster,
            ttl,
            request,
            &mut here,
        )
    }

    /// The lock service, by this node's own configuration.
    fn service(&self) -> Result<LockService, String> {
        let info: Conninfo = self
            .conninfo
            .parse()
            .map_err(|error| format!("distlock_conninfo of {}: {error}", self.me))?;
        let name: LockName = self
            .cluster
            .lock
            .parse()
            .map_err(|error| format!("distlock_lockname of {}: {error}", self.me))?;
        let system = self.cluster.system.as_deref();
        Ok(LockService::new(info, name).of_system(system.and_then(|text| text.parse().ok())))
    }

    fn role(&self) -> Result<SeenRole, String> {
        let owner = User::lookup(&self.pgdba).map_err(|error| error.to_string())?;
        let signal = pgctl::standby_signal(&owner, &self.pgdata);
        // One whose postmaster.pid was removed serves on.
        let process = pgctl::running::surely_running(&self.pgdata, &owner);
        Ok(SeenRole {
            runs: process.map_err(|error| error.to_string())? != Process::Absent,
            signal,
        })
    }
}

/// This node while it is asked.
struct Here<'a> {
    asked: &'a Asked,
    memory: MemoryFile,
    deadline: Deadline,
}

impl register::Reached for Here<'_> {
    type Locked<'a>
        = Locked<'a>
    where
        Self: 'a;

    fn try_out(&mut self) -> Result<(), String> {
        self.memory.prepare().map_err(|error| error.to_string())?;
        User::lookup(&self.asked.pgdba).map_err(|error| error.to_string())?;
        self.memory.load().map_err(|error| error.to_string())?;
        self.asked.service().map(drop)
    }

    fn lock(&mut self, within: Duration) -> Result<Locked<'_>, String> {
        let guard = self.memory.guard(self.deadline.sub_budget(within));
        Ok(Locked {
            asked: self.asked,
            guard: guard.map_err(|error| error.to_string())?,
            service: self.asked.service()?,
            deadline: self.deadline,
            share: within,
            exchange: self.deadline,
        })
    }
}

/// The same under its promotion lock.
struct Locked<'a> {
    asked: &'a Asked,
    guard: PromotionLock,
    service: LockService,
    deadline: Deadline,
    /// How long the lock service may take, from when it is first asked.
    share: Duration,
    exchange: Deadline,
}

impl register::Asked for Locked<'_> {
    fn memory(&mut self) -> Result<Memory, String> {
        self.guard.load().map_err(|error| error.to_string())
    }

    fn role(&mut self) -> Result<SeenRole, String> {
        self.asked.role()
    }

    fn read(&mut self) -> Result<Reading, String> {
        self.exchange = self.deadline.sub_budget(self.share);
        Ok(self.service.read(self.exchange))
    }

    fn send(&mut self, update: &Update) -> Result<Reply, String> {
        Ok(self.service.update(update, self.exchange))
    }

    fn saw(&mut self, row: &Register) -> Result<(), String> {
        self.guard
            .saw(row)
            .map(drop)
            .map_err(|error| error.to_string())
    }

    fn left(&mut self) -> Duration {
        self.deadline.left()
    }

    fn promise(&mut self, request: &PromiseRequest) -> Result<(), String> {
        let promised = self
            .guard
            .promise(request.term, request.epoch, request.revocable);
        promised.map(drop).map_err(|error| error.to_string())
    }

    fn free(&mut self, term: u64, epoch: u64) -> Result<(), String> {
        let freed = self.guard.free(term, epoch);
        freed.map(drop).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pha_core::register::ClusterId;
    use std::process::{Command, Stdio};

    #[test]
    fn a_server_whose_pid_file_was_removed_runs() {
        let directory = std::env::temp_dir().join(format!("pha-role-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let asked = Asked {
            me: "node1".parse().unwrap(),
            nodes: Vec::new(),
            cluster: ClusterId {
                lock: String::new(),
                system: None,
            },
            pgdata: directory.clone(),
            pgdba: User::current().unwrap().name().to_owned(),
            ttl_ms: 0,
            conninfo: String::new(),
        };
        let stopped = asked.role().unwrap().runs;
        let program = directory.join("postgres");
        // By a process of its own: a fork of another test would keep it open for writing.
        let copied = Command::new("cp").arg("/bin/sleep").arg(&program).status();
        assert!(copied.unwrap().success());
        let mut server = Command::new(&program);
        server.arg("600").stdin(Stdio::null());
        let mut server = server.current_dir(&directory).spawn().unwrap();
        // A child is a copy of this program until it has executed its own.
        let deadline = Deadline::after(Duration::from_secs(10));
        let mut serves = false;
        while !serves && !deadline.expired() {
            serves = asked.role().unwrap().may_serve();
        }
        let _ = server.kill();
        let _ = server.wait();
        let _ = std::fs::remove_dir_all(&directory);
        assert!(serves && !stopped);
    }
}

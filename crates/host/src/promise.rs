//! Rule R7 between nodes: a primary that cannot reach the lock service asks every other node, over
//! ssh, not to be promoted; and the answer of a node that is asked.
//!
//! What is asked and answered, and what answers amount to, is `pha_core::register`'s. Here are the
//! ways: the question goes as one JSON document to the standard input of `expgsql promise` on the
//! other node, without a shell's help; the answer comes back as one line. Whatever goes wrong on the
//! way is no promise.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc;
use std::time::Duration;

use pha_core::names::NodeName;
use pha_core::register::{
    Memory, PromiseAnswer, PromiseAsk, PromiseRequest, Reading, RelayStep, Reply, Trouble,
    relay_step,
};
use tracing::{info, warn};

use crate::clock::Deadline;
use crate::conninfo::Conninfo;
use crate::lock::{LockName, LockService};
use crate::memory::{Guard, MemoryFile};
use crate::node::{self, Node};
use crate::process::Postmaster;
use crate::ssh::Ssh;

/// How long a request may take to come in, once the program runs.
const READ: Duration = Duration::from_secs(5);

/// The most that is read of a request: more than the longest that is accepted.
const LIMIT: u64 = 128 * 1024;

impl Node {
    /// Asks every node at the same time; each has an answer, if only why there is none.
    pub(crate) fn ask_promises(
        &self,
        ask: &PromiseAsk,
        deadline: Deadline,
    ) -> Result<Vec<(NodeName, PromiseAnswer)>, String> {
        let program = program()?;
        let lock = self.lock_place();
        // The other node stops trying a little earlier than this one stops waiting.
        let within = deadline.left().mul_f64(0.7);
        let answers = std::thread::scope(|scope| {
            let asked: Vec<_> = ask
                .peers
                .iter()
                .map(|peer| {
                    let resource = self.settings.resource.clone();
                    let mut request = PromiseRequest::new(ask, peer.clone(), resource, within);
                    (request.conninfo, request.lock) = lock.clone();
                    request.pgdata.clone_from(&self.params.pgdata);
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
                    .unwrap_or_else(|_| PromiseAnswer::Refused("could not be asked".to_owned()));
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
            }
        }
        Ok(answers)
    }
}

/// One question and its answer.
fn exchange(program: &str, request: &PromiseRequest, deadline: Deadline) -> PromiseAnswer {
    let peer = &request.to;
    let json = request.to_json();
    let output = Ssh::default().exec(
        peer.as_str(),
        &[program, "promise"],
        json.as_bytes(),
        deadline,
    );
    let refused = match output {
        Err(error) => error.to_string(),
        Ok(output) if output.code != 0 => format!(
            "{program} promise ended with status {}: {}",
            output.code,
            String::from_utf8_lossy(&output.stderr).trim()
        ),
        Ok(output) => match PromiseAnswer::of_line(&output.stdout, peer) {
            Ok(answer) => return answer,
            Err(error) => error.to_string(),
        },
    };
    PromiseAnswer::Refused(refused)
}

/// This program, which lies at the same place on every node. After an upgrade the one that runs has
/// been replaced, and the kernel says so behind its name (proc(5)).
fn program() -> Result<String, String> {
    let path = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let text = path.to_str().ok_or("this program's path is no UTF-8")?;
    Ok(text.strip_suffix(" (deleted)").unwrap_or(text).to_owned())
}

/// Answers a request that is read from `input`; the answer as a line.
///
/// # Errors
/// What is wrong with the request. Then nothing was promised.
pub fn answer(input: impl Read + Send + 'static) -> Result<String, String> {
    let request = PromiseRequest::of_json(&read(input)?).map_err(|error| error.to_string())?;
    let memory = node::memory_file(&request.resource);
    let answer = consider(&request, &memory).unwrap_or_else(PromiseAnswer::Refused);
    match &answer {
        PromiseAnswer::Refused(why) => warn!("no promise to {}: {why}", request.node),
        given => info!(?given, "answered {}", request.node),
    }
    Ok(answer.to_line(&request.to))
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

/// Under the promotion lock: neither is this node the primary, nor can it become one before the
/// promise is on its disk.
fn consider(request: &PromiseRequest, memory: &MemoryFile) -> Result<PromiseAnswer, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let deadline = Deadline::after(request.within);
    let share = request.within / 3;
    let guard = memory
        .guard(deadline.sub_budget(share))
        .map_err(|error| text(&error))?;
    let known = guard.load().map_err(|error| text(&error))?;
    not_the_primary(request, &known)?;
    if let Some(answer) = relay(request, &guard, &known, deadline.sub_budget(share))? {
        return Ok(answer);
    }
    if deadline.expired() {
        return Err("the time for the answer is over".to_owned());
    }
    guard
        .promise(request.term, request.epoch)
        .map_err(|error| text(&error))?;
    Ok(PromiseAnswer::Promised {
        epoch: request.epoch,
    })
}

fn not_the_primary(request: &PromiseRequest, known: &Memory) -> Result<(), String> {
    if known.reign.is_some_and(|reign| reign.term >= request.term) {
        return Err(format!(
            "this node was itself promoted at term {} or later; does the name {} lead to the right node?",
            request.term, request.to
        ));
    }
    let pgdata = std::path::Path::new(&request.pgdata);
    let standby = ["standby.signal", "recovery.conf"]
        .iter()
        .any(|name| pgdata.join(name).exists());
    // A server starts only on a directory of its own account.
    let owner = std::fs::metadata(pgdata).map_or(0, |meta| meta.uid());
    match Postmaster::of(pgdata, owner) {
        Ok(Postmaster::Alive { .. }) if !standby => {
            Err("PostgreSQL runs on this node as a primary".to_owned())
        }
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Tries the register from here; the answer, or none if it is to be promised.
fn relay(
    request: &PromiseRequest,
    guard: &Guard,
    known: &Memory,
    deadline: Deadline,
) -> Result<Option<PromiseAnswer>, String> {
    let wrong = |what: &str, error: String| format!("the request's {what}: {error}");
    let info: Conninfo = request
        .conninfo
        .parse()
        .map_err(|error| wrong("conninfo", format!("{error}")))?;
    let name: LockName = request
        .lock
        .parse()
        .map_err(|error| wrong("lock", format!("{error}")))?;
    let mut service = LockService::new(info, name);
    let reading = service.read(deadline);
    if let Reading::Row(row) = &reading {
        guard.saw(row).map_err(|error| error.to_string())?;
    }
    let update = match relay_step(request, &reading, known) {
        RelayStep::Promise => return Ok(None),
        RelayStep::Answer(answer) => return Ok(Some(answer)),
        RelayStep::Send(update) => update,
    };
    match service.update(&update, deadline) {
        reply @ (Reply::Applied(_) | Reply::NotApplied(_)) => {
            if let Reading::Row(row) = reply.reading() {
                guard.saw(&row).map_err(|error| error.to_string())?;
            }
            Ok(Some(PromiseAnswer::Relayed(reply)))
        }
        Reply::Missing => Err("the register's row has just disappeared".to_owned()),
        Reply::Damaged(damage) => Err(damage.to_string()),
        // It may have been made all the same; it takes this node out of the holders.
        Reply::Unknown(Trouble::Unreachable(_)) => Ok(None),
        Reply::Unknown(trouble) => Err(trouble.to_string()),
    }
}

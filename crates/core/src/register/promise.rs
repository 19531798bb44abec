//! The promise of the other nodes during an outage of the lock service (R7): what is asked, what is
//! answered, and what the answers amount to.
//!
//! A primary that cannot reach the register and has lost its standby may go on alone when *every*
//! other node has promised not to promote at the epoch that the primary last saw. A node that
//! reaches the register passes on the change that the primary would have made itself; that answer
//! is then worth as much as a direct one. Everything else is no promise: no answer, a late one, one
//! that is not understood, one for another epoch.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::wire::{PromiseAnswer, PromiseAsk};
use super::{
    Memory, NoRow, Ownership, PromiseRequest, Reading, Register, Reply, Trouble, Update,
    judge_owner,
};
use crate::names::NodeName;
use crate::postgres::{SeenRole, StandbySignal};

/// What a node that was asked does about the register, after it has tried to read it.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayStep {
    /// Make the primary's change; if its reply is lost, promise.
    Send(Update),
    /// Answer this.
    Answer(PromiseAnswer),
    /// The register is out of reach from here too: promise.
    Promise,
}

/// Decides what becomes of a request, from the register as this node sees it. `ttl` is the lease by
/// this node's own configuration.
pub fn relay_step(
    request: &PromiseRequest,
    ttl: Duration,
    reading: &Reading,
    memory: &Memory,
) -> RelayStep {
    match reading {
        Reading::Unknown(Trouble::Unreachable(_)) => return RelayStep::Promise,
        // It is there and does not serve: nothing is decided on that (D3).
        Reading::Unknown(trouble @ Trouble::Answered(_)) => {
            return RelayStep::Answer(PromiseAnswer::Refused(trouble.to_string()));
        }
        Reading::Row(_) | Reading::Missing | Reading::Damaged(_) => {}
    }
    let answer = match judge_owner(reading, &request.node, request.term, memory) {
        Ownership::Mine(row) if row.epoch == request.epoch => {
            let alone = BTreeSet::from([request.node.clone()]);
            let update = Update::set_holders(&row, request.node.clone(), alone, ttl);
            return RelayStep::Send(update);
        }
        // The primary has not seen this row yet, and judges it itself.
        Ownership::Mine(row)
        | Ownership::Adopt(row)
        | Ownership::NeverElected(row)
        | Ownership::Superseded(row) => PromiseAnswer::Relayed(Reply::NotApplied(row)),
        Ownership::Damage { damage, .. } => {
            PromiseAnswer::Refused(NoRow::Damage(damage).to_string())
        }
        Ownership::Unknown(trouble) => PromiseAnswer::Refused(trouble.to_string()),
    };
    RelayStep::Answer(answer)
}

/// Decides what becomes of a request whose change has been sent ([`RelayStep::Send`]): the answer, or none
/// where the node promises instead.
///
/// # Errors
/// Why it does neither.
pub fn relay_reply(reply: Reply) -> Result<Option<PromiseAnswer>, String> {
    match reply {
        reply @ (Reply::Applied(_) | Reply::NotApplied(_)) => {
            Ok(Some(PromiseAnswer::Relayed(reply)))
        }
        Reply::Missing => Err("the register's row has just disappeared".to_owned()),
        Reply::Damaged(damage) => Err(damage.to_string()),
        // It may have been made all the same; it takes this node out of the holders.
        Reply::Unknown(Trouble::Unreachable(_)) => Ok(None),
        // It is there and does not serve: nothing is decided on that (D3).
        Reply::Unknown(trouble) => Err(trouble.to_string()),
    }
}

/// Whether a node with this memory may promise at all: not if it may be the primary that others would
/// have to be kept from.
///
/// # Errors
/// Why it may not.
pub fn may_promise(
    me: &NodeName,
    request: &PromiseRequest,
    memory: &Memory,
    role: SeenRole,
) -> Result<(), String> {
    let later = memory.reign.is_some_and(|reign| reign.term >= request.term);
    if later {
        return Err(format!(
            "{me} was itself promoted at term {} or later",
            request.term
        ));
    }
    match role.signal {
        _ if !role.may_serve() => Ok(()),
        StandbySignal::Unknown => Err(
            "PostgreSQL runs on this node, and it cannot be seen whether as a standby".to_owned(),
        ),
        StandbySignal::There | StandbySignal::Missing => {
            Err("PostgreSQL runs on this node as a primary".to_owned())
        }
    }
}

/// What a node has answered that was asked to give way to an operator's decision (R15).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GaveWay {
    /// Its PostgreSQL runs as a primary, or may, whatever the cluster shows: nothing was kept there.
    pub serves: bool,
    /// By promises of the epoch that it has seen it has let a standby go.
    pub used: bool,
    /// A promise of it is in force, or may be, where it has lost its memory: the primary may rely on that.
    pub promised: bool,
}

/// What a node that is asked to give way does, in this order.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivingWay {
    /// What it keeps first, durably.
    pub kept: Memory,
    /// PostgreSQL, which is down, is made to acknowledge nothing where somebody starts it as it is: it may have crashed
    /// while it waited for nobody.
    pub ends_names: bool,
    /// What it answers then.
    pub answer: GaveWay,
}

/// What a node with this memory does that is asked to give way at the register's `epoch`, which it may not have
/// seen.
pub fn give_way(memory: &Memory, role: SeenRole, epoch: u64) -> GivingWay {
    let serves = role.may_serve();
    let answer = GaveWay {
        serves,
        used: memory.used == Some(memory.epoch),
        promised: memory.forgotten || memory.is_bound(),
    };
    let kept = match serves {
        true => *memory,
        false => memory.giving_way(epoch),
    };
    GivingWay {
        kept,
        ends_names: !role.runs,
        answer,
    }
}

/// What the asking has brought, kept for the rest of the operation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Promises {
    /// The epoch that was asked for.
    pub epoch: u64,
    /// Who has been asked.
    pub asked: BTreeSet<NodeName>,
    /// Who of them has not promised, with the reason; empty when each of them has.
    pub missing: Vec<String>,
}

impl Promises {
    /// Whether everybody who has been asked has promised not to promote at `epoch`.
    #[must_use]
    pub fn cover(&self, epoch: u64) -> bool {
        self.missing.is_empty() && self.epoch == epoch
    }

    /// Whether what `ask` has brought means that every other node has promised, whoever had been asked before:
    /// the guard's proof.
    #[must_use]
    pub fn complete(&self, ask: &PromiseAsk) -> bool {
        ask.completes && self.cover(ask.epoch)
    }
}

/// What the answers of all nodes amount to.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromiseVerdict {
    /// The register itself has answered, through a node that reaches it.
    Relayed(Reply),
    /// The promises, and who has not promised.
    Promises(Promises),
}

/// Judges the answers. Only an answer of every node that was asked, each a promise for the very
/// epoch, is a promise; a node that was not asked counts for nothing.
pub fn tally(ask: &PromiseAsk, answers: &[(NodeName, PromiseAnswer)]) -> PromiseVerdict {
    let of = |peer: &NodeName| {
        let mut own = answers.iter().filter(|(node, _)| node == peer);
        own.next()
            .map(|(_, answer)| answer)
            .filter(|_| own.next().is_none())
    };
    let relayed = ask
        .peers
        .iter()
        .filter_map(of)
        .filter_map(|answer| match answer {
            PromiseAnswer::Relayed(reply) => usable(ask, reply),
            _ => None,
        });
    // Of two nodes that have passed the change on, one finds it made: the newest row counts.
    let newest = relayed.max_by_key(|reply| match reply {
        Reply::Applied(row) => (row.term, row.epoch, true),
        Reply::NotApplied(row) => (row.term, row.epoch, false),
        Reply::Missing | Reply::Damaged(_) | Reply::Unknown(_) => (0, 0, false),
    });
    if let Some(reply) = newest {
        return PromiseVerdict::Relayed(reply.clone());
    }
    let missing = ask.peers.iter().filter_map(|peer| {
        Some(match of(peer) {
            Some(PromiseAnswer::Promised { epoch }) if *epoch == ask.epoch => return None,
            Some(PromiseAnswer::Promised { epoch }) => {
                format!(
                    "{peer} has promised for epoch {epoch} instead of {}",
                    ask.epoch
                )
            }
            Some(PromiseAnswer::Relayed(_)) => {
                format!("{peer} has passed on an answer of the register that makes no sense")
            }
            Some(PromiseAnswer::Refused(why)) => format!("{peer}: {why}"),
            Some(PromiseAnswer::Ready) => format!("{peer} has answered to a trial only"),
            Some(PromiseAnswer::Withdrawn { .. }) => {
                format!("{peer} has answered to a withdrawal only")
            }
            None => format!("{peer} has not answered"),
        })
    });
    PromiseVerdict::Promises(Promises {
        epoch: ask.epoch,
        asked: ask.peers.iter().cloned().collect(),
        missing: missing.collect(),
    })
}

/// Whether these answers mean that every other node has promised, whoever had been asked before: what the guard
/// may rely on as its proof.
#[must_use]
pub fn all_promised(ask: &PromiseAsk, answers: &[(NodeName, PromiseAnswer)]) -> bool {
    match tally(ask, answers) {
        PromiseVerdict::Promises(given) => given.complete(ask),
        PromiseVerdict::Relayed(_) => false,
    }
}

/// A reply that can be judged like a direct one. "Made" must show the change that was asked for.
fn usable<'r>(ask: &PromiseAsk, reply: &'r Reply) -> Option<&'r Reply> {
    let made = |row: &Register| {
        row.is_owned_at(&ask.node, ask.term)
            && row.epoch == ask.epoch + 1
            && row.holders.iter().eq([&ask.node])
    };
    match reply {
        Reply::Applied(row) if !made(row) => None,
        Reply::Unknown(_) => None,
        _ => Some(reply),
    }
}
